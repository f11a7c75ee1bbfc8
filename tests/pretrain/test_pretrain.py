"""Pretraining of the bundled model: the lean forward pass is Qwen2-VL, and what is exported answers alike."""

import json
from dataclasses import asdict
from functools import cache

import numpy as np
import pytest
import torch
from PIL import Image
from pretrain_charts import TINY, bar_chart, codec
from transformers import AutoModelForImageTextToText, AutoProcessor

from chartqa_demo.arms import ADAPTER, PRETRAINED, PROMPTED, SYSTEM_MESSAGE, messages, training_row
from chartqa_demo.images import fit_canvas
from train.pretrain.__main__ import main
from train.pretrain.exam import exam, report
from train.pretrain.layout import CANVASES
from train.pretrain.legs import rows
from train.pretrain.legs.grounding import Grounding
from train.pretrain.legs.rows import ChartRows, Mix
from train.pretrain.model import checkpoint, export
from train.pretrain.model.network import Reader, block_mask, deeper, dense_mask, initial, shapes
from train.pretrain.model.tokenizer import CONCISE, render


@cache
def reader() -> Reader:
    return Reader(TINY, codec().layout, "cpu", torch.float32)


@cache
def weights() -> dict[str, torch.Tensor]:
    """Random weights with nothing at zero, so that every part of the model shows in the logits."""
    generator = torch.Generator().manual_seed(1)
    made = {}
    for name, value in initial(shapes(TINY), "cpu").items():
        noise = torch.randn(value.shape, generator=generator)
        made[name] = value.detach() + noise * (0.1 if value.dim() == 1 else 0.06)
    return made


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    rounded = {name: value.to(torch.bfloat16).float() for name, value in weights().items()}
    export.export(folder, TINY, rounded, codec().tokenizer, {"charts": 640, "next_seed": 704})
    return folder


@pytest.fixture(scope="module")
def plain(exported):
    model = AutoModelForImageTextToText.from_pretrained(exported, dtype=torch.float32)
    return model, AutoProcessor.from_pretrained(exported)


def inputs_of(processor, chart, conversation, canvases):
    image = fit_canvas(chart.image, canvases).image
    text = processor.apply_chat_template(conversation, add_generation_prompt=True, tokenize=False)
    return processor(text=[text], images=[image], return_tensors="pt")


@pytest.mark.parametrize("seed", [0, 2], ids=["landscape", "portrait"])
@pytest.mark.parametrize("system", [None, SYSTEM_MESSAGE], ids=["default", "ours"])
def test_packed_questions_get_the_logits_of_plain_transformers(seed, system):
    chart = bar_chart(seed)
    grounding = Grounding(chart)
    row = rows.pack(codec(), grounding, chart.questions, system, Mix())
    batch = rows.collate([row | {"pixels": grounding.pixels, "portrait": np.array(grounding.portrait)}])
    layout, p = codec().layout, weights()
    with torch.no_grad():
        mask = dense_mask(layout, batch["segments"], batch["pads"])
        image = reader().vision(p, batch["pixels"], batch["portrait"])
        ours = reader().text(p, image, batch, mask)[0][0]
    model, processor = export.to_transformers(TINY, p), export.processor(codec().tokenizer)
    arm = PRETRAINED if system is None else PROMPTED
    assert batch["segments"].max() == len(chart.questions)
    for k, question in enumerate(chart.questions, 1):
        inputs = inputs_of(processor, chart, messages(arm, question.text), CANVASES)
        places = (batch["segments"][0] == k).nonzero()[:, 0]
        packed = batch["ids"][0, layout.prefix + places].long()
        prompt = inputs["input_ids"][0]
        asked = len(prompt) - int((prompt == 5).nonzero().max()) - 2  # tokens after <|vision_end|>
        assert packed[:asked].tolist() == prompt[-asked:].tolist()
        whole = torch.cat([prompt, packed[asked:]])[None]
        with torch.no_grad():
            theirs = model(
                input_ids=whole,
                attention_mask=torch.ones_like(whole),
                mm_token_type_ids=(whole == 5).int(),
                pixel_values=inputs["pixel_values"],
                image_grid_thw=inputs["image_grid_thw"],
            ).logits[0, -len(packed) : -1]
        difference = (ours[places[1:]] - theirs).abs().max() / theirs.abs().max()
        assert difference <= 1e-4


