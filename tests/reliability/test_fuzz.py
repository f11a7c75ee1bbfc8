"""Whatever a visitor, a browser's storage or a model says: it is read, or refused in a sentence, and shown as text.

`CHARTQA_EXAMPLES=5000` looks for longer than the suite has time for.
"""

import csv
import json
import os
from io import StringIO
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_text import tags

from chartqa_demo.arms import ARMS
from chartqa_demo.data.corrections import Kept
from chartqa_demo.engines import Answer
from chartqa_demo.errors import EvaluationError, QuestionError
from chartqa_demo.evaluate.rules import RULES, best_verdict, is_correct
from chartqa_demo.evaluate.tables import plain
from chartqa_demo.ui.compare.cards.answers import answer_card, asked_line
from chartqa_demo.ui.compare.cards.guess import read_guess
from chartqa_demo.ui.compare.charts import Chart
from chartqa_demo.ui.compare.history import Run, entry, read_entry, read_kept
from chartqa_demo.ui.compare.question import Question, read_question
from chartqa_demo.ui.compare.table import read_table
from chartqa_demo.ui.evaluate.choices import how_many
from chartqa_demo.ui.spreadsheet import as_csv

settings.register_profile(
    "here",
    max_examples=int(os.environ.get("CHARTQA_EXAMPLES", "40")),
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
settings.load_profile("here")

MARKS = st.sampled_from(
    ["<|im_end|>", "<b>", "&amp;", "${x}", "{{x}}", "=1", "\0", "\u202e", "\ud800", "1e999", "٣", "|", "`"]
)
TEXT = st.lists(st.one_of(MARKS, st.text(st.characters(), max_size=8)), max_size=6).map("".join)
WHOLE = TEXT.map(lambda text: text.encode(errors="replace").decode())  # without halves of pairs
NUMBER = st.one_of(st.integers(), st.integers(10**300, 10**320), st.floats(), st.booleans(), st.none())
VALUE = st.recursive(
    st.one_of(NUMBER, TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXT, inner, max_size=3)),
)


@given(st.lists(VALUE, min_size=7, max_size=7))
def test_a_question_of_any_values_is_read_or_refused_in_a_sentence(values: list[Any]) -> None:
    try:
        asked = read_question(Path("x"), *values)
    except QuestionError as error:
        assert len(str(error)) < 500 and str(error).isprintable()
    else:
        assert json.dumps(entry(ARMS, Run(asked, (), "done")), ensure_ascii=False).encode()


def kept(answers: Any) -> st.SearchStrategy[Any]:
    """What a browser may hold in place of an entry: the form is right, the values are anything."""
    fields = ("id", "chart", "example", "gold", "gold_from", "sampled", "sampled_from", "question", "best", "blind")
    filled = dict.fromkeys(fields, VALUE) | {"hidden": st.booleans(), "answers": answers}
    return st.fixed_dictionaries(filled | {"settings": st.one_of(st.just({}), VALUE)}).map(
        lambda one: one | {"id": "1.5", "question": str(one["question"]) or "x", "gold": ["x"], "sampled": []}
    )


ANSWER = st.fixed_dictionaries({"text": VALUE, "error": VALUE, "tokens": VALUE, "total_s": VALUE, "confidence": VALUE})
ANSWERS = st.tuples(*(ANSWER.map(lambda one, key=arm.key: one | {"arm": key}) for arm in ARMS)).map(list)


@given(st.one_of(VALUE, kept(ANSWERS), kept(VALUE)))
def test_whatever_a_browser_kept_is_shown_or_dropped(stored: Any) -> None:
    run = read_entry(stored, ARMS, Chart("x"))
    if run is not None and run.question is not None:
        html = asked_line(run.question, ARMS, (None,) * 3, entry(ARMS, run))
        html += "".join(answer_card(arm, one, run.phase) for arm, one in zip(ARMS, run.answers, strict=True))
        assert not {tag for tag, *_ in tags(html)} & {"b", "script"}


def test_what_a_browser_kept_is_dropped_where_it_is_longer_than_any_question_with_its_answers() -> None:
    asked = read_question(Path("x"), "\u4e00" * 2_000, "1")  # what JSON writes longest
    answers = tuple(Answer(arm.key, "\u4e00" * 2_000, done=True) for arm in ARMS)
    usual = {"entry": entry(ARMS, Run(asked, answers, "done")), "name": "x", "question": asked.text}
    assert read_kept(usual) == usual
    assert read_kept(usual | {"entry": {"gold": ["blue"] * 20_000}}) == read_kept(None) == {}


@given(VALUE, st.dictionaries(st.sampled_from(["rows", "pictures"]), VALUE))
def test_whatever_a_browser_kept_of_corrections_is_rows_or_dropped(value: Any, stored: Any) -> None:
    for one in (value, stored):
        rows = Kept(None).rows(one)
        assert Kept(None).pictures(one, rows) is not None


@given(WHOLE, st.lists(WHOLE, max_size=3))
def test_every_answer_is_judged_against_every_gold_answer(text: str, golds: list[str]) -> None:
    assert best_verdict(text, [*golds, "4"]).told
    for gold in golds:
        assert {is_correct(text, gold, rule) for rule in RULES} <= {True, False}


@given(TEXT, VALUE, VALUE)
def test_guesses_sizes_and_tables_can_be_anything(text: str, value: Any, other: Any) -> None:
    read_guess(value, other, Question(Path("x"), "x"), ARMS)
    title, head, rows = read_table(text)
    assert isinstance(title, str) and all(len(row) == len(head) for row in rows)
    try:
        assert how_many(value) >= 0
    except EvaluationError as error:
        assert str(error).startswith("Choose how many")


@given(st.lists(st.lists(st.one_of(WHOLE, st.none()), min_size=2, max_size=2), max_size=3))
def test_a_table_for_spreadsheets_reads_back_and_runs_nothing(rows: list[list[str | None]]) -> None:
    back = list(csv.reader(StringIO(as_csv(["a", "b"], rows), newline="")))[1:]
    assert len(back) == len(rows)
    for row, cells in zip(rows, back, strict=True):
        for value, cell in zip(row, cells, strict=True):
            assert cell in (value or "", f"'{value}")
            assert not cell.startswith(tuple("=@\t\r\n＝＋－＠"))


@given(TEXT)
def test_any_text_stays_one_line_of_text_in_markdown_and_one_text_on_a_card(text: str) -> None:
    assert "\n" not in plain(text)
    card = answer_card(ARMS[0], Answer("pretrained", text, error=text, recorded=text, done=True), "done")
    usual = answer_card(ARMS[0], Answer("pretrained", "x", error="x", recorded="x", done=True), "done")
    assert not text or tags(card) == tags(usual)
