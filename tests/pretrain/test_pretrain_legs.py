"""Legs of pretraining: resumed, on several processes, by the clock, and logged."""

import json
import os
import socket
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pretrain_charts import TINY, bar_chart, codec

from train.pretrain.__main__ import main, settings_of
from train.pretrain.exam import exam
from train.pretrain.legs import losses
from train.pretrain.legs.optimise import Rates
from train.pretrain.legs.ranks import Ranks
from train.pretrain.legs.rows import ChartRows, Mix
from train.pretrain.legs.training import PretrainConfig, Training
from train.pretrain.model import checkpoint
from train.pretrain.scene import GeneratedChart


def test_no_leg_draws_a_seed_that_another_worker_or_an_earlier_leg_drew(tmp_path, monkeypatch):
    """A worker has begun at most three batches more than have been trained."""
    workers, trained, drawn = 5, 1, []

    def make(seed: int) -> GeneratedChart:
        drawn.append(seed)
        return bar_chart(0)

    settings = PretrainConfig(
        sizes=TINY,
        weights=losses.Weights(mark_layer=0, copy_layer=1),
        batch=1,
        row_tokens=640,
    )
    training = Training(settings, codec(), "cpu", tmp_path, ({}, {"next_seed": 1000, "charts": 900}))
    for worker in range(workers):
        info = SimpleNamespace(id=worker, num_workers=workers)
        monkeypatch.setattr("torch.utils.data.get_worker_info", lambda info=info: info)
        batches = iter(ChartRows(codec, make, settings.batch, settings.mix, training.first_seed))
        for step in range(trained + 3):
            batch = next(batches)
            if step < trained:
                training.step(batch, 1.0)
    assert training.progress.charts == 900 + workers * trained
    assert len(set(drawn)) == len(drawn)
    assert min(drawn) == 1000
    assert max(drawn) < training.progress.next_seed <= 1000 + workers * trained + 64


def test_a_leg_resumes_from_its_checkpoint(tmp_path):
    """Weights come back as bfloat16, charts are not seen twice, and training goes on."""
    settings = PretrainConfig(sizes=TINY, weights=losses.Weights(mark_layer=0, copy_layer=1), batch=2, row_tokens=640)
    batches = iter(ChartRows(codec, bar_chart, 2, Mix()))
    first = Training(settings, codec(), "cpu", tmp_path, None)
    for _ in range(2):
        first.step(next(batches), 1.0)
    first.save("stable")
    tensors, facts = checkpoint.load(tmp_path / "stable")
    second = Training(settings, codec(), "cpu", tmp_path, (tensors, facts))
    for name, value in second.parameters.items():
        assert torch.equal(value, first.parameters[name].to(torch.bfloat16).float())
    assert second.progress.steps == 2
    assert facts["next_seed"] >= 4
    second.step(next(batches), 1.0)
    assert np.isfinite(list(second.losses().values())).all()
    assert all(file.stat().st_size < 15 * 2**20 for file in (tmp_path / "stable").iterdir())


