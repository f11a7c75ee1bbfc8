"""What is cancelled ends, is told so once, and takes nothing else with it; by HTTP, as Gradio's page and clients do."""

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr
import httpx
import pytest
from page_fixtures import wait_until

from chartqa_demo.settings import Settings
from chartqa_demo.space.gradio_internals import close_doors
from chartqa_demo.space.limits import app_options

STEPS = ["process_starts", *["process_generating"] * 3, "process_completed"]


class Asked:
    """A listener that answers one question at a time, a word for every `pass`, and its visitor Ann. private: whether
    it is the page's own; begun: what it has been asked."""

    def __init__(self, private: bool) -> None:
        self.begun, self.words = list[str](), threading.Semaphore(0)
        close_doors()
        with gr.Blocks(analytics_enabled=False) as self.page:
            visibility = "private" if private else "public"
            gr.Button().click(self.answer, gr.Textbox(), [gr.State(), gr.Textbox()], api_visibility=visibility)
        self.listener = next(iter(self.page.fns))
        beside = app_options(self.page, Settings(), 1)
        _, url, _ = self.page.launch(prevent_thread_lock=True, quiet=True, app_kwargs=beside)
        self.visitor = httpx.Client(base_url=f"{url}gradio_api/", timeout=8)

    def answer(self, question: str) -> Iterator[tuple[None, str]]:
        self.begun.append(question)
        for word in ("one", "two", "three"):
            assert self.words.acquire(timeout=8)
            yield None, f"{question} {word}"

    def ask(self, question: str) -> str:
        told = {"data": [question], "fn_index": self.listener, "session_hash": "ann", "trigger_id": 1}
        return self.visitor.post("queue/join", json=told).json()["event_id"]

    def begin(self, question: str) -> str:
        """Asked, and at its second word."""
        event = self.ask(question)
        self.words.release()
        wait_until(lambda: self.page.app.iterators.get(event) is not None, "it has not begun")
        return event

    def cancel(self, event: str, visitor: str = "ann") -> None:
        told = {"event_id": event, "session_hash": visitor, "fn_index": self.listener}
        telling = threading.Thread(target=lambda: self.visitor.post("cancel", json=told))
        telling.start()
        telling.join(timeout=0.5)

    def let(self) -> dict[str, list[str]]:
        """All words pass; what is said then, until nobody waits: event -> its messages."""
        self.words.release(100)
        said = dict[str, list[str]]()
        with self.visitor.stream("GET", "queue/data", params={"session_hash": "ann"}) as lines:
            for message in (json.loads(line[6:]) for line in lines.iter_lines() if line):
                if message["msg"] not in ("estimation", "close_stream", "heartbeat"):
                    said.setdefault(message["event_id"], []).append(message["msg"])
        return said


@pytest.fixture
def asked() -> Iterator[Callable[[bool], Asked]]:
    made: list[Asked] = []

    def ask(private: bool) -> Asked:
        made.append(Asked(private))
        return made[-1]

    yield ask
    for one in made:
        one.words.release(100)
        one.visitor.close()
        one.page.close(verbose=False)


def test_a_caller_who_cancels_what_waits_keeps_what_runs(asked: Callable[[bool], Asked]) -> None:
    page = asked(False)
    runs, waits = page.begin("first"), page.ask("second")
    page.cancel(waits)
    assert page.let() == {runs: STEPS, waits: ["process_completed"]}
    assert page.begun == ["first"]


def test_the_page_ends_what_it_began_before_and_is_told_of_each(asked: Callable[[bool], Asked]) -> None:
    page = asked(True)
    runs, waits = page.begin("first"), page.ask("second")
    page.cancel(waits)
    said = page.let()
    assert said == {runs: [*STEPS[:2], "process_completed"], waits: ["process_completed"]}
    assert page.begun == ["first"], "what was cancelled began, or began anew"


@pytest.mark.parametrize("private", [True, False], ids=["page", "caller"])
def test_what_came_later_is_answered(asked: Callable[[bool], Asked], private: bool) -> None:
    page = asked(private)
    runs, waits = page.begin("first"), page.ask("second")
    page.cancel(runs)
    assert page.let() == {runs: [*STEPS[:2], "process_completed"], waits: STEPS}


def test_nobody_ends_what_is_anothers(asked: Callable[[bool], Asked]) -> None:
    page = asked(True)
    runs = page.begin("first")
    page.cancel(runs, "bob")
    assert page.let() == {runs: STEPS}


def test_what_is_cancelled_twice_leaves_nothing_behind(asked: Callable[[bool], Asked]) -> None:
    page = asked(True)
    runs, waits = page.begin("first"), page.ask("second")
    for event in (waits, waits, runs, "none"):
        page.cancel(event)
    page.let()
    queue: Any = vars(page.page)["_queue"]
    kept = (queue.event_ids_to_events, page.page.app.iterators, page.page.app.iterators_to_reset)
    wait_until(lambda: not any(kept), "events that have ended are kept")
    third = page.ask("third")
    assert page.let() == {third: STEPS}
    assert page.begun == ["first", "third"]
