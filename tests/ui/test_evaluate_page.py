"""The Evaluate tab in Chromium, used as a person uses it, with an engine that waits for the test between batches."""

import csv
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from evaluation import BatchEngine, choose, eighty_questions, open_with_all, press, run_all, status
from page_fixtures import Gate, Looks, OpenTab, Tab, Windows, expect, in_looks, looks_in_turn, violations, wait_until

from chartqa_demo.settings import Settings
from chartqa_demo.ui import build_app, launch_options

pytest_plugins = ("page_fixtures",)


@pytest.fixture(scope="module")
def evaluation_app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[BatchEngine, str, Path]]:
    engine, folder = BatchEngine(), tmp_path_factory.mktemp("results")
    app = build_app(engine, Settings(results_dir=str(folder)), eighty_questions())
    _, url, _ = app.queue(max_size=20).launch(prevent_thread_lock=True, quiet=True, **launch_options())
    yield engine, url, folder
    app.close(verbose=False)


@pytest.fixture
def engine(evaluation_app: tuple[BatchEngine, str, Path]) -> Iterator[BatchEngine]:
    engine, _, folder = evaluation_app
    engine.reset()
    for file in folder.iterdir():
        file.unlink()
    yield engine
    engine.open()


@pytest.fixture
def folder(evaluation_app: tuple[BatchEngine, str, Path]) -> Path:
    return evaluation_app[2]


@pytest.fixture
def app_url(evaluation_app: tuple[BatchEngine, str, Path], engine: BatchEngine) -> str:
    return evaluation_app[1]


@pytest.fixture
def open_tab(windows: Windows, app_url: str) -> Iterator[OpenTab]:
    """The Evaluate tab in the browser of one more visitor; after the test nothing may have gone wrong unseen."""
    tabs: list[Tab] = []

    def open_tab(size: str = "wide", theme: str = "light") -> Tab:
        page = windows(size, visitor=len(tabs))
        tab = Tab(page, app_url)
        tabs.append(tab)
        open_with_all(page, f"{app_url}?__theme={theme}")
        return tab

    yield open_tab
    for tab in tabs:
        tab.leave()


@pytest.fixture(scope="module")
def measured(windows: Windows, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Tab, BatchEngine]]:
    """A server whose results no test deletes, and a page of it on which all was asked, for tests that only look at what
    came of it."""
    engine, folder = BatchEngine(), tmp_path_factory.mktemp("measured")
    app = build_app(engine, Settings(results_dir=str(folder)), eighty_questions())
    _, url, _ = app.queue(max_size=20).launch(prevent_thread_lock=True, quiet=True, **launch_options())
    tab = Tab(windows(visitor=2), url)
    open_with_all(tab.page, url)
    run_all(tab.page, engine)
    yield tab, engine
    tab.leave()
    app.close(verbose=False)


@pytest.fixture
def results(windows: Windows, measured: tuple[Tab, BatchEngine]) -> Iterator[OpenTab]:
    """`results(size)`: a page of that server as it opens for another visitor."""
    tabs: list[Tab] = []

    def results(size: str = "wide") -> Tab:
        tab = Tab(windows(size), measured[0].url)
        tabs.append(tab)
        tab.page.goto(tab.url)
        tab.page.get_by_role("tab", name="Evaluate").click()
        expect(tab.page.locator("#evaluation-scores")).to_contain_text("80 of 80 questions")
        return tab

    yield results
    measured[1].reset()
    measured[1].open()
    for tab in tabs:
        tab.leave()


def test_another_scorer_recomputes_without_asking_the_model(measured: tuple[Tab, BatchEngine]) -> None:
    page, engine = measured[0].page, measured[1]
    asked = len(engine.asked)
    prompted = page.locator("#evaluation-scores").get_by_role("row", name="Prompted").first
    expect(prompted).to_contain_text("0.0 %")
    expect(prompted).to_contain_text("100.0 % with format forgiven")
    tests = page.locator("#evaluation-scores .tests")
    expect(tests).to_contain_text("As ChartQA scores")
    expect(tests).to_contain_text("With format forgiven")
    page.get_by_label("tolerant", exact=True).check()
    expect(prompted).to_contain_text("100.0 %")
    expect(page.locator("#evaluation-scores")).to_contain_text("Adapter and Prompted are right on exactly the same")
    expect(page.locator("#evaluation-items")).to_contain_text("Right It is 1.")
    page.get_by_label("canonical", exact=True).check()
    expect(page.locator("#evaluation-items")).to_contain_text("Right, but not in ChartQA's form It is 1.")
    assert len(engine.asked) == asked


