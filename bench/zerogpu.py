"""The page as on ZeroGPU, on a GPU of this machine: what a cold and a warm question cost, and what was reserved.

    python -m bench.zerogpu --base bundled --asked 4 --output bench/results/zerogpu.json
    python -m bench.zerogpu --emulate          # without a GPU: CUDA is stood in for, the figures say nothing

Starts `app.py` with the real `spaces` and a scheduler on the loopback interface (tests/space/zerogpu_scheduler.py)
that lends this machine's own GPU; a forked worker moves the weights there at the first question. Further flags go to
`app.py`. Prints one JSON object; times in seconds, as a browser's connection sees them. `stages` says how a question's
time passes, in the page's process and in the worker: upload and queue, schedule, fork or wake, CUDA's start, weights,
first token of all arms, the rest of the answers, the way back to the page, release. Parts of the first token's time are
`chart`, reading the picture, `look`, launching the vision tower over it, and `prompts`, launching the prompts, in which
`capture` is a step's graph, where one had to be made; what is left is waiting for the device. Questions are asked at
temperature 1 with a seed, so that made-up weights answer with as many tokens as are allowed. `used_s` is what the
worker said of its window, beside the seconds that were reserved.
"""

import argparse
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

import httpx

from chartqa_demo.data.splits import open_split
from chartqa_demo.settings import BUNDLED_CHARTS

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "space"))

# Notes in a file what each process does when; the clock is the machine's, the same for both.
LAUNCH = """
import json, os, runpy, sys, time
file, emulated, url = sys.argv[1:4]
if emulated == "emulated":
    import zerogpu_scheduler
    zerogpu_scheduler.emulate_cuda(url)
import spaces
from spaces.zero import client, torch as cuda
def note(stage, value=None):
    with open(file, "a") as out:
        out.write(json.dumps([stage, time.monotonic() if value is None else value]) + "\\n")
def noted(module, name, before, after):
    call = getattr(module, name)
    def run(*args, **options):
        before and note(before)
        try:
            return call(*args, **options)
        finally:
            after and note(after)
    setattr(module, name, run)
noted(client, "schedule", "asked", "scheduled")
noted(client, "allow", "forked", None)
noted(cuda, "init", None, "cuda")
noted(client, "release", "released", None)
from chartqa_demo.engines import moving
from chartqa_demo.engines.fast import steps, tower
from chartqa_demo.engines.local import LocalEngine
from chartqa_demo.space import zerogpu
from chartqa_demo.space.window import Learnt
noted(moving, "move", None, "weights")
noted(tower.Tower, "__call__", "looking", "looked")
noted(steps, "captured", "capturing", "captured")
noted(steps.Decoder, "start", "starting", "started")
answer, lent, learn = LocalEngine.answer, zerogpu.ZeroGpuEngine.answer, Learnt.window
def watched(call, first, begun, last):
    def stream(*args):
        first and note(first)
        said = False
        for answers in call(*args):
            if not said and all(one.tokens or one.done for one in answers):
                said = True
                note(begun)
            yield answers
        note(last)
    return stream
def learnt(self, job, used, weight_bytes):
    learn(self, job, used, weight_bytes)
    note("used", used.seconds)
LocalEngine.answer = watched(answer, "begun", "token", "answered")
zerogpu.ZeroGpuEngine.answer = watched(lent, "received", "token_back", "answers_back")
Learnt.window = learnt
sys.argv = ["app.py", *sys.argv[4:]]
runpy.run_path("app.py", run_name="__main__")
"""
# From when to when, in the order in which it happens; a warm worker is neither forked nor given weights
STAGES = {
    "upload_and_queue": ("sent", "received"),
    "schedule": ("asked", "scheduled"),
    "fork": ("scheduled", "forked"),
    "cuda": ("forked", "cuda"),
    "weights": ("cuda", "weights"),
    "wake": ("scheduled", "begun"),
    "first_token": ("begun", "token"),
    "chart": ("begun", "looking"),
    "look": ("looking", "looked"),
    "capture": ("capturing", "captured"),
    "prompts": ("starting", "started"),
    "first_token_to_page": ("token", "token_back"),
    "page_to_visitor": ("token_back", "first"),
    "rest_of_the_answers": ("token", "answered"),
    "back_to_page": ("answered", "answers_back"),
    "release": ("answered", "released"),
    "page_to_visitor_last": ("answers_back", "done"),
}


