"""What is used of Gradio beside its public interface: here and nowhere else, checked with Gradio 6.31.

tests/space/test_gradio_internals.py fails when one of them moves.
"""

import errno
import re
from collections.abc import Iterable
from contextlib import suppress
from inspect import CORO_CREATED, getcoroutinestate
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import gradio as gr
import uvicorn.protocols.http.auto as http
from fastapi import HTTPException
from gradio import networking, processing_utils, queueing, route_utils, routes, utils
from gradio.data_classes import PredictBodyInternal
from gradio.exceptions import InvalidPathError
from gradio.processing_utils import save_pil_to_cache
from gradio.route_utils import FnIndexInferError, GradioMultiPartParser
from gradio.server_messages import ProcessCompletedMessage
from gradio.state_holder import StateHolder
from gradio.utils import get_upload_folder
from gradio_client.utils import strip_invalid_filename_characters
from PIL import Image
from starlette.datastructures import UploadFile
from uvicorn.protocols.http.h11_impl import H11Protocol

from chartqa_demo.errors import shown

FAILED = "The server could not do what was sent to it. Reload the page and try again."
NOT_UPLOADED = "This file is not among the uploads, or no longer. Choose it again."
MOST_UPLOADING = 1_000  # names of uploads that are known at once
LONGEST_SESSION = 100  # characters of what a caller names its session; Gradio's own page takes 11
# Gradio takes the names of all tasks apart at "<gradio-sep>" whenever anybody cancels something, and counts all events
# in one table, by session: a name with that in it, or with what is no text, ended everybody's cancelling, or counting.
SESSION = re.compile(rf"[ -;=-~]{{0,{LONGEST_SESSION}}}")
CALLED = re.compile(r"/call/v2/([^/]+)/?$")
# By which the app cancels: of Gradio's queue, and of an event in it.
OF_QUEUE = ("event_ids_to_events", "pending_event_ids_session", "pending_messages_per_session", "active_jobs")
OF_QUEUE += ("clean_events", "_asyncio_tasks")
OF_EVENT = ("session_hash", "fn", "enqueue_time", "alive")
_payload, _save_base64 = utils.error_payload, processing_utils.save_base64_to_cache
_find = route_utils.get_fn
_push, _state, _parse = queueing.Queue.push, StateHolder.__getitem__, GradioMultiPartParser.parse
_saved: set[str] = set()  # files of `save_chart`, and pictures that came by MCP


def questions_waiting(page: gr.Blocks) -> int:
    """How many events wait in the page's queue: `len()` of its private `_queue`."""
    return len(page._queue)


async def cancel(page: gr.Blocks, visitor: str, event: str) -> bool:
    """End an event, and what the page began by the same listener for the same visitor before it: its browser knows the
    newest alone. Nothing that came later, of an API caller nothing else, and nothing where it has ended.

    Gradio's own `/cancel` ends all that run for this visitor and listener, whatever is named, and tells the browser of
    the named one only, so that it waits for the others for ever. One that begins in that moment it begins anew when it
    has already sent something. And a task that is ended before its first step keeps its place among those that run.

    False, and nothing is done, where this Gradio's queue has not what that takes: its own `/cancel` is left to do it.
    """
    queue = page._queue
    if not all(hasattr(queue, name) for name in OF_QUEUE):
        return False
    named = queue.event_ids_to_events.get(event)  # none that has ended
    if named is None:
        return True
    if not all(hasattr(named, name) for name in OF_EVENT):
        return False
    if named.session_hash != visitor:
        return True
    ended = [named]
    if named.fn.api_visibility == "private":
        beside = [
            one for one in queue.event_ids_to_events.values() if (one.session_hash, one.fn) == (visitor, named.fn)
        ]
        ended = [one for one in beside if one.enqueue_time <= named.enqueue_time]
    for one in ended:
        await _end(queue, one)
    return True


async def _end(queue: queueing.Queue, event: queueing.Event) -> None:
    if not event.alive:  # it is ending
        return
    event.alive = False  # no step of it is begun or sent any more
    messages = queue.pending_messages_per_session.get(event.session_hash)  # none of a visitor of long ago
    if messages is not None and event._id in queue.pending_event_ids_session.get(event.session_hash, ()):
        # Gradio's own last word has no values, on which its page fails.
        messages.put_nowait(ProcessCompletedMessage(output={"data": []}, success=True, event_id=event._id))
    await queue.clean_events(event_id=event._id)
    if [event] in queue.active_jobs:  # else it only clears away behind itself
        for task in list(queue._asyncio_tasks):
            begun = getcoroutinestate(cast(Any, task.get_coro())) != CORO_CREATED
            if begun and task.get_name().endswith(event._id):  # else it ends at once by itself: nobody wants it
                task.cancel()


