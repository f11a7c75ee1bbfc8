"""Training runs on this machine: their curves from trackio's store, and the adapters that finished ones left.

Reads only. A run may be going on in another process; what it has logged so far is in the store.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from chartqa_demo.adapters.contract import WEIGHTS, Contract, read_contract
from chartqa_demo.arms import ARMS
from chartqa_demo.errors import shown

STEP = "train/global_step"  # trackio's own step counts log calls

Points = tuple[tuple[int, float], ...]

log = logging.getLogger(__name__)

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
        return f"{shown(self.folder.name)}, for {shown(self.contract.base)}: {measured or 'not measured yet'}"


def store() -> Any:
    """trackio's local store, the class itself. Its module is not documented; checked with trackio 0.43.0."""
    from trackio.sqlite_storage import SQLiteStorage

    return SQLiteStorage


def run_names() -> list[tuple[str, str]]:
    """(project, run) of every run in trackio's local store, the newest first; a project whose file is damaged has
    none."""
    runs, found = store(), []
    for project in runs.get_projects():
        try:
            project.encode()
            if not runs.get_project_db_path(project).is_file():
                continue  # a pipe would be waited for
            records = [(str(one["created_at"] or ""), project, one["name"]) for one in runs.get_run_records(project)]
            found += [one for one in records if isinstance(one[2], str)]
        except Exception as error:  # whatever SQLite and trackio say of a stranger's file
            log.debug("The runs of %r cannot be read: %s", project, error)
    return [(project, name) for _, project, name in sorted(found, reverse=True)]


def read_run(project: str, name: str) -> TrainingRun:
    """What a run has logged so far; a step that was logged twice counts with its last value. Of a damaged file what can
    be read."""
    logs, config = [], {}
    try:
        logs = store().get_logs(project, run=name)
        config = dict(store().get_run_config(project, run=name) or {})
    except Exception as error:
        log.debug("The run %r of %r cannot be read: %s", name, project, error)
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
        updated=_moment(logs[-1].get("timestamp")) if logs else None,
    )


def finished_adapters(runs: Path) -> list[FinishedAdapter]:
    """The trained adapters in the folders of `runs`, the newest first; a folder whose contract is damaged, or
    whose weights cannot be seen, is no finished adapter."""
    found = []
    for weights in runs.glob(f"*/{WEIGHTS}"):
        try:
            str(weights).encode()  # not every name can be sent to a page
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
    return value if value == 0 or 1e-100 < abs(value) < 1e100 else None  # NaN is not


def _moment(timestamp: Any) -> datetime | None:
    """A moment in UTC; None for what is none, or none that has a day there."""
    try:
        moment = timestamp if isinstance(timestamp, datetime) else datetime.fromisoformat(timestamp)
        return moment.astimezone(timezone.utc) if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
    except (OverflowError, TypeError, ValueError):
        return None
