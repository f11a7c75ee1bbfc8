"""The HTML of the Evaluate tab: accuracy with intervals, tests in words, the list of questions and one question whole.

Every text passes `escape` here, once; figures and signs say in words what their colour says.
"""

from collections.abc import Mapping, Sequence
from html import escape

from chartqa_demo.data.splits import KINDS, Example
from chartqa_demo.evaluate.record import ALL, Item, Results
from chartqa_demo.evaluate.rules import RULE_NOTES, RULES, best_verdict, standing
from chartqa_demo.evaluate.run import Progress
from chartqa_demo.evaluate.statistics import Score, calibration_error
from chartqa_demo.evaluate.tables import Column, Figures, accuracy_table, as_html, heading, unanswered
from chartqa_demo.ui.markup import confidence_words, sign, verdict
from chartqa_demo.ui.training.curves import curve_chart

LAST_ANSWERED = 3  # shown while an evaluation runs
# The share of right ones among 10 answers is known to some 25 points either way (Wilson, 95 %), that among fewer
# hardly at all; below 50 answers most of the ten steps of confidence hold no ten.
POINT_ANSWERS, CURVE_ANSWERS = 10, 50
GROUP_TITLES = {"human": "Human questions", "machine": "Machine questions", ALL: "All questions"}


def scores_section(figures: Figures | None, rule: str) -> str:
    """Accuracy under `rule` with intervals, the other rules beside it, and the tests in words."""
    if figures is None:
        return '<div class="measured"><p class="empty">Nothing measured yet. Start an evaluation above.</p></div>'
    shown = f'<p class="rule"><strong>{escape(rule)}</strong> {escape(RULE_NOTES[rule])}</p>'
    if rule in figures.scores:
        shown += _bars(figures, rule) + _tests(figures, rule)
    else:
        shown += '<p class="empty">This evaluation was not scored under this rule, and its answers are not here.</p>'
    return (
        f'<div class="measured"><h3>{escape(heading(figures.settings))}</h3>'
        f'<p class="meta">{_counted(figures)}</p>{shown}{_rules(figures, rule)}{_reliability(figures)}</div>'
    )


def item_list(
    items: Sequence[Item], first: int, total: int, rule: str, titles: Mapping[str, str], picked: str = ""
) -> str:
    """One page of questions with every arm's answer; `first` counts from 1. Each row is a button that opens it; the
    one with the id `picked` is marked, as the browser marks it when it is clicked."""
    if not total:
        return '<div class="items"><p class="empty">No question passes these filters.</p></div>'
    rows = "".join(
        f'<li><button type="button" data-index="{index}"{_mark(item.id == picked)}>'
        f'<span class="question">{escape(item.question)}</span>'
        f'<span class="meta">{_origin(item)} · gold answer '
        f"<strong>{escape(' or '.join(item.gold))}</strong></span>"
        f'<span class="answers">{_short_answers(item, rule, titles)}</span></button></li>'
        for index, item in enumerate(items)
    )
    last = first + len(items) - 1
    return f'<div class="items"><p class="meta">{first:,} to {last:,} of {total:,} questions</p><ol>{rows}</ol></div>'


def titles(results: Results | None) -> dict[str, str]:
    """arm key -> what a reader knows it as."""
    return {key: str(arm["title"]) for key, arm in results.settings["arms"].items()} if results else {}


def under_way(asking: Sequence[Example], state: Progress, rule: str, when_left: str) -> str:
    """What is asked at this moment, what was answered last, and what happens when the visitor leaves."""
    told = ""
    if asking:
        more = f" and {len(asking) - 1} more" if len(asking) > 1 else ""
        told = f'<p class="asking">Asking “{escape(_cut(asking[0].question))}”{more}</p>'
    last = "".join(
        f'<li><span class="question">{escape(_cut(item.question))}</span> '
        f'<span class="answers">{_short_answers(item, rule, titles(state.results))}</span></li>'
        for item in state.new[-LAST_ANSWERED:]
    )
    return f'<div class="items under-way">{told}<p class="meta">{escape(when_left)}</p><ol>{last}</ol></div>'


