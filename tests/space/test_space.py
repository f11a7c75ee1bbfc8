"""The front matter and requirements that a Space reads, against the rules that the Hub documents for them.

Rules: huggingface.co/docs/hub, pages spaces-config-reference, spaces-zerogpu and spaces-dependencies (2026-09).
"""

import ast
import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from gradio_client import Client, handle_file
from gradio_client.utils import QueueError
from packaging.requirements import Requirement
from page_fixtures import Gate, Tab, Windows, example_split
from playwright.sync_api import expect

from chartqa_demo.engines.scripted import ScriptedEngine
from chartqa_demo.settings import HUB_ADAPTER, HUB_BASE, Settings
from chartqa_demo.space.gradio_internals import questions_waiting
from chartqa_demo.space.limits import app_options
from chartqa_demo.ui import build_app, launch_options

pytest_plugins = ("page_fixtures",)

ROOT = Path(__file__).parents[2]
KEY = re.compile(
    "title|emoji|colorFrom|colorTo|sdk|sdk_version|python_version|app_file|app_port|base_path|fullWidth|header|"
    "short_description|models|datasets|tags|thumbnail|pinned|hf_oauth|hf_oauth_scopes|hf_oauth_expiration_minutes|"
    "hf_oauth_authorized_org|disable_embedding|startup_duration_timeout|custom_headers|preload_from_hub|"
    "suggested_hardware|suggested_storage|app_build_command|license"
)
COLOURS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
PYTHONS = {"3.10", "3.12"}
TORCHES = ("2.8.0", "2.9.1", "2.10.0", "2.11.0", "2.12.1", "2.13.0")
NOT_OURS = {"huggingface-hub", "flash-attn"}  # the platform brings the first; nothing builds the second
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


@pytest.fixture(scope="module")
def front() -> dict[str, Any]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text.startswith("---\n")
    return yaml.safe_load(text.split("---\n")[1])


@pytest.fixture(scope="module")
def requirements() -> list[Requirement]:
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line.strip() and not line.startswith("#")]


def one(requirements: list[Requirement], name: str) -> Requirement:
    (found,) = [requirement for requirement in requirements if requirement.name == name]
    return found


def test_the_front_matter_has_keys_that_the_hub_knows(front: dict[str, Any]) -> None:
    assert [key for key in front if not KEY.fullmatch(key)] == []
    assert {"title", "emoji", "sdk", "sdk_version", "python_version", "app_file", "license"} <= front.keys()


def test_the_front_matter_has_values_that_the_hub_takes(front: dict[str, Any]) -> None:
    assert front["sdk"] == "gradio"
    assert {front["colorFrom"], front["colorTo"]} <= COLOURS
    assert len(front["short_description"]) <= 60
    assert len(front["emoji"]) <= 2 and not front["emoji"].isascii()
    assert (ROOT / front["app_file"]).is_file()
    assert re.fullmatch(r"\d+[mh]", front["startup_duration_timeout"])
    assert front["license"] == "apache-2.0"


def test_the_version_of_python_is_a_text_that_zerogpu_has(front: dict[str, Any]) -> None:
    assert front["python_version"] in PYTHONS, "without quotes, 3.10 would be read as 3.1"


def test_the_linked_and_preloaded_repositories_are_those_that_auto_serves(front: dict[str, Any]) -> None:
    assert front["models"] == front["preload_from_hub"] == [HUB_BASE, HUB_ADAPTER]
    assert all(HUB_ID.fullmatch(name) for name in [*front["models"], *front["datasets"]])


def test_gradio_is_the_same_for_a_space_and_a_local_start(
    front: dict[str, Any], requirements: list[Requirement]
) -> None:
    assert front["sdk_version"] in one(requirements, "gradio").specifier


@pytest.mark.parametrize("name", ["gradio", "spaces", "torch", "torchvision"])
def test_what_the_platform_brings_is_not_pinned(name: str, requirements: list[Requirement]) -> None:
    assert not any(part.operator in ("==", "===", "~=") for part in one(requirements, name).specifier)


def test_every_torch_that_zerogpu_has_is_accepted(requirements: list[Requirement]) -> None:
    assert all(version in one(requirements, "torch").specifier for version in TORCHES)


