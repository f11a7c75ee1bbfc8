"""Requests without end: good ones with a part spoilt, and bad ones at every address that Gradio serves."""

import json
import os
import random
from dataclasses import dataclass, field
from typing import Any

from bench.reliability.hostile import PATHS, TEXTS, address, anything, nested

# fmt: off
ROUTES = (
    "/config", "/config?__theme=x", "info", "info?all_endpoints=true", "openapi.json", "startup-events", "app_id",
    "/login", "/logout", "login_check", "user", "token", "/robots.txt", "/manifest.json", "/pwa_icon/x", "/monitoring",
    "vibe-edit", "undo-vibe-edit", "vibe-code", "vibe-starter-queries", "dev/reload", "process_recording", "/runs",
    "profiling/traces", "profiling/clear", "deep_link?session_hash=x", "/?deep_link=../../x", "/healthz", "/metrics",
    "component_server", "component_server/", "custom_component/x/client/component/../../x", "/nothing", "/%ff", "//",
    "upload_progress?upload_id=x", "call/ask/x", "queue/status", "heartbeat/x", "/?__theme=%3Cscript%3E", "mcp/schema",
    "run-history/connect", "run-history/records", "/gradio_api", "/docs", "/redoc", "/openapi.json", "theme.css",
)
# fmt: on


@dataclass
class Sent:
    """One request, and the stream behind it where there is one: its address, with {event_id} of the reply."""

    kind: str
    method: str
    path: str
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    stream: str = ""


def as_json(told: Any) -> bytes:
    """JSON as a careless client writes it: halves of pairs escaped, numbers of any size."""
    return json.dumps(told).encode()


