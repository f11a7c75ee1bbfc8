"""Makes the bundled base model: a small Qwen2-VL trained from nothing on generated charts.

    python -m train.pretrain --smoke                               # everything in miniature, two minutes on a CPU
    python -m train.pretrain --seconds 540                         # a leg at flat rates, leaves runs/pretrain/stable
    python -m train.pretrain --resume runs/pretrain/stable --seconds 540 --decay-seconds 280
    torchrun --nproc-per-node 2 -m train.pretrain --seconds 540    # the same on two GPUs
    python -m train.pretrain --resume runs/pretrain/final --export chartqa_demo/bundled/model
    python -m train.pretrain --exam results/pretraining/exam.json   # what the exported model can do; updates its card

Each leg appends to `log.jsonl` in its output folder. `--trackio PROJECT` copies a log to trackio afterwards; training
itself needs nothing but torch, transformers, numpy and pillow.
"""

import argparse
import dataclasses
import json
import math
import sys
import time
import typing
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from chartqa_demo.errors import first_line, print_anything

CONFIG = Path(__file__).parents[1] / "configs" / "pretrain.yaml"
MODEL = Path("chartqa_demo/bundled/model")
HELD_OUT_SEED = 2_000_000_000


def settings_of(kind: type, values: dict[str, Any]) -> Any:
    """A (nested) dataclass from the config's values. Raises ValueError for a key that it does not have."""
    if not isinstance(values, dict):
        raise ValueError(f"{kind.__name__} is {values!r:.80} in the config; it has to be settings (NAME: VALUE).")
    hints = typing.get_type_hints(kind)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise ValueError(f"The config does not know {unknown[0]!r}; {kind.__name__} has {', '.join(sorted(hints))}.")
    made = {}
    for name, value in values.items():
        hint = hints[name]
        if dataclasses.is_dataclass(hint):
            made[name] = settings_of(typing.cast(type, hint), value)
        elif hint in (int, float) and not (type(value) in (int, hint) and 0 <= value < math.inf):
            raise ValueError(f"{name} is {value!r:.80} in the config; it has to be a number, 0 or more.")
        else:
            made[name] = tuple(value) if isinstance(value, list) else value
    return kind(**made)


def tokenizer_in(path: Path) -> Any:
    """The tokenizer in a tokenizer.json. Raises ValueError."""
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises no other type
        raise ValueError(f"{path} is no tokenizer: {first_line(error)}") from error


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m train.pretrain", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--config", type=Path, default=CONFIG, help="YAML file of settings (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("runs/pretrain"), help="folder for checkpoints and log.jsonl")
    parser.add_argument("--seconds", type=float, help="stop this many seconds after the start of the process")
    parser.add_argument("--decay-seconds", type=float, default=0.0, help="let the rates fall to 0 in the last seconds")
    parser.add_argument("--resume", type=Path, help="checkpoint to go on from, or to export")
    parser.add_argument(
        "--init-from",
        type=Path,
        help="exported model to go on from: its optimiser starts fresh; deeper where the config has more layers",
    )
    parser.add_argument("--tokenizer", type=Path, help="tokenizer.json to use instead of building one")
    parser.add_argument("--build-tokenizer", action="store_true", help="build OUT/tokenizer.json and stop")
    parser.add_argument(
        "--export", type=Path, help="write the checkpoint named by --resume as a transformers model here"
    )
    parser.add_argument(
        "--average",
        type=Path,
        nargs="+",
        default=[],
        help="with --export: exported models that it began with; the mean of their weights and its own is written",
    )
    parser.add_argument(
        "--exam",
        type=Path,
        help="examine --model: counts to this file, tables to the model card",
    )
    parser.add_argument("--charts", type=int, default=150, help="charts of that exam (default: %(default)s)")
    parser.add_argument("--model", type=Path, default=MODEL, help="exported model to examine (default: %(default)s)")
    parser.add_argument("--trackio", help="copy OUT/log.jsonl to this local trackio project and stop")
    parser.add_argument("--smoke", action="store_true", help="tokenizer, training, export and an answer in miniature")
    return parser.parse_args(arguments)


