"""The errors that a visitor meets most, raised by the code itself: each has words in every language of the page."""

import asyncio
import re
import stat
import zipfile
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import gradio as gr
import httpx
import openai
import pytest
import torch
from page_fixtures import bar_chart, encoded, example_split
from PIL import Image

from chartqa_demo import images
from chartqa_demo.adapters.check import Adapter, check_base
from chartqa_demo.data.splits import open_split
from chartqa_demo.data.uploads import lay_out
from chartqa_demo.engines.endpoint.replies import CutOff, Unreadable, failure
from chartqa_demo.engines.scripted import ScriptedEngine
from chartqa_demo.engines.streaming import ReadableFailures
from chartqa_demo.errors import ChartError, DatasetError, EngineError, EvaluationError, HubError, QuestionError
from chartqa_demo.images import MAX_BYTES, load_chart
from chartqa_demo.settings import Settings
from chartqa_demo.space import hub
from chartqa_demo.space.hub import Source, _sentence, check_name
from chartqa_demo.space.zerogpu import refusal
from chartqa_demo.ui.adapters import _checked
from chartqa_demo.ui.compare.charts import own_chart
from chartqa_demo.ui.compare.question import read_question, stream_answers
from chartqa_demo.ui.evaluate.choices import UPLOAD, Choices
from chartqa_demo.ui.evaluate.uploads import Uploads
from chartqa_demo.ui.words import words

CHART = next((Path(images.__file__).parents[1] / "bundled" / "charts").glob("*.png"))
PICTURE = encoded(bar_chart())


def has_words(sentence: str) -> bool:
    """Whether `browser/words.js` finds the sentence: an entry is all of it, figures where it has `{count…}`."""
    for text in words("en").values():
        form = re.sub(r"\\{(\w+)\\}", lambda name: r"[\d,.]+" if name[1].startswith("count") else ".+", re.escape(text))
        if re.fullmatch(form, sentence):
            return True
    return False


def failing(error: Exception) -> None:
    with ReadableFailures():
        raise error


def answer_with(failure: Exception) -> None:
    engine = ScriptedEngine(delay=0)
    engine.failure = failure
    list(stream_answers(engine, read_question(CHART, "How many?")))


def measure(
    charts: object = 0, size: object = 0, seed: object = 0, kind: object = None, arms: tuple[str, ...] = ("adapter",)
) -> None:
    engine = ScriptedEngine()
    engine.adapter = None
    split = example_split()
    human = replace(split, examples=tuple(one for one in split if one.kind == "human"))
    Choices(engine, Settings(), human).read(charts, size, kind, seed, arms)


def upload(*files: str) -> None:
    page = gr.Blocks(analytics_enabled=False)
    Uploads(page, lambda _: False).take("visitor", "tab", [{"path": one} for one in files])


def use_adapter(name: str) -> None:
    engine = ScriptedEngine()
    engine.adapter = "mine"
    _checked(name, Settings(visitor_adapters="hub"), engine)


def other_adapter(**config: str) -> None:
    source = Source("owner/name", None, "adapter", {})
    check_base(Adapter(source, {"peft_type": "LORA", "r": 8, "lora_alpha": 8, **config}, None), "Qwen/Qwen2-VL-7B")


def lay(name: str, data: bytes, rows: bool = False) -> None:
    """An upload of one file; rows: read, as it is in Evaluate."""
    with TemporaryDirectory() as folder:
        (given := Path(folder) / "given").write_bytes(data)
        lay_out([(given, name)], Path(folder) / "upload")
        if rows:
            open_split(str(Path(folder) / "upload"), "all")


def zipped(entry: str | zipfile.ZipInfo, data: bytes = b"1", locked: bool = False) -> bytes:
    with zipfile.ZipFile(archive := BytesIO(), "w") as file:
        file.writestr(entry, data)
    packed = bytearray(archive.getvalue())
    if locked:
        packed[packed.index(b"PK\x01\x02") + 8] |= 1
    return bytes(packed)


def link() -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo("chart.png")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return entry


def asked(**settings: object) -> None:
    read_question(CHART, "How many?", **settings)


def missed(error: Exception) -> None:
    raise _sentence(error, "owner/name", None, "adapter")


