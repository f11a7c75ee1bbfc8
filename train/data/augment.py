"""A chart as it could have come another time: elsewhere on its page, resampled, a little lighter or darker.

A row that is shown several times is learned by heart sooner than a row that looks different every time. What a question
can be about stays: nothing is cut but empty margin, nothing is turned, mirrored or coloured anew.
"""

import random
from io import BytesIO

import numpy as np
from PIL import Image, ImageChops

from chartqa_demo.images import load_chart

MARGIN = 0.12  # widest margin on each side, of the chart's own width or height
RING = 0.025  # of the shorter side: what is looked at to see the paper's colour
NEARLY_EMPTY = 4  # times as wide or high as all that is on it: such a page keeps its margins
RESAMPLED, AS_JPEG = 1 / 2, 1 / 3  # how often
SMALLER, LARGER = 0.7, 1.25
STRETCH = 0.028  # of either side: the shape changes by less than 6 %
LEGIBLE = 560  # pixels of the longer side: below it a chart is not made smaller, for its letters have few pixels
QUALITY = 60, 95
LIGHT = 0.05  # most that brightness and contrast change


def moved(image: Image.Image, chance: random.Random) -> Image.Image:
    """`image` in RGB with other margins, in slightly other light, sometimes once a JPEG, sometimes resampled.

    `chance` decides it all: in the same state it gives the same picture. Transparency comes on white.
    """
    image = _in_other_light(load_chart(image), chance)
    paper = _paper(image)
    chart = image.crop(_inside(image, paper))
    if chance.random() < AS_JPEG:
        file = BytesIO()
        chart.save(file, "JPEG", quality=chance.randint(*QUALITY))
        chart = Image.open(file, formats=("JPEG",)).convert("RGB")
    if chance.random() < RESAMPLED:
        chart = _resampled(chart, chance)
    left, top, right, bottom = (round(chance.uniform(0, MARGIN) * side) for side in chart.size * 2)
    page = Image.new("RGB", (left + chart.width + right, top + chart.height + bottom), paper)
    page.paste(chart, (left, top))
    return page


def _paper(image: Image.Image) -> tuple[int, int, int]:
    """The commonest colour near the edges: of a framed chart what the frame encloses, not the frame."""
    pixels = np.asarray(image)
    wide = max(4, round(RING * min(image.size)))
    ring = [pixels[:wide], pixels[-wide:], pixels[:, :wide], pixels[:, -wide:]]
    red, green, blue = np.concatenate([part[::2, ::2].reshape(-1, 3) for part in ring]).T.astype(np.int32)
    found, counts = np.unique(red << 16 | green << 8 | blue, return_counts=True)
    commonest = int(found[counts.argmax()])
    return commonest >> 16, commonest >> 8 & 255, commonest & 255


def _inside(image: Image.Image, paper: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """The box (left, top, right, bottom) of all that is not of the paper's very colour; all of a picture with nearly
    nothing on it, which could come out too small or thin for a base."""
    drawn = ImageChops.difference(image, Image.new("RGB", image.size, paper)).getbbox() or (0, 0, 0, 0)
    wide, high = NEARLY_EMPTY * (drawn[2] - drawn[0]), NEARLY_EMPTY * (drawn[3] - drawn[1])
    return drawn if wide >= image.width and high >= image.height else (0, 0, *image.size)


def _resampled(chart: Image.Image, chance: random.Random) -> Image.Image:
    """In another size and nearly the same shape; on a canvas of one size that is a little blur."""
    scale = chance.uniform(max(SMALLER, min(1.0, LEGIBLE / max(chart.size))), LARGER)
    width, height = (max(1, round(scale * chance.uniform(1 - STRETCH, 1 + STRETCH) * side)) for side in chart.size)
    return chart.resize((width, height), Image.Resampling.BILINEAR)


def _in_other_light(image: Image.Image, chance: random.Random) -> Image.Image:
    """All three colours by one line that ends within 0 and 255: no hue changes, and what is pale stays apart."""
    contrast = chance.uniform(1 - LIGHT, 1)
    black = 255 * chance.uniform(0, 1 - contrast)
    return image.point([round(black + contrast * level) for level in range(256)] * 3)
