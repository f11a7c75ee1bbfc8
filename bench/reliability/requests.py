"""Mutated requests straight at the HTTP endpoints of a real start, and what became of each.

    python -m bench.reliability.requests --requests 1000

The page is started as its operator starts it, with the scripted engine, in an empty folder and in a process of its own
that writes down every address it looks up or connects to. After each request an ordinary question is asked. A request
fails where nobody answers it, where the visitor is told what only a programmer understands, where the next ordinary
question gets no answer, where a file outside the cache comes back, or where another machine is spoken to.
"""

import argparse
import json
import os
import random
import re
import runpy
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
from PIL import Image

from bench.reliability import ROOT, save, table
from bench.reliability.mutations import Mutations, Sent, as_json

LIMIT_S = 12.0  # for one request with its stream; Gradio looks every 10 s whether there is something to stream
OPEN_S = 2.0  # for a stream that is open for as long as its caller likes
SECRET = "this-line-lies-outside-the-cache"
# What a visitor must not read: a traceback, the words of Python's own errors, paths of the server, what lies outside.
FORBIDDEN = re.compile(
    r'Traceback \(most recent|File "/|site-packages|object has no attribute|not subscriptable|(?<!input_type=)NoneType|'
    r"unexpected keyword|positional argument|argument of type|invalid literal|unhashable|surrogates not allowed|"
    rf"root:x:0|{SECRET}|{re.escape(str(ROOT))}"
)
TELLS = "Told what only a programmer understands, or sent a file from outside the cache"
SILENT = "Ended without an answer, or with an error without words"
NO_NEXT = "Were followed by an ordinary question without an answer"
SPEAKS = "Made the server look up or speak to another machine"
NO_ANSWER, NO_WORDS = "no answer", "an error without words"
NOTES = (
    "The page ran as its operator starts it, with the scripted engine, and had nothing to do but these requests.",
    "Connections that the server closed without an answer stand in a column of their own, by what was sent.",
    "An open stream is one that Gradio keeps for as long as its caller stays; it was left after some seconds.",
)
LOOPBACK = ("127.", "::1", "localhost", "0.0.0.0", "::")


@dataclass
class Told:
    """How a request ended, in words for the table; text: all that came back."""

    outcome: str
    text: str = ""
    seconds: float = 0.0


