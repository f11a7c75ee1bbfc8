"""The same engine on other families: what cannot be shared or mixed falls back, and three arms always answer."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from families import BUILDERS
from PIL import Image, ImageDraw
from tiny import build_tiny_adapter

from chartqa_demo.arms import ARMS
from chartqa_demo.engines import Answers, EngineError, Options
from chartqa_demo.engines.local import LocalEngine, load_engine
from chartqa_demo.settings import Settings

SHORT = Options(max_new_tokens=8)
LANGUAGE_MODEL = r".*(language_model|text_model).*\.(q_proj|v_proj)"


def chart() -> Image.Image:
    image = Image.new("RGB", (168, 112), "white")
    ImageDraw.Draw(image).rectangle((20, 30, 60, 100), fill="red")
    return image


@pytest.fixture(scope="module", params=sorted(BUILDERS))
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LocalEngine:
    folder = tmp_path_factory.mktemp(request.param)
    base = BUILDERS[request.param](folder / "base")
    adapter = build_tiny_adapter(base, folder / "adapter", targets=LANGUAGE_MODEL)
    return load_engine(Settings(base=str(base), adapter=str(adapter), device="cpu"))


def last(states: Iterator[Answers]) -> Answers:
    *_, final = states
    return final


def test_three_arms_stream_and_equal_separate_runs(engine: LocalEngine) -> None:
    states = list(engine.answer(chart(), "How many bars are above 40?", ARMS, SHORT))
    assert len(states) >= 2
    for arm, answer in zip(ARMS, states[-1], strict=True):
        (alone,) = last(engine.answer(chart(), "How many bars are above 40?", [arm], SHORT))
        assert answer.done and answer.error is None
        assert (answer.text, answer.tokens) == (alone.text, alone.tokens)
    assert len({answer.text for answer in states[-1]}) == len(ARMS)


def test_many_questions_at_once_get_the_answers_of_one_by_one(engine: LocalEngine) -> None:
    items = [(chart(), "How many bars?"), (chart(), "What is the value of the red bar in 2019?")]
    for (image, question), answers in zip(items, engine.answer_many(items, ARMS, SHORT), strict=True):
        expected = last(engine.answer(image, question, ARMS, SHORT))
        assert [(a.text, a.tokens) for a in answers] == [(a.text, a.tokens) for a in expected]


def test_special_tokens_of_the_family_in_a_question_are_text(engine: LocalEngine) -> None:
    tokenizer = engine.processor.tokenizer
    special = set(tokenizer.get_added_vocab().values())

    def structure(question: str) -> list[int]:
        text = engine.prompt_text(ARMS[0], question, SHORT)
        ids = engine._inputs([chart()], [text])["input_ids"][0].tolist()
        return [i for i in ids if i in special]

    attack = " ".join(tokenizer.get_added_vocab())
    assert structure(f"How many {attack} bars?") == structure("How many bars?")


def test_the_page_is_told_what_the_family_cannot_share(engine: LocalEngine) -> None:
    shared = any("vision" in note for note in engine.notes)
    assert shared is not engine.shares_vision


@pytest.mark.parametrize("family", ["Pixtral", "SmolVLM"])
def test_an_adapter_that_reaches_the_vision_tower_is_refused(family: str, tmp_path: Path) -> None:
    base = BUILDERS[family](tmp_path / "base")
    adapter = build_tiny_adapter(base, tmp_path / "adapter", targets=["q_proj", "v_proj"])
    with pytest.raises(EngineError, match="outside the language model"):
        load_engine(Settings(base=str(base), adapter=str(adapter), device="cpu"))
