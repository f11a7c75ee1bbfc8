"""Notes the ports that are opened and the weights that are read, from when it is imported."""

import sys
from typing import Any

happened: list[str] = []


def notice(event: str, details: Any) -> None:
    """An audit hook, which a process keeps for good."""
    if event in ("socket.bind", "socket.connect") or (event == "open" and str(details[0]).endswith(".safetensors")):
        happened.append(f"{event} {details}")


sys.addaudithook(notice)
