"""The example of `docs/scale-out`: its files agree with each other, and nginx keeps a visitor with one replica."""

import json
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from endpoint_server import endpoint_server, eventually, expected
from gradio_client import Client, handle_file
from page_fixtures import bar_chart, example_split

from bench.reliability.load import ANSWERED, FULL, Asked, overtaken, slope
from bench.visitors import level, sizing
from chartqa_demo.engines import Options
from chartqa_demo.engines.endpoint import REQUEST_S, EndpointEngine
from chartqa_demo.images import MAX_BYTES
from chartqa_demo.settings import HUB_ADAPTER, HUB_BASE, Settings, parse_settings
from chartqa_demo.space.operations import routes
from chartqa_demo.ui import build_app, launch_options

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "scale-out"
NGINX = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    return yaml.safe_load((FOLDER / "compose.yaml").read_text(encoding="utf-8"))["services"]


@pytest.fixture(scope="module")
def nginx_conf() -> str:
    return (FOLDER / "nginx.conf").read_text(encoding="utf-8")


def flags(command: list[str]) -> dict[str, str]:
    named = [one.removeprefix("--").partition("=") for one in command if one.startswith("--")]
    return {name: value for name, _, value in named}


def test_the_page_is_started_with_flags_that_it_has_and_names_that_the_server_serves(services: dict[str, Any]) -> None:
    served = flags(services["vllm"]["command"])
    for name in ("page1", "page2"):
        settings = parse_settings(services[name]["command"][2:], {})
        assert settings.endpoint == f"http://vllm:{served['port']}/v1"
        assert settings.base_name == served["model"] == HUB_BASE
        assert served["lora-modules"] == f"{settings.adapter_name}={HUB_ADAPTER}"
        assert services[name]["environment"]["OPENAI_API_KEY"] == services["vllm"]["environment"]["VLLM_API_KEY"]


def test_nginx_asks_the_services_and_ports_of_the_compose_file(services: dict[str, Any], nginx_conf: str) -> None:
    asked = re.findall(r"server (\w+):(\d+)", nginx_conf)
    assert asked == [(name, flags(services[name]["command"])["port"]) for name in ("page1", "page2")]
    (listen,) = re.findall(r"listen (\d+);", nginx_conf)
    assert services["nginx"]["ports"] == [f"80:{listen}"]
    for name, service in services.items():
        assert set(service.get("depends_on", [])) <= set(services), name
    mounted = services["nginx"]["volumes"][0].split(":")[0]
    assert (FOLDER / mounted).is_file()


def test_nginx_lets_through_what_the_page_takes_and_waits_as_long_as_it_does(nginx_conf: str) -> None:
    (megabytes,) = re.findall(r"client_max_body_size (\d+)m;", nginx_conf)
    assert int(megabytes) * 2**20 > MAX_BYTES
    (seconds,) = re.findall(r"proxy_read_timeout (\d+)s;", nginx_conf)
    assert int(seconds) > REQUEST_S


