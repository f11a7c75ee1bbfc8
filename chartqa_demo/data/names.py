"""What charts are called before readers: ChartQA by what it holds, and a part of it never as the whole.

A folder's name says nothing about its size, so a count is set against that of the full split.
"""

from collections.abc import Iterable
from pathlib import Path

from chartqa_demo.data.splits import PUBLISHERS, Example
from chartqa_demo.space.hub import folder_of

# Questions by a human and by a machine in ChartQA's splits (arXiv 2203.10244, table 3)
CHARTQA_QUESTIONS = {"train": (7_398, 20_901), "val": (960, 960), "test": (1_250, 1_250)}


def is_chartqa(dataset: str, examples: Iterable[Example] = ()) -> bool:
    """Whether these are ChartQA's charts: so the name says, or every chart is from one of its four publishers."""
    sources = {one.source for one in examples}
    return Path(dataset).name.lower() == "chartqa" or (bool(sources) and sources <= set(PUBLISHERS))


def split_title(dataset: str, split: str, chartqa: bool = False) -> str:
    """The name of a split in a sentence: "ChartQA's test split", "the bundled charts", "the val split of mine".

    dataset: Hub id, folder, its name alone, or one of our own words: bundled, generated.
    """
    if dataset == "bundled":
        return "the bundled charts"
    if dataset == "generated":
        return f"generated charts ({split})"
    if split in ("predicted", "recorded"):  # a file of predictions, which brings its questions; the second is older
        return dataset
    if chartqa or is_chartqa(dataset):
        return f"ChartQA's {split} split"
    folder = folder_of(dataset)
    name = folder.resolve().name if folder else dataset
    return f"the charts of {name}" if split == "all" else f"the {split} split of {name}"


def questions_title(
    dataset: str,
    split: str,
    asked: int,
    kind: str | None = None,
    limit: int | None = None,
    seed: int | None = None,
    chartqa: bool = False,
) -> str:
    """What `asked` questions of a split are: "a 250-question sample of ChartQA's test split", "all 40 questions of
    the bundled charts", "20 human questions of the bundled charts, drawn with seed 0".

    kind: only questions by a human or a machine; limit, seed: how they were drawn, limit None for all that are there.
    """
    title, by = split_title(dataset, split, chartqa), f"{kind} " if kind else ""
    drawn = f", drawn with seed {seed}" if limit is not None and limit <= asked else ""
    if title.startswith("ChartQA's"):
        human, machine = CHARTQA_QUESTIONS.get(split, (0, 0))
        if asked != {"human": human, "machine": machine, None: human + machine}.get(kind):
            return f"a {asked:,}-question sample of {f'the {by}questions of ' if kind else ''}{title}{drawn}"
        drawn = ""
    every = "" if drawn or dataset == "generated" else "all "  # of generated charts there is no end
    return f"{every}{asked:,} {by}questions of {title}{drawn}"
