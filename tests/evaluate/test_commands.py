"""Every command explains itself: a stray % in a help text fails only when somebody asks for help."""

from pathlib import Path

import pytest
from children import child
from hub import client_environment, hub_address

ROOT = Path(__file__).parents[2]
PARTS = ("chartqa_demo", "train", "bench")


def commands() -> list[str]:
    """Every module of this repository that is run with -m and reads a command line."""
    found = ["app"]
    for path in sorted(file for part in PARTS for file in (ROOT / part).rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if 'if __name__ == "__main__"' in text:
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found.append(name.removesuffix(".__main__"))
    return found


@pytest.mark.parametrize("module", commands())
def test_help_is_printed(module: str, tmp_path: Path) -> None:
    done = child(["-m", module, "--help"], **client_environment(hub_address(), tmp_path / "hf"))
    assert done.returncode == 0, done.stderr[-1000:]
    assert done.stdout.lower().startswith("usage:")
