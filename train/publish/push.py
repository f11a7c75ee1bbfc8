"""A finished adapter goes to the Hub: checked before, read back and compared after.

Only the files in `PUBLISHED` leave the machine; checkpoints, `training_args.bin` and logs stay. The token comes from
`hf auth login` or HF_TOKEN and is never an argument here, so it cannot end in a file or a log.
"""

import json
import math
import tempfile
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
from httpx2 import HTTPError
from huggingface_hub import HfApi, get_token, snapshot_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)
from safetensors import SafetensorError, deserialize

from chartqa_demo.adapters.contract import CONFIG, CONTRACT_FILE, WEIGHTS, read_contract
from chartqa_demo.arms import ARMS
from chartqa_demo.errors import first_line
from chartqa_demo.space.hub import sha256_of

RESULTS = "results.json"
CARD = "README.md"
BUNDLED = "bundled"  # the base model that comes with this repository
REQUIRED = (WEIGHTS, CONFIG, CONTRACT_FILE, RESULTS, CARD)
# The processor's files carry the pixel limits to programs that do not know our contract.
PUBLISHED = (*REQUIRED, "preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json")


class PublishError(Exception):
    """Nothing was published, or what was published is not what is here; the message says why and what to do."""


def check_adapter(folder: Path) -> list[Path]:
    """The files to publish, after proof that they are a trained and measured adapter. Raises PublishError."""
    if missing := [name for name in REQUIRED if not (folder / name).is_file()]:
        raise PublishError(
            f"{folder} is not a finished adapter: it has no {', '.join(missing)}. Let the run finish (--resume)."
        )
    if empty := [name for name in REQUIRED if (folder / name).stat().st_size == 0]:
        raise PublishError(
            f"{folder} is not a finished adapter: {', '.join(empty)} is empty. Save it again (--resume)."
        )
    _check_weights(folder)
    _check_base_name(folder)
    _check_results(folder)
    return sorted(path for path in folder.iterdir() if any(fnmatch(path.name, name) for name in PUBLISHED))


def repository(hub_model_id: str | None, output: Path, private: bool | None) -> str:
    """Make sure, before hours of training, that the repository exists and that we may write to it.

    Returns its full id, owner included. It is created private unless `private` is False. Raises PublishError.
    """
    name = hub_model_id or output.name
    if get_token() is None:
        raise PublishError(
            "Pushing needs a login: run `hf auth login` or set HF_TOKEN, or train with --dry_run and push later "
            "with --push_only."
        )
    try:
        return HfApi().create_repo(name, private=private is not False, exist_ok=True).repo_id
    except (HTTPError, OSError, HFValidationError, ValueError) as error:
        raise PublishError(_sentence(error, name)) from error


def push(folder: Path, repo_id: str) -> str:
    """Publish the adapter in `folder` in one commit, read it back, and compare every file; returns the commit's URL.

    Raises PublishError; the folder is not touched, and the same call can be made again.
    """
    files = check_adapter(folder)
    try:
        commit = HfApi().upload_folder(
            repo_id=repo_id,
            folder_path=folder,
            allow_patterns=[path.name for path in files],
            commit_message="Adapter, contract, results and card",
        )
        with tempfile.TemporaryDirectory() as there:  # not the cache: it would be our word against itself
            snapshot_download(repo_id, revision=commit.oid, local_dir=there, allow_patterns=[p.name for p in files])
            different = [path.name for path in files if _sha256(Path(there) / path.name) != _sha256(path)]
    except (HTTPError, OSError, HFValidationError, EntryNotFoundError, ValueError) as error:
        raise PublishError(
            f"{_sentence(error, repo_id)} The adapter in {folder} is complete; --push_only publishes it later."
        ) from error
    if different:
        raise PublishError(
            f"The Hub gives back other bytes than {folder} holds: {', '.join(different)} in {repo_id} differ or are "
            "missing. Run the command again with --push_only."
        )
    return str(commit.commit_url)


def _check_weights(folder: Path) -> None:
    try:
        tensors = deserialize((folder / WEIGHTS).read_bytes())
        trained = any("lora_B" in name and _some_is_not_zero(tensor) for name, tensor in tensors)
    except (SafetensorError, OSError) as error:
        raise PublishError(f"{folder / WEIGHTS} is cut off or damaged: {error}. Save it again (--resume).") from error
    if not trained:  # LoRA's B matrices start at zero: such an adapter is the base model
        raise PublishError(f"The adapter in {folder} was not trained: all its B matrices are zero or missing.")


def _some_is_not_zero(tensor: dict[str, Any]) -> bool:
    """tensor: as safetensors deserializes it; its bits tell, which takes no torch."""
    width = len(tensor["data"]) // max(1, math.prod(tensor["shape"])) or 1  # bytes a number; 1 of an empty tensor
    bits = np.frombuffer(tensor["data"], f"<u{width}")
    return bool((bits << 1).any())  # without the sign: -0.0 is zero too


def _check_base_name(folder: Path) -> None:
    config: dict[str, Any] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    base = str(config.get("base_model_name_or_path"))
    if base != BUNDLED and (base.count("/") != 1 or base.startswith((".", "/", "~"))):
        raise PublishError(
            f"The adapter in {folder} names {base!r} as its base, which nobody else could load. Train with --base_id "
            "and the Hub id of the base."
        )


def _check_results(folder: Path) -> None:
    try:
        contract = read_contract(folder)
    except ValueError as error:
        raise PublishError(f"{error} Let the run write it again (--resume).") from error
    measured = set(contract.scores) if contract else set()
    if missing := [arm.key for arm in ARMS if arm.key not in measured]:
        raise PublishError(
            f"The adapter in {folder} was not measured: no score for {', '.join(missing)}. "
            "Let the held-out comparison finish (--resume), then use --push_only."
        )
    results = json.loads((folder / RESULTS).read_text(encoding="utf-8"))
    if not results.get("complete"):
        raise PublishError(
            f"{folder / RESULTS} stops after {results.get('asked')} of {results.get('planned')} questions. "
            "Let the held-out comparison finish (--resume), then use --push_only."
        )


def _sha256(path: Path) -> str | None:
    """Hexadecimal SHA-256 of a file, None when it is not there."""
    return sha256_of(path) if path.is_file() else None


def _sentence(error: Exception, repo_id: str) -> str:  # noqa: PLR0911 (one sentence per case)
    """What the Hub's refusal means for the person who pushes."""
    if isinstance(error, OfflineModeIsEnabled):
        return "Nothing was pushed: HF_HUB_OFFLINE is set. Unset it."
    status = error.response.status_code if isinstance(error, HfHubHTTPError) and error.response is not None else None
    if isinstance(error, GatedRepoError):
        return f"{repo_id} is gated and your account has no access: accept its terms on its Hub page."
    if status == 401:
        return f"The Hub does not accept your token for {repo_id} (401). Use `hf auth login` or set HF_TOKEN."
    if status == 403:
        return f"Your token may not write to {repo_id} (403). Use one with write permission, or your own namespace."
    if isinstance(error, RepositoryNotFoundError) or status == 404:
        return f"There is no repository {repo_id} (404), or your token may not see it. Check --hub_model_id."
    if status is not None:
        return f"The Hub answered {status} for {repo_id}: {first_line(error)}. Try again later."
    if isinstance(error, HFValidationError):
        return f"{repo_id!r} is not a valid repository id: {first_line(error)}."
    if isinstance(error, HTTPError | ConnectionError):
        return f"The Hub cannot be reached ({type(error).__name__}). Check the network and try again."
    return f"Pushing to {repo_id} failed: {first_line(error)}."
