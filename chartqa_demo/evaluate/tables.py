"""The figures of an evaluation for every reader: README, model card, terminal and page make their tables here.

`Figures` come from the answers of a record or from a results.json; a `Table` holds text, and one function for each
kind of reader writes it.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from chartqa_demo.data.names import questions_title
from chartqa_demo.data.strict import as_row, check
from chartqa_demo.evaluate.record import ALL, GROUPS, Results, check_settings
from chartqa_demo.evaluate.rules import RULES
from chartqa_demo.evaluate.statistics import Bin, Comparison, Score, in_words

# What is read of a results.json, beside its settings.
ROWS = list[dict[str, Any]]
SUMMARY: Mapping[str, Any] = {
    **dict.fromkeys(("asked", "planned"), int),
    "scores": dict[str, dict[str, dict[str, dict[str, Any]]]],
    "comparisons": dict[str, ROWS],
    "errors": ROWS,
    "failures": ROWS,
    "reliability": dict[str, ROWS],
}


@dataclass(frozen=True)
class Figures:
    """What is shown of one evaluation: settings, scores by rule, arm and group, and the comparisons by rule; a rule
    without comparisons has not been tested yet (the evaluation goes on). errors: questions that could not be asked;
    failures: arm -> questions that this arm alone did not answer; reliability: `Results.reliability` of the arms whose
    confidence is known."""

    settings: Mapping[str, Any]
    asked: int
    planned: int
    errors: int
    scores: Mapping[str, Mapping[str, Mapping[str, Score]]]
    comparisons: Mapping[str, Sequence[Comparison]]
    failures: Mapping[str, int] = field(default_factory=dict)
    reliability: Mapping[str, Sequence[Bin]] = field(default_factory=dict)

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups to show: all questions alone where the data set does not say who wrote them."""
        by_arm = (groups for arms in self.scores.values() for groups in arms.values())
        asked = {group for groups in by_arm for group, one in groups.items() if one.asked}
        return (ALL,) if asked == {ALL} else GROUPS

    def title_of(self, arm: str) -> str:
        """The arm's name for a reader."""
        return str(self.settings["arms"][arm]["title"])

    def in_words(self, rule: str) -> list[str]:
        """Every comparison under `rule` as a sentence without its full stop."""
        return [in_words(one, self.title_of(one.first), self.title_of(one.second)) for one in self.comparisons[rule]]


def figures_of(results: Results, rules: Sequence[str] = RULES) -> Figures:
    """The figures of an evaluation from its answers; the arms are compared, which takes a second, by `rules` only."""
    scores = {
        rule: {arm: {group: results.score(arm, rule, group) for group in GROUPS} for arm in results.arms}
        for rule in RULES
    }
    comparisons = {rule: results.comparisons(rule) for rule in rules}
    failures = Counter(arm for item in results.items for arm in item.failures)
    told = {arm: bins for arm in results.arms if (bins := results.reliability(arm))}
    asked, errors = len(results.items), len(results.errors)
    return Figures(results.settings, asked, results.planned, errors, scores, comparisons, failures, told)


def figures_of_summary(summary: Mapping[str, Any]) -> Figures:
    """The figures of an evaluation from its results.json. Raises KeyError, TypeError or ValueError for another file."""
    known = check_settings(summary)["arms"]
    for part, kind in SUMMARY.items():
        check(summary[part] if part != "reliability" else summary.get(part, {}), kind, part)
    scores = {
        rule: {arm: {group: as_row(Score, groups[group]) for group in GROUPS} for arm, groups in arms.items()}
        for rule, arms in summary["scores"].items()
    }
    comparisons = {rule: [as_row(Comparison, one) for one in pairs] for rule, pairs in summary["comparisons"].items()}
    asked, planned, errors = summary["asked"], summary["planned"], len(summary["errors"])
    failures = Counter(one["arm"] for one in summary["failures"])
    told = {arm: [as_row(Bin, one) for one in bins] for arm, bins in summary.get("reliability", {}).items()}
    compared = {arm for pairs in comparisons.values() for one in pairs for arm in (one.first, one.second)}
    scored = [set(arms) for arms in scores.values()]
    if any(arms != set(known) for arms in scored) or not {*failures, *told, *compared} <= set(known):
        raise ValueError("its arms are not those of its settings")
    return Figures(summary, asked, planned, errors, scores, comparisons, failures, told)


# --- what was measured, in words ---------------------------------------------------------------------------------


def questions_of(settings: Mapping[str, Any]) -> str:
    """Which questions were asked: "a 250-question sample of ChartQA's test split"; see `heading`."""
    asked = len(settings["sample"])
    if not settings.get("dataset"):
        return f"{asked:,} questions"
    return questions_title(
        str(settings["dataset"]),
        str(settings.get("split")),
        asked,
        settings.get("kind"),
        settings.get("limit"),
        settings.get("seed"),
        bool(settings.get("chartqa")),
    )


