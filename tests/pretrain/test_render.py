"""Given tables become charts to train an adapter on, with the questions that the drawing answers."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from train.data import train_examples
from train.pretrain.render.__main__ import main
from train.pretrain.render.asking import question
from train.pretrain.render.given import Asked, LeftOut, tables
from train.pretrain.render.parsing import number, parse
from train.recipe import Recipe

YEARS = [["Characteristic", ["2015", "2014", "2013"]], ["Sales in millions", ["20", "17.5", "14"]]]
FRUIT = [["Fruit", ["Apples", "Pears", "Plums"]], ["Boys", ["12%", "30%", "44%"]], ["Girls", ["21%", "35%", "50%"]]]
LAKES = [["Entity", ["Chad", "Peru"]], ["1990", ["1", "4"]], ["2000", ["2", "nan"]], ["2010", ["3", "6"]]]
WHAT = "What was it in 2013?"


def line(name: str, columns: Any, query: Any = WHAT, label: Any = "14", publisher: str = "Statista") -> dict[str, Any]:
    return {"imgname": name, "publisher": publisher, "query": query, "label": label, "table_columns": columns}


def asked(columns: list[Any], query: str = WHAT, label: str = "14", publisher: str = "Statista") -> Asked:
    return Asked("a.png", publisher, query, label, tuple((name, tuple(cells)) for name, cells in columns))


GOOD = [
    line("a b.png", YEARS),
    line("fruit.png", FRUIT, "How many pears do girls want?", "35"),
    line("fruit.png", FRUIT, "What is the colour of the third legend?", "green"),
    line("lakes.png", LAKES, "How much did Peru have in 2010?", "6", "OWID"),
    line("lakes.png", LAKES, "Which line is dotted?", "Peru", "OWID"),
    *(
        line(f"more {n}.png", YEARS, f"What was it in {2013 + n}?", label)
        for n, label in enumerate(("14", "17.5", "20"))
    ),
]


@pytest.fixture
def known(tmp_path: Path) -> Path:
    """A folder in ChartQA's layout: one question to train on, two held out."""
    (tmp_path / "known" / "data").mkdir(parents=True)
    splits = {
        "train": ("What was sold in 2015?", "x.png"),
        "val": ("What was sold in 2014?", "held.png"),
        "test": ("What was sold in 2013?", None),
    }
    for split, (query, path) in splits.items():
        row = {"image": {"bytes": b"", "path": path}, "query": query, "label": ["20"]}
        parquet.write_table(pyarrow.Table.from_pylist([row]), tmp_path / "known" / "data" / f"{split}-0-of-1.parquet")
    return tmp_path / "known"


def run(folder: Path, known: Path, rows: list[Any], *flags: str, out: str = "out") -> int:
    file = folder / "tables.jsonl"
    text = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
    file.write_text(text, encoding="utf-8")
    flags = flags or ("--processes", "1")
    return main([str(file), str(folder / out), "--without", str(known), *flags])


def drawn(folder: Path, split: str = "train") -> list[dict[str, str]]:
    return [json.loads(text) for text in (folder / split / "metadata.jsonl").read_text("utf-8").splitlines()]


@pytest.mark.parametrize(
    ("cell", "value"), [("5%", 5.0), ("1,234.5", 1234.5), ("-", None), ("nan", None), ("-3", -3.0), ("−3", -3.0)]
)
def test_a_cell_is_a_number_without_its_signs(cell: str, value: float | None) -> None:
    assert number(cell) == value


def test_years_run_from_left_to_right_whatever_the_table_does() -> None:
    table = parse(asked(YEARS))
    assert table.time and table.categories == ["2013", "2014", "2015"] and table.values == [[14.0, 17.5, 20.0]]


def test_countries_in_rows_and_years_in_columns_are_a_line_each_that_goes_straight_over_a_gap() -> None:
    table = parse(asked(LAKES, publisher="OWID"))
    assert table.names == ["Chad", "Peru"] and table.values == [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]


def test_a_mixture_shows_every_row_of_the_drawn_tables(tmp_path: Path, known: Path) -> None:
    assert run(tmp_path, known, GOOD) == 0
    out = str(tmp_path / "out")
    rows = train_examples(Recipe(dataset="charts", mixture=["dataset=9", f"{out}=2"]), out, [], seed=1)
    found = sorted((example.question, *example.gold) for example in rows)
    assert found == sorted((row["query"], row["label"]) for row in drawn(tmp_path / "out"))
    assert (WHAT, "14") in found and ("How much did Peru have in 2010?", "6") in found and len(found) == 6
    assert all(example.load_image().width > 300 for example in rows)


