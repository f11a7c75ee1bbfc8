"""Predictions of other tools in every format taken: odd texts, equal scores, and what is exported is read again."""

import csv
import json
import os
import zipfile
from pathlib import Path
from xml.sax.saxutils import escape

import pytest
from knowing_engine import KnowingEngine, finish, make_examples

from chartqa_demo.errors import ResultsError
from chartqa_demo.evaluate.__main__ import main
from chartqa_demo.evaluate.predictions import FORMATS, exported, read_predictions

CHARTQA = Path(os.environ.get("CHARTQA_DATA", Path(__file__).parents[3] / "shared" / "chartqa"))
ROW = {"image": "a.png", "query": "How many?", "label": "5", "prediction": "5", "split": "test_human"}


def texts(path: Path) -> list[str | None]:
    return [one.text for one in read_predictions(f"m={path}").predictions]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\ufeff" + json.dumps(ROW), ["5"]),
        (f"{json.dumps(ROW)}\n\n{json.dumps(ROW)}\n\n\n", ["5", "5"]),
        (json.dumps(ROW | {"prediction": "5\u2028six"}, ensure_ascii=False), ["5\u2028six"]),
        (json.dumps(ROW | {"query": "a\u0085b"}, ensure_ascii=False), ["5"]),
        (json.dumps(ROW | {"prediction": None}), [None]),
        (json.dumps(ROW)[:-1].replace('"prediction": "5"', '"prediction": 0.10') + "}", ["0.10"]),
    ],
    ids=["byte-order mark", "blank lines", "line separator", "next line", "null", "number"],
)
def test_lines_are_read_as_they_were_written(text: str, expected: list[str | None], tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(text, encoding="utf-8")
    assert texts(path) == expected


def test_a_null_prediction_is_no_answer_and_is_not_counted(tmp_path: Path) -> None:
    rows = [ROW | {"query": f"{i}?", "prediction": None if i == 0 else "5"} for i in range(3)]
    path = tmp_path / "p.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    theirs = read_predictions(f"m={path}")
    last = finish(None, theirs.examples(), tmp_path / "run.jsonl", arms=(), predictions=[theirs])
    assert (last.results.score("m", "canonical").correct, last.results.score("m", "canonical").asked) == (2, 2)
    assert last.results.items[0].failures == {"m": "There is no recorded prediction for this question."}


def test_a_file_of_null_predictions_alone_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps(ROW | {"prediction": None}) + "\n")
    theirs = read_predictions(f"m={path}")
    with pytest.raises(ResultsError, match=r"^p\.jsonl holds no answer: 1 predictions, all null\.$"):
        theirs.answers_for(theirs.examples())


def write_as(form: str, rows: list[dict[str, str]], folder: Path) -> Path:
    """The rows in the format of another tool."""
    kinds = {"test_human": "human_test", "test_augmented": "augmented_test"}
    kit = [
        {
            "index": str(i),
            "question": r["query"],
            "answer": r["label"],
            "split": r["split"],
            "prediction": r["prediction"],
        }
        for i, r in enumerate(rows)
    ]
    path = folder / f"p.{form.rpartition(' ')[2]}"
    if form == "lmms-eval jsonl":
        lines = [
            {"doc_id": i, "doc": {"type": kinds[r["split"]], "question": r["query"], "answer": r["label"]},
             "target": r["label"], "resps": [[r["prediction"]]], "filtered_resps": [r["prediction"]]}
            for i, r in enumerate(rows)
        ]  # fmt: skip
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    elif form.endswith(("csv", "tsv")):
        table = kit if form.startswith("VLMEvalKit") else rows
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, table[0], delimiter="\t" if form.endswith("tsv") else ",")
            writer.writeheader()
            writer.writerows(table)
    elif form.endswith("json"):
        path.write_text(json.dumps(kit if form.startswith("VLMEvalKit") else rows))
    elif form.endswith("xlsx"):
        write_workbook(path, kit)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_workbook(path: Path, rows: list[dict[str, str]]) -> None:
    """A workbook as openpyxl writes it: shared strings, one sheet."""
    space = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    strings: dict[str, int] = {}
    lines = []
    for number, cells in enumerate([list(rows[0]), *(list(row.values()) for row in rows)], start=1):
        found = [
            f'<c r="{"ABCDE"[i]}{number}" t="s"><v>{strings.setdefault(text, len(strings))}</v></c>'
            for i, text in enumerate(cells)
        ]
        lines.append(f'<row r="{number}">{"".join(found)}</row>')
    shared = "".join(f'<si><t xml:space="preserve">{escape(text)}</t></si>' for text in strings)
    with zipfile.ZipFile(path, "w") as book:
        book.writestr("xl/sharedStrings.xml", f"<sst {space}>{shared}</sst>")
        book.writestr(
            "xl/worksheets/sheet1.xml", f"<worksheet {space}><sheetData>{''.join(lines)}</sheetData></worksheet>"
        )


TAKEN = (
    *("ours jsonl", "ours json", "ours csv", "ours tsv", "lmms-eval jsonl"),
    *("VLMEvalKit xlsx", "VLMEvalKit tsv", "VLMEvalKit json"),
)
ONE_OF_A_KIND = ("ours csv", "lmms-eval jsonl", "VLMEvalKit xlsx", "VLMEvalKit json")


