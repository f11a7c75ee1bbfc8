"""A canvas for charts that is fast and knows where every character lies.

Layout is in logical pixels and does not depend on `density`, the pixels drawn per logical pixel: text is measured
without hinting, so one chart drawn at two densities differs in sharpness only.
"""

import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from train.pretrain.scene import Box, Text

Colour = tuple[int, int, int]
Point = tuple[float, float]
FONT_FOLDER = Path(__file__).parent / "fonts"
LINE_HEIGHT = 1.24  # in font sizes
CAP_HALF = 0.36  # half a capital's height, in font sizes: what "middle" means for text


def rgb(colour: str) -> Colour:
    """`#rrggbb` as three bytes."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def readable_on(colour: Colour) -> Colour:
    """Black or white, whichever reads better on `colour`."""
    return (255, 255, 255) if 0.3 * colour[0] + 0.59 * colour[1] + 0.11 * colour[2] < 150 else (25, 25, 25)


def darker(colour: Colour) -> Colour:
    """A colour for text on white: as it is, or darkened when it is light."""
    light = 0.3 * colour[0] + 0.59 * colour[1] + 0.11 * colour[2]
    factor = min(1.0, 140 / max(1.0, light))
    return round(colour[0] * factor), round(colour[1] * factor), round(colour[2] * factor)


@cache
def advances(name: str) -> dict[str, float]:
    """Width of each character as a fraction of the font size, unhinted. After the name of a file may stand how many
    hundredths of the size lie between two letters: `OpenSans-Regular+6`."""
    face, _, apart = name.partition("+")
    font = ImageFont.truetype(str(FONT_FOLDER / f"{face}.ttf"), 200, layout_engine=ImageFont.Layout.BASIC)
    more = int(apart or 0) / 100
    known = (*range(32, 127), *range(160, 256), 0x2013, 0x2019)
    return {chr(code): font.getlength(chr(code)) / 200 + more for code in known}


class Font:
    """One face of `fonts/` at one logical size."""

    __slots__ = ("advance", "name", "size")

    def __init__(self, name: str, size: float) -> None:
        self.name, self.size, self.advance = name, size, advances(name)

    def width(self, text: str) -> float:
        """Logical pixels that `text` takes on one line."""
        advance = self.advance
        return self.size * sum([advance.get(character, 0.6) for character in text])

    def wrap(self, text: str, width: float, most: int = 9) -> list[str]:
        """`text` broken at spaces into lines of at most `width`; the last of `most` lines takes the rest."""
        lines: list[str] = []
        line = ""
        for word in text.split(" "):
            longer = f"{line} {word}" if line else word
            if line and self.width(longer) > width and len(lines) < most - 1:
                lines.append(line)
                line = word
            else:
                line = longer
        return [*lines, line]


# A character's coverage, as PIL draws it, and where its top left lies from the pen on the baseline; None for no ink.
Glyph = tuple[Any, int, int] | None


class Raster:
    """The face of a font at a size in real pixels, each character of which is drawn once."""

    def __init__(self, name: str, pixels: float) -> None:
        file = FONT_FOLDER / f"{name.partition('+')[0]}.ttf"
        self.face = ImageFont.truetype(str(file), pixels, layout_engine=ImageFont.Layout.BASIC)
        self.glyphs: dict[str, Glyph] = {}
        self.steps: dict[str, int] = {}

    def glyph(self, character: str) -> Glyph:
        """A character's picture."""
        if character not in self.glyphs:
            mask, (left, top) = self.face.getmask2(character, "L", anchor="ls")
            self.glyphs[character] = (mask, int(left), int(top)) if mask.size[0] and mask.size[1] else None
        return self.glyphs[character]

    def step(self, character: str) -> int:
        """Pixels from a character to the next, as PIL sets a line: hinted, therefore whole (no font here has kerns)."""
        if character not in self.steps:
            self.steps[character] = int(self.face.getlength(character))
        return self.steps[character]

    def line(self, text: str, height: int, baseline: float) -> Image.Image:
        """The coverage of a line of text on a picture of a given height, as PIL draws it from two pixels on."""
        picture = Image.new("L", (sum(map(self.step, text)) + 4, height))
        draw, pen, base = ImageDraw.Draw(picture).draw, 2, round(baseline)
        for character in text:
            glyph = self.glyph(character)
            if glyph is not None:
                mask, left, top = glyph
                draw.draw_bitmap((pen + left, base + top), mask, 255)
            pen += self.step(character)
        return picture


