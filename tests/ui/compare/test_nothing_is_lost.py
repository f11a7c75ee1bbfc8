"""Chart, question and answers outlive a reload, and the history is the visitor's own; in Chromium, scripted engine."""

import re
from pathlib import Path

import pytest
from page_fixtures import Gate, OpenTab, Tab, expect, replies
from playwright.sync_api import Route

from chartqa_demo.engines.scripted import ScriptedEngine

pytest_plugins = ("page_fixtures",)

ARMS = ("Pretrained", "Prompted", "Adapter")


def question_of(tab: Tab) -> None:
    expect(tab.page.get_by_label("Question", exact=True)).to_have_value("How many bars are there?")


def ask_about(tab: Tab, chart: Path | None) -> None:
    if chart is None:
        tab.pick_example(2)
    else:
        tab.upload_chart(chart)
    tab.type_question("How many bars are there?")
    tab.page.get_by_label("Right answer, if").fill("4")
    tab.press("Ask")
    tab.expect_ready()


@pytest.mark.parametrize(
    "own",
    [pytest.param(False, marks=pytest.mark.campaign), True],  # a sampled chart comes back in the tests below
    ids=["a sampled chart", "an uploaded chart"],
)
def test_a_reload_keeps_chart_question_answers_and_verdicts(
    tab: Tab, engine: ScriptedEngine, chart_file: Path, own: bool
) -> None:
    engine.script = replies("There are 4.", "5", "4")
    ask_about(tab, chart_file if own else None)
    expect(tab.page.locator("#history li img")).to_have_count(1)
    tab.page.reload()
    tab.expect_ready()
    question_of(tab)
    expect(tab.page.get_by_label("Right answer, if")).to_have_value("4")
    expect(tab.page.locator("#asked")).to_contain_text("Gold answer 4 (yours)")
    for arm, words in zip(ARMS, ("Right, but not in ChartQA's form", "Wrong", "Right"), strict=True):
        expect(tab.card(arm).locator(".verdict strong")).to_have_text(words)
    shown = "image => image.complete && image.naturalWidth === 480"
    tab.page.wait_for_function(f"({shown})(document.querySelector('#chart .image-frame img'))")
    expect(tab.page.locator("#history li")).to_have_count(1)
    tab.press("Ask")  # and the chart can be asked about
    expect(tab.page.locator("#history li")).to_have_count(2)
    assert engine.questions[-1][0].size == (480, 320)


def test_what_was_not_asked_yet_outlives_a_reload(tab: Tab, chart_file: Path) -> None:
    tab.upload_chart(chart_file)
    tab.type_question("How many bars are there?")
    tab.page.reload()
    question_of(tab)
    expect(tab.page.locator("#chart .image-frame img")).to_be_visible()
    expect(tab.card("Adapter")).to_contain_text("The answer appears here.")


def test_a_reload_while_answers_stream_keeps_what_had_come(tab: Tab, engine: ScriptedEngine) -> None:
    engine.script = replies("four bars in all", "four", "4")
    engine.pace = gate = Gate()
    tab.pick_example(2)
    tab.type_question("How many bars are there?")
    tab.press("Ask")
    gate.let(2)
    expect(tab.answer("Pretrained")).to_have_text("four bars")
    tab.page.reload()
    gate.open()
    expect(tab.answer("Pretrained")).to_have_text("four bars")
    expect(tab.card("Pretrained")).to_contain_text("Stopped")
    expect(tab.page.locator("#status")).to_contain_text("The page was left before the answers were ready.")
    question_of(tab)
    expect(tab.page.locator("#history li")).to_have_count(0)
    tab.press("Ask")
    tab.expect_ready()


@pytest.mark.parametrize("leave", ["reload", pytest.param("another chart", marks=pytest.mark.campaign)])
def test_a_question_is_kept_before_its_picture_has_come(fresh_tab: Tab, leave: str) -> None:
    tab = fresh_tab
    pictures = list[Route]()

    def hold(route: Route) -> None:
        pictures.append(route) if route.request.resource_type == "fetch" else route.continue_()

    tab.page.route("**/file=**", hold)
    ask_about(tab, None)
    assert pictures, "the picture is kept in another way"
    tab.page.reload() if leave == "reload" else tab.pick_example(1)
    expect(tab.page.locator("#history .question")).to_have_text("How many bars are there?")
    if leave == "another chart":
        for route in pictures:
            route.continue_()
        expect(tab.page.locator("#history li img")).to_have_count(1)


@pytest.mark.campaign  # from what a reload reads
def test_back_brings_everything_back(tab: Tab, engine: ScriptedEngine) -> None:
    engine.script = replies("four", "4", "4")
    ask_about(tab, None)
    tab.page.goto("about:blank")
    tab.page.go_back()
    tab.expect_ready()
    question_of(tab)
    expect(tab.answer("Pretrained")).to_have_text("four")


def test_a_second_tab_shows_the_newest_question_and_their_histories_are_one(
    open_tab: OpenTab, engine: ScriptedEngine, chart_file: Path
) -> None:
    engine.script = lambda arm, question: f"answer to {question}"
    first = open_tab()
    ask_about(first, chart_file)
    expect(first.page.locator("#history li")).to_have_count(1)
    second = open_tab()
    second.expect_ready()
    expect(second.answer("Adapter")).to_have_text("answer to How many bars are there?")
    second.pick_example(1)
    expect(second.page.get_by_label("Question", exact=True)).to_have_value(re.compile("How many visitors"))
    second.press("Ask")
    second.expect_ready()
    for tab in (first, second):
        expect(tab.page.locator("#history .question")).to_have_text(
            ["How many visitors came in the fourth quarter?", "How many bars are there?"]
        )
    expect(first.answer("Adapter")).to_have_text("answer to How many bars are there?")


