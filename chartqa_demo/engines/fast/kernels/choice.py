# ruff: noqa: ANN001, ANN202 (arguments of a kernel have their types when it is compiled)
"""The next token of every row and its logarithm in two kernels, where torch needs twenty."""

import torch
import triton
import triton.language as tl

from chartqa_demo.engines.fast.choosing import NOT_FINITE
from chartqa_demo.engines.fast.kernels.launching import jit

LOGITS_AT_ONCE = 4096  # in one program
BROKEN = tl.constexpr(NOT_FINITE)


@jit
def _best(
    logits, seen, tops, places, sums, penalty, vocabulary,
    PENALISED: tl.constexpr, PIECES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row, piece = tl.program_id(0).to(tl.int64), tl.program_id(1)
    at = piece * BLOCK + tl.arange(0, BLOCK)
    inside = at < vocabulary
    values = tl.load(logits + row * vocabulary + at, mask=inside, other=float("-inf")).to(tl.float32)
    if PENALISED:
        lower = tl.where(values < 0, values * penalty, tl.div_rn(values, penalty))
        values = tl.where(tl.load(seen + row * vocabulary + at, mask=inside, other=0) != 0, lower, values)
    number = tl.abs(values) <= float("inf")
    broken = tl.max(tl.where(number, 0, 1), axis=0)
    values = tl.where(number, values, float("-inf"))
    top = tl.max(values, axis=0)
    place = tl.min(tl.where(values == top, at, vocabulary), axis=0)
    shares = tl.where(values == float("-inf"), 0.0, tl.exp(values - top))
    to = row * PIECES + piece
    tl.store(tops + to, tl.where(broken != 0, float("inf"), top))
    tl.store(places + to, place)
    tl.store(sums + to, tl.sum(shares, axis=0))


@jit
def _best_of_all(tops, places, sums, tokens, logs, vocabulary, PIECES: tl.constexpr, BLOCK: tl.constexpr):
    row, at = tl.program_id(0).to(tl.int64), tl.arange(0, BLOCK)
    inside, here = at < PIECES, row * PIECES + at
    top = tl.load(tops + here, mask=inside, other=float("-inf"))
    most = tl.max(top, axis=0)
    place = tl.load(places + here, mask=inside, other=0)
    token = tl.min(tl.where(inside & (top == most), place, vocabulary), axis=0)
    shares = tl.load(sums + here, mask=inside, other=0.0)
    total = tl.sum(tl.where(top == float("-inf"), 0.0, shares * tl.exp(top - most)), axis=0)
    finite = tl.abs(most) < float("inf")
    tl.store(tokens + row, tl.where(finite, token, BROKEN).to(tl.int64))
    tl.store(logs + row, -tl.log(total))


def best(
    logits: torch.Tensor, seen: torch.Tensor | None = None, penalty: float = 1.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Of logits (B, vocabulary) the largest's number (B,), int64, NOT_FINITE for a row with a NaN or whose largest is
    no finite number, and the natural logarithm of its share (B,), float32. seen (B, vocabulary): whose logits the
    penalty lowers."""
    logits, (rows, vocabulary) = logits.contiguous(), logits.shape
    pieces = triton.cdiv(vocabulary, LOGITS_AT_ONCE)
    tops, sums = torch.empty(2, rows, pieces, device=logits.device)
    places = torch.empty(rows, pieces, dtype=torch.int32, device=logits.device)
    tokens = torch.empty(rows, dtype=torch.long, device=logits.device)
    logs = torch.empty(rows, device=logits.device)
    _best[(rows, pieces)](
        logits, logits if seen is None else seen.view(torch.uint8), tops, places, sums, penalty, vocabulary,
        PENALISED=seen is not None, PIECES=pieces, BLOCK=LOGITS_AT_ONCE, num_warps=8,
    )  # fmt: skip
    _best_of_all[(rows,)](
        tops, places, sums, tokens, logs, vocabulary, PIECES=pieces, BLOCK=triton.next_power_of_2(pieces), num_warps=1
    )
    return tokens, logs
