"""A training that the page starts: stopped, or ended without an adapter, it says so and leaves no process."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from page_fixtures import bar_chart, wait_until

from chartqa_demo.data.corrections import Correction, encoded, pixels_id, zipped
from chartqa_demo.engines.scripted import ScriptedEngine
from chartqa_demo.errors import EngineError
from chartqa_demo.settings import Settings
from chartqa_demo.ui.training import child
from chartqa_demo.ui.training.child import Trainer, Training
from chartqa_demo.ui.training.start import training_config


def rows(charts: int) -> bytes:
    pictures, said = {}, []
    for number in range(charts):
        image = bar_chart((20 + 50 * number, 90, 60, 30))
        said.append(Correction(pixels_id(image), "How many?", str(number), "visitor", "2026-11-29T10:00:00+00:00"))
        pictures[said[-1].file_name] = encoded(image)
    return zipped(said, pictures)


def ended(trainer: Trainer) -> str:
    training = trainer.newest
    assert training is not None
    training.process.wait(timeout=100)
    wait_until(lambda: bool(training.told), "the run to say how it ended")
    with pytest.raises(ProcessLookupError):
        os.killpg(training.process.pid, 0)
    return training.told


def test_a_training_that_ends_early_is_told_by_its_last_sentence_and_then_another_may_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "train"
    program.write_text("#!/bin/sh\nsleep 0.5\necho begun\necho 'error: It has too few charts.' >&2\nexit 2\n")
    program.chmod(0o755)
    monkeypatch.setattr(child.sys, "executable", str(program))
    trainer = Trainer(ScriptedEngine(), "own-charts.yaml", tmp_path)
    trainer.start(rows(1))
    with pytest.raises(EngineError, match="running already"):
        trainer.start(rows(3))
    assert ended(trainer) == "The training ended without an adapter. It has too few charts."
    assert not trainer.busy


@pytest.mark.campaign  # the same with `python -m train`, which takes ten seconds to begin
def test_too_few_charts_are_one_sentence(tmp_path: Path) -> None:
    trainer = Trainer(ScriptedEngine(), "own-charts.yaml", tmp_path)
    trainer.start(rows(1))
    with pytest.raises(EngineError, match="running already"):
        trainer.start(rows(3))
    told = ended(trainer)
    assert (
        told.startswith("The training ended without an adapter. ") and "has too few charts to cut off a split" in told
    )
    assert not trainer.busy


def test_stop_ends_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Where the tests were started in the background, SIGINT is ignored, and the process trains until it is killed.
    monkeypatch.setattr(child, "KILL_AFTER_S", 1.0)
    trainer = Trainer(ScriptedEngine(), "own-charts.yaml", tmp_path)
    trainer.start(rows(3))
    trainer.stop()
    assert ended(trainer).startswith("The training was stopped.")


@pytest.mark.parametrize(
    ("printed", "told"),
    [
        ("", "The training is starting."),
        ("\rChecking /a/folder-rows, split val:   0%|          | 0/2 [00:00<?, ?it/s]", "Checking: 0 of 2."),
        ("Trained on:\n  '4'\n\r  0%|          | 0/7 [00:00<?, ?it/s]", "Training: 0 of 7."),
        ("\r 14%|█▍        | 1/7 [00:19<01:53, 19.00s/it]", "Training: 1 of 7."),
        ("\r 14%|█ | 1/7 [00:19<01:53]\rEvaluating: 100%|█████| 5/5 [00:35<00:00, 7.05s/it]", "Evaluating: 5 of 5."),
    ],
)
def test_progress_is_told_by_what_is_being_done(printed: str, told: str, tmp_path: Path) -> None:
    training = Training(tmp_path / "run", SimpleNamespace())  # pyright: ignore (its process is not asked)
    training.log_file.write_text(printed, encoding="utf-8", newline="")
    assert training.progress()[0] == told


def test_the_page_starts_trainings_for_its_owner_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    engine = ScriptedEngine()
    engine.bundled = True
    here, browser = (SimpleNamespace(kept=SimpleNamespace(folder=folder)) for folder in (tmp_path, None))

    def why_not(corrections: Any, **settings: Any) -> str:
        return training_config(engine, Settings(**settings), corrections)[1]

    assert why_not(here) == ""
    assert "not started from this page" in why_not(here, training="off")
    assert "not started from this page" in why_not(here, host="0.0.0.0")
    assert why_not(here, host="0.0.0.0", training="own-charts.yaml") == ""
    assert "stay in your browser" in why_not(browser)
    monkeypatch.setenv("SPACE_ID", "ann/charts")
    assert "not started from this page" in why_not(here)
    monkeypatch.delenv("SPACE_ID")
    engine.bundled = False
    assert "only the bundled small model" in why_not(here)
