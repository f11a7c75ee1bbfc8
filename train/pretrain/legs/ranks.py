# pyright: reportPrivateImportUsage=false
"""The processes of a leg on several GPUs: each reads charts of its own, all take the same step.

    torchrun --nproc-per-node 2 -m train.pretrain --seconds 540

The gradients are averaged, so every process holds the same weights without their being sent around.
"""

import os
from collections.abc import Sequence

import torch
from torch import Tensor


class Ranks:
    """This process (`rank`) among `count`, as torchrun says; alone without it.

    Make it before the first use of CUDA, which shows this process its own GPU only, and `join` after the last fork.
    """

    def __init__(self) -> None:
        self.rank, self.count = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
        if self.count > 1:
            os.environ["CUDA_VISIBLE_DEVICES"] = os.environ["LOCAL_RANK"]

    @property
    def first(self) -> bool:
        """Whether this process writes the log and the checkpoints."""
        return self.rank == 0

    def join(self) -> None:
        """Meet the others."""
        if self.count > 1:
            torch.distributed.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")

    def leave(self) -> None:
        """Part from the others."""
        if self.count > 1:
            torch.distributed.destroy_process_group()

    def agree(self, *numbers: float) -> list[float]:
        """What the first process gave as `numbers`: its clock, by which all go."""
        if self.count == 1:
            return list(numbers)
        given = torch.tensor(numbers, dtype=torch.float64)
        torch.distributed.broadcast(given, 0)
        return given.tolist()

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Put the mean over all processes into `tensors`, in one message."""
        if self.count == 1:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        torch.distributed.all_reduce(flat)
        means = flat.div_(self.count).split([tensor.numel() for tensor in tensors])
        torch._foreach_copy_(list(tensors), [mean.view_as(t) for mean, t in zip(means, tensors, strict=True)])

    def apart(self, tensors: Sequence[Tensor]) -> float:
        """The largest difference between the processes' sums of a tensor; 0 while all hold the same weights."""
        if self.count == 1:
            return 0.0
        sums = torch.stack([tensor.detach().double().sum() for tensor in tensors])
        high, low = sums.clone(), sums.clone()
        torch.distributed.all_reduce(high, torch.distributed.ReduceOp.MAX)
        torch.distributed.all_reduce(low, torch.distributed.ReduceOp.MIN)
        return float((high - low).max())
