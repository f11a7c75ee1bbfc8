"""What a visitor sends is read or refused in a sentence, and nothing that a visitor names is fetched."""

import errno
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from gradio import queueing, utils
from page_fixtures import bar_chart, example_split
from starlette.testclient import TestClient

from bench.reliability.hostile import PATHS, TEXTS, nested, values
from bench.reliability.requests import FORBIDDEN, outcome_of
from chartqa_demo.engines.scripted import ScriptedEngine
from chartqa_demo.errors import ChartError, QuestionError
from chartqa_demo.settings import Settings
from chartqa_demo.space.gradio_internals import FAILED
from chartqa_demo.space.limits import _readable, app_options
from chartqa_demo.space.operations import failed
from chartqa_demo.ui import build_app
from chartqa_demo.ui.compare.charts import picture_to_show
from chartqa_demo.ui.compare.question import LIMITS, chart_path, read_question, stream_answers


@pytest.fixture(scope="module")
def caller(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    results = tmp_path_factory.mktemp("results")
    page = build_app(ScriptedEngine(delay=0), Settings(results_dir=str(results)), example_split())
    app = gr.routes.App.create_app(page, app_kwargs={"exception_handlers": {Exception: failed}})
    yield TestClient(app, raise_server_exceptions=False)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """Behind what stands before every request."""
    settings = Settings(results_dir=str(tmp_path_factory.mktemp("results")))
    page: Any = build_app(ScriptedEngine(delay=0), settings, example_split()).queue()
    page.max_file_size = None  # which `launch` sets
    app = gr.routes.App.create_app(page, app_kwargs=app_options(page, settings, 1))
    yield TestClient(app, raise_server_exceptions=False)


@pytest.mark.parametrize("address", ["https://canary.invalid/x.png", "http://huggingface.co/x.png"])
def test_no_address_that_a_visitor_names_is_fetched_or_looked_up(
    caller: TestClient, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *named, **_: asked.append(named))
    assert caller.get(f"/gradio_api/file={address}").status_code == 403
    assert asked == []
    with pytest.raises(PermissionError, match="Nothing is fetched"):
        gr.processing_utils.ssrf_protected_download(address, str(tmp_path))
    assert asked == []


HALF = r'"\ud800"'
UNANSWERABLE = {
    "half of a pair": f"[{HALF}]".encode(),
    "half of a pair in a name": f"{{{HALF}: 1}}".encode(),
    "half of a pair in three bytes": b'["\xed\xa0\x80"]',
    "half of a pair in UTF-32": '["\ud800"]'.encode("utf-32-le", "surrogatepass"),
    "no number": b'{"session_hash": NaN}',
    "no end": b"1e999",
    "5,000 digits": b"[" + b"9" * 5000 + b"]",
    "no UTF-8": b'["\xff"]',
    "deep": b"[" * 99_999 + b"]" * 99_999,
    "deep in an event": b'{"event_id":' + b"[" * 900 + b"]" * 900 + b"}",
    "many": b"[" + b"1," * 200_001 + b"1]",
}


@pytest.mark.parametrize("way", ["cancel", "queue/join", "call/ask", "run/predict", "reset"])
@pytest.mark.parametrize("body", UNANSWERABLE.values(), ids=UNANSWERABLE)
def test_what_no_answer_can_hold_is_refused_and_no_failure(guarded: TestClient, way: str, body: bytes) -> None:
    for kind in ({"content-type": "application/json"}, {}):
        answer = guarded.post(f"/gradio_api/{way}", content=body, headers=kind)
        assert 400 <= answer.status_code < 500 and answer.json()["detail"]


@pytest.mark.parametrize("name", ["a" * 256, "%E4%B8%80" * 86, "ab/" * 2000, "%00", "a%0Ab", "%1b[31m"])
def test_a_path_that_no_file_can_have_is_not_there(guarded: TestClient, name: str) -> None:
    for way in ("static/", "assets/", "gradio_api/file=", "gradio_api/heartbeat/", "gradio_api/call/ask/"):
        assert guarded.get(f"/{way}{name}").status_code == 404, way


def test_names_that_callers_give_their_uploads_do_not_fill_the_memory(
    guarded: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chartqa_demo.space.gradio_internals.MOST_UPLOADING", 5)
    for number in range(9):
        sent = guarded.post(f"/gradio_api/upload?upload_id={number}", files={"files": ("a.png", b"x")})
        assert sent.status_code == 200
    progress: Any = gr.routes.file_upload_statuses
    assert list(progress._statuses) == list(progress._signals) == ["4", "5", "6", "7", "8"]
    assert '"done"' in guarded.get("/gradio_api/upload_progress?upload_id=8").text
    assert guarded.get(f"/gradio_api/upload_progress?upload_id={'a' * 2000}").status_code == 414


def test_a_link_may_have_the_longest_question(guarded: TestClient) -> None:
    assert guarded.get("/healthz", params={"example": "test/1", "q": "年" * 2000}).status_code == 200


@pytest.mark.parametrize("boundary", ["", "; boundary=" + "x" * 300, "; boundary=", '; boundary="', "; boundary=\xff"])
def test_an_upload_that_cannot_be_taken_apart_is_refused(guarded: TestClient, boundary: str) -> None:
    kind = f"multipart/form-data{boundary}".encode("latin-1")
    answer = guarded.post("/gradio_api/upload", content=b"abc", headers={b"content-type": kind})
    assert answer.status_code == 400 and answer.text


def test_a_disk_that_takes_no_upload_is_a_sentence(guarded: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("chartqa_demo.space.gradio_internals._parse", full)
    answer = guarded.post("/gradio_api/upload", files={"files": ("a.png", b"x")})
    assert answer.status_code == 507 and "cannot be kept here now (No space left on device)" in answer.text


def test_what_is_read_without_an_end_is_refused_as_it_comes(guarded: TestClient) -> None:
    answer = guarded.post("/gradio_api/cancel", content=iter([b" " * 2**20] * 13))
    assert (answer.status_code, answer.json()["detail"][:32]) == (413, "More was sent than the 12 MB tha")


def test_what_can_be_read_comes_as_it_was_sent() -> None:
    for sent in (b'{"a": 1.0, "b": "\\ud83d\\ude00 \\\\ud800"}', b"a=b&c=%FF", b"", b"{"):
        assert _readable(sent)[0] == sent
    assert _readable(f"[{HALF}, 2]".encode()) == ('["\ufffd", 2]'.encode(), ["\ufffd", 2])


ASK = "“ask” takes image, question, gold, max_new_tokens, temperature, max_pixels, system, seed; "


@pytest.mark.parametrize(
    ("way", "body", "status", "told"),
    [
        ("call/v2/ask", {"image": None, "question": "How many?", "arm": 1}, 422, f"{ASK}not “arm”."),
        ("call/v2/ask/", {"a" * 999: 1, "b": 1}, 422, f"{ASK}not “{'a' * 299}…” and “image” in any case and "),
        ("call/v2/ask", {"question": "How many?", "oauth_token": ""}, 422, f"{ASK}“image” in any case."),
        ("call/v2/answer", {}, 404, "There is no endpoint “answer”."),
        *((way, {"data": []}, 404, "This page has no such endpoint.") for way in ("call/none", "run/none")),
        ("run/predict", {"data": [], "fn_index": -1}, 404, "This page has no such endpoint."),
        ("queue/join", {"data": [], "fn_index": "999", "session_hash": "ann"}, 404, "This page has no such endpoint."),
        ("component_server/", {"component_id": 999, "fn_name": "a"}, 404, "This page has no such component."),
    ],
)
def test_what_is_called_by_a_name_that_is_not_there_is_told_so(
    guarded: TestClient, way: str, body: dict[str, Any], status: int, told: str
) -> None:
    answer = guarded.post(f"/gradio_api/{way}", json=body)
    assert (answer.status_code, answer.json()["detail"][: len(told)]) == (status, told)


@pytest.mark.parametrize("way", ["run/predict", "queue/join", "call/ask", "run/ask"])
@pytest.mark.parametrize("more", [{}, {"simple_format": True}], ids=["", "simple"])
def test_what_comes_with_too_few_values_is_refused_and_begins_nothing(
    guarded: TestClient, way: str, more: dict[str, Any]
) -> None:
    page: Any = vars(guarded.app)["blocks"]
    asking = next(one for one in page.fns.values() if one.api_name == "ask")
    other = next(one for one in page.fns.values() if not one.queue and len(one.inputs) > 1)
    called = {"fn_index": other._id, "session_hash": "ann"} if way in ("run/predict", "queue/join") else {}
    needed = len((other if called else asking).inputs)
    for sent in range(needed):
        answer = guarded.post(f"/gradio_api/{way}", json={"data": [None] * sent, **called, **more})
        if way == "call/ask" and sent == sum(not one.skip_api for one in asking.inputs):
            continue  # all that a caller can send
        told = f"This endpoint takes {needed} values; {sent} came."
        assert (answer.status_code, answer.json()["detail"]) == (422, told)


def test_a_request_that_nobody_thought_of_is_told_in_a_sentence(caller: TestClient) -> None:
    answer = caller.post("/gradio_api/call/v2/nothing", json={})  # past what stands before every request
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
        assert len(asked.text) <= LIMITS.max_question
        f"{asked.text}{asked.gold}{asked.options.system}".encode()  # no half of a pair


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ({"text": "How many bars?"}, "The question has 14 characters; at most 9 can be asked"),
        ({"system": "Answer in a word"}, "The system message has 16 characters; at most 8 can be asked"),
        ({"max_new_tokens": 8}, "The max new tokens is 8; it has to be a number from 1 to 7"),
    ],
)
def test_what_an_operator_allows_bounds_a_question(value: dict[str, Any], sentence: str) -> None:
    limits = Settings(max_question=9, max_prompt=8, max_new_tokens=6, most_new_tokens=7)
    with pytest.raises(QuestionError, match=sentence):
        read_question(Path("x"), **{"text": "How many?", **value}, limits=limits)
    assert read_question(Path("x"), "How many?", limits=limits).options.max_new_tokens == 6


def test_a_picture_of_more_pixels_than_an_operator_allows_is_refused_everywhere(tmp_path: Path) -> None:
    bar_chart().save(tmp_path / "chart.png")
    limits, asked = Settings(upload_pixels=100_000), read_question(tmp_path / "chart.png", "How many?")
    for use in (
        lambda: picture_to_show(asked.chart, limits),
        lambda: [*stream_answers(ScriptedEngine(0), asked, limits)],
    ):
        with pytest.raises(ChartError, match=r"at most 0\.1 million are read"):
            use()


def test_outcomes_are_told_apart() -> None:
    assert outcome_of(500, "Internal Server Error", False) == "an error without words"
    assert outcome_of(200, "event: error\ndata: null\n\n", True) == "an error without words"
    assert outcome_of(200, 'event: error\ndata: {"error": "Type a question."}\n\n', True) == "an error in a sentence"
    assert outcome_of(403, "File not allowed", False).startswith("refused")
    for leak in ('File "/srv/app.py", line 3', "'NoneType' object has no attribute 'get'", "root:x:0:0"):
        assert FORBIDDEN.search(leak)
    assert not FORBIDDEN.search("Type a question about the chart first.")
