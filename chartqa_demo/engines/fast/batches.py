"""An evaluation's many rows on a cache that they may leave.

Nobody watches single tokens here: rows that share their beginning (same arm, same chart: system message and image
tokens, most of the prompt) compute it once, and rows that have ended leave the batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from chartqa_demo.engines.fast.choosing import NextTokens
from chartqa_demo.engines.fast.layers import Adapted, Layers, right_padded, shared_beginnings
from chartqa_demo.engines.fast.steps import LEAVE_AT
from chartqa_demo.engines.looks import Look
from chartqa_demo.engines.streaming import Row


@dataclass
class Cache:
    """Keys and values per layer, (rows, key heads, slots, width); visible (rows, slots): the slots that hold a token;
    slot: where the next one goes, the same for all rows."""

    layers: Layers
    held: list[tuple[torch.Tensor, torch.Tensor]]
    visible: torch.Tensor
    slot: int

    def append(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, layer: int) -> torch.Tensor:
        """An `Attend` of one token per row."""
        keys, values = self.held[layer]
        keys[:, :, self.slot], values[:, :, self.slot] = k[:, 0], v[:, 0]
        return self.layers.masked(q, keys, values, self.visible[:, None, None])

    def keep(self, stay: torch.Tensor) -> None:
        """Only the rows `stay` from now on."""
        self.held = [(keys[stay], values[stay]) for keys, values in self.held]
        self.visible = self.visible[stay]


@torch.inference_mode()
def greedy_answers(
    layers: Layers,
    prompts: Sequence[list[int]],
    looks: Sequence[Look],
    adapters: Sequence[str],
    max_new_tokens: int,
    end_ids: Sequence[int],
    penalty: float = 1.0,
) -> list[Row]:
    """Every row with its new token ids, end token excluded; equal to one `generate` per row in float32. A row that only
    repeats itself ends, and so does one whose numbers overflow.

    prompts: per row its token ids, image tokens included; looks: per row its chart, the same object for the same
    chart; adapters: per row the name of its adapter in the model, "" for none; one name at the most. Raises
    torch.OutOfMemoryError.
    """
    rows = sorted(range(len(prompts)), key=lambda i: adapters[i] != "")  # the adapter's rows side by side
    logits, position, cache = _read(layers, rows, prompts, looks, adapters, max_new_tokens)
    chosen = NextTokens([prompts[i] for i in rows], penalty=penalty)
    tokens = chosen(logits)
    answers, ends = [Row() for _ in prompts], frozenset(end_ids)
    for step in range(max_new_tokens):
        for i, token, log in zip(rows, tokens.tolist(), chosen.logs[-1].tolist(), strict=True):
            if answers[i].done_at is None:
                answers[i].put(token, ends)
                answers[i].log = (answers[i].log or 0.0) + log
        going = [k for k, i in enumerate(rows) if answers[i].done_at is None]
        if not going or step == max_new_tokens - 1:
            break
        if len(going) <= LEAVE_AT * len(rows):
            rows, stay = [rows[k] for k in going], torch.tensor(going).to(tokens.device, non_blocking=True)
            tokens, position = tokens[stay], position[stay]
            cache.keep(stay)
            chosen.keep(stay)
        cache.visible[:, cache.slot] = True
        x = layers.text.embed_tokens(tokens.clamp(min=0)[:, None])
        x = layers(x, position[None, :, None].expand(3, -1, -1), Adapted.of([adapters[i] for i in rows]), cache.append)
        tokens, position = chosen(layers.logits(x)), position + 1
        cache.slot += 1
    return answers


def _read(
    layers: Layers,
    rows: Sequence[int],
    prompts: Sequence[list[int]],
    looks: Sequence[Look],
    adapters: Sequence[str],
    room: int,
) -> tuple[torch.Tensor, torch.Tensor, Cache]:
    """The logits (rows, vocabulary) of every row's first token, the position (rows,) it will have, and the cache of the
    prompts with `room` for the answers."""
    image_token = layers.base.config.image_token_id
    cuts = [len(prompt) - prompt[::-1].index(image_token) for prompt in prompts]  # behind the last image token
    shared, shared_by = shared_beginnings(rows, prompts, cuts, looks, adapters)

    # 1. every distinct beginning once
    begun, begun_looks = [prompts[i][: cuts[i]] for i in shared], [looks[i] for i in shared]
    laid = layers.laid_out(begun, begun_looks)
    read: list[tuple[torch.Tensor, torch.Tensor]] = []

    def first(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, layer: int) -> torch.Tensor:
        read.append((k.transpose(1, 2), v.transpose(1, 2)))
        return layers.causal(q, k, v)

    adapted = Adapted.of([adapters[i] for i in shared])
    layers(layers.embedded(laid.ids, begun, begun_looks), laid.positions, adapted, first, laid.lengths)

    # 2. every question behind its beginning; what lies between the two is masked
    device = laid.ids.device
    of = torch.tensor([shared_by[i] for i in rows]).to(device, non_blocking=True)
    asked = right_padded([prompts[i][cuts[i] :] for i in rows])
    ids, lengths = (part.to(device, non_blocking=True) for part in asked)
    before, longest = laid.ids.shape[1], ids.shape[1]
    slots = before + longest + room
    slots += -slots % 8  # a multiple of 8, which attention with a mask is fastest on
    place, steps = torch.arange(slots, device=device), torch.arange(longest, device=device)
    visible = (place < laid.lengths[of, None]) | ((place >= before) & (place < before + lengths[:, None]))
    mask = visible[:, None] & (place <= before + steps[:, None])  # (rows, longest, slots)
    cache = Cache(layers, [], visible, before + longest)

    def second(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, layer: int) -> torch.Tensor:
        held = k.new_zeros(2, len(rows), layers.kv_heads, slots, layers.width)
        for whole, beginning, tail in zip(held, read.pop(0), (k, v), strict=True):  # layer by layer, in their order
            whole[:, :, :before] = beginning[of]
            whole[:, :, before : before + longest] = tail.transpose(1, 2)
        cache.held.append((held[0], held[1]))
        return layers.masked(q, held[0], held[1], mask[:, None])

    positions = (laid.following[of, None] + steps).expand(3, -1, -1)
    adapted = Adapted.of([adapters[i] for i in rows])
    x = layers(layers.text.embed_tokens(ids), positions, adapted, second, lengths)
    return layers.logits(x), laid.following[of] + lengths, cache
