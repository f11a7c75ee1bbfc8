"""Names, configs, contracts and folders made to do harm are refused in one sentence, at once; nothing stale answers."""

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from tiny import chart, last

from chartqa_demo.adapters.check import fetch_adapter, is_named, why_not
from chartqa_demo.adapters.contract import CONFIG, CONTRACT_FILE, WEIGHTS, Contract, bounded
from chartqa_demo.adapters.lora import LoraError, layers_of
from chartqa_demo.adapters.runs import finished_adapters
from chartqa_demo.engines import Options
from chartqa_demo.engines.local import LocalEngine, load_local
from chartqa_demo.engines.scripted import ScriptedEngine
from chartqa_demo.errors import EngineError, HubError, HubSilent
from chartqa_demo.settings import BUNDLED_ADAPTER, DEFAULT_MAX_PIXELS, Settings
from chartqa_demo.space import hub
from chartqa_demo.ui.adapters import _checked

FINE: dict[str, Any] = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 4, "lora_alpha": 8}
LONG = "a" * 200_000 + "!"


def is_a_sentence(error: object) -> bool:
    told = str(error)
    return told.endswith(".") and "\n" not in told and len(told) < 900


@pytest.mark.parametrize(
    "change", [{"peft_type": LONG}, {"alpha_pattern": {LONG: 8}}, {LONG: 1}, {"init_lora_weights": LONG}], ids=list
)
def test_a_name_of_a_megabyte_is_refused_at_once(change: dict[str, Any]) -> None:
    began = time.monotonic()
    assert is_a_sentence(why_not(FINE | change, "bundled"))
    with pytest.raises(LoraError) as refused:
        layers_of(FINE, {LONG: ("F32", (4, 8))}, None)
    assert is_a_sentence(refused.value)
    assert time.monotonic() - began < 1


@pytest.mark.parametrize("value", [10**400, -(10**400), float("nan"), float("inf")])
def test_an_alpha_that_no_float_holds_is_refused(value: float) -> None:
    assert "has the lora_alpha" in str(why_not(FINE | {"lora_alpha": value}, "bundled"))
    assert "in its alpha_pattern" in str(why_not(FINE | {"alpha_pattern": {"q_proj": value}}, "bundled"))


def test_weights_without_a_shape_are_refused_also_where_the_base_is_not_at_hand() -> None:
    name = "base_model.model.model.language_model.layers.0.mlp.up_proj"
    tensors = {f"{name}.lora_A.weight": ("F32", ()), f"{name}.lora_B.weight": ("F32", (8, 4))}
    with pytest.raises(LoraError, match="size mismatch"):
        layers_of(FINE, tensors, None)


NO_IDS = ("a" * 300 + "/b", "~nobodyhere/b", "日" * 100 + "/" + "日" * 90, "a\0/b", "../x", "a/b--c")


@pytest.mark.parametrize("name", NO_IDS)
def test_what_the_hub_cannot_have_is_no_name_that_others_know(name: str) -> None:
    assert not is_named(name)
    assert why_not(FINE | {"base_model_name_or_path": name}, "bundled") is None


TYPED = ("日" * 200, "日" * 100 + "/" + "日" * 90, "~nobodyhere", "a/\nb", "../x", "a/b--c", "日/本", "a" * 5000, "\0")


@pytest.mark.parametrize("name", TYPED)
def test_a_typed_name_that_is_none_is_one_sentence_also_while_the_hub_is_silent(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def silent(*_: object) -> None:
        raise HubSilent("The Hub does not answer.")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hub, "look_up", silent)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(HubError) as refused:
        fetch_adapter(name, None, "bundled")
    assert is_a_sentence(refused.value)
    with pytest.raises(EngineError) as refused:
        _checked(name, Settings(visitor_adapters="hub"), ScriptedEngine())
    assert is_a_sentence(refused.value)


def test_links_that_cannot_be_followed_do_not_count_and_one_instead_of_the_contract_is_refused(
    tiny_adapter: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_adapter, tmp_path / "a\nb" / "adapter")
    (folder / "x").symlink_to("n" * 300)
    assert fetch_adapter(str(folder), None, "bundled")[1] is None
    (folder / CONTRACT_FILE).symlink_to("n" * 300)
    with pytest.raises(HubError) as refused:
        fetch_adapter(str(folder), None, "bundled")
    assert "is not a usable adapter contract" in str(refused.value) and "\n" not in str(refused.value)
    assert finished_adapters(folder.parent) == []


