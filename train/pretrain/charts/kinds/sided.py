"""Level bars on both sides of a line, each side one series, as Pew draws two answers; and dots on a line."""

from itertools import pairwise

from train.pretrain.charts.drawing.canvas import Font, darker, readable_on
from train.pretrain.charts.drawing.frames import Plot, Scale, row_middles
from train.pretrain.charts.kinds.columns import colour_of
from train.pretrain.scene import Box


def draw_sided(plot: Plot, area: Box) -> None:
    """Two series in `area`, the first to the left of a line, the second to its right."""
    canvas, look, table, rng = plot.canvas, plot.look, plot.table, plot.rng
    left, top, right, bottom = area
    font, labels = plot.font(), plot.font("label")
    heads = look.legend == "heads"
    top += look.size * 2.9 if heads else 4
    count = len(table.categories)
    middles, slot = row_middles(top, bottom - 3, count, table.starts)
    if slot < font.size * 1.05:
        font = Font(font.name, max(6.0, slot / 1.05))
        labels = Font(labels.name, min(labels.size, font.size))
    names = [font.wrap(name, 0.36 * (right - left), max(1, int(slot / (font.size * 1.2)))) for name in table.categories]
    beside = left + 5 + max(font.width(line) for lines in names for line in lines)
    inside = look.label_inside or rng.random() < 0.35
    wide = max(labels.width(table.figures.printed(cell)) for row in table.values for cell in row if cell is not None)
    room = 4 if inside or not table.labelled else wide + 6
    begin, end = beside + 5 + room, right - 6 - room
    most = [max(cell or 0.0 for cell in row) for row in table.values]
    unit = (end - begin) / (sum(most) or 1.0)  # every value can be nothing
    zero = begin + most[0] * unit
    fill = slot * min(look.bar_fill, 0.85)
    for category, lines in enumerate(names):
        middle = middles[category]
        canvas.lines(beside, middle, lines, font, look.ink, "rm", "category")
        for series in (0, 1):
            value = table.values[series][category]
            if value is None:
                continue
            edge = zero + (1 if series else -1) * value * unit
            bar = (min(zero, edge), middle - fill / 2, max(zero, edge), middle + fill / 2)
            colour = colour_of(plot, category, series)
            canvas.rectangle(bar, colour)
            shown, anchor = None, (edge, middle)
            if table.labelled:
                label = table.figures.printed(value)
                if inside and labels.width(label) + 2 < bar[2] - bar[0] and labels.size < fill * 1.3:
                    canvas.text((bar[0] + bar[2]) / 2, middle, label, labels, readable_on(colour), "mm", "value")
                    shown, anchor = label, ((bar[0] + bar[2]) / 2, middle)
                elif not inside:
                    x = edge + (4 if series else -4)
                    canvas.text(x, middle, label, labels, look.ink, "lm" if series else "rm", "value")
                    shown = label
            plot.mark(category, series, shown, bar, anchor, value / (most[0] + most[1]))
    if heads:
        write_sides(plot, begin, zero, end, top - 3)
    if look.left_line:
        canvas.line(((zero, top), (zero, bottom - 3)), look.muted, 0.8)


def write_sides(plot: Plot, begin: float, zero: float, end: float, y: float) -> None:
    """The two series' names over their sides."""
    font = Font(plot.look.bold, plot.look.size)
    for series, name in enumerate(plot.table.series):
        room = max(30.0, (end - zero if series else zero - begin) * 0.95)
        lines = font.wrap(name, room, 2)
        ink = darker(plot.colours[series][0]) if plot.look.coloured_labels else plot.look.ink
        x = min(zero + 4, plot.canvas.width - max(map(font.width, lines)) - 2) if series else zero - 4
        plot.canvas.lines(x, y, lines, font, ink, "lb" if series else "rb", "series")


def draw_dots(plot: Plot, area: Box, scale: Scale, font: Font, category: int, middle: float, fill: float) -> None:
    """A category's values as dots on a line between the outer two."""
    canvas, look, table = plot.canvas, plot.look, plot.table
    left, _, right, _ = area
    found = []
    for series in range(len(table.series)):
        value = table.values[series][category]
        if value is not None:
            found.append((left + (right - left) * scale.share(value), series, value))
    if not found:
        return
    found.sort()
    radius = max(2.4, min(4.5, fill * 0.3))
    canvas.line(((found[0][0], middle), (found[-1][0], middle)), look.grid_colour, 1.5)
    clear = all(b[0] - a[0] > radius for a, b in pairwise(found))
    for place, (x, series, value) in enumerate(found):
        canvas.dot(x, middle, radius, colour_of(plot, category, series))
        shown = None
        label = table.figures.printed(value)
        if table.labelled and clear and place in (0, len(found) - 1):
            at = x - radius - 2 if place == 0 and len(found) > 1 else x + radius + 2
            canvas.text(at, middle, label, font, look.ink, "rm" if at < x else "lm", "value")
            shown = label
        elif table.labelled and clear and canvas.clear((x - 8, middle - fill, x + 8, middle - radius)):
            canvas.text(x, middle - radius - 1.5, label, font, look.ink, "mb", "value")
            shown = label
        box = (x - radius, middle - radius, x + radius, middle + radius)
        plot.mark(category, series, shown, box, (x, middle), value / (scale.high - scale.low))
