"""A whole run of the training on a tiny random Qwen2-VL, what it leaves behind, and how a killed one goes on."""

import json
import sqlite3
import subprocess
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import torch
from children import child
from hub import client_environment, hub_address
from peft import PeftModel
from PIL import Image as Pictures
from safetensors.torch import load_file
from train_fixtures import ROOT, png, write_config
from transformers import AutoModelForImageTextToText, AutoProcessor

from chartqa_demo.adapters.contract import read_contract
from chartqa_demo.adapters.load import load_adapter
from chartqa_demo.arms import ARMS, SYSTEM_MESSAGE
from chartqa_demo.engines import Options
from chartqa_demo.engines.loading import ChosenBase
from chartqa_demo.engines.local import LocalEngine, load_local
from chartqa_demo.settings import Settings
from train.__main__ import main
from train.progress import last_save
from train.publish.push import check_adapter
from train.publish.scoring import training_engine

pytest_plugins = ("train_fixtures",)
pytestmark = pytest.mark.usefixtures("own_dataset_cache")


def surroundings(trackio: Path) -> dict[str, str]:
    return client_environment(hub_address(), trackio / "hf", token=None) | {"TRACKIO_DIR": str(trackio)}


def run(command: list[str], trackio: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """`python -m train` in a process of its own."""
    return child(["-m", "train"], *command, **surroundings(trackio), **environ)


@pytest.fixture(scope="module")
def finished(tiny_base: Path, charts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was never interrupted."""
    folder = tmp_path_factory.mktemp("finished")
    command = write_config(folder, tiny_base, charts, base_id="ann/tiny", max_pixels=40_000)
    done = run(command, folder / "trackio", HF_TOKEN="hf_secret_token")
    assert done.returncode == 0, done.stderr
    assert "Trained on:" in done.stdout
    return folder / "run"


def test_a_run_leaves_an_adapter_with_its_contract_results_and_card(finished: Path) -> None:
    config = json.loads((finished / "adapter_config.json").read_text(encoding="utf-8"))
    contract = read_contract(finished)
    assert contract is not None
    assert config["base_model_name_or_path"] == contract.base == "ann/tiny"
    assert contract.system == SYSTEM_MESSAGE
    assert contract.max_pixels == 40_000
    assert (contract.dataset, contract.split, contract.seed) == ("tiny-charts", "train", 42)
    assert contract.scores.keys() == {"pretrained", "prompted", "adapter"}
    assert contract.versions["trl"]
    assert (finished / "results.json").is_file()
    card = (finished / "README.md").read_text(encoding="utf-8")
    assert "model-index" in card
    assert "base_model: ann/tiny" in card


def test_the_pixel_limits_travel_with_the_adapter(finished: Path) -> None:
    processor = AutoProcessor.from_pretrained(finished)
    assert processor.image_processor.size["longest_edge"] == 40_000


def test_nothing_of_this_machine_is_in_the_files_to_publish(finished: Path, tiny_base: Path) -> None:
    for path in check_adapter(finished):
        data = path.read_bytes()
        for secret in (b"hf_secret_token", str(tiny_base).encode(), str(finished.parent).encode(), str(ROOT).encode()):
            assert secret not in data, path.name


def test_no_file_of_a_run_holds_the_token(finished: Path) -> None:
    files = [path for path in finished.parent.rglob("*") if path.is_file()]
    assert any(path.name == "training_args.bin" for path in files)
    assert not [path for path in files if b"hf_secret_token" in path.read_bytes()]


def test_the_trained_adapter_loads_on_its_base_and_changes_its_logits(finished: Path, tiny_base: Path) -> None:
    base = AutoModelForImageTextToText.from_pretrained(tiny_base, dtype=torch.float32)
    ids = torch.arange(20, 40)[None]
    inputs = {"input_ids": ids, "mm_token_type_ids": torch.zeros_like(ids)}
    with torch.no_grad():
        before = base(**inputs).logits
        after = load_adapter(base, finished)(**inputs).logits
    assert (before - after).abs().max() > 1e-4


def test_the_adapter_in_training_answers_like_the_saved_one(tiny_base: Path, tiny_adapter: Path) -> None:
    served = load_local(Settings(base=str(tiny_base), adapter=str(tiny_adapter)))
    base = AutoModelForImageTextToText.from_pretrained(tiny_base, dtype=torch.float32)
    trained = PeftModel.from_pretrained(base, tiny_adapter, adapter_name="default").eval()
    choice = ChosenBase("tiny", "none", torch.float32, torch.device("cpu"))
    training = training_engine(trained, AutoProcessor.from_pretrained(tiny_base), choice, Settings(), "tiny")
    asked = [(Pictures.open(BytesIO(png(number))), "What is the value of bar 1?") for number in range(3)]

    def texts(engine: LocalEngine) -> list[list[str]]:
        return [[answer.text for answer in answers] for answers in engine.answer_many(asked, ARMS, Options(6))]

    assert texts(training) == texts(served)
    assert all(prompted != adapter for _, prompted, adapter in texts(training))


def test_a_folder_that_holds_a_run_is_not_trained_over(
    finished: Path, tiny_base: Path, charts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(write_config(tmp_path, tiny_base, charts, output_dir=str(finished))) == 2
    assert "--resume" in capsys.readouterr().err


def test_a_run_that_is_continued_with_other_layers_is_told_so(
    finished: Path, tiny_base: Path, charts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = write_config(tmp_path, tiny_base, charts, output_dir=str(finished), lora_r=8, report_to="none")
    assert main([*command, "--resume"]) == 2
    told = capsys.readouterr().err
    assert "8 tensors, 0 of them as the model has them" in told and "lora_r" in told


def logged(trackio: Path) -> list[dict[str, Any]]:
    """Every row of the one run in a trackio store."""
    with closing(sqlite3.connect(trackio / "tiny.db")) as store:
        rows = store.execute("SELECT run_id, metrics FROM metrics ORDER BY timestamp, id").fetchall()
    assert len({run for run, _ in rows}) == 1
    return [json.loads(metrics) for _, metrics in rows]


def losses(trackio: Path) -> list[tuple[int, float]]:
    return [(row["train/global_step"], row["train/loss"]) for row in logged(trackio) if "train/loss" in row]


def test_a_killed_run_goes_on_from_its_last_save_to_the_same_adapter(
    finished: Path, tiny_base: Path, charts: Path, tmp_path: Path
) -> None:
    """kill -9 after the first save and before the next: same weights, one trackio run, no step twice."""
    command = write_config(tmp_path, tiny_base, charts, base_id="ann/tiny", max_pixels=40_000)
    trackio = tmp_path / "trackio"
    killed = child(KILLED, *command, **surroundings(trackio))
    assert killed.returncode == -9, killed.stderr
    assert [step for step, _ in losses(trackio)] == [1, 2, 3]
    assert last_save(tmp_path / "run", resume=True) == tmp_path / "run" / "checkpoint-2"

    done = run([*command, "--resume"], trackio)
    assert done.returncode == 0, done.stderr
    assert [step for step, _ in losses(trackio)] == [1, 2, 3, 4]
    assert dict(losses(trackio)) == pytest.approx(dict(losses(finished.parent / "trackio")))
    steps = [row["train/global_step"] for row in logged(trackio) if "eval/accuracy_adapter" in row]
    assert steps == [0, 2, 4]
    mine, other = (
        load_file(tmp_path / "run" / "adapter_model.safetensors"),
        load_file(finished / "adapter_model.safetensors"),
    )
    assert all(torch.allclose(mine[name], other[name], atol=1e-6) for name in other)


# Kills itself in the middle of step 4, when trackio has written what it was given at step 3.
KILLED = """
import os, signal, sys, time
from transformers import TrainerCallback
import train.__main__ as program

class Kill(TrainerCallback):
    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == 3:
            from trackio.sqlite_storage import SQLiteStorage as S
            while not any(row.get("train/global_step") == 3 for row in S.get_logs("tiny", run=args.run_name)):
                time.sleep(0.05)
            os.kill(os.getpid(), signal.SIGKILL)

class Trainer(program.ChartTrainer):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, callbacks=[Kill()], **kwargs)

program.ChartTrainer = Trainer
sys.exit(program.main(sys.argv[1:]))
"""


def test_a_half_written_save_is_passed_over(tmp_path: Path) -> None:
    for step, state in ((2, "{}"), (4, '{"global_st')):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "adapter_model.safetensors").write_bytes(b"weights")
        (folder / "trainer_state.json").write_text(state, encoding="utf-8")
    (tmp_path / "checkpoint-6").mkdir()
    assert last_save(tmp_path, resume=True) == tmp_path / "checkpoint-2"


def test_resuming_where_nothing_was_saved_starts_from_the_beginning(tmp_path: Path) -> None:
    assert last_save(tmp_path / "nothing", resume=True) is None