def test_downloads_hold_every_answer_and_verdict(measured: tuple[Tab, BatchEngine], tmp_path: Path) -> None:
    page = measured[0].page
    for name in ("csv", "json"):
        with page.expect_download() as download:
            press(page, name)
        download.value.save_as(tmp_path / f"answers.{name}")
    rows = list(csv.DictReader((tmp_path / "answers.csv").open(encoding="utf-8")))
    assert len(rows) == 80
    assert (rows[7]["adapter answer"], rows[7]["adapter canonical"], rows[7]["prompted exact"]) == (
        "7",
        "True",
        "False",
    )
    everything = json.loads((tmp_path / "answers.json").read_text(encoding="utf-8"))
    assert everything["settings"]["model"] == "a scripted model"
    assert everything["items"][7]["answers"]["prompted"] == "It is 7."


def test_a_question_that_could_not_be_asked_is_shown_with_its_reason(measured: tuple[Tab, BatchEngine]) -> None:
    page = measured[0].page
    choose(page, "Who is right", "Not answered")
    items = page.locator("#evaluation-items")
    expect(items).to_contain_text("1 to 10 of 10 questions")
    items.get_by_role("button").first.click()
    expect(page.locator("#evaluation-item")).to_contain_text("The question was not asked.")
    expect(page.get_by_role("button", name="Open in Compare")).to_be_disabled()
    choose(page, "Who is right", "Right and wrong answers")


def test_any_number_of_questions_is_typed(open_tab: OpenTab, engine: BatchEngine) -> None:
    page = open_tab().page
    size, cost = page.locator("#evaluation-size input"), page.locator("#evaluation-cost")
    size.fill("several")
    size.press("Enter")
    expect(cost).to_have_text("Choose how many questions to ask, or type a whole number from 1.")
    size.fill("7")
    size.press("Enter")
    expect(cost).to_contain_text("7 questions to 3 arms")
    engine.open()
    press(page, "start")
    expect(status(page)).to_have_text("Done: 7 questions.")


def test_start_moves_stop_keeps_and_start_goes_on(open_tab: OpenTab, engine: BatchEngine, folder: Path) -> None:
    page = open_tab().page
    expect(page.locator("#evaluation-cost")).to_contain_text("80 questions to 3 arms. How long it takes shows after")
    press(page, "start")
    expect(status(page)).to_have_text("0 of 80 questions.")
    engine.let()
    expect(status(page)).to_contain_text("of 80 questions, about")
    expect(page.locator("#evaluation-scores")).to_contain_text("tested against each other when the evaluation ends")
    bar = page.get_by_role("progressbar", name="Questions asked")
    first = int(bar.get_attribute("aria-valuenow") or 0)
    assert 0 < first < 70
    press(page, "stop")
    expect(page.locator("#evaluation-stop")).to_be_disabled()  # it is known before the next batch ends
    engine.let()
    expect(status(page)).to_contain_text("Stopped after")
    before = list(engine.asked)
    assert first <= len(before) < 70
    expect(page.locator("#evaluation-cost")).to_contain_text("of them asked already: about")
    engine.open()
    press(page, "start")
    expect(status(page)).to_have_text("Done: 80 questions.")
    assert len(engine.asked) == len(set(engine.asked)) == 70  # ten belong to the damaged picture
    lines = [
        json.loads(line) for line in (folder / "a-scripted-model--bundled-test-all.jsonl").read_text().splitlines()
    ]
    assert len({row["id"] for row in lines[1:]}) == len(lines) - 1 == 80
    scores = page.locator("#evaluation-scores")
    expect(scores).to_contain_text("10 of them could not be asked and are not counted")
    expect(scores).to_contain_text("Adapter beats Pretrained by 100.0 points")
    expect(scores.get_by_role("row", name="Adapter").first).to_contain_text("100.0 % 94.8 to 100.0 n = 70")


