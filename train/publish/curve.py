"""How accuracy grows with the rows trained on: a learning curve of finished runs, as a file and as a table.

    python -m train.publish.curve results/learning_curve/bundled.json 0=runs/rows0 252=runs/rows252 2520=runs/all

Every run is the output folder of `python -m train` with its results.json and run.json; its number says how many rows of
the data set it was trained on (--train_sample). All of them must have answered the same questions.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chartqa_demo.arms import ADAPTER
from chartqa_demo.data.strict import as_row, check
from chartqa_demo.evaluate.record import GROUPS
from chartqa_demo.evaluate.statistics import Score
from chartqa_demo.evaluate.tables import Column, Table, accuracy, as_markdown
from train.publish.card import RULES_SHOWN

ASKED = ("dataset", "split", "limit", "planned")


def point(rows: int, folder: Path) -> dict[str, Any]:
    """One run's point. Raises OSError, KeyError or ValueError for a folder that is no finished run."""
    found = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    if not found["complete"]:
        raise ValueError("its evaluation has not ended")
    return {
        "rows": rows,
        "command": json.loads((folder / "run.json").read_text(encoding="utf-8"))["command"],
        "date": found["date"],
        "versions": found["versions"],
        "asked": {key: found[key] for key in ASKED},
        "scores": {rule: {arm: found["scores"][rule][arm] for arm in found["arms"]} for rule in RULES_SHOWN},
    }


def table(points: list[dict[str, Any]]) -> Table:
    """A row for every point: rows trained on, and the adapter's accuracy in per cent with its 95 % Wilson interval."""
    columns = [Column(f"{rule}, {group}", rule, group, interval=True) for rule in RULES_SHOWN for group in GROUPS]
    rows = []
    for one in points:
        check(one["rows"], int, "rows")
        scores = (as_row(Score, one["scores"][column.rule][ADAPTER.key][column.group]) for column in columns)
        rows.append((f"{one['rows']:,}", *map(accuracy, scores, columns)))
    return Table(("rows", *(column.head for column in columns)), tuple(rows))


def main(argv: Sequence[str] | None = None) -> int:
    """Command line. Exit code: 0 written, 2 something a person has to change."""
    parser = argparse.ArgumentParser(prog="python -m train.publish.curve", description="A learning curve of runs.")
    parser.add_argument("output", type=Path, help="JSON file")
    parser.add_argument("runs", nargs="+", metavar="ROWS=FOLDER", help="rows trained on, and the run's output folder")
    flags = parser.parse_args(argv)
    points = []
    for run in flags.runs:
        rows, _, folder = run.partition("=")
        try:
            points.append(point(int(rows), Path(folder)))
        except (OSError, KeyError, ValueError) as error:
            print(f"error: {run} is no ROWS=FOLDER of a finished run: {error}", file=sys.stderr)
            return 2
    points.sort(key=lambda one: one["rows"])
    if any(one["asked"] != points[0]["asked"] for one in points):
        print("error: these runs answered different questions; measure all of them on one split.", file=sys.stderr)
        return 2
    flags.output.write_text(json.dumps({"points": points}, indent=2) + "\n", encoding="utf-8")
    print(as_markdown(table(points)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
