"""The Training tab in Chromium: curves of runs that other processes log, and adapters put to use without a restart."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import gradio as gr
import pytest
from page_fixtures import Looks, Tab, Windows, expect, in_looks, looks_in_turn, violations
from playwright.sync_api import Page

from bench.reliability.hostile import TEXTS
from chartqa_demo.adapters.contract import Contract
from chartqa_demo.adapters.runs import finished_adapters, read_run, run_names
from chartqa_demo.arms import SYSTEM_MESSAGE
from chartqa_demo.engines.scripted import ScriptedEngine
from chartqa_demo.errors import EngineError, shown
from chartqa_demo.settings import Settings
from chartqa_demo.ui import launch_options
from chartqa_demo.ui.corrections import Corrections
from chartqa_demo.ui.training import tab as training
from chartqa_demo.ui.training.curves import curve_chart, figure

pytest_plugins = ("page_fixtures",)

LOG = """
import json, sys
from pathlib import Path
from trackio import sqlite_storage
for line in sys.stdin:
    store, project, run, rows = json.loads(line)
    sqlite_storage.TRACKIO_DIR = Path(store)
    sqlite_storage.SQLiteStorage.bulk_log(project, run, rows, config={"num_train_epochs": 3, "max_steps": -1})
    print("logged", flush=True)
