"""What an evaluation left behind: one JSONL line per question, and the scores, intervals and tests computed from it.

The JSONL is the record; everything else is recomputed from it, so another scoring rule needs no new answers. It holds
questions and gold answers of the data set, `results.json` holds neither: only ids, counts and settings.
"""

import json
import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

from chartqa_demo.data.splits import KINDS, Kind
from chartqa_demo.data.strict import as_row, bytes_of, check, from_json
from chartqa_demo.engines import Ended
from chartqa_demo.errors import ResultsError
from chartqa_demo.evaluate import statistics as stats
from chartqa_demo.evaluate.rules import RULES, is_correct

if sys.platform != "win32":
    import fcntl

ALL = "all"
GROUPS: tuple[str, ...] = (*KINDS, ALL)
NOT_COMPARED = ("date", "commit", "versions", "chartqa")  # what may differ between the parts of a resumed evaluation
MOST_ARMS = 16  # every pair of them is compared
# What is read of the settings of a record or of its scores, beside which there may be more.
SETTINGS: Mapping[str, Any] = {
    "arms": dict[str, dict[str, Any]],
    "sample": list[str],
    **dict.fromkeys(("dataset", "split", "kind", "model", "adapter", "date", "commit"), str | None),
    **dict.fromkeys(("seed", "limit", "max_new_tokens"), int | None),
    "chartqa": bool | None,
}
FIRST = b'{"settings":'  # how a record begins; a torn line that begins otherwise is somebody's file


@dataclass(frozen=True)
class Item:
    """One question of an evaluation.

    answers, tokens, failures: by arm key; an arm is in `answers` or in `failures` (why it gave none).
    log_probabilities, confidence, ended: as in `engines.Answer`, by arm key, where they are known. error: why the whole
    question got no answers (an undecodable chart, a failing model). seconds: its share of its batch's time.
    """

    id: str
    chart: str
    question: str
    gold: tuple[str, ...]
    kind: Kind
    source: str
    answers: Mapping[str, str] = field(default_factory=dict)
    tokens: Mapping[str, int] = field(default_factory=dict)
    log_probabilities: Mapping[str, float] = field(default_factory=dict)
    confidence: Mapping[str, float] = field(default_factory=dict)
    failures: Mapping[str, str] = field(default_factory=dict)
    error: str | None = None
    seconds: float | None = None
    ended: Mapping[str, Ended] = field(default_factory=dict)

    def correct(self, arm: str, rule: str) -> bool | None:
        """Whether the arm's answer meets one of the gold answers under `rule`; None without an answer or without a gold
        answer to meet."""
        answer = self.answers.get(arm)
        return None if answer is None or not self.gold else any(is_correct(answer, gold, rule) for gold in self.gold)

    def to_line(self) -> str:
        """The item as one JSON line, newline included."""
        return json.dumps(asdict(self), ensure_ascii=False) + "\n"

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> "Item":
        """The item of a parsed line. Raises KeyError, TypeError or ValueError for a row that is not one."""
        item = as_row(cls, {**row, "gold": tuple(row["gold"])})
        if not all(0 <= one <= 1 for one in item.confidence.values()) or (item.seconds or 0) < 0:
            raise ValueError("its confidence or its seconds cannot be")
        return item


