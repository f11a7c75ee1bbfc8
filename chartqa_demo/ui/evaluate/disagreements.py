"""The browser of disagreements: questions of one evaluation by who is right, and one question with its chart."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import gradio as gr

from chartqa_demo.data.splits import KINDS, Example, Split
from chartqa_demo.engines import Answer, Options
from chartqa_demo.errors import ChartError
from chartqa_demo.evaluate.record import Item, Results
from chartqa_demo.evaluate.rules import RULES
from chartqa_demo.evaluate.tables import heading
from chartqa_demo.ui.compare.cards.answers import followed_line
from chartqa_demo.ui.compare.history import Run as CompareRun
from chartqa_demo.ui.compare.question import LIMITS, Question
from chartqa_demo.ui.compare.tab import CompareTab
from chartqa_demo.ui.corrections import CorrectionRow, Corrections, Subject, accept_buttons
from chartqa_demo.ui.evaluate.files import ResultsFolder
from chartqa_demo.ui.evaluate.scores import item_detail, item_list, no_answers_kept, titles
from chartqa_demo.ui.events import QUICK, Updates
from chartqa_demo.ui.markup import PICK_JS, notice

PAGE = 10
EVERY = "every"  # a filter that lets everything through
ANY, DIFFER, CHANGED, NONE_RIGHT, ALL_RIGHT, FAILED = "any", "differ", "changed", "none right", "all right", "failed"
ONLY = "only "
Order = Literal["id", "random"]

# On a phone the chosen question lies below the list.
SCROLL_TO_ITEM = """
() => requestAnimationFrame(() => {
  const item = document.querySelector("#evaluation-item");
  if (item.getBoundingClientRect().top <= innerHeight * 0.8) return;
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  item.scrollIntoView({ block: "center", behavior: calm ? "auto" : "smooth" });
})
"""

# From down here to the chart and its answers; the browser's Back comes here again, see browser/keys.js.
SHOW_OPENED = """
() => {
  history.replaceState({ ...history.state, tab: 1 }, "");
  history.pushState({ tab: 0 }, "");
  showChart();
}
"""

FindExample = Callable[[Results, Item], tuple[Example, Split] | None]


@dataclass(frozen=True)
class Followed:
    """The questions of one evaluation that Compare leads through, by id, and at which of them it is."""

    name: str | None = None
    ids: tuple[str, ...] = ()
    at: int = 0
    kind: str = "Question"


class Disagreements:
    """The components and what happens in them; `connect` is called once the tab's other components are there.

    example_of: the example an item was made from and its split, None where this page cannot open its data set.
    """

    def __init__(
        self,
        folder: ResultsFolder,
        compare: CompareTab,
        tabs: gr.Tabs,
        example_of: FindExample,
        corrections: Corrections,
    ) -> None:
        self.folder = folder
        self.compare = compare
        self.tabs = tabs
        self.example_of = example_of
        self.corrections = corrections
        self.lay_out()

    def lay_out(self) -> None:
        """Filters, list, and one question whole, in the order of reading."""
        gr.HTML("<h2>Where the arms disagree</h2>", apply_default_css=False)
        with gr.Row(elem_id="evaluation-filters"):
            self.who = gr.Dropdown(
                [("All questions", ANY)], value=ANY, label="Who is right", elem_id="filter-who", min_width=180
            )
            self.kind = gr.Dropdown(
                [("Any", EVERY), "human", "machine"],
                value=EVERY,
                label="Asked by",
                elem_id="filter-kind",
                min_width=110,
            )
            self.source = gr.Dropdown(
                [("Any", EVERY)], value=EVERY, label="Chart source", elem_id="filter-source", min_width=140
            )
            self.order = gr.Dropdown(
                [("As in the data set", "id"), ("Shuffled by the seed", "random")],
                value="id",
                label="Order",
                elem_id="filter-order",
                min_width=160,
            )
        with gr.Row():
            with gr.Column(scale=6, min_width=300):
                self.items = gr.HTML(js_on_load=PICK_JS, elem_id="evaluation-items", apply_default_css=False)
                with gr.Row():
                    self.earlier = gr.Button("Earlier", elem_id="items-earlier", size="sm", min_width=100)
                    self.later = gr.Button("Later", elem_id="items-later", size="sm", min_width=100)
            with gr.Column(scale=5, min_width=300):
                self.chart = gr.Image(
                    label="Chart of the question",
                    show_label=False,
                    height=260,
                    interactive=False,
                    format="png",
                    buttons=["fullscreen"],
                    visible=False,
                    alt_text="The chart of the chosen question",
                    elem_id="evaluation-chart",
                )
                self.detail = gr.HTML(elem_id="evaluation-item", apply_default_css=False)
                self.open_button = gr.Button("Open in Compare", interactive=False, elem_id="open-in-compare", size="sm")
                self.correct = CorrectionRow(self.corrections, (), "evaluate")
                self.subject = gr.State(None)
        self.first = gr.State(0)
        self.listed = gr.State(())
        self.picked = gr.State("")
        self.followed = gr.State(Followed())
        self.list_outputs = [self.first, self.listed, self.items, self.earlier, self.later]
        self.detail_outputs = [
            *(self.picked, self.chart, self.detail, self.open_button),
            *(self.subject, self.correct.accept, self.correct.told, self.correct.answer),
        ]
        self.outputs = [self.who, self.kind, self.source, *self.list_outputs, *self.detail_outputs]

    def connect(self, shown: gr.Dropdown, rule: gr.Radio, seed: gr.Number) -> None:
        """The events. `shown` names the evaluation."""
        self.filtered = [shown, rule, self.who, self.kind, self.source, self.order, seed, self.picked]
        chosen = [one.input for one in (self.who, self.kind, self.source, self.order)]
        gr.on(chosen, self.browse, self.filtered, self.list_outputs, **QUICK)
        paging = [self.first, *self.filtered]
        self.earlier.click(lambda *now: self.turn(-PAGE, *now), paging, self.list_outputs, **QUICK)
        self.later.click(lambda *now: self.turn(PAGE, *now), paging, self.list_outputs, **QUICK)
        picking = self.items.select(self.pick, [shown, rule, self.listed], self.detail_outputs, **QUICK)
        picking.then(None, js=SCROLL_TO_ITEM, **QUICK)
        self.correct.connect(self.subject, lambda subject: subject)
        opened = [self.followed, *self.compare.chart_outputs, self.tabs]
        onward, blind = self.compare.cards.followed, self.compare.cards.guess_first
        # An answer that still streams in Compare belongs to another chart: it ends, as with any new chart there.
        gr.on([self.open_button.click, onward.select], None, cancels=[self.compare.answering], **QUICK)
        opening = self.open_button.click(self.open_in_compare, [blind, *self.filtered], opened, **QUICK)
        opening.then(None, js=SHOW_OPENED, **QUICK)
        onward.select(self.follow, [blind, self.followed], opened, trigger_mode="multiple", **QUICK)

    def show(self, name: str | None, rule: str, seed: float) -> Updates:
        """Another evaluation: its filters, its first questions, none of them chosen."""
        results = self.folder.results(name)
        who = filters(results) if results else [("All questions", ANY)]
        first = DIFFER if results and select(results, rule, DIFFER) else ANY
        known = sources(results) if results else []
        told = results is None or any(item.kind in KINDS for item in results.items)
        return {
            self.who: gr.Dropdown(who, value=first),
            self.kind: gr.update(value=EVERY, visible=told),
            self.source: gr.Dropdown([("Any", EVERY), *((source, source) for source in known)], value=EVERY),
            **self.browse(name, rule, first, EVERY, EVERY, "id", seed),
            **self.no_item(),
        }

    def browse(
        self,
        name: str | None,
        rule: str,
        who: str,
        kind: str,
        source: str,
        order: Order,
        seed: float | None,
        picked: str = "",
        first: int = 0,
    ) -> Updates:
        """One page of the questions that pass the filters, from number `first` on."""
        results, found = self.folder.results(name), self.passing(name, rule, who, kind, source, order, seed)
        first = min(max(0, first), max(0, (len(found) - 1) // PAGE * PAGE))
        page = found[first : first + PAGE]
        if results is None and name is not None:
            shown = no_answers_kept()
        else:
            shown = item_list(page, first + 1, len(found), rule, titles(results), picked)
        return {
            self.first: first,
            self.listed: tuple(item.id for item in page),
            self.items: shown,
            self.earlier: gr.Button(interactive=first > 0),
            self.later: gr.Button(interactive=first + PAGE < len(found)),
        }

    def turn(self, by: int, first: int, *filtered: Any) -> Updates:
        """Another page of the list."""
        return self.browse(*filtered, first=first + by)

    def rescore(self, picked: str, name: str | None, rule: str, *filtered: Any) -> Updates:
        """List and question under another rule."""
        results = self.folder.results(name)
        detail = item_detail(_item(results, picked), rule, titles(results))
        return {**self.browse(name, rule, *filtered), self.detail: detail}

    def pick(self, name: str | None, rule: str, listed: tuple[str, ...], event: gr.EventData) -> Updates:
        """One question whole, with its chart."""
        results = self.folder.results(name)
        item = _item(results, dict(enumerate(listed)).get(event.index, ""))
        if item is None or results is None:
            return self.no_item()
        found = self.example_of(results, item)
        try:
            picture = found[0].load_image() if found else None
        except (ChartError, OSError):
            picture = None
        answers = {title: item.answers.get(arm, "") for arm, title in titles(results).items()}
        subject = Subject(found[0].load_image, item.question, item.gold, answers) if found and picture else None
        return {
            self.subject: subject,
            self.correct.accept: accept_buttons(tuple(answers) if subject else ()),
            **self.correct.fresh(),
            self.picked: item.id,
            self.chart: gr.Image(picture, visible=picture is not None),
            self.detail: item_detail(item, rule, titles(results), chart_shown=picture is not None),
            self.open_button: gr.Button(interactive=picture is not None),
        }

    def no_item(self) -> Updates:
        """No question is chosen."""
        return {
            self.subject: None,
            self.correct.accept: accept_buttons(()),
            **self.correct.fresh(),
            self.picked: "",
            self.chart: gr.Image(None, visible=False),
            self.detail: item_detail(None, RULES[0], {}),
            self.open_button: gr.Button(interactive=False),
        }

    def passing(
        self,
        name: str | None,
        rule: str,
        who: str,
        kind: str,
        source: str,
        order: Order,
        seed: float | None,
    ) -> list[Item]:
        """The questions of an evaluation that pass the filters, in their order."""
        results = self.folder.results(name)
        return select(results, rule, who, _chosen(kind), _chosen(source), order, int(seed or 0)) if results else []

    def open_in_compare(self, blind: bool, name: str | None, rule: str, who: str, *filtered: Any) -> Updates:
        """The chosen question in the Compare tab, and the way from there to the others that pass the filters."""
        *others, picked = filtered
        ids = tuple(item.id for item in self.passing(name, rule, who, *others))
        ids = ids if picked in ids else (picked,)
        followed = Followed(name, ids, ids.index(picked), "Disagreement" if who == DIFFER else "Question")
        return {**self.open_item(followed, blind), self.tabs: gr.Tabs(selected="compare")}

    def follow(self, blind: bool, followed: Followed, event: gr.EventData) -> Updates:
        """The question before or behind, going round; one whose chart cannot be shown is passed over."""
        step, count = (1 if event.index else -1), len(followed.ids)
        for far in range(1, count):
            shown = self.open_item(replace(followed, at=(followed.at + step * far) % count), blind)
            if self.compare.chart in shown:
                return shown
        return {self.compare.charts.notice: notice("No other chart of this evaluation can be shown.")}

    def open_item(self, followed: Followed, blind: bool) -> Updates:
        """A question in the Compare tab: its chart, and the answers that are known already; blind: whose, not yet."""
        results, count = self.folder.results(followed.name), len(followed.ids)
        item = _item(results, followed.ids[followed.at])
        found = self.example_of(results, item) if results and item else None
        if found is None or results is None or item is None:
            return {self.compare.charts.notice: notice("The chart of this question cannot be shown here.")}
        updates = self.compare.open_example(*found)
        if chart := updates.get(self.compare.chart):
            asked = Question(
                Path(chart.file),
                item.question,
                item.gold,
                chart.source,
                chart_name=chart.name,
                example=chart.example,
                options=Options(max_new_tokens=int(results.settings.get("max_new_tokens") or LIMITS.most_new_tokens)),
                blind=blind,
            )
            told = f"From the evaluation of {results.settings.get('date')}, with {heading(results.settings)}."
            answers = tuple(_recorded(item, arm.key, told) for arm in self.compare.engine.arms)
            run = CompareRun(asked, answers, "done", kept=True)
            place = f"{followed.kind} {followed.at + 1:,} of {count:,}. " if count > 1 else ""
            updates |= self.compare.show(run, f"{place}The recorded answers are shown.")
            if count > 1:
                updates[self.compare.cards.followed] = followed_line(followed.kind, followed.at + 1, count)
        return {**updates, self.followed: followed}


def _recorded(item: Item, arm: str, told: str) -> Answer:
    if arm not in item.answers:
        return Answer(arm, error=item.failures.get(arm, "This arm was not asked in that evaluation."), done=True)
    return Answer(arm, item.answers[arm], item.tokens.get(arm, 0), done=True, recorded=told, ended=item.ended.get(arm))


def _item(results: Results | None, example_id: str) -> Item | None:
    return next((item for item in results.items if item.id == example_id), None) if results else None


def _chosen(value: str) -> Any:
    return None if value == EVERY else value


# --- which questions are listed ---


def filters(results: Results) -> list[tuple[str, str]]:
    """(what a reader sees, value) of every filter by who is right."""
    titles = {key: str(arm["title"]) for key, arm in results.settings["arms"].items()}
    return [
        ("All questions", ANY),
        ("Right and wrong answers", DIFFER),
        *((f"Only {title} is right", ONLY + arm) for arm, title in titles.items()),
        ("All arms wrong", NONE_RIGHT),
        ("All arms right", ALL_RIGHT),
        ("Different words", CHANGED),
        ("Not answered", FAILED),
    ]


def select(
    results: Results,
    rule: str,
    who: str = ANY,
    kind: str | None = None,
    source: str | None = None,
    order: Order = "id",
    seed: int = 0,
) -> list[Item]:
    """The items that pass every filter, in the order of the data set or shuffled by `seed`.

    The shuffle is taken before the filters, so narrowing a filter never brings another item forward. Raises ValueError
    for a `who` that is none of `filters`.
    """
    if who not in {value for _, value in filters(results)}:
        raise ValueError(f"There is no filter “{who}”.")
    items: Sequence[Item] = results.items
    if order == "random":
        items = random.Random(seed).sample(items, len(items))
    return [
        item
        for item in items
        if kind in (None, item.kind) and source in (None, item.source) and _passes(results, item, rule, who)
    ]


def sources(results: Results) -> list[str]:
    """The chart sources of an evaluation, in alphabetical order."""
    return sorted({item.source for item in results.items if item.source})


def _passes(results: Results, item: Item, rule: str, who: str) -> bool:
    verdicts = results.verdicts(rule)
    right = {arm: verdicts[arm][item.id] for arm in results.arms if item.id in verdicts[arm]}
    answered = bool(right)
    passes = {
        ANY: True,
        DIFFER: len(set(right.values())) > 1,
        CHANGED: len({text.strip() for text in item.answers.values()}) > 1,
        NONE_RIGHT: answered and not any(right.values()),
        ALL_RIGHT: answered and all(right.values()),
        FAILED: item.error is not None or bool(item.failures),
    }
    if who in passes:
        return passes[who]
    return [arm for arm, good in right.items() if good] == [who.removeprefix(ONLY)]
