"""The bench of what the bundled model reads: its pure functions, without a model."""

import json
from functools import partial
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from chartqa_demo.data.splits import Example
from chartqa_demo.evaluate.record import Item, Results
from train.pretrain.reading import command as reading
from train.pretrain.reading.held_out import (
    BARS,
    Drawn,
    Facts,
    Mark,
    bar_rows,
    deranged,
    draw,
    examples_of,
    facts_of,
    judged,
    marks_of,
    name_counts,
    on_page,
)
from train.pretrain.reading.text import FILES, card_text, markdown, verdict
from train.pretrain.scene import GeneratedQuestion


@pytest.fixture(scope="module")
def charts():
    return [draw(4, seed) for seed in range(30_000_000, 30_000_012)]


def mark(question="value", chart="bar", axis_only=False, exact=True, within_5=None):
    close = exact if within_5 is None else within_5
    return Mark(Facts(question, chart, axis_only, True), exact, close, close)


def row(rows, start):
    return next(one for one in rows if one["name"].startswith(start))


@pytest.mark.parametrize("count", [2, 3, 10, 251])
def test_a_derangement_gives_every_chart_to_another_one_exactly_once(count):
    names = [str(number) for number in range(count)]
    for seed in range(5):
        found = deranged([*names, *names], seed)
        assert sorted(found) == sorted(found.values()) == sorted(names)
        assert all(chart != other for chart, other in found.items())


def test_a_derangement_follows_its_seed_and_needs_two_charts():
    names = [str(number) for number in range(40)]
    assert deranged(names, 1) == deranged(names, 1) != deranged(names, 2)
    with pytest.raises(ValueError, match="at least two charts"):
        deranged(["a", "a"], 0)


def test_exchanged_questions_keep_their_gold_and_show_the_picture_of_another_chart():
    own = [
        Example(f"test/{number}", chart, f"{number}?", (str(number),), "human", "", partial(bytes, chart.encode()))
        for number, chart in enumerate("aabc")
    ]
    other = deranged([one.chart for one in own], 3)
    found = reading.exchanged(own, other)
    assert [(one.question, one.gold) for one in found] == [(one.question, one.gold) for one in own]
    assert not {one.id for one in found} & {one.id for one in own}
    for one, before in zip(found, own, strict=True):
        assert one.chart == other[before.chart] != before.chart
        assert one.read() == one.chart.encode()


@pytest.mark.parametrize("size", reading.PAGES)
@pytest.mark.parametrize("drawn", [(560, 390), (310, 241), (900, 300), (300, 700)])
def test_a_chart_fitted_on_a_page_keeps_its_shape_and_is_white_outside(size, drawn):
    page = on_page(Image.new("RGB", drawn, "navy"), size)
    assert page.size == size
    dark = np.asarray(page.convert("L")) < 128
    rows, columns = np.flatnonzero(dark.any(1)), np.flatnonzero(dark.any(0))
    height, width = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
    assert dark.sum() == height * width  # one rectangle
    assert width == size[0] or height == size[1]  # as large as it fits
    assert abs(width / height - drawn[0] / drawn[1]) < 0.02 * drawn[0] / drawn[1]
    assert abs(rows[0] - (size[1] - 1 - rows[-1])) <= 1 and abs(columns[0] - (size[0] - 1 - columns[-1])) <= 1
    assert (np.asarray(page)[~dark] == 255).all()


def test_pages_keep_questions_and_golds_and_change_the_picture(charts):
    own = examples_of(charts[:2])
    for before, one in zip(own, reading.on_pages(own, (600, 800)), strict=True):
        assert (one.id, one.question, one.gold) == (before.id, before.question, before.gold)
        assert one.image_size() == (600, 800) and one.chart != before.chart


def test_questions_of_a_chart_differ_in_kind(charts):
    for chart in charts:
        kinds = [question.kind for question in chart.questions]
        assert len(set(kinds)) == len(kinds) == 4


def test_a_seed_gives_the_same_chart_and_questions_again(charts):
    assert draw(4, charts[0].seed) == charts[0]
    assert [question.text for question in draw(3, charts[0].seed).questions] == [
        question.text for question in charts[0].questions[:3]
    ]


def test_every_question_has_its_facts_and_its_picture(charts):
    examples, facts = examples_of(charts), facts_of(charts)
    assert [one.id for one in examples] == list(facts)
    for one in examples:
        chart_kind, question_kind = one.source.split(", ")
        assert (facts[one.id].chart, facts[one.id].question) == (chart_kind, question_kind)
        assert Image.open(BytesIO(one.read())).size == one.image_size()


def test_only_a_number_that_is_no_name_can_be_near():
    questions = tuple(
        GeneratedQuestion("value", f"{n}?", gold, gold, gold)
        for n, gold in enumerate(("12.5", "2015", "Brazil", "[1, 2]"))
    )
    chart = Drawn(7, "line", b"", ("2014", "2015*"), frozenset(("2014", "2015")), questions)
    facts = facts_of([chart])
    assert [one.numeric for one in facts.values()] == [True, False, False, False]
    given = ("12.9%", "2014", "Brasil", "[1, 2]")
    items = [
        Item(one.id, one.chart, one.question, one.gold, one.kind, one.source, {"adapter": text})
        for one, text in zip(examples_of([chart]), given, strict=True)
    ]
    settings = {"arms": {"adapter": {}}, "sample": list(facts)}
    found = marks_of(Results(settings, tuple(items)), "adapter", facts)
    assert [one.exact for one in found] == [False, False, False, True]
    assert [one.within_5 for one in found] == [True, False, False, True]
    assert [one.canonical for one in found] == [False, True, False, True]  # 12.9% is 0.129, 2014 within 5 % of 2015


