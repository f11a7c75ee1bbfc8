"""Predictions in a file as an arm: somebody else's answers, scored and compared like the engine's own.

A file has one JSON object per line with `image` (the data set's name of the picture), `query`, `label`, `prediction`
and `split` (its end says who asked: human or augmented) or `human_or_machine`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from chartqa_demo.data.splits import Example, Kind
from chartqa_demo.errors import ResultsError
from chartqa_demo.evaluate.record import Item


@dataclass(frozen=True)
class Prediction:
    """One recorded answer. image: file name of the chart; gold: the accepted answers."""

    image: str
    question: str
    gold: tuple[str, ...]
    kind: Kind
    text: str


@dataclass(frozen=True)
class Predictions:
    """The answers of one file, shown as the arm `name`."""

    name: str
    file_name: str
    predictions: tuple[Prediction, ...]

    def answers_for(self, examples: Sequence[Example]) -> dict[str, str]:
        """Example id -> recorded answer, found by picture and question. Where a pair occurs several times, its first
        record belongs to its first example, and so on. Raises ResultsError when not one example is found."""
        waiting: dict[tuple[str, str], list[str]] = {}
        for one in self.predictions:
            waiting.setdefault((one.image, one.question), []).append(one.text)
        found = {}
        for example in examples:
            texts = waiting.get((example.file_name, example.question))
            if texts:
                found[example.id] = texts.pop(0) if len(texts) > 1 else texts[0]
        if not found and examples:
            raise ResultsError(
                f"{self.file_name} holds no prediction for any of the {len(examples)} questions; it names charts such "
                f"as “{self.predictions[0].image}”, the data set such as “{examples[0].file_name}”."
            )
        return found

    def examples(self) -> list[Example]:
        """The file's own questions, for scoring it without the charts; "published/17" is line 18."""
        return [
            Example(
                id=f"{Path(self.file_name).stem}/{index}",
                chart=one.image,
                question=one.question,
                gold=one.gold,
                kind=one.kind,
                source="",
                read=_no_picture,
                file_name=one.image,
            )
            for index, one in enumerate(self.predictions)
        ]


def read_predictions(argument: str) -> Predictions:
    """The file of a `NAME=FILE` argument. Raises ResultsError with the first line that cannot be read."""
    name, separator, file = argument.partition("=")
    if not separator or not name.strip() or not file:
        raise ResultsError(
            f"--predictions takes NAME=FILE, for example Qwen2.5-VL-7B=predictions.jsonl, not {argument!r}."
        )
    path = Path(file).expanduser()
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ResultsError(f"The predictions in {path} cannot be read: {error}") from error
    predictions = []
    for number, line in enumerate(lines, start=1):
        try:
            predictions.append(_prediction(json.loads(line)))
        except (ValueError, KeyError, TypeError) as error:
            raise ResultsError(
                f"Line {number} of {path} is not a prediction ({type(error).__name__}: {error}); each line is a JSON "
                "object with image, query, label, prediction and split."
            ) from error
    if not predictions:
        raise ResultsError(f"{path} holds no predictions.")
    return Predictions(name.strip(), path.name, tuple(predictions))


def with_predictions(item: Item, answers_for: Mapping[str, Mapping[str, str]]) -> Item:
    """The item with the answers of every file, answers_for: arm -> example id -> answer."""
    if not answers_for or item.error is not None:
        return item
    answers, failures = dict(item.answers), dict(item.failures)
    for name, texts in answers_for.items():
        if item.id in texts:
            answers[name] = texts[item.id]
        else:
            failures[name] = "There is no recorded prediction for this question."
    return replace(item, answers=answers, failures=failures)


def _prediction(row: dict[str, object]) -> Prediction:
    label = row["label"]
    asker = row["human_or_machine"] if "human_or_machine" in row else str(row["split"])
    human = asker == 0 or str(asker).endswith("human")
    return Prediction(
        image=str(row["image"]),
        question=str(row["query"]),
        gold=tuple(map(str, label)) if isinstance(label, list) else (str(label),),
        kind="human" if human else "machine",
        text=str(row["prediction"]),
    )


def _no_picture() -> bytes:
    raise OSError("Recorded predictions come without their charts.")
