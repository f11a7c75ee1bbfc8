"""One generated chart becomes one training row: canvas, packed questions, and where everything is.

About ten to twenty independent questions share one chart: each attends to the chart and itself only, and its positions
start over, so a row trains exactly what one question alone would get.
"""

import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from chartqa_demo.arms import SYSTEM_MESSAGE
from chartqa_demo.images import fit_canvas
from train.pretrain.layout import CANVASES, IMAGE_TOKENS, LONG_SIDE, PATCH, SHORT_SIDE, Layout, cell_of
from train.pretrain.tokenizer import CONCISE, SPECIAL, TABLE_REQUEST, Prompts, prompts
from train.pretrain.truth import Chart, Mark, Question, Text

MakeChart = Callable[[int], Chart]
Point = tuple[float, float]

CHARACTER_SLOTS = 4  # a patch of 14 pixels shows at most four characters that can be read
CHARACTER_CLASSES = 96  # none, the 94 printable ASCII characters, any other
ENTITIES = 56  # named places a row can hold; a random choice of them where a chart has more
NAME_PIECES = 7  # three of the text itself, two of its category, two of its series
DIGITS = 6
DIGIT_OF = {character: k for k, character in enumerate("0123456789.-")}
DIGIT_END = 12
DIGIT_CLASSES = 13
HEIGHTS = 64
RANKS = 8
LOOKS = 4  # cells that one token may point to
NONE = -100
FIGURE = frozenset("0123456789.-")


@dataclass(frozen=True)
class Mix:
    """What the rows are made of. kinds: how readily a question of a kind is chosen (1 where not named);
    early: the same, multiplied in for the first `early_charts` charts; table: share of rows with the data table;
    default_system, concise: shares of rows with the template's own system text and with paraphrases of ours (the rest
    has ours); arithmetic: mean number of sums without a chart; question_weight, table_weight: loss weights."""

    kinds: dict[str, float] = field(default_factory=dict)
    early: dict[str, float] = field(default_factory=lambda: {"value": 2.0, "inverse": 2.0})
    early_charts: int = 600_000
    table: float = 0.35
    default_system: float = 0.35
    concise: float = 0.2
    arithmetic: float = 0.8
    question_weight: float = 0.2
    table_weight: float = 0.6


class Codec:
    """The tokenizer as training uses it: ids, ids with character spans, prompts and the row's layout."""

    def __init__(self, tokenizer: Tokenizer, length: int) -> None:
        self.tokenizer = tokenizer
        self.prompts: Prompts = prompts(self.ids, SPECIAL.index("<|im_end|>"))
        self.layout = Layout(self.prompts.longest - IMAGE_TOKENS - 1, length)

    def ids(self, text: str) -> list[int]:
        """Token ids of `text`; special tokens written in it are read as such."""
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def pieces(self, text: str, most: int) -> list[int]:
        """At most `most` ids of a name as it appears in an answer: its first, or its last where it ends in a digit
        (the last digits tell years apart)."""
        ids = self.ids(f" {text}")
        return ids[-most:] if text[-1:].isdigit() else ids[:most]


