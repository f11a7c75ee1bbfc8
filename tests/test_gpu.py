"""What only a GPU can show: `python -m pytest -m gpu -n 0`. CONTRIBUTING.md lists these tests."""

from collections.abc import Iterator
from copy import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tiny import build_tiny_adapter, chart, last

from chartqa_demo.arms import ARMS
from chartqa_demo.data.splits import open_split
from chartqa_demo.engines import Engine, Options, load_engine
from chartqa_demo.engines.fast import layers, tower
from chartqa_demo.engines.fast.graphs import captured
from chartqa_demo.engines.fast.layers import Adapted
from chartqa_demo.engines.looks import planes
from chartqa_demo.engines.moving import move
from chartqa_demo.settings import Settings

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]
OPTIONS = Options(max_new_tokens=32)
QUESTION = "What is the value of the red bar in 2019?"
EVERY = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
DTYPES = [torch.float32, torch.bfloat16, torch.float16]
# Largest relative distance from torch's own operations: a few roundings of that precision
WITHIN = {torch.float32: 1e-5, torch.bfloat16: 1e-2, torch.float16: 2e-3}


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


def random(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(shape, device="cuda").to(dtype)


def apart(found: torch.Tensor, expected: torch.Tensor) -> float:
    return ((found.float() - expected.float()).norm() / expected.float().norm()).item()


@pytest.fixture
def passes() -> Any:
    from chartqa_demo.engines.fast.kernels import passes

    torch.manual_seed(0)
    return passes


@pytest.fixture
def products() -> Any:
    from chartqa_demo.engines.fast.kernels import products

    torch.manual_seed(0)
    return products


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("rows", "width"), [(3, 3584), (1, 200), (700, 3584)])
def test_the_kernel_of_a_norm_is_torchs_own(passes: Any, rows: int, width: int, dtype: torch.dtype) -> None:
    norm = torch.nn.RMSNorm(width, device="cuda", dtype=dtype).requires_grad_(False)
    norm.weight.normal_()
    x = random(rows, 1, width)
    for parts in (None, 1, 4):
        delta = None if parts is None else random(rows, parts, width)
        expected = layers.add_norm(x, None if delta is None else delta.sum(1, keepdim=True), norm, 1e-6)
        for mine, theirs in zip(passes.add_norm(x.clone(), delta, norm, 1e-6), expected, strict=True):
            assert apart(mine, theirs) < WITHIN[mine.dtype]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("heads", "kv_heads", "width"), [(28, 4, 128), (16, 16, 80), (3, 1, 20)])
def test_the_kernels_of_places_and_cache_are_torchs_own(
    passes: Any, heads: int, kv_heads: int, width: int, dtype: torch.dtype
) -> None:
    whole = random(3, 1, heads + 2 * kv_heads, width, dtype=dtype)
    q, k, v = whole.split((heads, kv_heads, kv_heads), dim=2)
    cos, sin = random(3, 1, width, dtype=dtype), random(3, 1, width, dtype=dtype)
    mine, theirs = passes.rotated(q, k, v, cos, sin), layers.rotated(q, k, v, cos, sin)
    for found, expected in zip(mine, theirs, strict=True):
        assert apart(found, expected) < WITHIN[dtype]
    slots = torch.tensor([0, 5, 8], device="cuda")
    caches = [[random(3, kv_heads, 9, width, dtype=dtype).zero_() for _ in range(2)] for _ in range(2)]
    passes.store(*caches[0], mine[1], mine[2], slots)
    layers.store(*caches[1], mine[1], mine[2], slots)
    assert all(torch.equal(a, b) and a.any() for a, b in zip(*caches, strict=True))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("rows", "width"), [(3, 18944), (1, 70), (700, 1100)])
