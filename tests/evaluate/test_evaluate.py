"""What an evaluation asks, batch by batch, and what it records and prints, with an engine that knows all answers."""

import json
from dataclasses import replace
from functools import partial
from itertools import pairwise

import pytest
from knowing_engine import OPTIONS, KnowingEngine, finish, make_examples

from chartqa_demo.__main__ import main as start
from chartqa_demo.arms import ADAPTER, ARMS, PRETRAINED, PROMPTED
from chartqa_demo.data.splits import Example
from chartqa_demo.engines import Answer
from chartqa_demo.errors import EngineError, EvaluationError
from chartqa_demo.evaluate import run as evaluate
from chartqa_demo.evaluate.__main__ import main
from chartqa_demo.evaluate.record import read_results
from chartqa_demo.evaluate.run import GIVE_UP_AFTER, LARGEST_BATCH, Batch
from chartqa_demo.evaluate.tables import figures_of, figures_of_summary, rule_as_text, unanswered


def test_every_question_is_asked_once_and_scored_under_every_rule(tmp_path):
    engine, examples = KnowingEngine(), make_examples(30)
    finish(engine, examples, tmp_path / "run.jsonl")
    assert sorted(engine.asked) == sorted(one.question for one in examples)
    results = read_results(tmp_path / "run.jsonl")
    assert [item.id for item in results.items] == [one.id for one in examples]
    assert [results.score(arm, "canonical").correct for arm in results.arms] == [0, 0, 30]
    assert [results.score(arm, "tolerant").correct for arm in results.arms] == [0, 30, 30]
    assert [results.score("adapter", "exact", group).asked for group in ("human", "machine", "all")] == [23, 7, 30]


def test_results_json_holds_settings_scores_and_tests_and_no_row_of_the_data_set(tmp_path):
    about = {"dataset": "charts", "split": "test", "seed": 3, "limit": 30}
    finish(KnowingEngine(), make_examples(30), tmp_path / "run.jsonl", about=about)
    text = (tmp_path / "run.json").read_text()
    summary = json.loads(text)
    assert {key: summary[key] for key in about} == about
    assert (summary["complete"], summary["asked"], summary["planned"], summary["errors"]) == (True, 30, 30, [])
    assert summary["versions"]["python"] and summary["model"] == "a knowing engine"
    assert summary["sample"][:2] == ["test/1", "test/2"]
    score = summary["scores"]["canonical"]["adapter"]["all"]
    assert (score["accuracy"], score["high"]) == (1.0, 1.0) and 0.8 < score["low"] < 1
    pair = summary["comparisons"]["canonical"][-1]
    assert (pair["first"], pair["second"], pair["only_first"]) == ("adapter", "prompted", 30)
    assert "What is" not in text and "gold" not in text


def test_progress_is_reported_after_every_batch_with_the_time_left(tmp_path):
    states = list(evaluate.run(KnowingEngine(), make_examples(80), ARMS, OPTIONS, tmp_path / "run.jsonl"))
    assert [states[0].done, states[0].eta_s, states[0].total] == [0, None, 80]
    assert states[-1].done == 80 and states[-1].eta_s == 0
    assert all(later.done == earlier.done + len(later.new) for earlier, later in pairwise(states))
    assert len(states) > 3


def test_a_batch_holds_charts_of_one_size_first_and_keeps_a_charts_questions_together(tmp_path):
    engine, examples = KnowingEngine(), make_examples(48)
    finish(engine, examples, tmp_path / "run.jsonl")
    by_question = {one.question: one for one in examples}
    sizes = [by_question[question].image_size()[0] for question in engine.asked]
    assert sizes == sorted(sizes, reverse=True)
    charts = [by_question[question].chart for question in engine.asked]
    changes = sum(earlier != later for earlier, later in pairwise(charts))
    assert changes == len(set(charts)) - 1


def test_a_batch_ends_where_a_chart_ends(tmp_path):
    engine = KnowingEngine()
    finish(engine, make_examples(60, per_chart=5), tmp_path / "run.jsonl")
    assert len(engine.batches[0]) == 15  # three charts of five; a fourth would make it 20
    assert all(len(batch) % 5 == 0 for batch in engine.batches)


