"""A LoRA adapter from its folder onto the base model in memory.

The one thing that would surprise: PEFT only warns when an adapter's keys do not fit the model, and then answers as the
base. `load_adapter` compares every weight in memory with the file instead.
"""

import re
import warnings
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file

from chartqa_demo.adapters.contract import WEIGHTS
from chartqa_demo.errors import EngineError, first_line

# Adapters trained before transformers 4.52 name the layers as the model did then.
OLD_KEYS = {r"^model\.layers\.": "model.language_model.layers.", r"^visual\.": "model.visual."}


def load_adapter(model: Any, folder: Path, name: str = "chartqa") -> PeftModel:
    """The model with the LoRA adapter in `folder` on it, in eval mode; `name` is its name inside the model.

    Its config and size are checked already (`check.py`). Raises EngineError when it changes anything but the language
    model (the vision tower's rows are image patches, so one batch could not mix arms there), when a shape does not
    fit the base, and when any weight of the file did not end up in the model or any adapter weight of the model is
    not in the file. The model is then as it was.
    """
    try:
        described, saved = LoraConfig.from_pretrained(str(folder)), load_file(folder / WEIGHTS)
    except (OSError, ValueError, TypeError, SafetensorError) as error:
        raise EngineError(f"The adapter in {folder} cannot be read: {first_line(error)}") from error
    wrapped = isinstance(model, PeftModel)
    _check_fits(model.get_base_model() if wrapped else model, saved, folder, described.base_model_name_or_path)
    described.inference_mode = True
    adapted = model if wrapped else PeftModel(model, described, adapter_name=name, autocast_adapter_dtype=False)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="Found missing adapter keys")
            adapted.load_adapter(
                str(folder), name, key_mapping=OLD_KEYS, torch_device="cpu", autocast_adapter_dtype=False
            )
        _check_all_set(adapted, saved, name, folder)
    except Exception as error:
        if wrapped:
            adapted.delete_adapter(name)
        else:
            adapted.unload()
        if isinstance(error, EngineError):
            raise
        raise EngineError(f"The adapter in {folder} does not fit this base model: {first_line(error)}") from error
    for key, weight in adapted.named_parameters():
        if f".{name}." in key and "lora_" in key:  # in the precision of the base: no casts at every layer
            weight.data = weight.data.to(adapted.device, model.dtype)
    return adapted.eval()


def _check_fits(base: Any, saved: dict[str, torch.Tensor], folder: Path, trained_on: str | None) -> None:
    """Every matrix of the file belongs to a linear layer of the language model and has its shape."""
    modules = dict(base.named_modules())
    decoder = next(name for name, module in modules.items() if module is base.get_decoder())
    for key, weight in saved.items():
        place, _, kind = key.removesuffix(".weight").rpartition(".")
        place = place.removeprefix("base_model.model.")
        for old, new in OLD_KEYS.items():
            place = re.sub(old, new, place)
        module = modules.get(place)
        if module is not None and not place.startswith(decoder):
            raise EngineError(
                f"The adapter in {folder} changes {place}, which is outside the language model (in the vision tower, "
                "say). Train the language model only: the three arms share one look at the chart."
            )
        side = {"lora_A": (1, "in_features"), "lora_B": (0, "out_features")}.get(kind)
        if module is None or side is None or weight.shape[side[0]] != getattr(module, side[1], None):
            raise EngineError(
                f"The adapter in {folder} does not fit this base model: {key} {tuple(weight.shape)} has no "
                f"counterpart. It says it was trained on {trained_on}."
            )


def _check_all_set(adapted: PeftModel, saved: dict[str, torch.Tensor], name: str, folder: Path) -> None:
    # no embeddings: PEFT would ask the Hub whether the base has grown any; _check_fits lets no such file through
    held = get_peft_model_state_dict(adapted, adapter_name=name, save_embedding_layers=False)

    def short(key: str) -> str:  # "layers.3.self_attn.q_proj.lora_A.weight", in old and new names alike
        return key[key.index("layers.") :] if "layers." in key else key

    found, expected = {short(k): v for k, v in held.items()}, {short(k): v for k, v in saved.items()}
    lost = sorted(found.keys() ^ expected.keys()) or sorted(
        key for key, value in expected.items() if not torch.equal(found[key].cpu(), value.to(found[key].dtype))
    )
    if lost:
        raise EngineError(
            f"The adapter in {folder} does not fit this base model: {len(lost)} weights have no counterpart, "
            f"the first is {lost[0]}."
        )
