"""Adapters refused before their weights are fetched, several resident in the engine, and their choice in the page."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from children import child
from hub import Hub, client_environment, serve_hub
from page_fixtures import Tab, Windows, page_of
from PIL import Image
from playwright.sync_api import expect
from tiny import build_tiny_adapter

from chartqa_demo.adapters.check import MAX_BYTES, why_not
from chartqa_demo.adapters.contract import Contract
from chartqa_demo.arms import ARMS
from chartqa_demo.engines import Options
from chartqa_demo.engines.local import ADAPTERS_RESIDENT, LocalEngine, load_local
from chartqa_demo.engines.scripted import ScriptedEngine
from chartqa_demo.errors import EngineError
from chartqa_demo.settings import HUB_BASE, Settings

pytest_plugins = ("page_fixtures",)

FINE: dict[str, Any] = {
    "peft_type": "LORA",
    "task_type": "CAUSAL_LM",
    "r": 8,
    "base_model_name_or_path": HUB_BASE,
    "target_modules": ["q_proj", "v_proj"],
}


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"task_type": None},
        {"base_model_name_or_path": "unsloth/Qwen2-VL-7B-Instruct-bnb-4bit"},
        {"base_model_name_or_path": "/home/ann/qwen"},
        {"target_modules": r".*language_model.*(q_proj|v_proj)"},
        {"target_modules": r"^(?!.*visual).*(q_proj|fc1)$"},
        {"target_modules": "all-linear", "exclude_modules": r".*visual.*"},
        {"target_modules": "all-linear"},  # which layers are changed is read off the keys of the weights
        {"target_modules": ["q_proj", "qkv"]},
        {"target_modules": r".*(q_proj|fc1)"},
    ],
    ids=str,
)
def test_an_adapter_of_the_language_model_may_be_fetched(change: dict[str, Any]) -> None:
    assert why_not(FINE | change, HUB_BASE) is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"peft_type": "IA3"}, "is of type IA3; only LORA"),
        ({"task_type": "SEQ_CLS"}, "was trained for the task SEQ_CLS"),
        ({"r": 1024}, "has the rank 1024; it has to be from 1 to 256"),
        ({"r": "8"}, "has the rank '8'"),
        ({"base_model_name_or_path": "Qwen/Qwen2-VL-2B-Instruct"}, f"Qwen2-VL-2B-Instruct, but the base is {HUB_BASE}"),
    ],
    ids=str,
)
def test_an_adapter_that_cannot_serve_is_refused_with_the_reason(change: dict[str, Any], reason: str) -> None:
    assert reason in str(why_not(FINE | change, HUB_BASE))


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serve_hub() as hub:
        yield hub


CHECK = """
import sys
from chartqa_demo.adapters.check import fetch_adapter
from chartqa_demo.errors import HubError
try:
    fetch_adapter(sys.argv[1], None, "bundled")
except HubError as error:
    sys.exit(f"error: {error}")
