"""Questions whose answer has to be worked out: differences, sums, ratios, averages."""

from train.pretrain.charts.questions import wordings as words
from train.pretrain.charts.questions.asker import Asker


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
    fields["w"] = asker.rng.choice(
        ("higher", "larger", "more") if asker.value(a) > asker.value(b) else ("lower", "smaller", "less")
    )
    high, low = (a, b) if asker.value(a) > asker.value(b) else (b, a)
    gold = asker.table.figures.derived(asker.value(high) - asker.value(low))
    wording = words.DIFFERENCE
    names = f"{fields['c']} and {fields['d']}"
    if across:
        wording, names = words.DIFFERENCE_SERIES, f"{fields['s']} and {fields['r']}"
        fields["at"] = asker.place_of(a[0])
    working = f"{asker.plain(high)} - {asker.plain(low)} = {asker.spoken(gold)}"
    if asker.value(low) < 0:
        working = asker.spoken(gold)
    asker.ask(
        "difference",
        wording,
        fields,
        gold,
        f"The difference between {names} is {working}.",
        pair,
        asker.rng.random() < 0.5,
        asker.spoken(gold),
    )


def ask_change(asker: Asker) -> None:
    """By how much a value moved between two times, and in which direction."""
    if not asker.timed:
        return
    pair = asker.two_cells(readable=False)
    if pair is None or not asker.apart(*pair):
        return
    a, b = sorted(pair)
    fields = asker.fields(a)
    fields["d"] = asker.categories[b[0]]
    up = asker.value(b) > asker.value(a)
    draw = asker.rng.random()
    if draw < 0.4:
        gold = "Increase" if up else "Decrease"
        wording = words.TREND[:1]
        sentence = (
            f"The {fields['m']}{fields['of']} {'increased' if up else 'decreased'} from {fields['c']} to {fields['d']}."
        )
        asker.ask("trend", wording, fields, gold, sentence, pair, True)
    elif draw < 0.6:
        fields["w"] = asker.rng.choice(("increase", "decrease"))
        true = (fields["w"] == "increase") == up
        sentence = (
            f"{'Yes' if true else 'No'}, it {'increased' if up else 'decreased'} from {fields['c']} to {fields['d']}."
        )
        asker.ask("trend", words.TREND_YES, fields, "Yes" if true else "No", sentence, pair, True)
    elif a in asker.exact and b in asker.exact:
        fields["w"] = "increase" if up else "decrease"
        gold = asker.table.figures.derived(abs(asker.value(b) - asker.value(a)))
        sentence = f"It {fields['w']}d by {asker.spoken(gold)}, from {asker.say(a)} to {asker.say(b)}."
        asker.ask("difference", words.CHANGE, fields, gold, sentence, pair, False, asker.spoken(gold))


def ask_sum(asker: Asker) -> None:
    """The sum of two cells."""
    across = asker.rng.random() < 0.5
    pair = asker.two_series() if across else asker.two_cells()
    if pair is None:
        return
    a, b = pair
    fields, other = asker.fields(a), asker.fields(b)
    fields |= {"d": other["c"], "r": other["s"], "at": asker.place_of(a[0]) if across else fields["at"]}
    gold = asker.table.figures.derived(asker.value(a) + asker.value(b))
    names = f"{fields['s']} and {fields['r']}" if across else f"{fields['c']} and {fields['d']}"
    sentence = f"The sum of {names} is {asker.plain(a)} + {asker.plain(b)} = {asker.spoken(gold)}."
    asker.ask(
        "sum",
        words.SUM_SERIES if across else words.SUM,
        fields,
        gold,
        sentence,
        pair,
        asker.rng.random() < 0.6,
        asker.spoken(gold),
    )


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
    working = f"{asker.plain(order[0])} + {asker.plain(order[1])} = {asker.spoken(gold)}"
    sentence = f"The sum of the two {fields['w']} values is {working}."
    asker.ask("sum", words.SUM_ENDS, fields, gold, sentence, order[:2], True, asker.spoken(gold))


def ask_total(asker: Asker) -> None:
    """The sum of all values of a series."""
    row = asker.exact_row()
    if row is None or len(row) > 7 or asker.table.kind == "scatter" or (asker.many and asker.rng.random() < 0.5):
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
    fields |= {"d": other["c"], "r": other["s"], "at": asker.place_of(a[0])}
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
    fields |= {"d": asker.categories[cells[1][0]], "w": word}
    gold = asker.table.figures.derived(sum(map(asker.value, cells)) / len(cells), 2)
    working = " + ".join(map(asker.plain, cells))
    sentence = (
        f"The average is ({working}) / {len(cells)} = {asker.spoken(gold)}."
        if len(cells) < 5
        else f"The average is {asker.spoken(gold)}."
    )
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
    asker.ask(
        "range",
        words.RANGE,
        fields,
        gold,
        f"The difference is {working}{asker.spoken(gold)}.",
        (order[0], order[-1]),
        True,
        asker.spoken(gold),
    )
