"""Rows of adapters in a batch: a fourth arm answers as it does alone, and what cannot be computed is never guessed."""

from dataclasses import replace
from pathlib import Path

import pytest
from tiny import chart, last

from chartqa_demo.arms import ADAPTER, ARMS, Arm
from chartqa_demo.engines import Options
from chartqa_demo.engines.fast.layers import Adapted
from chartqa_demo.engines.local import LocalEngine, load_local
from chartqa_demo.errors import EngineError
from chartqa_demo.settings import Settings

SHORT = Options(max_new_tokens=8)
FOURTH = replace(ADAPTER, key="fourth", system="Answer in French.")


@pytest.fixture(params=["static", "eager"])
def engine(request: pytest.FixtureRequest, tiny_base: Path, tiny_adapter: Path) -> LocalEngine:
    settings = Settings(base=str(tiny_base), adapter=str(tiny_adapter), device="cpu", decode=request.param)
    return load_local(settings)


def texts(engine: LocalEngine, arms: list[Arm]) -> list[str]:
    return [answer.text for answer in last(engine.answer(chart(), "How many bars?", arms, SHORT))]


def test_a_fourth_arm_on_the_same_adapter_answers_as_it_does_alone(engine: LocalEngine) -> None:
    arms = [*ARMS, FOURTH]
    alone = [texts(engine, [arm])[0] for arm in arms]
    assert len(set(alone)) == len(alone)
    assert texts(engine, arms) == alone
    many = engine.answer_many([(chart(), "How many bars?")] * 3, arms, SHORT)  # its rows lie apart
    assert [[answer.text for answer in answers] for answers in many] == [alone] * 3


def test_rows_of_an_adapter_that_lie_apart_are_refused_or_right(engine: LocalEngine) -> None:
    arms = [FOURTH, ARMS[0], ADAPTER]
    alone = [texts(engine, [arm])[0] for arm in arms]
    if engine.fast is None or engine.fast.decoder is None:
        assert texts(engine, arms) == alone
    else:
        with pytest.raises(EngineError, match="take one adapter, on rows that lie side by side"):
            texts(engine, arms)
        assert [texts(engine, [arm])[0] for arm in arms] == alone


@pytest.mark.parametrize("names", [("a", "b"), ("a", "", "a"), ("", "a", "b", ""), ("a", "", "", "b")])
def test_rows_of_two_adapters_are_never_computed_with_one_of_them(names: tuple[str, ...]) -> None:
    with pytest.raises(EngineError, match="take one adapter"):
        Adapted.of(names)


def test_rows_of_one_adapter_are_found() -> None:
    assert Adapted.of(["", "a", "a", ""]) == Adapted(1, 3, "a")
    assert Adapted.of(["", ""]) == Adapted.of([]) == Adapted()
