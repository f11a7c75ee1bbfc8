"""What the app uses of Gradio beside its public interface is still there, and used in one file."""

import ast
from pathlib import Path

import gradio as gr
from PIL import Image

from chartqa_demo.space.gradio_internals import questions_waiting, save_chart, upload_folder

ROOT = Path(__file__).parents[2]
INSIDE = ("gradio.utils", "gradio.processing_utils", "gradio.routes", "gradio.route_utils", "gradio.queueing")


def test_a_new_page_has_nobody_waiting() -> None:
    with gr.Blocks(analytics_enabled=False) as page:
        gr.Button("Ask").click(lambda: None)
    assert questions_waiting(page.queue()) == 0


def test_a_saved_chart_is_the_same_png_among_the_uploads_however_often_it_is_saved() -> None:
    chart = Image.new("RGB", (40, 30), "teal")
    file = Path(save_chart(chart))
    assert file.is_relative_to(upload_folder())
    assert Path(save_chart(chart)) == file
    with Image.open(file) as saved:
        assert (saved.format, saved.size, saved.getpixel((0, 0))) == ("PNG", (40, 30), (0, 128, 128))


def test_no_other_file_of_the_app_uses_what_is_inside_gradio() -> None:
    users = set()
    for path in (ROOT / "chartqa_demo").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            imported = isinstance(node, ast.ImportFrom) and (node.module or "").startswith(INSIDE)
            private = isinstance(node, ast.Attribute) and node.attr in ("_queue", "_event_queue")
            if imported or private:
                users.add(path.name)
    assert users == {"gradio_internals.py"}
