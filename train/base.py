"""The base model of a run: loaded as the configuration says, and named so that others can find it."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import get_peft_model, get_peft_model_state_dict
from transformers import AutoConfig, AutoModelForImageTextToText, BitsAndBytesConfig, PreTrainedModel
from transformers.integrations import is_fsdp_enabled
from trl import ModelConfig, get_peft_config, get_quantization_config

from chartqa_demo.adapters.load import modules_of
from chartqa_demo.adapters.lora import LoraError, layers_of, why_not_computed
from chartqa_demo.arms import folds_system
from chartqa_demo.engines.loading import (
    ChosenBase,
    base_folder,
    config_folder,
    counts_pixels,
    load_processor,
    set_pixel_limits,
)
from chartqa_demo.errors import first_line
from chartqa_demo.images import Size
from chartqa_demo.settings import BUNDLED_BASE, Settings
from train.progress import RunError
from train.publish.push import BUNDLED
from train.recipe import Recipe
from train.trainer import for_language_model

VISION_TOWERS = ("model.visual", "model.vision_tower", "model.vision_model")  # by family


@dataclass(frozen=True)
class Base:
    """name: what the adapter says it stands on, never a path; revision: commit on the Hub, None for a folder;
    canvases: (width, height) in pixels of the only shapes it reads, None for a model that reads all; min_pixels,
    max_pixels: the limits of its charts, None for none; shrink_to: the larger one again, where the processor does not
    keep it by itself; folds_system: see `arms.folds_system`."""

    model: PreTrainedModel
    processor: Any
    name: str
    revision: str | None
    canvases: list[Size] | None
    min_pixels: int | None
    max_pixels: int | None
    shrink_to: int | None
    folds_system: bool


def check_adapter(model_args: ModelConfig) -> None:
    """Raise RunError where the app could not serve what the run would train: by its config, and by the layers that it
    has on this base, laid out without a weight. Raises HubError and EngineError as `load` does."""
    try:
        wanted: Any = get_peft_config(model_args)
        described = wanted.to_dict()
        if (reason := why_not_computed(described)) is not None:
            raise RunError(f"The app could not serve the adapter of this run, which {reason}")
        _, source, revision = _base_named(model_args)
        config = AutoConfig.from_pretrained(config_folder(source, revision))
        with torch.device("meta"):
            skeleton = AutoModelForImageTextToText.from_config(config)
            adapted = get_peft_model(skeleton, for_language_model(wanted, skeleton))
            held = get_peft_model_state_dict(adapted, save_embedding_layers=False)
        layers_of(described, {key: ("F32", tuple(one.shape)) for key, one in held.items()}, modules_of(skeleton))
    except LoraError as error:
        raise RunError(
            f"lora_target_modules {model_args.lora_target_modules} reach the vision tower, or what else the app cannot "
            f"serve: the adapter of this run {error}"
        ) from error
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        raise error if isinstance(error, RunError) else RunError(f"{first_line(error)}.") from error


def load(recipe: Recipe, model_args: ModelConfig) -> Base:
    """Model and processor; the processor has the recipe's pixel limits, under the same rule as in the app.

    Raises HubError when it cannot be fetched, EngineError for a model with code of its own, RunError when it cannot be
    loaded.
    """
    asked_for, source, revision = _base_named(model_args)
    folder = base_folder(source, revision)
    from_hub = not Path(source).expanduser().is_dir()
    on_host = is_fsdp_enabled() and model_args.load_in_4bit  # each process would hold all of it before it is sharded
    try:
        with quantised_to_host() if on_host else nullcontext():
            model = AutoModelForImageTextToText.from_pretrained(
                folder,
                use_safetensors=True,
                dtype=model_args.dtype,
                attn_implementation=model_args.attn_implementation,
                quantization_config=quantization(recipe, model_args),
                device_map={"": "cpu"} if on_host else None,
            )
    except (OSError, ValueError, ImportError) as error:
        raise RunError(f"The base model {asked_for} could not be loaded: {first_line(error)}.") from error
    processor = load_processor(folder, asked_for)
    shrink_to = set_pixel_limits(processor, pixel_limits(recipe), None)
    size = dict(processor.image_processor.size) if counts_pixels(processor) else {}
    return Base(
        model=model,
        processor=processor,
        name=recipe.base_id or (asked_for if from_hub or asked_for == BUNDLED else folder.name),
        revision=folder.name if from_hub else None,  # the folder of a snapshot is named by its commit
        canvases=getattr(model.config, "chart_canvases", None),
        min_pixels=size.get("shortest_edge"),
        max_pixels=size.get("longest_edge", shrink_to),
        shrink_to=shrink_to,
        folds_system=folds_system(lambda turns: processor.apply_chat_template(turns, tokenize=False)),
    )


def _base_named(model_args: ModelConfig) -> tuple[str, str, str | None]:
    """The base as asked for, where it is, and which revision of it."""
    asked_for = str(model_args.model_name_or_path)
    revision = None if model_args.model_revision == "main" else model_args.model_revision
    return asked_for, str(BUNDLED_BASE) if asked_for == BUNDLED else asked_for, revision


def quantization(recipe: Recipe, model_args: ModelConfig) -> BitsAndBytesConfig | None:
    """How the weights are held, None for unquantised. A list of one's own replaces transformers' own exception, the
    language model's head, so that is named again. Only tensors of a float type are sharded: bytes would stay whole on
    every GPU, and a float type other than the computation's be cast."""
    chosen: Any = get_quantization_config(model_args)
    if chosen is not None and is_fsdp_enabled():
        chosen.bnb_4bit_quant_storage = torch.float16 if model_args.dtype == "float16" else torch.bfloat16
    if chosen is not None and not recipe.vision_4bit:
        chosen.llm_int8_skip_modules = [*VISION_TOWERS, "lm_head"]
    return chosen


@contextmanager
def quantised_to_host() -> Iterator[None]:
    """Weights are quantised on the GPU, which a CPU takes hours for, one by one, and kept in host memory.

    Private, checked with bitsandbytes 0.50.2: every weight is quantised through `Params4bit._quantize`.
    """
    from bitsandbytes.nn import Params4bit

    quantise = Params4bit._quantize

    def there_and_back(self: Any, device: Any) -> Any:
        quantise(self, "cuda" if torch.cuda.is_available() else device)
        self.data = self.data.to(device)
        self.quant_state.to(device)
        return self

    Params4bit._quantize = there_and_back  # pyright: ignore[reportAttributeAccessIssue] (untyped)
    try:
        yield
    finally:
        Params4bit._quantize = quantise


def choice(base: Base, model_args: ModelConfig, device: Any) -> ChosenBase:
    """The base in the words of the app's engine."""
    quantize = "4bit" if model_args.load_in_4bit else "8bit" if model_args.load_in_8bit else "none"
    return ChosenBase(base.name, quantize, base.model.dtype, device)


def pixel_limits(recipe: Recipe) -> Settings:
    """The recipe's pixel limits as settings of the app."""
    return Settings(min_pixels=recipe.min_pixels, max_pixels=recipe.max_pixels)
