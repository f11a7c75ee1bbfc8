"""Data sets and uploads: tables, ZIPs, parquet files and saved sets that are odd, damaged or hostile."""

import io
import json
import random
import shutil
import struct
import zipfile
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

from bench.reliability.attack import DEEP, SHOWN, Attempts, as_text, sentence
from bench.reliability.attack.files import NAMES, NO_FILES, fresh, lines_of, put, spoilt, whole_files
from bench.reliability.hostile import TEXTS, nested
from bench.reliability.pictures import chart, encoded
from chartqa_demo.data.splits import open_split
from chartqa_demo.data.uploads import lay_out
from chartqa_demo.errors import ChartError, DatasetError

PNG = encoded(chart((64, 48)), "PNG")
Make = Callable[[Path], object]


def opened(place: Path, name: str = "all") -> str:
    """What is told of a data set, and whether its first charts can be asked about."""
    try:
        split = open_split(str(place), name)
    except DatasetError as error:
        return sentence(error)
    for one in split.examples[:3]:
        try:
            one.load_image()
        except (ChartError, OSError) as error:
            if not isinstance(error, OSError):
                sentence(error)
    as_text(split.note, split.left_out, [(one.id, one.question, one.gold, one.source, one.kind) for one in split])
    return SHOWN


def tables(rng: random.Random, many: int) -> Iterator[tuple[str, str, bytes | str]]:
    """(what it is, file name, contents) of tables of questions."""
    row = {"image": "a.png", "query": "How many?", "label": ["4", "5"], "human_or_machine": 0}
    for _ in range(many):
        told, new = spoilt(rng, [row, row])
        rows = new if isinstance(new, list) else [new]
        yield f"JSONL: {told}", "qa.jsonl", lines_of(rows)
        yield f"JSON: {told}", "qa.json", json.dumps(new, default=str)
    for depth in range(850, 1000, 3):
        deep = "[" * depth + "]" * depth
        yield f"a question of {depth} levels", "qa.jsonl", f'{{"image": "a.png", "query": {deep}, "label": "1"}}\n'
        yield f"a picture of {depth} levels", "qa.jsonl", f'{{"image": {deep}, "query": "q", "label": "1"}}\n'
    for told, what in whole_files(lines_of([row])):
        for ending in ("jsonl", "json", "csv", "tsv"):
            yield f"{ending}: {told}", f"qa.{ending}", what
    good = "image,query,label\na.png,How many?,4\n"
    for told, what in {
        "NUL in a cell": good.replace("How", "H\0w"),
        "NUL in the head": good.replace("query", "query\0"),
        "a field of 200,000 letters": good.replace("How", "x" * 200_000),
        "an open quote": good + '"' + "x\n" * 50_000,
        "100,000 columns": ",".join(f"c{k}" for k in range(100_000)) + "\n",
        "the same column ten times": "image," * 10 + "query,label\n" + "a.png," * 10 + "q,1\n",
        "half a pair in the head": b"image,query,label,\xed\xa0\x80\na.png,q,1,2\n",
        "returns alone": good.replace("\n", "\r"),
        "formulas": "image,query,label\na.png,=1+1,@SUM(A1)\n",
        "a name of 3,000 letters": good.replace("a.png", "a" * 3000 + ".png"),
        "a name outside": good.replace("a.png", "../../../../etc/passwd"),
        "a list that is evaluated": "image,query,label\na.png,q,\"['x'*10**9]\"\n",
        "a list of 5,000 levels": 'image,query,label\na.png,q,"' + "['" + "[" * 5000 + '"\n',
        "bidi and control": f"image,query,label\na.png,\u202e{TEXTS['control']!r},1\n",
    }.items():
        yield f"CSV: {told}", "qa.csv", what
    odd = json.dumps({"image": "a.png", "query": "q", "label": "1", "\ud800": 1, "x" * 5000: 2})
    yield "JSONL: a column that is half a pair", "qa.jsonl", odd
    yield "JSONL: no column, odd names", "qa.jsonl", json.dumps({"image": 1, "question\ud800": "x", "query": "y"})
    yield (
        "JSONL: 20,000 columns",
        "qa.jsonl",
        json.dumps({"image": "a.png", "query": "q"} | {f"c{k}": k for k in range(20_000)}),
    )


