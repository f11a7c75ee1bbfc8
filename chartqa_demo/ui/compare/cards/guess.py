"""Guess first: the arms' names and the gold answer stay hidden until the visitor has answered or voted for the best.

The cards stand in another order then, the same for the same question, and what is hidden is not in the page at all. The
visitor's answer is judged as an arm's is. `browser/guesses.js` sends it, and keeps, counts and exports the guesses.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape

from chartqa_demo.arms import Arm
from chartqa_demo.evaluate.rules import best_verdict
from chartqa_demo.ui.compare.question import MAX_GOLD, Question
from chartqa_demo.ui.markup import verdict

LETTERS = "ABCDEF"
NONE = "none"
VISITOR = Arm("you", "You", None, False, "")
ABOUT = "One of the arms, named once you answer or vote."


@dataclass(frozen=True)
class Guess:
    """What the visitor said before the names were shown: an answer, a vote (key of an arm, NONE), or neither."""

    text: str = ""
    best: str = ""


def order_of(asked: Question | None, count: int) -> list[int]:
    """Which arm each card shows: in the usual order, or shuffled by the question where names are hidden."""
    order = list(range(count))
    if asked and asked.blind:
        random.Random(f"{asked.chart_name}\n{asked.text}").shuffle(order)
    return order


def unnamed(place: int) -> Arm:
    """What stands on a card while its arm is hidden."""
    return Arm(LETTERS[place], f"Answer {LETTERS[place]}", None, False, ABOUT)


def without_gold(asked: Question) -> Question:
    """What may be known of a question while its gold answer is hidden."""
    return replace(asked, gold=(), gold_from="", sampled=(), sampled_from="")


def read_guess(text: object, best: object, asked: Question, arms: Sequence[Arm]) -> Guess:
    """A guess as the browser sent it, where anything can come from; best: a letter, NONE, or empty."""
    keys = {LETTERS[place]: arms[index].key for place, index in enumerate(order_of(asked, len(arms)))}
    said = text.strip()[:MAX_GOLD] if isinstance(text, str) else ""
    return Guess(said, {**keys, NONE: NONE}.get(best, "") if isinstance(best, str) else "")


def guess_panel(count: int) -> str:
    """The form: an answer of one's own, a vote for the best, or neither."""
    votes = "".join(
        f'<button type="button" data-best="{letter}" aria-label="Answer {letter} is the best">{letter}</button>'
        for letter in LETTERS[:count]
    )
    return (
        '<form class="guess" aria-label="Your guess">'
        f'<label>Your answer <input name="guess" required maxlength="{MAX_GOLD}" autocomplete="off"></label>'
        '<button type="submit">Guess</button>'
        f'<span class="votes" role="group" aria-label="Vote for the best answer"><span>or vote:</span> {votes}'
        f'<button type="button" data-best="{NONE}">None</button></span>'
        '<button type="button" data-best="" class="show">Show</button>'
        '<span class="told" role="status"></span></form>'
    )


def guessed_line(asked: Question, guess: Guess, arms: Sequence[Arm]) -> str:
    """What the visitor said, with its verdict, in the place of the form."""
    told = ""
    if guess.text:
        told += f'<p>Your answer: <strong class="answer" dir="auto">{escape(guess.text)}</strong></p>'
        if asked.gold:
            judged = best_verdict(guess.text, asked.gold)
            told += verdict(judged.standing, judged.told)
    for place, index in enumerate(order_of(asked, len(arms))):
        if arms[index].key == guess.best:
            told += f"<p>Your vote: answer {LETTERS[place]}, by <strong>{escape(arms[index].title)}</strong>.</p>"
    if guess.best == NONE:
        told += "<p>Your vote: none of them.</p>"
    if not told:
        told = "<p>Shown without a guess: it does not count.</p>"
    elif guess.text and asked.gold_from == "you":
        told += "<p>The gold answer is your own: it does not count.</p>"
    return f'<div class="guessed" tabindex="-1">{told}</div>'
