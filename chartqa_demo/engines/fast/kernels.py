# ruff: noqa: ANN001, ANN202 (arguments of a kernel have their types when it is compiled)
"""What lies between the matrix products of `layers.py` and `tower.py`, each a single pass over memory by Triton, and
the products of a decode step themselves.

torch's own operations need two to five passes for the same. In a decode step, where a pass is a few rows, they cost a
quarter of the time. The functions of the same names beside the layers compute the same by torch's own. A product of a
few rows has little more to do than to read its matrix: `product` and `gated_product` do so faster than cuBLAS, and
their sums stay in float32.
"""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import torch
import triton
import triton.language as tl
from triton.runtime import driver

from chartqa_demo.engines.fast import nf4
from chartqa_demo.errors import first_line

jit: Any = triton.jit  # whose own type knows nothing of num_warps
PIECE = 1024  # elements of a row that one program takes, where rows need not be whole
HEADS_AT_ONCE = 8  # of a row, in one program
FEW = 16  # rows at most, the least that a GPU's matrix units multiply at once
OUTPUTS_AT_ONCE, BYTES_AT_ONCE = 64, 256  # of a matrix: its rows in one program, and how much of each at once
PROGRAMS = 128  # at least so many keep a large GPU's memory busy
NF4_BLOCK, NF4_NESTED = tl.constexpr(nf4.BLOCK), tl.constexpr(nf4.NESTED)
NF4_ROWS, NF4_HALVES = 4, 8  # at most of x; of halves of blocks that a program reads of a matrix row at once
NF4_OUTPUTS, NF4_WARPS, NF4_PROGRAMS = 16, 4, 512
STAGES = 4  # of a matrix, read ahead of the product, where shared memory allows


def usable(trials: Mapping[str, Callable[[], object]]) -> tuple[dict[str, Callable[..., Any]], dict[str, str]]:
    """Functions of this module by name, and why others cannot be used here; trials: by name a call of each, on the
    device and in the shapes that it will have. What cannot be compiled fails here rather than in an answer."""
    found, lost = {}, {}
    for name, trial in trials.items():
        try:
            trial()
            found[name] = globals()[name]
        except Exception as error:  # whatever Triton raises
            lost[name] = first_line(error)
    return found, lost


@cache
def shared_memory(device: torch.device) -> int:
    """Bytes of shared memory that one program may take; without a GPU, where programs are interpreted, any."""
    gpus: Any = driver.active if device.type == "cuda" else None
    return gpus.utils.get_device_properties(device.index)["max_shared_mem"] if gpus else 2**30


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
    (q, q_row), (k, k_row), (v, v_row) = (_rows(one, 2) for one in (q, k, v))
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
    (k, k_row), (v, v_row) = _rows(k, 2), _rows(v, 2)
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
    (gate, gate_row), (up, up_row) = _rows(gate, 1), _rows(up, 1)
    _gated[(len(gate), triton.cdiv(width, PIECE))](
        gate, up, out, gate_row, up_row, WIDTH=width, BLOCK=PIECE, num_warps=4
    )
    return out


@jit(do_not_specialize=["rows"])  # one row is no case of its own: it need not be compiled in an answer
def _product(
    x, weight, out, rows, outputs, other,
    INPUTS: tl.constexpr, DEPTH: tl.constexpr, GATED: tl.constexpr,
    ROWS: tl.constexpr, BLOCK: tl.constexpr, DEEP: tl.constexpr,
):  # fmt: skip
    part, at, row = tl.program_id(1), tl.program_id(0) * BLOCK + tl.arange(0, BLOCK), tl.arange(0, ROWS)
    inside, asked = at < outputs, row < rows
    lines = weight + at.to(tl.int64)[:, None] * INPUTS
    sums, others = tl.zeros([BLOCK, ROWS], tl.float32), tl.zeros([BLOCK, ROWS], tl.float32)
    for start in range(part * DEPTH, part * DEPTH + DEPTH, DEEP):
        k = start + tl.arange(0, DEEP)
        mask = inside[:, None] & (k < INPUTS)[None, :]
        read = tl.load(x + row[None, :] * INPUTS + k[:, None], mask=asked[None, :] & (k < INPUTS)[:, None], other=0.0)
        sums = tl.dot(tl.load(lines + k[None, :], mask=mask, other=0.0), read, sums, input_precision="ieee")
        if GATED:
            more = tl.load(lines + other + k[None, :], mask=mask, other=0.0)
            others = tl.dot(more, read, others, input_precision="ieee")
    if GATED:
        sums = sums * tl.sigmoid(sums) * others
    into = out + (row[None, :] * tl.num_programs(1) + part) * outputs + at[:, None]
    tl.store(into, sums, mask=inside[:, None] & asked[None, :])


