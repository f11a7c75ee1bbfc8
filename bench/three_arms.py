"""Three arms for the price of one: the usual way, one mixed batch, and the static cache, side by side in one run.

    python -m bench.three_arms --size 7b --output bench/results/three_arms_7b.json      # one GPU of 40 GB or more
    python -m bench.three_arms --size bundled --output bench/results/three_arms_cpu.json  # any machine

The usual way is what one writes without this project: three calls of `generate`, one after another, each with its own
pixels and the adapter switched off and on. Answers have a fixed length (no token ends them). Times on a GPU are wall
clock, medians of interleaved repeats; on a CPU, which others may share, they are CPU time of one thread.
"""

import argparse
import json
import shlex
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from bench.parts.ceilings import ceilings, floor_s
from bench.parts.logits import logit_spread, replay_ms
from bench.parts.random_model import SIZES, build, save_adapter
from bench.parts.ways import (
    CHART,
    LENGTHS,
    QUESTIONS,
    Bench,
    Timed,
    charts_of,
    new_sizes,
    same_answers,
    second_question,
    throughput,
    usual_rate,
    vision_pass,
    where_time_goes,
)
from chartqa_demo import engines
from chartqa_demo.arms import ARMS, Arm
from chartqa_demo.engines import Options
from chartqa_demo.engines.fast.steps import CaptureError, Decoder
from chartqa_demo.engines.loading import choose, load_base
from chartqa_demo.engines.local import LocalEngine
from chartqa_demo.engines.looks import Look
from chartqa_demo.engines.startup import start_up
from chartqa_demo.errors import EngineError
from chartqa_demo.settings import Settings

NEVER = -1  # an end token that no model writes


def main() -> int:
    """Exit code: 0 measured, 2 something a person has to change; what was measured until then is printed and kept."""
    flags = _flags()
    torch.set_num_threads(flags.threads)
    found: dict[str, Any] = {}
    code = 0
    try:
        for _ in run(flags, found):
            _write(flags, found)
    except (EngineError, CaptureError, OSError, torch.OutOfMemoryError) as error:
        found["stopped_by"], code = f"{type(error).__name__}: {error}", 2
        print(f"error: {error}", file=sys.stderr)
    print(json.dumps(found, indent=2))
    _write(flags, found)
    return code


def run(flags: argparse.Namespace, found: dict[str, Any]) -> Iterator[None]:
    """The whole measurement into `found`; yields after every part, so that what was measured can be kept. Raises
    EngineError, also when an answer was cut short or no step could be captured."""
    began = time.perf_counter()
    bench = Bench(engine := _engine(flags), flags.repeats)
    engines.SAID_AGAIN = sys.maxsize  # made-up weights repeat themselves, and times are those of so many tokens
    ends = engine.base.generation_config.eos_token_id
    engine.base.generation_config.eos_token_id = [NEVER]
    engine.base.generation_config.pad_token_id = 0
    image = charts_of(1, CHART)[0]
    found |= _about(flags, bench) | {"loading_s": round(time.perf_counter() - began, 1)}
    look = engine.looks.of([image])[0]
    asked = [
        [engine._token_ids(engine.prompt_text(arm, question, Options()), look) for arm in ARMS]
        for question in QUESTIONS
    ]
    found["image_tokens"], found["prompt_tokens"] = look.tokens, [len(prompt) for prompt in asked[0]]
    _eager_ways(bench, image, tuple(flags.lengths), found)
    yield
    replays = choose(Settings(base="bundled", device=flags.device, quantize=flags.quantize)).decode == "graph"
    _static_ways(bench, image, asked[0], look, tuple(flags.lengths), replays, found)
    yield
    if flags.quantize == "none":
        found["logits"] = logit_spread(engine, asked, look, flags.logit_steps)
        yield
    if flags.questions:
        usual, found["throughput"] = usual_rate(bench), []
        for per_chart in (1, 2, 4):
            found["throughput"].append(throughput(bench, flags.questions, flags.batch, per_chart, usual))
            yield
        if bench.on_gpu:
            found["throughput_bound"] = _throughput_bound(bench, found, flags)
            yield
    if flags.compare:
        engine.base.generation_config.eos_token_id = ends
        found["same_answers"] = same_answers(engine, flags.compare)


