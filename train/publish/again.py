"""A finished adapter that was measured anew: its card's figures, metadata and contract from the new results file.

    python -m train.publish.again chartqa_demo/bundled/adapter results/bundled--chartqa-test-all.json \\
        --blind bench/results/reading/blind.json --curve results/learning_curve/bundled.json

What stands between the marks <!-- measured --> of its README.md is written again, and where asked for what stands
between those of <!-- blind --> and <!-- curve -->; the rest of the card stays. blind: the file that
`python -m bench.reading blind` wrote; curve: that of `python -m train.publish.curve`.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard

from chartqa_demo.adapters.contract import read_contract
from chartqa_demo.arms import ADAPTER, ARMS
from chartqa_demo.errors import first_line
from chartqa_demo.evaluate.record import ALL
from chartqa_demo.evaluate.report import with_block
from chartqa_demo.evaluate.statistics import Score
from chartqa_demo.evaluate.tables import Column, accuracy, as_markdown, figures_of_summary
from train.publish.card import RULES_SHOWN, measured
from train.publish.curve import table


def rewritten(card: str, summary: dict[str, Any], blind: dict[str, Any] | None, curve: dict[str, Any] | None) -> str:
    """The card with the figures of these files. Raises ValueError for a card without the marks, KeyError, TypeError or
    ValueError for other files."""
    figures = figures_of_summary(summary)
    parts = {"measured": measured(figures)}
    if blind is not None:
        parts["blind"] = _guessed(blind)
    if curve is not None:
        parts["curve"] = as_markdown(table(curve["points"]))
    for name, words in parts.items():
        card = with_block(card, words, f"<!-- {name} -->", f"<!-- end of {name} -->")
    told = ModelCard(card)
    data: Any = told.data
    for result in data.eval_results or []:
        for rule in RULES_SHOWN:
            if result.metric_name == f"relaxed accuracy ({rule})":
                result.metric_value = round(100 * (figures.scores[rule][ADAPTER.key][ALL].accuracy or 0.0), 2)
    return f"---\n{data.to_yaml()}\n---\n{told.text}"


def _guessed(blind: dict[str, Any]) -> str:
    """What the adapter is right about with another question's chart, which shows how much can be guessed."""
    score = Score(**blind["arms"][ADAPTER.key][ALL]["other"])
    right = accuracy(score, Column("", str(blind["rule"]), interval=True))
    return (
        f"With another question's chart it is right about {right.replace(' [', ' % of the same questions [')} "
        f"({blind['rule']}): so much can be guessed."
    )


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
    card = flags.adapter / "README.md"
    try:
        contract = read_contract(flags.adapter)
        if contract is None:
            raise ValueError(f"{flags.adapter} has no contract; train.contract writes one")
        summary, blind, curve = (
            path and json.loads(path.read_text(encoding="utf-8")) for path in (flags.results, flags.blind, flags.curve)
        )
        new = rewritten(card.read_text(encoding="utf-8"), summary, blind, curve)
        canonical = figures_of_summary(summary).scores["canonical"]
        scores = {arm.key: round(100 * (canonical[arm.key][ALL].accuracy or 0.0), 2) for arm in ARMS}
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"error: The figures of {flags.adapter} stay as they are: {first_line(error)}", file=sys.stderr)
        return 2
    card.write_text(new, encoding="utf-8")
    replace(contract, scores=scores).save(flags.adapter)
    return 0


if __name__ == "__main__":
    sys.exit(main())
