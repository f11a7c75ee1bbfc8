"""Pretraining of the bundled model: the lean forward pass is Qwen2-VL, the rows say what their charts show."""

import json
import os
import random
import re
import socket
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from transformers import AutoModelForImageTextToText, AutoProcessor

from chartqa_demo.arms import ADAPTER, PRETRAINED, PROMPTED, SYSTEM_MESSAGE
from chartqa_demo.chat import messages, training_row
from chartqa_demo.images import fit_canvas
from train.pretrain import checkpoint, exam, export, losses, report, rows
from train.pretrain.__main__ import main, settings_of
from train.pretrain.layout import CANVASES, CELL, IMAGE_TOKENS, cell_of
from train.pretrain.model import Reader, Sizes, block_mask, dense_mask, initial, shapes
from train.pretrain.optimise import Rates
from train.pretrain.ranks import Ranks
from train.pretrain.rows import ChartRows, Codec, Mix
from train.pretrain.seen import Seen, figures_of, middle, write_places
from train.pretrain.tokenizer import CONCISE, build_tokenizer, render
from train.pretrain.training import Settings, Training
from train.pretrain.truth import Chart, Mark, Question, Text

TINY = Sizes(vocabulary=700, text_width=128, text_layers=2, text_ffn=192, key_heads=1, vision_width=64, vision_layers=2)
NAMES = ["Brazil", "Costa Rica", "Mali", "2015", "2016", "Very satisfied"]


def bar_chart(seed: int) -> Chart:
    """A chart with labelled bars; every third one is in portrait."""
    rng = random.Random(seed)
    width, height = (300, 450) if seed % 3 == 2 else (400, 300)
    names = rng.sample(NAMES, 4)
    values = rng.sample(range(10, 99), 4)
    image = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(image)
    table = "Category | Sales\n" + "\n".join(f"{name} | {value}%" for name, value in zip(names, values, strict=True))
    numbers: list[list[float | None]] = [[float(value) for value in values]]
    chart = Chart(image, "bar", "plain", "Sales", names, ["Sales"], numbers, table, True)

    def write(x: float, y: float, text: str, role: str) -> None:
        places = [(x + 6 * k + 3, y + 6) for k in range(len(text))]
        for character, place in zip(text, places, strict=True):
            draw.text(place, character, fill="black", anchor="mm")
        box = (x, y, x + 6 * len(text), y + 12)
        chart.texts.append(Text(text, role, box, [p for p, c in zip(places, text, strict=True) if c != " "]))

    write(5, 2, "Sales", "title")
    for k, (name, value) in enumerate(zip(names, values, strict=True)):
        left, top = 10 + k * (width - 20) / 4, height - 30 - value
        draw.rectangle((left, top, left + 30, height - 30), fill="navy")
        write(left, height - 25, name, "category")
        write(left, top - 14, f"{value}%", "value")
        box = (left, top, left + 30, height - 30)
        chart.marks.append(Mark(k, 0, value, f"{value}%", box, (left + 15, top), value / 100))
        text, sentence = f"What is the value of {name}?", f"The value of {name} is {value}%."
        chart.questions.append(Question("value", text, str(value), f"{value}%", sentence, marks=((k, 0),)))
    best = max(range(4), key=lambda k: values[k])
    name = names[best]
    chart.questions.append(
        Question("argmax", "Which is highest?", name, name, f"{name} is highest.", marks=((best, 0),))
    )
    return chart


@cache
def codec() -> Codec:
    return Codec(build_tokenizer((bar_chart(seed) for seed in range(40)), TINY.vocabulary), 512)


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
    image, _ = fit_canvas(chart.image, canvases)
    text = processor.apply_chat_template(conversation, add_generation_prompt=True, tokenize=False)
    return processor(text=[text], images=[image], return_tensors="pt")


