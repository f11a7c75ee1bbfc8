"""Answers to the bundled charts, recorded once so that a page which gets no GPU still has something to show.

`python -m chartqa_demo.recorded` asks the model of its settings every bundled question and keeps the answers in
`bundled/recorded.jsonl`, one line per question, those of other models beside them. A recorded answer is only shown
for the very chart, question, system messages and settings that it was recorded with, and says when and by which model.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path

from PIL import Image

from chartqa_demo.arms import PROMPTED, Arm
from chartqa_demo.data.splits import Split, open_split
from chartqa_demo.data.strict import as_row, bytes_of, from_json
from chartqa_demo.engines import Answer, Answers, Engine, Options, load_engine
from chartqa_demo.errors import DatasetError, EngineError, RecordedError, SettingsError
from chartqa_demo.images import pixels_of
from chartqa_demo.settings import PACKAGE, add_engine_flags, settings_from

RECORDED_FILE = PACKAGE / "bundled" / "recorded.jsonl"
BATCH = 8


@dataclass(frozen=True)
class Line:
    """One question. pixels: hash of the chart in RGB, since the page stores pictures in another encoding; chart: the
    picture's name, for a reader; texts and tokens: by arm key. systems: the system message that each arm was told, by
    arm key; a line without them does not say what was asked, and its answers are not shown."""

    date: str
    model: str
    adapter: str | None
    max_new_tokens: int
    chart: str
    pixels: str
    question: str
    texts: dict[str, str]
    tokens: dict[str, int]
    systems: dict[str, str | None] | None = None


@dataclass(frozen=True)
class Recorded:
    """The answers of one model and adapter; `mark` is what the page says about each of them; other: they are not
    the page's own, so that the message of its adapter says nothing about this one's."""

    model: str
    adapter: str | None
    mark: str
    lines: dict[tuple[str, str], Line]
    other: bool = False

    def answers_to(self, image: Image.Image, question: str, arms: Sequence[Arm], options: Options) -> Answers | None:
        """The answers of every arm, None unless all were recorded for this chart, question, settings and messages."""
        line = self.lines.get((pixels_of(image), question))
        usual = options.temperature == 0 and options.max_pixels is None
        if line is None or not usual or not all(arm.key in line.texts for arm in arms):
            return None
        if not all(self._was_told(line, arm, options) for arm in arms):
            return None
        if max(line.tokens.values()) > options.max_new_tokens:
            return None
        answers = (Answer(arm.key, line.texts[arm.key], line.tokens[arm.key], done=True) for arm in arms)
        return tuple(
            replace(one, recorded=self.mark, ended="limit" if one.tokens >= options.max_new_tokens else "end")
            for one in answers
        )

    def _was_told(self, line: Line, arm: Arm, options: Options) -> bool:
        """Whether the arm was told then what it would be told now."""
        if line.systems is None or arm.key not in line.systems:
            return False
        now = options.system if arm.key == PROMPTED.key and options.system is not None else arm.system
        return line.systems[arm.key] == now or (self.other and arm.adapter)


def read_recorded(engine: Engine, path: Path | None = None) -> tuple[Recorded, ...]:
    """What was recorded with the engine's model and adapter, then what the bundled model answered, whose mark says
    that it is another model. Empty without a file. Raises RecordedError."""
    groups: dict[tuple[str, str | None], dict[tuple[str, str], Line]] = {}
    for line in _read_lines(path or RECORDED_FILE):
        groups.setdefault((line.model, line.adapter), {})[line.pixels, line.question] = line
    found = []
    for (model, adapter), lines in groups.items():
        same = (model, adapter) == (engine.title, engine.adapter)
        if not same and adapter != "bundled":
            continue
        newest = max(line.date for line in lines.values())
        with_adapter = "its adapter" if adapter == "bundled" else f"the adapter {adapter}" if adapter else "no adapter"
        other = "" if same else ", not by the model of this page"
        mark = f"Recorded on {newest} by {model} with {with_adapter}{other}."
        found.append((not same, Recorded(model, adapter, mark, lines, not same)))
    return tuple(recorded for _, recorded in sorted(found, key=lambda one: one[0]))


def record(engine: Engine, charts: Split, options: Options, path: Path) -> int:
    """Ask every question of `charts` and write the answers; lines of other models stay. Raises EngineError."""
    lines = []
    for first in range(0, len(charts), BATCH):
        examples = charts.examples[first : first + BATCH]
        images = [example.load_image() for example in examples]
        items = [(image, example.question) for image, example in zip(images, examples, strict=True)]
        for example, image, answers in zip(
            examples, images, engine.answer_many(items, engine.arms, options), strict=True
        ):
            good = [answer for answer in answers if answer.error is None]
            lines.append(
                Line(
                    date=date.today().isoformat(),
                    model=engine.title,
                    adapter=engine.adapter,
                    max_new_tokens=options.max_new_tokens,
                    chart=example.file_name or example.id,
                    pixels=pixels_of(image),
                    question=example.question,
                    texts={answer.arm: answer.text for answer in good},
                    tokens={answer.arm: answer.tokens for answer in good},
                    systems={arm.key: arm.system for arm in engine.arms},
                )
            )
        print(f"{len(lines)} of {len(charts)} questions", file=sys.stderr)
    mine = (engine.title, engine.adapter)
    others = [line for line in _read_lines(path) if (line.model, line.adapter) != mine]
    text = "".join(json.dumps(asdict(line), ensure_ascii=False) + "\n" for line in [*others, *lines])
    path.write_text(text, encoding="utf-8")
    return len(lines)


def main(argv: Sequence[str] | None = None) -> None:
    """`python -m chartqa_demo.recorded`: record the bundled charts' answers with the model of the settings."""
    parser = argparse.ArgumentParser(prog="python -m chartqa_demo.recorded", description=__doc__)
    add_engine_flags(parser)
    try:
        settings = replace(settings_from(parser.parse_args(argv)), dataset="bundled")
        engine, charts = load_engine(settings), open_split("bundled")
        count = record(engine, charts, Options(max_new_tokens=settings.max_new_tokens), RECORDED_FILE)
    except (SettingsError, DatasetError, EngineError, RecordedError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    print(f"{count} questions answered by {engine.title} are in {RECORDED_FILE}")


def _read_lines(path: Path) -> list[Line]:
    try:
        found = bytes_of(path).decode().splitlines()
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise RecordedError(f"The recorded answers in {path} cannot be read: {error}.") from error
    lines = []
    for number, text in enumerate(found, start=1):
        try:
            lines.append(line := as_row(Line, from_json(text)))
            if not line.texts or line.texts.keys() != line.tokens.keys():
                raise ValueError("its texts and tokens are not those of the same arms")
        except (ValueError, TypeError) as error:
            raise RecordedError(f"Line {number} of {path} is no recorded answer: {error}.") from error
    return lines
