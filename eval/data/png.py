"""PNG: writing and inflating it fast, and what its own headers say where the decoder looks away."""

import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from isal import isal_zlib

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_EIGHT_BITS, _RGB, _UP = 8, 2, 2
_DEFLATE_LEVEL = 1
_PIECE_BYTES = 2**16
# As many bytes of pixels, an image of 11 megapixels, are held beside the image itself.
_MOST_STORED_BYTES = 2**25
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# First column and row, and the steps, of the seven passes of an interlaced image (PNG specification, 8.2).
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def encode_png(image: np.ndarray) -> bytes:
    """Return ``(h, w, 3)`` uint8 RGB as a PNG file's bytes (PNG specification, 5 and 9).

    Each row is stored as its difference to the row above. Deflating is nearly all of the work, so ISA-L does it.
    """
    height, width, _ = image.shape
    rows = image.reshape(height, 3 * width)
    filtered = np.empty((height, 1 + 3 * width), np.uint8)
    filtered[:, 0] = _UP
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    header = struct.pack(">IIBBBBB", width, height, _EIGHT_BITS, _RGB, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", isal_zlib.compress(filtered, _DEFLATE_LEVEL)), (b"IEND", b""))
    return _SIGNATURE + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    checksum = isal_zlib.crc32(data, isal_zlib.crc32(kind))
    return b"".join((struct.pack(">I", len(data)), kind, data, struct.pack(">I", checksum)))


class PngError(ValueError):
    """A PNG lacks something for the protocol; the message says what."""


def stored_png(content: bytes) -> bytes:
    """Return a PNG, whose chunks have been verified, as one whose pixels are stored instead of deflated.

    To inflate is most of a reader's work, and ISA-L does it in half the time that Pillow takes. An image of many pixels
    is checked in the same way, and comes back as it is.

    Raises:
        PngError: it has 16 bits a sample, no palette, or too few pixels; Pillow halves the depth of 16-bit colour, and
            fills rows that are missing with black, both without a word.
    """
    chunks = list(_chunks(content))
    headers = {kind: data for kind, data in chunks if kind in (b"IHDR", b"PLTE")}
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", headers[b"IHDR"])
    if depth == 16:
        raise PngError("has 16 bits a sample; the protocol is defined on 8-bit RGB, so convert it first")
    if colour == 3 and not headers.get(b"PLTE"):
        raise PngError("not a readable image (its palette is missing); it may be truncated or damaged")
    expected = _pixel_bytes(width, height, depth * _SAMPLES[colour], bool(interlaced))
    keeping, present, stored = expected <= _MOST_STORED_BYTES, 0, []
    stream = zlib.compressobj(0)
    for piece in _inflated((data for kind, data in chunks if kind == b"IDAT"), expected):
        present += len(piece)
        stored.append(stream.compress(piece) if keeping else b"")
    if present < expected:
        missing = expected - present
        raise PngError(f"not a readable image ({missing} bytes of pixels are missing); it may be truncated or damaged")
    return _with_pixels(chunks, b"".join((*stored, stream.flush()))) if keeping else content


def _with_pixels(chunks: Sequence[tuple[bytes, bytes]], data: bytes) -> bytes:
    """Return a PNG of these chunks, and of one with pixels in the place of those that had them."""
    kinds = [kind for kind, _ in chunks]
    first = kinds.index(b"IDAT")
    kept = [*chunks[:first], (b"IDAT", data), *(its for its in chunks[first:] if its[0] != b"IDAT")]
    return _SIGNATURE + b"".join(_chunk(*its) for its in kept)


def _inflated(parts: Iterable[bytes], most: int) -> Iterator[bytes]:
    """Yield pixels piece by piece, as far as ``most`` bytes."""
    stream, total = isal_zlib.decompressobj(), 0
    # Fed in pieces as well: what waits is copied with every call.
    for waiting in (
        data[start : start + _PIECE_BYTES] for data in parts for start in range(0, len(data), _PIECE_BYTES)
    ):
        while total < most:
            piece = stream.decompress(waiting, _PIECE_BYTES)[: most - total]
            total += len(piece)
            yield piece
            waiting = stream.unconsumed_tail
            if not waiting and len(piece) < _PIECE_BYTES:
                break


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    position, kind = len(_SIGNATURE), b""
    while kind != b"IEND" and position + 8 <= len(content):
        length, kind = struct.unpack(">I4s", content[position : position + 8])
        yield kind, content[position + 8 : position + 8 + length]
        position += length + 12


def _pixel_bytes(width: int, height: int, bits: int, interlaced: bool) -> int:
    """Return how long the inflated pixel data is: in each row one byte of filter, then whole bytes of pixels."""
    total = 0
    for left, top, across, down in _ADAM7 if interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0 and rows > 0:
            total += rows * (1 + (columns * bits + 7) // 8)
    return total
