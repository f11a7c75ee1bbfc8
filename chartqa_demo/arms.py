"""The three arms of the comparison: what the base model does alone, what our words add, what our weights add."""

from dataclasses import dataclass

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
