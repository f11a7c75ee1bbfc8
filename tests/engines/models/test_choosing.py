"""Which token comes next: never one from broken numbers, greedy where sampling would be, and again with a seed."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import chart, last

from chartqa_demo.arms import ARMS
from chartqa_demo.engines import Options
from chartqa_demo.engines.fast.choosing import NOT_FINITE, NextTokens
from chartqa_demo.engines.local import LocalEngine, load_local
from chartqa_demo.settings import BUNDLED_BASE, Settings

QUESTION = "How many bars are there?"
WAYS = ["eager", "static"]


def load(base: Path | str, decode: str, **settings: Any) -> LocalEngine:
    return load_local(Settings(base=str(base), device="cpu", decode=decode, **settings))  # pyright: ignore


@pytest.fixture(scope="module", params=WAYS)
def engine(request: pytest.FixtureRequest, tiny_base: Path, tiny_adapter: Path) -> Iterator[LocalEngine]:
    yield load(tiny_base, request.param, adapter=str(tiny_adapter))


@pytest.fixture(scope="module")
def overflowing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled base, equal in float32, whose third layer leaves the range of float16."""
    folder = tmp_path_factory.mktemp("overflowing") / "base"
    folder.mkdir()
    for path in BUNDLED_BASE.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    weights = {key: value.float() for key, value in load_file(folder / "model.safetensors").items()}
    values = [key for key in weights if "visual" not in key and "layers.2.self_attn.v_proj" in key]
    (outputs,) = (key for key in weights if "visual" not in key and key.endswith("layers.2.self_attn.o_proj.weight"))
    assert values
    for key in values:
        weights[key] *= 65536
    weights[outputs] /= 65536
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.mark.parametrize("decode", WAYS)
def test_numbers_that_overflow_are_an_error_in_the_card_and_never_scored(decode: str, overflowing: Path) -> None:
    engine = load(overflowing, decode, dtype="float16", adapter="none")
    # A CPU takes seconds for a large picture in float16.
    engine.processor.image_processor.size = {"shortest_edge": 3136, "longest_edge": 784 * 30}
    arms = ARMS[:2]
    sentence = "The model overflowed in float16; use --dtype bfloat16 or --quantize 4bit."
    answers = last(engine.answer(chart(), QUESTION, arms, Options(max_new_tokens=6)))
    assert [(answer.error, answer.error_kind, answer.text, answer.done) for answer in answers] == [
        (sentence, "overflow", "", True)
    ] * 2
    sampled = last(engine.answer(chart(), QUESTION, arms, Options(max_new_tokens=6, temperature=1.0, seed=1)))
    assert [answer.error for answer in sampled] == [sentence] * 2
    (batch,) = engine.answer_many([(chart(), QUESTION)], arms, Options(max_new_tokens=6))
    assert [(answer.error, answer.error_kind, answer.text) for answer in batch] == [(sentence, "overflow", "")] * 2


def test_the_same_weights_answer_in_float32(overflowing: Path) -> None:
    texts = []
    for base in (overflowing, "bundled"):
        engine = load(base, "static", adapter="none")
        answers = last(engine.answer(chart(), QUESTION, ARMS[:2], Options(max_new_tokens=6)))
        assert all(answer.error is None and answer.text for answer in answers)
        texts.append([answer.text for answer in answers])
    assert texts[0] == texts[1]


@pytest.mark.parametrize("decode", WAYS)
def test_only_the_arm_whose_numbers_overflow_fails(decode: str, tiny_base: Path, tiny_adapter: Path) -> None:
    engine = load(tiny_base, decode, adapter=str(tiny_adapter))
    expected = [a.text for a in last(engine.answer(chart(), QUESTION, ARMS, Options(max_new_tokens=8)))]
    broken = next(weight for key, weight in engine.model.named_parameters() if "lora_B" in key and "v_proj" in key)
    broken.data.fill_(float("nan"))
    answers = last(engine.answer(chart(), QUESTION, ARMS, Options(max_new_tokens=8)))
    assert [a.text for a in answers[:2]] == expected[:2] and answers[0].error is None and answers[1].error is None
    assert answers[2].error == "The model overflowed in float32; check the weights."
    for answers in engine.answer_many([(chart(), QUESTION)] * 2, ARMS, Options(max_new_tokens=8)):
        assert [a.text for a in answers[:2]] == expected[:2] and answers[2].text == ""
        assert [a.error_kind for a in answers] == [None, None, "overflow"]


def test_a_row_with_a_nan_or_an_infinity_has_no_token() -> None:
    logits = torch.tensor([[0.0, 2.0, 1.0], [0.0, math.nan, 1.0], [math.inf, 0.0, 1.0], [-math.inf, 1.0, 0.0]])
    for temperature in (0.0, 0.7):
        tokens = NextTokens([[0]] * 4, temperature, penalty=1.5, seed=3)(logits).tolist()
        assert tokens[1] == tokens[2] == NOT_FINITE and tokens[0] in (0, 1, 2) and tokens[3] in (1, 2)


@pytest.mark.parametrize("temperature", [1e-40, 0.0099, -1.0, math.nan])
def test_a_temperature_below_a_hundredth_is_greedy(temperature: float, engine: LocalEngine) -> None:
    options = Options(max_new_tokens=8, temperature=temperature)
    greedy = last(engine.answer(chart(), QUESTION, ARMS, Options(max_new_tokens=8)))
    answers = last(engine.answer(chart(), QUESTION, ARMS, options))
    assert [answer.text for answer in answers] == [answer.text for answer in greedy]
    assert engine.answer_many([(chart(), QUESTION)], ARMS, options)[0][0].text == greedy[0].text


def test_a_seed_brings_a_sampled_answer_back(engine: LocalEngine) -> None:
    def sampled(seed: int | None) -> tuple[str, ...]:
        options = Options(max_new_tokens=12, temperature=1.5, seed=seed)
        return tuple(answer.text for answer in last(engine.answer(chart(), QUESTION, ARMS, options)))

    first = sampled(7)
    assert sampled(None) != first
    assert sampled(7) == first
    assert len({sampled(seed) for seed in range(4)}) == 4


def test_a_seeded_answer_leaves_torch_s_own_state_alone(engine: LocalEngine) -> None:
    before = torch.random.get_rng_state()
    last(engine.answer(chart(), QUESTION, ARMS[:1], Options(max_new_tokens=4, temperature=1.5, seed=7)))
    assert torch.equal(torch.random.get_rng_state(), before)
