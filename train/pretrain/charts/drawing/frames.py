"""Everything around a plot: title, subtitle, legend, notes, ornaments, and the axes' numbers and names."""

import math
import random
from dataclasses import dataclass

from train.pretrain.charts.drawing.canvas import Canvas, Colour, Font
from train.pretrain.charts.drawing.styles import Style
from train.pretrain.charts.tables.table import Table
from train.pretrain.scene import Box, Mark

ICON = (243, 245, 247)
SECTION_GAP = 0.6  # above the first row of a section, in rows


@dataclass(slots=True)
class Plot:
    """A chart being drawn. colours: of the series, or of the categories where `coloured` is "category"; each with
    its name. marks are in image pixels, everything else in logical ones."""

    canvas: Canvas
    table: Table
    look: Style
    rng: random.Random
    colours: list[tuple[Colour, str]]
    coloured: str
    marks: list[Mark]

    def font(self, part: str = "body") -> Font:
        """The look's font for body text, value labels (label) or small print (small)."""
        look = self.look
        if part == "label":
            return Font(look.bold if look.label_bold else look.font, look.label_size)
        return Font(look.font, look.small_size if part == "small" else look.size)

    def mark(
        self, category: int, series: int, shown: str | None, box: Box, anchor: tuple[float, float], height: float
    ) -> None:
        """Adds a mark given in logical pixels."""
        scale, value = self.canvas.density, self.table.values[series][category]
        assert value is not None, "a missing value has no mark"
        x0, y0, x1, y1 = box
        place = (min(x0, x1) * scale, min(y0, y1) * scale, max(x0, x1) * scale, max(y0, y1) * scale)
        self.marks.append(Mark(category, series, value, shown, place, (anchor[0] * scale, anchor[1] * scale), height))


@dataclass(slots=True)
class Scale:
    """A value axis from `low` to `high` with numbers at `ticks`, written with `decimals`."""

    low: float
    high: float
    ticks: list[float]
    decimals: int

    def share(self, value: float) -> float:
        """Where `value` lies between low (0) and high (1)."""
        return (value - self.low) / (self.high - self.low)


def make_scale(rng: random.Random, low: float, high: float, most: int, zero: bool, tight: bool = False) -> Scale:
    """A round axis that holds `low` to `high` with up to `most` numbers; from zero where `zero`; ending at the
    largest value rather than at a number where `tight`."""
    if zero or (low > 0 and low < 0.4 * high):
        low = min(low, 0.0)
    high = max(high, 0.0) if high <= 0 else high
    if high <= low:
        high = low + 1
    rough = (high - low) / max(2, most)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(
        step * power
        for step in (1, 2, 2.5, 5, 10, 20)
        if step * power >= rough * 0.999 and not (step == 2.5 and power == 1.0)
    )
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = [round(index * step, 10) for index in range(first, last + 1)]
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    if step / power == 2.5:
        decimals = max(0, -math.floor(math.log10(step) + 1e-9) + 1)
    scale = Scale(ticks[0], ticks[-1], ticks, decimals)
    if tight and len(ticks) > 3 and high * 1.04 < ticks[-1]:
        scale.high = max(high * 1.04, ticks[-2])
        scale.ticks = [tick for tick in ticks if tick <= scale.high + 1e-9]
    return scale


def row_middles(
    top: float, bottom: float, count: int, starts: tuple[int, ...], at: float = 0.5
) -> tuple[list[float], float]:
    """Where the middle of every row is, with gaps above the rows of `starts`, and the height of one."""
    slot = (bottom - top) / (count + SECTION_GAP * len(starts))
    before = [sum(start <= row for start in starts) * SECTION_GAP for row in range(count)]
    return [top + slot * (row + at + gap) for row, gap in enumerate(before)], slot


def draw_header(plot: Plot, area: Box) -> Box:
    """Title and subtitle; returns what is left of `area`."""
    canvas, look, table = plot.canvas, plot.look, plot.table
    left, top, right, bottom = area
    full = right
    if look.rules:
        canvas.line(((left, top), (right, top)), look.ink, 1)
        top += 3
    if look.logo:
        canvas.rectangle((right - 30, top + 2, right - 2, top + 20), (0, 33, 71))
        canvas.rectangle((right - 30, top + 19, right - 2, top + 21), (206, 38, 30))
        tiny = Font(look.font, 5.2)
        canvas.text(right - 16, top + 8, "Our World", tiny, (255, 255, 255), "mm", "ornament")
        canvas.text(right - 16, top + 14, "in Data", tiny, (255, 255, 255), "mm", "ornament")
        right -= 34
    x = left + 4 if look.title_anchor == "l" else (left + right) / 2
    if table.title:
        font = Font(look.title_font, look.title_size)
        if font.width(table.title) > 2.4 * (right - left):
            font = Font(look.title_font, look.size)
        lines = font.wrap(table.title, right - left - 10)
        top += 3
        box = canvas.lines(x, top + 2, lines, font, look.ink, look.title_anchor + "t", "title")
        top = box[3] + look.title_size * 0.35
    if table.subtitle:
        font = Font(look.italic if look.name == "pew" else look.font, look.size)
        lines = font.wrap(table.subtitle, right - left - 10)
        box = canvas.lines(x, top + 1, lines, font, look.muted, look.title_anchor + "t", "subtitle")
        top = box[3] + look.size * 0.4
    return left, top + 2, full, bottom


