"""Where the arms of an evaluation disagree: which questions to look at, in an order nobody chose by hand."""

import random
from collections.abc import Sequence
from typing import Literal

from chartqa_demo.evaluate.record import Item, Results

Order = Literal["id", "random"]

ANY, DIFFER, CHANGED, NONE_RIGHT, ALL_RIGHT, FAILED = "any", "differ", "changed", "none right", "all right", "failed"
ONLY = "only "


def filters(results: Results) -> list[tuple[str, str]]:
    """(what a reader sees, value) of every filter by who is right."""
    titles = {key: str(arm["title"]) for key, arm in results.settings["arms"].items()}
    return [
        ("All questions", ANY),
        ("Right and wrong answers", DIFFER),
        *((f"Only {title} is right", ONLY + arm) for arm, title in titles.items()),
        ("All arms wrong", NONE_RIGHT),
        ("All arms right", ALL_RIGHT),
        ("Different words", CHANGED),
        ("Not answered", FAILED),
    ]


def select(
    results: Results,
    rule: str,
    who: str = ANY,
    kind: str | None = None,
    source: str | None = None,
    order: Order = "id",
    seed: int = 0,
) -> list[Item]:
    """The items that pass every filter, in the order of the data set or shuffled by `seed`.

    The shuffle is taken before the filters, so narrowing a filter never brings another item forward. Raises ValueError
    for a `who` that is none of `filters`.
    """
    if who not in {value for _, value in filters(results)}:
        raise ValueError(f"There is no filter “{who}”.")
    items: Sequence[Item] = results.items
    if order == "random":
        items = random.Random(seed).sample(items, len(items))
    return [
        item
        for item in items
        if kind in (None, item.kind) and source in (None, item.source) and _passes(results, item, rule, who)
    ]


def sources(results: Results) -> list[str]:
    """The chart sources of an evaluation, in alphabetical order."""
    return sorted({item.source for item in results.items if item.source})


def _passes(results: Results, item: Item, rule: str, who: str) -> bool:
    verdicts = results.verdicts(rule)
    right = {arm: verdicts[arm][item.id] for arm in results.arms if item.id in verdicts[arm]}
    answered = bool(right)
    passes = {
        ANY: True,
        DIFFER: len(set(right.values())) > 1,
        CHANGED: len({text.strip() for text in item.answers.values()}) > 1,
        NONE_RIGHT: answered and not any(right.values()),
        ALL_RIGHT: answered and all(right.values()),
        FAILED: item.error is not None or bool(item.failures),
    }
    if who in passes:
        return passes[who]
    return [arm for arm, good in right.items() if good] == [who.removeprefix(ONLY)]
