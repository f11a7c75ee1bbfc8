"""What the Evaluate tab offers to measure on, without a browser."""

from pathlib import Path

from page_fixtures import bar_chart

from chartqa_demo.data.splits import chosen_columns, open_split
from chartqa_demo.engines.scripted import ScriptedEngine
from chartqa_demo.settings import Settings
from chartqa_demo.ui.evaluate.choices import Choices


def test_other_splits_are_opened_by_the_columns_chosen_by_hand(tmp_path: Path) -> None:
    for split, answer in (("train", "3"), ("test", "4")):
        folder = tmp_path / split
        folder.mkdir()
        bar_chart().save(folder / "bars.png")
        (folder / "metadata.csv").write_text(f"shot,asked,said\nbars.png,How many bars?,{answer}\n", encoding="utf-8")
    settings = Settings(
        dataset=str(tmp_path), split="test", image_column="shot", question_column="asked", answer_column="said"
    )
    choices = Choices(
        ScriptedEngine(), settings, open_split(settings.dataset, settings.split, chosen_columns(settings))
    )
    opened = {name: choices.open(index) for index, (_, name) in enumerate(choices.charts[:2])}
    assert {name: split.examples[0].gold for name, split in opened.items()} == {"test": ("4",), "train": ("3",)}
