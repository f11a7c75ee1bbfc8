"""From settings to weights in memory: which base fits this hardware, and the base itself."""

import json
from contextlib import nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoModelForImageTextToText, AutoProcessor, BitsAndBytesConfig

from chartqa_demo.adapters.contract import Contract
from chartqa_demo.arms import PRETRAINED, messages
from chartqa_demo.engines.internals import before_ampere, read_piece_by_piece
from chartqa_demo.errors import EngineError, HubError, first_line
from chartqa_demo.settings import (
    BUNDLED_ADAPTER,
    BUNDLED_BASE,
    DEFAULT_MAX_PIXELS,
    HUB_ADAPTER,
    HUB_BASE,
    Settings,
    on_zerogpu,
)
from chartqa_demo.space.hub import MODEL_FILES, Source, find

BF16_BYTES = 20 * 2**30  # 16.6 GB of weights, three arms' cache and the vision tower's activations
NF4_BYTES = 9 * 2**30
FLOAT32_BYTES, NF4_FLOAT32_BYTES = 2 * BF16_BYTES, 12 * 2**30  # embedding and head, which stay, take twice as much
# A Qwen2-VL was trained in bfloat16 and its numbers are not kept below 65,504, where float16 ends: neither between the
# layers of the tower nor behind down_proj, whose product is rounded before float32 adds it up. float32 is right for any
# model, at half of the bandwidth.
NO_BFLOAT16 = "This GPU has no bfloat16, so the model computes in float32; --dtype float16 is faster, and may overflow."
ON_MPS = "On Apple's GPU, on which nothing was tested, there are no CUDA graphs and no weights in 4 or 8 bits."
NO_COUNT = "how much memory Apple's GPU has free is not known; --base names another"
LFS_POINTER = b"version https://git-lfs"
ZEROGPU_BYTES = 44 * 2**30  # of the 48 GB that come with a question; before the first one there is no GPU to ask

# What a visitor is told where a family cannot do what the others do.
APART = (
    "This family can neither share a vision pass nor mix arms in one batch: the chart is looked at once per arm, and "
    "the adapter answers after the other two."
)
FOLDED = (
    "This family's chat template has no place for a system message beside a picture; ours opens the question instead."
)


@dataclass(frozen=True)
class ChosenBase:
    """What `auto` came to: a base (folder or Hub id), how to hold it, and what a visitor should know about it.

    decode: "eager", "static" or "graph"; the last two, if nobody asked for them, where the model allows them.
    """

    base: str
    quantize: str
    dtype: torch.dtype
    device: torch.device
    notes: tuple[str, ...] = ()
    decode: str = "eager"

    @property
    def bundled(self) -> bool:
        """Whether the small model of this repository answers."""
        return self.base == "bundled"


def choose(settings: Settings) -> ChosenBase:
    """Resolve every `auto` against this machine. An explicit setting is used as it is. Raises EngineError."""
    device = _device(settings.device)
    free = _free_bytes(device)
    old = not on_zerogpu() and settings.dtype in ("auto", "float32") and before_ampere(device)
    base, quantize, notes = settings.base, settings.quantize, ()
    if base == "auto":
        gib = f"{free / 2**30:.1f} GiB of GPU memory are free"
        if free >= (FLOAT32_BYTES if old else BF16_BYTES) and quantize in ("auto", "none"):
            base, quantize = HUB_BASE, "none"
        elif free >= (NF4_FLOAT32_BYTES if old else NF4_BYTES) and quantize != "none" and find_spec("bitsandbytes"):
            base, quantize = HUB_BASE, "4bit" if quantize == "auto" else quantize
            notes = (f"The base model is held in {quantize}: {gib}.",)
        else:
            why = gib if device.type == "cuda" else NO_COUNT if device.type == "mps" else "this machine has no GPU"
            base, notes = "bundled", (f"The bundled model answers because {why}.",)
    if base == "bundled" and not BUNDLED_BASE.is_dir():
        raise EngineError(f"The bundled model is missing from {BUNDLED_BASE}. Check out the repository completely.")
    quantize = "none" if quantize == "auto" else quantize
    if settings.dtype != "auto":
        dtype = getattr(torch, settings.dtype)
    else:  # bfloat16 is three times slower than float32 on a CPU
        dtype = torch.float32 if device.type == "cpu" or old else torch.bfloat16
        notes += (NO_BFLOAT16,) if old else ()
    if device.type == "mps":
        if quantize != "none":
            raise EngineError(f"--quantize {quantize} is not available on Apple's GPU; use --quantize none.")
        notes += (ON_MPS,)
    decode = settings.decode
    if decode == "graph" and device.type != "cuda":
        raise EngineError(f"A CUDA graph cannot be captured on {device.type}; use --decode static, eager or auto.")
    if decode == "auto":
        decode = "static" if device.type != "cuda" or quantize == "8bit" else "graph"
    return ChosenBase(base, quantize, dtype, device, notes, decode)


