"""The layout that CONTRIBUTING.md describes stays true: who imports whom, what an import does, how large things are."""

import ast
import math
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from children import PATHS, child
from hub import client_environment, hub_address
from safetensors import safe_open

ROOT = Path(__file__).parents[1]
# Room -> what it may import of this repository besides itself. `files` are those directly in chartqa_demo; `hub` is
# space/hub.py, which fetches from the Hub and needs nothing else of `space`; `protocol` is engines/__init__.py, which
# says what every engine is.
MAY_IMPORT = {
    "files": set(),
    "hub": {"files"},
    "data": {"files", "hub"},
    "protocol": {"files", "engines"},  # engines only inside load_engine
    "adapters": {"files", "hub"},
    "engines": {"files", "hub", "protocol", "adapters", "fast"},
    "fast": {"files", "protocol", "engines"},
    "evaluate": {"files", "data", "protocol"},
    "space": {"files", "hub", "data", "adapters", "protocol", "engines"},
    "ui": {"files", "hub", "data", "adapters", "protocol", "evaluate", "space"},
    "train": {"files", "hub", "data", "adapters", "protocol", "engines", "evaluate", "pretrain"},
    "pretrain": {"files"},
    "reading": {
        "files",
        "hub",
        "data",
        "protocol",
        "engines",
        "evaluate",
        "pretrain",
    },  # asks the app about drawn charts
}
COMMANDS = {f"chartqa_demo.{name}" for name in ("__main__", "report", "deploy", "recorded")}  # start what a room holds
# Larger than 400 lines, or more than nine files: what is still to be divided, and data.
LONG_FILES = {
    "train/pretrain/charts/drawing/styles.py",
    "train/pretrain/charts/questions/wordings.py",
}
FULL_FOLDERS = {
    "bench/results",
    "chartqa_demo/bundled/charts",
    "train/pretrain/charts/drawing/fonts",
    "train/pretrain/charts/words/text",
}


def modules(*tops: str) -> dict[str, Path]:
    """Name of every module below `tops` -> its file."""
    found = {}
    for top in tops:
        for path in sorted((ROOT / top).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules("chartqa_demo", "train")


def imports(name: str, everywhere: bool = True) -> Iterator[str]:
    """Modules of this repository that the module `name` imports; everywhere: inside functions, too."""
    tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    for node in ast.walk(tree) if everywhere else tree.body:
        targets = []
        if isinstance(node, ast.Import):
            targets = [one.name for one in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{name} imports relatively; absolute imports can be searched for"
            inside = [f"{node.module}.{one.name}" for one in node.names]
            targets = [one if one in MODULES else node.module for one in inside]
        yield from (one for one in targets if one in MODULES)


def room(name: str) -> str:
    parts = name.split(".")
    if parts[0] == "train":
        inside = ["reading", "pretrain"] if parts[1:3] == ["pretrain", "reading"] else parts[1:2]
        return inside[0] if inside[-1:] == ["pretrain"] else "train"
    if len(parts) == 1 or parts[1] == "images" or not (ROOT / "chartqa_demo" / parts[1]).is_dir():
        return "files"
    if parts[1:3] == ["engines", "fast"]:
        return "fast"
    return {"space.hub": "hub", "engines": "protocol"}.get(".".join(parts[1:]), parts[1])


def test_every_room_imports_only_what_lies_below_it() -> None:
    wrong = [
        f"{name} imports {target}"
        for name in MODULES.keys() - COMMANDS
        for target in imports(name)
        if room(target) != room(name) and room(target) not in MAY_IMPORT[room(name)]
    ]
    assert wrong == []


def test_no_module_imports_itself_by_way_of_others() -> None:
    after = {name: set(imports(name, everywhere=False)) - {name} for name in MODULES}
    while free := {name for name, targets in after.items() if not targets & after.keys()}:
        after = {name: targets for name, targets in after.items() if name not in free}
    assert sorted(after) == [], "these import each other"


def test_one_file_outside_imports_pretraining() -> None:
    inside = ("pretrain", "reading")
    users = {name for name in MODULES if room(name) not in inside and any(room(t) in inside for t in imports(name))}
    assert len(users) <= 1


def test_every_room_says_what_lives_there() -> None:
    silent = []
    for path in MODULES.values():
        if path.name == "__init__.py" and not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))):
            silent.append(path.relative_to(ROOT).as_posix())
    assert silent == []


def in_room(*rooms: str) -> list[str]:
    return [name for name in MODULES if room(name) in rooms]


