"""How long a GPU is asked for, and what is learnt from how long it was needed. Computes only; no GPU, no `spaces`."""

import math
from collections import deque
from dataclasses import dataclass, field

from PIL import Image

from chartqa_demo.arms import Arm
from chartqa_demo.engines import Options
from chartqa_demo.settings import DEFAULT_MAX_PIXELS

# The estimate of a window. Asking for more than is used gets short quotas refused; asking for less kills the answer.
START_S = 5.0  # fork, CUDA context, first kernels
MOVED_BYTES_PER_S = 1.6e9  # weights to the GPU, paid by a worker's first question, if a disk has to be read for them
READ_S_PER_MPIXEL = 1.0  # vision tower and prefill of three arms
STEP_S = 0.01  # one token of every row: launches ...
STREAMED_BYTES_PER_S = 8e11  # ... and every weight read once
REMEMBERED = 100  # windows; the next one takes longer than all of so many once in 101
ENOUGH = 20  # of them before less is asked for than the figures above come to
MARGIN = 1.1


@dataclass(frozen=True)
class Job:
    """What one GPU window answers: one question that streams, or a batch of them."""

    items: tuple[tuple[Image.Image, str], ...]
    arms: tuple[Arm, ...]
    options: Options
    streams: bool


@dataclass(frozen=True)
class Used:
    """What a window that ended took: seconds, from the fork where the worker was started for it (cold), and the tokens
    of its longest answer."""

    seconds: float
    cold: bool
    tokens: int


@dataclass
class Learnt:
    """What the last windows took, over the estimate: starting a worker, and answering in a warm one."""

    starting: deque[float] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    answering: deque[float] = field(default_factory=lambda: deque(maxlen=REMEMBERED))

    def window(self, job: Job, used: Used, weight_bytes: int) -> None:
        """Learn from one that ended; of a cold one all seconds count as the start's, so that too much is asked for
        rather than too little."""
        if used.cold:
            self.starting.append(used.seconds / _starting(weight_bytes))
        else:
            self.answering.append(used.seconds / _answering(job, weight_bytes, used.tokens))

    def taken_back(self) -> None:
        """Learn from a window that was too short, of which only that is known."""
        for seen in (self.starting, self.answering):
            seen.append(1.5 * max(1.0, _factor(seen)))


def window_seconds(job: Job, weight_bytes: int, learnt: Learnt | None = None) -> int:
    """Whole seconds to ask for, as if the job's worker had to be started, which nobody knows before it is; a warm one
    needs a fraction of it."""
    learnt = learnt or Learnt()
    start = _starting(weight_bytes) * _factor(learnt.starting)
    return math.ceil(start + _answering(job, weight_bytes, job.options.max_new_tokens) * _factor(learnt.answering))


def _factor(seen: deque[float]) -> float:
    """By what the estimate is multiplied: for fewer than ENOUGH windows only what was too little is believed."""
    most = MARGIN * max(seen, default=0.0)
    return most if len(seen) >= ENOUGH else max(1.0, most)


def _starting(weight_bytes: int) -> float:
    return START_S + weight_bytes / MOVED_BYTES_PER_S


def _answering(job: Job, weight_bytes: int, tokens: int) -> float:
    limit = job.options.max_pixels or DEFAULT_MAX_PIXELS
    charts = {id(image): min(image.width * image.height, limit) for image, _ in job.items}
    rows = len(job.items) * len(job.arms)
    step = STEP_S * max(1, rows / 16) + weight_bytes / STREAMED_BYTES_PER_S
    return READ_S_PER_MPIXEL * sum(charts.values()) / 1e6 * max(1, len(job.items) / len(charts)) + step * tokens
