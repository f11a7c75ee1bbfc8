"""Fixtures of the training's tests: tables of small charts, a recipe of a few steps, a trainer on a tiny base."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from datasets import Dataset, Features, Image, Value
from datasets import Sequence as ListOf
from PIL import Image as Pictures
from PIL import ImageDraw
from transformers import AutoModelForImageTextToText, AutoProcessor
from trl import get_peft_config

from chartqa_demo.data.splits import Example
from train.__main__ import parse
from train.data import chart_rows
from train.trainer import ChartTrainer

ROOT = Path(__file__).parents[2]
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


@pytest.fixture
def own_dataset_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path_factory.getbasetemp() / "datasets")


def write_config(tmp_path: Path, base: Path, charts: Path, **changes: Any) -> list[str]:
    path = tmp_path / "tiny.yaml"
    settings = {"model_name_or_path": str(base), "dataset": str(charts), "output_dir": str(tmp_path / "run")}
    path.write_text(yaml.safe_dump(SMALL_RUN | settings | changes), encoding="utf-8")
    return ["--config", str(path)]


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
        model=AutoModelForImageTextToText.from_pretrained(base, dtype=model_args.dtype),
        args=args,
        processing_class=AutoProcessor.from_pretrained(base),
        train_dataset=chart_rows(charts),
        peft_config=get_peft_config(model_args),
        base_name="tiny",
    )
