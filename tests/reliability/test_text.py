"""What comes out of a file is text: a hostile one, wherever a file can bring it, changes no tag, cell or heading."""

import csv
import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.reliability.hostile import TEXTS
from chartqa_demo.adapters.contract import Contract
from chartqa_demo.adapters.runs import TrainingRun, read_run
from chartqa_demo.arms import ADAPTER, ARMS
from chartqa_demo.data.cells import answers, written
from chartqa_demo.data.corrections import Correction
from chartqa_demo.data.splits import open_split
from chartqa_demo.engines import Answer, Options
from chartqa_demo.engines.endpoint.replies import read
from chartqa_demo.engines.scripted import ScriptedEngine
from chartqa_demo.evaluate.record import Item, in_order, read_results
from chartqa_demo.evaluate.report import section
from chartqa_demo.evaluate.rules import Verdict, best_verdict
from chartqa_demo.evaluate.run import measure
from chartqa_demo.evaluate.tables import figures_of_summary, plain
from chartqa_demo.ui import markup
from chartqa_demo.ui.compare.cards.answers import answer_card, asked_line, chips, followed_line
from chartqa_demo.ui.compare.cards.guess import Guess, guessed_line
from chartqa_demo.ui.compare.question import Question, read_question
from chartqa_demo.ui.evaluate.files import answers_csv
from chartqa_demo.ui.evaluate.scores import item_detail, item_list, scores_section
from chartqa_demo.ui.training.rows import rows_list
from chartqa_demo.ui.training.tab import run_html

HARMLESS = "harmless words"
CHART = "0" * 16


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, ...]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, *(name for name, _ in attrs)))
        assert not [name for name, value in attrs if name in ("href", "src") and "javascript:" in (value or "")]

    def handle_endtag(self, tag: str) -> None:
        self.found.append((f"/{tag}",))


def tags(html: str) -> list[tuple[str, ...]]:
    """The elements with the names of their attributes, in order."""
    parser = Tags()
    parser.feed(html)
    parser.close()
    return parser.found


