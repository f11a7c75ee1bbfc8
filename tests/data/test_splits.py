"""Opening splits: a parquet folder in the Hub’s layout made here, a bundled folder, and the real one if at hand."""

import json
import os
import shutil
from io import BytesIO
from pathlib import Path

import datasets
import pytest
from PIL import Image
from train_fixtures import table, write_charts

from chartqa_demo.data import splits as dataset
from chartqa_demo.data.splits import draw_examples, open_split, publisher
from chartqa_demo.engines.scripted import ScriptedEngine
from chartqa_demo.errors import ChartError, DatasetError
from chartqa_demo.settings import Settings
from chartqa_demo.ui.evaluate.choices import Choices

CHARTQA = Path(os.environ.get("CHARTQA_DATA", Path(__file__).parents[3] / "shared" / "chartqa"))


def png(colour, size=(40, 30)):
    buffer = BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


ROWS = [
    # file name, bytes, question, label, human (0) or machine (1); two charts, one of them under two names
    ("two_col_1.png", png("red"), "How many bars?", ["5"], 1),
    ("166.png", png("blue", (60, 40)), "Which is blue?", ["Brazil", "BR"], 0),
    ("two_col_9.png", png("red"), "Which is largest?", ["Chile"], 0),
    ("OECD_X.png", b"\x89PNG not a picture", "What is it?", ["nothing"], 1),
]


def write_split(folder, columns, split="test"):
    image = datasets.Image(decode=False)
    features = datasets.Features(
        {
            name: image if name == "image" else datasets.features.features.generate_from_dict(kind)
            for name, kind in columns["features"].items()
        }
    )
    rows = datasets.Dataset.from_dict(columns["values"], features=features)
    (folder / "data").mkdir(exist_ok=True)
    rows.to_parquet(str(folder / "data" / f"{split}-00000-of-00001.parquet"))


TEXT = {"dtype": "string", "_type": "Value"}
TEXTS = {"feature": TEXT, "_type": "List"}
NUMBER = {"dtype": "int64", "_type": "Value"}


@pytest.fixture(scope="module")
def hub_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("charts")
    write_split(
        folder,
        {
            "features": {"image": None, "query": TEXT, "label": TEXTS, "human_or_machine": NUMBER},
            "values": {
                "image": [{"bytes": data, "path": name} for name, data, *_ in ROWS],
                "query": [row[2] for row in ROWS],
                "label": [row[3] for row in ROWS],
                "human_or_machine": [row[4] for row in ROWS],
            },
        },
    )
    return folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def test_rows_become_examples_with_stable_ids(hub_folder):
    split = open_split(str(hub_folder), "test")
    assert [one.id for one in split] == ["test/0", "test/1", "test/2", "test/3"]
    assert [one.question for one in split] == [row[2] for row in ROWS]
    assert [one.kind for one in split] == ["machine", "human", "human", "machine"]
    assert split[1].gold == ("Brazil", "BR")
    assert split.by_id("test/2") is split[2]


def test_folders_of_one_name_are_not_taken_for_each_other(tmp_path):
    first = write_charts(tmp_path / "first" / "charts", train=table(2), test=table(2))
    second = write_charts(tmp_path / "second" / "charts", train=table(3), test=table(1))
    assert [len(open_split(str(folder), "train")) for folder in (first, second, first)] == [2, 3, 2]


def test_a_folder_that_was_written_anew_is_read_anew(tmp_path):
    charts = write_charts(tmp_path / "charts", train=table(2), test=table(2))
    assert len(open_split(str(charts), "train")) == 2
    shutil.rmtree(charts)
    write_charts(charts, train=table(3), test=table(2))
    assert len(open_split(str(charts), "train")) == 3


def test_a_chart_is_known_by_its_bytes_whatever_its_file_name(hub_folder):
    split = open_split(str(hub_folder), "test")
    assert split[0].chart == split[2].chart != split[1].chart
    assert [one.id for one in split.questions_of(split[2].chart)] == ["test/0", "test/2"]
    assert split.questions_of("unknown") == ()


def test_a_damaged_picture_fails_when_it_is_loaded_and_not_before(hub_folder):
    split = open_split(str(hub_folder), "test")
    assert split[1].load_image().size == split[1].image_size() == (60, 40)
    assert split[3].image_size() == (0, 0)
    with pytest.raises(ChartError):
        split[3].load_image()


def test_a_random_example_honours_the_kind(hub_folder):
    split = open_split(str(hub_folder), "test")
    assert {split.random_example("human", seed).id for seed in range(20)} == {"test/1", "test/2"}
    assert {split.random_example(None, seed).chart for seed in range(30)} == {one.chart for one in split}
    assert split.random_example(seed=3) == split.random_example(seed=3)


def test_a_kind_that_a_split_lacks_is_a_sentence(hub_folder):
    human = dataset.Split("charts", "test", tuple(one for one in open_split(str(hub_folder)) if one.kind == "human"))
    with pytest.raises(DatasetError, match="no question of the kind “machine”"):
        human.random_example("machine")


def test_a_sample_is_seeded_without_repeats_and_in_order(hub_folder):
    split = open_split(str(hub_folder), "test")
    drawn = [tuple(one.id for one in draw_examples(split, 2, seed)) for seed in range(20)]
    assert drawn == [tuple(one.id for one in draw_examples(split, 2, seed)) for seed in range(20)]
    assert len(set(drawn)) > 3
    assert all(len(set(ids)) == 2 and list(ids) == sorted(ids) for ids in drawn)
    assert len(draw_examples(split, None)) == len(draw_examples(split, 100)) == 4
    assert [one.id for one in draw_examples(split, None, kind="machine")] == ["test/0", "test/3"]


