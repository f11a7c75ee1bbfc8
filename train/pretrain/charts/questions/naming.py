"""Questions about what a chart shows besides its values: counts, colours, names, titles."""

from train.pretrain.charts.questions import wordings as words
from train.pretrain.charts.questions.asker import Asker, listing

KIND_NAMES = {
    "bar": "Bar chart",
    "hbar": "Horizontal bar chart",
    "grouped": "Grouped bar chart",
    "grouped_h": "Grouped horizontal bar chart",
    "stacked": "Stacked bar chart",
    "stacked_h": "Stacked horizontal bar chart",
    "line": "Line chart",
    "area": "Area chart",
    "pie": "Pie chart",
    "donut": "Donut chart",
    "scatter": "Scatter plot",
}


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
        if len(set(asker.names[: asker.count])) == 1 or (
            not asker.many and asker.plot.coloured == "series" and table.kind != "scatter"
        ):
            thing = "line" if table.kind == "line" else f"{asker.kind}s"
            wording = (
                f"What is the color of the {thing}?",
                f"What color {'is' if thing == 'line' else 'are'} the {thing}?",
                f"What color is used for the {thing}?",
            )
            sentence = f"The {thing} {'is' if thing == 'line' else 'are'} {asker.names[0]}."
            asker.ask("colour", wording, fields, asker.names[0], sentence, [], True)
        return
    parts = asker.categories if asker.plot.coloured == "category" else table.series
    index = asker.rng.randrange(len(names))
    if asker.rng.random() < 0.45:
        fields["x"] = parts[index]
        sentence = f"{parts[index]} is shown in {names[index]}."
        asker.ask("colour", words.COLOUR, fields, names[index], sentence, [], True)
        return
    fields["w"] = asker.colour_word(names[index])
    fields["noun"] = table.noun if asker.plot.coloured == "category" else table.series_noun
    sentence = f"The {names[index]} {asker.kind} represents {parts[index]}."
    asker.ask("which_colour", words.WHICH_COLOUR, fields, parts[index], sentence, [], True)


def ask_colour_of_extreme(asker: Asker) -> None:
    """The colour of the largest or smallest bar or slice, or of the series with the largest value."""
    names, cells = asker.colour_names(), list(asker.height)
    if names is None or len(cells) < 2 or asker.table.kind in ("stacked", "stacked_h", "area"):
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


def ask_list(asker: Asker) -> None:
    """All categories, or all series."""
    table = asker.table
    fields = asker.fields(asker.row(0)[0])
    if asker.many and table.kind != "scatter" and asker.rng.random() < 0.6:
        fields["x"] = (
            "series"
            if table.series_noun == "series"
            else {"country": "countries", "company": "companies", "city": "cities", "industry": "industries"}.get(
                table.series_noun, table.series_noun + "s"
            )
        )
        gold = f"[{', '.join(table.series)}]"
        wording = words.LEGEND_TWO if len(table.series) == 2 and asker.rng.random() < 0.4 else words.LEGEND
        asker.ask(
            "legend",
            wording,
            fields,
            gold,
            f"The legend shows {listing(table.series)}.",
            [],
            False,
            ", ".join(table.series),
        )
    elif asker.count <= 9:
        gold = f"[{', '.join(asker.categories)}]"
        sentence = f"The {table.plural} are {listing(asker.categories)}."
        asker.ask("list", words.LIST, fields, gold, sentence, [], False, ", ".join(asker.categories))


def ask_title(asker: Asker) -> None:
    """The printed title or axis title, or the kind of chart."""
    table = asker.table
    fields = asker.fields(asker.row(0)[0])
    draw = asker.rng.random()
    if draw < 0.25:
        name = KIND_NAMES[table.kind]
        asker.ask("chart_kind", words.KIND, fields, name, f"This is a {name.lower()}.", [], True)
    elif table.title:
        asker.ask(
            "title", words.TITLE, fields, table.title, f"The title is “{table.title}”.", [], asker.rng.random() < 0.4
        )


def ask_first(asker: Asker) -> None:
    """The first or last category, or the span of years."""
    table = asker.table
    fields = asker.fields(asker.row(0)[0])
    first, last = asker.categories[0], asker.categories[-1]
    if asker.timed and first.isdigit() and last.isdigit() and asker.rng.random() < 0.3:
        years = int(last) - int(first)
        asker.ask(
            "span",
            words.SPAN,
            fields,
            str(years),
            f"From {first} to {last} are {years} years.",
            [],
            True,
            f"{years} years",
        )
        return
    if table.kind in ("pie", "donut", "scatter"):
        return
    word = asker.rng.choice(("first", "last"))
    fields["w"] = word
    name = first if word == "first" else last
    asker.ask(
        "first_last", words.FIRST, fields, name, f"The {word} {table.noun} is {name}.", [], asker.rng.random() < 0.4
    )
