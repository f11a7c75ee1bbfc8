"""An untrusted picture becomes a clean RGB chart, or one sentence that says why it does not.

Limits are checked on the header, before a pixel is decoded: what a file may cost in time and memory is known by then.
`parts.py` tells that, `apart.py` decodes what does not go by its header. `fit_canvas` is the other half: how a chart is
laid on the canvas that the bundled base model reads, in its training and in the app alike.
"""

import math
import struct
import threading
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from hashlib import blake2b
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from chartqa_demo.errors import ChartError
from chartqa_demo.images.apart import DAMAGED, UNREADABLE, decoded_apart
from chartqa_demo.images.parts import orientation, picture_alone
from chartqa_demo.settings import MOST_PIXELS, Settings

Size = tuple[int, int]

MAX_BYTES = 20 * 2**20
MAX_UPLOAD_PIXELS = Settings.upload_pixels
LARGE_PIXELS = 4_000_000  # such pictures are decoded one at a time
FEWER_PIXELS = {"WEBP": 25_000_000, "AVIF": 25_000_000}  # their libraries hold up to four copies of a picture
MIN_SIDE = 16  # below it not one letter can be drawn
MAX_ASPECT = 100  # Qwen2-VL's processor refuses more than 200 to 1
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")  # JPEG opens MPO as well
TABLES = (".csv", ".tsv", ".xls", ".xlsx", ".ods")
MAX_ENLARGEMENT = 1.5
TURNS = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}  # EXIF's orientation -> PIL's transposition
PAPER_NOISE = 8  # levels of grey that JPEG may add to an even margin
MARGIN = 0.015  # of a chart's longer side
WORTH_CUTTING = 1.06  # margins stay unless a chart is shown larger without them by this factor


def load_chart(source: bytes | Path | Image.Image, most: int = MAX_UPLOAD_PIXELS) -> Image.Image:
    """The picture as RGB, upright, first frame, transparency on white (a chart on black cannot be read).

    Raises ChartError: no image format we take, damaged or cut off, over MAX_BYTES, `most` pixels
    (FEWER_PIXELS for some) or what `picture_alone` allows, under MIN_SIDE, or longer than MAX_ASPECT to 1. Over
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
    apart, turned = _is_apart(data), 1
    if apart:
        most = min(most, FEWER_PIXELS.get(apart, most))
        size, image = decoded_apart(data, most, apart)
        _check_size(size, most)
    else:
        image, turned = _open_picture(data)
        _check_size(image.size, min(most, FEWER_PIXELS.get(str(image.format), most)))
    assert image is not None  # of more pixels than `most`, which have been refused
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
        raise ChartError(DAMAGED) from error


_decoding = threading.Lock()


def picture_size(data: bytes) -> Size:
    """(width, height) of a picture before it is turned. Raises ChartError as `load_chart` does for what is none."""
    if apart := _is_apart(data):
        return decoded_apart(data, 0, apart)[0]
    return _open_picture(data)[0].size


def _is_apart(data: bytes) -> str:
    """Pillow's formats of a picture that is decoded in a process of its own, or nothing. Raises ChartError for HEIC
    without pillow-heif (extra `heic`), which bundles GPL code and is therefore each operator's own choice."""
    if data[4:8] != b"ftyp":
        return ""
    if data[8:12].startswith(b"avi"):
        return "AVIF"
    if find_spec("pillow_heif") is None:
        raise ChartError("HEIC pictures cannot be read here. Save the picture as JPEG or PNG and upload that.")
    return "AVIF,HEIF"


def _open_picture(data: bytes) -> tuple[Image.Image, int]:
    """The picture with its header read and nothing decoded, and how it is turned (see `picture_alone`).

    Raises ChartError: no picture we read, or one whose file would take too long.
    """
    head = data[:1024].lstrip().lower()
    if head.startswith((b"<svg", b"<?xml", b"<!doctype svg")) or b"<svg" in head:
        raise ChartError("SVG is a drawing, not a picture. Export it as PNG and upload that.")
    if head.startswith(b"%pdf"):
        raise ChartError("A PDF is a document, not a picture. Take a screenshot of its chart and upload that.")
    try:
        data, turned = picture_alone(data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is lower and follows
            return Image.open(BytesIO(data), formats=FORMATS), turned
    except ChartError:
        raise
    except UnidentifiedImageError as error:
        raise ChartError(UNREADABLE) from error
    except Image.DecompressionBombError as error:
        raise ChartError(
            f"The picture has too many pixels; at most {MAX_UPLOAD_PIXELS // 10**6} million are read."
        ) from error
    except (OSError, SyntaxError, ValueError, IndexError, RuntimeError, struct.error) as error:
        raise ChartError("The picture file is damaged and cannot be opened. Save or export it again.") from error


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
    turned = orientation(image.info["exif"]) if isinstance(image.info.get("exif"), bytes) else turned
    if image.mode == "I;16B":  # of which Pillow finds no extremes
        image = image.convert("I;16")
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        most = float(np.asarray(image.getextrema()).max())
        if not math.isfinite(most):
            samples = np.asarray(image)
            most = float(samples.max(where=np.isfinite(samples), initial=0))
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
        samples = np.nan_to_num(np.asarray(image, dtype=np.float32), nan=top, posinf=top, neginf=0)  # no value: paper
        return Image.fromarray((samples / top * 255).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        layer = image.convert("RGBA")
        paper = Image.new("RGBA", layer.size, "white")
        paper.alpha_composite(layer)
        return paper.convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")
