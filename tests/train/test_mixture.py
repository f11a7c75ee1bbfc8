"""A recipe may train on several data sets by weight, the bundled adapter's own does, for two steps here; and a card
says of a run what was done."""

import json
from pathlib import Path

import pytest
from datasets import Dataset
from train_fixtures import ROOT, table, write_charts, write_config

from chartqa_demo.adapters.contract import Contract
from chartqa_demo.evaluate.tables import figures_of_summary
from train.__main__ import main, parse
from train.data import Data, DataError, shares, shown, train_examples
from train.publish.card import Run, write_card
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


def test_a_further_data_set_of_one_split_is_taken_whole(tmp_path: Path) -> None:
    more = write_charts(tmp_path / "more", train=table(10))
    found = train_examples(Recipe(dataset="charts", mixture=["dataset=1", f"{more}=1"]), str(more), [], seed=1)
    assert len(found) == 10
    assert len(train_examples(Recipe(dataset=str(more)), str(more), [], seed=1)) == 7  # its own val and test stay out


def test_the_bundled_recipe_trains_on_real_and_generated_rows(charts: Path, tmp_path: Path) -> None:
    config = ROOT / "train" / "configs" / "bundled-chartqa.yaml"
    flags = "--max_steps 2 --train_charts 4 --per_device_train_batch_size 2 --use_cpu true --bf16 false"
    output = tmp_path / "run"
    command = ["--config", str(config), "--dataset", str(charts), "--output_dir", str(output), "--test_sample", "1"]
    flags += " --dataloader_num_workers 0 --report_to none --max_new_tokens 4"
    flags += " --min_pixels 3136 --max_pixels 23520"  # small pictures, for a CPU
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


def card(
    folder: Path, base: str = "bundled", model_type: str = "qwen2_vl", data: Data | None = None, *flags: str
) -> str:
    """The card of a run with these flags; its figures are those of the README."""
    recipe, args, _ = parse(["--model_name_or_path", "bundled", "--use_peft", "--output_dir", str(folder), *flags])
    measured = json.loads((ROOT / "results" / "bundled--chartqa-test-all.json").read_text(encoding="utf-8"))
    data = data or Data("ann/charts", Dataset.from_dict({"number": [1, 2]}), Dataset.from_dict({}), [], "train", "test")
    contract = Contract(base, "One line.\nAnother.", max_pixels=9000, seed=args.seed)
    return write_card(
        folder, contract, figures_of_summary(measured), data, Run(recipe, args, model_type, "run")
    ).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ([], "with the loss on the answers alone, seed 42"),
        (["--completion_only_loss", "true"], "with the loss on the answers alone"),
        (["--completion_only_loss", "false"], "with the loss on the prompts and the answers"),
        (["--loss_type", "dft"], "with the loss (dft) on the answers alone"),
        (["--seed", "7"], "seed 7"),
        (["--train_sample", "2"], "drawn with seed 42, with the loss"),
        (["--dataset", "ann/charts"], "datasets:\n- ann/charts\n"),
        (["--dataset", "ann/charts", "--mixture", "ann/more=1", "dataset=2"], "datasets:\n- ann/more\n- ann/charts\n"),
        (["--dataset", "ann/charts", "--mixture", "generated=1", "ann/more=1"], "datasets:\n- ann/more\n"),
    ],
    ids=str,
)
def test_the_card_says_what_the_run_did(flags: list[str], told: str, tmp_path: Path) -> None:
    assert told in card(tmp_path, "bundled", "qwen2_vl", None, "--use_cpu", "--bf16", "false", *flags)


def test_the_card_says_of_the_base_and_the_charts_what_is_true_of_them(tmp_path: Path) -> None:
    flags = "--use_cpu", "--bf16", "false"
    ours = card(tmp_path, "bundled", "qwen2_vl", None, *flags)
    assert "license: apache-2.0" in ours and "- qwen2-vl" in ours and "a small demonstration model" in ours
    other = card(tmp_path, "ann/llama-vision", "mllama", None, *flags)
    for untrue in ("apache", "Apache", "qwen", "small demonstration", "ChartQA's way", "language: en", "0 to "):
        assert untrue not in other.partition("## Measured")[0] + other.partition("## How it was made")[2]
    assert "- mllama" in other and "The licence of the base model holds" in other
    assert "It was shown charts of at most 9,000 pixels" in other and "> One line.\n> Another." in other
