"""Generated charts: pure, split into training and held-out words, true to their table and legible."""

import json
import random
import re
import statistics
from collections import Counter

import pytest

from train.pretrain.charts import KINDS, make_chart
from train.pretrain.charts.drawing import likeness, styles
from train.pretrain.charts.questions.naming import KIND_NAMES
from train.pretrain.charts.tables import measures
from train.pretrain.charts.words import coining
from train.pretrain.charts.words.lists import FOLDER, is_held_out, words
from train.pretrain.examples import FOLDER as BUNDLED
from train.pretrain.scene import GeneratedChart, GeneratedQuestion, Text

SEEDS = range(340)
CLOSED = {
    name.lower()
    for names in (
        *measures.SCALES,
        *measures.PEOPLE,
        *measures.PARTS,
        *likeness.SECTIONS,
        likeness.FIRST,
        measures.MONTHS,
        [month[:3] for month in measures.MONTHS],
        ("Other", "Others", "Don't know"),
    )
    for name in names
}
LISTED = {word.lower() for path in FOLDER.glob("*.txt") for word in path.read_text("utf-8").splitlines()} - CLOSED


@pytest.fixture(scope="module")
def charts() -> list[GeneratedChart]:
    return [make_chart(seed, density=1.0) for seed in SEEDS]


@pytest.fixture(scope="module")
def held_out_charts() -> list[GeneratedChart]:
    return [make_chart(seed, held_out=True, density=0.5) for seed in range(200)]


def names_of(chart: GeneratedChart) -> set[str]:
    names = set(chart.categories)
    return names | set(chart.series) if len(chart.series) > 1 and chart.kind != "scatter" else names


def asked(charts: list[GeneratedChart], *kinds: str) -> list[tuple[GeneratedChart, GeneratedQuestion]]:
    found = [(chart, question) for chart in charts for question in chart.questions if question.kind in kinds]
    assert len(found) > 20, f"too few questions of kind {kinds} to judge"
    return found


def cell(chart: GeneratedChart, place: tuple[int, int]) -> float:
    value = chart.values[place[1]][place[0]]
    assert value is not None
    return value


def test_a_seed_gives_the_same_chart_again() -> None:
    for seed in (3, 4, 5):
        first, second = make_chart(seed), make_chart(seed)
        assert first.image.tobytes() == second.image.tobytes()
        assert (first.table, first.texts, first.marks, first.questions) == (
            second.table,
            second.texts,
            second.marks,
            second.questions,
        )


def test_density_changes_the_sharpness_and_nothing_else() -> None:
    for seed in range(30):
        low, high = make_chart(seed, density=0.75), make_chart(seed, density=2.0)
        assert (low.table, low.questions) == (high.table, high.questions)
        assert abs(high.image.width - low.image.width * 2 / 0.75) < 2.7
        for small, large in zip(low.marks, high.marks, strict=True):
            assert small.anchor == pytest.approx([place * 0.75 / 2.0 for place in large.anchor], abs=0.01)


def test_training_and_held_out_charts_share_no_open_word(
    charts: list[GeneratedChart], held_out_charts: list[GeneratedChart]
) -> None:
    for path in FOLDER.glob("*.txt"):
        assert not set(words(path.stem, True)) & set(words(path.stem, False))
    for chart in charts:
        assert not [name for name in names_of(chart) if name.lower() in LISTED and is_held_out(name)]
    for chart in held_out_charts:
        assert not [name for name in names_of(chart) if name.lower() in LISTED and not is_held_out(name)]


def test_most_names_of_a_lesson_are_in_no_list(charts: list[GeneratedChart]) -> None:
    """Years, ranges and answer scales are common to all charts; of the other names most have to be spelt."""
    names = [name.lower() for chart in charts for name in names_of(chart) if name[0].isalpha()]
    names = [
        name for name in names if name not in CLOSED and not re.match(r"q[1-4]|[a-z]{3} '|less than|more than", name)
    ]
    new = [name for name in names if name not in LISTED]
    assert len(new) >= 0.5 * len(names)
    assert len(set(new)) >= 0.95 * len(new)


def test_without_a_lesson_open_names_come_from_the_lists() -> None:
    for chart in (make_chart(seed, density=0.5, lesson=False) for seed in range(60)):
        if (
            chart.kind in ("bar", "hbar")
            and chart.categories[0].isalpha()
            and chart.categories[0].lower() not in CLOSED
        ):
            names = [name for name in chart.categories if name.lower() not in CLOSED]
            assert sum(name.lower() in LISTED for name in names) in (0, len(names))  # 0: `words.invented`


