"""Correcting answers in Chromium: in Compare and among the disagreements, kept in a folder or in the browser."""

from collections.abc import Callable, Iterator
from pathlib import Path

import gradio as gr
import pytest
from page_fixtures import Tab, Windows, bar_chart, example_split, expect

from chartqa_demo.data.corrections import NO_ROOM, Correction, Kept, pixels_id
from chartqa_demo.data.splits import open_split
from chartqa_demo.engines.scripted import ScriptedEngine
from chartqa_demo.settings import Settings
from chartqa_demo.ui import build_app, launch_options

pytest_plugins = ("page_fixtures",)

Serve = Callable[..., str]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """`serve(corrections)`: the address of a page that keeps corrections there. before: what the button "As before"
    stores in the browser as earlier versions did."""
    apps = []

    def serve(corrections: str, before: object = None) -> str:
        engine = ScriptedEngine(delay=0)
        engine.script = lambda arm, question: {"pretrained": "It is 7.", "prompted": "1,400", "adapter": "Q1"}[arm.key]
        settings = Settings(corrections=corrections, results_dir=str(tmp_path / "results"), training="off")
        app = build_app(engine, settings, example_split())
        with app:
            secret = "in the visitor's browser only"
            old = gr.BrowserState(None, storage_key="chartqa-corrections", secret=secret)
            gr.Button("As before", visible=before is not None).click(lambda: before, None, old)
        _, url, _ = app.queue().launch(prevent_thread_lock=True, quiet=True, **launch_options())
        apps.append(app)
        return url

    yield serve
    for app in apps:
        app.close(verbose=False)


@pytest.fixture
def visit(windows: Windows) -> Iterator[Callable[..., Tab]]:
    """`visit(url, size)`: a visitor with a browser of their own; afterwards no error and no sideways scroll."""
    tabs: list[Tab] = []

    def visit(url: str, size: str = "wide") -> Tab:
        tab = Tab(windows(size, visitor=len(tabs)), url)
        tabs.append(tab)
        tab.page.goto(url)
        expect(tab.card("Adapter")).to_be_visible()
        return tab

    yield visit
    for tab in tabs:
        tab.leave()


def told(tab: Tab, words: str, where: str = "compare") -> None:
    expect(tab.page.locator(f"#{where}-corrected")).to_contain_text(words)


@pytest.mark.parametrize("size", ["wide", pytest.param("phone", marks=pytest.mark.campaign)])
def test_three_ways_to_say_what_is_right_become_rows(
    serve: Serve, visit: Callable[..., Tab], tmp_path: Path, size: str
) -> None:
    tab = visit(serve(str(tmp_path / "mine")), size)
    tab.unfold("Which answer is right?")
    tab.press("Accept Adapter")
    told(tab, "ask a question first")
    tab.pick_example()
    tab.press("Ask")
    tab.expect_ready()
    tab.press("Accept Prompted")
    told(tab, "Kept: the right answer is “1400”. 1 row to train on in the folder mine; see Training.")
    tab.page.get_by_label("The right answer is").fill("<b>301</b>")
    tab.press("Keep it")
    told(tab, "Kept: the right answer is “<b>301</b>”. 1 row to train on")
    tab.type_question("Which quarter had the fewest visitors?")
    tab.press("Ask")
    expect(tab.page.locator("#compare-corrected")).to_have_text("")
    tab.expect_ready()
    tab.press("The gold answer is wrong")
    told(tab, "Noted: the gold answer is wrong. 1 row to train on")
    noted, kept = Kept(tmp_path / "mine").rows(None)
    assert (noted.answer, noted.gold, noted.gold_is_wrong) == ("", ("Q1",), True)
    assert (kept.answer, kept.said_by, kept.gold, kept.gold_is_wrong) == ("<b>301</b>", "visitor", ("200",), True)
    opened = open_split(str(tmp_path / "mine"), "all")
    assert [one.gold for one in opened] == [(), ("<b>301</b>",)]


