"""A real `transformers serve` process on loopback: the same greedy answers as the local engine, and its failures.

The base and the base with the adapter merged in are two folders on disk, which this server takes as model names.
"""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest
from endpoint_server import eventually
from gateway import gateway
from gradio_client import Client, handle_file
from peft import PeftModel
from tiny import chart, last
from transformers import AutoModelForImageTextToText, AutoProcessor

from chartqa_demo.arms import ARMS
from chartqa_demo.data.splits import open_split
from chartqa_demo.engines import Answers, Options, endpoint
from chartqa_demo.engines.endpoint import EndpointEngine
from chartqa_demo.engines.endpoint.replies import read
from chartqa_demo.engines.local import load_local
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
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
    )
    return Serving(process, f"http://127.0.0.1:{port}/v1")


@pytest.fixture(scope="module")
def serving(tiny_merged: Path, bundled_merged: Path) -> Iterator[Serving]:
    """One server for all tests of this file; the last of them kills it."""
    running = serve()
    try:
        eventually(lambda: running.well, seconds=180)
        yield running
    finally:
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


@pytest.fixture(scope="module")
def bundled_merged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return merged(BUNDLED_BASE, BUNDLED_ADAPTER, tmp_path_factory.mktemp("bundled") / "merged")


def readable(text: str) -> str:
    """Without what only random weights write: special tokens in the middle, which this server passes on, and at the
    end half characters, which no stream carries, and control characters among them, which strip() takes for spaces."""
    return re.sub(r"[\s\ufffd]+$", "", re.sub(r"<\|\w+\|>", "", text)).strip()


def assert_same(there: Answers, here: Answers, question: str) -> None:
    assert [a.error for a in there] == [None] * len(there)
    assert [readable(a.text) for a in there] == [readable(a.text) for a in here], question
    for a, b in zip(there, here, strict=True):  # this server counts the end token, where there is one
        assert a.tokens - b.tokens in (0, 1)


