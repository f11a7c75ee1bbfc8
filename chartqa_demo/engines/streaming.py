"""The tokens of a batch, row by row, while `generate` is still running in its thread, and what `generate` is given.

transformers' own TextIteratorStreamer takes one row only, waits for ever when `generate` raises, and cannot be
stopped. Here a failure reaches the reader, and leaving the iterator ends the generation within one step.
"""

import queue
import threading
import time
from collections.abc import Callable, Container, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import StoppingCriteria
from transformers.generation import BaseStreamer
from transformers.generation.logits_process import LogitsProcessor

from chartqa_demo.arms import Arm
from chartqa_demo.engines import BETWEEN, Answers, Ended, Options, said_again
from chartqa_demo.engines.fast.choosing import NOT_FINITE, log_of
from chartqa_demo.errors import EngineError, OutOfMemory, first_line


@dataclass
class Row:
    """One row of the batch: its new token ids, when it began and ended (time.perf_counter seconds), and whether its
    numbers have overflowed, which ends it. steps: tokens so far, that of its end included; log: of their probability
    together, natural; None until the whole batch has ended."""

    ids: list[int] = field(default_factory=list)
    steps: int = 0
    log: float | None = None
    first_at: float | None = None
    done_at: float | None = None
    broken: bool = False

    def put(self, token: int, ends: Container[int]) -> None:
        """One more token of a row that is not done."""
        now = time.perf_counter()
        if token == NOT_FINITE:
            self.broken, self.done_at = True, now
            return
        self.first_at, self.steps = self.first_at or now, self.steps + 1
        if token not in ends:
            self.ids.append(token)
        if token in ends or said_again(self.ids):
            self.done_at = now


class RowStreamer(BaseStreamer):
    """Collects what `generate` puts: first the prompt (B, L), then one token per row and step (B,).

    A row that has met an end token gets padding until the slowest row ends, so it is closed at its end token; and one
    that only repeats itself where it is found to.
    """

    def __init__(self, rows: int, end_ids: Sequence[int]) -> None:
        self.rows = [Row() for _ in range(rows)]
        self.logs: list[torch.Tensor] = []  # per step, (B,)
        self.failure: BaseException | None = None
        self._scores: torch.Tensor | None = None
        self._end_ids = frozenset(end_ids)
        self._prompt_seen = False
        self._news: queue.SimpleQueue[bool] = queue.SimpleQueue()  # True: new tokens; False: the end

    def put(self, value: torch.Tensor) -> None:
        """Called by `generate`."""
        if not self._prompt_seen:
            self._prompt_seen = True
            return
        if self._scores is not None:
            self.logs.append(log_of(self._scores, value.to(self._scores.device)))
        self.put_tokens(value)

    def put_tokens(self, value: torch.Tensor) -> None:
        """One token per row, (B,), from whoever computes them."""
        for row, token in zip(self.rows, value.reshape(len(self.rows), -1)[:, 0].tolist(), strict=True):
            if row.done_at is None:
                row.put(token, self._end_ids)
        self._news.put(True)

    def put_scores(self, scores: torch.Tensor, broken: Sequence[int]) -> None:
        """Called by `FiniteScores` before the token of a step is put; broken: rows that have overflowed."""
        self._scores = scores
        for row in broken:
            self.rows[row].broken = True
            self.rows[row].done_at = self.rows[row].done_at or time.perf_counter()

    def end(self) -> None:
        """Called by `generate` when it returns, and by `fail` when it does not."""
        now = time.perf_counter()
        logs = torch.stack(self.logs, 1).tolist() if self.logs else [[]] * len(self.rows)
        for row, found in zip(self.rows, logs, strict=True):
            row.done_at, row.log = row.done_at or now, sum(found[: row.steps]) if found else None
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
                dead = not isinstance(self.failure, Exception)  # which would end whoever reads
                raise RuntimeError(str(self.failure) or "its thread ended") if dead else self.failure
            yield self.rows


