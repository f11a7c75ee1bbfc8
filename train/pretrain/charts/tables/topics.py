"""What a generated chart is about: its measure, the names of its categories and series, place and time."""

import random

from train.pretrain.charts.drawing.likeness import statements, survey_rows
from train.pretrain.charts.drawing.styles import Style
from train.pretrain.charts.tables.figures import UNITS, Figures
from train.pretrain.charts.tables.measures import MEASURES, MONTHS, NAMES, PARTS, PEOPLE, SCALES, Measure, Names
from train.pretrain.charts.tables.table import Table
from train.pretrain.charts.tables.values import fill_values
from train.pretrain.charts.words.coining import Vocabulary, coin
from train.pretrain.charts.words.lists import invented

STACKS = ("stacked", "stacked_h", "area")
PIES = ("pie", "donut")
PLAIN_FIGURES = Figures(0, True, "", "", "", "", "", "", "")


def times(rng: random.Random, count: int) -> tuple[list[str], str, str]:
    """`count` successive times as printed, and their noun and plural."""
    draw = rng.random()
    if draw < 0.78:
        step = rng.choice((1, 1, 1, 1, 1, 1, 2, 5, 10)) if count < 9 else rng.choice((1, 1, 1, 2))
        span = step * (count - 1)
        last = rng.randint(max(1950 + span, 2005), 2026) if rng.random() < 0.85 else rng.randint(1890 + span, 2060)
        names = [str(last - span + step * index) for index in range(count)]
        if step == 10 and rng.random() < 0.4:
            names = [f"{int(name) // 10 * 10}s" for name in names]
        return names, "year", "years"
    if draw < 0.85:
        first = rng.randint(1998, 2024 - min(count, 20))
        return [f"{first + index}/{(first + index + 1) % 100:02d}" for index in range(count)], "year", "years"
    if draw < 0.94 and count <= 12:
        first = rng.randrange(12)
        names = [MONTHS[(first + index) % 12] for index in range(count)]
        style = rng.random()
        if style < 0.55:
            names = [name[:3] for name in names]
        elif style < 0.75:
            year = rng.randint(10, 22)
            names = [f"{name[:3]} '{year + (first + index) // 12}" for index, name in enumerate(names)]
        return names, "month", "months"
    first, year = rng.randrange(4), rng.randint(2009, 2022)
    pattern = rng.choice(("Q{} {}", "Q{} '{:02d}", "{1} Q{0}", "Q{}/{}"))
    names = []
    for index in range(first, first + count):
        shown = year + index // 4
        names.append(pattern.format(index % 4 + 1, shown % 100 if "02d" in pattern else shown))
    return names, "quarter", "quarters"


def ranges(rng: random.Random, count: int) -> tuple[list[str], str, str]:
    """Age, income or waiting-time brackets."""
    draw = rng.random()
    if draw < 0.6:
        first, step = rng.choice(((18, 10), (15, 10), (16, 8), (20, 5), (25, 10), (18, 12), (13, 6), (0, 15)))
        end = rng.choice(("{}+", "{} and older", "{}+", "{} years and over"))
        years = " years" if end.endswith("over") else rng.choice(("", "", "", " years", " year olds"))
        dash = rng.choice(("-", "-", "–", " to "))
        names = [f"{first + step * index}{dash}{first + step * (index + 1) - 1}{years}" for index in range(count - 1)]
        return [*names, end.format(first + step * (count - 1))], "age group", "age groups"
    if draw < 0.8:
        step = rng.choice((10, 20, 25, 30, 50))
        names = [f"${step * index},000-${step * (index + 1) - 1},999" for index in range(1, count - 1)]
        return [f"Less than ${step},000", *names, f"${step * (count - 1)},000 or more"], "income group", "income groups"
    step = rng.choice((5, 10, 15, 30))
    names = [f"{step * index + 1}-{step * (index + 1)} mins" for index in range(1, count - 1)]
    return [f"{step} minutes or less", *names, f"More than {step * (count - 1)} mins"], "time range", "time ranges"


def distinct(rng: random.Random, names: Names, count: int, vocabulary: Vocabulary, longest: int) -> list[str]:
    """`count` different names of one list, none longer than `longest` where the list allows; some of them coined."""
    if not names.subject:
        found: dict[str, None] = {}
        while len(found) < count:
            found[invented(rng, vocabulary.held_out)] = None
        return list(found)
    pool = vocabulary.words(names.subject)
    short = [word for word in pool if len(word) <= longest]
    return opened(rng, rng.sample(short if len(short) >= count else pool, count), names.subject, vocabulary, longest)


def opened(rng: random.Random, names: list[str], subject: str, vocabulary: Vocabulary, longest: int) -> list[str]:
    """`names` with the vocabulary's share of them coined, all different whatever their capitals."""
    names, taken = list(names), {name.lower() for name in names}
    for index in range(len(names)):
        if not vocabulary.coins(rng):
            continue
        name = coin(rng, subject, longest)
        while name.lower() in taken:
            name = coin(rng, subject, longest)
        taken.add(name.lower())
        names[index] = name
    return names