@pytest.mark.skipif(not (CHARTQA / "published_predictions.jsonl").exists(), reason="needs the ChartQA folder")
@pytest.mark.parametrize(
    "form", [one if one in ONE_OF_A_KIND else pytest.param(one, marks=pytest.mark.campaign) for one in TAKEN]
)
def test_the_table_equals_lmms_evals_metric_on_published_predictions(
    form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (CHARTQA / "published_predictions.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    path = write_as(form, rows, tmp_path)
    command = ["--arms", "none", "--predictions", f"Published={path}", "--results-dir", str(tmp_path / "results")]
    assert main(command) == 0
    human, augmented = (
        round(100 * sum(lmms_eval(row) for row in rows if row["split"] == split) / 1250, 2)
        for split in ("test_human", "test_augmented")
    )
    assert (human, augmented) == (80.72, 94.96)
    printed = capsys.readouterr().out
    assert f"{human} [78.44, 82.81] (1,250)  {augmented} [93.60, 96.04] (1,250)  87.84 [86.50, 89.06]" in printed


def lmms_eval(row: dict[str, str]) -> bool:
    """Relaxed correctness as lmms-eval's task of ChartQA computes it, written down again here."""

    def number(text: str) -> float | None:
        try:
            return float(text.rstrip("%")) / 100 if text.endswith("%") else float(text)
        except ValueError:
            return None

    said, gold = number(row["prediction"]), number(row["label"])
    if said is not None and gold:
        return abs(said - gold) / abs(gold) <= 0.05
    return row["prediction"].lower() == row["label"].lower()


@pytest.mark.parametrize("form", FORMATS)
def test_what_is_exported_is_read_again_with_the_same_scores(form: str, tmp_path: Path) -> None:
    results = finish(KnowingEngine(), make_examples(6), tmp_path / "run.jsonl").results
    path = tmp_path / f"out.{FORMATS[form][0]}"
    path.write_text(exported(results, "adapter", form), encoding="utf-8")
    again = read_predictions(f"again={path}")
    joined = finish(KnowingEngine(), make_examples(6), tmp_path / "2.jsonl", predictions=[again]).results
    assert joined.score("again", "canonical") == results.score("adapter", "canonical")
    alone = finish(None, again.examples(), tmp_path / "3.jsonl", arms=(), predictions=[again]).results
    assert alone.score("again", "canonical", "human") == results.score("adapter", "canonical", "human")


def test_a_benchmarks_own_prompt_is_asked_and_recorded(tmp_path: Path) -> None:
    engine = KnowingEngine()
    about = {"question_template": "{question}\nAnswer with a single word."}
    last = finish(engine, make_examples(2), tmp_path / "run.jsonl", about=about)
    assert engine.asked == ["What is 1?\nAnswer with a single word.", "What is 2?\nAnswer with a single word."]
    assert last.results.items[0].question == "What is 1?"
    assert last.results.settings["question_template"] == about["question_template"]


def test_system_template_rule_and_export_of_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps(ROW) + "\n")
    command = ["--arms", "none", "--predictions", f"m={path}", "--results-dir", str(tmp_path / "results")]
    assert main([*command, "--question-template", "no place"]) == 2
    assert "it needs {question} where the question goes" in capsys.readouterr().err
    assert main([*command, "--rule", "tolerant", "--export", "lmms-eval", "--system", "You are a helper."]) == 0
    printed = capsys.readouterr().out
    assert printed.index("tolerant relaxed accuracy") < printed.index("canonical relaxed accuracy")
    (file,) = (tmp_path / "results").glob("*.m.samples_chartqa.jsonl")
    assert json.loads(file.read_text())["relaxed_human_split"] == 1.0


def test_every_prompt_has_a_record_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps(ROW) + "\n")
    command = ["--arms", "none", "--predictions", f"m={path}", "--results-dir", str(tmp_path / "results")]
    prompts = [], ["--system", "You are a helper."], ["--question-template", "{question}\\nOne word."]
    for prompt in (*prompts, *prompts):  # the second time it resumes
        assert main([*command, *prompt]) == 0
    assert len(list((tmp_path / "results").glob("*.jsonl"))) == 3


def test_a_workbook_that_is_none_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "p.xlsx").write_bytes(b"no workbook")
    with pytest.raises(ResultsError, match=r"p.xlsx cannot be read as a workbook"):
        read_predictions(f"m={tmp_path / 'p.xlsx'}")


CASES = CHARTQA.parent / "cases" / "predictions"


@pytest.mark.skipif(not CASES.is_dir(), reason="needs the folder of cases")
@pytest.mark.parametrize("case", ["bom", "blank_lines", "linesep", "nel", "null_pred"])
def test_every_case_is_right(case: str) -> None:
    expected = {"blank_lines": ["5", "5"], "linesep": ["5\u2028six"], "null_pred": [None]}.get(case, ["5"])
    assert texts(CASES / f"{case}.jsonl") == expected
