"""A file that somebody else wrote or damaged costs itself: the others are shown, and it is named in a sentence."""

import json
import os
import time
import zipfile
from collections.abc import Callable
from contextlib import nullcontext
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

import gradio as gr
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from page_fixtures import bar_chart

from bench.reliability.pictures import encoded
from chartqa_demo.adapters.check import find_adapter
from chartqa_demo.adapters.contract import CONFIG, CONTRACT_FILE
from chartqa_demo.adapters.lora import LoraError, layers_of, why_not_computed
from chartqa_demo.adapters.runs import finished_adapters, read_run, run_names
from chartqa_demo.arms import ARMS
from chartqa_demo.data.corrections import Kept
from chartqa_demo.data.splits import open_split
from chartqa_demo.data.strict import bytes_of, fits, from_json
from chartqa_demo.data.uploads import lay_out
from chartqa_demo.engines import Options
from chartqa_demo.engines.scripted import ScriptedEngine
from chartqa_demo.errors import DatasetError, HubError, RecordedError, ResultsError, first_line
from chartqa_demo.evaluate.predictions import read_predictions
from chartqa_demo.evaluate.record import Item, read_results
from chartqa_demo.evaluate.report import measured_line
from chartqa_demo.evaluate.run import measure
from chartqa_demo.settings import BUNDLED_ADAPTER
from chartqa_demo.space.recorded import RECORDED_FILE, read_recorded
from chartqa_demo.ui.evaluate.files import ResultsFolder
from chartqa_demo.ui.evaluate.uploads import Uploads
from chartqa_demo.ui.markup import notice
from chartqa_demo.ui.spreadsheet import as_csv
from chartqa_demo.ui.training.tab import run_html, standing

DEEP = "[" * 100_000 + "]" * 100_000
STEP, LOSS = "train/global_step", "train/loss"


def zeros(path: Path) -> None:
    path.symlink_to("/dev/zero")


def loop(path: Path) -> None:
    path.symlink_to(path)


NO_FILES: dict[str, Callable[[Path], Any]] = {"folder": Path.mkdir, "pipe": os.mkfifo, "zeros": zeros, "loop": loop}


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Any], dict[str, Any]]:
    """The lines of a small record, and its scores."""
    path = tmp_path_factory.mktemp("measured") / "one.jsonl"
    measure(ScriptedEngine(delay=0), open_split("bundled").examples[:2], ARMS[:2], Options(), path)
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return lines, json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))


