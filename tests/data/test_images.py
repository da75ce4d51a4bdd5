"""Reading, checking and writing images: every row of the conversion table, damage, and atomic files."""

import contextlib
import io
import os
import random
import re
import stat
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from functools import cache
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
from isal import isal_zlib
from PIL import Image

from eval.data import images
from eval.data import png as png_module
from eval.data.images import (
    IMAGE_SUFFIXES,
    REFUSED_SUFFIXES,
    ImageError,
    ImageSize,
    is_image_file,
    read_image,
    read_size,
    write_png,
)
from eval.data.png import _inflated, _pixel_bytes, png_fault
from eval.files import atomic_path, write_whole
from tests.refusals import said

HEIGHT, WIDTH = 6, 9
RGB = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
GREY = np.ascontiguousarray(RGB[..., 0])
OPAQUE = np.full((HEIGHT, WIDTH), 255, np.uint8)
ALMOST_OPAQUE = OPAQUE.copy()
ALMOST_OPAQUE[3, 4] = 254
ORIENTATION_TAG = 0x0112
PNG_GREY, PNG_RGB, PNG_PALETTE, PNG_GREY_ALPHA = 0, 2, 3, 4


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(samples: np.ndarray, depth: int, colour: int, width: int = WIDTH, trns: bytes | None = None) -> bytes:
    """Assemble a PNG by hand, for kinds that Pillow does not write. ``samples`` are the packed bytes, row by row."""
    transparent = b"" if trns is None else png_chunk(b"tRNS", trns)
    header = png_header(width, len(samples), depth, colour)
    return png_file(header, transparent, png_chunk(b"IDAT", zlib.compress(png_rows(samples))))


def png_header(width: int, height: int, depth: int, colour: int) -> bytes:
    return png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))


def png_rows(samples: np.ndarray) -> bytes:
    return b"".join(b"\0" + row.tobytes() for row in samples)


def png_file(*chunks: bytes) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks) + png_chunk(b"IEND", b"")


def encoded(image: Image.Image | np.ndarray, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    image.save(file, format=kind, **options)
    return file.getvalue()


def tiff(array: np.ndarray, **options) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, array, **options)
    return file.getvalue()


def palette_image(**options) -> bytes:
    indexed = Image.frombytes("P", (4, 1), bytes([0, 1, 2, 1]))
    indexed.putpalette([10, 20, 30, 40, 50, 60, 255, 0, 1])
    return encoded(indexed, **options)


def as_rgb(grey: np.ndarray) -> np.ndarray:
    return np.repeat(np.asarray(grey, np.uint8)[..., None], 3, axis=2)


def grey(text: list[int], depth: int, width: int, trns: int | None = None) -> bytes:
    """A PNG of one row of packed grey samples."""
    told = None if trns is None else struct.pack(">H", trns)
    return png(np.array([text], np.uint8), depth, PNG_GREY, width, told)


def by_hand(*idat: bytes, header: bytes | None = None) -> bytes:
    """A PNG of pixel data that is given as it is; its checksums are right."""
    return png_file(header or PNG_HEADER, *(png_chunk(b"IDAT", data) for data in idat))


def flipped(content: bytes, at: int, bits: int = 1) -> bytes:
    return content[:at] + bytes([content[at] ^ bits]) + content[at + 1 :]


