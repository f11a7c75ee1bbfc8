"""The numbers of generated charts, rounded to what a label prints or an axis lets a reader see."""

import math
import random
from dataclasses import replace

from train.pretrain.charts.drawing.styles import Style
from train.pretrain.charts.tables.figures import PLAIN, UNITS, Figures, Unit
from train.pretrain.charts.tables.measures import MEASURES
from train.pretrain.charts.tables.table import Table

CHARACTER = 0.57  # a digit's usual width in font sizes
STACKS = ("stacked", "stacked_h", "area")
PIES = ("pie", "donut")


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


def pick_figures(rng: random.Random, unit: Unit, decimals: int, look: Style, labelled: bool) -> Figures:
    """The chart's number format."""
    prefix, suffix = rng.choice(unit.printed if labelled else PLAIN)
    tick_suffix = ""
    if (
        suffix == "%"
        or (unit.percent and rng.random() < 0.4)
        or (look.long_ticks and suffix)
        or (len(suffix) == 1 and rng.random() < 0.5)
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


def label_fits(table: Table, look: Style, largest: float) -> bool:
    """Whether printed value labels have room beside, above or in the marks."""
    kind, count, series = table.kind, len(table.categories), len(table.series)
    label = len(table.figures.printed(largest)) * CHARACTER * look.label_size
    slot = (look.width - 60) / count
    if kind == "bar":
        return label < slot or (look.turned_labels and look.label_size < slot)
    if kind == "grouped_h":
        return (look.height - 90) / (count * series) > look.label_size * 0.95
    if kind == "stacked_h":
        return label * series < look.width * 0.42
    room = {"line": slot * 1.15, "grouped": slot / series * 0.92, "stacked": slot * 0.7}
    return label < room.get(kind, math.inf)


def pick_magnitude(rng: random.Random, unit: Unit) -> tuple[float, int]:
    """The largest value of a chart and the decimals of all."""
    decimals = rng.choice(unit.decimals)
    largest = min(10 ** rng.uniform(unit.smallest, unit.largest), 99.0 if unit.percent else math.inf)
    if unit.percent and decimals == 0:
        largest = max(largest, 12.0)
    if largest >= 2000:
        decimals = min(decimals, rng.choice((0, 0, 1, 2)))
    if largest >= 20000 and unit.name:
        decimals = min(decimals, 1)
    return largest, decimals


def make_wholes(rng: random.Random, table: Table, decimals: int) -> list[list[float]]:
    """Shares of a hundred: of a pie, or of every category's stack."""
    count, series = len(table.categories), len(table.series)
    if table.kind in PIES:
        return [shares(rng, count, 100, decimals)]
    part = table.kind != "area" and rng.random() < 0.3  # some answers are left out
    columns = [shares(rng, series, rng.randint(88, 99) if part else 100, decimals) for _ in range(count)]
    return [list(row) for row in zip(*columns, strict=True)]


def make_amounts(rng: random.Random, table: Table, largest: float) -> list[list[float]]:
    """Values up to `largest`, some of them negative where the measure may be."""
    rows = make_values(rng, table.kind, table.about == "time", len(table.series), len(table.categories))
    rows = [[cell * largest for cell in row] for row in rows]
    if table.kind in STACKS:
        return [[cell / len(rows) for cell in row] for row in rows]
    if table.measure.negative and table.kind not in PIES:
        if table.about == "time" and rng.random() < 0.5:
            shift = rng.uniform(0.1, 0.8) * largest
            return [[cell - shift for cell in row] for row in rows]
        if rng.random() < 0.45:
            return [[-0.7 * cell if rng.random() < 0.3 else cell for cell in row] for row in rows]
    return rows


def fill_values(rng: random.Random, table: Table, look: Style) -> None:
    """Draws the numbers of a table, decides whether they are printed, and rounds them to what a reader can tell."""
    largest, decimals = pick_magnitude(rng, table.unit)
    if table.kind == "scatter":
        fill_scatter(rng, table, largest, look)
        return
    if table.full:
        decimals = rng.choice((0, 0, 0, 1)) if table.kind in STACKS else rng.choice((0, 0, 0, 1, 1, 2))
        largest, rows = 100.0, make_wholes(rng, table, decimals)
    else:
        rows = make_amounts(rng, table, largest)
    share = 0.97 if table.kind in PIES else 0.0 if table.kind == "area" else look.labelled_share
    table.labelled = rng.random() < share
    table.figures = pick_figures(rng, table.unit, decimals, look, table.labelled)
    table.labelled = table.labelled and label_fits(table, look, max(map(max, rows)))
    # Of several lines only some points have labels, so the rest has to be readable too.
    table.readable = table.kind not in PIES and (not table.labelled or (table.kind == "line" and len(rows) > 1))
    if table.readable:
        if table.full:
            rows, step = make_wholes(rng, table, 0), 1.0
        else:
            total = max(map(sum, zip(*rows, strict=True))) if table.kind in STACKS else largest
            step = max(readable_step(total, rng), 0.01 if max(table.unit.decimals) else 1.0)
            rows = [[round(cell / step) * step or step for cell in row] for row in rows]
        if not table.labelled:
            table.figures = pick_figures(rng, table.unit, decimals, look, False)
        table.figures = replace(table.figures, decimals=step_decimals(step))
    smallest = 10.0**-table.figures.decimals
    table.values = [[round(cell, table.figures.decimals) or smallest for cell in row] for row in rows]
    if len(rows) > 1 and len(rows[0]) > 2 and table.kind in ("grouped", "grouped_h", "line") and rng.random() < 0.07:
        leave_out(rng, table)


def leave_out(rng: random.Random, table: Table) -> None:
    """Makes one or two values missing, at the ends more often than inside."""
    for _ in range(rng.randint(1, 2)):
        row = rng.choice(table.values)
        if sum(cell is not None for cell in row) > 2:
            row[rng.choice((0, -1, rng.randrange(len(row))))] = None


def fill_scatter(rng: random.Random, table: Table, largest: float, look: Style) -> None:
    """Two readable measures per point; the series are named after them."""
    fitting = [
        measure
        for measure in MEASURES
        if measure.unit != table.measure.unit and "place" in measure.topics and not measure.negative
    ]
    second = rng.choice(fitting)
    count = len(table.categories)
    rows = []
    for unit, top in ((table.unit, largest), (UNITS[second.unit], pick_magnitude(rng, UNITS[second.unit])[0])):
        row = make_values(rng, "scatter", False, 1, count)[0]
        rng.shuffle(row)
        step = max(readable_step(top, rng), 0.01 if max(unit.decimals) else 1.0)
        rows.append([round(round(cell * top / step) * step or step, step_decimals(step)) for cell in row])
    table.figures = Figures(2, True, look.separator, "", "", "", "", "", "")
    table.values = [list(row) for row in rows]
    table.second = (second, UNITS[second.unit])
    table.series = [measure.name[0].upper() + measure.name[1:] for measure in (table.measure, second)]
    table.labelled, table.readable = False, True
