"""An adapter by its name: found, checked before its weights are fetched, fetched. `load.py` puts it on the model.

`fetch_adapter` is the whole way, in order: one look-up, its files, its config, its contract, then the weights. A wrong
id costs no download so, and a visitor's does not fill the disk.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chartqa_demo.adapters.contract import CONFIG, CONTRACT_FILE, WEIGHTS, Contract, read_contract
from chartqa_demo.errors import HubError
from chartqa_demo.space.hub import HUB_ID, Source, find

PICKLED = "adapter_model.bin"
MAX_BYTES = 3 * 10**9  # MAX_RANK on every linear layer of the 7B language model, in float32, is 2.6 GB
MAX_RANK = 256

# Layers of Qwen-VL's vision tower, by which a target written as a list or as a pattern is tried.
VISION_LAYERS = tuple(
    f"model.visual.{layer}"
    for layer in ("blocks.0.attn.qkv", "blocks.0.attn.proj", "blocks.0.mlp.fc1", "merger.mlp.0", "patch_embed.proj")
)


@dataclass(frozen=True)
class Adapter:
    """An adapter without its weights: what its adapter_config.json says, and its contract where it has one."""

    source: Source
    config: Mapping[str, Any]
    contract: Contract | None

    def fetch(self) -> Path:
        """The folder with its weights, downloaded where it has to be. Raises HubError."""
        return self.source.fetch((CONFIG, WEIGHTS, CONTRACT_FILE))


def fetch_adapter(name: str, revision: str | None, base: str) -> tuple[Path, Contract | None]:
    """The folder of the adapter `name` (Hub id or folder), for which nothing speaks against serving it on `base` (Hub
    id, folder or "bundled"), and its contract. Raises HubError with the reason, before any weight is fetched."""
    adapter = find_adapter(name, revision)
    check_base(adapter, base)
    return adapter.fetch(), adapter.contract


def find_adapter(name: str, revision: str | None) -> Adapter:
    """The adapter `name`, from one look-up and its two small files. Raises HubError for what is none or is too large,
    and for a config or contract that cannot be read."""
    source = find(name, revision, "adapter")
    if PICKLED in source.sizes and WEIGHTS not in source.sizes:
        raise HubError(
            f"The adapter {name} has pickled weights only ({PICKLED}), which can hold code; save it as {WEIGHTS}."
        )
    if missing := [file for file in (CONFIG, WEIGHTS) if file not in source.sizes]:
        raise HubError(
            f"{name} is not an adapter that can be loaded: it needs {CONFIG} and {WEIGHTS}, and has no "
            f"{' and no '.join(missing)}."
        )
    if source.sizes[WEIGHTS] > MAX_BYTES:
        raise HubError(
            f"The adapter {name} has {source.sizes[WEIGHTS] / 1e9:.1f} GB; at most {MAX_BYTES / 1e9:.0f} GB are loaded."
        )
    folder = source.fetch((CONFIG, CONTRACT_FILE))
    try:
        config: dict[str, Any] = dict(json.loads((folder / CONFIG).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise HubError(f"The adapter {name} has a {CONFIG} that cannot be read: {error}") from error
    try:
        contract = read_contract(folder)
    except ValueError as error:
        raise HubError(f"The contract of the adapter {name} cannot be read: {error}") from error
    return Adapter(source, config, contract)


def check_base(adapter: Adapter, base: str) -> None:
    """Raise HubError, with the reason, when the adapter cannot be served on `base`."""
    reason = why_not(adapter.config, base)
    if reason is None and adapter.contract is not None:
        reason = _other_base(adapter.contract.base, base)
    if reason is not None:
        raise HubError(f"The adapter {adapter.source.name} {reason}")


def why_not(config: Mapping[str, Any], base: str) -> str | None:
    """Why an adapter with this adapter_config.json cannot serve on `base` (Hub id, folder or "bundled"), as the end
    of a sentence; None when it can."""
    kind, task, rank = config.get("peft_type"), config.get("task_type"), config.get("r")
    if kind != "LORA":
        return f"is of type {kind}; only LORA can be served."
    if task not in (None, "CAUSAL_LM"):
        return f"was trained for the task {task}; it has to be CAUSAL_LM."
    if not isinstance(rank, int) or not 1 <= rank <= MAX_RANK:
        return f"has the rank {rank!r}; it has to be from 1 to {MAX_RANK}."
    if changed := _vision_target(config.get("target_modules"), config.get("exclude_modules")):
        return (
            f"changes the vision tower ({changed}). Train the language model only: the three arms share one look at "
            "the chart, and a batch cannot mix them there."
        )
    return _other_base(str(config.get("base_model_name_or_path") or ""), base)


def is_named(model: str) -> bool:
    """Whether others know a model or adapter by that name, too: "bundled" or a Hub id, and no folder here, which may
    hold anything."""
    return model == "bundled" or (HUB_ID.fullmatch(model) is not None and not Path(model).is_dir())


def _other_base(trained_on: str, base: str) -> str | None:
    """Says that the adapter is for another base, where both are known by name."""
    if not is_named(trained_on) or not is_named(base) or _model(trained_on) == _model(base):
        return None
    return f"was trained on {trained_on}, but the base is {base}. Start with --base {trained_on}, or choose another."


def _model(name: str) -> str:
    """The model behind a copy or quantised copy: "unsloth/Qwen2-VL-7B-Instruct-bnb-4bit" is Qwen2-VL-7B-Instruct."""
    return re.sub(r"(-unsloth)?(-bnb-4bit|-bnb-8bit)?$", "", name.rsplit("/", maxsplit=1)[-1].lower())


def _vision_target(targets: Any, excluded: Any) -> str | None:
    """The target that reaches a layer of the vision tower, as PEFT matches them: a text is a pattern for the whole
    name (or "all-linear"), an entry of a list is its end."""
    for layer in VISION_LAYERS:
        if _match(excluded, layer) is None and (found := _match(targets, layer)) is not None:
            return found
    return None


def _match(targets: Any, layer: str) -> str | None:
    if targets == "all-linear":
        return "all-linear"
    if isinstance(targets, str):
        try:
            return targets if re.fullmatch(targets, layer) else None
        except re.error:
            return None  # PEFT will say so
    return next((one for one in targets or () if layer == one or layer.endswith(f".{one}")), None)
