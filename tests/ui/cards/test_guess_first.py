"""Guess first: what is hidden is nowhere in the page until the visitor has answered or voted; in Chromium, scripted
engine."""

import asyncio
import csv
import io
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

import pytest
from gradio.queueing import Event, EventMessage, ProcessCompletedMessage, Queue
from page_fixtures import Gate, Looks, Tab, expect, in_looks, looks, looks_in_turn, replies, violations, wait_until
from playwright.sync_api import Locator

from chartqa_demo.arms import ARMS
from chartqa_demo.engines import Answer
from chartqa_demo.engines.scripted import ScriptedEngine
from chartqa_demo.ui.compare.cards.guess import Guess, order_of, read_guess
from chartqa_demo.ui.compare.charts import Chart
from chartqa_demo.ui.compare.history import Run, entry, read_entry
from chartqa_demo.ui.compare.question import Question

pytest_plugins = ("page_fixtures",)

ASKED = Question(Path("chart.png"), "How many?", ("200",), "bars", chart_name="bars, test/0", example="b/0", blind=True)
NAMES = ("Pretrained", "Prompted", "Adapter")
LETTERS = ("Answer A", "Answer B", "Answer C")


def ask(tab: Tab, number: int = 1) -> None:
    tab.page.get_by_label("Guess first").check()
    tab.pick_example(number)
    expect(tab.card("Adapter")).to_contain_text("The answer appears here.")
    tab.press("Ask")
    tab.expect_ready()


def score(tab: Tab) -> Locator:
    return tab.page.locator("#score")


def hidden_texts(tab: Tab) -> str:
    """All that the answers' part of the page holds, attributes included, and what a reload would bring back."""
    tab.page.evaluate("dispatchEvent(new Event('pagehide'))")
    return tab.page.evaluate(
        "document.querySelector('#answers').outerHTML.replace(/id=\"card-\\w+\"/g, '')"
        " + document.querySelector('#history').outerHTML + sessionStorage.getItem('chartqa-shown')"
    )


def test_the_same_question_is_shuffled_alike_and_others_otherwise() -> None:
    assert order_of(ASKED, 3) == order_of(ASKED, 3)
    orders = {tuple(order_of(Question(Path(), f"question {n}", blind=True), 3)) for n in range(60)}
    assert len(orders) == 6
    assert order_of(Question(Path(), "question"), 3) == [0, 1, 2]


@pytest.mark.parametrize("best", [None, 7, "D", "adapter", ["A"]])
def test_a_vote_is_a_letter_or_none_at_all(best: object) -> None:
    assert read_guess(3, best, ASKED, ARMS) == Guess()


def test_a_guess_is_judged_as_an_arms_answer_and_comes_back_from_the_browser() -> None:
    answers = tuple(Answer(arm.key, text, done=True) for arm, text in zip(ARMS, ("1", "200", "3"), strict=True))
    told = entry(ARMS, Run(ASKED, answers, "done", guess=Guess("about 200 people", "prompted")))
    assert told and [one["standing"] for one in told["answers"]] == ["wrong", "right", "wrong", "other-form"]
    assert [one.get("best") for one in told["answers"]] == [False, True, False, None]
    again = read_entry(json.loads(json.dumps(told)), ARMS, Chart("chart.png"))
    assert again and again.guess == Guess("about 200 people", "prompted") and not again.hidden


