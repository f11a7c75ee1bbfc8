"""Kernels beside torch's own operations, on the device and in the shapes they will have, before one of them is used.

Each function raises RuntimeError where the kernel of its name is wrong, and whatever Triton raises; like: a tensor of
the model's dtype on its device."""

from collections.abc import Sequence
from typing import Any

import torch

from chartqa_demo.engines.fast import plain
from chartqa_demo.engines.fast.choosing import NextTokens
from chartqa_demo.engines.fast.kernels import choice, placing

WITHIN = {2: 2e-2, 4: 1e-4}  # relative distance by bytes of a number: some roundings
RANKS = 4


def placed(heads: int, kv_heads: int, width: int, like: torch.Tensor) -> None:
    """Of one token per row, whose product is parts in float32, with an adapter and without, and of several tokens."""
    size, rows, slots = (heads + 2 * kv_heads) * width, 3, torch.tensor([0, 3, 7], device=like.device)
    bias, up = _some(like, size + 16), _some(like, RANKS, size)
    for length, ranks in ((1, True), (1, False), (5, False)):
        source = _some(like, rows, 2 if length == 1 else length, size + 16)
        source = source.float() if length == 1 else source
        cos, sin = (_some(like, rows, length, width) for _ in range(2))
        mine, own = ([like.new_zeros(rows, kv_heads, 16, width) for _ in range(2)] for _ in range(2))
        told = bias if length == 1 else None, up if ranks else None, (1, 2, 0.5)
        found = placing.placed(source, *told, cos, sin, mine[0], mine[1], slots, heads)
        expected = plain.placed(source, *told, cos, sin, own[0], own[1], slots, heads)
        _near("placed", (found, *mine), (expected, *own))


def turned(heads: int, width: int, like: torch.Tensor) -> None:
    """In place, so of a copy."""
    qkv, cos, sin = _some(like, 5, 3, heads, width), _some(like, 5, width), _some(like, 5, width)
    _near("turned", placing.turned(qkv.clone(), cos, sin), plain.turned(qkv, cos, sin))


def added_norm(norm: Any, width: int, like: torch.Tensor) -> None:
    """Of a few rows."""
    x, delta = _some(like, 5, width), _some(like, 5, width)
    expected = plain.added_norm(x, delta, norm)
    _near("added_norm", placing.added_norm(x.clone(), delta, norm), expected)


def best(vocabulary: int, like: torch.Tensor) -> None:
    """Of logits of which one is the largest, seen tokens among them, and of broken ones. The second row's largest is
    seen, and none any more with the penalty."""
    logits, middle = _some(like, 4, vocabulary).float(), vocabulary // 2
    logits[0, -1], logits[1, middle], logits[1, 5], logits[2, 3], logits[3] = 3.0, 3.0, 2.5, float("nan"), -float("inf")
    seen = torch.zeros_like(logits, dtype=torch.bool)
    seen[:, middle] = True
    for held, penalty in ((None, 1.0), (seen, 2.0)):
        tokens, logs = choice.best(logits, held, penalty)
        chosen = NextTokens([], penalty=penalty)
        chosen._seen = None if held is None else held.clone()
        if not torch.equal(tokens, chosen(logits)):
            raise RuntimeError("best takes other tokens than torch's own operations")
        _near("best", (logs[:2],), (chosen.logs[0][:2],))


def _some(like: torch.Tensor, *shape: int) -> torch.Tensor:
    """Numbers between -1 and 1, the same in every process."""
    count = torch.Size(shape).numel()
    return torch.arange(count, device=like.device).mul(12.9898).sin().view(shape).to(like.dtype)


def _near(name: str, found: Sequence[torch.Tensor], expected: Sequence[torch.Tensor]) -> None:
    for mine, own in zip(found, expected, strict=True):
        apart = ((mine.float() - own.float()).norm() / own.float().norm().clamp(min=1e-6)).item()
        if not apart < WITHIN[mine.element_size()]:
            raise RuntimeError(f"{name} is {apart:.1e} apart from torch's own operations")
