"""The Compare page in Chromium, used as a person uses it, with a scripted engine in place of a model."""

import csv
import json
import re
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from gradio_client import Client, handle_file
from gradio_client.utils import Status
from page_fixtures import Gate, Tab, bar_chart, encoded, example_split, wait_until
from PIL import Image
from playwright.sync_api import BrowserContext, expect

from chartqa_demo.arms import SYSTEM_MESSAGE, Arm
from chartqa_demo.engines import EngineError
from chartqa_demo.engines.scripted import ScriptedEngine
from chartqa_demo.images import MAX_BYTES
from chartqa_demo.settings import Settings
from chartqa_demo.ui import build_app, launch_options

pytest_plugins = ("page_fixtures",)

OpenTab = Callable[..., Tab]
LOOKS = [("wide", "light"), ("wide", "dark"), ("phone", "light"), ("phone", "dark")]
AXE_NOISE = {
    # Gradio's upload area reads its hint ("Drop Image Here") beside another accessible name.
    "label-content-name-mismatch",
}


def replies(pretrained: str, prompted: str, adapter: str) -> Callable[[Arm, str], str]:
    texts = {"pretrained": pretrained, "prompted": prompted, "adapter": adapter}
    return lambda arm, question: texts[arm.key]


# --- asking ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "theme"), LOOKS)
def test_three_cards_fill_word_by_word(
    open_tab: OpenTab, engine: ScriptedEngine, chart_file: Path, size: str, theme: str
) -> None:
    engine.script = replies("the tallest bar is the fourth", "the fourth", "fourth")
    engine.pace = gate = Gate()
    tab = open_tab(size, theme)
    tab.upload_chart(chart_file)
    tab.type_question("Which bar is the tallest?")
    tab.press("Ask")
    gate.let()
    for arm, first in (("Pretrained", "the"), ("Prompted", "the"), ("Adapter", "fourth")):
        expect(tab.answer(arm)).to_have_text(first)
    gate.let()
    expect(tab.answer("Pretrained")).to_have_text("the tallest")
    expect(tab.card("Pretrained")).to_contain_text("Answering")
    expect(tab.card("Adapter")).to_contain_text("Done")
    gate.open()
    tab.expect_ready()
    expect(tab.answer("Pretrained")).to_have_text("the tallest bar is the fourth")
    expect(tab.answer("Prompted")).to_have_text("the fourth")
    for arm in ("Pretrained", "Prompted", "Adapter"):
        expect(tab.card(arm)).to_contain_text("Tokens")
    expect(tab.page.locator("#asked")).to_contain_text("No gold answer is known")
    image, question, _ = engine.questions[0]
    assert (image.size, question) == ((480, 320), "Which bar is the tallest?")


def test_cards_are_equal_and_do_not_jump_while_they_fill(open_tab: OpenTab, engine: ScriptedEngine) -> None:
    engine.pace = gate = Gate()
    tab = open_tab()
    tab.pick_example()
    tab.press("Ask")
    gate.let()
    expect(tab.answer("Pretrained")).to_have_text("No")

    def boxes() -> list[tuple[int, int]]:
        found = [tab.card(arm).bounding_box() for arm in ("Pretrained", "Prompted", "Adapter")]
        return [(round(box["width"]), round(box["height"])) for box in found if box]

    first = boxes()
    assert len(set(first)) == 1
    gate.let(8)
    expect(tab.answer("Pretrained")).to_contain_text("this sentence")
    assert boxes() == first
    gate.open()
    tab.expect_ready()
    assert len(set(boxes())) == 1


def test_verdicts_say_why_in_words(tab: Tab, engine: ScriptedEngine) -> None:
    engine.script = replies("The fourth quarter had 200 visitors.", "150", "205")
    tab.pick_example()
    tab.press("Ask")
    tab.expect_ready()
    expect(tab.page.locator("#asked")).to_contain_text("Gold answer 200 (the bundled charts)")
    expect(tab.card("Pretrained").locator(".verdict")).to_have_count(2)
    expect(tab.card("Pretrained")).to_contain_text("Correct when format is forgiven")
    expect(tab.card("Prompted").locator(".verdict")).to_contain_text(["Not correct 150 against 200: 25.0 % off"])
    expect(tab.card("Adapter").locator(".verdict")).to_contain_text(["Correct 205 against 200: 2.5 % off"])
    expect(tab.page.get_by_role("status")).to_contain_text(
        ["3 answers ready: Pretrained not correct, Prompted not correct, Adapter correct."]
    )


