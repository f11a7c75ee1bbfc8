"""Writes the bundled example charts: `python -m train.pretrain.examples [folder]`.

Held-out charts of every kind and look with three to five questions each, in ChartQA's conventions, as PNG files and
`qa.jsonl`. The charts are the first of `FIRST_SEED` onwards that fill `QUOTAS`.
"""

import argparse
import json
import random
from collections import Counter
from pathlib import Path

from train.pretrain.charts import make_chart
from train.pretrain.charts.drawing.styles import STYLES
from train.pretrain.charts.questions.naming import KIND_NAMES
from train.pretrain.scene import GeneratedChart, GeneratedQuestion

FOLDER = Path(__file__).parents[2] / "chartqa_demo" / "bundled" / "charts"
FIRST_SEED = 7_000_000
DENSITY = 1.43  # a Statista chart becomes 800 x 557, as on its site
QUOTAS = {
    "bar": 5,
    "hbar": 5,
    "grouped": 4,
    "grouped_h": 2,
    "stacked": 2,
    "stacked_h": 3,
    "line": 5,
    "area": 1,
    "pie": 2,
    "donut": 1,
    "scatter": 2,
}
MOST_OF_A_LOOK = {"statista": 8, "pew": 6}
GROUPS = (
    ("value", "value_by_colour", "position"),
    ("argmax", "argmin", "inverse", "rank", "max", "min", "top_series"),
    ("count", "colour", "which_colour", "count_series", "above", "list", "legend", "trend", "span"),
    ("difference", "sum", "ratio", "average", "range", "median", "total"),
    ("compare", "compare_sum", "compare_average", "which_of_two", "gap", "title"),
)
READABLE = 0.2  # a mark this high on its axis can be read within 5 % when a hundredth of the axis can be told
CARD = """\
---
license: apache-2.0
task_categories:
- visual-question-answering
language:
- en
tags:
- chart
- synthetic
---
# Bundled example charts

{charts} synthetic charts with {questions} questions ({human} worded as people ask, {machine} as templates do), so that
there is something to ask about without a network. They are made by this repository's generator from seed {seed} on:

    python -m train.pretrain.examples

Their names of places, firms, people and things come from word lists that the bundled model never saw in training
(years, age groups and the like are common to all charts); all numbers are invented. The looks
imitate those of ChartQA's sources (Statista, Pew Research Center, Our World in Data, OECD) and of common tools; the
charts are not by these publishers and say nothing about the world.

`qa.jsonl` has one question a line: `id`, `image` (file name), `query`, `label` (list of accepted answers, in ChartQA's
conventions: no signs or units, lists as `[a, b]`), `human_or_machine` (0: worded as people do, 1: as templates do),
`kind` (of chart), `look`, `question_kind`, and `axis_only` (the answer has to be read off an axis).

Licence: Apache-2.0. Nothing of ChartQA is in here.
"""


def fair(chart: GeneratedChart, question: GeneratedQuestion) -> bool:
    """Whether a person can answer within 5 %: values off an axis only from high marks, and nothing computed of them."""
    if not question.axis_only or question.kind in (*GROUPS[2], "argmax", "argmin", "rank", "top_series", "compare"):
        return True
    heights = {(mark.category, mark.series): mark.height for mark in chart.marks}
    return question.kind in (*GROUPS[0], "max", "inverse") and all(heights[cell] > READABLE for cell in question.marks)


def pick_questions(rng: random.Random, chart: GeneratedChart) -> list[GeneratedQuestion]:
    """At most one question of each of `GROUPS`, three to five in all, of both wordings where the chart has both."""
    picked = []
    for group in GROUPS:
        fitting = [one for one in chart.questions if one.kind in group and fair(chart, one)]
        wanted = [one for one in fitting if one.human == (len(picked) % 2 == 1)]
        if fitting:
            picked.append(rng.choice(wanted or fitting))
    return picked if len(picked) < 5 or rng.random() < 0.5 else picked[:4]


def pick_charts() -> list[tuple[int, GeneratedChart]]:
    """(seed, chart) of the first seeds that fill the quotas, each look at least twice."""
    kinds: Counter[str] = Counter()
    looks: Counter[str] = Counter()
    found = []
    seed = FIRST_SEED
    while len(found) < sum(QUOTAS.values()):
        chart = make_chart(seed, held_out=True, density=DENSITY)
        free = kinds[chart.kind] < QUOTAS[chart.kind] and looks[chart.look] < MOST_OF_A_LOOK.get(chart.look, 5)
        left = sum(QUOTAS.values()) - len(found)
        missing = sum(max(0, 2 - looks[look]) for look in STYLES)
        useful = missing < left or looks[chart.look] < 2
        if free and useful and len(chart.questions) >= 12 and len(pick_questions(random.Random(seed), chart)) >= 3:
            found.append((seed, chart))
            kinds[chart.kind] += 1
            looks[chart.look] += 1
        seed += 1
    return found


def write_examples(folder: Path) -> None:
    """Fills `folder` with the charts, `qa.jsonl` and a card, in place of those of an earlier run."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("[0-9][0-9]_*.png"):
        old.unlink()
    rows = []
    for number, (seed, chart) in enumerate(pick_charts(), start=1):
        name = f"{number:02d}_{chart.kind}.png"
        chart.image.quantize(255).save(folder / name, optimize=True)
        for place, question in enumerate(pick_questions(random.Random(seed), chart), start=1):
            row = {
                "id": f"{number:02d}-{place}",
                "image": name,
                "query": question.text,
                "label": [question.gold],
                "human_or_machine": 0 if question.human else 1,
                "kind": KIND_NAMES[chart.kind],
                "look": chart.look,
                "question_kind": question.kind,
                "axis_only": question.axis_only,
            }
            rows.append(row)
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / "qa.jsonl").write_text(lines, encoding="utf-8")
    human = sum(row["human_or_machine"] == 0 for row in rows)
    card = CARD.format(
        charts=sum(QUOTAS.values()), questions=len(rows), human=human, machine=len(rows) - human, seed=FIRST_SEED
    )
    (folder / "README.md").write_text(card, encoding="utf-8")
    print(f"{sum(QUOTAS.values())} charts and {len(rows)} questions are in {folder}.")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m train.pretrain.examples", description="Write the bundled charts.")
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER, help="where to (default: the bundled charts)")
    write_examples(parser.parse_args().folder)


if __name__ == "__main__":
    main()