def test_questions_are_filtered_paged_and_opened_in_compare(results: OpenTab) -> None:
    page = results().page
    items = page.locator("#evaluation-items")
    expect(items).to_contain_text("1 to 10 of 70 questions")  # where the arms differ
    choose(page, "Who is right", "All questions")
    expect(items).to_contain_text("1 to 10 of 80 questions")
    page.get_by_role("button", name="Later", exact=True).click()
    expect(items).to_contain_text("11 to 20 of 80 questions")
    choose(page, "Who is right", "Only Adapter is right")
    expect(items).to_contain_text("1 to 10 of 70 questions")
    choose(page, "Asked by", "machine")
    expect(items).to_contain_text("1 to 10 of 18 questions")
    choose(page, "Chart source", "bars")
    expect(items).to_contain_text("No question passes these filters.")
    choose(page, "Chart source", "Any")
    choose(page, "Order", "Shuffled by the seed")
    expect(items.get_by_role("button").first).not_to_contain_text("test/0 ")
    choose(page, "Order", "As in the data set")
    items.get_by_role("button").filter(has_text="test/8 ").click()
    marked = items.locator("button[aria-current]")
    expect(marked).to_contain_text(["test/8 "])
    page.get_by_label("tolerant", exact=True).check()
    expect(marked).to_have_count(0)  # under this rule it is not the adapter alone that is right
    page.get_by_label("canonical", exact=True).check()
    expect(marked).to_contain_text(["test/8 "])
    detail = page.locator("#evaluation-item")
    expect(detail).to_contain_text("What is 8? <i>Markup</i>")
    expect(detail).to_contain_text("<b>0</b>")
    expect(detail).to_contain_text("Right 8 is the gold answer")
    expect(detail).to_contain_text("Right, but not in ChartQA's form 8 read from the answer")
    expect(page.locator("#evaluation-chart img")).to_be_visible()
    page.get_by_role("button", name="Open in Compare").click()
    expect(page.get_by_label("Question", exact=True)).to_have_value("What is 8? <i>Markup</i>")
    expect(page.locator("#chart img")).to_be_visible()
    recorded = page.get_by_role("article", name="Prompted")
    expect(recorded.locator(".answer")).to_have_text("It is 8.")  # known already, and marked as such
    expect(recorded).to_contain_text("From the evaluation of")
    expect(page.locator("#asked")).to_contain_text("Gold answer 8")
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.get_by_role("article", name="Adapter").locator(".answer")).to_have_text("8")
    expect(page.get_by_role("article", name="Adapter")).to_contain_text("8 is the gold answer")
    page.go_back()  # to the list, as it was left
    expect(marked).to_contain_text(["test/8 "])
    expect(marked).to_be_in_viewport()
    page.go_forward()
    expect(page.get_by_label("Question", exact=True)).to_have_value("What is 8? <i>Markup</i>")
    expect(page.locator("#chart img")).to_be_in_viewport()


@pytest.mark.parametrize("size", ["wide", pytest.param("phone", marks=pytest.mark.campaign)])
def test_results_are_there_again_on_a_new_page_and_disagreements_are_followed_in_compare(
    results: OpenTab, size: str
) -> None:
    tab = results(size)
    page, question = tab.page, tab.page.get_by_label("Question", exact=True)
    choose(page, "Questions", "All")
    expect(page.locator("#evaluation-items")).to_contain_text("1 to 10 of 70 questions")  # where the arms differ
    expect(page.locator("#evaluation-cost")).to_contain_text("80 questions to 3 arms, 80 of them asked already.")
    page.locator("#evaluation-items").get_by_role("button").nth(1).click()
    tab.press("Open in Compare")
    followed = page.locator("#followed")
    expect(followed).to_contain_text("Disagreement 2 of 70")
    expect(followed).to_be_in_viewport()
    expect(tab.answer("Prompted")).to_have_text("It is 1.")
    following = followed.get_by_role("button", name="Next")
    following.focus()
    page.keyboard.press("Enter")
    expect(followed).to_contain_text("Disagreement 3 of 70")
    expect(tab.answer("Prompted")).to_have_text("It is 2.")
    expect(page.locator("#asked")).to_contain_text("Gold answer 2")
    expect(page.locator("#status")).to_contain_text("Disagreement 3 of 70. The recorded answers are shown.")
    expect(following).to_be_focused()
    for number in (2, 1, 70):  # and round to the last
        page.keyboard.press("p")
        expect(followed).to_contain_text(f"Disagreement {number} of 70")
    page.keyboard.press("n")
    expect(question).to_have_value("What is 0? <i>Markup</i>")
    expect(page.locator("#chart img")).to_be_visible()
    expect(page.locator("#history")).to_contain_text("Nothing asked yet.")
    tab.pick_example(2)  # another chart is none of them
    expect(followed.get_by_role("button")).to_have_count(0)


def test_an_opened_question_ends_the_answer_that_still_streams_in_compare(
    results: OpenTab, measured: tuple[Tab, BatchEngine]
) -> None:
    tab, engine = results(), measured[1]
    tab.page.get_by_role("tab", name="Compare").click()
    tab.pick_example()
    gate = engine.pace = Gate()
    tab.press("Ask")
    gate.let()
    expect(tab.answer("Prompted")).to_have_text("It")
    tab.page.get_by_role("tab", name="Evaluate").click()
    tab.page.locator("#evaluation-items").get_by_role("button").nth(2).click()
    tab.press("Open in Compare")
    expect(tab.page.get_by_label("Question", exact=True)).to_have_value("What is 2? <i>Markup</i>")
    gate.open()
    wait_until(engine.idle.is_set, "the engine to be free")
    tab.press("Ask")
    expect(tab.answer("Prompted")).to_have_text("It is 2.")
    expect(tab.page.locator("#history li")).to_have_count(1)  # the first question's answer never arrived


