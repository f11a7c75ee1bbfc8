"""Every picture a visitor can send becomes a clean RGB chart or one sentence."""

import re
import time
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps

from bench.reliability.pictures import avif_grid, chunk, overlapping, runs, scans, tiff, with_chunks
from chartqa_demo.errors import ChartError
from chartqa_demo.images import MAX_BYTES, MAX_UPLOAD_PIXELS, apart, fit_canvas, load_chart, shrink

CANVASES = [(560, 420), (420, 560)]


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    out = BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def test_transparency_lies_on_white_not_on_black() -> None:
    image = Image.new("RGBA", (40, 30), (0, 0, 0, 0))
    ImageDraw.Draw(image).rectangle((10, 10, 20, 20), fill=(255, 0, 0, 255))
    clean = load_chart(encoded(image))
    assert clean.mode == "RGB"
    assert clean.getpixel((0, 0)) == (255, 255, 255)
    assert clean.getpixel((15, 15)) == (255, 0, 0)


def test_a_transparent_palette_lies_on_white() -> None:
    image = Image.new("P", (40, 30), 0)
    image.putpalette([0, 0, 0, 10, 200, 10])
    assert load_chart(encoded(image, transparency=0)).getpixel((5, 5)) == (255, 255, 255)


def test_cmyk_becomes_rgb() -> None:
    red = load_chart(encoded(Image.new("CMYK", (40, 30), (0, 255, 255, 0)), "JPEG")).getchannel("R")
    assert red.tobytes()[0] > 200


def test_sixteen_bits_keep_their_greys() -> None:
    ramp = np.tile(np.linspace(0, 65535, 64, dtype=np.uint16), (32, 1))
    clean = np.asarray(load_chart(encoded(Image.fromarray(ramp))))
    assert clean.shape == (32, 64, 3)
    assert clean[0, 0, 0] == 0 and clean[0, -1, 0] == 255
    assert abs(int(clean[0, 32, 0]) - 129) < 4


def test_an_animated_gif_gives_its_first_frame() -> None:
    frames = [Image.new("RGB", (40, 30), colour) for colour in ("red", "blue")]
    clean = load_chart(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert clean.getpixel((5, 5)) == (255, 0, 0)


def test_a_rotated_photo_is_turned_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    assert load_chart(encoded(Image.new("RGB", (60, 30), "white"), "JPEG", exif=exif)).size == (30, 60)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
def test_every_turn_that_a_file_tells_of_is_made(kind: str) -> None:
    corner = Image.new("RGB", (64, 32), "white")
    corner.paste("black", (0, 0, 24, 16))
    for turn in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = turn
        data = encoded(corner, kind, exif=exif)
        with Image.open(BytesIO(data)) as told:
            upright = ImageOps.exif_transpose(told).convert("RGB")
        assert np.array_equal(np.asarray(load_chart(data)), np.asarray(upright)), (kind, turn)


def test_a_picture_put_on_white_in_strips_is_the_same_as_in_one_piece() -> None:
    clear = Image.fromarray(np.random.default_rng(0).integers(0, 256, (1301, 1700, 4), dtype=np.uint8))
    paper = Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear).convert("RGB")
    assert np.array_equal(np.asarray(load_chart(clear)), np.asarray(paper))


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_picture_that_no_model_reads_whole_comes_back_in_half_its_size(kind: str) -> None:
    page = Image.new("L", (4961, 3001), 255)
    page.paste(0, (0, 0, 2000, 3001))
    clean = load_chart(encoded(page, kind))
    assert clean.size == (2481, 1501)
    assert [clean.getpixel((x, 1500)) for x in (990, 1010)] == [(0, 0, 0), (255, 255, 255)]