"""


def spoil_init(files: dict[str, bytes]) -> None:
    files["adapter_config.json"] = json.dumps(FINE | {"init_lora_weights": "pissa"}).encode()


def spoil_size(files: dict[str, bytes]) -> None:
    files["adapter_config.json"] = b" " * 1_000_001


def spoil_contract(files: dict[str, bytes]) -> None:
    files["chartqa_contract.json"] = b'{"base": "bundled", "system": null}'


def spoil_pickle(files: dict[str, bytes]) -> None:
    files["adapter_model.bin"] = files.pop("adapter_model.safetensors")


def spoil_config(files: dict[str, bytes]) -> None:
    files["adapter_config.json"] = b"not json"


def spoil_missing(files: dict[str, bytes]) -> None:
    del files["adapter_config.json"]


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (spoil_init, "was begun with pissa"),
        (spoil_size, "has adapter_config.json with 1,000,001 bytes"),
        (spoil_contract, "system has to be a text of at most 20,000 characters"),
        (spoil_pickle, "has pickled weights only"),
        (spoil_config, "cannot be read"),
        (spoil_missing, "is not an adapter that can be loaded"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_weights_of_a_refused_adapter_are_never_fetched(
    spoil, sentence: str, hub: Hub, tiny_adapter: Path, tmp_path: Path
) -> None:
    hub.put("ann/lora", tiny_adapter)
    spoil(hub.models["ann/lora"].files)
    done = child(CHECK, "ann/lora", **client_environment(hub.url, tmp_path / "hf"))
    assert sentence in done.stderr.splitlines()[-1]
    assert not any("adapter_model" in asked for asked in hub.requests)


def test_an_adapter_over_the_cap_is_refused_by_what_the_hub_says_of_its_size(
    hub: Hub, tiny_adapter: Path, tmp_path: Path
) -> None:
    hub.put("ann/lora", tiny_adapter)
    hub.models["ann/lora"].claimed["adapter_model.safetensors"] = MAX_BYTES + 10**9
    done = child(CHECK, "ann/lora", **client_environment(hub.url, tmp_path / "hf"))
    assert "has 4.0 GB; at most 3 GB are loaded" in done.stderr.splitlines()[-1]
    assert not any("adapter_model" in asked for asked in hub.requests)


def test_the_hub_is_asked_once_what_an_adapter_is_and_small_files_come_first(
    hub: Hub, tiny_adapter: Path, tmp_path: Path
) -> None:
    hub.put("ann/lora", tiny_adapter)
    done = child(CHECK, "ann/lora", **client_environment(hub.url, tmp_path / "hf"))
    assert done.returncode == 0, done.stderr
    assert hub.requests.count("GET /api/models/ann/lora") == 1, hub.requests
    fetched = [asked.split("/")[-1] for asked in hub.requests if asked.startswith("GET") and "/resolve/" in asked]
    assert fetched == ["adapter_config.json", "adapter_model.safetensors"]


@pytest.fixture
def engine_with(tiny_base: Path, tiny_adapter: Path) -> LocalEngine:
    return load_local(Settings(base=str(tiny_base), adapter=str(tiny_adapter), device="cpu"))


def adapted(engine: LocalEngine) -> str:
    image = Image.new("RGB", (168, 112), "white")
    return list(engine.answer(image, "How many bars?", ARMS, Options(max_new_tokens=8)))[-1][2].text


def test_adapters_stay_resident_up_to_a_bound_and_going_back_loads_nothing(
    engine_with: LocalEngine, tiny_base: Path, tiny_adapter: Path, tmp_path: Path
) -> None:
    engine = engine_with
    first = adapted(engine)
    others = [
        build_tiny_adapter(tiny_base, tmp_path / f"a{seed}", seed=seed) for seed in range(2, 2 + ADAPTERS_RESIDENT)
    ]
    texts = []
    for folder in others[:-1]:
        engine.use_adapter(str(folder))
        texts.append(adapted(engine))
    assert len({first, *texts}) == ADAPTERS_RESIDENT
    loaded = engine._loaded
    engine.use_adapter(str(tiny_adapter))
    assert adapted(engine) == first
    assert engine._loaded == loaded
    engine.use_adapter(str(others[-1]))
    assert len(engine.model.peft_config) == ADAPTERS_RESIDENT
    engine.use_adapter(str(others[0]))
    assert adapted(engine) == texts[0], "the one that had to go is loaded again"


def test_an_adapter_that_was_trained_on_is_loaded_again(
    engine_with: LocalEngine, tiny_base: Path, tiny_adapter: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_adapter, tmp_path / "run")
    engine_with.use_adapter(str(folder))
    before = adapted(engine_with)
    build_tiny_adapter(tiny_base, folder, seed=9)
    engine_with.use_adapter(str(folder))
    assert adapted(engine_with) != before


def test_the_pixel_limits_of_one_adapter_are_not_those_of_the_next(
    engine_with: LocalEngine, tiny_adapter: Path, tmp_path: Path
) -> None:
    images = engine_with.processor.image_processor
    before = dict(images.size)
    small = shutil.copytree(tiny_adapter, tmp_path / "small")
    Contract(base=str(tmp_path), system="Read the chart.", max_pixels=784 * 4).save(small)
    engine_with.use_adapter(str(small))
    assert images.size["longest_edge"] == 784 * 4
    engine_with.use_adapter(str(tiny_adapter))
    assert dict(images.size) == before


def test_float32_weights_serve_on_a_base_in_bfloat16(tiny_base: Path, tiny_adapter: Path) -> None:
    settings = Settings(base=str(tiny_base), adapter=str(tiny_adapter), device="cpu", dtype="bfloat16")
    assert load_local(settings).adapter == str(tiny_adapter)


class TakesAdapters(ScriptedEngine):
    """Scripted answers whose adapter can be exchanged for any but `bad/one`."""

    def use_adapter(self, name: str) -> None:
        if name == "bad/one":
            raise EngineError("The adapter bad/one has pickled weights only.")
        self.adapter, self.notes = name, (f"The adapter {name} does not say how it was trained.",)


@pytest.fixture(scope="module")
def choosing(windows: Windows) -> Iterator[Tab]:
    """One page for tests of which each loads an adapter, or tries to, after which nothing waits."""
    with page_of(windows, TakesAdapters(), Settings(visitor_adapters="hub")) as tab:
        tab.unfold("Another adapter for the third arm")
        yield tab


@pytest.fixture
def plain(windows: Windows) -> Iterator[Tab]:
    with page_of(windows, TakesAdapters(), Settings(visitor_adapters="off")) as tab:
        yield tab


def load(tab: Tab, name: str) -> None:
    tab.type_over(tab.page.get_by_role("combobox", name="Adapter"), name)
    tab.page.keyboard.press("Enter")
    tab.press("Load this adapter")


def test_visitors_may_not_choose_unless_the_operator_lets_them(plain: Tab) -> None:
    expect(plain.page.get_by_text("Another adapter for the third arm")).to_have_count(0)


def test_a_loaded_adapter_answers_and_the_banner_says_so(choosing: Tab) -> None:
    load(choosing, "ann/charts")
    expect(choosing.page.locator("#adapter-outcome")).to_contain_text("The third arm now answers with ann/charts.")
    expect(choosing.page.locator("#banner")).to_contain_text("The adapter ann/charts does not say how it was trained.")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("bad/one", "pickled weights only"), ("/etc", "no id of the Hub"), ("  ", "Type the id of an adapter first")],
)
def test_an_adapter_that_cannot_be_used_is_one_sentence_and_the_one_in_use_stays(
    choosing: Tab, name: str, sentence: str
) -> None:
    load(choosing, name)
    expect(choosing.page.locator("#adapter-outcome [role=alert]")).to_contain_text(sentence)
