"""The `/ask` endpoint through gradio_client, as a script uses it."""

import base64
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from page_fixtures import Gate, Tab, bar_chart, encoded, wait_until

from chartqa_demo.arms import Arm
from chartqa_demo.engines.scripted import ScriptedEngine
from chartqa_demo.errors import EngineError
from chartqa_demo.ui import launch_options

pytest_plugins = ("page_fixtures",)


@pytest.fixture
def client(app_url: str) -> Iterator[Client]:
    client = Client(app_url, verbose=False, analytics_enabled=False)
    yield client
    client.close()


def texts(answers: list[dict[str, Any]]) -> list[str]:
    return [answer["text"] for answer in answers]


def script(arm: Arm, question: str) -> str:
    return {"pretrained": "the tallest bar is the fourth", "prompted": "the fourth", "adapter": "fourth"}[arm.key]


def test_partial_answers_stream_and_the_last_are_whole(
    client: Client, engine: ScriptedEngine, chart_file: Path
) -> None:
    engine.script = script
    engine.pace = gate = Gate()
    job = client.submit(handle_file(chart_file), "Which bar is the tallest?", api_name="/ask")
    gate.let(2)
    first = next(job)
    assert texts(first) == ["the", "the", "fourth"]
    assert [answer["done"] for answer in first] == [False, False, True]
    assert texts(next(job)) == ["the tallest", "the fourth", "fourth"]
    gate.open()
    last = job.result()
    assert texts(last) == ["the tallest bar is the fourth", "the fourth", "fourth"]
    assert [answer["arm"] for answer in last] == ["pretrained", "prompted", "adapter"]
    assert all(answer["done"] and answer["first_token_s"] <= answer["total_s"] for answer in last)
    assert [answer["tokens"] for answer in last] == [6, 2, 1]
    assert [answer["correct"] for answer in last] == [None, None, None]
    lengths = [sum(map(len, texts(answers))) for answers in job.outputs()]
    assert lengths == sorted(lengths)
    assert len(lengths) >= 3


def test_the_api_and_the_page_give_the_same_texts(
    client: Client, engine: ScriptedEngine, chart_file: Path, tab: Tab
) -> None:
    engine.script = script
    answers = client.predict(handle_file(chart_file), "Which bar is the tallest?", "fourth", api_name="/ask")
    tab.upload_chart(chart_file)
    tab.type_question("Which bar is the tallest?")
    tab.page.get_by_label("Right answer, if").fill("fourth")
    tab.press("Ask")
    tab.expect_ready()
    for answer in answers:
        card = tab.card(answer["title"])
        assert card.locator(".answer").inner_text() == answer["text"]
        verdict = card.locator(".verdict").first.inner_text()
        assert answer["reason"] in verdict
        assert verdict.startswith("Right " if answer["correct"] else "Wrong ") == (
            answer["correct"] == answer["tolerant"]
        )


def test_a_gold_answer_brings_verdicts_with_reasons(client: Client, engine: ScriptedEngine, chart_file: Path) -> None:
    engine.script = lambda arm, question: {"pretrained": "It is 62.", "prompted": "62", "adapter": "70"}[arm.key]
    sentence, close, far = client.predict(handle_file(chart_file), "How many?", "60", api_name="/ask")
    assert (sentence["correct"], sentence["tolerant"]) == (False, True)
    assert sentence["tolerant_reason"]
    assert (close["correct"], close["reason"]) == (True, "62 against 60: 3.3 % off, within 5 %")
    assert (far["correct"], far["tolerant"], far["tolerant_reason"]) == (False, False, None)


def test_settings_reach_the_engine(client: Client, engine: ScriptedEngine, chart_file: Path) -> None:
    client.predict(
        handle_file(chart_file),
        "How many?",
        max_new_tokens=3,
        temperature=0.5,
        max_pixels="200704",
        system="Answer in French.",
        seed=7,
        api_name="/ask",
    )
    _, _, options = engine.questions[0]
    assert (options.max_new_tokens, options.temperature, options.max_pixels) == (3, 0.5, 200_704)
    assert options.system == "Answer in French."
    assert options.seed == 7


def test_cancelling_a_job_ends_the_engine(client: Client, engine: ScriptedEngine, chart_file: Path) -> None:
    engine.script = lambda arm, question: "word " * 500
    engine.delay = 0.1
    job = client.submit(handle_file(chart_file), "How many?", api_name="/ask")
    next(job)
    assert not engine.idle.is_set()
    job.cancel()
    assert engine.idle.wait(timeout=1), "the engine goes on for nobody"


BAD_CALLS: list[tuple[dict[str, Any], str]] = [
    ({"image": None, "question": "How many?"}, "Add a chart first"),
    ({"question": ""}, "Type a question about the chart first"),
    ({"question": " \n\t "}, "Type a question about the chart first"),
    ({"question": "x" * 10_000}, "The question has 10,000 characters; at most 2,000 can be asked."),
    ({"question": ["How", "many?"]}, "The question has to be text, not list."),
    ({"gold": "x" * 501}, "The gold answer has 501 characters"),
    ({"max_new_tokens": 0}, "The max new tokens is 0; it has to be a number from 1 to 512."),
    ({"max_new_tokens": "many"}, "The max new tokens is 'many'"),
    ({"temperature": -1}, "The temperature is -1; it has to be a number from 0 to 2."),
    ({"temperature": "nan"}, "The temperature is 'nan'"),
    ({"seed": -1}, "The seed is -1; it has to be a number from 0"),
    ({"max_pixels": 3}, "The pixel limit is 3; it has to be a number from 784"),
]