def test_the_image_of_the_page_leaves_out_what_a_client_does_not_need(services: dict[str, Any]) -> None:
    build = services["page1"]["build"]
    dockerfile = FOLDER / build["context"] / build["dockerfile"]
    (pattern,) = re.findall(r'grep -vE "([^"]+)"', dockerfile.read_text(encoding="utf-8"))
    needed = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    left_out = [line for line in needed if re.match(pattern, line)]
    blocked = [re.split(r"[=<>]", line)[0].replace("-", "_") for line in left_out]
    assert {"torch", "transformers", "peft"} <= set(blocked)
    code = f"""
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ImportError(f"{{name}} is not in the image")
sys.meta_path.insert(0, Missing())
sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests" / "support" / "page")!r}]
import app
from page_fixtures import example_split
from chartqa_demo.engines import load_engine
from chartqa_demo.settings import Settings
from chartqa_demo.ui import build_app, launch_options
settings = Settings(endpoint="http://vllm:8000/v1", base_name="base")
build_app(load_engine(settings), settings, example_split()), launch_options()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


@contextmanager
def nginx(conf: str, ports: list[int], folder: Path) -> Iterator[str]:
    """nginx with the example's configuration, two replicas on this machine in place of page1 and page2."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        own = free.getsockname()[1]
    conf = conf.replace("listen 8080", f"listen 127.0.0.1:{own}").replace("include mime.types;", "")
    for name, port in zip(("page1:7860", "page2:7860"), ports, strict=True):
        conf = conf.replace(name, f"127.0.0.1:{port}")
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = "".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    conf = conf.replace("http {", f"http {{ access_log off; {paths}")
    (folder / "nginx.conf").write_text(f"pid {folder}/nginx.pid; daemon off; error_log {folder}/error.log;\n{conf}")
    command = [str(NGINX), "-p", str(folder), "-c", str(folder / "nginx.conf")]
    checked = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    running = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{own}/"
        eventually(lambda: _answers(url))
        yield url
    finally:
        running.terminate()
        running.wait(30)


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}healthz").status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
def test_a_visitor_stays_with_one_replica_and_visitors_spread_over_both(
    nginx_conf: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Gradio gives its server three seconds for the first page, and says "localhost is not accessible" on a busy machine
    monkeypatch.setattr("gradio.networking.url_ok", lambda url: True)
    picture = tmp_path / "chart.png"
    bar_chart().save(picture)
    with ExitStack() as stack:
        servers = [stack.enter_context(endpoint_server()) for _ in range(2)]
        ports = []
        for server in servers:
            engine = EndpointEngine(Settings(endpoint=server.url, base_name="base", adapter_name="tuned"))
            app = build_app(engine, Settings(), example_split())
            _, url, _ = app.launch(
                prevent_thread_lock=True, quiet=True, app_kwargs={"routes": routes(app)}, **launch_options()
            )
            stack.callback(app.close, verbose=False)
            ports.append(httpx.URL(url).port)
        url = stack.enter_context(nginx(nginx_conf, ports, tmp_path))

        assert httpx.get(f"{url}metrics").status_code == 404
        first = httpx.get(url)
        cookie = first.headers["set-cookie"]
        assert cookie.startswith("visitor=") and "set-cookie" not in httpx.get(url, cookies=first.cookies).headers

        while not all(server.requests for server in servers):
            asked = [len(server.requests) for server in servers]
            visitor = Client(url, verbose=False)
            for question in ("How many?", "Which one?"):
                reply = visitor.predict(image=handle_file(picture), question=question, api_name="/ask")
                assert [arm["text"] for arm in reply] == [
                    expected(name, bar_chart(), question) for name in ("base", "base", "tuned")
                ]
            assert sorted(len(server.requests) - n for server, n in zip(servers, asked, strict=True)) == [0, 6]
            assert sum(len(server.requests) for server in servers) < 6 * 40, "every visitor got the same replica"


def test_the_benchmark_counts_questions_times_and_failures() -> None:
    with endpoint_server() as server:
        engine = EndpointEngine(Settings(endpoint=server.url, base_name="base", adapter_name="tuned"))
        found = level(engine, list(example_split()), 3, Options())
        assert (found["questions"], found["failed"], found["at_once"]) == (6, 0, 3)
        assert found["tokens_per_second"] == pytest.approx(found["questions_per_second"] * 3 * 17, rel=0.1)
        assert 0 < found["first_text_s"]["p50"] <= found["answered_s"]["p95"]
        engine.adapter = "failing"
        assert level(engine, list(example_split()), 1, Options())["failed"] == 6


def test_the_load_tells_who_was_overtaken_and_what_grows() -> None:
    fair = [Asked(0.0, 2.0, ANSWERED), Asked(1.5, 3.0, ANSWERED), Asked(1.6, 1.7, FULL)]
    assert overtaken(fair) == 0
    assert overtaken([*fair, Asked(0.2, 9.0, ANSWERED), Asked(4.0, 5.0, ANSWERED)]) == 2
    looks = [(float(second), 1e6 if second < 300 else 1e6 + second, 7.0) for second in range(0, 600, 2)]
    assert slope(looks, 1) == pytest.approx(600)
    assert slope(looks, 2) == pytest.approx(0)


def test_the_sizing_is_the_fastest_level_that_is_quick_enough() -> None:
    def measured(at_once: int, rate: float, p95: float, failed: int = 0) -> dict[str, Any]:
        times = {"p50": p95 / 2, "p95": p95}
        return {
            "at_once": at_once,
            "failed": failed,
            "questions_per_second": rate,
            "first_text_s": times,
            "answered_s": times,
        }

    levels = [measured(1, 2.0, 0.5), measured(8, 9.5, 3.0), measured(16, 11.0, 4.0, failed=1), measured(64, 12.0, 9.0)]
    (*_, row) = sizing([{"model": "m", "on": "one GPU", "levels": levels}], 60, 5).splitlines()
    assert row == "| m | one GPU | 8 | 9.50 | 1.50 s | 3.00 s | 570 |"
    (*_, row) = sizing([{"model": "m", "on": "one CPU", "levels": levels[-1:]}], 60, 5).splitlines()
    assert row.endswith("| over 5 s | 0 |")


def test_the_readmes_sizing_is_what_the_command_prints_and_nothing_else() -> None:
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    runs = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("visitors-*.json"))]
    head, *rows = sizing(runs, 60, 5).splitlines()
    assert text.count(head) == bool(runs)
    assert "\n".join([head, *rows]) in text or not runs
