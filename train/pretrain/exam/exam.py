"""Greedy answers to questions about charts never seen in training, many at a time, and how many of them are right.

Accuracy with the right answer fed in lies (copied tokens look right from the first step on), so every figure here is
of text that the model wrote by itself.
"""

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from chartqa_demo.arms import SYSTEM_MESSAGE
from train.pretrain.legs.grounding import Grounding
from train.pretrain.legs.rows import Codec
from train.pretrain.model.network import Parameters, Reader
from train.pretrain.scene import GeneratedChart, GeneratedQuestion

MOST_TOKENS = 28
CHARTS_AT_ONCE = 128
QUESTIONS_AT_ONCE = 512


@dataclass(frozen=True)
class Sheet:
    """One chart of an exam: canvas pixels, orientation, what kind of chart it is and its questions."""

    pixels: np.ndarray
    portrait: bool
    kind: str
    look: str
    names: frozenset[str]
    questions: tuple[GeneratedQuestion, ...]


def sheet(chart: GeneratedChart, most: int, seed: int) -> Sheet:
    """A chart's exam: at most `most` of its questions, one of each kind before a second of any."""
    order = np.random.default_rng(seed).permutation(len(chart.questions))
    taken: defaultdict[str, int] = defaultdict(int)
    ranked = []
    for index in order:
        question = chart.questions[index]
        ranked.append((taken[question.kind], len(ranked), question))
        taken[question.kind] += 1
    questions = tuple(question for _, _, question in sorted(ranked, key=lambda x: x[:2])[:most])
    grounding = Grounding(chart)
    names = frozenset((*chart.categories, *chart.series))
    return Sheet(grounding.pixels, grounding.portrait, chart.kind, chart.look, names, questions)


def sheets(make: Callable[[int], Sheet], seeds: Sequence[int], workers: int) -> list[Sheet]:
    """`make` of every seed, in `workers` processes (call before CUDA is used: they are forked)."""
    if workers < 2:
        return [make(seed) for seed in seeds]
    with ProcessPoolExecutor(workers, mp_context=get_context("fork")) as pool:
        return list(pool.map(make, seeds, chunksize=8))


@torch.no_grad()
def answers(
    reader: Reader, p: Parameters, codec: Codec, exam: Sequence[Sheet], system: str | None = SYSTEM_MESSAGE
) -> list[list[str]]:
    """Greedy answers to each sheet's questions under one system message (None: the chat template's own)."""
    out: list[list[str]] = []
    for group in _chunks(exam, CHARTS_AT_ONCE):
        cache = _Prefix(reader, p, codec, group, system)
        asked = [(index, question.text) for index, page in enumerate(group) for question in page.questions]
        flat: list[str] = []
        for part in _chunks(asked, QUESTIONS_AT_ONCE):
            flat += cache.answer(part)
        texts = iter(flat)
        out += [[next(texts) for _ in page.questions] for page in group]
    return out


def _chunks(items: Sequence, size: int) -> Iterator[Sequence]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """Plain attention: the fast kernels do not take every mask of these shapes."""
    with sdpa_kernel([SDPBackend.MATH]):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)


