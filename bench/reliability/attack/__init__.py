"""A second attack, with files where the first had requests: what lies on the operator's disk, what visitors send, what
the model is asked. `python -m bench.reliability.attack` runs all of it and writes attack.json.

An attempt is a name and what is done, which returns SHOWN, TOLD or ASIDE; whatever else happens is a fault.
"""

import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from typing import Any

import orjson

from chartqa_demo.ui.markup import notice

SHOWN, TOLD, ASIDE = "shown or answered, as text", "refused in a sentence", "set aside, the rest is shown"
Attempt = tuple[str, Callable[[], str]]
Attempts = Iterator[Attempt]
LONGEST = 1_500  # characters of a sentence
FORBIDDEN = re.compile(r"Traceback|object has no attribute|not subscriptable|unexpected keyword|File \"/")
DEEP = "[" * 100_000 + "]" * 100_000


def sentence(error: BaseException) -> str:
    """TOLD, where an error says something to a person and can be sent to a page."""
    text = str(error)
    as_page(notice(text))
    problem = "no words" if not text else "too long" if len(text) > LONGEST else ""
    problem = problem or ("" if text.rstrip("”)").endswith((".", "?")) else "no full stop")
    problem = problem or ("a programmer's words" if FORBIDDEN.search(text) else "")
    if problem:
        raise AssertionError(f"{problem}: {text[:300]!r}")
    return TOLD


class _Marks(HTMLParser):
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        bad = [name for name, value in attrs if name.startswith("on") or "javascript:" in (value or "")]
        if bad or tag in ("script", "iframe", "object", "link", "meta", "base", "form", "style"):
            raise AssertionError(f"a text became markup: <{tag} {bad}>")


def as_text(*shown: Any) -> str:
    """SHOWN, where all of it can be sent to a page."""
    for one in shown:
        orjson.dumps(one, default=str)
    return SHOWN


def as_page(*shown: str) -> str:
    """SHOWN, where all of it can be sent to a page and no text of it becomes markup there."""
    for one in shown:
        marks = _Marks()
        marks.feed(one)
        marks.close()
    return as_text(*shown)
