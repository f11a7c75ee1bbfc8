"""Questions whose answer stands in the table: values, their categories, extremes and ranks."""

from train.pretrain.charts.questions import wordings as words
from train.pretrain.charts.questions.asker import Asker, listing

ORDINALS = ("", "second", "third")


def in_words(asker: Asker, spoken: str) -> str:
    """`15%` as `15 percent`, often."""
    return spoken.replace("%", " percent") if asker.rng.random() < 0.5 else spoken


def ask_value(asker: Asker) -> None:
    """What is printed or drawn for one cell."""
    cell = asker.some_cell()
    if cell is None:
        return
    fields = asker.fields(cell)
    wording = words.VALUE[asker.about]
    if asker.table.kind == "scatter":
        wording = ("What is the {m} of {c}?", "What was the {m} for {c}?", "How high is the {m} of {c}?")
    sentence = asker.rng.choice(words.VALUE_SENTENCE).format_map(fields)
    asker.ask("value", wording, fields, asker.plain(cell), sentence, [cell], short=asker.say(cell))


def ask_value_human(asker: Asker) -> None:
    """A cell's value, by its names or by its colour."""
    cell = asker.some_cell()
    if cell is None or asker.table.kind == "scatter":
        return
    fields = asker.fields(cell)
    sentence = asker.rng.choice(words.VALUE_SENTENCE).format_map(fields)
    names = asker.colour_names()
    wording, kind = words.VALUE_HUMAN, "value"
    if names and asker.rng.random() < 0.6:
        by_category = asker.plot.coloured == "category"
        fields["x"] = asker.colour_word(names[cell[0] if by_category else cell[1]])
        wording, kind = (words.VALUE_SLICE if by_category else words.VALUE_COLOUR), "value_by_colour"
    asker.ask(kind, wording, fields, asker.plain(cell), sentence, [cell], human=True, short=asker.say(cell))


def ask_position(asker: Asker) -> None:
    """The value of the first or last bar."""
    if asker.table.kind not in ("bar", "hbar"):
        return
    last = asker.rng.random() < 0.5
    cell = (asker.count - 1 if last else 0, 0)
    if cell not in asker.exact:
        return
    fields = asker.fields(cell)
    level = asker.table.kind == "hbar"
    fields["w"] = asker.rng.choice(
        (("bottom", "last"), ("top", "first"), ("rightmost", "last"), ("leftmost", "first"))[
            (not level) * 2 + (not last)
        ]
    )
    sentence = f"The {fields['w']} bar, {fields['c']}, shows {fields['v']}."
    asker.ask("position", words.PLACE, fields, asker.plain(cell), sentence, [cell], human=True, short=asker.say(cell))


def ask_inverse(asker: Asker) -> None:
    """The category of a given value."""
    cell = asker.some_cell()
    if cell is None or asker.table.kind in ("scatter", "area"):
        return
    row = asker.row(cell[1])
    if any(other != cell and not asker.apart(cell, other) for other in row):
        return
    fields = asker.fields(cell)
    if asker.many:
        fields["ctx"] = ""
    name = asker.categories[cell[0]]
    wording = words.INVERSE[asker.timed]
    sentence = asker.rng.choice(words.INVERSE_SENTENCE).format_map(fields)
    fields["v"] = in_words(asker, fields["v"])
    asker.ask("inverse", wording, fields, name, sentence, [cell], human=asker.rng.random() < 0.3)


