"""What every kernel needs: Triton's decorator, a trial before use, rows at one distance, a GPU's shared memory."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import torch
import triton
from triton.runtime import driver

from chartqa_demo.errors import first_line

jit: Any = triton.jit  # whose own type knows nothing of num_warps


def usable(
    trials: Mapping[str, tuple[Callable[..., Any], Callable[[], object]]],
) -> tuple[dict[str, Callable[..., Any]], dict[str, str]]:
    """Functions by name, and why others cannot be used here; trials: by name each function and a call of it, on the
    device and in the shapes that it will have. What cannot be compiled fails here rather than in an answer."""
    found, lost = {}, {}
    for name, (function, trial) in trials.items():
        try:
            trial()
            found[name] = function
        except Exception as error:  # whatever Triton raises
            lost[name] = first_line(error)
    return found, lost


@cache
def shared_memory(device: torch.device) -> int:
    """Bytes of shared memory that one program may take; without a GPU, where programs are interpreted, any."""
    gpus: Any = driver.active if device.type == "cuda" else None
    return gpus.utils.get_device_properties(device.index)["max_shared_mem"] if gpus else 2**30


def rows_of(x: torch.Tensor, inner: int) -> tuple[torch.Tensor, int]:
    """x (..., the last `inner` dimensions: a row) as one list of rows, and the elements from one to the next; copied
    where the elements of a row do not lie side by side, or its rows at one distance."""
    shape = (-1, *x.shape[-inner:])
    try:
        rows = x.view(shape)
    except RuntimeError:
        rows = x.reshape(shape)
    rows = rows if rows[0].is_contiguous() else rows.contiguous()
    return rows, rows.stride(0)
