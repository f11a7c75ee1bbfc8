"""Where a Qwen2-VL looked while it wrote an answer: the attention of the answer's tokens to the image tokens.

Most heads look elsewhere than at what they speak of. Which ones tell was chosen, and how often they hit the mark that
was asked about was measured, by `python -m bench.trust overlay`, for these weights (`measured.py`).
"""

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image

from chartqa_demo.engines import Gaze
from chartqa_demo.engines.fast.layers import Adapted, Layers
from chartqa_demo.engines.looks import Look
from chartqa_demo.engines.trust.measured import Head
from chartqa_demo.images import fit_canvas


@torch.inference_mode()
def attention(
    layers: Layers, prompts: Sequence[list[int]], said: Sequence[list[int]], look: Look, adapters: Sequence[str]
) -> list[torch.Tensor]:
    """Per row (layers, heads, image tokens), float32 on the host: of all attention to the image, the share that each of
    its tokens has, mean over the tokens of the answer.

    prompts: per row its token ids, image tokens included; said: per row those of its answer; look: the chart of all;
    adapters: per row the name of its adapter in the model, "" for none.
    """
    rows = [prompt + answer for prompt, answer in zip(prompts, said, strict=True)]
    looks, image = [look] * len(rows), layers.base.config.image_token_id
    laid = layers.laid_out(rows, looks)
    found: list[list[torch.Tensor]] = [[] for _ in rows]

    def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, layer: int) -> torch.Tensor:
        for row, (prompt, whole) in enumerate(zip(prompts, rows, strict=True)):
            first = prompt.index(image)
            asking = q[row, len(prompt) - 1 : len(whole)].transpose(0, 1).float()  # each finds the token behind it
            keys = k[row, first : first + look.tokens].transpose(0, 1).float()
            keys = keys.repeat_interleave(layers.heads // layers.kv_heads, 0)
            shares = (asking @ keys.transpose(1, 2) * layers.width**-0.5).softmax(-1)  # (heads, tokens, image tokens)
            found[row].append(shares.mean(1))
        return layers.causal(q, k, v)

    layers(layers.embedded(laid.ids, rows, looks), laid.positions, Adapted.of(adapters), attend, laid.lengths)
    return [torch.stack(one).cpu() for one in found]


def gaze(shares: torch.Tensor, heads: Sequence[Head], look: Look, image: Image.Image, config: Any) -> Gaze:
    """The mean attention of these heads. shares: a row of `attention`; image: the chart itself; config: the base's."""
    grid = look.grid[0].tolist()  # pyright: ignore[reportOptionalSubscript] (a Qwen2-VL has one)
    rows, columns = (side // config.vision_config.spatial_merge_size for side in grid[1:])
    hot = torch.stack([shares[layer, head] for layer, head in heads]).mean(0)
    box = (0.0, 0.0, 1.0, 1.0)
    if canvases := getattr(config, "chart_canvases", None):
        fitted = fit_canvas(image, canvases)
        left, top = fitted.left / image.width, fitted.top / image.height
        width, height = (f / fitted.scale / own for f, own in zip(fitted.image.size, image.size, strict=True))
        box = (left, top, left + width, top + height)
    return Gaze(tuple(map(tuple, (hot / hot.max()).view(rows, columns).tolist())), box)
