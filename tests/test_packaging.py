"""What is declared, installed and started: pyproject.toml, requirements.txt, the lock file, and what they promise."""

import ast
import importlib
import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from chartqa_demo.evaluate import run
from train.recipe import with_packaged_config

tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has no tomllib")

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
CONFIG: dict[str, Any] = tomllib.loads(TEXT)
PROJECT: dict[str, Any] = CONFIG["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]

OURS = {"chartqa_demo", "train", "bench", "app"}
COMES_ALONG = {"triton"}  # with torch for CUDA; elsewhere the engine goes without it
# Declared and not imported: transformers, peft, TRL and the test tools load these by themselves.
LOADED_BY_OTHERS = {"torchvision", "accelerate", "bitsandbytes"}
# Only tests and benches import these, and what the tests need cannot be without them.
OF_TEST_TOOLS = {"certifi", "httpx", "packaging"}


def imports(*tops: str) -> set[str]:
    """Distributions, by canonical name, that the Python files below `tops` import."""
    places = packages_distributions()
    files = [path for top in tops for path in ([ROOT / top] if top.endswith(".py") else (ROOT / top).rglob("*.py"))]
    helpers = {"tests", *(path.stem for path in (ROOT / "tests").rglob("*.py"))}
    found = set()
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {name.name.split(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                found.add(node.module.split(".")[0])
    found -= set(sys.stdlib_module_names) | OURS | COMES_ALONG | helpers
    return {canonicalize_name(places[name][0]) for name in found}


def declared(*extras: str) -> set[str]:
    lines = [*PROJECT["dependencies"], *(line for extra in extras for line in EXTRAS[extra])]
    return {canonicalize_name(Requirement(line).name) for line in lines}


def test_the_app_imports_what_it_declares_and_declares_what_it_imports() -> None:
    used = imports("app.py", "chartqa_demo")
    assert used - declared() == set()
    assert declared() - used == LOADED_BY_OTHERS


def test_training_imports_what_its_extra_declares() -> None:
    used = imports("train")
    assert used - declared("train") == set()
    assert declared("train") - declared() - used == set()


def test_tests_and_benches_import_what_the_extras_declare() -> None:
    assert imports("tests", "bench") - declared("train", "mcp", "dev") == OF_TEST_TOOLS


def test_requirements_are_those_that_the_command_writes() -> None:
    spec = importlib.util.spec_from_file_location("requirements", ROOT / ".ci" / "requirements.py")
    assert spec and spec.loader
    command = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(command)
    written = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    assert written == command.requirements(TEXT), "run: python .ci/requirements.py"


def locked() -> dict[str, str]:
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


def test_the_lock_file_names_versions_and_nothing_else() -> None:
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if not line.startswith("#") and not re.fullmatch(r"[\w.-]+==[\w.+]+", line)] == []


def test_the_lock_file_holds_a_version_that_fits_for_all_that_is_declared() -> None:
    versions = {canonicalize_name(name): version for name, version in locked().items()}
    python = {"python_version": "3.11", "python_full_version": "3.11.7"}
    for line in [*PROJECT["dependencies"], *(line for lines in EXTRAS.values() for line in lines)]:
        asked = Requirement(line)
        if asked.marker is None or asked.marker.evaluate(python):
            assert versions[canonicalize_name(asked.name)] in asked.specifier, line


@pytest.mark.parametrize("command", PROJECT["scripts"])
def test_a_console_script_starts_a_function_that_is_there(command: str) -> None:
    module, name = PROJECT["scripts"][command].split(":")
    assert callable(getattr(importlib.import_module(module), name))


def data_files() -> Iterator[tuple[str, str]]:
    """(package, path inside it) of every file in git that is installed and no Python."""
    listed = ["git", "ls-files", "chartqa_demo", "train"]
    for line in subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines():
        if not line.endswith(".py") and (ROOT / line).is_file():
            yield tuple(line.split("/", 1))  # pyright: ignore[reportReturnType]


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="needs a checkout")
def test_every_file_that_is_no_python_is_installed_along() -> None:
    patterns = CONFIG["tool"]["setuptools"]["package-data"]
    missing = [
        f"{package}/{path}"
        for package, path in data_files()
        if not any(fnmatch(path, pattern.replace("**/", "*")) for pattern in patterns[package])
    ]
    assert missing == []


def test_every_folder_with_python_files_is_a_package_and_is_installed() -> None:
    folders = {path.parent for top in ("chartqa_demo", "train") for path in (ROOT / top).rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").is_file()] == []


def test_a_recipe_can_be_named_where_only_the_package_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    packaged = str(ROOT / "train" / "configs" / "bundled.yaml")
    assert with_packaged_config(["--config", "bundled.yaml", "--dry_run"]) == ["--config", packaged, "--dry_run"]
    (tmp_path / "bundled.yaml").write_text("")
    for own in (["--config", "bundled.yaml"], ["--config", "no/such.yaml"], ["--config", "no_such.yaml"]):
        assert with_packaged_config(own) == own


def test_the_commit_of_a_result_is_never_that_of_another_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    author = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", *author, "commit", "-q", "--allow-empty", "-m", "x"], cwd=tmp_path, check=True)
    installed = tmp_path / "run.py"
    installed.write_text("")
    monkeypatch.setattr(run, "__file__", str(installed))
    assert run._commit() is None
