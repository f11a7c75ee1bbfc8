"""The ways to answer one question, timed: what `bench.three_arms` compares."""

import random
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import torch
from PIL import Image
from torch.profiler import ProfilerActivity, profile
from transformers.generation.streamers import BaseStreamer

from chartqa_demo.arms import ARMS, Arm
from chartqa_demo.data.splits import open_split
from chartqa_demo.engines import Options
from chartqa_demo.engines.local import LocalEngine
from chartqa_demo.engines.looks import Look, look
from chartqa_demo.engines.streaming import generation_settings
from chartqa_demo.errors import EngineError
from chartqa_demo.images import fit_canvas

QUESTION, SECOND = "What is the difference between the two largest values?", "Which year had the lowest value?"
QUESTIONS = (QUESTION, SECOND, "How many bars are there?", "What is the title of the chart?")
CHART = (800, 557)  # the most common size in ChartQA's test split
LENGTHS = (4, 32, 128)
KERNELS = {  # what the names of CUDA kernels say
    "attention": ("flash", "fmha", "attention"),
    "matrix_products": ("gemm", "nvjet", "cutlass", "splitk", "gemv", "_product"),
    "copies": ("memcpy", "memset"),
}
Timed = tuple[float, float]  # seconds to the first token and to the last


class FirstToken(BaseStreamer):
    """When `generate` put its first token after the prompt."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock, self.puts, self.at = clock, 0, 0.0

    def put(self, value: torch.Tensor) -> None:
        """Called by `generate`: the prompt first."""
        self.puts += 1
        if self.puts == 2:
            self.at = self.clock()

    def end(self) -> None:
        """Called by `generate`."""


class Bench:
    """One engine, timed in several ways. on_gpu decides the clock: wall on a GPU, CPU time elsewhere."""

    def __init__(self, engine: LocalEngine, repeats: int) -> None:
        self.engine, self.repeats = engine, repeats
        self.on_gpu = engine.base.device.type == "cuda"
        self.clock = time.perf_counter if self.on_gpu else time.process_time

    def usual(self, image: Image.Image, arms: Sequence[Arm], tokens: int, cudnn: bool = True) -> Timed:
        """One call of `generate` per arm; pixels processed and looked at in each. cudnn: attention by cuDNN where torch
        would choose it, as it does by default; the engine switches it off."""
        torch.backends.cuda.enable_cudnn_sdp(cudnn)
        try:
            return self._usual(image, arms, tokens)
        finally:
            torch.backends.cuda.enable_cudnn_sdp(not self.on_gpu)

    def _usual(self, image: Image.Image, arms: Sequence[Arm], tokens: int) -> Timed:
        engine = self.engine
        model: Any = engine.model
        began, first = self.clock(), 0.0
        for arm in arms:
            canvases = getattr(engine.base.config, "chart_canvases", None)
            chart = fit_canvas(image, canvases).image if canvases else image
            text = engine.prompt_text(arm, QUESTION, Options())
            inputs = engine.processor(text=[text], images=[[chart]], return_tensors="pt").to(engine.base.device)
            seen = FirstToken(self.clock)
            settings = generation_settings(Options(max_new_tokens=tokens))
            with torch.inference_mode():
                if arm.adapter:
                    out = model.generate(**inputs, streamer=seen, **settings)
                else:
                    with model.disable_adapter():
                        out = model.generate(**inputs, streamer=seen, **settings)
            out = out[:, inputs["input_ids"].shape[1] :].tolist()
            _check(len(out[0]), tokens)
            first = first or seen.at - began
        return first, self.clock() - began

    def ours(
        self, image: Image.Image, arms: Sequence[Arm], tokens: int, question: str = QUESTION, fresh: bool = True
    ) -> Timed:
        """The engine's answer, on a chart that it has not seen unless `fresh` is off."""
        if fresh:
            self.engine.looks.clear()
        began, first, answers = self.clock(), 0.0, ()
        for answers in self.engine.answer(image, question, arms, Options(max_new_tokens=tokens)):
            if not first and all(answer.tokens for answer in answers):
                first = self.clock() - began
        total = self.clock() - began
        for answer in answers:
            if answer.error is not None:
                raise EngineError(answer.error)
            _check(answer.tokens, tokens)
        return first, total

    def peak(self, run: Callable[[], object]) -> float | None:
        """GiB that were allocated at once while `run` ran, weights included; None on a CPU."""
        if not self.on_gpu:
            run()
            return None
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        run()
        torch.cuda.synchronize()
        return round(torch.cuda.max_memory_allocated() / 2**30, 2)

    def measure(self, ways: dict[str, Callable[[int], Timed]], lengths: Sequence[int]) -> dict[str, dict[str, Any]]:
        """Every way at every length, interleaved, medians; with its first call and its peak memory."""
        found: dict[str, dict[str, Any]] = {}
        for name, way in ways.items():
            began = time.perf_counter()
            found[name] = {"peak_gib": self.peak(lambda way=way: way(lengths[1]))}
            found[name]["first_call_s"] = round(time.perf_counter() - began, 2)
        times: dict[tuple[str, int], list[Timed]] = {(n, length): [] for n in ways for length in lengths}
        for _ in range(self.repeats):
            for name, length in random.sample(list(times), len(times)):
                times[name, length].append(ways[name](length))
        for name in ways:
            totals = {length: median(total for _, total in times[name, length]) for length in lengths}
            spread = {length: max(t for _, t in times[name, length]) / totals[length] - 1 for length in lengths}
            found[name] |= {
                "first_token_s": round(median(f for length in lengths for f, _ in times[name, length]), 4),
                **{f"total_{length}_s": round(totals[length], 4) for length in lengths},
                "decode_ms_per_step": round(
                    1000 * (totals[lengths[-1]] - totals[lengths[1]]) / (lengths[-1] - lengths[1]), 3
                ),
                "slowest_repeat_over_median": round(max(spread.values()), 3),
            }
        return found


