"""Impossible values, tried one by one: what was said, in which time, and whether weights were loaded before.

    python -m bench.reliability.values

Each case is a fork of this process, in which a command runs as `python -m` would run it; a start from odd surroundings
is a process of its own. Where a command goes on to load a base model it is stopped there: that is its answer.
"""

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

from bench.reliability import ROOT, save, table

RECIPE = ROOT / "train" / "configs" / "own-charts.yaml"
EVERY = "evaluate, the app, train"
SECONDS = 30  # after which a case has failed
ROWS = 30
IMPORTED = (  # by the forks, so once before: it takes longer than a case
    *(f"chartqa_demo.{name}" for name in ("__main__", "engines.local", "evaluate.__main__", "space.operations", "ui")),
    *("train.__main__", "train.pretrain.legs.training", "train.pretrain.charts"),
)
ADAPTER = ROOT / "chartqa_demo" / "bundled" / "adapter"


class Case(NamedTuple):
    """what: in words; command: train, pretrain, evaluate, the app; argv: its flags; good: it has to be carried out."""

    what: str
    command: str
    argv: Sequence[object]
    good: bool = False


class Outcome(NamedTuple):
    """code: -1 for a traceback, or no end in time; weights: whether a base model was about to be loaded."""

    said: str
    code: int
    seconds: float
    weights: bool


def numbers() -> Iterator[Case]:
    """Numbers, types and places of a training, a leg of pretraining and an evaluation."""
    for name, values in {
        "per_device_train_batch_size": (0, -3),
        "gradient_accumulation_steps": (0,),
        "per_device_eval_batch_size": (0,),
        "num_train_epochs": (0, "nan"),
        "learning_rate": ("nan", "inf", -1, 0, "[1,2]", "much"),
        "warmup_steps": ("nan", -1),
        "max_grad_norm": ("nan", -1),
        "weight_decay": (-1,),
        "lora_r": (0, 10_000),
        "lora_alpha": (0,),
        "lora_dropout": (-1, 1, "nan"),
        "test_sample": (0, -3),
        "accuracy_batch": (0,),
        "max_new_tokens": (0,),
        "save_steps": (0,),
        "max_pixels": (-5, 10**12),
        "seed": (-3, 2**40),
    }.items():
        yield from (Case(f"--{name} {value}", "train", [f"--{name}", value]) for value in values)
    for name in ("train_charts", "val_charts", "test_charts"):
        yield from (Case(f"--{name} {n}", "train", ["--dataset", "generated", f"--{name}", n]) for n in (0, -3))
    for command, name, value in (
        *(("pretrain", "seconds", value) for value in ("nan", "-1")),
        *(("evaluate", "limit", value) for value in ("0", "-3")),
        *(("the app", name, "-5") for name in ("max-pixels", "queue-size")),
    ):
        yield Case(f"--{name} {value}", command, [f"--{name}", value])


def configs(root: Path) -> Iterator[Case]:
    """YAML that is none, or that holds a value of another type; folders that cannot be written."""
    texts = {
        "that does not parse": b"a: [1, 2\nb: }",
        "that is a list": b"- a\n",
        "that is a number": b"5",
        "with a zero byte": b"a: \0",
        "in Latin-1": b"a: caf\xe9",
        "with an unknown key": b"nosuchkey: 1",
    }
    for name, value in {
        "learning_rate": [1e-4, 2e-4],
        "per_device_train_batch_size": [2],
        "seed": None,
        "output_dir": ["a"],
        "dataset": 5,
        "train_split": 7,
        "lora_target_modules": 3,
        "leave_out": 5,
        "train_charts": "many",
    }.items():
        texts[f"with {name} {value!r}"] = f"{name}: {json.dumps(value)}".encode()
    for number, (what, text) in enumerate(texts.items()):
        (path := root / f"{number}.yaml").write_bytes(text)
        yield Case(f"a YAML {what}", "train", ["--config", path])
        if number < 6:
            yield Case(f"a YAML {what}", "pretrain", ["--config", path, "--seconds", 9])
    for number, text in enumerate(("batch: 0", "workers: -2", "mix: 5", "sizes: {vocabulary: 0}", "save_every: x")):
        (path := root / f"leg-{number}.yaml").write_text(text)
        yield Case(f"a YAML with {text}", "pretrain", ["--config", path, "--seconds", 9])
    yield Case("a YAML that is not there", "train", ["--config", root / "none.yaml"])
    (file := root / "a-file").write_text("mine, without a line feed")
    for what, place in {"a file": file, "below a file": file / "x", "/proc/nothing": Path("/proc/nothing")}.items():
        yield Case(f"output folder: {what}", "train", ["--output_dir", place])
        yield Case(f"output folder: {what}", "pretrain", ["--seconds", 9, "--out", place])
        yield Case(f"output: {what}", "evaluate", ["--limit", 2, "--output", place])
        yield Case(f"results folder: {what}", "evaluate", ["--limit", 2, "--results-dir", place])
    yield Case("results folder: a file", "the app", ["--results-dir", file])
    yield Case("corrections: below a file", "the app", ["--corrections", file / "x"])
    yield Case("splits: train[:0]", "train", ["--train_split", "train[:0]"])
    yield Case("splits: no such one", "train", ["--val_split", "dev2"])


