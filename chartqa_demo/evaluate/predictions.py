"""Predictions in the files of other tools: read as an arm beside the engine's own, and written from an evaluation.

    jsonl       our own lines: image, query, label, prediction, split (what this project and others publish)
    csv         the same as a table
    lmms-eval   its samples_chartqa.jsonl: doc, target, resps, filtered_resps
    vlmevalkit  its MODEL_ChartQA_TEST table: index, question, answer, split, prediction (xlsx, tsv or json)

An answer that is null is no answer: its question is not counted for that arm.
"""

import csv
import json
import lzma
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from xml.etree import ElementTree

from chartqa_demo.data.cells import answers, kind_of, written
from chartqa_demo.data.folders import table_lines
from chartqa_demo.data.splits import Example, Kind
from chartqa_demo.errors import DatasetError, ResultsError
from chartqa_demo.evaluate.record import Item, Results

Row = Mapping[str, object]
MAX_SHEET_BYTES = 256 * 2**20  # of a workbook when it is unpacked
SPLITS = {"human": "test_human", "machine": "test_augmented"}
MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"


@dataclass(frozen=True)
class Prediction:
    """One predicted answer. image: file name of the chart, empty where the file does not say it; gold: the accepted
    answers; text: None for no answer."""

    image: str
    question: str
    gold: tuple[str, ...]
    kind: Kind
    text: str | None


@dataclass(frozen=True)
class Predictions:
    """The answers of one file, shown as the arm `name`."""

    name: str
    file_name: str
    predictions: tuple[Prediction, ...]

    def answers_for(self, examples: Sequence[Example]) -> dict[str, str]:
        """Example id -> predicted answer, found by picture and question, or by question and gold answers where the file
        names no pictures. Where a pair occurs several times, its first record belongs to its first example, and so on.
        Raises ResultsError when not one example is found."""
        waiting: dict[tuple[object, str], list[str | None]] = {}
        for one in self.predictions:
            waiting.setdefault((one.image or one.gold, one.question), []).append(one.text)
        found = {}
        for example in examples:
            keys = ((name, example.question) for name in (example.file_name, example.chart, example.gold))
            texts = next((waiting[key] for key in keys if key in waiting), None)
            text = (texts.pop(0) if len(texts) > 1 else texts[0]) if texts else None
            if text is not None:
                found[example.id] = text
        if all(one.text is None for one in self.predictions):
            raise ResultsError(f"{self.file_name} holds no answer: {len(self.predictions):,} predictions, all null.")
        if not found and examples:
            raise ResultsError(
                f"{self.file_name} holds no prediction for any of the {len(examples)} questions; it names charts such "
                f"as “{self.predictions[0].image}”, the data set such as “{examples[0].file_name}”."
            )
        return found

    def examples(self) -> list[Example]:
        """The file's own questions, for scoring it without the charts; "published/17" is line 18."""
        return [
            Example(
                id=f"{Path(self.file_name).stem}/{index}",
                chart=one.image or f"{index}",  # without its name every question is taken for a chart of its own
                question=one.question,
                gold=one.gold,
                kind=one.kind,
                source="",
                read=_no_picture,
                file_name=one.image,
            )
            for index, one in enumerate(self.predictions)
        ]


def read_predictions(argument: str) -> Predictions:
    """The file of a `NAME=FILE` argument. Raises ResultsError with the first line that cannot be read."""
    name, separator, file = argument.partition("=")
    if not separator or not name.strip() or not file:
        raise ResultsError(
            f"--predictions takes NAME=FILE, for example Qwen2.5-VL-7B=predictions.jsonl, not {argument!r}."
        )
    path = Path(file).expanduser()
    predictions = []
    where = path.name
    try:
        for place, row in prediction_rows(path):
            where = f"{place} of {path}"
            predictions.append(Prediction(*read_row(row)))
    except DatasetError as error:
        raise ResultsError(str(error)) from error
    except OSError as error:
        raise ResultsError(f"The predictions in {path} cannot be read: {error}.") from error
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise ResultsError(
            f"{where} is not a prediction ({type(error).__name__}: {error}); each has image, query, label, prediction "
            "and split, or is a row of lmms-eval's samples or of VLMEvalKit's predictions."
        ) from error
    if not predictions:
        raise ResultsError(f"{path} holds no predictions.")
    return Predictions(name.strip(), path.name, tuple(predictions))


