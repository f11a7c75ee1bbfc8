"""One optimiser step of the recipe of record as it is written, and of the settings that this project offers instead.

    python -m bench.train_step --size 7b --dataset path/to/chartqa --output bench/results/train_step_7b.json
    python -m bench.train_step --size tiny --dataset bundled --steps 3      # from end to end on any machine

Every mode trains the same model of random weights on the same rows in the same order, 32 of them a step, through TRL
and in a process of its own. `recipe` is the recipe as the notebook wrote it: loss on every token of the conversation,
gradients through the vision tower, charts decoded in the main process. `shipped` is our configuration file, with the
loss on answers only; its loss is what that of `memory` and `speed` has to agree with. That stopping gradients at the
frozen tower changes no weight is a test, not a measurement.
"""

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import date
from itertools import pairwise
from pathlib import Path
from statistics import mean, median
from typing import Any

import torch
from transformers import TrainerCallback

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "train" / "configs" / "qwen2-vl-7b-chartqa.yaml"
BUILD = "build"  # the process that saves the random model
WARMING = 2  # steps at the start whose time is not counted
ROWS = 32  # of one optimiser step

OFF = "--eval_strategy no --save_strategy no --load_best_model_at_end false --report_to none --push_to_hub false"
COMMON = f"{OFF} --logging_steps 1 --accuracy_sample 0 --disable_tqdm true --remove_unused_columns false"
ON_A_CPU = "--use_cpu true --bf16 false --dtype float32 --activation_offloading false"
RECIPE_STEPS = 4  # at the most: its loss, of other tokens, is not compared, and it is slow
MODES = {
    "recipe": "--vision_gradients true --dataloader_num_workers 0",
    "shipped": "",
    "memory": "--embeddings_on_host true --dataloader_num_workers 4",
    "speed": "--load_in_4bit false --activation_checkpointing false --dataloader_num_workers 8 "
    "--per_device_train_batch_size 8 --gradient_accumulation_steps 4",
}


def train_mode(flags: argparse.Namespace) -> dict[str, Any]:
    """Train in one mode, in this process: losses, seconds per step, peak memory."""
    from trl import SFTTrainer, get_peft_config

    from chartqa_demo.data.splits import open_split
    from train import base as bases
    from train.__main__ import parse
    from train.data import chart_rows, row_tokens
    from train.trainer import ChartTrainer, keep_embeddings_on_host, stop_gradients_at_vision

    recipe, args, model_args = parse(_arguments(flags))
    base = bases.load(recipe, model_args)
    wanted = _steps(flags) * ROWS
    found = list(open_split(recipe.dataset, recipe.train_split))
    examples = [found[k % len(found)] for k in range(wanted)]
    rows, peft_config = chart_rows(examples, base.canvases), get_peft_config(model_args)
    shared: dict[str, Any] = {"model": base.model, "args": args, "processing_class": base.processor}
    if flags.mode == "recipe":
        trainer: Any = SFTTrainer(**shared, train_dataset=_conversations(rows), peft_config=peft_config)
    else:
        sizes = row_tokens(examples, recipe.max_pixels) if recipe.like_sizes else ()
        trainer = ChartTrainer(**shared, train_dataset=rows, peft_config=peft_config, base_name=base.name, sizes=sizes)
    if not recipe.vision_gradients:
        stop_gradients_at_vision(trainer.model)
    if recipe.embeddings_on_host:
        keep_embeddings_on_host(trainer.model)
    clock = Clock()
    trainer.add_callback(clock)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    if flags.profile:
        from torch.profiler import ProfilerActivity, profile

        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
            trainer.train()
        print(profiler.key_averages().table(sort_by="self_device_time_total", row_limit=30))
    else:
        trainer.train()
    steps = clock.seconds[WARMING:] or clock.seconds
    return {
        "settings": _arguments(flags)[2:],
        "seconds_per_step": round(median(steps), 4),
        "samples_per_s": round(ROWS / median(steps), 3),
        "peak_gib": round(torch.cuda.max_memory_allocated() / 2**30, 2) if torch.cuda.is_available() else None,
        "reserved_gib": round(torch.cuda.max_memory_reserved() / 2**30, 2) if torch.cuda.is_available() else None,
        "losses": [entry["loss"] for entry in trainer.state.log_history if "loss" in entry],
    }


