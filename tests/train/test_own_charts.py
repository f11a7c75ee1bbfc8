"""Training on charts of one's own: a folder of few rows, held out by chart, its gain; starts that are refused."""

import json
from pathlib import Path

import pytest
from train_fixtures import ROOT, png, table, write_charts, write_config

from chartqa_demo.data.splits import open_split
from chartqa_demo.evaluate.record import Item, Results
from train.__main__ import main, parse
from train.data import DataError, too_few, without_charts_of
from train.publish import curve
from train.publish.scoring import gain

pytest_plugins = ("train_fixtures",)
pytestmark = pytest.mark.usefixtures("own_dataset_cache")


def folder_of(tmp_path: Path, charts: int) -> Path:
    """Pictures beside one qa.jsonl of two questions each, as people have it."""
    folder = tmp_path / "mine"
    folder.mkdir()
    rows = []
    for number in range(charts):
        (folder / f"{number}.png").write_bytes(png(number))
        rows += [{"image": f"{number}.png", "question": f"What is bar {ask}?", "answer": number} for ask in (1, 2)]
    rows.append({"image": "0.png", "question": "And this?", "answer": None})
    rows.append({"image": "lost.png", "question": "And this?", "answer": 1})
    (folder / "qa.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def test_a_folder_of_twenty_rows_trains_and_says_the_gain(
    tiny_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = folder_of(tmp_path, 10)
    changes = {"skip_bad_rows": True, "report_to": "none", "max_steps": 2, "eval_strategy": "no", "accuracy_sample": 0}
    assert main(write_config(tmp_path, tiny_base, folder, **changes)) == 0
    printed = capsys.readouterr().out
    assert "cut off by chart with seed 0" in printed
    assert "qa.jsonl line 22: its picture lost.png is not in the folder" in printed
    assert "Few rows: 14 to train on, 4 held-out questions about 2 charts. With so few no gain can be told" in printed
    assert "Gain: " in printed and "over the prompted base on 4 questions about 2 held-out charts" in printed
    settings = json.loads((tmp_path / "run" / "results.json").read_text(encoding="utf-8"))
    held_out = {open_split(str(folder), "all").by_id(name).chart for name in settings["sample"]}
    assert not held_out & {one.chart for one in open_split(str(folder), "train")}


def test_a_held_out_chart_is_held_out_with_all_of_its_questions(capsys: pytest.CaptureFixture[str]) -> None:
    everything = list(open_split("bundled"))
    held_out = everything[:1]
    left = without_charts_of(everything, held_out)
    same = sum(one.chart == held_out[0].chart for one in everything)
    assert len(left) == len(everything) - same
    assert f"{same} training rows left out" in capsys.readouterr().out
    with pytest.raises(DataError, match="also held out"):
        without_charts_of(held_out, held_out)


def test_few_rows_are_told_with_the_gain_that_they_cannot_tell() -> None:
    examples = list(open_split("bundled"))
    assert too_few(20, examples[:60]) is None
    assert "a gain below 30 points cannot be told" in str(too_few(100, examples[:20]))
    assert "no gain can be told" in str(too_few(100, examples[:5]))
    assert "Few rows: 19 to train on" in str(too_few(19, examples[:60]))


def test_the_gain_has_its_interval_and_says_when_it_can_be_chance() -> None:
    def results(right: int) -> Results:
        items = [
            Item(f"t/{i}", f"c{i}", "?", ("5",), "human", "", {"prompted": "9", "adapter": "5" if i < right else "9"})
            for i in range(40)
        ]
        arms = {"prompted": {"title": "P"}, "adapter": {"title": "A"}}
        return Results({"arms": arms, "sample": [one.id for one in items]}, tuple(items))

    assert gain(results(20)).startswith("+50.0 points [+35.0, +65.0] over the prompted base on 40 questions about 40")
    assert gain(results(2)).endswith("; that can be chance.")


def test_the_config_for_ones_own_charts_is_for_a_cpu_and_the_bundled_base() -> None:
    config = str(ROOT / "train/configs/own-charts.yaml")
    recipe, args, model_args = parse(["--config", config, "--dataset", "mine"])
    assert (recipe.dataset, model_args.model_name_or_path, args.use_cpu) == ("mine", "bundled", True)
    assert args.max_length is None and recipe.skip_bad_rows


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--report_to", "nowhere"], "report_to is 'nowhere'; it has to be one of none, "),
        (["--report_to", "dvclive"], "report_to: dvclive needs the package dvclive: pip install dvclive"),
        (["--max_length", "256"], "max_length is 256, and a chart with its question can have about "),
        (["--dataset", "nowhere"], "“nowhere” is neither bundled, nor a folder on this machine, nor a Hub id"),
    ],
)
def test_a_start_that_cannot_work_is_one_sentence_before_any_weights(
    flags: list[str],
    sentence: str,
    tiny_base: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    charts = write_charts(tmp_path / "charts", train=table(2), val=table(1, 100), test=table(1, 200))
    monkeypatch.setattr("train.base.load", lambda *_: pytest.fail("weights were loaded"))
    assert main([*write_config(tmp_path, tiny_base, charts), *flags]) == 2
    (told,) = capsys.readouterr().err.strip().splitlines()[-1:]
    assert told.startswith(f"error: {sentence}")


def finished_run(folder: Path, right: int, split: str = "val") -> Path:
    score = {"correct": right, "asked": 40, "accuracy": right / 40, "low": 0.1, "high": 0.9}
    scores = {
        rule: {"adapter": dict.fromkeys(("human", "machine", "all"), score)} for rule in ("canonical", "tolerant")
    }
    settings = {
        "dataset": "charts",
        "split": split,
        "limit": None,
        "planned": 40,
        "complete": True,
        "date": "2026-11-29",
    }
    folder.mkdir()
    found = settings | {"versions": {}, "arms": {"adapter": {}}, "scores": scores}
    (folder / "results.json").write_text(json.dumps(found), encoding="utf-8")
    (folder / "run.json").write_text(json.dumps({"command": f"python -m train --seed {right}"}), encoding="utf-8")
    return folder


def test_a_learning_curve_sets_runs_in_the_order_of_their_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few, many = finished_run(tmp_path / "few", 10), finished_run(tmp_path / "many", 30)
    assert curve.main([str(tmp_path / "curve.json"), f"2520={many}", f"0={few}"]) == 0
    points = json.loads((tmp_path / "curve.json").read_text(encoding="utf-8"))["points"]
    assert [(one["rows"], one["scores"]["tolerant"]["adapter"]["all"]["correct"]) for one in points] == [
        (0, 10),
        (2520, 30),
    ]
    assert "| 2,520 | 75.0 [10.0, 90.0] |" in capsys.readouterr().out


def test_a_learning_curve_of_different_questions_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = finished_run(tmp_path / "first", 10), finished_run(tmp_path / "second", 12, "test")
    assert curve.main([str(tmp_path / "curve.json"), f"0={first}", f"9={second}"]) == 2
    assert curve.main([str(tmp_path / "curve.json"), f"many={first}"]) == 2
    told = capsys.readouterr().err
    assert "answered different questions" in told and "is no ROWS=FOLDER" in told
    assert not (tmp_path / "curve.json").exists()
