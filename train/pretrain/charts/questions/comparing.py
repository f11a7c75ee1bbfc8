"""Questions that compare: yes or no, which of two, how many lie above a limit."""

from train.pretrain.charts.questions import wordings as words
from train.pretrain.charts.questions.asker import Asker, roundest
from train.pretrain.charts.questions.lookups import in_words


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
        fields["w"] = (
            asker.rng.choice(("higher", "larger", "greater")) if more else asker.rng.choice(("lower", "smaller"))
        )
        winner = fields["c"] if true else fields["d"]
        asker.ask(
            "which_of_two",
            words.WHICH_OF,
            fields,
            winner,
            f"{winner} has the {fields['w']} value{fields['of']}.",
            pair,
            human,
        )
        return
    fields["w"] = (
        asker.rng.choice(("higher", "larger", "greater", "more"))
        if more
        else asker.rng.choice(("lower", "smaller", "less"))
    )
    gold = "Yes" if true else "No"
    fields["yes"] = gold
    wording = (
        words.COMPARE_SENTENCE
        if readable
        else ("{yes}, {c} is {w} than {d}{of}." if true else "{yes}, {c} is not {w} than {d}{of}.",)
    )
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
            sentence = (
                f"{gold}, the average is {shown} and the median is {asker.spoken(asker.table.figures.plain(median))}."
            )
            asker.ask("compare_average", words.MEAN_OVER_MEDIAN, fields, gold, sentence, row, True)
    elif abs(mean - asker.value(cell)) > 0.04 * spread:
        gold = "Yes" if asker.value(cell) > mean else "No"
        sentence = f"{gold}, {fields['c']} is at {fields['v']} and the average is {shown}."
        asker.ask("compare_average", words.OVER_MEAN, fields, gold, sentence, row, True)


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
    fields["w"] = asker.rng.choice(
        ("above", "more than", "greater than", "over") if above else ("below", "less than", "under")
    )
    if number == 1 and asker.rng.random() < 0.5:
        name = asker.categories[(upper if above else lower)[0]]
        asker.ask(
            "which_above",
            words.WHICH_ABOVE,
            fields,
            name,
            f"Only {name} is {fields['w']} {fields['v']}{fields['of']}.",
            row,
            True,
        )
        return
    fields["x"] = str(number)
    asker.ask(
        "above", words.ABOVE, fields, str(number), asker.rng.choice(words.ABOVE_SENTENCE).format_map(fields), row, True
    )
