"""What charts are called: ChartQA by what it holds, a part of it never as the whole."""

import os
from pathlib import Path

import pytest
from knowing_engine import KnowingEngine, finish, make_examples

from chartqa_demo.data.names import is_chartqa, questions_title, split_title
from chartqa_demo.data.splits import open_split
from chartqa_demo.evaluate.tables import heading

CHARTQA = Path(os.environ.get("CHARTQA_DATA", Path(__file__).parents[3] / "shared" / "chartqa"))


@pytest.mark.parametrize(
    ("dataset", "split", "asked", "more", "title"),
    [
        ("chartqa", "test", 250, {}, "a 250-question sample of ChartQA's test split"),
        ("HuggingFaceM4/ChartQA", "test", 2_500, {}, "all 2,500 questions of ChartQA's test split"),
        ("HuggingFaceM4/ChartQA", "test", 2_500, {"limit": 5_000}, "all 2,500 questions of ChartQA's test split"),
        ("ChartQA", "train", 28_299, {}, "all 28,299 questions of ChartQA's train split"),
        ("ChartQA", "test", 1_250, {}, "a 1,250-question sample of ChartQA's test split"),
        ("ChartQA", "test", 1_250, {"kind": "human"}, "all 1,250 human questions of ChartQA's test split"),
        ("ChartQA", "val", 90, {"kind": "human"}, "a 90-question sample of the human questions of ChartQA's val split"),
        (
            "ChartQA",
            "test",
            200,
            {"limit": 200, "seed": 3},
            "a 200-question sample of ChartQA's test split, drawn with seed 3",
        ),
        ("ChartQA", "test[:10%]", 250, {}, "a 250-question sample of ChartQA's test[:10%] split"),
        ("mine", "test", 2_500, {"chartqa": True}, "all 2,500 questions of ChartQA's test split"),
        ("mine", "test", 40, {}, "all 40 questions of the test split of mine"),
        ("bundled", "test", 64, {"limit": 100, "seed": 0}, "all 64 questions of the bundled charts"),
        ("bundled", "test", 20, {"limit": 20, "seed": 0}, "20 questions of the bundled charts, drawn with seed 0"),
        ("generated", "seeds 0 to 9", 10, {}, "10 questions of generated charts (seeds 0 to 9)"),
        ("predictions.jsonl", "recorded", 2_500, {}, "all 2,500 questions of predictions.jsonl"),
    ],
)
def test_a_sample_is_called_a_sample_and_the_whole_the_whole(dataset, split, asked, more, title):
    assert questions_title(dataset, split, asked, **more) == title


def test_a_folder_is_called_by_its_name_alone(tmp_path):
    (tmp_path / "mine").mkdir()
    assert split_title(str(tmp_path / "mine"), "val") == "the val split of mine"


@pytest.mark.skipif(not CHARTQA.is_dir(), reason="needs the ChartQA folder")
def test_chartqa_is_known_by_its_charts_whatever_the_folder_is_called(tmp_path):
    (tmp_path / "mine").symlink_to(CHARTQA)
    split = open_split(str(tmp_path / "mine"), "test")
    assert is_chartqa("mine", split)
    last = finish(KnowingEngine(), list(split)[:2], tmp_path / "run.jsonl", about={"dataset": "mine", "split": "test"})
    assert heading(last.results.settings).endswith(" on a 2-question sample of ChartQA's test split")


def test_other_charts_are_not_taken_for_chartqa():
    assert not is_chartqa("mine", make_examples(3))
    assert not is_chartqa("mine")
    assert not is_chartqa("bundled", open_split("bundled"))
