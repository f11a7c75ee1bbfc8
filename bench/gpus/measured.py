"""`python -m train` with a clock: the same flags after the name of a folder that gets one JSON file from each process.

accelerate launch ... -m bench.gpus.measured FOLDER --config ...
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from bench.train_step import Clock
from train import __main__ as training
from train.trainer import ChartTrainer


class Memory(TrainerCallback):
    """GiB of GPU memory of this process: at the most until training begins, held then, at the most from there on."""

    def __init__(self) -> None:
        self.gib: dict[str, float] = {}

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        """Weights lie where they will lie by now."""
        if torch.cuda.is_available():
            self.gib["peak_before"] = _gib(torch.cuda.max_memory_allocated())
            self.gib["held_at_start"] = _gib(torch.cuda.memory_allocated())
            torch.cuda.reset_peak_memory_stats()

    def on_train_end(self, *args: Any, **kwargs: Any) -> None:
        """Before the adapter is saved for the last time."""
        if torch.cuda.is_available():
            self.gib["peak_training"] = _gib(torch.cuda.max_memory_allocated())
            self.gib["reserved"] = _gib(torch.cuda.max_memory_reserved())


def _gib(size: int) -> float:
    return round(size / 2**30, 2)


def main(argv: Sequence[str]) -> int:
    """The exit code of `python -m train`."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.gpus.measured", description=(__doc__ or "").split("\n")[0], allow_abbrev=False
    )
    parser.add_argument("folder", type=Path, help="gets one JSON file from each process")
    parser.add_argument("flags", nargs=argparse.REMAINDER, help="of python -m train")
    given = parser.parse_args(argv)
    folder, clock, memory = given.folder, Clock(), Memory()
    trainers: list[ChartTrainer] = []

    class Measured(ChartTrainer):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.add_callback(clock)
            self.add_callback(memory)
            trainers.append(self)

    training.ChartTrainer = Measured
    code = training.main(given.flags)
    if trainers and clock.seconds:
        losses = [entry["loss"] for entry in trainers[0].state.log_history if "loss" in entry]
        found = {"seconds": clock.seconds, "gib": memory.gib, "losses": losses}
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"rank{os.environ.get('RANK', '0')}.json").write_text(json.dumps(found), encoding="utf-8")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
