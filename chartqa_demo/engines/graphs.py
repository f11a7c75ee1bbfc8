"""Capturing a fixed sequence of operations on a GPU, to replay it without waiting for the host."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

# With a mask cuDNN's attention is the fastest, and a graph has to plan for it only once
ATTENTION = [SDPBackend.CUDNN_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
Result = TypeVar("Result")


def captured(run: Callable[[], Result], device: torch.device, pool: Any = None) -> tuple[Any, Result]:
    """The CUDA graph of `run`, and what it returned, which every replay fills anew.

    It runs outside of the graph first, where kernels are chosen and compiled. pool: of another graph (`graph.pool()`),
    whose memory this one may use as well; never replay both at once. Raises RuntimeError.
    """
    with torch.cuda.device(device), sdpa_kernel(ATTENTION, set_priority=True):
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(2):
                run()
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
            result = run()
    return graph, result
