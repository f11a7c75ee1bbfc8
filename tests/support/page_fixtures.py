"""Fixtures of the page's tests: charts, a server with a scripted engine, Chromium, and a tab that keeps its errors."""

import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, cast

import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image, ImageDraw
from playwright.sync_api import Browser, BrowserContext, Locator, LocatorAssertions, Page, TimeoutError, sync_playwright
from playwright.sync_api import expect as expect_at_once

from chartqa_demo.arms import Arm
from chartqa_demo.data.splits import Example, Kind, Split, chart_id
from chartqa_demo.engines.scripted import ScriptedEngine
from chartqa_demo.settings import Settings
from chartqa_demo.space.limits import app_options
from chartqa_demo.ui import build_app, launch_options

# Debian's; the shell is the same engine without the windows, and less work.
CHROMIUM = next(path for path in ("/usr/bin/chromium-headless-shell", "/usr/bin/chromium") if Path(path).exists())
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
    "--process-per-site",  # see `windows`
]
PATIENCE_MS = 20_000  # a busy machine with two cores
expect_at_once.set_options(timeout=PATIENCE_MS)
PERMISSIONS = ["clipboard-read", "clipboard-write", "camera"]  # as visitors give who are asked
SIZES = {"wide": {"width": 1280, "height": 800}, "phone": {"width": 390, "height": 844}}
# Gradio 6.31 leaves the clock of its "Loading..." running, 60 frames a second, in every page that is open.
STILL = """
const frame = window.requestAnimationFrame.bind(window);
window.requestAnimationFrame = (draw) => (/performance.now..-.*1e3/.test(draw) ? 0 : frame(draw));
"""
# What moves or fades is there at once: 60 pictures a second are much of what a waiting page computes. The names of the
# animations stay; a visitor who asks for no motion has a page without this.
AT_ONCE = """
const sheet = new CSSStyleSheet();
const none = ["animation-duration", "animation-delay", "transition-duration", "transition-delay"];
sheet.replaceSync(`*, *::before, *::after { ${none.map((one) => `${one}: 0s !important`).join(";")} }`);
document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
"""
# What Gradio logs of a page that is left while it still waits for the server.
LEAVING = ("AbortError: signal is aborted", "Unexpected error Connection errored out")
Looks = list[tuple[str, str]]
LOOKS: Looks = [("wide", "light"), ("wide", "dark"), ("phone", "light"), ("phone", "dark")]
# A test in two sizes and modes in turn; every one with each size and mode is for the campaign.
in_looks = pytest.mark.parametrize(
    "of", [LOOKS[::3], pytest.param(LOOKS, marks=pytest.mark.campaign)], ids=["in turn", "every look"]
)


def bar_chart(heights: tuple[int, ...] = (60, 150, 100, 200), colour: str = "steelblue") -> Image.Image:
    image = Image.new("RGB", (480, 320), "white")
    draw = ImageDraw.Draw(image)
    draw.text((20, 12), "Visitors per quarter", fill="black")
    for index, height in enumerate(heights):
        draw.rectangle((50 + index * 100, 300 - height, 120 + index * 100, 300), fill=colour)
    return image


