"""Qwen2-VL's vision tower written out, in half of the kernels that transformers launches.

With one chart the host is the slowest part of transformers' own; with several, those of one size attend in one call.
"""

from typing import Any

import torch
from torch.nn.functional import linear, scaled_dot_product_attention, silu
from transformers.vision_utils import get_vision_position_ids

HOST_BOUND = 4096  # patches; below, launching Triton's kernels takes the host longer than they save the device
PROVEN = ("qwen2_vl",)  # model types whose features and tokens the tests compare with transformers' own


def quick_gelu(x: torch.Tensor) -> torch.Tensor:
    """x * sigmoid(1.702 x) in place: torch has one kernel for silu, and a slow sigmoid on a CPU."""
    return silu(x.mul_(1.702), inplace=True).div_(1.702)


def turned(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Queries or keys x (..., width) turned to their places: rotate_half, its sign in the first half of sin."""
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, -1), sin)


class Tower:
    """The vision tower of `base`; call it inside inference_mode."""

    def __init__(self, base: Any) -> None:
        config = base.config.vision_config
        self._visual: Any = base.model.visual
        self._heads, self._width = config.num_heads, config.embed_dim // config.num_heads
        self._merge, self._quick = config.spatial_merge_size, config.hidden_act == "quick_gelu"
        self._kernels: Any = None

    def fuse(self) -> None:
        """From now on Triton's kernels compute what lies between the matrix products. Raises ImportError without it."""
        from chartqa_demo.engines import kernels

        self._kernels = kernels

    def __call__(self, pixels: torch.Tensor, grid: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Per chart its features (image tokens, hidden size).

        pixels (patches, 3 * 2 * 14 * 14) of all charts, on the device; grid (charts, 3): their patches in time, height
        and width, on the host, so that nothing is read back from the device.
        """
        counts = grid.prod(1).tolist()
        # patch_embed is a convolution whose patches do not overlap
        x = linear(pixels, self._visual.patch_embed.proj.weight.flatten(1))
        places = get_vision_position_ids(grid, self._merge).to(x.device, non_blocking=True)
        cos, sin = self._visual.rotary_pos_emb(x, places)
        cos, sin = (one.to(x.dtype, copy=True) for one in (cos, sin))
        sin[..., : self._width // 2].neg_()
        kernels = self._kernels if len(x) > HOST_BOUND else None
        activated = quick_gelu if kernels is None else kernels.quick_gelu
        for block in self._visual.blocks:
            qkv = block.attn.qkv(block.norm1(x)).view(len(x), 3, self._heads, self._width)
            x = x + block.attn.proj(self._attend(*self._rotated(qkv, cos, sin, kernels), counts))
            hidden = block.mlp.fc1(block.norm2(x))
            x = x + block.mlp.fc2(activated(hidden) if self._quick else block.mlp.act(hidden))
        return self._visual.merger(x).split([patches // self._merge**2 for patches in counts])

    def _rotated(
        self, qkv: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, kernels: Any
    ) -> tuple[torch.Tensor, ...]:
        """q, k, v (patches, heads, width) from qkv (patches, 3, heads, width), the first two turned to their places."""
        if kernels is not None:
            return kernels.rotated(*qkv.unbind(1), cos, sin)
        qk = turned(qkv[:, :2], cos[:, None, None], sin[:, None, None])
        return qk[:, 0], qk[:, 1], qkv[:, 2]

    def _attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, counts: list[int]) -> torch.Tensor:
        """Every chart to itself; q, k, v (patches, heads, width), the result (patches, heads * width)."""
        if len(set(counts)) > 1:
            parts = zip(q.split(counts), k.split(counts), v.split(counts), strict=True)
            return torch.cat([self._attend(*one, [len(one[0])]) for one in parts])
        q, k, v = (one.view(len(counts), -1, *one.shape[1:]).transpose(1, 2) for one in (q, k, v))
        return scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(sum(counts), -1)