class Seen:
    """A chart on its canvas: where its texts and marks are, in canvas pixels."""

    def __init__(self, chart: Chart) -> None:
        fitted, self.scale = fit_canvas(chart.image, CANVASES)
        self.chart = chart
        self.portrait = fitted.height > fitted.width
        self.pixels = np.asarray(fitted).reshape(-1)
        values: dict[str, list[Text]] = {}
        self.names: list[Text] = []
        for text in chart.texts:
            if text.role == "value":
                values.setdefault(text.text, []).append(text)
            elif text.role in ("title", "category", "series"):
                self.names.append(text)
        self.names.sort(key=lambda text: -len(text.text))
        self.labels: dict[tuple[int, int], Text] = {}
        self.points: dict[tuple[int, int], Point] = {}
        for mark in chart.marks:
            label = _nearest(values.get(mark.shown or "", ()), mark.anchor)
            key = mark.category, mark.series
            if label is not None:
                self.labels[key] = label
            self.points[key] = mark.anchor if label is None else middle(label)

    def cell(self, point: Point) -> int:
        """The image token that shows a place given in pixels of the chart's own image."""
        return cell_of(point[0] * self.scale, point[1] * self.scale, self.portrait)

    def printed(self, answer: str, marks: Sequence[tuple[int, int]]) -> list[Point | None]:
        """For each character of `answer`: where the chart prints it, if the answer repeats a printed text.

        Values count only where they belong to one of `marks`; equal numbers elsewhere are not the source.
        """
        places: list[Point | None] = [None] * len(answer)
        for key in marks:
            if key in self.labels:
                _write(places, answer, 0, *_figures(self.labels[key]))
        for text in self.names:
            if text.text in answer:
                _write(places, answer, 0, *_letters(text))
        return places

    def printed_table(self, table: str) -> list[Point | None]:
        """The same for the data table: each line's category, and its figures in the order of the series."""
        places: list[Point | None] = [None] * len(table)
        rows = {name: index for index, name in enumerate(self.chart.categories)}
        by_name = {text.text: text for text in reversed(self.names)}
        start = 0
        for line in table.split("\n"):
            name = line.split(" | ")[0]
            if name in rows:
                if name in by_name:
                    _write(places, table, start, *_letters(by_name[name]))
                cursor = start + len(name)
                for series in range(max(1, len(self.chart.series))):
                    label = self.labels.get((rows[name], series))
                    if label is not None:
                        cursor = _write(places, table, cursor, *_figures(label), stop=start + len(line))
            start += len(line) + 1
        return places

    def rests_on(self, question: Question) -> list[int]:
        """The cells of the marks that an answer is read from: the winner only, where the answer names it."""
        marks = [key for key in question.marks if key in self.points]
        named = [key for key in marks if self.chart.categories[key[0]] == question.short]
        if not named and len(self.chart.series) > 1:
            named = [key for key in marks if self.chart.series[key[1]] == question.short]
        return list(dict.fromkeys(self.cell(self.points[key]) for key in named or marks))

    def named(self, question: Question) -> dict[int, list[int]]:
        """The cells of the marks that a question names, by the index of the character that completes their naming.

        With its number fetched at each name, a difference or sum needs no two look-ups at once.
        """
        found: dict[int, list[int]] = {}
        text, several = question.text.lower(), len(self.chart.series) > 1 and self.chart.kind != "scatter"
        for key in question.marks[:LOOKS]:
            names = [self.chart.categories[key[0]].rstrip("*"), *([self.chart.series[key[1]]] if several else [])]
            ends = [max((span[-1] for span in _spans(text, name.lower())), default=-1) for name in names]
            if key in self.points and min(ends) >= 0:
                found.setdefault(max(ends), []).append(self.cell(self.points[key]))
        return found


def middle(text: Text) -> Point:
    """The centre of a text's box."""
    return (text.box[0] + text.box[2]) / 2, (text.box[1] + text.box[3]) / 2


def _nearest(texts: Sequence[Text], point: Point) -> Text | None:
    def distance(text: Text) -> float:
        x, y = middle(text)
        return abs(x - point[0]) + abs(y - point[1])

    return min(texts, key=distance, default=None)


def _letters(text: Text) -> tuple[str, list[Point | None]]:
    """A printed text and the place of each of its characters, None for spaces."""
    centres = iter(text.centres)
    return text.text, [None if character.isspace() else next(centres, None) for character in text.text]


def _figures(text: Text) -> tuple[str, list[Point | None]]:
    """A value label's digits, point and minus, as a table writes them, with their places."""
    kept = [(c.replace("−", "-"), point) for c, point in zip(*_letters(text), strict=True) if c in "0123456789.-−"]
    return "".join(c for c, _ in kept), [point for _, point in kept]


def _write(
    places: list[Point | None],
    answer: str,
    start: int,
    needle: str,
    points: list[Point | None],
    stop: int | None = None,
) -> int:
    """Put the places of `needle` where `answer` has it as a whole word that is still free; returns where to go on.

    Thousands separators of the answer are skipped.
    """
    if not needle:
        return start
    for span in _spans(answer[:stop], needle):
        if span[0] >= start and all(places[k] is None for k in span):
            for k, point in zip(span, points, strict=True):
                places[k] = point
            return span[-1] + 1
    return start


