"""The fixed shapes of pretraining: two canvases of equal area, their grids of image tokens, and a row of tokens.

Both canvases hold as many patches and image tokens, so one compiled graph serves landscape and portrait charts mixed in
a batch.
"""

from dataclasses import dataclass

LONG_SIDE, SHORT_SIDE = 23, 17  # image tokens along the sides of a canvas
PATCH = 14
CELL = 2 * PATCH  # pixels of one image token: 2 x 2 patches
# (width, height) in pixels; landscape first
CANVASES = ((LONG_SIDE * CELL, SHORT_SIDE * CELL), (SHORT_SIDE * CELL, LONG_SIDE * CELL))
PIXELS = LONG_SIDE * CELL * SHORT_SIDE * CELL
IMAGE_TOKENS = LONG_SIDE * SHORT_SIDE


@dataclass(frozen=True)
class Layout:
    """Where things are in a row of token ids.

    A row is [padding][system message, user's turn opens][image tokens][vision end][packed questions].
    image_start: index of the first image token; length: tokens of the whole row.
    """

    image_start: int
    length: int

    @property
    def prefix(self) -> int:
        """Tokens before the first packed question, padding included."""
        return self.image_start + IMAGE_TOKENS + 1

    @property
    def packed(self) -> int:
        """Tokens that packed questions may fill."""
        return self.length - self.prefix


def cell_of(x: float, y: float, portrait: bool) -> int:
    """The image token (counted row by row) that covers pixel (x, y) of the canvas; places outside are clamped."""
    columns, rows = (SHORT_SIDE, LONG_SIDE) if portrait else (LONG_SIDE, SHORT_SIDE)
    column, row = int(x) // CELL, int(y) // CELL
    column = 0 if column < 0 else column if column < columns else columns - 1
    row = 0 if row < 0 else row if row < rows else rows - 1
    return row * columns + column
