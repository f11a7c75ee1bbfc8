"""Questions about how series lie to each other and about steps of reckoning: the answer follows from the table."""

from itertools import pairwise

import pytest

from train.pretrain.charts import make_chart
from train.pretrain.scene import GeneratedChart, GeneratedQuestion

Asked = list[tuple[GeneratedChart, GeneratedQuestion]]


@pytest.fixture(scope="module")
def lessons() -> list[GeneratedChart]:
    return [make_chart(seed, density=0.5) for seed in range(5000, 5700)]


def asked(lessons: list[GeneratedChart], kind: str) -> Asked:
    found = [(chart, question) for chart in lessons for question in chart.questions if question.kind == kind]
    assert len(found) > 10, f"too few questions of kind {kind} to judge"
    return found


def row_of(chart: GeneratedChart, series: int) -> list[float]:
    row = [value for value in chart.values[series] if value is not None]
    assert len(row) == len(chart.categories)
    return row


def two_rows(chart: GeneratedChart, question: GeneratedQuestion) -> list[list[float]]:
    return [row_of(chart, series) for series in dict.fromkeys(series for _, series in question.marks)]


def test_lines_cross_as_often_as_the_order_of_their_values_changes(lessons: list[GeneratedChart]) -> None:
    for chart, question in asked(lessons, "crossings"):
        first, second = two_rows(chart, question)
        above = [a > b for a, b in zip(first, second, strict=True)]
        assert int(question.gold) == sum(a != b for a, b in pairwise(above))


def test_a_gap_named_is_the_only_one_of_its_size(lessons: list[GeneratedChart]) -> None:
    for chart, question in asked(lessons, "gap"):
        gaps = [abs(a - b) for a, b in zip(*two_rows(chart, question), strict=True)]
        gap = gaps[[name.rstrip("*") for name in chart.categories].index(question.gold)]
        assert gap in (min(gaps), max(gaps)) and gaps.count(gap) == 1


def test_the_largest_total_is_that_of_all_series(lessons: list[GeneratedChart]) -> None:
    for chart, question in asked(lessons, "top_total"):
        rows = [row_of(chart, series) for series in range(len(chart.series))]
        totals = [sum(column) for column in zip(*rows, strict=True)]
        total = totals[[name.rstrip("*") for name in chart.categories].index(question.gold)]
        assert total in (min(totals), max(totals))


def test_named_values_joined_by_plus_are_summed(lessons: list[GeneratedChart]) -> None:
    found = [(chart, question) for chart, question in asked(lessons, "reckoning") if " plus " in question.text]
    assert len(found) > 10
    for chart, question in found:
        parts = [chart.values[series][category] or 0.0 for category, series in question.marks]
        assert float(question.gold) == pytest.approx(sum(parts), abs=0.006)


def test_the_last_value_and_the_one_before_are_asked_for_without_their_year(lessons: list[GeneratedChart]) -> None:
    for chart, question in asked(lessons, "of_time"):
        ((category, _),) = question.marks
        assert float(question.gold) == chart.values[0][category]
        if "previous" in question.text or "earlier" in question.text:
            assert category == len(chart.categories) - 2
