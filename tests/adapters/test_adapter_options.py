"""The table of adapter options: refused by its name before a weight is fetched, or served equal to PEFT's generate."""

import dataclasses
import json
import random
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hub import client_environment, serve_hub
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from test_publish import child
from tiny import build_tiny_adapter, chart, last
from transformers import AutoModelForImageTextToText

from chartqa_demo.adapters.check import why_not
from chartqa_demo.adapters.load import fingerprint, load_adapter
from chartqa_demo.adapters.lora import INITIALISATIONS, REFUSED, SERVED, TAKES_FROM_BASE, LoraError, layers_of
from chartqa_demo.arms import ARMS
from chartqa_demo.engines import Options
from chartqa_demo.engines.local import LocalEngine, load_local
from chartqa_demo.errors import EngineError
from chartqa_demo.settings import Settings

SHORT = Options(max_new_tokens=8)
EVERY = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
LAYER = "model.language_model.layers.0.self_attn.q_proj"

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


def texts(engine: LocalEngine) -> list[str]:
    return [answer.text for answer in last(engine.answer(chart(), "How many bars?", ARMS, SHORT))]


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


VISION_KEY = "base_model.model.model.visual.blocks.0.attn.qkv.lora_A.weight"
ONE_KEY = f"base_model.model.{LAYER}"


def doubled(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    old = {key.replace("model.language_model.layers", "model.layers"): value for key, value in weights.items()}
    return weights | {key: value.clone() for key, value in old.items()}


SPOILT: dict[str, tuple[Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]], str]] = {
    "no weights": (lambda _: {}, "holds no weights at all"),
    "empty weights": (lambda w: {key: value[:0] for key, value in w.items()}, "as DeepSpeed's stage 3 leaves them"),
    "whole numbers": (lambda w: {key: value.to(torch.int8) for key, value in w.items()}, "as I8"),
    "eight bits": (lambda w: {key: value.to(torch.float8_e4m3fn) for key, value in w.items()}, "as F8_E4M3"),
    "not a number": (lambda w: {key: value * torch.nan for key, value in w.items()}, "not finite in float32"),
    "too large": (lambda w: {key: value.double() * 1e300 for key, value in w.items()}, "not finite in float32"),
    "three dimensions": (lambda w: {key: value[None] for key, value in w.items()}, "size mismatch"),
    "a number": (lambda w: {key: value.sum() for key, value in w.items()}, "size mismatch"),
    "turned": (lambda w: {key: value.t().contiguous() for key, value in w.items()}, "size mismatch"),
    "A alone": (lambda w: {key: value for key, value in w.items() if "lora_A" in key}, "has no lora_B"),
    "half of the layers": (lambda w: {key: value for key, value in w.items() if ".0." in key}, "nor for 1 more"),
    "twice, by old and new names": (doubled, "holds two weights for one place"),
    "a layer that is not there": (
        lambda w: w | {"base_model.model.model.language_model.layers.9.mlp.up_proj.lora_A.weight": torch.ones(4, 64)},
        "has no counterpart",
    ),
    "DoRA's magnitudes": (lambda w: w | {f"{ONE_KEY}.lora_magnitude_vector": torch.ones(64)}, "uses DoRA"),
    "biases beside B": (lambda w: w | {f"{ONE_KEY}.lora_B.bias": torch.ones(64)}, "(lora_bias)"),
    "the base's bias": (lambda w: w | {f"{ONE_KEY}.bias": torch.ones(64)}, "a weight of its own"),
    "embeddings": (
        lambda w: w | {"base_model.model.model.embed_tokens.weight": torch.ones(9, 64)},
        "as for new tokens",
    ),
    "LoRA on embeddings": (
        lambda w: w | {"base_model.model.model.embed_tokens.lora_embedding_A": torch.ones(4, 9)},
        "uses LoRA on the embeddings",
    ),
    "LoRA on the head": (
        lambda w: w | {"base_model.model.lm_head.lora_A.weight": torch.ones(4, 64)},
        "changes lm_head, which all arms share",
    ),
    "a whole head": (
        lambda w: w | {"base_model.model.lm_head.modules_to_save.weight": torch.ones(4, 64)},
        "(modules_to_save)",
    ),
    "trained tokens": (
        lambda w: w | {"base_model.model.embed_tokens.trainable_tokens_delta": torch.ones(4, 64)},
        "uses trained tokens",
    ),
    "the vision tower": (lambda w: w | {VISION_KEY: torch.ones(4, 64)}, "in the vision tower, say"),
    "the inside of PEFT": (
        lambda w: w | {f"{ONE_KEY}.base_layer.lora_A.weight": torch.ones(4, 64)},
        "has no counterpart",
    ),
    "a norm": (lambda w: w | {f"{ONE_KEY[:-17]}.input_layernorm.lora_A.weight": torch.ones(4, 64)}, "linear layers"),
    "keys of another tool": (lambda w: {key.replace("lora_A", "lora_down"): v for key, v in w.items()}, "another kind"),
    "a key of other letters": (lambda w: w | {"ключ\u202e<b>.lora_A.weight": torch.ones(4, 64)}, "has no counterpart"),
}


