"""What the bundled small model with its bundled adapter reads: generated charts that training never saw, the same
questions with the wrong chart, the same charts in other sizes, and what an answer costs.

    python -m bench.reading held-out --charts 4000 --questions 3
    python -m bench.reading blind --dataset path/to/chartqa --split test
    python -m bench.reading sizes --charts 60
    python -m bench.reading cost --questions 20
    python -m bench.reading table --card chartqa_demo/bundled/model/README.md    # the files' figures in the model card

Every answer is greedy and comes from the app's own engine through `chartqa_demo.evaluate`; the same command resumes
from its record in `runs/`. A record belongs to the weights that began it and refuses others.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

from chartqa_demo.arms import ADAPTER, ARMS, PROMPTED
from chartqa_demo.data.splits import Example, chart_id, draw_examples, open_split
from chartqa_demo.engines import Options, load_engine
from chartqa_demo.errors import DatasetError, EngineError, EvaluationError, ResultsError, SettingsError
from chartqa_demo.evaluate import statistics as stats
from chartqa_demo.evaluate.record import GROUPS, Item, Results
from chartqa_demo.evaluate.run import display_name, measure, record_path
from chartqa_demo.images import Size
from chartqa_demo.settings import BUNDLED_ADAPTER, BUNDLED_BASE, Settings
from chartqa_demo.space.hub import sha256_of
from train.pretrain.reading.held_out import (
    all_scores,
    bar_rows,
    deranged,
    draw_all,
    examples_of,
    facts_of,
    figures,
    is_number,
    marks_of,
    name_counts,
    on_page,
    scored,
)
from train.pretrain.reading.text import AS_DRAWN, FILES, card_text, printed

ROOT = Path(__file__).parents[3]
FOLDER = Path("bench/results/reading")
# Held-out seeds used elsewhere: from 10 and 20 million on in `train.data`, from 2 billion on in `train.pretrain`.
HELD_OUT_SEED, SIZES_SEED, COST_SEED = 30_000_000, 31_000_000, 32_000_000
PAGES: tuple[Size, ...] = ((400, 300), (800, 557), (1600, 1200), (600, 800))
THREADS = 2


# --- the parts -------------------------------------------------------------------------------------------------


def held_out(flags: argparse.Namespace) -> dict[str, Any]:
    """Every arm on fresh charts with names that training never had, and the bars for the adapter."""
    seeds = range(HELD_OUT_SEED, HELD_OUT_SEED + flags.charts)
    charts = draw_all(seeds, flags.questions, os.cpu_count() or 1)
    facts = facts_of(charts)
    results = _ask(flags, examples_of(charts), flags.arms, {"dataset": "generated, held out", "seeds": _span(seeds)})
    marks = {arm: marks_of(results, arm, facts) for arm in results.arms}
    paired = {ADAPTER.key, PROMPTED.key} <= set(results.arms)
    return {
        **_header(flags, results),
        "seeds": _span(seeds),
        "charts": len(charts),
        "questions": len(facts),
        "bars": bar_rows(marks.get(ADAPTER.key, [])),
        "arms": {
            arm: {**all_scores(marks[arm]), "mean_words": _mean_words(results.items, arm)} for arm in results.arms
        },
        "paired": {
            rule: figures(results.compare(ADAPTER.key, PROMPTED.key, rule)) for rule in ("canonical", "exact") if paired
        },
        "category_names": name_counts(charts),
    }


def blind(flags: argparse.Namespace) -> dict[str, Any]:
    """ChartQA's questions with their own charts and with other questions' charts: what is right without reading."""
    own = draw_examples(open_split(flags.dataset, flags.split), flags.limit, flags.seed)
    about = {"dataset": display_name(flags.dataset), "split": flags.split, "limit": flags.limit, "seed": flags.seed}
    asked = [*own, *exchanged(own, deranged([one.chart for one in own], flags.seed))]
    results = _ask(flags, asked, (PROMPTED.key, ADAPTER.key), about)
    items = {item.id: item for item in results.items}
    pairs = [(items[one.id], items[_blind(one.id)]) for one in own if one.id in items and _blind(one.id) in items]
    return {
        **_header(flags, results),
        **about,
        "rule": "canonical",
        "arms": {arm: {group: _both(pairs, arm, group) for group in GROUPS} for arm in results.arms},
        "parts": {arm: in_parts([own for own, _ in pairs if arm in own.answers], arm) for arm in results.arms},
    }


def in_parts(items: Sequence[Item], arm: str) -> dict[str, dict[str, Any]]:
    """An arm's accuracy by who published the chart and by what is asked for, under both rules of a headline."""
    parts: dict[str, list[Item]] = {}
    for item in items:
        for name in (item.source or "unknown publisher", *map(answer_kind, item.gold[:1])):
            parts.setdefault(name, []).append(item)
    return {
        name: {
            rule: figures(stats.score(sum(bool(one.correct(arm, rule)) for one in some), len(some)))
            for rule in ("canonical", "tolerant")
        }
        for name, some in sorted(parts.items())
    }


