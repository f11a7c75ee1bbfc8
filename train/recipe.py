"""What a training run decides besides TRL's own settings: which charts, how they are measured, what is published.

Parsed by `TrlParser` beside `SFTConfig` and `ModelConfig`: every field is a key of the YAML files in
`train/configs/` and a flag of `python -m train`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import yaml

from chartqa_demo.data.strict import bytes_of
from chartqa_demo.settings import HUB_DATASET, LEAST_PIXELS, MOST_PIXELS

CONFIGS = Path(__file__).with_name("configs")
GENERATED = "generated"
MOST_CONFIG = 2**20  # bytes

# What a number of a run has to be, where a training with another one fails late or learns nothing.
AT_LEAST_1 = (1, math.inf, "at least 1")
NOT_NEGATIVE = (0, math.inf, "0 or more")
ABOVE_0 = (math.nextafter(0, 1), math.inf, "above 0")
PIXELS = (LEAST_PIXELS, MOST_PIXELS, f"from {LEAST_PIXELS:,} to {MOST_PIXELS:,}")
SEED = (0, 2**32 - 1, f"from 0 to {2**32 - 1:,}")
# fmt: off
NUMBERS = {
    **dict.fromkeys((
        "per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps", "train_charts",
        "val_charts", "test_charts", "train_sample", "test_sample", "accuracy_batch", "max_new_tokens", "lora_alpha",
        "save_total_limit",
    ), AT_LEAST_1),
    **dict.fromkeys((
        "accuracy_sample", "weight_decay", "max_grad_norm", "warmup_steps", "dataloader_num_workers",
    ), NOT_NEGATIVE),
    **dict.fromkeys(("num_train_epochs", "learning_rate", "logging_steps", "eval_steps", "save_steps"), ABOVE_0),
    **dict.fromkeys(("min_pixels", "max_pixels"), PIXELS),
    **dict.fromkeys(("seed", "data_seed"), SEED),
    "lora_dropout": (0, math.nextafter(1, 0), "from 0 to less than 1"),
}
# fmt: on


def with_packaged_config(arguments: Sequence[str]) -> list[str]:
    """The arguments of a run; `--config bundled.yaml` is a file of `train/configs`, unless there is one of that name.

    So the recipes can be used where only the package is installed.
    """
    found = list(arguments)
    for place, name in enumerate(found[1:], start=1):
        own = found[place - 1] != "--config" or Path(name).exists() or Path(name).name != name
        if not own and (CONFIGS / name).is_file():
            found[place] = str(CONFIGS / name)
    return found


def check_config(arguments: Sequence[str], parts: Sequence[type]) -> None:
    """Raises ValueError for a `--config` that is no YAML, and for a value in it of another type than its setting in
    one of the dataclasses `parts`, which would end in a traceback somewhere inside."""
    places = [place for place, word in enumerate(arguments) if word == "--config"]
    if not places:
        return
    if places[0] + 1 == len(arguments):
        raise ValueError("--config needs a file, such as own-charts.yaml.")
    path = Path(arguments[places[0] + 1])
    try:
        found = yaml.safe_load(bytes_of(path, MOST_CONFIG).decode("utf-8-sig"))
    except (OSError, ValueError) as error:
        raise ValueError(f"The configuration {path} cannot be read: {getattr(error, 'strerror', error)}.") from error
    except (yaml.YAMLError, RecursionError) as error:
        said = " ".join(str(error).split())
        raise ValueError(f"The configuration {path} is no YAML: {said[:300]}") from error
    if not isinstance(found, dict):
        raise ValueError(f"The configuration {path} has to hold settings, a line NAME: VALUE for each.")
    hints = {name: hint for part in parts for name, hint in get_type_hints(part).items()}
    for name, value in found.items():
        if name in hints and not _fits(value, hints[name]):
            wanted = getattr(hints[name], "__name__", None) or str(hints[name])
            raise ValueError(f"{name} is {str(value)[:80]} in {path.name}; it has to be {wanted}.")


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value of a YAML file can be one of that type; a text is read as a flag would be, and what is declared
    as something else than plain values is left to whoever declared it."""
    kinds = get_args(hint) if get_origin(hint) not in (None, list, dict, Literal) else (hint,)
    plain = {get_origin(kind) or kind for kind in kinds}
    if isinstance(value, str) or not plain <= {str, int, float, bool, list, dict, type(None)}:
        return True
    if isinstance(value, list):
        return list in plain and all(isinstance(one, str) for one in value)
    return type(value) in plain or (type(value) is int and float in plain)


