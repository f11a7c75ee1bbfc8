"""Ask every question of a split to every arm, keep each answer at once, and compare the arms.

    python -m chartqa_demo.evaluate --split test --limit 200 --seed 0
    python -m chartqa_demo.evaluate --dataset HuggingFaceM4/ChartQA --split test --base Qwen/Qwen2-VL-7B-Instruct
    python -m chartqa_demo.evaluate --arms none --predictions Qwen2.5-VL-7B=published_predictions.jsonl

Running the same command again resumes.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

from chartqa_demo.arms import ARMS
from chartqa_demo.data.splits import KINDS, chosen_columns, draw_examples, open_split
from chartqa_demo.engines import Options, load_engine
from chartqa_demo.errors import DatasetError, EngineError, EvaluationError, ResultsError, SettingsError, print_anything
from chartqa_demo.evaluate.predictions import FORMATS, exported, read_predictions
from chartqa_demo.evaluate.record import Results, check_folder, compare_records, read_lines, read_results
from chartqa_demo.evaluate.rules import RULES
from chartqa_demo.evaluate.run import display_name, measure, output_name, record_path
from chartqa_demo.evaluate.statistics import in_words
from chartqa_demo.evaluate.tables import figures_of, heading, rule_as_text
from chartqa_demo.settings import Settings, add_engine_flags, settings_from


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0 done, 2 something a person has to change, 130 interrupted."""
    print_anything()
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
    predictions = [read_predictions(argument) for argument in flags.predictions]
    chosen = _chosen_arms(flags.arms)
    if flags.limit is not None and flags.limit < 1:
        raise EvaluationError(f"--limit is {flags.limit}; it has to be at least 1.")
    before, prompt = _earlier(flags.against), _prompt(flags)
    _check_place(flags.output or Path(settings.results_dir) / "a.record", flags.restart)
    if chosen == [] and not predictions:
        raise EvaluationError("--arms none needs --predictions: there is nothing else to score.")
    if chosen == []:  # the files bring their own questions
        engine, arms, dataset, split = None, [], predictions[0].file_name, "predicted"
        questions = predictions[0].examples()
    else:
        questions = open_split(settings.dataset, settings.split, chosen_columns(settings))
        dataset, split = settings.dataset, questions.name
        print(questions.note, end="\n" if questions.note else "")
        if not questions.has_questions:
            raise EvaluationError(
                f"{display_name(dataset)} has pictures without questions, which the page shows. To measure, put a CSV "
                "or JSONL file with the columns image, query and label beside them."
            )
        engine = load_engine(settings)
        for note in engine.notes:
            print(note)
        served = [arm for arm in engine.arms if not arm.adapter or engine.adapter is not None]
        arms = served if chosen is None else [arm for arm in engine.arms if arm.key in chosen]
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
    about |= prompt
    name = output_name(
        engine, arms, Path(dataset).stem if engine is None else dataset, split, flags.limit, flags.seed, flags.kind
    )
    if prompt:  # another prompt is another evaluation, and the one under ours stays
        name += f"-prompt-{blake2b(repr(prompt).encode(), digest_size=3).hexdigest()}"
    path = record_path(flags.output or Path(settings.results_dir) / f"{name}.jsonl")
    if flags.restart:
        path.unlink(missing_ok=True)
    options = Options(max_new_tokens=settings.max_new_tokens, system=flags.system)
    results = measure(engine, examples, arms, options, path, about=about, predictions=predictions)
    for form in flags.export:
        for arm in results.arms:
            file = path.with_suffix(f".{arm}.{FORMATS[form][0]}")
            file.write_text(exported(results, arm, form), encoding="utf-8")
            print(f"{form}: {file}")
    figures = figures_of(results)
    print(heading(figures.settings))
    for rule in sorted(RULES, key=lambda one: one != flags.rule):  # the headline first
        print("\n" + rule_as_text(figures, rule))
    _print_against(results, before, flags.rule)
    _print_failures(results)
    print(f"\nAnswers: {path}\nScores:  {path.with_suffix('.json')}")


def _prompt(flags: argparse.Namespace) -> dict[str, str]:
    """What is told in place of our words; empty where nothing is."""
    template = None if flags.question_template is None else flags.question_template.replace("\\n", "\n")
    if template is not None and "{question}" not in template:
        raise EvaluationError(f"--question-template is {template!r}; it needs {{question}} where the question goes.")
    told = {"system": flags.system, "question_template": template}
    return {name: value for name, value in told.items() if value is not None}


def _check_place(output: Path, restart: bool) -> None:
    """Raises ResultsError where no record can be kept, or another file would be lost: before a model is loaded."""
    check_folder(output.parent)
    if record_path(output).is_file() and not restart:
        read_lines(record_path(output))


def _earlier(path: Path | None) -> Results | None:
    if path is None:
        return None
    if not record_path(path).is_file():
        raise EvaluationError(f"There is no evaluation {path}; --against takes the JSONL of one.")
    return read_results(record_path(path))


def _print_against(results: Results, before: Results | None, rule: str) -> None:
    """Every arm compared with itself in an earlier evaluation, on the questions that both asked."""
    for arm in results.arms if before else ():
        if before and arm in before.arms:
            title = results.settings["arms"][arm]["title"]
            compared = compare_records(results, before, arm, rule)
            print(f"against the earlier evaluation: {in_words(compared, f'{title} here', f'{title} there')}")


def _print_failures(results: Results) -> None:
    """What is not in the scores: questions by their id, what one arm failed on counted."""
    for item in results.errors:
        print(f"not asked: {item.id}: {item.error}")
    for (arm, why), count in Counter(pair for item in results.items for pair in item.failures.items()).items():
        print(f"not answered by {results.settings['arms'][arm]['title']}: {count:,} of {results.planned:,}: {why}")


def _chosen_arms(text: str | None) -> list[str] | None:
    """The arm keys asked for; None where nothing was said."""
    if text is None:
        return None
    chosen = [] if text == "none" else [key.strip() for key in text.split(",")]
    known = [arm.key for arm in ARMS]
    for key in chosen:
        if key not in known:
            raise EvaluationError(f"There is no arm “{key}”; the arms are {', '.join(known)}, or none.")
    return chosen


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
        help="another tool's predictions as an arm; can be given several times. With --arms none the file's own "
        "questions are scored and no model is loaded",
    )
    add("--rule", choices=RULES, default=RULES[0], help="the headline: its scores come first; default: canonical")
    add("--system", metavar="TEXT", help="system message of the prompted arm in place of ours, as a benchmark has it")
    add(
        "--question-template",
        metavar="TEXT",
        help="how every arm is asked, with {question} in it and \\n for a new line; lmms-eval's: "
        "'{question}\\nAnswer the question with a single word.'",
    )
    add(
        "--export",
        action="append",
        default=[],
        choices=tuple(FORMATS),
        help="write every arm's answers as that tool does, beside the results; can be given several times",
    )
    add(
        "--against",
        type=Path,
        metavar="RECORD",
        help="an earlier evaluation's JSONL, of another adapter say: each arm is compared with itself there",
    )
    add("--output", type=Path, help="the JSONL file; default: named by the settings, in --results-dir")
    add("--restart", action="store_true", help="delete that file first instead of resuming")
    add_engine_flags(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