def heading(settings: Mapping[str, Any]) -> str:
    """What was measured: "the bundled small Qwen2-VL with the bundled adapter on a 250-question sample of ChartQA's
    test split"; `settings` are those of a record or a results.json."""
    adapter = settings.get("adapter")
    served = " with the bundled adapter" if adapter == "bundled" else f" with adapter {adapter}" if adapter else ""
    return f"{settings.get('model') or 'Recorded predictions'}{served} on {questions_of(settings)}"


def unanswered(figures: Figures) -> str:
    """What is not in the scores: ", 2 of them could not be asked, 3 were not answered by Adapter"; "" where all is."""
    parts = [f"{figures.errors:,} of them could not be asked"] if figures.errors else []
    parts += [f"{count:,} were not answered by {figures.title_of(arm)}" for arm, count in figures.failures.items()]
    return "".join(f", {part}" for part in parts)


# --- tables ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Column:
    """The scores of one group under one rule; digits after the point, interval and number of questions as wished."""

    head: str
    rule: str
    group: str = ALL
    digits: int = 1
    interval: bool = False
    count: bool = False


@dataclass(frozen=True)
class Table:
    """Text in rows as long as the head; the first column names the arms."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def accuracy_table(figures: Figures, columns: Sequence[Column], first: str = "arm") -> Table:
    """A row for every arm, and the columns of `figures.groups`; `first` is the head of the arms' names."""
    columns = [one for one in columns if one.group in figures.groups]
    rows = tuple(
        (figures.title_of(arm), *(accuracy(figures.scores[one.rule][arm][one.group], one) for one in columns))
        for arm in figures.settings["arms"]
    )
    return Table((first, *(one.head for one in columns)), rows)


def rule_columns(rule: str, head: str = "{group}") -> list[Column]:
    """Every group under one rule, as "87.84 [86.50, 89.06] (2,500)": accuracy, interval and number of questions."""
    return [Column(head.format(group=group), rule, group, 2, True, True) for group in GROUPS]


def plain(text: str) -> str:
    """A text that a file brought, as Markdown that shows it and does nothing else; in one line, and in UTF-8 also where
    it is the name of a folder that is not."""
    line = " ".join(text.split()).encode(errors="replace").decode()
    return re.sub(r"[\\`*\[\]<>|~&]|(?<!\w)_|_(?!\w)", r"\\\g<0>", line)


def code(text: str) -> str:
    """The same as a piece of code."""
    line = " ".join(text.split()).encode(errors="replace").decode()
    return f"`{line.replace('`', chr(39))}`"


def in_markdown(told: Any) -> Any:
    """The same with every text in it as `plain` writes it; keys are left alone."""
    if isinstance(told, Mapping):
        return {key: in_markdown(value) for key, value in told.items()}
    if isinstance(told, list | tuple):
        return [in_markdown(value) for value in told]
    return plain(told) if isinstance(told, str) else told


def as_markdown(table: Table) -> str:
    """For the README and for cards, figures flush right; the texts have been through `in_markdown`."""
    lines = [table.head, ("---", *["---:"] * (len(table.head) - 1)), *table.rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def as_text(table: Table) -> str:
    """For a terminal, in columns."""
    lines = [table.head, *table.rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def as_html(table: Table, name: str, caption: str, current: str) -> str:
    """For the page; name: the element's class, current: the head of the column that is marked as the chosen one."""

    def chosen(head: str) -> str:
        return ' aria-current="true"' if head == current else ""

    head = "".join(f'<th scope="col"{chosen(cell)}>{escape(cell)}</th>' for cell in table.head)
    rows = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>'
        + "".join(
            f"<td{chosen(column)}>{escape(cell)}</td>" for column, cell in zip(table.head[1:], row[1:], strict=True)
        )
        + "</tr>"
        for row in table.rows
    )
    return (
        f'<table class="{escape(name)}"><caption>{escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    )


def rule_as_text(figures: Figures, rule: str) -> str:
    """The scores under one rule and the comparisons of the arms, for a terminal."""
    measure = "exact match" if rule == "exact" else f"{rule} relaxed accuracy"
    table = accuracy_table(figures, rule_columns(rule, "{group} (n)"), "")
    return "\n".join([f"{measure} in %, 95 % Wilson interval", as_text(table), *figures.in_words(rule)])


def accuracy(score: Score, column: Column) -> str:
    """A score as its column shows it, in per cent; "–" where nothing was asked."""
    if score.accuracy is None or score.low is None or score.high is None:
        return "–"
    shown = [f"{100 * value:.{column.digits}f}" for value in (score.accuracy, score.low, score.high)]
    text = f"{shown[0]} [{shown[1]}, {shown[2]}]" if column.interval else shown[0]
    return f"{text} ({score.asked:,})" if column.count else text
