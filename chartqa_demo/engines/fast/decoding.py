"""Answers from the static cache of `decoder.py`: where it can be used, and its tokens streamed as they come."""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import torch

from chartqa_demo.arms import Arm
from chartqa_demo.engines import EngineError
from chartqa_demo.engines.charts import Look
from chartqa_demo.engines.fast.layers import Adapted, Layers
from chartqa_demo.engines.fast.steps import Decoder
from chartqa_demo.engines.loading import Choice

REPLAYED = "Tokens are replayed from a CUDA graph (decode: graph)."
STATIC = "Tokens are computed on a static cache (decode: static)."
NOT_CAPTURED = "Tokens are computed on a static cache (decode: static): capturing a CUDA graph failed, "
EAGER = "Tokens are computed by transformers' generate (decode: eager): "


def choose_decoder(
    layers: Layers | None, reason: str | None, choice: Choice, asked: bool
) -> tuple[Decoder | None, tuple[str, ...]]:
    """The decoder for this choice, and what a visitor is told about it; None for eager.

    layers: the model's, None for the `reason` of `why_not`. Raises EngineError where a static cache was asked for and
    the model cannot be answered from one.
    """
    if choice.decode == "eager":
        return None, ()
    if layers is not None:
        replays = choice.decode == "graph"
        return Decoder(layers, replays), (REPLAYED if replays else STATIC,)
    if asked:
        raise EngineError(f"--decode {choice.decode} cannot be used: {reason}. Use --decode eager.")
    return None, (f"{EAGER}{reason}.",)


def adapted_rows(arms: Sequence[Arm], adapter: str) -> Adapted:
    """The rows of these arms that the adapter answers; they lie side by side."""
    return Adapted.of([adapter if arm.adapter else "" for arm in arms])


@torch.inference_mode()
def stream_tokens(
    decoder: Decoder,
    prompts: Sequence[list[int]],
    looks: Sequence[Look],
    adapted: Adapted,
    longest: int,
    temperature: float,
    end_ids: Sequence[int],
    put: Callable[[torch.Tensor], None],
    stopped: Callable[[], bool],
    ahead: int | None = None,
) -> None:
    """Up to `longest` new tokens of every row to `put`, (B,) per step on the host, until all rows have met an end.

    temperature 0 is greedy. ahead: steps that a GPU computes before the host reads their tokens, so that neither waits
    for the other; by default one where steps are replayed, else none, which would be a step too many. Raises
    CaptureError before the first token, torch.OutOfMemoryError.
    """
    step, logits = decoder.start(prompts, looks, adapted, longest)
    ahead = int(decoder.replays) if ahead is None else ahead
    ends = torch.tensor(list(end_ids))
    ended = torch.zeros(len(prompts), dtype=torch.bool)

    def chosen(logits: torch.Tensor) -> torch.Tensor:
        if temperature <= 0:
            return logits.argmax(-1)
        return torch.multinomial((logits.float() / temperature).softmax(-1), 1)[:, 0]

    def sent(tokens: torch.Tensor) -> tuple[torch.Tensor, Any]:
        if not decoder.replays:
            return tokens.cpu(), None
        host = torch.empty(len(tokens), dtype=tokens.dtype, pin_memory=True)
        host.copy_(tokens, non_blocking=True)
        arrived = torch.cuda.Event()
        arrived.record()
        return host, arrived

    def received(tokens: torch.Tensor, arrived: Any) -> bool:
        """Hand the tokens on; whether every row has ended."""
        if arrived is not None:
            arrived.synchronize()
        put(tokens)
        ended.logical_or_(torch.isin(tokens, ends))
        return bool(ended.all())

    tokens = chosen(logits)
    waiting = deque([sent(tokens)])
    for _ in range(longest - 1):
        if stopped() or (len(waiting) > ahead and received(*waiting.popleft())):
            return
        tokens = chosen(decoder.next(step, tokens))
        waiting.append(sent(tokens))
    while waiting and not received(*waiting.popleft()):
        pass
