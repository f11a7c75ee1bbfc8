"""The table behind a chart: what it is about, names, and numbers that its drawing will let a reader see."""

import math
import random
from dataclasses import dataclass, field

from train.pretrain.figures import PLAIN, UNITS, Figures, Unit
from train.pretrain.looks import Look
from train.pretrain.measures import MEASURES, MONTHS, NAMES, PAIRS, SCALES, Measure, Names
from train.pretrain.words import invented, words

Values = list[list[float | None]]
CHARACTER = 0.57  # a digit's usual width in font sizes


@dataclass(slots=True)
class Table:
    """values[series][category], None where missing. noun, plural: what one and many categories are called (country,
    countries); about: their class (time, place, owner, thing, group, answer); series_noun: what a series is; full:
    each category's segments make up a whole; labelled: value labels are to be printed; readable: every value lies
    where an axis shows it; who, place, when: context that the names leave open, "" where there is none."""

    kind: str
    measure: Measure
    unit: Unit
    figures: Figures
    categories: list[str]
    noun: str
    plural: str
    about: str
    series: list[str]
    series_noun: str
    values: Values
    labelled: bool
    readable: bool
    full: bool = False
    who: str = ""
    place: str = ""
    when: str = ""
    second: tuple[Measure, Unit] | None = None  # a scatter's other axis
    title: str = ""
    subtitle: str = ""
    axis_title: str = ""
    notes: list[str] = field(default_factory=list)

    def text(self) -> str:
        """The table as lines of cells: title, header where there is more than one series, then one category a line."""
        lines = [self.title] if self.title else []
        if len(self.series) > 1:
            lines.append(" | ".join([self.noun, *self.series]))
        for index, category in enumerate(self.categories):
            cells = [row[index] for row in self.values]
            lines.append(" | ".join([category, *("-" if cell is None else self.figures.plain(cell) for cell in cells)]))
        return "\n".join(lines)


def times(rng: random.Random, count: int) -> tuple[list[str], str, str]:
    """`count` successive times as printed, and their noun and plural."""
    draw = rng.random()
    if draw < 0.78:
        step = rng.choice((1, 1, 1, 1, 1, 1, 2, 5, 10)) if count < 9 else rng.choice((1, 1, 1, 2))
        span = step * (count - 1)
        last = rng.randint(max(1950 + span, 2005), 2026) if rng.random() < 0.85 else rng.randint(1890 + span, 2060)
        names = [str(last - span + step * index) for index in range(count)]
        if step == 10 and rng.random() < 0.4:
            names = [f"{int(name) // 10 * 10}s" for name in names]
        return names, "year", "years"
    if draw < 0.85:
        first = rng.randint(1998, 2024 - min(count, 20))
        return [f"{first + index}/{(first + index + 1) % 100:02d}" for index in range(count)], "year", "years"
    if draw < 0.94 and count <= 12:
        first = rng.randrange(12)
        names = [MONTHS[(first + index) % 12] for index in range(count)]
        style = rng.random()
        if style < 0.55:
            names = [name[:3] for name in names]
        elif style < 0.75:
            year = rng.randint(10, 22)
            names = [f"{name[:3]} '{year + (first + index) // 12}" for index, name in enumerate(names)]
        return names, "month", "months"
    first, year = rng.randrange(4), rng.randint(2009, 2022)
    pattern = rng.choice(("Q{} {}", "Q{} '{:02d}", "{1} Q{0}", "Q{}/{}"))
    names = []
    for index in range(first, first + count):
        shown = year + index // 4
        names.append(pattern.format(index % 4 + 1, shown % 100 if "02d" in pattern else shown))
    return names, "quarter", "quarters"


def ranges(rng: random.Random, count: int) -> tuple[list[str], str, str]:
    """Age, income or waiting-time brackets."""
    draw = rng.random()
    if draw < 0.6:
        first, step = rng.choice(((18, 10), (15, 10), (16, 8), (20, 5), (25, 10), (18, 12), (13, 6), (0, 15)))
        end = rng.choice(("{}+", "{} and older", "{}+", "{} years and over"))
        years = " years" if end.endswith("over") else rng.choice(("", "", "", " years", " year olds"))
        dash = rng.choice(("-", "-", "–", " to "))
        names = [f"{first + step * index}{dash}{first + step * (index + 1) - 1}{years}" for index in range(count - 1)]
        return [*names, end.format(first + step * (count - 1))], "age group", "age groups"
    if draw < 0.8:
        step = rng.choice((10, 20, 25, 30, 50))
        names = [f"${step * index},000-${step * (index + 1) - 1},999" for index in range(1, count - 1)]
        return [f"Less than ${step},000", *names, f"${step * (count - 1)},000 or more"], "income group", "income groups"
    step = rng.choice((5, 10, 15, 30))
    names = [f"{step * index + 1}-{step * (index + 1)} mins" for index in range(1, count - 1)]
    return [f"{step} minutes or less", *names, f"More than {step * (count - 1)} mins"], "time range", "time ranges"


