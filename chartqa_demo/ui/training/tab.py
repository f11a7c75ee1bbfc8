"""The Training tab: corrected rows, a training on them, curves of the runs on this machine, and finished adapters.

Where the operator allows it a run is started here (`child`); runs of other terminals appear all the same, since the tab
reads what they leave on disk.
"""

from datetime import datetime, timezone
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from chartqa_demo.adapters.contract import read_contract
from chartqa_demo.adapters.runs import TrainingRun, finished_adapters, read_run, run_names
from chartqa_demo.arms import ARMS
from chartqa_demo.engines import Engine
from chartqa_demo.errors import EngineError
from chartqa_demo.settings import BUNDLED_ADAPTER, Settings
from chartqa_demo.ui.corrections import Corrections
from chartqa_demo.ui.events import PRIVATE, QUICK
from chartqa_demo.ui.markup import done, hint, notice
from chartqa_demo.ui.training.child import Trainer
from chartqa_demo.ui.training.curves import curve_chart
from chartqa_demo.ui.training.rows import Rows
from chartqa_demo.ui.training.start import Start, training_config

RUNS = Path("runs")  # where the configs of `train/configs/` leave their runs
REFRESH_S = 3.0

CONFIG = "own-charts.yaml"
WHAT_IT_IS = (
    "A LoRA adapter is a small set of weights beside a model that stays as it is. It is trained on questions with "
    "their right answers: yours make one that knows your charts, and it then answers in the third column."
)
NO_RUNS = (
    "No training run has been logged on this machine yet. Start one with "
    "`python -m train --config train/configs/bundled.yaml`; it appears here while it runs."
)
NO_ADAPTERS = "No finished adapter yet. A run leaves one when it has ended and has been measured."


def build_training_tab(engine: Engine, settings: Settings, corrections: Corrections) -> gr.State:
    """Build the tab; call it inside `gr.Tabs`. Returns the state that holds the adapter put to use, for the banner."""
    runs = RUNS
    began_with = str(BUNDLED_ADAPTER) if engine.adapter == "bundled" else engine.adapter
    config, why_not = training_config(engine, settings, corrections)
    trainer = Trainer(engine, config, runs)
    with gr.Tab("Training", id="training") as tab:  # states too: beside a tab, Gradio 6 shows the tab twice
        in_use, shown_now = gr.State(engine.adapter), gr.State(None)
        gr.HTML(f'<h2>Corrected answers</h2><p class="standing">{WHAT_IT_IS}</p>', apply_default_css=False)
        rows = Rows(corrections)
        start = Start(rows, trainer, why_not)
        gr.HTML("<h2>Training runs</h2>", apply_default_css=False)
        run = gr.Dropdown(
            [], label="Run", info="kept by trackio on this machine", elem_id="training-run", visible="hidden"
        )
        curves = gr.HTML(hint(no_runs(engine)), elem_id="training-curves", apply_default_css=False)
        gr.HTML("<h2>Finished adapters</h2>", apply_default_css=False)
        adapter = gr.Radio([], label="Adapter", show_label=False, elem_id="training-adapter", visible="hidden")
        use = gr.Button("Use this adapter", elem_id="training-use", visible="hidden")
        outcome = gr.HTML(hint(NO_ADAPTERS), elem_id="training-outcome", apply_default_css=False)
        timer = gr.Timer(REFRESH_S, active=False)

    def refresh(chosen: str | None, ticked: str | None, before: Any) -> tuple[Any, ...]:
        """Runs, curves and adapters as they are now; where nothing changed, the page is left alone."""
        names = {f"{project}/{name}": (project, name) for project, name in run_names()}
        shown = chosen if chosen in names else next(iter(names), None)
        html = run_html(read_run(*names[shown])) if shown else hint(no_runs(engine))
        adapters = finished_adapters(runs)
        now = (tuple(names), shown, html, tuple(one.title for one in adapters))
        if now == before:
            return gr.skip(), gr.skip(), gr.skip(), gr.skip(), gr.skip(), before
        folders = [str(one.folder) for one in adapters]
        titles = [(one.title, str(one.folder)) for one in adapters]
        if began_with and folders:
            titles.append((f"The one that this page began with: {Path(began_with).name}", began_with))
            folders.append(began_with)
        selected = ticked if ticked in folders else next(iter(folders), None)
        first = bool(folders) and (before is None or not before[3])
        return (
            gr.update(
                choices=[(run_title(*name), key) for key, name in names.items()],
                value=shown,
                visible=True if names else "hidden",
            ),
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

    start.connect(tab, timer, in_use)
    parts = [run, curves, adapter, use, outcome, shown_now]
    tab.select(lambda: gr.Timer(active=True), outputs=timer, **QUICK)
    for event in (tab.select, timer.tick, run.input):
        event(refresh, [run, adapter, shown_now], parts, **QUICK)
    use.click(use_adapter, adapter, [outcome, in_use], concurrency_limit=1, **PRIVATE)
    return in_use


def no_runs(engine: Engine) -> str:
    """What there is to know while no run is kept: how the bundled adapter came about, where that is what answers."""
    contract = read_contract(BUNDLED_ADAPTER) if engine.adapter == "bundled" else None
    if contract is None:
        return NO_RUNS
    scores = ", ".join(
        f"{arm.title.lower()} {contract.scores[arm.key]:.1f} %" for arm in ARMS if arm.key in contract.scores
    )
    told = f"The bundled adapter was trained in the same way, on {contract.dataset}, split {contract.split}, seed "
    return f"{NO_RUNS} {told}{contract.seed}; measured afterwards: {scores}."


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
