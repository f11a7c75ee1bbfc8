"""The adapter before is asked beside the one in use: by the engine, and with a click in the page."""

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import gradio as gr
import pytest
from page_fixtures import Tab, Windows, expect, page_of, violations
from PIL import Image
from tiny import build_tiny_adapter, chart, last

from chartqa_demo.adapters.contract import Contract
from chartqa_demo.engines import Answer, ByAdapter, Options
from chartqa_demo.engines.local import LocalEngine, load_local
from chartqa_demo.engines.scripted import ScriptedEngine
from chartqa_demo.errors import EngineError
from chartqa_demo.settings import Settings
from chartqa_demo.ui.compare.cards.before import Before, of_question
from chartqa_demo.ui.compare.history import Run
from chartqa_demo.ui.compare.question import Question

pytest_plugins = ("page_fixtures",)

QUESTION, SHORT = "How many bars?", Options(max_new_tokens=8)


def adapted(engine: LocalEngine) -> str:
    return last(engine.answer(chart(), QUESTION, engine.arms, SHORT))[2].text


@pytest.fixture
def engine_with(tiny_base: Path, tiny_adapter: Path) -> LocalEngine:
    return load_local(Settings(base=str(tiny_base), adapter=str(tiny_adapter), device="cpu"))


@pytest.fixture
def exchanged(
    engine_with: LocalEngine, tiny_base: Path, tiny_adapter: Path, tmp_path: Path
) -> tuple[LocalEngine, list[tuple[str, str]]]:
    """An engine whose adapter was exchanged, and (adapter, its answer while it was in use), the first one first. That
    one was trained on smaller charts."""
    small = shutil.copytree(tiny_adapter, tmp_path / "small")
    Contract(base=str(tmp_path), system="Read the chart.", max_pixels=784 * 4).save(small)
    other = build_tiny_adapter(tiny_base, tmp_path / "other", seed=5)
    said = []
    for folder in (small, other):
        engine_with.use_adapter(str(folder))
        said.append((str(folder), adapted(engine_with)))
    return engine_with, said


def test_without_an_exchange_there_is_no_former_adapter(engine_with: LocalEngine, tiny_adapter: Path) -> None:
    engine_with.use_adapter(str(tiny_adapter))  # the same once more
    assert engine_with.former is None
    assert engine_with.answer_former(chart(), QUESTION, SHORT) == ()


def test_both_answer_as_they_did_in_use_and_nothing_else_changes(
    exchanged: tuple[LocalEngine, list[tuple[str, str]]],
) -> None:
    engine, said = exchanged
    assert said[0][1] != said[1][1]
    before = engine.former, engine.adapter, engine.arms, dict(engine.processor.image_processor.size), engine.notes
    found = engine.answer_former(chart(), QUESTION, SHORT)
    assert [(name, answer.text) for name, answer in found] == said
    assert all(answer.done and answer.error is None for _, answer in found)
    after = engine.former, engine.adapter, engine.arms, dict(engine.processor.image_processor.size), engine.notes
    assert after == before and before[:2] == (said[0][0], said[1][0])
    assert adapted(engine) == said[1][1]