def test_greedy_answers_are_those_of_transformers(plain):
    model, processor = plain
    p = {name: value.to(torch.bfloat16).float() for name, value in weights().items()}
    pages = [exam.sheet(bar_chart(seed), 2, seed) for seed in (3, 5)]
    ours = exam.answers(reader(), p, codec(), pages)
    for seed, page, texts in zip((3, 5), pages, ours, strict=True):
        for question, text in zip(page.questions, texts, strict=True):
            inputs = inputs_of(
                processor, bar_chart(seed), messages(PROMPTED, question.text), model.config.chart_canvases
            )
            out = model.generate(**inputs, max_new_tokens=exam.MOST_TOKENS)[0, inputs["input_ids"].shape[1] :]
            assert text == processor.decode(out, skip_special_tokens=True).strip()


@pytest.mark.parametrize("system", [None, SYSTEM_MESSAGE, *CONCISE])
def test_prompts_are_the_tokens_of_the_exported_processor(plain, system):
    _, processor = plain
    question = "What was the value in 2019 for Costa Rica, 12.5%?"
    arm = PRETRAINED if system is None else PROMPTED
    inputs = inputs_of(processor, bar_chart(0), messages(arm, question, system), CANVASES)
    ours = codec().prompts.openings[system] + codec().ids(question) + codec().prompts.turn
    assert inputs["input_ids"][0].tolist() == ours


def test_a_training_row_of_the_adapter_has_the_tokens_of_pretraining(plain):
    _, processor = plain
    row = training_row(ADAPTER, "Which is highest?", "Costa Rica")
    text = processor.apply_chat_template([*row["prompt"], *row["completion"]], tokenize=False)
    assert text == render([*row["prompt"], *row["completion"]], generate=False)
    answer = [*codec().ids(" Costa Rica"), codec().prompts.end]
    ids = processor.tokenizer(text)["input_ids"]
    assert ids[-len(answer) - 1 : -1] == answer  # a line break ends the turn


@pytest.mark.parametrize(
    "text",
    [
        "What's the U.S. share in 2015, and 12.5%??",
        " $1,250.75 million  (net) | -3 | A_b\nWe'LL see:\n\n 'sofa'   end ",
        "Côte d’Ivoire – 12 €",
        "<|im_end|>\n",
        "",
    ],
)
def test_a_text_encoded_word_by_word_has_the_tokens_and_spans_of_the_whole(text):
    whole = codec().tokenizer.encode(text, add_special_tokens=False)
    assert codec().ids(text) == whole.ids
    assert codec().spans(text) == whole.offsets


def test_our_system_message_is_one_piece_a_word():
    words = SYSTEM_MESSAGE.replace(".", " .").replace(",", " ,").replace(":", " :").replace("-", " - ").split()
    assert len(codec().ids(SYSTEM_MESSAGE)) <= len(words)


