"""What a start of a 7B model takes of the host's memory: a process of its own loads it from disk onto the GPU.

    python -m bench.parts.start --output bench/results/start_7b.json        # one GPU of 24 GB, 17 GB of disk

The base has random weights of the exact shapes (`random_model.py`), in files of 4 GB as on the Hub. The peak is the
kernel's largest resident set of the process (VmHWM), which counts pages of files that it has mapped, too; above what it
was with Python, torch, transformers and PEFT imported.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from datetime import date
from importlib.metadata import version
from pathlib import Path

import torch

from bench.cost import peak_mib
from bench.parts.random_model import SIZES, build, save_adapter
from chartqa_demo.engines.startup import start_up
from chartqa_demo.settings import Settings


def main() -> int:
    """Exit code: 0 measured, another one where a start failed."""
    parser = argparse.ArgumentParser(prog="python -m bench.parts.start", description="Host memory of a start.")
    parser.add_argument("--size", choices=SIZES, default="7b")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quantize", nargs="+", choices=("none", "4bit", "8bit"), default=["none", "4bit"])
    parser.add_argument("--output", type=Path, help="JSON file")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)  # in the process that starts: what to load
    flags = parser.parse_args()
    if flags.folder:
        print(json.dumps(started(flags.folder, flags.device, flags.quantize[0])))
        return 0
    found = {
        "command": "python -m bench.parts.start",
        "date": date.today().isoformat(),
        "device": torch.cuda.get_device_name() if flags.device == "cuda" else flags.device,
        "model": flags.size,
        "versions": {name: version(name) for name in ("torch", "transformers", "safetensors", "bitsandbytes")},
        "starts": [],
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model, processor = build(flags.size, torch.device(flags.device), torch.bfloat16)
        model.save_pretrained(folder / "base", max_shard_size="4GB")
        processor.save_pretrained(folder / "base")
        save_adapter(model, folder / "adapter")
        found["files_gb"] = round(sum(path.stat().st_size for path in folder.rglob("*.safetensors")) / 1e9, 2)
        del model
        if flags.device == "cuda":
            torch.cuda.empty_cache()
        for quantize in flags.quantize:
            command = [sys.executable, "-m", "bench.parts.start", "--folder", name, "--device", flags.device]
            done = subprocess.run([*command, "--quantize", quantize], stdout=subprocess.PIPE, text=True, check=True)
            found["starts"].append(json.loads(done.stdout.splitlines()[-1]))
    text = json.dumps(found, indent=2) + "\n"
    print(text)
    if flags.output:
        flags.output.write_text(text, encoding="utf-8")
    return 0


def started(folder: Path, device: str, quantize: str) -> dict[str, object]:
    """Seconds and MiB of one start, warm-up included, in this process."""
    settings = Settings(base=str(folder / "base"), adapter=str(folder / "adapter"), device=device, quantize=quantize)  # pyright: ignore[reportArgumentType]
    start_up(settings)
    from chartqa_demo.engines.local import load_local

    imported, began = peak_mib(), time.perf_counter()
    engine = load_local(settings)
    peak = peak_mib()
    return {
        "quantize": quantize,
        "start_s": round(time.perf_counter() - began, 1),
        "imported_mib": imported,
        "peak_mib": peak,
        "above_imports_gib": round((peak - imported) / 1024, 2),
        "gpu_gib": round(torch.cuda.max_memory_allocated() / 2**30, 2) if device == "cuda" else None,
        "notes": list(engine.notes),
    }


if __name__ == "__main__":
    sys.exit(main())