@dataclass(frozen=True)
class Results:
    """Settings and finished items of one evaluation; `planned` is how many questions it was to ask."""

    settings: Mapping[str, Any]
    items: tuple[Item, ...]

    @property
    def arms(self) -> tuple[str, ...]:
        """Arm keys in the order of the page, recorded predictions after the engine's arms."""
        return tuple(self.settings["arms"])

    @property
    def planned(self) -> int:
        """How many questions the evaluation was to ask."""
        return len(self.settings["sample"])

    @property
    def errors(self) -> tuple[Item, ...]:
        """The questions that got no answers, with their reason."""
        return tuple(item for item in self.items if item.error is not None)

    def verdicts(self, rule: str) -> dict[str, dict[str, bool]]:
        """arm -> id -> correct, for the questions with a gold answer that the arm answered."""
        if rule not in self._verdicts:
            self._verdicts[rule] = {
                arm: {
                    item.id: bool(item.correct(arm, rule)) for item in self.items if arm in item.answers and item.gold
                }
                for arm in self.arms
            }
        return self._verdicts[rule]

    def score(self, arm: str, rule: str, group: str = ALL) -> stats.Score:
        """Accuracy of one arm over one of GROUPS."""
        found = self.verdicts(rule)[arm]
        hits = [found[item.id] for item in self.items if item.id in found and group in (ALL, item.kind)]
        return stats.score(sum(hits), len(hits))

    def reliability(self, arm: str) -> tuple[stats.Bin, ...]:
        """How often the arm's answers of each confidence are right, with format forgiven."""
        found = self.verdicts("tolerant")[arm]
        told = [(one.confidence[arm], found[one.id]) for one in self.items if arm in one.confidence and one.id in found]
        return stats.reliability([one for one, _ in told], [right for _, right in told])

    def compare(self, first: str, second: str, rule: str) -> stats.Comparison:
        """`first` minus `second` on the questions that both answered."""
        one, other = self.verdicts(rule)[first], self.verdicts(rule)[second]
        common = [item for item in self.items if item.id in one and item.id in other]
        return stats.compare(
            (first, second),
            [one[item.id] for item in common],
            [other[item.id] for item in common],
            [item.chart for item in common],
            seed=int(self.settings.get("seed", 0)),
        )

    def comparisons(self, rule: str) -> tuple[stats.Comparison, ...]:
        """Every pair of arms, the later arm of the page first."""
        return tuple(self.compare(later, earlier, rule) for earlier, later in combinations(self.arms, 2))

    def summary(self) -> dict[str, Any]:
        """The contents of results.json: everything but questions, gold answers and answers."""
        seconds = sum(item.seconds or 0.0 for item in self.items)
        answered = len(self.items) - len(self.errors)
        return {
            **{key: value for key, value in self.settings.items() if key != "sample"},
            "complete": len(self.items) >= self.planned,
            "asked": len(self.items),
            "planned": self.planned,
            "seconds": round(seconds, 2),
            "questions_per_second": round(answered / seconds, 3) if seconds else None,
            "scores": {
                rule: {arm: {group: _rounded(self.score(arm, rule, group)) for group in GROUPS} for arm in self.arms}
                for rule in RULES
            },
            "reliability": {
                arm: [_rounded(one) for one in bins] for arm in self.arms if (bins := self.reliability(arm))
            },
            "comparisons": {rule: [_rounded(one) for one in self.comparisons(rule)] for rule in RULES},
            "errors": [{"id": item.id, "error": item.error} for item in self.errors],
            "failures": [
                {"id": item.id, "arm": arm, "error": why} for item in self.items for arm, why in item.failures.items()
            ],
            "ended": {
                arm: dict(Counter(filter(None, (item.ended.get(arm) for item in self.items)))) for arm in self.arms
            },
            "sample": list(self.settings["sample"]),
        }

    @cached_property
    def _verdicts(self) -> dict[str, dict[str, dict[str, bool]]]:
        return {}


def compare_records(first: Results, second: Results, arm: str, rule: str) -> stats.Comparison:
    """One arm in two records, `first` minus `second`, on the questions about the same charts that both answered: two
    adapters, say. Ids may differ; chart and question do not."""
    found = second.verdicts(rule)[arm]
    theirs = {(item.chart, item.question): found[item.id] for item in second.items if item.id in found}
    mine = first.verdicts(rule)[arm]
    common = [item for item in first.items if item.id in mine and (item.chart, item.question) in theirs]
    return stats.compare(
        ("first", "second"),
        [mine[item.id] for item in common],
        [theirs[item.chart, item.question] for item in common],
        [item.chart for item in common],
        seed=int(first.settings.get("seed", 0)),
    )


def read_results(path: Path) -> Results:
    """The results in a JSONL file; a last line that was cut off is left out. Raises ResultsError."""
    settings, items, _ = read_lines(path)
    if settings is None:
        raise ResultsError(f"{path} holds no evaluation: its first line is not the settings of one.")
    return in_order(settings, items)


def in_order(settings: Mapping[str, Any], items: Sequence[Item]) -> Results:
    """The results with their items in the order of the sample, whatever the order in which they were answered."""
    order = {example_id: index for index, example_id in enumerate(settings["sample"])}
    return Results(settings, tuple(sorted(items, key=lambda item: order.get(item.id, len(order)))))


def check_settings(found: Any) -> dict[str, Any]:
    """The settings of an evaluation as they came. Raises KeyError and ValueError for what are none."""
    check(found, dict[str, Any], "the settings")
    for name, kind in SETTINGS.items():
        check(found[name] if name in ("arms", "sample") else found.get(name), kind, name)
    if len(found["arms"]) > MOST_ARMS or (found.get("seed") or 0) < 0:
        raise ValueError("it has too many arms, or a seed below 0")
    for arm in found["arms"].values():
        check(arm["title"], str, "a title")
    return found