def test_where_others_can_open_the_page_corrections_stay_in_the_browser_and_two_tabs_keep_what_either_keeps(
    serve: Serve, visit: Callable[..., Tab], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SPACE_ID", "ann/charts")
    monkeypatch.chdir(tmp_path)
    picture = bar_chart()
    old = Correction(pixels_id(picture), "What is old?", "1", "visitor", "2026-01-01T00:00:00+00:00")
    tab = visit(url := serve("auto", before=Kept(None).add(None, old, picture)))
    tab.press("As before")
    tab.pick_example()
    tab.press("Ask")
    tab.expect_ready()
    for time, rows in (("asked", "1 row"), ("reloaded", "2 rows")):
        if time == "reloaded":  # which brings the answers back, and moves what was kept as before
            tab.page.reload()
            tab.expect_ready()
            tab.page.wait_for_function("!localStorage.getItem('chartqa-corrections')")
        tab.unfold("Which answer is right?")
        tab.press("Accept Adapter")
        told(tab, f"{rows} to train on in your browser")

    second = Tab(tab.page.context.new_page(), url)
    second.page.goto(url)
    second.pick_example(2)
    second.press("Ask")
    second.expect_ready()
    second.unfold("Which answer is right?")
    second.press("Accept Adapter")
    told(second, "3 rows to train on in your browser")
    tab.page.get_by_label("The right answer is").fill("301")
    tab.press("Keep it")
    told(tab, "the right answer is “301”. 3 rows to train on in your browser")

    first_rows, second_rows = (one.page.locator("#training-rows li") for one in (tab, second))
    tab.page.get_by_role("tab", name="Training").click()
    expect(first_rows).to_have_count(3)
    expect(first_rows.locator("img")).to_have_count(3)
    second.page.get_by_role("tab", name="Training").click()
    second_rows.first.get_by_role("button").click()
    second.press("Delete this row")
    expect(second_rows).to_have_count(2)
    first_rows.last.get_by_role("button").click()  # the last of the three that are still shown here
    tab.page.locator("#row-answer").get_by_role("textbox").fill("7")
    tab.press("Save")
    expect(first_rows).to_have_count(2)
    expect(first_rows.last).to_contain_text("What is old? 7 typed")
    second.leave()

    other = visit(url)
    other.page.get_by_role("tab", name="Training").click()
    expect(other.page.locator("#training-rows")).to_contain_text("No answer is corrected yet")
    assert not list(tmp_path.rglob("metadata.jsonl"))


FILL = """() => {
  for (let size = 2 ** 22; size >= 1; size >>= 1)
    for (let number = 0; number < 99; number++)
      try { localStorage.setItem(`${size} ${number}`, "x".repeat(size)); } catch { break; }
}"""


# As where the disk is full, which is known when what was granted is to be written.
FULL_DATABASE = """() => {
  const put = IDBObjectStore.prototype.put;
  IDBObjectStore.prototype.put = function (...values) {
    const request = put.apply(this, values);
    const error = new DOMException("", "QuotaExceededError");
    Object.defineProperty(this.transaction, "error", { value: error });
    this.transaction.abort();
    return request;
  };
}"""


def test_what_a_full_browser_does_not_keep_is_told_where_it_was_to_be(serve: Serve, visit: Callable[..., Tab]) -> None:
    tab = visit(serve("browser", before={"rows": [], "pictures": {}}))
    page = tab.page
    tab.pick_example()
    page.get_by_label("Guess first").check()
    tab.press("Ask")
    expect(page.get_by_role("status").filter(has_text="3 answers ready")).to_be_visible()
    page.evaluate(FILL)
    page.get_by_label("Your answer").fill("7")
    tab.press("Guess")
    tab.expect_ready()
    expect(page.locator("#score [role=alert]")).to_have_text(
        "This browser has no room for more guesses: the last one is not kept. Download them, delete them here, and go "
        "on."
    )
    tab.unfold("Which answer is right?")
    tab.press("Accept Adapter")
    expect(page.locator("#compare-corrected [role=alert]")).to_have_text(NO_ROOM)
    expect(page.locator("#compare-corrected")).not_to_contain_text("Kept")
    page.get_by_role("tab", name="Training").click()
    expect(page.locator("#training-rows")).to_contain_text("No answer is corrected yet")
    page.get_by_role("tab", name="Compare").click()
    page.evaluate("localStorage.clear()")
    tab.press("Accept Adapter")
    told(tab, "Kept: the right answer is “Q1”. 1 row to train on in your browser")

    page.evaluate(FULL_DATABASE)
    page.get_by_label("Guess first").uncheck()
    tab.press("Ask")
    tab.expect_ready()
    expect(page.locator("#history [role=alert]")).to_have_text(
        "This browser has no room for more questions: the last one is not kept. Delete some here, and go on."
    )


def test_thumbnails_show_the_charts_at_hand(visit: Callable[..., Tab], tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    for number in range(2):
        bar_chart((20 + 90 * number, 90, 60, 30)).save(folder / f"{number}.png")
    (folder / "qa.csv").write_text("image,query,label\n0.png,What is own?,1\n1.png,What else?,2\n", encoding="utf-8")
    settings = Settings(dataset=str(folder), results_dir=str(tmp_path / "results"), training="off")
    app = build_app(ScriptedEngine(delay=0), settings, open_split(str(folder), "auto"))
    _, url, _ = app.queue().launch(prevent_thread_lock=True, quiet=True, **launch_options())
    tab = visit(url)
    expect(tab.page.locator("#examples img")).to_have_count(2)
    tab.pick_example(2)
    expect(tab.page.get_by_label("Question", exact=True)).to_have_value("What else?")
    app.close(verbose=False)
