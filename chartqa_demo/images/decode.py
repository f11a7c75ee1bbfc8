"""Decodes a picture in a process of its own, run by path; `apart.py` says why. What the process may cost is bounded.

Reads the file from its standard input. Writes a line of JSON, `[width, height, mode, bytes of EXIF]`, the EXIF and the
pixels, or `[width, height]` alone where the picture has more pixels than were asked for, or `[]` where it is none.
Arguments: seconds of processor time, bytes of memory, most pixels, and Pillow's formats, with commas between.
"""

import json
import sys
from contextlib import suppress
from importlib import import_module
from io import BytesIO


def main(seconds: int, memory: int, most: int, formats: list[str]) -> None:
    """Raises OSError and others of Pillow for what is damaged."""
    from PIL import Image, UnidentifiedImageError

    if "HEIF" in formats:
        import_module("pillow_heif").register_heif_opener()
    with suppress(ImportError, OSError, ValueError):  # Windows has none, others not each of them
        import resource

        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    out, data = sys.stdout.buffer, sys.stdin.buffer.read()
    Image.MAX_IMAGE_PIXELS = None  # its size is told, and who asks has a limit
    try:
        image = Image.open(BytesIO(data), formats=formats)
    except UnidentifiedImageError:
        out.write(b"[]\n")
        return
    if image.width * image.height > most:
        out.write(json.dumps(image.size).encode() + b"\n")
        return
    image.load()
    exif = image.info.get("exif") or b""
    out.write(json.dumps([*image.size, image.mode, len(exif)]).encode() + b"\n" + exif + image.tobytes())


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]), formats=sys.argv[4].split(","))
