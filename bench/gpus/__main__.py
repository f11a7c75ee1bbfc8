"""Two GPUs: training sharded, data-parallel and on one of them, as train/README says; answering spread over both.

    python -m bench.gpus --size 7b --folder /tmp/gpus --output bench/results/two_gpus_7b_h200.json
    python -m bench.gpus --size tiny --parts one,finish       # on any machine; without GPUs there is nothing to share

Weights are random, of the exact shapes; charts are the bundled ones. Each part runs in processes of its own and is
written when it is done; a call with some --parts adds them to the others in --output. `finish` is --resume of the
sharded run (of `one`, where that is all there is), in one process that sees all GPUs.
"""

import argparse
import csv
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import torch
import yaml
from safetensors import safe_open

from bench.parts.random_model import SIZES
from bench.train_step import ROWS, WARMING

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "train" / "configs"
RECIPE = CONFIGS / "qwen2-vl-7b-chartqa-full.yaml"
GPUS = 2
GIB = 2**30
LAUNCH = {
    "sharded": f"-m accelerate.commands.launch --config_file {CONFIGS / 'fsdp_qlora.yaml'} --num_processes 2",
    "data_parallel": "-m accelerate.commands.launch --multi_gpu --num_processes 2",
    "one": "",
}
PARTS = ("sharded", "finish", "data_parallel", "one", "spread", "spread_bundled", "paper")
SHORT = "--eval_strategy no --load_best_model_at_end false --accuracy_sample 0 --report_to none --dry_run true "
SHORT += "--logging_steps 1 --disable_tqdm true --test_sample 4 --max_new_tokens 8"
ON_A_CPU = "--use_cpu true --bf16 false --dtype float32 --load_in_4bit false"
TEXT_72B = {"hidden_size": 8192, "intermediate_size": 29568, "num_hidden_layers": 80, "key_values": 1024}


