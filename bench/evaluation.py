"""How much faster an evaluation is than asking one by one, and whether it gives the same answers.

    python -m bench.evaluation --limit 60

Both ways go through one engine in one run, first one by one as the page asks, then in the batches of
`chartqa_demo.evaluate`; prints questions per second, their ratio, and every answer that differs. `--output` keeps the
figures. In half precision a sum is rounded otherwise for another number of rows: made-up weights, whose tokens lie
close together, then answer some questions otherwise.
"""

import argparse
import json
import random
import shlex
import sys
import tempfile
import time
from collections import Counter
from datetime import date
from pathlib import Path

from tqdm import tqdm

from chartqa_demo.data.splits import chosen_columns, draw_examples, open_split
from chartqa_demo.engines import Options
from chartqa_demo.errors import DatasetError, EngineError, EvaluationError, SettingsError
from chartqa_demo.evaluate import run as evaluate
from chartqa_demo.settings import add_engine_flags, settings_from


def main() -> int:
    """Exit code: 0 same answers, 1 some differ, 2 something a person has to change."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.evaluation", description="Evaluation in batches against asking one by one."
    )
    parser.add_argument("--limit", type=int, default=60, help="questions drawn from the split; default: 60")
    parser.add_argument("--seed", type=int, default=0, help="seed of the draw; default: 0")
    parser.add_argument(
        "--shuffled",
        action="store_true",
        help="ask one by one in a shuffled order, as visitors come; the engine "
        "remembers the last charts, so in the order of the data set it looks at each only once either way",
    )
    parser.add_argument("--output", type=Path, help="JSON file")
    add_engine_flags(parser)
    flags = parser.parse_args()
    try:
        settings = settings_from(flags)
        split = open_split(settings.dataset, settings.split, chosen_columns(settings))
        examples = draw_examples(split, flags.limit, flags.seed)
        import torch

        from chartqa_demo.engines import load_engine

        engine = load_engine(settings)
        arms = [arm for arm in engine.arms if not arm.adapter or engine.adapter is not None]
        options = Options(max_new_tokens=settings.max_new_tokens)
        list(engine.answer(examples[0].load_image(), "Warm up?", arms, options))  # first calls compile and allocate

        began = time.perf_counter()
        single = {}
        order = random.Random(flags.seed).sample(examples, len(examples)) if flags.shuffled else examples
        for one in tqdm(order, desc="One by one", unit="question"):
            *_, last = engine.answer(one.load_image(), one.question, arms, options)
            single[one.id] = {answer.arm: answer.text for answer in last}
        alone = time.perf_counter() - began

        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            results = evaluate.measure(engine, examples, arms, options, Path(folder) / "bench.jsonl")
            batched = time.perf_counter() - began
    except (SettingsError, DatasetError, EngineError, EvaluationError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2

    different = [
        (arm, f"{item.id} {arm}: one by one {single[item.id][arm]!r}, in a batch {item.answers.get(arm)!r}")
        for item in results.items
        for arm in single[item.id]
        if item.answers.get(arm) != single[item.id][arm]
    ]
    found = {
        "command": "python -m bench.evaluation " + shlex.join(sys.argv[1:]),
        "date": date.today().isoformat(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU",
        "model": engine.title,
        "questions": len(examples),
        "one_by_one_questions_per_s": round(len(examples) / alone, 2),
        "batched_questions_per_s": round(len(examples) / batched, 2),
        "ratio": round(alone / batched, 2),
        "answers": len(examples) * len(arms),
        "differ": len(different),
        "differ_by_arm": Counter(arm for arm, _ in different),
    }
    print(json.dumps(found, indent=2))
    print("\n".join(told for _, told in different))
    if flags.output:
        flags.output.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