def _eager_ways(bench: Bench, image: Image.Image, lengths: Sequence[int], found: dict[str, Any]) -> None:
    one = [ARMS[2]]
    ways = {
        "usual way, three arms": lambda n: bench.usual(image, ARMS, n),
        "usual way, one arm": lambda n: bench.usual(image, one, n),
        "one batch, eager, three arms": lambda n: bench.ours(image, ARMS, n),
        "one batch, eager, one arm": lambda n: bench.ours(image, one, n),
    }
    if bench.on_gpu:
        ways["usual way without cuDNN, three arms"] = lambda n: bench.usual(image, ARMS, n, cudnn=False)
    found["ways"] = bench.measure(ways, lengths)
    found["second_question_eager"] = second_question(bench, image)


def _static_ways(
    bench: Bench,
    image: Image.Image,
    prompts: Sequence[list[int]],
    look: Look,
    lengths: Sequence[int],
    replays: bool,
    found: dict[str, Any],
) -> None:
    """The static cache's ways, the floor beside them and the ratios; the engine answers by its fastest afterwards.
    replays: whether `--decode auto` takes a graph here."""
    engine, one = bench.engine, [ARMS[2]]
    written_out: Any = engine.fast
    called = Decoder(written_out.layers, replays=False)
    written_out.decoder = fast = Decoder(written_out.layers, replays)
    began = time.perf_counter()
    engine.warm_up()
    found["warm_up_s"] = round(time.perf_counter() - began, 2)
    if replays and not fast.replays:
        raise EngineError(written_out.notes[0])

    def ours(decoder: Decoder, arms: Sequence[Arm], length: int) -> Timed:
        written_out.decoder = decoder
        return bench.ours(image, arms, length)

    ways = {
        "static cache, three arms": lambda n: ours(fast, ARMS, n),
        "static cache, one arm": lambda n: ours(fast, one, n),
    }
    if fast.replays:
        ways["static cache without a graph, three arms"] = lambda n: ours(called, ARMS, n)
    found["ways"] |= bench.measure(ways, lengths)
    written_out.decoder = fast
    if fast.replays:
        found["step_ms_on_the_device"] = replay_ms(fast, prompts, look, engine._name)
    found["captures"] = fast.captures
    found["second_question"] = second_question(bench, image)
    found["vision_pass"] = vision_pass(bench, image)
    found["new_chart_size"] = new_sizes(bench, lengths[1])
    found["ceilings"] = measured = ceilings(engine.base.device, engine.base.dtype)
    rows = {"three arms": [len(p) for p in prompts], "one arm": [len(prompts[2])]}
    found["floor_s"] = {
        name: {length: floor_s(engine.base, look, lens, length, measured) for length in lengths}
        for name, lens in rows.items()
    }
    found["ratios"] = ratios(found, lengths)


def _throughput_bound(bench: Bench, found: dict[str, Any], flags: argparse.Namespace) -> dict[str, Any]:
    """Where a question's time goes when every chart is asked once, and the ratio to the usual way that would be left
    if vision and prompts went at the measured matrix rate and everything else took no time."""
    floor = found["floor_s"]["three arms"][flags.lengths[0]]
    least = floor["vision"] + floor["prefill"]
    return {
        "vision_and_prompts_at_the_matrix_rate_ms": round(1000 * least, 2),
        "ratio_at_that_rate": round(1 / least / found["throughput"][0]["usual_questions_per_s"], 2),
        "profile_of_a_question": where_time_goes(bench, flags.batch),
    }


