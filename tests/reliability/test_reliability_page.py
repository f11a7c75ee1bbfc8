"""docs/reliability.md says what the campaigns found, and nothing else."""

from pathlib import Path

import pytest

from bench import reliability
from bench.reliability import CAMPAIGNS, PAGE, ROOT, page, save, table
from bench.reliability.kills import FAULTS


def test_the_committed_page_is_what_the_command_writes() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "python -m bench.reliability"


def test_the_page_names_what_is_missing_and_prints_what_was_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reliability, "RESULTS", tmp_path)
    found = table("Outcomes", ["sent", "times"], [["a|b", 3], ["c\nd", 4]])
    save("kills", "Killed", "python -m bench.reliability.kills", [found], ["Nothing was lost."])
    text = page(tmp_path)
    assert text.count("is missing.") == len(CAMPAIGNS) - 1
    for part in (
        "## Killed\n\n`python -m bench.reliability.kills` · ",
        "**Outcomes**\n\n| sent | times |\n|---|---:|\n| a\\|b | 3 |\n| c d | 4 |\n\n- Nothing was lost.\n",
    ):
        assert part in text


def test_every_fault_has_its_test() -> None:
    for fault, test in FAULTS.items():
        file, _, name = test.partition("::")
        assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8"), fault
