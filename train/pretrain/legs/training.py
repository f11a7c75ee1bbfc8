"""A leg of pretraining: batches in, a step, a log line now and then, a checkpoint every minute, an exam at times.

It stops by the clock; on several GPUs by that of the first process, which alone writes. A checkpoint holds what the
next leg needs; a leg with `decay_seconds` ends with a learning rate of 0 and its result is for export, while the
checkpoint from before the decay stays the one to train on from.
"""

import dataclasses
import json
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import create_block_mask

from train.pretrain.exam import exam
from train.pretrain.legs import losses
from train.pretrain.legs.optimise import Optimiser, Rates
from train.pretrain.legs.ranks import Ranks
from train.pretrain.legs.rows import Codec, Mix
from train.pretrain.model import checkpoint
from train.pretrain.model.network import Reader, Sizes, block_mask, dense_mask, initial, shapes


@dataclass(frozen=True)
class PretrainConfig:
    """The one config (`train/configs/pretrain.yaml`). batch: charts of a step on each GPU; row_tokens: length of a row;
    fade_seconds: over which the training-only losses go from 1 to `faded` of their weights, all legs counted;
    exam_charts, exam_questions: size of the exams during training; workers: processes that draw charts for each GPU."""

    sizes: Sizes = field(default_factory=Sizes)
    mix: Mix = field(default_factory=Mix)
    weights: losses.Weights = field(default_factory=losses.Weights)
    rates: Rates = field(default_factory=Rates)
    batch: int = 128
    row_tokens: int = 896
    workers: int = 14
    fade_seconds: float = 1200.0
    faded: float = 0.4
    tokenizer_charts: int = 3000
    exam_charts: int = 256
    exam_questions: int = 8
    exam_every: float = 240.0
    save_every: float = 60.0
    log_every: int = 50


class Progress:
    """What has been done in all legs: seconds of training, steps, charts, and where the next leg's seeds begin."""

    def __init__(self, facts: dict[str, Any] | None = None) -> None:
        facts = facts or {}
        self.seconds = float(facts.get("seconds", 0.0))
        self.steps = int(facts.get("steps", 0))
        self.charts = int(facts.get("charts", 0))
        self.next_seed = int(facts.get("next_seed", 0))

    def facts(self) -> dict[str, Any]:
        """The same as a dict, for the checkpoint."""
        return vars(self) | {"seconds": round(self.seconds, 1)}


