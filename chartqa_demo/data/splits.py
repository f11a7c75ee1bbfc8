"""Charts with questions and gold answers: the bundled ones, a local folder or a Hub data set, all as `Example`.

Pictures stay encoded until `load_image` is called, so opening a split costs neither memory nor decoding, and one
damaged picture harms one question. A chart is known by the hash of its bytes: ChartQA asks several questions of one
chart under different file names, and statistics have to know that.
"""

import json
import random
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from chartqa_demo.images import FORMATS, load_chart
from chartqa_demo.settings import BUNDLED_CHARTS

Kind = Literal["human", "machine"]
KINDS: tuple[Kind, ...] = ("human", "machine")

# HuggingFaceM4/ChartQA names its columns as on the left of each, lmms-lab/ChartQA as on the right.
COLUMNS = {"image": ("image",), "query": ("query", "question"), "label": ("label", "answer")}
KIND_COLUMNS = ("human_or_machine", "type")

PUBLISHERS = ("Statista", "OECD", "Our World in Data", "Pew")  # ChartQA's sources (arXiv 2203.10244, section 3.1)


class DatasetError(ValueError):
    """The charts asked for cannot be had; the message is one sentence with the way out."""


@dataclass(frozen=True)
class Example:
    """One question about one chart.

    id: "test/17", stable for a data set; chart: hash of the picture's bytes; gold: accepted answers, mostly one;
    kind: written by a person or by a machine; source: who published the chart, or what a bundled chart looks like;
    read: the encoded picture; file_name: what the data set calls the picture, where it says so.
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
        """The chart in RGB. Raises images.ChartError with the reason when it cannot be decoded."""
        return load_chart(self.read())

    def image_size(self) -> tuple[int, int]:
        """(width, height) in pixels as the header says, without decoding; (0, 0) for a picture nobody can open."""
        try:
            with Image.open(BytesIO(self.read()), formats=FORMATS) as image:
                return image.size
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            return (0, 0)


@dataclass(frozen=True)
class Split:
    """The examples of one split in the order of the data set."""

    dataset: str
    name: str
    examples: tuple[Example, ...]

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


def open_split(dataset: str, split: str = "test") -> Split:
    """One split of "bundled", of a local folder in the Hub's layout, or of a Hub data set (fetched once and cached).

    `split` may be a slice as `datasets` reads it ("test[:100]"). Raises DatasetError: no such data set or split,
    missing columns, nothing reachable.
    """
    if dataset == "bundled":
        return _open_bundled(BUNDLED_CHARTS, split)
    return _open_hub_layout(dataset, split)


def split_names(dataset: str) -> tuple[str, ...]:
    """The splits of a data set, as its own files say. Raises DatasetError when they cannot be read."""
    if dataset == "bundled":
        return ("test",)
    import datasets
    from datasets.exceptions import DatasetNotFoundError

    name = _name_or_folder(dataset)
    try:
        with _hub_in_time(name, dataset):
            return tuple(map(str, datasets.get_dataset_split_names(name)))
    except (DatasetNotFoundError, ConnectionError, ValueError, OSError) as error:
        raise DatasetError(f"The splits of {dataset} could not be read: {_first_line(error)}") from error


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
                gold=_golds(row["label"]),
                kind=_kind(row["human_or_machine"]),
                source=row["kind"],
                read=picture.read_bytes,
                file_name=row["image"],
            )
        )
    return Split("bundled", split, tuple(examples))


def _open_hub_layout(dataset: str, split: str) -> Split:
    rows = _load_rows(dataset, split)
    columns = {name: _column(rows.column_names, names, dataset) for name, names in COLUMNS.items()}
    kind_column = _column(rows.column_names, KIND_COLUMNS, dataset)
    pictures = rows.select_columns([columns["image"]])
    questions = rows.select_columns([columns["query"], columns["label"], kind_column])
    examples = []
    for index, (row, (chart, path)) in enumerate(zip(questions, _chart_ids(pictures, columns["image"]), strict=True)):
        examples.append(
            Example(
                id=f"{split}/{index}",
                chart=chart,
                question=row[columns["query"]],
                gold=_golds(row[columns["label"]]),
                kind=_kind(row[kind_column]),
                source=publisher(path),
                read=_Picture(pictures, columns["image"], index),
                file_name=path,
            )
        )
    return Split(dataset, split, tuple(examples))


def _load_rows(dataset: str, split: str) -> Any:
    import datasets
    from datasets.exceptions import DatasetNotFoundError

    name = _name_or_folder(dataset)
    try:
        with _hub_in_time(name, dataset):
            rows = datasets.load_dataset(name, split=split)
    except DatasetNotFoundError as error:
        raise DatasetError(
            f"There is no data set {dataset} on the Hub, or it is private or gated; see `hf auth login`."
        ) from error
    except ConnectionError as error:  # of requests, too, and what `datasets` raises when it is told to stay offline
        raise DatasetError(
            f"The Hub cannot be reached and {dataset} is not in the cache; take a local folder or bundled."
        ) from error
    except (ValueError, FileNotFoundError, OSError) as error:
        known = re.search(r"Should be one of (\[.*\])", str(error))
        if known:
            splits = ", ".join(re.findall(r"'([^']+)'", known[1]))
            raise DatasetError(f"{dataset} has no split “{split}”; its splits are {splits}.") from error
        raise DatasetError(f"The split {split} of {dataset} could not be read: {_first_line(error)}") from error
    _column(rows.column_names, COLUMNS["image"], dataset)
    return rows.cast_column("image", datasets.Image(decode=False))


def _hub_in_time(name: str, dataset: str) -> AbstractContextManager[None]:
    """A folder needs no Hub; where there is one, it is not waited for longer than a moment."""
    if name != dataset or Path(dataset).expanduser().is_dir():
        return nullcontext()
    from chartqa_demo.space.hub import cache_only_when_silent

    return cache_only_when_silent(dataset, "data set", "dataset")


def _name_or_folder(dataset: str) -> str:
    folder = Path(dataset).expanduser()
    if folder.is_dir():
        return str(folder.resolve())
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", dataset):
        raise DatasetError(
            f"“{dataset}” is neither bundled, nor a folder on this machine, nor a Hub id such as owner/name."
        )
    return dataset


@dataclass(frozen=True)
class _Picture:
    """Reads one row's encoded picture out of the memory-mapped file when it is called."""

    rows: Any
    column: str
    index: int

    def __call__(self) -> bytes:
        cell = self.rows[self.index][self.column]
        return cell["bytes"] if cell["bytes"] is not None else Path(cell["path"]).read_bytes()


def _chart_ids(pictures: Any, column: str) -> Iterator[tuple[str, str]]:
    """(chart id, file name) of every row; the bytes are hashed where they lie, without a copy of each."""
    for batch in pictures.with_format("arrow").iter(64):
        for cell in batch[column]:
            data, path = cell["bytes"], cell["path"].as_py() or ""
            encoded = memoryview(data.as_buffer()) if data.is_valid else Path(path).read_bytes()
            yield chart_id(encoded), Path(path).name


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


def _column(present: Sequence[str], names: Sequence[str], dataset: str) -> str:
    for name in names:
        if name in present:
            return name
    raise DatasetError(
        f"{dataset} has no column “{names[0]}” (its columns are {', '.join(present)}); "
        "ChartQA's are image, query, label and human_or_machine."
    )


def _golds(label: str | Sequence[str]) -> tuple[str, ...]:
    return (label,) if isinstance(label, str) else tuple(label)


def _kind(value: int | str) -> Kind:
    """ChartQA's 0 is human; lmms-lab writes "human_test" and "augmented_test"."""
    return "human" if value == 0 or str(value).startswith("human") else "machine"


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
