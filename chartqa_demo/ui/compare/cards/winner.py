"""Who is right: in one sentence over the cards, and for a screen reader."""

from collections.abc import Sequence

from chartqa_demo.arms import Arm
from chartqa_demo.engines import Answers
from chartqa_demo.evaluate.rules import Standing, Verdict
from chartqa_demo.ui.compare.question import Question, verdicts, why_cut
from chartqa_demo.ui.markup import standing_words


def winner_line(arms: Sequence[Arm], judged: Sequence[Verdict | None], gold: Sequence[str]) -> str:
    """ "All three found 1400; only Adapter wrote it as ChartQA wants."; empty until every arm has its verdict."""
    if not judged or not any(judged):
        return ""
    by_standing: dict[Standing | None, list[str]] = {}
    for arm, verdict in zip(arms, judged, strict=True):
        by_standing.setdefault(verdict.standing if verdict else None, []).append(arm.title)
    right, other = by_standing.get("right", []), by_standing.get("other-form", [])
    found = [arm.title for arm in arms if arm.title in (*right, *other)]
    near = [arm.title for arm, one in zip(arms, judged, strict=True) if arm.title in found and one and one.near]
    wanted = " or ".join(gold)
    if not found:
        told = f"None of the {_number(len(arms))} found {wanted}" if len(arms) > 1 else f"{arms[0].title} is wrong"
    else:
        told = f"{_names(found, len(arms))} {'came within 5 % of' if near == found else 'found'} {wanted}"
        if near and near != found:
            told += f"; {_list(near)} within 5 %"
    if other:
        told += f"; {f'only {_list(right)}' if right else 'none'} wrote it as ChartQA wants"
    if lenient := by_standing.get("only-canonical", []):
        told += f"; {_list(lenient)} {'passes' if len(lenient) == 1 else 'pass'} by ChartQA's 5 % alone"
    return f"{told}."


def announce(arms: Sequence[Arm], asked: Question, answers: Answers, hidden: bool = False) -> str:
    """ "3 answers ready: Pretrained wrong, ..."; hidden: no arm is named yet."""
    if hidden:
        return f"{len(answers)} answers ready. Answer or vote to see whose they are."
    told = []
    for arm, answer, judged in zip(arms, answers, verdicts(answers, asked.gold), strict=True):
        if answer.error or judged:
            result = "failed" if answer.error or not judged else standing_words(judged.standing)
            told.append(f"{arm.title} {result}")
        if cut := why_cut(answer, asked.options):
            told.append(f"{arm.title} {cut}")
    return f"{len(answers)} answers ready{': ' if told else ''}{'; '.join(told)}."


def _names(found: Sequence[str], arms: int) -> str:
    if len(found) == arms > 1:
        return f"All {_number(arms)}" if arms > 2 else "Both"
    return f"Only {found[0]}" if len(found) == 1 and arms > 1 else _list(found)


def _list(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _number(count: int) -> str:
    return {2: "two", 3: "three"}.get(count, str(count))