"""


Log = Callable[..., None]


class Engine(ScriptedEngine):
    """Takes any adapter but those called broken, and none while there is a reason."""

    why_not = ""

    def use_adapter(self, name: str) -> None:
        if self.why_not:
            raise EngineError(self.why_not)
        if "broken" in name:
            raise EngineError(f"The adapter in {Path(name).name} does not fit this base model.")
        self.adapter = name


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[subprocess.Popen[str]]:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", LOG], **pipes) as process:
        yield process
        process.stdin.close()


@pytest.fixture
def log(elsewhere: subprocess.Popen[str], runs: Path) -> Log:
    """`log(run, row, row ...)`: what a training process does: another process, the same store."""

    def log(run: str, *rows: dict[str, float], project: str = "bundled") -> None:
        elsewhere.stdin.write(json.dumps([os.environ["TRACKIO_DIR"], project, run, rows]) + "\n")
        elsewhere.stdin.flush()
        assert elsewhere.stdout.readline() == "logged\n"

    return log


def leave_adapter(runs: Path, name: str, weights: Path, **scores: float) -> None:
    folder = runs / name
    folder.mkdir(parents=True)
    shutil.copy(weights / "adapter_model.safetensors", folder)
    Contract("bundled", SYSTEM_MESSAGE, scores=scores).save(folder)


@pytest.fixture
def runs(tmp_path: Path, trackio_store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of runs beside an empty trackio store."""
    monkeypatch.setattr(training, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(training, "REFRESH_S", 0.2)
    return tmp_path / "runs"


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def url(runs: Path, engine: Engine) -> Iterator[str]:
    with gr.Blocks(analytics_enabled=False) as page:
        gr.HTML("<h1>Training</h1>")
        settings = Settings(corrections=str(runs / "corrections"))
        corrections = Corrections(settings)
        with gr.Tabs():
            with gr.Tab("Compare"):
                gr.HTML("<p>Elsewhere</p>")
            training.build_training_tab(engine, settings, corrections)
    _, url, _ = page.launch(prevent_thread_lock=True, quiet=True, **launch_options())
    yield url
    page.close(verbose=False)


@pytest.fixture(params=["wide", pytest.param("phone", marks=pytest.mark.campaign)])
def page(request: pytest.FixtureRequest, windows: Windows, url: str) -> Iterator[Page]:
    """The opened tab; afterwards no error, no request to another host, no sideways scroll."""
    page = windows(request.param)
    tab = Tab(page, url)
    page.goto(url)
    page.get_by_role("tab", name="Training").click()
    yield page
    expect(page.get_by_role("tab", name="Training")).to_have_count(1)
    tab.leave()


def test_a_run_of_another_process_appears_and_grows_while_one_looks(page: Page, log: Log) -> None:
    expect(page.get_by_text("No training run has been logged")).to_be_visible()
    log("first", {"train/global_step": 10, "train/loss": 2.5, "train/learning_rate": 2e-4, "train/epoch": 0.5})
    loss = page.get_by_role("img", name="Loss:")
    expect(loss).to_have_attribute("aria-label", "Loss: training 2.5 at step 10")
    log("first", {"train/global_step": 20, "train/loss": 1.25, "train/epoch": 1.0})
    log("first", {"train/global_step": 20, "eval/loss": 1.5, "train/epoch": 1.0})
    expect(loss).to_have_attribute("aria-label", "Loss: training 1.25 at step 20, validation 1.5 at step 20")
    expect(page.get_by_text("Step 20, epoch 1.00 of 3")).to_be_visible()
    expect(page.get_by_role("img", name="Learning rate")).to_be_visible()


def test_accuracy_is_drawn_per_arm_and_the_chosen_run_stays_chosen(page: Page, log: Log) -> None:
    base = {"eval/accuracy_pretrained": 10.0, "eval/accuracy_prompted": 20.0}
    log("first", *({"train/global_step": step, "eval/accuracy_adapter": 20.0 + step, **base} for step in (0, 10, 20)))
    title = "Relaxed accuracy on validation questions, %"
    named = f"{title}: Pretrained 10 at step 20, Prompted 20 at step 20, Adapter 40 at step 20"
    expect(page.get_by_role("img", name=named)).to_be_visible()
    log("second", {"train/global_step": 10, "train/loss": 9.0})
    page.get_by_label("Run").click()
    page.get_by_role("option", name="second").click()
    expect(page.get_by_role("img", name="Loss: training 9 at step 10")).to_be_visible()
    log("first", {"train/global_step": 30, "eval/accuracy_adapter": 55.0})
    log("second", {"train/global_step": 20, "train/loss": 8.0})
    expect(page.get_by_role("img", name="Loss: training 8 at step 20")).to_be_visible()
    page.get_by_label("Run").click()
    page.get_by_role("option", name="first").click()
    expect(page.get_by_role("img", name="Adapter 55 at step 30")).to_be_visible()


@in_looks
def test_axe_finds_no_violation(
    windows: Windows, url: str, runs: Path, tiny_adapter: Path, log: Log, of: Looks
) -> None:
    page = windows()
    page.goto(url)
    page.get_by_role("tab", name="Training").click()
    expect(page.get_by_text("No training run has been logged")).to_be_visible()
    for look in looks_in_turn(page, of, 0):
        assert violations(page) == [], look
    log("first", *({"train/global_step": step, "train/loss": 3.0 / step, "eval/loss": 4.0 / step} for step in (1, 2)))
    leave_adapter(runs, "first", tiny_adapter)
    expect(page.get_by_role("img", name="Loss")).to_be_visible()
    use = page.get_by_role("button", name="Use this adapter")
    use.click()
    expect(page.get_by_role("status").filter(has_text="The third arm now answers with first")).to_be_visible()
    expect(use).to_have_css("opacity", "1")  # it fades in
    for look in looks_in_turn(page, of, 1):
        assert violations(page) == [], look
    page.close()


def test_a_finished_adapter_is_put_to_use_without_a_restart(
    page: Page, runs: Path, engine: Engine, tiny_adapter: Path
) -> None:
    expect(page.get_by_text("No finished adapter yet")).to_be_visible()
    leave_adapter(runs, "first", tiny_adapter, pretrained=10.0, prompted=20.0, adapter=33.3)
    choice = page.get_by_label("first, for bundled: pretrained 10.0 %, prompted 20.0 %, adapter 33.3 %")
    expect(choice).to_be_checked()
    page.get_by_role("button", name="Use this adapter").click()
    expect(page.get_by_role("status").filter(has_text="The third arm now answers with first")).to_be_visible()
    assert engine.adapter == str(runs / "first")

    leave_adapter(runs, "broken", tiny_adapter)
    page.get_by_label("broken, for bundled: not measured yet").check()
    page.get_by_role("button", name="Use this adapter").click()
    expect(page.get_by_text("does not fit this base model")).to_be_visible()
    assert engine.adapter == str(runs / "first")


@pytest.mark.parametrize("page", ["wide"], indirect=True)
def test_what_files_say_is_text_in_lists_curves_and_notices(
    page: Page, runs: Path, engine: Engine, tiny_adapter: Path, log: Log
) -> None:
    hostile = f"{TEXTS['picture']} {TEXTS['template']} {TEXTS['link']} {TEXTS['bidi']}"
    leave_adapter(runs, "first", tiny_adapter)
    Contract(hostile, SYSTEM_MESSAGE).save(runs / "first")
    log(f"b{hostile}", {"train/global_step": 10, "train/loss": 2.5}, project="b")
    expect(page.get_by_role("img", name="Loss:")).to_be_visible()
    expect(page.get_by_label("Run")).to_have_value(f"b{hostile}")
    expect(page.get_by_label(f"first, for {shown(hostile)}: not measured yet")).to_be_checked()
    engine.why_not = f"is of type {hostile}; only LORA can be served."
    page.get_by_role("button", name="Use this adapter").click()
    told = page.locator("#training-outcome .notice")
    expect(told).to_have_js_property("textContent", engine.why_not)
    expect(told.locator("*")).to_have_count(0)
    assert page.title() != "owned"


def test_a_step_that_was_logged_twice_counts_once(log: Log) -> None:
    log("again", {"train/global_step": 1, "train/loss": 3.0}, {"train/global_step": 2, "train/loss": 2.0})
    log("again", {"train/global_step": 2, "train/loss": 2.5}, {"train/global_step": 3, "train/loss": 1.0})
    assert run_names() == [("bundled", "again")]
    assert read_run("bundled", "again").curves["Loss"]["training"] == ((1, 3.0), (2, 2.5), (3, 1.0))


def test_what_is_no_finished_adapter_is_not_listed(runs: Path, tiny_adapter: Path) -> None:
    leave_adapter(runs, "whole", tiny_adapter)
    leave_adapter(runs, "damaged", tiny_adapter)
    (runs / "damaged" / "chartqa_contract.json").write_text("{", encoding="utf-8")
    leave_adapter(runs, "weightless", tiny_adapter)
    (runs / "weightless" / "adapter_model.safetensors").unlink()
    assert [one.folder.name for one in finished_adapters(runs)] == ["whole"]


@pytest.mark.parametrize(
    "line", [[(0, 0.0)], [(5, 1.0), (10, 1.0)], [(0, -3.0), (1, 4e9)], [(0, 1e-7), (9, 2e-4)]], ids=str
)
def test_every_curve_lies_inside_its_frame(line: list[tuple[float, float]]) -> None:
    svg = curve_chart("Loss", {"training": line})
    places = svg.split('points="')[1].split('"')[0].split()
    for x, y in (map(float, place.split(",")) for place in places):
        assert 52 <= x <= 318
        assert 12 <= y <= 184


def test_names_are_escaped() -> None:
    assert "<b>" not in curve_chart("<b>", {"<b>": [(0, 1.0)]})


def test_figures_are_short() -> None:
    assert [figure(value) for value in (0.000213, 12.3456, -2.0, 0.0)] == ["2.13e−4", "12.3", "−2", "0"]
