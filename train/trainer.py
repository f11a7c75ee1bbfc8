"""TRL's trainer, measured by what the adapter is for: answers to validation questions, in all three arms.

Accuracy is taken at the start, at each save and at the end, inside `evaluate`, so that `load_best_model_at_end` can
choose the checkpoint by it and a resumed run finds it in the trainer's own state.
"""

import json
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate.data_loader import DataLoaderShard, SeedableRandomSampler
from safetensors.torch import save_file
from torch import nn
from torch.distributed.tensor import DTensor
from transformers.trainer_pt_utils import BatchRebalanceSampler  # nowhere else (transformers 5.23.0)
from trl import SFTTrainer

from chartqa_demo.arms import ARMS
from train.progress import RunError, check_saved, name_in_file
from train.publish.push import CONFIG, WEIGHTS

Measure = Callable[[Sequence[str]], dict[str, float]]
Collator = Callable[[list[dict[str, Any]]], dict[str, Any]]

# Model types that do nothing with pixel values before they cast them to the dtype of the patch embedding
CAST_PIXELS = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "mllama", "llava", "smolvlm")


class LikeSizes(BatchRebalanceSampler):
    """The trainer's own random order; each optimiser step's rows in batches of like size and like cost.

    A large chart is alone in its batch, small ones are many: less padding, and no batch needs much more memory than
    another. A step still has the same rows, and the loss is averaged over all of its tokens, so nothing else changes.
    How rows are shared out is transformers' rule. sizes: about how many tokens every row has.
    """

    def __init__(self, sizes: Sequence[int], args: Any) -> None:
        batches = args.gradient_accumulation_steps
        super().__init__(
            list(sizes),
            args.train_batch_size * batches * args.world_size,
            dp_size=args.world_size,
            grad_accum=batches,
            shuffle=False,  # done here, in the order that the trainer has without this sampler
            rank=args.process_index,
            drop_last=args.dataloader_drop_last,
        )
        self.sizes = self.lengths
        self.order = SeedableRandomSampler(sizes, data_seed=args.seed if args.data_seed is None else args.data_seed)

    def __iter__(self) -> Generator[list[int], None, None]:
        rows = list(self.order)
        self.lengths = [self.sizes[row] for row in rows]
        for batch in super().__iter__():
            yield [rows[place] for place in batch]

    def set_epoch(self, epoch: int) -> None:
        """Called by the trainer before every epoch."""
        super().set_epoch(epoch)
        self.order.set_epoch(epoch)


