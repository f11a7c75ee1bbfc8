"""The keys of the Compare page, and where the focus goes; in Chromium, with a scripted engine."""

from pathlib import Path

from page_fixtures import Gate, Tab, expect, replies

from chartqa_demo.engines.scripted import ScriptedEngine

pytest_plugins = ("page_fixtures",)


def test_keys_write_draw_go_to_answers_and_stop(tab: Tab, engine: ScriptedEngine) -> None:
    engine.script, engine.delay = replies(*["word " * 500] * 3), 0.1
    press = tab.page.keyboard.press
    question = tab.page.get_by_label("Question", exact=True)
    press("r")
    expect(tab.page.locator("#chart img")).to_be_visible()
    expect(question).not_to_have_value("")
    press("/")
    expect(question).to_be_focused()
    press("Enter")
    expect(tab.answer("Adapter")).to_contain_text("word word")
    press("Escape")  # in a field, too: there is nothing to write with it
    expect(tab.card("Adapter")).to_contain_text("Stopped")
    assert engine.idle.wait(timeout=1), "the engine goes on for nobody"
    question.blur()
    for key, arm in (("1", "Pretrained"), ("2", "Prompted"), ("3", "Adapter")):
        press(key)
        expect(tab.card(arm)).to_be_focused()
        expect(tab.card(arm)).to_be_in_viewport()


def test_keys_are_letters_while_a_field_is_written_in(tab: Tab) -> None:
    tab.page.get_by_label("Question", exact=True).press_sequentially("r / 1 ?")
    expect(tab.page.get_by_label("Question", exact=True)).to_have_value("r / 1 ?")
    expect(tab.page.locator("#chart img")).to_have_count(0)
    expect(tab.page.get_by_role("dialog")).to_have_count(0)


def test_the_keys_are_listed_by_a_key_and_by_a_button(tab: Tab) -> None:
    tab.page.keyboard.press("?")
    expect(tab.page.get_by_role("dialog")).to_contain_text("a random chart")
    tab.page.keyboard.press("r")  # belongs to what lies under the list
    tab.page.keyboard.press("Escape")
    expect(tab.page.get_by_role("dialog")).to_have_count(0)
    expect(tab.page.locator("#chart img")).to_have_count(0)
    tab.page.get_by_role("button", name="Keys").click()
    expect(tab.page.get_by_role("dialog")).to_be_visible()
    tab.press("Close")
    expect(tab.page.get_by_role("dialog")).to_have_count(0)


def test_thumbnails_are_one_tab_stop_with_arrows_inside(tab: Tab) -> None:
    thumbnail = [tab.page.get_by_role("button", name=f"Example chart {number}:") for number in (1, 2, 3)]
    press = tab.page.keyboard.press
    thumbnail[0].focus()
    press("ArrowRight")
    expect(thumbnail[1]).to_be_focused()
    press("Tab")
    expect(tab.page.get_by_label("Question", exact=True)).to_be_focused()
    press("Shift+Tab")
    expect(thumbnail[1]).to_be_focused()
    press("ArrowLeft")
    press("ArrowLeft")
    expect(thumbnail[2]).to_be_focused()
    press("Enter")
    expect(tab.page.get_by_label("Question", exact=True)).to_have_value("What is the value of the first bar?")


def test_arrows_lead_from_tab_to_tab(fresh_tab: Tab) -> None:
    fresh_tab.page.get_by_role("tab", name="Compare").focus()
    fresh_tab.page.keyboard.press("ArrowRight")
    expect(fresh_tab.page.get_by_role("tab", name="Evaluate")).to_be_focused()
    expect(fresh_tab.page.get_by_role("tab", name="Evaluate")).to_have_attribute("aria-selected", "true")
    fresh_tab.page.keyboard.press("ArrowLeft")
    expect(fresh_tab.page.locator("#chart")).to_be_visible()


def test_the_focus_is_never_lost(tab: Tab, engine: ScriptedEngine, chart_file: Path) -> None:
    has_focus = "() => document.activeElement !== document.body"
    engine.pace = gate = Gate()
    tab.pick_example()
    tab.press("Ask")
    gate.let()
    tab.page.get_by_role("button", name="Stop").focus()
    gate.open()
    tab.expect_ready()
    expect(tab.page.get_by_role("button", name="Ask", exact=True)).to_be_focused()  # Stop can no longer be pressed
    tab.page.get_by_role("button", name="Remove Image").focus()
    tab.page.keyboard.press("Enter")
    expect(tab.page.locator("#chart img")).to_have_count(0)
    tab.page.wait_for_function(has_focus)
    assert tab.page.locator("#chart :focus").count() == 1
