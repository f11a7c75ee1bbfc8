"""The Compare tab: a chart, a question, three answers side by side.

Asking takes two steps. `ask` answers at once: it checks the question, empties the cards and puts the question into a
state; the change of that state starts `answer`, which waits for the model and streams. So a new question, another
chart or Stop can end the stream that runs, and what is wrong with a question is told without waiting.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

from chartqa_demo.data.splits import Example, Kind, Split
from chartqa_demo.engines import Engine, Options
from chartqa_demo.errors import ChartError, DatasetError, EngineError, QuestionError, shown
from chartqa_demo.settings import Settings
from chartqa_demo.ui.compare.api import add_endpoints
from chartqa_demo.ui.compare.cards.answers import chips
from chartqa_demo.ui.compare.cards.before import Before
from chartqa_demo.ui.compare.cards.column import Cards
from chartqa_demo.ui.compare.cards.winner import announce
from chartqa_demo.ui.compare.charts import (
    GENERAL_QUESTIONS,
    Chart,
    chart_of,
    charts_after,
    find_example,
    own_chart,
    picture_to_show,
    recorded_sample,
)
from chartqa_demo.ui.compare.details import Details
from chartqa_demo.ui.compare.history import Run, read_entry, read_kept
from chartqa_demo.ui.compare.picking import Charts
from chartqa_demo.ui.compare.question import SETTINGS, Turn, chart_path, read_question, stream_answers
from chartqa_demo.ui.corrections import CorrectionRow, Corrections, subject_of_run
from chartqa_demo.ui.events import PRIVATE, QUICK, Updates, at_once, told_once
from chartqa_demo.ui.gaze.panel import GazePart
from chartqa_demo.ui.markup import PICK_JS, notice


class CompareTab:
    """The tab's components, and what happens when a visitor uses them. Built inside the context of `page`.

    examples: the split that random charts and thumbnails come from; gallery: the bundled split, for links.
    """

    def __init__(
        self,
        page: gr.Blocks,
        engine: Engine,
        settings: Settings,
        examples: Split,
        gallery: Split,
        corrections: Corrections,
    ) -> None:
        self.engine, self.limits = engine, settings
        self.why_wait: Callable[[], str] = str  # why a question asked now has to wait; empty where it has not
        self.examples = examples
        self.gallery = gallery
        self.sample = recorded_sample(engine, gallery, Options(settings.max_new_tokens))

        with gr.Row(elem_id="workbench", elem_classes="sampled" if self.sample else None):
            with gr.Column(scale=6, min_width=300, elem_id="charts"):
                self.charts = Charts(examples)
            with gr.Column(scale=5, min_width=300, elem_id="questions"):
                self.lay_out_question()
                self.cards = Cards(engine.arms)
                self.before = Before(engine)
                self.gaze = GazePart(engine)
                self.correct = CorrectionRow(corrections, [arm.title for arm in engine.arms], "compare")
        self.details = Details(engine, settings)
        self.history = gr.HTML(js_on_load="listHistory(element, trigger);", elem_id="history", apply_default_css=False)
        self.kept = gr.JSON(visible=False)
        self.connect(page, settings)

    # What the visitor sees, in the order of reading.

    def lay_out_question(self) -> None:
        """Question, gold answer, Ask and Stop, suggestions. The buttons stand over what wraps and keep their place."""
        self.question = gr.Textbox(
            label="Question",
            placeholder="What do you want to know about the chart?",
            max_lines=4,
            elem_id="question",
            elem_classes="plain",
        )
        self.notice = gr.HTML(elem_id="notice", apply_default_css=False)
        with gr.Row(elem_id="actions"):
            self.gold = gr.Textbox(
                label="Right answer, if you know it (optional)",
                placeholder="Answers are checked against it",
                max_lines=1,
                elem_id="gold",
                elem_classes="plain",
            )
            self.ask_button = gr.Button("Ask", variant="primary", elem_id="ask", scale=3, min_width=120)
            self.stop_button = gr.Button("Stop", elem_id="stop", interactive=False, scale=1, min_width=90)
        self.chips = gr.HTML(chips(GENERAL_QUESTIONS), js_on_load=PICK_JS, elem_id="chips", apply_default_css=False)

    # What happens when.

    def connect(self, page: gr.Blocks, settings: Settings) -> None:
        """The events. What belongs to one visitor is in states; all visitors share only the engine."""
        self.chart = gr.State(Chart())
        self.asked = gr.State(None)
        self.turn = gr.State(Turn())
        self.run = gr.State(Run())

        self.run_outputs = [self.run, *self.cards.outputs, self.stop_button]
        self.chart_outputs = [
            *(self.charts.image, self.chart, self.question, self.chips, self.gold, self.charts.notice, self.notice),
            *(self.cards.followed, *self.run_outputs),
        ]
        ask_outputs = [
            *(self.question, self.gold, self.notice, self.charts.notice, self.asked),
            *self.details.prompts,
            *self.run_outputs,
        ]

        # First, since the names of private listeners count too: after `self.ask` this one would be called ask_1.
        add_endpoints(self.engine, settings)
        # Without preprocessing the picture arrives as the file it is; only queued events notice a changed state.
        ask_options = {"preprocess": False, "trigger_mode": "multiple", "concurrency_limit": None, **PRIVATE}
        ask_options |= {"js": "(...typed) => asking(...typed)"}

        # Gradio handles the listeners of one event one after the other: ending the old stream comes first, and behind
        # Stop, where a stream that waits would begin in its place.
        self.answering = self.asked.change(
            self.answer,
            self.turn,
            [*self.run_outputs, self.notice],
            trigger_mode="multiple",
            **at_once(self.engine),
            **PRIVATE,
        )
        self.stop_button.click(self.stop, [self.turn, self.run], self.run_outputs, trigger_mode="multiple", **QUICK)
        asks = [self.ask_button.click, self.question.submit, self.gold.submit]
        charts = [one.select for one in (self.charts.strip, self.history, self.cards.share)]
        charts += [
            self.charts.image.input,  # also where it is cleared; Gradio fails when it is told twice to cancel
            self.charts.random.click,
            self.charts.notice.upload,
        ]
        gr.on([*asks, self.chips.select, *charts, self.stop_button.click], None, cancels=[self.answering], **PRIVATE)
        blind, told = self.cards.guess_first, self.details.settings
        typed = [self.turn, self.question, self.chart, self.charts.image, blind, self.gold, *told]
        for event in (
            gr.on(asks, self.ask, typed, ask_outputs, **ask_options),
            self.chips.select(self.ask_suggestion, typed, ask_outputs, **ask_options),
            self.cards.share.select(
                self.ask_next,
                [self.turn, self.run, self.chart, blind, *told],
                list(dict.fromkeys([*self.chart_outputs, *ask_outputs])),
                **ask_options,
            ),
        ):
            event.then(None, js="() => window.showAnswers()", **QUICK)

        # A visitor's own picture empties the cards in the browser: an answer of the server could come after a new
        # question. Gradio drops a second event while the first is handled, unless told otherwise.
        empty = self.show(Run())
        cleared = {component: empty[component] for component in self.run_outputs[1:]}
        cleared |= dict.fromkeys([self.notice, self.charts.notice, self.cards.followed], "")
        typed_both, emptied = [self.question, self.gold], json.dumps(list(cleared.values()))
        for event, removed in ((self.charts.image.input, "false"), (self.charts.image.clear, "true")):
            clear = f"(...typed) => [...leftOf(...typed, {removed}), ...{emptied}]"
            event(None, typed_both, [*typed_both, *cleared], js=clear)
        self.charts.image.input(
            self.upload,
            self.charts.image,
            [self.charts.image, self.chart, self.chips, self.charts.notice],
            preprocess=False,
            trigger_mode="always_last",
            **QUICK,
        )
        self.charts.image.clear(self.forget, None, [self.chart, self.chips], trigger_mode="multiple", **QUICK).then(
            None, js="() => new Promise((later) => setTimeout(later, 500))", **QUICK
        ).then(self.forget_run, self.charts.image, self.run_outputs, preprocess=False, **QUICK)
        taken = [self.charts.notice.upload, self.charts.notice.edit]
        taking = gr.on(
            taken, self.take, self.charts.image, self.chart_outputs, preprocess=False, trigger_mode="multiple", **QUICK
        )
        taking.then(None, self.question, self.question, js="(question) => leftOfTaken(question)", **QUICK)
        more = {"trigger_mode": "multiple", **QUICK}
        picked = self.charts.strip.select(self.open_thumbnail, None, self.chart_outputs, **more)
        drawn = self.charts.random.click(self.open_random, self.charts.kind, self.chart_outputs, **more)

        self.correct.connect(self.run, subject_of_run(self.engine.arms), [self.asked.change])
        self.gaze.connect(self.run, [self.asked.change, self.charts.image.change])
        self.before.connect(self.run, [self.asked.change, self.charts.image.change, page.load])
        self.details.connect(self.charts.image)
        self.cards.connect(self.run)
        kept_outputs = [*self.chart_outputs, *self.details.settings]
        reopened = self.history.select(self.reopen, None, kept_outputs, **QUICK)
        for event in (picked, drawn, reopened):
            event.then(None, js="() => showChart()", **QUICK)
        page.load(None, None, blind, js="() => guessFirst()", **QUICK)
        at_start = "async () => [await keptAtStart(), guessFirst()]"
        opening = page.load(self.open_kept, [self.kept, blind], kept_outputs, js=at_start, **QUICK)
        opening.then(None, js="() => started()", **QUICK)

    def ask(self, turn: Turn, text: object, chart: Chart, payload: Any, blind: bool, *values: object) -> Updates:
        """Check the question and hand it to `answer`; `values` are the gold answer and the settings. blind: arms and
        gold answer stay hidden until the visitor has guessed."""
        try:
            path = chart_path(payload)
            if str(path) != chart.file:
                chart = Chart(name=shown((payload or {}).get("orig_name") or "own chart"))
            of_chart = {"source": chart.source, "chart_name": chart.name, "example": chart.example}
            asked = read_question(path, text, *values, limits=self.limits, known_golds=chart.golds, **of_chart)
        except QuestionError as error:
            return {self.notice: notice(str(error))}
        turn.asked = asked = replace(asked, blind=bool(blind))
        told = [self.engine.prompt_text(arm, asked.text, asked.options) for arm in self.engine.arms]
        return {
            self.notice: notice(""),
            self.charts.notice: notice(""),
            self.asked: asked,
            **dict(zip(self.details.prompts, told, strict=True)),
            **self.show(Run(asked, (), "waiting"), "Waiting for the model."),
        }

    def ask_suggestion(self, event: gr.EventData, turn: Turn, text: object, chart: Chart, *typed: Any) -> Updates:
        """Ask a chip's question. A gold answer that the visitor typed belongs to the visitor's own question."""
        chosen = dict(enumerate(chart.suggestions)).get(event.index, text)
        return {self.question: chosen, self.gold: "", **self.ask(turn, chosen, chart, *typed[:2], None, *typed[3:])}

    def ask_next(self, turn: Turn, run: Run, chart: Chart, blind: bool, *settings: object) -> Updates:
        """Ask the question of the cards about the next chart of the same split that can be shown."""
        if run.question is None:
            return {self.notice: notice("Ask a question first.")}
        example, split = find_example(chart.example, (self.examples, self.gallery)) or (None, self.examples)
        for one in charts_after(example, split):
            shown = self.open_example(one, split)
            if onward := shown.get(self.chart):
                asked = self.ask(turn, run.question.text, onward, {"path": onward.file}, blind, None, *settings)
                return {**shown, **asked, self.question: run.question.text}
        return {self.charts.notice: notice("There is no other chart here.")}

    @told_once
    def answer(self, turn: Turn) -> Iterator[Updates]:
        """Stream the answers to the question asked last into the cards, once."""
        asked = turn.asked
        if asked is None or asked is turn.answered:
            yield {self.notice: gr.skip()}  # of a stream without any step Gradio empties the outputs
            return
        turn.stream = stream = object()
        run, waits = Run(asked, (), "running"), self.why_wait()
        told = self.show(replace(run, phase="waiting"), waits) if waits else self.show(run, "Answering.")
        yield {self.notice: notice(waits), **told}
        try:
            for answers in stream_answers(self.engine, asked, self.limits):
                if not turn.wants(asked, stream):
                    return
                run = replace(run, answers=answers)
                yield {self.notice: "", **self.show(run, "Answering.")}
            told = self.show(replace(run, phase="done"), announce(self.engine.arms, asked, run.answers, run.hidden))
        except (ChartError, EngineError) as error:
            failed = self.show(replace(run, phase="stopped"), "The question failed.")
            told = {self.notice: notice(str(error)), **failed}
        if turn.wants(asked, stream):
            yield told
            turn.answered = asked  # it is sent: from one that is ended before, the next takes the question over

    def stop(self, turn: Turn, run: Run) -> Updates:
        """Keep what is on the cards; the stream was cancelled by the same click, or ends by itself."""
        turn.asked = None
        if run.phase in ("idle", "done"):
            return {self.stop_button: gr.update(interactive=False)}
        return self.show(replace(run, phase="stopped"), "Stopped.")

    def upload(self, payload: dict[str, Any] | None) -> Updates:
        """Tell at once what is wrong with a visitor's picture, and keep the question. The cards are left alone, since
        the visitor may have asked before this came back."""
        try:
            path = chart_path(payload)
            picture = picture_to_show(path, self.limits) if path else None
        except (QuestionError, ChartError) as error:
            return {**self.forget(), self.charts.image: None, self.charts.notice: notice(str(error))}
        return {**self.forget(), self.charts.image: picture or gr.skip()}

    def take(self, event: gr.EventData, before: dict[str, Any] | None) -> Updates:
        """Show a picture that was dropped or pasted anywhere; of a file that is none, only say so. before: the picture
        that was there, and takes the gold answer with it."""
        try:
            chart = own_chart(event.path, event.name, event.size, self.limits)
        except (QuestionError, ChartError) as error:
            return {self.charts.notice: notice(str(error))}
        cleared: Updates = dict.fromkeys([self.charts.notice, self.notice, self.cards.followed], "")
        cleared[self.gold] = "" if before else gr.skip()
        return {**self.forget(), self.charts.image: chart.file, self.chart: chart, **cleared, **self.show(Run())}

    def forget(self) -> Updates:
        """No chart of a split any more."""
        return {self.chart: Chart(), self.chips: chips(GENERAL_QUESTIONS)}

    def forget_run(self, shown: dict[str, Any] | None) -> Updates:
        """Without a chart there are no answers: a last word of those that were ended can come after the cards were
        emptied (Gradio 6.31 looks for it every 50 ms)."""
        return self.show(Run()) if shown is None else {self.run: gr.skip()}

    def open_thumbnail(self, event: gr.EventData) -> Updates:
        """Show one of the thumbnails' charts."""
        if event.index not in range(len(self.charts.thumbnails)):
            return {self.charts.notice: notice("There is no such example chart.")}
        return self.open_example(self.charts.thumbnails[event.index][0], self.examples)

    def open_random(self, asked_by: str) -> Updates:
        """Show a random chart of the loaded split."""
        kinds: dict[str, Kind] = {"human": "human", "machine": "machine"}
        try:
            return self.open_example(self.examples.random_example(kinds.get(asked_by)), self.examples)
        except DatasetError as error:
            return {self.charts.notice: notice(str(error))}

    def open_example(self, example: Example, split: Split) -> Updates:
        """Show a split's chart with the example's question typed in, and empty cards."""
        try:
            chart = chart_of(example, split)
        except ChartError as error:
            return {self.charts.notice: notice(f"{example.id} cannot be shown. {error}")}
        return {
            self.charts.image: chart.file,
            self.chart: chart,
            self.question: example.question,
            self.chips: chips(chart.suggestions, chart.example, chart.name),
            self.gold: "",
            self.charts.notice: notice(""),
            self.notice: notice(""),
            self.cards.followed: "",
            **self.show(Run()),
        }

    def reopen(self, event: gr.EventData) -> Updates:
        """Show a question of the history."""
        return self.open_kept(event.kept)

    def open_kept(self, kept: Any, blind: bool = False) -> Updates:
        """Show again what the visitor's browser kept: a chart, what was typed, the answers. Anything can come. blind:
        whether a first visit's sample hides its arms."""
        kept = read_kept(kept)
        if not kept or isinstance(kept.get("link"), dict):
            return self.open_link(kept["link"]) if kept else self.open_sample(blind)
        found = find_example(kept.get("example"), (self.examples, self.gallery))
        if found:
            shown = self.open_example(*found)
        else:
            try:
                chart = own_chart(kept.get("path"), kept.get("name"), limits=self.limits)
            except (QuestionError, ChartError):  # the browser no longer has the picture
                chart = Chart()
            shown = {**self.forget(), self.charts.image: chart.file or None, self.chart: chart, self.cards.followed: ""}
        shown |= {self.question: str(kept.get("question") or ""), self.gold: str(kept.get("gold") or "")}
        chart = shown.get(self.chart)
        run = read_entry(kept.get("entry"), self.engine.arms, chart, kept.get("gold")) if chart and chart.file else None
        if not run or not run.question:
            return shown
        told = "The page was left before the answers were ready."
        if run.phase == "done":
            told = announce(self.engine.arms, run.question, run.answers, run.hidden)
        return {**shown, **self.details.show(run.question.options), **self.show(run, told)}

    def open_link(self, link: dict[str, Any]) -> Updates:
        """Show the chart of a link, with its question and settings; the browser then asks."""
        found = find_example(link.get("example"), (self.examples, self.gallery))
        if found is None:
            return {
                self.charts.notice: notice(f"This page has no chart “{link.get('example')}”: the link is another's.")
            }
        shown = self.open_example(*found)
        try:
            told = (link.get("q") or found[0].question, None, *map(link.get, SETTINGS))
            asked = read_question(Path(), *told, limits=self.limits)
        except QuestionError as error:
            return {**shown, self.notice: notice(str(error))}
        return {**shown, self.question: asked.text, **self.details.show(asked.options)}

    def open_sample(self, blind: bool) -> Updates:
        """A first visit: a chart whose answers were recorded."""
        if self.sample is None:
            return {self.notice: gr.skip()}
        example, answers = self.sample
        shown = self.open_example(example, self.gallery)
        if chart := shown.get(self.chart):
            of_chart = {"source": chart.source, "chart_name": chart.name, "example": chart.example}
            asked = read_question(Path(chart.file), example.question, known_golds=chart.golds, **of_chart)
            told = "An example with recorded answers. Ask has the model answer now."
            shown |= self.show(Run(replace(asked, blind=blind), answers, "done", kept=True), told)
        return shown

    def show(self, run: Run, told: str = "") -> Updates:
        """A run on the cards, and whether there is anything to stop."""
        running = run.phase in ("waiting", "running")
        return {self.run: run, self.stop_button: gr.update(interactive=running), **self.cards.show(run, told)}
