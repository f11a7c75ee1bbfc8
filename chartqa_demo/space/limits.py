"""What stands before every request: what an operator allows one visitor, and the headers that browsers go by.

It comes before all of Gradio: `launch(app_kwargs=app_options(...))`.
"""

import json
import re
import time
from collections import OrderedDict
from contextlib import suppress
from ipaddress import ip_address, ip_network
from typing import Any

import gradio as gr
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chartqa_demo.errors import whole
from chartqa_demo.settings import Settings
from chartqa_demo.space.gradio_internals import (
    cancel,
    delete_oldest,
    forget_call,
    forget_uploading,
    misnamed,
    questions_waiting,
)
from chartqa_demo.space.operations import failed, routes, usual_seconds

MAX_BODY = 12 * 2**20  # twice what a browser keeps for a page, which comes with a correction
MAX_TOOL = 30 * 2**20  # by MCP, a picture of 20 MB in base64
MAX_UPLOADED = 220 * 2**20  # files chosen at once, of which Gradio limits each: what Evaluate takes, and their heads
MAX_QUERY = 2_000  # bytes behind the question mark of a path of Gradio's, which keeps some of them
MAX_MARKS = 200_000  # of lists, objects and what is in them: in Python's memory each takes 30 times its bytes
MARKS = (b",", b"[", b"{")
UNREADABLE = "This cannot be read. Send JSON in UTF-8, of numbers as JSON has them, and not nested as deep."
SPARE = 200  # levels of nesting that are left to who reads it again, from deeper in Python's stack
VISITORS = 10_000  # whose requests are counted at once
ASKING = ("/queue/join", "/call/", "/mcp", "/upload", "/login")
# Ways of Gradio that this page has no use for: `proxy=` fetches, a custom component's name is printed as it comes, a
# deep link is a file that stays for good, a recording one that is read whole.
CLOSED = re.compile(r"^.*?/gradio_api/(proxy=|custom_component/|deep_link|process_recording)")
# Nothing here has such a path, and no file can: Gradio fails on one.
NO_PATH = re.compile(rb"[\x00-\x1f\x7f]|[^/]{256}|.{4000}")
HEADERS = {
    # Gradio puts scripts and styles into the page, and makes functions of the page's own.
    "Content-Security-Policy": "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "worker-src 'self' blob:; connect-src 'self' data: blob:; "  # pictures that are pasted or kept are read by fetch
    "object-src 'none'; base-uri 'self'; form-action 'self'; "
    "frame-ancestors 'self' https://huggingface.co https://*.huggingface.co",  # where a Space is shown
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}


def app_options(page: gr.Blocks, settings: Settings, parallel: int) -> dict[str, Any]:
    """Arguments of the web application under the page; parallel: how many questions the engine answers at once."""
    before = [Middleware(Limits, page=page, settings=settings, parallel=parallel)]
    return {"routes": routes(page), "exception_handlers": {Exception: failed}, "middleware": before}


