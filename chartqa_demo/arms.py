"""The three arms of the comparison, and every word that they are told: what the base model does alone, what our words
add, what our weights add. Page, evaluation and training all build their messages here.

The notebook that this project began from trains its adapter with a system message and then asks without it.
`training_row` is `messages` plus the gold answer, so that mistake cannot be made here.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any

from jinja2 import TemplateError

Message = dict[str, Any]

SYSTEM_MESSAGE = (
    "You are a vision-language model specialised in reading charts. "
    "Analyse the chart and answer the question concisely: a word, a number or a short phrase. "
    "Do not explain unless it is necessary."
)


@dataclass(frozen=True)
class Arm:
    """One column of the page.

    key: stable name in results files and in the API; title: what a visitor reads; system: our system message,
    None for none of ours (the chat template then inserts its own default); adapter: whether the LoRA is active.
    """

    key: str
    title: str
    system: str | None
    adapter: bool
    about: str


PRETRAINED = Arm("pretrained", "Pretrained", None, False, "The base model as it comes, no system message of ours.")
PROMPTED = Arm("prompted", "Prompted", SYSTEM_MESSAGE, False, "The same base model with our system message.")
ADAPTER = Arm("adapter", "Adapter", SYSTEM_MESSAGE, True, "Our LoRA, with the system message it was trained with.")
ARMS = (PRETRAINED, PROMPTED, ADAPTER)


def arms_with(system: str | None) -> tuple[Arm, ...]:
    """The three arms, the adapter's told `system`, which it was trained with; None leaves ours."""
    return (PRETRAINED, PROMPTED, ADAPTER if system is None else replace(ADAPTER, system=system))


def plain_text(text: str, special_tokens: Collection[str] = ()) -> str:
    """A visitor's words as text only: no character sequence in them is read as a special token.

    Qwen2-VL's special tokens are all written `<|name|>` and its processor replaces `<|image_pad|>` wherever it
    finds it in the rendered prompt. A space after each `<` that a `|` follows breaks every such token and keeps
    the words readable. `special_tokens` are those of another family's tokenizer ("[IMG]", "<image>"), broken alike.
    """
    text = text.replace("<|", "< |")
    for token in special_tokens:
        if len(token) > 1 and token in text:
            text = text.replace(token, f"{token[0]} {token[1:]}")
    return text.strip()


def messages(
    arm: Arm, question: str, system: str | None = None, special_tokens: Collection[str] = (), fold_system: bool = False
) -> list[Message]:
    """The conversation that `arm` receives, ending with the visitor's turn.

    The image is a bare placeholder: the caller hands the pixels to the processor (or the data set to the trainer).
    `system` replaces the arm's own system message (the page's editable prompt); an arm without a system message
    of ours never gets one, because "pretrained" has to stay what the model does by itself. `fold_system` lets it open
    the question instead, for families of which `folds_system` says so.
    """
    chosen = arm.system if system is None or arm.system is None else system
    told = plain_text(chosen or "", special_tokens)
    turns: list[Message] = []
    content: list[Message] = [{"type": "image"}, {"type": "text", "text": plain_text(question, special_tokens)}]
    if told and fold_system:
        content.insert(1, {"type": "text", "text": f"{told}\n\n"})
    elif told:
        turns.append({"role": "system", "content": [{"type": "text", "text": told}]})
    return [*turns, {"role": "user", "content": content}]


def folds_system(render: Callable[[list[Message]], str]) -> bool:
    """Whether a family's chat template has no place for a system message beside a picture.

    `render` turns a conversation into text. Llama 3.2 Vision's template refuses such a message, Pixtral's takes no
    parts of text for it and drops it as soon as an answer follows.
    """
    told = "Name the colours."
    turns = messages(PROMPTED, "How many?", told)
    answered = [*turns, {"role": "assistant", "content": [{"type": "text", "text": "4"}]}]
    try:
        return any(text.count(told) != 1 or "'text'" in text for text in map(render, (turns, answered)))
    except (TypeError, ValueError, TemplateError):
        return True


def training_row(arm: Arm, question: str, answer: str, fold_system: bool = False) -> dict[str, list[Message]]:
    """One supervised row: the adapter arm's own messages as prompt, the gold answer as completion.

    TRL puts the loss on the completion only for rows of this form.
    """
    return {
        "prompt": messages(arm, question, fold_system=fold_system),
        "completion": [{"role": "assistant", "content": [{"type": "text", "text": answer}]}],
    }