def _spans(answer: str, needle: str) -> Iterator[Sequence[int]]:
    """Where the characters of `needle` are, each time that `answer` has it as a whole word.

    Only a figure is looked for with separators (by a pattern, which takes long to compile) where it is not there as is.
    """
    found, size = False, len(needle)
    at = answer.find(needle)
    while at >= 0:
        before, after = answer[at - 1 : at], answer[at + size : at + size + 2]
        part_of_more = _is_word(before) or before == "." or _is_word(after[:1])
        if not part_of_more and not (after[:1] == "." and after[1:].isdigit()):
            found = True
            yield range(at, at + size)
        at = answer.find(needle, at + 1)
    if not found and size > 3 and FIGURE.issuperset(needle):
        pattern = "[, ]?".join(map(re.escape, needle))
        for match in re.finditer(rf"(?<![\w.]){pattern}(?!\w|\.\d)", answer):
            yield [k for k in range(match.start(), match.end()) if answer[k] not in ", "]


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"


def sum_question(rng: random.Random) -> Question:
    """Reckoning without a chart, so that differences, totals, ratios and averages are learnt on many numbers."""
    decimals = rng.choice([0, 0, 1, 2])
    high = 10 ** rng.randint(1, 4)
    a, b = sorted((rng.randint(1, high) / 10**decimals for _ in range(2)), reverse=True)
    draw, shown = rng.random(), decimals
    if draw < 0.3:
        numbers, sign, result = [a, b], "-", a - b
    elif draw < 0.5:
        numbers, sign, result = [a, b], "+", a + b
    elif draw < 0.75 and a <= 40 * b:
        numbers, sign, result, shown = [a, b], "/", a / b, 2
    else:
        numbers = [a, b, *(rng.randint(1, high) / 10**decimals for _ in range(rng.choice((0, 1, 1, 2))))]
        sign, result, shown = "+", sum(numbers) / len(numbers), 2
    text = f" {sign} ".join(f"{number:.{decimals}f}" for number in numbers)
    if draw >= 0.5 and sign == "+":
        text = f"({text}) / {len(numbers)}"
    answer = f"{result:.{shown}f}"
    answer = answer.rstrip("0").rstrip(".") if "." in answer else answer
    return Question("sum without a chart", f"What is {text}?", answer, answer, f"{text} = {answer}.")


def choose(chart: Chart, mix: Mix, rng: random.Random, early: bool) -> list[Question]:
    """The chart's questions in the order in which a row takes them until it is full."""

    def key(question: Question) -> float:
        weight = mix.kinds.get(question.kind, 1.0) * (mix.early.get(question.kind, 1.0) if early else 1.0)
        return rng.random() ** (1 / weight) if weight > 0 else -1.0

    chosen = sorted(chart.questions, key=key, reverse=True)
    chosen = [question for question in chosen if mix.kinds.get(question.kind, 1.0) > 0]
    for _ in range(2):
        if rng.random() < mix.arithmetic / 2:
            chosen.insert(rng.randint(0, min(4, len(chosen))), sum_question(rng))
    if rng.random() < mix.table:
        chosen.insert(0, Question("table", TABLE_REQUEST, chart.table, chart.table, chart.table))
    return chosen


