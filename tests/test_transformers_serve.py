"""A real `transformers serve` process on loopback: the same greedy answers as the local engine, and its failures.

The base and the base with the adapter merged in are two folders on disk, which this server takes as model names.
"""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest
from endpoint_server import eventually
from peft import PeftModel
from PIL import Image
from test_engine import chart, last
from tiny import build_tiny_adapter
from transformers import AutoModelForImageTextToText, AutoProcessor

from chartqa_demo.arms import ARMS
from chartqa_demo.dataset import open_split
from chartqa_demo.engines import Options
from chartqa_demo.engines.endpoint import EndpointEngine
from chartqa_demo.engines.local import load_engine
from chartqa_demo.settings import BUNDLED_ADAPTER, BUNDLED_BASE, Settings

QUESTIONS = ["How many bars are above 40?", "What is the value of the red bar in 2019?", "Which country is highest?"]


@dataclass
class Serving:
    """A running server; `url` includes /v1."""

    process: subprocess.Popen[bytes]
    url: str

    @property
    def well(self) -> bool:
        assert self.process.poll() is None, "transformers serve has ended"
        try:
            return httpx.get(f"{self.url.removesuffix('/v1')}/health").status_code == 200
        except httpx.ConnectError:
            return False

    def engine(self, base: Path, adapter: Path, settings: Settings | None = None) -> EndpointEngine:
        names = {"base_name": str(base), "adapter_name": str(adapter)}
        return EndpointEngine(replace(settings or Settings(), endpoint=self.url, **names))


def serve() -> Serving:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [Path(sys.executable).with_name("transformers"), "serve", "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(
        [*map(str, command), "--device", "cpu", "--dtype", "float32"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "2", "HF_HUB_OFFLINE": "1"},
    )
    serving = Serving(process, f"http://127.0.0.1:{port}/v1")
    eventually(lambda: serving.well, seconds=180)
    return serving


@pytest.fixture(scope="module")
def serving() -> Iterator[Serving]:
    running = serve()
    yield running
    running.process.terminate()
    running.process.wait(30)