def ask_extreme(asker: Asker) -> None:
    """The category with the largest or smallest value of a series."""
    row = asker.row(asker.rng.randrange(len(asker.table.series)))
    if len(row) < 2:
        return
    largest = asker.rng.random() < 0.6
    order = asker.ranked(row, largest)
    if not asker.apart(order[0], order[1]):
        return
    fields = asker.fields(order[0])
    human = asker.rng.random() < 0.35 and asker.table.kind != "scatter"
    fields["peak"] = "peak" if largest else "lowest point"
    fields["w"] = asker.rng.choice(words.LARGEST if largest else words.SMALLEST)
    if human or fields["w"] == "most":
        fields["w"] = asker.rng.choice(words.BIG_ADJECTIVES if largest else words.SMALL_ADJECTIVES)
    fields |= {"top": "leading", "first": "first"} if largest else {"top": "lowest ranked", "first": "last"}
    wording = (words.EXTREME_HUMAN if human else words.EXTREME)[asker.timed]
    sentence = asker.rng.choice(words.EXTREME_SENTENCE[: 3 if order[0] in asker.exact else 1]).format_map(fields)
    asker.ask("argmax" if largest else "argmin", wording, fields, fields["c"], sentence, row, human)


def ask_limit(asker: Asker) -> None:
    """The largest or smallest value."""
    row = asker.exact_row()
    if row is None:
        return
    largest = asker.rng.random() < 0.6
    cell = asker.ranked(row, largest)[0]
    fields = asker.fields(cell)
    human = asker.rng.random() < 0.4 and asker.table.kind != "scatter"
    fields["peak"] = "peak" if largest else "lowest"
    fields["w"] = asker.rng.choice(words.BIG_ADJECTIVES if largest else words.SMALL_ADJECTIVES)
    if asker.table.kind == "scatter":
        wording = ("What is the {w} {m}?", "What is the {w} {m} in the chart?")
    else:
        wording = words.LIMIT_HUMAN if human else words.LIMIT
    sentence = asker.rng.choice(words.LIMIT_SENTENCE).format_map(fields)
    gold = asker.plain(cell)
    asker.ask("max" if largest else "min", wording, fields, gold, sentence, [cell], human, asker.say(cell))


def ask_limit_of_all(asker: Asker) -> None:
    """The largest or smallest value of all series."""
    cells = list(asker.height)
    stacked = asker.table.kind in ("stacked", "stacked_h", "area", "scatter")
    if not asker.many or stacked or any(cell not in asker.exact for cell in cells):
        return
    largest = asker.rng.random() < 0.6
    cell = asker.ranked(cells, largest)[0]
    fields = asker.fields(cell)
    fields |= {"of": "", "w": asker.rng.choice(words.BIG_ADJECTIVES if largest else words.SMALL_ADJECTIVES)}
    sentence = f"The {fields['w']} value is {fields['v']}, {fields['at']}."
    gold = asker.plain(cell)
    asker.ask("max" if largest else "min", words.LIMIT_ALL, fields, gold, sentence, [cell], True, asker.say(cell))


def ask_rank(asker: Asker) -> None:
    """The category with the second or third largest or smallest value."""
    row = asker.row(asker.rng.randrange(len(asker.table.series)))
    place = asker.rng.choice((1, 1, 1, 2))
    largest = asker.rng.random() < 0.75
    order = asker.ranked(row, largest)
    if len(order) < place + 2 or any(not asker.apart(order[place], order[other]) for other in (place - 1, place + 1)):
        return
    fields = asker.fields(order[place])
    fields["w"] = ORDINALS[place] + " " + asker.rng.choice(words.BIG_ADJECTIVES if largest else words.SMALL_ADJECTIVES)
    sentence = asker.rng.choice(words.RANK_SENTENCE[: 2 if order[place] in asker.exact else 1]).format_map(fields)
    asker.ask("rank", words.RANK, fields, fields["c"], sentence, row, asker.rng.random() < 0.3)


def ask_top_series(asker: Asker) -> None:
    """The series with the largest or smallest value at a category."""
    table = asker.table
    if not asker.many or table.kind == "scatter":
        return
    category = asker.rng.randrange(asker.count)
    cells = [cell for cell in asker.height if cell[0] == category]
    largest = asker.rng.random() < 0.65
    order = asker.ranked(cells, largest)
    if len(order) < 2 or not asker.apart(order[0], order[1]):
        return
    fields = asker.fields(order[0])
    fields["at"] = asker.place_of(category)
    fields["w"] = asker.rng.choice(words.BIG_ADJECTIVES if largest else words.SMALL_ADJECTIVES)
    fields["x"] = table.series_noun
    sentence = f"{fields['s']} has the {fields['w']} value {fields['at']}."
    asker.ask(
        "top_series", words.TOP_SERIES[asker.timed], fields, fields["s"], sentence, cells, asker.rng.random() < 0.4
    )


