"""What lies between the matrix products of `layers.py`, by torch's own operations: what the kernels of these names in
`kernels` compute, where one of them cannot be used."""

from typing import Any

import torch
from torch.nn.functional import rms_norm, silu

from chartqa_demo.engines.fast.tower import rotate


def add_norm(
    x: torch.Tensor, delta: torch.Tensor | None, norm: Any, epsilon: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """x with delta added, and its RMS norm in the dtype of the norm's weight; all (..., width). delta may have several
    parts (B, parts, width) for x (B, 1, width), as `kernels.products` makes them."""
    if delta is not None:
        x = x + (delta if delta.shape == x.shape else delta.sum(1, keepdim=True))
    if x.device.type == "cpu" and x.dtype == norm.weight.dtype:  # where torch has no kernel of its own for it
        squares = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_()
        return x, (x * squares.div_(x.shape[-1]).add_(epsilon).rsqrt_()).mul_(norm.weight)
    return x, rms_norm(x.to(norm.weight.dtype), (x.shape[-1],), norm.weight, epsilon)


def rotated(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """q (..., heads, width), k and v (..., key heads, width), the first two rotated to their places. cos, sin
    (..., width): of the places, the first half of sin negative."""
    cos, sin = cos.unsqueeze(-2), sin.unsqueeze(-2)
    return rotate(q, cos, sin), rotate(k, cos, sin), v


def gated(gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    """silu(gate) * up, in the memory of gate."""
    return silu(gate, inplace=True).mul_(up)


def store(keys: torch.Tensor, values: torch.Tensor, k: torch.Tensor, v: torch.Tensor, slots: torch.Tensor) -> None:
    """One more token of every row into a cache: k, v (B, 1, key heads, width) into keys and values (B, key heads,
    slots, width) at slots (B,)."""
    place = slots[:, None, None, None].expand(-1, k.shape[2], 1, k.shape[3])
    keys.scatter_(2, place, k.transpose(1, 2))
    values.scatter_(2, place, v.transpose(1, 2))