def test_a_typed_gold_answer_gives_an_uploaded_chart_verdicts(
    tab: Tab, engine: ScriptedEngine, chart_file: Path
) -> None:
    engine.script = replies("four", "4", "5")
    tab.upload_chart(chart_file)
    tab.type_question("How many bars are there?")
    tab.page.get_by_label("Gold answer").fill("4")
    tab.page.get_by_label("Gold answer").press("Enter")
    tab.expect_ready()
    expect(tab.page.locator("#asked")).to_contain_text("Gold answer 4 (yours)")
    expect(tab.card("Prompted")).to_contain_text("Correct 4 is the gold answer")
    expect(tab.card("Adapter")).to_contain_text("Not correct 5 against 4")


def test_stop_freezes_the_text_and_ends_the_engine(tab: Tab, engine: ScriptedEngine) -> None:
    engine.script = replies(*["word " * 500] * 3)
    engine.delay = 0.1
    tab.pick_example()
    tab.press("Ask")
    expect(tab.answer("Adapter")).to_contain_text("word word word")
    tab.press("Stop")
    assert engine.idle.wait(timeout=1), "the engine goes on for nobody"
    expect(tab.card("Adapter")).to_contain_text("Stopped")
    frozen = tab.answer("Adapter").inner_text()
    assert 3 <= len(frozen.split()) < 64
    expect(tab.page.get_by_role("button", name="Stop")).to_be_disabled()

    engine.script, engine.delay = replies("yes", "yes", "yes"), 0.01
    tab.press("Ask")
    tab.expect_ready()
    expect(tab.answer("Adapter")).to_have_text("yes")


def test_a_new_question_replaces_the_one_that_is_being_answered(tab: Tab, engine: ScriptedEngine) -> None:
    engine.script = lambda arm, question: f"{question} " * 100
    engine.delay = 0.1
    tab.pick_example()
    tab.type_question("first")
    tab.press("Ask")
    expect(tab.answer("Adapter")).to_contain_text("first first")
    engine.script = lambda arm, question: f"answer to {question}"
    tab.type_question("second")
    tab.press("Ask")
    tab.expect_ready()
    for arm in ("Pretrained", "Prompted", "Adapter"):
        expect(tab.answer(arm)).to_have_text("answer to second")


def test_another_chart_ends_the_question_about_the_first(tab: Tab, engine: ScriptedEngine) -> None:
    engine.script = replies(*["word " * 500] * 3)
    engine.delay = 0.1
    tab.pick_example(1)
    tab.press("Ask")
    expect(tab.answer("Adapter")).to_contain_text("word word")
    tab.pick_example(2)
    assert engine.idle.wait(timeout=1), "the engine goes on for nobody"
    expect(tab.card("Adapter")).to_contain_text("The answer appears here.")
    expect(tab.page.get_by_label("Question", exact=True)).to_have_value("Is the second bar taller than the third?")


def test_closing_the_tab_ends_the_engine(
    windows: Callable[..., BrowserContext], engine: ScriptedEngine, app_url: str
) -> None:
    engine.script = replies(*["word " * 500] * 3)
    engine.delay = 0.5
    tab = Tab(windows("wide", (), None).new_page(), app_url)
    tab.page.goto(app_url)
    tab.pick_example()
    tab.press("Ask")
    expect(tab.answer("Adapter")).to_contain_text("word")
    tab.page.close()
    assert engine.idle.wait(timeout=10), "the engine goes on for nobody"


def test_two_visitors_get_their_own_answers(open_tab: OpenTab, engine: ScriptedEngine) -> None:
    engine.script = lambda arm, question: f"answer to {question}"
    first, second = open_tab(), open_tab()
    for tab, question in ((first, "one"), (second, "two")):
        tab.pick_example()
        tab.type_question(question)
    first.press("Ask")
    second.press("Ask")
    for tab, question in ((first, "one"), (second, "two")):
        tab.expect_ready()
        expect(tab.answer("Adapter")).to_have_text(f"answer to {question}")


