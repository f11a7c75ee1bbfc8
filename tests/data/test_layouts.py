"""Twenty layouts that people have, each opened with so many questions or refused in a sentence; and what is read."""

import json
import os
import shutil
from pathlib import Path

import datasets
import pytest
from knowing_engine import png as grey

from chartqa_demo.data import folders
from chartqa_demo.data.splits import Columns, open_split, split_names
from chartqa_demo.errors import DatasetError

CHARTQA = Path(os.environ.get("CHARTQA_DATA", Path(__file__).parents[3] / "shared" / "chartqa"))


def png(number):
    return grey(40, 10 * number)


def write_parquet(folder, values, split="test"):
    features = datasets.Dataset.from_dict({k: v for k, v in values.items() if k != "image"}).features
    features = datasets.Features({"image": datasets.Image(decode=False), **features})
    (folder / "data").mkdir(parents=True)
    rows = datasets.Dataset.from_dict(values, features=features)
    rows.to_parquet(str(folder / "data" / f"{split}-00000-of-00001.parquet"))


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


def pictures(folder: Path, names=("a.png", "b.png", "c.png")) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(png(number))
    return folder


def lines(path: Path, *rows) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def three(image="image", question="query", label="label", answers=(["19"], "0.10", "5")):
    return [{image: f"{name}.png", question: f"What is {name}?", label: answers[i]} for i, name in enumerate("abc")]


def pngs_with_qa_jsonl(folder):
    lines(pictures(folder) / "qa.jsonl", *three())


def metadata_jsonl_without_kind(folder):
    lines(pictures(folder / "test") / "metadata.jsonl", *three("file_name"))


def metadata_csv(folder):
    text = "file_name,query,label,human_or_machine\na.png,Q?,19,0\nb.png,R?,0.10,1\nc.png,S?,NA,0\n"
    (pictures(folder / "test") / "metadata.csv").write_text(text, encoding="utf-8")


def csv_with_image_paths(folder):
    pictures(folder / "images")
    (folder / "questions.csv").write_text(
        "image_path;question;answer\nimages/a.png;Q?;1 234\nimages/b.png;R?;4,5\n", encoding="utf-8-sig"
    )


def csv_with_paths_of_another_machine(folder):
    pictures(folder / "images")
    (folder / "q.csv").write_text("image_path,question,answer\nC:\\home\\a.png,Q?,1\n/mnt/x/b.png,R?,2\n")


def original_release(folder):
    for split in ("train", "val", "test"):
        pictures(folder / split / "png", ("10.png", "two_col_20.png"))
        (folder / split / "tables").mkdir()
        (folder / split / "tables" / "10.csv").write_text("Year,Value\n2010,4\n")
        for kind, name in (("human", "10.png"), ("augmented", "two_col_20.png")):
            rows = [{"imgname": name, "query": "Q?", "label": "2010"}]
            (folder / split / f"{split}_{kind}.json").write_text(json.dumps(rows))


def metadata_above_the_splits(folder):
    pictures(folder, ("train/a.png", "test/b.png", "val/c.png"))
    names = zip(("train/a", "test/b", "val/c"), three("file_name"), strict=True)
    lines(folder / "metadata.jsonl", *[row | {"file_name": f"{name}.png"} for name, row in names])


def validation_folder(folder):
    lines(pictures(folder / "train") / "metadata.jsonl", *three("file_name"))
    lines(pictures(folder / "validation") / "metadata.jsonl", *three("file_name")[:2])


def hub_parquet(folder):
    values = {"image": [{"bytes": png(s), "path": None} for s in range(3)], "query": ["a?", "b?", "c?"]}
    values |= {"label": [["1"], ["2"], ["3"]], "human_or_machine": [0, 1, 0]}
    write_parquet(folder, values)


def parquet_with_a_null_picture(folder):
    values = {"image": [{"bytes": png(0), "path": None}, None], "query": ["a?", "b?"], "label": [["1"], ["2"]]}
    write_parquet(folder, values)


def parquet_of_training_only(folder):
    values = {
        "image": [{"bytes": png(s), "path": None} for s in range(10)],
        "question": ["?"] * 10,
        "answer": ["1"] * 10,
    }
    write_parquet(folder, values, "train")


def one_parquet_file(folder):
    parquet_of_training_only(folder)
    shutil.move(folder / "data" / "train-00000-of-00001.parquet", folder / "mine.parquet")
    return folder / "mine.parquet"


def saved_to_disk(folder):
    rows = datasets.Dataset.from_dict({"image": ["a.png", "b.png"], "query": ["Q?", "R?"], "label": [1.5, 2.0]})
    datasets.DatasetDict({"validation": rows, "test": rows}).save_to_disk(str(folder))
    pictures(folder)