RAISED: dict[str, Callable[[], object]] = {
    "an empty file": lambda: load_chart(b""),
    "a file of 21 MB": lambda: load_chart(b"1" * (MAX_BYTES + 2**20)),
    "an SVG": lambda: load_chart(b"<svg></svg>"),
    "a PDF": lambda: load_chart(b"%PDF-1.7"),
    "a text": lambda: load_chart(b"no picture"),
    "half a picture": lambda: load_chart(PICTURE[:-400]),
    "a picture without a beginning": lambda: load_chart(b"\x89PNG and no more"),
    "a picture that is too large": lambda: load_chart(Image.new("1", (10_000, 6_000))),
    "a picture that is tiny": lambda: load_chart(Image.new("RGB", (8, 8))),
    "a picture that is thin": lambda: load_chart(Image.new("RGB", (4_000, 20))),
    "an upload that was not taken": lambda: own_chart(None, "x", 30 * 2**20),
    "no chart": lambda: read_question(None, "How many?"),
    "no question": lambda: read_question(CHART, " "),
    "a long question": lambda: read_question(CHART, "why " * 2_000),
    "a model that fails": lambda: failing(RuntimeError("shapes differ")),
    "a GPU that is full": lambda: failing(torch.OutOfMemoryError("full")),
    "an engine that fails": lambda: answer_with(LookupError("x")),
    "no arm to measure": lambda: measure(arms=()),
    "no adapter to measure": measure,
    "an upload that is gone": lambda: measure(UPLOAD),
    "a seed that is none": lambda: measure(seed=-1),
    "an upload of nothing": upload,
    "a file that was not uploaded": lambda: upload(__file__),
    "no name of an adapter": lambda: use_adapter(" "),
    "the adapter in use": lambda: use_adapter("mine"),
    "an adapter that is a folder": lambda: use_adapter("/tmp"),
    "a number of tokens that is none": lambda: asked(max_new_tokens="many"),
    "a seed that is too large": lambda: asked(temperature=1, seed=2**40),
    "a temperature that is too high": lambda: asked(temperature=9),
    "a long system message": lambda: asked(system="why " * 2_000),
    "charts that are not there": lambda: measure(charts=99),
    "a number of questions that is not offered": lambda: measure(size=7),
    "a kind that no question has": lambda: measure(kind="machine", arms=("pretrained",)),
    "a ZIP that is none": lambda: lay("a.zip", b"1" * 100),
    "a ZIP that is damaged": lambda: lay("a.zip", zipped("a.csv")[1:]),
    "a ZIP with a link": lambda: lay("a.zip", zipped(link())),
    "a ZIP with a password": lambda: lay("a.zip", zipped("a.csv", locked=True)),
    "a ZIP with a way out": lambda: lay("a.zip", zipped("../a.csv")),
    "a ZIP without charts": lambda: lay("a.zip", zipped("a.txt")),
    "a picture that is too large in it": lambda: lay("a.zip", zipped("a.png", bytes(MAX_BYTES + 1))),
    "a file that is too large": lambda: lay("a.csv", bytes(MAX_BYTES + 1)),
    "a table without rows": lambda: lay("a.csv", b"image,query,label\n", rows=True),
    "a table without a column": lambda: lay("a.csv", b"image,label\na.png,3\n", rows=True),
    "a table whose pictures are missing": lambda: lay("a.csv", b"image,query,label\na.png,Why,3\n", rows=True),
    "a table that is not in UTF-8": lambda: lay("a.csv", b"image,query,label\na.png,\xff,3\n", rows=True),
    "a name that no adapter can have": lambda: check_name("not a name", "adapter"),
    "a long name of an adapter": lambda: use_adapter("a" * 1_000),
    "a Hub that is away": lambda: missed(ConnectionError()),
    "a Hub that says nothing": lambda: missed(TimeoutError()),
    "an adapter that does not come": lambda: missed(ValueError("odd")),
    "an adapter for another base": lambda: other_adapter(base_model_name_or_path="Qwen/Qwen2-VL-2B"),
    "an adapter that is no LoRA": lambda: other_adapter(peft_type="IA3"),
}


@pytest.fixture(autouse=True)
def asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(hub._silence, "until", 0.0)  # a Hub that was silent here is asked by the next test


@pytest.mark.parametrize("meeting", RAISED)
def test_what_a_visitor_meets_has_words(meeting: str) -> None:
    with pytest.raises((ChartError, DatasetError, EngineError, EvaluationError, HubError, QuestionError)) as raised:
        RAISED[meeting]()
    assert has_words(str(raised.value)), str(raised.value)


def test_a_table_and_a_picture_that_cannot_be_opened_have_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, said = tmp_path / "rows.csv", []
    table.write_text("year,value\n2020,3\n", encoding="utf-8")
    monkeypatch.setattr(images, "find_spec", lambda name: None)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    for source in (table, b"\0\0\0\x18ftypheic", PICTURE):
        with pytest.raises(ChartError) as raised:
            load_chart(source)
        said.append(str(raised.value))
    assert len(set(said)) == 3
    assert [one for one in said if not has_words(one)] == []


@pytest.mark.parametrize(
    "told",
    [
        "You have exceeded your GPU quota (60s requested vs. 12s left). Try again in 3:25:10. ",
        "The requested GPU duration (300s) is larger than the maximum allowed",
        "You have exceeded your ZeroGPU runs limit",
        "You are using too many ZeroGPU credits",
        "No GPU was available",
        "GPU task aborted",
        "Expired ZeroGPU proxy token",
        "Connection closed by visitor",
    ],
)
def test_what_zerogpu_refuses_has_words(told: str) -> None:
    sentence = refusal(told, 60)
    assert sentence and has_words(sentence), sentence


def refused(status: int, body: object = None) -> openai.APIStatusError:
    response = httpx.Response(status, request=httpx.Request("POST", "http://here/v1"))
    client = openai.OpenAI(api_key="-", base_url="http://here/v1")
    return client._make_status_error("refused", body=body, response=response)


@pytest.mark.parametrize("told", [None, {"message": "too long. Try less; or none"}], ids=["silent", "with a reason"])
def test_what_a_server_refuses_has_words_with_and_without_its_reason(told: object) -> None:
    said = [failure(refused(status, told), "here:80", "a/b", 60, False)[1] for status in (400, 401, 404, 429, 500, 503)]
    said += [failure(one, "here:80", "a/b", 60, False)[1] for one in (asyncio.TimeoutError(), CutOff(), Unreadable())]
    said.append(failure(openai.APIConnectionError(request=httpx.Request("POST", "http://here")), "h", "m", 1, False)[1])
    assert len(set(said)) == 10
    assert [one for one in said if not has_words(one)] == []


def test_a_sentence_that_nobody_wrote_has_none() -> None:
    assert not has_words("A PDF is a book, not a picture.")