def no_answers_kept() -> str:
    """In place of the list where only the scores of an evaluation are kept."""
    told = "Only the scores of this evaluation are kept here, not its answers. Start it above to get them."
    return f'<div class="items"><p class="empty">{told}</p></div>'


def item_detail(item: Item | None, rule: str, titles: Mapping[str, str], chart_shown: bool = True) -> str:
    """One question with its gold answer, and each arm's answer with the reason of its verdict."""
    if item is None:
        return (
            '<div class="item"><p class="empty">Choose a question of the list to see its chart and answers.</p></div>'
        )
    failed = f'<p class="failed">{escape(item.error)}</p>' if item.error else ""
    if not chart_shown:
        failed += '<p class="empty">This page cannot show the chart: its data set is not open here.</p>'
    return (
        f'<div class="item"><p class="meta">{_origin(item)}</p>'
        f'<p class="question">{escape(item.question)}</p>'
        f'<p class="gold">Gold answer <strong>{escape(" or ".join(item.gold))}</strong></p>{failed}'
        f"<dl>{''.join(_whole_answer(item, arm, title, rule) for arm, title in titles.items())}</dl></div>"
    )


def _origin(item: Item) -> str:
    """Which question, and who wrote it about whose chart, as far as the data set says."""
    kind = item.kind if item.kind in KINDS else ""
    return " · ".join(escape(part) for part in (item.id, kind, item.source) if part)


def _mark(picked: bool) -> str:
    return ' aria-current="true"' if picked else ""


def _counted(figures: Figures) -> str:
    asked = f"{figures.asked:,} of {figures.planned:,} questions"
    failed = f"{escape(told)} and are not counted" if (told := unanswered(figures)) else ""
    dated = f", {escape(str(figures.settings['date']))}" if figures.settings.get("date") else ""
    return f"{asked}{failed}{dated}. Ranges are 95 % Wilson intervals."


def _bars(figures: Figures, rule: str) -> str:
    # No headline under one rule alone: a right answer in a sentence is wrong under one and right under the other.
    other, words = ("canonical", "as ChartQA scores") if rule == "tolerant" else ("tolerant", "with format forgiven")
    head = "".join(f'<th scope="col">{GROUP_TITLES[group]}</th>' for group in reversed(figures.groups))
    rows = "".join(
        f'<tr><th scope="row">{escape(figures.title_of(arm))}</th>'
        + "".join(
            _bar(groups[group], GROUP_TITLES[group], figures.scores[other][arm][group], words)
            for group in reversed(figures.groups)
        )
        + "</tr>"
        for arm, groups in figures.scores[rule].items()
    )
    return f'<table class="bars"><thead><tr><th scope="col">Arm</th>{head}</tr></thead><tbody>{rows}</tbody></table>'


def _bar(score: Score, group: str, beside: Score, words: str) -> str:
    if score.accuracy is None or score.low is None or score.high is None:
        return f'<td data-group="{group}"><span class="none">no question</span></td>'
    accuracy, low, high = (100 * value for value in (score.accuracy, score.low, score.high))
    also = 100 * (beside.accuracy or 0)
    return (
        f'<td data-group="{group}"><span class="bar" aria-hidden="true">'
        f'<span class="fill also" style="width:{also:.1f}%"></span>'
        f'<span class="fill" style="width:{accuracy:.1f}%"></span>'
        f'<span class="range" style="left:{low:.1f}%;width:{high - low:.1f}%"></span></span>'
        f'<span class="figure"><strong>{accuracy:.1f} %</strong> {low:.1f} to {high:.1f}'
        f' <span class="count">n = {score.asked:,}</span>'
        f'<span class="also-told"><strong>{also:.1f} %</strong> {words}</span></span></td>'
    )


def _rules(figures: Figures, rule: str) -> str:
    table = accuracy_table(figures, [Column(name, name) for name in RULES if name in figures.scores], "Arm")
    return as_html(table, "rules", "All questions under every scorer, in %", rule)


