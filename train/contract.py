"""Write down how an adapter was trained, so that the app asks it that way.

    python -m train.contract FOLDER --system @message.txt
    python -m train.contract FOLDER --system "Answer in a word." --base Qwen/Qwen2-VL-7B-Instruct --max-pixels 1003520

`python -m train` writes the contract of what it trains by itself; this is for an adapter that was trained elsewhere.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chartqa_demo.adapters.contract import CONFIG, CONTRACT_FILE, Contract
from chartqa_demo.errors import SettingsError
from chartqa_demo.settings import LEAST_PIXELS, read_message


class ContractError(Exception):
    """No contract was written; the message is one sentence with the value and the way out."""


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0 written, 2 something a person has to change."""
    flags = _parser().parse_args(argv)
    try:
        path = write_contract(
            Path(flags.folder).expanduser(),
            read_message(flags.system),
            base=flags.base,
            base_revision=flags.base_revision,
            limits=(flags.min_pixels, flags.max_pixels),
            dataset=flags.dataset,
            split=flags.split,
            seed=flags.seed,
            replace=flags.replace,
        )
    except (ContractError, SettingsError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"Written: {path}")
    return 0


def write_contract(
    folder: Path,
    system: str,
    *,
    base: str | None = None,
    base_revision: str | None = None,
    limits: tuple[int | None, int | None] = (None, None),
    dataset: str | None = None,
    split: str | None = None,
    seed: int | None = None,
    replace: bool = False,
) -> Path:
    """Write the contract of the adapter in `folder` and return its path; `base` is the one that the adapter's own
    config names unless given, limits are (min_pixels, max_pixels). Raises ContractError."""
    if not (folder / CONFIG).is_file():
        raise ContractError(f"{folder} is not an adapter: it has no {CONFIG}.")
    if (folder / CONTRACT_FILE).exists() and not replace:
        raise ContractError(f"{folder} has a {CONTRACT_FILE} already; --replace writes a new one in its place.")
    base = base or _named_base(folder)
    least, most = limits
    for flag, value in (("--min-pixels", least), ("--max-pixels", most)):
        if value is not None and value < LEAST_PIXELS:
            raise ContractError(f"{flag} is {value}; it has to be at least {LEAST_PIXELS}, which is one image token.")
    if least is not None and most is not None and least > most:
        raise ContractError(f"--min-pixels {least} is larger than --max-pixels {most}; swap them.")
    contract = Contract(base, system, base_revision, least, most, dataset, split, seed)
    try:
        return contract.save(folder)
    except OSError as error:
        raise ContractError(f"The contract cannot be written into {folder}: {error}.") from error


def _named_base(folder: Path) -> str:
    try:
        config: dict[str, Any] = dict(json.loads((folder / CONFIG).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise ContractError(f"{folder / CONFIG} cannot be read: {error}.") from error
    named = config.get("base_model_name_or_path")
    if not isinstance(named, str) or not named:
        raise ContractError(f"{folder / CONFIG} does not name the base model; say which with --base.")
    return named


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m train.contract",
        description=f"Write {CONTRACT_FILE} beside an adapter's weights: the app then asks it as it was trained.",
    )
    add = parser.add_argument
    add("folder", metavar="FOLDER", help=f"folder of the adapter, with its {CONFIG}")
    add(
        "--system",
        required=True,
        metavar="TEXT|@FILE",
        help="system message of every training row, or @ and a file that holds it; an empty text says that it was "
        "trained without one",
    )
    add("--base", help="model it was trained on; default: what the adapter's own config names")
    add("--base-revision", help="branch, tag or commit of that model on the Hub")
    add("--min-pixels", type=int, metavar="N", help="charts with fewer pixels were enlarged to this many")
    add("--max-pixels", type=int, metavar="N", help="charts with more pixels were shrunk to this many")
    add("--dataset", help="what it was trained on, as a note")
    add("--split", help="which part of it, as a note")
    add("--seed", type=int, help="the training's seed, as a note")
    add("--replace", action="store_true", help="write over a contract that is there")
    return parser


if __name__ == "__main__":
    sys.exit(main())