def misnamed(page: gr.Blocks, way: str, told: Any) -> tuple[int, str] | None:
    """Status and sentence for a request to this path that names what is not there, on which Gradio fails; None else."""
    if not isinstance(told, dict):
        return None
    if "component_server" in way and isinstance(one := told.get("component_id"), int) and one not in page.blocks:
        return 404, "This page has no such component."
    if not (called := CALLED.search(way)):
        return None
    if not (endpoint := page.get_api_info()["named_endpoints"].get(f"/{called[1]}")):
        return 404, f"There is no endpoint “{shown(called[1])}”."
    needed = {one["parameter_name"]: not one.get("parameter_has_default") for one in endpoint["parameters"]}
    wrong = [f"not “{shown(name)}”" for name in told if name not in needed and name != "oauth_token"][:1]
    wrong += [f"“{name}” in any case" for name, must in needed.items() if must and name not in told]
    return (422, f"“{called[1]}” takes {', '.join(needed)}; {' and '.join(wrong)}.") if wrong else None


def upload_folder() -> Path:
    """Where Gradio keeps the files that visitors upload, and may serve from; it need not exist yet."""
    return Path(get_upload_folder())


def save_chart(chart: Image.Image) -> str:
    """The path of a new PNG among the uploads: a file outside would not be served. The same picture is one file, and
    whole at any time: others who look at it read it while it is saved again."""
    uploads = upload_folder()
    uploads.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=uploads, prefix=".saving-") as beside:
        saved = Path(save_pil_to_cache(chart, beside, name="chart", format="png"))
        place = uploads.resolve() / saved.parent.name / saved.name
        place.parent.mkdir(exist_ok=True)
        saved.replace(place)
    _saved.add(str(place))
    return str(place)


def delete_saved(page: gr.Blocks) -> None:
    """Have Gradio delete what `save_chart` wrote when it deletes uploads (`delete_cache`)."""
    page.temp_file_sets.append(_saved)


def delete_oldest(page: gr.Blocks, most: int) -> None:
    """Delete a page's oldest files until at most `most` bytes are left; those who asked about them are told."""
    sizes = {}
    kept = {one for block in page.blocks.values() for one in getattr(block, "keep_in_cache", ())}
    for file in {one for files in page.temp_file_sets for one in list(files)} - kept:
        try:
            sizes[file] = Path(file).stat()
        except OSError:
            _forget(page, file)
    over = sum(one.st_size for one in sizes.values()) - most
    for file, one in sorted(sizes.items(), key=lambda each: each[1].st_mtime):
        if over <= 0:
            break
        _forget(page, file)
        over -= one.st_size


def delete_uploads(page: gr.Blocks, paths: Iterable[Path]) -> None:
    """Delete files that visitors have uploaded; one that the page itself wrote stays, whoever names it."""
    for path in {Path(file).resolve() for file in page.upload_file_set - _saved}.intersection(paths):
        path.unlink(missing_ok=True)


def delete_named(page: gr.Blocks, start: str) -> None:
    """Delete every file that the page has sent or taken whose name begins so."""
    for file in {one for files in page.temp_file_sets for one in list(files) if Path(one).name.startswith(start)}:
        _forget(page, file)


def _forget(page: gr.Blocks, file: str) -> None:
    """Delete a file with the folder that Gradio made for it, and the name that Gradio would keep for ever."""
    Path(file).unlink(missing_ok=True)
    with suppress(OSError):
        Path(file).parent.rmdir()
    for files in page.temp_file_sets:
        files.discard(file)


def forget_call(page: gr.Blocks, session: str) -> None:
    """Drop what Gradio keeps of a visitor by `/call/`, who has a session for each question: 0.3 MB, the whole page."""
    page.state_holder.session_data.pop(session, None)
    page.state_holder.time_last_used.pop(session, None)


def forget_uploading() -> None:
    """Drop the oldest names that callers gave their uploads, of which Gradio tells the progress and keeps each."""
    progress: Any = routes.file_upload_statuses
    for known in (progress._statuses, progress._signals):
        for name in list(islice(known, max(0, len(known) - MOST_UPLOADING))):
            del known[name]


