"""`python -m chartqa_demo.deploy owner/name`: make this repository a Hugging Face Space, or bring one up to date.

What is already as it should be is left alone, so the command can be repeated. It ends when the Space is running and
has answered one question through its API. `--dry-run` asks the Hub nothing and prints what would be sent.
"""

import argparse
import hashlib
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, SpaceHardware, get_token
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError
from huggingface_hub.hf_api import RepoFile

from chartqa_demo.data.splits import open_split
from chartqa_demo.errors import DeployError, SettingsError, first_line
from chartqa_demo.settings import HUB_ADAPTER, HUB_BASE, HUB_DATASET, PACKAGE, Settings, add_engine_flags, settings_from
from chartqa_demo.space.hub import HUB_ID, folder_of, is_hub_id

ROOT = PACKAGE.parent if (PACKAGE.parent / "app.py").is_file() else Path.cwd()  # installed: run in a checkout
NEEDED = ("app.py", "requirements.txt", "LICENSE", "README.md", "chartqa_demo", "docs", "results")
LEFT_OUT = ("__pycache__", ".pyc", ".DS_Store")
WEIGHTS = ("chartqa_demo/bundled/model", "chartqa_demo/bundled/adapter")
ZEROGPU, CPU = "zero-a10g", "cpu-basic"  # the Hub's name for ZeroGPU is still that of its first card
KEPT_BY_HUB = (".gitattributes",)
POLL_S, PATIENCE_S = 5.0, 60 * 60.0
FAILED_STAGES = ("BUILD_ERROR", "RUNTIME_ERROR", "CONFIG_ERROR", "NO_APP_FILE", "PAUSED", "STOPPED", "DELETING")


