"""Corrected answers as rows to train on: a picture, a question, the right answer, who said it and when.

They are kept as an image folder (`metadata.jsonl` beside the pictures) with ChartQA's columns, so that the folder, or
an exported ZIP of it, is what `--dataset` opens. Of one question about one picture, known by its pixels, the last word
counts. Everything but `Kept` is a pure function.
"""

import base64
import json
import re
import threading
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from chartqa_demo.data.strict import bytes_of, check, from_json
from chartqa_demo.errors import DatasetError
from chartqa_demo.images import pixels_of, shrink
from chartqa_demo.settings import DEFAULT_MAX_PIXELS

ROWS_FILE = "metadata.jsonl"
MOST_ROWS = 2_000
LOSSLESS_BYTES = 400_000  # a photograph of a chart is much larger without loss, and no clearer
BROWSER_BYTES = 2_500_000  # of pictures in base64: a browser keeps about 5 MB for a page, the history among it

NO_ROOM = "This browser has no room for more corrections. Download them, delete them here, and go on."
# As a browser's script has it, which names what it keeps by the question: `nameOf` in ui/browser/corrections.js. To
# Python alone U+001C to U+001F and U+0085 are white space, to a browser alone U+FEFF.
SPACES = re.compile("[\t-\r \xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff]+")


@dataclass(frozen=True)
class Correction:
    """chart: hash of the picture's pixels; answer: empty where only the gold answer is known to be wrong; said_by:
    "visitor", or the arm whose answer was accepted; at: ISO time; gold: what the data set says."""

    chart: str
    question: str
    answer: str
    said_by: str
    at: str
    gold: tuple[str, ...] = ()
    gold_is_wrong: bool = False

    @property
    def file_name(self) -> str:
        """The picture's file."""
        return f"{self.chart}.webp"


def pixels_id(image: Image.Image) -> str:
    """16 hexadecimal digits of the hash of a picture's pixels: the same chart in another file is the same chart."""
    return pixels_of(image)[:16]


def encoded(image: Image.Image) -> bytes:
    """The picture as it is kept: WebP without loss, at most as large as a model reads it."""
    small = shrink(image.convert("RGB"), DEFAULT_MAX_PIXELS)
    for options in ({"lossless": True}, {"quality": 90}):
        buffer = BytesIO()
        small.save(buffer, "WEBP", **options)
        if buffer.tell() <= LOSSLESS_BYTES:
            break
    return buffer.getvalue()


def one_line(question: str) -> str:
    """By which a question is known: without the white space around it, and one space for what is inside."""
    return SPACES.sub(" ", question).strip(" ")


def with_correction(rows: Sequence[Correction], new: Correction) -> tuple[Correction, ...]:
    """The rows with one more, the newest first; an earlier one of the same question about the same chart goes."""
    return (new, *without(rows, new))


def without(rows: Sequence[Correction], one: Correction) -> tuple[Correction, ...]:
    """The rows without those of one's question about its chart."""
    return tuple(row for row in rows if _key(row) != _key(one))


def trainable(rows: Sequence[Correction]) -> tuple[Correction, ...]:
    """The rows that have an answer to learn."""
    return tuple(row for row in rows if row.answer.strip())


def to_lines(rows: Sequence[Correction]) -> str:
    """`metadata.jsonl` with ChartQA's columns, and with what is known of each row beside them."""
    return "".join(json.dumps(_line(row), ensure_ascii=False) + "\n" for row in rows)


def from_lines(text: str) -> tuple[Correction, ...]:
    """The rows of `to_lines`. Raises DatasetError for a line that is none: nothing of a person's is overwritten."""
    rows = []
    for number, line in enumerate(filter(str.strip, text.split("\n")), start=1):
        try:
            rows.append(_read(from_json(line)))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            told = f"{type(error).__name__}: {error}"[:200]
            raise DatasetError(f"Line {number} of {ROWS_FILE} is not a correction ({told}); mend it.") from error
    return tuple(rows)


def zipped(rows: Sequence[Correction], pictures: Mapping[str, bytes]) -> bytes:
    """The rows to learn from and their pictures as a ZIP, which unpacked is a folder for `--dataset`."""
    rows = trainable(rows)
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(ROWS_FILE, to_lines(rows))
        for name in sorted({row.file_name for row in rows} & pictures.keys()):
            archive.writestr(name, pictures[name])
    return buffer.getvalue()


def difference(before: object, after: object) -> dict[str, Any]:
    """What a browser that has stored `before` changes to have `after`: rows that come or change, rows that go, and the
    pictures that are new. Rows that it has stored meanwhile stay."""
    had, has = ({_key(row): row for row in _from_browser(stored)} for stored in (before, after))
    held = _pictures(before)
    return {
        "put": [_line(row) for key, row in reversed(has.items()) if had.get(key) != row],
        "gone": [_line(row) for key, row in had.items() if key not in has],
        "pictures": {name: text for name, text in _pictures(after).items() if held.get(name) != text},
    }


