"""Stop and a second Ask while what was asked is on its way to the server; in Chromium, with a scripted engine."""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from page_fixtures import Gate, Tab, expect, replies
from playwright.sync_api import Page, Route

from chartqa_demo.engines.scripted import ScriptedEngine
from chartqa_demo.settings import Settings
from chartqa_demo.ui.compare.history import Run
from chartqa_demo.ui.compare.question import Question, Turn
from chartqa_demo.ui.compare.tab import CompareTab

pytest_plugins = ("page_fixtures",)


class SlowLine:
    """What the visitor does reaches the queue of the server one by one, as a test lets it; all of it after `open`."""

    def __init__(self, page: Page) -> None:
        self.page, self.waiting, self.opened = page, list[Callable[[], None]](), False
        page.route("**/queue/join?*", self._take)

    def _take(self, route: Route) -> None:
        if not route.request.post_data_json["trigger_id"]:  # nobody's doing: the page loads
            return route.continue_()
        self.waiting.append(route.continue_)
        if self.opened:
            self.let()

    def let(self) -> None:
        self.expect(1)
        self.waiting.pop(0)()

    def expect(self, number: int) -> None:
        for _ in range(500):
            if len(self.waiting) >= number:
                return
            self.page.wait_for_timeout(20)
        raise AssertionError(f"{len(self.waiting)} were sent instead of {number}.")

    def open(self) -> None:
        self.opened = True
        while self.waiting:
            self.let()


@pytest.fixture
def line(tab: Tab, chart_file: Path) -> Iterator[SlowLine]:
    tab.upload_chart(chart_file)
    tab.type_question("How many bars are there?")
    yield SlowLine(tab.page)
    tab.page.unroute_all()


def expect_stopped_for_good(tab: Tab, engine: ScriptedEngine) -> None:
    """Nothing comes any more: the engine, which answers one question at a time, has the next one only."""
    for arm in ("Pretrained", "Prompted", "Adapter"):
        expect(tab.card(arm)).to_contain_text("Stopped")
    expect(tab.page.locator("#stop")).to_be_disabled()
    before = len(engine.questions)
    tab.type_question("Which bar is the tallest?")
    tab.press("Ask")
    tab.expect_ready()
    assert [text for _, text, _ in engine.questions[before:]] == ["Which bar is the tallest?"]


def test_stop_holds_for_answers_that_are_about_to_begin(tab: Tab, engine: ScriptedEngine, line: SlowLine) -> None:
    tab.page.get_by_label("Question", exact=True).press("Enter")
    line.let()  # the question; the stream of its answers is asked for next
    line.expect(1)
    tab.page.keyboard.press("Escape")
    expect(tab.card("Adapter")).to_contain_text("Stopped")
    line.open()
    expect_stopped_for_good(tab, engine)
    assert len(engine.questions) == 1, "the engine answered a question that was stopped"


@pytest.mark.campaign  # the test above stops one request later
def test_stop_holds_for_a_question_that_is_on_its_way(tab: Tab, engine: ScriptedEngine, line: SlowLine) -> None:
    engine.pace = gate = Gate()
    tab.page.get_by_label("Question", exact=True).press("Enter")
    line.expect(1)
    tab.page.keyboard.press("Escape")
    line.open()
    expect(tab.card("Adapter")).to_contain_text("Stopped")
    gate.open()
    expect_stopped_for_good(tab, engine)


def test_asked_twice_is_answered_once_and_stopped_at_once(tab: Tab, engine: ScriptedEngine, line: SlowLine) -> None:
    engine.script, engine.pace = replies(*["four bars in all"] * 3), (gate := Gate())
    for number in (1, 2):
        tab.press("Ask")
        line.expect(number)
    for _ in range(2):
        line.let()
    line.expect(2)  # each has led to a stream
    line.open()
    gate.let()
    expect(tab.answer("Adapter")).to_have_text("four")
    tab.press("Stop")
    expect(tab.card("Adapter")).to_contain_text("Stopped")
    gate.open()
    assert engine.idle.wait(timeout=5), "the engine goes on for nobody"
    assert len(engine.questions) == 1
    expect_stopped_for_good(tab, engine)


