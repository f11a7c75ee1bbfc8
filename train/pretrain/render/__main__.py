"""Draws the tables of human train questions anew, for a data set of a mixture.

    python -m train.pretrain.render TABLES.jsonl OUT --without CHARTQA --hold 12
    python -m train --config bundled-chartqa.yaml --dataset CHARTQA --mixture dataset=9 generated=1 OUT=2

TABLES.jsonl has one question a line: `imgname` (the name of the chart that it was asked about), `publisher` (Statista,
OWID, OECD; others are left out), `query`, `label` and `table_columns` ([name, cells] per column, the first one names
the rows). OUT/train gets pictures and `metadata.jsonl`; with --hold, OUT_held/test gets those of every so manieth
table, to measure on. The same file, seed and flags give the same bytes, however many processes there are.
"""

import argparse
import json
import multiprocessing
import os
import random
import sys
import zlib
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from chartqa_demo.errors import print_anything
from train.pretrain.render.given import BAD_ROW, Asked, RenderError, tables
from train.pretrain.render.held_out import Known, known_questions
from train.pretrain.render.rows import Made, Task, file_name, make


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m train.pretrain.render", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("tables", type=Path, help="JSON lines of questions with their tables")
    parser.add_argument("folder", type=Path, help="where to: a folder that is new or empty")
    parser.add_argument(
        "--without",
        type=Path,
        required=True,
        help="folder in ChartQA's layout: tables of its val and test questions, and its train questions, stay out",
    )
    parser.add_argument("--hold", type=count, help="every so manieth table goes to OUT_held instead, to measure on")
    parser.add_argument("--most", type=count, help="at most so many tables, drawn with the seed (default: all)")
    parser.add_argument("--processes", type=count, default=os.cpu_count() or 1, help="default: one per core")
    parser.add_argument("--seed", default="1", help="another seed draws the charts in another way (default: 1)")
    parser.add_argument(
        "--leave_out",
        nargs="*",
        default=["two_col_104680"],
        help="names of charts that are not drawn (default: %(default)s, which resembles one of the test split)",
    )
    return parser.parse_args(arguments)


def count(text: str) -> int:
    """A whole number above 0, for argparse."""
    if not text.isdecimal() or not 1 <= int(text[:10]) <= 1_000_000:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is no whole number from 1 to 1,000,000")
    return int(text)


def main(arguments: list[str] | None = None) -> int:
    """Draw; 2 with one sentence on stderr for a file or folder that cannot be used."""
    print_anything()
    options = parse(arguments)
    try:
        return _run(options)
    except RenderError as problem:
        print(problem, file=sys.stderr)
    except OSError as problem:
        print(f"{problem.filename or options.folder}: {problem.strerror or problem}.", file=sys.stderr)
    return 2


def _run(options: argparse.Namespace) -> int:
    folder = Path(os.path.abspath(options.folder))  # noqa: PTH100 - `resolve` would name a link's target
    train, held = folder / "train", folder.with_name(f"{folder.name}_held") / "test" if options.hold else None
    for place in (folder, held.parent if held else folder):
        if place.exists() and not (place.is_dir() and not any(place.iterdir())):
            raise RenderError(f"{place} is there already: name a folder that is new or empty.")
    why = Counter[str]()
    groups = tables(options.tables, why)
    known = known_questions(options.without)
    tasks = tasks_of(groups, known, options, train, held, why)
    for place in (train, held):
        if place:
            place.mkdir(parents=True)
    found = draw_all(tasks, min(options.processes, max(1, len(tasks))))
    for made in found:
        why.update(made.why)
    print("Left out:")
    for reason, many in why.most_common():
        if many and reason != BAD_ROW:
            print(f"  {many:5} questions {reason}")
    for place in filter(None, (train, held)):
        rows = [row for task, made in zip(tasks, found, strict=True) if task.folder == place for row in made.rows]
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (place / "metadata.jsonl").write_text(lines, encoding="utf-8", newline="\n")
        print(f"{len({row['file_name'] for row in rows})} charts with {len(rows)} questions are in {place.parent}.")
    if why[BAD_ROW]:
        print(f"{why[BAD_ROW]} lines of {options.tables} are no question with a table and were left out.")
    return 0


def tasks_of(
    groups: list[list[Asked]],
    known: Known,
    options: argparse.Namespace,
    train: Path,
    held: Path | None,
    why: Counter[str],
) -> list[Task]:
    """The tables to draw, without those of held-out splits. What is left out is counted in `why`."""
    tasks, names = [], set[str]()
    for asked in groups:
        if Path(asked[0].picture).stem in options.leave_out or known.is_held_out(asked):
            why["of tables asked about in val or test"] += len(asked)
            continue
        left = [one for one in asked if not known.is_trained(one)]
        why["that the train split has"] += len(asked) - len(left)
        name = file_name(asked[0])
        if name.casefold() in names:  # some file systems take them for one
            why["of tables named as another one"] += len(left)
        elif left:
            names.add(name.casefold())
            away = held and zlib.crc32(asked[0].picture.encode()) % options.hold == 0
            tasks.append(Task(left, held if held and away else train, options.seed))
    if options.most:
        tasks = random.Random(options.seed).sample(tasks, min(options.most, len(tasks)))
    return tasks


def draw_all(tasks: list[Task], processes: int) -> list[Made]:
    """What came of every task, in their order. Raises OSError and RenderError."""
    if processes == 1:
        return [make(task) for task in tasks]
    try:
        with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
            return list(pool.map(make, tasks, chunksize=8))
    except BrokenProcessPool as error:
        raise RenderError("A process that draws was ended, for want of memory perhaps: fewer --processes.") from error


if __name__ == "__main__":
    sys.exit(main())
