"""What a browser's store and the server hold of a visitor's corrections, without a browser."""

import json
import shutil
import subprocess
from pathlib import Path

import gradio as gr
import pytest

from chartqa_demo.data.corrections import Correction, to_lines
from chartqa_demo.settings import Settings
from chartqa_demo.ui.corrections import Corrections
from chartqa_demo.ui.training import rows as listed
from chartqa_demo.ui.training.rows import Rows

SCRIPT = Path(listed.__file__).parents[1] / "browser" / "corrections.js"
NODE = shutil.which("node")

# A store that takes 50,000 characters of names and values and no name that begins as argv[2], with all
# that earlier versions kept in one item of it.
STORE = """
const [, , refused, before] = process.argv, kept = new Map();
const size = () => [...kept].reduce((sum, [name, text]) => sum + name.length + text.length, 0);
globalThis.window = globalThis;
globalThis.localStorage = {
  get length() { return kept.size; },
  key: (at) => [...kept.keys()][at] ?? null,
  getItem: (name) => kept.get(name) ?? null,
  removeItem: (name) => void kept.delete(name),
  setItem: (name, text) => {
    const old = kept.get(name);
    kept.set(name, String(text));
    if (size() <= 50_000 && !(refused && name.startsWith(refused))) return;
    if (old === undefined) kept.delete(name); else kept.set(name, old);
    throw new Error("QuotaExceededError");
  },
};
kept.set("chartqa-corrections", "x".repeat(Math.ceil(before.length * 4 / 3)));
"""
MOVED = """
try { moveCorrections(JSON.parse(before)); } catch {}
const { rows, pictures } = withCorrections([null], 0)[0];
console.log(JSON.stringify([rows.length, Object.keys(pictures).length, kept.has("chartqa-corrections")]));
"""


def correction(number: int) -> Correction:
    """One of as many as one likes."""
    return Correction(f"{number:016x}", f"What is {number}?", "1", "visitor", "2026-01-01T00:00:00+00:00")


def stored(many: int) -> list[object]:
    """As many rows as a browser has them."""
    return [json.loads(line) for line in to_lines([correction(number) for number in range(many)]).splitlines()]


@pytest.mark.skipif(NODE is None, reason="no node to run the page's script")
@pytest.mark.parametrize(("refused", "found"), [("", [20, 20, False]), ("chartqa-correction ", [0, 0, True])])
def test_what_earlier_versions_kept_is_moved_where_there_is_room_for_one_of_both_or_stays(
    refused: str, found: list[object]
) -> None:
    pictures = {correction(number).file_name: "A" * 1_600 for number in range(20)}
    before = json.dumps({"rows": stored(20), "pictures": pictures})
    assert len(before) < 50_000 < len(before) * 7 / 3, "one of both fits"
    script = STORE + SCRIPT.read_text(encoding="utf-8") + MOVED
    told = subprocess.run([str(NODE), "-", refused, before], input=script, capture_output=True, text=True, check=True)
    assert json.loads(told.stdout) == found


def test_the_server_holds_no_more_of_a_browsers_rows_than_can_be_picked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listed, "SHOWN", 2)
    with gr.Blocks(analytics_enabled=False):
        rows = Rows(Corrections(Settings(corrections="browser")))
    shown = rows.show({"rows": stored(5), "pictures": {}})
    assert shown[rows.shown] == (correction(0), correction(1))
