"""On a GPU of one's own weights are joined and Triton's kernels compute between them: the answers stay the same."""

import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import build_tiny_adapter, chart, last

from chartqa_demo.arms import ARMS
from chartqa_demo.engines import Options
from chartqa_demo.engines.fast import layers, plain, tower
from chartqa_demo.engines.fast.choosing import NextTokens
from chartqa_demo.engines.local import load_local
from chartqa_demo.settings import Settings

EVERY = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def interpreted(*folders: Path) -> dict[str, Any]:
    pytest.importorskip("triton", reason="Triton comes with torch for CUDA only")
    path = os.pathsep.join([str(ROOT), str(HERE.parent / "support")])
    environ = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": path}
    command = [sys.executable, str(HERE / "interpreted_kernels.py"), *map(str, folders)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def alone() -> dict[str, Any]:
    return interpreted()


@pytest.fixture(scope="module")
def whole(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    adapter = build_tiny_adapter(tiny_base, tmp_path_factory.mktemp("every"), targets=EVERY)
    another = build_tiny_adapter(tiny_base, tmp_path_factory.mktemp("another"), seed=7)
    base = shutil.copytree(tiny_base, tmp_path_factory.mktemp("kernels") / "base")
    return interpreted(base, adapter, another)


@pytest.mark.campaign
def test_features_and_logits_are_those_of_torchs_own_operations_with_either_adapter_joined_or_not(
    whole: dict[str, Any],
) -> None:
    assert whole["apart"] < 1e-5 * whole["size"]


def test_products_of_a_few_rows_keep_their_sums_in_float32(alone: dict[str, Any]) -> None:
    assert alone["products_apart"] < 1e-5


def test_a_charts_patches_attend_to_each_other_and_to_none_behind_them(alone: dict[str, Any]) -> None:
    assert alone["attention_apart"] < 1e-5


def test_heads_are_rotated_and_lie_where_attention_reads_them(alone: dict[str, Any]) -> None:
    assert alone["placing_apart"] < 1e-5


def test_the_next_tokens_are_torchs_seen_broken_or_not(alone: dict[str, Any]) -> None:
    assert alone["best_is_torchs"]


def test_weights_in_four_bits_are_unpacked_to_what_bitsandbytes_makes_of_them(alone: dict[str, Any]) -> None:
    assert all(alone["nf4_is_exact"])
    assert alone["nf4_apart"] < 1e-5


@pytest.mark.campaign
def test_layers_in_four_bits_are_near_the_same_layers_unpacked_and_products_of_any_few_rows_exact(
    whole: dict[str, Any],
) -> None:
    assert all(whole["nf4_is_exact"])
    assert whole["nf4_apart"] < 1e-5
    assert whole["nf4_layers_apart"] < 2e-3


@pytest.mark.campaign
def test_answers_in_an_evaluations_batch_stay_the_same(whole: dict[str, Any]) -> None:
    assert whole["fused"] == whole["plain"]
    assert len(set(whole["plain"])) == 3, "the arms have to differ for this to show anything"


@pytest.mark.campaign
def test_weights_that_read_the_same_become_parts_of_one_matrix_and_are_held_once(whole: dict[str, Any]) -> None:
    assert whole["joined"] == whole["riding"] == 2 * 2, "attention and MLP of two layers"
    assert whole["held"]
    assert whole["parts_of_one"]


class Called:
    """In place of a CUDA graph: what it would hold is called again, into the same tensor."""

    def __init__(self, run: Callable[[], torch.Tensor]) -> None:
        self.run, self.result = run, run()

    def pool(self) -> None: ...

    def replay(self) -> None:
        self.result.copy_(self.run())


def of_the_first(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
    """What the kernel `attention` computes."""
    out = torch.full((len(q), q[0].numel()), float("nan"))
    own = (one[: int(count)].transpose(0, 1)[None] for one in (q, k, v))
    out[: int(count)] = torch.nn.functional.scaled_dot_product_attention(*own)[0].transpose(0, 1).flatten(1)
    return out


@pytest.mark.parametrize("own", [{}, {"attention": of_the_first}], ids=["by a mask", "by a kernel"])
def test_a_replayed_look_at_a_chart_of_any_size_is_that_of_a_plain_pass(
    own: dict[str, Any], tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = [(168, 112), (84, 112), (168, 112), (196, 140), (336, 224)]  # the last has more patches than any capture
    monkeypatch.setattr(tower, "HOST_BOUND", 256)
    monkeypatch.setattr(tower, "BUCKET", 128)
    monkeypatch.setattr(tower, "captured", lambda run, device, pool: ((called := Called(run)), called.result))
    engine = load_local(Settings(base=str(tiny_base), adapter="none", device="cpu", decode="static"))
    looks, fast = engine.looks, engine.fast
    assert fast is not None
    looks._processor.image_processor.size = {"shortest_edge": 3136, "longest_edge": 200 * 784}
    plain = [looks.of([chart(n, size)])[0].pooled[0] for n, size in enumerate(sizes)]
    fast.tower._kernels = own
    fast.capture_tower(200 * 784)
    passes = fast.tower._passes
    assert sorted(passes) == [128, 256]
    replayed = []
    monkeypatch.setattr(Called, "replay", lambda self, own=Called.replay: (replayed.append(self), own(self)))
    looks.clear()
    again = [looks.of([chart(n, size)])[0].pooled[0] for n, size in enumerate(sizes)]  # kept while others are looked at
    assert len(replayed) == 4
    for expected, found in zip(plain, again, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


TABLE = json.loads((ROOT / "bench" / "results" / "kernels.json").read_text(encoding="utf-8"))


# A T4, an H200 and one of AMD's; the others are for the campaign.
COMPILED = ("sm_75", "sm_90", "gfx942")


@pytest.mark.parametrize(
    "target",
    [
        one if one in COMPILED else pytest.param(one, marks=pytest.mark.campaign)
        for one in TABLE["shared_bytes_allowed"]
    ],
)
def test_every_kernel_compiles_for_gpus_elsewhere_within_their_shared_memory(target: str) -> None:
    pytest.importorskip("triton", reason="Triton comes with torch for CUDA only")
    from bench.parts.kernels import DTYPES, LEFT_OUT, NO_BFLOAT16, TARGETS, compiled

    precision = "float16" if target in NO_BFLOAT16 else "bfloat16"
    found = {one["kernel"]: one["shared_bytes"] for one in compiled(target, DTYPES[precision])}
    assert set(found) > {"add_norm", "rotated", "store", "gated", "quick_gelu", "product", "gated_product"}
    assert max(found.values()) <= TARGETS[target][1] == TABLE["shared_bytes_allowed"][target]
    assert any(name.startswith("nf4_product") for name in found) == (target not in LEFT_OUT["nf4_product"])
    if TABLE["versions"]["triton"] == version("triton"):  # then the committed table is that of these sources
        rows = [row for row in TABLE["kernels"] if (row["architecture"], row["dtype"]) == (target, precision)]
        assert {row["kernel"]: row["shared_bytes"] for row in rows} == found


def test_where_weights_in_nf4_cannot_be_unpacked_by_the_kernel_it_fails_rather_than_to_be_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("triton", reason="Triton comes with torch for CUDA only")
    from bench.parts import kernels as elsewhere
    from chartqa_demo.engines.fast.kernels import launching, products

    left_out = dict(elsewhere.LEFT_OUT["nf4_product"])
    assert TABLE["left_out"] == {"nf4_product": left_out}
    monkeypatch.setattr(elsewhere, "LEFT_OUT", {})
    for target in left_out:
        with pytest.raises(Exception, match=r"sm_80|failed to link"):
            list(elsewhere.compiled(target, torch.float16))
    monkeypatch.setattr(torch.version, "hip", "6.4")
    found, lost = launching.usable(
        {"nf4_product": (products.nf4_product, lambda: products.nf4_product(torch.zeros(1, 1, 64), None))}
    )
    assert (found, lost) == ({}, {"nf4_product": left_out["gfx942"]})


def test_an_h200_reads_four_blocks_of_a_matrix_ahead_and_a_4090_what_it_has_room_for() -> None:
    held = {
        row["architecture"]: row["shared_bytes"]
        for row in TABLE["kernels"]
        if (row["dtype"], row["kernel"]) == ("bfloat16", "gated_product")
    }
    block = 256 * (2 * 64 + 16)
    assert held["sm_90"] == 4 * block and held["sm_80"] == 3 * block  # since Hopper Triton holds one more
    assert held["sm_86"] == held["sm_89"] == held["sm_120"] == 2 * block


def in_parts(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    half = x.shape[-1] // 2
    return torch.cat([x[..., :half] @ weight[:, :half].t(), x[..., half:] @ weight[:, half:].t()], dim=1)


def silu_gated(x: torch.Tensor, weight: torch.Tensor, outputs: int) -> torch.Tensor:
    return layers.gated(*(x @ weight[: 2 * outputs].t()).split(outputs, dim=-1))


def taken_and_said(logits: torch.Tensor, seen: Any = None, penalty: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    chosen = NextTokens([], penalty=penalty)
    chosen._seen = None if seen is None else seen.clone()
    return chosen(logits), chosen.logs[0]


@pytest.mark.parametrize(
    "failing",
    [
        "add_norm",
        "rotated",
        "store",
        "gated",
        "product",
        "gated_product",
        "quick_gelu",
        "placed",
        "turned",
        "added_norm",
        "best",
    ],
)
def test_a_kernel_that_cannot_be_used_is_said_and_the_others_are(
    failing: str, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("triton", reason="Triton comes with torch for CUDA only")
    from chartqa_demo.engines.fast.kernels import choice, passes, placing, products

    engine = load_local(Settings(base=str(tiny_base), adapter="none", device="cpu", decode="static"))
    before = last(engine.answer(chart(), "How many?", ARMS, Options(max_new_tokens=6)))
    own = {"product": in_parts, "gated_product": silu_gated, "quick_gelu": tower.quick_gelu}
    own |= {name: getattr(layers, name) for name in ("add_norm", "rotated", "store", "gated")}
    own |= {name: getattr(plain, name) for name in ("placed", "turned", "added_norm")}
    own["best"] = taken_and_said
    called = set[str]()

    def raises(*args: Any) -> None:
        raise RuntimeError(
            "out of resource: shared memory, Required: 110592, Hardware limit: 101376\nReduce block sizes"
        )

    for name, function in own.items():
        counting = lambda *args, name=name, function=function: (called.add(name), function(*args))[1]  # noqa: E731
        home = next(one for one in (passes, placing, products, choice) if hasattr(one, name))
        monkeypatch.setattr(home, name, raises if name == failing else counting)
    engine.fast.fuse()
    engine._tell()
    (note,) = (note for note in engine.notes if "Triton" in note)
    assert note == (
        f"Triton's kernels cannot be used, torch's own are slower: {failing} (out of resource: shared memory, "
        "Required: 110592, Hardware limit: 101376)."
    )
    called.clear()
    after = last(engine.answer(chart(1), "How many?", ARMS, Options(max_new_tokens=6)))
    after = last(engine.answer(chart(), "How many?", ARMS, Options(max_new_tokens=6)))
    assert [answer.text for answer in after] == [answer.text for answer in before]
    unused = {"rotated", "store"} if failing != "placed" else {"placed"}  # `placed` does both
    assert called >= set(own) - {failing, "gated", "quick_gelu", "turned", "added_norm", *unused}


def test_rows_that_do_not_lie_side_by_side_are_copied_and_never_read_wrongly(alone: dict[str, Any]) -> None:
    assert alone["rows_apart"] < 1e-5


def test_where_triton_cannot_compile_torchs_own_operations_answer_and_it_is_logged(
    tiny_base: Path, tiny_adapter: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    engine = load_local(Settings(base=str(tiny_base), adapter=str(tiny_adapter), device="cpu", decode="static"))
    monkeypatch.setitem(sys.modules, "triton", None)
    room = "chartqa_demo.engines.fast.kernels"
    for name in [one for one in sys.modules if one.startswith(room)]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr(room, raising=False)
    with caplog.at_level(logging.WARNING):
        engine.fast.fuse()
    assert "Triton's kernels cannot be used, torch's own are slower: " in caplog.text
    layers: Any = engine.fast.layers
    assert layers._joint is None


def test_where_triton_is_there_but_compiles_nothing_the_joined_weights_answer_by_torchs_operations(
    tiny_base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("triton", reason="Triton comes with torch for CUDA only")
    adapter = build_tiny_adapter(tiny_base, tmp_path / "every", targets=EVERY)
    engine = load_local(Settings(base=str(tiny_base), adapter=str(adapter), device="cpu", decode="static"))
    before = last(engine.answer(chart(), "How many?", ARMS, Options(max_new_tokens=6)))
    with caplog.at_level(logging.WARNING):
        engine.fast.fuse()  # on a CPU, for which it compiles nothing
    assert "Triton's kernels cannot be used, torch's own are slower: " in caplog.text
    layers: Any = engine.fast.layers
    assert layers._joint and layers._kernels is None
    after = last(engine.answer(chart(), "How many?", ARMS, Options(max_new_tokens=6)))
    assert [answer.text for answer in after] == [answer.text for answer in before]