def data_sets(rng: random.Random, folder: Path, many: int) -> Attempts:
    """Folders and files for --dataset."""

    def attempt(name: str, what: bytes | str) -> str:
        there = fresh(folder / "set")
        put(there / "a.png", PNG)
        put(there / name, what)
        return opened(there)

    def made(make: Make, name: str) -> str:
        there = fresh(folder / "set")
        put(there / "a.png", PNG)
        put(there / "qa.csv", "image,query,label\na.png,q,1\n")
        make(there / name)
        return opened(there)

    for told, name, what in tables(rng, many):
        yield f"data set, {told}", partial(attempt, name, what)
    for name in ("qa.csv", "b.csv", "a.png", "c.png", "dataset_dict.json", "state.json", "x.parquet"):
        for told, make in NO_FILES.items():

            def write(path: Path, make: Make = make) -> None:
                path.unlink(missing_ok=True)
                make(path)

            yield f"data set, {name}: {told}", partial(made, write, name)  # fmt: skip
    for name in NAMES:
        yield (
            f"data set, a picture named {name!r}",
            partial(made, lambda path: shutil.copy(path.with_name("a.png"), path), f"{name}.png"),
        )
        yield (
            f"data set, a table named {name!r}",
            partial(made, lambda path: shutil.copy(path.with_name("qa.csv"), path), f"{name}.csv"),
        )
    yield from _parquet(folder)
    yield from _saved(folder)


