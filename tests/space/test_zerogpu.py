"""The page on ZeroGPU: `app.py` as a Space starts it, in a process of its own, with the real `spaces` client.

Only the platform's HTTP calls and CUDA itself are stood in for, see tests/space/zerogpu_scheduler.py.
"""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from signal import SIGKILL
from typing import Any

import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from page_fixtures import bar_chart
from zerogpu_scheduler import Scheduler, serve_scheduler

from chartqa_demo.arms import ARMS
from chartqa_demo.engines import Options
from chartqa_demo.engines.scripted import ScriptedEngine
from chartqa_demo.errors import EngineError, OutOfMemory
from chartqa_demo.images import pixels_of
from chartqa_demo.settings import HUB_BASE
from chartqa_demo.space.zerogpu import Job, ZeroGpuEngine, lend_gpus, refusal, window_seconds

ROOT = Path(__file__).parents[2]
QUESTION = "How many bars are above 40?"
RECORDED_QUESTION = "Which bar is the tallest?"

QUOTA = (429, {"X-Authenticated": "regular"}, b'{"left": 3, "wait": "PT2H5M"}')
WITHOUT_TOKEN = (429, {}, b'{"left": 0, "wait": "PT2H"}')
TOO_LONG = (429, {"X-Approve-Result": "illegal-duration"}, b'{"left": 0, "wait": "-PT1S"}')
NO_GPU = (503, {}, b"{}")
QUEUE_FAILED = (200, {"Content-Type": "text/event-stream"}, b"event: failed\n\n")
NONSENSE = (500, {}, b"{}")

# Every token is noted in a file, waits while a file `hold` is there, and takes 0.3 s while there is one `slow`.
LAUNCH = """
import runpy, sys, time
from pathlib import Path
folder, url = Path(sys.argv[1]), sys.argv[2]
import zerogpu_scheduler
zerogpu_scheduler.emulate_cuda(url)
import chartqa_demo.data.splits, chartqa_demo.space.recorded
chartqa_demo.data.splits.BUNDLED_CHARTS = folder / "charts"
chartqa_demo.space.recorded.RECORDED_FILE = folder / "recorded.jsonl"
from chartqa_demo.engines.streaming import RowStreamer
put = RowStreamer.put_tokens
def put_held(self, value):
    put(self, value)
    with (folder / "tokens").open("ab") as file:
        file.write(b".")
    while (folder / "hold").exists():
        time.sleep(0.01)
    if (folder / "slow").exists():
        time.sleep(0.3)
RowStreamer.put_tokens = put_held
from chartqa_demo.engines.loading import choose
from chartqa_demo.settings import Settings
choice = choose(Settings())
(folder / "chosen").write_text(f"{choice.base} {choice.quantize} {choice.dtype} {choice.device}")
sys.argv = ["app.py"]
runpy.run_path("app.py", run_name="__main__")
"""


@dataclass
class Space:
    """A running Space; `folder` holds what the launched process reads and writes."""

    url: str
    scheduler: Scheduler
    folder: Path

    def client(self) -> Client:
        return Client(self.url, verbose=False, analytics_enabled=False)

    def tokens(self) -> int:
        file = self.folder / "tokens"
        return file.stat().st_size if file.exists() else 0

    def hold(self) -> None:
        (self.folder / "hold").touch()

    def slow_down(self) -> None:
        (self.folder / "slow").touch()

    def go_on(self) -> None:
        for name in ("hold", "slow"):
            (self.folder / name).unlink(missing_ok=True)


@pytest.fixture(scope="module")
def launched(tiny_base: Path, tiny_adapter: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Space]:
    folder = tmp_path_factory.mktemp("space")
    write_bundle(folder)
    with socket.socket() as free, serve_scheduler() as scheduler:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("CHARTQA_")}
        environ = inherited | {
            "PYTHONPATH": str(ROOT / "tests" / "space"),
            "OMP_NUM_THREADS": "1",
            "CHARTQA_BASE": str(tiny_base),
            "CHARTQA_ADAPTER": str(tiny_adapter),
            "CHARTQA_PORT": str(port),
            "CHARTQA_RESULTS_DIR": str(folder / "results"),
        }
        command = [sys.executable, "-u", "-c", LAUNCH, str(folder), scheduler.url]
        pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        app = subprocess.Popen(command, cwd=ROOT, env=environ, start_new_session=True, **pipe)
        log: list[str] = []
        try:
            for line in app.stdout or []:
                log.append(line)
                if "Running on local URL" in line:
                    break
            else:
                raise AssertionError("".join(log[-40:]))
            threading.Thread(target=lambda: log.extend(app.stdout or []), daemon=True).start()
            yield Space(f"http://127.0.0.1:{port}", scheduler, folder)
        finally:
            os.killpg(app.pid, SIGKILL)  # its workers too, which outlive it otherwise
            app.wait()
        print("".join(log[-60:]))


