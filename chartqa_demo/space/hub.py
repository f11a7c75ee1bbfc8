"""Models, adapters and data sets by Hub id or local folder; every refusal of the Hub as one sentence, in bounded time.

The Hub is asked once and shortly what a repository holds, before anything is downloaded: the client's own retries
would wait for minutes. A Hub that stays silent is not asked again for a while, and what is in the cache is used.
"""

import contextlib
import errno
import hashlib
import re
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Literal, TypeVar

from huggingface_hub import HfApi, constants, snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    SafetensorsParsingError,
)
from huggingface_hub.utils import tqdm, validate_repo_id
from safetensors import SafetensorError, safe_open

from chartqa_demo.errors import HubError, HubSilent, first_line, shown

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")

SHOWN = 300  # characters of a name in a sentence

MODEL_FILES = ("*.json", "*.safetensors", "*.jinja", "*.txt")

# Together under the 30 s in which the page has to be up when the Hub hangs.
FIRST_WORD_S = 6.0  # until the Hub has said what a repository holds
STALLED_S = 15.0  # without one more byte of a download
SILENT_S = 60.0  # for which a Hub that hung is not asked again

Kind = Literal["model", "dataset", "space"]
Result = TypeVar("Result")

_silence = {"until": 0.0}  # time.monotonic
_waited_for: set[Future[Any]] = set()  # what is being asked of the Hub, and not given up yet


@dataclass(frozen=True)
class Source:
    """Where a model or adapter is, after one look-up. what: its name in messages ("base model", "adapter"); sizes:
    path -> bytes of its files, 0 where the Hub does not say; folder: where they lie already, None for a repository of
    the Hub; commit: of that repository."""

    name: str
    revision: str | None
    what: str
    sizes: dict[str, int]
    folder: Path | None = None
    commit: str | None = None

    def fetch(self, files: Sequence[str]) -> Path:
        """The folder that holds what matches the patterns `files`. Only that is downloaded, which keeps out pickled
        weights and code. Raises HubError, within STALLED_S of the Hub's last word."""
        if self.folder is not None:
            return self.folder
        if files == MODEL_FILES and not any(path.endswith(".safetensors") for path in self.sizes):
            raise HubError(
                f"The {self.what} {self.name} holds no weights in safetensors; other formats are not loaded."
            )
        missing = {
            path: size
            for path, size in self.sizes.items()
            if any(fnmatch(path, one) for one in files)
            and not isinstance(try_to_load_from_cache(self.name, path, revision=self.commit), str)
        }
        if missing:
            _check_room(sum(missing.values()), self.name, self.what)
            print(f"Fetching the {self.what} {self.name}: {_amount(sum(missing.values()))}", file=sys.stderr)
        folder = _download(self, files)
        _check_sums(folder, missing, self.name, self.what)
        return folder

    def header(self, file: str) -> dict[str, tuple[str, tuple[int, ...]]]:
        """The tensors in a file of safetensors by name, each (dtype as safetensors names it, shape), from its first
        bytes: the weights are not downloaded. Raises HubError, within FIRST_WORD_S."""
        here = self.folder / file if self.folder else try_to_load_from_cache(self.name, file, revision=self.commit)
        began = time.monotonic()
        try:
            if isinstance(here, (str, Path)):
                return read_header(Path(here))
            found = _in_time(
                lambda: HfApi().parse_safetensors_file_metadata(self.name, file, revision=self.commit),
                lambda: began,
                FIRST_WORD_S,
            )
            return {key: (str(one.dtype), tuple(map(int, one.shape))) for key, one in found.tensors.items()}
        except (SafetensorError, SafetensorsParsingError, ValueError, TypeError) as error:
            told = first_line(error)
            raise HubError(f"{file} of the {self.what} {shown(self.name)} cannot be read: {told}.") from error
        except Exception as error:
            raise _sentence(error, self.name, self.revision, self.what) from error


