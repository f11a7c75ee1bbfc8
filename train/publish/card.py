"""The model card of an adapter, written from its contract and its results file; no figure in it is typed by hand."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

from huggingface_hub import EvalResult, ModelCardData
from trl import SFTConfig

from chartqa_demo.adapters.check import is_named
from chartqa_demo.adapters.contract import Contract
from chartqa_demo.data.names import questions_title
from chartqa_demo.evaluate.record import ALL
from chartqa_demo.evaluate.rules import RULE_NOTES
from chartqa_demo.evaluate.tables import (
    Figures,
    accuracy_table,
    as_markdown,
    code,
    in_markdown,
    plain,
    questions_of,
    rule_columns,
)
from chartqa_demo.settings import HUB_BASE
from chartqa_demo.space.hub import HUB_ID
from train.data import DATASET, Data, shares
from train.publish.push import BUNDLED
from train.recipe import GENERATED, Recipe

RULES_SHOWN = ("canonical", "tolerant")
APACHE = (
    BUNDLED,
    HUB_BASE,
    "Qwen/Qwen2-VL-2B-Instruct",
)  # bases under Apache-2.0 by their own cards; others say theirs

CARD = """---
{metadata}
---

# {name}

A LoRA adapter that answers questions about charts {way}.
It stands on {base} and changes the language model only; the vision tower is the base's.

## Measured

<!-- measured -->
{measured}
<!-- end of measured -->

## How it was made

{trained}

{fence}
{command}
{fence}

{versions}

## How to use it

With the system message below; that is how it was trained, and it is also in `chartqa_contract.json`, which the
side-by-side demo reads. {pixels}

> {system}

## Limitations

- The sample above is what was measured, and its intervals are as wide as they are; other charts will score otherwise.
- The canonical rule forgives 5 % on every number, years included, and forgives no format: "62 %" is wrong for 62.
- The adapter learned the wording of its training data: it answers as they do even where an explanation would help.
{limits}

## Licence

{licence}
"""


@dataclass(frozen=True)
class Run:
    """What the card says of a run beside its contract, data and figures. model_type: transformers' name of the base's
    family; command: the one that started it."""

    recipe: Recipe
    args: SFTConfig
    model_type: str
    command: str


def write_card(folder: Path, contract: Contract, figures: Figures, data: Data, run: Run) -> Path:
    """Write README.md, with Hub metadata (model-index included), into the adapter's folder."""
    sample = run.recipe.train_sample
    trained_on = questions_title(
        data.name, data.train_split, len(data.train), limit=sample, seed=run.args.seed, chartqa=data.chartqa
    )
    metadata = _metadata(folder.name, contract, figures, data, run).to_yaml()
    shown = plain(data.mixture or trained_on)
    text = CARD.format(
        metadata=metadata,
        name=plain(folder.name),
        base=_base(contract),
        measured=measured(figures),
        way=_way(data),
        trained=f"Trained on {shown}, with the loss {_loss(run.args)}, seed {contract.seed}.",
        command=run.command,
        fence="`" * max([3, *(len(one) + 1 for one in re.findall("`+", run.command))]),
        versions=", ".join(f"{plain(package)} {plain(version)}" for package, version in contract.versions.items())
        + ".",
        pixels=f"It was shown charts of {contract.pixels or 'what sizes its base takes'}; others are scaled to that.",
        system="\n> ".join(map(plain, contract.system.splitlines())),
        limits=_limits(contract, data),
        licence=_licence(contract) + _licence_of_charts(data),
    )
    path = folder / "README.md"
    path.write_text(text, encoding="utf-8")
    return path


def measured(figures: Figures) -> str:
    """What was asked, both rules' tables, what the paired tests say and what the rules are, in Markdown."""
    figures = replace(figures, settings=in_markdown(figures.settings))
    sample = (
        f"On {questions_of(figures.settings)}, held out: greedy answers, accuracy in per cent with its 95 % Wilson "
        "interval (number of questions)."
    )
    tables = [
        f"### {rule.capitalize()} rule\n\n{as_markdown(accuracy_table(figures, rule_columns(rule)))}"
        for rule in RULES_SHOWN
    ]
    compared = "\n".join(f"- {rule}: {words}" for rule in RULES_SHOWN for words in figures.in_words(rule))
    rules = "\n".join(f"- {rule}: {RULE_NOTES[rule]}" for rule in RULES_SHOWN)
    return "\n\n".join([sample, *tables, compared, rules])


