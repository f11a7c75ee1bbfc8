"""Line, area and scatter charts."""

from itertools import pairwise

from train.pretrain.charts.drawing.canvas import Colour, Font, darker
from train.pretrain.charts.drawing.frames import Plot, Scale, draw_inside_legend, draw_names, make_scale, plan_names
from train.pretrain.charts.kinds.columns import colour_of, draw_frame_lines, draw_level_grid, plan_upright
from train.pretrain.scene import Box


def draw_lines(plot: Plot, area: Box, headroom: float) -> None:
    """Lines or stacked areas over the categories in `area`."""
    look, table = plot.look, plot.table
    count, series = len(table.categories), len(table.series)
    direct = look.legend == "direct" and series > 1
    font = plot.font()
    if direct and not look.inline:
        area = (
            area[0],
            area[1],
            area[2] - min(0.3 * (area[2] - area[0]), max(map(font.width, table.series)) + 6),
            area[3],
        )
    zero = table.kind == "area" or plot.rng.random() < 0.5
    box, scale, numbers = plan_upright(plot, area, headroom, zero)
    left, top, right, bottom = box
    slot = (right - left) / count
    if (look.edge and count > 2) or (table.kind == "area" and count > 1):
        pad = 0.04 * (right - left) if look.frame or table.kind != "area" else 0.0
        if not direct:
            right = min(right, plot.canvas.width - 3 + pad - font.width(table.categories[-1]) / 2)
        slot = (right - left - 2 * pad) / (count - 1)
        start = left + pad
    else:
        start = left + slot / 2
    names = plan_names(plot, slot, (bottom - top) * 0.42, start - slot / 2)
    bottom -= names.height
    box = (left, top, right, bottom)
    xs = [start + slot * index for index in range(count)]
    bands, look.bands = look.bands, look.bands and start > left + slot * 0.4
    draw_level_grid(plot, box, scale, numbers)
    look.bands = bands
    if look.vertical_grid and look.grid != "none" and look.name == "matplotlib":
        for x in xs:
            plot.canvas.line(((x, top), (x, bottom)), look.grid_colour, 0.7)
    draw_frame_lines(plot, box, scale)
    if look.tick_marks:
        for x in xs[names.first :: names.every]:
            plot.canvas.line(((x, bottom), (x, bottom + 3)), look.ink, 0.8)
    ends = draw_areas(plot, box, scale, xs) if table.kind == "area" else draw_strokes(plot, box, scale, xs)
    draw_names(plot, names, start - slot / 2, slot, bottom)
    if direct and look.inline:
        write_inline(plot, box)
    elif direct:
        write_direct(plot, ends, right)
    elif headroom and series > 1:
        draw_inside_legend(plot, box, table.series)


def draw_strokes(plot: Plot, box: Box, scale: Scale, xs: list[float]) -> list[tuple[float, float]]:
    """The lines through `xs`, their markers and value labels; returns where each line ends."""
    canvas, look, table, rng = plot.canvas, plot.look, plot.table, plot.rng
    _, top, right, bottom = box
    count, series = len(table.categories), len(table.series)
    font = plot.font("label")
    ends_only = series > 2 or (series == 2 and count > 8) or (look.name == "pew" and count > 4 and rng.random() < 0.5)
    points: list[list[tuple[float, float] | None]] = []
    for row in table.values:
        points.append(
            [
                None if cell is None else (x, bottom - (bottom - top) * scale.share(cell))
                for x, cell in zip(xs, row, strict=True)
            ]
        )
    marker = look.marker if look.marker or any(None in row for row in points) is False else 2.2
    for index, row in enumerate(points):
        colour = colour_of(plot, 0, index)
        run: list[tuple[float, float]] = []
        for point in [*row, None]:
            if point is None:
                if len(run) > 1:
                    canvas.line(stairs(run) if look.stepped else run, colour, look.line_width)
                run = []
            else:
                run.append(point)
    for index, row in enumerate(points):
        colour = colour_of(plot, 0, index)
        for category, point in enumerate(row):
            if point is None:
                continue
            x, y = point
            if marker or count == 1:
                canvas.dot(x, y, marker, look.background if look.hollow else colour, colour)
            value = table.values[index][category]
            shown = None
            if table.labelled and value is not None and (not ends_only or category in (0, count - 1)):
                others = [other[category] for other in points if other is not row and other[category] is not None]
                lowest = all(other is not None and other[1] < y for other in others) and bool(others)
                ink = darker(colour) if look.coloured_labels and series > 1 else look.ink
                shown = label_point(plot, x, y, table.figures.printed(value), font, ink, lowest, box)
            size = max(2.0, marker)
            plot.mark(
                category, index, shown, (x - size, y - size, x + size, y + size), (x, y), scale.share(value or 0.0)
            )
    return [next((point for point in reversed(row) if point), (right, bottom)) for row in points]