def _steps(flags: argparse.Namespace) -> int:
    return min(flags.steps, RECIPE_STEPS) if flags.mode == "recipe" else flags.steps


class Clock(TrainerCallback):
    """Seconds from the end of one optimiser step to the end of the next, with the wait for data, without its save."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.last = 0.0

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        """The first step begins."""
        self.last = time.perf_counter()

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        """A step is done when the device is."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        now = time.perf_counter()
        self.seconds.append(now - self.last)
        self.last = now

    def on_save(self, *args: Any, **kwargs: Any) -> None:
        """The next step begins when the save is written."""
        self.last = time.perf_counter()


def _conversations(rows: Any) -> Any:
    """The rows as the recipe's notebook has them: one conversation, on all of which the loss is taken."""
    from datasets import Dataset

    def batch(columns: dict[str, list[int]]) -> dict[str, list[Any]]:
        found = [rows[number] for number in columns["number"]]
        return {
            "images": [row["images"] for row in found],
            "messages": [row["prompt"] + row["completion"] for row in found],
        }

    return Dataset.from_dict({"number": list(range(len(rows)))}).with_transform(batch)


def _arguments(flags: argparse.Namespace) -> list[str]:
    """Arguments for `train.__main__.parse`; what is said last counts."""
    where = ["--model_name_or_path", str(flags.model), "--dataset", flags.dataset, "--train_split", flags.split]
    where += ["--output_dir", str(flags.model.parent / flags.mode), "--max_steps", str(_steps(flags))]
    device = [] if torch.cuda.is_available() else shlex.split(ON_A_CPU)
    changes = [text for mode, text in flags.override if mode == flags.mode]
    settings = [COMMON, MODES[flags.mode], "--use_liger_kernel true" if flags.liger and flags.mode != "recipe" else ""]
    return ["--config", str(RECIPE), *where, *shlex.split(" ".join([*settings, *changes])), *device]