def png(number: int) -> bytes:
    """A small picture, another one for each number."""
    from PIL import Image

    data = BytesIO()
    Image.new("RGB", (56, 56), (8 * number, 90, 255 - 8 * number)).save(data, "PNG")
    return data.getvalue()


def folders(root: Path) -> Iterator[tuple[str, Path, str]]:
    """(what, folder, the commands that carry it out) of data sets with cells, files and cards that are none."""
    from datasets import Dataset

    pictures = [{"bytes": png(number), "path": None} for number in range(ROWS)]
    good: dict[str, Any] = {"image": pictures, "query": [f"What is {n}?" for n in range(ROWS)], "label": ["1"] * ROWS}
    cells = {
        "image": (None, 5, [1, 2], "nowhere.png", {"bytes": b"rubbish", "path": None}, {"bytes": b"", "path": None}),
        "query": (None, 7, ["a", "b"], "x" * 20_000),
        "label": (None, 7, [["1"], ["2"]], {"a": 1}, [], "x" * 20_000),
    }

    def stored(what: str, columns: Mapping[str, Any], by: str = "") -> tuple[str, Path, str]:
        folder = root / f"parquet-{len(list(root.iterdir()))}"
        folder.mkdir()
        Dataset.from_dict(dict(columns)).to_parquet(folder / "train.parquet")
        return what, folder, by

    for column, values in cells.items():
        for value in values:
            for place in range(2):
                column_values = [value, *good[column][1:]] if place == 0 else [value] * ROWS
                made = good | {column: column_values}
                told = f"{column} {json.dumps(value, default=str)[:40]} in {'one row' if place == 0 else 'every row'}"
                by = EVERY
                if place and column == "label":
                    by = EVERY if value == 7 else "evaluate, the app" if value in (None, []) else ""
                elif place:  # a picture is decoded when it is asked about; a list is one, its numbers are pixels
                    by = EVERY if value == 7 else "the app" if isinstance(value, dict) or value == [1, 2] else ""
                with suppress(ValueError, TypeError):  # parquet cannot hold both in one column
                    yield stored(f"parquet: {told}", made, by)
    yield stored("parquet: no rows", {name: [] for name in good})
    _, whole, _ = stored("", good)
    data = (whole / "train.parquet").read_bytes()
    half = len(data) // 2
    for what, spoilt in {
        "random bytes in the middle": data[: half - 500] + bytes(range(250)) * 4 + data[half + 500 :],
        "random bytes in the footer": data[:-600] + bytes(range(250)) * 2 + data[-100:],
        "the first half of the file": data[:half],
        "an empty file": b"",
    }.items():
        _, folder, _ = stored("", good)
        (folder / "train.parquet").write_bytes(spoilt)
        yield f"parquet: {what}", folder, ""
    for what, text in {
        "that does not parse": b"---\na: [1\n---\n",
        "with configs: 5": b"---\nconfigs: 5\n---\n",
        "with features that are none": b"---\ndataset_info:\n  features: x\n---\n",
        "in Latin-1": b"---\nlicense: caf\xe9\n---\n",
    }.items():
        _, folder, _ = stored("", good)
        (folder / "README.md").write_bytes(text)
        yield f"README {what}", folder, ""
    for column, value in [(column, value) for column, values in cells.items() for value in values]:
        row = {"image": "0.png", "query": "What?", "label": "1"} | {column: value}
        folder = root / f"json-{len(list(root.iterdir()))}"
        folder.mkdir()
        for number in range(ROWS):
            (folder / f"{number}.png").write_bytes(png(number))
        rows = [row, *({"image": f"{n}.png", "query": "What?", "label": "1"} for n in range(1, ROWS))]
        (folder / "qa.jsonl").write_text("".join(json.dumps(one, default=str) + "\n" for one in rows))
        yield f"JSONL: {column} {json.dumps(value, default=str)[:40]} in one row", folder, EVERY


