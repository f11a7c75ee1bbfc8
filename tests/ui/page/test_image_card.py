"""The question with chart, answers and verdicts as one picture, drawn in the browser; in Chromium."""

import base64
from io import BytesIO
from pathlib import Path

import pytest
from page_fixtures import Tab, expect, replies
from PIL import Image

from chartqa_demo.engines.scripted import ScriptedEngine

pytest_plugins = ("page_fixtures",)

EVIL = "<img src=x onerror=alert(1)> ${1+1}"
# What is written on a canvas, as that cannot be read off the picture.
LISTEN = """() => {
  if (window.drawn) return drawn.splice(0);
  window.drawn = [];
  const write = CanvasRenderingContext2D.prototype.fillText;
  CanvasRenderingContext2D.prototype.fillText = function (text, ...place) {
    drawn.push(text);
    return write.call(this, text, ...place);
  };
}"""


def saved(tab: Tab) -> tuple[Image.Image, str]:
    """The picture, and what is written on it."""
    tab.page.evaluate(LISTEN)
    with tab.page.expect_download() as download:
        tab.press("Save image")
    picture = Image.open(BytesIO(Path(download.value.path()).read_bytes()))
    picture.load()
    return picture, " ".join(" ".join(tab.page.evaluate("drawn")).split())  # lines end with the space that broke them


def share_of(picture: Image.Image, colour: tuple[int, int, int]) -> float:
    counts = {pixel: count for count, pixel in picture.convert("RGB").getcolors(picture.width * picture.height) or []}
    return counts.get(colour, 0) / (picture.width * picture.height)


def test_the_picture_holds_question_chart_answers_verdicts_and_gold_answer(tab: Tab, engine: ScriptedEngine) -> None:
    engine.script = replies(EVIL, "200 visitors", "200")
    expect(tab.page.get_by_role("button", name="Save image")).to_be_hidden()
    tab.pick_example()
    tab.press("Ask")
    tab.expect_ready()
    picture, written = saved(tab)
    assert picture.format == "PNG"
    assert picture.width == 1200
    assert 600 < picture.height < 1600
    assert share_of(picture, (70, 130, 180)) > 0.03  # the steel blue bars
    for told in (
        "How many visitors came in the fourth quarter?",
        "Gold answer 200",
        "Pretrained",
        "200 visitors",
        EVIL,
    ):
        assert told in written
    assert written.count("Wrong") == 1
    assert "Right, but not in ChartQA's form" in written
    assert "the bundled charts, test/0" in written


def test_an_own_chart_goes_to_the_picture_and_nowhere_else(
    tab: Tab, engine: ScriptedEngine, chart_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = engine.answer
    monkeypatch.setattr(engine, "answer", lambda *asked: iter([*answer(*asked)][-1:]))  # in one piece
    engine.script = replies("word " * 400, "a" * 300, "4")
    tab.upload_chart(chart_file)
    tab.type_question(EVIL)
    tab.press("Ask")
    tab.expect_ready()
    asked = []
    listen = lambda request: asked.append((request.method, request.url))  # noqa: E731
    tab.page.on("request", listen)
    picture, written = saved(tab)
    tab.page.remove_listener("request", listen)
    assert share_of(picture, (70, 130, 180)) > 0.03
    assert EVIL in written
    assert "…" in written  # long answers are cut
    assert picture.height < 1600
    assert [url for method, url in asked if method != "GET" or not url.startswith(("blob:", tab.page.url[:20]))] == []
    assert tab.page.locator("img[src=x]").count() == 0


def test_the_picture_can_be_copied(tab: Tab) -> None:
    tab.pick_example()
    tab.press("Ask")
    tab.expect_ready()
    tab.press("Copy as image")
    expect(tab.page.get_by_role("button", name="Copied")).to_be_visible()
    copied = tab.page.evaluate(
        """async () => {
          const [item] = await navigator.clipboard.read();
          const bytes = new Uint8Array(await (await item.getType("image/png")).arrayBuffer());
          return btoa(Array.from(bytes, (one) => String.fromCharCode(one)).join(""));
        }"""
    )
    assert Image.open(BytesIO(base64.b64decode(copied))).width == 1200
