"""Files, data sets, pictures, events and prompts that mean harm, and what became of each.

    python -m bench.reliability.attack

The inputs are the same for the same seed. An attempt that takes longer than LIMIT_S, and whatever is neither shown as
text nor refused in a sentence, is a fault.
"""

import argparse
import logging
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from bench.reliability import save, table

LIMIT_S, MEMORY = 15, 10 * 2**30
FAULT = "a fault"
# Of each kind: how many inputs are drawn, beside those that are written down.
KINDS = {
    "results": 8,
    "predictions": 25,
    "recorded": 25,
    "corrections": 25,
    "adapters": 25,
    "runs": 25,
    "data sets": 25,
    "uploads": 25,
    "pictures": 150,
    "events": 120,
    "prompts": 30,
}
NOTES = (
    "A fresh pair of eyes first tried these kinds within 29 minutes, for some 13 of which inputs were sent, on code "
    "that was not mended yet; the saved data sets and the last pictures came after that. Pictures, events "
    "and prompts held, and so did 16 texts in a browser (results, runs and adapters in their tabs): no markup, no "
    "dialog, no error of a script, no request elsewhere.",
    "Found and mended: results, recorded answers, corrections and saved data sets that are pipes, endless, nested "
    "without end or of other types; scores that ended the start; figures too small to draw, damaged stores and odd "
    "times of training runs; names that no page can show; links to themselves among charts; times that no calendar "
    "has; a formula in the head of a CSV; sentences without end or full stop; an adapter's patterns, tried at every "
    "layer. The tests are in `tests/reliability/test_hostile_files.py`.",
    "A second pair came on 2026-12-01 with files and requests of its own. Found and mended: AVIF pictures whose tiles "
    "or items took minutes; TIFF tags told twice or as another type, and many tiles of a pixel; 16 bits in big-endian "
    "order, called damaged; charts and downloads written in place while others read them; names of uploads, kept for "
    "good; paths that no file can have, odd boundaries of an upload and a full disk as failures; a port that is taken, "
    "an address nobody can listen at and files without end at a start; answers that a model repeats, slow to score.",
    "In that attack held: wrong types at every listener and endpoint, paths and addresses, posts and uploads sent by "
    "half, a hundred pages at once; in a browser hurried Ask and Stop, going back, reloading, being offline, and "
    "clicks at random. Left: over HTTP/1.1 a browser has six connections to a server and each open tab keeps some, so "
    "one of many tabs waits until others are closed; a proxy that speaks HTTP/2 ends that.",
)


class Late(BaseException):
    """An attempt took longer than LIMIT_S."""


def attempts_of(kind: str, rng: random.Random, folder: Path) -> Any:
    """The attempts of one kind, see `bench.reliability.attack`."""
    from bench.reliability.attack import data, files, runs, visitors

    many = KINDS[kind]
    if kind == "events":
        from bench.reliability.requests import started

        with started() as server:
            yield from visitors.events(rng, server, many)
    elif kind == "prompts":
        from chartqa_demo.engines import load_engine
        from chartqa_demo.settings import Settings

        yield from visitors.prompts(rng, load_engine(Settings(base="bundled", device="cpu")), many)
    else:
        name = kind.replace(" ", "_")
        yield from next(getattr(one, name) for one in (files, runs, data, visitors) if hasattr(one, name))(
            rng, folder, many
        )


def tried(kind: str, seed: int, folder: Path) -> tuple[Counter[str], float]:
    """How often each outcome came, and the seconds of the slowest attempt."""
    counts, slowest = Counter[str](), 0.0
    for name, attempt in attempts_of(kind, random.Random(seed), folder):
        began, outcome = time.monotonic(), FAULT
        sys.set_int_max_str_digits(4300)  # as in the app
        signal.alarm(LIMIT_S)
        try:
            outcome = attempt()
        except (Exception, Late) as error:
            print(f"{kind}: {name[:120]!r}: {type(error).__name__}: {str(error)[:300]!r}", flush=True)
        finally:
            signal.alarm(0)
            sys.set_int_max_str_digits(0)
        counts[outcome] += 1
        slowest = max(slowest, time.monotonic() - began)
    return counts, slowest


def _late(*_: Any) -> None:
    raise Late(f"not done within {LIMIT_S} s")


def main() -> int:
    """Exit code: 0 nothing failed, 1 something did."""
    parser = argparse.ArgumentParser(prog="python -m bench.reliability.attack", description="Hostile files and inputs.")
    parser.add_argument("--only", choices=KINDS, action="append", help="this kind alone, and write nothing")
    parser.add_argument("--seed", type=int, default=26, help="default: 26")
    flags = parser.parse_args()
    from bench.reliability.attack import ASIDE, SHOWN, TOLD

    logging.disable(logging.CRITICAL)
    signal.signal(signal.SIGALRM, _late)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    sys.set_int_max_str_digits(0)
    where = Path(tempfile.mkdtemp(prefix="chartqa-attack-"))
    os.environ["TRACKIO_DIR"] = str(where / "trackio")  # before trackio is imported, which keeps it
    rows, outcomes = [], (SHOWN, TOLD, ASIDE, FAULT)
    for kind in flags.only or KINDS:
        counts, slowest = tried(kind, flags.seed, where)
        rows.append([kind, counts.total(), *(counts[one] for one in outcomes), round(slowest, 1)])
        print(*rows[-1], flush=True)
    shutil.rmtree(where, ignore_errors=True)
    if not flags.only:
        sheet = table("Tried, and what came of it", ["kind", "tried", *outcomes, "slowest, seconds"], rows)
        save("attack", "Hostile files and inputs", "python -m bench.reliability.attack", [sheet], NOTES)
    return int(any(row[5] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
