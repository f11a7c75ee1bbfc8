"""Pies and donuts."""

import math

from train.pretrain.charts.drawing.canvas import Font, readable_on
from train.pretrain.charts.drawing.frames import Plot
from train.pretrain.scene import Box

SHIFTS = (0, 1, -1, 2, -2, 3, -3, 4, -4, 5, -5)


def draw_pie(plot: Plot, area: Box, legend: bool) -> None:
    """Slices in `area`, each with its value; names beside the slices unless a legend has them."""
    canvas, look, table, rng = plot.canvas, plot.look, plot.table, plot.rng
    left, top, right, bottom = area
    values = [value for value in table.values[0] if value is not None]
    font, labels = plot.font(), plot.font("label")
    if look.name == "statista" and not legend:
        font = Font(look.bold, look.size)
    if look.inside_slices and not legend and table.labelled:
        draw_full_slices(plot, area, values)
        return
    shown = [table.figures.printed(value) if table.labelled else None for value in values]
    joined = not legend and rng.random() < (0.85 if look.name == "statista" else 0.3)
    most = 0.26 * (right - left)
    names = [f"{name} {label or ''}" if joined else name for name, label in zip(table.categories, shown, strict=True)]
    widest = 0.0 if legend else max(min(font.width(name), most) for name in names)
    radius = min((bottom - top) / 2 - (4 if legend else font.size * 1.6), (right - left) / 2 - widest - 12)
    if legend and min(values) < 0.05 * sum(values):
        radius -= labels.size * 1.3
    radius = max(radius, 30.0)
    x, y = (left + right) / 2, (top + bottom) / 2
    hole = rng.uniform(0.42, 0.62) if table.kind == "donut" else 0.0
    angles = draw_slices(plot, values, (x, y), radius, hole)
    where = radius * ((1 + hole) / 2 if hole else 0.66)
    for index, (value, label, angle) in enumerate(zip(values, shown, angles, strict=True)):
        anchor = (x + where * math.cos(angle), y + where * math.sin(angle))
        share = value / sum(values)
        arc = share * 2 * math.pi * where
        printed, ending = label, label if joined else None
        if label and not joined:
            wide = labels.width(label)
            if wide < radius * min(0.8, 1 - hole) and arc > max(wide * 0.85, labels.size * 1.2):
                colour = plot.colours[index % len(plot.colours)][0]
                canvas.text(*anchor, label, labels, readable_on(colour), "mm", "value")
            elif legend:
                printed = label_edge(plot, (x, y), radius, angle, label, labels)
            else:
                ending = label
        if not legend:
            name = table.categories[index]
            place_outside(plot, (x, y), radius, angle, [name] if ending else font.wrap(name, most, 3), ending, font)
        box = (x - radius, y - radius, x + radius, y + radius)
        plot.mark(index, 0, printed, box, anchor, share)


def draw_full_slices(plot: Plot, area: Box, values: list[float]) -> None:
    """A pie with names and values inside its slices where they fit, else beside them at the end of a thin line."""
    canvas, look, table, rng = plot.canvas, plot.look, plot.table, plot.rng
    left, top, right, bottom = area
    font = plot.font()
    bold = Font(look.bold, look.size)
    radius = max(34.0, min((bottom - top) / 2 - font.size * 2.6, (right - left) / 2 - font.size * 4))
    x, y = (left + right) / 2, (top + bottom) / 2
    angles = draw_slices(plot, values, (x, y), radius, 0.0)
    value_first = rng.random() < 0.5
    for index, (value, angle) in enumerate(zip(values, angles, strict=True)):
        share, name, label = value / sum(values), table.categories[index], table.figures.printed(value)
        where = radius * (0.6 if share < 0.5 else 0.5)
        anchor = (x + where * math.cos(angle), y + where * math.sin(angle))
        lines = font.wrap(name, radius * 0.75, 3)
        wide, high = max(map(font.width, lines)), font.size * 1.24 * (len(lines) + 1)
        room = min(2 * math.pi * share * where, radius * 0.9) if share < 0.5 else radius
        fits = wide < radius * 0.8 and math.hypot(wide, high) * 0.72 < room
        colour = plot.colours[index % len(plot.colours)][0]
        ink = readable_on(colour)
        centre = anchor
        if not fits:
            ink = look.ink
            far = radius + font.size * 1.1
            wide = max(wide, bold.width(label))
            cx = x + far * math.cos(angle) + (wide / 2 + 2) * (1 if math.cos(angle) > 0 else -1)
            cx = min(max(cx, wide / 2 + 2), canvas.width - wide / 2 - 2)
            cy = y + (radius + font.size * 1.5) * math.sin(angle)
            heights = [cy + shift * font.size * 0.8 for shift in SHIFTS]
            free = [at for at in heights if canvas.clear((cx - wide / 2, at - high / 2, cx + wide / 2, at + high / 2))]
            centre = (cx, free[0] if free else cy)
            if share < 0.12:
                edge = (x + radius * 0.9 * math.cos(angle), y + radius * 0.9 * math.sin(angle))
                canvas.line((edge, (centre[0], centre[1])), look.muted, 0.6)
        first = centre[1] - high / 2 + font.size * 0.62
        if value_first:
            canvas.text(centre[0], first, label, bold, ink, "mm", "value")
            first += font.size * 1.24
        middle = first + font.size * 0.62 * (len(lines) - 1)
        canvas.lines(centre[0], middle, lines, font, ink, "mm", "category")
        if not value_first:
            canvas.text(centre[0], first + font.size * 1.24 * len(lines), label, bold, ink, "mm", "value")
        box = (x - radius, y - radius, x + radius, y + radius)
        plot.mark(index, 0, label, box, anchor, share)


