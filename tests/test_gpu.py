"""What only a GPU can show: `python -m pytest -m gpu -n 0`. CONTRIBUTING.md lists these tests."""

from collections.abc import Iterator

import pytest
import torch
from PIL import Image

from chartqa_demo.arms import ARMS
from chartqa_demo.data.splits import open_split
from chartqa_demo.engines import Engine, Options, load_engine
from chartqa_demo.settings import Settings

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]
OPTIONS = Options(max_new_tokens=32)


@pytest.fixture
def asked() -> list[tuple[Image.Image, str]]:
    """One question to each of the first eight bundled charts."""
    charts: dict[str, tuple[Image.Image, str]] = {}
    for example in open_split("bundled"):
        if len(charts) < 8 and example.file_name not in charts:
            charts[example.file_name] = (example.load_image(), example.question)
    return list(charts.values())


def engine(decode: str, quantize: str = "none", dtype: str = "float32") -> Engine:
    settings = Settings(base="bundled", device="cuda", decode=decode, quantize=quantize, dtype=dtype)  # pyright: ignore[reportArgumentType]
    return load_engine(settings)


def texts(engine: Engine, asked: list[tuple[Image.Image, str]]) -> Iterator[list[str]]:
    for image, question in asked:
        *_, answers = engine.answer(image, question, ARMS, OPTIONS)
        assert [answer.error for answer in answers] == [None] * len(ARMS)
        yield [answer.text for answer in answers]


def test_a_replayed_step_answers_as_generate_does(asked: list[tuple[Image.Image, str]]) -> None:
    usual = list(texts(engine("eager"), asked))
    assert list(texts(engine("graph"), asked)) == usual
    assert list(texts(engine("static"), asked)) == usual


def test_a_batch_of_an_evaluation_answers_as_the_page_does(asked: list[tuple[Image.Image, str]]) -> None:
    replayed = engine("graph")
    page = list(texts(replayed, asked))
    batch = replayed.answer_many(asked, ARMS, OPTIONS)
    assert [[answer.text for answer in answers] for answers in batch] == page


@pytest.mark.parametrize("quantize", ["4bit", "8bit"])
def test_weights_in_few_bits_answer_in_all_arms(quantize: str, asked: list[tuple[Image.Image, str]]) -> None:
    few = engine("auto", quantize, "auto")
    assert all(text for row in texts(few, asked[:2]) for text in row)


def test_what_is_freed_after_a_question_is_free(asked: list[tuple[Image.Image, str]]) -> None:
    held, replayed = [], engine("graph")
    for _ in range(3):
        list(texts(replayed, asked))
        held.append(torch.cuda.memory_allocated())
    assert held[2] == held[1]
