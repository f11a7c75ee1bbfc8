"""The Compare tab: a chart, a question, three answers side by side.

Asking takes two steps. `begin` answers at once: it checks the question, empties the cards, and puts the question into
a state; the change of that state starts `answer`, which waits for the model and streams. So a new question, another
chart or Stop can cancel the stream that runs, and what was wrong with a question never waits in a queue.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from chartqa_demo.arms import PROMPTED
from chartqa_demo.dataset import DatasetError, Example, Kind, Split
from chartqa_demo.engines import Answers, Engine, EngineError
from chartqa_demo.images import ChartError, load_chart
from chartqa_demo.settings import Settings
from chartqa_demo.ui import cards
from chartqa_demo.ui.history import entry, history_list, read_entries, with_entry
from chartqa_demo.ui.question import (
    MAX_TEMPERATURE,
    MAX_TOKENS,
    Question,
    QuestionError,
    chart_path,
    read_question,
    records,
    stream_answers,
    verdicts,
)

GENERAL_QUESTIONS = (
    "What is the title of the chart?",
    "Which category has the largest value?",
    "Which category has the smallest value?",
    "How many categories are shown?",
)
MAX_CHIPS = 6
PIXEL_LIMITS = (100_352, 200_704, 401_408, 802_816, 1_003_520)  # 128 to 1,280 image tokens of 784 pixels

SHOWN_AS_IS = ("PNG", "JPEG", "WEBP")  # browsers show the rest otherwise than the model sees it, or not at all
ONE_MODEL = {"concurrency_id": "gpu", "concurrency_limit": 1}  # the weights serve one question at a time

SCROLL_TO_ANSWERS = """
() => {
  const answers = document.querySelector("#answers");
  if (!answers.querySelector("[data-state=waiting], [data-state=running]")) return;
  if (answers.getBoundingClientRect().top < innerHeight * 0.6) return;
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  answers.scrollIntoView({ block: "start", behavior: calm ? "auto" : "smooth" });
}
"""


@dataclass(frozen=True)
class Chart:
    """The chart on the page: where it is from, and its own questions (none for a visitor's chart)."""

    name: str = ""
    source: str = ""
    examples: tuple[Example, ...] = ()

    @property
    def suggestions(self) -> tuple[str, ...]:
        """Questions for the chips: the chart's own, else general ones."""
        return tuple(one.question for one in self.examples[:MAX_CHIPS]) or GENERAL_QUESTIONS

    @property
    def golds(self) -> dict[str, tuple[str, ...]]:
        """Question -> accepted answers."""
        return {one.question.strip(): one.gold for one in self.examples}


@dataclass(frozen=True)
class Run:
    """What the cards show."""

    question: Question | None = None
    answers: Answers = ()
    phase: cards.Phase = "idle"


@dataclass(frozen=True)
class CompareTab:
    """What other tabs need: `open_example(listener, example_of, inputs)` makes a listener such as `table.select` show
    the Example that `example_of(*inputs)` returns, its question typed in."""

    open_example: Callable[..., Any]


def build_compare_tab(
    page: gr.Blocks, engine: Engine, settings: Settings, examples: Split, gallery: Split
) -> CompareTab:
    """The tab's components and events, inside the context of `page`.

    `examples` is the split that random charts come from, `gallery` the one whose charts are shown as thumbnails.
    """
    arms = engine.arms
    first_questions = list({one.chart: one for one in reversed(list(gallery))}.values())[::-1]

    # What the visitor sees, in the order of reading.
    with gr.Row(elem_id="workbench"):
        with gr.Column(scale=6, min_width=300):
            image = gr.Image(
                label="Chart",
                type="filepath",
                image_mode=None,
                format="png",
                sources=["upload", "clipboard", "webcam"],
                buttons=["fullscreen"],
                height=300,
                interactive=True,
                alt_text="The chart you are asking about",
                elem_id="chart",
            )
            chart_notice = gr.HTML(cards.notice(""), elem_id="chart-notice", apply_default_css=False)
            gr.HTML('<h2 class="label">Or start with one of these charts</h2>', apply_default_css=False)
            strip = gr.HTML(
                cards.thumbnails(_loadable(first_questions)),
                js_on_load=cards.PICK_JS,
                elem_id="examples",
                apply_default_css=False,
            )
        with gr.Column(scale=5, min_width=300):
            with gr.Row(elem_id="random-row"):
                kind = gr.Radio(
                    [("Any", "any"), ("Human", "human"), ("Machine", "machine")],
                    value="any",
                    label=f"Random chart from {_split_title(examples)}, questions written by",
                    elem_id="kind",
                    scale=3,
                    min_width=240,
                )
                random_chart = gr.Button("Random chart", elem_id="random", scale=1, min_width=140)
            question = gr.Textbox(
                label="Question",
                placeholder="What do you want to know about the chart?",
                lines=1,
                max_lines=4,
                elem_id="question",
            )
            chips = gr.HTML(
                cards.chips(GENERAL_QUESTIONS), js_on_load=cards.PICK_JS, elem_id="chips", apply_default_css=False
            )
            gold = gr.Textbox(
                label="Gold answer (optional)",
                info="With it each answer gets a verdict. The questions of sampled charts have one already.",
                max_lines=1,
                elem_id="gold",
            )
            notice = gr.HTML(cards.notice(""), elem_id="notice", apply_default_css=False)
            with gr.Row(elem_id="actions"):
                ask_button = gr.Button("Ask", variant="primary", elem_id="ask", scale=3, min_width=120)
                stop_button = gr.Button("Stop", elem_id="stop", interactive=False, scale=1, min_width=90)

    with gr.Column(elem_id="answers"):
        gr.HTML("<h2>Answers</h2>", apply_default_css=False)
        asked_line = gr.HTML(cards.asked_line("", (), ""), elem_id="asked", apply_default_css=False)
        status = gr.HTML('<p role="status"></p>', elem_id="status", apply_default_css=False)
        with gr.Row(equal_height=True, elem_id="cards"):
            columns = []
            for arm in arms:
                with gr.Column(min_width=260):
                    columns.append(
                        gr.HTML(
                            cards.answer_card(arm, None, "idle"),
                            js_on_load=cards.COPY_JS,
                            elem_id=f"card-{arm.key}",
                            elem_classes="card-holder",
                            apply_default_css=False,
                        )
                    )

    with gr.Accordion("The exact prompt of each arm", open=False, elem_id="prompts"):
        prompts = [
            gr.Textbox(
                label=arm.title,
                value="Ask a question, and the exact text that this arm received appears here.",
                lines=3,
                max_lines=14,
                interactive=False,
                buttons=["copy"],
                elem_id=f"prompt-{arm.key}",
                elem_classes="prompt",
            )
            for arm in arms
        ]
    with gr.Accordion("System message of the prompted arm", open=False, elem_id="system-settings"):
        system = gr.Textbox(
            value=PROMPTED.system,
            label="System message",
            info="It changes the prompted arm alone: the adapter keeps the message it was trained with, and the "
            "pretrained arm has none of ours. Empty leaves the model with the default of its chat template.",
            lines=3,
            max_lines=10,
            elem_id="system",
        )
        reset_system = gr.Button("Reset", elem_id="reset-system", size="sm")
    with gr.Accordion("Generation settings", open=False, elem_id="generation"), gr.Row():
        max_new_tokens = gr.Slider(
            1, MAX_TOKENS, value=settings.max_new_tokens, step=1, label="Max new tokens", elem_id="max-new-tokens"
        )
        temperature = gr.Slider(
            0, MAX_TEMPERATURE, value=0, step=0.1, label="Temperature", info="0 is greedy", elem_id="temperature"
        )
        max_pixels = gr.Dropdown(
            [("As the model is served", 0), *((f"{pixels:,} pixels", pixels) for pixels in PIXEL_LIMITS)],
            value=0,
            label="Pixel limit",
            info="larger charts are shrunk to it",
            elem_id="max-pixels",
        )
    with gr.Column(elem_id="history-section"):
        gr.HTML("<h2>Your questions</h2>", apply_default_css=False)
        history_html = gr.HTML(history_list([]), elem_id="history", apply_default_css=False)
        clear_history = gr.Button("Clear", elem_id="clear-history", size="sm")

    # What belongs to one visitor.
    chart = gr.State(Chart())
    asked: gr.State = gr.State(None)
    run = gr.State(Run())
    history = gr.BrowserState([], storage_key="chartqa-side-by-side", secret="kept in the visitor's own browser")

    run_outputs = [run, asked_line, *columns, status, stop_button]
    chart_outputs = [image, chart, chips, gold, chart_notice, notice, *run_outputs]

    def show(state: Run, told: str = "") -> dict[Any, Any]:
        text, gold_answer = (state.question.text, state.question.gold) if state.question else ("", ())
        gold_from = state.question.gold_from if state.question else ""
        answers = state.answers or (None,) * len(arms)
        judged = verdicts(state.answers, gold_answer) or [None] * len(arms)
        return {
            run: state,
            asked_line: cards.asked_line(text, gold_answer, gold_from),
            status: f'<p role="status">{told}</p>',
            stop_button: gr.Button(interactive=state.phase in ("waiting", "running")),
            **{
                column: cards.answer_card(arm, answer, state.phase, verdict)
                for column, arm, answer, verdict in zip(columns, arms, answers, judged, strict=True)
            },
        }

    def show_chart(new: Chart, picture: Image.Image | Any | None, sentence: str = "") -> dict[Any, Any]:
        return {
            image: picture,
            chart: new,
            chips: cards.chips(new.suggestions),
            gold: "",
            chart_notice: cards.notice(sentence),
            notice: cards.notice(""),
            **show(Run()),
        }

    def upload(payload: dict[str, Any] | None) -> dict[Any, Any]:
        path = chart_path(payload)
        if path is None:
            return show_chart(Chart(), None)
        try:
            picture = load_chart(path)
        except ChartError as error:
            return show_chart(Chart(), None, str(error))
        with Image.open(path) as original:
            as_is = original.format in SHOWN_AS_IS and not getattr(original, "is_animated", False)
        name = (payload or {}).get("orig_name") or "uploaded chart"
        return show_chart(Chart(name), gr.skip() if as_is else picture)

    def open_example(example: Example, split: Split) -> dict[Any, Any]:
        try:
            picture = example.load_image()
        except ChartError as error:
            return show_chart(Chart(), None, f"{example.id} cannot be shown. {error}")
        own = split.questions_of(example.chart)
        own = (example, *(one for one in own if one is not example))
        name = f"{_split_title(split)}, {example.id}"
        return {question: example.question, **show_chart(Chart(name, _split_title(split), own), picture)}

    def open_thumbnail(event: gr.EventData) -> dict[Any, Any]:
        if not 0 <= event.index < len(first_questions):
            raise gr.Error("There is no such example chart.")
        return open_example(first_questions[event.index], gallery)

    def open_random(wanted: str) -> dict[Any, Any]:
        kinds: dict[str, Kind] = {"human": "human", "machine": "machine"}
        try:
            return open_example(examples.random_example(kinds.get(wanted)), examples)
        except DatasetError as error:
            return {chart_notice: cards.notice(str(error))}

    def ask(text: object, current: Chart, payload: dict[str, Any] | None, *values: object) -> dict[Any, Any]:
        try:
            new = read_question(
                chart_path(payload),
                text,
                *values,
                known_golds=current.golds,
                source=current.source,
                chart_name=current.name,
            )
        except QuestionError as error:
            return {notice: cards.notice(str(error))}
        return {
            question: new.text,
            notice: cards.notice(""),
            chart_notice: cards.notice(""),
            asked: new,
            **{box: engine.prompt_text(arm, new.text, new.options) for box, arm in zip(prompts, arms, strict=True)},
            **show(Run(new, (), "waiting"), "Waiting for the model."),
        }

    def ask_suggestion(
        event: gr.EventData, text: object, current: Chart, payload: dict[str, Any] | None, *values: object
    ) -> dict[Any, Any]:
        chosen = dict(enumerate(current.suggestions)).get(event.index, text)
        # A gold answer that the visitor typed belongs to the visitor's own question.
        return {question: chosen, gold: "", **ask(chosen, current, payload, None, *values[1:])}

    def answer(new: Question | None, stored: object) -> Iterator[dict[Any, Any]]:
        if new is None:
            return
        state = Run(new, (), "running")
        yield show(state)
        try:
            for answers in stream_answers(engine, new):
                state = Run(new, answers, "running")
                yield show(state)
        except (ChartError, EngineError) as error:
            yield {notice: cards.notice(str(error)), **show(Run(new, state.answers, "stopped"), "The question failed.")}
            return
        entries = with_entry(stored, entry(arms, new, state.answers))
        yield {
            history: entries,
            history_html: history_list(entries),
            **show(Run(new, state.answers, "done"), _announce(new, state.answers, [arm.title for arm in arms])),
        }

    def stop(state: Run) -> dict[Any, Any]:
        if state.phase not in ("waiting", "running"):
            return {stop_button: gr.Button(interactive=False)}
        return show(Run(state.question, state.answers, "stopped"), "Stopped.")

    def api_ask(
        image: dict[str, Any] | None,
        question: str,
        gold: str | None = None,
        max_new_tokens: float | None = None,
        temperature: float | None = None,
        max_pixels: int | None = None,
        system: str | None = None,
    ) -> Iterator[list[dict[str, Any]]]:
        """Ask one question about a chart and get three answers of one vision-language model: pretrained (as it
        comes), prompted (with a system message for reading charts), adapter (with a LoRA fine-tuned on ChartQA).

        Args:
            image: the chart as a picture file (PNG, JPEG, WebP, GIF, BMP or TIFF)
            question: what to ask, at most 2,000 characters
            gold: the right answer where it is known; every answer then gets a verdict under ChartQA's relaxed accuracy
            max_new_tokens: longest answer in tokens, 1 to 512
            temperature: 0 is greedy, up to 2
            max_pixels: the chart is shrunk to at most this many pixels; 0 leaves the model's own limit
            system: system message of the prompted arm

        Returns:
            One object per arm, streamed until all are done: arm, title, text, tokens, first_token_s, total_s, done,
            error, correct, reason, tolerant, tolerant_reason.
        """
        try:
            new = read_question(chart_path(image), question, gold, max_new_tokens, temperature, max_pixels, system)
            for answers in stream_answers(engine, new):
                yield records(arms, answers, new.gold)
        except (QuestionError, ChartError, EngineError) as error:
            raise gr.Error(str(error), print_exception=False) from error

    # What happens when. The stream comes first, so that the others can cancel it.
    answering = asked.change(
        answer,
        [asked, history],
        [*run_outputs, notice, history, history_html],
        show_progress="hidden",
        trigger_mode="multiple",
        api_visibility="private",
        **ONE_MODEL,
    )
    quick: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
    raw: dict[str, Any] = {"preprocess": False, "show_progress": "hidden", "api_visibility": "private"}
    # preprocess=False: the picture arrives as the file it is. A state's change is only noticed after queued events.
    queued: dict[str, Any] = {"trigger_mode": "multiple", "concurrency_limit": None, **raw}
    typed = [question, chart, image, gold, max_new_tokens, temperature, max_pixels, system]
    ask_outputs = [question, gold, notice, chart_notice, asked, *prompts, *run_outputs]

    # Gradio handles the listeners of an event one after another, so the cancelling comes before the doing.
    asks = [ask_button.click, question.submit, gold.submit]
    news = [image.input, image.clear, strip.select, random_chart.click]
    gr.on([*asks, chips.select, *news, stop_button.click], None, cancels=[answering], api_visibility="private")
    gr.on(asks, ask, typed, ask_outputs, **queued).then(None, js=SCROLL_TO_ANSWERS)
    chips.select(ask_suggestion, typed, ask_outputs, **queued).then(None, js=SCROLL_TO_ANSWERS)
    stop_button.click(stop, run, run_outputs, **quick)
    image.input(upload, image, chart_outputs, queue=False, **raw)
    image.clear(lambda: show_chart(Chart(), None), None, chart_outputs, **quick)
    strip.select(open_thumbnail, None, [question, *chart_outputs], **quick)
    random_chart.click(open_random, kind, [question, *chart_outputs], **quick)
    reset_system.click(lambda: PROMPTED.system, None, system, **quick)
    clear_history.click(lambda: ([], history_list([])), None, [history, history_html], **quick)
    page.load(lambda stored: history_list(read_entries(stored)), history, history_html, **quick)

    endpoint = gr.Button(visible=False)
    endpoint.click(
        api_ask,
        [image, question, gold, max_new_tokens, temperature, max_pixels, system],
        gr.JSON(visible=False, label="answers"),
        api_name="ask",
        preprocess=False,
        **ONE_MODEL,
    )

    def wire(listener: Callable[..., Any], example_of: Callable[..., Example], inputs: Sequence[Any]) -> Any:
        return listener(
            lambda *values: open_example(example_of(*values), examples),
            list(inputs),
            [question, *chart_outputs],
            **quick,
        )

    return CompareTab(wire)


def _announce(question: Question, answers: Answers, titles: Sequence[str]) -> str:
    told = [
        f"{title} {'failed' if answer.error else 'correct' if judged and judged.correct else 'not correct'}"
        for title, answer, judged in zip(titles, answers, verdicts(answers, question.gold), strict=True)
        if judged or answer.error
    ]
    ready = f"{len(answers)} answers ready"
    return f"{ready}: {', '.join(told)}." if told else f"{ready}."


def _split_title(split: Split) -> str:
    if split.dataset == "bundled":
        return "the bundled charts"
    return f"{Path(split.dataset).name if Path(split.dataset).is_dir() else split.dataset} {split.name}"


def _loadable(examples: Sequence[Example]) -> list[tuple[Image.Image, str]]:
    return [(one.load_image(), one.question) for one in examples]
