"""Training rows of the bundled model say what their charts show, and where."""

import random
import re

import numpy as np
import pytest
from pretrain_charts import bar_chart, codec

from chartqa_demo.arms import SYSTEM_MESSAGE
from chartqa_demo.images import fit_canvas
from train.pretrain.layout import CANVASES, CELL, IMAGE_TOKENS, cell_of
from train.pretrain.legs import rows
from train.pretrain.legs.grounding import Grounding, figures_of, middle, write_places
from train.pretrain.legs.rows import Mix
from train.pretrain.model.tokenizer import CONCISE
from train.pretrain.scene import GeneratedQuestion, Text


@pytest.mark.parametrize("seed", [1, 2], ids=["landscape", "portrait"])
def test_answer_tokens_point_to_where_the_chart_prints_them(seed):
    chart = bar_chart(seed)
    grounding = Grounding(chart)
    question = chart.questions[0]
    row = rows.pack(codec(), grounding, [question], SYSTEM_MESSAGE, Mix())
    label = next(text for text in chart.texts if text.role == "value")
    answer = np.flatnonzero(row["weights"] == 1.0)
    pointing = [k for k in answer if row["copy"][k, 0] >= 0]
    pieces = [codec().tokenizer.decode([int(row["ids"][codec().layout.prefix + k])]) for k in pointing]
    assert "".join(pieces) == question.gold  # the unit is not copied: its place differs
    for k, (x, y) in zip(pointing, label.centres[:2], strict=True):
        assert row["copy"][k, 0] == cell_of(*grounding.fitted.place(x, y), grounding.portrait)
    assert set(row["mark"][answer, 0]) == {grounding.cell(middle(label))}


def test_lists_stand_in_brackets_under_paraphrases_of_our_system_message_only():
    listed = GeneratedQuestion(
        "list", "List all the years.", "[2001, 2002]", "2001, 2002", "The years are 2001 and 2002."
    )
    valued = GeneratedQuestion("value", "What is it in 2001?", "34", "34%", "It is 34%.")
    assert rows.answer_to(listed, CONCISE[0]) == "[2001, 2002]"
    assert rows.answer_to(listed, SYSTEM_MESSAGE) == "2001, 2002"
    assert rows.answer_to(listed, None) == "The years are 2001 and 2002."
    assert rows.answer_to(valued, CONCISE[0]) == "34%"


def test_a_question_about_the_winner_points_to_the_winner_only():
    chart = bar_chart(1)
    grounding = Grounding(chart)
    asked = next(question for question in chart.questions if question.kind == "argmax")
    every = GeneratedQuestion(
        "argmax", asked.text, asked.gold, asked.short, asked.sentence, marks=tuple(grounding.points)
    )
    assert grounding.rests_on(every) == grounding.rests_on(asked)


def test_names_in_a_question_look_at_their_marks():
    chart = bar_chart(1)
    grounding = Grounding(chart)
    first, second = chart.categories[2], chart.categories[0]
    text = f"How much higher is {first} than {second}?"
    asked = GeneratedQuestion("difference", text, "3", "3", "It is 3.", marks=((0, 0), (2, 0)))
    row = rows.pack(codec(), grounding, [asked], SYSTEM_MESSAGE, Mix())
    encoded = codec().tokenizer.encode(text, add_special_tokens=False)
    for name, category in ((first, 2), (second, 0)):
        last = text.index(name) + len(name) - 1
        token = next(k for k, (begin, end) in enumerate(encoded.offsets) if begin <= last < end)
        assert row["mark"][token + 1].tolist() == [grounding.cell(grounding.points[category, 0]), -1, -1, -1]
    assert (row["mark"][: len(encoded.ids), 0] >= 0).sum() == 2


def test_a_question_that_names_no_mark_looks_at_none_before_its_answer():
    chart = bar_chart(1)
    asked = next(question for question in chart.questions if question.kind == "argmax")
    assert Grounding(chart).named(asked) == {}


def test_sums_without_a_chart_are_right_and_written_as_answers_about_charts_are():
    rng = random.Random(3)
    signs = set()
    for _ in range(300):
        question = rows.sum_question(rng)
        term = question.text.removeprefix("What is ").removesuffix("?")
        signs |= set(term) & set("-+/(")
        assert float(question.short) == pytest.approx(eval(term), abs=0.0051)  # digits and signs only
        assert question.short == "0" or not re.search(r"\.\d*0$", question.short)
        assert question.sentence == f"{term} = {question.short}."
    assert signs == set("-+/(")


def test_a_name_that_ends_in_a_digit_is_found_as_it_is():
    points: list = [(float(k), 0.0) for k in range(5)]
    places: list = [None] * 13
    assert write_places(places, "[Foo, 3 Bar, ", 0, "Foo 3", points) == 0
    assert write_places(places, "[Foo 3, Bar, ", 0, "Foo 3", points) == 6
    assert places == [None, *points, *[None] * 7]


def test_thousands_separators_do_not_hide_a_figure():
    text = Text("1,250", "value", (0, 0, 50, 10), [(10.0 * k, 5.0) for k in range(5)])
    places: list = [None] * 12
    write_places(places, "is $1250 now", 0, *figures_of(text))
    assert [place and place[0] for place in places] == [None] * 4 + [0, 20, 30, 40] + [None] * 4


def test_characters_are_where_they_are_printed():
    chart = bar_chart(4)
    grounding = Grounding(chart)
    row = rows.build_row(codec(), chart, Mix(), random.Random(0))
    for text in chart.texts:
        for (x, y), character in zip(text.centres, text.text.replace(" ", ""), strict=True):
            cell = cell_of(*grounding.fitted.place(x, y), grounding.portrait)
            assert ord(character) - 32 in row["characters"][cell]
    assert row["characters"].shape == (IMAGE_TOKENS, 16)


def test_rows_show_the_pixels_of_the_canvas():
    for seed in (0, 2):
        chart = bar_chart(seed)
        canvas = fit_canvas(chart.image, CANVASES).image
        grounding = Grounding(chart)
        assert np.array_equal(grounding.pixels.reshape(canvas.height, canvas.width, 3), np.asarray(canvas))
        assert canvas.height // CELL * (canvas.width // CELL) == IMAGE_TOKENS


def test_a_coarse_row_shows_less_of_the_same_chart():
    chart = bar_chart(1)
    sharp, coarse = Grounding(chart), Grounding(chart, coarse=0.5)
    a, b = (grounding.pixels.astype(int) for grounding in (sharp, coarse))
    assert np.abs(a - b).max() > 60  # the edges of letters
    assert np.abs(a - b).mean() < 8
    assert coarse.points == sharp.points and coarse.fitted.scale == sharp.fitted.scale