@cache
def raster(name: str, pixels: float) -> Raster:
    """The one raster of a face at a size."""
    return Raster(name, pixels)


class Canvas:
    """Draws shapes at once and texts, always on top, in `finish`. Arguments and `boxes` are logical pixels; what
    `texts` holds are pixels of the final picture.

    Shapes are drawn at `smooth` times the density and then reduced, because lines and circles of PIL have hard edges.
    """

    def __init__(self, width: float, height: float, background: Colour, density: float, smooth: int) -> None:
        self.width, self.height, self.density, self.smooth = width, height, density, smooth
        self.size = (round(width * density), round(height * density))
        self.image = Image.new("RGB", (self.size[0] * smooth, self.size[1] * smooth), background)
        self.pen = ImageDraw.Draw(self.image)
        self.scale = density * smooth
        self.texts: list[Text] = []
        self.boxes: list[Box] = []  # of `texts`, but for slanted ones
        self.written: list[tuple[Font, Colour, str, float, float]] = []
        self.slanted: list[tuple[Font, Colour, str, float, float, int]] = []

    def rectangle(self, box: Box, fill: Colour | None, outline: Colour | None = None) -> None:
        """A filled box; at least one pixel wide and high."""
        scale = self.scale
        x0, y0, x1, y1 = (round(side * scale) for side in box)
        if x1 < x0:
            x0, x1 = x1, x0
        if y1 < y0:
            y0, y1 = y1, y0
        self.pen.rectangle((x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)), fill=fill, outline=outline)

    def line(self, points: Sequence[Point], colour: Colour, width: float = 1.0) -> None:
        """A solid line through `points`."""
        scale = self.scale
        self.pen.line(
            [(x * scale, y * scale) for x, y in points],
            fill=colour,
            width=max(1, round(width * scale)),
            joint="curve" if len(points) > 2 else None,
        )

    def dashes(self, start: Point, end: Point, colour: Colour, width: float = 1.0, dash: float = 3.0) -> None:
        """A dashed line, level or upright."""
        length = abs(end[0] - start[0]) + abs(end[1] - start[1])
        if length < dash:
            return
        dx, dy = (end[0] - start[0]) / length, (end[1] - start[1]) / length
        scale, at = self.scale, 0.0
        draw = self.pen.draw  # `ImageDraw.line` would look up the colour for every dash
        ink, wide = draw.draw_ink(colour), max(1, round(width * scale))
        while at < length:
            stop = min(length, at + dash)
            begin = (start[0] + dx * at) * scale, (start[1] + dy * at) * scale
            draw.draw_lines((begin, ((start[0] + dx * stop) * scale, (start[1] + dy * stop) * scale)), ink, wide)
            at += 2 * dash

    def polygon(self, points: Sequence[Point], fill: Colour) -> None:
        """A filled polygon."""
        self.pen.polygon([(x * self.scale, y * self.scale) for x, y in points], fill=fill)

    def dot(self, x: float, y: float, radius: float, fill: Colour, outline: Colour | None = None) -> None:
        """A filled circle."""
        scale = self.scale
        self.pen.ellipse(
            ((x - radius) * scale, (y - radius) * scale, (x + radius) * scale, (y + radius) * scale),
            fill=fill,
            outline=outline,
            width=max(1, round(0.9 * scale)),
        )

    def slice(self, x: float, y: float, radius: float, angles: tuple[float, float], fill: Colour, edge: Colour) -> None:
        """A slice of a pie between two angles in degrees, clockwise from three o'clock."""
        scale = self.scale
        self.pen.pieslice(
            ((x - radius) * scale, (y - radius) * scale, (x + radius) * scale, (y + radius) * scale),
            *angles,
            fill=fill,
            outline=edge,
            width=max(1, round(0.7 * scale)),
        )

    def clear(self, box: Box, margin: float = 0.0) -> bool:
        """Whether no text lies in `box` (logical pixels)."""
        x0, y0, x1, y1 = box[0] - margin, box[1] - margin, box[2] + margin, box[3] + margin
        return all(bx1 <= x0 or bx0 >= x1 or by1 <= y0 or by0 >= y1 for bx0, by0, bx1, by1 in self.boxes)

    def text(self, x: float, y: float, text: str, font: Font, colour: Colour, anchor: str, role: str) -> Box:
        """One line. `anchor`: l, m or r, then t (capitals' top), m or b (baseline) at `y`. Returns its logical box."""
        return self.lines(x, y, [text], font, colour, anchor, role)

    def lines(
        self, x: float, y: float, lines: Sequence[str], font: Font, colour: Colour, anchor: str, role: str
    ) -> Box:
        """Lines of one text, recorded as a single `Text`. Returns its logical box."""
        size, scale, advance = font.size, self.density, font.advance
        step, cap = size * LINE_HEIGHT, 2 * CAP_HALF * size
        total = cap + step * (len(lines) - 1)
        baseline = y + cap - (0.0 if anchor[1] == "t" else total / 2 if anchor[1] == "m" else total)
        top = baseline - cap
        centres: list[Point] = []
        left, right = x, x
        for line in lines:
            width = font.width(line)
            at = x if anchor[0] == "l" else x - width / 2 if anchor[0] == "m" else x - width
            left, right = min(left, at), max(right, at + width)
            self.written.append((font, colour, line, at, baseline))
            middle = (baseline - cap / 2) * scale
            for character in line:
                wide = advance.get(character, 0.6) * size
                if character != " ":
                    centres.append(((at + wide / 2) * scale, middle))
                at += wide
            baseline += step
        box = (left, top - 0.12 * size, right, top + total + 0.2 * size)
        self.record(" ".join(lines), role, box, centres)
        return box

    def turned(
        self, x: float, y: float, text: str, font: Font, colour: Colour, degrees: int, anchor: str, role: str
    ) -> Box:
        """One line turned counter-clockwise by 0 < `degrees` <= 90, or by 270; `anchor` m has its middle at (x, y),
        e its end, s its start. Returns its logical box."""
        size, scale, width = font.size, self.density, font.width(text)
        angle = math.radians(degrees)
        along, up = math.cos(angle), -math.sin(angle)
        if anchor != "m":
            sign = 1 if anchor == "e" else -1
            x, y = x - sign * along * width / 2, y - sign * up * width / 2
        self.slanted.append((font, colour, text, x, y, degrees))
        centres: list[Point] = []
        at = -width / 2
        for character in text:
            wide = font.advance.get(character, 0.6) * size
            if character != " ":
                centres.append(((x + along * (at + wide / 2)) * scale, (y + up * (at + wide / 2)) * scale))
            at += wide
        half_wide = abs(along) * width / 2 + abs(up) * size * 0.5
        half_high = abs(up) * width / 2 + abs(along) * size * 0.5
        box = (x - half_wide, y - half_high, x + half_wide, y + half_high)
        self.record(text, role, box, centres, solid=degrees in (90, 270))
        return box

    def record(self, text: str, role: str, box: Box, centres: list[Point], solid: bool = True) -> None:
        """Notes a text's place; the boxes of slanted texts overlap without their inks doing so: not `solid`."""
        scale = self.density
        self.texts.append(Text(text, role, (box[0] * scale, box[1] * scale, box[2] * scale, box[3] * scale), centres))
        if solid:
            self.boxes.append(box)

    def finish(self) -> Image.Image:
        """The picture at its final size, with its texts."""
        image = self.image.reduce(self.smooth) if self.smooth > 1 else self.image
        pen, scale = ImageDraw.Draw(image), self.density
        pen.fontmode = "L"
        draw = pen.draw  # `ImageDraw.bitmap` would look up the colour for every character
        for font, colour, line, start, baseline in self.written:
            at = start
            size, advance = font.size, font.advance
            glyph_of = raster(font.name, max(4.0, round(size * scale * 2) / 2)).glyph
            base_pixel, ink = round(baseline * scale), draw.draw_ink(colour)
            for character in line:
                if character != " ":
                    glyph = glyph_of(character)
                    if glyph is not None:
                        mask, left, top = glyph
                        draw.draw_bitmap((round(at * scale) + left, base_pixel + top), mask, ink)
                at += advance.get(character, 0.6) * size
        for font, colour, text, x, y, degrees in self.slanted:
            size = font.size * scale
            height = math.ceil(1.5 * size) + 2
            face = raster(font.name, max(4.0, round(size * 2) / 2))
            picture = face.line(text, height, height / 2 + CAP_HALF * size)
            if degrees in (90, 270):
                picture = picture.transpose(Image.Transpose.ROTATE_90 if degrees == 90 else Image.Transpose.ROTATE_270)
            else:
                picture = picture.rotate(degrees, Image.Resampling.BILINEAR, expand=True)
            image.paste(colour, (round(x * scale - picture.width / 2), round(y * scale - picture.height / 2)), picture)
        return image
