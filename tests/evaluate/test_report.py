"""The README's table comes from results files alone."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from knowing_engine import KnowingEngine, finish, make_examples

from chartqa_demo.errors import ReportError
from chartqa_demo.evaluate import report
from chartqa_demo.evaluate.report import BEGIN, END, measured_line
from chartqa_demo.evaluate.tables import accuracy_table, as_markdown, figures_of, rule_as_text, rule_columns
from chartqa_demo.ui.evaluate.scores import item_detail, scores_section

ABOUT = {"dataset": "ChartQA", "split": "test", "seed": 0, "limit": None, "kind": None}

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path):
    finish(KnowingEngine(poison=["What is 3?"]), make_examples(30), tmp_path / "results" / "run.jsonl", about=ABOUT)
    (tmp_path / "README.md").write_text(f"# Title\n\n{BEGIN}\nold\n{END}\n\nrest\n", encoding="utf-8")
    return tmp_path


def command(folder, *more):
    return report.main(["--results", str(folder / "results"), "--readme", str(folder / "README.md"), *more])


def test_the_block_is_replaced_and_the_rest_is_kept(folder):
    assert command(folder) == 0
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert text.startswith("# Title\n") and text.endswith("\n\nrest\n") and "old" not in text
    assert (
        "**A knowing engine with the bundled adapter on a 30-question sample of ChartQA's test split** "
        "(n = 30, 1 of them" in text
    )
    assert "| Adapter | 100.0 [" in text
    assert "| Prompted | 0.0 [0.0, " in text and "| 0.0 | 0.0 | 100.0 |" in text
    assert "Canonical: Prompted and Pretrained are right on exactly the same questions, n = 29; Adapter beats" in text


def test_check_tells_an_old_block_from_a_new_one(folder, capsys):
    assert command(folder, "--check") == 1
    assert "run python -m chartqa_demo.report" in capsys.readouterr().err
    assert command(folder) == 0
    assert command(folder, "--check") == 0


def test_writing_twice_changes_nothing(folder):
    command(folder)
    once = (folder / "README.md").read_bytes()
    command(folder)
    assert (folder / "README.md").read_bytes() == once


def test_an_unfinished_evaluation_is_not_reported(tmp_path):
    with pytest.raises(ReportError, match="no finished evaluation"):
        report.block(report.read_summaries(tmp_path))


def test_a_readme_without_the_marks_is_refused(folder, capsys):
    (folder / "README.md").write_text("# Title\n", encoding="utf-8")
    assert command(folder) == 2
    assert BEGIN in capsys.readouterr().err


def test_the_page_gets_the_same_in_one_sentence(folder):
    line = measured_line(folder / "results", "a knowing engine", "bundled")
    assert line is not None
    assert line.startswith("Measured on a 30-question sample of ChartQA's test split: Pretrained 0.0 [0.0, ")
    assert "Adapter 100.0 [" in line
    assert measured_line(folder / "results", "another model", "bundled") is None
    assert measured_line(folder / "results", "a knowing engine", "another adapter") is None


def test_charts_of_one_s_own_have_no_columns_of_human_and_machine(tmp_path):
    examples = [replace(one, kind="unknown", source="") for one in make_examples(8)]
    results = finish(KnowingEngine(), examples, tmp_path / "run.jsonl", about=ABOUT).results
    summary = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    figures = figures_of(results)
    shown = [report.section(summary), rule_as_text(figures, "canonical"), scores_section(figures, "canonical")]
    shown += [
        as_markdown(accuracy_table(figures, rule_columns("canonical"))),
        item_detail(results.items[0], "exact", {}),
    ]
    for text in shown:
        assert "human" not in text.lower() and "machine" not in text.lower() and "unknown" not in text
    assert "100.00 [67.56, 100.00] (8)" in shown[1] and '"meta">test/1<' in shown[4]
    both = finish(KnowingEngine(), make_examples(8), tmp_path / "both.jsonl", about=ABOUT).results
    assert "human (n)" in rule_as_text(figures_of(both), "canonical")


def test_the_readme_says_what_the_committed_results_say():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    tracked = ["git", "ls-files", "results/*.json"]
    asked = subprocess.run(tracked, cwd=ROOT, capture_output=True, text=True, check=False)
    committed = set(asked.stdout.split()) if asked.returncode == 0 else None  # else no checkout: every file counts
    found = report.read_summaries(ROOT / "results")
    summaries = [one for one in found if committed is None or f"results/{one['file']}" in committed]
    measured = report.block(summaries) if summaries else ""
    between = text.split(BEGIN)[1].split(END)[0]
    assert between.strip() == measured
