"""The static cache and its fixed step, called on a CPU where a GPU replays it: the tokens are those of `generate`."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from step_fixtures import QUESTION, SHORT, loaded, told
from tiny import build_tiny, build_tiny_adapter, chart, last

from chartqa_demo.arms import ADAPTER, ARMS, PRETRAINED, PROMPTED, Arm
from chartqa_demo.data.splits import open_split
from chartqa_demo.engines import Options
from chartqa_demo.engines.fast.choosing import NextTokens
from chartqa_demo.engines.fast.layers import Adapted
from chartqa_demo.engines.fast.qwen2_vl import NOT_CAPTURED, STATIC
from chartqa_demo.engines.fast.steps import BUCKET, Decoder, stream_tokens
from chartqa_demo.engines.loading import choose
from chartqa_demo.engines.local import EAGER, LocalEngine, load_local
from chartqa_demo.errors import EngineError
from chartqa_demo.settings import Settings

pytest_plugins = ("step_fixtures",)


@pytest.mark.parametrize(
    "arms",
    [ARMS, [ADAPTER], [PRETRAINED], [PROMPTED, ADAPTER], [ADAPTER, PRETRAINED]],
    ids=["three", "adapter", "base", "two", "turned"],
)
def test_the_tokens_are_those_of_generate(eager: LocalEngine, static: LocalEngine, arms: Sequence[Arm]) -> None:
    for seed, size in enumerate([(168, 112), (140, 224), (336, 112)]):
        expected = last(eager.answer(chart(seed, size), QUESTION, arms, SHORT))
        assert told(last(static.answer(chart(seed, size), QUESTION, arms, SHORT))) == told(expected)


@pytest.mark.parametrize("numbers", [[50], pytest.param([0, 50, -1], marks=pytest.mark.campaign)], ids=len)
def test_the_bundled_models_tokens_are_those_of_generate(numbers: list[int]) -> None:
    engines = [load_local(Settings(base="bundled", device="cpu", decode=how)) for how in ("eager", "static")]  # pyright: ignore
    items = list(open_split("bundled"))
    for item in (items[number] for number in numbers):
        expected, found = (told(last(e.answer(item.load_image(), item.question, ARMS, SHORT))) for e in engines)
        assert found == expected


def test_sampled_tokens_are_those_of_generate_with_the_same_seed(eager: LocalEngine, static: LocalEngine) -> None:
    texts = []
    for engine in (eager, static):
        torch.manual_seed(5)
        texts.append(told(last(engine.answer(chart(), QUESTION, ARMS, Options(max_new_tokens=12, temperature=0.8)))))
    assert texts[0] == texts[1]
    assert texts[0] != told(last(eager.answer(chart(), QUESTION, ARMS, SHORT)))


def test_the_logits_of_every_step_are_those_of_one_run_over_the_whole_text(
    eager: LocalEngine, static: LocalEngine, figure: Callable[[str, object], None]
) -> None:
    image, decoder = chart(), static.fast.decoder
    assert decoder is not None
    texts = [eager.prompt_text(arm, QUESTION, SHORT) for arm in ARMS]
    look = static.looks.of([image])[0]
    prompts = [static._token_ids(text, look) for text in texts]
    step, logits = decoder.start(prompts, [look] * 3, Adapted.of(["", "", static._name]), 8)
    found, tokens = [logits.clone()], []
    for _ in range(7):
        tokens.append(found[-1].argmax(-1))
        found.append(decoder.next(step, tokens[-1]).clone())
    inputs = eager._inputs([image] * 3, texts)
    read = torch.stack(tokens, dim=1)
    inputs["input_ids"] = torch.cat([inputs["input_ids"], read], dim=1)
    inputs["attention_mask"] = torch.cat([inputs["attention_mask"], torch.ones_like(read)], dim=1)
    inputs["mm_token_type_ids"] = torch.cat([inputs["mm_token_type_ids"], torch.zeros_like(read).int()], dim=1)
    with torch.inference_mode():
        expected = eager.model(**inputs, **eager._adapter_names(ARMS)).logits[:, -8:]
    difference = (torch.stack(found, dim=1) - expected).abs().max().item()
    figure("largest logit difference, static cache against one run", f"{difference:.2e}")
    assert difference < 1e-3


def test_reading_a_step_behind_changes_no_token(static: LocalEngine) -> None:
    decoder, look = static.fast.decoder, static.looks.of([chart()])[0]
    assert decoder is not None
    prompts = [static._token_ids(static.prompt_text(arm, QUESTION, SHORT), look) for arm in ARMS]

    def tokens(ahead: int, longest: int = 9) -> list[list[int]]:
        seen: list[list[int]] = []
        stream_tokens(
            decoder, prompts, [look] * 3, Adapted.of(["", "", static._name]), longest, NextTokens(prompts),
            static._end_ids(), lambda row: seen.append(row.tolist()), lambda: False, ahead,
        )  # fmt: skip
        return seen

    assert tokens(0) == tokens(1) == tokens(3)
    assert len(tokens(0, 1)) == len(tokens(1, 1)) == 1


def test_a_page_and_an_evaluation_both_add_the_layers_up_in_float32(
    tiny_base: Path, tiny_adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(base=str(tiny_base), adapter=str(tiny_adapter), device="cpu", decode="static", dtype="bfloat16")
    engine = load_local(settings)
    layers: Any = engine.fast.layers
    own, precisions = layers._add_norm, []

    def add_norm(x: torch.Tensor, *others: Any) -> tuple[torch.Tensor, torch.Tensor]:
        added, normed = own(x, *others)
        precisions.append((added.dtype, normed.dtype))
        return added, normed

    monkeypatch.setattr(layers, "_add_norm", add_norm)
    last(engine.answer(chart(), QUESTION, ARMS, SHORT))
    of_the_page = set(precisions)
    precisions.clear()
    engine.answer_many([(chart(), QUESTION)], ARMS, SHORT)
    assert of_the_page == set(precisions) == {(torch.float32, torch.bfloat16)}


@pytest.mark.parametrize("longest", [1, 2, 7])
def test_no_answer_is_longer_than_allowed(eager: LocalEngine, static: LocalEngine, longest: int) -> None:
    options = Options(max_new_tokens=longest)
    answers = last(static.answer(chart(), QUESTION, ARMS, options))
    assert max(answer.tokens for answer in answers) == longest
    assert told(answers) == told(last(eager.answer(chart(), QUESTION, ARMS, options)))


def test_all_rows_ended_ends_the_generation(static: LocalEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every token counts as an end here, so the first of each row is its last."""
    monkeypatch.setattr(static, "_end_ids", lambda: list(range(static.base.config.text_config.vocab_size)))
    states = list(static.answer(chart(), QUESTION, ARMS, Options(max_new_tokens=2000)))
    assert [answer.tokens for answer in states[-1]] == [0, 0, 0]
    assert len(states) <= 3