def test_after_a_failure_of_the_former_the_one_in_use_answers(
    exchanged: tuple[LocalEngine, list[tuple[str, str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, said = exchanged
    with monkeypatch.context() as patch:
        patch.setattr(engine, "_generate", lambda *rest: (_ for _ in ()).throw(RuntimeError("broken")))
        with pytest.raises(EngineError, match="broken"):
            engine.answer_former(chart(), QUESTION, SHORT)
    assert adapted(engine) == said[1][1]
    assert engine._name == next(reversed(engine._resident.values())).name


def test_other_visitors_are_answered_by_the_adapter_in_use_meanwhile(
    exchanged: tuple[LocalEngine, list[tuple[str, str]]],
) -> None:
    engine, said = exchanged
    states = engine.answer(chart(), QUESTION, engine.arms, SHORT)
    next(states)  # another visitor's question has begun
    found: list[ByAdapter] = []
    asking = threading.Thread(target=lambda: found.append(engine.answer_former(chart(), QUESTION, SHORT)))
    asking.start()
    assert last(states)[2].text == said[1][1]
    answers = [adapted(engine) for _ in range(3)]
    asking.join(60)
    assert answers == [said[1][1]] * 3
    assert [answer.text for _, answer in found[0]] == [text for _, text in said]


class Exchanges(ScriptedEngine):
    """Its adapter can be exchanged; the one before says something else, once `let` is set."""

    def __init__(self) -> None:
        super().__init__(delay=0.01)
        self.let = threading.Event()
        self.let.set()
        self.told = threading.Event()

    def use_adapter(self, name: str) -> None:
        self.adapter, self.former = name, self.adapter

    def answer_former(self, image: Image.Image, question: str, options: Options) -> ByAdapter:
        assert self.former and self.adapter
        if question == "unforeseen?":
            raise RuntimeError("/secret/path")
        if question == "broken?":
            raise EngineError("The model failed on this question.")
        self.let.wait(20)
        self.told.set()
        texts = "<b>7</b>", "200"
        names = self.former, self.adapter
        return tuple((name, Answer("adapter", text, 1, done=True)) for name, text in zip(names, texts, strict=True))


@pytest.fixture
def page(windows: Windows) -> Iterator[tuple[Tab, Exchanges]]:
    engine = Exchanges()
    engine.adapter = "ann/first"
    with page_of(windows, engine, Settings(visitor_adapters="hub")) as tab:
        yield tab, engine


def test_after_an_exchange_both_answers_are_shown_with_verdicts(page: tuple[Tab, Exchanges]) -> None:
    tab, engine = page
    shown, button = tab.page.locator("#before-answers"), tab.page.locator("#before-ask")
    expect(button).to_have_count(0)
    tab.unfold("Another adapter for the third arm")
    tab.type_over(tab.page.get_by_role("combobox", name="Adapter"), "ann/second")
    tab.page.keyboard.press("Enter")
    tab.press("Load this adapter")
    expect(button).to_be_visible()
    button.click()
    expect(shown).to_contain_text("Ask a question first")

    tab.pick_example()
    tab.press("Ask")
    tab.expect_ready()
    button.click()
    before, now = shown.locator("section").nth(0), shown.locator("section").nth(1)
    expect(before).to_contain_text("Before ann/first<b>7</b>Wrong")
    expect(now).to_contain_text("Now ann/second200Right")
    assert violations(tab.page, "#before") == []

    tab.type_question("broken?")
    tab.press("Ask")
    tab.expect_ready()
    expect(shown.locator("section")).to_have_count(0)
    button.click()
    expect(shown).to_contain_text("The model failed on this question.")

    tab.type_question("unforeseen?")
    tab.press("Ask")
    tab.expect_ready()
    expect(shown.locator(".notice")).to_have_count(0)
    button.click()
    expect(shown).to_contain_text("The model failed on this question (RuntimeError).")
    expect(tab.page.locator("body")).not_to_contain_text("/secret/path")
    assert engine.adapter == "ann/second"


def test_a_last_word_about_another_question_is_taken_away_and_other_words_stay() -> None:
    before = Before.__new__(Before)
    now, other = (Question(Path("a.png"), "The same?", asked_at=moment) for moment in (1.5, 2.5))
    told = of_question(now, "<p>7</p>")
    assert "<p>7</p>" in told
    assert before.keep(told, Run(question=now)) == gr.skip()
    assert before.keep(told, Run(question=other)) == before.keep(told, Run()) == ""
    assert before.keep("<p>Ask a question first.</p>", Run()) == before.keep("", Run()) == gr.skip()


def test_answers_that_come_late_do_not_stand_below_another_question(page: tuple[Tab, Exchanges]) -> None:
    tab, engine = page
    engine.use_adapter("ann/second")
    tab.pick_example()
    tab.press("Ask")
    tab.expect_ready()
    engine.let.clear()
    tab.page.locator("#before-ask").click()
    expect(tab.page.locator("#before-answers")).to_contain_text("Both adapters are being asked.")
    tab.type_question("Something else?")
    tab.press("Ask")
    expect(tab.page.locator("#before-answers")).to_be_empty()
    engine.let.set()
    assert engine.told.wait(10)
    tab.expect_ready()
    expect(tab.page.locator("#before-answers")).to_be_empty()
