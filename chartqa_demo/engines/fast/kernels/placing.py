# ruff: noqa: ANN001, ANN202 (arguments of a kernel have their types when it is compiled)
"""Queries, keys and values on their way from a product to attention, by Triton: what a layer's one product made of them
is added up, rotated and written where attention reads it, in one pass."""

from typing import Any

import torch
import triton
import triton.language as tl

from chartqa_demo.engines.fast.kernels.launching import jit
from chartqa_demo.engines.fast.kernels.passes import HEADS_AT_ONCE

PLACED_AT_ONCE = 4  # heads of a token in one program, where there are many tokens


@jit
def _ridden(
    low, high, ridden, up, scaling, begin, size, RANKS: tl.constexpr, RANKS_PADDED: tl.constexpr, HALF: tl.constexpr,
    PADDED: tl.constexpr, PARTS: tl.constexpr, OUTPUTS: tl.constexpr,
):  # fmt: skip
    """Both halves of one head, and what an adapter's ranks add to them."""
    rank, at = tl.arange(0, RANKS_PADDED), tl.arange(0, PADDED)[None, :]
    sums = tl.zeros([RANKS_PADDED], tl.float32)
    for part in tl.static_range(PARTS):  # pyright: ignore[reportGeneralTypeIssues]
        sums += tl.load(ridden + part * OUTPUTS + rank, mask=rank < RANKS, other=0.0).to(tl.float32)
    sums = (sums * scaling)[:, None]
    lines, real = up + rank[:, None] * size + begin + at, (rank < RANKS)[:, None] & (at < HALF)
    first, second = tl.load(lines, mask=real, other=0.0), tl.load(lines + HALF, mask=real, other=0.0)
    low += tl.expand_dims(tl.sum(sums * first.to(tl.float32), axis=0), 0)
    high += tl.expand_dims(tl.sum(sums * second.to(tl.float32), axis=0), 0)
    return low, high


@jit
def _halves_turned(low, high, cos, sin, place, real, HALF: tl.constexpr):
    """Both halves of heads, rotated to their place; cos and sin from `place` on, the first half of sin negative."""
    cos_low = tl.load(cos + place, mask=real, other=0.0).to(tl.float32)
    cos_high = tl.load(cos + place + HALF, mask=real, other=0.0).to(tl.float32)
    sin_low = tl.load(sin + place, mask=real, other=0.0).to(tl.float32)
    sin_high = tl.load(sin + place + HALF, mask=real, other=0.0).to(tl.float32)
    return low * cos_low + high * sin_low, high * cos_high + low * sin_high


@jit(do_not_specialize=["length", "first", "last"])
def _placed(
    source, bias, up, cos, sin, queries, keys, values, slots,
    source_row, length, first, last, scaling, row_size, head_size, slot_size,
    PARTS: tl.constexpr, OUTPUTS: tl.constexpr, BIASED: tl.constexpr, RANKS: tl.constexpr,
    RANKS_PADDED: tl.constexpr, HEADS: tl.constexpr, KV_HEADS: tl.constexpr, HALF: tl.constexpr,
    PADDED: tl.constexpr, AT_ONCE: tl.constexpr,
):  # fmt: skip
    WIDTH: tl.constexpr = 2 * HALF
    row, group = tl.program_id(0).to(tl.int64), tl.program_id(1)
    q_groups, k_groups = tl.cdiv(HEADS, AT_ONCE), tl.cdiv(HEADS, AT_ONCE) + tl.cdiv(KV_HEADS, AT_ONCE)
    if group < q_groups:
        begin, end = group * AT_ONCE, HEADS
    elif group < k_groups:
        begin, end = HEADS + (group - q_groups) * AT_ONCE, HEADS + KV_HEADS
    else:
        begin, end = HEADS + KV_HEADS + (group - k_groups) * AT_ONCE, HEADS + 2 * KV_HEADS
    head, at = begin + tl.arange(0, AT_ONCE)[:, None], tl.arange(0, PADDED)[None, :]
    inside, column = (head < end) & (at < HALF), head * WIDTH + at
    low, high = tl.zeros([AT_ONCE, PADDED], tl.float32), tl.zeros([AT_ONCE, PADDED], tl.float32)
    for part in tl.static_range(PARTS):  # pyright: ignore[reportGeneralTypeIssues]
        line = source + row * source_row + part * OUTPUTS
        low += tl.load(line + column, mask=inside, other=0.0).to(tl.float32)
        high += tl.load(line + column + HALF, mask=inside, other=0.0).to(tl.float32)
    if BIASED:
        low += tl.load(bias + column, mask=inside, other=0.0).to(tl.float32)
        high += tl.load(bias + column + HALF, mask=inside, other=0.0).to(tl.float32)
    if RANKS:  # noqa: SIM102 (known when it is compiled); one head at once
        if (row >= first) & (row < last):
            size = (HEADS + 2 * KV_HEADS) * WIDTH
            low, high = _ridden(
                low, high, source + row * source_row + size, up, scaling, begin * WIDTH, size,
                RANKS, RANKS_PADDED, HALF, PADDED, PARTS, OUTPUTS,
            )  # fmt: skip
    if group < k_groups:
        low, high = _halves_turned(low, high, cos, sin, row * WIDTH + at, at < HALF, HALF)
    if group < q_groups:
        query = queries + row * (HEADS * WIDTH) + column
        tl.store(query, low, mask=inside)
        tl.store(query + HALF, high, mask=inside)
    else:
        asked = row // length
        slot = asked * row_size + (tl.load(slots + asked) + row - asked * length) * slot_size
        if group < k_groups:
            key = keys + slot + (head - HEADS) * head_size + at
            tl.store(key, low, mask=inside)
            tl.store(key + HALF, high, mask=inside)
        else:
            value = values + slot + (head - HEADS - KV_HEADS) * head_size + at
            tl.store(value, low, mask=inside)
            tl.store(value + HALF, high, mask=inside)


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
    """Queries (B, S, heads, width), rotated to their places. Keys, rotated as well, and values of the same tokens are
    put into keys and values (B, key heads, slots, width), two of a shape and layout, those of row b from slots[b] on.

    source: what one product made of them, heads side by side, then key heads, value heads and, for an adapter, ranks:
    of one token per row parts of a sum (B, parts, outputs) as `products.product` makes them, of more (B, S, outputs) or
    the first part of it. bias (outputs,) is to be added, and in the rows [first, last) of adapted, (first, last,
    scaling), what the ranks make of up (ranks, outputs without ranks) times scaling: of one token per row only.
    cos, sin (B, S, width): of the places, the first half of sin negative.
    """
    (rows, length, width), kv_heads = cos.shape, keys.shape[1]
    alone = length == 1
    assert source.stride(-1) == 1, "what follows in a row is read behind source, a copy of it would not do"
    assert 1 in (rows, length) or source.stride(0) == length * source.stride(1), "its rows lie at one distance"
    at_once = 1 if alone else PLACED_AT_ONCE
    groups = triton.cdiv(heads, at_once) + 2 * triton.cdiv(kv_heads, at_once)
    ranks, (first, last, scaling) = 0 if up is None else len(up), adapted
    queries = torch.empty(rows, length, heads, width, dtype=keys.dtype, device=keys.device)
    _placed[(rows * length, groups)](
        source, source if bias is None else bias, source if up is None else up, cos.contiguous(), sin.contiguous(),
        queries, keys, values, slots, source.stride(0 if alone else 1), length, first, last, scaling,
        *keys.stride()[:3], PARTS=source.shape[1] if alone else 1, OUTPUTS=source.stride(1) if alone else 0,
        BIASED=bias is not None, RANKS=ranks, RANKS_PADDED=triton.next_power_of_2(max(ranks, 1)), HEADS=heads,
        KV_HEADS=kv_heads, HALF=width // 2, PADDED=triton.next_power_of_2(width // 2), AT_ONCE=at_once,
        num_warps=1 if alone and not ranks else 4 if ranks else 2,
    )  # fmt: skip
    return queries


