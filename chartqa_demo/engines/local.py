"""The three arms on this machine: one base model, one LoRA adapter, one mixed batch.

A Qwen2-VL answers from its layers written out (`fast/qwen2_vl.py`); any other family, and `--decode eager`, from one
left-padded `generate`, in which PEFT's `adapter_names` says row by row whether the adapter is on. Either way the tokens
equal those of three separate runs in float32. The vision tower runs once per chart, because the adapter is on the
language model only. One lock covers a whole generation: adapter choice, cache and rope deltas are state of the shared
model, and without it two visitors get each other's answers.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import StoppingCriteriaList

from chartqa_demo.adapters.check import fetch_adapter
from chartqa_demo.adapters.contract import Contract, arm_system, bounded, check_message, contract_notes
from chartqa_demo.adapters.load import Loaded, as_written, load_adapter, modules_of
from chartqa_demo.arms import ARMS, Arm, arms_with, folds_system, messages
from chartqa_demo.engines import Answer, Answers, ByAdapter, Gazes, Options, ending, no_adapter
from chartqa_demo.engines.fast.qwen2_vl import FastQwen2VL, unsupported
from chartqa_demo.engines.internals import takes_features
from chartqa_demo.engines.loading import APART, FOLDED, ChosenBase, adapter_for, choose, load_base, set_pixel_limits
from chartqa_demo.engines.looks import Look, Looks, encoder_outputs, has_grid
from chartqa_demo.engines.streaming import (
    FiniteScores,
    ReadableFailures,
    Row,
    RowStreamer,
    StopWhen,
    generation_settings,
    left_padded,
    overflow,
    retried,
    seeded,
    stream,
    text_of,
)
from chartqa_demo.engines.trust.gaze import attention, gaze
from chartqa_demo.engines.trust.measured import Measured
from chartqa_demo.errors import EngineError, HubError
from chartqa_demo.images import shrink
from chartqa_demo.settings import BUNDLED_ADAPTER, BUNDLED_BASE, DEFAULT_MAX_PIXELS, Settings, on_zerogpu

BASE = "__base__"  # PEFT's name for "no adapter" in a mixed batch
ADAPTERS_RESIDENT = 4  # the one in use and those used before it, so that going back costs nothing
PIXELS_PER_TOKEN = 28 * 28  # of a Qwen2-VL: two by two patches of 14
TEXT_TOKENS = 160  # of a usual prompt: system message, question, the template's own
EAGER = "Tokens are computed by transformers' generate (decode: eager): "


def load_local(settings: Settings) -> "LocalEngine":
    """Base, processor and adapter as the settings say. Raises EngineError with one sentence."""
    choice = choose(settings)
    try:
        model, processor = load_base(choice, settings)
    except EngineError as error:
        if settings.base != "auto" or choice.bundled:
            raise
        choice = replace(choose(replace(settings, base="bundled")), notes=(f"The bundled model answers: {error}",))
        model, processor = load_base(choice, settings)
    engine = LocalEngine(model, processor, choice, settings)
    if (adapter := adapter_for(settings, choice)) is not None:
        try:
            engine.use_adapter(adapter)
        except EngineError as error:
            if settings.adapter != "auto":
                raise
            engine.without_adapter(error)
    engine.warm_up()
    return engine


class LocalEngine:
    """A base model and at most one adapter in this process; implements `engines.Engine`."""

    def __init__(self, model: Any, processor: Any, choice: ChosenBase, settings: Settings) -> None:
        self.base = model
        self.model = model  # the base, and once an adapter is loaded the PeftModel around it
        self.processor = processor
        self.base_name, self.bundled = choice.base, choice.bundled
        held = {"none": str(choice.dtype).removeprefix("torch."), "4bit": "NF4", "8bit": "8 bit"}[choice.quantize]
        self.title = "the bundled small Qwen2-VL" if choice.bundled else f"{choice.base} ({held}, {choice.device.type})"
        self.adapter: str | None = None
        self.former: str | None = None
        self.contract: Contract | None = None
        self.arms: tuple[Arm, ...] = ARMS
        self.parallel = 1
        self._base_notes = choice.notes
        self._adapter_notes: tuple[str, ...] = ()
        if (reason := unsupported(model)) is None:
            self.fast = FastQwen2VL(model, choice, settings.decode == "graph")
        else:
            self.fast = None
            if choice.decode != "eager" and settings.decode != "auto":
                raise EngineError(f"--decode {choice.decode} cannot be used: {reason}. Use --decode eager.")
            self._base_notes += (f"{EAGER}{reason}.",) if choice.decode != "eager" else ()
        self.looks = Looks(model, processor, self.fast.tower if self.fast else None)
        self.shares_vision = takes_features(model)
        self._keeps_looks = self.shares_vision and has_grid(model)
        self._base_notes += () if self.shares_vision else (APART,)
        self._folds_system = folds_system(lambda turns: processor.apply_chat_template(turns, tokenize=False))
        self._base_notes += (FOLDED,) if self._folds_system else ()
        self._tell()
        self._special_tokens = tuple(processor.tokenizer.get_added_vocab())
        begin = processor.tokenizer.bos_token
        self._template_begins = begin is not None and self.prompt_text(ARMS[0], "", Options()).startswith(begin)
        self._settings = settings
        self._own_adapter = adapter_for(settings, choice)
        self._measured = Measured(BUNDLED_BASE if choice.bundled else Path(choice.base))
        self._modules = modules_of(model)
        self._lock = threading.Lock()
        self._loaded, self._name = 0, ""  # how many adapters so far; the name inside the model of the one in use
        self._resident: OrderedDict[tuple[object, ...], Loaded] = OrderedDict()  # by as_written, last used last
        self._own_size = processor.image_processor.size  # before any adapter's limits
        self._shrink_to = set_pixel_limits(processor, settings, None)

    def answer(self, image: Image.Image, question: str, arms: Sequence[Arm], options: Options) -> Iterator[Answers]:
        """See `engines.Engine`. Times count from the call, waiting for another visitor's answer included."""
        began, told = time.perf_counter(), self.arms
        with self._lock, ReadableFailures():
            now = dict(zip(told, self.arms, strict=True))  # meanwhile an adapter may have come, with its own message
            yield from self._answers(image, question, [now.get(arm, arm) for arm in arms], options, began)

    def answer_former(self, image: Image.Image, question: str, options: Options) -> ByAdapter:
        """See `engines.Engine`. The adapter before is still in memory; whatever happens, the one in use is back before
        the lock is free."""
        began, found = time.perf_counter(), []
        with self._lock, ReadableFailures():
            both = [*self._resident.values()][-2:] if self.former else []
            try:
                for one in both:
                    self._switch(one)
                    *_, (answer,) = self._answers(image, question, one.arms[-1:], options, began)
                    found.append((one.title, replace(answer, confidence=None)))  # measured of one at most
            finally:
                if both:
                    self._switch(both[-1])
        return tuple(found)

    def _answers(
        self, image: Image.Image, question: str, arms: Sequence[Arm], options: Options, began: float
    ) -> Iterator[Answers]:
        """The states of `answer`, under the lock."""
        served = [arm for arm in arms if self._serves(arm)]
        image = shrink(image, options.max_pixels) if options.max_pixels else image
        found = {arm.key: Answer(arm.key) if self._serves(arm) else no_adapter(arm) for arm in arms}

        def answered(group: list[Arm]) -> Iterator[Answers]:
            texts = (self.prompt_text(arm, question, options) for arm in group)
            generate = self._generate([image] * len(group), texts, group, options)
            # closing: the lock must not be free before the generation's thread has ended
            with closing(stream(generate, len(group), self._end_ids())) as steps:
                for rows in steps:
                    for arm, row in zip(group, rows, strict=True):
                        found[arm.key] = self._answer(arm, row, began, options)
                    yield tuple(found[arm.key] for arm in arms)

        yield from retried(self._batches(served), answered, self.fast and self.fast.free)

    def warm_up(self) -> None:
        """Make ready what usual questions need; nothing where no step is captured. On ZeroGPU a worker will, once."""
        if self.fast is None or not self.fast.replays:
            return
        pixels = self.processor.image_processor.size["longest_edge"]
        longest = pixels // PIXELS_PER_TOKEN + TEXT_TOKENS + self._settings.max_new_tokens
        if on_zerogpu():
            return self.fast.make_room(longest)
        arms = [arm for arm in self.arms if self._serves(arm)]
        with ReadableFailures():
            self.fast.warm_up([self._name if arm.adapter else "" for arm in arms], longest, pixels)
        self._tell()
        for _ in self.answer(Image.new("RGB", (800, 600), "white"), "How many?", arms, Options(max_new_tokens=4)):
            pass
        self.looks.clear()
        self.looks.passes = 0

    def answer_many(
        self, items: Sequence[tuple[Image.Image, str]], arms: Sequence[Arm], options: Options
    ) -> list[Answers]:
        """See `engines.Engine`. Greedy only; each chart is looked at once however many questions it has."""
        if not options.greedy:
            raise EngineError("Many questions at once are answered greedily; set the temperature to 0.")
        began, served = time.perf_counter(), [arm for arm in arms if self._serves(arm)]
        if not items:
            return []
        with self._lock, ReadableFailures(), torch.inference_mode():
            if options.max_pixels:
                items = [(shrink(image, options.max_pixels), question) for image, question in items]
            arms_of_rows = served * len(items)
            texts = [self.prompt_text(arm, question, options) for _, question in items for arm in served]
            if self.fast is not None:
                looks = [look for look in self.looks.of([image for image, _ in items]) for _ in served]
                rows = self.fast.answer_many(
                    [self._token_ids(text, each) for text, each in zip(texts, looks, strict=True)],
                    looks,
                    [self._name if arm.adapter else "" for arm in arms_of_rows],
                    options.max_new_tokens,
                    self._end_ids(),
                )
            else:
                images = [image for image, _ in items for _ in served]
                rows = [Row() for _ in texts]
                for group in self._batches(served):
                    mine = [i for i, arm in enumerate(arms_of_rows) if arm in group]
                    generate = self._generate([images[i] for i in mine], [texts[i] for i in mine], group, options)
                    streamer = RowStreamer(len(mine), self._end_ids())
                    generate(streamer, StopWhen(threading.Event(), streamer.rows))
                    for i, row in zip(mine, streamer.rows, strict=True):
                        rows[i] = row
        self._tell()
        now = time.perf_counter()
        rows = [replace(row, first_at=None, done_at=now) for row in rows]  # a batch has no first word
        found = iter([self._answer(arm, row, began, options) for arm, row in zip(arms_of_rows, rows, strict=True)])
        of_items = [{arm.key: next(found) for arm in served} for _ in items]
        return [tuple(by_arm.get(arm.key) or no_adapter(arm) for arm in arms) for by_arm in of_items]

    def gazes(self, image: Image.Image, question: str, arms: Sequence[Arm], said: Answers, options: Options) -> Gazes:
        """See `engines.Engine`. One pass over the prompts and answers, whose charts are mostly still known."""
        texts = {one.arm: one.text for one in said if one.text and one.error is None}
        size = (self.fast.layers.count, self.fast.layers.heads) if self.fast else (0, 0)
        heads = {arm: own for arm in arms if arm.key in texts and (own := self._measured.heads(arm, *size))}
        if self.fast is None or not heads:
            return {}
        image = shrink(image, options.max_pixels) if options.max_pixels else image
        with self._lock, ReadableFailures():
            (look,) = self.looks.of([image])
            prompts = [self._token_ids(self.prompt_text(arm, question, options), look) for arm in heads]
            written = [self.processor.tokenizer(texts[arm.key])["input_ids"] for arm in heads]
            adapters = [self._name if arm.adapter else "" for arm in heads]
            found = zip(heads.items(), attention(self.fast.layers, prompts, written, look, adapters), strict=True)
            return {arm.key: gaze(one, own, look, image, self.base.config) for (arm, own), one in found}

    def prompt_text(self, arm: Arm, question: str, options: Options) -> str:
        """See `engines.Engine`. One `<|image_pad|>` stands for the chart's image tokens."""
        # The page's editable message is an experiment with the prompted arm; an adapter keeps its training's.
        system = options.system if arm.key == "prompted" else None
        turns = messages(arm, question, system, self._special_tokens, self._folds_system)
        return self.processor.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)

    def use_adapter(self, name: str) -> None:
        """See `engines.Engine`."""
        own = name == self._own_adapter  # the operator's revision and message are those of no other adapter
        given = self._settings.adapter_system if own else None
        try:
            revision = self._settings.adapter_revision if own else None
            folder, contract = fetch_adapter(name, revision, self.base_name, self._modules)
        except HubError as error:
            raise EngineError(str(error)) from None
        arms = arms_with(arm_system(contract, given))
        if contract is not None and given is None:
            told = (self.prompt_text(arm, "", Options()) for arm in (arms[0], arms[-1]))
            plain, asked = (len(self.processor.tokenizer(text)["input_ids"]) for text in told)
            check_message(asked - plain, name)
        most = self._settings.max_pixels or DEFAULT_MAX_PIXELS
        with self._lock:
            resident = as_written(folder)
            known = self._resident.get(resident)
            inside = known.name if known else f"adapter{self._loaded}"
            if known is None:
                self.model, self._loaded = load_adapter(self.model, folder, inside), self._loaded + 1
            self.adapter = "bundled" if folder == BUNDLED_ADAPTER else name
            self._resident[resident] = one = Loaded(inside, self.adapter, arms, bounded(contract, most))
            self._resident.move_to_end(resident)
            self.former = next((other.title for other in [*self._resident.values()][-2:-1]), None)
            self._switch(one)
            self._measured.use_adapter(folder)
            if len(self._resident) > ADAPTERS_RESIDENT:
                self.model.delete_adapter(self._resident.popitem(last=False)[1].name)
            self.contract = contract
            self._adapter_notes = contract_notes(contract, given, name, self.base_name, most)
            self._tell()
            self.looks.clear()
            self.arms = arms

    def _switch(self, one: Loaded) -> None:
        """Answer with a resident adapter, under its pixel limits."""
        self._name = one.name
        if self.fast is not None:
            self.fast.adapter_changed()
        self.model.set_adapter(one.name)
        self.processor.image_processor.size = self._own_size
        self._shrink_to = set_pixel_limits(self.processor, self._settings, one.contract)

    def without_adapter(self, error: EngineError) -> None:
        """Say why the third arm stays empty."""
        self._adapter_notes = (f"No adapter is loaded: {error}",)
        self._tell()

    def serve_training(self, model: Any, name: str) -> None:
        """Answer with the adapter `name` of `model`, a PeftModel on our base, while something else trains it."""
        self.model, self._name, self.adapter = model, name, "in training"

    def _serves(self, arm: Arm) -> bool:
        return not arm.adapter or self.adapter is not None

    def _batches(self, served: Sequence[Arm]) -> list[list[Arm]]:
        """The arms that one `generate` can answer together: all, where the family allows mixed batches."""
        if self.shares_vision or self.adapter is None:
            return [list(served)]
        # mllama's cross-attention sees the chart's tiles as rows, so PEFT cannot tell the arms apart there
        return [group for on in (False, True) if (group := [arm for arm in served if arm.adapter is on])]

    def _generate(
        self, images: Sequence[Image.Image], texts: Iterable[str], group: Sequence[Arm], options: Options
    ) -> Callable[[RowStreamer, StopWhen], None]:
        """A call of `generate` on these rows, made ready; `group` are the arms of the first rows and repeats."""
        if self.fast is not None and self.fast.decoder is not None:
            return self._fast_generate(images, texts, group, options)
        inputs = self._inputs(images, list(texts))
        arms = list(group) * (len(images) // len(group))
        mixed = self.adapter is not None and len(self._batches(self.arms)) == 1
        settings = generation_settings(options) | (self._adapter_names(arms) if mixed else {})
        base_only = self.adapter is not None and not mixed and not group[0].adapter

        def generate(streamer: RowStreamer, stopping: StopWhen) -> None:
            criteria, finite = StoppingCriteriaList([stopping]), FiniteScores(streamer.put_scores)
            without = self.model.disable_adapter() if base_only else nullcontext()
            with torch.inference_mode(), seeded(options, self.base.device), without:
                self.model.generate(
                    **inputs, streamer=streamer, stopping_criteria=criteria, logits_processor=[finite], **settings
                )

        return generate

    def _fast_generate(
        self, images: Sequence[Image.Image], texts: Iterable[str], group: Sequence[Arm], options: Options
    ) -> Callable[[RowStreamer, StopWhen], None]:
        """The same by the written-out model, which looks first; its tokens come through the streamer only."""
        assert self.fast is not None
        fast, looks = self.fast, self.looks.of(images)
        prompts = [self._token_ids(text, each) for text, each in zip(texts, looks, strict=True)]
        adapters = [self._name if arm.adapter else "" for arm in group]

        def generate(streamer: RowStreamer, stopping: StopWhen) -> None:
            put, stopped = streamer.put_tokens, stopping.stopped
            streamer.logs = fast.answer(prompts, looks, adapters, options, self._end_ids(), put, stopped)
            self._tell()
            streamer.end()

        return generate

    def _tell(self) -> None:
        """Put together what a visitor has to know by now."""
        self.notes = self._base_notes + (self.fast.notes if self.fast else ()) + self._adapter_notes

    def _inputs(self, images: Sequence[Image.Image], texts: Sequence[str]) -> dict[str, Any]:
        """Everything `generate` takes for these rows, left-padded, on the model's device."""
        if self._keeps_looks:  # the prompt of a known chart needs no image processing at all
            looks = self.looks.of(images)
            rows = [self._token_ids(text, each) for text, each in zip(texts, looks, strict=True)]
            ids, mask = left_padded(rows, self.base.device)
            return {
                "input_ids": ids,
                "attention_mask": mask,
                "mm_token_type_ids": (ids == self.base.config.image_token_id).int(),
                "image_grid_thw": torch.cat([each.grid for each in looks if each.grid is not None]).to(ids.device),
                "mm_encoder_outputs": encoder_outputs(looks),
            }
        charts = [shrink(image, self._shrink_to) if self._shrink_to else image for image in images]
        one_chart = self.shares_vision and all(image is images[0] for image in images)
        return self.looks.inputs(charts, texts, not self._template_begins, one_chart)

    def _token_ids(self, text: str, look: Look) -> list[int]:
        """The prompt with as many image tokens as the chart has, as the family's own processor writes it."""
        ids, image = self.processor.tokenizer(text)["input_ids"], self.base.config.image_token_id
        at = ids.index(image)
        return [*ids[:at], *[image] * look.tokens, *ids[at + 1 :]]

    def _adapter_names(self, arms: Sequence[Arm]) -> dict[str, list[str]]:
        return {"adapter_names": [self._name if arm.adapter else BASE for arm in arms]} if self.adapter else {}

    def _end_ids(self) -> list[int]:
        ends = getattr(self.base.generation_config, "eos_token_id", None)
        ends = self.processor.tokenizer.eos_token_id if ends is None else ends
        return list(ends) if isinstance(ends, list) else [ends]

    def _answer(self, arm: Arm, row: Row, began: float, options: Options) -> Answer:
        if row.broken:
            seconds = time.perf_counter() - began
            return Answer(arm.key, total_s=seconds, done=True, error=overflow(self.base.dtype), error_kind="overflow")
        said, ended = (row.ids, None) if row.done_at is None else ending(row.ids, options.max_new_tokens)
        return Answer(
            arm.key,
            text_of(self.processor.tokenizer, said, ended),
            len(row.ids),
            first_token_s=None if row.first_at is None else row.first_at - began,
            total_s=None if row.done_at is None else row.done_at - began,
            done=row.done_at is not None,
            ended=ended,
            log_probability=row.log,
            confidence=self._measured.confidence(arm, row.log, len(row.ids), options) if ended == "end" else None,
        )
