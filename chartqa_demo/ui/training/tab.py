"""The Training tab: curves of the training runs on this machine, live, and their finished adapters, ready to be used.

Runs are started with `python -m train`, here or in another terminal; the tab reads what they leave on disk.
"""

from datetime import datetime, timezone
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from chartqa_demo.adapters.runs import TrainingRun, finished_adapters, read_run, run_names
from chartqa_demo.engines import Engine
from chartqa_demo.errors import EngineError
from chartqa_demo.settings import Settings
from chartqa_demo.ui.events import PRIVATE, QUICK
from chartqa_demo.ui.markup import done, hint, notice
from chartqa_demo.ui.training.curves import curve_chart

RUNS = Path("runs")  # where the configs of `train/configs/` leave their runs
REFRESH_S = 3.0

NO_RUNS = (
    "No training run has been logged on this machine yet. Start one with "
    "`python -m train --config train/configs/bundled.yaml`; it appears here while it runs."
)
NO_ADAPTERS = "No finished adapter yet. A run leaves one when it has ended and has been measured."


def build_training_tab(engine: Engine, settings: Settings) -> gr.State:
    """Build the tab; call it inside `gr.Tabs`. Returns the state that holds the adapter put to use, for the banner."""
    runs = RUNS
    with gr.Tab("Training", id="training") as tab:  # states too: beside a tab, Gradio 6 shows the tab twice
        in_use, shown_now = gr.State(engine.adapter), gr.State(None)
        gr.HTML("<h2>Training runs</h2>", apply_default_css=False)
        run = gr.Dropdown([], label="Run", info="kept by trackio on this machine", elem_id="training-run")
        curves = gr.HTML(hint(NO_RUNS), elem_id="training-curves", apply_default_css=False)
        gr.HTML("<h2>Finished adapters</h2>", apply_default_css=False)
        adapter = gr.Radio([], label="Adapter", show_label=False, elem_id="training-adapter", visible="hidden")
        use = gr.Button("Use this adapter", elem_id="training-use", visible="hidden")
        outcome = gr.HTML(hint(NO_ADAPTERS), elem_id="training-outcome", apply_default_css=False)
        timer = gr.Timer(REFRESH_S, active=False)

    def refresh(chosen: str | None, ticked: str | None, before: Any) -> tuple[Any, ...]:
        """Runs, curves and adapters as they are now; where nothing changed, the page is left alone."""
        names = {f"{project}/{name}": (project, name) for project, name in run_names()}
        shown = chosen if chosen in names else next(iter(names), None)
        html = run_html(read_run(*names[shown])) if shown else hint(NO_RUNS)
        adapters = finished_adapters(runs)
        now = (tuple(names), shown, html, tuple(one.title for one in adapters))
        if now == before:
            return gr.skip(), gr.skip(), gr.skip(), gr.skip(), gr.skip(), before
        folders = [str(one.folder) for one in adapters]
        titles = [(one.title, str(one.folder)) for one in adapters]
        selected = ticked if ticked in folders else next(iter(folders), None)
        first = bool(folders) and (before is None or not before[3])
        return (
            gr.update(choices=[(run_title(*name), key) for key, name in names.items()], value=shown),
            html,
            gr.update(choices=titles, value=selected, visible=True if folders else "hidden"),
            gr.update(visible=True if folders else "hidden"),
            "" if first else gr.skip() if folders else hint(NO_ADAPTERS),
            now,
        )

    def use_adapter(folder: str | None) -> tuple[str, Any]:
        if folder is None:
            return notice("Choose an adapter first."), gr.skip()
        try:
            engine.use_adapter(folder)
        except EngineError as error:
            return notice(str(error)), gr.skip()
        said = f"The third arm now answers with {Path(folder).name}, for every visitor of this page."
        return done(said), engine.adapter

    parts = [run, curves, adapter, use, outcome, shown_now]
    tab.select(lambda: gr.Timer(active=True), outputs=timer, **QUICK)
    for event in (tab.select, timer.tick, run.input):
        event(refresh, [run, adapter, shown_now], parts, **QUICK)
    use.click(use_adapter, adapter, [outcome, in_use], concurrency_limit=1, **PRIVATE)
    return in_use


def run_title(project: str, name: str) -> str:
    """A run for the list; the project is left out where the run's name begins with it."""
    return name if name.startswith(project) else f"{project}: {name}"


def run_html(run: TrainingRun) -> str:
    """Where a run stands, and its curves."""
    charts = "".join(curve_chart(title, lines) for title, lines in run.curves.items() if lines)
    if not charts:
        charts = hint("This run has not logged a loss, an accuracy or a learning rate yet.")
    return f'<p class="standing">{escape(standing(run))}</p><div class="curves">{charts}</div>'


def standing(run: TrainingRun) -> str:
    """ "Step 140, epoch 1.8 of 3, last entry 2026-11-24 05:12 UTC."."""
    text = f"Step {run.step:,}"
    if run.epoch is not None:
        text += f", epoch {run.epoch:.2f}" + (f" of {run.epochs:g}" if run.epochs else "")
    if run.updated is not None:
        text += f", last entry {run.updated.astimezone(timezone.utc):%Y-%m-%d %H:%M:%S} UTC"
        text += " (ended or stopped)" if _quiet_for(run.updated) > 600 else ""
    return text + "."


def _quiet_for(moment: datetime) -> float:
    """Seconds since `moment`."""
    return (datetime.now(timezone.utc) - moment).total_seconds()
