"""Three arms' tokens from one static cache: Qwen2-VL's language model written out, its decode step a CUDA graph.

`generate` launches some 1,500 small kernels a token from Python and PEFT registers its hooks anew each time, so a 7B
model waits for the host. Here a step is a fixed sequence of operations on fixed buffers, captured once and replayed;
what changes from question to question (tokens, positions, how far the cache is filled) lies in those buffers. Prompts
are padded on the right, so that prefill needs no mask and a new chart size no new capture. On a CPU the same step is
called instead of replayed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from peft.tuners.lora.layer import LoraLayer
from torch.nn.functional import rms_norm, scaled_dot_product_attention, silu

from chartqa_demo.engines.vision import Look

PROVEN = ("qwen2_vl",)  # model types whose tokens the tests compare with generate's
BUCKET = 512  # cache lengths are multiples of it; one graph per length

Attend = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, int], torch.Tensor]


class CaptureError(RuntimeError):
    """The decode step could not be captured as a CUDA graph; nothing of the question has been answered yet."""


@dataclass(frozen=True)
class Adapted:
    """The rows [first, last) that an adapter answers, by its name in the model; name "" and no rows for none."""

    first: int = 0
    last: int = 0
    name: str = ""


@dataclass(eq=False)
class Step:
    """The fixed buffers of one decode step, B rows over a cache of L slots, and its captured graph.

    tokens (B, 1): the token to read; positions (B,): its place in the text, image tokens counted as M-RoPE counts them;
    slots (B,): its place in the cache; mask (B, 1, 1, L): 0 where a slot may be seen, minus infinity elsewhere;
    logits (B, vocabulary): what the step found.
    """

    adapted: Adapted
    keys: torch.Tensor
    values: torch.Tensor
    tokens: torch.Tensor
    positions: torch.Tensor
    slots: torch.Tensor
    mask: torch.Tensor
    logits: torch.Tensor
    graph: Any = None


def why_not(base: Any) -> str | None:
    """None when `Decoder` can answer for this model, else why not, as the end of a sentence."""
    if base.config.model_type not in PROVEN:
        return f"{base.config.model_type} is not among the model types it was tested with ({', '.join(PROVEN)})"
    if set(base.config.text_config.layer_types) != {"full_attention"}:
        return "some layers of this model have a sliding window"
    if getattr(base.generation_config, "repetition_penalty", None) not in (None, 1.0):
        return "the model's generation_config.json sets a repetition penalty"
    return None


class Decoder:
    """Prefill and decode of a few rows on one static cache; not thread-safe, the engine's lock covers it.

    captures: how many graphs were captured so far.
    """

    def __init__(self, base: Any) -> None:
        self._text: Any = base.model.language_model
        self._head = base.lm_head
        self._base = base
        self._image_token = base.config.image_token_id
        text = base.config.text_config
        self._heads, self._kv_heads = text.num_attention_heads, text.num_key_value_heads
        self._width = text.hidden_size // text.num_attention_heads
        self._epsilon = text.rms_norm_eps
        self._cache: torch.Tensor | None = None  # (2, layers, rows, key heads, slots, width)
        self._steps: dict[tuple[int, int, Adapted], Step] = {}
        self._pool: Any = None
        self.captures = 0

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """(rows, slots) of every step made so far."""
        return [(rows, slots) for rows, slots, _ in self._steps]

    def forget(self) -> None:
        """Drop every captured step: its adapter's weights are no longer those in use."""
        self._steps.clear()

    @torch.inference_mode()
    def prepare(self, rows: int, longest: int, adapted: Adapted) -> None:
        """Capture the steps of all prompts and answers of up to `longest` tokens. Raises CaptureError."""
        for length in range(-(-longest // BUCKET) * BUCKET, 0, -BUCKET):  # the largest first: they share its cache
            self._step(rows, length, adapted)

    @torch.inference_mode()
    def start(
        self, prompts: Sequence[list[int]], looks: Sequence[Look], adapted: Adapted, longest: int
    ) -> tuple[Step, torch.Tensor]:
        """Read the prompts; the step that continues them, and the logits (B, vocabulary) of their next tokens.

        prompts: per row its token ids, image tokens included; looks: per row its chart; longest: new tokens that
        have to fit behind the prompts. Raises CaptureError before anything is computed, torch.OutOfMemoryError.
        """
        length = max(map(len, prompts))
        step = self._step(len(prompts), -(-(length + longest) // BUCKET) * BUCKET, adapted)
        ids, ends, positions, next_positions = self._laid_out(prompts, looks)
        embedded = self._text.embed_tokens(ids)
        for row, (prompt, look) in enumerate(zip(prompts, looks, strict=True)):
            first = prompt.index(self._image_token)
            features = look.pooled[0] if len(look.pooled) == 1 else torch.cat(look.pooled)
            embedded[row, first : first + look.tokens] = features.to(embedded.dtype)
        step.slots.copy_(ends)
        step.positions.copy_(next_positions)
        slots = torch.arange(step.mask.shape[-1], device=ids.device)
        step.mask.zero_().masked_fill_(slots >= ends[:, None, None, None], float("-inf"))

        def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, layer: int) -> torch.Tensor:
            k, v = k.transpose(1, 2), v.transpose(1, 2)
            step.keys[layer, :, :, :length] = k
            step.values[layer, :, :, :length] = v
            shared = self._heads != self._kv_heads
            return scaled_dot_product_attention(q.transpose(1, 2), k, v, is_causal=True, enable_gqa=shared)

        x = self._layers(embedded, positions, step.adapted, attend)
        x = x[torch.arange(len(prompts), device=x.device), ends - 1]
        return step, self._head(self._norm(x, self._text.norm))

    @torch.inference_mode()
    def next(self, step: Step, tokens: torch.Tensor) -> torch.Tensor:
        """Read one more token per row, (B,); the logits (B, vocabulary) of the next, overwritten by the next call."""
        step.tokens.copy_(tokens[:, None])
        if step.graph is None:
            self._decode(step)
        else:
            step.graph.replay()
        return step.logits

    def _decode(self, step: Step) -> None:
        """What the graph holds: one token of every row through all layers, then everything moves on by one."""
        rows, slots = len(step.tokens), step.slots[:, None, None, None]
        step.mask.scatter_(3, slots, 0.0)

        def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, layer: int) -> torch.Tensor:
            place = slots.expand(rows, self._kv_heads, 1, self._width)
            keys, values = step.keys[layer], step.values[layer]
            keys.scatter_(2, place, k.transpose(1, 2))
            values.scatter_(2, place, v.transpose(1, 2))
            # The heads that share keys become queries of one head: nothing is repeated
            q = q.view(rows, self._kv_heads, self._heads // self._kv_heads, self._width)
            return scaled_dot_product_attention(q, keys, values, attn_mask=step.mask)

        positions = step.positions[None, :, None].expand(3, -1, -1)
        x = self._layers(self._text.embed_tokens(step.tokens), positions, step.adapted, attend)
        step.logits.copy_(self._head(self._norm(x[:, -1], self._text.norm)))
        step.positions += 1
        step.slots += 1

    def _layers(self, x: torch.Tensor, positions: torch.Tensor, adapted: Adapted, attend: Attend) -> torch.Tensor:
        """Qwen2-VL's decoder layers on x (B, S, hidden size), positions (3, B, S); before the last norm.

        `attend` takes queries (B, S, heads, width) and new keys and values (B, S, key heads, width), and gives what
        reshapes to queries with heads before S.
        """
        rows, length, _ = x.shape
        cos, sin = self._text.rotary_emb(x, positions)
        cos, sin = cos[:, :, None], sin[:, :, None].clone()
        sin[..., : self._width // 2].neg_()
        for number, layer in enumerate(self._text.layers):
            attention, mlp = layer.self_attn, layer.mlp
            normed = self._norm(x, layer.input_layernorm)
            q = self._linear(attention.q_proj, normed, adapted)
            k = self._linear(attention.k_proj, normed, adapted)
            v = self._linear(attention.v_proj, normed, adapted)
            both = torch.cat([q, k], dim=-1).view(rows, length, -1, self._width)
            both = torch.addcmul(both * cos, both.roll(self._width // 2, -1), sin)  # rotate_half, its sign in sin
            q, k = both.split([self._heads, self._kv_heads], dim=2)
            seen = attend(q, k, v.view(rows, length, -1, self._width), number)
            seen = seen.reshape(rows, self._heads, length, self._width).transpose(1, 2).reshape(rows, length, -1)
            x = x + self._linear(attention.o_proj, seen, adapted)
            normed = self._norm(x, layer.post_attention_layernorm)
            gate, up = self._linear(mlp.gate_proj, normed, adapted), self._linear(mlp.up_proj, normed, adapted)
            x = x + self._linear(mlp.down_proj, silu(gate) * up, adapted)
        return x

    def _norm(self, x: torch.Tensor, norm: Any) -> torch.Tensor:
        return rms_norm(x, (x.shape[-1],), norm.weight, self._epsilon)

    def _linear(self, module: Any, x: torch.Tensor, adapted: Adapted) -> torch.Tensor:
        """A linear layer, with the adapter on its rows: PEFT's mixed batch without its lists of row numbers."""
        if not isinstance(module, LoraLayer):
            return module(x)
        lora: Any = module
        out, name = lora.base_layer(x), adapted.name
        if adapted.first < adapted.last and name in lora.lora_A:
            reduced = lora.lora_A[name](x[adapted.first : adapted.last]).flatten(0, 1)
            rows = out[adapted.first : adapted.last].flatten(0, 1)  # a view
            rows.addmm_(reduced, lora.lora_B[name].weight.t(), alpha=lora.scaling[name])
        return out

    def _laid_out(self, prompts: Sequence[list[int]], looks: Sequence[Look]) -> tuple[torch.Tensor, ...]:
        """On the device: ids (B, longest), lengths (B,), positions (3, B, longest) and the next position (B,).

        Counted on the host, where no step of it waits for the device, and sent in one go.
        """
        lengths = torch.tensor([len(prompt) for prompt in prompts])
        longest = int(lengths.max())
        ids = torch.tensor([prompt + [0] * (longest - len(prompt)) for prompt in prompts])
        real = (torch.arange(longest) < lengths[:, None]).long()
        grid = torch.cat([look.grid.cpu() for look in looks])  # pyright: ignore[reportOptionalMemberAccess]
        positions, _ = self._base.model.get_rope_index(
            ids, ((ids == self._image_token) & real.bool()).int(), image_grid_thw=grid, attention_mask=real
        )
        following = positions.amax(dim=(0, 2)) + 1
        rows = torch.cat([ids[None], positions])  # (4, B, longest)
        sent = torch.cat([rows.flatten(), lengths, following])
        device = self._base.device
        if device.type == "cuda":
            sent = sent.pin_memory()
        sent = sent.to(device, non_blocking=True)
        rows, lengths, following = sent.split([rows.numel(), len(prompts), len(prompts)])
        rows = rows.view(4, len(prompts), longest)
        return rows[0], lengths, rows[1:], following

    def _step(self, rows: int, length: int, adapted: Adapted) -> Step:
        """The step of this shape, its cache emptied; captured first where that is possible and not yet done."""
        if self._base.device.type == "cuda":
            torch.cuda.set_device(self._base.device)  # a new thread begins on the first GPU, wherever the model is
        cache = self._cache
        if cache is None or cache.shape[2] < rows or cache.shape[4] < length:
            held = (1, 1) if cache is None else (cache.shape[2], cache.shape[4])
            self._steps.clear()
            self._cache = cache = None  # freed before the larger one is made
            layers = len(self._text.layers)
            size = (2, layers, max(rows, held[0]), self._kv_heads, max(length, held[1]), self._width)
            self._cache = cache = torch.zeros(size, dtype=self._base.dtype, device=self._base.device)
        key = (rows, length, adapted)
        if key not in self._steps:
            device, dtype = self._base.device, self._base.dtype
            self._steps[key] = step = Step(
                adapted,
                cache[0, :, :rows, :, :length],
                cache[1, :, :rows, :, :length],
                torch.zeros(rows, 1, dtype=torch.long, device=device),
                torch.zeros(rows, dtype=torch.long, device=device),
                torch.zeros(rows, dtype=torch.long, device=device),
                torch.zeros(rows, 1, 1, length, dtype=dtype, device=device),
                torch.zeros(rows, self._head.weight.shape[0], dtype=dtype, device=device),
            )
            if device.type == "cuda":
                try:
                    step.graph = self._captured(step)
                except RuntimeError as error:
                    del self._steps[key]
                    if isinstance(error, torch.OutOfMemoryError):
                        raise
                    raise CaptureError(str(error).strip().splitlines()[0][:200]) from error
        cache.zero_()  # a value that is not finite would come back through a weight of zero
        return self._steps[key]

    def _captured(self, step: Step) -> Any:
        """The CUDA graph of the step; its first runs, outside of it, choose kernels and allocate their workspaces."""
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(2):
                self._decode(step)
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            self._decode(step)
        self.captures += 1
        return graph
