"""A training run that the page starts: `python -m train` as a process of its own, watched until it ends.

One at a time. When it ends well the adapter before and the new one answer the same held-out questions, and the new one
takes the third column.
"""

import atexit
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import zipfile
from dataclasses import dataclass
from datetime import datetime, timezone
from io import BytesIO
from pathlib import Path

from chartqa_demo.arms import ADAPTER
from chartqa_demo.data.splits import open_split
from chartqa_demo.engines import Engine, Options
from chartqa_demo.errors import DatasetError, EngineError, EvaluationError, ResultsError
from chartqa_demo.evaluate.record import compare_records, read_results
from chartqa_demo.evaluate.run import display_name, run
from chartqa_demo.evaluate.statistics import in_words
from chartqa_demo.settings import PACKAGE

RESULTS = "results.jsonl"  # what `train` leaves of its measurement
KILL_AFTER_S = 20.0
TAIL_BYTES = 20_000
# tqdm's bar from where its line begins, with what it counts: "Checking /some/folder, split val:   0%|  | 0/2 [...]"
STEPS = re.compile(r"(?:^|[\r\n])(?:([A-Z][\w ]*)[^\r\n|%]*: +)? *\d+%\|[^|\r\n]*\| (\d+)/(\d+) ")

log = logging.getLogger(__name__)


@dataclass
class Training:
    """The newest run. told: how it ended, a sentence, empty while it goes on; good: whether it left an adapter."""

    output: Path
    process: subprocess.Popen[bytes]
    stopped: bool = False
    told: str = ""
    good: bool = False

    @property
    def log_file(self) -> Path:
        """What the process prints."""
        return self.output.with_suffix(".log")

    def progress(self) -> tuple[str, int, int]:
        """(what is done, so many, of so many), as the process last told."""
        found = STEPS.findall(_tail(self.log_file))
        if not found:
            return "The training is starting.", 0, 0
        what, done, total = found[-1]
        return f"{what.strip() or 'Training'}: {int(done):,} of {int(total):,}.", int(done), int(total)


class Trainer:
    """Starts and stops runs of one config; adopted: called when another adapter has taken the third column."""

    def __init__(self, engine: Engine, config: str, runs: Path) -> None:
        self.engine, self.config, self.runs = engine, config, runs
        self.lock = threading.Lock()
        self.newest: Training | None = None

    @property
    def busy(self) -> bool:
        """Whether a run goes on."""
        return self.newest is not None and not self.newest.told

    def start(self, rows: bytes) -> Training:
        """Train on the rows of a ZIP as `corrections.zipped` makes it. Raises EngineError where another run goes on."""
        with self.lock:
            if self.busy:
                raise EngineError("A training is running already. Stop it, or wait until it ends.")
            output = self.runs.resolve() / f"own-charts-{datetime.now(timezone.utc):%Y%m%d-%H%M%S}"
            # What is corrected from now on is not for this run. Pictures stay out of what may be published.
            charts = output.with_name(f"{output.name}-rows")
            charts.mkdir(parents=True)
            with zipfile.ZipFile(BytesIO(rows)) as archive:
                archive.extractall(charts)
            command = [sys.executable, "-m", "train", "--config", self.config]
            command += ["--dataset", str(charts), "--output_dir", str(output)]
            paths = [str(PACKAGE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
            with output.with_suffix(".log").open("wb") as printed:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=printed,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"},
                    start_new_session=True,
                )
            training = self.newest = Training(output, process)
            atexit.register(self.close)
        threading.Thread(target=self._wait, args=(training, charts), daemon=True).start()
        return training

    def stop(self) -> None:
        """End the run that goes on; one that does not end by itself is killed."""
        if (training := self.newest) and not training.told:
            training.stopped = True
            _signal(training.process, signal.SIGINT)
            later = threading.Timer(KILL_AFTER_S, lambda: _signal(training.process, signal.SIGKILL))
            later.daemon = True
            later.start()

    def close(self) -> None:
        """End with the page."""
        if (training := self.newest) and training.process.poll() is None:
            _signal(training.process, signal.SIGKILL)

    def _wait(self, training: Training, charts: Path) -> None:
        code = training.process.wait()
        try:
            if training.stopped:
                told = "The training was stopped. Start begins anew, with the rows that there are then."
            elif code:
                told = f"The training ended without an adapter. {_reason(training.log_file)}"
            else:
                told, training.good = self._adopt(training.output, charts), True
        except (DatasetError, EngineError, EvaluationError, ResultsError, OSError) as error:
            told = f"The adapter is trained, and does not answer here: {error}"
        except Exception as error:
            log.exception("A trained adapter could not be put to use")
            told = f"The adapter is trained, and does not answer here ({type(error).__name__})."
        training.told = told

    def _adopt(self, output: Path, charts: Path) -> str:
        """Put the new adapter into the third column; says how it compares with the one before."""
        before = self.engine.adapter
        compared = self._against(output, charts, before) if before else ""
        self.engine.use_adapter(str(output))
        return f"The third column now answers with {output.name}. {compared}".strip()

    def _against(self, output: Path, charts: Path, before: str) -> str:
        new = read_results(output / RESULTS)
        record = output / "before.jsonl"
        asked = {item.chart for item in new.items}
        held_out = [one for one in open_split(str(charts), "all") if one.chart in asked]
        options = Options(max_new_tokens=int(new.settings["max_new_tokens"]))
        for _ in run(self.engine, held_out, [ADAPTER], options, record):
            pass
        one = compare_records(new, read_results(record), ADAPTER.key, "canonical")
        return f"On the held-out rows, {in_words(one, 'the new adapter', f'the one before ({display_name(before)})')}."


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    if process.poll() is None:
        os.killpg(process.pid, number)


def _tail(file: Path) -> str:
    try:
        with file.open("rb") as printed:
            printed.seek(-min(file.stat().st_size, TAIL_BYTES), 2)
            return printed.read().decode(errors="replace")
    except OSError:
        return ""


def _reason(file: Path) -> str:
    """The sentence with which the command ended, else its last line."""
    lines = [line.strip() for line in re.split(r"[\r\n]+", _tail(file)) if line.strip()]
    told = next((line.removeprefix("error: ") for line in reversed(lines) if line.startswith("error: ")), "")
    return told or (f"Its last line is: {lines[-1][:300]}" if lines else "It printed nothing.")
