"""Lessons in the manner of what is published: Pew's two-sided bars and sections, dots on a line, names on the lines.

Only lessons are drawn so. Held-out charts stay what they were, so that their figures can be compared over time.
"""

import random
from functools import cache

from train.pretrain.charts.drawing.palettes import PUBLISHED_SWATCHES, SWATCHES
from train.pretrain.charts.drawing.styles import Style
from train.pretrain.charts.words.coining import held_out_names, is_free
from train.pretrain.charts.words.lists import words

LOOKS = {"statista": 34, "pew": 30, "owid": 14, "oecd": 7, "matplotlib": 5, "spreadsheet": 6, "slides": 4}
KINDS = {
    "pew": {"hbar": 15, "stacked_h": 30, "grouped_h": 14, "line": 19, "pie": 12, "bar": 4, "grouped": 3, "stacked": 3},
    "owid": {"line": 58, "hbar": 24, "grouped_h": 5, "stacked_h": 5, "area": 3, "bar": 3, "scatter": 2},
    "oecd": {"line": 48, "bar": 30, "hbar": 8, "grouped": 8, "stacked": 6},
}
LEVEL = ("hbar", "grouped_h", "stacked_h")
# How many times its pixels a published picture is shown with on its canvas: Statista's 800 x 557 at 0.805, Our World in
# Data's 850 x 600 at 0.757; Pew's are 309 or 420 wide and enlarged by up to 1.5, or 620 and more and made smaller.
SHOWN = {
    "statista": (0.805, 0.805, 0.805, 0.805, 0.595, 0.72),
    "pew": (1.5, 1.5, 1.5, 1.5, 1.3, 1.13, 0.77, 0.77, 0.57),
    "owid": (0.757, 0.757, 0.757, 0.65),
    "oecd": (0.757, 0.805, 0.6, 1.1),
}
ANYHOW = (0.58, 0.67, 0.8, 0.92, 1.15, 1.28, 1.44, 1.64)
AS_PUBLISHED = 0.7  # share of the lessons; the rest is drawn as sharp as a canvas shows it

# Rows of surveys: everybody first, then one section a trait.
SECTIONS = (
    ("Men", "Women"),
    ("White", "Black", "Hispanic"),
    ("White", "Black", "Hispanic", "Asian*"),
    ("18-29", "30-49", "50-64", "65+"),
    ("Ages 18-29", "30-49", "50-64", "65+"),
    ("18-34", "35-49", "50+"),
    ("18-49", "50+"),
    ("Republican", "Democrat", "Independent"),
    ("Republican", "Independent", "Democrat"),
    ("Rep/Lean Rep", "Dem/Lean Dem"),
    ("Rep/Lean Rep", "Conserv", "Mod/Lib"),
    ("Dem/Lean Dem", "Cons/Mod", "Liberal"),
    ("Conservative", "Moderate", "Liberal"),
    ("Postgrad", "College grad", "Some college", "HS or less"),
    ("College grad+", "Some college", "HS or less"),
    ("College+", "Some college or less"),
    ("$75,000+", "$30,000-$74,999", "Less than $30,000"),
    ("$100,000 or more", "$75K-$99,999", "$30K-$74,999", "Less than $30,000"),
    ("Upper income", "Middle income", "Lower income"),
    ("Protestant", "Catholic", "Unaffiliated"),
    ("White evangelical", "White mainline", "Black Protestant", "Catholic", "Unaffiliated"),
    ("Urban", "Suburban", "Rural"),
    ("Northeast", "Midwest", "South", "West"),
    ("Parents", "Non-parents"),
    ("Trump supporters", "Clinton supporters"),
    ("Millennial", "Gen X", "Boomer", "Silent"),
    ("Gen Z", "Millennial", "Gen X", "Boomer", "Silent"),
    ("U.S. born", "Foreign born"),
    ("Married", "Not married"),
    ("Voters", "Nonvoters"),
)
FIRST = ("Total", "All adults", "All", "U.S. adults", "U.S.", "MEDIAN", "All voters", "Among all", "TOTAL")
JOINTS = (
    "of",
    "in",
    "for",
    "with",
    "and",
    "to",
    "by",
    "from",
    "on",
    "about",
    "at",
    "than",
    "the",
    "a",
    "their",
    "more",
)


@cache
def sections() -> tuple[tuple[str, ...], ...]:
    """What the first row may be called, and the sections, without names that are kept for held-out charts."""
    kept = held_out_names()[0]
    found = (tuple(name for name in section if name.lower() not in kept) for section in (FIRST, *SECTIONS))
    return tuple(section for section in found if len(section) > 1)


