"""An untrusted picture becomes a clean RGB chart, or one sentence that says why it does not.

Limits are checked on the header, before a pixel is decoded: what a file may cost in time and memory is known by then.
Pillow is shown the picture alone: its loops over comments, tags and text, which a small file can make endless, find
none. `fit_canvas` is the other half: how a chart is laid on the
canvas that the bundled base model reads, in its training and in the app alike.
"""

import math
import re
import struct
import threading
import warnings
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from hashlib import blake2b
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from chartqa_demo.errors import ChartError
from chartqa_demo.settings import MOST_PIXELS, Settings

Size = tuple[int, int]

MAX_BYTES = 20 * 2**20
MAX_UPLOAD_PIXELS = Settings.upload_pixels
MAX_PARTS = 20_000  # chunks, segments or blocks of a file: 1 KB each where it has 20 MB
MAX_VALUES = 300_000  # numbers in a TIFF's tags; a palette of 16 bits has 200,000
MAX_DIRECTORIES = 16  # that look like EXIF's in an AVIF or HEIC file, which has one
MAX_SCANNED = 600_000_000  # pixels times scans of a JPEG; a progressive one has about ten
MAX_RUNS = 2_000_000  # pixels or bytes of a BMP in runs, which Pillow reads in Python
LARGE_PIXELS = 4_000_000  # such pictures are decoded one at a time
FEWER_PIXELS = {"WEBP": 25_000_000, "AVIF": 25_000_000}  # their libraries hold up to four copies of a picture
MIN_SIDE = 16  # below it not one letter can be drawn
MAX_ASPECT = 100  # Qwen2-VL's processor refuses more than 200 to 1
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")  # JPEG opens MPO as well
TABLES = (".csv", ".tsv", ".xls", ".xlsx", ".ods")
MAX_ENLARGEMENT = 1.5
TURNS = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}  # EXIF's orientation -> PIL's transposition
TIFF = re.compile(rb"II[*+]\0|MM\0[*+]|II\0[*+]|MM[*+]\0")
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}  # bytes by TIFF type
TOO_MANY = "The picture file is in more than {:,} pieces. Save or export it again as PNG."
PAPER_NOISE = 8  # levels of grey that JPEG may add to an even margin
MARGIN = 0.015  # of a chart's longer side
WORTH_CUTTING = 1.06  # margins stay unless a chart is shown larger without them by this factor