def adapter_for(settings: Settings, choice: ChosenBase) -> str | None:
    """The adapter (folder or Hub id) that the settings ask for on this base; None for none."""
    if settings.adapter == "none":
        return None
    if settings.adapter not in ("auto", "bundled"):
        return settings.adapter
    if choice.bundled or settings.adapter == "bundled":
        return str(BUNDLED_ADAPTER)
    return HUB_ADAPTER if choice.base == HUB_BASE else None


def config_folder(name: str, revision: str | None) -> Path:
    """A folder with the config.json of a base model, and not always more. Raises HubError, and EngineError for a model
    whose code is not part of transformers."""
    return _with_config(find(name, revision, "base model"))


def _with_config(source: Source) -> Path:
    config = source.fetch(("config.json",)) / "config.json"
    if not config.is_file():
        raise EngineError(f"{config.parent} holds no model: it has no config.json.")
    try:
        described = json.loads(config.read_text(encoding="utf-8"))
        kind, own_code = described.get("model_type"), "auto_map" in described
    except (ValueError, AttributeError) as error:
        raise EngineError(f"{config} cannot be read: {first_line(error)}.") from error
    if own_code and kind not in CONFIG_MAPPING:
        raise EngineError(
            f"The base model {source.name} brings code of its own ({kind}), which this app does not run. Serve it with "
            "vLLM or another OpenAI-compatible server, and start the app with --endpoint and --base-name."
        )
    return config.parent


def base_folder(name: str, revision: str | None) -> Path:
    """The folder of a base model; its config comes first, because the weights of a model that cannot be loaded need not
    be fetched. Raises HubError, EngineError."""
    source = find(name, revision, "base model")
    _with_config(source)
    folder = source.fetch(MODEL_FILES)
    for path in sorted(path for kind in ("*.safetensors", "*.json") for path in folder.glob(kind)):
        with path.open("rb") as file:
            if file.read(len(LFS_POINTER)) == LFS_POINTER:
                raise EngineError(
                    f"{path} is a pointer of Git LFS and not the file itself. Run `git lfs pull` in that folder, or "
                    "give the Hub id of the model instead."
                )
    return folder


def load_base(choice: ChosenBase, settings: Settings) -> tuple[Any, Any]:
    """The base model in eval mode and its processor, left-padding. Raises EngineError."""
    try:
        folder = base_folder(str(BUNDLED_BASE) if choice.bundled else choice.base, settings.base_revision)
    except HubError as error:
        raise EngineError(str(error)) from None
    processor = load_processor(folder, choice.base)
    loading: dict[str, Any] = {"dtype": choice.dtype, "use_safetensors": True}
    if choice.quantize != "none":
        loading["quantization_config"] = bits_and_bytes(choice.quantize, choice.dtype)
    if settings.device_map == "auto":
        loading["device_map"] = "auto"
    elif choice.quantize != "none" or (choice.device.type != "cpu" and not on_zerogpu()):
        loading["device_map"] = {"": choice.device}  # there as they are read, and not all of them here first
    try:
        with read_piece_by_piece() if choice.device.type == "cuda" and "device_map" in loading else nullcontext():
            model: Any = AutoModelForImageTextToText.from_pretrained(folder, **loading)
    except torch.OutOfMemoryError as error:
        raise EngineError(f"{choice.base} does not fit into this GPU's memory. Use --quantize 4bit.") from error
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        raise EngineError(f"The base model {choice.base} could not be loaded: {first_line(error)}.") from error
    if "device_map" not in loading and not on_zerogpu():  # there they stay in their files until a GPU is lent
        model = model.to(choice.device)
    processor.tokenizer.padding_side = "left"  # answers begin where every row's prompt ends
    return model.eval(), processor


