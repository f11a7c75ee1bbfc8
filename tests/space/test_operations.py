"""The page in front of a server elsewhere: its health, its metrics, many visitors at once, and one who leaves."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
import httpx
import pytest
from endpoint_server import EndpointServer, endpoint_server, eventually, expected
from gradio.state_holder import StateHolder
from gradio_client import Client, handle_file
from gradio_client.client import Job
from page_fixtures import bar_chart, example_split
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from chartqa_demo.arms import ARMS
from chartqa_demo.engines import Answer, Answers
from chartqa_demo.engines.endpoint import EndpointEngine
from chartqa_demo.errors import EngineError, OutOfMemory
from chartqa_demo.settings import Settings
from chartqa_demo.space.limits import Limits
from chartqa_demo.space.operations import counted, routes
from chartqa_demo.ui import build_app, launch_options

AT_ONCE = 4


@dataclass
class Served:
    """The page at `url`, with an engine that asks `server`."""

    url: str
    engine: EndpointEngine
    server: EndpointServer

    def metric(self, name: str, **labels: str) -> float:
        """A sample of `/metrics`, 0 where there is none yet."""
        text = httpx.get(f"{self.url}metrics").text
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == name and sample.labels == labels:
                    return sample.value
        return 0.0

    def ask(self, path: Path, question: str) -> Job:
        return Client(self.url, verbose=False).submit(image=handle_file(path), question=question, api_name="/ask")


@pytest.fixture(scope="module")
def page() -> Iterator[tuple[EndpointEngine, str]]:
    engine = EndpointEngine(Settings(endpoint="http://127.0.0.1:1/v1", base_name="base", adapter_name="tuned"))
    engine.parallel = AT_ONCE
    app = build_app(engine, Settings(), example_split())
    _, url, _ = app.queue().launch(
        prevent_thread_lock=True, quiet=True, app_kwargs={"routes": routes(app)}, **launch_options()
    )
    yield engine, url
    app.close(verbose=False)


@pytest.fixture
def served(page: tuple[EndpointEngine, str]) -> Iterator[Served]:
    """The page with a fresh server behind it."""
    engine, url = page
    with endpoint_server() as server:
        engine._client.base_url = server.url
        engine._base_name, engine.adapter = "base", "tuned"
        yield Served(url, engine, server)


@pytest.fixture(scope="module")
def charts(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("charts")
    for k in range(12):
        bar_chart((60, 150, 10 + 10 * k, 200)).save(folder / f"{k:02}.png")
    return sorted(folder.iterdir())


def texts(reply: Any) -> list[str]:
    return [arm["text"] for arm in reply]


def test_the_page_says_that_it_is_well(served: Served) -> None:
    reply = httpx.get(f"{served.url}healthz")
    assert (reply.status_code, reply.json()) == (200, {"status": "ok"})


def test_the_page_is_no_longer_well_once_its_gpu_has_failed(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = False

    def query(stream: object) -> bool:
        if failed:
            raise RuntimeError("CUDA error: device-side assert triggered\nCUDA kernel errors might be reported later")
        return False  # busy

    monkeypatch.setattr("torch.cuda.is_initialized", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.cuda.memory_reserved", lambda number: number)  # the first is not used
    monkeypatch.setattr("torch.cuda.default_stream", lambda number: {1: type("Stream", (), {"query": query})()}[number])
    assert httpx.get(f"{served.url}healthz").status_code == 200
    failed = True
    reply = httpx.get(f"{served.url}healthz")
    told = "The GPU has failed, and only a restart helps: CUDA error: device-side assert triggered"
    assert (reply.status_code, reply.json()) == (503, {"status": told})


def test_the_page_is_no_longer_well_while_its_engine_says_nothing(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    def saying_nothing() -> Iterator[Answers]:
        yield ()
        time.sleep(0.1)
        health.append(httpx.get(f"{served.url}healthz"))
        yield ()

    health: list[httpx.Response] = []
    monkeypatch.setattr("chartqa_demo.space.operations.STUCK_S", 0.05)
    for _ in counted(saying_nothing()):
        time.sleep(0.1)  # who reads slowly is not the engine
        assert httpx.get(f"{served.url}healthz").status_code == 200
    assert health[0].status_code == 503 and "the engine is stuck" in health[0].json()["status"]


def test_a_question_is_counted_with_its_tokens_and_times(served: Served, charts: list[Path]) -> None:
    samples: list[tuple[str, dict[str, str], float]] = [
        ("chartqa_asks_total", {"outcome": "answered"}, 1),
        ("chartqa_tokens_total", {"arm": "pretrained"}, 17),
        ("chartqa_tokens_total", {"arm": "adapter"}, 17),
        ("chartqa_answer_seconds_count", {"arm": "prompted"}, 1),
        ("chartqa_first_token_seconds_count", {"arm": "prompted"}, 1),
        ("chartqa_first_token_seconds_bucket", {"arm": "prompted", "le": "+Inf"}, 1),
        ("chartqa_errors_total", {"arm": "adapter", "kind": "server"}, 0),
    ]
    before = [served.metric(name, **labels) for name, labels, _ in samples]
    served.ask(charts[0], "How many?").result(timeout=60)
    after = [served.metric(name, **labels) for name, labels, _ in samples]
    assert [b - a for a, b in zip(before, after, strict=True)] == [more for _, _, more in samples]


def test_an_arm_that_fails_is_counted_by_its_kind(served: Served, charts: list[Path]) -> None:
    served.engine.adapter = "failing"
    errors = served.metric("chartqa_errors_total", arm="adapter", kind="server")
    asks = served.metric("chartqa_asks_total", outcome="answered")
    (*others, adapter) = served.ask(charts[0], "How many?").result(timeout=60)
    assert "failed on this question (500)" in adapter["error"] and not any(arm["error"] for arm in others)
    assert served.metric("chartqa_errors_total", arm="adapter", kind="server") == errors + 1
    assert served.metric("chartqa_asks_total", outcome="answered") == asks + 1


@pytest.mark.parametrize(
    ("failure", "kind"), [(EngineError("x"), "EngineError"), (OutOfMemory("x"), "OutOfMemory"), (KeyError("x"), "bug")]
)
def test_a_question_that_fails_as_a_whole_is_counted_by_its_kind(served: Served, failure: Exception, kind: str) -> None:
    def failing() -> Iterator[Answers]:
        yield tuple(Answer(arm.key) for arm in ARMS)
        raise failure

    failed = served.metric("chartqa_asks_total", outcome="failed")
    errors = served.metric("chartqa_errors_total", arm="all", kind=kind)
    with pytest.raises(type(failure)):
        list(counted(failing()))
    assert served.metric("chartqa_asks_total", outcome="failed") == failed + 1
    assert served.metric("chartqa_errors_total", arm="all", kind=kind) == errors + 1


def test_visitors_at_once_each_get_their_own_answers(served: Served, charts: list[Path]) -> None:
    def visit(k: int) -> None:
        path = charts[k % len(charts)]
        reply = served.ask(path, f"What does visitor {k} see?").result(timeout=120)
        image = Image.open(path)
        assert texts(reply) == [
            expected(name, image, f"What does visitor {k} see?") for name in ("base", "base", "tuned")
        ]

    with ThreadPoolExecutor(12) as visitors:
        list(visitors.map(visit, range(12)))
    assert served.server.most_open <= 3 * AT_ONCE
    assert served.metric("chartqa_running") == 0


def test_who_leaves_stops_the_server_too_and_the_queue_moves_on(served: Served, charts: list[Path]) -> None:
    served.engine._base_name = "silent"
    stopped = served.metric("chartqa_asks_total", outcome="stopped")
    jobs = [served.ask(charts[k], "How many?") for k in range(AT_ONCE + 1)]
    eventually(lambda: served.metric("chartqa_running") == AT_ONCE and served.metric("chartqa_waiting") == 1)
    eventually(lambda: served.server.open == 2 * AT_ONCE)
    for job in jobs:
        job.cancel()
    eventually(lambda: served.server.open == 0)
    eventually(lambda: served.metric("chartqa_running") == 0 and served.metric("chartqa_waiting") == 0)
    assert served.metric("chartqa_asks_total", outcome="stopped") >= stopped + AT_ONCE


@pytest.fixture
def limited() -> Iterator[Callable[..., httpx.Response]]:
    """Requests at a page that takes two a minute from a visitor, and keeps 20 MB; nothing of Gradio's runs."""

    async def taken(scope: Scope, receive: Receive, send: Send) -> None:
        body = b"".join([chunk async for chunk in Request(scope, receive).stream()])
        await PlainTextResponse(f"{len(body)} bytes", 503 if scope["path"] == "/full" else 200)(scope, receive, send)

    with gr.Blocks(analytics_enabled=False) as page:
        pass
    settings = Settings(requests_per_minute=2, uploads_mb=20, login="logins.txt")
    limits = Limits(taken, page.queue(), settings, 1)

    def request(method: str, path: str, address: str = "10.0.0.1", **more: Any) -> httpx.Response:
        async def asked() -> httpx.Response:
            transport = httpx.ASGITransport(limits, client=(address, 1), raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://page") as client:
                return await client.request(method, path, **more)

        with ThreadPoolExecutor(1) as beside:  # the browser's own loop runs in this thread
            return beside.submit(asyncio.run, asked()).result()

    request.page = page  # pyright: ignore[reportFunctionMemberAccess]
    yield request


def test_browsers_are_told_what_the_page_may_load_and_who_may_frame_it(limited: Callable[..., httpx.Response]) -> None:
    told = limited("GET", "/").headers
    policy = dict(part.strip().split(" ", 1) for part in told["content-security-policy"].split(";"))
    assert policy["default-src"] == "'self'" and policy["connect-src"] == "'self' data: blob:"
    assert "https://huggingface.co" in policy["frame-ancestors"] and policy["object-src"] == "'none'"
    assert not any("http:" in value or "*" in value for name, value in policy.items() if name != "frame-ancestors")
    assert (told["x-content-type-options"], told["referrer-policy"]) == ("nosniff", "same-origin")


def test_a_refusal_of_gradios_own_says_when_to_come_back(limited: Callable[..., httpx.Response]) -> None:
    reply = limited("POST", "/full")
    assert reply.status_code == 503 and int(reply.headers["retry-after"]) > 0


def test_who_asks_too_often_is_told_when_to_come_back_and_nobody_else_is(
    limited: Callable[..., httpx.Response], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("chartqa_demo.space.limits.time.monotonic", lambda: now)
    ways = ["/gradio_api/queue/join", "/gradio_api/call/ask", "/gradio_api/upload"]
    replies = [limited("POST", way) for way in ways]
    assert [reply.status_code for reply in replies] == [200, 200, 429]
    assert replies[2].json() == {
        "detail": "At most 2 requests a minute are taken from one visitor. Try again in 30 seconds."
    }
    assert replies[2].headers["retry-after"] == "30" and "content-security-policy" in replies[2].headers
    assert limited("POST", ways[0], "10.0.0.2").status_code == 200
    assert {limited("POST", ways[0], "127.0.0.1").status_code for _ in range(3)} == {200}
    assert limited("GET", "/").status_code == limited("POST", "/gradio_api/cancel").status_code == 200
    now += 31
    assert [limited("POST", ways[0]).status_code for _ in range(2)] == [200, 429]


@pytest.mark.parametrize("told", [True, False], ids=["said before", "in pieces"])
@pytest.mark.parametrize(("way", "most"), [("run/x", 12), ("mcp/", 30)])
def test_no_more_of_a_request_is_read_than_a_browser_keeps_or_a_picture_needs(
    limited: Callable[..., httpx.Response], told: bool, way: str, most: int
) -> None:
    async def pieces(count: int) -> AsyncIterator[bytes]:
        for _ in range(count):
            yield bytes(2**20)

    too_much = bytes((most + 1) * 2**20) if told else pieces(most + 1)
    reply = limited("POST", f"/gradio_api/{way}", content=too_much)
    assert reply.status_code == 413
    assert limited("POST", f"/gradio_api/{way}", content=pieces(most - 1)).text == f"{(most - 1) * 2**20} bytes"
    begins = f"The request has {most + 1} MB; at most {most} MB" if told else f"More was sent than the {most} MB that"
    assert reply.json()["detail"].startswith(begins)


@pytest.mark.parametrize("mark", [b"[],", b"{},", b'{"a":1},'])
def test_a_body_of_many_small_things_is_not_made_into_as_many_objects(
    limited: Callable[..., httpx.Response], mark: bytes
) -> None:
    for way in ("queue/join", "call/ask", "mcp/", "run/upload", "call/upload/"):
        body = b'{"data": [' + mark * 200_001 + b"0]}"
        reply = limited("POST", f"/gradio_api/{way}", address="127.0.0.1", content=body)
        assert (reply.status_code, reply.json()["detail"][:37]) == (413, "More than 200,000 values were sent. S")
    assert limited("POST", "/gradio_api/upload", content=b"," * 300_000).text == "300000 bytes"


def test_who_leaves_while_sending_or_reading_leaves_no_traceback() -> None:
    async def broken_off(scope: Scope, receive: Receive, send: Send) -> None:
        raise ClientDisconnect

    async def gone(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            raise HTTPException(404)
        except HTTPException as error:
            raise RuntimeError("Caught handled exception, but response already started.") from error

    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("A mistake.")

    with gr.Blocks(analytics_enabled=False) as page:
        scope: Scope = {"type": "http", "method": "GET", "path": "/gradio_api/queue/data", "headers": []}
        with ThreadPoolExecutor(1) as beside:
            for app, told in ((broken_off, "None"), (gone, "None"), (broken, "A mistake.")):
                limits: Any = Limits(app, page.queue(), Settings(), 1)
                assert str(beside.submit(asyncio.run, limits(scope, None, None)).exception()) == told


def test_with_a_login_no_other_site_is_answered_but_a_link_there_opens_the_page(
    limited: Callable[..., httpx.Response],
) -> None:
    def asked(method: str, site: str, mode: str) -> int:
        return limited(method, "/config", headers={"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode}).status_code

    assert {asked(method, "cross-site", "cors") for method in ("GET", "POST", "OPTIONS")} == {403}
    assert asked("POST", "cross-site", "navigate") == 403
    assert asked("GET", "cross-site", "navigate") == asked("POST", "same-origin", "cors") == 200


def test_passwords_are_not_guessed_without_end(limited: Callable[..., httpx.Response]) -> None:
    assert [limited("POST", "/login").status_code for _ in range(3)] == [200, 200, 429]


def test_files_chosen_at_once_are_bounded_together(limited: Callable[..., httpx.Response]) -> None:
    reply = limited("POST", "/gradio_api/upload", headers={"Content-Length": str(221 * 2**20)})
    assert (reply.status_code, reply.json()["detail"]) == (413, "The request has 221 MB; at most 220 MB are read.")
    assert limited("POST", "/gradio_api/upload", content=bytes(31 * 2**20)).text == f"{31 * 2**20} bytes"


def test_who_has_a_network_of_addresses_is_one_visitor(limited: Callable[..., httpx.Response]) -> None:
    codes = [limited("POST", "/gradio_api/queue/join", f"2001:db8::{k}").status_code for k in range(3)]
    assert codes == [200, 200, 429]
    assert limited("POST", "/gradio_api/queue/join", "2001:db8:0:1::1").status_code == 200


@pytest.mark.parametrize(
    "way", ["proxy=https://x.hf.space/", "custom_component/%1b[2J/client/a/b", "deep_link", "process_recording"]
)
def test_what_gradio_offers_and_this_page_has_no_use_for_is_not_there(
    limited: Callable[..., httpx.Response], way: str
) -> None:
    for method in ("GET", "POST"):
        assert limited(method, f"/gradio_api/{way}").status_code == 404
    assert limited("GET", f"/gradio_api/file=/x/{way.partition('/')[0]}").status_code == 200


def test_a_span_of_a_file_is_not_asked_for_and_a_socket_not_opened() -> None:
    told: list[Any] = []

    async def gradio(scope: Scope, receive: Receive, send: Send) -> None:
        told.append((scope["type"], [name for name, _ in scope["headers"]]))

    async def sent(message: Message) -> None:
        told.append(message["type"])

    async def nothing() -> Message:
        return {"type": "websocket.connect"}

    with gr.Blocks(analytics_enabled=False) as page:
        limits = Limits(gradio, page.queue(), Settings(), 1)
    spoken: Scope = {"method": "GET", "path": "/gradio_api/file=x", "headers": [(b"range", b"bytes=0-1-2")]}
    spoken["headers"] += [(b"accept", b"image/png"), (b"last-event-id", b"1")]
    for kind in ("http", "websocket"):
        with ThreadPoolExecutor(1) as beside:
            beside.submit(asyncio.run, limits({**spoken, "type": kind}, nothing, sent)).result()
    assert told == [("http", [b"accept"]), "websocket.close"]


def test_uploads_over_the_room_that_there_is_delete_the_oldest(
    limited: Callable[..., httpx.Response], tmp_path: Path
) -> None:
    files = [tmp_path / f"{k}.png" for k in range(4)]
    for k, file in enumerate(files):
        file.write_bytes(bytes(8 * 2**20))
        os.utime(file, (k, k))
    limited.page.temp_file_sets.append({str(file) for file in files})  # pyright: ignore[reportFunctionMemberAccess]
    limited("POST", "/gradio_api/upload")
    assert [file.exists() for file in files] == [False, False, True, True]


def test_folders_and_names_of_uploads_that_are_gone_do_not_stay(
    limited: Callable[..., httpx.Response], tmp_path: Path
) -> None:
    file = tmp_path / "of its own" / "chart.png"
    file.parent.mkdir()
    file.write_bytes(bytes(21 * 2**20))
    names = {str(file), str(tmp_path / "gone" / "chart.png")}
    limited.page.temp_file_sets.append(names)  # pyright: ignore[reportFunctionMemberAccess]
    limited("POST", "/gradio_api/upload")
    assert names == set() and not file.parent.exists()


def test_nothing_is_kept_of_a_question_by_http_once_it_is_answered(limited: Callable[..., httpx.Response]) -> None:
    holder = limited.page.state_holder = StateHolder()  # pyright: ignore[reportFunctionMemberAccess]
    holder.set_blocks(limited.page)  # pyright: ignore[reportFunctionMemberAccess]
    for session in ("a-visitor", "an-event"):
        holder[session]
    limited("GET", "/gradio_api/call/ask/an-event")
    assert list(holder.session_data) == list(holder.time_last_used) == ["a-visitor"]
