"""Charts that visitors upload to be measured on. They, and the answers to them, are the visitor's alone, and are
deleted some minutes after the visitor has left, or at once when asked for."""

import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeGuard

import gradio as gr

from chartqa_demo.data.splits import Split, open_folder
from chartqa_demo.data.uploads import lay_out
from chartqa_demo.errors import DatasetError, shown
from chartqa_demo.settings import Settings
from chartqa_demo.space.gradio_internals import NOT_UPLOADED, delete_named, delete_uploads, upload_folder

KEPT_S = 900.0  # after the visitor's last tab closed; a reload is back within seconds
AT_ONCE = 20  # uploads of all visitors
VISITOR = 32  # hexadecimal digits of a visitor's name, as this page gives one


@dataclass
class Upload:
    """One visitor's charts. secret: what the files of their records are called by, which nobody can guess; tabs: of
    this visitor, open now, as far as is known: who never says so has not left either."""

    folder: Path
    split: Split
    secret: str
    tabs: set[str] = field(default_factory=set)
    left_at: float = field(default_factory=time.monotonic)
    used_at: float = field(default_factory=time.monotonic)

    def record(self, file_name: str) -> str:
        """What the record is called that would be called `file_name` for charts that all may see."""
        return f"upload-{self.secret}-{blake2b(file_name.encode(), digest_size=4).hexdigest()}.jsonl"


def is_visitor(name: object) -> TypeGuard[str]:
    """Whether it can be the name of a browser; a caller may send anything."""
    return isinstance(name, str) and 0 < len(name) <= VISITOR


class Uploads:
    """By visitor. in_use: whether an upload is being measured, and has to stay; longest: characters of a question."""

    def __init__(self, page: gr.Blocks, in_use: Callable[[str], bool], longest: int = Settings.max_question) -> None:
        self.page, self.longest = page, longest
        self._root = tempfile.TemporaryDirectory(prefix="chartqa-uploads-")  # gone with the process
        self.root = Path(self._root.name)
        self.in_use = in_use
        self.kept: dict[str, Upload] = {}

    def take(self, visitor: str, tab: str, files: Sequence[dict[str, Any]]) -> Split:
        """The uploaded files as a split in place of the visitor's earlier one. Raises DatasetError."""
        self.purge()
        given = [(_uploaded(one), str(one.get("orig_name") or Path(str(one.get("path"))).name)) for one in files]
        if not given:
            raise DatasetError("Choose a ZIP, or a table and pictures.")
        if self.in_use(visitor):
            raise DatasetError("Your upload is being measured. Stop that first.")
        self.drop(visitor)
        if len(self.kept) >= AT_ONCE:
            raise DatasetError("Too many uploads are being measured. Try again in some minutes.")
        secret = secrets.token_hex(16)
        named = next((Path(name).stem for _, name in given if name.lower().endswith(".zip")), "your upload")
        named = shown(named)[:60]  # bytes of a folder's name are 255
        folder = self.root / secret / (named if named.strip(". ") else "your upload")
        try:
            lay_out(given, folder)
            split = open_folder(str(folder), "all")
            if not split.has_questions:
                raise DatasetError("These are pictures without questions. Add a table of image, query and label.")
            if (most := max(len(one.question) for one in split)) > self.longest:
                told = f"The question has {most:,} characters; at most {self.longest:,} can be asked. Shorten it."
                raise DatasetError(told)
        except DatasetError:
            shutil.rmtree(folder.parent, ignore_errors=True)
            raise
        finally:
            delete_uploads(self.page, [path for path, _ in given])
        self.kept[visitor] = Upload(folder, split, secret, {tab})
        return split

    def of(self, visitor: str) -> Upload | None:
        """The visitor's charts, if there are any."""
        if upload := self.kept.get(visitor) if isinstance(visitor, str) else None:
            upload.used_at = time.monotonic()
        return upload

    def arrive(self, visitor: str, tab: str) -> None:
        """The visitor has opened another tab."""
        if visitor in self.kept:
            self.kept[visitor].tabs.add(tab)

    def leave(self, tab: str) -> None:
        """A tab was closed; of a visitor with no other one the upload goes in a while."""
        for upload in self.kept.values():
            if tab in upload.tabs:
                upload.tabs.discard(tab)
                upload.left_at = time.monotonic()
                later = threading.Timer(KEPT_S + 1, self.purge)
                later.daemon = True
                later.start()

    def drop(self, visitor: str) -> None:
        """Delete the visitor's charts and the answers to them."""
        if isinstance(visitor, str) and (upload := self.kept.pop(visitor, None)):
            shutil.rmtree(upload.folder.parent, ignore_errors=True)
            for record in self.root.rglob(f"upload-{upload.secret}-*"):
                record.unlink(missing_ok=True)
            delete_named(self.page, f"upload-{upload.secret}-")

    def purge(self) -> None:
        """Delete what visitors have left behind, and where there is no room what they have not used for as long."""
        now, full = time.monotonic(), len(self.kept) >= AT_ONCE
        for visitor, upload in list(self.kept.items()):
            left = now - upload.left_at > KEPT_S if not upload.tabs else full and now - upload.used_at > KEPT_S
            if left and not self.in_use(visitor):
                self.drop(visitor)


def _uploaded(payload: dict[str, Any]) -> Path:
    """The file itself. Raises DatasetError for one that is not among the uploads: a caller may name any path."""
    path = Path(str(payload.get("path"))).resolve()
    if not path.is_relative_to(upload_folder().resolve()) or not path.is_file():
        raise DatasetError(NOT_UPLOADED)
    return path