def answer_kind(gold: str) -> str:
    """What is asked for, by the gold answer alone: "a yes or no", "a list", "a number" or "a name"."""
    text = gold.strip().lower()
    if text in ("yes", "no"):
        return "a yes or no"
    if text.startswith("["):
        return "a list"
    return "a number" if is_number(text.rstrip("%").replace(",", "")) else "a name"


def exchanged(examples: Sequence[Example], other: Mapping[str, str]) -> list[Example]:
    """Every question with the picture of the chart that `other` names for its own."""
    shown = {one.chart: one for one in examples}
    return [
        replace(
            one,
            id=_blind(one.id),
            chart=other[one.chart],
            read=shown[other[one.chart]].read,
            file_name=shown[other[one.chart]].file_name,
        )
        for one in examples
    ]


def _blind(example_id: str) -> str:
    return f"{example_id} with another chart"


def _both(pairs: Sequence[tuple[Item, Item]], arm: str, group: str) -> dict[str, Any]:
    """Canonical accuracy with a question's own and another chart, where the arm answered both; clustered by own."""
    both = [(own, other) for own, other in pairs if arm in own.answers and arm in other.answers]
    both = [(own, other) for own, other in both if group in ("all", own.kind)]
    with_own = [bool(own.correct(arm, "canonical")) for own, _ in both]
    with_other = [bool(other.correct(arm, "canonical")) for _, other in both]
    return {
        "own": figures(stats.score(sum(with_own), len(with_own))),
        "other": figures(stats.score(sum(with_other), len(with_other))),
        "difference": figures(stats.compare(("own", "other"), with_own, with_other, [own.chart for own, _ in both])),
    }


def sizes(flags: argparse.Namespace) -> dict[str, Any]:
    """The adapter on the same charts as drawn and on white pages of other sizes."""
    seeds = range(SIZES_SEED, SIZES_SEED + flags.charts)
    charts = draw_all(seeds, flags.questions, os.cpu_count() or 1)
    drawn = examples_of(charts)
    shown = {AS_DRAWN: drawn, **{_named(page): list(on_pages(drawn, page)) for page in PAGES}}
    about = {"dataset": "generated, held out", "seeds": _span(seeds), "pages": list(shown)}
    asked = [replace(one, id=_shown(one.id, page)) for page, some in shown.items() for one in some]
    results = _ask(flags, asked, (ADAPTER.key,), about)
    facts = {_shown(one, page): known for one, known in facts_of(charts).items() for page in shown}
    texts = {item.id: item.answers.get(ADAPTER.key) for item in results.items}
    marks = dict(zip(shown, ([] for _ in shown), strict=True))
    for page in shown:
        mine = {_shown(one.id, page) for one in drawn}
        part = replace(results, items=tuple(item for item in results.items if item.id in mine))
        marks[page] = marks_of(part, ADAPTER.key, facts)
    return {
        **_header(flags, results),
        "seeds": _span(seeds),
        "charts": len(charts),
        "questions": len(drawn),
        "pages": {
            page: {"same_answer": figures(_same(texts, [one.id for one in drawn], page)), **scored(marks[page])}
            for page in shown
        },
    }


def on_pages(examples: Sequence[Example], size: Size) -> Iterator[Example]:
    """The same questions with their charts on white pages; each chart is drawn once."""
    pages: dict[str, bytes] = {}
    for one in examples:
        if one.chart not in pages:
            png = BytesIO()
            on_page(one.load_image(), size).save(png, "PNG")
            pages[one.chart] = png.getvalue()
        png = pages[one.chart]
        yield replace(one, chart=chart_id(png), read=partial(bytes, png))


