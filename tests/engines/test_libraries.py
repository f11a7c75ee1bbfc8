"""What changes the whole process is in one function, what is used inside of libraries in one file; nowhere else."""

import ast
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from PIL import Image
from transformers import AutoModelForImageTextToText

from chartqa_demo.engines.internals import has_adapters, own_features, patch_places, takes_features, token_places
from chartqa_demo.engines.loading import load_processor
from chartqa_demo.engines.looks import planes
from chartqa_demo.settings import BUNDLED_BASE

ROOT = Path(__file__).parents[2]
INSIDE = ("transformers.vision_utils", "transformers.models", "peft.tuners", "torch._", "torch.cuda._")
MEMBERS = {"get_rope_index", "get_image_features", "default_generators", "graphsafe_set_state"}
PROCESS_WIDE = ("enable_cudnn_sdp", "mallopt", "sys.modules", ".setLevel(", "set_num_threads")

STARTED = """
import sys
from chartqa_demo.engines.startup import start_up
from chartqa_demo.settings import Settings
import torch
torch.cuda.is_available = lambda: False
for quantize in sys.argv[1:]:
    start_up(Settings(quantize=quantize))
    print(quantize, "blocked" if sys.modules.pop("bitsandbytes", 0) is None else "not blocked")
"""
KINDS = {"none": "blocked", "auto": "blocked", "4bit": "not blocked"}


@pytest.fixture(scope="module")
def started() -> list[str]:
    """What becomes of bitsandbytes at a start for each kind of weights, all in one process."""
    command = [sys.executable, "-c", STARTED, *KINDS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize(("quantize", "expected"), KINDS.items())
def test_a_cpu_is_spared_bitsandbytes_unless_weights_are_to_be_quantised(
    quantize: str, expected: str, started: list[str]
) -> None:
    assert f"{quantize} {expected}" in started


def test_only_the_start_up_changes_what_the_whole_process_would_notice() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {sign}"
        for path in (ROOT / "chartqa_demo" / "engines").rglob("*.py")
        for sign in PROCESS_WIDE
        if sign in path.read_text(encoding="utf-8") and path.name != "startup.py"
    ]
    assert found == []


def test_patches_have_row_and_column_by_image_token() -> None:
    places = patch_places(torch.tensor([[1, 4, 2]]), 2)
    assert places.tolist() == [[0, 0], [0, 1], [1, 0], [1, 1], [2, 0], [2, 1], [3, 0], [3, 1]]


def test_a_model_is_given_features_and_positions_as_transformers_names_them(tiny_base: Path) -> None:
    base = AutoModelForImageTextToText.from_pretrained(tiny_base)
    image, grid = base.config.image_token_id, torch.tensor([[1, 4, 4]])
    assert takes_features(base)
    with torch.inference_mode():
        found = own_features(base, {"pixel_values": torch.zeros(16, 1176), "image_grid_thw": grid})
    assert [tuple(one.shape) for one in found.pooler_output] == [(4, base.config.text_config.hidden_size)]
    places = token_places(base, torch.tensor([[5, image, image, image, image, 6, 0]]), grid, torch.ones(1, 7))
    assert places[:, 0, :6].tolist() == [[0, 1, 1, 1, 1, 3], [0, 1, 1, 2, 2, 3], [0, 1, 2, 1, 2, 3]]


def test_a_linear_layer_with_an_adapter_has_its_parts_by_name(tiny_base: Path, tiny_adapter: Path) -> None:
    base = AutoModelForImageTextToText.from_pretrained(tiny_base)
    plain: Any = base.model.language_model.layers[0].self_attn.q_proj
    assert not has_adapters(plain)
    PeftModel.from_pretrained(base, tiny_adapter, adapter_name="one")
    module: Any = base.model.language_model.layers[0].self_attn.q_proj
    assert has_adapters(module) and module.base_layer is plain
    assert "one" in module.lora_A and "one" in module.lora_B and module.scaling["one"] == 2.0


def test_torch_can_end_a_capture_that_failed() -> None:
    assert hasattr(torch.cuda, "default_generators") and hasattr(torch.Generator, "graphsafe_set_state")


def test_no_other_file_uses_what_is_inside_torch_transformers_and_peft() -> None:
    users = set()
    for path in (ROOT / "chartqa_demo").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            imported = isinstance(node, ast.ImportFrom) and (node.module or "").startswith(INSIDE)
            if imported or (isinstance(node, ast.Attribute) and node.attr in MEMBERS):
                users.add(path.name)
    assert users == {"internals.py"}


@pytest.mark.parametrize("size", [(801, 601), (20, 300), (16, 1600)])
def test_transformers_reads_a_chart_from_its_planes_as_from_its_picture(size: tuple[int, int]) -> None:
    image = Image.effect_noise(size, 80).convert("RGB")
    image.paste((200, 30, 60), (2, 2, 12, 9))
    processor = load_processor(BUNDLED_BASE, "bundled").image_processor
    of_picture, of_planes = (
        processor([one], return_tensors="pt") for one in (image, planes(image, torch.device("cpu")))
    )
    for name in ("pixel_values", "image_grid_thw"):
        assert torch.equal(of_picture[name], of_planes[name])
