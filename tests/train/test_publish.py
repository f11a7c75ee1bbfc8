"""Publishing with the real Hub client against a Hub on the loopback interface (tests/support/hub.py).

The client reads its address when it is imported, so it runs in child processes.
"""

import errno
import json
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from children import child
from hub import OWNER, READ_TOKEN, Hub, client_environment, serve_hub
from safetensors.torch import load_file, save_file

from chartqa_demo.adapters.contract import Contract
from chartqa_demo.arms import ARMS, SYSTEM_MESSAGE
from chartqa_demo.settings import BUNDLED_ADAPTER
from train.publish import again
from train.publish.push import PublishError, check_adapter

ROOT = Path(__file__).parents[2]
REPO = f"{OWNER}/charts"
PUSH = """
import sys
from pathlib import Path
from train.publish.push import PublishError, push, repository
try:
    print(push(Path(sys.argv[1]), repository(sys.argv[2], Path(sys.argv[1]), private=True)))
except PublishError as error:
    sys.exit(f"error: {error}")
"""
ASK = """
import sys
from PIL import Image
from chartqa_demo.engines import Options
from chartqa_demo.errors import EngineError
from chartqa_demo.engines.local import load_local
from chartqa_demo.settings import parse_settings
try:
    engine = load_local(parse_settings([]))
except EngineError as error:
    sys.exit(f"error: {error}")
*_, answers = engine.answer(Image.new("RGB", (168, 112), "white"), "How many bars?", engine.arms, Options(4))
assert all(answer.done and answer.error is None for answer in answers), answers
print(engine.adapter, len(answers))
"""


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serve_hub() as hub:
        yield hub


@pytest.fixture
def adapter(tiny_adapter: Path, tmp_path: Path) -> Path:
    """A finished adapter as a run leaves it, checkpoints and all."""
    folder = shutil.copytree(tiny_adapter, tmp_path / "charts")
    config = folder / "adapter_config.json"
    described = json.loads(config.read_text(encoding="utf-8"))
    config.write_text(json.dumps({**described, "base_model_name_or_path": "ann/tiny"}), encoding="utf-8")
    scores = {arm.key: 12.5 for arm in ARMS}
    Contract("ann/tiny", SYSTEM_MESSAGE, min_pixels=3136, max_pixels=50_176, scores=scores).save(folder)
    (folder / "results.json").write_text('{"complete": true}', encoding="utf-8")
    (folder / "README.md").write_text("---\nlibrary_name: peft\n---\n# charts\n", encoding="utf-8")
    (folder / "training_args.bin").write_bytes(b"not for others")
    (folder / "checkpoint-2").mkdir()
    (folder / "checkpoint-2" / "optimizer.pt").write_bytes(b"not for others")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_push_creates_a_private_repository_with_the_adapters_files_and_reads_them_back(
    hub: Hub, adapter: Path, tmp_path: Path
) -> None:
    done = child(PUSH, str(adapter), "charts", **client_environment(hub.url, tmp_path / "hf"))
    assert done.returncode == 0, done.stderr
    repo = hub.models[REPO]
    assert repo.private
    assert repo.commits == 1
    assert repo.files.keys() - {".gitattributes"} == {
        *("adapter_model.safetensors", "adapter_config.json", "chartqa_contract.json", "results.json", "README.md")
    }
    assert all(repo.files[name] == (adapter / name).read_bytes() for name in repo.files)
    read_back = [asked for asked in hub.requests if asked.startswith("GET") and "/resolve/" in asked]
    assert len(read_back) >= 5
    assert not any(b"hf_test" in body for body in hub.bodies)
    assert "hf_test" not in done.stdout + done.stderr


def test_push_only_publishes_what_a_run_left(hub: Hub, adapter: Path, tiny_base: Path, tmp_path: Path) -> None:
    command = ["--output_dir", str(adapter), "--hub_model_id", "charts", "--model_name_or_path", str(tiny_base)]
    arguments = ["-m", "train", *command, "--use_peft", "--use_cpu", "--bf16", "false", "--push_only"]
    done = child(arguments, **client_environment(hub.url, tmp_path / "hf"))
    assert done.returncode == 0, done.stderr
    assert f"Published: {hub.url}/{REPO}/commit/" in done.stdout


def test_the_app_answers_with_an_adapter_that_was_pushed(
    hub: Hub, adapter: Path, tiny_base: Path, tmp_path: Path
) -> None:
    environ = client_environment(hub.url, tmp_path / "hf")
    assert child(PUSH, str(adapter), "charts", **environ).returncode == 0
    done = child(ASK, CHARTQA_ADAPTER=REPO, CHARTQA_BASE=str(tiny_base), **environ)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [REPO, "3"]


