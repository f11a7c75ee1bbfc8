"""Answers recorded for the bundled charts: what is kept, for which question it is shown, and how the page marks it."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from page_fixtures import Tab, Windows, bar_chart, encoded, example_split
from PIL import Image
from playwright.sync_api import expect

from chartqa_demo.arms import ARMS, PROMPTED, Arm
from chartqa_demo.engines import Answers, Options
from chartqa_demo.engines.scripted import ScriptedEngine
from chartqa_demo.errors import EngineError, RecordedError
from chartqa_demo.images import pixels_of
from chartqa_demo.settings import Settings
from chartqa_demo.space.recorded import RECORDED_FILE, Recorded, read_recorded, record
from chartqa_demo.ui import build_app, launch_options

pytest_plugins = ("page_fixtures",)

QUESTION = "Which quarter had the fewest visitors?"


class Bundled(ScriptedEngine):
    """Scripted answers under the names of the bundled model."""

    def __init__(self, title: str = "the bundled small Qwen2-VL", adapter: str = "bundled") -> None:
        super().__init__(delay=0, script=lambda arm, question: f"{arm.key} says {len(question)}")
        self.title, self.adapter = title, adapter


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "recorded.jsonl"
    record(Bundled(), example_split(), Options(), path)
    return path


def only(found: Sequence[Recorded]) -> Recorded:
    (recorded,) = found
    return recorded


def test_every_question_is_recorded_and_found_by_chart_and_question(file: Path) -> None:
    recorded = only(read_recorded(Bundled(), file))
    assert len(recorded.lines) == len(example_split())
    answers = recorded.answers_to(bar_chart(), QUESTION, ARMS, Options())
    assert answers is not None
    assert [answer.text for answer in answers] == [f"{arm.key} says {len(QUESTION)}" for arm in ARMS]
    assert all(answer.done and answer.total_s is None for answer in answers), "its times were those of another machine"


def test_a_chart_is_known_by_its_pixels_however_the_page_stores_it(file: Path) -> None:
    stored = Image.open(BytesIO(encoded(bar_chart().convert("RGBA"), "WEBP", lossless=True)))
    assert only(read_recorded(Bundled(), file)).answers_to(stored, QUESTION, ARMS, Options()) is not None


@pytest.mark.parametrize(
    "options",
    [
        Options(temperature=0.5),
        Options(max_pixels=100_352),
        Options(max_new_tokens=2),
        Options(system="Answer like a pirate."),
    ],
    ids=str,
)
def test_a_question_asked_in_another_way_has_no_recorded_answer(file: Path, options: Options) -> None:
    recorded = only(read_recorded(Bundled(), file))
    assert recorded.answers_to(bar_chart(), QUESTION, ARMS, options) is None
    assert recorded.answers_to(bar_chart(), QUESTION, ARMS, Options(system=PROMPTED.system)) is not None
    assert recorded.answers_to(bar_chart((1, 2)), QUESTION, ARMS, Options()) is None
    assert recorded.answers_to(bar_chart(), "Another question?", ARMS, Options()) is None


def test_an_arm_that_is_told_something_else_since_has_no_recorded_answer(file: Path) -> None:
    recorded = only(read_recorded(Bundled(), file))
    for changed in ARMS[1:]:
        told = [replace(arm, system="Count the bars.") if arm == changed else arm for arm in ARMS]
        assert recorded.answers_to(bar_chart(), QUESTION, told, Options()) is None
        rest = [arm for arm in ARMS if arm != changed]
        assert recorded.answers_to(bar_chart(), QUESTION, rest, Options()) is not None


def test_the_message_of_another_adapter_says_nothing_about_the_recorded_one(file: Path) -> None:
    recorded = only(read_recorded(Bundled("owner/large", "owner/lora"), file))
    told = [replace(arm, system="Trained with this.") if arm.adapter else arm for arm in ARMS]
    assert recorded.answers_to(bar_chart(), QUESTION, told, Options()) is not None


def test_a_line_that_does_not_say_what_was_asked_is_read_but_not_shown(file: Path) -> None:
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    file.write_text("".join(json.dumps({**row, "systems": None}) + "\n" for row in rows), encoding="utf-8")
    assert only(read_recorded(Bundled(), file)).answers_to(bar_chart(), QUESTION, ARMS, Options()) is None
    for row in rows:
        del row["systems"]  # as files were written at first
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert only(read_recorded(Bundled(), file)).answers_to(bar_chart(), QUESTION, ARMS, Options()) is None


def test_the_answers_of_this_pages_model_come_before_those_of_the_bundled_one(file: Path) -> None:
    large = Bundled("owner/large (bfloat16, cuda)", "owner/lora")
    other = only(read_recorded(large, file))
    assert other.mark.endswith("by the bundled small Qwen2-VL with its adapter, not by the model of this page.")
    record(large, example_split(), Options(), file)
    record(Bundled("owner/third", "owner/lora"), example_split(), Options(), file)
    own, bundled = read_recorded(large, file)
    assert own.mark.endswith("by owner/large (bfloat16, cuda) with the adapter owner/lora.")
    assert bundled == other


def test_recording_again_replaces_only_the_same_models_answers(file: Path) -> None:
    record(Bundled("owner/large", "owner/lora"), example_split(), Options(), file)
    record(Bundled(), example_split(), Options(max_new_tokens=8), file)
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 2 * len(example_split())
    assert {row["max_new_tokens"] for row in rows if row["adapter"] == "bundled"} == {8}


def test_a_damaged_line_is_told_by_its_number(file: Path) -> None:
    file.write_text(file.read_text(encoding="utf-8") + '{"date": 1}\n', encoding="utf-8")
    with pytest.raises(RecordedError, match=f"Line {len(example_split()) + 1} of "):
        read_recorded(Bundled(), file)


def test_without_a_file_nothing_is_recorded(tmp_path: Path) -> None:
    assert read_recorded(Bundled(), tmp_path / "none.jsonl") == ()


@pytest.mark.skipif(not RECORDED_FILE.is_file(), reason="the bundled model's answers have not been recorded yet")
def test_the_recorded_answers_of_this_repository_belong_to_its_bundled_charts() -> None:
    from chartqa_demo.data.splits import open_split

    recorded = only(read_recorded(Bundled()))
    charts = {(pixels_of(example.load_image()), example.question) for example in open_split("bundled")}
    assert recorded.lines.keys() == charts
    assert all(line.systems == {arm.key: arm.system for arm in ARMS} for line in recorded.lines.values())


class Refusing(Bundled):
    """Refused like on ZeroGPU: the recorded answers, then the reason."""

    def __init__(self, recorded: Recorded) -> None:
        super().__init__()
        self.recorded = recorded

    def answer(self, image: Image.Image, question: str, arms: Sequence[Arm], options: Options) -> Iterator[Answers]:
        if (answers := self.recorded.answers_to(image, question, arms, options)) is not None:
            yield answers
        raise EngineError("Your GPU time is used up for now: it resets in 2 h.")


def test_the_page_shows_recorded_answers_as_such_beside_the_reason(windows: Windows, file: Path) -> None:
    app = build_app(Refusing(only(read_recorded(Bundled(), file))), Settings(), example_split())
    _, url, _ = app.launch(prevent_thread_lock=True, quiet=True, **launch_options())
    try:
        page = windows()
        tab = Tab(page, url)
        page.goto(url)
        tab.pick_example()
        tab.press("Ask")
        tab.expect_notice("Your GPU time is used up for now: it resets in 2 h.")
        card = tab.card("Prompted")
        expect(card.locator(".state")).to_have_text("Recorded")
        expect(card.locator(".answer")).to_contain_text("prompted says")
        expect(card.locator(".recorded")).to_contain_text("Recorded on 2")
        expect(card.locator(".verdict").first).to_be_visible()
        tab.type_question("What was never recorded?")
        tab.press("Ask")
        expect(card).to_contain_text("Stopped before the first word.")
        expect(page.get_by_label("Question", exact=True)).to_have_value("What was never recorded?")
        tab.leave()
    finally:
        app.close(verbose=False)
