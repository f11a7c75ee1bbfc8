"""The figures of `bench.reading` as text for a terminal and as Markdown for the model card."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from chartqa_demo.arms import ADAPTER
from chartqa_demo.evaluate import statistics as stats
from train.pretrain.reading.held_out import MEASURES

FILES = {part: f"{part}.json" for part in ("held_out", "blind", "sizes", "cost")}
AS_DRAWN = "as drawn"


def printed(part: str, found: Mapping[str, Any]) -> str:
    """A part's figures as text for a terminal."""
    return {"held-out": _held_out_text, "blind": _blind_text, "sizes": _sizes_text, "cost": _cost_text}[part](found)


def _held_out_text(found: Mapping[str, Any]) -> str:
    scores = [["", *map(_measure_name, MEASURES), "mean words"]]
    for arm, one in found["arms"].items():
        scores.append([arm, *(_share(one["all"][key]) for key in MEASURES), str(one["mean_words"])])
    lines = [f"{found['questions']} questions on {found['charts']} held-out charts", _aligned(scores)]
    if ADAPTER.key in found["arms"]:
        mine = found["arms"][ADAPTER.key]
        rows = [["adapter", *map(_measure_name, MEASURES)]]
        named = [
            *mine["printed"].items(),
            *((f"{kind}, {how}", one) for kind, each in mine["questions"].items() for how, one in each.items()),
            *((f"chart: {kind}", one) for kind, one in mine["charts"].items()),
        ]
        rows += [[name.replace("_", " "), *(_share(one[key]) for key in MEASURES)] for name, one in named]
        bars = [["bar", "figure", "n", "bar", ""]]
        bars += [[bar["name"], _bar_figure(bar), str(bar["n"]), str(bar["bar"]), verdict(bar)] for bar in found["bars"]]
        lines += ["", _aligned(rows), "", _aligned(bars)]
    lines += [
        "",
        *(f"{rule}: {stats.in_words(stats.Comparison(**one))}" for rule, one in found["paired"].items()),
        *(
            f"category names, {how}: {one['held_out']} of {one['n']} never seen in training, {one['figures']} with "
            f"figures, {one['fixed']} fixed, {one['unexplained']} unexplained"
            for how, one in found["category_names"].items()
        ),
    ]
    return "\n".join(lines)


def _blind_text(found: Mapping[str, Any]) -> str:
    rows = [["canonical, %", "own chart", "another chart", "difference"]]
    for arm, groups in found["arms"].items():
        for group, one in groups.items():
            rows.append([f"{arm}, {group}", _share(one["own"]), _share(one["other"]), _points(one["difference"])])
    return _aligned(rows)


def _sizes_text(found: Mapping[str, Any]) -> str:
    rows = [["adapter, %", "same answer as drawn", *map(_measure_name, MEASURES)]]
    for page, one in found["pages"].items():
        rows.append([page, _share(one["same_answer"]), *(_share(one[key]) for key in MEASURES)])
    return _aligned(rows)


def _cost_text(found: Mapping[str, Any]) -> str:
    first, whole = found["first_text_s"], found["answered_s"]
    return _aligned(
        [
            ["imports", f"{found['import_s']} s"],
            ["model, processor, adapter", f"{found['load_s']} s"],
            ["first text, median and p95", f"{first['p50']} s, {first['p95']} s"],
            ["all three answers, median and p95", f"{whole['p50']} s, {whole['p95']} s"],
            ["questions, failed", f"{found['questions']}, {found['failed']}"],
            ["peak resident memory, MiB", ", ".join(map(str, found["peak_rss_mib_of_each"]))],
        ]
    )


def _measure_name(key: str) -> str:
    return {"exact": "exact", "within_5": "exact or within 5 %", "canonical": "canonical"}[key]


def _share(score: Mapping[str, Any], n: bool = True) -> str:
    """ "78.3 [75.6, 80.7] (1,000)": per cent, interval and, if wanted, number of questions."""
    if score["accuracy"] is None:
        return "–"
    text = f"{100 * score['accuracy']:.1f} [{100 * score['low']:.1f}, {100 * score['high']:.1f}]"
    return f"{text} ({score['asked']:,})" if n else text


def _points(difference: Mapping[str, Any]) -> str:
    if difference["low"] is None:
        return f"{100 * difference['difference']:+.1f}"
    low, high = 100 * difference["low"], 100 * difference["high"]
    return f"{100 * difference['difference']:+.1f} [{low:+.1f}, {high:+.1f}]"


def _bar_figure(bar: Mapping[str, Any]) -> str:
    return "–" if bar["percent"] is None else f"{bar['percent']:.1f} [{bar['low']:.1f}, {bar['high']:.1f}]"