class StopWhen(StoppingCriteria):
    """Ends a row of the batch that its streamer has closed, and every row at the next step once the event is set."""

    def __init__(self, stopped: threading.Event, rows: Sequence[Row]) -> None:
        self._stopped, self._rows = stopped, rows

    def stopped(self) -> bool:
        """Whether no row goes on, for a loop of one's own."""
        return self._stopped.is_set() or all(row.done_at is not None for row in self._rows)

    def __call__(self, input_ids: torch.LongTensor, scores: Any, **kwargs: Any) -> torch.BoolTensor:
        """(B,): True for a row that ends. `generate` hands the streamer a step's tokens before it asks."""
        stopped = [self._stopped.is_set() or row.done_at is not None for row in self._rows]
        return torch.tensor(stopped, device=input_ids.device)  # pyright: ignore[reportReturnType] (BoolTensor)


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
            generate(streamer, StopWhen(stopped, streamer.rows))
        except BaseException as failure:  # whatever it is, the reader has to learn of it or it waits for ever
            streamer.fail(failure)

    thread = threading.Thread(target=run, name="generate", daemon=True)
    thread.start()
    try:
        yield from streamer
    finally:
        stopped.set()
        thread.join()
        streamer.failure = None  # its traceback holds the streamer, and all that the attempt computed


def no_room(error: BaseException) -> bool:
    """Whether memory ran out: the GPU's, or this machine's, for which torch has no exception of its own."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error)


def retried(
    groups: Sequence[list[Arm]], answered: Callable[[list[Arm]], Iterator[Answers]], free: Callable[[], None] | None
) -> Iterator[Answers]:
    """What `answered` yields for each group of arms; one that does not fit into memory is tried once more, behind
    `free`, an arm at a time, which is the smallest batch there is."""
    for group in groups:
        try:
            yield from answered(group)
            continue
        except (RuntimeError, MemoryError) as error:
            if len(group) == 1 or not no_room(error):
                raise
        if free is not None:  # outside of `except`: its traceback holds what the attempt computed
            free()
        torch.cuda.empty_cache()
        for arm in group:
            yield from answered([arm])


class ReadableFailures:
    """Turns what torch raises into an EngineError that a visitor can read."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is not None and no_room(error):
            raise OutOfMemory(
                "The GPU ran out of memory. Lower the pixel limit or the answer length, or start with --quantize 4bit."
            ) from error
        if isinstance(error, (RuntimeError, ValueError, TypeError, IndexError, KeyError)):
            raise EngineError(f"The model failed on this question: {first_line(error)}") from error


def generation_settings(options: Options) -> dict[str, Any]:
    """Arguments of `generate`; the rest is what the model's generation_config.json says."""
    if options.greedy:  # None silences the sampling values that the 7B repository ships
        chosen = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
    else:
        chosen = {"do_sample": True, "temperature": options.temperature, "top_p": 1.0, "top_k": 0}
    return chosen | {"num_beams": 1, "max_new_tokens": options.max_new_tokens}


@contextmanager
def seeded(options: Options, device: torch.device) -> Iterator[None]:
    """`generate` samples from torch's own state, which others use, too: behind a seeded answer it is put back."""
    if options.greedy or options.seed is None:
        yield
        return
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(options.seed)
        yield


class FiniteScores(LogitsProcessor):
    """Hands each step's scores to `put`, with the rows that hold a NaN or an infinity, as `NextTokens` finds them; the
    other rows go on."""

    def __init__(self, put: Callable[[torch.Tensor, Sequence[int]], object]) -> None:
        self._put = put

    def __call__(self, input_ids: torch.LongTensor, scores: torch.Tensor) -> torch.Tensor:
        """scores (B, vocabulary), those of a broken row as zeros."""
        lost = ~scores.amax(-1).isfinite()
        broken = lost.nonzero()[:, 0].tolist()
        if broken:
            scores = scores.masked_fill(lost[:, None], 0.0)
        self._put(scores, broken)
        return scores


def left_padded(rows: Sequence[list[int]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """ids and attention mask, both (rows, longest), int64; the padding id is 0 and always masked."""
    longest = max(map(len, rows))
    ids = torch.tensor([[0] * (longest - len(row)) + row for row in rows], device=device)
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows], device=device)
    return ids, mask


def overflow(dtype: torch.dtype) -> str:
    """What to tell where a model's numbers in `dtype` are no longer finite."""
    way_out = "use --dtype bfloat16 or --quantize 4bit" if dtype == torch.float16 else "check the weights"
    return f"The model overflowed in {str(dtype).removeprefix('torch.')}; {way_out}."


def text_of(tokenizer: Any, said: Sequence[int], ended: Ended | None) -> str:
    """The text of an answer's tokens; ended: why it is done, None while it goes on."""
    text = tokenizer.decode(said, skip_special_tokens=True)
    if ended is None:  # half of a multi-byte character
        text = text.rstrip("\ufffd")
    return text.strip(BETWEEN if ended == "repetition" else None)
