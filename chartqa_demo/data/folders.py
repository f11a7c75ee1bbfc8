"""Charts of one's own: a folder of pictures with tables of questions in whatever layout, or with no questions at all.

Read here, without `datasets`, because a CSV or JSON has to keep the text that was written. Everything is untrusted:
no picture outside the folder is opened, sizes are bounded, a row that cannot be used is named, counted and left out.
"""

import csv
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chartqa_demo.data.cells import (
    SPLIT_NAMES,
    Columns,
    Kind,
    answers,
    cell_of,
    fault_of,
    find_columns,
    is_list_of_pictures,
    is_table_of_questions,
    kind_of,
    read_json,
    split_of,
    written,
)
from chartqa_demo.data.strict import bytes_of
from chartqa_demo.errors import DatasetError
from chartqa_demo.images import MAX_BYTES

TABLES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json")
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")
NOT_QUESTIONS = ("tables", "annotations")  # in ChartQA's original release: the data behind the charts, by thousands
PICTURE_FOLDERS = ("", "png", "images", "imgs", "charts")
MAX_TABLE_BYTES = 64 * 2**20
MAX_FILES, MAX_ROWS, MAX_DEPTH = 200_000, 500_000, 6


@dataclass(frozen=True)
class Row:
    """One question as a table has it. where: "test/metadata.csv line 3"; picture: its file; fault: why it cannot be
    used."""

    where: str
    split: str | None
    picture: Path
    question: str
    gold: tuple[str, ...]
    kind: Kind
    fault: str | None = None


@dataclass(frozen=True)
class Found:
    """What a folder holds. about: tables and columns in words; original: in the layout of ChartQA's release."""

    rows: tuple[Row, ...]
    about: str
    original: bool = False


def read_folder(place: Path, wish: Columns) -> Found:
    """Every question below a folder, or of one table with the pictures beside it. Raises DatasetError."""
    root = (place if place.is_dir() else place.parent).resolve()
    files = list(_files(root))
    pictures = Pictures(root, [file for file in files if file.suffix.lower() in PICTURES])
    tables = [place.resolve()] if place.is_file() else [file for file in files if _may_hold_questions(file, root)]
    rows: list[Row] = []
    read: dict[Path, Columns] = {}
    others: list[tuple[str, list[str]]] = []
    empty: list[str] = []
    for table in tables:
        name = table.relative_to(root).as_posix()
        lines = list(table_lines(table, name))
        if not lines:
            empty.append(name)
            continue
        present = list(dict.fromkeys(key for _, line, _ in lines for key in line))
        if place.is_dir() and is_list_of_pictures(present, wish):
            continue  # the pictures themselves are there
        if place.is_dir() and not is_table_of_questions(present, wish):
            others.append((name, present))
            continue
        read[table] = columns = find_columns(present, wish, name)
        rows += _rows(table, name, lines, columns, pictures)
        if len(rows) > MAX_ROWS:
            raise DatasetError(f"{root.name} has more than {MAX_ROWS:,} questions; split it into several folders.")
    if not rows and others:
        find_columns(others[0][1], wish, f"{root.name}/{others[0][0]}")  # raises: says which column is missing
    if not rows and empty:
        raise DatasetError(f"{root.name}/{empty[0]} holds no rows; it needs one for each question.")
    if not rows:
        return _pictures_alone(pictures)
    about = ", ".join(f"{table.relative_to(root).as_posix()} ({columns.told()})" for table, columns in read.items())
    original = all((columns.image or "").lower() == "imgname" for columns in read.values())
    return Found(tuple(rows), about if len(read) <= 4 else f"{len(read)} tables", original)


def _pictures_alone(pictures: "Pictures") -> Found:
    if not pictures.files:
        raise DatasetError(
            f"{pictures.root.name} holds no pictures and no table of questions. Put pictures into it and beside them "
            "a CSV or JSONL file with the columns image, query and label."
        )
    rows = [
        Row(picture.relative_to(pictures.root).as_posix(), None, picture, "", (), "unknown", _too_large(picture))
        for picture in sorted(pictures.files)
    ]
    return Found(tuple(rows), "pictures without questions")


