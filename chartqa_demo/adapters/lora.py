"""What of PEFT's LoRA the engine computes, and what each layer of a base gets from an adapter: the one list.

The check before a download, the loader and `python -m train` ask here, so that all three say the same. Served is what
the written-out layers and a mixed batch compute: B(A(x)) times a number, on linear layers of the language model. What
is changed is read off the file's own keys; an adapter's patterns are text of a stranger and are not executed, but for
plain ones of an alpha_pattern. No torch here.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chartqa_demo.adapters.contract import CONFIG, MAX_FILE
from chartqa_demo.errors import first_line

MAX_RANK = 256
MAX_ALPHA = 10**6
PATTERNS, PATTERN = 1024, 200  # entries of a pattern, one for each layer of a 72B model is 560; characters of one
STARS = 32  # entries with .* or \d+, each of which is tried at every layer
TENSORS, NAME = 4096, 150  # of a 72B model 1,120; characters of a layer's name there: 60
FLOATS = ("F16", "BF16", "F32", "F64")  # safetensors' names

# Tensors by name -> (safetensors' dtype, shape); modules of a base by name -> (inputs, outputs) of the linear layers of
# its language model, None for all others.
Tensors = Mapping[str, tuple[str, tuple[int, ...]]]
Modules = Mapping[str, tuple[int, int] | None]

# Read off peft 0.21.2, tuners/lora/layer.py: these leave the base as it is, in training and when loaded.
INITIALISATIONS = ("gaussian", "eva", "orthogonal", "mica")  # or true, false, null
# And these begin with a part of the base's own weights, which they take out of the base.
TAKES_FROM_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")

# Options of an adapter_config.json that are computed, or that say what is trained, where, and how.
# fmt: off
SERVED = frozenset((
    "peft_type", "task_type", "peft_version", "auto_mapping", "base_model_name_or_path", "revision", "inference_mode",
    "r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern", "init_lora_weights", "lora_dropout",
    "fan_in_fan_out", "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "loftq_config",
    "eva_config", "corda_config", "lora_ga_config", "megatron_core", "qalora_group_size", "runtime_config",
    "ensure_weight_tying",
))
# fmt: on
# Options that compute something else where they are set: by what name they are refused.
REFUSED = {
    "use_dora": "DoRA (use_dora)",
    "lora_bias": "a bias beside LoRA's matrices (lora_bias)",
    "bias": "a change of the base's biases (bias)",
    "modules_to_save": "a whole module beside the LoRA (modules_to_save)",
    "trainable_token_indices": "trained tokens (trainable_token_indices)",
    "alora_invocation_tokens": "aLoRA (alora_invocation_tokens)",
    "layer_replication": "replicated layers (layer_replication)",
    "target_parameters": "LoRA on single parameters (target_parameters)",
    "arrow_config": "Arrow (arrow_config)",
    "use_bdlora": "BD-LoRA (use_bdlora)",
    "kasa_config": "KaSA (kasa_config)",
    "monteclora_config": "MonteCLoRA (monteclora_config)",
    "velora_config": "VeLoRA (velora_config)",
    "use_qalora": "QALoRA (use_qalora)",
    "megatron_config": "Megatron's parallel layers (megatron_config)",
}
# The same, as it shows in the name of a tensor.
REFUSED_TENSORS = {
    "lora_magnitude_vector": REFUSED["use_dora"],
    "lora_B.bias": REFUSED["lora_bias"],
    "lora_embedding_": "LoRA on the embeddings",
    "trainable_tokens": REFUSED["trainable_token_indices"],
    "modules_to_save": REFUSED["modules_to_save"],
}
ONLY = "only plain LoRA and rsLoRA are, with a rank and an alpha of its own for each layer"
LANGUAGE_ONLY = "Train the language model only: the three arms share one look at the chart."

# Layers as transformers named them before 4.52, and as it names them since.
OLD_NAMES = (
    (re.compile(r"^model\.layers\."), "model.language_model.layers."),
    (re.compile(r"^language_model\.model\."), "model.language_model."),
    (re.compile(r"^visual\."), "model.visual."),
)
VISION = re.compile(r"(^|\.)(visual|vision_\w+)\.")
PLAIN_PATTERN = re.compile(r"\^?(\w|-|\\?\.|\.\*|\\d\+?)+\$?")  # a name; one of its parts may be .* or \d+


class LoraError(ValueError):
    """An adapter that cannot be served; the message is the end of a sentence that begins with its name."""


@dataclass(frozen=True)
class Layer:
    """What one linear layer gets: the names of its A and B in the file, their rank, and the alpha."""

    down: str
    up: str
    rank: int
    alpha: float


def read_config(folder: Path) -> dict[str, Any]:
    """The adapter_config.json in a folder. Raises LoraError for what is none."""
    path = folder / CONFIG
    try:
        if path.stat().st_size > MAX_FILE:
            raise LoraError(f"has {CONFIG} with {path.stat().st_size:,} bytes; at most {MAX_FILE:,} are read.")
        if not isinstance(config := json.loads(path.read_text(encoding="utf-8")), dict):
            raise LoraError(f"has an {CONFIG} that cannot be read: it is no object.")
        return config
    except LoraError:
        raise
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise LoraError(f"has an {CONFIG} that cannot be read: {first_line(error)}.") from error


def why_not_computed(config: Mapping[str, Any]) -> str | None:  # noqa: PLR0911 (a sentence each)
    """Why what this adapter_config.json describes cannot be served, as the end of a sentence; None when it can."""
    kind, task = config.get("peft_type"), config.get("task_type")
    if kind != "LORA":
        return f"is of type {_said(kind)}; only LORA can be served."
    if task not in (None, "CAUSAL_LM"):
        return f"was trained for the task {_said(task)}; it has to be CAUSAL_LM."
    for option, value in config.items():
        if option in SERVED or not value or (option == "bias" and value == "none"):
            continue
        if option in REFUSED:
            return f"uses {REFUSED[option]}, which is not served: {ONLY}."
        return f"sets {_said(option)}, which is not known here and may compute something else: {ONLY}."
    init = config.get("init_lora_weights", True)
    begun = init.lower() if isinstance(init, str) else ""
    if begun.startswith(TAKES_FROM_BASE):
        converted = " Save it again with PEFT's path_initial_model_for_weight_conversion, as plain LoRA."
        return (
            f"was begun with {_said(init)} (init_lora_weights), which changes the base's own weights, and all arms "
            f"share them.{converted * (begun != 'loftq')}"
        )
    if not isinstance(init, bool | None) and begun not in INITIALISATIONS:
        return f"was begun with {_said(init)} (init_lora_weights), which is not known here."
    if not isinstance(config.get("use_rslora"), bool | None):
        return f"has the use_rslora {_said(config['use_rslora'])}; it has to be true or false."
    return _why_not_sizes(config)


def _why_not_sizes(config: Mapping[str, Any]) -> str | None:
    rank, alpha = config.get("r"), config.get("lora_alpha", 8)
    if not _is_rank(rank):
        return f"has the rank {_said(rank)}; it has to be from 1 to {MAX_RANK}."
    if not _is_alpha(alpha):
        return f"has the lora_alpha {_said(alpha)}; it has to be a number up to {MAX_ALPHA:,}."
    for option, fits, wanted in (
        ("rank_pattern", _is_rank, f"ranks from 1 to {MAX_RANK}"),
        ("alpha_pattern", _is_alpha, f"numbers up to {MAX_ALPHA:,}"),
    ):
        pattern = config.get(option) or {}
        if not isinstance(pattern, Mapping) or len(pattern) > PATTERNS:
            return f"has a wrong {option}: it has to be up to {PATTERNS:,} names with {wanted}."
        if wrong := [value for value in pattern.values() if not fits(value)]:
            return f"has {_said(wrong[0])} in its {option}; it has to hold {wanted}."
    for name in config.get("alpha_pattern") or {}:
        plain = len(name) <= PATTERN and PLAIN_PATTERN.fullmatch(name) and name.count("*") + name.count("+") <= 1
        if not plain:
            return (
                f"has an alpha_pattern for {_said(name)}, a regular expression that is not executed here: write the "
                "names of the layers."
            )
    starred = sum("*" in name or "+" in name for name in config.get("alpha_pattern") or {})
    wanted = f"at most {STARS} are executed. Write the names of the layers."
    return None if starred <= STARS else f"has {starred:,} names with .* or \\d+ in its alpha_pattern; {wanted}"


def layers_of(config: Mapping[str, Any], tensors: Tensors, modules: Modules | None) -> dict[str, Layer]:
    """What each layer of the base gets, by its name there, from the header of the adapter's file and its config, of
    which `why_not_computed` says nothing; modules: the base's, None where it is not at hand. Raises LoraError."""
    if not tensors:
        raise LoraError("holds no weights at all.")
    if len(tensors) > TENSORS:
        raise LoraError(f"holds {len(tensors):,} weights; at most {TENSORS:,} are served.")
    places: dict[str, dict[str, str]] = {}
    for key, (dtype, shape) in tensors.items():
        place, side = _place(key)
        if dtype not in FLOATS:
            raise LoraError(f"holds {_said(key)} as {dtype}; its weights have to be one of {', '.join(FLOATS)}.")
        if 0 in shape:
            raise LoraError(
                f"holds empty weights, {_said(key)} {shape}, as DeepSpeed's stage 3 leaves them. Gather them, and save "
                "it again."
            )
        if side in places.setdefault(place, {}):
            raise LoraError(f"holds two weights for one place: {_said(places[place][side])} and {_said(key)}.")
        places[place][side] = key
    ranks = {config["r"], *(config.get("rank_pattern") or {}).values()}
    alphas = [  # the pattern, the plain text that it ends with, by which most layers are told apart soon, and the alpha
        (re.compile(rf"(.*\.)?({name})$"), re.sub(r".*(\\d|[^\w-])", "", name.removesuffix("$")), alpha)
        for name, alpha in (config.get("alpha_pattern") or {}).items()
    ]
    found = {}
    for place, sides in places.items():
        _check_module(place, sides, modules)
        _check_shapes(place, sides, tensors, modules, ranks)
        rank = tensors[sides["lora_A"]][1][0]
        # By PEFT's rule: that of the first pattern which is the layer's name or its end; as it was called when trained
        names = {place, sides["lora_A"].removeprefix("base_model.model.").removesuffix(".lora_A.weight")}
        own = (alpha for pattern, end, alpha in alphas if place.endswith(end) and any(map(pattern.match, names)))
        found[place] = Layer(sides["lora_A"], sides["lora_B"], rank, next(own, config.get("lora_alpha", 8)))
    _check_all_there(config, found, modules)
    return found


