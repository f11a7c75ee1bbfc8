"""The README's table of measured accuracy, written from results files so that no figure is ever typed in.

    python -m chartqa_demo.report            # rewrite the block between the two marks in README.md
    python -m chartqa_demo.report --check    # exit code 1 when the block is not what the results say

`measured_line` is the same in one sentence for the page.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from chartqa_demo.data.strict import bytes_of, from_json
from chartqa_demo.errors import ReportError
from chartqa_demo.evaluate.record import GROUPS
from chartqa_demo.evaluate.tables import (
    Column,
    accuracy_table,
    as_markdown,
    figures_of_summary,
    heading,
    in_markdown,
    questions_of,
    unanswered,
)

BEGIN, END = "<!-- measured:begin -->", "<!-- measured:end -->"
COLUMNS = (
    *(Column(f"{group}, canonical", "canonical", group, interval=True) for group in GROUPS),
    *(Column(f"all, {rule}", rule) for rule in ("exact", "year-strict", "tolerant")),
)
EXPLANATION = (
    "Per cent of answers that are right, with 95 % Wilson intervals; p is McNemar's exact test, the interval of a "
    "difference is a bootstrap over charts. *Canonical* is ChartQA's relaxed accuracy as pix2struct and lmms-eval "
    "compute it, *exact* the same text, *year-strict* does not let 2008 pass for 2010, *tolerant* also forgives format "
    "(“62 %.”, “The value is 62”). Written by `python -m chartqa_demo.report` from the files in `results/`."
)


def read_summaries(folder: Path) -> list[dict[str, Any]]:
    """The finished evaluations in a folder, by file name, which is put into each. Raises ReportError for a file that is
    none."""
    found = [_read(path) for path in sorted(folder.glob("*.json"))]
    return [summary for summary in found if summary is not None]


def _read(path: Path) -> dict[str, Any] | None:
    """The scores in a file with its name, None where its evaluation is not finished. Raises ReportError."""
    try:
        summary = from_json(bytes_of(path))
        figures = figures_of_summary(summary)
        if not summary["complete"] or not figures.scores["canonical"]:
            return None
        for part in ("model", "adapter", "date", "commit"):
            summary[part]
        return summary | {"file": path.name}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ReportError(f"{path} is not a results file of an evaluation ({error}).") from error


def section(summary: Mapping[str, Any]) -> str:
    """One evaluation as Markdown: what was measured, a row per arm, the comparisons in words."""
    summary = in_markdown(summary)
    figures = figures_of_summary(summary)
    parts = [_heading(summary), as_markdown(accuracy_table(figures, COLUMNS))]
    for rule in ("canonical", "tolerant"):
        if figures.comparisons[rule]:
            parts.append(f"{rule.capitalize()}: {'; '.join(figures.in_words(rule))}.")
    return "\n\n".join(parts)


def block(summaries: Sequence[Mapping[str, Any]]) -> str:
    """Everything between the marks. Raises ReportError without a finished evaluation."""
    if not summaries:
        raise ReportError("There is no finished evaluation to report; run python -m chartqa_demo.evaluate first.")
    return "\n\n".join([*(section(summary) for summary in summaries), EXPLANATION])


def with_block(text: str, words: str, begin: str = BEGIN, end: str = END) -> str:
    """`text` with what is between the marks replaced. Raises ReportError unless both marks are there once, in order."""
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise ReportError(f"The text needs the lines {begin} and {end} once each, around what is written anew.")
    before, after = text.split(begin, maxsplit=1)[0], text.split(end)[1]
    return f"{before}{begin}\n{words}\n{end}{after}"


def measured_line(folder: Path, model: str, adapter: str | None = None) -> str | None:
    """What was measured of `model` with `adapter`, in one sentence; None when nothing was. Of several evaluations the
    one with most questions is told; unreadable files are left to `python -m chartqa_demo.report`."""
    summaries = []
    for path in sorted(folder.glob("*.json")):
        with suppress(ReportError):
            summaries.append(_read(path))
    fitting = [one for one in summaries if one and one["model"] == model and one["adapter"] in (None, adapter)]
    if not fitting:
        return None
    summary = max(fitting, key=lambda one: one["asked"])
    columns = [Column("all", "canonical", interval=True), Column("forgiving", "tolerant")]
    table = accuracy_table(figures_of_summary(summary), columns)
    told = ", ".join(f"{arm} {accuracy} % ({forgiving} %)" for arm, accuracy, forgiving in table.rows)
    return (
        f"Measured on {questions_of(summary)}: {told} right under ChartQA's own rule, canonical relaxed accuracy "
        f"(in brackets with format forgiven, {summary['date']})."
    )


def _heading(summary: Mapping[str, Any]) -> str:
    commit, file = summary["commit"], summary.get("file")
    made = ", ".join(filter(None, (summary["date"], commit and f"commit {commit}", file and f"`{file}`")))
    what = heading(summary)
    failed = unanswered(figures_of_summary(summary))
    return f"**{what[:1].upper()}{what[1:]}** (n = {summary['asked']:,}{failed}; {made})"


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
