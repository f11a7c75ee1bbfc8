"""A given table as a chart shows it: years from left to right, a country a line, figures as they are printed."""

import math
import re
from dataclasses import dataclass
from itertools import pairwise

from train.pretrain.render.given import Asked, LeftOut

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
YEAR = re.compile(r"(?:.*[ ,'])?((?:1[6-9]|20)\d{2})(?:/\d{2,4}|-\d{2,4})?\*{0,3}|'(\d{2})(?:[/ ]'?\d{2})?\*{0,3}")
SHARE = re.compile(r"\b(share|percent\w*)\b|%")
MOST_CATEGORIES, MOST_SERIES, MOST_KNOWN = {"Statista": 24, "OWID": 40, "OECD": 24}, 8, 110
Values = list[list[float | None]]  # [series][category], None where missing


@dataclass(frozen=True)
class Given:
    """A table that can be drawn. time: categories are times in their order; percent: its figures are shares;
    decimals: most of a figure; title: what it is about, where its publisher says so."""

    publisher: str
    names: list[str]
    categories: list[str]
    values: Values
    time: bool
    percent: bool
    decimals: int
    title: str

    @property
    def cells(self) -> list[float]:
        """All figures that are known."""
        return known_of(self.values)

    @property
    def whole(self) -> bool:
        """Whether every figure is known and none is negative: only then can it be stacked or sliced."""
        return all(cell is not None and cell >= 0 for row in self.values for cell in row)


def squeeze(text: str) -> str:
    """Letters and digits alone, to compare what people wrote with what a table says."""
    return re.sub(r"[^a-z0-9]", "", text.lower())


def known_of(values: Values) -> list[float]:
    """The figures that are known, series by series."""
    return [cell for row in values for cell in row if cell is not None]


def number(cell: str) -> float | None:
    """A cell's number without its signs; None for one that holds none. Raises ValueError for text."""
    text = cell.strip().rstrip("%").replace(",", "").replace("\u2212", "-").strip()
    found = math.nan if text in ("", "-", "–", "nan") else float(text)
    if math.isinf(found):
        raise ValueError("infinite")
    return None if math.isnan(found) else found


def as_number(label: str) -> float | None:
    """An answer's number; None for an answer in words."""
    try:
        found = float(label.replace(",", "").replace("%", ""))
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def when(name: str) -> float | None:
    """A name of time as a number that orders it, in years; None for another name."""
    found = YEAR.fullmatch(name.strip())
    if not found:
        return None
    year = int(found[1]) if found[1] else int(found[2]) + (2000 if int(found[2]) < 40 else 1900)
    low = name.lower()
    month = next((index for index, word in enumerate(MONTHS) if re.search(rf"\b{word}", low)), None)
    quarter = re.search(r"\bq([1-4])", low)
    day = re.search(r"[a-z.] (\d{1,2}),", low)
    part = month / 12 if month is not None else (int(quarter[1]) - 1) / 4 if quarter else 0.0
    return year + part + (int(day[1]) / 400 if day else 0)


def tidy(text: str) -> str:
    """A text with single spaces, and an apostrophe where one was lost."""
    return re.sub(r"\s+", " ", text.replace("\ufffd", "'")).strip()


def oecd_title(stem: str) -> str:
    """What an OECD table is about, which its picture's name says: OECD_WORDS_COUNTRIES_NUMBER."""
    words = re.sub(r"_\d+$", "", stem)[5:].split("_")
    while len(words) > 1 and re.fullmatch(r"[A-Z0-9]{3}", words[-1]):
        words.pop()
    return " ".join(words).capitalize()


def in_order(categories: list[str], times: list[float], values: Values) -> tuple[list[str], list[float], Values]:
    """Times from the oldest to the newest; a table often begins with the newest."""
    if times[0] > times[-1]:
        times, categories, values = times[::-1], categories[::-1], [row[::-1] for row in values]
    if any(after < before for before, after in pairwise(times)):
        order = sorted(range(len(times)), key=lambda index: times[index])
        times = [times[index] for index in order]
        categories, values = [categories[i] for i in order], [[row[i] for i in order] for row in values]
    return categories, times, values


