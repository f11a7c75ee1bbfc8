"""Statistics against scipy, textbook values and simulation."""

# pyright: reportOperatorIssue=false, reportOptionalOperand=false
# (the optional figures of a comparison are there in these tests)

import random

import pytest
from scipy.stats import binomtest

from chartqa_demo.evaluate.statistics import FEWEST, compare, in_words, mcnemar_p, score


def arms(both, only_first, only_second, neither):
    """Two lists of verdicts with known counts of agreement and disagreement."""
    pairs = [(True, True)] * both + [(True, False)] * only_first + [(False, True)] * only_second
    pairs += [(False, False)] * neither
    random.Random(0).shuffle(pairs)
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def one_chart_each(verdicts):
    return [str(index) for index in range(len(verdicts))]


@pytest.mark.parametrize(
    ("correct", "asked", "low", "high"),
    [
        (8, 10, 0.4902, 0.9433),  # Wilson (1927) as in any table of it
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (2196, 2500, 0.8650, 0.8906),  # the published 87.84 %
    ],
)
def test_wilson_interval_equals_the_published_values(correct, asked, low, high):
    found = score(correct, asked)
    assert found.accuracy == correct / asked
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)


def test_nothing_asked_has_no_accuracy_and_no_interval():
    found = score(0, 0)
    assert (found.accuracy, found.low, found.high) == (None, None, None)


@pytest.mark.parametrize(("only_first", "only_second"), [(83, 69), (19, 7), (6, 0), (1, 9), (0, 1), (40, 40)])
def test_mcnemar_equals_the_exact_binomial_test_of_scipy(only_first, only_second):
    expected = binomtest(only_first, only_first + only_second, 0.5).pvalue
    assert mcnemar_p(only_first, only_second) == pytest.approx(expected, rel=1e-9)


def test_mcnemar_without_any_disagreement_is_one():
    assert mcnemar_p(0, 0) == 1.0


def test_crafted_arms_give_their_counts_difference_and_p():
    first, second = arms(both=60, only_first=19, only_second=7, neither=14)
    found = compare(("adapter", "prompted"), first, second, one_chart_each(first))
    assert (found.only_first, found.only_second, found.asked, found.charts) == (19, 7, 100, 100)
    assert found.difference == pytest.approx(0.12)
    assert found.p == pytest.approx(binomtest(19, 26, 0.5).pvalue)
    # the normal approximation of the same interval: 0.12 ± 1.96 · sqrt((0.26 − 0.12²) / 100)
    assert (found.low, found.high) == pytest.approx((0.0229, 0.2171), abs=0.01)


def test_the_interval_is_seeded():
    first, second = arms(60, 19, 7, 14)
    charts = one_chart_each(first)
    again = [compare(("a", "b"), first, second, charts, seed=seed) for seed in (1, 1, 2)]
    assert again[0] == again[1] != again[2]


def test_questions_of_one_chart_widen_the_interval():
    """Four questions per chart that stand or fall together carry the information of one."""
    first, second = arms(50, 30, 10, 10)
    alone = compare(("a", "b"), first, second, one_chart_each(first))
    repeated = [(one, other, str(index)) for index, (one, other) in enumerate(zip(first, second, strict=True))] * 4
    firsts, seconds, charts = (list(column) for column in zip(*repeated, strict=True))
    clustered = compare(("a", "b"), firsts, seconds, charts)
    naive = compare(("a", "b"), firsts, seconds, one_chart_each(firsts))
    assert (clustered.high - clustered.low) == pytest.approx(alone.high - alone.low, rel=0.05)
    assert (naive.high - naive.low) == pytest.approx((alone.high - alone.low) / 2, rel=0.05)
    assert clustered.questions_needed == pytest.approx(4 * naive.questions_needed, rel=0.1)