def distinct(rng: random.Random, names: Names, count: int, held_out: bool, longest: int) -> list[str]:
    """`count` different names of one list, none longer than `longest` where the list allows."""
    if not names.subject:
        found: dict[str, None] = {}
        while len(found) < count:
            found[invented(rng, held_out)] = None
        return list(found)
    pool = words(names.subject, held_out)
    short = [word for word in pool if len(word) <= longest]
    return rng.sample(short if len(short) >= count else pool, count)


def pick_names(rng: random.Random, about: str, count: int, held_out: bool, longest: int) -> tuple[list[str], Names]:
    """Names of a class and the list that they come from."""
    lists = [names for names in NAMES if names.about in about]
    names = rng.choices(lists, [names.weight for names in lists])[0]
    if names.subject and len(words(names.subject, held_out)) < count:
        names = NAMES[0]
    found = distinct(rng, names, count, held_out, longest)
    if names.about in ("answer", "owner", "thing") and rng.random() < 0.08:
        found[-1] = rng.choice(("Other", "Others", "Other", "Don't know"))
    return found, names


def pick_series(rng: random.Random, table_about: str, noun: str, count: int, held_out: bool) -> tuple[list[str], str]:
    """Names of the series of a table over categories of a class, and what one of them is."""
    draw = rng.random()
    if table_about != "time" and draw < 0.3:
        last, step = rng.randint(2004, 2024), rng.choice((1, 1, 2, 5, 10))
        return [str(last - step * index) for index in range(count)][:: rng.choice((1, -1, -1))], "year"
    if draw < 0.48:
        pairs = [pair for pair in PAIRS if len(pair) == count] or [pair for pair in PAIRS if len(pair) == 2]
        return list(rng.choice(pairs)), "group"
    about = rng.choice([name for name in ("place", "owner", "thing", "group") if name != table_about])
    found, names = pick_names(rng, about, count, held_out, 24)
    return found, names.noun if names.noun != noun else "series"


def curve(rng: random.Random, count: int) -> list[float]:
    """Values over time between 0 and 1: drift, noise and sometimes a jump."""
    level, drift, noise = rng.uniform(0.15, 0.9), rng.uniform(-0.07, 0.09), rng.uniform(0.01, 0.13)
    drift *= 9 / max(9, count)
    found = []
    for _ in range(count):
        found.append(level)
        level = min(1.0, max(0.02, level + drift + rng.gauss(0, noise)))
        if rng.random() < 0.04:
            level = rng.uniform(0.1, 1.0)
    return found


def spread(rng: random.Random, count: int) -> list[float]:
    """Values over categories between 0 and 1: even, close together or with a long tail, often sorted."""
    style = rng.random()
    if style < 0.5:
        found = [rng.uniform(0.06, 1.0) for _ in range(count)]
    elif style < 0.7:
        found = [rng.uniform(0.55, 1.0) for _ in range(count)]
    else:
        power = rng.uniform(0.4, 1.3)
        found = [(index + 1) ** -power * rng.uniform(0.8, 1.1) for index in range(count)]
        rng.shuffle(found)
    order = rng.random()
    if order < 0.5:
        found.sort(reverse=True)
    elif order < 0.62:
        found.sort()
    return found


def shares(rng: random.Random, count: int, whole: float, decimals: int) -> list[float]:
    """`count` positive numbers of a given number of decimals that add up to `whole` exactly."""
    unit = 10**-decimals
    weights = [rng.random() ** rng.choice((1, 1, 2)) + 0.06 for _ in range(count)]
    total = sum(weights)
    parts = [max(1, math.floor(weight / total * whole / unit)) for weight in weights]
    parts[parts.index(max(parts))] += round(whole / unit) - sum(parts)
    found = [round(part * unit, decimals) for part in parts]
    if rng.random() < 0.45:
        found.sort(reverse=True)
    return found