def test_a_missing_split_is_refused_with_the_splits_there_are(hub_folder):
    with pytest.raises(DatasetError, match="has no split “train”; its splits are test"):
        open_split(str(hub_folder), "train")


def test_missing_columns_are_named_with_those_there_are(tmp_path):
    write_split(
        tmp_path,
        {
            "features": {"image": None, "query": TEXT},
            "values": {"image": [{"bytes": png("red"), "path": "a.png"}], "query": ["?"]},
        },
    )
    with pytest.raises(DatasetError, match=r"no column “label” \(its columns are image, query\)"):
        open_split(str(tmp_path), "test")


def test_the_columns_of_lmms_lab_are_read_too(tmp_path):
    write_split(
        tmp_path,
        {
            "features": {"image": None, "question": TEXT, "answer": TEXT, "type": TEXT},
            "values": {
                "image": [{"bytes": png("red"), "path": None}] * 2,
                "question": ["a?", "b?"],
                "answer": ["1", "2"],
                "type": ["human_test", "augmented_test"],
            },
        },
    )
    split = open_split(str(tmp_path), "test")
    assert [(one.question, one.gold, one.kind, one.source) for one in split] == [
        ("a?", ("1",), "human", "other"),
        ("b?", ("2",), "machine", "other"),
    ]


def test_a_name_that_is_nothing_is_refused_in_a_sentence():
    with pytest.raises(DatasetError, match=r"^“no such thing” is neither bundled, nor a folder"):
        open_split("no such thing", "test")


def test_an_unreachable_hub_is_a_sentence_with_the_way_out(monkeypatch):
    def unreachable(*_args, **_kwargs):
        raise ConnectionError("Couldn't reach it")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with pytest.raises(DatasetError, match=r"Hub cannot be reached.*take a local folder or bundled"):
        open_split("someone/charts", "test")


def test_bundled_charts_are_read_from_their_folder(tmp_path, monkeypatch):
    (tmp_path / "red.png").write_bytes(png("red"))
    row = {"id": "red-0", "image": "red.png", "query": "Q?", "label": "5", "human_or_machine": 0, "kind": "bar"}
    (tmp_path / "qa.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    monkeypatch.setattr(dataset, "BUNDLED_CHARTS", tmp_path)
    (one,) = open_split("bundled", "test")
    assert (one.id, one.question, one.gold, one.kind, one.source) == ("red-0", "Q?", ("5",), "human", "bar")
    assert one.load_image().getpixel((0, 0)) == (255, 0, 0)
    with pytest.raises(DatasetError, match="one split, test; there is no “val”"):
        open_split("bundled", "val")


@pytest.mark.parametrize(
    ("file_name", "expected"),
    [
        ("two_col_104268.png", "Statista"),
        ("multi_col_12.png", "Statista"),
        ("OECD_TAX.png", "OECD"),
        ("41699051005347.png", "Our World in Data"),
        ("8127.png", "Pew"),
        ("chart.png", "other"),
        ("", "other"),
    ],
)
def test_the_file_name_tells_the_publisher(file_name, expected):
    assert publisher(file_name) == expected


@pytest.mark.skipif(not (CHARTQA / "data").is_dir(), reason="needs the ChartQA folder")
def test_the_real_test_split_opens_and_every_chart_decodes():
    split = open_split(str(CHARTQA), "test")
    assert len(split) == 250
    assert [sum(one.kind == kind for one in split) for kind in ("human", "machine")] == [164, 86]
    assert len({one.chart for one in split}) == 137
    assert {one.source for one in split} == {"Statista", "OECD", "Our World in Data", "Pew"}
    assert all(one.load_image().mode == "RGB" for one in draw_examples(split, 20))


def test_the_splits_of_a_data_set_are_listed(hub_folder):
    assert dataset.split_names(str(hub_folder)) == ("test",)
    assert dataset.split_names("bundled") == ("test",)
    with pytest.raises(DatasetError, match="neither bundled, nor a folder"):
        dataset.split_names("nothing here")


def test_a_folder_whose_readme_or_links_lead_outside_is_not_read(tmp_path):
    theirs = write_charts(tmp_path / "theirs", test=table(2))
    inside = theirs / "data" / "test-00000-of-00001.parquet"
    for number, pattern in enumerate(("../theirs/data/test-*.parquet", str(inside))):
        mine = write_charts(tmp_path / f"mine{number}", test=table(1))
        readme = (mine / "README.md").read_text(encoding="utf-8")
        (mine / "README.md").write_text(readme.replace("data/test-*.parquet", pattern), encoding="utf-8")
        with pytest.raises(DatasetError, match="names data files outside of itself"):
            open_split(str(mine), "test")
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "test-00000-of-00001.parquet").symlink_to(inside)
    with pytest.raises(DatasetError, match="names data files outside of itself"):
        open_split(str(tmp_path / "linked"), "test")


def test_a_folder_is_read_once_for_its_questions_and_the_names_of_its_splits(tmp_path, monkeypatch):
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        Image.new("RGB", (40, 40)).save(tmp_path / split / "a.png")
        row = json.dumps({"file_name": "a.png", "query": "Q?", "label": "5"})
        (tmp_path / split / "metadata.jsonl").write_text(row + "\n", encoding="utf-8")
    assert set(open_split(str(tmp_path), "test").splits) == set(dataset.split_names(str(tmp_path))) == {"train", "test"}
    read = []
    whole = dataset.read_folder
    monkeypatch.setattr(dataset, "read_folder", lambda *given: read.append(given) or whole(*given))
    settings = Settings(dataset=str(tmp_path))
    choices = Choices(ScriptedEngine(), settings, open_split(str(tmp_path), "test"))
    assert (str(tmp_path), "train") in choices.charts
    assert len(read) == 1
