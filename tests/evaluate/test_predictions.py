"""Recorded predictions as arms of an evaluation: joined, scored, refused."""

import json
import os
from pathlib import Path

import pytest
from knowing_engine import KnowingEngine, finish, make_examples
from scipy.stats import binomtest

from chartqa_demo.errors import ResultsError
from chartqa_demo.evaluate.__main__ import main
from chartqa_demo.evaluate.predictions import read_predictions

CHARTQA = Path(os.environ.get("CHARTQA_DATA", Path(__file__).parents[3] / "shared" / "chartqa"))


def write_predictions(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def crafted(tmp_path, name, verdicts):
    """Predictions that are right where `verdicts` says so."""
    rows = [
        {
            "image": f"{index}.png",
            "query": "How many?",
            "label": "7",
            "prediction": "7" if right else "9",
            "split": "test_human" if index % 2 else "test_augmented",
        }
        for index, right in enumerate(verdicts)
    ]
    return read_predictions(f"{name}={write_predictions(tmp_path / f'{name}.jsonl', rows)}")


def test_crafted_arms_get_the_mcnemar_p_of_scipy(tmp_path):
    first = crafted(tmp_path, "first", [True] * 60 + [True] * 19 + [False] * 7 + [False] * 14)
    second = crafted(tmp_path, "second", [True] * 60 + [False] * 19 + [True] * 7 + [False] * 14)
    last = finish(None, first.examples(), tmp_path / "run.jsonl", arms=(), predictions=[first, second])
    found = last.results.compare("first", "second", "canonical")
    assert (found.only_first, found.only_second, found.asked) == (19, 7, 100)
    assert found.p == pytest.approx(binomtest(19, 26, 0.5).pvalue, rel=1e-9)


def test_predictions_join_the_engines_arms_by_picture_and_question(tmp_path):
    rows = [
        {"image": f"{number}.png", "query": f"What is {number}?", "label": "x", "prediction": "0", "split": "human"}
        for number in range(1, 4)
    ]
    theirs = read_predictions(f"theirs={write_predictions(tmp_path / 'p.jsonl', rows)}")
    last = finish(KnowingEngine(), make_examples(5), tmp_path / "run.jsonl", predictions=[theirs])
    assert last.results.arms == ("pretrained", "prompted", "adapter", "theirs")
    assert last.results.score("theirs", "canonical").asked == 3
    assert last.results.compare("adapter", "theirs", "canonical").only_first == 3


def test_predictions_for_other_charts_are_refused(tmp_path):
    theirs = crafted(tmp_path, "theirs", [True])
    with pytest.raises(
        ResultsError, match=r"no prediction for any of the 3 questions; it names charts such as “0.png”"
    ):
        finish(KnowingEngine(), make_examples(3), tmp_path / "run.jsonl", predictions=[theirs])


def test_a_line_that_is_no_prediction_is_named(tmp_path):
    path = write_predictions(tmp_path / "p.jsonl", [{"image": "a.png", "query": "?", "label": "1"}])
    with pytest.raises(ResultsError, match=r"Line 1 of .*p.jsonl is not a prediction"):
        read_predictions(f"name={path}")
    with pytest.raises(ResultsError, match="takes NAME=FILE"):
        read_predictions(str(path))


@pytest.mark.skipif(not (CHARTQA / "published_predictions.jsonl").exists(), reason="needs the ChartQA folder")
def test_published_predictions_print_the_known_scores_with_wilson_intervals(tmp_path, capsys):
    file = CHARTQA / "published_predictions.jsonl"
    command = ["--arms", "none", "--predictions", f"Published={file}", "--results-dir", str(tmp_path)]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "80.72 [78.44, 82.81] (1,250)  94.96 [93.60, 96.04] (1,250)  87.84 [86.50, 89.06] (2,500)" in printed
    assert "86.44 [" in printed and "78.92 [" in printed


def test_an_arm_is_compared_with_itself_in_an_earlier_record(tmp_path, capsys):
    for name, right in (("old", [False] * 10 + [True] * 10), ("new", [True] * 20)):
        crafted(tmp_path, name, right)
        record = str(tmp_path / f"{name}-run.jsonl")
        command = ["--arms", "none", "--predictions", f"m={tmp_path / name}.jsonl", "--output", record]
        assert main([*command, *(["--against", str(tmp_path / "old-run.jsonl")] if name == "new" else [])]) == 0
    printed = capsys.readouterr().out
    assert "against the earlier evaluation: m here beats m there by 50.0 points [" in printed
    assert main(["--arms", "none", "--predictions", f"m={tmp_path / 'new'}.jsonl", "--against", "no.jsonl"]) == 2
    assert "There is no evaluation no.jsonl" in capsys.readouterr().err
