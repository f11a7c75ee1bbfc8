"""Weights in NF4 as bitsandbytes holds them, for a kernel that unpacks them while it reads.

QLoRA, arXiv 2305.14314, section 3: 64 weights that lie side by side have one scale, 256 such scales one step. Checked
with bitsandbytes 0.50; the tests compare values with those of its own `dequantize_4bit`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

BLOCK, NESTED = 64, 256  # weights to a scale, scales to a step; bitsandbytes' own choice
FOREIGN = "its instructions are NVIDIA's"  # why the kernel is none for another GPU


@dataclass
class Matrix:
    """One or several matrices that read the same input, as one of N = sum(sizes) * inputs weights.

    packed (N / 2,): two in a byte, the first in its upper half; levels (N / 64,): their scales, as numbers of `codes`
    (256,), each times its step of steps (N / 64 / 256,), plus offsets, as many; values: what four bits mean, sixteen
    numbers, which a kernel takes as arguments rather than reads; bias (sum(sizes),) or None; sizes: the outputs of
    each.
    """

    packed: torch.Tensor
    levels: torch.Tensor
    codes: torch.Tensor
    steps: torch.Tensor
    offsets: torch.Tensor
    values: tuple[float, ...]
    bias: torch.Tensor | None
    sizes: tuple[int, ...]
    inputs: int


@torch.inference_mode(False)
@torch.no_grad()
def joined(parts: Sequence[Any]) -> Matrix | None:
    """These linear layers as one matrix, whose memory theirs becomes part of; None where they are not in NF4 with
    nested scales, or do not begin at a step of their own."""
    states: list[Any] = [getattr(part.weight, "quant_state", None) for part in parts]
    if not all(_fits(state, part.in_features) for state, part in zip(states, parts, strict=True)):
        return None
    inputs, biases = parts[0].in_features, [part.bias for part in parts if part.bias is not None]
    blocks = [part.out_features * inputs // BLOCK for part in parts]
    if len(biases) not in (0, len(parts)) or any(part.in_features != inputs for part in parts):
        return None
    if any(count % NESTED for count in blocks[:-1]):
        return None
    first = states[0]
    packed = _one([part.weight.data.view(-1) for part in parts])
    levels = _one([state.absmax.view(-1) for state in states])
    steps = _one([state.state2.absmax.view(-1) for state in states])
    if len(parts) > 1:
        counts = [-(-count // NESTED) for count in blocks]
        split = (packed.split([count * BLOCK // 2 for count in blocks]), levels.split(blocks), steps.split(counts))
        for part, state, mine, levels_, steps_ in zip(parts, states, *split, strict=True):
            part.weight.data = mine.view(part.weight.shape)
            state.absmax, state.state2.absmax = levels_, steps_
    offsets = torch.cat([state.offset.float().expand(len(state.state2.absmax)) for state in states])
    return Matrix(
        packed,
        levels,
        first.state2.code.float(),
        steps,
        offsets,
        tuple(first.code.tolist()),
        torch.cat(biases) if biases else None,
        tuple(part.out_features for part in parts),
        inputs,
    )


def _fits(state: Any, inputs: int) -> bool:
    """Whether these are NF4 weights as described above; rows of `inputs` weights begin with a scale of their own."""
    return (
        state is not None
        and state.quant_type == "nf4"
        and state.nested
        and (state.blocksize, state.state2.blocksize) == (BLOCK, NESTED)
        and inputs % BLOCK == 0
        and not getattr(state, "packing_format_for_cpu", False)
    )


def _one(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))
