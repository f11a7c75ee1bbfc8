"""Qwen2-VL's language model written out, with an adapter on some rows of a batch.

transformers' own forward launches twice as many kernels a token, and PEFT's mixed batch picks rows by lists that it
copies to the device in every layer; on a GPU both make the host the slowest part. Here the adapter's rows lie side by
side and prompts are padded on the right, so that reading them needs no mask. What a caller does with keys and values
(a static cache in `decoder.py`, shared beginnings in `batched.py`) it says in its `attend`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from peft.tuners.lora.layer import LoraLayer
from torch.nn import Linear
from torch.nn.functional import rms_norm, scaled_dot_product_attention, silu

from chartqa_demo.engines.tower import PROVEN
from chartqa_demo.engines.vision import Look, can_share

# (q (B, S, heads, width), new keys and values (B, S, key heads, width), layer) -> what was seen, (B, S, heads * width)
Attend = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, int], torch.Tensor]


@dataclass(frozen=True)
class Adapted:
    """The rows [first, last) that an adapter answers, by its name in the model; name "" and no rows for none."""

    first: int = 0
    last: int = 0
    name: str = ""

    @classmethod
    def of(cls, adapters: Sequence[str]) -> "Adapted":
        """From the adapter's name per row, "" for none; rows with it lie side by side."""
        on = [row for row, name in enumerate(adapters) if name]
        return cls(on[0], on[-1] + 1, adapters[on[0]]) if on else cls()


@dataclass(frozen=True)
class Prompts:
    """Prompts on the device, padded on the right: ids (B, longest), lengths (B,), positions (3, B, longest) of M-RoPE,
    following (B,): the position of the first token behind each."""

    ids: torch.Tensor
    lengths: torch.Tensor
    positions: torch.Tensor
    following: torch.Tensor


def why_not(base: Any) -> str | None:
    """None when `Layers` can answer for this model, else why not, as the end of a sentence."""
    if base.config.model_type not in PROVEN:
        return f"{base.config.model_type} is not among the model types it was tested with ({', '.join(PROVEN)})"
    if not can_share(base):
        return "this release of transformers takes no vision features instead of pixels"
    if set(base.config.text_config.layer_types) != {"full_attention"}:
        return "some layers of this model have a sliding window"
    if getattr(base.generation_config, "repetition_penalty", None) not in (None, 1.0):
        return "the model's generation_config.json sets a repetition penalty"
    return None


