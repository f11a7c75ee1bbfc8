"""Recipes: what cannot work is refused, the shipped ones are what they say, 4-bit bases and two processes train."""

import errno
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from children import child
from datasets import Dataset
from hub import client_environment, hub_address
from safetensors import SafetensorError
from safetensors.torch import load_file
from train_fixtures import ROOT, write_config
from trl import SFTConfig

from chartqa_demo.adapters.contract import read_contract
from train.__main__ import main, parse
from train.base import check_adapter, load
from train.progress import public_command
from train.recipe import check_config

pytest_plugins = ("train_fixtures",)
pytestmark = pytest.mark.usefixtures("own_dataset_cache")


CONFIGS = [ROOT / "train/configs/bundled.yaml", *sorted((ROOT / "train/configs").glob("qwen2-vl-*.yaml"))]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"val_split": "held_out"}, "no split “held_out”"),
        ({"dataset": "no/such/folder"}, "no/such/folder"),
        ({"lora_target_modules": ["q_proj", "qkv"]}, "reach the vision tower"),
        ({"lora_target_modules": ["q_project", "v_project"]}, "q_project"),
        ({"use_peft": False}, "use_peft: true"),
        ({"hub_token": "hf_secret"}, "hf auth login"),
        ({"push_to_hub": True}, "hf auth login"),
        ({"model_name_or_path": "no/such/base/model"}, "neither a folder"),
        ({"unknown_setting": 1}, "unknown_setting"),
    ],
)
def test_what_cannot_work_is_a_sentence_before_the_training(
    change: dict[str, Any],
    reason: str,
    tiny_base: Path,
    charts: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(write_config(tmp_path, tiny_base, charts, **change)) == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.startswith("error: ")
    assert reason in message
    assert "hf_secret" not in message
    assert not list((tmp_path / "run").glob("checkpoint-*"))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"use_dora": True}, "The app could not serve the adapter of this run, which uses DoRA (use_dora)"),
        ({"lora_modules_to_save": ["lm_head"]}, "(modules_to_save)"),
        ({"lora_target_parameters": ["mlp.gate_proj.weight"]}, "uses LoRA on single parameters"),
        ({"lora_r": 512}, "has the rank 512; it has to be from 1 to 256"),
        ({"lora_task_type": "SEQ_CLS"}, "was trained for the task SEQ_CLS"),
        ({"lora_target_modules": ["q_proj", "embed_tokens"]}, "uses LoRA on the embeddings"),
        ({"lora_target_modules": ["q_proj", "lm_head"]}, "changes lm_head, which all arms share"),
        ({"lora_target_modules": r".*visual.*qkv"}, "reach the vision tower"),
    ],
    ids=str,
)
def test_what_the_app_could_not_serve_is_refused_before_any_weight_is_loaded(
    change: dict[str, Any],
    reason: str,
    tiny_base: Path,
    charts: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("train.base.base_folder", lambda *_: pytest.fail("weights were fetched"))
    assert main(write_config(tmp_path, tiny_base, charts, **change)) == 2
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert told.startswith("error: ") and reason in told
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"use_rslora": True},
        {"lora_target_modules": "all-linear"},
        {"lora_target_modules": r".*layers.*(q|up)_proj"},
    ],
    ids=str,
)
def test_what_the_app_serves_may_be_trained(
    change: dict[str, Any], tiny_base: Path, charts: Path, tmp_path: Path
) -> None:
    _, _, model_args = parse(write_config(tmp_path, tiny_base, charts, **change))
    check_adapter(model_args)


