"""What lies on the operator's disk and was made by somebody else: results, answers, adapters, runs, corrections."""

import copy
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from bench.reliability.attack import ASIDE, DEEP, SHOWN, Attempts, as_page, as_text, sentence
from bench.reliability.hostile import TEXTS, nested, values
from chartqa_demo.arms import ARMS
from chartqa_demo.data.corrections import Kept
from chartqa_demo.data.splits import open_split
from chartqa_demo.engines import Options
from chartqa_demo.engines.scripted import ScriptedEngine
from chartqa_demo.errors import DatasetError, RecordedError, ReportError, ResultsError
from chartqa_demo.evaluate.predictions import exported, read_predictions
from chartqa_demo.evaluate.record import compare_records, read_results
from chartqa_demo.evaluate.report import block, measured_line, read_summaries
from chartqa_demo.evaluate.run import measure
from chartqa_demo.space.recorded import RECORDED_FILE, read_recorded
from chartqa_demo.ui.evaluate.disagreements import filters, select, sources
from chartqa_demo.ui.evaluate.files import ResultsFolder
from chartqa_demo.ui.evaluate.scores import item_detail, item_list, scores_section, titles
from chartqa_demo.ui.training.rows import rows_list

HARM = [*values(), *TEXTS.values(), nested(700), 1e999, float("nan"), -1, 1e18, "x" * 100_000]
NAMES = (
    "a\nb",
    "<img src=x onerror=alert(1)>",
    "=1+1",
    "x" * 230,
    "\udcff",
    "{0}",
    ".hidden",
    "-rf",
    "a\u202eb",
    "%2e",
)
TEXT = bytes | str


