"""Fixtures of the page's tests: a server with a scripted engine, Chromium, and the tabs of visitors.

Charts lie in page_charts, what a visitor does in page_visitor; tests import all of it from here.
"""

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

import pytest
from page_charts import bar_chart, encoded, example_split, replies
from page_visitor import (
    AT_ONCE,
    CHROMIUM,
    CHROMIUM_FLAGS,
    LEAVING,
    PERMISSIONS,
    SIZES,
    STILL,
    Gate,
    Looks,
    Tab,
    expect,
    in_looks,
    in_mode,
    looks,
    looks_in_turn,
    violations,
    wait_until,
)
from playwright.sync_api import Browser, BrowserContext, Page, TimeoutError, sync_playwright

from chartqa_demo.engines.scripted import ScriptedEngine
from chartqa_demo.settings import Settings
from chartqa_demo.space.limits import app_options
from chartqa_demo.ui import build_app, launch_options

__all__ = [
    "LEAVING",
    "Gate",
    "Looks",
    "OpenTab",
    "Tab",
    "Windows",
    "bar_chart",
    "encoded",
    "example_split",
    "expect",
    "in_looks",
    "in_mode",
    "looks",
    "looks_in_turn",
    "page_of",
    "replies",
    "violations",
    "wait_until",
]

OpenTab = Callable[..., Tab]


@contextmanager
def page_of(windows: "Windows", engine: ScriptedEngine, settings: Settings) -> Iterator[Tab]:
    """A server of its own for this engine, and a tab on its page."""
    app = build_app(engine, settings, example_split())
    beside = app_options(app, settings, engine.parallel)
    _, url, _ = app.launch(prevent_thread_lock=True, quiet=True, app_kwargs=beside, **launch_options())
    tab = Tab(windows(), url)
    tab.page.goto(url)
    expect(tab.card("Adapter")).to_be_visible()
    yield tab
    tab.leave()
    app.close(verbose=False)


@pytest.fixture(scope="session")
def scripted_app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ScriptedEngine, str]]:
    """One server for all page tests (engine, url); `engine` below gives each test a fresh script."""
    engine = ScriptedEngine()
    results = str(tmp_path_factory.mktemp("results"))
    app = build_app(engine, Settings(results_dir=results), example_split())
    beside = app_options(app, Settings(), engine.parallel)
    _, url, _ = app.queue(max_size=20).launch(
        prevent_thread_lock=True, quiet=True, app_kwargs=beside, **launch_options()
    )
    yield engine, url
    app.close(verbose=False)


@pytest.fixture
def engine(scripted_app: tuple[ScriptedEngine, str]) -> Iterator[ScriptedEngine]:
    """Answers in few words, as each is a moment on the page: a sentence, a phrase and a number, all of them wrong."""
    engine, fresh = scripted_app[0], ScriptedEngine(0.01, replies("No model has looked.", "It is 42.", "42"))
    engine.script, engine.failure, engine.questions = fresh.script, None, []
    engine.delay, engine.pace = fresh.delay, lambda step: time.sleep(engine.delay)
    yield engine
    if isinstance(engine.pace, Gate):  # a question of this test must not wait for a word of the next
        engine.pace.open()
    engine.idle.wait(timeout=20)


@pytest.fixture
def app_url(scripted_app: tuple[ScriptedEngine, str], engine: ScriptedEngine) -> str:
    return scripted_app[1]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


class Windows:
    """Browsers of visitors, each kept for the whole run: a page opens in half the time where its files and the process
    that drew the last one are still there. A blank page of the same site keeps that process."""

    def __init__(self, browser: Browser) -> None:
        self.browser = browser
        self.kept: dict[tuple[int, str], BrowserContext] = {}

    def __call__(
        self,
        size: str = "wide",
        reduced_motion: Literal["reduce"] | None = None,
        visitor: int = 0,
        locale: str = "en-US",
    ) -> Page:
        """A new page, blank. visitor: tells visitors who come at one time apart."""
        if (visitor, locale) not in self.kept:
            context = self.browser.new_context(locale=locale, permissions=PERMISSIONS)
            context.add_init_script(STILL)
            blank = context.new_page()
            blank.route("**/*", lambda route: route.fulfill(body=""))
            blank.goto("http://127.0.0.1/")
            self.kept[visitor, locale] = context
        page = self.kept[visitor, locale].new_page()
        page.set_viewport_size(SIZES[size])  # pyright: ignore (a dict of two numbers)
        if reduced_motion:
            page.emulate_media(reduced_motion=reduced_motion)
        else:
            page.add_init_script(AT_ONCE)
        return page