def pack(
    codec: Codec, seen: Seen, questions: Sequence[Question], system: str | None, mix: Mix
) -> dict[str, np.ndarray]:
    """Token ids of a row and, for each packed token: offset, segment, loss weight and cells to look at."""
    size = codec.layout.packed
    opening = codec.prompts.openings[system]
    row = {
        "ids": np.zeros(codec.layout.length, np.int16),
        "offsets": np.zeros(size, np.int16),
        "segments": np.full(size, -1, np.int16),
        "weights": np.zeros(size, np.float32),
        "copy": np.full((size, LOOKS), -1, np.int16),
        "mark": np.full((size, LOOKS), -1, np.int16),
        "pads": np.array(codec.prompts.longest - len(opening), np.int64),
    }
    row["ids"][codec.prompts.longest - len(opening) : codec.prompts.longest] = opening
    packed = row["ids"][codec.layout.prefix :]
    start, segment = 0, 0
    for question in questions:
        answer = " " + (question.sentence if system is None else question.short)
        encoded = codec.tokenizer.encode(answer, add_special_tokens=False)
        asked = codec.tokenizer.encode(question.text, add_special_tokens=False)
        before = asked.ids + codec.prompts.turn
        ids = [*before, *encoded.ids, codec.prompts.end]
        stop, first = start + len(ids), start + len(before)
        if stop > size:
            continue
        segment += 1
        packed[start:stop] = ids
        row["offsets"][start:stop] = np.arange(len(ids))
        row["segments"][start:stop] = segment
        if question.kind != "sum without a chart":
            row["weights"][start + 1 : start + len(asked.ids)] = mix.question_weight
        row["weights"][first:stop] = mix.table_weight if question.kind == "table" else 1.0
        is_table = question.kind == "table"
        places = seen.printed_table(answer[1:]) if is_table else seen.printed(answer[1:], question.marks)
        for k, (a, b) in enumerate(encoded.offsets):
            points = [point for point in places[max(0, a - 1) : b - 1] if point is not None]
            ends = dict.fromkeys(seen.cell(point) for point in (*points[:1], *points[-1:]))
            row["copy"][first + k, : len(ends)] = list(ends)
        for end, cells in seen.named(question).items():
            token = next(k for k, (a, b) in enumerate(asked.offsets) if a <= end < b)
            row["mark"][start + token + 1, : len(cells)] = cells  # scores stand where the token after theirs is
        cells = seen.rests_on(question)
        if 0 < len(cells) <= LOOKS:
            row["mark"][first:stop, : len(cells)] = cells
        start = stop
        if size - start < 12:
            break
    return row


