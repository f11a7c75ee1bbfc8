"""Caches and steps of a page: its three rows on a static cache (an evaluation's many: `batches`).

A step (`Decoder`, `stream_tokens`) is a fixed sequence of operations on fixed buffers: what changes from
question to question (tokens, positions, how far the cache is filled) lies in those buffers. A GPU replays it from a
CUDA graph, a lent one too, so that a 7B model does not wait for the host; elsewhere the same step is called. Cache
lengths come in buckets, so that a new chart size needs no new capture.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

from chartqa_demo.engines.fast.choosing import NOT_FINITE, NextTokens
from chartqa_demo.engines.fast.graphs import captured
from chartqa_demo.engines.fast.layers import Adapted, Into, Layers
from chartqa_demo.engines.looks import Look
from chartqa_demo.errors import first_line

BUCKET = 512  # cache lengths are multiples of it; one graph per length
LEAVE_AT = 0.75  # rows still going, of those in the batch: then the cache is copied without those that have ended


class CaptureError(RuntimeError):
    """The decode step could not be captured as a CUDA graph; nothing of the question has been answered yet."""


@dataclass(eq=False)
class Step:
    """The fixed buffers of one decode step, B rows over a cache of L slots, and its captured graph.

    tokens (B, 1): the token to read; positions (B,): its place in the text, image tokens counted as M-RoPE counts them;
    slots (B,): its place in the cache; mask (B, 1, 1, L): 0 where a slot may be seen, minus infinity elsewhere;
    logits (B, vocabulary), float32: what the step found; filled: slots that any row has by now, told on the host.
    """

    adapted: Adapted
    keys: torch.Tensor
    values: torch.Tensor
    tokens: torch.Tensor
    positions: torch.Tensor
    slots: torch.Tensor
    mask: torch.Tensor
    logits: torch.Tensor
    filled: int = 0
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
        self._room = 0

    def make_room(self, longest: int) -> None:
        """From now on no step is for less than `longest` tokens of prompt and answer: one graph, made at the first
        question, answers every usual one. Slots without a token are read at each step, which is little beside weights.
        """
        self._room = longest

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """(rows, slots) of every step made so far."""
        return [(rows, slots) for rows, slots, _ in self._steps]

    def forget(self) -> None:
        """Drop every captured step: its adapter's weights are no longer those in use."""
        self._steps.clear()

    def free(self) -> None:
        """Drop every step with the cache and the memory that they share."""
        self._steps.clear()
        self._cache = self._pool = None

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
        step = self._step(len(prompts), -(-max(length + longest, self._room) // BUCKET) * BUCKET, adapted)
        laid = self._layers.laid_out(prompts, looks)
        step.slots.copy_(laid.lengths)
        step.positions.copy_(laid.following)
        step.filled = length
        for held in (step.keys, step.values):  # one that is not finite would come back through a weight of zero
            held[..., length:, :].zero_()
        slots = torch.arange(step.mask.shape[-1], device=laid.ids.device)
        step.mask.zero_().masked_fill_(slots >= laid.lengths[:, None, None, None], float("-inf"))

        def attend(q: torch.Tensor, k: Any, v: Any, layer: int) -> torch.Tensor:
            held = step.keys[layer, :, :, :length].transpose(1, 2), step.values[layer, :, :, :length].transpose(1, 2)
            if k is None:  # they are there
                k, v = held
            else:
                held[0].copy_(k)
                held[1].copy_(v)
            if q.shape[1] == length:
                return self._layers.causal(q, k, v)
            return self._layers.masked(q, step.keys[layer], step.values[layer], step.mask, step.filled)

        x = self._layers.embedded(laid.ids, prompts, looks)
        into = Into(step.keys, step.values, torch.zeros_like(laid.lengths))
        x = self._layers(x, laid.positions, step.adapted, attend, laid.lengths, x.device.type == "cpu", into)
        return step, self._layers.logits(x)

    @torch.inference_mode()
    def only(self, step: Step, stay: Sequence[int]) -> Step:
        """The step of the rows `stay` alone, in order, of one that is not replayed and not used any more: its own
        buffers where they lie side by side, else copies."""
        rows: Any = slice(stay[0], stay[-1] + 1) if stay[-1] - stay[0] < len(stay) else torch.tensor(stay)
        names = [step.adapted.name if step.adapted.first <= row < step.adapted.last else "" for row in stay]
        held = (one[rows] for one in (step.tokens, step.positions, step.slots, step.mask, step.logits))
        return Step(Adapted.of(names), step.keys[:, rows], step.values[:, rows], *held, filled=step.filled)

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
        step.filled += 1

        def attend(q: torch.Tensor, k: Any, v: Any, layer: int) -> torch.Tensor:
            keys, values = step.keys[layer], step.values[layer]
            if k is not None:
                layers.store(keys, values, k, v, step.slots)
            if not self.replays:
                return layers.masked(q, keys, values, step.mask, step.filled)
            shared = layers.heads != layers.kv_heads
            attended = scaled_dot_product_attention(
                q.transpose(1, 2), keys, values, attn_mask=step.mask, enable_gqa=shared
            )
            return attended.transpose(1, 2).flatten(2)

        positions = step.positions[None, :, None].expand(3, -1, -1)
        x, into = layers.text.embed_tokens(step.tokens), Into(step.keys, step.values, step.slots)
        x = layers(x, positions, step.adapted, attend, into=into)
        step.logits.copy_(layers.logits(x))
        step.positions += 1
        step.slots += 1

    def _step(self, rows: int, length: int, adapted: Adapted) -> Step:
        """The step of this shape; captured first where that is possible and not yet done."""
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
        return self._steps[key]

    def _captured(self, step: Step) -> Any:
        """The CUDA graph of the step."""
        graph, _ = captured(lambda: self._decode(step), self._base.device, self._pool)
        self._pool = graph.pool()
        self.captures += 1
        return graph


@torch.inference_mode()
def stream_tokens(
    decoder: Decoder,
    prompts: Sequence[list[int]],
    looks: Sequence[Look],
    adapted: Adapted,
    longest: int,
    chosen: NextTokens,
    end_ids: Sequence[int],
    send: Callable[[torch.Tensor], None],
    stopped: Callable[[], bool],
    ahead: int | None = None,
) -> None:
    """Up to `longest` new tokens of every row to `send`, (B,) per step on the host, until all rows have met an end.

    chosen: what takes the next token of every row, new for these prompts. ahead: steps that a GPU computes before the
    host reads their tokens, so that neither waits for the other; by default one where steps are replayed, else none,
    which would be a step too many. Rows that have ended are computed no further where that is possible, which is what
    a CPU is spared: a base answers in sentences, an adapter in words. Raises CaptureError before the first token,
    torch.OutOfMemoryError.
    """
    step, logits = decoder.start(prompts, looks, adapted, longest)
    ahead = int(decoder.replays) if ahead is None else ahead
    leaves = chosen.greedy and not decoder.replays and not ahead  # what is sampled depends on all rows of its step
    ends = torch.tensor([*end_ids, NOT_FINITE])
    ended = torch.zeros(len(prompts), dtype=torch.bool)
    rows = list(range(len(prompts)))  # that are computed

    def of_all(values: torch.Tensor) -> torch.Tensor:
        """(B,) of values (rows that are computed,); a row that has ended repeats its end, whose logarithm is 0."""
        if len(rows) == len(prompts):
            return values
        whole = values.new_full((len(prompts),), 0.0 if values.is_floating_point() else int(ends[0]))
        whole[rows] = values
        return whole

    def sent(tokens: torch.Tensor) -> tuple[torch.Tensor, Any]:
        if not decoder.replays:
            return of_all(tokens.cpu()), None
        host = torch.empty(len(tokens), dtype=tokens.dtype, pin_memory=True)
        host.copy_(tokens, non_blocking=True)
        arrived = torch.cuda.Event()
        arrived.record()
        return host, arrived

    def received(tokens: torch.Tensor, arrived: Any) -> bool:
        """Hand the tokens on; whether every row has ended."""
        if arrived is not None:
            arrived.synchronize()
        send(tokens)
        ended.logical_or_(torch.isin(tokens, ends))
        return bool(ended.all())

    tokens = chosen(logits)
    waiting = deque([sent(tokens)])
    for _ in range(longest - 1):
        if stopped() or (len(waiting) > ahead and received(*waiting.popleft())):
            return
        going = [place for place, row in enumerate(rows) if not ended[row]]
        if leaves and len(going) <= LEAVE_AT * len(rows):
            rows, step, tokens = [rows[place] for place in going], decoder.only(step, going), tokens[going]
            chosen.keep(torch.tensor(going, device=tokens.device))
        tokens = chosen(decoder.next(step, tokens.clamp(min=0)))
        chosen.logs[-1] = of_all(chosen.logs[-1])
        waiting.append(sent(tokens))
    while waiting and not received(*waiting.popleft()):
        pass
