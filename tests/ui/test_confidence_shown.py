"""How sure an arm was, on its card and in its entry, and how far that and its accuracy lie apart: figure and curve."""

import json
import re
from dataclasses import asdict
from pathlib import Path

import pytest

from chartqa_demo.arms import ARMS, PRETRAINED
from chartqa_demo.engines import Answer
from chartqa_demo.evaluate.record import Item, Results
from chartqa_demo.evaluate.statistics import calibration_error, reliability
from chartqa_demo.evaluate.tables import figures_of, figures_of_summary
from chartqa_demo.ui.compare.cards.answers import answer_card
from chartqa_demo.ui.compare.charts import Chart
from chartqa_demo.ui.compare.history import Run, entry, read_entry
from chartqa_demo.ui.compare.question import Question
from chartqa_demo.ui.evaluate.scores import item_detail, scores_section

SETTINGS = {"model": "a model", "arms": {"adapter": {"title": "Adapter"}, "prompted": {"title": "Prompted"}}}


def item(number: int, answer: str, sure: float | None) -> Item:
    told = {} if sure is None else {"adapter": sure}
    return Item(
        str(number), f"chart {number}", "How many?", ("12",), "human", "s", {"adapter": answer, "prompted": "12"},
        confidence=told,
    )  # fmt: skip


def results(*items: Item) -> Results:
    return Results({**SETTINGS, "sample": [one.id for one in items]}, items)


def answers_of_confidence(sure: int, unsure: int) -> Results:
    """So many answers of 95 %, all of them right, and of 35 %, all wrong."""
    right = [item(number, "It is 12.", 0.95) for number in range(sure)]
    return results(*right, *(item(sure + number, "14", 0.35) for number in range(unsure)))


def test_the_error_is_the_mean_distance_of_confidence_from_the_share_of_right_answers() -> None:
    bins = reliability([0.91, 0.99, 0.95, 0.15, 1.0, 0.0], [True, True, False, False, True, False])
    assert [(one.correct, one.asked) for one in bins] == [(0, 1), (0, 1), (3, 4)]
    assert bins[2].confidence == pytest.approx(0.9625)
    assert calibration_error(bins) == pytest.approx((0.15 + 4 * 0.2125) / 6)
    assert calibration_error(reliability([], [])) is None
    assert calibration_error(reliability([0.7] * 10, [True] * 7 + [False] * 3)) == pytest.approx(0)


def test_a_record_keeps_the_confidence_and_an_older_one_loads_without() -> None:
    kept = Item.from_row(json.loads(item(1, "12", 0.8).to_line()))
    assert kept.confidence == {"adapter": 0.8} and kept == item(1, "12", 0.8)
    row = asdict(item(1, "12", 0.8))
    del row["confidence"], row["log_probabilities"]
    older = Item.from_row(row)
    assert older.confidence == {} and results(older).reliability("adapter") == ()


def test_the_curve_counts_an_answer_right_whatever_its_form() -> None:
    found = results(item(1, "It is 12.", 0.95), item(2, "14", 0.35), item(3, "12", None))
    assert [(one.confidence, one.correct, one.asked) for one in found.reliability("adapter")] == [
        (0.35, 0, 1),
        (0.95, 1, 1),
    ]
    assert found.reliability("prompted") == ()


def test_the_page_draws_the_curve_from_a_record_and_from_its_summary_alike() -> None:
    found = answers_of_confidence(30, 30)
    drawn = [scores_section(one, "tolerant") for one in (figures_of(found), figures_of_summary(found.summary()))]
    for text in drawn:
        assert text.count("<polyline") == 2, "the arm, and the line of an arm that is as sure as it should be"
        assert "Adapter: 20.0 points on average, n = 60." in text and "Prompted: " not in text.split("expected cal")[1]
    assert "<svg" not in scores_section(figures_of(results(item(1, "12", None))), "tolerant")


@pytest.mark.parametrize(
    ("sure", "unsure", "points"), [(12, 0, 0), (25, 24, 0), (40, 10, 2), (50, 0, 1), (41, 9, 1), (300, 9, 1)]
)
def test_a_handful_of_answers_is_no_curve_but_a_sentence(sure: int, unsure: int, points: int) -> None:
    text = scores_section(figures_of(answers_of_confidence(sure, unsure)), "tolerant")
    lines = re.findall('<polyline class="line ours" .*?points="(.*?)"', text)
    assert [len(line.split()) for line in lines] == ([points] if points else [])
    told = f"needs 50 answers of an arm, 10 of them about equally sure; here are {sure + unsure}."
    assert (f"The curve of confidence {told}" in text) == (points == 0)
    assert ("points on average" in text) == (points > 0)


def test_a_question_says_how_sure_each_arm_was() -> None:
    text = item_detail(item(1, "12", 0.42), "tolerant", {"adapter": "Adapter", "prompted": "Prompted"})
    assert "<dt>Adapter, unsure (42 %)</dt>" in text and "<dt>Prompted</dt>" in text


@pytest.mark.parametrize(
    ("sure", "word"), [(0.97, "Sure"), (0.9, "Sure"), (0.6, "Likely"), (0.59, "Unsure"), (0, "Unsure")]
)
def test_a_card_says_in_a_word_how_sure_its_answer_is(sure: float, word: str) -> None:
    card = answer_card(PRETRAINED, Answer("pretrained", "12", 2, done=True, ended="end", confidence=sure), "done")
    assert f">{word}</span>" in card and f'title="{100 * sure:.0f} % likely to be right' in card


def test_a_card_says_nothing_where_nothing_was_measured() -> None:
    for answer in (None, Answer("pretrained", "12", 2, done=True, log_probability=-0.1)):
        assert '<span class="confidence"></span>' in answer_card(PRETRAINED, answer, "done")


@pytest.mark.parametrize(
    ("kept", "shown"), [(0.42, 0.42), (None, None), ("0.9", None), (7, None), (float("nan"), None)]
)
def test_the_browser_keeps_it_and_an_entry_of_an_older_page_has_none(kept: object, shown: float | None) -> None:
    asked = Question(Path("chart.png"), "How many?")
    run = Run(asked, tuple(Answer(arm.key, "12", 2, done=True, confidence=0.42) for arm in ARMS), "done")
    told = entry(ARMS, run)
    assert told is not None and [one["confidence"] for one in told["answers"]] == [0.42] * 3
    told["answers"][0]["confidence"] = kept
    again = read_entry(told, ARMS, Chart("chart.png"))
    assert again is not None and [one.confidence for one in again.answers] == [shown, 0.42, 0.42]
    del told["answers"][0]["confidence"]
    older = read_entry(told, ARMS, Chart("chart.png"))
    assert older is not None and older.answers[0].confidence is None
