"""What is uploaded is unpacked into one folder and nowhere else, within limits that no header can lie about."""

import io
import stat
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from chartqa_demo.data import uploads
from chartqa_demo.data.splits import open_split
from chartqa_demo.data.uploads import lay_out
from chartqa_demo.errors import DatasetError


def png(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 40), (shade, shade, 0)).save(buffer, "PNG")
    return buffer.getvalue()


TABLE = b"image,query,label\na.png,How many?,0.10\nb.png,Which?,NA\n"


def pack(tmp_path: Path, *entries: tuple[str | zipfile.ZipInfo, bytes]) -> list[tuple[Path, str]]:
    path = tmp_path / "mine.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries:
            archive.writestr(name, data)
    return [(path, "mine.zip")]


def refused(tmp_path: Path, files: list[tuple[Path, str]]) -> str:
    """The sentence; nothing is left, and nothing lies beside the folder."""
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DatasetError) as error:
        lay_out(files, tmp_path / "to" / "mine")
    assert [path for path in sorted(tmp_path.rglob("*")) if path not in before and path.is_file()] == []
    return str(error.value)


def test_a_zip_and_loose_files_open_alike(tmp_path: Path) -> None:
    packed = pack(tmp_path, ("set/qa.csv", TABLE), ("set/a.png", png(1)), ("set/b.png", png(2)), ("set/run.py", b"1"))
    loose = []
    for name, data in (("qa.csv", TABLE), ("a.png", png(1)), ("b.png", png(2)), ("notes.docx", b"?")):
        (tmp_path / f"stored-{name}").write_bytes(data)
        loose.append((tmp_path / f"stored-{name}", name))
    for number, files in enumerate((packed, loose)):
        lay_out(files, tmp_path / str(number))
        split = open_split(str(tmp_path / str(number)), "all")
        assert [(one.question, one.gold) for one in split] == [("How many?", ("0.10",)), ("Which?", ("NA",))]
        assert {file.suffix for file in (tmp_path / str(number)).rglob("*.*")} == {".csv", ".png"}


@pytest.mark.parametrize("name", ["../out.png", "/etc/out.png", "a/../../out.png", "..\\out.png", "C:\\..\\out.png"])
def test_no_entry_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    assert "names a file outside of itself" in refused(tmp_path, pack(tmp_path, (name, png(1))))


def test_links_and_passwords_are_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("a.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    assert "holds a link, a.png" in refused(tmp_path, pack(tmp_path, (link, b"/etc/passwd")))
    files = pack(tmp_path, ("a.png", png(1)))
    data = bytearray(files[0][0].read_bytes())
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.find(mark) + flags] |= 1
    files[0][0].write_bytes(data)
    assert "locked with a password" in refused(tmp_path, files)


def test_a_bomb_is_stopped_while_it_unpacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zeros = bytes(21 * 2**20)
    assert "a.png has more than 20 MB" in refused(tmp_path, pack(tmp_path, ("a.png", zeros)))
    monkeypatch.setattr(uploads, "MAX_UNPACKED_BYTES", 10 * 2**20)
    many = [(f"{number}.png", zeros[: 4 * 2**20]) for number in range(4)]
    assert "more than 10 MB when it is unpacked" in refused(tmp_path, pack(tmp_path, *many))
    monkeypatch.setattr(uploads, "MAX_UPLOAD_FILES", 3)
    assert "holds more than 3 files" in refused(tmp_path, pack(tmp_path, *many))
    monkeypatch.setattr(uploads, "MAX_DIRECTORY_BYTES", 100)
    assert "holds more than 3 files" in refused(tmp_path, pack(tmp_path, *many[:3]))
    monkeypatch.setattr(uploads, "MAX_UPLOAD_BYTES", 100)
    assert "mine.zip is too large" in refused(tmp_path, pack(tmp_path, ("a.png", png(1))))


def test_a_table_of_endless_short_rows_is_stopped_while_it_unpacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "MAX_MARKS", 1_000)
    for table in (b"image,query,label\n" + b"1\n" * 1_000, b"[" + b"{}," * 1_000 + b"{}]", b"a;" * 1_001):
        assert "too many cells" in refused(tmp_path, pack(tmp_path, ("qa.json", table), ("a.png", png(1))))
    lay_out(pack(tmp_path, ("qa.csv", TABLE), ("a.png", b"," * 5_000)), tmp_path / "usual")


def test_an_upload_that_cannot_be_written_is_told_without_a_path_of_the_server(tmp_path: Path) -> None:
    told = refused(tmp_path, pack(tmp_path, ("qa.csv/a.png", png(1)), ("qa.csv", TABLE)))
    assert "Is a directory" in told and str(tmp_path) not in told
    (tmp_path / "a.png").write_bytes(png(1))
    with pytest.raises(DatasetError, match="File name too long") as error:
        lay_out([(tmp_path / "a.png", "a.png")], tmp_path / ("x" * 300))
    assert str(tmp_path) not in str(error.value)


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_every_way_of_packing_that_is_damaged_is_a_sentence(tmp_path: Path, method: int) -> None:
    with zipfile.ZipFile(tmp_path / "mine.zip", "w", method) as archive:
        archive.writestr("qa.csv", TABLE * 50)
    data = bytearray((tmp_path / "mine.zip").read_bytes())
    data[50:90] = b"\xff" * 40
    (tmp_path / "mine.zip").write_bytes(data)
    assert refused(tmp_path, [(tmp_path / "mine.zip", "mine.zip")]).startswith("mine.zip is damaged or of a kind")


@pytest.mark.parametrize("data", [b"", b"PK", b"PK\x05\x06", b"no zip at all" * 9, b"PK\x05\x06" + bytes(18)])
def test_what_is_no_zip_is_a_sentence(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "mine.zip").write_bytes(data)
    assert refused(tmp_path, [(tmp_path / "mine.zip", "mine.zip")])


def test_a_torn_zip_is_a_sentence(tmp_path: Path) -> None:
    files = pack(tmp_path, ("a.png", png(1) * 20))
    data = bytearray(files[0][0].read_bytes())
    data[40:60] = b"\xff" * 20
    files[0][0].write_bytes(data)
    assert "mine.zip is damaged" in refused(tmp_path, files)
