"""The contract of an adapter: what it was trained with, in one JSON file beside its weights.

Training writes it, the engine reads it and serves the adapter the way it was trained; an adapter without one still
loads, and the page says what is assumed.
"""

import json
import re
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from chartqa_demo.errors import EngineError, shown
from chartqa_demo.settings import LEAST_PIXELS, MAX_MESSAGE, MOST_PIXELS

CONFIG, WEIGHTS, CONTRACT_FILE = "adapter_config.json", "adapter_model.safetensors", "chartqa_contract.json"
SHOWN = 80  # characters of a system message in a note
MAX_FILE = 10**6  # bytes of config and contract; ranks and alphas for each layer of a 72B model are 100 kB
MAX_NAME = 500  # characters
PER_CENT = "numbers from 0 to 100"
WORDS = re.compile(r"\d|[^\W\d]+|[^\w\s]")
MAX_SYSTEM_TOKENS = 4096  # an eighth of Qwen2-VL's context; the recipe's message has about 40


@dataclass(frozen=True)
class Contract:
    """base, base_revision: the model it was trained on (Hub id, or "bundled"); system: the system message of every
    training row; min_pixels, max_pixels: limits of the image processor, in pixels, None for the processor's own;
    dataset, split, seed: what it was trained on; versions: package -> version; scores: arm -> canonical relaxed
    accuracy in per cent, measured after training (empty when not evaluated)."""

    base: str
    system: str
    base_revision: str | None = None
    min_pixels: int | None = None
    max_pixels: int | None = None
    dataset: str | None = None
    split: str | None = None
    seed: int | None = None
    versions: dict[str, str] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)

    @property
    def pixels(self) -> str:
        """The limits in words, "at least 3,136 and at most 50,176 pixels"; "" for none."""
        sides = (("at least", self.min_pixels), ("at most", self.max_pixels))
        told = " and ".join(f"{side} {limit:,}" for side, limit in sides if limit)
        return f"{told} pixels" if told else ""

    def save(self, folder: Path) -> Path:
        """Write the contract into the adapter's folder."""
        path = folder / CONTRACT_FILE
        path.write_text(json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        return path


def read_contract(folder: Path) -> Contract | None:
    """The contract in an adapter's folder, None when it has none.

    Raises ValueError, with the file and the reason, when the file is there and cannot be used: serving an adapter
    in another way than it was trained is the mistake that this file exists to prevent.
    """
    path = folder / CONTRACT_FILE
    try:
        if not path.is_file():
            return None
        if path.stat().st_size > MAX_FILE:
            raise ValueError(f"it has {path.stat().st_size:,} bytes, and at most {MAX_FILE:,} are read")
        found: Any = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError("it has to be an object, with base and system")
        if lost := [name for name in ("base", "system") if name not in found]:
            raise ValueError(f"it has no {' and no '.join(lost)}")
        known = {f.name for f in fields(Contract)}
        contract = Contract(**{key: value for key, value in found.items() if key in known})
        _check(contract)
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{shown(path)} is not a usable adapter contract: {error}.") from error
    return contract


def _check(contract: Contract) -> None:
    """Raises ValueError for a value of another type or size than training writes."""
    for name, value in asdict(contract).items():
        if name in ("base", "system") or (name in ("base_revision", "dataset", "split") and value is not None):
            most = MAX_MESSAGE if name == "system" else MAX_NAME
            if not isinstance(value, str) or len(value) > most:
                raise ValueError(f"{name} has to be a text of at most {most:,} characters")
            value.encode()  # half of a pair of surrogates, which JSON can hold, is no text
    for name, value in (("min_pixels", contract.min_pixels), ("max_pixels", contract.max_pixels)):
        if value is not None and (type(value) is not int or not 1 <= value <= MOST_PIXELS):
            raise ValueError(f"{name} is {repr(value)[:SHOWN]}; it has to be a whole number from 1 to {MOST_PIXELS:,}")
    if contract.min_pixels and contract.max_pixels and contract.min_pixels > contract.max_pixels:
        raise ValueError(f"min_pixels {contract.min_pixels} is larger than max_pixels {contract.max_pixels}")
    if contract.seed is not None and (type(contract.seed) is not int or abs(contract.seed) >= 2**64):
        raise ValueError("seed has to be a whole number of at most 64 bits")
    for name, values, fits, wanted in (
        ("versions", contract.versions, lambda value: isinstance(value, str), "texts"),
        # NaN is between no two numbers, and true is no number.
        ("scores", contract.scores, lambda value: type(value) in (int, float) and 0 <= value <= 100, PER_CENT),
    ):
        if not isinstance(values, dict) or not all(fits(value) for value in values.values()):
            raise ValueError(f"{name} has to be an object of {wanted}")


def bounded(contract: Contract | None, most: int) -> Contract | None:
    """The contract with pixel limits that all visitors can be served with: none under one image token or over `most`,
    which is the operator's own limit, else the app's."""
    if contract is None:
        return None
    least, largest = (
        limit and min(max(limit, LEAST_PIXELS), most) for limit in (contract.min_pixels, contract.max_pixels)
    )
    return replace(contract, min_pixels=least, max_pixels=largest)


def arm_system(contract: Contract | None, given: str | None) -> str | None:
    """The system message of an adapter's arm: the one `given` by the operator, else the contract's; "" for none at
    all, None where neither says and ours is assumed."""
    return given if given is not None or contract is None else contract.system


def told(contract: Contract | None, given: str | None, name: str) -> str | None:
    """What a visitor has to know of the message that the adapter `name` is asked with, None where it is its own."""
    if given is None or (contract is not None and contract.system == given):
        return None
    words = " ".join(given.split())
    begins = f"“{words[:SHOWN]}{'…' * (len(words) > SHOWN)}”" if words else "no system message"
    instead = ", not with the one of its contract" if contract is not None else ""
    return f"The adapter {name} is asked with {begins}, as this app was started to do{instead}."


def contract_notes(
    contract: Contract | None, given: str | None, name: str, base: str, most: int = MOST_PIXELS
) -> tuple[str, ...]:
    """What a visitor has to know of how the adapter `name` is asked on `base`; `given` as in `arm_system`, `most` as in
    `bounded`."""
    message = told(contract, given, name)
    notes = (message,) if message is not None else ()
    if contract is None and message is None:
        notes = (
            f"The adapter {name} does not say how it was trained; our system message and the usual pixel limits "
            "are assumed.",
        )
    if contract is not None and contract.base != base:
        notes += (f"The adapter {name} was trained on {shown(contract.base)}; the base here is {base}.",)
    if contract is not None and bounded(contract, most) != contract:
        notes += (
            f"The adapter {name} was trained on charts of {contract.pixels}; the limits here are {LEAST_PIXELS:,} and "
            f"{most:,}.",
        )
    return notes


def check_message(tokens: int, name: str, roughly: bool = False) -> None:
    """Raises EngineError when the message of an adapter's contract takes the place of chart and question. tokens: those
    that it adds to a prompt; roughly: by `tokens_of`."""
    if tokens > MAX_SYSTEM_TOKENS:
        raise EngineError(
            f"The system message in the contract of the adapter {shown(name)} has {'about ' * roughly}{tokens:,} "
            f"tokens; at most {MAX_SYSTEM_TOKENS:,} are taken."
        )


def tokens_of(text: str) -> int:
    """About how many tokens a text has, where no tokenizer is at hand: a digit or sign is one, a word has one for six
    letters, in scripts other than Latin one for each."""
    return sum(-(-len(word) // 6) if word.isascii() else len(word) for word in WORDS.findall(text))
