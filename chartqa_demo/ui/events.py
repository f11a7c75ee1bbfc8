"""Options that the page's event listeners share."""

from typing import Any

from chartqa_demo.engines import Engine

Updates = dict[Any, Any]  # component -> its new value, as Gradio takes it

PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}  # not part of the page's API
QUICK: dict[str, Any] = {"queue": False, **PRIVATE}  # answered at once, however many questions wait for the model


def at_once(engine: Engine) -> dict[str, Any]:
    """Listener options under which page and API together ask as many questions at once as the engine answers."""
    return {"concurrency_id": "gpu", "concurrency_limit": engine.parallel}
