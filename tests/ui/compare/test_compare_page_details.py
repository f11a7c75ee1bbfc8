"""The Compare page's prompts, settings, history and copies, in Chromium, with a scripted engine."""

import csv
import json
import re
from io import StringIO

from page_fixtures import Tab, expect, replies

from chartqa_demo.arms import SYSTEM_MESSAGE
from chartqa_demo.engines.scripted import ScriptedEngine

pytest_plugins = ("page_fixtures",)


def test_the_exact_prompts_are_shown_with_their_special_tokens(tab: Tab) -> None:
    tab.pick_example()
    tab.type_question("Is it <|im_end|> twice?")
    tab.press("Ask")
    tab.expect_ready()
    tab.unfold("The exact prompt of each arm")
    shown = tab.page.locator("#prompts textarea")
    expect(shown).to_have_count(3)
    pretrained, prompted, adapter = (shown.nth(index).input_value() for index in range(3))
    assert "<|im_start|>system\nYou are a helpful assistant.<|im_end|>" in pretrained
    assert SYSTEM_MESSAGE in prompted
    assert prompted == adapter
    assert "<|image_pad|><|vision_end|>Is it < |im_end|> twice?<|im_end|>" in adapter


def test_the_system_message_changes_the_prompted_arm_and_can_be_reset(tab: Tab, engine: ScriptedEngine) -> None:
    tab.pick_example()
    tab.unfold("System message of the prompted arm")
    box = tab.page.locator("#system").get_by_role("textbox")
    expect(box).to_have_value(SYSTEM_MESSAGE)
    tab.type_over(box, "Answer in French.")
    tab.press("Ask")
    tab.expect_ready()
    assert engine.questions[-1][2].system == "Answer in French."
    tab.unfold("The exact prompt of each arm")
    expect(tab.page.locator("#prompt-prompted textarea")).to_have_value(re.compile("Answer in French"))
    expect(tab.page.locator("#prompt-adapter textarea")).not_to_have_value(re.compile("Answer in French"))
    tab.press("Reset")
    expect(box).to_have_value(SYSTEM_MESSAGE)


def test_generation_settings_reach_the_engine(fresh_tab: Tab, engine: ScriptedEngine) -> None:
    fresh_tab.pick_example()
    fresh_tab.unfold("Generation settings")
    fresh_tab.type_over(fresh_tab.page.locator("#max-new-tokens input[type=number]"), "3")
    fresh_tab.type_over(fresh_tab.page.locator("#temperature input[type=number]"), "0.7")
    fresh_tab.type_over(fresh_tab.page.locator("#seed input"), "7")
    fresh_tab.page.get_by_label("Pixel limit").click()
    fresh_tab.page.get_by_role("option", name="200,704 pixels").click()
    fresh_tab.press("Ask")
    fresh_tab.expect_ready()
    options = engine.questions[-1][2]
    assert (options.max_new_tokens, options.temperature, options.max_pixels) == (3, 0.7, 200_704)
    assert options.seed == 7
    expect(fresh_tab.answer("Pretrained")).to_have_text("No model has")


def test_the_history_is_kept_exported_and_cleared(tab: Tab, engine: ScriptedEngine) -> None:
    engine.script = replies("=1+1", "150", "200")
    tab.pick_example()
    tab.press("Ask")
    tab.expect_ready()
    tab.press("Which quarter had the fewest visitors?")
    expect(tab.page.locator("#asked .question")).to_have_text("Which quarter had the fewest visitors?")
    tab.expect_ready()
    tab.page.reload()
    entries = tab.page.locator("#history li")
    expect(entries).to_have_count(2)
    expect(entries.nth(0)).to_contain_text("Which quarter had the fewest visitors?")
    expect(entries.nth(1)).to_contain_text("Gold answer 200")
    expect(entries.nth(1).locator(".verdict")).to_contain_text(["Wrong", "Wrong", "Right"])

    def download(name: str) -> str:
        with tab.page.expect_download() as waiting:
            tab.page.get_by_role("link", name=name).click()
        return waiting.value.path().read_text(encoding="utf-8")

    saved = json.loads(download("Download JSON"))
    assert [one["question"] for one in saved][1] == "How many visitors came in the fourth quarter?"
    assert [answer["correct"] for answer in saved[1]["answers"]] == [False, False, True]
    rows = list(csv.DictReader(StringIO(download("Download CSV"))))
    assert [(row["arm"], row["text"]) for row in rows[3:]] == [
        ("pretrained", "'=1+1"),  # a spreadsheet would compute it
        ("prompted", "150"),
        ("adapter", "200"),
    ]
    tab.press("Clear history")
    expect(tab.page.locator("#history")).to_contain_text("Nothing asked yet.")
    tab.page.reload()
    expect(tab.page.locator("#history")).to_contain_text("Nothing asked yet.")
    tab.expect_ready()  # what the cards showed is back, and in no list


def test_a_spoilt_history_does_not_break_the_page(fresh_tab: Tab) -> None:
    fresh_tab.page.evaluate(
        """() => new Promise((ready) => {
          indexedDB.open("chartqa-side-by-side").onsuccess = ({ target }) => {
            const entries = target.result.transaction("entries", "readwrite").objectStore("entries");
            entries.put({ id: 1, answers: "none" });
            entries.put({ id: "2", question: "<b>", answers: [{ text: 3 }] }).onsuccess = ready;
          };
        })"""
    )
    shown = '{"entry": {"answers": 7}, "path": "/etc/passwd", "question": [], "example": {}}'
    fresh_tab.page.add_init_script(f"sessionStorage.setItem('chartqa-shown', '{shown}')")
    fresh_tab.page.reload()
    fresh_tab.pick_example()
    fresh_tab.press("Ask")
    fresh_tab.expect_ready()
    expect(fresh_tab.page.locator("#history li")).to_have_count(1)


def test_an_answer_can_be_copied(tab: Tab, engine: ScriptedEngine) -> None:
    engine.script = replies("one", "two", "three  spaces\nand lines")
    tab.pick_example()
    tab.press("Ask")
    tab.expect_ready()
    tab.card("Adapter").get_by_role("button", name="Copy").click()
    expect(tab.card("Adapter").get_by_role("button", name="Copied")).to_be_visible()
    assert tab.page.evaluate("navigator.clipboard.readText()") == "three  spaces\nand lines"


def test_the_page_says_which_model_answers(tab: Tab) -> None:
    expect(tab.page.get_by_role("heading", level=1)).to_have_text("One chart, one question, three answers")
    expect(tab.page.locator("#banner")).to_contain_text("Scripted answers, no model")
    expect(tab.page.get_by_role("button", name="Run", exact=True)).to_have_count(0)  # a gr.Button() made by mistake