@pytest.fixture
def space(launched: Space) -> Iterator[Space]:
    launched.scheduler.calls.clear()
    yield launched
    launched.scheduler.refusal = None
    launched.go_on()
    launched.scheduler.wait_until_all_released()


def write_bundle(folder: Path) -> None:
    """One chart with two questions, the second with recorded answers of the bundled model."""
    charts = folder / "charts"
    charts.mkdir()
    bar_chart().save(charts / "visitors.png")
    rows = [
        {
            "id": f"test/{number}",
            "image": "visitors.png",
            "query": question,
            "label": "4",
            "human_or_machine": 0,
            "kind": "bars",
        }
        for number, question in enumerate((QUESTION, RECORDED_QUESTION))
    ]
    (charts / "qa.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    line = {
        "date": "2026-11-24",
        "model": "the bundled small Qwen2-VL",
        "adapter": "bundled",
        "max_new_tokens": 96,
        "chart": "visitors.png",
        "pixels": pixels_of(bar_chart()),
        "question": RECORDED_QUESTION,
        "texts": {"pretrained": "It is the fourth", "prompted": "the fourth", "adapter": "fourth"},
        "tokens": {"pretrained": 5, "prompted": 3, "adapter": 1},
        "systems": {arm.key: arm.system for arm in ARMS},
    }
    (folder / "recorded.jsonl").write_text(json.dumps(line) + "\n", encoding="utf-8")


def ask(client: Client, space: Space, question: str = QUESTION, tokens: int = 12) -> Any:
    """A job of the API; `tokens` is the longest answer."""
    chart = handle_file(space.folder / "charts" / "visitors.png")
    return client.submit(chart, question, max_new_tokens=tokens, api_name="/ask")


def test_the_start_is_reported(launched: Space) -> None:
    assert launched.scheduler.paths() == ["/startup-report"]


def test_the_scheduler_sees_a_window_that_grows_with_the_answer(space: Space) -> None:
    # The first question of all: what slow windows before it took would have been learnt.
    space.scheduler.refusal = NO_GPU
    for tokens in (8, 400):
        with pytest.raises(AppError):
            ask(space.client(), space, tokens=tokens).result(60)
    short, long = (int(query["durationSeconds"]) for path, query in space.scheduler.calls if path == "/schedule")
    assert short < long < 60, "the platform's default would be 60 s"


def test_a_question_is_scheduled_allowed_and_released(space: Space) -> None:
    answers = ask(space.client(), space).result(60)
    space.scheduler.wait_until_all_released()
    assert space.scheduler.paths() == ["/schedule", "/allow", "/release"]
    assert [answer["arm"] for answer in answers] == ["pretrained", "prompted", "adapter"]
    assert all(answer["done"] and answer["error"] is None and answer["recorded"] is None for answer in answers)
    assert len({answer["text"] for answer in answers}) == 3, "three arms of one batch answer differently"
    assert space.scheduler.calls[-1][1]["fail"] == "false"


def test_auto_takes_the_7b_model_in_bfloat16_though_no_gpu_is_there_yet(space: Space) -> None:
    assert (space.folder / "chosen").read_text() == f"{HUB_BASE} none torch.bfloat16 cuda"


def test_three_arms_stream_through_the_workers_pipe(space: Space) -> None:
    job = ask(space.client(), space)
    states = list(job)
    assert len(states) > 2
    lengths = [sum(answer["tokens"] for answer in answers) for answers in states]
    assert lengths == sorted(lengths) and lengths[0] < lengths[-1]