def bridged(times: list[float], values: Values) -> Values:
    """The values with those between two known ones put in: a line goes straight over years without a point."""
    values = [list(row) for row in values]
    for row in values:
        at = [(index, cell) for index, cell in enumerate(row) if cell is not None]
        for (a, before), (b, after) in pairwise(at):
            for index in range(a + 1, b):
                share = (times[index] - times[a]) / (times[b] - times[a])
                row[index] = before + share * (after - before)
    return values


def check_size(publisher: str, names: list[str], categories: list[str], known: list[float]) -> None:
    """Raises LeftOut for what does not fit into one chart, or says one name twice."""
    if len(known) < 2 or not any(known):
        raise LeftOut("of tables without figures")
    if len(categories) > MOST_CATEGORIES[publisher] or not 1 <= len(names) <= MOST_SERIES or len(known) > MOST_KNOWN:
        raise LeftOut("of tables that are too large")
    if len(set(categories)) < len(categories) or len(set(names)) < len(names):
        raise LeftOut("of tables that say a name twice")
    if max(map(len, categories)) > 64 or (len(names) > 1 and max(map(len, names)) > 48):
        raise LeftOut("of tables with long names")


def parse(one: Asked) -> Given:
    """The table of a question in the order of its chart. Raises LeftOut for one that cannot be drawn."""
    publisher, (first, *columns) = one.publisher, one.columns
    categories, names = [tidy(name) for name in first[1]], [tidy(name) for name, _ in columns]
    try:
        values: Values = [[number(cell) for cell in cells] for _, cells in columns]
    except ValueError:
        raise LeftOut("of tables with words among the figures") from None
    if any(len(row) != len(categories) for row in values):
        raise LeftOut("of tables with columns of several lengths")
    percent = any("%" in cell for _, cells in columns for cell in cells)
    measured, title = publisher != "Statista", ""  # measured: figures as they were computed, not as they are printed
    if measured and len(names) > 1 and all(when(name) is not None for name in names):
        names, categories = categories, names  # one country a row, one year a column: a line is a country
        values = [list(row) for row in zip(*values, strict=True)]
    if publisher == "OECD":
        title = oecd_title(one.stem)
    elif publisher == "OWID" and len(columns) == 1:
        title = names[0]
    if any(not name or name.lower() == "nan" for name in (*names, *categories)):
        raise LeftOut("of tables with nameless rows or columns")
    times = [time for time in map(when, categories) if time is not None]
    time = len(times) == len(categories) > 1
    if time:
        categories, times, values = in_order(categories, times, values)
        values = bridged(times, values) if measured else values
    keep = [index for index in range(len(categories)) if any(row[index] is not None for row in values)]
    categories, values = [categories[index] for index in keep], [[row[index] for index in keep] for row in values]
    full = [index for index, row in enumerate(values) if any(cell is not None for cell in row)]
    names, values = [names[index] for index in full], [values[index] for index in full]
    known = known_of(values)
    check_size(publisher, names, categories, known)
    if measured:
        percent = percent or (max(known) <= 100 and bool(SHARE.search(title.lower())))
        most = max(map(abs, known))
        decimals = 0 if most >= 10000 else 2 if most >= 1 else min(4, max(2, 2 - math.floor(math.log10(most))))
        values = [[None if cell is None else round(cell, decimals) for cell in row] for row in values]
    decimals = max(len(repr(cell).partition(".")[2]) if cell % 1 else 0 for cell in known_of(values))
    if decimals > (4 if measured else 3):
        raise LeftOut("of tables with many decimals")
    return Given(publisher, names, categories, values, time, percent, decimals, title)
