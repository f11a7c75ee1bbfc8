"""What training uses of other libraries without being promised it: each name fails here, by name, when it moves."""

import inspect

import pytest
import torch
from transformers import Trainer, TrainingArguments
from transformers.trainer_pt_utils import BatchRebalanceSampler

from chartqa_demo.adapters.runs import store
from train.base import quantised_to_host
from train.trainer import ChartTrainer, LikeSizes


def test_the_trainer_takes_its_sampler_from_a_method_of_this_name() -> None:
    assert list(inspect.signature(Trainer._get_train_sampler).parameters) == ["self", "train_dataset"]
    assert "_get_train_sampler" in inspect.getsource(Trainer.get_train_dataloader)
    assert ChartTrainer._get_train_sampler is not Trainer._get_train_sampler


def test_the_sampler_of_like_sizes_has_what_ours_changes() -> None:
    assert issubclass(LikeSizes, BatchRebalanceSampler)
    expected = ["lengths", "effective_batch_size", "dp_size", "grad_accum", "shuffle", "seed", "rank", "drop_last"]
    assert list(inspect.signature(BatchRebalanceSampler).parameters) == expected
    sampler = BatchRebalanceSampler([3, 1, 2, 4], 2, 1, 1, shuffle=False)
    assert sampler.lengths == [3, 1, 2, 4]
    assert sorted(row for batch in sampler for row in batch) == [0, 1, 2, 3]


def test_a_module_is_moved_through_apply() -> None:
    class Stays(torch.nn.Linear):
        def _apply(self, *_args, **_kwargs):
            return self

    whole = torch.nn.Sequential(Stays(1, 1), torch.nn.Linear(1, 1))
    assert [part.weight.dtype for part in whole.half()] == [torch.float32, torch.float16]


def test_a_weight_is_quantised_through_one_method_and_keeps_its_state_with_its_layer() -> None:
    layers = pytest.importorskip("bitsandbytes.nn")
    before = layers.Params4bit._quantize
    layer = layers.Linear4bit(64, 2, bias=False, quant_type="nf4", quant_storage=torch.bfloat16)
    with quantised_to_host():
        assert layers.Params4bit._quantize is not before
        layer.weight = layer.weight.to("cpu")
    assert layers.Params4bit._quantize is before
    assert layer.weight.dtype == torch.bfloat16 and layer.weight.device.type == "cpu"
    assert layer.quant_state is layer.weight.quant_state  # moved together when the weight is


def test_the_number_of_gpus_of_a_process_is_what_is_set() -> None:
    args = TrainingArguments(use_cpu=True, report_to="none")
    args._n_gpu = 3
    assert args.n_gpu == 3


@pytest.mark.parametrize(
    "name", ["get_project_db_path", "get_projects", "get_run_records", "get_logs", "get_run_config"]
)
def test_trackios_store_has_what_is_read_from_it(name: str) -> None:
    assert callable(getattr(store(), name))
