"""Where a start is made from odd surroundings: it works, or one sentence says why not."""

import io
import re
import socket
import sys
from pathlib import Path

import httpx
import pytest

from chartqa_demo.__main__ import check_address, check_uploads, main, no_proxy_to
from chartqa_demo.errors import SettingsError, print_anything
from chartqa_demo.settings import Settings, parse_settings, read_logins, read_message


@pytest.mark.parametrize("listed", [{}, {"no_proxy": ""}, {"NO_PROXY": "example.org,localhost"}])
def test_a_proxy_is_not_asked_for_this_machine(listed: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    surroundings = {**listed, "http_proxy": "http://127.0.0.1:9", "all_proxy": "http://127.0.0.1:9"}
    no_proxy_to("192.0.2.7", surroundings)
    for name in ("no_proxy", "NO_PROXY", "http_proxy", "all_proxy"):
        monkeypatch.setenv(name, surroundings[name])
    with httpx.Client() as client:
        for host, direct in (("127.0.0.1", True), ("localhost", True), ("192.0.2.7", True), ("192.0.2.8", False)):
            assert (client._transport_for_url(httpx.URL(f"http://{host}:1/")) is client._transport) == direct, host
    assert "example.org" in surroundings["NO_PROXY"] or not listed.get("NO_PROXY")


def test_a_folder_of_uploads_that_cannot_be_used_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    check_uploads({"GRADIO_TEMP_DIR": str(tmp_path / "new")})
    monkeypatch.setenv("GRADIO_TEMP_DIR", __file__)
    monkeypatch.setattr(sys, "argv", ["app.py"])
    with pytest.raises(SystemExit) as ended:
        main()
    (told,) = capsys.readouterr().err.splitlines()
    assert ended.value.code == 2 and told.startswith(f"error: Uploads cannot be kept: File exists ({__file__}). Set ")


def test_a_letter_that_the_code_page_lacks_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="cp1252"))
    print_anything()
    print("🔨 “yes”", flush=True)
    assert written.getvalue().decode("cp1252").strip() == "? “yes”"


@pytest.mark.parametrize("flag", ["--results-dir", "--corrections"])
def test_a_folder_that_is_a_file_is_one_sentence(flag: str) -> None:
    with pytest.raises(
        SettingsError, match=rf"{flag} is {__file__}/x; it has to be a folder, and {__file__} is a file"
    ):
        parse_settings([flag, f"{__file__}/x"], {})


@pytest.mark.parametrize(
    ("host", "port", "environ", "sentence"),
    [
        (None, 99_999, {}, "--port is 99999; it has to be from 1 to 65,535"),
        (None, -1, {}, "--port is -1"),
        ("999.1.1.1", None, {}, "cannot listen at 999.1.1.1: "),
        ("a" * 70, None, {}, "cannot listen at aaa"),
        ("192.0.2.1", 7860, {}, "cannot listen at 192.0.2.1, port 7860: "),
        (None, None, {"GRADIO_SERVER_PORT": "abc"}, "GRADIO_SERVER_PORT is 'abc'"),
        (None, None, {"GRADIO_NUM_PORTS": ""}, "GRADIO_NUM_PORTS is ''"),
    ],
)
def test_an_address_that_cannot_be_listened_at_is_one_sentence(
    host: str | None, port: int | None, environ: dict[str, str], sentence: str
) -> None:
    with pytest.raises(SettingsError, match=re.escape(sentence)):
        check_address(Settings(host=host, port=port), environ)


def test_a_port_that_another_program_has_is_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(SettingsError, match=f"127.0.0.1, port {port}: Address already in use"):
            check_address(Settings(port=port), {})
    check_address(Settings(port=port), {})
    check_address(Settings(), {})


def test_a_file_without_an_end_is_not_read_to_it() -> None:
    for read in (lambda: read_message("@/dev/zero"), lambda: read_logins("/dev/zero")):
        with pytest.raises(SettingsError, match="it has more than"):
            read()
