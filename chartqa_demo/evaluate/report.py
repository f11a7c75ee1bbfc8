"""The README's table of measured accuracy, written from results files so that no figure is ever typed in.

    python -m chartqa_demo.report            # rewrite the block between the two marks in README.md
    python -m chartqa_demo.report --check    # exit code 1 when the block is not what the results say

`measured_line` is the same in one sentence for the page.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from chartqa_demo.evaluate import statistics as stats
from chartqa_demo.evaluate.record import ALL, GROUPS, heading

BEGIN, END = "<!-- measured:begin -->", "<!-- measured:end -->"
HEAD = ("arm", *(f"{group}, canonical" for group in GROUPS), "all, exact", "all, year-strict", "all, tolerant")
EXPLANATION = (
    "Per cent of answers that are right, with 95 % Wilson intervals; p is McNemar's exact test, the interval of a "
    "difference is a bootstrap over charts. *Canonical* is ChartQA's relaxed accuracy as pix2struct and lmms-eval "
    "compute it, *exact* the same text, *year-strict* does not let 2008 pass for 2010, *tolerant* also forgives format "
    "(“62 %.”, “The value is 62”). Written by `python -m chartqa_demo.report` from the files in `results/`."
)


class ReportError(ValueError):
    """The report cannot be written; the message is one sentence with the way out."""


def read_summaries(folder: Path) -> list[dict[str, Any]]:
    """The finished evaluations in a folder, by file name. Raises ReportError for a file that is none."""
    summaries = []
    for path in sorted(folder.glob("*.json")):
        try:
            summary = json.loads(path.read_text(encoding="utf-8"))
            if summary["complete"] and summary["scores"]["canonical"]:
                summaries.append(summary)
        except (ValueError, KeyError, TypeError) as error:
            raise ReportError(f"{path} is not a results file of an evaluation ({error}).") from error
    return summaries


def section(summary: Mapping[str, Any]) -> str:
    """One evaluation as Markdown: what was measured, a row per arm, the tests in words."""
    lines = [_heading(summary), "", _row(HEAD), _row(["---", *["---:"] * (len(HEAD) - 1)])]
    for key, arm in summary["arms"].items():
        scores = summary["scores"]
        cells = [_cell(scores["canonical"][key][group], interval=True) for group in GROUPS]
        cells += [_cell(scores[rule][key][ALL], interval=False) for rule in ("exact", "year-strict", "tolerant")]
        lines.append(_row([arm["title"], *cells]))
    titles = {key: arm["title"] for key, arm in summary["arms"].items()}
    for rule in ("canonical", "tolerant"):
        told = [stats.Comparison(**one) for one in summary["comparisons"][rule]]
        words = "; ".join(stats.in_words(one, titles[one.first], titles[one.second]) for one in told)
        if words:
            lines += ["", f"{rule.capitalize()}: {words}."]
    return "\n".join(lines)


def block(summaries: Sequence[Mapping[str, Any]]) -> str:
    """Everything between the marks. Raises ReportError without a finished evaluation."""
    if not summaries:
        raise ReportError("There is no finished evaluation to report; run python -m chartqa_demo.evaluate first.")
    return "\n\n".join([*(section(summary) for summary in summaries), EXPLANATION])


def with_block(text: str, measured: str) -> str:
    """`text` with what is between the marks replaced. Raises ReportError unless both marks are there once, in order."""
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ReportError(f"The README needs the lines {BEGIN} and {END} once each, around the measured table.")
    before, after = text.split(BEGIN, maxsplit=1)[0], text.split(END)[1]
    return f"{before}{BEGIN}\n{measured}\n{END}{after}"


def measured_line(folder: Path, model: str, adapter: str | None = None) -> str | None:
    """What was measured of `model` with `adapter`, in one sentence; None when nothing was. Of several evaluations the
    one with most questions is told; unreadable files are left to `python -m chartqa_demo.report`."""
    try:
        summaries = read_summaries(folder)
    except ReportError:
        return None
    fitting = [one for one in summaries if one["model"] == model and one["adapter"] in (None, adapter)]
    if not fitting:
        return None
    summary = max(fitting, key=lambda one: one["asked"])
    scores = summary["scores"]["canonical"]
    told = ", ".join(
        f"{arm['title']} {_cell(scores[key][ALL], interval=True)} %" for key, arm in summary["arms"].items()
    )
    charts = heading(summary).split(" on ", 1)[1]
    return f"Measured on {charts}: {told} right (canonical relaxed accuracy, {summary['date']})."


def _heading(summary: Mapping[str, Any]) -> str:
    made = ", ".join(part for part in (summary["date"], summary["commit"] and f"commit {summary['commit']}") if part)
    errors = len(summary["errors"])
    failed = f", {errors} of them could not be asked" if errors else ""
    what = heading(summary)
    return f"**{what[:1].upper()}{what[1:]}** (n = {summary['asked']:,}{failed}; {made})"


def _cell(score: Mapping[str, Any], interval: bool) -> str:
    if score["accuracy"] is None:
        return "–"
    text = f"{100 * score['accuracy']:.1f}"
    return f"{text} [{100 * score['low']:.1f}, {100 * score['high']:.1f}]" if interval else text


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0 written or up to date, 1 out of date (--check), 2 something a person has to change."""
    parser = argparse.ArgumentParser(
        prog="python -m chartqa_demo.report", description="Write the README's measured table from the results files."
    )
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of results; default: results")
    parser.add_argument("--readme", type=Path, default=Path("README.md"), help="file to write into; default: README.md")
    parser.add_argument("--check", action="store_true", help="write nothing, only say whether the file is up to date")
    flags = parser.parse_args(argv)
    try:
        text = flags.readme.read_text(encoding="utf-8")
        new = with_block(text, block(read_summaries(flags.results)))
    except (ReportError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if flags.check:
        if new != text:
            print(
                f"{flags.readme} is not what {flags.results} says; run python -m chartqa_demo.report.", file=sys.stderr
            )
        return int(new != text)
    flags.readme.write_text(new, encoding="utf-8")
    return 0