def test_answers_stream(static: LocalEngine) -> None:
    states = list(static.answer(chart(), QUESTION, ARMS, SHORT))
    assert len(states) >= 2
    for answer in states[-1]:
        assert answer.first_token_s is not None and answer.total_s is not None
        assert 0 < answer.first_token_s <= answer.total_s


def test_leaving_the_iterator_ends_the_generation_and_frees_the_engine(static: LocalEngine) -> None:
    states = static.answer(chart(), QUESTION, [PRETRAINED], Options(max_new_tokens=2000))
    next(states)
    states.close()
    assert not [t for t in threading.enumerate() if t.name == "generate"]
    assert static._lock.acquire(timeout=1)
    static._lock.release()


def test_chart_sizes_and_questions_share_a_step_until_they_outgrow_it(tiny_base: Path, tiny_adapter: Path) -> None:
    engine = loaded(tiny_base, tiny_adapter, "static")
    decoder = engine.fast.decoder
    assert decoder is not None
    for size in ((168, 112), (140, 224), (448, 336)):
        last(engine.answer(chart(0, size), QUESTION, ARMS, SHORT))
    assert list(decoder.shapes) == [(3, BUCKET)]
    before = told(last(engine.answer(chart(), QUESTION, ARMS, SHORT)))
    last(engine.answer(chart(), QUESTION, ARMS, Options(max_new_tokens=BUCKET)))
    assert list(decoder.shapes) == [(3, 2 * BUCKET)]  # the cache was made anew, larger
    assert told(last(engine.answer(chart(), QUESTION, ARMS, SHORT))) == before
    assert sorted(decoder.shapes) == [(3, BUCKET), (3, 2 * BUCKET)]