def readable_step(largest: float, rng: random.Random) -> float:
    """A round number near a hundredth of `largest`: what can be read off an axis."""
    target = largest / 100 * rng.choice((0.8, 1.2, 1.2, 2.5))
    power = 10.0 ** math.floor(math.log10(target))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= target * 0.99)


def step_decimals(step: float) -> int:
    """Decimals needed to write multiples of a round step."""
    return max(0, -math.floor(math.log10(step) + 1e-9))


def pick_figures(rng: random.Random, unit: Unit, decimals: int, look: Look, labelled: bool) -> Figures:
    """The chart's number format."""
    prefix, suffix = rng.choice(unit.printed if labelled else PLAIN)
    tick_suffix = ""
    if (
        suffix == "%"
        or (unit.percent
        and rng.random() < 0.4)
        or (look.long_ticks
        and suffix)
        or (len(suffix) == 1
        and rng.random() < 0.5)
    ):
        tick_suffix = suffix or "%"
    tick_prefix = prefix if prefix and rng.random() < 0.7 else ""
    strip = decimals > 0 and rng.random() < (0.9 if look.name == "statista" else 0.6)
    return Figures(
        decimals,
        strip or not labelled,
        look.separator,
        prefix,
        suffix,
        tick_prefix,
        tick_suffix,
        unit.before,
        unit.after,
    )


def make_values(rng: random.Random, kind: str, time: bool, series: int, count: int) -> list[list[float]]:
    """Numbers between 0 and 1, series by category."""
    if time:
        rows = [curve(rng, count) for _ in range(series)]
    else:
        base = spread(rng, count)
        mix = rng.choice((0.2, 0.5, 1.0)) if series > 1 else 0.0
        rows = [[(1 - mix) * cell + mix * rng.uniform(0.05, 1.0) for cell in base] for _ in range(series)]
    if series > 1 and (kind in ("line", "area", "stacked", "stacked_h") or rng.random() < 0.4):
        for row in rows:
            factor = rng.uniform(0.25, 1.0)
            row[:] = [max(0.02, cell * factor) for cell in row]
    top = max(max(row) for row in rows)
    return [[cell / top for cell in row] for row in rows]


def size_of(rng: random.Random, kind: str, look: Look) -> tuple[int, int]:
    """How many categories and series a chart of this kind and size holds."""
    few = rng.choices(range(2, 10), (5, 12, 14, 14, 12, 8, 5, 3))[0]
    if kind in ("pie", "donut"):
        return rng.choices(range(2, 9), (10, 20, 24, 18, 10, 6, 3))[0], 1
    if kind == "scatter":
        return rng.randint(5, 13), 2
    if kind in ("grouped", "grouped_h", "stacked", "stacked_h"):
        series = rng.choices((2, 3, 4, 5), (48, 30, 16, 6))[0]
        if kind == "grouped" and look.width < 380:
            series = min(series, 3)
        most = {"grouped": 30, "grouped_h": 32}.get(kind, 14 * series) // series
        return max(1 if rng.random() < 0.03 else 2, min(few, most)), series
    if kind in ("line", "area"):
        series = rng.choices((1, 2, 3, 4, 5), (40, 25, 18, 11, 6))[0]
        if kind == "area":
            series = max(2, series)
        return rng.choices(
            (rng.randint(2, 4), rng.randint(5, 9), rng.randint(10, 15), rng.randint(16, 24)), (12, 48, 30, 10)
        )[0], series
    return rng.choices(
        (rng.randint(3, 6), rng.randint(6, 10), rng.randint(10, 14), rng.randint(14, 20)), (36, 40, 17, 7)
    )[0], 1


def label_fits(
    rng: random.Random, kind: str, look: Look, largest: float, figures: Figures, count: int, series: int
) -> bool:
    """Whether printed value labels have room beside, above or in the marks."""
    label = len(figures.printed(largest)) * CHARACTER * look.label_size
    across = (look.width - 60) / count
    if kind in ("bar", "line"):
        return label < across * (1.0 if kind == "bar" else 1.15) or (
            look.turned_labels and kind == "bar" and look.label_size < across
        )
    if kind == "grouped":
        return label < across / series * 0.92
    if kind in ("stacked", "area"):
        return label < across * 0.7
    if kind == "stacked_h":
        return label * series < look.width * 0.42
    if kind == "grouped_h":
        return (look.height - 90) / (count * series) > look.label_size * 0.95
    return True