SMALL = encoded(Image.new("RGB", (40, 30), "white"), "JPEG")
GIF = encoded(Image.new("L", (40, 30)), "GIF")
BODY = 13 + 3 * (2 << (GIF[10] & 7))
GREY = ((256, 4, 1, 100), (257, 4, 1, 100), (258, 3, 1, 8), (262, 3, 1, 1))
EXIF = overlapping(20_000, 200_000, 300_000)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (lambda: scans((3_000, 3_000), 100), "has 105 scans of 9.0 million pixels: too many"),
        (lambda: b"\xff\xd8" + b"\xff\xe5\0\x02" * 30_000 + SMALL[2:], "more than 20,000 pieces"),
        (lambda: b"\xff\xd8\xff\xe5\0\x02" + b"\xff" * 2**23 + SMALL[3:], ""),
        (lambda: SMALL[:2] + b"\xff\xe1\xff\xff" + (b"Exif\0\0" + EXIF)[: 2**16 - 3] + SMALL[2:], ""),
        (lambda: with_chunks(chunk(b"eXIf", EXIF)), ""),
        (lambda: with_chunks(chunk(b"tEXt", b"") * 30_000), "more than 20,000 pieces"),
        (lambda: with_chunks(chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(10**7)))), ""),
        (lambda: encoded(Image.new("RGB", (40, 30)), "WEBP", exif=EXIF), ""),
        (lambda: encoded(Image.new("1", (6_000, 5_000)), "WEBP", method=0), "at most 25 million"),
        (lambda: GIF[:BODY] + b"!\xfe" + b"\x01a" * 300_000 + b"\0" + GIF[BODY:], "more than 20,000 pieces"),
        (lambda: GIF[:BODY] + bytes(2**23) + GIF[BODY:], ""),
        (lambda: tiff(*GREY, (322, 4, 1, 60_000), (323, 4, 1, 60_000)), "too long to read"),
        (lambda: tiff(*GREY, (273, 4, 400_000, 1000), data=bytes(1_600_000)), "more than 20,000 pieces"),
        (
            lambda: tiff(*GREY, *((k, 7, 90_000, 0) for k in range(1_000, 1_060)), data=bytes(90_000)),
            "more data beside",
        ),
        (lambda: runs((8_000, 5_000), b"\x01\0\0\0" * 5_000), "2 million pixels"),
        (lambda: tiff(*GREY, (259, 9, 1, 7), data=scans((3_000, 3_000), 60)), "too long to read"),
        (lambda: tiff(*GREY, (259, 3, 1, 7), (259, 3, 1, 1), data=scans((3_000, 3_000), 60)), "too long to read"),
        (
            lambda: tiff(*GREY, (322, 4, 1, 1), (323, 4, 1, 1), (324, 4, 90_000, 1000), data=bytes(360_000)),
            "more than 20,000 pieces",
        ),
        (lambda: b"MM\0+" + bytes(11) + b"\x10" + bytes(600_000), "This kind of TIFF"),
    ],
)
def test_a_small_file_made_to_be_much_work_is_little(data: Callable[[], bytes], sentence: str) -> None:
    file, began, told = data(), time.process_time(), ""
    try:
        load_chart(file)
    except ChartError as error:
        told = str(error)
    assert time.process_time() - began < 1
    assert re.search(sentence or "^$", told), told


def test_an_avif_whose_head_says_less_than_it_holds_costs_what_is_allowed_and_nothing_of_this_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(apart, "SECONDS", 1)
    tiles = avif_grid(encoded(Image.new("L", (9_000, 9_000)), "AVIF", speed=10), 8, 8)
    items = avif_grid(encoded(Image.new("L", (64, 64)), "AVIF"), 1, 1, more=60_000)
    assert load_chart(avif_grid(encoded(Image.new("L", (64, 64), 255), "AVIF"), 2, 3)).size == (192, 128)
    for data in (tiles, items):
        began = time.process_time()
        with pytest.raises(ChartError, match="too long or too much memory"):
            load_chart(data)
        assert len(data) < 2**21 and time.process_time() - began < 1


def test_sixteen_bits_in_either_order_of_bytes_and_samples_that_are_no_number_are_read() -> None:
    for order in "<>":
        page = np.full((30, 40), 60_000, order + "u2")
        page[10:20] = 0
        clean = np.asarray(load_chart(encoded(Image.fromarray(page), "TIFF")))
        assert clean[15, 5, 0] == 0 and clean[5, 5, 0] > 230, order
    levels = np.full((30, 40), 0.5, np.float32)
    levels[0], levels[1], levels[2], levels[3] = np.nan, np.inf, -np.inf, 0.0
    clean = np.asarray(load_chart(encoded(Image.fromarray(levels), "TIFF")))
    assert [int(clean[row, 5, 0]) for row in range(5)] == [255, 255, 0, 0, 127]


