"""The way into the written-out Qwen2-VL: the one class that `engines.local` asks.

A page's rows come from a `Decoder`, replayed from a CUDA graph on a GPU; an evaluation's from
`greedy_answers`. Both go through the same `Layers`, and give the tokens of transformers' `generate` in float32.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch

from chartqa_demo.engines import Options
from chartqa_demo.engines.fast.batches import greedy_answers
from chartqa_demo.engines.fast.choosing import NextTokens
from chartqa_demo.engines.fast.graphs import on
from chartqa_demo.engines.fast.layers import Adapted, Layers
from chartqa_demo.engines.fast.steps import CaptureError, Decoder, stream_tokens
from chartqa_demo.engines.fast.tower import PROVEN, Tower
from chartqa_demo.engines.internals import takes_features
from chartqa_demo.engines.loading import ChosenBase
from chartqa_demo.engines.looks import Look
from chartqa_demo.engines.streaming import Row
from chartqa_demo.errors import EngineError, first_line

REPLAYED = "Tokens are replayed from a CUDA graph (decode: graph)."
STATIC = "Tokens are computed on a static cache (decode: static)."
SLOWER = "Triton's kernels cannot be used, torch's own are slower: "
NOT_CAPTURED = "Tokens are computed on a static cache (decode: static): capturing a CUDA graph failed, "

# What generation_config.json may ask for beside a repetition penalty, and the values with which it changes no token.
NOT_COMPUTED: dict[str, tuple[object, ...]] = {
    **dict.fromkeys(("no_repeat_ngram_size", "encoder_no_repeat_ngram_size"), (None, 0)),
    **dict.fromkeys(("min_length", "min_new_tokens"), (None, 0)),
    **dict.fromkeys(("suppress_tokens", "begin_suppress_tokens", "bad_words_ids", "sequence_bias"), (None, [], {})),
    **dict.fromkeys(("forced_bos_token_id", "forced_eos_token_id", "exponential_decay_length_penalty"), (None,)),
    **dict.fromkeys(("guidance_scale", "encoder_repetition_penalty"), (None, 1.0)),
    **dict.fromkeys(("watermarking_config", "stop_strings", "max_time"), (None,)),
}

log = logging.getLogger(__name__)


def unsupported(base: Any) -> str | None:
    """None when `FastQwen2VL` can answer for this model, else why not, as the end of a sentence."""
    spread = len(set(getattr(base, "hf_device_map", {}).values())) > 1
    if spread or base.device.type not in ("cpu", "cuda"):
        return "the model's weights lie on several devices" if spread else f"it was not tested on {base.device.type}"
    if base.config.model_type not in PROVEN:
        return f"{base.config.model_type} is not among the model types it was tested with ({', '.join(PROVEN)})"
    if not takes_features(base):
        return "this release of transformers takes no vision features instead of pixels"
    if set(base.config.text_config.layer_types) != {"full_attention"}:
        return "some layers of this model have a sliding window"
    for name, harmless in NOT_COMPUTED.items():
        if getattr(base.generation_config, name, None) not in harmless:
            return f"the model's generation_config.json sets {name}"
    return None


class FastQwen2VL:
    """The Qwen2-VL `base`, of which `unsupported` says nothing; not thread-safe, the engine's lock covers it.

    layers, tower: its two parts, on its own weights; decoder: what answers a page, None for decode: eager, which leaves
    that to `generate`; graph_asked: whether a CUDA graph was asked for, so that nothing else may be given.
    """

    def __init__(self, base: Any, choice: ChosenBase, graph_asked: bool) -> None:
        self.layers, self.tower = Layers(base), Tower(base)
        self.decoder = None if choice.decode == "eager" else Decoder(self.layers, choice.decode == "graph")
        self.graph_asked = graph_asked
        self._penalty = float(getattr(base.generation_config, "repetition_penalty", None) or 1.0)
        self._base = base
        self._not_captured = self._slower = ""

    @property
    def notes(self) -> tuple[str, ...]:
        """What a visitor is told about how tokens are computed."""
        if self.decoder is None:
            return ()
        how = REPLAYED if self.decoder.replays else self._not_captured or STATIC
        return (how, self._slower) if self._slower else (how,)

    @property
    def replays(self) -> bool:
        """Whether steps are replayed from a graph, and not called."""
        return self.decoder is not None and self.decoder.replays

    def warm_up(self, adapters: Sequence[str], longest: int, pixels: int) -> None:
        """Fuse and capture what usual questions need: rows with these adapters ("" for none), prompts and answers of
        up to `longest` tokens, charts of up to `pixels`. Raises EngineError where a graph was asked for and fails."""
        with on(self._base.device):
            self.fuse()
            try:
                self.capture_tower(pixels)
            except RuntimeError as error:
                log.warning(
                    "Looking at a chart cannot be replayed from a graph, which is slower: %s", first_line(error)
                )
            try:
                if self.decoder is not None:
                    self.decoder.prepare(len(adapters), longest, Adapted.of(adapters))
            except CaptureError as error:
                self._without_graph(error)

    def make_room(self, longest: int) -> None:
        """One captured step answers everything of up to `longest` tokens, see `Decoder.make_room`."""
        if self.decoder is not None:
            self.decoder.make_room(longest)

    def fuse(self) -> None:
        """Join weights and take Triton's kernels, see `Layers.fuse`; where one cannot be used torch's own operations
        answer, and that is said."""
        try:
            lost = self.layers.fuse() | self.tower.fuse()
            told = f"{', '.join(lost)} ({next(iter(lost.values()))})" if lost else ""
        except Exception as error:  # whatever importing Triton raises
            told = first_line(error)
        if told:
            self._slower = f"{SLOWER}{told}."
            log.warning(self._slower)

    def capture_tower(self, pixels: int) -> None:
        """Capture the vision passes over charts of up to `pixels`. Raises RuntimeError."""
        with torch.inference_mode():
            self.tower.capture(pixels // self._base.config.vision_config.patch_size**2)

    def adapter_changed(self) -> None:
        """Drop what was captured with the adapter used before."""
        if self.decoder is not None:
            self.decoder.forget()

    def free(self) -> None:
        """Give back what captured steps hold, and their cache: a question found no room. They are made anew."""
        if self.decoder is not None:
            self.decoder.free()

    def answer(
        self,
        prompts: Sequence[list[int]],
        looks: Sequence[Look],
        adapters: Sequence[str],
        options: Options,
        end_ids: Sequence[int],
        send: Callable[[torch.Tensor], None],
        stopped: Callable[[], bool],
    ) -> list[torch.Tensor]:
        """The tokens of one question's rows to `send`, step by step, see `stream_tokens`; adapters: per row the name of
        its adapter in the model, "" for none. Returns the tokens' log-probabilities, (B,) per step, a step that was not
        sent included. Raises EngineError where a graph was asked for and cannot be captured."""
        assert self.decoder is not None, "decode: eager leaves a page's answers to generate"
        longest = options.max_new_tokens
        rows = prompts, looks, Adapted.of(adapters)
        chosen = NextTokens(prompts, options.temperature, self._penalty, options.seed, self.layers.best)
        with on(self._base.device):
            try:
                stream_tokens(self.decoder, *rows, longest, chosen, end_ids, send, stopped)
            except CaptureError as error:  # before the first token
                self._without_graph(error)
                stream_tokens(self.decoder, *rows, longest, chosen, end_ids, send, stopped)
        return chosen.logs

    def answer_many(
        self,
        prompts: Sequence[list[int]],
        looks: Sequence[Look],
        adapters: Sequence[str],
        max_new_tokens: int,
        end_ids: Sequence[int],
    ) -> list[Row]:
        """Every row with its new tokens, greedily, see `greedy_answers`."""
        with on(self._base.device):
            return greedy_answers(self.layers, prompts, looks, adapters, max_new_tokens, end_ids, self._penalty)

    def _without_graph(self, error: CaptureError) -> None:
        """From now on steps are called, and that is said; where a graph was asked for, an EngineError."""
        if self.graph_asked:
            raise EngineError(f"The decode step could not be captured: {error}. Use --decode static.") from error
        self._not_captured = f"{NOT_CAPTURED}{error}."
        log.warning(self._not_captured)
        if self.decoder is not None:
            self.decoder.replays = False