def make_table(rng: random.Random, kind: str, look: Look, held_out: bool) -> Table:
    """A table for a chart of `kind` in `look`, without its title and notes (`headlines.write_headline`)."""
    count, series_count = size_of(rng, kind, look)
    full = (
        (kind in ("pie", "donut")
        and rng.random() < 0.88)
        or (kind in ("stacked", "stacked_h", "area")
        and rng.random() < (0.7 if kind == "stacked_h" else 0.35))
    )
    measures = (
        [measure for measure in MEASURES if (UNITS[measure.unit].percent and not measure.negative) == full]
        if full or rng.random() < 0.6
        else list(MEASURES)
    )
    if kind in ("pie", "donut", "area", "stacked", "stacked_h", "scatter"):
        measures = [measure for measure in measures if not measure.negative]
    time = rng.random() < {"line": 0.92, "area": 1.0, "bar": 0.42, "grouped": 0.35, "stacked": 0.45}.get(kind, 0.07)
    if kind in ("pie", "donut", "scatter"):
        time = False
    if full and rng.random() < 0.8:
        measures = [measure for measure in measures if measure.unit == "percent"]
    measure = rng.choice(measures)
    unit = UNITS[measure.unit]
    longest = 34 if kind in ("hbar", "grouped_h", "stacked_h") else 18 if count > 6 else 24
    who = place = when = ""
    if time:
        categories, noun, plural = times(rng, count)
        about = "time"
    elif kind != "scatter" and (
        (not full
        and rng.random() < 0.07
        and count <= 9)
        or ("group" in measure.about
        and rng.random() < 0.3
        and 3 <= count <= 8)
    ):
        categories, noun, plural = ranges(rng, max(3, count))
        about = "group"
    elif kind != "scatter" and "answer" in measure.about and rng.random() < 0.25:
        categories, noun, plural, about = list(rng.choice(SCALES)), "answer", "answers", "answer"
    else:
        categories, names = pick_names(rng, measure.about, count, held_out, longest)
        noun, plural, about = names.noun, names.plural, names.about
    count = len(categories)
    if series_count == 1:
        series, series_noun = (
            [measure.name.capitalize() if measure.name[:2] not in ("GD", "CO") else measure.name],
            "series",
        )
    elif kind == "scatter":
        series, series_noun = ["", ""], "series"
    elif full and rng.random() < 0.75:
        series, series_noun = list(rng.choice([scale for scale in SCALES if len(scale) <= 5])), "answer"
    else:
        series, series_noun = pick_series(rng, about, noun, series_count, held_out)
    if set(series) & set(categories) or len(set(series)) < len(series):
        series = [f"{name} group" if series_noun != "year" else f"FY {name}" for name in series]
    series_count = len(series)
    if "{who}" in measure.opener and about != "owner" and series_noun not in ("brand", "company"):
        who = rng.choice(words(rng.choice(("brand", "company")), held_out))
    if about != "place" and rng.random() < 0.75:
        place = rng.choice(words(rng.choice(("country", "country", "country", "state", "city", "region")), held_out))
    elif rng.random() < 0.5:
        place = rng.choice(("worldwide", "worldwide", "the EU", "the world"))
    if about != "time" and series_noun != "year" and rng.random() < 0.85:
        when = str(rng.randint(1995, 2024))
    table = Table(
        kind,
        measure,
        unit,
        Figures(0, True, "", "", "", "", "", "", ""),
        categories,
        noun,
        plural,
        about,
        series,
        series_noun,
        [],
        False,
        False,
        full,
        who,
        place,
        when,
    )
    fill_values(rng, table, look)
    return table