def pictures_alone(folder):
    pictures(folder)


def a_list_of_pictures(folder):
    (pictures(folder) / "list.csv").write_text("file_name\na.png\nb.png\nc.png\n")


def one_jsonl_file(folder):
    pngs_with_qa_jsonl(folder)
    return folder / "qa.jsonl"


def numbers_booleans_and_lists(folder):
    rows = [
        '{"image": "a.png", "query": "Q?", "label": 0.10}\n',
        '{"image": "b.png", "query": "R?", "label": true}\n',
        '{"image": "c.png", "query": "S?", "label": [2010, "NA"]}\n',
    ]
    (pictures(folder) / "qa.jsonl").write_text("".join(rows))


def null_and_empty_labels(folder):
    lines(pictures(folder / "test") / "metadata.jsonl", *three("file_name", answers=(["19"], None, [])))


def bad_rows(folder):
    pictures(folder / "test")
    (folder / "test" / "metadata.jsonl").write_text(
        '{"file_name": "a.png", "query": "Q?", "label": "1"}\n'
        '{"file_name": "a.png", "query": null, "label": "1"}\n'
        '{"file_name": "../../../etc/hostname", "query": "Q?", "label": "1"}\n'
        '{"file_name": "/etc/hostname", "query": "Q?", "label": "1"}\n'
        '{"file_name": "none.png", "query": "Q?", "label": "1"}\n'
        "not json\n"
        '{"file_name": "b.png", "query": "line\u2028end?", "label": "1"}\n',
        encoding="utf-8",
    )


def unusual_columns(folder):
    lines(pictures(folder) / "qa.jsonl", *three("plot", "ask", "value"))


def no_answers(folder):
    lines(pictures(folder) / "qa.jsonl", *[{"image": "a.png", "question": "Q?"}])


def empty_folder(folder):
    folder.mkdir()


def a_head_alone(folder):
    (pictures(folder) / "qa.csv").write_text("image,query,label\n")


def a_table_of_something_else(folder):
    (pictures(folder) / "sales.csv").write_text("Year,Value\n2010,4\n")


def broken_parquet(folder):
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "test-00000-of-00001.parquet").write_bytes(b"PAR1 not a parquet")


def parquet_of_numbers_as_pictures(folder):
    (folder / "data").mkdir(parents=True)
    rows = datasets.Dataset.from_dict({"image": [1, 2], "query": ["Q?", "R?"], "label": ["1", "2"]})
    rows.to_parquet(str(folder / "data" / "test-00000-of-00001.parquet"))


def a_readme_that_is_no_yaml(folder):
    hub_parquet(folder)
    (folder / "README.md").write_text("---\nlicense: mit\ntags: [a\n---\n")


def a_readme_with_features_that_are_none(folder):
    hub_parquet(folder)
    (folder / "README.md").write_text("---\ndataset_info:\n  features: x\n---\n")


LAYOUTS = [  # layout, split, questions or the sentence
    (pngs_with_qa_jsonl, "auto", 3),
    (metadata_jsonl_without_kind, "test", 3),
    (metadata_csv, "test", 3),
    (csv_with_image_paths, "all", 2),
    (csv_with_paths_of_another_machine, "all", 2),
    (original_release, "test", 2),
    (original_release, "all", 6),
    (metadata_above_the_splits, "test", 1),
    (validation_folder, "val", 2),
    (hub_parquet, "test", 3),
    (parquet_with_a_null_picture, "test", 1),
    (parquet_of_training_only, "test", 2),
    (parquet_of_training_only, "auto", 10),
    (one_parquet_file, "all", 10),
    (saved_to_disk, "val", 2),
    (pictures_alone, "auto", 3),
    (a_list_of_pictures, "auto", 3),
    (one_jsonl_file, "all", 3),
    (numbers_booleans_and_lists, "all", 3),
    (null_and_empty_labels, "test", 3),
    (bad_rows, "test", 2),
    (unusual_columns, "all", r"qa.jsonl has no column “image” .*plot, ask, value.*--image-column NAME"),
    (no_answers, "all", r"no column “label” .*--answer-column none"),
    (empty_folder, "auto", r"holds no pictures and no table of questions. Put pictures into it"),
    (a_head_alone, "all", r"mine/qa.csv holds no rows"),
    (a_table_of_something_else, "all", r"sales.csv has no column “image” \(its columns are Year, Value\)"),
    (broken_parquet, "test", r"The split test of .* could not be read"),
    (parquet_of_numbers_as_pictures, "test", r"The column “image” of mine holds no pictures: Unsupported cast"),
    (a_readme_that_is_no_yaml, "test", r"mine could not be read: its README.md has no valid YAML in line 3: while"),
    (a_readme_with_features_that_are_none, "test", r"mine could not be read: Expected a dict or a list but got"),
    (validation_folder, "test", r"has no split “test”; its splits are train, val"),
]


