"""Rows for the trainer: a chart, the adapter arm's own prompt, and the gold answer as completion.

The trainer's data set holds row numbers or seeds only; a chart is decoded or drawn when its batch is made. Every row
is looked at once before training starts: a row that cannot be used is cheap to name in the first minute and dear
after an hour.
"""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from itertools import compress
from pathlib import Path
from typing import Any, TypeVar

from datasets import Dataset
from PIL.Image import Image
from tqdm.auto import tqdm

from chartqa_demo.arms import ADAPTER, training_row
from chartqa_demo.data.names import is_chartqa
from chartqa_demo.data.splits import CUT, Columns, Example, Split, chart_id, draw_examples, open_split, split_names
from chartqa_demo.errors import ChartError
from chartqa_demo.evaluate.run import display_name
from chartqa_demo.evaluate.statistics import FEWEST
from chartqa_demo.images import Size, fit_canvas, shrink
from train import pretrain
from train.data.augment import moved
from train.recipe import GENERATED, Recipe

Canvases = Sequence[Size] | None
Row = Callable[[Canvases, int | None, bool], dict[str, Any]]  # a row of the trainer, made when it is asked for
Shown = TypeVar("Shown")  # a row, or its size

FEWEST_ROWS, SMALLEST_GAIN = 20, 10  # rows to learn from; points that a held-out part should be able to tell
TOKENS_AROUND = 100  # system message, question and answer
PIXELS_PER_TOKEN = 784  # Qwen2-VL's: two by two patches of 14 pixels
DATASET = "dataset"  # the recipe's own data set, as its mixture names it
FIRST_VAL_SEED, FIRST_TEST_SEED = 10_000_000, 20_000_000  # generated charts to train on begin at seed 0


@dataclass(frozen=True)
class Data:
    """What a run trains on, watches and is measured on; names as they may be published, a folder by its name only.

    train, val: rows for `as_dataset`; held_out: examples for `chartqa_demo.evaluate`; chartqa: whether the charts are
    ChartQA's; mixture: what it is trained on in words, where that is more than one data set; sizes:
    tokens of each row, where the recipe puts charts of like size together."""

    name: str
    train: Sequence[Row]
    val: Sequence[Row]
    held_out: list[Example]
    train_split: str
    test_split: str
    chartqa: bool = False
    mixture: str = ""
    sizes: tuple[int, ...] = ()

    @property
    def generated(self) -> bool:
        """Drawn by us, not ChartQA's."""
        return self.name == GENERATED


class DataError(ValueError):
    """The data cannot be trained on; the message names the row and the way out."""


def open_data(recipe: Recipe, seed: int) -> Data:
    """The three parts of the recipe's data set, every row looked at: needs no base, so it comes before one is loaded.

    Raises DatasetError (no such thing) and DataError (a bad row).
    """
    _check_moves(recipe)
    if recipe.dataset == GENERATED:
        first, charts = 0, recipe.train_charts
        val = range(FIRST_VAL_SEED, FIRST_VAL_SEED + recipe.val_charts)
        test = range(FIRST_TEST_SEED, FIRST_TEST_SEED + recipe.test_charts)
        return Data(
            name=GENERATED,
            train=[partial(_generated_row, number, False) for number in range(first, first + charts)],
            val=[partial(_generated_row, number, True) for number in val],
            held_out=generated_examples(test),
            train_split=f"seeds {first} to {first + charts - 1}",
            test_split=f"held-out seeds {test[0]} to {test[-1]}",
        )
    val, test = (
        usable(found, f"{recipe.dataset}, split {found.name}", recipe.skip_bad_rows)
        for found in (
            open_split(recipe.dataset, split, _columns(recipe)) for split in (recipe.val_split, recipe.test_split)
        )
    )
    parts = shares(recipe)
    if recipe.like_sizes and list(parts) != [DATASET]:
        raise DataError("like_sizes needs the sizes of all charts: it goes with one data set, not with a mixture.")
    rows: list[Row] = []
    train: list[Example] = []
    for name, weight in parts.items():
        again = None
        if name == GENERATED:
            seeds = range(recipe.train_charts)
            part: list[Row] = [partial(_generated_row, number, False) for number in seeds]
        else:
            examples = train_examples(recipe, recipe.dataset if name == DATASET else name, [*val, *test], seed)
            part = [partial(_example_row, example) for example in examples]
            again = partial(_shown_again, examples, seed) if recipe.move_charts else None
            train += examples
        rows += shown(part, weight, seed, again)
    return Data(
        name=display_name(recipe.dataset),
        train=rows,
        val=[partial(_example_row, example) for example in val],
        held_out=draw_examples(test, recipe.test_sample, seed),
        train_split=recipe.train_split,
        test_split=recipe.test_split,
        mixture=mixture_in_words(recipe, parts) if recipe.mixture else "",
        chartqa=is_chartqa(recipe.dataset, train),
        sizes=tuple(shown(row_tokens(train, recipe.max_pixels), parts[DATASET], seed)) if recipe.like_sizes else (),
    )


