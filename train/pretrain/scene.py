"""What is known about a generated chart: its pixels, its table, where every text and mark is, and its questions.

Every place is in pixels of `GeneratedChart.image` (origin top left), so a caller that resizes the picture scales them
all by the same factor.
"""

from dataclasses import dataclass, field
from typing import Literal

from PIL import Image

Box = tuple[float, float, float, float]  # x0, y0, x1, y1


@dataclass(slots=True)
class Text:
    """A printed text. role: title, subtitle, category, series, value, tick, axis, note, ornament.
    centres: one (x, y) per character of `text` that is not a space, in reading order (rotation included)."""

    text: str
    role: str
    box: Box
    centres: list[tuple[float, float]]


@dataclass(slots=True)
class Mark:
    """A bar, point, slice or segment: one cell of the table.

    category, series: indices into the table (series is 0 where there is only one); value: the number plotted;
    shown: the text of its printed value label, None where the reader has to use the axis; height: its length or
    height as a fraction of the axis (0 to 1), or its share of a pie; anchor: where the mark says its value (a bar's
    end, a line's point, the middle of a slice or segment)."""

    category: int
    series: int
    value: float
    shown: str | None
    box: Box
    anchor: tuple[float, float]
    height: float


@dataclass(slots=True)
class GeneratedQuestion:
    """One question with its only right answer, in three forms.

    kind: value, argmax, inverse, difference ...; text: the question; gold: the answer in ChartQA's conventions (no %
    or $ sign, no thousands separators, plain decimals); short: as a person writes it ("34%", "$5.2 million",
    "Brazil"); sentence: a whole sentence; human: worded as people ask rather than as a template; marks: the
    (category, series) cells that the answer rests on; axis_only: the answer has to be read off an axis because a
    value it needs is not printed."""

    kind: str
    text: str
    gold: str
    short: str
    sentence: str
    human: bool = False
    marks: tuple[tuple[int, int], ...] = ()
    axis_only: bool = False


@dataclass(slots=True)
class GeneratedChart:
    """values[series][category], None where missing; number formats are already applied in `shown` and in questions.
    table: the table as text, the target of "Extract the data table."; labelled: value labels are printed."""

    image: Image.Image
    kind: Literal[
        "bar", "hbar", "grouped", "grouped_h", "stacked", "stacked_h", "line", "area", "pie", "donut", "scatter"
    ]
    look: str
    title: str
    categories: list[str]
    series: list[str]
    values: list[list[float | None]]
    table: str
    labelled: bool
    texts: list[Text] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    questions: list[GeneratedQuestion] = field(default_factory=list)
