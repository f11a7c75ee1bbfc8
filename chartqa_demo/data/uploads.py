"""Charts that a visitor uploads to be measured on: a ZIP, or tables and pictures, put into a folder for the one reader.

Everything is untrusted: sizes are counted while unpacking, not believed; nothing leaves the folder; a link is refused.
"""

import lzma
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO

from chartqa_demo.data.folders import MAX_DEPTH, MAX_TABLE_BYTES, PICTURES, TABLES
from chartqa_demo.errors import DatasetError
from chartqa_demo.images import MAX_BYTES

ENDINGS = (".zip", *TABLES, *PICTURES)
MAX_UPLOAD_BYTES = MAX_BYTES  # of one file: what the page takes at all; larger sets are for `--dataset`
MAX_UNPACKED_BYTES = 200 * 2**20
MAX_UPLOAD_FILES = 5_000
MAX_DIRECTORY_BYTES = 2 * 2**20  # of a ZIP's list of files, which is read whole before a file can be counted
MAX_MARKS = 200_000  # of MARKS in all tables: so many cells, lines and entries take some seconds to read
MARKS = (b"\n", b",", b";", b"\t", b"{", b"[")
BLOCK = 2**16


def lay_out(files: Sequence[tuple[Path, str]], folder: Path) -> None:
    """Fill `folder` with uploaded files, given with the names that they had. Raises DatasetError, and then the folder
    is gone."""
    room = _Room()
    try:
        if len(files) > MAX_UPLOAD_FILES:
            raise DatasetError(f"{len(files):,} files are too many; at most {MAX_UPLOAD_FILES:,} are taken.")
        folder.mkdir(parents=True)
        for path, given in files:
            name = given if len(given) <= 80 else f"…{given[-79:]}"  # its ending says what it is
            if path.stat().st_size > MAX_UPLOAD_BYTES:
                raise DatasetError(f"{name} is too large; at most {MAX_UPLOAD_BYTES // 2**20} MB are taken.")
            if name.lower().endswith(".zip"):
                _unpack(path, name, folder, room)
                continue
            if inside := _inside(PurePosixPath(given.replace("\\", "/")).name, name):
                with path.open("rb") as source:
                    room.write(source, folder / inside, name)
        if not room.files:
            raise DatasetError("No picture and no table is among these files. Take a ZIP of both, or choose them all.")
    except (OSError, ValueError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, DatasetError):
            raise
        told = error.strerror if isinstance(error, OSError) else error  # not the path, which is the server's
        raise DatasetError(f"The upload could not be read ({told}). Choose the files again.") from error


def _unpack(path: Path, name: str, folder: Path, room: "_Room") -> None:
    try:
        _check_directory(path, name)
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if len(entries) > MAX_UPLOAD_FILES:
                raise DatasetError(f"{name} holds more than {MAX_UPLOAD_FILES:,} files. Take a smaller one.")
            for entry, inside in _usable(entries, name):
                with archive.open(entry) as source:
                    room.write(source, folder / inside, entry.filename)
    except DatasetError:
        raise
    except (
        zipfile.BadZipFile,
        zlib.error,
        lzma.LZMAError,
        NotImplementedError,
        RuntimeError,
        EOFError,
        OSError,
        ValueError,
    ) as error:
        told = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise DatasetError(f"{name} is damaged or of a kind that cannot be read ({told}). Pack it again.") from error


def _usable(entries: Sequence[zipfile.ZipInfo], name: str) -> Iterator[tuple[zipfile.ZipInfo, PurePosixPath]]:
    """The entries to unpack with their place in the folder; what is neither picture nor table is passed over."""
    for entry in entries:
        mode = entry.external_attr >> 16
        if stat.S_ISLNK(mode):
            raise DatasetError(f"{name} holds a link, {entry.filename[:80]}; pack the file itself.")
        if entry.flag_bits & 1:
            raise DatasetError(f"{name} is locked with a password. Pack it without one.")
        inside = _inside(entry.filename, name)
        if inside and not entry.is_dir():
            yield entry, inside


def _inside(written: str, name: str) -> PurePosixPath | None:
    """Where a file goes in the folder, None for what is not taken. Raises DatasetError for a way out of it."""
    inside = PurePosixPath(written.replace("\\", "/"))
    if inside.is_absolute() or ".." in inside.parts or ":" in inside.parts[:1] or "\0" in written:
        raise DatasetError(f"{name} names a file outside of itself, {written[:80]!r}; it is not unpacked.")
    if any(part.startswith((".", "__MACOSX")) or len(part.encode()) > 255 for part in inside.parts):
        return None
    taken = inside.suffix.lower() in (*TABLES, *PICTURES) and len(inside.parts) <= MAX_DEPTH
    return inside if taken else None


def _check_directory(path: Path, name: str) -> None:
    """`zipfile` reads a ZIP's list of files whole, however long. Raises DatasetError where that is too long."""
    with path.open("rb") as file:
        file.seek(-min(path.stat().st_size, BLOCK + 22), 2)
        end = file.read()
    at = end.rfind(b"PK\x05\x06")
    if at < 0 or len(end) - at < 22:
        raise DatasetError(f"{name} is no ZIP file, or damaged. Pack it again.")
    if end[max(0, at - 20) :][:4] == b"PK\x06\x07" or struct.unpack_from("<I", end, at + 12)[0] > MAX_DIRECTORY_BYTES:
        raise DatasetError(f"{name} holds more than {MAX_UPLOAD_FILES:,} files. Take a smaller one.")


class _Room:
    """What is written so far, whatever the headers of the files say."""

    def __init__(self) -> None:
        self.files = self.bytes = self.marks = 0

    def write(self, source: IO[bytes], target: Path, name: str) -> None:
        """Copy one file. Raises DatasetError for one that is too large, or when all are together."""
        self.files += 1
        target.parent.mkdir(parents=True, exist_ok=True)
        most = MAX_BYTES if target.suffix.lower() in PICTURES else MAX_TABLE_BYTES
        size = 0
        with target.open("wb") as file:
            while block := source.read(BLOCK):
                size, self.bytes = size + len(block), self.bytes + len(block)
                if size > most:
                    raise DatasetError(f"{name[:80]} has more than {most // 2**20} MB.")
                self.marks += sum(map(block.count, MARKS)) if most == MAX_TABLE_BYTES else 0
                if self.marks > MAX_MARKS:
                    raise DatasetError(f"{name[:80]} and the tables before it have too many cells. Take fewer rows.")
                if self.bytes > MAX_UNPACKED_BYTES:
                    told = f"{MAX_UNPACKED_BYTES // 2**20} MB when it is unpacked"
                    raise DatasetError(f"The upload has more than {told}. Take fewer or smaller pictures.")
                file.write(block)
