"""What a visitor sends is read or refused in a sentence, and nothing that a visitor names is fetched."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from gradio import queueing, utils
from page_fixtures import example_split
from starlette.testclient import TestClient

from bench.reliability.hostile import PATHS, TEXTS, nested, values
from bench.reliability.requests import FORBIDDEN, outcome_of
from chartqa_demo.engines.scripted import ScriptedEngine
from chartqa_demo.errors import QuestionError
from chartqa_demo.settings import Settings
from chartqa_demo.space.gradio_internals import FAILED
from chartqa_demo.space.operations import failed
from chartqa_demo.ui import build_app
from chartqa_demo.ui.compare.question import MAX_QUESTION, chart_path, read_question


@pytest.fixture(scope="module")
def caller(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    results = tmp_path_factory.mktemp("results")
    page = build_app(ScriptedEngine(delay=0), Settings(results_dir=str(results)), example_split())
    app = gr.routes.App.create_app(page, app_kwargs={"exception_handlers": {Exception: failed}})
    yield TestClient(app, raise_server_exceptions=False)


@pytest.mark.parametrize("address", ["https://canary.invalid/x.png", "http://huggingface.co/x.png"])
def test_no_address_that_a_visitor_names_is_fetched_or_looked_up(
    caller: TestClient, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *named, **_: asked.append(named))
    assert caller.get(f"/gradio_api/file={address}").status_code == 403
    assert asked == []
    with pytest.raises(PermissionError, match="Nothing is fetched"):
        gr.processing_utils.ssrf_protected_download(address, "nowhere")
    assert asked == []


def test_a_request_that_nobody_thought_of_is_told_in_a_sentence(caller: TestClient) -> None:
    answer = caller.post("/gradio_api/call/v2/nothing", json={})
    assert (answer.status_code, answer.json()) == (500, {"detail": FAILED})
    for told in (utils.error_payload, queueing.error_payload):
        assert told(KeyError("/home/someone"), True)["error"] == FAILED
        assert told(gr.Error("The chart is gone."), True)["error"] == "The chart is gone."


@pytest.mark.parametrize("payload", [*({"path": path} for path in PATHS if path), *values(), *PATHS], ids=lambda _: "")
def test_a_picture_named_by_anything_is_none_or_refused_in_a_sentence(payload: object) -> None:
    try:
        assert chart_path(payload) is None
    except QuestionError as error:
        assert str(error).startswith("This chart is not among the uploads")


@pytest.mark.parametrize("name", ["text", "gold", "max_new_tokens", "temperature", "max_pixels", "system", "seed"])
def test_a_question_of_any_values_is_read_or_refused_in_one_short_sentence(name: str) -> None:
    for value in (*values(), *TEXTS.values(), nested(5000)):
        try:
            asked = read_question(Path("x"), **{"text": "How many?", name: value})  # type: ignore[arg-type]
        except QuestionError as error:
            assert len(str(error)) < 500 and str(error).endswith(".") and str(error).isprintable()
            continue
        assert len(asked.text) <= MAX_QUESTION
        f"{asked.text}{asked.gold}{asked.options.system}".encode()  # no half of a pair


def test_outcomes_are_told_apart() -> None:
    assert outcome_of(500, "Internal Server Error", False) == "an error without words"
    assert outcome_of(200, "event: error\ndata: null\n\n", True) == "an error without words"
    assert outcome_of(200, 'event: error\ndata: {"error": "Type a question."}\n\n', True) == "an error in a sentence"
    assert outcome_of(403, "File not allowed", False).startswith("refused")
    for leak in ('File "/srv/app.py", line 3', "'NoneType' object has no attribute 'get'", "root:x:0:0"):
        assert FORBIDDEN.search(leak)
    assert not FORBIDDEN.search("Type a question about the chart first.")
