"""Everything an operator can choose, from flags and CHARTQA_* variables, checked before anything loads.

A flag wins over its variable, a variable over the default. `auto` is resolved against the hardware by
`engines/loading.py`; whatever was chosen explicitly is used or refused, never replaced.
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from chartqa_demo.errors import SettingsError

PACKAGE = Path(__file__).parent
BUNDLED_BASE = PACKAGE / "bundled" / "model"
BUNDLED_ADAPTER = PACKAGE / "bundled" / "adapter"
BUNDLED_CHARTS = PACKAGE / "bundled" / "charts"
HUB_BASE = "Qwen/Qwen2-VL-7B-Instruct"
HUB_ADAPTER = "sergiopaniego/qwen2-7b-instruct-trl-sft-ChartQA"
HUB_DATASET = "HuggingFaceM4/ChartQA"
DEFAULT_MAX_PIXELS = (
    1280 * 28 * 28
)  # the 7B repository's own limit is 16,384 image tokens, far beyond any ChartQA chart

LEAST_PIXELS, MOST_PIXELS = 28 * 28, 16_384 * 28 * 28  # one image token, and Qwen2-VL's own most
QUANTIZE = ("auto", "none", "8bit", "4bit")
VISITOR_ADAPTERS = ("off", "hub", "any")
DECODE = ("auto", "eager", "static", "graph")
DEVICE_MAPS = ("none", "auto")
DTYPES = ("auto", "float32", "bfloat16", "float16")
YES, NO = ("1", "true", "yes", "on"), ("0", "false", "no", "off")
MAX_MESSAGE = 20_000  # characters of a system message
MAX_CONTEXT = 32_768  # tokens of Qwen2-VL


@dataclass(frozen=True)
class Settings:
    """One start of the app or of a command. The fields are documented where the flags are made, below."""

    base: str = "auto"
    base_revision: str | None = None
    adapter: str = "auto"
    adapter_revision: str | None = None
    adapter_system: str | None = None
    quantize: Literal["auto", "none", "8bit", "4bit"] = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    device: str = "auto"
    device_map: Literal["none", "auto"] = "none"
    decode: Literal["auto", "eager", "static", "graph"] = "auto"
    min_pixels: int | None = None
    max_pixels: int | None = None
    max_new_tokens: int = 96
    endpoint: str | None = None
    base_name: str | None = None
    adapter_name: str | None = None
    dataset: str = "bundled"
    split: str = "auto"
    image_column: str | None = None
    question_column: str | None = None
    answer_column: str | None = None
    results_dir: str = "results"
    queue_size: int = 20
    requests_per_minute: int = 0
    uploads_mb: int = 2_000
    max_question: int = 2_000
    max_prompt: int = 2_000
    most_new_tokens: int = 512
    upload_pixels: int = 50_000_000  # a 600 dpi scan of an A4 page has 35 million
    login: str | None = None
    visitor_adapters: Literal["off", "hub", "any"] = "off"
    corrections: str = "auto"
    training: str = "auto"
    host: str | None = None
    port: int | None = None
    scripted: bool = False


def on_zerogpu(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether this is a Space on ZeroGPU, where a GPU is lent per question; read as `spaces` reads it."""
    return environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")