def test_a_png_of_a_chart_comes_back_unchanged(tmp_path: Path) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8))
    file = tmp_path / "chart.png"
    image.save(file)
    assert np.array_equal(np.asarray(load_chart(file)), np.asarray(image))


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "empty"),
        (b"hello, this is text", "not a picture"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
        (b'<?xml version="1.0"?>\n<svg/>', "SVG"),
        (encoded(Image.new("RGB", (400, 300), "white"))[:120], "damaged"),
        (encoded(Image.effect_noise((400, 300), 90).convert("RGB"), "JPEG")[:2000], "damaged"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 40, "not a picture|damaged"),
        (encoded(Image.new("RGB", (1, 1), "white")), "too small"),
        (encoded(Image.new("RGB", (10_000, 20), "white")), "too long and thin"),
        (encoded(Image.new("1", (10_000, 6_000))), "at most 50 million"),
        (encoded(Image.new("1", (20_000, 20_000))), "at most 50 million|too many pixels"),
        (b"\0" * (MAX_BYTES + 1), "MB"),
        (encoded(Image.new("RGB", (40, 30)), "AVIF").replace(b"pitm", b"free"), "damaged"),
    ],
    ids=[
        "empty",
        "text",
        "svg",
        "xml",
        "cut-png",
        "cut-jpeg",
        "fake-png",
        "1x1",
        "thin",
        "large",
        "bomb",
        "heavy",
        "avif",
    ],
)
def test_what_cannot_be_used_says_why(data: bytes, sentence: str) -> None:
    with pytest.raises(ChartError, match=sentence):
        load_chart(data)


def test_a_bomb_is_refused_before_it_is_decoded() -> None:
    bomb = Image.new("1", (MAX_UPLOAD_PIXELS // 1000, 1001))
    with pytest.raises(ChartError):
        load_chart(bomb)


@pytest.mark.parametrize("size", [(400, 300), (800, 557), (1600, 1200), (420, 900), (280, 210), (3000, 200)])
def test_a_chart_lies_whole_on_one_of_the_canvases(size: tuple[int, int]) -> None:
    image = Image.new("RGB", size, "black")
    fitted, scale, *_ = fit_canvas(image, CANVASES)
    assert fitted.size in CANVASES
    black = np.argwhere(np.asarray(fitted)[:, :, 0] < 128)
    assert tuple(black.min(0)) == (0, 0)
    height, width = black.max(0) + 1
    assert abs(width - size[0] * scale) <= 1 and abs(height - size[1] * scale) <= 1


def test_a_tall_chart_gets_the_tall_canvas_and_a_small_one_is_not_blown_up() -> None:
    assert fit_canvas(Image.new("RGB", (400, 600)), CANVASES).image.size == (420, 560)
    assert fit_canvas(Image.new("RGB", (100, 75)), CANVASES).scale == 1.5


@pytest.mark.parametrize("paper", ["white", "black", (231, 240, 250)])
def test_a_chart_on_a_page_is_laid_out_as_on_its_own(paper: str | tuple[int, int, int]) -> None:
    own = Image.new("RGB", (500, 380), paper)
    own.paste("red", (4, 5, 494, 373))
    page = Image.new("RGB", (1200, 1600), paper)
    page.paste(own, (300, 900))
    noisy = Image.fromarray(
        np.clip(np.asarray(page) + np.random.default_rng(0).integers(0, 7, (1600, 1200, 1)), 0, 255).astype(np.uint8)
    )
    alone, shown = fit_canvas(own, CANVASES), fit_canvas(page, CANVASES)
    assert np.abs(np.asarray(alone.image).astype(int) - np.asarray(shown.image)).mean() < 4
    assert shown.place(304, 905) == pytest.approx(alone.place(4, 5), abs=8)
    assert fit_canvas(noisy, CANVASES)[1:] == shown[1:]


def test_shrink_keeps_the_shape_and_the_limit() -> None:
    small = shrink(Image.new("RGB", (1600, 1200)), 100_000)
    assert small.width * small.height <= 100_000 and abs(small.width / small.height - 4 / 3) < 0.01
    assert shrink(small, 10**6) is small
