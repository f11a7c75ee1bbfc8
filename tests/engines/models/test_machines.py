"""Machines that are not here: GPUs without bfloat16, Apple's, a second GPU, several; torch's word for them stood in."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny import chart, last
from transformers import AutoModelForImageTextToText

from chartqa_demo.arms import ARMS
from chartqa_demo.engines import Options, loading
from chartqa_demo.engines.fast import qwen2_vl, tower
from chartqa_demo.engines.fast.graphs import on
from chartqa_demo.engines.internals import before_ampere, read_piece_by_piece
from chartqa_demo.engines.loading import NO_BFLOAT16, ON_MPS, bits_and_bytes, choose, load_base
from chartqa_demo.engines.local import EAGER, LocalEngine, load_local
from chartqa_demo.engines.streaming import seeded
from chartqa_demo.errors import EngineError
from chartqa_demo.settings import BUNDLED_BASE, HUB_BASE, Settings

SHORT = Options(max_new_tokens=6)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """One of NVIDIA's GPUs, as torch tells of it; change `free` (GiB) and `capability`."""
    told = SimpleNamespace(free=14.6, capability=(7, 5))
    monkeypatch.setattr(loading, "_device", lambda name: torch.device("cuda"))
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda device: (told.free * 2**30, 80 * 2**30))
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda device: told.capability)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda *args: True)  # as it says of a T4
    return told


def chosen(**settings: Any) -> tuple[str, str, torch.dtype, bool]:
    choice = choose(Settings(**settings))
    return choice.base, choice.quantize, choice.dtype, NO_BFLOAT16 in choice.notes


def test_a_gpu_without_bfloat16_computes_in_float32_and_says_so(gpu: SimpleNamespace) -> None:
    assert chosen() == (HUB_BASE, "4bit", torch.float32, True)  # a T4
    assert bits_and_bytes("4bit", torch.float32).bnb_4bit_compute_dtype == torch.float32
    assert chosen(base="bundled") == ("bundled", "none", torch.float32, True)
    assert chosen(dtype="float16") == (HUB_BASE, "4bit", torch.float16, False)  # as asked for
    assert chosen(dtype="bfloat16") == (HUB_BASE, "4bit", torch.bfloat16, False)
    gpu.free = 10.5  # an RTX 2080 Ti: embedding and head in float32 do not fit beside the rest
    assert chosen() == ("bundled", "none", torch.float32, True)
    gpu.free, gpu.capability = 31, (7, 0)  # a V100, on which 7B in float32 does not fit
    assert chosen() == (HUB_BASE, "4bit", torch.float32, True)


@pytest.mark.parametrize(
    ("capability", "free"), [((8, 0), 39), ((8, 6), 22), ((8, 9), 22), ((9, 0), 79), ((12, 0), 31)]
)
def test_a_gpu_since_ampere_computes_in_bfloat16(
    gpu: SimpleNamespace, capability: tuple[int, int], free: float
) -> None:
    gpu.capability, gpu.free = capability, free
    assert chosen() == (HUB_BASE, "none", torch.bfloat16, False)
    gpu.free = 10.5
    assert chosen() == (HUB_BASE, "4bit", torch.bfloat16, False)


def test_four_bits_compute_in_the_precision_that_was_chosen(gpu: SimpleNamespace, asked_for: dict[str, Any]) -> None:
    for capability, dtype in (((7, 5), torch.float32), ((8, 9), torch.bfloat16)):
        gpu.capability = capability
        settings = Settings(base=str(BUNDLED_BASE), quantize="4bit")
        with pytest.raises(EngineError, match="no model is loaded here"):
            load_base(choose(settings), settings)
        assert asked_for["quantization_config"].bnb_4bit_compute_dtype == asked_for["dtype"] == dtype


