"""ZeroGPU's scheduler on the loopback interface, so that the real `spaces` code runs where there is no GPU.

The scheduler itself runs in the test's process; `emulate_cuda(url)` has to be called in a process of its own, before
torch, gradio or the app are imported. Real: the decorator, the fork, the pipes, the relay of a generator, the warm
worker, every message to the visitor. Stood in for: the platform's five HTTP calls, and the three steps that touch CUDA
itself (opening the device, packing the weights, moving them). In the worker "cuda" tensors stay what they are in the
parent, CPU tensors that say they are on a GPU. Written for `spaces` 0.51.
"""

import json
import os
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit


@dataclass
class Scheduler:
    """calls: (path, query) of every request; refusal: (status, headers, body) with which the next schedules are
    answered, None to lend; workers: process ids of those that were allowed, by GPU."""

    url: str = ""
    calls: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    refusal: tuple[int, dict[str, str], bytes] | None = None
    workers: dict[int, int] = field(default_factory=dict)
    lent: dict[str, tuple[int, str]] = field(default_factory=dict)
    used: set[tuple[int, str]] = field(default_factory=set)
    uuid: str = "GPU-00000000-0000-0000-0000-000000000000"
    lock: threading.Lock = field(default_factory=threading.Lock)
    released: threading.Condition = field(default_factory=threading.Condition)

    def paths(self) -> list[str]:
        return [path for path, _ in self.calls]

    def schedule(self, task: str) -> dict[str, Any]:
        """A GPU that nobody has, and whether this task's worker on it is still warm."""
        with self.lock:
            busy = {gpu for gpu, _ in self.lent.values()}
            gpu = next(number for number in range(100) if number not in busy)
            token = f"token-{len(self.calls)}"
            self.lent[token] = (gpu, task)
            idle = (gpu, task) in self.used
        return {"idle": idle, "nvidiaIndex": gpu, "nvidiaUUID": self.uuid, "allowToken": token}

    def allow(self, token: str, pid: int) -> None:
        with self.lock:
            gpu, _ = self.lent[token]
            self.workers[gpu] = pid

    def release(self, token: str, fail: bool) -> None:
        with self.lock:
            gpu_task = self.lent.pop(token)
            (self.used.discard if fail else self.used.add)(gpu_task)
        with self.released:
            self.released.notify_all()

    def wait_until_all_released(self, seconds: float = 60) -> None:
        with self.released:
            if not self.released.wait_for(lambda: not self.lent, seconds):
                raise TimeoutError(f"still lent: {self.lent}")


@contextmanager
def serve_scheduler() -> Iterator[Scheduler]:
    """A scheduler in threads of this process."""
    scheduler = Scheduler()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"scheduler": scheduler}))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    scheduler.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield scheduler
    finally:
        server.shutdown()
        server.server_close()


def zerogpu_environment(url: str, packed: Path) -> dict[str, str]:
    """The variables by which a process knows that it is a Space on ZeroGPU; `packed` is where its weights will lie."""
    return {
        "SPACES_ZERO_GPU": "true",
        "SPACES_ZERO_DEVICE_API_URL": url,
        "ZEROGPU_OFFLOAD_DIR": str(packed / "tensors"),
        "ZEROGPU_MMAP_AUTOPRUNE_PATTERN": "/nonexistent/*",  # or `spaces` deletes downloaded models of this machine
    }


def emulate_cuda(url: str) -> None:
    """Make this process a Space on ZeroGPU whose GPUs are made of nothing, lent by the scheduler at `url`."""
    os.environ.update(zerogpu_environment(url, Path(tempfile.mkdtemp())))
    warnings.filterwarnings("ignore", message="Error while reading infos from Nvidia")
    import spaces  # noqa: F401
    import spaces.zero.torch as cuda

    cuda.init = lambda uuid: None
    cuda.move = lambda callback=None: None
    cuda.unpatch = lambda: None
    cuda.pack = lambda: 0
    cuda.size = lambda: 0
    import chartqa_demo.engines.moving

    chartqa_demo.engines.moving.move = lambda model, device: model.to("cuda")
    run = threading.Thread.run

    def run_emulated(self: threading.Thread) -> None:
        cuda.enter_mode()  # the emulation is per thread, and the worker's threads compute
        run(self)

    threading.Thread.run = run_emulated


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    scheduler: Scheduler

    def log_message(self, format: str, *args: Any) -> None:
        """The test asserts on `Scheduler.calls` instead."""

    def do_POST(self) -> None:
        address = urlsplit(self.path)
        query = dict(parse_qsl(address.query))
        self.scheduler.calls.append((address.path, query))
        answer: dict[str, Any] = {}
        if address.path == "/schedule":
            if self.scheduler.refusal is not None:
                return self._send(*self.scheduler.refusal)
            answer = self.scheduler.schedule(query["taskId"])
        elif address.path == "/allow":
            self.scheduler.allow(query["allowToken"], int(query["pid"]))
        elif address.path == "/release":
            self.scheduler.release(query["allowToken"], query["fail"] == "true")
        return self._send(200, {}, json.dumps(answer).encode())

    def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
