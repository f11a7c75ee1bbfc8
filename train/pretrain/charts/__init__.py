"""Generated charts: one call makes a picture, its table, the place of every mark and text, and questions about it."""

import random
from typing import Literal, cast, get_args

from train.pretrain.charts.drawing import likeness
from train.pretrain.charts.drawing.canvas import Canvas, Colour
from train.pretrain.charts.drawing.frames import SECTION_GAP, Plot, draw_header, draw_legend, draw_notes
from train.pretrain.charts.drawing.styles import Style, choose_style
from train.pretrain.charts.kinds.bars import draw_rows
from train.pretrain.charts.kinds.columns import draw_columns
from train.pretrain.charts.kinds.lines import draw_lines, draw_scatter
from train.pretrain.charts.kinds.pies import draw_pie
from train.pretrain.charts.kinds.sided import draw_sided
from train.pretrain.charts.questions.writing import write_questions
from train.pretrain.charts.tables.table import Table
from train.pretrain.charts.tables.topics import make_table
from train.pretrain.charts.words.coining import Vocabulary
from train.pretrain.charts.words.headlines import write_headline
from train.pretrain.layout import CANVASES
from train.pretrain.scene import GeneratedChart

Kind = Literal["bar", "hbar", "grouped", "grouped_h", "stacked", "stacked_h", "line", "area", "pie", "donut", "scatter"]
KINDS = dict(zip(get_args(Kind), (18, 18, 12, 6, 6, 9, 18, 2, 7, 2, 2), strict=True))
# More scattered points to learn from than people meet: they are the hardest to read.
LESSON_KINDS = KINDS | {"scatter": 5}
COINED = (0.3, 0.7, 0.9, 1.0, 1.0)  # shares of the names of a lesson that are coined
SHARP = CANVASES[0][0] / 560  # pixels per logical pixel at which a chart of full width is not resampled on its canvas


def make_chart(seed: int, held_out: bool = False, density: float | None = None, lesson: bool = True) -> GeneratedChart:
    """The chart of a seed; the same arguments give the same chart.

    held_out: names come from word lists that no other chart uses, and the seed is drawn from another space. lesson:
    most names of a chart that is not held out are coined, it is asked for more reckoning and always to count, and more
    lessons are scatter charts or have more than ten categories; without, it is made as a held-out chart is, but with
    the names that training knows. density: pixels drawn per logical pixel; the content does not depend on it. Left out,
    it is that of published pictures in most lessons (`likeness.density`), and otherwise between 0.7 and 2 for every
    third chart and SHARP for the rest, so that a reader meets resampled text too.
    """
    lesson = lesson and not held_out
    space = f"{'held-out' if held_out else 'training'} {seed}"
    rng = random.Random(space)
    kind = rng.choices(list(KINDS), list((LESSON_KINDS if lesson else KINDS).values()))[0]
    drawn = rng.choice((0.7, 0.8, 0.9, 1.0, 1.25, 1.43, 1.43, 1.43, 1.5, 1.7, 2.0)) if rng.random() < 0.34 else SHARP
    if lesson:
        dressing = random.Random(space + " likeness")
        name, kind = likeness.choose(dressing, kind)
        look = choose_style(rng, kind, name)
        likeness.dress(dressing, look, kind)
        drawn = likeness.density(random.Random(space + " density"), look.name, SHARP)
    else:
        look = choose_style(rng, kind)
    drawn = max(drawn, 7 / look.size)  # smaller text than 7 px nobody can read
    vocabulary = Vocabulary(held_out, random.Random(space + " names").choice(COINED) if lesson else 0.0)
    table = make_table(random.Random(space + " table"), kind, look, vocabulary, lesson)
    fit_height(rng, table, look)
    write_headline(random.Random(space + " words"), table, look, vocabulary)
    plot = draw_chart(random.Random(space + " drawing"), table, look, drawn if density is None else density)
    questions = write_questions(random.Random(space + " questions"), plot, lesson)
    return GeneratedChart(
        plot.canvas.finish(),
        cast(Kind, kind),
        look.name,
        table.title,
        table.categories,
        table.series,
        table.values,
        table.text(),
        any(mark.shown for mark in plot.marks),
        plot.canvas.texts,
        plot.marks,
        questions,
    )


