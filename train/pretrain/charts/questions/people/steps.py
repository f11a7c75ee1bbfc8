"""Questions that are worked out in one or more steps: named values added, the result of one step taken to the next."""

from train.pretrain.charts.questions.asker import Asker, Cell, listing
from train.pretrain.charts.questions.people.terms import (
    HIGH,
    LOW,
    Term,
    group_of,
    mark_word,
    put,
    say_number,
    series_name,
    some_term,
)

MARGIN = 0.04  # of the larger side: what two sides of a comparison have to differ by


def named(asker: Asker, most: int) -> tuple[list[str], str, list[Cell]] | None:
    """Two to `most` readable values that differ in one thing only: their names, what they share (` in 2015`, or
    nothing), and the cells."""
    rng, table = asker.rng, asker.table
    if table.kind == "scatter":
        return None
    across = asker.many and rng.random() < 0.5
    fixed = rng.randrange(asker.count if across else len(table.series))
    cells = [cell for cell in sorted(asker.exact) if cell[0 if across else 1] == fixed]
    if len(cells) < 2:
        return None
    cells = rng.sample(cells, min(len(cells), rng.choice((2, 2, 2, 3)) if most > 2 else 2, most))
    if across:
        names = [table.series[series] for _, series in cells]
        word = rng.choice(("in", "in", "for", "of", "in the")) if asker.timed == "" else "in"
        shared = f" {word} {asker.categories[fixed]}" + (" category" if word == "in the" else "")
    else:
        names = [asker.categories[category] for category, _ in cells]
        shared = f" {rng.choice(('for', 'in', 'of'))} {series_name(asker, fixed)}" if asker.many else ""
    if rng.random() < 0.12:
        names = [f'"{name}"' for name in names]
    return names, shared, cells


