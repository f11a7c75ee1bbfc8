"""What lies between the matrix products of `layers.py` and `tower.py`, by torch's own operations, under the names of
kernels that compute the same: the first four answer where their kernel cannot be used, with the others a kernel is
compared before it is (`kernels/proofs.py`)."""

from typing import Any

import torch
from torch.nn.functional import layer_norm, rms_norm, silu

from chartqa_demo.engines.fast.tower import rotate


def add_norm(
    x: torch.Tensor, delta: torch.Tensor | None, norm: Any, epsilon: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """x with delta added, and its RMS norm in the dtype of the norm's weight; all (..., width). delta may have several
    parts (B, parts, width) for x (B, 1, width), as `products.product` makes them."""
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


def placed(
    source: torch.Tensor,
    bias: torch.Tensor | None,
    up: torch.Tensor | None,
    adapted: tuple[int, int, float],
    cos: torch.Tensor,
    sin: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    slots: torch.Tensor,
    heads: int,
) -> torch.Tensor:
    """What `placing.placed` computes, which see; rounded once, too."""
    (rows, length, width), kv_heads = cos.shape, keys.shape[1]
    size, (first, last, scaling) = (heads + 2 * kv_heads) * width, adapted
    if length == 1 and source.shape[1] > 1:
        whole = source.sum(1, keepdim=True)
    else:
        whole = source.as_strided((rows, length, size + (0 if up is None else len(up))), source.stride())
    found = whole[..., :size].float()
    found = found.clone() if bias is None else found + bias[:size].float()
    if up is not None:
        found[first:last] += scaling * (whole[first:last, :, size : size + len(up)].float() @ up.float())
    q, k, v = found.unflatten(-1, (-1, width)).split((heads, kv_heads, kv_heads), dim=2)
    q, k, v = rotated(q, k, v, cos.float(), sin.float())
    place = slots[:, None] + torch.arange(length, device=slots.device)
    place = place[:, None, :, None].expand(-1, kv_heads, -1, width)
    for held, new in ((keys, k), (values, v)):
        held.scatter_(2, place, new.transpose(1, 2).to(held.dtype))
    return q.to(keys.dtype)


def turned(qkv: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """What `placing.turned` computes, which see, in memory of its own."""
    q, k, v = qkv.unbind(1)
    return *(rotate(one.float(), cos[:, None].float(), sin[:, None].float()).to(qkv.dtype) for one in (q, k)), v


def added_norm(x: torch.Tensor, delta: torch.Tensor, norm: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """x + delta and its layer norm; all (rows, width)."""
    x = x + delta
    return x, layer_norm(x, x.shape[-1:], norm.weight, norm.bias, norm.eps)
