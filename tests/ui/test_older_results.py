"""An evaluation that was scored before a rule existed: the tab shows what its scores hold, and says what is missing."""

import json
from pathlib import Path

import pytest

from chartqa_demo.arms import ARMS
from chartqa_demo.data.splits import open_split
from chartqa_demo.engines import Options
from chartqa_demo.engines.scripted import ScriptedEngine
from chartqa_demo.evaluate.rules import RULE_NOTES, RULES, is_correct
from chartqa_demo.evaluate.run import measure
from chartqa_demo.ui.evaluate.files import ResultsFolder
from chartqa_demo.ui.evaluate.scores import scores_section

LATER = "year-strict"  # stands for a rule that came after the file


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """The scores of a small evaluation without those of one rule; its answers lie beside them."""
    engine, examples = ScriptedEngine(delay=0), open_split("bundled").examples[:4]
    engine.adapter = "bundled"
    measure(engine, examples, ARMS, Options(), tmp_path / "older.jsonl")
    path = tmp_path / "older.json"
    summary = json.loads(path.read_text(encoding="utf-8"))
    del summary["scores"][LATER], summary["comparisons"][LATER]
    path.write_text(json.dumps(summary), encoding="utf-8")
    return path


def test_scores_without_a_rule_are_shown_and_the_missing_rule_is_named(older: Path) -> None:
    older.with_suffix(".jsonl").unlink()
    folder = ResultsFolder(older.parent)
    for rule in RULES:
        shown = scores_section(folder.figures(older.name, rule), rule)
        assert ("was not scored under this rule" in shown) == (rule == LATER)
        assert f'<th scope="col">{LATER}</th>' not in shown and ">tolerant</th>" in shown


def test_where_the_answers_are_kept_the_missing_rule_is_computed_from_them(older: Path) -> None:
    shown = scores_section(ResultsFolder(older.parent).figures("older.jsonl", LATER), LATER)
    assert "was not scored" not in shown and f">{LATER}</th>" in shown


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_has_its_note_and_judges(rule: str) -> None:
    assert RULE_NOTES[rule].endswith(".") and is_correct("Serbia", "Serbia", rule)
