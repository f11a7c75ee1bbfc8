"""Proof that the app does not fall over: a campaign writes a file each, `python -m bench.reliability` the page."""

import json
import os
import platform
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "bench" / "results" / "reliability"
PAGE = ROOT / "docs" / "reliability.md"
# File of a campaign, in the order of the page -> what it is called before it was run.
CAMPAIGNS = {
    "load": "Load",
    "pictures": "Pictures",
    "values": "Impossible values",
    "kills": "Faults and kills",
    "requests": "Requests",
    "attack": "Hostile files and inputs",
    "supply": "Supply and secrets",
    "campaign": "Long runs of the tests",
}


def table(caption: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> dict[str, Any]:
    """A table as the files hold it; every cell is printed as `str` gives it."""
    return {"caption": caption, "columns": list(columns), "rows": [list(row) for row in rows]}


def save(name: str, title: str, command: str, tables: Sequence[dict[str, Any]], notes: Sequence[str] = ()) -> Path:
    """Write what the campaign `name` (a key of CAMPAIGNS) found, with the machine and the day; returns the file."""
    found = {
        "title": title,
        "command": command,
        "measured_on": {
            "cpu": f"{os.cpu_count()} cores, {platform.machine()}",
            "python": platform.python_version(),
            "date": datetime.now(timezone.utc).date().isoformat(),
        },
        "tables": list(tables),
        "notes": list(notes),
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def page(folder: Path = RESULTS) -> str:
    """The page as Markdown: what the files in `folder` say, in the order of CAMPAIGNS, and which of them are missing.

    Raises KeyError and ValueError for a file that is not as `save` writes it.
    """
    parts = [
        "# Reliability",
        "Written by `python -m bench.reliability` from `bench/results/reliability`; each part names the command that "
        "made its file.",
    ]
    for name, title in CAMPAIGNS.items():
        path = folder / f"{name}.json"
        if not path.exists():
            parts += [f"## {title}", f"Not measured: `{name}.json` is missing."]
            continue
        found = json.loads(path.read_text(encoding="utf-8"))
        on = found["measured_on"]
        parts += [f"## {found['title']}", f"`{found['command']}` · {on['cpu']} · Python {on['python']} · {on['date']}"]
        for one in found["tables"]:
            parts += [f"**{one['caption']}**", _lines(one["columns"], one["rows"])]
        parts += ["\n".join(f"- {note}" for note in found["notes"])] if found["notes"] else []
    return "\n\n".join(parts) + "\n"


def _lines(columns: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; a column of nothing but numbers stands at the right."""
    right = [bool(rows) and all(isinstance(row[place], int | float) for row in rows) for place in range(len(columns))]
    ruler = "|".join("---:" if numbers else "---" for numbers in right)
    return "\n".join([_line(columns), f"|{ruler}|", *map(_line, rows)])


def _line(cells: Sequence[object]) -> str:
    return f"| {' | '.join(str(cell).replace('|', chr(92) + '|').replace(chr(10), ' ') for cell in cells)} |"