class Pictures:
    """The pictures below a folder, found by path or by a name that only one of them has."""

    def __init__(self, root: Path, files: Sequence[Path]) -> None:
        self.root, self.files = root, tuple(files)
        self.by_name: dict[str, list[Path]] = {}
        for file in files:
            for name in {file.name, file.stem}:
                self.by_name.setdefault(name, []).append(file)

    def find(self, text: str, beside: Path) -> Path:
        """The picture that a row names, relative to its table or to the folder. Raises DatasetError with the reason."""
        text = text.strip().replace("\\", "/")
        if not text:
            raise DatasetError("it names no picture")
        if "\0" in text or len(text) > 4_000:
            raise DatasetError("its picture's name cannot be one")
        up = ".." in text.split("/")
        places = (
            [beside]
            if up
            else [base / folder for base in dict.fromkeys((beside, self.root)) for folder in PICTURE_FOLDERS]
        )
        for candidate in (place / text for place in places):
            try:
                if candidate.is_file() and (found := candidate.resolve()).is_relative_to(self.root):
                    return found
            except (OSError, ValueError, RuntimeError):
                continue
        named = [] if up else self.by_name.get(text.rsplit("/", 1)[-1], [])
        if len(named) == 1:
            return named[0]
        if named:
            raise DatasetError(f"{len(named)} pictures are called {_short(text)}; give its path in the folder")
        if ".." in text.split("/") or text.startswith("/"):
            raise DatasetError(f"its picture {_short(text)} lies outside of the folder")
        raise DatasetError(f"its picture {_short(text)} is not in the folder")


def _files(root: Path) -> Iterator[Path]:
    """Files below a folder by name, hidden ones and links to folders left out. Raises DatasetError for too many."""
    count = 0
    waiting = [(root, 0)]
    while waiting:
        folder, depth = waiting.pop()
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            raise DatasetError(f"The folder {folder.name} cannot be read: {error.strerror or error}.") from error
        for entry in entries:
            if entry.name.startswith((".", "__MACOSX")):
                continue
            if entry.is_dir(follow_symlinks=False):
                if depth < MAX_DEPTH:
                    waiting.append((Path(entry.path), depth + 1))
                continue
            path = Path(entry.path)
            try:
                if not entry.is_file() or (entry.is_symlink() and not path.resolve().is_relative_to(root)):
                    continue
            except (OSError, RuntimeError):  # a link to itself
                continue
            count += 1
            if count > MAX_FILES:
                raise DatasetError(f"{root.name} holds more than {MAX_FILES:,} files; choose a smaller folder.")
            yield path


def _may_hold_questions(file: Path, root: Path) -> bool:
    inside = file.relative_to(root)
    return file.suffix.lower() in TABLES and not set(inside.parts[:-1]) & set(NOT_QUESTIONS)


def table_lines(table: Path, name: str) -> Iterator[tuple[int, Mapping[str, object], str | None]]:
    """(line or entry number, cells, fault) of a table. Raises DatasetError when the file as a whole is unreadable."""
    suffix = table.suffix.lower()
    if suffix not in TABLES:
        raise DatasetError(f"{name} is no table that can be read; take a CSV, TSV, JSONL, JSON or parquet file.")
    size = table.stat().st_size
    if size > MAX_TABLE_BYTES:
        raise DatasetError(
            f"{name} has {size / 2**20:.0f} MB; tables of at most {MAX_TABLE_BYTES // 2**20} MB are read."
        )
    text = read_text(table, name)
    if suffix in (".csv", ".tsv"):
        return _csv_lines(text, name, suffix)
    return _json_lines(text) if suffix in (".jsonl", ".ndjson") else _json_entries(text, name)


def read_text(file: Path, name: str) -> str:
    """The text of a file in UTF-8 or, with its mark, UTF-16; no byte-order mark. Raises DatasetError."""
    try:
        data = bytes_of(file, MAX_TABLE_BYTES)
        encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise DatasetError(f"{name} is not in UTF-8; save it as “CSV UTF-8”.") from error
    except (OSError, ValueError) as error:
        raise DatasetError(f"{name} cannot be read: {getattr(error, 'strerror', None) or error}.") from error