def pick_names(
    rng: random.Random, topics: list[str], count: int, vocabulary: Vocabulary, longest: int
) -> tuple[list[str], Names]:
    """Names on one of the topics, and the list that they come from."""
    lists = [names for names in NAMES if names.topic in topics]
    names = rng.choices(lists, [names.weight for names in lists])[0]
    if names.subject and len(vocabulary.words(names.subject)) < count:
        names = NAMES[0]
    found = distinct(rng, names, count, vocabulary, longest)
    if names.about in ("answer", "owner", "thing") and rng.random() < 0.08:
        found[-1] = rng.choice(("Don't know", "Other") if names.about == "answer" else ("Other", "Others"))
    return found, names


def pick_series(
    rng: random.Random, measure: Measure, about: str, noun: str, count: int, vocabulary: Vocabulary, places: bool
) -> tuple[list[str], str]:
    """Names of the series of a table over categories of a class, and what one of them is; of places where asked."""
    if places and about == "time":
        found, names = pick_names(rng, ["place"], count, vocabulary, 24)
        return found, names.noun
    draw = rng.random() ** vocabulary.openness  # fewer of the names that every chart may have
    if about != "time" and draw < 0.35:
        last, step = rng.randint(2004, 2024), rng.choice((1, 1, 2, 5, 10))
        return [str(last - step * index) for index in range(count)][:: rng.choice((1, -1, -1))], "year"
    people = "group" in measure.topics and about != "group"
    taken = {names.topic for names in NAMES if names.noun == noun} | ({"group"} if about == "group" else set())
    topics = [topic for topic in measure.topics.split() if topic not in taken]
    if draw < 0.5 or not topics:
        lists = [names for names in (PEOPLE if people else PARTS) if len(names) == count]
        return list(rng.choice(lists or (PEOPLE if people else PARTS))), "group"
    found, names = pick_names(rng, topics, count, vocabulary, 24)
    return found, names.noun if names.noun != noun else "series"


def size_of(rng: random.Random, kind: str, look: Style, lesson: bool) -> tuple[int, int]:
    """How many categories and series a chart of this kind and size holds; in a lesson more often above ten, which a
    small model counts worst."""
    few = rng.choices(range(2, 10), (5, 12, 14, 14, 12, 8, 5, 3))[0]
    if kind in ("pie", "donut"):
        return rng.choices(range(2, 9), (10, 20, 24, 18, 10, 6, 3))[0], 1
    if kind == "scatter":
        return rng.randint(5, 13), 2
    if kind in ("grouped", "grouped_h", "stacked", "stacked_h"):
        series = rng.choices((2, 3, 4, 5), (48, 30, 16, 6))[0]
        if kind == "grouped" and look.width < 380:
            series = min(series, 3)
        most = {"grouped": 30, "grouped_h": 32}.get(kind, 14 * series) // series
        return max(1 if rng.random() < 0.03 else 2, min(few, most)), series
    if kind in ("line", "area"):
        series = rng.choices((1, 2, 3, 4, 5), (40, 25, 18, 11, 6))[0]
        several = (rng.randint(2, 4), rng.randint(5, 9), rng.randint(10, 15), rng.randint(16, 24))
        count = rng.choices(several, (8, 30, 36, 26) if lesson else (12, 48, 30, 10))[0]
        return (max(4, count), max(2, series)) if kind == "area" else (count, series)
    several = (rng.randint(3, 6), rng.randint(6, 10), rng.randint(10, 14), rng.randint(14, 20))
    if lesson:
        most = rng.randint(20, 28) if kind == "hbar" and rng.random() < 0.25 else several[3]
        return rng.randint(2, 7) if look.few else rng.choices((*several[:3], most), (20, 32, 28, 20))[0], 1
    return rng.choices(several, (24, 42, 22, 12) if look.name == "statista" else (36, 42, 16, 6))[0], 1


def pick_measure(rng: random.Random, kind: str, look: Style, full: bool) -> Measure:
    """A measure that a chart of `kind` can show; one in percent where the values make up a whole."""
    if full:
        fitting = [measure for measure in MEASURES if measure.name.startswith(("share", "percentage", "market share"))]
    elif look.places:
        fitting = [measure for measure in MEASURES if "place" in measure.topics]
    elif look.name == "pew" and rng.random() < 0.8:
        fitting = [measure for measure in MEASURES if measure.unit == "percent"]
    elif rng.random() < 0.6:
        fitting = [measure for measure in MEASURES if not UNITS[measure.unit].percent or measure.negative]
    else:
        fitting = list(MEASURES)
    if kind == "scatter":
        fitting = [measure for measure in fitting if "place" in measure.topics]
    if kind in (*STACKS, *PIES, "scatter"):
        fitting = [measure for measure in fitting if not measure.negative]
    return rng.choice(fitting)