def _characters(seen: Seen) -> np.ndarray:
    """Which characters each patch shows, from left to right: uint8 [300, 4 patches x 4 slots]."""
    columns, rows = (SHORT_SIDE, LONG_SIDE) if seen.portrait else (LONG_SIDE, SHORT_SIDE)
    out = np.zeros((rows * 2, columns * 2, CHARACTER_SLOTS), np.uint8)
    points = [point for text in seen.chart.texts for point in text.centres]
    codes = [ord(c) for text in seen.chart.texts for c in text.text if not c.isspace()]
    if points and len(points) == len(codes):
        x, y = (np.array(points) * seen.scale).T
        code = np.array(codes)
        code = np.where((code > 32) & (code < 127), code - 32, CHARACTER_CLASSES - 1)
        column, row = (np.clip(v // PATCH, 0, n * 2 - 1).astype(np.int64) for v, n in ((x, columns), (y, rows)))
        patch = row * columns * 2 + column
        order = np.lexsort((x, patch))
        patch, code = patch[order], code[order]
        first = np.r_[0, np.flatnonzero(np.diff(patch)) + 1]
        slot = np.arange(len(patch)) - np.repeat(first, np.diff(np.r_[first, len(patch)]))
        keep = slot < CHARACTER_SLOTS
        out.reshape(-1, CHARACTER_SLOTS)[patch[keep], slot[keep]] = code[keep]
    merged = out.reshape(rows, 2, columns, 2, CHARACTER_SLOTS).transpose(0, 2, 1, 3, 4)
    return merged.reshape(IMAGE_TOKENS, 4 * CHARACTER_SLOTS)


def _digits(text: str) -> list[int]:
    digits = [DIGIT_OF[c] for c in text if c in DIGIT_OF][:DIGITS]
    return digits + [DIGIT_END] * (DIGITS - len(digits))


def _value_text(mark: Mark) -> str:
    return mark.shown or f"{mark.value:.6g}"


def _entities(codec: Codec, seen: Seen, rng: random.Random) -> dict[str, np.ndarray]:
    """What the named places of a chart say: texts, their category and series, digits, heights and ranks."""
    chart = seen.chart
    found: list[tuple[int, tuple[str, str, str], str, tuple[int, int, int] | None]] = []
    single = {mark.category: mark for mark in chart.marks} if len(chart.series) <= 1 else {}
    rows = {name: index for index, name in enumerate(chart.categories)}
    for text in chart.texts:
        if text.role in ("title", "category", "series", "tick") and text.text:
            category = text.text if text.role == "category" else ""
            mark = single.get(rows.get(category, -1))
            digits = text.text if text.role == "tick" else _value_text(mark) if mark else ""
            own = "" if text.role == "tick" else text.text
            found.append(
                (seen.cell(middle(text)), (own, category, text.text if text.role == "series" else ""), digits, None)
            )
    in_series: dict[int, list[float]] = {}
    for mark in chart.marks:
        in_series.setdefault(mark.series, []).append(mark.value)
    for mark in chart.marks:
        others = in_series[mark.series]
        above, below = sum(v > mark.value for v in others), sum(v < mark.value for v in others)
        height = min(HEIGHTS - 1, max(0, int(mark.height * HEIGHTS)))
        series = chart.series[mark.series] if len(chart.series) > 1 else ""
        names = ("", chart.categories[mark.category], series)
        heights = height, min(RANKS - 1, above), min(RANKS - 1, below)
        found.append((seen.cell(seen.points[mark.category, mark.series]), names, _value_text(mark), heights))
    if len(found) > ENTITIES:
        found = rng.sample(found, ENTITIES)
    out = {
        "cell": np.zeros(ENTITIES, np.int16),
        "names": np.full((ENTITIES, NAME_PIECES), NONE, np.int16),
        "digits": np.full((ENTITIES, DIGITS), NONE, np.int16),
        "heights": np.full((ENTITIES, 3), NONE, np.int16),
    }
    for k, (cell, names, digits, heights) in enumerate(found):
        out["cell"][k] = cell
        for name, place, most in zip(names, (0, 3, 5), (3, 2, 2), strict=True):
            if name:
                pieces = codec.pieces(name, most)
                out["names"][k, place : place + len(pieces)] = pieces
        if digits:
            out["digits"][k] = _digits(digits)
        if heights:
            out["heights"][k] = heights
    return out


def build_row(codec: Codec, chart: Chart, mix: Mix, rng: random.Random, early: bool = False) -> dict[str, np.ndarray]:
    """Everything that one training row needs."""
    seen = Seen(chart)
    draw = rng.random()
    ours = SYSTEM_MESSAGE if draw >= mix.default_system + mix.concise else rng.choice(CONCISE)
    system = None if draw < mix.default_system else ours
    return {
        "pixels": seen.pixels,
        "portrait": np.array(seen.portrait),
        "characters": _characters(seen),
        **_entities(codec, seen, rng),
        **pack(codec, seen, choose(chart, mix, rng, early), system, mix),
    }


def collate(rows: Sequence[dict[str, np.ndarray]]) -> dict[str, Tensor]:
    """Rows stacked to a batch of tensors."""
    return {name: torch.from_numpy(np.stack([row[name] for row in rows])) for name in rows[0]}


class ChartRows(torch.utils.data.IterableDataset):
    """Endless batches of fresh charts; each worker makes whole batches from its own seeds.

    first: seed of the first chart, also the number of charts seen before (for `Mix.early_charts`).
    """

    def __init__(
        self, codec_of: Callable[[], Codec], make_chart: MakeChart, batch: int, mix: Mix, first: int = 0
    ) -> None:
        self.codec_of, self.make_chart, self.batch, self.mix, self.first = codec_of, make_chart, batch, mix, first

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        """Yields collated batches for ever."""
        torch.set_num_threads(1)
        worker = torch.utils.data.get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        codec = self.codec_of()
        seed = self.first + number
        while True:
            rows = []
            while len(rows) < self.batch:
                early = seed < self.mix.early_charts
                rows.append(build_row(codec, self.make_chart(seed), self.mix, random.Random(seed ^ 0x5EED), early))
                seed += workers
            yield collate(rows)
