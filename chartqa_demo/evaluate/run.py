"""Ask every question of a split to every arm, keep each answer at once, and compare the arms.

    python -m chartqa_demo.evaluate --split test --limit 200 --seed 0
    python -m chartqa_demo.evaluate --dataset HuggingFaceM4/ChartQA --split test --base Qwen/Qwen2-VL-7B-Instruct
    python -m chartqa_demo.evaluate --arms none --predictions Qwen2.5-VL-7B=published_predictions.jsonl

Running the same command again resumes. `run` is what the page and this command share; it writes the record
(`….jsonl`, a line per question as soon as it is answered) and, when it ends, `….json` with the scores.
"""

import argparse
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tqdm import tqdm

from chartqa_demo.arms import ARMS, Arm
from chartqa_demo.data.splits import KINDS, DatasetError, Example, draw_examples, open_split
from chartqa_demo.engines import Engine, EngineError, Options, load_engine
from chartqa_demo.evaluate.batches import EvaluationError, Questioner
from chartqa_demo.evaluate.predictions import Recorded, read_predictions
from chartqa_demo.evaluate.record import (
    Item,
    Results,
    ResultsError,
    in_order,
    open_record,
    read_results,
    table,
    write_summary,
)
from chartqa_demo.evaluate.rules import RULES
from chartqa_demo.settings import Settings, SettingsError, add_engine_flags, settings_from


@dataclass(frozen=True)
class Progress:
    """Where an evaluation stands. new: items since the last report; eta_s: seconds left, None before the first answer;
    batch: questions per batch now; per_question_s: seconds of the engine per question so far, None before that."""

    results: Results
    new: tuple[Item, ...]
    eta_s: float | None
    batch: int
    per_question_s: float | None

    @property
    def done(self) -> int:
        """Questions that are finished, answers or error."""
        return len(self.results.items)

    @property
    def total(self) -> int:
        """Questions to ask in all."""
        return self.results.planned


def run(
    engine: Engine | None,
    examples: Sequence[Example],
    arms: Sequence[Arm],
    options: Options,
    path: Path,
    stop: threading.Event | None = None,
    *,
    about: Mapping[str, Any] | None = None,
    recorded: Sequence[Recorded] = (),
    chunk_s: float | None = None,
) -> Iterator[Progress]:
    """Ask `examples` to `arms` in batches, append each finished question to `path`, and report after every batch.

    A question that is in the file already is not asked again; the file's settings have to be the same ones. `stop`
    ends the run after the batch at hand, and so does closing the iterator; both leave a file to resume from. The scores
    are written beside it (`.json`) when the run ends. `about` adds settings (dataset, split, seed ...); `recorded` adds
    arms whose answers are known; engine None scores these alone; `chunk_s` limits the engine's seconds per
    batch, once its speed is known.

    Raises EvaluationError (other settings, an arm without its adapter, another run on the same file, a model that
    fails on everything), ResultsError (a file that is no record).
    """
    path = record_path(path)
    asked_arms = tuple(arms) if engine is not None else ()
    _check_arms(engine, asked_arms, recorded)
    settings = describe(engine, examples, asked_arms, options, about or {}, recorded)
    known = {one.name: one.answers_for(examples) for one in recorded}
    with open_record(path, settings) as (record, items):
        finished = {item.id for item in items}
        waiting = [one for one in examples if one.id not in finished]
        questioner = Questioner(engine, asked_arms, options, stop or threading.Event(), chunk_s)
        began, before = time.monotonic(), len(items)

        def progress(new: Sequence[Item]) -> Progress:
            results = in_order(record.settings, items)
            done = len(items) - before
            eta = (time.monotonic() - began) / done * (len(waiting) - done) if done else None
            return Progress(results, tuple(new), eta, questioner.batch.size, questioner.batch.per_question_s)

        yield progress(())
        for asked in questioner.ask_all(waiting):
            new = [_with_recorded(item, known) for item in asked]
            for item in new:
                record.append(item)
            items.extend(new)
            yield progress(new)
        write_summary(in_order(record.settings, items), path.with_suffix(".json"))


