# ruff: noqa: ANN001, ANN202 (arguments of a kernel have their types when it is compiled)
"""The products of a decode step by Triton.

A product of a few rows has little more to do than to read its matrix: `product` and `gated_product` do so faster than
cuBLAS, and their sums stay in float32. `nf4_product` unpacks its matrix while it reads.
"""

import torch
import triton
import triton.language as tl

from chartqa_demo.engines.fast.kernels import launching
from chartqa_demo.engines.fast.kernels.launching import jit
from chartqa_demo.engines.fast.kernels.passes import PIECE
from chartqa_demo.engines.fast.weights import nf4

FEW = 16  # rows at most, the least that a GPU's matrix units multiply at once
OUTPUTS_AT_ONCE, BYTES_AT_ONCE = 64, 256  # of a matrix: its rows in one program, and how much of each at once
PROGRAMS = 128  # at least so many keep a large GPU's memory busy
NF4_NESTED = tl.constexpr(nf4.NESTED)
NF4_ROWS, NF4_BLOCKS = 8, 4  # at most of x; those of a matrix row that a program reads at once
NF4_OUTPUTS, NF4_PROGRAMS = 16, 4096  # of one warp each, of which a GPU's processors hold some twenty at once
STAGES = 4  # of a matrix, read ahead of the product, where shared memory allows


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
        DEEP=deep, num_warps=4, num_stages=min(STAGES, 1 + launching.shared_memory(x.device) // stage),
    )  # fmt: skip
    return out


def _deep(weight: torch.Tensor) -> int:
    return BYTES_AT_ONCE // weight.element_size()


# NF4 by byte permutation. A block of 64 weights has one scale, and four bits choose among sixteen values: but sixteen
# different weights are in it. They are made and rounded once, two bytes each, and looked up in a thread's registers:
# l0 to l3 hold their lower bytes, four to a register, h0 to h3 their upper ones. The instruction `prmt` composes four
# bytes out of the eight of two registers; four bits of a third register choose each: three say which, the fourth is to
# be 0. That is how packed weights lie in their words. So one prmt finds four bytes as if all weights were among the
# first eight, one as if among the last eight, and what a third makes of the fourth bits, bytes of ones or zeros, keeps
# the right ones. Two more put lower and upper bytes side by side.
# Triton has no function for `prmt`, nor for rounding two numbers into one register: hence PTX, for NVIDIA's GPUs.


@jit
def _prmt(a, b, chosen):
    return tl.inline_asm_elementwise("prmt.b32 $0, $1, $2, $3;", "=r,r,r,r", [a, b, chosen], tl.int32, True, 1)


@jit
def _pair(first, second, HALF: tl.constexpr):
    """Two float32, rounded to half precision, in one register."""
    return tl.inline_asm_elementwise(
        "cvt.rn.f16x2.f32 $0, $1, $2;" if tl.float16 == HALF else "cvt.rn.bf16x2.f32 $0, $1, $2;",
        "=r,f,f", [second, first], tl.int32, True, 1,
    )  # fmt: skip


@jit
def _nf4_four(scale, v0, v1, v2, v3, HALF: tl.constexpr):
    """Of four of the sixteen weights the lower and the upper bytes."""
    a, b = _pair(scale * v0, scale * v1, HALF), _pair(scale * v2, scale * v3, HALF)
    return _prmt(a, b, 0x6420), _prmt(a, b, 0x7531)


@jit
def _nf4_found(chosen, words, l0, l1, l2, l3, h0, h1, h2, h3):
    """Of the lower halves of words the four weights there, as a pair and a pair."""
    upper = _prmt(0, -1, words >> 1)
    low = (_prmt(l0, l1, chosen) & ~upper) | (_prmt(l2, l3, chosen) & upper)
    high = (_prmt(h0, h1, chosen) & ~upper) | (_prmt(h2, h3, chosen) & upper)
    return _prmt(low, high, 0x4051), _prmt(low, high, 0x6273)  # in a byte of words the first is in the upper half


