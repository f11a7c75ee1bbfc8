"""The page's one public endpoint, `/ask`: the same question and the same texts, as JSON."""

from collections.abc import Iterator
from typing import Any

import gradio as gr

from chartqa_demo.engines import Engine
from chartqa_demo.errors import ChartError, EngineError, QuestionError
from chartqa_demo.ui.compare.question import chart_path, read_question, records, stream_answers
from chartqa_demo.ui.events import at_once


def add_ask_endpoint(engine: Engine, inputs: list[Any]) -> None:
    """Register `/ask` inside a `gr.Blocks` context; `inputs` are the page's own components, in `ask`'s order, whose
    types and labels document the endpoint."""

    def ask(
        image: dict[str, Any] | None,
        question: str,
        gold: str | None = None,
        max_new_tokens: float | None = None,
        temperature: float | None = None,
        max_pixels: int | None = None,
        system: str | None = None,
        seed: int | None = None,
    ) -> Iterator[list[dict[str, Any]]]:
        """Ask one question about a chart and get three answers of one vision-language model: pretrained (as it
        comes), prompted (with a system message for reading charts), adapter (with a LoRA fine-tuned on ChartQA).

        Args:
            image: the chart as a picture file (PNG, JPEG, WebP, GIF, BMP or TIFF)
            question: what to ask, at most 2,000 characters
            gold: the right answer where it is known; every answer then gets a verdict under ChartQA's relaxed accuracy
            max_new_tokens: longest answer in tokens, 1 to 512
            temperature: 0 is greedy, up to 2
            max_pixels: the chart is shrunk to at most this many pixels; 0 leaves the model's own limit
            system: system message of the prompted arm
            seed: brings back what was sampled with the same number; none samples another answer each time

        Returns:
            One object per arm, streamed until all are done: arm, title, text, tokens, first_token_s, total_s, done,
            cut (whether max_new_tokens ended it), ended (end, limit, or repetition where it only repeated itself),
            error, correct, reason, tolerant, tolerant_reason.
        """
        try:
            asked = read_question(
                chart_path(image), question, gold, max_new_tokens, temperature, max_pixels, system, seed
            )
            for answers in stream_answers(engine, asked):
                yield records(engine.arms, answers, asked)
        except (QuestionError, ChartError, EngineError) as error:
            raise gr.Error(str(error), print_exception=False) from error

    # A clock that stands still: an event with nothing on the page.
    gr.Timer(active=False).tick(
        ask, inputs, gr.JSON(visible=False, label="answers"), api_name="ask", preprocess=False, **at_once(engine)
    )