@pytest.mark.parametrize("closed", ["is_dir", "iterdir", "is_file"])
def test_a_closed_folder_is_one_sentence(closed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, closed, refuse)
    with pytest.raises(HubError) as refused:
        fetch_adapter(str(tmp_path), None, "bundled")
    assert is_a_sentence(refused.value)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"scores": {"adapter": 10**400}}, "scores has to be an object of numbers from 0 to 100"),
        ({"scores": {"adapter": float("nan")}}, "scores has to be"),
        ({"scores": {"adapter": True}}, "scores has to be"),
        ({"seed": [1]}, "seed has to be a whole number"),
        ([], "it has to be an object, with base and system"),
        (None, "it has no base and no system"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_contract_is_refused_in_our_words(change: Any, sentence: str, tiny_adapter: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_adapter, tmp_path / "adapter")
    fine = {"base": "bundled", "system": "Read."}
    text = json.dumps(fine | change if isinstance(change, dict) else {} if change is None else change)
    (folder / CONTRACT_FILE).write_text(text, encoding="utf-8")
    with pytest.raises(HubError) as refused:
        fetch_adapter(str(folder), None, "bundled")
    assert sentence in str(refused.value)
    assert finished_adapters(tmp_path) == []


@pytest.fixture
def engine(tiny_base: Path, tiny_adapter: Path) -> LocalEngine:
    return load_local(Settings(base=str(tiny_base), adapter=str(tiny_adapter), device="cpu"))


def answer(engine: LocalEngine) -> str:
    return last(engine.answer(chart(), "How many bars?", engine.arms, Options(max_new_tokens=8)))[2].text


@pytest.mark.parametrize("changed", ["config", "weights"])
def test_an_adapter_that_changed_on_disk_is_never_answered_with_from_memory(
    changed: str, engine: LocalEngine, tiny_adapter: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_adapter, tmp_path / "adapter")
    engine.use_adapter(str(folder))
    before, loaded = answer(engine), engine._loaded
    engine.use_adapter(str(tiny_adapter))
    config, weights = folder / CONFIG, folder / WEIGHTS
    if changed == "config":
        config.write_text(json.dumps(json.loads(config.read_text()) | {"lora_alpha": 1}), encoding="utf-8")
    else:
        written = weights.stat()
        tensors = {key: torch.flip(one, [0]).contiguous() for key, one in load_file(weights).items()}
        save_file(tensors, weights, metadata={"format": "pt"})
        os.utime(weights, ns=(written.st_atime_ns, written.st_mtime_ns))
    engine.use_adapter(str(folder))
    assert engine._loaded == loaded + 1 and answer(engine) != before


def test_an_adapter_in_use_stays_when_its_file_changes(engine: LocalEngine, tiny_adapter: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_adapter, tmp_path / "adapter")
    engine.use_adapter(str(folder))
    before = answer(engine)
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[-1000:] = bytes(1000)
    with (folder / WEIGHTS).open("r+b") as file:  # in place, as a program that trains on would
        file.write(content)
    assert answer(engine) == before


@pytest.mark.parametrize("limits", [(1, 1), (None, 12_845_056), (12_845_056, 12_845_056)])
def test_pixel_limits_of_a_contract_stay_within_the_page_s_and_that_is_said(
    limits: tuple[int | None, int], engine: LocalEngine, tiny_adapter: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_adapter, tmp_path / "adapter")
    Contract("base", "Read.", None, *limits).save(folder)
    engine.use_adapter(str(folder))
    size = engine.processor.image_processor.size
    assert 784 <= size["longest_edge"] <= DEFAULT_MAX_PIXELS and size["shortest_edge"] <= size["longest_edge"]
    assert any("the limits here are 784 and 1,003,520." in note for note in engine.notes)


def test_the_pixel_limits_of_the_bundled_contract_are_served_as_they_are() -> None:
    contract = fetch_adapter(str(BUNDLED_ADAPTER), None, "bundled")[1]
    assert contract is not None and contract.max_pixels == 306_544
    assert bounded(contract, DEFAULT_MAX_PIXELS) == contract


@pytest.mark.parametrize("system", ["图表 🙂 " * 3000, "<|image_pad|>" * 1500])
def test_a_contract_s_message_is_bounded_in_tokens(
    system: str, engine: LocalEngine, tiny_adapter: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_adapter, tmp_path / "adapter")
    Contract("base", system).save(folder)
    with pytest.raises(EngineError, match="tokens; at most 4,096 are taken") as refused:
        engine.use_adapter(str(folder))
    assert is_a_sentence(refused.value)
    assert engine.adapter == str(tiny_adapter)
