"""Tables as CSV, for spreadsheets, which run cells that begin like a formula."""

import csv
from collections.abc import Iterable, Sequence
from io import StringIO
from typing import Any


def as_csv(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """The table as CSV text with its heading; None is an empty cell. A text that would be run as a formula gets an
    apostrophe in front."""
    buffer = StringIO()
    table = csv.writer(buffer)
    table.writerows([_cell(value) for value in row] for row in (columns, *rows))
    return buffer.getvalue()


def _cell(value: Any) -> Any:
    """A number with a sign is left alone. Excel also runs the wide signs of East Asian keyboards."""
    if not isinstance(value, str) or not value.startswith((*"=+-@\t\r\n＝＋－＠",)):
        return value
    try:
        float(value)
    except ValueError:
        return "'" + value
    return value
