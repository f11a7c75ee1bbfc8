"""Bases as they come: old files, files that are not there, templates that show no chart, settings of generation."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny import chart, last

from chartqa_demo.arms import ARMS
from chartqa_demo.engines import Options
from chartqa_demo.engines.local import LocalEngine, load_local
from chartqa_demo.errors import EngineError
from chartqa_demo.settings import Settings

QUESTION = "What is the value of the red bar in 2019?"
LIMITS = {"shortest_edge": 3136, "longest_edge": 64 * 784}


@pytest.fixture
def base(tiny_base: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_base, tmp_path / "base")


def load(base: Path, decode: Any = "auto", adapter: str = "none") -> LocalEngine:
    return load_local(Settings(base=str(base), adapter=adapter, device="cpu", decode=decode))


def texts(engine: LocalEngine, options: Options | None = None) -> list[str]:
    answers = last(engine.answer(chart(), QUESTION, ARMS[:2], options or Options(max_new_tokens=12)))
    assert all(answer.error is None for answer in answers)
    return [answer.text for answer in answers]


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | values), encoding="utf-8")


def write_size(base: Path, **values: Any) -> None:
    """The image processor's file as it was before processors were one file, with these values."""
    path = base / "processor_config.json"
    images = json.loads(path.read_text(encoding="utf-8"))["image_processor"]
    path.unlink()
    images = {key: value for key, value in images.items() if key != "size"} | {"processor_class": "Qwen2VLProcessor"}
    (base / "preprocessor_config.json").write_text(json.dumps(images | values), encoding="utf-8")


@pytest.mark.parametrize(
    "values",
    [
        {"size": {"min_pixels": 3136, "max_pixels": 64 * 784}},
        {"size": {"min_pixels": 3136, "max_pixels": 64 * 784}, "min_pixels": 3136, "max_pixels": 64 * 784},
        {"min_pixels": 3136, "max_pixels": 64 * 784},
        {"size": LIMITS},
    ],
    ids=["size alone", "both", "top level alone", "as today"],
)
def test_a_processor_s_limits_count_however_they_are_written(values: dict[str, Any], base: Path) -> None:
    expected = texts(load(base))
    write_size(base, **values)
    engine = load(base)
    assert dict(engine.processor.image_processor.size) == LIMITS
    assert texts(engine) == expected


@pytest.mark.parametrize(
    "values",
    [
        {"size": {"height": 224, "width": 224}},
        {"size": {"shortest_edge": -1, "longest_edge": 784}},
        {"size": {"min_pixels": 9000, "max_pixels": 784}},
        {"size": {"min_pixels": 3136, "max_pixels": 50176}, "max_pixels": 50176},
    ],
    ids=["an edge", "negative", "swapped", "half at the top level"],
)
def test_limits_that_are_none_are_a_sentence_at_the_start(values: dict[str, Any], base: Path) -> None:
    write_size(base, **values)
    with pytest.raises(EngineError, match=r"^The processor of the base model [^\n]*$"):
        load(base)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_a_pointer_of_git_lfs_is_named_before_anything_is_loaded(name: str, base: Path) -> None:
    (base / name).write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 1\n")
    with pytest.raises(EngineError, match=rf"{name} is a pointer of Git LFS .* Run `git lfs pull`"):
        load(base)


def no_template(base: Path) -> None:
    (base / "chat_template.jinja").unlink()


def empty_template(base: Path) -> None:
    (base / "chat_template.jinja").write_text("", encoding="utf-8")


def text_only(base: Path) -> None:
    (base / "chat_template.jinja").write_text(
        "{% for m in messages %}{% for c in m.content %}{{ c.text }}{% endfor %}{% endfor %}", encoding="utf-8"
    )


def two_charts(base: Path) -> None:
    path = base / "chat_template.jinja"
    path.write_text("<|vision_start|><|image_pad|><|vision_end|>" + path.read_text(encoding="utf-8"), encoding="utf-8")


def no_question(base: Path) -> None:
    (base / "chat_template.jinja").write_text("<|image_pad|>", encoding="utf-8")


def broken_template(base: Path) -> None:
    (base / "chat_template.jinja").write_text("{% for m in messages %}", encoding="utf-8")


def raising_template(base: Path) -> None:
    (base / "chat_template.jinja").write_text("{{ raise_exception('Only text here') }}", encoding="utf-8")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (no_template, "has no usable chat template"),
        (empty_template, "writes 0 images and no question"),
        (text_only, "writes 0 images for a question about one chart"),
        (two_charts, "writes 2 images for a question about one chart"),
        (no_question, "writes 1 images and no question"),
        (broken_template, "has no usable chat template"),
        (raising_template, "no usable chat template: Only text here"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_template_that_does_not_show_the_chart_once_is_a_sentence_at_the_start(
    spoil: Callable[[Path], None], reason: str, base: Path
) -> None:
    spoil(base)
    with pytest.raises(EngineError, match=reason) as raised:
        load(base)
    assert "chat_template.jinja" in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "setting",
    [
        {"no_repeat_ngram_size": 2},
        {"suppress_tokens": [20, 21, 22]},
        {"bad_words_ids": [[30], [31]]},
        {"min_new_tokens": 6},
        {"min_length": 120},
    ],
    ids=lambda value: next(iter(value)),
)
def test_settings_that_the_fast_way_does_not_compute_go_the_general_way_and_say_so(
    setting: dict[str, Any], base: Path, tiny_adapter: Path
) -> None:
    change(base / "generation_config.json", **setting)
    engine = load(base, adapter=str(tiny_adapter))
    assert engine.fast is None
    assert any(f"generation_config.json sets {next(iter(setting))}" in note for note in engine.notes)
    options = Options(max_new_tokens=12)
    alone = [last(engine.answer(chart(), QUESTION, [arm], options))[0].text for arm in engine.arms]
    assert [answer.text for answer in last(engine.answer(chart(), QUESTION, engine.arms, options))] == alone
    with pytest.raises(EngineError, match="--decode static cannot be used"):
        load(base, "static")


def test_a_repetition_penalty_is_computed_by_the_fast_way_as_generate_computes_it(
    base: Path, tiny_adapter: Path
) -> None:
    plain = load(base, "static", str(tiny_adapter))
    change(base / "generation_config.json", repetition_penalty=1.6)
    fast, general = (load(base, decode, str(tiny_adapter)) for decode in ("static", "eager"))
    assert fast.fast is not None and fast.fast.decoder is not None
    options, items = Options(max_new_tokens=24), [(chart(seed), QUESTION) for seed in range(2)]
    changed = 0
    for arm in ARMS:  # row by row: a row of `generate` that is padded has its padding penalised, too
        for image, question in items:
            expected = last(general.answer(image, question, [arm], options))[0].text
            assert last(fast.answer(image, question, [arm], options))[0].text == expected
            changed += last(plain.answer(image, question, [arm], options))[0].text != expected
    assert changed > 0, "the penalty changes what is answered"
    many = fast.answer_many(items, ARMS, options)
    for (image, question), answers in zip(items, many, strict=True):
        assert [a.text for a in answers] == [a.text for a in last(fast.answer(image, question, ARMS, options))]
