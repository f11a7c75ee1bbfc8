"""Questions as people put them to charts: expressions over bars, lines and segments named by word, colour or place.

"What is the difference between the largest green bar and the smallest yellow bar?", "Is the sum of the last two values
of the blue graph greater than 90?". An expression is made from the table, so its answer is known; nothing of any data
set is in the wording but its manner.
"""

from train.pretrain.charts.questions.asker import Asker, listing, roundest
from train.pretrain.charts.questions.people.terms import (
    HIGH,
    LOW,
    Term,
    extreme,
    group_of,
    mark_word,
    placed,
    put,
    reckoned,
    say_number,
    series_name,
    some_term,
)

MARGIN = 0.04  # of the larger side: what two sides of a comparison have to differ by


def ask_term(asker: Asker) -> None:
    """The value of an expression by itself."""
    draw = asker.rng.random()
    term = extreme(asker) if draw < 0.4 else placed(asker) if draw < 0.62 else reckoned(asker)
    if term is None:
        return
    gold = term.plain or say_number(asker, term.number)
    rng = asker.rng
    what = rng.choice(("What is", "What's", "What is", "What's", "What was"))
    if term.text.split(" ", 1)[0] in ("sum", "total", "average", "mean", "median", "product"):
        text = rng.choice((f"{what} the {term.text}?", f"{what} the {term.text}?", f"Find the {term.text}."))
    elif "value of" in term.text:
        text = f"{what} the {term.text}?"
    else:
        value = rng.choice(("value", "value", "percentage value") if asker.table.unit.percent else ("value",))
        text = f"{what} the {value} of {rng.choice(('the ', 'the ', ''))}{term.text}?"
    kind = "term" if term.plain else "reckoning"
    unit = not term.text.startswith("product")
    put(asker, kind, text, gold, f"The {term.text} is {asker.spoken(gold) if unit else gold}.", term.cells, unit)


def ask_two_terms(asker: Asker) -> None:
    """Difference, sum, average, ratio or product of two expressions."""
    first, second = some_term(asker, True), some_term(asker, True)
    if first is None or second is None or first.text == second.text or first.cells == second.cells:
        return
    rng, a, b = asker.rng, first.number, second.number
    the = rng.choice(("the ", "the ", ""))
    names = f"{the}{first.text} and {the}{second.text}"
    draw, unit = rng.random(), True
    if draw < 0.42:
        gold = say_number(asker, abs(a - b))
        text = rng.choice(
            (
                f"What is the difference between {names}?",
                f"What's the difference between {names}?",
                f"What is the difference in value between {names}?",
                f"What's the difference in the value of {names}?",
                f"What's the difference of {names}?",
            )
        )
        word = "difference"
    elif draw < 0.66:
        gold = say_number(asker, a + b)
        text = rng.choice(
            (
                f"What is the sum of {names}?",
                f"What's the sum of {names}?",
                f"What is the total of {names}?",
                f"What's the total add-up value of {names}?",
                f"Add {names}.",
                f"Add the value of {names}.",
            )
        )
        word = "sum"
    elif draw < 0.8:
        gold = say_number(asker, (a + b) / 2)
        text = rng.choice(
            (f"What is the average of {names}?", f"What's the average of {names}?", f"Take the average of {names}.")
        )
        word = "average"
    elif draw < 0.95:
        if b <= 0 or a <= 0 or a > 40 * b or b > 40 * a:
            return
        gold = say_number(asker, a / b)
        text = rng.choice(
            (
                f"What is the ratio of {the}{first.text} to {the}{second.text}?",
                f"What's the ratio of {names}?",
                f"What is the ratio between {names}?",
                f"Divide {the}{first.text} by {the}{second.text}.",
            )
        )
        word, unit = "ratio", False
    else:
        if not (0 < a < 1000 and 0 < b < 1000):
            return
        gold = say_number(asker, a * b)
        text, word, unit = f"What's the product of {names}?", "product", False
    put(
        asker,
        "reckoning",
        text,
        gold,
        f"The {word} is {asker.spoken(gold) if unit else gold}.",
        first.cells + second.cells,
        unit,
    )


