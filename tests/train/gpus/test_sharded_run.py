"""A run sharded over two processes, with the settings of fsdp_qlora.yaml but for the 4 bits: its adapter is whole at
every save, is the one of a run in one process, and goes on and is measured after --resume."""

import json
import shutil
import socket
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.checkpoint as shards
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils.launch import prepare_multi_gpu_env
from children import child
from hub import client_environment, hub_address
from safetensors.torch import load_file, save_file
from train_fixtures import ROOT, write_config
from trl import SFTConfig

from chartqa_demo.adapters.contract import WEIGHTS, read_contract
from train.__main__ import parse
from train.progress import SHARDED_FILE, SHARDED_FOLDER, STATE_FILE, RunError, check_saved, last_save, recover

pytest_plugins = ("train_fixtures",)
pytestmark = pytest.mark.usefixtures("own_dataset_cache")

# accelerate shards over GPUs only; these processes say that they are such, and compute on the CPU, through gloo.
SHARDED = """
import sys
from accelerate.state import PartialState
from accelerate.utils import DistributedType
before = PartialState.__init__
def init(self, *args, **kwargs):
    before(self, *args, **kwargs)
    if self.distributed_type == DistributedType.MULTI_CPU:
        self._shared_state["distributed_type"] = DistributedType.MULTI_GPU
PartialState.__init__ = init
from train.__main__ import main
sys.exit(main(sys.argv[1:]))
"""
SETTINGS: dict[str, Any] = {
    "eval_strategy": "no", "accuracy_sample": 0, "report_to": "none", "logging_steps": 100, "base_id": "ann/tiny",
}  # fmt: skip