def test_a_chart_with_more_questions_than_fit_is_asked_in_parts(tmp_path):
    engine = KnowingEngine(room=4)
    finish(engine, make_examples(30, per_chart=10), tmp_path / "run.jsonl")
    assert max(map(len, engine.batches)) <= 4 and len(engine.asked) == 30


def test_a_batch_that_does_not_fit_is_halved_and_nothing_is_lost(tmp_path):
    engine, examples = KnowingEngine(room=3), make_examples(30)
    last = finish(engine, examples, tmp_path / "run.jsonl")
    assert max(map(len, engine.batches)) <= 3
    assert sorted(engine.asked) == sorted(one.question for one in examples)
    assert last.results.errors == () and last.batch <= 3


def test_batches_grow_while_larger_ones_are_faster():
    batch = Batch(size=4)
    batch.worked(4, 4.0)
    batch.worked(8, 6.0)
    assert batch.size == 16
    batch.worked(16, 12.0)  # no faster per question
    assert batch.size == 16
    batch.did_not_fit(16)
    assert batch.size == 8
    batch.worked(8, 0.1)  # faster, but what did not fit is not tried again
    assert batch.size == 8


def test_batches_never_exceed_the_largest():
    batch = Batch()
    for step in range(1, 20):
        batch.worked(batch.size, 1.0 / step**3)
    assert batch.size == LARGEST_BATCH


def test_one_failing_question_is_recorded_and_the_rest_goes_on(tmp_path):
    engine, examples = KnowingEngine(poison=["What is 5?"]), make_examples(20)
    finish(engine, examples, tmp_path / "run.jsonl")
    results = read_results(tmp_path / "run.jsonl")
    (failed,) = results.errors
    assert (failed.id, failed.error) == ("test/5", "The model failed on this question.")
    assert results.score("adapter", "canonical").asked == 19
    assert sorted(engine.asked) == sorted(one.question for one in examples if one.id != "test/5")
    summary = json.loads((tmp_path / "run.json").read_text())
    assert summary["errors"] == [{"id": "test/5", "error": "The model failed on this question."}]


def test_one_undecodable_picture_is_recorded_and_the_rest_goes_on(tmp_path):
    examples = make_examples(12)
    examples[6] = Example("test/7", "x", "What is 7?", ("7",), "human", "bars", partial(bytes, b"\x89PNG and no more"))
    engine = KnowingEngine()
    finish(engine, examples, tmp_path / "run.jsonl")
    (failed,) = read_results(tmp_path / "run.jsonl").errors
    assert failed.id == "test/7" and "not a picture we can read" in str(failed.error)
    assert len(engine.asked) == 11 and "What is 7?" not in engine.asked


def test_a_model_that_fails_on_everything_is_given_up_and_its_questions_are_asked_again_later(tmp_path):
    """A used-up GPU quota fails every question; none of them is at fault."""
    examples, path = make_examples(40), tmp_path / "run.jsonl"
    quota = KnowingEngine()

    def use_up(questions):
        if len(quota.asked) >= 8:
            raise EngineError("Your GPU time is used up for now.")

    quota.before = use_up
    with pytest.raises(EvaluationError, match=f"{GIVE_UP_AFTER} questions in a row failed, .*GPU time is used up"):
        finish(quota, examples, path)
    assert read_results(path).errors == ()
    later = KnowingEngine()
    assert finish(later, examples, path).done == 40
    assert sorted(quota.asked + later.asked) == sorted(one.question for one in examples)


def test_a_failing_question_at_the_very_end_is_recorded_too(tmp_path):
    last = finish(KnowingEngine(poison=["What is 1?"]), make_examples(1), tmp_path / "run.jsonl")
    assert [item.id for item in last.results.errors] == ["test/1"]


