"""Everything by Hub id through the real clients, against a Hub on the loopback interface (tests/support/hub.py).

The clients read the Hub's address when they are imported, so each case runs in a child process.
"""

import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import datasets
import pytest
from children import child
from hub import WRITE_TOKEN, Hub, client_environment, serve_hub
from huggingface_hub import HfApi, constants
from huggingface_hub.errors import OfflineModeIsEnabled
from page_fixtures import bar_chart, encoded

from chartqa_demo.space import hub as client

BASE, ADAPTER, CHARTS = "ann/tiny", "ann/tiny-lora", "ann/charts"
FETCH = """
import sys, shutil, collections
from pathlib import Path
from chartqa_demo.space import hub
hub.constants.HF_HUB_DOWNLOAD_TIMEOUT = 1
for name, seconds in (("FIRST_WORD_S", 1.5), ("STALLED_S", 2.0)):
    setattr(hub, name, seconds)
what, name, revision = sys.argv[1:4]
files = {"base model": hub.MODEL_FILES, "adapter": ("adapter_config.json", "adapter_model.safetensors")}[what]
if len(sys.argv) > 4:
    exec(sys.argv[4])
try:
    print(hub.local_folder(name, revision or None, files, what))
except hub.HubError as error:
    sys.exit(f"error: {error}")
"""
START = """
import sys, time
from pathlib import Path
import chartqa_demo.engines.loading as loading, chartqa_demo.settings as settings
loading.choose_real = loading.choose
loading.BUNDLED_BASE = Path(sys.argv[1])
loading.HUB_BASE = sys.argv[2]
import chartqa_demo.engines.local as local
local.BUNDLED_ADAPTER = Path(sys.argv[3])
# A machine with a large GPU, as far as `auto` can tell; what loads is loaded on the CPU.
import torch
from dataclasses import replace
def choose(chosen):
    if chosen.base != "auto":
        return loading.choose_real(chosen)
    return loading.ChosenBase(sys.argv[2], "none", torch.float32, torch.device("cpu"))
local.choose = choose
from chartqa_demo.data.splits import open_split
from chartqa_demo.errors import DatasetError
from chartqa_demo.errors import EngineError
began = time.monotonic()
try:
    chosen = settings.parse_settings(sys.argv[4:])
    engine = local.load_local(chosen)
    rows = open_split(chosen.dataset, "test") if chosen.dataset != "bundled" else []
except (EngineError, DatasetError) as error:
    sys.exit(f"error: {error}")
print("seconds", round(time.monotonic() - began, 1))
print("title", engine.title)
print("adapter", engine.adapter)
print("notes", *engine.notes)
print("rows", len(rows), *(row.load_image().size for row in rows))
"""
# The Hub is waited for more shortly than a person would.
SHORTLY = """
from chartqa_demo.space import hub
hub.FIRST_WORD_S = 1.5
"""
OPEN = """
import sys
from chartqa_demo.data.splits import open_split
rows = open_split(sys.argv[1], "test")
print("rows", len(rows), *(row.load_image().size for row in rows))
"""


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serve_hub() as hub:
        yield hub


