"""Choosing the adapter of the third arm in the page, by Hub id or folder, where the operator allows it.

The choice is one for all visitors: the model is shared. What would not do is refused before anything is downloaded,
see `chartqa_demo/adapters`; the adapters used last stay in memory, so going back to one costs nothing.
"""

import threading
from pathlib import Path
from typing import Any

import gradio as gr

from chartqa_demo.engines import Engine
from chartqa_demo.errors import EngineError, shown
from chartqa_demo.settings import BUNDLED_ADAPTER, Settings
from chartqa_demo.space.hub import is_hub_id
from chartqa_demo.ui.markup import done, notice

MAX_NAME = 200
OFFERED = 8


def build_adapter_choice(engine: Engine, settings: Settings) -> gr.State | None:
    """Build the accordion inside a `gr.Blocks` context; returns the state that holds the adapter put to use, for the
    banner. Builds nothing and returns None where visitors may not choose."""
    if settings.visitor_adapters == "off":
        return None
    asked_for = "Hub id owner/name" + (", or a folder on this machine" if settings.visitor_adapters == "any" else "")
    used: list[str] = [engine.adapter] if engine.adapter else []
    loading = threading.Lock()
    with gr.Accordion("Another adapter for the third arm", open=False, elem_id="adapter-choice"):
        in_use = gr.State(engine.adapter)
        name = gr.Dropdown(
            list(used),
            value=engine.adapter,
            label="Adapter",
            info=f"A LoRA for the language model of this page's base, as a {asked_for}. It will answer every visitor.",
            allow_custom_value=True,
            elem_id="adapter-name",
        )
        load = gr.Button("Load this adapter", elem_id="adapter-load", size="sm")
        outcome = gr.HTML(elem_id="adapter-outcome", apply_default_css=False)

    def load_adapter(typed: object) -> tuple[str, Any, Any]:
        try:
            adapter = _checked(typed, settings, engine)
        except EngineError as error:
            return notice(str(error)), gr.skip(), gr.skip()
        if not loading.acquire(blocking=False):
            return notice("Another adapter is being loaded. Wait until it has, then try again."), gr.skip(), gr.skip()
        try:
            engine.use_adapter(str(BUNDLED_ADAPTER) if adapter == "bundled" else adapter)
        except EngineError as error:
            return notice(str(error)), gr.skip(), gr.skip()
        finally:
            loading.release()
        used[:] = [adapter, *(one for one in used if one != adapter)][:OFFERED]
        return (
            done(f"The third arm now answers with {adapter}."),
            engine.adapter,
            gr.update(choices=list(used), value=adapter),
        )

    load.click(load_adapter, name, [outcome, in_use, name], show_progress_on=outcome, api_visibility="private")
    return in_use


def _checked(typed: object, settings: Settings, engine: Engine) -> str:
    """The name of an adapter that a visitor may ask for. Raises EngineError."""
    name = typed.strip() if isinstance(typed, str) else ""
    if not name:
        raise EngineError("Type the id of an adapter first, such as owner/name.")
    if len(name) > MAX_NAME:
        raise EngineError(f"The name of the adapter has {len(name):,} characters; at most {MAX_NAME} are read.")
    if name == engine.adapter:
        raise EngineError(f"{name} is in use already.")
    own = name in ("bundled", settings.adapter)
    if settings.visitor_adapters == "hub" and not own and (not is_hub_id(name) or _is_here(name)):
        raise EngineError(
            f"{shown(name)} is no id of the Hub; visitors of this page may load adapters by owner/name only."
        )
    return name


def _is_here(name: str) -> bool:
    try:
        return Path(name).exists()
    except OSError:  # in a closed folder, say
        return True