def test_a_question_of_the_history_opens_again_with_its_settings(
    open_tab: OpenTab, engine: ScriptedEngine, chart_file: Path
) -> None:
    tab = open_tab()
    engine.script = lambda arm, question: f"answer to {question}"
    tab.unfold("Generation settings")
    tab.type_over(tab.page.locator("#max-new-tokens input[type=number]"), "9")
    ask_about(tab, chart_file)
    tab.type_over(tab.page.locator("#max-new-tokens input[type=number]"), "30")
    tab.pick_example(1)
    expect(tab.card("Adapter")).to_contain_text("The answer appears here.")
    tab.press("Ask")
    expect(tab.page.locator("#history li")).to_have_count(2)
    tab.page.locator("#history").get_by_role("button", name="How many bars are there?", exact=True).click()
    expect(tab.answer("Adapter")).to_have_text("answer to How many bars are there?")
    expect(tab.page.locator("#chips")).to_contain_text("How many categories are shown?")
    expect(tab.page.locator("#max-new-tokens input[type=number]")).to_have_value("9")
    question_of(tab)
    tab.press("Ask")
    expect(tab.page.locator("#history li")).to_have_count(3)


def test_questions_are_deleted_one_by_one_or_all_and_come_back(tab: Tab, engine: ScriptedEngine) -> None:
    for number in (1, 2):
        tab.pick_example(number)
        expect(tab.card("Adapter")).to_contain_text("The answer appears here.")
        tab.press("Ask")
        expect(tab.page.locator("#history li")).to_have_count(number)
    kept = tab.page.locator("#history .question")
    tab.press("Delete “How many visitors came in the fourth quarter?”")
    expect(kept).to_have_text(["Is the second bar taller than the third?"])
    tab.press("Undo")
    expect(kept).to_have_count(2)
    tab.press("Clear history")
    expect(tab.page.locator("#history")).to_contain_text("2 questions deleted.")
    expect(kept).to_have_count(0)
    tab.press("Undo")
    expect(kept).to_have_count(2)


def test_while_a_chart_is_to_come_its_place_takes_no_click(tab: Tab) -> None:
    tab.page.route("**/gradio_api/run/**", lambda _: None)
    tab.page.reload()
    empty = tab.page.locator("#chart [data-testid=upload-text]")
    expect(empty).to_be_visible()  # nothing was kept, and there is no sample
    tab.page.unroute_all()  # what was held goes on
    tab.pick_example(2)
    tab.page.route("**/gradio_api/run/**", lambda _: None)
    tab.page.reload()
    empty.wait_for(state="attached")
    expect(empty).to_be_hidden()
    told = "getComputedStyle(document.querySelector('#chart'), '::after').content"
    assert tab.page.evaluate(told) == '"Loading the chart…"'
    tab.page.unroute_all()
    expect(tab.page.locator("#chart .image-frame img")).to_be_visible()


ENTRY = "{id: '1', asked_at: '', chart: 'A chart', question: 'Why?', gold: [], answers: [], picture: {}}"


@pytest.mark.parametrize(
    ("garbled", "question"),
    [
        ("addEventListener('pagehide', () => sessionStorage.setItem('chartqa-shown', '{'))", ""),
        pytest.param(
            """new Promise((ready) => (indexedDB.open('chartqa-side-by-side').onsuccess = ({ target }) => {
                const put = target.result.transaction('entries', 'readwrite').objectStore('entries').put(ENTRY);
                put.onsuccess = () => (target.result.close(), ready());
            }))""".replace("ENTRY", ENTRY),
            "Why?",
            marks=pytest.mark.campaign,  # tests/reliability/test_fuzz.py reads entries of any values
        ),
    ],
    ids=["a session that is no JSON", "a picture that is no address"],
)
def test_a_page_opens_also_where_what_was_kept_cannot_be_read(tab: Tab, garbled: str, question: str) -> None:
    tab.page.evaluate(garbled)
    tab.page.reload()
    expect(tab.page.locator("#chart [data-testid=upload-text]")).to_be_visible()
    expect(tab.page.get_by_label("Question", exact=True)).to_have_value(question)
    tab.pick_example(2)
    expect(tab.page.get_by_label("Question", exact=True)).not_to_have_value(question)


def test_on_a_phone_a_question_that_is_opened_again_shows_its_answers(calm_tab: Tab, engine: ScriptedEngine) -> None:
    engine.script = replies("There are 4.", "5", "4")
    calm_tab.resize("phone")
    ask_about(calm_tab, None)
    calm_tab.page.locator("#history .question").click()
    for arm in ARMS:
        expect(calm_tab.answer(arm)).to_be_in_viewport()


def test_an_uploaded_picture_stays_in_the_browser_of_its_visitor(
    tab: Tab, open_tab: OpenTab, engine: ScriptedEngine, chart_file: Path
) -> None:
    ask_about(tab, chart_file)
    other = open_tab("phone")  # another browser profile
    expect(other.page.locator("#history")).to_contain_text("Nothing asked yet.")
    expect(other.page.locator("#chart .image-frame img")).to_have_count(0)
