"""What the endpoint engine sends: connections, the key, chart and prompt, and the questions of an evaluation."""

import asyncio
import gc
import json
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openai
import pytest
from endpoint_fixtures import QUESTION, chart, last
from endpoint_server import KEY, EndpointServer, eventually, expected
from openai.types.chat import ChatCompletionChunk
from PIL import Image

from chartqa_demo.adapters.contract import Contract
from chartqa_demo.arms import ADAPTER, ARMS, PRETRAINED, PROMPTED
from chartqa_demo.engines import Answer, Options, endpoint, load_engine
from chartqa_demo.engines.endpoint import ITEMS, NO_ADAPTER, EndpointEngine
from chartqa_demo.errors import EngineError
from chartqa_demo.evaluate.__main__ import main
from chartqa_demo.images import fit_canvas, shrink
from chartqa_demo.settings import Settings

pytest_plugins = ("endpoint_fixtures",)


def test_closing_the_iterator_closes_every_connection(
    server: EndpointServer, make: Callable[..., EndpointEngine]
) -> None:
    states = make(base="slow", adapter="slow").answer(chart(), QUESTION, ARMS, Options())
    for state in states:
        if all(answer.text for answer in state):
            break
    assert server.open == 3
    states.close()
    eventually(lambda: server.open == 0)


def test_questions_in_a_row_share_three_connections(
    server: EndpointServer, make: Callable[..., EndpointEngine]
) -> None:
    engine = make()
    for k in range(5):
        last(engine.answer(chart(k), QUESTION, ARMS, Options()))
    assert len(server.requests) == 15 and len(server.connections) == 3


