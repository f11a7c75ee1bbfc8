"""What a start and an answer of the bundled model cost: `bench.reading cost` runs this in a process of its own.

    python -m bench.cost FOLDER --threads 2

FOLDER holds `questions.json` ([{"picture": file name, "question": text}, ...]) and the pictures. Prints one JSON
object: seconds, and the largest resident memory of the process in MiB.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chartqa_demo.data.splits import Example


def main() -> int:
    """Exit code: 0 measured, 2 the model cannot be loaded or asked."""
    parser = argparse.ArgumentParser(prog="python -m bench.cost", description="Cost of the bundled model on a CPU.")
    parser.add_argument("folder", type=Path, help="pictures and questions.json")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch; default: 2")
    flags = parser.parse_args()

    began = time.perf_counter()
    import torch
    import transformers.models.qwen2_vl as parts  # else loading would import them

    from bench.visitors import level
    from chartqa_demo.engines import Options
    from chartqa_demo.engines.startup import start_up
    from chartqa_demo.errors import EngineError
    from chartqa_demo.evaluate.run import describe
    from chartqa_demo.settings import Settings

    settings = Settings(base="bundled", adapter="bundled", device="cpu")
    start_up(settings)
    from chartqa_demo.engines.local import load_local  # what `engines.load_engine` would import while it loads

    for name in ("Qwen2VLForConditionalGeneration", "Qwen2VLImageProcessor", "Qwen2VLProcessor"):
        getattr(parts, name)
    imported = time.perf_counter() - began

    torch.set_num_threads(flags.threads)
    try:
        began = time.perf_counter()
        engine = load_local(settings)
        loaded = time.perf_counter() - began
        asked = level(engine, examples_in(flags.folder), 1, Options())
    except EngineError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    found: dict[str, Any] = {
        "settings": describe(engine, (), engine.arms, Options(), {}),
        "threads": flags.threads,
        "import_s": round(imported, 3),
        "load_s": round(loaded, 3),
        **{key: asked[key] for key in ("questions", "failed", "first_text_s", "answered_s")},
        "peak_rss_mib": peak_mib(),
    }
    print(json.dumps(found))
    return 0


def examples_in(folder: Path) -> "list[Example]":
    """The questions of the folder; every picture is another chart."""
    from chartqa_demo.data.splits import Example, chart_id

    examples = []
    for number, row in enumerate(json.loads((folder / "questions.json").read_text(encoding="utf-8"))):
        picture = folder / row["picture"]
        identity = chart_id(picture.read_bytes())
        examples.append(Example(str(number), identity, row["question"], ("",), "machine", "", picture.read_bytes))
    return examples


def peak_mib() -> float:
    """Largest resident memory of this process in MiB. Linux's `ru_maxrss` would be the parent's where that was larger
    (it survives fork and exec), so the kernel's figure for this address space comes first."""
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return round(int(line.split()[1]) / 1024, 1)
    import resource

    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2 ** (20 if sys.platform == "darwin" else 10), 1)


if __name__ == "__main__":
    sys.exit(main())
