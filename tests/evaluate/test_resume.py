"""An evaluation that was stopped, killed or damaged goes on where it was, with an engine that knows all answers."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from knowing_engine import OPTIONS, KnowingEngine, finish, make_examples

from chartqa_demo.arms import ADAPTER, ARMS
from chartqa_demo.errors import ResultsError
from chartqa_demo.evaluate import run as evaluate
from chartqa_demo.evaluate.record import Record, read_results


def test_stop_ends_after_the_batch_and_the_next_run_asks_only_the_rest(tmp_path):
    stop, examples = threading.Event(), make_examples(30)
    first = KnowingEngine(before=lambda questions: stop.set())
    last = finish(first, examples, tmp_path / "run.jsonl", stop=stop)
    assert 0 < last.done < 30
    assert json.loads((tmp_path / "run.json").read_text())["complete"] is False
    second = KnowingEngine()
    assert finish(second, examples, tmp_path / "run.jsonl").done == 30
    assert sorted(first.asked + second.asked) == sorted(one.question for one in examples)


def test_closing_the_iterator_leaves_a_record_to_resume_from(tmp_path):
    examples, first = make_examples(30), KnowingEngine()
    states = evaluate.run(first, examples, ARMS, OPTIONS, tmp_path / "run.jsonl")
    next(states)
    assert next(states).done > 0
    states.close()
    second = KnowingEngine()
    finish(second, examples, tmp_path / "run.jsonl")
    assert sorted(first.asked + second.asked) == sorted(one.question for one in examples)


KILLED = """
import os, signal, sys
from pathlib import Path
from knowing_engine import OPTIONS, KnowingEngine, make_examples
from chartqa_demo.evaluate import run as evaluate
from chartqa_demo.arms import ARMS

batches = []
def before(questions):
    batches.append(questions)
    if len(batches) == 3:
        os.kill(os.getpid(), signal.SIGKILL)

for _ in evaluate.run(KnowingEngine(before=before), make_examples(60), ARMS, OPTIONS, Path(sys.argv[1])):
    pass
"""


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The record of a run whose process died by SIGKILL in its third batch."""
    path = tmp_path_factory.mktemp("killed") / "run.jsonl"
    here = os.pathsep.join([str(Path(__file__).parents[1] / "support"), str(Path(__file__).parents[2])])
    command = [sys.executable, "-c", KILLED, str(path)]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": here}, check=False)
    assert done.returncode == -signal.SIGKILL
    return path


@pytest.mark.parametrize("torn", [0, 1, 40])
def test_a_killed_run_resumes_without_asking_twice_or_losing_any(tmp_path, killed, torn):
    """Its last line also loses its last `torn` bytes."""
    path = shutil.copytree(killed.parent, tmp_path / "run") / killed.name
    if torn:
        os.truncate(path, path.stat().st_size - torn)
    kept = {item.question for item in read_results(path).items}
    assert 0 < len(kept) < 60
    engine, examples = KnowingEngine(), make_examples(60)
    finish(engine, examples, path)
    assert sorted([*kept, *engine.asked]) == sorted(one.question for one in examples)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert sorted(row["id"] for row in lines[1:]) == sorted(one.id for one in examples)


def test_a_torn_first_line_starts_anew(tmp_path):
    (tmp_path / "run.jsonl").write_text('{"settings": {"se')
    assert finish(KnowingEngine(), make_examples(4), tmp_path / "run.jsonl").done == 4
    assert len(read_results(tmp_path / "run.jsonl").items) == 4


def test_a_damaged_line_in_the_middle_is_refused_with_its_number(tmp_path):
    finish(KnowingEngine(), make_examples(4), tmp_path / "run.jsonl")
    lines = (tmp_path / "run.jsonl").read_text().splitlines()
    (tmp_path / "run.jsonl").write_text("\n".join([*lines[:2], "{", *lines[2:]]) + "\n")
    with pytest.raises(ResultsError, match=r"Line 3 of .*run.jsonl is not a result"):
        finish(KnowingEngine(), make_examples(4), tmp_path / "run.jsonl")


def test_resuming_with_other_settings_is_refused_with_what_differs(tmp_path):
    path = tmp_path / "run.jsonl"
    finish(KnowingEngine(), make_examples(4), path, about={"seed": 0})
    before = path.read_bytes()
    with pytest.raises(ResultsError, match=r"run.jsonl was made with other settings: seed is 0 there and 1 here"):
        finish(KnowingEngine(), make_examples(4), path, about={"seed": 1})
    with pytest.raises(ResultsError, match=r"other settings: arms is .*; Choose another|other settings: arms"):
        finish(KnowingEngine(), make_examples(4), path, arms=[ADAPTER], about={"seed": 0})
    assert path.read_bytes() == before


def test_a_second_run_on_the_same_file_is_refused_while_the_first_goes_on(tmp_path):
    first = evaluate.run(KnowingEngine(), make_examples(30), ARMS, OPTIONS, tmp_path / "run.jsonl")
    next(first)
    with pytest.raises(ResultsError, match=r"writing to run.jsonl already"):
        finish(KnowingEngine(), make_examples(30), tmp_path / "run.jsonl")
    assert len(list(first)) > 0


def test_a_full_disk_is_a_sentence_and_the_evaluation_goes_on_later(tmp_path, monkeypatch):
    """It takes half of a line and no more."""
    path, examples, written = tmp_path / "run.jsonl", make_examples(30), Record.write

    def full(record, line):
        if path.stat().st_size > 3000:
            record.file.write(line.encode()[:40])
            record = replace(record, file=FullDisk())
        written(record, line)

    first = KnowingEngine()
    with monkeypatch.context() as patch:
        patch.setattr(Record, "write", full)
        with pytest.raises(ResultsError, match=r"run.jsonl cannot be written \(No space left on device\). Make room"):
            finish(first, examples, path)
    kept = {item.question for item in read_results(path).items}
    second = KnowingEngine()
    assert finish(second, examples, path).done == 30
    assert 0 < len(kept) < 30 and not kept & set(second.asked)


class FullDisk:
    name = "run.jsonl"

    def write(self, data):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_file_that_is_no_record_is_refused_and_stays(tmp_path):
    (tmp_path / "run.jsonl").write_text("notes of mine, without a line feed")
    with pytest.raises(ResultsError, match=r"Line 1 of .*run.jsonl is not a result"):
        finish(KnowingEngine(), make_examples(4), tmp_path / "run.jsonl")
    assert (tmp_path / "run.jsonl").read_text() == "notes of mine, without a line feed"
