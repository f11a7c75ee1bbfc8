"""How the bundled base model is made from nothing: charts with their answers, tokenizer, model, legs, exam, export.

Nobody needs to open it to use or change the app. Imports the words of the arms and the canvas of `images`, no more;
only `reading`, which asks the finished model, imports the app's engines and evaluation. From outside one function is
used: `draw`, by the data source `generated`.
"""

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from train.pretrain.scene import GeneratedChart, GeneratedQuestion


def draw(seed: int, held_out: bool = False) -> "tuple[GeneratedChart, GeneratedQuestion]":
    """The chart of a seed, as `charts.make_chart` draws it, and one of its questions; the same seed gives the same.

    held_out: names come from word lists that no other chart uses.
    """
    from train.pretrain.charts import make_chart  # drawing libraries, which other sources of charts do not need

    chart = make_chart(seed, held_out=held_out)
    return chart, random.Random(seed).choice(chart.questions)
