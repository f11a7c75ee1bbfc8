"""The words of generated charts, from `words/`: one name a line, one file a subject.

Every list is split by a hash of the word: about three in ten are kept for held-out charts and never used in training.
"""

import random
import zlib
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent / "text"
HELD_OUT_TENTHS = 3


def is_held_out(word: str) -> bool:
    """Whether `word` belongs to held-out charts only; upper and lower case do not matter."""
    return zlib.crc32(f"{word.lower()}|2".encode()) % 10 < HELD_OUT_TENTHS


@cache
def words(subject: str, held_out: bool) -> tuple[str, ...]:
    """The training or the held-out part of one list. Raises FileNotFoundError for a subject without a file."""
    lines = (FOLDER / f"{subject}.txt").read_text(encoding="utf-8").splitlines()
    return tuple(line for line in lines if line and is_held_out(line) == held_out)


def invented(rng: random.Random, held_out: bool) -> str:
    """A pronounceable name that nobody has, of the right part."""
    while True:
        name = "".join(
            rng.choice("bcdfghjklmnprstvwz")
            + rng.choice("aeiou")
            + (rng.choice("nrslmtx") if rng.random() < 0.3 else "")
            for _ in range(rng.randint(1, 3))
        )
        if len(name) < 3:
            continue
        style = rng.random()
        name = name.upper()[:4] if style < 0.2 else name.capitalize()
        if is_held_out(name) == held_out:
            return name
