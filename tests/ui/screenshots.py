"""Write the pictures of the Compare page to docs/, at three widths and in both modes: python -m tests.ui.screenshots

The bundled model answers a bundled chart; nothing is fetched. Takes a minute on two cores and needs Chromium.
"""

import tempfile
from pathlib import Path

from playwright.sync_api import expect, sync_playwright

from chartqa_demo.data.splits import open_split
from chartqa_demo.engines import load_engine
from chartqa_demo.settings import Settings
from chartqa_demo.ui import build_app, launch_options

CHROMIUM = "/usr/bin/chromium"
DOCS = Path(__file__).parents[2] / "docs"
SIZES = {1280: 800, 768: 1024, 390: 844}
CHART = 4  # from the first on; its three answers differ


def main() -> None:
    """A first visit, and the same page after a question."""
    with tempfile.TemporaryDirectory() as results:
        settings = Settings(base="bundled", dataset="bundled", results_dir=results)
        app = build_app(load_engine(settings), settings, open_split("bundled"))
        _, url, _ = app.queue().launch(prevent_thread_lock=True, quiet=True, **launch_options())
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
            for width, height in SIZES.items():
                for theme in ("light", "dark"):
                    page = browser.new_context(viewport={"width": width, "height": height}).new_page()
                    page.goto(f"{url}?__theme={theme}")
                    expect(page.locator("#status")).to_contain_text("recorded answers", timeout=60_000)
                    page.evaluate("document.fonts.ready")
                    folder = DOCS / "page"
                    folder.mkdir(exist_ok=True)
                    if theme == "light" and width == max(SIZES):
                        page.screenshot(path=folder / "first-visit.png")
                    page.get_by_role("button", name=f"Example chart {CHART}:").click()
                    expect(page.locator("#card-adapter")).to_contain_text("The answer appears here.")
                    page.get_by_role("button", name="Ask", exact=True).click()
                    expect(page.locator("#status")).to_contain_text("3 answers ready", timeout=60_000)
                    page.wait_for_timeout(1000)  # the scroll to the answers is smooth
                    page.screenshot(path=folder / f"answers-{width}-{theme}.png")
                    page.context.close()
            browser.close()
        app.close(verbose=False)


if __name__ == "__main__":
    main()
