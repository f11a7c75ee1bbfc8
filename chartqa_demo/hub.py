"""Models and adapters by Hub id or local folder, as a local folder; every refusal of the Hub as one sentence."""

import re
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")

MODEL_FILES = ("*.json", "*.safetensors", "*.jinja", "*.txt")
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors", "chartqa_contract.json")


class HubError(Exception):
    """Something that could not be fetched; the message is one sentence with the way out."""


def local_folder(name: str, revision: str | None, files: Sequence[str], what: str) -> Path:
    """The folder of a model or adapter: `name` itself when it is one, else its snapshot from the Hub.

    `what` names the thing in messages ("base model", "adapter"). Only the patterns in `files` are downloaded, which
    keeps out pickled weights and code. Raises HubError.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if not HUB_ID.fullmatch(name):
        raise HubError(f"The {what} {name!r} is neither a folder on this machine nor a Hub id such as owner/name.")
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(files)))
    except GatedRepoError:
        raise HubError(
            f"The {what} {name} is gated: accept its terms on its Hub page, then log in with `hf auth login`."
        ) from None
    except RevisionNotFoundError:
        raise HubError(f"The {what} {name} has no revision {revision!r}.") from None
    except RepositoryNotFoundError:
        raise HubError(
            f"There is no {what} {name}, neither as a folder nor on the Hub; if it is private, run `hf auth login`."
        ) from None
    except LocalEntryNotFoundError:
        raise HubError(
            f"The {what} {name} is not on this machine and the Hub cannot be reached. Connect, or use --base bundled."
        ) from None
    except (HfHubHTTPError, HFValidationError, OSError, ValueError) as error:
        raise HubError(f"The {what} {name} could not be fetched: {error}") from error