def close_doors() -> None:
    """What Gradio does for every visitor and this page for none: it fetches what a visitor names by an address
    (`file=https://...`, a picture by its URL), tells the text of errors that were meant for nobody, remembers a session
    by a name of any length, and leaves files behind of an upload that was broken off or came by MCP. uvicorn's quicker
    parser reads a header of any length, in time that grows with its square; the other one refuses it at 64 KB. And a
    start ends where the first page takes longer than 3 s, as on a busy machine; that the server answers is known by
    then."""
    networking.url_ok = lambda url: True
    gr.Blocks.validate_inputs = _check_inputs
    queueing.Queue.push, StateHolder.__getitem__ = _push_named, _state_named
    route_utils.get_fn = _find_named
    GradioMultiPartParser.parse, processing_utils.save_base64_to_cache = _parse_files, _save_noted
    http.AutoHTTPProtocol = H11Protocol
    processing_utils.sh.get = processing_utils.sh.async_validate_url = _fetch_nothing
    utils.error_payload = queueing.error_payload = _in_words


async def _fetch_nothing(address: str, *_: Any, **__: Any) -> Any:
    raise PermissionError(f"Nothing is fetched for a visitor: {address[:100]}")


def _check_session(name: object) -> None:
    if not SESSION.fullmatch(str(name)):
        told = f"A session's name has at most {LONGEST_SESSION} characters of ASCII, none of them <. Reload the page."
        raise HTTPException(400, told)


def _check_inputs(self: gr.Blocks, block_fn: Any, inputs: list[Any]) -> None:
    """As Gradio's own, without all that was sent in the log."""
    if len(inputs) < len(block_fn.inputs):
        raise gr.Error(FAILED, print_exception=False)


async def _push_named(self: queueing.Queue, body: Any, request: Any, username: str | None) -> Any:
    _check_session(body.session_hash)
    return await _push(self, body, request, username)


def _find_named(blocks: gr.Blocks, api_name: str | None, body: Any) -> Any:
    """As Gradio's own; what is not there, or comes with too few values, is refused before anything is begun."""
    try:
        found = _find(blocks, api_name, body)
    except (KeyError, FnIndexInferError):
        raise HTTPException(404, "This page has no such endpoint.") from None
    sent, needed = len(body.data), len(found.inputs)
    if not isinstance(body, PredictBodyInternal) and sent == sum(not one.skip_api for one in found.inputs):
        return found  # by /call/, where Gradio adds what a visitor's session holds, and looks here again
    if sent < needed and not found.cancels:
        raise HTTPException(422, f"This endpoint takes {needed} values; {sent} came.")
    return found


def _state_named(self: StateHolder, session_id: str) -> Any:
    _check_session(session_id)
    return _state(self, session_id)


async def _parse_files(self: GradioMultiPartParser) -> Any:
    """Files under the name that Gradio looks for, and nothing else: other fields are held in memory, however long, and
    what is broken off, refused or called otherwise would stay on disk for good."""
    self.max_fields, taken = 0, []
    try:
        form = await _parse(self)
        taken = [file for file in form.getlist("files") if isinstance(file, UploadFile)]
        for file in taken:
            name = strip_invalid_filename_characters(Path(file.filename or "").name)
            file.filename = name if name.strip(". ") else None  # Gradio finds one
        return form
    except ValueError:  # of what takes it apart, which Gradio looks for in one place of two
        raise HTTPException(400, "This upload cannot be read. Send it as multipart/form-data.") from None
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise
        raise HTTPException(507, f"Uploads cannot be kept here now ({error.strerror}). Try again later.") from None
    finally:
        kept = {id(one.file) for one in taken}
        for file in self._files_to_close_on_error:
            if id(file) not in kept:
                file.close()
                Path(file.name).unlink(missing_ok=True)


def _save_noted(*given: Any, **named: Any) -> str:
    _saved.add(file := _save_base64(*given, **named))
    return file


def _in_words(error: BaseException | None, show_error: bool) -> dict[str, Any]:
    """What a visitor is told of an error; its own text where that was written for visitors."""
    told = NOT_UPLOADED if isinstance(error, InvalidPathError) else FAILED
    return _payload(error if isinstance(error, gr.Error) else gr.Error(told), show_error)