def test_another_adapter_answers_with_its_own_weights(tiny_base: Path, tiny_adapter: Path, tmp_path: Path) -> None:
    other = build_tiny_adapter(tiny_base, tmp_path / "other", seed=7)
    engines = [loaded(tiny_base, tiny_adapter, how) for how in ("eager", "static")]
    first = [told(last(engine.answer(chart(), QUESTION, ARMS, SHORT))) for engine in engines]
    for engine in engines:
        engine.use_adapter(str(other))
    second = [told(last(engine.answer(chart(), QUESTION, ARMS, SHORT))) for engine in engines]
    assert first[0] == first[1] and second[0] == second[1]
    assert first[1][2] != second[1][2]


def test_an_adapter_on_every_linear_layer_answers_like_generate(tiny_base: Path, tmp_path: Path) -> None:
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    adapter = build_tiny_adapter(tiny_base, tmp_path / "all", targets=targets)
    found = [
        told(last(loaded(tiny_base, adapter, h).answer(chart(), QUESTION, ARMS, SHORT))) for h in ("eager", "static")
    ]
    assert found[0] == found[1]


def test_four_bit_weights_answer_like_generate(tmp_path: Path) -> None:
    base = build_tiny(tmp_path / "base")
    adapter = build_tiny_adapter(base, tmp_path / "adapter")
    found = [
        told(last(loaded(base, adapter, how, "4bit").answer(chart(), QUESTION, ARMS, SHORT)))
        for how in ("eager", "static")
    ]
    assert found[0] == found[1]


def test_a_step_that_cannot_be_captured_is_said_and_the_question_answered(
    eager: LocalEngine, tiny_base: Path, tiny_adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*args: Any) -> Any:
        raise RuntimeError("operation not permitted when stream is capturing")

    expected = told(last(eager.answer(chart(), QUESTION, ARMS, SHORT)))
    engine = loaded(tiny_base, tiny_adapter, "static")
    assert engine.fast.decoder is not None
    monkeypatch.setattr(Decoder, "_captured", fails)
    monkeypatch.setattr("torch.cuda.set_device", lambda device: None)
    engine.fast.decoder.replays = True
    engine.fast.graph_asked = True
    with pytest.raises(EngineError, match=r"could not be captured: operation not permitted.*--decode static"):
        last(engine.answer(chart(), QUESTION, ARMS, SHORT))  # a graph was asked for: nothing else is given
    engine.fast.graph_asked = False
    assert told(last(engine.answer(chart(), QUESTION, ARMS, SHORT))) == expected
    assert not engine.fast.decoder.replays
    assert any(NOT_CAPTURED in note and "operation not permitted" in note for note in engine.notes)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [(RuntimeError("device-side assert\nCompile with"), "device-side assert"), (RuntimeError(), "RuntimeError")],
    ids=["two lines", "no line"],
)
def test_what_torch_raises_is_told_in_a_sentence(
    static: LocalEngine, error: RuntimeError, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*args: Any) -> None:
        raise error

    monkeypatch.setattr(Decoder, "start", fails)
    with pytest.raises(EngineError, match=f"^The model failed on this question: {sentence}$"):
        last(static.answer(chart(), QUESTION, ARMS, SHORT))


def test_the_page_is_told_how_tokens_are_computed(static: LocalEngine, eager: LocalEngine) -> None:
    assert STATIC in static.notes
    assert not any("decode:" in note for note in eager.notes)