@dataclass(frozen=True)
class Plan:
    """What the Space is to be. files: path in the Space -> its bytes; variables: CHARTQA_* with their values."""

    repo_id: str
    files: dict[str, bytes]
    variables: dict[str, str]
    hardware: str
    private: bool

    def __str__(self) -> str:
        lines = [f"Space {self.repo_id} ({'private' if self.private else 'public'}) on {self.hardware}"]
        lines += [f"  {key}={value}" for key, value in self.variables.items()]
        lines += [f"{len(self.files)} files, {sum(map(len, self.files.values())) / 1e6:.1f} MB"]
        lines += [f"  {len(data):>12,}  {path}" for path, data in self.files.items()]
        return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    """Deploy as the flags say. What cannot be done is one sentence and exit code 2."""
    parser = argparse.ArgumentParser(
        prog="python -m chartqa_demo.deploy",
        description="Create or update a Hugging Face Space with this app, wait until it runs, and ask it one question.",
        epilog="Flags of the model and the charts become variables of the Space. Log in first: `hf auth login`.",
    )
    parser.add_argument("space", help="id of the Space, owner/name")
    parser.add_argument("--dry-run", action="store_true", help="print the files and settings, and send nothing")
    parser.add_argument("--hardware", help=f"{ZEROGPU} is ZeroGPU, the default; {CPU} is the default with --endpoint")
    parser.add_argument("--private", action="store_true", help="create it as a private Space")
    parser.add_argument("--no-wait", action="store_true", help="do not wait until it runs, and ask nothing")
    add_engine_flags(parser)
    flags = parser.parse_args(argv)
    try:
        made = plan(flags)
        print(made)
        if flags.dry_run:
            print("Dry run: nothing was sent.")
            return
        for line in deploy(made):
            print(line)
        if not flags.no_wait:
            print(f"{made.repo_id} answered: {smoke_test(made.repo_id, wait_until_running(made.repo_id))}")
    except (DeployError, SettingsError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def plan(flags: argparse.Namespace) -> Plan:
    """What the flags ask for, from the files of this checkout. Raises DeployError and SettingsError."""
    if not HUB_ID.fullmatch(flags.space):
        raise DeployError(f"{flags.space!r} is no id of a Space; it has the form owner/name.")
    settings = settings_from(flags, {})
    for name in ("base", "adapter", "dataset"):
        value = getattr(settings, name)
        if value not in ("auto", "bundled", "none") and (folder_of(value) is not None or not is_hub_id(value)):
            raise DeployError(
                f"--{name} is {value}, which a Space cannot see; push it to the Hub and give its id owner/name."
            )
    if settings.adapter_system == "":
        raise DeployError(
            "A Space cannot be told of an empty message; put a contract that holds it beside the adapter."
        )
    chosen = {field.name: getattr(flags, field.name, None) for field in fields(Settings)}
    chosen["adapter_system"] = settings.adapter_system  # its text: the Space does not have the file
    for name in ("base", "adapter", "dataset"):  # always there, so that they can be found and changed on the Hub
        chosen[name] = getattr(settings, name)
    variables = {f"CHARTQA_{name.upper()}": str(value) for name, value in chosen.items() if value is not None}
    # `auto` answers with the bundled model when the Hub fails it, an explicit base never does.
    bundled = settings.endpoint is None and (settings.base in ("auto", "bundled") or settings.adapter == "bundled")
    files = {path: (ROOT / path).read_bytes() for path in needed_files(bundled)}
    files["README.md"] = space_readme(files["README.md"].decode(), settings).encode()
    hardware = flags.hardware or (CPU if settings.endpoint else ZEROGPU)
    if hardware not in [one.value for one in SpaceHardware]:
        raise DeployError(f"--hardware is {hardware!r}; the Hub has {', '.join(one.value for one in SpaceHardware)}.")
    return Plan(flags.space, files, variables, hardware, flags.private)


def needed_files(bundled: bool) -> list[str]:
    """Paths of what a Space needs of this checkout, with or without the bundled weights."""
    found = []
    for name in NEEDED:
        place = ROOT / name
        for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
            inside = path.relative_to(ROOT).as_posix()
            hidden = any(part.startswith(".") for part in Path(inside).parts)
            if not path.is_file() or hidden or any(part in inside for part in LEFT_OUT):
                continue
            if bundled or not inside.startswith(WEIGHTS):
                found.append(inside)
    if "app.py" not in found or "README.md" not in found:
        raise DeployError(f"{ROOT} is no complete checkout: app.py or README.md is missing. Run it in one.")
    return found


def space_readme(text: str, settings: Settings) -> str:
    """The README with what the Space really serves in its front matter, so that the Hub links and preloads it."""
    _, front, body = text.split("---\n", 2)
    matter: dict[str, Any] = yaml.safe_load(front)
    base = HUB_BASE if settings.base == "auto" else settings.base
    adapter = HUB_ADAPTER if settings.adapter == "auto" and base == HUB_BASE else settings.adapter
    models = [] if settings.endpoint else [name for name in (base, adapter) if HUB_ID.fullmatch(name)]
    datasets = [name for name in (settings.dataset, HUB_DATASET) if HUB_ID.fullmatch(name)]
    matter["models"], matter["datasets"] = models, list(dict.fromkeys(datasets))
    # A preloaded revision needs its list of files; one that was asked for is fetched at the start instead.
    pinned = settings.base_revision or settings.adapter_revision
    matter["preload_from_hub"] = [] if pinned else models
    matter = {key: value for key, value in matter.items() if value != []}
    return f"---\n{yaml.safe_dump(matter, sort_keys=False, allow_unicode=True)}---\n{body}"


def deploy(space: Plan) -> list[str]:
    """Create what is missing, change what differs; what was done, one line each. Raises DeployError."""
    if get_token() is None:
        raise DeployError("Deploying needs a token that may write. Run `hf auth login` first.")
    api, hardware = HfApi(), SpaceHardware(space.hardware)
    try:
        done = []
        try:
            api.repo_info(space.repo_id, repo_type="space")
        except RepositoryNotFoundError:
            api.create_repo(
                space.repo_id,
                repo_type="space",
                space_sdk="gradio",
                space_hardware=hardware,
                private=space.private,
                exist_ok=True,
            )
            done.append(f"created the Space {space.repo_id}")
        # Settings first: each commit starts a build, and a build should not start with old variables.
        set_now = {key: one.value for key, one in api.get_space_variables(space.repo_id).items()}
        for key, value in space.variables.items():
            if set_now.get(key) != value:
                api.add_space_variable(space.repo_id, key, value)
                done.append(f"set {key} to {value}")
        for key in set_now:
            if key.startswith("CHARTQA_") and key not in space.variables:
                api.delete_space_variable(space.repo_id, key)
                done.append(f"removed {key}")
        runtime = api.get_space_runtime(space.repo_id)
        if space.hardware not in (runtime.hardware, runtime.requested_hardware):
            api.request_space_hardware(space.repo_id, hardware)
            done.append(f"asked for {space.hardware}")
        return [*done, *_send_files(api, space)] or ["everything is as it should be"]
    except HfHubHTTPError as error:
        raise _refused(error, space) from error
    except OSError as error:
        raise DeployError(f"The Hub cannot be reached: {first_line(error)}.") from error
    except Exception as error:
        if any(one.__name__ == "TransportError" for one in type(error).__mro__):  # of httpx or httpx2
            raise DeployError(f"The Hub cannot be reached: {first_line(error)}.") from error
        raise


def wait_until_running(repo_id: str, poll_s: float | None = None, patience_s: float = PATIENCE_S) -> str:
    """The address of the Space once it runs. Raises DeployError when it fails or takes longer than `patience_s`."""
    api, said, until = HfApi(), "", time.monotonic() + patience_s
    while True:
        try:
            stage = str(api.get_space_runtime(repo_id).stage)
            if stage == "RUNNING":
                return str(api.space_info(repo_id).host)
        except HfHubHTTPError as error:
            raise DeployError(f"The Hub does not say how {repo_id} is: {first_line(error)}.") from error
        if stage != said:
            print(f"{repo_id} is {stage}")
            said = stage
        logs = f"Read its logs on https://huggingface.co/spaces/{repo_id}."
        if stage in FAILED_STAGES:
            raise DeployError(f"The Space {repo_id} is {stage}. {logs}")
        if time.monotonic() > until:
            raise DeployError(f"The Space {repo_id} is still {stage} after {patience_s / 60:.0f} minutes. {logs}")
        time.sleep(POLL_S if poll_s is None else poll_s)


def smoke_test(repo_id: str, url: str) -> str:
    """The adapter's answer to a question about a bundled chart, through the API as a visitor's program asks it.
    Raises DeployError."""
    from gradio_client import Client, handle_file

    example = open_split("bundled")[0]
    picture = PACKAGE / "bundled" / "charts" / example.file_name
    try:
        client = Client(url, token=get_token(), verbose=False, analytics_enabled=False)
        answers = client.predict(handle_file(picture), example.question, api_name="/ask")
    except Exception as error:
        raise DeployError(f"The Space {repo_id} runs and did not answer a question: {first_line(error)}.") from error
    failed = [answer for answer in answers if answer["error"] is not None]
    if failed:
        raise DeployError(f"The Space {repo_id} runs, and its {failed[0]['title']} arm failed: {failed[0]['error']}")
    return "; ".join(f"{answer['title']}: {answer['text']}" for answer in answers)


def _send_files(api: HfApi, space: Plan) -> list[str]:
    there = {
        entry.path: entry.lfs.sha256 if entry.lfs else entry.blob_id
        for entry in api.list_repo_tree(space.repo_id, repo_type="space", recursive=True)
        if isinstance(entry, RepoFile)
    }
    new = [path for path, data in space.files.items() if there.get(path) not in _names_of(data)]
    gone = [path for path in there if path not in space.files and path not in KEPT_BY_HUB]
    if not new and not gone:
        return []
    # `upload_folder(delete_patterns=...)` may commit in several parts (huggingface_hub 2.4), and each starts a build.
    operations = [CommitOperationAdd(path, space.files[path]) for path in new]
    operations += [CommitOperationDelete(path) for path in gone]
    api.create_commit(
        space.repo_id, operations, repo_type="space", commit_message="Update the app" if there else "Add the app"
    )
    return [f"sent {len(new)} files, removed {len(gone)}"]


def _names_of(data: bytes) -> tuple[str, str]:
    """What git and LFS call this content."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest(), hashlib.sha256(data).hexdigest()


def _refused(error: HfHubHTTPError, space: Plan) -> DeployError:
    status = error.response.status_code if error.response is not None else 0
    owner = space.repo_id.split("/")[0]
    if status == 401:
        return DeployError("The Hub does not accept your token (401). Run `hf auth login` again.")
    if status == 403:
        return DeployError(
            f"Your token may not write Spaces of {owner} (403). Make one that may, or take your own name as owner. "
            f"{space.hardware} may also need a PRO account."
        )
    if status == 402:
        return DeployError(f"{space.hardware} is not free for {owner} (402). Choose another with --hardware.")
    return DeployError(f"The Hub refused the Space {space.repo_id} ({status}): {first_line(error)}.")