# --- charts and suggestions ----------------------------------------------------------------------------------------


PUT_INTO_CLIPBOARD = """async () => {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [200, 120];
  const picture = await new Promise((ready) => canvas.toBlob(ready, "image/png"));
  await navigator.clipboard.write([new ClipboardItem({ "image/png": picture })]);
}"""


def test_a_chart_can_be_pasted(open_tab: OpenTab, engine: ScriptedEngine) -> None:
    tab = open_tab(permissions=("clipboard-read", "clipboard-write"))
    tab.page.evaluate(PUT_INTO_CLIPBOARD)
    tab.press("Paste from clipboard")
    expect(tab.page.locator("#chart img")).to_be_visible()
    tab.press("What is the title of the chart?")
    tab.expect_ready()
    assert engine.questions[0][0].size == (200, 120)
    assert engine.questions[0][0].getpixel((0, 0)) == (255, 255, 255)


def test_a_chart_can_be_photographed(open_tab: OpenTab, engine: ScriptedEngine) -> None:
    tab = open_tab(permissions=("camera",))
    tab.press("Capture from camera")
    tab.page.get_by_text("Click to Access Webcam").click()
    tab.page.wait_for_function("document.querySelector('#chart video')?.videoWidth > 0")
    tab.press("capture photo")
    expect(tab.page.locator("#chart img")).to_be_visible()
    tab.press("What is the title of the chart?")
    tab.expect_ready()
    assert engine.questions[0][0].mode == "RGB"
    # Gradio asks for the progress of an upload that it has not begun.
    assert all(error == "Response" or "404" in error for error in tab.errors)
    tab.errors.clear()


def test_a_suggestion_of_the_chart_is_asked_with_one_click(tab: Tab, engine: ScriptedEngine) -> None:
    engine.script = replies("Q2", "Q1", "Q1")
    tab.pick_example()
    tab.press("Which quarter had the fewest visitors?")
    tab.expect_ready()
    expect(tab.page.get_by_label("Question", exact=True)).to_have_value("Which quarter had the fewest visitors?")
    expect(tab.page.locator("#asked")).to_contain_text("Gold answer Q1")
    expect(tab.card("Adapter")).to_contain_text("Correct")
    expect(tab.card("Pretrained")).to_contain_text("Not correct")


def test_an_uploaded_chart_gets_general_suggestions(tab: Tab, engine: ScriptedEngine, chart_file: Path) -> None:
    tab.pick_example()
    expect(tab.page.locator("#chips")).to_contain_text("Which quarter had the fewest visitors?")
    tab.press("Remove Image")
    tab.upload_chart(chart_file)
    expect(tab.page.locator("#chips")).not_to_contain_text("Which quarter had the fewest visitors?")
    tab.press("How many categories are shown?")
    tab.expect_ready()
    expect(tab.page.locator("#asked")).to_contain_text("No gold answer is known")


def test_a_random_chart_brings_a_question_of_the_chosen_kind(tab: Tab) -> None:
    asked = {"human": "How many visitors|Which quarter|Is the second", "machine": "What is the|How many bars"}
    for kind in ("human", "machine", "human"):
        tab.page.get_by_label(kind, exact=True).check()
        tab.press("Random chart")
        expect(tab.page.get_by_label("Question", exact=True)).to_have_value(re.compile(asked[kind]))
        expect(tab.page.locator("#chart img")).to_be_visible()


def test_another_chart_of_the_visitor_empties_the_cards(tab: Tab, chart_file: Path) -> None:
    tab.pick_example()
    tab.page.get_by_label("Gold answer").fill("1")
    tab.press("Ask")
    tab.expect_ready()
    tab.press("Remove Image")
    for arm in ("Pretrained", "Prompted", "Adapter"):
        expect(tab.card(arm)).to_contain_text("The answer appears here.")
    expect(tab.page.locator("#asked")).to_contain_text("Pick a chart, ask a question, and compare.")
    expect(tab.page.get_by_role("status").filter(has_text="ready")).to_have_count(0)
    expect(tab.page.get_by_label("Gold answer")).to_have_value("")
    tab.upload_chart(chart_file)
    expect(tab.page.locator("#chips")).to_contain_text("How many categories are shown?")


