"""The same engine and training on other families: what cannot be shared or mixed falls back, and three arms answer."""

import ast
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from families import BUILDERS
from PIL import Image, ImageDraw
from safetensors.torch import load_file
from tiny import build_tiny_adapter, last
from train_fixtures import examples, png, small_trainer, table, write_charts, write_config
from transformers import AutoProcessor

from chartqa_demo.adapters.contract import read_contract
from chartqa_demo.arms import ADAPTER, ARMS, PROMPTED, SYSTEM_MESSAGE, folds_system
from chartqa_demo.engines import Options, loading
from chartqa_demo.engines.local import LocalEngine, load_local
from chartqa_demo.errors import EngineError
from chartqa_demo.settings import Settings
from chartqa_demo.space.hub import Source
from train.__main__ import main
from train.data import chart_rows

pytest_plugins = ("train_fixtures",)
pytestmark = pytest.mark.usefixtures("own_dataset_cache")

SHORT = Options(max_new_tokens=8)
LANGUAGE_MODEL = r".*(language_model|text_model).*\.(q_proj|v_proj)"


def chart() -> Image.Image:
    image = Image.new("RGB", (168, 112), "white")
    ImageDraw.Draw(image).rectangle((20, 30, 60, 100), fill="red")
    return image


@pytest.fixture(scope="module", params=sorted(BUILDERS))
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return BUILDERS[request.param](tmp_path_factory.mktemp(request.param) / "base")


@pytest.fixture(scope="module")
def engine(base: Path) -> LocalEngine:
    adapter = build_tiny_adapter(base, base.parent / "adapter", targets=LANGUAGE_MODEL)
    return load_local(Settings(base=str(base), adapter=str(adapter), device="cpu"))


def test_three_arms_stream_and_equal_separate_runs(engine: LocalEngine) -> None:
    states = list(engine.answer(chart(), "How many bars are above 40?", ARMS, SHORT))
    assert len(states) >= 2
    for arm, answer in zip(ARMS, states[-1], strict=True):
        (alone,) = last(engine.answer(chart(), "How many bars are above 40?", [arm], SHORT))
        assert answer.done and answer.error is None
        assert (answer.text, answer.tokens) == (alone.text, alone.tokens)
    assert len({answer.text for answer in states[-1]}) == len(ARMS)


def test_many_questions_at_once_get_the_answers_of_one_by_one(engine: LocalEngine) -> None:
    items = [(chart(), "How many bars?"), (chart(), "What is the value of the red bar in 2019?")]
    for (image, question), answers in zip(items, engine.answer_many(items, ARMS, SHORT), strict=True):
        expected = last(engine.answer(image, question, ARMS, SHORT))
        assert [(a.text, a.tokens) for a in answers] == [(a.text, a.tokens) for a in expected]


def test_special_tokens_of_the_family_in_a_question_are_text(engine: LocalEngine) -> None:
    tokenizer = engine.processor.tokenizer
    special = set(tokenizer.get_added_vocab().values())

    def structure(question: str) -> list[int]:
        text = engine.prompt_text(ARMS[0], question, SHORT)
        ids = engine._inputs([chart()], [text])["input_ids"][0].tolist()
        return [i for i in ids if i in special]

    attack = " ".join(tokenizer.get_added_vocab())
    assert structure(f"How many {attack} bars?") == structure("How many bars?")


def test_the_page_is_told_what_the_family_cannot_do(engine: LocalEngine) -> None:
    assert any("vision pass" in note for note in engine.notes) is not engine.shares_vision
    folds = any("opens the question instead" in note for note in engine.notes)
    assert folds == (type(engine.base).__name__.startswith(("Mllama", "Llava")))


def test_the_system_message_is_in_the_prompt_of_two_arms_once(engine: LocalEngine) -> None:
    asked = [engine.prompt_text(arm, "How many bars?", SHORT).count(SYSTEM_MESSAGE) for arm in ARMS]
    assert asked == [0, 1, 1]


def test_a_training_batch_is_what_the_model_sees_of_each_row_alone(base: Path, engine: LocalEngine) -> None:
    """Prompts and answers of different lengths, so that padding and every mask have to be right."""
    asked = [(png(1), "How many bars?", "4"), (png(2), "Which of the four bars is the highest one?", "Blue, 2019")]
    folds = folds_system(lambda turns: engine.processor.apply_chat_template(turns, tokenize=False))
    rows = chart_rows(examples(asked), fold_system=folds)
    trainer = small_trainer(base, base.parent / "collating", examples(asked), "--activation_checkpointing", "false")
    collate: Any = trainer.data_collator
    model: Any = trainer.model
    batch = collate([rows[0], rows[1]])
    labels = batch.pop("labels")
    with torch.no_grad():
        together = trainer.model.eval()(**batch).logits
        for k, (_, question, answer) in enumerate(asked):
            text = engine.prompt_text(ADAPTER, question, SHORT)
            supervised = labels[k] != -100
            written = engine.processor.tokenizer.decode(labels[k][supervised])
            assert written.strip().startswith(answer)
            alone = engine.processor(
                text=[text + written], images=[rows[k]["images"]], return_tensors="pt", add_special_tokens=False
            )
            length = alone["input_ids"].shape[1]
            assert batch["input_ids"][k, :length].tolist() == alone["input_ids"][0].tolist()
            expected = model(**alone).logits[0]
            assert torch.allclose(together[k, :length], expected, atol=1e-4)