def compare(found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Every mode against the recipe as written, and the loss curves against `shipped`."""
    told: dict[str, Any] = {}
    for mode, one in found.items():
        if "recipe" in found and mode != "recipe":
            recipe = found["recipe"]
            told[mode] = {"samples per second": round(one["samples_per_s"] / recipe["samples_per_s"], 2)}
            if one["peak_gib"]:
                told[mode]["peak memory"] = round(one["peak_gib"] / recipe["peak_gib"], 3)
        if "shipped" in found and mode in ("memory", "speed"):
            steps = found["shipped"]["losses"]
            apart = [a - b for a, b in zip(one["losses"], steps, strict=True)]
            between = [abs(b - a) for a, b in pairwise(steps)]
            told.setdefault(mode, {})["loss, mean distance from shipped"] = round(mean(map(abs, apart)), 4)
            told[mode]["the same after the mean offset"] = round(mean(abs(one - mean(apart)) for one in apart), 4)
            told[mode]["loss of shipped, mean distance of one step from the next"] = round(mean(between or [0.0]), 4)
    return told


def curves(found: dict[str, dict[str, Any]]) -> str:
    """The losses side by side, one line per step."""
    lines = ["step  " + "".join(f"{mode:>10}" for mode in found)]
    for step in range(max(len(one["losses"]) for one in found.values())):
        shown = (f"{one['losses'][step]:>10.4f}" if step < len(one["losses"]) else " " * 10 for one in found.values())
        lines.append(f"{step + 1:>4}  " + "".join(shown))
    return "\n".join(lines)


def build_model(flags: argparse.Namespace) -> None:
    """Save the random model where every mode will load it from, as from the Hub's cache."""
    from bench.parts.random_model import build

    on_gpu = torch.cuda.is_available()
    device = torch.device("cuda" if on_gpu else "cpu")
    model, processor = build(flags.size, device, torch.bfloat16 if on_gpu else torch.float32)
    model.save_pretrained(flags.model)
    processor.save_pretrained(flags.model)


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0 measured, 1 a mode failed (the others are printed and written)."""
    flags = _flags(argv)
    if flags.mode == BUILD:
        build_model(flags)
        return 0
    if flags.mode:
        print("RESULT " + json.dumps(train_mode(flags)))
        return 0
    found: dict[str, dict[str, Any]] = {}
    failed: dict[str, str] = {}
    mine = list(sys.argv[1:] if argv is None else argv)
    with tempfile.TemporaryDirectory() as folder:
        base = (flags.model or Path(folder) / "base").absolute()
        command = [sys.executable, "-m", "bench.train_step", *mine, "--model", str(base), "--mode"]
        if not base.exists():
            subprocess.run([*command, BUILD], cwd=ROOT, check=True)
        for mode in flags.modes.split(","):
            done = subprocess.run([*command, mode], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
            result = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
            if done.returncode or not result:
                failed[mode] = done.stdout[-2000:]
                continue
            if flags.profile:
                print(done.stdout)
            found[mode] = json.loads(result[-1].removeprefix("RESULT ").replace(str(base.parent), "…"))
            print(mode, {key: value for key, value in found[mode].items() if key not in ("losses", "settings")})
            _write(flags, mine, found)  # what is measured is kept, whatever becomes of the next
    if not found:
        print(f"error: no mode could be measured: {failed}", file=sys.stderr)
        return 1
    print(curves(found))
    print(json.dumps(compare(found), indent=2))
    for mode, said in failed.items():
        print(f"error: {mode} failed: {said}", file=sys.stderr)
    return 1 if failed else 0


def _write(flags: argparse.Namespace, mine: Sequence[str], found: dict[str, dict[str, Any]]) -> None:
    if flags.output is None:
        return
    whole = {
        "command": "python -m bench.train_step " + shlex.join(mine),
        "date": date.today().isoformat(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU",
        "model": f"{flags.size}, random weights",
        "rows_per_step": ROWS,
        "modes": found,
        "against_recipe": compare(found),
    }
    flags.output.parent.mkdir(parents=True, exist_ok=True)
    flags.output.write_text(json.dumps(whole, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _flags(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.train_step", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", choices=("7b", "tiny"), default="tiny", help="default: tiny")
    parser.add_argument("--dataset", default="bundled", help="folder in ChartQA's layout, Hub id or bundled (default)")
    parser.add_argument("--split", default=None, help="default: train, of the bundled charts their only split")
    parser.add_argument("--modes", default=",".join(MODES), help=f"default: {','.join(MODES)}")
    parser.add_argument("--steps", type=int, default=20, help="optimiser steps of each mode; default: 20")
    parser.add_argument(
        "--override",
        nargs=2,
        action="append",
        default=[],
        metavar=("MODE", "FLAGS"),
        help="more flags of `python -m train` for one mode: --override speed '--per_device_train_batch_size 16 ...'",
    )
    parser.add_argument("--liger", action="store_true", help="Liger's kernels in every mode but recipe, if installed")
    parser.add_argument("--profile", action="store_true", help="print the operations that take the most time")
    parser.add_argument("--output", type=Path, help="JSON file")
    parser.add_argument("--model", type=Path, help="folder to keep the random model in, built if it is not there")
    parser.add_argument("--mode", choices=(BUILD, *MODES), help=argparse.SUPPRESS)
    flags = parser.parse_args(argv)
    flags.split = flags.split or ("test" if flags.dataset == "bundled" else "train")
    return flags


if __name__ == "__main__":
    sys.exit(main())
