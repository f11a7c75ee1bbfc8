"""An answer that only repeats itself is ended, at the same token by every way, and keeps what it repeated once."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from endpoint_server import EndpointServer, endpoint_server, eventually
from safetensors.torch import load_file, save_file
from tiny import build_tiny, build_tokenizer, chart, last

from chartqa_demo.arms import ARMS
from chartqa_demo.engines import Answer, Options, ending, said_again
from chartqa_demo.engines.endpoint import PIECES, EndpointEngine
from chartqa_demo.engines.local import load_local
from chartqa_demo.engines.streaming import RowStreamer
from chartqa_demo.settings import Settings
from chartqa_demo.ui.compare.cards.answers import answer_card

QUESTION = "What is the value of the red bar in 2019?"
END = 9


@pytest.mark.parametrize(
    "answer",
    [
        "1,000,000,000,000",
        "100000000000000000000",
        "0, 0, 0, 0, 0, 0, 0, 0",
        "25.5%, 25.5%, 25.5%, 25.5%",
        "10 10 10 10 10 10 10",
        "[2015, 2016, 2017, 2018, 2019, 2020, 2021, 2022]",
        "Yes. Yes. Yes.",
        "Germany, Germany, Germany",
        "0.111111111111111111111",
        "The value is 10. The value in 2010 is 10. The value in 2011 is 10.",
    ],
)
def test_what_may_be_asked_for_is_not_cut(answer: str) -> None:
    pieces = PIECES.findall(answer)  # as large as Qwen2-VL's tokens
    assert "".join(pieces) == answer
    assert not any(said_again(pieces[:count]) for count in range(len(pieces) + 1))


@pytest.mark.parametrize(
    ("line", "before", "kept", "most"),
    [
        ("10\n", "", "10\n", 27),
        ("1", "0.", "0.1", 27),
        (", 12", "In 2015: 7", "In 2015: 7, 12", 40),
        ("10 / ", "", "10 / ", 29),
        ("The value of the red bar is 10.\n", "", "The value of the red bar is 10.\n", 57),
    ],
)
def test_a_runaway_ends_and_keeps_its_block_once(line: str, before: str, kept: str, most: int) -> None:
    said, rest = [], PIECES.findall(before + 100 * line)
    while not said_again(said):
        said.append(rest[len(said)])
    assert len(said) <= most
    shown, why = ending(said, 64)
    assert ("".join(shown), why) == (kept, "repetition")


def test_an_answer_says_whether_it_ended_by_itself_or_at_the_limit() -> None:
    assert ending([1, 2, 3], 4) == ([1, 2, 3], "end")
    assert ending([1, 2, 3, 4], 4) == ([1, 2, 3, 4], "limit")


def test_the_other_rows_of_a_batch_go_on() -> None:
    streamer = RowStreamer(2, [END])
    for step in range(40):
        streamer.put_tokens(torch.tensor([5, END + 1 + step]))
    assert [len(row.ids) for row in streamer.rows] == [25, 40]
    assert [row.done_at is None for row in streamer.rows] == [False, True]


@pytest.fixture(scope="module")
def runaway(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base that writes "10" and a new line for ever, whatever it is asked: each token is the one that follows the
    token before."""
    folder = build_tiny(tmp_path_factory.mktemp("runaway") / "base")
    weights = load_file(folder / "model.safetensors")
    for key in weights:
        if "visual" not in key and ("o_proj" in key or "down_proj" in key):
            weights[key].zero_()
    (embedded,) = (weight for key, weight in weights.items() if key.endswith("embed_tokens.weight"))
    head = weights["lm_head.weight"] = torch.zeros_like(weights["lm_head.weight"])
    new_line, one, zero = build_tokenizer()("\n10")["input_ids"]
    for token, following in ((new_line, one), (one, zero), (zero, new_line)):
        head[following] = embedded[token] / embedded[token].norm()
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.mark.parametrize("temperature", [0.0, 0.01])
@pytest.mark.parametrize("decode", ["eager", "static"])
def test_every_way_of_this_machine_ends_a_runaway_at_the_same_token(
    decode: str, temperature: float, runaway: Path
) -> None:
    settings = Settings(base=str(runaway), adapter="none", device="cpu", decode=decode)  # pyright: ignore
    engine, options = load_local(settings), Options(max_new_tokens=64, temperature=temperature)
    page = last(engine.answer(chart(), QUESTION, ARMS[:2], options))
    batch = [] if temperature else engine.answer_many([(chart(), QUESTION)] * 2, ARMS[:2], options)
    for answer in [*page, *(answer for answers in batch for answer in answers)]:
        assert (answer.text, answer.tokens, answer.ended, answer.done) == ("10", 27, "repetition", True)
    short = last(engine.answer(chart(), QUESTION, ARMS[:2], Options(max_new_tokens=5)))
    assert [(answer.text, answer.tokens, answer.ended) for answer in short] == [("10\n10", 5, "limit")] * 2


@pytest.fixture
def server() -> Iterator[EndpointServer]:
    with endpoint_server() as running:
        yield running


def test_a_runaway_of_a_server_is_cut_and_its_generation_ended(server: EndpointServer) -> None:
    engine = EndpointEngine(Settings(endpoint=server.url, base_name="runaway", adapter_name="tuned"))
    answers = last(engine.answer(chart(), QUESTION, ARMS, Options()))
    assert [(answer.text, answer.ended) for answer in answers[:2]] == [("It is 10%.", "repetition")] * 2
    assert answers[2].ended == "end" and not any(answer.error for answer in answers)
    eventually(lambda: server.open == 0)
    engine.close()


def test_the_card_says_that_an_answer_repeated_itself() -> None:
    answer = Answer("prompted", "10", 27, 0.1, 0.2, done=True, ended="repetition")
    assert "Stopped: it repeated itself" in answer_card(ARMS[1], answer, "done", options=Options())