def to_trackio(log: Path, project: str) -> None:
    """Write a finished log to a local trackio project (`trackio show --project NAME`)."""
    import trackio

    trackio.init(project=project, name=log.parent.name)
    for line in log.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        values = {f"loss/{name}": value for name, value in entry.get("losses", {}).items()}
        values |= {f"exact/{key}": row[1] / row[0] for key, row in entry.get("exam", {}).items()}
        values |= {key: value for key, value in entry.items() if isinstance(value, int | float)}
        trackio.log(values, step=entry["steps"])
    trackio.finish()


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 2 for a setting that cannot work, with one sentence on stderr."""
    print_anything()
    started = time.monotonic()
    options = parse(arguments)
    try:
        return _run(options, started)
    except (ValueError, OSError, yaml.YAMLError) as problem:
        print(" ".join(str(problem).split())[:500], file=sys.stderr)
        return 2


def _run(options: argparse.Namespace, started: float) -> int:
    if options.trackio:
        to_trackio(options.out / "log.jsonl", options.trackio)
        return 0
    if options.exam:
        from train.pretrain.exam.report import report, write_card

        report(options.model, options.charts, 8, options.exam)
        write_card(options.model / "README.md", options.exam)
        return 0
    from train.pretrain.legs.training import PretrainConfig

    if options.smoke:
        from train.pretrain.legs.smoke import smoke

        smoke()
        return 0
    settings = settings_of(PretrainConfig, yaml.safe_load(options.config.read_text(encoding="utf-8")) or {})
    counts = {name: getattr(settings, name) for name in ("batch", "row_tokens", "tokenizer_charts", "log_every")}
    for name, value in [*counts.items(), ("vocabulary", settings.sizes.vocabulary)]:
        if value < 1:
            raise ValueError(f"{name} is {value} in the config; it has to be at least 1.")
    if options.export:
        if options.resume is None:
            raise ValueError("--export needs --resume: the checkpoint to export, for example runs/pretrain/final.")
        export_checkpoint(options.resume, options.export, options.average)
        return 0
    if options.build_tokenizer:
        from train.pretrain.charts import make_chart

        options.out.mkdir(parents=True, exist_ok=True)
        make_tokenizer(make_chart, settings).save(str(options.out / "tokenizer.json"))
        return 0
    if options.seconds is None:
        raise ValueError(
            "Say how long to train: --seconds 540, for example, or --smoke to try everything in miniature."
        )
    if not 0 < options.seconds < math.inf or not 0 <= options.decay_seconds < math.inf:
        told = f"--seconds {options.seconds:g} and --decay-seconds {options.decay_seconds:g}"
        raise ValueError(f"A leg lasts a while and its decay is a part of it: {told} cannot be.")
    options.out.mkdir(parents=True, exist_ok=True)
    train(options, settings, started)
    return 0


def export_checkpoint(source: Path, target: Path, others: Sequence[Path] = ()) -> None:
    """A checkpoint as a transformers model folder; of its weights and those of the exported models `others` the mean,
    as in a model soup (Wortsman et al., 2022, arXiv 2203.05482). Raises ValueError for a model of another size."""
    from train.pretrain.legs.training import Progress
    from train.pretrain.model import checkpoint, export
    from train.pretrain.model.network import Sizes

    tensors, facts = checkpoint.load(source)
    tokenizer = tokenizer_in(source / checkpoint.TOKENIZER)
    progress = {name: facts[name] for name in vars(Progress())}
    sizes = settings_of(Sizes, facts["sizes"])
    for share, folder in enumerate(others, 2):
        other, weights, _, _ = export.from_export(folder)
        if other != sizes:
            raise ValueError(f"{folder} cannot be averaged with {source}: it has {other}, not {sizes}.")
        tensors = {name: tensors[name].lerp(weights[name], 1 / share) for name in weights}
    export.export(target, sizes, tensors, tokenizer, progress)


def make_tokenizer(make_chart: Any, settings: Any) -> Any:
    """The tokenizer of a fresh run, from charts of the training kind."""
    from train.pretrain.model.tokenizer import build_tokenizer

    charts: Iterator[Any] = (make_chart(seed) for seed in range(settings.tokenizer_charts))
    return build_tokenizer(charts, settings.sizes.vocabulary)


def train(options: argparse.Namespace, settings: Any, started: float) -> None:
    """One leg of training."""
    import torch

    from train.pretrain.charts import make_chart
    from train.pretrain.exam import exam
    from train.pretrain.legs.ranks import Ranks
    from train.pretrain.legs.rows import ChartRows, Codec
    from train.pretrain.legs.training import Training, on_device
    from train.pretrain.model import checkpoint, export
    from train.pretrain.model.network import Sizes, deeper

    ranks = Ranks()
    start = None
    if options.resume:
        start = checkpoint.load(options.resume)
        settings = dataclasses.replace(settings, sizes=settings_of(Sizes, start[1]["sizes"]))
        tokenizer = tokenizer_in(options.resume / checkpoint.TOKENIZER)
    elif options.init_from:
        sizes, tensors, progress, tokenizer = export.from_export(options.init_from)
        sizes, tensors = deeper(sizes, tensors, settings.sizes.text_layers, settings.sizes.vision_layers)
        settings, start = dataclasses.replace(settings, sizes=sizes), (tensors, progress)
    elif options.tokenizer:
        tokenizer = tokenizer_in(options.tokenizer)
    else:
        tokenizer = make_tokenizer(make_chart, settings)
    codec_of = partial(Codec, tokenizer, settings.row_tokens)
    first = int(start[1].get("next_seed", 0)) if start else 0
    # Workers and exam charts come before the first use of CUDA, which does not survive a fork.
    rows = ChartRows(codec_of, make_chart, settings.batch, settings.mix, first, ranks.rank, ranks.count)
    cuda = torch.cuda.device_count() > 0
    workers = settings.workers if cuda else 0
    loader = torch.utils.data.DataLoader(
        rows, batch_size=None, num_workers=workers, prefetch_factor=2 if workers else None, pin_memory=cuda
    )
    asked = range(HELD_OUT_SEED, HELD_OUT_SEED + settings.exam_charts) if ranks.first else range(0)
    pages = exam.sheets(partial(held_out_sheet, settings.exam_questions), asked, workers)
    batches = iter(loader)
    ranks.join()
    training = Training(settings, codec_of(), "cuda" if cuda else "cpu", options.out, start, ranks)
    training.run(on_device(batches, training.device), options.seconds, options.decay_seconds, pages, started)
    ranks.leave()


def held_out_sheet(most: int, seed: int) -> Any:
    """The exam of one held-out chart: names, wording and seeds that training never uses."""
    from train.pretrain.charts import make_chart
    from train.pretrain.exam.exam import sheet

    return sheet(make_chart(seed, held_out=True), most, seed)


if __name__ == "__main__":
    sys.exit(main())