class Server:
    """The started page. connections: what it has looked up and connected to beyond this machine."""

    def __init__(self, folder: Path, url: str, process: subprocess.Popen[bytes]) -> None:
        self.folder, self.url, self.process = folder, url, process
        # A connection each: the server closes one on which it failed.
        limits = httpx.Limits(max_keepalive_connections=0)
        self.client = httpx.Client(timeout=LIMIT_S, limits=limits, trust_env=False)
        self.own = self.client.post(f"{url}/gradio_api/upload", files={"files": ("chart.png", picture())}).json()[0]
        self.config = self.client.get(f"{url}/config").json()

    def address(self, path: str) -> str:
        """A path of the server's own, or below Gradio's."""
        return f"{self.url}{path}" if path.startswith("/") else f"{self.url}/gradio_api/{path}"

    def send(self, sent: Sent) -> Told:
        """Send it, and read the stream behind it to its end."""
        began = time.monotonic()
        try:
            told = self._read(sent.method, sent.path, sent.body, sent.headers)
            if sent.stream and told.outcome == "answered" and "event_id" in told.text:
                event = json.loads(told.text)["event_id"]
                told = self._read("GET", sent.stream.replace("{event_id}", event), b"", {})
        except httpx.InvalidURL:
            told = Told("not sent: no client can write this address")
        except httpx.HTTPError as error:
            ended = isinstance(error, httpx.TimeoutException)
            told = Told(NO_ANSWER if ended else "the server closed the connection", type(error).__name__)
        told.seconds = time.monotonic() - began
        return told

    def _read(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Told:
        limit, text = OPEN_S if path.startswith("heartbeat") else LIMIT_S, ""
        end = time.monotonic() + limit
        headers = {"Content-Type": "application/json"} | headers if body else headers
        request = self.client.build_request(
            method, self.address(path), content=body or None, headers=headers, timeout=limit
        )
        answer = self.client.send(request, stream=True)
        streams = answer.headers.get("content-type", "").startswith("text/event-stream")
        try:
            for piece in answer.iter_bytes():
                text += piece.decode("utf-8", "replace")
                if len(text) > 10**6 or (streams and time.monotonic() > end):
                    break
                if streams and re.search(r'"process_completed"|event: (complete|error)', text):
                    break
        except httpx.ReadTimeout:
            if not streams:
                raise
            return Told("an open stream, left by the caller", text)
        finally:
            answer.close()
        return Told(outcome_of(answer.status_code, text, streams), text)

    def ask(self) -> float | None:
        """Seconds of an ordinary question, None where it got no answer."""
        good = [{"path": self.own, "meta": {"_type": "gradio.FileData"}}, "How many?", None, 1, 0, 0, None, None]
        told = self.send(Sent("", "POST", "call/compare", as_json({"data": good}), stream="call/compare/{event_id}"))
        return told.seconds if "event: complete" in told.text and '"winner"' in told.text else None

    def connections(self) -> list[str]:
        """With whom the server has spoken beyond this machine."""
        path = self.folder / "connections.txt"
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def outcome_of(status: int, text: str, streams: bool) -> str:
    """What an answer with this status and text is, in words for the table."""
    if status >= 500:
        return NO_WORDS if "Internal Server Error" in text else "an error in a sentence"
    if status >= 400:
        return "refused by its status (4xx)"
    if status >= 300:
        return "sent elsewhere (3xx)"
    if streams and re.search(r'event: error|"success": ?false', text):
        return NO_WORDS if re.search(r"data: null|\"error\": ?null", text) else "an error in a sentence"
    return "answered"


def picture() -> bytes:
    """A small PNG."""
    file = BytesIO()
    Image.new("RGB", (60, 40), "teal").save(file, "PNG")
    return file.getvalue()


@contextmanager
def started(more: Mapping[str, str] | None = None) -> Iterator[Server]:
    """The page as an operator starts it, without a model, in a folder of its own; more: of its environment."""
    with tempfile.TemporaryDirectory(prefix="chartqa-requests-") as name, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        folder, port = Path(name), free.getsockname()[1]
        free.close()
        (folder / "home").mkdir()
        (folder / "secret.txt").write_text(SECRET, encoding="utf-8")
        (folder / "home" / "secret.txt").write_text(SECRET, encoding="utf-8")
        places = {
            "GRADIO_TEMP_DIR": str(folder / "uploads"),
            "TRACKIO_DIR": str(folder / "trackio"),
            "HOME": str(folder / "home"),
        }
        command = [sys.executable, "-m", "bench.reliability.requests", "--serve", str(folder / "connections.txt")]
        command += ["--scripted", "--port", str(port), "--training", "off", "--results-dir", "results"]
        environment = {**os.environ, **places, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "0"} | dict(more or {})
        log = (folder / "log.txt").open("wb")
        process = subprocess.Popen(command, cwd=folder / "home", env=environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            for _ in range(600):
                try:
                    httpx.get(f"http://127.0.0.1:{port}/healthz", trust_env=False).raise_for_status()
                    break
                except httpx.HTTPError:
                    time.sleep(0.2)
            yield Server(folder, f"http://127.0.0.1:{port}", process)
        finally:
            process.terminate()
            process.wait(20)


def serve(connections: str, flags: Sequence[str]) -> None:
    """Start the page in this process, which from now on writes down with whom it speaks."""

    def heard(event: str, details: tuple[Any, ...]) -> None:
        if event not in ("socket.connect", "socket.getaddrinfo"):
            return
        place = details[1] if event == "socket.connect" else details[0]
        host = place[0] if isinstance(place, tuple) else place
        host = host.decode("latin-1") if isinstance(host, bytes) else str(host)
        if event == "socket.connect" and not isinstance(place, tuple):
            return  # a socket of this machine's file system
        if not host.startswith(LOOPBACK) and host != "None":
            with open(connections, "a", encoding="utf-8") as file:  # noqa: PTH123 (in an audit hook, the plainest)
                file.write(f"{event} {host}\n")

    sys.addaudithook(heard)
    sys.argv = ["app.py", *flags]
    runpy.run_module("chartqa_demo", run_name="__main__")


def main() -> int:
    """Exit code: 0 nothing failed, 1 something did."""
    if sys.argv[1:2] == ["--serve"]:
        serve(sys.argv[2], sys.argv[3:])
        return 0
    parser = argparse.ArgumentParser(prog="python -m bench.reliability.requests", description="Mutated requests.")
    parser.add_argument("--requests", type=int, default=1000, help="default: 1000")
    parser.add_argument("--seed", type=int, default=26, help="default: 26")
    parser.add_argument("--show", action="store_true", help="print every request that failed; write nothing")
    flags = parser.parse_args()
    sys.set_int_max_str_digits(0)  # the numbers that are sent have more
    counts, faults = Counter[tuple[str, str]](), Counter[str]()
    slowest = asked = 0.0
    with started() as server:
        mutations = Mutations(random.Random(flags.seed), server.own, server.config)
        spoken: list[str] = []
        for number in range(flags.requests):
            sent = mutations.one(number)
            told, again = server.send(sent), server.ask()
            counts[sent.kind, told.outcome] += 1
            slowest, asked = max(slowest, told.seconds), max(asked, again or 0.0)
            new, spoken = server.connections()[len(spoken) :], server.connections()
            forbidden = FORBIDDEN.search(told.text)
            failed = {
                TELLS: forbidden and forbidden[0],
                SILENT: told.outcome if told.outcome in (NO_ANSWER, NO_WORDS) else None,
                NO_NEXT: again is None,
                SPEAKS: new,
            }
            for why, what in failed.items():
                faults[why] += bool(what)
                if what and flags.show:
                    print(number, why, what, sent, told.text[-400:], flush=True)
    outcomes = sorted({outcome for _, outcome in counts})
    rows = [[kind, *(counts[kind, one] for one in outcomes)] for kind in sorted({kind for kind, _ in counts})]
    checks: list[list[object]] = [["Requests sent, an ordinary question after each", counts.total()]]
    checks += [[why, faults[why]] for why in (TELLS, SILENT, NO_NEXT, SPEAKS)]
    checks += [["Slowest request with its stream, in seconds", round(slowest, 1)]]
    checks += [["Slowest ordinary question, in seconds", round(asked, 1)]]
    sheets = [table("Sent, and what came back", ["sent", *outcomes], rows), table("Checks", ["check", "count"], checks)]
    print(json.dumps([rows, checks], indent=1))
    if not flags.show:
        command = f"python -m bench.reliability.requests --requests {flags.requests} --seed {flags.seed}"
        save("requests", "Requests", command, sheets, NOTES)
    return int(faults.total() > 0)


if __name__ == "__main__":
    sys.exit(main())