@pytest.fixture(scope="module")
def charts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rows in the layout of ChartQA on the Hub."""
    folder = tmp_path_factory.mktemp("charts")
    rows = {
        "image": [
            {"bytes": encoded(bar_chart()), "path": "1.png"},
            {"bytes": encoded(bar_chart((9,))), "path": "2.png"},
        ],
        "query": ["How many bars?", "What is the value?"],
        "label": [["4"], ["9"]],
        "human_or_machine": [0, 1],
    }
    features = datasets.Features(
        image=datasets.Image(),
        query=datasets.Value("string"),
        label=datasets.Sequence(datasets.Value("string")),
        human_or_machine=datasets.Value("int64"),
    )
    (folder / "data").mkdir()
    datasets.Dataset.from_dict(rows, features=features).to_parquet(folder / "data" / "test-00000-of-00001.parquet")
    return folder


@pytest.fixture
def filled(hub: Hub, tiny_base: Path, tiny_adapter: Path, charts: Path) -> Hub:
    hub.put(BASE, tiny_base)
    hub.put(ADAPTER, tiny_adapter)
    hub.put(CHARTS, charts, kind="datasets")
    return hub


def error_of(done) -> str:
    assert done.returncode == 1, done.stdout + done.stderr
    (told,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in done.stderr, done.stderr
    return told


def test_a_cold_start_downloads_base_adapter_and_two_rows(
    filled: Hub, tiny_base: Path, tiny_adapter: Path, tmp_path: Path
) -> None:
    flags = ("--base", BASE, "--adapter", ADAPTER, "--dataset", CHARTS)
    environ = client_environment(filled.url, tmp_path / "hf")
    done = child(START, str(tiny_base), BASE, str(tiny_adapter), *flags, **environ)
    assert done.returncode == 0, done.stderr
    assert f"title {BASE} (float32, cpu)" in done.stdout
    assert f"adapter {ADAPTER}" in done.stdout
    assert "rows 2 (480, 320) (480, 320)" in done.stdout
    assert f"Fetching the base model {BASE}: " in done.stderr, "a long download is announced"
    fetched = [asked.split("/")[-1] for asked in filled.requests if asked.startswith("GET") and "/resolve/" in asked]
    assert {"model.safetensors", "adapter_model.safetensors", "test-00000-of-00001.parquet"} <= set(fetched)


def test_a_base_is_looked_up_once(filled: Hub, tmp_path: Path) -> None:
    load = """
