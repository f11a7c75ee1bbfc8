"""What the app uses of Gradio beside its public interface is still there, and used in one file."""

import ast
import asyncio
import base64
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import gradio as gr
import httpx
import pytest
import uvicorn
from fastapi import HTTPException
from gradio import processing_utils
from gradio.queueing import Event
from gradio.route_utils import GradioMultiPartParser
from gradio.state_holder import StateHolder
from PIL import Image
from starlette.datastructures import Headers
from starlette.formparsers import MultiPartException
from uvicorn.protocols.http.h11_impl import H11Protocol

from chartqa_demo.space.gradio_internals import (
    OF_EVENT,
    OF_QUEUE,
    cancel,
    close_doors,
    delete_oldest,
    delete_saved,
    delete_uploads,
    questions_waiting,
    save_chart,
    upload_folder,
)

ROOT = Path(__file__).parents[2]
INSIDE = ("gradio.utils", "gradio.processing_utils", "gradio.routes", "gradio.route_utils", "gradio.queueing")


def test_a_new_page_has_nobody_waiting() -> None:
    with gr.Blocks(analytics_enabled=False) as page:
        gr.Button("Ask").click(lambda: None)
    assert questions_waiting(page.queue()) == 0


def in_a_thread(begin: Callable[[], Coroutine[Any, Any, bool]]) -> bool:
    with ThreadPoolExecutor(1) as beside:  # a browser's own loop may run in this thread
        return beside.submit(lambda: asyncio.run(begin())).result()


class Without:
    """Another thing with all it has, but for one name."""

    def __init__(self, whole: Any, name: str) -> None:
        self._whole, self._name = whole, name

    def __getattr__(self, name: str) -> Any:
        if name == self._name:
            raise AttributeError(name)
        return getattr(self._whole, name)


def test_a_task_that_has_not_begun_is_left_to_end_by_itself() -> None:
    """Ended before its first step, it would keep its place among those that run, for good."""
    with gr.Blocks(analytics_enabled=False) as page:
        gr.Button("Ask").click(lambda: None)
    queue, listener = page.queue()._queue, next(iter(page.fns.values()))

    async def begin_and_cancel() -> list[bool]:
        ended = []
        for first in ("cancelled", "begun"):
            event = Event("ann", listener, cast(Any, None), None)
            queue.event_ids_to_events[event._id], queue.active_jobs = event, [[event]]
            task = asyncio.create_task(asyncio.sleep(0.01), name=f"ann_0<gradio-sep>{event._id}")
            queue._asyncio_tasks = {task}
            if first == "begun":
                await asyncio.sleep(0)
            await cancel(page, "ann", event._id)
            assert not event.alive
            await asyncio.wait({task})
            ended.append(task.cancelled())
        return ended

    with ThreadPoolExecutor(1) as beside:  # a browser's own loop may run in this thread
        assert beside.submit(lambda: asyncio.run(begin_and_cancel())).result() == [False, True]


def test_a_visitor_whom_gradio_has_forgotten_ends_what_is_theirs_and_is_told_nothing() -> None:
    with gr.Blocks(analytics_enabled=False) as page:
        gr.Button("Ask").click(lambda: None)
    queue, event = page.queue()._queue, Event("ann", next(iter(page.fns.values())), cast(Any, None), None)
    queue.event_ids_to_events[event._id] = event
    queue.pending_event_ids_session["ann"] = {event._id}
    queue.create_event_queue_for_fn(event.fn)
    queue.event_queue_per_concurrency_id[event.concurrency_id].queue.append(event)
    assert in_a_thread(lambda: cancel(page, "ann", event._id))
    assert not event.alive and questions_waiting(page) == 0


@pytest.mark.parametrize("name", [*OF_QUEUE, *OF_EVENT])
def test_what_another_gradio_has_not_is_left_to_its_own_cancelling(name: str) -> None:
    with gr.Blocks(analytics_enabled=False) as page:
        gr.Button("Ask").click(lambda: None)
    queue, event = page.queue()._queue, Event("ann", next(iter(page.fns.values())), cast(Any, None), None)
    queue.event_ids_to_events[event._id] = event
    other = Without(queue, name) if name in OF_QUEUE else queue
    if name in OF_EVENT:
        queue.event_ids_to_events[event._id] = cast(Any, Without(event, name))
    assert not in_a_thread(lambda: cancel(cast(Any, SimpleNamespace(_queue=other)), "ann", event._id))
    assert event.alive


def test_a_saved_chart_is_the_same_png_among_the_uploads_however_often_it_is_saved() -> None:
    chart = Image.new("RGB", (40, 30), "teal")
    file = Path(save_chart(chart))
    assert file.is_relative_to(upload_folder())
    assert Path(save_chart(chart)) == file
    with Image.open(file) as saved:
        assert (saved.format, saved.size, saved.getpixel((0, 0))) == ("PNG", (40, 30), (0, 128, 128))


def test_a_chart_that_is_saved_again_stays_whole_for_who_reads_it() -> None:
    chart = Image.effect_noise((600, 400), 90).convert("RGB")
    file = Path(save_chart(chart))
    whole, read, over = file.read_bytes(), [], threading.Event()

    def look() -> None:
        while not over.is_set():
            read.append(file.read_bytes() == whole)

    with ThreadPoolExecutor(1) as beside:
        looking = beside.submit(look)
        for _ in range(30):
            save_chart(chart)
        over.set()
        looking.result()
    assert len(read) > 30 and all(read)
    assert [one.name for one in upload_folder().glob(".saving-*")] == []


