"""Corrections are rows to train on: one for a picture and a question, kept as a folder that the one reader opens."""

import errno
import zipfile
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from chartqa_demo.data import corrections
from chartqa_demo.data.corrections import Correction, Kept, encoded, pixels_id, trainable, zipped
from chartqa_demo.data.splits import open_split
from chartqa_demo.errors import DatasetError


def picture(shade: int = 0) -> Image.Image:
    image = Image.new("RGB", (64, 48), "white")
    image.paste((shade, 90, 90), (8, 8, 40, 40))
    return image


def said(image: Image.Image, question: str, answer: str, **more: object) -> Correction:
    return Correction(pixels_id(image), question, answer, "visitor", "2026-11-29T10:00:00+00:00", **more)  # pyright: ignore[reportArgumentType]


def fill(kept: Kept, *rows: tuple[int, str, str]) -> object:
    stored: object = None
    for shade, question, answer in rows:
        stored = kept.add(stored, said(picture(shade), question, answer), picture(shade))
    return stored


@pytest.fixture(params=["folder", "browser"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Kept:
    return Kept(tmp_path / "mine" if request.param == "folder" else None)


def test_the_last_word_about_a_picture_and_a_question_counts(kept: Kept) -> None:
    stored = fill(kept, (1, "How many?", "4"), (1, "Which?", "0.10"), (2, "How many?", "5"), (1, " How  many? ", "6"))
    rows = kept.rows(stored)
    assert [(row.question.strip(), row.answer) for row in rows] == [
        ("How  many?", "6"),
        ("How many?", "5"),
        ("Which?", "0.10"),
    ]
    assert len({row.chart for row in rows}) == 2


def test_the_same_pixels_in_another_file_are_the_same_chart() -> None:
    buffer = BytesIO()
    picture().save(buffer, "BMP")
    assert pixels_id(Image.open(buffer)) == pixels_id(picture())
    assert pixels_id(picture()) != pixels_id(picture(1))
    assert pixels_id(Image.new("RGB", (4, 6))) != pixels_id(Image.new("RGB", (6, 4)))


def test_a_row_is_changed_where_it_stands_and_deleted_with_its_picture(kept: Kept) -> None:
    stored = fill(kept, (1, "How many?", "4"), (2, "Which?", "May"))
    newest, oldest = kept.rows(stored)
    stored = kept.change(stored, said(picture(1), "How many?", "40"))
    assert [row.answer for row in kept.rows(stored)] == ["May", "40"]
    stored = kept.remove(stored, newest)
    assert [row.answer for row in kept.rows(stored)] == ["40"]
    assert kept.pictures(stored, [newest, oldest]).keys() == {oldest.file_name}


def test_the_export_opens_by_the_one_reader_and_so_does_the_folder(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "mine")
    stored = fill(kept, (1, "How many?", "0.10"), (2, '["Which?"]', '["May"]'))
    wrong = said(picture(3), "Why?", "", gold=("7",), gold_is_wrong=True)
    stored = kept.add(stored, wrong, picture(3))
    rows = kept.rows(stored)
    assert rows[0] == wrong and wrong not in trainable(rows)
    with zipfile.ZipFile(BytesIO(zipped(rows, kept.pictures(stored, rows)))) as archive:
        archive.extractall(tmp_path / "unpacked")
    for folder, count in ((tmp_path / "unpacked", 2), (tmp_path / "mine", 3)):
        opened = {one.question: one for one in open_split(str(folder), "all")}
        assert len(opened) == count
        assert opened["How many?"].gold == ("0.10",)
        assert opened['["Which?"]'].gold == ('["May"]',)
        assert pixels_id(opened["How many?"].load_image()) == pixels_id(picture(1))
        assert opened["How many?"].kind == "human"


def test_a_browser_can_hold_anything_and_has_no_endless_room(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Kept(None)
    for stored in (None, 3, [], {"rows": 4, "pictures": []}, {"rows": [None, {}, {"file_name": "../x"}]}):
        assert kept.rows(stored) == ()
    monkeypatch.setattr(corrections, "BROWSER_BYTES", 10)
    with pytest.raises(DatasetError, match="no room for more corrections"):
        fill(kept, (1, "How many?", "4"))


def test_a_line_that_somebody_broke_is_named_and_not_overwritten(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    fill(kept, (1, "How many?", "4"))
    file = tmp_path / "metadata.jsonl"
    file.write_text(file.read_text(encoding="utf-8") + "{broken\n", encoding="utf-8")
    with pytest.raises(DatasetError, match=r"Line 2 of .* is not a correction"):
        fill(kept, (2, "Which?", "May"))
    assert "{broken" in file.read_text(encoding="utf-8")


def test_a_large_photograph_is_kept_small() -> None:
    noise = Image.effect_noise((3000, 2000), 90).convert("RGB")
    data = encoded(noise)
    with Image.open(BytesIO(data)) as kept:
        assert kept.width * kept.height <= 1280 * 784
    assert len(data) < 2_000_000


@pytest.mark.parametrize(
    ("number", "told"), [(errno.ENOSPC, "No space left on device"), (errno.EROFS, "Read-only file system")]
)
def test_a_disk_that_takes_no_more_is_a_sentence_and_loses_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, told: str
) -> None:
    kept = Kept(tmp_path / "mine")
    fill(kept, (1, "How many?", "4"))

    def full(*_: object, **__: object) -> None:
        raise OSError(number, told)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with pytest.raises(DatasetError, match=rf"The correction could not be written to mine: .*{told}"):
            fill(kept, (2, "Which?", "5"))
    assert [row.answer for row in kept.rows(None)] == ["4"]
    fill(kept, (2, "Which?", "5"))
    assert [row.answer for row in kept.rows(None)] == ["5", "4"]