PALETTE = np.array([[[10, 20, 30], [40, 50, 60], [255, 0, 1], [40, 50, 60]]], np.uint8)
BITS = GREY > 127
SIXTEEN = GREY.astype(">u2") * 257
SIXTEEN_RGB = RGB.astype(">u2") * 257
ALMOST = np.dstack([RGB, ALMOST_OPAQUE])
SECOND = {"save_all": True, "append_images": [Image.fromarray(255 - RGB)]}
CONVERTED: dict[str, tuple[str, bytes, np.ndarray]] = {
    "RGB PNG": (".png", encoded(RGB), RGB),
    "RGB PNG by hand": (".png", png(RGB, 8, PNG_RGB), RGB),
    "RGB PNG, upper-case suffix": (".PNG", encoded(RGB), RGB),
    "RGB BMP": (".bmp", encoded(RGB, "BMP"), RGB),
    "RGB lossless WebP": (".webp", encoded(RGB, "WEBP", lossless=True), RGB),
    "RGB TIFF": (".tif", encoded(RGB, "TIFF"), RGB),
    "RGB TIFF LZW": (".tiff", encoded(RGB, "TIFF", compression="tiff_lzw"), RGB),
    "RGB TIFF planes": (".tif", tiff(np.moveaxis(RGB, 2, 0), photometric="rgb", planarconfig="separate"), RGB),
    "grey 8 bit": (".png", encoded(GREY), as_rgb(GREY)),
    "grey 8 bit JPEG": (".jpg", encoded(np.full((8, 8), 77, np.uint8), "JPEG"), as_rgb(np.full((8, 8), 77))),
    "grey TIFF": (".tif", encoded(GREY, "TIFF"), as_rgb(GREY)),
    "grey TIFF, white is 0": (".tif", tiff(GREY, photometric="miniswhite"), as_rgb(255 - GREY)),
    "grey 4 bit": (".png", grey([0x1F, 0x80], 4, 4), as_rgb([[17, 255, 136, 0]])),
    "grey 2 bit": (".png", grey([0b00011011], 2, 4), as_rgb([[0, 85, 170, 255]])),
    "grey 1 bit": (".png", encoded(Image.fromarray(BITS)), as_rgb(BITS * 255)),
    "grey 1 bit, colour absent is transparent": (
        ".png",
        grey([0xFF], 1, 8, trns=0),
        as_rgb(np.full((1, 8), 255)),
    ),
    "palette": (".png", palette_image(), PALETTE),
    "palette of 2 bits": (".png", palette_image(bits=2), PALETTE),
    "palette, an unused colour is transparent": (".png", palette_image(transparency=3), PALETTE),
    "opaque alpha": (".png", encoded(np.dstack([RGB, OPAQUE])), RGB),
    "opaque alpha BMP": (".bmp", encoded(np.dstack([RGB, OPAQUE]), "BMP"), RGB),
    "opaque alpha WebP": (".webp", encoded(np.dstack([RGB, OPAQUE]), "WEBP", lossless=True), RGB),
    "opaque grey alpha": (".png", png(np.dstack([GREY, OPAQUE]), 8, PNG_GREY_ALPHA), as_rgb(GREY)),
    "tRNS of an absent colour": (".png", png(RGB, 8, PNG_RGB, trns=struct.pack(">HHH", 1, 2, 3)), RGB),
    "tRNS of an absent grey of 4 bits, like one of 8": (
        ".png",
        grey([0x1F, 0x01], 4, 4, trns=2),
        as_rgb([[17, 255, 0, 17]]),
    ),
    "tRNS of an absent grey": (
        ".png",
        png(np.full_like(GREY, 7), 8, PNG_GREY, trns=struct.pack(">H", 8)),
        as_rgb(np.full_like(GREY, 7)),
    ),
}
REFUSED: dict[str, tuple[str, bytes, str]] = {
    "one pixel not opaque": (".png", encoded(ALMOST), "transparent"),
    "grey, one pixel not opaque": (".png", png(np.dstack([GREY, ALMOST_OPAQUE]), 8, PNG_GREY_ALPHA), "transparent"),
    "WebP, one pixel not opaque": (".webp", encoded(ALMOST, "WEBP", lossless=True), "transparent"),
    "tRNS of a colour that is there": (
        ".png",
        png(RGB, 8, PNG_RGB, trns=struct.pack(">HHH", *map(int, RGB[3, 4]))),
        "transparent",
    ),
    "tRNS of a grey that is there": (
        ".png",
        png(GREY, 8, PNG_GREY, trns=struct.pack(">H", int(GREY[3, 4]))),
        "transparent",
    ),
    "tRNS of a grey of 4 bits that is there": (".png", grey([0x1F, 0x80], 4, 4, trns=8), "transparent"),
    "tRNS of a grey of 2 bits that is there": (".png", grey([0b00011011], 2, 4, trns=3), "transparent"),
    "palette, a used colour is transparent": (".png", palette_image(transparency=2), "transparent"),
    "grey 16 bit PNG": (".png", png(SIXTEEN, 16, PNG_GREY), "16 bits"),
    "grey alpha 16 bit PNG": (".png", png(np.dstack([SIXTEEN, SIXTEEN]), 16, PNG_GREY_ALPHA), "16 bits"),
    "RGB 16 bit PNG": (".png", png(SIXTEEN_RGB, 16, PNG_RGB), "16 bits"),
    "grey 16 bit TIFF": (".tif", tiff(GREY.astype("u2")), "16 bits"),
    "RGB 16 bit TIFF": (".tif", tiff(RGB.astype("u2"), photometric="rgb"), "16 bits"),
    "grey float TIFF": (".tiff", tiff(GREY.astype("f4")), "16 bits"),
    "CMYK JPEG": (".jpg", encoded(Image.fromarray(RGB).convert("CMYK"), "JPEG"), "colour mode CMYK"),
    "CMYK TIFF": (".tif", encoded(Image.fromarray(RGB).convert("CMYK"), "TIFF"), "colour mode CMYK"),
    "Lab TIFF": (".tif", encoded(Image.fromarray(RGB).convert("LAB"), "TIFF"), "colour mode LAB"),
    "animated PNG": (".png", encoded(RGB, **SECOND), "holds 2 frames"),
    "animated WebP": (".webp", encoded(RGB, "WEBP", **SECOND), "holds 2 frames"),
    "TIFF of two pages": (".tif", tiff(np.stack([RGB, RGB]), photometric="rgb"), "holds 2 frames"),
    "JPEG of two pictures": (".jpg", encoded(RGB, "MPO", **SECOND), "holds 2 frames"),
}
FLAT_JPEG = encoded(np.random.default_rng(1).integers(0, 256, (24, 40, 3), dtype=np.uint8), "JPEG")
RGB_PNG = encoded(RGB)
IDAT = RGB_PNG.index(b"IDAT")
PNG_HEADER = png_header(WIDTH, HEIGHT, 8, PNG_RGB)
DEFLATED = zlib.compress(png_rows(RGB))
DAMAGED: dict[str, tuple[str, bytes]] = {
    "PNG whose first byte is wrong": (".png", b"\x88" + RGB_PNG[1:]),
    "a bit of a PNG's width": (".png", flipped(RGB_PNG, 19)),
    "a bit of a PNG's pixels": (".png", flipped(RGB_PNG, IDAT + 40, 4)),
    "text named JPEG": (".jpeg", b"not a picture"),
    "JPEG cut in its header": (".jpg", FLAT_JPEG[:20]),
    "JPEG cut in its pixels": (".jpg", FLAT_JPEG[: len(FLAT_JPEG) * 2 // 3]),
    "JPEG without its last byte": (".jpg", FLAT_JPEG[:-1]),
    "JPEG whose first byte is wrong": (".jpg", b"\xfe" + FLAT_JPEG[1:]),
    "BMP cut": (".bmp", encoded(RGB, "BMP")[:-2]),
    "PNG without IDAT": (".png", by_hand()),
    "PNG with an empty IDAT": (".png", by_hand(b"")),
    "PNG whose pixels end early, checksums right": (".png", by_hand(DEFLATED[:60])),
    "PNG whose pixels have another sum, checksums right": (".png", by_hand(DEFLATED[:-4] + b"\0\0\0\0")),
    "PNG of one sample too few, checksums right": (".png", by_hand(zlib.compress(png_rows(RGB)[:-1]))),
    "PNG of no columns": (".png", by_hand(DEFLATED, header=png_header(0, HEIGHT, 8, PNG_RGB))),
    "PNG of two rows too few, checksums right": (".png", by_hand(zlib.compress(png_rows(RGB[:-2])))),
    "PNG with a palette's colours and none": (
        ".png",
        by_hand(zlib.compress(png_rows(GREY)), header=png_header(WIDTH, HEIGHT, 8, PNG_PALETTE)),
    ),
    "PNG without its end": (".png", RGB_PNG[:-12]),
    "a bit of a PNG's length of a chunk": (".png", flipped(RGB_PNG, IDAT - 1, 2)),
    "a bit of a PNG's checksum": (".png", flipped(RGB_PNG, len(RGB_PNG) - 14)),
    "WebP cut": (".webp", encoded(RGB, "WEBP", lossless=True)[:-2]),
    "TIFF cut": (".tif", encoded(RGB, "TIFF")[:-1]),
}


@pytest.fixture
def file(tmp_path: Path) -> Callable[[str, bytes], Path]:
    def make(suffix: str, content: bytes) -> Path:
        path = tmp_path / f"photo{suffix}"
        path.write_bytes(content)
        return path

    return make


@pytest.mark.parametrize(("suffix", "content", "expected"), CONVERTED.values(), ids=CONVERTED)
def test_lossless_kinds_are_converted(file, suffix: str, content: bytes, expected: np.ndarray):
    path = file(suffix, content)
    image = read_image(path)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, expected)
    assert read_size(path) == ImageSize(*expected.shape[:2])


@pytest.mark.parametrize(("suffix", "content", "reason"), REFUSED.values(), ids=REFUSED)
def test_lossy_kinds_are_refused_by_name(file, suffix: str, content: bytes, reason: str):
    path = file(suffix, content)
    with pytest.raises(ImageError) as caught:
        read_image(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert reason in str(caught.value)


@pytest.mark.parametrize("name", [name for name in REFUSED if "16 bit" in name])
def test_16_bits_are_refused_by_the_head_alone(file, name: str):
    suffix, content, reason = REFUSED[name]
    with pytest.raises(ImageError, match=reason):
        read_size(file(suffix, content))


@pytest.mark.parametrize("suffix", [*sorted(REFUSED_SUFFIXES), ".GIF", ".Tga"])
def test_other_suffixes_are_refused_whatever_they_hold(file, suffix: str):
    path = file(suffix, RGB_PNG)
    assert said(ImageError, read_image, path) == f"{path}: {suffix} files are not read; convert it to PNG first"


@pytest.mark.parametrize("kind", ["TGA", "PPM", "ICO", "PCX", "SGI", "DDS", "EPS"])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_other_formats_are_refused_under_any_name(file, kind: str, suffix: str):
    path = file(suffix, encoded(RGB, kind))
    assert said(ImageError, read_image, path) == (
        f"{path}: not a readable image (cannot identify image file {str(path)!r}); it may be truncated or damaged"
    )


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (
            encoded(RGB, "GIF"),
            "an image of a format that is not read (GIF, HEIC, AVIF, JPEG 2000, PSD); convert it to PNG",
        ),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer, not the file itself; run git lfs pull"),
        (b"<html><title>Sign in</title></html>", 'an HTML page ("Sign in"); download it again'),
        (b"", "an empty file; copy or download it again"),
        (b"\x1f\x8b" + bytes(99), "a compressed file; unpack it first"),
    ],
)
def test_what_is_no_image_is_named(file, content: bytes, told: str):
    path = file(".png", content)
    assert said(ImageError, read_image, path).startswith(f"{path}: {told}")


