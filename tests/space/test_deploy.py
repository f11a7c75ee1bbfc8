"""`python -m chartqa_demo.deploy` against a Hub on the loopback interface, with the real Hub client."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from children import child
from hub import OWNER, READ_TOKEN, Hub, client_environment, serve_hub

from chartqa_demo.settings import HUB_ADAPTER, HUB_BASE, HUB_DATASET, Settings
from chartqa_demo.space.deploy import needed_files, space_readme

pytest_plugins = ("page_fixtures",)

ROOT = Path(__file__).parents[2]
SPACE = f"{OWNER}/charts"
DEPLOY = """
import sys
from chartqa_demo.space import deploy
deploy.POLL_S = 0.01
deploy.main(sys.argv[1:])
"""
# The bundled charts of this test, and the address at which a Space would answer.
ASKED = """
import sys
from pathlib import Path
from chartqa_demo import settings
from chartqa_demo.data import splits as dataset
from chartqa_demo.space import deploy
deploy.POLL_S = 0.01
folder = Path(sys.argv[1])
dataset.BUNDLED_CHARTS = folder / "bundled" / "charts"
deploy.PACKAGE = folder
deploy.main(sys.argv[2:])
"""


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serve_hub() as hub:
        yield hub


def run(hub: Hub, tmp_path: Path, *flags: str, token: str | None = None) -> subprocess.CompletedProcess[str]:
    environ = client_environment(hub.url, tmp_path / "hf", **({} if token is None else {"token": token}))
    return child(DEPLOY, SPACE, *flags, **environ)


def test_a_dry_run_prints_files_and_settings_and_asks_the_hub_nothing(hub: Hub, tmp_path: Path) -> None:
    done = run(hub, tmp_path, "--dry-run", "--base", HUB_BASE, "--dataset", HUB_DATASET, "--max-new-tokens", "48")
    assert done.returncode == 0, done.stderr
    assert f"Space {SPACE} (public) on zero-a10g" in done.stdout
    for line in (f"CHARTQA_BASE={HUB_BASE}", "CHARTQA_ADAPTER=auto", f"CHARTQA_DATASET={HUB_DATASET}"):
        assert f"  {line}\n" in done.stdout
    assert "CHARTQA_MAX_NEW_TOKENS=48" in done.stdout
    printed = [line.split()[-1] for line in done.stdout.splitlines() if line.startswith("   ") and "=" not in line]
    assert printed == needed_files(bundled=False)
    assert {"app.py", "README.md", "requirements.txt", "chartqa_demo/space/zerogpu.py"} <= set(printed)
    assert hub.requests == []


def test_the_bundled_weights_go_along_only_where_they_can_answer() -> None:
    weights = "chartqa_demo/bundled/model/"
    assert not any(path.startswith(weights) for path in needed_files(bundled=False))
    small, whole = set(needed_files(bundled=False)), set(needed_files(bundled=True))
    assert small <= whole
    assert not any("__pycache__" in path or path.startswith(("tests/", "runs/", ".")) for path in whole)


def test_a_space_is_created_with_its_settings_and_files(hub: Hub, tmp_path: Path) -> None:
    done = run(hub, tmp_path, "--base", HUB_BASE, "--no-wait", "--private")
    assert done.returncode == 0, done.stderr
    space = hub.spaces[SPACE]
    assert space.private and space.commits == 1
    assert space.settings["sdk"] == "gradio"
    assert space.variables == {"CHARTQA_BASE": HUB_BASE, "CHARTQA_ADAPTER": "auto", "CHARTQA_DATASET": "bundled"}
    assert space.hardware == "zero-a10g"
    assert space.files.keys() == set(needed_files(bundled=False))
    assert space.files["app.py"] == (ROOT / "app.py").read_bytes()


def test_deploying_again_changes_nothing_and_a_change_sends_only_what_changed(hub: Hub, tmp_path: Path) -> None:
    assert run(hub, tmp_path, "--base", HUB_BASE, "--no-wait").returncode == 0
    space = hub.spaces[SPACE]
    space.files[".gitattributes"] = b"of the Hub itself"
    again = run(hub, tmp_path, "--base", HUB_BASE, "--no-wait")
    assert "everything is as it should be" in again.stdout
    assert space.commits == 1

    space.files["app.py"] = b"an old one"
    space.files["chartqa_demo/gone.py"] = b"not here any more"
    changed = run(hub, tmp_path, "--base", "bundled", "--adapter", "none", "--no-wait")
    assert changed.returncode == 0, changed.stderr
    assert space.commits == 2
    assert space.variables["CHARTQA_BASE"] == "bundled" and space.variables["CHARTQA_ADAPTER"] == "none"
    assert space.files["app.py"] == (ROOT / "app.py").read_bytes()
    assert "chartqa_demo/gone.py" not in space.files
    assert ".gitattributes" in space.files


def test_a_variable_that_is_no_longer_wanted_is_removed_and_others_stay(hub: Hub, tmp_path: Path) -> None:
    assert run(hub, tmp_path, "--base", HUB_BASE, "--max-new-tokens", "48", "--no-wait").returncode == 0
    hub.spaces[SPACE].variables["THEIR_OWN"] = "kept"
    assert "removed CHARTQA_MAX_NEW_TOKENS" in run(hub, tmp_path, "--base", HUB_BASE, "--no-wait").stdout
    assert hub.spaces[SPACE].variables["THEIR_OWN"] == "kept"


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--base", "tests"], "--base is tests, which a Space cannot see"),
        (["--dataset", "/no/such/folder"], "--dataset is /no/such/folder, which a Space cannot see"),
        (["--hardware", "zero-gravity"], "--hardware is 'zero-gravity'; the Hub has "),
        (["--max-new-tokens", "0"], "at least 1"),
    ],
)
def test_what_a_space_cannot_be_is_refused_before_anything_is_sent(
    flags: list[str], sentence: str, hub: Hub, tmp_path: Path
) -> None:
    done = run(hub, tmp_path, *flags)
    assert done.returncode == 2
    assert sentence in done.stderr and "Traceback" not in done.stderr
    assert hub.requests == []


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        ({"GET /api/spaces/": 401}, "does not accept your token"),
        ({"POST /api/repos/create": 403}, "may not write Spaces of ann"),
        ({"POST /api/repos/create": 402}, "is not free for ann"),
        ({"POST .*/commit/": 500}, "refused the Space ann/charts (500)"),
    ],
)
def test_a_refusal_of_the_hub_is_a_sentence(broken: dict[str, int], sentence: str, hub: Hub, tmp_path: Path) -> None:
    hub.broken = broken
    done = run(hub, tmp_path, "--base", HUB_BASE, "--no-wait")
    assert done.returncode == 2
    assert sentence in done.stderr and "Traceback" not in done.stderr


def test_a_token_that_may_only_read_is_told_so(hub: Hub, tmp_path: Path) -> None:
    done = run(hub, tmp_path, "--base", HUB_BASE, "--no-wait", token=READ_TOKEN)
    assert "(403)" in done.stderr
    assert hub.spaces == {}


def test_deploying_without_a_login_says_how_to_log_in(hub: Hub, tmp_path: Path) -> None:
    done = run(hub, tmp_path, "--base", HUB_BASE, "--no-wait", token="")
    assert "hf auth login" in done.stderr
    assert hub.requests == []


def test_a_space_that_fails_to_build_is_told_with_its_stage_and_logs(hub: Hub, tmp_path: Path) -> None:
    hub.stages = ["BUILDING", "BUILDING", "APP_STARTING", "BUILD_ERROR"]
    done = run(hub, tmp_path, "--base", HUB_BASE)
    assert done.returncode == 2
    assert (
        "The Space ann/charts is BUILD_ERROR. Read its logs on https://huggingface.co/spaces/ann/charts" in done.stderr
    )
    assert done.stdout.count("is BUILDING") == 1


def test_a_running_space_is_asked_one_question(hub: Hub, app_url: str, tmp_path: Path, chart_file: Path) -> None:
    charts = tmp_path / "bundled" / "charts"
    charts.mkdir(parents=True)
    (charts / "visitors.png").write_bytes(chart_file.read_bytes())
    row = {"id": "test/0", "image": "visitors.png", "query": "How many bars?", "label": "4", "human_or_machine": 0}
    (charts / "qa.jsonl").write_text(json.dumps({**row, "kind": "bars"}) + "\n", encoding="utf-8")
    hub.stages, hub.host = ["BUILDING", "RUNNING"], app_url
    environ = client_environment(hub.url, tmp_path / "hf")
    done = child(ASKED, str(tmp_path), SPACE, "--base", HUB_BASE, **environ)
    assert done.returncode == 0, done.stderr
    assert f"{SPACE} answered: Pretrained: No model has looked." in done.stdout

    hub.host = "http://127.0.0.1:9"
    failed = child(ASKED, str(tmp_path), SPACE, "--base", HUB_BASE, **environ)
    assert failed.returncode == 2
    assert "runs and did not answer a question" in failed.stderr


def front_matter(settings: Settings) -> dict[str, object]:
    readme = space_readme((ROOT / "README.md").read_text(encoding="utf-8"), settings)
    return yaml.safe_load(readme.split("---\n")[1])


def test_the_spaces_readme_links_and_preloads_what_it_serves() -> None:
    assert front_matter(Settings())["models"] == [HUB_BASE, HUB_ADAPTER]
    own = front_matter(Settings(base=HUB_BASE, adapter="ann/lora"))
    assert own["models"] == own["preload_from_hub"] == [HUB_BASE, "ann/lora"]
    assert "preload_from_hub" not in front_matter(Settings(base=HUB_BASE, base_revision="v1"))
    assert "models" not in front_matter(Settings(base="bundled", adapter="bundled"))


def test_the_spaces_readme_keeps_the_text() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert space_readme(text, Settings()).split("---\n", 2)[2] == text.split("---\n", 2)[2]
