"""Pies and donuts."""

import math

from train.pretrain.drawing import Font, readable_on
from train.pretrain.frames import Plot
from train.pretrain.truth import Box


def draw_pie(plot: Plot, area: Box, legend: bool) -> None:
    """Slices in `area`, each with its value; names beside the slices unless a legend has them."""
    canvas, look, table, rng = plot.canvas, plot.look, plot.table, plot.rng
    left, top, right, bottom = area
    values = [value for value in table.values[0] if value is not None]
    font, labels = plot.font(), plot.font("label")
    shown = [table.figures.printed(value) for value in values] if table.labelled else [""] * len(values)
    style = "legend" if legend else "joined" if rng.random() < (0.85 if look.name == "statista" else 0.3) else "outside"
    names = [
        f"{name} {label}" if style == "joined" else name for name, label in zip(table.categories, shown, strict=True)
    ]
    widest = 0.0 if legend else max(min(font.width(name), 0.26 * (right - left)) for name in names)
    radius = min((bottom - top) / 2 - (4 if legend else font.size * 1.6), (right - left) / 2 - widest - 12)
    if legend and min(values) < 0.05 * sum(values):
        radius -= labels.size * 1.3
    radius = max(radius, 30.0)
    x, y = (left + right) / 2, (top + bottom) / 2
    if look.name == "statista" and not legend:
        font = Font(look.bold, look.size)
    total, start = sum(values), rng.choice((-90.0, -90.0, -90.0, 0.0, rng.uniform(0, 360)))
    edge = look.background if rng.random() < 0.7 else plot.colours[0][0]
    angles = []
    at = start
    for index, value in enumerate(values):
        end = at + 360 * value / total
        colour = plot.colours[index % len(plot.colours)][0]
        canvas.slice(x, y, radius, (at, end), colour, edge if edge == look.background else colour)
        angles.append((at, end))
        at = end
    hole = rng.uniform(0.42, 0.62) if table.kind == "donut" else 0.0
    if hole:
        canvas.dot(x, y, radius * hole, look.background)
    for index, (value, (begin, end)) in enumerate(zip(values, angles, strict=True)):
        middle = math.radians((begin + end) / 2)
        along, down = math.cos(middle), math.sin(middle)
        label = shown[index] or None
        where = radius * ((1 + hole) / 2 if hole else 0.66)
        share = value / total
        box = (x - radius, y - radius, x + radius, y + radius)
        anchor = (x + where * along, y + where * down)
        if style == "joined":
            place_outside(plot, x, y, radius, middle, [names[index]], font, index, label)
            plot.mark(index, 0, label, box, anchor, share)
            continue
        if label:
            fits = (
                labels.width(label) < radius * 0.8
                and share * 2 * math.pi * where > labels.width(label) * 0.85
                and share * 2 * math.pi * where > labels.size * 1.2
            )
            if fits and (not hole or radius * (1 - hole) > labels.width(label) + 2):
                colour = plot.colours[index % len(plot.colours)][0]
                canvas.text(*anchor, label, labels, readable_on(colour), "mm", "value")
            elif legend:
                far = radius + labels.size * 0.9
                spot = (x + far * along, y + far * down)
                wide = labels.width(label) / 2
                if canvas.clear(
                    (spot[0] - wide, spot[1] - labels.size * 0.4, spot[0] + wide, spot[1] + labels.size * 0.4)
                ):
                    canvas.text(*spot, label, labels, look.ink, "mm", "value")
                else:
                    label = None
            else:
                place_outside(plot, x, y, radius, middle, [f"{table.categories[index]} {label}"], font, index, label)
                plot.mark(index, 0, label, box, anchor, share)
                continue
        if not legend:
            place_outside(
                plot, x, y, radius, middle, font.wrap(names[index], 0.26 * (right - left), 3), font, index, None
            )
        plot.mark(index, 0, label, box, anchor, share)


def place_outside(
    plot: Plot,
    x: float,
    y: float,
    radius: float,
    angle: float,
    lines: list[str],
    font: Font,
    index: int,
    label: str | None,
) -> None:
    """Writes a slice's name, and its value where `label` ends the one line, outside the pie, moved until it is free."""
    canvas, look = plot.canvas, plot.look
    along, down = math.cos(angle), math.sin(angle)
    far = radius + 7
    px, py = x + far * along, y + (radius + font.size * 0.95) * down
    side = "l" if along > 0 else "r"
    wide = max(font.width(line) for line in lines)
    if side == "l":
        px = min(px, canvas.width - wide - 2)
    else:
        px = max(px, wide + 2)
    high = font.size * 1.24 * len(lines)
    for shift in (0, 1, -1, 2, -2, 3, -3, 4, -4, 5, -5):
        spot = py + shift * font.size * 0.8
        box = (
            (px, spot - high / 2, px + wide, spot + high / 2)
            if side == "l"
            else (px - wide, spot - high / 2, px, spot + high / 2)
        )
        if canvas.clear(box):
            py = spot
            break
    if look.name in ("statista", "spreadsheet"):
        canvas.line(((x + radius * along, y + radius * down), (px, py)), look.muted, 0.6)
    if label and lines[0].endswith(label) and len(lines) == 1:
        name = lines[0][: -len(label)].rstrip()
        gap = font.width(" ")
        bold = plot.font("label") if look.label_bold else font
        first = px if side == "l" else px - bold.width(label) - gap - font.width(name)
        canvas.text(first, py, name, font, look.ink, "lm", "category")
        canvas.text(first + font.width(name) + gap, py, label, bold, look.ink, "lm", "value")
    else:
        canvas.lines(px, py, lines, font, look.ink, side + "m", "category")