@jit
def _nf4_read(packed, levels, steps, line, start, BLOCKS: tl.constexpr):
    """Of four blocks of every row: words of eight weights (rows, 16), four of each block's first half, and as many of
    its second; the blocks' levels and steps (rows, 4). Behind the last block zeros."""
    column, lane = tl.arange(0, 16)[None, :], tl.arange(0, 4)[None, :]
    at, block = packed + line * 8 + (start * 8 + column // 4 * 8 + column % 4), line + (start + lane)
    if BLOCKS % 4:
        inside, real = start + column // 4 < BLOCKS, start + lane < BLOCKS
        words, more = tl.load(at, mask=inside, other=0), tl.load(at + 4, mask=inside, other=0)
        level = tl.load(levels + block, mask=real, other=0).to(tl.int32)
        step = tl.load(steps + block // NF4_NESTED, mask=real, other=0.0)
    else:
        words, more = tl.load(at), tl.load(at + 4)
        level, step = tl.load(levels + block).to(tl.int32), tl.load(steps + block // NF4_NESTED)
    return words, more, level, step


@jit(do_not_specialize=["rows"])
def _nf4_product(
    x, packed, levels, codes, steps, offsets, out, rows, outputs,
    v0, v1, v2, v3, v4, v5, v6, v7, v8, v9, v10, v11, v12, v13, v14, v15,
    BLOCKS: tl.constexpr, DEPTH: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    # One warp, four blocks of every row at once, half of each in a product: thread t of four has block t. Its weights
    # stay in its registers, for the product's inputs are in the order in which the matrix units take them from threads:
    # 16 i + 4 t + j is the one that has number 4 i + j in its half of block t, in weights and in x alike. The next
    # blocks are read meanwhile; behind the last block of a row its last four again, or zeros.
    HALF: tl.constexpr = x.dtype.element_ty
    part, first, row = tl.program_id(1), tl.program_id(0) * BLOCK, tl.arange(0, ROWS)
    lane, column, begin = tl.arange(0, 4)[None, :], tl.arange(0, 32)[None, :], part * DEPTH
    line = tl.minimum(first + tl.arange(0, BLOCK), outputs - 1)[:, None] * BLOCKS
    xs = x + (tl.minimum(row, rows - 1) * (BLOCKS * 64))[:, None] + (column // 8 * 64 + column % 8)
    offset, sums = tl.load(offsets + line // NF4_NESTED), tl.zeros([BLOCK, ROWS], tl.float32)
    words, more, level, step = _nf4_read(packed, levels, steps, line, begin, BLOCKS)
    for start in range(begin, tl.minimum(begin + DEPTH, BLOCKS), 4):
        ahead = tl.minimum(start + 4, BLOCKS if BLOCKS % 4 else BLOCKS - 4)
        next_words, next_more, next_level, next_step = _nf4_read(packed, levels, steps, line, ahead, BLOCKS)
        scale = (tl.load(codes + level) * step + offset)[:, :, None]
        if BLOCKS % 4:
            scale = tl.where((start + lane < BLOCKS)[:, :, None], scale, 0.0)
        l0, h0 = _nf4_four(scale, v0, v1, v2, v3, HALF)
        l1, h1 = _nf4_four(scale, v4, v5, v6, v7, HALF)
        l2, h2 = _nf4_four(scale, v8, v9, v10, v11, HALF)
        l3, h3 = _nf4_four(scale, v12, v13, v14, v15, HALF)
        for second in tl.static_range(2):  # pyright: ignore[reportGeneralTypeIssues]
            some = tl.reshape(more if second else words, [BLOCK, 4, 4])
            chosen = some & 0x77777777
            w0, w1 = _nf4_found(chosen, some, l0, l1, l2, l3, h0, h1, h2, h3)
            w2, w3 = _nf4_found(chosen >> 16, some >> 16, l0, l1, l2, l3, h0, h1, h2, h3)
            pairs = tl.join(tl.join(w0, w2), tl.join(w1, w3))
            weights = tl.join(pairs.to(tl.int16), (pairs >> 16).to(tl.int16)).to(HALF, bitcast=True)
            weights = tl.permute(tl.reshape(weights, [BLOCK, 4, 8, 4]), 0, 2, 1, 3)
            at = xs + (start * 64 + second * 32)
            if BLOCKS % 4:
                near = start + column // 8 < BLOCKS
                x0, x1 = tl.load(at, mask=near, other=0.0), tl.load(at + 8, mask=near, other=0.0)
                x2, x3 = tl.load(at + 16, mask=near, other=0.0), tl.load(at + 24, mask=near, other=0.0)
            else:
                x0, x1, x2, x3 = tl.load(at), tl.load(at + 8), tl.load(at + 16), tl.load(at + 24)
            read = tl.reshape(tl.join(tl.join(x0, x2), tl.join(x1, x3)), [ROWS, 4, 8, 2, 2])
            read = tl.reshape(tl.permute(read, 0, 1, 3, 4, 2), [ROWS, 4, 8, 4])
            read = tl.reshape(tl.permute(read, 2, 1, 3, 0), [128, ROWS])
            sums = tl.dot(tl.reshape(weights, [BLOCK, 128]), read, sums)
        words, more, level, step = next_words, next_more, next_level, next_step
    to, row = (first + tl.arange(0, BLOCK))[:, None], row[None, :]
    tl.store(out + (row * tl.num_programs(1) + part) * outputs + to, sums, mask=(to < outputs) & (row < rows))


@jit
def _whole(parts, bias, out, outputs, BIASED: tl.constexpr, PARTS: tl.constexpr, BLOCK: tl.constexpr):
    row, at = tl.program_id(0), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = at < outputs
    sums = tl.zeros([BLOCK], tl.float32)
    for part in tl.static_range(PARTS):  # pyright: ignore[reportGeneralTypeIssues]
        sums += tl.load(parts + (row * PARTS + part) * outputs + at, mask=inside)
    if BIASED:
        sums += tl.load(bias + at, mask=inside).to(tl.float32)
    tl.store(out + row * outputs + at, sums, mask=inside)


def nf4_product(x: torch.Tensor, matrix: nf4.Matrix) -> torch.Tensor:
    """x (B, 1, inputs), at most NF4_ROWS rows in half precision, times the transpose of an `nf4.Matrix`, unpacked as it
    is read, rounded to the precision of x as bitsandbytes does. Parts of a sum as of `product`; of a matrix with a
    bias, or made of several, the whole sum (B, 1, outputs) in the dtype of x. Raises RuntimeError on an AMD GPU."""
    if torch.version.hip:  # where Triton would say it in the assembler's words, on stderr
        raise RuntimeError(nf4.FOREIGN)
    outputs, rows, blocks, parts = sum(matrix.sizes), len(x), matrix.inputs // nf4.BLOCK, 1
    biased, several = matrix.bias is not None, len(matrix.sizes) > 1
    programs, pieces = triton.cdiv(outputs, NF4_OUTPUTS), triton.cdiv(blocks, NF4_BLOCKS)
    least = NF4_PROGRAMS // 2 if several and not biased else NF4_PROGRAMS  # its parts would cost a launch more
    while programs * parts < least and 2 * parts <= pieces:
        parts *= 2
    deep = triton.cdiv(pieces, parts)
    parts = triton.cdiv(pieces, deep)  # none without its share
    alone = several and parts == 1 and not biased
    out = x.new_empty(rows, parts, outputs, dtype=x.dtype if alone else torch.float32)
    _nf4_product[(programs, parts)](
        x.contiguous(), matrix.packed.view(torch.int32), matrix.levels, matrix.codes, matrix.steps, matrix.offsets,
        out, rows, outputs, *matrix.values, BLOCKS=blocks, DEPTH=deep * NF4_BLOCKS, ROWS=NF4_ROWS, BLOCK=NF4_OUTPUTS,
        num_warps=1, num_stages=1, enable_fp_fusion=False,  # bitsandbytes rounds a scale's product and its sum
    )  # fmt: skip
    if alone or not (several or biased):
        return out
    whole = x.new_empty(rows, 1, outputs)
    _whole[(rows, triton.cdiv(outputs, PIECE))](
        out, matrix.bias if biased else out, whole, outputs, BIASED=biased, PARTS=parts, BLOCK=PIECE, num_warps=4
    )
    return whole
