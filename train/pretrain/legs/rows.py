"""One generated chart becomes one training row: canvas, packed questions, and where everything is.

About ten to twenty independent questions share one chart: each attends to the chart and itself only, and its positions
start over, so a row trains exactly what one question alone would get.
"""

import random
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from chartqa_demo.arms import SYSTEM_MESSAGE
from train.pretrain.layout import IMAGE_TOKENS, LONG_SIDE, PATCH, SHORT_SIDE, Layout
from train.pretrain.legs.grounding import MOST_CELLS, Grounding, middle
from train.pretrain.model.tokenizer import ASCII_WORDS, CONCISE, SPECIAL, TABLE_REQUEST, Prompts, prompts
from train.pretrain.scene import GeneratedChart, GeneratedQuestion, Mark

MakeChart = Callable[[int], GeneratedChart]

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
WORDS_KEPT = 30_000  # whose tokens a codec remembers
NONE = -100
BRACKETED = ("list", "legend")  # kinds whose gold answer is "[a, b]"


@dataclass(frozen=True)
class Mix:
    """What the rows are made of. kinds: how readily a question of a kind is chosen (1 where not named);
    early: the same, multiplied in for the first `early_charts` charts; table: share of rows with the data table;
    default_system, concise: shares of rows with the template's own system text and with paraphrases of ours (the rest
    has ours); arithmetic: mean number of sums without a chart; question_weight, table_weight: loss weights; coarse:
    share of charts shown as an enlarged smaller copy, as visitors' charts often are; bracketed: share of the rows under
    our own message whose lists stand in brackets, so that an adapter can bring them out."""

    kinds: dict[str, float] = field(default_factory=dict)
    early: dict[str, float] = field(default_factory=lambda: {"value": 2.0, "inverse": 2.0})
    early_charts: int = 600_000
    table: float = 0.35
    default_system: float = 0.35
    concise: float = 0.2
    arithmetic: float = 0.8
    question_weight: float = 0.2
    table_weight: float = 0.6
    coarse: float = 0.15
    bracketed: float = 0.25


