"""The page: `build_app` puts the tabs together, `launch_options` holds what Gradio 6 wants from `launch()` instead.

By what a visitor sees: `compare`, `evaluate` and `training` are the tabs, `adapters` the choice of one for the third
arm, `theme` and the style sheets what it looks like, `browser` what runs in the visitor's browser, `words` the page in
other languages; `markup`, `events` and `spreadsheet` are what the tabs share.
Imports every room but `train`, and never torch.
"""

import json
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import gradio as gr

from chartqa_demo.data.splits import Split, open_split
from chartqa_demo.engines import Engine
from chartqa_demo.evaluate.report import measured_line
from chartqa_demo.evaluate.run import display_name, model_name
from chartqa_demo.images import MAX_BYTES
from chartqa_demo.settings import HUB_ADAPTER, HUB_BASE, HUB_DATASET, Settings
from chartqa_demo.space.gradio_internals import close_doors, delete_saved
from chartqa_demo.space.hub import folder_of, is_hub_id
from chartqa_demo.ui.adapters import build_adapter_choice
from chartqa_demo.ui.compare.tab import CompareTab
from chartqa_demo.ui.corrections import Corrections
from chartqa_demo.ui.evaluate.tab import EvaluateTab
from chartqa_demo.ui.events import QUICK
from chartqa_demo.ui.markup import STANDINGS, banner, page_head
from chartqa_demo.ui.theme import CSS_FILES, SCRIPTS, page_theme
from chartqa_demo.ui.training.tab import build_training_tab
from chartqa_demo.ui.words import page_words

TITLE = "One chart, one question, three answers"
ABOUT = (
    "The same vision-language model answers a question about a chart three times, each one arm of a comparison: as it "
    "comes, with a system message for reading charts, and with a LoRA adapter, extra weights fine-tuned on ChartQA."
)
PAPER = "https://arxiv.org/abs/2203.10244"
NOTEBOOK = "https://github.com/huggingface/cookbook/blob/main/notebooks/en/fine_tuning_vlm_trl.ipynb"
BUNDLED_NOTE = (
    "A small demonstration model that comes with this app and runs on a CPU. To ask the 7B model instead, start with "
    f"--base {HUB_BASE} on a GPU."
)


def build_app(engine: Engine, settings: Settings, examples: Split) -> gr.Blocks:
    """The whole page for one engine. `examples` is the split of `settings.dataset`. Raises DatasetError when the
    bundled charts are missing."""
    close_doors()
    gallery = examples if examples.dataset == "bundled" else open_split("bundled")
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(3600, 86400)) as page:
        gr.HTML(page_head(TITLE, ABOUT, _links(settings)), apply_default_css=False)
        model = gr.HTML(_banner(engine, settings), elem_id="banner", apply_default_css=False)
        # Not in a tab: what is stored is only read once its tab is open.
        visitor = gr.BrowserState("", storage_key="chartqa-visitor", secret="in the visitor's browser only")
        corrections = Corrections(settings)
        with gr.Tabs() as tabs:
            with gr.Tab("Compare", id="compare"):
                compare = CompareTab(page, engine, settings, examples, gallery, corrections)
                chosen = build_adapter_choice(engine, settings)
            with gr.Tab("Evaluate", id="evaluate") as tab:
                EvaluateTab(page, tab, engine, settings, examples, compare, tabs, corrections, visitor)
            trained = build_training_tab(engine, settings, corrections)
        for in_use in (chosen, trained):
            if in_use is not None:
                in_use.change(
                    lambda: _banner(engine, settings),
                    None,
                    model,
                    **QUICK,
                )
                in_use.change(compare.before.renew, None, compare.before.outputs, **QUICK)
    delete_saved(page)
    page.api_open = False  # else Gradio answers /run and /api past the queue, a thread for each, when it is not a Space
    return page


def _links(settings: Settings) -> dict[str, str]:
    """What to read on: words -> address. Base and adapter are those of the settings where the Hub has them."""
    base, adapter = (
        name if name and is_hub_id(name) and folder_of(name) is None else usual
        for name, usual in ((settings.base, HUB_BASE), (settings.adapter, HUB_ADAPTER))
    )
    return {
        f"Base model {base.split('/')[-1]}": f"https://huggingface.co/{base}",
        "An adapter for it": f"https://huggingface.co/{adapter}",
        "Data set ChartQA": f"https://huggingface.co/datasets/{HUB_DATASET}",
        "Paper": PAPER,
        "Notebook": NOTEBOOK,
    }


def _banner(engine: Engine, settings: Settings) -> str:
    """What a visitor has to know about the model, and how well it answers where that was measured."""
    adapter = display_name(engine.adapter) if engine.adapter else None
    measured = measured_line(Path(settings.results_dir), model_name(engine), adapter)
    bundled = (BUNDLED_NOTE,) if engine.bundled else ()
    return banner(engine.title, (*bundled, *engine.notes, *((measured,) if measured else ())))


def launch_options(login: bool = False) -> dict[str, Any]:
    """Arguments of `launch()`: theme, limits, and nothing that leaves this machine. login: whether there is one, which
    Gradio's MCP server stands in front of and can ask no question behind."""
    return {
        "theme": page_theme(),
        "css": "\n".join(file.read_text(encoding="utf-8") for file in CSS_FILES),
        "i18n": page_words(),
        "head": "".join(f'<script>(() => {{"use strict"; {script}}})()</script>' for script in _scripts()),
        "show_error": True,
        "max_file_size": MAX_BYTES,
        "run_history": False,
        "footer_links": ["api"],
        "mcp_server": not login and _serves_mcp(),
    }


def _scripts() -> Iterator[str]:
    """What runs in the browser, and first what it is told of verdicts."""
    yield f"window.STANDINGS = {json.dumps(STANDINGS)};"
    yield from (file.read_text(encoding="utf-8") for file in SCRIPTS)


def _serves_mcp() -> bool:
    """Whether the `mcp` package is there in a version that Gradio can use: its own extra asks for one below 2."""
    try:
        return int(version("mcp").split(".")[0]) < 2
    except PackageNotFoundError:
        return False