def with_predictions(item: Item, answers_for: Mapping[str, Mapping[str, str]]) -> Item:
    """The item with the answers of every file, answers_for: arm -> example id -> answer."""
    if not answers_for or item.error is not None:
        return item
    given, failures = dict(item.answers), dict(item.failures)
    for name, texts in answers_for.items():
        if item.id in texts:
            given[name] = texts[item.id]
        else:
            failures[name] = "There is no recorded prediction for this question."
    return replace(item, answers=given, failures=failures)


def _no_picture() -> bytes:
    raise OSError("Recorded predictions come without their charts.")


# --- files of other tools ---


def prediction_rows(path: Path) -> Iterator[tuple[str, Row]]:
    """(place, cells) of every row of a file of predictions; "Line 3" counts from 1. Raises DatasetError."""
    if path.suffix.lower() == ".xlsx":
        for number, row in enumerate(_sheet(path), start=2):
            yield f"Row {number}", row
        return
    place = "Entry" if path.suffix.lower() == ".json" else "Line"
    for number, row, fault in table_lines(path, path.name):
        if fault:
            raise DatasetError(f"{place} {number} of {path} is not a prediction: {fault}.")
        yield f"{place} {number}", row


def read_row(row: Row) -> tuple[str, str, tuple[str, ...], Kind, str | None]:
    """(file name of the chart or "", question, accepted answers, kind, answer or None) of one row in any format.

    Raises KeyError or TypeError for a row that is no prediction.
    """
    doc = row.get("doc")
    doc = doc if isinstance(doc, Mapping) else {}
    if "filtered_resps" in row or "resps" in row:  # lmms-eval; versions differ in which of them they write
        question = _first(doc, ("question", "query")) or _first(row, ("question", "query", "input", "doc_id"))
        gold = _first(row, ("target",)) if row.get("target") is not None else _first(doc, ("answer", "label"))
        kind = kind_of(_first(doc, ("type", "human_or_machine")))
        text = _innermost(row["filtered_resps"] if "filtered_resps" in row else row["resps"])
        return "", written(question), answers(gold), kind, text
    said = row["prediction"]
    kind = kind_of(row["human_or_machine"] if "human_or_machine" in row else row.get("split", row.get("type")))
    question = row["query"] if "query" in row else row["question"]
    gold = row["label"] if "label" in row else row["answer"]
    image = written(_first(row, ("image", "imgname", "image_path"))) if len(str(row.get("image"))) < 1_000 else ""
    return image.rsplit("/", 1)[-1], written(question), answers(gold), kind, None if said is None else written(said)


def exported(results: Results, arm: str, form: str) -> str:
    """The answers of one arm as another tool writes them; form: one of FORMATS."""
    rows = [item for item in results.items if arm in item.answers]
    return FORMATS[form][1](rows, arm)


def _plain(item: Item, arm: str) -> dict[str, object]:
    return {
        "image": item.chart,
        "query": item.question,
        "label": item.gold[0] if len(item.gold) == 1 else list(item.gold),
        "prediction": item.answers[arm],
        "split": SPLITS.get(item.kind, "test"),
    }


def _as_jsonl(items: Sequence[Item], arm: str) -> str:
    return "".join(json.dumps(_plain(item, arm), ensure_ascii=False) + "\n" for item in items)


def _as_csv(items: Sequence[Item], arm: str) -> str:
    rows = [[written(cell) for cell in _plain(item, arm).values()] for item in items]
    return _table(["image", "query", "label", "prediction", "split"], rows, ",")


