"""A LoRA adapter from its folder onto the base model in memory.

Nothing of the adapter's config reaches PEFT: it is given a config of our own with the layers, ranks and alphas that
`lora.py` read off the file, and the weights are put in by name. So no initialisation can rewrite the base's weights, no
pattern is executed, and no weight is left unset, of which PEFT only warns.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel
from safetensors import SafetensorError, safe_open

from chartqa_demo.adapters.contract import CONFIG, WEIGHTS, Contract
from chartqa_demo.adapters.lora import Layer, LoraError, Modules, layers_of, read_config, why_not_computed
from chartqa_demo.arms import Arm
from chartqa_demo.errors import EngineError, first_line, shown
from chartqa_demo.space.hub import tensors_in

SAMPLE = 2**12  # numbers of each weight that the fingerprint looks at
BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
INSIDE_PEFT = re.compile(r"\.(base_layer|lora_\w+)(\.|$)")


@dataclass(frozen=True)
class Loaded:
    """An adapter in memory. name: inside the model; title: what people call it; arms: as it is asked; contract: with
    the pixel limits that it is served with."""

    name: str
    title: str
    arms: tuple[Arm, ...]
    contract: Contract | None


def load_adapter(model: Any, folder: Path, name: str = "chartqa") -> PeftModel:
    """The model with the LoRA adapter in `folder` on it, in eval mode; `name` is its name inside the model.

    Raises EngineError for what `lora.py` does not serve on this base (anything but its language model: the vision
    tower's rows are image patches, so one batch could not mix arms there) and for numbers that are not finite in the
    base's precision. The model is then as it was. The base's weights are compared with a fingerprint taken before.
    """
    wrapped = isinstance(model, PeftModel)
    base = model.get_base_model() if wrapped else model
    try:
        config = read_config(folder)
        if (reason := why_not_computed(config)) is not None:
            raise LoraError(reason)
        with safe_open(folder / WEIGHTS, "pt") as file:
            tensors = tensors_in(file)
            layers = layers_of(config, tensors, modules_of(base))
            weights = {key: _finite(file.get_tensor(key).to(base.dtype, copy=True), key) for key in tensors}
    except LoraError as error:
        raise EngineError(f"The adapter in {shown(folder)} {error}") from error
    except (OSError, ValueError, SafetensorError) as error:
        raise EngineError(f"The adapter in {shown(folder)} cannot be read: {first_line(error)}.") from error
    before = fingerprint(base)
    ours = _config(layers, bool(config.get("use_rslora")))
    adapted: Any = model if wrapped else PeftModel(model, ours, adapter_name=name, autocast_adapter_dtype=False)
    try:
        if wrapped:
            adapted.add_adapter(name, ours, autocast_adapter_dtype=False)
        _put(base, name, layers, weights)
    except Exception as error:
        if wrapped:
            adapted.delete_adapter(name)
        else:
            adapted.unload()
        raise EngineError(
            f"The adapter in {shown(folder)} does not fit this base model: {first_line(error)}."
        ) from error
    if fingerprint(base) != before:
        raise EngineError(
            f"Loading the adapter in {shown(folder)} changed the base model's own weights, so no arm can be trusted "
            "any more: restart the app, without this adapter."
        )
    return adapted.eval()


def modules_of(base: Any) -> Modules:
    """Every module of the base by name, as `lora.Modules` has them; what PEFT has put in is left out."""
    language = {id(module) for module in base.get_decoder().modules()}
    return {
        name: (module.in_features, module.out_features)
        if id(module) in language and hasattr(module, "in_features")
        else None
        for name, module in base.named_modules()
        if not INSIDE_PEFT.search(name)
    }


@torch.no_grad()
def fingerprint(base: Any) -> dict[str, int]:
    """A sum over the bits of each of the base's own weights, by name; of those larger than SAMPLE over about that many
    numbers, evenly spread: one small sum for each of the 730 weights of a 7B model, whatever their size."""
    found = {}
    for name, weight in base.named_parameters():
        if weight.device.type != "meta" and ".lora_" not in name:
            numbers = weight.detach().flatten()[:: max(1, weight.numel() // SAMPLE)]
            found[name.replace(".base_layer.", ".")] = int(numbers.view(BITS[weight.element_size()]).sum())
    return found


def _config(layers: Mapping[str, Layer], rslora: bool) -> LoraConfig:
    """PEFT's config for these layers, by their full names; nothing in it makes PEFT touch the base."""
    first = next(iter(layers.values()))
    return LoraConfig(
        r=first.rank,
        lora_alpha=first.alpha,  # pyright: ignore[reportArgumentType] (PEFT only divides by it)
        rank_pattern={re.escape(name): layer.rank for name, layer in layers.items() if layer.rank != first.rank},
        alpha_pattern={re.escape(name): layer.alpha for name, layer in layers.items() if layer.alpha != first.alpha},
        use_rslora=rslora,
        target_modules=list(layers),
        init_lora_weights=False,
        inference_mode=True,
    )


def _put(base: Any, name: str, layers: Mapping[str, Layer], weights: Mapping[str, torch.Tensor]) -> None:
    """The weights into the adapter `name`, in the precision of the base: no casts at every layer."""
    made = {place: module for place, module in base.named_modules() if name in getattr(module, "lora_A", ())}
    if made.keys() != layers.keys():
        raise ValueError(f"PEFT made other layers than asked for, {sorted(made.keys() ^ layers.keys())[0]}")
    for place, layer in layers.items():
        device = made[place].get_base_layer().weight.device
        for side, key in ((made[place].lora_A, layer.down), (made[place].lora_B, layer.up)):
            side[name].weight.data = weights[key].to(device)


def _finite(weight: torch.Tensor, key: str) -> torch.Tensor:
    if not torch.isfinite(weight).all():
        held = str(weight.dtype).removeprefix("torch.")
        raise LoraError(f"holds numbers in {key} that are not finite in {held}; it cannot be merged or served.")
    return weight


def as_written(folder: Path) -> tuple[object, ...]:
    """What tells an adapter in this folder from what was there before: its config, and of its weights everything that
    the disk says; times of writing can be put back, that of the last change (ctime) cannot. Raises EngineError."""
    try:
        config = hashlib.sha256((folder / CONFIG).read_bytes()).hexdigest()
        weights = (folder / WEIGHTS).stat()
    except OSError as error:
        raise EngineError(f"The adapter in {shown(folder)} cannot be read: {error.strerror}.") from error
    return str(folder.resolve()), config, weights.st_ino, weights.st_size, weights.st_mtime_ns, weights.st_ctime_ns
