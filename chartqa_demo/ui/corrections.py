"""The row under an answer in which a visitor says what is right; each word becomes a row to train on.

Kept in the operator's folder, or in the visitor's own browser where the page is served to others; the Training tab
lists the rows.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from chartqa_demo.arms import Arm
from chartqa_demo.data.corrections import NO_ROOM, Correction, Kept, difference, pixels_id, trainable
from chartqa_demo.errors import ChartError, DatasetError
from chartqa_demo.evaluate.rules import best_verdict
from chartqa_demo.images import load_chart
from chartqa_demo.settings import Settings, serves_others
from chartqa_demo.ui.compare.cards.answers import chips
from chartqa_demo.ui.compare.question import MAX_GOLD, plain_gold
from chartqa_demo.ui.events import QUICK, Updates
from chartqa_demo.ui.markup import PICK_JS, done, notice

VISITOR = "visitor"
NOT_MOVED = (
    "This browser has no room for corrections that an earlier version kept. Delete some in Training, and open this "
    "page again."
)


@dataclass(frozen=True)
class Subject:
    """What can be corrected: a question about a picture, with the arms' answers by title."""

    load: Callable[[], Image.Image]
    question: str
    gold: tuple[str, ...]
    answers: dict[str, str]


class Corrections:
    """What the page's tabs share: where corrections are kept. Built inside the context of the page."""

    def __init__(self, settings: Settings) -> None:
        in_browser = settings.corrections == "browser" or (settings.corrections == "auto" and serves_others(settings))
        folder = "corrections" if settings.corrections == "auto" else settings.corrections
        self.kept = Kept(None if in_browser else Path(folder).expanduser())
        self.stored = gr.JSON(visible=False)  # a browser's on the way to the server, and back what changes of it
        if in_browser:
            secret = "in the visitor's browser only"
            before = gr.BrowserState(None, storage_key="chartqa-corrections", secret=secret)
            told = gr.HTML(elem_id="corrections-moved", apply_default_css=False)
            before.change(None, before, told, js=f"(old) => moveCorrections(old, {_quoted(NOT_MOVED)})", **QUICK)

    def sent(self, place: int) -> dict[str, Any]:
        """Options of a listener whose input at this place is `stored`."""
        js = f"(...values) => withCorrections(values, {place})"
        return QUICK if self.kept.folder else {"js": js, **QUICK}

    def store(self, event: Any, told: gr.HTML) -> None:
        """Have a browser keep what a listener with `stored` among its outputs has changed. told: where the listener
        says that it is kept, and the browser that it has no room."""
        if self.kept.folder is None:
            js = f"(...change) => keepCorrections(...change, {_quoted(NO_ROOM)})"
            event.then(None, [self.stored, told], [self.stored, told], js=js, **QUICK)

    def changed(self, before: object, after: object) -> Updates:
        """What a browser with `before` is told, to have `after`."""
        return {} if self.kept.folder else {self.stored: difference(before, after)}

    @property
    def where(self) -> str:
        """Where they are kept, for a reader."""
        return "your browser" if self.kept.folder is None else f"the folder {self.kept.folder.name}"


