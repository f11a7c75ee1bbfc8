"""Where the arms look for answers about one mark of a generated chart, and whether that mark is there.

Which head tells is chosen on other charts than those it is counted on. A cell of the overlay shows the mark where it
overlaps the mark's own box or that of its printed value.
"""

import os
import random
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from multiprocessing import get_context
from typing import Any

from PIL import Image
from tqdm import tqdm

from chartqa_demo.engines import Gaze, Options
from chartqa_demo.evaluate import statistics as stats
from chartqa_demo.evaluate.rules import is_correct

Box = tuple[float, float, float, float]
Head = tuple[int, int]
AT_ONCE = 16  # questions
RESAMPLES = 2000


@dataclass(frozen=True)
class Pointed:
    """A chart as PNG with a question about one of its marks; boxes: of the mark and of its printed value, in pixels."""

    png: bytes
    question: str
    gold: str
    boxes: tuple[Box, ...]


@dataclass(frozen=True)
class Looked:
    """One question. hits: by arm, the heads whose hottest cell shows the mark; right: by arm, whether the answer is;
    random: share of the cells on the chart that show it; centre: whether the one in the middle does; seconds: of the
    overlays of all arms, the look at the chart included."""

    hits: Mapping[str, frozenset[Head]]
    right: Mapping[str, bool]
    random: float
    centre: bool
    seconds: float


def pointed(seed: int) -> Pointed | None:
    """A held-out chart with a question about one mark; None where it has none."""
    from train.pretrain.charts import make_chart
    from train.pretrain.legs.grounding import Grounding

    chart = make_chart(seed, held_out=True, lesson=False)
    marks = {(mark.category, mark.series): mark.box for mark in chart.marks}
    asked = [one for one in chart.questions if len(one.marks) == 1 and one.marks[0] in marks]
    if not asked:
        return None
    one, png = random.Random(seed).choice(asked), BytesIO()
    label = Grounding(chart).labels.get(one.marks[0])
    chart.image.save(png, "PNG")
    return Pointed(png.getvalue(), one.text, one.gold, (marks[one.marks[0]], *([label.box] if label else [])))


def pointed_at(seeds: Sequence[int]) -> list[Pointed]:
    """`pointed` of every seed, in processes that are forked: call it before a model is loaded."""
    import train.pretrain.charts
    import train.pretrain.legs.grounding  # noqa: F401 (once here rather than in every process)

    with ProcessPoolExecutor(os.cpu_count() or 1, mp_context=get_context("fork")) as pool:
        return [one for one in pool.map(pointed, seeds, chunksize=4) if one is not None]


def looked(engine: Any, charts: Sequence[Pointed]) -> list[Looked]:
    """Every arm's answers, and which heads looked at the mark for them. engine: a local one that is written out."""
    from chartqa_demo.engines.trust.gaze import attention, gaze

    layers, found = engine.fast.layers, []
    heads = [(layer, head) for layer in range(layers.count) for head in range(layers.heads)]
    adapters = [engine._name if arm.adapter else "" for arm in engine.arms]
    for first in tqdm(range(0, len(charts), AT_ONCE), desc="Looking"):
        some = charts[first : first + AT_ONCE]
        images = [Image.open(BytesIO(one.png)).convert("RGB") for one in some]
        asked = [(image, one.question) for image, one in zip(images, some, strict=True)]
        for one, image, answers in zip(some, images, engine.answer_many(asked, engine.arms, Options()), strict=True):
            engine.looks.clear()
            began = time.perf_counter()
            (look,) = engine.looks.of([image])
            prompts = [engine._token_ids(engine.prompt_text(arm, one.question, Options()), look) for arm in engine.arms]
            said = [engine.processor.tokenizer(answer.text)["input_ids"] for answer in answers]
            shares = attention(layers, prompts, said, look, adapters)
            grid = gaze(shares[0], heads[:1], look, image, engine.base.config)
            seconds = time.perf_counter() - began
            shows = {
                number: any(overlaps(cell, box) for box in one.boxes) for number, cell in cells_on(grid, image).items()
            }
            hits = {
                answer.arm: frozenset(head for head in heads if shows.get(int(share[head].argmax())))
                for answer, share in zip(answers, shares, strict=True)
            }
            right = {answer.arm: is_correct(answer.text, one.gold, "tolerant") for answer in answers}
            middle = next(n for n, cell in cells_on(grid, image).items() if overlaps(cell, _middle(image)))
            found.append(Looked(hits, right, sum(shows.values()) / len(shows), shows[middle], seconds))
    return found


def cells_on(grid: Gaze, image: Image.Image) -> dict[int, Box]:
    """The cells that lie on the picture, counted row by row, with their boxes in its pixels."""
    rows, columns = len(grid.cells), len(grid.cells[0])
    left, top, right, bottom = (part * image.size[n % 2] for n, part in enumerate(grid.box))
    width, height = (right - left) / columns, (bottom - top) / rows
    boxes = {
        row * columns + column: (
            left + column * width,
            top + row * height,
            left + (column + 1) * width,
            top + (row + 1) * height,
        )
        for row in range(rows)
        for column in range(columns)
    }
    return {number: box for number, box in boxes.items() if overlaps(box, (0, 0, image.width, image.height))}


def overlaps(one: Box, other: Box) -> bool:
    """Whether two boxes share a point."""
    return one[0] <= other[2] and other[0] <= one[2] and one[1] <= other[3] and other[1] <= one[3]


def choose(found: Sequence[Looked], arms: Sequence[str]) -> dict[str, Head]:
    """By arm the head that hit most often, the first of equals."""
    heads = {arm: sorted({head for one in found for head in one.hits[arm]}) for arm in arms}
    return {arm: max(heads[arm], key=lambda head: sum(head in one.hits[arm] for one in found)) for arm in arms}


def against_chance(found: Sequence[Looked], arm: str, head: Head) -> dict[str, Any]:
    """How often the head hit, beside a random cell and the one in the middle, with 95 % intervals: Wilson's, and a
    bootstrap over charts for how many times as often as the better of the two."""
    rows = [(head in one.hits[arm], one.random, one.centre) for one in found]
    rng, drawn = random.Random(0), []
    for _ in range(RESAMPLES):
        drawn.append(_ratio(rng.choices(rows, k=len(rows))))
    drawn.sort()
    hits = stats.score(sum(row[0] for row in rows), len(rows))
    return {
        "charts": len(rows),
        "hits": hits.correct,
        "share": round(hits.accuracy or 0, 4),
        "share_interval": [round(hits.low or 0, 4), round(hits.high or 0, 4)],
        "random": round(sum(row[1] for row in rows) / len(rows), 4),
        "centre": round(sum(row[2] for row in rows) / len(rows), 4),
        "ratio": round(_ratio(rows), 2),
        "ratio_interval": [round(drawn[int(0.025 * RESAMPLES)], 2), round(drawn[int(0.975 * RESAMPLES) - 1], 2)],
        "of_right_answers": _counted([head in one.hits[arm] for one in found if one.right[arm]]),
        "of_wrong_answers": _counted([head in one.hits[arm] for one in found if not one.right[arm]]),
    }


def _ratio(rows: Sequence[tuple[bool, float, bool]]) -> float:
    hits, chance, centre = (sum(column) for column in zip(*rows, strict=True))
    return hits / max(chance, centre, 1e-9)


def _counted(hits: Sequence[bool]) -> list[int]:
    """[hits, questions]"""
    return [sum(hits), len(hits)]


def _middle(image: Image.Image) -> Box:
    return (image.width / 2, image.height / 2, image.width / 2, image.height / 2)