def test_removing_the_chart_keeps_the_question(tab: Tab) -> None:
    tab.pick_example()
    tab.type_question("What now?")
    tab.press("Remove Image")
    expect(tab.page.locator("#chart img")).to_have_count(0)
    tab.press("Ask")
    tab.expect_notice("Add a chart first")
    expect(tab.page.get_by_label("Question", exact=True)).to_have_value("What now?")


# --- what goes wrong -------------------------------------------------------------------------------------------------

LONG = "why " * 600
BAD_QUESTIONS = [
    ("", "Type a question about the chart first"),
    ("   \n ", "Type a question about the chart first"),
    (LONG, f"The question has {len(LONG.strip()):,} characters; at most 2,000 can be asked."),
]


def test_a_question_that_cannot_be_asked_is_told_in_a_sentence(tab: Tab, engine: ScriptedEngine) -> None:
    tab.pick_example()
    for question, sentence in BAD_QUESTIONS:
        tab.type_question(question)
        tab.press("Ask")
        tab.expect_notice(sentence)
        expect(tab.page.get_by_label("Question", exact=True)).to_have_value(question)
    assert engine.questions == []
    tab.type_question("How many?")
    tab.press("Ask")
    tab.expect_ready()
    expect(tab.page.locator("#notice [role=alert]")).to_have_count(0)


def test_asking_without_a_chart_is_told_in_a_sentence(tab: Tab, engine: ScriptedEngine) -> None:
    tab.type_question("How many?")
    tab.press("Ask")
    tab.expect_notice("Add a chart first: upload or paste a picture, or pick one of the example charts.")
    assert engine.questions == []