@pytest.mark.parametrize(("make", "split", "expected"), LAYOUTS, ids=lambda value: getattr(value, "__name__", None))
def test_a_layout_is_opened_or_refused_in_a_sentence(make, split, expected, tmp_path):
    place = str(make(tmp_path / "mine") or tmp_path / "mine")
    if isinstance(expected, int):
        opened = open_split(place, split)
        assert len(opened) == expected
        assert all(one.load_image().width >= 40 for one in opened)
        assert len({one.id for one in opened}) == expected
        assert opened.note.startswith(("mine, ", "mine.parquet, ", "qa.jsonl, "))
    else:
        with pytest.raises(DatasetError, match=expected) as refused:
            open_split(place, split)
        assert str(tmp_path) not in str(refused.value) or make is broken_parquet


def golds(make, tmp_path, split="all"):
    make(tmp_path / "mine")
    return [one.gold for one in open_split(str(tmp_path / "mine"), split)]


def test_an_answer_stays_the_text_that_was_written(tmp_path):
    assert golds(metadata_csv, tmp_path, "test") == [("19",), ("0.10",), ("NA",)]
    assert golds(csv_with_image_paths, tmp_path / "2") == [("1 234",), ("4,5",)]
    assert golds(numbers_booleans_and_lists, tmp_path / "3") == [("0.10",), ("true",), ("2010", "NA")]
    assert golds(saved_to_disk, tmp_path / "4", "test") == [("1.5",), ("2.0",)]


def test_spaces_around_a_cell_of_a_csv_are_not_part_of_it(tmp_path):
    text = "image, query, label\na.png, Which month?, May \nb.png, How much?, 1 234\n"
    (pictures(tmp_path / "mine") / "q.csv").write_text(text)
    opened = open_split(str(tmp_path / "mine"), "all")
    assert [(one.question, one.gold) for one in opened] == [("Which month?", ("May",)), ("How much?", ("1 234",))]


def test_a_list_in_a_cell_of_a_csv_is_several_answers(tmp_path):
    text = "image,query,label\na.png,Q?,\"['5', 'five']\"\nb.png,R?,\"[2003, 2009]\"\n"
    (pictures(tmp_path / "mine") / "q.csv").write_text(text)
    assert [one.gold for one in open_split(str(tmp_path / "mine"), "all")] == [("5", "five"), ("[2003, 2009]",)]


def test_kinds_and_splits_are_read_from_names_and_are_unknown_where_nothing_says_them(tmp_path):
    original_release(tmp_path / "chartqa")
    opened = open_split(str(tmp_path / "chartqa"), "validation")
    assert [(one.kind, one.source) for one in opened] == [("machine", "Statista"), ("human", "Pew")]
    pngs_with_qa_jsonl(tmp_path / "mine")
    assert {(one.kind, one.source) for one in open_split(str(tmp_path / "mine"), "all")} == {("unknown", "other")}


def test_a_row_without_a_gold_answer_is_there_to_be_asked(tmp_path):
    null_and_empty_labels(tmp_path / "mine")
    opened = open_split(str(tmp_path / "mine"), "test")
    assert [one.gold for one in opened] == [("19",), (), ()]
    assert "2 without a gold answer, asked and not scored" in opened.note
    no_answers(tmp_path / "other")
    assert open_split(str(tmp_path / "other"), "all", Columns(answer="none"))[0].gold == ()


def test_bad_rows_are_named_by_file_and_line_counted_and_left_out(tmp_path):
    bad_rows(tmp_path / "mine")
    opened = open_split(str(tmp_path / "mine"), "test")
    assert [one.question for one in opened] == ["Q?", "line\u2028end?"]
    assert [one.partition(":")[0] for one in opened.left_out] == [f"test/metadata.jsonl line {n}" for n in range(2, 7)]
    reasons = ("question is empty", "outside of the folder", "outside of the folder", "not in the folder", "not JSON")
    assert all(reason in told for reason, told in zip(reasons, opened.left_out, strict=True))
    assert "5 left out, the first is test/metadata.jsonl line 2: its question is empty" in opened.note


def test_columns_are_chosen_by_hand(tmp_path):
    unusual_columns(tmp_path / "mine")
    opened = open_split(str(tmp_path / "mine"), "all", Columns("plot", "ask", "value"))
    assert [one.gold for one in opened] == [("19",), ("0.10",), ("5",)]


