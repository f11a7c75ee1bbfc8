"""SIGTERM, with which a container or a service ends the app: amid an answer and an evaluation, soon and in order."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from children import ROOT
from page_fixtures import bar_chart, encoded, wait_until

from chartqa_demo.__main__ import let_children_be_stopped
from chartqa_demo.data.corrections import zipped
from chartqa_demo.engines.scripted import ScriptedEngine
from chartqa_demo.evaluate.record import read_results
from chartqa_demo.ui.training import child

PROGRAM = """
import atexit, sys
import chartqa_demo.engines as engines
from chartqa_demo.engines.scripted import ScriptedEngine
script = lambda arm, question: "word " * (100 if question == "Long?" else 1)
engines.load_engine = lambda settings: ScriptedEngine(0.3, script=script)
atexit.register(lambda: print("what was to be done at the end", file=sys.stderr))
from chartqa_demo.__main__ import main
print("a note")
main()
"""


def test_sigterm_ends_the_app_amid_an_answer_and_an_evaluation_with_its_record_and_without_uploads(
    tmp_path: Path,
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    uploads, said = tmp_path / "uploads", tmp_path / "said"
    with said.open("w") as printed:
        app = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, "--port", str(port), "--results-dir", str(tmp_path)],
            cwd=ROOT,
            env={**os.environ, "GRADIO_TEMP_DIR": str(uploads)},
            stdout=printed,
            stderr=printed,
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}/gradio_api/", timeout=60) as visitor:
            began = time.monotonic()
            while time.monotonic() - began < 60 and app.poll() is None:
                with suppress(httpx.TransportError):
                    visitor.get("/healthz")
                    break
                time.sleep(0.2)
            (path,) = visitor.post("upload", files={"files": ("chart.png", encoded(bar_chart()))}).json()
            assert Path(path).is_file()
            page = visitor.get("../config").json()
            (start,) = [one["id"] for one in page["components"] if one["props"].get("elem_id") == "evaluation-start"]
            (fn,) = [one["id"] for one in page["dependencies"] if [start, "click"] in one["targets"]]
            chosen = [0, 30, "any", 0, ["pretrained"], "somebody", "canonical"]
            visitor.post("queue/join", json={"data": chosen, "fn_index": fn, "session_hash": "a"}).raise_for_status()
            wait_until(lambda: any(b'"answers"' in one.read_bytes() for one in tmp_path.glob("*.jsonl")), "a record")
            data = [{"path": path, "meta": {"_type": "gradio.FileData"}}, "Long?", *[None] * 6]
            event = visitor.post("call/ask", json={"data": data}).json()["event_id"]
            with suppress(httpx.TransportError), visitor.stream("GET", f"call/ask/{event}") as answer:
                assert any("word" in line for line in answer.iter_lines())
                app.send_signal(signal.SIGTERM)
                assert app.wait(10) == 0
    finally:
        app.kill()
    assert not Path(path).parent.exists()
    (record,) = tmp_path.glob("*.jsonl")
    assert 0 < len(read_results(record).items) < 30
    assert said.read_text().count("what was to be done at the end") == said.read_text().count("a note") == 1


def test_a_training_that_the_page_started_ends_with_the_app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at_the_end: list[Callable[[], None]] = []
    started = subprocess.Popen

    def sleeping(_: list[str], **how: Any) -> Any:
        return started(["sleep", "60"], **how)

    monkeypatch.setattr(child.subprocess, "Popen", sleeping)
    monkeypatch.setattr(child.atexit, "register", at_the_end.append)
    training = child.Trainer(ScriptedEngine(), "own-charts.yaml", tmp_path).start(zipped((), {}))
    assert training.process.poll() is None
    for end in at_the_end:
        end()
    assert training.process.wait(10) == -signal.SIGKILL


def test_a_training_of_a_page_in_the_background_can_be_stopped() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell starts what ends with an ampersand
    try:
        let_children_be_stopped()
        signal.raise_signal(signal.SIGINT)  # and the page still ignores it
        with subprocess.Popen(["sleep", "60"]) as asleep:
            asleep.send_signal(signal.SIGINT)
            assert asleep.wait(10) == -signal.SIGINT
    finally:
        signal.signal(signal.SIGINT, before)