def draw_notes(plot: Plot, area: Box) -> Box:
    """Source and notes at the bottom, Statista's icons at the right; returns what is left of `area`."""
    canvas, look, notes = plot.canvas, plot.look, plot.table.notes
    left, top, right, bottom = area
    font = plot.font("small")
    if look.name == "statista" and notes:
        for index in range(6):
            y = top + 8 + index * 24
            if y + 20 > bottom - 40:
                break
            canvas.rectangle((right - 20, y, right - 5, y + 15), ICON)
            canvas.dot(right - 12.5, y + 7.5, 2.6, (133, 146, 166))
        blue = (40, 118, 221)
        canvas.text(left + 10, bottom - 8, notes[0], font, blue, "lm", "ornament")
        canvas.text(right - 14, bottom - 8, notes[2], font, blue, "rm", "ornament")
        canvas.text(right - 14, bottom - 24, notes[1], font, look.muted, "rm", "ornament")
        return left, top, right - 24, bottom - 36
    if look.name == "owid" and notes:
        canvas.text(left + 4, bottom - 4, notes[0], font, look.muted, "lb", "note")
        canvas.text(right - 4, bottom - 4, " • ".join(notes[1:]), font, look.muted, "rb", "ornament")
        return left, top, right, bottom - look.small_size * 1.9 - 3
    if look.name == "pew" and notes:
        bold = Font(look.bold, look.small_size)
        bottom -= 4
        if look.rules:
            canvas.line(((left, bottom + 3), (right, bottom + 3)), look.ink, 1)
            bottom -= 3
        box = canvas.text(left + 4, bottom, notes[-1], bold, look.ink, "lb", "note")
        bottom = box[1] - 3
        notes = notes[:-1]
    for note in reversed(notes):
        lines = font.wrap(note, right - left - 10, 3)
        box = canvas.lines(left + 4, bottom - 3, lines, font, look.muted, "lb", "note")
        bottom = box[1] - 1
    return left, top, right, bottom - (3 if notes else 0)


def draw_swatch(plot: Plot, x: float, y: float, colour: Colour) -> None:
    """A legend's sample of a colour, 9 px wide from `x`, centred at height `y`."""
    canvas, look = plot.canvas, plot.look
    if look.swatch == "dot":
        canvas.dot(x + 4, y, 3.2, colour)
    elif look.swatch == "line":
        canvas.line(((x - 1, y), (x + 9, y)), colour, 2)
    else:
        half = min(4.0, look.size * 0.4)
        canvas.rectangle((x + 4 - half, y - half, x + 4 + half, y + half), colour)


def legend_rows(font: Font, names: list[str], width: float) -> list[list[int]]:
    """The entries of a level legend, broken into rows of at most `width`."""
    rows: list[list[int]] = [[]]
    used = 0.0
    for index, name in enumerate(names):
        wide = font.width(name) + 24
        if rows[-1] and used + wide > width:
            rows.append([])
            used = 0.0
        rows[-1].append(index)
        used += wide
    return rows


def draw_legend(plot: Plot, area: Box, names: list[str], role: str) -> tuple[Box, float]:
    """The names beside their colours; returns what is left of `area` and the height that an inside legend needs."""
    canvas, look = plot.canvas, plot.look
    left, top, right, bottom = area
    bold = look.name == "statista"
    font = Font(look.bold if bold else look.font, look.size)
    step = look.size * 1.55
    place = look.legend
    widest = max(font.width(name) for name in names)
    if place == "right" and widest > 0.3 * (right - left):
        place = "top"
    if place in ("inside", "direct"):
        level = plot.table.kind in ("bar", "grouped", "line", "area")
        if not level or len(names) * step > 0.3 * (bottom - top) or widest > 0.5 * (right - left) or plot.table.full:
            place = "top"
        else:
            return area, len(names) * step + 6
    colours = plot.colours
    if place == "right":
        lines = [font.wrap(name, 0.3 * (right - left), 2) for name in names]
        x, y = right - widest - 16, (top + bottom) / 2 - len(names) * step / 2
        if look.frame or plot.rng.random() < 0.3:
            y = top + 4
        y = max(y, top + 2)
        for index, wrapped in enumerate(lines):
            draw_swatch(plot, x, y + step / 2, colours[index % len(colours)][0])
            canvas.text(x + 13, y + step / 2, " ".join(wrapped), font, look.ink, "lm", role)
            y += step
        return (left, top, x - 8, bottom), 0.0
    rows = legend_rows(font, names, right - left - 8)
    height = len(rows) * step + 4
    y = top + step / 2 if place == "top" else bottom - height + step / 2 + 2
    for row in rows:
        total = sum(font.width(names[index]) + 24 for index in row) - 11
        x = left + 4 if place == "top" and look.title_anchor == "l" else (left + right - total) / 2
        for index in row:
            draw_swatch(plot, x, y, colours[index % len(colours)][0])
            canvas.text(x + 13, y, names[index], font, look.ink, "lm", role)
            x += font.width(names[index]) + 24
        y += step
    return ((left, top + height, right, bottom) if place == "top" else (left, top, right, bottom - height)), 0.0


