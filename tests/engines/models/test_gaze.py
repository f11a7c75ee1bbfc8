"""Where an arm looked: transformers' own attention, on the picture's own places, from heads that were measured."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import chart, last
from transformers import AutoModelForImageTextToText

from chartqa_demo.arms import ADAPTER, ARMS, PRETRAINED
from chartqa_demo.engines import Answer, Options
from chartqa_demo.engines.local import LocalEngine, load_local
from chartqa_demo.engines.trust.gaze import attention
from chartqa_demo.engines.trust.measured import Measured, write_arms
from chartqa_demo.images import fit_canvas
from chartqa_demo.settings import Settings

QUESTION = "How many bars are there?"
OPTIONS = Options(max_new_tokens=6)
SAID = tuple(Answer(arm.key, text, done=True) for arm, text in zip(ARMS, ("Four bars.", "4", "12.5%"), strict=True))


@pytest.fixture
def folders(tmp_path: Path, tiny_base: Path, tiny_adapter: Path) -> tuple[Path, Path]:
    """The tiny model and its adapter, of whose first and last arm a head was found."""
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    shutil.copytree(tiny_base, base)
    shutil.copytree(tiny_adapter, adapter)
    write_arms(base, base, {PRETRAINED.key: {"heads": [[0, 1]]}})
    write_arms(adapter, base, {ADAPTER.key: {"heads": [[1, 3], [0, 0]]}})
    return base, adapter


def load(base: Path, adapter: Path | str) -> LocalEngine:
    return load_local(Settings(base=str(base), adapter=str(adapter), device="cpu", decode="static"))


def test_attention_is_that_of_transformers_shared_out_over_the_chart(tiny_base: Path) -> None:
    engine = load(tiny_base, "none")
    assert engine.fast is not None
    look = engine.looks.of([chart()])[0]
    prompts = [engine._token_ids(engine.prompt_text(arm, QUESTION, OPTIONS), look) for arm in ARMS[:2]]
    said = [engine.processor.tokenizer(text)["input_ids"] for text in ("Four bars.", "4")]
    found = attention(engine.fast.layers, prompts, said, look, ["", ""])
    own = AutoModelForImageTextToText.from_pretrained(tiny_base, dtype=torch.float32, attn_implementation="eager")
    for arm, prompt, answer, ours in zip(ARMS[:2], prompts, said, found, strict=True):
        inputs = engine._inputs([chart()], [engine.prompt_text(arm, QUESTION, OPTIONS)])
        ids = torch.tensor([prompt + answer])
        image = ids == engine.base.config.image_token_id
        with torch.inference_mode():
            theirs = own(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                mm_token_type_ids=image.int(),
                image_grid_thw=inputs["image_grid_thw"],
                mm_encoder_outputs=inputs["mm_encoder_outputs"],
                output_attentions=True,
            ).attentions
        for layer, weights in enumerate(theirs):
            shares = weights[0, :, len(prompt) - 1 :, image[0]]
            shares = (shares / shares.sum(-1, keepdim=True)).mean(1)
            torch.testing.assert_close(ours[layer], shares, atol=1e-4, rtol=1e-3)


def test_only_arms_whose_heads_were_found_and_that_said_something_are_drawn(folders: tuple[Path, Path]) -> None:
    engine = load(*folders)
    found = engine.gazes(chart(), QUESTION, ARMS, SAID, OPTIONS)
    assert set(found) == {PRETRAINED.key, ADAPTER.key}
    failed = (Answer("pretrained", "Four", done=True, error="It broke off."), SAID[1], Answer("adapter", "", done=True))
    assert engine.gazes(chart(), QUESTION, ARMS, failed, OPTIONS) == {}
    alone = engine.gazes(chart(), QUESTION, [ADAPTER], SAID, OPTIONS)
    for here, there in zip(alone[ADAPTER.key].cells, found[ADAPTER.key].cells, strict=True):
        assert here == pytest.approx(there, abs=1e-4)


def test_the_grid_lies_over_the_whole_picture_and_its_hottest_cell_is_one(folders: tuple[Path, Path]) -> None:
    engine = load(*folders)
    for size in ((168, 112), (112, 168)):
        one = engine.gazes(chart(0, size), QUESTION, ARMS, SAID, OPTIONS)[PRETRAINED.key]
        assert (len(one.cells[0]), len(one.cells)) == (size[0] // 28, size[1] // 28)
        assert one.box == (0, 0, 1, 1) and max(map(max, one.cells)) == 1 and min(map(min, one.cells)) >= 0


def test_on_a_canvas_the_grid_covers_more_than_the_picture(folders: tuple[Path, Path]) -> None:
    engine = load(*folders)
    canvases = ((224, 168), (168, 224))
    engine.looks._canvases = engine.base.config.chart_canvases = canvases
    image = chart(0, (300, 100))
    one = engine.gazes(image, QUESTION, ARMS, SAID, OPTIONS)[PRETRAINED.key]
    fitted = fit_canvas(image, canvases)
    assert (len(one.cells[0]), len(one.cells)) == (8, 6)
    left, top, right, bottom = one.box
    for x, y in ((30, 20), (290, 95)):
        place = fitted.place(x, y)
        assert (x / 300 - left) / (right - left) == pytest.approx(place[0] / 224)
        assert (y / 100 - top) / (bottom - top) == pytest.approx(place[1] / 168)
    assert bottom > 1.2, "below a wide picture the canvas is white"


def test_a_look_back_changes_no_answer_and_takes_no_new_look(folders: tuple[Path, Path]) -> None:
    engine = load(*folders)
    before = last(engine.answer(chart(), QUESTION, ARMS, OPTIONS))
    passes = engine.looks.passes
    engine.gazes(chart(), QUESTION, ARMS, SAID, OPTIONS)
    assert engine.looks.passes == passes
    after = last(engine.answer(chart(), QUESTION, ARMS, OPTIONS))
    assert [(one.text, one.log_probability) for one in after] == [(one.text, one.log_probability) for one in before]


def test_heads_that_are_none_of_the_model_s_are_not_drawn(folders: tuple[Path, Path]) -> None:
    """The tiny model has two layers of four heads."""
    engine, (base, adapter) = load(*folders), folders
    many, endless, deep = [[n, 0] for n in range(9000)], [[0, 1e999]], [[[0], 1]]
    others: list[Any] = [[[9, 9]], [[2, 0]], [[0, 4]], [[0, 1], [-1, 0]], [["0", "1"]], "01", [[0, 1.0]], [[True, 0]]]
    for heads in (*others, [[0]], many, endless, deep, None, 7, {}, []):
        write_arms(base, base, {PRETRAINED.key: {"heads": heads}})
        engine._measured = Measured(base)
        engine._measured.use_adapter(adapter)
        assert set(engine.gazes(chart(), QUESTION, ARMS, SAID, OPTIONS)) == {ADAPTER.key}, heads
    write_arms(base, base, {PRETRAINED.key: {"heads": [[0, 1]] * 1000 + [[1, 0]]}})
    assert Measured(base).heads(PRETRAINED, 2, 4) == ((0, 1), (1, 0)), "each counts once"