def test_the_key_is_the_environments_and_is_never_shown(
    server: EndpointServer,
    make: Callable[..., EndpointEngine],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("HF_TOKEN", "hf_for_the_hub_alone")
    engine = make(adapter="locked")
    with caplog.at_level(logging.DEBUG):
        answers = last(engine.answer(chart(), QUESTION, ARMS, Options()))
    assert answers[2].text == expected("locked", chart(), QUESTION)
    assert server.keys == [f"Bearer {KEY}"] * 3
    shown = [engine.title, *engine.notes, engine.prompt_text(ADAPTER, QUESTION, Options()), repr(answers), caplog.text]
    assert not any(KEY in text or "hf_for" in text for text in shown)


@pytest.mark.parametrize(
    ("host", "key"),
    [
        ("router.huggingface.co", "hf"),
        ("x1.us-east-1.aws.endpoints.huggingface.cloud:443", "hf"),
        ("huggingface.co.example.org", "sk"),
        ("nothuggingface.co", "sk"),
        ("127.0.0.1:8000", "sk"),
    ],
)
def test_the_hubs_token_goes_to_the_hub_alone(monkeypatch: pytest.MonkeyPatch, host: str, key: str) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk")
    monkeypatch.setenv("HF_TOKEN", "hf")
    assert endpoint._key(host) == key


def test_without_an_adapters_name_the_third_arm_says_how_to_get_one(
    server: EndpointServer, make: Callable[..., EndpointEngine]
) -> None:
    engine = make(adapter=None)
    *others, adapter = last(engine.answer(chart(), QUESTION, ARMS, Options()))
    assert adapter.error == NO_ADAPTER and NO_ADAPTER in engine.notes
    assert [answer.error for answer in others] == [None, None] and len(server.requests) == 2
    with pytest.raises(EngineError, match="decides which adapters it serves"):
        engine.use_adapter("owner/adapter")


def test_the_prompt_shows_what_was_sent_with_the_picture_left_out(make: Callable[..., EndpointEngine]) -> None:
    engine = make()
    text = engine.prompt_text(PROMPTED, QUESTION, Options(system="Read the axis."))
    head, *sent = text.splitlines()
    assert engine.host in head and "chat template" in head
    system, user = map(json.loads, sent)
    assert system == {"role": "system", "content": "Read the axis."}
    assert user["content"][1] == {"type": "text", "text": QUESTION}
    assert "Read the axis." not in engine.prompt_text(ADAPTER, QUESTION, Options(system="Read the axis."))


def test_a_chart_arrives_as_the_base_was_trained_to_see_it(make: Callable[..., EndpointEngine], tmp_path: Path) -> None:
    canvases = [(224, 112), (112, 224)]
    (tmp_path / "config.json").write_text(json.dumps({"chart_canvases": canvases}))
    (answer,) = last(make(base="base", **{"adapter": None}).answer(chart(), QUESTION, [PRETRAINED], Options()))
    assert answer.text == expected("base", chart(), QUESTION)
    engine = make()
    engine._canvases = endpoint._canvases(Settings(base=str(tmp_path)))
    (answer,) = last(engine.answer(chart(), QUESTION, [PRETRAINED], Options()))
    assert answer.text == expected("base", fit_canvas(chart(), canvases).image, QUESTION)


def test_the_contract_of_a_named_adapter_is_kept(server: EndpointServer, tmp_path: Path) -> None:
    Contract(base="owner/base", system="Read it well.", max_pixels=10_000).save(tmp_path)
    settings = Settings(endpoint=server.url, base_name="base", adapter_name="tuned", adapter=str(tmp_path))
    engine = load_engine(settings)
    assert isinstance(engine, EndpointEngine)
    (answer,) = last(engine.answer(chart(), QUESTION, engine.arms[2:], Options()))
    assert answer.text == expected("tuned", shrink(chart(), 10_000), QUESTION)
    assert server.requests[0]["messages"][0]["content"] == "Read it well."
    engine.close()


def test_an_evaluation_asks_in_bounded_numbers_and_keeps_the_order(
    server: EndpointServer, make: Callable[..., EndpointEngine]
) -> None:
    items = [(chart(k), f"Question {k}?") for k in range(3 * ITEMS)]
    rows = make().answer_many(items, ARMS, Options())
    for (image, question), row in zip(items, rows, strict=True):
        assert [a.text for a in row] == [expected(name, image, question) for name in ("base", "base", "tuned")]
    assert server.most_open <= 3 * ITEMS


def test_an_evaluation_ends_when_the_server_fails_and_not_when_one_arm_does(
    server: EndpointServer, make: Callable[..., EndpointEngine]
) -> None:
    items = [(chart(), QUESTION)] * 5
    with pytest.raises(EngineError, match="has no model 'nobody'"):
        make(adapter="nobody").answer_many(items, ARMS, Options())
    for row in make(adapter="failing").answer_many(items, ARMS, Options()):
        assert [a.text for a in row] == [expected("base", chart(), QUESTION)] * 2 + [""]
        assert row[2].error and "failed on this question (500)" in row[2].error
    (row, *_) = make(adapter=None).answer_many(items, ARMS, Options())
    assert row[2].error == NO_ADAPTER and row[0].error is None


@pytest.mark.parametrize("count", [15, pytest.param(50, marks=pytest.mark.campaign)])
def test_many_visitors_at_once_get_their_own_answers_and_leave_nothing_behind(
    server: EndpointServer, make: Callable[..., EndpointEngine], count: int
) -> None:
    engine = make()
    server.keep_requests = False

    def visit(k: int) -> None:
        image, question = chart(k), f"What does visitor {k} see?"
        answers = last(engine.answer(image, question, ARMS, Options()))
        assert [a.error for a in answers] == [None] * 3
        assert [a.text for a in answers] == [expected(name, image, question) for name in ("base", "base", "tuned")]

    def remains() -> int:
        """Objects that belong to one question: charts, answers, streams and their pieces, request bodies."""
        gc.collect()
        kinds = (Image.Image, Answer, openai.AsyncStream, ChatCompletionChunk)
        return sum(
            issubclass(type(o), kinds) or (type(o) is dict and isinstance(o.get("messages"), list))
            for o in gc.get_objects()
        )

    before = remains()
    for _ in range(2):
        with ThreadPoolExecutor(count) as visitors:
            list(visitors.map(visit, range(count)))
    assert server.open == 0 and sum(server.attempts.values()) >= 2 * count * 3
    eventually(lambda: not asyncio.all_tasks(engine._loop) and remains() <= before)


def test_the_evaluation_command_asks_a_server(
    server: EndpointServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = tmp_path / "run.jsonl"
    names = ["--endpoint", server.url, "--base-name", "base", "--adapter-name", "tuned"]
    assert main([*names, "--limit", "6", "--output", str(record)]) == 0
    assert len(server.requests) == 18
    rows = [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()]
    answers = [row["answers"] for row in rows if "answers" in row]
    assert len(answers) == 6 and all(row["adapter"].startswith("tuned saw ") for row in answers)
    assert "Traceback" not in capsys.readouterr().err
