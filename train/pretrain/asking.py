"""One function per kind of question: each adds to an `Asker` when the chart allows a clear answer."""

from train.pretrain import wordings as words
from train.pretrain.questions import KIND_NAMES, ORDINALS, Asker, listing


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
        fields["x"] = names[cell[0] if by_category else cell[1]]
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
    fields["w"] = asker.rng.choice((("bottom", "last"), ("top", "first"), ("rightmost", "last"), ("leftmost", "first"))[(not level) * 2 + (not last)])
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
    name = asker.table.categories[cell[0]]
    wording = words.INVERSE[asker.timed]
    sentence = asker.rng.choice(words.INVERSE_SENTENCE).format_map(fields)
    fields["v"] = in_words(asker, fields["v"])
    asker.ask("inverse", wording, fields, name, sentence, [cell], human=asker.rng.random() < 0.3)


def in_words(asker: Asker, spoken: str) -> str:
    """`15%` as `15 percent`, often."""
    return spoken.replace("%", " percent") if asker.rng.random() < 0.5 else spoken


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
    if human and asker.table.kind == "line":
        fields["kind"] = "point"
    fields["w"] = asker.rng.choice(words.LARGEST if largest else words.SMALLEST)
    if human or fields["w"] == "most":
        fields["w"] = asker.rng.choice(words.BIG_ADJECTIVES if largest else words.SMALL_ADJECTIVES)
    fields["v"] = asker.say(order[0]) if order[0] in asker.exact else "the " + ("top" if largest else "bottom")
    fields |= {"top": "leading", "first": "first"} if largest else {"top": "lowest ranked", "first": "last"}
    wording = (words.EXTREME_HUMAN if human else words.EXTREME)[asker.timed]
    sentence = asker.rng.choice(words.EXTREME_SENTENCE).format_map(fields)
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
    if asker.table.kind == "line":
        fields["kind"] = "point"
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
    if not asker.many or asker.table.kind == "scatter" or any(cell not in asker.exact for cell in cells):
        return
    largest = asker.rng.random() < 0.6
    cell = asker.ranked(cells, largest)[0]
    fields = asker.fields(cell)
    fields |= {"of": "", "w": asker.rng.choice(words.BIG_ADJECTIVES if largest else words.SMALL_ADJECTIVES)}
    fields["kind"] = "point" if asker.table.kind == "line" else asker.kind
    sentence = f"The {fields['w']} value is {fields['v']}, {fields['at']}."
    gold = asker.plain(cell)
    asker.ask("max" if largest else "min", words.LIMIT_ALL, fields, gold, sentence, [cell], True, asker.say(cell))


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