def ask_gap(asker: Asker) -> None:
    """Where two series lie furthest apart or closest."""
    table = asker.table
    if not asker.many or table.kind == "scatter" or asker.count < 3:
        return
    first, second = asker.rng.sample(range(len(table.series)), 2)
    pairs = [
        ((c, first), (c, second))
        for c in range(asker.count)
        if (c, first) in asker.exact and (c, second) in asker.exact
    ]
    if len(pairs) < asker.count:
        return
    gaps = [abs(asker.value(a) - asker.value(b)) for a, b in pairs]
    largest = asker.rng.random() < 0.65
    order = sorted(range(len(gaps)), key=gaps.__getitem__, reverse=largest)
    best, next_best = order[0], order[1]
    labelled = all(cell in asker.shown for pair in pairs for cell in pair)
    scale = max(gaps) or 1.0
    if abs(gaps[best] - gaps[next_best]) <= (1e-6 if labelled else 0.08) * scale:
        return
    fields = asker.fields(pairs[best][0])
    fields |= {"r": table.series[second], "w": asker.rng.choice(("largest", "biggest") if largest else ("smallest",))}
    sentence = f"The gap between {fields['s']} and {fields['r']} is the {fields['w']} {asker.place_of(best)}."
    asker.ask(
        "gap", words.GAP, fields, asker.categories[best], sentence, [cell for pair in pairs for cell in pair], True
    )


def ask_same(asker: Asker) -> None:
    """The two categories that share a printed value."""
    row = asker.row(asker.rng.randrange(len(asker.table.series)))
    if not all(cell in asker.shown for cell in row):
        return
    by_value: dict[str, list[int]] = {}
    for cell in row:
        by_value.setdefault(asker.plain(cell), []).append(cell[0])
    shared = [(value, cells) for value, cells in by_value.items() if len(cells) > 1]
    if len(shared) != 1 or len(shared[0][1]) != 2:
        return
    fields = asker.fields(row[0])
    names = [asker.categories[index] for index in shared[0][1]]
    sentence = f"{listing(names)} both have {asker.spoken(shared[0][0])}{fields['of']}."
    asker.ask("same", words.SAME, fields, f"[{', '.join(names)}]", sentence, row, True, ", ".join(names))


def ask_missing(asker: Asker) -> None:
    """The value left out of a series read in order."""
    row = asker.exact_row()
    if row is None or not 4 <= len(row) <= 9 or asker.table.kind in ("scatter", "pie", "donut"):
        return
    hidden = asker.rng.choice(row)
    numbers = [asker.plain(cell) for cell in row]
    asked = ["__" if cell == hidden else number for cell, number in zip(row, numbers, strict=True)]
    fields = asker.fields(hidden)
    fields["x"] = ", ".join(asked)
    sentence = f"The missing value is {fields['v']}, {fields['at']}."
    asker.ask("missing", words.MISSING, fields, asker.plain(hidden), sentence, row, True, asker.say(hidden))


def ask_median(asker: Asker) -> None:
    """The middle value of an odd number of values."""
    row = asker.exact_row()
    if row is None or len(row) % 2 == 0 or len(row) > 9 or asker.table.kind == "scatter":
        return
    cell = asker.ranked(row, True)[len(row) // 2]
    fields = asker.fields(cell)
    asker.ask(
        "median",
        words.MEDIAN,
        fields,
        asker.plain(cell),
        f"The median{fields['of']} is {fields['v']}.",
        row,
        True,
        asker.say(cell),
    )