def stairs(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """A line that stays level until the next point."""
    found = [points[0]]
    for x, y in points[1:]:
        found += [(x, found[-1][1]), (x, y)]
    return found


def label_point(
    plot: Plot, x: float, y: float, label: str, font: Font, ink: Colour, below: bool, box: Box
) -> str | None:
    """Prints a value above a point (below it where `below`), or on the other side where that is taken."""
    canvas, look = plot.canvas, plot.look
    half, high = font.width(label) / 2, font.size * 0.72
    x = min(max(x, half + 2), canvas.width - half - 2)
    for under in (below, not below):
        edge = y + look.marker + 3 + high if under else y - look.marker - 3
        if edge > box[3] and under:
            continue
        if canvas.clear((x - half, edge - high, x + half, edge), 0.5):
            canvas.text(x, edge, label, font, ink, "mb", "value")
            return label
    return None


def draw_areas(plot: Plot, box: Box, scale: Scale, xs: list[float]) -> list[tuple[float, float]]:
    """Areas stacked from the bottom; returns the middle of each at the right."""
    canvas, table = plot.canvas, plot.table
    left, top, right, bottom = box
    count = len(table.categories)
    slot = (right - left) / count
    base = [0.0] * count
    ends = []
    for index, row in enumerate(table.values):
        upper = [low + (cell or 0.0) for low, cell in zip(base, row, strict=True)]
        above = [bottom - (bottom - top) * scale.share(value) for value in upper]
        under = [bottom - (bottom - top) * scale.share(value) for value in base]
        outline = [*zip(xs, above, strict=True), *reversed(list(zip(xs, under, strict=True)))]
        canvas.polygon(outline, colour_of(plot, 0, index))
        for category, x in enumerate(xs):
            middle = (above[category] + under[category]) / 2
            cell = (x - slot / 2, above[category], x + slot / 2, under[category])
            plot.mark(category, index, None, cell, (x, middle), (row[category] or 0.0) / (scale.high - scale.low))
        ends.append((xs[-1], (above[-1] + under[-1]) / 2))
        base = upper
    return ends


def write_direct(plot: Plot, ends: list[tuple[float, float]], right: float) -> None:
    """The series' names at the right end of their lines, pushed apart until none overlap."""
    look, table = plot.look, plot.table
    font = Font(look.bold if look.name == "pew" else look.font, look.size)
    order = sorted(range(len(ends)), key=lambda index: ends[index][1])
    step = look.size * 1.25
    heights = [ends[index][1] for index in order]
    for _ in range(20):
        moved = False
        for above, (high, low) in enumerate(pairwise(heights)):
            if low - high < step:
                push = (step - low + high) / 2 + 0.01
                heights[above] -= push
                heights[above + 1] += push
                moved = True
        if not moved:
            break
    for index, y in zip(order, heights, strict=True):
        x = max(end[0] for end in ends) + look.marker + 5
        colour = darker(plot.colours[index % len(plot.colours)][0])
        if look.boxed_names:
            edge = (x - 1, y - look.size * 0.62, x + font.width(table.series[index]) + 5, y + look.size * 0.62)
            plot.canvas.rectangle(edge, (255, 255, 255), (205, 205, 205))
            x, colour = x + 2, look.ink
        plot.canvas.text(x, y, table.series[index], font, colour, "lm", "series")


def write_inline(plot: Plot, box: Box) -> None:
    """The series' names in the plot, above or below their lines where there is room, in their colours."""
    canvas, look, table, rng = plot.canvas, plot.look, plot.table, plot.rng
    font = Font(look.bold, look.size)
    scale, count = canvas.density, len(table.categories)
    lines: dict[int, list[tuple[float, float]]] = {}
    for mark in plot.marks:
        lines.setdefault(mark.series, []).append((mark.anchor[0] / scale, mark.anchor[1] / scale))
    ink_at = [
        ((x0 * (4 - k) + x1 * k) / 4, (y0 * (4 - k) + y1 * k) / 4)
        for points in lines.values()
        for (x0, y0), (x1, y1) in pairwise(points)
        for k in range(5)
    ]
    high = font.size * 0.72
    for series, points in lines.items():
        name = table.series[series]
        wide = font.width(name)
        spots: list[tuple[float, float, float]] = []
        for (x0, y0), (x1, y1) in pairwise(points) if count > 1 else ():
            x, y = (x0 + x1) / 2, (y0 + y1) / 2
            x = min(max(x, box[0] + wide / 2 + 1), canvas.width - wide / 2 - 2)
            for shift in (-0.5, 1.35, -1.6, 2.5, -2.8, 3.7):
                base = y + shift * font.size + (high if shift > 0 else 0)
                edge = (x - wide / 2, base - high, x + wide / 2, base)
                if edge[1] < box[1] - font.size or base > box[3] or not canvas.clear(edge, 1):
                    continue
                hits = sum(edge[0] - 1 < px < edge[2] + 1 and edge[1] - 1 < py < edge[3] + 1 for px, py in ink_at)
                spots.append((hits * 3 + abs(shift) + rng.random(), x, base))
        if spots:
            _, x, base = min(spots)
        else:
            x, base = canvas.width - wide / 2 - 2, points[-1][1] - font.size
        canvas.text(x, base, name, font, darker(colour_of(plot, 0, series)), "mb", "series")


def draw_scatter(plot: Plot, area: Box) -> None:
    """Named points over two value axes: series 0 is across, series 1 is up."""
    canvas, look, table, rng = plot.canvas, plot.look, plot.table, plot.rng
    assert table.second is not None, "a scatter chart has two measures"
    left, top, right, bottom = area
    across = [value or 0.0 for value in table.values[0]]
    up = [value or 0.0 for value in table.values[1]]
    font, small = plot.font(), plot.font("small")
    y_scale = make_scale(rng, min(up), max(up) * 1.06, int(max(3, (bottom - top) / 45)), rng.random() < 0.3)
    labels = [table.figures.tick(tick, y_scale.decimals) for tick in y_scale.ticks]
    canvas.turned(left + look.size * 0.8, (top + bottom) / 2 - 10, table.series[1], small, look.ink, 90, "m", "axis")
    left += look.size * 1.7 + max(map(font.width, labels)) + 8
    canvas.text((left + right) / 2, bottom - 4, table.series[0], small, look.ink, "mb", "axis")
    bottom -= look.size * 3.2 + 4
    top, right = top + 6, right - 12
    x_scale = make_scale(rng, min(across), max(across) * 1.06, int(max(3, (right - left) / 70)), rng.random() < 0.3)
    draw_level_grid(plot, (left, top, right, bottom), y_scale, True)
    for tick in x_scale.ticks:
        x = left + (right - left) * x_scale.share(tick)
        if look.grid != "none":
            canvas.line(((x, top), (x, bottom)), look.grid_colour, 0.7)
        canvas.text(x, bottom + 4, table.figures.tick(tick, x_scale.decimals), font, look.ink, "mt", "tick")
    canvas.line(((left, top), (left, bottom), (right, bottom)), look.ink, 0.9)
    radius = rng.choice((2.2, 2.8, 3.5, 4.5))
    places = [
        (left + (right - left) * x_scale.share(a), bottom - (bottom - top) * y_scale.share(b))
        for a, b in zip(across, up, strict=True)
    ]
    for index, (x, y) in enumerate(places):
        canvas.dot(x, y, radius, colour_of(plot, index, 0))
        box = (x - radius, y - radius, x + radius, y + radius)
        plot.mark(index, 0, None, box, (x, y), x_scale.share(across[index]))
        plot.mark(index, 1, None, box, (x, y), y_scale.share(up[index]))
    for index, (x, y) in enumerate(places):
        name = table.categories[index]
        wide, high = font.width(name), font.size * 0.72
        spots = (
            (x + radius + 3, y + high / 2),
            (x - radius - 3 - wide, y + high / 2),
            (x - wide / 2, y - radius - 3),
            (x - wide / 2, y + radius + 3 + high),
        )
        free = [
            spot
            for spot in spots
            if spot[0] > left
            and spot[0] + wide < canvas.width - 2
            and canvas.clear((spot[0], spot[1] - high, spot[0] + wide, spot[1]))
        ]
        spot = (free or list(spots))[0]
        canvas.text(max(2.0, min(spot[0], canvas.width - wide - 2)), spot[1], name, font, look.ink, "lb", "category")
