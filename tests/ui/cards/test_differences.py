"""What an answer alone says is marked in it, and a question goes on to the next chart; in Chromium, scripted engine."""

from pathlib import Path

import pytest
from page_fixtures import Tab, expect, replies
from PIL import ImageColor

from chartqa_demo.engines.scripted import ScriptedEngine
from chartqa_demo.ui.compare.cards.differences import marked

pytest_plugins = ("page_fixtures",)


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        (("1700", "1400", "1400"), ["<mark>1700</mark>", "1400", "1400"]),
        (("It is 1,400.", "1400", "1400"), ["<mark>It is</mark> 1<mark>,</mark>400<mark>.</mark>", "1400", "1400"]),
        (("Blue", "blue", "Red"), ["<mark>B</mark>lue", "<mark>b</mark>lue", "<mark>Red</mark>"]),
        (("22%", "22", "22.0"), ["22<mark>%</mark>", "22", "22<mark>.0</mark>"]),
        (("same", "same", "same"), ["same"] * 3),
        (("", "4", ""), ["", "<mark>4</mark>", ""]),
        (("<b>4</b> & 5", "4", "4"), ["<mark>&lt;b&gt;</mark>4<mark>&lt;/b&gt; &amp; 5</mark>", "4", "4"]),
        (("alone & only",), ["alone &amp; only"]),
    ],
)
def test_what_an_answer_alone_says_is_marked(texts: tuple[str, ...], told: list[str]) -> None:
    assert marked(texts) == told


def test_cards_mark_what_differs_without_a_change_of_the_text(tab: Tab, engine: ScriptedEngine) -> None:
    engine.script = replies("It is <i>1,400</i>", "1400", "1400")
    tab.pick_example()
    tab.press("Ask")
    tab.expect_ready()
    mark = tab.answer("Pretrained").locator("mark").first
    expect(mark).to_have_text("It is <i>")
    assert mark.evaluate("mark => getComputedStyle(mark).textDecorationLine") == "underline"
    expect(tab.answer("Pretrained")).to_have_text("It is <i>1,400</i>")
    expect(tab.answer("Adapter").locator("mark")).to_have_count(0)
    expect(tab.page.get_by_text("Underlined: what one answer alone says.")).to_be_visible()
    engine.script = replies("4", "4", "4")
    tab.press("Ask")
    expect(tab.answer("Pretrained")).to_have_text("4")
    tab.expect_ready()
    expect(tab.page.get_by_text("Underlined")).to_be_hidden()


def test_a_question_goes_on_to_the_next_chart_and_round(tab: Tab, engine: ScriptedEngine, chart_file: Path) -> None:
    onward = tab.page.get_by_role("button", name="Same question on the next chart")
    expect(onward).to_be_hidden()
    tab.pick_example(2)
    tab.type_question("How many bars are there?")
    tab.press("Ask")
    tab.expect_ready()
    tab.type_question("something else")  # the question of the cards goes on, not what is being typed
    onward.focus()
    for count, colour in ((2, "seagreen"), (3, "steelblue")):
        tab.page.keyboard.press("s")
        expect(tab.page.locator("#history li")).to_have_count(count)
        image, question, _ = engine.questions[-1]
        assert (image.getpixel((60, 290)), question) == (ImageColor.getrgb(colour), "How many bars are there?")
        expect(tab.page.get_by_label("Question", exact=True)).to_have_value("How many bars are there?")
        tab.expect_ready()
    expect(tab.page.locator("#asked")).to_contain_text("No gold answer is known")
    tab.upload_chart(chart_file)  # from a chart of one's own to the first of the split
    tab.type_question("Which quarter had the fewest visitors?")
    tab.press("Ask")
    tab.expect_ready()
    onward.click()
    expect(tab.page.locator("#asked")).to_contain_text("Gold answer Q1")
    tab.expect_ready()