LOADED = """
import gc, importlib, sys
import watched
gc.disable()
for names in sys.argv[1:]:
    for name in names.split():
        importlib.import_module(name)
    print([name for name in ("torch", "gradio") if name in sys.modules], watched.happened)
"""
# What may be imported without either library comes first: each is imported beside those before it.
ROOMS = {
    "rules and statistics": (["chartqa_demo.evaluate.rules", "chartqa_demo.evaluate.statistics"], "[] []"),
    "the evaluation without both": (in_room("evaluate", "data", "files"), "[] []"),
    "checks of adapters": ([name for name in in_room("adapters") if not name.endswith(".load")], "[] []"),
    "the page without torch": (in_room("ui"), "['gradio'] []"),
    "all there is": (list(MODULES), "['torch', 'gradio'] []"),
}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Which of torch and gradio are loaded after the imports of ROOMS, and what ports and weights were opened. All
    there is is imported in a fork that has torch already, and has watched how it came."""
    *light, heavy = [" ".join(names) for names, _ in ROOMS.values()]
    from_nothing = child(LOADED, *light, PYTHONPATH=PATHS, HF_HUB_OFFLINE="1")
    environ = client_environment(hub_address(), tmp_path_factory.mktemp("home"), token=None)
    told = [from_nothing, child(LOADED, heavy, **environ)]
    assert [done.returncode for done in told] == [0, 0], [done.stderr[-2000:] for done in told]
    lines = from_nothing.stdout.splitlines()[-len(light) :] + told[1].stdout.splitlines()[-1:]
    return dict(zip(ROOMS, lines, strict=True))


@pytest.mark.parametrize("which", ROOMS)
def test_a_room_loads_no_more_than_it_needs_and_opens_no_port_and_no_weights(
    which: str, loaded: dict[str, str]
) -> None:
    assert loaded[which] == ROOMS[which][1]


def test_training_imports_no_gradio() -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for name, path in MODULES.items() if name.startswith("train"))
    assert "import gradio" not in text and "from gradio" not in text
    reached, new = set(), set(in_room("train", "pretrain", "reading"))
    while new:
        reached |= new
        new = {target for name in new for target in imports(name)} - reached
    assert [name for name in reached if room(name) == "ui"] == []


def test_files_and_folders_stay_small() -> None:
    lines, files = {}, defaultdict(int)
    for top in ("chartqa_demo", "train", "bench", "tests"):
        for path in (ROOT / top).rglob("*"):
            inside = path.relative_to(ROOT)
            if path.is_file() and "__pycache__" not in inside.parts and not path.name.startswith((".", "README")):
                files[inside.parent.as_posix()] += 1
                if path.suffix == ".py" and top != "tests":
                    lines[inside.as_posix()] = len(path.read_text(encoding="utf-8").splitlines())
    assert {name for name, count in lines.items() if count > 400} - LONG_FILES == set()
    assert {name for name, count in files.items() if count > 9} - FULL_FOLDERS == set()


def test_no_file_holds_the_marks_of_an_unfinished_merge() -> None:
    kinds = {".py", ".js", ".css", ".json", ".md", ".yaml", ".jinja"}
    files = [
        *ROOT.glob("*.*"),
        *(path for top in ("chartqa_demo", "train", "bench", "tests", "docs") for path in (ROOT / top).rglob("*")),
    ]
    texts = {path: path.read_text(encoding="utf-8") for path in files if path.is_file() and path.suffix in kinds}
    assert len(texts) > 200
    assert [str(path) for path, text in texts.items() if re.search("^(<{7}|>{7}) ", text, re.MULTILINE)] == []


def test_the_tree_of_the_readme_is_complete_and_true() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (tree,) = [block for block in text.split("```") if "\nchartqa_demo/\n" in block]
    told, folder = set(), ""
    for line in filter(None, tree.split("\n")):
        name = line.split()[0]
        told.add(folder + name.rstrip("/") if line.startswith("  ") else name.rstrip("/"))
        folder = folder if line.startswith("  ") else name
    top = {"app.py", "pyproject.toml", "chartqa_demo", "train", "bench", "results", "docs", "tests"}
    package = {f"chartqa_demo/{path.name}" for path in (ROOT / "chartqa_demo").iterdir()}
    package -= {"chartqa_demo/__init__.py", "chartqa_demo/__pycache__"}
    rooms = {f"train/{path.name}" for path in (ROOT / "train").iterdir() if path.is_dir()} - {"train/__pycache__"}
    assert told == top | package | rooms
    for path in re.findall(r"`((?:ui|engines|evaluate)/[\w/]+(?:\.py)?/?)`|`(images/|arms\.py)`", text):
        assert (ROOT / "chartqa_demo" / "".join(path)).exists(), path


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="needs a checkout")
def test_paths_that_contributing_names_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:chartqa_demo|train|tests|bench|\.ci)/[\w./]+)`", text))
    assert len(named) > 8
    assert sorted(path for path in named if not (ROOT / path).exists()) == []


def test_the_bundled_model_has_one_number_of_parameters_everywhere() -> None:
    with safe_open(ROOT / "chartqa_demo" / "bundled" / "model" / "model.safetensors", "numpy") as weights:
        count = sum(math.prod(weights.get_slice(name).get_shape()) for name in weights.keys())  # noqa: SIM118
    files = [ROOT / "README.md", *(ROOT / "chartqa_demo" / "bundled").rglob("*.md")]
    told = [one for path in files for one in re.findall(r"([\d.]+) M parameters", path.read_text(encoding="utf-8"))]
    assert set(told) == {f"{count / 1e6:.1f}"}
