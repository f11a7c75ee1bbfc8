"""The base model of a run: loaded as the configuration says, and named so that others can find it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoModelForImageTextToText, AutoProcessor, PreTrainedModel
from trl.trainer.model_config import ModelConfig
from trl.trainer.utils import get_quantization_config

from chartqa_demo.engines.loading import Choice, set_pixel_limits
from chartqa_demo.hub import MODEL_FILES, local_folder
from chartqa_demo.images import Size
from chartqa_demo.settings import BUNDLED_BASE, Settings
from train.progress import RunError
from train.publish import BUNDLED
from train.recipe import Recipe


@dataclass(frozen=True)
class Base:
    """name: what the adapter says it stands on, never a path; revision: commit on the Hub, None for a folder;
    canvases: (width, height) in pixels of the only shapes it reads, None for a model that reads all."""

    model: PreTrainedModel
    processor: Any
    name: str
    revision: str | None
    canvases: list[Size] | None


def load(recipe: Recipe, model_args: ModelConfig) -> Base:
    """Model and processor; the processor has the recipe's pixel limits, under the same rule as in the app.

    Raises HubError when it cannot be fetched, RunError when it cannot be loaded.
    """
    wanted = str(model_args.model_name_or_path)
    source = str(BUNDLED_BASE) if wanted == BUNDLED else wanted
    revision = None if model_args.model_revision == "main" else model_args.model_revision
    folder = local_folder(source, revision, MODEL_FILES, "base model")
    from_hub = not Path(source).expanduser().is_dir()
    try:
        model = AutoModelForImageTextToText.from_pretrained(
            folder,
            dtype=model_args.dtype,
            attn_implementation=model_args.attn_implementation,
            quantization_config=get_quantization_config(model_args),
        )
        processor = AutoProcessor.from_pretrained(folder)
    except (OSError, ValueError, ImportError) as error:
        raise RunError(f"The base model {wanted} could not be loaded: {error}") from error
    set_pixel_limits(processor, pixel_limits(recipe), None)
    return Base(
        model=model,
        processor=processor,
        name=recipe.base_id or (wanted if from_hub or wanted == BUNDLED else folder.name),
        revision=folder.name if from_hub else None,  # the folder of a snapshot is named by its commit
        canvases=getattr(model.config, "chart_canvases", None),
    )


def choice(base: Base, model_args: ModelConfig, device: Any) -> Choice:
    """The base in the words of the app's engine."""
    quantize = "4bit" if model_args.load_in_4bit else "8bit" if model_args.load_in_8bit else "none"
    return Choice(base.name, quantize, base.model.dtype, device)


def pixel_limits(recipe: Recipe) -> Settings:
    """The recipe's pixel limits as settings of the app."""
    return Settings(min_pixels=recipe.min_pixels, max_pixels=recipe.max_pixels)
