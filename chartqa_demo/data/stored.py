"""What the `datasets` library reads: data sets of the Hub, folders of parquet files, folders of `save_to_disk`.

Parquet and Arrow keep types, so an answer 0.10 that somebody saved as a number is 0.1 here.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from chartqa_demo.data.cells import Columns, answers, cell_of, fault_of, find_columns, kind_of, usual_split, written
from chartqa_demo.data.folders import Pictures
from chartqa_demo.data.splits import CUT, Example, LeftOut, Split, called, chart_id, pick, publisher, told
from chartqa_demo.data.strict import bytes_of, check, from_json
from chartqa_demo.errors import DatasetError, first_line, shown
from chartqa_demo.images import MAX_BYTES


def is_stored(place: Path) -> bool:
    """Whether an existing file or folder is one that `datasets` reads."""
    if place.is_file():
        return place.suffix.lower() == ".parquet"
    return is_saved(place) or any(
        file.is_file() for depth in range(4) for file in place.glob(f"{'*/' * depth}*.parquet")
    )


def is_saved(place: Path) -> bool:
    """Whether a folder was written by `save_to_disk`."""
    return (place / "dataset_dict.json").is_file() or (place / "state.json").is_file()


def open_stored(dataset: str, split: str, wish: Columns) -> Split:
    """See `open_split`. Raises DatasetError."""
    place = Path(dataset).expanduser()
    if is_saved(place):
        saved = {name: _examples(rows, name, dataset, wish) for name, rows in _saved(place).items()}
        return pick(saved, split, dataset, "a saved data set")
    name = "test" if split == "auto" else usual_split(split)
    if name == "all":
        names = stored_names(dataset)
        name = "train" if names == CUT else "+".join(names)
        return told(dataset, "all", _examples(_load(dataset, name), "all", dataset, wish), "its parquet files")
    known: list[str] = []
    try:
        rows = _load(dataset, name)
        known = list(rows.info.splits or {})
    except UnknownSplit as error:
        known = error.known
        same = [one for one in known if usual_split(one) == name]
        if not same and (known != ["train"] or name not in CUT):
            raise
        rows = _load(dataset, same[0] if same else "train")
    examples = _examples(rows, "train" if known == ["train"] else name, dataset, wish)
    if known == ["train"] and name in CUT:
        return pick({"train": examples}, split, dataset, "its one split")
    return told(dataset, name, examples, f"columns {find_columns(rows.column_names, wish, dataset).told()}")


def stored_names(dataset: str) -> tuple[str, ...]:
    """The splits of a data set; those that can be cut off where there is a training split only. Raises DatasetError."""
    import datasets

    place = Path(dataset).expanduser()
    if is_saved(place):
        names = tuple(_saved(place))
    elif place.is_file():
        names = ("train",)
    else:
        name = _name_or_folder(dataset)
        try:
            with _hub_in_time(name, dataset):
                names = tuple(map(str, datasets.get_dataset_split_names(name)))
        except Exception as error:  # as in _load
            raise DatasetError(f"The splits of {called(dataset)} could not be read: {_why(error)}.") from error
    return CUT if names in (("train",), ("all",)) else names


class UnknownSplit(DatasetError):
    """There is no such split; known: those there are."""

    known: list[str]


def _examples(rows: Any, split: str, dataset: str, wish: Columns) -> list[Example | LeftOut]:
    """The rows of one split as examples; one that cannot be used is left out. Raises DatasetError."""
    try:
        return _read_rows(rows, split, dataset, wish)
    except DatasetError:
        raise
    except Exception as error:  # whatever pyarrow says of a day in the year 300,000, or a zone of Mars
        raise DatasetError(f"The split {split} of {called(dataset)} could not be read: {_why(error)}.") from error


def _read_rows(rows: Any, split: str, dataset: str, wish: Columns) -> list[Example | LeftOut]:
    import datasets

    columns = find_columns(rows.column_names, wish, dataset)
    image = str(columns.image)
    place = Path(dataset).expanduser()
    root = (place if place.is_dir() else place.parent).resolve() if place.exists() else None
    try:
        rows = rows.cast_column(image, datasets.Image(decode=False))
    except (TypeError, ValueError, KeyError, NotImplementedError) as error:
        raise DatasetError(
            f"The column “{image}” of {called(dataset)} holds no pictures: {first_line(error)}."
        ) from error
    pictures = rows.select_columns([image])
    questions = rows.remove_columns([image])
    beside = None if root is None else Pictures(root, [])
    examples: list[Example | LeftOut] = []
    for index, (row, (chart, path)) in enumerate(zip(questions, _charts(pictures, image, beside), strict=True)):
        question, answer = cell_of(row, columns.question), cell_of(row, columns.answer)
        fault = str(chart) if isinstance(chart, DatasetError) else fault_of(question, answer)
        if fault is not None:
            examples.append(LeftOut(f"{split} row {index}", fault))
        else:
            examples.append(
                Example(
                    id=f"{split}/{index}",
                    chart=str(chart),
                    question=written(question),
                    gold=answers(answer),
                    kind=kind_of(cell_of(row, columns.kind)) if columns.kind else "unknown",
                    source=publisher(path),
                    read=_Picture(pictures, image, index, beside),
                    file_name=path,
                )
            )
    return examples


def _load(dataset: str, split: str) -> Any:
    import datasets
    from datasets.exceptions import DatasetNotFoundError

    name = _name_or_folder(dataset)
    try:
        with _hub_in_time(name, dataset):
            if Path(name).is_file():
                return datasets.load_dataset("parquet", data_files=name, split=split, cache_dir=_cache_of(Path(name)))
            if not Path(name).is_dir():
                return datasets.load_dataset(name, split=split)
            cache = _cache_of(Path(name))
            _check_files(datasets.load_dataset_builder(name, cache_dir=cache).config.data_files or {}, Path(name))
            return datasets.load_dataset(name, split=split, cache_dir=cache)
    except DatasetError:
        raise
    except DatasetNotFoundError as error:
        raise DatasetError(
            f"There is no data set {dataset} on the Hub, or it is private or gated; see `hf auth login`."
        ) from error
    except ConnectionError as error:  # of requests, too, and what `datasets` raises when it is told to stay offline
        raise DatasetError(
            f"The Hub cannot be reached and {dataset} is not in the cache; take a local folder or bundled."
        ) from error
    except Exception as error:  # whatever `datasets`, pyarrow and yaml raise for a stranger's files
        known = re.search(r"Should be one of (\[.*\])", str(error))
        if known:
            unknown = re.findall(r"'([^']+)'", known[1])
            fault = UnknownSplit(f"{dataset} has no split “{split}”; its splits are {', '.join(unknown)}.")
            fault.known = unknown
            raise fault from error
        raise DatasetError(f"The split {split} of {called(dataset)} could not be read: {_why(error)}.") from error


def _why(error: Exception) -> str:
    """What it says, or its cause does, where `datasets` says only that something happened; where YAML is at fault."""
    told = first_line(error.__cause__ or error)
    if isinstance(error, AttributeError | IndexError | RecursionError):
        told = "its files are not those of a data set"
    mark = getattr(error, "problem_mark", None)
    return f"its README.md has no valid YAML in line {mark.line + 2}: {told}" if mark else told


def _check_files(files: Mapping[Any, Sequence[str]], folder: Path) -> None:
    """Raises DatasetError for a file outside of the folder, which its README or a link can name."""
    for file in (Path(one) for part in files.values() for one in part):
        if not file.resolve().is_relative_to(folder.resolve()) or not file.is_file():
            raise DatasetError(
                f"{folder.name} names data files outside of itself, {file.name} for one; it is not read."
            )


def _cache_of(place: Path) -> str:
    """Where the tables of a folder or file here are kept once read: a place for every path, size and time of its files.
    `datasets` itself (5.2) knows a folder by its last name, and would answer with another one's rows."""
    from datasets import config

    files = [place] if place.is_file() else sorted(place.rglob("*.parquet"))
    known = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return str(Path(config.HF_DATASETS_CACHE) / "local" / blake2b(repr(known).encode(), digest_size=8).hexdigest())


