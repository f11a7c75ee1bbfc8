"""Questions about how the series and marks of a chart lie to each other: gaps, crossings, order, peaks, colours."""

from itertools import pairwise

from train.pretrain.charts.questions.asker import Asker, Cell, listing
from train.pretrain.charts.questions.people.terms import HIGH, LOW, mark_word, put, series_name

CLOSE = 0.08  # of the largest gap: two gaps read off an axis that differ by less look the same


def two_rows(asker: Asker) -> tuple[int, int, list[Cell], list[Cell]] | None:
    """Two series all of whose values can be read, over three categories and more."""
    table = asker.table
    if not asker.many or table.kind == "scatter" or asker.count < 3:
        return None
    first, second = asker.rng.sample(range(len(table.series)), 2)
    rows = [[(category, series) for category in range(asker.count)] for series in (first, second)]
    if any(cell not in asker.exact for row in rows for cell in row):
        return None
    return first, second, rows[0], rows[1]


def ask_gaps(asker: Asker) -> None:
    """Where two series lie furthest apart or closest, or by how much."""
    found = two_rows(asker)
    if found is None:
        return
    first, second, upper, lower = found
    rng, table = asker.rng, asker.table
    gaps = [abs(asker.value(a) - asker.value(b)) for a, b in zip(upper, lower, strict=True)]
    largest = rng.random() < 0.75
    order = sorted(range(len(gaps)), key=gaps.__getitem__, reverse=largest)
    best, cells = order[0], upper + lower
    labelled = all(cell in asker.shown for cell in cells)
    if abs(gaps[best] - gaps[order[1]]) <= (1e-6 if labelled else CLOSE) * max(*gaps, 1e-9):
        return
    s, r = series_name(asker, first), series_name(asker, second)
    mark = mark_word(asker)
    word = rng.choice(("largest", "biggest", "maximum", "widest") if largest else ("smallest", "minimum", "least"))
    if rng.random() < 0.2:
        number = asker.table.figures.derived(gaps[best])
        text = rng.choice(
            (
                f"What is the value of the {word} gap between {s} and {r}?",
                f"What is the {word} difference between {s} and {r}?",
            )
        )
        put(asker, "gap_value", text, number, f"It is {asker.spoken(number)}.", cells)
        return
    peak = rng.choice(
        ("reach its peak", "become largest", "reach the largest level") if largest else ("become smallest",)
    )
    wording = (
        f"When does the gap between {s} and {r} {peak}?",
        f"In which {table.noun} the gap between {s} and {r} is {word}?",
        f"In which {table.noun} the difference between {s} and {r} {mark} is {word}?",
        f"Which {table.noun} has the {word} difference between {s} and {r}?",
        f"Which {table.noun} showed the {word} gap between the two {mark}s?",
    )
    others = (
        f"Which {table.noun} has the {word} difference between {s} and {r}?",
        f"For which {table.noun} is the gap between {s} and {r} {word}?",
    )
    text = rng.choice(wording[: 5 if len(table.series) == 2 else 4] if asker.timed else others)
    put(asker, "gap", text, asker.categories[best], f"It is {asker.categories[best]}.", cells, False)


def ask_order(asker: Asker) -> None:
    """Whether one series is above another everywhere, in how many categories, or how often two lines cross."""
    found = two_rows(asker)
    if found is None:
        return
    first, second, upper, lower = found
    rng, table, cells = asker.rng, asker.table, upper + lower
    signs = [asker.value(a) > asker.value(b) for a, b in zip(upper, lower, strict=True)]
    if not all(asker.apart(a, b) for a, b in zip(upper, lower, strict=True)):
        return
    s, r = series_name(asker, first), series_name(asker, second)
    mark, draw = mark_word(asker), rng.random()
    if table.kind == "line" and draw < 0.6:
        crossings = sum(a != b for a, b in pairwise(signs))
        if rng.random() < 0.75:
            wording = [
                f"At how many points did the lines representing {s} and {r} cross each other?",
                f"How many times do the {s} and {r} lines cross?",
                f"How many times did {s} and {r} {mark} intersect?",
            ]
            if len(table.series) == 2:
                wording += [
                    "How many intersecting points are there?",
                    "How many times do the two lines cross each other?",
                ]
            put(asker, "crossings", rng.choice(wording), str(crossings), f"{crossings} times.", cells, False)
            return
        gold = "Yes" if crossings else "No"
        text = rng.choice((f"Do the {s} and {r} lines cross each other?", f"Did {s} and {r} {mark} cross each other?"))
        put(asker, "check", text, gold, f"{gold}, {crossings} times.", cells, False)
    elif draw < 0.75:
        gold = "Yes" if all(signs) else "No"
        text = rng.choice(
            (
                f"Is the value of {s} {mark} always greater than {r} {mark}?",
                f"Is {s} always higher than {r}?",
                f"Is the {s} {mark} above the {r} {mark} in all {table.plural}?",
            )
        )
        put(asker, "check", text, gold, f"{gold}, in {sum(signs)} of {len(signs)}.", cells, False)
    else:
        number = sum(signs)
        text = rng.choice(
            (
                f"In how many {table.plural} is {s} greater than {r}?",
                f"How many {table.plural} have a {s} value greater than the {r} value?",
                f"How many times is {s} higher than {r}?",
            )
        )
        put(asker, "how_many", text, str(number), f"{number} of them.", cells, False)