@pytest.fixture(scope="module")
def summary(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The scores of a small evaluation, as results.json holds them."""
    path = tmp_path_factory.mktemp("measured") / "one.jsonl"
    engine = ScriptedEngine(delay=0)
    engine.adapter = "bundled"
    measure(engine, open_split("bundled").examples[:4], ARMS, Options(), path)
    return json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))


def spoilt(summary: dict[str, Any], text: str) -> dict[str, Any]:
    arms = {key: {**arm, "title": text} for key, arm in summary["arms"].items()}
    named = dict.fromkeys(("model", "adapter", "dataset", "split", "date", "commit", "file"), text)
    return {**summary, "arms": arms, **named}


def item(text: str, error: str | None = None) -> Item:
    answers, failures = {"pretrained": text, "adapter": text}, {"prompted": text}
    return Item(text, text, text, (text, "4"), "human", text, answers, failures=failures, error=error)


def page_parts(text: str, summary: dict[str, Any]) -> list[str]:
    """The HTML of everything on the page that shows what files and models say."""
    titles = dict.fromkeys([arm.key for arm in ARMS], text)
    arm = replace(ADAPTER, title=text, about=text)
    asked = Question(Path("x"), text, (text,), text, (text,), text, text, text)
    answer = Answer("adapter", text, 3, error=text, recorded=text, done=True)
    row = Correction(CHART, text, text, text, text, (text,), True)
    verdicts: list[Verdict | None] = [best_verdict(text, (text,))]
    kept = {"question": text, "done": True, "link": text}
    return [
        scores_section(figures_of_summary(spoilt(summary, text)), "canonical"),
        item_list([item(text), item(text, text)], 1, 2, "canonical", titles, text),
        item_detail(item(text), "exact", titles),
        item_detail(item(text, text), "canonical", titles, chart_shown=False),
        run_html(TrainingRun(text, text, {text: {text: ((1, 2.0), (2, 1.0))}}, 2, 1.0, 3.0, None)),
        rows_list([row], {}, text, b"zip"),
        answer_card(arm, answer, "done", verdicts[0], Options()),
        asked_line(asked, [arm], verdicts, kept),
        guessed_line(asked, Guess(text, "adapter"), [arm]),
        followed_line(text, 1, 2),
        chips([text], text, text),
        markup.notice(text),
        markup.done(text),
        markup.hint(text.replace("`", "")),
        markup.status(text),
        markup.banner(text, [text]),
        markup.page_head(text, text, {text: "https://huggingface.co/a/b"}),
        markup.progress_bar(text, 1, 2),
        markup.verdict("right", text, text),
    ]


@pytest.mark.parametrize("name", TEXTS)
def test_no_text_of_a_file_is_more_than_text_on_the_page(name: str, summary: dict[str, Any]) -> None:
    for spoiled, usual in zip(page_parts(TEXTS[name], summary), page_parts(HARMLESS, summary), strict=True):
        assert tags(spoiled) == tags(usual)


def bare(markdown: str) -> str:
    """What of a Markdown text is not words: its marks, without those that are escaped or in code."""
    markdown = re.sub(r"(?ms)^(`{3,})\n.*?^\1$", "", markdown)
    outside = re.sub(r"`[^`]*`", "", re.sub(r"\\[\\`*\[\]<>|~&_]", "", markdown))
    return "".join(re.findall(r"[`*\[\]<>|~&\n]|^#+", outside))


@pytest.mark.parametrize("name", TEXTS)
def test_no_text_of_a_file_is_more_than_text_in_the_table_of_the_readme(name: str, summary: dict[str, Any]) -> None:
    assert bare(section(spoilt(summary, TEXTS[name]))) == bare(section(spoilt(summary, HARMLESS)))


def test_a_text_in_markdown_reads_as_it_is() -> None:
    for text in TEXTS.values():
        words = " ".join(text.split()).replace("\ud800", "?")
        assert re.sub(r"\\([\\`*\[\]<>|~&_])", r"\1", plain(text)) == words
    assert plain("max_pixels of ann/my_model-2: 3.5 % (n = 4)") == "max_pixels of ann/my_model-2: 3.5 % (n = 4)"


@pytest.mark.parametrize("name", TEXTS)
def test_no_text_of_a_file_is_more_than_text_in_a_model_card(
    name: str, tmp_path: Path, summary: dict[str, Any], card: Callable[..., str]
) -> None:
    def marks(text: str) -> str:
        written = card(tmp_path, text, summary if text == HARMLESS else spoilt(summary, text))
        assert written.count("\n---\n") == 1
        return bare(written.partition("\n---\n")[2])

    assert marks(TEXTS[name]) == marks(HARMLESS)


@pytest.fixture
def card() -> Callable[..., str]:
    from datasets import Dataset

    from train.__main__ import parse
    from train.data import Data
    from train.publish.card import Run, write_card

    def written(folder: Path, text: str, summary: dict[str, Any]) -> str:
        flags = ["--model_name_or_path", "bundled", "--use_peft", "--output_dir", str(folder), "--use_cpu"]
        recipe, args, _ = parse([*flags, "--bf16", "false"])
        data = Data(text, Dataset.from_dict({"number": [1, 2]}), Dataset.from_dict({}), [], text, text)
        one_line = " ".join(text.split())
        contract = Contract(text, one_line, text, dataset=text, split=text, versions={text: text})
        named = Run(recipe, args, "qwen2_vl", one_line.encode(errors="replace").decode())
        path = write_card(folder, contract, figures_of_summary(summary), data, named)
        return path.read_text(encoding="utf-8")

    return written


def test_a_cell_that_a_spreadsheet_would_run_gets_an_apostrophe(summary: dict[str, Any]) -> None:
    formulas = ["=1+1", "+cmd", "-x", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1+1", "－2+3"]
    results = in_order(summary, [item(text) for text in formulas])
    rows = list(csv.DictReader(StringIO(answers_csv(results), newline="")))
    assert len(rows) == len(formulas)
    for row in rows:
        assert all(row[name].startswith("'") for name in ("id", "chart", "question", "source", "adapter answer")), row


def test_half_of_a_pair_is_one_lost_character_wherever_it_comes_from(tmp_path: Path) -> None:
    piece = SimpleNamespace(
        usage=None, choices=[SimpleNamespace(delta=SimpleNamespace(content="a\ud800b"), finish_reason=None)]
    )
    lost = [written("a\ud800b"), *answers(["a\ud800b"]), read(piece)[0], read_question(Path("x"), "a\ud800b").text]
    assert lost == ["a\ufffdb"] * 4
    assert written("\ud83d\ude00") == "😀"
    examples = open_split("bundled").examples[:1]
    path = tmp_path / "named.jsonl"
    measure(ScriptedEngine(delay=0), examples, ARMS[:1], Options(), path, about={"dataset": "not utf-8: \udcff"})
    assert read_results(path).settings["dataset"] == "not utf-8: ?"


def test_figures_that_cannot_be_drawn_are_left_out(trackio_store: Path) -> None:
    from trackio.sqlite_storage import SQLiteStorage

    step, loss = "train/global_step", "train/loss"
    rows = [{step: 1, loss: 2.0}, {step: 2, loss: float("nan")}, {step: 3, loss: float("inf")}, {step: 4, loss: "<b>"}]
    SQLiteStorage.bulk_log("<b>", "<i>", [*rows, {step: "x", loss: 1.0}], config={"max_steps": "x"})
    run = read_run("<b>", "<i>")
    assert run.curves["Loss"]["training"] == ((1, 2.0),)
    assert run_html(run).startswith('<p class="standing">Step 4')
