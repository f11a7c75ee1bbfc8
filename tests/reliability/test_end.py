"""What the page started ends with it."""

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chartqa_demo.data.corrections import zipped
from chartqa_demo.engines.scripted import ScriptedEngine
from chartqa_demo.ui.training import child


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
