"""Many questions in one batch, greedily: what evaluation uses, where nobody watches single tokens.

Rows that share their beginning (same arm, same chart: system message and image tokens, most of the prompt) compute it
once; rows that have ended leave the batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from chartqa_demo.engines.charts import Look
from chartqa_demo.engines.fast.layers import Adapted, Layers, right_padded

LEAVE_AT = 0.75  # rows still going, of those in the batch: then the cache is copied without those that have ended


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
) -> list[list[int]]:
    """New token ids of every row, end token excluded; equal to one `generate` per row in float32.

    prompts: per row its token ids, image tokens included; looks: per row its chart, the same object for the same
    chart; adapters: per row the name of its adapter in the model, "" for none; one name at the most. Raises
    torch.OutOfMemoryError.
    """
    rows = sorted(range(len(prompts)), key=lambda i: adapters[i] != "")  # the adapter's rows side by side
    tokens, position, cache = _read(layers, rows, prompts, looks, adapters, max_new_tokens)
    answers: list[list[int]] = [[] for _ in prompts]
    ends, ended = frozenset(end_ids), set[int]()
    for step in range(max_new_tokens):
        for i, token in zip(rows, tokens.tolist(), strict=True):
            if token in ends:
                ended.add(i)
            elif i not in ended:
                answers[i].append(token)
        going = [k for k, i in enumerate(rows) if i not in ended]
        if not going or step == max_new_tokens - 1:
            break
        if len(going) <= LEAVE_AT * len(rows):
            rows, stay = [rows[k] for k in going], torch.tensor(going).to(tokens.device, non_blocking=True)
            tokens, position = tokens[stay], position[stay]
            cache.keep(stay)
        cache.visible[:, cache.slot] = True
        x = layers.text.embed_tokens(tokens[:, None])
        x = layers(x, position[None, :, None].expand(3, -1, -1), Adapted.of([adapters[i] for i in rows]), cache.append)
        tokens, position = layers.logits(x).argmax(-1), position + 1
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
    """The first token of every row, the position it will have, both (rows,), and the cache of the prompts with `room`
    for the answers."""
    image_token = layers.base.config.image_token_id
    cuts = [len(prompt) - prompt[::-1].index(image_token) for prompt in prompts]  # behind the last image token
    shared, shared_by = _shared_beginnings(rows, prompts, cuts, looks, adapters)

    # 1. every distinct beginning once
    begun, seen = [prompts[i][: cuts[i]] for i in shared], [looks[i] for i in shared]
    laid = layers.laid_out(begun, seen)
    read: list[tuple[torch.Tensor, torch.Tensor]] = []

    def first(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, layer: int) -> torch.Tensor:
        read.append((k.transpose(1, 2), v.transpose(1, 2)))
        return layers.causal(q, k, v)

    layers(
        layers.embedded(laid.ids, begun, seen),
        laid.positions,
        Adapted.of([adapters[i] for i in shared]),
        first,
        laid.lengths,
    )

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

    positions = laid.following[of, None] + steps
    x = layers(
        layers.text.embed_tokens(ids),
        positions.expand(3, -1, -1),
        Adapted.of([adapters[i] for i in rows]),
        second,
        lengths,
    )
    tokens = layers.logits(x).argmax(-1)
    return tokens, laid.following[of] + lengths, cache


def _shared_beginnings(
    rows: Sequence[int],
    prompts: Sequence[list[int]],
    cuts: Sequence[int],
    looks: Sequence[Look],
    adapters: Sequence[str],
) -> tuple[list[int], dict[int, int]]:
    """One row per distinct beginning, and for every row which of these beginnings it has."""
    seen: dict[tuple[object, ...], int] = {}
    shared: list[int] = []
    shared_by: dict[int, int] = {}
    for i in rows:
        key = (id(looks[i]), adapters[i], tuple(prompts[i][: cuts[i]]))
        if key not in seen:
            seen[key] = len(shared)
            shared.append(i)
        shared_by[i] = seen[key]
    return shared, shared_by
