"""What a visitor asks, checked, and what comes back: the page and the API share every line of this module.

A question is refused with one sentence before anything is queued. `records` is the form in which answers leave the
app, in the API and in the exported history alike.
"""

import logging
import math
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chartqa_demo.arms import Arm
from chartqa_demo.engines import Answer, Answers, Engine, Options
from chartqa_demo.errors import ChartError, EngineError, QuestionError, shown, whole
from chartqa_demo.evaluate.rules import Verdict, best_verdict
from chartqa_demo.images import load_chart
from chartqa_demo.settings import LEAST_PIXELS, MOST_PIXELS, Settings
from chartqa_demo.space.gradio_internals import upload_folder
from chartqa_demo.space.operations import counted

MAX_GOLD = 500
MAX_TEMPERATURE = 2.0
HIGHEST_SEED = 2**31 - 1  # which every server takes
SETTINGS = ("max_new_tokens", "temperature", "max_pixels", "system", "seed")  # of `Options`, in the page's order
UPDATES_PER_SECOND = 20
LIMITS = Settings()

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Question:
    """One question about one chart file. gold: accepted answers, empty where none is known; gold_from: where they are
    known from ("you" for the visitor's own, which wins); sampled, sampled_from: what the data set says then instead;
    example: what a link calls the chart, empty for a visitor's own; asked_at: Unix time, which makes the same question,
    asked again, another one; blind: whether arms and gold answer are hidden until the visitor has guessed."""

    chart: Path
    text: str
    gold: tuple[str, ...] = ()
    gold_from: str = ""
    sampled: tuple[str, ...] = ()
    sampled_from: str = ""
    chart_name: str = ""
    example: str = ""
    options: Options = field(default_factory=Options)
    asked_at: float = field(default_factory=time.time)
    blind: bool = False


@dataclass
class Turn:
    """What one visitor waits for. Gradio cannot cancel a stream that is about to begin, and forgets one when another
    begins; so streams ask here before every step. asked: the question asked last, None after Stop; answered: the one
    whose answers have ended; stream: the one that began last. It takes a question over that another has begun, which
    may have been meant for an earlier question, and ends with that."""

    asked: Question | None = None
    answered: Question | None = None
    stream: object = None

    def wants(self, asked: Question, stream: object) -> bool:
        """Whether what a stream has to say of a question is still to be shown."""
        return self.asked is asked and self.stream is stream


def chart_path(payload: object) -> Path | None:
    """The uploaded file itself, None without one. Raises QuestionError for a file that is none of our uploads.

    Gradio's image component is read without its preprocessing, which would make transparent charts black and fail
    without a sentence on files that are no picture. Gradio checks paths only where the sender calls them files, so
    it is checked here that this one lies where uploads are kept: an API caller may name any path.
    """
    named = payload.get("path") if isinstance(payload, Mapping) else payload
    if not named:
        return None
    try:
        path = Path(str(named)).resolve()
        if path.is_relative_to(upload_folder().resolve()) and path.is_file():
            return path
    except (OSError, ValueError):  # a name that is too long, holds a NUL or half a pair
        pass
    raise QuestionError("This chart is not among the uploads, or no longer. Upload it again.")


def read_question(
    chart: Path | None,
    text: object,
    gold: object = None,
    max_new_tokens: object = None,
    temperature: object = None,
    max_pixels: object = None,
    system: object = None,
    seed: object = None,
    *,
    limits: Settings = LIMITS,
    known_golds: Mapping[str, tuple[str, ...]] | None = None,
    source: str = "",
    chart_name: str = "",
    example: str = "",
) -> Question:
    """The question of a visitor or API caller, whose values can be anything. Raises QuestionError.

    `limits` are what an operator allows, `known_golds` the gold answers of the chart's own questions, `source` is where
    they come from; a gold answer given by the visitor wins. `max_pixels` 0 or None is the engine's own limit.
    """
    if chart is None:
        raise QuestionError("Add a chart first: upload or paste a picture, or pick one of the example charts.")
    question = _text(text, "question", limits.max_question)
    if not question:
        raise QuestionError("Type a question about the chart first, or pick one of the suggestions.")
    typed = _text(gold, "gold answer", MAX_GOLD)
    known = (known_golds or {}).get(question, ())
    longest = limits.most_new_tokens
    options = Options(
        max_new_tokens=round(_number(max_new_tokens, "max new tokens", limits.max_new_tokens, 1, longest)),
        temperature=_number(temperature, "temperature", Options.temperature, 0, MAX_TEMPERATURE),
        max_pixels=None
        if max_pixels in (None, 0, "0")
        else round(_number(max_pixels, "pixel limit", 0, LEAST_PIXELS, MOST_PIXELS)),
        system=None if system is None else _text(system, "system message", limits.max_prompt),
        seed=None if seed in (None, "") else round(_number(seed, "seed", 0, 0, HIGHEST_SEED)),
    )
    return Question(
        chart,
        question,
        gold=(plain_gold(typed),) if typed else known,
        gold_from="you" if typed else source if known else "",
        sampled=known if typed else (),
        sampled_from=source if typed and known else "",
        chart_name=chart_name,
        example=example,
        options=options,
    )


