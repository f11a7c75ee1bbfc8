"""The Evaluate tab: measure the arms on a split, read scores and tests, and look at where they disagree.

A run lives in a thread (`running`) and on disk (`evaluate.run`): a reload looks at it again, Stop or a restart lose
nothing, and Start with the same settings goes on. What is shown is always computed from a file of results, so another
scorer asks the model nothing.
"""

import secrets
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from chartqa_demo.data.splits import Example, Split
from chartqa_demo.data.uploads import ENDINGS
from chartqa_demo.engines import Engine, Options
from chartqa_demo.errors import DatasetError, EvaluationError
from chartqa_demo.evaluate.record import Item, Results
from chartqa_demo.evaluate.rules import RULES
from chartqa_demo.evaluate.run import Progress, model_name, run
from chartqa_demo.evaluate.tables import figures_of
from chartqa_demo.settings import Settings, on_zerogpu
from chartqa_demo.ui.compare.tab import CompareTab
from chartqa_demo.ui.corrections import Corrections
from chartqa_demo.ui.evaluate.choices import SIZES, UPLOAD, Choices
from chartqa_demo.ui.evaluate.disagreements import Disagreements
from chartqa_demo.ui.evaluate.files import ResultsFolder
from chartqa_demo.ui.evaluate.running import Run, Running, duration, told_of
from chartqa_demo.ui.evaluate.scores import scores_section, under_way
from chartqa_demo.ui.evaluate.uploads import VISITOR, Uploads, is_visitor
from chartqa_demo.ui.events import PRIVATE, QUICK, READ_AT, Updates, told_once
from chartqa_demo.ui.markup import notice, progress_bar

FIRST_BATCH = 2  # questions: on a CPU, too, something moves within seconds
CHUNK_S = 5.0  # seconds of the model per batch, for which a visitor of Compare may wait
LENT_S = 20.0  # the same on ZeroGPU, where every visitor has a GPU of their own and each start of one costs
AWAY_S = 60.0  # on ZeroGPU: how long a run uses up the quota of a visitor who has left


WAITS = "An evaluation is running. Your question passes before its next batch: the answers begin some seconds later."
OPENING = "The page is still being opened. Try again in a second."
BUSY = "Another evaluation is running. Wait until it ends; its answers are kept and can be looked at below."
OWN_NOTE = (
    '<p class="cost">A ZIP, or a CSV or JSONL with its pictures: columns image, query and label, at most 20 MB a file. '
    "Nobody else sees them; they are deleted when you have left.</p>"
)