def check_numbers(*parts: Any) -> None:
    """Raises ValueError for a number that no training can have."""
    for name, value in ((name, value) for part in parts for name, value in vars(part).items()):
        least, most, wanted = NUMBERS.get(name, (-math.inf, math.inf, "a number"))
        number = isinstance(value, int | float)
        if number and (not least <= value <= most or (math.isinf(value) and isinstance(value, float))):
            raise ValueError(f"{name} is {value}; it has to be {wanted}.")


@dataclass
class Recipe:
    """Our part of a run's configuration; the help texts are the documentation of the fields."""

    dataset: str = field(
        default=HUB_DATASET,
        metadata={
            "help": "Hub id, charts of your own (a folder of pictures with a CSV, JSONL or parquet file of image, "
            f"query and label; docs/own-charts.md), or '{GENERATED}': charts drawn by train/pretrain/charts."
        },
    )
    image_column: str | None = field(default=None, metadata={"help": "The column of pictures, where it is not image."})
    question_column: str | None = field(default=None, metadata={"help": "That of questions, where it is not query."})
    answer_column: str | None = field(default=None, metadata={"help": "That of answers, where it is not label."})
    train_split: str = field(default="train", metadata={"help": "Split to train on, slices allowed: train[:10%%]."})
    val_split: str = field(default="val", metadata={"help": "Split for the loss and the accuracy during training."})
    test_split: str = field(default="test", metadata={"help": "Held-out split for the final comparison."})
    mixture: list[str] | None = field(
        default=None,
        metadata={
            "help": "Data sets to train on together, each NAME=WEIGHT: NAME is 'dataset' (train_split of dataset), "
            f"'{GENERATED}' (train_charts charts of our own), a Hub id or a folder; WEIGHT how often an epoch shows "
            "each of its rows, a fraction for a part of them. Without it: dataset=1."
        },
    )
    move_charts: bool = field(
        default=False,
        metadata={
            "help": "Where the mixture shows a row of a data set more than once: move its chart on its page, "
            "resample, compress and shade it a little, another way each time after the first. Generated charts stay."
        },
    )
    train_sample: int | None = field(
        default=None, metadata={"help": "At most so many rows of each data set to train on, drawn with the seed."}
    )
    leave_out: list[str] = field(
        default_factory=list, metadata={"help": "File names, without endings, of charts that are not trained on."}
    )
    train_charts: int = field(default=1000, metadata={"help": "Generated charts to train on, one question each."})
    val_charts: int = field(default=32, metadata={"help": "Generated charts for the loss and the accuracy."})
    test_charts: int = field(default=400, metadata={"help": "Generated held-out charts for the final comparison."})
    skip_bad_rows: bool = field(
        default=False,
        metadata={"help": "Leave out rows without a readable chart, a question or an answer, and say how many."},
    )
    min_pixels: int | None = field(default=None, metadata={"help": "Enlarge charts that have fewer pixels."})
    max_pixels: int | None = field(
        default=None, metadata={"help": "Shrink charts that have more pixels; 784 pixels are one image token."}
    )
    base_id: str | None = field(
        default=None,
        metadata={"help": "Hub id of the base when model_name_or_path is a folder: what the adapter will name."},
    )
    vision_gradients: bool = field(
        default=False,
        metadata={"help": "Send gradients through the frozen vision tower: the same weights, more operations."},
    )
    vision_4bit: bool = field(
        default=True,
        metadata={
            "help": "With load_in_4bit or load_in_8bit: quantise the frozen vision tower too. Without, it is faster "
            "and half a gigabyte to a gigabyte larger."
        },
    )
    like_sizes: bool = field(
        default=False,
        metadata={
            "help": "Put charts of like size into one batch, within each optimiser step: the same rows in every step, "
            "less padding, batches of like cost."
        },
    )
    embeddings_on_host: bool = field(
        default=False,
        metadata={"help": "Keep the frozen input embeddings in host memory: one GiB less of a 7B model on the GPU."},
    )
    accuracy_sample: int = field(
        default=100, metadata={"help": "Validation questions answered at the start and at each save; 0 for none."}
    )
    accuracy_batch: int = field(default=8, metadata={"help": "Questions answered in one batch."})
    test_sample: int | None = field(
        default=None, metadata={"help": "At most so many held-out questions, drawn with the seed; default: all."}
    )
    max_new_tokens: int = field(default=32, metadata={"help": "Longest answer when accuracy is measured, in tokens."})
    resume: bool = field(
        default=False, metadata={"help": "Continue the run in output_dir from its last save, in the same trackio run."}
    )
    dry_run: bool = field(
        default=False, metadata={"help": "Train, measure and prepare everything to publish, and push nothing."}
    )
    push_only: bool = field(default=False, metadata={"help": "Only publish the finished adapter in output_dir."})