@pytest.mark.parametrize(
    ("zerogpu", "free", "quantize", "expected"),
    [
        (False, 30, "none", "graph"),
        (False, 30, "4bit", "graph"),
        (False, 30, "8bit", "static"),
        (True, 44, "none", "graph"),
    ],
    ids=["own-gpu", "4bit", "8bit", "zerogpu"],
)
def test_auto_captures_a_graph_wherever_one_can_be(
    zerogpu: bool, free: int, quantize: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chartqa_demo.engines.loading.on_zerogpu", lambda: zerogpu)
    monkeypatch.setattr("chartqa_demo.engines.loading._device", lambda name: torch.device("cuda"))
    monkeypatch.setattr("chartqa_demo.engines.loading.before_ampere", lambda device: False)
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda device: (free * 2**30, 80 * 2**30))
    assert choose(Settings(base="auto", quantize=quantize)).decode == expected  # pyright: ignore[reportArgumentType]


def test_auto_is_static_on_a_cpu_and_eager_for_other_models(tiny_base: Path, tmp_path: Path) -> None:
    from families import BUILDERS

    assert STATIC in loaded(tiny_base, "none", "auto").notes
    other = loaded(BUILDERS["Pixtral"](tmp_path / "base"), "none", "auto")
    assert other.fast is None
    assert any(note.startswith(EAGER) for note in other.notes)


def test_a_graph_is_refused_where_it_cannot_be_captured(tiny_base: Path) -> None:
    with pytest.raises(EngineError, match="cannot be captured on cpu"):
        loaded(tiny_base, "none", "graph")


def test_a_static_cache_is_refused_for_a_model_type_it_was_not_tested_with(tmp_path: Path) -> None:
    from families import BUILDERS

    with pytest.raises(EngineError, match=r"--decode static cannot be used: .* is not among the model types"):
        loaded(BUILDERS["Pixtral"](tmp_path / "base"), "none", "static")


def test_with_room_for_usual_questions_one_step_answers_short_and_long_ones(
    static: LocalEngine, tiny_base: Path, tiny_adapter: Path
) -> None:
    roomy = loaded(tiny_base, tiny_adapter, "static")
    roomy.fast.make_room(BUCKET + 1)

    def begin(most: int) -> None:
        """The step of a long answer is made before its first token."""
        states = roomy.answer(chart(), QUESTION, ARMS, Options(max_new_tokens=most))
        next(states)
        states.close()

    for _ in range(2):
        found = [told(last(engine.answer(chart(), QUESTION, ARMS, SHORT))) for engine in (roomy, static)]
        assert found[0] == found[1]
        begin(BUCKET)
    assert roomy.fast.decoder.shapes == [(3, 2 * BUCKET)]
    begin(3 * BUCKET)  # unusual: its own, larger
    assert roomy.fast.decoder.shapes == [(3, 4 * BUCKET)]


def test_a_worker_on_zerogpu_captures_one_step_for_usual_questions(
    tiny_base: Path, tiny_adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    captured: list[tuple[int, ...]] = []
    monkeypatch.setattr("chartqa_demo.engines.local.on_zerogpu", lambda: True)
    engine = loaded(tiny_base, tiny_adapter, "static")
    assert engine.fast.decoder.shapes == []
    engine.fast.decoder.replays = True
    monkeypatch.setattr(Decoder, "_captured", lambda self, step: captured.append(step.mask.shape))
    engine.processor.image_processor.size = {"shortest_edge": 56 * 56, "longest_edge": 1_003_520}
    engine.warm_up()
    assert not captured and engine.looks.passes == 0  # the page's process has no GPU
    (look,) = engine.looks.of([chart()])
    prompt = engine._token_ids(engine.prompt_text(PRETRAINED, QUESTION, SHORT), look)
    engine.fast.decoder.start([prompt] * 3, [look] * 3, Adapted(), 4)
    assert captured == [(3, 1, 1, 3 * BUCKET)]
