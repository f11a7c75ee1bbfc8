"""Questions with their tables as a file has them, read row by row: a bad row costs itself."""

import json
from collections import Counter
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

# Publisher -> the look that its charts are drawn in. Pew's tables were read off its pictures, with errors: left out.
LOOKS = {"Statista": "statista", "OWID": "owid", "OECD": "oecd"}
LARGEST_FILE = 256 << 20  # bytes
LONGEST_TEXT = 500  # characters of a question, a name or a cell
LONGEST_NAME = 150  # characters of a picture's name, which names a file
MOST_COLUMNS, MOST_CELLS, MOST_QUESTIONS = 200, 200, 50  # of a table
BAD_ROW = "of lines that are no question with a table"


class RenderError(ValueError):
    """A file or folder that cannot be used; for the person at the command line."""


class LeftOut(Exception):
    """Why a table or a question is left out."""


@dataclass(frozen=True)
class Asked:
    """A question about a table. columns: (name, cells) each; the first column names the rows."""

    picture: str
    publisher: str
    query: str
    label: str
    columns: tuple[tuple[str, tuple[str, ...]], ...]

    @property
    def stem(self) -> str:
        """The picture's name without its ending."""
        return self.picture.rsplit(".", 1)[0]


def text(value: Any, most: int = LONGEST_TEXT) -> str:
    """A text that can be written. Raises ValueError for anything else."""
    if not isinstance(value, str) or len(value) > most:
        raise ValueError("no text")
    value.encode("utf-8")  # half a surrogate pair raises a ValueError, too
    return value


def asked_of(row: Any) -> Asked:
    """A line's question. Raises ValueError for what is none."""
    if not isinstance(row, dict) or not isinstance(row.get("table_columns"), list):
        raise ValueError("no question with a table")
    columns = []
    for column in row["table_columns"][: MOST_COLUMNS + 1]:
        if not isinstance(column, list) or len(column) != 2 or not isinstance(column[1], list):
            raise ValueError("no column")
        columns.append((text(column[0]), tuple(text(cell) for cell in column[1][: MOST_CELLS + 1])))
    if not 2 <= len(columns) <= MOST_COLUMNS or any(len(cells) > MOST_CELLS for _, cells in columns):
        raise ValueError("no table")
    name = text(row.get("imgname"), LONGEST_NAME)
    return Asked(name, text(row.get("publisher")), text(row.get("query")), text(row.get("label")), tuple(columns))


def tables(file: Path, why: Counter[str]) -> list[list[Asked]]:
    """The questions of a file, those of one table together, in the order of the pictures' names.

    What is left out is counted in `why`. Raises RenderError for a file that cannot be read or is too large.
    """
    try:
        if file.stat().st_size > LARGEST_FILE:
            raise RenderError(f"{file} has more than {LARGEST_FILE >> 20} MiB; tables to draw are smaller.")
        lines = file.read_bytes().splitlines()
    except OSError as error:
        raise RenderError(f"{file} cannot be read: {error.strerror or error}.") from error
    rows: list[Asked] = []
    for line in lines:
        if not line.strip():
            continue
        try:
            one = asked_of(json.loads(line.decode("utf-8")))
        except (ValueError, RecursionError):
            why[BAD_ROW] += 1
            continue
        if one.publisher in LOOKS:
            rows.append(one)
        else:
            why["of other publishers"] += 1
    rows.sort(key=lambda one: one.picture)
    found = [list(group) for _, group in groupby(rows, key=lambda one: one.picture)]
    why["beyond the first of their table"] += sum(max(0, len(group) - MOST_QUESTIONS) for group in found)
    return [group[:MOST_QUESTIONS] for group in found]