@pytest.mark.parametrize("seed", [0, 2], ids=["landscape", "portrait"])
@pytest.mark.parametrize("system", [None, SYSTEM_MESSAGE], ids=["default", "ours"])
def test_packed_questions_get_the_logits_of_plain_transformers(seed, system):
    chart = bar_chart(seed)
    seen = Seen(chart)
    row = rows.pack(codec(), seen, chart.questions, system, Mix())
    batch = rows.collate([row | {"pixels": seen.pixels, "portrait": np.array(seen.portrait)}])
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
    b, q, k = torch.meshgrid(torch.arange(3), torch.arange(512), torch.arange(512), indexing="ij")
    assert torch.equal(sees(b, torch.zeros_like(b), q, k), dense)


@pytest.mark.parametrize("seed", [1, 2], ids=["landscape", "portrait"])
def test_answer_tokens_point_to_where_the_chart_prints_them(seed):
    chart = bar_chart(seed)
    seen = Seen(chart)
    question = chart.questions[0]
    row = rows.pack(codec(), seen, [question], SYSTEM_MESSAGE, Mix())
    label = next(text for text in chart.texts if text.role == "value")
    answer = np.flatnonzero(row["weights"] == 1.0)
    pointing = [k for k in answer if row["copy"][k, 0] >= 0]
    pieces = [codec().tokenizer.decode([int(row["ids"][codec().layout.prefix + k])]) for k in pointing]
    assert "".join(pieces) == question.gold  # the unit is not copied: its place differs
    for k, (x, y) in zip(pointing, label.centres[:2], strict=True):
        assert row["copy"][k, 0] == cell_of(x * seen.scale, y * seen.scale, seen.portrait)
    assert set(row["mark"][answer, 0]) == {seen.cell(middle(label))}


def test_a_question_about_the_winner_points_to_the_winner_only():
    chart = bar_chart(1)
    seen = Seen(chart)
    asked = next(question for question in chart.questions if question.kind == "argmax")
    every = Question("argmax", asked.text, asked.gold, asked.short, asked.sentence, marks=tuple(seen.points))
    assert seen.rests_on(every) == seen.rests_on(asked)


def test_names_in_a_question_look_at_their_marks():
    chart = bar_chart(1)
    seen = Seen(chart)
    first, second = chart.categories[2], chart.categories[0]
    text = f"How much higher is {first} than {second}?"
    asked = Question("difference", text, "3", "3", "It is 3.", marks=((0, 0), (2, 0)))
    row = rows.pack(codec(), seen, [asked], SYSTEM_MESSAGE, Mix())
    encoded = codec().tokenizer.encode(text, add_special_tokens=False)
    for name, category in ((first, 2), (second, 0)):
        last = text.index(name) + len(name) - 1
        token = next(k for k, (begin, end) in enumerate(encoded.offsets) if begin <= last < end)
        assert row["mark"][token + 1].tolist() == [seen.cell(seen.points[category, 0]), -1, -1, -1]
    assert (row["mark"][: len(encoded.ids), 0] >= 0).sum() == 2


def test_a_question_that_names_no_mark_looks_at_none_before_its_answer():
    chart = bar_chart(1)
    asked = next(question for question in chart.questions if question.kind == "argmax")
    assert Seen(chart).named(asked) == {}


def test_no_leg_draws_a_seed_that_another_worker_or_an_earlier_leg_drew(tmp_path, monkeypatch):
    """A worker has begun at most three batches more than have been trained."""
    workers, trained, drawn = 14, 1, []

    def make(seed: int) -> Chart:
        drawn.append(seed)
        return bar_chart(0)

    settings = Settings(
        sizes=TINY,
        weights=losses.Weights(mark_layer=0, copy_layer=1),
        batch=1,
        row_tokens=512,
    )
    training = Training(settings, codec(), "cpu", tmp_path, ({}, {"next_seed": 1000, "charts": 900}))
    for worker in range(workers):
        info = SimpleNamespace(id=worker, num_workers=workers)
        monkeypatch.setattr("torch.utils.data.get_worker_info", lambda info=info: info)
        batches = iter(ChartRows(codec, make, settings.batch, settings.mix, training.first_seed))
        for step in range(trained + 3):
            batch = next(batches)
            if step < trained:
                training.step(batch, 1.0)
    assert training.progress.charts == 900 + workers * trained
    assert len(set(drawn)) == len(drawn)
    assert min(drawn) == 1000
    assert max(drawn) < training.progress.next_seed <= 1000 + workers * trained + 64


