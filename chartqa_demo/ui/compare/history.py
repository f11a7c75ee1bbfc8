"""What a visitor asked, as the visitor's own browser keeps it: `browser/history.js` stores, lists and exports it.

The page writes an entry into the line over the cards, and reads one when it is opened again. A browser's storage can
hold anything, an older version's entries or a visitor's own edits: what has not the form of an entry is no entry.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from chartqa_demo.arms import Arm
from chartqa_demo.engines import Answer, Answers
from chartqa_demo.errors import QuestionError
from chartqa_demo.ui.compare.question import SETTINGS, Question, read_question, records, verdicts

Entry = dict[str, Any]


def entry(arms: Sequence[Arm], asked: Question, answers: Answers, done: bool, kept: bool) -> Entry:
    """A question as JSON, with its answers and verdicts. done: nothing more comes; kept: it came out of a browser, or
    was not asked by its visitor."""
    asked_at = datetime.fromtimestamp(asked.asked_at, timezone.utc).isoformat(timespec="seconds")
    standings = [judged.standing if judged else None for judged in verdicts(answers, asked.gold)]
    return {
        "id": repr(asked.asked_at),
        "asked_at": asked_at,
        "chart": asked.chart_name,
        "example": asked.example,
        "question": asked.text,
        "gold": list(asked.gold),
        "gold_from": asked.gold_from,
        "sampled": list(asked.sampled),
        "sampled_from": asked.sampled_from,
        "settings": {name: getattr(asked.options, name) for name in SETTINGS},
        "answers": [
            {**one, "standing": standing}
            for one, standing in zip(records(arms, answers, asked) if answers else [], standings, strict=True)
        ],
        "done": done,
        "kept": kept,
    }


def read_entry(one: Any, arms: Sequence[Arm], chart: Path) -> tuple[Question, Answers] | None:
    """The question and answers of an entry, to be shown beside `chart`; None for anything else."""
    try:
        asked = read_question(
            chart,
            one["question"],
            None,
            *(one["settings"].get(name) for name in SETTINGS),
            chart_name=str(one["chart"]),
            example=str(one["example"]),
        )
        asked = replace(
            asked,
            asked_at=float(one["id"]),
            gold=tuple(map(str, one["gold"])),
            gold_from=str(one["gold_from"]),
            sampled=tuple(map(str, one["sampled"])),
            sampled_from=str(one["sampled_from"]),
        )
        answers = {answer["arm"]: answer for answer in one["answers"]}
        return asked, tuple(_answer(arm, answers[arm.key]) for arm in arms)
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError, QuestionError):
        return None


def _answer(arm: Arm, kept: dict[str, Any]) -> Answer:
    first, total, ended = kept.get("first_token_s"), kept.get("total_s"), kept.get("ended")
    return Answer(
        arm.key,
        str(kept["text"]),
        int(kept.get("tokens") or 0),
        None if first is None else float(first),
        None if total is None else float(total),
        done=kept.get("done") is True,
        error=str(kept["error"]) if kept.get("error") else None,
        recorded=str(kept["recorded"]) if kept.get("recorded") else None,
        ended=ended if ended in ("end", "limit", "repetition") else None,
    )