def test_one_split_is_cut_by_chart_the_same_way_every_time(tmp_path):
    names = [f"{number}.png" for number in range(10)]
    pictures(tmp_path / "mine", names)
    rows = [{"image": name, "query": f"{ask}?", "label": "1"} for name in names for ask in "ab"]
    lines(tmp_path / "mine" / "qa.jsonl", *rows)
    parts = {name: open_split(str(tmp_path / "mine"), name) for name in ("train", "val", "test", "all")}
    assert {name: len(part) for name, part in parts.items()} == {"train": 14, "val": 2, "test": 4, "all": 20}
    charts = [{one.chart for one in parts[name]} for name in ("train", "val", "test")]
    assert not charts[0] & charts[1] and not charts[0] & charts[2] and not charts[1] & charts[2]
    assert [one.id for one in open_split(str(tmp_path / "mine"), "test")] == [one.id for one in parts["test"]]
    assert "cut off by chart with seed 0" in parts["test"].note
    assert split_names(str(tmp_path / "mine")) == ("all", "train", "val", "test")
    assert len(open_split(str(tmp_path / "mine"), "all[:25%]")) == 5


def test_two_charts_are_too_few_to_cut(tmp_path):
    lines(pictures(tmp_path / "mine") / "qa.jsonl", *three()[:2])
    with pytest.raises(DatasetError, match="too few charts to cut off a split “val”; take --split all") as refused:
        open_split(str(tmp_path / "mine"), "val")
    assert "to train on them, bring three charts at least" in str(refused.value)


def test_pictures_alone_have_no_questions(tmp_path):
    for make in (pictures_alone, a_list_of_pictures):
        make(tmp_path / "mine")
        opened = open_split(str(tmp_path / "mine"), "auto")
        assert not opened.has_questions
        assert opened.note == "mine, all: 3 charts without questions."


def test_a_link_out_of_the_folder_is_not_followed(tmp_path):
    (tmp_path / "secret.png").write_bytes(png(0))
    folder = pictures(tmp_path / "mine", ("a.png",))
    (folder / "b.png").symlink_to(tmp_path / "secret.png")
    lines(folder / "qa.jsonl", *three()[:2])
    opened = open_split(str(folder), "all")
    assert [one.file_name for one in opened] == ["a.png"]
    assert "qa.jsonl line 2: its picture b.png is not in the folder" in opened.left_out[0]


def test_sizes_are_bounded(tmp_path, monkeypatch):
    pngs_with_qa_jsonl(tmp_path / "mine")
    for limit, sentence in (("MAX_FILES", "more than 2 files"), ("MAX_ROWS", "more than 2 questions")):
        with monkeypatch.context() as patch:
            patch.setattr(folders, limit, 2)
            with pytest.raises(DatasetError, match=sentence):
                open_split(str(tmp_path / "mine"), "all")
    monkeypatch.setattr(folders, "MAX_TABLE_BYTES", 2)
    with pytest.raises(DatasetError, match="tables of at most 0 MB are read"):
        open_split(str(tmp_path / "mine"), "all")


def test_a_saved_folder_that_points_outside_is_refused(tmp_path):
    saved_to_disk(tmp_path / "mine")
    state = tmp_path / "mine" / "test" / "state.json"
    state.write_text(state.read_text().replace('"filename": "', '"filename": "../'))
    with pytest.raises(DatasetError, match="names data files outside of itself"):
        open_split(str(tmp_path / "mine"), "test")


def test_the_folder_of_the_bundled_charts_opens_like_any_other():
    bundled = open_split("bundled")
    folder = Path(folders.__file__).parents[1] / "bundled" / "charts"
    assert [one.gold for one in open_split(str(folder), "auto")] == [one.gold for one in bundled]


CASES = CHARTQA.parent / "cases" / "datasets"


@pytest.mark.skipif(not CASES.is_dir(), reason="needs the folder of cases")
@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("csv_float", [("19.5",), ("0.10",), ("5",)]),
        ("csv_numeric", [("19",), ("2010",), ("5",)]),
        ("jsonl_empty_label_list", [("19",), (), ("5",)]),
        ("jsonl_int_label", [("19",), ("2010",), ("5",)]),
        ("jsonl_no_kind", [("19",), ("Café",), ("5",)]),
        ("jsonl_null_label", [("19",), (), ("5",)]),
        ("jsonl_null_query", [("19",), ("5",)]),
        ("parquet_null_image", None),
    ],
)
def test_every_case_is_right(case, expected):
    opened = open_split(str(CASES / case), "test")
    assert expected is None or [one.gold for one in opened] == expected
    assert len(opened.left_out) == (case in ("jsonl_null_query", "parquet_null_image"))