@pytest.mark.parametrize("fault", SPOILT)
def test_weights_that_cannot_be_served_are_a_sentence_and_every_arm_answers_as_before(
    fault: str, parts, tiny_base: Path, tiny_adapter: Path, tmp_path: Path
) -> None:
    config, weights = parts
    spoil, sentence = SPOILT[fault]
    folder = write(tmp_path / "adapter", config, spoil(weights))
    engine = load_local(Settings(base=str(tiny_base), adapter=str(tiny_adapter), device="cpu"))
    before, base = texts(engine), fingerprint(engine.base)
    with pytest.raises(EngineError) as refused:
        engine.use_adapter(str(folder))
    assert sentence in str(refused.value) and "\n" not in str(refused.value)
    assert texts(engine) == before and fingerprint(engine.base) == base


PEEKED = ("empty weights", "DoRA's magnitudes", "embeddings", "the vision tower", "A alone", "whole numbers")


def test_weights_are_refused_by_their_header_and_never_fetched(parts, tmp_path: Path) -> None:
    config, weights = parts
    with serve_hub() as hub:
        for number, fault in enumerate(PEEKED):
            hub.put(f"ann/lora{number}", write(tmp_path / str(number), config, SPOILT[fault][0](weights)))
        done = child(REFUSE_ALL, *hub.models, **client_environment(hub.url, tmp_path / "hf"))
        assert done.returncode == 0, done.stderr
        for told, fault in zip(done.stdout.splitlines(), PEEKED, strict=True):
            assert SPOILT[fault][1] in told
        assert sum(asked.startswith("PEEK ") for asked in hub.requests) == len(PEEKED)
        assert not any(asked.startswith("GET ") and "adapter_model" in asked for asked in hub.requests)


@pytest.mark.parametrize("broken", [b"", b"\x00" * 8, b"version https://git-lfs.github.com/spec/v1\n", b"\xff" * 64])
def test_a_file_that_is_no_safetensors_is_a_sentence(broken: bytes, tiny_base, tiny_adapter, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_adapter, tmp_path / "adapter")
    (folder / "adapter_model.safetensors").write_bytes(broken)
    engine = load_local(Settings(base=str(tiny_base), adapter="none", device="cpu"))
    with pytest.raises(EngineError, match=r"adapter_model.safetensors of the adapter .* cannot be read"):
        engine.use_adapter(str(folder))


@pytest.mark.parametrize(
    "text", ["", "[]", "[1]", "null", "[" * 100_000, '{"r": ' + "9" * 5000 + "}", "{}", "\ufeff{}"]
)
def test_a_config_that_is_none_is_a_sentence(text: str, tiny_base, tiny_adapter, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_adapter, tmp_path / "adapter")
    (folder / "adapter_config.json").write_text(text, encoding="utf-8")
    engine = load_local(Settings(base=str(tiny_base), adapter="none", device="cpu"))
    with pytest.raises(EngineError, match=r"adapter_config.json that cannot be read|is of type None"):
        engine.use_adapter(str(folder))


# -- The base stays as it is -----------------------------------------------------------------------------------------


def test_a_base_that_changed_while_an_adapter_was_loaded_is_found_out(
    tiny_base: Path, tiny_adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = AutoModelForImageTextToText.from_pretrained(tiny_base)
    made = PeftModel.__init__

    def rewriting(self: Any, model: Any, *args: Any, **kwargs: Any) -> None:
        with torch.no_grad():
            model.model.language_model.layers[1].mlp.up_proj.weight.mul_(1.001)
        made(self, model, *args, **kwargs)

    monkeypatch.setattr(PeftModel, "__init__", rewriting)
    with pytest.raises(EngineError, match=r"changed the base model's own weights.*restart the app"):
        load_adapter(base, tiny_adapter)


def test_as_many_patterns_as_are_taken_take_no_time() -> None:
    places = [f"base_model.model.model.language_model.layers.{n}.self_attn.q_proj" for n in range(196)]
    tensors = {f"{place}.lora_A.weight": ("F32", (4, 8)) for place in places}
    tensors |= {f"{place}.lora_B.weight": ("F32", (6, 4)) for place in places}
    patterns = {".*" + "." * (197 - len(str(n))) + str(n): 5 for n in range(1024)}
    config: dict[str, Any] = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "alpha_pattern": patterns}
    began = time.monotonic()
    assert why_not(config, "bundled") is None
    assert {layer.alpha for layer in layers_of(config, tensors, None).values()} == {8}
    assert time.monotonic() - began < 20
    assert "has a wrong alpha_pattern" in str(
        why_not(config | {"alpha_pattern": patterns | {"one_more": 5}}, "bundled")
    )