def load_processor(folder: Path, name: str) -> Any:
    """The processor of the base model `name`, with its limits in today's words and a chat template that shows one chart
    exactly once. Raises EngineError: what is wrong with either would otherwise come out at the first question."""
    try:
        processor: Any = AutoProcessor.from_pretrained(folder)
    except (OSError, ValueError, KeyError, TypeError, ImportError, RuntimeError) as error:
        raise EngineError(
            f"The processor of the base model {name} could not be loaded: {first_line(error)}."
        ) from error
    if counts_pixels(processor):
        size = dict(processor.image_processor.size)  # until transformers 4.46 it was written with min_ and max_pixels
        least = size.get("shortest_edge", size.get("min_pixels"))
        most = size.get("longest_edge", size.get("max_pixels"))
        if not isinstance(least, int) or not isinstance(most, int) or not 0 < least <= most:
            raise EngineError(
                f"The processor of the base model {name} has the size {size}, which has to be limits in pixels: "
                "shortest_edge and longest_edge, as in the files of Qwen2-VL."
            )
        processor.image_processor.size = {"shortest_edge": least, "longest_edge": most}
    if getattr(processor, "chat_template", None) is None:
        processor.chat_template = processor.tokenizer.chat_template
    _check_template(processor, name)
    return processor


def _check_template(processor: Any, name: str) -> None:
    way_out = "Put the template of the model it was made from beside it, as chat_template.jinja."
    question = "How many bars?"
    try:
        text = processor.apply_chat_template(messages(PRETRAINED, question), tokenize=False, add_generation_prompt=True)
    except Exception as error:  # a template is a program of its author's
        told = first_line(error)
        raise EngineError(f"The base model {name} has no usable chat template: {told}. {way_out}") from error
    charts = text.count(processor.image_token)
    if charts != 1 or question not in text:
        raise EngineError(
            f"The chat template of the base model {name} writes {charts} images"
            f"{'' if question in text else ' and no question'} for a question about one chart. {way_out}"
        )


def bits_and_bytes(kind: str, dtype: torch.dtype = torch.bfloat16) -> BitsAndBytesConfig:
    """bitsandbytes settings: 4bit is NF4 with double quantisation (QLoRA, arXiv 2305.14314), computed in dtype."""
    if kind == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )


def set_pixel_limits(processor: Any, settings: Settings, contract: Contract | None) -> int | None:
    """Explicit settings, else what the adapter was trained with, else the processor's own under DEFAULT_MAX_PIXELS.

    Families whose processor does not count in pixels keep its size; for them the limit to which charts have to be
    shrunk beforehand is returned.
    """
    images = processor.image_processor
    least = settings.min_pixels or (contract.min_pixels if contract else None)
    most = settings.max_pixels or (contract.max_pixels if contract else None)
    if not counts_pixels(processor):
        return most
    own = dict(images.size)
    most = most or min(own["longest_edge"], DEFAULT_MAX_PIXELS)
    images.size = {"shortest_edge": min(least or own["shortest_edge"], most), "longest_edge": most}
    return None


def counts_pixels(processor: Any) -> bool:
    """Whether the processor's size is an area, as in the Qwen-VL family, and not an edge."""
    return "merge_size" in processor.image_processor.to_dict()


def _free_bytes(device: torch.device) -> int:
    if device.type != "cuda":
        return 0
    try:
        return ZEROGPU_BYTES if on_zerogpu() else torch.cuda.mem_get_info(device)[0]
    except RuntimeError as error:  # a driver that does not fit, a GPU that has failed
        raise EngineError(f"The GPU cannot be used: {first_line(error)}. --device cpu goes without it.") from error


def _device(name: str) -> torch.device:
    if name == "auto":
        on_a_mac = "mps" if torch.backends.mps.is_available() else "cpu"
        return torch.device("cuda" if torch.cuda.is_available() else on_a_mac)
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise EngineError(f"--device {name} cannot be used here: {first_line(error)}.") from error
    return device
