"""What a picture file has beside its first picture, left out; and what would take too long, told from its head.

Pillow is shown the picture alone: its loops over comments, tags and text, which a small file can make endless, find
none.
"""

import re
import struct

from chartqa_demo.errors import ChartError
from chartqa_demo.settings import Settings

MAX_UPLOAD_PIXELS = Settings.upload_pixels
MAX_PARTS = 20_000  # chunks, segments or blocks of a file: 1 KB each where it has 20 MB
MAX_VALUES = 300_000  # numbers in a TIFF's tags; a palette of 16 bits has 200,000
MAX_SCANNED = 600_000_000  # pixels times scans of a JPEG; a progressive one has about ten
MAX_RUNS = 2_000_000  # pixels or bytes of a BMP in runs, which Pillow reads in Python
TIFF = re.compile(rb"II[*+]\0|MM\0[*+]|II\0[*+]|MM[*+]\0")
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}  # bytes
WHOLE = {1: "B", 6: "B", 3: "H", 8: "H", 4: "I", 9: "I", 13: "I", 16: "Q", 17: "Q", 18: "Q"}  # TIFF types of numbers
PLACES = (273, 324)  # tags of where the strips or tiles are, each of which Pillow reads on its own
PROGRESSIVE = re.compile(rb"\xff[\xc2\xc6\xca\xce]")
TOO_MANY = "The picture file is in more than {:,} pieces. Save or export it again as PNG."


def picture_alone(data: bytes) -> tuple[bytes, int]:
    """A file without what is beside its first picture, and how EXIF says that it is turned (1 to 8; 1 where Pillow does
    that, or the header does not say). Raises ChartError where it would take too long, ValueError, IndexError and
    struct.error where it is damaged."""
    if data.startswith(b"\xff\xd8\xff"):
        return _jpeg_alone(data)
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return _png_alone(data)
    if data.startswith((b"GIF87a", b"GIF89a")):
        return _gif_alone(data), 1
    if data.startswith(b"BM"):
        width, height, _, _, runs = struct.unpack_from("<iiHHI", data, 18)
        if runs in (1, 2) and max(abs(width * height), len(data)) > MAX_RUNS:
            raise ChartError(
                f"The BMP picture is compressed; at most {MAX_RUNS // 10**6} million pixels can be. Save it as PNG."
            )
    elif TIFF.match(data):
        tags = _tags(data)
        tile, packing = tags.get(322, 1) * tags.get(323, 1), tags.get(259, 1)
        if tile > MAX_UPLOAD_PIXELS or (packing in (6, 7) and PROGRESSIVE.search(data)):
            raise ChartError("The TIFF picture would take too long to read. Save it as PNG.")
    return data, 1


def _jpeg_alone(data: bytes) -> tuple[bytes, int]:
    kept, turned, at, pixels = [data[:2]], 1, 2, 0
    for _ in range(MAX_PARTS):
        marker = re.compile(rb"\xff+([^\x00\xff])").search(data, at)
        if marker is None:
            break
        code, start = marker[1][0], marker.end() - 2
        if code in (0xD9, 0xDA):
            scans = data.count(b"\xff\xda", start)
            if scans * pixels > MAX_SCANNED:
                raise ChartError(
                    f"The JPEG picture has {scans:,} scans of {pixels / 10**6:,.1f} million pixels: too many to read. "
                    "Save it as PNG."
                )
            return b"".join(kept) + data[start:], turned
        at = marker.end() if 0xD0 <= code <= 0xD8 or code == 1 else marker.end() + _number(data, marker.end(), ">H")
        if 0xC0 <= code <= 0xCF or code in (0xDB, 0xDD, 0xE0, 0xEE):  # frame, tables, JFIF, Adobe's colours
            kept.append(data[start:at])
            if code not in (0xC4, 0xC8, 0xCC):
                pixels = _number(data, start + 5, ">H") * _number(data, start + 7, ">H")
        elif code == 0xE1 and data.startswith(b"Exif\0\0", start + 4):
            turned = orientation(data[start + 10 : at])
    else:
        raise ChartError(TOO_MANY.format(MAX_PARTS))
    return data[:2], 1  # no picture in it


def _png_alone(data: bytes) -> tuple[bytes, int]:
    kept, turned, at = [data[:8]], 1, 8
    for _ in range(MAX_PARTS):
        if at + 8 > len(data):
            return b"".join(kept), turned
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind in (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"):
            kept.append(data[at : at + 12 + length])
        elif kind == b"eXIf":
            turned = orientation(data[at + 8 : at + 8 + length])
        at += 12 + length
    raise ChartError(TOO_MANY.format(MAX_PARTS))


def _gif_alone(data: bytes) -> bytes:
    at = 13 + ((2 << (data[10] & 7)) * 3 if data[10] & 128 else 0)
    head, control = data[:at], b""
    for _ in range(MAX_PARTS):
        block = re.compile(rb"[!,;]").search(data, at)
        if block is None or block[0] == b";":
            return head
        if block[0] == b",":
            return head + control + data[block.start() :]
        at = block.start() + 2
        for _ in range(MAX_PARTS):
            if not (size := data[at]):
                break
            at += size + 1
        else:
            raise ChartError(TOO_MANY.format(MAX_PARTS))
        at += 1
        if data[block.start() + 1] == 0xF9:
            control = data[block.start() : at]
    raise ChartError(TOO_MANY.format(MAX_PARTS))


def _tags(data: bytes) -> dict[int, int]:
    """The first directory of a TIFF, or of EXIF: tag -> its value, where that is one whole number, the largest where
    there are several: libtiff goes by the first, Pillow by the last. Raises ChartError where its values take more room
    than the file, as only overlapping ones can, and for too many pieces; struct.error where it is cut."""
    order, big = "<" if data[:1] == b"I" else ">", b"+" in data[2:4]
    if big and data[2:3] != b"+":  # Pillow looks elsewhere for the directory of such a file than libtiff does
        raise ChartError("This kind of TIFF cannot be read. Save the picture as PNG.")
    at = _number(data, 8 if big else 4, order + ("Q" if big else "I"))
    entry = struct.Struct(order + ("HHQ8s" if big else "HHI4s"))
    many = _number(data, at, order + ("Q" if big else "H"))
    found, room, values, at = {}, 0, 0, at + (8 if big else 2)
    if many > MAX_PARTS:
        raise ChartError(TOO_MANY.format(MAX_PARTS))
    for tag, kind, count, value in entry.iter_unpack(data[at : at + many * entry.size]):
        room += count * SIZES.get(kind, 0)
        values += count if kind not in (1, 2, 6, 7) else 0
        if tag in PLACES and count > MAX_PARTS:
            raise ChartError(TOO_MANY.format(MAX_PARTS))
        if count == 1 and kind in WHOLE:
            inside = SIZES[kind] <= len(value)
            held, place = (value, 0) if inside else (data, _number(value, 0, order + "I"))
            found[tag] = max(found.get(tag, 0), _number(held, place, order + WHOLE[kind]))
    if room > len(data) or values > MAX_VALUES:
        raise ChartError("The picture file has more data beside its picture than can be read. Save it as PNG.")
    return found


def orientation(exif: bytes) -> int:
    """How EXIF says that a picture is turned, 1 (not at all) to 8."""
    try:
        return _tags(exif.removeprefix(b"Exif\0\0")).get(274, 1)
    except (ChartError, struct.error):
        return 1


def _number(data: bytes, at: int, form: str) -> int:
    return struct.unpack_from(form, data, at)[0]
