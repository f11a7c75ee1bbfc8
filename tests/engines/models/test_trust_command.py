"""What `bench.trust` counts: curves that come out right where the truth is known, and hits against chance."""

import math
import random

import pytest
from PIL import Image

from bench.parts.overlay import Looked, against_chance, cells_on, choose, overlaps
from bench.trust import calibrated, fitted, ranked
from chartqa_demo.engines import Gaze
from chartqa_demo.engines.trust.measured import Curve
from chartqa_demo.evaluate.record import Item


def drawn(curve: Curve, count: int, seed: int) -> tuple[list[float], list[bool]]:
    rng = random.Random(seed)
    odds = [rng.uniform(-3, 6) for _ in range(count)]
    return odds, [rng.random() < curve.of_odds(one) for one in odds]


def test_the_fit_finds_the_curve_that_answers_were_drawn_from() -> None:
    truth = Curve(0.8, -0.5)
    found = fitted(*drawn(truth, 4000, 0))
    assert (found.slope, found.offset) == (pytest.approx(0.8, abs=0.06), pytest.approx(-0.5, abs=0.15))


def test_a_curve_over_right_answers_alone_or_over_none_stays_usable() -> None:
    for odds, right in (([1.0, 2.0, 3.0], [True] * 3), ([1.0], [False]), ([], [])):
        curve = fitted(odds, right)
        assert 0 < curve.slope <= 20 and abs(curve.offset) <= 20 and 0 < curve.of_odds(9.0) <= 1


def test_ranking_counts_pairs_of_a_right_and_a_wrong_answer() -> None:
    assert ranked([3.0, 2.0, 1.0], [True, True, False]) == 1
    assert ranked([1.0, 2.0, 1.0], [True, False, False]) == 0.25
    assert ranked([1.0], [True]) is None


def test_the_calibration_error_of_the_true_curve_is_small_and_of_a_wrong_one_large() -> None:
    truth = Curve(1.0, 0.0)
    odds, right = drawn(truth, 1500, 1)
    items: list[Item] = []
    for n, (one, good) in enumerate(zip(odds, right, strict=True)):
        mean = truth.of_odds(one)
        log = 2 * math.log(mean)  # one token and its end
        items.append(
            Item(
                str(n),
                f"chart {n // 2}",
                "?",
                ("12",),
                "human",
                "",
                {"a": "12" if good else "99"},
                {"a": 1},
                {"a": log},
            )
        )
    good, bad = calibrated(items, "a", truth), calibrated(items, "a", Curve(0.05, 4.0))
    assert good["error"] < 0.04 and bad["error"] > 0.2 and good["charts"] == 750
    assert good["error_interval"][0] <= good["error"] + 0.01 and good["ranked"] == bad["ranked"] > 0.8


def test_cells_of_a_canvas_that_lie_beside_the_picture_are_not_counted() -> None:
    picture = Image.new("RGB", (60, 40))
    cells = cells_on(Gaze(((0.0,) * 3,) * 4, (0.0, 0.0, 1.0, 2.0)), picture)
    assert sorted(cells) == [0, 1, 2, 3, 4, 5, 6, 7, 8] and cells[4] == (20, 20, 40, 40)
    assert overlaps(cells[4], (30, 30, 30, 90)) and not overlaps(cells[4], (41, 0, 50, 90))


def test_an_overlay_is_measured_against_the_better_of_chance_and_middle() -> None:
    found = [
        Looked({"a": frozenset({(3, 0)} if n % 10 else {(1, 1)})}, {"a": n < 50}, 0.1, n % 5 == 0, 0.1)
        for n in range(100)
    ]
    assert choose(found, ["a"]) == {"a": (3, 0)}
    told = against_chance(found, "a", (3, 0))
    assert (told["hits"], told["random"], told["centre"], told["ratio"]) == (90, 0.1, 0.2, 4.5)
    assert told["ratio_interval"][0] < 4.5 < told["ratio_interval"][1]
    assert told["of_right_answers"] == [45, 50] and told["of_wrong_answers"] == [45, 50]
