"""What an answer says and no other does, marked inside its text: words, numbers, and the characters of a number or word
that the others write otherwise ("1,400" beside "1400")."""

import re
from collections.abc import Sequence
from html import escape
from itertools import groupby

# A number with its commas, a word, or a single sign.
_PARTS = re.compile(r"\d[\d,]*(?:\.\d+)?|[^\W\d]+|\s+|.", re.DOTALL)


def marked(texts: Sequence[str]) -> list[str]:
    """The HTML of every answer, with `<mark>` around what it alone says; nothing is marked in a single answer."""
    parts = [_PARTS.findall(text) for text in texts]
    told = []
    for index, own in enumerate(parts):
        others: dict[str, set[str]] = {}  # what is said -> how the others write it
        for other in parts[:index] + parts[index + 1 :]:
            for part in other:
                others.setdefault(_said(part), set()).add(part)
        told.append(_html(own, others) if len(texts) > 1 else escape(texts[index]))
    return told


def _said(part: str) -> str:
    """The same for 1,400 and 1400.0, for Blue and blue."""
    number = part.replace(",", "")
    return number.rstrip("0").rstrip(".") if "." in number else number.casefold()


def _html(parts: Sequence[str], others: dict[str, set[str]]) -> str:
    pieces: list[tuple[str, bool]] = []
    for part in parts:
        written = others.get(_said(part), set())
        if part in written or not written:
            pieces.append((part, not written and not part.isspace()))
            continue
        other = min(written)
        start = _alike(part, other)
        end = _alike(part[start:][::-1], other[start:][::-1])
        pieces += [(part[:start], False), (part[start : len(part) - end], True), (part[len(part) - end :], False)]
    pieces = [piece for piece in pieces if piece[0]]
    for at in range(1, len(pieces) - 1):  # a space between two marked words belongs to them
        if pieces[at][0].isspace() and pieces[at - 1][1] and pieces[at + 1][1]:
            pieces[at] = (pieces[at][0], True)
    return "".join(
        f"<mark>{text}</mark>" if alone else text
        for alone, run in groupby(pieces, key=lambda piece: piece[1])
        for text in [escape("".join(one for one, _ in run))]
    )


def _alike(one: str, other: str) -> int:
    """How many characters both begin with."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