def load_chart(source: bytes | Path | Image.Image, most: int = MAX_UPLOAD_PIXELS) -> Image.Image:
    """The picture as RGB, upright, first frame, transparency on white (a chart on black cannot be read).

    Raises ChartError: no image format we take, damaged or cut off, over MAX_BYTES, `most` pixels
    (FEWER_PIXELS for some) or what `_picture_alone` allows, under MIN_SIDE, or longer than MAX_ASPECT to 1. Over
    MOST_PIXELS it comes back in half its size.
    """
    if isinstance(source, Image.Image):
        _check_size(source.size)
        return _flatten(source)
    data = source.read_bytes() if isinstance(source, Path) else source
    if not data:
        raise ChartError("The file is empty. Choose a PNG, JPEG or WebP picture of a chart.")
    if len(data) > MAX_BYTES:
        raise ChartError(
            f"The file has {len(data) / 2**20:.1f} MB; at most {MAX_BYTES // 2**20} MB can be read. Save it smaller."
        )
    if isinstance(source, Path) and source.suffix.lower() in TABLES:
        raise ChartError("A table is not a picture. Draw it as a chart first, and upload a screenshot of that.")
    image, turned = open_picture(data)
    _check_size(image.size, min(most, FEWER_PIXELS.get(str(image.format), most)))
    try:
        with _decoding if math.prod(image.size) > LARGE_PIXELS else nullcontext():
            if _halvings(image.size) > 1:
                image.draft(None, (image.width // 2, image.height // 2))  # of a JPEG half the work, too
            image.load()
            return _flatten(image, turned)
    except (
        OSError,
        SyntaxError,
        ValueError,
        EOFError,
        IndexError,
        RuntimeError,
        Image.DecompressionBombError,
    ) as error:
        raise ChartError("The picture is damaged or cut off and cannot be decoded. Save or export it again.") from error


_decoding = threading.Lock()


def open_picture(data: bytes) -> tuple[Image.Image, int]:
    """The picture with its header read and nothing decoded, and how it is turned (see `_picture_alone`).

    Raises ChartError: no picture we read, or one whose file would take too long.
    """
    head = data[:1024].lstrip().lower()
    if head.startswith((b"<svg", b"<?xml", b"<!doctype svg")) or b"<svg" in head:
        raise ChartError("SVG is a drawing, not a picture. Export it as PNG and upload that.")
    if head.startswith(b"%pdf"):
        raise ChartError("A PDF is a document, not a picture. Take a screenshot of its chart and upload that.")
    heic = data[4:8] == b"ftyp" and not data[8:12].startswith(b"avi")
    if heic:
        _open_heic()
    try:
        data, turned = _picture_alone(data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is lower and follows
            return Image.open(BytesIO(data), formats=(*FORMATS, "HEIF") if heic else FORMATS), turned
    except ChartError:
        raise
    except UnidentifiedImageError as error:
        raise ChartError(
            "This file is not a picture we can read. Use PNG, JPEG, WebP, GIF, BMP, TIFF, AVIF or HEIC."
        ) from error
    except Image.DecompressionBombError as error:
        raise ChartError(
            f"The picture has too many pixels; at most {MAX_UPLOAD_PIXELS // 10**6} million are read."
        ) from error
    except (OSError, SyntaxError, ValueError, IndexError, RuntimeError, struct.error) as error:
        raise ChartError("The picture file is damaged and cannot be opened. Save or export it again.") from error


def _picture_alone(data: bytes) -> tuple[bytes, int]:
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
        if tile > MAX_UPLOAD_PIXELS or (packing in (6, 7) and b"\xff\xc2" in data):
            raise ChartError("The TIFF picture would take too long to read. Save it as PNG.")
    elif data[4:8] == b"ftyp":  # Pillow reads EXIF's tags as it opens the file
        for number, found in enumerate(TIFF.finditer(data)):
            if number == MAX_DIRECTORIES:
                raise ChartError(TOO_MANY.format(MAX_DIRECTORIES))
            with suppress(struct.error):
                _tags(data[found.start() :])
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
            turned = _orientation(data[start + 10 : at])
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
            turned = _orientation(data[at + 8 : at + 8 + length])
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
    """The first directory of a TIFF, or of EXIF: tag -> its value, where that is one whole number. Raises ChartError
    where its values take more room than the file, as only overlapping ones can, and struct.error where it is cut."""
    order, big = "<" if data[:1] == b"I" else ">", b"+" in data[2:4]
    at = _number(data, 8 if big else 4, order + ("Q" if big else "I"))
    entry = struct.Struct(order + ("HHQ8s" if big else "HHI4s"))
    many = _number(data, at, order + ("Q" if big else "H"))
    found, room, values, at = {}, 0, 0, at + (8 if big else 2)
    if many > MAX_PARTS:
        raise ChartError(TOO_MANY.format(MAX_PARTS))
    for tag, kind, count, value in entry.iter_unpack(data[at : at + many * entry.size]):
        room += count * SIZES.get(kind, 0)
        values += count if kind not in (1, 2, 6, 7) else 0
        if count == 1 and kind in (3, 4):
            found[tag] = _number(value, 0, order + {3: "H", 4: "I"}[kind])
    if room > len(data) or values > MAX_VALUES:
        raise ChartError("The picture file has more data beside its picture than can be read. Save it as PNG.")
    return found


def _orientation(exif: bytes) -> int:
    """How EXIF says that a picture is turned, 1 (not at all) to 8."""
    try:
        return _tags(exif.removeprefix(b"Exif\0\0")).get(274, 1)
    except (ChartError, struct.error):
        return 1


def _number(data: bytes, at: int, form: str) -> int:
    return struct.unpack_from(form, data, at)[0]


def shown_by_browsers(data: bytes) -> bool:
    """Whether a browser shows this file as `load_chart` reads it: not TIFF, and no second frame."""
    if data.startswith(b"RIFF"):
        return data[8:16] != b"WEBPVP8X" or not data[20] & 2
    return data.startswith(b"\xff\xd8") or (data.startswith(b"\x89PNG") and b"acTL" not in data[: data.find(b"IDAT")])


class Fitted(NamedTuple):
    """A chart on a canvas; left, top: what of the picture's margins was left out, in its own pixels."""

    image: Image.Image
    scale: float
    left: int
    top: int

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Where the canvas shows a place that is given in the picture's own pixels."""
        return (x - self.left) * self.scale, (y - self.top) * self.scale


def fit_canvas(image: Image.Image, canvases: Sequence[Size], cut: bool = True) -> Fitted:
    """`image` letterboxed, top left on white, on the canvas that shows it largest; wide even margins are left out
    (cut=False: they stay).

    `canvases` are (width, height) in pixels. Enlargement stops at MAX_ENLARGEMENT: beyond it there is nothing more
    to read. The bundled base model reads a fixed number of image tokens, so every chart has to come in one of its
    canvas shapes, in its training and here by this same function. Without its margins a chart in the middle of a page
    or slide looks to it as it does on its own; those of an ordinary chart stay, for its pixels stay sharp so.
    """
    chart, corner, content = image, (0, 0), _content(image) if cut else (0, 0, *image.size)
    inside = content[2] - content[0], content[3] - content[1]
    if _largest(inside, canvases)[0] >= WORTH_CUTTING * _largest(image.size, canvases)[0]:
        chart, corner = image.crop(content), content[:2]
    scale, canvas = _largest(chart.size, canvases)
    scale = min(scale, MAX_ENLARGEMENT)
    size = (max(1, round(chart.width * scale)), max(1, round(chart.height * scale)))
    fitted = Image.new("RGB", (canvas[0], canvas[1]), "white")
    fitted.paste(chart if size == chart.size else chart.resize(size, Image.Resampling.BICUBIC), (0, 0))
    return Fitted(fitted, scale, *corner)


def _largest(size: Size, canvases: Sequence[Size]) -> tuple[float, Size]:
    """The largest scale at which a canvas shows a picture of this size whole, and that canvas."""
    return max((min(canvas[0] / size[0], canvas[1] / size[1]), canvas) for canvas in canvases)


def _content(image: Image.Image) -> tuple[int, int, int, int]:
    """The box (left, top, right, bottom) of all that differs from the top left pixel, with a little of the margin."""
    grey = image.convert("L")
    paper = int(np.asarray(grey)[0, 0])
    box = grey.point([255 * (abs(level - paper) > PAPER_NOISE) for level in range(256)]).getbbox()
    if box is None:
        return 0, 0, *image.size
    margin = round(MARGIN * max(box[2] - box[0], box[3] - box[1]))
    right, bottom = min(image.width, box[2] + margin), min(image.height, box[3] + margin)
    return max(0, box[0] - margin), max(0, box[1] - margin), right, bottom


def shrink(image: Image.Image, max_pixels: int) -> Image.Image:
    """`image` with at most `max_pixels` pixels, its shape kept."""
    scale = (max_pixels / (image.width * image.height)) ** 0.5
    if scale >= 1:
        return image
    return image.resize((max(1, int(image.width * scale)), max(1, int(image.height * scale))), Image.Resampling.BICUBIC)


def pixels_of(image: Image.Image) -> str:
    """32 hexadecimal digits, a hash of a picture's RGB pixels and size: the same for every lossless encoding of it."""
    return blake2b(image.convert("RGB").tobytes() + repr(image.size).encode(), digest_size=16).hexdigest()


def _open_heic() -> None:
    """Teach Pillow the pictures of phones. Raises ChartError without pillow-heif (extra `heic`), which bundles GPL code
    and is therefore each operator's own choice."""
    try:
        import_module("pillow_heif").register_heif_opener()
    except ImportError as error:
        raise ChartError(
            "HEIC pictures cannot be read here. Save the picture as JPEG or PNG and upload that."
        ) from error


def _check_size(size: Size, most: int = MAX_UPLOAD_PIXELS) -> None:
    width, height = size
    if width * height > most:
        raise ChartError(
            f"The picture has {width:,} × {height:,} pixels; at most {most / 10**6:g} million are read. Scale it down."
        )
    if min(size) < MIN_SIDE:
        raise ChartError(f"The picture has {width} × {height} pixels: too small to show a chart.")
    if max(size) > MAX_ASPECT * min(size):
        raise ChartError(
            f"The picture has {width:,} × {height:,} pixels: too long and thin to read. Crop it to the chart."
        )


def _halvings(size: Size) -> int:
    """By how much a picture is made smaller at once: no model reads more than MOST_PIXELS."""
    return math.ceil((size[0] * size[1] / MOST_PIXELS) ** 0.5)


def _flatten(image: Image.Image, turned: int = 1) -> Image.Image:
    """A decoded picture as RGB on white; beside it and what comes back nothing as large is made."""
    by, top = _halvings(image.size), 1.0
    turned = _orientation(image.info["exif"]) if isinstance(image.info.get("exif"), bytes) else turned
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        most = float(np.asarray(image.getextrema()).max())
        top = 65535.0 if image.mode.startswith("I") and most > 255 else max(most, 1.0)
    if by == 1 and image.mode == "RGB" and "transparency" not in image.info:
        clean = image
    else:
        clean = Image.new("RGB", (math.ceil(image.width / by), math.ceil(image.height / by)))
        rows = by * max(1, LARGE_PIXELS // 2 // (image.width * by))
        for y in range(0, image.height, rows):
            strip = _on_white(image.crop((0, y, image.width, min(y + rows, image.height))), top)
            clean.paste(strip if by == 1 else strip.reduce(by), (0, y // by))
    return clean.transpose(Image.Transpose(TURNS[turned])) if turned in TURNS else clean


def _on_white(image: Image.Image, top: float) -> Image.Image:
    """RGB; top: what is white in a picture of more than 8 bits."""
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):  # PIL's own convert clips 16 bits to 8
        samples = np.asarray(image, dtype=np.float32)
        return Image.fromarray((samples / top * 255).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        layer = image.convert("RGBA")
        paper = Image.new("RGBA", layer.size, "white")
        paper.alpha_composite(layer)
        return paper.convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")
