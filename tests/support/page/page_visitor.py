"""Chromium, and a visitor in it: a tab that keeps its errors, what is expected of elements, the sizes and modes."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, LocatorAssertions, Page, TimeoutError
from playwright.sync_api import expect as expect_at_once

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
        """One of the thumbnails, and its question: that comes with the chart, over what is typed until then."""
        thumbnail = self.page.get_by_role("button", name=f"Example chart {number}:")
        thumbnail.click()
        expect(self.page.locator("#chart img")).to_be_visible()  # it may be that of the chart before
        question = str(thumbnail.locator("img").get_attribute("alt")).partition(": ")[2]
        expect(self.page.get_by_label("Question", exact=True)).to_have_value(question)

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
