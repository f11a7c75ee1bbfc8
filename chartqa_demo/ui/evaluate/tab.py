"""The Evaluate tab: measure the arms on a split, read scores and tests, and look at where they disagree.

A run lives on disk (`evaluate.run`): Stop, a closed tab or a restart lose nothing, and Start with the same settings
goes on. What is shown is always computed from a file of results, so another scorer asks the model nothing.
"""

import logging
import os
import threading
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from chartqa_demo.data.splits import Split
from chartqa_demo.engines import Engine, Options
from chartqa_demo.errors import DatasetError, EngineError, EvaluationError, ResultsError
from chartqa_demo.evaluate.rules import RULES
from chartqa_demo.evaluate.run import Progress, model_name, run
from chartqa_demo.evaluate.tables import figures_of
from chartqa_demo.settings import Settings
from chartqa_demo.ui.compare.tab import CompareTab
from chartqa_demo.ui.evaluate.choices import SIZES, Choice, Choices
from chartqa_demo.ui.evaluate.disagreements import Disagreements
from chartqa_demo.ui.evaluate.files import ResultsFolder
from chartqa_demo.ui.evaluate.scores import scores_section
from chartqa_demo.ui.events import PRIVATE, QUICK, Updates
from chartqa_demo.ui.markup import notice, progress_bar

CHUNK_S = 20.0  # seconds of the model per batch: what ZeroGPU lends at once, and what a visitor of Compare waits

log = logging.getLogger(__name__)