def test_a_layer_in_old_and_new_names_gets_its_own_alpha() -> None:
    key = "base_model.model.model.layers.3.mlp.up_proj"
    tensors = {f"{key}.lora_A.weight": ("F32", (4, 8)), f"{key}.lora_B.weight": ("BF16", (6, 4))}
    config = {"r": 4, "lora_alpha": 8, "alpha_pattern": {"^model.layers.3.mlp.up_proj": 5}}
    (layer,) = layers_of(config, tensors, None).items()
    assert layer[0] == "model.language_model.layers.3.mlp.up_proj" and layer[1].alpha == 5
    with pytest.raises(LoraError, match=r"should be \(6, 2\)|should be \(2"):
        layers_of(config | {"r": 2}, tensors, None)


JUNK: list[Any] = [
    None,
    True,
    0,
    -1,
    2**40,
    1e308,
    float("nan"),
    "",
    "q_proj",
    "(a+)+$",
    "\u202e<b>",
    "\ud800",
    "a" * 3000,
]
JUNK += [[], [[]], ["q_proj"], {}, {"": {}}, {"(": 1}, {"q_proj": 4}, {"q_proj": -5}, {"q_proj": True}, [None] * 50]


def test_whatever_a_config_holds_is_served_or_one_sentence(parts) -> None:
    config, weights = parts
    tensors = {key: ("F32", tuple(value.shape)) for key, value in weights.items()}
    chance = random.Random(7)
    told: list[str] = []
    for _ in range(3000):
        changed = config | {
            chance.choice([*config, "new"]): chance.choice(JUNK) for _ in range(chance.choice([1, 1, 2]))
        }
        reason = why_not(changed, "bundled")
        try:
            layers = layers_of(changed, tensors, None) if reason is None else {}
            assert reason is not None or {layer.rank for layer in layers.values()} == {4}
        except LoraError as error:
            reason = str(error)
        told += [reason] if reason is not None else []
    assert 500 < len(told) < 2500
    assert all("\n" not in one and len(one) < 600 and one.endswith(".") for one in told)


def test_the_other_arms_answer_alike_while_adapters_come_and_go(tiny_base, tiny_adapter, tmp_path: Path) -> None:
    engine = load_local(Settings(base=str(tiny_base), adapter=str(tiny_adapter), device="cpu"))
    alone, found = texts(engine)[:2], []
    folders = [build_tiny_adapter(tiny_base, tmp_path / str(seed), seed=seed) for seed in (2, 3)]
    config = json.loads((tiny_adapter / "adapter_config.json").read_text(encoding="utf-8"))
    bad = write(
        tmp_path / "bad", config | {"init_lora_weights": "olora"}, load_file(folders[0] / "adapter_model.safetensors")
    )
    done = threading.Event()

    def visit() -> None:
        while not done.is_set():
            found.append(texts(engine)[:2])

    visitor = threading.Thread(target=visit)
    visitor.start()
    for folder in folders * 3:
        engine.use_adapter(str(folder))
        with pytest.raises(EngineError, match="was begun with olora"):
            engine.use_adapter(str(bad))
    done.set()
    visitor.join()
    assert found and all(answers == alone for answers in found)


def test_the_revision_is_that_of_the_operators_own_adapter_alone(
    tiny_base: Path, tiny_adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(base=str(tiny_base), adapter=str(tiny_adapter), adapter_revision="v1", device="cpu")
    engine = load_local(settings)
    asked: list[str | None] = []

    def fetch(name: str, revision: str | None, *_: Any) -> Any:
        asked.append(revision)
        return Path(name), None

    monkeypatch.setattr("chartqa_demo.engines.local.fetch_adapter", fetch)
    other = build_tiny_adapter(tiny_base, tmp_path / "other", seed=5)
    engine.use_adapter(str(other))
    engine.use_adapter(str(tiny_adapter))
    assert asked == [None, "v1"]