def test_nothing_names_an_arm_or_the_gold_answer_before_the_guess(tab: Tab, engine: ScriptedEngine) -> None:
    engine.script = replies("one", "two", "three")
    ask(tab)
    for _ in ("asked", "reloaded"):
        for letter in LETTERS:
            expect(tab.card(letter).locator(".answer")).to_have_text(re.compile("one|two|three"))
        texts = hidden_texts(tab)
        assert not re.search(r"pretrained|prompted|adapter|\b200\b|wrong|LoRA", texts, re.IGNORECASE)
        tab.press("Copy as Markdown")
        expect(tab.page.get_by_role("button", name="Copied")).to_be_visible()
        copied = tab.page.evaluate("navigator.clipboard.readText()")
        assert "Answer B" in copied and not re.search("Adapter|200|Wrong", copied)
        expect(tab.page.locator("#status")).to_have_text("3 answers ready. Answer or vote to see whose they are.")
        expect(tab.page.locator("#compare-correct")).to_be_hidden()
        expect(tab.page.locator("#history")).to_contain_text("Nothing asked yet.")
        tab.page.reload()
        tab.expect_ready()
        expect(tab.page.get_by_label("Guess first")).to_be_checked()
    order = [tab.card(letter).locator(".answer").inner_text() for letter in LETTERS]
    tab.page.keyboard.press("g")
    tab.page.keyboard.type("200 people")
    tab.page.keyboard.press("Enter")
    expect(tab.page.locator(".guessed")).to_be_focused()
    expect(tab.page.locator(".guessed")).to_contain_text("Your answer: 200 people")
    expect(tab.page.locator(".guessed .verdict")).to_contain_text("Right, but not in ChartQA's form")
    assert tab.page.locator("#answers .card .answer").all_inner_texts() == order  # no card changes its place
    for name, text in zip(NAMES, ("one", "two", "three"), strict=True):
        expect(tab.answer(name)).to_have_text(text)
        expect(tab.card(name).locator(".verdict")).to_contain_text("Wrong")
    expect(tab.page.locator("#asked")).to_contain_text("Gold answer 200")
    expect(score(tab)).to_contain_text("Right so far, of 1: You 0 (1) Pretrained 0 (0)")


def test_votes_and_guesses_are_counted_once_exported_and_deleted(tab: Tab, engine: ScriptedEngine) -> None:
    engine.script = replies("4", "200", "It is 200.")
    ask(tab)
    tab.page.get_by_label("Your answer").fill("200")
    best = next(letter for letter in LETTERS if tab.card(letter).locator(".answer").inner_text() == "200")
    tab.press(f"{best} is the best")
    expect(tab.page.locator(".guessed")).to_contain_text(f"Your vote: {best.replace('A', 'a', 1)}, by Prompted.")
    tab.press("Ask")  # the same again
    expect(tab.page.locator(".guessed")).to_have_count(0)
    tab.expect_ready()
    tab.page.get_by_label("Your answer").fill("7")
    tab.press("Guess")
    expect(tab.page.locator(".guessed")).to_contain_text("the first time counts")
    tab.pick_example(2)
    expect(tab.card("Adapter")).to_contain_text("The answer appears here.")
    tab.press("Ask")
    tab.expect_ready()
    tab.press("None")
    expect(tab.page.locator(".guessed")).to_contain_text("Your vote: none of them.")
    tab.pick_example(3)
    expect(tab.card("Adapter")).to_contain_text("The answer appears here.")
    tab.press("Ask")
    tab.expect_ready()
    tab.press("Show")
    expect(tab.page.locator(".guessed")).to_contain_text("it does not count")
    tab.page.reload()
    summary = score(tab).locator("summary")
    expect(summary).to_have_text("Right so far, of 1: You 1 (1) Pretrained 0 (0) Prompted 1 (1) Adapter 0 (1)")
    summary.click()
    expect(score(tab).get_by_role("row", name="Your votes for the best")).to_contain_text("010")
    link = score(tab).get_by_role("link", name="Download CSV").get_attribute("href") or ""
    rows = list(csv.DictReader(io.StringIO(unquote(link.split(",", 1)[1]))))
    assert [(row["arm"], row["text"], row["best"]) for row in rows[:4]] == [
        ("pretrained", "4", "false"),
        ("prompted", "200", "true"),
        ("adapter", "It is 200.", "false"),
        ("you", "200", ""),
    ]
    assert len(rows) == 7
    link = score(tab).get_by_role("link", name="Download JSON").get_attribute("href") or ""
    assert [one["best"] for one in json.loads(unquote(link.split(",", 1)[1]))] == ["prompted", "none"]
    expect(tab.page.locator("#history li").nth(3)).to_contain_text("You200")
    tab.press("Delete my guesses")
    expect(score(tab)).to_contain_text("Guesses deleted.")
    score(tab).get_by_role("button", name="Undo").click()
    expect(summary).to_contain_text("of 1: You 1")


