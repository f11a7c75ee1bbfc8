"""Starting and stopping a training on the corrected rows, where the operator allows it."""

from importlib.util import find_spec
from typing import Any

import gradio as gr

from chartqa_demo.engines import Engine
from chartqa_demo.errors import DatasetError, EngineError
from chartqa_demo.settings import Settings, serves_others
from chartqa_demo.ui.corrections import Corrections
from chartqa_demo.ui.events import PRIVATE, QUICK, Updates
from chartqa_demo.ui.markup import done, hint, notice, progress_bar
from chartqa_demo.ui.training.child import Trainer
from chartqa_demo.ui.training.rows import Rows

CONFIG = "own-charts.yaml"
WHAT_IT_DOES = (
    "A training on this machine takes some minutes and keeps the processor busy: answers come slower meanwhile. A "
    "fifth of the charts is held out; at the end the new adapter is measured on them, and takes the third column."
)


class Start:
    """The buttons, and where the page's own run stands. why_not: why nothing is started here, empty where it is."""

    def __init__(self, rows: Rows, trainer: Trainer, why_not: str) -> None:
        self.rows, self.trainer, self.allowed = rows, trainer, not why_not
        gr.HTML("<h2>Train on them</h2>", apply_default_css=False)
        with gr.Row():
            self.start = gr.Button(
                "Start training", variant="primary", elem_id="training-start", interactive=self.allowed, scale=3
            )
            self.stop = gr.Button("Stop", elem_id="training-stop", interactive=False, scale=1, min_width=90)
        self.state = gr.HTML(hint(why_not or WHAT_IT_DOES), elem_id="training-state", apply_default_css=False)
        self.told = gr.State(None)

    def connect(self, tab: gr.Tab, timer: gr.Timer, in_use: gr.State) -> None:
        """The events; in_use: the adapter in the third column."""
        self.in_use = in_use
        stored = self.rows.corrections.stored
        following = [self.state, self.start, self.stop, in_use, self.told]
        # A browser's rows are not trained on here, so they are not sent.
        self.start.click(self.begin, stored, following, concurrency_limit=1, **PRIVATE)
        self.stop.click(self.halt, None, self.stop, **QUICK)
        for event in (tab.select, timer.tick):
            event(self.follow, self.told, following, **QUICK)
        tab.select(self.rows.show, stored, self.rows.outputs, **self.rows.corrections.sent(0))

    def begin(self, stored: object) -> Updates:
        """Train on the rows that there are now."""
        try:
            if not self.allowed:
                raise EngineError("Trainings are not started from this page.")
            self.trainer.start(self.rows.archive(stored))
        except (DatasetError, EngineError, OSError) as error:
            return {self.state: notice(str(error))}
        return self.follow(None)

    def follow(self, before: object) -> Updates:
        """Where the page's own run stands; where nothing changed, the page is left alone."""
        newest, busy = self.trainer.newest, self.trainer.busy
        if newest is None:
            return {self.told: before}
        now = (str(newest.output), newest.stopped, (newest.told, 0, 0) if newest.told else newest.progress())
        if now == before:
            return {self.told: before}
        told = now[2]
        return {
            self.state: progress_bar(*told) if busy else done(told[0]) if newest.good else notice(told[0]),
            self.start: gr.Button(interactive=not busy),
            self.stop: gr.Button(interactive=busy and not newest.stopped),
            self.in_use: self.trainer.engine.adapter,
            self.told: now,
        }

    def halt(self) -> Any:
        """End the run."""
        self.trainer.stop()
        return gr.Button(interactive=False)


def training_config(engine: Engine, settings: Settings, corrections: Corrections) -> tuple[str, str]:
    """(config of `python -m train`, why the page starts none: a sentence, empty where it does)."""
    config = CONFIG if settings.training == "auto" else settings.training
    by_hand = (
        f"`python -m train --config {CONFIG} --dataset corrections` trains on the rows of a folder or unpacked ZIP."
    )
    if config == "off" or (settings.training == "auto" and serves_others(settings)):
        return config, f"Trainings are not started from this page. {by_hand}"
    if corrections.kept.folder is None:
        return config, f"Corrections stay in your browser here, so no training is started from this page. {by_hand}"
    if settings.training == "auto" and not engine.bundled:
        return config, f"From this page only the bundled small model is trained. For {engine.title}: {by_hand}"
    if find_spec("trl") is None:
        return config, "Training needs more packages: `pip install '.[train]'`."
    return config, ""
