"""A real server beside the app's own engine: the same prompts, the same answers, questions per second of both.

    python -m bench.parts.served --endpoint http://127.0.0.1:8123/v1 --base bundled --adapter bundled \\
        --base-name base --adapter-name chartqa --server-pid 1234 --output bench/results/vllm.json

Every question is answered by both, greedily; prompts are compared token by token where the server tells its own (vLLM's
`return_token_ids`). With --server-pid the server is killed at the end, in the middle of an answer.
"""

import argparse
import json
import os
import shlex
import signal
import sys
import time
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any, cast
from urllib.request import urlopen

import torch
from openai import OpenAI

from bench.visitors import level
from chartqa_demo.data.splits import Example, open_split
from chartqa_demo.engines import Answers, Options, load_engine
from chartqa_demo.engines.endpoint import EndpointEngine
from chartqa_demo.engines.local import LocalEngine
from chartqa_demo.settings import Settings, add_engine_flags, settings_from

OPTIONS = Options(max_new_tokens=48)


def prompts(served: EndpointEngine, own: LocalEngine, examples: Sequence[Example]) -> dict[str, int]:
    """How many prompts were compared, and how many of them differ in any token id."""
    client = OpenAI(base_url=str(served._client.base_url), api_key="none")
    different = compared = 0
    for example in examples:
        image = example.load_image()
        look, url = own.looks.of([image])[0], served._data_url(image, OPTIONS)
        for arm in served.arms:
            name = served.adapter if arm.adapter else served._base_name
            request = served._request(str(name), arm, example.question, OPTIONS, url)
            request |= {"stream": False, "max_tokens": 1, "extra_body": {"return_token_ids": True}}
            del request["stream_options"]
            told = client.chat.completions.create(**request).model_dump().get("prompt_token_ids")
            compared += 1
            different += told != own._token_ids(own.prompt_text(arm, example.question, OPTIONS), look)
    return {"compared": compared, "different": different}


def visit(engine: Any, examples: Sequence[Example], at_once: int) -> list[Answers]:
    """The answers to these, asked by so many at the same time."""

    def one(example: Example) -> Answers:
        *_, answers = engine.answer(example.load_image(), example.question, engine.arms, OPTIONS)
        return answers

    with ThreadPoolExecutor(at_once) as visitors:
        return list(visitors.map(one, examples))


def compared(there: Sequence[Answers], here: Sequence[Answers]) -> dict[str, Any]:
    """Answers that were lost or differ, of all."""
    pairs = [(a, b) for x, y in zip(there, here, strict=True) for a, b in zip(x, y, strict=True)]
    different = [{"arm": a.arm, "there": a.text, "here": b.text} for a, b in pairs if not a.error and a.text != b.text]
    return {"answers": len(pairs), "lost": sum(a.error is not None for a, _ in pairs), "different": different}


def running(served: EndpointEngine) -> float:
    """Requests that the server works on, by its own count (Prometheus)."""
    with urlopen(f"http://{served.host}/metrics") as page:
        lines = page.read().decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("vllm:num_requests_running"))


def cancelled(served: EndpointEngine, example: Example) -> float:
    """Seconds from leaving an answer to a server that works on nothing."""
    states = served.answer(example.load_image(), example.question, served.arms, Options(max_new_tokens=512))
    next(state for state in states if any(answer.text for answer in state))
    cast(Generator[Answers, None, None], states).close()
    began = time.perf_counter()
    while running(served) and time.perf_counter() - began < 30:
        time.sleep(0.02)
    return round(time.perf_counter() - began, 2)


def main() -> int:
    """Exit code: 0 nothing lost and no prompt differs, 1 not."""
    parser = argparse.ArgumentParser(prog="python -m bench.parts.served", description="A server beside the own engine.")
    parser.add_argument("--questions", type=int, default=14, help="compared in all arms; default: 14")
    parser.add_argument("--visitors", type=int, default=50, help="at the same time; default: 50")
    parser.add_argument("--at-once", default="1,8,32", help="visitors whose questions per second are measured")
    parser.add_argument("--each", type=int, default=2, help="questions of each of them; default: 2")
    parser.add_argument("--server", default="", help="its name, version and flags, for the file")
    parser.add_argument("--server-pid", type=int, help="kill it at the end")
    parser.add_argument("--output", type=Path, default=Path("bench/results/vllm.json"))
    add_engine_flags(parser)
    flags = parser.parse_args()
    settings: Settings = settings_from(flags)
    served, own = load_engine(settings), load_engine(replace(settings, endpoint=None))
    assert isinstance(served, EndpointEngine) and isinstance(own, LocalEngine)
    examples = list(open_split("bundled"))
    found: dict[str, Any] = {
        "command": shlex.join(["python", "-m", "bench.parts.served", *sys.argv[1:]]),
        "date": date.today().isoformat(),
        "server": flags.server,
        "on": f"{os.cpu_count()} CPU cores, {torch.get_num_threads()} threads",
        "prompts": prompts(served, own, examples[: flags.questions]),
    }
    asked = (examples * 2)[: flags.visitors]
    here = own.answer_many([(one.load_image(), one.question) for one in asked], own.arms, OPTIONS)
    found["one_by_one"] = compared(visit(served, asked[: flags.questions], 1), here[: flags.questions])
    found["all_at_once"] = {"visitors": flags.visitors, **compared(visit(served, asked, flags.visitors), here)}
    levels: dict[str, list[Any]] = {"server": [], "own engine": []}
    for at_once in map(int, flags.at_once.split(",")):
        for name, engine in (("server", served), ("own engine", own)):
            levels[name].append(level(engine, (examples * 2)[: at_once * flags.each], at_once, OPTIONS))
            print(name, json.dumps(levels[name][-1]), flush=True)
    found["levels"] = levels
    found["cancelled_after_s"] = cancelled(served, examples[0])
    wrong = EndpointEngine(replace(settings, base_name="nobody"))
    found["wrong_model"] = visit(wrong, examples[:1], 1)[0][0].error
    if flags.server_pid:
        states = served.answer(examples[0].load_image(), examples[0].question, served.arms, Options(max_new_tokens=512))
        next(state for state in states if any(answer.text for answer in state))
        os.kill(flags.server_pid, signal.SIGKILL)
        *_, answers = states
        found["killed"] = [answer.error for answer in answers]
        found["killed_then_asked"] = visit(served, examples[:1], 1)[0][0].error
    flags.output.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=2, ensure_ascii=False))
    return int(bool(found["prompts"]["different"] or found["one_by_one"]["lost"] or found["all_at_once"]["lost"]))


if __name__ == "__main__":
    sys.exit(main())
