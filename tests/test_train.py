"""The training module on a tiny random Qwen2-VL: real TRL, PEFT and transformers, a few steps each."""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from datasets import Dataset, Features, Image, Value
from datasets import Sequence as ListOf
from peft import PeftModel
from PIL import Image as Pictures
from PIL import ImageDraw
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText, AutoProcessor
from trl.trainer.sft_config import SFTConfig
from trl.trainer.utils import get_peft_config

from chartqa_demo.arms import ARMS, SYSTEM_MESSAGE
from chartqa_demo.contract import read_contract
from chartqa_demo.dataset import Example
from chartqa_demo.engines import Options
from chartqa_demo.engines.loading import Choice, load_adapter
from chartqa_demo.engines.local import LocalEngine, load_engine
from chartqa_demo.settings import Settings
from train.__main__ import main, parse
from train.base import load
from train.data import DataError, chart_rows, usable
from train.progress import last_save, public_command
from train.publish import check_adapter
from train.scoring import training_engine
from train.trainer import ChartTrainer, stop_gradients_at_vision

ROOT = Path(__file__).parent.parent
CONFIGS = [ROOT / "train/configs/bundled.yaml", *sorted((ROOT / "train/configs").glob("qwen2-vl-*.yaml"))]
FEATURES = Features(
    {"image": Image(decode=False), "query": Value("string"), "label": ListOf(Value("string")),
     "human_or_machine": Value("int64")}
)  # fmt: skip
SMALL_RUN = {
    "dtype": "float32",
    "use_peft": True,
    "lora_r": 4,
    "lora_alpha": 8,
    "lora_dropout": 0.0,
    "lora_target_modules": ["q_proj", "v_proj"],
    "max_length": None,
    "max_new_tokens": 4,
    "max_steps": 4,
    "per_device_train_batch_size": 2,
    "per_device_eval_batch_size": 2,
    "activation_checkpointing": False,
    "optim": "adamw_torch",
    "learning_rate": 5e-3,
    "use_cpu": True,
    "bf16": False,
    "logging_steps": 1,
    "eval_strategy": "steps",
    "eval_steps": 1,
    "save_strategy": "steps",
    "save_steps": 2,
    "accuracy_sample": 2,
    "accuracy_batch": 2,
    "report_to": "trackio",
    "project": "tiny",
    "trackio_static_space_id": False,
}


def png(number: int, mode: str = "RGB") -> bytes:
    """A small bar chart; the number decides the heights. RGBA is transparent where nothing is drawn."""
    image = Pictures.new(mode, (168, 112), (0, 0, 0, 0) if mode == "RGBA" else "white")
    draw = ImageDraw.Draw(image)
    for bar in range(4):
        height = 10 + 10 * ((number + 3 * bar) % 8)
        draw.rectangle([20 + 36 * bar, 110 - height, 44 + 36 * bar, 110], fill=("red", "blue", "green", "orange")[bar])
    data = BytesIO()
    image.save(data, "PNG")
    return data.getvalue()


def table(rows: int, first: int = 0) -> list[dict[str, Any]]:
    return [
        {"image": {"bytes": png(i), "path": None}, "query": f"What is the value of bar {i}?", "label": [str(i % 8)],
         "human_or_machine": i % 2}
        for i in range(first, first + rows)
    ]  # fmt: skip


def write_charts(folder: Path, **splits: list[dict[str, Any]]) -> Path:
    """A folder in the layout of HuggingFaceM4/ChartQA."""
    (folder / "data").mkdir(parents=True)
    for split, rows in splits.items():
        Dataset.from_list(rows, features=FEATURES).to_parquet(folder / "data" / f"{split}-00000-of-00001.parquet")
    files = [{"split": split, "path": f"data/{split}-*.parquet"} for split in splits]
    card = yaml.safe_dump({"configs": [{"config_name": "default", "data_files": files}]})
    (folder / "README.md").write_text(f"---\n{card}---\n", encoding="utf-8")
    return folder


def examples(rows: Sequence[tuple[bytes, str, str]]) -> list[Example]:
    return [
        Example(f"train/{i}", str(i), question, (gold,), "human", "other", lambda data=data: data)
        for i, (data, question, gold) in enumerate(rows)
    ]


