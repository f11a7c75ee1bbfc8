"""What the Evaluate tab offers to measure on, without a browser."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import gradio as gr
import pytest
from page_fixtures import bar_chart, example_split
from starlette.testclient import TestClient

from chartqa_demo.data.splits import chosen_columns, open_split
from chartqa_demo.engines.scripted import ScriptedEngine
from chartqa_demo.errors import EvaluationError
from chartqa_demo.settings import Settings
from chartqa_demo.ui import build_app
from chartqa_demo.ui.evaluate.choices import Choice, Choices, how_many
from chartqa_demo.ui.evaluate.running import WATCHERS, Run, Running
from chartqa_demo.ui.evaluate.tab import EvaluateTab
from chartqa_demo.ui.evaluate.uploads import Uploads


def test_other_splits_are_opened_by_the_columns_chosen_by_hand(tmp_path: Path) -> None:
    for split, answer in (("train", "3"), ("test", "4")):
        folder = tmp_path / split
        folder.mkdir()
        bar_chart().save(folder / "bars.png")
        (folder / "metadata.csv").write_text(f"shot,asked,said\nbars.png,How many bars?,{answer}\n", encoding="utf-8")
    settings = Settings(
        dataset=str(tmp_path), split="test", image_column="shot", question_column="asked", answer_column="said"
    )
    choices = Choices(
        ScriptedEngine(), settings, open_split(settings.dataset, settings.split, chosen_columns(settings))
    )
    opened = {name: choices.open(index) for index, (_, name) in enumerate(choices.charts[:2])}
    assert {name: split.examples[0].gold for name, split in opened.items()} == {"test": ("4",), "train": ("3",)}


@pytest.mark.parametrize(("typed", "count"), [(0, 0), (20, 20), ("7", 7), (" 1,500 ", 1500), ("50", 50)])
def test_any_number_of_questions_can_be_typed(typed: object, count: int) -> None:
    assert how_many(typed) == count


@pytest.mark.parametrize("typed", ["", "0", "-5", "many", "5 or 6", "1,5", "²", None, True, 10**12])
def test_what_is_no_number_of_questions_is_told(typed: object) -> None:
    with pytest.raises(EvaluationError, match="or type a whole number from 1"):
        how_many(typed)


def test_of_two_estimates_of_one_visitor_at_once_the_older_says_nothing() -> None:
    tab, session = EvaluateTab.__new__(EvaluateTab), SimpleNamespace(session_hash="one")
    tab.newest = {}
    told: dict[int, Any] = {}

    def estimate(charts: int, size: int, *others: Any) -> str:
        if size == 50:  # the visitor chooses another number while this one is computed
            told[80] = tab.estimate_newest(0, 80, "any", 0, [], "", 1500.2, session)
            elsewhere = SimpleNamespace(session_hash="two")
            assert tab.estimate_newest(0, 20, "any", 0, [], "", 7.0, elsewhere) == "20 questions"
        return f"{size} questions"

    tab.estimate = estimate
    told[50] = tab.estimate_newest(0, 50, "any", 0, [], "", 1500.1, session)
    told[10] = tab.estimate_newest(0, 10, "any", 0, [], "", 1400.0, session)  # read before, and late on its way
    told[0] = tab.estimate_newest(0, 0, "any", 0, [], "", "soon", session)
    assert told == {80: "80 questions", 50: gr.skip(), 10: gr.skip(), 0: gr.skip()}


def test_a_page_that_asks_twice_who_its_visitor_is_hears_one_name(tmp_path: Path) -> None:
    """The tab can be opened before the page's greeting is answered: a run under the first name would be nobody's."""
    tab = EvaluateTab.__new__(EvaluateTab)
    page, tab.secret, tab.running = gr.Blocks(analytics_enabled=False), b"of this process", Running(None)
    tab.uploads, tab.visitor, tab.opened = Uploads(page, lambda visitor: False), "visitor", "opened"  # pyright: ignore
    one, two, nameless = (cast(Any, SimpleNamespace(session_hash=name)) for name in ("one", "two", None))
    first = tab.greet("", one)[tab.visitor]
    assert len(first) == 32 and tab.greet("", one)[tab.visitor] == first == tab.greet(first, two)[tab.visitor]
    assert len({first, *(tab.greet("x", asks)[tab.visitor] for asks in (two, nameless, nameless))}) == 4


def test_more_tabs_than_enough_do_not_hold_the_pages_threads_on_one_run() -> None:
    run = Run(Choice(open_split("bundled"), None, None, 0, (), ()), "record.jsonl", "visitor")
    running = Running(None)
    running.newest = run
    tabs = []
    while watched := running.to_watch("visitor"):
        tabs.append(watched.watch())
        next(tabs[-1])
    assert len(tabs) == run.watchers == WATCHERS
    tabs.pop().close()
    assert running.to_watch("visitor") is run


def test_what_a_list_no_longer_offers_is_told_in_a_sentence(tmp_path: Path) -> None:
    page = build_app(ScriptedEngine(delay=0), Settings(results_dir=str(tmp_path)), example_split())
    app = TestClient(gr.routes.App.create_app(page))
    for number, listener in page.fns.items():
        if getattr(listener.fn, "__name__", "") == "estimate_newest":
            sent = {"fn_index": number, "session_hash": "s", "data": [-1, 50, "any", 0, ["pretrained"], "ann", 1.5]}
            answer = app.post("/gradio_api/run/predict", json=sent)
            assert "Your upload is deleted. Upload the charts again" in answer.json()["data"][0]
            break
    else:
        pytest.fail("nothing tells what an evaluation costs")


def test_a_page_that_opens_writes_into_no_tab_that_is_not_open(tmp_path: Path) -> None:
    """Every output that has been used once costs the browser at every later event, and few visitors open them all."""
    page: Any = build_app(ScriptedEngine(), Settings(results_dir=str(tmp_path)), example_split()).get_config_file()
    kinds = {one["id"]: one for one in page["components"]}

    def inside(node: Any) -> set[int]:
        return {node["id"]}.union(*(inside(one) for one in node.get("children") or ()))

    def tabs(node: Any) -> list[Any]:
        found = [node] if kinds.get(node["id"], {}).get("type") == "tabitem" else []
        return found + [tab for one in node.get("children") or () for tab in tabs(one)]

    _, *closed = tabs(page["layout"])
    assert [kinds[tab["id"]]["props"]["label"] for tab in closed] == ["Evaluate", "Training"]
    shown = {one for tab in closed for one in inside(tab) if kinds[one]["props"].get("visible") is not False}
    begun = {one["id"] for one in page["dependencies"] if "load" in [event for _, event in one["targets"]]}
    assert begun
    while more := {one["id"] for one in page["dependencies"] if one["trigger_after"] in begun} - begun:
        begun |= more
    written = {output for one in page["dependencies"] if one["id"] in begun for output in one["outputs"]}
    assert [kinds[one] for one in written & shown] == []
