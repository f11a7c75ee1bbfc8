"""Draws given tables as charts, and writes them with the questions that people asked about them as a data set.

    python -m train.pretrain.render TABLES.jsonl OUT    # then: python -m train ... --mixture dataset=6 OUT=2

TABLES.jsonl has one question a line: `imgname` (the table's own name), `publisher` (Statista, OWID, OECD; others are
left out), `query`, `label`, `table_columns` ([name, cells] per column, the first one names the rows) and
`colour_word` (such questions are left out: the picture that they were asked about had other colours). OUT becomes a
folder of pictures with `metadata.jsonl`, as the reader of own charts and `python -m train` open it. What was asked
about other pictures may not be drawn here (an order, a highlight), so this is for training an adapter, never for
measuring, and the base never sees it.
"""

import argparse
import json
import math
import os
import random
import re
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import groupby
from pathlib import Path
from typing import Any

from PIL import Image

from train.pretrain.charts import SHARP, draw_chart, fit_height
from train.pretrain.charts.drawing import likeness
from train.pretrain.charts.drawing.styles import choose_style
from train.pretrain.charts.tables.figures import UNITS, Figures
from train.pretrain.charts.tables.measures import Measure
from train.pretrain.charts.tables.table import Table
from train.pretrain.charts.tables.values import CHARACTER, label_fits
from train.pretrain.charts.words.coining import Vocabulary
from train.pretrain.charts.words.headlines import capital, write_headline

LOOKS = {"Statista": "statista", "OWID": "owid", "OECD": "oecd"}
TIME = re.compile(r"(?:.* )?'?(?:\d{2}|\d{4})(?:/\d{2,4})?\*?")
MOST_CATEGORIES, MOST_SERIES = 24, 7
TALLEST = 900  # logical pixels


def number(cell: str) -> float | None:
    """A cell's number without its signs; None for one that holds none. Raises ValueError for text."""
    text = cell.strip().rstrip("%").replace(",", "").strip()
    found = math.nan if text in ("", "-", "–", "nan") else float(text)
    return None if math.isnan(found) else found


def table_of(rng: random.Random, columns: list[tuple[str, list[str]]], look: str) -> Table | None:
    """The table of one picture with the kind of chart that its publisher would draw; None where it cannot be drawn."""
    (_, categories), *series = columns
    try:
        values = [[number(cell) for cell in cells] for _, cells in series]
    except ValueError:
        return None
    names = [name for name, _ in series]
    if look in ("owid", "oecd") and len(names) > 1:  # one country a row, one year a column: a line is a country
        names, categories = categories, names
        values = [list(row) for row in zip(*values, strict=True)]
    known = [cell for row in values for cell in row if cell is not None]
    if not known or not any(known) or len(categories) > MOST_CATEGORIES or not 1 <= len(names) <= MOST_SERIES:
        return None
    if len(set(categories)) < len(categories) or not all(name.strip() for name in (*names, *categories)):
        return None
    percent = any("%" in cell for _, cells in series for cell in cells)
    decimals = max(len(repr(cell).partition(".")[2]) if cell % 1 else 0 for cell in known)
    if decimals > 3:
        return None
    time = all(TIME.fullmatch(name) for name in categories)
    if time and categories[0][-5:] > categories[-1][-5:]:  # the newest stands first in a table and last in a chart
        categories, values = categories[::-1], [row[::-1] for row in values]
    kind = kind_of(rng, look, time, len(categories), names, values)
    sign = "%" if percent else ""
    separator = rng.choice((" ", " ", ",")) if look == "statista" else ","
    said = names[0] if len(names) == 1 else "Share" if percent else "Number"
    measure = Measure(said[:70], "percent" if percent else "count", "thing")
    one, many = ("year", "years") if time else ("country", "countries") if look != "statista" else ("group", "groups")
    return Table(
        kind=kind,
        measure=measure,
        unit=UNITS[measure.unit],
        figures=Figures(decimals, True, separator, "", sign, "", sign, "", sign),
        categories=[name[:60] for name in categories],
        noun=one,
        plural=many,
        about="time" if time else "thing",
        series=[capital(name)[:60] for name in names],
        series_noun="series",
        values=values,
        labelled=True,
        readable=False,
    )


def kind_of(
    rng: random.Random, look: str, time: bool, count: int, names: list[str], values: list[list[float | None]]
) -> str:
    """The kind of chart; stacks and pies only where every value is known and none is negative."""
    whole = all(cell is not None and cell >= 0 for row in values for cell in row)
    if look != "statista":
        bars = ("hbar", "hbar", "bar") if look == "owid" else ("bar", "bar", "hbar")
        return "line" if time and count > 2 else rng.choice(bars if len(names) == 1 else ("grouped", "grouped_h"))
    if len(names) == 1:
        total = sum(cell or 0.0 for cell in values[0])
        if whole and not time and count <= 8 and abs(total - 100) < 1.5 and rng.random() < 0.5:
            return "pie"
        if time:
            return rng.choice(("bar", "bar", "line")) if count > 3 else "bar"
        return "hbar" if max(map(len, names)) > 14 or count > 9 or rng.random() < 0.5 else "bar"
    if time and count > 4 and rng.random() < 0.45:
        return "line"
    kinds = ["grouped", "grouped", "grouped_h"] + (["stacked", "stacked_h"] if whole else [])
    return rng.choice(kinds)


