"""A contract with values of another type or size than training writes is a sentence, in the check and at the start."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from chartqa_demo.adapters.check import fetch_adapter
from chartqa_demo.adapters.contract import CONTRACT_FILE, Contract, read_contract
from chartqa_demo.errors import HubError

FINE = {"base": "bundled", "system": "Read the chart."}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"system": None}, "system has to be a text of at most 20,000 characters"),
        ({"system": ["Read."]}, "system has to be a text"),
        ({"system": "a" * 20_001}, "system has to be a text"),
        ({"system": "a" * 10**6}, "at most 1,000,000 are read"),
        ({"system": "\ud800"}, "surrogates not allowed"),
        ({"base": {"a": 1}}, "base has to be a text of at most 500"),
        ({"base_revision": 5}, "base_revision has to be a text"),
        ({"dataset": "a" * 501}, "dataset has to be a text"),
        ({"min_pixels": -1}, "min_pixels is -1; it has to be a whole number from 1 to 12,845,056"),
        ({"min_pixels": "784"}, "min_pixels is '784'"),
        ({"min_pixels": True}, "min_pixels is True"),
        ({"max_pixels": 0}, "max_pixels is 0"),
        ({"max_pixels": 784.5}, "max_pixels is 784.5"),
        ({"max_pixels": 10**4000}, "max_pixels is 1000"),
        ({"max_pixels": [784]}, "max_pixels is [784]"),
        ({"min_pixels": 9000, "max_pixels": 8000}, "min_pixels 9000 is larger than max_pixels 8000"),
        ({"scores": ["a"]}, "scores has to be an object of numbers"),
        ({"scores": {"adapter": "99"}}, "scores has to be an object of numbers"),
        ({"versions": {"torch": 2}}, "versions has to be an object of texts"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_wrong_value_is_a_sentence(change: dict[str, Any], sentence: str, tiny_adapter: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_adapter, tmp_path / "adapter")
    (folder / CONTRACT_FILE).write_text(json.dumps(FINE | change), encoding="utf-8")
    with pytest.raises(HubError) as refused:
        fetch_adapter(str(folder), None, "bundled")
    told = str(refused.value)
    assert sentence in told and len(told) < 400 + len(str(folder)) * 2 and told.count("\n") == 0


@pytest.mark.parametrize("text", ["", "null", "[]", "{}", "[" * 100_000, '{"base": 1e999}', "\ufeff{}"])
def test_a_file_that_is_no_contract_is_a_sentence(text: str, tmp_path: Path) -> None:
    (tmp_path / CONTRACT_FILE).write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="is not a usable adapter contract"):
        read_contract(tmp_path)


def test_what_training_writes_is_read_back(tmp_path: Path) -> None:
    written = Contract("ann/tiny", "", "abc", 3136, 12_845_056, "ann/charts", "train", 42, {"trl": "1"}, {"adapter": 9})
    written.save(tmp_path)
    assert read_contract(tmp_path) == written