def test_a_server_answers_as_the_local_engine_does(
    serving: Serving, tiny_base: Path, tiny_adapter: Path, tiny_merged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pieces = []  # counted where they come in: a busy machine shows only the newest state
    monkeypatch.setattr(endpoint, "read", lambda chunk: pieces.append(read(chunk)) or pieces[-1])
    local = load_local(Settings(base=str(tiny_base), adapter=str(tiny_adapter), device="cpu"))
    remote = serving.engine(tiny_base, tiny_merged)
    options = Options(max_new_tokens=12)
    for k, question in enumerate(QUESTIONS):
        pieces.clear()
        there = last(remote.answer(chart(k), question, ARMS, options))
        assert sum(bool(text) for text, *_ in pieces) > 2 * len(ARMS), "it did not stream"
        assert_same(there, last(local.answer(chart(k), question, ARMS, options)), question)
    remote.close()


@pytest.mark.campaign
def test_a_server_answers_about_bundled_charts_as_the_bundled_model_does_here(
    serving: Serving, bundled_merged: Path, figure: Callable[[str, object], None]
) -> None:
    """The first question of every chart, upright ones too, by the three arms in turn."""
    settings = Settings(base="bundled", adapter="bundled", device="cpu", dtype="float32")
    local, remote = load_local(settings), serving.engine(BUNDLED_BASE, bundled_merged, settings)
    charts = list({one.chart: one for one in reversed(open_split("bundled"))}.values())
    assert {width > height for width, height in (one.image_size() for one in charts)} == {True, False}
    compared = 0
    for k, arm in enumerate(ARMS):
        asked = [(one.load_image(), one.question) for one in charts[k :: len(ARMS)]]
        options = Options(max_new_tokens=8)
        here, there = (engine.answer_many(asked, [arm], options) for engine in (local, remote))
        for (_, question), mine, other in zip(asked, here, there, strict=True):
            assert_same(other, mine, question)
            compared += 1
    figure("greedy answers of transformers serve equal to the local engine's", f"{compared} about {len(charts)} charts")
    assert compared == len(charts) == 32
    remote.close()


@contextmanager
def app_of(serving: Serving, base: Path, adapter: Path, folder: Path) -> Iterator[str]:
    """`app.py --endpoint` as a process of its own; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    flags = ["--endpoint", serving.url, "--base-name", str(base), "--adapter-name", str(adapter)]
    process = subprocess.Popen(
        [sys.executable, "app.py", *flags, "--port", str(port), "--queue-size", "100"],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "CHARTQA_RESULTS_DIR": str(folder)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"

    def up() -> bool:
        assert process.poll() is None, "the app has ended"
        try:
            return httpx.get(f"{url}/healthz").status_code == 200
        except httpx.TransportError:
            return False

    try:
        eventually(up, seconds=120)
        yield url
    finally:
        process.terminate()
        process.wait(30)


@pytest.mark.campaign  # fifty visitors of a server that only plays one are in endpoint/
def test_visitors_of_the_app_at_once_get_the_answers_to_their_own_questions(
    serving: Serving,
    tiny_base: Path,
    tiny_adapter: Path,
    tiny_merged: Path,
    tmp_path: Path,
    figure: Callable[[str, object], None],
) -> None:
    """Fifty clients ask the app, twice; its memory, by its own metrics, stays what it was after the first time."""
    count = 50
    asked = [(chart(k), f"How many bars are above {k}?") for k in range(count)]
    local = load_local(Settings(base=str(tiny_base), adapter=str(tiny_adapter), device="cpu"))
    here = [[readable(a.text) for a in row] for row in local.answer_many(asked, ARMS, Options(max_new_tokens=4))]
    assert len(set(map(tuple, here))) > count / 2, "too many questions have the same answers to tell visitors apart"
    pictures = []
    for k, (image, _) in enumerate(asked):
        pictures.append(tmp_path / f"{k}.png")
        image.save(pictures[-1])

    with app_of(serving, tiny_base, tiny_merged, tmp_path) as url:

        def metric(name: str) -> float:
            (value,) = re.findall(rf"^{name} (\S+)$", httpx.get(f"{url}/metrics", timeout=60).text, re.MULTILINE)
            return float(value)

        def arrive(k: int) -> Client:
            return Client(url, verbose=False, analytics_enabled=False, httpx_kwargs={"timeout": 60})

        def visit(k: int) -> list[str]:
            sent = {"image": handle_file(pictures[k]), "question": asked[k][1], "max_new_tokens": 4}
            reply = clients[k].predict(**sent, api_name="/ask")
            assert [arm["error"] for arm in reply] == [None] * 3
            return [readable(arm["text"]) for arm in reply]

        memory = []
        with ThreadPoolExecutor(count) as visitors:
            clients = list(visitors.map(arrive, range(count)))
            for _ in range(2):
                assert list(visitors.map(visit, range(count))) == here
                memory.append(metric("process_resident_memory_bytes") / 2**20)
        figure(f"memory of the app after {count} and after {2 * count} questions, MiB", [round(one) for one in memory])
        assert memory[1] - memory[0] < 32
        assert metric(r'chartqa_asks_total\{outcome="answered"\}') == 2 * count
        assert metric("chartqa_running") == metric("chartqa_waiting") == 0


@pytest.mark.parametrize(
    ("fault", "kind", "sentence"),
    [
        (429, "busy", "is busy (429)"),
        pytest.param(500, "server", "failed on this question (500): says the gateway", marks=pytest.mark.campaign),
        (401, "key", "refused the key (401). Set OPENAI_API_KEY"),
        # As with any server, see test_endpoint.py
        pytest.param("slow", "timeout", "did not finish within 5 seconds", marks=pytest.mark.campaign),
    ],
)
def test_what_a_gateway_in_front_refuses_is_a_sentence_and_leaves_the_others_unharmed(
    serving: Serving,
    tiny_base: Path,
    tiny_merged: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: int | str,
    kind: str,
    sentence: str,
) -> None:
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong-key")
    alone = serving.engine(tiny_base, tiny_merged)
    well = last(alone.answer(chart(), QUESTIONS[0], ARMS, Options(max_new_tokens=4)))
    with gateway(serving.url, str(tiny_merged), fault) as url:
        names = {"base_name": str(tiny_base), "adapter_name": str(tiny_merged)}
        engine = EndpointEngine(Settings(endpoint=url, **names), timeout_s=5.0 if fault == "slow" else 120.0)
        *others, adapter = last(engine.answer(chart(), QUESTIONS[0], ARMS, Options(max_new_tokens=4)))
        engine.close()
    assert [(a.text, a.error) for a in others] == [(a.text, None) for a in well[:2]]
    assert adapter.error_kind == kind and adapter.error.startswith(f"The server at {engine.host} {sentence}")
    alone.close()


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


def test_a_server_that_dies_in_the_middle_is_a_sentence_in_every_card(
    serving: Serving, tiny_base: Path, tiny_merged: Path
) -> None:
    """The last test of this file: the server is gone afterwards."""
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