def ask_average_compare(asker: Asker) -> None:
    """Whether one value lies above the average, or the average above the median."""
    row = asker.exact_row()
    if row is None or len(row) > 8 or len(row) < 3 or asker.table.kind == "scatter":
        return
    values = sorted(map(asker.value, row))
    mean, spread = sum(values) / len(values), values[-1] - values[0]
    cell = asker.rng.choice(row)
    fields = asker.fields(cell)
    shown = asker.spoken(asker.table.figures.derived(mean, 2))
    if asker.rng.random() < 0.35 and len(row) % 2:
        median = values[len(values) // 2]
        if abs(mean - median) > 0.04 * spread:
            gold = "Yes" if mean > median else "No"
            sentence = f"{gold}, the average is {shown} and the median is {asker.spoken(asker.table.figures.plain(median))}."
            asker.ask("compare_average", words.MEAN_OVER_MEDIAN, fields, gold, sentence, row, True)
    elif abs(mean - asker.value(cell)) > 0.04 * spread:
        gold = "Yes" if asker.value(cell) > mean else "No"
        sentence = f"{gold}, {fields['c']} is at {fields['v']} and the average is {shown}."
        asker.ask("compare_average", words.OVER_MEAN, fields, gold, sentence, row, True)


def ask_colour_of_extreme(asker: Asker) -> None:
    """The colour of the largest or smallest bar or slice, or of the series with the largest value."""
    names, cells = asker.colour_names(), list(asker.height)
    if names is None or len(cells) < 2:
        return
    largest = asker.rng.random() < 0.65
    order = asker.ranked(cells, largest)
    if not asker.apart(order[0], order[1]):
        return
    fields = asker.fields(order[0])
    name = names[order[0][0] if asker.plot.coloured == "category" else order[0][1]]
    fields["w"] = asker.rng.choice(words.BIG_ADJECTIVES if largest else words.SMALL_ADJECTIVES)
    sentence = f"The {fields['w']} {asker.kind} is {name}."
    asker.ask("colour_of_extreme", words.COLOUR_OF_EXTREME, fields, name, sentence, cells, True)


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
    if order[place] not in asker.exact:
        fields["v"] = f"number {place + 1}"
    sentence = asker.rng.choice(words.RANK_SENTENCE).format_map(fields)
    asker.ask("rank", words.RANK, fields, fields["c"], sentence, row, asker.rng.random() < 0.3)


def ask_count(asker: Asker) -> None:
    """How many categories or bars there are."""
    table, cells = asker.table, asker.row(0)
    fields = asker.fields(cells[0])
    if asker.rng.random() < 0.35 and table.kind in ("bar", "hbar", "grouped", "grouped_h", "pie", "donut"):
        number = len(asker.height)
        sentence = f"There are {number} {asker.kind}s in the chart."
        asker.ask("count", words.COUNT_MARKS, fields, str(number), sentence, [], True)
        return
    sentence = f"The chart shows {asker.count} {table.plural}."
    asker.ask("count", words.COUNT, fields, str(asker.count), sentence, [], asker.rng.random() < 0.5)


def ask_count_series(asker: Asker) -> None:
    """How many colours or series there are."""
    table = asker.table
    if table.kind == "scatter":
        return
    fields = asker.fields(asker.row(0)[0])
    names = asker.colour_names()
    number = len(table.series)
    if asker.plot.coloured == "category":
        if names is None:
            return
        number = len(names)
    elif asker.many and asker.rng.random() < 0.5:
        asker.ask("count_series", words.COUNT_SERIES, fields, str(number), f"There are {number} series.", [], True)
        return
    sentence = f"{number} color{'s are' if number > 1 else ' is'} used."
    asker.ask("count_series", words.COUNT_COLOURS, fields, str(number), sentence, [], True)


def ask_colour(asker: Asker) -> None:
    """The colour of a series or slice, or what a colour stands for."""
    names, table = asker.colour_names(), asker.table
    fields = asker.fields(asker.row(0)[0])
    if names is None:
        if len(set(asker.names[: asker.count])) == 1 or (not asker.many and asker.plot.coloured == "series" and table.kind != "scatter"):
            thing = "line" if table.kind == "line" else f"{asker.kind}s"
            wording = (f"What is the color of the {thing}?", f"What color {'is' if thing == 'line' else 'are'} the {thing}?", f"What color is used for the {thing}?")
            sentence = f"The {thing} {'is' if thing == 'line' else 'are'} {asker.names[0]}."
            asker.ask("colour", wording, fields, asker.names[0], sentence, [], True)
        return
    parts = table.categories if asker.plot.coloured == "category" else table.series
    index = asker.rng.randrange(len(names))
    if asker.rng.random() < 0.45:
        fields["x"] = parts[index]
        sentence = f"{parts[index]} is shown in {names[index]}."
        asker.ask("colour", words.COLOUR, fields, names[index], sentence, [], True)
        return
    fields["w"] = names[index]
    fields["noun"] = table.noun if asker.plot.coloured == "category" else table.series_noun
    sentence = f"The {names[index]} {asker.kind} represents {parts[index]}."
    asker.ask("which_colour", words.WHICH_COLOUR, fields, parts[index], sentence, [], True)


def ask_compare(asker: Asker) -> None:
    """Whether one category is above another, or which of the two is."""
    pair = asker.two_cells(readable=False)
    if pair is None or not asker.apart(*pair):
        return
    a, b = pair
    fields, other = asker.fields(a), asker.fields(b)
    more = asker.rng.random() < 0.6
    fields |= {"d": other["c"], "at2": other["at"], "of": fields["of"], "u": other["v"]}
    true = (asker.value(a) > asker.value(b)) == more
    readable = a in asker.exact and b in asker.exact
    human = asker.rng.random() < 0.5
    if asker.rng.random() < 0.3:
        fields["w"] = asker.rng.choice(("higher", "larger", "greater")) if more else asker.rng.choice(("lower", "smaller"))
        winner = fields["c"] if true else fields["d"]
        asker.ask("which_of_two", words.WHICH_OF, fields, winner, f"{winner} has the {fields['w']} value{fields['of']}.", pair, human)
        return
    fields["w"] = asker.rng.choice(("higher", "larger", "greater", "more")) if more else asker.rng.choice(("lower", "smaller", "less"))
    gold = "Yes" if true else "No"
    fields["yes"] = gold
    wording = words.COMPARE_SENTENCE if readable else ("{yes}, {c} is {w} than {d}{of}." if true else "{yes}, {c} is not {w} than {d}{of}.",)
    asker.ask("compare", words.COMPARE, fields, gold, asker.rng.choice(wording).format_map(fields), pair, human)


def ask_sum_compare(asker: Asker) -> None:
    """Whether the two smallest add up to more than the largest."""
    row = asker.exact_row()
    if row is None or len(row) < 4 or asker.many or min(map(asker.value, row)) < 0:
        return
    order = asker.ranked(row, True)
    largest, total = asker.value(order[0]), asker.value(order[-1]) + asker.value(order[-2])
    if abs(total - largest) < 0.05 * largest:
        return
    fields = asker.fields(order[0])
    text = asker.rng.choice(words.SUM_COMPARE)
    true = (total > largest) != text.startswith("Is the largest")
    derived = asker.spoken(asker.table.figures.derived(total))
    sentence = f"{'Yes' if true else 'No'}, the two smallest add up to {derived} and the largest is {fields['v']}."
    asker.ask("compare_sum", (text,), fields, "Yes" if true else "No", sentence, row, True)


def ask_difference(asker: Asker) -> None:
    """The difference between two categories, or two series at one category."""
    across = asker.rng.random() < 0.5
    pair = asker.two_series() if across else asker.two_cells()
    if pair is None or not asker.apart(*pair):
        return
    a, b = pair if asker.rng.random() < 0.5 else (pair[1], pair[0])
    if asker.value(a) < asker.value(b) and asker.rng.random() < 0.7:
        a, b = b, a
    fields, other = asker.fields(a), asker.fields(b)
    fields |= {"d": other["c"], "at2": other["at"], "r": other["s"]}
    fields["w"] = asker.rng.choice(("higher", "larger", "more") if asker.value(a) > asker.value(b) else ("lower", "smaller", "less"))
    high, low = (a, b) if asker.value(a) > asker.value(b) else (b, a)
    gold = asker.table.figures.derived(asker.value(high) - asker.value(low))
    wording = words.DIFFERENCE
    names = f"{fields['c']} and {fields['d']}"
    if across:
        wording, names = words.DIFFERENCE_SERIES, f"{fields['s']} and {fields['r']}"
        fields["at"] = fields["at"].removesuffix(asker.of(a[1])).split(" for " + fields["s"])[0].split(" in " + fields["s"])[0].split(" among " + fields["s"])[0]
    working = f"{asker.plain(high)} - {asker.plain(low)} = {asker.spoken(gold)}"
    if asker.value(low) < 0:
        working = asker.spoken(gold)
    asker.ask("difference", wording, fields, gold, f"The difference between {names} is {working}.", pair, asker.rng.random() < 0.5, asker.spoken(gold))


def ask_change(asker: Asker) -> None:
    """By how much a value moved between two times, and in which direction."""
    if not asker.timed:
        return
    pair = asker.two_cells(readable=False)
    if pair is None or not asker.apart(*pair):
        return
    a, b = sorted(pair)
    fields = asker.fields(a)
    fields["d"] = asker.table.categories[b[0]]
    up = asker.value(b) > asker.value(a)
    draw = asker.rng.random()
    if draw < 0.4:
        gold = "Increase" if up else "Decrease"
        wording = words.TREND[:1]
        sentence = f"The {fields['m']}{fields['of']} {'increased' if up else 'decreased'} from {fields['c']} to {fields['d']}."
        asker.ask("trend", wording, fields, gold, sentence, pair, True)
    elif draw < 0.6:
        fields["w"] = asker.rng.choice(("increase", "decrease"))
        true = (fields["w"] == "increase") == up
        sentence = f"{'Yes' if true else 'No'}, it {'increased' if up else 'decreased'} from {fields['c']} to {fields['d']}."
        asker.ask("trend", words.TREND_YES, fields, "Yes" if true else "No", sentence, pair, True)
    elif a in asker.exact and b in asker.exact:
        fields["w"] = "increase" if up else "decrease"
        gold = asker.table.figures.derived(abs(asker.value(b) - asker.value(a)))
        sentence = f"It {fields['w']}d by {asker.spoken(gold)}, from {asker.say(a)} to {asker.say(b)}."
        asker.ask("difference", words.CHANGE, fields, gold, sentence, pair, False, asker.spoken(gold))


def place_of(asker: Asker, category: int) -> str:
    """A category in words without its series: `in 2015`."""
    word = {"time": "in", "place": "in", "group": "among"}.get(asker.about, "for")
    return f"{word} {asker.table.categories[category]}"


def ask_sum(asker: Asker) -> None:
    """The sum of two cells."""
    across = asker.rng.random() < 0.5
    pair = asker.two_series() if across else asker.two_cells()
    if pair is None:
        return
    a, b = pair
    fields, other = asker.fields(a), asker.fields(b)
    fields |= {"d": other["c"], "r": other["s"], "at": place_of(asker, a[0]) if across else fields["at"]}
    gold = asker.table.figures.derived(asker.value(a) + asker.value(b))
    names = f"{fields['s']} and {fields['r']}" if across else f"{fields['c']} and {fields['d']}"
    sentence = f"The sum of {names} is {asker.plain(a)} + {asker.plain(b)} = {asker.spoken(gold)}."
    asker.ask("sum", words.SUM_SERIES if across else words.SUM, fields, gold, sentence, pair, asker.rng.random() < 0.6, asker.spoken(gold))


def ask_sum_ends(asker: Asker) -> None:
    """The sum of the two largest or smallest values."""
    row = asker.exact_row()
    if row is None or len(row) < 4 or asker.table.kind == "scatter":
        return
    largest = asker.rng.random() < 0.5
    order = asker.ranked(row, largest)
    fields = asker.fields(order[0])
    fields["w"] = asker.rng.choice(words.BIG_ADJECTIVES if largest else words.SMALL_ADJECTIVES)
    gold = asker.table.figures.derived(asker.value(order[0]) + asker.value(order[1]))
    sentence = f"The two {fields['w']} values are {asker.plain(order[0])} and {asker.plain(order[1])}, which add up to {asker.spoken(gold)}."
    asker.ask("sum", words.SUM_ENDS, fields, gold, sentence, order[:2], True, asker.spoken(gold))


def ask_total(asker: Asker) -> None:
    """The sum of all values of a series."""
    row = asker.exact_row()
    if row is None or len(row) > 7 or asker.table.kind == "scatter" or asker.many and asker.rng.random() < 0.5:
        return
    fields = asker.fields(row[0])
    gold = asker.table.figures.derived(sum(map(asker.value, row)))
    sentence = f"All values{fields['of']} add up to {asker.spoken(gold)}."
    asker.ask("total", words.TOTAL, fields, gold, sentence, row, True, asker.spoken(gold))


def ask_ratio(asker: Asker) -> None:
    """How many times one value is another."""
    draw = asker.rng.random()
    row = asker.exact_row() if draw < 0.25 else None
    pair = asker.two_series() if draw > 0.6 else asker.two_cells()
    wording = words.RATIO_SERIES if draw > 0.6 else words.RATIO
    if row:
        order = asker.ranked(row, True)
        pair, wording = (order[0], order[-1]), words.RATIO_ENDS
    if pair is None or asker.table.kind == "scatter":
        return
    a, b = pair if asker.value(pair[0]) >= asker.value(pair[1]) else (pair[1], pair[0])
    if asker.value(b) <= 0 or asker.value(a) > 40 * asker.value(b) or a == b:
        return
    fields, other = asker.fields(a), asker.fields(b)
    fields |= {"d": other["c"], "r": other["s"], "at": place_of(asker, a[0])}
    gold = asker.table.figures.derived(asker.value(a) / asker.value(b), 2)
    sentence = f"The ratio is {asker.plain(a)} / {asker.plain(b)} = {gold}."
    asker.ask("ratio", wording, fields, gold, sentence, (a, b), True)


def ask_average(asker: Asker) -> None:
    """The mean of all values, of two, or of the first or last three."""
    row = asker.exact_row()
    if row is None or asker.table.kind == "scatter":
        return
    draw = asker.rng.random()
    wording, cells, word = words.AVERAGE, row, ""
    if draw < 0.4 or len(row) > 8:
        wording, cells = words.AVERAGE_TWO, asker.rng.sample(row, 2)
    elif draw < 0.6 and len(row) > 4:
        word = asker.rng.choice(("first", "last"))
        wording, cells = words.AVERAGE_PART, row[:3] if word == "first" else row[-3:]
    fields = asker.fields(cells[0])
    fields |= {"d": asker.table.categories[cells[1][0]], "w": word}
    gold = asker.table.figures.derived(sum(map(asker.value, cells)) / len(cells), 2)
    working = " + ".join(map(asker.plain, cells))
    sentence = f"The average is ({working}) / {len(cells)} = {asker.spoken(gold)}." if len(cells) < 5 else f"The average is {asker.spoken(gold)}."
    asker.ask("average", wording, fields, gold, sentence, cells, True, asker.spoken(gold))


def ask_range(asker: Asker) -> None:
    """Highest minus lowest."""
    row = asker.exact_row()
    if row is None or asker.table.kind == "scatter":
        return
    order = asker.ranked(row, True)
    fields = asker.fields(order[0])
    gold = asker.table.figures.derived(asker.value(order[0]) - asker.value(order[-1]))
    working = f"{asker.plain(order[0])} - {asker.plain(order[-1])} = " if asker.value(order[-1]) >= 0 else ""
    asker.ask("range", words.RANGE, fields, gold, f"The difference is {working}{asker.spoken(gold)}.", (order[0], order[-1]), True, asker.spoken(gold))


def ask_above(asker: Asker) -> None:
    """How many categories lie above or below a round number, or which one does."""
    row = asker.row(asker.rng.randrange(len(asker.table.series)))
    stacked = asker.table.kind in ("stacked", "stacked_h", "area", "pie", "donut")
    if len(row) < 3 or (stacked and not all(cell in asker.exact for cell in row)) or asker.table.kind == "scatter":
        return
    order = asker.ranked(row, True)
    cut = asker.rng.randrange(1, len(order))
    upper, lower = order[cut - 1], order[cut]
    if not asker.apart(upper, lower):
        return
    high, low = asker.value(upper), asker.value(lower)
    limit = roundest(low, high)
    if not low < limit < high:
        return
    fields = asker.fields(order[0])
    above = asker.rng.random() < 0.6
    number = cut if above else len(order) - cut
    fields["n"] = asker.table.figures.derived(limit, 2)
    fields["v"] = in_words(asker, asker.spoken(fields["n"]))
    fields["w"] = asker.rng.choice(("above", "more than", "greater than", "over") if above else ("below", "less than", "under"))
    if number == 1 and asker.rng.random() < 0.5:
        name = asker.table.categories[(upper if above else lower)[0]]
        asker.ask("which_above", words.WHICH_ABOVE, fields, name, f"Only {name} is {fields['w']} {fields['v']}{fields['of']}.", row, True)
        return
    fields["x"] = str(number)
    asker.ask("above", words.ABOVE, fields, str(number), asker.rng.choice(words.ABOVE_SENTENCE).format_map(fields), row, True)


def roundest(low: float, high: float) -> float:
    """The number with the fewest digits well between two others."""
    gap = high - low
    for power in range(6, -4, -1):
        for step in (5 * 10.0**power, 2 * 10.0**power, 10.0**power):
            candidate = round(round((low + high) / 2 / step) * step, 6)
            if low + 0.2 * gap < candidate < high - 0.2 * gap:
                return candidate
    return low


def ask_list(asker: Asker) -> None:
    """All categories, or all series."""
    table = asker.table
    fields = asker.fields(asker.row(0)[0])
    if asker.many and table.kind != "scatter" and asker.rng.random() < 0.6:
        fields["x"] = "series" if table.series_noun == "series" else {"country": "countries", "company": "companies", "city": "cities", "industry": "industries"}.get(table.series_noun, table.series_noun + "s")
        gold = f"[{', '.join(table.series)}]"
        wording = words.LEGEND_TWO if len(table.series) == 2 and asker.rng.random() < 0.4 else words.LEGEND
        asker.ask("legend", wording, fields, gold, f"The legend shows {listing(table.series)}.", [], False, ", ".join(table.series))
    elif asker.count <= 9:
        gold = f"[{', '.join(table.categories)}]"
        sentence = f"The {table.plural} are {listing(table.categories)}."
        asker.ask("list", words.LIST, fields, gold, sentence, [], False, ", ".join(table.categories))


def ask_title(asker: Asker) -> None:
    """The printed title or axis title, or the kind of chart."""
    table = asker.table
    fields = asker.fields(asker.row(0)[0])
    draw = asker.rng.random()
    if draw < 0.25:
        name = KIND_NAMES[table.kind]
        asker.ask("chart_kind", words.KIND, fields, name, f"This is a {name.lower()}.", [], True)
    elif table.title:
        asker.ask("title", words.TITLE, fields, table.title, f"The title is “{table.title}”.", [], asker.rng.random() < 0.4)


def ask_first(asker: Asker) -> None:
    """The first or last category, or the span of years."""
    table = asker.table
    fields = asker.fields(asker.row(0)[0])
    first, last = table.categories[0], table.categories[-1]
    if asker.timed and first.isdigit() and last.isdigit() and asker.rng.random() < 0.3:
        years = int(last) - int(first)
        asker.ask("span", words.SPAN, fields, str(years), f"From {first} to {last} are {years} years.", [], True, f"{years} years")
        return
    if table.kind in ("pie", "donut", "scatter"):
        return
    word = asker.rng.choice(("first", "last"))
    fields["w"] = word
    name = first if word == "first" else last
    asker.ask("first_last", words.FIRST, fields, name, f"The {word} {table.noun} is {name}.", [], asker.rng.random() < 0.4)


def ask_median(asker: Asker) -> None:
    """The middle value of an odd number of values."""
    row = asker.exact_row()
    if row is None or len(row) % 2 == 0 or len(row) > 9 or asker.table.kind == "scatter":
        return
    cell = asker.ranked(row, True)[len(row) // 2]
    fields = asker.fields(cell)
    asker.ask("median", words.MEDIAN, fields, asker.plain(cell), f"The median{fields['of']} is {fields['v']}.", row, True, asker.say(cell))


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
    fields["at"] = place_of(asker, category)
    fields["w"] = asker.rng.choice(words.BIG_ADJECTIVES if largest else words.SMALL_ADJECTIVES)
    fields["x"] = table.series_noun
    sentence = f"{fields['s']} has the {fields['w']} value {fields['at']}."
    asker.ask("top_series", words.TOP_SERIES[asker.timed], fields, fields["s"], sentence, cells, asker.rng.random() < 0.4)


def ask_gap(asker: Asker) -> None:
    """Where two series lie furthest apart or closest."""
    table = asker.table
    if not asker.many or table.kind == "scatter" or asker.count < 3:
        return
    first, second = asker.rng.sample(range(len(table.series)), 2)
    pairs = [((c, first), (c, second)) for c in range(asker.count) if (c, first) in asker.exact and (c, second) in asker.exact]
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
    sentence = f"The gap between {fields['s']} and {fields['r']} is the {fields['w']} {place_of(asker, best)}."
    asker.ask("gap", words.GAP, fields, table.categories[best], sentence, [cell for pair in pairs for cell in pair], True)


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
    names = [asker.table.categories[index] for index in shared[0][1]]
    sentence = f"{listing(names)} both have {asker.spoken(shared[0][0])}{fields['of']}."
    asker.ask("same", words.SAME, fields, f"[{', '.join(names)}]", sentence, row, True, ", ".join(names))


OTHERS = {
    ask_value: 12, ask_value_human: 10, ask_inverse: 8, ask_extreme: 9, ask_limit: 6, ask_rank: 6, ask_count: 6, ask_count_series: 3, ask_colour: 7,
    ask_compare: 8, ask_sum_compare: 2, ask_difference: 8, ask_change: 4, ask_sum: 5, ask_sum_ends: 3, ask_total: 2, ask_ratio: 5, ask_average: 5,
    ask_range: 4, ask_above: 6, ask_list: 4, ask_title: 4, ask_first: 3, ask_median: 2, ask_top_series: 6, ask_gap: 3, ask_same: 3, ask_position: 2, ask_limit_of_all: 3,
    ask_missing: 1.5, ask_average_compare: 2.5, ask_colour_of_extreme: 2,
}  # fmt: skip
