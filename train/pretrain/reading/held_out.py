"""Generated charts that training never saw, what has to be known to score answers about them, and the bars they face.

`bench.reading` asks; everything here is drawing and counting.
"""

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache, partial
from io import BytesIO
from multiprocessing import get_context
from typing import Any

from PIL import Image
from tqdm import tqdm

from chartqa_demo.data.splits import Example, chart_id
from chartqa_demo.evaluate import statistics as stats
from chartqa_demo.evaluate.record import Results
from chartqa_demo.images import Size
from train.pretrain.scene import GeneratedQuestion

MEASURES = ("exact", "within_5", "canonical")


@dataclass(frozen=True)
class Drawn:
    """A chart as PNG with the questions it is asked; names: of categories and series, without a footnote's star."""

    seed: int
    kind: str
    png: bytes
    categories: tuple[str, ...]
    names: frozenset[str]
    questions: tuple[GeneratedQuestion, ...]


@dataclass(frozen=True)
class Facts:
    """What a record does not hold about a question. axis_only: a value it needs is not printed; numeric: its answer
    is a number and no name, so that an answer can be near it."""

    question: str
    chart: str
    axis_only: bool
    numeric: bool


@dataclass(frozen=True)
class Mark:
    """One answer. exact: ChartQA's gold answer to the letter; within_5: exact, or a number within 5 % of a number;
    canonical: ChartQA's relaxed accuracy, which also lets 2008 pass for 2010."""

    facts: Facts
    exact: bool
    within_5: bool
    canonical: bool


@dataclass(frozen=True)
class Bar:
    """The least per cent of right answers that is asked of the adapter. kinds: of questions, () for all; printed:
    only with printed values, only without, or None for both."""

    name: str
    least: float
    kinds: tuple[str, ...] = ()
    printed: bool | None = None
    measure: str = "exact"

    def holds(self, mark: Mark) -> bool:
        """Whether the answer counts for this bar."""
        if self.kinds and mark.facts.question not in self.kinds:
            return False
        return self.printed is None or self.printed != mark.facts.axis_only


BARS = (
    Bar("all questions, exact", 75),
    Bar("value, printed, exact", 80, ("value",), True),
    Bar("value, axis only, within 5 %", 60, ("value",), False, "within_5"),
    Bar("highest and lowest (argmax, argmin), exact", 92, ("argmax", "argmin")),
    Bar("count, exact", 97, ("count",)),
    Bar("inverse, exact", 80, ("inverse",)),
    Bar("compare (yes or no), exact", 85, ("compare",)),
    Bar("difference and sum, printed, within 5 %", 50, ("difference", "sum"), True, "within_5"),
)
LEAST_OF_A_CHART_KIND = 55


def draw(most: int, seed: int) -> Drawn:
    """The held-out chart of a seed with at most `most` of its questions, one of each kind before a second of any."""
    from train.pretrain.charts import make_chart
    from train.pretrain.exam.exam import sheet

    chart = make_chart(seed, held_out=True, lesson=False)
    page, png = sheet(chart, most, seed), BytesIO()
    chart.image.save(png, "PNG")
    names = frozenset(name.rstrip("*") for name in page.names)
    return Drawn(seed, chart.kind, png.getvalue(), tuple(chart.categories), names, page.questions)


def draw_all(seeds: Sequence[int], most: int, workers: int) -> list[Drawn]:
    """`draw` of every seed in `workers` processes. They are forked: call it before a model is loaded."""
    import train.pretrain.charts
    import train.pretrain.exam.exam  # noqa: F401 (once here rather than in every process)

    with ProcessPoolExecutor(workers, mp_context=get_context("fork")) as pool:
        drawn = pool.map(partial(draw, most), seeds, chunksize=4)
        return list(tqdm(drawn, total=len(seeds), desc="Drawing held-out charts", leave=False))


def id_of(chart: Drawn, number: int) -> str:
    """The id of a chart's question in a record."""
    return f"held-out/{chart.seed}/{number}"


def examples_of(charts: Iterable[Drawn]) -> list[Example]:
    """Every question as `chartqa_demo.evaluate` asks it; gold answers follow ChartQA's conventions."""
    return [
        Example(
            id=id_of(chart, number),
            chart=identity,
            question=question.text,
            gold=(question.gold,),
            kind="human" if question.human else "machine",
            source=f"{chart.kind}, {question.kind}",
            read=partial(bytes, chart.png),
        )
        for chart in charts
        for identity in (chart_id(chart.png),)
        for number, question in enumerate(chart.questions)
    ]


def facts_of(charts: Iterable[Drawn]) -> dict[str, Facts]:
    """The side table to `examples_of`, by question id."""
    return {
        id_of(chart, number): Facts(
            question=question.kind,
            chart=chart.kind,
            axis_only=question.axis_only,
            numeric=question.gold not in chart.names and is_number(question.gold),
        )
        for chart in charts
        for number, question in enumerate(chart.questions)
    }


def marks_of(results: Results, arm: str, facts: Mapping[str, Facts]) -> list[Mark]:
    """The arm's answers, judged; questions that it gave no answer to are left out."""
    from train.pretrain.exam.exam import near

    marks = []
    for item in results.items:
        if arm in item.answers:
            known, exact = facts[item.id], bool(item.correct(arm, "exact"))
            close = exact or (known.numeric and near(item.answers[arm], item.gold[0]))
            marks.append(Mark(known, exact, close, bool(item.correct(arm, "canonical"))))
    return marks


def figures(figure: stats.Score | stats.Comparison) -> dict[str, Any]:
    """A score or comparison as JSON values: fractions with six decimals."""
    return {key: round(value, 6) if isinstance(value, float) else value for key, value in asdict(figure).items()}


