"""Intervals and paired tests for arms that answered the same questions.

Questions about one chart are not independent, so the interval of a difference resamples whole charts; McNemar's exact
test takes questions one by one. A difference counts only when both agree. scipy and statsmodels take more than
a second to import, so functions do it when they are called.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95
POWER = 0.8
RESAMPLES = 10_000
BINS = 10  # of confidence
FEWEST = 6  # discordant questions, all one way, that McNemar's exact test needs to reach p < 0.05: 2 · 0.5⁶ = 0.031


@dataclass(frozen=True)
class Score:
    """`correct` of `asked` questions; accuracy and its 95 % Wilson interval as fractions, None where none was asked."""

    correct: int
    asked: int
    accuracy: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Comparison:
    """Two arms on the questions that both answered: `first` minus `second`, as fractions.

    low, high: 95 % bootstrap interval, clustered by chart, None for fewer than two charts; p: McNemar's exact test,
    two-sided; only_first, only_second: questions that one of them alone got right; questions_needed: how many would
    show a difference of the observed size (80 % power, 5 % level), None without a difference.
    """

    first: str
    second: str
    asked: int
    charts: int
    only_first: int
    only_second: int
    difference: float
    low: float | None
    high: float | None
    p: float
    questions_needed: int | None

    @property
    def significant(self) -> bool:
        """Whether test and interval both say that the arms differ."""
        if self.low is None or self.high is None:
            return False
        return self.p < 1 - CONFIDENCE and not self.low <= 0 <= self.high


@dataclass(frozen=True)
class Bin:
    """Answers of about one confidence: its mean, how many of them are right, and how many there are."""

    confidence: float
    correct: int
    asked: int


def score(correct: int, asked: int) -> Score:
    """Accuracy with its Wilson interval (statsmodels)."""
    from statsmodels.stats.proportion import proportion_confint

    if asked == 0:
        return Score(correct, asked, None, None, None)
    low, high = np.asarray(proportion_confint(correct, asked, alpha=1 - CONFIDENCE, method="wilson")).tolist()
    return Score(correct, asked, correct / asked, low, high)


def reliability(confidences: Sequence[float], right: Sequence[bool]) -> tuple[Bin, ...]:
    """The answers in BINS equal steps of confidence, steps without any left out."""
    steps: dict[int, list[tuple[float, bool]]] = {}
    for one in sorted(zip(confidences, right, strict=True)):
        steps.setdefault(min(int(one[0] * BINS), BINS - 1), []).append(one)
    return tuple(
        Bin(sum(one for one, _ in some) / len(some), sum(good for _, good in some), len(some))
        for some in steps.values()
    )


def calibration_error(bins: Sequence[Bin]) -> float | None:
    """Expected calibration error (Guo et al. 2017, arXiv 1706.04599): how far confidence and accuracy lie apart, mean
    over all answers; None without any."""
    asked = sum(one.asked for one in bins)
    apart = sum(abs(one.confidence * one.asked - one.correct) for one in bins)
    return apart / asked if asked else None


def mcnemar_p(only_first: int, only_second: int) -> float:
    """Two-sided p of McNemar's exact test from the numbers of questions that one arm alone got right (statsmodels)."""
    from statsmodels.stats.contingency_tables import mcnemar

    test = mcnemar([[0, only_first], [only_second, 0]], exact=True)
    return float(test.pvalue)  # pyright: ignore[reportAttributeAccessIssue] (a bunch of named values)


