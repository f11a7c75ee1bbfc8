"""Charts, questions and answers on the Compare page in Chromium, used as a person uses it, with a scripted engine in
place of a model."""

import re
from contextlib import suppress
from pathlib import Path

import pytest
from page_fixtures import Gate, OpenTab, Tab, Windows, expect, replies
from playwright.sync_api import TimeoutError

from chartqa_demo.engines.scripted import ScriptedEngine, made_up

pytest_plugins = ("page_fixtures",)


# --- asking ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", ["wide", pytest.param("phone", marks=pytest.mark.campaign)])
def test_three_cards_fill_word_by_word(tab: Tab, engine: ScriptedEngine, chart_file: Path, size: str) -> None:
    engine.script = replies("the tallest bar is the fourth", "the fourth", "fourth")
    engine.pace = gate = Gate()
    tab.resize(size)
    tab.upload_chart(chart_file)
    tab.type_question("Which bar is the tallest?")
    tab.press("Ask")
    gate.let()
    for arm, first in (("Pretrained", "the"), ("Prompted", "the"), ("Adapter", "fourth")):
        expect(tab.answer(arm)).to_have_text(first)
    gate.let()
    expect(tab.answer("Pretrained")).to_have_text("the tallest")
    expect(tab.card("Pretrained")).to_contain_text("Answering")
    expect(tab.card("Adapter")).to_contain_text("Done")
    gate.open()
    tab.expect_ready()
    expect(tab.answer("Pretrained")).to_have_text("the tallest bar is the fourth")
    expect(tab.answer("Prompted")).to_have_text("the fourth")
    for arm in ("Pretrained", "Prompted", "Adapter"):
        expect(tab.card(arm)).to_contain_text("Tokens")
    expect(tab.page.locator("#asked")).to_contain_text("No gold answer is known")
    image, question, _ = engine.questions[0]
    assert (image.size, question) == ((480, 320), "Which bar is the tallest?")


def test_cards_are_equal_and_do_not_jump_while_they_fill(tab: Tab, engine: ScriptedEngine) -> None:
    engine.script = made_up
    engine.pace = gate = Gate()
    tab.pick_example()
    tab.press("Ask")
    gate.let()
    expect(tab.answer("Pretrained")).to_have_text("No")

    def boxes() -> list[tuple[int, int]]:
        found = [tab.card(arm).bounding_box() for arm in ("Pretrained", "Prompted", "Adapter")]
        return [(round(box["width"]), round(box["height"])) for box in found if box]

    first = boxes()
    assert len(set(first)) == 1
    gate.let(8)
    expect(tab.answer("Pretrained")).to_contain_text("this sentence")
    assert boxes() == first
    gate.open()
    tab.expect_ready()
    assert len(set(boxes())) == 1


def test_verdicts_say_why_in_words(tab: Tab, engine: ScriptedEngine) -> None:
    engine.script = replies("The fourth quarter had 200 visitors.", "150", "205")
    tab.pick_example()
    tab.press("Ask")
    tab.expect_ready()
    expect(tab.page.locator("#asked")).to_contain_text("Gold answer 200 (the bundled charts)")
    verdicts = {arm: tab.card(arm).locator(".verdict") for arm in ("Pretrained", "Prompted", "Adapter")}
    expect(verdicts["Pretrained"]).to_contain_text(["Right, but not in ChartQA's form 200 read from the answer"])
    expect(verdicts["Pretrained"]).to_contain_text(["ChartQA's own rule says no"])
    expect(verdicts["Pretrained"]).to_have_class(re.compile("partly"))
    expect(verdicts["Prompted"]).to_contain_text(["Wrong 150 against 200: 25.0 % off"])
    expect(verdicts["Prompted"]).to_have_class(re.compile("bad"))
    expect(verdicts["Adapter"]).to_contain_text(["Right 205 against 200: 2.5 % off"])
    expect(verdicts["Adapter"]).to_have_class(re.compile("good"))
    assert len({one.locator("path").get_attribute("d") for one in verdicts.values()}) == 3  # a sign of its own each
    expect(tab.page.get_by_role("status")).to_contain_text(
        ["3 answers ready: Pretrained right, but not in ChartQA's form; Prompted wrong; Adapter right."]
    )
    expect(tab.page.locator("#asked .winner")).to_have_text(
        "Pretrained and Adapter found 200; Adapter within 5 %; only Adapter wrote it as ChartQA wants."
    )
    expect(tab.page.locator("#history .verdict")).to_have_text(["Right, but not in ChartQA's form", "Wrong", "Right"])


