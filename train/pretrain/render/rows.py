"""The rows of one given table: its chart, and the questions that the chart answers."""

import random
import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from train.pretrain.charts.drawing.frames import Plot
from train.pretrain.render.asking import question
from train.pretrain.render.drawing import draw
from train.pretrain.render.given import Asked, LeftOut
from train.pretrain.render.kinds import kinds, said
from train.pretrain.render.parsing import Given, as_number, parse

ATTEMPTS = 12  # looks and kinds that are tried until one can be read
Kept = list[tuple[str, str, bool]]  # question, label, whether colours matter


class Task(NamedTuple):
    """One table to draw. folder: where its picture goes; seed: the same seed, table and questions draw the same."""

    asked: list[Asked]
    folder: Path
    seed: str


class Made(NamedTuple):
    """Lines of `metadata.jsonl`, and how many questions were left out for which reason."""

    rows: list[dict[str, str]]
    why: Counter[str]


def file_name(one: Asked) -> str:
    """The name of a table's picture, of letters, digits, - and _ alone."""
    return re.sub(r"[^\w-]", "_", one.stem) + "_v0.webp"


def make(task: Task) -> Made:
    """The rows of one table, its picture written. A table that cannot be drawn costs itself; raises OSError."""
    try:
        rows, plot, why = rows_of(task)
        picture = plot.canvas.finish().convert("RGB") if plot and rows else None
    except Exception:  # a table that nobody thought of must not end the run
        return Made([], Counter({"of tables that no chart takes": len(task.asked)}))
    if picture is not None:
        picture.save(task.folder / rows[0]["file_name"], "WEBP", quality=85, method=1)
    return Made(rows, why)


def rows_of(task: Task) -> tuple[list[dict[str, str]], Plot | None, Counter[str]]:
    """The rows of one table and its plot."""
    try:
        given = parse(task.asked[0])
    except LeftOut as reason:
        return [], None, Counter({str(reason): len(task.asked)})
    plot, kept, why = plot_of(task, given)
    if plot is None:
        return [], None, why
    rows = []
    for query, label, _ in kept:
        if printed(plot, label):
            name = file_name(task.asked[0])
            rows.append({"file_name": name, "query": query, "label": label, "human_or_machine": "0"})
        else:
            why["whose answer is not printed"] += 1
    return rows, plot, why


def plot_of(task: Task, given: Given) -> tuple[Plot | None, Kept, Counter[str]]:
    """The first drawing that can be read and answers a question, with these questions."""
    words = said([one.query for one in task.asked])
    stem = file_name(task.asked[0]).removesuffix("_v0.webp")
    why, kept, reason = Counter[str](), [], "about marks that are not drawn"
    for attempt in range(ATTEMPTS):
        rng = random.Random(f"{task.seed} {stem} 0 {attempt}")
        options = kinds(rng, given, words)
        if not options:
            return None, [], Counter({reason: len(task.asked)})
        kind = options[min(attempt // 2, len(options) - 1)]
        kept, why = questions(task.asked, given, kind)
        if not kept:
            continue
        try:
            return draw(rng, given, kind, any(coloured for *_, coloured in kept), words), kept, why
        except LeftOut as refusal:
            reason = str(refusal)
        except (ValueError, ZeroDivisionError, IndexError, KeyError, AssertionError):
            reason = "of tables that no chart takes"
    why[reason] += len(kept)
    return None, [], why


def questions(asked: list[Asked], given: Given, kind: str) -> tuple[Kept, Counter[str]]:
    """What a kind of chart answers, and why the rest is left out."""
    kept, why = [], Counter[str]()
    for one in asked:
        try:
            kept.append(question(one, given, kind))
        except LeftOut as reason:
            why[str(reason)] += 1
    return kept, why


def printed(plot: Plot, label: str) -> bool:
    """Whether the figure that is the answer has its label, where figures have theirs; True for other answers."""
    value = as_number(label)
    if value is None or not plot.table.labelled or plot.table.kind == "line":
        return True
    at = [mark for mark in plot.marks if abs(mark.value - value) < 1e-9]
    return not at or any(mark.shown is not None for mark in at)