def _place(key: str) -> tuple[str, str]:
    """The layer that a tensor belongs to, by its name in the base, and which of the two matrices it is."""
    for part, what in REFUSED_TENSORS.items():
        if part in key:
            raise LoraError(f"holds {_said(key)}, and so uses {what}, which is not served: {ONLY}.")
    place, _, side = key.removeprefix("base_model.model.").removesuffix(".weight").rpartition(".")
    if side not in ("lora_A", "lora_B") or not key.endswith(".weight"):
        raise LoraError(
            f"holds {_said(key)}, which is none of LoRA's two matrices but a weight of its own, as for new tokens or "
            f"another kind of adapter. That is not served: {ONLY}."
        )
    for old, new in OLD_NAMES:
        place = old.sub(new, place)
    if len(place) > NAME:
        raise LoraError(f"holds {_said(key)}, whose name has {len(key):,} characters; at most {NAME} are read.")
    return place, side


def _check_module(place: str, sides: Mapping[str, str], modules: Modules | None) -> None:
    key = next(iter(sides.values()))
    if place.rpartition(".")[2] in ("lm_head", "embed_tokens"):
        raise LoraError(f"changes {_said(place)}, which all arms share. {LANGUAGE_ONLY}")
    if VISION.search(place) or (modules is not None and place in modules and modules[place] is None):
        raise LoraError(
            f"changes {_said(place)}, which is outside the language model's linear layers (in the vision tower, say). "
            f"{LANGUAGE_ONLY}"
        )
    if modules is not None and place not in modules:
        raise LoraError(f"does not fit this base model: {_said(key)} has no counterpart.")