@pytest.mark.parametrize(
    ("suffix", "kind"), [(".jpg", "PNG"), (".png", "BMP"), (".png", "TIFF"), (".tif", "PNG"), (".bmp", "PNG")]
)
def test_a_format_that_is_read_may_have_the_suffix_of_another(file, suffix: str, kind: str):
    path = file(suffix, encoded(RGB, kind))
    np.testing.assert_array_equal(read_image(path), RGB)


SIZED = [(".png", "PNG"), (".bmp", "BMP"), (".tif", "TIFF"), (".jpg", "JPEG"), (".webp", "WEBP")]


@pytest.mark.parametrize(("suffix", "kind"), SIZED)
def test_images_of_too_many_pixels_are_refused(file, monkeypatch, suffix: str, kind: str):
    path = file(suffix, encoded(RGB, kind))
    monkeypatch.setattr(images, "LARGEST_PIXELS", HEIGHT * WIDTH - 1)
    assert said(ImageError, read_image, path) == (
        f"{path}: states a size of 9x6, more than the 53 pixels that are read; "
        "cut it into parts, or make it anew if that is not its size"
    )
    monkeypatch.setattr(images, "LARGEST_PIXELS", HEIGHT * WIDTH)
    read_image(path)


def test_a_size_that_no_image_has_is_refused_by_its_header(file):
    path = file(".png", png_file(png_header(60_000, 60_000, 8, PNG_RGB), png_chunk(b"IDAT", DEFLATED)))
    with pytest.raises(ImageError, match="states a size of 60000x60000, more than the 268,435,456 pixels"):
        read_image(path)