def measure(
    engine: Engine | None,
    examples: Sequence[Example],
    arms: Sequence[Arm],
    options: Options,
    path: Path,
    **more: Any,
) -> Results:
    """`run` to its end with a progress bar on the terminal (ETA, running accuracy). Raises what `run` does."""
    title = {arm.key: arm.title for arm in arms}
    with tqdm(total=len(examples), unit="question", desc="Evaluating") as bar:
        for state in run(engine, examples, arms, options, path, **more):
            bar.update(state.done - bar.n)
            running = {title.get(arm, arm): state.results.score(arm, "canonical") for arm in state.results.arms}
            texts = [f"{arm} {100 * one.accuracy:.1f}" for arm, one in running.items() if one.accuracy is not None]
            if state.results.errors:
                texts.append(f"{len(state.results.errors)} errors")
            bar.set_postfix_str(", ".join(texts))
    return read_results(record_path(path))


def record_path(path: Path) -> Path:
    """The JSONL of an evaluation, given either of its two files."""
    return path.with_suffix(".jsonl") if path.suffix == ".json" else path


def describe(
    engine: Engine | None,
    examples: Sequence[Example],
    arms: Sequence[Arm],
    options: Options,
    about: Mapping[str, Any],
    recorded: Sequence[Recorded] = (),
) -> dict[str, Any]:
    """Everything that decides the answers, as JSON values; folders appear by name, so a record names no machine."""
    return {
        **about,
        "model": model_name(engine) if engine is not None else None,
        "adapter": display_name(engine.adapter) if engine is not None and engine.adapter else None,
        "arms": {
            **{arm.key: {"title": arm.title, "system": arm.system, "adapter": arm.adapter} for arm in arms},
            **{one.name: {"title": one.name, "recorded": one.file_name} for one in recorded},
        },
        "max_new_tokens": options.max_new_tokens,
        "max_pixels": options.max_pixels,
        "temperature": options.temperature,
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        "commit": _commit(),
        "versions": _versions(),
        "sample": [one.id for one in examples],
    }


def _check_arms(engine: Engine | None, arms: Sequence[Arm], recorded: Sequence[Recorded]) -> None:
    names = [*(arm.key for arm in arms), *(one.name for one in recorded)]
    if not names:
        raise EvaluationError("There is nothing to evaluate: choose at least one arm or a file of predictions.")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise EvaluationError(f"Two arms are called {', '.join(twice)}. Give the predictions another name.")
    missing = [arm.key for arm in arms if arm.adapter and (engine is None or engine.adapter is None)]
    if missing:
        raise EvaluationError(
            f"No adapter is loaded, so there is no arm {missing[0]}. Load one with --adapter, or leave the arm out."
        )


def _with_recorded(item: Item, known: Mapping[str, Mapping[str, str]]) -> Item:
    if not known or item.error is not None:
        return item
    answers, failures = dict(item.answers), dict(item.failures)
    for name, texts in known.items():
        if item.id in texts:
            answers[name] = texts[item.id]
        else:
            failures[name] = "There is no recorded prediction for this question."
    return Item(**{**item.__dict__, "answers": answers, "failures": failures})


def _commit() -> str | None:
    """The short commit of this checkout; None outside of one."""
    try:
        command = ["git", "rev-parse", "--short", "HEAD"]
        found = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip()