def verdict(bar: Mapping[str, Any]) -> str:
    """ "met", "missed by 3.2 points", or that nothing was asked."""
    if bar["met"] is None:
        return "not asked"
    missed = bar["missed_by"]
    return "met" if bar["met"] else "missed by " + ("less than 0.1" if missed < 0.05 else f"{missed:.1f}") + " points"


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def card_text(folder: Path) -> str:
    """The Markdown for the model card, from the files of the parts in `folder`; a part without a file is left out."""
    found = {part: folder / name for part, name in FILES.items()}
    return markdown(
        {part: json.loads(path.read_text(encoding="utf-8")) for part, path in found.items() if path.is_file()}
    )


def markdown(results: Mapping[str, Mapping[str, Any]]) -> str:
    """One table of the bars and one of everything else; `results`: the contents of the files by the keys of FILES."""
    blocks = []
    if "held_out" in results:
        one = results["held_out"]
        first, last = one["seeds"]
        share = one["category_names"]["occurrences"]["held_out_share"]
        intro = (
            f"The adapter on {one['charts']:,} generated charts that no training saw (seeds {first} to {last}; "
            f"{one['questions']:,} questions; {100 * share:.0f} % of the category names never seen in training)."
        )
        rows = ["| questions | n | right, % | bar | |", "|---|---:|---:|---:|---|"]
        rows += [f"| {b['name']} | {b['n']:,} | {_bar_figure(b)} | {b['bar']} | {verdict(b)} |" for b in one["bars"]]
        blocks += [intro, "\n".join(rows)]
    rows = [row for part, rows_of in MARKDOWN.items() if part in results for row in rows_of(results[part])]
    if rows:
        blocks.append("\n".join(["| measured | n | result |", "|---|---:|---:|", *rows]))
    if blocks:
        blocks.append("Brackets: 95 % Wilson intervals; of differences, a bootstrap over charts. " + _origin(results))
    return "\n\n".join(blocks)


def _held_out_rows(found: Mapping[str, Any]) -> Iterator[str]:
    for arm, one in found["arms"].items():
        scores, n = one["all"], one["all"]["exact"]["asked"]
        texts = ", ".join(f"{_measure_name(key)} {_share(scores[key], n=False)}" for key in MEASURES)
        yield f"| held-out charts, {arm}: %, {one['mean_words']} words an answer | {n:,} | {texts} |"
    for rule, one in found["paired"].items():
        yield f"| held-out charts, adapter minus prompted: {rule}, points | {one['asked']:,} | {_points(one)} |"


def _blind_rows(found: Mapping[str, Any]) -> Iterator[str]:
    for arm, groups in found["arms"].items():
        one = groups["all"]
        for key, chart in (("own", "its own chart"), ("other", "another question's chart")):
            name = f"ChartQA {found['split']}, {arm}, with {chart}: canonical, %"
            yield f"| {name} | {one[key]['asked']:,} | {_share(one[key], n=False)} |"
    for name, rules in found.get("parts", {}).get(ADAPTER.key, {}).items():
        texts = ", ".join(f"{rule} {_share(one, n=False)}" for rule, one in rules.items())
        yield f"| ChartQA {found['split']}, adapter, {name}: % | {rules['canonical']['asked']:,} | {texts} |"


def _sizes_rows(found: Mapping[str, Any]) -> Iterator[str]:
    for page, one in found["pages"].items():
        same, text = one["same_answer"], f"exact {_share(one['exact'], n=False)}"
        if page != AS_DRAWN:
            text = f"same answer {_share(same, n=False)}, {text}"
        name = (
            "charts as drawn" if page == AS_DRAWN else f"the same charts on a page of {page.replace('x', ' x ')} pixels"
        )
        yield f"| {name}: adapter, % | {same['asked']:,} | {text} |"


def _cost_rows(found: Mapping[str, Any]) -> Iterator[str]:
    first, whole, n = found["first_text_s"], found["answered_s"], found["questions"]
    where = f"{found['threads']} threads on {found['hardware']}"
    load, imports = found["load_s"], found["import_s"]
    yield f"| loading model, processor and adapter, {where} | 1 | {load:.1f} s, imports {imports:.1f} s |"
    for name, one in (("first text", first), ("all three answers", whole)):
        yield f"| {name} on a new chart: median, p95 | {n} | {one['p50']:.2f} s, {one['p95']:.2f} s |"
    each = found["peak_rss_mib_of_each"]
    yield (
        f"| peak resident memory of a process: median, range | {len(each)} "
        f"| {found['peak_rss_mib']:,.0f} MiB, {each[0]:,.0f} to {each[-1]:,.0f} |"
    )


MARKDOWN: dict[str, Callable[[Mapping[str, Any]], Iterator[str]]] = {
    "held_out": _held_out_rows,
    "blind": _blind_rows,
    "sizes": _sizes_rows,
    "cost": _cost_rows,
}


def _origin(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Which weights and days the figures are of, and how they were made."""
    weights = sorted({f"{one['weights']['model']} + {one['weights']['adapter']}" for one in results.values()})
    dates = sorted({one["date"] for one in results.values()})
    days = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    return f"Weights (SHA-256, model + adapter): {', '.join(weights)}; {days}; `python -m bench.reading`."
