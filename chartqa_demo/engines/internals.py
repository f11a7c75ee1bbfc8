"""What is used of torch, transformers and PEFT beside their public interfaces: here and nowhere else.

Checked with torch 2.14.1, transformers 5.23.0 and PEFT 0.21.2; tests/engines/test_libraries.py fails when one of them
moves. Besides, `fast` reads Qwen2-VL's modules by their names in transformers, and the tests compare what it computes.
"""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from peft.tuners.lora.layer import LoraLayer
from transformers import modeling_utils
from transformers.vision_utils import get_vision_position_ids


def takes_features(model: Any) -> bool:
    """transformers: whether the model takes vision features (`mm_encoder_outputs`) instead of pixels; mllama, for one,
    does not."""
    return "mm_encoder_outputs" in inspect.signature(model.forward).parameters


def own_features(model: Any, chart: dict[str, torch.Tensor]) -> Any:
    """transformers: what the family's own vision tower makes of a chart, as the family shapes it.

    chart: what the processor made of it; a tower takes those of its tensors that it knows by name.
    """
    accepted = inspect.signature(model.model.get_image_features).parameters
    taken = {key: value.to(model.device) for key, value in chart.items() if key in accepted}
    taken["pixel_values"] = taken["pixel_values"].to(model.dtype)
    return model.model.get_image_features(**taken, return_dict=True)


def patch_places(grid: torch.Tensor, merge: int) -> torch.Tensor:
    """transformers: row and column (patches, 2) of charts whose patches are grid (charts, 3), in Qwen2-VL's order:
    those of one image token, merge by merge, side by side."""
    return get_vision_position_ids(grid, merge)


def token_places(base: Any, ids: torch.Tensor, grid: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """transformers: M-RoPE's positions (3, rows, longest) of ids (rows, longest), of which `real`, of the same shape,
    is 1 where they are no padding; grid (charts, 3): the patches of their charts, in their order."""
    kinds = ((ids == base.config.image_token_id) & real.bool()).int()
    positions, _ = base.model.get_rope_index(ids, kinds, image_grid_thw=grid, attention_mask=real)
    return positions


def has_adapters(module: Any) -> bool:
    """PEFT: whether the linear layer is wrapped: `base_layer`, and `lora_A`, `lora_B`, `scaling` by adapter's name."""
    return isinstance(module, LoraLayer)


def before_ampere(device: torch.device) -> bool:
    """torch: whether this is a GPU of NVIDIA's without bfloat16 and without copies beside its work (T4, V100, RTX 2080
    and older). torch.cuda.is_bf16_supported says yes there, too: it counts what is emulated."""
    return device.type == "cuda" and torch.version.hip is None and torch.cuda.get_device_capability(device) < (8, 0)


@contextmanager
def read_piece_by_piece() -> Iterator[None]:
    """transformers: weights are read from their files one by one, as it does by itself on Apple's GPU, and not from
    files mapped into memory as a whole, which the process would hold until the last of them is on its GPU."""
    mapped: Any = modeling_utils.safe_open

    def read(*args: Any, **options: Any) -> Any:
        return mapped(*args, **options | ({"backend": "pread"} if options.get("backend") == "mmap" else {}))

    modeling_utils.safe_open = read  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield
    finally:
        modeling_utils.safe_open = mapped


def end_failed_capture() -> None:
    """torch: give this GPU's random generator back its own state. A capture that failed leaves it as if the capture
    went on, and no answer could be sampled any more."""
    generator = torch.cuda.default_generators[torch.cuda.current_device()]
    generator.graphsafe_set_state(generator.clone_state())
