"""Where the texts and marks of a chart are on its canvas, and which characters of a text say what is printed there."""

import re
from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np
from PIL import Image

from chartqa_demo.images import fit_canvas
from train.pretrain.layout import CANVASES, cell_of
from train.pretrain.scene import GeneratedChart, GeneratedQuestion, Text

Point = tuple[float, float]
Place = TypeVar("Place")

MOST_CELLS = 4  # cells that one token may point to
FIGURE = frozenset("0123456789.-")
BICUBIC = Image.Resampling.BICUBIC


class Grounding:
    """A chart on its canvas: where its texts and marks are, in canvas pixels. coarse: below 1, the canvas shows what a
    copy of so many times its width and height would show, enlarged."""

    def __init__(self, chart: GeneratedChart, coarse: float = 1.0) -> None:
        self.fitted = fit_canvas(chart.image, CANVASES)
        self.chart = chart
        canvas = self.fitted.image
        self.portrait = canvas.height > canvas.width
        if coarse < 1:
            smaller = canvas.resize((round(canvas.width * coarse), round(canvas.height * coarse)), BICUBIC)
            canvas = smaller.resize(canvas.size, BICUBIC)
        self.pixels = np.asarray(canvas).reshape(-1)
        values: dict[str, list[Text]] = {}
        self.names: list[Text] = []
        for text in chart.texts:
            if text.role == "value":
                values.setdefault(text.text, []).append(text)
            elif text.role in ("title", "category", "series"):
                self.names.append(text)
        self.names.sort(key=lambda text: -len(text.text))
        self.labels: dict[tuple[int, int], Text] = {}
        self.points: dict[tuple[int, int], Point] = {}
        # What many answers repeat: texts and figures with the cells of their characters, and names in lower case.
        self.letters: dict[int, tuple[str, list[int | None]]] = {}
        self.figures: dict[tuple[int, int], tuple[str, list[int | None]]] = {}
        self.categories = [name.rstrip("*").lower() for name in chart.categories]
        self.series = [name.lower() for name in chart.series]
        for mark in chart.marks:
            label = _nearest(values.get(mark.shown or "", ()), mark.anchor)
            key = mark.category, mark.series
            if label is not None:
                self.labels[key] = label
            self.points[key] = mark.anchor if label is None else middle(label)

    def cell(self, point: Point) -> int:
        """The image token that shows a place given in pixels of the chart's own image."""
        return cell_of(*self.fitted.place(*point), self.portrait)

    def letters_at(self, text: Text) -> tuple[str, list[int | None]]:
        """A printed text and the cell of each of its characters, None for spaces."""
        found = self.letters.get(id(text))
        if found is None:
            found = self.letters[id(text)] = self._in_cells(*letters_of(text))
        return found

    def figures_at(self, mark: tuple[int, int]) -> tuple[str, list[int | None]]:
        """A printed mark's figures, as a table writes them, and their cells."""
        found = self.figures.get(mark)
        if found is None:
            found = self.figures[mark] = self._in_cells(*figures_of(self.labels[mark]))
        return found

    def _in_cells(self, text: str, points: Sequence[Point | None]) -> tuple[str, list[int | None]]:
        return text, [None if point is None else self.cell(point) for point in points]

    def printed(self, answer: str, marks: Sequence[tuple[int, int]]) -> list[int | None]:
        """For each character of `answer`: the cell that prints it, if the answer repeats a printed text.

        Values count only where they belong to one of `marks`; equal numbers elsewhere are not the source.
        """
        cells: list[int | None] = [None] * len(answer)
        for key in marks:
            if key in self.labels:
                write_places(cells, answer, 0, *self.figures_at(key))
        for text in self.names:
            if text.text in answer:
                write_places(cells, answer, 0, *self.letters_at(text))
        return cells

    def printed_table(self, table: str) -> list[int | None]:
        """The same for the data table: each line's category, and its figures in the order of the series."""
        cells: list[int | None] = [None] * len(table)
        rows = {name: index for index, name in enumerate(self.chart.categories)}
        by_name = {text.text: text for text in reversed(self.names)}
        start = 0
        for line in table.split("\n"):
            name = line.split(" | ")[0]
            if name in rows:
                if name in by_name:
                    write_places(cells, table, start, *self.letters_at(by_name[name]))
                cursor = start + len(name)
                for series in range(max(1, len(self.chart.series))):
                    mark = rows[name], series
                    if mark in self.labels:
                        cursor = write_places(cells, table, cursor, *self.figures_at(mark), stop=start + len(line))
            start += len(line) + 1
        return cells

    def rests_on(self, question: GeneratedQuestion) -> list[int]:
        """The cells of the marks that an answer is read from: the winner only, where the answer names it."""
        marks = [key for key in question.marks if key in self.points]
        named = [key for key in marks if self.chart.categories[key[0]] == question.short]
        if not named and len(self.chart.series) > 1:
            named = [key for key in marks if self.chart.series[key[1]] == question.short]
        return list(dict.fromkeys(self.cell(self.points[key]) for key in named or marks))

    def named(self, question: GeneratedQuestion) -> dict[int, list[int]]:
        """The cells of the marks that a question names, by the index of the character that completes their naming.

        With its number fetched at each name, a difference or sum needs no two look-ups at once.
        """
        found: dict[int, list[int]] = {}
        text, several = question.text.lower(), len(self.chart.series) > 1 and self.chart.kind != "scatter"
        for key in question.marks[:MOST_CELLS]:
            names = (self.categories[key[0]], self.series[key[1]]) if several else (self.categories[key[0]],)
            ends = [max((span[-1] for span in _spans(text, name)), default=-1) for name in names]
            if key in self.points and min(ends) >= 0:
                found.setdefault(max(ends), []).append(self.cell(self.points[key]))
        return found