def test_no_other_file_of_the_app_uses_what_is_inside_gradio() -> None:
    users = set()
    for path in (ROOT / "chartqa_demo").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            imported = isinstance(node, ast.ImportFrom) and (node.module or "").startswith(INSIDE)
            private = isinstance(node, ast.Attribute) and node.attr in ("_queue", "_event_queue")
            if imported or private:
                users.add(path.name)
    assert users == {"gradio_internals.py"}


def parsed(folder: Path, body: bytes, broken_off: bool = False) -> Any:
    with ThreadPoolExecutor(1) as beside:  # a browser's own loop may run in this thread
        return beside.submit(lambda: asyncio.run(parse(folder, body, broken_off))).result()


async def parse(folder: Path, body: bytes, broken_off: bool) -> Any:
    async def stream() -> AsyncIterator[bytes]:
        yield body
        if broken_off:
            raise ConnectionError

    headers = Headers({"content-type": "multipart/form-data; boundary=B"})
    return await GradioMultiPartParser(headers, stream(), max_file_size=100, upload_dir=folder).parse()  # pyright: ignore


def part(name: str, file: str | None, content: bytes = b"chart") -> bytes:
    called = "" if file is None else f'; filename="{file}"'
    return f'--B\r\nContent-Disposition: form-data; name="{name}"{called}\r\n\r\n'.encode() + content + b"\r\n"


@pytest.mark.parametrize(
    ("body", "broken_off"),
    [
        (part("files", "a.png") + part("files", "b.png"), True),
        (part("files", "a.png") + part("files", "b.png", bytes(101)) + b"--B--", False),
        (part("files", "a.png") + part("text", None) + b"--B--", False),
    ],
    ids=["broken off", "too large", "a text beside the files"],
)
def test_of_an_upload_that_fails_nothing_stays(tmp_path: Path, body: bytes, broken_off: bool) -> None:
    close_doors()
    with pytest.raises((ConnectionError, MultiPartException)):
        parsed(tmp_path, body, broken_off)
    assert list(tmp_path.iterdir()) == []


def test_of_an_upload_only_what_gradio_looks_for_stays_under_a_name_that_it_takes(tmp_path: Path) -> None:
    close_doors()
    names = ["a.png", "..", "x/..", "?"]
    body = b"".join(part("files", name) for name in names) + part("others", "c.png") + b"--B--"
    form = parsed(tmp_path, body)
    assert [one.filename for one in form.getlist("files")] == ["a.png", None, None, "file"]
    assert len(list(tmp_path.iterdir())) == 4


def test_nobody_can_give_a_session_a_name_that_fills_the_memory() -> None:
    close_doors()
    with gr.Blocks(analytics_enabled=False) as page:
        pass
    holder = StateHolder()
    holder.set_blocks(page)
    assert holder["a" * 100] is not None
    with pytest.raises(HTTPException, match="at most 100 characters"):
        holder["a" * 101]


@pytest.mark.parametrize("name", ["a<gradio-sep>b", "\ud800", "a\nb"])
def test_nobody_can_give_a_session_a_name_on_which_gradio_fails_for_all(name: str) -> None:
    """It takes the names of all tasks apart whenever anybody cancels, and counts all events in one table."""
    close_doors()
    with gr.Blocks(analytics_enabled=False) as page:
        pass
    holder = StateHolder()
    holder.set_blocks(page)
    with pytest.raises(HTTPException, match="at most 100 characters of ASCII"):
        holder[name]
    assert holder[str(UUID(int=7))] is not None


def test_a_header_without_end_is_not_read_to_its_end() -> None:
    close_doors()
    config = uvicorn.Config(lambda: None)  # pyright: ignore[reportArgumentType]
    config.load()
    assert config.http_protocol_class is H11Protocol


def test_a_picture_that_came_by_mcp_is_deleted_as_others_are() -> None:
    close_doors()
    with gr.Blocks(analytics_enabled=False) as page:
        pass
    delete_saved(page)
    text = "data:image/png;base64," + base64.b64encode(b"a picture by MCP").decode()
    file = Path(processing_utils.save_base64_to_cache(text, str(upload_folder())))
    assert file.read_bytes() == b"a picture by MCP"
    delete_oldest(page, 0)
    assert not file.exists()


def test_what_the_page_wrote_is_not_deleted_as_an_upload_whoever_names_it(tmp_path: Path) -> None:
    with gr.Blocks(analytics_enabled=False) as page:
        pass
    chart, mine, other = Path(save_chart(Image.new("RGB", (40, 31), "teal"))), tmp_path / "mine.zip", tmp_path / "other"
    mine.write_bytes(b"")
    other.write_bytes(b"")
    page.upload_file_set.update(map(str, (mine, chart)))
    delete_uploads(page, [one.resolve() for one in (chart, mine, other)])
    assert [one.exists() for one in (chart, mine, other)] == [True, False, True]


def test_a_page_that_takes_long_to_fetch_still_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(*_: Any, **__: Any) -> None:
        raise httpx.ReadTimeout("3 seconds are over")

    close_doors()
    monkeypatch.setattr(httpx, "head", busy)
    with gr.Blocks(analytics_enabled=False) as page:
        gr.Markdown("Here")
    try:
        _, url, _ = page.launch(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")
        assert httpx.get(url, trust_env=False).status_code == 200
    finally:
        page.close(verbose=False)


def test_what_comes_with_too_few_values_is_not_written_to_the_log() -> None:
    close_doors()
    with gr.Blocks(analytics_enabled=False) as page:
        gr.Button("Ask").click(lambda first, second: None, [gr.Textbox(), gr.Textbox()])
    (function,) = page.fns.values()
    page.validate_inputs(function, ["a", "b"])
    with pytest.raises(gr.Error) as error:
        page.validate_inputs(function, ["\x1b[2J" * 99])
    assert str(error.value).isprintable() and not error.value.print_exception