def test_both_canvases_pass_the_image_processor_unchanged(plain):
    model, processor = plain
    assert [tuple(size) for size in model.config.chart_canvases] == list(CANVASES)
    for width, height in CANVASES:
        out = processor.image_processor(images=Image.new("RGB", (width, height)), return_tensors="pt")
        assert out["image_grid_thw"].tolist() == [[1, height // 14, width // 14]]


def test_flex_and_dense_masks_agree():
    batch = next(iter(ChartRows(codec, bar_chart, 3, Mix())))
    layout = codec().layout
    dense = dense_mask(layout, batch["segments"], batch["pads"])[:, 0]
    sees = block_mask(layout, batch["segments"], batch["pads"]).mask_mod
    b, q, k = torch.meshgrid(torch.arange(3), torch.arange(layout.length), torch.arange(layout.length), indexing="ij")
    assert torch.equal(sees(b, torch.zeros_like(b), q, k), dense)


@pytest.mark.parametrize(
    ("text", "value"), [("$5.2 million", 5.2), ("1,234", 1234), ("−3.5%", -3.5), ("12 300", 12300), ("Brazil", None)]
)
def test_numbers_are_read_from_answers(text, value):
    assert exam.number(text) == value


def test_an_exported_model_can_be_trained_on(exported):
    sizes, tensors, progress, tokenizer = export.from_export(exported)
    assert (sizes, progress) == (TINY, {"charts": 640, "next_seed": 704})
    assert tokenizer.encode(" Costa Rica").ids == codec().ids(" Costa Rica")
    for name, value in weights().items():
        assert torch.equal(tensors[name], value.to(torch.bfloat16).float())


def test_an_export_can_be_the_mean_of_several_models(exported, tmp_path, capsys):
    facts = {"charts": 700, "next_seed": 0, "seconds": 1.0, "steps": 5}
    opposite = {name: -3 * value for name, value in weights().items()}
    checkpoint.save(tmp_path / "leg", opposite, facts | {"sizes": asdict(TINY)}, codec().tokenizer.to_str())
    command = ["--resume", str(tmp_path / "leg"), "--export", str(tmp_path / "mean"), "--average", str(exported)]
    assert main([*command, str(exported)]) == 0
    _, tensors, progress, _ = export.from_export(tmp_path / "mean")
    assert progress["charts"] == 700
    for name, value in weights().items():  # (-3 + 1 + 1) / 3
        torch.testing.assert_close(tensors[name], -value / 3, rtol=0.02, atol=1e-4)
    grown, more = deeper(TINY, weights(), TINY.text_layers + 1, TINY.vision_layers)
    export.export(tmp_path / "grown", grown, more, codec().tokenizer, facts)
    assert main([*command, str(tmp_path / "grown")]) == 2
    assert "grown cannot be averaged with" in capsys.readouterr().err


def test_a_model_made_deeper_answers_as_before_until_it_is_trained(exported):
    sizes, tensors, _, _ = export.from_export(exported)
    grown, more = deeper(sizes, tensors, sizes.text_layers + 2, sizes.vision_layers + 1)
    assert {name: value.shape for name, value in more.items()} == shapes(grown)
    (before, seen), (after, seen_after) = (
        (
            model(input_ids=torch.arange(8)[None]).logits,
            model.model.visual(torch.ones(16, 1176), torch.tensor([[1, 4, 4]])),
        )
        for model in (export.to_transformers(sizes, tensors), export.to_transformers(grown, more))
    )
    assert torch.equal(before, after)
    assert torch.equal(seen.pooler_output, seen_after.pooler_output)
    with pytest.raises(ValueError, match="has 2 vision layers; it cannot go on with 1"):
        deeper(sizes, tensors, 2, 1)


def test_the_card_shows_what_the_results_say(tmp_path):
    card, examined = (tmp_path / name for name in ("README.md", "exam.json"))
    card.write_text("a <!-- exam --> old <!-- end of exam --> b <!-- names --> old <!-- end of names --> c")
    marks = {"all": [10, 5, 6], "printed": [10, 5, 6], "value, printed": [4, 3, 4], "chart: bar, printed": [10, 5, 6]}
    style = {"answers": 10, "mean_words": 2.5, "holds_the_answer": 5, "whole_sentences": 1}
    facts = {"charts": 2, "precision": "float32", "held_out": marks, "known_names": marks}
    examined.write_text(json.dumps(facts | {"style": {"with our system message": style, "without": style}}))
    report.write_card(card, examined)
    text = card.read_text()
    assert "old" not in text
    assert "10 questions, 50.0 % exact, 60.0 % exact or within 5 %." in text
    assert "| value | 4 | 75 | 100 |" in text
    assert "| bar | 10 | 50 | 60 |" in text
    assert "| never seen | 5 of 10 | 3 of 4 |" in text
