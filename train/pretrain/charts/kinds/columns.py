"""Upright bars, and the axes that they share with lines: one series, grouped or stacked."""

from train.pretrain.charts.drawing.canvas import Colour, Font, readable_on
from train.pretrain.charts.drawing.frames import (
    Plot,
    Scale,
    draw_inside_legend,
    draw_names,
    make_scale,
    plan_names,
)
from train.pretrain.scene import Box

SMALLEST_LABEL = 6.4


def extent(plot: Plot) -> tuple[float, float]:
    """The smallest and largest value that the value axis has to hold."""
    table = plot.table
    if table.kind in ("stacked", "stacked_h", "area"):
        sums = [sum(cell or 0.0 for cell in column) for column in zip(*table.values, strict=True)]
        return 0.0, max(sums)
    cells = [cell for row in table.values for cell in row if cell is not None]
    return min(cells), max(cells)


def colour_of(plot: Plot, category: int, series: int) -> Colour:
    """The colour of one cell's mark."""
    return plot.colours[(category if plot.coloured == "category" else series) % len(plot.colours)][0]


def draw_level_grid(plot: Plot, box: Box, scale: Scale, numbers: bool) -> None:
    """Horizontal grid lines and the value axis' numbers and line, for an upright chart."""
    canvas, look, figures = plot.canvas, plot.look, plot.table.figures
    left, top, right, bottom = box
    if look.panel:
        canvas.rectangle(box, look.panel)
    if look.bands:
        slot = (right - left) / len(plot.table.categories)
        for index in range(0, len(plot.table.categories), 2):
            canvas.rectangle((left + slot * index, top, left + slot * (index + 1), bottom), (250, 250, 250))
    font = plot.font()
    for tick in scale.ticks if numbers else ():
        y = bottom - (bottom - top) * scale.share(tick)
        if look.grid == "solid":
            canvas.line(((left, y), (right, y)), look.grid_colour, 0.8)
        elif look.grid == "dashed":
            canvas.dashes((left, y), (right, y), look.grid_colour, 0.8, 2.5)
        if look.tick_marks:
            canvas.line(((left - 3, y), (left, y)), look.ink, 0.8)
        label = figures.tick(tick, scale.decimals)
        if look.axis_right:
            canvas.text(right + 5, y, label, font, look.ink, "lm", "tick")
        else:
            canvas.text(left - 5, y, label, font, look.ink, "rm", "tick")
    if look.left_line and numbers:
        x = right if look.axis_right else left
        canvas.line(((x, top), (x, bottom)), look.ink, 0.8)


def draw_frame_lines(plot: Plot, box: Box, scale: Scale) -> None:
    """The category axis and, where the look has one, the frame around the plot."""
    canvas, look = plot.canvas, plot.look
    left, top, right, bottom = box
    if look.axis_line or scale.low < 0:
        y = bottom - (bottom - top) * scale.share(max(0.0, scale.low))
        canvas.line(((left, y), (right, y)), look.ink, 0.9)
    if look.frame:
        canvas.line(((left, top), (right, top), (right, bottom), (left, bottom), (left, top)), look.ink, 0.8)


def plan_upright(plot: Plot, area: Box, headroom: float, zero: bool) -> tuple[Box, Scale, bool]:
    """Plot box, value axis and whether it is numbered, for an upright chart; draws the axis title."""
    canvas, look, table = plot.canvas, plot.look, plot.table
    left, top, right, bottom = area
    numbers = look.value_axis or not table.labelled or table.readable
    low, high = extent(plot)
    if not zero:
        low = max(0.0, low - 0.06 * (high - low)) if low >= 0 else low - 0.06 * (high - low)
    height = (bottom - top) * 0.8
    ticks = int(min(10, max(3, height / (look.size * plot.rng.uniform(2.2, 4.5)))))
    room = height * (0.94 if table.labelled and table.kind not in ("stacked", "area") else 0.99) - headroom
    high_needed = (
        low + (high - low) * height / max(room, height * 0.5)
        if low < 0 or not zero
        else high * height / max(room, height * 0.5)
    )
    if table.full and table.kind in ("stacked", "area"):
        high_needed = 100.0
    scale = make_scale(plot.rng, low, high_needed, ticks, zero, plot.rng.random() < 0.3 and not table.full)
    font = plot.font()
    labels = [table.figures.tick(tick, scale.decimals) for tick in scale.ticks] if numbers else []
    gutter = max((font.width(label) for label in labels), default=0.0) + (9 if labels else 4)
    if look.axis_titles and numbers and table.axis_title:
        title = table.axis_title
        small = plot.font("small")
        if small.width(title) > (bottom - top) * 0.95:
            title = title[: max(8, int((bottom - top) * 0.9 / small.size / 0.5))].rsplit(" ", 1)[0]
        canvas.turned(left + look.size * 0.8, (top + bottom) / 2 - 8, title, small, look.ink, 90, "m", "axis")
        left += look.size * 1.6
    left += 4 if look.axis_right else gutter
    right -= gutter + 2 if look.axis_right else 6
    return (left, top + look.size * 0.6 + 2, right, bottom), scale, numbers