def _saved(place: Path) -> dict[str, Any]:
    """The splits of a saved folder; one without splits is "all"."""
    import datasets

    try:
        for state in (place / "state.json", *place.glob("*/state.json")):
            files = _object(state)["_data_files"] if state.is_file() else []
            if any(Path(one["filename"]).name != one["filename"] for one in files):
                raise DatasetError(f"{place.name} names data files outside of itself; it is not read.")
        if (place / "dataset_dict.json").is_file():
            names = _object(place / "dataset_dict.json")["splits"]
            if any(Path(name).name != name or name == ".." for name in names):
                raise DatasetError(f"{place.name} names splits outside of itself; it is not read.")
        if odd := [one.name for one in place.rglob("*") if not (one.is_file() or one.is_dir())]:
            raise DatasetError(f"{place.name} holds {shown(odd[0])}, which is no ordinary file; it is not read.")
        found = datasets.load_from_disk(str(place))
    except DatasetError:
        raise
    except Exception as error:  # as in _load
        raise DatasetError(f"The saved data set {place.name} could not be read: {_why(error)}.") from error
    if isinstance(found, datasets.DatasetDict):
        return {usual_split(str(name)): rows for name, rows in found.items()}
    return {"all": found}


def _object(file: Path) -> dict[str, Any]:
    check(found := from_json(bytes_of(file)), dict[str, Any], file.name)
    return found


def _hub_in_time(name: str, dataset: str) -> AbstractContextManager[None]:
    """A folder needs no Hub; where there is one, it is not waited for longer than a moment."""
    if name != dataset or Path(dataset).expanduser().exists():
        return nullcontext()
    from chartqa_demo.space.hub import cache_only_when_silent

    return cache_only_when_silent(dataset, "data set", "dataset")


def _name_or_folder(dataset: str) -> str:
    place = Path(dataset).expanduser()
    if place.exists():
        return str(place.resolve())
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
    beside: Pictures | None

    def __call__(self) -> bytes:
        cell = self.rows[self.index][self.column]
        return cell["bytes"] if cell["bytes"] is not None else _file(cell["path"], self.beside).read_bytes()


def _file(path: str | None, beside: Pictures | None) -> Path:
    """The file of a picture that is only named: `datasets`' own for the Hub, inside of the folder for a folder's."""
    if not path:
        raise DatasetError("it has no picture")
    found = Path(path) if beside is None else beside.find(path, beside.root)
    if found.stat().st_size > MAX_BYTES:
        raise DatasetError(f"its picture has more than {MAX_BYTES // 2**20} MB")
    return found


def _charts(pictures: Any, column: str, beside: Pictures | None) -> Iterator[tuple[str | DatasetError, str]]:
    """(chart id or what is wrong, file name) of every row; the bytes are hashed where they lie, without a copy."""
    for batch in pictures.with_format("arrow").iter(64):
        for cell in batch[column]:
            if not cell.is_valid:
                yield DatasetError("it has no picture"), ""
                continue
            data, path = cell["bytes"], cell["path"].as_py() or ""
            try:
                encoded = memoryview(data.as_buffer()) if data.is_valid else _file(path, beside).read_bytes()
                yield chart_id(encoded), Path(path).name
            except DatasetError as error:
                yield error, ""
            except OSError as error:
                yield DatasetError(f"its picture cannot be read ({error.strerror or error})"), ""
