"""Ask a chart one question and read three answers side by side: `chartqa`, `python -m chartqa_demo`, `python app.py`.

Settings, engine, page, launch. `--help` explains every setting. A Space starts `app.py`, for the sake of ZeroGPU.
"""

import os
import sys

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # nothing is sent out
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

from chartqa_demo.data.splits import chosen_columns, open_split
from chartqa_demo.engines import load_engine
from chartqa_demo.errors import DatasetError, EngineError, SettingsError
from chartqa_demo.settings import on_zerogpu, parse_settings


def main() -> None:
    """Serve the page. A setting that cannot be used is one sentence and exit code 2."""
    try:
        settings = parse_settings()
        examples = open_split(settings.dataset, settings.split, chosen_columns(settings))
        if examples.note:
            print(examples.note)
        engine = load_engine(settings)
        if on_zerogpu():
            from chartqa_demo.space.zerogpu import lend_gpus

            engine = lend_gpus(engine)
    except (SettingsError, DatasetError, EngineError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    for note in engine.notes:
        print(note)

    from chartqa_demo.space.operations import failed, routes
    from chartqa_demo.ui import build_app, launch_options

    app = build_app(engine, settings, examples)
    app.queue(max_size=settings.queue_size).launch(
        server_name=settings.host,
        server_port=settings.port,
        max_threads=40 + engine.parallel,  # an answer holds its thread until it ends; 40 is Gradio's own number
        app_kwargs={"routes": routes(app), "exception_handlers": {Exception: failed}},
        **launch_options(),
    )


if __name__ == "__main__":
    main()
