"""The chart on the page: a visitor's own, or one of a split with its questions and gold answers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from PIL import Image

from chartqa_demo.data import names
from chartqa_demo.data.splits import Example, Split
from chartqa_demo.engines import Answers, Engine, Options
from chartqa_demo.errors import ChartError, RecordedError, shown
from chartqa_demo.images import MAX_BYTES, load_chart, shown_by_browsers
from chartqa_demo.settings import Settings
from chartqa_demo.space.gradio_internals import save_chart
from chartqa_demo.space.recorded import read_recorded
from chartqa_demo.ui.compare.question import LIMITS, chart_path, verdicts

MAX_SUGGESTIONS = 5
MAX_THUMBNAILS = 32
GENERAL_QUESTIONS = (
    "What is the title of the chart?",
    "Which category has the largest value?",
    "Which category has the smallest value?",
    "How many categories are shown?",
)


@dataclass(frozen=True)
class Chart:
    """file: the picture on the page that this is about; name: what the history calls it; example: what a link calls it;
    source: where its gold answers come from; examples: its own questions, none for a visitor's chart."""

    file: str = ""
    name: str = ""
    example: str = ""
    source: str = ""
    examples: tuple[Example, ...] = ()

    @property
    def suggestions(self) -> tuple[str, ...]:
        """Questions to ask with one click: the chart's own, else general ones."""
        own = tuple(one.question for one in self.examples[:MAX_SUGGESTIONS] if one.question)
        return own or GENERAL_QUESTIONS  # pictures can come without questions

    @property
    def golds(self) -> dict[str, tuple[str, ...]]:
        """Question -> accepted answers."""
        return {one.question.strip(): one.gold for one in self.examples if one.question}


def chart_of(example: Example, split: Split) -> Chart:
    """The chart of an example, this example's question first, in a file the page can show. Raises ChartError."""
    file = save_chart(example.load_image())
    others = (one for one in split.questions_of(example.chart) if one.id != example.id)
    title = split_in_words(split)
    return Chart(file, f"{title}, {example.id}", example_name(example, split), title, (example, *others))


def example_name(example: Example, split: Split) -> str:
    """What a link calls an example: "ChartQA/test/17". Of a folder its own name alone."""
    return f"{Path(split.dataset).name}/{example.id}"


def find_example(name: object, splits: Sequence[Split]) -> tuple[Example, Split] | None:
    """The example that a link names, None where no split has it."""
    for split in splits:
        for example in split:
            if example_name(example, split) == name:
                return example, split
    return None


def charts_after(example: Example | None, split: Split) -> Iterator[Example]:
    """The first question of every other chart, from the one behind `example` on and round; all charts without one."""
    first = {one.chart: one for one in reversed(split.examples)}
    charts = list(dict.fromkeys(one.chart for one in split))
    behind = charts.index(example.chart) + 1 if example else 0
    for chart in charts[behind:] + charts[: max(0, behind - 1)]:
        yield first[chart]


def picture_to_show(path: Path, limits: Settings) -> Image.Image | None:
    """The uploaded chart as the model sees it, None where the browser shows the file itself just so.

    Raises ChartError. A TIFF is not shown by browsers, and of an animation the model sees the first frame.
    """
    picture = load_chart(path, limits.upload_pixels)
    return None if shown_by_browsers(path.read_bytes()) else picture


def own_chart(path: object, name: object, size: object = 0, limits: Settings = LIMITS) -> Chart:
    """A visitor's picture among the uploads, in a file the page can show; size in bytes, for one that was not taken.
    Raises ChartError and QuestionError."""
    file = chart_path({"path": str(path or "")})
    if file is None:
        megabytes = size / 2**20 if isinstance(size, int | float) else 0
        raise ChartError(f"The file has {megabytes:,.1f} MB; at most {MAX_BYTES // 2**20} MB are read.")
    picture = picture_to_show(file, limits)
    return Chart(save_chart(picture) if picture else str(file), shown(name or "own chart"))


def recorded_sample(engine: Engine, split: Split, options: Options) -> tuple[Example, Answers] | None:
    """The first example on which the recorded answers of the arms differ; None where none were recorded."""
    try:
        groups = read_recorded(engine)
    except RecordedError:
        return None
    for recorded, example in product(groups, split.examples):
        try:
            answers = recorded.answers_to(example.load_image(), example.question, engine.arms, options)
        except ChartError:
            continue
        judged = verdicts(answers or (), example.gold)
        if answers and len({one.standing for one in judged if one}) > 1:
            return example, answers
    return None


def gallery_of(split: Split) -> list[tuple[Example, Image.Image]]:
    """The first question of a split's first charts, with the picture; charts that cannot be decoded are left out."""
    shown: dict[str, tuple[Example, Image.Image]] = {}
    for example in split:
        if len(shown) >= MAX_THUMBNAILS:
            break
        if example.chart not in shown:
            try:
                shown[example.chart] = (example, example.load_image())
            except ChartError:
                continue
    return list(shown.values())


def split_in_words(split: Split) -> str:
    """The name of a split in a sentence."""
    return names.split_title(split.dataset, split.name, names.is_chartqa(split.dataset, split))
