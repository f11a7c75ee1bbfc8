"""Logits of the static cache beside those of transformers' and PEFT's own forward, on the same tokens."""

import copy
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import torch
from transformers import DynamicCache

from chartqa_demo.arms import ARMS, Arm
from chartqa_demo.engines.fast.layers import Adapted
from chartqa_demo.engines.fast.steps import Decoder
from chartqa_demo.engines.local import LocalEngine
from chartqa_demo.engines.looks import encoder_outputs
from chartqa_demo.engines.streaming import left_padded
from chartqa_demo.errors import EngineError

COPIES = (2, 3, 4, 6, 8, 16)  # of the three rows, in the larger eager batches


@torch.inference_mode()
def eager_logits(
    engine: LocalEngine,
    prompts: Sequence[list[int]],
    look: Any,
    arms: Sequence[Arm],
    steps: int,
    forced: torch.Tensor | None = None,
    model: Any = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (B, steps, vocabulary), on the host, of transformers' and PEFT's own forward, step by step on a dynamic
    cache, and the tokens (B, steps) read: the greedy ones, or those `forced`. model: another than the engine's."""
    base, names = engine.base, engine._adapter_names(arms)
    model = model or engine.model
    ids, mask = left_padded(prompts, base.device)
    kinds = (ids == base.config.image_token_id).int()
    grid = look.grid.repeat(len(prompts), 1).to(base.device)
    positions, _ = base.model.get_rope_index(ids, kinds, image_grid_thw=grid, attention_mask=mask)
    cache = DynamicCache(config=base.config)
    out = model(
        input_ids=ids, attention_mask=mask, position_ids=positions, mm_token_type_ids=kinds, image_grid_thw=grid,
        mm_encoder_outputs=encoder_outputs([look] * len(prompts)), past_key_values=cache, logits_to_keep=1, **names,
    )  # fmt: skip
    following, logits, tokens = positions.amax(dim=(0, 2)) + 1, [out.logits[:, -1]], []
    for step in range(steps - 1):
        tokens.append(logits[-1].argmax(-1) if forced is None else forced[:, step].to(base.device))
        mask = torch.cat([mask, mask.new_ones(len(prompts), 1)], dim=1)
        out = model(
            input_ids=tokens[-1][:, None], attention_mask=mask, past_key_values=cache, logits_to_keep=1,
            position_ids=(following + step)[None, :, None].expand(3, -1, -1), **names,
        )  # fmt: skip
        logits.append(out.logits[:, -1])
    return torch.stack(logits, dim=1).float().cpu(), torch.stack(tokens, dim=1).cpu()


@torch.inference_mode()
def logit_spread(engine: LocalEngine, asked: Sequence[Sequence[list[int]]], look: Any, steps: int) -> dict[str, Any]:
    """How far the static cache's logits lie from eager ones, beside how far eager ones lie from each other: the same
    rows one by one, as three, and among the larger batches of COPIES; and, where there is room for a copy of the model
    in float32, how far each lies from its logits. Each distance is the largest relative one of any question, row and
    step; typical ones are medians. asked: per question the prompts of the arms. Raises EngineError."""
    found = [_of_one_question(engine, prompts, look, steps) for prompts in asked]
    eager = {rows: torch.cat([each[rows] for each, _ in found]) for rows in found[0][0]}
    mine = torch.cat([ours for _, ours in found])

    def apart(a: torch.Tensor, b: torch.Tensor, typical: bool = False) -> float:
        distances = (a - b).norm(dim=-1) / b.norm(dim=-1)
        return (distances.median() if typical else distances.max()).item()

    spread = {f"{a} rows to {b}": apart(eager[a], eager[b]) for a, b in combinations(eager, 2)}
    static = {f"static cache to {rows} rows": apart(mine, logits) for rows, logits in eager.items()}
    typical_spread = [apart(eager[a], eager[b], typical=True) for a, b in combinations(eager, 2)]
    typical = [apart(mine, logits, typical=True) for logits in eager.values()]
    told: dict[str, Any] = {}
    if _room_for_a_copy(engine.base):
        model = copy.deepcopy(engine.model).float()
        tokens = [eager[3][3 * k : 3 * k + 3].argmax(-1) for k in range(len(asked))]
        exact = torch.cat(
            [eager_logits(engine, asked[k], look, ARMS, steps, tokens[k], model)[0] for k in range(len(asked))]
        )
        told = {f"eager, {rows} rows": f"{apart(logits, exact):.2e}" for rows, logits in eager.items()}
        told["static cache"] = f"{apart(mine, exact):.2e}"
    return {
        "questions": len(asked),
        "steps": steps,
        "eager": {name: f"{value:.2e}" for name, value in spread.items()},
        "static": {name: f"{value:.2e}" for name, value in static.items()},
        "largest": {"eager": f"{max(spread.values()):.2e}", "static": f"{max(static.values()):.2e}"},
        "typical": {"eager, at most": f"{max(typical_spread):.2e}", "static, at most": f"{max(typical):.2e}"},
        "from float32": told,
        "within the spread": max(static.values()) <= max(spread.values()),
        "nearest within the spread": min(static.values()) <= max(spread.values()),
        "same greedy token as three rows": _same(mine, eager[3]),
        f"same greedy token, eager {max(eager)} rows and three": _same(eager[max(eager)], eager[3]),
    }


def _room_for_a_copy(base: Any) -> bool:
    """Whether the GPU can hold the model once more in float32; a model that is float32 needs no copy."""
    if base.device.type != "cuda" or base.dtype == torch.float32:
        return False
    torch.cuda.empty_cache()
    return torch.cuda.mem_get_info(base.device)[0] > 4.4 * base.num_parameters()


def _of_one_question(
    engine: LocalEngine, prompts: Sequence[list[int]], look: Any, steps: int
) -> tuple[dict[int, torch.Tensor], torch.Tensor]:
    """Logits (3, steps, vocabulary) by the number of rows in the eager batch, and the static cache's."""
    batch, tokens = eager_logits(engine, prompts, look, ARMS, steps)
    one_by_one = [
        eager_logits(engine, [prompts[k]], look, [arm], steps, tokens[k : k + 1])[0] for k, arm in enumerate(ARMS)
    ]
    eager = {1: torch.cat(one_by_one), 3: batch}
    for times in COPIES:
        many = eager_logits(engine, list(prompts) * times, look, list(ARMS) * times, steps, tokens.repeat(times, 1))[0]
        eager[3 * times] = many[:3]
    decoder = engine.fast.decoder if engine.fast else None
    if decoder is None:
        raise EngineError("There is no static cache to compare.")
    step, logits = decoder.start(prompts, [look] * 3, Adapted.of(["", "", engine._name]), steps)
    ours = [logits.float().cpu()]
    for k in range(steps - 1):
        ours.append(decoder.next(step, tokens[:, k].to(engine.base.device)).float().cpu().clone())
    return eager, torch.stack(ours, dim=1)


def _same(a: torch.Tensor, b: torch.Tensor) -> float:
    return round((a.argmax(-1) == b.argmax(-1)).float().mean().item(), 4)


def replay_ms(decoder: Decoder, prompts: Sequence[list[int]], look: Any, adapter: str) -> float:
    """Milliseconds of one decode step of three rows on the GPU itself, by events around replays without a pause."""
    step, logits = decoder.start(prompts, [look] * 3, Adapted.of(["", "", adapter]), 128)
    tokens = logits.argmax(-1)
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    decoder.next(step, tokens)
    begin.record()
    for _ in range(100):
        decoder.next(step, tokens)
    end.record()
    end.synchronize()
    return round(begin.elapsed_time(end) / 100, 3)
