"""What the vision tower made of a chart, remembered so that any number of prompts can share it.

transformers takes precomputed features as `mm_encoder_outputs`. Those of a Qwen2-VL come from its tower written out
(`fast/tower.py`), those of other families from transformers' own.
"""

import hashlib
import inspect
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers.modeling_outputs import BaseModelOutputWithPooling

from chartqa_demo.engines.internals import own_features
from chartqa_demo.images import fit_canvas

CHARTS_REMEMBERED = 16  # 0.5 to 4.5 MB each
ROUGH_ROWS = 16  # of a chart, that tell whether it is a new one
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


def has_grid(model: Any) -> bool:
    """Whether image tokens lie on a grid of patches with M-RoPE positions, as in the Qwen-VL family."""
    return "image_grid_thw" in inspect.signature(model.forward).parameters


class Looks:
    """The charts looked at last, by their content: the next question on one needs no vision pass.

    tower: the written-out one (`fast.tower`), None for transformers' own; passes: how often it ran, counted in charts.
    """

    def __init__(self, base: Any, processor: Any, tower: Any = None) -> None:
        self.passes = 0
        self._base, self._processor = base, processor
        self._canvases = getattr(base.config, "chart_canvases", None)
        self._tower = tower
        self._remembered: OrderedDict[str, Look] = OrderedDict()
        self._rough: dict[str, bytes] = {}  # by the key of what is remembered, see `rough`

    def clear(self) -> None:
        """Forget every chart."""
        self._remembered.clear()
        self._rough.clear()

    def of(self, images: Sequence[Image.Image]) -> list[Look]:
        """What the tower made of each picture, the same object for the same picture."""
        same = {id(image): image for image in images}  # many questions on one chart bring it many times
        if len(same) == 1 and rough(images[0]) not in self._rough.values():
            # A new chart for sure: its key, which takes as long as reading it, is found while a GPU looks at it
            found_now = next(self._looked_at(images[:1]))
            self._remember({self._key(images[0]): found_now}, images[:1])
            return [found_now] * len(images)
        keys = {number: self._key(image) for number, image in same.items()}
        found: dict[str, Look] = {}
        new: dict[str, Image.Image] = {}
        for number, key in keys.items():
            if key in self._remembered:
                self._remembered.move_to_end(key)
                found[key] = self._remembered[key]
            else:
                new[key] = same[number]
        found |= zip(new, self._looked_at(list(new.values())), strict=True)
        self._remember({key: found[key] for key in new}, list(new.values()))
        return [found[keys[id(image)]] for image in images]

    def _remember(self, looks: dict[str, Look], images: Sequence[Image.Image]) -> None:
        """The charts of `images`, one of each, by key."""
        self.passes += len(looks)
        self._remembered |= looks
        self._rough |= {key: rough(image) for key, image in zip(looks, images, strict=True)}
        while len(self._remembered) > CHARTS_REMEMBERED:
            del self._rough[self._remembered.popitem(last=False)[0]]

    def inputs(
        self, charts: Sequence[Image.Image], texts: Sequence[str], special_tokens: bool, one_chart: bool
    ) -> dict[str, Any]:
        """Everything `generate` takes for these rows, of a family whose looks are not kept; one_chart: all show it."""
        batch = self._processor(
            text=list(texts),
            images=[[chart] for chart in charts],
            padding=True,
            return_tensors="pt",
            add_special_tokens=special_tokens,
        )
        inputs = dict(batch.to(self._base.device))
        if one_chart:  # so the first of every n-th part of its tensors is the chart once
            once = {key: value[: len(value) // len(charts)] for key, value in inputs.items()}
            self.passes += 1
            inputs["mm_encoder_outputs"] = encoder_outputs([look(self._base, once)] * len(charts))
            del inputs["pixel_values"]
        return inputs

    def _looked_at(self, images: Sequence[Image.Image]) -> Iterator[Look]:
        at_once = CHARTS_AT_ONCE if self._tower is not None and self._base.device.type == "cuda" else 1
        for first in range(0, len(images), at_once):
            yield from self._look(self._read(images[first : first + at_once]))

    def _look(self, charts: dict[str, torch.Tensor]) -> list[Look]:
        if self._tower is None:
            return [look(self._base, charts)]
        grid = charts["image_grid_thw"].cpu()
        pixels = charts["pixel_values"].to(self._base.device, self._base.dtype)
        with torch.inference_mode():
            features = self._tower(pixels, grid)
        kind = BaseModelOutputWithPooling
        return [Look(kind, (one,), (), grid[n : n + 1]) for n, one in enumerate(features)]

    def _key(self, image: Image.Image) -> str:
        limits = repr(self._processor.image_processor.size)
        return hashlib.sha256(image.tobytes() + repr((image.size, limits)).encode()).hexdigest()

    def _read(self, images: Sequence[Image.Image]) -> dict[str, torch.Tensor]:
        """What the processor makes of these charts, on the device if that is CUDA's."""
        charts = [fit_canvas(image, self._canvases).image if self._canvases else image for image in images]
        device = self._base.device if self._base.device.type == "cuda" else torch.device("cpu")

        def read_there() -> dict[str, torch.Tensor]:
            plain = all(one.mode == "RGB" and "transparency" not in one.info for one in charts)
            uploads = self._tower is not None and device.type == "cuda" and plain
            there = [planes(one, device) for one in charts] if uploads else charts
            return dict(self._processor.image_processor(there, return_tensors="pt", device=device))

        if device.type == "cpu" or len(images) == 1:
            return read_there()
        # In a stream of its own: here, uploading a chart would wait until the passes before it are done
        aside, here = torch.cuda.Stream(device), torch.cuda.current_stream(device)
        with torch.cuda.stream(aside):
            read = read_there()
        here.wait_stream(aside)
        for one in read.values():
            if one.is_cuda:
                one.record_stream(here)
        return read


def rough(image: Image.Image) -> bytes:
    """Some rows of a picture and its size: pictures that differ in them are not the same, others may be."""
    width, height = image.size
    rows = [image.crop((0, row, width, row + 1)).tobytes() for row in range(0, height, height // ROUGH_ROWS + 1)]
    return hashlib.sha256(b"".join(rows) + repr(image.size).encode()).digest()


def planes(image: Image.Image, device: torch.device) -> torch.Tensor:
    """An RGB picture as an image processor takes it from torch, (3, height, width), on the device. Given a PIL picture
    the processor separates its colours on the host, which takes a millisecond or two."""
    return torch.from_numpy(np.array(image)).to(device).permute(2, 0, 1)


def look(model: Any, chart: dict[str, torch.Tensor]) -> Look:
    """Run the family's own vision tower once; chart is what the processor made of it, on any device."""
    with torch.inference_mode():
        found = own_features(model, chart)
    deepstack = getattr(found, "deepstack_features", None) or ()
    grid = chart["image_grid_thw"].cpu() if "image_grid_thw" in chart else None
    return Look(type(found), tuple(found.pooler_output), tuple(tuple(layer) for layer in deepstack), grid)


def encoder_outputs(looks: Sequence[Look]) -> dict[str, Any]:
    """The `mm_encoder_outputs` of a batch whose rows show these charts; fresh per call, because generate changes it."""
    merged: dict[str, Any] = {"pooler_output": tuple(piece for each in looks for piece in each.pooled)}
    if looks[0].deepstack:
        layers = range(len(looks[0].deepstack))
        merged["deepstack_features"] = [[p for each in looks for p in each.deepstack[layer]] for layer in layers]
    return {"image": looks[0].kind(**merged)}