def test_a_gpu_that_fails_at_the_start_is_a_sentence(gpu: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(device: torch.device) -> None:
        raise RuntimeError("CUDA error: all CUDA-capable devices are busy or unavailable\nCUDA kernel errors")

    monkeypatch.setattr("torch.cuda.mem_get_info", fails)
    with pytest.raises(
        EngineError, match=r"^The GPU cannot be used: CUDA error: all .* unavailable\. --device cpu goes"
    ):
        choose(Settings())


@pytest.fixture
def asked_for(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What transformers was asked for with the weights, of which it loads none."""
    asked: dict[str, Any] = {}

    def from_pretrained(folder: Path, **options: Any) -> None:
        asked.clear()
        asked.update(options)
        raise OSError("no model is loaded here")

    monkeypatch.setattr(AutoModelForImageTextToText, "from_pretrained", from_pretrained)
    return asked


@pytest.mark.parametrize(
    ("device", "settings", "device_map"),
    [
        ("cuda:1", {}, {"": torch.device("cuda:1")}),
        ("mps", {}, {"": torch.device("mps")}),
        ("cuda", {"device_map": "auto"}, "auto"),
        ("cpu", {}, None),
    ],
    ids=["a second GPU", "Apple's GPU", "several GPUs", "none"],
)
def test_weights_go_to_their_device_as_they_are_read(
    device: str, settings: dict[str, Any], device_map: Any, asked_for: dict[str, Any], gpu: SimpleNamespace,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(loading, "_device", torch.device)
    asked = Settings(base="bundled", device=device, **settings)
    with pytest.raises(EngineError, match="no model is loaded here"):
        load_base(choose(asked), asked)
    assert asked_for.get("device_map") == device_map


def test_weights_read_piece_by_piece_are_those_of_the_mapped_file(tiny_base: Path) -> None:
    mapped = AutoModelForImageTextToText.from_pretrained(tiny_base)
    with read_piece_by_piece():
        read = AutoModelForImageTextToText.from_pretrained(tiny_base)
    assert all(torch.equal(a, b) for a, b in zip(mapped.parameters(), read.parameters(), strict=True))


def test_apples_gpu_is_found_and_answers_by_the_general_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    choice = choose(Settings())
    assert (choice.device.type, choice.bundled) == ("mps", True)
    assert ON_MPS in choice.notes and "how much memory Apple's GPU has free is not known" in choice.notes[0]
    with pytest.raises(EngineError, match="--quantize 4bit is not available on Apple's GPU"):
        choose(Settings(quantize="4bit"))
    monkeypatch.setattr(loading, "_device", lambda name: torch.device("cpu"))  # the rest on what is here
    on_a_cpu = choose(Settings(base="bundled"))
    model, processor = load_base(on_a_cpu, Settings(base="bundled", adapter="none"))
    monkeypatch.setattr(type(model), "device", SimpleNamespace(type="mps"))
    assert qwen2_vl.unsupported(model) == "it was not tested on mps"
    monkeypatch.undo()
    monkeypatch.setattr("chartqa_demo.engines.local.unsupported", lambda base: "it was not tested on mps")
    engine = LocalEngine(model, processor, on_a_cpu, Settings(base="bundled", adapter="none"))
    assert engine.fast is None and f"{EAGER}it was not tested on mps." in engine.notes
    answers = last(engine.answer(chart(), "How many bars?", ARMS[:2], SHORT))
    assert all(answer.text and answer.error is None for answer in answers)


def test_a_seed_on_apples_gpu_needs_no_state_of_it() -> None:
    with seeded(Options(temperature=1.0, seed=7), torch.device("mps")):
        first = torch.rand(3)
    with seeded(Options(temperature=1.0, seed=7), torch.device("cpu")):
        assert torch.equal(torch.rand(3), first)


def test_a_base_on_several_gpus_answers_by_the_general_way(tiny_base: Path) -> None:
    expected = last(load_local(Settings(base=str(tiny_base), adapter="none", device="cpu")).answer(
        chart(), "How many bars?", ARMS[:2], SHORT
    ))  # fmt: skip
    settings = Settings(base=str(tiny_base), adapter="none", device="cpu")
    model, processor = load_base(choose(settings), settings)
    model.hf_device_map = {"model.visual": 0, "model.language_model": 1, "lm_head": 1}
    engine = LocalEngine(model, processor, choose(settings), settings)
    assert engine.fast is None
    assert f"{EAGER}the model's weights lie on several devices." in engine.notes
    answers = last(engine.answer(chart(), "How many bars?", ARMS[:2], SHORT))
    assert [answer.text for answer in answers] == [answer.text for answer in expected]


def test_what_computes_on_a_second_gpu_makes_it_the_current_one(
    tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[torch.device] = []

    class Device:
        def __init__(self, device: torch.device) -> None:
            made.append(device)

        def __enter__(self) -> None: ...

        def __exit__(self, *args: object) -> None: ...

    monkeypatch.setattr("torch.cuda.device", Device)
    for device in ("cpu", "cuda", "cuda:0"):
        on(torch.device(device))
    assert made == []
    engine = load_local(Settings(base=str(tiny_base), adapter="none", device="cpu", decode="static"))
    second = torch.device("cuda:1")
    for module in (qwen2_vl, tower):  # everything of the fast way asks here
        monkeypatch.setattr(module, "on", lambda device: on(second))
    made.clear()
    last(engine.answer(chart(), "How many bars?", ARMS[:2], SHORT))
    assert made == [second, second], "a look at the chart, and the tokens in their own thread"
    made.clear()
    engine.answer_many([(chart(1), "How many bars?")], ARMS[:2], SHORT)
    assert made == [second, second]


@pytest.mark.parametrize(
    ("capability", "hip", "expected"),
    [((7, 5), None, True), ((6, 1), None, True), ((8, 0), None, False), ((12, 0), None, False), ((7, 5), "6.4", False)],
)
def test_what_lies_before_ampere_is_told_by_its_capability(
    capability: tuple[int, int], hip: str | None, expected: bool, gpu: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu.capability = capability
    monkeypatch.setattr("torch.version.hip", hip)
    assert before_ampere(torch.device("cuda")) is expected
    assert not before_ampere(torch.device("cpu")) and not before_ampere(torch.device("mps"))
