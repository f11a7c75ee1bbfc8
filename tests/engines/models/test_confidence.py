"""How likely an answer is right: the same probability on every way to it, and a curve that counts for its weights."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import chart, last

from chartqa_demo.arms import ADAPTER, ARMS, PRETRAINED, PROMPTED
from chartqa_demo.engines import Options
from chartqa_demo.engines.local import LocalEngine, load_local
from chartqa_demo.engines.trust.measured import FILE, Curve, Measured, log_odds, write_arms
from chartqa_demo.settings import Settings

QUESTION = "How many bars are there?"
OPTIONS = Options(max_new_tokens=8)


def load(base: Path, adapter: Path, decode: str = "static") -> LocalEngine:
    return load_local(Settings(base=str(base), adapter=str(adapter), device="cpu", decode=decode))  # pyright: ignore


def by_transformers(engine: LocalEngine) -> list[float]:
    """The log-probabilities of the three answers, padding behind an end left out, as transformers counts them."""
    inputs = engine._inputs([chart()] * 3, [engine.prompt_text(arm, QUESTION, OPTIONS) for arm in ARMS])
    settings = {"max_new_tokens": OPTIONS.max_new_tokens, "output_scores": True, "return_dict_in_generate": True}
    with torch.inference_mode():
        made = engine.model.generate(**inputs, **engine._adapter_names(ARMS), **settings)
        logs = engine.model.compute_transition_scores(made.sequences, made.scores, normalize_logits=True)
    ends = torch.isin(made.sequences[:, inputs["input_ids"].shape[1] :], torch.tensor(engine._end_ids()))
    behind = ends.cumsum(1) - ends.long() > 0
    return logs.masked_fill(behind, 0.0).sum(1).tolist()


def test_the_page_an_evaluation_and_generate_find_the_same_probability(tiny_base: Path, tiny_adapter: Path) -> None:
    fast, general = load(tiny_base, tiny_adapter), load(tiny_base, tiny_adapter, "eager")
    found = [last(engine.answer(chart(), QUESTION, ARMS, OPTIONS)) for engine in (fast, general)]
    found += [engine.answer_many([(chart(), QUESTION)], ARMS, OPTIONS)[0] for engine in (fast, general)]
    for answers in zip(*found, strict=True):
        assert len({answer.text for answer in answers}) == 1
        first, *others = [answer.log_probability or 0.0 for answer in answers]
        assert first < 0 and others == pytest.approx([first] * 3, abs=1e-3)


def test_it_is_the_probability_that_transformers_tells(tiny_base: Path, tiny_adapter: Path) -> None:
    engine = load(tiny_base, tiny_adapter, "eager")
    found = [answer.log_probability for answer in last(engine.answer(chart(), QUESTION, ARMS, OPTIONS))]
    assert found == pytest.approx(by_transformers(engine), abs=1e-3)


@pytest.mark.parametrize("decode", ["static", "eager"])
def test_the_tokens_behind_an_end_do_not_count(decode: str, tiny_base: Path, tiny_adapter: Path) -> None:
    engine = load(tiny_base, tiny_adapter, decode)
    one = Options(max_new_tokens=1)
    (first,) = last(engine.answer(chart(), QUESTION, ARMS[:1], one))
    ids = engine.processor.tokenizer(first.text)["input_ids"]
    engine.base.generation_config.eos_token_id = [*engine._end_ids(), *ids]
    answers = last(engine.answer(chart(), QUESTION, ARMS, OPTIONS))
    assert (answers[0].text, answers[0].tokens, answers[0].ended) == ("", 0, "end") and answers[1].tokens > 0
    assert answers[0].log_probability == pytest.approx(first.log_probability, abs=1e-3)


@pytest.fixture
def folders(tmp_path: Path, tiny_base: Path, tiny_adapter: Path) -> tuple[Path, Path]:
    """The tiny model and its adapter with curves beside their weights."""
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    shutil.copytree(tiny_base, base)
    shutil.copytree(tiny_adapter, adapter)
    write_arms(base, base, {PRETRAINED.key: asdict(Curve(1.0, 2.0)), PROMPTED.key: asdict(Curve(2.0, 0.0))})
    write_arms(adapter, base, {ADAPTER.key: asdict(Curve(0.5, -1.0))})
    return base, adapter


def test_an_answer_has_the_confidence_of_its_arm_s_curve(folders: tuple[Path, Path]) -> None:
    engine = load(*folders)
    engine.base.generation_config.eos_token_id = list(range(engine.base.lm_head.weight.shape[0]))  # ends at once
    answers = last(engine.answer(chart(), QUESTION, ARMS, OPTIONS))
    curves = [Curve(1.0, 2.0), Curve(2.0, 0.0), Curve(0.5, -1.0)]
    assert [answer.confidence for answer in answers] == [
        pytest.approx(curve(answer.log_probability or 0.0, answer.tokens))
        for curve, answer in zip(curves, answers, strict=True)
    ]
    many = engine.answer_many([(chart(), QUESTION)], ARMS, OPTIONS)[0]
    assert [one.confidence for one in many] == pytest.approx([one.confidence for one in answers], abs=1e-4)
    other = last(engine.answer(chart(), QUESTION, ARMS, Options(8, system="Be brief.")))
    assert [one.confidence is None for one in other] == [False, True, False], "the message is not that of the fit"
    sampled = last(engine.answer(chart(), QUESTION, ARMS, Options(8, temperature=1.0)))
    assert [one.confidence for one in sampled] == [None] * 3 and all(one.log_probability for one in sampled)


def test_a_cut_answer_has_none(folders: tuple[Path, Path]) -> None:
    answers = last(load(*folders).answer(chart(), QUESTION, ARMS, Options(max_new_tokens=2)))
    assert all(answer.confidence is None for answer in answers if answer.ended == "limit")
    assert any(answer.ended == "limit" for answer in answers)


def test_other_weights_have_no_confidence(folders: tuple[Path, Path]) -> None:
    base, adapter = folders

    def known() -> list[bool]:
        measured = Measured(base)
        measured.use_adapter(adapter)
        return [measured.confidence(arm, -0.5, 3, OPTIONS) is not None for arm in ARMS]

    assert known() == [True] * 3
    change(adapter / "adapter_model.safetensors")
    assert known() == [True, True, False]
    change(base / "model.safetensors")
    assert known() == [False] * 3, "the adapter's curve is also that of its base"


def change(path: Path) -> None:
    weights = load_file(path)
    weights[min(weights)] += 1
    save_file(weights, path, {"format": "pt"})


@pytest.mark.parametrize(
    "told",
    [
        "",
        "[]",
        "{}",
        '{"arms": 3}',
        '{"weights": [1, 2], "arms": {"pretrained": {}}}',
        "\ud800",
        "9" * 100_000,
        "[" * 60_000,
    ],
)
def test_a_file_that_is_no_curve_gives_none(told: str, folders: tuple[Path, Path]) -> None:
    (folders[0] / FILE).write_text(told, encoding="utf-8", errors="replace")
    assert Measured(folders[0]).confidence(PRETRAINED, -0.5, 3, OPTIONS) is None


def test_a_file_cannot_turn_the_order_around(folders: tuple[Path, Path]) -> None:
    path = folders[0] / FILE
    told = json.loads(path.read_text(encoding="utf-8"))
    told["arms"] = {"pretrained": {"slope": -1, "offset": 0}, "prompted": {"slope": 1e9, "offset": float("nan")}}
    path.write_text(json.dumps(told), encoding="utf-8")
    assert [Measured(folders[0]).confidence(arm, -0.5, 3, OPTIONS) for arm in (PRETRAINED, PROMPTED)] == [None, None]


def test_what_another_command_measured_of_the_same_weights_stays(folders: tuple[Path, Path]) -> None:
    base, _ = folders
    write_arms(base, base, {PRETRAINED.key: {"heads": [[1, 2]]}})
    assert Measured(base).heads(PRETRAINED) == ((1, 2),) and Measured(base).heads(PROMPTED) == ()
    assert Measured(base).confidence(PRETRAINED, -0.5, 3, OPTIONS) is not None
    change(base / "model.safetensors")
    write_arms(base, base, {PROMPTED.key: {"heads": [[0, 1]]}})
    assert Measured(base).heads(PROMPTED) == ((0, 1),) and Measured(base).heads(PRETRAINED) == ()
    assert Measured(base).confidence(PRETRAINED, -0.5, 3, OPTIONS) is None


def test_a_likelier_answer_is_never_less_sure() -> None:
    curve = Curve(0.7, 1.0)
    sure = [curve(log, 4) for log in (-800.0, -20.0, -3.0, -0.1, -1e-9, 0.0)]
    assert sure == sorted(sure) and 0 < sure[0] < sure[-1] < 1
    assert log_odds(-1.0, 9) > log_odds(-1.0, 1), "a longer answer is not less sure for its length"
