"""How far the answers of a model can be trusted, measured on generated charts that training never saw.

    python -m bench.trust confidence                     # fit the curves, write them beside the weights, measure them
    python -m bench.trust confidence --chartqa path/to/chartqa --limit 200    # measure them on real charts, too
    python -m bench.trust overlay --fit 40 --charts 330  # choose the heads that look at what was asked about, and count

Run both again whenever weights are exchanged: what was found counts for its own weights alone. Each takes some minutes
of two CPU cores. Answers are greedy and come from the app's own engine; `confidence` resumes from its records.
"""

import argparse
import json
import os
import random
import sys
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from bench.parts.overlay import against_chance, choose, looked, pointed_at
from chartqa_demo.arms import ADAPTER
from chartqa_demo.data.splits import draw_examples, open_split
from chartqa_demo.engines import Options, load_engine
from chartqa_demo.engines.trust.measured import Curve, log_odds, weights_of, write_arms
from chartqa_demo.errors import DatasetError, EngineError, EvaluationError, ResultsError
from chartqa_demo.evaluate import statistics as stats
from chartqa_demo.evaluate.record import Item
from chartqa_demo.evaluate.run import measure
from chartqa_demo.settings import BUNDLED_ADAPTER, BUNDLED_BASE, Settings
from train.pretrain.reading.held_out import draw_all, examples_of

# Held-out seeds that nothing else uses, see train/pretrain/reading/command.py
FIT_SEED, MEASURE_SEED, CHOOSE_SEED, LOOK_SEED = 33_000_000, 34_000_000, 35_000_000, 36_000_000
RULE = "tolerant"  # right, whatever its form: what a reader asks
MOST = 0.08  # of the calibration error
LEAST_RANKED = 0.65  # how often a right answer has to have the higher probability, else an arm has no curve
LEAST_RATIO = 3.0  # hits of an overlay over those of chance, at the lower end of the interval, else it is not shown
RESAMPLES = 1000
PRIOR = 1.0  # right and wrong answers in the middle that the fit sees besides: a curve stays finite without a mistake


def confidence(flags: argparse.Namespace) -> dict[str, Any]:
    """Curves from one part of the charts, and their calibration error on the other and on real charts."""
    folders = folders_of(flags)
    spans = {"fit": range(FIT_SEED, FIT_SEED + flags.fit), "measured": range(MEASURE_SEED, MEASURE_SEED + flags.charts)}
    drawn = {part: examples_of(draw_all(seeds, 2, os.cpu_count() or 1)) for part, seeds in spans.items()}
    if flags.chartqa:
        drawn["chartqa"] = draw_examples(open_split(flags.chartqa, "test"), flags.limit, 0)
    engine, about = engine_of(flags), about_of(flags)
    found = {}
    for part, examples in drawn.items():
        record = flags.records / f"{part}.jsonl"
        if flags.restart:
            record.unlink(missing_ok=True)
        named = {"part": part, "weights": about["weights"]}
        found[part] = measure(engine, examples, engine.arms, Options(), record, about=named)
    arms = found["fit"].arms
    known = {arm: _of(found["fit"].items, arm) for arm in arms}
    ranks = {arm: ranked(*known[arm]) for arm in arms}
    # A curve over what does not tell right from wrong would say the same of every answer
    curves = {arm: fitted(*known[arm]) for arm in arms if (ranks[arm] or 0) >= LEAST_RANKED}
    shown = {arm: {"slope": _short(one.slope), "offset": _short(one.offset)} for arm, one in curves.items()}
    keep(folders, shown)
    return {
        **about,
        "rule": RULE,
        "fit": {"charts": [spans["fit"][0], spans["fit"][-1]], "answers": len(found["fit"].items)},
        "ranked": {arm: _short(one) for arm, one in ranks.items()},
        "curves": shown,
        **{
            part: {arm: calibrated(found[part].items, arm, curve) for arm, curve in curves.items()}
            for part in found
            if part != "fit"
        },
    }


