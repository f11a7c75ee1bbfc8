"""A run that can be left and found again: one folder, and one name in trackio, however often its process ends.

`run.json` in the output folder keeps the name and the command, beside the trainer's checkpoints.
"""

import errno
import json
import re
import shlex
import shutil
import sqlite3
import tempfile
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from transformers import TrainerState

from chartqa_demo.adapters.contract import CONTRACT_FILE
from chartqa_demo.adapters.runs import store
from chartqa_demo.errors import first_line
from chartqa_demo.evaluate.run import versions_of
from train.publish.push import WEIGHTS

RUN_FILE = "run.json"
STATE_FILE = "trainer_state.json"  # the trainer writes it last
# What accelerate writes of a sharded run into a checkpoint: a file of all weights, or a folder of everybody's shards.
SHARDED_FILE, SHARDED_FOLDER = "pytorch_model_fsdp.bin", "pytorch_model_fsdp_0"
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


def is_sharded(checkpoint: Path) -> bool:
    """Whether a sharded run wrote this checkpoint: its optimiser's state fits no run in one process."""
    return (checkpoint / SHARDED_FILE).is_file() or (checkpoint / SHARDED_FOLDER).is_dir()


def name_in_file(parameter: str) -> str:
    """A LoRA weight of a model in training, as PEFT names it in the adapter's file."""
    return parameter.replace("_checkpoint_wrapped_module.", "").replace(".default.", ".")


def check_saved(folder: Path, wanted: Mapping[str, tuple[int, ...]], trained: bool) -> None:
    """Read an adapter back. Raises RunError unless it has the weights of the model, `wanted` by their shapes, and no
    others; with `trained`, also where all B matrices are zero: LoRA's start so, and such an adapter is the base."""
    try:
        with safe_open(folder / WEIGHTS, "pt") as file:
            found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 (no mapping)
            learned = any("lora_B" in name and bool(file.get_tensor(name).any()) for name in found)
    except (SafetensorError, OSError) as error:
        raise RunError(f"The adapter in {folder} cannot be read back: {error}.") from error
    right = sum(found.get(name) == shape for name, shape in wanted.items())
    if right < len(wanted) or len(found) > len(wanted):
        raise RunError(
            f"The adapter in {folder} is not whole: {len(found)} tensors, {right} of them as the model has them; it "
            f"has {len(wanted)}."
        )
    if trained and not learned:
        raise RunError(f"The adapter in {folder} learned nothing: all its B matrices are zero, so it is the base.")


def check_found(folder: Path, wanted: Mapping[str, tuple[int, ...]], trained: bool) -> None:
    """`check_saved` for what --resume finds: the RunError says how to go on."""
    try:
        check_saved(folder, wanted, trained)
    except RunError as error:
        raise RunError(
            f"{error} If lora_r or lora_target_modules changed, give those of the run; else delete "
            f"{folder / WEIGHTS}: --resume then goes on from the last save that has its own."
        ) from error


def recover(output: Path, best: bool) -> str | None:
    """Give adapters without a tensor what their run's checkpoints hold; the checkpoint the output's comes from, if any.

    So ended sharded runs of earlier releases: the weights are in accelerate's files alone. best: the output is the
    checkpoint that the trainer found best, else, or where that is gone, the last.
    """
    saves = sorted(filter(is_sharded, filter(_complete, output.glob("checkpoint-*"))), key=step_of)
    for save in saves:
        if _is_empty(save):
            save_file(_sharded_weights(save), save / WEIGHTS, metadata={"format": "pt"})
    if not saves or not _is_empty(output):
        return None
    state = json.loads((saves[-1] / STATE_FILE).read_text(encoding="utf-8"))
    named = Path(str((best and state.get("best_model_checkpoint")) or saves[-1])).name
    chosen = output / named if output / named in saves else saves[-1]
    shutil.copyfile(chosen / WEIGHTS, output / WEIGHTS)
    return chosen.name


def _is_empty(folder: Path) -> bool:
    """Whether there is an adapter file, whole and without a tensor."""
    try:
        with safe_open(folder / WEIGHTS, "pt") as file:
            return not file.keys()
    except (SafetensorError, OSError):
        return False


def _sharded_weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

    with tempfile.TemporaryDirectory() as folder:
        file = checkpoint / SHARDED_FILE
        if not file.is_file():
            file = Path(folder, SHARDED_FILE)
            dcp_to_torch_save(checkpoint / SHARDED_FOLDER, file)
        held = torch.load(file, map_location="cpu", weights_only=True)
    return {name_in_file(name): weight.contiguous() for name, weight in held.get("model", held).items()}


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


def disk_is_full(error: BaseException) -> bool:
    """Whether a save failed for want of room, or because nothing may be written; safetensors and torch say so only in
    words of their own."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
    return any(words in str(error) for words in ("No space left", "file write failed", "PytorchStreamWriter failed"))


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