def test_the_app_says_what_a_half_uploaded_adapter_lacks(
    hub: Hub, adapter: Path, tiny_base: Path, tmp_path: Path
) -> None:
    hub.put(REPO, adapter)
    del hub.models[REPO].files["adapter_model.safetensors"]
    environ = client_environment(hub.url, tmp_path / "hf")
    done = child(ASK, CHARTQA_ADAPTER=REPO, CHARTQA_BASE=str(tiny_base), **environ)
    assert "it needs adapter_config.json and adapter_model.safetensors" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ({"POST /api/repos/create": 401}, "does not accept your token"),
        pytest.param({"POST /api/repos/create": 403}, "may not write", marks=pytest.mark.campaign),
        pytest.param({"POST .*/preupload/": 403}, "may not write", marks=pytest.mark.campaign),
        pytest.param({"POST .*/preupload/": 404}, "no repository ann/charts", marks=pytest.mark.campaign),
        ({"POST .*/commit/": 500}, "answered 500"),
        ({"GET .*/resolve/": 404}, "404"),
    ],
)
def test_a_refusal_of_the_hub_is_a_sentence_and_the_run_stays_as_it_is(
    broken: dict[str, int], reason: str, hub: Hub, adapter: Path, tmp_path: Path
) -> None:
    hub.broken = broken
    before = contents(adapter)
    environ = client_environment(hub.url, tmp_path / "hf")
    failed = child(PUSH, str(adapter), "charts", **environ)
    assert failed.returncode == 1
    last = failed.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert reason in last
    assert contents(adapter) == before

    hub.broken = {}
    assert child(PUSH, str(adapter), "charts", **environ).returncode == 0
    assert hub.models[REPO].files["results.json"] == (adapter / "results.json").read_bytes()


def test_a_gated_repository_is_told_from_a_missing_one(hub: Hub, adapter: Path, tmp_path: Path) -> None:
    hub.put(REPO, adapter, gated=True)
    done = child(PUSH, str(adapter), "charts", **client_environment(hub.url, tmp_path / "hf"))
    assert "gated" in done.stderr.splitlines()[-1]


def test_a_token_that_may_only_read_is_told_so(hub: Hub, adapter: Path, tmp_path: Path) -> None:
    done = child(PUSH, str(adapter), "charts", **client_environment(hub.url, tmp_path / "hf", READ_TOKEN))
    assert "(403)" in done.stderr.splitlines()[-1]
    assert hub.models == {}


def test_pushing_without_a_login_says_how_to_log_in(hub: Hub, adapter: Path, tmp_path: Path) -> None:
    done = child(PUSH, str(adapter), "charts", **client_environment(hub.url, tmp_path / "hf", token=None))
    assert "hf auth login" in done.stderr.splitlines()[-1]
    assert hub.requests == []


def test_a_hub_that_is_down_is_a_sentence(adapter: Path, tmp_path: Path) -> None:
    with socket.socket() as closed:  # bound and not listening: refuses every connection
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        done = child(PUSH, str(adapter), "charts", **client_environment(url, tmp_path / "hf"))
    assert "cannot be reached" in done.stderr.splitlines()[-1]


def test_a_file_that_arrives_cut_off_is_found_by_reading_back(hub: Hub, adapter: Path, tmp_path: Path) -> None:
    hub.spoil = {"chartqa_contract.json"}
    done = child(PUSH, str(adapter), "charts", **client_environment(hub.url, tmp_path / "hf"))
    assert done.returncode == 1
    assert "chartqa_contract.json in ann/charts differ" in done.stderr.splitlines()[-1]


def drop_results(folder: Path) -> None:
    (folder / "results.json").unlink()


def drop_scores(folder: Path) -> None:
    Contract("ann/tiny", SYSTEM_MESSAGE).save(folder)


def stop_early(folder: Path) -> None:
    results = '{"complete": false, "asked": 8, "planned": 250}'
    (folder / "results.json").write_text(results, encoding="utf-8")


def cut_weights(folder: Path) -> None:
    weights = folder / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def empty_weights(folder: Path) -> None:
    (folder / "adapter_model.safetensors").write_bytes(b"")


def untrain(folder: Path) -> None:
    weights = load_file(folder / "adapter_model.safetensors")
    save_file({k: v * ("lora_A" in k) for k, v in weights.items()}, folder / "adapter_model.safetensors")


