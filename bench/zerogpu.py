"""The page as on ZeroGPU, on a GPU of this machine: what a cold and a warm question cost, and what was reserved.

    python -m bench.zerogpu --base bundled --asked 4
    python -m bench.zerogpu --emulate          # without a GPU: CUDA is stood in for, the figures say nothing

Starts `app.py` with the real `spaces` and a scheduler on the loopback interface (tests/space/zerogpu_scheduler.py)
that lends this machine's own GPU; the weights are packed to disk at the start and moved by a forked worker at the
first question.
Further flags go to `app.py`. Prints one JSON object; times in seconds.
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

EMULATED = """
import runpy, sys, zerogpu_scheduler
zerogpu_scheduler.emulate_cuda(sys.argv[1])
sys.argv = ["app.py", *sys.argv[2:]]
runpy.run_path("app.py", run_name="__main__")
"""


def main() -> int:
    """Exit code: 0 every question was answered by every arm, 1 not."""
    from gradio_client import Client
    from zerogpu_scheduler import serve_scheduler, zerogpu_environment  # pyright: ignore[reportMissingImports]

    parser = argparse.ArgumentParser(prog="python -m bench.zerogpu", description=__doc__)
    parser.add_argument("--asked", type=int, default=4, help="questions, one after another; default: 4")
    parser.add_argument("--emulate", action="store_true", help="stand in for CUDA")
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
        environ = (
            os.environ | zerogpu_environment(scheduler.url, packed) | {"PYTHONPATH": str(ROOT / "tests" / "space")}
        )
        start = ["-c", EMULATED, scheduler.url] if flags.emulate else ["app.py"]
        command = [sys.executable, *start, "--port", str(port), "--max-new-tokens", str(flags.tokens), *rest]
        began = time.monotonic()
        app = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=log, stderr=log, start_new_session=True)
        try:
            client = _connect(Client, f"http://127.0.0.1:{port}", app)
            figures: dict[str, Any] = {
                "gpu": scheduler.uuid,
                "page_up_s": round(time.monotonic() - began, 2),
                "packed_mb": round(sum(one.stat().st_size for one in packed.rglob("*") if one.is_file()) / 1e6, 1),
                "questions": [_ask(client, number, flags.tokens) for number in range(flags.asked)],
            }
            scheduler.wait_until_all_released()
            figures["reserved_s"] = [int(q["durationSeconds"]) for path, q in scheduler.calls if path == "/schedule"]
            figures["calls"] = scheduler.paths()
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


def _ask(client: Any, number: int, tokens: int) -> dict[str, Any]:
    from gradio_client import handle_file

    charts = open_split("bundled")
    example = charts[number % len(charts)]
    began = time.monotonic()
    job = client.submit(
        handle_file(BUNDLED_CHARTS / example.file_name), example.question, max_new_tokens=tokens, api_name="/ask"
    )
    first = None
    for _ in job:
        first = first or time.monotonic() - began
    answers, updates = job.result(), len(job.outputs())
    return {
        "first_update_s": round(first or 0, 3),
        "whole_s": round(time.monotonic() - began, 3),
        "updates": updates,
        "failed": sum(answer["error"] is not None for answer in answers),
        "texts": [answer["text"] for answer in answers],
    }


if __name__ == "__main__":
    sys.exit(main())