@pytest.mark.filterwarnings("error")
def test_pillows_own_limit_does_not_stand_in_the_way(file, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1)
    for suffix, kind in ((".png", "PNG"), (".bmp", "BMP")):
        np.testing.assert_array_equal(read_image(file(suffix, encoded(RGB, kind))), RGB)
    path = file(".tif", encoded(RGB, "TIFF"))
    with pytest.raises(ImageError, match=r"exceeds limit of 2 pixels.* Save it as PNG, or cut it into parts$"):
        read_image(path)


@cache
def bombs() -> dict[str, bytes]:
    bomb = zlib.compress(bytes(20 * 2**20), 9)
    return {
        "pixels": png_chunk(b"IDAT", bomb),
        "pixels in pieces": b"".join(png_chunk(b"IDAT", bomb[at : at + 999]) for at in range(0, len(bomb), 999)),
        "text": png_chunk(b"zTXt", b"a\0\0" + bomb),
        "international text": png_chunk(b"iTXt", b"a\0\1\0\0\0" + bomb),
        "profile": png_chunk(b"iCCP", b"a\0\0" + bomb),
        "raw profile": png_chunk(b"zTXt", b"Raw profile type exif\0\0" + bomb),
    }


@pytest.mark.parametrize("bomb", ["pixels", "pixels in pieces", "text", "international text", "profile", "raw profile"])
def test_nothing_in_a_png_takes_more_memory_than_its_size_allows(file, bomb: str):
    path = file(".png", png_file(png_header(WIDTH, HEIGHT, 8, PNG_RGB), bombs()[bomb], png_chunk(b"IDAT", DEFLATED)))
    tracemalloc.start()
    try:
        with contextlib.suppress(ImageError):
            read_image(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # The file's bytes twice, a piece of what it inflates to, and Pillow's own limit of a MiB a text.
    assert peak < 4 * 2**20


@pytest.mark.parametrize("cut", [1, 2, 7, 1000, 65_535, 65_536, 65_537])
@pytest.mark.parametrize("level", [0, 9])
def test_pixels_that_are_missing_are_counted_to_the_byte(file, random_image, cut: int, level: int):
    flat = random_image(150, 500) // 32
    rows = png_rows(flat)
    for data, missing in ((rows, 0), (rows[:-cut], cut), (rows + bytes(cut), 0)):
        deflated = zlib.compress(data, level)
        parts = [png_chunk(b"IDAT", deflated[start : start + 8191]) for start in range(0, len(deflated), 8191)]
        path = file(".png", png_file(png_header(500, 150, 8, PNG_RGB), *parts))
        fault = png_fault(path)
        assert fault == (
            f"not a readable image ({missing} bytes of pixels are missing); it may be truncated or damaged"
            if missing
            else None
        )


@pytest.mark.parametrize(("suffix", "content"), DAMAGED.values(), ids=DAMAGED)
def test_damaged_files_are_refused(file, suffix: str, content: bytes):
    path = file(suffix, content)
    message = said(ImageError, read_image, path)
    assert message.startswith(f"{path}: not a readable image (")
    assert message.endswith("; it may be truncated or damaged")


def test_bytes_behind_the_end_of_a_png_do_no_harm(file):
    path = file(".png", RGB_PNG + b"signature of a camera")
    np.testing.assert_array_equal(read_image(path), RGB)


def test_missing_files_and_broken_links_say_so(tmp_path: Path):
    link = tmp_path / "link.png"
    link.symlink_to(tmp_path / "nowhere.png")
    for path in (tmp_path / "absent.png", link):
        assert said(ImageError, read_image, path) == f"{path}: no such file"


def test_a_folder_named_like_an_image_is_refused(tmp_path: Path):
    folder = tmp_path / "folder.png"
    folder.mkdir()
    with pytest.raises(ImageError, match="not a readable image"):
        read_image(folder)


def test_every_truncation_of_a_png_is_refused(file):
    for length in range(len(RGB_PNG) - 12):
        text = said(ImageError, read_image, file(".png", RGB_PNG[:length]))
        # What is shorter than a PNG's signature is not known to be one.
        assert length < 8 or text.endswith("; it may be truncated or damaged"), length


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (encoded(np.random.default_rng(2).integers(0, 256, (40, 30, 3), dtype=np.uint8)), None),
        (palette_image(), PALETTE),
        (encoded(np.dstack([RGB, OPAQUE])), RGB),
    ],
    ids=["RGB", "palette", "alpha"],
)
def test_flipped_bytes_never_change_an_image_in_silence(file, content: bytes, expected: np.ndarray | None):
    chance = random.Random(7)
    whole = read_image(file(".png", content)) if expected is None else expected
    refused = 0
    for _ in range(200):
        position = chance.randrange(8, len(content))
        path = file(".png", flipped(content, position, chance.randrange(1, 256)))
        try:
            image = read_image(path)
        except ImageError:
            refused += 1
        else:
            np.testing.assert_array_equal(image, whole, err_msg=f"byte {position}")
    assert refused >= 150