def ask_yes_no(asker: Asker) -> None:
    """Whether one expression is above another, or equals a number."""
    rng, first = asker.rng, some_term(asker, False)
    if first is None:
        return
    if rng.random() < 0.3:
        if first.plain is None or len(first.cells) > 1:
            return
        other = rng.choice(sorted(asker.exact))
        true = rng.random() < 0.5
        shown = first.plain if true else asker.plain(other)
        if not true and shown == first.plain:
            return
        name = first.text if first.text.startswith("value") or "value of" in first.text else f"value of {first.text}"
        text = rng.choice(
            (f"Is the {name} {shown}?", f"Is the {name} {asker.spoken(shown)}?", f"Is {shown} the {name}?")
        )
        put(
            asker,
            "check",
            text,
            "Yes" if true else "No",
            f"{'Yes' if true else 'No'}, it is {asker.spoken(first.plain)}.",
            first.cells,
            False,
        )
        return
    if rng.random() < 0.25:
        number = roundest(0.0, max(abs(first.number) * 2, 1.0)) * rng.choice((0.5, 0.75, 1.0, 1.25, 1.5))
        second = Term(say_number(asker, number), number, ())
        the = ""
    else:
        found = some_term(asker, False)
        if found is None or found.text == first.text:
            return
        second, the = found, "the "
    gap = abs(first.number - second.number)
    if gap < MARGIN * max(abs(first.number), abs(second.number), 1e-9):
        return
    more = rng.random() < 0.7
    true = (first.number > second.number) == more
    word = (
        rng.choice(("greater than", "more than", "higher than", "larger than", "greater then", "more then"))
        if more
        else rng.choice(("less than", "smaller than", "lower than", "below"))
    )
    text = rng.choice(
        (
            f"Is the {first.text} {word} {the}{second.text}?",
            f"Is the {first.text} {word} {the}{second.text}?",
            f"Does the {first.text} {'exceed' if more else 'stay below'} {the}{second.text}?",
        )
    )
    if (
        first.text.split(" ", 1)[0] not in ("sum", "total", "average", "mean", "median", "product")
        and rng.random() < 0.5
    ):
        text = f"Is the value of {the or 'the '}{first.text} {word} {the}{second.text}?"
    gold = "Yes" if true else "No"
    put(
        asker,
        "check",
        text,
        gold,
        f"{gold}, {say_number(asker, first.number)} against {say_number(asker, second.number)}.",
        first.cells + second.cells,
        False,
    )


def ask_colour_fact(asker: Asker) -> None:
    """Whether something has a colour, or the colour of the line with a given lowest or highest value."""
    names, table, rng = asker.colour_names(), asker.table, asker.rng
    if names is None:
        return
    by_category = asker.plot.coloured == "category"
    parts = asker.categories if by_category else table.series
    index = rng.randrange(len(names))
    if rng.random() < 0.55:
        true = rng.random() < 0.5
        shown = asker.colour_word(
            names[index] if true else rng.choice([name for name in names if name != names[index]])
        )
        part = parts[index] if rng.random() < 0.6 else f'"{parts[index]}"'
        mark = mark_word(asker)
        text = rng.choice(
            (
                f"Is the color of {part} {mark} {shown}?",
                f"Is the color of the {part} {mark} {shown}?",
                f"Is the {part} {mark} {shown}?",
                f"Does the {shown} {mark} represent {part}?",
            )
        )
        gold = "Yes" if true else "No"
        put(asker, "colour_check", text, gold, f"{gold}, {parts[index]} is {names[index]}.", [], False)
        return
    if by_category:
        cells = asker.row(0)
        cell = (index, 0)
        if cell not in asker.exact or sum(asker.value(other) == asker.value(cell) for other in cells) != 1:
            return
        shown = asker.plain(cell)
        text = rng.choice(
            (
                f"What is the color of the {mark_word(asker)} with a value of {shown}?",
                f"Which color {mark_word(asker)} has the value {shown}?",
                f"Is the color of {shown} {mark_word(asker)} {names[index]}?",
            )
        )
        gold = "Yes" if text.startswith("Is ") else names[index]
        put(asker, "colour_of_value", text, gold, f"It is {names[index]}.", [cell], False)
        return
    rows = [asker.row(series) for series in range(len(table.series))]
    if any(cell not in asker.exact for row in rows for cell in row) or min(map(len, rows)) < 2:
        return
    largest = rng.random() < 0.5
    best = [asker.ranked(row, largest)[0] for row in rows]
    if sum(asker.value(cell) == asker.value(best[index]) for cell in best) != 1:
        return
    shown, word = asker.plain(best[index]), rng.choice(HIGH if largest else LOW)
    mark = mark_word(asker)
    text = rng.choice(
        (
            f"What is the color of the {mark} whose {word} value is {shown}?",
            f"What's the color of {mark} whose {word} value is {shown}?",
            f"Which color {mark} has {shown} as its {word} value?",
        )
    )
    put(asker, "colour_of_value", text, names[index], f"It is {names[index]}.", rows[index], False)


