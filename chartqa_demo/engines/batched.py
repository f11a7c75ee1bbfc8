"""Many questions in one batch, greedily: what evaluation uses, where nobody watches single tokens.

Rows that share their beginning (same arm, same chart: system message and image tokens, most of the prompt) compute it
once; rows that have ended leave the batch.
"""

from collections.abc import Sequence
from typing import Any

import torch
from peft import PeftModel
from transformers import DynamicCache

from chartqa_demo.engines.vision import Look, encoder_outputs


def greedy_answers(
    model: Any,
    prompts: Sequence[list[int]],
    looks: Sequence[Look],
    image_token: int,
    adapter_names: Sequence[str] | None,
    max_new_tokens: int,
    end_ids: Sequence[int],
) -> list[list[int]]:
    """New token ids of every row, end token excluded; equal to one `generate` per row in float32.

    prompts: per row its token ids, image tokens included; looks: per row its chart, the same object for the same
    chart; adapter_names: per row, None without an adapter. Raises torch.OutOfMemoryError.
    """
    base: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    device = base.device
    cuts = [len(prompt) - prompt[::-1].index(image_token) for prompt in prompts]  # behind the last image token
    prefixes, prefix_of = _shared_prefixes(prompts, cuts, looks, adapter_names)

    def names(rows: Sequence[int]) -> dict[str, Any]:
        return {} if adapter_names is None else {"adapter_names": [adapter_names[i] for i in rows]}

    # 1. every distinct beginning once
    ids, mask = left_padded([prompts[i][: cuts[i]] for i in prefixes], device)
    kinds = (ids == image_token).int()
    grid = torch.cat([looks[i].grid for i in prefixes]).to(device)  # pyright: ignore (families with M-RoPE have one)
    positions, _ = base.model.get_rope_index(ids, kinds, image_grid_thw=grid, attention_mask=mask)
    cache = DynamicCache(config=base.config)
    model(
        input_ids=ids, attention_mask=mask, position_ids=positions, mm_token_type_ids=kinds, image_grid_thw=grid,
        mm_encoder_outputs=encoder_outputs([looks[i] for i in prefixes]), past_key_values=cache, use_cache=True,
        logits_to_keep=1, **names(prefixes),
    )  # fmt: skip

    # 2. every question behind its beginning: the padding between the two is masked, the positions close the gap
    rows = list(range(len(prompts)))
    of = torch.tensor([prefix_of[i] for i in rows], device=device)
    cache.batch_select_indices(of)
    tail_ids, tail_mask = left_padded([prompt[cut:] for prompt, cut in zip(prompts, cuts, strict=True)], device)
    mask = torch.cat([mask[of], tail_mask], dim=1)
    next_position = positions.amax(dim=(0, 2))[of] + 1
    tail_positions = (next_position[:, None] + tail_mask.cumsum(1) - 1).clamp(min=0)
    next_position = tail_positions[:, -1] + 1
    tokens = _step(model, tail_ids, mask, tail_positions, cache, names(rows))

    # 3. token by token; a row that has ended leaves
    answers: list[list[int]] = [[] for _ in rows]
    ends = frozenset(end_ids)
    for step in range(max_new_tokens):
        found = tokens.tolist()
        going = [k for k, token in enumerate(found) if token not in ends]
        for k in going:
            answers[rows[k]].append(found[k])
        if not going or step == max_new_tokens - 1:
            break
        if len(going) < len(rows):
            keep = torch.tensor(going, device=device)
            rows = [rows[k] for k in going]
            tokens, mask, next_position = tokens[keep], mask[keep], next_position[keep]
            cache.batch_select_indices(keep)
        mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=1)
        tokens = _step(model, tokens[:, None], mask, next_position[:, None], cache, names(rows))
        next_position = next_position + 1
    return answers


def _shared_prefixes(
    prompts: Sequence[list[int]],
    cuts: Sequence[int],
    looks: Sequence[Look],
    adapter_names: Sequence[str] | None,
) -> tuple[list[int], list[int]]:
    """One row index per distinct beginning, and for every row which of these beginnings it has."""
    seen: dict[tuple[Any, ...], int] = {}
    prefixes: list[int] = []
    prefix_of: list[int] = []
    for i, (prompt, cut) in enumerate(zip(prompts, cuts, strict=True)):
        key = (id(looks[i]), adapter_names[i] if adapter_names else None, tuple(prompt[:cut]))
        if key not in seen:
            seen[key] = len(prefixes)
            prefixes.append(i)
        prefix_of.append(seen[key])
    return prefixes, prefix_of


def left_padded(rows: Sequence[list[int]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """ids and attention mask, both (rows, longest), int64; the padding id is 0 and always masked."""
    longest = max(map(len, rows))
    ids = torch.tensor([[0] * (longest - len(row)) + row for row in rows], device=device)
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows], device=device)
    return ids, mask


def _step(
    model: Any,
    ids: torch.Tensor,
    mask: torch.Tensor,
    positions: torch.Tensor,
    cache: DynamicCache,
    names: dict[str, Any],
) -> torch.Tensor:
    """The next token of every row, (rows,): argmax of the last position's logits."""
    out = model(
        input_ids=ids, attention_mask=mask, position_ids=positions.expand(3, -1, -1), past_key_values=cache,
        use_cache=True, logits_to_keep=1, **names,
    )  # fmt: skip
    return out.logits[:, -1].argmax(-1)