def _parquet(folder: Path) -> Attempts:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pictures = pa.array([{"bytes": PNG, "path": "a.png"}] * 2)
    now = datetime(2026, 1, 1, tzinfo=timezone.utc)
    odd: dict[str, Any] = {
        "decimals": pa.array([Decimal("1.10"), Decimal("-0.00")]),
        "dates": pa.array([date.max, date.min]),
        "times in ns": pa.array([2**62, -(2**62)], pa.timestamp("ns")),
        "times in s": pa.array([2**53, -(2**53)], pa.timestamp("s")),
        "times somewhere": pa.array([now, now], pa.timestamp("us", "Mars/Olympus")),
        "durations": pa.array([timedelta(days=10**8), timedelta(days=-(10**8))], pa.duration("us")),
        "bytes": pa.array([b"\xff\0", b"4"]),
        "bytes of a kind": pa.array([b"\xff\0\x01", b"4\0\0"], pa.binary(3)),
        "texts that are none": pa.array([b"\xff\xfe", b"\xed\xa0\x80"]).view(pa.utf8()),
        "a dictionary": pa.array(["a", "b"]).dictionary_encode(),
        "long texts": pa.array(["a", "b"], pa.large_string()),
        "views": pa.array(["a", "b"], pa.string_view()),
        "nulls": pa.array([None, None], pa.null()),
        "maps": pa.array([[("a", 1)], []], pa.map_(pa.string(), pa.int64())),
        "structs": pa.array([{"a": 1}, {"a": None}]),
        "lists of structs": pa.array([[{"a": 1}], []]),
        "lists of lists": pa.array([[["1"]], [[]]]),
        "lists with nulls": pa.array([["1", None], None]),
        "half floats": pa.array([1.5, 2.5], pa.float32()).cast(pa.float16()),
        "NaN": pa.array([float("nan"), float("inf")]),
        "true": pa.array([True, None]),
        "64 bits": pa.array([2**64 - 1, 0], pa.uint64()),
        "long": pa.array(["x" * 10**6, "<b>"]),
        "tensors": pa.ExtensionArray.from_storage(
            pa.fixed_shape_tensor(pa.int32(), (2,)), pa.array([[1, 2], [3, 4]], pa.list_(pa.int32(), 2))
        ),
        "JSON": pa.ExtensionArray.from_storage(pa.json_(), pa.array(['{"a": 1}', "[" * 900 + "]" * 900])),
        "ids": pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"\xff" * 16] * 2, pa.binary(16))),
    }
    texts = pa.array(["How many?", "And now?"])

    def attempt(columns: dict[str, Any], metadata: dict[bytes, bytes] | None = None, spoil: bool = False) -> str:
        there = fresh(folder / "parquet")
        table = pa.table(list(columns.values()), names=list(columns))
        table = table.replace_schema_metadata(metadata) if metadata else table
        pq.write_table(table, there / "test-00000-of-00001.parquet")
        if spoil:
            data = bytearray((there / "test-00000-of-00001.parquet").read_bytes())
            for at in range(len(data) // 3, len(data) // 3 + 40):
                data[at] ^= 0x55
            (there / "test-00000-of-00001.parquet").write_bytes(data)
        return opened(there)

    for told, one in odd.items():
        yield f"parquet, questions: {told}", partial(attempt, {"image": pictures, "query": one, "label": texts})
        yield f"parquet, answers: {told}", partial(attempt, {"image": pictures, "query": texts, "label": one})
        yield f"parquet, pictures: {told}", partial(attempt, {"image": one, "query": texts, "label": texts})
        yield (
            f"parquet, kinds: {told}",
            partial(attempt, {"image": pictures, "query": texts, "label": texts, "human_or_machine": one}),
        )
    usual = {"image": pictures, "query": texts, "label": texts}
    for told, column in (("half a pair", "x\u202e"), ("no name", ""), ("a long name", "x" * 10**5), ("HTML", "<b>")):
        yield f"parquet, a column: {told}", partial(attempt, {**usual, column: texts})
    for told, what in {
        "no JSON": b"{",
        "deep": DEEP.encode(),
        "another type": json.dumps({"info": {"features": {"query": {"_type": "os.system"}}}}).encode(),
        "features that are none": json.dumps({"info": {"features": {"query": nested(300)}}}).encode(),
        "pictures that are texts": json.dumps(
            {"info": {"features": {"image": {"dtype": "string", "_type": "Value"}}}}
        ).encode(),
        "bytes": b"\xff\xfe",
    }.items():
        yield f"parquet, metadata: {told}", partial(attempt, usual, {b"huggingface": what})
    yield "parquet, spoilt in the middle", partial(attempt, usual, None, True)
    for told, picture in {
        "paths": {"bytes": None, "path": "/etc/passwd"},
        "paths above": {"bytes": None, "path": "../../x.png"},
        "long paths": {"bytes": None, "path": "x" * 100_000},
        "addresses": {"bytes": None, "path": "http://canary.invalid/x.png"},
        "archives": {"bytes": None, "path": "zip://x.png::http://canary.invalid/x.zip"},
        "nothing": {"bytes": None, "path": None},
        "empty": {"bytes": b"", "path": ""},
        "rubbish": {"bytes": b"\xff" * 100, "path": "\u202e<b>.png"},
    }.items():
        yield (
            f"parquet, pictures: {told}",
            partial(
                attempt,
                {**usual, "image": pa.array([picture] * 2, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))},
            ),
        )


def _saved(folder: Path) -> Attempts:
    import datasets

    whole = fresh(folder / "saved-good")
    made = datasets.Dataset.from_dict({"image": [{"bytes": PNG, "path": "a.png"}], "query": ["q"], "label": ["1"]})
    datasets.disable_progress_bars()
    made.cast_column("image", datasets.Image()).save_to_disk(str(whole))

    def attempt(name: str, make: Make) -> str:
        there = folder / "saved"
        shutil.rmtree(there, ignore_errors=True)
        shutil.copytree(whole, there)
        (there / name).unlink(missing_ok=True)
        make(there / name)
        return opened(there)

    for name in ("state.json", "dataset_info.json", "data-00000-of-00001.arrow", "dataset_dict.json"):
        good = (whole / name).read_bytes().decode("latin-1") if (whole / name).exists() else '{"splits": ["test"]}'
        for told, what in whole_files(good):
            yield f"saved, {name}: {told}", partial(attempt, name, partial(put, what=what))
        for told, make in NO_FILES.items():
            yield f"saved, {name}: {told}", partial(attempt, name, make)
        if name.endswith(".json"):
            rng = random.Random(26)
            for _ in range(30):
                told, new = spoilt(rng, json.loads(good))
                what = json.dumps(new, default=str)
                yield f"saved, {name}: {told}", partial(attempt, name, partial(put, what=what))