def _csv_lines(text: str, name: str, suffix: str) -> Iterator[tuple[int, Mapping[str, object], str | None]]:
    head = text.split("\n", 1)[0]
    delimiter = "\t" if suffix == ".tsv" else max(",;\t", key=head.count)
    reader = csv.reader(_with_ends(text), delimiter=delimiter)
    try:
        columns = [column.strip() for column in next(reader, [])]
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            fault = None
            if len(cells) != len(columns):
                fault = f"it has {len(cells)} cells, the head has {len(columns)}"
            yield reader.line_num, dict(zip(columns, cells, strict=False)), fault
    except csv.Error as error:
        raise DatasetError(f"{name} cannot be read as CSV beyond line {reader.line_num}: {error}.") from error


def _with_ends(text: str) -> Iterator[str]:
    """Lines with their ends, divided at line feeds only: U+2028 and U+0085 are letters like others."""
    for line in re.finditer(r"[^\n]*\n|[^\n]+$", text):
        yield line[0].replace("\r\n", "\n")


def _json_lines(text: str) -> Iterator[tuple[int, Mapping[str, object], str | None]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = read_json(line)
        except ValueError as error:
            yield number, {}, f"it is not JSON ({error})"
            continue
        if isinstance(row, dict):
            yield number, row, None
        else:
            yield number, {}, "it is not a JSON object"


def _json_entries(text: str, name: str) -> Iterator[tuple[int, Mapping[str, object], str | None]]:
    try:
        found = read_json(text)
    except ValueError:
        found = None
        if text.count("\n") > 1:  # JSON lines under another name
            yield from _json_lines(text)
            return
    if isinstance(found, dict):
        lists = [
            value for value in found.values() if isinstance(value, list) and all(isinstance(x, dict) for x in value)
        ]
        found = lists[0] if len(lists) == 1 else [found]
    if not isinstance(found, list):
        raise DatasetError(f"{name} holds no list of questions in JSON.")
    for number, row in enumerate(found, start=1):
        yield (number, row, None) if isinstance(row, dict) else (number, {}, "it is not a JSON object")


def _rows(
    table: Path,
    name: str,
    lines: Sequence[tuple[int, Mapping[str, Any], str | None]],
    columns: Columns,
    pictures: Pictures,
) -> Iterator[Row]:
    by_name = split_of(name)
    asked_by = kind_of(table.stem)
    place = "entry" if table.suffix.lower() == ".json" else "line"
    for number, cells, broken in lines:
        asked = cell_of(cells, columns.question)
        question = written(asked).strip()
        answer = cell_of(cells, columns.answer)
        gold = answers(answer)
        if table.suffix.lower() in (".csv", ".tsv"):  # "a.png, May" means May: people write a space behind a comma
            gold = tuple(map(str.strip, gold))
        kind = kind_of(cell_of(cells, columns.kind)) if columns.kind else asked_by
        said = written(cells.get("split")).strip()
        picture, fault = pictures.root, broken or fault_of(asked, answer)
        try:
            picture = pictures.find(written(cell_of(cells, columns.image)), table.parent) if fault is None else picture
        except DatasetError as error:
            fault = str(error)
        fault = fault or _too_large(picture)
        beside = pictures.root if fault else picture.parent
        split = split_of(said) or by_name or split_of(beside.relative_to(pictures.root).as_posix())
        yield Row(f"{name} {place} {number}", split, picture, question, gold, kind, fault)


def _too_large(picture: Path) -> str | None:
    size = picture.stat().st_size if picture.is_file() else 0
    return f"its picture has {size / 2**20:.0f} MB, at most {MAX_BYTES // 2**20} are read" if size > MAX_BYTES else None


def _short(text: str) -> str:
    return text if len(text) <= 80 else text[:79] + "…"


def named_splits(rows: Sequence[Row]) -> list[str]:
    """The splits that the rows name, train first; empty where they name none."""
    return [name for name in dict.fromkeys(SPLIT_NAMES.values()) if any(row.split == name for row in rows)]