def _way(data: Data) -> str:
    ours = data.chartqa or data.generated
    return "in ChartQA's way: a word, a number, a short phrase" if ours else f"the way {plain(data.name)} answers them"


def _loss(args: SFTConfig) -> str:
    """What TRL takes the loss on: rows of ours are prompt and completion, where its default is the completion."""
    on = "on the prompts and the answers" if args.completion_only_loss is False else "on the answers alone"
    return on if args.loss_type == "nll" else f"({args.loss_type}) {on}"


def _licence(contract: Contract) -> str:
    if contract.base in APACHE:
        return "Apache-2.0, as is the base model."
    return "The licence of the base model holds, see there; the trainer of this adapter says under which terms it is."


def _limits(contract: Contract, data: Data) -> str:
    if contract.base == BUNDLED:
        drawn = ", and the charts were drawn by a program" if data.generated else ""
        return (
            f"- The base is a small demonstration model{drawn}: on charts that people publish it is far weaker than a "
            "large model."
        )
    if data.generated:
        return "- The charts were drawn by a program: on charts that people publish it may be far weaker."
    if data.chartqa:
        return "- ChartQA's charts are in English and from four publishers; its labels hold errors, kept as released."
    return (
        f"- The charts of {plain(data.name)} are what it was trained and measured on; on others it may be far weaker."
    )


def _licence_of_charts(data: Data) -> str:
    if data.chartqa:
        return " The training data, ChartQA, is GPL-3.0; these files hold none of it."
    if data.mixture:
        return " The training data have terms of their own; these files hold none of them."
    if data.generated:
        return ""
    return f" The training data, {plain(data.name)}, has terms of its own; these files hold none of it."


def _metadata(name: str, contract: Contract, figures: Figures, data: Data, run: Run) -> ModelCardData:
    """Hub metadata; what has no id on the Hub is left out, since the Hub refuses names it cannot resolve."""
    measured = [
        EvalResult(
            task_type="visual-question-answering",
            task_name="Chart question answering",
            dataset_type=data.name,
            dataset_name="generated charts" if data.generated else "ChartQA" if data.chartqa else data.name,
            dataset_split=data.test_split,
            metric_type="accuracy",
            metric_name=f"relaxed accuracy ({rule})",
            metric_value=round(100 * accuracy, 2),
        )
        for rule in RULES_SHOWN
        if (accuracy := figures.scores[rule]["adapter"][ALL].accuracy) is not None
    ]
    trained_on = [run.recipe.dataset if name == DATASET else name for name in shares(run.recipe)]
    if run.recipe.dataset == GENERATED:
        trained_on = []
    return ModelCardData(
        base_model=contract.base if HUB_ID.fullmatch(contract.base) else None,
        base_model_relation="adapter" if HUB_ID.fullmatch(contract.base) else None,
        datasets=[name for name in trained_on if HUB_ID.fullmatch(name) and is_named(name)] or None,
        language="en" if data.chartqa or data.generated else None,
        library_name="peft",
        license="apache-2.0" if contract.base in APACHE else None,
        pipeline_tag="image-text-to-text",
        tags=["lora", "chart-question-answering", run.model_type.replace("_", "-")],
        model_name=name,
        eval_results=measured,
    )


def _base(contract: Contract) -> str:
    if contract.base == BUNDLED:
        return "the small Qwen2-VL that comes with the demo"
    if not HUB_ID.fullmatch(contract.base):
        return plain(contract.base)
    revision = f" (revision {code(contract.base_revision)})" if contract.base_revision else ""
    return f"[{plain(contract.base)}](https://huggingface.co/{contract.base}){revision}"
