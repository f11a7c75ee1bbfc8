"""Capturing a fixed sequence of operations on a GPU, to replay it without waiting for the host."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any, TypeVar

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from chartqa_demo.engines.internals import end_failed_capture

# With a mask cuDNN's attention is the fastest, and a graph has to plan for it only once
ATTENTION = [SDPBackend.CUDNN_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
Result = TypeVar("Result")


def on(device: torch.device) -> AbstractContextManager[Any]:
    """Where Triton launches and events are recorded: a thread begins on the first GPU, wherever the model is."""
    return torch.cuda.device(device) if device.index else nullcontext()


def captured(run: Callable[[], Result], device: torch.device, pool: Any = None) -> tuple[Any, Result]:
    """The CUDA graph of `run`, and what it returned, which every replay fills anew.

    It runs outside of the graph first, where kernels are chosen and compiled. pool: of another graph (`graph.pool()`),
    whose memory this one may use as well; never replay both at once. Raises RuntimeError.
    """
    with torch.cuda.device(device), sdpa_kernel(ATTENTION, set_priority=True):
        aside = _stream(device)
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(2):
                run()
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, pool=pool, stream=aside, capture_error_mode="thread_local"):
                result = run()
        except BaseException:
            end_failed_capture()
            raise
    return graph, result


@cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    """One for all captures: cuBLAS keeps a workspace of 32 MiB for every stream it has seen."""
    return torch.cuda.Stream(device)