def adapters(root: Path) -> Iterator[Case]:
    """What a model brings: the bundled adapter with another contract or config."""
    endless = r"(.*\w+)*(.*\w+)*(.*\w+)*!"
    for what, file, change, good in (
        ("max_pixels -5", "chartqa_contract.json", {"max_pixels": -5}, False),
        ("max_pixels “many”", "chartqa_contract.json", {"max_pixels": "many"}, False),
        ("max_pixels 10**30", "chartqa_contract.json", {"max_pixels": 10**30}, False),
        ("a system message of a megabyte", "chartqa_contract.json", {"system": "x" * 10**6}, False),
        ("a system message that is a list", "chartqa_contract.json", {"system": ["x"]}, False),
        ("scores of 10**400", "chartqa_contract.json", {"scores": {"adapter": 10**400}}, False),
        ("an endless regular expression in target_modules", "adapter_config.json", {"target_modules": endless}, True),
        ("an endless one in alpha_pattern", "adapter_config.json", {"alpha_pattern": {endless: 4}}, False),
        ("rank 100,000", "adapter_config.json", {"r": 10**5}, False),
        ("rank_pattern 100,000", "adapter_config.json", {"rank_pattern": {"q_proj": 10**5}}, False),
        ("2,000 rank patterns", "adapter_config.json", {"rank_pattern": {f"x{n}": 4 for n in range(2000)}}, False),
        ("a config of two megabytes", "adapter_config.json", {"revision": "x" * 2 * 10**6}, False),
        ("lora_alpha 10**400", "adapter_config.json", {"lora_alpha": 10**400}, False),
    ):
        folder = root / f"adapter-{len(list(root.iterdir()))}"
        shutil.copytree(ADAPTER, folder)
        found = json.loads((folder / file).read_text(encoding="utf-8"))
        (folder / file).write_text(json.dumps(found | change), encoding="utf-8")
        yield Case(f"an adapter with {what}", "the app", ["--base", "bundled", "--adapter", folder], good)


def flags(case: Case, root: Path) -> list[str]:
    """The case's flags behind those that every run of its command needs here; the last of two wins."""
    own = list(map(str, case.argv))
    charts = ["--dataset", root / "good"]
    before: dict[str, Sequence[object]] = {
        "train": ["--config", RECIPE, *charts, "--output_dir", root / "run", "--report_to", "none", "--resume"],
        "pretrain": ["--out", root / "pretrain"],
        "evaluate": [*charts, "--split", "test"],
    }
    return own if "--config" in own and case.command == "train" else [*map(str, before.get(case.command, ())), *own]


def attempt(case: Case, root: Path) -> Outcome:
    """Run one case in a fork. Needs all commands to be imported."""
    box = Path(tempfile.mkdtemp(dir=root))
    began = time.monotonic()
    if (child := os.fork()) == 0:
        _in_fork(case, flags(case, root), box)
    while os.waitpid(child, os.WNOHANG)[0] == 0:
        if time.monotonic() - began > SECONDS:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            break
        time.sleep(0.01)
    seconds = round(time.monotonic() - began, 2)
    found = json.loads((box / "code").read_text()) if (box / "code").exists() else -1
    lines = [line.strip() for line in (box / "said").read_text(errors="replace").splitlines() if line.strip()]
    told = [line for line in lines if "error: " in line] or [line for line in lines if "left out" in line] or lines[-1:]
    said = "no end in time" if found == -1 and not lines else told[-1] if told else ""
    said = said.replace(str(root), "…")
    return Outcome(said[:240], found, seconds, (box / "weights").exists())


def _in_fork(case: Case, argv: list[str], box: Path) -> None:
    import gradio
    from transformers import PreTrainedModel

    from chartqa_demo import __main__ as app
    from chartqa_demo.evaluate import __main__ as evaluate
    from train import __main__ as train
    from train.pretrain import __main__ as pretrain

    class Loads(BaseException):
        """A base model is about to be loaded."""

    def load(*_: object, **__: object) -> None:
        (box / "weights").touch()
        raise Loads

    PreTrainedModel.from_pretrained = classmethod(load)  # pyright: ignore[reportAttributeAccessIssue]
    gradio.Blocks.launch = lambda *_, **__: sys.exit(print("the page is up"))  # pyright: ignore[reportAttributeAccessIssue]
    code: Any = -1
    with (box / "said").open("w") as said, redirect_stdout(said), redirect_stderr(said):
        try:
            if case.command == "the app":
                os.environ["CHARTQA_SCRIPTED"] = "" if "--adapter" in argv else "1"
                sys.argv = ["app.py", *argv]
                app.main()
                code = 0
            else:
                code = {"train": train, "pretrain": pretrain, "evaluate": evaluate}[case.command].main(argv)
        except Loads:
            print("goes on to load a base model")
            code = 0
        except SystemExit as ended:
            code = ended.code or 0
        except BaseException:
            traceback.print_exc()
    (box / "code").write_text(json.dumps(code))
    os._exit(0)