class Codec:
    """The tokenizer as training uses it: ids, ids with character spans, prompts and the row's layout."""

    def __init__(self, tokenizer: Tokenizer, length: int) -> None:
        self.tokenizer = tokenizer
        self.words = lru_cache(WORDS_KEPT)(self._tokenize)
        self.prompts: Prompts = prompts(self.ids, SPECIAL.index("<|im_end|>"))
        self.layout = Layout(self.prompts.longest - IMAGE_TOKENS - 1, length)
        self.counting = np.arange(self.layout.packed, dtype=np.int16)

    def _tokenize(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        encoded = self.tokenizer.encode(text, add_special_tokens=False)
        return encoded.ids, encoded.offsets

    def ids(self, text: str) -> list[int]:
        """Token ids of `text`; special tokens written in it are read as such. Words known from before are not tokenized
        again, which takes a quarter of the time."""
        if not text.isascii() or "<|" in text:
            return self._tokenize(text)[0]
        ids: list[int] = []
        for word in ASCII_WORDS.findall(text):
            ids += self.words(word)[0]
        return ids

    def spans(self, text: str) -> list[tuple[int, int]]:
        """The characters (begin, end) of `text` that each of its token ids stands for."""
        if not text.isascii() or "<|" in text:
            return self._tokenize(text)[1]
        spans: list[tuple[int, int]] = []
        at = 0
        for word in ASCII_WORDS.findall(text):
            spans += [(at + begin, at + end) for begin, end in self.words(word)[1]]
            at += len(word)
        return spans

    def pieces(self, text: str, most: int) -> list[int]:
        """At most `most` ids of a name as it appears in an answer: its first, or its last where it ends in a digit
        (the last digits tell years apart)."""
        ids = self.ids(f" {text}")
        return ids[-most:] if text[-1:].isdigit() else ids[:most]


def sum_question(rng: random.Random) -> GeneratedQuestion:
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
    return GeneratedQuestion("sum without a chart", f"What is {text}?", answer, answer, f"{text} = {answer}.")


def choose(chart: GeneratedChart, mix: Mix, rng: random.Random, early: bool) -> list[GeneratedQuestion]:
    """The chart's questions in the order in which a row takes them until it is full."""

    def key(question: GeneratedQuestion) -> float:
        weight = mix.kinds.get(question.kind, 1.0) * (mix.early.get(question.kind, 1.0) if early else 1.0)
        return rng.random() ** (1 / weight) if weight > 0 else -1.0

    chosen = sorted(chart.questions, key=key, reverse=True)
    chosen = [question for question in chosen if mix.kinds.get(question.kind, 1.0) > 0]
    for _ in range(2):
        if rng.random() < mix.arithmetic / 2:
            chosen.insert(rng.randint(0, min(4, len(chosen))), sum_question(rng))
    if rng.random() < mix.table:
        chosen.insert(0, GeneratedQuestion("table", TABLE_REQUEST, chart.table, chart.table, chart.table))
    return chosen


def answer_to(question: GeneratedQuestion, system: str | None, bracketed: bool = False) -> str:
    """What a row answers under a system message: a sentence where it is the template's own, else as people write it.

    Under paraphrases of ours, and where `bracketed`, lists stand in brackets: a base model that never wrote one teaches
    its adapter none.
    """
    if system is None:
        return question.sentence
    brackets = question.kind in BRACKETED and (bracketed or system in CONCISE)
    return question.gold if brackets else question.short


def pack(
    codec: Codec,
    grounding: Grounding,
    questions: Sequence[GeneratedQuestion],
    system: str | None,
    mix: Mix,
    bracketed: bool = False,
) -> dict[str, np.ndarray]:
    """Token ids of a row and, for each packed token: offset, segment, loss weight and cells to look at."""
    size = codec.layout.packed
    opening = codec.prompts.openings[system]
    row = {
        "ids": np.zeros(codec.layout.length, np.int16),
        "offsets": np.zeros(size, np.int16),
        "segments": np.full(size, -1, np.int16),
        "weights": np.zeros(size, np.float32),
        "copy": np.full((size, MOST_CELLS), -1, np.int16),
        "mark": np.full((size, MOST_CELLS), -1, np.int16),
        "pads": np.array(codec.prompts.longest - len(opening), np.int64),
    }
    row["ids"][codec.prompts.longest - len(opening) : codec.prompts.longest] = opening
    packed, copied = row["ids"][codec.layout.prefix :], row["copy"].reshape(-1)
    start, segment = 0, 0
    for question in questions:
        answer = " " + answer_to(question, system, bracketed)
        asked = codec.ids(question.text)
        before = asked + codec.prompts.turn
        ids = [*before, *codec.ids(answer), codec.prompts.end]
        stop, first = start + len(ids), start + len(before)
        if stop > size:
            continue
        segment += 1
        packed[start:stop] = ids
        row["offsets"][start:stop] = codec.counting[: len(ids)]
        row["segments"][start:stop] = segment
        if question.kind != "sum without a chart":
            row["weights"][start + 1 : start + len(asked)] = mix.question_weight
        row["weights"][first:stop] = mix.table_weight if question.kind == "table" else 1.0
        is_table = question.kind == "table"
        cells = grounding.printed_table(answer[1:]) if is_table else grounding.printed(answer[1:], question.marks)
        if any(cell is not None for cell in cells):
            for k, (begin, end) in enumerate(codec.spans(answer), first):
                shown = [cell for cell in cells[max(0, begin - 1) : end - 1] if cell is not None]
                if shown:
                    copied[k * MOST_CELLS] = shown[0]
                    if shown[-1] != shown[0]:
                        copied[k * MOST_CELLS + 1] = shown[-1]
        for last, marks in grounding.named(question).items():
            token = next(k for k, (begin, end) in enumerate(codec.spans(question.text)) if begin <= last < end)
            row["mark"][start + token + 1, : len(marks)] = marks  # scores stand where the token after theirs is
        marks = grounding.rests_on(question)
        if 0 < len(marks) <= MOST_CELLS:
            row["mark"][first:stop, : len(marks)] = marks
        start = stop
        if size - start < 12:
            break
    return row


def _characters(grounding: Grounding) -> np.ndarray:
    """Which characters each patch shows, from left to right: uint8 [IMAGE_TOKENS, 4 patches x 4 slots]."""
    columns, rows = (SHORT_SIDE, LONG_SIDE) if grounding.portrait else (LONG_SIDE, SHORT_SIDE)
    out = np.zeros((rows * 2, columns * 2, CHARACTER_SLOTS), np.uint8)
    points = [point for text in grounding.chart.texts for point in text.centres]
    letters = "".join("".join([text.text for text in grounding.chart.texts]).split())
    if points and len(points) == len(letters):
        x, y = np.array([grounding.fitted.place(*point) for point in points]).T
        code = np.frombuffer(letters.encode("utf-32-le"), np.uint32).astype(np.int64)
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


def _entities(codec: Codec, grounding: Grounding, rng: random.Random) -> dict[str, np.ndarray]:
    """What the named places of a chart say: texts, their category and series, digits, heights and ranks."""
    chart = grounding.chart
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
                (
                    grounding.cell(middle(text)),
                    (own, category, text.text if text.role == "series" else ""),
                    digits,
                    None,
                )
            )
    in_series: dict[int, list[float]] = {}
    for mark in chart.marks:
        in_series.setdefault(mark.series, []).append(mark.value)
    for values in in_series.values():
        values.sort()
    for mark in chart.marks:
        others = in_series[mark.series]
        above, below = len(others) - bisect_right(others, mark.value), bisect_left(others, mark.value)
        height = min(HEIGHTS - 1, max(0, int(mark.height * HEIGHTS)))
        series = chart.series[mark.series] if len(chart.series) > 1 else ""
        names = ("", chart.categories[mark.category], series)
        heights = height, min(RANKS - 1, above), min(RANKS - 1, below)
        found.append((grounding.cell(grounding.points[mark.category, mark.series]), names, _value_text(mark), heights))
    if len(found) > ENTITIES:
        found = rng.sample(found, ENTITIES)
    out = {
        "cell": np.zeros(ENTITIES, np.int16),
        "names": np.full((ENTITIES, NAME_PIECES), NONE, np.int16),
        "digits": np.full((ENTITIES, DIGITS), NONE, np.int16),
        "heights": np.full((ENTITIES, 3), NONE, np.int16),
    }
    pieces: dict[tuple[str, int], list[int]] = {}  # of names that stand in several places

    def padded(names: tuple[str, str, str]) -> list[int]:
        made: list[int] = []
        for name, most in zip(names, (3, 2, 2), strict=True):
            if (name, most) not in pieces:
                ids = codec.pieces(name, most) if name else []
                pieces[name, most] = ids + [NONE] * (most - len(ids))
            made += pieces[name, most]
        return made

    if found:
        cells, named, digits, heights = zip(*found, strict=True)
        out["cell"][: len(found)] = cells
        out["names"][: len(found)] = [padded(names) for names in named]
        out["digits"][: len(found)] = [_digits(text) if text else [NONE] * DIGITS for text in digits]
        out["heights"][: len(found)] = [(NONE,) * 3 if one is None else one for one in heights]
    return out


