"""Names made up on the spot for training charts, so that a reader has to spell what stands there.

A closed list, however long, teaches a model to choose among its entries. A coined name has the shape of a name of its
subject (words, length, capitals) and never is, or holds, a name that is kept for held-out charts.
"""

import random
import re
from dataclasses import dataclass
from functools import cache

from train.pretrain.charts.tables.measures import NAMES
from train.pretrain.charts.words.lists import is_held_out, words

VOWELS, CONSONANTS = "aeiou", "bcdfghjklmnprstvwyz"
LETTERS = re.compile(r"[^\W\d_]+")
KEPT = frozenset(("and", "the", "for", "von", "del", "not", "who", "Inc", "Ltd", "LLC", "PLC", "com", "org", "net"))
TITLES = ("{}", "{}", "{} in {}", "{} of {}", "{} and {}", "{}: {}", "{} by {}", "How {} see {}", "{} for {}")
CODES = (
    "{0} {n}",
    "{0}-{n}",
    "{i}. {0}",
    "{i}.{j}. {0}",
    "{0} {i}.",
    "{0} & {1}",
    "{0}-{1}",
    "{0} ({1})",
    "{0}/{1}",
    "{0}, {1}",
    "{i}{j}{k}",
    "{i}{j}{k}-{n}",
    "{i}{n} {0}",
    "{i}{j} {0}",
    "{0}.com",
    "St. {0}",
    "New {0}",
    "{0} {1} {n}",
    "{0}'s {1}",
    "{n} {0}",
)


@dataclass(frozen=True)
class Vocabulary:
    """Where a chart's names come from: the training or the held-out part of the lists, and the share of them that is
    coined instead (training only)."""

    held_out: bool
    coined: float = 0.0

    @property
    def openness(self) -> float:
        """The power that a uniform draw is raised to, so that fewer series are years, groups and parts of a whole."""
        return 0.6 if self.held_out or self.coined else 1.0

    def words(self, subject: str) -> tuple[str, ...]:
        """The listed names of a subject."""
        return words(subject, self.held_out)

    def pick(self, rng: random.Random, subject: str) -> str:
        """One name."""
        name = rng.choice(self.words(subject))
        return coin(rng, subject) if self.coins(rng) else name

    def coins(self, rng: random.Random) -> bool:
        """Whether the next name is coined; draws nothing where none is."""
        return self.coined > 0 and rng.random() < self.coined


@cache
def held_out_names() -> tuple[frozenset[str], tuple[int, ...]]:
    """The names of held-out charts in lower case, and the lengths of those of four letters and more."""
    subjects = {names.subject for names in NAMES if names.subject} | {"issue"}
    held_out = frozenset(name.lower() for subject in subjects for name in words(subject, held_out=True))
    return held_out, tuple(sorted({len(name) for name in held_out if len(name) > 3}))


def is_free(name: str) -> bool:
    """Whether a made-up name may stand in a training chart: on training's side of the split, and no name of held-out
    charts inside it (of fewer than four letters: among its words)."""
    if is_held_out(name):
        return False
    held_out, lengths = held_out_names()
    lower = name.lower()
    if not held_out.isdisjoint(LETTERS.findall(lower)):
        return False
    return held_out.isdisjoint(
        [lower[start : start + length] for length in lengths for start in range(len(lower) - length + 1)]
    )


@cache
def by_length(subject: str) -> dict[int, tuple[str, ...]]:
    """The training words of a list by their length."""
    found: dict[int, list[str]] = {}
    for word in words(subject, held_out=False):
        found.setdefault(len(word), []).append(word)
    return {length: tuple(group) for length, group in found.items()}


@cache
def letter_chain() -> dict[str, str]:
    """For each two letters (spaces before a word begins): the letters that follow them in training's words."""
    following: dict[str, list[str]] = {}
    for subject in ("english", "proper", "town", "company", "surname", "country"):
        for name in words(subject, held_out=False):
            for word in LETTERS.findall(name.lower()):
                for last, letter in zip(zip("  " + word, " " + word, strict=False), word, strict=False):
                    following.setdefault("".join(last), []).append(letter)
    return {last: "".join(letters) for last, letters in following.items()}


def cased(word: str, like: str) -> str:
    """`word` with the capitals of `like`."""
    return (
        word.upper() if like.isupper() and len(like) > 1 else word.capitalize() if like[0].isupper() else word.lower()
    )


def listed(rng: random.Random, length: int) -> str:
    """A word of about `length` letters from the two large lists."""
    groups = by_length(rng.choice(("english", "proper")))
    return rng.choice(groups[min(13, max(3, length + rng.choice((-1, 0, 0, 1))))])


