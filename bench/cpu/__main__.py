"""Three answers of the bundled model by this checkout and by an older one, in turn: how many times faster they are.

    git worktree add ../older 79f153f
    python -m bench.cpu --against ../older --output bench/results/paired_cpu.json

Both answer the same questions about bundled charts with this checkout's weights, each in a process of its own, one
after the other and every second time in the other order. A question's time is the least of its repeats:
what else the machine does only adds to it.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from chartqa_demo.data.splits import open_split
from chartqa_demo.settings import BUNDLED_ADAPTER, BUNDLED_BASE, BUNDLED_CHARTS

HERE = Path(__file__).parents[2]
CLOCKS = ("cpu_s", "wall_s")


class Side:
    """The process that answers for the checkout in `folder`. Raises RuntimeError where it ends."""

    def __init__(self, folder: Path, threads: int) -> None:
        command = [sys.executable, str(HERE / "bench" / "cpu" / "answering.py")]
        self._process = subprocess.Popen(
            [*command, str(BUNDLED_BASE), str(BUNDLED_ADAPTER), str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(folder.resolve()), "HF_HUB_OFFLINE": "1"},
        )
        self.folder = folder
        self._read()

    def ask(self, file: Path, question: str) -> Any:
        """[CPU seconds, wall seconds, per arm its text and how many tokens it has]."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([str(file), question]) + "\n")
        self._process.stdin.flush()
        return self._read()

    def close(self) -> None:
        """End the process."""
        self._process.communicate()

    def _read(self) -> Any:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line[:1] in ('"', "["):  # libraries print, too
                return json.loads(line)
        raise RuntimeError(f"{self.folder} cannot answer; see what it says above")


def main() -> int:
    """Exit code: 0 measured with equal answers, 1 answers differ."""
    flags = _flags()
    every = list(open_split("bundled"))
    items = [(BUNDLED_CHARTS / one.file_name, one.question) for one in every[:: max(1, len(every) // flags.questions)]]
    items = items[: flags.questions]
    about = _about(flags)
    sides = {"older": Side(flags.against, flags.threads), "this": Side(HERE, flags.threads)}
    for side in sides.values():
        side.ask(*items[0])
    told: dict[str, list[list[Any]]] = {name: [[] for _ in items] for name in sides}
    for repeat in range(flags.repeats):
        for number, item in enumerate(items):
            for name in list(sides) if (repeat + number) % 2 else list(sides)[::-1]:
                told[name][number].append(sides[name].ask(*item))
    for side in sides.values():
        side.close()
    found = about | compared(told)
    print(json.dumps(found, indent=2))
    if flags.output:
        flags.output.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return 1 if found["different"] else 0


def compared(told: dict[str, list[list[Any]]]) -> dict[str, Any]:
    """Per side seconds a question, the ratio of their sums and the least and largest of single questions, by both
    clocks; and which answers differ. told: side -> per question its repeats, as `Side.ask` returns them."""
    found: dict[str, Any] = {}
    for place, clock in enumerate(CLOCKS):
        took = {name: [min(one[place] for one in repeats) for repeats in each] for name, each in told.items()}
        single = [older / this for older, this in zip(took["older"], took["this"], strict=True)]
        found[clock] = {name: round(sum(times) / len(times), 4) for name, times in took.items()} | {
            "times_faster": round(sum(took["older"]) / sum(took["this"]), 3),
            "of_single_questions": [round(min(single), 3), round(max(single), 3)],
        }
    answers = zip(told["older"], told["this"], strict=True)
    pairs = [(older[0][2], this[0][2]) for older, this in answers]
    found["answers"] = sum(len(this) for _, this in pairs)
    found["different"] = [[a, b] for older, this in pairs for a, b in zip(older, this, strict=True) if a != b]
    return found


def _about(flags: argparse.Namespace) -> dict[str, Any]:
    head = ["git", "-C", str(flags.against), "rev-parse", "--short", "HEAD"]
    older = subprocess.run(head, capture_output=True, text=True, check=False).stdout.strip()
    return {
        "command": "python -m bench.cpu " + shlex.join(sys.argv[1:]),
        "date": date.today().isoformat(),
        "older": older or "no checkout of git",
        "threads": flags.threads,
        "load_average_before": round(os.getloadavg()[0], 2),
        "questions": flags.questions,
        "repeats": flags.repeats,
        "versions": {name: version(name) for name in ("torch", "transformers", "peft")},
    }


def _flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.cpu", description="Three answers on a CPU, against before.")
    parser.add_argument("--against", type=Path, required=True, help="folder of an older checkout")
    parser.add_argument("--questions", type=int, default=12, help="about bundled charts; default: 12")
    parser.add_argument("--repeats", type=int, default=3, help="of every question by each; default: 3")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads; default: 1")
    parser.add_argument("--output", type=Path, help="JSON file")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
