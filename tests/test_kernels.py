"""On a GPU of one's own weights are joined and Triton's kernels compute between them: the answers stay the same."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tiny import build_tiny_adapter

from chartqa_demo.engines.local import load_engine
from chartqa_demo.settings import Settings

EVERY = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def found(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    pytest.importorskip("triton", reason="Triton comes with torch for CUDA only")
    adapter = build_tiny_adapter(tiny_base, tmp_path_factory.mktemp("every"), targets=EVERY)
    environ = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": str(HERE.parent)}
    another = build_tiny_adapter(tiny_base, tmp_path_factory.mktemp("another"), seed=7)
    command = [sys.executable, str(HERE / "interpreted_kernels.py"), str(tiny_base), str(adapter), str(another)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_features_and_logits_are_those_of_torchs_own_operations_with_either_adapter_joined_or_not(
    found: dict[str, Any],
) -> None:
    assert found["apart"] < 1e-5 * found["size"]


def test_answers_in_an_evaluations_batch_stay_the_same(found: dict[str, Any]) -> None:
    assert found["fused"] == found["plain"]
    assert len(set(found["plain"])) == 3, "the arms have to differ for this to show anything"


def test_weights_that_read_the_same_become_parts_of_one_matrix_and_are_held_once(found: dict[str, Any]) -> None:
    assert found["joined"] == found["riding"] == 2 * 2, "attention and MLP of two layers"
    assert found["held"]
    assert found["parts_of_one"]


def test_where_triton_cannot_compile_torchs_own_operations_answer_and_it_is_logged(
    tiny_base: Path, tiny_adapter: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    engine = load_engine(Settings(base=str(tiny_base), adapter=str(tiny_adapter), device="cpu", decode="static"))
    monkeypatch.setitem(sys.modules, "triton", None)
    monkeypatch.delitem(sys.modules, "chartqa_demo.engines.kernels", raising=False)
    with caplog.at_level(logging.WARNING):
        engine._fuse()
    assert "Triton's kernels cannot be used, torch's own are slower: " in caplog.text
    layers: Any = engine._layers
    assert layers._joint is None
