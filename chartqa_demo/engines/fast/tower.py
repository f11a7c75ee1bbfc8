"""Qwen2-VL's vision tower written out, in half of the kernels that transformers launches.

Of a pass over one chart the host is the slowest part: a GPU of one's own replays it from a CUDA graph. Charts of one
size attend in one call.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch.nn import Linear
from torch.nn.functional import linear, scaled_dot_product_attention, silu

from chartqa_demo.engines.fast.graphs import captured, on
from chartqa_demo.engines.internals import before_ampere, patch_places

HOST_BOUND = 4096  # patches; up to here the host takes longer to launch a pass than the device to compute it
BUCKET = 128  # patches; a replayed pass has a multiple of them, so that a new chart size needs no new capture
MANY = 2**15  # numbers, from which on a CPU's passes over memory cost more than calls of its kernels
PLACES_KEPT = 64  # of grids of charts, at most 64 KiB each as a rule
STEEPER = 1.702  # than a sigmoid: quick_gelu's
PROVEN = ("qwen2_vl",)  # model types whose features and tokens the tests compare with transformers' own


def quick_gelu(x: torch.Tensor) -> torch.Tensor:
    """x * sigmoid(1.702 x) in place: torch has one kernel for silu, and a slow sigmoid on a CPU."""
    return silu(x.mul_(STEEPER), inplace=True).div_(STEEPER)


def in_place(x: torch.Tensor, part: Any) -> bool:
    """Whether a product of this layer can be added to x in place: on a CPU, where passes over memory cost more than
    their kernels, and of weights as they are."""
    return x.device.type == "cpu" and type(part) is Linear and part.bias is not None and part.weight.dtype == x.dtype


def added(x: torch.Tensor, part: Any, inputs: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
    """x (P, outputs), which may be overwritten, plus what the layer makes of inputs (P, inputs) times scale, which
    is 1 unless they are added in place."""
    if in_place(x, part):
        return x.addmm_(inputs, part.weight.t(), alpha=scale).add_(part.bias)
    return x + part(inputs)


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Queries or keys x (..., width) rotated to their places: rotate_half, its sign in the first half of sin."""
    half = x.shape[-1] // 2
    if x.device.type != "cpu" or x.numel() < MANY:
        return torch.addcmul(x * cos, x.roll(half, -1), sin)
    out = torch.mul(x, cos, out=x.new_empty(x.shape))
    out[..., :half].addcmul_(x[..., half:], sin[..., :half])
    out[..., half:].addcmul_(x[..., :half], sin[..., half:])
    return out


@dataclass(eq=False)
class Pass:
    """The fixed buffers of a pass over P patches, a chart's and then unused ones, and its captured graph.

    pixels (P, 3 * 2 * 14 * 14); places (P, 2): row and column; real: which patches are the chart's, where a kernel
    attends their number (1,), else a mask (1, 1, 1, P), 0 for them and minus infinity for the others; features
    (P / 4, hidden size).
    """

    pixels: torch.Tensor
    places: torch.Tensor
    real: torch.Tensor
    features: torch.Tensor
    graph: Any


