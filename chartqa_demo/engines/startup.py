"""What a process is told once, before it holds a model: everything here is state of the whole process.

`engines.load_engine` calls `start_up` before it loads a model; training and benches, which build a `LocalEngine` by
themselves, call it or its part `set_up_torch`. Nothing else in the engines changes what other code would notice.
"""

import ctypes
import logging
import sys

from chartqa_demo.adapters.check import check_base, check_weights, find_adapter
from chartqa_demo.errors import EngineError, HubError
from chartqa_demo.settings import Settings
from chartqa_demo.space.hub import check_name

ARENA_MAX, MMAP_THRESHOLD, TRIM_THRESHOLD = -8, -3, -1  # parameters of mallopt(3), from glibc's malloc.h
LARGE_BYTES, KEPT_BYTES = 32 * 2**20, 64 * 2**20  # the first is the most that glibc takes


def start_up(settings: Settings) -> None:
    """Memory, attention and bitsandbytes, for a model held as the settings say. Imports torch; PEFT comes later.
    Raises EngineError before either, for a base or an adapter that is nowhere, and for an adapter that is not served: a
    large base would be read for minutes first."""
    try:
        if settings.base not in ("auto", "bundled"):
            check_name(settings.base, "base model")
        if settings.adapter not in ("auto", "bundled", "none"):
            adapter = find_adapter(settings.adapter, settings.adapter_revision)
            check_base(adapter, settings.base)
            check_weights(adapter, None)
    except HubError as error:
        raise EngineError(str(error)) from None

    import torch

    set_up_torch()
    sees_a_gpu = torch.cuda.is_available()
    if not sees_a_gpu or settings.device == "cpu":
        return_freed_memory()
    if not sees_a_gpu and settings.quantize in ("auto", "none"):
        # PEFT imports it wherever it is installed: a second of every start, for what a CPU is not asked to do.
        sys.modules.setdefault("bitsandbytes", None)  # pyright: ignore[reportArgumentType]


def set_up_torch() -> None:
    """What training needs of it as well, whose measurements answer questions. Changes nothing without a GPU."""
    import torch

    if torch.cuda.is_available():
        # cuDNN's attention plans anew, for 50 ms, in every thread and for every length: that is at every question,
        # each of which has its thread, and in generate at every token. A graph, which plans once, still chooses it.
        torch.backends.cuda.enable_cudnn_sdp(False)
    # With weights in 8 bits it logs at every product that bfloat16 is cast: thousands of lines an answer or step
    logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)


def return_freed_memory() -> bool:
    """Have glibc give large blocks back when they are freed, and keep one heap for all threads; whether it does.

    Left alone it keeps what each question's thread frees, for that thread: up to a tenth of the process's memory, more
    or less from one run to the next (`bench.reading cost`). What lies between two products of an answer, up to 8 MB, is
    kept: given back and taken again, every page of it would be a fault, a twentieth of an answer's time.
    """
    if not sys.platform.startswith("linux") or not hasattr(libc := ctypes.CDLL(None), "mallopt"):
        return False
    told = (ARENA_MAX, 1), (MMAP_THRESHOLD, LARGE_BYTES), (TRIM_THRESHOLD, KEPT_BYTES)
    return all(libc.mallopt(*one) for one in told)
