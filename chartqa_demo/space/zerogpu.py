"""A question on ZeroGPU: one GPU lent per question, all arms in that one window, every refusal a sentence.

Importing this module needs `spaces`, which has to be imported before torch is used (app.py does). The weights are
placed when the engine is loaded; the model itself only ever runs in the worker that `spaces` forks, and what comes
back from there crosses a pipe, exceptions by their class name alone unless they are `gr.Error`.
"""

import logging
import os
import re
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import cast

import gradio as gr
import spaces
from PIL import Image

from chartqa_demo.arms import Arm
from chartqa_demo.engines import Answers, ByAdapter, Engine, Gazes, Options
from chartqa_demo.errors import EngineError, OutOfMemory, RecordedError
from chartqa_demo.space.recorded import Recorded, read_recorded
from chartqa_demo.space.window import Job, Learnt, Used, window_seconds

AT_ONCE = 4  # questions with a GPU each, or waiting at the scheduler, where a visitor's priority counts

CARD_FACTOR = 1.5  # the platform reserves so much more on its Blackwell cards (`spaces` 0.51, zero/configs.json)

YIELD_EVERY_S = 0.1  # an item takes a pickle, a pipe and three threads on its way to the page

log = logging.getLogger(__name__)
_warm = False  # in a worker: whether it has answered before


class ZeroGpuEngine:
    """`engine` with its questions answered on a lent GPU; implements `engines.Engine`.

    weight_bytes: what moves to the GPU; begin: what a new worker does before it answers.
    """

    def __init__(
        self,
        engine: Engine,
        weight_bytes: int,
        recorded: Sequence[Recorded] = (),
        begin: Callable[[], object] = lambda: None,
    ) -> None:
        self.engine = engine
        self.title, self.bundled, self.adapter = engine.title, engine.bundled, engine.adapter
        self.former: str | None = None
        blank = Image.new("RGB", (1000, 1000))
        usual = window_seconds(Job(((blank, ""),), engine.arms, Options(), streams=True), weight_bytes)
        self.arms = engine.arms
        told = f"A question reserves about {CARD_FACTOR * usual:.0f} s of your daily ZeroGPU time and uses less."
        self.notes = (*engine.notes, told)
        self.parallel = AT_ONCE
        self.weight_bytes = weight_bytes
        self.recorded = tuple(recorded)
        self.learnt = Learnt()

        @spaces.GPU(duration=self._seconds)
        def on_gpu(job: Job) -> Generator[Answers | list[Answers] | Used, None, None]:
            yield from _answers(engine, job, begin)

        self._on_gpu = on_gpu

    def answer(self, image: Image.Image, question: str, arms: Sequence[Arm], options: Options) -> Iterator[Answers]:
        """See `engines.Engine`. Where the GPU is refused and the question is among the recorded ones, its recorded
        answers come, marked as such, before the refusal is raised."""
        job = Job(((image, question),), tuple(arms), options, streams=True)
        begun = False
        try:
            with closing(self._on_gpu(job)) as stream:
                for answers in stream:
                    begun = True
                    if isinstance(answers, Used):
                        self.learnt.window(job, answers, self.weight_bytes)
                    else:
                        yield cast(Answers, answers)
        except Exception as error:
            if not begun and (answers := self._recorded_answers(image, question, arms, options)) is not None:
                yield answers
            raise self._sentence(error, job) from error

    def answer_many(
        self, items: Sequence[tuple[Image.Image, str]], arms: Sequence[Arm], options: Options
    ) -> list[Answers]:
        """See `engines.Engine`. One window for the whole batch."""
        job = Job(tuple(items), tuple(arms), options, streams=False)
        try:
            answers, used = self._on_gpu(job)
            self.learnt.window(job, cast(Used, used), self.weight_bytes)
        except Exception as error:
            raise self._sentence(error, job) from error
        return cast(list[Answers], answers)

    def prompt_text(self, arm: Arm, question: str, options: Options) -> str:
        """See `engines.Engine`; needs no GPU."""
        return self.engine.prompt_text(arm, question, options)

    def gazes(self, image: Image.Image, question: str, arms: Sequence[Arm], said: Answers, options: Options) -> Gazes:
        """Nothing: a look back is not worth a window on a GPU."""
        return {}

    def answer_former(self, image: Image.Image, question: str, options: Options) -> ByAdapter:
        """Nothing: no adapter is exchanged here."""
        return ()

    def use_adapter(self, name: str) -> None:
        """Always raises EngineError: the weights are packed away once the page is up."""
        raise EngineError(f"On ZeroGPU the adapter is chosen at the start; set CHARTQA_ADAPTER to {name} and restart.")

    def _seconds(self, job: Job) -> int:
        return window_seconds(job, self.weight_bytes, self.learnt)

    def _recorded_answers(
        self, image: Image.Image, question: str, arms: Sequence[Arm], options: Options
    ) -> Answers | None:
        for recorded in self.recorded:
            if (answers := recorded.answers_to(image, question, arms, options)) is not None:
                return answers
        return None

    def _sentence(self, error: Exception, job: Job) -> EngineError:
        if isinstance(error, EngineError):
            return error
        if isinstance(error, gr.Error) and error.title == OutOfMemory.__name__:
            return OutOfMemory(str(error.message))
        if isinstance(error, gr.Error) and error.title == EngineError.__name__:
            return EngineError(str(error.message))
        reserved = round(CARD_FACTOR * self._seconds(job))
        if "GPU task aborted" in str(error):
            self.learnt.taken_back()
        told = str(error) if isinstance(error, gr.Error) else f"{type(error).__name__}: {error}"
        if (sentence := refusal(told, reserved)) is None:
            log.error("ZeroGPU failed in a way without a sentence", exc_info=error)
            return EngineError(f"ZeroGPU gave no GPU for this question ({told[:120]}). Ask again in a minute.")
        return EngineError(sentence)


