"""The visual styles that charts of the wild come in, and the random choices inside each.

Sizes are logical pixels, 560 of which are a canvas of the bundled model wide: an 800 x 557 picture, 560 x 390 of them,
has its 11 px text at 7.7.
"""

import random
from dataclasses import dataclass

from train.pretrain.charts.drawing.canvas import Colour
from train.pretrain.charts.drawing.palettes import SWATCHES

STYLES = {"statista": 34, "pew": 15, "owid": 13, "oecd": 8, "matplotlib": 12, "spreadsheet": 13, "slides": 9}


@dataclass(slots=True)
class Style:
    """One chart's style. Sizes are logical pixels, colours are bytes.

    legend: top, bottom, right, inside or direct (names beside the lines); swatch: square, dot or line; grid: solid,
    dashed or none; value_axis: whether the value axis has numbers even where labels are printed; label_inside: value
    labels lie inside the bars; each_colour: bars of one series have a colour each; turn: degrees of category names
    that do not fit; colours: (colour, its name) in order of use; rules: lines above and below everything; heads:
    series names stand over the segments of the first row; edge: lines reach from edge to edge of the plot. What
    only lessons have (`likeness`): sided: bars on both sides of a line; dots: level values are dots on a line;
    sections: rows of a survey in sections; statements: long names of real words; inline: names on the lines;
    inside_slices: names and values inside a pie; crowded: many lines; spotlight: one bar in another colour; places:
    countries compared; few: two to seven bars."""

    name: str
    width: int
    height: int
    background: Colour
    panel: Colour | None
    ink: Colour
    muted: Colour
    grid_colour: Colour
    grid: str
    vertical_grid: bool
    title_font: str
    font: str
    bold: str
    italic: str
    title_size: float
    size: float
    label_size: float
    small_size: float
    title_anchor: str
    legend: str
    swatch: str
    colours: list[tuple[Colour, str]]
    each_colour: bool
    label_bold: bool
    label_inside: bool
    labelled_share: float
    separator: str
    bar_fill: float
    axis_line: bool
    left_line: bool
    tick_marks: bool
    value_axis: bool
    axis_right: bool
    axis_titles: bool
    frame: bool
    bands: bool
    turn: int
    turned_labels: bool
    line_width: float
    marker: float
    hollow: bool
    stepped: bool
    title_shown: bool
    subtitle_shown: bool
    notes_shown: bool
    names_above: bool
    names_left: bool
    names_bold: bool = False
    rules: bool = False
    logo: bool = False
    coloured_labels: bool = False
    heads: bool = False
    edge: bool = False
    long_ticks: bool = False
    boxed_names: bool = False
    sided: bool = False
    dots: bool = False
    sections: bool = False
    statements: bool = False
    inline: bool = False
    inside_slices: bool = False
    crowded: bool = False
    spotlight: bool = False
    places: bool = False
    few: bool = False


def shade(rng: random.Random, low: int, high: int) -> Colour:
    """A gray between two brightnesses."""
    level = rng.randint(low, high)
    return level, level, level


def choose_style(rng: random.Random, kind: str, name: str | None = None) -> Style:
    """A style (of `name`, where given) for a chart of `kind` (`scene.GeneratedChart.kind`), every choice made."""
    name = name or rng.choices(list(STYLES), list(STYLES.values()))[0]
    if (name == "pew" and kind in ("scatter", "area", "donut")) or (name == "oecd" and kind in ("pie", "donut")):
        name = "statista" if rng.random() < 0.5 else "spreadsheet"
    look = plain_style(rng)
    look.name = name
    {
        "statista": statista,
        "pew": pew,
        "owid": owid,
        "oecd": oecd,
        "matplotlib": matplotlib,
        "spreadsheet": spreadsheet,
        "slides": slides,
    }[name](rng, look, kind)
    if look.legend == "direct" and kind != "line":
        look.legend = "top"
    if kind in ("line", "scatter", "area"):
        look.label_inside = False
    return look


