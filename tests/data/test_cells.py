"""What a cell can hold that is no question and no answer: the row says so and is left out, the others stay."""

import pytest

from chartqa_demo.data.cells import MAX_CELL, fault_of


@pytest.mark.parametrize(
    ("question", "answer", "fault"),
    [
        (7, 5.5, None),
        (True, [1, None, "a"], None),
        ("How many?", None, None),
        (None, "5", "its question is empty"),
        (float("nan"), "5", "its question is empty"),
        (["a", "b"], "5", 'its question is ["a", "b"], which is no text'),
        (b"\xff", "5", "its question is \"b'\\\\xff'\", which is no text"),
        ("Q?", [["a"], ["b"]], 'its answer is [["a"], ["b"]], which is no text and no list of texts'),
        ("Q?", {"a": 1}, 'its answer is {"a": 1}, which is no text and no list of texts'),
        ("Q?", ["x" * (MAX_CELL + 1)], "its text has more than 10,000 characters"),
    ],
)
def test_a_row_is_asked_or_its_cell_is_named(question: object, answer: object, fault: str | None) -> None:
    assert fault_of(question, answer) == fault
