"""A recipe may train on several data sets by weight, the bundled adapter's own does, for two steps here; charts shown
again may be moved; and a card says of a run what was done."""

import json
import random
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset
from PIL import Image, ImageChops, ImageDraw
from train_fixtures import ROOT, table, write_charts, write_config

from chartqa_demo.adapters.contract import Contract
from chartqa_demo.evaluate.tables import figures_of_summary
from chartqa_demo.images import fit_canvas
from train.__main__ import main, parse
from train.data import Data, DataError, as_dataset, open_data, shares, shown, train_examples
from train.data.augment import moved
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
    said = "tiny-charts, train, each row shown 9 times, moved on its page and resampled all but the first time; "
    assert said + "4 generated charts, each shown 1 times" in card
    assert str(tmp_path) not in card


def test_like_sizes_do_not_go_with_a_mixture(
    tiny_base: Path, charts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = write_config(tmp_path, tiny_base, charts, mixture=["dataset=2", "generated=1"], like_sizes=True)
    assert main(command) == 2
    assert "like_sizes" in capsys.readouterr().err


@pytest.mark.parametrize("weight", [1, 2.5])
def test_every_row_that_is_shown_has_its_size(weight: float, tmp_path: Path) -> None:
    rows = table(4)
    for number, row in enumerate(rows):
        file = BytesIO()
        Image.new("RGB", (100, 100 + 50 * number)).save(file, "PNG")
        row["image"]["bytes"] = file.getvalue()
    charts = write_charts(tmp_path / "charts", train=rows, val=table(1, 100), test=table(1, 200))
    data = open_data(Recipe(dataset=str(charts), mixture=[f"dataset={weight}"], like_sizes=True), seed=1)
    assert data.sizes == tuple(image.width * image.height // 784 + 100 for image in pictures(data.train))
    assert len(data.sizes) == 4 * weight and len(set(data.sizes)) == 4


CANVASES = [(644, 476), (476, 644)]  # the bundled base's


def pictures(rows: Any, canvases: list[tuple[int, int]] | None = None) -> list[Image.Image]:
    return [row["images"][0] for row in as_dataset(rows, canvases)]


def test_a_chart_that_is_shown_again_is_moved_every_time_another_way_and_the_same_way_in_another_run(
    charts: Path,
) -> None:
    recipe = Recipe(dataset=str(charts), mixture=["dataset=3.5", "generated=2"], train_charts=2, move_charts=True)
    data, still = open_data(recipe, 5), open_data(replace(recipe, move_charts=False), 5)
    rows = (len(data.train) - 4) * 2 // 7
    assert rows >= 2
    for canvases in (None, CANVASES):
        found, unmoved = pictures(data.train, canvases), pictures(still.train, canvases)
        assert found[:rows] == unmoved[:rows] == unmoved[rows : 2 * rows]  # the first time a row is as it is
        assert found[-4:] == unmoved[-4:]  # generated charts
        of_rows = found[:-4]
        assert len({image.tobytes() for image in of_rows}) == len(of_rows) == 3 * rows + rows // 2
        assert found == pictures(open_data(recipe, 5).train, canvases)
        assert found[rows : 2 * rows] != pictures(open_data(recipe, 6).train, canvases)[rows : 2 * rows]
    assert pictures(data.val) == pictures(still.val)
    assert [one.read() for one in data.held_out] == [one.read() for one in still.held_out]
    answers = [row["completion"] for row in as_dataset(data.train)]
    assert answers == [row["completion"] for row in as_dataset(still.train)]


def test_charts_stay_unless_the_recipe_moves_them() -> None:
    flags = "--model_name_or_path bundled --use_peft --use_cpu --bf16 false"
    assert parse(flags.split())[0].move_charts is False


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, "set a weight above 1"),
        ({"mixture": ["dataset=1", "generated=4"]}, "set a weight above 1"),
        ({"dataset": "generated", "mixture": ["dataset=2"]}, "set a weight above 1"),
        ({"mixture": ["dataset=2"], "like_sizes": True}, "set one of the two"),
    ],
    ids=str,
)
def test_moves_that_cannot_be_are_a_sentence(changes: dict[str, Any], told: str, charts: Path) -> None:
    with pytest.raises(DataError, match=told):
        open_data(Recipe(**{"dataset": str(charts), "move_charts": True} | changes), seed=1)


def test_a_card_says_that_charts_were_moved(charts: Path) -> None:
    recipe = Recipe(dataset=str(charts), mixture=["dataset=6", "generated=2"], train_charts=3, move_charts=True)
    assert open_data(recipe, 1).mixture == (
        "tiny-charts, train, each row shown 6 times, moved on its page and resampled all but the first time; "
        "3 generated charts, each shown 2 times"
    )


