# ruff: noqa: ANN001, ANN202 (arguments of a kernel have their types when it is compiled)
"""What lies between the matrix products of `layers.py` and `tower.py`, each a single pass over memory by Triton.

torch's own operations need two to five passes for the same. In a decode step, where a pass is a few rows, they cost a
quarter of the time. The functions of the same names in `plain.py` and `tower.py` compute the same by torch's own.
"""

from typing import Any

import torch
import triton
import triton.language as tl

from chartqa_demo.engines.fast.kernels.launching import jit, rows_of

PIECE = 1024  # elements of a row that one program takes, where rows need not be whole
HEADS_AT_ONCE = 8  # of a row, in one program


@jit
def _add_norm(x, delta, weight, normed, epsilon, PARTS: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    start, at = tl.program_id(0).to(tl.int64) * WIDTH, tl.arange(0, BLOCK)
    inside = at < WIDTH
    values = tl.load(x + start + at, mask=inside, other=0.0).to(tl.float32)
    if PARTS:
        for part in range(PARTS):
            values += tl.load(delta + start * PARTS + part * WIDTH + at, mask=inside, other=0.0).to(tl.float32)
        values = values.to(x.dtype.element_ty).to(tl.float32)
        tl.store(x + start + at, values, mask=inside)
    scale = tl.rsqrt(tl.sum(values * values, axis=0) / WIDTH + epsilon)
    weights = tl.load(weight + at, mask=inside, other=0.0).to(tl.float32)
    tl.store(normed + start + at, values * scale * weights, mask=inside)


def add_norm(
    x: torch.Tensor, delta: torch.Tensor | None, norm: Any, epsilon: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """x, to which delta was added in place, and its RMS norm in the dtype of the norm's weight; all (..., width). delta
    may have several parts for every row of x, as `product` makes them; all are added."""
    width = x.shape[-1]
    normed = torch.empty_like(x, dtype=norm.weight.dtype)
    _add_norm[(x.numel() // width,)](
        x, x if delta is None else delta.contiguous(), norm.weight, normed, epsilon,
        PARTS=0 if delta is None else delta.numel() // x.numel(), WIDTH=width, BLOCK=triton.next_power_of_2(width),
        num_warps=8,
    )  # fmt: skip
    return x, normed


@jit
def _rotated(
    q, k, v, cos, sin, queries, both, q_row, k_row, v_row,
    HEADS: tl.constexpr, KV_HEADS: tl.constexpr, WIDTH: tl.constexpr, PADDED: tl.constexpr, AT_ONCE: tl.constexpr,
):  # fmt: skip
    row, part = tl.program_id(0).to(tl.int64), tl.program_id(1)
    q_parts, kv_parts = tl.cdiv(HEADS, AT_ONCE), tl.cdiv(KV_HEADS, AT_ONCE)
    if part < q_parts:
        first, heads = part * AT_ONCE, HEADS
        source, into = q + row * q_row, queries + row * HEADS * WIDTH
    elif part < q_parts + kv_parts:
        first, heads = (part - q_parts) * AT_ONCE, KV_HEADS
        source, into = k + row * k_row, both + row * 2 * KV_HEADS * WIDTH
    else:
        first, heads = (part - q_parts - kv_parts) * AT_ONCE, KV_HEADS
        source, into = v + row * v_row, both + (row * 2 + 1) * KV_HEADS * WIDTH
    head, at = first + tl.arange(0, AT_ONCE)[:, None], tl.arange(0, PADDED)[None, :]
    inside = (head < heads) & (at < WIDTH)
    values = tl.load(source + head * WIDTH + at, mask=inside).to(tl.float32)
    if part < q_parts + kv_parts:
        other = tl.where(at < WIDTH // 2, at + WIDTH // 2, at - WIDTH // 2)
        others = tl.load(source + head * WIDTH + other, mask=inside).to(tl.float32)
        values = values * tl.load(cos + row * WIDTH + at, mask=at < WIDTH).to(tl.float32)
        values += others * tl.load(sin + row * WIDTH + at, mask=at < WIDTH).to(tl.float32)
    tl.store(into + head * WIDTH + at, values, mask=inside)


def rotated(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """q (..., heads, width), k and v (..., key heads, width), the first two rotated to their places; parts of wider
    rows will do. cos, sin (..., width): of the places, the first half of sin negative."""
    leading, (heads, width), kv_heads = q.shape[:-2], q.shape[-2:], k.shape[-2]
    (q, q_row), (k, k_row), (v, v_row) = (rows_of(one, 2) for one in (q, k, v))
    queries = q.new_empty(*leading, heads, width)
    both = q.new_empty(*leading, 2, kv_heads, width)
    parts = triton.cdiv(heads, HEADS_AT_ONCE) + 2 * triton.cdiv(kv_heads, HEADS_AT_ONCE)
    _rotated[(cos.numel() // width, parts)](
        q, k, v, cos.contiguous(), sin.contiguous(), queries, both, q_row, k_row, v_row,
        HEADS=heads, KV_HEADS=kv_heads, WIDTH=width, PADDED=triton.next_power_of_2(width), AT_ONCE=HEADS_AT_ONCE,
        num_warps=4,
    )  # fmt: skip
    return queries, both[..., 0, :, :], both[..., 1, :, :]


@jit
def _store(
    keys, values, k, v, slots, k_row, v_row, row_size, head_size, slot_size,
    HEADS: tl.constexpr, WIDTH: tl.constexpr, HEADS_PADDED: tl.constexpr, PADDED: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    head, at = tl.arange(0, HEADS_PADDED)[:, None], tl.arange(0, PADDED)[None, :]
    inside = (head < HEADS) & (at < WIDTH)
    to = row * row_size + head * head_size + tl.load(slots + row) * slot_size + at
    tl.store(keys + to, tl.load(k + row * k_row + head * WIDTH + at, mask=inside), mask=inside)
    tl.store(values + to, tl.load(v + row * v_row + head * WIDTH + at, mask=inside), mask=inside)


def store(keys: torch.Tensor, values: torch.Tensor, k: torch.Tensor, v: torch.Tensor, slots: torch.Tensor) -> None:
    """One more token of every row into a cache: k, v (B, 1, key heads, width), as `rotated` gives them, into keys and
    values (B, key heads, slots, width), two of a shape and layout, at slots (B,)."""
    heads, width = k.shape[-2:]
    (k, k_row), (v, v_row) = rows_of(k, 2), rows_of(v, 2)
    _store[(len(k),)](
        keys, values, k, v, slots, k_row, v_row, *keys.stride()[:3], HEADS=heads, WIDTH=width,
        HEADS_PADDED=triton.next_power_of_2(heads), PADDED=triton.next_power_of_2(width), num_warps=4,
    )  # fmt: skip


@jit
def _gated(gate, up, out, gate_row, up_row, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    row, at = tl.program_id(0).to(tl.int64), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = at < WIDTH
    opened = tl.load(gate + row * gate_row + at, mask=inside).to(tl.float32)
    passed = tl.load(up + row * up_row + at, mask=inside).to(tl.float32)
    tl.store(out + row * WIDTH + at, opened * tl.sigmoid(opened) * passed, mask=inside)


def gated(gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    """silu(gate) * up, (..., width); parts of wider rows will do."""
    out, width = torch.empty(gate.shape, dtype=gate.dtype, device=gate.device), gate.shape[-1]
    (gate, gate_row), (up, up_row) = rows_of(gate, 1), rows_of(up, 1)
    _gated[(len(gate), triton.cdiv(width, PIECE))](
        gate, up, out, gate_row, up_row, WIDTH=width, BLOCK=PIECE, num_warps=4
    )
    return out


@jit
def _quick_gelu(x, size, BLOCK: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    values = tl.load(x + at, mask=at < size).to(tl.float32)
    tl.store(x + at, values * tl.sigmoid(1.702 * values), mask=at < size)


def quick_gelu(x: torch.Tensor) -> torch.Tensor:
    """x * sigmoid(1.702 x) in place."""
    _quick_gelu[(triton.cdiv(x.numel(), PIECE),)](x, x.numel(), BLOCK=PIECE, num_warps=4)
    return x
