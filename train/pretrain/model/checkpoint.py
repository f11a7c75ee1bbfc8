"""Weights on disk, small enough to carry: bfloat16 safetensors in files of under 15 MiB, and a JSON file of facts."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

FILE_LIMIT = 14 * 2**20  # bytes
FACTS = "state.json"
TOKENIZER = "tokenizer.json"


def save(folder: Path, tensors: dict[str, Tensor], facts: dict[str, Any], tokenizer: str) -> None:
    """Write `tensors` as bfloat16, `facts` and the tokenizer's JSON; a reader never sees a half-written file."""
    folder.mkdir(parents=True, exist_ok=True)
    parts: list[dict[str, Tensor]] = [{}]
    size = 0
    for name, tensor in tensors.items():
        small = tensor.detach().to(torch.bfloat16).cpu().contiguous()
        if size + small.nbytes > FILE_LIMIT and parts[-1]:
            parts.append({})
            size = 0
        parts[-1][name] = small
        size += small.nbytes
    for number, part in enumerate(parts, 1):
        target = folder / f"weights-{number}.safetensors"
        save_file(part, target.with_suffix(".part"))
        target.with_suffix(".part").replace(target)
    for name, text in ((TOKENIZER, tokenizer), (FACTS, json.dumps(facts | {"files": len(parts)}, indent=1))):
        (folder / f"{name}.part").write_text(text, encoding="utf-8")
        (folder / f"{name}.part").replace(folder / name)


def load(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors (float32) and facts of a checkpoint. Raises ValueError where there is none."""
    if not (folder / FACTS).is_file():
        raise ValueError(
            f"There is no checkpoint in {folder}: {FACTS} is missing. Train first, or name another folder."
        )
    facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    tensors: dict[str, Tensor] = {}
    for number in range(1, facts["files"] + 1):
        tensors |= load_file(folder / f"weights-{number}.safetensors")
    return {name: tensor.float() for name, tensor in tensors.items()}, facts
