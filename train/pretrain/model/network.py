"""A lean forward pass of Qwen2-VL for training: transformers' parameter names and logits, fixed shapes, packed rows.

transformers loops over images in its vision attention and cannot pack questions; this cannot do anything else but
read one chart a row. `export.to_transformers` carries the weights over, tests compare the logits.
"""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from train.pretrain.layout import CANVASES, IMAGE_TOKENS, LONG_SIDE, PATCH, Layout

Parameters = dict[str, Tensor]
Turn = tuple[Tensor, Tensor]  # cosines and sines of a rotation
HEAD = 64  # width of an attention head, in text and vision
MEAN = (0.48145466, 0.4578275, 0.40821073)  # CLIP's, as in Qwen2-VL's image processor
STD = (0.26862954, 0.26130258, 0.27577711)
PATCHES = 4 * IMAGE_TOKENS
BLOCK = "model.visual.blocks.{}."
LAYER = "model.language_model.layers.{}."
MERGER = "model.visual.merger."
EMBEDDING = "model.language_model.embed_tokens.weight"
PATCH_WEIGHT = "model.visual.patch_embed.proj.weight"
BRANCH_OUTPUTS = ("o_proj.weight", "down_proj.weight", "attn.proj.weight", "fc2.weight")


@dataclass(frozen=True)
class Sizes:
    """The model's dimensions. With the transformers' default rope_theta of 1e4 the axis that tells columns apart turns
    by 0.003 rad a column; 30 spreads it over about 2 rad (measured: a better model, see the card)."""

    vocabulary: int = 2048
    text_width: int = 384
    text_layers: int = 7
    text_ffn: int = 1024
    key_heads: int = 3
    vision_width: int = 320
    vision_layers: int = 7
    rope_theta: float = 30.0
    mrope_sections: tuple[int, int, int] = (8, 12, 12)

    @property
    def heads(self) -> int:
        """Query heads of the text model."""
        return self.text_width // HEAD

    @property
    def vision_heads(self) -> int:
        """Heads of the vision tower."""
        return self.vision_width // HEAD


def shapes(sizes: Sizes) -> dict[str, tuple[int, ...]]:
    """The shape of every exported parameter, by transformers' name (lm_head is the embedding)."""
    v, d, f = sizes.vision_width, sizes.text_width, sizes.text_ffn
    out: dict[str, tuple[int, ...]] = {PATCH_WEIGHT: (v, 3, 2, PATCH, PATCH)}
    for i in range(sizes.vision_layers):
        b = BLOCK.format(i)
        for name in ("norm1", "norm2"):
            out |= {f"{b}{name}.weight": (v,), f"{b}{name}.bias": (v,)}
        for name, rows, columns in (
            ("attn.qkv", 3 * v, v),
            ("attn.proj", v, v),
            ("mlp.fc1", 4 * v, v),
            ("mlp.fc2", v, 4 * v),
        ):
            out |= {f"{b}{name}.weight": (rows, columns), f"{b}{name}.bias": (rows,)}
    out |= {f"{MERGER}ln_q.weight": (v,), f"{MERGER}ln_q.bias": (v,)}
    for name, rows in (("mlp.0", 4 * v), ("mlp.2", d)):
        out |= {f"{MERGER}{name}.weight": (rows, 4 * v), f"{MERGER}{name}.bias": (rows,)}
    out[EMBEDDING] = (sizes.vocabulary, d)
    for i in range(sizes.text_layers):
        b = LAYER.format(i)
        for name, rows in (("q", d), ("k", sizes.key_heads * HEAD), ("v", sizes.key_heads * HEAD)):
            out |= {f"{b}self_attn.{name}_proj.weight": (rows, d), f"{b}self_attn.{name}_proj.bias": (rows,)}
        out[f"{b}self_attn.o_proj.weight"] = (d, d)
        out |= {
            f"{b}mlp.gate_proj.weight": (f, d),
            f"{b}mlp.up_proj.weight": (f, d),
            f"{b}mlp.down_proj.weight": (d, f),
        }
        out |= {f"{b}input_layernorm.weight": (d,), f"{b}post_attention_layernorm.weight": (d,)}
    out["model.language_model.norm.weight"] = (d,)
    return out


