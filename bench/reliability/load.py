"""Many visitors at one page: whether all are answered or told how long to wait, and whether the server stays as it was.

    python -m bench.reliability.load --visitors 100 --minutes 10          # bench/results/reliability/load.json

Starts the app as people do, once with the bundled model and once with scripted answers, and asks it over HTTP and with
`gradio_client` from as many threads as there are visitors, each with a pause between two questions. `bench.visitors`
measures engines, this the page in front of one.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from gradio_client import Client, handle_file
from gradio_client.utils import QueueError

from bench.reliability import ROOT, save, table
from chartqa_demo.data.splits import open_split

SOME_S = 2.0  # between two looks at the server
PAIRS = 12  # charts with their questions
UPLOADS_MB = 60
NEW = 200_000  # bytes behind a chart, which make it another file
LEFT = 10  # questions that are given up, in each of two ways
PORT = 7_861
ANSWERED, FULL, MIXED = "answered", "told when to come back", "another's answer"


@dataclass
class Server:
    """The app in a process of its own. seen: seconds, bytes, threads, open files, bytes of the uploads."""

    url: str
    process: subprocess.Popen[bytes]
    uploads: Path
    seen: list[tuple[float, ...]] = field(default_factory=list)

    def look(self) -> None:
        """What the server holds now."""
        place = Path(f"/proc/{self.process.pid}")
        status = dict(line.split(":", 1) for line in (place / "status").read_text(encoding="ascii").splitlines())
        kept = 0
        for folder, _, files in os.walk(self.uploads):
            for file in files:
                with suppress(OSError):  # it was deleted since
                    kept += Path(folder, file).stat().st_size
        opened = len(list((place / "fd").iterdir()))
        self.seen.append(
            (time.monotonic(), int(status["VmRSS"].split()[0]) * 1024, int(status["Threads"]), opened, kept)
        )

    def metric(self, name: str) -> float:
        """A number of `/metrics`."""
        text = httpx.get(f"{self.url}metrics", timeout=30).text
        return next(float(line.split()[-1]) for line in text.splitlines() if line.startswith(f"{name} "))


@contextmanager
def served(flags: list[str]) -> Iterator[Server]:
    """The app with these flags."""
    with tempfile.TemporaryDirectory() as folder:
        uploads = Path(folder, "uploads")
        usual = f"--port {PORT} --results-dir {folder} --uploads-mb {UPLOADS_MB}".split()
        command = [sys.executable, "app.py", *usual, *flags]
        environ = os.environ | {"GRADIO_TEMP_DIR": str(uploads), "CHARTQA_CORRECTIONS": "browser"}
        with Path(folder, "log").open("wb") as log:
            process = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=log, stderr=log)
        try:
            server = Server(f"http://127.0.0.1:{PORT}/", process, uploads)
            for _ in range(240):
                with suppress(httpx.HTTPError):
                    if httpx.get(f"{server.url}healthz", timeout=5).status_code == 200:
                        break
                time.sleep(0.5)
            yield server
        finally:
            process.terminate()
            process.wait(30)


@dataclass
class Asked:
    """One question: when it was put and answered (seconds), and what came of it."""

    at: float
    done: float
    outcome: str


class Visitors:
    """Threads that ask until `ending`; known: what the page answers when nobody else asks."""

    def __init__(self, server: Server, think_s: float) -> None:
        self.server, self.think_s = server, think_s
        split = open_split("bundled")
        chance = random.Random(26)
        self.pairs = [(one.read(), one.question) for one in chance.sample(list(split), PAIRS)]
        self.http = httpx.Client(
            base_url=f"{server.url}gradio_api/", timeout=180, limits=httpx.Limits(max_connections=None)
        )
        self.known = [self.over_http(pair) for pair in self.pairs]
        self.asked: list[Asked] = []
        self.waits: list[int] = []
        self.ending = threading.Event()

    def over_http(self, pair: tuple[bytes, str]) -> list[str]:
        """The three texts. Raises QueueError with the seconds to wait where the queue is full."""
        path = self.http.post("upload", files={"files": ("chart.png", pair[0] + os.urandom(NEW))}).json()[0]
        data = [{"path": path, "meta": {"_type": "gradio.FileData"}}, pair[1], None, 32, 0, 0, None, None]
        reply = self.http.post("call/compare", json={"data": data})
        if reply.status_code == 503:
            raise QueueError(reply.headers["retry-after"])
        told = self.http.get(f"call/compare/{reply.json()['event_id']}").text
        found: Any = json.loads(told.split("event: complete\ndata: ")[1].split("\n")[0])[0]
        return [found["question"], *(answer["text"] for answer in found["answers"])]

    def visit(self, number: int) -> None:
        """One visitor; every fifth asks with `gradio_client`."""
        chance, client, ask = random.Random(number), None, self.over_http
        if number % 5 == 0:
            client = Client(self.server.url, verbose=False, analytics_enabled=False)
            ask = self.with_client(client, number)
        self.ending.wait(chance.uniform(0, self.think_s))
        while not self.ending.is_set():
            which, began, wait = chance.randrange(PAIRS), time.monotonic(), 0.0
            try:
                outcome = ANSWERED if ask(self.pairs[which]) == self.known[which] else MIXED
            except QueueError as error:
                outcome, wait = FULL, float(str(error) if str(error).isdigit() else 5)
                self.waits.append(int(wait))
            except Exception as error:
                outcome = f"failed: {type(error).__name__}"
            self.asked.append(Asked(began, time.monotonic(), outcome))
            self.ending.wait(wait + chance.expovariate(1 / self.think_s))
        if client is not None:
            client.close()

    def with_client(self, client: Client, number: int) -> Callable[[tuple[bytes, str]], list[str]]:
        """`over_http` by `gradio_client`."""
        file = self.server.uploads.parent / f"{number}.png"

        def ask(pair: tuple[bytes, str]) -> list[str]:
            file.write_bytes(pair[0] + os.urandom(NEW))
            found: Any = client.predict(handle_file(file), pair[1], max_new_tokens=32, api_name="/compare")
            return [found["question"], *(answer["text"] for answer in found["answers"])]

        return ask

    def come(self, count: int, seconds: float) -> None:
        """`count` visitors for so long."""
        threads = [threading.Thread(target=self.visit, args=(number,)) for number in range(count)]
        for thread in threads:
            thread.start()
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.server.look()
            time.sleep(SOME_S)
        self.ending.set()
        for thread in threads:
            thread.join()

    def leave(self, stop: bool) -> float:
        """Give a question up that is being answered, by Stop or by closing the connection; how long the engine goes on,
        in seconds."""
        path = self.http.post("upload", files={"files": ("chart.png", self.pairs[0][0])}).json()[0]
        data = [{"path": path, "meta": {"_type": "gradio.FileData"}}, "Describe it.", None, 512, 1, 0, None, None]
        session = f"left{random.random()}"
        fn = next(one["id"] for one in self.http.get("../config").json()["dependencies"] if one["api_name"] == "ask")
        joined = {"data": data, "fn_index": fn, "session_hash": session}
        event = self.http.post("queue/join", json=joined).json()["event_id"]
        with self.http.stream("GET", f"queue/data?session_hash={session}") as lines:
            next(line for line in lines.iter_lines() if "process_generating" in line)
            began = time.monotonic()
            if stop:
                self.http.post("cancel", json={"session_hash": session, "fn_index": fn, "event_id": event})
        while self.server.metric("chartqa_running") > 0:
            time.sleep(0.02)
        return time.monotonic() - began


def overtaken(asked: list[Asked]) -> int:
    """By how many questions that were put at least a second later an answered one was overtaken at most."""
    done = sorted((one for one in asked if one.outcome == ANSWERED), key=lambda one: one.done)
    return max((sum(1 for other in done[:place] if other.at > one.at + 1) for place, one in enumerate(done)), default=0)


def slope(seen: list[tuple[float, ...]], which: int) -> float:
    """What a number of the server's grows by in ten minutes, by a line through the second half of the looks at it."""
    half = np.array(seen[len(seen) // 2 :])
    return float(np.polyfit(half[:, 0], half[:, which], 1)[0] * 600)


def measure(name: str, flags: list[str], count: int, seconds: float, think_s: float) -> dict[str, list[Any]]:
    """One engine under load: the rows of the three tables."""
    with served(flags) as server:
        visitors = Visitors(server, think_s)
        before = os.getloadavg()[0]
        visitors.come(count, seconds)
        stopped = [visitors.leave(True) for _ in range(LEFT)]
        closed = [visitors.leave(False) for _ in range(LEFT)]
        time.sleep(SOME_S)
        server.look()
        again = visitors.over_http(visitors.pairs[0]) == visitors.known[0]
    outcomes = Counter(one.outcome for one in visitors.asked)
    lasted = sorted(one.done - one.at for one in visitors.asked if one.outcome == ANSWERED) or [0.0]
    print(outcomes, before, os.getloadavg())
    first, last = server.seen[len(server.seen) // 10], server.seen[-1]
    most = [max(values) for values in zip(*server.seen, strict=True)]
    held = (
        ("memory, MB", 1, 10**6),
        ("threads", 2, 1),
        ("open files", 3, 1),
        (f"uploads, MB (at most {UPLOADS_MB} allowed)", 4, 10**6),
    )
    counts = [outcomes[one] for one in (ANSWERED, FULL, MIXED)]
    times = [lasted[len(lasted) // 2], lasted[len(lasted) * 95 // 100], max(visitors.waits, default=0)]
    gone = [round(max(each), 2) for each in (stopped, closed)]
    minutes, asked = round(seconds / 60, 1), len(visitors.asked)
    return {
        "outcomes": [name, count, minutes, asked, *counts, asked - sum(counts)],
        "times": [name, *(round(one, 1) for one in times), overtaken(visitors.asked), *gone, "yes" if again else "no"],
        "held": [
            [
                name,
                what,
                *(round(one[at] / unit) for one in (first, most, last)),
                round(slope(server.seen[:-1], at) / unit, 1),
            ]
            for what, at, unit in held
        ],
        "load": [f"{before:.1f}"],
    }


def main() -> int:
    """Exit code: 0 where every question was answered by its own answer, or told to wait; else 1."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.reliability.load", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--visitors", type=int, default=100, help="default: 100")
    parser.add_argument("--minutes", type=float, default=10, help="of load for each engine; default: 10")
    parser.add_argument(
        "--think", type=float, default=20, help="seconds between two questions of a visitor; default: 20"
    )
    flags = parser.parse_args()
    runs = [
        measure(name, engine, flags.visitors, flags.minutes * 60, flags.think)
        for name, engine in (("scripted", ["--scripted"]), ("bundled model", ["--base", "bundled", "--device", "cpu"]))
    ]
    save(
        "load",
        "Load",
        f"{parser.prog} --visitors {flags.visitors} --minutes {flags.minutes:g} --think {flags.think:g}",
        [
            table(
                "What became of the questions",
                ["engine", "visitors", "minutes", "asked", ANSWERED, FULL, MIXED, "failed"],
                [run["outcomes"] for run in runs],
            ),
            table(
                "Seconds to the answer, to wait when the queue was full, that the engine went on after Stop and after "
                "a closed connection; and an answer afterwards",
                ["engine", "median", "95 %", "told", "overtaken by", "after Stop", "after closing", "as before"],
                [run["times"] for run in runs],
            ),
            table(
                "What the server held: after a tenth of the time, at most, at the end; slope over the second half",
                ["engine", "what", "early", "at most", "at the end", "grows in 10 minutes"],
                [row for run in runs for row in run["held"]],
            ),
        ],
        [
            "An answer is a visitor's own where it is the one that the same question had when nobody else asked. "
            "Overtaken by: questions put at least a second later that were answered before, at most.",
            f"The machine did other work; load average before the runs: {runs[0]['load'][0]}, {runs[1]['load'][0]}.",
        ],
    )
    return int(any(run["outcomes"][-1] or run["outcomes"][-2] for run in runs))


if __name__ == "__main__":
    sys.exit(main())
