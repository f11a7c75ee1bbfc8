"""Predictions in a file as an arm: somebody else's answers, scored and compared like the engine's own.

`formats` says which files are read. An answer that is null is no answer: its question is not counted for that arm.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from chartqa_demo.data.splits import Example, Kind
from chartqa_demo.errors import DatasetError, ResultsError
from chartqa_demo.evaluate.formats import prediction_rows, read_row
from chartqa_demo.evaluate.record import Item


@dataclass(frozen=True)
class Prediction:
    """One recorded answer. image: file name of the chart, empty where the file does not say it; gold: the accepted
    answers; text: None for no answer."""

    image: str
    question: str
    gold: tuple[str, ...]
    kind: Kind
    text: str | None


@dataclass(frozen=True)
class Predictions:
    """The answers of one file, shown as the arm `name`."""

    name: str
    file_name: str
    predictions: tuple[Prediction, ...]

    def answers_for(self, examples: Sequence[Example]) -> dict[str, str]:
        """Example id -> recorded answer, found by picture and question, or by question and gold answers where the file
        names no pictures. Where a pair occurs several times, its first record belongs to its first example, and so on.
        Raises ResultsError when not one example is found."""
        waiting: dict[tuple[object, str], list[str | None]] = {}
        for one in self.predictions:
            waiting.setdefault((one.image or one.gold, one.question), []).append(one.text)
        found = {}
        for example in examples:
            keys = ((name, example.question) for name in (example.file_name, example.chart, example.gold))
            texts = next((waiting[key] for key in keys if key in waiting), None)
            text = (texts.pop(0) if len(texts) > 1 else texts[0]) if texts else None
            if text is not None:
                found[example.id] = text
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
                chart=one.image or f"{index}",  # without its name every question is taken for a chart of its own
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
    predictions = []
    where = path.name
    try:
        for place, row in prediction_rows(path):
            where = f"{place} of {path}"
            predictions.append(Prediction(*read_row(row)))
    except DatasetError as error:
        raise ResultsError(str(error)) from error
    except OSError as error:
        raise ResultsError(f"The predictions in {path} cannot be read: {error}") from error
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise ResultsError(
            f"{where} is not a prediction ({type(error).__name__}: {error}); each has image, query, label, prediction "
            "and split, or is a row of lmms-eval's samples or of VLMEvalKit's predictions."
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


def _no_picture() -> bytes:
    raise OSError("Recorded predictions come without their charts.")
