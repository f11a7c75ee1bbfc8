"""Fixtures that more than one test file uses, and the figures that tests measured, printed at the end."""

import gc
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

# What is imported is compiled once: the suite starts dozens of programs, and each would compile the app anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # the suite runs in several processes
# Every process of the suite has ports of its own. When two ask for one at once, Gradio goes on to the next port with
# the same app, whose MCP server cannot be started twice, and waits five seconds at each of a hundred ports.
os.environ["GRADIO_SERVER_PORT"] = str(7900 + 20 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]))
os.environ["GRADIO_NUM_PORTS"] = "20"
# An app that ends deletes the uploads it was sent, and the same chart is one file for all apps of a folder.
os.environ["GRADIO_TEMP_DIR"] = tempfile.mkdtemp(prefix="uploads")
# What tests read of small folders is not left in the cache of whoever runs them.
os.environ["HF_DATASETS_CACHE"] = tempfile.mkdtemp(prefix="datasets")
# The page shows the training runs of the machine's trackio store: here none but a test's own.
os.environ["TRACKIO_DIR"] = tempfile.mkdtemp(prefix="trackio")

import certifi
import pytest

sys.dont_write_bytecode = False
if "PYTEST_XDIST_WORKER" in os.environ:
    gc.disable()  # until all is imported, see pytest_collection_finish

# httpx reads 120 certificates, for 30 ms, at every request without a client of its own, as Gradio makes them. The tests
# speak to no other machine: one certificate will do.
os.environ["SSL_CERT_FILE"] = str(Path(tempfile.mkdtemp(prefix="certificates"), "one.pem"))
Path(os.environ["SSL_CERT_FILE"]).write_text("".join(certifi.contents().partition("END CERTIFICATE-----\n")[:2]))

# Files of seven seconds and more, the longest first: what begins last should not be what ends last.
LONG = (
    *("test_loop", "test_evaluate_page", "test_getting_a_chart_in", "test_compare_page", "test_evaluate_own"),
    *("test_nothing_is_lost", "test_compare_page_failures", "test_hub", "test_zerogpu", "test_guess_first"),
    *("test_compare_page_access", "test_image_card", "test_former", "test_chart_beside_answers"),
    *("test_compare_page_details", "test_transformers_serve", "test_corrections_page", "test_kernels"),
    *("test_languages", "test_links", "test_steps", "test_endpoint", "test_api", "test_adapters", "test_mixture"),
    *("test_adapter_options", "test_layout", "test_stop", "test_operations", "test_families", "test_training_tab"),
    *("test_adapter_weights", "test_corrections_stored", "test_sharded_run", "test_scale_out", "test_publish"),
    *("test_keyboard", "test_hasty", "test_differences", "test_end", "test_space", "test_deploy", "test_commands"),
    *("test_gaze_page", "test_table_page", "test_thirty_in_a_row", "test_choosing", "test_recorded"),
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--record", action="store_true", help="with -m campaign: write its results to bench/results")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    rank = {name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(LONG)))


def pytest_collection_finish() -> None:
    """What was imported is there to stay: looking through it takes most of a second, and a training run begins so."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tiny import build_tiny  # not before a test needs it: torch takes seconds

    return build_tiny(tmp_path_factory.mktemp("tiny") / "base")


@pytest.fixture(scope="session")
def tiny_adapter(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tiny import build_tiny_adapter

    return build_tiny_adapter(tiny_base, tmp_path_factory.mktemp("tiny") / "adapter")


@pytest.fixture
def trackio_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty store of training runs, for this process and the ones it starts."""
    store = tmp_path / "trackio"
    # In this order: the first patch imports trackio, which must not take the test's folder for its own default.
    monkeypatch.setattr("trackio.sqlite_storage.TRACKIO_DIR", store)
    monkeypatch.setenv("TRACKIO_DIR", str(store))
    return store


@pytest.fixture
def figure(record_property: Callable[[str, object], None]) -> Callable[[str, object], None]:
    """`figure(what, value)`: something that was measured, for people to read after the run."""
    return record_property


def record(reports: list[pytest.TestReport]) -> None:
    """Write what the long runs found where docs/reliability.md is made from."""
    from bench.reliability import save, table

    tests: dict[str, tuple[str, float]] = {}
    for one in reports:
        outcome, seconds = tests.get(one.nodeid, ("passed", 0.0))
        tests[one.nodeid] = (outcome if one.passed else one.outcome, seconds + one.duration)
    rows = [(f"`{test}`", outcome, round(seconds)) for test, (outcome, seconds) in sorted(tests.items())]
    git = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    note = f"At commit {commit or 'unknown'}. Seconds count what a test sets up and takes down, two at a time."
    command = "python -m pytest -m campaign --record"
    save("campaign", "Long runs of the tests", command, [table("Tests", ["test", "outcome", "seconds"], rows)], [note])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    reports = [one for group in terminalreporter.stats.values() for one in group if hasattr(one, "user_properties")]
    if config.getoption("--record") and not hasattr(config, "workerinput"):  # each of xdist's processes sums up, too
        record([one for one in reports if isinstance(one, pytest.TestReport)])
    figures = dict(told for report in reports for told in report.user_properties)
    if figures:
        terminalreporter.section("figures")
        for what, value in figures.items():
            terminalreporter.write_line(f"{what}: {value}")