def test_the_second_question_finds_the_worker_warm(space: Space) -> None:
    client = space.client()
    ask(client, space).result(60)
    ask(client, space).result(60)
    space.scheduler.wait_until_all_released()
    assert space.scheduler.paths().count("/schedule") == 2
    assert space.scheduler.paths().count("/allow") <= 1, "only a new worker has to be allowed"


def test_two_visitors_are_answered_at_once(space: Space) -> None:
    space.hold()
    first, second = ask(space.client(), space), ask(space.client(), space, "Is the second bar the largest?")
    next(first)
    next(second)
    assert len(space.scheduler.lent) == 2
    space.go_on()
    ours, theirs = first.result(60), second.result(60)
    assert [answer["text"] for answer in ours] != [answer["text"] for answer in theirs]


def test_a_visitor_who_leaves_ends_the_generation(space: Space) -> None:
    before = space.tokens()
    ask(space.client(), space, tokens=24).result(60)
    whole = space.tokens() - before

    space.slow_down()
    job = ask(space.client(), space, tokens=24)
    next(job)
    job.cancel()
    space.scheduler.wait_until_all_released()
    assert space.tokens() - before - whole < whole / 2


@pytest.mark.parametrize(
    ("refusal", "sentence"),
    [
        (WITHOUT_TOKEN, "this Space's own GPU time is used up"),
        (TOO_LONG, "more than ZeroGPU allows at once"),
        (NO_GPU, "No GPU became free"),
        (QUEUE_FAILED, "No GPU became free"),
        (NONSENSE, "ZeroGPU gave no GPU for this question"),
    ],
    ids=["no token", "too long", "no GPU", "queue", "nonsense"],
)
def test_a_refusal_is_a_sentence(space: Space, refusal: tuple[int, dict[str, str], bytes], sentence: str) -> None:
    space.scheduler.refusal = refusal
    with pytest.raises(AppError, match=sentence):
        ask(space.client(), space).result(60)
    space.scheduler.refusal = None
    assert ask(space.client(), space, tokens=4).result(60)[0]["done"], "the next question is answered"


def test_a_used_up_quota_says_what_was_needed_what_is_left_and_when_it_resets(space: Space) -> None:
    space.scheduler.refusal = QUOTA
    client = space.client()
    client.headers["x-ip-token"] = "a.visitors.token"
    with pytest.raises(AppError, match=r"reserves \d+ s and you have 3 s left\. It resets in 2 h 5 min"):
        ask(client, space).result(60)


def test_a_refused_question_of_a_bundled_chart_shows_its_recorded_answers(space: Space) -> None:
    space.scheduler.refusal = NO_GPU
    job = ask(space.client(), space, RECORDED_QUESTION)
    with pytest.raises(AppError, match="No GPU became free"):
        job.result(60)
    (answers,) = job.outputs()
    assert [answer["text"] for answer in answers] == ["It is the fourth", "the fourth", "fourth"]
    assert {answer["recorded"] for answer in answers} == {
        "Recorded on 2026-11-24 by the bundled small Qwen2-VL with its adapter, not by the model of this page."
    }


def test_a_worker_that_is_killed_leaves_what_it_answered_and_a_sentence(space: Space) -> None:
    ask(space.client(), space).result(60)
    space.scheduler.wait_until_all_released()
    space.hold()
    job = ask(space.client(), space, tokens=24)
    partial = next(job)
    ((gpu, _),) = space.scheduler.lent.values()
    os.kill(space.scheduler.workers[gpu], SIGKILL)
    with pytest.raises(AppError, match="The GPU was taken back before the answers were finished"):
        job.result(60)
    assert job.outputs()[-1] == partial
    space.go_on()
    assert all(answer["done"] for answer in ask(space.client(), space).result(60)), "a new worker answers"


def job_of(tokens: int = 64, size: tuple[int, int] = (800, 600), questions: int = 1) -> Job:
    item = (bar_chart().resize(size), QUESTION)
    return Job((item,) * questions, ARMS, Options(max_new_tokens=tokens), streams=questions == 1)


def test_a_window_for_the_7b_model_fits_a_signed_out_visitors_two_minutes_several_times() -> None:
    blackwell = 1.5
    assert blackwell * window_seconds(job_of(), weight_bytes=16_600_000_000) <= 120 / 4