@pytest.mark.parametrize(
    ("query", "label", "kind", "told"),
    [
        ("What is the colour of Boys?", "purple", "grouped", "colours"),
        ("What does the pink bar say of Pears?", "30", "grouped", "colours"),
        ("What is shown in the legend at the side?", "Boys", "grouped", "looked"),
        ("What does the third bar say?", "44", "grouped", "count along"),
        ("What is the leftmost fruit?", "Plums", "grouped", "places"),
        ("What is the highest point of the line?", "50", "grouped", "marks"),
        ("How many bars are shown?", "5", "grouped", "count marks"),
        ("What part of the boys wants apples?", "0.12", "grouped", "fraction"),
        ("What was sold?", "Cherries", "grouped", "does not have"),
        ("When was it?", "43252", "grouped", "date"),
    ],
)
def test_a_question_that_the_drawing_may_contradict_is_left_out(query: str, label: str, kind: str, told: str) -> None:
    one = asked(FRUIT, query, label)
    with pytest.raises(LeftOut, match=told):
        question(one, parse(one), kind)


@pytest.mark.parametrize(
    ("query", "label", "kind", "kept"),
    [
        ("What does the dark blue bar say of Pears?", "35", "grouped", ("35", True)),
        ("How many bars are shown?", "6", "grouped", ("6", False)),
        ("Is it more than 30?", "no", "grouped", ("No", False)),
        ("What is the ratio of Boys to Girls for Pears?", "0.857142", "grouped", ("0.86", False)),
    ],
)
def test_a_question_that_the_drawing_answers_stays(query: str, label: str, kind: str, kept: tuple[str, bool]) -> None:
    one = asked(FRUIT, query, label)
    assert question(one, parse(one), kind) == (query, *kept)


def test_nothing_of_held_out_tables_is_drawn_nor_what_train_has(tmp_path: Path, known: Path) -> None:
    rows = [
        line("held.png", YEARS),  # a picture of val
        line("other.png", YEARS, "what was sold in 2013? "),  # a question of test ...
        line("other.png", YEARS, "And in 2015?", "20"),  # ... and another one about its table
        line("mine.png", YEARS, "What was sold in 2015 ?", "20"),  # a question of train
        line("two_col_104680.png", YEARS),
        line("free.png", YEARS),
    ]
    assert run(tmp_path, known, rows) == 0
    assert [row["file_name"] for row in drawn(tmp_path / "out")] == ["free_v0.webp"]


def test_two_processes_draw_the_same_as_one_and_a_share_is_held_to_measure_on(tmp_path: Path, known: Path) -> None:
    for processes in ("1", "2"):
        assert run(tmp_path, known, GOOD, "--processes", processes, "--hold", "3", out=processes) == 0
    files = [
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.*")}
        for folder in (tmp_path / "1", tmp_path / "2", tmp_path / "1_held", tmp_path / "2_held")
    ]
    assert files[0] == files[1] and files[2] == files[3]
    train, held = (
        {row["file_name"] for row in drawn(tmp_path / name, split)}
        for name, split in (("1", "train"), ("1_held", "test"))
    )
    assert train and held and not train & held


def test_a_bad_row_costs_itself_and_is_counted(tmp_path: Path, known: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = ["7", "null", "[]", "{", '"\\ud800"', "[" * 5000]
    bad += [line("b.png", None), line("b.png", [["a", ["1"]], 3]), line("b.png", [["a", [None]], ["b", ["1"]]])]
    bad += [line("b.png", YEARS, None), line("b.png", YEARS, WHAT, 14), line("\ud800.png", YEARS)]
    words = [["Name", ["a", "b"]], ["Value", ["many", "few"]]]
    undrawn = [
        line("w.png", words),
        line("i.png", [YEARS[0], ["x", ["inf", "1e999", "1"]]]),
        line("e.png", [["", []], ["", []]]),
    ]
    assert run(tmp_path, known, [*bad, *undrawn, line("good.png", YEARS)]) == 0
    assert [row["file_name"] for row in drawn(tmp_path / "out")] == ["good_v0.webp"]
    told = capsys.readouterr().out
    assert told.splitlines()[-1].startswith(f"{len(bad)} lines of ")
    assert "2 questions of tables with words among the figures" in told


def test_only_publishers_whose_tables_are_clean_are_drawn(tmp_path: Path) -> None:
    file = tmp_path / "tables.jsonl"
    rows = [line("b.png", YEARS), line("a.png", YEARS, publisher="Pew"), line("b.png", YEARS, label="20")]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    why = Counter[str]()
    assert [[one.label for one in group] for group in tables(file, why)] == [["14", "20"]]
    assert why["of other publishers"] == 1


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda folder: (folder / "out").write_text("mine"), "is there already"),
        (lambda folder: (folder / "out_held" / "test").mkdir(parents=True), "is there already"),
        (lambda folder: (folder / "known" / "data" / "val-0-of-1.parquet").write_text("no"), "no split of ChartQA"),
        (lambda folder: (folder / "known" / "data").rename(folder / "gone"), "no held-out rows"),
    ],
    ids=["a file", "held there", "no parquet", "no data"],
)
def test_what_cannot_be_used_is_a_sentence(
    spoil: Any, told: str, tmp_path: Path, known: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(tmp_path)
    assert run(tmp_path, known, GOOD, "--hold", "2") == 2
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1


def test_a_missing_file_is_a_sentence(tmp_path: Path, known: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none.jsonl"), str(tmp_path / "out"), "--without", str(known)]) == 2
    assert "none.jsonl cannot be read" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
