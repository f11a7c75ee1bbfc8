"""Level bars: one series, grouped or stacked."""

from dataclasses import dataclass

from train.pretrain.charts.drawing.canvas import Colour, Font, darker, readable_on
from train.pretrain.charts.drawing.frames import SECTION_GAP, Plot, Scale, make_scale, row_middles
from train.pretrain.charts.kinds.columns import SMALLEST_LABEL, colour_of, extent
from train.pretrain.charts.kinds.sided import draw_dots
from train.pretrain.scene import Box


@dataclass(slots=True)
class Rows:
    """Where level bars go. beside: the x where their names end; above: names stand over their bars instead; names:
    the lines of each; numbers: the value axis has numbers, at the top where `on_top`; heads: series names stand over
    the first row."""

    box: Box
    scale: Scale
    beside: float
    above: bool
    names: list[list[str]]
    name_font: Font
    label_font: Font
    numbers: bool
    on_top: bool
    heads: bool


def draw_upright_grid(plot: Plot, box: Box, scale: Scale, numbers: bool, top_numbers: bool) -> None:
    """Vertical grid lines and the value axis' numbers, for a level chart."""
    canvas, look, figures = plot.canvas, plot.look, plot.table.figures
    left, top, right, bottom = box
    if look.panel:
        canvas.rectangle(box, look.panel)
    if look.bands:
        slot = (bottom - top) / len(plot.table.categories)
        for index in range(1, len(plot.table.categories), 2):
            canvas.rectangle((left, top + slot * index, right, top + slot * (index + 1)), (250, 250, 250))
    font = plot.font()
    last = -1e9
    for tick in scale.ticks if numbers else ():
        x = left + (right - left) * scale.share(tick)
        if look.grid == "solid":
            canvas.line(((x, top), (x, bottom)), look.grid_colour, 0.8)
        elif look.grid == "dashed":
            canvas.dashes((x, top), (x, bottom), look.grid_colour, 0.8, 2.5)
        label = figures.tick(tick, scale.decimals)
        half = font.width(label) / 2
        if x - half < last + 4:
            continue
        last = x + half
        at = min(x, canvas.width - half - 2)
        canvas.text(
            at, top - 5 if top_numbers else bottom + 4, label, font, look.ink, "mb" if top_numbers else "mt", "tick"
        )


def plan_rows(plot: Plot, area: Box) -> Rows:
    """Names, fonts, value axis and plot box of level bars in `area`; draws the axis title."""
    canvas, look, table, rng = plot.canvas, plot.look, plot.table, plot.rng
    left, top, right, bottom = area
    stacked, series = table.kind == "stacked_h", len(table.series)
    numbers = look.value_axis or not table.labelled or table.readable
    on_top = numbers and rng.random() < 0.06
    if numbers:
        bottom -= 0 if on_top else look.size * 1.5 + 3
        top += look.size * 1.5 if on_top else 0
        if look.axis_titles and table.axis_title:
            canvas.text(
                (left + right) / 2 + 30, area[3] - 3, table.axis_title, plot.font("small"), look.ink, "mb", "axis"
            )
            bottom -= look.size * 1.5
    heads = stacked and look.legend == "heads"
    top, bottom = top + 3 + (look.size * 2.8 if heads else 0), bottom - 2
    slot = (bottom - top) / (len(table.categories) + SECTION_GAP * len(table.starts))
    font = Font(look.bold, look.size) if look.names_bold else plot.font()
    if slot < font.size * 1.05:
        font = Font(font.name, max(6.0, slot / 1.05))
    above = look.names_above or (look.name == "pew" and slot > 3.2 * font.size and rng.random() < 0.15)
    lines = 1 if above else max(1, int(slot / (font.size * 1.2)))
    names = [font.wrap(name, 0.36 * (right - left), lines) for name in table.categories]
    labels = plot.font("label")
    if table.labelled and not stacked:
        labels = Font(labels.name, max(SMALLEST_LABEL, min(labels.size, slot / series * (0.98 if series > 1 else 1.2))))
    wide = max(labels.width(table.figures.printed(cell)) for row in table.values for cell in row if cell is not None)
    left += 9 + (0.0 if above else max(font.width(line) for lines in names for line in lines))
    beside = left - 5
    right -= 8
    if table.labelled and not stacked:
        right -= wide * 0.6 if numbers else wide + 2
    scale = row_scale(plot, right - left, numbers)
    if table.labelled and scale.low < 0:
        # The label of the longest negative bar goes between its end and the names.
        share = scale.share(extent(plot)[0])
        left += max(0.0, (wide + 8 - (right - left) * share) / (1 - share))
    if table.labelled and not stacked and scale.high > 0:
        right = min(right, left + (canvas.width - wide - 9 - left) / max(scale.share(extent(plot)[1]), 0.2))
    return Rows((left, top, right, bottom), scale, beside, above, names, font, labels, numbers, on_top, heads)