def write_charts(folder: Path, rows: int) -> None:
    """A data set of the bundled charts: `rows` to train on, questions of 24 charts again and again; others held out."""
    from chartqa_demo.data.splits import open_split

    found = list(open_split("bundled"))
    names = list(dict.fromkeys(one.chart for one in found))
    parts = {"train": names[:24], "val": names[24:28], "test": names[28:]}
    for part, charts in parts.items():
        examples = [one for one in found if one.chart in charts]
        chosen = [examples[k % len(examples)] for k in range(rows if part == "train" else 8)]
        (folder / part).mkdir(parents=True, exist_ok=True)
        with (folder / part / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(["image", "query", "label"])
            for one in chosen:
                (folder / part / f"{names.index(one.chart)}.png").write_bytes(one.read())
                table.writerow([f"{names.index(one.chart)}.png", one.question, one.gold[0]])


def train_command(flags: argparse.Namespace, part: str, more: str = "") -> list[str]:
    """The command of train/README for this part, shortened, with `bench.gpus.measured` for `train`."""
    where = ["--config", str(RECIPE), "--model_name_or_path", str(flags.folder / "base")]
    where += ["--dataset", str(flags.folder / "charts"), "--output_dir", str(flags.folder / part)]
    where += ["--max_steps", str(flags.steps), "--save_steps", str(max(1, flags.steps // 2))]
    own = "--activation_checkpointing false" if part == "sharded" else ""
    device = "" if torch.cuda.is_available() else ON_A_CPU
    changes = shlex.split(f"{SHORT} {own} {device} {more}")
    measured = ["-m", "bench.gpus.measured", str(flags.folder / "measured" / part)]
    return [sys.executable, *shlex.split("" if more else LAUNCH[part]), *measured, *where, *changes]


def run(command: list[str], log: Path) -> tuple[int, str]:
    """Exit code and what it printed, which also goes to `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8") as file:
        code = subprocess.run(command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, check=False).returncode
    return code, log.read_text(encoding="utf-8", errors="replace")


def train_part(flags: argparse.Namespace, part: str) -> dict[str, Any]:
    """One training: rows per second, memory of every process, tensors of every file."""
    start = time.perf_counter()
    command = train_command(flags, part)
    code, said = run(command, flags.folder / "logs" / f"{part}.txt")
    ranks = sorted((flags.folder / "measured" / part).glob("rank*.json"))
    told = [json.loads(path.read_text(encoding="utf-8")) for path in ranks]
    found: dict[str, Any] = {
        "command": shlex.join(command[1:]),
        "exit_code": code,
        "said": [
            line for line in said.splitlines() if line.startswith(("Trained.", "error:", "Ready")) or " GiB" in line
        ],
        "seconds_in_all": round(time.perf_counter() - start, 1),
        "adapters": {
            path.parent.name: tensors(path) for path in (flags.folder / part).rglob("adapter_model.safetensors")
        },
    }
    if not told:
        return found | {"failed": said[-1500:]}
    recipe = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))
    rows = recipe["per_device_train_batch_size"] * recipe["gradient_accumulation_steps"] * len(told)
    steps = told[0]["seconds"][WARMING:] or told[0]["seconds"]
    return found | {
        "rows_per_step": rows,
        "seconds_per_step": round(median(steps), 3),
        "rows_per_second": round(rows / median(steps), 2),
        "seconds_of_each_process": [[round(second, 3) for second in one["seconds"]] for one in told],
        "gib_of_each_process": [one["gib"] for one in told],
        "losses": told[0]["losses"],
    }


def tensors(path: Path) -> dict[str, int]:
    """Tensors of an adapter's file, how many of them are of size zero, and how many B matrices are not all zero."""
    with safe_open(path, "pt") as file:
        held = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    learned = sum("lora_B" in name and bool(one.any()) for name, one in held.items())
    return {"tensors": len(held), "empty": sum(not one.numel() for one in held.values()), "b_learned": learned}


def finish(flags: argparse.Namespace) -> dict[str, Any]:
    """--resume of the trained run in one process: results.json and the card."""
    part = "sharded" if (flags.folder / "sharded").is_dir() else "one"
    start, folder = time.perf_counter(), flags.folder / part
    command = train_command(flags, part, "--resume true")
    code, said = run(command, flags.folder / "logs" / "finish.txt")
    results = folder / "results.json"
    found = json.loads(results.read_text(encoding="utf-8")) if results.is_file() else {}
    return {
        "command": shlex.join(command[1:]),
        "exit_code": code,
        "gpus_visible": torch.cuda.device_count(),
        "said": [
            line for line in said.splitlines() if "visible" in line or line.startswith(("error:", "Gain:", "Ready"))
        ],
        "seconds_in_all": round(time.perf_counter() - start, 1),
        "results": {key: found.get(key) for key in ("complete", "asked")},
        "card": (folder / "README.md").is_file() and "Wilson" in (folder / "README.md").read_text(encoding="utf-8"),
    } | ({} if code == 0 else {"failed": said[-1500:]})


def spread(base: str, adapter: Path | None, asked: int) -> dict[str, Any]:
    """Answers of a base spread over all GPUs by --device-map auto against those on one, in float32, greedy."""
    from chartqa_demo.arms import ARMS
    from chartqa_demo.data.splits import open_split
    from chartqa_demo.engines import Options, load_engine
    from chartqa_demo.settings import Settings

    charts = list({one.chart: one for one in open_split("bundled")}.values())[:asked]
    usual: dict[str, Any] = {"base": base, "dtype": "float32", "decode": "eager", "quantize": "none"}
    usual |= {"adapter": str(adapter)} if adapter else {}
    answers, devices = [], 0
    for way in ({"device": "cuda" if torch.cuda.is_available() else "cpu"}, {"device_map": "auto"}):
        settings: dict[str, Any] = usual | way
        engine: Any = load_engine(Settings(**settings))
        devices = len(set(getattr(engine.base, "hf_device_map", {"": 0}).values()))
        told = []
        for one in charts:
            *_, last = engine.answer(one.load_image(), one.question, ARMS, Options(max_new_tokens=16))
            told += [answer.error or answer.text for answer in last]
        answers.append(told)
        del engine
        torch.cuda.empty_cache()
    apart = [pair for pair in zip(*answers, strict=True) if pair[0] != pair[1]]
    return {"devices": devices, "answers": len(answers[0]), "different": apart, "first": answers[0][: len(ARMS)]}


def parts_of(text: dict[str, int], vision: dict[str, Any]) -> dict[str, float]:
    """GiB of a Qwen2-VL with the language model's layers in NF4 (half a byte a weight and 1/64 byte of its scales)."""
    wide, layers = text["hidden_size"], text["num_hidden_layers"]
    linear = layers * (2 * wide * (wide + text["key_values"]) + 3 * wide * text["intermediate_size"])
    seen, merged = vision["embed_dim"], 4 * vision["embed_dim"]
    tower = vision["depth"] * (4 + 2 * vision["mlp_ratio"]) * seen**2 + merged * (merged + wide)
    return {
        "layers": linear / 2 / GIB,
        "scales": linear / 64 / GIB,
        "table": 2 * 152064 * wide / GIB,
        "tower": 2 * tower / GIB,
    }


def paper(found: dict[str, Any]) -> dict[str, Any]:
    """What a sharded run should hold on each GPU: its share of the weights, the scales and the head whole, and what
    else the measured run had at its peak, which for the 72B grows with width and layers."""
    text, vision = SIZES["7b"]
    heads = text["num_key_value_heads"] * text["hidden_size"] // text["num_attention_heads"]
    seven, large = parts_of(text | {"key_values": heads}, vision), parts_of(TEXT_72B, vision)

    def held(one: dict[str, float], gpus: int) -> float:
        return (one["layers"] + one["tower"] + 2 * one["table"]) / gpus + one["scales"] + one["table"]

    told: dict[str, Any] = {"parts_7b": seven, "parts_72b": large, "weights_7b": {n: held(seven, n) for n in (2, 4, 8)}}
    told["weights_72b"] = {n: held(large, n) for n in (2, 4, 8)}
    measured = found.get("sharded", {}).get("gib_of_each_process") or [{}]
    if "peak_training" in measured[0]:
        rest = max(one["peak_training"] for one in measured) - held(seven, 2)
        grows = (
            TEXT_72B["hidden_size"] * TEXT_72B["num_hidden_layers"] / text["hidden_size"] / text["num_hidden_layers"]
        )
        told |= {"rest_measured_7b": rest, "rest_72b": rest * grows}
        told["peak_72b"] = {n: held(large, n) + rest * grows for n in (4, 8)}
    return json.loads(json.dumps(told), parse_float=lambda number: round(float(number), 2))


def about(flags: argparse.Namespace) -> dict[str, str]:
    """What was measured, where and when."""
    return {
        "command": f"python -m bench.gpus --size {flags.size} --steps {flags.steps}",
        "date": date.today().isoformat(),
        "device": f"{torch.cuda.device_count()} x {torch.cuda.get_device_name()}"
        if torch.cuda.is_available()
        else "CPU",
        "model": f"{flags.size}, random weights",
        "torch": torch.__version__,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0 all parts measured, 1 one of them failed (the others are written)."""
    parser = argparse.ArgumentParser(prog="python -m bench.gpus", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", choices=tuple(SIZES), default="tiny", help="default: tiny")
    parser.add_argument("--folder", type=Path, default=Path("runs/gpus"), help="where model, charts and runs are kept")
    parser.add_argument("--steps", type=int, default=12, help="optimiser steps of each training; default: 12")
    parser.add_argument("--parts", default=",".join(PARTS), help=f"default: {','.join(PARTS)}")
    parser.add_argument("--output", type=Path, help="JSON file; what it holds of other parts stays")
    flags = parser.parse_args(argv)
    flags.folder = flags.folder.absolute()
    if not (flags.folder / "charts").is_dir():  # rows for all steps: an epoch starts with a wait for its first batches
        write_charts(flags.folder / "charts", GPUS * ROWS * max(4, flags.steps))
    if not (flags.folder / "base").is_dir():
        building = ["--size", flags.size, "--model", str(flags.folder / "base"), "--mode", "build"]
        subprocess.run([sys.executable, "-m", "bench.train_step", *building], cwd=ROOT, check=True)
    found = json.loads(flags.output.read_text(encoding="utf-8")) if flags.output and flags.output.is_file() else {}
    wanted = flags.parts.split(",")
    if wanted != ["paper"]:
        found |= about(flags)
    for part in wanted:
        if part in LAUNCH:
            found[part] = train_part(flags, part)
        elif part == "finish":
            found[part] = finish(flags)
        elif part == "paper":
            found[part] = paper(found)
        elif part == "spread_bundled":
            found[part] = spread("bundled", None, 6)
        else:
            trained = [
                flags.folder / one for one in ("sharded", "one") if (flags.folder / one / "results.json").is_file()
            ]
            found[part] = spread(str(flags.folder / "base"), trained[0] if trained else None, 2)
        if flags.output:
            flags.output.parent.mkdir(parents=True, exist_ok=True)
            text = json.dumps(found, indent=2, ensure_ascii=False).replace(str(flags.folder), "…")
            flags.output.write_text(text.replace(f"{ROOT}/", "") + "\n", encoding="utf-8")
        print(part, json.dumps({key: value for key, value in found[part].items() if key != "command"}), flush=True)
    return 1 if any("failed" in found[part] for part in wanted) else 0


if __name__ == "__main__":
    sys.exit(main())
