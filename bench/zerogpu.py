"""The page as on ZeroGPU, on a GPU of this machine: what a cold and a warm question cost, and what was reserved.

    python -m bench.zerogpu --base bundled --asked 4 --output bench/results/zerogpu.json
    python -m bench.zerogpu --emulate          # without a GPU: CUDA is stood in for, the figures say nothing

Starts `app.py` with the real `spaces` and a scheduler on the loopback interface (tests/space/zerogpu_scheduler.py)
that lends this machine's own GPU; the weights are packed to disk at the start and moved by a forked worker at the
first question.
Further flags go to `app.py`. Prints one JSON object; times in seconds. `stages` says how a question's time passes, in
the page's process and in the worker: upload and queue, schedule, fork or wake, CUDA's start, weights, first text of all
arms, the rest of the answers, the way back to the page, release.
"""

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

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
def note(stage):
    with open(file, "a") as out:
        out.write(json.dumps([stage, time.monotonic()]) + "\\n")
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
noted(cuda, "move", None, "weights")
noted(client, "release", "released", None)
from chartqa_demo.engines.local import LocalEngine
from chartqa_demo.space import zerogpu
answer, lent = LocalEngine.answer, zerogpu.ZeroGpuEngine.answer
def watched(call, first, text, last):
    def stream(*args):
        first and note(first)
        said = False
        for answers in call(*args):
            if not said and all(one.text for one in answers):
                said = True
                note(text)
            yield answers
        note(last)
    return stream
LocalEngine.answer = watched(answer, "begun", "text", "answered")
zerogpu.ZeroGpuEngine.answer = watched(lent, "received", "text_back", "answers_back")
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
    "first_text": ("begun", "text"),
    "first_text_to_page": ("text", "text_back"),
    "rest_of_the_answers": ("text", "answered"),
    "back_to_page": ("answered", "answers_back"),
    "reserved_until": ("scheduled", "released"),
    "whole": ("sent", "done"),
}


def main() -> int:
    """Exit code: 0 every question was answered by every arm, 1 not."""
    from gradio_client import Client
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
            client = _connect(Client, f"http://127.0.0.1:{port}", app)
            figures: dict[str, Any] = {
                "gpu": scheduler.uuid,
                "page_up_s": round(time.monotonic() - began, 2),
                "packed_mb": round(sum(one.stat().st_size for one in packed.rglob("*") if one.is_file()) / 1e6, 1),
                "questions": [],
            }
            for number in range(flags.asked):
                figures["questions"].append(_ask(client, number, flags.tokens, notes))
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


def _connect(client: Any, url: str, app: subprocess.Popen[bytes]) -> Any:
    while True:
        if app.poll() is not None:
            raise RuntimeError(f"app.py ended with exit code {app.returncode}")
        try:
            with socket.create_connection(("127.0.0.1", int(url.rsplit(":", 1)[1])), timeout=1):
                return client(url, verbose=False, analytics_enabled=False)
        except OSError:
            time.sleep(0.2)


def _ask(client: Any, number: int, tokens: int, notes: Path) -> dict[str, Any]:
    from gradio_client import handle_file

    charts = open_split("bundled")
    example = charts[number % len(charts)]
    notes.unlink(missing_ok=True)
    began = time.monotonic()
    job = client.submit(
        handle_file(BUNDLED_CHARTS / example.file_name), example.question, max_new_tokens=tokens, api_name="/ask"
    )
    first = None
    for _ in job:
        first = first or time.monotonic() - began
    answers, updates, ended = job.result(), len(job.outputs()), time.monotonic()
    while "released" not in (noted := dict(json.loads(line) for line in notes.read_text().splitlines())):
        time.sleep(0.01)
    noted |= {"sent": began, "done": ended}
    return {
        "first_update_s": round(first or 0, 3),
        "whole_s": round(ended - began, 3),
        "updates": updates,
        "stages": {
            stage: round(noted[end] - noted[start], 3)
            for stage, (start, end) in STAGES.items()
            if start in noted and end in noted
        },
        "failed": sum(answer["error"] is not None for answer in answers),
        "texts": [answer["text"] for answer in answers],
    }


if __name__ == "__main__":
    sys.exit(main())
