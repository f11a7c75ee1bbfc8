"""AVIF and HEIC are read in a process of their own, whose time and memory are bounded.

Their libraries do not go by what the head of a file says: one of 4 KB can hold a picture of 200 million pixels in each
of a grid's tiles, and one of 2 MB so many empty items that opening it takes minutes, while nothing else of Python runs.
"""

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from PIL import Image

from chartqa_demo.errors import ChartError

SECONDS = 6  # of a processor; 25 million pixels of noise take 3
PATIENCE = 60  # seconds of the clock
MEMORY = 1500 * 2**20  # of which Python, Pillow and their libraries take 200 MB
UNREADABLE = "This file is not a picture we can read. Use PNG, JPEG, WebP, GIF, BMP, TIFF, AVIF or HEIC."
DAMAGED = "The picture is damaged or cut off and cannot be decoded. Save or export it again."
COSTLY = "The picture takes too long or too much memory to read. Save it as PNG."
_one = threading.Lock()  # such pictures are read one at a time


def decoded_apart(data: bytes, most: int, formats: str) -> tuple[tuple[int, int], Image.Image | None]:
    """Size of a picture, and the picture as Pillow reads it, with its EXIF in `info`: None where it has more than
    `most` pixels. formats: Pillow's, with commas between. Raises ChartError: none, damaged, or too costly."""
    script = Path(__file__).with_name("decode.py")
    command = [sys.executable, str(script), str(SECONDS), str(MEMORY), str(most), formats]
    try:
        with _one:
            done = subprocess.run(command, input=data, capture_output=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        raise ChartError(COSTLY) from None
    except OSError as error:
        raise ChartError("AVIF and HEIC pictures cannot be read here now. Save the picture as PNG.") from error
    if done.returncode:
        raise ChartError(COSTLY if done.returncode < 0 or b"MemoryError" in done.stderr else DAMAGED)
    head = done.stdout.index(b"\n") + 1
    told = json.loads(done.stdout[:head])
    if not told:
        raise ChartError(UNREADABLE)
    if len(told) == 2:
        return (told[0], told[1]), None
    width, height, mode, exif = told
    pixels: Any = memoryview(done.stdout)[head + exif :]
    image = Image.frombuffer(mode, (width, height), pixels, "raw", mode, 0, 1)
    image.info["exif"] = done.stdout[head : head + exif]
    return (width, height), image
