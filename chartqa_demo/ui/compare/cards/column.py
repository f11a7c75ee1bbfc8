"""The question with its gold answer, and one card per arm: the components, and what they show of a run."""

from collections.abc import Sequence
from dataclasses import replace

import gradio as gr

from chartqa_demo.arms import Arm
from chartqa_demo.ui.compare.cards.answers import SHARE, answer_card, asked_line
from chartqa_demo.ui.compare.cards.differences import marked
from chartqa_demo.ui.compare.cards.guess import (
    Guess,
    guess_panel,
    guessed_line,
    order_of,
    read_guess,
    unnamed,
    without_gold,
)
from chartqa_demo.ui.compare.cards.winner import announce
from chartqa_demo.ui.compare.history import Run, entry
from chartqa_demo.ui.compare.question import verdicts
from chartqa_demo.ui.events import QUICK, Updates
from chartqa_demo.ui.markup import PICK_JS, status


class Cards:
    """The components, built where it is called; `outputs` are those that `show` writes.

    followed: where one is among the questions of an evaluation, written by the tab that knows them.
    guess_first: whether names and gold answers are to be hidden at first.
    """

    def __init__(self, arms: Sequence[Arm]) -> None:
        self.arms = arms
        with gr.Column(elem_id="guess-first"):
            self.guess_first = gr.Checkbox(
                label="Guess first, then see who said what",
                elem_id="guess-toggle",
                elem_classes="plain",
            )
            gr.HTML(js_on_load="listScore(element);", elem_id="score", apply_default_css=False)
        with gr.Column(elem_id="answers"):
            self.followed = gr.HTML(js_on_load=PICK_JS, elem_id="followed", apply_default_css=False)
            self.asked_line = gr.HTML(asked_line(), elem_id="asked", apply_default_css=False)
            self.panel = gr.HTML(
                guess_panel(len(arms)),
                js_on_load="takeGuess(element, trigger);",
                elem_id="guess",
                apply_default_css=False,
            )
            self.guessed = gr.HTML(elem_id="guessed", apply_default_css=False)
            self.columns = [
                gr.HTML(answer_card(arm, None, "idle"), elem_id=f"card-{arm.key}", apply_default_css=False)
                for arm in arms
            ]
            self.status = gr.HTML(status(""), elem_id="status", apply_default_css=False)
            self.share = gr.HTML(SHARE, js_on_load=PICK_JS, elem_id="share", apply_default_css=False)
        self.outputs = [self.asked_line, self.guessed, *self.columns, self.status]

    def show(self, run: Run, told: str = "") -> Updates:
        """The cards of a run, and what a screen reader is told: states only, never the growing text."""
        asked, hidden, done = run.question, run.hidden, run.phase == "done"
        order = order_of(asked, len(self.arms))
        arms = [unnamed(place) if hidden else self.arms[index] for place, index in enumerate(order)]
        answers = tuple(run.answers[index] for index in order) if run.answers else ()
        if asked and hidden:
            asked = without_gold(asked)
            kept = entry(arms, replace(run, question=asked, answers=answers))
        else:
            kept = entry(self.arms, run)
        judged = verdicts(answers, asked.gold if asked else ()) or [None] * len(arms)
        texts = marked([answer.text for answer in answers]) if done else [None] * len(arms)
        return {
            self.asked_line: asked_line(run.question, arms, judged if done else (), kept, hidden),
            self.guessed: guessed_line(asked, run.guess, self.arms) if asked and run.guess else "",
            self.status: status(told),
            **{
                column: answer_card(arm, answer, run.phase, verdict, asked.options if asked else None, text)
                for column, arm, answer, verdict, text in zip(
                    self.columns, arms, answers or [None] * len(arms), judged, texts, strict=True
                )
            },
        }

    def connect(self, run: gr.State) -> None:
        """The events of Guess first. run: what the cards show."""
        self.run = run
        outputs = [run, *self.outputs]
        self.panel.select(self.guess, run, outputs, **QUICK)
        self.guess_first.input(self.turned, [self.guess_first, run], outputs, **QUICK)
        self.guess_first.change(None, self.guess_first, None, js="(on) => guessing(on)", **QUICK)

    def guess(self, run: Run, event: gr.EventData) -> Updates:
        """Name the arms, tell the gold answer, and judge what the visitor said."""
        if run.question is None:
            return self.reveal(run, Guess())
        return self.reveal(run, read_guess(event.guess, event.best, run.question, self.arms))

    def turned(self, on: bool, run: Run) -> Updates:
        """Turned off, it hides nothing any more."""
        return {self.run: run} if on else self.reveal(run, Guess())

    def reveal(self, run: Run, guess: Guess) -> Updates:
        """What was hidden, once no answer is still coming."""
        asked = run.question
        if asked is None or not run.hidden or run.phase in ("waiting", "running"):
            return {self.run: run}
        run = replace(run, guess=guess)
        told = announce(self.arms, asked, run.answers) if run.phase == "done" else "Stopped."
        return {self.run: run, **self.show(run, told)}