def count(sizes: Sizes) -> int:
    """Exported parameters."""
    return sum(math.prod(shape) for shape in shapes(sizes).values())


def initial(named: dict[str, tuple[int, ...]], device: str, seed: int = 0) -> Parameters:
    """Fresh float32 parameters: normal 0.02; outputs of residual branches and biases zero; norms one."""
    generator = torch.Generator().manual_seed(seed)
    zero = ("bias", *BRANCH_OUTPUTS)
    out = {}
    for name, shape in named.items():
        if name.endswith(zero):
            value = torch.zeros(shape)
        elif len(shape) == 1:
            value = torch.ones(shape)
        else:
            value = torch.randn(shape, generator=generator) * 0.02
        out[name] = value.to(device).requires_grad_(True)
    return out


def deeper(sizes: Sizes, tensors: Parameters, text_layers: int, vision_layers: int) -> tuple[Sizes, Parameters]:
    """The same model with more layers, which add nothing yet: it computes what it did.

    Each new layer follows the last and is a copy of it with the outputs of its two branches zero (block expansion, Wu
    et al., LLaMA Pro, arXiv 2401.02415; there the copies lie between the layers). Raises ValueError for fewer layers.
    """
    grown, outputs = dict(tensors), (*BRANCH_OUTPUTS, "attn.proj.bias", "fc2.bias")
    for part, layer, had, wanted in (
        ("text", LAYER, sizes.text_layers, text_layers),
        ("vision", BLOCK, sizes.vision_layers, vision_layers),
    ):
        if wanted < had:
            raise ValueError(f"The model has {had} {part} layers; it cannot go on with {wanted}.")
        last = layer.format(had - 1)
        for name, value in tensors.items():
            if name.startswith(last):
                for i in range(had, wanted):
                    copied = torch.zeros_like(value) if name.endswith(outputs) else value.clone()
                    grown[layer.format(i) + name.removeprefix(last)] = copied
    return dataclasses.replace(sizes, text_layers=text_layers, vision_layers=vision_layers), grown


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = x.float().chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1).to(x.dtype)


def _look_up(tables: Turn, index: Tensor) -> Turn:
    cos, sin = (table[index.long()].unsqueeze(-2) for table in tables)
    return cos, sin


def _rms(x: Tensor, weight: Tensor) -> Tensor:
    x = x.float()
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * weight


