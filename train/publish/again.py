"""A finished adapter that was measured anew: its card's figures, metadata and contract from the new results file.

    python -m train.publish.again chartqa_demo/bundled/adapter results/bundled--chartqa-test-all.json \\
        --blind bench/results/reading/blind.json --curve results/learning_curve/bundled.json

What stands between the marks <!-- measured --> of its README.md is written again, and where asked for what stands
between those of <!-- blind --> and <!-- curve -->; the rest of the card stays. blind: the file that
`python -m bench.reading blind` wrote; curve: that of `python -m train.publish.curve`. Card and contract are both
written, or neither is.
"""

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import ModelCard

from chartqa_demo.adapters.contract import CONTRACT_FILE, Contract, read_contract
from chartqa_demo.arms import ADAPTER, ARMS
from chartqa_demo.data.strict import as_row, bytes_of, from_json
from chartqa_demo.errors import first_line, shown
from chartqa_demo.evaluate.record import ALL
from chartqa_demo.evaluate.report import with_block
from chartqa_demo.evaluate.rules import RULES
from chartqa_demo.evaluate.statistics import Score
from chartqa_demo.evaluate.tables import Column, Figures, accuracy, as_markdown, figures_of_summary
from train.publish.card import RULES_SHOWN, measured
from train.publish.curve import table
from train.publish.push import CARD

MAX_CARD = 10**6  # bytes; the card of the bundled adapter has 7,000
OTHERS = "a file is of another kind, or lacks a part that it has to have"
# What parsing a stranger's card and figures raises beside ValueError.
ODD = (KeyError, TypeError, AttributeError, IndexError, RecursionError, OverflowError, yaml.YAMLError)


def rewritten(card: str, figures: Figures, blind: dict[str, Any] | None, curve: dict[str, Any] | None) -> str:
    """The card with these figures. Raises ValueError for a card without the marks, one of `ODD` or ValueError for
    other files."""
    parts = {"measured": measured(figures)}
    if blind is not None:
        parts["blind"] = _guessed(blind)
    if curve is not None:
        parts["curve"] = as_markdown(table(curve["points"]))
    for name, words in parts.items():
        card = with_block(card, words, f"<!-- {name} -->", f"<!-- end of {name} -->")
    told = ModelCard(card)
    data: Any = told.data
    if not data.eval_results:
        return card  # metadata without figures stay to the letter
    for result in data.eval_results:
        for rule in RULES_SHOWN:
            if result.metric_name == f"relaxed accuracy ({rule})":
                result.metric_value = _per_cent(figures, rule, ADAPTER.key)
    return f"---\n{data.to_yaml()}\n---\n{told.text}"


def check_subject(found: Mapping[str, Any], contract: Contract, names: Sequence[str | None]) -> None:
    """Raises ValueError for results of another base, or of an adapter that has none of these names, or only begun."""
    model, adapter = str(found.get("model")), str(found.get("adapter"))
    if contract.base.rsplit("/", 1)[-1] not in model:
        raise ValueError(f"the results are of {shown(model)}, and it stands on {shown(contract.base)}")
    if adapter.rsplit("/", 1)[-1] not in names:
        raise ValueError(f"the results are of the adapter {shown(adapter)}, and its folder has another name")
    if found.get("complete") is False:
        raise ValueError("the evaluation has not ended")


def save(folder: Path, card: str, contract: Contract, line_end: str) -> None:
    """Both files into the adapter's folder, each in one step and none before both are on disk. Raises OSError."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=".again-") as drafts:
        (Path(drafts) / CARD).write_text(card, encoding="utf-8", newline=line_end)
        contract.save(Path(drafts))
        for name in (CARD, CONTRACT_FILE):
            (Path(drafts) / name).replace(folder / name)


def _guessed(blind: dict[str, Any]) -> str:
    """What the adapter is right about with another question's chart, which shows how much can be guessed."""
    score, rule = as_row(Score, blind["arms"][ADAPTER.key][ALL]["other"]), blind["rule"]
    if rule not in RULES:
        raise ValueError(f"there is no rule {shown(rule)}")
    right = accuracy(score, Column("", rule, interval=True))
    return (
        f"With another question's chart it is right about {right.replace(' [', ' % of the same questions [')} "
        f"({rule}): so much can be guessed."
    )


def _per_cent(figures: Figures, rule: str, arm: str) -> float:
    """An arm's accuracy. Raises ValueError where it was not measured."""
    scores = figures.scores[rule]
    if arm not in scores:
        raise ValueError(f"the arm {arm} was not measured")
    found = scores[arm][ALL].accuracy
    if found is None or not 0 <= found <= 1:
        raise ValueError(f"the accuracy of {arm} is {found}, which is none")
    return round(100 * found, 2)


def _read(path: Path | None) -> Any:
    """The JSON in a file. Raises OSError or ValueError."""
    try:
        return None if path is None else from_json(bytes_of(path))
    except ValueError as error:
        raise ValueError(f"{shown(path)} cannot be read: {first_line(error)}") from error


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0 written, 2 something a person has to change."""
    parser = argparse.ArgumentParser(
        prog="python -m train.publish.again", description="New figures for the card and contract of an adapter."
    )
    parser.add_argument("adapter", type=Path, help="its folder")
    parser.add_argument("results", type=Path, help="results file of an evaluation of this adapter")
    parser.add_argument("--blind", type=Path, help="results file of python -m bench.reading blind")
    parser.add_argument("--curve", type=Path, help="results file of python -m train.publish.curve")
    flags = parser.parse_args(argv)
    try:
        contract = read_contract(flags.adapter)
        if contract is None:
            raise ValueError(f"{shown(flags.adapter)} has no contract; train.contract writes one")
        summary, blind, curve = map(_read, (flags.results, flags.blind, flags.curve))
        text = bytes_of(flags.adapter / CARD, MAX_CARD).decode("utf-8-sig")
        card = text.replace("\r\n", "\n")
        figures = figures_of_summary(summary)
        new = rewritten(card, figures, blind, curve)
        names = flags.adapter.resolve().name, getattr(ModelCard(card).data, "model_name", None)
        for found in (summary, blind):
            if found is not None:
                check_subject(found, contract, names)
        contract = replace(contract, scores={arm.key: _per_cent(figures, "canonical", arm.key) for arm in ARMS})
        save(flags.adapter, new, contract, "\r\n" if "\r\n" in text else "\n")
    except (OSError, ValueError, *ODD) as error:
        reason = OTHERS if isinstance(error, ODD) else first_line(error)
        print(f"error: The figures of {shown(flags.adapter)} stay as they are: {reason}.", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
