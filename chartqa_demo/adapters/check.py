"""An adapter by its name: found, checked before its weights are fetched, fetched. `load.py` puts it on the model.

`fetch_adapter` is the whole way, in order: one look-up, its files, its config, its contract, the header of its weights,
then the weights. A wrong id costs no download so, and a visitor's does not fill the disk. What an adapter may be is in
`lora.py`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chartqa_demo.adapters.contract import (
    CONFIG,
    CONTRACT_FILE,
    MAX_FILE,
    WEIGHTS,
    Contract,
    check_message,
    read_contract,
    tokens_of,
)
from chartqa_demo.adapters.lora import LoraError, Modules, layers_of, read_config, why_not_computed
from chartqa_demo.errors import EngineError, HubError, shown
from chartqa_demo.space.hub import Source, find, folder_of, is_hub_id, local_folder

PICKLED = "adapter_model.bin"
MAX_BYTES = 3 * 10**9  # MAX_RANK on every linear layer of the 7B language model, in float32, is 2.6 GB


@dataclass(frozen=True)
class Adapter:
    """An adapter without its weights: what its adapter_config.json says, and its contract where it has one."""

    source: Source
    config: Mapping[str, Any]
    contract: Contract | None

    def fetch(self) -> Path:
        """The folder with its weights, downloaded where it has to be. Raises HubError."""
        return self.source.fetch((CONFIG, WEIGHTS, CONTRACT_FILE))


def fetch_adapter(
    name: str, revision: str | None, base: str, modules: Modules | None = None
) -> tuple[Path, Contract | None]:
    """The folder of the adapter `name` (Hub id or folder), for which nothing speaks against serving it on `base` (Hub
    id, folder or "bundled") with these modules, and its contract. Raises HubError with the reason, before any weight is
    fetched."""
    adapter = find_adapter(name, revision)
    check_base(adapter, base)
    check_weights(adapter, modules)
    return adapter.fetch(), adapter.contract


def fetch_contract(name: str, revision: str | None, given: str | None) -> Contract | None:
    """The contract alone of an adapter that a server elsewhere serves, whose tokenizer is not here; given: the message
    that is used instead of its own. Raises EngineError."""
    try:
        contract = read_contract(local_folder(name, revision, (CONTRACT_FILE,), "adapter"))
    except (HubError, ValueError) as error:
        raise EngineError(str(error)) from None
    if contract is not None and given is None:
        check_message(tokens_of(contract.system), name, roughly=True)
    return contract


def find_adapter(name: str, revision: str | None) -> Adapter:
    """The adapter `name`, from one look-up and its two small files. Raises HubError for what is none or is too large,
    and for a config or contract that cannot be read."""
    source, called = find(name, revision, "adapter"), shown(name)
    if PICKLED in source.sizes and WEIGHTS not in source.sizes:
        raise HubError(
            f"The adapter {called} has pickled weights only ({PICKLED}), which can hold code; save it as {WEIGHTS}."
        )
    if missing := [file for file in (CONFIG, WEIGHTS) if file not in source.sizes]:
        raise HubError(
            f"{called} is not an adapter that can be loaded: it needs {CONFIG} and {WEIGHTS}, and has no "
            f"{' and no '.join(missing)}."
        )
    if source.sizes[WEIGHTS] > MAX_BYTES:
        raise HubError(
            f"The adapter {called} has {source.sizes[WEIGHTS] / 1e9:.1f} GB; at most {MAX_BYTES / 1e9:.0f} GB are "
            "loaded."
        )
    for file in (CONFIG, CONTRACT_FILE):
        if source.sizes.get(file, 0) > MAX_FILE:
            raise HubError(
                f"The adapter {called} has {file} with {source.sizes[file]:,} bytes; at most {MAX_FILE:,} are read."
            )
    folder = source.fetch((CONFIG, CONTRACT_FILE))
    try:
        return Adapter(source, read_config(folder), read_contract(folder))
    except LoraError as error:
        raise HubError(f"The adapter {called} {error}") from error
    except ValueError as error:
        raise HubError(f"The contract of the adapter {called} cannot be read: {error}") from error


def check_base(adapter: Adapter, base: str) -> None:
    """Raise HubError, with the reason, when the adapter cannot be served on `base`."""
    reason = why_not(adapter.config, base)
    if reason is None and adapter.contract is not None:
        reason = _other_base(adapter.contract.base, base)
    if reason is not None:
        raise HubError(f"The adapter {shown(adapter.source.name)} {reason}")


def check_weights(adapter: Adapter, modules: Modules | None) -> None:
    """Raise HubError, with the reason, when the names and shapes of the weights, which are not fetched for that, tell
    of something that is not served; modules: those of the base, None where it is not at hand."""
    try:
        layers_of(adapter.config, adapter.source.header(WEIGHTS), modules)
    except LoraError as error:
        raise HubError(f"The adapter {shown(adapter.source.name)} {error}") from error


def why_not(config: Mapping[str, Any], base: str) -> str | None:
    """Why an adapter with this adapter_config.json cannot serve on `base` (Hub id, folder or "bundled"), as the end
    of a sentence; None when it can."""
    trained_on = config.get("base_model_name_or_path")
    return why_not_computed(config) or _other_base(trained_on if isinstance(trained_on, str) else "", base)


def is_named(model: str) -> bool:
    """Whether others know a model or adapter by that name, too: "bundled" or a Hub id, and no folder here, which may
    hold anything."""
    return model == "bundled" or (is_hub_id(model) and folder_of(model) is None)


def _other_base(trained_on: str, base: str) -> str | None:
    """Says that the adapter is for another base, where both are known by name."""
    if not is_named(trained_on) or not is_named(base) or _model(trained_on) == _model(base):
        return None
    return f"was trained on {trained_on}, but the base is {base}. Start with --base {trained_on}, or choose another."


def _model(name: str) -> str:
    """The model behind a copy or quantised copy: "unsloth/Qwen2-VL-7B-Instruct-bnb-4bit" is Qwen2-VL-7B-Instruct."""
    return re.sub(r"(-unsloth)?(-bnb-4bit|-bnb-8bit)?$", "", name.rsplit("/", maxsplit=1)[-1].lower())
