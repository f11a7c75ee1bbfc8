"""What pretraining minimises: answers, and, in training only, what each image token shows and where answers look.

The second group makes the small model learn in minutes: it ties characters, names and values to their places before
the answers alone could. None of its own weights are exported.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask

from train.pretrain.layout import IMAGE_TOKENS, LONG_SIDE, SHORT_SIDE
from train.pretrain.legs.rows import (
    CHARACTER_CLASSES,
    CHARACTER_SLOTS,
    DIGIT_CLASSES,
    DIGITS,
    HEIGHTS,
    NAME_PIECES,
    RANKS,
)
from train.pretrain.model.network import EMBEDDING, Parameters, Reader

NAMES = ("answer", "character", "name", "digit", "height", "rank", "place", "copy", "mark")


@dataclass(frozen=True)
class Weights:
    """Weights of the training-only losses relative to the answers' (the first six proven in a comparison of arms).

    copy: the tokens of an answer that is printed in the chart attend to where it is printed; mark: all tokens of an
    answer attend to the marks that it rests on. mark_layer, copy_layer: the text layers whose head 0 is taught so.
    """

    character: float = 1.0
    name: float = 0.5
    digit: float = 0.5
    height: float = 0.15
    rank: float = 0.15
    place: float = 0.1
    copy: float = 0.1
    mark: float = 0.1
    mark_layer: int = 3
    copy_layer: int = 5


def helper_shapes(width: int) -> dict[str, tuple[int, ...]]:
    """Parameters of the training-only heads on image tokens of `width`."""
    return {
        "helper.norm.weight": (width,),
        "helper.character": (4 * CHARACTER_SLOTS * CHARACTER_CLASSES, width),
        "helper.name": (NAME_PIECES * width, width),
        "helper.digit": (DIGITS * DIGIT_CLASSES, width),
        "helper.height": (HEIGHTS, width),
        "helper.above": (RANKS, width),
        "helper.below": (RANKS, width),
        "helper.row": (LONG_SIDE, width),
        "helper.column": (LONG_SIDE, width),
    }


def _cross_entropy(logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean over targets that are not negative; `weight` for each target."""
    target = target.long()
    loss = F.cross_entropy(logits.float().flatten(0, -2), target.clamp(min=0).flatten(), reduction="none")
    counted = (target >= 0).flatten().float()
    if weight is not None:
        counted = counted * weight.flatten()
    return (loss * counted).sum() / (counted.sum() + 1)


def _look(scores: Tensor, cells: Tensor) -> Tensor:
    """Mean -log of the attention, within the image, that falls on any of `cells` [B, packed, k] (-1: none)."""
    share = F.log_softmax(scores.float(), -1).gather(-1, cells.long().clamp(min=0))
    share = torch.logsumexp(share.masked_fill(cells < 0, -1e4), -1)
    asked = (cells >= 0).any(-1).float()
    return -(share.clamp(min=-30) * asked).sum() / (asked.sum() + 1)


def total(
    reader: Reader,
    p: Parameters,
    batch: dict[str, Tensor],
    mask: Tensor | BlockMask,
    fade: Tensor,
    look: Tensor,
    weights: Weights,
) -> tuple[Tensor, Tensor]:
    """The loss and its parts (as `NAMES`). fade: factor of all training-only losses; look: factor of copy and mark."""
    image = reader.vision(p, batch["pixels"], batch["portrait"])
    logits, scores = reader.text(p, image, batch, mask, (weights.mark_layer, weights.copy_layer))
    target = batch["ids"][:, reader.layout.prefix :]
    each = F.cross_entropy(logits.float().flatten(0, 1), target.long().flatten(), reduction="none").view(target.shape)
    answers = (batch["weights"] > 0.5).float()
    number = answers.sum() + 1
    main = (each * batch["weights"]).sum() / number
    parts = _seen(reader, p, image, batch)
    by_layer = dict(zip(sorted((weights.mark_layer, weights.copy_layer)), scores, strict=True))
    parts["copy"] = _look(by_layer[weights.copy_layer], batch["copy"])
    parts["mark"] = _look(by_layer[weights.mark_layer], batch["mark"])
    helpers = sum(
        (look if name in ("copy", "mark") else 1.0) * getattr(weights, name) * part for name, part in parts.items()
    )
    shown = torch.stack([(each * answers).sum() / number, *(parts[name] for name in NAMES[1:])])
    return main + fade * helpers, shown.detach()


def _seen(reader: Reader, p: Parameters, image: Tensor, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Losses on what the image tokens show."""
    size, width = image.shape[0], image.shape[2]
    z = image.float()
    z = (z * torch.rsqrt(z.pow(2).mean(-1, keepdim=True) + 1e-5) * p["helper.norm.weight"]).to(reader.dtype)

    def head(x: Tensor, name: str) -> Tensor:
        return F.linear(x, p[f"helper.{name}"].to(reader.dtype))

    characters = batch["characters"]
    entity = z.gather(1, batch["cell"].long()[..., None].expand(-1, -1, width))
    pieces = head(entity, "name").view(size, -1, NAME_PIECES, width)
    place = torch.arange(IMAGE_TOKENS, device=z.device)[None]
    columns = torch.where(batch["portrait"], SHORT_SIDE, LONG_SIDE)[:, None]
    return {
        # Most slots hold no character: they count little.
        "character": _cross_entropy(
            head(z, "character").view(size, IMAGE_TOKENS, 4 * CHARACTER_SLOTS, CHARACTER_CLASSES),
            characters,
            torch.where(characters > 0, 1.0, 0.06),
        ),
        "name": _cross_entropy(F.linear(pieces, p[EMBEDDING].to(reader.dtype)), batch["names"]),
        "digit": _cross_entropy(head(entity, "digit").view(size, -1, DIGITS, DIGIT_CLASSES), batch["digits"]),
        "height": _cross_entropy(head(entity, "height"), batch["heights"][..., 0]),
        "rank": _cross_entropy(head(entity, "above"), batch["heights"][..., 1])
        + _cross_entropy(head(entity, "below"), batch["heights"][..., 2]),
        "place": _cross_entropy(head(z, "row"), place // columns) + _cross_entropy(head(z, "column"), place % columns),
    }
