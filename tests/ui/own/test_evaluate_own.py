"""The Evaluate tab with charts that a visitor uploads, and a run that a reload finds again."""

import csv
import io
import re
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from gradio.processing_utils import save_file_to_cache
from page_fixtures import LEAVING, Tab, Windows, bar_chart, encoded, example_split, expect, wait_until
from playwright.sync_api import Page

from chartqa_demo.arms import ARMS
from chartqa_demo.data.corrections import Kept
from chartqa_demo.engines import Options
from chartqa_demo.engines.scripted import ScriptedEngine
from chartqa_demo.evaluate.run import run
from chartqa_demo.settings import Settings
from chartqa_demo.ui import build_app, launch_options
from chartqa_demo.ui.evaluate import uploads
from chartqa_demo.ui.evaluate.files import ResultsFolder
from chartqa_demo.ui.evaluate.running import Run

pytest_plugins = ("page_fixtures",)


class BatchEngine(ScriptedEngine):
    """Waits for `gate` before every batch; the adapter reads the number that the question holds, others read 0."""

    def __init__(self) -> None:
        super().__init__(script=lambda arm, question: question.split()[2] if arm.adapter else "0")
        self.pace = lambda step: None
        self.adapter = "bundled"
        self.gate, self.batches = threading.Semaphore(0), list[int]()

    def answer_many(self, items: Any, arms: Any, options: Any) -> Any:
        assert self.gate.acquire(timeout=60)
        self.batches.append(len(items))
        return super().answer_many(items, arms, options)


@pytest.fixture
def app(tmp_path: Path) -> Iterator[tuple[BatchEngine, str]]:
    engine = BatchEngine()
    settings = Settings(
        results_dir=str(tmp_path / "results"), corrections=str(tmp_path / "corrections"), training="off"
    )
    page = build_app(engine, settings, example_split())
    _, url, _ = page.queue().launch(prevent_thread_lock=True, quiet=True, **launch_options())
    yield engine, url
    engine.gate.release(100)
    page.close(verbose=False)


@pytest.fixture
def visit(app: tuple[BatchEngine, str], windows: Windows) -> Iterator[Callable[..., Page]]:
    """`visit(size)`: a visitor on the Evaluate tab, in a browser of their own."""
    tabs: list[Tab] = []

    def visit(size: str = "wide") -> Page:
        tab = Tab(windows(size, visitor=len(tabs)), app[1])
        tabs.append(tab)
        tab.page.goto(app[1])
        look(tab.page)
        return tab.page

    yield visit
    for tab in tabs:  # what is said of a stream that a tab ends when it goes elsewhere
        tab.errors[:] = [error for error in tab.errors if not error.startswith(LEAVING)]
        tab.leave()


def look(page: Page) -> None:
    page.get_by_role("tab", name="Evaluate").click()
    expect(page.locator("#evaluation-cost")).to_contain_text("questions to 3 arms")
    expect(page.locator("#evaluation-scores")).to_contain_text(re.compile("measured|questions"))  # it has been opened


def status(page: Page) -> Any:
    return page.locator("#evaluation-progress [role=status]")


def packed(count: int = 6, **more: bytes) -> bytes:
    """A ZIP of charts with two questions each, the last row without a picture."""
    text = io.StringIO()
    table = csv.writer(text)
    table.writerows([("picture", "question", "answer")] if "odd" in more else [("image", "question", "answer")])
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for number in range(count):
            if number % 2 == 0:
                archive.writestr(f"set/{number}.png", encoded(bar_chart((10 + number, 90, 60, 30))))
            table.writerow([f"{number - number % 2}.png", f"What is {number} <i>here</i>?", number])
        table.writerow(["lost.png", "What is this?", 1])
        archive.writestr("set/qa.csv", text.getvalue())
    return data.getvalue()


def send(page: Page, name: str, data: bytes) -> None:
    page.locator("#evaluation-own input[type=file]").set_input_files(
        {"name": name, "mimeType": "application/zip", "buffer": data}
    )