def read_lines(path: Path) -> tuple[dict[str, Any] | None, list[Item], int]:
    """(settings or None, items, bytes that hold whole lines) of a JSONL file; after a kill the last line may be torn.

    Raises ResultsError for a line in the middle that is no result.
    """
    whole, items, settings = 0, [], None
    try:
        lines = bytes_of(path).splitlines(keepends=True)
    except (OSError, ValueError) as error:
        raise ResultsError(f"{path} cannot be read as the results of an evaluation: {error}.") from error
    for number, line in enumerate(lines, start=1):
        try:
            check(row := from_json(line), dict[str, Any], "the line")
            if number == 1:
                settings = check_settings(row["settings"])
            else:
                items.append(Item.from_row(row))
            if not line.endswith(b"\n"):
                raise ValueError("the line end is missing")
        except (ValueError, KeyError, TypeError) as error:
            if number == len(lines) and not line.endswith(b"\n") and (number > 1 or line[:12] == FIRST[: len(line)]):
                del items[max(0, number - 2) :]
                return (settings if number > 1 else None), items, whole
            raise ResultsError(
                f"Line {number} of {path} is not a result of an evaluation ({error}). Move the file away, start anew."
            ) from error
        whole += len(line)
    return settings, items, whole


@dataclass(frozen=True)
class Record:
    """The open JSONL. `settings` are those of its first line: a resumed run keeps the date it began."""

    file: IO[bytes]
    settings: dict[str, Any]

    def append(self, item: Item) -> None:
        """Write one finished question; it survives the death of this process from here on. Raises ResultsError where
        the disk takes no more: what is written stays, half a line is cut off when the evaluation goes on."""
        self.write(item.to_line())

    def write(self, line: str) -> None:
        """The same of any line."""
        left = memoryview(line.encode(errors="replace"))  # a folder's name need not be UTF-8
        try:
            while left:
                left = left[self.file.write(left) :]
        except OSError as error:
            raise _not_written(Path(str(self.file.name)), error) from error


@contextmanager
def open_record(path: Path, settings: dict[str, Any]) -> Iterator[tuple[Record, list[Item]]]:
    """The file to append to and the items it holds. A line that a killed process left half is cut off.

    Raises ResultsError when the file belongs to other settings or to a run that goes on.
    """
    check_folder(path.parent)
    try:
        opened = path.open("ab", buffering=0)
    except OSError as error:
        raise _not_written(path, error) from error
    with opened as file:
        if sys.platform != "win32":
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ResultsError(
                    f"An evaluation is writing to {path.name} already. Wait for it, or choose another output."
                ) from None
        theirs, items, whole = read_lines(path)
        os.truncate(path, whole)
        mine = json.loads(json.dumps(settings))
        record = Record(file, theirs or mine)
        if theirs is None:
            record.write(json.dumps({"settings": mine}, ensure_ascii=False) + "\n")
        elif different := _differing(mine, theirs, [key for key in {**theirs, **mine} if key not in NOT_COMPARED]):
            raise ResultsError(
                f"{path.name} was made with other settings: {'; '.join(different)}. Choose another output, "
                "or start it anew (--restart)."
            )
        yield record, items


def check_folder(folder: Path) -> None:
    """Makes a folder of results. Raises ResultsError where nothing can be written into it: before there is any."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise _not_written(folder, error) from error


def _not_written(path: Path, error: OSError) -> ResultsError:
    return ResultsError(f"{path} cannot be written ({error.strerror or error}). Make room, or name another place.")


def write_summary(results: Results, path: Path) -> None:
    """Write results.json, replacing an older one in one step."""
    draft = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(results.summary(), ensure_ascii=False, indent=1) + "\n"
        draft.write_text(text, encoding="utf-8", errors="replace")
        draft.replace(path)
    except OSError as error:
        raise _not_written(path, error) from error


def _differing(mine: Mapping[str, Any], theirs: Mapping[str, Any], keys: Sequence[str]) -> list[str]:
    """The settings in `keys` that differ, as "seed is 0 there and 1 here"."""
    return [
        f"{key} is {_short(theirs.get(key))} there and {_short(mine.get(key))} here"
        for key in keys
        if mine.get(key) != theirs.get(key)
    ]


def _rounded(figures: stats.Score | stats.Comparison | stats.Bin) -> dict[str, Any]:
    """The fields, with six digits: floating point noise must not change a committed file."""
    return {key: float(f"{value:.6g}") if isinstance(value, float) else value for key, value in asdict(figures).items()}


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:79] + "…"