def product(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """x (B, 1, inputs), at most FEW rows, times the transpose of weight (outputs, inputs), as parts of a sum in float32
    (B, parts, outputs): where a matrix has few rows, several programs share each of them."""
    outputs, inputs = weight.shape
    programs, pieces, parts = triton.cdiv(outputs, OUTPUTS_AT_ONCE), triton.cdiv(inputs, _deep(weight)), 1
    while programs * parts < PROGRAMS and 2 * parts <= pieces:
        parts *= 2
    return _few(x, weight, x.new_empty(len(x), parts, outputs, dtype=torch.float32), False)


def gated_product(x: torch.Tensor, weight: torch.Tensor, outputs: int) -> torch.Tensor:
    """silu(gate) * up of x (B, 1, inputs), at most FEW rows: (B, 1, outputs) in the dtype of x. weight (rows, inputs):
    those of gate, as many of up, then any."""
    return _few(x, weight, x.new_empty(len(x), 1, outputs), True)


def _few(x: torch.Tensor, weight: torch.Tensor, out: torch.Tensor, gated: bool) -> torch.Tensor:
    (rows, parts, outputs), inputs, deep = out.shape, weight.shape[1], _deep(weight)
    stage = BYTES_AT_ONCE * (OUTPUTS_AT_ONCE * (1 + gated) + FEW)
    _product[(triton.cdiv(outputs, OUTPUTS_AT_ONCE), parts)](
        x.contiguous(), weight.contiguous(), out, rows, outputs, outputs * inputs, INPUTS=inputs,
        DEPTH=triton.cdiv(triton.cdiv(inputs, deep), parts) * deep, GATED=gated, ROWS=FEW, BLOCK=OUTPUTS_AT_ONCE,
        DEEP=deep, num_warps=4, num_stages=min(STAGES, 1 + shared_memory(x.device) // stage),
    )  # fmt: skip
    return out


def _deep(weight: torch.Tensor) -> int:
    return BYTES_AT_ONCE // weight.element_size()


@jit
def _nf4_row(x, at, other, upper, lower, total):
    """total and what one row of x adds to it; upper, lower: the two weights of each byte, x + at, + other: theirs."""
    return tl.fma(lower, tl.load(x + at + other), tl.fma(upper, tl.load(x + at), total))


@jit
def _nf4_store(total, bias, out, part, row, at, rows, outputs, BIASED: tl.constexpr):
    sums, mask = tl.sum(tl.sum(total, axis=2), axis=1), (at < outputs) & (row < rows)
    if BIASED:
        sums += tl.load(bias + at, mask=mask, other=0.0).to(tl.float32)
    tl.store(out + (row * tl.num_programs(1) + part) * outputs + at, sums, mask=mask)


@jit(do_not_specialize=["rows"])
def _nf4_product(
    x, packed, levels, codes, steps, offsets, values, bias, out, rows, outputs,
    BLOCKS: tl.constexpr, DEPTH: tl.constexpr, WIDE: tl.constexpr, BIASED: tl.constexpr, ROWS: tl.constexpr,
    BLOCK: tl.constexpr, HALVES: tl.constexpr,
):  # fmt: skip
    # A thread reads half a block at once, four words of eight weights, in every byte the first one in the upper half;
    # all it does stays in its registers.
    part, first = tl.program_id(1), tl.program_id(0) * BLOCK
    at, half, word = first + tl.arange(0, BLOCK)[:, None], tl.arange(0, HALVES)[None, :], tl.arange(0, 4)
    line, inside = at * BLOCKS, at < outputs
    offset = tl.load(offsets + line // NF4_NESTED, mask=inside, other=0.0)  # one for a whole layer
    a = tl.zeros([BLOCK, HALVES, 4], tl.float32)
    b, c, d = a, a, a
    for start in range(part * DEPTH, tl.minimum(part * DEPTH + DEPTH, BLOCKS), HALVES // 2):
        block = start + half // 2
        real = inside & (block < BLOCKS)
        scale = tl.load(codes + tl.load(levels + line + block, mask=real, other=0).to(tl.int32))
        scale = scale * tl.load(steps + (line + block) // NF4_NESTED, mask=real, other=0.0) + offset
        k = (start * 8 + half * 4)[:, :, None] + word[None, None, :]
        words = tl.load(packed + (line * 8)[:, :, None] + k, mask=real[:, :, None], other=0)
        for n in tl.static_range(4):  # pyright: ignore[reportGeneralTypeIssues]
            upper = tl.load(values + ((words >> (8 * n + 4)) & 15)) * scale[:, :, None]
            lower = tl.load(values + ((words >> (8 * n)) & 15)) * scale[:, :, None]
            a = _nf4_row(x, 2 * n * WIDE + k, WIDE, upper, lower, a)
            if ROWS > 1:
                b = _nf4_row(x, (8 + 2 * n) * WIDE + k, WIDE, upper, lower, b)
                c = _nf4_row(x, (16 + 2 * n) * WIDE + k, WIDE, upper, lower, c)
            if ROWS > 3:
                d = _nf4_row(x, (24 + 2 * n) * WIDE + k, WIDE, upper, lower, d)
    to = first + tl.arange(0, BLOCK)
    _nf4_store(a, bias, out, part, 0, to, rows, outputs, BIASED)
    if ROWS > 1:
        _nf4_store(b, bias, out, part, 1, to, rows, outputs, BIASED)
        _nf4_store(c, bias, out, part, 2, to, rows, outputs, BIASED)
    if ROWS > 3:
        _nf4_store(d, bias, out, part, 3, to, rows, outputs, BIASED)


def nf4_product(x: torch.Tensor, matrix: nf4.Matrix) -> torch.Tensor:
    """x (B, 1, inputs), at most NF4_ROWS rows, times the transpose of an `nf4.Matrix`, unpacked as it is read, exactly
    to bitsandbytes' values in float32. Parts of a sum as of `product`; of a matrix with a bias, or made of several, the
    whole sum (B, 1, outputs) in the dtype of x."""
    outputs, rows, blocks, parts = sum(matrix.sizes), len(x), matrix.inputs // nf4.BLOCK, 1
    pieces = triton.cdiv(2 * blocks, NF4_HALVES)
    if matrix.bias is not None or len(matrix.sizes) > 1:
        out = x.new_empty(rows, 1, outputs)
    else:
        programs = triton.cdiv(outputs, NF4_OUTPUTS)
        while programs * parts < NF4_PROGRAMS and 2 * parts <= pieces:
            parts *= 2
        out = x.new_empty(rows, parts, outputs, dtype=torch.float32)
    # Every eighth number of x beside each other, as the same weight of neighbouring words needs them
    computed, wide = 1 if rows == 1 else max(rows, 3), 4 * NF4_HALVES * pieces
    turned = x.new_empty(computed, 8, wide, dtype=torch.float32)
    turned[:rows, :, : matrix.inputs // 8] = x.reshape(rows, -1, 8).transpose(1, 2)
    turned[:, :, matrix.inputs // 8 :] = 0
    _nf4_product[(triton.cdiv(outputs, NF4_OUTPUTS), parts)](
        turned, matrix.packed.view(torch.int32), matrix.levels, matrix.codes, matrix.steps, matrix.offsets,
        matrix.values, turned if matrix.bias is None else matrix.bias, out, rows, outputs, BLOCKS=blocks,
        DEPTH=triton.cdiv(pieces, parts) * NF4_HALVES // 2, WIDE=wide, BIASED=matrix.bias is not None, ROWS=computed,
        BLOCK=NF4_OUTPUTS, HALVES=NF4_HALVES, num_warps=NF4_WARPS, num_stages=1,
        enable_fp_fusion=False,  # bitsandbytes rounds a scale's product and its sum
    )  # fmt: skip
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


def _rows(x: torch.Tensor, inner: int) -> tuple[torch.Tensor, int]:
    """x (..., the last `inner` dimensions: a row) as one list of rows, and the elements from one to the next; copied
    where the elements of a row do not lie side by side, or its rows at one distance."""
    shape = (-1, *x.shape[-inner:])
    try:
        rows = x.view(shape)
    except RuntimeError:
        rows = x.reshape(shape)
    rows = rows if rows[0].is_contiguous() else rows.contiguous()
    return rows, rows.stride(0)
