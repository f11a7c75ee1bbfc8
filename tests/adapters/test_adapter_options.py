"""The table of adapter options: refused by its name before a weight is fetched, or served equal to PEFT's generate."""

import dataclasses
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from adapter_fixtures import REFUSE_ALL, SHORT, texts, write
from children import child
from hub import client_environment, serve_hub
from peft import LoraConfig, PeftModel, get_peft_model
from tiny import chart
from transformers import AutoModelForImageTextToText

from chartqa_demo.adapters.check import why_not
from chartqa_demo.adapters.load import load_adapter
from chartqa_demo.adapters.lora import INITIALISATIONS, REFUSED, SERVED, TAKES_FROM_BASE
from chartqa_demo.engines.local import LocalEngine, load_local
from chartqa_demo.errors import EngineError
from chartqa_demo.settings import Settings

pytest_plugins = ("adapter_fixtures",)

EVERY = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]

START = """
import sys
from chartqa_demo.engines import load_engine
from chartqa_demo.errors import EngineError
from chartqa_demo.settings import Settings
try:
    load_engine(Settings(base=sys.argv[1], adapter=sys.argv[2], device="cpu"))
except EngineError as error:
    print(error)
"""

# What a config sets, and the name by which it is refused.
REFUSALS: dict[str, tuple[dict[str, Any], str]] = {
    "pissa": ({"init_lora_weights": "pissa"}, "was begun with pissa"),
    "pissa_niter_16": ({"init_lora_weights": "pissa_niter_16"}, "was begun with pissa_niter_16"),
    "olora": ({"init_lora_weights": "olora"}, "was begun with olora"),
    "OLoRA": ({"init_lora_weights": "OLoRA"}, "was begun with OLoRA"),
    "corda": ({"init_lora_weights": "corda"}, "was begun with corda"),
    "loftq": ({"init_lora_weights": "loftq", "loftq_config": {"loftq_bits": 4}}, "was begun with loftq"),
    "lora_ga": ({"init_lora_weights": "lora_ga"}, "was begun with lora_ga"),
    "an unknown initialisation": ({"init_lora_weights": "svd"}, "was begun with svd"),
    "an initialisation of no kind": ({"init_lora_weights": {"a": 1}}, "was begun with {'a': 1}"),
    "DoRA": ({"use_dora": True}, "uses DoRA (use_dora), which is not served"),
    "aLoRA": ({"alora_invocation_tokens": [1, 2]}, "uses aLoRA"),
    "lora_bias": ({"lora_bias": True}, "(lora_bias)"),
    "bias": ({"bias": "all"}, "the base's biases (bias)"),
    "modules_to_save": ({"modules_to_save": ["lm_head"]}, "(modules_to_save)"),
    "trainable tokens": ({"trainable_token_indices": [5]}, "uses trained tokens"),
    "layer_replication": ({"layer_replication": [[0, 4], [2, 7]]}, "uses replicated layers"),
    "target_parameters": ({"target_parameters": ["mlp.gate_proj.weight"]}, "uses LoRA on single parameters"),
    "Arrow": ({"arrow_config": {"top_k": 2}}, "uses Arrow"),
    "BD-LoRA": ({"use_bdlora": {"nblocks": 2}}, "uses BD-LoRA"),
    "KaSA": ({"kasa_config": {"a": 1}}, "uses KaSA"),
    "MonteCLoRA": ({"monteclora_config": {"a": 1}}, "uses MonteCLoRA"),
    "VeLoRA": ({"velora_config": {"a": 1}}, "uses VeLoRA"),
    "QALoRA": ({"use_qalora": True}, "uses QALoRA"),
    "Megatron": ({"megatron_config": {"a": 1}}, "uses Megatron"),
    "an option of a later PEFT": ({"use_quantum": True}, "sets use_quantum, which is not known here"),
    "another kind": ({"peft_type": "IA3"}, "is of type IA3"),
    "another task": ({"task_type": "SEQ_CLS"}, "was trained for the task SEQ_CLS"),
    "a rank over the cap": ({"r": 257}, "has the rank 257"),
    "a rank that is true": ({"r": True}, "has the rank True"),
    "a rank pattern over the cap": ({"rank_pattern": {"q_proj": 4096}}, "has 4096 in its rank_pattern"),
    "a rank pattern that is a list": ({"rank_pattern": ["q_proj"]}, "has a wrong rank_pattern"),
    "an alpha that is a text": ({"lora_alpha": "16"}, "has the lora_alpha '16'"),
    "an alpha that is not finite": ({"lora_alpha": float("nan")}, "has the lora_alpha nan"),
    "an alpha pattern with nothing": ({"alpha_pattern": {"q_proj": None}}, "has None in its alpha_pattern"),
    "an endless alpha pattern": ({"alpha_pattern": {r"(\w+\.?)+!": 8}}, "a regular expression that is not executed"),
    "use_rslora as a text": ({"use_rslora": "false"}, "has the use_rslora false"),
}


