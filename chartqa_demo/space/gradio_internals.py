"""What is used of Gradio beside its public interface: here and nowhere else, checked with Gradio 6.31.

tests/space/test_gradio_internals.py fails when one of them moves.
"""

from pathlib import Path

import gradio as gr
from gradio.processing_utils import save_pil_to_cache
from gradio.utils import get_upload_folder
from PIL import Image


def questions_waiting(page: gr.Blocks) -> int:
    """How many events wait in the page's queue: `len()` of its private `_queue`."""
    return len(page._queue)


def upload_folder() -> Path:
    """Where Gradio keeps the files that visitors upload, and may serve from; it need not exist yet."""
    return Path(get_upload_folder())


def save_chart(chart: Image.Image) -> str:
    """The path of a new PNG among the uploads: a file outside would not be served. The same picture is one file."""
    return save_pil_to_cache(chart, str(upload_folder()), name="chart", format="png")