def serves_others(settings: Settings, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether people at other machines can open the page: on a Space, or where it listens beyond this machine."""
    return "SPACE_ID" in environ or settings.host not in (None, "127.0.0.1", "localhost", "::1")


def add_engine_flags(parser: argparse.ArgumentParser) -> None:
    """The flags that say which model answers, shared by the app and by `python -m chartqa_demo.evaluate`."""
    model = parser.add_argument_group("the model")
    add = model.add_argument
    add(
        "--base",
        help="base model: auto, bundled, a Hub id or a local folder. auto: "
        f"{HUB_BASE} in bfloat16 when 20 GiB of GPU memory are free, in 4 bit when 9 GiB are, else bundled",
    )
    add("--base-revision", help="branch, tag or commit of the base on the Hub")
    add(
        "--adapter",
        help="LoRA adapter of the third arm: auto (the bundled one for the bundled base, "
        f"{HUB_ADAPTER} for {HUB_BASE}), none, a Hub id or a local folder",
    )
    add("--adapter-revision", help="branch, tag or commit of the adapter on the Hub")
    add(
        "--adapter-system",
        metavar="TEXT|@FILE",
        help="system message that the adapter was trained with, or @ and a file that holds it; default: what the "
        "adapter's contract says, else ours",
    )
    add(
        "--quantize",
        choices=QUANTIZE,
        help="weights by bitsandbytes: 4bit is NF4 with double quantisation and "
        "compute in --dtype; none is full precision; auto is none unless --base auto needs 4bit to fit",
    )
    add(
        "--dtype",
        choices=DTYPES,
        help="precision of the weights; auto: bfloat16 on a GPU, float32 on a CPU and on a GPU without bfloat16",
    )
    add("--device", help="auto, cpu, cuda, cuda:1, mps ...; auto takes a GPU when there is one")
    add(
        "--device-map",
        choices=DEVICE_MAPS,
        help="auto spreads a base that one GPU cannot hold over all of them; its tokens are transformers' generate's",
    )
    add(
        "--decode",
        choices=DECODE,
        help="how an answer's tokens are computed: eager is transformers' generate; static is this project's own pass "
        "over the layers of a Qwen2-VL, on a fixed cache; graph is static with its step captured as a CUDA graph. "
        "auto: graph on a GPU, but static on a CPU and for weights in 8bit; eager for other models",
    )
    add(
        "--min-pixels",
        type=int,
        help="charts with fewer pixels are enlarged to this many; default: what the adapter "
        "was trained with, else the processor's own",
    )
    add(
        "--max-pixels",
        type=int,
        help="charts with more pixels are shrunk to this many (one image token is 784 "
        "pixels); default: what the adapter was trained with, else 1,003,520 (1,280 tokens)",
    )
    add("--max-new-tokens", type=int, help="longest answer in tokens; the page can change it for one question")
    server = parser.add_argument_group("a server elsewhere")
    server.add_argument(
        "--endpoint",
        metavar="URL",
        help="no model here: ask an OpenAI-compatible server (vLLM, transformers serve, an inference endpoint) at "
        "http://127.0.0.1:8000/v1 or alike; the key comes from OPENAI_API_KEY, for the Hub's own hosts from HF_TOKEN",
    )
    server.add_argument("--base-name", metavar="NAME", help="name under which the server serves the base model")
    server.add_argument(
        "--adapter-name",
        metavar="NAME",
        help="name under which it serves the base with the LoRA; --base and --adapter then say what the two names are "
        "made of (a folder or bundled), for canvas sizes and for how the adapter was trained",
    )
    data = parser.add_argument_group("the charts to ask about")
    data.add_argument(
        "--dataset",
        help=f"bundled, a Hub id such as {HUB_DATASET}, or charts of your own: a folder of pictures with a CSV, JSONL "
        "or parquet file of image, question and answer, ChartQA's release, a saved data set, pictures alone",
    )
    data.add_argument(
        "--split",
        help="train, val (or validation), test, all, or a slice such as test[:100]; default: test, or all where there "
        "are no splits. Where there is one only, train, val and test are cut off by chart",
    )
    for name, usual in (("image", "image"), ("question", "query"), ("answer", "label")):
        more = "; none: ask without scoring" if name == "answer" else ""
        data.add_argument(f"--{name}-column", metavar="NAME", help=f"that column's name, where it is not {usual}{more}")
    data.add_argument("--results-dir", help="folder in which evaluations are kept")


def add_page_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of the page itself."""
    page = parser.add_argument_group("the page")
    page.add_argument("--host", help="address to listen on; default 127.0.0.1 (0.0.0.0 lets other machines in)")
    page.add_argument("--port", type=int, help="port to listen on; default: the first free one from 7860")
    page.add_argument("--queue-size", type=int, help="visitors who may wait before the next one is asked to come back")
    page.add_argument(
        "--requests-per-minute",
        type=int,
        help="questions, uploads and logins taken from one address, a question on the page counting twice; 0 (the "
        "default) for any number. Behind a proxy set FORWARDED_ALLOW_IPS to its address, or all visitors are one",
    )
    page.add_argument(
        "--uploads-mb", type=int, help="megabytes of visitors' pictures that are kept, the newest; none over a day"
    )
    page.add_argument("--max-question", type=int, help="characters of a question")
    page.add_argument("--max-prompt", type=int, help="characters of a system message that a visitor types")
    page.add_argument("--most-new-tokens", type=int, help="longest answer that a visitor may ask for, in tokens")
    page.add_argument("--upload-pixels", type=int, help="pixels of a visitor's picture")
    page.add_argument(
        "--login",
        metavar="FILE",
        help="only visitors who know a name and password of this file, a line name:password each",
    )
    page.add_argument(
        "--visitor-adapters",
        choices=VISITOR_ADAPTERS,
        help="whether visitors may load another adapter into the third arm, for all: hub by Hub id, any also from "
        "folders of this machine",
    )
    page.add_argument(
        "--corrections",
        metavar="FOLDER",
        help="folder that keeps what visitors correct, for --dataset; browser: each visitor's own browser. auto: "
        "corrections, but browser on a Space and where other machines are let in",
    )
    page.add_argument(
        "--training",
        metavar="CONFIG",
        help="config with which the Training tab trains on the corrections, or off. auto: own-charts.yaml for the "
        "bundled base, off on a Space and where other machines are let in",
    )
    page.add_argument(
        "--scripted",
        action="store_const",
        const=True,
        help="no model: replays made-up answers, for work on the look of the page",
    )


def settings_from(flags: argparse.Namespace, environ: Mapping[str, str] = os.environ) -> Settings:
    """Flags over CHARTQA_* variables over defaults. Raises SettingsError."""
    chosen: dict[str, object] = {}
    for field in fields(Settings):
        value: object = getattr(flags, field.name, None)
        variable = f"CHARTQA_{field.name.upper()}"
        if value is None and environ.get(variable, "") != "":
            value = _read(variable, environ[variable], field.name)
        if field.name == "adapter_system" and isinstance(value, str):
            value = read_message(value)
        if value is not None:
            chosen[field.name] = value
    return _checked(Settings(**chosen))  # pyright: ignore[reportArgumentType] (checked in _read and _checked)


def parse_settings(argv: Sequence[str] | None = None, environ: Mapping[str, str] = os.environ) -> Settings:
    """The app's settings from its command line. Raises SettingsError; argparse itself exits with code 2."""
    defaults = "\n".join(
        f"  {'CHARTQA_' + f.name.upper():28}{'' if f.default is None else f.default}" for f in fields(Settings)
    )
    parser = argparse.ArgumentParser(
        prog="python app.py" if Path(sys.argv[0]).name == "app.py" else "chartqa",
        description="Ask a chart one question and read three answers side by side: pretrained, prompted, adapter.",
        epilog=f"Every setting can also be given as an environment variable (shown with its default):\n{defaults}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_engine_flags(parser)
    add_page_flags(parser)
    settings = settings_from(parser.parse_args(argv), environ)
    if settings.max_new_tokens > settings.most_new_tokens:
        told = f"--max-new-tokens is {settings.max_new_tokens}, and --most-new-tokens {settings.most_new_tokens}"
        raise SettingsError(f"{told}; raise the second or lower the first.")
    return settings


def read_message(text: str) -> str:
    """A system message as a flag gives it: the text itself, or the content of the file behind an @, without the white
    space around it, which prompt text never has (see arms.py). Raises SettingsError."""
    if text.startswith("@"):
        path = Path(text[1:]).expanduser()
        try:
            text = _text_of(path, 4 * MAX_MESSAGE)
        except (OSError, ValueError) as error:
            raise SettingsError(f"The system message cannot be read from {path}: {error}.") from None
    if len(text) > MAX_MESSAGE:
        raise SettingsError(f"The system message has {len(text):,} characters; at most {MAX_MESSAGE:,} are taken.")
    return text.strip()


def _text_of(path: Path, most: int) -> str:
    """What a file of at most `most` bytes holds; a pipe is one, too. Raises OSError and ValueError."""
    with path.open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise ValueError(f"it has more than {most:,} bytes")
    return data.decode("utf-8-sig")


def read_logins(file: str | None) -> list[tuple[str, str]] | None:
    """Names and passwords of `--login`, as Gradio's `auth` takes them; None without a file. Raises SettingsError."""
    if file is None:
        return None
    try:
        lines = _text_of(Path(file).expanduser(), 2**20).splitlines()
    except (OSError, ValueError) as error:
        raise SettingsError(f"The names and passwords cannot be read from {file}: {error}.") from None
    parts = [line.partition(":") for line in lines if line.strip()]
    if not parts or not all(name and password for name, _, password in parts):
        raise SettingsError(f"{file} has to hold a line name:password for everyone who may log in.")
    return [(name, password) for name, _, password in parts]


def _read(variable: str, text: str, name: str) -> object:
    if name in (
        "min_pixels",
        "max_pixels",
        "max_new_tokens",
        "queue_size",
        "port",
        "requests_per_minute",
        "uploads_mb",
        "max_question",
        "max_prompt",
        "most_new_tokens",
        "upload_pixels",
    ):
        try:
            return int(text)
        except ValueError:
            raise SettingsError(f"{variable} is {text!r}; it has to be a whole number.") from None
    if name == "scripted":
        if text.lower() not in (*YES, *NO):
            raise SettingsError(f"{variable} is {text!r}; it has to be one of {', '.join((*YES, *NO))}.")
        return text.lower() in YES
    return text


def _checked(settings: Settings) -> Settings:
    for name, allowed in (
        ("quantize", QUANTIZE),
        ("decode", DECODE),
        ("dtype", DTYPES),
        ("device_map", DEVICE_MAPS),
        ("visitor_adapters", VISITOR_ADAPTERS),
    ):
        if getattr(settings, name) not in allowed:
            raise SettingsError(f"{name} is {getattr(settings, name)!r}; it has to be one of {', '.join(allowed)}.")
    _check_numbers(settings)
    least, most = settings.min_pixels, settings.max_pixels
    one_gpu = settings.device_map == "auto" and settings.device not in ("auto", "cuda")
    for wrong, told in (
        (least and most and least > most, f"--min-pixels {least} is larger than --max-pixels {most}; swap them."),
        (one_gpu, f"--device-map auto takes every GPU, but --device is {settings.device}; leave one out."),
        (
            settings.adapter_system is not None and settings.adapter == "none",
            "--adapter-system is the message of an adapter, but --adapter is none; leave one out.",
        ),
    ):
        if wrong:
            raise SettingsError(told)
    _check_folders(settings)
    if settings.endpoint is None and (settings.base_name or settings.adapter_name):
        raise SettingsError("--base-name and --adapter-name are names on a server; say which one with --endpoint URL.")
    if settings.endpoint is not None:
        address = urlsplit(settings.endpoint)
        if address.username or address.password:
            raise SettingsError("--endpoint must hold no password or key; put the key into OPENAI_API_KEY.")
        if address.scheme not in ("http", "https") or not address.hostname:
            raise SettingsError(
                f"--endpoint is {settings.endpoint!r}; it has to be an address such as http://127.0.0.1:8000/v1."
            )
        if settings.base_name is None:
            raise SettingsError("--endpoint needs --base-name, the name under which the server serves the base model.")
    if settings.quantize in ("4bit", "8bit") and find_spec("bitsandbytes") is None:
        raise SettingsError(
            f"--quantize {settings.quantize} needs the bitsandbytes package: pip install bitsandbytes, "
            "or use --quantize none."
        )
    return settings


def _check_numbers(settings: Settings) -> None:
    for name, least, most in (
        ("min_pixels", LEAST_PIXELS, None),
        ("max_pixels", LEAST_PIXELS, None),
        ("max_new_tokens", 1, None),
        ("queue_size", 1, None),
        ("requests_per_minute", 0, None),
        ("uploads_mb", 20, None),
        ("max_question", 1, MAX_MESSAGE),
        ("max_prompt", 1, MAX_MESSAGE),
        ("most_new_tokens", 1, MAX_CONTEXT),
        ("upload_pixels", LEAST_PIXELS, Settings.upload_pixels),
    ):
        value = getattr(settings, name)
        if value is not None and not least <= value <= (most or value):
            bound = f"least {least}" if value < least else f"most {most}"
            raise SettingsError(f"--{name.replace('_', '-')} is {value}; it has to be at {bound}.")


def _check_folders(settings: Settings) -> None:
    for name, folder in (("results-dir", settings.results_dir), ("corrections", settings.corrections)):
        place = Path(folder).expanduser()
        if file := next((one for one in (place, *place.parents) if one.is_file()), None):
            raise SettingsError(f"--{name} is {folder}; it has to be a folder, and {file} is a file.")
