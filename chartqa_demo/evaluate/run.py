"""An evaluation's run: every question of a split to every arm, each answer on disk at once, resumable.

`run` is what the page, the command (`__main__.py`) and a training run share; it writes the record (`….jsonl`, a line
per question as soon as it is answered) and, when it ends, `….json` with the scores. Running it again on the same file
resumes.
"""

import re
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from itertools import takewhile
from math import prod
from pathlib import Path
from typing import Any

from PIL import Image
from tqdm import tqdm

from chartqa_demo.arms import Arm
from chartqa_demo.data.names import is_chartqa
from chartqa_demo.data.splits import Example
from chartqa_demo.engines import Answers, Engine, Options
from chartqa_demo.errors import ChartError, EngineError, EvaluationError, OutOfMemory
from chartqa_demo.evaluate.predictions import Predictions, with_predictions
from chartqa_demo.evaluate.record import Item, Results, in_order, open_record, read_results, write_summary

FIRST_BATCH, LARGEST_BATCH = 16, 64  # questions; times three arms in the engine's batch
PACKAGES = ("torch", "transformers", "peft", "datasets", "pillow")  # whose releases a record names
WORTH_GROWING = 1.1  # a batch that is not this much faster per question than a smaller one is large enough
QUESTION = "{question}"  # in a template: where the question goes
READERS = 4  # threads that decode a batch's charts
GIVE_UP_AFTER = 10  # questions in a row that fail alone: then it is not the questions


@dataclass(frozen=True)
class Progress:
    """Where an evaluation stands. new: items since the last report; eta_s: seconds left, None before the first answer;
    batch: questions per batch now; per_question_s: seconds of the engine per question so far, None before that."""

    results: Results
    new: tuple[Item, ...]
    eta_s: float | None
    batch: int
    per_question_s: float | None

    @property
    def done(self) -> int:
        """Questions that are finished, answers or error."""
        return len(self.results.items)

    @property
    def total(self) -> int:
        """Questions to ask in all."""
        return self.results.planned


def run(
    engine: Engine | None,
    examples: Sequence[Example],
    arms: Sequence[Arm],
    options: Options,
    path: Path,
    stop: threading.Event | None = None,
    *,
    about: Mapping[str, Any] | None = None,
    predictions: Sequence[Predictions] = (),
    chunk_s: float | None = None,
    first: int = FIRST_BATCH,
    asking: Callable[[Sequence[Example]], None] = lambda batch: None,
) -> Iterator[Progress]:
    """Ask `examples` to `arms` in batches, append each finished question to `path`, and report after every batch.

    A question that is in the file already is not asked again; the file's settings have to be the same ones. `stop`
    ends the run after the batch at hand, and so does closing the iterator; both leave a file to resume from. The scores
    are written beside it (`.json`) when the run ends. `about` adds settings (dataset, split, seed ...); `predictions`
    adds arms whose answers are known; engine None scores these alone; `chunk_s` limits the engine's seconds per
    batch, once its speed is known; the first batch has `first` questions; `asking` is told each batch before.

    Raises EvaluationError (other settings, an arm without its adapter or with another, another run on the same
    file, a model that fails on everything), ResultsError (a file that is no record).
    """
    path = record_path(path)
    asked_arms = tuple(arms) if engine is not None else ()
    _check_arms(engine, asked_arms, predictions)
    adapter = engine.adapter if engine is not None and any(arm.adapter for arm in asked_arms) else None
    settings = describe(engine, examples, asked_arms, options, about or {}, predictions)
    known = {one.name: one.answers_for(examples) for one in predictions}
    with open_record(path, settings) as (record, items):
        finished = {item.id for item in items}
        waiting = [one for one in examples if one.id not in finished]
        template = str(settings.get("question_template", QUESTION))
        asker = Questioner(engine, asked_arms, options, stop or threading.Event(), chunk_s, template, first, asking)
        began, before = time.monotonic(), len(items)

        def progress(new: Sequence[Item]) -> Progress:
            results = in_order(record.settings, items)
            done = len(items) - before
            eta = (time.monotonic() - began) / done * (len(waiting) - done) if done else None
            return Progress(results, tuple(new), eta, asker.batch.size, asker.batch.per_question_s)

        yield progress(())
        for asked in asker.ask_all(waiting):
            if adapter and engine and engine.adapter != adapter:
                raise EvaluationError(f"The third arm now has {engine.adapter}. Load {adapter} again, then go on.")
            new = [with_predictions(item, known) for item in asked]
            for item in new:
                record.append(item)
            items.extend(new)
            yield progress(new)
        write_summary(in_order(record.settings, items), path.with_suffix(".json"))