def draw_columns(plot: Plot, area: Box, headroom: float) -> None:
    """Upright bars in `area`: kinds bar, grouped, stacked."""
    canvas, look, table = plot.canvas, plot.look, plot.table
    count, series = len(table.categories), len(table.series)
    font = plot.font("label")
    wide = max(font.width(table.figures.printed(cell)) for row in table.values for cell in row if cell is not None)
    upended = table.kind == "bar" and table.labelled and wide > 0.9 * (area[2] - area[0]) / count
    box, scale, numbers = plan_upright(plot, area, headroom + (wide if upended else 0.0), zero=True)
    left, top, right, bottom = box
    slot = (right - left) / count
    names = plan_names(plot, slot, (bottom - top) * 0.42, left)
    x_title = look.axis_titles and look.name != "statista" and plot.rng.random() < 0.5
    bottom -= names.height + (look.size * 1.5 if x_title else 0)
    box = (left, top, right, bottom)
    draw_level_grid(plot, box, scale, numbers)
    stacked = table.kind == "stacked"
    fill = slot * (look.bar_fill if count > 2 else look.bar_fill * 0.8)
    each = fill if stacked else fill / series
    gap = 0.0 if stacked or series == 1 or plot.rng.random() < 0.4 else min(1.5, each * 0.12)
    room = slot * 0.98 if series == 1 or stacked else each * 1.04
    smaller = look.label_size * min(1.0, room / wide)
    turn_labels = smaller < max(SMALLEST_LABEL, look.label_size * 0.82)
    font = font if turn_labels else Font(font.name, smaller)
    zero_y = bottom - (bottom - top) * scale.share(0.0)
    for category in range(count):
        base = 0.0
        for index in range(series):
            value = table.values[index][category]
            if value is None:
                continue
            x = left + slot * (category + 0.5) - fill / 2 + (0 if stacked else each * index)
            y = bottom - (bottom - top) * scale.share(base + value)
            foot = bottom - (bottom - top) * scale.share(base) if stacked else zero_y
            bar = (x, y, x + each - gap, foot)
            colour = colour_of(plot, category, index)
            canvas.rectangle(bar, colour)
            if stacked:
                base += value
            shown = None
            if table.labelled:
                shown = label_column(
                    plot, bar, table.figures.printed(value), font, colour, stacked, turn_labels, value < 0
                )
            anchor = ((bar[0] + bar[2]) / 2, (y + foot) / 2 if stacked else y)
            plot.mark(category, index, shown, bar, anchor, value / (scale.high - scale.low))
    draw_frame_lines(plot, box, scale)
    if headroom:
        draw_inside_legend(plot, box, table.series)
    draw_names(
        plot, names, left, slot, bottom, look.name == "oecd" and plot.coloured == "category" and plot.rng.random() < 0.5
    )
    if x_title:
        title = table.noun.capitalize()
        canvas.text((left + right) / 2, area[3] - look.size * 0.5, title, plot.font("small"), look.ink, "mm", "axis")


def label_column(
    plot: Plot, bar: Box, label: str, font: Font, colour: Colour, stacked: bool, turned: bool, below: bool
) -> str | None:
    """Prints a value at an upright bar; None where there is no room."""
    canvas, look, size = plot.canvas, plot.look, font.size
    x, (_, y, _, foot) = (bar[0] + bar[2]) / 2, bar
    wide, room = font.width(label), bar[2] - bar[0]
    if stacked:
        if foot - y < size * 0.95 or wide > room * 1.5:
            return None
        canvas.text(x, (y + foot) / 2, label, font, readable_on(colour) if wide < room + 2 else look.ink, "mm", "value")
    elif turned:
        if below or not canvas.clear((x - size * 0.4, y - wide - 4, x + size * 0.4, y - 2)):
            return None
        canvas.turned(x, y - 3, label, font, look.ink, 90, "s", "value")
    elif look.label_inside and foot - y > size * 1.8 and wide < room and not below:
        canvas.text(x, y + 3, label, font, readable_on(colour), "mt", "value")
    else:
        edge = y + 3 + size * 0.72 if below else y - 3
        if not canvas.clear((x - wide / 2, edge - size * 0.72, x + wide / 2, edge)):
            return None
        canvas.text(x, edge, label, font, look.ink, "mb", "value")
    return label