def plain_style(rng: random.Random) -> Style:
    """What all looks start from; each overrides what makes it."""
    size = rng.choice((7.5, 7.5, 8, 8, 8, 8.5, 9, 9, 9.5, 10, 11, 12))
    family = rng.choice(("HarbourSans", "HarbourSans", "OpenSans", "Roboto", "DejaVuSans", "Meadow", "RobotoCondensed"))
    palette = SWATCHES[rng.choice(list(SWATCHES))]
    return Style(
        name="",
        width=560,
        height=420,
        background=(255, 255, 255),
        panel=None,
        ink=shade(rng, 0, 90),
        muted=shade(rng, 90, 140),
        grid_colour=shade(rng, 205, 235),
        grid=rng.choice(("solid", "solid", "dashed", "none")),
        vertical_grid=False,
        title_font=f"{family}-Bold",
        font=f"{family}-Regular",
        bold=f"{family}-Bold",
        italic="HarbourSerif-Italic",
        title_size=size + rng.choice((1, 2, 3, 4, 5)),
        size=size,
        label_size=size,
        small_size=max(6.5, size - rng.choice((0.5, 1, 1.5))),
        title_anchor=rng.choice("lm"),
        legend=rng.choice(("top", "bottom", "bottom", "right", "inside")),
        swatch=rng.choice(("square", "dot", "square")),
        colours=palette,
        each_colour=rng.random() < 0.12,
        label_bold=rng.random() < 0.3,
        label_inside=rng.random() < 0.15,
        labelled_share=0.6,
        separator=rng.choice((",", ",", ",", " ", "")),
        bar_fill=rng.uniform(0.45, 0.85),
        axis_line=rng.random() < 0.8,
        left_line=rng.random() < 0.35,
        tick_marks=rng.random() < 0.3,
        value_axis=rng.random() < 0.7,
        axis_right=False,
        axis_titles=rng.random() < 0.5,
        frame=False,
        bands=False,
        turn=rng.choice((45, 45, 30, 60, 90)),
        turned_labels=rng.random() < 0.25,
        line_width=rng.choice((1.2, 1.5, 2, 2.5)),
        marker=rng.choice((0, 0, 1.8, 2.2, 2.6, 3)),
        hollow=rng.random() < 0.15,
        stepped=False,
        title_shown=True,
        subtitle_shown=rng.random() < 0.3,
        notes_shown=rng.random() < 0.35,
        names_above=False,
        names_left=False,
    )


def shuffled(rng: random.Random, look: Style, *names: str, share: float = 0.6) -> None:
    """Takes one of the palettes, in its own order or (with probability `share`) in another."""
    colours = list(SWATCHES[rng.choice(names)])
    if rng.random() < share:
        rng.shuffle(colours)
    look.colours = colours


def statista(rng: random.Random, look: Style, kind: str) -> None:
    """No title; bold labels at the ends, small gray text, an axis title, a column of icons at the right."""
    look.width, look.height = 560, rng.choice((390, 390, 390, 390, 380, 400, 418, 330))
    if rng.random() < 0.1:
        look.width, look.height = rng.choice(((420, 520), (420, 470), (420, 555), (400, 420)))
    look.size = rng.choice((7.2, 7.5, 7.5, 7.7, 8, 8.3))
    look.label_size, look.small_size = look.size, look.size
    family = rng.choice(("OpenSans", "OpenSans", "HarbourSans", "DejaVuSans", "Roboto"))
    look.font, look.bold, look.title_font = f"{family}-Regular", f"{family}-Bold", f"{family}-Bold"
    look.ink, look.muted, look.grid_colour, look.grid = (
        shade(rng, 70, 110),
        (90, 90, 90),
        (230, 230, 230),
        rng.choice(("solid", "dashed")),
    )
    look.colours = list(SWATCHES["statista"])
    look.each_colour, look.label_bold, look.label_inside, look.labelled_share = False, True, False, 0.93
    look.legend, look.swatch, look.title_shown, look.subtitle_shown = "bottom", "dot", rng.random() < 0.06, False
    look.notes_shown, look.value_axis, look.axis_titles, look.bands = True, True, True, rng.random() < 0.8
    look.vertical_grid, look.left_line, look.axis_line, look.tick_marks = (
        False,
        kind in ("hbar", "grouped_h", "stacked_h"),
        True,
        False,
    )
    look.separator, look.bar_fill, look.turn = (
        rng.choice((" ", " ", ",", ",")),
        rng.uniform(0.55, 0.78),
        rng.choice((45, 45, 60, 30)),
    )
    look.marker, look.line_width, look.hollow = rng.choice((1.8, 2.2, 2.5)), rng.choice((1.5, 2)), False