import sys
from chartqa_demo.engines.loading import base_folder
from chartqa_demo.space import hub
found, hub.look_up = hub.look_up, lambda *asked: print("asked", *asked[:2]) or found(*asked)
print(base_folder(sys.argv[1], None).name)
"""
    done = child(load, BASE, **client_environment(filled.url, tmp_path / "hf"))
    assert done.stdout.splitlines() == [f"asked {BASE} None", filled.models[BASE].sha], done.stderr


def test_a_second_start_downloads_nothing_and_a_third_works_without_the_hub(filled: Hub, tmp_path: Path) -> None:
    environ = client_environment(filled.url, tmp_path / "hf")
    first = child(FETCH, "base model", BASE, "", **environ)
    filled.requests.clear()
    second = child(FETCH, "base model", BASE, "", **environ)
    assert not any("/resolve/" in asked for asked in filled.requests)
    filled.silent = "."
    third = child(FETCH, "base model", BASE, "", **environ)
    assert first.stdout == second.stdout == third.stdout != ""


def test_a_revision_is_taken_and_another_refused(filled: Hub, tmp_path: Path) -> None:
    environ = client_environment(filled.url, tmp_path / "hf")
    sha = filled.models[ADAPTER].sha
    assert child(FETCH, "adapter", ADAPTER, sha, **environ).stdout.strip().endswith(sha)
    assert "has no revision 'v9'" in error_of(child(FETCH, "adapter", ADAPTER, "v9", **environ))


def refuse_gated(hub: Hub) -> None:
    hub.models[BASE].gated = True


def refuse_missing(hub: Hub) -> None:
    del hub.models[BASE]


def refuse_token(hub: Hub) -> None:
    hub.broken = {"GET /api/models/ann/tiny": 401}


def refuse_limit(hub: Hub) -> None:
    hub.broken = {"GET /api/models/ann/tiny": 429}


def refuse_broken(hub: Hub) -> None:
    hub.broken = {"GET /api/models/ann/tiny": 503}


def refuse_pickle(hub: Hub) -> None:
    files = hub.models[BASE].files
    files["pytorch_model.bin"] = files.pop("model.safetensors")


def refuse_sum(hub: Hub) -> None:
    hub.bad_sums = {"model.safetensors"}


def stay_silent(hub: Hub) -> None:
    hub.silent = "."


def stop_in_the_middle(hub: Hub) -> None:
    hub.silent = "GET .*/resolve/.*model.safetensors"


@pytest.mark.parametrize(
    ("refuse", "sentence"),
    [
        (refuse_gated, "is gated: accept its terms"),
        (refuse_missing, "There is no base model ann/tiny"),
        (refuse_token, "does not let this machine read the base model ann/tiny (401)"),
        (refuse_limit, "the Hub answers 429"),
        (refuse_broken, "the Hub answers 503"),
        (refuse_pickle, "holds no weights in safetensors"),
        (refuse_sum, "model.safetensors of the base model ann/tiny arrived damaged"),
        # As the three tests that start with a Hub which never answers
        pytest.param(stay_silent, "is not on this machine and the Hub does not answer", marks=pytest.mark.campaign),
        (stop_in_the_middle, "The Hub stopped sending the base model ann/tiny after"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_every_refusal_is_one_sentence(refuse, sentence: str, filled: Hub, tmp_path: Path) -> None:
    refuse(filled)
    assert sentence in error_of(child(FETCH, "base model", BASE, "", **client_environment(filled.url, tmp_path / "hf")))


def test_a_damaged_download_is_fetched_again_by_the_next_start(filled: Hub, tmp_path: Path) -> None:
    environ = client_environment(filled.url, tmp_path / "hf")
    filled.bad_sums = {"model.safetensors"}
    error_of(child(FETCH, "base model", BASE, "", **environ))
    filled.bad_sums = set()
    folder = Path(child(FETCH, "base model", BASE, "", **environ).stdout.strip())
    assert (folder / "model.safetensors").read_bytes() == filled.models[BASE].files["model.safetensors"]


def test_a_disk_without_room_is_told_before_anything_is_downloaded(filled: Hub, tmp_path: Path) -> None:
    full = "shutil.disk_usage = lambda folder: collections.namedtuple('Usage', 'total used free')(10, 9, 1)"
    environ = client_environment(filled.url, tmp_path / "hf")
    assert "MB on disk and 0.0 MB are free" in error_of(child(FETCH, "base model", BASE, "", full, **environ))
    assert not any("/resolve/" in asked for asked in filled.requests)


def test_a_disk_that_fills_up_on_the_way_is_a_sentence(filled: Hub, tmp_path: Path) -> None:
    fill = "def full(*a, **k): raise OSError(28, 'No space left on device')\nhub.snapshot_download = full"
    environ = client_environment(filled.url, tmp_path / "hf")
    assert "The disk is full" in error_of(child(FETCH, "base model", BASE, "", fill, **environ))


def test_a_hub_that_refuses_connections_is_a_sentence(tmp_path: Path) -> None:
    with socket.socket() as closed:  # bound and not listening
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        done = child(FETCH, "base model", BASE, "", **client_environment(url, tmp_path / "hf"))
    assert "is not on this machine and the Hub cannot be reached" in error_of(done)


def test_no_token_leaves_this_machine_in_a_message(filled: Hub, tmp_path: Path) -> None:
    refuse_token(filled)
    done = child(FETCH, "base model", BASE, "", **client_environment(filled.url, tmp_path / "hf"))
    assert WRITE_TOKEN not in done.stdout + done.stderr


def test_the_waits_together_leave_the_page_up_within_thirty_seconds() -> None:
    assert client.FIRST_WORD_S + client.STALLED_S < 30 < client.SILENT_S


def test_a_hub_that_never_answers_is_waited_for_once_and_auto_takes_the_bundled_model(
    filled: Hub, tiny_base: Path, tiny_adapter: Path, tmp_path: Path, figure: Callable[[str, object], None]
) -> None:
    filled.silent = "."
    environ = client_environment(filled.url, tmp_path / "hf")
    done = child(START, str(tiny_base), BASE, str(tiny_adapter), **environ)
    assert done.returncode == 0, done.stderr
    told = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert told["title"] == "the bundled small Qwen2-VL"
    assert "The bundled model answers: The base model ann/tiny is not on this machine" in told["notes"]
    assert len(filled.requests) == 1, "the adapter is not waited for again"
    figure("start while the Hub never answers, weights included, imports not", f"{told['seconds']} s")


def test_an_explicit_choice_is_refused_when_the_hub_never_answers(
    filled: Hub, tiny_base: Path, tiny_adapter: Path, tmp_path: Path
) -> None:
    filled.silent = "."
    environ = client_environment(filled.url, tmp_path / "hf")

    def start(*flags: str) -> subprocess.CompletedProcess[str]:
        return child(SHORTLY + START, str(tiny_base), BASE, str(tiny_adapter), *flags, **environ)

    with ThreadPoolExecutor() as both:  # most of either is waiting
        waiting = [both.submit(start, "--base", BASE), both.submit(start, "--base", "bundled", "--dataset", CHARTS)]
    for done in waiting:
        told = error_of(done.result())
        assert "not on this machine" in told or "cannot be reached" in told


def test_cached_charts_open_while_the_hub_never_answers(filled: Hub, tmp_path: Path) -> None:
    environ = client_environment(filled.url, tmp_path / "hf")
    assert "rows 2" in child(OPEN, CHARTS, **environ).stdout
    filled.silent = "."
    again = child(SHORTLY + OPEN, CHARTS, **environ)
    assert "rows 2" in again.stdout, again.stderr


def test_a_folder_needs_no_hub(tmp_path: Path, tiny_base: Path) -> None:
    copy = shutil.copytree(tiny_base, tmp_path / "mine")
    assert client.local_folder(str(copy), None, client.MODEL_FILES, "base model") == copy


def give_up_on(thing: threading.Event) -> None:
    """An abandoned download that ends when `thing` is set."""
    with pytest.raises(TimeoutError):
        client._in_time(thing.wait, time.monotonic, 0.0)


def is_soon(offline: bool) -> bool:
    until = time.monotonic() + 5
    while constants.is_offline_mode() is not offline and time.monotonic() < until:
        time.sleep(0.01)
    return constants.is_offline_mode() is offline is datasets.config.HF_HUB_OFFLINE


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clients as a usual process has them; the tests' own is offline. Sends nothing."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)


@pytest.mark.parametrize("first_to_end", [0, 1])
def test_after_two_overlapping_time_outs_the_hub_is_asked_again(first_to_end: int, online: None) -> None:
    downloads = threading.Event(), threading.Event()
    for one in downloads:
        give_up_on(one)
    assert is_soon(True)
    downloads[first_to_end].set()
    time.sleep(0.1)
    assert is_soon(True), "the other one still waits"
    downloads[1 - first_to_end].set()
    assert is_soon(False)


def test_what_still_arrives_is_not_cut_off_by_another_download_that_is_given_up(online: None) -> None:
    stalled, healthy = threading.Event(), threading.Event()
    with ThreadPoolExecutor() as other:
        arriving = other.submit(client._in_time, healthy.wait, time.monotonic, 60.0)
        while not client._waited_for:
            time.sleep(0.01)
        give_up_on(stalled)
        assert constants.is_offline_mode() is datasets.config.HF_HUB_OFFLINE is False
        healthy.set()
        assert arriving.result() is True
    stalled.set()
    assert is_soon(False) and not client._waited_for


def test_an_operator_s_own_offline_mode_outlives_a_time_out() -> None:
    download = threading.Event()
    give_up_on(download)
    download.set()
    time.sleep(0.1)
    assert is_soon(True)


def test_inside_offline_the_client_sends_no_request(online: None) -> None:
    with client.offline, pytest.raises(OfflineModeIsEnabled):
        HfApi().repo_info("ann/tiny")