def lines_of(rows: list[Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.mark.parametrize("ending", ["jsonl", "json"])
@pytest.mark.parametrize("made", [*NO_FILES, DEEP, '{"settings": ' + DEEP + "}\n", "null\n", "[]\n", '"\\ud800"\n', ""])
def test_what_is_no_file_of_results_hides_no_other_one(
    tmp_path: Path, measured: tuple[list[Any], dict[str, Any]], made: str, ending: str
) -> None:
    lines, scores = measured
    (tmp_path / "good.jsonl").write_text(lines_of(lines), encoding="utf-8")
    (tmp_path / "good.json").write_text(json.dumps(scores), encoding="utf-8")
    bad = tmp_path / f"bad.{ending}"
    NO_FILES.get(made, lambda path: path.write_text(made, encoding="utf-8"))(bad)
    (tmp_path / os.fsdecode(b"\xff.jsonl")).write_text(lines_of(lines), encoding="utf-8")
    folder = ResultsFolder(tmp_path)
    assert [Path(name).stem for _, name in folder.names()] == ["good"]
    assert folder.figures(bad.name, "canonical") is None and folder.results(bad.name) is None
    assert folder.path("x" * 4000 + ".json") is None
    assert measured_line(tmp_path, str(scores["model"]), None) is not None
    if ending == "jsonl" and made != "":
        with pytest.raises(ResultsError, match=r"bad\.jsonl .*\.$"):
            read_results(bad)


BROKEN: list[tuple[tuple[Any, ...], Any]] = [
    ((0, "settings", "sample"), [["x"]]),
    ((0, "settings", "arms"), {str(k): {"title": "x"} for k in range(300)}),
    ((0, "settings", "arms", "pretrained", "title"), "\ud800"),
    ((0, "settings", "seed"), -1),
    ((0, "settings", "notes"), json.loads("[" * 300 + "]" * 300)),
    ((1, "question"), 7),
    ((1, "question"), "x" * 2_000_000),
    ((1, "answers"), {"pretrained": None}),
    ((1, "confidence"), {"pretrained": float("nan")}),
    ((1, "confidence"), {"pretrained": -1}),
    ((1, "seconds"), 1e999),
    ((1, "tokens"), {"pretrained": 2**70}),
    ((1, "failures"), "x"),
    ((1, "kind"), ["human"]),
]


@pytest.mark.parametrize(("place", "value"), BROKEN, ids=lambda value: str(value)[:30])
def test_a_record_with_a_value_that_it_cannot_have_is_refused_in_a_sentence(
    tmp_path: Path, measured: tuple[list[Any], dict[str, Any]], place: tuple[Any, ...], value: Any
) -> None:
    *above, last = place
    rows = inside = json.loads(json.dumps(measured[0]))
    for key in above:
        inside = inside[key]
    inside[last] = value
    path = tmp_path / "bad.jsonl"
    path.write_text(lines_of(rows), encoding="utf-8")
    with pytest.raises(ResultsError, match=r"^Line \d of .* is not a result of an evaluation \(.{5,300}\)\. Move"):
        read_results(path)
    assert ResultsFolder(tmp_path).names() == []


@pytest.mark.parametrize(
    "change",
    [
        {"asked": "7"},
        {"errors": None},
        {"scores": {}, "arms": 7},
        {"scores": {"canonical": {"other": {}}}},
        {"scores": {"canonical": {"pretrained": {"all": 1}}}},
        {"comparisons": {"canonical": [{"first": []}]}},
        {"reliability": {"pretrained": [{"confidence": "x", "correct": 1, "asked": 1}]}},
        {"failures": [{"arm": ["x"]}]},
        {"limit": "x"},
    ],
    ids=str,
)
def test_scores_with_a_value_that_they_cannot_have_are_set_aside(
    tmp_path: Path, measured: tuple[list[Any], dict[str, Any]], change: dict[str, Any]
) -> None:
    (tmp_path / "bad.json").write_text(json.dumps(measured[1] | change), encoding="utf-8")
    folder = ResultsFolder(tmp_path)
    assert folder.names() == [] and folder.figures("bad.json", "canonical") is None
    assert measured_line(tmp_path, str(measured[1]["model"]), None) is None


def test_values_of_json_are_of_the_types_that_are_named() -> None:
    good: list[tuple[Any, Any]] = [
        *((1, float), (1.5, float), (None, str | None), ([["a"]], list[list[str]]), ("a", Literal["a", "b"])),
        *(({"a": 1}, dict[str, int]), (["a"], tuple[str, ...]), ({"a": [1, None, True]}, Any), (True, bool)),
    ]
    bad: list[tuple[Any, Any]] = [
        *((True, int), (1.0, int), (float("nan"), float), (float("inf"), Any), (2**60, int)),
        *(([1], list[str]), ("a", list[str]), (["a"], Literal["a"]), (1, bool), (0, None)),
    ]
    assert [fits(*one) for one in good] == [True] * len(good)
    assert [fits(*one) for one in bad] == [False] * len(bad)
    for text in (DEEP, "{", "9" * 5000, '["\\uD800"]', b"\xff", b'"\xed\xa0\x80"'):
        with pytest.raises(ValueError, match=r"."):
            from_json(text)


@pytest.mark.parametrize("made", NO_FILES)
def test_what_is_no_ordinary_file_is_neither_waited_for_nor_read_without_end(tmp_path: Path, made: str) -> None:
    path = tmp_path / "x.jsonl"
    NO_FILES[made](path)
    with pytest.raises((OSError, ValueError)):
        bytes_of(path)
    with pytest.raises(RecordedError, match=r"cannot be read: .*\.$"):
        read_recorded(ScriptedEngine(), path)
    with pytest.raises(ResultsError, match=r"\.$"):
        read_predictions(f"x={path}")
    NO_FILES[made](tmp_path / "metadata.jsonl")
    with pytest.raises(DatasetError, match=r"cannot be read: .*\.$"):
        Kept(tmp_path).rows(None)


@pytest.mark.parametrize(
    "change",
    [{"pixels": []}, {"tokens": {}}, {"texts": {}}, {"date": 7}, {"systems": "x"}, {"model": {}}, {"texts": {"x": 1}}],
    ids=str,
)
def test_a_recorded_answer_with_another_value_is_refused_in_a_sentence(tmp_path: Path, change: dict[str, Any]) -> None:
    row = json.loads(RECORDED_FILE.read_text(encoding="utf-8").splitlines()[0])
    path = tmp_path / "recorded.jsonl"
    for text in (json.dumps(row | change), DEEP, "7"):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(RecordedError, match=r"^Line 1 of .* is no recorded answer: .*\.$"):
            read_recorded(ScriptedEngine(), path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(RecordedError, match=r"cannot be read: .*\.$"):
        read_recorded(ScriptedEngine(), path)


def test_corrections_that_are_nested_without_end_are_refused_in_a_sentence(tmp_path: Path) -> None:
    for text in (DEEP, '{"label": 7}', "7"):
        (tmp_path / "metadata.jsonl").write_text(text, encoding="utf-8")
        with pytest.raises(DatasetError, match=r"^Line 1 of metadata.jsonl is not a correction \(.*\); mend it\.$"):
            Kept(tmp_path).rows(None)


def test_the_heads_of_a_table_are_no_formulas_either() -> None:
    assert as_csv(["=1+1 answer", "id"], [["=2", 3]]) == "'=1+1 answer,id\r\n'=2,3\r\n"


@pytest.mark.parametrize("value", [5e-324, -5e-324, 1e-323, 1e308])
def test_a_figure_of_any_size_leaves_the_curves_drawn(trackio_store: Path, value: float) -> None:
    from trackio.sqlite_storage import SQLiteStorage

    SQLiteStorage.bulk_log("p", "n", [{STEP: 1, LOSS: value}, {STEP: 2, LOSS: value / 2}, {STEP: 3, LOSS: 0.0}])
    assert "Step 3" in run_html(read_run("p", "n"))


def test_a_damaged_store_of_runs_hides_no_other_one(trackio_store: Path) -> None:
    import sqlite3

    from trackio.sqlite_storage import SQLiteStorage

    for name in ("good", "late", "odd", "spoilt"):
        SQLiteStorage.bulk_log(name, "run", [{STEP: 1, LOSS: 2.0}])
    for name, change in (("late", "timestamp = '0001-01-01T00:00:00+14:00'"), ("odd", "metrics = '[]'")):
        with sqlite3.connect(trackio_store / f"{name}.db") as base:
            base.execute(f"UPDATE metrics SET {change}")
        base.close()
    (trackio_store / "spoilt.db").write_bytes(b"SQLite format 3\0" + bytes(500))
    os.mkfifo(trackio_store / "pipe.db")
    (trackio_store / os.fsdecode(b"\xff.db")).write_bytes((trackio_store / "good.db").read_bytes())
    assert {project for project, _ in run_names()} == {"good", "late", "odd"}
    assert "no loss" not in "".join(run_html(read_run(*one)) for one in run_names())
    assert "last entry" not in standing(read_run("late", "run"))
    assert read_run("odd", "run").step == 0 and read_run("spoilt", "run").curves["Loss"] == {}
    assert (read_run("good", "run").updated or datetime.max) <= datetime.now(timezone.utc)


def an_adapter(folder: Path) -> Path:
    folder.mkdir()
    for path in BUNDLED_ADAPTER.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def test_an_adapter_whose_folder_has_a_name_that_no_page_can_show_is_not_offered(tmp_path: Path) -> None:
    an_adapter(tmp_path / "good\nname")
    an_adapter(tmp_path / os.fsdecode(b"\xff"))
    (one,) = finished_adapters(tmp_path)
    assert one.title.startswith("'good\\nname', for ")


@pytest.mark.parametrize("file", [CONFIG, CONTRACT_FILE])
@pytest.mark.parametrize("text", ["", "null", "7", "[]", DEEP, "\xff", "{}"])
def test_a_refusal_of_an_adapter_is_a_whole_sentence(tmp_path: Path, file: str, text: str) -> None:
    folder = an_adapter(tmp_path / "run")
    (folder / file).write_text(text, encoding="latin-1")
    if (file, text) == (CONFIG, "{}"):
        assert str(why_not_computed({})).endswith(".")
        return
    with pytest.raises(HubError) as refused:
        find_adapter(str(folder), None)
    told = str(refused.value)
    assert told.endswith(".") and not told.endswith("..") and "is not iterable" not in told


def test_patterns_that_are_tried_at_every_layer_are_few() -> None:
    places = [f"base_model.model.model.language_model.layers.{n}.self_attn.q_proj" for n in range(560)]
    tensors = {f"{place}.lora_A.weight": ("F32", (4, 8)) for place in places}
    tensors |= {f"{place}.lora_B.weight": ("F32", (6, 4)) for place in places}
    fine: dict[str, Any] = {"peft_type": "LORA", "r": 4, "lora_alpha": 8}
    starred = {f".*layers.{n}.*q_proj".replace(".*q", ".q"): 5 for n in range(1024)}
    assert "has 1,024 names with .*" in str(why_not_computed(fine | {"alpha_pattern": starred}))
    named = {f"layers.{n}.self_attn.q_proj": n for n in range(1024)}
    began = time.process_time()
    alphas = [one.alpha for one in layers_of(fine | {"alpha_pattern": named}, tensors, None).values()]
    assert alphas == list(range(560)) and time.process_time() - began < 10
    digits = {r"layers.\d": 1, r"layers.1\d.self_attn.q_proj": 2}
    assert why_not_computed(fine | {"alpha_pattern": digits}) is None
    found = layers_of(fine | {"alpha_pattern": digits}, tensors, None)
    assert [found[f"model.language_model.layers.{n}.self_attn.q_proj"].alpha for n in (1, 10, 19, 20)] == [8, 2, 2, 8]
    for many, told in (
        ({f"x{n}.lora_A.weight": ("F32", (4, 8)) for n in range(5000)}, "holds 5,000 weights; at most"),
        ({f"{'x' * 4000}.lora_A.weight": ("F32", (4, 8))}, "characters; at most 150 are read"),
    ):
        with pytest.raises(LoraError, match=told):
            layers_of(fine, many, None)


PNG = encoded(bar_chart(), "PNG")


def test_a_folder_of_charts_with_a_link_to_itself_is_read_without_it(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    (tmp_path / "qa.csv").write_text("image,query,label\na.png,q,1\n", encoding="utf-8")
    loop(tmp_path / "b.png")
    loop(tmp_path / "b.csv")
    (tmp_path / os.fsdecode(b"\xff.csv")).write_text("image,query,label\na.png,q2,1\n", encoding="utf-8")
    split = open_split(str(tmp_path), "all")
    assert len(split) == 2
    split.note.encode()


def test_columns_by_the_thousand_and_halves_of_pairs_make_a_short_sentence(tmp_path: Path) -> None:
    row = {"image": "a.png", "query": "q", "\ud800": 1, **{f"c{n}": n for n in range(20_000)}}
    (tmp_path / "qa.jsonl").write_text(json.dumps(row), encoding="utf-8")
    with pytest.raises(DatasetError) as refused:
        open_split(str(tmp_path), "all")
    assert len(str(refused.value)) < 800
    notice("half \ud800 of a pair").encode()


@pytest.mark.parametrize(
    ("column", "told"),
    [(pa.array([2**53], pa.timestamp("s")), "too large"), (pa.array([1], pa.timestamp("us", "Mars/Olympus")), "Mars")],
    ids=["a year of no calendar", "a zone of no map"],
)
def test_values_that_no_calendar_has_are_told_in_a_sentence(tmp_path: Path, column: Any, told: str) -> None:
    pictures = pa.array([{"bytes": PNG, "path": "a.png"}])
    pq.write_table(
        pa.table([pictures, pa.array(["q"]), column], names=["image", "query", "label"]), tmp_path / "x.parquet"
    )
    with pytest.raises(DatasetError, match=rf"could not be read: .*{told}.*\.$"):
        open_split(str(tmp_path), "all")


@pytest.mark.parametrize("text", [DEEP, "[]", '{"_data_files": []}', '{"_data_files": [{"filename": "x"}]}'])
def test_a_saved_data_set_that_is_none_is_told_in_a_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "state.json").write_text(text, encoding="utf-8")
    with pytest.raises(DatasetError, match=r"could not be read: .*[^.]\.$"):
        open_split(str(tmp_path), "all")


def test_a_saved_data_set_with_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text('{"_data_files": [{"filename": "x.arrow"}]}', encoding="utf-8")
    os.mkfifo(tmp_path / "x.arrow")
    with pytest.raises(DatasetError, match=r"holds x.arrow, which is no ordinary file; it is not read\.$"):
        open_split(str(tmp_path), "all")


def test_an_upload_with_a_very_long_name_is_refused_in_a_short_sentence(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"no ZIP")
    with pytest.raises(DatasetError) as refused:
        lay_out([(tmp_path / "x", "x" * 5000 + ".zip")], tmp_path / "there")
    assert len(str(refused.value)) < 200 and ".zip is no ZIP file" in str(refused.value)


def test_what_a_library_says_ends_without_its_full_stop() -> None:
    assert first_line(ValueError("It broke.\nMore.")) == "It broke"
    assert Item.from_row(json.loads(Item("a", "b", "q", ("1",), "human", "").to_line())).gold == ("1",)


def test_an_upload_is_never_handed_to_what_fetches_what_its_files_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chartqa_demo.ui.evaluate.uploads.upload_folder", lambda: tmp_path)
    table = "image,query,label\na.png,How many?,3\n"
    files = {"a.png": encoded(bar_chart(), "PNG"), "qa.csv": table, "x.parquet/a.png": encoded(bar_chart(), "PNG")}
    for name, more in (("parquet", {}), ("saved", {"state.json": '{"_data_files": []}', "dataset_dict.json": "{}"})):
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w") as archive:
            for file, data in (files | more).items():
                archive.writestr(file, data)
        monkeypatch.setattr("chartqa_demo.data.stored.open_stored", lambda *_: pytest.fail("handed to datasets"))
        taken = Uploads(gr.Blocks(analytics_enabled=False), lambda _: False)
        split = taken.take("visitor", "tab", [{"path": str(tmp_path / f"{name}.zip"), "orig_name": f"{name}.zip"}])
        assert [one.question for one in split] == ["How many?"]


def test_a_table_that_names_pictures_which_are_not_there_costs_little_for_each_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.png").write_bytes(encoded(bar_chart(), "PNG"))
    rows = "".join(f"{number}.png,How many?,3\n" for number in range(500))
    (tmp_path / "qa.csv").write_text(f"image,query,label\na.png,How many?,3\n{rows}")
    followed: list[Path] = []
    resolve = Path.resolve
    monkeypatch.setattr(Path, "resolve", lambda path, *strict: (followed.append(path), resolve(path, *strict))[1])
    assert len(open_split(str(tmp_path), "all").left_out) == 500
    assert len(followed) < 50


def test_a_question_of_an_upload_is_as_long_as_one_that_is_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chartqa_demo.ui.evaluate.uploads.upload_folder", lambda: tmp_path)
    taken = Uploads(gr.Blocks(analytics_enabled=False), lambda _: False, 9)
    for question, told in (("How many?", None), ("How many??", "has 10 characters; at most 9 can be asked")):
        with zipfile.ZipFile(tmp_path / "mine.zip", "w") as archive:
            archive.writestr("a.png", encoded(bar_chart(), "PNG"))
            archive.writestr("qa.csv", f"image,query,label\na.png,{question},3\n")
        with pytest.raises(DatasetError, match=told) if told else nullcontext():
            taken.take("visitor", "tab", [{"path": str(tmp_path / "mine.zip"), "orig_name": "mine.zip"}])