def test_an_upload_is_measured_like_any_charts_and_is_the_visitors_alone(
    app: tuple[BatchEngine, str], visit: Callable[..., Page], tmp_path: Path
) -> None:
    engine, _ = app
    engine.gate.release(100)
    page = visit()
    send(page, "sales.zip", packed())
    note = page.locator("#evaluation-own-note")
    expect(note).to_contain_text("sales, all: 6 questions about 3 charts")
    expect(note).to_contain_text("set/qa.csv line 8: its picture lost.png is not in the folder")
    expect(page.get_by_label("Charts", exact=True)).to_have_value("Your upload: sales")
    page.locator("#evaluation-start").click()
    expect(status(page)).to_have_text("Done: 6 questions.")
    expect(page.locator("#evaluation-scores")).to_contain_text("6 of 6 questions")
    page.locator("#evaluation-items").get_by_role("button").filter(has_text="What is 3").click()
    expect(page.locator("#evaluation-chart img")).to_be_visible()
    assert list((tmp_path / "results").glob("*")) == []

    other = visit()
    expect(other.locator("#evaluation-scores")).to_contain_text("Nothing measured yet")
    expect(other.locator("#evaluation-own-note")).to_contain_text("Nobody else sees them")

    page.reload()
    page.get_by_role("tab", name="Evaluate").click()
    expect(note).to_contain_text("sales, all: 6 questions")
    expect(page.locator("#evaluation-scores")).to_contain_text("6 of 6 questions")
    page.get_by_role("button", name="Delete my upload").click()
    expect(note).to_contain_text("Nobody else sees them")
    page.reload()
    page.get_by_role("tab", name="Evaluate").click()
    expect(page.locator("#evaluation-scores")).to_contain_text("Nothing measured yet")


def test_an_upload_that_cannot_be_used_is_a_sentence(visit: Callable[..., Page]) -> None:
    page = visit("phone")
    told = page.locator("#evaluation-notice")
    send(page, "sales.zip", b"no zip")
    expect(told).to_contain_text("sales.zip is no ZIP file, or damaged.")
    send(page, "odd.zip", packed(odd=b""))
    expect(told).to_contain_text("has no column “image”")
    send(page, "chart.png", encoded(bar_chart()))
    expect(told).to_contain_text("pictures without questions")
    send(page, "qa.jsonl", b'{"image": "no.png", "question": "What?", "answer": "1"}\n')
    expect(told).to_contain_text("has no row that can be used")
    send(page, "sales.zip", packed())
    expect(told).to_have_text("")


def test_what_a_visitor_uploaded_is_deleted_when_the_visitor_has_left(
    visit: Callable[..., Page], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Path] = []
    lay_out = uploads.lay_out
    monkeypatch.setattr(uploads, "lay_out", lambda files, folder: (made.append(folder), lay_out(files, folder)))
    monkeypatch.setattr(uploads, "KEPT_S", 0.5)
    page = visit()
    send(page, "sales.zip", packed())
    expect(page.locator("#evaluation-own-note")).to_contain_text("6 questions")
    (folder,) = made
    assert (folder / "set" / "qa.csv").is_file()
    page.goto("about:blank")
    wait_until(lambda: not folder.parent.exists(), "the upload to be deleted")


def test_what_was_downloaded_of_an_upload_goes_with_it(tmp_path: Path) -> None:
    with gr.Blocks(analytics_enabled=False) as page:
        sent = gr.DownloadButton()
    mine = uploads.Uploads(page, lambda _: False)
    mine.kept["visitor"] = upload = uploads.Upload(mine.root / "charts" / "set", example_split(), "0" * 32)
    name = upload.record("answers.jsonl")
    for _ in run(ScriptedEngine(delay=0), example_split().examples, ARMS[:1], Options(), mine.root / name):
        pass
    folder = ResultsFolder(tmp_path, mine.root)
    files = [Path(str(file)) for file in folder.write_downloads(name)]
    copy = Path(save_file_to_cache(files[0], str(tmp_path / "cache")))
    sent.temp_files.add(str(copy))
    page.temp_file_sets.append(sent.temp_files)
    assert all(file.is_file() for file in (*files, copy))
    mine.drop("visitor")
    assert [*mine.root.rglob("*.*")] == [] and not copy.exists()


