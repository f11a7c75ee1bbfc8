"""The question with its gold answer, and one card per arm: the components, and what they show of a run."""

from collections.abc import Sequence

import gradio as gr

from chartqa_demo.arms import Arm
from chartqa_demo.ui.compare.cards.answers import SHARE, answer_card, asked_line
from chartqa_demo.ui.compare.cards.differences import marked
from chartqa_demo.ui.compare.history import Run, entry
from chartqa_demo.ui.compare.question import verdicts
from chartqa_demo.ui.events import Updates
from chartqa_demo.ui.markup import PICK_JS, status


class Cards:
    """The components, built where it is called; `outputs` are those that `show` writes.

    followed: where one is among the questions of an evaluation, written by the tab that knows them.
    """

    def __init__(self, arms: Sequence[Arm]) -> None:
        self.arms = arms
        with gr.Column(elem_id="answers"):
            self.followed = gr.HTML(js_on_load=PICK_JS, elem_id="followed", apply_default_css=False)
            self.asked_line = gr.HTML(asked_line(), elem_id="asked", apply_default_css=False)
            self.columns = [
                gr.HTML(answer_card(arm, None, "idle"), elem_id=f"card-{arm.key}", apply_default_css=False)
                for arm in arms
            ]
            self.status = gr.HTML(status(""), elem_id="status", apply_default_css=False)
            self.share = gr.HTML(SHARE, js_on_load=PICK_JS, elem_id="share", apply_default_css=False)
        self.outputs = [self.asked_line, *self.columns, self.status]

    def show(self, run: Run, told: str = "") -> Updates:
        """The cards of a run, and what a screen reader is told: states only, never the growing text."""
        asked = run.question
        gold = asked.gold if asked else ()
        answers = run.answers or (None,) * len(self.arms)
        judged = verdicts(run.answers, gold) or [None] * len(self.arms)
        done = run.phase == "done"
        texts = marked([answer.text for answer in run.answers]) if done else [None] * len(self.arms)
        return {
            self.asked_line: asked_line(asked, self.arms, judged if done else (), entry(self.arms, run)),
            self.status: status(told),
            **{
                column: answer_card(arm, answer, run.phase, verdict, asked.options if asked else None, text)
                for column, arm, answer, verdict, text in zip(
                    self.columns, self.arms, answers, judged, texts, strict=True
                )
            },
        }
