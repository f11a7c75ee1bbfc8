"""The stand-in server of a test, and engines on it, which are closed when the test ends."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from endpoint_server import EndpointServer, endpoint_server
from PIL import Image, ImageDraw

from chartqa_demo.engines import Answers
from chartqa_demo.engines.endpoint import EndpointEngine
from chartqa_demo.settings import Settings

QUESTION = "How many bars are above 40?"


@pytest.fixture
def server() -> Iterator[EndpointServer]:
    with endpoint_server() as running:
        yield running


@pytest.fixture
def make(server: EndpointServer) -> Iterator[Callable[..., EndpointEngine]]:
    """An engine on the stand-in server; closed when the test ends."""
    made: list[EndpointEngine] = []

    def make(
        base: str = "base", adapter: str | None = "tuned", timeout_s: float = 120.0, **more: Any
    ) -> EndpointEngine:
        settings = Settings(**{"endpoint": server.url, "base_name": base, "adapter_name": adapter, **more})
        made.append(EndpointEngine(settings, timeout_s))
        return made[-1]

    yield make
    for engine in made:
        engine.close()


def chart(seed: int = 0, size: tuple[int, int] = (168, 112)) -> Image.Image:
    image = Image.new("RGB", size, "white")
    ImageDraw.Draw(image).rectangle((8, 8 + seed % 90, 60 + seed, 104), fill=(seed % 256, 90, 200))
    return image


def last(states: Iterator[Answers]) -> Answers:
    *_, final = states
    return final