class Mutations:
    """Requests without end for one server; own: the path of an uploaded picture, config: what `/config` says."""

    def __init__(self, rng: random.Random, own: str, config: dict[str, Any]) -> None:
        self.rng, self.own, self.functions = rng, own, config["dependencies"]
        self.ways = (
            *([self._question] * 8, [self._listener] * 8, [self._direct] * 3, [self._file] * 6, [self._upload] * 4),
            *([self._tool] * 4, [self._broken] * 4, [self._route] * 3, [self._stream] * 2),
        )

    def one(self, number: int) -> Sent:
        """The next request; every kind comes round."""
        ways = [way for group in self.ways for way in group]
        return ways[number % len(ways)]()

    def _data(self) -> list[Any]:
        """A question's parameters, some of them spoilt, missing or too many."""
        good = [{"path": self.own, "meta": {"_type": "gradio.FileData"}}, "How many?", None, 16, 0, 0, None, None]
        for _ in range(self.rng.randint(1, 3)):
            place = self.rng.randrange(len(good))
            good[place] = address(self.rng, self.own) if place == 0 else anything(self.rng, self.own)
        return self.rng.choice([good] * 6 + [good[: self.rng.randrange(8)], [*good, *good]])

    def _question(self) -> Sent:
        name = self.rng.choice(["ask", "compare"])
        body: Any = {"data": self._data()}
        if self.rng.random() < 0.2:
            body = self.rng.choice([self._data(), {}, {"data": None}, {"data": "x"}, {"data": {}}, None, "x", 3])
        if self.rng.random() < 0.2 and isinstance(body, dict):
            body[self.rng.choice(["session_hash", "event_id", "fn_index", "trigger_id"])] = anything(self.rng, self.own)
        return Sent("question by /call", "POST", f"call/{name}", as_json(body), stream=f"call/{name}/{{event_id}}")

    def _listener(self) -> Sent:
        one = self.rng.choice(self.functions)
        data = [anything(self.rng, self.own) for _ in one["inputs"]]
        if self.rng.random() < 0.2:
            data = data[:-1] if self.rng.random() < 0.5 else [*data, None, None]
        session = f"s{self.rng.random()}"
        body = {"data": data, "fn_index": one["id"], "session_hash": session}
        body["event_data"] = self.rng.choice(
            [anything(self.rng, self.own), {"index": anything(self.rng, self.own)}, None]
        )
        body["trigger_id"] = self.rng.choice([None] * 5 + [1, anything(self.rng, self.own)])
        return Sent(
            "private listener", "POST", "queue/join", as_json(body), stream=f"queue/data?session_hash={session}"
        )

    def _direct(self) -> Sent:
        one = self.rng.choice(self.functions)
        data = [anything(self.rng, self.own) for _ in one["inputs"]]
        name = self.rng.choice(["ask", "compare", "predict", "nothing", "..%2f", str(one["api_name"])])
        body = {"data": data, "fn_index": self.rng.choice([one["id"], one["id"], -1, 10**6]), "session_hash": "direct"}
        return Sent("past the queue", "POST", f"{self.rng.choice(['run', 'api', 'call/v2'])}/{name}", as_json(body))

    def _file(self) -> Sent:
        around = ("/..", "/../..", "/../../../../secret.txt", "/../../../../../../etc/passwd")
        path = self.rng.choice([*PATHS, "secret.txt", "../secret.txt", *(self.own + one for one in around)])
        before = self.rng.choice(
            ["file=", "file=", "file=", "file/", "proxy=", "/static/", "/assets/", "/svelte/", "/theme/"]
        )
        path = path.replace("\0", "%00").replace("#", "%23").replace("?", "%3f")
        where = f"{before}{path}" if self.rng.random() < 0.7 else f"{before}{path.replace('/', '%2f')}"
        method = self.rng.choice(["GET", "GET", "HEAD", "POST"])
        spans = {"Range": self.rng.choice(["bytes=0-", "bytes=9-1", "bytes=-", "bytes=a-b", "bytes=0-1-2"])}
        return Sent("file by its address", method, where, headers=spans if self.rng.random() < 0.3 else {})

    def _upload(self) -> Sent:
        name = self.rng.choice([*PATHS, *TEXTS.values()])[:3000].encode("utf-8", "surrogatepass")
        name = name.replace(b"\r", b"").replace(b"\n", b"").replace(b'"', b"%22")
        content = self.rng.choice([b"", b"x", b"<svg onload=alert(1)>", b"\x89PNG\r\n\x1a\n", os.urandom(2000), b"MZ"])
        part = self.rng.choice([b"files", b"files", b"files", b"file", b"", b"\xff"])
        kind = self.rng.choice([b"image/png", b"text/html", b"image/svg+xml", b"x", b"a/b; charset=\xff"])
        head = (
            b'Content-Disposition: form-data; name="' + part + b'"; filename="' + name + b'"\r\nContent-Type: ' + kind
        )
        body = b"--cut\r\n" + head + b"\r\n\r\n" + content + b"\r\n--cut--\r\n"
        body = self.rng.choice([body] * 5 + [body[:-12], body * 30, b"--cut", b""])
        kinds = ["multipart/form-data; boundary=cut"] * 5 + ["multipart/form-data", "application/json", "text/plain"]
        asked = self.rng.choice(["upload", "upload", "upload?upload_id=../x", f"upload?upload_id={'x' * 3000}"])
        return Sent("upload with an odd name", "POST", asked, body, {"Content-Type": self.rng.choice(kinds)})

    def _tool(self) -> Sent:
        arguments = {"image": self.rng.choice([*PATHS, self.own]), "question": anything(self.rng, self.own)}
        arguments |= {"seed": anything(self.rng, self.own)} if self.rng.random() < 0.3 else {}
        called = {"name": self.rng.choice(["ask", "compare", "../ask", ""]), "arguments": arguments}
        method = self.rng.choice(["tools/call"] * 5 + ["tools/list", "initialize", "resources/read", "\0"])
        body: Any = {
            "jsonrpc": self.rng.choice(["2.0"] * 7 + ["9", None]),
            "id": self.rng.choice([1] * 7 + ["x", None, []]),
        }
        body |= {
            "method": method,
            "params": self.rng.choice([called] * 5 + [{"uri": self.rng.choice(PATHS)}, [], None]),
        }
        body = self.rng.choice([body] * 6 + [[body] * 50, {}, "x", nested(900)])
        accept = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
        return Sent("MCP", "POST", self.rng.choice(["mcp/"] * 6 + ["mcp/http", "mcp/sse"]), as_json(body), accept)

    def _broken(self) -> Sent:
        good = as_json({"data": self._data(), "fn_index": 1, "session_hash": "x"})
        deep = self.rng.choice([500, 5_000, 100_000])
        body = self.rng.choice(
            [
                *(
                    good[: self.rng.randrange(len(good))],
                    b"",
                    b"null",
                    b"\xff\xfe\x00",
                    b"{" * deep,
                    b"[" * deep + b"]" * deep,
                ),
                *(
                    b'{"data": ' * deep,
                    b'{"data": [NaN, Infinity, -Infinity]}',
                    b'{"data": [1e99999]}',
                    b"\xef\xbb\xbf" + good,
                ),
                *(
                    b'{"data": [], "data": [1]}',
                    b'{"data": ["\\ud800"]}',
                    b'{"data": [' + b"9" * 20_000 + b"]}",
                    b"a=b&c=d",
                ),
                *(b"<?xml version='1.0'?><!DOCTYPE x [<!ENTITY y SYSTEM 'file:///etc/passwd'>]><x>&y;</x>", good * 3),
            ]
        )
        kind = self.rng.choice(
            ["application/json"] * 4 + ["text/plain", "application/xml", "a", "application/json; charset=utf-7"]
        )
        path = self.rng.choice(["call/ask", "queue/join", "run/ask", "cancel", "reset", "call/v2/ask", "stream/x"])
        return Sent("broken JSON", self.rng.choice(["POST", "POST", "POST", "PUT"]), path, body, {"Content-Type": kind})

    def _route(self) -> Sent:
        method = self.rng.choice(["GET", "GET", "POST", "DELETE", "OPTIONS", "TRACE", "PATCH"])
        body = as_json(anything(self.rng, self.own)) if method == "POST" else b""
        odd = [{"Host": "canary.invalid"}, {"X-Forwarded-Host": "canary.invalid"}, {"Origin": "https://canary.invalid"}]
        odd += [
            {"Cookie": "access-token=x; " * 50 + "y=z"},
            {"X-Forwarded-Proto": "\\"},
            {"Accept-Language": "x" * 5000},
            {},
            {},
        ]
        return Sent("other routes", method, self.rng.choice(ROUTES), body, self.rng.choice(odd))

    def _stream(self) -> Sent:
        session = self.rng.choice(["nobody", "../x", "%00", "x" * 3000, "null", "%ff", "*"])
        paths = (f"queue/data?session_hash={session}", f"call/ask/{session}", f"heartbeat/{session}", "queue/data")
        headers = {"Last-Event-ID": "9" * 50, "Accept": self.rng.choice(["text/event-stream", "x", "*/*"])}
        return Sent("event stream of nobody", "GET", self.rng.choice(paths), headers=headers)
