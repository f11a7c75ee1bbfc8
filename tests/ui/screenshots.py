"""Write the pictures of the page to docs/page, at three widths and in both modes: python -m tests.ui.screenshots

The bundled model answers a bundled chart and is measured on twelve; nothing is fetched. Takes two minutes on two cores
and needs Chromium.
"""

import tempfile
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from chartqa_demo.data.splits import draw_examples, open_split
from chartqa_demo.engines import Engine, Options, load_engine
from chartqa_demo.evaluate.run import run
from chartqa_demo.settings import Settings
from chartqa_demo.ui import build_app, launch_options

CHROMIUM = "/usr/bin/chromium"
FOLDER = Path(__file__).parents[2] / "docs" / "page"
SIZES = {1280: 800, 768: 1024, 390: 844}
CHART = 4  # from the first on; its three answers differ
MEASURED = 12
WAIT_MS = 120_000  # for the model, on a busy machine


def main() -> None:
    """A first visit, and every tab after a question and an evaluation."""
    expect.set_options(timeout=WAIT_MS)
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as results:
        settings = Settings(base="bundled", dataset="bundled", results_dir=results)
        engine = load_engine(settings)
        measure(engine, Path(results))
        app = build_app(engine, settings, open_split("bundled"))
        _, url, _ = app.queue().launch(prevent_thread_lock=True, quiet=True, **launch_options())
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
            for width in SIZES:
                for theme in ("light", "dark"):
                    take_all(browser, url, width, theme)
            browser.close()
        app.close(verbose=False)


def measure(engine: Engine, results: Path) -> None:
    """An evaluation to look at."""
    split = open_split("bundled")
    examples = draw_examples(split, MEASURED, 0, None)
    about = {"dataset": "bundled", "split": split.name, "kind": None, "limit": MEASURED, "seed": 0}
    for _ in run(engine, examples, engine.arms, Options(), results / "bundled.jsonl", about=about):
        pass


def take_all(browser: Browser, url: str, width: int, theme: str) -> None:
    """The pictures of one width and mode."""
    page = browser.new_context(viewport={"width": width, "height": SIZES[width]}).new_page()
    page.goto(f"{url}?__theme={theme}")
    expect(page.locator("#status")).to_contain_text("recorded answers")
    page.evaluate("document.fonts.ready")
    if (width, theme) == (1280, "light"):
        take(page, "first-visit")
    page.get_by_role("button", name=f"Example chart {CHART}:").click()
    expect(page.locator("#card-adapter")).to_contain_text("The answer appears here.")
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.locator("#status")).to_contain_text("3 answers ready")
    page.wait_for_timeout(1000)  # the scroll to the answers is smooth
    take(page, f"answers-{width}-{theme}")
    for tab, ready in (("Evaluate", "#evaluation-scores table"), ("Training", "#training-curves")):
        page.get_by_role("tab", name=tab).click()
        expect(page.locator(ready).first).to_be_visible()
        if tab == "Evaluate":
            page.locator("#evaluation-items button").first.click()
            expect(page.locator("#evaluation-chart img")).to_be_visible()
        page.wait_for_timeout(500)  # fades
        take(page, f"{tab.lower()}-{width}-{theme}", whole=True)
    page.context.close()


def take(page: Page, name: str, whole: bool = False) -> None:
    """A PNG of 256 colours, a quarter as large; whole: the page beyond the window, too."""
    taken = Image.open(BytesIO(page.screenshot(full_page=whole)))
    taken.convert("RGB").quantize(256).save(FOLDER / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
