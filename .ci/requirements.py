"""Write requirements.txt from pyproject.toml: what a Space and a start from a checkout install.

    python .ci/requirements.py

A Space installs from requirements.txt and knows no extras, so the extra `train` is in it: the file is all that a
checkout needs to serve, measure and train. tests/test_packaging.py fails when the file and pyproject.toml differ.
Needs Python 3.11, for tomllib.
"""

import re
from pathlib import Path

import tomllib

ROOT = Path(__file__).parents[1]
PLATFORM = ("huggingface-hub",)  # a Space brings its own, and its documentation says not to ask for one
HEAD = "# Written by `python .ci/requirements.py` from pyproject.toml, which says why a version is as it is.\n"


def requirements(pyproject: str) -> str:
    """The text of requirements.txt for the text of pyproject.toml."""
    project = tomllib.loads(pyproject)["project"]
    lines = [*project["dependencies"], *project["optional-dependencies"]["train"]]
    return HEAD + "".join(f"{line}\n" for line in lines if re.split(r"[^\w.-]", line)[0] not in PLATFORM)


if __name__ == "__main__":
    text = requirements((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (ROOT / "requirements.txt").write_text(text, encoding="utf-8")
