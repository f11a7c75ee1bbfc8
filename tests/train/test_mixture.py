"""A recipe may train on several data sets by weight; the bundled adapter's own does, for two steps here."""

import json
from pathlib import Path

import pytest
from train_fixtures import ROOT, table, write_charts, write_config

from train.__main__ import main
from train.data import DataError, shares, shown, train_examples
from train.recipe import Recipe

pytest_plugins = ("train_fixtures",)
pytestmark = pytest.mark.usefixtures("own_dataset_cache")


def test_without_a_mixture_the_data_set_is_shown_once() -> None:
    assert shares(Recipe()) == {"dataset": 1.0}


def test_a_weight_says_how_often_rows_are_shown() -> None:
    rows = [lambda number=number: {"number": number} for number in range(10)]
    numbers = [row()["number"] for row in shown(rows, 2.5, seed=1)]
    assert len(numbers) == 25
    assert {numbers.count(number) for number in range(10)} == {2, 3}
    assert numbers == [row()["number"] for row in shown(rows, 2.5, seed=1)]


@pytest.mark.parametrize("entry", ["dataset", "dataset=0", "dataset=-1", "=3", "dataset=many", "dataset=nan"])
def test_an_entry_without_a_weight_is_a_sentence(entry: str) -> None:
    with pytest.raises(DataError, match="is not NAME=WEIGHT"):
        shares(Recipe(mixture=[entry]))


def test_charts_can_be_left_out_by_name_and_rows_drawn(tmp_path: Path) -> None:
    rows = table(6)
    for number, row in enumerate(rows):
        row["image"]["path"] = f"chart_{number}.png"
    charts = write_charts(tmp_path / "charts", train=rows, val=table(1, 100), test=table(1, 200))
    recipe = Recipe(dataset=str(charts), leave_out=["chart_2"])
    found = train_examples(recipe, str(charts), [], seed=1)
    assert [example.file_name for example in found] == [f"chart_{number}.png" for number in (0, 1, 3, 4, 5)]
    assert len(train_examples(Recipe(dataset=str(charts), train_sample=2), str(charts), [], seed=1)) == 2


def test_the_bundled_recipe_trains_on_real_and_generated_rows(charts: Path, tmp_path: Path) -> None:
    config = ROOT / "train" / "configs" / "bundled-chartqa.yaml"
    flags = "--max_steps 2 --train_charts 4 --per_device_train_batch_size 2 --use_cpu true --bf16 false"
    output = tmp_path / "run"
    command = ["--config", str(config), "--dataset", str(charts), "--output_dir", str(output), "--test_sample", "1"]
    flags += " --dataloader_num_workers 0 --report_to none --max_new_tokens 4"
    assert main([*command, *flags.split()]) == 0
    assert json.loads((output / "adapter_config.json").read_text("utf-8"))["base_model_name_or_path"] == "bundled"
    card = (output / "README.md").read_text("utf-8")
    assert "tiny-charts, train, each row shown 6 times; 4 generated charts, each shown 1 times" in card
    assert str(tmp_path) not in card


def test_like_sizes_do_not_go_with_a_mixture(
    tiny_base: Path, charts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = write_config(tmp_path, tiny_base, charts, mixture=["dataset=2", "generated=1"], like_sizes=True)
    assert main(command) == 2
    assert "like_sizes" in capsys.readouterr().err