def second_question(bench: Bench, image: Image.Image) -> dict[str, Any]:
    """Another question on the chart just asked about: vision passes counted, time to first text of all arms."""
    firsts, passes = [], set()
    for _ in range(bench.repeats):
        fresh, _total = bench.ours(image, ARMS, 4)
        before = bench.engine.looks.passes
        again, _total = bench.ours(image, ARMS, 4, SECOND, fresh=False)
        passes.add(bench.engine.looks.passes - before)
        firsts.append((fresh, again))
    first, again = (round(median(times), 4) for times in zip(*firsts, strict=True))
    return {"vision_passes": sorted(passes), "first_question_first_text_s": first, "first_text_s": again}


def vision_pass(bench: Bench, image: Image.Image) -> dict[str, float]:
    """Milliseconds of the vision tower on one chart and on eight, ours and transformers' own, pixels made before; and
    how far their features lie apart."""
    engine, looks = bench.engine, bench.engine.looks
    one, four = looks._read([image]), looks._read([image] * 4)
    ways: dict[str, Callable[[], list[Look]]] = {
        "ours_1_ms": lambda: looks._look(one),
        "ours_8_ms": lambda: looks._look(four) + looks._look(four),
        "transformers_1_ms": lambda: [look(engine.base, one)],
        "transformers_8_ms": lambda: [look(engine.base, one) for _ in range(8)],
    }
    found, seen = {}, {}
    for name, way in ways.items():
        times = []
        for _ in range(bench.repeats + 1):
            began = bench.clock()
            seen[name] = way()[0].pooled[0]
            if bench.on_gpu:
                torch.cuda.synchronize()
            times.append(1000 * (bench.clock() - began))
        found[name] = round(median(times[1:]), 2)
    ours, theirs = (seen[f"{who}_1_ms"].float() for who in ("ours", "transformers"))
    return found | {"apart": round(((ours - theirs).norm() / theirs.norm()).item(), 6)}


def new_sizes(bench: Bench, tokens: int) -> dict[str, Any]:
    """Charts of sizes not seen before, asked once each, against the size that everything was warmed with."""
    decoder = bench.engine.fast.decoder if bench.engine.fast else None
    before = decoder.captures if decoder else 0
    seen = median(bench.ours(charts_of(1, CHART)[0], ARMS, tokens)[1] for _ in range(bench.repeats))
    sizes = [(640, 480), (850, 600), (474, 781), (1000, 412)]
    new = [bench.ours(charts_of(1, size)[0], ARMS, tokens)[1] for size in sizes]
    captured = (decoder.captures if decoder else 0) - before
    return {
        "sizes": sizes,
        "seen_s": round(seen, 4),
        "new_s": [round(total, 4) for total in new],
        "dearest_over_seen": round(max(new) / seen, 3),
        "captures": captured,
    }