def test_flipped_pixels_of_a_jpeg_are_read_in_its_size_or_refused(file):
    start = FLAT_JPEG.index(b"\xff\xda")
    chance, read = random.Random(8), 0
    for _ in range(100):
        position = chance.randrange(start + 14, len(FLAT_JPEG) - 2)
        path = file(".jpg", flipped(FLAT_JPEG, position, chance.randrange(1, 256)))
        with contextlib.suppress(ImageError):
            assert read_image(path).shape == (24, 40, 3), position
            read += 1
    assert read >= 30


UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda image: image,
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.swapaxes(0, 1),
    6: lambda image: np.rot90(image, -1),
    7: lambda image: np.rot90(image, 2).swapaxes(0, 1),
    8: lambda image: np.rot90(image),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize(
    ("suffix", "kind", "options"),
    [(".png", "PNG", {}), (".jpg", "JPEG", {}), (".webp", "WEBP", {"lossless": True}), (".tif", "TIFF", {})],
    ids=["PNG", "JPEG", "WebP", "TIFF"],
)
def test_exif_orientation_is_applied(file, suffix, kind, options, orientation: int):
    stored = read_image(file(suffix, encoded(RGB, kind, **options)))
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    path = file(suffix, encoded(RGB, kind, exif=exif, **options))
    expected = UPRIGHT[orientation](stored)
    np.testing.assert_array_equal(read_image(path), expected)
    assert read_size(path) == ImageSize(*expected.shape[:2])