def test_a_visitors_own_gold_answer_wins_and_is_read_as_a_number(tab: Tab, engine: ScriptedEngine) -> None:
    engine.script = replies("42,755", "200", "$42755")
    tab.pick_example()
    tab.page.get_by_label("Right answer, if").fill("$42,755")
    tab.press("Ask")
    tab.expect_ready()
    expect(tab.page.locator("#asked")).to_contain_text("Gold answer 42755 (yours); the bundled charts say 200")
    expect(tab.card("Pretrained").locator(".verdict")).to_contain_text("Right, but not in ChartQA's form")
    expect(tab.card("Prompted").locator(".verdict")).to_contain_text("Wrong")
    expect(tab.page.locator("#asked .winner")).to_have_text(
        "Pretrained and Adapter found 42755; none wrote it as ChartQA wants."
    )


def test_an_answer_that_the_settings_cut_says_so(
    tab: Tab, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = engine.answer
    monkeypatch.setattr(engine, "answer", lambda *asked: iter([*answer(*asked)][-1:]))  # in one piece
    engine.script = replies("word " * 100, "two words", "one")
    tab.pick_example()
    tab.press("Ask")
    tab.expect_ready()
    expect(tab.card("Pretrained").locator(".state")).to_have_text("Stopped at 96 tokens")
    expect(tab.card("Prompted").locator(".state")).to_have_text("Done")
    expect(tab.page.get_by_role("status").filter(has_text="ready")).to_contain_text("Pretrained stopped at 96 tokens")


def test_a_typed_gold_answer_gives_an_uploaded_chart_verdicts(
    tab: Tab, engine: ScriptedEngine, chart_file: Path
) -> None:
    engine.script = replies("four", "4", "5")
    tab.upload_chart(chart_file)
    tab.type_question("How many bars are there?")
    tab.page.get_by_label("Right answer, if").fill("4")
    tab.page.get_by_label("Right answer, if").press("Enter")
    tab.expect_ready()
    expect(tab.page.locator("#asked")).to_contain_text("Gold answer 4 (yours)")
    expect(tab.card("Prompted")).to_contain_text("Right 4 is the gold answer")
    expect(tab.card("Adapter")).to_contain_text("Wrong 5 against 4")


def test_stop_freezes_the_text_and_ends_the_engine(tab: Tab, engine: ScriptedEngine) -> None:
    engine.script = replies(*["word " * 500] * 3)
    engine.delay = 0.1
    tab.pick_example()
    tab.press("Ask")
    expect(tab.answer("Adapter")).to_contain_text("word word word")
    tab.press("Stop")
    assert engine.idle.wait(timeout=1), "the engine goes on for nobody"
    expect(tab.card("Adapter")).to_contain_text("Stopped")
    frozen = tab.answer("Adapter").inner_text()
    assert 3 <= len(frozen.split()) < 64
    expect(tab.page.get_by_role("button", name="Stop")).to_be_disabled()

    engine.script, engine.delay = replies("yes", "yes", "yes"), 0.01
    tab.press("Ask")
    tab.expect_ready()
    expect(tab.answer("Adapter")).to_have_text("yes")


def test_a_new_question_replaces_the_one_that_is_being_answered(tab: Tab, engine: ScriptedEngine) -> None:
    engine.script = lambda arm, question: f"{question} " * 100
    engine.delay = 0.1
    tab.pick_example()
    tab.type_question("first")
    tab.press("Ask")
    expect(tab.answer("Adapter")).to_contain_text("first first")
    engine.script = lambda arm, question: f"answer to {question}"
    tab.type_question("second")
    tab.press("Ask")
    tab.expect_ready()
    for arm in ("Pretrained", "Prompted", "Adapter"):
        expect(tab.answer(arm)).to_have_text("answer to second")


@pytest.mark.campaign  # as removing the chart does, below, and as it does for a question on its way, in test_stop.py
def test_another_chart_ends_the_question_about_the_first(tab: Tab, engine: ScriptedEngine) -> None:
    engine.script = replies(*["word " * 500] * 3)
    engine.delay = 0.1
    tab.pick_example(1)
    tab.press("Ask")
    expect(tab.answer("Adapter")).to_contain_text("word word")
    tab.pick_example(2)
    assert engine.idle.wait(timeout=1), "the engine goes on for nobody"
    expect(tab.card("Adapter")).to_contain_text("The answer appears here.")
    expect(tab.page.get_by_label("Question", exact=True)).to_have_value("Is the second bar taller than the third?")


def test_closing_the_tab_ends_the_engine(windows: Windows, engine: ScriptedEngine, app_url: str) -> None:
    engine.script = replies(*["word " * 500] * 3)
    engine.delay = 0.5
    tab = Tab(windows(), app_url)
    tab.page.goto(app_url)
    tab.pick_example()
    tab.press("Ask")
    expect(tab.answer("Adapter")).to_contain_text("word")
    tab.page.close()
    assert engine.idle.wait(timeout=10), "the engine goes on for nobody"
    tab.leave()


def test_two_visitors_get_their_own_answers(tab: Tab, open_tab: OpenTab, engine: ScriptedEngine) -> None:
    engine.script = lambda arm, question: f"answer to {question}"
    first, second = tab, open_tab()
    for one, question in ((first, "one"), (second, "two")):
        one.pick_example()
        one.type_question(question)
    first.press("Ask")
    second.press("Ask")
    for one, question in ((first, "one"), (second, "two")):
        one.expect_ready()
        expect(one.answer("Adapter")).to_have_text(f"answer to {question}")


# --- charts and suggestions ----------------------------------------------------------------------------------------


PUT_INTO_CLIPBOARD = """async () => {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [200, 120];
  const picture = await new Promise((ready) => canvas.toBlob(ready, "image/png"));
  await navigator.clipboard.write([new ClipboardItem({ "image/png": picture })]);
}"""


def test_a_chart_can_be_pasted(fresh_tab: Tab, engine: ScriptedEngine) -> None:
    fresh_tab.page.evaluate(PUT_INTO_CLIPBOARD)
    fresh_tab.press("Paste from clipboard")
    expect(fresh_tab.page.locator("#chart img")).to_be_visible()
    fresh_tab.press("What is the title of the chart?")
    fresh_tab.expect_ready()
    assert engine.questions[0][0].size == (200, 120)
    assert engine.questions[0][0].getpixel((0, 0)) == (255, 255, 255)


def test_a_chart_can_be_photographed(fresh_tab: Tab, engine: ScriptedEngine) -> None:
    fresh_tab.press("Capture from camera")
    fresh_tab.page.get_by_text("Click to Access Webcam").click()
    fresh_tab.page.wait_for_function("document.querySelector('#chart video')?.videoWidth > 0")
    # Gradio asks for the progress of an upload that it has not begun, and logs the 404 in two lines, often after ours.
    # When the upload begins first, there is nothing to log.
    told = fresh_tab.page.expect_console_message(lambda message: message.text == "Response", timeout=5_000)
    with suppress(TimeoutError), told:
        fresh_tab.press("capture photo")
        expect(fresh_tab.page.locator("#chart img")).to_be_visible()
        fresh_tab.press("What is the title of the chart?")
        fresh_tab.expect_ready()
    assert engine.questions[0][0].mode == "RGB"
    assert all(error == "Response" or "404" in error for error in fresh_tab.errors)
    fresh_tab.errors.clear()


def test_a_suggestion_of_the_chart_is_asked_with_one_click(tab: Tab, engine: ScriptedEngine) -> None:
    engine.script = replies("Q2", "Q1", "Q1")
    tab.pick_example()
    tab.press("Which quarter had the fewest visitors?")
    tab.expect_ready()
    expect(tab.page.get_by_label("Question", exact=True)).to_have_value("Which quarter had the fewest visitors?")
    expect(tab.page.locator("#asked")).to_contain_text("Gold answer Q1")
    expect(tab.card("Adapter")).to_contain_text("Right")
    expect(tab.card("Pretrained")).to_contain_text("Wrong")


def test_an_uploaded_chart_gets_general_suggestions(tab: Tab, engine: ScriptedEngine, chart_file: Path) -> None:
    tab.pick_example()
    expect(tab.page.locator("#chips")).to_contain_text("Which quarter had the fewest visitors?")
    tab.press("Remove Image")
    tab.upload_chart(chart_file)
    expect(tab.page.locator("#chips")).not_to_contain_text("Which quarter had the fewest visitors?")
    tab.press("How many categories are shown?")
    tab.expect_ready()
    expect(tab.page.locator("#asked")).to_contain_text("No gold answer is known")


def test_a_random_chart_brings_a_question_of_the_chosen_kind(tab: Tab) -> None:
    asked = {"human": "How many visitors|Which quarter|Is the second", "machine": "What is the|How many bars"}
    for kind in ("human", "machine", "human"):
        tab.page.get_by_label(kind, exact=True).check()
        tab.press("Random chart")
        expect(tab.page.get_by_label("Question", exact=True)).to_have_value(re.compile(asked[kind]))
        expect(tab.page.locator("#chart img")).to_be_visible()


def test_another_chart_of_the_visitor_empties_the_cards(tab: Tab, chart_file: Path) -> None:
    tab.pick_example()
    tab.page.get_by_label("Right answer, if").fill("1")
    tab.press("Ask")
    tab.expect_ready()
    tab.press("Remove Image")
    for arm in ("Pretrained", "Prompted", "Adapter"):
        expect(tab.card(arm)).to_contain_text("The answer appears here.")
    expect(tab.page.locator("#asked")).to_contain_text("Pick a chart, ask a question, and compare.")
    expect(tab.page.get_by_role("status").filter(has_text="ready")).to_have_count(0)
    expect(tab.page.get_by_label("Right answer, if")).to_have_value("")
    tab.upload_chart(chart_file)
    expect(tab.page.locator("#chips")).to_contain_text("How many categories are shown?")


def test_removing_the_chart_keeps_the_question(tab: Tab) -> None:
    tab.pick_example()
    tab.type_question("What now?")
    tab.press("Remove Image")
    expect(tab.page.locator("#chart img")).to_have_count(0)
    tab.press("Ask")
    tab.expect_notice("Add a chart first")
    expect(tab.page.get_by_label("Question", exact=True)).to_have_value("What now?")


@pytest.mark.parametrize("times", [1, pytest.param(5, marks=pytest.mark.campaign)])
def test_removing_the_chart_while_answers_stream_leaves_empty_cards(
    tab: Tab, engine: ScriptedEngine, times: int
) -> None:
    engine.script = replies(*["word " * 500] * 3)
    engine.delay = 0.05
    for _ in range(times):  # what the stream had sent already comes afterwards, or not
        tab.pick_example(1)
        tab.press("Ask")
        expect(tab.answer("Adapter")).to_contain_text("word word")
        tab.press("Remove Image")
        assert engine.idle.wait(timeout=5), "the engine goes on for nobody"
        tab.page.wait_for_timeout(1_000)
        expect(tab.card("Adapter")).to_contain_text("The answer appears here.")
        expect(tab.page.get_by_role("button", name="Stop")).to_be_disabled()
