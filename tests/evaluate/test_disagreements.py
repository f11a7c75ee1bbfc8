"""Which questions the browser of disagreements shows, and in which order."""

import pytest
from knowing_engine import KnowingEngine, finish, make_examples

from chartqa_demo.ui.evaluate.disagreements import filters, select, sources


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Under the tolerant rule: pretrained right on 0 only, prompted always right; 5 could not be asked."""
    path = tmp_path_factory.mktemp("results") / "run.jsonl"
    return finish(KnowingEngine(poison=["What is 5?"]), make_examples(12), path).results


@pytest.mark.parametrize(
    ("rule", "who", "count"),
    [
        ("canonical", "any", 12),
        ("canonical", "only adapter", 11),
        ("canonical", "only prompted", 0),
        ("tolerant", "only adapter", 0),
        ("tolerant", "differ", 11),
        ("canonical", "none right", 0),
        ("canonical", "all right", 0),
        ("canonical", "changed", 11),
        ("canonical", "failed", 1),
    ],
)
def test_each_filter_shows_what_it_says(results, rule, who, count):
    assert len(select(results, rule, who)) == count


def test_kind_and_source_narrow_the_list(results):
    assert {item.kind for item in select(results, "canonical", kind="machine")} == {"machine"}
    assert len(select(results, "canonical", kind="machine", source="bars")) == 3
    assert select(results, "canonical", source="pies") == []
    assert sources(results) == ["bars"]


def test_the_order_is_by_id_or_seeded_and_never_depends_on_the_filter(results):
    ids = [item.id for item in select(results, "canonical")]
    assert ids == [f"test/{number}" for number in range(1, 13)]
    shuffled = [item.id for item in select(results, "canonical", order="random", seed=1)]
    assert shuffled != ids and sorted(shuffled) == sorted(ids)
    assert shuffled == [item.id for item in select(results, "canonical", order="random", seed=1)]
    assert shuffled != [item.id for item in select(results, "canonical", order="random", seed=2)]
    narrowed = [item.id for item in select(results, "canonical", "only adapter", order="random", seed=1)]
    assert narrowed == [example_id for example_id in shuffled if example_id != "test/5"]


def test_every_arm_has_a_filter_with_its_title(results):
    assert ("Only Adapter is right", "only adapter") in filters(results)
    with pytest.raises(ValueError, match="no filter “best”"):
        select(results, "canonical", "best")
