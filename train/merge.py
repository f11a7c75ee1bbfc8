"""Base and adapter as one checkpoint, for programs that take no adapter: `transformers serve`, llama.cpp, vLLM.

    python -m train.merge runs/my-adapter merged/my-model
    python -m train.merge owner/adapter merged/my-model --base Qwen/Qwen2-VL-7B-Instruct --dtype bfloat16

Every file of a usual checkpoint is written: weights in safetensors, processor, chat template, generation settings, and
a card that says what was merged. The base is held in memory once, in its own precision, on the CPU.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from chartqa_demo.adapters.check import check_base, check_weights, find_adapter, is_named
from chartqa_demo.adapters.contract import CONTRACT_FILE, WEIGHTS, Contract
from chartqa_demo.adapters.lora import layers_of
from chartqa_demo.errors import EngineError, HubError, first_line
from chartqa_demo.evaluate.tables import code, plain
from chartqa_demo.settings import BUNDLED_ADAPTER, BUNDLED_BASE, DTYPES, Settings
from chartqa_demo.space.hub import folder_of, local_folder, read_header

SHARD = "5GB"  # as on the Hub
ROOM = 1.05  # of the weights' bytes: tokenizer and configs come on top

CARD = """---
{metadata}
---

# {name}

Base and adapter as one checkpoint: no adapter file has to be loaded.

## What was merged

| what | which |
| --- | --- |
| base | {base} |
| adapter | {adapter} |
| LoRA | {lora} |
| precision | {dtype} |
| versions | {versions} |

Greedy answers are those of base and adapter side by side, up to the rounding of {dtype}: the product of the adapter's
matrices is added to a weight, and the sum is rounded once more.

## How to ask it

{asking}

## Licence

The licences of the base and of the adapter hold.
"""


class MergeError(Exception):
    """Nothing was written; the message is one sentence with the value and the way out."""


@dataclass(frozen=True)
class Parts:
    """What is to be merged. base: Hub id, folder or "bundled"; base_folder, adapter_folder: where they lie on this
    machine; adapter: how the card names it; config: the adapter's adapter_config.json."""

    base: str
    base_folder: Path
    base_revision: str | None
    adapter: str
    adapter_folder: Path
    contract: Contract | None
    config: Mapping[str, Any]


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0 written, 2 something a person has to change."""
    flags = _parser().parse_args(argv)
    out = Path(flags.out).expanduser()
    try:
        _check_out(out)
        parts = find_parts(flags.adapter, flags.adapter_revision, flags.base, flags.base_revision)
        merge(parts, out, flags.dtype)
    except (MergeError, HubError, EngineError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    size = sum(path.stat().st_size for path in out.iterdir())
    print(f"Merged into {out} ({size / 1e9:.1f} GB). To ask it here: python app.py --base {out} --adapter none")
    return 0


def find_parts(adapter: str, adapter_revision: str | None, base: str | None, base_revision: str | None) -> Parts:
    """Adapter and base on this machine, both checked before any weight of the base is fetched.

    The base is the one given, else what the adapter's contract names, else what its adapter_config.json names. Raises
    MergeError, HubError, EngineError.
    """
    from chartqa_demo.engines.loading import base_folder

    name = str(BUNDLED_ADAPTER) if adapter == "bundled" else adapter
    found = find_adapter(name, adapter_revision)
    contract = found.contract
    if base is None:
        base, named_revision = _named_base(name, contract, found.config)
        base_revision = base_revision or named_revision
    check_base(found, base)
    check_weights(found, None)
    source = str(BUNDLED_BASE) if base == "bundled" else base
    _check_unquantised(base, local_folder(source, base_revision, ("config.json",), "base model"))
    there = base_folder(source, base_revision)
    folder = found.fetch()
    on_hub = is_named(base) and base != "bundled"
    return Parts(
        base=base,
        base_folder=there,
        base_revision=there.name if on_hub else None,  # the folder of a snapshot is named by its commit
        adapter=_adapter_title(adapter, folder),
        adapter_folder=folder,
        contract=contract,
        config=found.config,
    )


def merge(parts: Parts, out: Path, dtype: str = "auto") -> None:
    """Write the merged checkpoint to `out`, which is there whole or not at all; dtype is "auto" for the base's own or
    one of DTYPES. Raises MergeError, EngineError."""
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    from chartqa_demo.adapters.load import load_adapter
    from chartqa_demo.engines.loading import counts_pixels, set_pixel_limits

    try:
        model: Any = AutoModelForImageTextToText.from_pretrained(
            parts.base_folder, dtype="auto" if dtype == "auto" else getattr(torch, dtype), use_safetensors=True
        )
        processor = AutoProcessor.from_pretrained(parts.base_folder)
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        raise MergeError(f"The base model {parts.base} could not be loaded: {first_line(error)}.") from error
    _check_room(out, sum(weight.numel() * weight.element_size() for weight in model.parameters()))
    adapted: Any = load_adapter(model, parts.adapter_folder, "merged")
    try:
        model = adapted.merge_and_unload(safe_merge=True)
    except (ValueError, NotImplementedError, RuntimeError) as error:
        held = str(model.dtype).removeprefix("torch.")
        raise MergeError(f"The adapter {parts.adapter} cannot be merged in {held}: {first_line(error)}.") from error
    if lost := next((name for name, weight in model.named_parameters() if not torch.isfinite(weight).all()), None):
        raise MergeError(f"The weight {lost} is too large for {model.dtype}; use --dtype bfloat16 or float32.")
    contract = parts.contract
    if contract is not None and (contract.min_pixels or contract.max_pixels) and counts_pixels(processor):
        set_pixel_limits(processor, Settings(), contract)
    partial = out.parent / f".{out.name}.partial"
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        model.save_pretrained(partial, max_shard_size=SHARD)
        processor.save_pretrained(partial)
        processor.image_processor.save_pretrained(partial)  # preprocessor_config.json, which older programs read
        (partial / "README.md").write_text(card(parts, out.name, str(model.dtype)), encoding="utf-8")
        if out.is_dir():
            out.rmdir()  # empty, or it would have been refused
        partial.rename(out)
    except (OSError, ValueError, RuntimeError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise MergeError(f"The merged model could not be written to {out}: {first_line(error)}.") from error


def card(parts: Parts, name: str, dtype: str) -> str:
    """The model card of the merged checkpoint `name`, in Markdown with the Hub's metadata."""
    from huggingface_hub import ModelCardData

    on_hub = is_named(parts.base) and parts.base != "bundled"
    revision = f" (revision {code(parts.base_revision)})" if parts.base_revision else ""
    base = f"[{parts.base}](https://huggingface.co/{parts.base}){revision}" if on_hub else plain(parts.base_folder.name)
    base = "the small Qwen2-VL that comes with the side-by-side demo" if parts.base == "bundled" else base
    layers = layers_of(parts.config, read_header(parts.adapter_folder / WEIGHTS), None)
    ranks, alphas = sorted({one.rank for one in layers.values()}), sorted({one.alpha for one in layers.values()})
    lora = f"rank {' or '.join(map(str, ranks))}, alpha {' or '.join(map(str, alphas))}"
    lora += f", on {code(', '.join(sorted({place.rpartition('.')[2] for place in layers})))}"
    return CARD.format(
        metadata=ModelCardData(
            base_model=parts.base if on_hub else None,
            base_model_relation="finetune" if on_hub else None,
            library_name="transformers",
            pipeline_tag="image-text-to-text",
            tags=["merged", "lora"],
            model_name=name,
        ).to_yaml(),
        name=plain(name),
        adapter=parts.adapter,
        base=base,
        dtype=dtype.removeprefix("torch."),
        lora=lora + ", scaled as in rsLoRA" * bool(parts.config.get("use_rslora")),
        versions=", ".join(f"{package} {version(package)}" for package in ("torch", "transformers", "peft")),
        asking="\n\n".join(_asking(parts.contract)),
    )