class _Prefix:
    """Keys and values of charts' prefixes, and the decoding of questions that continue them."""

    def __init__(self, reader: Reader, p: Parameters, codec: Codec, group: Sequence[Sheet], system: str | None) -> None:
        self.reader, self.p, self.codec = reader, p, codec
        self.device = reader.device
        opening = codec.prompts.openings[system]
        layout = codec.layout
        self.pads = layout.prefix - len(opening)
        pixels = torch.from_numpy(np.stack([page.pixels for page in group])).to(self.device)
        portrait = torch.tensor([page.portrait for page in group], device=self.device)
        ids = torch.tensor([[0] * self.pads + opening], device=self.device).expand(len(group), -1)
        image = reader.vision(p, pixels, portrait)
        x = reader.prefix_embeddings(p, image, ids)
        place = torch.arange(layout.prefix, device=self.device)
        mask = (place[:, None] >= place[None]) & (place[None] >= self.pads)
        mask |= torch.eye(layout.prefix, dtype=torch.bool, device=self.device)
        self.layers: list[tuple[Tensor, Tensor]] = []

        def attend(i: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            self.layers.append((k, v))
            return _attention(q, k, v, mask)

        for i in range(reader.sizes.text_layers):
            x = reader.layer(p, i, x, reader.prefix_turn(portrait), attend)

    def answer(self, asked: Sequence[tuple[int, str]]) -> list[str]:
        """Answers to (chart, question) pairs, decoded together."""
        reader, prefix = self.reader, self.codec.layout.prefix
        turns = [self.codec.ids(text) + self.codec.prompts.turn for _, text in asked]
        length = torch.tensor([len(turn) for turn in turns], device=self.device)
        longest = int(length.max())
        ids = torch.tensor([turn + [0] * (longest - len(turn)) for turn in turns], device=self.device)
        chart = torch.tensor([index for index, _ in asked], device=self.device)
        slots = prefix + longest + MOST_TOKENS
        keys = [F.pad(k[chart], (0, 0, 0, slots - prefix)) for k, _ in self.layers]
        values = [F.pad(v[chart], (0, 0, 0, slots - prefix)) for _, v in self.layers]
        place = torch.arange(slots, device=self.device)
        open_to = (place[None] >= self.pads) & (place[None] < prefix + length[:, None])  # [questions, slots]

        def extend(new: Tensor, offsets: Tensor, start: int, mask: Tensor) -> Tensor:
            x = F.embedding(new, self.p["model.language_model.embed_tokens.weight"]).to(reader.dtype)
            stop = start + new.shape[1]

            def attend(i: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
                keys[i][:, :, start:stop], values[i][:, :, start:stop] = k, v
                return _attention(q, keys[i], values[i], mask)

            for i in range(reader.sizes.text_layers):
                x = reader.layer(self.p, i, x, reader.packed_turn(offsets), attend)
            return x

        offsets = torch.arange(longest, device=self.device).expand(len(asked), -1)
        causal = place[None] <= prefix + torch.arange(longest, device=self.device)[:, None]
        x = extend(ids, offsets, prefix, (open_to[:, None] & causal[None])[:, None])
        x = x.gather(1, (length - 1)[:, None, None].expand(-1, 1, x.shape[-1]))
        written: list[Tensor] = []
        ended = torch.zeros(len(asked), dtype=torch.bool, device=self.device)
        for step in range(MOST_TOKENS):
            token = reader.logits(self.p, x)[:, -1].float().argmax(-1)
            token = torch.where(ended, self.codec.prompts.end, token)
            ended |= token == self.codec.prompts.end
            written.append(token)
            if step == MOST_TOKENS - 1 or bool(ended.all()):
                break
            slot = prefix + longest + step
            open_to = open_to | (place[None] == slot)
            x = extend(token[:, None], (length + step)[:, None], slot, open_to[:, None, None])
        rows = torch.stack(written, 1).tolist()
        end = self.codec.prompts.end
        return [self.codec.tokenizer.decode(row[: row.index(end)] if end in row else row).strip() for row in rows]


def number(text: str) -> float | None:
    """The first number written in `text`, separators removed, or None."""
    found = re.search(r"[-\u2212]?\d[\d, \u00a0\u202f]*(?:\.\d+)?", text)
    return float(re.sub(r"[, \u00a0\u202f]", "", found[0]).replace("\u2212", "-")) if found else None


def near(answer: str, gold: str) -> bool:
    """Whether two numeric answers are within 5 % of each other."""
    a, b = number(answer), number(gold)
    return a is not None and b is not None and math.isfinite(a) and abs(a - b) <= 0.05 * abs(b)


def marks(exam: Sequence[Sheet], given: Sequence[Sequence[str]]) -> dict[str, list[int]]:
    """[asked, exact, exact or a number within 5 %] by question kind, chart kind, look and whether labels are printed.

    Exact is the same text as the question's short form.
    """
    table: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for page, texts in zip(exam, given, strict=True):
        for question, text in zip(page.questions, texts, strict=True):
            exact = text == question.short
            close = exact or (question.short not in page.names and near(text, question.short))
            printed = "axis only" if question.axis_only else "printed"
            for key in (
                "all",
                printed,
                f"{question.kind}, {printed}",
                f"chart: {page.kind}, {printed}",
                f"look: {page.look}",
            ):
                cell = table[key]
                cell[0] += 1
                cell[1] += exact
                cell[2] += close
    return dict(sorted(table.items()))


def brief(table: dict[str, list[int]]) -> str:
    """One line for the log: exact / within 5 % in percent, per question kind."""
    shown = [key for key in table if not key.startswith(("chart:", "look:"))]
    return "; ".join(
        f"{key} {100 * table[key][1] / table[key][0]:.0f}/{100 * table[key][2] / table[key][0]:.0f}" for key in shown
    )