def test_missing_columns_are_named(tiny_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "charts"
    (folder / "data").mkdir(parents=True)
    Dataset.from_dict({"picture": ["a"], "text": ["b"]}).to_parquet(folder / "data" / "train.parquet")
    assert main(write_config(tmp_path, tiny_base, folder)) == 2
    assert "no column “image”" in capsys.readouterr().err


def test_the_vision_tower_can_stay_out_of_the_quantisation(tiny_base: Path) -> None:
    for wanted in ("true", "false"):
        recipe, _, model_args = parse(
            [
                *("--model_name_or_path", str(tiny_base), "--use_peft", "--output_dir", "unused", "--use_cpu"),
                *("--bf16", "false", "--load_in_4bit", "--dtype", "float32", "--vision_4bit", wanted),
            ]
        )
        model = load(recipe, model_args).model
        four_bit = [name for name, module in model.named_modules() if type(module).__name__ == "Linear4bit"]
        assert any("visual" in name for name in four_bit) == (wanted == "true")
        assert any("language_model" in name for name in four_bit)
        assert "lm_head" not in four_bit


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_shipped_config_is_understood(path: Path) -> None:
    """On a machine without a GPU, hence --use_cpu; the values are the recipe's."""
    recipe, args, model_args = parse(["--config", str(path), "--use_cpu"])
    assert isinstance(args, SFTConfig)
    assert args.max_length is None
    assert args.trackio_static_space_id is False
    assert args.hub_private_repo is not False or not args.push_to_hub
    assert recipe.accuracy_sample > 0
    assert set(model_args.lora_target_modules or ()) <= {
        *("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    }


def test_the_recipe_of_record_is_what_it_was() -> None:
    recipe, args, model_args = parse(["--config", str(ROOT / "train/configs/qwen2-vl-7b-chartqa.yaml"), "--use_cpu"])
    assert (recipe.train_split, recipe.val_split, recipe.test_split) == ("train[:10%]", "val[:10%]", "test[:10%]")
    assert recipe.dataset == "HuggingFaceM4/ChartQA"
    assert model_args.model_name_or_path == "Qwen/Qwen2-VL-7B-Instruct"
    assert (model_args.load_in_4bit, model_args.bnb_4bit_quant_type, model_args.use_bnb_nested_quant) == (
        True,
        "nf4",
        True,
    )
    assert (model_args.lora_r, model_args.lora_alpha, model_args.lora_dropout) == (8, 16, 0.05)
    assert model_args.lora_target_modules == ["q_proj", "v_proj"]
    assert (args.num_train_epochs, args.per_device_train_batch_size, args.gradient_accumulation_steps) == (3, 4, 8)
    assert (args.learning_rate, args.warmup_steps, args.max_grad_norm) == (2e-4, 0.03, 0.3)
    assert (args.logging_steps, args.eval_steps, args.save_steps) == (10, 10, 20)
    assert args.gradient_checkpointing
    assert args.gradient_checkpointing_kwargs == {"use_reentrant": False}
    assert args.optim == "adamw_torch_fused"
    assert args.bf16
    assert args.output_dir.endswith("qwen2-7b-instruct-trl-sft-ChartQA")
    assert args.project == "qwen2-7b-instruct-trl-sft-ChartQA"
    assert args.trackio_space_id == "qwen2-7b-instruct-trl-sft-ChartQA-trackio"
    assert args.push_to_hub


def test_the_published_command_names_no_folder_of_this_machine() -> None:
    command = ["--config", "train/configs/bundled.yaml", "--model_name_or_path", "/home/ann/models/qwen"]
    assert public_command(command) == "python -m train --config train/configs/bundled.yaml --model_name_or_path qwen"


def test_a_quantised_base_is_trained_and_measured(
    tiny_base: Path, charts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """QLoRA as the recipe of record has it, bitsandbytes' own 4-bit code included; it runs on a CPU too."""
    # On a CPU with AVX-512 BF16, bitsandbytes 0.50 lays weights out anew at the first measurement and cannot train then
    monkeypatch.setattr("bitsandbytes.nn.modules.has_avx512bf16", lambda: False)
    changes = {"load_in_4bit": True, "use_bnb_nested_quant": True, "dtype": "bfloat16", "bf16": True}
    changes |= {"max_steps": 2, "report_to": "none", "optim": "adamw_torch_fused", "activation_checkpointing": True}
    assert main(write_config(tmp_path, tiny_base, charts, **changes)) == 0
    assert "NF4" in json.loads((tmp_path / "run" / "results.json").read_text(encoding="utf-8"))["model"]
    weights = load_file(tmp_path / "run" / "adapter_model.safetensors")
    assert all("language_model" in name for name in weights)
    assert any(bool(weight.any()) for name, weight in weights.items() if "lora_B" in name)


# What `torchrun --standalone --nproc_per_node=2 -m train` does, with processes that need not import everything anew.
LAUNCHED = """
import sys
from torch.distributed.launcher.api import LaunchConfig, elastic_launch
from train.__main__ import main
config = LaunchConfig(
    min_nodes=1, max_nodes=1, nproc_per_node=2, max_restarts=0, start_method="fork", run_id="two",
    rdzv_backend="c10d", rdzv_endpoint="localhost:0",
)
codes = elastic_launch(config, main)(sys.argv[1:])
sys.exit(max(codes.values()))
"""


@pytest.mark.campaign  # two processes that share a model are in gpus/test_sharded_run.py
def test_two_processes_train_the_adapter_of_one(
    tiny_base: Path, charts: Path, tmp_path: Path, figure: Callable[[str, object], None]
) -> None:
    """Two rows in each of two processes against four rows in one: the same five losses and the same weights."""
    changes = {"max_steps": 5, "eval_steps": 5, "save_steps": 5, "report_to": "none"}
    for name in ("two", "one"):
        (tmp_path / name).mkdir()
    command = write_config(tmp_path / "two", tiny_base, charts, per_device_train_batch_size=2, **changes)
    with ThreadPoolExecutor() as beside:
        two = beside.submit(child, LAUNCHED, *command, **client_environment(hub_address(), tmp_path / "hf", token=None))
        assert main(write_config(tmp_path / "one", tiny_base, charts, per_device_train_batch_size=4, **changes)) == 0
    done = two.result()
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Ready in") == done.stdout.count("Trained on:") == 1
    contract = read_contract(tmp_path / "two" / "run")
    assert contract is not None
    assert contract.scores.keys() == {"pretrained", "prompted", "adapter"}

    found = {}
    for name in ("one", "two"):
        state = tmp_path / name / "run" / "checkpoint-5" / "trainer_state.json"
        history = json.loads(state.read_text(encoding="utf-8"))["log_history"]
        found[name] = {entry["step"]: entry["loss"] for entry in history if "loss" in entry}
    for name, five in found.items():
        figure(f"loss of five steps, {name} process(es)", [round(loss, 4) for loss in five.values()])
    assert list(found["one"]) == [1, 2, 3, 4, 5]
    assert len(set(found["one"].values())) == 5
    assert found["two"] == pytest.approx(found["one"], abs=1e-3)
    mine, other = (load_file(tmp_path / name / "run" / "adapter_model.safetensors") for name in ("one", "two"))
    assert all(torch.allclose(mine[name], other[name], atol=1e-3) for name in mine)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"per_device_train_batch_size": 0}, "per_device_train_batch_size is 0; it has to be at least 1."),
        ({"dataset": "generated", "train_charts": -3}, "train_charts is -3; it has to be at least 1."),
        ({"test_sample": 0}, "test_sample is 0; it has to be at least 1."),
        ({"learning_rate": float("nan")}, "learning_rate is nan; it has to be above 0."),
        ({"learning_rate": [1e-4, 2e-4]}, "learning_rate is [0.0001, 0.0002] in tiny.yaml; it has to be float."),
        ({"dataset": 5}, "dataset is 5 in tiny.yaml; it has to be str."),
        ({"output_dir": __file__}, "test_train_recipe.py cannot be written (File exists). Make room, or name another"),
        ({"train_split": "train[:0]"}, 'Instruction "train[:0]" corresponds to no data!'),
    ],
    ids=str,
)
def test_an_impossible_value_is_named_before_any_weights_are_loaded(
    change: dict[str, Any],
    reason: str,
    tiny_base: Path,
    charts: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("train.base.load", lambda *_: pytest.fail("weights were loaded"))
    assert main(write_config(tmp_path, tiny_base, charts, **change)) == 2
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert told.startswith("error: ") and reason in told


@pytest.mark.parametrize("text", ["a: [1, 2\nb: }", "- a\n", "", "a: \0", "caf\xe9: 1"], ids=repr)
def test_a_config_that_is_none_is_one_sentence(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "mine.yaml"
    config.write_bytes(text.encode("latin-1"))
    assert main(["--config", str(config)]) == 2
    (told,) = capsys.readouterr().err.strip().splitlines()
    assert told.startswith(f"error: The configuration {config} ")


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EROFS, "Read-only file system"),
        SafetensorError('IoError(Os { code: 28, kind: StorageFull, message: "No space left on device" })'),
        RuntimeError("[enforce fail at inline_container.cc:672] . PytorchStreamWriter failed writing file data/0"),
    ],
    ids=str,
)
def test_a_disk_that_fills_up_is_a_sentence_that_says_how_to_go_on(
    error: Exception, tmp_path: Path, tiny_base: Path, charts: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise error

    monkeypatch.setattr("train.__main__.fine_tune", full)
    assert main(write_config(tmp_path, tiny_base, charts)) == 2
    (told,) = capsys.readouterr().err.splitlines()
    assert told.startswith("error: The disk takes no more (") and told.endswith("continues from the last save.")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "cannot be read: it is no ordinary file"),
        ("a: x\n" * 300_000, "cannot be read: it has more than"),
        ("a: " + "[" * 20_000, "is no YAML: "),
        ("a: &a [*a]\nlearning_rate: *a\n", "learning_rate is "),
    ],
)
def test_a_config_without_an_end_or_nested_without_one_is_one_sentence(
    tmp_path: Path, text: str | None, told: str
) -> None:
    file = tmp_path / "x.yaml" if text else Path("/dev/zero")
    if text:
        file.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=told):
        check_config(["--config", str(file)], [SFTConfig])
