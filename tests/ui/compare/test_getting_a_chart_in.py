"""Charts are pasted and dropped anywhere on the page, and what is no chart is a sentence; in Chromium."""

import re
from base64 import b64encode
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
from page_fixtures import Gate, Tab, bar_chart, encoded, expect

from chartqa_demo.engines.scripted import ScriptedEngine

pytest_plugins = ("page_fixtures",)

GIVE = """([kind, selector, type, name, data, size]) => {
  const given = new DataTransfer();
  if (size) given.items.add(new File([new Uint8Array(size)], name, { type }));
  else if (name) given.items.add(new File([Uint8Array.from(atob(data), (one) => one.charCodeAt(0))], name, { type }));
  else given.setData(type, data);
  const target = document.querySelector(selector);
  const options = { bubbles: true, cancelable: true, composed: true };
  if (kind === "paste") target.dispatchEvent(new ClipboardEvent(kind, { clipboardData: given, ...options }));
  else for (const one of ["dragenter", "dragover", "drop"])
    target.dispatchEvent(new DragEvent(one, { dataTransfer: given, ...options }));
}"""
PNG = encoded(bar_chart())


def give(tab: Tab, kind: str, where: str, name: str, data: bytes | int, form: str) -> None:
    """Paste or drop a file on the element `where`; a text where it has no name. data: a number is that of its bytes."""
    size = data if isinstance(data, int) else 0
    content = "" if isinstance(data, int) else b64encode(data).decode() if name else data.decode()
    tab.page.evaluate(GIVE, [kind, where, form, name, content, size])


PLACES = [("paste", "body"), ("paste", "#question textarea"), ("drop", "h1"), ("drop", "#chart")]


@pytest.mark.parametrize("places", [PLACES[1:2], pytest.param(PLACES, marks=pytest.mark.campaign)], ids=len)
def test_a_chart_is_taken_wherever_it_is_given(tab: Tab, engine: ScriptedEngine, places: list[tuple[str, str]]) -> None:
    for number, (kind, where) in enumerate(places):
        tab.pick_example(3)
        expect(tab.card("Adapter")).to_contain_text("The answer appears here.")
        tab.press("Ask")
        tab.expect_ready()
        give(tab, kind, where, f"mine{number}.png", PNG, "image/png")
        expect(tab.page.locator("#chips")).to_contain_text("How many categories are shown?")
        expect(tab.card("Adapter")).to_contain_text("The answer appears here.")
        tab.type_question("How many bars?")
        tab.press("Ask")
        tab.expect_ready()
        assert engine.questions[-1][0].tobytes() == bar_chart().tobytes(), (kind, where)
        expect(tab.page.locator("#history .meta").first).to_contain_text(f"mine{number}.png")


def test_text_that_is_dragged_or_pasted_leaves_the_chart_alone(tab: Tab) -> None:
    tab.pick_example(1)
    shown = tab.page.locator("#chart .image-frame img").get_attribute("src")
    for where in ("#chart", "#chart img", "body"):
        give(tab, "drop", where, "", b"a title", "text/plain")
        give(tab, "paste", where, "", b"a title", "text/plain")
    tab.press("Ask")
    tab.expect_ready()
    assert tab.page.locator("#chart .image-frame img").get_attribute("src") == shown
    expect(tab.page.locator("#chart-notice [role=alert]")).to_have_count(0)


NO_CHARTS = [
    ("report.pdf", b"%PDF-1.7 ...", "application/pdf", "A PDF is a document, not a picture."),
    ("sales.csv", b"year,sales\n2020,3\n", "text/csv", "A table is not a picture."),
    ("sales.xlsx", b"PK\x03\x04", "application/vnd.ms-excel", "A table is not a picture."),
    ("drawing.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml", "SVG is a drawing"),
    ("notes.txt", b"Dear diary", "text/plain", "not a picture we can read"),
    ("big.png", 20 * 2**20 + 1, "image/png", "The file has 20.0 MB; at most 20 MB are read."),
]