def test_bars_are_computed_from_counts():
    marks = [mark(exact=number < 9) for number in range(10)]
    marks += [mark(axis_only=True, exact=False, within_5=number < 3) for number in range(6)]
    marks += [mark("argmax", "pie"), mark("argmin", "pie", exact=False)]
    rows = bar_rows(marks)
    assert len(rows) == len(BARS) + 1
    value = row(rows, "value, printed")
    assert (value["percent"], value["n"], value["met"], value["missed_by"]) == (90.0, 10, True, None)
    assert value["low"] == pytest.approx(59.58, abs=0.01) and value["high"] == pytest.approx(98.21, abs=0.01)
    axis = row(rows, "value, axis only")
    assert (axis["percent"], axis["n"], axis["met"], axis["missed_by"]) == (50.0, 6, False, 10.0)
    assert row(rows, "highest and lowest")["percent"] == 50.0
    assert row(rows, "all questions")["n"] == 18
    lowest = rows[-1]
    assert lowest["name"] == "every chart kind, exact (lowest of 2: pie)" and lowest["n"] == 2


def test_missed_bars_say_by_how_much_and_a_bar_without_questions_is_neither_met_nor_missed():
    assert verdict(judged("x", 7, 10, 73.2)) == "missed by 3.2 points"
    assert verdict(judged("x", 7499, 10_000, 75)) == "missed by less than 0.1 points"
    assert verdict(judged("x", 75, 100, 75)) == "met"
    empty = judged("x", 0, 0, 75)
    assert verdict(empty) == "not asked" and empty["met"] is None and empty["percent"] is None
    assert all(one["met"] is None for one in bar_rows([]))


def test_names_of_held_out_charts_are_held_out_figures_or_fixed(charts):
    counts = name_counts(charts)
    for one in counts.values():
        assert one["n"] == one["held_out"] + one["figures"] + one["fixed"] and one["unexplained"] == 0
    assert counts["distinct"]["n"] == len({name.rstrip("*") for chart in charts for name in chart.categories})


def test_real_charts_are_counted_by_publisher_and_by_what_is_asked_for():
    golds = ("Yes", "1,234", "62%", "Brazil", "[1, 2]", "No")
    items = [Item(f"test/{n}", "c", "?", (gold,), "human", "Pew", {"adapter": "Yes"}) for n, gold in enumerate(golds)]
    found = reading.in_parts([*items, Item("test/6", "c", "?", ("Yes",), "human", "", {"adapter": "yes."})], "adapter")
    asked = {
        name: (one["canonical"]["correct"], one["tolerant"]["correct"], one["tolerant"]["asked"])
        for name, one in found.items()
    }
    assert asked == {
        "Pew": (1, 1, 6),
        "a list": (0, 0, 1),
        "a name": (0, 0, 1),
        "a number": (0, 0, 2),
        "a yes or no": (1, 2, 3),
        "unknown publisher": (0, 1, 1),
    }


def test_the_command_in_a_file_does_not_tell_where_the_data_lie(tmp_path):
    for words in (["--dataset", str(tmp_path)], [f"--dataset={tmp_path}"]):
        told = reading._command(reading._flags(["blind", *words, "--limit", "5"]))
        assert "path/to/chartqa" in told and str(tmp_path) not in told and told.endswith("--limit 5")
    assert "--dataset owner/name" in reading._command(reading._flags(["blind", "--dataset", "owner/name"]))


def test_the_card_has_a_table_of_the_bars_and_one_of_what_there_is_a_file_for(tmp_path):
    score = {"correct": 3, "asked": 4, "accuracy": 0.75, "low": 0.3, "high": 0.95}
    weights, common = {"model": "a" * 12, "adapter": "b" * 12}, {"date": "2026-01-02"}
    held_out = {
        **common,
        "weights": weights,
        "seeds": [30_000_000, 30_000_001],
        "charts": 2,
        "questions": 4,
        "bars": bar_rows([mark(), mark(exact=False)]),
        "arms": {
            "adapter": {"all": dict.fromkeys(("exact", "within_5", "canonical"), score), "mean_words": 1.1},
        },
        "paired": {},
        "category_names": {"occurrences": {"held_out_share": 0.5}},
    }
    sizes = {
        **common,
        "weights": weights,
        "pages": {page: {"same_answer": score, "exact": score} for page in ("as drawn", "400x300")},
    }
    for part, found in (("held_out", held_out), ("sizes", sizes)):
        (tmp_path / FILES[part]).write_text(json.dumps(found), encoding="utf-8")
    text = card_text(tmp_path)
    assert text == markdown({"held_out": held_out, "sizes": sizes})
    assert "| all questions, exact | 2 | 50.0 [9.5, 90.5] | 75 | missed by 25.0 points |" in text
    assert "400 x 300 pixels: adapter, % | 4 | same answer 75.0 [30.0, 95.0], exact 75.0 [30.0, 95.0] |" in text
    assert "ChartQA" not in text and text.count("\n|---|") == 2
    for block in text.split("\n\n"):
        lines = block.splitlines()
        if lines[0].startswith("|"):
            assert len({line.count("|") for line in lines}) == 1
    assert card_text(tmp_path / "nowhere") == ""