def row_scale(plot: Plot, width: float, numbers: bool) -> Scale:
    """The value axis of level bars, `width` px long."""
    table, rng = plot.table, plot.rng
    low, high = extent(plot)
    if table.full and table.kind == "stacked_h":
        scale = Scale(0.0, 100.0, [0, 20, 40, 60, 80, 100] if rng.random() < 0.6 else [0, 25, 50, 75, 100], 0)
    else:
        room = len(table.figures.tick(high, 0)) * plot.look.size * 0.6 + rng.uniform(20, 50)
        ticks = int(min(9, max(3, width / room)))
        scale = make_scale(rng, low, high, ticks, zero=True, tight=not numbers or rng.random() < 0.3)
    if not numbers:
        scale.high, scale.low = max(high, 0.0), min(low, 0.0)
    return scale


def draw_rows(plot: Plot, area: Box) -> None:
    """Level bars in `area`: kinds hbar, grouped_h, stacked_h."""
    canvas, look, table = plot.canvas, plot.look, plot.table
    rows = plan_rows(plot, area)
    scale, (left, top, right, bottom) = rows.scale, rows.box
    draw_upright_grid(plot, rows.box, scale, rows.numbers, rows.on_top)
    middles, slot = row_middles(top, bottom, len(table.categories), table.starts, 0.68 if rows.above else 0.5)
    fill = slot * (min(look.bar_fill, 0.52) if rows.above else look.bar_fill)
    zero_x = left + (right - left) * scale.share(0.0)
    for category, lines in enumerate(rows.names):
        middle = middles[category]
        if look.dots:
            draw_dots(plot, rows.box, rows.scale, rows.label_font, category, middle, fill)
        else:
            draw_row(plot, rows, category, middle - fill / 2, fill)
        if rows.above:
            canvas.text(left, middle - fill / 2 - 3, " ".join(lines), rows.name_font, look.ink, "lb", "category")
        elif look.names_left:
            canvas.lines(area[0] + 4, middle, lines, rows.name_font, look.ink, "lm", "category")
        else:
            canvas.lines(rows.beside, middle, lines, rows.name_font, look.ink, "rm", "category")
    if rows.heads:
        write_heads(plot, left, right, scale, top - 3)
    if look.left_line or scale.low < 0:
        canvas.line(((zero_x, top), (zero_x, bottom)), look.ink, 0.9)
    if look.frame:
        canvas.line(((left, top), (right, top), (right, bottom), (left, bottom), (left, top)), look.ink, 0.8)


def draw_row(plot: Plot, rows: Rows, category: int, top: float, fill: float) -> None:
    """The bars or segments of one category, from height `top` on, `fill` px high in all, with their labels."""
    table, scale = plot.table, rows.scale
    left, _, right, _ = rows.box
    stacked, series = table.kind == "stacked_h", len(table.series)
    each = fill if stacked else fill / series
    gap = 1 if each > 6 and series > 1 and not stacked else 0
    base = 0.0
    for index in range(series):
        value = table.values[index][category]
        if value is None:
            continue
        y = top + (0 if stacked else each * index)
        foot = left + (right - left) * scale.share(base)
        x = left + (right - left) * scale.share(base + value)
        colour = colour_of(plot, category, index)
        plot.canvas.rectangle((min(foot, x), y, max(foot, x), y + each - gap), colour)
        bar = (foot, y, x, y + each - gap)
        shown = None
        if table.labelled:
            shown = label_row(plot, bar, table.figures.printed(value), rows.label_font, colour, stacked)
        anchor = ((foot + x) / 2 if stacked else x, (bar[1] + bar[3]) / 2)
        plot.mark(category, index, shown, bar, anchor, value / (scale.high - scale.low))
        if stacked:
            base += value


def write_heads(plot: Plot, left: float, right: float, scale: Scale, y: float) -> None:
    """Series names over the segments of the first row, each in its colour, pushed apart sideways."""
    canvas, table = plot.canvas, plot.table
    font = plot.font()
    base, reach = 0.0, left - 6
    for index, name in enumerate(table.series):
        value = table.values[index][0] or 0.0
        middle = left + (right - left) * scale.share(base + value / 2)
        base += value
        lines = font.wrap(name, 40, 2)
        half = max(map(font.width, lines)) / 2
        middle = min(max(middle, reach + half + 4), canvas.width - half - 2)
        reach = middle + half
        colour = plot.colours[index % len(plot.colours)][0]
        canvas.lines(middle, y, lines, font, darker(colour), "mb", "series")


def label_row(plot: Plot, bar: Box, label: str, font: Font, colour: Colour, stacked: bool) -> str | None:
    """Prints a value at or in a level bar, which ends at `bar[2]`; None where there is no room."""
    canvas, look = plot.canvas, plot.look
    foot, y0, end, y1 = bar
    middle, wide = (y0 + y1) / 2, font.width(label)
    if stacked:
        if wide > end - foot - 1 or font.size > (y1 - y0) * 1.35:
            return None
        canvas.text((foot + end) / 2, middle, label, font, readable_on(colour), "mm", "value")
        return label
    if end < foot:
        canvas.text(end - 4, middle, label, font, look.ink, "rm", "value")
        return label
    if look.label_inside and end - foot > wide + 8 and font.size < (y1 - y0) * 1.2:
        canvas.text(end - 4, middle, label, font, readable_on(colour), "rm", "value")
        return label
    canvas.text(end + 4, middle, label, font, look.ink, "lm", "value")
    return label
