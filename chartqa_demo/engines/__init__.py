"""What every engine is: something with `answer(image, question, arms, options) -> Iterator[Answers]`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

from PIL import Image

from chartqa_demo.arms import Arm
from chartqa_demo.settings import Settings

# Qwen2-VL's own temperature. Over much less logits leave float32, which samples the likeliest token at best.
GREEDY_BELOW = 0.01
# Pieces of an answer. Qwen2-VL writes digit by digit: a trillion has ",000" four times, a list of four equal values
# such as "25.5%, " has 26 tokens and one of eight zeros 22. None of them is cut; a line "10" is said nine times.
SAID_AGAIN = 24
BETWEEN = " \t\n,;/|"  # what may lie between a runaway's blocks, and says nothing behind the one that is kept
Ended = Literal["end", "limit", "repetition"]
Piece = TypeVar("Piece")


@dataclass(frozen=True)
class Options:
    """Generation settings of one question. temperature below GREEDY_BELOW is greedy; seed: of what is sampled, None for
    another answer each time; system replaces the prompted arm's message;
    max_pixels caps the chart's area for this question (None: the engine's own limit)."""

    max_new_tokens: int = 96
    temperature: float = 0.0
    max_pixels: int | None = None
    system: str | None = None
    seed: int | None = None

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token is always taken."""
        return not self.temperature >= GREEDY_BELOW  # NaN, too


@dataclass(frozen=True)
class Answer:
    """One arm's answer so far. Times in seconds since the question reached the engine. error: a sentence for the
    visitor; error_kind: one word for the operator's metrics; recorded: a sentence that says when and by which model,
    where the answer was recorded earlier; ended: why it is done, by itself, at the limit of its length, or because it
    only repeated itself (the text then holds what it repeated once, tokens counts all). None while it is not, and where
    it failed. log_probability: of all its tokens, its end included, natural; None while any arm goes on, and where the
    model's probabilities are not known. confidence: how likely it is right by `engines.trust`, 0 to 1, None where that
    was not measured."""

    arm: str
    text: str = ""
    tokens: int = 0
    first_token_s: float | None = None
    total_s: float | None = None
    done: bool = False
    error: str | None = None
    error_kind: str | None = None
    recorded: str | None = None
    ended: Ended | None = None
    log_probability: float | None = None
    confidence: float | None = None


Answers = tuple[Answer, ...]
ByAdapter = tuple[tuple[str, Answer], ...]  # (adapter, its answer)


@dataclass(frozen=True)
class Gaze:
    """Where an arm looked. cells: rows of a grid over the picture, the hottest is 1; box: what the grid covers, x0, y0,
    x1, y1 as fractions of the picture's width and height; it may end outside of it."""

    cells: tuple[tuple[float, ...], ...]
    box: tuple[float, float, float, float]


Gazes = dict[str, Gaze]  # by arm key


class Engine(Protocol):
    """title: the base model that answers, for a person; adapter: the adapter of the third arm, None for none; former:
    the one before it, which can still be asked, None for none; notes: what a visitor has to know; arms: in page order;
    bundled: the small model of this repository answers; parallel: how many questions it answers at the same time."""

    title: str
    adapter: str | None
    former: str | None
    notes: tuple[str, ...]
    arms: tuple[Arm, ...]
    bundled: bool
    parallel: int

    def answer(self, image: Image.Image, question: str, arms: Sequence[Arm], options: Options) -> Iterator[Answers]:
        """Stream one question: each item holds every arm's answer so far, the last has all `done`.
        Closing the iterator stops the generation. Raises EngineError."""
        ...

    def answer_many(
        self, items: Sequence[tuple[Image.Image, str]], arms: Sequence[Arm], options: Options
    ) -> list[Answers]:
        """Answer many questions in large mixed batches (evaluation); one tuple of finished answers per item,
        in the order given. Raises EngineError."""
        ...

    def prompt_text(self, arm: Arm, question: str, options: Options) -> str:
        """The exact text that `arm` receives, special tokens and the template's default system text included."""
        ...

    def gazes(self, image: Image.Image, question: str, arms: Sequence[Arm], said: Answers, options: Options) -> Gazes:
        """Where the arms looked for what they said; without those of which it was not measured that this shows it.
        Raises EngineError."""
        ...

    def answer_former(self, image: Image.Image, question: str, options: Options) -> ByAdapter:
        """What the former adapter answers, and then the one in use, each with its name; nothing where there is no
        former. Other questions wait meanwhile, and are answered by the one in use. Raises EngineError."""
        ...

    def use_adapter(self, name: str) -> None:
        """Serve another adapter (local folder or Hub id) in the third arm from the next question on.
        Raises EngineError, and then the adapter in use stays."""
        ...


def said_again(said: Sequence[Piece]) -> int:
    """How many of an answer's last pieces (token ids, or pieces of its text) only repeat the block before them, over
    and over; 0 for an answer that may go on. Every way of answering ends an answer by this: a block of any length, then
    the same for SAID_AGAIN pieces and twice at least."""
    blocks = range(1, len(said) // 3 + 1) if len(said) > SAID_AGAIN else ()
    for block in (size for size in blocks if said[-1] == said[-1 - size]):
        again = max(SAID_AGAIN, 2 * block)
        if block + again <= len(said) and said[-again:] == said[-again - block : -block]:
            while block + again < len(said) and said[-again - 1] == said[-again - 1 - block]:
                again += 1  # text comes in larger parts than its pieces
            return again
    return 0


def ending(said: Sequence[Piece], longest: int) -> tuple[Sequence[Piece], Ended]:
    """Of the pieces of an answer that is done, of `longest` at most, those to be shown; and why it ended."""
    if again := said_again(said):
        return said[:-again], "repetition"
    return said, "limit" if len(said) >= longest else "end"


def no_adapter(arm: Arm) -> Answer:
    """The answer of an arm whose adapter is not there."""
    return Answer(arm.key, done=True, error="No adapter is loaded. Start the app with --adapter.")


def load_engine(settings: Settings) -> Engine:
    """The engine that the settings ask for; torch is only imported when a model is, and then
    the process is set up for it (`startup`). Raises EngineError."""
    if settings.scripted:
        from chartqa_demo.engines.scripted import ScriptedEngine

        return ScriptedEngine()
    if settings.endpoint is not None:
        from chartqa_demo.engines.endpoint import EndpointEngine

        return EndpointEngine(settings)
    from chartqa_demo.engines.startup import start_up

    start_up(settings)  # before anything imports PEFT
    from chartqa_demo.engines.local import load_local

    return load_local(settings)
