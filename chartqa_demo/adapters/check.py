"""What can be known about an adapter before its weights are fetched, and why it would not do.

Weights that fit are still compared one by one when they are loaded (`load.py`); this is what keeps a wrong
id from costing a download, and a visitor's from filling the disk.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chartqa_demo.errors import HubError
from chartqa_demo.space.hub import HUB_ID, local_folder, look_up

CONFIG, WEIGHTS, PICKLED = "adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"
MAX_BYTES = 3 * 10**9  # MAX_RANK on every linear layer of the 7B language model, in float32, is 2.6 GB
MAX_RANK = 256

# Layers of Qwen-VL's vision tower, by which a target written as a list or as a pattern is tried.
VISION_LAYERS = tuple(
    f"model.visual.{layer}"
    for layer in ("blocks.0.attn.qkv", "blocks.0.attn.proj", "blocks.0.mlp.fc1", "merger.mlp.0", "patch_embed.proj")
)


def check_adapter(name: str, revision: str | None, base: str) -> None:
    """Raise HubError with the reason when the adapter `name` (Hub id or folder) cannot serve on `base`.

    Checked: LoRA, its task, the base that it names, target layers outside the vision tower, rank, size, safetensors.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        sizes = {path.name: path.stat().st_size for path in folder.iterdir() if path.is_file()}
    elif HUB_ID.fullmatch(name):
        sizes = look_up(name, revision, "adapter").sizes
    else:
        raise HubError(f"The adapter {name!r} is neither a folder on this machine nor a Hub id such as owner/name.")
    if PICKLED in sizes and WEIGHTS not in sizes:
        raise HubError(
            f"The adapter {name} has pickled weights only ({PICKLED}), which can hold code; save it as {WEIGHTS}."
        )
    if CONFIG not in sizes or WEIGHTS not in sizes:
        raise HubError(f"{name} is not an adapter that can be loaded: it needs {CONFIG} and {WEIGHTS}.")
    if sizes[WEIGHTS] > MAX_BYTES:
        raise HubError(
            f"The adapter {name} has {sizes[WEIGHTS] / 1e9:.1f} GB; at most {MAX_BYTES / 1e9:.0f} GB are loaded."
        )
    path = local_folder(name, revision, (CONFIG,), "adapter") / CONFIG
    try:
        config: dict[str, Any] = dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise HubError(f"The adapter {name} has a {CONFIG} that cannot be read: {error}") from error
    if (reason := why_not(config, base)) is not None:
        raise HubError(f"The adapter {name} {reason}")


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
    trained_on = str(config.get("base_model_name_or_path") or "")
    if HUB_ID.fullmatch(trained_on) and HUB_ID.fullmatch(base) and _model(trained_on) != _model(base):
        return (
            f"was trained on {trained_on}, but the base is {base}. Start with --base {trained_on}, or choose another."
        )
    if changed := _vision_target(config.get("target_modules"), config.get("exclude_modules")):
        return (
            f"changes the vision tower ({changed}). Train the language model only: the three arms share one look at "
            "the chart, and a batch cannot mix them there."
        )
    return None


def _model(repo_id: str) -> str:
    """The model behind a copy or quantised copy: "unsloth/Qwen2-VL-7B-Instruct-bnb-4bit" is Qwen2-VL-7B-Instruct."""
    return re.sub(r"(-unsloth)?(-bnb-4bit|-bnb-8bit)?$", "", repo_id.rsplit("/", maxsplit=1)[-1].lower())


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