def merged(base: Path, adapter: Path, folder: Path) -> Path:
    """The base with the adapter's weights added to its own, as a model of its own."""
    model = AutoModelForImageTextToText.from_pretrained(base, dtype="float32")
    PeftModel.from_pretrained(model, str(adapter)).merge_and_unload().save_pretrained(folder)
    AutoProcessor.from_pretrained(base).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def tiny_merged(tiny_base: Path, tiny_adapter: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return merged(tiny_base, tiny_adapter, tmp_path_factory.mktemp("tiny") / "merged")


def readable(text: str) -> str:
    """Without what only random weights write: special tokens in the middle, which this server passes on, and half a
    character at the end, which no stream carries."""
    return re.sub(r"<\|\w+\|>", "", text).rstrip("\ufffd").strip()


def assert_same_answers(
    serving: Serving, settings: Settings, base: Path, adapter: Path, asked: list[tuple[Image.Image, str]]
) -> None:
    options = Options(max_new_tokens=12)
    local = load_engine(settings)
    remote = serving.engine(base, adapter, settings)
    for image, question in asked:
        here = last(local.answer(image, question, ARMS, options))
        there = last(remote.answer(image, question, ARMS, options))
        assert [a.error for a in there] == [None] * 3
        assert [readable(a.text) for a in there] == [readable(a.text) for a in here], question
        for a, b in zip(there, here, strict=True):  # this server counts the end token, where there is one
            assert a.tokens - b.tokens in (0, 1)
    remote.close()


def test_a_server_answers_as_the_local_engine_does(
    serving: Serving, tiny_base: Path, tiny_adapter: Path, tiny_merged: Path
) -> None:
    settings = Settings(base=str(tiny_base), adapter=str(tiny_adapter), device="cpu")
    asked = [(chart(k), question) for k, question in enumerate(QUESTIONS)]
    assert_same_answers(serving, settings, tiny_base, tiny_merged, asked)


def test_a_server_answers_as_the_local_engine_does_with_the_bundled_model(serving: Serving, tmp_path: Path) -> None:
    charts = {one.chart: one for one in open_split("bundled")}
    asked = [(one.load_image(), one.question) for one in list(charts.values())[:4]]
    adapter = BUNDLED_ADAPTER if BUNDLED_ADAPTER.is_dir() else build_tiny_adapter(BUNDLED_BASE, tmp_path / "adapter")
    tuned = merged(BUNDLED_BASE, adapter, tmp_path / "merged")
    settings = Settings(base="bundled", adapter=str(adapter), device="cpu", dtype="float32")
    assert_same_answers(serving, settings, BUNDLED_BASE, tuned, asked)


def test_fifty_visitors_at_once_get_the_answers_to_their_own_questions(
    serving: Serving, tiny_base: Path, tiny_adapter: Path, tiny_merged: Path
) -> None:
    options = Options(max_new_tokens=8)
    asked = [(chart(k), f"How many bars are above {k}?") for k in range(50)]
    local = load_engine(Settings(base=str(tiny_base), adapter=str(tiny_adapter), device="cpu"))
    here = [[readable(a.text) for a in last(local.answer(*one, ARMS, options))] for one in asked]
    assert len(set(map(tuple, here))) > 25, "too many questions have the same answers to tell visitors apart"
    remote = EndpointEngine(
        Settings(endpoint=serving.url, base_name=str(tiny_base), adapter_name=str(tiny_merged)), timeout_s=600
    )
    with ThreadPoolExecutor(50) as visitors:
        there = list(visitors.map(lambda one: last(remote.answer(*one, ARMS, options)), asked))
    assert [answer.error for row in there for answer in row] == [None] * 150
    assert [[readable(a.text) for a in row] for row in there] == here
    remote.close()


def test_leaving_in_the_middle_frees_the_server_for_the_next_question(
    serving: Serving, tiny_base: Path, tiny_merged: Path
) -> None:
    engine = serving.engine(tiny_base, tiny_merged)
    states = engine.answer(chart(), QUESTIONS[0], ARMS, Options(max_new_tokens=512))
    for state in states:
        if any(answer.text for answer in state):
            break
    states.close()
    answers = last(engine.answer(chart(), QUESTIONS[0], ARMS, Options(max_new_tokens=4)))
    assert [answer.error for answer in answers] == [None] * 3
    engine.close()


def test_a_model_that_the_server_lacks_is_a_sentence_and_the_base_still_answers(
    serving: Serving, tiny_base: Path, tmp_path: Path
) -> None:
    engine = serving.engine(tiny_base, tmp_path / "nothing")
    pretrained, prompted, adapter = last(engine.answer(chart(), QUESTIONS[0], ARMS, Options(max_new_tokens=4)))
    assert pretrained.error is prompted.error is None and pretrained.text
    assert adapter.error and adapter.error.startswith(f"The server at {engine.host} ")
    engine.close()


def test_a_server_that_dies_in_the_middle_is_a_sentence_in_every_card(tiny_base: Path, tiny_merged: Path) -> None:
    serving = serve()
    engine = serving.engine(tiny_base, tiny_merged)
    states = engine.answer(chart(), QUESTIONS[0], ARMS, Options(max_new_tokens=512))
    final = ()
    for final in states:
        if any(answer.text and not answer.done for answer in final):
            serving.process.send_signal(signal.SIGKILL)
    serving.process.wait(30)
    assert any(answer.error_kind == "cut_off" and answer.text for answer in final)
    for answer in final:
        assert answer.done and (answer.error is None or answer.error.startswith(f"The server at {engine.host} "))
    (answer,) = last(engine.answer(chart(), QUESTIONS[0], ARMS[:1], Options()))
    assert answer.error_kind == "unreachable"
    engine.close()
