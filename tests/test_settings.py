"""Flags and CHARTQA_* variables, and the sentence for every wrong one."""

import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from children import child
from hub import client_environment, hub_address

from chartqa_demo.errors import SettingsError
from chartqa_demo.settings import Settings, parse_settings, read_logins

ROOT = Path(__file__).parents[1]


def test_a_flag_wins_over_its_variable_and_a_variable_over_the_default() -> None:
    environ = {"CHARTQA_BASE": "bundled", "CHARTQA_MAX_NEW_TOKENS": "16"}
    settings = parse_settings(["--base", "owner/model"], environ)
    assert (settings.base, settings.max_new_tokens, settings.split) == ("owner/model", 16, "auto")


def test_an_empty_variable_is_no_setting() -> None:
    assert parse_settings([], {"CHARTQA_ADAPTER": ""}).adapter == "auto"


@pytest.mark.parametrize(
    ("argv", "environ", "sentence"),
    [
        ([], {"CHARTQA_PORT": "many"}, "CHARTQA_PORT is 'many'; it has to be a whole number"),
        ([], {"CHARTQA_SCRIPTED": "perhaps"}, "CHARTQA_SCRIPTED is 'perhaps'; it has to be one of 1, true, yes, on"),
        ([], {"CHARTQA_QUANTIZE": "3bit"}, "quantize is '3bit'"),
        (["--max-pixels", "10"], {}, "at least 784"),
        (["--min-pixels", "90000", "--max-pixels", "80000"], {}, "larger than"),
        (["--max-new-tokens", "0"], {}, "at least 1"),
        (["--max-new-tokens", "513"], {}, "--max-new-tokens is 513, and --most-new-tokens 512; raise"),
        (["--max-question", "20001"], {}, "--max-question is 20001; it has to be at most 20000"),
        ([], {"CHARTQA_UPLOAD_PIXELS": "50000001"}, "--upload-pixels is 50000001; it has to be at most 50000000"),
        (["--endpoint", "localhost:8000", "--base-name", "a"], {}, "has to be an address such as http"),
        (["--endpoint", "http://key@host/v1", "--base-name", "a"], {}, "must hold no password or key"),
        (["--endpoint", "http://host/v1"], {}, "needs --base-name"),
        (["--adapter-name", "chartqa"], {}, "names on a server"),
        (["--device-map", "auto", "--device", "cuda:1"], {}, "takes every GPU, but --device is cuda:1"),
        ([], {"CHARTQA_DEVICE_MAP": "balanced"}, "device_map is 'balanced'"),
    ],
)
def test_a_wrong_setting_is_one_sentence(argv: list[str], environ: dict[str, str], sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        parse_settings(argv, environ)


def test_four_bits_without_bitsandbytes_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chartqa_demo.settings.find_spec", lambda name: None)
    with pytest.raises(SettingsError, match="needs the bitsandbytes package"):
        parse_settings(["--quantize", "4bit"], {})


def run_app(*flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "app.py", *flags]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def test_help_explains_every_setting() -> None:
    done = run_app("--help")
    assert done.returncode == 0
    for field in fields(Settings):
        assert f"--{field.name.replace('_', '-')}" in done.stdout
        assert f"CHARTQA_{field.name.upper()}" in done.stdout


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--base", "/no/such/folder"], "'/no/such/folder' is neither a folder on this machine nor a Hub id"),
        (["--dataset", "/no/such/folder"], "/no/such/folder"),
        (["--adapter", "/no/such/adapter"], "'/no/such/adapter' is neither a folder"),
    ],
)
def test_a_setting_that_cannot_be_used_ends_with_one_sentence_and_code_2(flags: list[str], sentence: str) -> None:
    done = run_app(*flags)
    assert done.returncode == 2
    assert done.stderr.count("error:") == 1 and sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_an_adapter_trained_for_another_base_ends_with_code_2(tiny_adapter: Path, tmp_path: Path) -> None:
    flags = ["--base", "bundled", "--adapter", str(tiny_adapter)]
    done = child(["-m", "app"], *flags, **client_environment(hub_address(), tmp_path / "hf"))
    assert done.returncode == 2
    assert "does not fit this base model" in done.stderr and "Traceback" not in done.stderr


def test_a_login_is_a_line_of_its_file_and_a_colon_may_be_in_the_password(tmp_path: Path) -> None:
    file = tmp_path / "logins"
    file.write_text("ann:a:b\n\nbo:c\n", encoding="utf-8")
    assert read_logins(str(file)) == [("ann", "a:b"), ("bo", "c")]
    assert read_logins(None) is None
    for text in ("", "ann\n", "ann:\n", ":a\n"):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(SettingsError, match="a line name:password"):
            read_logins(str(file))
    with pytest.raises(SettingsError, match="cannot be read"):
        read_logins(str(tmp_path / "none"))