def fit_height(rng: random.Random, table: Table, look: Style) -> None:
    """Most charts of level bars are as tall as their rows need; a pie is not much taller than wide."""
    rows = len(table.categories) * (
        len(table.series) if table.kind == "grouped_h" and not (look.sided or look.dots) else 1
    )
    rows += round(SECTION_GAP * len(table.starts))
    if table.kind in ("hbar", "grouped_h", "stacked_h") and rng.random() < (
        0.85 if look.name == "pew" else 0.35 if look.name != "statista" else 0.0
    ):
        row = look.size * rng.uniform(1.7, 3.0) * (0.75 if table.kind == "grouped_h" else 1.0)
        need = round(rows * row + 30 + look.size * (9 if look.name == "pew" else 6))
        look.height = min(look.height, max(need, round(look.width / 2.2)))
    elif table.kind in ("pie", "donut"):
        look.height = min(look.height, round(look.width * rng.uniform(0.75, 1.15)))


def choose_colours(rng: random.Random, table: Table, look: Style) -> tuple[list[tuple[Colour, str]], str]:
    """The colours in order of use, and whether they tell the series or the categories apart."""
    if table.kind in ("pie", "donut") or (
        len(table.series) == 1 and table.kind in ("bar", "hbar") and look.each_colour
    ):
        return look.colours, "category"
    if table.kind in ("bar", "hbar") and (rng.random() < 0.05 or look.spotlight):
        colours = [look.colours[0]] * len(table.categories)
        colours[rng.randrange(len(colours))] = look.colours[1]
        return colours, "category"
    return look.colours, "series"


def draw_chart(rng: random.Random, table: Table, look: Style, density: float) -> Plot:
    """Draws everything but the texts, which `Canvas.finish` adds."""
    smooth = 2 if density < 1.5 and table.kind in ("line", "area", "pie", "donut", "scatter") else 1
    canvas = Canvas(look.width, look.height, look.background, density, smooth)
    colours, coloured = choose_colours(rng, table, look)
    plot = Plot(canvas, table, look, rng, colours, coloured, [])
    area = (0.0 + 4, 4.0, look.width - 4.0, look.height - 4.0)
    area = draw_header(plot, area)
    area = draw_notes(plot, area)
    kind, headroom = table.kind, 0.0
    if look.name == "statista":
        area = (area[0] + rng.randint(0, 24), area[1] + rng.randint(2, 18), area[2] - rng.randint(0, 12), area[3])
    if (look.sided and look.heads) or (
        kind == "stacked_h"
        and look.heads
        and table.labelled
        and sum(bool(row[0]) for row in table.values) == len(table.series)
    ):
        look.legend = "heads"
    legend = kind in ("pie", "donut") and rng.random() < (0.75 if look.name in ("spreadsheet", "slides") else 0.3)
    if legend:
        area, _ = draw_legend(plot, area, table.categories, "category")
    elif (
        len(table.series) > 1
        and kind != "scatter"
        and look.legend != "heads"
        and not (look.legend == "direct" and kind == "line")
    ):
        area, headroom = draw_legend(plot, area, table.series, "series")
    if kind in ("bar", "grouped", "stacked"):
        draw_columns(plot, area, headroom)
    elif look.sided:
        draw_sided(plot, area)
    elif kind in ("hbar", "grouped_h", "stacked_h"):
        draw_rows(plot, area)
    elif kind in ("line", "area"):
        draw_lines(plot, area, headroom)
    elif kind == "scatter":
        draw_scatter(plot, area)
    else:
        draw_pie(plot, area, legend)
    return plot
