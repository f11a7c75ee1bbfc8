"""Linear layers that read the same input as one matrix, of which each is a part, with room for an adapter's rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch

TUNING = 64  # ranks of an adapter, of all joined layers together, that ride along with the product of their weights


@dataclass
class Joint:
    """Linear layers that read the same input as one: weight (all outputs and TUNING, inputs), theirs are parts of it;
    bias, as many; sizes, the outputs of each. Below them is room for an adapter's A: the product that gives the outputs
    gives what its B multiplies, too. adapter: whose A lie there, that of the first layer."""

    weight: torch.Tensor
    bias: torch.Tensor | None
    sizes: tuple[int, ...]
    adapter: Any = None


@torch.inference_mode(False)
@torch.no_grad()
def joined(parts: Sequence[Any]) -> Joint:
    """These linear layers as one; their weights become parts of its, so that nothing is held twice."""
    weight = torch.cat([*(part.weight for part in parts), parts[0].weight.new_zeros(TUNING, parts[0].in_features)])
    sizes = tuple(part.out_features for part in parts)
    for part, mine in zip(parts, weight.split((*sizes, TUNING)), strict=False):
        part.weight.data = mine
    biases = [part.bias for part in parts if part.bias is not None]
    bias = torch.cat([*biases, weight.new_zeros(TUNING)]) if len(biases) == len(parts) else None
    return Joint(weight, bias, sizes)


def riding(
    held: WeakKeyDictionary[Any, torch.Tensor], joint: Joint, loras: dict[int, Any], name: str
) -> torch.Tensor | None:
    """The adapter's B as one matrix (all ranks, all outputs), zero where an output is another layer's; its A are rows
    of the joint weight by then. None where they are not alike or too many. loras: by number among the joined. held:
    such matrices by the first of their A."""
    first, downs = next(iter(loras.values())), [lora.lora_A[name].weight for lora in loras.values()]
    ranks, key = sum(map(len, downs)), first.lora_A[name]
    alike = all(lora.scaling[name] == first.scaling[name] for lora in loras.values())
    if not alike or ranks > TUNING or downs[0].dtype != joint.weight.dtype:
        return None
    if key not in held:
        held[key] = up = downs[0].new_zeros(ranks, sum(joint.sizes))
        row = 0
        for n, lora in loras.items():
            part, column = lora.lora_B[name].weight, sum(joint.sizes[:n])
            up[row : row + part.shape[1], column : column + len(part)] = part.t()
            row += part.shape[1]
    if joint.adapter is not key:
        joint.weight[-TUNING:].zero_()
        joint.weight[-TUNING:][:ranks] = torch.cat(downs)
        joint.adapter = key
    return held[key]