def test_asked_again_twice_ends_the_first_once(tab: Tab, engine: ScriptedEngine, line: SlowLine) -> None:
    engine.script, engine.pace = replies(*["four bars in all"] * 3), (gate := Gate())
    ending: list[Callable[[], None]] = []
    tab.page.route("**/cancel", lambda route: ending.append(route.continue_))
    tab.press("Ask")
    line.let()
    line.let()
    gate.let()
    expect(tab.answer("Adapter")).to_have_text("four")
    for number in (1, 2):
        tab.press("Ask")
        line.expect(number)
    assert len(ending) == 2
    for tell in ending:  # while the engine is at its next word
        tell()
    gate.open()
    line.open()
    tab.expect_ready()


def test_another_chart_ends_a_question_that_is_on_its_way(tab: Tab, engine: ScriptedEngine, line: SlowLine) -> None:
    engine.pace = gate = Gate()
    tab.press("Ask")
    line.expect(1)
    tab.pick_example(2)
    expect(tab.page.get_by_label("Question", exact=True)).not_to_have_value("How many bars are there?")
    line.open()
    expect(tab.card("Adapter")).to_contain_text("Stopped")
    gate.open()
    expect_stopped_for_good(tab, engine)


def streaming(chart_file: Path) -> tuple[CompareTab, Turn]:
    """What a stream of answers needs of the page, and the turn of a visitor who has asked."""
    told = {"show": lambda run, *_: {"run": run}, "engine": ScriptedEngine(0), "limits": Settings()}
    turn = Turn(Question(chart_file, "How many bars are there?"))
    return cast(CompareTab, SimpleNamespace(notice="notice", why_wait=str, **told)), turn


def phases(steps: Iterator[dict[Any, Any]]) -> Iterator[str]:
    return (step["run"].phase for step in steps if isinstance(step.get("run"), Run))


def test_whole_answers_that_were_not_sent_are_left_to_the_next_stream(chart_file: Path) -> None:
    compare, turn = streaming(chart_file)
    ended = CompareTab.answer(compare, turn)
    assert "done" in phases(ended)  # which takes it, and is cancelled there
    ended.close()  # pyright: ignore[reportAttributeAccessIssue] (a generator)
    assert "done" in list(phases(CompareTab.answer(compare, turn))), "the cards wait for ever"
    assert "done" not in phases(CompareTab.answer(compare, turn))


@pytest.mark.parametrize("ended", [True, False], ids=["ended", "not yet ended"])
def test_a_stream_takes_its_question_over_from_one_that_was_meant_for_another(chart_file: Path, ended: bool) -> None:
    compare, turn = streaming(chart_file)
    late = CompareTab.answer(compare, turn)  # meant for an earlier question, which the visitor's click has cancelled
    next(late)
    if ended:
        late.close()  # pyright: ignore[reportAttributeAccessIssue] (a generator)
    told = CompareTab.answer(compare, turn)  # beside it, where an engine answers several at once
    next(told)
    assert set(phases(late)).isdisjoint({"done", "running"})
    assert "done" in phases(told)


# The page reads the last word of a cancelled event only after it has heard that the event is cancelled.
LATE = """() => {
  const wait = window.setTimeout;
  const cancelled = (told) => told?.msg === "process_completed" && !told.output.data?.length;
  const late = (then, told) => wait(() => (then(told), wait(() => (window.late = true), 100)), 500);
  window.setTimeout = (then, ms, ...told) => (cancelled(told[0]) ? late(then, ...told) : wait(then, ms, ...told));
}"""


def test_a_stream_that_says_late_that_it_was_cancelled_is_no_error(fresh_tab: Tab, engine: ScriptedEngine) -> None:
    tab = fresh_tab
    tab.page.evaluate(LATE)
    engine.script, engine.pace = replies(*["four bars in all"] * 3), (gate := Gate())
    tab.pick_example()
    tab.press("Ask")
    gate.let()
    expect(tab.answer("Adapter")).to_have_text("four")
    tab.press("Stop")
    expect(tab.card("Adapter")).to_contain_text("Stopped")
    gate.open()
    tab.page.wait_for_function("window.late")
    expect(tab.page.get_by_text("Error", exact=True)).to_have_count(0)
    expect(tab.card("Adapter")).to_contain_text("Stopped")