@pytest.fixture(scope="session")
def charts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("charts") / "tiny-charts"
    return write_charts(folder, train=table(8), val=table(2, 100), test=table(4, 200))


@pytest.fixture(autouse=True)
def caches(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path_factory.getbasetemp() / "datasets")


def write_config(tmp_path: Path, base: Path, charts: Path, **changes: Any) -> list[str]:
    path = tmp_path / "tiny.yaml"
    settings = {"model_name_or_path": str(base), "dataset": str(charts), "output_dir": str(tmp_path / "run")}
    path.write_text(yaml.safe_dump(SMALL_RUN | settings | changes), encoding="utf-8")
    return ["--config", str(path)]


def run(command: list[str], trackio: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """`python -m train` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "train", *command],
        cwd=ROOT,
        env={**os.environ, "TRACKIO_DIR": str(trackio), "OMP_NUM_THREADS": "1", **environ},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def small_trainer(base: Path, folder: Path, charts: list[Example], *flags: str) -> ChartTrainer:
    _, args, model_args = parse(
        [
            *("--model_name_or_path", str(base), "--output_dir", str(folder), "--use_peft", "--max_length", "none"),
            *("--lora_target_modules", "q_proj", "v_proj", "--use_cpu", "--bf16", "false", "--max_steps", "3"),
            *("--per_device_train_batch_size", "2", "--remove_unused_columns", "false", "--save_strategy", "no"),
            *("--learning_rate", "0.005", "--disable_tqdm", "true", *flags),
        ]
    )
    return ChartTrainer(
        model=AutoModelForImageTextToText.from_pretrained(base, dtype=torch.float32),
        args=args,
        processing_class=AutoProcessor.from_pretrained(base),
        train_dataset=chart_rows(charts),
        peft_config=get_peft_config(model_args),
        base_name="tiny",
    )


def test_the_loss_is_on_the_answer_and_its_end_token_only(
    tiny_base: Path, tmp_path: Path, figure: Callable[[str, object], None]
) -> None:
    rows = examples(
        [(png(1), "How many bars?", "4"), (png(2), "Which is highest?", "Blue"), (png(3), "Share?", "0.25")]
    )
    trainer = small_trainer(tiny_base, tmp_path, rows)
    dataset = chart_rows(rows)
    texts = trainer.supervised_texts([dataset[i] for i in range(3)])
    figure("supervised tokens of three rows", " ".join(texts))
    assert texts == [r"'4<|im_end|>\n'", r"'Blue<|im_end|>\n'", r"'0.25<|im_end|>\n'"]


def test_a_row_is_prompted_like_the_adapter_arm(tiny_base: Path, tmp_path: Path) -> None:
    rows = chart_rows(examples([(png(1), "How many bars?", "4")]))
    batch = small_trainer(tiny_base, tmp_path, examples([(png(1), "How many bars?", "4")])).data_collator([rows[0]])
    text = AutoProcessor.from_pretrained(tiny_base).tokenizer.decode(batch["input_ids"][0])
    assert SYSTEM_MESSAGE in text
    assert text.count("<|image_pad|>") == batch["mm_token_type_ids"].sum()
    assert text.endswith("How many bars?<|im_end|>\n<|im_start|>assistant\n4<|im_end|>\n")


def test_charts_are_decoded_when_their_batch_is_made_and_not_before() -> None:
    reads: list[int] = []

    def read(number: int) -> bytes:
        reads.append(number)
        return png(number)

    charts = [
        Example(f"train/{i}", str(i), "How many?", ("4",), "human", "other", lambda i=i: read(i)) for i in range(5)
    ]
    rows = chart_rows(charts)
    assert reads == []
    rows[3]
    assert reads == [3]


def test_a_transparent_chart_is_trained_on_white() -> None:
    rows = chart_rows(examples([(png(1, "RGBA"), "How many?", "4")]))
    assert rows[0]["images"][0].mode == "RGB"
    assert rows[0]["images"][0].getpixel((0, 0)) == (255, 255, 255)


def test_charts_are_laid_on_the_canvases_of_the_base_model() -> None:
    rows = chart_rows(examples([(png(1), "How many?", "4")]), canvases=[(560, 420), (420, 560)])
    assert rows[0]["images"][0].size == (560, 420)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ((b"\x89PNG no picture at all", "How many?", "4"), "its chart"),
        ((png(1)[:200], "How many?", "4"), "its chart"),
        ((png(1), "  ", "4"), "its question is empty"),
        ((png(1), "How many?", " "), "its answer is empty"),
    ],
)
def test_a_row_that_cannot_be_used_is_named_or_counted(
    row: tuple[bytes, str, str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = examples([(png(i), "How many?", "4") for i in range(20)])
    rows[17] = examples([row])[0]
    with pytest.raises(DataError, match=f"Row 17 of charts, split train .*{reason}.*--skip_bad_rows"):
        usable(rows, "charts, split train")
    assert len(usable(rows, "charts, split train", skip_bad_rows=True)) == 19
    assert "1 of 20 rows left out; the first is row 17" in capsys.readouterr().out


def test_a_split_without_one_usable_row_is_refused() -> None:
    with pytest.raises(DataError, match="no row that can be used"):
        usable(examples([(b"", "How many?", "4")]), "charts, split train", skip_bad_rows=True)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"val_split": "validation"}, "no split “validation”"),
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


def test_missing_columns_are_named(tiny_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "charts"
    (folder / "data").mkdir(parents=True)
    Dataset.from_dict({"picture": ["a"], "text": ["b"]}).to_parquet(folder / "data" / "train.parquet")
    assert main(write_config(tmp_path, tiny_base, folder)) == 2
    assert "no column “image”" in capsys.readouterr().err


def test_the_frozen_vision_tower_without_gradients_gives_the_same_weights(tiny_base: Path, tmp_path: Path) -> None:
    """And is not propagated through: the count of backward passes through its first block tells."""
    rows = examples([(png(i), "How many bars?", str(i)) for i in range(6)])
    weights, backwards = [], []
    for without in (False, True):
        trainer = small_trainer(tiny_base, tmp_path / str(without), rows, "--activation_checkpointing", "true")
        if without:
            stop_gradients_at_vision(trainer.model)
        seen: list[int] = []
        block = trainer.model.get_base_model().model.visual.blocks[0].mlp
        block.register_full_backward_hook(lambda *_, seen=seen: seen.append(1))
        trainer.train()
        weights.append({name: w.detach().clone() for name, w in trainer.model.named_parameters() if w.requires_grad})
        backwards.append(len(seen))
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert any(bool(w.any()) for name, w in weights[0].items() if "lora_B" in name)
    assert backwards == [3, 0]


def step_losses(trainer: ChartTrainer) -> list[float]:
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def test_charts_of_like_size_are_batched_within_a_step_and_the_steps_stay_the_same(
    tiny_base: Path, tmp_path: Path
) -> None:
    rows = examples([(png(n), f"How many bars are above {n}0?", str(n) * (1 + n % 3)) for n in range(12)])
    flags = ("--gradient_accumulation_steps", "2", "--logging_steps", "1", "--lora_dropout", "0")
    plain = small_trainer(tiny_base, tmp_path / "plain", rows, *flags)
    grouped = small_trainer(tiny_base, tmp_path / "grouped", rows, *flags)
    grouped.sizes = [number * 7 % 12 for number in range(12)]
    loaders: list[Any] = [one.get_train_dataloader() for one in (plain, grouped)]
    orders = [[row for batch in loader.batch_sampler for row in batch] for loader in loaders]
    assert orders[0] != orders[1]
    for first in range(0, 12, 4):  # two batches of two
        step = orders[1][first : first + 4]
        assert set(step) == set(orders[0][first : first + 4])
        sizes = [grouped.sizes[row] for row in step]
        assert sizes == sorted(sizes, reverse=True)
    assert step_losses(grouped) == pytest.approx(step_losses(plain), rel=1e-4)


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


@pytest.fixture(scope="module")
def finished(tiny_base: Path, charts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was never interrupted."""
    folder = tmp_path_factory.mktemp("finished")
    command = write_config(folder, tiny_base, charts, base_id="ann/tiny", max_pixels=40_000)
    done = run(command, folder / "trackio", HF_TOKEN="hf_secret_token")
    assert done.returncode == 0, done.stderr
    assert "Trained on:" in done.stdout
    return folder / "run"


def test_a_run_leaves_an_adapter_with_its_contract_results_and_card(finished: Path) -> None:
    config = json.loads((finished / "adapter_config.json").read_text(encoding="utf-8"))
    contract = read_contract(finished)
    assert contract is not None
    assert config["base_model_name_or_path"] == contract.base == "ann/tiny"
    assert contract.system == SYSTEM_MESSAGE
    assert contract.max_pixels == 40_000
    assert (contract.dataset, contract.split, contract.seed) == ("tiny-charts", "train", 42)
    assert contract.scores.keys() == {"pretrained", "prompted", "adapter"}
    assert contract.versions["trl"]
    assert (finished / "results.json").is_file()
    card = (finished / "README.md").read_text(encoding="utf-8")
    assert "model-index" in card
    assert "base_model: ann/tiny" in card


def test_the_pixel_limits_travel_with_the_adapter(finished: Path) -> None:
    processor = AutoProcessor.from_pretrained(finished)
    assert processor.image_processor.size["longest_edge"] == 40_000


def test_nothing_of_this_machine_is_in_the_files_to_publish(finished: Path, tiny_base: Path) -> None:
    for path in check_adapter(finished):
        data = path.read_bytes()
        for secret in (b"hf_secret_token", str(tiny_base).encode(), str(finished.parent).encode(), str(ROOT).encode()):
            assert secret not in data, path.name


def test_no_file_of_a_run_holds_the_token(finished: Path) -> None:
    files = [path for path in finished.parent.rglob("*") if path.is_file()]
    assert any(path.name == "training_args.bin" for path in files)
    assert not [path for path in files if b"hf_secret_token" in path.read_bytes()]


def test_the_trained_adapter_loads_on_its_base_and_changes_its_logits(finished: Path, tiny_base: Path) -> None:
    base = AutoModelForImageTextToText.from_pretrained(tiny_base, dtype=torch.float32)
    ids = torch.arange(20, 40)[None]
    inputs = {"input_ids": ids, "mm_token_type_ids": torch.zeros_like(ids)}
    with torch.no_grad():
        before = base(**inputs).logits
        after = load_adapter(base, finished)(**inputs).logits
    assert (before - after).abs().max() > 1e-4


def test_the_adapter_in_training_answers_like_the_saved_one(tiny_base: Path, tiny_adapter: Path) -> None:
    served = load_engine(Settings(base=str(tiny_base), adapter=str(tiny_adapter)))
    base = AutoModelForImageTextToText.from_pretrained(tiny_base, dtype=torch.float32)
    trained = PeftModel.from_pretrained(base, tiny_adapter, adapter_name="default").eval()
    choice = Choice("tiny", "none", torch.float32, torch.device("cpu"))
    training = training_engine(trained, AutoProcessor.from_pretrained(tiny_base), choice, Settings(), "tiny")
    asked = [(Pictures.open(BytesIO(png(number))), "What is the value of bar 1?") for number in range(3)]

    def texts(engine: LocalEngine) -> list[list[str]]:
        return [[answer.text for answer in answers] for answers in engine.answer_many(asked, ARMS, Options(6))]

    assert texts(training) == texts(served)
    assert all(prompted != adapter for _, prompted, adapter in texts(training))


def test_a_folder_that_holds_a_run_is_not_trained_over(
    finished: Path, tiny_base: Path, charts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(write_config(tmp_path, tiny_base, charts, output_dir=str(finished))) == 2
    assert "--resume" in capsys.readouterr().err


def logged(trackio: Path) -> list[dict[str, Any]]:
    """Every row of the one run in a trackio store."""
    with closing(sqlite3.connect(trackio / "tiny.db")) as store:
        rows = store.execute("SELECT run_id, metrics FROM metrics ORDER BY timestamp, id").fetchall()
    assert len({run for run, _ in rows}) == 1
    return [json.loads(metrics) for _, metrics in rows]


def losses(trackio: Path) -> list[tuple[int, float]]:
    return [(row["train/global_step"], row["train/loss"]) for row in logged(trackio) if "train/loss" in row]


def test_a_killed_run_goes_on_from_its_last_save_to_the_same_adapter(
    finished: Path, tiny_base: Path, charts: Path, tmp_path: Path
) -> None:
    """kill -9 after the first save and before the next: same weights, one trackio run, no step twice."""
    command = write_config(tmp_path, tiny_base, charts, base_id="ann/tiny", max_pixels=40_000)
    trackio = tmp_path / "trackio"
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, *command],
        cwd=ROOT,
        env={**os.environ, "TRACKIO_DIR": str(trackio), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    _, errors = child.communicate(timeout=300)
    assert child.returncode == -9, errors.decode()
    assert [step for step, _ in losses(trackio)] == [1, 2, 3]
    assert last_save(tmp_path / "run", resume=True) == tmp_path / "run" / "checkpoint-2"

    done = run([*command, "--resume"], trackio)
    assert done.returncode == 0, done.stderr
    assert [step for step, _ in losses(trackio)] == [1, 2, 3, 4]
    assert dict(losses(trackio)) == pytest.approx(dict(losses(finished.parent / "trackio")))
    steps = [row["train/global_step"] for row in logged(trackio) if "eval/accuracy_adapter" in row]
    assert steps == [0, 2, 4]
    mine, other = (
        load_file(tmp_path / "run" / "adapter_model.safetensors"),
        load_file(finished / "adapter_model.safetensors"),
    )
    assert all(torch.allclose(mine[name], other[name], atol=1e-6) for name in other)


# Kills itself in the middle of step 4, when trackio has written what it was given at step 3.
KILLED = """
import os, signal, sys, time
from transformers import TrainerCallback
import train.__main__ as program

class Kill(TrainerCallback):
    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == 3:
            from trackio.sqlite_storage import SQLiteStorage as S
            while not any(row.get("train/global_step") == 3 for row in S.get_logs("tiny", run=args.run_name)):
                time.sleep(0.05)
            os.kill(os.getpid(), signal.SIGKILL)

class Trainer(program.ChartTrainer):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, callbacks=[Kill()], **kwargs)

program.ChartTrainer = Trainer
sys.exit(program.main(sys.argv[1:]))
"""


def test_a_half_written_save_is_passed_over(tmp_path: Path) -> None:
    for step, state in ((2, "{}"), (4, '{"global_st')):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "adapter_model.safetensors").write_bytes(b"weights")
        (folder / "trainer_state.json").write_text(state, encoding="utf-8")
    (tmp_path / "checkpoint-6").mkdir()
    assert last_save(tmp_path, resume=True) == tmp_path / "checkpoint-2"


def test_resuming_where_nothing_was_saved_starts_from_the_beginning(tmp_path: Path) -> None:
    assert last_save(tmp_path / "nothing", resume=True) is None


def test_a_quantised_base_is_trained_and_measured(tiny_base: Path, charts: Path, tmp_path: Path) -> None:
    """QLoRA as the recipe of record has it, bitsandbytes' own 4-bit code included; it runs on a CPU too."""
    changes = {"load_in_4bit": True, "use_bnb_nested_quant": True, "dtype": "bfloat16", "bf16": True}
    changes |= {"max_steps": 2, "report_to": "none", "optim": "adamw_torch_fused", "activation_checkpointing": True}
    assert main(write_config(tmp_path, tiny_base, charts, **changes)) == 0
    assert "NF4" in json.loads((tmp_path / "run" / "results.json").read_text(encoding="utf-8"))["model"]
    weights = load_file(tmp_path / "run" / "adapter_model.safetensors")
    assert all("language_model" in name for name in weights)
    assert any(bool(weight.any()) for name, weight in weights.items() if "lora_B" in name)


def test_two_processes_train_the_adapter_of_one(
    tiny_base: Path, charts: Path, tmp_path: Path, figure: Callable[[str, object], None]
) -> None:
    """Two rows in each of two processes against four rows in one: the same five losses and the same weights."""
    changes = {"max_steps": 5, "eval_steps": 5, "save_steps": 5, "report_to": "none"}
    for name in ("two", "one"):
        (tmp_path / name).mkdir()
    command = write_config(tmp_path / "two", tiny_base, charts, per_device_train_batch_size=2, **changes)
    two = subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "train", *command],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert main(write_config(tmp_path / "one", tiny_base, charts, per_device_train_batch_size=4, **changes)) == 0
    printed, errors = two.communicate(timeout=300)
    assert two.returncode == 0, errors
    assert printed.count("Ready in") == printed.count("Trained on:") == 1
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