def lend_gpus(engine: Engine) -> ZeroGpuEngine:
    """The loaded engine with a lent GPU per question, to which a new worker moves the weights. Call it before launch.
    Raises EngineError for an engine that needs none: without a model here nothing would tell the platform that the
    Space has started."""
    import torch

    from chartqa_demo.engines.local import LocalEngine
    from chartqa_demo.engines.moving import move
    from chartqa_demo.engines.streaming import ReadableFailures

    if not isinstance(engine, LocalEngine):
        raise EngineError(f"{engine.title} needs no GPU here: choose CPU hardware in the settings of this Space.")
    weight_bytes = sum(weight.numel() * weight.element_size() for weight in engine.model.parameters())
    try:
        recorded = read_recorded(engine)
    except RecordedError as error:
        raise EngineError(str(error)) from error

    def begin() -> None:  # no Triton: the first question of a Space would wait for its compilers, and may have none
        with ReadableFailures():
            move(engine.model, torch.device("cuda", torch.cuda.current_device()))

    return ZeroGpuEngine(engine, weight_bytes, recorded, begin)


def refusal(told: str, reserved_s: int) -> str | None:
    """The platform's message (texts of `spaces` 0.51, zero/client.py) as a sentence that says what would have been
    needed, what is left and when it resets, where the message tells; None for another message."""
    if found := re.search(
        r"exceeded your .*quota \((\d+)s requested vs\. (\d+)s left\)\. Try again in (.+?)\. ?", told
    ):
        return (
            f"Your GPU time is used up for now: this question reserves {found[1]} s and you have {found[2]} s left. "
            f"It resets in {_hours(found[3])}. Signing in to Hugging Face gives more."
        )
    if found := re.search(r"requested GPU duration \((\d+)s\) is larger than the maximum", told):
        return (
            f"This question would reserve {found[1]} s of a GPU, more than ZeroGPU allows at once. Lower the answer "
            "length or the pixel limit under “Generation settings”."
        )
    for part, sentence in (
        (
            "exceeded your ZeroGPU runs limit",
            "You have asked as often as ZeroGPU allows for now. Ask again later; signing in to Hugging Face gives "
            "more.",
        ),
        (
            "reached its GPU limit",
            f"ZeroGPU was not told who asks, and this Space's own GPU time is used up (this question reserves "
            f"{reserved_s} s). Open the Space on huggingface.co and sign in, or send a token with an API call.",
        ),
        (
            "too many ZeroGPU credits",
            "Too many of your questions are being answered at once. Ask again when one of them has ended.",
        ),
        (
            "No GPU was available",
            f"No GPU became free for the {reserved_s} s that this question reserves. Ask again in a minute; "
            "visitors who are signed in to Hugging Face come first.",
        ),
        (
            "GPU task aborted",
            f"The GPU was taken back before the answers were finished; {reserved_s} s were reserved. What was "
            "answered stays. Ask again, and if it happens again lower the answer length under “Generation settings”.",
        ),
        ("Expired ZeroGPU proxy token", "This page has been open for too long for ZeroGPU. Reload it and ask again."),
        ("Connection closed by visitor", "The question was given up while it waited for a GPU. Ask again."),
    ):
        if part in told:
            return sentence
    return None


