"""Bring your own charts, from end to end: upload, ask, correct, train, and the new adapter answers."""

import csv
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from page_fixtures import Tab, Windows, bar_chart, encoded, example_split, expect
from train_fixtures import SMALL_RUN

from chartqa_demo.data.corrections import Kept
from chartqa_demo.data.splits import open_split
from chartqa_demo.engines import load_engine
from chartqa_demo.engines.local import LocalEngine
from chartqa_demo.settings import Settings
from chartqa_demo.ui import build_app, launch_options
from chartqa_demo.ui.training import tab as training

pytest_plugins = ("page_fixtures",)


def folder_as_zip() -> bytes:
    """Three charts with a question each, and an answer that is wrong."""
    text, data = io.StringIO(), io.BytesIO()
    table = csv.writer(text)
    table.writerow(["image", "query", "label"])
    with zipfile.ZipFile(data, "w") as archive:
        for number in range(3):
            archive.writestr(f"{number}.png", encoded(bar_chart((20 + 50 * number, 90, 60, 30)).resize((168, 112))))
            table.writerow([f"{number}.png", f"What is the value of bar {number}?", 999])
        archive.writestr("qa.csv", text.getvalue())
    return data.getvalue()


@pytest.fixture
def page_of_a_tiny_model(
    tiny_base: Path, tiny_adapter: Path, tmp_path: Path, trackio_store: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[LocalEngine, str]]:
    monkeypatch.setattr(training, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(training, "REFRESH_S", 4.0)  # every time costs the browser what the training needs
    run = {"model_name_or_path": str(tiny_base), "max_steps": 2, "eval_strategy": "no", "accuracy_sample": 0}
    config = tmp_path / "tiny.yaml"
    config.write_text(yaml.safe_dump(SMALL_RUN | run | {"skip_bad_rows": True}), encoding="utf-8")
    settings = Settings(
        base=str(tiny_base),
        adapter=str(tiny_adapter),
        device="cpu",
        max_new_tokens=4,
        results_dir=str(tmp_path / "results"),
        corrections=str(tmp_path / "corrections"),
        training=str(config),
    )
    engine = load_engine(settings)
    assert isinstance(engine, LocalEngine)
    app = build_app(engine, settings, example_split())
    _, url, _ = app.queue().launch(prevent_thread_lock=True, quiet=True, **launch_options())
    yield engine, url
    app.close(verbose=False)


def test_uploaded_charts_are_asked_corrected_trained_on_and_answered_by_the_new_adapter(
    page_of_a_tiny_model: tuple[LocalEngine, str], windows: Windows, tmp_path: Path
) -> None:
    engine, url = page_of_a_tiny_model
    before = engine.adapter
    page = windows()
    tab = Tab(page, url)
    page.goto(url)

    # Upload a folder, and ask all of it
    page.get_by_role("tab", name="Evaluate").click()
    expect(page.locator("#evaluation-cost")).to_contain_text("questions to 3 arms")
    expect(page.locator("#evaluation-scores")).to_contain_text("Nothing measured yet")  # it has been opened
    page.locator("#evaluation-own input[type=file]").set_input_files(
        {"name": "mine.zip", "mimeType": "application/zip", "buffer": folder_as_zip()}
    )
    expect(page.locator("#evaluation-own-note")).to_contain_text("mine, all: 3 questions about 3 charts")
    page.locator("#evaluation-start").click()
    expect(page.locator("#evaluation-progress [role=status]")).to_have_text("Done: 3 questions.", timeout=60_000)

    # Ask each again in Compare, and say what is right
    for number in range(3):
        page.get_by_role("tab", name="Evaluate").click()
        page.locator("#evaluation-items").get_by_role("button").filter(has_text=f"bar {number}?").click()
        expect(page.locator("#evaluation-item .question")).to_have_text(f"What is the value of bar {number}?")
        tab.press("Open in Compare")
        expect(page.get_by_label("Question", exact=True)).to_have_value(f"What is the value of bar {number}?")
        tab.press("Ask")
        tab.expect_ready()
        if number == 0:
            page.locator("#compare-correct > button").click()
        tab.type_over(page.locator("#compare-right-answer").get_by_role("textbox"), str(20 + 50 * number))
        page.locator("#compare-keep").click()
        expect(page.locator("#compare-corrected")).to_contain_text(f"{number + 1} row")

    # What is kept is a folder for --dataset; one row is corrected once more
    page.get_by_role("tab", name="Training").click()
    rows = page.locator("#training-rows")
    expect(rows).to_contain_text("3 rows to train on in the folder corrections")
    rows.get_by_role("button").filter(has_text="bar 1?").click()
    page.locator("#row-answer").get_by_role("textbox").fill("71")
    page.locator("#row-save").click()
    expect(rows.get_by_role("button").filter(has_text="bar 1?")).to_contain_text("71")
    assert [one.gold for one in open_split(str(tmp_path / "corrections"), "all")] == [("120",), ("71",), ("20",)]
    assert all(row.gold_is_wrong and row.gold == ("999",) for row in Kept(tmp_path / "corrections").rows(None))

    # Train, two steps of a tiny model
    page.locator("#training-start").click()
    expect(page.locator("#training-stop")).to_be_enabled()
    ended = page.locator("#training-state :is(.done, .notice)")
    expect(ended).to_contain_text("The third column now answers with own-charts-", timeout=240_000)
    expect(ended).to_contain_text("On the held-out rows, ")
    assert engine.adapter != before and Path(str(engine.adapter)).parent == tmp_path / "runs"
    expect(page.locator("#training-adapter")).to_contain_text("The one that this page began with")

    # The new adapter answers, and the one before beside it
    page.get_by_role("tab", name="Compare").click()
    tab.press("Ask")
    tab.expect_ready()
    page.locator("#before-ask").click()
    answers = page.locator("#before-answers section")
    expect(answers.nth(0)).to_contain_text(f"Before {Path(str(before)).name}")
    expect(answers.nth(1)).to_contain_text(f"Now {Path(str(engine.adapter)).name}")
    assert page.locator("#card-adapter .answer").inner_text() in answers.nth(1).inner_text()
    tab.leave()
