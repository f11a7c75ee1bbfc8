"""The errors that people see: each message is a sentence with the value and the way out, for whom the class says.

Imports nothing of this project, so every room may import it. Errors that never leave their room are defined there.
"""

import io
import sys


class SettingsError(ValueError):
    """A setting that cannot be used; for the operator."""


class EngineError(Exception):
    """A question that cannot be answered, or a model or adapter that cannot be served; for visitor and operator."""


class OutOfMemory(EngineError):
    """The batch did not fit into memory; a smaller one may."""


class HubError(Exception):
    """A model, adapter or data set that could not be fetched, or should not be; for whoever named it."""


class HubSilent(HubError):
    """The Hub cannot be reached or does not answer; what is in the cache may do."""


class DatasetError(ValueError):
    """Charts that cannot be had; for whoever named the data set."""


class ChartError(ValueError):
    """A picture that cannot be used; for the person who sent it."""


class QuestionError(ValueError):
    """A question that cannot be asked; for the visitor."""


class EvaluationError(RuntimeError):
    """An evaluation that cannot start or go on; for whoever started it."""


class ResultsError(ValueError):
    """A file of results that cannot be used; for whoever named it."""


class ReportError(ValueError):
    """A report that cannot be written; for the person at the command line."""


class RecordedError(ValueError):
    """A file of recorded answers that cannot be used; the message says which line and why."""


class DeployError(Exception):
    """A Space that could not be made or does not answer; for the person who deploys."""


def shown(name: object) -> str:
    """What a stranger chose, such as a folder's name, for a sentence: on one line, at most 300 characters."""
    try:
        text = str(name)[:301]
    except (RecursionError, ValueError):  # Python writes out no whole number of more than 4,300 digits
        text = type(name).__name__
    text = text if text.isprintable() else repr(text)
    return text if len(text) <= 300 else f"{text[:299]}…"


def whole(text: str) -> str:
    """The text with U+FFFD for halves of pairs, which JSON can hold (`"\\ud800"`) and a file in UTF-8 cannot."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def first_line(error: BaseException) -> str:
    """What an error of a library says, cut for a sentence: its first line (behind torch's "Error(s) in loading
    state_dict for ...:" the next one), at most 300 characters and without its full stop, its type's name where it says
    nothing."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return lines[1 if lines[0].endswith(":") and len(lines) > 1 else 0][:300].rstrip(".")


def print_anything() -> None:
    """From now on a letter that the terminal's code page lacks is printed as “?” and ends no command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
