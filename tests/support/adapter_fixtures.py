"""An adapter to be changed, written down again, and what an engine with it answers."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import chart, last

from chartqa_demo.arms import ARMS
from chartqa_demo.engines import Options
from chartqa_demo.engines.local import LocalEngine

SHORT = Options(max_new_tokens=8)
LAYER = "model.language_model.layers.0.self_attn.q_proj"
REFUSE_ALL = """
import sys
from chartqa_demo.adapters.check import fetch_adapter
from chartqa_demo.errors import HubError
for name in sys.argv[1:]:
    try:
        fetch_adapter(name, None, "bundled")
        print(name, "SERVED")
    except HubError as error:
        print(error)
"""


def write(folder: Path, config: Mapping[str, Any], weights: Mapping[str, torch.Tensor]) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    save_file(dict(weights), folder / "adapter_model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture
def parts(tiny_adapter: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Config and weights of an adapter that can be served, to be changed."""
    config = json.loads((tiny_adapter / "adapter_config.json").read_text(encoding="utf-8"))
    return config, load_file(tiny_adapter / "adapter_model.safetensors")


def texts(engine: LocalEngine) -> list[str]:
    return [answer.text for answer in last(engine.answer(chart(), "How many bars?", ARMS, SHORT))]