def usual_rate(bench: Bench) -> float:
    """Questions per second with answers of 8 tokens, the usual way: one by one."""
    return 1 / median(bench.usual(chart, ARMS, 8)[1] for chart in charts_of(5 * bench.repeats, CHART))


def throughput(bench: Bench, questions: int, batch: int, per_chart: int, usual: float) -> dict[str, Any]:
    """The same in the evaluation's large batches, `per_chart` questions on each chart, over the usual rate."""
    charts = charts_of(questions // per_chart, CHART)
    items = [(chart, question) for chart in charts for question in QUESTIONS[:per_chart]]
    options = Options(max_new_tokens=8)
    bench.engine.looks.clear()
    bench.engine.answer_many(items[:batch], ARMS, options)
    bench.engine.looks.clear()
    if bench.on_gpu:
        torch.cuda.reset_peak_memory_stats()
    began = bench.clock()
    for first in range(0, len(items), batch):
        for answers in bench.engine.answer_many(items[first : first + batch], ARMS, options):
            for answer in answers:
                _check(answer.tokens, 8)
    seconds = bench.clock() - began
    batched = len(items) / seconds
    return {
        "questions": len(items),
        "questions_per_chart": per_chart,
        "questions_per_batch": batch,
        "usual_questions_per_s": round(usual, 3),
        "batched_questions_per_s": round(batched, 3),
        "ratio": round(batched / usual, 2),
        "peak_gib": round(torch.cuda.max_memory_allocated() / 2**30, 2) if bench.on_gpu else None,
    }


def where_time_goes(bench: Bench, batch: int) -> dict[str, Any]:
    """One batch of the throughput measurement, each question on a chart of its own, under torch's profiler: how long
    the device computes for a question, in ms, by kind of kernel."""
    items = [(chart, QUESTION) for chart in charts_of(batch, CHART)]
    bench.engine.looks.clear()
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        bench.engine.answer_many(items, ARMS, Options(max_new_tokens=8))
        torch.cuda.synchronize()
    kinds = dict.fromkeys((*KERNELS, "other"), 0.0)
    for event in profiler.key_averages():
        kind = next((kind for kind, names in KERNELS.items() if any(n in event.key.lower() for n in names)), "other")
        kinds[kind] += event.self_device_time_total / 1000 / batch
    return {f"{kind}_ms": round(spent, 2) for kind, spent in kinds.items()} | {"ms": round(sum(kinds.values()), 2)}


def same_answers(engine: LocalEngine, questions: int) -> dict[str, Any]:
    """Greedy answers of all arms on the bundled charts, eager and from the static cache, compared."""
    fast: Any = engine.fast
    decoder, different = fast.decoder, []
    items = list(open_split("bundled"))[:questions]
    for item in items:
        told = []
        for fast.decoder in (None, decoder):
            *_, answers = engine.answer(item.load_image(), item.question, ARMS, Options(max_new_tokens=48))
            told.append([(answer.text, answer.tokens) for answer in answers])
        different += [f"{item.id} {arm.key}: {a} {b}" for arm, a, b in zip(ARMS, *told, strict=True) if a != b]
    return {"answers": len(items) * len(ARMS), "different": different}


def charts_of(count: int, size: tuple[int, int]) -> list[Image.Image]:
    """Bundled charts brought to this size; beyond their number the same again with another corner pixel."""
    files = sorted({example.file_name: example for example in open_split("bundled")}.items())
    charts = []
    for number in range(count):
        chart = files[number % len(files)][1].load_image().resize(size)
        chart.putpixel((0, 0), (number // len(files), 0, 0))
        charts.append(chart)
    return charts


def _check(found: int, wanted: int) -> None:
    if found != wanted:
        raise EngineError(f"An answer has {found} tokens instead of {wanted}: times would not compare.")
