"""The endpoint engine against a stand-in server: every failure is a sentence and leaves the others alone."""

import asyncio
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from html import escape
from types import SimpleNamespace
from typing import Any

import openai
import pytest
from endpoint_fixtures import QUESTION, chart, last
from endpoint_server import PIECES, EndpointServer, eventually, expected
from openai._streaming import _SSELineDecoder
from openai.types import CompletionUsage
from openai.types.chat import ChatCompletionChunk

from chartqa_demo.arms import ADAPTER, ARMS, PRETRAINED, PROMPTED
from chartqa_demo.engines import Options, endpoint
from chartqa_demo.engines.endpoint import EndpointEngine, replies
from chartqa_demo.engines.endpoint.replies import failure, mark_repeats, read
from chartqa_demo.settings import Settings
from chartqa_demo.ui.compare.cards.answers import answer_card

pytest_plugins = ("endpoint_fixtures",)


def test_three_arms_are_three_requests_for_two_model_names(
    server: EndpointServer, make: Callable[..., EndpointEngine]
) -> None:
    answers = last(make().answer(chart(), QUESTION, ARMS, Options(max_new_tokens=20)))
    assert [answer.text for answer in answers] == [
        expected(name, chart(), QUESTION) for name in ("base", "base", "tuned")
    ]
    bodies = {(body["model"], len(body["messages"])): body for body in server.requests}
    assert set(bodies) == {("base", 1), ("base", 2), ("tuned", 2)}
    for body in server.requests:
        assert body["temperature"] == 0 and body["max_tokens"] == 20 and body["stream"] is True
    assert bodies["base", 2]["messages"][0] == {"role": "system", "content": PROMPTED.system}
    assert bodies["tuned", 2]["messages"][0] == {"role": "system", "content": ADAPTER.system}


def test_an_answer_grows_and_ends_with_the_servers_own_count_of_tokens(make: Callable[..., EndpointEngine]) -> None:
    states = list(make().answer(chart(), QUESTION, ARMS, Options()))
    assert all(answer.done and answer.tokens == 17 for answer in states[-1])
    for arm in range(3):
        texts = [state[arm].text for state in states]
        assert texts == sorted(texts, key=len) and all(texts[-1].startswith(text) for text in texts)
        final = states[-1][arm]
        assert final.first_token_s and final.total_s and final.first_token_s <= final.total_s


def test_without_usage_the_pieces_of_text_are_counted(make: Callable[..., EndpointEngine]) -> None:
    *_, adapter = last(make(adapter="bare").answer(chart(), QUESTION, ARMS, Options()))
    assert (adapter.tokens, adapter.error) == (4, None)


@pytest.mark.parametrize(
    ("name", "kind", "sentence"),
    [
        ("failing", "server", "failed on this question (500): CUDA error: device-side assert"),
        ("nobody", "model", "has no model 'nobody' at this address (404): The model `nobody` does not exist."),
        ("picky", "refused", "refused this question for the model 'picky' (400): max_tokens is too large"),
        ("forbidding", "refused", "refused this question for the model 'forbidding' (422): messages.0: Not text; Long"),
        ("locked", "key", "refused the key (401). Set OPENAI_API_KEY to one that may use locked."),
        ("busy", "busy", "is busy (429). Ask again in 60 seconds."),
        ("gateway", "starting", "is not ready (502). Its model may still be loading; ask again in a minute."),
        ("loading", "starting", "is not ready (503). Its model may still be loading; ask again in a minute."),
        ("page", "unreadable", "sent something that is no chat completion. Check --endpoint; it usually ends in /v1."),
        pytest.param(
            *("silent", "timeout", "did not finish within 2 seconds. Ask again, or for a shorter answer."),
            marks=pytest.mark.campaign,
        ),
        ("slow", "timeout", "did not finish within 2 seconds. Ask again, or for a shorter answer."),
        ("dying", "cut_off", "broke off in the middle of the answer. Ask again."),
        ("leaving", "cut_off", "broke off in the middle of the answer. Ask again."),
        ("garbled", "unreadable", "sent something that is no chat completion."),
        ("odd", "unreadable", "sent something that is no chat completion."),
        ("erring", "server", "failed on this question (while answering): the worker died"),
    ],
)
def test_an_arm_that_fails_says_why_and_leaves_the_others_unharmed(
    server: EndpointServer,
    make: Callable[..., EndpointEngine],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    kind: str,
    sentence: str,
) -> None:
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong-key")
    server.refusals = 99
    engine = make(adapter=name, timeout_s=2.0 if kind == "timeout" else 120.0)
    pretrained, prompted, adapter = last(engine.answer(chart(), QUESTION, ARMS, Options()))
    assert pretrained.text == prompted.text == expected("base", chart(), QUESTION)
    assert pretrained.error is prompted.error is None
    assert adapter.error and adapter.error.startswith(f"The server at {engine.host} {sentence}")
    assert (adapter.error_kind, adapter.done) == (kind, True)
    assert "sk-wrong-key" not in adapter.error
    begun = name in ("slow", "dying", "leaving", "garbled", "odd", "erring")
    assert (adapter.text != "") == begun and expected(name, chart(), QUESTION).startswith(adapter.text)


