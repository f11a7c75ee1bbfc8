"""`python -m train.contract`: what it writes is what the app reads, and what it refuses is a sentence."""

import shutil
from pathlib import Path

import pytest
from tiny import chart, last

from chartqa_demo.adapters.contract import Contract, read_contract
from chartqa_demo.arms import ADAPTER
from chartqa_demo.engines import Options
from chartqa_demo.engines.local import load_local
from chartqa_demo.settings import Settings
from train.contract import main


@pytest.fixture
def adapter(tiny_adapter: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_adapter, tmp_path / "adapter")


def test_the_contract_is_the_one_that_the_app_reads(adapter: Path, tmp_path: Path) -> None:
    file = tmp_path / "message.txt"
    file.write_text("Read the chart.\nOne word.\n", encoding="utf-8")
    flags = ["--base", "ann/tiny", "--base-revision", "abc", "--min-pixels", "784", "--max-pixels", "7840"]
    notes = ["--dataset", "ann/charts", "--split", "train[:10%]", "--seed", "7"]
    assert main([str(adapter), "--system", f"@{file}", *flags, *notes]) == 0
    expected = Contract("ann/tiny", "Read the chart.\nOne word.", "abc", 784, 7840, "ann/charts", "train[:10%]", 7)
    assert read_contract(adapter) == expected


def test_the_app_asks_with_the_message_of_the_contract(adapter: Path, tiny_base: Path) -> None:
    assert main([str(adapter), "--system", "Name one number."]) == 0
    engine = load_local(Settings(base=str(tiny_base), adapter=str(adapter), device="cpu"))
    assert "Name one number." in engine.prompt_text(engine.arms[2], "How many?", Options())
    assert last(engine.answer(chart(), "How many?", [ADAPTER], Options(max_new_tokens=2)))[0].error is None


def test_the_base_is_what_the_adapters_config_names(adapter: Path, tiny_base: Path) -> None:
    assert main([str(adapter), "--system", "Read."]) == 0
    contract = read_contract(adapter)
    assert contract is not None and contract.base == str(tiny_base)


def test_a_contract_that_is_there_is_replaced_only_when_asked_for(
    adapter: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(adapter), "--system", "First."]) == 0
    assert main([str(adapter), "--system", "Second."]) == 2
    assert "--replace" in capsys.readouterr().err
    assert main([str(adapter), "--system", "Second.", "--replace"]) == 0
    contract = read_contract(adapter)
    assert contract is not None and contract.system == "Second."


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--system", "@no/such/file.txt"], "cannot be read from no/such/file.txt"),
        (["--system", "a" * 20_001], "has 20,001 characters; at most 20,000"),
        (["--system", "a", "--min-pixels", "-1"], "--min-pixels is -1; it has to be at least 784"),
        (["--system", "a", "--max-pixels", "0"], "--max-pixels is 0; it has to be at least 784"),
        (["--system", "a", "--min-pixels", "9000", "--max-pixels", "8000"], "swap them"),
    ],
)
def test_a_wrong_value_is_a_sentence_and_writes_nothing(
    flags: list[str], reason: str, adapter: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(adapter), *flags]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ") and told.count("\n") == 1 and reason in told
    assert read_contract(adapter) is None


def test_a_folder_without_an_adapter_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path), "--system", "Read."]) == 2
    assert "is not an adapter: it has no adapter_config.json" in capsys.readouterr().err


def test_an_adapter_that_names_no_base_needs_one(adapter: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (adapter / "adapter_config.json").write_text('{"peft_type": "LORA"}', encoding="utf-8")
    assert main([str(adapter), "--system", "Read."]) == 2
    assert "say which with --base" in capsys.readouterr().err
    assert main([str(adapter), "--system", "Read.", "--base", "ann/tiny"]) == 0
