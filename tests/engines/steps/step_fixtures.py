"""What the tests of the steps share: the tiny model with both ways to decode, and what an answer told."""

from pathlib import Path

import pytest

from chartqa_demo.engines import Answers, Options
from chartqa_demo.engines.local import LocalEngine, load_local
from chartqa_demo.settings import Settings

SHORT = Options(max_new_tokens=12)
QUESTION = "What is the value of the red bar in 2019?"


def loaded(base: Path, adapter: Path | str, decode: str, quantize: str = "none") -> LocalEngine:
    settings = Settings(base=str(base), adapter=str(adapter), device="cpu", decode=decode, quantize=quantize)
    return load_local(settings)


@pytest.fixture(scope="module")
def eager(tiny_base: Path, tiny_adapter: Path) -> LocalEngine:
    return loaded(tiny_base, tiny_adapter, "eager")


@pytest.fixture(scope="module")
def static(tiny_base: Path, tiny_adapter: Path) -> LocalEngine:
    return loaded(tiny_base, tiny_adapter, "static")


def told(answers: Answers) -> list[tuple[str, str, int]]:
    return [(answer.arm, answer.text, answer.tokens) for answer in answers]
