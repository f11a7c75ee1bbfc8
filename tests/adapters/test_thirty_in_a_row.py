"""Thirty adapters one after another in one engine, good, overflowing and hostile: none changes what is not its own."""

import hashlib
import random
from collections.abc import Callable
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from adapter_fixtures import LAYER, SHORT, write
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from tiny import chart, last
from transformers import AutoModelForImageTextToText

from chartqa_demo.adapters.lora import read_config
from chartqa_demo.engines import Answers
from chartqa_demo.engines.local import LocalEngine, load_local
from chartqa_demo.errors import EngineError
from chartqa_demo.settings import Settings

Weights = dict[str, torch.Tensor]
EVERY = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
KEY = f"base_model.model.{LAYER}"
ASKED = [(chart(2), "How many bars?"), (chart(5), "Which country is highest?")]

# What PEFT is asked to make.
SERVED: list[dict[str, Any]] = [
    {},
    {"target_modules": EVERY, "r": 16},
    {"target_modules": EVERY, "use_rslora": True},
    {"target_modules": EVERY, "rank_pattern": {"down_proj": 1, "layers.0.self_attn.q_proj": 7}},
    {"target_modules": EVERY, "alpha_pattern": {"up_proj": 1, r"^.*layers\.1\.self_attn\.o_proj": 50}},
    {"target_modules": ["k_proj", "o_proj"], "rank_pattern": {"k_proj": 2}, "alpha_pattern": {"o_proj": 3}},
    {"r": 1},
    {"r": 200, "lora_alpha": 16},
    {"target_modules": EVERY, "layers_to_transform": [0]},
    {"lora_alpha": -8},
    {"lora_alpha": 0},
]
REFUSED: list[dict[str, Any]] = [
    {"use_dora": True},
    {"lora_bias": True},
    {"modules_to_save": ["lm_head"]},
    {"target_modules": ["qkv", "q_proj"]},
    {"target_modules": ["embed_tokens", "q_proj"]},
]
# What is then made of its config or weights; and of the file's bytes.
OVERFLOWING: list[Callable[[Weights], Weights]] = [
    lambda w: {key: value * 1e25 for key, value in w.items()},
    lambda w: {key: value * (1e37 if "lora_B" in key else 1) for key, value in w.items()},
]
SPOILT: list[dict[str, Any] | Callable[[Weights], Weights]] = [
    {"init_lora_weights": "pissa_niter_4"},
    {"init_lora_weights": "olora", "rank_pattern": {"q_proj": 4}},
    {"r": 8},
    {"alpha_pattern": {"(x+x+)+y": 4}},
    {"layer_replication": [[0, 2], [0, 2]]},
    lambda w: w | {"base_model.model.lm_head.weight": torch.zeros(8, 64)},
    lambda w: w | {f"{KEY}.base_layer.weight": torch.zeros(64, 64)},
    lambda w: w | {f"{KEY}.lora_A.weight": torch.zeros(4, 65)},
    lambda w: w | {f"{KEY}.lora_B.weight": w[f"{KEY}.lora_B.weight"].index_fill(0, torch.tensor(0), torch.nan)},
]
BROKEN: list[Callable[[bytes], bytes]] = [
    lambda file: file[:-500],
    lambda file: b"\xff" * 7 + b"\x7f" + file[8:],
    lambda file: file[:8] + bytes(byte ^ 0x40 for byte in file[8:40]) + file[40:],
]


@cache
def plain(base: Path) -> Any:
    return AutoModelForImageTextToText.from_pretrained(base, dtype=torch.float32)


def make(base: Path, folder: Path, seed: int, **options: Any) -> Path:
    torch.manual_seed(seed)
    settings: dict[str, Any] = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"]}
    config = LoraConfig(task_type="CAUSAL_LM", **settings | options)
    adapted = get_peft_model(deepcopy(plain(base)), config)
    for name, weight in adapted.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weight, std=0.4)
    adapted.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def thirty(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, Path]]:
    """(what has to become of it, folder), shuffled."""
    base, folder = tiny_base, tmp_path_factory.mktemp("thirty")
    found = [("served", make(base, folder / f"good{n}", n, **one)) for n, one in enumerate(SERVED)]
    found += [("refused", make(base, folder / f"refused{n}", n, **one)) for n, one in enumerate(REFUSED)]
    for number, change in enumerate([*OVERFLOWING, *SPOILT]):
        one = make(base, folder / f"changed{number}", 50 + number)
        config, weights = read_config(one), load_file(one / "adapter_model.safetensors")
        config, weights = (config, change(weights)) if callable(change) else (config | change, weights)
        found.append(("overflows" if number < len(OVERFLOWING) else "refused", write(one, config, weights)))
    for number, damage in enumerate(BROKEN):
        one = make(base, folder / f"broken{number}", 80 + number)
        file = one / "adapter_model.safetensors"
        file.write_bytes(damage(file.read_bytes()))
        found.append(("refused", one))
    random.Random(1).shuffle(found)
    return found


def bytes_of(base: Any) -> str:
    """A hash of every byte of the base's own weights."""
    own = {name.replace(".base_layer.", "."): one for name, one in base.state_dict().items() if ".lora_" not in name}
    digest = hashlib.sha256()
    for name, weight in sorted(own.items()):
        digest.update(name.encode() + weight.contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def answers(engine: LocalEngine) -> list[Answers]:
    """To every question on the page, and again in a batch."""
    page = [last(engine.answer(image, question, engine.arms, SHORT)) for image, question in ASKED]
    return [*page, *engine.answer_many(ASKED, engine.arms, SHORT)]


@pytest.mark.parametrize("decode", ["static", pytest.param("eager", marks=pytest.mark.campaign)])
def test_thirty_adapters_change_no_other_arm_and_no_byte_of_the_base(
    decode: str,
    tiny_base: Path,
    thirty: list[tuple[str, Path]],
    tmp_path: Path,
    figure: Callable[[str, object], None],
) -> None:
    start = make(tiny_base, tmp_path / "start", 99)
    engine = load_local(Settings(base=str(tiny_base), adapter=str(start), device="cpu", decode=decode))  # pyright: ignore
    base, before = bytes_of(engine.base), answers(engine)
    others = [[arm.text for arm in row[:2]] for row in before]
    for number, (expected, folder) in enumerate(thirty):
        if expected == "refused":
            with pytest.raises(EngineError) as refused:
                engine.use_adapter(str(folder))
            told = str(refused.value)
            assert "\n" not in told and told.endswith("."), told
        else:
            engine.use_adapter(str(folder))
        now = answers(engine)
        assert [[arm.text for arm in row[:2]] for row in now] == others, f"{number}: {folder.name}"
        assert all(arm.error is None for row in now for arm in row[:2])
        assert [row[2].text for row in now[:2]] == [row[2].text for row in now[2:]], "page and batch"
        if expected == "refused":
            assert [row[2].text for row in now] == [row[2].text for row in before], "the adapter before stays"
        else:
            assert all((row[2].error_kind == "overflow") == (expected == "overflows") for row in now), folder.name
        before = now
        assert bytes_of(engine.base) == base, folder.name
    count = {kind: sum(one == kind for one, _ in thirty) for kind, _ in thirty}
    assert sum(count.values()) == 30
    figure(f"adapters in a row ({decode})", ", ".join(f"{number} {kind}" for kind, number in sorted(count.items())))