def _answers(engine: Engine, job: Job, begin: Callable[[], object]) -> Iterator[Answers | list[Answers] | Used]:
    """Runs in the worker; whatever fails there becomes the one exception that keeps its text on the way back. What the
    window took comes last."""
    global _warm
    cold, _warm = not _warm, True
    began = time.monotonic() - (_alive_s() if cold else 0.0)
    try:
        if cold:
            begin()
        if job.streams:
            answers = ()
            for answers in thinned(engine.answer(*job.items[0], job.arms, job.options)):
                yield answers
            every = [answers]
        else:
            yield (every := engine.answer_many(job.items, job.arms, job.options))
    except EngineError as error:
        kind = OutOfMemory if isinstance(error, OutOfMemory) else EngineError
        raise gr.Error(str(error), title=kind.__name__, print_exception=False) from error
    except Exception as error:
        log.exception("A question failed on the GPU")
        sentence = f"The model failed on this question ({type(error).__name__}). Ask again, or try a smaller picture."
        raise gr.Error(sentence, title=EngineError.__name__, print_exception=False) from error
    tokens = max((answer.tokens for answers in every for answer in answers), default=0)
    yield Used(time.monotonic() - began, cold, tokens)


def thinned(states: Iterator[Answers], every_s: float = YIELD_EVERY_S) -> Iterator[Answers]:
    """Of the states of answers the first, the first with text of all, one in `every_s` seconds, and the last. Closing
    the iterator closes `states`."""
    told, last, sent, read = float("-inf"), (), True, False
    with closing(cast(Generator[Answers, None, None], states)):
        for last in states:
            first = not read and all(answer.text or answer.done for answer in last)
            if sent := first or time.monotonic() - told >= every_s:
                yield last
                told, read = time.monotonic(), read or first
        if not sent:
            yield last


def _alive_s() -> float:
    """Seconds since this process was forked (proc(5): /proc/self/stat, starttime)."""
    started = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started / os.sysconf("SC_CLK_TCK")


def _hours(wait: str) -> str:
    """ "1 day, 2:03:04" or "0:12:00", as Python prints a timedelta, for a reader."""
    found = re.fullmatch(r"(?:(\d+) days?, )?(\d+):(\d\d):(\d\d)(?:\.\d+)?", wait)
    if found is None:
        return wait
    hours, minutes = int(found[1] or 0) * 24 + int(found[2]), int(found[3])
    if hours:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{minutes} min" if minutes else f"{int(found[4])} s"