def without_charts_of(train: list[Example], held_out: Sequence[Example]) -> list[Example]:
    """The training rows whose charts are not held out: a chart is held out with all of its questions.

    Raises DataError when none is left.
    """
    charts = {one.chart for one in held_out}
    left = [one for one in train if one.chart not in charts]
    if len(left) < len(train):
        print(f"{len(train) - len(left)} training rows left out: their charts are among the held-out ones.")
    if not left:
        raise DataError("Every chart to train on is also held out. Put other charts into one of the splits.")
    return left


def too_few(rows: int, held_out: Sequence[Example]) -> str | None:
    """A warning where so few rows can hardly tell a gain, None where they can.

    McNemar's exact test needs FEWEST questions that only one of two arms gets right, so a smaller share of the held-out
    questions cannot be told from chance, however clear the gain.
    """
    asked = len(held_out)
    least = 100 * FEWEST / max(asked, 1)
    if rows >= FEWEST_ROWS and least <= SMALLEST_GAIN:
        return None
    charts = len({one.chart for one in held_out})
    told = "no gain can be told" if least > 100 else f"a gain below {least:.0f} points cannot be told"
    return (
        f"Few rows: {rows} to train on, {asked} held-out questions about {charts} charts. With so few {told} from "
        "chance; correct more answers, of other charts."
    )


def shares(recipe: Recipe) -> dict[str, float]:
    """The data sets of the recipe's mixture with their weights. Raises DataError for what is no NAME=WEIGHT."""
    found: dict[str, float] = {}
    for entry in recipe.mixture or [f"{DATASET}=1"]:
        name, _, weight = entry.rpartition("=")
        try:
            found[name] = float(weight)
        except ValueError:
            found[name] = -1.0
        if not name or not 0 < found[name] < math.inf:
            raise DataError(f"mixture: {entry!r} is not NAME=WEIGHT with a weight above 0, such as {DATASET}=8.")
    return found


def shown(
    rows: Sequence[Shown], weight: float, seed: int, again: Callable[[int, int], Shown] | None = None
) -> list[Shown]:
    """What an epoch shows of `rows`: all of them as often as the whole part of `weight` says, and a drawn part more.

    again: makes what is shown in place of a row after its first time; without, the row itself is.
    """
    times, rest = int(weight), weight % 1.0
    order = list(range(len(rows)))
    whole = [(number, time) for time in range(times) for number in order]
    random.Random(seed).shuffle(order)
    more = [(number, times) for number in order[: round(rest * len(rows))]]
    return [again(number, time) if again and time else rows[number] for number, time in (*whole, *more)]


def _check_moves(recipe: Recipe) -> None:
    """Raises DataError where move_charts could move none, or where the sizes of charts would no longer be true."""
    if not recipe.move_charts:
        return
    if recipe.like_sizes:
        raise DataError("like_sizes needs the sizes of all charts, and move_charts changes them: set one of the two.")
    again = [name for name, weight in shares(recipe).items() if name != GENERATED and weight > 1]
    if recipe.dataset == GENERATED or not again:
        raise DataError(
            "move_charts moves what a mixture shows again, and this recipe shows no row of a data set twice in an "
            f"epoch: set a weight above 1, such as --mixture {DATASET}=3, or leave move_charts out."
        )


def train_examples(recipe: Recipe, dataset: str, held_out: Sequence[Example], seed: int) -> list[Example]:
    """The usable rows of a data set to train on, without held-out charts and those that the recipe leaves out.

    A further data set of a mixture that has one split only is taken whole: nothing is measured on it.
    """
    columns = _columns(recipe)
    whole = dataset != recipe.dataset and split_names(dataset, columns) == CUT
    split = open_split(dataset, "all" if whole else recipe.train_split, columns)
    kept = [example for example in split if Path(example.file_name).stem not in recipe.leave_out]
    rows = usable(kept, f"{dataset}, split {split.name}", recipe.skip_bad_rows)
    return draw_examples(without_charts_of(rows, held_out), recipe.train_sample, seed)


def _columns(recipe: Recipe) -> Columns:
    return Columns(recipe.image_column, recipe.question_column, recipe.answer_column)


def mixture_in_words(recipe: Recipe, parts: Mapping[str, float]) -> str:
    """What the mixture shows, without the paths of folders."""
    said = []
    for name, weight in parts.items():
        if name == GENERATED:
            said.append(f"{recipe.train_charts:,} generated charts, each shown {weight:g} times")
        else:
            named = recipe.dataset if name == DATASET else name
            short = display_name(named)
            sample = f" (a sample of {recipe.train_sample:,} rows)" if recipe.train_sample is not None else ""
            said.append(f"{short}, {recipe.train_split}{sample}, each row shown {weight:g} times")
            if recipe.move_charts and weight > 1:
                said[-1] += ", moved on its page and resampled all but the first time"
    return "; ".join(said)


