"""Questions as programs that paraphrase a chart's text put them: what is meant is left to the chart.

"What was the top brand?", "How many users were there a year earlier?", "14 percent of respondents named what source?":
the answer is a name where a number is asked about, and the measure, place or year that the chart is about is not said.
"""

from train.pretrain.charts.questions.asker import Asker

FIRST = (
    "What was the top {noun}{ctx}?",
    "What was the leading {noun}{ctx}?",
    "What {noun} topped the list{ctx}?",
    "What was ranked first among the {plural}{ctx}?",
    "What was the most popular {noun}{ctx}?",
    "Which {noun} was the most important{ctx}?",
    "What {noun} came first{ctx}?",
    "What was the number one {noun}{ctx}?",
)
FIRST_WHO = (
    "Who was the leading {noun}{ctx}?",
    "Who is the leader in {m}?",
    "Who had the most {m}{ctx}?",
    "Who topped the ranking{ctx}?",
)
NEXT = (
    "What was the {w} most popular {noun}{ctx}?",
    "What was the {w} largest {noun}{ctx}?",
    "What {noun} ranked {w}{ctx}?",
    "Which {noun} came {w}{ctx}?",
)
TURNED = (
    "What {noun} had {v}?",
    "{v} of the {m} was of what {noun}?",
    "What {noun} was {v} of the {m}?",
    "Which {noun} recorded {v}?",
    "Who or what had {am} of {v}?",
)
TURNED_PERCENT = (
    "What did {p} of respondents name?",
    "What {noun} was named by {p} of respondents?",
    "{p} of respondents chose what {noun}?",
    "What {noun} accounted for {p}?",
    "What was used by {p} of those surveyed?",
)
LATEST = (
    "What was the {m} in the most recent year?",
    "What was the {m} at the end of the period?",
    "What is the latest {m}?",
    "How high was the {m} at last?",
    "As of {c}, what was the {m}?",
)
BEFORE = (
    "What was the {m} in the previous year?",
    "What was the {m} a year earlier?",
    "How high was the {m} the year before?",
    "What was the {m} in the preceding year?",
)
BY = (
    "By {c}, what was the {m} expected to be?",
    "By {c}, how high is the {m}?",
    "What was the {m} as of {c}?",
    "At the end of {c}, what was the {m}?",
)
WHEN_FIRST = (
    "In what year did the {m} begin to be measured?",
    "Since what year has the {m} been recorded?",
    "When does the record of the {m} begin?",
)
WHEN_LAST = (
    "What was the last year of the {m}?",
    "In what year was the {m} last measured?",
    "When was the {m} last recorded?",
)


def ask_implied(asker: Asker) -> None:
    """The first, second or third category of a ranking, without what it is ranked by."""
    table, rng = asker.table, asker.rng
    row = asker.row(0)
    if (
        asker.many
        or table.kind == "scatter"
        or asker.timed
        or len(row) < 4
        or any(asker.value(cell) < 0 for cell in row)
    ):
        return
    order = asker.ranked(row, True)
    place = 0 if rng.random() < 0.65 else rng.choice((1, 1, 2))
    if not asker.apart(order[place], order[place + 1]) or (place and not asker.apart(order[place - 1], order[place])):
        return
    fields = asker.fields(order[place]) | {"w": ("", "second", "third")[place]}
    wording = (
        NEXT if place else FIRST + FIRST_WHO if table.noun in ("player", "candidate", "person", "employee") else FIRST
    )
    name = fields["c"]
    asker.ask("rank" if place else "argmax", wording, fields, name, f"{name}, at {fields['v']}.", row)


def ask_turned(asker: Asker) -> None:
    """The category of a printed value, asked with the value in another place of the sentence."""
    row = [cell for cell in asker.row(0) if cell in asker.shown]
    if asker.many or asker.table.kind == "scatter" or asker.timed or not row:
        return
    cell = asker.rng.choice(row)
    if sum(asker.value(other) == asker.value(cell) for other in row) > 1:
        return
    fields = asker.fields(cell)
    percent = asker.table.unit.percent
    fields["p"] = f"{fields['n']} percent" if asker.rng.random() < 0.6 else f"{fields['n']}%"
    asker.ask(
        "inverse",
        TURNED_PERCENT if percent else TURNED,
        fields,
        fields["c"],
        f"{fields['c']}, at {fields['v']}.",
        [cell],
    )


def ask_of_time(asker: Asker) -> None:
    """The last value, the one before, a value by its year put first; or the first or last year."""
    table, rng = asker.table, asker.rng
    if not asker.timed or table.noun != "year" or asker.many or asker.count < 3:
        return
    draw = rng.random()
    if draw < 0.2:
        last = rng.random() < 0.5
        fields = asker.fields((asker.count - 1 if last else 0, 0))
        asker.ask("first_last", WHEN_LAST if last else WHEN_FIRST, fields, fields["c"], f"It was in {fields['c']}.", [])
        return
    at = asker.count - (1 if draw < 0.45 else 2 if draw < 0.7 else rng.randint(1, asker.count))
    cell = at, 0
    if cell not in asker.exact:
        return
    fields = asker.fields(cell)
    wording = LATEST if draw < 0.45 else BEFORE if draw < 0.7 else BY
    asker.ask(
        "of_time", wording, fields, fields["n"], f"It was {fields['v']} in {fields['c']}.", [cell], short=fields["v"]
    )
