"""Qwen2-VL's language model written out, with an adapter on some rows of a batch.

transformers' own forward launches twice as many kernels a token, and PEFT's mixed batch picks rows by lists that it
copies to the device in every layer; on a GPU both make the host the slowest part. Here the adapter's rows lie side by
side and prompts are padded on the right, so that reading them needs no mask. What a caller does with keys and values
(a static cache, shared beginnings: `steps.py`) it says in its `attend`. On a GPU of one's own
`fuse` joins weights that read the same input and takes the kernels of `kernels`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch.nn import Linear
from torch.nn.functional import linear, scaled_dot_product_attention

from chartqa_demo.engines.fast.plain import add_norm, gated, rotated, store
from chartqa_demo.engines.fast.weights import nf4
from chartqa_demo.engines.fast.weights.joining import TUNING, Joint, joined, riding
from chartqa_demo.engines.internals import before_ampere, has_adapters, token_places
from chartqa_demo.engines.looks import Look
from chartqa_demo.errors import EngineError

BLOCK = 64  # positions of a prompt that attend at once on a CPU

# q (B, S, heads, width), new keys and values (B, S, key heads, width), layer -> attended to (B, S, heads * width);
# no keys and values where they were put `Into` their places already
Attend = Callable[[torch.Tensor, Any, Any, int], torch.Tensor]


@dataclass(frozen=True)
class Adapted:
    """The rows [first, last) that an adapter answers, by its name in the model; name "" and no rows for none."""

    first: int = 0
    last: int = 0
    name: str = ""

    @classmethod
    def of(cls, adapters: Sequence[str]) -> "Adapted":
        """From the adapter's name per row, "" for none. Raises EngineError where its rows do not lie side by side, or
        more than one adapter is named: their rows would be computed with the wrong weights."""
        on = [row for row, name in enumerate(adapters) if name]
        if on and set(adapters[on[0] : on[-1] + 1]) != {adapters[on[0]]}:
            raise EngineError(
                f"The rows of a batch have the adapters {', '.join(name or 'none' for name in adapters)}; the written-"
                "out layers take one adapter, on rows that lie side by side. Use --decode eager."
            )
        return cls(on[0], on[-1] + 1, adapters[on[0]]) if on else cls()


@dataclass(frozen=True)
class Prompts:
    """Prompts on the device, padded on the right: ids (B, longest), lengths (B,), positions (3, B, longest) of M-RoPE,
    following (B,): the position of the first token behind each."""

    ids: torch.Tensor
    lengths: torch.Tensor
    positions: torch.Tensor
    following: torch.Tensor


@dataclass(frozen=True)
class Into:
    """Where a kernel may put new keys and values: keys, values (layers, B, key heads, slots, width), row b's from
    slots[b] on; slots (B,) on the device."""

    keys: torch.Tensor
    values: torch.Tensor
    slots: torch.Tensor


def right_padded(rows: Sequence[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """ids (rows, longest) and lengths (rows,), int64, on the host; the padding id is 0."""
    longest = max(map(len, rows))
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    return ids, torch.tensor([len(row) for row in rows])


def shared_beginnings(
    rows: Sequence[int],
    prompts: Sequence[list[int]],
    cuts: Sequence[int],
    looks: Sequence[Look],
    adapters: Sequence[str],
) -> tuple[list[int], dict[int, int]]:
    """One row per distinct beginning, and for every row which of these beginnings it has."""
    numbers: dict[tuple[object, ...], int] = {}
    shared: list[int] = []
    shared_by: dict[int, int] = {}
    for i in rows:
        key = (id(looks[i]), adapters[i], tuple(prompts[i][: cuts[i]]))
        if key not in numbers:
            numbers[key] = len(shared)
            shared.append(i)
        shared_by[i] = numbers[key]
    return shared, shared_by


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
        self._add_norm, self._rotated, self._gated, self.store = add_norm, rotated, gated, store
        self.best: Callable[..., Any] | None = None  # a kernel that takes the next tokens, see `NextTokens`
        self._kernels: dict[str, Callable[..., Any]] | None = None  # those that `fuse` found usable, by name
        self._at_once = self._unpacked = 0  # rows at most whose products they compute, of weights in NF4
        self._joint: dict[Any, Joint] | None = None  # by the first of the joined layers; None before `fuse`
        self._packed: dict[Any, nf4.Matrix] = {}  # the same for weights in NF4, of which some stay alone
        self._tuning: WeakKeyDictionary[Any, torch.Tensor] = WeakKeyDictionary()  # by its A: an adapter's B of a Joint

    def fuse(self) -> dict[str, str]:
        """From now on weights that read the same input are one matrix, of which each is a part (in 8 bits they are left
        as they are), an adapter's beside them are copied when first used, and Triton's kernels compute what lies
        between, each for itself where it can be used; by name why others cannot. Not for a model in training. Raises
        ImportError without Triton.
        """
        if self._joint is not None:
            return {}
        from chartqa_demo.engines.fast.kernels import choice, passes, placing, products, proofs
        from chartqa_demo.engines.fast.kernels.launching import usable

        self._joint = {}
        for layer in self.text.layers:
            attention, mlp = layer.self_attn, layer.mlp
            several = (attention.q_proj, attention.k_proj, attention.v_proj), (mlp.gate_proj, mlp.up_proj)
            for group in (*several, (attention.o_proj,), (mlp.down_proj,)):
                parts = [_base_layer(module) for module in group]
                if len(parts) > 1 and all(type(part) is Linear for part in parts):
                    self._joint[parts[0]] = joined(parts)
                elif self.base.dtype.itemsize == 2 and (packed := nf4.joined(parts)):
                    self._packed[parts[0]] = packed
        first, size = self.text.layers[0], self.heads + 2 * self.kv_heads
        hidden = torch.zeros(1, 1, self.text.config.hidden_size, device=self.base.device, dtype=self.base.dtype)
        q, k, v = hidden.new_zeros(1, 1, size, self.width).split((self.heads, self.kv_heads, self.kv_heads), dim=2)
        place, slot = hidden.new_zeros(1, 1, self.width), torch.zeros(1, dtype=torch.long, device=hidden.device)
        keys, gate = (
            hidden.new_zeros(1, self.kv_heads, 8, self.width),
            hidden.new_zeros(1, 1, first.mlp.intermediate_size),
        )
        trials: dict[str, tuple[Callable[..., Any], Callable[[], object]]] = {
            "add_norm": (
                passes.add_norm,
                lambda: passes.add_norm(hidden.float(), hidden, first.input_layernorm, self._epsilon),
            ),
            "rotated": (passes.rotated, lambda: passes.rotated(q, k, v, place, place)),
            "store": (passes.store, lambda: passes.store(keys, keys, k, v, slot)),
            "gated": (passes.gated, lambda: passes.gated(gate, gate)),
        }
        if not before_ampere(hidden.device):  # which lacks registers or instructions (bench/results/kernels.json)
            trials["product"] = products.product, lambda: products.product(hidden, self.base.lm_head.weight)
            if joint := self._joint_of(first.mlp.gate_proj):
                trials["gated_product"] = (
                    products.gated_product,
                    lambda: products.gated_product(hidden, joint.weight, joint.sizes[0]),
                )
            if packed := self._packed.get(_base_layer(first.self_attn.q_proj)):
                trials["nf4_product"] = products.nf4_product, lambda: products.nf4_product(hidden, packed)
        trials["placed"] = placing.placed, lambda: proofs.placed(self.heads, self.kv_heads, self.width, hidden)
        trials["best"] = choice.best, lambda: proofs.best(len(self.base.lm_head.weight), hidden)
        found, lost = usable(trials)
        self.best = found.pop("best", None)
        self._kernels, self._at_once, self._unpacked = found or None, products.FEW, products.NF4_ROWS
        self._add_norm, self._rotated = found.get("add_norm", add_norm), found.get("rotated", rotated)
        self._gated, self.store = found.get("gated", gated), found.get("store", store)
        return lost

    def laid_out(self, prompts: Sequence[list[int]], looks: Sequence[Look]) -> Prompts:
        """The prompts, per row its token ids with image tokens, and per row its chart.

        Counted on the host, where no step of it waits for the device, and sent in one go.
        """
        ids, lengths = right_padded(prompts)
        longest = ids.shape[1]
        real = (torch.arange(longest) < lengths[:, None]).long()
        grid = torch.cat([look.grid.cpu() for look in looks])  # pyright: ignore[reportOptionalMemberAccess]
        positions = token_places(self.base, ids, grid, real)
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
        alone: bool = False,
        into: Into | None = None,
    ) -> torch.Tensor:
        """All layers and the last norm on x (B, S, hidden size), positions (3, B, S); the last position of every row,
        (B, hidden size). lengths (B,): of rows padded on the right. alone: whether the last layer's `attend` is
        asked for that position alone, (B, 1, heads, width) with all keys. into: see `Attend`. x may be overwritten.

        What the layers add up is in float32, whatever the model's own dtype, for a page's answer and for an
        evaluation's batch alike: most of what bfloat16 loses it loses there.
        """
        x = x.float()
        rows, length, _ = x.shape
        cos, sin = self.text.rotary_emb(x, positions)
        cos, sin = (one.to(self.base.dtype, copy=True) for one in (cos, sin))
        sin[..., : self.width // 2].neg_()
        delta: torch.Tensor | None = None  # of the layers so far, what x has yet to be given
        for number, layer in enumerate(self.text.layers):
            attention, mlp = layer.self_attn, layer.mlp
            x, normed = self._add_norm(x, delta, layer.input_layernorm, self._epsilon)
            q, k, v = self._heads(attention, normed, adapted, (cos, sin), into, number)
            if number < self.count - 1 or length == 1:
                attended = attend(q, k, v, number)
            else:  # what follows is needed of one position only
                ends = torch.full((rows,), length - 1, device=x.device) if lengths is None else lengths - 1
                end = torch.arange(rows, device=x.device), ends
                attended = attend(q[end][:, None], k, v, number) if alone else attend(q, k, v, number)[end][:, None]
                x = x[end][:, None]
            (delta,) = self._linears((attention.o_proj,), attended, adapted)
            x, normed = self._add_norm(x, delta, layer.post_attention_layernorm, self._epsilon)
            (delta,) = self._linears((mlp.down_proj,), self._gated_product(mlp, normed, adapted), adapted)
        return self._add_norm(x, delta, self.text.norm, self._epsilon)[1][:, 0]

    def causal(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """Attention of prompts to themselves; arguments and result as in `Attend`, the layer aside."""
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
        shared = self.heads != self.kv_heads
        if q.device.type != "cpu":
            attended = scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=shared)
            return attended.transpose(1, 2).flatten(2)
        # A CPU's computes what the mask hides, too: a block of positions is given the keys up to its own only
        last = (q.shape[2] - 1) // BLOCK * BLOCK
        mask = torch.full((BLOCK, last + BLOCK), float("-inf"), dtype=q.dtype).triu(last + 1)
        parts: list[torch.Tensor] = []
        for first, part in zip(range(0, last + 1, BLOCK), q.split(BLOCK, dim=2), strict=True):
            end = first + part.shape[2]
            hidden = mask[: part.shape[2], last - first : last - first + end]
            keys, values = k[:, :, :end], v[:, :, :end]
            attended = scaled_dot_product_attention(part, keys, values, attn_mask=hidden, enable_gqa=shared)
            parts.append(attended.transpose(1, 2))
        return torch.cat(parts, dim=1).flatten(2)

    def masked(
        self, q: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor, filled: int | None = None
    ) -> torch.Tensor:
        """Attention of q (B, S, heads, width) to all slots of a cache, keys and values (B, key heads, slots, width);
        mask (B, 1, S, slots) as scaled_dot_product_attention takes it; filled: slots that a CPU need not read beyond, a
        GPU's kernels are fastest on all. The result is that of `Attend`."""
        if filled is not None and q.device.type == "cpu":
            keys, values, mask = keys[:, :, :filled], values[:, :, :filled], mask[..., :filled]
        rows, length, group = len(q), q.shape[1], self.heads // self.kv_heads
        # The heads that share keys become queries of one head: nothing is repeated
        q = q.view(rows, length, self.kv_heads, group, self.width).transpose(1, 2).flatten(2, 3)
        if length > 1:
            mask = mask.repeat_interleave(group, dim=2)
        attended = scaled_dot_product_attention(q, keys, values, attn_mask=mask)
        return attended.reshape(rows, self.kv_heads, length, -1).transpose(1, 2).flatten(2)

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """(B, vocabulary) of x (B, hidden size) behind all layers."""
        parts = self._product(self.base.lm_head, x[:, None])
        return parts[:, 0] if parts.shape[1] == 1 else parts.sum(1)

    def _linears(self, modules: Sequence[Any], x: torch.Tensor, adapted: Adapted) -> list[torch.Tensor]:
        """x (B, S, inputs) through each of these layers, which read the same; the adapter's part in its rows."""
        joint = self._joint_of(modules[0])
        name, rows, loras = adapted.name, slice(adapted.first, adapted.last), _loras(modules, adapted)
        packed = self._packed.get(_base_layer(modules[0]))
        if packed is not None and len(x) <= self._unpacked and (product := self._few(x, "nf4_product")):
            outs = list(product(x, packed).split(packed.sizes, dim=-1))
        elif joint is None:
            parts = [_base_layer(module) for module in modules]
            product = _through if len(parts) > 1 else self._product  # which may give the parts of a sum
            outs = [product(part, x) for part in parts]
        else:
            up = riding(self._tuning, joint, loras, name) if loras else None  # before the product
            whole = linear(x, joint.weight, joint.bias)
            outs = list(whole.split((*joint.sizes, TUNING), dim=-1))[:-1]
            if up is not None:
                mine, size = whole[rows].flatten(0, 1), sum(joint.sizes)  # a view
                scaling = next(iter(loras.values())).scaling[name]
                mine[:, :size].addmm_(mine[:, size : size + len(up)], up, alpha=scaling)
                return outs
        if not loras:
            return outs
        length, x = x.shape[1], x[rows].flatten(0, 1)
        for n, lora in loras.items():
            down, up, scaling = lora.lora_A[name].weight, lora.lora_B[name].weight, lora.scaling[name]
            out = outs[n][rows, :length].flatten(0, 1)  # a view
            if down.dtype == out.dtype:
                out.addmm_(x @ down.t(), up.t(), alpha=scaling)
            else:  # while it is trained, an adapter can be more precise than its base; so are sums of few rows
                out += ((x.to(down.dtype) @ down.t()) @ up.t() * scaling).to(out.dtype)
        return outs

    def _heads(
        self,
        attention: Any,
        x: torch.Tensor,
        adapted: Adapted,
        turns: tuple[torch.Tensor, torch.Tensor],
        into: Into | None,
        number: int,
    ) -> tuple[torch.Tensor, Any, Any]:
        """q, k, v of x (B, S, hidden size) in a layer, rotated, as `Attend` takes them."""
        modules = attention.q_proj, attention.k_proj, attention.v_proj
        placed = None if into is None or self._kernels is None else self._kernels.get("placed")
        if placed is not None and into is not None:
            where = *turns, into.keys[number], into.values[number], into.slots, self.heads
            joint, product, loras = self._joint_of(modules[0]), self._few(x, "product"), _loras(modules, adapted)
            if joint is not None and product is not None:
                up = riding(self._tuning, joint, loras, adapted.name) if loras else None  # before the product
                if up is not None or not loras:
                    scaling = next(iter(loras.values())).scaling[adapted.name] if loras else 0.0
                    told = adapted.first, adapted.last, float(scaling)
                    return placed(product(x, joint.weight), joint.bias, up, told, *where), None, None
            heads = self._linears(modules, x, adapted)
            if _parts_of_one(heads):
                return placed(heads[0], None, None, (0, 0, 0.0), *where), None, None
        else:
            heads = self._linears(modules, x, adapted)
        q, k, v = (one.unflatten(-1, (-1, self.width)) for one in heads)
        return self._rotated(q, k, v, *turns)

    def _joint_of(self, first: Any) -> Joint | None:
        """What the layer `first` is joined with, it being the first of them."""
        return self._joint.get(_base_layer(first)) if self._joint else None

    def _gated_product(self, mlp: Any, x: torch.Tensor, adapted: Adapted) -> torch.Tensor:
        """silu(gate) * up of x (B, S, hidden size), what `down_proj` reads."""
        modules = mlp.gate_proj, mlp.up_proj
        joint = self._joint_of(mlp.gate_proj)
        product = self._few(x, "gated_product")
        if product and joint is not None and joint.bias is None and not _loras(modules, adapted):
            return product(x, joint.weight, joint.sizes[0])
        return self._gated(*self._linears(modules, x, adapted))

    def _product(self, part: Any, x: torch.Tensor) -> torch.Tensor:
        """x (B, S, inputs) through a layer without its adapter, (B, S, outputs); of a few rows in a decode step
        (B, parts, outputs), which are to be added."""
        if type(part) is Linear and part.bias is None and (product := self._few(x, "product")):
            return product(x, part.weight)
        return _through(part, x)

    def _few(self, x: torch.Tensor, name: str) -> Callable[..., torch.Tensor] | None:
        """The kernel of that name, where there is one and x (B, S, inputs) are few rows of a decode step."""
        return self._kernels.get(name) if self._kernels and x.shape[1] == 1 and len(x) <= self._at_once else None


def _loras(modules: Sequence[Any], adapted: Adapted) -> dict[int, Any]:
    """By number those of the modules that the adapter changes."""
    if adapted.first == adapted.last:
        return {}
    return {n: one for n, one in enumerate(modules) if has_adapters(one) and adapted.name in one.lora_A}


def _parts_of_one(heads: Sequence[torch.Tensor]) -> bool:
    """Whether these (B, S, outputs) lie side by side in wider rows, in this order, and the rows at one distance."""
    (rows, length, _), (far, near, _) = heads[0].shape, heads[0].stride()
    return (1 in (rows, length) or far == length * near) and all(
        a.stride() == b.stride() and b.data_ptr() == a.data_ptr() + a.shape[-1] * a.element_size()
        for a, b in pairwise(heads)
    )


def _base_layer(module: Any) -> Any:
    return module.base_layer if has_adapters(module) else module


def _through(part: Any, x: torch.Tensor) -> torch.Tensor:
    """part(x); a plain layer without what calling a module costs, a tenth of a CPU's decode step."""
    return linear(x, part.weight, part.bias) if type(part) is Linear else part(x)