def usable(examples: Sequence[Example] | Split, where: str, skip_bad_rows: bool = False) -> list[Example]:
    """The examples with a readable chart, a question and an answer.

    where: data set and split, for messages. Raises DataError for the first bad row, or, with `skip_bad_rows`, only
    when no row is left.
    """
    with ThreadPoolExecutor() as pool:  # decoding releases the interpreter's lock
        faults = list(tqdm(pool.map(_fault, examples), total=len(examples), desc=f"Checking {where}", leave=False))
    bad = [number for number, fault in enumerate(faults) if fault]
    if bad and not skip_bad_rows:
        others = f" {len(bad) - 1} more rows have a fault too." if len(bad) > 1 else ""
        raise DataError(
            f"Row {bad[0]} of {where} (counted from 0) cannot be used: {faults[bad[0]]}{others} "
            "Mend it, or leave such rows out with --skip_bad_rows."
        )
    if len(bad) == len(examples):
        raise DataError(f"{where} has no row that can be used.")
    if isinstance(examples, Split) and examples.note:
        print(examples.note)
    if bad:
        print(f"{where}: {len(bad)} of {len(examples)} rows left out; the first is row {bad[0]}, {faults[bad[0]]}")
    return list(compress(examples, [fault is None for fault in faults]))


def row_tokens(examples: Sequence[Example], max_pixels: int | None) -> list[int]:
    """About how many tokens every row has: its chart's, from its file's header, and 100 around them."""
    areas = [width * height for width, height in (example.image_size() for example in examples)]
    return [min(area, max_pixels or area) // PIXELS_PER_TOKEN + TOKENS_AROUND for area in areas]


def chart_rows(
    examples: Sequence[Example], canvases: Canvases = None, shrink_to: int | None = None, fold_system: bool = False
) -> Dataset:
    """Examples as the trainer wants them; the rest as in `as_dataset`."""
    return as_dataset([partial(_example_row, example) for example in examples], canvases, shrink_to, fold_system)


def as_dataset(
    rows: Sequence[Row], canvases: Canvases = None, shrink_to: int | None = None, fold_system: bool = False
) -> Dataset:
    """Rows as a base wants them: images, prompt, completion, each made when it is asked for.

    canvases: (width, height) in pixels where the base model reads charts on fixed canvases only; shrink_to: most
    pixels, where its processor knows no such limit; fold_system: see `arms.folds_system`.
    """

    def batch(columns: dict[str, list[int]]) -> dict[str, list[Any]]:
        made = [rows[number](canvases, shrink_to, fold_system) for number in columns["number"]]
        return {key: [each[key] for each in made] for key in made[0]}

    return Dataset.from_dict({"number": list(range(len(rows)))}).with_transform(batch)


def generated_examples(seeds: Sequence[int]) -> list[Example]:
    """Held-out charts of our own, one question of each, to be measured on; kept encoded, about 30 KB each."""
    examples = []
    for seed in tqdm(seeds, desc="Drawing held-out charts", leave=False):
        chart, question = pretrain.draw(seed, held_out=True)
        png = BytesIO()
        chart.image.save(png, "PNG")
        examples.append(
            Example(
                id=f"held-out/{seed}",
                chart=chart_id(png.getvalue()),
                question=question.text,
                gold=(question.gold,),
                kind="human" if question.human else "machine",
                source=f"{chart.kind}, {question.kind}",
                read=png.getvalue,
            )
        )
    return examples


def _example_row(example: Example, *shown_as: Any) -> dict[str, Any]:
    return _row(example.load_image(), example.question, example.gold[0], *shown_as)


def _shown_again(examples: Sequence[Example], seed: int, number: int, time: int) -> Row:
    """Row `number` as it is shown after `time` times: the same in a run that is resumed."""
    return partial(_moved_row, examples[number], f"{seed}/{number}/{time}")


def _moved_row(example: Example, chance: str, *shown_as: Any) -> dict[str, Any]:
    image = moved(example.load_image(), random.Random(chance))
    return _row(image, example.question, example.gold[0], *shown_as, cut=False)


def _generated_row(seed: int, held_out: bool, *shown_as: Any) -> dict[str, Any]:
    chart, question = pretrain.draw(seed, held_out)  # lessons keep it spelling: most of their names are coined
    return _row(chart.image, question.text, question.gold, *shown_as)


def _row(
    image: Image,
    question: str,
    answer: str,
    canvases: Canvases,
    shrink_to: int | None,
    fold_system: bool,
    cut: bool = True,
) -> dict[str, Any]:
    """cut: as in `fit_canvas`, which would undo the margins of a moved chart."""
    image = shrink(image, shrink_to) if shrink_to else image
    image = fit_canvas(image, canvases, cut).image if canvases else image
    return {"images": [image], **training_row(ADAPTER, question, answer.strip(), fold_system)}


def _fault(example: Example) -> str | None:
    """What is wrong with a row, None for nothing."""
    if not (example.question or "").strip():
        return "its question is empty."
    if not example.gold or not (example.gold[0] or "").strip():
        return "its answer is empty."
    try:
        example.load_image()
    except (ChartError, OSError, TypeError) as error:  # TypeError: the cell holds no picture at all
        return f"its chart: {error}"
    return None
