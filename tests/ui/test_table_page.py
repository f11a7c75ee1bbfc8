"""The whole chart as a table: read on request, shown as text in cells, and gone with its chart."""

from collections.abc import Iterator

import pytest
from page_fixtures import Tab, Windows, expect, page_of, violations

from chartqa_demo.engines.scripted import ScriptedEngine
from chartqa_demo.settings import Settings
from chartqa_demo.ui.compare.table import MOST_COLUMNS, MOST_ROWS, REQUEST, read_table
from train.pretrain.model.tokenizer import TABLE_REQUEST

pytest_plugins = ("page_fixtures",)

TABLE = "Bicycles counted\nstreet | 2019 | 2020\nMill <b>Lane</b> | 12 | 14.5\nQuay | - | 9"


@pytest.fixture
def page(windows: Windows) -> Iterator[tuple[Tab, ScriptedEngine]]:
    engine = ScriptedEngine(delay=0.001, script=lambda arm, question: TABLE if question == REQUEST else "12")
    engine.bundled = True
    with page_of(windows, engine, Settings()) as tab:
        yield tab, engine


def test_a_visitor_reads_a_chart_as_a_table(page: tuple[Tab, ScriptedEngine]) -> None:
    tab, engine = page
    tab.unfold("The whole chart as a table")
    tab.press("Read the chart")
    expect(tab.page.locator("#table-told")).to_contain_text("Add a chart first.")
    tab.pick_example()
    tab.press("Read the chart")
    expect(tab.page.locator("#table-told")).to_contain_text("Bicycles counted: 2 rows.")
    cells = tab.page.locator("#table-cells")
    for text in ("street", "2020", "Mill <b>Lane</b>", "14.5"):
        expect(cells.get_by_text(text, exact=True).filter(visible=True).first).to_be_visible()
    assert [question for _, question, _ in engine.questions] == [REQUEST]
    found = violations(tab.page, "#table")
    assert found == []
    tab.pick_example(2)
    expect(cells).to_be_hidden()


def test_without_the_bundled_model_no_table_is_offered(tab: Tab) -> None:
    expect(tab.page.get_by_text("The whole chart as a table")).to_have_count(0)


def test_the_request_is_the_one_that_the_model_was_trained_with() -> None:
    assert REQUEST == TABLE_REQUEST


def test_one_series_has_no_header_of_its_own() -> None:
    told = read_table("Rain\nMay | 12\nJune | -3.5")
    assert told == ("Rain", ["", "Value"], [["May", "12"], ["June", "-3.5"]])
    assert read_table("May | 12")[0] == ""


def test_a_ragged_table_becomes_a_square_one() -> None:
    _, headers, rows = read_table("month | Air | Rail\nMay | 1\nJune | 1 | 2 | 3")
    assert headers == ["month", "Air", "Rail", ""] and rows == [["May", "1", "", ""], ["June", "1", "2", "3"]]


def test_a_text_that_is_no_table_has_no_rows_and_an_endless_one_is_bounded() -> None:
    assert read_table("It is 42.") == ("It is 42.", [], []) and read_table("") == ("", [], [])
    _, headers, rows = read_table("\n".join("x | " + " | ".join(["1"] * 50) for _ in range(500)))
    assert len(headers) == MOST_COLUMNS and len(rows) == MOST_ROWS
