"""An untrusted picture becomes a clean RGB chart, or one sentence that says why it does not.

Limits are checked on the header, before a pixel is decoded. `fit_canvas` is the other half: how a chart is laid on the
canvas that the bundled base model reads, in its training and in the app alike.
"""

import warnings
from collections.abc import Sequence
from hashlib import blake2b
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from chartqa_demo.errors import ChartError

Size = tuple[int, int]

MAX_BYTES = 20 * 2**20
MAX_UPLOAD_PIXELS = 50_000_000  # a 600 dpi scan of an A4 page has 35 million
MIN_SIDE = 16  # below it not one letter can be drawn
MAX_ASPECT = 100  # Qwen2-VL's processor refuses more than 200 to 1
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")  # JPEG opens MPO as well
TABLES = (".csv", ".tsv", ".xls", ".xlsx", ".ods")
MAX_ENLARGEMENT = 1.5
PAPER_NOISE = 8  # levels of grey that JPEG may add to an even margin
MARGIN = 0.015  # of a chart's longer side
WORTH_CUTTING = 1.06  # margins stay unless a chart is shown larger without them by this factor


def load_chart(source: bytes | Path | Image.Image) -> Image.Image:
    """The picture as RGB, upright, first frame, transparency on white (a chart on black cannot be read).

    Raises ChartError: no image format we take, damaged or cut off, over MAX_BYTES or MAX_UPLOAD_PIXELS, under MIN_SIDE,
    or longer than MAX_ASPECT to 1.
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
    head = data[:1024].lstrip().lower()
    if head.startswith((b"<svg", b"<?xml", b"<!doctype svg")) or b"<svg" in head:
        raise ChartError("SVG is a drawing, not a picture. Export it as PNG and upload that.")
    if head.startswith(b"%pdf"):
        raise ChartError("A PDF is a document, not a picture. Take a screenshot of its chart and upload that.")
    if isinstance(source, Path) and source.suffix.lower() in TABLES:
        raise ChartError("A table is not a picture. Draw it as a chart first, and upload a screenshot of that.")
    heic = data[4:8] == b"ftyp" and not data[8:12].startswith(b"avi")
    if heic:
        _open_heic()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is lower and follows
            image = Image.open(BytesIO(data), formats=(*FORMATS, "HEIF") if heic else FORMATS)
    except UnidentifiedImageError as error:
        raise ChartError(
            "This file is not a picture we can read. Use PNG, JPEG, WebP, GIF, BMP, TIFF, AVIF or HEIC."
        ) from error
    except Image.DecompressionBombError as error:
        raise ChartError(
            f"The picture has too many pixels; at most {MAX_UPLOAD_PIXELS // 10**6} million are read."
        ) from error
    except (OSError, SyntaxError, ValueError) as error:
        raise ChartError("The picture file is damaged and cannot be opened. Save or export it again.") from error
    _check_size(image.size)
    try:
        image.load()
        return _flatten(image)
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, Image.DecompressionBombError) as error:
        raise ChartError("The picture is damaged or cut off and cannot be decoded. Save or export it again.") from error


class Fitted(NamedTuple):
    """A chart on a canvas; left, top: what of the picture's margins was left out, in its own pixels."""

    image: Image.Image
    scale: float
    left: int
    top: int

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Where the canvas shows a place that is given in the picture's own pixels."""
        return (x - self.left) * self.scale, (y - self.top) * self.scale


def fit_canvas(image: Image.Image, canvases: Sequence[Size]) -> Fitted:
    """`image` letterboxed, top left on white, on the canvas that shows it largest; wide even margins are left out.

    `canvases` are (width, height) in pixels. Enlargement stops at MAX_ENLARGEMENT: beyond it there is nothing more
    to read. The bundled base model reads a fixed number of image tokens, so every chart has to come in one of its
    canvas shapes, in its training and here by this same function. Without its margins a chart in the middle of a page
    or slide looks to it as it does on its own; those of an ordinary chart stay, for its pixels stay sharp so.
    """
    chart, corner, content = image, (0, 0), _content(image)
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


def _check_size(size: Size) -> None:
    width, height = size
    if width * height > MAX_UPLOAD_PIXELS:
        raise ChartError(
            f"The picture has {width:,} × {height:,} pixels; at most {MAX_UPLOAD_PIXELS // 10**6} million are read. "
            "Scale it down."
        )
    if min(size) < MIN_SIDE:
        raise ChartError(f"The picture has {width} × {height} pixels: too small to show a chart.")
    if max(size) > MAX_ASPECT * min(size):
        raise ChartError(
            f"The picture has {width:,} × {height:,} pixels: too long and thin to read. Crop it to the chart."
        )


def _flatten(image: Image.Image) -> Image.Image:
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):  # PIL's own convert clips 16 bits to 8
        samples = np.asarray(image, dtype=np.float32)
        top = 65535.0 if image.mode.startswith("I") and samples.max() > 255 else max(float(samples.max()), 1.0)
        return Image.fromarray((samples / top * 255).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        layer = image.convert("RGBA")
        paper = Image.new("RGBA", layer.size, "white")
        paper.alpha_composite(layer)
        return paper.convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")