def test_what_came_before_a_server_died_stays_on_its_card(make: Callable[..., EndpointEngine]) -> None:
    *_, adapter = last(make(adapter="dying").answer(chart(), QUESTION, ARMS, Options()))
    card = answer_card(ADAPTER, adapter, "done")
    assert adapter.text and escape(adapter.text) in card and escape(adapter.error) in card
    assert 'data-state="failed"' in card and "verdict good" not in card


def test_a_template_that_takes_no_system_message_gets_ours_before_the_question(
    server: EndpointServer, make: Callable[..., EndpointEngine]
) -> None:
    engine = make(base="strict", adapter="strict")
    for _ in range(2):
        for answer in last(engine.answer(chart(), QUESTION, ARMS, Options())):
            assert (answer.text, answer.error) == (expected("strict", chart(), QUESTION), None)
    assert server.attempts["strict"] == 3 + 2 + 3, "it is refused once and then known"
    image, system, question = max(server.requests[-3:], key=lambda body: len(body["messages"][0]["content"]))[
        "messages"
    ][-1]["content"]
    assert (image["type"], system["text"], question["text"]) == ("image_url", f"{ADAPTER.system}\n\n", QUESTION)


def test_what_a_server_does_not_take_is_learnt_from_one_refusal(
    server: EndpointServer, make: Callable[..., EndpointEngine]
) -> None:
    for name, refusals in (("modern", 1), ("stern", 2)):
        engine = make(base=name)
        for _ in range(2):
            (answer,) = last(engine.answer(chart(), QUESTION, [PRETRAINED], Options(20, temperature=0.7)))
            assert (answer.text, answer.error) == (expected(name, chart(), QUESTION), None)
        assert server.attempts[name] == refusals + 2
        assert server.requests[-1]["max_completion_tokens"] == 20 and "max_tokens" not in server.requests[-1]
        assert ("top_k" in server.requests[-1]) == (name == "modern")


def test_a_sampled_answer_may_take_any_token(server: EndpointServer, make: Callable[..., EndpointEngine]) -> None:
    for temperature in (0.7, 0.0):
        last(make().answer(chart(), QUESTION, [PRETRAINED], Options(temperature=temperature, seed=3)))
    sampled, greedy = server.requests
    assert (sampled["top_k"], sampled["top_p"], sampled["seed"]) == (-1, 1.0, 3)
    assert not {"top_k", "top_p", "seed"} & greedy.keys()


def test_an_answer_in_parts_is_read_and_its_thoughts_are_not(make: Callable[..., EndpointEngine]) -> None:
    (answer,) = last(make(base="parts").answer(chart(), QUESTION, [PRETRAINED], Options()))
    assert (answer.text, answer.error) == (expected("parts", chart(), QUESTION), None)


def test_a_server_that_is_not_there_is_a_sentence_in_every_card() -> None:
    with socket.socket() as taken:  # bound and not listening: nobody else gets the port, and connecting is refused
        taken.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{taken.getsockname()[1]}"
        engine = EndpointEngine(Settings(endpoint=f"http://{host}/v1", base_name="base", adapter_name="tuned"))
        for answer in last(engine.answer(chart(), QUESTION, ARMS, Options())):
            assert answer.error.startswith(f"The server at {host} cannot be reached.")
        engine.close()


@pytest.mark.parametrize("name", ["busy", "gateway", "loading"])
def test_a_refusal_is_repeated_until_the_server_is_ready(
    server: EndpointServer, make: Callable[..., EndpointEngine], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01)
    server.refusals = endpoint.RETRIES
    (answer,) = last(make(base=name).answer(chart(), QUESTION, [PRETRAINED], Options()))
    assert answer.text == expected(name, chart(), QUESTION)
    assert server.attempts[name] == endpoint.RETRIES + 1


