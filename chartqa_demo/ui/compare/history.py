"""What this visitor asked, newest first, kept in the visitor's own browser and downloadable as JSON or CSV.

The browser's storage can hold anything, an older version's entries or a visitor's own edits: what does not have the
form of an entry is dropped when it is read.
"""

import json
from collections.abc import Sequence
from datetime import datetime, timezone
from html import escape
from typing import Any
from urllib.parse import quote

from chartqa_demo.arms import Arm
from chartqa_demo.engines import Answers
from chartqa_demo.evaluate.rules import standing
from chartqa_demo.ui.compare.question import Question, records
from chartqa_demo.ui.markup import sign
from chartqa_demo.ui.spreadsheet import as_csv

MAX_ENTRIES = 20
QUESTION_COLUMNS = ("asked_at", "chart", "question", "gold")
ANSWER_COLUMNS = (
    "arm",
    "text",
    "correct",
    "reason",
    "tolerant",
    "tolerant_reason",
    "tokens",
    "first_token_s",
    "total_s",
    "error",
)

Entry = dict[str, Any]


def entry(arms: Sequence[Arm], question: Question, answers: Answers) -> Entry:
    """One asked question with its answers and verdicts."""
    asked_at = datetime.fromtimestamp(question.asked_at, timezone.utc).isoformat(timespec="seconds")
    return {
        "asked_at": asked_at,
        "chart": question.chart_name,
        "question": question.text,
        "gold": list(question.gold),
        "answers": records(arms, answers, question),
    }


def with_entry(history: object, new: Entry) -> list[Entry]:
    """The history with one entry more, bounded."""
    return [new, *read_entries(history)][:MAX_ENTRIES]


def read_entries(stored: object) -> list[Entry]:
    """The entries in what a browser has stored."""
    return [one for one in stored if _is_entry(one)][:MAX_ENTRIES] if isinstance(stored, list) else []


def history_list(entries: Sequence[Entry]) -> str:
    """The entries for reading, with links that download them."""
    if not entries:
        return '<div class="history"><h2>Your questions</h2><p class="empty">Nothing asked yet.</p></div>'
    links = _download("Download JSON", "chartqa-answers.json", "application/json", history_json(entries)) + _download(
        "Download CSV", "chartqa-answers.csv", "text/csv", history_csv(entries)
    )
    return (
        f'<div class="history"><h2>Your questions</h2><p class="downloads">{links}</p><ol>'
        + "".join(f"<li>{_entry(one)}</li>" for one in entries)
        + "</ol></div>"
    )


def history_json(entries: Sequence[Entry]) -> str:
    """The entries as they are."""
    return json.dumps(list(entries), ensure_ascii=False, indent=2)


def history_csv(entries: Sequence[Entry]) -> str:
    """One row per answer."""
    rows = []
    for one in entries:
        asked = [one["asked_at"], one["chart"], one["question"], " or ".join(one["gold"])]
        rows += [[*asked, *(answer.get(name) for name in ANSWER_COLUMNS)] for answer in one["answers"]]
    return as_csv([*QUESTION_COLUMNS, *ANSWER_COLUMNS], rows)


def _is_entry(one: object) -> bool:
    return (
        isinstance(one, dict)
        and all(isinstance(one.get(name), str) for name in ("asked_at", "chart", "question"))
        and isinstance(one.get("gold"), list)
        and all(isinstance(gold, str) for gold in one["gold"])
        and isinstance(one.get("answers"), list)
        and all(
            isinstance(answer, dict) and isinstance(answer.get("text"), str) and isinstance(answer.get("title"), str)
            for answer in one["answers"]
        )
    )


def _entry(one: Entry) -> str:
    gold = f' <span class="gold">Gold answer <strong>{escape(" or ".join(one["gold"]))}</strong></span>'
    return (
        f'<p class="question" dir="auto">{escape(one["question"])}</p>'
        f'<p class="meta">{escape(one["chart"])}{gold if one["gold"] else ""}</p>'
        f"<dl>{''.join(_answer(answer) for answer in one['answers'])}</dl>"
    )


def _answer(answer: dict[str, Any]) -> str:
    correct, tolerant = answer.get("correct"), answer.get("tolerant")
    verdict = ""
    if isinstance(correct, bool):
        verdict = " " + sign(standing(correct, tolerant if isinstance(tolerant, bool) else correct), "verdict")
    text = f"Failed: {answer['error']}" if isinstance(answer.get("error"), str) else answer["text"]
    return f'<div><dt>{escape(answer["title"])}</dt><dd><span dir="auto">{escape(text)}</span>{verdict}</dd></div>'


def _download(told: str, file: str, mime: str, text: str) -> str:
    return f'<a class="download" download="{file}" href="data:{mime};charset=utf-8,{quote(text)}">{told}</a>'
