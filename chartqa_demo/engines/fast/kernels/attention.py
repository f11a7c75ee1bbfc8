# ruff: noqa: ANN001, ANN202 (arguments of a kernel have their types when it is compiled)
"""The vision tower's own attention by Triton.

A replayed pass has room for more patches than its chart has. torch's attention takes a mask for that, and then needs
1.7 times as long on an H200; this one is told the number of patches, and stops there.
"""

import math

import torch
import triton
import triton.language as tl

from chartqa_demo.engines.fast.kernels import launching
from chartqa_demo.engines.fast.kernels.launching import jit, rows_of

PATCHES_AT_ONCE = 64  # queries of one program, and keys that it reads at once
SMALLEST = 16  # numbers of a head, the least that a GPU's matrix units sum at once


def halves(width: int) -> tuple[int, int] | None:
    """A head's width as a power of two and a smaller one or none, 80 as 64 and 16: no number is computed in vain. None
    where it is no such sum."""
    first = 1 << (width.bit_length() - 1)
    rest = width - first
    fits = rest & (rest - 1) == 0 and min(first, rest or first) >= SMALLEST
    return (first, rest) if fits else None


@jit
def _attention_part(
    sums, more, most, total, q, q_more, k, v, start, k_row, v_row, count,
    SCALE: tl.constexpr, FIRST: tl.constexpr, REST: tl.constexpr, AT_ONCE: tl.constexpr, LAST: tl.constexpr,
):  # fmt: skip
    """The queries of a program so far, and with AT_ONCE more keys; of the LAST those from `count` on do not count."""
    at, column = start + tl.arange(0, AT_ONCE), tl.arange(0, FIRST)
    keys, values = k + at[None, :] * k_row, v + at[:, None] * v_row
    inside = at < count
    if LAST:
        scores = tl.dot(q, tl.load(keys + column[:, None], mask=inside[None, :], other=0.0), input_precision="ieee")
        read = tl.load(values + column[None, :], mask=inside[:, None], other=0.0)
    else:
        scores = tl.dot(q, tl.load(keys + column[:, None]), input_precision="ieee")
        read = tl.load(values + column[None, :])
    read_more = read  # stands for none
    if REST:
        column = FIRST + tl.arange(0, REST)
        if LAST:
            scores = tl.dot(
                q_more, tl.load(keys + column[:, None], mask=inside[None, :], other=0.0), scores, input_precision="ieee"
            )
            read_more = tl.load(values + column[None, :], mask=inside[:, None], other=0.0)
        else:
            scores = tl.dot(q_more, tl.load(keys + column[:, None]), scores, input_precision="ieee")
            read_more = tl.load(values + column[None, :])
    if LAST:
        scores = tl.where(inside[None, :], scores, float("-inf"))
    larger = tl.maximum(most, tl.max(scores, 1) * SCALE)
    shares = tl.exp2(scores * SCALE - larger[:, None])
    kept = tl.exp2(most - larger)
    total = total * kept + tl.sum(shares, 1)
    shares = shares.to(q.dtype)
    sums = tl.dot(shares, read, sums * kept[:, None], input_precision="ieee")
    if REST:
        more = tl.dot(shares, read_more, more * kept[:, None], input_precision="ieee")
    return sums, more, larger, total


@jit
def _attention(
    q, k, v, out, counted, q_row, k_row, v_row,
    SCALE: tl.constexpr, HEADS: tl.constexpr, FIRST: tl.constexpr, REST: tl.constexpr, AT_ONCE: tl.constexpr,
):  # fmt: skip
    first, head, count = tl.program_id(0) * AT_ONCE, tl.program_id(1), tl.load(counted).to(tl.int32)
    WIDTH: tl.constexpr = FIRST + REST
    at, column = first + tl.arange(0, AT_ONCE), tl.arange(0, FIRST)[None, :]
    asked = (at < count)[:, None]
    if first < count:
        rows = q + at[:, None] * q_row + head * WIDTH
        query = tl.load(rows + column, mask=asked, other=0.0)
        sums = tl.zeros([AT_ONCE, FIRST], tl.float32)
        query_more, more = query, sums  # stands for none
        if REST:
            query_more = tl.load(rows + FIRST + tl.arange(0, REST)[None, :], mask=asked, other=0.0)
            more = tl.zeros([AT_ONCE, REST], tl.float32)
        most, total = tl.full([AT_ONCE], float("-inf"), tl.float32), tl.zeros([AT_ONCE], tl.float32)
        keys, values, whole = k + head * WIDTH, v + head * WIDTH, count // AT_ONCE * AT_ONCE
        for start in range(0, whole, AT_ONCE):
            sums, more, most, total = _attention_part(
                sums, more, most, total, query, query_more, keys, values, start, k_row, v_row, count,
                SCALE, FIRST, REST, AT_ONCE, False,
            )  # fmt: skip
        if whole < count:
            sums, more, most, total = _attention_part(
                sums, more, most, total, query, query_more, keys, values, whole, k_row, v_row, count,
                SCALE, FIRST, REST, AT_ONCE, True,
            )  # fmt: skip
        to = out + at[:, None] * (HEADS * WIDTH) + head * WIDTH
        tl.store(to + column, sums / total[:, None], mask=asked)
        if REST:
            tl.store(to + FIRST + tl.arange(0, REST)[None, :], more / total[:, None], mask=asked)


def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
    """q, k, v (patches, heads, width), of a width that `halves` divides, of whose patches the first `count` (1,), on
    the device, attend to each other: (patches, heads * width), nothing in the rows behind them."""
    (patches, heads, width), parts = q.shape, halves(q.shape[-1])
    assert parts is not None, f"{width} is no sum of two powers of two"
    (q, q_row), (k, k_row), (v, v_row) = (rows_of(one, 2) for one in (q, k, v))
    out = q.new_empty(patches, heads * width)
    stage = 2 * PATCHES_AT_ONCE * width * q.element_size()  # keys and values
    room = max(1, launching.shared_memory(q.device) // stage - 1)  # beside the queries
    _attention[(triton.cdiv(patches, PATCHES_AT_ONCE), heads)](
        q, k, v, out, count, q_row, k_row, v_row,
        SCALE=width**-0.5 / math.log(2), HEADS=heads, FIRST=parts[0], REST=parts[1], AT_ONCE=PATCHES_AT_ONCE,
        num_warps=4, num_stages=min(3, room),
    )  # fmt: skip
    return out
