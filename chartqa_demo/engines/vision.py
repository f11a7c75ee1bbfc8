"""What the vision tower made of a chart, kept so that any number of prompts can share it.

transformers takes precomputed features as `mm_encoder_outputs`; the logits are those of a run from pixels, to the last
bit.
"""

import hashlib
import inspect
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from transformers.vision_utils import get_vision_cu_seqlens, get_vision_position_ids

from chartqa_demo.images import fit_canvas

CHARTS_REMEMBERED = 16  # 0.5 to 4.5 MB each
CHARTS_AT_ONCE = 4  # in one vision pass on a GPU, which one chart leaves waiting for the host


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


class Looks:
    """The charts looked at last, by their content: the next question on one needs no vision pass.

    passes: how often the vision tower ran, counted in charts.
    """

    def __init__(self, base: Any, processor: Any) -> None:
        self.passes = 0
        self._base, self._processor = base, processor
        self._canvases = getattr(base.config, "chart_canvases", None)
        self._kept: OrderedDict[str, Look] = OrderedDict()

    def clear(self) -> None:
        """Forget every chart."""
        self._kept.clear()

    def of(self, images: Sequence[Image.Image]) -> list[Look]:
        """What the tower made of each picture, the same object for the same picture."""
        found: dict[str, Look] = {}
        new: dict[str, Image.Image] = {}
        keys = [self._key(image) for image in images]
        for key, image in zip(keys, images, strict=True):
            if key in self._kept:
                self._kept.move_to_end(key)
                found[key] = self._kept[key]
            else:
                new[key] = image
        names, at_once = list(new), CHARTS_AT_ONCE if self._base.device.type == "cuda" else 1
        for first in range(0, len(names), at_once):
            some = names[first : first + at_once]
            found |= zip(some, look(self._base, [self._read(new[key]) for key in some]), strict=True)
        self.passes += len(new)
        self._kept |= {key: found[key] for key in names}
        while len(self._kept) > CHARTS_REMEMBERED:
            self._kept.popitem(last=False)
        return [found[key] for key in keys]

    def _key(self, image: Image.Image) -> str:
        limits = repr(self._processor.image_processor.size)
        return hashlib.sha256(image.tobytes() + repr((image.size, limits)).encode()).hexdigest()

    def _read(self, image: Image.Image) -> dict[str, torch.Tensor]:
        chart = fit_canvas(image, self._canvases)[0] if self._canvases else image
        return dict(self._processor.image_processor([chart], return_tensors="pt", device=self._base.device))


def look(model: Any, charts: Sequence[dict[str, torch.Tensor]]) -> list[Look]:
    """Run the vision tower once, on all these charts; each is what the processor made of it, on any device.

    Several at a time only for families with a grid and without deepstack, whose features come chart by chart.
    """
    inputs = {key: torch.cat([chart[key] for chart in charts]) for key in charts[0]}
    wanted = inspect.signature(model.model.get_image_features).parameters
    taken = {key: value.to(model.device) for key, value in inputs.items() if key in wanted}
    taken["pixel_values"] = taken["pixel_values"].to(model.dtype)
    grid = inputs.get("image_grid_thw")
    if grid is not None:
        grid = grid.cpu()
    if grid is not None and model.config.model_type == "qwen2_vl":
        taken |= {"image_grid_thw": grid, **_counted_on_host(grid, model)}
    with torch.inference_mode():
        found = model.model.get_image_features(**taken, return_dict=True)
    pooled = found.pooler_output
    if len(charts) > 1 and grid is not None:
        return [Look(type(found), (one,), (), grid[n : n + 1]) for n, one in enumerate(pooled)]
    deepstack = getattr(found, "deepstack_features", None) or ()
    return [Look(type(found), tuple(pooled), tuple(tuple(layer) for layer in deepstack), grid)]


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
