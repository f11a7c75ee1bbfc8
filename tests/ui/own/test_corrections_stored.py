"""What a browser's store and the server hold of a visitor's corrections, without a browser."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from chartqa_demo.data.corrections import Correction, one_line, to_lines
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
const told = moveCorrections(JSON.parse(before), "No room");
const { rows, pictures } = withCorrections([null], 0)[0];
console.log(JSON.stringify([rows.length, Object.keys(pictures).length, kept.has("chartqa-corrections"), told]));
"""
KEPT = """
const told = keepCorrections(JSON.parse(before), "Kept", "No room");
console.log(JSON.stringify([told, [...kept.keys()].filter((name) => name !== "chartqa-corrections")]));
"""
NAMES = """
const codes = Array.from({ length: 0x10000 }, (_, code) => code).filter((code) => code < 0xd800 || code > 0xdfff);
const every = codes.map((code) => String.fromCodePoint(code));
const name = (query) => nameOf({ file_name: "", query });
const said = new Set(name(every.join("a")));
const white = every.filter((one) => one === " " || !said.has(one));
console.log(JSON.stringify([white.map((one) => [one, name(`${one}a${one}${one}b${one}`)]), codes.length]));
"""


def correction(number: int) -> Correction:
    """One of as many as one likes."""
    return Correction(f"{number:016x}", f"What is {number}?", "1", "visitor", "2026-01-01T00:00:00+00:00")


def stored(many: int) -> list[object]:
    """As many rows as a browser has them."""
    return [json.loads(line) for line in to_lines([correction(number) for number in range(many)]).splitlines()]


needs_node = pytest.mark.skipif(NODE is None, reason="no node to run the page's script")


def in_a_browser(then: str, refused: str, before: str) -> Any:
    """What `then` prints after the page's own script, in a browser with such a store."""
    script = STORE + SCRIPT.read_text(encoding="utf-8") + then
    told = subprocess.run([str(NODE), "-", refused, before], input=script, capture_output=True, text=True, check=True)
    return json.loads(told.stdout)


@needs_node
@pytest.mark.parametrize(
    ("refused", "found"),
    [("", [20, 20, False, ""]), ("chartqa-correction ", [0, 0, True, "No room"])],
    ids=["one", "none"],
)
def test_what_earlier_versions_kept_is_moved_where_there_is_room_for_one_of_both_or_stays(
    refused: str, found: list[object]
) -> None:
    pictures = {correction(number).file_name: "A" * 1_600 for number in range(20)}
    before = json.dumps({"rows": stored(20), "pictures": pictures})
    assert len(before) < 50_000 < len(before) * 7 / 3, "one of both fits"
    assert in_a_browser(MOVED, refused, before) == found


@needs_node
def test_what_a_browser_has_no_room_for_is_not_told_as_kept_and_leaves_no_picture() -> None:
    row, _ = stored(2)
    change = {"put": [row], "gone": [], "pictures": {correction(0).file_name: "A" * 1_000}}
    name = f"chartqa-correction {correction(0).file_name} What is 0?"
    assert in_a_browser(KEPT, "", json.dumps(change)) == [
        [None, "Kept"],
        [f"chartqa-corrected {correction(0).file_name}", name],
    ]
    assert in_a_browser(KEPT, "chartqa-correction ", json.dumps(change)) == [[None, "No room"], []]
    assert in_a_browser(KEPT, "", "null") == [[None, "Kept"], []], "there is nothing to change"


@needs_node
def test_what_is_one_question_to_a_browser_is_one_to_the_server() -> None:
    """Whatever Unicode calls white space, which is all in its first plane: both name what they keep without it."""
    every = [chr(code) for code in range(0x10000) if not 0xD800 <= code <= 0xDFFF]
    said = set(one_line("a".join(every)))
    white = [one for one in every if one == " " or one not in said]
    assert all(one_line(f"{one}a{one}{one}b{one}") == "a b" for one in white)
    assert in_a_browser(NAMES, "", "") == [[[one, "chartqa-correction  a b"] for one in white], len(every)]
    assert len(white) == 25 and set(white).intersection(" \x85\x1c\ufeff\u180e") == {" ", "\ufeff"}


def test_the_server_holds_no_more_of_a_browsers_rows_than_can_be_picked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listed, "SHOWN", 2)
    with gr.Blocks(analytics_enabled=False):
        rows = Rows(Corrections(Settings(corrections="browser")))
    shown = rows.show({"rows": stored(5), "pictures": {}})
    assert shown[rows.shown] == (correction(0), correction(1))
