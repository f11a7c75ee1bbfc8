"""The page's public endpoints, the same questions and texts as JSON: `/ask` streams, `/compare` returns at the end.

The components that document them are their own, with labels that explain: the page's would ask a client for a choice
of texts where a number is meant.
"""

from collections.abc import Iterator, Mapping
from functools import wraps
from typing import Any

import gradio as gr

from chartqa_demo.arms import PROMPTED
from chartqa_demo.engines import Answers, Engine
from chartqa_demo.errors import ChartError, EngineError, QuestionError
from chartqa_demo.settings import Settings
from chartqa_demo.ui.compare.cards.winner import winner_line
from chartqa_demo.ui.compare.question import (
    MAX_TEMPERATURE,
    Question,
    chart_path,
    read_question,
    records,
    stream_answers,
    verdicts,
)
from chartqa_demo.ui.events import at_once

ASKED = (
    "one question about a chart and get three answers of one vision-language model: pretrained (as it comes), prompted "
    "(with a system message for reading charts), adapter (with a LoRA fine-tuned on ChartQA)."
)
PARAMETERS = {
    "image": "the chart as a picture file (PNG, JPEG, WebP, GIF, BMP, TIFF or AVIF)",
    "question": "what to ask, at most {max_question:,} characters",
    "gold": "the right answer where it is known; every answer then gets a verdict under ChartQA's relaxed accuracy",
    "max_new_tokens": "longest answer in tokens, 1 to {most_new_tokens}",
    "temperature": f"0 is greedy, up to {MAX_TEMPERATURE:g}",
    "max_pixels": "the chart is shrunk to at most this many pixels; 0 leaves the model's own limit",
    "system": "system message of the prompted arm",
    "seed": "brings back what was sampled with the same number; none samples another answer each time",
}
ANSWERS = (
    "arm, title, text, tokens, first_token_s, total_s, done, cut (whether max_new_tokens ended it), ended (end, limit, "
    "or repetition where it only repeated itself), confidence (how likely it is right by its tokens' probabilities, 0 "
    "to 1, null where that was not measured), error, recorded (when and by which model, where it is not new), and "
    "with a gold answer standing (right, other-form, only-canonical or wrong), correct, reason, tolerant, "
    "tolerant_reason"
)


def add_endpoints(engine: Engine, settings: Settings) -> None:
    """Register `/ask` and `/compare` inside a `gr.Blocks` context."""
    told_of = {name: words.format_map(vars(settings)) for name, words in PARAMETERS.items()}

    def answered(image: Mapping[str, Any] | None, *values: object) -> Iterator[tuple[Question, Answers]]:
        try:
            asked = read_question(chart_path(image), *values, limits=settings)
            for answers in stream_answers(engine, asked, settings):
                yield asked, answers
        except (QuestionError, ChartError, EngineError) as error:
            raise gr.Error(str(error), print_exception=False) from error

    def ask(
        image: dict[str, Any] | None,
        question: str,
        gold: str | None = None,
        max_new_tokens: float | None = None,
        temperature: float | None = None,
        max_pixels: float | None = None,
        system: str | None = None,
        seed: int | None = None,
    ) -> Iterator[list[dict[str, Any]]]:
        values = (question, gold, max_new_tokens, temperature, max_pixels, system, seed)
        for asked, answers in answered(image, *values):
            yield records(engine.arms, answers, asked)

    @wraps(ask, assigned=())  # its signature
    def compare(*values: Any) -> dict[str, Any]:
        *_, (asked, answers) = answered(*values)
        return {
            "question": asked.text,
            "gold": list(asked.gold),
            "winner": winner_line(engine.arms, verdicts(answers, asked.gold), asked.gold) or None,
            "answers": records(engine.arms, answers, asked),
        }

    told = "Args:\n" + "\n".join(f"    {name}: {words}" for name, words in told_of.items())
    whole = "question, gold, winner (who is right, in a sentence) and answers, one object per arm"
    ask.__doc__ = f"Ask {ASKED}\n\n{told}\n\nReturns:\n    One object per arm, streamed: {ANSWERS}."
    compare.__doc__ = f"Ask {ASKED} Returns when all are done.\n\n{told}\n\nReturns:\n    {whole}: {ANSWERS}."
    inputs = [
        gr.Image(type="filepath", label=told_of["image"], visible=False),
        *(gr.Textbox(label=told_of[name], visible=False) for name in ("question", "gold")),
        gr.Number(settings.max_new_tokens, label=told_of["max_new_tokens"], precision=0, visible=False),
        gr.Number(0, label=told_of["temperature"], visible=False),
        gr.Number(0, label=told_of["max_pixels"], precision=0, visible=False),
        gr.Textbox(PROMPTED.system, label=told_of["system"], visible=False),
        gr.Number(label=told_of["seed"], precision=0, visible=False),
    ]
    for name, endpoint, told in (("ask", ask, "answers"), ("compare", compare, "comparison")):
        # A clock that stands still: an event with nothing on the page.
        gr.Timer(active=False).tick(
            endpoint,
            inputs,
            gr.JSON(visible=False, label=told),
            api_name=name,
            preprocess=False,
            **at_once(engine),
        )