def measure(
    engine: Engine | None,
    examples: Sequence[Example],
    arms: Sequence[Arm],
    options: Options,
    path: Path,
    **more: Any,
) -> Results:
    """`run` to its end with a progress bar on the terminal (ETA, running accuracy). Raises what `run` does."""
    title = {arm.key: arm.title for arm in arms}
    with tqdm(total=len(examples), unit="question", desc="Evaluating") as bar:
        for state in run(engine, examples, arms, options, path, **more):
            bar.update(state.done - bar.n)
            running = {title.get(arm, arm): state.results.score(arm, "canonical") for arm in state.results.arms}
            texts = [f"{arm} {100 * one.accuracy:.1f}" for arm, one in running.items() if one.accuracy is not None]
            if state.results.errors:
                texts.append(f"{len(state.results.errors)} errors")
            bar.set_postfix_str(", ".join(texts))
    return read_results(record_path(path))


def record_path(path: Path) -> Path:
    """The JSONL of an evaluation, given either of its two files."""
    return path.with_suffix(".jsonl") if path.suffix == ".json" else path


def describe(
    engine: Engine | None,
    examples: Sequence[Example],
    arms: Sequence[Arm],
    options: Options,
    about: Mapping[str, Any],
    predictions: Sequence[Predictions] = (),
) -> dict[str, Any]:
    """Everything that decides the answers, as JSON values; folders appear by name, so a record names no machine."""
    return {
        **about,
        "model": model_name(engine) if engine is not None else None,
        "adapter": display_name(engine.adapter) if engine is not None and engine.adapter else None,
        "arms": {
            **{arm.key: {"title": arm.title, "system": arm.system, "adapter": arm.adapter} for arm in arms},
            **{one.name: {"title": one.name, "recorded": one.file_name} for one in predictions},
        },
        "max_new_tokens": options.max_new_tokens,
        "max_pixels": options.max_pixels,
        "temperature": options.temperature,
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        "commit": _commit(),
        "versions": {"python": ".".join(map(str, sys.version_info[:3])), **versions_of(PACKAGES)},
        "chartqa": is_chartqa(str(about.get("dataset", "")), examples),
        "sample": [one.id for one in examples],
    }


def _check_arms(engine: Engine | None, arms: Sequence[Arm], predictions: Sequence[Predictions]) -> None:
    names = [*(arm.key for arm in arms), *(one.name for one in predictions)]
    if not names:
        raise EvaluationError("There is nothing to evaluate: choose at least one arm or a file of predictions.")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise EvaluationError(f"Two arms are called {', '.join(twice)}. Give the predictions another name.")
    missing = [arm.key for arm in arms if arm.adapter and (engine is None or engine.adapter is None)]
    if missing:
        raise EvaluationError(
            f"No adapter is loaded, so there is no arm {missing[0]}. Load one with --adapter, or leave the arm out."
        )