def right_padded(rows: Sequence[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """ids (rows, longest) and lengths (rows,), int64, on the host; the padding id is 0."""
    longest = max(map(len, rows))
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    return ids, torch.tensor([len(row) for row in rows])


class Layers:
    """The decoder layers of `base`, whose linear layers PEFT may have wrapped; call it inside inference_mode."""

    def __init__(self, base: Any) -> None:
        self.base = base
        self.text: Any = base.model.language_model
        self.count = len(self.text.layers)
        text = base.config.text_config
        self.heads, self.kv_heads = text.num_attention_heads, text.num_key_value_heads
        self.width = text.hidden_size // text.num_attention_heads
        self._epsilon = text.rms_norm_eps
        self._image_token = base.config.image_token_id

    def laid_out(self, prompts: Sequence[list[int]], looks: Sequence[Look]) -> Prompts:
        """The prompts, per row its token ids with image tokens, and per row its chart.

        Counted on the host, where no step of it waits for the device, and sent in one go.
        """
        ids, lengths = right_padded(prompts)
        longest = ids.shape[1]
        real = (torch.arange(longest) < lengths[:, None]).long()
        grid = torch.cat([look.grid.cpu() for look in looks])  # pyright: ignore[reportOptionalMemberAccess]
        positions, _ = self.base.model.get_rope_index(
            ids, ((ids == self._image_token) & real.bool()).int(), image_grid_thw=grid, attention_mask=real
        )
        following = positions.amax(dim=(0, 2)) + 1
        rows = torch.cat([ids[None], positions])  # (4, B, longest)
        counted = torch.cat([rows.flatten(), lengths, following]).to(self.base.device, non_blocking=True)
        rows, lengths, following = counted.split([rows.numel(), len(prompts), len(prompts)])
        rows = rows.view(4, len(prompts), longest)
        return Prompts(rows[0], lengths, rows[1:], following)

    def embedded(self, ids: torch.Tensor, prompts: Sequence[list[int]], looks: Sequence[Look]) -> torch.Tensor:
        """(B, longest, hidden size): ids (B, longest) of these prompts, each chart's features in its place."""
        x = self.text.embed_tokens(ids)
        for row, (prompt, look) in enumerate(zip(prompts, looks, strict=True)):
            first = prompt.index(self._image_token)
            features = look.pooled[0] if len(look.pooled) == 1 else torch.cat(look.pooled)
            x[row, first : first + look.tokens] = features.to(x.dtype)
        return x

    def __call__(
        self,
        x: torch.Tensor,
        positions: torch.Tensor,
        adapted: Adapted,
        attend: Attend,
        lengths: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """All layers on x (B, S, hidden size), positions (3, B, S); the last position of every row, (B, hidden size),
        before the last norm. lengths (B,): of rows padded on the right.

        What the layers add up keeps the precision of x: in float32 it loses nothing, whatever the model's own dtype.
        """
        rows, length, _ = x.shape
        cos, sin = self.text.rotary_emb(x, positions)
        cos, sin = (one[:, :, None].to(self.base.dtype, copy=True) for one in (cos, sin))
        sin[..., : self.width // 2].neg_()
        for number, layer in enumerate(self.text.layers):
            attention, mlp = layer.self_attn, layer.mlp
            normed = self._norm(x, layer.input_layernorm)
            q = self._linear(attention.q_proj, normed, adapted)
            k = self._linear(attention.k_proj, normed, adapted)
            v = self._linear(attention.v_proj, normed, adapted)
            both = torch.cat([q, k], dim=-1).view(rows, length, -1, self.width)
            both = torch.addcmul(both * cos, both.roll(self.width // 2, -1), sin)  # rotate_half, its sign in sin
            q, k = both.split([self.heads, self.kv_heads], dim=2)
            seen = attend(q, k, v.view(rows, length, -1, self.width), number)
            if number == self.count - 1:  # all that follows is wanted of one position only
                ends = torch.full((rows,), length - 1, device=x.device) if lengths is None else lengths - 1
                every = torch.arange(rows, device=x.device)
                x, seen = x[every, ends][:, None], seen[every, ends][:, None]
            x = x + self._linear(attention.o_proj, seen, adapted)
            normed = self._norm(x, layer.post_attention_layernorm)
            gate, up = self._linear(mlp.gate_proj, normed, adapted), self._linear(mlp.up_proj, normed, adapted)
            x = x + self._linear(mlp.down_proj, silu(gate, inplace=True).mul_(up), adapted)
        return x[:, 0]

    def causal(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """Attention of prompts to themselves; arguments and result as in `Attend`, the layer aside."""
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
        seen = scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=self.heads != self.kv_heads)
        return seen.transpose(1, 2).flatten(2)

    def masked(self, q: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Attention of q (B, S, heads, width) to all slots of a cache, keys and values (B, key heads, slots, width);
        mask (B, 1, S, slots) as scaled_dot_product_attention takes it. The result is that of `Attend`."""
        rows, length, group = len(q), q.shape[1], self.heads // self.kv_heads
        # The heads that share keys become queries of one head: nothing is repeated
        q = q.view(rows, length, self.kv_heads, group, self.width).transpose(1, 2).flatten(2, 3)
        if length > 1:
            mask = mask.repeat_interleave(group, dim=2)
        seen = scaled_dot_product_attention(q, keys, values, attn_mask=mask)
        return seen.reshape(rows, self.kv_heads, length, -1).transpose(1, 2).flatten(2)

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """(B, vocabulary) of the last positions' x (B, hidden size)."""
        return _few_rows(self.base.lm_head, self._norm(x, self.text.norm)[:, None])[:, 0]

    def _norm(self, x: torch.Tensor, norm: Any) -> torch.Tensor:
        return rms_norm(x.to(norm.weight.dtype), (x.shape[-1],), norm.weight, self._epsilon)

    def _linear(self, module: Any, x: torch.Tensor, adapted: Adapted) -> torch.Tensor:
        if not isinstance(module, LoraLayer):
            return _few_rows(module, x)
        lora: Any = module
        out, name = _few_rows(lora.base_layer, x), adapted.name
        if adapted.first < adapted.last and name in lora.lora_A:
            down, up, scaling = lora.lora_A[name].weight, lora.lora_B[name].weight, lora.scaling[name]
            x, rows = x[adapted.first : adapted.last].flatten(0, 1), out[adapted.first : adapted.last].flatten(0, 1)
            if down.dtype == out.dtype:
                rows.addmm_(x @ down.t(), up.t(), alpha=scaling)  # rows is a view of out
            else:  # while it is trained, an adapter can be more precise than its base
                rows += ((x.to(down.dtype) @ down.t()) @ up.t() * scaling).to(out.dtype)
        return out


def _few_rows(module: Any, x: torch.Tensor) -> torch.Tensor:
    """`module(x)`. On a CPU, one token each of two to four rows goes through a tall matrix in less than half the time
    when the matrix comes first in the product: the other way it is read once a row."""
    tall = type(module) is Linear and module.out_features > module.in_features and module.bias is None
    if tall and x.device.type == "cpu" and x.shape[1] == 1 and 1 < len(x) <= 4:
        return (module.weight @ x[:, 0].t()).t()[:, None]
    return module(x)