@pytest.mark.parametrize("subject", ["country", "company", "person", "reason", "website", ""])
def test_a_coined_name_holds_no_name_of_held_out_charts(subject: str) -> None:
    rng = random.Random(subject)
    kept = [name.lower() for one in ("country", "city", "company", "person", "product") for name in words(one, True)]
    coined = [coining.coin(rng, subject, 24) for _ in range(400)]
    assert len(set(coined)) > 390
    for name in coined:
        assert 2 < len(name) <= 24 and not is_held_out(name)
        # A pattern is compiled only where it can match: thousands do not fit the cache of `re`.
        within = [one for one in kept if one in name.lower()]
        assert not [one for one in within if re.search(rf"\b{re.escape(one)}\b", name.lower())]


def test_a_name_with_a_held_out_word_inside_is_not_free() -> None:
    one = next(name for name in words("country", True) if name.isalpha() and len(name) > 3)
    for name in (one, one.upper(), f"{one} Foods", f"New{one.lower()}"):
        assert not coining.is_free(name)


def test_half_of_the_held_out_names_are_new_and_no_table_is_shared(
    charts: list[GeneratedChart], held_out_charts: list[GeneratedChart]
) -> None:
    seen = {name.lower() for chart in charts for name in names_of(chart)}
    names = [name.lower() for chart in held_out_charts for name in names_of(chart)]
    assert sum(name not in seen for name in names) >= 0.5 * len(names)
    assert not {chart.table for chart in charts} & {chart.table for chart in held_out_charts}


def test_every_kind_and_look_occurs(charts: list[GeneratedChart]) -> None:
    assert {chart.kind for chart in charts} == set(KINDS)
    assert {chart.look for chart in charts} == set(styles.STYLES)
    labelled = statistics.mean(chart.labelled for chart in charts)
    assert 0.5 < labelled < 0.7
    assert 0.12 < statistics.mean(chart.image.height > chart.image.width for chart in charts) < 0.4


def test_charts_fit_the_canvases_of_the_model(charts: list[GeneratedChart]) -> None:
    for chart in charts:
        width, height = chart.image.size
        assert (width <= 560 and height <= 420) or (width <= 420 and height <= 560)
        assert 1 / 1.7 < width / height < 2.3


def test_questions_are_many_and_have_one_answer_each(charts: list[GeneratedChart]) -> None:
    counts = [len(chart.questions) for chart in charts]
    assert 12 <= statistics.median(counts) <= 30 and max(counts) <= 36
    for chart in charts:
        answers: dict[str, set[str]] = {}
        for question in chart.questions:
            answers.setdefault(question.text.lower().rstrip("?. "), set()).add(question.gold)
            assert question.gold and question.short and question.sentence and question.text
            assert "{" not in question.text + question.sentence
        assert not [text for text, golds in answers.items() if len(golds) > 1]


def test_lookups_give_the_cell_as_it_is_printed(charts: list[GeneratedChart]) -> None:
    for chart, question in asked(charts, "value", "value_by_colour", "max", "min"):
        (place,) = question.marks
        assert float(question.gold) == cell(chart, place)
        shown = [mark.shown for mark in chart.marks if (mark.category, mark.series) == place]
        if shown[0] is not None:
            assert question.gold.lstrip("-") in shown[0].replace(",", "").replace(" ", "")
            assert not question.axis_only
        else:
            assert question.axis_only


def test_inverse_lookups_have_no_second_category(charts: list[GeneratedChart]) -> None:
    for chart, question in asked(charts, "inverse"):
        (place,) = question.marks
        assert question.gold == chart.categories[place[0]].rstrip("*")
        assert chart.values[place[1]].count(cell(chart, place)) == 1


def test_extremes_are_extreme_and_untied(charts: list[GeneratedChart]) -> None:
    for chart, question in asked(charts, "argmax", "argmin"):
        row = [value for value in chart.values[question.marks[0][1]] if value is not None]
        best = max(row) if question.kind == "argmax" else min(row)
        assert row.count(best) == 1
        assert chart.categories[chart.values[question.marks[0][1]].index(best)].rstrip("*") == question.gold


def test_arithmetic_is_right(charts: list[GeneratedChart]) -> None:
    for chart, question in asked(charts, "difference", "sum", "ratio", "average", "range", "total"):
        values = [cell(chart, place) for place in question.marks]
        expected = {
            "difference": max(values) - min(values),
            "range": max(values) - min(values),
            "sum": sum(values),
            "total": sum(values),
            "average": sum(values) / len(values),
            "ratio": max(values) / min(values) if min(values) else 0.0,
        }[question.kind]
        assert float(question.gold) == pytest.approx(expected, abs=0.0051), question


def test_counts_and_comparisons_are_right(charts: list[GeneratedChart]) -> None:
    for chart, question in asked(charts, "count"):
        assert int(question.gold) in (len(chart.categories), len(chart.marks))
    for chart, question in asked(charts, "compare"):
        first, second = (cell(chart, place) for place in question.marks)
        words_alone = question.text
        for name in sorted((*chart.categories, *chart.series), key=len, reverse=True):
            words_alone = words_alone.replace(name, "")
        more = any(word in words_alone for word in ("higher", "larger", "greater", "more"))
        assert question.gold == ("Yes" if (first > second) == more else "No")


