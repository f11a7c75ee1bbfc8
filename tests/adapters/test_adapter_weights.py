"""Files of an adapter that cannot be served are a sentence; the base and the other arms stay as they are."""

import json
import random
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from adapter_fixtures import LAYER, REFUSE_ALL, texts, write
from children import child
from hub import client_environment, serve_hub
from peft import PeftModel
from safetensors.torch import load_file
from tiny import build_tiny_adapter
from transformers import AutoModelForImageTextToText

from chartqa_demo.adapters.check import why_not
from chartqa_demo.adapters.load import fingerprint, load_adapter
from chartqa_demo.adapters.lora import LoraError, layers_of
from chartqa_demo.engines.local import load_local
from chartqa_demo.errors import EngineError
from chartqa_demo.settings import Settings

pytest_plugins = ("adapter_fixtures",)

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
    patterns = {"." * (199 - len(str(n))) + str(n): 5 for n in range(1024)}
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
