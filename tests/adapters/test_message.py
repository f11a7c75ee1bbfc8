"""An adapter is asked with the message that it was trained with, also where no contract says which."""

import shutil
from dataclasses import replace
from pathlib import Path
from threading import Thread
from time import sleep
from typing import Any

import pytest
from tiny import build_tiny_adapter, chart, last

from chartqa_demo.adapters.contract import Contract, arm_system, told
from chartqa_demo.arms import SYSTEM_MESSAGE
from chartqa_demo.engines import Options, local
from chartqa_demo.engines.endpoint import EndpointEngine
from chartqa_demo.engines.local import LocalEngine, load_local
from chartqa_demo.errors import EngineError, SettingsError
from chartqa_demo.settings import Settings, parse_settings

LONG = "You are a model that reads charts.\n" + "Answer with one number. " * 10


def prompts(engine: LocalEngine) -> list[str]:
    return [engine.prompt_text(arm, "How many bars?", Options()) for arm in engine.arms]


def engine_with(base: Path, adapter: Path, **settings: object) -> LocalEngine:
    return load_local(Settings(base=str(base), adapter=str(adapter), device="cpu", **settings))  # pyright: ignore


def test_the_message_is_read_from_a_flag_a_file_or_a_variable(tmp_path: Path) -> None:
    file = tmp_path / "message.txt"
    file.write_text("\ufeffRead the chart.\nOne word.\n", encoding="utf-8")
    assert parse_settings(["--adapter-system", "Read it. "], {}).adapter_system == "Read it."
    assert parse_settings(["--adapter-system", f"@{file}"], {}).adapter_system == "Read the chart.\nOne word."
    assert parse_settings([], {"CHARTQA_ADAPTER_SYSTEM": f"@{file}"}).adapter_system == "Read the chart.\nOne word."
    assert parse_settings(["--adapter-system", ""], {}).adapter_system == ""
    assert parse_settings([], {}).adapter_system is None


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["--adapter-system", "@no/such/file"], "cannot be read from no/such/file"),
        (["--adapter-system", "a" * 20_001], "has 20,001 characters; at most 20,000"),
        (["--adapter-system", "Read.", "--adapter", "none"], "but --adapter is none"),
    ],
)
def test_a_message_that_cannot_be_used_is_one_sentence(argv: list[str], sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        parse_settings(argv, {})


def test_an_adapter_without_a_contract_is_asked_with_the_message_given(tiny_base: Path, tiny_adapter: Path) -> None:
    engine = engine_with(tiny_base, tiny_adapter, adapter_system=LONG.strip())
    pretrained, prompted, adapter = prompts(engine)
    assert LONG.strip() in adapter and SYSTEM_MESSAGE not in adapter
    assert SYSTEM_MESSAGE in prompted and LONG[:20] not in prompted + pretrained
    note = next(note for note in engine.notes if str(tiny_adapter) in note)
    assert "is asked with “You are a model that reads charts. Answer with one number." in note and "…”" in note
    assert len(note) < 250 + len(str(tiny_adapter))


def test_an_adapter_trained_without_a_message_is_asked_without_one(tiny_base: Path, tiny_adapter: Path) -> None:
    engine = engine_with(tiny_base, tiny_adapter, adapter_system="")
    pretrained, _, adapter = prompts(engine)
    assert adapter == pretrained
    assert any("is asked with no system message" in note for note in engine.notes)


def test_a_question_that_waits_for_another_adapter_is_asked_with_its_message(
    tiny_base: Path, tiny_adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, folder = engine_with(tiny_base, tiny_adapter), shutil.copytree(tiny_adapter, tmp_path / "adapter")
    Contract(base=str(tiny_base), system="Answer in French.").save(folder)
    asked, arms, short = [], engine.arms, Options(max_new_tokens=2)
    prompt_text, load = engine.prompt_text, local.load_adapter
    waiting = Thread(target=lambda: last(engine.answer(chart(), "How many bars?", arms, short)))

    def load_slowly(*loading: Any) -> Any:  # under the engine's lock
        waiting.start()
        sleep(0.3)
        return load(*loading)

    monkeypatch.setattr(local, "load_adapter", load_slowly)
    monkeypatch.setattr(engine, "prompt_text", lambda arm, *of: asked.append(arm.system) or prompt_text(arm, *of))
    engine.use_adapter(str(folder))
    waiting.join()
    assert asked[-3:] == [None, SYSTEM_MESSAGE, "Answer in French."]


def test_a_contract_with_an_empty_message_means_none(tiny_base: Path, tiny_adapter: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_adapter, tmp_path / "adapter")
    Contract("base", "").save(folder)
    pretrained, _, adapter = prompts(engine_with(tiny_base, folder))
    assert adapter == pretrained


def test_what_is_given_wins_over_a_contract_and_that_is_said(
    tiny_base: Path, tiny_adapter: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_adapter, tmp_path / "adapter")
    Contract("base", "From the contract.").save(folder)
    engine = engine_with(tiny_base, folder, adapter_system="From the flag.")
    assert "From the flag." in prompts(engine)[2] and "From the contract." not in prompts(engine)[2]
    assert any("“From the flag.”" in note and "not with the one of its contract" in note for note in engine.notes)


def test_another_adapter_is_not_asked_with_the_first_ones_message(
    tiny_base: Path, tiny_adapter: Path, tmp_path: Path
) -> None:
    engine = engine_with(tiny_base, tiny_adapter, adapter_system="For the first one.")
    other = build_tiny_adapter(tiny_base, tmp_path / "other", seed=5)
    engine.use_adapter(str(other))
    assert SYSTEM_MESSAGE in prompts(engine)[2]
    assert not any("For the first one." in note for note in engine.notes)
    engine.use_adapter(str(tiny_adapter))
    assert "For the first one." in prompts(engine)[2]


def test_a_server_s_adapter_is_asked_with_it_too() -> None:
    engine = EndpointEngine(
        Settings(endpoint="http://127.0.0.1:9/v1", base_name="b", adapter_name="a", adapter_system="Read it.")
    )
    assert engine.arms[2].system == "Read it." and engine.arms[1].system == SYSTEM_MESSAGE
    assert any("The adapter a is asked with “Read it.”" in note for note in engine.notes)


def test_a_server_s_adapter_with_a_message_that_takes_the_chart_s_place_is_refused(
    tiny_adapter: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_adapter, tmp_path / "adapter")
    served = Settings(endpoint="http://127.0.0.1:9/v1", base_name="b", adapter_name="a", adapter=str(folder))
    Contract("base", LONG).save(folder)
    assert EndpointEngine(served).arms[2].system == LONG
    for message in ("7 " * 9000, "語" * 9000):
        Contract("base", message).save(folder)
        with pytest.raises(EngineError, match=r"adapter has about 9,000 tokens; at most 4,096 are taken"):
            EndpointEngine(served)
    assert EndpointEngine(replace(served, adapter_system="Read it.")).arms[2].system == "Read it."


def test_the_same_message_as_the_contracts_needs_no_note() -> None:
    contract = Contract("base", "Read it.")
    assert told(contract, "Read it.", "a") is None and told(contract, None, "a") is None
    assert arm_system(contract, None) == "Read it." and arm_system(None, None) is None