def _reliability(figures: Figures) -> str:
    """How often answers are right that an arm is so sure of, as a chart and in words, or how many answers that needs;
    nothing where no arm tells."""
    if not figures.reliability:
        return ""
    asked = {arm: sum(one.asked for one in bins) for arm, bins in figures.reliability.items()}
    drawn = {
        arm: points
        for arm, bins in figures.reliability.items()
        if asked[arm] >= CURVE_ANSWERS and (points := [one for one in bins if one.asked >= POINT_ANSWERS])
    }
    if not drawn:
        equal = f"{POINT_ANSWERS} of them about equally sure; here are {max(asked.values()):,}"
        return f'<p class="meta">The curve of confidence needs {CURVE_ANSWERS} answers of an arm, {equal}.</p>'
    title = "How often an answer is right, in %, whatever its form, by the arm's confidence"
    lines = {
        figures.title_of(arm): [(100 * one.confidence, 100 * one.correct / one.asked) for one in points]
        for arm, points in drawn.items()
    }
    told = "".join(
        f"<li>{escape(figures.title_of(arm))}: {100 * (calibration_error(figures.reliability[arm]) or 0):.1f} points "
        f"on average, n = {asked[arm]:,}.</li>"
        for arm in drawn
    )
    chart = curve_chart(title, {**lines, "as told": [(0, 0), (100, 100)]}, "confidence in %")
    words = "How far confidence and share of right answers lie apart (expected calibration error)"
    return f'<div class="tests">{chart}<div><h4>{words}</h4><ul>{told}</ul></div></div>'


def _tests(figures: Figures, rule: str) -> str:
    if rule not in figures.comparisons:
        return '<p class="tests">The arms are tested against each other when the evaluation ends or is stopped.</p>'
    told = ""
    for one in dict.fromkeys((rule, "canonical", "tolerant")):
        words = {"canonical": "As ChartQA scores", "tolerant": "With format forgiven"}.get(one, f"Under {one}")
        if figures.comparisons.get(one):
            said = "".join(f"<li>{escape(sentence)}.</li>" for sentence in figures.in_words(one))
            told += f"<div><h4>{words}</h4><ul>{said}</ul></div>"
    return f'<div class="tests">{told}</div>' if told else ""


def _short_answers(item: Item, rule: str, titles: Mapping[str, str]) -> str:
    if item.error:
        return f'<span class="failed">{escape(item.error)}</span>'
    return "".join(
        f"<span><b>{escape(title)}</b> {_sign(item.correct(arm, rule), item.correct(arm, 'tolerant'))} "
        f'<span translate="no">{escape(_cut(item.answers.get(arm, "")))}</span></span>'
        for arm, title in titles.items()
    )


def _sign(good: bool | None, tolerant: bool | None) -> str:
    if good is None or tolerant is None:
        return '<span class="none">no answer</span>'
    return sign(standing(good, tolerant))


def _whole_answer(item: Item, arm: str, title: str, rule: str) -> str:
    if arm not in item.answers:
        why = item.failures.get(arm) or ("The question was not asked." if item.error else "This arm was not asked.")
        return f'<div><dt>{escape(title)}</dt><dd><p class="failed">{escape(why)}</p></dd></div>'
    text, sure = item.answers[arm], item.confidence.get(arm)
    title = title if sure is None else f"{title}, {confidence_words(sure)[0].lower()} ({100 * sure:.0f} %)"
    if not item.gold:  # asked, not scored
        return f'<div><dt>{escape(title)}</dt><dd><p class="answer">{escape(text)}</p></dd></div>'
    judged = best_verdict(text, item.gold)
    lines = verdict(judged.standing, judged.told)
    if rule not in ("canonical", "tolerant"):
        lines += verdict("right" if item.correct(arm, rule) else "wrong", RULE_NOTES[rule], rule)
    said = f'<p class="answer">{escape(text)}</p>' if text.strip() else '<p class="empty">An empty answer.</p>'
    return f"<div><dt>{escape(title)}</dt><dd>{said}{lines}</dd></div>"


def _cut(text: str, limit: int = 90) -> str:
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 1] + "…"