def bad_files() -> list[tuple[str, bytes, str]]:
    png = encoded(bar_chart())
    return [
        ("empty.png", b"", "The file is empty."),
        ("notes.png", b"Dear diary, today I drew a chart.", "not a picture we can read"),
        ("cut.png", png[: len(png) // 2], "damaged or cut off"),
        ("drawing.svg", b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", "SVG is a drawing"),
        ("dot.png", encoded(Image.new("RGB", (1, 1))), "1 × 1 pixels: too small"),
        ("thread.png", encoded(Image.new("RGB", (10_000, 20))), "too long and thin"),
        ("bomb.png", encoded(Image.new("1", (30_000, 30_000))), "too many pixels; at most 50 million are read"),
    ]


def test_a_file_that_is_no_usable_picture_is_told_in_a_sentence(
    tab: Tab, engine: ScriptedEngine, tmp_path: Path, chart_file: Path
) -> None:
    tab.type_question("How many bars are there?")
    for name, data, sentence in bad_files():
        (tmp_path / name).write_bytes(data)
        tab.upload(tmp_path / name)
        tab.expect_notice(sentence)
        expect(tab.page.get_by_label("Question", exact=True)).to_have_value("How many bars are there?")
    tab.upload_chart(chart_file)
    tab.press("Ask")
    tab.expect_ready()
    assert len(engine.questions) == 1


def test_a_file_over_the_limit_is_told_in_a_sentence(tab: Tab, tmp_path: Path) -> None:
    path = tmp_path / "big.png"
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    tab.upload(path)
    expect(tab.page.get_by_text("exceed the maximum allowed size")).to_be_visible()


def odd_files() -> list[tuple[str, bytes, tuple[int, int], tuple[int, int, int]]]:
    """(name, data, size and colour of the left top corner that the model has to see)."""
    clear = Image.new("RGBA", (64, 48), (0, 0, 0, 0))
    deep = Image.new("I;16", (64, 48), 65_535)
    moving = [Image.new("P", (64, 48), 0), Image.new("P", (64, 48), 1)]
    for frame in moving:
        frame.putpalette([255, 0, 0, 0, 0, 255])
    turned = Image.new("RGB", (64, 48), "white")
    exif = Image.Exif()
    exif[0x0112] = 6
    return [
        ("transparent.png", encoded(clear), (64, 48), (255, 255, 255)),
        ("cmyk.jpg", encoded(Image.new("CMYK", (64, 48), (0, 0, 0, 0)), "JPEG"), (64, 48), (255, 255, 255)),
        ("deep.png", encoded(deep), (64, 48), (255, 255, 255)),
        ("palette.png", encoded(moving[0]), (64, 48), (255, 0, 0)),
        ("moving.gif", encoded(moving[0], "GIF", save_all=True, append_images=moving[1:]), (64, 48), (255, 0, 0)),
        ("scan.tiff", encoded(turned, "TIFF"), (64, 48), (255, 255, 255)),
        ("turned.jpg", encoded(turned, "JPEG", exif=exif), (48, 64), (255, 255, 255)),
    ]


def test_an_odd_picture_reaches_the_model_as_a_person_sees_it(tab: Tab, engine: ScriptedEngine, tmp_path: Path) -> None:
    for name, data, size, corner in odd_files():
        (tmp_path / name).write_bytes(data)
        tab.upload_chart(tmp_path / name)
        tab.type_question(name)
        tab.press("Ask")
        expect(tab.page.locator("#asked .question")).to_have_text(name)
        tab.expect_ready()
        image, question, _ = engine.questions[-1]
        assert (question, image.mode, image.size) == (name, "RGB", size)
        assert image.getpixel((0, 0)) == corner, name
        shown = "image => image.complete && image.naturalWidth > 0"
        assert tab.page.locator("#chart img").evaluate(shown), f"the browser does not show {name}"
        tab.press("Remove Image")
        expect(tab.page.locator("#chart img")).to_have_count(0)


def test_a_failing_engine_is_told_in_a_sentence_and_the_page_goes_on(tab: Tab, engine: ScriptedEngine) -> None:
    engine.failure = EngineError("The GPU has no memory left. Ask with a smaller pixel limit.")
    tab.pick_example()
    tab.press("Ask")
    tab.expect_notice("The GPU has no memory left. Ask with a smaller pixel limit.")
    expect(tab.card("Pretrained")).to_contain_text("Stopped")
    expect(tab.answer("Pretrained")).to_have_text("No")
    tab.press("Ask")
    tab.expect_ready()


def test_an_unexpected_failure_is_a_sentence_without_a_traceback(tab: Tab, engine: ScriptedEngine) -> None:
    engine.failure = ZeroDivisionError("secret detail")
    tab.pick_example()
    tab.press("Ask")
    tab.expect_notice("The model failed on this question (ZeroDivisionError). Your chart and question are kept")
    expect(tab.page.locator("body")).not_to_contain_text("secret detail")


def test_a_full_queue_is_told_in_a_sentence(
    windows: Callable[..., BrowserContext], chart_file: Path, tmp_path: Path
) -> None:
    """One question is answered, one may wait, and the third visitor keeps chart, question and cards."""
    engine = ScriptedEngine()
    engine.pace = gate = Gate()
    app = build_app(engine, Settings(results_dir=str(tmp_path)), example_split())
    _, url, _ = app.queue(max_size=1).launch(prevent_thread_lock=True, quiet=True, **launch_options())
    tab = Tab(windows("wide", (), None).new_page(), url)
    tab.page.goto(url)
    tab.pick_example()
    client = Client(url, verbose=False, analytics_enabled=False)
    answered = client.submit(handle_file(chart_file), "first?", api_name="/ask")
    gate.let()
    next(answered)
    waiting = client.submit(handle_file(chart_file), "second?", api_name="/ask")
    wait_until(lambda: waiting.status().code is Status.IN_QUEUE, "the second question never waits")
    tab.press("Ask")
    expect(tab.page.get_by_text("This application is currently busy. Please try again.")).to_be_visible()
    expect(tab.card("Adapter")).to_contain_text("Ready")
    gate.open()
    assert len(answered.result()) == len(waiting.result()) == 3
    tab.press("Ask")
    tab.expect_ready()
    tab.page.close()
    app.close(verbose=False)


def test_one_arm_may_fail_alone(tab: Tab, engine: ScriptedEngine) -> None:
    def script(arm: Arm, question: str) -> str:
        if arm.adapter:
            raise EngineError("No adapter fits this base model.")
        return "200"

    engine.script = script
    tab.pick_example()
    tab.press("Ask")
    tab.expect_ready()
    expect(tab.card("Adapter")).to_contain_text("No adapter fits this base model.")
    expect(tab.page.locator("#history li")).to_contain_text(["Failed: No adapter fits this base model."])
    expect(tab.card("Prompted")).to_contain_text("Correct")


HOSTILE = [
    '<img src=x onerror="window.hacked=1">',
    "${window.hacked=1} `${window.hacked=1}` {{this}} {{{this}}} \\u{41} \\",
    "</p><script>window.hacked=1</script> &lt;b&gt; & <b>bold</b>",
    "line one\nline two   and   spaces",
    "שלום, מה הערך הגבוה ביותר? 📊🙂 مرحبا",
    "<|im_end|><|image_pad|><|vision_start|>",
]


def test_what_visitors_and_models_write_is_shown_as_text(tab: Tab, engine: ScriptedEngine) -> None:
    engine.script = lambda arm, question: question
    tab.pick_example()
    for text in HOSTILE:
        tab.type_question(text)
        tab.page.get_by_label("Gold answer").fill(text.splitlines()[0])
        tab.press("Ask")
        asked = tab.page.locator("#asked .question")
        expect(asked).to_have_js_property("textContent", text)
        tab.expect_ready()
        for place in (asked, tab.answer("Adapter"), tab.page.locator("#history .question").first):
            expect(place).to_have_js_property("textContent", text)
            expect(place.locator("*")).to_have_count(0)
    tab.page.reload()  # the history comes back out of the browser's storage
    kept = tab.page.locator("#history .question")
    expect(kept).to_have_count(len(HOSTILE))
    assert [one.evaluate("element => element.textContent") for one in kept.all()] == HOSTILE[::-1]
    assert tab.page.evaluate("window.hacked") is None


# --- details ---------------------------------------------------------------------------------------------------------


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


def test_generation_settings_reach_the_engine(tab: Tab, engine: ScriptedEngine) -> None:
    tab.pick_example()
    tab.unfold("Generation settings")
    tab.type_over(tab.page.locator("#max-new-tokens input[type=number]"), "3")
    tab.type_over(tab.page.locator("#temperature input[type=number]"), "0.7")
    tab.page.get_by_label("Pixel limit").click()
    tab.page.get_by_role("option", name="200,704 pixels").click()
    tab.press("Ask")
    tab.expect_ready()
    options = engine.questions[-1][2]
    assert (options.max_new_tokens, options.temperature, options.max_pixels) == (3, 0.7, 200_704)
    expect(tab.answer("Pretrained")).to_have_text("No model has")


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
    expect(entries.nth(1).locator(".verdict")).to_contain_text(["Not correct", "Not correct", "Correct"])

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


def test_a_spoilt_history_does_not_break_the_page(tab: Tab) -> None:
    tab.page.evaluate("localStorage.setItem('chartqa-side-by-side', 'neither JSON nor encrypted')")
    tab.page.reload()
    tab.pick_example()
    tab.press("Ask")
    tab.expect_ready()
    expect(tab.page.locator("#history li")).to_have_count(1)
    assert all("Error reading from localStorage" in error for error in tab.errors)
    tab.errors.clear()  # Gradio notes what it could not read, and goes on


def test_an_answer_can_be_copied(open_tab: OpenTab, engine: ScriptedEngine) -> None:
    engine.script = replies("one", "two", "three  spaces\nand lines")
    tab = open_tab(permissions=("clipboard-read", "clipboard-write"))
    tab.pick_example()
    tab.press("Ask")
    tab.expect_ready()
    tab.card("Adapter").get_by_role("button", name="Copy").click()
    expect(tab.card("Adapter").get_by_role("button", name="Copied")).to_be_visible()
    assert tab.page.evaluate("navigator.clipboard.readText()") == "three  spaces\nand lines"


# --- for everyone ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "theme"), LOOKS)
def test_axe_finds_no_violation_before_and_after_asking(open_tab: OpenTab, size: str, theme: str) -> None:
    tab = open_tab(size, theme)

    def violations() -> list[Any]:
        found = Axe().run(tab.page).response["violations"]
        return [
            (one["id"], [node["html"][:200] for node in one["nodes"]]) for one in found if one["id"] not in AXE_NOISE
        ]

    assert violations() == []
    tab.pick_example()
    tab.press("Ask")
    tab.expect_ready()
    for accordion in ("The exact prompt of each arm", "System message of the prompted arm", "Generation settings"):
        tab.unfold(accordion)
    tab.type_question("")
    tab.press("Ask")
    tab.expect_notice("Type a question")
    assert violations() == []


def test_the_keyboard_alone_is_enough(tab: Tab, engine: ScriptedEngine) -> None:
    engine.delay = 0.1
    engine.script = replies(*["word " * 500] * 3)
    press = tab.page.keyboard.press

    def tab_to(name: str) -> None:
        for _ in range(40):
            press("Tab")
            focus = tab.page.locator(":focus")
            label = focus.evaluate(
                "e => e.ariaLabel || e.labels?.[0]?.innerText || e.querySelector('img')?.alt || e.innerText"
            )
            if (label or "").strip().startswith(name):
                return
        raise AssertionError(f"Tab does not reach “{name}”")

    tab_to("Example chart 1")
    press("Enter")
    expect(tab.page.locator("#chart img")).to_be_visible()
    tab_to("Question")
    press("Enter")
    expect(tab.answer("Adapter")).to_contain_text("word word")
    tab_to("Ask")
    tab_to("Stop")
    press("Enter")
    expect(tab.card("Adapter")).to_contain_text("Stopped")
    assert engine.idle.wait(timeout=1)


def test_on_a_phone_the_answers_come_right_after_ask_and_into_view(open_tab: OpenTab, engine: ScriptedEngine) -> None:
    engine.pace = gate = Gate()
    tab = open_tab("phone", reduced_motion="reduce")
    tab.pick_example()
    ask = tab.page.get_by_role("button", name="Ask", exact=True)
    ask.click()
    gate.let()
    expect(tab.answer("Pretrained")).to_be_in_viewport()
    expect(tab.page.locator("#asked")).to_be_in_viewport()
    asked, button = tab.page.locator("#answers").bounding_box(), ask.bounding_box()
    gate.open()
    tab.expect_ready()
    assert asked
    assert button
    assert 0 <= asked["y"] - (button["y"] + button["height"]) < 60


def test_motion_stops_for_those_who_ask_for_it(open_tab: OpenTab, engine: ScriptedEngine) -> None:
    engine.pace = gate = Gate()
    tab = open_tab(reduced_motion="reduce")
    tab.pick_example()
    tab.press("Ask")
    gate.let()
    expect(tab.answer("Pretrained")).to_have_text("No")
    animation = "element => getComputedStyle(element, '::after').animationName"
    assert tab.answer("Pretrained").evaluate(animation) == "none"
    gate.open()
    tab.expect_ready()


def test_only_states_are_announced_never_the_growing_text(tab: Tab, engine: ScriptedEngine) -> None:
    engine.pace = gate = Gate()
    tab.page.evaluate(
        """() => {
          window.heard = [];
          const live = document.querySelector("#status .html-container");
          new MutationObserver(() => heard.push(live.innerText.trim()))
            .observe(live, {subtree: true, childList: true, characterData: true});
        }"""
    )
    tab.pick_example()
    tab.press("Ask")
    gate.let()
    expect(tab.answer("Pretrained")).to_have_text("No")
    gate.open()
    tab.expect_ready()
    heard = [one for one in tab.page.evaluate("heard") if one]
    assert list(dict.fromkeys(heard)) == [
        "Waiting for the model.",
        "Answering.",
        "3 answers ready: Pretrained not correct, Prompted not correct, Adapter not correct.",
    ]
    live = tab.page.locator("[aria-live], [role=status], [role=alert], [role=log]")
    assert live.locator(".answer").count() == 0


def test_the_page_says_which_model_answers(tab: Tab) -> None:
    expect(tab.page.get_by_role("heading", level=1)).to_have_text("One chart, one question, three answers")
    expect(tab.page.locator("#banner")).to_contain_text("Scripted answers, no model")
    expect(tab.page.get_by_role("button", name="Run", exact=True)).to_have_count(0)  # a gr.Button() made by mistake