def test_the_kernels_of_activations_are_torchs_own(passes: Any, rows: int, width: int, dtype: torch.dtype) -> None:
    gate, up = random(rows, 1, 2 * width, dtype=dtype).split(width, dim=-1)
    assert apart(passes.gated(gate, up), layers.gated(gate.clone(), up)) < WITHIN[dtype]
    x = random(rows, width, dtype=dtype)
    assert apart(passes.quick_gelu(x.clone()), tower.quick_gelu(x.float())) < WITHIN[dtype]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("bias", [False, True], ids=["", "bias"])
@pytest.mark.parametrize(
    ("inputs", "outputs"), [(3584, (3584, 512, 512)), (18944, (3584,)), (3584, (18944, 18944)), (320, (70,))]
)
def test_weights_in_nf4_are_read_as_bitsandbytes_unpacks_them(
    products: Any, inputs: int, outputs: tuple[int, ...], bias: bool, dtype: torch.dtype
) -> None:
    from bitsandbytes.functional import dequantize_4bit
    from bitsandbytes.nn import Linear4bit

    from chartqa_demo.engines.fast.weights import nf4

    parts = [Linear4bit(inputs, n, bias=bias, quant_type="nf4", compute_dtype=dtype).cuda() for n in outputs]
    for part in parts:
        part.bias = torch.nn.Parameter(part.bias.to(dtype)) if bias else None
    states = [copy(part.weight.quant_state) for part in parts]
    for state in states:
        state.dtype = dtype  # to which bitsandbytes rounds them for its own products, too
    exact = torch.cat([dequantize_4bit(part.weight.data, state) for part, state in zip(parts, states, strict=True)]).t()
    matrix = nf4.joined(parts)
    added = matrix.bias.float() if bias else 0.0
    ones = torch.eye(inputs, device="cuda", dtype=dtype)[:, None][:: inputs // 64]
    for some, expected in zip(ones.split(8), (exact[:: inputs // 64].float() + added).split(8), strict=True):
        found = products.nf4_product(some, matrix).sum(1)
        assert torch.equal(found, expected.to(found.dtype))
    for rows in range(1, products.NF4_ROWS + 1):
        x = random(rows, 1, inputs, dtype=dtype)
        found = products.nf4_product(x, matrix)
        within = 1e-5 if found.dtype == torch.float32 else WITHIN[dtype]
        assert apart(found.sum(1), x[:, 0].double() @ exact.double() + added) < within


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("rows", [1, 3, 16])
@pytest.mark.parametrize(("inputs", "outputs"), [(3584, 18944), (18944, 3584), (200, 70)])
def test_the_products_of_a_few_rows_are_torchs_own(
    products: Any, rows: int, inputs: int, outputs: int, dtype: torch.dtype
) -> None:
    # Sums of unit size, as a norm leaves them: silu(gate) * up of 18,944 plain numbers would pass half precision.
    x = (random(rows, 1, inputs) / inputs**0.5).to(dtype)
    weight = random(2 * outputs + 5, inputs, dtype=dtype)
    exact = x.double() @ weight.double().t()
    # Tensor cores cut a few bits off long sums of half precision; rounded to it, the sums would be 2e-3 to 1e-2 apart.
    assert apart(products.product(x, weight).sum(1, keepdim=True), exact) < (1e-5 if dtype == torch.float32 else 1e-4)
    gate, up = exact[..., : 2 * outputs].split(outputs, dim=-1)
    gated = products.gated_product(x, weight, outputs)
    assert gated.dtype == dtype and apart(gated, torch.nn.functional.silu(gate) * up) < WITHIN[dtype]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize(("width", "count", "patches"), [(80, 2320, 2432), (80, 1, 128), (32, 200, 256)])
def test_the_kernel_of_a_charts_attention_is_torchs_own(
    width: int, count: int, patches: int, dtype: torch.dtype
) -> None:
    from chartqa_demo.engines.fast.kernels import attention

    x = random(patches, 3, 16, width, dtype=dtype)
    x[count:] = float("nan")
    q, k, v = x.unbind(1)
    found = attention.attention(q, k, v, torch.tensor([count], dtype=torch.int32, device="cuda"))[:count]
    own = (one[None, :count].transpose(1, 2).float() for one in (q, k, v))
    expected = torch.nn.functional.scaled_dot_product_attention(*own)[0].transpose(0, 1).flatten(1)
    assert apart(found, expected) < WITHIN[dtype]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("heads", "kv_heads", "width"), [(28, 4, 128), (16, 16, 80), (3, 1, 20)])
def test_the_kernels_beside_attention_are_torchs_own(heads: int, kv_heads: int, width: int, dtype: torch.dtype) -> None:
    from chartqa_demo.engines.fast.kernels import proofs

    like, norm = torch.zeros(1, device="cuda", dtype=dtype), torch.nn.LayerNorm(1280, device="cuda", dtype=dtype)
    norm.requires_grad_(False).weight.normal_()
    proofs.placed(heads, kv_heads, width, like)  # each raises where its kernel is wrong
    proofs.turned(heads, width, like)
    proofs.added_norm(norm, 1280, like)
    proofs.best(152_064, like)


def test_a_captured_sequence_reads_its_buffers_anew_at_every_replay() -> None:
    x = torch.zeros(4, device="cuda")
    graph, doubled = captured(lambda: 2 * x, x.device)
    for value in (1.0, 5.0):
        x.fill_(value)
        graph.replay()
        assert doubled.tolist() == [2 * value] * 4


def test_an_adapter_on_every_layer_joined_with_its_weights_answers_as_generate_does(
    tiny_base: Path, tmp_path: Path
) -> None:
    adapters = [str(build_tiny_adapter(tiny_base, tmp_path / str(seed), seed, EVERY)) for seed in (1, 7)]
    told = []
    for decode in ("eager", "graph"):
        settings = Settings(base=str(tiny_base), adapter=adapters[0], device="cuda", dtype="float32", decode=decode)  # pyright: ignore
        one = load_engine(settings)
        told.append([])
        for adapter in (*adapters, adapters[0]):
            one.use_adapter(adapter)
            told[-1].append([answer.text for answer in last(one.answer(chart(), QUESTION, ARMS, OPTIONS))])
    assert told[0] == told[1]
    assert told[0][0] == told[0][2] != told[0][1]


def test_weights_that_are_moved_at_once_are_the_same_and_stay_what_they_were_to_each_other() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(5000, 3000, bias=False), torch.nn.Linear(7, 3), torch.nn.BatchNorm1d(4))
    model[1].weight.data = torch.arange(21.0).view(7, 3).t()  # no row of which lies together
    model.tied = model[0].weight
    model.also = torch.nn.Parameter(model[0].weight.data)
    before, parameters = {name: one.clone() for name, one in model.state_dict().items()}, list(model.parameters())
    move(model, torch.device("cuda", 0))
    assert all(one is other for one, other in zip(model.parameters(), parameters, strict=True))
    assert {str(one.device) for one in model.state_dict().values()} == {"cuda:0"}
    assert all(torch.equal(one.cpu(), before[name]) for name, one in model.state_dict().items())
    assert model.also.data_ptr() == model[0].weight.data_ptr()


def test_a_chart_is_read_on_the_device_as_the_processor_reads_its_picture(asked: list[tuple[Image.Image, str]]) -> None:
    fast: Any = engine("graph")
    (image, _), device = asked[0], torch.device("cuda", 0)
    read = [
        fast.processor.image_processor([one], return_tensors="pt", device=device)
        for one in (image, planes(image, device))
    ]
    assert torch.equal(read[0]["pixel_values"], read[1]["pixel_values"])


def test_charts_read_beside_the_pass_before_are_seen_as_one_by_one(asked: list[tuple[Image.Image, str]]) -> None:
    replayed: Any = engine("graph")
    images = [image for image, _ in asked]
    alone = [replayed.looks.of([image])[0].pooled[0].clone() for image in images]  # replayed from a graph
    replayed.looks.clear()
    for found, expected in zip(replayed.looks.of(images), alone, strict=True):  # several at once, in another stream
        torch.testing.assert_close(found.pooled[0], expected, rtol=0, atol=1e-4 * expected.abs().max().item())


@pytest.mark.parametrize(("quantize", "decode"), [("4bit", "graph"), ("8bit", "static"), ("none", "graph")])
def test_logits_of_the_fast_way_are_near_those_of_transformers(
    quantize: str, decode: str, asked: list[tuple[Image.Image, str]], figure: Any
) -> None:
    fast: Any = engine(decode, quantize, "bfloat16")
    image, question = asked[0]
    look = fast.looks.of([image])[0]
    texts = [fast.prompt_text(arm, question, OPTIONS) for arm in ARMS]
    prompts = [fast._token_ids(text, look) for text in texts]
    _, logits = fast.fast.decoder.start(prompts, [look] * 3, Adapted.of(["", "", fast._name]), 8)
    with torch.inference_mode():
        theirs = fast.model(**fast._inputs([image] * 3, texts), **fast._adapter_names(ARMS)).logits[:, -1]
    figure(f"bundled model, {quantize}, fast way to transformers' own, relative distance", apart(logits, theirs))
    assert apart(logits, theirs) < 0.1


def test_sampling_from_a_graph_is_repeated_by_its_seed(asked: list[tuple[Image.Image, str]]) -> None:
    replayed = engine("graph")

    def sampled(seed: int | None) -> list[str]:
        options = Options(max_new_tokens=16, temperature=1.5, seed=seed)
        return [answer.text for answer in last(replayed.answer(*asked[0], ARMS, options))]

    assert sampled(7) == sampled(7)
    assert len({tuple(sampled(seed)) for seed in range(4)}) > 1


def test_numbers_that_overflow_fail_their_card_and_leave_the_gpu_usable(asked: list[tuple[Image.Image, str]]) -> None:
    replayed: Any = engine("graph")
    copies = list(replayed.fast.layers._tuning.values())  # of the adapter's B, beside the joined weights
    before = [up.clone() for up in copies]
    assert before
    for temperature in (0.0, 1.0):
        with torch.inference_mode():
            for up in copies:
                up.fill_(float("nan"))
        answers = last(replayed.answer(*asked[0], ARMS, Options(max_new_tokens=8, temperature=temperature)))
        assert [answer.error_kind for answer in answers] == [None, None, "overflow"]
        with torch.inference_mode():
            for up, own in zip(copies, before, strict=True):
                up.copy_(own)
        assert all(answer.error is None for answer in last(replayed.answer(*asked[0], ARMS, OPTIONS)))


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
@pytest.mark.parametrize("decode", ["eager", "static", "graph"])
def test_a_second_gpu_answers_as_the_first(decode: str, asked: list[tuple[Image.Image, str]]) -> None:
    expected = list(texts(engine(decode), asked))
    held = torch.cuda.memory_allocated(0)
    second = load_engine(Settings(base="bundled", device="cuda:1", dtype="float32", decode=decode))  # pyright: ignore
    assert list(texts(second, asked)) == expected
    batch = second.answer_many(asked, ARMS, OPTIONS)
    assert [[answer.text for answer in answers] for answers in batch] == expected
    assert torch.cuda.memory_allocated(0) <= held and torch.cuda.memory_allocated(1) > 0


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_a_base_spread_over_two_gpus_answers_as_on_one(asked: list[tuple[Image.Image, str]]) -> None:
    expected = list(texts(engine("eager"), asked))
    spread: Any = load_engine(Settings(base="bundled", device_map="auto", dtype="float32"))
    assert len(set(spread.base.hf_device_map.values())) == 2
    assert any("the model's weights lie on several devices" in note for note in spread.notes)
    assert list(texts(spread, asked)) == expected
