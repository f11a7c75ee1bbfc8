"""Asking again before the answers are there, of an engine that answers several at once; in Chromium."""

from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
from endpoint_server import EndpointServer, endpoint_server, eventually
from page_fixtures import Tab, Windows, expect, page_of

from chartqa_demo.engines.endpoint import EndpointEngine
from chartqa_demo.settings import Settings

pytest_plugins = ("page_fixtures",)

FIRST, SECOND, THIRD = "How many bars are there?", "Which bar is the tallest?", "What is the title?"


@pytest.fixture(scope="module")
def opened(windows: Windows) -> Iterator[tuple[Tab, EndpointServer]]:
    """Half of every answer comes at once, the rest when the server is let."""
    with endpoint_server() as server:
        engine = EndpointEngine(Settings(endpoint=server.url, base_name="slow", adapter_name="slow"))
        with page_of(windows, cast(Any, engine), Settings()) as tab:
            tab.pick_example()
            yield tab, server
        server.let = True
        engine.close()


@pytest.fixture
def page(opened: tuple[Tab, EndpointServer]) -> tuple[Tab, EndpointServer]:
    opened[1].let = False
    return opened


def ask(tab: Tab, question: str) -> None:
    tab.type_question(question)
    tab.press("Ask")


def expect_begun(tab: Tab, server: EndpointServer, question: str) -> None:
    """The three arms are being asked this and nothing else."""
    expect(tab.page.locator("#asked .question")).to_have_text(question)
    expect(tab.answer("Adapter")).to_contain_text("slow saw")
    eventually(lambda: server.open == 3)


def expect_answered(tab: Tab, server: EndpointServer, question: str) -> None:
    server.let = True
    tab.expect_ready()
    for arm in ("Pretrained", "Prompted", "Adapter"):
        expect(tab.answer(arm)).to_contain_text(f"and read: {question}")


def test_the_last_of_several_hasty_questions_is_answered(page: tuple[Tab, EndpointServer]) -> None:
    tab, server = page
    for question in (FIRST, SECOND, THIRD):
        ask(tab, question)
    expect_begun(tab, server, THIRD)
    expect_answered(tab, server, THIRD)


def test_a_question_that_is_ended_late_does_not_end_the_next(page: tuple[Tab, EndpointServer]) -> None:
    tab, server = page
    held: list[Callable[[], None]] = []
    tab.page.route("**/cancel", lambda route: held.append(route.continue_))
    ask(tab, FIRST)
    expect_begun(tab, server, FIRST)
    ask(tab, SECOND)
    expect_begun(tab, server, SECOND)
    assert len(held) == 1
    with tab.page.expect_response("**/cancel"):
        held[0]()
    expect_answered(tab, server, SECOND)
