"""Merging: the checkpoint answers as base and adapter did, in this app and in plain transformers; refusals."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny import build_tiny, build_tiny_adapter, chart, last
from transformers import AutoModelForImageTextToText, AutoProcessor

from chartqa_demo.adapters.contract import Contract
from chartqa_demo.arms import PROMPTED, SYSTEM_MESSAGE, messages
from chartqa_demo.engines import Options
from chartqa_demo.engines.local import LocalEngine, load_local
from chartqa_demo.settings import BUNDLED_CHARTS, Settings
from train.merge import main

QUESTION = "How many bars are above 40?"


@pytest.fixture(scope="module")
def contracted(tiny_adapter: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny adapter with a contract that sets everything a merged checkpoint has to keep."""
    folder = shutil.copytree(tiny_adapter, tmp_path_factory.mktemp("merge") / "my-adapter")
    Contract("base", "Read the chart.\nA word will do.", min_pixels=784, max_pixels=784 * 30).save(folder)
    return folder


@pytest.fixture(scope="module")
def merged(contracted: Path, tiny_base: Path) -> Path:
    out = contracted.parent / "merged"
    assert main([str(contracted), str(out), "--base", str(tiny_base)]) == 0
    return out


def engine_of(base: Path | str, adapter: str) -> LocalEngine:
    return load_local(Settings(base=str(base), adapter=adapter, device="cpu", dtype="float32"))


def adapter_texts(engine: LocalEngine, charts: list[Image.Image], question: str) -> list[str]:
    return [last(engine.answer(one, question, engine.arms[2:], Options(max_new_tokens=16)))[0].text for one in charts]


def prompted_texts(engine: LocalEngine, charts: list[Image.Image], question: str, system: str) -> list[str]:
    options = Options(max_new_tokens=16, system=system)
    return [last(engine.answer(one, question, [PROMPTED], options))[0].text for one in charts]


def test_the_merged_checkpoint_is_a_base_that_answers_as_base_and_adapter_did(
    merged: Path, contracted: Path, tiny_base: Path
) -> None:
    charts = [chart(seed, (168 + 56 * seed, 112)) for seed in range(3)]
    before = engine_of(tiny_base, str(contracted))
    texts = adapter_texts(before, charts, QUESTION)
    base_texts = prompted_texts(before, charts, QUESTION, "Read the chart.\nA word will do.")
    assert all(one != other for one, other in zip(texts, base_texts, strict=True)), "the adapter changes the answers"
    assert prompted_texts(engine_of(merged, "none"), charts, QUESTION, "Read the chart.\nA word will do.") == texts


def test_the_merged_checkpoint_generates_in_plain_transformers_what_peft_generates(
    merged: Path, contracted: Path, tiny_base: Path
) -> None:
    processor: Any = AutoProcessor.from_pretrained(merged)
    prompt = processor.apply_chat_template(messages(PROMPTED, QUESTION), tokenize=False, add_generation_prompt=True)
    inputs = processor(text=[prompt], images=[chart(5)], return_tensors="pt")
    base: Any = AutoModelForImageTextToText.from_pretrained(tiny_base, dtype=torch.float32)
    peft: Any = PeftModel.from_pretrained(base, str(contracted)).eval()
    alone: Any = AutoModelForImageTextToText.from_pretrained(merged, dtype=torch.float32).eval()
    expected = peft.generate(**inputs, max_new_tokens=24, do_sample=False)
    assert alone.generate(**inputs, max_new_tokens=24, do_sample=False).tolist() == expected.tolist()
    assert alone.generation_config.eos_token_id == base.generation_config.eos_token_id


def test_processor_template_and_card_come_along(merged: Path, contracted: Path, tiny_base: Path) -> None:
    template = (tiny_base / "chat_template.jinja").read_text(encoding="utf-8")
    assert (merged / "chat_template.jinja").read_text(encoding="utf-8") == template
    for name in ("processor_config.json", "preprocessor_config.json"):
        found = json.loads((merged / name).read_text(encoding="utf-8"))
        assert found.get("image_processor", found)["size"] == {"shortest_edge": 784, "longest_edge": 784 * 30}
    assert AutoProcessor.from_pretrained(merged).image_processor.size["longest_edge"] == 784 * 30
    card = (merged / "README.md").read_text(encoding="utf-8")
    assert "    Read the chart.\n    A word will do." in card
    assert "at least 784 and at most 23,520 pixels" in card
    assert "| adapter | my-adapter |" in card and "| base | base |" in card
    assert "rank 4, alpha 8, on `q_proj, v_proj`" in card and "float32" in card
    for file in merged.iterdir():
        assert str(tiny_base.parent).encode() not in file.read_bytes(), f"{file.name} names a path of this machine"


@pytest.mark.parametrize("count", [1, pytest.param(4, marks=pytest.mark.campaign)])
def test_the_bundled_adapter_merged_answers_its_charts_alike(tmp_path: Path, count: int) -> None:
    assert main(["bundled", str(tmp_path / "out"), "--dtype", "float32"]) == 0
    charts = [Image.open(path).convert("RGB") for path in sorted(BUNDLED_CHARTS.glob("*.png"))[:count]]
    question = "What is the highest value?"
    texts = adapter_texts(engine_of("bundled", "bundled"), charts, question)
    assert prompted_texts(engine_of(tmp_path / "out", "none"), charts, question, SYSTEM_MESSAGE) == texts
    assert SYSTEM_MESSAGE in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")


