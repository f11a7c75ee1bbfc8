"""What a training run decides besides TRL's own settings: which charts, how they are measured, what is published.

Parsed by `TrlParser` beside `SFTConfig` and `ModelConfig`: every field is a key of the YAML files in
`train/configs/` and a flag of `python -m train`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from chartqa_demo.settings import HUB_DATASET

CONFIGS = Path(__file__).with_name("configs")
GENERATED = "generated"


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
