"""What an operator watches: `/healthz` and `/metrics` (Prometheus text) beside the page, on the same port.

The routes are handed to `launch(app_kwargs=...)`, which puts them before Gradio's own; `mount_gradio_app` would do the
same and never start on ZeroGPU. Counts only: no question, no chart and no address of a visitor is kept.
"""

import sys
import time
from collections import deque
from collections.abc import Iterator

import gradio as gr
from prometheus_client import CONTENT_TYPE_LATEST, Counter, Gauge, Histogram, generate_latest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from chartqa_demo.engines import Answers
from chartqa_demo.errors import EngineError, first_line
from chartqa_demo.settings import on_zerogpu
from chartqa_demo.space.gradio_internals import FAILED, questions_waiting

STUCK_S = 300  # without a word of an answer; a 7B model on a CPU reads a chart in less
SECONDS = (0.05, 0.1, 0.2, 0.5, 1, 2, 3, 5, 8, 13, 20, 30, 60, 120)

ASKS = Counter("chartqa_asks", "Questions by how they ended: answered, failed (in every arm), stopped", ["outcome"])
ERRORS = Counter(
    "chartqa_errors", "Answers that failed, by arm and kind; arm `all`: the whole question", ["arm", "kind"]
)
FIRST_TOKEN = Histogram("chartqa_first_token_seconds", "Question to first token", ["arm"], buckets=SECONDS)
ANSWER = Histogram("chartqa_answer_seconds", "Question to last token", ["arm"], buckets=SECONDS)
TOKENS = Counter("chartqa_tokens", "Tokens answered", ["arm"])
RUNNING = Gauge("chartqa_running", "Questions being answered")
WAITING = Gauge("chartqa_waiting", "Questions in the queue")

_lasted = deque([5.0], maxlen=20)  # seconds, of the last questions
_asked: dict[int, float] = {}  # of the engine, a next word: when. Not of a page that is slow to fetch one


def counted(stream: Iterator[Answers]) -> Iterator[Answers]:
    """The same answers, counted as they end; closing the iterator closes `stream`."""
    outcome, last, mine, began = "stopped", (), id(stream), time.monotonic()
    try:
        with RUNNING.track_inprogress():
            _asked[mine] = time.monotonic()
            for last in stream:
                del _asked[mine]
                yield last
                _asked[mine] = time.monotonic()
        outcome = "failed" if last and all(answer.error for answer in last) else "answered"
        _lasted.append(time.monotonic() - began)
    except Exception as error:
        outcome = "failed"
        kind = type(error).__name__ if isinstance(error, EngineError) else "bug"
        ERRORS.labels("all", kind).inc()
        raise
    finally:
        _asked.pop(mine, None)
        close = getattr(stream, "close", None)
        if close is not None:
            close()
        ASKS.labels(outcome).inc()
        for answer in last:
            TOKENS.labels(answer.arm).inc(answer.tokens)
            if answer.error is not None:
                ERRORS.labels(answer.arm, answer.error_kind or "unknown").inc()
            elif answer.done:
                FIRST_TOKEN.labels(answer.arm).observe(answer.first_token_s or answer.total_s or 0.0)
                ANSWER.labels(answer.arm).observe(answer.total_s or 0.0)


def usual_seconds() -> float:
    """How long a question has taken to answer of late, in seconds."""
    return sum(_lasted) / len(_lasted)


def gpu_failure() -> str | None:
    """Why no question can be answered before a restart, None where nothing is known: an error on a GPU of one's own
    (a failed assertion, a bus error) stays with the process for good. Waits for nothing."""
    torch = sys.modules.get("torch")
    if torch is None or on_zerogpu() or not torch.cuda.is_initialized():
        return None
    try:
        for number in range(torch.cuda.device_count()):
            if torch.cuda.memory_reserved(number):  # else asking would start one that is not used
                torch.cuda.default_stream(number).query()
    except RuntimeError as error:
        return f"The GPU has failed, and only a restart helps: {first_line(error)}"
    return None


def stuck() -> str | None:
    """That an engine gives no answers any more, None where it does or nobody asks."""
    waited = time.monotonic() - min([*_asked.values()], default=time.monotonic())
    return f"No word of an answer for {waited:,.0f} s: the engine is stuck." if waited > STUCK_S else None


async def failed(request: Request, error: Exception) -> Response:
    """What a caller is told of a request that nobody thought of, instead of Starlette's bare "Internal Server Error";
    for `launch(app_kwargs={"exception_handlers": {Exception: failed}})`. The server's log has the traceback."""
    return JSONResponse({"detail": FAILED}, 500)


def routes(page: gr.Blocks) -> list[Route]:
    """`/healthz` and `/metrics` for `page.launch(app_kwargs={"routes": routes(page)})`."""

    async def healthz(request: Request) -> Response:
        # Not a model server elsewhere: one that is down fails for all replicas, and taking them all out helps nobody.
        failure = gpu_failure() or stuck()
        return JSONResponse({"status": failure or "ok"}, 503 if failure else 200)

    async def metrics(request: Request) -> Response:
        WAITING.set(questions_waiting(page))
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return [Route("/healthz", healthz), Route("/metrics", metrics)]
