"""No code of strangers is run, no weights are unpickled, licences are named, and tokens come out nowhere."""

import ast
from types import SimpleNamespace

import gradio as gr
import pytest
from page_fixtures import example_split
from starlette.testclient import TestClient

from bench.reliability.supply import PAGES, TOKENS, kernels_of_the_hub, sources, unlicensed, unsafe_calls
from chartqa_demo.engines.endpoint.replies import said
from chartqa_demo.engines.scripted import ScriptedEngine
from chartqa_demo.settings import Settings
from chartqa_demo.space.operations import routes
from chartqa_demo.ui import build_app

UNSAFE = (
    "import pickle",
    "from joblib import load",
    "AutoConfig.from_pretrained(name, trust_remote_code=True)",
    "AutoModelForImageTextToText.from_pretrained(name)",
    "torch.load(file)",
    "np.load(file, allow_pickle=True)",
    "subprocess.run(command, shell=True)",
    "eval(text)",
)


def test_no_code_of_a_stranger_is_run_and_no_weights_are_unpickled() -> None:
    assert [len(unsafe_calls(ast.parse(line))) for line in UNSAFE] == [1] * len(UNSAFE)
    assert {str(path): found for path, tree in sources() if (found := unsafe_calls(tree))} == {}


def test_every_bundled_file_has_a_licence() -> None:
    assert unlicensed() == []


def test_a_kernel_of_the_hub_is_fetched_only_where_it_is_asked_for() -> None:
    assert kernels_of_the_hub({}) == "left alone"
    assert kernels_of_the_hub({"USE_HUB_KERNELS": "yes"}) == "fetched"


def test_no_token_of_the_environment_is_in_a_page_or_in_what_a_server_says(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, token in TOKENS.items():
        monkeypatch.setenv(name, token)
        refusal = SimpleNamespace(body={"message": f"The key {token} is not known."})
        assert said(refusal) == ": The key … is not known."
    page = build_app(ScriptedEngine(delay=0), Settings(), example_split())
    caller = TestClient(gr.routes.App.create_app(page, app_kwargs={"routes": routes(page)}))
    whole = [address for address in PAGES if address not in ("/", "/theme.css")]  # those only a started page has
    told = "".join(caller.get(address).text for address in whole)
    assert len(told) > 100_000
    assert [name for name, token in TOKENS.items() if token in told] == []