def name_a_folder(folder: Path) -> None:
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**config, "base_model_name_or_path": "/home/ann/qwen"}), encoding="utf-8")


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (drop_results, "has no results.json"),
        (drop_scores, "was not measured"),
        (stop_early, "stops after 8 of 250"),
        (cut_weights, "cut off or damaged"),
        (empty_weights, "is empty"),
        (untrain, "was not trained"),
        (name_a_folder, "--base_id"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_is_not_a_trained_and_measured_adapter_is_refused(harm, reason: str, adapter: Path) -> None:
    check_adapter(adapter)
    harm(adapter)
    with pytest.raises(PublishError, match=reason):
        check_adapter(adapter)


RESULTS = ROOT / "results" / "bundled--chartqa-test-all.json"
MEASURED = [
    *("--blind", str(ROOT / "bench" / "results" / "reading" / "blind.json")),
    *("--curve", str(ROOT / "results" / "learning_curve" / "bundled.json")),
]


def test_the_shipped_adapters_card_and_contract_have_the_figures_of_their_results_files(tmp_path: Path) -> None:
    adapter = shutil.copytree(BUNDLED_ADAPTER, tmp_path / "bundled")
    kept = {name: (adapter / name).read_text(encoding="utf-8") for name in ("README.md", "chartqa_contract.json")}
    assert again.main([str(adapter), str(RESULTS), *MEASURED]) == 0
    for name, text in kept.items():
        assert (adapter / name).read_text(encoding="utf-8") == text


def test_an_adapter_that_is_measured_anew_says_the_new_figures_and_nothing_else(tmp_path: Path) -> None:
    adapter = shutil.copytree(BUNDLED_ADAPTER, tmp_path / "bundled")
    before = (adapter / "README.md").read_text(encoding="utf-8").splitlines()
    found = json.loads(RESULTS.read_text(encoding="utf-8"))
    found["scores"]["canonical"]["adapter"]["all"]["accuracy"] = 0.777
    (tmp_path / "results.json").write_text(json.dumps(found), encoding="utf-8")
    assert again.main([str(adapter), str(tmp_path / "results.json")]) == 0
    after = (adapter / "README.md").read_text(encoding="utf-8").splitlines()
    changed = [new for old, new in zip(before, after, strict=True) if old != new]
    assert [line.strip() for line in changed if "value:" in line] == ["value: 77.7"]
    assert [line.startswith("| Adapter |") and "77.70 [" in line for line in changed if "value:" not in line] == [True]
    contract = json.loads((adapter / "chartqa_contract.json").read_text(encoding="utf-8"))
    assert contract["scores"]["adapter"] == 77.7


def _with(results: Path, **changed: object) -> None:
    results.write_text(json.dumps(json.loads(results.read_text(encoding="utf-8")) | changed), encoding="utf-8")


def _as_pipe(results: Path) -> None:
    results.unlink()
    os.mkfifo(results)


def _unmeasured(results: Path) -> None:
    found = json.loads(results.read_text(encoding="utf-8"))
    found["scores"]["canonical"]["prompted"]["all"]["accuracy"] = None
    results.write_text(json.dumps(found), encoding="utf-8")


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (lambda card, _: card.write_text("# Mine\n"), "needs the lines <!-- measured -->"),
        (lambda card, _: card.write_text(card.read_text().replace("language: en", "language: [en")), "another kind"),
        (lambda _, results: results.write_text("[]"), "of a type or size"),
        (lambda _, results: results.write_text("[" * 100_000), "nested too deeply"),
        (lambda _, results: _as_pipe(results), "no ordinary file"),
        (lambda _, results: _with(results, model="Qwen/Qwen2-VL-7B-Instruct (NF4, cuda)"), "stands on bundled"),
        (lambda _, results: _with(results, adapter="you/another"), "of the adapter you/another"),
        (lambda _, results: _with(results, complete=False), "has not ended"),
        (lambda _, results: _unmeasured(results), "the accuracy of prompted is None"),
    ],
    ids=["no marks", "metadata", "no results", "nested", "pipe", "base", "adapter", "not ended", "unmeasured"],
)
def test_a_card_that_cannot_be_filled_stays_and_is_told(
    harm: Callable[[Path, Path], object], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter, results = shutil.copytree(BUNDLED_ADAPTER, tmp_path / "bundled"), tmp_path / "results.json"
    shutil.copy(RESULTS, results)
    harm(adapter / "README.md", results)
    kept = contents(adapter)
    assert again.main([str(adapter), str(results)]) == 2
    told = capsys.readouterr().err
    assert "stay as they are" in told and reason in told and told.count("\n") == 1
    assert contents(adapter) == kept


def test_a_disk_that_takes_the_card_but_not_the_contract_leaves_both_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter = shutil.copytree(BUNDLED_ADAPTER, tmp_path / "bundled")
    found = json.loads(RESULTS.read_text(encoding="utf-8"))
    found["scores"]["canonical"]["adapter"]["all"]["accuracy"] = 0.777
    (tmp_path / "results.json").write_text(json.dumps(found), encoding="utf-8")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Contract, "save", full)
    kept = contents(adapter)
    assert again.main([str(adapter), str(tmp_path / "results.json")]) == 2
    assert "No space left" in capsys.readouterr().err
    assert contents(adapter) == kept


def test_a_card_keeps_its_line_ends_and_metadata_without_figures(tmp_path: Path) -> None:
    adapter = shutil.copytree(BUNDLED_ADAPTER, tmp_path / "bundled")
    card = (adapter / "README.md").read_bytes()
    metadata, text = card.split(b"model-index:")[0], card.split(b"---\n", 2)[2]
    for kept in (card.replace(b"\n", b"\r\n"), text, metadata + b"mine: 1 # a remark\n---\n" + text):
        (adapter / "README.md").write_bytes(kept)
        assert again.main([str(adapter), str(RESULTS)]) == 0
        assert (adapter / "README.md").read_bytes() == kept