def main() -> int:
    """Exit code: 0 every question was answered by every arm, 1 not."""
    from zerogpu_scheduler import serve_scheduler, zerogpu_environment  # pyright: ignore[reportMissingImports]

    parser = argparse.ArgumentParser(prog="python -m bench.zerogpu", description=__doc__)
    parser.add_argument("--asked", type=int, default=4, help="questions, one after another; default: 4")
    parser.add_argument("--emulate", action="store_true", help="stand in for CUDA")
    parser.add_argument("--output", type=Path, help="JSON file")
    parser.add_argument("--tokens", type=int, default=32, help="longest answer; default: 32")
    flags, rest = parser.parse_known_args()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    packed = Path(tempfile.mkdtemp())
    with serve_scheduler() as scheduler, tempfile.TemporaryFile("w+") as log:
        if not flags.emulate:
            told = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True).stdout
            scheduler.uuid = told.split("UUID: ")[1].split(")")[0]
        path = os.pathsep.join([str(ROOT / "tests" / "space"), os.environ.get("PYTHONPATH", "")])
        environ = os.environ | zerogpu_environment(scheduler.url, packed) | {"PYTHONPATH": path}
        notes = packed / "notes.jsonl"
        start = ["-c", LAUNCH, str(notes), "emulated" if flags.emulate else "", scheduler.url]
        command = [sys.executable, *start, "--port", str(port), "--max-new-tokens", str(flags.tokens), *rest]
        began = time.monotonic()
        app = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=log, stderr=log, start_new_session=True)
        try:
            page = _wait_for(f"http://127.0.0.1:{port}", app)
            figures: dict[str, Any] = {
                "command": shlex.join(["python", "-m", "bench.zerogpu", *sys.argv[1:]]),
                "date": date.today().isoformat(),
                "gpu": scheduler.uuid,
                "page_up_s": round(time.monotonic() - began, 2),
                "questions": [],
            }
            for number in range(flags.asked):
                figures["questions"].append(_ask(page, number, flags.tokens, 0.0 if flags.emulate else 1.0, notes))
                asked = [int(q["durationSeconds"]) for path, q in scheduler.calls if path == "/schedule"]
                figures |= {"reserved_s": asked, "calls": scheduler.paths()}
                if flags.output:
                    flags.output.write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        except Exception:
            log.seek(0)
            print(log.read()[-6000:], file=sys.stderr)
            raise
        finally:
            os.killpg(app.pid, signal.SIGKILL)
            app.wait()
            shutil.rmtree(packed, ignore_errors=True)
    print(json.dumps(figures, indent=2, ensure_ascii=False))
    return 0 if all(one["failed"] == 0 for one in figures["questions"]) else 1


def _wait_for(url: str, app: subprocess.Popen[bytes]) -> httpx.Client:
    page = httpx.Client(base_url=f"{url}/gradio_api", timeout=None, trust_env=False)
    while app.poll() is None:
        try:
            page.get("/info")
            return page
        except httpx.TransportError:
            time.sleep(0.2)
    raise RuntimeError(f"app.py ended with exit code {app.returncode}")


def _ask(page: httpx.Client, number: int, tokens: int, temperature: float, notes: Path) -> dict[str, Any]:
    charts = open_split("bundled")
    example = charts[number % len(charts)]
    chart = (BUNDLED_CHARTS / example.file_name).read_bytes()
    notes.unlink(missing_ok=True)
    at = {"sent": time.monotonic()}
    (path,) = page.post("/upload", files={"files": (example.file_name, chart)}).json()
    image = {"path": path, "meta": {"_type": "gradio.FileData"}}
    values = [image, example.question, None, tokens, temperature, 0, None, number]
    event = page.post("/call/ask", json={"data": values}).json()["event_id"]
    updates, answers = 0, []
    with page.stream("GET", f"/call/ask/{event}") as stream:
        for line in (lines := stream.iter_lines()):
            if line.startswith("event: error"):
                raise RuntimeError(f"question {number} was refused: {next(lines, '')}")
            if line.startswith("data: ") and line != "data: null":
                updates, (answers,) = updates + 1, json.loads(line.removeprefix("data: "))
                if all(one["tokens"] or one["done"] for one in answers):
                    at.setdefault("first", time.monotonic())
    at["done"] = time.monotonic()
    while "released" not in (noted := dict(json.loads(line) for line in notes.read_text().splitlines())):
        time.sleep(0.01)
    at |= noted
    return {
        "first_token_s": round(at["first"] - at["sent"], 3),
        "whole_s": round(at["done"] - at["sent"], 3),
        "used_s": round(at["used"], 3),
        "updates": updates,
        "stages": {
            stage: round(at[end] - at[start], 3) for stage, (start, end) in STAGES.items() if start in at and end in at
        },
        "failed": sum(answer["error"] is not None for answer in answers),
        "tokens": [answer["tokens"] for answer in answers],
    }


if __name__ == "__main__":
    sys.exit(main())