def ask_top_total(asker: Asker) -> None:
    """The category with the largest or smallest sum over the series."""
    table, rng = asker.table, asker.rng
    columns = [[(category, series) for series in range(len(table.series))] for category in range(asker.count)]
    cells = [cell for column in columns for cell in column]
    if (
        not asker.many
        or table.kind == "scatter"
        or table.full
        or asker.count < 3
        or any(c not in asker.exact for c in cells)
    ):
        return
    totals = [sum(map(asker.value, column)) for column in columns]
    largest = rng.random() < 0.75
    order = sorted(range(len(totals)), key=totals.__getitem__, reverse=largest)
    if abs(totals[order[0]] - totals[order[1]]) <= 0.04 * max(map(abs, totals)):
        return
    word, all_of = rng.choice(HIGH[:3] if largest else LOW[:2]), f"all {mark_word(asker)}s"
    wording = [f"Which {table.noun} has the {word} total?", f"Which {table.noun} has the {word} sum of {all_of}?"]
    if asker.timed:
        wording += [
            f"When does the sum of {all_of} become {word}?",
            f"In which {table.noun} is the sum of all values {word}?",
        ]
    name = asker.categories[order[0]]
    put(asker, "top_total", rng.choice(wording), name, f"It is {name}.", cells, False)


def ask_peak(asker: Asker) -> None:
    """The category at which a series named by colour or word is highest or lowest."""
    table, rng = asker.table, asker.rng
    if table.kind in ("scatter", "pie", "donut"):
        return
    row = asker.row(rng.randrange(len(table.series)))
    largest = rng.random() < 0.65
    order = asker.ranked(row, largest)
    if len(order) < 3 or not asker.apart(order[0], order[1]):
        return
    name, mark = asker.categories[order[0][0]], mark_word(asker)
    s = f"{series_name(asker, row[0][1])} {mark}" if asker.many else mark
    word = rng.choice(HIGH if largest else LOW)
    wording = [f"Which {table.noun} has the {word} {s}?", f"Which {table.noun} has the {word} value in the {s}?"]
    if asker.timed:
        peak = rng.choice(
            ("reach its peak", "peak", "reach the highest value") if largest else ("dip", "reach its lowest value")
        )
        wording += [f"When does the {s} {peak}?", f"In which {table.noun} did the {s} {peak}?"]
        wording.append(f"In which {table.noun} is the value of the {s} {word}?")
    elif mark == "bar":
        length = rng.choice(("longest", "tallest", "biggest") if largest else ("shortest", "smallest"))
        wording += [f"Which {table.noun} has the {length} {s}?", f"What is the name of the {length} {s}?"]
    put(asker, "argmax" if largest else "argmin", rng.choice(wording), name, f"It is {name}.", row, False)


