"""Images in and out: files, and uint8 arrays of shape (h, w, 3) in RGB order.

What a file holds is converted by rule or refused by name:

===========================================  ==============================================
8-bit RGB                                    taken as it is
grey (1, 2, 4 or 8 bits), palette            expanded to RGB, which loses nothing: grey has three equal channels
alpha channel or transparent colour          dropped if every pixel is opaque, else refused
16 bits or float, CMYK, Lab, several frames  refused
GIF, JPEG 2000, AVIF, HEIC, EXR, TGA, PPM    refused
more than 16384x16384 pixels by its headers  refused before pixels are decoded
EXIF orientation                             applied
===========================================  ==============================================
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from eval.contents import Kind, kind_of, not_itself
from eval.data.png import encode_png, png_fault
from eval.errors import RunError
from eval.files import write_whole

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff"})
REFUSED_SUFFIXES = frozenset({".gif", ".jp2", ".avif", ".heic", ".heif", ".exr", ".hdr", ".tga", ".ppm", ".npy"})
# What a file holds, whatever its name says; Pillow would start other programs for some formats.
_FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "TIFF")
_PLAIN_MODES = frozenset({"RGB", "L", "1", "P"})
_ALPHA_MODES = frozenset({"RGBA", "LA", "PA"})
_GREY_MODES = frozenset({"L", "LA", "1"})
_TIFF_BITS_PER_SAMPLE = 258
# 16384x16384, more than any camera's image or usual panorama; three bytes each once decoded.
LARGEST_PIXELS = 2**28
# EXIF orientations that lay an image on its side.
_TURNED = (5, 6, 7, 8)


class ImageError(RunError):
    """A file is no image that the protocol can use; the message names the file and says what to do."""


@dataclass(frozen=True)
class ImageSize:
    """Height and width in pixels, after EXIF orientation, as far as that was read."""

    height: int
    width: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


def is_image_file(path: Path) -> bool:
    """Tell by its name whether a file is meant as an image; broken links are, hidden files are not."""
    known = path.suffix.lower() in IMAGE_SUFFIXES | REFUSED_SUFFIXES
    return known and not path.name.startswith(".") and (os.path.isfile(path) or path.is_symlink())


def read_image(path: Path) -> np.ndarray:
    """Decode a file to ``(h, w, 3)``, uint8, RGB.

    Raises:
        ImageError: the file is missing, truncated, damaged, or of a kind that the table above refuses.
    """
    with _opened(path) as image:
        # Decoding alone stops at the last row, and would not see what is wrong behind it or with a checksum.
        if image.format == "PNG":
            image.verify()
            if fault := png_fault(path):
                raise ImageError(f"{path}: {fault}")
    with _opened(path) as image:
        _refuse_other_kinds(path, image)
        _scale_transparent_grey(image)
        upright = ImageOps.exif_transpose(image) if image.getexif() else image
        if upright.has_transparency_data:
            upright = upright.convert("RGBA")
            if upright.getchannel("A").getextrema() != (255, 255):
                raise ImageError(f"{path}: has transparent pixels; flatten it onto a background first")
        return np.array(upright if upright.mode == "RGB" else upright.convert("RGB"))


def is_grey(path: Path) -> bool:
    """Tell by a file's head whether it holds grey values; errors as of ``read_size``."""
    with _opened(path) as image:
        return image.mode in _GREY_MODES


