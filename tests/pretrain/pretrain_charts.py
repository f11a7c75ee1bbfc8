"""A few labelled bars drawn with every place known, and a tokenizer made from them, for the tests of pretraining."""

import random
from functools import cache

from PIL import Image, ImageDraw

from train.pretrain.legs.rows import Codec
from train.pretrain.model.network import Sizes
from train.pretrain.model.tokenizer import build_tokenizer
from train.pretrain.scene import GeneratedChart, GeneratedQuestion, Mark, Text

TINY = Sizes(vocabulary=700, text_width=128, text_layers=2, text_ffn=192, key_heads=1, vision_width=64, vision_layers=2)
NAMES = ["Brazil", "Costa Rica", "Mali", "2015", "2016", "Very satisfied"]


def bar_chart(seed: int) -> GeneratedChart:
    """A chart with labelled bars; every third one is in portrait."""
    rng = random.Random(seed)
    width, height = (300, 450) if seed % 3 == 2 else (400, 300)
    names = rng.sample(NAMES, 4)
    values = rng.sample(range(10, 99), 4)
    image = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(image)
    table = "Category | Sales\n" + "\n".join(f"{name} | {value}%" for name, value in zip(names, values, strict=True))
    numbers: list[list[float | None]] = [[float(value) for value in values]]
    chart = GeneratedChart(image, "bar", "plain", "Sales", names, ["Sales"], numbers, table, True)

    def write(x: float, y: float, text: str, role: str) -> None:
        places = [(x + 6 * k + 3, y + 6) for k in range(len(text))]
        for character, place in zip(text, places, strict=True):
            draw.text(place, character, fill="black", anchor="mm")
        box = (x, y, x + 6 * len(text), y + 12)
        chart.texts.append(Text(text, role, box, [p for p, c in zip(places, text, strict=True) if c != " "]))

    write(5, 2, "Sales", "title")
    for k, (name, value) in enumerate(zip(names, values, strict=True)):
        left, top = 10 + k * (width - 20) / 4, height - 30 - value
        draw.rectangle((left, top, left + 30, height - 30), fill="navy")
        write(left, height - 25, name, "category")
        write(left, top - 14, f"{value}%", "value")
        box = (left, top, left + 30, height - 30)
        chart.marks.append(Mark(k, 0, value, f"{value}%", box, (left + 15, top), value / 100))
        text, sentence = f"What is the value of {name}?", f"The value of {name} is {value}%."
        chart.questions.append(GeneratedQuestion("value", text, str(value), f"{value}%", sentence, marks=((k, 0),)))
    best = max(range(4), key=lambda k: values[k])
    name = names[best]
    chart.questions.append(
        GeneratedQuestion("argmax", "Which is highest?", name, name, f"{name} is highest.", marks=((best, 0),))
    )
    return chart


@cache
def codec() -> Codec:
    return Codec(build_tokenizer((bar_chart(seed) for seed in range(40)), TINY.vocabulary), 640)
