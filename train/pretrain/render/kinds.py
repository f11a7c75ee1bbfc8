"""The kinds of chart that a table and the questions about it allow."""

import random
import re

from train.pretrain.render.parsing import Given

WORDS = {
    "pie": r"\b(pie|slices?|donut|sectors?)\b",
    "segment": r"\b(segments?|stacked|stack)\b",
    "line": r"\b(lines?|line ?(graph|chart)|peaks?(ed)?|curves?|data points?)\b",
    "bar": r"\b(bars?|column)\b",
    "upright": r"\b(left ?most|right ?most|tallest|from (the )?(left|right))\b",
    "level": r"\b(longest|from (the )?top|top ?most)\b",
}


def said(queries: list[str]) -> set[str]:
    """Which marks the questions name, and whether they stand or lie: keys of WORDS."""
    text = " ".join(queries).lower()
    return {kind for kind, words in WORDS.items() if re.search(words, text)}


def kinds(rng: random.Random, table: Given, words: set[str]) -> list[str]:
    """The kinds of chart that table and questions allow, the likeliest first; words: what the questions name."""
    one = len(table.names) == 1
    return single(rng, table, words) if one else several(rng, table, words)


def single(rng: random.Random, table: Given, words: set[str]) -> list[str]:
    """The kinds for one series: a pie of shares, a line over years, else bars."""
    publisher, time, count = table.publisher, table.time, len(table.categories)
    total = sum(cell or 0.0 for cell in table.values[0])
    pie = table.whole and not time and 2 <= count <= 9 and 97 <= total <= 103 and min(table.cells) > 0
    if pie and "bar" not in words and (words & {"pie", "segment"} or rng.random() < 0.45):
        return ["pie", "pie", "pie"] + (["hbar"] if "pie" not in words else [])
    line = time and count > 2 and "bar" not in words
    if line and ("line" in words or publisher != "Statista" or rng.random() < (0.35 if count > 3 else 0)):
        return ["line"] * 3 + (["bar"] if "line" not in words and publisher == "Statista" else [])
    return bars(rng, table, words)


def bars(rng: random.Random, table: Given, words: set[str]) -> list[str]:
    """The kinds of bars for one series: years stand, and long names lie."""
    publisher, count = table.publisher, len(table.categories)
    if table.time:
        return ["bar", "bar", "hbar"]
    if "upright" in words:
        return ["bar"]
    if "level" in words or (publisher == "OWID" and rng.random() < 0.9):
        return ["hbar"]
    if publisher == "OECD":
        return ["bar", "hbar"] if rng.random() < 0.85 else ["hbar"]
    longest = max(map(len, table.categories))
    return ["hbar", "bar"] if longest > 16 or count > 12 or rng.random() < 0.35 else ["bar", "hbar"]


def several(rng: random.Random, table: Given, words: set[str]) -> list[str]:
    """The kinds for more than one series; none where the questions name lines that the table does not make."""
    statista, time, count = table.publisher == "Statista", table.time, len(table.categories)
    longest = max(map(len, table.categories))
    sums = [sum(cell or 0 for cell in column) for column in zip(*table.values, strict=True)]
    parts = table.whole and table.percent and min(sums) > 84 and max(sums) < 101.6
    line = time and count > 2 and not words & {"bar", "segment"}
    if line and ("line" in words or not statista or (count > 4 and rng.random() < 0.5)):
        return ["line"] * 3
    if "line" in words and "bar" not in words:
        return []
    if "segment" in words and table.whole:
        upright = time or (statista and rng.random() < 0.6)
        return ["stacked", "stacked_h"] if upright else ["stacked_h", "stacked"]
    if parts and rng.random() < 0.5:
        lying = longest > 12 and not time
        return ["stacked_h", "stacked", "grouped"] if lying else ["stacked", "stacked_h", "grouped"]
    lies = statista and "upright" not in words
    if lies and ("level" in words or (not time and (longest > 14 or rng.random() < 0.3))):
        return ["grouped_h", "grouped", "grouped_h"]
    return ["grouped", "grouped_h", "grouped", "grouped_h"]
