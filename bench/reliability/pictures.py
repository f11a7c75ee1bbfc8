"""What pictures cost that were made to cost too much, and whether each odd picture is answered or told why not.

    python -m bench.reliability.pictures                       # bench/results/reliability/pictures.json
    PYTHONPATH=OLDER python -m bench.reliability.pictures --costly before.json
    python -m bench.reliability.pictures --before before.json  # with what the costly ones took before

Each file is decoded in a process that is killed after a minute and may take 6 GB; what can be decoded is then asked
about, of the bundled model. Times are those of the processor: the machine may be busy with something else; those of the
process that the app decodes AVIF in are counted, its memory is not.
"""

import argparse
import json
import os
import random
import resource
import struct
import sys
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterator
from io import BytesIO
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from bench.reliability import save, table
from chartqa_demo.errors import ChartError
from chartqa_demo.images import load_chart

LONGEST_S, MOST_BYTES = 60, 6 * 2**30
MUTATED = 16  # of every ordinary file
BIG = (10_000, 5_000)
File = tuple[str, bytes]


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    """A picture as a file."""
    out = BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def chart(size: tuple[int, int] = (320, 240), mode: str = "RGB") -> Image.Image:
    """Bars with a frame."""
    image, (width, height) = Image.new("RGB", size, "white"), size
    draw = ImageDraw.Draw(image)
    for place in range(8):
        left = width * (place + 1) // 10
        draw.rectangle((left, height * (9 - place) // 10, left + width // 14, height * 9 // 10), fill=(70, 130, 180))
    draw.rectangle((2, 2, width - 3, height - 3), outline="black")
    return image.convert(mode)


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def with_chunks(chunks: bytes) -> bytes:
    """A small PNG with `chunks` before its picture."""
    png = encoded(chart(), "PNG")
    return png[:33] + chunks + png[33:]


def overlapping(tags: int, bytes_each: int, total: int) -> bytes:
    """A directory of EXIF whose values are all the same bytes."""
    entries = b"".join(struct.pack("<HHII", 1 + k % 60_000, 7, bytes_each, 0) for k in range(tags))
    return (b"II*\0\x08\0\0\0" + struct.pack("<H", tags) + entries + bytes(4)).ljust(total, b"\0")


def scans(size: tuple[int, int], count: int) -> bytes:
    """A grey progressive JPEG whose last scan comes `count` times."""
    jpeg = encoded(Image.new("L", size, 255), "JPEG", progressive=True)
    last = jpeg.rindex(b"\xff\xda")
    return jpeg[:last] + jpeg[last:-2] * count + jpeg[-2:]


def tiff(*tags: tuple[int, int, int, int], data: bytes = b"") -> bytes:
    """A TIFF of (tag, type, count, value or offset); its data begins at byte 1,000."""
    entries = b"".join(struct.pack("<HHII", *tag) for tag in sorted(tags))
    return (b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + bytes(4)).ljust(1000, b"\0") + data


def runs(size: tuple[int, int], data: bytes) -> bytes:
    """A BMP of 8 bits in runs."""
    head = struct.pack("<IiiHHIIiiII", 40, *size, 1, 8, 1, len(data), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 1078 + len(data), 0, 0, 1078) + head + bytes(range(256)) * 4 + data


def avif_grid(avif: bytes, rows: int, columns: int, more: int = 0) -> bytes:
    """An AVIF of tiles, which are said to have 64 × 64 pixels and all are the picture in `avif`; more: empty items."""

    def box(kind: bytes, *parts: bytes) -> bytes:
        return struct.pack(">I4s", 8 + sum(map(len, parts)), kind) + b"".join(parts)

    def table(kind: bytes, wide: int, of: int, *parts: bytes) -> bytes:  # its first number is how many there are
        return box(kind, struct.pack(">II", wide << 24, of), *parts)

    def item(number: int, kind: bytes) -> bytes:
        return box(b"infe", struct.pack(">IIH4s", 3 << 24, number, 0, kind), b"\0")

    sizes = [b"\0\0\0\0" + struct.pack(">II", 64 * wide, 64 * high) for wide, high in ((columns, rows), (1, 1))]
    start, tiles = avif.index(b"av1C") - 4, range(2, 2 + rows * columns)
    picture = avif[avif.index(b"mdat") + 4 :]
    config = avif[start : start + struct.unpack_from(">I", avif, start)[0]]
    tail = struct.pack(">4BHH", 0, 0, rows - 1, columns - 1, 64 * columns, 64 * rows)
    kinds = [item(1, b"grid"), *(item(tile, b"av01") for tile in tiles)]
    kinds += [item(1_000 + number, b"av01") for number in range(more)]
    belong = [struct.pack(">HBBB", 1, 2, 1, 4), *(struct.pack(">HBBBB", tile, 3, 2, 0x83, 4) for tile in tiles)]
    refer = box(b"dimg", struct.pack(">HH", 1, len(tiles)), *(struct.pack(">H", tile) for tile in tiles))
    shown = box(b"ipco", *(box(b"ispe", size) for size in sizes), config, box(b"pixi", b"\0\0\0\0\3\x08\x08\x08"))

    def head(at: int) -> bytes:
        places = [struct.pack(">HHHII", 1, 0, 1, at, len(tail))]
        places += [struct.pack(">HHHII", tile, 0, 1, at + len(tail), len(picture)) for tile in tiles]
        return box(b"ftyp", b"avif\0\0\0\0avifmif1miaf") + box(
            b"meta",
            bytes(4),
            box(b"hdlr", bytes(8), b"pict", bytes(13)),
            box(b"pitm", bytes(4), b"\0\1"),
            box(b"iloc", bytes(4), b"\x44\0", struct.pack(">H", len(places)), *places),
            table(b"iinf", 1, len(kinds), *kinds),
            box(b"iref", bytes(4), refer),
            box(b"iprp", shown, table(b"ipma", 0, len(belong), *belong)),
        )

    return head(len(head(0)) + 8) + box(b"mdat", tail, picture)


def costly() -> Iterator[File]:
    """Small files that are a lot of work for who reads them without care."""
    for size, count in (((7_000, 7_000), 1_500), ((6_000, 6_000), 400), ((1_000, 1_000), 1_500), ((1_000, 1_000), 500)):
        yield f"JPEG, {size[0] * size[1] // 10**6} MP, {count:,} scans", scans(size, count)
    yield "JPEG, 50 MP, progressive", encoded(chart(BIG), "JPEG", progressive=True)
    yield "JPEG, 65,500 × 760", encoded(chart((65_500, 760)), "JPEG")
    yield "JPEG, 4 million empty segments", b"\xff\xd8" + b"\xff\xe5\0\x02" * 4_000_000 + encoded(chart(), "JPEG")[2:]
    yield "JPEG, 16 MB of padding", b"\xff\xd8\xff\xe5\0\x02" + b"\xff" * 2**24 + encoded(chart(), "JPEG")[3:]
    exif = b"Exif\0\0" + overlapping(5_000, 60_000, 65_000)
    yield "JPEG, EXIF whose values overlap", encoded(chart(), "JPEG", exif=exif)
    for mode in ("1", "L", "P", "LA", "RGB", "RGBA"):
        yield f"PNG, 50 MP, {mode}", encoded(chart(BIG, mode), "PNG", compress_level=9)
    yield "PNG, 50 MP, 16 bit", encoded(Image.fromarray(np.full(BIG[::-1], 40_000, np.uint16)), "PNG", compress_level=9)
    yield "PNG, 50 MP, a transparent colour", encoded(chart(BIG, "P"), "PNG", transparency=3, compress_level=9)
    yield "PNG, 1.5 million chunks", with_chunks(chunk(b"tEXt", b"") * 1_500_000)
    packed, bomb = zlib.compress(bytes(10**6), 9), zlib.compress(bytes(10**9), 9)
    yield "PNG, 5,000 texts that unpack to 1 MB", with_chunks(chunk(b"zTXt", b"a\0\0" + packed) * 5_000)
    yield "PNG, a colour profile that unpacks to 1 GB", with_chunks(chunk(b"iCCP", b"a\0\0" + bomb))
    yield "PNG, EXIF whose values overlap", with_chunks(chunk(b"eXIf", overlapping(20_000, 200_000, 300_000)))
    moving = [chart((320, 240 - k % 2)) for k in range(100)]
    yield "PNG, 100 frames", encoded(moving[0], "PNG", save_all=True, append_images=moving[1:])
    gif = encoded(chart(mode="P"), "GIF")
    body = 13 + 3 * (2 << (gif[10] & 7))
    yield "GIF, a comment in 500,000 pieces", gif[:body] + b"!\xfe" + b"\x01a" * 500_000 + b"\0" + gif[body:]
    yield "GIF, 18 MB of junk", gif[:body] + b"\0" * (18 * 2**20) + gif[body:]
    frames = [chart((320, 240), "P"), Image.new("P", (320, 240))] * 500
    yield "GIF, 1,001 frames", encoded(frames[0], "GIF", save_all=True, append_images=frames)
    yield "GIF, 50 MP", encoded(chart(BIG, "P"), "GIF")
    yield "WebP, 24 MP", encoded(chart((6_000, 4_000)), "WEBP", method=0)
    yield "WebP, 50 MP, lossless", encoded(chart(BIG), "WEBP", lossless=True, method=0)
    yield "WebP, 50 MP, transparent", encoded(chart(BIG, "RGBA"), "WEBP", lossless=True, method=0)
    yield "WebP, 200 frames", encoded(frames[0], "WEBP", save_all=True, append_images=frames[:200], method=0)
    yield "WebP, EXIF whose values overlap", encoded(chart(), "WEBP", exif=overlapping(20_000, 200_000, 300_000))
    yield "AVIF, 24 MP", encoded(chart((6_000, 4_000)), "AVIF", speed=10)
    yield "AVIF, 50 MP", encoded(chart(BIG), "AVIF", speed=10)
    yield "AVIF, 60 frames", encoded(frames[0], "AVIF", save_all=True, append_images=frames[:60], speed=10)
    small = encoded(chart(), "AVIF", exif=overlapping(9, 0, 300_000))
    heavy = small.replace(overlapping(9, 0, 300_000), overlapping(20_000, 200_000, 300_000))
    yield "AVIF, EXIF whose values overlap", heavy
    huge = encoded(Image.new("L", (16_000, 12_000), 255), "AVIF", speed=10)
    yield "AVIF, 256 tiles of 192 MP that say 64 × 64", avif_grid(huge, 16, 16)
    yield "AVIF, 200,000 empty items", avif_grid(encoded(chart(), "AVIF"), 1, 1, more=200_000)
    yield from costly_tiff(bomb)
    yield "BMP, 40 MP in runs, lines of one pixel", runs((8_000, 5_000), b"\x01\0\0\0" * 5_000 + b"\0\x01")
    yield "BMP, 9 million runs", runs((3_000, 3_000), b"\x01\x07" * 9_000_000 + b"\0\x01")


def costly_tiff(bomb: bytes) -> Iterator[File]:
    """Those of the most various format; bomb: what unpacks to 1 GB."""
    grey, fine = (Image.fromarray(np.full(BIG[::-1], level)) for level in (np.uint16(40_000), np.float32(0.5)))
    yield "TIFF, 50 MP, 16 bit", encoded(grey, "TIFF", compression="tiff_lzw")
    yield "TIFF, 50 MP, float", encoded(fine, "TIFF", compression="tiff_adobe_deflate")
    yield "TIFF, 50 MP, JPEG inside", encoded(chart(BIG), "TIFF", compression="jpeg")
    plain = ((256, 4, 1, 100), (257, 4, 1, 100), (258, 3, 1, 8), (262, 3, 1, 1))
    tile = ((322, 4, 1, 60_000), (323, 4, 1, 60_000), (324, 4, 1, 1000), (325, 4, 1, len(bomb)))
    yield "TIFF, a tile of 3,600 MP", tiff(*plain, (259, 3, 1, 8), *tile, data=bomb)
    strips = ((273, 4, 4_000_000, 1000), (278, 4, 1, 1))
    yield "TIFF, 4 million strips", tiff(*plain, (259, 3, 1, 1), *strips, data=bytes(16_000_000))
    same = ((1_000 + k, 7, 900_000, 0) for k in range(60))
    many = ((322, 4, 1, 1), (323, 4, 1, 1), (324, 4, 291_600, 1000))
    square = ((256, 4, 1, 540), (257, 4, 1, 540), *plain[2:])
    yield "TIFF, 291,600 tiles", tiff(*square, (259, 3, 1, 1), *many, data=struct.pack("<I", 1_167_400) * 350_000)
    kept = scans((7_000, 7_000), 90)
    strip = ((256, 4, 1, 7_000), (257, 4, 1, 7_000), *plain[2:], (273, 4, 1, 1000), (279, 4, 1, len(kept)))
    yield "TIFF, JPEG of 95 scans inside, told as another", tiff(*strip, (259, 9, 1, 7), data=kept)
    yield "TIFF, tags whose values overlap", tiff(*plain, (273, 4, 1, 1000), *same, data=bytes(900_000))


def odd() -> Iterator[File]:
    """No pictures, and ordinary ones in every form."""
    for turned in range(1, 9):
        exif = Image.Exif()
        exif[274] = turned
        yield f"JPEG, turned {turned}", encoded(chart(), "JPEG", exif=exif)
    for size in ((1, 1), (16, 16), (1_700, 17), (17, 1_700), (16_383, 30), (8_001, 9_001), (1, 70_000)):
        yield f"PNG, {size[0]} × {size[1]}", encoded(Image.new("RGB", size, "white"), "PNG")
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16", "I"):
        yield f"PNG, {mode}", encoded(chart(mode="L").convert(mode), "PNG")
    for name, data in {
        "nothing": b"",
        "text": b"Dear diary",
        "SVG": b"<svg/>",
        "PDF": b"%PDF-1.7\n",
        "zip": b"PK\x03\x04" * 9,
        "HTML": b"<!doctype html><script>alert(1)</script>",
        "zeros": bytes(5_000),
        "ones": b"\xff" * 5_000,
        "data URL": b"data:image/png;base64,iVBORw0KGgo=",
        "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        "HEIC": b"\0\0\0\x18ftypheic" + bytes(40),
        "21 MB": bytes(21 * 2**20),
    }.items():
        yield f"{name}, no picture", data
    yield "MPO", encoded(chart(), "MPO", save_all=True, append_images=[chart()])
    yield "JPEG, CMYK", encoded(chart(mode="CMYK"), "JPEG")


def ordinary() -> Iterator[File]:
    """What the mutated files are made of."""
    yield "PNG", encoded(chart(), "PNG")
    yield "PNG with palette", encoded(chart(mode="P"), "PNG")
    yield "JPEG", encoded(chart(), "JPEG")
    yield "JPEG, progressive", encoded(chart(), "JPEG", progressive=True)
    for form in ("GIF", "BMP", "TIFF", "WEBP", "AVIF"):
        yield form, encoded(chart(), form)
    yield "TIFF, packed", encoded(chart(), "TIFF", compression="tiff_lzw")
    yield "WebP, lossless", encoded(chart(), "WEBP", lossless=True)


def mutated(files: list[File]) -> Iterator[File]:
    """Each file MUTATED times: bytes changed (mostly in its head), cut off, doubled, filled up, joined with another."""
    chance = random.Random(26)
    for name, data in files:
        for number in range(MUTATED):
            new, at = bytearray(data), chance.randrange(len(data))
            way = ("head", "head", "head", "anywhere", "cut", "doubled", "filled", "joined")[number % 8]
            if way in ("head", "anywhere"):
                for _ in range(1 + number):
                    new[chance.randrange(min(len(new), 200 if way == "head" else len(new)))] = chance.choice(
                        (0, 255, 127, 128, chance.randrange(256))
                    )
            elif way == "cut":
                del new[at:]
            elif way == "doubled":
                new[at:at] = new[at : at + 500]
            elif way == "filled":
                new[at:at] = chance.choice((b"\0", b"\xff")) * 5_000
            else:
                new[at:] = chance.choice(files)[1][at:]
            yield f"{name}, {way} {number}", bytes(new)


def decode(pipe: Connection) -> None:
    """The process that decodes: a path comes, (outcome, sentence, seconds, bytes beside what there was) goes."""
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
    load_chart(encoded(chart(), "PNG"))
    while True:
        path = Path(pipe.recv())
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the highest memory from now on
        before, began = _memory("VmRSS"), sum(os.times()[:4])
        try:
            load_chart(path)
            outcome = "picture", ""
        except ChartError as error:
            outcome = "sentence", str(error)
        except BaseException as error:
            outcome = "anything else", f"{type(error).__name__}: {error}"[:200]
        pipe.send((*outcome, sum(os.times()[:4]) - began, max(0, _memory("VmHWM") - before)))


def _memory(line: str) -> int:
    text = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(one.split()[1]) * 1024 for one in text.splitlines() if one.startswith(line))


class Decoder:
    """The process that decodes, started anew where one was killed."""

    def __init__(self) -> None:
        self.process = None

    def __call__(self, path: Path) -> tuple[str, str, float, int]:
        """What `decode` found."""
        if self.process is None:
            spawning = get_context("spawn")
            self.pipe, there = spawning.Pipe()
            self.process = spawning.Process(target=decode, args=(there,), daemon=True)
            self.process.start()
            there.close()
        self.pipe.send(str(path))
        try:
            if self.pipe.poll(LONGEST_S):
                return self.pipe.recv()
            told = f"not done within {LONGEST_S} s"
        except EOFError:
            told = "the process died"
        self.process.kill()
        self.process = None
        return "anything else", told, float(LONGEST_S), MOST_BYTES


def measure(only_costly: bool) -> list[dict[str, Any]]:
    """Every file with what became of it."""
    decoder, found = Decoder(), []
    groups = [("costly", costly())] if only_costly else [
        ("costly", costly()), ("odd", odd()), ("mutated", mutated(list(ordinary())))
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        for group, files in groups:
            for name, data in files:
                path = Path(folder) / f"{len(found)}.bin"
                path.write_bytes(data)
                outcome, told, seconds, memory = decoder(path)
                found.append({"group": group, "name": name, "kb": len(data) // 1000, "outcome": outcome, "told": told})
                found[-1] |= {"seconds": round(seconds, 2), "mb": round(memory / 10**6)}
                print(*found[-1].values(), flush=True)
                if outcome == "picture" and not only_costly:
                    found[-1]["outcome"] = asked(path)
                path.unlink()
    return found


def asked(path: Path) -> str:
    """What comes of a question about a picture that was decoded."""
    from chartqa_demo.engines import Options, load_engine
    from chartqa_demo.errors import EngineError
    from chartqa_demo.settings import Settings
    from chartqa_demo.ui.compare.question import Question, stream_answers

    engine = vars(asked).setdefault("engine", None) or load_engine(Settings(base="bundled", device="cpu"))
    asked.engine = engine  # pyright: ignore[reportFunctionMemberAccess]
    try:
        *_, answers = stream_answers(engine, Question(path, "How many bars?", options=Options(max_new_tokens=8)))
    except (ChartError, EngineError) as error:
        return f"anything else: {error}"
    return "answered" if all(one.done and not one.error for one in answers) else "anything else"


def main() -> int:
    """Exit code: 0 where every file was answered or refused by a sentence, else 1."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.reliability.pictures", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--costly", type=Path, metavar="FILE", help="measure the costly files only, into FILE")
    parser.add_argument("--before", type=Path, metavar="FILE", help="a FILE of --costly, measured with older code")
    flags = parser.parse_args()
    found = measure(flags.costly is not None)
    if flags.costly:
        flags.costly.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        return 0
    older = json.loads(flags.before.read_text(encoding="utf-8")) if flags.before else []
    before = {one["name"]: one for one in older}
    columns, rows = ["file", "KB", "CPU seconds", "MB at most", "outcome"], []
    for one in (one for one in found if one["group"] == "costly"):
        rows.append([one["name"], one["kb"], one["seconds"], one["mb"], one["told"] or one["outcome"]])
        if one["name"] in before:
            then = before[one["name"]]
            rows[-1][2:2] = [then["seconds"], then["mb"], "" if then["outcome"] == "picture" else then["told"]]
    if before:
        columns[2:2] = ["seconds before", "MB before", "outcome before"]
    counts = [[group, *(sum(1 for one in found if one["group"] == group and one["outcome"].startswith(outcome))
                        for outcome in ("", "answered", "sentence", "anything else"))]
              for group in ("costly", "odd", "mutated")]  # fmt: skip
    most = max(found, key=lambda one: one["seconds"])
    save(
        "pictures",
        "Pictures that cost too much, and odd ones",
        "python -m bench.reliability.pictures" + (" --before before.json" if before else ""),
        [
            table("Outcomes", ["files", "tried", "answered", "a sentence", "anything else"], counts),
            table("Files made to cost time or memory: decoding one", columns, rows),
        ],
        [
            f"The longest decoding took {most['seconds']} s of processor time ({most['name']}); the largest took "
            f"{max(one['mb'] for one in found):,} MB beside what the process had.",
            f"A file was given up after {LONGEST_S} s or {MOST_BYTES // 2**30} GB. What was decoded was asked about, "
            "of the bundled model.",
        ],
    )
    print(Counter(one["outcome"] for one in found), *(one for one in found if one["outcome"].startswith("any")))
    return int(any(row[-1] for row in counts))


if __name__ == "__main__":
    sys.exit(main())