def read_size(path: Path) -> ImageSize:
    """Return the size that a file's head states, without decoding it.

    What stands behind the head goes unseen: damage, and the EXIF orientation of a PNG that tells it behind the pixels.

    Raises:
        ImageError: the file is missing, no image, or of a kind that the table above refuses.
    """
    with _opened(path) as image:
        _refuse_other_kinds(path, image)
        width, height = image.size
        # The PNG reader's own getexif would decode the image, in search of a chunk behind the pixels.
        # The TIFF reader's size is that of the upright image already.
        turned = image.format != "TIFF" and Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1) in _TURNED
        return ImageSize(width, height) if turned else ImageSize(height, width)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open a file with Pillow, turning whatever goes wrong while it is open into an ``ImageError``."""
    if path.suffix.lower() in REFUSED_SUFFIXES:
        raise ImageError(f"{path}: {path.suffix} files are not read; convert it to PNG first")
    try:
        with path.open("rb") as file, _image_of(file) as image:
            width, height = image.size
            if width * height > LARGEST_PIXELS:
                raise ImageError(
                    f"{path}: states a size of {width}x{height}, more than the {LARGEST_PIXELS:,} pixels that are "
                    "read; cut it into parts, or make it anew if that is not its size"
                )
            yield image
    except ImageError:
        raise
    except FileNotFoundError as error:
        raise ImageError(f"{path}: no such file") from error
    except PermissionError as error:
        raise ImageError(f"{path}: this user may not read it") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"{path}: {error} Save it as PNG, or cut it into parts") from error
    # Pillow's readers meet damage with whatever exception their code runs into.
    except Exception as error:
        reason = str(error) or type(error).__name__
        if "MAX_TEXT_CHUNK" in reason or "MAX_TEXT_MEMORY" in reason:
            raise ImageError(f"{path}: holds text or a colour profile of over 1 MB; save it without these") from error
        raise ImageError(
            f"{path}: {_instead(path) or f'not a readable image ({reason}); it may be truncated or damaged'}"
        ) from error


def _instead(path: Path) -> str | None:
    """Return what a file is that no reader knows as an image, and what to do; None if its bytes do not tell."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    if kind_of(data) is Kind.OTHER_IMAGE:
        return f"{Kind.OTHER_IMAGE.value}; convert it to PNG first"
    return not_itself(data)


def _image_of(file: BinaryIO) -> Image.Image:
    """Read an image's headers as ``Image.open`` does; its own limit of pixels is one for the whole process."""
    Image.init()
    start = file.read(16)
    for name in _FORMATS:
        factory, accepts = Image.OPEN[name]
        if accepts and accepts(start) is True:
            file.seek(0)
            return factory(file, "")
    raise UnidentifiedImageError(f"cannot identify image file {str(file.name)!r}")


def _scale_transparent_grey(image: Any) -> None:
    """Bring a PNG's transparent grey to 8 bits, as its samples are: Pillow leaves it at 2 or 4."""
    grey = image.info.get("transparency")
    if image.format == "PNG" and image.mode == "L" and isinstance(grey, int):
        # What Pillow decodes from: "L;4" for samples of 4 bits.
        bits = int(str(image.tile[0].args).partition(";")[2] or 8)
        image.info["transparency"] = (grey % 2**bits) * 255 // (2**bits - 1)


def _refuse_other_kinds(path: Path, image: Any) -> None:
    """Raise for a mode or depth that would have to be converted with loss."""
    if (frames := getattr(image, "n_frames", 1)) > 1:
        raise ImageError(f"{path}: holds {frames} frames; give one image a file")
    if image.mode not in _PLAIN_MODES | _ALPHA_MODES:
        kind = "16 bits or more" if image.mode.startswith(("I", "F")) else f"the colour mode {image.mode}"
        raise ImageError(f"{path}: has {kind}; the protocol is defined on 8-bit RGB, so convert it first")
    if image.format == "TIFF" and max(getattr(image, "tag_v2", {}).get(_TIFF_BITS_PER_SAMPLE, (8,))) > 8:
        raise ImageError(f"{path}: has 16 bits or more; the protocol is defined on 8-bit RGB, so convert it first")
    # Pillow's mode for 16-bit colour is RGB or RGBA; what it decodes from, "RGB;16B", tells the depth.
    if image.format == "PNG" and any("16" in str(tile.args) for tile in image.tile):
        raise ImageError(f"{path}: has 16 bits a sample; the protocol is defined on 8-bit RGB, so convert it first")


def write_png(path: Path, image: np.ndarray) -> None:
    """Write ``(h, w, 3)`` uint8 RGB as PNG; the file appears whole or not at all."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise TypeError(f"{path}: expected uint8 (h, w, 3), got {image.dtype} {image.shape}")
    encoded = encode_png(image)
    write_whole(path, encoded)