def test_what_is_no_chart_is_a_sentence_that_goes_with_the_next_chart(
    tab: Tab, engine: ScriptedEngine, tmp_path: Path
) -> None:
    engine.pace = gate = Gate()
    tab.pick_example(1)
    tab.press("Ask")
    gate.let()
    expect(tab.answer("Pretrained")).to_have_text("No")
    for name, data, form, sentence in NO_CHARTS:
        give(tab, "drop", "body", name, data, form)
        tab.expect_notice(sentence)
    gate.open()
    tab.expect_ready()  # none of them ended the question
    expect(tab.page.locator("#chart .image-frame img")).to_be_visible()
    tab.pick_example(2)
    expect(tab.page.locator("#chart-notice [role=alert]")).to_have_count(0)
    (tmp_path / "report.pdf").write_bytes(b"%PDF-1.7 ...")
    tab.upload(tmp_path / "report.pdf")  # chosen in the file dialogue
    tab.expect_notice("A PDF is a document")
    give(tab, "drop", "body", "mine.png", PNG, "image/png")
    expect(tab.page.locator("#chips")).to_contain_text("How many categories are shown?")
    expect(tab.page.locator("#chart-notice [role=alert]")).to_have_count(0)
    tab.errors[:] = [error for error in tab.errors if "413" not in error]  # the browser notes the refused upload


def test_pictures_of_phones_are_read_and_shown(tab: Tab, engine: ScriptedEngine, tmp_path: Path) -> None:
    forms = ["AVIF"]
    if find_spec("pillow_heif"):
        import_module("pillow_heif").register_heif_opener()
        forms.append("HEIF")
    else:
        (tmp_path / "chart.heic").write_bytes(b"\x00\x00\x00\x18ftypheic" + bytes(64))
        tab.upload(tmp_path / "chart.heic")
        tab.expect_notice("HEIC pictures cannot be read here.")
    for form in forms:
        name = f"chart.{form.lower().replace('heif', 'heic')}"
        (tmp_path / name).write_bytes(encoded(bar_chart(), form))
        tab.upload(tmp_path / name)
        tab.page.wait_for_function("document.querySelector('#chart .image-frame img')?.naturalWidth === 480")
        tab.type_question(name)
        tab.press("Ask")
        expect(tab.page.locator("#asked .question")).to_have_text(name)
        tab.expect_ready()
        assert engine.questions[-1][0].size == (480, 320)
        tab.press("Remove Image")
        expect(tab.page.locator("#chart img")).to_have_count(0)


def test_an_own_chart_is_offered_in_words_beside_one_that_is_shown(tab: Tab, chart_file: Path) -> None:
    tab.pick_example(2)
    with tab.page.expect_file_chooser() as chooser:
        tab.press("choose a file")
    chooser.value.set_files(chart_file)
    expect(tab.page.locator("#chart img")).to_have_attribute("src", re.compile("visitors"))


def test_a_refused_file_is_told_where_the_visitor_looks(tab: Tab) -> None:
    tab.pick_example(1)
    told = tab.page.locator("#chart-notice [role=alert]")
    for place in ("scrollTo(0, 0)", "scrollTo(0, document.body.scrollHeight)"):
        tab.page.evaluate(place)
        give(tab, "drop", "body", "notes.txt", b"Dear diary", "text/plain")
        expect(told).to_be_in_viewport(ratio=1)
        tab.pick_example(2)
        expect(told).to_have_count(0)


def test_the_upload_button_under_a_chart_opens_the_file_dialogue_and_keeps_the_chart(
    tab: Tab, chart_file: Path
) -> None:
    tab.pick_example(1)
    shown = tab.page.locator("#chart .image-frame img").get_attribute("src")
    for file in ((), chart_file):  # cancelled, then chosen
        with tab.page.expect_file_chooser() as chooser:
            tab.page.locator("#chart").get_by_role("button", name="Upload file").click()
        expect(tab.page.locator("#chart .image-frame img")).to_have_attribute("src", str(shown))
        chooser.value.set_files(file)
    expect(tab.page.locator("#chart .image-frame img")).to_have_attribute("src", re.compile("visitors"))


def give_own(tab: Tab, way: str, chart_file: Path) -> None:
    if way == "upload":
        tab.upload_chart(chart_file)
    elif way == "remove, then upload":
        tab.press("Remove Image")
        expect(tab.page.locator("#chart img")).to_have_count(0)
        tab.upload_chart(chart_file)
    else:
        give(tab, way, "body", "mine.png", PNG, "image/png")
        expect(tab.page.locator("#chart img")).to_have_attribute("src", re.compile("mine"))
    expect(tab.page.locator("#chips")).to_contain_text("How many categories are shown?")