class ChartTrainer(SFTTrainer):
    """SFTTrainer with accuracy beside the loss.

    base_name: what saved adapters name as their base, whatever folder it was read from; sizes: about how many tokens
    every training row has, to put rows of like size into one batch (none: as they come). `measure(arms)` gives relaxed
    accuracy in per cent by arm key; None measures nothing.
    """

    def __init__(self, *args: Any, base_name: str, sizes: Sequence[int] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.base_name = base_name
        self.sizes = sizes
        self.measure: Measure | None = None
        collator: Any = self.data_collator
        with_mask = _mask_for_answers(collator, collator.processor.image_token_id)
        self.data_collator = _in_dtype_of_vision(with_mask, self.model)
        collator.processor = _AnswersAsText(collator.processor)

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

    def get_train_dataloader(self) -> Any:
        """As ever, but a step's batches wait in host memory: each is moved by `_prepare_inputs` when its turn comes.

        All batches of an optimiser step are fetched before the first is used, so their charts would lie on the device
        together until the step ends.
        """
        loader = super().get_train_dataloader()
        if isinstance(loader, DataLoaderShard):
            loader.device = None
        return loader

    # Private, checked with transformers 5.23.0: `train_sampling_strategy` has no room for a sampler of one's own.
    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        return LikeSizes(self.sizes, self.args) if self.sizes else super()._get_train_sampler(train_dataset)

    def supervised_texts(self, rows: list[dict[str, Any]]) -> list[str]:
        """What the loss is taken on in each of `rows`, decoded: the answer and its end token, if all is well."""
        batch = self.data_collator(rows)
        processor: Any = self.processing_class
        return [repr(processor.tokenizer.decode(labels[labels != -100])) for labels in batch["labels"]]

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save as ever, with an adapter_config.json that names no path of this machine and is alike in every run.

        A sharded adapter is gathered first: PEFT finds no weight where activation checkpointing wraps the layers.
        Raises RunError where the file, read back, is not the whole adapter.
        """
        folder = Path(output_dir or str(self.args.output_dir))
        if self.is_fsdp_enabled:
            whole = gathered(self.model)
            self._save(str(folder), state_dict={})
            if self.args.should_save:
                save_file(whole, folder / WEIGHTS, metadata={"format": "pt"})
        else:
            super().save_model(output_dir, _internal_call=_internal_call)
        if self.args.should_save:
            check_saved(folder, adapter_shapes(self.model), trained=False)
            path = folder / CONFIG
            config = json.loads(path.read_text(encoding="utf-8"))
            config["base_model_name_or_path"] = self.base_name
            if isinstance(config["target_modules"], list):  # a set in PEFT: without order, no two runs are alike
                config["target_modules"].sort()
            path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: the card is written once, from measured numbers, when the run has any (train/publish/card.py)."""

    def _last_scores(self) -> dict[str, float]:
        for entry in reversed(self.state.log_history):
            if found := {key: value for key, value in entry.items() if key.startswith("eval_accuracy_")}:
                return found
        return {}

    def _saves_now(self) -> bool:
        step = self.state.global_step
        return step >= self.state.max_steps or step % max(int(self.state.save_steps), 1) == 0


def adapter_shapes(model: Any) -> dict[str, tuple[int, ...]]:
    """The shapes of a PEFT model's LoRA weights by their names in the adapter's file; of sharded ones the whole."""
    return {name_in_file(name): tuple(weight.shape) for name, weight in model.named_parameters() if ".lora_" in name}


def gathered(model: Any) -> dict[str, torch.Tensor]:
    """The LoRA weights in host memory, each put together from the shards of all processes: all of them call this."""
    lora = {name: weight for name, weight in model.named_parameters() if ".lora_" in name}
    whole = {name: weight.full_tensor() if isinstance(weight, DTensor) else weight for name, weight in lora.items()}
    return {name_in_file(name): weight.detach().cpu().contiguous() for name, weight in whole.items()}


def for_language_model(peft_config: Any, model: Any) -> Any:
    """The same configuration, kept off the vision tower where that has layers of the same names.

    q_proj, say, is in both parts of Pixtral, SmolVLM and mllama. A name that only the vision tower has stays, so that
    `train.base.check_adapter` finds it.
    """
    targets = peft_config.target_modules
    if not targets or (isinstance(targets, str) and targets != "all-linear"):  # a pattern says itself what it is for
        return peft_config
    inside = {name.rpartition(".")[2] for name, _ in model.get_decoder().named_modules()}
    in_both = [
        part
        for part, module in _vision_parts(model)
        if any(
            targets == "all-linear" or name.rpartition(".")[2] in {*targets} & inside
            for name, _ in module.named_modules()
        )
    ]
    if in_both:
        peft_config.exclude_modules = rf"(model\.)?({'|'.join(sorted(in_both))})\..*"
    return peft_config


def stop_gradients_at_vision(model: Any) -> None:
    """Run the frozen vision tower without gradients.

    Activation checkpointing makes the patch embedding's output require a gradient, so the whole tower would be
    recomputed and propagated through with nothing there to train. Weights after training are the same bit for bit.
    """
    for _, part in _vision_parts(model.get_base_model()):
        part.forward = torch.no_grad()(part.forward)


def keep_embeddings_on_host(model: Any) -> None:
    """Look the frozen input embeddings up in host memory: one GiB of a 7B model that the device need not hold.

    Only the rows of a batch's tokens cross the bus. Raises RunError where the head is made of the same weights.
    """
    table = model.get_input_embeddings()
    if model.get_output_embeddings().weight is table.weight:
        raise RunError(
            "embeddings_on_host: this base model's head has the same weights as its input embeddings, so they have to "
            "stay on the device. Leave embeddings_on_host out."
        )
    device, look_up = table.weight.device, table.forward
    table.to("cpu")
    table.forward = lambda ids: look_up(ids.cpu()).to(device)
    # Private, checked with torch 2.14.1: `to`, `cuda` and `half` of a whole model go through it, and this part stays.
    table._apply = lambda *_, **__: table


def _vision_parts(model: Any) -> list[tuple[str, Any]]:
    """Name and module of everything beside the language model: the vision tower and what leads on from it."""
    decoder = model.get_decoder()
    return [(name, part) for name, part in model.model.named_children() if part is not decoder]


def _in_dtype_of_vision(collate: Collator, model: Any) -> Collator:
    """The collator, with the charts in the dtype that the vision tower casts them to first of all.

    The numbers that it reads are the same; in bfloat16 they take half of the memory and of the way to the device. The
    dtype is that of the patch embedding: a convolution, which no quantisation packs into integers.
    """
    base = model.get_base_model()
    modules = [module for _, part in _vision_parts(base) for module in part.modules()]
    convolutions = [module for module in modules if isinstance(module, (nn.Conv2d, nn.Conv3d))]
    if base.config.model_type not in CAST_PIXELS or not convolutions:
        return collate
    dtype = convolutions[0].weight.dtype

    def collated(rows: list[dict[str, Any]]) -> dict[str, Any]:
        batch = collate(rows)
        batch["pixel_values"] = batch["pixel_values"].to(dtype)
        return batch

    return collated


def _mask_for_answers(collate: Collator, image_token: int) -> Collator:
    """The collator, with mllama's cross-attention mask for the whole row.

    TRL lays the answer behind the prompt and moves both to the left, and leaves this mask, (rows, tokens, images,
    tiles), as the processor made it for the prompt alone. All tokens from the image's on see its tiles.
    """

    def collated(rows: list[dict[str, Any]]) -> dict[str, Any]:
        batch = collate(rows)
        if "cross_attention_mask" in batch:
            tiles = batch["cross_attention_mask"][:, -1:]  # what the prompt's last token sees
            seeing = (batch["input_ids"] == image_token).cumsum(1) > 0
            batch["cross_attention_mask"] = tiles * seeing[:, :, None, None]
        return batch

    return collated


class _AnswersAsText:
    """A processor as TRL's collator needs it: answers, which come without a chart, are text and nothing else.

    mllama's own begins each of them with one more `<|begin_of_text|>`, which the model would then learn to write.
    Pixtral's chat template takes answers as plain strings only.
    """

    def __init__(self, processor: Any) -> None:
        self._processor = processor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._processor, name)

    def __call__(self, text: list[str], images: Any = None, **kwargs: Any) -> Any:
        if images is None:
            return self._processor.tokenizer(text, **kwargs)
        return self._processor(images=images, text=text, **kwargs)

    def apply_chat_template(self, conversation: list[dict[str, Any]], **kwargs: Any) -> Any:
        try:
            return self._processor.apply_chat_template(conversation, **kwargs)
        except TypeError:
            plain = [
                turn | {"content": turn["content"][0]["text"]} if turn["role"] == "assistant" else turn
                for turn in conversation
            ]
            return self._processor.apply_chat_template(plain, **kwargs)
