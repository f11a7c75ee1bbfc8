"""The metric against tables of oddities, and against published predictions where the data set is at hand."""

import json
import os
import time
from pathlib import Path

import pytest

from chartqa_demo.evaluate.rules import RULES, best_verdict, is_correct, verdict

CHARTQA = Path(os.environ.get("CHARTQA_DATA", Path(__file__).parents[3] / "shared" / "chartqa"))

# prediction, gold, canonical, exact, year-strict, tolerant
ODDITIES = [
    ("62", "60", True, False, True, True),
    ("63", "60", True, False, True, True),  # exactly 5 %
    ("63.1", "60", False, False, False, False),
    ("-57", "-60", True, False, True, True),
    ("57", "-60", False, False, False, False),
    ("2008", "2010", True, False, False, False),  # 5 % of a year is a century
    ("2010", "2010", True, True, True, True),
    ("2111", "2112", True, False, False, False),  # a sum that looks like a year: the price of the rule
    ("7800", "7760", True, False, True, True),  # four digits, not a year
    ("Brazil", "brazil", True, False, True, True),
    ("Brazil.", "Brazil", False, False, False, True),
    ("62.", "62", True, False, True, True),  # float() reads "62."
    ("62 .", "62", False, False, False, True),
    ("62%", "62", False, False, False, True),
    ("62%", "0.62", True, False, True, True),  # the canonical rule divides by 100
    ("62 %", "62", False, False, False, True),
    ("0.62", "62%", True, False, True, True),
    ("62", "62%", False, False, False, True),
    ("62", "0.62", False, False, False, False),  # no % anywhere, so nothing says so
    ("$62", "62", False, False, False, True),
    ("5,627", "5627", False, False, False, True),
    ("5627", "5,627", False, False, False, True),
    ("5,62", "562", False, False, False, False),
    ("1_000", "1000", True, False, True, True),  # float() reads it
    (" 62 ", "62", True, True, True, True),
    ("Yes ", "Yes", False, True, False, True),  # pix2struct does not strip text
    ("Yes.", "Yes", False, False, False, True),
    ("0", "0", True, True, True, True),
    ("0.0", "0", False, False, False, True),  # a gold answer of zero is compared as text
    ("0.001", "0", False, False, False, False),
    ("-0", "0", False, False, False, True),
    ("nan", "nan", False, True, False, True),
    ("inf", "5", False, False, False, False),
    ("[2003,2009]", "[2003, 2009]", False, False, False, True),
    ("Niger and Gambia", "[Gambia, Niger]", False, False, False, True),
    ("Italy", "[Italy, 22]", False, False, False, False),
    ("18–29", "18-29", False, False, False, True),
    ("213k", "213", False, False, False, True),
    ("4.6 million", "4.6", False, False, False, True),
    ("4.6 million", "4600000", False, False, False, False),  # units are dropped, not converted
    ("5G", "5", False, False, False, False),
    ("1 234", "1234", False, False, False, True),
    ("1\u202f234", "1234", False, False, False, True),
    ("1\u00a0234\u2009567", "1234567", False, False, False, True),
    ("1 234", "234", False, False, False, False),
    ("5kg", "5", False, False, False, True),
    ("5 kg", "5kg", False, False, False, True),
    ("62pp", "62", False, False, False, True),
    ("1990s", "1990", False, False, False, False),
    ("$4.6 billion", "4.6 bn", False, False, False, True),
    ("4.6bn", "4.6", False, False, False, True),
    ("4.6 million", "4.6 bn", False, False, False, False),
    ("4.6", "4.6 bn", False, False, False, True),
    ("Yes/No", "Yes", False, False, False, False),
    ("Yes or no", "Yes", False, False, False, False),
    ("No, yes", "No", False, False, False, False),
    ("Yes and no", "Yes", False, False, False, False),
    ("Yes, no bar is higher", "Yes", False, False, False, True),
    ("Yes/No", "Yes/No", True, True, True, True),
    ("", "62", False, False, False, False),
    ("", "Yes", False, False, False, False),
    ("   ", "0", False, False, False, False),
]

