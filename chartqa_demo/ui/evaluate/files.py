"""The evaluations kept on this machine: a folder with a record (`….jsonl`) and scores (`….json`) for each.

A name that comes from a browser is only used when the folder holds such a file. Of an evaluation whose questions may
not be passed on, only the scores are there.
"""

import json
import logging
import re
import tempfile
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

from chartqa_demo.data.strict import bytes_of, from_json
from chartqa_demo.errors import ResultsError, shown
from chartqa_demo.evaluate.record import Results, read_results
from chartqa_demo.evaluate.rules import RULES
from chartqa_demo.evaluate.tables import Figures, figures_of, figures_of_summary, heading
from chartqa_demo.ui.spreadsheet import as_csv

log = logging.getLogger(__name__)


PRIVATE_RECORD = re.compile(r"upload-[0-9a-f]{32}-[0-9a-f]{8}\.jsonl")


class ResultsFolder:
    """The evaluations in `root`, by the file name of their record, or of their scores where that is all; private: where
    the records of uploads lie, for those who know their names."""

    def __init__(self, root: Path, private: Path | None = None) -> None:
        self.root, self.private = root, private or root
        self.downloads = tempfile.TemporaryDirectory(prefix="chartqa-results-")  # gone with the process

    def names(self, secret: str = "") -> list[tuple[str, str]]:
        """(what a reader sees, file name) of every evaluation, the newest first; secret: of the reader's own upload."""
        found: dict[str, tuple[float, str, str]] = {}
        own = self.private.glob(f"upload-{secret}-*.jsonl") if secret else ()
        for path in [*self.root.glob("*.json"), *self.root.glob("*.jsonl"), *own]:
            try:
                path.name.encode()  # not every name can be sent to a page
                settings, asked = _settings_of(path)
                title = f"{heading(settings)} ({asked:,} asked, {settings.get('date')})"
                found[path.stem] = (path.stat().st_mtime, title, path.name)
            except (OSError, ValueError, KeyError, TypeError) as error:
                log.warning("%s is not a file of results and is not shown: %s", shown(path), error)
        return [(title, name) for _, title, name in sorted(found.values(), reverse=True)]

    def path(self, name: str | None) -> Path | None:
        """The file of that name, None where the folder holds none."""
        if not isinstance(name, str) or Path(name).name != name or Path(name).suffix not in (".json", ".jsonl"):
            return None
        path = self.place(name)
        try:
            return path if path.is_file() else None
        except OSError:  # a name that is too long
            return None

    def place(self, name: str) -> Path:
        """Where the file of that name is or will be."""
        return (self.private if PRIVATE_RECORD.fullmatch(name) else self.root) / name

    def results(self, name: str | None) -> Results | None:
        """The answers of an evaluation; None where only its scores are kept, or nothing of that name."""
        path = self.path(name)
        if path is None or path.suffix == ".json":
            return None
        try:
            return _read(path)
        except (ResultsError, OSError) as error:
            log.warning("%s cannot be shown: %s", shown(path), error)
            return None

    def figures(self, name: str | None, rule: str) -> Figures | None:
        """The figures of an evaluation, from its scores where these are up to date and know `rule`, else from the
        answers; without answers, whatever rules the scores know."""
        path = self.path(name)
        if path is None:
            return None
        scores, known = path.with_suffix(".json"), None
        if scores.exists() and (path == scores or scores.stat().st_mtime_ns >= path.stat().st_mtime_ns):
            try:
                known = figures_of_summary(from_json(bytes_of(scores)))
                if rule in known.scores:
                    return known
            except (OSError, ValueError, KeyError, TypeError) as error:
                log.warning("%s is not a file of scores, the answers are used: %s", shown(scores), error)
        results = self.results(name)
        return known if results is None else figures_of(results, list(dict.fromkeys((rule, "canonical", "tolerant"))))

    def seconds_per_question(self, model: str) -> float | None:
        """How long `model` took per question in its newest evaluation here."""
        for _, name in self.names():
            results = self.results(name)
            if results is not None and results.settings.get("model") == model:
                timed = [item.seconds for item in results.items if item.seconds is not None]
                if timed:
                    return sum(timed) / len(timed)
        return None

    def write_downloads(self, name: str | None) -> tuple[str | None, str | None]:
        """Paths of a CSV and a JSON file with everything about an evaluation; None where its answers are not kept."""
        results = self.results(name)
        if name is None or results is None:
            return None, None
        # Those of an upload lie below its record, and are deleted with it.
        folder = self.private / "downloads" if PRIVATE_RECORD.fullmatch(name) else Path(self.downloads.name)
        folder.mkdir(exist_ok=True)
        csv_file, json_file = (folder / f"{Path(name).stem}.{ending}" for ending in ("csv", "json"))
        _write_whole(csv_file, answers_csv(results))
        everything = {"settings": results.settings, "items": [asdict(item) for item in results.items]}
        _write_whole(json_file, json.dumps(everything, ensure_ascii=False, indent=1))
        return str(csv_file), str(json_file)


def _write_whole(file: Path, text: str) -> None:
    """In one step: another visitor may be taking the same file."""
    with tempfile.TemporaryDirectory(dir=file.parent, prefix=".writing-") as beside:
        draft = Path(beside) / file.name
        draft.write_text(text, encoding="utf-8")
        draft.replace(file)


def answers_csv(results: Results) -> str:
    """One row per question: the answers of every arm and whether they are right under every rule."""
    columns = ["id", "chart", "kind", "source", "question", "gold"]
    columns += [f"{arm} {what}" for arm in results.arms for what in ("answer", *RULES)]
    rows = []
    for item in results.items:
        row: list[Any] = [item.id, item.chart, item.kind, item.source, item.question, " or ".join(item.gold)]
        for arm in results.arms:
            row += [item.answers.get(arm, ""), *(item.correct(arm, rule) for rule in RULES)]
        rows.append([*row, item.error])
    return as_csv([*columns, "error"], rows)


def _settings_of(path: Path) -> tuple[dict[str, Any], int]:
    """Settings of an evaluation and how many questions it asked. Raises what a file that is none gives."""
    if path.suffix == ".json":
        figures = figures_of_summary(from_json(bytes_of(path)))
        return dict(figures.settings), figures.asked
    results = _read(path)
    return dict(results.settings), len(results.items)


def _read(path: Path) -> Results:
    state = path.stat()
    return _read_version(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=8)
def _read_version(path: Path, changed: int, size: int) -> Results:
    return read_results(path)
