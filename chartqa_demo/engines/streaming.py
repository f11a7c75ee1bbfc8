"""The tokens of a batch, row by row, while `generate` is still running in its thread.

transformers' own TextIteratorStreamer takes one row only, waits for ever when `generate` raises, and cannot be
stopped. Here a failure reaches the reader, and leaving the iterator ends the generation within one step.
"""

import queue
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import StoppingCriteria
from transformers.generation import BaseStreamer

from chartqa_demo.errors import EngineError, OutOfMemory, first_line


@dataclass
class Row:
    """One row of the batch: its new token ids, and when it began and ended (time.perf_counter seconds)."""

    ids: list[int] = field(default_factory=list)
    first_at: float | None = None
    done_at: float | None = None


class RowStreamer(BaseStreamer):
    """Collects what `generate` puts: first the prompt (B, L), then one token per row and step (B,).

    A row that has met an end token gets padding until the slowest row ends, so it is closed at its end token.
    """

    def __init__(self, rows: int, end_ids: Sequence[int]) -> None:
        self.rows = [Row() for _ in range(rows)]
        self.failure: BaseException | None = None
        self._end_ids = frozenset(end_ids)
        self._prompt_seen = False
        self._news: queue.SimpleQueue[bool] = queue.SimpleQueue()  # True: new tokens; False: the end

    def put(self, value: torch.Tensor) -> None:
        """Called by `generate`."""
        if not self._prompt_seen:
            self._prompt_seen = True
            return
        self.put_tokens(value)

    def put_tokens(self, value: torch.Tensor) -> None:
        """One token per row, (B,), from whoever computes them."""
        now = time.perf_counter()
        for row, token in zip(self.rows, value.reshape(len(self.rows), -1)[:, 0].tolist(), strict=True):
            if row.done_at is not None:
                continue
            row.first_at = row.first_at or now
            if token in self._end_ids:
                row.done_at = now
            else:
                row.ids.append(token)
        self._news.put(True)

    def end(self) -> None:
        """Called by `generate` when it returns, and by `fail` when it does not."""
        now = time.perf_counter()
        for row in self.rows:
            row.done_at = row.done_at or now
        self._news.put(False)

    def fail(self, failure: BaseException) -> None:
        """End the stream with the exception that `generate` raised."""
        self.failure = failure
        self._news.put(False)

    def __iter__(self) -> Iterator[list[Row]]:
        """The rows after every step; a slow reader skips to the newest state. Raises what `generate` raised."""
        going = True
        while going:
            going = self._news.get()
            while going and not self._news.empty():
                going = self._news.get()
            if self.failure is not None:
                raise self.failure
            yield self.rows


class StopWhen(StoppingCriteria):
    """Ends every row of the batch at the next step once the event is set."""

    def __init__(self, stopped: threading.Event) -> None:
        self._stopped = stopped

    def stopped(self) -> bool:
        """The same for a loop of one's own, without a tensor."""
        return self._stopped.is_set()

    def __call__(self, input_ids: torch.LongTensor, scores: Any, **kwargs: Any) -> torch.BoolTensor:
        """(B,) of True once stopped."""
        stopped = torch.full((input_ids.shape[0],), self._stopped.is_set(), dtype=torch.bool, device=input_ids.device)
        return stopped  # pyright: ignore[reportReturnType] (the stub's BoolTensor is a Tensor of bool)


def stream(
    generate: Callable[[RowStreamer, StopWhen], object], rows: int, end_ids: Sequence[int]
) -> Generator[list[Row], None, None]:
    """Run `generate(streamer, stopping)` in a thread and yield its rows after every step.

    Closing the iterator stops the generation and waits for the thread: nothing keeps running for nobody.
    """
    streamer = RowStreamer(rows, end_ids)
    stopped = threading.Event()

    def run() -> None:
        try:
            generate(streamer, StopWhen(stopped))
        except BaseException as failure:  # whatever it is, the reader has to learn of it or it waits for ever
            streamer.fail(failure)

    thread = threading.Thread(target=run, name="generate", daemon=True)
    thread.start()
    try:
        yield from streamer
    finally:
        stopped.set()
        thread.join()


class ReadableFailures:
    """Turns what torch raises into an EngineError that a visitor can read."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, torch.OutOfMemoryError):
            raise OutOfMemory(
                "The GPU ran out of memory. Lower the pixel limit or the answer length, or start with --quantize 4bit."
            ) from error
        if isinstance(error, (RuntimeError, ValueError, TypeError, IndexError, KeyError)):
            raise EngineError(f"The model failed on this question: {first_line(error)}") from error