WAYS = ("upload", "remove, then upload", "paste", "drop")


def test_an_own_chart_takes_the_place_of_a_sampled_one_and_its_question(tab: Tab, chart_file: Path) -> None:
    question, gold = tab.page.get_by_label("Question", exact=True), tab.page.get_by_label("Right answer, if")
    for way in WAYS:
        tab.pick_example(1)
        expect(question).to_have_value("How many visitors came in the fourth quarter?")
        expect(tab.page.locator("#chips")).to_contain_text("fourth quarter")
        gold.fill("200")
        give_own(tab, way, chart_file)
        expect(question).to_have_value("")
        expect(question).to_have_attribute("placeholder", "What do you want to know about the chart?")
        expect(gold).to_have_value("")
        expect(tab.page.locator("#chips")).not_to_contain_text("fourth quarter")


@pytest.mark.parametrize("ways", [WAYS[3:], pytest.param(WAYS, marks=pytest.mark.campaign)], ids=len)
def test_an_own_chart_leaves_a_question_that_was_edited_or_typed(
    tab: Tab, chart_file: Path, ways: tuple[str, ...]
) -> None:
    question = tab.page.get_by_label("Question", exact=True)
    for way in ways:
        tab.pick_example(1)
        expect(question).to_have_value("How many visitors came in the fourth quarter?")
        expect(tab.page.locator("#chips")).to_contain_text("fourth quarter")
        question.press("End")
        question.press("Backspace")
        give_own(tab, way, chart_file)
        tab.page.wait_for_timeout(300)  # what would empty the field comes after the chart
        expect(question).to_have_value("How many visitors came in the fourth quarter")
        tab.pick_example(2)
        expect(question).to_have_value("Is the second bar taller than the third?")
        expect(tab.page.locator("#chips")).not_to_contain_text("How many categories are shown?")
        tab.type_question("How many bars?")
        give_own(tab, way, chart_file)
        tab.page.wait_for_timeout(300)
        expect(question).to_have_value("How many bars?")


@pytest.mark.parametrize("ways", [WAYS[3:], pytest.param(WAYS[::3], marks=pytest.mark.campaign)], ids=len)
def test_what_was_typed_before_there_was_a_chart_stays(tab: Tab, chart_file: Path, ways: tuple[str, ...]) -> None:
    for way in ways:
        tab.type_question("How many bars are there?")
        tab.page.get_by_label("Right answer, if").fill("4")
        give_own(tab, way, chart_file)
        tab.press("Ask")
        expect(tab.page.locator("#asked")).to_contain_text("Gold answer 4 (yours)")
        expect(tab.page.locator("#asked .question")).to_have_text("How many bars are there?")
        tab.expect_ready()
        tab.press("Remove Image")
        expect(tab.page.locator("#asked .question")).to_have_count(0)


def test_a_picture_that_cannot_be_read_takes_no_question_along(tab: Tab) -> None:
    tab.pick_example(1)
    give(tab, "drop", "body", "broken.png", PNG[:200], "image/png")
    tab.expect_notice("damaged or cut off")
    tab.page.wait_for_timeout(300)
    expect(tab.page.get_by_label("Question", exact=True)).to_have_value("How many visitors came in the fourth quarter?")


def test_a_question_of_the_history_stays_with_its_own_chart(tab: Tab, engine: ScriptedEngine) -> None:
    question = tab.page.get_by_label("Question", exact=True)
    give(tab, "drop", "body", "mine.png", PNG, "image/png")
    expect(tab.page.locator("#chart .image-frame img")).to_be_visible()
    tab.type_question("How many visitors came in the fourth quarter?")  # a sampled chart's, of one's own
    tab.press("Ask")
    tab.expect_ready()
    tab.pick_example(1)
    expect(tab.card("Adapter")).to_contain_text("The answer appears here.")
    tab.page.locator("#history .question").first.click()
    tab.expect_ready()
    expect(question).to_have_value("How many visitors came in the fourth quarter?")
    tab.page.reload()
    tab.expect_ready()
    expect(question).to_have_value("How many visitors came in the fourth quarter?")
