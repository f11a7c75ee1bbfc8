"""What the writers of questions know about a drawn chart, and how they add a question to it."""

import random
from collections.abc import Sequence

from train.pretrain.charts.drawing.frames import Plot
from train.pretrain.scene import GeneratedQuestion

Cell = tuple[int, int]  # category, series
MARK_NAMES = {"line": "line", "area": "area", "pie": "slice", "donut": "slice", "scatter": "point"}
SYNONYMS = {
    "dark blue": ("dark blue", "dark blue", "navy blue"),
    "gray": ("gray", "gray", "grey"),
    "light blue": ("light blue", "light blue", "sky blue"),
}
# Of lessons only, for held-out charts stay as they are. Answers keep the one name of a colour.
LESSON_SYNONYMS = SYNONYMS | {"gold": ("gold", "yellow", "yellow")}


def listing(names: Sequence[str]) -> str:
    """`a, b and c`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def roundest(low: float, high: float) -> float:
    """The number with the fewest digits well between two others."""
    gap = high - low
    for power in range(6, -4, -1):
        for step in (5 * 10.0**power, 2 * 10.0**power, 10.0**power):
            candidate = round(round((low + high) / 2 / step) * step, 6)
            if low + 0.2 * gap < candidate < high - 0.2 * gap:
                return candidate
    return low


class Asker:
    """Writes the questions of one chart into `questions`."""

    def __init__(self, rng: random.Random, plot: Plot, lesson: bool = False) -> None:
        self.rng, self.plot, self.table = rng, plot, plot.table
        self.synonyms = LESSON_SYNONYMS if lesson else SYNONYMS
        self.questions: list[GeneratedQuestion] = []
        # People leave out the star that refers to a footnote.
        self.categories = [name.rstrip("*") for name in plot.table.categories]
        self.texts: set[str] = set()
        self.plains: dict[Cell, str] = {}
        self.said: dict[Cell, str] = {}
        table = self.table
        self.shown = {(mark.category, mark.series) for mark in plot.marks if mark.shown is not None}
        cells = [(mark.category, mark.series) for mark in plot.marks]
        stacked = table.kind in ("stacked", "stacked_h", "area")
        round_slices = table.kind in ("pie", "donut")
        # What an axis shows: whole bars and points, and of a stack only the segment that starts at zero.
        self.exact = {
            cell
            for cell in cells
            if cell in self.shown or (table.readable and not round_slices and (not stacked or cell[1] == 0))
        }
        heights = {(mark.category, mark.series): mark.height for mark in plot.marks}
        self.height = heights
        self.tolerance = 0.05 if stacked or round_slices else 0.02
        self.count, self.many = len(table.categories), len(table.series) > 1
        self.kind = MARK_NAMES.get(table.kind, "bar")
        self.about = table.about if table.about in ("time", "place", "owner", "thing", "group", "answer") else "thing"
        self.timed = "time" if table.about == "time" else ""
        self.names = [name for _, name in plot.colours]

    def value(self, cell: Cell) -> float:
        """A cell's number."""
        number = self.table.values[cell[1]][cell[0]]
        assert number is not None, "only cells with marks are asked about"
        return number

    def plain(self, cell: Cell) -> str:
        """A cell's number as its label prints it, without signs."""
        if cell not in self.plains:
            self.plains[cell] = self.table.figures.plain(self.value(cell))
        return self.plains[cell]

    def say(self, cell: Cell) -> str:
        """A cell's number as a person says it."""
        if cell not in self.said:
            self.said[cell] = self.table.figures.spoken(self.plain(cell))
        return self.said[cell]

    def measure(self, series: int) -> str:
        """What is measured (a scatter chart has two measures)."""
        return self.table.series[series].lower() if self.table.kind == "scatter" else self.table.measure.name

    def of(self, series: int) -> str:
        """The series in words, with a space before it; nothing where there is only one."""
        table = self.table
        if not self.many or table.kind == "scatter":
            return ""
        name = table.series[series]
        if table.series_noun == "year":
            return f" in {name}"
        if table.series_noun in ("country", "region", "state", "city"):
            return f" {self.rng.choice(('in', 'for'))} {name}"
        return f" {self.rng.choice(('for', 'for', 'among' if table.series_noun == 'group' else 'for'))} {name}"

    def at(self, cell: Cell) -> str:
        """The cell in words: `in 2015 for Brazil`."""
        name = self.categories[cell[0]]
        word = {"time": "in", "place": "in", "owner": "of", "group": "among", "answer": "for", "thing": "of"}[
            self.about
        ]
        if word == "of" and self.rng.random() < 0.5:
            word = "for"
        return f"{word} {name}{self.of(cell[1])}"

    def context(self) -> str:
        """Place and time that the names leave open, in a third of cases."""
        table, draw = self.table, self.rng.random()
        place = f" {table.place}" if table.place == "worldwide" else f" in {table.place}" if table.place else ""
        when = f" in {table.when}" if table.when else ""
        return place + when if draw < 0.12 else when if draw < 0.28 else place if draw < 0.36 else ""

    def fields(self, cell: Cell) -> dict[str, str]:
        """What the wordings of `wordings` may name."""
        table = self.table
        fields = {
            "m": self.measure(cell[1]),
            "c": self.categories[cell[0]],
            "s": table.series[cell[1]],
            "of": self.of(cell[1]),
            "at": self.at(cell),
            "noun": table.noun,
            "plural": table.plural,
            "kind": self.kind,
            "ctx": self.context(),
            "v": self.say(cell),
            "n": self.plain(cell),
        }
        owner = table.who or (fields["c"] if table.about == "owner" else fields["s"] if self.many else "the group")
        fields["point"] = "point" if table.kind in ("line", "area") else self.kind
        fields["for_it"] = "for" + fields["at"][2:] if fields["at"].startswith("of ") else fields["at"]
        fields["am"] = ("an " if fields["m"][0] in "aeiouAEIO" else "a ") + fields["m"]
        fields["open"] = (
            "How high was the value" if table.kind == "scatter" else table.measure.opener.replace("{who}", owner)
        )
        return fields

    def ask(
        self,
        kind: str,
        wording: Sequence[str],
        fields: dict[str, str],
        gold: str,
        sentence: str,
        cells: Sequence[Cell],
        human: bool = False,
        short: str | None = None,
    ) -> None:
        """Adds a question unless its words were used before."""
        if self.table.kind == "scatter":  # which of its two measures is meant has to be said
            wording = [words for words in wording if "{m}" in words] or wording
        if fields["m"].startswith(("average", "median")):
            wording = [words for words in wording if "average {m}" not in words and "median {m}" not in words]
        text = self.rng.choice(wording).format_map(fields)
        if human and self.rng.random() < 0.12:
            text = text.rstrip("?.") + self.rng.choice((" ?", "??", ""))
        text = text[0].upper() + text[1:] if not human or self.rng.random() < 0.85 else text
        if text in self.texts or not gold:
            return
        self.texts.add(text)
        axis_only = any(cell not in self.shown for cell in cells)
        sentence = sentence[0].upper() + sentence[1:]
        self.questions.append(
            GeneratedQuestion(
                kind, text, gold, gold if short is None else short, sentence, human, tuple(cells), axis_only
            )
        )

    def row(self, series: int) -> list[Cell]:
        """The cells of a series that have values."""
        return [(category, series) for category in range(self.count) if self.table.values[series][category] is not None]

    def exact_row(self) -> list[Cell] | None:
        """All cells of a random series, if each can be read."""
        row = self.row(self.rng.randrange(len(self.table.series)))
        return row if len(row) > 1 and all(cell in self.exact for cell in row) else None

    def apart(self, a: Cell, b: Cell) -> bool:
        """Whether a reader can tell which of two cells is larger."""
        if a in self.shown and b in self.shown:
            return self.value(a) != self.value(b)
        return abs(self.height[a] - self.height[b]) > self.tolerance and self.value(a) != self.value(b)

    def ranked(self, row: list[Cell], largest: bool) -> list[Cell]:
        """A row's cells from largest to smallest or the other way."""
        return sorted(row, key=self.value, reverse=largest)

    def some_cell(self) -> Cell | None:
        """A cell whose value can be read."""
        cells = sorted(self.exact)
        return self.rng.choice(cells) if cells else None

    def two_cells(self, readable: bool = True) -> tuple[Cell, Cell] | None:
        """Two cells of one series."""
        row = self.row(self.rng.randrange(len(self.table.series)))
        if readable:
            row = [cell for cell in row if cell in self.exact]
        if len(row) < 2:
            return None
        first, second = self.rng.sample(row, 2)
        return first, second

    def two_series(self) -> tuple[Cell, Cell] | None:
        """Two readable cells of one category."""
        if not self.many or self.table.kind == "scatter":
            return None
        category = self.rng.randrange(self.count)
        cells = [(category, series) for series in range(len(self.table.series)) if (category, series) in self.exact]
        if len(cells) < 2:
            return None
        first, second = self.rng.sample(cells, 2)
        return first, second

    def colour_names(self) -> list[str] | None:
        """The colour words of series or slices, if each is used once."""
        parts = self.count if self.plot.coloured == "category" else len(self.table.series)
        names = self.names[:parts]
        return names if len(set(names)) == parts == len(names) and parts > 1 and self.table.kind != "scatter" else None

    def colour_word(self, name: str) -> str:
        """A colour as one of the words that a question may use for it."""
        return self.rng.choice(self.synonyms.get(name, (name,)))

    def spoken(self, text: str) -> str:
        """Plain digits with the chart's unit."""
        return self.table.figures.spoken(text)

    def place_of(self, category: int) -> str:
        """A category in words without its series: `in 2015`."""
        word = {"time": "in", "place": "in", "group": "among"}.get(self.about, "for")
        return f"{word} {self.categories[category]}"
