"""Given tables become charts to train an adapter on."""

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest

from chartqa_demo.data.splits import open_split
from train.pretrain.render import number, table_of, tables, write


def question(
    name: str, columns: list[Any], label: str = "14", publisher: str = "Statista", **more: Any
) -> dict[str, Any]:
    return {
        "imgname": name,
        "publisher": publisher,
        "query": "What was it in 2013?",
        "label": label,
        "table_columns": columns,
        "colour_word": False,
    } | more


YEARS = [["Characteristic", ["2015", "2014", "2013"]], ["Sales in millions", ["20", "17.5", "14"]]]


@pytest.mark.parametrize(
    ("cell", "value"), [("5%", 5.0), ("1,234.5", 1234.5), ("-", None), ("nan", None), ("-3", -3.0)]
)
def test_a_cell_is_a_number_without_its_signs(cell: str, value: float | None) -> None:
    assert number(cell) == value


def test_years_run_from_left_to_right_whatever_the_table_does() -> None:
    table = table_of(Random(1), [(name, cells) for name, cells in YEARS], "statista")
    assert table and table.categories == ["2013", "2014", "2015"] and table.values == [[14.0, 17.5, 20.0]]


def test_countries_in_rows_and_years_in_columns_are_a_line_each() -> None:
    columns = [("Entity", ["Chad", "Peru"]), ("1990", ["1", "4"]), ("2000", ["2", "nan"]), ("2010", ["3", "6"])]
    table = table_of(Random(1), columns, "owid")
    assert table and table.kind == "line" and table.series == ["Chad", "Peru"]
    assert table.values == [[1.0, 2.0, 3.0], [4.0, None, 6.0]]


def test_drawn_tables_open_as_rows_to_train_on(tmp_path: Path) -> None:
    split = tmp_path / "train"
    split.mkdir()
    rows = write(([question("a b.png", YEARS), question("a b.png", YEARS, "20", colour_word=True)], split))
    (split / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (example,) = open_split(str(tmp_path), "train")
    assert (example.question, example.gold) == ("What was it in 2013?", ("14",))
    assert example.load_image().width > 300


def test_what_cannot_be_drawn_is_left_out(tmp_path: Path) -> None:
    words = [["Name", ["a", "b"]], ["Value", ["many", "few"]]]
    assert write(([question("words.png", words)], tmp_path)) == []
    assert write(([question("colours.png", YEARS, colour_word=True)], tmp_path)) == []
    assert list(tmp_path.iterdir()) == []


def test_only_publishers_whose_tables_are_clean_are_drawn(tmp_path: Path) -> None:
    file = tmp_path / "tables.jsonl"
    kinds = [question("b.png", YEARS), question("a.png", YEARS, publisher="Pew"), question("b.png", YEARS, "20")]
    file.write_text("".join(json.dumps(row) + "\n" for row in kinds), encoding="utf-8")
    assert [[row["label"] for row in group] for group in tables(file)] == [["14", "20"]]