@pytest.mark.parametrize(("name", "attempts"), [("busy", 1 + endpoint.RETRIES), ("failing", 1), ("dying", 1)])
def test_repeats_are_few_and_only_before_the_first_token(
    server: EndpointServer,
    make: Callable[..., EndpointEngine],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    attempts: int,
) -> None:
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01)
    server.refusals = 99
    last(make(base=name).answer(chart(), QUESTION, [PRETRAINED], Options()))
    assert server.attempts[name] == attempts


def test_the_server_says_how_long_to_wait(
    server: EndpointServer, make: Callable[..., EndpointEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 60.0)
    server.refusals, server.retry_after = 1, "0.1"
    (answer,) = last(make(base="busy").answer(chart(), QUESTION, [PRETRAINED], Options()))
    assert answer.error is None and answer.first_token_s and answer.first_token_s >= 0.1


def test_a_server_that_wants_a_long_wait_is_not_asked_again(
    server: EndpointServer, make: Callable[..., EndpointEngine]
) -> None:
    server.refusals, server.retry_after = 1, "45"
    (answer,) = last(make(base="busy").answer(chart(), QUESTION, [PRETRAINED], Options()))
    assert answer.error.endswith("is busy (429). Ask again in 45 seconds.")
    assert server.attempts["busy"] == 1


def test_an_answer_that_goes_on_beyond_what_was_asked_for_is_ended(
    server: EndpointServer, make: Callable[..., EndpointEngine]
) -> None:
    (answer,) = last(make(base="endless").answer(chart(), QUESTION, [PRETRAINED], Options(max_new_tokens=10)))
    assert (answer.ended, answer.error) == ("limit", None)
    assert answer.text.startswith("0 and 1 and 2") and len(answer.text) < 2_000
    eventually(lambda: server.open == 0)


@pytest.mark.parametrize("name", ["line", "packed"])
def test_a_reply_of_any_size_is_read_no_further_than_an_answer_can_be_long(
    server: EndpointServer, make: Callable[..., EndpointEngine], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(replies, "MAX_REPLY", 2**22)
    unpacked: list[int] = []
    feed = _SSELineDecoder.feed
    monkeypatch.setattr(_SSELineDecoder, "feed", lambda self, data: (unpacked.append(len(data)), feed(self, data))[1])
    (answer,) = last(make(base=name).answer(chart(), QUESTION, [PRETRAINED], Options()))
    assert answer.error and answer.error_kind == "unreadable"
    assert sum(unpacked) <= 2**22
    eventually(lambda: server.open == 0)


def test_a_chart_is_not_taken_where_a_server_sends_it(
    make: Callable[..., EndpointEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    found = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *more, **named: (asked.append(host), found(host, *more))[1])
    (answer,) = last(make(base="moved").answer(chart(), QUESTION, [PRETRAINED], Options()))
    assert answer.error and answer.error.endswith("(307), where none is taken. Correct --endpoint.")
    assert not any("elsewhere" in str(host) for host in asked)


def test_a_count_that_no_answer_can_have_leaves_the_answer_and_its_own_count(
    make: Callable[..., EndpointEngine],
) -> None:
    (answer,) = last(make(base="miscounting").answer(chart(), QUESTION, [PRETRAINED], Options()))
    assert (answer.text, answer.tokens) == (expected("miscounting", chart(), QUESTION), PIECES)
    for counted in ("many", [1], 1e308, -1, True):
        told = ChatCompletionChunk.model_construct(
            choices=[], usage=CompletionUsage.model_construct(completion_tokens=counted)
        )
        assert read(told) == ("", None, None)


def test_what_a_server_says_is_one_line_of_printable_text() -> None:
    body = {"message": "\x1b[2Jgone\u202e"}
    refusal = openai.APIError("", request=None, body=body)  # pyright: ignore[reportArgumentType]
    assert replies.said(refusal).isprintable()


@pytest.mark.parametrize("asked", ["inf", "nan", "-inf", "soon"])
def test_a_wait_that_no_clock_has_is_none(asked: str) -> None:
    headers = {"retry-after": asked, "retry-after-ms": "50000"}
    reply: Any = SimpleNamespace(status_code=429, request=None, headers=headers)
    with ThreadPoolExecutor(1) as beside:  # the browser of other tests leaves a running loop in this thread
        beside.submit(lambda: asyncio.run(mark_repeats(reply))).result()
    assert reply.headers["x-should-retry"] == "true" and "retry-after-ms" not in reply.headers
    error = openai.RateLimitError("", response=reply, body=None)
    assert (
        failure(error, "server", "base", 9, False)[1] == "The server at server is busy (429). Ask again in 60 seconds."
    )