def _asking(contract: Contract | None) -> list[str]:
    """Paragraphs on system message and pixels; the message is a block of code, which shows any text as it is."""
    if contract is None:
        return [
            f"The adapter came without a {CONTRACT_FILE}: the system message that it was trained with is not known "
            "here. Use the one that its author names."
        ]
    told = ["It was trained without a system message; ask it without one."]
    if contract.system:
        told = [
            "With this system message, which stood in front of every training question:",
            "\n".join(f"    {line}" for line in contract.system.splitlines()),
        ]
    if contract.pixels:
        told.append(f"It was trained on charts of {contract.pixels}; the processor here keeps to that.")
    return told


def _named_base(adapter: str, contract: Contract | None, config: Mapping[str, Any]) -> tuple[str, str | None]:
    """Base and revision that the adapter itself names. Raises MergeError when nobody could find that."""
    if contract is not None and is_named(contract.base):
        return contract.base, contract.base_revision
    named = str(config.get("base_model_name_or_path") or "")
    if is_named(named) or (named and folder_of(named) is not None):
        return named, config.get("revision")
    named = contract.base if contract is not None else named
    raise MergeError(
        f"The adapter {adapter} says that it was trained on {named or 'nothing'!r}, which is neither a folder on this "
        "machine nor a Hub id such as owner/name; say where its base is with --base."
    )


def _check_unquantised(base: str, folder: Path) -> None:
    try:
        described = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return  # said better by whoever loads it
    if isinstance(described, dict) and "quantization_config" in described:
        raise MergeError(
            f"The base {base} is quantised, and an adapter is lost in the rounding of such weights; name the "
            "unquantised model with --base."
        )


def _check_out(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise MergeError(f"{out} is there already and not empty; name another folder.")


def _check_room(out: Path, size: int) -> None:
    existing = next(folder for folder in out.absolute().parents if folder.is_dir())
    free = shutil.disk_usage(existing).free
    if size * ROOM > free:
        raise MergeError(f"The merged model needs {size / 1e9:.1f} GB and {free / 1e9:.1f} GB are free in {existing}.")


def _adapter_title(name: str, folder: Path) -> str:
    """How the card names the adapter: never by a path of this machine."""
    if name == "bundled":
        return "the bundled adapter of the side-by-side demo"
    if not is_named(name):
        return plain(folder.name)
    return f"[{name}](https://huggingface.co/{name}) (revision {code(folder.name)})"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m train.merge",
        description="Merge a LoRA adapter into its base and write one checkpoint that needs no adapter file.",
    )
    add = parser.add_argument
    add("adapter", metavar="ADAPTER", help="folder or Hub id of the adapter, or bundled")
    add("out", metavar="OUT", help="folder to write; it must not exist, or be empty")
    add("--adapter-revision", help="branch, tag or commit of the adapter on the Hub")
    add("--base", help="folder or Hub id of the base, or bundled; default: the one that the adapter names")
    add("--base-revision", help="branch, tag or commit of the base on the Hub; default: what the contract names")
    add("--dtype", choices=DTYPES, default="auto", help="precision of the merged weights; auto: the base's own")
    return parser


if __name__ == "__main__":
    sys.exit(main())
