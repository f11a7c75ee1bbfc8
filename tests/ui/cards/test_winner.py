"""The sentence over the cards: who found the gold answer, who came near, who wrote it in ChartQA's form."""

import pytest

from chartqa_demo.arms import ARMS
from chartqa_demo.evaluate.rules import verdict
from chartqa_demo.ui.compare.cards.winner import winner_line


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        (
            ("221.44 million", "221.44 million", "211.8"),
            "All three came within 5 % of 217.81; only Adapter wrote it as ChartQA wants.",
        ),
        (("217.81", "217.81", "217.81"), "All three found 217.81."),
        (("217.81", "220", "300"), "Pretrained and Prompted found 217.81; Prompted within 5 %."),
        (("220", "300", "400"), "Only Pretrained came within 5 % of 217.81."),
        (("1", "2", "3"), "None of the three found 217.81."),
    ],
)
def test_found_is_said_of_the_number_itself_and_near_of_one_within_five_per_cent(
    answers: tuple[str, ...], told: str
) -> None:
    assert winner_line(ARMS, [verdict(one, "217.81") for one in answers], ["217.81"]) == told
