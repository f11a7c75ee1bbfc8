"""The whole of pretraining in miniature, on a CPU in under two minutes, ending with an answer by plain transformers."""

import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from chartqa_demo.arms import PROMPTED, messages
from chartqa_demo.images import fit_canvas
from train.pretrain.charts import make_chart
from train.pretrain.exam import exam
from train.pretrain.legs.losses import Weights
from train.pretrain.legs.rows import ChartRows, Codec, Mix
from train.pretrain.legs.training import PretrainConfig, Training
from train.pretrain.model import checkpoint, export
from train.pretrain.model.network import Sizes, count
from train.pretrain.model.tokenizer import build_tokenizer

TINY = Sizes(
    vocabulary=1024, text_width=128, text_layers=2, text_ffn=256, key_heads=1, vision_width=64, vision_layers=1
)


def smoke(charts: int = 120, steps: int = 50) -> str:
    """Generator, tokenizer, steps enough to write a number, a checkpoint, export, the returned answer; all printed."""
    begun = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - begun:5.1f} s  {text}", flush=True)

    weights = Weights(mark_layer=0, copy_layer=1)
    settings = PretrainConfig(
        sizes=TINY, weights=weights, batch=4, row_tokens=640, exam_charts=2, tokenizer_charts=charts
    )
    tokenizer = build_tokenizer((make_chart(seed) for seed in range(charts)), TINY.vocabulary)
    say(f"tokenizer of {tokenizer.get_vocab_size()} pieces from {charts} charts")
    codec = Codec(tokenizer, settings.row_tokens)
    batches = iter(ChartRows(partial(Codec, tokenizer, settings.row_tokens), make_chart, settings.batch, Mix()))
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        training = Training(settings, codec, "cpu", out, None)
        say(f"a model of {count(TINY) / 1e6:.2f} M parameters")
        for _ in range(steps):
            training.step(next(batches), 1.0)
        say(f"{steps} steps of {settings.batch} charts, answer loss {training.losses()['answer']:.2f}")
        pages = [exam.sheet(make_chart(seed, held_out=True), 4, seed) for seed in range(2)]
        say(f"exam: {exam.brief(training.examine(pages, averaged=True))}")
        training.save("final", averaged=True)
        tensors, _ = checkpoint.load(out / "final")
        export.export(out / "model", TINY, tensors, tokenizer)
        model: Any = AutoModelForImageTextToText.from_pretrained(
            out / "model", dtype=torch.float32, use_safetensors=True
        )
        processor = AutoProcessor.from_pretrained(out / "model")
        chart = make_chart(7, held_out=True)
        question = chart.questions[0].text
        image = fit_canvas(chart.image, model.config.chart_canvases).image
        text = processor.apply_chat_template(messages(PROMPTED, question), add_generation_prompt=True, tokenize=False)
        inputs = processor(text=[text], images=[image], return_tensors="pt")
        written = model.generate(**inputs, max_new_tokens=8)[:, inputs["input_ids"].shape[1] :]
        answer = processor.batch_decode(written, skip_special_tokens=True)[0].strip()
        say(f"transformers answers {question!r} with {answer!r} (it has seen {steps * settings.batch} charts)")
    return answer