def pew(rng: random.Random, look: Style, kind: str) -> None:
    """A narrow picture: bold headline, italic "% who say", labels in or at the bars, no axis, a source below."""
    tall = rng.random() < 0.75
    look.width = rng.randint(290, 420) if tall else rng.randint(380, 560)
    look.height = min(560, max(260, round(look.width * rng.uniform(1.0, 1.6)))) if tall else rng.randint(260, 420)
    if not tall:
        look.width = max(look.width, look.height)
    family = rng.choice(("HarbourSans", "HarbourSans", "OpenSans", "RobotoCondensed", "Meadow"))
    look.size = rng.choice((8, 8.5, 9, 9.5, 10, 11, 12, 13))
    look.rules, look.coloured_labels, look.heads = rng.random() < 0.7, rng.random() < 0.55, rng.random() < 0.4
    look.font, look.bold, look.title_font, look.label_size = (
        f"{family}-Regular",
        f"{family}-Bold",
        f"{family}-Bold",
        look.size,
    )
    look.title_size, look.small_size = (
        look.size + rng.choice((1.5, 2, 3, 4)),
        max(6.8, look.size - rng.choice((1, 1.5, 2))),
    )
    look.italic = rng.choice(("HarbourSerif-Italic", "HarbourSerif-Italic", "HarbourSans-Italic"))
    look.ink, look.muted, look.grid = shade(rng, 20, 60), shade(rng, 110, 140), "none"
    shuffled(rng, look, "pew_gold", "pew_blue", "pew_green", "pew_navy", "economist", share=0.3)
    look.title_anchor, look.title_shown, look.subtitle_shown, look.notes_shown = "l", True, rng.random() < 0.92, True
    look.legend, look.swatch, look.labelled_share = (
        rng.choice(("top", "top", "top", "direct", "right")),
        rng.choice(("square", "square", "dot")),
        0.94,
    )
    look.label_inside, look.label_bold, look.value_axis, look.axis_titles = (
        rng.random() < 0.35,
        rng.random() < 0.2,
        rng.random() < 0.2,
        False,
    )
    look.axis_line, look.left_line, look.bands, look.frame = True, rng.random() < 0.6, False, False
    look.bar_fill, look.each_colour = rng.uniform(0.55, 0.85), False
    look.hollow, look.marker, look.line_width = rng.random() < 0.5, rng.choice((2, 2.5, 3)), rng.choice((1.5, 2))
    look.names_left = rng.random() < 0.25


def owid(rng: random.Random, look: Style, kind: str) -> None:
    """A serif headline, a long subtitle, lines named at their right end, dashed grid lines, source and licence."""
    look.width, look.height = 560, rng.choice((395, 395, 395, 380, 410))
    if rng.random() < 0.12:
        look.width, look.height = 420, rng.randint(430, 560)
    family = rng.choice(("HarbourSans", "HarbourSans", "OpenSans", "Meadow"))
    look.size = rng.choice((7.5, 8, 8, 8.5, 9, 9.5))
    look.font, look.bold, look.title_font = (
        f"{family}-Regular",
        f"{family}-Bold",
        rng.choice(("HarbourSerif-Regular", "HarbourSerif-Regular", "DejaVuSerif-Regular", "HarbourSerif-Bold")),
    )
    look.title_size, look.label_size, look.small_size = (
        look.size + rng.choice((4, 5, 6)),
        look.size,
        max(6.5, look.size - 1),
    )
    look.ink, look.muted, look.grid_colour, look.grid = (
        shade(rng, 60, 90),
        shade(rng, 95, 125),
        (218, 218, 218),
        "dashed",
    )
    shuffled(rng, look, "owid", "owid", "owid2", "owid_bars" if kind == "hbar" else "owid")
    look.title_anchor, look.subtitle_shown, look.notes_shown, look.axis_titles = (
        "l",
        rng.random() < 0.85,
        True,
        rng.random() < 0.1,
    )
    look.legend, look.swatch = rng.choice(("direct", "direct", "direct", "right", "top")), "square"
    look.each_colour, look.label_bold, look.label_inside = rng.random() < 0.45, False, False
    look.labelled_share = 0.85 if kind in ("hbar", "stacked_h", "grouped_h") else 0.1
    look.axis_line, look.left_line, look.value_axis, look.vertical_grid = True, False, True, True
    look.marker, look.line_width, look.bar_fill = (
        rng.choice((0, 1.2, 1.5, 1.5, 2)),
        rng.choice((1.2, 1.5)),
        rng.uniform(0.65, 0.85),
    )
    look.logo, look.names_bold, look.edge, look.long_ticks = (
        rng.random() < 0.85,
        rng.random() < 0.4,
        rng.random() < 0.75,
        rng.random() < 0.5,
    )