def middle(text: Text) -> Point:
    """The centre of a text's box."""
    return (text.box[0] + text.box[2]) / 2, (text.box[1] + text.box[3]) / 2


def _nearest(texts: Sequence[Text], point: Point) -> Text | None:
    def distance(text: Text) -> float:
        x, y = middle(text)
        return abs(x - point[0]) + abs(y - point[1])

    return min(texts, key=distance, default=None)


def letters_of(text: Text) -> tuple[str, list[Point | None]]:
    """A printed text and the place of each of its characters, None for spaces."""
    centres = iter(text.centres)
    return text.text, [None if character.isspace() else next(centres, None) for character in text.text]


def figures_of(text: Text) -> tuple[str, list[Point | None]]:
    """A value label's digits, point and minus, as a table writes them, with their places."""
    figures = [(c.replace("−", "-"), point) for c, point in zip(*letters_of(text), strict=True) if c in "0123456789.-−"]
    return "".join(c for c, _ in figures), [point for _, point in figures]


def write_places(
    places: list[Place | None],
    answer: str,
    start: int,
    needle: str,
    points: list[Place | None],
    stop: int | None = None,
) -> int:
    """Put the places (points or cells) of `needle` where `answer` has it as a whole word that is still free.

    Returns where to go on. Thousands separators of the answer are skipped.
    """
    if not needle:
        return start
    for span in _spans(answer[:stop], needle):
        if span[0] >= start and all(places[k] is None for k in span):
            for k, point in zip(span, points, strict=True):
                places[k] = point
            return span[-1] + 1
    return start


def _spans(answer: str, needle: str) -> Iterator[Sequence[int]]:
    """Where the characters of `needle` are, each time that `answer` has it as a whole word.

    Only a figure is looked for with separators (by a pattern, which takes long to compile) where it is not there as is.
    """
    found, size = False, len(needle)
    at = answer.find(needle)
    while at >= 0:
        before, after = answer[at - 1 : at], answer[at + size : at + size + 2]
        part_of_more = _is_word(before) or before == "." or _is_word(after[:1])
        if not part_of_more and not (after[:1] == "." and after[1:].isdigit()):
            found = True
            yield range(at, at + size)
        at = answer.find(needle, at + 1)
    if not found and size > 3 and FIGURE.issuperset(needle) and needle in answer.replace(",", "").replace(" ", ""):
        pattern = "[, ]?".join(map(re.escape, needle))
        for match in re.finditer(rf"(?<![\w.]){pattern}(?!\w|\.\d)", answer):
            yield [k for k in range(match.start(), match.end()) if answer[k] not in ", "]


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"
