"""Links that open a sampled chart and ask, copies for elsewhere, and the first visit; in Chromium."""

from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from page_fixtures import OpenTab, Tab, Windows, example_split, expect, replies

from chartqa_demo.data.splits import open_split
from chartqa_demo.engines import Options
from chartqa_demo.engines.scripted import ScriptedEngine
from chartqa_demo.settings import Settings
from chartqa_demo.ui import build_app, launch_options
from chartqa_demo.ui.compare.charts import recorded_sample

pytest_plugins = ("page_fixtures",)


def copied(tab: Tab, name: str) -> str:
    tab.press(name)
    expect(tab.page.get_by_role("button", name="Copied")).to_be_visible()
    return tab.page.evaluate("navigator.clipboard.readText()")


def test_a_link_opens_chart_question_and_settings_elsewhere_and_asks(
    open_tab: OpenTab, windows: Windows, engine: ScriptedEngine, app_url: str
) -> None:
    engine.script = lambda arm, question: f"answer to {question}"
    tab = open_tab()
    expect(tab.page.get_by_role("button", name="Copy link")).to_be_hidden()
    tab.unfold("Generation settings")
    tab.type_over(tab.page.locator("#max-new-tokens input[type=number]"), "9")
    tab.pick_example(2)
    tab.type_question("How many bars & 100 %?")
    tab.press("Ask")
    tab.expect_ready()
    link = copied(tab, "Copy link")
    assert parse_qs(urlsplit(link).query) == {
        "example": ["bundled/test/3"],
        "q": ["How many bars & 100 %?"],
        "max_new_tokens": ["9"],
    }
    other = Tab(windows(visitor=2), app_url)
    other.page.goto(link)
    expect(other.answer("Adapter")).to_have_text("answer to How many bars & 100 %?")
    other.expect_ready()
    assert engine.questions[-1][1] == "How many bars & 100 %?"
    assert engine.questions[-1][2].max_new_tokens == 9
    asked = len(engine.questions)
    other.page.reload()  # which keeps the answers, and does not ask again
    other.expect_ready()
    assert len(engine.questions) == asked
    other.leave()


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        pytest.param("example=other/1&q=Why", "This page has no chart “other/1”", marks=pytest.mark.campaign),
        ("example=bundled/test/3&q=Why&max_new_tokens=many", "The max new tokens is 'many'; it has to be a number"),
    ],
)
def test_a_link_to_what_is_not_here_is_a_sentence(
    windows: Windows, engine: ScriptedEngine, app_url: str, query: str, sentence: str
) -> None:
    tab = Tab(windows(), app_url)
    tab.page.goto(f"{app_url}?{query}")
    tab.expect_notice(sentence)
    tab.leave()
    assert engine.questions == []


def test_an_own_chart_has_markdown_and_no_link(tab: Tab, engine: ScriptedEngine, chart_file: Path) -> None:
    engine.script = replies("a|b", "It is 4.", "4")
    tab.upload_chart(chart_file)
    tab.type_question("How many bars?")
    tab.page.get_by_label("Right answer, if").fill("4")
    tab.press("Ask")
    tab.expect_ready()
    expect(tab.page.get_by_role("button", name="Copy link")).to_be_hidden()
    text = copied(tab, "Copy as Markdown")
    assert text.startswith("**How many bars?** Gold answer: 4.\n\n| arm | answer | verdict |\n|---|---|---|\n")
    assert "| Pretrained | a\\|b | Wrong |\n| Prompted | It is 4. | Right, but not in ChartQA's form |" in text
    assert "?example=" not in text


def test_a_first_visit_finds_a_chart_with_recorded_answers(windows: Windows, tmp_path: Path) -> None:
    engine = ScriptedEngine(delay=0)
    app = build_app(engine, Settings(results_dir=str(tmp_path)), open_split("bundled"))
    _, url, _ = app.queue().launch(prevent_thread_lock=True, quiet=True, **launch_options())
    tab = Tab(windows(), url)
    tab.page.goto(url)
    expect(tab.page.locator("#chart .image-frame img")).to_be_visible()
    for arm in ("Pretrained", "Prompted", "Adapter"):
        expect(tab.card(arm).locator(".recorded")).to_contain_text("Recorded on")
        expect(tab.card(arm).locator(".verdict")).to_be_visible()
    expect(tab.page.locator("#status")).to_contain_text("recorded answers")
    expect(tab.page.locator("#history")).to_contain_text("Nothing asked yet.")  # the visitor has asked nothing
    assert engine.questions == []
    tab.press("Ask")
    expect(tab.page.locator("#history li")).to_have_count(1)
    tab.leave()
    app.close(verbose=False)


def test_a_chart_that_cannot_be_read_is_no_sample_and_ends_nothing() -> None:
    split = example_split()
    broken = replace(split, examples=tuple(replace(one, read=lambda: b"broken") for one in split.examples))
    assert recorded_sample(ScriptedEngine(), broken, Options()) is None
