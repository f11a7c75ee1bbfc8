"""What the vision tower made of a chart, kept so that any number of prompts can share it.

transformers takes precomputed features as `mm_encoder_outputs`; the logits are those of a run from pixels, to the last
bit.
"""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers.vision_utils import get_vision_cu_seqlens, get_vision_position_ids


@dataclass(frozen=True, eq=False)
class Look:
    """One chart as the language model sees it.

    pooled: its features, each (image tokens, hidden size) or as the family shapes them; deepstack: per layer of
    Qwen3-VL's deepstack the same; grid: (1, 3) patches in time, height and width for families with M-RoPE, on the host.
    """

    kind: type
    pooled: tuple[torch.Tensor, ...]
    deepstack: tuple[tuple[torch.Tensor, ...], ...]
    grid: torch.Tensor | None

    @property
    def tokens(self) -> int:
        """Image tokens in the prompt, for families whose features are one row per token."""
        return sum(len(piece) for piece in self.pooled)


def can_share(model: Any) -> bool:
    """Whether the model takes vision features instead of pixels; mllama, for one, does not."""
    return "mm_encoder_outputs" in inspect.signature(model.forward).parameters


def has_grid(model: Any) -> bool:
    """Whether image tokens lie on a grid of patches with M-RoPE positions, as in the Qwen-VL family."""
    return "image_grid_thw" in inspect.signature(model.forward).parameters


def look(model: Any, image_inputs: dict[str, torch.Tensor]) -> Look:
    """Run the vision tower once on one chart; `image_inputs` are what the processor made of it, on any device."""
    wanted = inspect.signature(model.model.get_image_features).parameters
    taken = {key: value.to(model.device) for key, value in image_inputs.items() if key in wanted}
    taken["pixel_values"] = taken["pixel_values"].to(model.dtype)
    grid = image_inputs.get("image_grid_thw")
    if grid is not None:
        grid = grid.cpu()
    if grid is not None and model.config.model_type == "qwen2_vl":
        taken |= {"image_grid_thw": grid, **_counted_on_host(grid, model)}
    with torch.inference_mode():
        found = model.model.get_image_features(**taken, return_dict=True)
    pooled = found.pooler_output
    deepstack = getattr(found, "deepstack_features", None) or ()
    return Look(type(found), tuple(pooled), tuple(tuple(layer) for layer in deepstack), grid)


def _counted_on_host(grid: torch.Tensor, model: Any) -> dict[str, torch.Tensor]:
    """Positions and chart borders that the tower would read back from the device, once in every layer.

    transformers takes both precomputed (vision_utils.py); from the host they cost no waiting for the device.
    """
    config = model.config.vision_config
    positions, borders = get_vision_position_ids(grid, config.spatial_merge_size), get_vision_cu_seqlens(grid)
    if "flash" in str(config._attn_implementation):  # its kernel reads the borders itself
        borders = borders.to(model.device)
    return {"image_position_ids": positions.to(model.device), "image_cu_seqlens": borders}


def encoder_outputs(looks: Sequence[Look]) -> dict[str, Any]:
    """The `mm_encoder_outputs` of a batch whose rows show these charts; fresh per call, because generate changes it."""
    merged: dict[str, Any] = {"pooler_output": tuple(piece for each in looks for piece in each.pooled)}
    if looks[0].deepstack:
        layers = range(len(looks[0].deepstack))
        merged["deepstack_features"] = [[p for each in looks for p in each.deepstack[layer]] for layer in layers]
    return {"image": looks[0].kind(**merged)}