def spelt(rng: random.Random, length: int) -> str:
    """A word of about `length` letters that follows the statistics of letters only."""
    chain = letter_chain()
    word, last = "", "  "
    for _ in range(max(3, length + rng.choice((-1, 0, 0, 1)))):
        letter = rng.choice(chain.get(last) or VOWELS)
        word, last = word + letter, last[1] + letter
    return word


def respelt(rng: random.Random, name: str) -> str:
    """`name` with one to three of its letters changed, swapped, doubled, dropped or put in."""
    letters = list(name)
    for _ in range(rng.choice((1, 1, 2, 2, 3))):
        places = [index for index, letter in enumerate(letters) if letter.isalpha()]
        if len(places) < 3:
            break
        at = rng.choice(places)
        old, draw = letters[at], rng.random()
        new = rng.choice(VOWELS if old.lower() in VOWELS else CONSONANTS)
        if draw < 0.5:
            letters[at] = cased(new, old)
        elif draw < 0.65 and at + 1 in places:
            letters[at], letters[at + 1] = cased(letters[at + 1], old), cased(old, letters[at + 1])
        elif draw < 0.85:
            letters.insert(at + 1, rng.choice((new, old)).lower() if not name.isupper() else new.upper())
        elif old.islower():
            del letters[at]
    return "".join(letters)


def spliced(rng: random.Random, first: str, second: str) -> str:
    """The beginning of one name with the end of another, between words or inside one."""
    one, two = first.split(" "), second.split(" ")
    if len(one) > 1 and len(two) > 1 and rng.random() < 0.5:
        return " ".join((*one[: rng.randint(1, len(one) - 1)], *two[rng.randint(1, len(two) - 1) :]))
    head, tail = one[0], two[-1]
    joined = head[: max(2, round(len(head) * rng.uniform(0.4, 0.8)))] + tail[round(len(tail) * rng.uniform(0.3, 0.6)) :]
    return " ".join((cased(joined, head), *(one[1:] if rng.random() < 0.5 else two[:-1])))


def replaced(rng: random.Random, name: str, letters_only: bool) -> str:
    """`name` with other words in the place of its own: real ones, or such as follow the statistics of letters."""

    def other(found: re.Match[str]) -> str:
        word = found[0]
        if len(word) < 3 or word in KEPT:
            return word
        if word.isupper():
            return "".join(rng.choice(CONSONANTS + VOWELS) for _ in word).upper()
        return cased(spelt(rng, len(word)) if letters_only else listed(rng, len(word)), word)

    return LETTERS.sub(other, name)


def coded(rng: random.Random) -> str:
    """A name with initials, digits, a hyphen or a sign."""
    first, second = (spelt(rng, 6) if rng.random() < 0.4 else listed(rng, rng.randint(3, 8)) for _ in range(2))
    initials = dict(zip("ijk", (rng.choice("ABCDEFGHIJKLMNOPRSTVWXZ") for _ in range(3)), strict=True))
    number = rng.choice((str(rng.randint(1, 9)), str(rng.randint(10, 99)), str(rng.randint(1, 9) * 100)))
    return rng.choice(CODES).format(first.capitalize(), second.capitalize(), n=number, **initials)


def coin(rng: random.Random, subject: str, longest: int = 34) -> str:
    """A name like those of `subject` ("" for any) that no list has, of at most `longest` characters."""
    pool = words(subject or "company", held_out=False)
    while True:
        model, draw = rng.choice(pool), rng.random()
        if draw < 0.18:
            name = respelt(rng, model)
        elif draw < 0.38:
            name = spliced(rng, model, rng.choice(pool))
        elif draw < 0.62:
            name = replaced(rng, model, letters_only=True)
        elif draw < 0.88:
            name = replaced(rng, model, letters_only=False)
        else:
            name = coded(rng)
        if " " not in name and rng.random() < 0.12:
            name += " " + cased(listed(rng, rng.randint(4, 9)), name)
        if rng.random() < 0.03:
            name = name.upper() if rng.random() < 0.5 else name.lower()
        if 2 < len(name) <= longest and name not in pool and is_free(name):
            return name


def coin_title(rng: random.Random) -> str:
    """A headline of two to seven real words."""
    while True:
        parts = [
            " ".join(rng.choice(words("english", held_out=False)) for _ in range(rng.randint(1, 3))) for _ in range(2)
        ]
        title = rng.choice(TITLES).format(*parts)
        if " " in title and is_free(title):
            return title[0].upper() + title[1:]