def draw_inside_legend(plot: Plot, box: Box, names: list[str]) -> None:
    """The legend in an upper corner of the plot, whose axis left room for it."""
    look = plot.look
    font, step = plot.font(), look.size * 1.55
    wide = max(font.width(name) for name in names) + 22
    x = box[0] + 6 if plot.rng.random() < 0.5 else box[2] - wide - 4
    if look.frame:
        edge = (x - 3, box[1] + 3, x + wide, box[1] + 5 + step * len(names))
        plot.canvas.rectangle(edge, look.panel or look.background, (204, 204, 204))
    for index, name in enumerate(names):
        y = box[1] + 4 + step * (index + 0.5)
        draw_swatch(plot, x + 2, y, plot.colours[index % len(plot.colours)][0])
        plot.canvas.text(x + 16, y, name, font, look.ink, "lm", "series")


@dataclass(slots=True)
class NameRow:
    """How the names below a plot are written: flat, turned by degrees, or every `every`th from `first` on; `height` is
    what they take."""

    height: float
    lines: list[list[str]]
    degrees: int
    every: int
    font: Font
    first: int = 0


def plan_names(plot: Plot, slot: float, tallest: float, left: float) -> NameRow:
    """How to write the category names below slots of `slot` px, the first from `left` on, so that none overlap, in at
    most `tallest` px."""
    look, names = plot.look, plot.table.categories
    font = Font(look.bold, look.size) if look.names_bold else plot.font()
    if max(font.width(name) for name in names) <= slot - 0.45 * look.size:
        return NameRow(look.size * 1.5 + 3, [[name] for name in names], 0, 1, font)
    if slot > 26:
        wrapped = [font.wrap(name, slot - 4) for name in names]
        most = max(map(len, wrapped))
        if most <= 4 and all(font.width(line) <= slot - 2 for lines in wrapped for line in lines):
            return NameRow(look.size * (LINE * most + 0.4) + 3, wrapped, 0, 1, font)
    if plot.table.about == "time" and len(names) >= 8 and plot.table.kind in ("line", "area") and look.turn != 90:
        every = math.ceil((max(font.width(name) for name in names) + 5) / slot)
        if every <= 10:
            first = 0
            if every > 1 and all(name.isdigit() for name in names):
                every = next(step for step in (2, 5, 10) if step >= every)
                gap = int(names[1]) - int(names[0])
                first = next((index for index in range(every) if int(names[index]) % (every * gap) == 0), 0)
            return NameRow(look.size * 1.5 + 3, [[name] for name in names], 0, every, font, first)
    degrees = look.turn if slot > font.size * 0.9 else 90
    along = math.cos(math.radians(degrees))
    if any(font.width(name) * along > left + slot * (index + 0.5) for index, name in enumerate(names[:4])):
        degrees = 90
    if slot < font.size * 0.95:
        font = Font(look.font, max(6.5, slot / 0.95))
    need = max(font.width(name) for name in names) * math.sin(math.radians(degrees)) + font.size * 1.2
    if need > tallest:
        font = Font(look.font, max(6.0, font.size * tallest / need))
    return NameRow(min(need, tallest) + 5, [[name] for name in names], degrees, 1, font)


LINE = 1.24


def draw_names(plot: Plot, row: NameRow, left: float, slot: float, y: float, colours: bool = False) -> None:
    """Writes the category names below height `y`, the first one centred in the slot that starts at `left`."""
    canvas, look = plot.canvas, plot.look
    for index, lines in enumerate(row.lines):
        if (index - row.first) % row.every:
            continue
        x = left + slot * (index + 0.5)
        ink = plot.colours[index % len(plot.colours)][0] if colours else look.ink
        if row.degrees:
            end = (x + row.font.size * 0.25, y + row.font.size * 0.75) if row.degrees < 90 else (x, y + 4)
            canvas.turned(*end, lines[0], row.font, ink, row.degrees, "e", "category")
        else:
            canvas.lines(x, y + 4, lines, row.font, ink, "mt", "category")
