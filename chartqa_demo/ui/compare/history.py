"""What a visitor asked, as the visitor's own browser keeps it: `browser/history.js` stores, lists and exports it.

The page writes an entry into the line over the cards, and reads one when it is opened again. A browser's storage can
hold anything, an older version's entries or a visitor's own edits: what has not the form of an entry is no entry.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlencode

from chartqa_demo.arms import PROMPTED, Arm
from chartqa_demo.engines import Answer, Answers, Options
from chartqa_demo.errors import QuestionError
from chartqa_demo.settings import MAX_CONTEXT, MAX_MESSAGE, Settings
from chartqa_demo.ui.compare.cards.guess import VISITOR, Guess, order_of, unnamed
from chartqa_demo.ui.compare.charts import Chart
from chartqa_demo.ui.compare.question import SETTINGS, Question, read_question, records

MAX_KEPT = 100_000  # characters of what a browser kept of one question, as JSON; a long one has a tenth
ANY = Settings(max_question=MAX_MESSAGE, max_prompt=MAX_MESSAGE, most_new_tokens=MAX_CONTEXT)  # it was allowed then
Entry = dict[str, Any]
Phase = Literal["idle", "waiting", "running", "stopped", "done"]


@dataclass(frozen=True)
class Run:
    """What the cards show; kept: it came out of the visitor's browser, or the visitor has not asked it; guess: what the
    visitor said where that had to come first."""

    question: Question | None = None
    answers: Answers = ()
    phase: Phase = "idle"
    kept: bool = False
    guess: Guess | None = None

    @property
    def hidden(self) -> bool:
        """Whether arms and gold answer must not be told yet."""
        return self.question is not None and self.question.blind and self.guess is None


def entry(arms: Sequence[Arm], run: Run) -> Entry | None:
    """A run's question as JSON, and once it is done its answers with their verdicts; None before one was asked."""
    asked, done = run.question, run.phase == "done"
    if asked is None:
        return None
    told = records(arms, run.answers, asked) if done and run.answers else []
    guess = run.guess or Guess()
    if guess.best:
        told = [{**one, "best": one["arm"] == guess.best} for one in told]
    if told and guess.text:
        told += records([VISITOR], (Answer(VISITOR.key, guess.text, done=True),), asked)
    asked_at = datetime.fromtimestamp(asked.asked_at, timezone.utc).isoformat(timespec="seconds")
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
        "answers": told,
        "link": link_to(asked),
        "done": done,
        "kept": run.kept,
        "blind": asked.blind,
        "hidden": run.hidden,
        "best": guess.best,
    }


def link_to(asked: Question) -> str:
    """The query of a link that opens a sampled chart and asks the same with the same settings; none for a visitor's
    own picture, which stays in the browser."""
    usual = {"system": PROMPTED.system, **{one.name: one.default for one in fields(Options) if one.name != "system"}}
    told = {name: getattr(asked.options, name) for name in SETTINGS}
    if asked.options.greedy:
        del told["seed"]  # nothing is sampled
    told = {name: value for name, value in told.items() if value is not None and value != usual[name]}
    return "?" + urlencode({"example": asked.example, "q": asked.text, **told}) if asked.example else ""


def read_kept(kept: Any) -> dict[str, Any]:
    """What a browser kept of a tab, {} for what has not the form or is longer than the page could have made it."""
    return kept if isinstance(kept, dict) and len(json.dumps(kept)) <= MAX_KEPT else {}


def read_entry(one: Any, arms: Sequence[Arm], chart: Chart, typed: object = None) -> Run | None:
    """The run of an entry, to be shown beside `chart`; None for anything else. typed: the visitor's own gold answer,
    since an entry that hides it does not hold it."""
    try:
        blind, hidden = one.get("blind") is True, one.get("hidden") is True
        asked = read_question(
            Path(chart.file),
            one["question"],
            typed if hidden else None,
            *(one["settings"].get(name) for name in SETTINGS),
            limits=ANY,
            known_golds=chart.golds,
            source=chart.source,
            chart_name=str(one["chart"]),
            example=str(one["example"]),
        )
        asked = replace(asked, asked_at=float(one["id"]), blind=blind)
        answers = {answer["arm"]: answer for answer in one["answers"]}
        if hidden:
            places = enumerate(order_of(asked, len(arms)))
            answers = {arms[index].key: answers[unnamed(place).key] for place, index in places}
        else:
            asked = replace(
                asked,
                gold=tuple(map(str, one["gold"])),
                gold_from=str(one["gold_from"]),
                sampled=tuple(map(str, one["sampled"])),
                sampled_from=str(one["sampled_from"]),
            )
        said = str(answers.get(VISITOR.key, {}).get("text", ""))
        guess = Guess(said, str(one.get("best") or "")) if blind and not hidden else None
        shown = tuple(_answer(arm, answers[arm.key]) for arm in arms)
        return Run(asked, shown, "done" if all(answer.done for answer in shown) else "stopped", True, guess)
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError, QuestionError):
        return None


def _answer(arm: Arm, kept: dict[str, Any]) -> Answer:
    first, total, ended = kept.get("first_token_s"), kept.get("total_s"), kept.get("ended")
    sure = kept.get("confidence")
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
        confidence=float(sure) if isinstance(sure, int | float) and 0 <= sure <= 1 else None,
    )