# The others' processors and trainers are these, and so are the steps of the bundled kind in tests/train.
SOME = [
    one if one in ("mllama", "Qwen3-VL", "SmolVLM") else pytest.param(one, marks=pytest.mark.campaign)
    for one in sorted(BUILDERS)
]


@pytest.mark.parametrize("base", SOME, indirect=True, scope="module")
def test_charts_cast_before_the_model_give_the_numbers_of_charts_cast_in_it(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = examples([(png(1), "How many bars?", "4"), (png(2), "Which is the highest?", "Blue")])
    folds = folds_system(lambda turns: AutoProcessor.from_pretrained(base).apply_chat_template(turns, tokenize=False))
    rows = chart_rows(asked, fold_system=folds)
    trainer = small_trainer(base, tmp_path, asked, "--dtype", "bfloat16", "--activation_checkpointing", "false")
    cast = trainer.data_collator([rows[0], rows[1]])
    monkeypatch.setattr("train.trainer._in_dtype_of_vision", lambda collate, _: collate)
    plain = small_trainer(base, tmp_path, asked).data_collator([rows[0], rows[1]])
    assert (cast["pixel_values"].dtype, plain["pixel_values"].dtype) == (torch.bfloat16, torch.float32)
    model: Any = trainer.model.eval()
    with torch.no_grad():
        assert torch.equal(model(**cast).logits, model(**plain).logits)


@pytest.mark.parametrize("base", SOME, indirect=True, scope="module")
def test_two_training_steps_make_an_adapter_that_the_engine_serves(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    charts = write_charts(
        tmp_path / "charts", train=table(4), val=table(1, 100), test=table(1, 204)
    )  # no chart of train
    changes = {"max_steps": 2, "eval_steps": 2, "accuracy_sample": 1, "report_to": "none", "max_pixels": 15_000}
    assert main(write_config(tmp_path, base, charts, base_id="ann/tiny", **changes)) == 0
    printed = capsys.readouterr().out.partition("Trained on:\n")[2].splitlines()[:3]
    texts = [ast.literal_eval(line.strip()).strip() for line in printed]
    (end,) = {text.removeprefix(str(k)) for k, text in enumerate(texts)}  # the same behind each of "0", "1", "2"
    assert end in AutoProcessor.from_pretrained(base).tokenizer.all_special_tokens

    weights = load_file(tmp_path / "run" / "adapter_model.safetensors")
    assert all(any(part in name for part in ("language_model", "text_model")) for name in weights)
    assert any(bool(weight.any()) for name, weight in weights.items() if "lora_B" in name)
    contract = read_contract(tmp_path / "run")
    assert contract is not None and contract.max_pixels == 15_000
    scores = json.loads((tmp_path / "run" / "results.json").read_text(encoding="utf-8"))["scores"]["canonical"]
    assert [scores[arm.key]["all"]["asked"] for arm in ARMS] == [1, 1, 1], "an arm failed"
    engine = load_local(Settings(base=str(base), adapter=str(tmp_path / "run"), device="cpu"))
    answers = last(engine.answer(chart(), "How many bars?", ARMS, SHORT))
    assert [answer.error for answer in answers] == [None] * 3


def test_a_family_whose_template_takes_parts_of_text_keeps_its_system_turn(engine: LocalEngine) -> None:
    text = engine.prompt_text(PROMPTED, "How many bars?", SHORT)
    before, _, after = text.partition(SYSTEM_MESSAGE)
    image = engine.processor.image_token
    assert (image in before) == engine._folds_system and (image in after) != engine._folds_system
    assert after.index("How many bars?") > 0


def test_a_base_with_code_of_its_own_is_for_the_endpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Molmo's config; its 30 GB of weights are not asked for."""
    described = {"model_type": "molmo", "auto_map": {"AutoModelForCausalLM": "modeling_molmo.MolmoForCausalLM"}}
    (tmp_path / "config.json").write_text(json.dumps(described), encoding="utf-8")
    asked: list[tuple[str, ...]] = []

    class OnTheHub(Source):
        def fetch(self, files: Sequence[str]) -> Path:
            asked.append(tuple(files))
            return tmp_path

    monkeypatch.setattr(loading, "find", lambda name, revision, what: OnTheHub(name, revision, what, {}))
    with pytest.raises(EngineError, match=r"allenai/Molmo-7B-D-0924 brings code of its own \(molmo\).*--endpoint"):
        load_local(Settings(base="allenai/Molmo-7B-D-0924", device="cpu"))
    assert asked == [("config.json",)]


@pytest.mark.parametrize("family", ["Pixtral", "SmolVLM"])
def test_an_adapter_that_reaches_the_vision_tower_is_refused(family: str, tmp_path: Path) -> None:
    base = BUILDERS[family](tmp_path / "base")
    adapter = build_tiny_adapter(base, tmp_path / "adapter", targets=["q_proj", "v_proj"])
    with pytest.raises(EngineError, match="outside the language model"):
        load_local(Settings(base=str(base), adapter=str(adapter), device="cpu"))
