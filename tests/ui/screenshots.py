"""Write the pictures of the page to docs/page, at three widths and in both modes: python -m tests.ui.screenshots

The bundled model answers a bundled chart and is measured on twelve; nothing is fetched. One page is opened, and becomes
as wide and as dark as each picture. Needs Chromium.
"""

import tempfile
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright

from chartqa_demo.data.splits import draw_examples, open_split
from chartqa_demo.engines import Engine, Options, load_engine
from chartqa_demo.evaluate.run import run
from chartqa_demo.settings import Settings
from chartqa_demo.ui import build_app, launch_options
from tests.support.page.page_visitor import CHROMIUM, CHROMIUM_FLAGS, STILL

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
        # Gradio goes on to the next port with the same app where one is taken, and its MCP server starts only once.
        options = launch_options() | {"mcp_server": False}
        _, url, _ = app.queue().launch(prevent_thread_lock=True, quiet=True, **options)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
            page = browser.new_page(viewport={"width": 1280, "height": SIZES[1280]})
            page.add_init_script(STILL)
            page.set_default_timeout(WAIT_MS)
            page.goto(f"{url}?__theme=light")
            for old in FOLDER.glob("*.png"):
                old.unlink()
            take_all(page)
            browser.close()
        app.close(verbose=False)


def measure(engine: Engine, results: Path) -> None:
    """An evaluation to look at."""
    split = open_split("bundled")
    examples = draw_examples(split, MEASURED, 0, None)
    about = {"dataset": "bundled", "split": split.name, "kind": None, "limit": MEASURED, "seed": 0}
    for _ in run(engine, examples, engine.arms, Options(), results / "bundled.jsonl", about=about):
        pass


def take_all(page: Page) -> None:
    """A first visit, then every tab at each width and in each mode."""
    expect(page.locator("#status")).to_contain_text("recorded answers")
    page.evaluate("document.fonts.ready")
    take(page, "first-visit")
    page.get_by_role("button", name=f"Example chart {CHART}:").click()
    expect(page.locator("#card-adapter")).to_contain_text("The answer appears here.")
    for width, height in SIZES.items():
        page.set_viewport_size({"width": width, "height": height})
        page.get_by_role("tab", name="Compare").click()
        page.get_by_role("button", name="Ask", exact=True).click()
        expect(page.locator("#status")).not_to_contain_text("3 answers ready")
        expect(page.locator("#status")).to_contain_text("3 answers ready")
        page.wait_for_timeout(1000)  # the scroll to the answers is smooth
        take_modes(page, f"answers-{width}")
        page.get_by_role("tab", name="Evaluate").click()
        page.locator("#evaluation-items button").first.click()
        expect(page.locator("#evaluation-chart img")).to_be_visible()
        take_modes(page, f"evaluate-{width}", whole=True)
        page.get_by_role("tab", name="Training").click()
        expect(page.locator("#training-curves").first).to_be_visible()
        take_modes(page, f"training-{width}", whole=True)


def take_modes(page: Page, name: str, whole: bool = False) -> None:
    """Light and dark: what Gradio's `__theme` sets is a class of the body."""
    for theme in ("dark", "light"):
        page.evaluate("dark => document.body.classList.toggle('dark', dark)", theme == "dark")
        page.wait_for_timeout(500)  # fades
        take(page, f"{name}-{theme}", whole)


def take(page: Page, name: str, whole: bool = False) -> None:
    """A PNG of 256 colours, a quarter as large; whole: the page beyond the window, too."""
    taken = Image.open(BytesIO(page.screenshot(full_page=whole)))
    taken.convert("RGB").quantize(256).save(FOLDER / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
