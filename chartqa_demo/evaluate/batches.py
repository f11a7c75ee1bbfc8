"""Questions in batches through an engine: how many at once, in which order, and what to do with those that fail."""

import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import takewhile

from PIL import Image

from chartqa_demo.arms import Arm
from chartqa_demo.data.splits import Example
from chartqa_demo.engines import Answers, Engine, EngineError, Options, OutOfMemory
from chartqa_demo.evaluate.record import Item
from chartqa_demo.images import ChartError

FIRST_BATCH, LARGEST_BATCH = 16, 64  # questions; times three arms in the engine's batch
WORTH_GROWING = 1.1  # a batch that is not this much faster per question than a smaller one is large enough
READERS = 4  # threads that decode a batch's charts
GIVE_UP_AFTER = 10  # questions in a row that fail alone: then it is not the questions


class EvaluationError(RuntimeError):
    """The evaluation cannot start or go on; the message is one sentence with the way out."""


@dataclass
class Batch:
    """How many questions go into the engine at once: doubled while that is faster per question, halved when they do
    not fit into memory, and never beyond what did not fit."""

    size: int = FIRST_BATCH
    limit: int = LARGEST_BATCH
    best: float = 0.0
    asked: int = 0
    seconds: float = 0.0

    @property
    def per_question_s(self) -> float | None:
        """Seconds of the engine per question so far; None before the first answer."""
        return self.seconds / self.asked if self.asked else None

    def worked(self, asked: int, seconds: float) -> None:
        """A batch of `asked` questions took `seconds`."""
        self.asked, self.seconds = self.asked + asked, self.seconds + seconds
        speed = asked / max(seconds, 1e-9)
        if 2 * asked > self.size and speed > WORTH_GROWING * self.best:
            self.size = min(2 * self.size, self.limit)
        self.best = max(self.best, speed)

    def did_not_fit(self, asked: int) -> None:
        """A batch of `asked` questions ran out of memory."""
        self.size = self.limit = max(1, asked // 2)


@dataclass
class Questioner:
    """One pass over the questions of an evaluation. See `evaluate.run` for the fields."""

    engine: Engine | None
    arms: Sequence[Arm]
    options: Options
    stop: threading.Event
    chunk_s: float | None
    batch: Batch = field(default_factory=Batch)
    doubtful: list[Item] = field(default_factory=list)  # failed alone; the question's fault once another succeeds

    def ask_all(self, examples: Sequence[Example]) -> Iterator[list[Item]]:
        """Items as their batches finish. Charts of one size come together, large ones first, so that a batch that
        does not fit shows early; questions about one chart stay together, because the engine looks at it once."""
        if self.engine is None:
            yield [_item(one) for one in examples]
            return
        sizes = {one.chart: one.image_size() for one in examples}
        queue = deque(sorted(examples, key=lambda one: (-_area(sizes[one.chart]), sizes[one.chart], one.chart)))
        while queue and not self.stop.is_set():
            batch = _whole_charts(queue, self._batch_size())
            charts = {one.chart: one for one in batch}
            with ThreadPoolExecutor(READERS) as readers:
                pictures = dict(zip(charts, readers.map(_picture, charts.values()), strict=True))
            read = [(one, pictures[one.chart]) for one in batch]
            broken = [_item(one, error=str(why)) for one, why in read if isinstance(why, Exception)]
            if broken:
                yield broken
            yield from self._ask([(one, image) for one, image in read if isinstance(image, Image.Image)])
        if self.doubtful and not self.stop.is_set():
            yield self.doubtful

    def _batch_size(self) -> int:
        each = self.batch.per_question_s
        if self.chunk_s is None or each is None:
            return self.batch.size
        return max(1, min(self.batch.size, int(self.chunk_s / max(each, 1e-9))))

    def _ask(self, loaded: Sequence[tuple[Example, Image.Image]]) -> Iterator[list[Item]]:
        if not loaded or self.stop.is_set() or self.engine is None:
            return
        began = time.monotonic()
        try:
            answers = self.engine.answer_many([(image, one.question) for one, image in loaded], self.arms, self.options)
        except EngineError as error:
            if isinstance(error, OutOfMemory):
                self.batch.did_not_fit(len(loaded))
            if len(loaded) == 1:
                self._doubt(loaded[0][0], error)
                return
            half = len(loaded) // 2
            yield from self._ask(loaded[:half])
            yield from self._ask(loaded[half:])
            return
        seconds = time.monotonic() - began
        self.batch.worked(len(loaded), seconds)
        doubtful, self.doubtful = self.doubtful, []
        answered = [_item(one, given, seconds / len(loaded)) for (one, _), given in zip(loaded, answers, strict=True)]
        yield doubtful + answered

    def _doubt(self, example: Example, error: EngineError) -> None:
        """A question failed alone. When many do in a row the model (its server, a used-up quota) is at fault, and
        none of them is recorded, so that they are asked when the evaluation goes on."""
        self.doubtful.append(_item(example, error=str(error)))
        if len(self.doubtful) >= GIVE_UP_AFTER:
            raise EvaluationError(f"{GIVE_UP_AFTER} questions in a row failed, the last one with: {error}")


def _whole_charts(queue: deque[Example], size: int) -> list[Example]:
    """At most `size` questions from the front, ending where a chart ends: a chart in two batches is read twice."""
    picked: list[Example] = []
    while queue and len(picked) < size:
        chart = list(takewhile(lambda one: one.chart == queue[0].chart, queue))
        if picked and len(picked) + len(chart) > size:
            break
        picked += [queue.popleft() for _ in chart[: size - len(picked)]]
    return picked


def _picture(example: Example) -> Image.Image | Exception:
    try:
        return example.load_image()
    except (ChartError, OSError) as error:
        return error


def _item(example: Example, answers: Answers = (), seconds: float | None = None, error: str | None = None) -> Item:
    return Item(
        id=example.id,
        chart=example.chart,
        question=example.question,
        gold=example.gold,
        kind=example.kind,
        source=example.source,
        answers={answer.arm: answer.text for answer in answers if answer.error is None},
        tokens={answer.arm: answer.tokens for answer in answers if answer.error is None},
        failures={answer.arm: answer.error for answer in answers if answer.error is not None},
        error=error,
        seconds=seconds,
    )


def _area(size: tuple[int, int]) -> int:
    return size[0] * size[1]
