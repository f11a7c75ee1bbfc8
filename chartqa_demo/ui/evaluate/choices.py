"""What a visitor chose to measure: charts, number of questions, seed and arms, checked before anything is asked."""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

from chartqa_demo.arms import Arm
from chartqa_demo.data.splits import (
    Columns,
    Example,
    Kind,
    Split,
    chosen_columns,
    draw_examples,
    open_split,
    split_names,
)
from chartqa_demo.engines import Engine
from chartqa_demo.errors import DatasetError, EvaluationError
from chartqa_demo.evaluate.record import Item, Results
from chartqa_demo.evaluate.run import display_name, output_name
from chartqa_demo.settings import Settings
from chartqa_demo.ui.compare.charts import split_in_words

SIZES = (5, 20, 50, 100, 250, 500, 1000)
LARGEST_SEED = 2**31
UPLOAD = -1  # in place of an index into `Choices.charts`: the visitor's own upload

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Choice:
    """One evaluation to run. limit None takes every question of the kind; examples are the questions drawn."""

    split: Split
    limit: int | None
    kind: Kind | None
    seed: int
    arms: tuple[Arm, ...]
    examples: tuple[Example, ...]

    def about(self) -> dict[str, Any]:
        """The settings that `evaluate.run` records."""
        return {
            "dataset": display_name(self.split.dataset),
            "split": self.split.name,
            "kind": self.kind,
            "limit": self.limit,
            "seed": self.seed,
        }

    def file_name(self, engine: Engine) -> str:
        """The record of this evaluation, the same one for the same settings."""
        drawn = (self.split.dataset, self.split.name, self.limit, self.seed, self.kind)
        return output_name(engine, self.arms, *drawn) + ".jsonl"


def how_many(typed: object) -> int:
    """The number of questions that was chosen or typed; 0 for all. Raises EvaluationError."""
    text = re.sub(r"(?<=\d)[\s,.](?=\d{3}(?!\d))", "", str(typed).strip())  # 1,5 is not 15
    if not re.fullmatch(r"\d{1,9}", text, re.ASCII) or (text == "0" and typed != 0):
        raise EvaluationError("Choose how many questions to ask, or type a whole number from 1.")
    return int(text)


class Choices:
    """The charts that this page can measure on: the page's own split first, the others of its data set, the bundled."""

    def __init__(self, engine: Engine, settings: Settings, examples: Split) -> None:
        self.engine = engine
        self.examples = examples
        self.columns = chosen_columns(settings)
        self.charts = [(examples.dataset, examples.name)]
        if examples.dataset == settings.dataset:
            self.charts += [(examples.dataset, name) for name in _other_splits(examples, self.columns)]
        if examples.dataset != "bundled":
            self.charts.append(("bundled", "test"))

    def titles(self, upload: Split | None = None) -> list[tuple[str, int]]:
        """(what a reader sees, index in `charts` or UPLOAD)."""
        names = [split_in_words(Split(dataset, name, ())) for dataset, name in self.charts]
        own = [(f"Your upload: {display_name(upload.dataset)}", UPLOAD)] if upload else []
        return [*own, *((name[:1].upper() + name[1:], index) for index, name in enumerate(names))]

    def serves(self, arm: Arm) -> bool:
        """Whether the engine can answer as this arm now; the adapter may be loaded later."""
        return not arm.adapter or self.engine.adapter is not None

    def read(
        self,
        charts: object,
        size: object,
        kind: object,
        seed: object,
        arms: object,
        upload: Split | None = None,
    ) -> Choice:
        """The visitor's choice, as the page sent it: of what a list offered a moment ago Gradio would say in words of
        its own that the list does not have it. Raises EvaluationError and DatasetError with a sentence."""
        own = charts == UPLOAD
        if own and upload is None:
            raise EvaluationError("Your upload is deleted. Upload the charts again, or choose others.")
        if not own and (not isinstance(charts, int) or charts not in range(len(self.charts))):
            raise EvaluationError("Choose the charts to measure on.")
        size = how_many(size)
        if not isinstance(seed, int | float) or not 0 <= seed < LARGEST_SEED:
            raise EvaluationError(f"The seed has to be a whole number from 0 to {LARGEST_SEED - 1:,}.")
        chosen = tuple(arm for arm in self.engine.arms if isinstance(arms, list) and arm.key in arms)
        if not chosen:
            raise EvaluationError("Choose at least one arm.")
        if not all(map(self.serves, chosen)):
            raise EvaluationError("No adapter is loaded. Leave that arm out, or start the app with --adapter.")
        split = upload if own and upload else self.open(int(str(charts)))
        by = kind if kind in ("human", "machine") else None
        everything = draw_examples(split, None, 0, by)
        if not everything:
            raise EvaluationError(f"There is no {by + ' ' if by else ''}question among {split_in_words(split)}.")
        # Asking for more questions than there are is asking for all: one name for one evaluation.
        if size == 0 or size >= len(everything):
            return Choice(split, None, by, 0, chosen, tuple(everything))
        return Choice(split, size, by, int(seed), chosen, tuple(draw_examples(split, size, int(seed), by)))

    def open(self, charts: int) -> Split:
        """One of `charts`. Raises DatasetError."""
        if charts == 0:
            return self.examples
        return _open_once(*self.charts[charts], self.columns)

    def example_of(self, results: Results, item: Item, uploads: Sequence[Split] = ()) -> tuple[Example, Split] | None:
        """The example an item was made from and its split; None where this page cannot open that data set, or the
        data set has another chart in this place. uploads: of all visitors; whoever knows a chart's hash has it."""
        made_from = (results.settings.get("dataset"), results.settings.get("split"))
        opened = [partial(self.open, index) for index in range(len(self.charts))]
        known = [(*place, open_it) for place, open_it in zip(self.charts, opened, strict=True)]
        known += [(one.dataset, one.name, partial(_itself, one)) for one in uploads]
        for dataset, name, open_it in known:
            if (display_name(dataset), name) == made_from:
                try:
                    split = open_it()
                    example = split.by_id(item.id)
                except (DatasetError, KeyError):
                    continue
                if example.chart == item.chart:
                    return example, split
        return None


def _other_splits(examples: Split, columns: Columns) -> list[str]:
    try:
        known = examples.splits or split_names(examples.dataset, columns)
        return [name for name in known if name != examples.name]
    except DatasetError as error:
        log.warning("%s", error)
        return []


def _itself(split: Split) -> Split:
    return split


@lru_cache(maxsize=4)
def _open_once(dataset: str, name: str, columns: Columns) -> Split:
    return open_split(dataset, name, columns)
