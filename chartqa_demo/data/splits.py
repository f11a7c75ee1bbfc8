"""Charts with questions and gold answers: the bundled ones, a local folder or a Hub data set, all as `Example`.

Pictures stay encoded until `load_image` is called, so opening a split costs neither memory nor decoding, and one
damaged picture harms one question. A chart is known by the hash of its bytes: ChartQA asks several questions of one
chart under different file names, and statistics have to know that.
"""

import json
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import blake2b
from pathlib import Path

from PIL import Image

from chartqa_demo.data.cells import KINDS, SPLIT_NAMES, Columns, Kind, answers, kind_of, usual_split
from chartqa_demo.data.folders import Row, named_splits, read_folder
from chartqa_demo.errors import ChartError, DatasetError, whole
from chartqa_demo.images import load_chart, picture_size
from chartqa_demo.settings import BUNDLED_CHARTS, Settings

__all__ = ["KINDS", "Columns", "DatasetError", "Example", "Kind", "LeftOut", "Split", "draw_examples", "open_split"]

USUAL = Columns()  # no column chosen by hand
CUT, CUT_SEED = ("all", "train", "val", "test"), 0

PUBLISHERS = ("Statista", "OECD", "Our World in Data", "Pew")  # ChartQA's sources (arXiv 2203.10244, section 3.1)


@dataclass(frozen=True)
class Example:
    """One question about one chart.

    id: "test/17", stable for a data set; chart: hash of the picture's bytes; question: empty for a chart alone; gold:
    accepted answers, mostly one, none where it is not known; kind: written by a person or by a machine; source: who
    published the chart, or what a bundled chart looks like; read: the encoded picture; file_name: what the data set
    calls the picture, where it says so.
    """

    id: str
    chart: str
    question: str
    gold: tuple[str, ...]
    kind: Kind
    source: str
    read: Callable[[], bytes] = field(repr=False, compare=False)
    file_name: str = ""

    def load_image(self) -> Image.Image:
        """The chart in RGB. Raises ChartError with the reason when it cannot be decoded."""
        return load_chart(self.read())

    def image_size(self) -> tuple[int, int]:
        """(width, height) in pixels as the header says, without decoding; (0, 0) for a picture nobody can open."""
        try:
            return picture_size(self.read())
        except (OSError, ChartError):
            return (0, 0)


@dataclass(frozen=True)
class LeftOut:
    """A row that cannot be used. where: "metadata.csv line 3"; why: a clause."""

    where: str
    why: str


@dataclass(frozen=True)
class Split:
    """The examples of one split in the order of the data set. note: what was found, in a sentence, empty for the
    bundled charts; left_out: the rows that cannot be used, each with its file, line and reason; splits: all that the
    data set has, where reading it told."""

    dataset: str
    name: str
    examples: tuple[Example, ...]
    note: str = ""
    left_out: tuple[str, ...] = ()
    splits: tuple[str, ...] = ()

    @property
    def has_questions(self) -> bool:
        """Whether there is anything to ask; pictures alone are for the Compare page."""
        return any(one.question for one in self.examples)

    def __len__(self) -> int:
        return len(self.examples)

    def __iter__(self) -> Iterator[Example]:
        return iter(self.examples)

    def __getitem__(self, index: int) -> Example:
        return self.examples[index]

    def by_id(self, example_id: str) -> Example:
        """The example with this id. Raises KeyError."""
        return self._ids[example_id]

    def questions_of(self, chart: str) -> tuple[Example, ...]:
        """Every question about one chart, in the order of the data set; empty for an unknown chart."""
        return tuple(self._charts.get(chart, ()))

    def random_example(self, kind: Kind | None = None, seed: int | None = None) -> Example:
        """One example, each chart equally likely whatever the number of its questions. Raises DatasetError."""
        of_kind = [one for one in self.examples if kind in (None, one.kind)]
        if not of_kind:
            raise DatasetError(f"The split {self.name} of {self.dataset} has no question of the kind “{kind}”.")
        chooser = random.Random(seed)
        chart = chooser.choice(list(dict.fromkeys(one.chart for one in of_kind)))
        return chooser.choice([one for one in of_kind if one.chart == chart])

    @cached_property
    def _ids(self) -> dict[str, Example]:
        return {one.id: one for one in self.examples}

    @cached_property
    def _charts(self) -> dict[str, list[Example]]:
        charts: dict[str, list[Example]] = {}
        for one in self.examples:
            charts.setdefault(one.chart, []).append(one)
        return charts


