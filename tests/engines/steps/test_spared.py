"""What a CPU is spared changes nothing: slots and positions that nobody reads, copies, answers that have ended."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from step_fixtures import QUESTION, SHORT, told
from tiny import chart, last

from bench.cpu.__main__ import compared
from chartqa_demo.arms import ARMS
from chartqa_demo.engines.fast import layers, tower
from chartqa_demo.engines.fast.choosing import NextTokens
from chartqa_demo.engines.fast.layers import Adapted
from chartqa_demo.engines.fast.steps import stream_tokens
from chartqa_demo.engines.local import LocalEngine

pytest_plugins = ("step_fixtures",)


def test_a_cpu_reads_no_slot_beyond_those_that_are_filled_and_a_last_layer_one_position_of_a_prompt(
    static: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder, look = static.fast.decoder, static.looks.of([chart()])[0]
    assert decoder is not None
    own_layers, asked = decoder._layers, []
    prompts = [static._token_ids(static.prompt_text(arm, QUESTION, SHORT), look) for arm in ARMS]
    own = own_layers.causal
    monkeypatch.setattr(own_layers, "causal", lambda *qkv: asked.append(qkv[0].shape[1]) or own(*qkv))

    @torch.inference_mode()
    def logits(beyond: float) -> list[torch.Tensor]:
        step, first = decoder.start(prompts, [look] * 3, Adapted.of(["", "", static._name]), 8)
        longest = max(map(len, prompts))
        step.keys[..., longest + 4 :, :] = step.values[..., longest + 4 :, :] = beyond
        found = [first.clone()]
        for _ in range(4):
            found.append(decoder.next(step, found[-1].argmax(-1)).clone())
        return found

    expected = logits(0.0)
    assert asked == [max(map(len, prompts))] * (own_layers.count - 1)
    assert all(torch.equal(*pair) for pair in zip(logits(float("nan")), expected, strict=True))
    whole = layers.Layers.__call__
    monkeypatch.setattr(layers.Layers, "__call__", lambda self, *inputs, into=None: whole(self, *inputs[:5], into=into))
    for found, wanted in zip(logits(0.0), expected, strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
    assert len(asked) == 3 * own_layers.count - 2


def test_rows_side_by_side_go_on_in_their_own_buffers_and_others_in_copies(static: LocalEngine) -> None:
    decoder, look = static.fast.decoder, static.looks.of([chart()])[0]
    assert decoder is not None
    prompts = [static._token_ids(static.prompt_text(arm, QUESTION, SHORT), look) for arm in ARMS]

    def after(*stays: Sequence[int]) -> tuple[Any, Any, list[torch.Tensor]]:
        began, logits = decoder.start(prompts, [look] * 3, Adapted.of(["", "", static._name]), 8)
        step, tokens, found = began, logits.argmax(-1), []
        for stay in stays:
            step, tokens = decoder.only(step, stay), tokens[list(stay)]
            logits = decoder.next(step, tokens).clone()
            tokens = logits.argmax(-1)
            found.append(logits)
        return began, step, found

    _, _, (one, two, three) = after([0, 1, 2], [0, 1, 2], [0, 1, 2])
    for stays, shared in (([[0, 1], [0, 1], [1]], True), ([[1, 2], [0, 1], [1]], True), ([[0, 2], [0, 1], [1]], False)):
        began, step, found = after(*stays)
        rows = torch.arange(3)
        for logits, stay, whole in zip(found, stays, (one, two, three), strict=True):
            rows = rows[stay]
            torch.testing.assert_close(logits, whole[rows], atol=1e-4, rtol=1e-4)
        assert step.adapted.name == (static._name if 2 in rows else "")
        assert (step.keys.untyped_storage().data_ptr() == began.keys.untyped_storage().data_ptr()) == shared


@pytest.mark.parametrize("length", [1, layers.BLOCK, layers.BLOCK + 1, 3 * layers.BLOCK - 2])
def test_positions_that_attend_in_blocks_see_all_before_them_and_nothing_behind(
    static: LocalEngine, length: int
) -> None:
    own = static.fast.layers
    q, k, v = (torch.randn(2, length, heads, own.width) for heads in (own.heads, own.kv_heads, own.kv_heads))
    expected = torch.nn.functional.scaled_dot_product_attention(
        *(one.transpose(1, 2) for one in (q, k, v)), is_causal=True, enable_gqa=True
    )
    torch.testing.assert_close(own.causal(q, k, v), expected.transpose(1, 2).flatten(2), atol=1e-5, rtol=1e-5)


def test_a_new_question_finds_nothing_in_the_cache_that_a_broken_one_left(static: LocalEngine) -> None:
    decoder, look = static.fast.decoder, static.looks.of([chart()])[0]
    assert decoder is not None
    prompts = [static._token_ids(static.prompt_text(arm, QUESTION, SHORT), look) for arm in ARMS]

    @torch.inference_mode()
    def logits() -> list[torch.Tensor]:
        step, first = decoder.start(prompts, [look] * 3, Adapted.of(["", "", static._name]), 8)
        found = [first.clone()]
        for _ in range(3):
            found.append(decoder.next(step, found[-1].argmax(-1)).clone())
        return found

    expected = logits()
    assert decoder._cache is not None
    with torch.inference_mode():
        decoder._cache.fill_(float("nan"))
    assert all(torch.equal(*pair) for pair in zip(logits(), expected, strict=True))


@pytest.mark.parametrize("patches", [3, 1000])
def test_heads_rotated_side_by_side_on_a_cpu_are_those_of_a_patch_each(static: LocalEngine, patches: int) -> None:
    eyes = static.fast.tower
    qkv = torch.randn(patches, 3, eyes._heads, eyes._width)
    cos, sin = torch.randn(2, patches, eyes._width)
    q, k, v = eyes._rotated(qkv, cos, sin, {})
    for found, own in ((q, qkv[:, 0]), (k, qkv[:, 1])):
        turned = torch.cat([own[..., eyes._width // 2 :], own[..., : eyes._width // 2]], -1)
        torch.testing.assert_close(found, own * cos[:, None] + turned * sin[:, None])
    assert torch.equal(v, qkv[:, 2])


def test_a_norm_on_a_cpu_is_torchs_own_and_hides_no_number_that_is_not_finite() -> None:
    norm, epsilon = torch.nn.RMSNorm(48), 1e-5
    torch.nn.init.uniform_(norm.weight)
    x = torch.randn(4, 3, 48) * torch.tensor([1e-6, 1.0, 1e4, 1.0])[:, None, None]
    x[3, 0, 5], x[3, 1, 7] = float("inf"), float("nan")
    with torch.inference_mode():
        same, normed = layers.add_norm(x, None, norm, epsilon)
        expected = torch.nn.functional.rms_norm(x, (48,), norm.weight, epsilon)
    assert same is x
    torch.testing.assert_close(normed, expected, atol=1e-6, rtol=1e-5, equal_nan=True)
    assert not normed[3, :2].isfinite().all(-1).any() and normed[3, 2].isfinite().all()


def test_a_tower_whose_sums_are_made_in_place_finds_the_same(
    static: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, found = static.looks, {}
    for in_place in (tower.in_place, lambda *_: False):
        monkeypatch.setattr(tower, "in_place", in_place)
        found[in_place] = looks._look(looks._read([chart()]))[0].pooled[0]
    mine, plain = found.values()
    assert not torch.equal(mine, plain)
    torch.testing.assert_close(mine, plain, atol=1e-5, rtol=1e-4)


def test_an_answer_that_has_ended_is_computed_no_further_and_the_others_are_the_same(
    static: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder, look = static.fast.decoder, static.looks.of([chart()])[0]
    assert decoder is not None
    prompts = [static._token_ids(static.prompt_text(arm, QUESTION, SHORT), look) for arm in ARMS]
    own, sizes = decoder.next, []

    def next_of(step: Any, tokens: torch.Tensor) -> torch.Tensor:
        sizes.append(len(tokens))
        return own(step, tokens)

    monkeypatch.setattr(decoder, "next", next_of)

    def answered(ends: Sequence[int], temperature: float = 0.0) -> tuple[list[list[int]], list[list[float]]]:
        seen: list[list[int]] = []
        sizes.clear()
        chosen = NextTokens(prompts, temperature, 1.1, seed=3)
        stream_tokens(
            decoder, prompts, [look] * 3, Adapted.of(["", "", static._name]), 9, chosen, ends,
            lambda row: seen.append(row.tolist()), lambda: False,
        )  # fmt: skip
        return list(map(list, zip(*seen, strict=True))), torch.stack(chosen.logs, dim=1).tolist()

    whole, logs = answered([-7])
    assert sizes == [3] * 8
    for ends in ([whole[0][2]], [whole[1][1]], [whole[2][0]], [whole[0][1], whole[2][3]]):
        found, found_logs = answered(ends)
        assert min(sizes) < 3 or len(sizes) < 3
        for row, one in enumerate(found):
            until = next((step for step, token in enumerate(whole[row]) if token in ends), 8) + 1
            assert one[:until] == whole[row][:until] and set(one[until:]) <= {ends[0]}
            assert found_logs[row][:until] == pytest.approx(logs[row][:until], abs=1e-4)
    sampled, _ = answered([-7], 0.8)
    again, _ = answered([sampled[1][1]], 0.8)
    assert again[0][:2] == sampled[0][:2] and set(sizes) == {3}


def test_a_row_that_overflows_leaves_the_others_their_answers_where_no_token_ends_any(
    static: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder = static.fast.decoder
    assert decoder is not None
    monkeypatch.setattr(static.base.generation_config, "eos_token_id", [])
    expected, own = told(last(static.answer(chart(), QUESTION, ARMS, SHORT))), decoder.next

    def spoilt(step: Any, tokens: torch.Tensor) -> torch.Tensor:
        logits = own(step, tokens)
        return logits.index_fill(0, torch.tensor([0]), torch.nan) if len(tokens) == 3 else logits

    monkeypatch.setattr(decoder, "next", spoilt)
    found = last(static.answer(chart(), QUESTION, ARMS, SHORT))
    assert found[0].error_kind == "overflow" and told(found)[1:] == expected[1:]


def test_a_cpus_times_are_the_least_of_their_repeats_and_every_answer_is_compared() -> None:
    said, other = [["12", 3], ["a", 2]], [["12", 3], ["b", 2]]
    told = {
        "older": [[[3.0, 9.0, said], [2.0, 4.0, said]], [[2.0, 2.0, said]]],
        "this": [[[1.0, 2.0, said], [1.5, 3.0, said]], [[1.0, 4.0, other]]],
    }
    found = compared(told)
    assert found["cpu_s"] == {"older": 2.0, "this": 1.0, "times_faster": 2.0, "of_single_questions": [2.0, 2.0]}
    assert found["wall_s"]["times_faster"] == 1.0 and found["wall_s"]["of_single_questions"] == [0.5, 2.0]
    assert (found["answers"], found["different"]) == (4, [[["a", 2], ["b", 2]]])