def start(**environ: str) -> Outcome:
    """Start the app in these surroundings, ask it for its page, and end it by SIGTERM."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    began, page = time.monotonic(), ""
    command = [sys.executable, "app.py", "--port", str(port)]
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said:
        surroundings = {**os.environ, "CHARTQA_SCRIPTED": "1", **environ}
        process = subprocess.Popen(command, cwd=ROOT, env=surroundings, stdout=said, stderr=said)
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        while process.poll() is None and not page and time.monotonic() - began < 2 * SECONDS:
            time.sleep(0.2)
            try:
                page = f"the page is up ({direct.open(f'http://127.0.0.1:{port}/', timeout=5).status})"
            except OSError:
                continue
        seconds = round(time.monotonic() - began, 2)
        process.terminate()
        code, _ = process.wait(10), said.seek(0)
        lines = said.read().splitlines()
    told = page or next((line for line in lines if line.startswith("error: ")), f"{len(lines)} lines")
    return Outcome(told, 0 if page else code, seconds, False)


STARTS: dict[str, tuple[bool, dict[str, str]]] = {  # what -> whether it has to work, the surroundings
    "behind a proxy, without no_proxy": (
        True,
        {"no_proxy": "", "NO_PROXY": "", **dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")},
    ),
    "with a Windows code page": (True, {"PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"}),
    "in the locale C, in ASCII": (
        True,
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"},
    ),
    "with GRADIO_TEMP_DIR a file": (False, {"GRADIO_TEMP_DIR": str(Path(__file__))}),
    "with GRADIO_TEMP_DIR that cannot be made": (False, {"GRADIO_TEMP_DIR": "/proc/nothing"}),
}


def main() -> int:
    """Exit code 1 where one case ends otherwise than it should."""
    argparse.ArgumentParser(prog="python -m bench.reliability.values", description=__doc__).parse_args()
    os.environ.update(HF_HUB_OFFLINE="1", TQDM_DISABLE="1")
    failed, rows = 0, []

    def note(group: str, what: str, good: bool, outcome: Outcome) -> None:
        nonlocal failed
        fine = outcome.code == 0 if good else outcome.code == 2 and not outcome.weights
        failed += not fine
        loaded = "yes" if outcome.weights else "no"
        said = outcome.said.replace(str(ROOT), "…")
        rows.append((group, what, said, outcome.code, outcome.seconds, loaded, "yes" if fine else "NO"))
        print(*rows[-1], sep=" | ", flush=True)

    for what, (good, surroundings) in STARTS.items():
        note("a start", what, good, start(**surroundings))
    with tempfile.TemporaryDirectory(prefix="values-") as made:
        root = Path(made)
        os.environ.update(HF_HOME=made, TRACKIO_DIR=made)
        for name in IMPORTED:
            import_module(name)
        (good := root / "good").mkdir()
        for number in range(ROWS):
            (good / f"{number}.png").write_bytes(png(number))
        lines = [json.dumps({"image": f"{n}.png", "query": "What?", "label": "1"}) for n in range(ROWS)]
        (good / "qa.jsonl").write_text("\n".join(lines) + "\n")
        for group, cases in (
            ("numbers", numbers()),
            ("files and folders", configs(root)),
            ("adapters", adapters(root)),
        ):
            for case in cases:
                note(group, f"{case.command}: {case.what}", case.good, attempt(case, root))
        for what, folder, by in folders(root):
            for command in EVERY.split(", "):
                case = Case(what, command, ["--dataset", folder], command in by)
                note("data", f"{command}: {what}", case.good, attempt(case, root))
    save("values", "Impossible values", "python -m bench.reliability.values", _tables(rows), [])
    return 1 if failed else 0


def _tables(rows: Sequence[Sequence[Any]]) -> list[dict[str, Any]]:
    groups = {group: [row for row in rows if row[0] == group] for group in dict.fromkeys(row[0] for row in rows)}
    summary = []
    for group, mine in groups.items():
        refused = [row[4] for row in mine if row[3] == 2]
        other = sum(row[6] == "NO" for row in mine)
        summary.append((group, len(mine), len(refused), sum(row[3] == 0 for row in mine), other, max(refused)))
    head = ("group", "cases", "refused with exit code 2", "carried out", "not as it should be", "slowest refusal, s")
    columns = ("case", "what was said", "exit code", "seconds", "a base was about to load", "as it should be")
    parts = [table(group, columns, [row[1:] for row in mine]) for group, mine in groups.items()]
    return [table("All cases", head, summary), *parts]


if __name__ == "__main__":
    sys.exit(main())
