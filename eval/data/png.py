"""PNG: writing it fast, and what its own headers say where the decoder looks away."""

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from isal import isal_zlib

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_EIGHT_BITS, _RGB, _UP = 8, 2, 2
_DEFLATE_LEVEL = 1
_PIECE_BYTES = 2**16
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


def png_fault(path: Path) -> str | None:
    """Return what a PNG lacks for the protocol, or None. Its chunks have been verified before.

    Pillow halves the depth of 16-bit colour, and fills rows that are missing with black, both without a word.
    """
    content = path.read_bytes()
    chunks = {kind: data for kind, data in _chunks(content) if kind in (b"IHDR", b"PLTE")}
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    if depth == 16:
        return "has 16 bits a sample; the protocol is defined on 8-bit RGB, so convert it first"
    if colour == 3 and not chunks.get(b"PLTE"):
        return "not a readable image (its palette is missing); it may be truncated or damaged"
    expected = _pixel_bytes(width, height, depth * _SAMPLES[colour], bool(interlaced))
    if missing := expected - _inflated(content, expected):
        return f"not a readable image ({missing} bytes of pixels are missing); it may be truncated or damaged"
    return None


def _inflated(content: bytes, most: int) -> int:
    """Return how many bytes of pixels there are, counted as far as ``most``; only a piece of them is in memory."""
    stream, total = isal_zlib.decompressobj(), 0
    pixels = (data for kind, data in _chunks(content) if kind == b"IDAT")
    # Fed in pieces as well: what waits is copied with every call.
    pieces = (data[start : start + _PIECE_BYTES] for data in pixels for start in range(0, len(data), _PIECE_BYTES))
    for waiting in pieces:
        while total < most:
            piece = stream.decompress(waiting, _PIECE_BYTES)
            total += len(piece)
            waiting = stream.unconsumed_tail
            if not waiting and len(piece) < _PIECE_BYTES:
                break
    return min(total, most)


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = len(_SIGNATURE)
    while position + 8 <= len(content):
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