def zips() -> Iterator[tuple[str, bytes]]:
    """ZIPs with odd names, and odd ones."""
    good = b"image,query,label\na.png,q,1\n"

    def packed(*files: tuple[str | zipfile.ZipInfo, bytes], how: int = zipfile.ZIP_DEFLATED) -> bytes:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", how) as archive:
            for name, data in files:
                archive.writestr(name, data)
        return out.getvalue()

    usual = (("a.png", PNG), ("qa.csv", good))
    for name in (*NAMES, "con", "a/b/c/d/e/f/g/h", "./x", "a//b", "a/", " ", "CON .csv", "x.csv/a", "a\0b"):
        if "\udcff" not in name:
            yield f"a file {name!r}", packed(*usual, (f"{name}.csv", good), (f"{name}.png", PNG))
    yield "a file that is a folder, too", packed(*usual, ("qa.csv/a.png", PNG), ("a.png/b.csv", good))
    yield "the same name 1,000 times", packed(*[("a.png", PNG)] * 1000, ("qa.csv", good))
    yield "a bomb", packed(*usual, ("b.csv", b"a" * 70 * 2**20))
    yield "many cells", packed(*usual, ("b.csv", b"," * 10**6))
    yield "packed by LZMA", packed(*usual, how=zipfile.ZIP_LZMA)
    yield "packed by bzip2", packed(*usual, how=zipfile.ZIP_BZIP2)
    whole = packed(*usual)
    yield "spoilt", whole[:60] + b"\x55" * 30 + whole[90:]
    yield "cut", whole[:-30]
    yield "with something before", b"MZ" * 3000 + whole
    yield "with something behind", whole + b"x" * 3000
    yield "a ZIP in a ZIP", packed(("a.zip", whole))
    yield "another method", whole.replace(struct.pack("<HH", 0, 8), struct.pack("<HH", 0, 97))
    info = zipfile.ZipInfo("pipe.csv")
    info.external_attr = 0o010644 << 16
    yield "a pipe", packed(*usual, (info, b""))
    dated = zipfile.ZipInfo("b.csv")
    dated.date_time = (2107, 15, 31, 31, 63, 63)
    yield "a date that is none", packed(*usual, (dated, good))
    extra = zipfile.ZipInfo("b.csv")
    extra.extra = b"\x01\0\xff\xff"
    yield "an extra that is cut", packed(*usual, (extra, good))


def uploads(rng: random.Random, folder: Path, many: int) -> Attempts:
    """What visitors upload in Evaluate."""

    def attempt(given: list[tuple[str, bytes | str]]) -> str:
        came, there = fresh(folder / "came"), folder / "laid"
        shutil.rmtree(there, ignore_errors=True)
        files = [(put(came / str(number), what), name) for number, (name, what) in enumerate(given)]
        try:
            lay_out(files, there)
        except DatasetError as error:
            if there.exists():
                raise AssertionError("what was refused is still there") from error
            return sentence(error)
        for path in there.rglob("*"):
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                raise AssertionError(f"{path} is no file")
        return opened(there)

    for told, name, what in tables(rng, many):
        yield f"upload, {told}", partial(attempt, [(name, what), ("a.png", PNG)])
    for told, what in zips():
        yield f"upload, ZIP: {told}", partial(attempt, [("x.zip", what)])
        yield f"upload, {told}, named by HTML", partial(attempt, [(f"{TEXTS['picture']}\n.zip", what)])
    for name in (*NAMES, *TEXTS.values(), "..", "/", "a" * 5000):
        for ending in (".csv", ".png", ".zip", ""):
            yield (
                f"upload named {name[:30]!r}{ending}",
                partial(
                    attempt, [(f"{name}{ending}", PNG), ("a.png", PNG), ("qa.csv", "image,query,label\na.png,q,1\n")]
                ),
            )
