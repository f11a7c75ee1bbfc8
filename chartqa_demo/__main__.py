"""Ask a chart one question and read three answers side by side: `chartqa`, `python -m chartqa_demo`, `python app.py`.

Settings, engine, page, launch, and an orderly end. `--help` explains every setting. A Space starts `app.py`, for the
sake of ZeroGPU.
"""

import atexit
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from chartqa_demo.data.splits import chosen_columns, open_split
from chartqa_demo.engines import load_engine
from chartqa_demo.errors import DatasetError, EngineError, SettingsError, print_anything
from chartqa_demo.settings import Settings, on_zerogpu, parse_settings, read_logins

SESSIONS = 500  # visitors whose state is kept, those seen last: 0.3 MB each
END_S = 2  # for requests that go on when the app is told to end; Gradio then waits 5 s for its server


def main() -> None:
    """Serve the page. A setting that cannot be used is one sentence and exit code 2."""
    print_anything()
    let_children_be_stopped()
    try:
        settings = parse_settings()
        logins = read_logins(settings.login)
        check_uploads(os.environ)
        check_address(settings, os.environ)
        no_proxy_to(settings.host, os.environ)
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

    from chartqa_demo.space.limits import app_options
    from chartqa_demo.ui import build_app, launch_options

    app = build_app(engine, settings, examples)
    app.queue(max_size=settings.queue_size).launch(
        prevent_thread_lock=True,
        state_session_capacity=SESSIONS,
        server_name=settings.host,
        server_port=settings.port,
        max_threads=40 + engine.parallel,  # an answer holds its thread until it ends; 40 is Gradio's own number
        auth=logins,
        app_kwargs=app_options(app, settings, engine.parallel),
        **launch_options(login=logins is not None),
    )
    serve_until_told(app)


def let_children_be_stopped() -> None:
    """A shell starts what is in the background with Ctrl-C ignored, and so would be a training of the page, which it is
    stopped by. A handler that does nothing does the same here, and is not passed on (signal(7), execve)."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, lambda number, frame: None)


def serve_until_told(app: Any) -> None:
    """Until SIGTERM or Ctrl-C; then the process ends within 10 s, without uploads and a training that it started. A
    second one ends it at once. What is worth keeping was on disk before."""
    from chartqa_demo.space.gradio_internals import delete_oldest

    app.server.config.timeout_graceful_shutdown = END_S
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with suppress(KeyboardInterrupt):
            while True:
                time.sleep(3600)
        delete_oldest(app, 0)  # before Gradio does, which leaves their folders
        app.close(verbose=False)
    finally:
        atexit._run_exitfuncs()  # ends a training; Python's own end would first wait for every thread that answers
        sys.stdout.flush()
        os._exit(0)


def check_uploads(environ: MutableMapping[str, str]) -> None:
    """Raises SettingsError where what visitors upload could not be kept, as Gradio finds its folder."""
    try:
        folder = Path(environ.get("GRADIO_TEMP_DIR") or Path(tempfile.gettempdir(), "gradio"))
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise SettingsError(
            f"Uploads cannot be kept: {error.strerror or error} ({error.filename or 'the temporary folder'}). Set "
            "GRADIO_TEMP_DIR or TMPDIR to a folder that can be written."
        ) from error


def check_address(settings: Settings, environ: Mapping[str, str]) -> None:
    """Raises SettingsError where the page could not listen; before a model is loaded, which takes longer."""
    for name in ("GRADIO_SERVER_PORT", "GRADIO_NUM_PORTS"):
        if not environ.get(name, "1").isdecimal():
            raise SettingsError(f"{name} is {environ[name]!r}; it has to be a whole number.")
    host, port = settings.host or environ.get("GRADIO_SERVER_NAME") or "127.0.0.1", settings.port
    if port is not None and not 1 <= port <= 65_535:
        raise SettingsError(f"--port is {port}; it has to be from 1 to 65,535.")
    try:
        family, *_, place = socket.getaddrinfo(host, port or 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        socket.create_server(place[:2], family=family).close()
    except (OSError, UnicodeError) as error:
        told = getattr(error, "strerror", None) or error
        where = f"{host}, port {port}" if port else host
        raise SettingsError(f"The page cannot listen at {where}: {told}. Give another --port or --host.") from error


def no_proxy_to(host: str | None, environ: MutableMapping[str, str]) -> None:
    """Gradio asks its own server whether it is up; behind a proxy that has to go around the proxy."""
    for name in ("no_proxy", "NO_PROXY"):
        listed = [one for one in environ.get(name, "").split(",") if one]
        environ[name] = ",".join(dict.fromkeys([*listed, "127.0.0.1", "localhost", "::1", *filter(None, [host])]))


if __name__ == "__main__":
    main()