def open_split(dataset: str, split: str = "test", columns: Columns = USUAL) -> Split:
    """One split of "bundled", of charts of one's own (a folder or a table, see `folders`), of a folder in the Hub's
    layout or a saved one, or of a Hub data set (fetched once and cached; see `stored`).

    split: a name as usual ("val" is "validation"), "all", a slice as `datasets` reads it ("test[:100]"), or "auto":
    test, or everything where there are no splits. Where there is one only, train, val and test are cut off by chart.
    columns: names, where they are not the usual ones. A row that cannot be used is left out and told in the split's
    note. Raises DatasetError: no such data set or split, missing columns, nothing reachable.
    """
    if dataset == "bundled":
        return _open_bundled(BUNDLED_CHARTS, "test" if split in ("auto", "all") else split)
    from chartqa_demo.data import stored

    place = Path(dataset).expanduser()
    if not place.exists() or stored.is_stored(place):
        return stored.open_stored(dataset, split, columns)
    return open_folder(dataset, split, columns)


def open_folder(dataset: str, split: str, columns: Columns = USUAL) -> Split:
    """`open_split` of a folder of pictures and tables, or of one table, whatever else lies there: of a stranger's
    folder nothing is handed to `datasets`, which fetches what its files name. Raises DatasetError."""
    found = read_folder(Path(dataset).expanduser(), columns)
    rows: dict[str, list[Example | LeftOut]] = {}
    named = named_splits(found.rows)
    charts: dict[Path, str] = {}
    for row in found.rows:
        name = row.split or ("train" if named else "all")
        part = rows.setdefault(name, [])
        part.append(_example_of(row, f"{name}/{len(part)}", found.original, charts))
    return pick(rows, split, dataset, found.about)


def chosen_columns(settings: Settings) -> Columns:
    """The columns that the settings choose by hand."""
    return Columns(settings.image_column, settings.question_column, settings.answer_column)


def split_names(dataset: str, columns: Columns = USUAL) -> tuple[str, ...]:
    """The splits of a data set, as its own files say. Raises DatasetError when they cannot be read."""
    if dataset == "bundled":
        return ("test",)
    from chartqa_demo.data import stored

    place = Path(dataset).expanduser()
    if not place.exists() or stored.is_stored(place):
        return stored.stored_names(dataset)
    named = named_splits(read_folder(place, columns).rows)
    return CUT if named in ([], ["train"]) else tuple(named)


def pick(rows: Mapping[str, Sequence["Example | LeftOut"]], split: str, dataset: str, about: str) -> Split:
    """One split out of all that a data set has. Where there is one only ("all" or "train"), train, val and test are
    cut off by chart. about: what was read, in words. Raises DatasetError."""
    parts = {name: list(part) for name, part in rows.items()}
    cut = parts.keys() <= {"all", "train"}
    whole = [one for part in rows.values() for one in part]
    if cut:
        parts = {"all": whole, **_cut_by_chart(whole)}
    name = split.strip()
    if name == "auto":
        name = "test" if "test" in parts and not cut else "all"
    name = usual_split(name)
    if name == "all":
        picked = whole
    elif name in parts:
        picked = parts[name]
    else:
        picked = _slice(parts, name, dataset)
    usable = {isinstance(one, Example) for one in whole}
    if cut and name in parts and True in usable and not any(isinstance(one, Example) for one in picked):
        raise DatasetError(
            f"{called(dataset)} has too few charts to cut off a split “{name}”; take --split all to ask about them; "
            "to train on them, bring three charts at least."
        )
    return replace(told(dataset, name, picked, about, cut), splits=CUT if cut else tuple(rows))


def told(dataset: str, name: str, rows: Sequence["Example | LeftOut"], about: str, cut: bool = False) -> Split:
    """The split with its note; rows that cannot be used are left out. Raises DatasetError when none is left."""
    examples = tuple(one for one in rows if isinstance(one, Example))
    left_out = tuple(f"{one.where}: {one.why}" for one in rows if isinstance(one, LeftOut))
    if not examples:
        first = f": {left_out[0]}" if left_out else ""
        raise DatasetError(f"{called(dataset)}, split {name}, has no row that can be used{first}.")
    charts = len({one.chart for one in examples})
    asked = any(one.question for one in examples)
    parts = [
        f"{called(dataset)}, {name}: "
        + (
            f"{len(examples):,} questions about {charts:,} charts from {about}"
            if asked
            else f"{charts:,} charts without questions"
        )
    ]
    if cut and name != "all":
        parts.append(f"cut off by chart with seed {CUT_SEED}, because the data set has one split only")
    unscored = sum(bool(one.question and not one.gold) for one in examples)
    if unscored:
        parts.append(f"{unscored:,} without a gold answer, asked and not scored")
    if left_out:
        parts.append(f"{len(left_out):,} left out, the first is {left_out[0]}")
    return Split(dataset, name, examples, whole("; ".join(parts)) + ".", tuple(map(whole, left_out)))