def places(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something stands in a tree of JSON, itself included."""
    yield path
    inside = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, one in inside:
        yield from places(one, (*path, key))


def spoilt(rng: random.Random, tree: Any) -> tuple[str, Any]:
    """The tree with one place spoilt, and which."""
    path = rng.choice(list(places(tree)))
    new = copy.deepcopy(tree)
    harm = rng.choice(HARM)
    if not path:
        return "all", harm
    inside = new
    for key in path[:-1]:
        inside = inside[key]
    if rng.random() < 0.15:
        del inside[path[-1]]
        return f"no {path}", new
    if rng.random() < 0.15 and isinstance(inside, dict):
        inside[rng.choice([one for one in TEXTS.values() if len(one) < 5000])] = inside.pop(path[-1])
        return f"key {path}", new
    inside[path[-1]] = harm
    return f"{path} = {type(harm).__name__!s} {repr(harm)[:30]}", new


def whole_files(good: str) -> Iterator[tuple[str, TEXT]]:
    """A whole file of something else."""
    yield "empty", ""
    yield "NUL", b"\0" * 5000
    yield "bytes", bytes(range(256)) * 20
    yield "UTF-16", good.encode("utf-16")
    yield "with a mark", b"\xef\xbb\xbf" + good.encode()
    yield "Latin-1", good.encode("ascii", "replace").replace(b"a", b"\xe9", 3)
    yield "100,000 levels", DEEP
    yield "100,000 levels of objects", '{"a":' * 100_000 + "1" + "}" * 100_000
    yield "deep settings", '{"settings": ' + DEEP + "}\n"
    yield "deep second line", good.split("\n", 1)[0] + "\n" + DEEP + "\n"
    yield "unclosed", "[" * 100_000
    yield "cut", good[: len(good) // 2]
    yield "no end", good.rstrip()
    yield "empty lines", "\n" * 20_000
    yield "returns", good.replace("\n", "\r\n")
    yield "doubled", good + good
    yield "twice the key", good.replace("{", '{"settings": 1, "settings": {}, ', 1)
    yield "numbers", "9" * 5000 + "\n"
    yield "a long line", '"' + "x" * 20_000_000 + '"\n'
    for name, one in {"list": "[]", "null": "null", "text": '"x"', "object": "{}", "number": "7", "NaN": "NaN"}.items():
        yield name, one + "\n"


def put(path: Path, what: TEXT) -> Path:
    """The file, written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(what if isinstance(what, bytes) else what.encode("utf-8", "surrogatepass"))
    return path


def _hollow(path: Path) -> None:
    path.touch()
    os.truncate(path, 10**11)


# What is no file, under its name.
NO_FILES: dict[str, Callable[[Path], object]] = {
    "a folder": Path.mkdir,
    "a pipe": os.mkfifo,
    "a link to itself": lambda path: path.symlink_to(path),
    "a link to nothing": lambda path: path.symlink_to("/nowhere/at/all"),
    "a link to zeros": lambda path: path.symlink_to("/dev/zero"),
    "a link to another file": lambda path: path.symlink_to("/etc/hostname"),
    "100 GB of nothing": _hollow,
}


def lines_of(rows: list[Any]) -> str:
    """JSON lines, whatever they hold."""
    return "".join(json.dumps(row, default=str) + "\n" for row in rows)


def fresh(folder: Path) -> Path:
    """The folder, empty."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


# --- results ---


def a_record(folder: Path) -> tuple[list[Any], dict[str, Any]]:
    """The lines of a small evaluation, and its scores."""
    engine = ScriptedEngine(delay=0)
    engine.adapter = "bundled"
    path = folder / "one.jsonl"
    measure(engine, open_split("bundled").examples[:3], ARMS, Options(), path)
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    lines[1]["confidence"] = {"pretrained": 0.5}
    lines[1]["log_probabilities"] = {"pretrained": -0.5}
    lines[2]["failures"] = {"adapter": "It failed."}
    return lines, json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))


def look(root: Path, beside: str) -> str:
    """Everything that the page makes of a folder of results; beside: a good evaluation there, which has to be shown."""
    folder = ResultsFolder(root)
    names = folder.names()
    shown: list[Any] = [names, measured_line(root, "scripted", "bundled"), folder.seconds_per_question("x")]
    for name in {*(name for _, name in names), *(path.name for path in root.iterdir())} - {f"{beside}.jsonl"}:
        results = folder.results(name)
        for rule in ("year-strict",):
            figures = folder.figures(name, rule)
            shown.append(scores_section(figures, rule))
        if results is not None:
            known = titles(results)
            for _, who in filters(results):
                found = select(results, "canonical", who, order="random", seed=1)
                shown.append(item_list(found, 1, len(found), "canonical", known))
            shown += [item_detail(item, "exact", known) for item in results.items]
            shown += [sources(results), filters(results), results.settings]
            for arm in results.arms:
                exported(results, arm, "lmms-eval")
            compare_records(results, results, results.arms[0], "canonical") if results.arms else None
            for file in filter(None, folder.write_downloads(name)):
                text = Path(file).read_text(encoding="utf-8")
                if (file.endswith(".csv") and text.startswith(("=", "+", "@", ",="))) or ',"=' in text or "\n=" in text:
                    raise AssertionError("a formula in the CSV")
    folder.downloads.cleanup()
    if f"{beside}.jsonl" not in [name for _, name in names]:
        raise AssertionError("a good evaluation is not shown")
    as_text(*shown)
    as_page(*(one for one in shown if isinstance(one, str) and one.startswith("<")))
    try:
        block(read_summaries(root))
    except ReportError as error:
        sentence(error)
    return SHOWN if len(names) > 1 else ASIDE


def results(rng: random.Random, folder: Path, many: int) -> Attempts:
    """Records and scores, spoilt in a place, of another kind, under odd names, changed while they are read."""
    lines, scores = a_record(fresh(folder / "made"))
    good, root = lines_of(lines), folder / "results"

    def attempt(name: str, write: Callable[[Path], object]) -> str:
        fresh(root)
        put(root / "good.jsonl", good)
        write(root / name)
        outcome = look(root, "good")
        if (root / name).suffix == ".jsonl":
            try:
                read_results(root / name)
            except ResultsError as error:
                sentence(error)
            except OSError:
                pass
        return outcome

    for _ in range(many):
        told, new = spoilt(rng, lines)
        rows = new if isinstance(new, list) else [new]
        yield f"record: {told}", partial(attempt, "bad.jsonl", partial(put, what=lines_of(rows)))
        told, new = spoilt(rng, scores)
        yield f"scores: {told}", partial(attempt, "bad.json", partial(put, what=json.dumps(new, default=str)))
    for ending, text in (("jsonl", good), ("json", json.dumps(scores))):
        for told, what in whole_files(text):
            yield f"{ending}: {told}", partial(attempt, f"bad.{ending}", partial(put, what=what))
        for told, make in NO_FILES.items():
            yield f"{ending}: {told}", partial(attempt, f"bad.{ending}", make)
        for name in NAMES:
            yield f"{ending} named {name!r}", partial(attempt, f"{name}.{ending}", partial(put, what=text))


def predictions(rng: random.Random, folder: Path, many: int) -> Attempts:
    """Other tools' answers."""
    row = {"image": "a.png", "query": "How many?", "label": "4", "prediction": "4", "split": "test_human"}
    eval_row = {"doc": {"question": "How many?", "answer": "4", "type": "human_test"}, "target": "4", "resps": [["4"]]}

    def attempt(write: Callable[[Path], object], ending: str) -> str:
        path = fresh(folder / "predictions") / f"x{ending}"
        write(path)
        try:
            found = read_predictions(f"<b>={path}")
            found.answers_for(found.examples())
        except ResultsError as error:
            return sentence(error)
        return as_text(*(one.text for one in found.predictions))

    for _ in range(many):
        for kind in (row, eval_row):
            told, new = spoilt(rng, [kind, kind])
            what = lines_of(new if isinstance(new, list) else [new])
            yield f"predictions: {told}", partial(attempt, partial(put, what=what), rng.choice([".jsonl", ".json"]))
    for told, what in whole_files(lines_of([row, row])):
        for ending in (".jsonl", ".csv", ".tsv", ".xlsx", ".json"):
            yield f"predictions {ending}: {told}", partial(attempt, partial(put, what=what), ending)
    for told, make in NO_FILES.items():
        yield f"predictions: {told}", partial(attempt, make, ".jsonl")


# --- recorded answers ---


def recorded(rng: random.Random, folder: Path, many: int) -> Attempts:
    """Recorded answers, as the page shows them where there is no GPU."""
    example = open_split("bundled").examples[0]
    picture, text = example.load_image(), RECORDED_FILE.read_text(encoding="utf-8")
    lines = [json.loads(one) for one in text.splitlines()][:2]
    engine = ScriptedEngine(delay=0)

    def attempt(write: Callable[[Path], object]) -> str:
        path = fresh(folder / "recorded") / "recorded.jsonl"
        write(path)
        try:
            groups = read_recorded(engine, path)
            for one in groups:
                answers = one.answers_to(picture, example.question, ARMS, Options(max_new_tokens=512))
                as_text(one.mark, *(answer.text for answer in answers or ()))
        except RecordedError as error:
            return sentence(error)
        return SHOWN if groups else ASIDE

    for _ in range(many):
        told, new = spoilt(rng, lines)
        what = lines_of(new if isinstance(new, list) else [new])
        yield f"recorded: {told}", partial(attempt, partial(put, what=what))
    for told, what in whole_files(lines_of(lines)):
        yield f"recorded: {told}", partial(attempt, partial(put, what=what))
    for told, make in NO_FILES.items():
        yield f"recorded: {told}", partial(attempt, make)


# --- corrections ---


def corrections(rng: random.Random, folder: Path, many: int) -> Attempts:
    """Corrected rows in the operator's folder, and in a visitor's browser."""
    row = {"file_name": "0" * 16 + ".webp", "query": "How many?", "label": ["4"], "human_or_machine": 0}
    row |= {"said_by": "visitor", "said_at": "2026-01-01T00:00:00", "gold_before": ["5"], "gold_is_wrong": True}

    def attempt(write: Callable[[Path], object]) -> str:
        there = fresh(folder / "corrections")
        write(there / "metadata.jsonl")
        kept = Kept(there)
        try:
            rows = kept.rows(None)
        except DatasetError as error:
            return sentence(error)
        return as_page(rows_list(rows, kept.pictures(None, rows), "x", None))

    def browser(stored: Any) -> str:
        kept = Kept(None)
        rows = kept.rows(stored)
        return as_page(rows_list(rows, kept.pictures(stored, rows), "x", b""))

    for _ in range(many):
        told, new = spoilt(rng, [row, row])
        what = lines_of(new if isinstance(new, list) else [new])
        yield f"corrections: {told}", partial(attempt, partial(put, what=what))
        told, new = spoilt(rng, {"rows": [row], "pictures": {"0" * 16 + ".webp": "AAAA"}})
        yield f"a browser's corrections: {told}", partial(browser, new)
    for told, what in whole_files(lines_of([row])):
        yield f"corrections: {told}", partial(attempt, partial(put, what=what))
    for told, make in NO_FILES.items():
        yield f"corrections: {told}", partial(attempt, make)