@pytest.mark.parametrize("option", REFUSALS)
def test_an_option_that_is_not_computed_is_refused_by_its_name_in_every_place(option: str, parts, tiny_base, tmp_path):
    config, weights = parts
    change, sentence = REFUSALS[option]
    reason = why_not(config | change, "bundled")
    assert reason is not None and sentence in reason and reason.endswith(".")
    folder = write(tmp_path / "adapter", config | change, weights)
    base = AutoModelForImageTextToText.from_pretrained(tiny_base)
    before = {name: weight.clone() for name, weight in base.state_dict().items()}
    with pytest.raises(EngineError) as refused:
        load_adapter(base, folder)
    assert sentence in str(refused.value)
    after = base.state_dict()
    assert after.keys() == before.keys() and all(torch.equal(after[name], before[name]) for name in before)


def test_every_refusal_comes_before_a_byte_of_the_weights_is_fetched(parts, tmp_path: Path) -> None:
    config, weights = parts
    with serve_hub() as hub:
        for number, (change, _) in enumerate(REFUSALS.values()):
            hub.put(f"ann/lora{number}", write(tmp_path / str(number), config | change, weights))
        done = child(REFUSE_ALL, *hub.models, **client_environment(hub.url, tmp_path / "hf"))
        assert done.returncode == 0, done.stderr
        for told, (_, sentence) in zip(done.stdout.splitlines(), REFUSALS.values(), strict=True):
            assert sentence in told
        assert not any("adapter_model" in asked for asked in hub.requests)


def test_an_adapter_of_the_hub_is_refused_before_its_base_is_asked_for(parts, tmp_path: Path) -> None:
    config, weights = parts
    with serve_hub() as hub:
        hub.put("ann/dora", write(tmp_path / "dora", config | {"use_dora": True}, weights))
        done = child(START, "ann/base", "ann/dora", **client_environment(hub.url, tmp_path / "hf"))
        assert "The adapter ann/dora uses DoRA (use_dora), which is not served" in done.stdout, done.stderr
        assert not any("ann/base" in asked or "adapter_model" in asked for asked in hub.requests)


def test_every_option_of_this_peft_is_either_served_or_refused() -> None:
    assert {field.name for field in dataclasses.fields(LoraConfig)} == SERVED | REFUSED.keys()


def test_the_table_in_the_docs_names_everything_that_is_refused() -> None:
    table = (Path(__file__).parents[2] / "docs" / "adapters.md").read_text(encoding="utf-8")
    assert [name for name in (*REFUSED, *TAKES_FROM_BASE, *INITIALISATIONS) if name not in table] == []


def peft_answer(engine: LocalEngine, base: Path, folder: Path) -> list[int]:
    """What PEFT's own generate makes of the third arm's prompt, with nothing of ours in between."""
    model = AutoModelForImageTextToText.from_pretrained(base, dtype=torch.float32)
    adapted = PeftModel.from_pretrained(model, folder).eval()
    text = engine.prompt_text(engine.arms[2], "How many bars?", SHORT)
    inputs = engine.processor(text=[text], images=[[chart()]], return_tensors="pt")
    with torch.inference_mode():
        out = adapted.generate(**inputs, max_new_tokens=SHORT.max_new_tokens, do_sample=False)
    return out[0, inputs["input_ids"].shape[1] :].tolist()


def served(tokens: list[int], engine: LocalEngine) -> str:
    return engine.processor.tokenizer.decode(tokens, skip_special_tokens=True).strip()