def overlay(flags: argparse.Namespace) -> dict[str, Any]:
    """Heads chosen on some charts, and on others how often the hottest place is the mark that was asked about."""
    spans = {
        "chosen": range(CHOOSE_SEED, CHOOSE_SEED + flags.fit),
        "measured": range(LOOK_SEED, LOOK_SEED + flags.charts),
    }
    charts = {part: pointed_at(seeds) for part, seeds in spans.items()}
    engine = engine_of(flags)
    arms = [arm.key for arm in engine.arms]
    chosen = choose(looked(engine, charts["chosen"]), arms)
    measured = looked(engine, charts["measured"])
    found = {arm: {"head": chosen[arm], **against_chance(measured, arm, chosen[arm])} for arm in arms}
    shown = [arm for arm in arms if found[arm]["ratio_interval"][0] >= LEAST_RATIO]
    keep(folders_of(flags), {arm: {"heads": [chosen[arm]] if arm in shown else []} for arm in arms})
    seconds = sorted(one.seconds for one in measured)
    return {
        **about_of(flags),
        "hardware": f"{os.cpu_count()} CPU cores, the model on {flags.device}",
        "charts": {part: [spans[part][0], spans[part][-1], len(some)] for part, some in charts.items()},
        "seconds_of_all_arms": {"median": _short(seconds[len(seconds) // 2]), "most": _short(seconds[-1])},
        "least_ratio": LEAST_RATIO,
        "shown": shown,
        "arms": found,
    }


def folders_of(flags: argparse.Namespace) -> dict[str, Path]:
    """Where the weights lie that are measured."""
    return {"base": flags.base or BUNDLED_BASE, "adapter": flags.adapter or BUNDLED_ADAPTER}


def engine_of(flags: argparse.Namespace) -> Any:
    """The app's own engine on them."""
    base, adapter = str(flags.base or "bundled"), str(flags.adapter or "bundled")
    # In float32 on a GPU, too, as the bundled model answers on a CPU
    return load_engine(Settings(base=base, adapter=adapter, device=flags.device, dtype="float32"))


def about_of(flags: argparse.Namespace) -> dict[str, Any]:
    """What made a file; a folder of data goes by a name that says nothing about this machine."""
    typed = ["path/to/chartqa" if word == str(flags.chartqa) else word for word in flags.typed]
    return {
        "command": " ".join(["python -m bench.trust", *typed]),
        "date": date.today().isoformat(),
        "weights": {name: weights_of(folder) for name, folder in folders_of(flags).items()},
    }


def keep(folders: Mapping[str, Path], found: Mapping[str, Mapping[str, Any]]) -> None:
    """Write what was found of the arms beside the weights it was found for."""
    of_base = {arm: one for arm, one in found.items() if arm != ADAPTER.key}
    write_arms(folders["base"], folders["base"], of_base)
    write_arms(folders["adapter"], folders["base"], {arm: found[arm] for arm in found.keys() - of_base})


def fitted(log_odds_of: Sequence[float], right: Sequence[bool]) -> Curve:
    """The curve under which the answers are likeliest (logistic regression, slope at least 0.05)."""
    import numpy as np
    from scipy.optimize import minimize

    middle = float(np.median(log_odds_of)) if log_odds_of else 0.0
    x = np.array([*log_odds_of, middle, middle])
    sign = np.array([*(1.0 if good else -1.0 for good in right), 1.0, -1.0])
    weight = np.array([*[1.0] * len(right), PRIOR, PRIOR])

    def unlikely(curve: np.ndarray) -> float:
        return float((weight * np.logaddexp(0, -sign * (curve[0] * x + curve[1]))).sum())

    slope, offset = minimize(unlikely, [1.0, 0.0], bounds=[(0.05, 20), (-20, 20)], method="L-BFGS-B").x
    return Curve(float(slope), float(offset))


def calibrated(items: Sequence[Item], arm: str, curve: Curve) -> dict[str, Any]:
    """Calibration error with its 95 % bootstrap interval over charts, before and behind the curve, and the bins."""
    odds, right = _of(items, arm)
    sure = [curve.of_odds(one) for one in odds]
    charts: dict[str, list[int]] = {}
    for number, item in enumerate(one for one in items if arm in one.log_probabilities):
        charts.setdefault(item.chart, []).append(number)
    rng, groups, errors = random.Random(0), list(charts.values()), []
    for _ in range(RESAMPLES):
        some = [number for group in rng.choices(groups, k=len(groups)) for number in group]
        errors.append(stats.calibration_error(stats.reliability([sure[n] for n in some], [right[n] for n in some])))
    errors.sort()
    bins = stats.reliability(sure, right)
    plain = stats.reliability([Curve(1.0, 0.0).of_odds(one) for one in odds], right)
    return {
        "answers": len(right),
        "charts": len(charts),
        "right": sum(right),
        "error": _short(stats.calibration_error(bins)),
        "error_interval": [_short(errors[int(0.025 * RESAMPLES)]), _short(errors[int(0.975 * RESAMPLES) - 1])],
        "error_uncalibrated": _short(stats.calibration_error(plain)),
        "ranked": _short(ranked(odds, right)),
        "bins": [{"confidence": _short(one.confidence), "right": one.correct, "answers": one.asked} for one in bins],
    }


def ranked(odds: Sequence[float], right: Sequence[bool]) -> float | None:
    """How often a right answer has a higher confidence than a wrong one (ROC area); None without both."""
    good = [one for one, hit in zip(odds, right, strict=True) if hit]
    bad = [one for one, hit in zip(odds, right, strict=True) if not hit]
    pairs = len(good) * len(bad)
    return sum((one > two) + (one == two) / 2 for one in good for two in bad) / pairs if pairs else None


def _of(items: Sequence[Item], arm: str) -> tuple[list[float], list[bool]]:
    """Log-odds and whether right, of every answer of the arm."""
    asked = [one for one in items if arm in one.log_probabilities]
    odds = [log_odds(one.log_probabilities[arm], one.tokens[arm]) for one in asked]
    return odds, [bool(one.correct(arm, RULE)) for one in asked]


def _short(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0 done, 1 a figure does not hold, 2 something a person has to change."""
    flags = _flags(argv)
    try:
        found = confidence(flags) if flags.part == "confidence" else overlay(flags)
    except (DatasetError, EngineError, EvaluationError, ResultsError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    output = flags.output or Path("bench/results/trust") / f"{flags.part}.json"
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if flags.part == "overlay":
        for arm, one in found["arms"].items():
            told = f"{arm:11} {one['hits']} of {one['charts']} hit, a random cell {one['random']}, the middle"
            print(f"{told} {one['centre']}: {one['ratio']} times as often {one['ratio_interval']}, head {one['head']}")
        print(f"{found['seconds_of_all_arms']} s for all arms\n{output}")
        return int(len(found["shown"]) < len(found["arms"]))
    for part in ("measured", "chartqa"):
        for arm, one in found.get(part, {}).items():
            told = f"{part:9} {arm:11} calibration error {one['error']} {one['error_interval']}, without its curve"
            print(
                f"{told} {one['error_uncalibrated']}; ranked {one['ranked']}, {one['right']} of {one['answers']} right"
            )
    print(f"ranked on the charts of the fit: {found['ranked']}\n{output}")
    return int(any(one["error"] > MOST for one in found["measured"].values()))


def _flags(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.trust", description="How far answers can be trusted.")
    parser.add_argument("part", choices=["confidence", "overlay"])
    parser.add_argument("--fit", type=int, default=150, help="charts to fit or choose on; default: 150")
    parser.add_argument("--charts", type=int, default=150, help="charts to measure on; default: 150")
    parser.add_argument(
        "--chartqa", type=Path, help="a folder in ChartQA's layout, to measure them on real charts, too"
    )
    parser.add_argument("--limit", type=int, default=200, help="questions of it; default: 200")
    parser.add_argument("--base", type=Path, help="folder of a base model; default: the bundled one")
    parser.add_argument("--adapter", type=Path, help="folder of its adapter; default: the bundled one")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda ...; default: auto")
    parser.add_argument("--restart", action="store_true", help="delete the records first instead of resuming")
    parser.add_argument("--records", type=Path, default=Path("runs/trust"), help="folder of the records")
    parser.add_argument("--output", type=Path, help="default: bench/results/trust/PART.json")
    flags = parser.parse_args(argv)
    flags.typed = list(sys.argv[1:] if argv is None else argv)
    return flags


if __name__ == "__main__":
    sys.exit(main())