def test_an_arm_that_fails_alone_leaves_the_others_their_answers(tmp_path):
    class HalfDeaf(KnowingEngine):
        def reply(self, arm, question):
            if arm is PROMPTED and question == "What is 2?":
                return Answer(arm.key, done=True, error="No.")
            return super().reply(arm, question)

    finish(HalfDeaf(), make_examples(6), tmp_path / "run.jsonl")
    results = read_results(tmp_path / "run.jsonl")
    assert [results.score(arm, "tolerant").asked for arm in results.arms] == [6, 5, 6]
    assert results.compare("adapter", "prompted", "tolerant").asked == 5
    assert json.loads((tmp_path / "run.json").read_text())["failures"] == [
        {"id": "test/2", "arm": "prompted", "error": "No."}
    ]


class Overflowing(KnowingEngine):
    """Gives no answer in some arms, for all questions or for one."""

    def __init__(self, arms, question=None):
        super().__init__()
        self.deaf, self.only = arms, question

    def reply(self, arm, question):
        if arm in self.deaf and self.only in (None, question):
            return Answer(arm.key, done=True, error="It overflowed.", error_kind="overflow")
        return super().reply(arm, question)


def test_an_arm_that_fails_on_everything_is_counted_and_the_others_are_scored(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("chartqa_demo.evaluate.__main__.load_engine", lambda settings: Overflowing([ADAPTER]))
    assert main(["--dataset", "bundled", "--limit", "12", "--output", str(tmp_path / "run.jsonl")]) == 0
    assert "not answered by Adapter: 12 of 12: It overflowed.\n" in capsys.readouterr().out
    results = read_results(tmp_path / "run.jsonl")
    assert results.errors == () and [results.score(arm, "tolerant").asked for arm in results.arms] == [12, 12, 0]
    figures = figures_of(results)
    assert unanswered(figures) == ", 12 were not answered by Adapter"
    assert unanswered(figures_of_summary(json.loads((tmp_path / "run.json").read_text()))) == unanswered(figures)


def test_a_question_that_every_arm_fails_on_failed_and_ten_in_a_row_end_the_evaluation(tmp_path):
    finish(Overflowing(ARMS, "What is 2?"), make_examples(12), tmp_path / "one.jsonl")
    (failed,) = read_results(tmp_path / "one.jsonl").errors
    assert (failed.id, failed.error, dict(failed.failures)) == ("test/2", "It overflowed.", {})
    with pytest.raises(EvaluationError, match=f"{GIVE_UP_AFTER} questions in a row failed, .* It overflowed."):
        finish(Overflowing(ARMS), make_examples(40), tmp_path / "all.jsonl")
    assert read_results(tmp_path / "all.jsonl").items == ()


def test_a_record_says_why_each_answer_ended_and_one_from_before_is_read(tmp_path):
    class Ending(KnowingEngine):
        def reply(self, arm, question):
            ended = {"pretrained": "limit", "prompted": "repetition", "adapter": "end"}[arm.key]
            return replace(super().reply(arm, question), ended=ended)

    path = tmp_path / "run.jsonl"
    finish(Ending(), make_examples(3), path)
    assert [dict(item.ended) for item in read_results(path).items] == [
        {"pretrained": "limit", "prompted": "repetition", "adapter": "end"}
    ] * 3
    assert json.loads((tmp_path / "run.json").read_text())["ended"]["prompted"] == {"repetition": 3}
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    before = [{key: value for key, value in line.items() if key != "ended"} for line in lines]
    path.write_text("".join(json.dumps(line) + "\n" for line in before))
    assert [dict(item.ended) for item in read_results(path).items] == [{}] * 3
    assert finish(Ending(), make_examples(3), path).done == 3, "and resumed"


def test_the_adapter_arm_needs_an_adapter(tmp_path):
    with pytest.raises(EvaluationError, match="No adapter is loaded, so there is no arm adapter"):
        finish(KnowingEngine(adapter=None), make_examples(2), tmp_path / "run.jsonl")
    assert finish(KnowingEngine(adapter=None), make_examples(2), tmp_path / "x.jsonl", arms=[PRETRAINED]).done == 2


def test_no_answer_of_another_adapter_enters_a_record_and_it_goes_on_with_its_own(tmp_path):
    class Exchanged(KnowingEngine):
        def answer_many(self, items, arms, options):
            self.adapter = "ann/other" if self.batches else self.adapter
            return super().answer_many(items, arms, options)

    engine, path = Exchanged(), tmp_path / "run.jsonl"
    own = engine.adapter
    with pytest.raises(EvaluationError, match=f"The third arm now has ann/other. Load {own} again, then go on."):
        finish(engine, make_examples(40), path)
    assert sorted(item.question for item in read_results(path).items) == sorted(engine.batches[0])
    assert finish(KnowingEngine(), make_examples(40), path).done == 40
    assert finish(Exchanged(), make_examples(40), tmp_path / "x.jsonl", arms=[PRETRAINED]).done == 40


def test_a_chunk_never_takes_longer_than_its_limit_once_the_speed_is_known(tmp_path):
    seconds = iter(range(0, 10_000, 16))  # by the clock every batch takes 16 s, so a question of the first 1 s

    class Clocked(KnowingEngine):
        pass

    engine = Clocked()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("chartqa_demo.evaluate.run.time.monotonic", lambda: next(seconds))
        finish(engine, make_examples(40, per_chart=1), tmp_path / "run.jsonl", chunk_s=3)
    assert [len(batch) for batch in engine.batches][:2] == [16, 3]


def test_what_the_engine_has_to_say_is_printed_once_by_an_evaluation_and_at_the_start_of_the_page(
    tmp_path, monkeypatch, capsys
):
    engine = KnowingEngine()
    engine.notes = ("Computed in float32 here because of the GPU.", "Tokens are computed eagerly.")
    monkeypatch.setattr("chartqa_demo.evaluate.__main__.load_engine", lambda settings: engine)
    assert main(["--dataset", "bundled", "--limit", "3", "--output", str(tmp_path / "run.jsonl")]) == 0
    printed = capsys.readouterr().out
    assert [printed.count(note) for note in engine.notes] == [1, 1]

    def no_page(*args):
        raise InterruptedError

    monkeypatch.setattr("chartqa_demo.__main__.load_engine", lambda settings: engine)
    monkeypatch.setattr("chartqa_demo.ui.build_app", no_page)
    monkeypatch.setattr("sys.argv", ["chartqa"])
    with pytest.raises(InterruptedError):
        start()
    printed = capsys.readouterr().out
    assert [printed.count(note) for note in engine.notes] == [1, 1]


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (["--arms", "none"], "--arms none needs --predictions"),
        (["--arms", "best"], "There is no arm “best”; the arms are pretrained, prompted, adapter, or none."),
        (["--dataset", "nothing here"], "neither bundled, nor a folder on this machine"),
        (["--predictions", "x"], "--predictions takes NAME=FILE"),
        (["--limit", "0"], "--limit is 0; it has to be at least 1."),
    ],
)
def test_what_cannot_be_evaluated_is_one_sentence_and_exit_code_2(command, sentence, capsys):
    assert main(command) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: ") and sentence in printed and printed.count("\n") == 1