def fill_values(rng: random.Random, table: Table, look: Look) -> None:
    """Draws the numbers of a table, decides whether they are printed, and rounds them to what a reader can tell."""
    kind, unit, count, series_count = table.kind, table.unit, len(table.categories), len(table.series)
    decimals = rng.choice(unit.decimals)
    largest = min(10 ** rng.uniform(unit.smallest, unit.largest), 99.0 if unit.percent else math.inf)
    if unit.percent and decimals == 0:
        largest = max(largest, 12.0)
    if largest >= 2000:
        decimals = min(decimals, rng.choice((0, 0, 1, 2)))
    if largest >= 20000 and unit.name:
        decimals = min(decimals, 1)
    always = kind in ("pie", "donut") and rng.random() < 0.97
    table.labelled = always or (kind not in ("scatter", "area") and rng.random() < look.labelled_share)
    if table.full:
        decimals = (
            rng.choice((0, 0, 0, 1)) if kind in ("stacked", "stacked_h", "area") else rng.choice((0, 0, 0, 1, 1, 2))
        )
        if kind in ("pie", "donut"):
            rows = [shares(rng, count, 100, decimals)]
        else:
            part = rng.random() < 0.3 and kind != "area"
            columns = [shares(rng, series_count, rng.randint(88, 99) if part else 100, decimals) for _ in range(count)]
            rows = [list(row) for row in zip(*columns, strict=True)]
        largest = 100.0
    elif kind == "scatter":
        rows = make_values(rng, kind, False, 1, count) + make_values(rng, kind, False, 1, count)
        rng.shuffle(rows[1])
        rows[0] = [cell * largest for cell in rows[0]]
    else:
        rows = [
            [cell * largest for cell in row]
            for row in make_values(rng, kind, table.about == "time", series_count, count)
        ]
        if kind in ("stacked", "stacked_h", "area"):
            rows = [[cell / series_count for cell in row] for row in rows]
        if table.measure.negative and table.about == "time" and rng.random() < 0.5:
            shift = rng.uniform(0.1, 0.8) * largest
            rows = [[cell - shift for cell in row] for row in rows]
        elif table.measure.negative and kind in ("bar", "hbar", "grouped", "grouped_h", "line") and rng.random() < 0.55:
            rows = [[-0.7 * cell if rng.random() < 0.3 else cell for cell in row] for row in rows]
    table.figures = pick_figures(rng, unit, decimals, look, table.labelled)
    table.labelled = table.labelled and label_fits(
        rng, kind, look, max(map(max, rows)), table.figures, count, series_count
    )
    table.readable = not table.labelled or (kind == "line" and series_count > 1)
    if kind == "scatter":
        fill_scatter(rng, table, rows, look)
        return
    if table.readable and not (table.full and kind in ("pie", "donut")):
        total = (
            max(sum(column) for column in zip(*rows, strict=True))
            if kind in ("stacked", "stacked_h", "area")
            else largest
        )
        step = max(readable_step(total, rng), 10.0**-2)
        decimals = step_decimals(step)
        table.figures = pick_figures(rng, unit, decimals, look, table.labelled)
        if not table.full or decimals == 0:
            step = 1.0 if table.full and step < 1 else step
            rows = [[round(cell / step) * step or step for cell in row] for row in rows] if not table.full else rows
    smallest = 10.0**-table.figures.decimals
    table.values = [[round(cell, table.figures.decimals) or smallest for cell in row] for row in rows]
    if series_count > 1 and count > 2 and kind in ("grouped", "grouped_h", "line") and rng.random() < 0.07:
        for _ in range(rng.randint(1, 2)):
            row = rng.choice(table.values)
            if sum(cell is not None for cell in row) > 2:
                row[rng.choice((0, -1, rng.randrange(count)))] = None


def fill_scatter(rng: random.Random, table: Table, rows: list[list[float]], look: Look) -> None:
    """Two readable measures per point; the series are named after them."""
    second = rng.choice(
        [measure for measure in MEASURES if measure.unit != table.measure.unit and not measure.negative]
    )
    unit = UNITS[second.unit]
    largest = min(10 ** rng.uniform(unit.smallest, unit.largest), 99.0 if unit.percent else math.inf)
    rows[1] = [cell * largest for cell in rows[1]]
    for row in rows:
        step = max(readable_step(max(row), rng), 0.01)
        row[:] = [round(round(cell / step) * step or step, step_decimals(step)) for cell in row]
    decimals = max(step_decimals(max(readable_step(max(row), random.Random(0)), 0.01)) for row in rows)
    table.figures = Figures(max(decimals, 2), True, look.separator, "", "", "", "", "", "")
    table.values = [list(row) for row in rows]
    table.second = (second, unit)
    table.series = [measure.name[0].upper() + measure.name[1:] for measure in (table.measure, second)]
    table.labelled, table.readable = False, True