def test_the_interval_covers_the_truth_about_95_times_in_100():
    draw = random.Random(7)
    covered = 0
    for trial in range(100):
        pairs = draw.choices([(True, True), (True, False), (False, True), (False, False)], [50, 20, 10, 20], k=150)
        first, second = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        found = compare(("a", "b"), first, second, one_chart_each(pairs), seed=trial, resamples=500)
        covered += found.low <= 0.10 <= found.high
    assert 90 <= covered <= 99


def test_questions_needed_grow_with_the_inverse_square_of_the_difference():
    large = compare(("a", "b"), *arms(400, 120, 80, 400), one_chart_each(range(1000)))
    small = compare(("a", "b"), *arms(400, 110, 90, 400), one_chart_each(range(1000)))
    # (1.96 + 0.84)² · (0.2 − 0.04²) / 0.04² = 973
    assert large.questions_needed == pytest.approx(973, rel=0.05)
    assert small.questions_needed == pytest.approx(4 * large.questions_needed, rel=0.05)


def test_arms_that_never_differ_need_no_number_of_questions():
    found = compare(("a", "b"), [True, False] * 5, [True, False] * 5, one_chart_each(range(10)))
    assert (found.difference, found.p, found.questions_needed) == (0.0, 1.0, None)
    assert in_words(found) == "a and b are right on exactly the same questions, n = 10"


def test_one_arm_always_ahead_needs_the_fewest_questions_the_test_can_use():
    found = compare(("a", "b"), [True] * 10, [False] * 10, one_chart_each(range(10)))
    assert found.questions_needed == FEWEST


def test_a_difference_without_noise_needs_the_fewest_too():
    """Every chart gains the same share; a solver for the number of questions did not converge here."""
    charts = [str(index // 2) for index in range(20)]
    found = compare(("a", "b"), [True] * 20, [False, True] * 10, charts)
    assert found.low == pytest.approx(found.high)
    assert found.questions_needed == FEWEST


def test_one_chart_gives_no_interval():
    found = compare(("a", "b"), [True] * 9, [False] * 9, ["same"] * 9)
    assert (found.low, found.high, found.significant) == (None, None, False)
    assert "one chart, no interval" in in_words(found)


def test_no_common_question_is_said():
    assert in_words(compare(("a", "b"), [], [], [])) == "a and b have no question in common yet"


def test_a_seen_difference_is_told_from_the_winner():
    first, second = arms(60, 4, 30, 6)
    found = compare(("adapter", "prompted"), first, second, one_chart_each(first))
    words = in_words(found, "Adapter", "Prompted")
    assert words.startswith("Prompted beats Adapter by 26.0 points [1")
    assert words.endswith("], p < 0.0001, n = 100")


def test_a_difference_that_is_not_seen_is_not_called_a_win():
    first, second = arms(60, 12, 10, 18)
    words = in_words(compare(("adapter", "prompted"), first, second, one_chart_each(first)))
    assert words.startswith("adapter and prompted cannot be told apart: 2.0 points [−")
    assert ", p = 0.83, n = 100; about" in words


def test_a_sentence_never_contradicts_its_interval():
    # Five questions that one arm alone gets right, each of another chart: the interval leaves out 0, the test does not.
    first, second = arms(60, 5, 0, 35)
    words = in_words(compare(("a", "b"), first, second, one_chart_each(first)))
    assert words.startswith("a may beat b, but the exact test does not rule out chance: 5.0 points [1")
    assert "], p = 0.062, n = 100; about " in words
    # Eight that one arm alone gets right, seven of them about one chart: the test is sure, the interval is not.
    first, second = [True] * 8 + [False] * 12, [False] * 20
    charts = ["one"] * 7 + [str(number) for number in range(13)]
    words = in_words(compare(("b", "a"), second, first, charts))
    assert words.startswith(
        "a may beat b, but its interval, which draws whole charts, does not rule out 0: 40.0 points"
    )


def test_unequal_lengths_are_refused():
    with pytest.raises(ValueError, match="equal lengths, got 2, 1 and 2"):
        compare(("a", "b"), [True, False], [True], ["x", "y"])
