"""What an exported model can do, in a results file: held-out charts, fresh charts with names known from training,
and how it answers without our system message."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from train.pretrain.charts import make_chart
from train.pretrain.exam import exam
from train.pretrain.legs.rows import Codec
from train.pretrain.legs.training import PretrainConfig
from train.pretrain.model import export
from train.pretrain.model.network import Reader, count

FIRST_SEED = 2_100_000_000  # not the seeds of the exams during training


def page(held_out: bool, most: int, seed: int) -> exam.Sheet:
    """The exam of one chart that training never saw, with names it never saw either if `held_out`."""
    return exam.sheet(make_chart(seed, held_out=held_out, lesson=False), most, seed)


def report(folder: Path, charts: int, questions: int, out: Path) -> dict[str, Any]:
    """Examine the model in `folder` (float32 on a CPU, bfloat16 on a GPU) and write `out`.

    Counts are [asked, exact, exact or within 5 %]. With our system message the exact answer is a question's short form,
    without it the whole sentence; sentences differ in wording, so `holds the answer` counts those that contain it.
    """
    sizes, weights, _, tokenizer = export.from_export(folder)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    codec = Codec(tokenizer, PretrainConfig().row_tokens)
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    reader = Reader(sizes, codec.layout, device, dtype)
    p = {name: value.to(device) for name, value in weights.items()}
    seeds = range(FIRST_SEED, FIRST_SEED + charts)
    held_out = exam.sheets(partial(page, True, questions), seeds, 1)
    known = exam.sheets(partial(page, False, questions), seeds, 1)
    ours = exam.answers(reader, p, codec, held_out)
    default = exam.answers(reader, p, codec, held_out, None)
    facts = {
        "charts": charts,
        "parameters": count(sizes),
        "precision": str(dtype).removeprefix("torch."),
        "held_out": exam.marks(held_out, ours),
        "known_names": exam.marks(known, exam.answers(reader, p, codec, known)),
        "style": {"with our system message": _style(held_out, ours), "without": _style(held_out, default)},
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return facts


def _style(pages: Sequence[exam.Sheet], given: Sequence[Sequence[str]]) -> dict[str, float]:
    """Mean length in words, and how many answers hold the right short answer."""
    pairs = [
        (question, text)
        for sheet, texts in zip(pages, given, strict=True)
        for question, text in zip(sheet.questions, texts, strict=True)
    ]
    holds = sum(question.short in text for question, text in pairs)
    return {
        "answers": len(pairs),
        "mean_words": round(sum(len(text.split()) for _, text in pairs) / len(pairs), 2),
        "holds_the_answer": holds,
        "whole_sentences": sum(text.endswith(".") and len(text.split()) > 2 for _, text in pairs),
    }


def table_of(marks: dict[str, list[int]]) -> str:
    """A Markdown table of an exam: per question kind, exact and exact-or-within-5 %, printed values and axis only."""
    kinds = sorted({key.split(",")[0] for key in marks if "," in key and not key.startswith("chart:")})
    lines = ["| questions | labels printed: n | exact % | within 5 % | axis only: n | exact % | within 5 % |"]
    lines.append("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name, keys in (
        ("**all**", ("printed", "axis only")),
        *((k, (f"{k}, printed", f"{k}, axis only")) for k in kinds),
    ):
        cells = [f"| {name.replace('_', ' ')}"]
        for asked, exact, close in (marks.get(key, [0, 0, 0]) for key in keys):
            cells.append(f"{asked} | {100 * exact / asked:.0f} | {100 * close / asked:.0f}" if asked else " | | ")
        lines.append(" | ".join(cells) + " |")
    return "\n".join(lines)


def write_card(card: Path, examined: Path) -> None:
    """Put the figures of `report` between the card's markers."""
    facts = json.loads(examined.read_text(encoding="utf-8"))
    held_out, style = facts["held_out"], facts["style"]
    exam_text = (
        f"{facts['charts']} charts, {facts['precision']}. {_all(held_out)}\n\n{table_of(held_out)}\n\n"
        f"| charts | n | exact % | within 5 % |\n| --- | ---: | ---: | ---: |\n" + "\n".join(_by_chart(held_out))
    )
    text = between(card.read_text(encoding="utf-8"), "exam", exam_text)
    names = [f"| names from lists | {' | '.join(NAMED)} |", "| --- |" + " ---: |" * len(NAMED)]
    for label, key in (("known from training", "known_names"), ("never seen", "held_out")):
        names.append(f"| {label} | {' | '.join(_share(facts[key], kind) for kind in NAMED)} |")
    words = (
        "Exact answers:\n\n"
        + "\n".join(names)
        + f"\n\nMean length of an answer with our system message: {style['with our system message']['mean_words']} "
        f"words; without: {style['without']['mean_words']} words, "
        f"{style['without']['whole_sentences']} of {style['without']['answers']} whole sentences."
    )
    card.write_text(between(text, "names", words), encoding="utf-8")


def _by_chart(marks: dict[str, list[int]]) -> list[str]:
    """A row for each kind of chart, printed values and axis only together."""
    rows: dict[str, list[int]] = {}
    for key, row in marks.items():
        if key.startswith("chart:"):
            kind = key.removeprefix("chart: ").split(",")[0].replace("_", " ")
            rows[kind] = [a + b for a, b in zip(rows.get(kind, [0, 0, 0]), row, strict=True)]
    return [
        f"| {kind} | {n} | {100 * exact / n:.0f} | {100 * close / n:.0f} |" for kind, (n, exact, close) in rows.items()
    ]


NAMED = ("all", "value", "argmax", "argmin", "inverse", "compare", "count", "title")


def _all(marks: dict[str, list[int]]) -> str:
    asked, exact, close = marks["all"]
    return f"{asked} questions, {100 * exact / asked:.1f} % exact, {100 * close / asked:.1f} % exact or within 5 %."


def _share(marks: dict[str, list[int]], kind: str) -> str:
    """Right of asked, printed values and axis only together."""
    rows = [row for key, row in marks.items() if key == kind or key.startswith(f"{kind}, ")]
    asked, exact = (sum(row[k] for row in rows) for k in (0, 1))
    return f"{exact} of {asked}" if asked else "–"


def between(text: str, name: str, words: str) -> str:
    """`text` with what stands between <!-- name --> and <!-- end of name --> replaced."""
    before, rest = text.split(f"<!-- {name} -->", 1)
    after = rest.split(f"<!-- end of {name} -->", 1)[1]
    return f"{before}<!-- {name} -->\n{words}\n<!-- end of {name} -->{after}"