# prediction, gold, tolerant: which part of a sentence counts
SENTENCES = [
    ("The answer is 62.", "62", True),
    ("The answer is 62.", "60", True),
    ("The answer is 62.", "50", False),
    ("The value of Germany in 2015 is 34 %.", "34", True),
    ("The value of Germany in 2015 is 34 %.", "2015", False),
    ("The value of 2015 is 34", "2015", False),
    ("The value of 2015 is 34", "34", True),
    ("The year with the highest value is 2015.", "2015", True),
    ("The year with the highest value is 2015.", "2014", False),
    ("The value was the highest in 2015.", "2015", True),
    ("2015 had the highest value of 34.", "2015", True),
    ("34 percent in 2015", "34", True),
    ("Between 2010 and 2015 the value was 34", "34", True),
    ("There are 5 bars in the chart.", "5", True),
    ("There are three lines.", "3", True),
    ("12 of the 15 bars are blue", "12", True),
    ("12 of the 15 bars are blue", "15", False),
    ("5 years are below 22.", "5", True),
    ("5 years are below 22.", "22", False),
    ("2014, with 23.0 minutes in Boston.", "2014", True),
    ("2014, with 23.0 minutes in Boston.", "23", False),
    ("2015: 34 %", "34", True),
    ("2010 to 2015: 34 %", "34", True),
    ("In 2015 the value was 34", "34", True),
    ("15 blue and 20 red bars, 35 in all", "20", False),
    ("Germany has 34, France has 20 and Spain has 15.", "15", False),
    ("Germany has 34, France has 20 and Spain has 15.", "34", False),
    ("It is 34 in Germany and 20 in France, so the difference is 14.", "14", True),
    ("It is 34 in Germany and 20 in France, so the difference is 14.", "34", False),
    ("34 - 20 = 14", "14", True),
    ("34 - 20 = 14", "20", False),
    ("The average is (10 + 20 + 30) / 3 = 20.", "20", True),
    ("The average is (10 + 20 + 30) / 3 = 20.", "10", False),
    ("Germany = 34, France = 20", "20", False),
    ("10, 20, 30, 40, 50", "30", False),
    ("The values are 10, 20 and 30.", "10", False),
    ("The values are 10, 20 and 30.", "30", False),
    ("It is 10 or 20.", "10", False),
    ("The value is not 34.", "34", False),
    ("The age group is 18-29.", "29", False),
    ("The age group is 18-29.", "18-29", True),
    ("COVID-19", "19", False),
    ("The share was **34%**.", "34", True),
    ("Yes, the green bar is higher.", "Yes", True),
    ("Yes, the green bar is higher.", "No", False),
    ("No. It is lower than 40.", "No", True),
    ("No country is above 40, yes.", "No", False),
    ("The answer is yes.", "Yes", True),
    ("Yes and no", "No", False),
    ("The country with the highest share is Brazil.", "Brazil", True),
    ("The country with the highest share is Brazil, with 34 %.", "Brazil", True),
    ("Brazil has the highest share.", "Brazil", True),
    ("Brazil is not the largest.", "Brazil", False),
    ("Brazil had a value of 40 %.", "Brazil", True),
    ("Brazil, with 40 %.", "Brazil", True),
    ("Brazil had a value of 40 %, Chile had a value of 30 %.", "Brazil", False),
    ("Brazil, Chile", "Brazil", False),
    ("The years are 2021, 2022 and 2023.", "[2021, 2022, 2023]", True),
    ("The years are 2021, 2022 and 2023.", "[2021, 2022]", False),
    ("The countries are Brazil and Chile.", "[Chile, Brazil]", True),
    ("It is not Brazil.", "Brazil", False),
    ("Brazil, Germany and France", "Brazil", False),
    ("The countries are Brazil, Germany and France.", "Brazil", False),
    ("The countries are Brazil, Germany and France.", "France", False),
    ("The largest is Germany and the smallest is Brazil.", "Brazil", False),
    ("The largest is Germany and the smallest is Brazil.", "Germany", False),
    ("Germany is higher than Brazil.", "Brazil", False),
    ("Boys are shown in the green line.", "green line", True),
    ("The colour of the line for boys is green.", "Green", True),
    ("The chart shows many things about Brazil", "Brazil", False),
    ("Brazilian coffee is the answer", "Brazil", False),
    ("“Brazil”", "Brazil", True),
    ("The United States", "United States", True),
]


@pytest.mark.parametrize(("prediction", "gold", "by_rule"), [(row[0], row[1], row[2:]) for row in ODDITIES])
def test_each_rule_treats_the_oddity_as_documented(prediction, gold, by_rule):
    assert tuple(is_correct(prediction, gold, rule) for rule in RULES) == by_rule


@pytest.mark.parametrize(("prediction", "gold", "expected"), SENTENCES)
def test_tolerant_rule_credits_only_what_a_sentence_states(prediction, gold, expected):
    assert is_correct(prediction, gold, "tolerant") is expected