@pytest.mark.parametrize("name", [None, [], {"a": 1}, 5, "", "a" * 10**6])
def test_a_visitor_by_any_other_name_has_no_upload(name: Any) -> None:
    with gr.Blocks(analytics_enabled=False) as page:
        mine = uploads.Uploads(page, lambda _: False)
    assert mine.of(name) is None
    mine.drop(name)
    assert not uploads.is_visitor(name) and uploads.is_visitor("0" * 32)


def test_who_never_says_that_a_tab_is_closed_holds_no_place_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    with gr.Blocks(analytics_enabled=False) as page:
        pass
    mine = uploads.Uploads(page, lambda visitor: visitor == "measuring")
    for visitor, tabs in (("idle", {"tab"}), ("measuring", {"tab"}), ("here", {"tab"})):
        folder = mine.root / visitor / "set"
        mine.kept[visitor] = uploads.Upload(folder, example_split(), visitor, tabs, used_at=time.monotonic() - 1_000)
    mine.of("here")
    mine.purge()
    assert set(mine.kept) == {"idle", "measuring", "here"}
    monkeypatch.setattr(uploads, "AT_ONCE", 3)
    mine.purge()
    assert set(mine.kept) == {"measuring", "here"}


def test_a_reload_finds_the_run_again_and_a_closed_tab_does_not_end_it(
    app: tuple[BatchEngine, str], visit: Callable[..., Page], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, url = app
    looks, watch = [], Run.watch
    monkeypatch.setattr(Run, "watch", lambda now: (looks.append(now), watch(now))[1])
    page = visit()
    page.locator("#evaluation-start").click()
    progress = page.locator("#evaluation-progress")
    expect(progress).to_contain_text("Asking “How many visitors came in the fourth quarter?” and 1 more")
    expect(progress).to_contain_text("You can close this tab: the evaluation goes on here")
    engine.gate.release()
    expect(status(page)).to_contain_text("of 6 questions, about")
    assert engine.batches[0] == 2
    page.reload()
    wait_until(lambda: len(looks) == 2, "a page on which Evaluate is not open yet to look at the visitor's run")
    page.get_by_role("tab", name="Evaluate").click()
    expect(status(page)).to_contain_text("of 6 questions, about")
    expect(page.locator("#evaluation-start")).to_be_disabled()
    expect(page.locator("#evaluation-stop")).to_be_enabled()
    page.goto("about:blank")
    engine.gate.release(100)
    wait_until(lambda: sum(engine.batches) == 6, "the run to go on without a tab")
    page.goto(url)
    page.get_by_role("tab", name="Evaluate").click()
    expect(page.locator("#evaluation-scores")).to_contain_text("6 of 6 questions")
    expect(page.locator("#evaluation-start")).to_be_enabled()


def test_an_answer_among_the_disagreements_becomes_a_row(
    app: tuple[BatchEngine, str], visit: Callable[..., Page], tmp_path: Path
) -> None:
    engine, _ = app
    engine.gate.release(100)
    page = visit()
    send(page, "sales.zip", packed())
    expect(page.locator("#evaluation-own-note")).to_contain_text("6 questions")
    page.locator("#evaluation-start").click()
    expect(status(page)).to_have_text("Done: 6 questions.")
    page.locator("#evaluation-items").get_by_role("button").filter(has_text="What is 3").click()
    expect(page.locator("#evaluation-chart img")).to_be_visible()
    page.locator("#evaluate-correct > button").click()
    page.get_by_role("button", name="Accept Adapter").last.click()
    expect(page.locator("#evaluate-corrected")).to_contain_text("Kept: the right answer is “3”. 1 row")
    (row,) = Kept(tmp_path / "corrections").rows(None)
    assert (row.question, row.answer, row.said_by, row.gold) == ("What is 3 <i>here</i>?", "3", "Adapter", ("3",))