def ask_named(asker: Asker) -> None:
    """A sum, average, median, difference or ratio of values by their names."""
    rng = asker.rng
    draw = rng.random()
    found = named(asker, 4 if draw < 0.62 else 2)
    if found is None:
        return
    names, shared, cells = found
    values, all_names, unit = [asker.value(cell) for cell in cells], listing(names), True
    a, b = values[0], values[1]
    distribution = rng.choice((" distribution", " percentage", " value", "", ""))
    if draw < 0.36:
        number, word = sum(values), "sum"
        text = rng.choice(
            (
                f"What is the sum of {all_names}{shared}?",
                f"What is the sum value of {all_names}{shared}?",
                f"What is the total{distribution} of {all_names}{shared}?",
                f"What's the total add up value of {all_names}{shared}?",
                f"What is the total of both {all_names}{shared}?" if len(names) == 2 else f"Add {all_names}{shared}.",
                f"How much is {' plus '.join(names)}{shared}?",
                f"What do we get if we add {all_names}{shared}?",
            )
        )
    elif draw < 0.56:
        number, word = sum(values) / len(values), "average"
        text = rng.choice(
            (
                f"What is the average of {all_names}{shared}?",
                f"Find the average of {all_names}{shared}.",
                f"What's the average value of {all_names}{shared}?",
                f"Take the average of {all_names}{shared}.",
                f"What is the percent average of {all_names}{shared}?",
            )
        )
    elif draw < 0.62:
        number, word = sorted(values)[len(values) // 2], "median"
        if len(values) != 3:
            return
        text = rng.choice((f"What is the median of {all_names}{shared}?", f"Find the median of {all_names}{shared}."))
    elif draw < 0.86:
        number, word = abs(a - b), "difference"
        text = rng.choice(
            (
                f"What is the difference between {names[0]}'s and {names[1]}'s values{shared}?",
                f"What is the difference in{distribution or ' value'} between {all_names}{shared}?",
                f"What is the difference in the value of {all_names}{shared}?",
                f"What is the difference of {all_names}{shared}?",
                f"What's the gap between {all_names}{shared}?",
                f"Deduct {names[a > b]} from {names[a <= b]}{shared}.",
                f"How much more is {names[a <= b]} than {names[a > b]}{shared}?",
            )
        )
    else:
        if min(a, b) <= 0 or max(a, b) > 40 * min(a, b):
            return
        number, word, unit = a / b, "ratio", False
        wording = [
            f"What is the ratio between {all_names}{shared}?",
            f"What's the ratio (A:B) of {all_names}{shared}?",
            f"What is the ratio of {names[0]} vs {names[1]}{shared}?",
            f"Divide the value of {names[0]} by the value of {names[1]}{shared}.",
        ]
        if a > b:
            wording += [
                f"How many times bigger is {names[0]} than {names[1]}{shared}?",
                f"How many times is {names[0]} greater than {names[1]}{shared}?",
            ]
        text = rng.choice(wording)
    gold = say_number(asker, number)
    put(asker, "reckoning", text, gold, f"The {word} is {asker.spoken(gold) if unit else gold}.", cells, unit)


def ask_sum_against(asker: Asker) -> None:
    """Whether the sum or the difference of two named values is more than a third, or equals a number."""
    found = named(asker, 3)
    if found is None:
        return
    rng = asker.rng
    names, shared, cells = found
    values = [asker.value(cell) for cell in cells]
    if len(cells) == 3:
        total = values[0] + values[1]
        other, shown = values[2], names[2]
        both = rng.choice((f"sum of {names[0]} and {names[1]}", f"total of {names[0]} and {names[1]}"))
    else:
        total = abs(values[0] - values[1])
        other = total * rng.choice((0.5, 0.75, 1.3, 2.0))
        shown, both = asker.table.figures.derived(other), f"difference between {names[0]} and {names[1]}"
        other = float(shown)
    if abs(total - other) < MARGIN * max(abs(total), abs(other), 1e-9):
        return
    more = rng.random() < 0.75
    word = rng.choice(
        ("more than", "greater than", "more then", "larger than") if more else ("less than", "lower than")
    )
    gold = "Yes" if (total > other) == more else "No"
    text = rng.choice((f"Is the {both} {word} {shown}{shared}?", f"Is {both} {word} {shown}{shared}?"))
    put(asker, "check", text, gold, f"{gold}, it is {say_number(asker, total)}.", cells, False)


def ask_steps(asker: Asker) -> None:
    """The result of one step taken to another: `Take ..., multiply it by 2, what's the result?`"""
    rng = asker.rng
    first, second = some_term(asker, False), some_term(asker, False)
    if first is None or second is None or first.text == second.text or first.cells == second.cells:
        return
    a, b = first.number, second.number
    the = rng.choice(("the ", ""))
    names = f"{the}{first.text} and {the}{second.text}"
    end, times, draw = (
        rng.choice((", what's the result?", ", what is the result?", "?")),
        rng.choice((2, 2, 3)),
        rng.random(),
    )
    if draw < 0.3:
        number = (a + b) * times
        text = (
            f"{rng.choice(('Add', 'Take'))} {names}, {'' if rng.random() < 0.5 else 'then '}multiply it by {times}{end}"
        )
        text = text.replace("Take", "Take the sum of", 1)
    elif draw < 0.5:
        number = abs(a - b)
        text = f"Take {names}, deduct the smaller value from the larger value{end}"
    elif draw < 0.7:
        if min(a, b) <= 0 or max(a, b) > 40 * min(a, b):
            return
        number = max(a, b) / min(a, b)
        text = f"Take {names}, divide the larger value by the smaller value{end}"
    elif draw < 0.85:
        number = a * times
        text = rng.choice(
            (
                f"What is the {'double' if times == 2 else 'triple'} of the {first.text}?",
                f"Multiply {the}{first.text} by {times}{end}",
            )
        )
    else:
        number = (a + b) / 2
        text = f"Take {names}, add them and divide by 2{end}"
    gold = say_number(asker, number)
    cells = first.cells if draw >= 0.7 and draw < 0.85 else first.cells + second.cells
    put(asker, "reckoning", text, gold, f"The result is {gold}.", cells, False)


def ends(asker: Asker) -> tuple[str, str, list[Term]] | None:
    """What a group's marks are called (one, several), and its largest two and smallest two as terms."""
    found = group_of(asker)
    if found is None or len(found[1]) < 3:
        return None
    text, cells = found
    marks = mark_word(asker, several=True)
    if not text.endswith(marks) or len({asker.value(cell) for cell in cells}) < len(cells):
        return None
    one = text.removesuffix("s")
    order = asker.ranked(cells, True)
    terms = [Term("", asker.value(cell), (cell,)) for cell in (order[0], order[1], order[-2], order[-1])]
    return one, text, terms


def ask_ends_against(asker: Asker) -> None:
    """Whether the smallest two together, or the smallest taken several times, exceed the largest."""
    found = ends(asker)
    if found is None:
        return
    rng = asker.rng
    one, text, (high, second, third, low) = found
    big, small, times, draw = rng.choice(HIGH), rng.choice(LOW), rng.choice((2, 3, 5, 10)), rng.random()
    more = rng.choice(("greater than", "more than", "greater then", "larger than"))
    if draw < 0.3:
        left, right, cells = low.number + third.number, high.number, (low, third, high)
        two = rng.choice((f"two {small}", f"{small} two", f"the two {small}"))
        words = f"sum of {two} {text} {more} the value of {big} {one}?"
        words = rng.choice(("Is the ", "Does the ")) + words
    elif draw < 0.5:
        left, right, cells = high.number - second.number, low.number, (high, second, low)
        words = f"Is the difference of the {big} two {text} {more} the value of the {small} {one}?"
    elif draw < 0.75:
        left, right, cells = low.number * times, high.number, (low, high)
        words = f"Multiply the {small} {one} by {times}, is the result {more} the {big} {one}?"
    elif draw < 0.9:
        left, right, cells = high.number, low.number * times, (low, high)
        words = f"Is the {big} {one} {rng.choice(('more than ', ''))}{times} times bigger than the {small} {one}?"
    else:
        left, right, cells = (low.number + third.number) * 2, high.number, (low, third, high)
        words = f"Take sum of two {small} {text}, multiply it by 2, is the result {more} the {big} {one}?"
    if abs(left - right) < MARGIN * max(abs(left), abs(right), 1e-9):
        return
    gold = "Yes" if left > right else "No"
    put(
        asker,
        "check",
        words,
        gold,
        f"{gold}, {say_number(asker, left)} against {say_number(asker, right)}.",
        [cell for term in cells for cell in term.cells],
        False,
    )
