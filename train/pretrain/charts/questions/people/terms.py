"""Numbers as people name them in a chart: one by word, colour or place, a group's largest, the sum of the last two.

`asking` makes questions of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from train.pretrain.charts.questions.asker import Asker, Cell, roundest

HIGH = ("highest", "largest", "maximum", "biggest", "greatest")
LOW = ("lowest", "smallest", "least", "minimum")
TWO = ("two", "two", "2")
THREE = ("three", "three", "3")
MOST_TERMS = 9


@dataclass(frozen=True, slots=True)
class Term:
    """A number that a question names. text: its words; number: its value; cells: what it rests on; plain: the answer
    as printed, None where it has to be worked out."""

    text: str
    number: float
    cells: tuple[Cell, ...]
    plain: str | None = None


def mark_word(asker: Asker, several: bool = False) -> str:
    """What people call a mark: a bar, a line's graph, a slice or segment."""
    rng, kind = asker.rng, asker.table.kind
    if kind in ("pie", "donut"):
        word = rng.choice(("segment", "slice", "section", "part", "segment"))
    elif kind in ("line", "area"):
        word = rng.choice(("data point", "value", "point")) if several else rng.choice(("graph", "line", "line"))
    elif kind in ("stacked", "stacked_h"):
        word = rng.choice(("bar", "bar", "segment"))
    else:
        word = "bar"
    return word + "s" if several else word


def series_name(asker: Asker, series: int) -> str:
    """A series by its colour or name, without a noun: `green`, `Favorable`, `"Favorable"`."""
    names, rng = asker.colour_names(), asker.rng
    if names and asker.plot.coloured == "series" and rng.random() < 0.6:
        return asker.colour_word(names[series])
    name = asker.table.series[series]
    return f'"{name}"' if rng.random() < 0.15 else name


def group_of(asker: Asker) -> tuple[str, list[Cell]] | None:
    """Some readable values that belong together, and what they are called: `green bars`, `bars in Spain`, `bars`."""
    rng, table = asker.rng, asker.table
    if table.kind == "scatter":
        return None
    marks = mark_word(asker, several=True)
    draw = rng.random()
    if asker.many and draw < 0.25:
        category = rng.randrange(asker.count)
        cells = [
            (category, series) for series in range(len(table.series)) if table.values[series][category] is not None
        ]
        text = f"{marks} {rng.choice(('in', 'for', 'of', 'in the'))} {asker.categories[category]}"
        text = f"{text} category" if " the " in text else text
    elif asker.many:
        series = rng.randrange(len(table.series))
        cells = asker.row(series)
        text = f"{series_name(asker, series)} {marks}"
    else:
        cells = asker.row(0)
        text = marks if rng.random() < 0.6 else rng.choice(("values", table.plural))
    if len(cells) < 2 or any(cell not in asker.exact for cell in cells):
        return None
    return text, cells


def only(asker: Asker, cell: Cell) -> Term:
    """One value named by what it stands for or by its colour and category."""
    rng, table, name = asker.rng, asker.table, asker.categories[cell[0]]
    names = asker.colour_names()
    word = rng.choice(("in", "in", "for", "of"))
    if asker.many:
        series = series_name(asker, cell[1])
        noun = rng.choice((" " + mark_word(asker), " " + mark_word(asker), "", " value"))
        text = f"{series}{noun} {word} {name}" if rng.random() < 0.8 else f"{name} {series}{noun}"
    elif names and asker.plot.coloured == "category" and rng.random() < 0.5:
        text = f"{asker.colour_word(names[cell[0]])} {mark_word(asker)}"
    elif rng.random() < 0.25 and table.kind not in ("line", "area"):
        text = f"{name} {mark_word(asker)}"
    else:
        text = name if rng.random() < 0.6 else f'"{name}"'
    return Term(text, asker.value(cell), (cell,), asker.plain(cell))


def extreme(asker: Asker) -> Term | None:
    """The largest or smallest of a group, at times the second."""
    found = group_of(asker)
    if found is None:
        return None
    text, cells = found
    rng, largest = asker.rng, asker.rng.random() < 0.55
    order = asker.ranked(cells, largest)
    place = 1 if len(order) > 3 and rng.random() < 0.15 else 0
    if place and asker.value(order[0]) == asker.value(order[1]):
        return None
    word = ("second " if place else "") + rng.choice(HIGH if largest else LOW)
    cell = order[place]
    single = text.replace("bars", "bar", 1).replace("slices", "slice", 1).replace("segments", "segment", 1)
    single = single.replace("values", "value", 1).replace("points", "point", 1).replace("sections", "section", 1)
    single = single.replace("parts", "part", 1)
    single = asker.table.noun if single == asker.table.plural else single
    wording = rng.choice(
        (f"{word} {single}", f"{word} {single}", f"{word} value of {text}", f"{word} value of {single}")
    )
    return Term(wording, asker.value(cell), (cell,), asker.plain(cell))


