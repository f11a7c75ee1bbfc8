"""TRL's trainer, measured by what the adapter is for: answers to validation questions, in all three arms.

Accuracy is taken at the start, at each save and at the end, inside `evaluate`, so that `load_best_model_at_end` can
choose the checkpoint by it and a resumed run finds it in the trainer's own state.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from trl.trainer.sft_trainer import SFTTrainer

from chartqa_demo.arms import ARMS

Measure = Callable[[Sequence[str]], dict[str, float]]


class ChartTrainer(SFTTrainer):
    """SFTTrainer with accuracy beside the loss.

    base_name: what saved adapters name as their base, whatever folder it was read from. `measure(arms)` gives
    relaxed accuracy in per cent by arm key; None measures nothing.
    """

    def __init__(self, *args: Any, base_name: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.base_name = base_name
        self.measure: Measure | None = None

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Loss as ever; accuracy where a checkpoint follows, else the last one measured."""
        metrics = super().evaluate(*args, **kwargs)
        if self.measure is None:
            return metrics
        scores = self._last_scores()
        if not scores or self._saves_now():
            # The base model is frozen: what it answers without the adapter cannot change during the run.
            arms = tuple(arm.key for arm in ARMS if arm.adapter or not scores)
            scores |= {f"eval_accuracy_{arm}": score for arm, score in self.measure(arms).items()}
            self.log(dict(scores))
        return metrics | scores

    def supervised_texts(self, rows: list[dict[str, Any]]) -> list[str]:
        """What the loss is taken on in each of `rows`, decoded: the answer and its end token, if all is well."""
        batch = self.data_collator(rows)
        tokenizer: Any = self._tokenizer
        return [repr(tokenizer.decode(labels[labels != -100])) for labels in batch["labels"]]

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save as ever, with an adapter_config.json that names no path of this machine and is alike in every run."""
        super().save_model(output_dir, _internal_call=_internal_call)
        if self.args.should_save:
            path = Path(output_dir or str(self.args.output_dir)) / "adapter_config.json"
            config = json.loads(path.read_text(encoding="utf-8"))
            config["base_model_name_or_path"] = self.base_name
            if isinstance(config["target_modules"], list):  # a set in PEFT: without order, no two runs are alike
                config["target_modules"].sort()
            path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: the card is written once, from measured numbers, when the run has any (train/card.py)."""

    def _last_scores(self) -> dict[str, float]:
        for entry in reversed(self.state.log_history):
            if found := {key: value for key, value in entry.items() if key.startswith("eval_accuracy_")}:
                return found
        return {}

    def _saves_now(self) -> bool:
        step = self.state.global_step
        return step >= self.state.max_steps or step % max(int(self.state.save_steps), 1) == 0


def trains_vision(model: Any) -> bool:
    """Whether any trainable weight lies in the vision tower or its merger."""
    return any(weight.requires_grad and ".visual." in name for name, weight in model.named_parameters())


def stop_gradients_at_vision(model: Any) -> None:
    """Run the frozen vision tower without gradients.

    Activation checkpointing makes the patch embedding's output require a gradient, so the whole tower would be
    recomputed and propagated through with nothing there to train. Weights after training are the same bit for bit.
    """
    core = model.get_base_model().model
    core.get_image_features = torch.no_grad()(core.get_image_features)
