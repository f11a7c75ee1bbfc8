"""What trainings leave behind, made by somebody else: adapters among the runs, and trackio's store."""

import json
import os
import random
import shutil
import sqlite3
import struct
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from bench.reliability.attack import ASIDE, DEEP, SHOWN, Attempts, as_page, as_text, sentence
from bench.reliability.attack.files import NAMES, NO_FILES, fresh, put, spoilt, whole_files
from bench.reliability.hostile import TEXTS
from chartqa_demo.adapters.check import check_base, check_weights, find_adapter
from chartqa_demo.adapters.runs import finished_adapters, read_run, run_names
from chartqa_demo.errors import EngineError, HubError
from chartqa_demo.settings import BUNDLED_ADAPTER
from chartqa_demo.ui.training.tab import run_html, run_title

# --- adapters ---


def headers(good: bytes) -> Iterator[tuple[str, bytes]]:
    """Weights whose head is another."""
    size = struct.unpack("<Q", good[:8])[0]
    head, data = json.loads(good[8 : 8 + size]), good[8 + size :]

    def made(new: Any) -> bytes:
        text = new if isinstance(new, bytes) else json.dumps(new).encode()
        return struct.pack("<Q", len(text)) + text + data

    first = next(name for name in head if name != "__metadata__")
    one = head[first]
    yield "head of 2**63 bytes", struct.pack("<Q", 2**63) + good[8:]
    yield "head of 90 MB", struct.pack("<Q", 90 * 10**6) + good[8:]
    yield "no head", b""
    yield "head of 100,000 levels", made(DEEP.encode())
    yield "names of 4,000 letters", made({f"{first}{'x' * 4000}{k}": one for k in range(20)})
    yield "100,000 names", made({f"base_model.model.x{k}.lora_A.weight": {**one, "data_offsets": [0, 0], "shape": [0]}
                                 for k in range(100_000)})  # fmt: skip
    yield "a name in two lines", made({first.replace(".lora", "\n<b>.lora"): one})
    yield "a name with half a pair", made(json.dumps({"\ud800" + first: one}).encode())
    yield "twice the name", made(json.dumps({first: one}).encode()[:-1] + b"," + json.dumps({first: one}).encode()[1:])
    yield "sizes that overflow", made({**head, first: {**one, "shape": [2**40, 2**40]}})
    yield "negative sizes", made({**head, first: {**one, "shape": [-1, 4]}})
    yield "places outside", made({**head, first: {**one, "data_offsets": [2**60, 2**61]}})
    yield "places that overlap", made(dict.fromkeys(list(head), one))
    yield "another type", made({**head, first: {**one, "dtype": "<b>"}})
    yield "a deep description", made({**head, "__metadata__": {"a": "x" * 10**6}})


def adapters(rng: random.Random, folder: Path, many: int) -> Attempts:
    """Folders of adapters among the runs: configs, contracts, weights, and names."""
    good = {path.name: path.read_bytes() for path in BUNDLED_ADAPTER.iterdir() if path.is_file()}
    config, contract, weights = "adapter_config.json", "chartqa_contract.json", "adapter_model.safetensors"

    def attempt(write: Callable[[Path], object], name: str = "run", file: str = "") -> str:
        runs = fresh(folder / "runs")
        there = runs / name
        there.mkdir()
        for one, data in good.items():
            if one != file:
                put(there / one, data)
        write(there / file)
        listed = finished_adapters(runs)
        as_text(*(one.title for one in listed), *(str(one.folder) for one in listed))
        try:
            found = find_adapter(str(there), None)
            check_base(found, "bundled")
            check_weights(found, None)
        except (HubError, EngineError) as error:
            return sentence(error)
        return SHOWN if listed else ASIDE

    for file in (config, contract):
        tree = json.loads(good[file])
        for _ in range(many):
            told, new = spoilt(rng, tree)
            write = partial(put, what=json.dumps(new, default=str))
            yield f"{file}: {told}", partial(attempt, write, file=file)
        for told, what in whole_files(good[file].decode()):
            yield f"{file}: {told}", partial(attempt, partial(put, what=what), file=file)
    for told, what in headers(good[weights]):
        yield f"{weights}: {told}", partial(attempt, partial(put, what=what), file=weights)
    for file in (config, contract, weights):
        for told, make in NO_FILES.items():
            yield f"{file}: {told}", partial(attempt, make, file=file)
    for name in NAMES:
        yield f"a run named {name!r}", partial(attempt, lambda _: None, name)
    tree = json.loads(good[config])
    starred = {f".*{k}x.*".replace(".*x.*", ".*"): 8 for k in range(1024)}
    for told, patterns in {
        "1,024 alphas with a star": {f".*l{k}": 8 for k in range(1024)},
        "1,024 alphas of names": {f"model.layers.{k}.self_attn.q_proj": 8 for k in range(1024)},
        "1,024 long alphas": {f"{'a.' * 90}{k}": 8 for k in range(1024)},
        "1,024 alphas of digits": {f"\\d+{k}": 8 for k in range(1024)},
        "stars on both sides": starred,
        "an alpha that backtracks": {"(a+)+$": 8},
        "an alpha of dots": {"." * 150: 8},
        "an alpha of one": {"^": 8, "$": 9, "": 8},
    }.items():
        write = partial(put, what=json.dumps({**tree, "alpha_pattern": patterns}))
        yield f"{config}: {told}", partial(attempt, write, file=config)