def _same(texts: Mapping[str, str | None], ids: Sequence[str], page: str) -> stats.Score:
    """How often the answer is that to the chart as drawn, where both were given."""
    pairs = [(texts.get(_shown(one, AS_DRAWN)), texts.get(_shown(one, page))) for one in ids]
    both = [first == second for first, second in pairs if first is not None and second is not None]
    return stats.score(sum(both), len(both))


def _named(page: Size) -> str:
    return f"{page[0]}x{page[1]}"


def _shown(example_id: str, page: str) -> str:
    return f"{example_id} {page}"


def cost(flags: argparse.Namespace) -> dict[str, Any]:
    """Load time, times of an answer of all arms on charts not seen before, and memory: on the CPU, in new processes one
    after another, of which the one with the median memory is kept, for it differs by a tenth from one to the next."""
    seeds = range(COST_SEED, COST_SEED + flags.questions)
    charts = draw_all(seeds, 1, os.cpu_count() or 1)
    with tempfile.TemporaryDirectory() as folder:
        for chart in charts:
            (Path(folder) / f"{chart.seed}.png").write_bytes(chart.png)
        rows = [{"picture": f"{chart.seed}.png", "question": chart.questions[0].text} for chart in charts]
        (Path(folder) / "questions.json").write_text(json.dumps(rows), encoding="utf-8")
        environ = os.environ | {"OMP_NUM_THREADS": str(THREADS), "MKL_NUM_THREADS": str(THREADS)}
        command = [sys.executable, "-m", "bench.cost", folder, "--threads", str(THREADS)]
        processes = []
        for _ in range(flags.processes):
            done = subprocess.run(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True, check=False)
            if done.returncode:
                raise EngineError("The process that was to be measured failed; its own message is above.")
            processes.append(json.loads(done.stdout.splitlines()[-1]))
    processes.sort(key=lambda one: one["peak_rss_mib"])
    found = processes[len(processes) // 2] | {"peak_rss_mib_of_each": [one["peak_rss_mib"] for one in processes]}
    settings = found.pop("settings")
    return {
        "command": _command(flags),
        **{key: settings[key] for key in ("date", "commit", "versions", "model", "adapter", "max_new_tokens")},
        "weights": _weights(),
        "hardware": f"{os.cpu_count()} CPU cores",
        "seeds": _span(seeds),
        **found,
    }


# --- asking and describing -------------------------------------------------------------------------------------


def _ask(
    flags: argparse.Namespace, examples: Sequence[Example], arms: Sequence[str], about: Mapping[str, Any]
) -> Results:
    """Answers to every question, from the record where it has them."""
    from chartqa_demo.engines.loading import choose

    settings = Settings(base="bundled", adapter="bundled", device=flags.device, dtype=flags.dtype)
    precision = str(choose(settings).dtype).removeprefix("torch.")
    if flags.restart:
        record_path(flags.record).unlink(missing_ok=True)
    engine = load_engine(settings)
    asked_arms = [arm for arm in engine.arms if arm.key in arms]
    about = {**about, "weights": _weights(), "precision": precision}
    return measure(engine, examples, asked_arms, Options(), flags.record, about=about)


def _header(flags: argparse.Namespace, results: Results) -> dict[str, Any]:
    """What made a file. Date, commit and versions are those of the record's beginning."""
    copied = ("date", "commit", "versions", "model", "adapter", "weights", "precision", "max_new_tokens")
    unanswered = sum(bool(item.error or item.failures) for item in results.items)
    return {
        "command": _command(flags),
        **{key: results.settings[key] for key in copied},
        "hardware": _hardware(flags.device),
        "unanswered": unanswered + results.planned - len(results.items),
        "questions_per_second": results.summary()["questions_per_second"],
    }


def _command(flags: argparse.Namespace) -> str:
    """The command as typed; a folder of data goes by a name that says nothing about this machine."""
    folder = str(getattr(flags, "dataset", ""))
    hidden: dict[str, str] = {}
    if folder and Path(folder).expanduser().is_dir():
        hidden = {folder: "path/to/chartqa", f"--dataset={folder}": "--dataset=path/to/chartqa"}
    words = [hidden.get(word, word) for word in map(str, flags.typed)]
    return "python -m bench.reading " + shlex.join(words)


def _hardware(device: str) -> str:
    import torch

    if (device == "auto" or device.startswith("cuda")) and torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{os.cpu_count()} CPU cores, {torch.get_num_threads()} threads"


def _weights() -> dict[str, str]:
    """The first 12 digits of the SHA-256 of the two files of weights: figures belong to these and no others."""
    files = {"model": BUNDLED_BASE / "model.safetensors", "adapter": BUNDLED_ADAPTER / "adapter_model.safetensors"}
    return {name: sha256_of(path)[:12] for name, path in files.items()}


def _span(seeds: range) -> list[int]:
    """First and last seed."""
    return [seeds[0], seeds[-1]]


def _mean_words(items: Sequence[Item], arm: str) -> float | None:
    """Mean length of the arm's answers in words."""
    lengths = [len(item.answers[arm].split()) for item in items if arm in item.answers]
    return round(sum(lengths) / len(lengths), 2) if lengths else None


# --- the command -----------------------------------------------------------------------------------------------


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0 done, 2 something a person has to change, 130 interrupted."""
    flags = _flags(argv)
    if flags.part == "table":
        text = card_text(flags.folder)
        if flags.card is None:
            print(text)
        else:
            from train.pretrain.exam.report import between

            card = flags.card.read_text(encoding="utf-8")
            flags.card.write_text(between(card, "reading", text), encoding="utf-8")
        return 0
    try:
        found = {"held-out": held_out, "blind": blind, "sizes": sizes, "cost": cost}[flags.part](flags)
    except (SettingsError, DatasetError, EngineError, EvaluationError, ResultsError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nStopped. The same command resumes.", file=sys.stderr)
        return 130
    flags.output.parent.mkdir(parents=True, exist_ok=True)
    flags.output.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"\n{printed(flags.part, found)}\n\n{flags.output}")
    return 0


def _flags(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.reading", description="What the bundled model reads.")
    parts = parser.add_subparsers(dest="part", required=True)
    part = parts.add_parser("held-out", help="fresh generated charts, every arm, and the bars")
    part.add_argument("--charts", type=_count, default=1000, help="default: 1000")
    part.add_argument("--questions", type=_count, default=3, help="most questions on a chart; default: 3")
    part.add_argument("--arms", nargs="+", choices=[arm.key for arm in ARMS], default=[arm.key for arm in ARMS])
    _record_flags(part, "held-out")
    part = parts.add_parser("blind", help="ChartQA's questions with their own charts and with others'")
    part.add_argument("--dataset", required=True, help="a folder in ChartQA's layout, or a Hub id")
    part.add_argument("--split", default="test", help="default: test")
    part.add_argument("--limit", type=_count, help="how many questions to draw; default: all")
    part.add_argument("--seed", type=int, default=0, help="of the draw and of the exchange of charts; default: 0")
    _record_flags(part, "blind")
    part = parts.add_parser("sizes", help="the same charts on white pages of other sizes")
    part.add_argument("--charts", type=_count, default=60, help="default: 60")
    part.add_argument("--questions", type=_count, default=2, help="most questions on a chart; default: 2")
    _record_flags(part, "sizes")
    part = parts.add_parser("cost", help="load time, answer times and memory on the CPU")
    part.add_argument("--questions", type=_count, default=20, help="each on a chart of its own; default: 20")
    part.add_argument("--processes", type=_count, default=5, help="of which the median counts; default: 5")
    part.add_argument("--output", type=Path, default=FOLDER / FILES["cost"])
    part = parts.add_parser("table", help="print the Markdown of the files, or put it into a card")
    part.add_argument("--card", type=Path, help="a model card, to write it between its marks <!-- reading -->")
    part.add_argument("--folder", type=Path, default=FOLDER, help=f"default: {FOLDER}")
    flags = parser.parse_args(argv)
    flags.typed = list(sys.argv[1:] if argv is None else argv)
    return flags


def _record_flags(parser: argparse.ArgumentParser, name: str) -> None:
    parser.add_argument("--record", type=Path, default=Path("runs/reading") / f"{name}.jsonl", help="resumed from")
    parser.add_argument("--restart", action="store_true", help="delete the record first instead of resuming")
    parser.add_argument("--output", type=Path, default=FOLDER / FILES[name.replace("-", "_")])
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda ...; default: auto")
    parser.add_argument(
        "--dtype", choices=("auto", "float32", "bfloat16"), default="auto", help="auto: float32 on a CPU, else bfloat16"
    )


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return number


if __name__ == "__main__":
    sys.exit(main())