def ask_how_many(asker: Asker) -> None:
    """How many marks of a colour or series lie above a number, or equal one."""
    found = group_of(asker)
    if found is None:
        return
    text, cells = found
    rng, values = asker.rng, sorted(map(asker.value, cells))
    if len(cells) < 3:
        return
    if rng.random() < 0.15:
        cell = rng.choice(cells)
        number, shown = sum(value == asker.value(cell) for value in values), asker.plain(cell)
        wording = (
            f"How many {text} are equal to {shown}?",
            f"How many {text} have a value of {shown}?",
            f"How many times does the value {shown} appear in {text}?",
        )
    else:
        limit = roundest(values[0], values[-1])
        if any(abs(value - limit) <= 1e-9 for value in values):
            return
        above = rng.random() < 0.65
        number, shown = sum((value > limit) == above for value in values), say_number(asker, limit)
        word = (
            rng.choice(("above", "over", "more than", "greater than"))
            if above
            else rng.choice(("below", "under", "less than"))
        )
        wording = (
            f"How many {text} are {word} {shown}?",
            f"How many {text} have a value {word} {shown}?",
            f"How many of the {text} are {word} {shown}?",
            f"How many {text} {'exceed' if above else 'are smaller than'} {shown}?",
        )
    put(asker, "how_many", rng.choice(wording), str(number), f"{number} of them.", cells, False)


def ask_means(asker: Asker) -> None:
    """What a colour or a place stands for."""
    names, table, rng = asker.colour_names(), asker.table, asker.rng
    if names is None:
        return
    parts = asker.categories if asker.plot.coloured == "category" else table.series
    index = rng.randrange(len(names))
    colour, mark = asker.colour_word(names[index]), mark_word(asker)
    text = rng.choice(
        (
            f"What does the {colour} {mark} represent?",
            f"What does the {colour} color represent in this graph?",
            f"What does {colour} {mark} indicate?",
            f"What is represented by the {colour} {mark}?",
            f"Which value is represented by {colour} color?",
            f"{colour} {mark} represents to?",
            f"What does the {colour} color bar represent?" if mark == "bar" else f"What does the {colour} {mark} show?",
            f"Which is represented by {colour} colour?",
        )
    )
    put(asker, "which_colour", text, parts[index], f"The {names[index]} {mark} is {parts[index]}.", [], False)


def ask_survey_value(asker: Asker) -> None:
    """A cell of a survey, asked by both of its names in many orders."""
    cell, table, rng = asker.some_cell(), asker.table, asker.rng
    if cell is None or table.kind == "scatter":
        return
    name, n = asker.categories[cell[0]], asker.plain(cell)
    if not asker.many:
        text = rng.choice(
            (
                f"What percentage of people say {name}?",
                f"What's the percentage of respondents who chose {name}?",
                f"What is the share of {name}?",
                f"What percent does {name} represent?",
                f"How many percent are {name}?",
                f"What's the percentage value of {name}?",
                f"What is the {name} value?",
            )
            if table.unit.percent
            else (
                f"What is the {name} value?",
                f"How much is it for {name}?",
                f"What is the data for {name}?",
                f"What number does {name} have?",
            )
        )
    else:
        s = table.series[cell[1]]
        text = rng.choice(
            (
                f"What percentage of {name} say {s}?",
                f"What's the percentage of {name} who say {s}?",
                f"What is the percentage of people in {name} who chose {s}?",
                f"What is the '{s}' value for {name}?",
                f"In {name}, what is the {s} value?",
                f"What is {s} {name} value?",
                f"What's the value of {s} in {name}?",
                f"How many percent of {name} think {s}?",
                f"What is the {s} percentage in {name}?",
            )
            if table.unit.percent
            else (
                f"In {name}, what is the {s} value?",
                f"What is the '{s}' value for {name}?",
                f"What is the {s} of {name}?",
                f"What's the value of {s} in {name}?",
            )
        )
    put(asker, "value", text, n, f"It is {asker.say(cell)}.", [cell])


def ask_two_that(asker: Asker) -> None:
    """The two or three largest or smallest categories, as a list."""
    found = group_of(asker)
    if found is None or len({cell[0] for cell in found[1]}) < len(found[1]) or len(found[1]) < 4:
        return
    rng, cells = asker.rng, found[1]
    largest = rng.random() < 0.6
    order = asker.ranked(cells, largest)
    if asker.value(order[1]) == asker.value(order[2]):
        return
    names = [asker.categories[cell[0]] for cell in order[:2]]
    of = f" for {series_name(asker, cells[0][1])}" if asker.many else ""
    text = f"Which two {asker.table.plural} have the {rng.choice(HIGH if largest else LOW)} values{of}?"
    kind_gold = f"[{', '.join(names)}]"
    asker.ask(
        "list",
        (text.replace("{", "(").replace("}", ")"),),
        {"m": ""},
        kind_gold,
        f"{listing(names)}.",
        tuple(order[:2]),
        True,
        ", ".join(names),
    )