@pytest.fixture(scope="session")
def windows(browser: Browser) -> Windows:
    return Windows(browser)


@pytest.fixture
def open_tab(windows: Windows, app_url: str) -> Iterator[OpenTab]:
    """`open_tab(size="wide", theme="light")`; after the test nothing may have gone wrong unseen in any tab."""
    tabs: list[Tab] = []

    def open_tab(
        size: str = "wide", theme: str = "light", reduced_motion: Literal["reduce"] | None = None, visitor: int = 0
    ) -> Tab:
        tab = opened(windows(size, reduced_motion, visitor), app_url, theme)
        tabs.append(tab)
        return tab

    yield open_tab
    for tab in tabs:
        tab.leave()


def opened(page: Page, url: str, theme: str = "light") -> Tab:
    tab = Tab(page, url)
    page.goto(f"{url}?__theme={theme}")
    expect(tab.card("Adapter")).to_be_visible()
    expect(page.get_by_text("Loading...")).to_have_count(0)
    return tab


@pytest.fixture
def fresh_tab(open_tab: OpenTab) -> Tab:
    """A page of its own, for a test that leaves on it what no visitor can take away."""
    return open_tab()


# What a visitor sees of the page, and what is in its fields.
STATE = """() => {
  const seen = (what) => [...document.querySelectorAll(what)].filter((one) => one.checkVisibility());
  const fields = seen("input:not([type=file]), textarea").map((one) => `${one.value} ${one.checked}`);
  const texts = seen("#asked, #answers .card, #chips, #notice, #chart-notice, #followed, #share, .label-wrap.open");
  const there = ["[role=dialog]", "#chart input[type=file]"].map((one) => document.querySelectorAll(one).length);
  return JSON.stringify([fields, texts.map((one) => one.innerText), there,
    document.querySelector("#stop").disabled, document.body.className, location.search]);
}"""


@pytest.fixture(scope="session")
def kept_open() -> Iterator[list[tuple[Tab, str]]]:
    """The page of `tab`, once there is one, and what it said at first."""
    kept: list[tuple[Tab, str]] = []
    yield kept
    for tab, _ in kept:
        tab.leave()


@pytest.fixture
def tab(
    windows: Windows,
    scripted_app: tuple[ScriptedEngine, str],
    engine: ScriptedEngine,
    kept_open: list[tuple[Tab, str]],
) -> Iterator[Tab]:
    """One page for all tests that leave no more on it than a visitor can take away: to open a page takes longer than
    most of what they do. It begins as it was opened; after a test that leaves another, the next opens a new one."""
    if not kept_open:
        tab = opened(windows(visitor=1), scripted_app[1])  # whose storage no other test empties meanwhile
        tab.page.wait_for_function(f"!/\\d\\.\\ds/.test(({STATE})())")  # the clock of Gradio's "Loading..."
        kept_open.append((tab, tab.page.evaluate(STATE)))
    tab, first = kept_open.pop()
    visits = tab.visits
    yield tab
    try:
        tab.tidy()
        tab.expect_no_error(tab.visits > visits)
        with suppress(TimeoutError):
            tab.page.wait_for_function(f"(first) => ({STATE})() === first", arg=first, timeout=5_000)
        if (left := tab.page.evaluate(STATE)) == first:
            kept_open.append((tab, first))
        else:
            warnings.warn(f"The next test opens a page anew. Left: {left} At first: {first}", stacklevel=1)
    finally:
        if not kept_open:
            tab.page.close()
            tab.forget()


@pytest.fixture
def calm_tab(tab: Tab) -> Tab:
    """The same page for a visitor who asks for no motion."""
    tab.page.emulate_media(reduced_motion="reduce")
    return tab


@pytest.fixture(scope="session")
def chart_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("charts") / "visitors.png"
    bar_chart().save(path)
    return path