def _write(flags: argparse.Namespace, found: dict[str, Any]) -> None:
    if flags.output:
        flags.output.parent.mkdir(parents=True, exist_ok=True)
        flags.output.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def ratios(found: dict[str, Any], lengths: Sequence[int]) -> dict[str, Any]:
    """What the static cache buys, at every length, from the medians of this one run."""
    ways, told = found["ways"], {}
    usual, fast = ways["usual way, three arms"], ways["static cache, three arms"]
    single, eager = ways["static cache, one arm"], ways["one batch, eager, one arm"]
    for length in lengths:
        key = f"total_{length}_s"
        told[f"at {length} tokens"] = {
            "times faster than the usual way": round(usual[key] / fast[key], 2),
            "one eager batch, times faster than the usual way": round(
                usual[key] / ways["one batch, eager, three arms"][key], 2
            ),
            "three arms over our own single arm": round(fast[key] / single[key], 3),
            "three arms over one, eager": round(ways["one batch, eager, three arms"][key] / eager[key], 3),
            "share of the floor": round(found["floor_s"]["three arms"][length]["total"] / fast[key], 3),
            "share of the floor that reads every weight": round(
                found["floor_s"]["three arms"][length]["total_reading_all"] / fast[key], 3
            ),
        }
        if plain := ways.get("usual way without cuDNN, three arms"):
            told[f"at {length} tokens"]["times faster than it without cuDNN"] = round(plain[key] / fast[key], 2)
    told["first text over the eager single arm's"] = round(fast["first_token_s"] / eager["first_token_s"], 3)
    told["first text over the usual single arm's"] = round(
        fast["first_token_s"] / ways["usual way, one arm"]["first_token_s"], 3
    )
    if fast["peak_gib"]:
        told["peak memory over one eager arm's"] = round(fast["peak_gib"] / ways["usual way, one arm"]["peak_gib"], 3)
    return told


def _about(flags: argparse.Namespace, bench: Bench) -> dict[str, Any]:
    base = bench.engine.base
    return {
        "command": "python -m bench.three_arms " + shlex.join(sys.argv[1:]),
        "date": date.today().isoformat(),
        "device": torch.cuda.get_device_name(base.device) if bench.on_gpu else f"CPU, {flags.threads} thread(s)",
        "clock": "wall" if bench.on_gpu else "CPU time",
        "model": f"{flags.size}, {str(base.dtype).removeprefix('torch.')}, {flags.quantize}",
        "attention": base.config._attn_implementation,
        "versions": {name: version(name) for name in ("torch", "transformers", "peft")},
    }


def _engine(flags: argparse.Namespace) -> LocalEngine:
    with tempfile.TemporaryDirectory() as folder:
        return _engine_in(Path(folder), flags)


def _engine_in(folder: Path, flags: argparse.Namespace) -> LocalEngine:
    """An eager engine on the model asked for, with a random adapter of rank 8 on q and v in its third arm."""
    name = "bundled" if flags.size == "bundled" else str(folder / "base")
    settings = Settings(
        base=name, adapter="none", device=flags.device, dtype=flags.dtype, quantize=flags.quantize, decode="eager"
    )
    if flags.size != "bundled":
        Path(name).mkdir()  # a start asks first whether there is a base of that name
    start_up(settings)
    choice = choose(settings)
    if flags.size == "bundled" or flags.quantize != "none":
        if flags.size != "bundled":  # bitsandbytes quantises while it loads
            model, processor = build(flags.size, choice.device, choice.dtype)
            model.save_pretrained(name)
            processor.save_pretrained(name)
            del model
        model, processor = load_base(choice, settings)
    else:
        model, processor = build(flags.size, choice.device, choice.dtype)
    if flags.attention:
        model.set_attn_implementation(flags.attention)
    engine = LocalEngine(model, processor, choice, settings)
    engine.use_adapter(str(save_adapter(model, folder / "adapter")))
    return engine


def _flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.three_arms", description="Three arms for the price of one.")
    parser.add_argument("--size", choices=(*SIZES, "bundled"), default="bundled", help="default: bundled")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto", choices=("auto", "float32", "bfloat16", "float16"))
    parser.add_argument("--quantize", default="none", choices=("none", "8bit", "4bit"))
    parser.add_argument("--attention", help="attention of the eager ways: sdpa, eager ...")
    parser.add_argument("--repeats", type=int, default=5, help="of every time; default: 5")
    parser.add_argument("--lengths", type=int, nargs=3, default=LENGTHS, metavar="N", help="default: 4 32 128")
    parser.add_argument("--logit-steps", type=int, default=16, help="decode steps whose logits are compared")
    parser.add_argument("--questions", type=int, default=0, help="charts of the throughput measurement; 0 for none")
    parser.add_argument("--batch", type=int, default=32, help="questions per batch there; default: 32")
    parser.add_argument(
        "--compare", type=int, default=0, metavar="N", help="compare the answers to the first N bundled questions"
    )
    parser.add_argument("--threads", type=int, default=1, help="CPU threads; default: 1")
    parser.add_argument("--output", type=Path, help="JSON file")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