def ask_pair(asker: Asker) -> None:
    """Two or more names, colours or values as a list: what the bars stand for, the colours used, one row's values."""
    names, table, rng = asker.colour_names(), asker.table, asker.rng
    if not asker.many or table.kind == "scatter" or len(table.series) > 4:
        return
    mark, number, draw = mark_word(asker), len(table.series), rng.random()
    count = ("two", "three", "four")[number - 2]
    if draw < 0.4:
        found, kind, cells = list(table.series), "legend", []
        text = rng.choice(
            (
                f"What represents the {count} {mark}s in the chart?",
                f"What do the {count} {mark}s represent?",
                f"What does the {count} color {mark}s represent?",
                f"Which {count} opinions are shown in the chart?",
                f"Which {count} groups are being compared in the given graph?",
            )
        )
    elif draw < 0.65 and names and asker.plot.coloured == "series":
        found, kind, cells = names, "list", []
        text = rng.choice(
            (
                f"Which {count} colors are used to represent the {mark}s?",
                f"What are the colors of the {count} {mark}s?",
                f"Which {count} colors are used in the graph?",
            )
        )
    else:
        category = rng.randrange(asker.count)
        cells = [(category, series) for series in range(number)]
        if any(cell not in asker.shown for cell in cells):
            return
        found, kind, name = list(map(asker.plain, cells)), "list", asker.categories[category]
        text = rng.choice(
            (
                f"What are the values of {name}?",
                f"What are the values of the {mark}s for {name}?",
                f"What is {name}'s data shown in the chart?",
            )
        )
    asker.ask(
        kind,
        (text.replace("{", "(").replace("}", ")"),),
        {"m": ""},
        f"[{', '.join(found)}]",
        f"{listing(found)}.",
        cells,
        True,
        ", ".join(found),
    )


def ask_colour_at(asker: Asker) -> None:
    """The colour of the bar at an end or between two others."""
    names, rng, kind = asker.colour_names(), asker.rng, asker.table.kind
    if names is None or asker.plot.coloured != "category" or kind not in ("bar", "hbar"):
        return
    first, last = ("top", "bottom") if kind == "hbar" else ("leftmost", "rightmost")
    if rng.random() < 0.3 and len(names) > 2:
        at = rng.randrange(1, len(names) - 1)
        before, after = asker.colour_word(names[at - 1]), asker.colour_word(names[at + 1])
        text = f"Which color bar is between the {before} and {after} bars?"
    else:
        at = rng.choice((0, len(names) - 1))
        place = last if at else first
        text = rng.choice(
            (
                f"What is the color of the {place} bar?",
                f"Which color bar is at the {'end' if at else 'beginning'} of the graph?"
                if kind == "bar"
                else f"Which color bar is on the {place} of the graph?",
                f"What color is the {place} bar?",
            )
        )
    put(asker, "colour", text, names[at], f"It is {names[at]}.", [], False)


def ask_which_line(asker: Asker) -> None:
    """Whose line, bar or segment has a colour, as one asks for countries."""
    names, table, rng = asker.colour_names(), asker.table, asker.rng
    if names is None:
        return
    by_category = asker.plot.coloured == "category"
    parts, noun = (asker.categories, table.noun) if by_category else (table.series, table.series_noun)
    index = rng.randrange(len(names))
    colour, mark = asker.colour_word(names[index]), mark_word(asker)
    text = rng.choice(
        (
            f"Which {noun} is represented by the {colour} {mark}?",
            f"Which {noun} is represented by {colour} color {mark}?",
            f"{colour.capitalize()} {mark} represents which {noun}?",
            f"Which {noun} does the {colour} {mark} refer to?",
            f"Which {noun} data is shown in {colour} color?",
            f"What denotes the {colour} color {mark}?",
            f"Which {noun} is represented by the {colour} color {mark} in the given graph?",
        )
    )
    put(asker, "which_colour", text, parts[index], f"It is {parts[index]}.", [], False)


def ask_ends_of_time(asker: Asker) -> None:
    """The first or the last time shown, and how many colours there are."""
    rng = asker.rng
    if asker.timed and rng.random() < 0.6:
        last = rng.random() < 0.5
        word, name = (
            rng.choice(("ending", "last", "final") if last else ("starting", "first", "beginning")),
            asker.categories[-last],
        )
        text = rng.choice(
            (
                f"What is the {word} {asker.table.noun} of the data?",
                f"What is the {word} {asker.table.noun} in the chart?",
                f"Which is the {word} {asker.table.noun} shown in the graph?",
            )
        )
        put(asker, "first_last", text, name, f"It is {name}.", [], False)
        return
    names = asker.colour_names()
    if names is None:
        return
    marks = mark_word(asker)
    text = rng.choice(
        (
            f"How many colored {marks}s are used to represent the graph?",
            f"How many color {marks}s are there in the graph?",
            "How many colors does the graph show?",
            f"How many colors are represented in the {marks}s?",
            "How many colors are there in the graph?",
        )
    )
    put(asker, "count_series", text, str(len(names)), f"There are {len(names)} colors.", [], False)