def test_larger_charts_longer_answers_and_more_questions_reserve_more() -> None:
    plain = window_seconds(job_of(), 10**9)
    assert window_seconds(job_of(tokens=512), 10**9) > plain
    assert window_seconds(job_of(size=(1400, 1200)), 10**9) > plain
    assert window_seconds(job_of(questions=16), 10**9) > plain
    assert window_seconds(job_of(), 16 * 10**9) > plain
    assert window_seconds(job_of(size=(4000, 3000)), 10**9) == window_seconds(job_of(size=(2000, 1500)), 10**9)


def test_a_message_that_nobody_knows_has_no_sentence() -> None:
    assert refusal("A new kind of refusal", 20) is None


def test_off_zerogpu_nothing_is_lent(monkeypatch: pytest.MonkeyPatch) -> None:
    import spaces

    def answer() -> None: ...

    assert spaces.GPU(duration=5)(answer) is answer


@pytest.mark.parametrize(
    ("failure", "kind", "sentence"),
    [
        (OutOfMemory("The GPU ran out of memory."), OutOfMemory, "The GPU ran out of memory."),
        (EngineError("The model is gone."), EngineError, "The model is gone."),
        (ZeroDivisionError("secret"), EngineError, r"The model failed on this question \(ZeroDivisionError\)"),
    ],
    ids=["memory", "sentence", "bug"],
)
def test_what_fails_in_the_worker_keeps_its_sentence_and_kind(failure: Exception, kind: type, sentence: str) -> None:
    scripted = ScriptedEngine(delay=0)
    scripted.failure = failure
    engine = ZeroGpuEngine(scripted, weight_bytes=10**9)
    with pytest.raises(kind, match=sentence) as told:
        list(engine.answer(bar_chart(), QUESTION, ARMS, Options()))
    assert "secret" not in str(told.value)
    scripted.failure = failure
    with pytest.raises(kind, match=sentence):
        engine.answer_many([(bar_chart(), QUESTION)], ARMS, Options())


def test_many_questions_are_answered_in_one_window_as_without_zerogpu() -> None:
    items = [(bar_chart(), QUESTION), (bar_chart(), RECORDED_QUESTION)]
    plain = ScriptedEngine(delay=0)
    lent = ZeroGpuEngine(plain, weight_bytes=10**9)
    texts = [
        [[one.text for one in answers] for answers in e.answer_many(items, ARMS, Options())] for e in (lent, plain)
    ]
    assert texts[0] == texts[1]


def test_a_worker_is_made_ready_once_before_its_first_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chartqa_demo.space.zerogpu._warm", False)
    made: list[str] = []
    engine = ZeroGpuEngine(ScriptedEngine(delay=0), weight_bytes=10**9, begin=lambda: made.append("ready"))
    for _ in range(2):
        assert all(answer.done for answer in list(engine.answer(bar_chart(), QUESTION, ARMS, Options()))[-1])
    assert made == ["ready"]


def test_an_engine_without_a_model_needs_no_zerogpu() -> None:
    with pytest.raises(EngineError, match="needs no GPU here: choose CPU hardware"):
        lend_gpus(ScriptedEngine())


def test_another_adapter_has_to_wait_for_the_next_start() -> None:
    with pytest.raises(EngineError, match="set CHARTQA_ADAPTER to ann/lora and restart"):
        ZeroGpuEngine(ScriptedEngine(), weight_bytes=0).use_adapter("ann/lora")


@pytest.mark.parametrize(
    "part",
    [
        "You have exceeded your ZeroGPU runs limit",
        "reached its GPU limit",
        "too many ZeroGPU credits",
        "No GPU was available",
        "GPU task aborted",
        "Expired ZeroGPU proxy token",
        "Connection closed by visitor",
    ],
)
def test_the_texts_by_which_a_refusal_is_known_are_those_of_the_installed_client(part: str) -> None:
    found = find_spec("spaces")
    assert found is not None and found.origin is not None
    sources = [path.read_text(encoding="utf-8") for path in (Path(found.origin).parent / "zero").glob("*.py")]
    assert any(part in source for source in sources)
    assert refusal(part, 7) is not None