def oecd(rng: random.Random, look: Style, kind: str) -> None:
    """A tinted plot under a bold title with a unit beside it; small text; bars of many colours or thin lines."""
    look.width, look.height = 560, rng.choice((330, 330, 300, 350, 370, 395, 260))
    family = rng.choice(("HarbourSans", "Roboto", "OpenSans", "HarbourSans"))
    look.size = rng.choice((7, 7.5, 8, 8.5, 9))
    look.font, look.bold = f"{family}-Regular", f"{family}-Bold"
    look.title_font, look.title_size = (
        rng.choice((look.bold, "HarbourSerif-Bold", "DejaVuSerif-Regular")),
        look.size + rng.choice((1, 2, 3)),
    )
    look.label_size, look.small_size = look.size, max(6.5, look.size - 1)
    look.panel = rng.choice(((234, 242, 249), (222, 234, 242), (240, 244, 248), None))
    look.grid_colour, look.grid = (255, 255, 255) if look.panel else (210, 215, 220), "solid"
    shuffled(rng, look, "oecd", "oecd_bars", "oecd_bars")
    look.title_anchor, look.subtitle_shown, look.notes_shown, look.axis_titles = (
        "l",
        rng.random() < 0.8,
        rng.random() < 0.5,
        False,
    )
    look.each_colour, look.labelled_share, look.value_axis = rng.random() < 0.5, 0.35, True
    look.legend, look.swatch = rng.choice(("top", "bottom", "right", "direct")), rng.choice(("line", "dot", "square"))
    look.axis_line, look.marker, look.line_width = (
        rng.random() < 0.6,
        rng.choice((0, 1.5, 2, 2.5)),
        rng.choice((1.2, 1.5, 2)),
    )
    look.turn, look.separator, look.edge = rng.choice((45, 45, 90)), rng.choice((" ", " ", ",")), rng.random() < 0.6
    look.boxed_names = look.legend == "direct" and rng.random() < 0.7


def matplotlib(rng: random.Random, look: Style, kind: str) -> None:
    """The library's default: a black frame, tick marks, centred title; sometimes a seaborn or ggplot style."""
    look.width, look.height = rng.choice(
        ((560, 420), (560, 420), (560, 336), (560, 280), (420, 420), (420, 525), (500, 400))
    )
    family = rng.choice(("DejaVuSans", "DejaVuSans", "DejaVuSans", "HarbourSans"))
    look.size = rng.choice((7.5, 8, 9, 9, 10, 11, 12))
    look.font, look.bold, look.title_font = (
        f"{family}-Regular",
        f"{family}-Bold",
        f"{family}-{rng.choice(('Regular', 'Regular', 'Bold'))}",
    )
    look.title_size, look.label_size, look.small_size = (
        look.size * rng.choice((1.2, 1.2, 1.4)),
        max(7, look.size - rng.choice((0, 0, 1))),
        look.size,
    )
    look.ink, look.separator, look.title_anchor = (0, 0, 0), rng.choice(("", "", ",")), "m"
    shuffled(rng, look, "tableau", "tableau", "seaborn", "set2", "set1", "pastel", share=0.25)
    look.legend, look.swatch, look.labelled_share = (
        rng.choice(("inside", "inside", "right", "top")),
        "line" if kind == "line" else "square",
        0.4,
    )
    look.axis_titles, look.value_axis, look.subtitle_shown, look.notes_shown = rng.random() < 0.85, True, False, False
    style = rng.random()
    look.frame, look.tick_marks, look.axis_line, look.left_line = style < 0.7, style < 0.75, True, True
    look.grid, look.vertical_grid = rng.choice(("none", "none", "solid", "dashed")), rng.random() < 0.6
    if style > 0.8:
        look.panel, look.grid_colour, look.grid, look.vertical_grid = (
            rng.choice(((234, 234, 242), (229, 229, 229))),
            (255, 255, 255),
            "solid",
            True,
        )
        look.axis_line, look.left_line = False, False
    look.bar_fill, look.edge = rng.choice((0.8, 0.8, 0.6, 0.7)), rng.random() < 0.5