def test_a_bad_call_gets_the_sentence_of_the_page(client: Client, engine: ScriptedEngine, chart_file: Path) -> None:
    for call, sentence in BAD_CALLS:
        arguments = {"image": handle_file(chart_file), "question": "How many?", **call}
        with pytest.raises(AppError, match=re.escape(sentence)):
            client.predict(**arguments, api_name="/ask")
    assert engine.questions == []


def test_a_bad_picture_gets_the_sentence_of_the_page(client: Client, engine: ScriptedEngine, tmp_path: Path) -> None:
    png = encoded(bar_chart())
    for name, data, sentence in [
        ("notes.png", b"Dear diary", "not a picture we can read"),
        ("cut.png", png[: len(png) // 2], "damaged or cut off"),
        ("drawing.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG is a drawing"),
    ]:
        (tmp_path / name).write_bytes(data)
        with pytest.raises(AppError, match=sentence):
            client.predict(handle_file(tmp_path / name), "How many?", api_name="/ask")
    assert engine.questions == []


def test_a_failing_engine_is_a_sentence(client: Client, engine: ScriptedEngine, chart_file: Path) -> None:
    engine.failure = EngineError("The GPU has no memory left. Ask with a smaller pixel limit.")
    with pytest.raises(AppError, match="The GPU has no memory left"):
        client.predict(handle_file(chart_file), "How many?", api_name="/ask")
    assert len(client.predict(handle_file(chart_file), "How many?", api_name="/ask")) == 3


@pytest.mark.parametrize("meta", [{}, {"meta": {"_type": "gradio.FileData"}}], ids=["plain", "called a file"])
def test_no_file_of_the_server_can_be_asked_about(
    app_url: str, engine: ScriptedEngine, chart_file: Path, meta: dict[str, Any]
) -> None:
    """Gradio lets a path through that its sender does not call a file; the chart here is readable for the server."""
    call = {"data": [{"path": str(chart_file), **meta}, "How many?", None, 64, 0, 0, None, None]}
    event = httpx.post(f"{app_url}gradio_api/call/ask", json=call).json()["event_id"]
    told = httpx.get(f"{app_url}gradio_api/call/ask/{event}").text
    assert "event: error" in told
    assert re.search("not among the uploads|not uploaded by a user", told)
    assert engine.questions == []


def test_every_way_to_the_engine_passes_the_queue(
    app_url: str, engine: ScriptedEngine, chart_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All at once, while the engine says nothing: posts beside the queue are refused, one question is asked, the others
    wait without a thread of the page, which goes on answering; then all have their answers."""
    engine.pace = gate = Gate()
    running, most, counting, answer = 0, 0, threading.Lock(), engine.answer

    def counted(*asked: Any) -> Iterator[Any]:
        nonlocal running, most
        with counting:
            running, most = running + 1, max(most, running + 1)
        try:
            yield from answer(*asked)
        finally:
            running -= 1

    monkeypatch.setattr(engine, "answer", counted)
    api = f"{app_url}gradio_api/"
    file = {"path": httpx.post(f"{api}upload", files={"files": chart_file.read_bytes()}).json()[0]}
    picture = {**file, "meta": {"_type": "gradio.FileData"}}
    asked = {"data": [picture, "How many?", None, 64, 0, 0, None, None]}
    page: Any = httpx.get(f"{app_url}config").json()["dependencies"]
    queued = [one["id"] for one in page if one["queue"] and one["backend_fn"]]
    names = {one["api_name"]: one["id"] for one in page}
    direct = [f"{way}/{name}" for way in ("run", "api") for name in names if names[name] in queued]
    with ThreadPoolExecutor(60) as posts:
        enough = {"data": [*asked["data"], *[None] * 30]}  # for any of them
        past = [(way, enough) for way in direct] + [("run/x", {**enough, "fn_index": fn}) for fn in queued]
        refused = posts.map(lambda one: httpx.post(api + one[0], json=one[1], timeout=20).status_code, past)
        assert set(refused) == {404}
    assert engine.questions == []

    call = {"name": "compare", "arguments": {"question": "How many?"}}
    call["arguments"]["image"] = f"data:image/png;base64,{base64.b64encode(chart_file.read_bytes()).decode()}"
    tool = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}
    takes = {"Accept": "application/json, text/event-stream"}
    with ThreadPoolExecutor(8) as visitors:
        replies = [
            visitors.submit(lambda way: httpx.get(way, timeout=60).text, f"{api}call/{name}/{event}")
            for name in ("ask", "compare")
            for event in [httpx.post(f"{api}call/{name}", json=asked).json()["event_id"]]
        ]
        named = {"image": picture, "question": "How many?"}
        event = httpx.post(f"{api}call/v2/ask", json=named).json()["event_id"]
        replies.append(visitors.submit(lambda: httpx.get(f"{api}call/v2/ask/{event}", timeout=60).text))
        joined = {**asked, "fn_index": names["ask"], "session_hash": "joined"}
        assert httpx.post(f"{api}queue/join", json=joined).status_code == 200
        replies.append(visitors.submit(lambda: httpx.get(f"{api}queue/data?session_hash=joined", timeout=60).text))
        if launch_options()["mcp_server"]:
            mcp = f"{api}mcp/"
            replies.append(visitors.submit(lambda: httpx.post(mcp, json=tool, headers=takes, timeout=60).text))
        wait_until(lambda: len(engine.questions) == 1, "a question is asked")
        assert httpx.get(app_url, timeout=20).status_code == 200
        assert httpx.get(f"{app_url}healthz", timeout=20).json() == {"status": "ok"}
        gate.open()
        texts_of_all = [one.result() for one in replies]
    assert all("42" in text and "event: error" not in text for text in texts_of_all), texts_of_all
    assert len(engine.questions) == len(replies) and most == engine.parallel == 1


@pytest.mark.parametrize("name", ["/ask", "/compare"])
def test_asking_is_all_that_is_public_and_is_documented(client: Client, name: str) -> None:
    endpoints: Any = client.view_api(return_format="dict", print_info=False)
    assert list(endpoints["named_endpoints"]) == ["/ask", "/compare"]
    assert endpoints["unnamed_endpoints"] == {}
    ask = endpoints["named_endpoints"][name]
    assert ask["description"].startswith("Ask one question about a chart and get three answers")
    told = {one["parameter_name"]: one["label"] for one in ask["parameters"]}
    assert all(len(words) > 15 for words in told.values()), told
    types = {one["parameter_name"]: one["type"].get("type") for one in ask["parameters"]}
    assert types["max_pixels"] in ("number", "integer")  # a client can name any
    named = {one["parameter_name"]: one["parameter_has_default"] for one in ask["parameters"]}
    assert named == {
        "image": False,
        "question": False,
        "gold": True,
        "max_new_tokens": True,
        "temperature": True,
        "max_pixels": True,
        "system": True,
        "seed": True,
    }


@pytest.mark.skipif(not launch_options()["mcp_server"], reason="no mcp package below 2, which Gradio needs")
def test_asking_is_a_tool_with_a_description(app_url: str) -> None:
    tools = httpx.get(f"{app_url}gradio_api/mcp/schema").json()
    assert [tool["name"] for tool in tools] == ["ask", "compare"]
    for tool in tools:
        assert "three answers" in tool["description"]
        assert "recorded" in tool["description"]
        assert tool["inputSchema"]["required"] == ["image", "question"]
        told = tool["inputSchema"]["properties"]
        assert all(len(one["description"]) > 15 for one in told.values())
        assert all(isinstance(choice, str) for one in told.values() for choice in one.get("enum", []))


@pytest.mark.skipif(not launch_options()["mcp_server"], reason="no mcp package below 2, which Gradio needs")
def test_who_calls_a_tool_by_half_of_a_pair_of_surrogates_is_answered(app_url: str) -> None:
    takes = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    for asked in (
        r'{"jsonrpc": "2.0", "id": "a\ud800", "method": "ping"}',
        r'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "\ud800", "arguments": {}}}',
    ):
        answer = httpx.post(f"{app_url}gradio_api/mcp/", content=asked, headers=takes, timeout=20)
        assert answer.status_code == 200 and "\ufffd" in answer.text
    asked = '{"jsonrpc": "2.0", "id": 1, "method": "ping", "params": {"a": %s}}' % ("[" * 930 + "]" * 930)
    assert httpx.post(f"{app_url}gradio_api/mcp/", content=asked, headers=takes, timeout=20).status_code == 400


def test_compare_returns_answers_verdicts_and_who_is_right_at_once(
    client: Client, engine: ScriptedEngine, chart_file: Path
) -> None:
    engine.script = lambda arm, question: {"pretrained": "It is 62.", "prompted": "62", "adapter": "70"}[arm.key]
    found: Any = client.predict(handle_file(chart_file), "How many?", "$60", api_name="/compare")
    assert (found["question"], found["gold"]) == ("How many?", ["60"])
    assert found["winner"] == "Pretrained and Prompted came within 5 % of 60; only Prompted wrote it as ChartQA wants."
    assert [one["standing"] for one in found["answers"]] == ["other-form", "right", "wrong"]
    assert all(one["done"] for one in found["answers"])
    plain: Any = client.predict(handle_file(chart_file), "How many?", max_pixels=200_704, api_name="/compare")
    assert (plain["gold"], plain["winner"], plain["answers"][0]["standing"]) == ([], None, None)
    assert engine.questions[-1][2].max_pixels == 200_704
    with pytest.raises(AppError, match="Type a question"):
        client.predict(handle_file(chart_file), " ", api_name="/compare")


def test_with_a_login_nothing_stands_before_it() -> None:
    assert launch_options(login=True)["mcp_server"] is False