class Tower:
    """The vision tower of `base`; call it inside inference_mode."""

    def __init__(self, base: Any) -> None:
        config = base.config.vision_config
        self._base, self._visual = base, base.model.visual
        self._heads, self._width = config.num_heads, config.embed_dim // config.num_heads
        self._merge, self._quick = config.spatial_merge_size, config.hidden_act == "quick_gelu"
        self._kernels: dict[str, Callable[..., Any]] = {}  # those that `fuse` found usable, by name
        self._passes: dict[int, Pass] = {}  # by P
        self._known: dict[tuple[Any, ...], torch.Tensor] = {}  # places by the charts' grids

    def fuse(self) -> dict[str, str]:
        """From now on Triton's kernels compute what lies between the matrix products, each where it can be used; by
        name why others cannot. Raises ImportError without Triton."""
        from chartqa_demo.engines.fast.kernels import attention, passes, placing, proofs
        from chartqa_demo.engines.fast.kernels.launching import usable

        x = torch.zeros(1, 3, self._heads, self._width, dtype=self._base.dtype, device=self._base.device)
        norm = self._visual.blocks[0].norm1
        trials: dict[str, tuple[Callable[..., Any], Callable[[], object]]] = {
            "quick_gelu": (passes.quick_gelu, lambda: passes.quick_gelu(x)),
            "turned": (placing.turned, lambda: proofs.turned(self._heads, self._width, x)),
            "added_norm": (placing.added_norm, lambda: proofs.added_norm(norm, self._heads * self._width, x)),
        }
        if x.dtype.itemsize == 2 and attention.halves(self._width) and not before_ampere(x.device):
            count = torch.ones(1, dtype=torch.int32, device=x.device)
            trials["attention"] = attention.attention, lambda: attention.attention(x[:, 0], x[:, 1], x[:, 2], count)
        self._kernels, lost = usable(trials)
        return lost

    def capture(self, most: int) -> None:
        """Capture the passes over one chart of up to `most` patches, up to HOST_BOUND. Raises RuntimeError."""
        device, dtype = self._base.device, self._base.dtype
        longest = min(_filled(most), HOST_BOUND)
        pixels = torch.zeros(longest, self._visual.patch_embed.proj.weight[0].numel(), dtype=dtype, device=device)
        places = torch.zeros(longest, 2, dtype=torch.long, device=device)
        pool = None
        for patches in range(longest, 0, -BUCKET):  # the largest first: the others use its memory
            if "attention" in self._kernels:
                real = torch.full((1,), patches, dtype=torch.int32, device=device)
            else:
                real = torch.zeros(1, 1, 1, patches, dtype=dtype, device=device)
            run = partial(self._features, pixels[:patches], places[:patches], [patches], self._kernels, real)
            graph, features = captured(run, device, pool)
            pool = graph.pool()
            self._passes[patches] = Pass(pixels[:patches], places[:patches], real, features, graph)

    def __call__(self, pixels: torch.Tensor, grid: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Per chart its features (image tokens, hidden size).

        pixels (patches, 3 * 2 * 14 * 14) of all charts, on the device; grid (charts, 3): their patches in time, height
        and width, on the host, so that nothing is read back from the device.
        """
        counts, places = grid.prod(1).tolist(), self._places(grid)
        with on(pixels.device):
            if len(counts) == 1 and (ready := self._passes.get(_filled(counts[0]))):
                return (self._replayed(ready, pixels, places),)
            kernels = self._kernels if len(pixels) > HOST_BOUND else {}
            places = places.to(pixels.device, non_blocking=True)
            features = self._features(pixels, places, counts, kernels)
        return features.split([patches // self._merge**2 for patches in counts])

    def _places(self, grid: torch.Tensor) -> torch.Tensor:
        """(patches, 2) on the host, see `patch_places`; kept, for charts come in few sizes."""
        key = tuple(grid.flatten().tolist())
        if key not in self._known:
            if len(self._known) == PLACES_KEPT:
                del self._known[next(iter(self._known))]
            with torch.inference_mode():
                self._known[key] = patch_places(grid, self._merge)
        return self._known[key]

    def _replayed(self, ready: Pass, pixels: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        """The features of one chart, from a graph with room for it."""
        patches = len(pixels)
        ready.pixels[:patches] = pixels
        ready.places[:patches].copy_(places, non_blocking=True)
        if ready.real.dim() == 1:
            ready.real.fill_(patches)
        else:
            ready.real.zero_()[..., patches:] = float("-inf")
        ready.graph.replay()
        return ready.features[: patches // self._merge**2].clone()

    def _features(
        self,
        pixels: torch.Tensor,
        places: torch.Tensor,
        counts: list[int],
        kernels: dict[str, Callable[..., Any]],
        real: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """(patches / 4, hidden size). counts: the patches of each chart; pixels, places, real: see `Pass`."""
        weight = self._visual.patch_embed.proj.weight  # of a convolution whose patches do not overlap
        if pixels.device.type == "cpu":  # a picture's two frames are the same, so that one times both weights is enough
            pixels, weight = pixels.unflatten(1, (*weight.shape[1:3], -1))[:, :, 0].flatten(1), weight.sum(2)
        x = linear(pixels, weight.flatten(1))
        cos, sin = self._visual.rotary_pos_emb(x, places)
        cos, sin = (one.to(x.dtype, copy=True) for one in (cos, sin))
        sin[..., : self._width // 2].neg_()
        activated = kernels.get("quick_gelu", quick_gelu)
        blocks = self._visual.blocks
        normed, norms = blocks[0].norm1(x), [*(block.norm1 for block in blocks[1:]), None]
        for block, following in zip(blocks, norms, strict=True):
            qkv = block.attn.qkv(normed).view(len(x), 3, self._heads, self._width)
            q, k, v = self._rotated(qkv, cos, sin, kernels)
            if real is not None and "attention" in kernels:
                attended = kernels["attention"](q, k, v, real)
            else:
                attended = self._attend(q, k, v, counts, real)
            x, normed = _added_norm(x, block.attn.proj, attended, block.norm2, kernels)
            first, last, scale = block.mlp.fc1, block.mlp.fc2, 1.0
            if self._quick and in_place(x, first) and in_place(x, last):  # quick_gelu, its factors in the products
                hidden = torch.addmm(first.bias, normed, first.weight.t(), beta=STEEPER, alpha=STEEPER)
                hidden, scale = silu(hidden, inplace=True), 1 / STEEPER
            else:
                hidden = first(normed)
                hidden = activated(hidden) if self._quick else block.mlp.act(hidden)
            x, normed = _added_norm(x, last, hidden, following, kernels, scale)
        return self._visual.merger(x)

    def _rotated(
        self, qkv: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, kernels: dict[str, Callable[..., Any]]
    ) -> tuple[torch.Tensor, ...]:
        """q, k, v (patches, heads, width) of qkv (patches, 3, heads, width), the first two rotated to their places."""
        if "turned" in kernels:
            return kernels["turned"](qkv, cos, sin)
        if qkv.device.type == "cpu":  # whose attention reads fastest where a head's patches lie side by side
            heads = qkv.permute(1, 2, 0, 3)
            q, k = rotate(heads[:2], cos, sin)
            return tuple(one.transpose(0, 1) for one in (q, k, heads[2].contiguous()))
        qk = rotate(qkv[:, :2], cos[:, None, None], sin[:, None, None])
        return qk[:, 0], qk[:, 1], qkv[:, 2]

    def _attend(
        self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, counts: list[int], mask: torch.Tensor | None
    ) -> torch.Tensor:
        """Every chart to itself; q, k, v (patches, heads, width), the result (patches, heads * width)."""
        if len(set(counts)) > 1:
            parts = zip(q.split(counts), k.split(counts), v.split(counts), strict=True)
            return torch.cat([self._attend(*one, [len(one[0])], None) for one in parts])
        q, k, v = (one.view(len(counts), -1, *one.shape[1:]).transpose(1, 2) for one in (q, k, v))
        return scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).reshape(sum(counts), -1)


def _added_norm(
    x: torch.Tensor,
    part: Any,
    inputs: torch.Tensor,
    norm: Any,
    kernels: dict[str, Callable[..., Any]],
    scale: float = 1.0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """What `added` makes of the first arguments, and its layer norm, itself for no norm."""
    if norm is not None and scale == 1.0 and "added_norm" in kernels:  # another scale is a CPU's, see `added`
        return kernels["added_norm"](x, part(inputs), norm)
    x = added(x, part, inputs, scale)
    return x, x if norm is None else norm(x)


def _filled(patches: int) -> int:
    return -(-patches // BUCKET) * BUCKET
