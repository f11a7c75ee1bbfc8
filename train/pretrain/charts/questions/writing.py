"""Questions about a drawn chart that have exactly one right answer, which the chart lets a reader see.

Answers follow ChartQA's conventions: no signs or units, no thousands separators, ratios and averages to two decimals,
Yes or No, lists as "[a, b]".
"""

import random

from train.pretrain.charts.drawing.frames import Plot
from train.pretrain.charts.questions import comparing, lookups, naming, published, reckoning
from train.pretrain.charts.questions.asker import Asker
from train.pretrain.charts.questions.people import asking, relations, steps
from train.pretrain.scene import GeneratedQuestion

# What every chart is asked, and how often the rest is drawn. A writer adds nothing where no answer is clear.
ALWAYS = (
    *[lookups.ask_value] * 4,
    lookups.ask_value_human,
    *[lookups.ask_inverse] * 2,
    *[lookups.ask_extreme] * 2,
    lookups.ask_limit,
)
OFTEN = {
    lookups.ask_value: 12,
    lookups.ask_value_human: 10,
    lookups.ask_inverse: 8,
    lookups.ask_extreme: 9,
    lookups.ask_limit: 6,
    lookups.ask_rank: 6,
    naming.ask_count: 6,
    naming.ask_count_series: 3,
    naming.ask_colour: 7,
    comparing.ask_compare: 8,
    comparing.ask_sum_compare: 2,
    reckoning.ask_difference: 8,
    reckoning.ask_change: 4,
    reckoning.ask_sum: 5,
    reckoning.ask_sum_ends: 3,
    reckoning.ask_total: 2,
    reckoning.ask_ratio: 5,
    reckoning.ask_average: 5,
    reckoning.ask_range: 4,
    comparing.ask_above: 6,
    naming.ask_list: 4,
    naming.ask_title: 4,
    naming.ask_first: 3,
    lookups.ask_median: 2,
    lookups.ask_top_series: 6,
    lookups.ask_gap: 3,
    lookups.ask_same: 3,
    lookups.ask_position: 2,
    lookups.ask_limit_of_all: 3,
    lookups.ask_missing: 1.5,
    comparing.ask_average_compare: 2.5,
    naming.ask_colour_of_extreme: 2,
}
DRAWN = 15
# What a lesson is asked besides, in the place of some of the draws above: a small model learns it last.
RECKONING = {
    reckoning.ask_difference: 5,
    reckoning.ask_sum: 4,
    reckoning.ask_average: 4,
    reckoning.ask_ratio: 4,
    reckoning.ask_range: 4,
    reckoning.ask_change: 1,
    reckoning.ask_sum_ends: 1,
    reckoning.ask_total: 1,
}
# As people ask, and as programs that paraphrase a chart's text do.
PEOPLE = {
    asking.ask_term: 8,
    asking.ask_two_terms: 8,
    asking.ask_yes_no: 8,
    asking.ask_colour_fact: 4,
    asking.ask_how_many: 5,
    asking.ask_means: 3,
    asking.ask_survey_value: 6,
    asking.ask_two_that: 1,
    steps.ask_named: 9,
    steps.ask_sum_against: 3,
    steps.ask_steps: 4,
    steps.ask_ends_against: 4,
    relations.ask_gaps: 4,
    relations.ask_order: 6,
    relations.ask_top_total: 2,
    relations.ask_peak: 4,
    relations.ask_pair: 2,
    relations.ask_colour_at: 2,
    relations.ask_which_line: 3,
    relations.ask_ends_of_time: 2,
}
PUBLISHED = {published.ask_implied: 4, published.ask_turned: 3, published.ask_of_time: 4}
DRAWN_IN_LESSON, RECKONED_IN_LESSON = 5, 1
ASKED_BY_PEOPLE, PUBLISHED_IN_LESSON = 15, 3


def write_questions(rng: random.Random, plot: Plot, lesson: bool) -> list[GeneratedQuestion]:
    """Between about 12 and 25 questions on one chart, of many kinds; a lesson has more to reckon and a count."""
    asker = Asker(rng, plot, lesson)
    drawn = rng.choices(list(OFTEN), list(OFTEN.values()), k=DRAWN_IN_LESSON if lesson else DRAWN)
    if lesson:
        drawn += rng.choices(list(RECKONING), list(RECKONING.values()), k=RECKONED_IN_LESSON)
        drawn.append(naming.ask_count)
    for ask in (*ALWAYS, *drawn):
        ask(asker)
    if lesson:
        people = rng.choices(list(PEOPLE), list(PEOPLE.values()), k=ASKED_BY_PEOPLE)
        for ask in people + rng.choices(list(PUBLISHED), list(PUBLISHED.values()), k=PUBLISHED_IN_LESSON):
            ask(asker)
    return asker.questions