def draw(asked: list[dict[str, Any]]) -> Image.Image | None:
    """The picture of a table, the same for the same name; None where it cannot be drawn so that it can be read."""
    rng = random.Random(f"rendered {asked[0]['imgname']}")
    name = LOOKS[asked[0]["publisher"]]
    table = table_of(rng, [(column, cells) for column, cells in asked[0]["table_columns"]], name)
    if table is None:
        return None
    look = choose_style(rng, table.kind, name)
    likeness.dress(rng, look, table.kind)
    look.sided = look.sections = look.statements = look.crowded = look.spotlight = False
    rows = len(table.categories) * (len(table.series) if table.kind == "grouped_h" else 1)
    fit_height(rng, table, look)
    if table.kind in ("hbar", "grouped_h", "stacked_h"):
        look.height = min(TALLEST, max(look.height, round(rows * look.size * 1.7 + 110)))
    largest = max(abs(cell) for row in table.values for cell in row if cell is not None)
    table.labelled = label_fits(table, look, largest)
    if not table.labelled and table.kind in ("bar", "grouped", "stacked"):  # figures on end, as Statista does not
        look.turned_labels = table.kind == "bar"
        need = len(table.figures.printed(largest)) * CHARACTER * look.label_size * rows * max(1, len(table.series))
        look.width = round(min(900.0, max(look.width, need + 80)))
        table.labelled = label_fits(table, look, largest)
    if not table.labelled and name == "statista":
        return None
    vocabulary = Vocabulary(False, 0.0)
    write_headline(rng, table, look, vocabulary)
    return draw_chart(rng, table, look, max(SHARP, 7 / look.size)).canvas.finish()


def write(task: tuple[list[dict[str, Any]], Path]) -> list[dict[str, str]]:
    """One picture into the folder, and its lines of `metadata.jsonl`; none where it cannot be drawn."""
    asked, folder = task
    asked = [one for one in asked if not one["colour_word"] and str(one["label"]).strip()]
    try:
        picture = draw(asked) if asked else None
    except (ValueError, ZeroDivisionError, IndexError, KeyError):  # a table that no kind of chart takes
        return []
    if picture is None:
        return []
    name = re.sub(r"[^\w.-]", "_", asked[0]["imgname"])
    picture.convert("RGB").save(folder / name, optimize=False)
    return [
        {"file_name": name, "query": one["query"], "label": str(one["label"]), "human_or_machine": "0"} for one in asked
    ]


def tables(file: Path) -> Iterator[list[dict[str, Any]]]:
    """The questions of a file, those of one table together."""
    with file.open(encoding="utf-8") as lines:
        rows = [row for row in map(json.loads, lines) if row["publisher"] in LOOKS]
    rows.sort(key=lambda row: row["imgname"])
    for _, group in groupby(rows, key=lambda row: row["imgname"]):
        yield list(group)


def asked_of(dataset: str) -> set[str]:
    """The questions of a data set's held-out splits: only words of the question name a table, its picture has none."""
    from datasets import load_dataset

    splits = (load_dataset(dataset, split=split) for split in ("val", "test"))
    return {question.strip() for split in splits for question in split["query"]}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m train.pretrain.render", description="Draw given tables as charts with their questions."
    )
    parser.add_argument("tables", type=Path, help="JSON lines of questions with their tables")
    parser.add_argument("folder", type=Path, help="where to: a folder of pictures with metadata.jsonl")
    parser.add_argument("--most", type=int, help="at most so many tables, the first by name; default: all")
    parser.add_argument(
        "--without", help="a data set in ChartQA's layout: tables that its val and test questions ask about stay out"
    )
    flags = parser.parse_args()
    held_out = asked_of(flags.without) if flags.without else set()
    split = flags.folder / "train"
    split.mkdir(parents=True, exist_ok=True)
    tasks = [(asked, split) for asked in tables(flags.tables) if not held_out & {one["query"].strip() for one in asked}]
    tasks = tasks[: flags.most]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        rows = [row for found in pool.map(write, tasks, chunksize=8) for row in found]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (split / "metadata.jsonl").write_text(lines, encoding="utf-8")
    charts = len({row["file_name"] for row in rows})
    print(f"{charts} charts of {len(tasks)} tables with {len(rows)} questions are in {flags.folder}.")


if __name__ == "__main__":
    main()