def pick_categories(
    rng: random.Random, kind: str, measure: Measure, count: int, full: bool, vocabulary: Vocabulary, places: bool
) -> tuple[list[str], str, str, str]:
    """Category names, what one and many are called, and their class; places rather than other names where asked."""
    timed = {"line": 0.92, "area": 1.0, "bar": 0.42, "grouped": 0.35, "stacked": 0.45, "scatter": 0.0}
    if kind not in PIES and rng.random() < timed.get(kind, 0.07):
        return *times(rng, count), "time"
    if kind != "scatter" and not places:
        grouped = "group" in measure.topics and 3 <= count <= 8 and rng.random() < 0.3
        if grouped or (not full and "place" in measure.topics and count <= 9 and rng.random() < 0.05):
            return *ranges(rng, max(3, count)), "group"
        if "answer" in measure.topics and rng.random() < 0.25:
            scale = list(rng.choice(SCALES))
            return (
                (opened(rng, scale, "reason", vocabulary, 24) if vocabulary.coins(rng) else scale),
                "answer",
                "answers",
                "answer",
            )
    longest = 34 if kind in ("hbar", "grouped_h", "stacked_h") else 18 if count > 6 else 24
    topics = ["place"] if kind == "scatter" or places else measure.topics.split()
    found, names = pick_names(rng, topics, count, vocabulary, longest)
    return found, names.noun, names.plural, names.about


def make_table(rng: random.Random, kind: str, look: Style, vocabulary: Vocabulary, lesson: bool) -> Table:
    """A table for a chart of `kind` in `look`, without its title and notes (`headlines.write_headline`)."""
    count, series_count = size_of(rng, kind, look, lesson)
    if look.sided:
        series_count = 2
    elif look.crowded:
        series_count = rng.randint(5, 8)
    whole = {"pie": 0.88, "donut": 0.88, "stacked_h": 0.7, "stacked": 0.35, "area": 0.35}
    full = rng.random() < whole.get(kind, 0.0)
    measure = pick_measure(rng, kind, look, full)
    categories, noun, plural, about = pick_categories(rng, kind, measure, count, full, vocabulary, look.places)
    starts: tuple[int, ...] = ()
    if look.sections:
        categories, starts = survey_rows(rng, 15)
        noun, plural, about = "group", "groups", "group"
    elif look.statements and about in ("answer", "thing", "owner"):
        categories = statements(rng, count, 46)
    series_noun = "series"
    if series_count == 1:
        series = [measure.name[0].upper() + measure.name[1:]]
    elif kind == "scatter":
        series = ["", ""]  # `values.fill_values` names them
    elif full and rng.random() < (0.5 if vocabulary.held_out else 0.75):
        series, series_noun = (
            list(rng.choice([scale for scale in SCALES if len(scale) <= (2 if look.sided else 5)])),
            "answer",
        )
        series = opened(rng, series, "reason", vocabulary, 24) if vocabulary.coins(rng) else series
    else:
        series, series_noun = pick_series(rng, measure, about, noun, series_count, vocabulary, look.places)
    if set(series) & set(categories):
        series = [f"FY {name}" if series_noun == "year" else f"{name} group" for name in series]
    table = Table(
        kind=kind,
        measure=measure,
        unit=UNITS[measure.unit],
        figures=PLAIN_FIGURES,
        categories=categories,
        noun=noun,
        plural=plural,
        about=about,
        series=series,
        series_noun=series_noun,
        values=[],
        labelled=False,
        readable=False,
        full=full,
        starts=starts,
    )
    if look.name == "statista" and about == "time" and categories[-1].isdigit() and rng.random() < 0.2:
        first = rng.choice((0, count - 1, count - 1, max(0, count - 3), max(0, count - 5)))
        table.categories = [f"{name}*" if index >= first else name for index, name in enumerate(categories)]
    add_context(rng, table, vocabulary)
    fill_values(rng, table, look)
    return table


def add_context(rng: random.Random, table: Table, vocabulary: Vocabulary) -> None:
    """The owner, place and time that the names leave open."""
    if "{who}" in table.measure.opener and table.about != "owner" and table.series_noun not in ("brand", "company"):
        table.who = vocabulary.pick(rng, rng.choice(("brand", "company")))
    if table.about != "place" and rng.random() < 0.75:
        subject = rng.choice(("country", "country", "country", "state", "city", "region"))
        table.place = vocabulary.pick(rng, subject)
    elif rng.random() < 0.5:
        table.place = rng.choice(("worldwide", "worldwide", "the EU", "the world"))
    if table.about != "time" and table.series_noun != "year" and rng.random() < 0.85:
        table.when = str(rng.randint(1995, 2024))