def test_a_guess_during_the_answers_counts_when_they_are_there(tab: Tab, engine: ScriptedEngine) -> None:
    engine.script = replies("4 bars", "4 bars", "4 bars")
    engine.pace = gate = Gate()
    tab.page.get_by_label("Guess first").check()
    tab.pick_example()
    tab.press("Ask")
    gate.let()
    expect(tab.answer("Answer C")).to_have_text("4")
    tab.page.get_by_label("Your answer").fill("200")
    tab.press("Guess")
    expect(tab.page.locator("#guess")).to_contain_text("It counts when the answers are ready.")
    expect(tab.card("Answer C")).to_be_visible()
    gate.open()
    expect(tab.page.locator(".guessed .verdict")).to_contain_text("Right")
    expect(tab.card("Adapter").locator(".verdict")).to_contain_text("Wrong")
    expect(score(tab)).to_contain_text("of 1: You 1 (1)")


def test_a_guess_stands_when_the_stream_says_late_that_it_has_ended(
    tab: Tab, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[Callable[[], object]] = []

    def send(queue: Queue, event: Event, message: EventMessage) -> None:
        if isinstance(message, ProcessCompletedMessage) and event.fn.types_generator:
            loop = asyncio.get_running_loop()
            held.append(lambda: loop.call_soon_threadsafe(send_at_once, queue, event, message))
        else:
            send_at_once(queue, event, message)

    send_at_once = Queue.send_message
    monkeypatch.setattr(Queue, "send_message", send)
    engine.script = replies("4", "200", "It is 200.")
    ask(tab)
    tab.page.get_by_label("Your answer").fill("200")
    tab.press("Guess")
    expect(tab.page.locator(".guessed .verdict")).to_contain_text("Right")
    wait_until(lambda: bool(held), "the stream has ended")
    held.pop()()
    tab.page.wait_for_timeout(500)
    expect(tab.page.locator(".guessed .verdict")).to_contain_text("Right")
    expect(tab.card("Adapter")).to_be_visible()


def test_turned_off_it_hides_nothing(tab: Tab, engine: ScriptedEngine) -> None:
    ask(tab)
    expect(tab.card("Answer A")).to_be_visible()
    tab.page.get_by_label("Guess first").uncheck()
    for name in NAMES:
        expect(tab.card(name)).to_be_visible()
    expect(tab.page.locator("#guess")).to_be_hidden()
    tab.press("Ask")
    wait_until(lambda: len(engine.questions) == 2, "the second question is never asked")
    tab.expect_ready()
    expect(tab.page.locator("#asked")).to_contain_text("Gold answer 200")


@in_looks
def test_nothing_jumps_and_all_of_it_is_accessible(calm_tab: Tab, engine: ScriptedEngine, of: Looks) -> None:
    engine.script = replies("There are 1,400 of them.", "1400", "1,400")
    engine.pace = gate = Gate()
    tab = calm_tab
    tab.page.get_by_label("Guess first").check()
    tab.pick_example()
    tab.press("Ask")
    gate.let()

    def places() -> dict[str, list[float]]:
        """Of every card, in these sizes and modes."""
        return {
            look: tab.page.evaluate(
                "[...document.querySelectorAll('#answers .card')].flatMap((card) => {"
                "const box = card.getBoundingClientRect();"
                "return [box.top - document.querySelector('#answers').getBoundingClientRect().top, box.height]})"
            )
            for look in looks(tab.page, of)
        }

    expect(tab.answer("Answer A")).not_to_have_text("")
    first = places()
    gate.open()
    tab.expect_ready()
    assert places() == first
    for number, moment in enumerate(("hidden", "shown")):
        for look in looks_in_turn(tab.page, of, number):
            if shots := os.environ.get("SHOTS"):
                tab.page.screenshot(path=Path(shots) / f"guess-{moment}-{look}.png", full_page=True)
            assert violations(tab.page) == [], look
        if moment == "hidden":
            tab.page.get_by_label("Your answer").fill("200")
            tab.press("Answer B is the best")
            expect(tab.page.locator(".guessed")).to_be_visible()
            assert places() == first
            score(tab).locator("summary").click()