def _commit() -> str | None:
    """The short commit of this checkout; None outside of one."""
    try:
        # An environment may lie inside some other checkout, whose commit says nothing about this code.
        for command in (["ls-files", "--error-unmatch", Path(__file__).name], ["rev-parse", "--short", "HEAD"]):
            folder = Path(__file__).parent
            found = subprocess.run(["git", *command], cwd=folder, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip()


def versions_of(packages: Sequence[str]) -> dict[str, str]:
    """Package -> version of those that are installed."""
    found: dict[str, str] = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def model_name(engine: Engine) -> str:
    """The engine's title; of a local folder only its name."""
    return engine.title.rsplit("/", 1)[-1] if engine.title.startswith(("/", ".", "~")) else engine.title


def display_name(folder_or_id: str) -> str:
    """What a data set or adapter is called in records: a Hub id as it is, of a folder only its name."""
    return Path(folder_or_id).resolve().name if Path(folder_or_id).exists() else folder_or_id


def output_name(
    engine: Engine | None,
    arms: Sequence[Arm],
    dataset: str,
    split: str,
    limit: int | None,
    seed: int,
    kind: str | None,
) -> str:
    """File name of an evaluation without its suffix: "bundled--chartqa-test-all", "…-200-seed0-human-adapter"."""
    parts = [_slug(display_name(dataset)), _slug(split)]
    parts += ["all"] if limit is None else [str(limit), f"seed{seed}"]
    parts += [kind] if kind else []
    if engine is None:
        return "-".join(parts)
    if len(arms) < len(engine.arms):
        parts.append("+".join(arm.key for arm in arms))
    model = "bundled" if engine.bundled else _slug(engine.title.split("/")[-1])
    if engine.adapter and engine.adapter != "bundled" and any(arm.adapter for arm in arms):
        model += "+" + _slug(display_name(engine.adapter))
    return f"{model}--{'-'.join(parts)}"


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", text.lower().split("/")[-1]).strip("-.") or "unnamed"


# --- questions in batches ---------------------------------------------------------------------------------------


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
    """One pass over the questions of an evaluation. See `run` for the fields."""

    engine: Engine | None
    arms: Sequence[Arm]
    options: Options
    stop: threading.Event
    chunk_s: float | None
    template: str = QUESTION
    first: int = FIRST_BATCH
    asking: Callable[[Sequence[Example]], None] = lambda batch: None
    batch: Batch = field(default_factory=Batch)
    doubtful: list[Item] = field(default_factory=list)  # failed; the question's own fault once another succeeds

    def ask_all(self, examples: Sequence[Example]) -> Iterator[list[Item]]:
        """Items as their batches finish. Charts of one size come together, large ones first, so that a batch that
        does not fit shows early; questions about one chart stay together, because the engine looks at it once."""
        if self.engine is None:
            yield [_item(one) for one in examples]
            return
        sizes = {one.chart: one.image_size() for one in examples}
        queue = deque(sorted(examples, key=lambda one: (-prod(sizes[one.chart]), sizes[one.chart], one.chart)))
        while queue and not self.stop.is_set():
            batch = _whole_charts(queue, self._batch_size())
            self.asking(batch)
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
        if each is None:
            return min(self.first, self.batch.size)
        if self.chunk_s is None:
            return self.batch.size
        return max(1, min(self.batch.size, int(self.chunk_s / max(each, 1e-9))))

    def _ask(self, loaded: Sequence[tuple[Example, Image.Image]]) -> Iterator[list[Item]]:
        if not loaded or self.stop.is_set() or self.engine is None:
            return
        began = time.monotonic()
        try:
            asked = [(image, self.template.replace(QUESTION, one.question)) for one, image in loaded]
            answers = self.engine.answer_many(asked, self.arms, self.options)
        except EngineError as error:
            if isinstance(error, OutOfMemory):
                self.batch.did_not_fit(len(loaded))
            if len(loaded) == 1:
                self.doubtful.append(_item(loaded[0][0], error=str(error)))
                self._give_up()
                return
            half = len(loaded) // 2
            yield from self._ask(loaded[:half])
            yield from self._ask(loaded[half:])
            return
        seconds = time.monotonic() - began
        self.batch.worked(len(loaded), seconds)
        settled: list[Item] = []
        for (one, _), given in zip(loaded, answers, strict=True):
            item = _item(one, given, seconds / len(loaded))
            if item.answers:
                settled, self.doubtful = [*settled, *self.doubtful, item], []
            else:
                self.doubtful.append(_item(one, error=next(iter(item.failures.values()))))
        yield settled
        self._give_up()

    def _give_up(self) -> None:
        """When many questions in a row failed in every arm, the model (its server, a used-up quota) is at fault, and
        none of them is recorded, so that they are asked when the evaluation goes on."""
        if len(self.doubtful) >= GIVE_UP_AFTER:
            raise EvaluationError(
                f"{GIVE_UP_AFTER} questions in a row failed, the last one with: {self.doubtful[-1].error}"
            )


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
    given = {answer.arm: answer for answer in answers if answer.error is None}
    return Item(
        id=example.id,
        chart=example.chart,
        question=example.question,
        gold=example.gold,
        kind=example.kind,
        source=example.source,
        answers={arm: one.text for arm, one in given.items()},
        tokens={arm: one.tokens for arm, one in given.items()},
        log_probabilities={arm: log for arm, one in given.items() if (log := one.log_probability) is not None},
        confidence={arm: round(one.confidence, 4) for arm, one in given.items() if one.confidence is not None},
        failures={answer.arm: answer.error for answer in answers if answer.error is not None},
        ended={arm: one.ended for arm, one in given.items() if one.ended is not None},
        error=error,
        seconds=seconds,
    )