def test_the_file_is_named_by_what_was_measured():
    name = evaluate.output_name
    engine = KnowingEngine()
    assert name(engine, ARMS, "/data/ChartQA", "test", None, 0, None) == "bundled--chartqa-test-all"
    assert name(engine, [ADAPTER], "bundled", "test", 20, 1, "human") == "bundled--bundled-test-20-seed1-human-adapter"
    engine.bundled, engine.title, engine.adapter = False, "Qwen/Qwen2-VL-7B-Instruct (bfloat16, cuda)", "me/my-lora"
    assert name(engine, ARMS, "HuggingFaceM4/ChartQA", "test[:10]", None, 0, None) == (
        "qwen2-vl-7b-instruct-bfloat16-cuda+my-lora--chartqa-test-10-all"
    )


def test_the_table_names_its_rule_and_the_tests_are_in_words(tmp_path):
    results = finish(KnowingEngine(), make_examples(40), tmp_path / "run.jsonl").results
    printed = rule_as_text(figures_of(results), "canonical")
    assert printed.splitlines()[0] == "canonical relaxed accuracy in %, 95 % Wilson interval"
    assert "Adapter     100.00 [88.65, 100.00] (30)" in printed
    assert "Adapter beats Prompted by 100.0 points [100.0, 100.0], p < 0.0001, n = 40" in printed
    assert "Prompted and Pretrained are right on exactly the same questions, n = 40" in printed
