"""What training uses of other libraries without being promised it: each name fails here, by name, when it moves."""

import inspect

import pytest
import torch
from transformers import Trainer
from transformers.trainer_pt_utils import BatchRebalanceSampler

from chartqa_demo.adapters.runs import store
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


@pytest.mark.parametrize(
    "name", ["get_project_db_path", "get_projects", "get_run_records", "get_logs", "get_run_config"]
)
def test_trackios_store_has_what_is_read_from_it(name: str) -> None:
    assert callable(getattr(store(), name))
