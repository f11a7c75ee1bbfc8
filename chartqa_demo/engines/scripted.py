"""An engine without a model: it replays texts word by word.

The page's tests use it, and `python app.py --scripted` serves anyone who works on the look of the page.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import count

from PIL import Image

from chartqa_demo.arms import ARMS, Arm, messages
from chartqa_demo.engines import Answer, Answers, ByAdapter, Gazes, Options
from chartqa_demo.errors import EngineError

TEMPLATE_SYSTEM = (
    "You are a helpful assistant."  # what Qwen2-VL's chat template inserts when a prompt has no system turn
)

KEPT = 32  # questions with their pictures

Script = Callable[[Arm, str], str]


def made_up(arm: Arm, question: str) -> str:
    """A text per arm in the length and manner of the real answers: a sentence, a phrase, a number."""
    if arm.system is None:
        return "No model has looked at this chart: this sentence is here to be read while it grows. It is 42."
    return "42" if arm.adapter else "It is 42."


class ScriptedEngine:
    """`script(arm, question)` is the whole answer of an arm and may raise EngineError for that arm alone.

    `pace(step)` runs before every word, by default a sleep of `delay` seconds. `failure` is raised after the first
    word of the next question. `questions` lists what was asked last; `idle` is set while nothing is being answered.
    """

    def __init__(self, delay: float = 0.08, script: Script = made_up, arms: Sequence[Arm] = ARMS) -> None:
        self.title = "Scripted answers, no model"
        self.notes: tuple[str, ...] = (
            "Texts are replayed word by word for work on the page; nothing reads the chart.",
        )
        self.arms = tuple(arms)
        self.adapter: str | None = None
        self.former: str | None = None
        self.bundled = False
        self.parallel = 1
        self.delay = delay
        self.script = script
        self.pace: Callable[[int], None] = lambda step: time.sleep(self.delay)
        self.failure: Exception | None = None
        self.questions: list[tuple[Image.Image, str, Options]] = []
        self.idle = threading.Event()
        self.idle.set()

    def answer(self, image: Image.Image, question: str, arms: Sequence[Arm], options: Options) -> Iterator[Answers]:
        """One more word of every arm per item. Raises EngineError, or whatever `failure` holds."""
        self.questions.append((image, question, options))
        del self.questions[:-KEPT]
        self.idle.clear()
        started = time.perf_counter()
        try:
            replies = [self._reply(arm, question) for arm in arms]
            answers = tuple(Answer(arm.key) for arm in arms)
            for step in count(1):
                self.pace(step)
                seconds = time.perf_counter() - started
                answers = tuple(
                    before if before.done else _advance(before, reply, step, options.max_new_tokens, seconds)
                    for before, reply in zip(answers, replies, strict=True)
                )
                yield answers
                if self.failure is not None:
                    failure, self.failure = self.failure, None
                    raise failure
                if all(answer.done for answer in answers):
                    return
        finally:
            self.idle.set()

    def answer_many(
        self, items: Sequence[tuple[Image.Image, str]], arms: Sequence[Arm], options: Options
    ) -> list[Answers]:
        """The finished answers, one question after another. Raises EngineError."""
        return [list(self.answer(image, question, arms, options))[-1] for image, question in items]

    def prompt_text(self, arm: Arm, question: str, options: Options) -> str:
        """The prompt in the form of Qwen2-VL's chat template, with one <|image_pad|> for the chart."""
        turns = messages(arm, question, None if arm.adapter else options.system)
        if turns[0]["role"] != "system":
            turns.insert(0, {"role": "system", "content": [{"type": "text", "text": TEMPLATE_SYSTEM}]})
        text = ""
        for turn in turns:
            parts = (
                part["text"] if part["type"] == "text" else "<|vision_start|><|image_pad|><|vision_end|>"
                for part in turn["content"]
            )
            text += f"<|im_start|>{turn['role']}\n{''.join(parts)}<|im_end|>\n"
        return text + "<|im_start|>assistant\n"

    def gazes(self, image: Image.Image, question: str, arms: Sequence[Arm], said: Answers, options: Options) -> Gazes:
        """Nothing looks at the chart."""
        return {}

    def answer_former(self, image: Image.Image, question: str, options: Options) -> ByAdapter:
        """Nothing: no adapter is exchanged here."""
        return ()

    def use_adapter(self, name: str) -> None:
        """Always raises EngineError: there is no model to put it on."""
        raise EngineError(f"{name} needs a model, and these answers are scripted. Start without --scripted.")

    def _reply(self, arm: Arm, question: str) -> str | EngineError:
        try:
            return self.script(arm, question)
        except EngineError as error:
            return error


def _advance(before: Answer, reply: str | EngineError, step: int, limit: int, seconds: float) -> Answer:
    if isinstance(reply, EngineError):
        return Answer(before.arm, total_s=seconds, done=True, error=str(reply))
    words = reply.split(" ")
    length = min(len(words), limit)
    done = step >= length
    first = seconds if before.first_token_s is None else before.first_token_s
    text = " ".join(words[: min(step, length)])
    ended = ("limit" if length >= limit else "end") if done else None
    return Answer(before.arm, text, min(step, length), first, seconds if done else None, done, ended=ended)
