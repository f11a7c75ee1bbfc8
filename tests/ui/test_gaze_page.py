"""Where each arm looked, on the page: asked for, drawn over the chart, as strong as one likes, and gone in time."""

from collections.abc import Iterator, Sequence

import pytest
from page_fixtures import Tab, Windows, expect, page_of, violations
from PIL import Image

from chartqa_demo.arms import ARMS, Arm
from chartqa_demo.engines import Answers, Gaze, Gazes, Options
from chartqa_demo.engines.scripted import ScriptedEngine
from chartqa_demo.settings import Settings
from chartqa_demo.ui.gaze.panel import heat_picture, hottest, pictures

pytest_plugins = ("page_fixtures",)

CELLS = ((0.1, 0.2, 0.0), (0.0, 1.0, 0.5))


class LooksBack(ScriptedEngine):
    """Says of two arms where they looked, and keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__(delay=0.01)
        self.bundled = True
        self.looked: list[tuple[str, Answers, Options]] = []

    def gazes(self, image: Image.Image, question: str, arms: Sequence[Arm], said: Answers, options: Options) -> Gazes:
        self.looked.append((question, said, options))
        return {arm.key: Gaze(CELLS, (0.0, 0.0, 1.0, 1.25)) for arm in arms if arm.key != "prompted"}


@pytest.fixture
def page(windows: Windows) -> Iterator[tuple[Tab, LooksBack]]:
    engine = LooksBack()
    with page_of(windows, engine, Settings()) as tab:
        yield tab, engine


def test_a_visitor_sees_where_the_arms_looked_and_how_strongly(page: tuple[Tab, LooksBack]) -> None:
    tab, engine = page
    tab.unfold("Where did each arm look?")
    tab.press("Show where they looked")
    expect(tab.page.locator("#gazes")).to_contain_text("Ask a question first")
    tab.pick_example()
    tab.press("Ask")
    tab.expect_ready()
    tab.press("Show where they looked")
    shown = tab.page.locator("#gazes .gaze")
    expect(shown).to_have_count(2)
    expect(
        tab.page.get_by_role("img", name="Adapter looked most at 50 % from the left, 94 % from the top")
    ).to_be_visible()
    expect(tab.page.locator("#gazes .meta")).to_contain_text("Not shown: Prompted")
    question, said, _ = engine.looked[-1]
    assert question == engine.questions[-1][1] and [one.done for one in said] == [True] * 3
    slider = tab.page.get_by_label("Strength")
    heat = shown.first.locator(".heat")
    expect(heat).to_have_css("opacity", "0.7")
    slider.fill("20")
    expect(heat).to_have_css("opacity", "0.2")
    boxes = [one.bounding_box() for one in (shown.first, heat)]
    assert boxes[0] and boxes[1] and boxes[1]["height"] == pytest.approx(1.25 * (boxes[0]["height"] - 2), rel=0.02)
    found = violations(tab.page, "#gaze")
    assert found == []
    tab.pick_example(2)
    expect(shown).to_have_count(0)


def test_without_the_bundled_model_there_is_no_such_button(tab: Tab) -> None:
    expect(tab.page.get_by_text("Where did each arm look?")).to_have_count(0)


def test_the_drawing_is_as_opaque_as_it_was_looked_at() -> None:
    drawn = heat_picture(Gaze(CELLS, (0, 0, 1, 1)))
    assert drawn.size == (3, 2) and [drawn.getpixel((x, 1))[3] for x in range(3)] == [0, 255, 128]  # pyright: ignore


def test_the_hottest_place_is_told_within_the_picture() -> None:
    assert hottest(Gaze(CELLS, (0.0, 0.0, 1.0, 1.0))) == (0.5, 0.75)
    assert hottest(Gaze(CELLS, (-0.5, 0.0, 0.5, 4.0))) == (0.0, 1.0)


def test_weights_that_were_not_measured_have_a_sentence_and_no_drawing() -> None:
    told = pictures(ARMS, Image.new("RGB", (60, 40), "white"), {})
    assert "It was not measured of these weights" in told and "<figure" not in told