def plain_gold(typed: str) -> str:
    """A gold answer in ChartQA's form: a number without thousands commas, currency and per cent sign, else the text.

    The canonical rule reads gold answers with `float`, so "42,755" as typed could be met by the same text alone.
    """
    number = re.fullmatch(r"([-+−]?)\s*[$€£¥₹]?\s*(\d{1,3}(?:,\d{3})+|\d+)(\.\d+)?\s*[€%]?", typed)
    if not number:
        return typed
    sign, whole, fraction = number.groups()
    return f"{'-' if sign in ('-', '−') else ''}{whole.replace(',', '')}{fraction or ''}"


def unforeseen(error: Exception) -> EngineError:
    """What nobody thought of, logged for the operator, as a sentence for the visitor."""
    log.error("A question failed", exc_info=error)
    return EngineError(
        f"The model failed on this question ({type(error).__name__}). Your chart and question are kept: "
        "ask again, or try a smaller picture."
    )


def stream_answers(engine: Engine, question: Question, limits: Settings = LIMITS) -> Iterator[Answers]:
    """Every arm's answer so far, at most UPDATES_PER_SECOND times a second; the last item has all `done`.

    Waiting is enough to thin out the updates: an engine skips to the newest state for a slow reader. Closing the
    iterator closes the engine's. Raises ChartError and EngineError, nothing else: another exception is logged and
    becomes an EngineError, since all a visitor can do is try again.
    """
    image = load_chart(question.chart, limits.upload_pixels)
    stream = counted(engine.answer(image, question.text, engine.arms, question.options))
    next_at = 0.0
    try:
        for answers in stream:
            if not all(answer.done for answer in answers):
                time.sleep(max(0.0, next_at - time.monotonic()))
            next_at = time.monotonic() + 1 / UPDATES_PER_SECOND
            yield answers
    except (ChartError, EngineError):
        raise
    except Exception as error:
        raise unforeseen(error) from error
    finally:
        close = getattr(stream, "close", None)
        if close is not None:
            close()


def verdicts(answers: Answers, gold: Sequence[str]) -> list[Verdict | None]:
    """A verdict per arm where there is a gold answer and a finished answer without error, else None."""
    return [
        best_verdict(answer.text, gold) if gold and answer.done and answer.error is None else None for answer in answers
    ]


def why_cut(answer: Answer, options: Options) -> str | None:
    """ "stopped ..." for an answer that did not end by itself."""
    if answer.ended == "repetition":
        return "stopped: it repeated itself"
    tokens = options.max_new_tokens
    return f"stopped at {tokens:,} {'token' if tokens == 1 else 'tokens'}" if answer.ended == "limit" else None


def records(arms: Sequence[Arm], answers: Answers, question: Question) -> list[dict[str, Any]]:
    """The answers as JSON: one object per arm, times in seconds, verdict fields null where there is none."""
    return [
        {
            "arm": arm.key,
            "title": arm.title,
            "text": answer.text,
            "tokens": answer.tokens,
            "first_token_s": answer.first_token_s,
            "total_s": answer.total_s,
            "done": answer.done,
            "cut": answer.ended == "limit",
            "ended": answer.ended,
            "confidence": None if answer.confidence is None else round(answer.confidence, 4),
            "error": answer.error,
            "recorded": answer.recorded,
            "standing": judged.standing if judged else None,
            "correct": judged.correct if judged else None,
            "reason": judged.reason if judged else None,
            "tolerant": judged.tolerant if judged else None,
            "tolerant_reason": judged.tolerant_reason if judged else None,
        }
        for arm, answer, judged in zip(arms, answers, verdicts(answers, question.gold), strict=True)
    ]


def _text(value: object, name: str, limit: int) -> str:
    text = "" if value is None else value
    if not isinstance(text, str):
        raise QuestionError(f"The {name} has to be text, not {type(value).__name__}.")
    text = whole(text).strip()
    if len(text) > limit:
        raise QuestionError(f"The {name} has {len(text):,} characters; at most {limit:,} can be asked. Shorten it.")
    return text


def _number(value: object, name: str, default: float, least: float, most: float) -> float:
    if value is None:
        return default
    try:
        number = float(value) if isinstance(value, int | float | str) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if not least <= number <= most:
        told = f"'{shown(value)}'" if isinstance(value, str) else shown(value)
        raise QuestionError(f"The {name} is {told}; it has to be a number from {least:,.10g} to {most:,.10g}.")
    return number
