"""What is used of Gradio beside its public interface: here and nowhere else, checked with Gradio 6.31.

tests/space/test_gradio_internals.py fails when one of them moves.
"""

from contextlib import suppress
from pathlib import Path
from typing import Any

import gradio as gr
from gradio import processing_utils, queueing, utils
from gradio.exceptions import InvalidPathError
from gradio.processing_utils import save_pil_to_cache
from gradio.utils import get_upload_folder
from PIL import Image

FAILED = "The server could not do what was sent to it. Reload the page and try again."
NOT_UPLOADED = "This file is not among the uploads, or no longer. Choose it again."
_payload = utils.error_payload
_saved: set[str] = set()  # files of `save_chart`


def questions_waiting(page: gr.Blocks) -> int:
    """How many events wait in the page's queue: `len()` of its private `_queue`."""
    return len(page._queue)


def upload_folder() -> Path:
    """Where Gradio keeps the files that visitors upload, and may serve from; it need not exist yet."""
    return Path(get_upload_folder())


def save_chart(chart: Image.Image) -> str:
    """The path of a new PNG among the uploads: a file outside would not be served. The same picture is one file."""
    _saved.add(file := save_pil_to_cache(chart, str(upload_folder()), name="chart", format="png"))
    return file


def delete_saved(page: gr.Blocks) -> None:
    """Have Gradio delete what `save_chart` wrote when it deletes uploads (`delete_cache`)."""
    page.temp_file_sets.append(_saved)


def delete_oldest(page: gr.Blocks, most: int) -> None:
    """Delete a page's oldest files until at most `most` bytes are left; those who asked about them are told."""
    sizes = {}
    for file in {one for files in page.temp_file_sets for one in list(files)}:
        with suppress(OSError):
            sizes[file] = Path(file).stat()
    over = sum(one.st_size for one in sizes.values()) - most
    for file, one in sorted(sizes.items(), key=lambda each: each[1].st_mtime):
        if over <= 0:
            break
        Path(file).unlink(missing_ok=True)
        over -= one.st_size


def close_doors() -> None:
    """Two things that Gradio does for every visitor and this page for none: it fetches what a visitor names by an
    address (`file=https://...`, a picture by its URL), and it tells the text of errors that were meant for nobody."""
    processing_utils.sh.get = processing_utils.sh.async_validate_url = _fetch_nothing
    utils.error_payload = queueing.error_payload = _in_words


async def _fetch_nothing(address: str, *_: Any, **__: Any) -> Any:
    raise PermissionError(f"Nothing is fetched for a visitor: {address[:100]}")


def _in_words(error: BaseException | None, show_error: bool) -> dict[str, Any]:
    """What a visitor is told of an error; its own text where that was written for visitors."""
    told = NOT_UPLOADED if isinstance(error, InvalidPathError) else FAILED
    return _payload(error if isinstance(error, gr.Error) else gr.Error(told), show_error)
