"""What is asked of ZeroGPU for a question, and what comes back from its worker, as functions of their own."""

import random
from collections.abc import Iterator

import pytest
from PIL import Image

from chartqa_demo.arms import ARMS
from chartqa_demo.engines import Answer, Answers, Options
from chartqa_demo.space.window import ENOUGH, Job, Learnt, Used, window_seconds
from chartqa_demo.space.zerogpu import thinned

BYTES = 16_600_000_000


def job_of(tokens: int) -> Job:
    return Job(((Image.new("RGB", (800, 557)), "How many?"),), ARMS, Options(max_new_tokens=tokens), streams=True)


def needed(random_: random.Random, tokens: int, cold: bool) -> float:
    """Seconds on a machine that starts in about 6 s, writes about 60 tokens a second, and is now slower, now faster."""
    return random_.lognormvariate(0, 0.15) * (6 * cold + 0.4 + tokens / 60)


@pytest.mark.parametrize(("cold_share", "of_before"), [(0.05, 0.9), (0.5, 1.0)])
def test_a_window_is_too_short_once_in_a_hundred_at_the_most_and_asks_for_less_than_before(
    cold_share: float, of_before: float
) -> None:
    random_, learnt, short, asked, before = random.Random(3), Learnt(), 0, 0, 0
    questions = 2000
    for _ in range(questions):
        job = job_of(random_.choice([16, 64, 64, 64, 256]))
        tokens, cold = random_.randint(2, job.options.max_new_tokens), random_.random() < cold_share
        seconds, reserved = needed(random_, tokens, cold), window_seconds(job, BYTES, learnt)
        asked, before = asked + reserved, before + window_seconds(job, BYTES)
        if seconds > reserved:
            short += 1
            learnt.taken_back()
        else:
            learnt.window(job, Used(seconds, cold, tokens), BYTES)
    assert short <= questions / 100
    assert asked < of_before * before


def test_less_is_asked_for_only_when_enough_windows_are_known_and_more_at_once() -> None:
    job, learnt = job_of(64), Learnt()
    plain = window_seconds(job, BYTES)
    for _ in range(ENOUGH - 1):
        learnt.window(job, Used(1.0, True, 5), BYTES)
    assert window_seconds(job, BYTES, learnt) == plain
    learnt.window(job, Used(1.0, True, 5), BYTES)
    assert window_seconds(job, BYTES, learnt) < plain
    learnt.taken_back()
    assert window_seconds(job, BYTES, learnt) > plain


def test_a_stream_is_thinned_to_its_first_text_and_its_end() -> None:
    closed = []

    def states() -> Iterator[Answers]:
        try:
            for tokens in range(40):
                texts = (" " * (tokens > 2), "b" * tokens)
                yield tuple(Answer(str(n), text, tokens, done=tokens == 39) for n, text in enumerate(texts))
        finally:
            closed.append(True)

    assert [state[0].tokens for state in thinned(states(), 60)] == [0, 3, 39]
    assert [state[0].tokens for state in thinned(states(), 0)] == list(range(40))
    left = thinned(states(), 0)
    next(left)
    left.close()
    assert len(closed) == 3