def settings_of_the_launcher() -> dict[str, str]:
    """How accelerate tells its processes what our file says, but for bfloat16: a CPU computes in float32 here."""
    file = str(ROOT / "train" / "configs" / "fsdp_qlora.yaml")
    flags = launch_command_parser().parse_args(["--config_file", file, "-m", "train"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torch.cuda.device_count", lambda: 2)
        told = prepare_multi_gpu_env(_validate_launch_command(flags)[0])
    return {key: value for key, value in told.items() if key.startswith(("FSDP_", "ACCELERATE_USE_FSDP"))}


def two(command: list[str], home: Path) -> None:
    """One run in two processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    surroundings = client_environment(hub_address(), home, token=None) | settings_of_the_launcher()
    surroundings |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}

    def one(rank: str) -> Any:
        return child(SHARDED, *command, **surroundings, RANK=rank, LOCAL_RANK=rank)

    with ThreadPoolExecutor(2) as both:
        ended = list(both.map(one, "01"))
    assert [done.returncode for done in ended] == [0, 0], [done.stderr[-3000:] for done in ended]
    assert "Trained." in ended[0].stdout


def alone(command: list[str], home: Path) -> Any:
    return child(["-m", "train"], *command, **client_environment(hub_address(), home, token=None))


@pytest.fixture(scope="module")
def sharded(tiny_base: Path, charts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sharded")
    two(write_config(folder, tiny_base, charts, **SETTINGS, per_device_train_batch_size=1), folder / "hf")
    return folder / "run"


def same(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.allclose(one[name], other[name], atol=1e-5) for name in one)


def shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    return {name: tuple(weight.shape) for name, weight in load_file(folder / WEIGHTS).items()}


def test_a_sharded_run_leaves_the_adapter_of_a_run_in_one_process(
    sharded: Path, tiny_base: Path, charts: Path, tmp_path: Path
) -> None:
    done = alone(write_config(tmp_path, tiny_base, charts, **SETTINGS, test_sample=1), tmp_path / "hf")
    assert done.returncode == 0, done.stderr
    assert same(load_file(sharded / WEIGHTS), load_file(tmp_path / "run" / WEIGHTS))


def test_every_save_of_a_sharded_run_holds_the_adapter_of_its_step(sharded: Path) -> None:
    expected = shapes(sharded)
    assert len(expected) == 8  # A and B of q and v in two layers
    for step in (2, 4):
        check_saved(sharded / f"checkpoint-{step}", expected, trained=True)
    last = load_file(sharded / WEIGHTS)
    assert same(load_file(sharded / "checkpoint-4" / WEIGHTS), last)
    assert not same(load_file(sharded / "checkpoint-2" / WEIGHTS), last)


def test_a_sharded_run_goes_on_from_its_last_save_and_one_process_measures_it(
    sharded: Path, tiny_base: Path, charts: Path, tmp_path: Path
) -> None:
    command = write_config(tmp_path, tiny_base, charts, **SETTINGS, per_device_train_batch_size=1)
    run = tmp_path / "run"
    shutil.copytree(sharded / "checkpoint-2", run / "checkpoint-2")
    early = alone([*command, "--resume"], tmp_path / "hf")
    assert early.returncode == 2
    assert "a sharded run whose training has not ended" in early.stderr
    two([*command, "--resume"], tmp_path / "hf")
    assert same(load_file(run / WEIGHTS), load_file(sharded / WEIGHTS))
    done = alone([*command, "--resume"], tmp_path / "hf")
    assert done.returncode == 0, done.stderr
    contract = read_contract(run)
    assert contract is not None and contract.scores.keys() == {"pretrained", "prompted", "adapter"}
    assert (run / "results.json").is_file() and "Wilson" in (run / "README.md").read_text(encoding="utf-8")


def test_an_adapter_without_a_tensor_is_made_anew_from_the_sharded_weights(sharded: Path, tmp_path: Path) -> None:
    run = shutil.copytree(sharded, tmp_path / "run")
    kept = load_file(run / WEIGHTS)
    for folder in (run, run / "checkpoint-2", run / "checkpoint-4"):
        save_file({}, folder / WEIGHTS, metadata={"format": "pt"})
    with pytest.raises(RunError, match="not whole: 0 tensors"):
        check_saved(run, shapes(sharded), trained=True)
    in_shards = run / "checkpoint-4"  # as fsdp_state_dict_type: SHARDED_STATE_DICT leaves them
    weights = torch.load(in_shards / SHARDED_FILE, weights_only=True)
    shards.save({"model": weights}, checkpoint_id=in_shards / SHARDED_FOLDER, no_dist=True)
    (in_shards / SHARDED_FILE).unlink()
    assert last_save(run, resume=True) == in_shards
    assert recover(run, best=False) == "checkpoint-4"
    for folder in (run, in_shards):
        assert same(load_file(folder / WEIGHTS), kept)
    assert same(load_file(run / "checkpoint-2" / WEIGHTS), load_file(sharded / "checkpoint-2" / WEIGHTS))
    assert recover(run, best=False) is None  # nothing is missing now
    save_file({}, run / WEIGHTS, metadata={"format": "pt"})
    state = run / "checkpoint-4" / STATE_FILE
    state.write_text(json.dumps({"best_model_checkpoint": str(run / "checkpoint-9")}), encoding="utf-8")
    shutil.copytree(in_shards, run / "checkpoint-4-copy")
    half = shutil.copytree(run / "checkpoint-2", run / "checkpoint-6")  # its process was killed while it wrote
    (half / SHARDED_FILE).write_bytes(b"")
    (half / STATE_FILE).unlink()
    save_file({}, half / WEIGHTS, metadata={"format": "pt"})
    assert recover(run, best=True) == "checkpoint-4"  # the best one is gone
    assert same(load_file(run / WEIGHTS), kept)


@pytest.mark.parametrize(
    ("changed", "trained", "message"),
    [
        ({}, True, None),
        ({"x.lora_B.weight": torch.zeros(4, 2)}, False, None),
        ({"x.lora_B.weight": torch.zeros(4, 2)}, True, "learned nothing"),
        ({"x.lora_B.weight": torch.zeros(0)}, False, "2 tensors, 1 of them"),
        ({"x.lora_B.weight": None}, False, "1 tensors, 1 of them"),
        ({"y.lora_A.weight": torch.ones(2, 4)}, False, "3 tensors, 2 of them"),
    ],
)
def test_an_adapter_that_is_not_the_models_is_refused(
    changed: dict[str, Any], trained: bool, message: str | None, tmp_path: Path
) -> None:
    whole = {"x.lora_A.weight": torch.ones(2, 4), "x.lora_B.weight": torch.ones(4, 2)}
    held = {name: weight for name, weight in {**whole, **changed}.items() if weight is not None}
    save_file(held, tmp_path / WEIGHTS)
    wanted = {name: tuple(weight.shape) for name, weight in whole.items()}
    if message is None:
        check_saved(tmp_path, wanted, trained)
        return
    with pytest.raises(RunError, match=message):
        check_saved(tmp_path, wanted, trained)


def test_one_of_several_gpus_is_used_without_a_launcher(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_base: Path, charts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = SFTConfig.__post_init__

    def sees_two(self: SFTConfig) -> None:
        before(self)
        self._n_gpu = 2

    monkeypatch.setattr(SFTConfig, "__post_init__", sees_two)
    _, args, _ = parse(write_config(tmp_path, tiny_base, charts, report_to="none"))
    assert args.n_gpu == 1
    assert "2 GPUs are visible" in capsys.readouterr().out
