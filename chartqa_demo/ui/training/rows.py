"""The corrected rows in the Training tab: seen, edited, deleted, downloaded, and handed to a training."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from html import escape
from typing import Any

import gradio as gr

from chartqa_demo.data.corrections import Correction, trainable, zipped
from chartqa_demo.errors import ChartError, DatasetError
from chartqa_demo.images import load_chart
from chartqa_demo.ui.compare.question import MAX_GOLD, plain_gold
from chartqa_demo.ui.corrections import VISITOR, Corrections
from chartqa_demo.ui.events import QUICK, Updates
from chartqa_demo.ui.markup import PICK_JS, hint, notice, small_picture

SHOWN = 50
NO_ROWS = (
    "No answer is corrected yet. Ask a question in Compare, or choose one in Evaluate, and say under “Which answer is "
    "right?” what it should have been: each word becomes a row here."
)


class Rows:
    """The list, and the field in which the chosen row is edited. Built inside the tab."""

    def __init__(self, corrections: Corrections) -> None:
        self.corrections = corrections
        self.list = gr.HTML(hint(NO_ROWS), js_on_load=PICK_JS, elem_id="training-rows", apply_default_css=False)
        self.picked = gr.State(None)
        with gr.Row(visible=False) as self.editor:
            self.answer = gr.Textbox(
                label="The right answer is",
                max_lines=1,
                elem_id="row-answer",
                elem_classes="plain",
                scale=3,
                min_width=160,
            )
            self.save = gr.Button("Save", elem_id="row-save", size="sm", min_width=90)
            self.delete = gr.Button("Delete this row", elem_id="row-delete", size="sm", min_width=120)
        self.told = gr.HTML(elem_id="row-told", apply_default_css=False)
        stored = corrections.stored
        self.shown = gr.State(())
        self.outputs = [self.list, self.shown, self.picked, self.editor, self.answer, self.told, stored]
        self.list.select(self.pick, self.shown, self.outputs, **QUICK)
        saves = [self.save.click, self.answer.submit]
        changed = gr.on(saves, self.change, [stored, self.picked, self.answer], self.outputs, **corrections.sent(0))
        removed = self.delete.click(self.remove, [stored, self.picked], self.outputs, **corrections.sent(0))
        for event in (changed, removed):
            corrections.store(event, self.told)

    def show(self, stored: object) -> Updates:
        """All rows as they are now, none of them chosen."""
        closed: Updates = {self.picked: None, self.editor: gr.Row(visible=False), self.told: ""}
        try:
            rows = self.corrections.kept.rows(stored)
            pictures = self.corrections.kept.pictures(stored, rows[:SHOWN])
            archive = None if self.corrections.kept.folder else self.archive(stored)
        except (DatasetError, OSError) as error:
            return {**closed, self.list: notice(str(error))}
        listed = rows_list(rows, pictures, self.corrections.where, archive)
        return {**closed, self.list: listed, self.shown: rows[:SHOWN]}  # the server holds no more than can be picked

    def archive(self, stored: object) -> bytes:
        """The rows to train on as a ZIP. Raises DatasetError."""
        rows = trainable(self.corrections.kept.rows(stored))
        return zipped(rows, self.corrections.kept.pictures(stored, rows))

    def pick(self, rows: Sequence[Correction], event: gr.EventData) -> Updates:
        """Open one of the rows that are shown for editing; another tab may have kept or deleted some since."""
        row = dict(enumerate(rows)).get(event.index)
        if row is None:
            return {self.told: notice("There is no such row any more. Open this tab again.")}
        return {self.picked: row, self.editor: gr.Row(visible=True), self.answer: row.answer, self.told: ""}

    def change(self, stored: object, row: Correction | None, text: str) -> Updates:
        """Another answer for the chosen row."""
        answer = plain_gold((text or "").strip())
        if row is None or not answer or len(answer) > MAX_GOLD:
            return {self.told: notice(f"Choose a row, and type an answer of at most {MAX_GOLD} characters.")}
        return self._write(
            stored, lambda: self.corrections.kept.change(stored, replace(row, answer=answer, said_by=VISITOR))
        )

    def remove(self, stored: object, row: Correction | None) -> Updates:
        """The chosen row goes."""
        if row is None:
            return {self.told: notice("Choose a row first.")}
        return self._write(stored, lambda: self.corrections.kept.remove(stored, row))

    def _write(self, stored: object, write: Any) -> Updates:
        try:
            after = write()
        except DatasetError as error:
            return {self.told: notice(str(error))}
        return {**self.show(after), **self.corrections.changed(stored, after)}


def rows_list(rows: Sequence[Correction], pictures: Mapping[str, bytes], where: str, archive: bytes | None) -> str:
    """Every row as a button that opens it; archive: offered for download."""
    if not rows:
        return hint(NO_ROWS)
    count = len(trainable(rows))
    told = f"{count:,} {'row' if count == 1 else 'rows'} to train on in {where}"
    if len(rows) > SHOWN:
        told += f"; the newest {SHOWN} are shown"
    link = ""
    if archive is not None and count:
        data = base64.b64encode(archive).decode()
        address = f"data:application/zip;base64,{data}"
        link = f' <a class="download" download="corrections.zip" href="{address}">Download ZIP</a>'
    items = "".join(_item(index, row, pictures.get(row.file_name)) for index, row in enumerate(rows[:SHOWN]))
    return f'<div class="items corrected"><p class="meta">{escape(told)}.{link}</p><ol>{items}</ol></div>'


def _item(index: int, row: Correction, picture: bytes | None) -> str:
    said = f"{row.said_by}, accepted · " if row.said_by != VISITOR else "typed · "
    before = f"the gold answer {' or '.join(row.gold)} is wrong · " if row.gold_is_wrong else ""
    image = f'<img src="{_thumbnail(picture)}" alt="">' if picture else ""
    when = row.at[:16].replace("T", " ")
    answer = f"<strong>{escape(row.answer)}</strong>" if row.answer else "no answer to train on"
    return (
        f'<li><button type="button" data-index="{index}">{image}'
        f'<span><span class="question" dir="auto">{escape(row.question)}</span> {answer} '
        f'<span class="meta">{escape(said + before + when)}</span></span></button></li>'
    )


@lru_cache(maxsize=500)
def _thumbnail(data: bytes) -> str:
    try:
        return small_picture(load_chart(data), 96, 64)
    except ChartError:
        return ""