def test_a_closed_tab_loses_nothing_and_a_new_one_goes_on(open_tab: OpenTab, engine: BatchEngine) -> None:
    page = open_tab().page
    press(page, "start")
    expect(status(page)).to_have_text("0 of 80 questions.")
    engine.let()
    expect(status(page)).to_contain_text("about")
    page.close()
    engine.open()
    page = open_tab().page

    def started() -> bool:
        press(page, "start")
        busy = page.locator("#evaluation-notice [role=alert]")
        expect(busy.or_(page.get_by_text("Done: 80 questions."))).to_be_visible()
        return not busy.is_visible()

    while not started():  # the run of the closed tab goes on to its end
        pass
    expect(status(page)).to_have_text("Done: 80 questions.")
    assert len(engine.asked) == len(set(engine.asked)) == 70


def test_two_evaluations_at_once_are_refused_and_a_question_meanwhile_says_that_it_waits_and_for_what(
    open_tab: OpenTab, engine: BatchEngine
) -> None:
    tab, second = open_tab(), open_tab().page
    first = tab.page
    press(first, "start")
    expect(status(first)).to_have_text("0 of 80 questions.")
    press(second, "start")
    expect(second.locator("#evaluation-notice")).to_contain_text("Another evaluation is running.")

    first.get_by_role("tab", name="Compare").click()
    tab.pick_example()
    gate = engine.pace = Gate()
    tab.press("Ask")
    tab.expect_notice("An evaluation is running. Your question passes before its next batch")
    expect(tab.card("Adapter")).to_contain_text("Waiting")
    gate.open()
    tab.expect_ready()
    expect(first.locator("#notice [role=alert]")).to_have_count(0)
    engine.open()
    first.get_by_role("tab", name="Evaluate").click()
    expect(status(first)).to_have_text("Done: 80 questions.")


def test_what_cannot_be_measured_is_said(measured: tuple[Tab, BatchEngine]) -> None:
    page, engine = measured[0].page, measured[1]
    asked = len(engine.asked)
    for arm in ("Pretrained", "Prompted", "Adapter"):
        page.locator("#evaluation-arms").get_by_label(arm).uncheck()
    expect(page.locator("#evaluation-cost")).to_have_text("Choose at least one arm.")
    press(page, "start")
    expect(page.locator("#evaluation-notice")).to_have_text("Choose at least one arm.")
    engine.adapter = None
    page.locator("#evaluation-arms").get_by_label("Adapter").check()
    expect(page.locator("#evaluation-cost")).to_contain_text("No adapter is loaded. Leave that arm out")
    assert len(engine.asked) == asked
    engine.adapter = "bundled"
    for arm in ("Pretrained", "Prompted"):
        page.locator("#evaluation-arms").get_by_label(arm).check()


@in_looks
def test_the_tab_is_accessible_at_every_size(open_tab: OpenTab, engine: BatchEngine, of: Looks) -> None:
    page = open_tab().page
    expect(page.locator("#evaluation-scores")).to_contain_text("Nothing measured yet.")
    for arm in ("Pretrained", "Prompted", "Adapter"):
        page.locator("#evaluation-arms").get_by_label(arm).uncheck()
    press(page, "start")
    expect(page.locator("#evaluation-notice")).to_have_text("Choose at least one arm.")
    for look in looks_in_turn(page, of, 0):
        assert violations(page) == [], look
    for arm in ("Pretrained", "Prompted", "Adapter"):
        page.locator("#evaluation-arms").get_by_label(arm).check()
    press(page, "start")
    engine.let()
    expect(status(page)).to_contain_text("of 80 questions, about")
    page.get_by_role("button", name="Upload charts of your own").click()
    for look in looks_in_turn(page, of, 1):
        assert violations(page) == [], look
    engine.open()
    expect(status(page)).to_have_text("Done: 80 questions.")
    page.locator("#evaluation-items").get_by_role("button").first.click()
    expect(page.locator("#evaluation-item")).to_contain_text("Right, but not in ChartQA's form")
    expect(page.get_by_role("button", name="Open in Compare")).to_have_css("opacity", "1")  # it fades in
    for look in looks_in_turn(page, of, 2):
        if shots := os.environ.get("SHOTS"):
            page.screenshot(path=Path(shots) / f"evaluate-{look}.png", full_page=True)
        assert violations(page) == [], look
