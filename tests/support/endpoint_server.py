"""A stand-in for an OpenAI-compatible server on loopback, with every way in which a real one fails.

The model's name chooses the behaviour ("base" and "tuned" answer). An answer says which model saw which chart and
which question, so a test can tell whose it is.
"""

import asyncio
import base64
import gzip
import hashlib
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from itertools import count
from typing import Any

import uvicorn
from PIL import Image
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

KEY = "sk-right-key"
PIECES = 4
DETAIL = {"type": "string_type", "msg": "Not text", "input": [{}]}  # as FastAPI says it
ANSWERING = (
    "base",
    "tuned",
    "strict",
    "locked",
    "slow",
    "silent",
    "dying",
    "leaving",
    "garbled",
    "odd",
    "erring",
    "bare",
    "runaway",
    "modern",
    "stern",
    "parts",
    "endless",
    "line",
    "packed",
    "miscounting",
)


def fingerprint(image: Image.Image) -> str:
    return hashlib.sha256(repr(image.size).encode() + image.convert("RGB").tobytes()).hexdigest()[:12]


def expected(model: str, image: Image.Image, question: str) -> str:
    """What the server answers when it is asked this with a chart that reaches it unchanged."""
    return f"{model} saw {fingerprint(image)} and read: {question}"


def eventually(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)


class EndpointServer:
    """requests: bodies in the order of arrival; attempts: requests per model; open: streams that run now;
    most_open: the most at one time; let: whether "slow" goes on; keys: Authorization headers; connections: distinct
    client ports."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.attempts: Counter[str] = Counter()
        self.keys: list[str | None] = []
        self.connections: set[int] = set()
        self.open = 0
        self.most_open = 0
        self.let = False
        self.refusals = 0  # how often "busy", "gateway" and "loading" say no before they answer
        self.retry_after: str | None = None
        self.keep_requests = True
        self.url = ""

    async def complete(self, request: Request) -> Response:
        body = json.loads(await request.body())
        model = body["model"]
        self.attempts[model] += 1
        self.keys.append(request.headers.get("authorization"))
        if request.client is not None:
            self.connections.add(request.client.port)
        if self.keep_requests:
            self.requests.append(body)
        statuses = {"busy": 429, "gateway": 502, "loading": 503}
        if model in statuses and self.attempts[model] <= self.refusals:
            headers = {"Retry-After": self.retry_after} if self.retry_after is not None else {}
            return JSONResponse({"error": {"message": "not now"}}, statuses[model], headers)
        refusals = {
            "failing": (500, {"error": {"message": "CUDA error: device-side assert"}}),
            "picky": (400, {"detail": "max_tokens is too large"}),
            "forbidding": (
                422,
                {"detail": [DETAIL | {"loc": ["body", "messages", 0]}, {"msg": "Long"}]},
            ),
        }
        if model == "strict" and body["messages"][0]["role"] == "system":
            told = "Prompting with images is incompatible with system messages."
            refusals["strict"] = (400, {"error": {"message": told}})
        if model == "modern" and "max_tokens" in body:
            told = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens'."
            refusals["modern"] = (400, {"error": {"message": told, "param": "max_tokens"}})
        if model == "stern" and (extra := next((name for name in ("top_k", "max_tokens") if name in body), None)):
            detail = {"type": "extra_forbidden", "msg": "Extra inputs are not permitted", "loc": ["body", extra]}
            refusals["stern"] = (422, {"detail": [detail]})
        if model == "locked" and self.keys[-1] != f"Bearer {KEY}":
            refusals["locked"] = (401, {"error": {"message": f"Incorrect API key provided: {self.keys[-1]}"}})
        if model not in (*ANSWERING, *statuses, "moved"):
            refusals.setdefault(model, (404, {"error": {"message": f"The model `{model}` does not exist."}}))
        if model == "page":
            return HTMLResponse("<html>Welcome</html>")
        if model in refusals:
            status, content = refusals[model]
            return JSONResponse(content, status)
        if model == "moved":
            return Response(status_code=307, headers={"Location": "http://elsewhere.invalid/v1"})
        if model == "packed":
            zeros = gzip.compress(b"data: " + bytes(2**25))
            return Response(zeros, headers={"Content-Encoding": "gzip"}, media_type="text/event-stream")
        return StreamingResponse(self._stream(body), media_type="text/event-stream")

    async def _stream(self, body: dict[str, Any]) -> AsyncIterator[str]:
        model = body["model"]
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            yield _event(delta={"role": "assistant", "content": ""})
            if model == "silent":
                await asyncio.sleep(3600)
            for piece in map(WITHOUT_END[model], count()) if model in WITHOUT_END else ():
                yield piece
                await asyncio.sleep(0)
            text = self._answer(body)
            cuts = [round(len(text) * k / PIECES) for k in range(PIECES + 1)]
            for k in range(PIECES):
                piece = text[cuts[k] : cuts[k + 1]]
                thought = {"type": "thinking", "thinking": [{"type": "text", "text": "Let me see."}]}
                yield _event(
                    delta={"content": [thought, {"type": "text", "text": piece}] if model == "parts" else piece}
                )
                await asyncio.sleep(0)
                if k == 1:
                    while model == "slow" and not self.let:
                        await asyncio.sleep(0.02)
                    if model == "dying":
                        raise ConnectionResetError("the server was killed")
                    elif model == "leaving":
                        return
                    elif model == "garbled":
                        yield 'data: {"choices": [{"delta": {"conte\n\n'
                    elif model == "odd":
                        yield 'data: ["no", "completion"]\n\n'
                    elif model == "erring":
                        yield 'data: {"error": {"message": "the worker died", "code": 500}}\n\n'
                        return
            yield _event(delta={}, finish_reason="stop")
            if model != "bare":
                counted = -5 if model == "miscounting" else 17
                yield _event(usage={"prompt_tokens": 9, "completion_tokens": counted, "total_tokens": 26})
            yield "data: [DONE]\n\n"
        finally:
            self.open -= 1

    def _answer(self, body: dict[str, Any]) -> str:
        parts = body["messages"][-1]["content"]
        url = next(part["image_url"]["url"] for part in parts if part["type"] == "image_url")
        question = parts[-1]["text"]
        image = Image.open(BytesIO(base64.b64decode(url.removeprefix("data:image/png;base64,"))))
        return expected(body["model"], image, question)


def _event(usage: dict[str, int] | None = None, **choice: Any) -> str:
    choices = [{"index": 0, "finish_reason": None, **choice}] if choice else []
    chunk = {"id": "1", "object": "chat.completion.chunk", "created": 0, "model": "", "choices": choices}
    return f"data: {json.dumps(chunk | ({'usage': usage} if usage else {}))}\n\n"


WITHOUT_END: dict[str, Callable[[int], str]] = {  # what is sent until nobody listens
    "runaway": lambda _: _event(delta={"content": "It is 10%.\n"}),
    "endless": lambda number: _event(delta={"content": f"{number} and "}),
    "line": lambda _: "data: " + "x" * 2**20,
}


@contextmanager
def endpoint_server() -> Iterator[EndpointServer]:
    """A running server on a free port; `url` is its address, /v1 included."""
    server = EndpointServer()
    with serving(Starlette(routes=[Route("/v1/chat/completions", server.complete, methods=["POST"])])) as server.url:
        yield server


@contextmanager
def serving(app: Starlette) -> Iterator[str]:
    """The app on a free port of the loopback interface; its address, /v1 included."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(512)
        running = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off"))
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        finally:
            running.force_exit = running.should_exit = True
            thread.join()