def _versions() -> dict[str, str]:
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for package in ("torch", "transformers", "peft", "datasets", "pillow"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def model_name(engine: Engine) -> str:
    """The engine's title; of a local folder only its name."""
    return engine.title.rsplit("/", 1)[-1] if engine.title.startswith(("/", ".", "~")) else engine.title


def display_name(folder_or_id: str) -> str:
    """What a data set or adapter is called in records: a Hub id as it is, of a folder only its name."""
    return Path(folder_or_id).resolve().name if Path(folder_or_id).is_dir() else folder_or_id


# --- the command -----------------------------------------------------------------------------------------------


def output_name(
    engine: Engine | None,
    arms: Sequence[Arm],
    dataset: str,
    split: str,
    limit: int | None,
    seed: int,
    kind: str | None,
) -> str:
    """File name of an evaluation without its suffix: "bundled--chartqa-test-all", "…-200-seed0-human-adapter"."""
    parts = [_slug(display_name(dataset)), _slug(split)]
    parts += ["all"] if limit is None else [str(limit), f"seed{seed}"]
    parts += [kind] if kind else []
    if engine is None:
        return "-".join(parts)
    if len(arms) < len(engine.arms):
        parts.append("+".join(arm.key for arm in arms))
    model = "bundled" if engine.bundled else _slug(engine.title.split("/")[-1])
    if engine.adapter and engine.adapter != "bundled" and any(arm.adapter for arm in arms):
        model += "+" + _slug(display_name(engine.adapter))
    return f"{model}--{'-'.join(parts)}"


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", text.lower().split("/")[-1]).strip("-.") or "unnamed"


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0 done, 2 something a person has to change, 130 interrupted."""
    flags = _parser().parse_args(argv)
    try:
        settings = settings_from(flags)
        _evaluate(flags, settings)
    except (SettingsError, DatasetError, EngineError, EvaluationError, ResultsError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nStopped. The same command resumes.", file=sys.stderr)
        return 130
    return 0


def _evaluate(flags: argparse.Namespace, settings: Settings) -> None:
    recorded = [read_predictions(argument) for argument in flags.predictions]
    wanted = _wanted_arms(flags.arms)
    if flags.limit is not None and flags.limit < 1:
        raise EvaluationError(f"--limit is {flags.limit}; it has to be at least 1.")
    if wanted == [] and not recorded:
        raise EvaluationError("--arms none needs --predictions: there is nothing else to score.")
    if wanted == []:  # the files bring their own questions
        engine, arms, dataset, split = None, [], recorded[0].file_name, "recorded"
        questions = recorded[0].examples()
    else:
        dataset, split = settings.dataset, settings.split
        questions = open_split(dataset, split)
        engine = load_engine(settings)
        served = [arm for arm in engine.arms if not arm.adapter or engine.adapter is not None]
        arms = served if wanted is None else [arm for arm in engine.arms if arm.key in wanted]
    examples = draw_examples(questions, flags.limit, flags.seed, flags.kind)
    if not examples:
        raise EvaluationError(f"{display_name(dataset)} {split} has no question of the kind {flags.kind or 'any'}.")
    about = {
        "dataset": display_name(dataset),
        "split": split,
        "kind": flags.kind,
        "limit": flags.limit,
        "seed": flags.seed,
    }
    name = output_name(
        engine, arms, Path(dataset).stem if engine is None else dataset, split, flags.limit, flags.seed, flags.kind
    )
    path = record_path(flags.output or Path(settings.results_dir) / f"{name}.jsonl")
    if flags.restart:
        path.unlink(missing_ok=True)
    options = Options(max_new_tokens=settings.max_new_tokens)
    results = measure(engine, examples, arms, options, path, about=about, recorded=recorded)
    titles = {key: arm["title"] for key, arm in results.settings["arms"].items()}
    for rule in RULES:
        print("\n" + table(results, rule, lambda key: titles[key]))
    for item in results.errors:
        print(f"not asked: {item.id}: {item.error}")
    print(f"\nAnswers: {path}\nScores:  {path.with_suffix('.json')}")


def _wanted_arms(text: str | None) -> list[str] | None:
    """The arm keys asked for; None where nothing was said."""
    if text is None:
        return None
    wanted = [] if text == "none" else [key.strip() for key in text.split(",")]
    known = [arm.key for arm in ARMS]
    for key in wanted:
        if key not in known:
            raise EvaluationError(f"There is no arm “{key}”; the arms are {', '.join(known)}, or none.")
    return wanted


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m chartqa_demo.evaluate",
        description="Compare the arms on a split: scores with intervals, paired tests, every answer on file. "
        "The same command resumes.",
    )
    add = parser.add_argument
    add("--limit", type=int, help="how many questions to draw from the split; default: all")
    add("--seed", type=int, default=0, help="seed of the draw and of the bootstrap; default: 0")
    add("--kind", choices=KINDS, help="only questions written by a human, or by a machine")
    add("--arms", help="arms to ask, by comma, or none; default: all that the model can answer as")
    add(
        "--predictions",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="recorded predictions as a further arm; can be given several times. With --arms none the file's own "
        "questions are scored and no model is loaded",
    )
    add("--output", type=Path, help="the JSONL file; default: named by the settings, in --results-dir")
    add("--restart", action="store_true", help="delete that file first instead of resuming")
    add_engine_flags(parser)
    return parser
