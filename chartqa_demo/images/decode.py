"""Decodes a picture in a process of its own, run by path; `apart.py` says why. What the process may cost is bounded.

Reads the file from its standard input. Writes a line of JSON, `[width, height, mode, bytes of EXIF]`, the EXIF and the
pixels, or `[width, height]` alone where the picture has more pixels than were asked for, or `[]` where it is none.
"""

import argparse
import json
import sys
from contextlib import suppress
from importlib import import_module
from io import BytesIO


def main() -> None:
    """Command line. Raises OSError and others of Pillow for what is damaged."""
    parser = argparse.ArgumentParser(description="Decodes the picture that comes as standard input.")
    parser.add_argument("seconds", type=int, help="of processor time")
    parser.add_argument("memory", type=int, help="bytes")
    parser.add_argument("most", type=int, help="pixels")
    parser.add_argument("formats", help="Pillow's, with commas between")
    flags = parser.parse_args()
    decode(flags.seconds, flags.memory, flags.most, flags.formats.split(","))


def decode(seconds: int, memory: int, most: int, formats: list[str]) -> None:
    """See the module. memory: bytes; most: pixels. Raises OSError and others of Pillow for what is damaged."""
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
    main()