@jit
def _turned(
    heads, cos, sin, row_size, HEADS: tl.constexpr, HALF: tl.constexpr, PADDED: tl.constexpr, AT_ONCE: tl.constexpr
):
    row, head = tl.program_id(0).to(tl.int64), tl.program_id(1) * AT_ONCE + tl.arange(0, AT_ONCE)[:, None]
    at = tl.arange(0, PADDED)[None, :]
    inside, real = (head < HEADS) & (at < HALF), at < HALF
    here, place = heads + row * row_size + head * (2 * HALF) + at, row * (2 * HALF) + at
    low, high = tl.load(here, mask=inside).to(tl.float32), tl.load(here + HALF, mask=inside).to(tl.float32)
    low, high = _halves_turned(low, high, cos, sin, place, real, HALF)
    tl.store(here, low, mask=inside)
    tl.store(here + HALF, high, mask=inside)


def turned(qkv: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """q, k, v (patches, heads, width) of qkv (patches, 3, heads, width), as they lie; the first two are rotated to
    their places where they are. cos, sin (patches, width): of the places, the first half of sin negative."""
    rows, _, heads, width = qkv.shape
    assert qkv[0].is_contiguous(), "its rows are written in place"
    _turned[(rows, triton.cdiv(2 * heads, HEADS_AT_ONCE))](
        qkv, cos.contiguous(), sin.contiguous(), qkv.stride(0), HEADS=2 * heads, HALF=width // 2,
        PADDED=triton.next_power_of_2(width // 2), AT_ONCE=HEADS_AT_ONCE, num_warps=4,
    )  # fmt: skip
    return qkv.unbind(1)


@jit
def _added_norm(x, delta, weight, bias, normed, epsilon, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    start, at = tl.program_id(0).to(tl.int64) * WIDTH, tl.arange(0, BLOCK)
    inside = at < WIDTH
    values = tl.load(x + start + at, mask=inside, other=0.0).to(tl.float32)
    values += tl.load(delta + start + at, mask=inside, other=0.0).to(tl.float32)
    rounded = values.to(x.dtype.element_ty)
    tl.store(x + start + at, rounded, mask=inside)
    values = rounded.to(tl.float32)
    centred = tl.where(inside, values - tl.sum(values, axis=0) / WIDTH, 0.0)
    scale = tl.rsqrt(tl.sum(centred * centred, axis=0) / WIDTH + epsilon)
    weights = tl.load(weight + at, mask=inside, other=0.0).to(tl.float32)
    biases = tl.load(bias + at, mask=inside, other=0.0).to(tl.float32)
    tl.store(normed + start + at, centred * scale * weights + biases, mask=inside)


def added_norm(x: torch.Tensor, delta: torch.Tensor, norm: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """x, to which delta was added in place, and its layer norm; all (rows, width)."""
    x, delta, width = x.contiguous(), delta.contiguous(), x.shape[-1]
    normed = torch.empty_like(x)
    _added_norm[(len(x),)](
        x, delta, norm.weight, norm.bias, normed, norm.eps, WIDTH=width, BLOCK=triton.next_power_of_2(width),
        num_warps=4,
    )  # fmt: skip
    return x, normed
