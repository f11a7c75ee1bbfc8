"""The model in training answers like the app: same engine, same batch, same metric."""

import copy
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from accelerate import PartialState
from accelerate.utils import gather_object
from datasets import Dataset
from peft import PeftModel
from tqdm.auto import tqdm

from chartqa_demo.arms import ADAPTER, ARMS, PROMPTED
from chartqa_demo.engines import Options
from chartqa_demo.engines.loading import ChosenBase
from chartqa_demo.engines.local import LocalEngine
from chartqa_demo.errors import EngineError
from chartqa_demo.evaluate.record import Results
from chartqa_demo.evaluate.rules import is_correct
from chartqa_demo.settings import Settings


def training_engine(model: PeftModel, processor: Any, choice: ChosenBase, settings: Settings, name: str) -> LocalEngine:
    """The app's engine around the model that is being trained, with a copy of its processor; `name` is the run's."""
    processor = copy.deepcopy(processor)
    processor.tokenizer.padding_side = "left"
    engine = LocalEngine(model.get_base_model(), processor, choice, settings)
    engine.serve_training(model, "default")  # the name TRL gives its adapter
    engine.adapter = name
    return engine


@contextmanager
def answering(model: PeftModel) -> Iterator[None]:
    """The model in eval mode, and afterwards as it was: dropout has no place in an answer."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def accuracy(
    engine: LocalEngine, rows: Dataset, arms: Sequence[str], options: Options, batch_size: int
) -> dict[str, float]:
    """Canonical relaxed accuracy in per cent, by arm key, on training rows (images, prompt, completion).

    Under `accelerate launch` every process answers its share and all get the same result.
    """
    asked = [arm for arm in ARMS if arm.key in arms]
    hits: list[list[bool]] = []
    state = PartialState()
    share = range(state.process_index, len(rows), state.num_processes)
    starts = range(0, len(share), batch_size)
    for start in tqdm(starts, desc="Answering", leave=False, disable=not state.is_main_process):
        part: list[Any] = [rows[number] for number in share[start : start + batch_size]]
        questions = [(row["images"][0], row["prompt"][-1]["content"][-1]["text"]) for row in part]
        answers = engine.answer_many(questions, asked, options)
        for row, given in zip(part, answers, strict=True):
            if failed := next((answer.error for answer in given if answer.error), None):
                raise EngineError(failed)  # an answer that never came is not a wrong one
            gold = row["completion"][0]["content"][0]["text"]
            hits.append([is_correct(answer.text, gold) for answer in given])
    hits = gather_object(hits)
    return {arm.key: 100 * sum(hit[i] for hit in hits) / len(hits) for i, arm in enumerate(asked)}


def gain(results: Results) -> str:
    """What the adapter adds to the prompted base on the held-out charts, in words: points with their interval."""
    found = results.compare(ADAPTER.key, PROMPTED.key, "canonical")
    if found.low is None or found.high is None:
        return f"{100 * found.difference:+.1f} points on {found.asked} questions of one chart, no interval."
    sure = "" if found.significant else "; that can be chance"
    return (
        f"{100 * found.difference:+.1f} points [{100 * found.low:+.1f}, {100 * found.high:+.1f}] over the prompted "
        f"base on {found.asked} questions about {found.charts} held-out charts (95 % by chart){sure}."
    )


def draw_rows(rows: Dataset, size: int | None, seed: int) -> Dataset:
    """The same `size` rows for the same seed, in the order of the split; all of them for None."""
    if size is None or size >= len(rows):
        return rows
    return rows.select(sorted(random.Random(seed).sample(range(len(rows)), size)))