def test_both_pythons_of_zerogpu_have_exactly_one_transformers(requirements: list[Requirement]) -> None:
    ours = [requirement for requirement in requirements if requirement.name == "transformers"]
    for python in PYTHONS:
        (found,) = [one for one in ours if one.marker is None or one.marker.evaluate({"python_version": python})]
        assert str(found.specifier).startswith("==")


def test_nothing_is_required_that_the_platform_forbids(requirements: list[Requirement]) -> None:
    assert not {requirement.name.lower().replace("_", "-") for requirement in requirements} & NOT_OURS
    assert all(requirement.url is None for requirement in requirements)


def test_whatever_the_app_imports_is_required(requirements: list[Requirement]) -> None:
    imported = set()
    for path in [ROOT / "app.py", *(ROOT / "chartqa_demo").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {name.name.split(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                imported.add(node.module.split(".")[0])
    distributions = packages_distributions()
    needed = {
        distributions[name][0].lower().replace("_", "-")
        # Triton comes with torch for CUDA; where it is not, torch's own operations answer.
        for name in imported - set(sys.stdlib_module_names) - {"chartqa_demo", "triton"}
    }
    # Gradio and transformers cannot be without these.
    needed -= {"gradio-client", "starlette", "huggingface-hub", "safetensors", "tokenizers", "httpx", "pyyaml", "tqdm"}
    assert needed <= {requirement.name.lower().replace("_", "-") for requirement in requirements}


def test_spaces_is_imported_before_anything_that_could_use_torch() -> None:
    body = ast.parse((ROOT / "app.py").read_text(encoding="utf-8")).body
    first = next(node for node in body if isinstance(node, ast.Import | ast.ImportFrom))
    assert isinstance(first, ast.Import) and [name.name for name in first.names] == ["spaces"]


def test_the_queue_has_a_length_because_zerogpus_default_is_one() -> None:
    assert "queue(max_size=settings.queue_size)" in (ROOT / "chartqa_demo" / "__main__.py").read_text(encoding="utf-8")


def test_a_full_queue_is_a_sentence_and_the_page_stays_as_it_is(windows: Windows, chart_file: Path) -> None:
    engine, gate = ScriptedEngine(), Gate()
    engine.pace = gate
    settings = Settings(queue_size=1)
    app = build_app(engine, settings, example_split())
    limits = app_options(app, settings, engine.parallel)
    _, url, _ = app.queue(max_size=1).launch(
        prevent_thread_lock=True, quiet=True, app_kwargs=limits, **launch_options()
    )
    try:
        clients = [Client(url, verbose=False, analytics_enabled=False) for _ in range(3)]
        asked = [client.submit(handle_file(chart_file), "How many?", api_name="/ask") for client in clients[:1]]
        gate.let()
        next(asked[0])
        page = windows()
        tab = Tab(page, url)
        page.goto(url)
        expect(tab.card("Adapter")).to_be_visible()
        asked.append(clients[1].submit(handle_file(chart_file), "And now?", api_name="/ask"))
        tab.pick_example()
        question = page.get_by_label("Question", exact=True).input_value()
        while not questions_waiting(app):
            asked[1].status()
        refused = httpx.post(f"{url}gradio_api/call/ask", json={"data": []})
        assert refused.status_code == 503 and int(refused.headers["retry-after"]) > 0
        assert "seconds; waiting now: 1." in refused.json()["detail"]
        with pytest.raises(QueueError, match="Queue is full"):
            clients[2].submit(handle_file(chart_file), "Me too?", api_name="/ask").result(60)
        tab.press("Ask")
        expect(page.locator(".toast-body")).to_contain_text("currently busy. Please try again in about")
        expect(page.get_by_label("Question", exact=True)).to_have_value(question)
        expect(tab.card("Adapter")).to_contain_text("Ready")
        gate.open()
        assert all(job.result(60)[0]["done"] for job in asked)
        tab.press("Ask")
        tab.expect_ready()
        tab.errors[:] = [error for error in tab.errors if "429" not in error]  # the browser notes the refused one
        tab.leave()
    finally:
        app.close(verbose=False)