def scored(marks: Sequence[Mark]) -> dict[str, dict[str, Any]]:
    """Each of MEASURES with its number of questions and 95 % Wilson interval."""
    return {name: figures(stats.score(sum(getattr(mark, name) for mark in marks), len(marks))) for name in MEASURES}


def grouped(marks: Sequence[Mark], key: Callable[[Mark], str]) -> dict[str, dict[str, dict[str, Any]]]:
    """`scored` of the marks with each key, in the order of the keys."""
    return {name: scored([mark for mark in marks if key(mark) == name]) for name in sorted(set(map(key, marks)))}


def all_scores(marks: Sequence[Mark]) -> dict[str, Any]:
    """`scored` of all, by question kind with values printed and without, and by chart kind."""
    return {
        "all": scored(marks),
        "printed": grouped(marks, lambda mark: "axis only" if mark.facts.axis_only else "printed"),
        "questions": {
            kind: grouped(
                [mark for mark in marks if mark.facts.question == kind],
                lambda mark: "axis only" if mark.facts.axis_only else "printed",
            )
            for kind in sorted({mark.facts.question for mark in marks})
        },
        "charts": grouped(marks, lambda mark: mark.facts.chart),
    }


def judged(name: str, correct: int, asked: int, least: float) -> dict[str, Any]:
    """A bar's row: per cent with 95 % Wilson interval, the bar, whether the figure itself meets it, and else by how
    many points it is missed. Without a question nothing is met or missed."""
    score = stats.score(correct, asked)
    percent = None if score.accuracy is None else round(100 * score.accuracy, 4)
    met = None if percent is None else percent >= least
    return {
        "name": name,
        "percent": percent,
        "n": asked,
        "low": None if score.low is None else round(100 * score.low, 4),
        "high": None if score.high is None else round(100 * score.high, 4),
        "bar": least,
        "met": met,
        "missed_by": None if percent is None or met else round(least - percent, 4),
    }


def bar_rows(marks: Sequence[Mark]) -> list[dict[str, Any]]:
    """Every bar, and the chart kind with the fewest exact answers for the bar that each chart kind faces."""
    rows = []
    for bar in BARS:
        right = [getattr(mark, bar.measure) for mark in marks if bar.holds(mark)]
        rows.append(judged(bar.name, sum(right), len(right), bar.least))
    exact: dict[str, list[bool]] = {}
    for mark in marks:
        exact.setdefault(mark.facts.chart, []).append(mark.exact)
    if exact:
        lowest = min(exact, key=lambda kind: (sum(exact[kind]) / len(exact[kind]), kind))
        name = f"every chart kind, exact (lowest of {len(exact)}: {lowest.replace('_', ' ')})"
        rows.append(judged(name, sum(exact[lowest]), len(exact[lowest]), LEAST_OF_A_CHART_KIND))
    return rows


def name_counts(charts: Iterable[Drawn]) -> dict[str, dict[str, Any]]:
    """How new the category names are: as they stand in the charts ("occurrences") and each counted once ("distinct").

    held_out: names on the held-out side of the word lists, or invented on that side; no training chart prints one, not
    as part of a coined name either. figures: years, quarters, brackets, everything with a digit that is no listed name.
    fixed: answer scales, months, "Other": words that every chart may have. Training has the last two as well, so the
    share of names never seen in training is `held_out_share`. unexplained: none of these; there should be none.
    """
    found = [name.rstrip("*") for chart in charts for name in chart.categories]
    return {"occurrences": _counted(found), "distinct": _counted(sorted(set(found)))}


def _counted(names: Sequence[str]) -> dict[str, Any]:
    kinds = [_novelty(name) for name in names]
    counts = {kind: kinds.count(kind) for kind in ("held_out", "figures", "fixed", "unexplained")}
    share = round(counts["held_out"] / len(names), 6) if names else None
    return {"n": len(names), **counts, "held_out_share": share}


def _novelty(name: str) -> str:
    from train.pretrain.charts.words.coining import held_out_names
    from train.pretrain.charts.words.lists import is_held_out

    if name in _fixed_names():
        return "fixed"
    if any(character.isdigit() for character in name) and name.lower() not in held_out_names()[0]:
        return "figures"
    return "held_out" if is_held_out(name) else "unexplained"


@cache
def _fixed_names() -> frozenset[str]:
    from train.pretrain.charts.tables.measures import MONTHS, SCALES

    answers = (answer for scale in SCALES for answer in scale)
    return frozenset(("Other", "Others", "Don't know", *MONTHS, *(month[:3] for month in MONTHS), *answers))


def is_number(text: str) -> bool:
    """Whether a text is a number, without signs and separators."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def on_page(image: Image.Image, size: Size) -> Image.Image:
    """`image` as large as it fits, enlarged too, in the middle of a white page of `size` (width, height) in pixels."""
    scale = min(size[0] / image.width, size[1] / image.height)
    fitted = image.resize(
        (max(1, round(image.width * scale)), max(1, round(image.height * scale))), Image.Resampling.LANCZOS
    )
    page = Image.new("RGB", (size[0], size[1]), "white")
    page.paste(fitted, ((size[0] - fitted.width) // 2, (size[1] - fitted.height) // 2))
    return page


def deranged(charts: Iterable[str], seed: int) -> dict[str, str]:
    """For every chart another one, each used once: all charts in one shuffled ring. Raises ValueError below two."""
    ring = list(dict.fromkeys(charts))
    if len(ring) < 2:
        raise ValueError("A chart can only be exchanged for another one: at least two charts are needed.")
    random.Random(seed).shuffle(ring)
    return dict(zip(ring, [*ring[1:], ring[0]], strict=True))