@dataclass
class Kept:
    """Where corrections are kept: in a folder of this machine or, folder None, in the visitor's browser, whose stored
    value then goes in and out of every call; what comes out is to replace it, see `difference`."""

    folder: Path | None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def rows(self, stored: object) -> tuple[Correction, ...]:
        """All corrections, the newest first. Raises DatasetError for a damaged file."""
        if self.folder is None:
            return tuple(_from_browser(stored))
        try:
            return from_lines(bytes_of(self.folder / ROWS_FILE).decode())
        except FileNotFoundError:
            return ()
        except DatasetError:
            raise
        except (OSError, ValueError) as error:
            raise DatasetError(f"The corrections in {self.folder.name} cannot be read: {error}.") from error

    def pictures(self, stored: object, rows: Sequence[Correction]) -> dict[str, bytes]:
        """The pictures of these rows by file name; one that is lost is left out."""
        found, held = {}, _pictures(stored)
        for name in {row.file_name for row in rows}:
            if self.folder is None:
                data = _bytes(held.get(name))
            else:
                file = self.folder / name
                data = file.read_bytes() if file.is_file() else b""
            if data:
                found[name] = data
        return found

    def add(self, stored: object, new: Correction, picture: Image.Image) -> object:
        """What the browser is to store with one row more. Raises DatasetError where there is no room."""
        with self.lock:
            rows = with_correction(self.rows(stored), new)
            if len(rows) > MOST_ROWS:
                raise DatasetError(f"{MOST_ROWS:,} corrections are kept already. Download them and delete some.")
            return self._write(stored, rows, {new.file_name: encoded(picture)})

    def remove(self, stored: object, one: Correction) -> object:
        """The same with one row less."""
        with self.lock:
            return self._write(stored, without(self.rows(stored), one), {})

    def change(self, stored: object, one: Correction) -> object:
        """The same with the row of this chart and question replaced, where it stands; nothing where it is gone."""
        with self.lock:
            rows = tuple(one if _key(row) == _key(one) else row for row in self.rows(stored))
            return self._write(stored, rows, {})

    def _write(self, stored: object, rows: Sequence[Correction], new: Mapping[str, bytes]) -> object:
        named = {row.file_name for row in rows}
        if self.folder is None:
            pictures = {name: text for name, text in _pictures(stored).items() if name in named}
            pictures |= {name: base64.b64encode(data).decode() for name, data in new.items()}
            if sum(map(len, pictures.values())) > BROWSER_BYTES:
                raise DatasetError(NO_ROOM)
            return {"rows": [_line(row) for row in rows], "pictures": pictures}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for name, data in new.items():
                (self.folder / name).write_bytes(data)
            draft = self.folder / f".{ROWS_FILE}.part"
            draft.write_text(to_lines(rows), encoding="utf-8")
            draft.replace(self.folder / ROWS_FILE)
            for file in self.folder.glob("*.webp"):
                if re.fullmatch(r"[0-9a-f]{16}\.webp", file.name) and file.name not in named:
                    file.unlink()
        except OSError as error:
            raise DatasetError(f"The correction could not be written to {self.folder.name}: {error}.") from error
        return stored


def _key(row: Correction) -> tuple[str, str]:
    return row.chart, one_line(row.question)


def _line(row: Correction) -> dict[str, Any]:
    return {
        "file_name": row.file_name,
        "query": row.question,
        "label": [row.answer] if row.answer else [],
        "human_or_machine": 0,
        "said_by": row.said_by,
        "said_at": row.at,
        "gold_before": list(row.gold),
        "gold_is_wrong": row.gold_is_wrong,
    }


def _read(line: dict[str, Any]) -> Correction:
    check(line, dict[str, Any], "the line")
    check(line["label"], list[str], "the label")
    answer = line["label"][0] if line["label"] else ""
    gold, texts = line["gold_before"], (line["query"], answer, line["said_by"], line["said_at"])
    check([list(texts), gold], list[list[str]], "a cell")
    if not re.fullmatch(r"[0-9a-f]{16}\.webp", line["file_name"]):
        raise ValueError("its cells are not those of a correction")
    question, answer, said_by, at = texts
    chart = line["file_name"].removesuffix(".webp")
    return Correction(chart, question, answer, said_by, at, tuple(map(str, gold)), line["gold_is_wrong"] is True)


def _from_browser(stored: object) -> Iterator[Correction]:
    """What a browser has stored can be anything: what is no correction is dropped."""
    rows = stored.get("rows") if isinstance(stored, dict) else None
    for line in rows[:MOST_ROWS] if isinstance(rows, list) else ():
        try:
            yield _read(line)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            continue


def _pictures(stored: object) -> dict[str, str]:
    found = stored.get("pictures") if isinstance(stored, dict) else None
    return {str(name): one for name, one in found.items() if isinstance(one, str)} if isinstance(found, dict) else {}


def _bytes(text: str | None) -> bytes:
    try:
        return base64.b64decode(text or "", validate=True)
    except ValueError:
        return b""
