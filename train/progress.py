"""A run that can be left and found again: one folder, and one name in trackio, however often its process ends.

`run.json` in the output folder keeps the name and the command, beside the trainer's checkpoints.
"""

import json
import re
import shlex
import sqlite3
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

import torch
from transformers import TrainerState

from chartqa_demo.adapters.contract import CONTRACT_FILE
from chartqa_demo.adapters.runs import store
from chartqa_demo.errors import first_line
from chartqa_demo.evaluate.run import versions_of
from train.publish.push import WEIGHTS

RUN_FILE = "run.json"
STATE_FILE = "trainer_state.json"  # the trainer writes it last
PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "datasets", "bitsandbytes")


class RunError(ValueError):
    """The command cannot be carried out as it is; the message says how to go on."""


def last_save(output: Path, resume: bool) -> Path | None:
    """The newest complete checkpoint to continue from, None to start at the beginning.

    A checkpoint that a killed process left half written is passed over. Raises RunError when the folder holds a run
    and `resume` is not asked for: nothing is trained over by accident.
    """
    saves = sorted(filter(_complete, output.glob("checkpoint-*")), key=step_of)
    if not resume and (saves or trained(output)):
        raise RunError(
            f"{output} holds a run already. Continue it with --resume, publish it with --push_only, "
            "or choose another --output_dir."
        )
    return saves[-1] if saves else None


def step_of(checkpoint: Path) -> int:
    """The optimiser step at which a checkpoint was written."""
    return int(checkpoint.name.removeprefix("checkpoint-"))


def trained(output: Path) -> bool:
    """Whether the training in this folder came to its end; the contract is written after the adapter."""
    return (output / CONTRACT_FILE).is_file() and (output / WEIGHTS).is_file()


def run_name(output: Path, arguments: Sequence[str], chosen: str | None, resume: bool) -> str:
    """The run's name in trackio: the one in run.json when it is continued, else `chosen`, else folder and time."""
    path = output / RUN_FILE
    if resume and path.is_file():
        return _told(output, "name")
    name = chosen or f"{output.name}-{datetime.now(timezone.utc):%Y%m%d-%H%M%S}"
    output.mkdir(parents=True, exist_ok=True)
    record = {"name": name, "command": public_command(arguments)}
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return name


def run_command(output: Path) -> str:
    """The command that started the run in this folder."""
    return _told(output, "command")


def _told(output: Path, what: str) -> str:
    """What run.json says. Raises RunError where it cannot be read."""
    try:
        return str(json.loads((output / RUN_FILE).read_text(encoding="utf-8"))[what])
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise RunError(
            f"{output / RUN_FILE} cannot be read ({first_line(error)}). Delete it: the run goes on under another name."
        ) from error


def public_command(arguments: Sequence[str]) -> str:
    """A command line that may be published: folders of this machine lose their path, `/home/ann/qwen` is `qwen`."""
    return shlex.join(
        ["python", "-m", "train", *(Path(word).name if word.startswith(("/", "~")) else word for word in arguments)]
    )


def forget_after(project: str, run: str, step: int) -> int:
    """Take out of trackio's local store what a killed process logged after its last save, at `step` (-1: none).

    The continued run does those steps again and would show them twice. Returns the number of rows taken out.
    """
    path = store().get_project_db_path(project)
    if not path.exists():
        return 0
    connection = sqlite3.connect(path, timeout=30)
    try:
        with connection:
            rows = connection.execute("SELECT id, metrics FROM metrics WHERE run_name = ?", (run,)).fetchall()
            late = [(row,) for row, logged in rows if json.loads(logged).get("train/global_step", 0) > step]
            connection.executemany("DELETE FROM metrics WHERE id = ?", late)
    finally:
        connection.close()
    return len(late)


def cost(state: TrainerState) -> str:
    """What the training took, in a sentence."""
    summary = state.log_history[-1]
    seconds = summary["train_runtime"]
    text = f"{state.global_step} optimiser steps, {seconds:.0f} s in this process"
    if torch.cuda.is_available():
        text += f", {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB of GPU memory at the most"
    return text + "."


def package_versions() -> dict[str, str]:
    """Versions of the packages that the result depends on, as installed."""
    return versions_of(PACKAGES)  # bitsandbytes is only needed for quantised bases


def _complete(checkpoint: Path) -> bool:
    if not re.fullmatch(r"checkpoint-\d+", checkpoint.name) or not (checkpoint / WEIGHTS).is_file():
        return False
    try:
        json.loads((checkpoint / STATE_FILE).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return False
    return True