def test_the_log_says_which_share_of_the_time_no_batch_was_ready(tmp_path, monkeypatch):
    """Batches take three seconds and steps one."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr("train.pretrain.legs.training.time", SimpleNamespace(monotonic=lambda: clock.now))
    settings = PretrainConfig(
        sizes=TINY, weights=losses.Weights(mark_layer=0, copy_layer=1), row_tokens=640, log_every=2
    )
    training = Training(settings, codec(), "cpu", tmp_path, None)
    made, step = next(iter(ChartRows(codec, bar_chart, 2, Mix()))), training.step

    def batches():
        while True:
            clock.now += 3
            yield made

    def timed(batch, factor):
        clock.now += 1
        step(batch, factor)

    monkeypatch.setattr(training, "step", timed)
    training.run(batches(), 20, 0, [exam.sheet(bar_chart(1), 1, 1)], 0.0)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["waiting"] for line in lines if "charts_per_second" in line] == [0.75, 0.75]
    assert training.progress.seconds == 16  # the first step, mostly compilation, is not counted


def one_of_two(rank: int, port: int, folder: Path) -> None:
    """A process of two: three steps on charts of its own, what it saw and what it ends with."""
    torch.set_num_threads(1)
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", **address)
    ranks, drawn = Ranks(), []

    def make(seed: int) -> GeneratedChart:
        drawn.append(seed)
        return bar_chart(seed)

    settings = PretrainConfig(sizes=TINY, weights=losses.Weights(mark_layer=0, copy_layer=1), batch=1, row_tokens=640)
    batches = iter(ChartRows(codec, make, 1, Mix(), 0, ranks.rank, ranks.count))
    ranks.join()
    training = Training(settings, codec(), "cpu", folder / str(rank), None, ranks)
    for _ in range(3):
        training.step(next(batches), 1.0)
    training.save("stable")
    torch.save({name: value.detach() for name, value in training.parameters.items()}, folder / f"{rank}.pt")
    seen = {"drawn": drawn, "clock": ranks.agree(10.0 + rank), "charts": training.progress.charts}
    weights = list(training.parameters.values())
    seen["apart"] = [ranks.apart(weights), ranks.apart([value + rank for value in weights])]
    (folder / f"{rank}.json").write_text(json.dumps(seen))
    ranks.leave()


def test_two_processes_read_other_charts_take_the_same_steps_and_one_of_them_writes(tmp_path):
    codec()  # made once, before the fork
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    fork = get_context("fork")
    both = [fork.Process(target=one_of_two, args=(rank, port, tmp_path)) for rank in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
    assert [process.exitcode for process in both] == [0, 0]
    one, two = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert (one["drawn"], two["drawn"]) == ([0, 2, 4], [1, 3, 5])
    assert (one["clock"], two["clock"]) == ([10.0], [10.0])
    assert one["charts"] == two["charts"] == 6
    assert one["apart"][0] == 0.0 < one["apart"][1]
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert (tmp_path / "0" / "stable").is_dir()
    assert not (tmp_path / "1" / "stable").exists()


def test_rates_settle_and_decay_by_the_clock():
    factor = partial(Rates(high_seconds=60, settle_seconds=180, steady=0.6, warm_steps=100).factor, 10_000)
    assert factor(0, 500, 0) == 1.0
    assert factor(120, 500, 0) == pytest.approx(0.8)
    assert factor(600, 500, 0) == pytest.approx(0.6)
    assert factor(600, 140, 280) == pytest.approx(0.3)
    assert factor(600, 0, 280) == 0.0


def test_settings_that_cannot_work_are_refused_in_a_sentence(capsys):
    with pytest.raises(ValueError, match="does not know 'batsch'"):
        settings_of(PretrainConfig, {"batsch": 3})
    assert main(["--resume", "nowhere", "--export", "nowhere"]) == 2
    assert "no checkpoint in nowhere" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("config", "flags", "told"),
    [
        ("batch: 0", ["--seconds", "9"], "batch is 0 in the config; it has to be at least 1."),
        ("workers: -2", ["--seconds", "9"], "workers is -2 in the config; it has to be a number, 0 or more."),
        ("mix: 5", ["--seconds", "9"], "Mix is 5 in the config; it has to be settings (NAME: VALUE)."),
        ("batch: [1", ["--seconds", "9"], "while parsing a flow sequence"),
        ("", ["--seconds", "nan"], "--seconds nan and --decay-seconds 0 cannot be."),
        ("", ["--seconds", "9", "--init-from", "nowhere"], "There is no exported model in nowhere"),
        ("", ["--seconds", "9", "--tokenizer", __file__], "test_pretrain_legs.py is no tokenizer: "),
        ("", ["--seconds", "9", "--out", __file__], "File exists"),
    ],
    ids=str,
)
def test_an_impossible_leg_is_one_sentence(tmp_path, capsys, config, flags, told):
    (tmp_path / "c.yaml").write_text(config)
    assert main(["--config", str(tmp_path / "c.yaml"), "--out", str(tmp_path / "out"), *flags]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line
