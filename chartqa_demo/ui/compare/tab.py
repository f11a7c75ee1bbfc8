"""The Compare tab: a chart, a question, three answers side by side.

Asking takes two steps. `ask` answers at once: it checks the question, empties the cards and puts the question into a
state; the change of that state starts `answer`, which waits for the model and streams. So a new question, another
chart or Stop can end the stream that runs, and what is wrong with a question is told without waiting.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

from chartqa_demo.data.splits import Example, Kind, Split
from chartqa_demo.engines import Engine, Options
from chartqa_demo.errors import ChartError, DatasetError, EngineError, QuestionError
from chartqa_demo.settings import Settings
from chartqa_demo.ui.compare.api import add_endpoints
from chartqa_demo.ui.compare.cards.answers import SHARE, answer_card, asked_line, chips, thumbnails
from chartqa_demo.ui.compare.cards.winner import announce
from chartqa_demo.ui.compare.charts import (
    GENERAL_QUESTIONS,
    Chart,
    chart_of,
    find_example,
    gallery_of,
    own_chart,
    picture_to_show,
    recorded_sample,
    split_in_words,
)
from chartqa_demo.ui.compare.details import Details
from chartqa_demo.ui.compare.history import Run, entry, read_entry
from chartqa_demo.ui.compare.question import SETTINGS, Question, chart_path, read_question, stream_answers, verdicts
from chartqa_demo.ui.corrections import CorrectionRow, Corrections, subject_of_run
from chartqa_demo.ui.events import PRIVATE, QUICK, Updates, at_once
from chartqa_demo.ui.gaze.panel import GazePart
from chartqa_demo.ui.markup import PICK_JS, notice, status


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
        self.engine = engine
        self.examples = examples
        self.gallery = gallery
        self.thumbnails = gallery_of(examples)
        self.sample = recorded_sample(engine, gallery, Options(settings.max_new_tokens))

        with gr.Row(elem_id="workbench"):
            with gr.Column(scale=6, min_width=300, elem_id="charts"):
                self.lay_out_chart()
            with gr.Column(scale=5, min_width=300, elem_id="questions"):
                self.lay_out_question()
                self.lay_out_answers()
                self.gaze = GazePart(engine)
                self.correct = CorrectionRow(corrections, [arm.title for arm in engine.arms], "compare")
        self.details = Details(engine, settings)
        self.history = gr.HTML(js_on_load="listHistory(element, trigger);", elem_id="history", apply_default_css=False)
        self.kept = gr.JSON(visible=False)
        self.connect(page, settings)

    # What the visitor sees, in the order of reading.

    def lay_out_chart(self) -> None:
        """Upload, random chart and thumbnails."""
        self.image = gr.Image(
            label="Chart",
            type="filepath",
            image_mode=None,
            format="png",
            sources=["upload", "clipboard", "webcam"],
            buttons=["fullscreen"],
            interactive=True,
            alt_text="The chart you are asking about",
            elem_id="chart",
        )
        self.chart_notice = gr.HTML(js_on_load="takeCharts(trigger);", elem_id="chart-notice", apply_default_css=False)
        with gr.Row(elem_id="random-row"):
            self.kind = gr.Radio(
                ["any", "human", "machine"],
                value="any",
                label=f"From {split_in_words(self.examples)}, questions by",
                elem_id="kind",
                elem_classes="plain",
                min_width=240,
            )
            self.random_button = gr.Button("Random chart", elem_id="random", min_width=140, scale=0)
        self.strip = gr.HTML(
            thumbnails([(picture, example.question) for example, picture in self.thumbnails]),
            js_on_load=PICK_JS,
            elem_id="examples",
            apply_default_css=False,
        )

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
                label="Gold answer (optional)",
                placeholder="gives verdicts; sampled charts bring theirs",
                max_lines=1,
                elem_id="gold",
                elem_classes="plain",
            )
            self.ask_button = gr.Button("Ask", variant="primary", elem_id="ask", scale=3, min_width=120)
            self.stop_button = gr.Button("Stop", elem_id="stop", interactive=False, scale=1, min_width=90)
        self.chips = gr.HTML(chips(GENERAL_QUESTIONS), js_on_load=PICK_JS, elem_id="chips", apply_default_css=False)

    def lay_out_answers(self) -> None:
        """The question with its gold answer, and one card per arm."""
        with gr.Column(elem_id="answers"):
            self.asked_line = gr.HTML(asked_line(), elem_id="asked", apply_default_css=False)
            self.columns = [
                gr.HTML(answer_card(arm, None, "idle"), elem_id=f"card-{arm.key}", apply_default_css=False)
                for arm in self.engine.arms
            ]
            self.status = gr.HTML(status(""), elem_id="status", apply_default_css=False)
            gr.HTML(SHARE, elem_id="share", apply_default_css=False)

    # What happens when.

    def connect(self, page: gr.Blocks, settings: Settings) -> None:
        """The events. What belongs to one visitor is in states; all visitors share only the engine."""
        self.chart = gr.State(Chart())
        self.asked = gr.State(None)
        self.run = gr.State(Run())

        self.run_outputs = [self.run, self.asked_line, *self.columns, self.status, self.stop_button]
        self.chart_outputs = [
            *(self.image, self.chart, self.question, self.chips, self.gold, self.chart_notice, self.notice),
            *self.run_outputs,
        ]
        ask_outputs = [
            *(self.question, self.gold, self.notice, self.chart_notice, self.asked),
            *self.details.prompts,
            *self.run_outputs,
        ]

        # First, since the names of private listeners count too: after `self.ask` this one would be called ask_1.
        add_endpoints(self.engine, settings)
        # Without preprocessing the picture arrives as the file it is; only queued events notice a changed state.
        ask_options = {"preprocess": False, "trigger_mode": "multiple", "concurrency_limit": None, **PRIVATE}

        # Gradio handles the listeners of one event one after the other: ending the old stream comes first.
        self.answering = self.asked.change(
            self.answer,
            self.asked,
            [*self.run_outputs, self.notice],
            trigger_mode="multiple",
            **at_once(self.engine),
            **PRIVATE,
        )
        asks = [self.ask_button.click, self.question.submit, self.gold.submit]
        charts = [one.select for one in (self.strip, self.history)]
        charts += [self.image.input, self.image.clear, self.random_button.click, self.chart_notice.upload]
        gr.on([*asks, self.chips.select, *charts, self.stop_button.click], None, cancels=[self.answering], **PRIVATE)
        typed = [self.question, self.chart, self.image, self.gold, *self.details.settings]
        for event in (
            gr.on(asks, self.ask, typed, ask_outputs, **ask_options),
            self.chips.select(self.ask_suggestion, typed, ask_outputs, **ask_options),
        ):
            event.then(None, js="() => window.showAnswers()", **QUICK)
        self.stop_button.click(self.stop, self.run, self.run_outputs, **QUICK)

        # A visitor's own picture empties the cards in the browser: an answer of the server could come after a new
        # question. Gradio drops a second event while the first is handled, unless told otherwise.
        shown = self.show(Run())
        emptied = (self.asked_line, *self.columns, self.status, self.stop_button)
        cleared = {component: shown[component] for component in emptied}
        cleared |= {self.gold: "", self.notice: "", self.chart_notice: ""}
        clear = f"() => {json.dumps(list(cleared.values()))}"
        gr.on([self.image.input, self.image.clear], None, None, list(cleared), js=clear)
        self.image.input(
            self.upload,
            self.image,
            [self.image, self.chart, self.chips, self.chart_notice],
            preprocess=False,
            trigger_mode="always_last",
            **QUICK,
        )
        self.image.clear(self.forget, None, [self.chart, self.chips], trigger_mode="multiple", **QUICK)
        taken = [self.chart_notice.upload, self.chart_notice.edit]
        gr.on(taken, self.take, None, self.chart_outputs, trigger_mode="multiple", **QUICK)
        self.strip.select(self.open_thumbnail, None, self.chart_outputs, trigger_mode="multiple", **QUICK)
        self.random_button.click(self.open_random, self.kind, self.chart_outputs, trigger_mode="multiple", **QUICK)

        self.correct.connect(self.run, subject_of_run(self.engine.arms), [self.asked.change])
        self.gaze.connect(self.run, [self.asked.change, self.image.change])
        self.details.connect()
        kept_outputs = [*self.chart_outputs, *self.details.settings]
        self.history.select(self.reopen, None, kept_outputs, **QUICK)
        page.load(self.open_kept, self.kept, kept_outputs, js="async () => [await keptAtStart()]", **QUICK).then(
            None, js="() => started()", **QUICK
        )

    def ask(self, text: object, chart: Chart, payload: dict[str, Any] | None, *values: object) -> Updates:
        """Check the question and hand it to `answer`; `values` are the gold answer and the settings."""
        try:
            path = chart_path(payload)
            if str(path) != chart.file:
                chart = Chart(name=(payload or {}).get("orig_name") or "own chart")
            asked = read_question(
                path,
                text,
                *values,
                known_golds=chart.golds,
                source=chart.source,
                chart_name=chart.name,
                example=chart.example,
            )
        except QuestionError as error:
            return {self.notice: notice(str(error))}
        told = [self.engine.prompt_text(arm, asked.text, asked.options) for arm in self.engine.arms]
        return {
            self.notice: notice(""),
            self.chart_notice: notice(""),
            self.asked: asked,
            **dict(zip(self.details.prompts, told, strict=True)),
            **self.show(Run(asked, (), "waiting"), "Waiting for the model."),
        }

    def ask_suggestion(
        self, event: gr.EventData, text: object, chart: Chart, payload: dict[str, Any] | None, *values: object
    ) -> Updates:
        """Ask a chip's question. A gold answer that the visitor typed belongs to the visitor's own question."""
        chosen = dict(enumerate(chart.suggestions)).get(event.index, text)
        return {self.question: chosen, self.gold: "", **self.ask(chosen, chart, payload, None, *values[1:])}

    def answer(self, asked: Question | None) -> Iterator[Updates]:
        """Stream the answers into the cards."""
        if asked is None:
            return
        run = Run(asked, (), "running")
        yield self.show(run, "Answering.")
        try:
            for answers in stream_answers(self.engine, asked):
                run = replace(run, answers=answers)
                yield self.show(run, "Answering.")
        except (ChartError, EngineError) as error:
            failed = self.show(replace(run, phase="stopped"), "The question failed.")
            yield {self.notice: notice(str(error)), **failed}
            return
        yield self.show(replace(run, phase="done"), announce(self.engine.arms, asked, run.answers))

    def stop(self, run: Run) -> Updates:
        """Keep what is on the cards; the stream itself was cancelled by the same click."""
        if run.phase not in ("waiting", "running"):
            return {self.stop_button: gr.update(interactive=False)}
        return self.show(replace(run, phase="stopped"), "Stopped.")

    def upload(self, payload: dict[str, Any] | None) -> Updates:
        """Tell at once what is wrong with a visitor's picture, and keep the question. The cards are left alone, since
        the visitor may have asked before this came back."""
        try:
            path = chart_path(payload)
            picture = picture_to_show(path) if path else None
        except (QuestionError, ChartError) as error:
            return {**self.forget(), self.image: None, self.chart_notice: notice(str(error))}
        return {**self.forget(), self.image: picture or gr.skip()}

    def take(self, event: gr.EventData) -> Updates:
        """Show a picture that was dropped or pasted anywhere; of a file that is none, only say so."""
        try:
            chart = own_chart(event.path, event.name, event.size)
        except (QuestionError, ChartError) as error:
            return {self.chart_notice: notice(str(error))}
        cleared = dict.fromkeys([self.chart_notice, self.notice, self.gold], "")
        return {**self.forget(), self.image: chart.file, self.chart: chart, **cleared, **self.show(Run())}

    def forget(self) -> Updates:
        """No chart of a split any more."""
        return {self.chart: Chart(), self.chips: chips(GENERAL_QUESTIONS)}

    def open_thumbnail(self, event: gr.EventData) -> Updates:
        """Show one of the thumbnails' charts."""
        if event.index not in range(len(self.thumbnails)):
            return {self.chart_notice: notice("There is no such example chart.")}
        return self.open_example(self.thumbnails[event.index][0], self.examples)

    def open_random(self, asked_by: str) -> Updates:
        """Show a random chart of the loaded split."""
        kinds: dict[str, Kind] = {"human": "human", "machine": "machine"}
        try:
            return self.open_example(self.examples.random_example(kinds.get(asked_by)), self.examples)
        except DatasetError as error:
            return {self.chart_notice: notice(str(error))}

    def open_example(self, example: Example, split: Split) -> Updates:
        """Show a split's chart with the example's question typed in, and empty cards."""
        try:
            chart = chart_of(example, split)
        except ChartError as error:
            return {self.chart_notice: notice(f"{example.id} cannot be shown. {error}")}
        return {
            self.image: chart.file,
            self.chart: chart,
            self.question: example.question,
            self.chips: chips(chart.suggestions, chart.example, chart.name),
            self.gold: "",
            self.chart_notice: notice(""),
            self.notice: notice(""),
            **self.show(Run()),
        }

    def reopen(self, event: gr.EventData) -> Updates:
        """Show a question of the history."""
        return self.open_kept(event.kept)

    def open_kept(self, kept: Any) -> Updates:
        """Show again what the visitor's browser kept: a chart, what was typed, the answers. Anything can come."""
        kept = kept if isinstance(kept, dict) else {}
        if not kept or isinstance(kept.get("link"), dict):
            return self.open_link(kept["link"]) if kept else self.open_sample()
        found = find_example(kept.get("example"), (self.examples, self.gallery))
        if found:
            shown = self.open_example(*found)
        else:
            try:
                chart = own_chart(kept.get("path"), kept.get("name"))
            except (QuestionError, ChartError):  # the browser no longer has the picture
                chart = Chart()
            shown = {**self.forget(), self.image: chart.file or None, self.chart: chart}
        shown |= {self.question: str(kept.get("question") or ""), self.gold: str(kept.get("gold") or "")}
        chart = shown.get(self.chart)
        run = read_entry(kept.get("entry"), self.engine.arms, chart.file) if chart and chart.file else None
        if not run or not run.question:
            return shown
        told = "The page was left before the answers were ready."
        if run.phase == "done":
            told = announce(self.engine.arms, run.question, run.answers)
        return {**shown, **self.details.show(run.question.options), **self.show(run, told)}

    def open_link(self, link: dict[str, Any]) -> Updates:
        """Show the chart of a link, with its question and settings; the browser then asks."""
        found = find_example(link.get("example"), (self.examples, self.gallery))
        if found is None:
            return {
                self.chart_notice: notice(f"This page has no chart “{link.get('example')}”: the link is another's.")
            }
        shown = self.open_example(*found)
        try:
            asked = read_question(Path(), link.get("q") or found[0].question, None, *map(link.get, SETTINGS))
        except QuestionError as error:
            return {**shown, self.notice: notice(str(error))}
        return {**shown, self.question: asked.text, **self.details.show(asked.options)}

    def open_sample(self) -> Updates:
        """A first visit: a chart whose answers were recorded."""
        if self.sample is None:
            return {self.notice: gr.skip()}
        example, answers = self.sample
        shown = self.open_example(example, self.gallery)
        if chart := shown.get(self.chart):
            of_chart = {"source": chart.source, "chart_name": chart.name, "example": chart.example}
            asked = read_question(Path(chart.file), example.question, known_golds=chart.golds, **of_chart)
            told = "An example with recorded answers. Ask has the model answer now."
            shown |= self.show(Run(asked, answers, "done", kept=True), told)
        return shown

    def show(self, run: Run, told: str = "") -> Updates:
        """The cards of a run, and what a screen reader is told: states only, never the growing text."""
        asked, arms = run.question, self.engine.arms
        gold = asked.gold if asked else ()
        answers = run.answers or (None,) * len(arms)
        judged = verdicts(run.answers, gold) or [None] * len(arms)
        return {
            self.run: run,
            self.asked_line: asked_line(asked, arms, judged if run.phase == "done" else (), entry(arms, run)),
            self.status: status(told),
            self.stop_button: gr.update(interactive=run.phase in ("waiting", "running")),
            **{
                column: answer_card(arm, answer, run.phase, verdict, asked.options if asked else None)
                for column, arm, answer, verdict in zip(self.columns, arms, answers, judged, strict=True)
            },
        }
