"""What the page's tests look at: charts, a split of them, and what a scripted engine says."""

from collections.abc import Callable
from functools import partial
from io import BytesIO
from typing import Any

from PIL import Image, ImageDraw

from chartqa_demo.arms import Arm
from chartqa_demo.data.splits import Example, Kind, Split, chart_id


def bar_chart(heights: tuple[int, ...] = (60, 150, 100, 200), colour: str = "steelblue") -> Image.Image:
    image = Image.new("RGB", (480, 320), "white")
    draw = ImageDraw.Draw(image)
    draw.text((20, 12), "Visitors per quarter", fill="black")
    for index, height in enumerate(heights):
        draw.rectangle((50 + index * 100, 300 - height, 120 + index * 100, 300), fill=colour)
    return image


def encoded(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def example_split() -> Split:
    """Three charts with three, two and one questions."""
    asked: list[tuple[int, str, str, Kind]] = [
        (0, "How many visitors came in the fourth quarter?", "200", "human"),
        (0, "Which quarter had the fewest visitors?", "Q1", "human"),
        (0, "What is the title of the chart?", "Visitors per quarter", "machine"),
        (1, "Is the second bar taller than the third?", "Yes", "human"),
        (1, "How many bars are shown?", "4", "machine"),
        (2, "What is the value of the first bar?", "42", "machine"),
    ]
    pictures = [
        encoded(bar_chart()),
        encoded(bar_chart((180, 120, 60, 20), "darkorange")),
        encoded(bar_chart((42, 84, 126, 168), "seagreen")),
    ]
    return Split(
        "bundled",
        "test",
        tuple(
            Example(
                f"test/{row}",
                chart_id(pictures[chart]),
                text,
                (gold,),
                kind,
                "bars",
                partial(pictures.__getitem__, chart),
            )
            for row, (chart, text, gold, kind) in enumerate(asked)
        ),
    )


def replies(pretrained: str, prompted: str, adapter: str) -> Callable[[Arm, str], str]:
    texts = {"pretrained": pretrained, "prompted": prompted, "adapter": adapter}
    return lambda arm, question: texts[arm.key]