class Reader:
    """The forward pass; parameters are passed in, so that an averaged copy uses the same code.

    dtype: of matrix products (bfloat16 on a GPU; float32 for tests). Norms, rotations and losses are float32.
    """

    def __init__(self, sizes: Sizes, layout: Layout, device: str, dtype: torch.dtype) -> None:
        self.sizes, self.layout, self.dtype = sizes, layout, dtype
        frequencies = 1 / (sizes.rope_theta ** (torch.arange(0, HEAD, 2).float() / HEAD))
        axis = torch.repeat_interleave(torch.arange(3), torch.tensor(sizes.mrope_sections))
        self.device = device
        self.after_image = layout.image_start + LONG_SIDE  # position of <|vision_end|>: the longer side of the grid
        # Tables, looked up by orientation or place: otherwise every layer's kernel computes the cosines anew.
        text = torch.stack([self._text_positions(w, h)[axis].T * frequencies for w, h in CANVASES])
        packed = (torch.arange(layout.length).float() + self.after_image + 1)[:, None] * frequencies
        vision = torch.stack([self._vision_angles(w, h) for w, h in CANVASES])
        self.text_turns, self.packed_turns, self.vision_turns = (
            (angles.cos().to(device), angles.sin().to(device)) for angles in (text, packed, vision)
        )
        self.mean = torch.tensor(MEAN, device=device).repeat_interleave(PATCH * PATCH) * 255
        self.std = torch.tensor(STD, device=device).repeat_interleave(PATCH * PATCH) * 255

    def _text_positions(self, width: int, height: int) -> Tensor:
        """M-RoPE positions (time, row, column) of the prefix on one canvas: [3, prefix]."""
        start, columns, rows = self.layout.image_start, width // (2 * PATCH), height // (2 * PATCH)
        positions = torch.arange(self.layout.prefix).float().expand(3, -1).clone()
        image = slice(start, start + IMAGE_TOKENS)
        positions[0, image] = start
        positions[1, image] = start + torch.arange(rows).repeat_interleave(columns)
        positions[2, image] = start + torch.arange(columns).repeat(rows)
        positions[:, -1] = self.after_image
        return positions

    @staticmethod
    def _vision_angles(width: int, height: int) -> Tensor:
        """Rotations of the vision tower's patches on one canvas, 2 x 2 patches together: [1200, 32]."""
        rows, columns = height // PATCH, width // PATCH
        y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        merged = [t.reshape(rows // 2, 2, columns // 2, 2).permute(0, 2, 1, 3).reshape(-1, 1).float() for t in (y, x)]
        frequencies = 1 / (10000 ** (torch.arange(0, HEAD // 2, 2).float() / (HEAD // 2)))
        return torch.cat([t * frequencies for t in merged], -1)

    def _linear(self, x: Tensor, p: Parameters, name: str) -> Tensor:
        bias = p.get(f"{name}.bias")
        weight = p[f"{name}.weight"].to(self.dtype)
        return F.linear(x.to(self.dtype), weight, None if bias is None else bias.to(self.dtype))

    @staticmethod
    def _norm(x: Tensor, p: Parameters, name: str) -> Tensor:
        return F.layer_norm(x.float(), (x.shape[-1],), p[f"{name}.weight"], p[f"{name}.bias"], 1e-6)

    def vision(self, p: Parameters, pixels: Tensor, portrait: Tensor) -> Tensor:
        """Image tokens [B, IMAGE_TOKENS, text width] of canvases.

        pixels: flat uint8 [B, 3 * PIXELS]; portrait: bool [B].
        """
        batch, heads, width = pixels.shape[0], self.sizes.vision_heads, self.sizes.vision_width

        def patches(size: tuple[int, int]) -> Tensor:
            grid = pixels.view(batch, size[1] // 28, 2, PATCH, size[0] // 28, 2, PATCH, 3)
            return grid.permute(0, 1, 4, 2, 5, 7, 3, 6).reshape(batch, PATCHES, 3 * PATCH * PATCH)

        x = torch.where(portrait[:, None, None], patches(CANVASES[1]), patches(CANVASES[0]))
        x = ((x.float() - self.mean) / self.std).to(self.dtype)
        # Both frames of a still image are the same, so the two halves of the patch embedding add up.
        x = F.linear(x, p[PATCH_WEIGHT].sum(2).reshape(width, -1).to(self.dtype))
        turn = _look_up(self.vision_turns, portrait)
        for i in range(self.sizes.vision_layers):
            b = BLOCK.format(i)
            qkv = self._linear(self._norm(x, p, f"{b}norm1"), p, f"{b}attn.qkv").view(batch, PATCHES, 3, heads, HEAD)
            q, k, v = qkv.unbind(2)
            q, k = _rotate(q, *turn), _rotate(k, *turn)
            o = F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2))
            x = x + self._linear(o.transpose(1, 2).reshape(batch, PATCHES, width), p, f"{b}attn.proj")
            h = self._linear(self._norm(x, p, f"{b}norm2"), p, f"{b}mlp.fc1")
            x = x + self._linear(h * torch.sigmoid(1.702 * h), p, f"{b}mlp.fc2")
        x = self._norm(x, p, f"{MERGER}ln_q").reshape(batch, IMAGE_TOKENS, 4 * width)
        return self._linear(F.gelu(self._linear(x, p, f"{MERGER}mlp.0")), p, f"{MERGER}mlp.2")

    def prefix_embeddings(self, p: Parameters, image: Tensor, ids: Tensor) -> Tensor:
        """Embeddings of rows of ids with the image tokens in their place."""
        start = self.layout.image_start
        e = F.embedding(ids.long(), p[EMBEDDING]).to(self.dtype)
        return torch.cat([e[:, :start], image, e[:, start + IMAGE_TOKENS :]], 1)

    def prefix_turn(self, portrait: Tensor) -> Turn:
        """Rotations of the prefix: [B, prefix, 1, 32] each."""
        return _look_up(self.text_turns, portrait)

    def packed_turn(self, offsets: Tensor) -> Turn:
        """Rotations of question tokens from their offsets within the question [B, n]: [B, n, 1, 32] each."""
        return _look_up(self.packed_turns, offsets)

    def layer(self, p: Parameters, i: int, x: Tensor, turn: Turn, attend: Callable[..., Tensor]) -> Tensor:
        """Text layer `i`; `attend(i, q, k, v)` gets [B, heads, n, 64] tensors and returns [B, query heads, n, 64]."""
        batch, n, width = x.shape
        b = LAYER.format(i)
        h = _rms(x, p[f"{b}input_layernorm.weight"])
        q, k, v = (self._linear(h, p, f"{b}self_attn.{name}_proj").view(batch, n, -1, HEAD) for name in "qkv")
        q, k = _rotate(q, *turn), _rotate(k, *turn)
        o = attend(i, q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)).transpose(1, 2).reshape(batch, n, width)
        x = x + self._linear(o, p, f"{b}self_attn.o_proj")
        h = _rms(x, p[f"{b}post_attention_layernorm.weight"])
        gated = F.silu(self._linear(h, p, f"{b}mlp.gate_proj")) * self._linear(h, p, f"{b}mlp.up_proj")
        return x + self._linear(gated, p, f"{b}mlp.down_proj")

    def logits(self, p: Parameters, x: Tensor) -> Tensor:
        """Scores over the vocabulary of final hidden states."""
        return F.linear(_rms(x, p["model.language_model.norm.weight"]).to(self.dtype), p[EMBEDDING].to(self.dtype))

    def text(
        self,
        p: Parameters,
        image: Tensor,
        row: dict[str, Tensor],
        mask: BlockMask | Tensor,
        watched: tuple[int, ...] = (),
    ) -> tuple[Tensor, list[Tensor]]:
        """Logits [B, packed, vocabulary] that predict each packed token, and the watched layers' attention scores.

        The scores [B, packed, IMAGE_TOKENS] are those of query head 0 over the image tokens, before the softmax.
        """
        prefix, start = self.layout.prefix, self.layout.image_start
        x = self.prefix_embeddings(p, image, row["ids"])
        before, packed = self.prefix_turn(row["portrait"]), self.packed_turn(row["offsets"])
        turn = torch.cat([before[0], packed[0]], 1), torch.cat([before[1], packed[1]], 1)
        scores = []

        def attend(i: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            if i in watched:
                queries, shown = q[:, 0, prefix - 1 : -1], k[:, 0, start : start + IMAGE_TOKENS]
                scores.append(queries @ shown.transpose(1, 2) / math.sqrt(HEAD))
            if isinstance(mask, BlockMask):
                return flex_attention(q, k, v, block_mask=mask, enable_gqa=True)  # pyright: ignore[reportReturnType]
            return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)

        for i in range(self.sizes.text_layers):
            x = self.layer(p, i, x, turn, attend)
        return self.logits(p, x[:, prefix - 1 : -1]), scores


def _owners(layout: Layout, segments: Tensor, pads: Tensor) -> Tensor:
    """Whose token each is [B, length]: -2 padding, 0 prefix, k question k, -1 unused tail."""
    place = torch.arange(layout.length, device=segments.device)[None]
    owner = F.pad(segments.int(), (layout.prefix, 0))
    return torch.where(place < pads[:, None], -2, owner)


def dense_mask(layout: Layout, segments: Tensor, pads: Tensor) -> Tensor:
    """Who may attend to whom, bool [B, 1, length, length]: each question sees the prefix and itself."""
    owner = _owners(layout, segments, pads)
    place = torch.arange(layout.length, device=segments.device)
    key, query = owner[:, None, :], owner[:, :, None]
    visible = (place[:, None] >= place[None]) & ((key == 0) | ((key == query) & (query > 0)))
    return (visible | torch.eye(layout.length, dtype=torch.bool, device=segments.device))[:, None]


def block_mask(
    layout: Layout, segments: Tensor, pads: Tensor, create: Callable[..., BlockMask] = create_block_mask
) -> BlockMask:
    """`dense_mask` for flex attention; `create` is create_block_mask, compiled on a GPU."""
    owner = _owners(layout, segments, pads)

    def sees(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        key, query = owner[b, k], owner[b, q]
        return ((q >= k) & ((key == 0) | ((key == query) & (query > 0)))) | (q == k)

    return create(sees, segments.shape[0], None, layout.length, layout.length, device=segments.device.type)
