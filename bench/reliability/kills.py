"""kill -9 at random moments of an evaluation and of a training, and what was lost; every fault with its test.

    python -m bench.reliability.kills --evaluations 40 --trainings 10

A process that holds the bundled model is forked, and its fork is killed: so a start takes no time, and most kills hit
the work itself. `resumed` means: the same command again, until it ends by itself.
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.reliability import ROOT, save, table

FAULTS = {  # what happens -> the test that lets it happen
    "the engine raises, or its thread dies, in prefill, mid-stream, after the last token": (
        "tests/engines/test_engine.py::test_after_a_failure_the_next_question_is_answered"
    ),
    "memory runs out for three arms together: they are asked one by one; for one: a sentence": (
        "tests/engines/test_engine.py::"
        "test_arms_that_do_not_fit_together_are_asked_one_by_one_and_then_it_is_a_sentence"
    ),
    "memory runs out in an evaluation": (
        "tests/evaluate/test_evaluate.py::test_a_batch_that_does_not_fit_is_halved_and_nothing_is_lost"
    ),
    "one question of an evaluation fails": (
        "tests/evaluate/test_evaluate.py::test_one_failing_question_is_recorded_and_the_rest_goes_on"
    ),
    "a server fails on everything": (
        "tests/evaluate/test_evaluate.py::"
        "test_a_model_that_fails_on_everything_is_given_up_and_its_questions_are_asked_again_later"
    ),
    "a server dies in the middle": (
        "tests/engines/test_endpoint.py::test_what_came_before_a_server_died_stays_on_its_card"
    ),
    "the GPU worker of ZeroGPU is killed": (
        "tests/space/test_zerogpu.py::test_a_worker_that_is_killed_leaves_what_it_answered_and_a_sentence"
    ),
    "the disk is full while an answer is recorded": (
        "tests/evaluate/test_resume.py::test_a_full_disk_is_a_sentence_and_the_evaluation_goes_on_later"
    ),
    "the disk is full or read-only while a correction is kept": (
        "tests/data/test_corrections.py::test_a_disk_that_takes_no_more_is_a_sentence_and_loses_no_row"
    ),
    "the disk is full while a training saves": (
        "tests/train/test_train_recipe.py::test_a_disk_that_fills_up_is_a_sentence_that_says_how_to_go_on"
    ),
    "the disk fills up while the Hub sends": (
        "tests/space/test_hub.py::test_a_disk_that_fills_up_on_the_way_is_a_sentence"
    ),
    "a line of a record is damaged": (
        "tests/evaluate/test_resume.py::test_a_damaged_line_in_the_middle_is_refused_with_its_number"
    ),
    "a line of corrections is damaged": (
        "tests/data/test_corrections.py::test_a_line_that_somebody_broke_is_named_and_not_overwritten"
    ),
    "a contract is damaged": "tests/adapters/test_contract.py::test_a_file_that_is_no_contract_is_a_sentence",
    "an adapter's config is damaged": (
        "tests/adapters/test_adapter_weights.py::test_a_config_that_is_none_is_a_sentence"
    ),
    "an adapter's weights are damaged": (
        "tests/adapters/test_adapter_weights.py::test_a_file_that_is_no_safetensors_is_a_sentence"
    ),
    "a folder of a run is damaged": "tests/ui/test_training_tab.py::test_what_is_no_finished_adapter_is_not_listed",
    "a save of a training is half written": "tests/train/test_train_run.py::test_a_half_written_save_is_passed_over",
    "a download is damaged": "tests/space/test_hub.py::test_a_damaged_download_is_fetched_again_by_the_next_start",
    "two evaluations write to one file": (
        "tests/evaluate/test_resume.py::test_a_second_run_on_the_same_file_is_refused_while_the_first_goes_on"
    ),
    "two time-outs of the Hub overlap": (
        "tests/space/test_hub.py::test_after_two_overlapping_time_outs_the_hub_is_asked_again"
    ),
    "kill -9 of an evaluation": (
        "tests/evaluate/test_resume.py::test_a_killed_run_resumes_without_asking_twice_or_losing_any"
    ),
    "kill -9 of a training": (
        "tests/train/test_train_run.py::test_a_killed_run_goes_on_from_its_last_save_to_the_same_adapter"
    ),
    "a tab is closed while an evaluation runs": (
        "tests/ui/test_evaluate_page.py::test_a_closed_tab_loses_nothing_and_a_new_one_goes_on"
    ),
}


def in_fork(work: Callable[[], object], said: Path, kill_after_s: float, number: int = signal.SIGKILL) -> float | None:
    """Run `work` in a fork and send it the signal after so many seconds; None where it ended by itself before, else the
    seconds that it took to end. Raises RuntimeError where it failed."""
    if (child := os.fork()) == 0:
        out = os.open(said, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        os.dup2(out, 1)
        os.dup2(out, 2)
        code = 1
        try:
            code = int(bool(work()))
        finally:
            os._exit(code)
    began = time.monotonic()
    while time.monotonic() - began < kill_after_s:
        ended, code = os.waitpid(child, os.WNOHANG)
        if ended:
            if code:
                raise RuntimeError(said.read_text(errors="replace")[-2000:])
            return None
        time.sleep(0.005)
    began = time.monotonic()
    os.kill(child, number)
    os.waitpid(child, 0)
    return time.monotonic() - began


def lines_of(record: Path) -> list[bytes]:
    """The whole lines of a record, settings first."""
    data = record.read_bytes() if record.exists() else b""
    return data[: data.rfind(b"\n") + 1].splitlines()


def evaluations(kills: int, rng: random.Random, root: Path) -> tuple[list[object], list[object]]:
    """Kill evaluations of the bundled charts until `kills` have hit one; then end one by SIGTERM."""
    from chartqa_demo.arms import ARMS
    from chartqa_demo.data.splits import draw_examples, open_split
    from chartqa_demo.engines import Options, load_engine
    from chartqa_demo.evaluate.run import run
    from chartqa_demo.settings import Settings

    engine = load_engine(Settings(base="bundled", device="cpu"))
    examples = draw_examples(open_split("bundled"), 12, 0)
    done = kept = twice = lost = runs = changed = 0
    asked_log = root / "asked"

    def evaluation(record: Path) -> Callable[[], None]:
        def work() -> None:
            def asking(batch: Sequence[Any]) -> None:
                with asked_log.open("a") as log:
                    log.write("".join(one.id + "\n" for one in batch))

            for _ in run(engine, examples, ARMS, Options(max_new_tokens=8), record, first=2, asking=asking):
                pass

        return work

    started = time.monotonic()
    evaluation(root / "whole.jsonl")()
    length = time.monotonic() - started
    texts = {row["id"]: row["answers"] for row in map(json.loads, lines_of(root / "whole.jsonl")[1:])}
    while done < kills:
        runs, record, ended = runs + 1, root / f"{runs}.jsonl", False
        while not ended:
            before = lines_of(record)
            on_file = {json.loads(line)["id"] for line in before[1:]}
            asked_log.unlink(missing_ok=True)
            moment = rng.uniform(0, 0.7 * length) if done < kills else 600
            ended = in_fork(evaluation(record), root / "said", moment) is None
            done += not ended
            after, asked = lines_of(record), asked_log.read_text().split() if asked_log.exists() else []
            twice += len(on_file & set(asked))
            lost += sum(line not in after for line in before)
            kept = max(kept, len(after) - 1)
        rows = [json.loads(line) for line in lines_of(record)[1:]]
        lost += len(examples) - len({row["id"] for row in rows})
        twice += len(rows) - len({row["id"] for row in rows})
        changed += sum(texts[row["id"]] != row["answers"] for row in rows)
    seconds = in_fork(evaluation(root / "term.jsonl"), root / "said", 0.5 * length, signal.SIGTERM)
    held = len(lines_of(root / "term.jsonl")) - 1
    head = ["evaluation", done, runs, len(examples) * runs, twice, lost, changed]
    return head, ["an evaluation", "ended before" if seconds is None else round(seconds, 3), f"{held} answers kept"]


def trainings(kills: int, rng: random.Random, root: Path) -> list[object]:
    """The same of trainings of the bundled adapter's recipe in miniature, each compared with one that went through."""
    import torch
    from safetensors.torch import load_file

    from train.__main__ import main as train

    os.environ["TRACKIO_DIR"] = str(root / "trackio")
    argv = ["--config", str(ROOT / "train" / "configs" / "bundled.yaml"), "--report_to", "none", "--save_steps", "1"]
    argv += ["--train_charts", "12", "--val_charts", "1", "--test_charts", "4", "--accuracy_sample", "0"]
    argv += ["--eval_strategy", "no", "--save_total_limit", "3", "--dataloader_num_workers", "0", "--resume"]

    def training(folder: Path) -> Callable[[], int]:
        def work() -> int:
            torch.set_num_threads(1)
            return train([*argv, "--output_dir", str(folder)])

        return work

    started = time.monotonic()
    in_fork(training(root / "whole"), root / "said", 600)
    length = time.monotonic() - started
    whole = load_file(root / "whole" / "adapter_model.safetensors")
    done = runs = changed = twice = lost = 0
    while done < kills:
        runs, folder, ended, steps = runs + 1, root / str(runs), False, 0
        while not ended:
            moment = rng.uniform(0.2, 0.9 * length) if done < kills else 600
            ended = in_fork(training(folder), root / "said", moment) is None
            done += not ended
            states = folder.glob("checkpoint-*/trainer_state.json")
            now = max((int(state.parent.name.split("-")[1]) for state in states), default=0)
            lost += now < steps
            steps = now
        state = json.loads((folder / f"checkpoint-{steps}" / "trainer_state.json").read_text())
        logged = [row["step"] for row in state["log_history"] if "loss" in row]
        twice += len(logged) - len(set(logged))
        mine = load_file(folder / "adapter_model.safetensors")
        changed += not all(torch.allclose(mine[name], value, atol=1e-6) for name, value in whole.items())
    return ["training", done, runs, 6 * runs, twice, lost, changed]