def orientation_chunk(carrier: str, orientation: int) -> bytes:
    """Write an orientation as one of the chunks that a PNG may carry it in."""
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    content = exif.tobytes()
    digits = content.hex()
    lines = [digits[start : start + 72] for start in range(0, len(digits), 72)]
    profile = "\n".join(["", "exif", f"{len(content):8}", *lines, ""]).encode()
    xmp = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" '
        f'tiff:Orientation="{orientation}"/></rdf:RDF></x:xmpmeta>'
    )
    return {
        "eXIf": png_chunk(b"eXIf", content.removeprefix(b"Exif\0\0")),
        "XMP": png_chunk(b"iTXt", b"XML:com.adobe.xmp" + b"\0" * 5 + xmp.encode()),
        "raw profile": png_chunk(b"tEXt", b"Raw profile type exif\0" + profile),
        "deflated raw profile": png_chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(profile)),
    }[carrier]


@pytest.mark.parametrize("carrier", ["eXIf", "XMP", "raw profile", "deflated raw profile"])
@pytest.mark.parametrize("late", [False, True], ids=["before the pixels", "behind the pixels"])
def test_orientation_of_a_png_is_applied_wherever_it_is_told(file, carrier: str, late: bool):
    for orientation, turned in UPRIGHT.items():
        told, pixels = orientation_chunk(carrier, orientation), png_chunk(b"IDAT", DEFLATED)
        path = file(".png", png_file(PNG_HEADER, *((pixels, told) if late else (told, pixels))))
        np.testing.assert_array_equal(read_image(path), turned(RGB), err_msg=str(orientation))
        if carrier == "eXIf":
            # The size is that of the head alone.
            assert read_size(path) == ImageSize(*(RGB if late else turned(RGB)).shape[:2])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_flipped_bits_of_a_tiffs_tags_are_read_in_the_stated_size_or_refused(file, compression: str | None):
    content = encoded(RGB, "TIFF", compression=compression)
    tags, refused = struct.unpack("<I", content[4:8])[0], 0
    count = struct.unpack("<H", content[tags : tags + 2])[0]
    for position in range(tags, tags + 2 + 12 * count):
        path = file(".tif", flipped(content, position, 1 << position % 8))
        try:
            shape = read_image(path).shape
        except ImageError:
            refused += 1
        else:
            size = read_size(path)
            assert shape == (size.height, size.width, 3), position
    assert refused >= 30