def placed(asker: Asker) -> Term | None:
    """A value by its place: the rightmost of a line, the second bar from the top."""
    rng, table = asker.rng, asker.table
    if table.kind in ("pie", "donut", "scatter", "area"):
        return None
    series = rng.randrange(len(table.series))
    level = table.kind in ("hbar", "grouped_h", "stacked_h")
    first, last = ("top", "bottom") if level else ("left", "right")
    number = rng.choice((0, 0, 0, 1, 1, 2))
    from_end = rng.random() < 0.5
    index = asker.count - 1 - number if from_end else number
    if not 0 <= index < asker.count or (index, series) not in asker.exact:
        return None
    cell = (index, series)
    name = series_name(asker, series) + " " if asker.many else ""
    mark = mark_word(asker)
    end = last if from_end else first
    if table.kind == "line":
        ordinal = ("", "second ", "third ")[number]
        wording = rng.choice((f"{ordinal}{end}most value of {name}{mark}", f"{ordinal}{end}most {name}data point"))
    elif number == 0:
        wording = rng.choice(
            (
                f"{end} {name}bar" if level else f"{end}most {name}bar",
                f"{'last' if from_end else 'first'} {name}bar",
                f"{'last' if from_end else 'first'} {name}bar from the {first}",
            )
        )
        if wording.endswith(f"last {name}bar from the {first}"):
            wording = f"last {name}bar"
    else:
        ordinal = ("", "second", "third")[number]
        wording = f"{ordinal} {name}bar from {rng.choice(('the ', 'the ', ''))}{end}"
    return Term(wording, asker.value(cell), (cell,), asker.plain(cell))


def reckoned(asker: Asker) -> Term | None:  # noqa: PLR0912 (one choice after another, each short)
    """A sum, average, median, product or number of values of a group."""
    found = group_of(asker)
    if found is None:
        return None
    text, cells = found
    rng = asker.rng
    draw = rng.random()
    if draw < 0.45 and len(cells) > 2:
        largest, two = rng.random() < 0.5, len(cells) == 3 or rng.random() < 0.7
        cells = asker.ranked(cells, largest)[: 2 if two else 3]
        word = rng.choice(HIGH if largest else LOW)
        number = rng.choice(TWO if two else THREE)
        text = rng.choice((f"{number} {word} {text}", f"{word} {number} {text}"))
    elif draw < 0.6 and len(cells) > 3 and asker.table.kind not in ("pie", "donut"):
        last, two = rng.random() < 0.5, rng.random() < 0.5
        cells = sorted(cells, key=lambda cell: cell[0])
        cells = (cells[-2:] if two else cells[-3:]) if last else (cells[:2] if two else cells[:3])
        if len({cell[0] for cell in cells}) < len(cells):
            return None
        text = f"{'last' if last else 'first'} {rng.choice(TWO if two else THREE)} {text}"
    elif draw < 0.8 and len(cells) > 3:
        values = sorted(map(asker.value, cells))
        limit = roundest(values[0], values[-1])
        above = rng.random() < 0.5
        kept = [cell for cell in cells if (asker.value(cell) > limit) == above and asker.value(cell) != limit]
        if not 2 <= len(kept) <= 4 or any(asker.value(cell) == limit for cell in cells):
            return None
        cells = kept
        shown = asker.table.figures.derived(limit)
        words = ("above", "over", "more than") if above else ("below", "under", "less than")
        text = f"{text} {rng.choice(words)} {shown}"
        text = "all the " + text if rng.random() < 0.4 else text
    else:
        text = rng.choice(("all the ", "all ", "")) + text
    if len(cells) > MOST_TERMS:
        return None
    values = list(map(asker.value, cells))
    kind = rng.random()
    if kind < 0.4:
        word, number = rng.choice(("sum", "sum", "total", "total add up value", "sum value")), sum(values)
    elif kind < 0.72:
        word, number = rng.choice(("average", "average", "average value", "mean")), sum(values) / len(values)
    elif kind < 0.93:
        word, number = rng.choice(("median", "median value")), median(values)
    elif len(values) == 2:
        word, number = "product", values[0] * values[1]
    else:
        return None
    plain = asker.table.figures.derived(number) if kind >= 0.72 and kind < 0.93 and len(values) % 2 else None
    return Term(f"{word} of {text}", number, tuple(cells), plain)


def some_term(asker: Asker, simple: bool) -> Term | None:
    """A number to reckon or compare with."""
    draw = asker.rng.random()
    if draw < 0.35:
        cell = asker.some_cell()
        return None if cell is None or asker.table.kind == "scatter" else only(asker, cell)
    if draw < 0.75 or simple:
        return extreme(asker) if asker.rng.random() < 0.8 else placed(asker)
    return reckoned(asker)


def say_number(asker: Asker, number: float, decimals: int = 2) -> str:
    """A worked out number, to two decimals at most."""
    return asker.table.figures.derived(number, decimals)


def put(asker: Asker, kind: str, text: str, gold: str, sentence: str, cells: Sequence[Cell], unit: bool = True) -> None:
    """Adds a question in its own words; `unit`: the answer counts in the chart's unit."""
    fields = {"m": ""}
    clean = text.replace("{", "(").replace("}", ")")
    short = asker.spoken(gold) if unit else gold
    asker.ask(kind, (clean,), fields | {"x": ""}, gold, sentence, tuple(dict.fromkeys(cells)), True, short)