SERVED_OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "rsLoRA": {"use_rslora": True},
    "every linear layer": {"target_modules": EVERY},
    "rank_pattern": {"rank_pattern": {"v_proj": 2, r"layers\.1\.self_attn\.q_proj": 3}},
    "alpha_pattern": {"alpha_pattern": {"layers.1.self_attn.q_proj": 1, r"^model.*v_proj": 32}},
    "both patterns, rsLoRA": {"rank_pattern": {"v_proj": 2}, "alpha_pattern": {"q_proj": 3}, "use_rslora": True},
    "an alpha that is no whole number": {"lora_alpha": 2.5},
    "init false": {"init_lora_weights": False},
    "init gaussian": {"init_lora_weights": "Gaussian"},
    "init orthogonal": {"init_lora_weights": "orthogonal"},
    "init mica": {"init_lora_weights": "mica"},
    "init eva": {"init_lora_weights": "eva"},
    "one layer": {"layers_to_transform": [1]},
    "layers_pattern": {"layers_to_transform": 1, "layers_pattern": "layers"},
    "a pattern": {"target_modules": r".*language_model.*(q_proj|down_proj)"},
    "all-linear without the vision tower": {"target_modules": "all-linear", "exclude_modules": r".*visual.*"},
    "dropout": {"lora_dropout": 0.5},
    "fan_in_fan_out": {"fan_in_fan_out": True},
}


@pytest.mark.parametrize("option", SERVED_OPTIONS)
def test_an_option_that_is_computed_gives_the_tokens_of_pefts_own_generate(
    option: str, tiny_base: Path, tmp_path: Path
) -> None:
    model = AutoModelForImageTextToText.from_pretrained(tiny_base, dtype=torch.float32)
    torch.manual_seed(3)
    settings: dict[str, Any] = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"]}
    adapted = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **settings | SERVED_OPTIONS[option]))
    for name, weight in adapted.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weight, std=0.4)
    adapted.save_pretrained(tmp_path)
    engine = load_local(Settings(base=str(tiny_base), adapter=str(tmp_path), device="cpu"))
    pretrained, _, answer = texts(engine)
    assert answer == served(peft_answer(engine, tiny_base, tmp_path), engine)
    assert answer != pretrained
    eager = load_local(Settings(base=str(tiny_base), adapter=str(tmp_path), device="cpu", decode="eager"))
    assert texts(eager)[2] == answer


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_weights_of_another_precision_are_those_of_the_base(dtype: torch.dtype, parts, tiny_base, tmp_path) -> None:
    config, weights = parts
    folder = write(tmp_path / "adapter", config, {key: value.to(dtype) for key, value in weights.items()})
    engine = load_local(Settings(base=str(tiny_base), adapter=str(folder), device="cpu"))
    assert texts(engine)[2] == served(peft_answer(engine, tiny_base, folder), engine)


# -- Targets are judged by the file's keys --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "targets",
    ["all-linear", ["q_proj", "qkv"], r".*(q_proj|fc1)", r"^(model)(?!.*(lm_head|output|emb|wte|shared)).*", "(a+)+$"],
    ids=str,
)
def test_whatever_the_targets_say_the_files_keys_tell_what_is_changed(targets, parts, tiny_base, tmp_path) -> None:
    config, weights = parts
    weights = {key: value for key, value in weights.items() if "q_proj" in key}
    folder = write(tmp_path / "adapter", config | {"target_modules": targets}, weights)
    assert why_not(config | {"target_modules": targets}, "bundled") is None
    assert load_local(Settings(base=str(tiny_base), adapter=str(folder), device="cpu")).adapter == str(folder)


def test_ms_swifts_pattern_on_the_key_names_of_older_transformers_is_served(parts, tiny_base, tiny_adapter, tmp_path):
    config, weights = parts
    old = {key.replace("model.language_model.layers", "model.layers"): value for key, value in weights.items()}
    pattern = {"target_modules": "^(model)(?!.*(lm_head|output|emb|wte|shared)).*"}
    folder = write(tmp_path / "adapter", config | pattern, old)
    engine = load_local(Settings(base=str(tiny_base), adapter=str(tiny_adapter), device="cpu"))
    before = texts(engine)
    engine.use_adapter(str(folder))
    assert texts(engine) == before


@pytest.mark.parametrize("option", ["target_modules", "exclude_modules", "rank_pattern", "alpha_pattern"])
def test_a_regular_expression_without_an_end_takes_no_time(option: str, parts, tiny_base: Path, tmp_path: Path) -> None:
    config, weights = parts
    endless = r"(.*\w+)*(.*\w+)*(.*\w+)*!"
    value = {endless: 4} if option.endswith("pattern") else endless
    folder = write(tmp_path / "adapter", config | {option: value}, weights)
    base = AutoModelForImageTextToText.from_pretrained(tiny_base)
    began = time.monotonic()
    if option == "alpha_pattern":
        with pytest.raises(EngineError, match="a regular expression that is not executed"):
            load_adapter(base, folder)
    else:
        load_adapter(base, folder)
    assert time.monotonic() - began < 20
