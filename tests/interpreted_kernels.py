"""A process of its own, in which Triton interprets its kernels on the CPU (TRITON_INTERPRET, read when Triton is
imported): one engine answers by torch's operations, then fused by the kernels; prints what the test compares."""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from tiny import chart

from chartqa_demo.arms import ARMS
from chartqa_demo.engines import Options
from chartqa_demo.engines.decoding import adapted_rows
from chartqa_demo.engines.local import LocalEngine, load_engine
from chartqa_demo.settings import Settings

QUESTION = "What is the value of the red bar in 2019?"
SHORT = Options(max_new_tokens=3)


def found(engine: LocalEngine) -> dict[str, Any]:
    """Features of a chart, logits of a prompt and of two steps behind it, and answers in an evaluation's batch."""
    engine.looks.clear()
    image, decoder = chart(3, (84, 112)), engine.decoder
    assert decoder is not None
    look = engine.looks.of([image])[0]
    prompts = [engine._token_ids(engine.prompt_text(arm, QUESTION, SHORT), look) for arm in ARMS]
    step, logits = decoder.start(prompts, [look] * 3, adapted_rows(ARMS, engine._name), 8)
    every = [look.pooled[0], logits]
    with torch.inference_mode():
        every += [decoder.next(step, torch.tensor(tokens)).clone() for tokens in ([3, 4, 5], [6, 7, 8])]
    (answers,) = engine.answer_many([(image, QUESTION)], ARMS, SHORT)
    return {"numbers": every, "answers": [answer.text for answer in answers]}


def main(base: Path, adapter: Path) -> None:
    engine = load_engine(Settings(base=str(base), adapter=str(adapter), device="cpu", decode="static"))
    plain = found(engine)
    layers: Any = engine._layers
    held = sum(weight.numel() for weight in layers.base.parameters())
    layers.fuse()
    engine.looks.fuse()
    fused = found(engine)
    told = {
        "apart": max((a - b).abs().max().item() for a, b in zip(plain["numbers"], fused["numbers"], strict=True)),
        "size": max(a.abs().max().item() for a in plain["numbers"]),
        "plain": plain["answers"],
        "fused": fused["answers"],
        "joined": len(layers._joint),
        "adapters_joined": len(layers._tuning),
        "held": held == sum(weight.numel() for weight in layers.base.parameters()),
        "parts_of_one": all(
            first.weight.untyped_storage().data_ptr() == joint.weight.untyped_storage().data_ptr()
            for first, joint in layers._joint.items()
        ),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
