"""Chart and answers are seen together, and nothing jumps; in Chromium, with a scripted engine."""

from pathlib import Path

import pytest
from page_fixtures import Gate, OpenTab, Tab, bar_chart, expect, replies
from playwright.sync_api import FloatRect, Locator

from chartqa_demo.engines.scripted import ScriptedEngine

pytest_plugins = ("page_fixtures",)

ARMS = ("Pretrained", "Prompted", "Adapter")


def box(found: Locator) -> FloatRect:
    place = found.bounding_box()
    assert place
    return place


def test_on_a_wide_screen_a_large_chart_stays_beside_the_answers(calm_tab: Tab, engine: ScriptedEngine) -> None:
    engine.pace = gate = Gate()
    calm_tab.pick_example()
    chart = calm_tab.page.locator("#chart .image-frame")
    assert box(chart)["height"] >= 450
    calm_tab.press("Ask")
    gate.let()
    expect(calm_tab.answer("Adapter")).to_have_text("42")
    for arm in ARMS:
        expect(calm_tab.answer(arm)).to_be_in_viewport()
    for arm in ARMS:
        calm_tab.card(arm).scroll_into_view_if_needed()
        expect(chart).to_be_in_viewport(ratio=1)
    assert box(chart)["x"] + box(chart)["width"] <= box(calm_tab.card("Adapter"))["x"]
    gate.open()
    calm_tab.expect_ready()


def test_a_chart_that_is_picked_is_seen_with_its_question(calm_tab: Tab) -> None:
    expect(calm_tab.page.get_by_role("button", name="choose a file")).to_be_in_viewport(ratio=1)
    for pick in (lambda: calm_tab.press("Random chart"), calm_tab.pick_example):
        calm_tab.page.evaluate("scrollTo(0, document.body.scrollHeight)")
        pick()
        for seen in ("#chart", "#question", "#ask"):
            expect(calm_tab.page.locator(seen)).to_be_in_viewport(ratio=1)


def test_a_chart_is_larger_on_a_larger_screen(tab: Tab) -> None:
    tab.page.set_viewport_size({"width": 1920, "height": 1200})
    tab.pick_example()
    assert box(tab.page.locator("#chart .image-frame"))["height"] >= 800
    tab.page.set_viewport_size({"width": 1280, "height": 800})


def test_a_click_enlarges_the_chart_and_escape_brings_the_page_back(tab: Tab, chart_file: Path) -> None:
    tab.upload_chart(chart_file)
    tab.page.locator("#chart img").click()
    large = tab.page.get_by_role("dialog").locator("img")
    expect(large).to_be_in_viewport()
    assert box(large)["height"] >= 700
    large.click()
    assert box(large)["width"] >= 1600
    tab.page.keyboard.press("Escape")
    expect(tab.page.get_by_role("dialog")).to_have_count(0)
    expect(tab.page.locator("#chart img")).to_be_visible()


@pytest.mark.parametrize("size", [pytest.param("wide", marks=pytest.mark.campaign), "phone"])
def test_no_card_grows_when_its_verdict_comes(calm_tab: Tab, engine: ScriptedEngine, size: str) -> None:
    engine.script = replies("The average number of visitors in the fourth quarter was 200.", "200 visitors", "7")
    engine.pace = gate = Gate()
    calm_tab.resize(size)
    calm_tab.pick_example()
    calm_tab.press("Ask")
    gate.let()
    expect(calm_tab.answer("Adapter")).to_have_text("7")

    def boxes() -> list[float]:
        top = box(calm_tab.page.locator("#answers"))["y"]
        return [
            value for arm in ARMS for value in (box(calm_tab.card(arm))["y"] - top, box(calm_tab.card(arm))["height"])
        ]

    first = boxes()
    gate.open()
    calm_tab.expect_ready()
    expect(calm_tab.card("Pretrained").locator(".verdict")).to_contain_text("does not read as a number")
    expect(calm_tab.page.locator("#asked .winner")).to_contain_text("none wrote it as ChartQA wants")
    assert boxes() == first


def test_ask_keeps_its_place_whatever_the_suggestions_need(calm_tab: Tab) -> None:
    for size in ("wide", "phone"):
        calm_tab.resize(size)
        places = set()
        for number in (1, 2, 3):
            calm_tab.pick_example(number)
            calm_tab.type_question("How many?")
            ask, chart = box(calm_tab.page.locator("#ask")), box(calm_tab.page.locator("#chart"))
            places.add((ask["x"], ask["y"] - chart["y"], ask["width"]))
        assert len(places) == 1


def test_on_a_phone_chart_stop_and_three_answers_share_one_screen(calm_tab: Tab, engine: ScriptedEngine) -> None:
    engine.script = replies("The fourth quarter had 200 visitors. " * 9, "150", "205")
    engine.pace = gate = Gate()
    calm_tab.resize("phone")
    calm_tab.pick_example()
    calm_tab.press("Ask")
    gate.let()
    expect(calm_tab.answer("Pretrained")).to_have_text("The")
    stop = calm_tab.page.get_by_role("button", name="Stop", exact=True)
    for seen in (calm_tab.page.locator("#asked .pinned"), stop, *map(calm_tab.answer, ARMS)):
        expect(seen).to_be_in_viewport(ratio=1)
    gate.open()
    calm_tab.expect_ready()
    calm_tab.card("Adapter").scroll_into_view_if_needed()
    expect(calm_tab.page.locator("#asked .pinned")).to_be_in_viewport(ratio=1)
    reason = calm_tab.card("Prompted").get_by_text("150 against 200")
    expect(reason).to_be_hidden()
    calm_tab.card("Prompted").get_by_text("Details").click()
    expect(reason).to_be_visible()
    calm_tab.page.locator("#asked .pinned").click()
    expect(calm_tab.page.get_by_role("dialog")).to_be_visible()
    calm_tab.press("Close")


def test_a_phone_shows_no_keys_and_stop_only_while_there_is_something_to_stop(
    open_tab: OpenTab, engine: ScriptedEngine
) -> None:
    engine.pace = gate = Gate()
    tab = open_tab("phone", reduced_motion="reduce")
    ask, stop = tab.page.locator("#ask"), tab.page.locator("#stop")
    expect(stop).to_be_hidden()
    tab.pick_example()
    before = box(ask)["width"]
    tab.press("Ask")
    gate.let()
    expect(stop).to_be_in_viewport(ratio=1)
    assert box(ask)["width"] == before == box(tab.page.locator("#actions"))["width"]
    gate.open()
    tab.expect_ready()
    expect(stop).to_be_hidden()
    onward = tab.page.locator("#share .onward kbd")
    expect(onward).to_be_visible()
    session = tab.page.context.new_cdp_session(tab.page)
    metrics = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    session.send("Emulation.setDeviceMetricsOverride", metrics)  # a finger cannot hover
    session.send("Emulation.setTouchEmulationEnabled", {"enabled": True})
    expect(onward).to_be_hidden()
    expect(tab.page.locator(".page-head .keys")).to_be_hidden()


def test_a_tall_chart_is_shown_tall(tab: Tab, tmp_path: Path) -> None:
    bar_chart().resize((300, 1200)).save(tmp_path / "tall.png")
    tab.upload_chart(tmp_path / "tall.png")
    shown = tab.page.locator("#chart img").evaluate("image => [image.naturalHeight, image.clientHeight]")
    assert shown[1] >= 450