def _as_lmms_eval(items: Sequence[Item], arm: str) -> str:
    lines = []
    for number, item in enumerate(items):
        answer, gold = item.answers[arm], item.gold[0] if item.gold else ""
        right = float(bool(item.correct(arm, "canonical")))
        kind = {"human": "human_test", "machine": "augmented_test"}.get(item.kind, "")
        row: dict[str, object] = {"doc_id": number, "doc": {"type": kind, "question": item.question, "answer": gold}}
        row |= {"target": gold, "resps": [[answer]], "filtered_resps": [answer], "relaxed_overall": right}
        if kind:
            row["relaxed_human_split" if item.kind == "human" else "relaxed_augmented_split"] = right
        lines.append(json.dumps(row, ensure_ascii=False) + "\n")
    return "".join(lines)


def _as_vlmevalkit(items: Sequence[Item], arm: str) -> str:
    rows = [
        [str(number), item.question, written(list(item.gold) if len(item.gold) > 1 else "".join(item.gold)),
         SPLITS.get(item.kind, "test"), item.answers[arm]]
        for number, item in enumerate(items)
    ]  # fmt: skip
    return _table(["index", "question", "answer", "split", "prediction"], rows, "\t")


FORMATS: dict[str, tuple[str, Callable[[Sequence[Item], str], str]]] = {  # name -> end of the file's name, writer
    "jsonl": ("jsonl", _as_jsonl),
    "csv": ("csv", _as_csv),
    "lmms-eval": ("samples_chartqa.jsonl", _as_lmms_eval),
    "vlmevalkit": ("ChartQA_TEST.tsv", _as_vlmevalkit),
}


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], delimiter: str) -> str:
    text = StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return text.getvalue()


def _first(row: Row, names: Sequence[str]) -> object:
    return next((row[name] for name in names if row.get(name) is not None), None)


def _innermost(cell: object) -> str | None:
    """The first text of lmms-eval's lists of lists."""
    while isinstance(cell, list):
        cell = cell[0] if cell else None
    return None if cell is None else written(cell)


def _sheet(path: Path) -> Iterator[Row]:
    """The rows of a workbook's first sheet, an empty cell None. Raises DatasetError."""
    try:
        with zipfile.ZipFile(path) as book:
            if sum(part.file_size for part in book.infolist()) > MAX_SHEET_BYTES:
                raise DatasetError(f"{path.name} is larger than {MAX_SHEET_BYTES // 2**20} MB when unpacked.")
            names = sorted(name for name in book.namelist() if re.fullmatch(r"xl/worksheets/sheet\d+\.xml", name))
            shared: list[str] = []
            if "xl/sharedStrings.xml" in book.namelist():
                texts = ElementTree.fromstring(book.read("xl/sharedStrings.xml"))
                shared = ["".join(part.text or "" for part in one.iter(f"{MAIN}t")) for one in texts.iter(f"{MAIN}si")]
            sheet = ElementTree.fromstring(book.read(names[0]))
    except (
        OSError,
        ValueError,
        zipfile.BadZipFile,
        zlib.error,
        lzma.LZMAError,
        EOFError,
        ElementTree.ParseError,
        IndexError,
        RuntimeError,
    ) as error:
        raise DatasetError(f"{path.name} cannot be read as a workbook: {error}.") from error
    rows = [
        {re.sub(r"\d", "", cell.get("r", "")): _cell(cell, shared) for cell in row.iter(f"{MAIN}c")}
        for row in sheet.iter(f"{MAIN}row")
    ]
    head = {place: name for place, name in (rows[0] if rows else {}).items() if name}
    for row in rows[1:]:
        yield {name: row.get(place) for place, name in head.items()}


def _cell(cell: ElementTree.Element, shared: Sequence[str]) -> str | None:
    value = cell.find(f"{MAIN}v")
    if cell.get("t") == "inlineStr":
        return "".join(part.text or "" for part in cell.iter(f"{MAIN}t"))
    if value is None or value.text is None:
        return None
    return shared[int(value.text)] if cell.get("t") == "s" else value.text