class Limits:
    """ASGI middleware of one page; see `app_options`."""

    def __init__(self, app: ASGIApp, page: gr.Blocks, settings: Settings, parallel: int) -> None:
        self.app, self.page, self.settings, self.parallel = app, page, settings, parallel
        self.left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # address -> requests left, and when

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse what is too much, and send the headers with everything."""
        if scope["type"] == "websocket":  # nothing here speaks it, and Gradio's MCP server fails on it
            await send({"type": "websocket.close"})
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                if message["status"] == 503:  # Gradio's own refusal, where two came at once
                    message["headers"] = [*message["headers"], (b"retry-after", str(self._wait()).encode())]
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        # Gradio fails on a span of a file that it does not understand, and sends a caller's own headers back with one;
        # its MCP server has no event to go on from, and then does not answer.
        scope["headers"] = [one for one in scope["headers"] if one[0] not in (b"range", b"last-event-id")]
        posted, uploads = scope["method"] == "POST", scope["path"].rstrip("/").endswith("/gradio_api/upload")
        most = MAX_UPLOADED if uploads else MAX_TOOL if "/mcp" in scope["path"] else MAX_BODY
        length, read, marks = Headers(scope=scope).get("content-length", "0"), 0, 0

        async def no_more_than_allowed() -> Message:
            nonlocal read, marks
            message = await receive()
            read += len(message.get("body", b""))
            marks += 0 if uploads else sum(map(message.get("body", b"").count, MARKS))
            if posted and read > most:
                raise HTTPException(413, f"More was sent than the {most // 2**20} MB that are read. Send less at once.")
            if posted and marks > MAX_MARKS:
                raise HTTPException(413, f"More than {MAX_MARKS:,} values were sent. Send fewer at once.")
            return message

        answer: ASGIApp = self.app
        if posted and length.isdecimal() and int(length) > most:
            told = f"The request has {int(length) / 2**20:,.0f} MB; at most {most // 2**20} MB are read."
            answer = JSONResponse({"detail": told}, 413)
        elif missing := _missing(scope):
            answer = missing
        elif self.settings.login and _from_another_site(scope):
            answer = JSONResponse({"detail": "With a login this page answers no other site."}, 403)
        elif posted and any(way in scope["path"] for way in ASKING):
            answer = self._too_often(scope) or self._full(scope) or (self.app if uploads else self._read)
        elif posted:
            answer = self._read
        try:
            await answer(scope, no_more_than_allowed, with_headers)
        except ClientDisconnect:  # while it was sent: nobody is left to answer
            return
        except RuntimeError as error:  # the stream of a session that is gone, begun before Gradio looked
            if not isinstance(error.__cause__, HTTPException):
                raise
        await self._clear_away(scope["method"], scope["path"])

    async def _clear_away(self, method: str, path: str) -> None:
        """What Gradio would keep of a request that has been answered."""
        if "/gradio_api/upload" in path:
            forget_uploading()
        if method == "POST" and ("/gradio_api/upload" in path or "/mcp" in path):  # by which pictures come in base64
            await run_in_threadpool(delete_oldest, self.page, self.settings.uploads_mb * 2**20)
        if method == "GET" and "/call/" in path:
            forget_call(self.page, path.rsplit("/", 1)[-1])

    async def _read(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what was sent, once it is sure that all of it can be sent back: Gradio and its MCP server repeat what
        they do not understand or are called by, and fail on what no answer can hold, or never answer."""
        try:
            body, named = _readable(await Request(scope, receive).body())
        except HTTPException as refused:
            await JSONResponse({"detail": refused.detail}, refused.status_code)(scope, receive, send)
            return
        rest: list[Message] = [{"type": "http.request", "body": body}]

        async def again() -> Message:
            return rest.pop() if rest else await receive()

        if wrong := misnamed(self.page, scope["path"], named):
            await JSONResponse({"detail": wrong[1]}, wrong[0])(scope, again, send)
            return
        match named:
            case {"session_hash": str(visitor), "event_id": str(event)} if scope["path"].endswith("/cancel"):
                if await cancel(self.page, visitor, event):
                    await JSONResponse({"success": True})(scope, again, send)
                    return
        del body, named  # the answer may take minutes
        await self.app(scope, again, send)

    def _too_often(self, scope: Scope) -> JSONResponse | None:
        rate, now = self.settings.requests_per_minute, time.monotonic()
        address = (scope.get("client") or ("",))[0]
        if not rate or address in ("127.0.0.1", "::1"):  # as which Gradio passes on what comes by MCP
            return None
        with suppress(ValueError):  # who has one address of IPv6 has 2**64 of them
            if (known := ip_address(address)).version == 6 and known.ipv4_mapped is None:
                address = str(ip_network((known, 64), strict=False))
        left, before = self.left.pop(address, (float(rate), now))
        left = min(rate, left + (now - before) * rate / 60)
        self.left[address] = max(0.0, left - 1), now
        if len(self.left) > VISITORS:
            self.left.popitem(last=False)
        if left >= 1:
            return None
        wait = max(1, round(60 / rate))
        told = f"At most {rate} requests a minute are taken from one visitor. Try again in {wait} seconds."
        return JSONResponse({"detail": told}, 429, {"Retry-After": str(wait)})

    def _full(self, scope: Scope) -> JSONResponse | None:
        waiting = questions_waiting(self.page)
        if waiting < self.settings.queue_size or any(way in scope["path"] for way in ("/upload", "/login")):
            return None
        wait = self._wait()
        told = f"The page is currently busy. Please try again in about {wait} seconds; waiting now: {waiting}."
        # For 503 Gradio's page has a text of its own, and its Python client a QueueError.
        browser = "sec-fetch-mode" in Headers(scope=scope)
        return JSONResponse({"detail": told}, 429 if browser else 503, {"Retry-After": str(wait)} if browser else None)

    def _wait(self) -> int:
        """Seconds until a question that came now would be answered, about."""
        return max(1, round((questions_waiting(self.page) + 1) * usual_seconds() / self.parallel))


def _readable(body: bytes) -> tuple[bytes, Any]:
    """What was sent, with U+FFFD for halves of pairs of surrogates, and the values in it, None where it is no JSON.
    Raises HTTPException for what cannot be written again: NaN, too deep a nesting, what is not in UTF-8."""
    try:
        deep = values = json.loads(body)
        for _ in range(SPARE):
            deep = [deep]
        text = json.dumps(deep, ensure_ascii=False, allow_nan=False)[SPARE:-SPARE]
    except json.JSONDecodeError:
        try:
            body.decode()
        except UnicodeDecodeError:
            raise HTTPException(400, UNREADABLE) from None
        return body, None  # a form, or Gradio says what is wrong
    except (ValueError, RecursionError):
        raise HTTPException(400, UNREADABLE) from None
    try:
        text.encode()
    except UnicodeEncodeError:
        return (body := whole(text).encode()), json.loads(body)
    return body, values


def _missing(scope: Scope) -> JSONResponse | None:
    """The refusal of an address that this page does not have."""
    if "/gradio_api/" in scope["path"] and len(scope.get("query_string", b"")) > MAX_QUERY:
        return JSONResponse({"detail": f"Behind the “?” are more than {MAX_QUERY:,} bytes."}, 414)
    if CLOSED.match(scope["path"]) or NO_PATH.search(scope["path"].encode(errors="replace")):
        return JSONResponse({"detail": "Not Found"}, 404)
    return None


def _from_another_site(scope: Scope) -> bool:
    """Whether a browser sends it for a page of another site, and not to open this one: it sends along who has logged in
    here, and Gradio lets any site read the answer."""
    told = Headers(scope=scope)
    opens = scope["method"] == "GET" and told.get("sec-fetch-mode") == "navigate"
    return told.get("sec-fetch-site") == "cross-site" and not opens