def spreadsheet(rng: random.Random, look: Style, kind: str) -> None:
    """Excel's and Sheets' defaults: gray text, level grid lines, legend below or at the right."""
    look.width, look.height = rng.choice(
        ((560, 336), (560, 350), (480, 288), (560, 400), (420, 420), (560, 260), (420, 540), (500, 380))
    )
    family = rng.choice(("Meadow", "Meadow", "HarbourSans", "Roboto", "OpenSans"))
    look.size = rng.choice((7.5, 8, 8.5, 9, 9.5, 10, 11)) + (1 if family == "Meadow" else 0)
    look.font, look.bold, look.title_font = (
        f"{family}-Regular",
        f"{family}-Bold",
        f"{family}-{rng.choice(('Regular', 'Bold'))}",
    )
    look.title_size, look.label_size, look.small_size = (
        look.size + rng.choice((2, 3, 4, 5)),
        look.size,
        max(6.8, look.size - 1),
    )
    look.ink = shade(rng, 50, 100)
    shuffled(rng, look, "excel", "excel", "excel03", "sheets", "sheets2", share=0.2)
    look.grid, look.grid_colour, look.title_anchor = "solid", shade(rng, 210, 225), rng.choice("mml")
    look.legend, look.labelled_share = rng.choice(("bottom", "bottom", "right", "top")), 0.5
    look.frame, look.axis_titles, look.subtitle_shown, look.notes_shown = (
        False,
        rng.random() < 0.35,
        False,
        rng.random() < 0.1,
    )
    look.title_shown = rng.random() < 0.88
    look.bar_fill, look.label_inside = rng.choice((0.4, 0.45, 0.6, 0.7, 0.8)), rng.random() < 0.12


def slides(rng: random.Random, look: Style, kind: str) -> None:
    """Large text for a wall, few lines, sometimes a tinted or dark background."""
    look.width, look.height = rng.choice(((560, 315), (560, 315), (560, 420), (560, 350), (420, 500)))
    look.size = rng.choice((9, 10, 11, 11, 12, 13))
    look.label_size, look.title_size = look.size + rng.choice((0, 0, 1)), look.size + rng.choice((3, 4, 6, 8))
    look.small_size = max(7, look.size - 2)
    tone = rng.random()
    if tone < 0.25:
        look.background, look.ink, look.muted, look.grid_colour = rng.choice(
            (
                ((32, 38, 50), (240, 240, 240), (190, 195, 205), (80, 88, 100)),
                ((18, 18, 18), (235, 235, 235), (170, 170, 170), (70, 70, 70)),
            )
        )
        shuffled(rng, look, "pastel", "set2", "sheets2")
    elif tone < 0.6:
        look.background = rng.choice(
            ((253, 246, 227), (238, 243, 248), (246, 246, 246), (232, 240, 232), (250, 240, 235))
        )
        shuffled(rng, look, "slides", "dark", "economist", "seaborn")
    look.grid, look.labelled_share, look.value_axis = (
        rng.choice(("none", "none", "solid", "dashed")),
        0.75,
        rng.random() < 0.4,
    )
    look.legend, look.axis_titles, look.label_bold = (
        rng.choice(("top", "bottom", "right")),
        rng.random() < 0.2,
        rng.random() < 0.5,
    )
    look.bar_fill, look.line_width = rng.uniform(0.5, 0.8), rng.choice((2, 2.5, 3, 3.5))
