"""Programs in a process of their own, for what reads its surroundings when it is imported: a client of the Hub.

Importing torch, transformers and peft takes longer than most of these programs. So a process of `multiprocessing`'s
fork server imports them once, with the Hub of tests/support/hub.py as the only one it knows, and every program is a
fork of it. What needs another Hub, or none, is started from nothing.
"""

import gc
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
import threading
from functools import cache
from multiprocessing import forkserver
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

from hub import client_environment, hub_address

ROOT = Path(__file__).parents[2]
SLOW = ["watched", "chartqa_demo.engines.local", "train.__main__", "chartqa_demo.space.deploy"]
PATHS = os.pathsep.join([str(ROOT), str(Path(__file__).parent)])
SECONDS = 300
STARTING = threading.Lock()


def child(script: str | list[str], *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Runs code, or the arguments of `python`, such as `["-m", "train"]`, and waits for its end.

    environ: `client_environment(...)` and what the program needs besides.
    """
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "CHARTQA_"))}
    environ = {**kept, "OMP_NUM_THREADS": "1", **environ}
    if environ.get("HF_ENDPOINT") == hub_address():
        return _fork(script, list(arguments), environ)
    words = ["-c", script] if isinstance(script, str) else script
    command = [sys.executable, *words, *arguments]
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=SECONDS, check=False)


def _fork(script: str | list[str], arguments: list[str], environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    with STARTING:
        processes, home = _server()
        Path(environ["HF_HOME"]).mkdir(parents=True, exist_ok=True)
        home.unlink(missing_ok=True)
        home.symlink_to(environ["HF_HOME"])
    with tempfile.TemporaryDirectory() as folder:
        streams = Path(folder, "stdout"), Path(folder, "stderr")
        process = processes.Process(target=_run, args=(script, arguments, {**environ, "HF_HOME": str(home)}, streams))
        process.start()
        process.join(SECONDS)
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired([str(script), *arguments], SECONDS)
        told = [stream.read_text(encoding="utf-8") for stream in streams]
    return subprocess.CompletedProcess([str(script), *arguments], process.exitcode, *told)


@cache
def _server() -> tuple[Any, Path]:
    """The fork server, and the folder that its Hub client keeps files in: a link to that of the test."""
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(SLOW)
    home = Path(tempfile.mkdtemp(prefix="home"), "hf")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "CHARTQA_"))}
    known = client_environment(hub_address(), home, token=None)
    with patch.dict(os.environ, {**kept, **known, "OMP_NUM_THREADS": "1", "PYTHONPATH": PATHS}, clear=True):
        forkserver.ensure_running()
    return processes, home


def _run(script: str | list[str], arguments: list[str], environ: dict[str, str], streams: tuple[Path, Path]) -> None:
    """In the fork: what `python` does with these words."""
    gc.freeze()  # what was imported is not garbage
    for number, stream in enumerate(streams, 1):
        os.dup2(os.open(stream, os.O_CREAT | os.O_WRONLY), number)
    os.environ.clear()
    os.environ.update(environ)
    os.chdir(ROOT)
    if isinstance(script, list):
        _, name, *before = script
        sys.argv = [name, *before, *arguments]
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    else:
        sys.argv = ["-c", *arguments]
        program = sys.modules["__main__"] = ModuleType("__main__")
        exec(script, program.__dict__)