def main() -> int:
    """Exit code 1 where something was asked twice, lost or changed."""
    parser = argparse.ArgumentParser(prog="python -m bench.reliability.kills", description=__doc__)
    parser.add_argument("--evaluations", type=int, default=40, help="kills of an evaluation")
    parser.add_argument("--trainings", type=int, default=10, help="kills of a training")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}
    import torch

    torch.set_num_threads(1)  # a fork has none of its parent's other threads
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory(prefix="kills-") as made:
        for name in ("evaluations", "trainings"):
            (Path(made) / name).mkdir()
        trained = trainings(options.trainings, rng, Path(made) / "trainings")
        print(*trained, sep=" | ", flush=True)
        evaluated, term = evaluations(options.evaluations, rng, Path(made) / "evaluations")
        print(*evaluated, sep=" | ", flush=True)
    columns = ["of", "kills", "runs to their end", "questions or steps", "done twice", "lost", "with another result"]
    tables = [
        table("kill -9 at random moments, resumed", columns, [evaluated, trained]),
        table("SIGTERM", ["during", "seconds until it had ended", "what was there"], [term]),
        table("Faults", ["fault", "test"], [(fault, f"`{test}`") for fault, test in FAULTS.items()]),
    ]
    command = f"python -m bench.reliability.kills --evaluations {options.evaluations} --trainings {options.trainings}"
    notes = [
        "Done twice: a question asked although its answer was on file, or an optimiser step that is logged twice.",
        "With another result: another answer, or another weight of the adapter, than in a run that nobody killed.",
    ]
    save("kills", "Faults and kills", command, tables, notes)
    return int(any(evaluated[4:]) or any(trained[4:]))


if __name__ == "__main__":
    sys.exit(main())
