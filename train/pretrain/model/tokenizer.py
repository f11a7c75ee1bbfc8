"""The bundled model's tokenizer (2,048 pieces, Qwen2's rules) and the token ids of its prompts.

Prompt text comes from `chartqa_demo.arms` through the exported chat template, so training sees the same tokens as the
app. An answer begins with a space: then a name is the same pieces in question and answer. The template is Qwen2-VL's
with that one change.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from chartqa_demo.arms import PRETRAINED, PROMPTED, SYSTEM_MESSAGE, messages
from train.pretrain.layout import IMAGE_TOKENS
from train.pretrain.scene import GeneratedChart

SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
CHAT_TEMPLATE = Path(__file__).with_name("chat_template.jinja")
TABLE_REQUEST = "Extract the data table."
# Other ways in which people ask for a short answer, so that an edited system message still works.
CONCISE = (
    "Answer with a single word or number.",
    "You read charts. Answer concisely, without explanation.",
    "You are a chart assistant. Give only the answer: a word, a number or a short phrase.",
    "Look at the chart and answer the question in as few words as possible.",
    "Answer the question using a single word or phrase.",
    "Be brief. Do not explain.",
)
# Qwen2's own splitting rule: words with the space before them, single digits, punctuation.
QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# The same rule where a text is all ASCII, for Python's own `re`. Each word is then encoded by itself.
ASCII_WORDS = re.compile(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\nA-Za-z0-9]?[A-Za-z]+|[0-9]| ?[^\sA-Za-z0-9]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
MARK = "QUESTION"  # stands for the question while a prompt is cut in two


def build_tokenizer(charts: Iterator[GeneratedChart], vocabulary: int) -> Tokenizer:
    """A byte-level BPE of `vocabulary` pieces learnt from the texts, questions and answers of generated charts.

    System messages are repeated until each of their words is one piece.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(  # pyright: ignore[reportAttributeAccessIssue]
        [
            pre_tokenizers.Split(Regex(QWEN2_SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer.train_from_iterator(
        _corpus(charts),
        trainers.BpeTrainer(
            vocab_size=vocabulary,
            special_tokens=list(SPECIAL),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return tokenizer


def _corpus(charts: Iterator[GeneratedChart]) -> Iterator[str]:
    for _ in range(400):
        yield from (SYSTEM_MESSAGE, "You are a helpful assistant.", "system\n", "user\n", "assistant\n", TABLE_REQUEST)
        yield from CONCISE
    for index, chart in enumerate(charts):
        yield chart.table
        for name in (*chart.categories, *chart.series):
            yield f" {name}"
        for k, question in enumerate(chart.questions):
            yield f"{question.text} {question.sentence if (index + k) % 3 == 0 else question.short}"


@dataclass(frozen=True)
class Prompts:
    """The token ids around a question: `openings` by system message (None is the template's default), `turn` after it.

    An opening ends with <|vision_end|> and holds the image tokens.
    """

    openings: dict[str | None, list[int]]
    turn: list[int]
    end: int

    @property
    def longest(self) -> int:
        """Tokens of the longest opening."""
        return max(map(len, self.openings.values()))


def render(conversation: list[dict], generate: bool = True) -> str:
    """The text of a conversation under the exported chat template, as transformers renders it."""
    environment = Environment(trim_blocks=True, lstrip_blocks=True, autoescape=False)
    template = environment.from_string(CHAT_TEMPLATE.read_text())
    return template.render(messages=conversation, add_generation_prompt=generate)


def prompts(encode: Callable[[str], list[int]], end: int) -> Prompts:
    """The token ids of every prompt that training uses, rendered from `chartqa_demo.arms.messages`."""
    openings: dict[str | None, list[int]] = {}
    turn: list[int] = []
    for system in (None, SYSTEM_MESSAGE, *CONCISE):
        arm = PRETRAINED if system is None else PROMPTED
        before, after = render(messages(arm, MARK, system)).split(MARK)
        openings[system] = encode(before.replace("<|image_pad|>", "<|image_pad|>" * IMAGE_TOKENS))
        turn = encode(after)
    return Prompts(openings, turn, end)