def _cut_by_chart(rows: Sequence["Example | LeftOut"]) -> dict[str, list["Example | LeftOut"]]:
    """70, 10 and 20 % of the charts, all questions of a chart in one part; the same for the same charts."""
    charts = {one.chart for one in rows if isinstance(one, Example)}
    order = sorted(charts, key=lambda chart: chart_id(f"{CUT_SEED}/{chart}".encode()))
    tests, vals = max(1, round(0.2 * len(order))), max(1, round(0.1 * len(order)))
    part_of = dict.fromkeys(order, "train")
    if len(order) >= 3:
        part_of |= dict.fromkeys(order[:tests], "test") | dict.fromkeys(order[tests : tests + vals], "val")
    return {
        name: [one for one in rows if isinstance(one, LeftOut) or part_of[one.chart] == name]
        for name in ("train", "val", "test")
    }


def _slice(parts: Mapping[str, list["Example | LeftOut"]], spec: str, dataset: str) -> list["Example | LeftOut"]:
    """The rows of "test[:10%]" or "train+val", as `datasets` reads it. Raises DatasetError."""
    order = list(SPLIT_NAMES.values())
    names = ", ".join(sorted(parts, key=lambda name: order.index(name) if name in order else -1))
    if not re.search(r"[\[+]", spec):
        raise DatasetError(f"{called(dataset)} has no split “{spec}”; its splits are {names}.")
    from datasets import ReadInstruction

    spec = re.sub(r"[A-Za-z]+", lambda word: usual_split(word[0]), spec)
    try:
        wanted = ReadInstruction.from_spec(spec).to_absolute({name: len(part) for name, part in parts.items()})
    except (ValueError, AssertionError, KeyError) as error:
        raise DatasetError(f"{called(dataset)} has no split “{spec}”; its splits are {names}.") from error
    return [one for step in wanted for one in parts[step.splitname][step.from_ : step.to]]


def draw_examples(
    examples: Split | Sequence[Example], limit: int | None = None, seed: int = 0, kind: Kind | None = None
) -> list[Example]:
    """At most `limit` examples of `kind`, drawn without replacement by `seed`, in the order of the data set.

    The same arguments give the same examples on every machine; limit None takes all.
    """
    of_kind = [one for one in examples if kind in (None, one.kind)]
    if limit is None or limit >= len(of_kind):
        return of_kind
    return [of_kind[index] for index in sorted(random.Random(seed).sample(range(len(of_kind)), limit))]


def chart_id(data: bytes | memoryview) -> str:
    """The identity of a picture: 12 hexadecimal digits of the hash of its encoded bytes."""
    return blake2b(data, digest_size=6).hexdigest()


def _open_bundled(folder: Path, split: str) -> Split:
    rows_file = folder / "qa.jsonl"
    if split != "test":
        raise DatasetError(f"The bundled charts have one split, test; there is no “{split}”.")
    if not rows_file.is_file():
        raise DatasetError(f"The bundled charts are missing from {folder}. Check out the repository completely.")
    charts: dict[str, str] = {}
    examples = []
    for line in rows_file.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        picture = folder / row["image"]
        if row["image"] not in charts:
            charts[row["image"]] = chart_id(picture.read_bytes())
        examples.append(
            Example(
                id=str(row["id"]),
                chart=charts[row["image"]],
                question=row["query"],
                gold=answers(row["label"]),
                kind=kind_of(row["human_or_machine"]),
                source=row["kind"],
                read=picture.read_bytes,
                file_name=row["image"],
            )
        )
    return Split("bundled", split, tuple(examples))


def _example_of(row: Row, name: str, original: bool, charts: dict[Path, str]) -> Example | LeftOut:
    """A row of a folder; charts: what is known of pictures already."""
    if row.fault:
        return LeftOut(row.where, row.fault)
    if row.picture not in charts:
        try:
            charts[row.picture] = chart_id(row.picture.read_bytes())
        except OSError as error:
            return LeftOut(row.where, f"its picture cannot be read ({error.strerror or error})")
    return Example(
        id=name,
        chart=charts[row.picture],
        question=row.question,
        gold=row.gold,
        kind=row.kind,
        source=publisher(row.picture.name) if original else "other",
        read=row.picture.read_bytes,
        file_name=row.picture.name,
    )


def publisher(file_name: str) -> str:
    """Which of PUBLISHERS published a ChartQA chart, as its file name tells: Our World in Data's are long numbers,
    Pew's short ones. "other" where it does not tell."""
    if re.match(r"(two|multi)_col_", file_name):
        return "Statista"
    if file_name.startswith("OECD_"):
        return "OECD"
    if re.match(r"\d{14}\.", file_name):
        return "Our World in Data"
    return "Pew" if re.match(r"\d{1,6}\.", file_name) else "other"


def called(dataset: str) -> str:
    """A folder by its name, a Hub id as it is."""
    return Path(dataset).expanduser().resolve().name if Path(dataset).expanduser().exists() else dataset
