"""Titles, subtitles, axis titles and notes of generated charts."""

import random

from train.pretrain.charts.drawing.styles import Style
from train.pretrain.charts.tables.table import Table
from train.pretrain.charts.words.coining import Vocabulary, coin, coin_title

ADULTS = (
    "U.S. adults",
    "adults",
    "respondents",
    "Americans",
    "internet users",
    "parents",
    "registered voters",
    "workers",
)
SAYINGS = (
    "who say {} is important to them",
    "who say they trust {}",
    "who have heard about {}",
    "saying that {} is a very big problem",
    "who are concerned about {}",
    "who say they use {}",
    "who have a favorable view of {}",
    "who say {} has improved",
)
VERDICTS = (
    "{} see {} differently",
    "{} differ in views of {}",
    "Many {} worry about {}",
    "Most {} say {} matters",
    "{} less positive about {} than before",
    "Views of {1} among {0}",
    "Few {} trust {}",
    "How {} see {}",
    "{} divided over {}",
)
PROPER_NAMES = ("NATO", "Congress", "Court", "Nations", "Union", "China", "Russia", "Olympics")
REMARKS = (
    "Don't know responses not shown.",
    "Figures may not add to 100% due to rounding.",
    "No answer not shown.",
    "Values are rounded.",
    "Estimates.",
    "Data for the last year are provisional.",
    "Respondents could name several answers.",
)
SOURCES = (
    "World Bank",
    "OECD",
    "Eurostat",
    "UN Population Division",
    "IMF",
    "own calculations",
    "annual reports",
    "Ministry of Finance",
    "national statistics office",
    "company data",
    "WHO",
    "International Energy Agency",
    "Census Bureau",
    "survey of adults",
)


DEFINITIONS = (
    "{} is measured in {}.",
    "Shown is {} in {}.",
    "{} per year, measured in {}.",
    "Estimates of {} in {}, not adjusted for inflation.",
)


def capital(text: str) -> str:
    """The first letter in upper case, the rest as it is."""
    return text[:1].upper() + text[1:]


def within(issue: str) -> str:
    """An issue's name inside a sentence: in lower case but for proper names."""
    if any(name in issue for name in PROPER_NAMES):
        return issue.replace("The ", "the ")
    return issue.lower()


def topic(table: Table) -> str:
    """What the chart measures, with its owner and place: "Revenue of Nike in Germany"."""
    owner = f" of {table.who}" if table.who else ""
    place = f" {table.place}" if table.place == "worldwide" else f" in {table.place}" if table.place else ""
    return capital(table.measure.name) + owner + place


def pick_title(rng: random.Random, table: Table) -> str:
    """A title of the usual kind: measure, owner, place, times."""
    title = topic(table)
    if table.second:
        place = f" in {table.place}" if table.place and table.place != "worldwide" else ""
        title = f"{capital(table.measure.name)} and {table.second[0].name}{place}"
    first, last, draw = table.categories[0], table.categories[-1], rng.random()
    if table.about == "time":
        if draw < 0.65:
            title += rng.choice((" from {} to {}", " from {} to {}", ", {} to {}", ", {}-{}")).format(first, last)
    elif draw < 0.4:
        title += rng.choice((", by {}", ", by {}", " by {}")).format(table.noun)
    if table.when and rng.random() < 0.55:
        title += rng.choice((" in {}", ", {}", " ({})")).format(table.when)
    return title


def write_headline(rng: random.Random, table: Table, look: Style, vocabulary: Vocabulary) -> None:
    """Fills the table's title, subtitle, axis title and notes in the manner of its look."""
    name, unit = table.measure.name, table.unit.name
    table.axis_title = name if rng.random() < 0.4 else capital(name)
    if unit and unit not in table.axis_title:
        table.axis_title += rng.choice((" in {}", " in {}", " ({})", ", {}")).format(unit)
    title = pick_title(rng, table)
    if vocabulary.coins(rng) and rng.random() < 0.6:
        title = coin_title(rng) + rng.choice(("", "", f", {table.when}" if table.when else ""))
    if look.name == "pew":
        issue = within(vocabulary.pick(rng, "issue"))
        if table.unit.percent and rng.random() < 0.7:
            title = capital(rng.choice(VERDICTS).format(rng.choice(ADULTS), issue))
        percent = f"% of {rng.choice(ADULTS)} {rng.choice(SAYINGS).format(issue)}"
        table.subtitle = (percent if table.unit.percent else table.axis_title) + rng.choice(("", "", " ..."))
    elif look.name == "owid":
        table.subtitle = capital(rng.choice(DEFINITIONS).format(name, unit or "total numbers"))
    elif look.name == "oecd":
        when = table.when or (table.categories[-1] if table.about == "time" else "latest")
        table.subtitle = capital(unit or "Total") + rng.choice((f", {when}", f", {when}", ""))
    else:
        table.subtitle = rng.choice((table.axis_title, f"in {unit}" if unit else "", f"By {table.noun}", table.when))
    if look.title_shown:
        table.title = title.upper() if rng.random() < 0.02 else title
    if not look.subtitle_shown:
        table.subtitle = ""
    if look.notes_shown:
        write_notes(rng, table, look, vocabulary)


def write_notes(rng: random.Random, table: Table, look: Style, vocabulary: Vocabulary) -> None:
    """The lines below the plot."""
    origin = rng.choice(SOURCES)
    if vocabulary.coins(rng):
        origin = coin(rng, rng.choice(("company", "brand", "website")), 24)
    source = f"Source: {origin}" + (f", {rng.randint(2005, 2023)}" if rng.random() < 0.4 else "")
    if look.name == "statista":
        table.notes = [
            "Additional Information",
            f"© Statista {rng.choice((2019, 2020, 2021, 2021, 2022))}",
            "Show source",
        ]
    elif look.name == "pew":
        table.notes = [f"Note: {rng.choice(REMARKS)}"] if rng.random() < 0.7 else []
        month, day, year = rng.choice(("Jan.", "March", "July", "Oct.")), rng.randint(1, 28), rng.randint(2008, 2022)
        table.notes.append(f"Source: Survey of U.S. adults conducted {month} {day}, {year}.")
        table.notes.append("PEW RESEARCH CENTER")
    elif look.name == "owid":
        table.notes = [source] + (["OurWorldInData.org"] if rng.random() < 0.4 else []) + ["CC BY"]
    else:
        table.notes = [source] + ([f"Note: {rng.choice(REMARKS)}"] if rng.random() < 0.25 else [])
