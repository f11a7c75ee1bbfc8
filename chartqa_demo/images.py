"""An untrusted picture becomes a clean RGB chart, or one sentence that says why it does not."""

from collections.abc import Sequence

from PIL import Image

Size = tuple[int, int]
MAX_ENLARGEMENT = 1.5


def fit_canvas(image: Image.Image, canvases: Sequence[Size]) -> tuple[Image.Image, float]:
    """`image` letterboxed, top left on white, on the canvas that shows it largest; and the scale used.

    `canvases` are (width, height) in pixels. Enlargement stops at 1.5: beyond it there is nothing more to read.
    The bundled base model reads a fixed number of image tokens, so every chart has to come in one of its canvas
    shapes, in its training and here by this same function.
    """

    def scale_on(canvas: Size) -> float:
        return min(canvas[0] / image.width, canvas[1] / image.height)

    canvas = max(canvases, key=scale_on)
    scale = min(scale_on(canvas), MAX_ENLARGEMENT)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    fitted = Image.new("RGB", canvas, "white")
    fitted.paste(image if size == image.size else image.resize(size, Image.Resampling.BICUBIC), (0, 0))
    return fitted, scale
