# pyright: reportPrivateImportUsage=false
"""Muon for the hidden matrices, AdamW for the rest, an averaged copy, and the learning rate by wall clock."""

from dataclasses import dataclass

import torch
from torch import Tensor

from train.pretrain.model.network import EMBEDDING, PATCH_WEIGHT, Parameters


@dataclass(frozen=True)
class Rates:
    """Learning rates. They fall from 1 to `steady` of their peak between `high_seconds` and `settle_seconds` of all
    training so far, stay there, and in a decay leg go linearly to 0. warm_steps: at the start of every leg, because
    Muon's momentum is not part of a checkpoint."""

    muon: float = 0.02
    adam: float = 2e-3
    weight_decay: float = 0.01
    warm_steps: int = 100
    high_seconds: float = 60.0
    settle_seconds: float = 180.0
    steady: float = 0.6
    average: float = 0.997

    def factor(self, steps_in_leg: int, trained: float, left: float, decay: float) -> float:
        """The factor on both rates after `trained` seconds in all legs, with `left` seconds of this leg to go, of
        which the last `decay` are the decay."""
        warm = min(1.0, (steps_in_leg + 1) / self.warm_steps)
        progress = (trained - self.high_seconds) / max(1.0, self.settle_seconds - self.high_seconds)
        level = 1.0 + (self.steady - 1.0) * min(1.0, max(0.0, progress))
        fall = min(1.0, max(0.0, left / decay)) if decay else 1.0
        return warm * level * fall


def orthogonal(matrices: Tensor) -> Tensor:
    """Newton-Schulz iteration towards the nearest orthogonal matrices [k, m, n] (Jordan et al., Muon).

    In bfloat16 on a GPU; a CPU multiplies float32 much faster.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrices.to(torch.bfloat16) if matrices.is_cuda else matrices
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(5):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x.mT if tall else x


class Muon:
    """Momentum, orthogonalised; matrices of one shape are stacked, and the fused qkv matrix is three of them."""

    # Not torch.optim.Muon: torch 2.8, which we also run with, does not have it; it takes a fused qkv for one matrix, so
    # that its updates there are others than those the bundled model was trained with (elsewhere they are the same up to
    # bfloat16's rounding); and it takes the matrices one by one.

    def __init__(self, named: dict[str, Tensor], rate: float, decay: float, momentum: float = 0.95) -> None:
        self.rate, self.decay, self.momentum = rate, decay, momentum
        self.groups: dict[tuple[int, int], list[tuple[Tensor, int]]] = {}
        for name, matrix in named.items():
            parts = 3 if "attn.qkv" in name else 1
            shape = matrix.shape[0] // parts, matrix.shape[1]
            self.groups.setdefault(shape, []).append((matrix, parts))
        self.buffers = {
            shape: torch.zeros(sum(parts for _, parts in group), *shape, device=group[0][0].device)
            for shape, group in self.groups.items()
        }

    @torch.no_grad()
    def step(self, factor: float) -> None:
        """One update at `factor` of the rate."""
        rate = self.rate * factor
        for (rows, columns), group in self.groups.items():
            gradient = torch.cat([m.grad.reshape(parts, rows, columns) for m, parts in group if m.grad is not None])
            buffer = self.buffers[rows, columns].lerp_(gradient, 1 - self.momentum)
            update = orthogonal(gradient.lerp(buffer, self.momentum)).float() * max(1.0, rows / columns) ** 0.5
            updates = update.split([parts for _, parts in group])
            matrices = [matrix for matrix, _ in group]
            torch._foreach_mul_(matrices, 1 - rate * self.decay)
            torch._foreach_add_(
                matrices, [u.reshape(m.shape) for u, m in zip(updates, matrices, strict=True)], alpha=-rate
            )


class Optimiser:
    """Both optimisers and the averaged copy of the exported parameters."""

    def __init__(self, parameters: Parameters, rates: Rates) -> None:
        self.parameters, self.rates = parameters, rates
        hidden = {
            name: value
            for name, value in parameters.items()
            if value.dim() == 2 and not name.startswith("helper.") and name != EMBEDDING
        }
        rest = {name: value for name, value in parameters.items() if name not in hidden}
        self.muon = Muon(hidden, rates.muon, rates.weight_decay)
        cuda = next(iter(parameters.values())).is_cuda
        self.adam = torch.optim.AdamW(
            [
                {"params": [v for v in rest.values() if v.dim() > 1], "weight_decay": rates.weight_decay},
                {"params": [v for v in rest.values() if v.dim() == 1], "weight_decay": 0.0},
            ],
            lr=rates.adam,
            betas=(0.9, 0.95),
            fused=cuda,
        )
        # Adam's moments of the helpers (training only) and of the many small vectors warm up again by themselves.
        self.with_moments = {name: rest[name] for name in (EMBEDDING, PATCH_WEIGHT)}
        self.average = {n: v.detach().clone() for n, v in parameters.items() if not n.startswith("helper.")}
        self.steps = 0

    def step(self, factor: float) -> None:
        """Clip the gradients to a norm of 1, update at `factor` of the rates, and average."""
        gradients = [value.grad for value in self.parameters.values() if value.grad is not None]
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
        torch._foreach_mul_(gradients, (1.0 / (norm + 1e-6)).clamp(max=1.0))
        for group in self.adam.param_groups:
            group["lr"] = self.rates.adam * factor
        self.adam.step()
        self.muon.step(factor)
        for value in self.parameters.values():
            value.grad = None
        self.steps += 1
        weight = 1 - min(self.rates.average, self.steps / (self.steps + 10))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.values()), [self.parameters[n] for n in self.average], weight)

    def moments(self) -> dict[str, Tensor]:
        """Adam's moments that a checkpoint keeps, as bfloat16."""
        out = {}
        for name, value in self.with_moments.items():
            for key in ("exp_avg", "exp_avg_sq"):
                if value in self.adam.state:
                    out[f"moment.{key}.{name}"] = self.adam.state[value][key].to(torch.bfloat16)
        return out

    def load_moments(self, tensors: dict[str, Tensor]) -> None:
        """Take over the moments of a checkpoint; parameters without any start as at the beginning."""
        for name, value in self.with_moments.items():
            found = {key: tensors.get(f"moment.{key}.{name}") for key in ("exp_avg", "exp_avg_sq")}
            if all(tensor is not None for tensor in found.values()):
                self.adam.state[value] = {
                    # Moments of a long run need no bias correction: 1,000 steps make it vanish.
                    "step": torch.tensor(1000.0, device=value.device if value.is_cuda else "cpu"),
                    **{key: tensor.to(value.device).float() for key, tensor in found.items() if tensor is not None},
                }