def _check_shapes(
    place: str, sides: Mapping[str, str], tensors: Tensors, modules: Modules | None, ranks: set[int]
) -> None:
    if missing := [side for side in ("lora_A", "lora_B") if side not in sides]:
        raise LoraError(f"does not fit this base model: {_said(place)} has no {missing[0]}.")
    down, up = (tensors[sides[side]][1] for side in ("lora_A", "lora_B"))
    rank = down[0] if len(down) == 2 and down[0] in ranks else min(ranks)
    inputs, outputs = (modules or {}).get(place) or ((*down, 0, 0)[1], (*up, 0)[0])
    for side, shape, wanted in (("lora_A", down, (rank, inputs)), ("lora_B", up, (outputs, rank))):
        if shape != wanted:
            raise LoraError(
                f"does not fit this base model: size mismatch for {_said(sides[side])}, which is {shape} and should be "
                f"{wanted}."
            )


def _check_all_there(config: Mapping[str, Any], found: Mapping[str, Layer], modules: Modules | None) -> None:
    """A file that says with a list of names which layers it changes has weights for each of them: PEFT only warns, and
    answers as the base where some are missing. Nothing can be said of patterns and exceptions."""
    targets = config.get("target_modules")
    if not isinstance(targets, list) or config.get("exclude_modules") or config.get("layers_to_transform") is not None:
        return
    named = {str(one) for one in targets}

    def is_named(name: str) -> bool:
        parts = name.split(".")
        return any(".".join(parts[first:]) in named for first in range(len(parts)))

    lost = [name for name, sizes in (modules or {}).items() if sizes and name not in found and is_named(name)]
    if lost:
        raise LoraError(
            f"does not fit this base model: it says that it changes {lost[0]} and has no weights for it"
            f"{f', nor for {len(lost) - 1} more layers' * (len(lost) > 1)}."
        )


def _is_rank(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_RANK


def _is_alpha(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= MAX_ALPHA  # NaN is not


def _said(value: Any) -> str:
    """A stranger's value for a sentence: a text that is a plain name as it is, all else as Python writes it, cut."""
    value = value[:161] if isinstance(value, str) else value  # before it is looked at: it can be a megabyte
    try:
        plain = isinstance(value, str) and re.fullmatch(r"[\w./-]+", value) and re.search(r"[A-Za-z_]", value)
        said = value if plain else repr(value)
    except (RecursionError, ValueError):  # Python writes out no whole number of more than 4,300 digits
        said = type(value).__name__
    return said if len(said) <= 160 else f"{said[:150]}…"
