"""Three arms' tokens from one static cache, the decode step captured as a CUDA graph where one can be.

A step is a fixed sequence of operations on fixed buffers: what changes from question to question (tokens, positions,
how far the cache is filled) lies in those buffers. A GPU of one's own replays it from a graph, so that a 7B model does
not wait for the host; elsewhere the same step is called. Cache lengths come in buckets, so that a new chart size needs
no new capture.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

from chartqa_demo.engines.charts import Look
from chartqa_demo.engines.fast.graphs import captured
from chartqa_demo.engines.fast.layers import Adapted, Layers
from chartqa_demo.engines.loading import first_line

BUCKET = 512  # cache lengths are multiples of it; one graph per length


class CaptureError(RuntimeError):
    """The decode step could not be captured as a CUDA graph; nothing of the question has been answered yet."""


@dataclass(eq=False)
class Step:
    """The fixed buffers of one decode step, B rows over a cache of L slots, and its captured graph.

    tokens (B, 1): the token to read; positions (B,): its place in the text, image tokens counted as M-RoPE counts them;
    slots (B,): its place in the cache; mask (B, 1, 1, L): 0 where a slot may be seen, minus infinity elsewhere;
    logits (B, vocabulary), float32: what the step found.
    """

    adapted: Adapted
    keys: torch.Tensor
    values: torch.Tensor
    tokens: torch.Tensor
    positions: torch.Tensor
    slots: torch.Tensor
    mask: torch.Tensor
    logits: torch.Tensor
    graph: Any = None


class Decoder:
    """Prefill and decode of a few rows on one static cache; not thread-safe, the engine's lock covers it.

    replays: whether steps are captured; captures: how many graphs were captured so far.
    """

    def __init__(self, layers: Layers, replays: bool) -> None:
        self.replays = replays
        self._layers = layers
        self._base = layers.base
        self._cache: torch.Tensor | None = None  # (2, layers, rows, key heads, slots, width)
        self._steps: dict[tuple[int, int, Adapted], Step] = {}
        self._pool: Any = None  # of the first graph, whose memory the others use as well
        self.captures = 0

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """(rows, slots) of every step made so far."""
        return [(rows, slots) for rows, slots, _ in self._steps]

    def forget(self) -> None:
        """Drop every captured step: its adapter's weights are no longer those in use."""
        self._steps.clear()

    @torch.inference_mode()
    def prepare(self, rows: int, longest: int, adapted: Adapted) -> None:
        """Capture the steps of all prompts and answers of up to `longest` tokens. Raises CaptureError."""
        for length in range(-(-longest // BUCKET) * BUCKET, 0, -BUCKET):  # the largest first: they share its cache
            self._step(rows, length, adapted)

    @torch.inference_mode()
    def start(
        self, prompts: Sequence[list[int]], looks: Sequence[Look], adapted: Adapted, longest: int
    ) -> tuple[Step, torch.Tensor]:
        """Read the prompts; the step that continues them, and the logits (B, vocabulary) of their next tokens.

        prompts: per row its token ids, image tokens included; looks: per row its chart; longest: new tokens that
        have to fit behind the prompts. Raises CaptureError before anything is computed, torch.OutOfMemoryError.
        """
        length = max(map(len, prompts))
        step = self._step(len(prompts), -(-(length + longest) // BUCKET) * BUCKET, adapted)
        laid = self._layers.laid_out(prompts, looks)
        step.slots.copy_(laid.lengths)
        step.positions.copy_(laid.following)
        slots = torch.arange(step.mask.shape[-1], device=laid.ids.device)
        step.mask.zero_().masked_fill_(slots >= laid.lengths[:, None, None, None], float("-inf"))

        def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, layer: int) -> torch.Tensor:
            step.keys[layer, :, :, :length] = k.transpose(1, 2)
            step.values[layer, :, :, :length] = v.transpose(1, 2)
            return self._layers.causal(q, k, v)

        embedded = self._layers.embedded(laid.ids, prompts, looks)
        return step, self._layers.logits(self._layers(embedded, laid.positions, step.adapted, attend, laid.lengths))

    @torch.inference_mode()
    def next(self, step: Step, tokens: torch.Tensor) -> torch.Tensor:
        """Read one more token per row, (B,); the logits (B, vocabulary) of the next, overwritten by the next call."""
        step.tokens.copy_(tokens[:, None])
        if step.graph is None:
            self._decode(step)
        else:
            step.graph.replay()
        return step.logits

    def _decode(self, step: Step) -> None:
        """What the graph holds: one token of every row through all layers, then everything moves on by one."""
        layers = self._layers
        step.mask.scatter_(3, step.slots[:, None, None, None], 0.0)

        def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, layer: int) -> torch.Tensor:
            keys, values = step.keys[layer], step.values[layer]
            layers.put(keys, values, k, v, step.slots)
            if not self.replays:
                return layers.masked(q, keys, values, step.mask)
            shared = layers.heads != layers.kv_heads
            seen = scaled_dot_product_attention(q.transpose(1, 2), keys, values, attn_mask=step.mask, enable_gqa=shared)
            return seen.transpose(1, 2).flatten(2)

        positions = step.positions[None, :, None].expand(3, -1, -1)
        x = layers(layers.text.embed_tokens(step.tokens), positions, step.adapted, attend)
        step.logits.copy_(layers.logits(x))
        step.positions += 1
        step.slots += 1

    def _step(self, rows: int, length: int, adapted: Adapted) -> Step:
        """The step of this shape, its cache emptied; captured first where that is possible and not yet done."""
        if self.replays:
            torch.cuda.set_device(self._base.device)  # a new thread begins on the first GPU, wherever the model is
        cache = self._cache
        if cache is None or cache.shape[2] < rows or cache.shape[4] < length:
            held = (1, 1) if cache is None else (cache.shape[2], cache.shape[4])
            self._steps.clear()
            self._cache = cache = None  # freed before the larger one is made
            layers = self._layers
            size = (2, layers.count, max(rows, held[0]), layers.kv_heads, max(length, held[1]), layers.width)
            self._cache = cache = torch.zeros(size, dtype=self._base.dtype, device=self._base.device)
        key = (rows, length, adapted)
        if key not in self._steps:
            device, dtype = self._base.device, self._base.dtype
            self._steps[key] = step = Step(
                adapted,
                cache[0, :, :rows, :, :length],
                cache[1, :, :rows, :, :length],
                torch.zeros(rows, 1, dtype=torch.long, device=device),
                torch.zeros(rows, dtype=torch.long, device=device),
                torch.zeros(rows, dtype=torch.long, device=device),
                torch.zeros(rows, 1, 1, length, dtype=dtype, device=device),
                torch.zeros(rows, self._base.lm_head.weight.shape[0], device=device),
            )
            if self.replays:
                try:
                    step.graph = self._captured(step)
                except RuntimeError as error:
                    del self._steps[key]
                    if isinstance(error, torch.OutOfMemoryError):
                        raise
                    raise CaptureError(first_line(error)) from error
        cache.zero_()  # a value that is not finite would come back through a weight of zero
        return self._steps[key]

    def _captured(self, step: Step) -> Any:
        """The CUDA graph of the step."""
        graph, _ = captured(lambda: self._decode(step), self._base.device, self._pool)
        self._pool = graph.pool()
        self.captures += 1
        return graph