def test_images_are_known_by_their_names(tmp_path: Path):
    for suffix in IMAGE_SUFFIXES | REFUSED_SUFFIXES:
        (tmp_path / f"a{suffix}").touch()
        (tmp_path / f"b{suffix.upper()}").touch()
    for name in ("notes.txt", "Thumbs.db", "png", ".hidden.png", "._resource.png", "a.png.part", "weights.pth"):
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "broken.png").symlink_to("nowhere")
    (tmp_path / "linked.png").symlink_to("a.png")
    expected = {f"a{suffix}" for suffix in IMAGE_SUFFIXES | REFUSED_SUFFIXES}
    expected |= {f"b{suffix.upper()}" for suffix in IMAGE_SUFFIXES | REFUSED_SUFFIXES}
    expected |= {"broken.png", "linked.png"}
    assert {path.name for path in tmp_path.iterdir() if is_image_file(path)} == expected


@pytest.mark.parametrize(
    "name", ["plain.png", "two words.png", "-dash.png", "日本 ü.png", "[a]{b}.png", "new\nline.png"]
)
def test_png_round_trip_makes_folders(tmp_path: Path, random_image, name: str):
    image = random_image(13, 21)
    path = tmp_path / "model" / "set" / name
    write_png(path, image)
    np.testing.assert_array_equal(read_image(path), image)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert [child.name for child in path.parent.iterdir()] == [name]


def test_png_is_written_of_views_too(tmp_path: Path, random_image):
    image = random_image(8, 10)[::-1, ::2]
    write_png(tmp_path / "view.png", image)
    np.testing.assert_array_equal(read_image(tmp_path / "view.png"), image)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, random_image, monkeypatch):
    path = tmp_path / "image.png"
    write_png(path, random_image(8, 8))
    before = path.read_bytes()

    def fill_the_disk(self: Path, _content: bytes) -> None:
        with self.open("wb") as file:
            file.write(before[:20])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fill_the_disk)
    for target in (path, tmp_path / "new.png"):
        with pytest.raises(OSError, match="No space left") as caught:
            write_png(target, random_image(8, 8, seed=1))
        assert str(caught.value) == f"[Errno 28] No space left on device: '{target}'"
    assert path.read_bytes() == before
    assert [child.name for child in tmp_path.iterdir()] == ["image.png"]


def test_an_array_that_is_no_image_leaves_nothing(tmp_path: Path):
    with pytest.raises(TypeError):
        write_png(tmp_path / "image.png", np.zeros((4, 4, 3)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, ValueError])
def test_an_interrupted_block_leaves_the_old_file(tmp_path: Path, interruption: type[BaseException]):
    path = tmp_path / "record.json"
    path.write_text("old")

    def write_half() -> None:
        with atomic_path(path) as partial:
            partial.write_text("ne")
            raise interruption

    with pytest.raises(interruption):
        write_half()
    assert path.read_text() == "old"
    assert [child.name for child in tmp_path.iterdir()] == ["record.json"]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError(28, "No space left on device"), OSError),
        (OSError(28, "No space left on device", "elsewhere"), OSError),
        (PermissionError(13, "Permission denied"), PermissionError),
    ],
)
def test_an_error_with_a_number_gets_the_path(tmp_path: Path, error: OSError, kind: type[OSError]):
    path = tmp_path / "record.json"
    with pytest.raises(OSError, match=re.escape(error.strerror)) as caught, atomic_path(path):
        raise error
    assert type(caught.value) is kind
    assert str(caught.value) == f"[Errno {error.errno}] {error.strerror}: '{path}'"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [OSError("encoder error -2 when writing image file"), OSError()])