def survey_rows(rng: random.Random, most: int) -> tuple[list[str], tuple[int, ...]]:
    """Names of a survey's rows, at most `most`, and where each section but the first begins."""
    first, *others = sections()
    names, starts = [rng.choice(first)], []
    for section in rng.sample(others, rng.choice((1, 2, 2, 3, 3, 4))):
        if len(names) + len(section) > most or set(section) & set(names):
            continue
        starts.append(len(names))
        names += section
    return names, tuple(starts)


def statement(rng: random.Random, longest: int) -> str:
    """Three to eight real words like an answer that people could choose: `Voting on the proposed budget by mail`."""
    while True:
        parts = []
        for place in range(rng.randint(2, 5)):
            if place and rng.random() < 0.55:
                parts.append(rng.choice(JOINTS))
            parts.append(rng.choice(words("english", held_out=False)))
        text = " ".join(parts)
        text = text[0].upper() + text[1:]
        if " " in text and len(text) <= longest and is_free(text):
            return text


def statements(rng: random.Random, count: int, longest: int) -> list[str]:
    """`count` different ones."""
    found: dict[str, None] = {}
    while len(found) < count:
        found[statement(rng, longest)] = None
    return list(found)


def choose(rng: random.Random, kind: str) -> tuple[str, str]:
    """Look and kind of a lesson."""
    name = rng.choices(list(LOOKS), list(LOOKS.values()))[0]
    if name in KINDS:
        kind = rng.choices(list(KINDS[name]), list(KINDS[name].values()))[0]
    return name, kind


def density(rng: random.Random, look: str, sharp: float) -> float:
    """Pixels per logical pixel of a lesson of `look`: mostly as its model's pictures come, which a canvas then shows
    smaller or larger; else `sharp`, at which nothing is resampled."""
    return sharp / rng.choice(SHOWN.get(look, ANYHOW)) if rng.random() < AS_PUBLISHED else sharp


def dress(rng: random.Random, look: Style, kind: str) -> None:
    """Makes a lesson's look more like its model's, now and then in any colours, so that each is met in every look."""
    if look.name == "pew":
        if rng.random() < 0.65:
            look.font, look.bold, look.title_font = "LibreFranklin-Regular", "LibreFranklin-Bold", "LibreFranklin-Bold"
            look.italic = "Gelasio-Italic"
        palette = list(PUBLISHED_SWATCHES[rng.choice(PEW)])
        if rng.random() < 0.35:
            rng.shuffle(palette)
        look.colours = palette
        look.sided = kind in ("stacked_h", "grouped_h") and rng.random() < 0.4
        look.dots = kind == "grouped_h" and not look.sided and rng.random() < 0.3
        look.sections = kind in LEVEL and rng.random() < 0.4
        look.statements = kind in LEVEL and not look.sections and rng.random() < 0.35
        look.inline = kind == "line" and rng.random() < 0.7
        look.inside_slices = kind == "pie" and rng.random() < 0.75
        if look.inline:
            look.legend, look.coloured_labels = "direct", rng.random() < 0.8
        if kind in LEVEL and rng.random() < 0.5:
            look.size = min(look.size, rng.choice((8, 8.5, 9, 9.5)))
            look.label_size = look.size
            look.small_size = max(6.8, look.size - 1.5)
    elif look.name == "owid":
        look.crowded = kind == "line" and rng.random() < 0.3
        if rng.random() < 0.4:
            look.font, look.bold = "Meadow-Regular", "Meadow-Bold"
        look.dots = kind == "grouped_h" and rng.random() < 0.5
    elif look.name == "statista":
        look.statements = kind in LEVEL and rng.random() < 0.3
        if rng.random() < 0.6:  # a browser sets these small letters on whole pixels, apart from each other
            apart = rng.choice((4, 6, 8, 10))
            look.font, look.bold = f"{look.font}+{apart}", f"{look.bold}+{apart}"
    elif look.name == "oecd":
        look.crowded = kind == "line" and rng.random() < 0.2
        look.spotlight = kind in ("bar", "hbar") and rng.random() < 0.35
    if look.name in ("owid", "oecd"):
        look.places, look.few = rng.random() < 0.6, rng.random() < 0.6
        look.each_colour = look.each_colour or (look.few and rng.random() < 0.5)
        look.labelled_share *= 0.5 if look.name == "oecd" else 0.65
    if rng.random() < 0.2:
        look.colours = list(EVERY[rng.randrange(len(EVERY))])
        rng.shuffle(look.colours)


EVERY = (*SWATCHES.values(), *PUBLISHED_SWATCHES.values())
PEW = ("pew_real", "pew_real", "pew_browns", "pew_greens", "pew_sides", "pew_party")
