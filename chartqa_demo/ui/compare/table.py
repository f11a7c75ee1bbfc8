"""The whole chart as a table that can be corrected and copied: the prompted arm's reading, under the request that the
bundled model was trained with (`TABLE_REQUEST` of `train/pretrain/model/tokenizer.py`), and so only there."""

from collections.abc import Iterator
from typing import Any

import gradio as gr

from chartqa_demo.arms import PROMPTED
from chartqa_demo.engines import Engine, Options
from chartqa_demo.errors import ChartError, EngineError, QuestionError
from chartqa_demo.images import load_chart
from chartqa_demo.settings import Settings
from chartqa_demo.ui.compare.question import chart_path
from chartqa_demo.ui.events import PRIVATE, QUICK, Updates, at_once, told_once
from chartqa_demo.ui.markup import notice, status

REQUEST = "Extract the data table."
MOST_ROWS, MOST_COLUMNS = 80, 12


class TablePart:
    """The components, built where it is called; nothing where the bundled model does not answer."""

    def __init__(self, engine: Engine, limits: Settings) -> None:
        self.engine, self.limits = engine, limits
        self.shown = engine.bundled
        if self.shown:
            with gr.Accordion("The whole chart as a table", open=False, elem_id="table"):
                self.button = gr.Button("Read the chart", elem_id="read-table", size="sm")
                self.told = gr.HTML(elem_id="table-told", apply_default_css=False)
                self.cells = gr.Dataframe(
                    label="What the chart says",
                    type="array",
                    datatype="str",
                    interactive=True,
                    visible=False,
                    buttons=["copy", "fullscreen"],
                    elem_id="table-cells",
                )

    def connect(self, image: gr.Image) -> None:
        """The events. image: the chart; another one empties the table."""
        if self.shown:
            outputs = [self.told, self.cells]
            self.button.click(self.read, image, outputs, preprocess=False, **at_once(self.engine), **PRIVATE)
            image.change(lambda: {self.told: "", self.cells: gr.update(visible=False)}, None, outputs, **QUICK)

    @told_once
    def read(self, payload: dict[str, Any] | None) -> Iterator[Updates]:
        """Ask for the table and show it."""
        try:
            chart = chart_path(payload)
            if chart is None:
                raise QuestionError("Add a chart first.")
            yield {self.told: status("Reading the whole chart. This takes some seconds.")}
            arms = [arm for arm in self.engine.arms if arm.key == PROMPTED.key]
            picture, options = load_chart(chart, self.limits.upload_pixels), Options(self.limits.most_new_tokens)
            *_, (answer,) = self.engine.answer(picture, REQUEST, arms, options)
            if answer.error:
                raise EngineError(answer.error)
        except (QuestionError, ChartError, EngineError) as error:
            yield {self.told: notice(str(error))}
            return
        title, headers, rows = read_table(answer.text)
        if not rows:
            yield {self.told: notice("The model made no table of this chart.")}
            return
        told = f"{title or 'Read'}: {len(rows)} rows. The model misreads some: correct a cell by a double click."
        yield {self.told: status(told), self.cells: gr.update(value={"headers": headers, "data": rows}, visible=True)}


def read_table(text: str) -> tuple[str, list[str], list[list[str]]]:
    """Title, headers and rows of a table as the model writes it: the title, a header where there are several columns of
    figures, and a row for each category, cells between bars. Rows are as long as the header, at most MOST_ROWS."""
    lines = [[cell.strip() for cell in line.split("|")] for line in text.splitlines() if line.strip()]
    title = " ".join(line[0] for line in lines if len(line) == 1)
    rows = [line[:MOST_COLUMNS] for line in lines if len(line) > 1][: MOST_ROWS + 1]
    if not rows:
        return title, [], []
    width = max(map(len, rows))
    headers = rows.pop(0) if width > 2 else ["", "Value"]
    padded = [[*row, *[""] * (width - len(row))] for row in (headers, *rows)]
    return title, padded[0], padded[1 : MOST_ROWS + 1]