class EvaluateTab:
    """The tab's components, and what happens when a visitor uses them. Built inside the context of `page`.

    `compare` and `tabs` are where "Open in Compare" leads.
    """

    def __init__(
        self,
        page: gr.Blocks,
        engine: Engine,
        settings: Settings,
        examples: Split,
        compare: CompareTab,
        tabs: gr.Tabs,
    ) -> None:
        self.engine = engine
        self.options = Options(max_new_tokens=settings.max_new_tokens)
        self.choices = Choices(engine, settings, examples)
        self.folder = ResultsFolder(Path(settings.results_dir))
        self.running = threading.Lock()  # one evaluation at a time: two would halve each other's speed
        self.stops: dict[str, threading.Event] = {}  # by visitor

        self.lay_out_settings()
        self.lay_out_scores()
        self.disagreements = Disagreements(self.folder, compare, tabs, self.choices.example_of)
        self.connect(page)

    # What the visitor sees, in the order of reading.

    def lay_out_settings(self) -> None:
        """What to measure, and Start and Stop."""
        gr.HTML("<h2>Measure the arms on many questions</h2>", apply_default_css=False)
        with gr.Row(elem_id="evaluation-settings"):
            self.charts = gr.Dropdown(
                self.choices.titles, value=0, label="Charts", elem_id="evaluation-charts", min_width=200
            )
            self.size = gr.Dropdown(
                [*((f"{size:,}", size) for size in SIZES), ("All", 0)],
                value=50,
                label="Questions",
                elem_id="evaluation-size",
                min_width=110,
            )
            self.kind = gr.Dropdown(
                ["any", "human", "machine"], value="any", label="Written by", elem_id="evaluation-kind", min_width=110
            )
            self.seed = gr.Number(0, label="Seed", precision=0, elem_id="evaluation-seed", min_width=90)
        self.arms = gr.CheckboxGroup(
            [(arm.title, arm.key) for arm in self.engine.arms],
            value=[arm.key for arm in self.engine.arms if self.choices.serves(arm)],
            label="Arms",
            elem_id="evaluation-arms",
            elem_classes="plain",
        )
        self.cost = gr.HTML(elem_id="evaluation-cost", apply_default_css=False)
        with gr.Row(elem_id="evaluation-actions"):
            self.start_button = gr.Button(
                "Start", variant="primary", elem_id="evaluation-start", scale=3, min_width=120
            )
            self.stop_button = gr.Button("Stop", elem_id="evaluation-stop", interactive=False, scale=1, min_width=90)
        self.notice = gr.HTML(elem_id="evaluation-notice", apply_default_css=False)
        self.progress = gr.HTML(elem_id="evaluation-progress", apply_default_css=False)

    def lay_out_scores(self) -> None:
        """Accuracy, tests, downloads."""
        gr.HTML("<h2>Scores</h2>", apply_default_css=False)
        with gr.Row():
            self.shown = gr.Dropdown(
                [], label="Evaluation", info="kept on this machine", elem_id="evaluation-shown", min_width=280
            )
            self.rule = gr.Radio(
                list(RULES),
                value=RULES[0],
                label="Scorer",
                info="another one asks the model nothing",
                elem_id="evaluation-rule",
                elem_classes="plain",
                min_width=280,
            )
        self.scores = gr.HTML(elem_id="evaluation-scores", apply_default_css=False)
        with gr.Row():
            self.csv_button = gr.DownloadButton(
                "Download CSV", interactive=False, elem_id="evaluation-csv", size="sm", min_width=140
            )
            self.json_button = gr.DownloadButton(
                "Download JSON", interactive=False, elem_id="evaluation-json", size="sm", min_width=140
            )

    # What happens when.

    def connect(self, page: gr.Blocks) -> None:
        """The events. What belongs to one visitor is in states; what all share is on disk."""
        chosen = [self.charts, self.size, self.kind, self.seed, self.arms]
        browser = self.disagreements
        shown = [self.shown, self.scores, self.csv_button, self.json_button, *browser.outputs]

        # Not in the queue of Compare: the engine's own lock lets a visitor's question pass between two batches.
        self.start_button.click(
            self.start,
            [*chosen, self.rule],
            [self.notice, self.progress, self.start_button, self.stop_button, self.cost, *shown],
            concurrency_limit=None,
            **PRIVATE,
        )
        self.stop_button.click(self.stop, None, self.stop_button, **QUICK)
        changes = [one.change for one in chosen]
        gr.on(changes, self.estimate, chosen, self.cost, trigger_mode="always_last", **QUICK)
        self.shown.input(self.show, [self.shown, self.rule, self.seed], shown, **QUICK)
        browser.connect(self.shown, self.rule, self.seed)
        self.rule.input(
            self.rescore,
            [browser.picked, *browser.filtered],
            [self.scores, *browser.list_outputs, browser.detail],
            **QUICK,
        )
        opening = page.load(self.greet, self.rule, shown, **QUICK)
        opening.then(self.estimate, chosen, self.cost, **QUICK)  # of what is chosen by then

    def start(
        self, charts: int, size: int, kind: str, seed: float, arms: list[str], rule: str, request: gr.Request
    ) -> Iterator[Updates]:
        """Run or go on, and show the scores after every batch, until it ends, Stop is pressed, or the tab closes."""
        try:
            choice = self.choices.read(charts, size, kind, seed, arms)
        except (EvaluationError, DatasetError) as error:
            yield {self.notice: notice(str(error))}
            return
        if not self.running.acquire(blocking=False):
            busy = "Another evaluation is running. Wait until it ends; its answers are kept and can be looked at below."
            yield {self.notice: notice(busy)}
            return
        visitor = str(request.session_hash)
        self.stops[visitor] = threading.Event()
        failed = ""
        try:
            yield from self.measure(choice, rule, self.stops[visitor])
        except (EvaluationError, ResultsError, EngineError) as error:
            failed = str(error)
        except OSError as error:
            log.exception("An evaluation failed")
            failed = f"The evaluation cannot go on: {error}."
        finally:
            self.stops.pop(visitor, None)
            self.running.release()
        yield {
            self.start_button: gr.Button(interactive=True),
            self.stop_button: gr.Button(interactive=False),
            self.cost: self.estimate(charts, size, kind, seed, arms),
            **({self.notice: notice(failed), self.progress: ""} if failed else {}),
        }

    def measure(self, choice: Choice, rule: str, stop: threading.Event) -> Iterator[Updates]:
        """The updates of one run; the caller holds `running`. Raises what `evaluate.run` does."""
        yield {
            self.notice: notice(""),
            self.progress: progress_bar("Opening the charts.", 0, len(choice.examples)),
            self.start_button: gr.Button(interactive=False),
            self.stop_button: gr.Button(interactive=True),
        }
        path = self.folder.root / choice.file_name(self.engine)
        done, total = 0, len(choice.examples)
        for state in run(
            self.engine,
            choice.examples,
            choice.arms,
            self.options,
            path,
            stop,
            about=choice.about(),
            chunk_s=CHUNK_S,
        ):
            done = state.done
            yield {
                self.progress: progress_bar(_told(state, stop), done, total),
                self.scores: scores_section(figures_of(state.results, ()), rule),
            }
        told = f"Done: {done:,} questions."
        if done < total:
            told = f"Stopped after {done:,} of {total:,} questions. Start with the same settings goes on."
        yield {
            self.progress: progress_bar(told, done, total),
            **self.show(path.name, rule, choice.seed),
        }

    def stop(self, request: gr.Request) -> gr.Button:
        """End this visitor's run after the batch at hand."""
        if event := self.stops.get(str(request.session_hash)):
            event.set()
        return gr.Button(interactive=False)

    def estimate(self, charts: int, size: int, kind: str, seed: float, arms: list[str]) -> str:
        """What a run with these settings asks and costs, before it starts."""
        try:
            choice = self.choices.read(charts, size, kind, seed, arms)
        except (EvaluationError, DatasetError) as error:
            return f'<p class="cost">{escape(str(error))}</p>'
        record = self.folder.results(choice.file_name(self.engine))
        done, count = len(record.items) if record else 0, len(choice.examples)
        told = f"{count:,} questions to {len(choice.arms)} {'arm' if len(choice.arms) == 1 else 'arms'}"
        told += f", {done:,} of them asked already" if done else ""
        each = self.folder.seconds_per_question(model_name(self.engine))
        if done >= count:
            told += "."
        elif each is None:
            told += ". How long it takes shows after the first batch."
        else:
            told += f": about {_duration((count - done) * each)}, as this model took {each:.2g} s per question before."
        if os.environ.get("SPACES_ZERO_GPU"):
            told += (
                f" The GPU is lent for about {CHUNK_S:.0f} s at a time, which counts against your daily quota; when "
                "that is used up, Start goes on another day."
            )
        return f'<p class="cost">{escape(told)}</p>'

    def greet(self, rule: str) -> Updates:
        """The newest results on this machine, when the page opens."""
        names = self.folder.names()
        return self.show(names[0][1] if names else None, rule, 0)

    def show(self, name: str | None, rule: str, seed: float | None) -> Updates:
        """The scores, downloads and questions of one evaluation on disk."""
        name = name if self.folder.path(name) else None
        csv_file, json_file = self.folder.write_downloads(name)
        return {
            self.shown: gr.Dropdown(self.folder.names(), value=name),
            self.scores: scores_section(self.folder.figures(name, rule), rule),
            self.csv_button: gr.DownloadButton(value=csv_file, interactive=csv_file is not None),
            self.json_button: gr.DownloadButton(value=json_file, interactive=json_file is not None),
            **self.disagreements.show(name, rule, seed or 0),
        }

    def rescore(self, picked: str, name: str | None, rule: str, *filtered: Any) -> Updates:
        """The same answers under another rule."""
        return {
            self.scores: scores_section(self.folder.figures(name, rule), rule),
            **self.disagreements.rescore(picked, name, rule, *filtered),
        }


def _told(state: Progress, stop: threading.Event) -> str:
    told = f"{state.done:,} of {state.total:,} questions"
    if state.results.errors:
        told += f", {len(state.results.errors):,} of them failed"
    if stop.is_set():
        return f"{told}. Stopping."
    return told + ("." if state.eta_s is None else f", about {_duration(state.eta_s)} left.")


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