def test_large_weights_are_written_in_shards_with_their_index(
    contracted: Path, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("train.merge.SHARD", "200KB")
    out = tmp_path / "out"
    assert main([str(contracted), str(out), "--base", str(tiny_base)]) == 0
    assert len(list(out.glob("model-*-of-*.safetensors"))) > 1
    assert (out / "model.safetensors.index.json").is_file()
    assert engine_of(out, "none").adapter is None


def test_an_adapter_without_a_contract_is_merged_and_the_card_says_what_is_not_known(
    tiny_adapter: Path, tmp_path: Path
) -> None:
    assert main([str(tiny_adapter), str(tmp_path / "out")]) == 0  # its config names the folder of its base
    assert "is not known" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")


def another_base(folder: Path, base: Path) -> list[str]:
    build_tiny(folder / "other")
    config = json.loads((folder / "other" / "config.json").read_text(encoding="utf-8"))
    config["quantization_config"] = {"quant_method": "bitsandbytes"}
    (folder / "other" / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return ["--base", str(folder / "other")]


def unknown_base(folder: Path, base: Path) -> list[str]:
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = "/home/ann/qwen"
    (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    return []


def no_config(folder: Path, base: Path) -> list[str]:
    (folder / "adapter_config.json").unlink()
    return ["--base", str(base)]


def broken_contract(folder: Path, base: Path) -> list[str]:
    (folder / "chartqa_contract.json").write_text("{", encoding="utf-8")
    return ["--base", str(base)]


def other_type(folder: Path, base: Path) -> list[str]:
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    (folder / "adapter_config.json").write_text(json.dumps(config | {"peft_type": "IA3"}), encoding="utf-8")
    return ["--base", str(base)]


def other_shapes(folder: Path, base: Path) -> list[str]:
    return ["--base", "bundled"]


def not_finite(folder: Path, base: Path) -> list[str]:
    weights = load_file(folder / "adapter_model.safetensors")
    weights[next(key for key in weights if "lora_B" in key)].fill_(float("inf"))
    save_file(weights, folder / "adapter_model.safetensors")
    return ["--base", str(base)]


def trained_on_another(folder: Path, base: Path) -> list[str]:
    Contract("Qwen/Qwen2-VL-2B-Instruct", "Read.").save(folder)
    return ["--base", "bundled"]


def base_is_nowhere(folder: Path, base: Path) -> list[str]:
    return ["--base", "no such base"]


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (another_base, "is quantised"),
        (unknown_base, "'/home/ann/qwen', which is neither a folder"),
        (no_config, "has no adapter_config.json"),
        (broken_contract, "cannot be read"),
        (other_type, "IA3"),
        (other_shapes, "does not fit this base model"),
        (not_finite, "cannot be merged"),
        (trained_on_another, "was trained on Qwen/Qwen2-VL-2B-Instruct, but the base is bundled"),
        (base_is_nowhere, "neither a folder on this machine nor a Hub id"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_cannot_be_merged_is_a_sentence_and_leaves_nothing(
    harm, reason: str, tiny_base: Path, tiny_adapter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(tiny_adapter, tmp_path / "adapter")
    flags = harm(folder, tiny_base)
    capsys.readouterr()
    assert main([str(folder), str(tmp_path / "out"), *flags]) == 2
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(told) == 1 and reason in told[0]
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".out*"))


def test_the_card_says_what_the_weights_are_and_not_what_a_pattern_says(tiny_base: Path, tmp_path: Path) -> None:
    folder = build_tiny_adapter(tiny_base, tmp_path / "adapter")
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    config |= {"target_modules": 7, "use_rslora": True, "alpha_pattern": {"v_proj": 3}}
    (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    assert main([str(folder), str(tmp_path / "out")]) == 0
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "rank 4, alpha 3 or 8, on `q_proj, v_proj`, scaled as in rsLoRA" in card


def test_a_folder_that_holds_something_is_not_written_over(
    tiny_adapter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "precious.txt").write_text("mine", encoding="utf-8")
    assert main([str(tiny_adapter), str(tmp_path)]) == 2
    assert "is there already and not empty" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]


def test_a_disk_that_is_too_small_is_a_sentence(
    tiny_adapter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("train.merge.shutil.disk_usage", lambda path: shutil._ntuple_diskusage(10, 9, 1))
    assert main([str(tiny_adapter), str(tmp_path / "out")]) == 2
    assert "are free in" in capsys.readouterr().err


def test_a_merged_weight_that_half_precision_cannot_hold_is_a_sentence(
    tiny_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = build_tiny_adapter(tiny_base, tmp_path / "adapter")
    weights = load_file(folder / "adapter_model.safetensors")
    save_file({key: value * 1000 for key, value in weights.items()}, folder / "adapter_model.safetensors")
    assert main([str(folder), str(tmp_path / "out"), "--dtype", "float16"]) == 2
    assert "cannot be merged in float16" in capsys.readouterr().err
