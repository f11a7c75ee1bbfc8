"""Training runs on this machine: their curves from trackio's store, and the adapters that finished ones left.

Reads only. A run may be going on in another process; what it has logged so far is in the store.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from chartqa_demo.adapters.contract import WEIGHTS, Contract, read_contract
from chartqa_demo.arms import ARMS

STEP = "train/global_step"  # trackio's own step counts log calls

Points = tuple[tuple[int, float], ...]

# What is drawn: chart title -> label of a line -> the name trackio knows it by.
CHARTS: dict[str, dict[str, str]] = {
    "Loss": {"training": "train/loss", "validation": "eval/loss"},
    "Relaxed accuracy on validation questions, %": {arm.title: f"eval/accuracy_{arm.key}" for arm in ARMS},
    "Learning rate": {"rate": "train/learning_rate"},
}


@dataclass(frozen=True)
class TrainingRun:
    """project, name: as trackio knows them; curves: chart title -> line label -> (optimiser step, value), by step;
    step: the last one logged; epoch, epochs: how far it is, None where not logged; updated: time of the last entry."""

    project: str
    name: str
    curves: Mapping[str, Mapping[str, Points]]
    step: int
    epoch: float | None
    epochs: float | None
    updated: datetime | None


@dataclass(frozen=True)
class FinishedAdapter:
    """An adapter in a run's folder; contract holds its base, data and scores (empty while it is not measured)."""

    folder: Path
    contract: Contract

    @property
    def title(self) -> str:
        """Name, base and what it scored, in a line."""
        scores = self.contract.scores
        measured = ", ".join(f"{arm.title.lower()} {scores[arm.key]:.1f} %" for arm in ARMS if arm.key in scores)
        return f"{self.folder.name}, for {self.contract.base}: {measured or 'not measured yet'}"


def store() -> Any:
    """trackio's local store, the class itself. Its module is not documented; checked with trackio 0.43.0."""
    from trackio.sqlite_storage import SQLiteStorage

    return SQLiteStorage


def run_names() -> list[tuple[str, str]]:
    """(project, run) of every run in trackio's local store, the newest first."""
    runs = store()
    found = [
        (str(record["created_at"] or ""), project, str(record["name"]))
        for project in runs.get_projects()
        for record in runs.get_run_records(project)
    ]
    return [(project, name) for _, project, name in sorted(found, reverse=True)]


def read_run(project: str, name: str) -> TrainingRun:
    """What a run has logged so far; a step that was logged twice counts with its last value."""
    logs = store().get_logs(project, run=name)
    config = store().get_run_config(project, run=name) or {}
    steps = [int(step) for row in logs if (step := _number(row, STEP)) is not None]
    epochs = _number(config, "num_train_epochs") if (_number(config, "max_steps") or -1) <= 0 else None
    return TrainingRun(
        project=project,
        name=name,
        curves={
            title: {label: points for label, key in lines.items() if (points := _points(logs, key))}
            for title, lines in CHARTS.items()
        },
        step=max(steps, default=0),
        epoch=next((at for row in reversed(logs) if (at := _number(row, "train/epoch")) is not None), None),
        epochs=epochs or None,
        updated=_moment(logs[-1]["timestamp"]) if logs else None,
    )


def finished_adapters(runs: Path) -> list[FinishedAdapter]:
    """The trained adapters in the folders of `runs`, the newest first; a folder whose contract is damaged, or
    whose weights cannot be seen, is no finished adapter."""
    found = []
    for weights in runs.glob(f"*/{WEIGHTS}"):
        try:
            contract, written = read_contract(weights.parent), weights.stat().st_mtime
        except (OSError, ValueError):
            continue
        if contract is not None:
            found.append((written, FinishedAdapter(weights.parent, contract)))
    return [adapter for _, adapter in sorted(found, key=lambda pair: pair[0], reverse=True)]


def _points(logs: Sequence[Mapping[str, Any]], key: str) -> Points:
    found = ((_number(row, STEP), _number(row, key)) for row in logs)
    by_step = {int(step): value for step, value in found if step is not None and value is not None}
    return tuple(sorted(by_step.items()))


def _number(row: Mapping[str, Any], key: str) -> float | None:
    """A figure that was logged; None where it was not or cannot be drawn: a text, a loss that is not finite."""
    try:
        value = float(row[key])
    except (KeyError, OverflowError, TypeError, ValueError):
        return None
    return value if math.isfinite(value) and abs(value) < 1e100 else None


def _moment(timestamp: str | datetime) -> datetime:
    moment = timestamp if isinstance(timestamp, datetime) else datetime.fromisoformat(timestamp)
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
