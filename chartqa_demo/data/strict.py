"""JSON that somebody else may have written: an ordinary file of bounded size, values of the types that were named.

Every reader of results, recorded answers and corrections comes by here, so that a damaged or hostile file is one
ValueError, whatever is in it: what passes can be computed with, encoded, and sent to a page.
"""

import json
import os
import stat
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from chartqa_demo.errors import shown

MAX_FILE = 256 * 2**20  # bytes; ChartQA's train split, asked to six arms, has a third
MAX_TEXT, MAX_DEPTH, MAX_NUMBER = 10**6, 20, 2**53
Row = TypeVar("Row")


def bytes_of(path: Path, most: int = MAX_FILE) -> bytes:
    """What is in a file. Raises OSError, and ValueError for a pipe or device, and over `most` bytes."""
    nowait = getattr(os, "O_NONBLOCK", 0)  # else opening a pipe waits for who writes into it
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | nowait)) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError("it is no ordinary file")
        data = file.read(most + 1)
    if len(data) > most:
        raise ValueError(f"it has more than {most:,} bytes")
    return data


def from_json(text: str | bytes) -> Any:
    """What a text of JSON in UTF-8 holds. Raises ValueError, also for half of a pair, which JSON can hold escaped."""
    text = text.decode() if isinstance(text, bytes) else text
    try:
        found = json.loads(text)
        if "\\ud" in text.lower():
            json.dumps(found, ensure_ascii=False).encode()
        return found
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def as_row(kind: type[Row], row: Any) -> Row:
    """A dataclass from the object of its fields. Raises ValueError."""
    check(row, dict[str, Any])
    for name, one in _fields(kind).items():
        if name in row:
            check(row[name], one, name)
    try:
        return kind(**row)
    except TypeError:
        raise ValueError("its fields are others, or some are missing") from None


def check(value: object, kind: Any, name: str = "it") -> None:
    """Raises ValueError where a value is not of a type."""
    if not fits(value, kind):
        raise ValueError(f"{name} is {shown(value)[:80]!r}, of a type or size that it cannot have")


def fits(value: Any, kind: Any, depth: int = 0) -> bool:  # noqa: PLR0911 (a line for each type)
    """Whether a value of JSON is of a type, and of a size to be shown; of Any, the size. A tuple is a list in JSON."""
    origin, inside = get_origin(kind) or kind, get_args(kind)
    if origin is Any:
        origin, inside = type(value), {dict: (str, Any), list: (Any,), tuple: (Any,)}.get(type(value), ())
    if depth > MAX_DEPTH:
        return False
    if origin in (Union, UnionType):
        return any(fits(value, one, depth) for one in inside)
    if origin is Literal:
        return isinstance(value, str) and value in inside
    if origin in (dict, Mapping):
        return isinstance(value, dict) and all(
            fits(key, str) and fits(one, inside[1], depth + 1) for key, one in value.items()
        )
    if origin in (list, tuple):
        return isinstance(value, list | tuple) and all(fits(one, inside[0], depth + 1) for one in value)
    if origin is str:
        return isinstance(value, str) and len(value) <= MAX_TEXT
    if origin in (int, float):
        return type(value) in (int, origin) and abs(value) <= MAX_NUMBER  # NaN is not
    return type(value) is (NoneType if kind is None else origin)


@lru_cache(maxsize=32)
def _fields(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)