def test_an_error_without_a_number_is_kept(tmp_path: Path, error: OSError):
    with pytest.raises(OSError) as caught, atomic_path(tmp_path / "image.png"):  # noqa: PT011
        raise error
    assert caught.value is error
    assert list(tmp_path.iterdir()) == []


def test_the_old_file_stands_until_the_block_ends(tmp_path: Path):
    path = tmp_path / "image.png"
    path.write_text("old")
    with atomic_path(path) as partial:
        partial.write_text("new")
        assert path.read_text() == "old"
        assert partial.parent == tmp_path
        assert not is_image_file(partial)
    assert path.read_text() == "new"


def test_text_is_written_as_utf_8_with_its_line_ends_into_a_folder_that_is_made(tmp_path: Path):
    write_whole(path := tmp_path / "new" / "text.txt", "µ\r\n\n")
    assert path.read_bytes() == b"\xc2\xb5\r\n\n"


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600), (0o002, 0o664)])
def test_permissions_follow_the_umask(tmp_path: Path, random_image, umask: int, mode: int):
    previous = os.umask(umask)
    try:
        write_png(tmp_path / "image.png", random_image(4, 4))
    finally:
        left = os.umask(previous)
    assert stat.S_IMODE((tmp_path / "image.png").stat().st_mode) == mode
    assert left == umask


def test_the_umask_is_never_touched_as_threads_share_it(tmp_path: Path, random_image, monkeypatch):
    def refused(_mask: int) -> int:
        raise AssertionError("a process-wide setting")

    monkeypatch.setattr(os, "umask", refused)
    write_png(tmp_path / "image.png", random_image(4, 4))
    assert [path.name for path in tmp_path.iterdir()] == ["image.png"]


@pytest.mark.parametrize("bits", [1, 2, 8, 24])
def test_bytes_of_pixels_by_the_specifications_picture(bits: int):
    # PNG specification, 8.2: in which pass each pixel of an 8x8 square is stored.
    order = "16462646 77777777 56565656 77777777 36463646 77777777 56565656 77777777".split()
    for height, width in product((1, 2, 4, 5, 8, 13), (1, 3, 4, 5, 8, 9, 17)):
        interlaced = 0
        for number in "1234567":
            rows = [sum(order[y % 8][x % 8] == number for x in range(width)) for y in range(height)]
            interlaced += sum(1 + -(-columns * bits // 8) for columns in rows if columns)
        assert _pixel_bytes(width, height, bits, True) == interlaced, (height, width)
        assert _pixel_bytes(width, height, bits, False) == height * (1 + -(-width * bits // 8)), (height, width)


def test_all_bytes_of_a_flat_image_are_counted():
    # A thousandth of its bytes: the last ones come when all of them have been taken in.
    rows = bytes(1_000_003)
    content = png_file(png_header(1, 1, 8, PNG_RGB), png_chunk(b"IDAT", zlib.compress(rows, 9)))
    assert _inflated(content, 2_000_000) == 1_000_003
    assert _inflated(content, 1_000_000) == 1_000_000


def test_pixel_data_is_fed_in_pieces(tmp_path: Path, random_image, monkeypatch):
    write_png(tmp_path / "noise.png", random_image(400, 400))
    fed = []

    class Noted:
        def __init__(self) -> None:
            self.stream = isal_zlib.decompressobj()

        def decompress(self, data: bytes, most: int) -> bytes:
            fed.append(len(data))
            return self.stream.decompress(data, most)

        @property
        def unconsumed_tail(self) -> bytes:
            return self.stream.unconsumed_tail

    monkeypatch.setattr(png_module, "isal_zlib", SimpleNamespace(decompressobj=Noted, crc32=isal_zlib.crc32))
    assert png_fault(tmp_path / "noise.png") is None
    assert max(fed) <= 2**16 < 400 * 400 * 3
