"""What the page's event listeners share."""

from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any, ParamSpec

import gradio as gr

from chartqa_demo.engines import Engine

P = ParamSpec("P")

Updates = dict[Any, Any]  # component -> its new value, as Gradio takes it

PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}  # not part of the page's API
QUICK: dict[str, Any] = {"queue": False, **PRIVATE}  # answered at once, however many questions wait for the model

# As `js` of a listener whose last input is a hidden number: when its values were read, by the browser's clock. Two that
# are asked at once may come in another order.
READ_AT = "(...values) => [...values.slice(0, -1), performance.now()]"


def at_once(engine: Engine) -> dict[str, Any]:
    """Listener options under which page and API together ask as many questions at once as the engine answers."""
    return {"concurrency_id": "gpu", "concurrency_limit": engine.parallel}


def told_once(stream: Callable[P, Iterator[Updates]]) -> Callable[P, Iterator[Updates]]:
    """A streaming listener whose last step is not shown twice.

    When a stream has ended, Gradio (6.31) sends its last step once more, over whatever the visitor has done since: a
    guess, another chart. After a step that changes nothing there is nothing left to send.
    """

    @wraps(stream)
    def steps(*args: P.args, **kwargs: P.kwargs) -> Iterator[Updates]:
        step: Updates = {}
        for step in stream(*args, **kwargs):
            yield step
        yield dict.fromkeys(step, gr.skip())

    return steps