def test_sums_without_a_chart_are_right_and_written_as_answers_about_charts_are():
    rng = random.Random(3)
    signs = set()
    for _ in range(300):
        question = rows.sum_question(rng)
        term = question.text.removeprefix("What is ").removesuffix("?")
        signs |= set(term) & set("-+/(")
        assert float(question.short) == pytest.approx(eval(term), abs=0.0051)  # digits and signs only
        assert question.short == "0" or not re.search(r"\.\d*0$", question.short)
        assert question.sentence == f"{term} = {question.short}."
    assert signs == set("-+/(")


def test_a_name_that_ends_in_a_digit_is_found_as_it_is():
    points: list = [(float(k), 0.0) for k in range(5)]
    places: list = [None] * 13
    assert write_places(places, "[Foo, 3 Bar, ", 0, "Foo 3", points) == 0
    assert write_places(places, "[Foo 3, Bar, ", 0, "Foo 3", points) == 6
    assert places == [None, *points, *[None] * 7]


def test_thousands_separators_do_not_hide_a_figure():
    text = Text("1,250", "value", (0, 0, 50, 10), [(10.0 * k, 5.0) for k in range(5)])
    places: list = [None] * 12
    write_places(places, "is $1250 now", 0, *figures_of(text))
    assert [place and place[0] for place in places] == [None] * 4 + [0, 20, 30, 40] + [None] * 4


def test_characters_are_where_they_are_printed():
    chart = bar_chart(4)
    seen = Seen(chart)
    row = rows.build_row(codec(), chart, Mix(), random.Random(0))
    for text in chart.texts:
        for (x, y), character in zip(text.centres, text.text.replace(" ", ""), strict=True):
            cell = cell_of(x * seen.scale, y * seen.scale, seen.portrait)
            assert ord(character) - 32 in row["characters"][cell]
    assert row["characters"].shape == (IMAGE_TOKENS, 16)


def test_rows_show_the_pixels_of_the_canvas():
    for seed in (0, 2):
        chart = bar_chart(seed)
        canvas, _ = fit_canvas(chart.image, CANVASES)
        seen = Seen(chart)
        assert np.array_equal(seen.pixels.reshape(canvas.height, canvas.width, 3), np.asarray(canvas))
        assert canvas.height // CELL * (canvas.width // CELL) == IMAGE_TOKENS


@pytest.mark.parametrize(
    ("text", "value"), [("$5.2 million", 5.2), ("1,234", 1234), ("−3.5%", -3.5), ("12 300", 12300), ("Brazil", None)]
)
def test_numbers_are_read_from_answers(text, value):
    assert exam.number(text) == value


def test_a_leg_resumes_from_its_checkpoint(tmp_path):
    """Weights come back as bfloat16, charts are not seen twice, and training goes on."""
    settings = Settings(sizes=TINY, weights=losses.Weights(mark_layer=0, copy_layer=1), batch=2, row_tokens=512)
    batches = iter(ChartRows(codec, bar_chart, 2, Mix()))
    first = Training(settings, codec(), "cpu", tmp_path, None)
    for _ in range(2):
        first.step(next(batches), 1.0)
    first.save("stable")
    tensors, facts = checkpoint.load(tmp_path / "stable")
    second = Training(settings, codec(), "cpu", tmp_path, (tensors, facts))
    for name, value in second.parameters.items():
        assert torch.equal(value, first.parameters[name].to(torch.bfloat16).float())
    assert second.progress.steps == 2
    assert facts["next_seed"] >= 4
    second.step(next(batches), 1.0)
    assert np.isfinite(list(second.losses().values())).all()
    assert all(file.stat().st_size < 15 * 2**20 for file in (tmp_path / "stable").iterdir())