class Training:
    """Parameters, optimiser and log of one leg. ranks: the processes that share it, where there are several;
    look: factor of the copy and mark losses (0 to compare)."""

    def __init__(
        self,
        settings: PretrainConfig,
        codec: Codec,
        device: str,
        out: Path,
        start: tuple[dict[str, Tensor], dict[str, Any]] | None,
        ranks: Ranks | None = None,
    ) -> None:
        self.ranks = ranks or Ranks()
        self.settings, self.codec, self.device, self.out = settings, codec, device, out
        cuda = device == "cuda"
        if cuda:
            # cuDNN's attention takes a seventh of flash attention's time on 1,200 patches with heads of 64.
            torch.backends.cuda.enable_flash_sdp(False)
            torch.backends.cuda.enable_mem_efficient_sdp(False)
            torch.backends.cuda.enable_cudnn_sdp(True)
            torch.set_float32_matmul_precision("high")
        self.reader = Reader(settings.sizes, codec.layout, device, torch.bfloat16 if cuda else torch.float32)
        named = shapes(settings.sizes) | losses.helper_shapes(settings.sizes.text_width)
        self.parameters = initial(named, device)
        self.optimiser = Optimiser(self.parameters, settings.rates)
        self.progress = Progress(start[1] if start else None)
        self.look = 1.0
        self.first_seed, self.first_charts = self.progress.next_seed, self.progress.charts
        if start:
            self._load(start[0])
        self.loss = torch.compile(losses.total, dynamic=False) if cuda else losses.total
        self.make_mask = torch.compile(create_block_mask, dynamic=False) if cuda else None
        self.recent: deque[Tensor] = deque(maxlen=settings.log_every)
        out.mkdir(parents=True, exist_ok=True)

    def _load(self, tensors: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for name, value in self.parameters.items():
                if name in tensors:
                    value.copy_(tensors[name])
            for name, value in self.optimiser.average.items():
                value.copy_(self.parameters[name])
        self.optimiser.load_moments(tensors)

    def step(self, batch: dict[str, Tensor], factor: float) -> None:
        """One update on a batch that is on the device."""
        layout, weights = self.codec.layout, self.settings.weights
        if self.make_mask is None:
            mask = dense_mask(layout, batch["segments"], batch["pads"])
        else:
            mask = block_mask(layout, batch["segments"], batch["pads"], self.make_mask)
        done = min(1.0, self.progress.seconds / self.settings.fade_seconds)
        # Filled on the device: a copy from the host would wait for all that the device still has to do.
        fade = torch.full((), 1.0 + (self.settings.faded - 1.0) * done, device=self.device)
        look = torch.full((), self.look, device=self.device)
        loss, parts = self.loss(self.reader, self.parameters, batch, mask, fade, look, weights)
        loss.backward()
        self.ranks.average([value.grad for value in self.parameters.values() if value.grad is not None])
        self.optimiser.step(factor)
        self.recent.append(parts)
        self.progress.steps += 1
        self.progress.charts += len(batch["pads"]) * self.ranks.count
        # Up to 20 workers are at most 64 batches ahead; the next leg skips the seeds of what they have begun.
        drawn = self.progress.charts - self.first_charts
        self.progress.next_seed = self.first_seed + drawn + 64 * self.settings.batch * self.ranks.count

    def log(self, **entry: Any) -> None:
        """Append one line to the log and print it."""
        if not self.ranks.first:
            return
        entry = {"seconds": round(self.progress.seconds, 1), "steps": self.progress.steps, **entry}
        with (self.out / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
        print(json.dumps(entry), flush=True)

    def losses(self) -> dict[str, float]:
        """Means of the recent steps' losses; waits for the device."""
        means = torch.stack(list(self.recent)).mean(0).tolist()
        return {name: round(value, 4) for name, value in zip(losses.NAMES, means, strict=True)}

    def examine(self, pages: list[exam.Sheet], averaged: bool) -> dict[str, list[int]]:
        """Greedy accuracy on `pages` of the current or the averaged weights."""
        p = self.optimiser.average if averaged else self.parameters
        return exam.marks(pages, exam.answers(self.reader, p, self.codec, pages))

    def save(self, name: str, averaged: bool = False) -> None:
        """Write a checkpoint; of the averaged weights for export (without what only training needs)."""
        if not self.ranks.first:
            return
        tensors = self.optimiser.average if averaged else self.parameters | self.optimiser.moments()
        facts = self.progress.facts() | {
            "sizes": dataclasses.asdict(self.settings.sizes),
            "row_tokens": self.settings.row_tokens,
            "averaged": averaged,
        }
        checkpoint.save(self.out / name, tensors, facts, self.codec.tokenizer.to_str())

    def run(
        self,
        batches: Iterator[dict[str, Tensor]],
        seconds: float,
        decay: float,
        pages: list[exam.Sheet],
        started: float,
    ) -> None:
        """Train until `seconds` after `started` (a time.monotonic() reading); the last `decay` seconds anneal to 0.

        In the log, `apart` says how far the processes' weights are from each other (0 where all is well) and `waiting`
        is the share of the time since the last such line in which no batch was ready: where it is near 0 the device is
        the limit, otherwise the workers. Ends with an exam of the current and the averaged weights on `pages`; after a
        decay the better of the two is saved as `final`, otherwise the current weights as `stable`.
        """
        settings = self.settings
        stop = started + seconds
        first = last = saved = examined = logged = time.monotonic()
        steps, flat_saved, waited = 0, decay == 0, 0.0
        while True:
            left, self.progress.seconds = self.ranks.agree(stop - time.monotonic(), self.progress.seconds)
            if left <= 0:
                break
            now = time.monotonic()
            batch = next(batches)
            waited += time.monotonic() - now
            self.step(batch, settings.rates.factor(steps, self.progress.seconds, left, decay))
            steps += 1
            shown = self.losses() if steps % settings.log_every == 0 else None
            now = time.monotonic()
            if steps == 1:  # mostly compilation: not training time
                first = saved = examined = logged = now
                waited = 0.0
                self.log(first_step=round(now - started, 1), gpus=self.ranks.count)
            else:
                self.progress.seconds += now - last
            if shown:
                speed = (steps - 1) * settings.batch * self.ranks.count / (now - first)
                share, apart = round(waited / (now - logged), 2), self.ranks.apart(list(self.parameters.values()))
                facts = {"charts": self.progress.charts, "charts_per_second": round(speed), "waiting": share}
                self.log(**facts, apart=apart, losses=shown)
                logged, waited = now, 0.0
            if not flat_saved and left <= decay:
                self.save("stable")
                flat_saved = True
            if now - saved >= settings.save_every:
                saved = now
                self.save("stable" if left > decay or decay == 0 else "decaying")
            if self.ranks.first and now - examined >= settings.exam_every and left > 60:
                examined = now
                self.log(exam=self.examine(pages, True), weights="averaged")
            last = time.monotonic()
        if not steps:
            raise ValueError(f"{seconds:g} s were over before the first step could begin. Give the leg more --seconds.")
        self.losses()
        if self.ranks.first:
            self.finish(pages, decay > 0)

    def finish(self, pages: list[exam.Sheet], decayed: bool) -> None:
        """The last exams, and the checkpoint that the leg leaves."""
        tables = {averaged: self.examine(pages, averaged) for averaged in (False, True)}
        for averaged, table in tables.items():
            self.log(exam=table, weights="averaged" if averaged else "current", last=True)
            print(exam.brief(table), flush=True)
        if decayed:
            self.save("final", averaged=tables[True]["all"][1] >= tables[False]["all"][1])
        else:
            self.save("stable")


def on_device(batches: Iterator[dict[str, Tensor]], device: str) -> Iterator[dict[str, Tensor]]:
    """Batches on the device, copied beside the computation of the step before, which is still running when one is asked
    for: a step only enqueues its work."""
    if device != "cuda":
        yield from batches
        return
    side = torch.cuda.Stream()

    def fetch() -> dict[str, Tensor]:
        host = next(batches)
        with torch.cuda.stream(side):
            return {name: value.to(device, non_blocking=True) for name, value in host.items()}

    while True:
        current = fetch()
        torch.cuda.current_stream().wait_stream(side)
        for value in current.values():
            value.record_stream(torch.cuda.current_stream())
        yield current
