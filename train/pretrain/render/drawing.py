"""The chart of a given table, refused where it could not be read."""

import random
from collections import Counter
from itertools import combinations

from train.pretrain.charts import SHARP, draw_chart, fit_height
from train.pretrain.charts.drawing import likeness
from train.pretrain.charts.drawing.canvas import Canvas
from train.pretrain.charts.drawing.frames import Plot
from train.pretrain.charts.drawing.palettes import SWATCHES
from train.pretrain.charts.drawing.styles import Style, choose_style
from train.pretrain.charts.tables.figures import UNITS, Figures
from train.pretrain.charts.tables.measures import Measure
from train.pretrain.charts.tables.table import Table
from train.pretrain.charts.tables.values import CHARACTER, label_fits
from train.pretrain.charts.words.coining import Vocabulary
from train.pretrain.charts.words.headlines import capital, write_headline
from train.pretrain.render.given import LOOKS, LeftOut
from train.pretrain.render.parsing import Given

TALLEST, WIDEST = 900, 820.0  # logical pixels
LEAST_TEXT = 7  # pixels of the smallest letters' size: what is smaller cannot be read


def table_of(rng: random.Random, given: Given, kind: str, look: str) -> Table:
    """The generator's table of a given one."""
    one_name = given.names[0] if len(given.names) == 1 and given.publisher != "OWID" else ""
    said = one_name or given.title or ("Share" if given.percent else "Number")
    measure = Measure(said[:70], "percent" if given.percent else "count", "thing")
    separators = {"statista": (" ", " ", ","), "oecd": (" ", ",")}.get(look)
    separator = rng.choice(separators) if separators else ","
    sign = "%" if given.percent else ""
    noun, plural = ("year", "years") if given.time else ("group", "groups")
    if look != "statista" and not given.time:
        noun, plural = "country", "countries"
    return Table(
        kind=kind,
        measure=measure,
        unit=UNITS[measure.unit],
        figures=Figures(given.decimals, True, separator, "", sign, "", sign, "", sign),
        categories=list(given.categories),
        noun=noun,
        plural=plural,
        about="time" if given.time else "thing",
        series=[capital(name) for name in given.names],
        series_noun="series",
        values=[list(row) for row in given.values],
        labelled=True,
        readable=False,
    )


def overlaps(canvas: Canvas) -> bool:
    """Whether two printed texts cover each other by more than an eighth of the smaller one."""
    for a, b in combinations(canvas.boxes, 2):
        wide, high = min(a[2], b[2]) - max(a[0], b[0]) - 1.0, min(a[3], b[3]) - max(a[1], b[1]) - 2.0
        if wide > 0 and high > 0:
            smaller = min((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
            if wide * high > 0.12 * smaller:
                return True
    return False


def choose_look(
    rng: random.Random, given: Given, table: Table, name: str, plain_colours: bool, words: set[str]
) -> Style:
    """A look of the publisher without what the table does not say: sections, a highlight, a title of its own."""
    kind = table.kind
    look = choose_style(rng, kind, name)
    likeness.dress(rng, look, kind)
    look.sections = look.statements = look.crowded = look.spotlight = False
    if words & {"bar", "segment"} or not given.whole:
        look.dots = False
    if len(table.series) != 2 or not given.whole or given.time or "upright" in words:
        look.sided = False
    if name == "statista":
        look.title_shown = False
        if plain_colours:
            look.colours = list(SWATCHES["statista"])
    needed = len(table.series) if kind != "pie" else len(table.categories)
    if len({tuple(colour) for colour, _ in look.colours}) < needed:
        look.colours = list(SWATCHES["statista" if name == "statista" else "oecd"])
    return look


def make_room(rng: random.Random, table: Table, look: Style) -> None:
    """Sets the picture's size, and whether figures are printed. Raises LeftOut where they have to be and do not fit."""
    kind, name = table.kind, look.name
    grouped_rows = kind == "grouped_h" and not (look.sided or look.dots)
    rows = len(table.categories) * (len(table.series) if grouped_rows else 1)
    fit_height(rng, table, look)
    if kind in ("hbar", "grouped_h", "stacked_h"):
        needed = rows * look.size * (1.45 if kind == "grouped_h" else 1.7) + 110
        look.height = min(TALLEST, max(look.height, round(needed)))
    known = [abs(cell) for row in table.values for cell in row if cell is not None]
    largest = max(known, key=lambda cell: len(table.figures.printed(cell)))
    printed = name == "statista" or (kind != "line" and (name == "owid" or rng.random() < 0.35))
    table.labelled = printed and (kind == "line" or label_fits(table, look, largest))
    if printed and not table.labelled and kind in ("bar", "grouped", "stacked"):
        look.turned_labels = kind == "bar"
        length = len(table.figures.printed(largest)) * CHARACTER * look.label_size
        needed = length * rows * (len(table.series) if kind == "grouped" else 1)
        look.width = round(min(WIDEST, max(look.width, needed + 80)))
        table.labelled = label_fits(table, look, largest)
    if printed and not table.labelled:
        if kind != "stacked_h" or look.sided:
            raise LeftOut("of tables whose figures do not fit")
        table.labelled = True  # `check` looks at what does not fit
    if not table.labelled or kind == "line":
        look.value_axis = True


def name_chart(table: Table, given: Given, look: Style) -> None:
    """OECD's and OWID's charts have the title that their table has; Statista's have none."""
    if look.name == "statista":
        return
    table.title = given.title
    if table.kind == "line" and len(table.series) == 1 and given.names[0] != given.title:
        table.title = ", ".join(part for part in (given.title, given.names[0]) if part)
    if look.name == "owid":
        table.subtitle = ""


def check(plot: Plot, density: float) -> None:
    """Raises LeftOut for a chart with texts outside, over each other or missing."""
    canvas, table, kind = plot.canvas, plot.table, plot.table.kind
    wide, high = canvas.size
    slack = 3 * density
    for text in canvas.texts:
        x0, y0, x1, y1 = text.box
        if text.role != "ornament" and (x0 < -slack or y0 < -slack or x1 > wide + slack or y1 > high + slack):
            raise LeftOut("of tables whose names do not fit")
    if overlaps(canvas):
        raise LeftOut("of tables whose names and figures would cover each other")
    roles = Counter(text.role for text in canvas.texts)
    if kind != "line" and roles["category"] < len(table.categories):
        raise LeftOut("of tables whose names do not fit")
    if len(table.series) > 1 and roles["series"] < len(table.series):
        raise LeftOut("of tables whose names do not fit")
    shown = sum(mark.shown is not None for mark in plot.marks) / len(plot.marks)
    least = 0.75 if kind in ("stacked", "stacked_h") else 0.97
    if table.labelled and kind != "line" and not plot.look.dots and shown < least:
        raise LeftOut("of tables whose figures do not fit")


def draw(rng: random.Random, given: Given, kind: str, plain_colours: bool, words: set[str]) -> Plot:
    """The plot of a table; plain_colours: in Statista's usual order. Raises LeftOut where it could not be read."""
    name = LOOKS[given.publisher]
    table = table_of(rng, given, kind, name)
    look = choose_look(rng, given, table, name, plain_colours, words)
    make_room(rng, table, look)
    if look.sided and look.heads:
        look.legend = "heads"
    write_headline(rng, table, look, Vocabulary(False, 0.0))
    name_chart(table, given, look)
    density = max(likeness.density(rng, look.name, SHARP), LEAST_TEXT / look.size)
    plot = draw_chart(rng, table, look, density)
    check(plot, density)
    return plot