def test_every_lesson_is_asked_to_be_counted(charts: list[GeneratedChart]) -> None:
    assert all(any(question.kind == "count" for question in chart.questions) for chart in charts)


def test_answers_follow_the_conventions_of_chartqa(charts: list[GeneratedChart]) -> None:
    for chart in charts:
        for question in chart.questions:
            if question.kind in ("value", "difference", "sum", "average", "max"):
                assert not set(question.gold) & set("%$€£, "), question.gold
            if question.kind.startswith("compare"):
                assert question.gold in ("Yes", "No")
            if question.kind in ("list", "legend"):
                assert question.gold[0] == "[" and question.gold[-1] == "]"


def test_marks_and_texts_lie_inside_the_picture(charts: list[GeneratedChart]) -> None:
    outside = 0
    for chart in charts:
        width, height = chart.image.size
        for mark in chart.marks:
            x, y = mark.anchor
            assert -1 <= x <= width + 1 and -1 <= y <= height + 1
        for text in chart.texts:
            assert len(text.centres) == len(text.text.replace(" ", ""))
            outside += not all(0 <= x <= width and 0 <= y <= height for x, y in text.centres)
    assert outside <= 3


def test_printed_labels_stand_at_their_marks(charts: list[GeneratedChart]) -> None:
    far = labels = 0
    for chart in charts:
        by_text: dict[str, list[Text]] = {}
        for text in chart.texts:
            if text.role == "value":
                by_text.setdefault(text.text, []).append(text)
        for mark in chart.marks:
            if mark.shown is None:
                continue
            assert mark.shown in by_text, f"{mark.shown} is said to be shown but is not drawn"
            labels += 1
            x, y = mark.anchor
            if chart.kind in ("pie", "donut"):
                continue
            boxes = [text.box for text in by_text[mark.shown]]
            distance = min(max(x0 - x, x - x1, 0) + max(y0 - y, y - y1, 0) for x0, y0, x1, y1 in boxes)
            far += distance > 16
    assert labels > 1000
    assert far <= 0.01 * labels


def overlap(first: Text, second: Text) -> bool:
    wide = min(first.box[2], second.box[2]) - max(first.box[0], second.box[0])
    high = min(first.box[3], second.box[3]) - max(first.box[1], second.box[1])
    if wide < 1.5 or high < 2.5:
        return False
    return any((x - u) ** 2 + (y - v) ** 2 < 12 for x, y in first.centres for u, v in second.centres)


def test_texts_do_not_cover_each_other(charts: list[GeneratedChart]) -> None:
    covered = [
        chart
        for chart in charts
        if any(overlap(text, other) for index, text in enumerate(chart.texts) for other in chart.texts[:index])
    ]
    assert len(covered) <= 0.02 * len(charts)


def test_glyphs_are_drawn_where_the_scene_says(charts: list[GeneratedChart]) -> None:
    """The pixels around a value label's characters are not one flat colour."""
    blank = total = 0
    for chart in charts[:120]:
        for text in chart.texts:
            if text.role != "value":
                continue
            for x, y in text.centres:
                patch = chart.image.crop((int(x) - 3, int(y) - 4, int(x) + 4, int(y) + 5))
                total += 1
                blank += len(set(patch.convert("L").tobytes())) == 1
    assert blank <= 0.002 * total


def test_a_pie_of_percentages_adds_up(charts: list[GeneratedChart]) -> None:
    wholes = [chart for chart in charts if chart.kind in ("pie", "donut")]
    sums = [sum(value or 0 for value in chart.values[0]) for chart in wholes]
    assert sum(total == pytest.approx(100, abs=1e-6) for total in sums) > 0.7 * len(wholes)


def test_the_kinds_of_questions_are_many(charts: list[GeneratedChart]) -> None:
    kinds = Counter(question.kind for chart in charts for question in chart.questions)
    assert len(kinds) >= 30
    everything = sum(kinds.values())
    assert 0.25 < (kinds["value"] + kinds["value_by_colour"]) / everything < 0.45
    human = sum(question.human for chart in charts for question in chart.questions)
    assert 0.3 < human / everything < 0.75


def test_the_bundled_charts_are_varied_small_and_asked_about() -> None:
    rows = [json.loads(line) for line in (BUNDLED / "qa.jsonl").read_text("utf-8").splitlines()]
    per_chart = Counter(row["image"] for row in rows)
    assert len(per_chart) >= 24 and min(per_chart.values()) >= 3
    assert {path.name for path in BUNDLED.glob("*.png")} == set(per_chart)
    assert {row["kind"] for row in rows} == set(KIND_NAMES.values())
    assert {row["look"] for row in rows} == set(styles.STYLES)
    assert {row["human_or_machine"] for row in rows} == {0, 1}
    assert all(len(row["label"]) == 1 and row["label"][0] for row in rows)
    assert len({row["id"] for row in rows}) == len(rows)
    assert sum(path.stat().st_size for path in BUNDLED.iterdir()) < 3_000_000