def reach(image: Image.Image, channel: int) -> tuple[int, int]:
    """How wide and high what is red (0), green (1) or blue (2) is."""
    pixels = np.asarray(image).astype(int)
    others = np.delete(pixels, channel, axis=2).max(axis=2)
    box = Image.fromarray((pixels[:, :, channel] - others > 100).astype(np.uint8)).getbbox()
    assert box is not None
    return box[2] - box[0], box[3] - box[1]


@pytest.mark.parametrize(
    "paper",
    [(255, 255, 255), *(pytest.param(one, marks=pytest.mark.campaign) for one in ((244, 240, 230), (40, 40, 50)))],
    ids=str,
)
def test_nothing_but_margin_is_cut_from_a_chart_that_is_moved(paper: tuple[int, int, int]) -> None:
    for seed in range(20):
        chance = random.Random(seed)
        page = Image.new("RGB", (3 * chance.randint(200, 300), chance.randint(400, 700)), paper)
        third = page.width // 3
        for channel, colour in enumerate(("red", "lime", "blue")):
            x = channel * third + chance.choice([0, chance.randint(0, third - 40), third - 40])
            y = chance.choice([0, chance.randint(0, page.height - 40), page.height - 40])
            page.paste(colour, (x, y, x + 40, y + 40))
        after = moved(page, chance)
        sides = [side for channel in range(3) for side in reach(after, channel)]
        assert min(sides) > 0.65 * 40 and max(sides) < 1.35 * 40, seed
        assert max(sides) - min(sides) <= 4, (seed, sides)  # a mark that is cut is shorter than the others


@pytest.mark.parametrize("thick", [2, 3])
def test_a_frame_at_the_edge_stays_whole_and_is_not_taken_for_paper(thick: int) -> None:
    page = Image.new("RGB", (640, 480), "white")
    ImageDraw.Draw(page).rectangle((0, 0, 639, 479), outline="black", width=thick)
    for seed in range(20):
        after = moved(page, random.Random(seed))
        dark = np.asarray(after.convert("L")) < 170
        rows, columns = np.flatnonzero(dark.mean(axis=1) > 0.7), np.flatnonzero(dark.mean(axis=0) > 0.7)
        assert {int(np.median(dark[row])) for row in rows} == {1}
        assert len(rows) >= 2 and len(columns) >= 2
        assert rows[-1] - rows[0] > 300 and columns[-1] - columns[0] > 400
        assert min(after.getpixel((0, after.height // 2 + 40)), after.getpixel((after.width - 1, 40))) > (200, 200, 200)


def test_a_moved_chart_has_another_size_and_place_on_the_canvas_and_nearly_its_shape() -> None:
    page = Image.new("RGB", (800, 557), "white")
    page.paste("black", (12, 12, 788, 540))
    page.paste("lime", (200, 150, 600, 450))
    (was,) = [reach(fit_canvas(page, CANVASES).image, 1)]
    found, places = [], set()
    for seed in range(60):
        canvas = fit_canvas(moved(page, random.Random(seed)), CANVASES, cut=False).image
        found.append(reach(canvas, 1))
        places.add(ImageChops.invert(canvas.convert("L")).point([0] * 128 + [255] * 128).getbbox())
    scales = [wide / was[0] for wide, _ in found]
    assert 0.78 < min(scales) < 0.87 and 1.0 < max(scales) < 1.16
    assert max(abs(wide / high / (was[0] / was[1]) - 1) for wide, high in found) < 0.07  # 6 %, and a pixel's rounding
    assert len(places) > 50


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L", "1"])
def test_charts_of_every_mode_can_be_moved(mode: str) -> None:
    page = Image.new("RGBA", (300, 200), (0, 0, 0, 0) if mode in ("RGBA", "LA") else (255, 255, 255, 255))
    page.paste("black", (100, 50, 200, 150))
    after = moved(page.convert(mode), random.Random(1))
    assert after.mode == "RGB"
    assert min(after.getpixel((0, 0))) > 200 and max(after.getpixel((after.width // 2, after.height // 2))) < 60


@pytest.mark.parametrize("box", [None, (0, 0, 1, 1), (150, 0, 151, 200)], ids=["empty", "a dot", "a line"])
def test_a_page_with_nearly_nothing_on_it_stays_a_page(box: tuple[int, int, int, int] | None) -> None:
    page = Image.new("RGB", (300, 200), "white")
    if box:
        page.paste("black", box)
    after = moved(page, random.Random(1))
    assert after.width >= 300 and after.height >= 200


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