def test_the_log_says_which_share_of_the_time_no_batch_was_ready(tmp_path, monkeypatch):
    """Batches take three seconds and steps one."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr("train.pretrain.training.time", SimpleNamespace(monotonic=lambda: clock.now))
    settings = Settings(sizes=TINY, weights=losses.Weights(mark_layer=0, copy_layer=1), row_tokens=512, log_every=2)
    training = Training(settings, codec(), "cpu", tmp_path, None)
    made, step = next(iter(ChartRows(codec, bar_chart, 2, Mix()))), training.step

    def batches():
        while True:
            clock.now += 3
            yield made

    def timed(batch, factor):
        clock.now += 1
        step(batch, factor)

    monkeypatch.setattr(training, "step", timed)
    training.run(batches(), 20, 0, [exam.sheet(bar_chart(1), 1, 1)], 0.0)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["waiting"] for line in lines if "charts_per_second" in line] == [0.75, 0.75]
    assert training.progress.seconds == 16  # the first step, mostly compilation, is not counted


def one_of_two(rank: int, port: int, folder: Path) -> None:
    """A process of two: three steps on charts of its own, what it saw and what it ends with."""
    torch.set_num_threads(1)
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", **address)
    ranks, drawn = Ranks(), []

    def make(seed: int) -> Chart:
        drawn.append(seed)
        return bar_chart(seed)

    settings = Settings(sizes=TINY, weights=losses.Weights(mark_layer=0, copy_layer=1), batch=1, row_tokens=512)
    batches = iter(ChartRows(codec, make, 1, Mix(), 0, ranks.rank, ranks.count))
    ranks.join()
    training = Training(settings, codec(), "cpu", folder / str(rank), None, ranks)
    for _ in range(3):
        training.step(next(batches), 1.0)
    training.save("stable")
    torch.save({name: value.detach() for name, value in training.parameters.items()}, folder / f"{rank}.pt")
    seen = {"drawn": drawn, "clock": ranks.agree(10.0 + rank), "charts": training.progress.charts}
    weights = list(training.parameters.values())
    seen["apart"] = [ranks.apart(weights), ranks.apart([value + rank for value in weights])]
    (folder / f"{rank}.json").write_text(json.dumps(seen))
    ranks.leave()


def test_two_processes_read_other_charts_take_the_same_steps_and_one_of_them_writes(tmp_path):
    codec()  # made once, before the fork
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    fork = get_context("fork")
    both = [fork.Process(target=one_of_two, args=(rank, port, tmp_path)) for rank in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
    assert [process.exitcode for process in both] == [0, 0]
    one, two = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert (one["drawn"], two["drawn"]) == ([0, 2, 4], [1, 3, 5])
    assert (one["clock"], two["clock"]) == ([10.0], [10.0])
    assert one["charts"] == two["charts"] == 6
    assert one["apart"][0] == 0.0 < one["apart"][1]
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert (tmp_path / "0" / "stable").is_dir()
    assert not (tmp_path / "1" / "stable").exists()


def test_an_exported_model_can_be_trained_on(exported):
    sizes, tensors, progress, tokenizer = export.from_export(exported)
    assert (sizes, progress) == (TINY, {"charts": 640, "next_seed": 704})
    assert tokenizer.encode(" Costa Rica").ids == codec().ids(" Costa Rica")
    for name, value in weights().items():
        assert torch.equal(tensors[name], value.to(torch.bfloat16).float())


def test_rates_settle_and_decay_by_the_clock():
    factor = partial(Rates(high_seconds=60, settle_seconds=180, steady=0.6, warm_steps=100).factor, 10_000)
    assert factor(0, 500, 0) == 1.0
    assert factor(120, 500, 0) == pytest.approx(0.8)
    assert factor(600, 500, 0) == pytest.approx(0.6)
    assert factor(600, 140, 280) == pytest.approx(0.3)
    assert factor(600, 0, 280) == 0.0


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


def test_settings_that_cannot_work_are_refused_in_a_sentence(capsys):
    with pytest.raises(ValueError, match="does not know 'batsch'"):
        settings_of(Settings, {"batsch": 3})
    assert main(["--resume", "nowhere", "--export", "nowhere"]) == 2
    assert "no checkpoint in nowhere" in capsys.readouterr().err