def encoded(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def example_split() -> Split:
    """Three charts with three, two and one questions."""
    asked: list[tuple[int, str, str, Kind]] = [
        (0, "How many visitors came in the fourth quarter?", "200", "human"),
        (0, "Which quarter had the fewest visitors?", "Q1", "human"),
        (0, "What is the title of the chart?", "Visitors per quarter", "machine"),
        (1, "Is the second bar taller than the third?", "Yes", "human"),
        (1, "How many bars are shown?", "4", "machine"),
        (2, "What is the value of the first bar?", "42", "machine"),
    ]
    pictures = [
        encoded(bar_chart()),
        encoded(bar_chart((180, 120, 60, 20), "darkorange")),
        encoded(bar_chart((42, 84, 126, 168), "seagreen")),
    ]
    return Split(
        "bundled",
        "test",
        tuple(
            Example(
                f"test/{row}",
                chart_id(pictures[chart]),
                text,
                (gold,),
                kind,
                "bars",
                partial(pictures.__getitem__, chart),
            )
            for row, (chart, text, gold, kind) in enumerate(asked)
        ),
    )


def replies(pretrained: str, prompted: str, adapter: str) -> Callable[[Arm, str], str]:
    texts = {"pretrained": pretrained, "prompted": prompted, "adapter": adapter}
    return lambda arm, question: texts[arm.key]


def wait_until(condition: Callable[[], bool], wish: str) -> None:
    """For what no browser and no event tells. `condition` is asked for 15 seconds at most."""
    end = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < end, wish
        time.sleep(0.02)


def violations(page: Page, context: str | None = None) -> list[tuple[str, list[str]]]:
    """What axe finds wrong on a page, or inside an element of it: the rule, and the elements."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(Axe().axe_script)
    # Nothing is put together about what is right, and nothing is fetched again: of the two rules that read what was
    # fetched, that of style sheets is experimental, and off, and that of sound has nothing to hear.
    assert page.locator("audio, video").count() == 0
    only = "{resultTypes: ['violations'], preload: false}"
    run = f"async (where) => (await axe.run(where ?? document, {only})).violations"
    found = page.evaluate(run, context)
    return [(one["id"], [node["html"][:200] for node in one["nodes"]]) for one in found]


def looks(page: Page, of: Looks) -> Iterator[str]:
    """The page in these sizes and modes, one after the other ("phone-dark"); in none is it wider than its window."""
    for size, theme in of:
        page.set_viewport_size(SIZES[size])  # pyright: ignore (a dict of two numbers)
        in_mode(page, theme)
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= SIZES[size]["width"], f"the page is {width} pixels wide in a window of {SIZES[size]['width']}"
        yield f"{size}-{theme}"


def looks_in_turn(page: Page, of: Looks, moment: int) -> Iterator[str]:
    """The page in one of two looks, in the other at the next moment of a test; in all of them where there are more."""
    return looks(page, of if len(of) > 2 else [of[moment % 2]])


def in_mode(page: Page, theme: str) -> None:
    """Light or dark, faded in; what moves for ever is not awaited. Gradio's `__theme` sets a class of the body."""
    page.evaluate(
        """async (dark) => {
          document.body.classList.toggle("dark", dark);
          await new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)));
          const ending = document.getAnimations().filter((one) => one.effect.getComputedTiming().endTime < Infinity);
          await Promise.allSettled(ending.map((one) => one.finished));
        }""",
        theme == "dark",
    )


class Expectation:
    """Playwright's expectations of an element, once there is one. While there is none, each of Playwright's looks, some
    ten a second, describes the whole page to a screen reader, for a message about what failed."""

    NEEDS = ("to_contain_text", "to_have_text", "to_have_value", "to_have_attribute", "to_have_class", "to_be_focused")
    NEEDS += ("to_be_checked", "to_be_enabled", "to_be_disabled", "to_be_in_viewport")

    def __init__(self, what: Locator) -> None:
        self._what, self._expected = what, expect_at_once(what)

    def __getattr__(self, name: str) -> Any:
        if name == "to_be_visible" or name in self.NEEDS:
            with suppress(TimeoutError):  # the expectation itself says what is missing
                state = "visible" if name == "to_be_visible" else "attached"
                self._what.first.wait_for(state=state, timeout=PATIENCE_MS)
        return getattr(self._expected, name)


def expect(what: Locator) -> LocatorAssertions:
    return cast(Any, Expectation(what))


class Gate:
    """The pace of a scripted engine in a test's hand: a word passes for every `let`, all of them after `open`."""

    def __init__(self) -> None:
        self._passes = threading.Semaphore(0)
        self._opened = threading.Event()

    def __call__(self, step: int) -> None:
        if not self._opened.is_set() and not self._passes.acquire(timeout=60):
            raise TimeoutError("The test let no word pass.")

    def let(self, words: int = 1) -> None:
        self._passes.release(words)

    def open(self) -> None:
        self._opened.set()
        self._passes.release(1)


class Tab:
    """A browser tab as a visitor has it, which keeps what no visitor should cause: errors and outside requests."""

    def __init__(self, page: Page, url: str) -> None:
        self.page, self.url = page, url
        self.errors: list[str] = []
        self.outside: list[str] = []
        self.width = (page.viewport_size or {"width": 0})["width"]
        page.set_default_timeout(15_000)
        page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        self.visits = 0
        page.on("domcontentloaded", lambda _: setattr(self, "visits", self.visits + 1))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on(
            "request",
            lambda request: (
                None if request.url.startswith((url, "data:", "blob:")) else self.outside.append(request.url)
            ),
        )

    def card(self, arm: str) -> Locator:
        return self.page.get_by_role("article", name=arm)

    def answer(self, arm: str) -> Locator:
        return self.card(arm).locator(".answer")

    def upload(self, path: Path) -> None:
        self.page.locator("#chart input[type=file]").set_input_files(path)

    def upload_chart(self, path: Path) -> None:
        self.upload(path)
        expect(self.page.locator("#chart img")).to_be_visible()

    def pick_example(self, number: int = 1) -> None:
        self.page.get_by_role("button", name=f"Example chart {number}:").click()
        expect(self.page.locator("#chart img")).to_be_visible()

    def type_question(self, text: str) -> None:
        self.page.get_by_label("Question", exact=True).fill(text)

    def press(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).click()

    def unfold(self, accordion: str) -> None:
        self.page.get_by_role("button", name=accordion).click()

    def type_over(self, box: Locator, text: str) -> None:
        """Replace what is in a field of an accordion that just opened: Gradio writes the first value a second time,
        some milliseconds after the field appears, over what a script has typed by then."""
        end = time.monotonic() + 15
        kept_since = time.monotonic()
        while time.monotonic() - kept_since < 0.5:
            assert time.monotonic() < end, f"{text!r} did not stay in its field"
            if box.input_value() != text:
                box.fill(text)
                kept_since = time.monotonic()
            self.page.wait_for_timeout(50)

    def resize(self, size: str) -> None:
        self.page.set_viewport_size(SIZES[size])  # pyright: ignore (a dict of two numbers)
        self.width = SIZES[size]["width"]

    def tidy(self) -> None:
        """Take away the chart, what was typed and the history, fold and uncheck what is not so at first, as a visitor
        does; then the page looks as when it was opened."""
        sideways = self.page.evaluate("document.documentElement.scrollWidth")
        assert sideways <= self.width, f"the page is {sideways} pixels wide in a window of {self.width}"
        self.resize("wide")
        self.page.emulate_media(reduced_motion="no-preference")
        if self.page.get_by_role("dialog").count():
            self.page.keyboard.press("Escape")
        if (stop := self.page.locator("#stop")).is_enabled():
            stop.click()
        self.page.get_by_label("Guess first").uncheck()
        self.page.locator("#kind").get_by_label("any", exact=True).check()
        for unfolded in self.page.locator("button.label-wrap.open").all()[::-1]:
            unfolded.click()
        if (told := self.page.locator("#notice [role=alert], #chart-notice [role=alert]")).count():
            self.pick_example()
            expect(told).to_have_count(0)
        remove, clear = (self.page.get_by_role("button", name=name) for name in ("Remove Image", "Clear history"))
        if remove.count():
            last = b'"data":[null],"event_data":null'  # half a second later the cards are emptied once more
            with self.page.expect_response(lambda answer: last in (answer.request.post_data_buffer or b"")):
                remove.click()
        self.type_question("")
        self.page.get_by_label("Right answer, if").fill("")
        if clear.is_visible():
            clear.click()
            expect(self.page.locator("#history .question")).to_have_count(0)
        if (delete := self.page.get_by_role("button", name="Delete my guesses", include_hidden=True)).count():
            delete.evaluate("button => button.click()")  # it may be folded
        self.page.evaluate("document.activeElement.blur(); document.body.classList.remove('dark'); scrollTo(0, 0)")

    def expect_no_error(self, left: bool) -> None:
        """Nothing has gone wrong since this was asked last. left: whether the page was left or loaded again since."""
        errors = [error for error in self.errors if not left or not error.startswith(LEAVING)]
        self.errors.clear()
        assert not errors, errors

    def forget(self) -> None:
        """Empty what the browser keeps of this visitor."""
        blank = self.page.context.pages[0]  # see Windows
        origin = {"origin": self.url.rstrip("/"), "storageTypes": "local_storage,indexeddb"}
        session = self.page.context.new_cdp_session(blank)
        session.send("Storage.clearDataForOrigin", origin)
        session.detach()

    def leave(self) -> None:
        """Close the tab, if it is open, and forget the visitor; nothing may have gone wrong unseen."""
        sideways = 0
        if not self.page.is_closed():
            sideways = self.page.evaluate("document.documentElement.scrollWidth")
            self.page.close()
        self.forget()
        self.expect_no_error(self.visits > 1)
        assert not self.outside, self.outside
        assert sideways <= self.width, f"the page is {sideways} pixels wide in a window of {self.width}"

    def expect_ready(self) -> None:
        expect(self.page.get_by_role("status").filter(has_text="3 answers ready")).to_be_visible()

    def expect_notice(self, words: str) -> None:
        expect(self.page.locator("#notice [role=alert], #chart-notice [role=alert]")).to_contain_text(words)


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