def compare(
    names: tuple[str, str],
    first: Sequence[bool],
    second: Sequence[bool],
    charts: Sequence[str],
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Comparison:
    """Compare two arms question by question; the three sequences run over the same questions.

    Raises ValueError when their lengths differ.
    """
    if not len(first) == len(second) == len(charts):
        raise ValueError(f"Paired answers need equal lengths, got {len(first)}, {len(second)} and {len(charts)}.")
    gains = np.asarray(first, dtype=float) - np.asarray(second, dtype=float)
    only_first, only_second = int((gains > 0).sum()), int((gains < 0).sum())
    _, chart_of = np.unique(np.asarray(charts, dtype=str), return_inverse=True)
    asked_by_chart = np.bincount(chart_of)
    gain_by_chart = np.bincount(chart_of, weights=gains)
    low, high, error = _clustered_interval(gain_by_chart, asked_by_chart, seed, resamples)
    difference = float(gains.mean()) if len(gains) else 0.0
    return Comparison(
        first=names[0],
        second=names[1],
        asked=len(gains),
        charts=len(asked_by_chart),
        only_first=only_first,
        only_second=only_second,
        difference=difference,
        low=low,
        high=high,
        p=mcnemar_p(only_first, only_second),
        questions_needed=_questions_needed(difference, error, len(gains)),
    )


def _clustered_interval(
    gains: np.ndarray, asked: np.ndarray, seed: int, resamples: int
) -> tuple[float | None, float | None, float]:
    """(low, high, standard error) of the mean gain per question when charts are drawn with replacement."""
    from scipy.stats import bootstrap

    if len(asked) < 2:
        return None, None, 0.0
    if not gains.any():
        return 0.0, 0.0, 0.0
    result = bootstrap(
        (gains, asked),
        lambda gain, count, axis: gain.sum(axis=axis) / count.sum(axis=axis),
        paired=True,
        vectorized=True,
        n_resamples=resamples,
        batch=500,  # 1,509 charts × 10,000 resamples at once would take 240 MB
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    interval = result.confidence_interval
    return float(interval.low), float(interval.high), float(result.standard_error)


def _questions_needed(difference: float, error: float, asked: int) -> int | None:
    from statsmodels.stats.power import normal_sample_size_one_tail

    if difference == 0:
        return None
    if error == 0:
        return FEWEST
    spread = error * math.sqrt(asked)  # per question, the effect of charts with several questions included
    needed = normal_sample_size_one_tail(abs(difference), POWER, (1 - CONFIDENCE) / 2, std_null=spread)
    return max(FEWEST, math.ceil(needed))


def in_words(comparison: Comparison, first: str | None = None, second: str | None = None) -> str:
    """The comparison as a sentence; `first` and `second` replace the arms' keys by what a reader knows them as."""
    one, other = first or comparison.first, second or comparison.second
    difference, low, high = comparison.difference, comparison.low, comparison.high
    if difference < 0:  # say who is ahead
        one, other, difference = other, one, -difference
        low, high = (None if high is None else -high), (None if low is None else -low)
    figures = f"{100 * difference:.1f} points"
    figures += " (one chart, no interval)" if low is None or high is None else f" [{_points(low)}, {_points(high)}]"
    figures += f", {_p(comparison.p)}, n = {comparison.asked:,}"
    if comparison.asked == 0:
        return f"{one} and {other} have no question in common yet"
    if comparison.only_first == comparison.only_second == 0:
        return f"{one} and {other} are right on exactly the same questions, n = {comparison.asked:,}"
    if comparison.significant:
        return f"{one} beats {other} by {figures}"
    needed = comparison.questions_needed
    more = "" if needed is None else f"; about {needed:,} questions would show a difference of this size"
    if low is not None and high is not None and not low <= 0 <= high:
        return f"{one} may beat {other}, but the exact test does not rule out chance: {figures}{more}"
    if low is not None and comparison.p < 1 - CONFIDENCE:
        return (
            f"{one} may beat {other}, but its interval, which draws whole charts, does not rule out 0: {figures}{more}"
        )
    return f"{one} and {other} cannot be told apart: {figures}{more}"


def _points(fraction: float) -> str:
    return f"{100 * fraction:.1f}".replace("-", "−").replace("−0.0", "0.0")


def _p(value: float) -> str:
    if value < 0.0001:
        return "p < 0.0001"
    return f"p = {value:.1g}" if value < 0.001 else f"p = {value:.2g}"