# --- runs of trackio ---


def store_of(folder: Path) -> Path:
    """trackio's folder; it is a constant of its module from the first import on."""
    os.environ.setdefault("TRACKIO_DIR", str(folder / "trackio"))
    from trackio.sqlite_storage import SQLiteStorage

    SQLiteStorage.get_projects()
    from trackio import utils

    return Path(utils.TRACKIO_DIR)


def look_at_runs() -> str:
    """What the Training tab does every three seconds."""
    names = run_names()
    as_text(*(run_title(*one) for one in names))
    as_page(*(run_html(read_run(*one)) for one in names))
    return SHOWN if names else ASIDE


def runs(rng: random.Random, folder: Path, many: int) -> Attempts:
    """trackio's files, written by somebody else."""
    store = store_of(folder)
    from trackio.sqlite_storage import SQLiteStorage

    step = "train/global_step"
    keys = (step, "train/loss", "eval/loss", "train/epoch", "train/learning_rate", "eval/accuracy_adapter")
    figures = [0, 1, -1, 1e308, -1e308, 5e-324, -5e-324, 1e-323, 2.0**-1074, 1e99, 9.9e99, -9.9e99, 1e16, 1e16 + 2]
    figures += [float("nan"), float("inf"), "<b>", "1", None, [1], {"a": 1}, True, "1e400", "٣", 1e-300, 1 + 1e-16]

    def logged(rows: list[dict[str, Any]], project: str = "p", name: str = "n", config: Any = None) -> str:
        fresh(store)
        SQLiteStorage.bulk_log(project, name, rows, config=config or {"num_train_epochs": 3})
        return look_at_runs()

    def edited(sql: str, *bound: Any) -> str:
        fresh(store)
        SQLiteStorage.bulk_log("p", "n", [{step: 1, "train/loss": 2.0}], config={"num_train_epochs": 3})
        SQLiteStorage.bulk_log("q", "m", [{step: 1, "train/loss": 2.0}], config={"num_train_epochs": 3})
        for path in store.glob("p.db"):
            with sqlite3.connect(path) as base:
                base.execute(sql, bound)
            base.close()
        return look_at_runs()

    def beside(make: Callable[[Path], object]) -> str:
        fresh(store)
        SQLiteStorage.bulk_log("q", "m", [{step: 1, "train/loss": 2.0}])
        make(store / "p.db")
        return look_at_runs()

    for _ in range(many):
        rows = [{key: rng.choice(figures) for key in keys} for _ in range(rng.randint(1, 4))]
        config = {"num_train_epochs": rng.choice(figures), "max_steps": rng.choice(figures)}
        yield f"figures {repr(rows)[:60]}", partial(logged, rows, config=config)
    for one in figures:
        rows = [{step: 1, "train/loss": 1.0}, {step: 2, "train/loss": one}]
        yield f"a loss of {one!r}", partial(logged, rows)
        yield f"only a loss of {one!r}", partial(logged, rows[1:])
        yield f"a step {one!r}", partial(logged, [{step: one, "train/loss": 1.0}, {step: 2, "train/loss": 2.0}])
    for name in (*TEXTS.values(), *NAMES):
        if len(name) < 2000 and name.isprintable():
            yield f"a run named {name[:30]!r}", partial(logged, [{step: 1, "train/loss": 2.0}], name=name)
    for column, harm in (("timestamp", ["x", "", "9999-12-31T23:59:59.999999+00:00", "0001-01-01T00:00:00+14:00",
                                       7, b"\xff", "2026-13-01"]),
                         ("metrics", ["", "{", "[]", "null", "7", DEEP, b"\xff", '{"train/global_step": 1e999}',
                                      '{"train/loss": NaN}', '{"a": "\\ud800"}']),
                         ("run_name", [b"\xff", "\u202e", 7, "x" * 10**6])):  # fmt: skip
        for one in harm:
            yield f"{column} is {repr(one)[:30]}", partial(edited, f"UPDATE metrics SET {column} = ?", one)
    for one in ("", "{", "[]", "7", DEEP, b"\xff", '{"num_train_epochs": "x"}'):
        yield f"config is {repr(one)[:30]}", partial(edited, "UPDATE configs SET config = ?", one)
    yield "no table", partial(edited, "DROP TABLE metrics")
    yield "another table", partial(edited, "ALTER TABLE metrics RENAME COLUMN timestamp TO x")
    for told, what in (("empty", b""), ("rubbish", os.urandom(5000)), ("cut", b"SQLite format 3\0" + bytes(500))):
        yield f"a store: {told}", partial(beside, partial(put, what=what))
    for told, make in NO_FILES.items():
        yield f"a store: {told}", partial(beside, make)
    for name in NAMES:
        yield (
            f"a store named {name!r}",
            partial(beside, lambda path, name=name: shutil.copy(store / "q.db", path.with_name(f"{name}.db"))),
        )
