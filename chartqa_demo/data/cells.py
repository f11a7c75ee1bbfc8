"""The cells of a table of questions: which column is which, and the text that was written in them.

"0.10" stays "0.10" and "NA" stays "NA": an answer is compared as it was written, so nothing here guesses a type.
"""

import ast
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from chartqa_demo.errors import DatasetError, shown, whole

Kind = Literal["human", "machine", "unknown"]
KINDS: tuple[Kind, ...] = ("human", "machine")

# Usual names, ChartQA's own on the Hub first (HuggingFaceM4/ChartQA, lmms-lab/ChartQA, its original release).
IMAGE_COLUMNS = ("image", "file_name", "image_path", "imgname", "filename", "image_file", "img", "path")
QUESTION_COLUMNS = ("query", "question")
ANSWER_COLUMNS = ("label", "answer", "answers", "gold")
KIND_COLUMNS = ("human_or_machine", "type", "split")
NO_COLUMN = "none"  # --answer-column none: ask, do not score

SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "validation", "valid", "dev"), "val"),
    **dict.fromkeys(("test", "testing", "eval"), "test"),
}
MAX_CELL = 10_000  # characters of a question or an answer; the longest of ChartQA has 300


@dataclass(frozen=True)
class Columns:
    """Names of columns; as a wish, None stands for the usual names, and answer "none" for no gold answers."""

    image: str | None = None
    question: str | None = None
    answer: str | None = None
    kind: str | None = None

    def told(self) -> str:
        """ "image_path, question, answer" """
        return ", ".join(name for name in (self.image, self.question, self.answer) if name)


def find_columns(present: Sequence[str], wish: Columns, where: str) -> Columns:
    """The columns of a table. Raises DatasetError naming the missing one and those there are."""
    return Columns(
        _column(present, IMAGE_COLUMNS, wish.image, "image", where),
        _column(present, QUESTION_COLUMNS, wish.question, "question", where),
        None if wish.answer == NO_COLUMN else _column(present, ANSWER_COLUMNS, wish.answer, "answer", where),
        _usual(present, KIND_COLUMNS),
    )


def is_table_of_questions(present: Sequence[str], wish: Columns) -> bool:
    """Whether a table has pictures and questions; a folder may hold other tables, such as the data behind a chart."""
    image, question = ([wish.image] if wish.image else IMAGE_COLUMNS, [wish.question] if wish.question else None)
    return bool(_usual(present, image) and _usual(present, question or QUESTION_COLUMNS))


def is_list_of_pictures(present: Sequence[str], wish: Columns) -> bool:
    """Whether a table names pictures and nothing else."""
    return len(present) == 1 and bool(_usual(present, [wish.image] if wish.image else IMAGE_COLUMNS))


def answers(cell: object) -> tuple[str, ...]:
    """The accepted answers of a cell: a list holds several, anything else is one; empty where there is none."""
    if isinstance(cell, str) and re.match(r"\s*\[\s*['\"]", cell):  # a list as pandas or JSON writes it into a CSV
        cell = _read_list(cell)
    if isinstance(cell, list | tuple) or hasattr(cell, "tolist"):
        texts = [written(one) for one in cell]  # pyright: ignore[reportGeneralTypeIssues] (an array iterates)
    else:
        texts = [written(cell)]
    return tuple(text for text in texts if text.strip())


def fault_of(question: object, answer: object) -> str | None:
    """Why nothing can be asked with these two cells of a row, as a clause; None where it can."""
    if _nested(question):
        return f"its question is {json.dumps(question, default=str)[:80]}, which is no text"
    if not (text := written(question).strip()):
        return "its question is empty"
    if _nested(answer) and (not isinstance(answer, list | tuple) or any(map(_nested, answer))):
        return f"its answer is {json.dumps(answer, default=str)[:80]}, which is no text and no list of texts"
    if max(map(len, (text, *answers(answer)))) > MAX_CELL:
        return f"its text has more than {MAX_CELL:,} characters"
    return None


def _nested(cell: object) -> bool:
    return isinstance(cell, list | tuple | dict | bytes)


def written(cell: object) -> str:
    """The text of one cell: numbers as they are written, true and false as JSON has them, "" for nothing."""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return ""
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, dict | list):
        cell = json.dumps(cell, ensure_ascii=False)
    return whole(str(cell))


def kind_of(cell: object) -> Kind:
    """ChartQA's 0 is human, 1 machine; lmms-lab writes "human_test" and "augmented_test", others "test_human"."""
    text = written(cell).strip().lower()
    if text in ("0", "0.0") or "human" in text:
        return "human"
    return "machine" if text in ("1", "1.0") or "augmented" in text or "machine" in text else "unknown"


def usual_split(name: str) -> str:
    """The split's name as used here, "val" for "validation"; a name that is no usual one as it is."""
    return SPLIT_NAMES.get(name.lower(), name)


def split_of(text: str) -> str | None:
    """The split that a file, folder or cell is named after: "test_human" and "data/test-00000" are of test."""
    for token in re.split(r"[^a-z]+", text.lower()):
        if token in SPLIT_NAMES:
            return SPLIT_NAMES[token]
    return None


def read_json(text: str) -> Any:
    """JSON whose numbers stay the text that was written. Raises ValueError; RecursionError is one, too."""
    try:
        return json.loads(text, parse_int=str, parse_float=str, parse_constant=lambda _: None)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def cell_of(row: Mapping[str, object], column: str | None) -> object:
    """The cell of a column, None where the table has no such column."""
    return None if column is None else row.get(column)


def _read_list(text: str) -> object:
    if len(text) > MAX_CELL:
        return text
    for read in (read_json, ast.literal_eval):
        try:
            found = read(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
        if isinstance(found, list) and all(isinstance(one, str | int | float | bool) for one in found):
            return found
    return text


def _usual(present: Sequence[str], names: Sequence[str]) -> str | None:
    by_name = {str(name).strip().lower(): name for name in reversed(present)}
    return next((by_name[name.lower()] for name in names if name.lower() in by_name), None)


def _column(present: Sequence[str], names: Sequence[str], wish: str | None, what: str, where: str) -> str:
    found = _usual(present, (wish,) if wish else names)
    if found is None:
        missing = wish or {"question": "query", "answer": "label"}.get(what, what)
        extra = ", or ask without scoring: --answer-column none" if what == "answer" else ""
        raise DatasetError(
            f"{where} has no column “{missing}” (its columns are {shown(', '.join(map(str, present)) or 'none')}); "
            f"usual names are {', '.join(names[:4])}. Say which one it is with --{what}-column NAME{extra}."
        )
    return found