class CorrectionRow:
    """Buttons that accept an arm's answer, a field for the right one, and a button for a wrong gold answer.

    titles: the arms whose answers can be accepted; name: what the ids of the elements begin with.
    """

    def __init__(self, corrections: Corrections, titles: Sequence[str], name: str) -> None:
        self.corrections = corrections
        with gr.Accordion("Which answer is right? Keep it to train on", open=False, elem_id=f"{name}-correct"):
            self.accept = gr.HTML(
                accept_buttons(titles), js_on_load=PICK_JS, elem_id=f"{name}-accept", apply_default_css=False
            )
            with gr.Row():
                self.answer = gr.Textbox(
                    label="The right answer is",
                    max_lines=1,
                    elem_id=f"{name}-right-answer",
                    elem_classes="plain",
                    scale=3,
                    min_width=160,
                )
                self.keep = gr.Button("Keep it", elem_id=f"{name}-keep", size="sm", min_width=100)
                self.wrong = gr.Button(
                    "The gold answer is wrong", elem_id=f"{name}-gold-wrong", size="sm", min_width=100
                )
            self.told = gr.HTML(elem_id=f"{name}-corrected", apply_default_css=False)

    def connect(self, source: gr.State, read: Callable[[Any], Subject | None], renewed: Sequence[Any] = ()) -> None:
        """The events. read: what `source` holds as a subject; renewed: events after which there is another subject."""
        stored = self.corrections.stored
        given, outputs = [source, stored, self.answer], [self.told, self.answer, stored]

        def accepted(held: Any, before: object, _: str, event: gr.EventData) -> Updates:
            subject = read(held)
            answers = list(subject.answers.items()) if subject else []
            if subject is None or event.index not in range(len(answers)):
                return {self.told: notice("There is no answer to accept yet: ask a question first.")}
            title, text = answers[event.index]
            return self.write(subject, before, text, title)

        def typed(held: Any, before: object, text: str) -> Updates:
            if not (text or "").strip():
                return {self.told: notice("Type the right answer first.")}
            return self.write(read(held), before, text, VISITOR)

        def gold_wrong(held: Any, before: object, text: str) -> Updates:
            subject = read(held)
            if subject is not None and not subject.gold:
                return {self.told: notice("No gold answer is known for this question.")}
            return self.write(subject, before, text, VISITOR, gold_is_wrong=True)

        for events, listener in (
            ([self.accept.select], accepted),
            ([self.keep.click, self.answer.submit], typed),
            ([self.wrong.click], gold_wrong),
        ):
            self.corrections.store(gr.on(events, listener, given, outputs, **self.corrections.sent(1)), self.told)
        if renewed:
            gr.on(list(renewed), self.fresh, None, [self.told, self.answer], **QUICK)

    def fresh(self) -> Updates:
        """Nothing typed and nothing told: there is another subject."""
        return {self.told: "", self.answer: ""}

    def write(
        self, subject: Subject | None, stored: object, text: str, said_by: str, gold_is_wrong: bool = False
    ) -> Updates:
        """Keep one correction, and say so."""
        answer = plain_gold((text or "").strip())
        if subject is None:
            return {self.told: notice("There is nothing to correct yet: ask a question first.")}
        if not answer and not gold_is_wrong:
            return {self.told: notice("That answer is empty. Type the right one.")}
        if len(answer) > MAX_GOLD:
            return {self.told: notice(f"The answer has {len(answer):,} characters; at most {MAX_GOLD} are kept.")}
        kept = self.corrections.kept
        try:
            picture = subject.load()
            gold_is_wrong |= bool(subject.gold and answer and best_verdict(answer, subject.gold).standing == "wrong")
            now = datetime.now(timezone.utc).isoformat(timespec="seconds")
            new = Correction(pixels_id(picture), subject.question, answer, said_by, now, subject.gold, gold_is_wrong)
            after = kept.add(stored, new, picture)
            count = len(trainable(kept.rows(after)))
        except (ChartError, DatasetError, OSError) as error:
            return {self.told: notice(str(error))}
        rows = f"{count} {'row' if count == 1 else 'rows'} to train on in {self.corrections.where}; see Training."
        told = f"Kept: the right answer is “{answer}”." if answer else "Noted: the gold answer is wrong."
        return {self.told: done(f"{told} {rows}"), self.answer: "", **self.corrections.changed(stored, after)}


def _quoted(sentence: str) -> str:
    """A notice as a script writes it."""
    return json.dumps(notice(sentence))


def accept_buttons(titles: Sequence[str]) -> str:
    """One button for each arm whose answer can be accepted."""
    return chips([f"Accept {title}" for title in titles])


def subject_of_run(arms: Sequence[Arm]) -> Callable[[Any], Subject | None]:
    """Reads what the cards of the Compare tab show; an answer that is not there is empty."""

    def read(run: Any) -> Subject | None:
        asked = run.question
        if asked is None or run.hidden:
            return None
        texts = [answer.text for answer in run.answers] or [""] * len(arms)
        answers = {arm.title: text for arm, text in zip(arms, texts, strict=True)}
        return Subject(partial(load_chart, asked.chart), asked.text, asked.sampled or asked.gold, answers)

    return read