class EvaluateTab:
    """The tab's components, and what happens when a visitor uses them. Built inside the context of `tab`, on `page`.

    `compare` and `tabs` are where "Open in Compare" leads; `corrections` keeps what is said to be right here;
    `visitor` tells one browser from another.
    """

    def __init__(
        self,
        page: gr.Blocks,
        tab: gr.Tab,
        engine: Engine,
        settings: Settings,
        examples: Split,
        compare: CompareTab,
        tabs: gr.Tabs,
        corrections: Corrections,
        visitor: gr.BrowserState,
    ) -> None:
        self.engine = engine
        self.options = Options(max_new_tokens=settings.max_new_tokens)
        self.choices = Choices(engine, settings, examples)
        self.lent = on_zerogpu()
        self.running = Running(AWAY_S if self.lent else None)
        compare.why_wait = lambda: "" if self.lent or not self.running.goes_on else WAITS
        self.uploads = Uploads(page, lambda visitor: self.running.of(visitor) is not None, settings.max_question)
        self.folder = ResultsFolder(Path(settings.results_dir), self.uploads.root)
        self.visitor = visitor
        self.opened = gr.Checkbox(visible=False)  # the tab, on this page
        self.secret = secrets.token_bytes(16)  # by which visitors are named
        self.newest: dict[str, float] = {}  # session -> when the values of its newest estimate were read

        self.lay_out_settings()
        self.lay_out_scores()
        self.disagreements = Disagreements(self.folder, compare, tabs, self.example_of, corrections)
        self.connect(page, tab)

    # What the visitor sees, in the order of reading.

    def lay_out_settings(self) -> None:
        """What to measure, and Start and Stop."""
        gr.HTML("<h2>Measure the arms on many questions</h2>", apply_default_css=False)
        with gr.Row(elem_id="evaluation-settings"):
            self.charts = gr.Dropdown(
                self.choices.titles(), value=0, label="Charts", elem_id="evaluation-charts", min_width=200
            )
            self.size = gr.Dropdown(
                [*((f"{size:,}", size) for size in SIZES), ("All", 0)],
                value=50,
                label="Questions",
                elem_id="evaluation-size",
                min_width=110,
                allow_custom_value=True,
            )
            self.kind = gr.Dropdown(
                ["any", "human", "machine"], value="any", label="Written by", elem_id="evaluation-kind", min_width=110
            )
            self.seed = gr.Number(0, label="Seed", precision=0, elem_id="evaluation-seed", min_width=90)
        with gr.Row(elem_id="evaluation-own"):
            self.upload_button = gr.UploadButton(
                "Upload charts of your own",
                file_count="multiple",
                file_types=list(ENDINGS),
                size="sm",
                elem_id="evaluation-upload",
                min_width=200,
            )
            self.forget_button = gr.Button(
                "Delete my upload", size="sm", interactive=False, elem_id="evaluation-forget", min_width=140
            )
        self.own_note = gr.HTML(OWN_NOTE, elem_id="evaluation-own-note", apply_default_css=False)
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
                [],
                label="Evaluation",
                info="kept on this machine",
                elem_id="evaluation-shown",
                elem_classes="plain",
                min_width=280,
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

    def connect(self, page: gr.Blocks, tab: gr.Tab) -> None:
        """The events. What belongs to one visitor is in states; what all share is on disk."""
        chosen = [self.charts, self.size, self.kind, self.seed, self.arms, self.visitor]  # read by `Choices`
        browser = self.disagreements
        shown = [self.shown, self.scores, self.csv_button, self.json_button, *browser.outputs]
        moving = [self.notice, self.progress, self.start_button, self.stop_button, *shown]

        # Not in the queue of Compare: the engine's own lock lets a visitor's question pass between two batches.
        queued: dict[str, Any] = {"concurrency_limit": None, **PRIVATE}
        started = self.start_button.click(self.start, [*chosen, self.rule], moving, preprocess=False, **queued)
        self.stop_button.click(self.stop, self.visitor, self.stop_button, **QUICK)
        changes = [one.change for one in chosen[:-1]]
        asked, now = [*chosen, gr.Number(visible=False)], {"js": READ_AT, "preprocess": False, **QUICK}
        gr.on(changes, self.estimate_newest, asked, self.cost, trigger_mode="always_last", **now)
        own = [self.notice, self.charts, self.size, self.forget_button, self.own_note]
        self.upload_button.upload(self.upload, [self.upload_button, self.visitor], own, preprocess=False, **PRIVATE)
        self.forget_button.click(self.forget, self.visitor, own, **QUICK)
        self.shown.input(self.show, [self.shown, self.rule, self.seed, self.visitor], shown, **QUICK)
        browser.connect(self.shown, self.rule, self.seed)
        self.rule.input(
            self.rescore,
            [browser.picked, *browser.filtered],
            [self.scores, *browser.list_outputs, browser.detail],
            **QUICK,
        )
        # Every output, of whatever tab, costs the browser at each later event: those of a tab that nobody opens do not.
        page.load(self.greet, self.visitor, [self.visitor, self.opened], **QUICK)
        tab.select(None, None, self.opened, js="() => true", **QUICK)
        filled = [self.visitor, self.charts, self.forget_button, self.own_note, *shown]
        filling = self.opened.change(self.fill, [self.visitor, self.rule], filled, **QUICK)
        looked = filling.then(self.look_again, [self.visitor, self.rule], moving, **queued)
        for before in (filling, started, looked):
            before.then(self.estimate_newest, asked, self.cost, **now)  # of what is chosen by then
        page.unload(self.leave)

    @told_once
    def start(
        self, charts: int, size: int, kind: str, seed: float, arms: list[str], visitor: str, rule: str
    ) -> Iterator[Updates]:
        """Run or go on, and show the scores after every batch, until it ends or Stop is pressed."""
        upload = self.uploads.of(visitor)
        try:
            if not is_visitor(visitor):
                raise EvaluationError(OPENING)
            choice = self.choices.read(charts, size, kind, seed, arms, upload.split if upload else None)
        except (EvaluationError, DatasetError) as error:
            yield {self.notice: notice(str(error))}
            return
        name = choice.file_name(self.engine)
        if charts == UPLOAD and upload:
            name = upload.record(name)
        if following := self.running.start(choice, name, visitor, self.states):
            yield from self.follow(following, rule)
        else:
            yield {self.notice: notice(BUSY)}

    @told_once
    def look_again(self, visitor: str, rule: str) -> Iterator[Updates]:
        """After a reload: the visitor's run, if it still goes on."""
        yield {self.notice: gr.skip()}  # a generator without a value would empty all outputs
        if following := self.running.to_watch(visitor):
            yield from self.follow(following, rule)

    def states(self, now: Run, asking: Callable[[Sequence[Example]], None]) -> Iterator[Progress]:
        """The states of one run."""
        return run(
            self.engine,
            now.choice.examples,
            now.choice.arms,
            self.options,
            self.folder.place(now.file_name),
            now.stop,
            about=now.choice.about(),
            chunk_s=LENT_S if self.lent else CHUNK_S,
            first=FIRST_BATCH,
            asking=asking,
        )

    def follow(self, now: Run, rule: str) -> Iterator[Updates]:
        """The updates of one run, from where it stands to its end."""
        before, done, total = None, 0, len(now.choice.examples)
        yield {
            self.notice: notice(""),
            self.progress: progress_bar("Opening the charts.", 0, total),
            self.start_button: gr.Button(interactive=False),
            self.stop_button: gr.Button(interactive=True),
        }
        for _ in now.watch():
            state = now.state
            if state is None:
                continue
            done = state.done
            told = progress_bar(told_of(state, now), done, total) + under_way(now.asking, state, rule, self.when_left)
            yield {
                self.progress: told,
                **({self.scores: scores_section(figures_of(state.results, ()), rule)} if state is not before else {}),
            }
            before = state
        told = f"Done: {done:,} questions."
        if done < total:
            told = f"Stopped after {done:,} of {total:,} questions. Start with the same settings goes on."
        yield {
            self.notice: notice(now.failed),
            self.progress: "" if now.failed else progress_bar(told, done, total),
            self.start_button: gr.Button(interactive=True),
            self.stop_button: gr.Button(interactive=False),
            **({} if now.failed else self.show(now.file_name, rule, now.choice.seed, now.owner)),
        }

    @property
    def when_left(self) -> str:
        """What closing the tab does."""
        if self.lent:
            return "When you close this tab, it stops after a minute and keeps its answers; a reload looks at it again."
        return "You can close this tab: the evaluation goes on here, and opening the page again shows it."

    def stop(self, visitor: str) -> gr.Button:
        """End this visitor's run after the batch at hand."""
        if now := self.running.of(visitor):
            now.stop.set()
        return gr.Button(interactive=False)

    def upload(self, files: Any, visitor: str, request: gr.Request) -> Updates:
        """Charts of the visitor's own, chosen at once."""
        try:
            if not is_visitor(visitor):  # nobody's upload would be everybody's
                raise DatasetError(OPENING)
            split = self.uploads.take(visitor, str(request.session_hash), files or [])
        except DatasetError as error:
            return {self.notice: notice(str(error))}
        return {self.notice: notice(""), self.size: 0, **self.offer(split), self.charts: self.charts_of(split, UPLOAD)}

    def forget(self, visitor: str) -> Updates:
        """Delete the visitor's upload."""
        if self.running.of(visitor):
            return {self.notice: notice("Your evaluation is running. Stop it first.")}
        self.uploads.drop(visitor)
        return {**self.offer(None), self.charts: self.charts_of(None, 0)}

    def offer(self, split: Split | None) -> Updates:
        """The upload that is there, or none."""
        told = f'<p class="cost">{escape(split.note)}</p>' if split else OWN_NOTE
        return {self.own_note: told, self.forget_button: gr.Button(interactive=split is not None)}

    def charts_of(self, split: Split | None, value: int) -> gr.Dropdown:
        """The choice of charts, with the visitor's upload."""
        return gr.Dropdown(self.choices.titles(split), value=value)

    def leave(self, request: gr.Request) -> None:
        """A tab was closed."""
        self.uploads.leave(str(request.session_hash))
        self.newest.pop(str(request.session_hash), None)

    def example_of(self, results: Results, item: Item) -> tuple[Example, Split] | None:
        """See `Choices.example_of`."""
        return self.choices.example_of(results, item, [one.split for one in list(self.uploads.kept.values())])

    def estimate_newest(
        self, charts: int, size: int, kind: str, seed: int, arms: list[str], visitor: str, at: Any, request: gr.Request
    ) -> str | dict[str, Any]:
        """`estimate` of what is chosen last: of two at once, the one whose values were read first says nothing."""
        session, mine = str(request.session_hash), at if isinstance(at, int | float) else 0.0
        self.newest[session] = max(mine, self.newest.get(session, 0.0))
        told = self.estimate(charts, size, kind, seed, arms, visitor)
        return told if self.newest.get(session) == mine else gr.skip()

    def estimate(self, charts: int, size: int, kind: str, seed: float, arms: list[str], visitor: str) -> str:
        """What a run with these settings asks and costs, before it starts."""
        upload = self.uploads.of(visitor)
        try:
            choice = self.choices.read(charts, size, kind, seed, arms, upload.split if upload else None)
        except (EvaluationError, DatasetError) as error:
            return f'<p class="cost">{escape(str(error))}</p>'
        name = choice.file_name(self.engine)
        record = self.folder.results(upload.record(name) if charts == UPLOAD and upload else name)
        done, count = len(record.items) if record else 0, len(choice.examples)
        told = f"{count:,} questions to {len(choice.arms)} {'arm' if len(choice.arms) == 1 else 'arms'}"
        told += f", {done:,} of them asked already" if done else ""
        each = self.folder.seconds_per_question(model_name(self.engine))
        if done >= count:
            told += "."
        elif each is None:
            told += ". How long it takes shows after the first batch."
        else:
            told += f": about {duration((count - done) * each)}, as this model took {each:.2g} s per question before."
        if self.lent:
            told += (
                f" The GPU is lent for about {LENT_S:.0f} s at a time, which counts against your daily quota; when "
                "that is used up, Start goes on another day."
            )
        return f'<p class="cost">{escape(told)}</p>'

    def greet(self, visitor: str, request: gr.Request) -> Updates:
        """Know the visitor when the page opens. Their run is looked at at once: what nobody looks at may be ended."""
        if not is_visitor(visitor) or len(visitor) != VISITOR:
            # One name, however often this page asks before it has one.
            page = str(request.session_hash or secrets.token_hex())
            visitor = blake2b(page.encode(), key=self.secret, digest_size=VISITOR // 2).hexdigest()
        self.uploads.arrive(visitor, str(request.session_hash))
        return {self.visitor: visitor, self.opened: True if self.running.of(visitor) else gr.skip()}

    def fill(self, visitor: str, rule: str, request: gr.Request) -> Updates:
        """The newest results on this machine, and the visitor's own upload, when the tab is opened first."""
        visitor = self.greet(visitor, request)[self.visitor]  # the page may be too new to have been told
        upload = self.uploads.of(visitor)
        names = self.folder.names(upload.secret if upload else "")
        return {
            self.visitor: visitor,
            **({**self.offer(upload.split), self.charts: self.charts_of(upload.split, UPLOAD)} if upload else {}),
            **self.show(names[0][1] if names else None, rule, 0, visitor),
        }

    def show(self, name: str | None, rule: str, seed: float | None, visitor: str) -> Updates:
        """The scores, downloads and questions of one evaluation on disk."""
        upload = self.uploads.of(visitor)
        name = name if self.folder.path(name) else None
        csv_file, json_file = self.folder.write_downloads(name)
        return {
            self.shown: gr.Dropdown(self.folder.names(upload.secret if upload else ""), value=name),
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
