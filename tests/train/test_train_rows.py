"""What a training step sees of each chart, and that shortcuts leave its losses and weights alone: real TRL, PEFT and
transformers on a tiny random Qwen2-VL."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from train_fixtures import examples, png, small_trainer
from transformers import AutoModelForImageTextToText, AutoProcessor

from chartqa_demo.arms import SYSTEM_MESSAGE
from chartqa_demo.data.splits import Example
from train.data import DataError, chart_rows, usable
from train.progress import RunError
from train.trainer import ChartTrainer, keep_embeddings_on_host, stop_gradients_at_vision

pytest_plugins = ("train_fixtures",)
pytestmark = pytest.mark.usefixtures("own_dataset_cache")


def test_the_loss_is_on_the_answer_and_its_end_token_only(
    tiny_base: Path, tmp_path: Path, figure: Callable[[str, object], None]
) -> None:
    rows = examples(
        [(png(1), "How many bars?", "4"), (png(2), "Which is highest?", "Blue"), (png(3), "Share?", "0.25")]
    )
    trainer = small_trainer(tiny_base, tmp_path, rows)
    dataset = chart_rows(rows)
    texts = trainer.supervised_texts([dataset[i] for i in range(3)])
    figure("supervised tokens of three rows", " ".join(texts))
    assert texts == [r"'4<|im_end|>\n'", r"'Blue<|im_end|>\n'", r"'0.25<|im_end|>\n'"]


def test_a_row_is_prompted_like_the_adapter_arm(tiny_base: Path, tmp_path: Path) -> None:
    rows = chart_rows(examples([(png(1), "How many bars?", "4")]))
    batch = small_trainer(tiny_base, tmp_path, examples([(png(1), "How many bars?", "4")])).data_collator([rows[0]])
    text = AutoProcessor.from_pretrained(tiny_base).tokenizer.decode(batch["input_ids"][0])
    assert SYSTEM_MESSAGE in text
    assert text.count("<|image_pad|>") == batch["mm_token_type_ids"].sum()
    assert text.endswith("How many bars?<|im_end|>\n<|im_start|>assistant\n4<|im_end|>\n")


def test_charts_are_decoded_when_their_batch_is_made_and_not_before() -> None:
    reads: list[int] = []

    def read(number: int) -> bytes:
        reads.append(number)
        return png(number)

    charts = [
        Example(f"train/{i}", str(i), "How many?", ("4",), "human", "other", lambda i=i: read(i)) for i in range(5)
    ]
    rows = chart_rows(charts)
    assert reads == []
    rows[3]
    assert reads == [3]


def test_a_transparent_chart_is_trained_on_white() -> None:
    rows = chart_rows(examples([(png(1, "RGBA"), "How many?", "4")]))
    assert rows[0]["images"][0].mode == "RGB"
    assert rows[0]["images"][0].getpixel((0, 0)) == (255, 255, 255)


def test_charts_are_laid_on_the_canvases_of_the_base_model() -> None:
    rows = chart_rows(examples([(png(1), "How many?", "4")]), canvases=[(560, 420), (420, 560)])
    assert rows[0]["images"][0].size == (560, 420)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ((b"\x89PNG no picture at all", "How many?", "4"), "its chart"),
        ((png(1)[:200], "How many?", "4"), "its chart"),
        ((png(1), "  ", "4"), "its question is empty"),
        ((png(1), "How many?", " "), "its answer is empty"),
    ],
)
def test_a_row_that_cannot_be_used_is_named_or_counted(
    row: tuple[bytes, str, str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = examples([(png(i), "How many?", "4") for i in range(20)])
    rows[17] = examples([row])[0]
    with pytest.raises(DataError, match=f"Row 17 of charts, split train .*{reason}.*--skip_bad_rows"):
        usable(rows, "charts, split train")
    assert len(usable(rows, "charts, split train", skip_bad_rows=True)) == 19
    assert "1 of 20 rows left out; the first is row 17" in capsys.readouterr().out


def test_a_split_without_one_usable_row_is_refused() -> None:
    with pytest.raises(DataError, match="no row that can be used"):
        usable(examples([(b"", "How many?", "4")]), "charts, split train", skip_bad_rows=True)


def test_the_frozen_vision_tower_without_gradients_gives_the_same_weights(tiny_base: Path, tmp_path: Path) -> None:
    """And is not propagated through: the count of backward passes through its first block tells."""
    rows = examples([(png(i), "How many bars?", str(i)) for i in range(6)])
    weights, backwards = [], []
    for without in (False, True):
        trainer = small_trainer(tiny_base, tmp_path / str(without), rows, "--activation_checkpointing", "true")
        if without:
            stop_gradients_at_vision(trainer.model)
        seen: list[int] = []
        block = trainer.model.get_base_model().model.visual.blocks[0].mlp
        block.register_full_backward_hook(lambda *_, seen=seen: seen.append(1))
        trainer.train()
        weights.append({name: w.detach().clone() for name, w in trainer.model.named_parameters() if w.requires_grad})
        backwards.append(len(seen))
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert any(bool(w.any()) for name, w in weights[0].items() if "lora_B" in name)
    assert backwards == [3, 0]


def step_losses(trainer: ChartTrainer) -> list[float]:
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def test_charts_of_like_size_are_batched_within_a_step_and_the_steps_stay_the_same(
    tiny_base: Path, tmp_path: Path
) -> None:
    rows = examples([(png(n), f"How many bars are above {n}0?", str(n) * (1 + n % 3)) for n in range(12)])
    flags = ("--gradient_accumulation_steps", "2", "--logging_steps", "1", "--lora_dropout", "0")
    plain = small_trainer(tiny_base, tmp_path / "plain", rows, *flags)
    grouped = small_trainer(tiny_base, tmp_path / "grouped", rows, *flags)
    grouped.sizes = [number * 7 % 12 for number in range(12)]
    loaders: list[Any] = [one.get_train_dataloader() for one in (plain, grouped)]
    ones, others = (list(loader.batch_sampler) for loader in loaders)
    assert len(others) == len(ones) == len(loaders[1])
    for first in range(0, 6, 2):  # two batches a step
        step = ones[first] + ones[first + 1]
        like = sorted(others[first : first + 2], key=lambda batch: max(grouped.sizes[row] for row in batch))
        assert sorted(like[0] + like[1]) == sorted(step)
        assert max(grouped.sizes[row] for row in like[0]) <= min(grouped.sizes[row] for row in like[1])
    assert step_losses(grouped) == pytest.approx(step_losses(plain), rel=1e-4)


def test_a_large_chart_is_alone_in_its_batch_and_every_row_is_seen_once(tiny_base: Path, tmp_path: Path) -> None:
    rows = examples([(png(n), "How many?", "4") for n in range(10)])
    trainer = small_trainer(tiny_base, tmp_path, rows, "--gradient_accumulation_steps", "2")
    trainer.sizes = [1300 if number == 7 else 300 for number in range(10)]
    batches = list(trainer.get_train_dataloader().batch_sampler)  # pyright: ignore[reportArgumentType]
    assert sorted(row for batch in batches for row in batch) == list(range(10))
    assert [7] in batches


def test_charts_come_in_the_dtype_that_the_vision_tower_casts_them_to_and_train_the_same_weights(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = examples([(png(i), "How many bars?", str(i)) for i in range(6)])
    weights, dtypes = [], []
    for cast in (True, False):
        if not cast:
            monkeypatch.setattr("train.trainer._in_dtype_of_vision", lambda collate, _: collate)
        trainer = small_trainer(tiny_base, tmp_path / str(cast), rows, "--dtype", "bfloat16", "--bf16", "true")
        seen: list[torch.dtype] = []
        base = trainer.model.get_base_model()
        base.register_forward_pre_hook(
            lambda _, args, named, seen=seen: seen.append(named["pixel_values"].dtype), with_kwargs=True
        )
        trainer.train()
        weights.append({name: w.detach().clone() for name, w in trainer.model.named_parameters() if w.requires_grad})
        dtypes.append(seen)
    assert dtypes == [[torch.bfloat16] * 3, [torch.float32] * 3]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert any(bool(w.any()) for name, w in weights[0].items() if "lora_B" in name)


def test_the_batches_of_a_step_wait_on_the_host_until_their_turn(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = small_trainer(tiny_base, tmp_path, examples([(png(i), "How many bars?", str(i)) for i in range(6)]))
    for place in (trainer.accelerator, trainer.args):
        monkeypatch.setattr(type(place), "device", torch.device("meta"))  # as if it were a GPU
    waiting, _ = trainer.get_batch_samples(iter(trainer.get_train_dataloader()), 3, torch.device("cpu"))
    assert [{name: str(tensor.device) for name, tensor in batch.items()} for batch in waiting] == [
        dict.fromkeys(waiting[0], "cpu")
    ] * 3
    assert {str(tensor.device) for tensor in trainer._prepare_inputs(waiting[0]).values()} == {"meta"}


def test_embeddings_kept_on_the_host_stay_there_and_train_the_same_weights(tiny_base: Path, tmp_path: Path) -> None:
    rows = examples([(png(i), "How many bars?", str(i)) for i in range(6)])
    losses = []
    for kept in (False, True):
        trainer = small_trainer(tiny_base, tmp_path / str(kept), rows, "--logging_steps", "1", "--lora_dropout", "0")
        if kept:
            keep_embeddings_on_host(trainer.model)
        losses.append(step_losses(trainer))
        trainer.model.to("meta")  # as to a GPU
        devices = {name: str(weight.device) for name, weight in trainer.model.named_parameters()}
        assert [name for name, device in devices.items() if device == "cpu"] == [
            name for name in devices if kept and name.endswith("embed_tokens.weight")
        ]
    assert losses[0] == losses[1]


def test_embeddings_that_are_also_the_head_cannot_be_kept_on_the_host(tiny_base: Path) -> None:
    model = AutoModelForImageTextToText.from_pretrained(tiny_base)
    model.lm_head.weight = model.model.language_model.embed_tokens.weight
    with pytest.raises(RunError, match=r"embeddings_on_host: .* same weights"):
        keep_embeddings_on_host(model)
