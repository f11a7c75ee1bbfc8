"""Weights from this machine's memory to its GPU, as fast as the link takes them: a question waits meanwhile.

torch's own `.to` reads, copies and waits weight by weight in one thread. Here several threads fill pinned memory while
the GPU fetches what they filled before. Weights that are mapped from their files are read while they move.
"""

import ctypes
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, SimpleQueue
from typing import Any

import torch

BLOCK = 16 * 2**20  # bytes that a thread copies at once
THREADS = 8


def move(model: Any, device: torch.device) -> None:
    """Put every weight and buffer of `model` on a CUDA device; modules and parameters stay the same objects, and what
    shared its memory does so again. Raises torch.OutOfMemoryError, and has moved nothing then."""
    placed: dict[tuple[object, ...], tuple[torch.Tensor, torch.Tensor]] = {}  # here, and there
    blocks: SimpleQueue[tuple[int, torch.Tensor]] = SimpleQueue()
    weights = [one for one in (*model.parameters(), *model.buffers()) if one.device != device]
    with torch.inference_mode(False), torch.no_grad(), torch.cuda.device(device):
        for weight in weights:
            if (key := _memory(weight)) not in placed:
                here = weight.detach().contiguous()
                placed[key] = here, torch.empty_like(here, device=device)
                for block in _blocks(*placed[key]):
                    blocks.put(block)
        torch.cuda.synchronize(device)  # the memory may be that of something still computed in another stream
        with ThreadPoolExecutor(THREADS) as threads:
            for moved in [threads.submit(_carry, blocks, device) for _ in range(THREADS)]:
                moved.result()
        for weight in weights:
            weight.data = placed[_memory(weight)][1]


def _memory(weight: torch.Tensor) -> tuple[object, ...]:
    return weight.data_ptr(), weight.shape, weight.stride(), weight.dtype


def _blocks(here: torch.Tensor, there: torch.Tensor) -> Iterator[tuple[int, torch.Tensor]]:
    """(address in memory, as many bytes on the device)."""
    for n, target in enumerate(there.view(-1).view(torch.uint8).split(BLOCK)):
        yield here.data_ptr() + n * BLOCK, target


def _carry(blocks: "SimpleQueue[tuple[int, torch.Tensor]]", device: torch.device) -> None:
    stream = torch.cuda.Stream(device)
    pinned = [(torch.empty(BLOCK, dtype=torch.uint8, pin_memory=True), torch.cuda.Event()) for _ in range(2)]
    with torch.cuda.stream(stream):
        while True:
            try:
                address, target = blocks.get_nowait()
            except Empty:
                break
            buffer, fetched = pinned[0]
            fetched.synchronize()
            ctypes.memmove(buffer.data_ptr(), address, len(target))
            target.copy_(buffer[: len(target)], non_blocking=True)
            fetched.record(stream)
            pinned.reverse()
    stream.synchronize()