def read_header(path: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """The same of a file on this machine. Raises OSError, SafetensorError."""
    with safe_open(path, "numpy") as file:
        return tensors_in(file)


def tensors_in(file: Any) -> dict[str, tuple[str, tuple[int, ...]]]:
    """The same of an open file of safetensors."""
    slices = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118 (it is no mapping)
    return {key: (one.get_dtype(), tuple(one.get_shape())) for key, one in slices.items()}


def is_hub_id(name: str) -> bool:
    """Whether a repository of the Hub can have that name, owner/name, by the rules of the Hub's own client."""
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return HUB_ID.fullmatch(name) is not None


def folder_of(name: str) -> Path | None:
    """The folder of that name on this machine; None where there is none, or none that this process can see: a name can
    be too long for the disk, in a closed folder, or of a user (~ann) that is not here."""
    try:
        folder = Path(name).expanduser()
        return folder if folder.is_dir() else None
    except (OSError, RuntimeError, ValueError):
        return None


def _sizes(folder: Path) -> dict[str, int]:
    """Bytes of the files in a folder, by name, without what cannot be followed, such as a link into a closed folder."""
    sizes = {}
    for path in folder.iterdir():
        with contextlib.suppress(OSError):
            if path.is_file():
                sizes[path.name] = path.stat().st_size
    return sizes


def check_name(name: str, what: str) -> Path | None:
    """The folder of that name on this machine, None for a Hub id. Raises HubError where it can be neither."""
    folder = folder_of(name)
    if folder is None and not is_hub_id(name):
        said = repr(name if len(name) <= SHOWN else f"{name[:SHOWN]}…")
        raise HubError(f"The {what} {said} is neither a folder on this machine nor a Hub id such as owner/name.")
    return folder


def find(name: str, revision: str | None, what: str) -> Source:
    """The model or adapter `name`: a folder, else a repository of the Hub, which is asked once; while the Hub is
    silent, what the cache has of it. Raises HubError, within FIRST_WORD_S."""
    folder = check_name(name, what)
    if folder is None:
        try:
            return look_up(name, revision, what)
        except HubSilent as error:
            try:
                folder = Path(snapshot_download(name, revision=revision, local_files_only=True))
            except LocalEntryNotFoundError:
                raise error from None
    try:
        return Source(name, revision, what, _sizes(folder), folder)
    except OSError as error:
        raise HubError(f"The folder of the {what} {shown(name)} cannot be read: {error.strerror}.") from error


def local_folder(name: str, revision: str | None, files: Sequence[str], what: str) -> Path:
    """The folder of a model or adapter with what matches the patterns `files`: found, then fetched. Raises HubError."""
    return find(name, revision, what).fetch(files)


def look_up(name: str, revision: str | None, what: str, kind: Kind = "model") -> Source:
    """What the repository holds, in one short request. Raises HubError; HubSilent when there is no answer in time."""
    if time.monotonic() < _silence["until"]:
        raise _silent(f"The {what} {name} is not on this machine, and the Hub did not answer a moment ago.")
    began = time.monotonic()
    try:
        found = _in_time(
            lambda: HfApi().repo_info(
                name, repo_type=kind, revision=revision, timeout=FIRST_WORD_S, files_metadata=True
            ),
            lambda: began,
            FIRST_WORD_S,
        )
    except Exception as error:
        raise _sentence(error, name, revision, what) from error
    sizes = {file.rfilename: file.size or 0 for file in getattr(found, "siblings", None) or []}
    return Source(name, revision, what, sizes, commit=str(found.sha))


@contextlib.contextmanager
def cache_only_when_silent(name: str, what: str, kind: Kind) -> Iterator[None]:
    """Inside, `datasets` and `transformers` use their caches alone when the Hub does not answer for `name`; otherwise
    they would each wait for it in their own way. Other refusals are left to them."""
    silent = False
    try:
        look_up(name, None, what, kind)
    except HubSilent:
        silent = True
    except HubError:
        pass  # `datasets` meets the same refusal and has the better exception for it
    with offline if silent else contextlib.nullcontext():
        yield


class _Offline:
    """While anybody is inside, the clients of the Hub ask it nothing; the last to leave puts back what was set before.

    Counted, because those inside overlap: an abandoned download stays until its sockets give up, and another may be
    abandoned meanwhile. Once imported the clients can be told in no other way: huggingface_hub (2.4) reads its constant
    at every request, `datasets` (5.2) its own copy.
    """

    def __init__(self) -> None:
        self._lock, self._inside = threading.Lock(), 0
        self._before = (False, False)

    def __enter__(self) -> None:
        from datasets import config  # imported later it would copy, and keep, what is set here

        with self._lock:
            if self._inside == 0:
                self._before = constants.HF_HUB_OFFLINE, config.HF_HUB_OFFLINE
                constants.HF_HUB_OFFLINE = config.HF_HUB_OFFLINE = True
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        from datasets import config

        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                constants.HF_HUB_OFFLINE, config.HF_HUB_OFFLINE = self._before


offline = _Offline()


def _download(source: Source, files: Sequence[str]) -> Path:
    heard = {"at": time.monotonic(), "bytes": 0.0}

    class Heard(tqdm):
        """The client's own progress bar, which also notes when something last arrived."""

        def update(self, n: float | None = 1) -> Any:
            heard["at"], heard["bytes"] = time.monotonic(), heard["bytes"] + (n or 0)
            return super().update(n)

    def fetch() -> str:
        # By branch and not by commit, so that the cache knows later which commit the branch had.
        return snapshot_download(
            source.name,
            revision=source.revision,
            allow_patterns=list(files),
            tqdm_class=Heard,
            etag_timeout=FIRST_WORD_S,
        )

    try:
        return Path(_in_time(fetch, lambda: heard["at"], STALLED_S))
    except Exception as error:
        raise _sentence(error, source.name, source.revision, source.what, heard["bytes"]) from error


def _in_time(work: Callable[[], Result], last_sign: Callable[[], float], patience_s: float) -> Result:
    """What `work` returns or raises; TimeoutError once `patience_s` have gone by since `last_sign()` (monotonic
    seconds). The thread is then left to itself, as name resolution and sockets cannot be interrupted, and until it has
    ended the client is offline: it would retry for a minute, and the process could not exit. That would end other
    downloads, too, so while there are any it is left to retry."""
    outcome: Future[Result] = Future()
    _waited_for.add(outcome)

    def run() -> None:
        try:
            outcome.set_result(work())
        except BaseException as error:  # handed to whoever waits
            outcome.set_exception(error)

    threading.Thread(target=run, name="hub", daemon=True).start()
    try:
        while not outcome.done():
            left = last_sign() + patience_s - time.monotonic()
            if left <= 0:
                if _waited_for == {outcome}:
                    offline.__enter__()
                    outcome.add_done_callback(offline.__exit__)
                raise TimeoutError(f"nothing was heard for {patience_s:.0f} s")
            wait([outcome], timeout=left)
        return outcome.result()
    finally:
        _waited_for.discard(outcome)


def _sentence(error: Exception, name: str, revision: str | None, what: str, got: float = 0) -> HubError:  # noqa: PLR0911
    status = error.response.status_code if isinstance(error, HfHubHTTPError) and error.response is not None else None
    if isinstance(error, GatedRepoError):
        return HubError(
            f"The {what} {name} is gated: accept its terms on its Hub page, then log in with `hf auth login`."
        )
    if isinstance(error, RevisionNotFoundError):
        return HubError(f"The {what} {name} has no revision {revision!r}.")
    if isinstance(error, RepositoryNotFoundError):
        return HubError(
            f"There is no {what} {name}, neither as a folder nor on the Hub; if it is private, run `hf auth login`."
        )
    if status in (401, 403):
        return HubError(
            f"The Hub does not let this machine read the {what} {name} ({status}): the token is wrong or may not. "
            "Log in again with `hf auth login`."
        )
    if status is not None and status < 500 and status != 429:
        return HubError(f"The Hub refused the {what} {name} ({status}): {first_line(error)}.")
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return HubError(
            f"The disk is full, so the {what} {name} cannot be kept in {constants.HF_HUB_CACHE}. Make room."
        )
    if "Consistency check failed" in str(error):
        return HubError(f"The {what} {name} arrived incomplete. Start again: what is whole is kept.")
    if status is not None:
        return _silent(f"The {what} {name} is not on this machine and the Hub answers {status}.")
    # The client's own patience may end first: httpx and httpx2, of which it uses one, both call that TimeoutException.
    kinds = {one.__name__ for one in type(error).__mro__}
    if isinstance(error, TimeoutError) or "TimeoutException" in kinds:
        _silence["until"] = time.monotonic() + SILENT_S
        if got:
            return HubSilent(
                f"The Hub stopped sending the {what} {name} after {_amount(got)}. Start again: it goes on from there."
            )
        return _silent(f"The {what} {name} is not on this machine and the Hub does not answer.")
    if "TransportError" in kinds or isinstance(error, (ConnectionError, LocalEntryNotFoundError)):
        _silence["until"] = time.monotonic() + SILENT_S
        return _silent(f"The {what} {name} is not on this machine and the Hub cannot be reached.")
    return HubError(f"The {what} {name} could not be fetched: {first_line(error)}.")


def _silent(what_is: str) -> HubSilent:
    bundled = ", or use --base bundled" if "base model" in what_is else ""
    return HubSilent(f"{what_is} Try again later{bundled}.")


def _check_room(size: int, name: str, what: str) -> None:
    cache = Path(constants.HF_HUB_CACHE)
    existing = next(folder for folder in (cache, *cache.parents) if folder.is_dir())
    free = shutil.disk_usage(existing).free
    if size > free:
        raise HubError(
            f"The {what} {name} needs {_amount(size)} on disk and {_amount(free)} are free in {existing}. Make room, "
            "or set HF_HOME to a larger disk."
        )


def _check_sums(folder: Path, fetched: dict[str, int], name: str, what: str) -> None:
    """The cache names a large file by the SHA-256 that the Hub has for it; compare those that have just arrived."""
    for path in fetched:
        blob = (folder / path).resolve()
        if not re.fullmatch(r"[0-9a-f]{64}", blob.name):
            continue
        if sha256_of(blob) != blob.name:
            blob.unlink()
            (folder / path).unlink(missing_ok=True)
            raise HubError(
                f"{path} of the {what} {name} arrived damaged (its checksum differs) and was removed. Start again."
            )


def sha256_of(*paths: Path) -> str:
    """64 hexadecimal digits, the SHA-256 of files, one behind the other, read block by block. Raises OSError."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(2**24):
                digest.update(block)
    return digest.hexdigest()


def _amount(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"
