"""The process that answers for one checkout, run by path: `chartqa_demo` is that checkout's, whichever it is.

Reads one JSON line a question, [picture file, question], and writes one: CPU and wall seconds of three answers, and
their texts and tokens. Only names that every checkout has since November 2026 are used.
"""

import argparse
import io
import json
import sys
import time
from pathlib import Path

import torch
from PIL import Image

from chartqa_demo.arms import ARMS
from chartqa_demo.engines import Options, load_engine
from chartqa_demo.settings import Settings


def main() -> None:
    """Command line: base folder, adapter folder, threads."""
    parser = argparse.ArgumentParser(description="Answers questions that come as JSON lines, with what each cost.")
    parser.add_argument("base")
    parser.add_argument("adapter")
    parser.add_argument("threads", type=int)
    flags = parser.parse_args()
    torch.set_num_threads(flags.threads)
    engine = load_engine(Settings(base=flags.base, adapter=flags.adapter, device="cpu"))
    arms = getattr(engine, "arms", ARMS)
    print(json.dumps("ready"), flush=True)
    for number, line in enumerate(sys.stdin):
        file, question = json.loads(line)
        image = Image.open(io.BytesIO(Path(file).read_bytes())).convert("RGB")
        image.putpixel((0, 0), (number // 256 % 256, number % 256, 0))  # a chart that it has not looked at
        cpu, wall = time.process_time(), time.perf_counter()
        *_, answers = engine.answer(image, question, arms, Options(max_new_tokens=64))
        spent = time.process_time() - cpu, time.perf_counter() - wall
        print(json.dumps([*spent, [[one.text, one.tokens] for one in answers]]), flush=True)


if __name__ == "__main__":
    main()
