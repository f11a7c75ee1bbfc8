"""The question of the cards to the adapter before the one in use, beside this one: what an exchange has changed.

Both are asked anew: between the answer on the third card and now any visitor may have exchanged the adapter.
"""

from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

import gradio as gr

from chartqa_demo.engines import ByAdapter, Engine
from chartqa_demo.errors import ChartError, EngineError
from chartqa_demo.evaluate.run import display_name
from chartqa_demo.images import load_chart
from chartqa_demo.ui.compare.history import Run
from chartqa_demo.ui.compare.question import Question, unforeseen, verdicts, why_cut
from chartqa_demo.ui.events import PRIVATE, QUICK, Updates, at_once, told_once
from chartqa_demo.ui.markup import notice, status, verdict


class Before:
    """The components, built where it is called; to be seen once the adapter of the third arm was exchanged."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        with gr.Column(visible=engine.former is not None, elem_id="before") as self.part:
            self.button = gr.Button("Ask the adapter before this one, too", elem_id="before-ask", size="sm")
            self.shown = gr.HTML(elem_id="before-answers", apply_default_css=False)
        self.outputs = [self.part, self.shown]

    def connect(self, run: gr.State, renewed: Sequence[Any]) -> None:
        """The events. renewed: those after which the cards show other answers."""
        asking = self.button.click(self.ask, run, self.shown, **at_once(self.engine), **PRIVATE)
        # An answer that comes late must not stand below another question: a last word of an asking that was ended can
        # come after this, too (Gradio 6.31 looks for it every 50 ms)
        gr.on(list(renewed), self.renew, None, self.outputs, cancels=[asking], **QUICK)
        self.shown.change(self.keep, [self.shown, run], self.shown, **QUICK)

    def renew(self) -> Updates:
        """No answers yet; and whether there is an adapter to ask."""
        return {self.part: gr.Column(visible=self.engine.former is not None), self.shown: ""}

    def keep(self, shown: str, run: Run) -> Any:
        """What is shown, unless it answers another question than the cards."""
        late = "data-asked=" in shown and (run.question is None or _mark(run.question) not in shown)
        return "" if late else gr.skip()

    @told_once
    def ask(self, run: Run) -> Iterator[Updates]:
        """Ask both adapters."""
        asked = run.question
        if asked is None or run.phase != "done" or run.hidden:
            yield {self.shown: notice("Ask a question first, and wait for the answers.")}
            return
        yield {self.shown: of_question(asked, status("Both adapters are being asked."))}
        try:
            found = self.engine.answer_former(load_chart(asked.chart), asked.text, asked.options)
            told = both(found, asked) or notice("No adapter was in use before this one.")
        except (ChartError, EngineError) as error:
            told = notice(str(error))
        except Exception as error:
            told = notice(str(unforeseen(error)))
        yield {self.shown: of_question(asked, told)}


def _mark(asked: Question) -> str:
    return f'data-asked="{asked.asked_at}"'


def of_question(asked: Question, told: str) -> str:
    """With the mark of the question that it is about."""
    return f"<div {_mark(asked)}>{told}</div>"


def both(found: ByAdapter, asked: Question) -> str:
    """The answers side by side, each under its adapter's name; empty where nothing was found."""
    judged = verdicts(tuple(answer for _, answer in found), asked.gold)
    shown = ""
    for when, (adapter, answer), one in zip(("Before", "Now"), found, judged, strict=False):
        text = f'<p class="said" dir="auto">{escape(answer.text)}</p>' if answer.text else ""
        if (
            told := answer.error
            or why_cut(answer, asked.options)
            or ("" if text else "The model ended without a word.")
        ):
            text += f'<p class="meta">{escape(told)}</p>'
        mark = verdict(one.standing, one.told) if one else ""
        shown += f"<section><h3>{when} <strong>{escape(display_name(adapter))}</strong></h3>{text}{mark}</section>"
    return f'<div class="before" role="status">{shown}</div>' if shown else ""
