"""What the tests of the Evaluate tab share: an engine that waits between batches, and a visitor's moves."""

import re
import threading
from functools import partial
from typing import Any

from page_fixtures import bar_chart, encoded, expect
from playwright.sync_api import Page

from chartqa_demo.arms import Arm
from chartqa_demo.data.splits import Example, Split, chart_id
from chartqa_demo.engines import Answers, Options
from chartqa_demo.engines.scripted import ScriptedEngine


class BatchEngine(ScriptedEngine):
    """Answers 80 questions "What is 7?": right from the adapter, in a sentence when prompted, 0 when pretrained.

    A batch waits for `let`; `asked` lists every question that was answered.
    """

    def __init__(self) -> None:
        super().__init__(script=self.reply)
        self.title = "a scripted model"
        self.pace = lambda step: None
        self.reset()

    def reset(self) -> None:
        self.adapter = "bundled"
        self.pace = lambda step: None
        self.questions = []
        self.gate, self.opened, self.asked = threading.Semaphore(0), False, list[str]()

    def let(self, batches: int = 1) -> None:
        self.gate.release(batches)

    def open(self) -> None:
        self.opened = True
        self.gate.release(100)

    def reply(self, arm: Arm, question: str) -> str:
        number = question.split()[2].removesuffix("?")
        return {"adapter": number, "prompted": f"It is {number}.", "pretrained": "<b>0</b>"}[arm.key]

    def answer_many(self, items: Any, arms: Any, options: Options) -> list[Answers]:
        if not self.opened and not self.gate.acquire(timeout=60):
            raise TimeoutError("The test let no batch pass.")
        self.asked += [question for _, question in items]
        return super().answer_many(items, arms, options)


def eighty_questions() -> Split:
    """Eight charts of ten questions; the last picture is damaged."""
    pictures = [encoded(bar_chart((40 + 20 * chart, 150, 100, 200))) for chart in range(8)]
    pictures[7] = b"\x89PNG and no more"
    examples = [
        Example(
            id=f"test/{number}",
            chart=chart_id(pictures[number // 10]),
            question=f"What is {number}? <i>Markup</i>",
            gold=(str(number),),
            kind="human" if number % 4 else "machine",
            source="bars" if number % 2 else "lines",
            read=partial(bytes, pictures[number // 10]),
        )
        for number in range(80)
    ]
    return Split("bundled", "test", tuple(examples))


def open_with_all(page: Page, url: str) -> None:
    page.goto(url)
    page.get_by_role("tab", name="Evaluate").click()
    choose(page, "Questions", "All")
    expect(page.locator("#evaluation-cost")).to_contain_text("80 questions to 3 arms")
    expect(page.locator("#evaluation-scores")).to_contain_text(re.compile("measured|questions"))  # it has been opened


def choose(page: Page, label: str, option: str) -> None:
    page.get_by_label(label, exact=True).click()
    page.get_by_role("option", name=option, exact=True).click()


def status(page: Page) -> Any:
    return page.locator("#evaluation-progress [role=status]")


def press(page: Page, name: str) -> None:
    page.locator(f"#evaluation-{name}").click()


def run_all(page: Page, engine: BatchEngine) -> None:
    engine.open()
    press(page, "start")
    expect(status(page)).to_have_text("Done: 80 questions.")