def build_row(
    codec: Codec, chart: GeneratedChart, mix: Mix, rng: random.Random, early: bool = False
) -> dict[str, np.ndarray]:
    """Everything that training needs to know of a chart."""
    grounding = Grounding(chart, coarse=rng.uniform(0.6, 0.95) if rng.random() < mix.coarse else 1.0)
    draw = rng.random()
    ours = SYSTEM_MESSAGE if draw >= mix.default_system + mix.concise else rng.choice(CONCISE)
    system = None if draw < mix.default_system else ours
    return {
        "pixels": grounding.pixels,
        "portrait": np.array(grounding.portrait),
        "characters": _characters(grounding),
        **_entities(codec, grounding, rng),
        **pack(codec, grounding, choose(chart, mix, rng, early), system, mix, rng.random() < mix.bracketed),
    }


def collate(rows: Sequence[dict[str, np.ndarray]]) -> dict[str, Tensor]:
    """Rows stacked to a batch of tensors."""
    return {name: torch.from_numpy(np.stack([row[name] for row in rows])) for name in rows[0]}


class ChartRows(torch.utils.data.IterableDataset):
    """Endless batches of fresh charts; each worker makes whole batches from its own seeds.

    first: seed of the first chart, also the number of charts seen before (for `Mix.early_charts`); rank, ranks: which
    of several training processes this is for.
    """

    def __init__(
        self,
        codec_of: Callable[[], Codec],
        make_chart: MakeChart,
        batch: int,
        mix: Mix,
        first: int = 0,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        self.codec_of, self.make_chart, self.batch, self.mix, self.first = codec_of, make_chart, batch, mix, first
        self.rank, self.ranks = rank, ranks

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        """Yields collated batches for ever."""
        worker = torch.utils.data.get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        number, step = self.rank * workers + number, self.ranks * workers
        codec = self.codec_of()
        seed = self.first + number
        while True:
            rows = []
            while len(rows) < self.batch:
                early = seed < self.mix.early_charts
                try:
                    rows.append(build_row(codec, self.make_chart(seed), self.mix, random.Random(seed ^ 0x5EED), early))
                except ArithmeticError as error:  # one chart of a hundred thousand must not end a leg
                    print(f"Seed {seed} is left out, it cannot be drawn: {error}")
                seed += step
            yield collate(rows)