def draw_slices(
    plot: Plot, values: list[float], centre: tuple[float, float], radius: float, hole: float
) -> list[float]:
    """The slices of `values`; returns the angle of each one's middle in radians, clockwise from three o'clock."""
    canvas, rng, background = plot.canvas, plot.rng, plot.look.background
    at, total = rng.choice((-90.0, -90.0, -90.0, 0.0, rng.uniform(0, 360))), sum(values)
    edged = rng.random() < 0.7
    angles = []
    for index, value in enumerate(values):
        end = at + 360 * value / total
        colour = plot.colours[index % len(plot.colours)][0]
        canvas.slice(*centre, radius, (at, end), colour, background if edged else colour)
        angles.append(math.radians((at + end) / 2))
        at = end
    if hole:
        canvas.dot(*centre, radius * hole, background)
    return angles


def label_edge(
    plot: Plot, centre: tuple[float, float], radius: float, angle: float, label: str, font: Font
) -> str | None:
    """Prints a small slice's value just outside the pie; None where another text is."""
    far = radius + font.size * 0.9
    x, y = centre[0] + far * math.cos(angle), centre[1] + far * math.sin(angle)
    wide, high = font.width(label) / 2, font.size * 0.4
    if not plot.canvas.clear((x - wide, y - high, x + wide, y + high)):
        return None
    plot.canvas.text(x, y, label, font, plot.look.ink, "mm", "value")
    return label


def place_outside(
    plot: Plot,
    centre: tuple[float, float],
    radius: float,
    angle: float,
    lines: list[str],
    label: str | None,
    font: Font,
) -> None:
    """Writes a slice's name, and its value after it where `label` is given, outside the pie, moved until it is free."""
    canvas, look = plot.canvas, plot.look
    along, down = math.cos(angle), math.sin(angle)
    x, y = centre[0] + (radius + 7) * along, centre[1] + (radius + font.size * 0.95) * down
    bold = plot.font("label") if look.label_bold else font
    gap = font.width(" ")
    wide = max(map(font.width, lines)) + (gap + bold.width(label) if label else 0.0)
    x = min(x, canvas.width - wide - 2) if along > 0 else max(x, wide + 2)
    left, high = (x if along > 0 else x - wide), font.size * 1.24 * len(lines)
    heights = [y + shift * font.size * 0.8 for shift in SHIFTS]
    free = [at for at in heights if canvas.clear((left, at - high / 2, left + wide, at + high / 2))]
    y = free[0] if free else y
    if look.name in ("statista", "spreadsheet"):
        edge = (centre[0] + radius * along, centre[1] + radius * down)
        canvas.line((edge, (x, y)), look.muted, 0.6)
    if label:
        canvas.text(left, y, lines[0], font, look.ink, "lm", "category")
        canvas.text(left + wide - bold.width(label), y, label, bold, look.ink, "lm", "value")
    else:
        canvas.lines(x, y, lines, font, look.ink, "lm" if along > 0 else "rm", "category")
