"""A browser that keeps nothing for this page: site data are blocked, or it is in a frame of another site."""

import pytest
from page_fixtures import expect
from playwright.sync_api import Browser

pytest_plugins = ("page_fixtures",)

NO_STORE = """for (const store of ["localStorage", "sessionStorage"]) Object.defineProperty(window, store, {
  configurable: true, get() { throw new DOMException("Access is denied for this document.", "SecurityError"); }
});"""
NO_READING = 'Storage.prototype.getItem = () => { throw new DOMException("No", "SecurityError"); };'


@pytest.mark.parametrize(
    "blocked", [NO_STORE, pytest.param(NO_READING, marks=pytest.mark.campaign)], ids=["no store", "no reading"]
)
def test_the_page_opens_and_answers_where_the_browser_keeps_nothing(
    browser: Browser, app_url: str, blocked: str
) -> None:
    with browser.new_context() as context:
        failed: list[str] = []
        context.add_init_script(blocked)
        page = context.new_page()
        page.on("pageerror", lambda error: failed.append(str(error)))
        page.goto(app_url)
        page.locator("#ask").click()
        expect(page.locator("#notice")).to_contain_text("Add a chart first")
        page.evaluate("localStorage.setItem('a', 1)")
        assert page.evaluate("[localStorage.getItem('a'), localStorage.getItem('b'), localStorage.length > 0]") == [
            "1",
            None,
            True,
        ]
        assert failed == []


NO_ANSWER = """IDBFactory.prototype.open = () => ({});
const later = setTimeout;
window.setTimeout = (then, ms, ...told) => later(then, ms === 5000 ? 500 : ms, ...told);"""


def test_the_page_opens_where_the_browsers_store_never_answers(browser: Browser, app_url: str) -> None:
    with browser.new_context() as context:
        context.add_init_script(NO_ANSWER)
        page = context.new_page()
        page.goto(app_url)
        page.get_by_role("button", name="Example chart 1:").click(timeout=10_000)
        expect(page.locator("#chart .image-frame img")).to_be_visible()
        page.locator("#ask").click()
        expect(page.get_by_role("status").filter(has_text="3 answers ready")).to_be_visible()