@pytest.mark.parametrize(
    ("prediction", "gold", "reason"),
    [
        ("62", "60", "62 against 60: 3.3 % off, within 5 %"),
        ("70", "60", "70 against 60: 16.7 % off, more than 5 %"),
        ("6000049", "60", "6000049 against 60: more than 10 times the gold answer away"),
        ("22%", "24", "22% against 24: 22% is read as 0.22, more than 5 % off"),
        ("63.001", "60", "63.001 against 60: 5.002 % off, more than 5 %"),
        ("1000000", "1000001", "1000000 against 1000001: less than 0.1 % off, within 5 %"),
        ("60", "60", "60 is the gold answer"),
        ("60.0", "60", "60.0 equals the gold answer 60"),
        ("brazil", "Brazil", "“Brazil” is the gold answer, letter case aside"),
        ("Brazil", "Brazil", "“Brazil” is the gold answer"),
        ("Chile", "Brazil", "“Chile” is not “Brazil”"),
        ("about 62", "62", "“about 62” does not read as a number, the gold answer is 62"),
        ("0.0", "0", "“0.0” is not “0” (a gold answer of zero is compared as text)"),
        ("", "62", "no answer, the gold answer is “62”"),
    ],
)
def test_reason_says_in_words_why(prediction, gold, reason):
    assert verdict(prediction, gold).reason == reason


@pytest.mark.parametrize(
    ("prediction", "standing", "told"),
    [
        ("1400", "right", "1400 is the gold answer"),
        ("$1,400", "other-form", "$1,400 read from the answer, gold answer 1400: the same number when format is fo"),
        ("$1,390", "other-form", "$1,390 read from the answer, gold answer 1400: within 5 % when format is forgiven. "),
        ("$1,700", "wrong", "$1,700 read from the answer, gold answer 1400: more than 5 % off"),
        ("1700", "wrong", "1700 against 1400: 21.4 % off, more than 5 %"),
        ("", "wrong", "no answer, the gold answer is “1400”"),
    ],
)
def test_the_two_rules_together_say_what_a_person_would(prediction, standing, told):
    judged = verdict(prediction, "1400")
    assert judged.standing == standing
    assert judged.told.startswith(told)


@pytest.mark.parametrize(
    ("prediction", "gold", "near"),
    [
        ("221.44 million", "217.81", True),
        ("205", "200", True),
        ("The value is 205.", "200", True),
        ("$42,755", "42755", False),
        ("61.3%", "0.613", False),
        ("0.10", "0.1", False),
        ("Yes", "yes", False),
        ("2008", "2010", True),  # by the canonical rule
        ("250", "200", False),  # wrong, not near
    ],
)
def test_a_number_that_is_right_but_another_one_is_near(prediction, gold, near):
    assert verdict(prediction, gold).near is near


def test_tolerant_reason_is_there_only_where_the_rules_differ():
    same = verdict("62", "60")
    assert (same.correct, same.tolerant, same.tolerant_reason) == (True, True, None)
    forgiven = verdict("The answer is 62 %.", "62")
    assert (forgiven.correct, forgiven.tolerant) == (False, True)
    assert (
        forgiven.tolerant_reason == "62% read from the answer, gold answer 62: the same number when format is forgiven"
    )
    wrong_year = verdict("2008", "2010")
    assert (wrong_year.correct, wrong_year.tolerant) == (True, False)
    assert wrong_year.tolerant_reason == "2008 read from the answer, a year has to be exact: 2010"


def test_the_best_of_several_gold_answers_counts():
    assert best_verdict("62", ("no", "60", "70")).gold == "60"
    with pytest.raises(ValueError, match="at least one gold answer"):
        best_verdict("62", ())


def test_an_unknown_rule_is_refused_with_the_list_of_rules():
    with pytest.raises(ValueError, match=r"“lenient”.*canonical, exact, year-strict, tolerant"):
        is_correct("62", "62", "lenient")


@pytest.mark.skipif(not (CHARTQA / "published_predictions.jsonl").exists(), reason="needs the ChartQA folder")
@pytest.mark.parametrize(
    ("rule", "human", "augmented", "overall"),
    [("canonical", 80.72, 94.96, 87.84), ("year-strict", 79.44, 93.44, 86.44), ("exact", 72.48, 85.36, 78.92)],
)
def test_published_predictions_score_what_their_authors_and_others_measured(rule, human, augmented, overall):
    lines = (CHARTQA / "published_predictions.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]

    def score(rows):
        return round(100 * sum(is_correct(row["prediction"], row["label"], rule) for row in rows) / len(rows), 2)

    by_kind = [[row for row in rows if row["split"] == split] for split in ("test_human", "test_augmented")]
    assert [score(by_kind[0]), score(by_kind[1]), score(rows)] == [human, augmented, overall]


@pytest.mark.parametrize("told", ["answer is ", "½", "2010 is or ", "= 7 or ", "the answer: "])
def test_an_answer_that_a_model_repeats_until_its_end_is_scored_at_once(told: str) -> None:
    began = time.process_time()
    for gold in ("12", "2012", "Green", "red and Green"):
        assert not verdict("The answer is " + told * (60_000 // len(told)), gold).correct
    assert time.process_time() - began < 4
