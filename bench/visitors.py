"""How many visitors one server takes: questions per second and waiting times while several ask at once.

    python -m bench.visitors --endpoint http://127.0.0.1:8000/v1 --base-name base --adapter-name chartqa
    python -m bench.visitors --read visitors.json --every 60 --within 5

The first line measures any engine that the app can use, also the local one. The second turns such files into the table
of `docs/scale-out/README.md`: with one question every `--every` seconds from each visitor, the largest number of them
for whom 95 of 100 questions are answered by all arms within `--within` seconds.
"""

import argparse
import json
import math
import os
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from chartqa_demo.data.splits import Example, chosen_columns, draw_examples, open_split
from chartqa_demo.engines import Engine, Options, load_engine
from chartqa_demo.errors import DatasetError, EngineError, SettingsError
from chartqa_demo.settings import add_engine_flags, settings_from


def level(engine: Engine, asked: Sequence[Example], at_once: int, options: Options) -> dict[str, Any]:
    """Ask everything in `asked` from `at_once` threads, each with its next question as soon as one is answered.

    Times in seconds: first_text_s to the first text of any arm, answered_s to the last token of the last arm; each as
    {p50, p95}. failed counts questions of which an arm failed.
    """
    arms = [arm for arm in engine.arms if not arm.adapter or engine.adapter is not None]
    waiting = iter(asked)
    taking = threading.Lock()
    first, last, tokens, failed = [], [], 0, 0

    def visit() -> None:
        nonlocal tokens, failed
        while True:
            with taking:
                example = next(waiting, None)
            if example is None:
                return
            *_, answers = engine.answer(example.load_image(), example.question, arms, options)
            with taking:
                tokens += sum(answer.tokens for answer in answers)
                failed += any(answer.error is not None for answer in answers)
                first.append(min(answer.first_token_s or answer.total_s or 0.0 for answer in answers))
                last.append(max(answer.total_s or 0.0 for answer in answers))

    began = time.perf_counter()
    with ThreadPoolExecutor(at_once) as visitors:
        for done in [visitors.submit(visit) for _ in range(at_once)]:
            done.result()
    seconds = time.perf_counter() - began
    return {
        "at_once": at_once,
        "questions": len(asked),
        "failed": failed,
        "questions_per_second": round(len(asked) / seconds, 3),
        "tokens_per_second": round(tokens / seconds, 1),
        "first_text_s": {"p50": _quantile(first, 0.5), "p95": _quantile(first, 0.95)},
        "answered_s": {"p50": _quantile(last, 0.5), "p95": _quantile(last, 0.95)},
    }


def sizing(runs: Sequence[dict[str, Any]], every_s: float, within_s: float) -> str:
    """A Markdown table, one row per run: its best level within the limit, and the visitors that this makes.

    Raises KeyError for a file of another form.
    """
    rows = [
        "| model | on | asked at once | questions per second | first text, median | all answers, p95 | visitors |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for run in runs:
        fitting = [one for one in run["levels"] if one["answered_s"]["p95"] <= within_s and not one["failed"]]
        if not fitting:
            rows.append(f"| {run['model']} | {run['on']} | – | – | – | over {within_s:g} s | 0 |")
            continue
        best = max(fitting, key=lambda one: one["questions_per_second"])
        rows.append(
            f"| {run['model']} | {run['on']} | {best['at_once']} | {best['questions_per_second']:.2f} "
            f"| {best['first_text_s']['p50']:.2f} s | {best['answered_s']['p95']:.2f} s "
            f"| {int(best['questions_per_second'] * every_s)} |"
        )
    return "\n".join(rows)


def _quantile(values: Sequence[float], q: float) -> float:
    """The smallest value that at least the share `q` of all does not exceed, in seconds with three decimals."""
    return round(sorted(values)[math.ceil(q * len(values)) - 1], 3)


def _measure(flags: argparse.Namespace) -> None:
    settings = settings_from(flags)
    examples = draw_examples(open_split(settings.dataset, settings.split, chosen_columns(settings)), None, 0)
    engine = load_engine(settings)
    options = Options(max_new_tokens=settings.max_new_tokens)
    level(engine, examples[:1], 1, options)  # first calls compile, allocate and connect
    levels = []
    for at_once in [int(text) for text in flags.at_once.split(",")]:
        levels.append(level(engine, list(islice(cycle(examples), at_once * flags.questions)), at_once, options))
        print(json.dumps(levels[-1]))
    run = {"model": engine.title, "on": flags.on, "date": date.today().isoformat(), "levels": levels}
    flags.output.write_text(json.dumps(run, indent=2) + "\n", encoding="utf-8")


def main() -> int:
    """Exit code: 0 done, 2 something a person has to change."""
    parser = argparse.ArgumentParser(prog="python -m bench.visitors", description="Visitors that one server takes.")
    parser.add_argument("--at-once", default="1,4,16,64", help="questions at the same time; default: 1,4,16,64")
    parser.add_argument("--questions", type=int, default=8, help="questions per visitor and level; default: 8")
    parser.add_argument("--on", default=f"{os.cpu_count()} CPU cores", help="the hardware, for the table")
    parser.add_argument("--output", type=Path, default=Path("visitors.json"), help="default: visitors.json")
    parser.add_argument("--read", type=Path, nargs="+", help="print the table of these files instead of measuring")
    parser.add_argument("--every", type=float, default=60, help="seconds between two questions of a visitor")
    parser.add_argument("--within", type=float, default=5, help="seconds in which 95 of 100 have all answers")
    add_engine_flags(parser)
    flags = parser.parse_args()
    try:
        if flags.read is None:
            _measure(flags)
        else:
            runs = [json.loads(path.read_text(encoding="utf-8")) for path in flags.read]
            print(sizing(runs, flags.every, flags.within))
    except (SettingsError, DatasetError, EngineError, OSError, ValueError, KeyError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
