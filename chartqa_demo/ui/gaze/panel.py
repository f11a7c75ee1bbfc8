"""The folded part under the cards: a button, and per arm the chart with what it looked at, as strong as one likes.

It is there where the bundled model answers: how often the hottest place is the mark that was asked about was measured
for its weights (bench/results/trust/overlay.json), and only arms that hold are drawn.
"""

import base64
from collections.abc import Mapping, Sequence
from html import escape
from io import BytesIO
from typing import Any

import gradio as gr
from PIL import Image

from chartqa_demo.arms import Arm
from chartqa_demo.engines import Engine, Gaze
from chartqa_demo.errors import ChartError, EngineError
from chartqa_demo.images import load_chart
from chartqa_demo.ui.compare.history import Run
from chartqa_demo.ui.events import PRIVATE, Updates, at_once
from chartqa_demo.ui.markup import notice, small_picture

HOT = (226, 60, 20)  # red: charts seldom are
WIDTH, HEIGHT = 640, 560  # pixels of a picture at most
ABOUT = (
    "Drawn from the attention of the answer's tokens to the chart, in the one part of the model that was found to look "
    "at the mark that is asked about. It shows where an arm looked, not why."
)
SLIDE_JS = """
element.addEventListener("input", (event) => {
  if (event.target.type === "range") element.style.setProperty("--heat", event.target.value / 100);
});
"""


class GazePart:
    """The components, built where it is called; nothing where the bundled model does not answer."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.shown = engine.bundled
        if self.shown:
            with gr.Accordion("Where did each arm look?", open=False, elem_id="gaze"):
                self.button = gr.Button("Show where they looked", elem_id="look-back", size="sm")
                self.pictures = gr.HTML(js_on_load=SLIDE_JS, elem_id="gazes", apply_default_css=False)

    def connect(self, run: gr.State, renewed: Sequence[Any]) -> None:
        """The events. renewed: those after which the cards show other answers."""
        if self.shown:
            self.button.click(self.show, run, self.pictures, **at_once(self.engine), **PRIVATE)
            gr.on(list(renewed), lambda: "", None, self.pictures, queue=False, **PRIVATE)

    def show(self, run: Run) -> Updates:
        """Draw where the arms looked for the answers on their cards."""
        asked = run.question
        if asked is None or run.phase != "done" or run.hidden:
            return {self.pictures: notice("Ask a question first, and wait for the answers.")}
        try:
            image = load_chart(asked.chart)
            found = self.engine.gazes(image, asked.text, self.engine.arms, run.answers, asked.options)
        except (ChartError, EngineError) as error:
            return {self.pictures: notice(str(error))}
        return {self.pictures: pictures(self.engine.arms, image, found)}


def pictures(arms: Sequence[Arm], image: Image.Image, found: Mapping[str, Gaze]) -> str:
    """A figure per arm, a slider for all, and a legend."""
    if not found:
        return notice("It was not measured of these weights that such a picture shows where they look.")
    chart = small_picture(image, WIDTH, HEIGHT)
    shown = "".join(_figure(arm, chart, found[arm.key]) for arm in arms if arm.key in found)
    missing = [arm.title for arm in arms if arm.key not in found]
    left_out = f" Not shown: {', '.join(missing)}, without an answer or not measured." if missing else ""
    return (
        '<div class="gazes"><label>Strength <input type="range" min="0" max="100" value="70"></label>'
        f'<span class="legend">less <span></span> more</span><div>{shown}</div>'
        f'<p class="meta">{escape(ABOUT + left_out)}</p></div>'
    )


def heat_picture(gaze: Gaze) -> Image.Image:
    """One pixel a cell, HOT and as opaque as it is looked at."""
    picture = Image.new("RGBA", (len(gaze.cells[0]), len(gaze.cells)), (*HOT, 0))
    picture.putdata([(*HOT, round(255 * cell)) for row in gaze.cells for cell in row])
    return picture


def _figure(arm: Arm, chart: str, gaze: Gaze) -> str:
    file = BytesIO()
    heat_picture(gaze).save(file, "PNG")
    heat = base64.b64encode(file.getvalue()).decode("ascii")
    left, top, right, bottom = gaze.box
    place = f"left:{left:.2%};top:{top:.2%};width:{right - left:.2%};height:{bottom - top:.2%}"
    across, down = hottest(gaze)
    told = f"{arm.title} looked most at {100 * across:.0f} % from the left, {100 * down:.0f} % from the top"
    return (
        f'<figure><div class="gaze" role="img" aria-label="{escape(told)}"><img src="{chart}" alt="">'
        f'<img class="heat" style="{place}" src="data:image/png;base64,{heat}" alt=""></div>'
        f"<figcaption>{escape(told)}</figcaption></figure>"
    )


def hottest(gaze: Gaze) -> tuple[float, float]:
    """The middle of the hottest cell as fractions of the picture's width and height."""
    rows, columns = len(gaze.cells), len(gaze.cells[0])
    row, column = max(((r, c) for r in range(rows) for c in range(columns)), key=lambda at: gaze.cells[at[0]][at[1]])
    left, top, right, bottom = gaze.box
    across, down = left + (column + 0.5) / columns * (right - left), top + (row + 0.5) / rows * (bottom - top)
    return min(max(across, 0.0), 1.0), min(max(down, 0.0), 1.0)
