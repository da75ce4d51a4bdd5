"""What a file holds, told by its bytes and never by its name: for weights, images and JSON alike."""

import codecs
import io
import re
import zipfile
from enum import StrEnum

from eval.words import printable

# Where the words are that tell text and safetensors.
_HEAD_BYTES = 4096
_MOST_TITLE = 60


class Kind(StrEnum):
    """A kind of file, as messages name it."""

    EMPTY = "an empty file"
    LFS_POINTER = "a Git LFS pointer, not the file itself"
    WEB_PAGE = "an HTML page"
    COMPRESSED = "a compressed file"
    CUT_ZIP = "a zip archive that is cut off or damaged"
    TORCH = "a zip archive of PyTorch"
    TORCHSCRIPT = "a TorchScript archive: code and weights together"
    EXPORTED = "an exported program of PyTorch: code and weights together"
    NPZ = "an archive of NumPy arrays (npz)"
    ZIP = "a zip archive of other files"
    PICKLE = "a pickle"
    SAFETENSORS = "safetensors"
    CUT_SAFETENSORS = "a safetensors file that is cut off"
    NPY = "a NumPy array (npy)"
    HDF5 = "an HDF5 file, as Keras writes them"
    IMAGE = "an image"
    OTHER_IMAGE = "an image of a format that is not read (GIF, HEIC, AVIF, JPEG 2000, PSD)"
    TEXT = "a text"
    UNKNOWN = "unknown bytes"


# What to do about files that are not what they are called.
_ADVICE = {
    **dict.fromkeys((Kind.EMPTY, Kind.CUT_ZIP, Kind.CUT_SAFETENSORS), "copy or download it again"),
    Kind.LFS_POINTER: "run git lfs pull in its repository",
    Kind.WEB_PAGE: "download it again, in a browser where a login, a quota or a warning stands in the way",
    Kind.COMPRESSED: "unpack it first (gunzip, unxz, tar)",
}
_BEGINNINGS = {
    Kind.LFS_POINTER: (b"version https://git-lfs.github.com",),
    Kind.COMPRESSED: (b"\x1f\x8b", b"\xfd7zXZ\0", b"BZh", b"\x28\xb5\x2f\xfd", b"7z\xbc\xaf\x27\x1c", b"Rar!"),
    Kind.NPY: (b"\x93NUMPY",),
    Kind.HDF5: (b"\x89HDF\r\n",),
    Kind.IMAGE: (b"\x89PNG\r\n", b"\xff\xd8\xff", b"BM", b"II*\0", b"MM\0*"),
    Kind.OTHER_IMAGE: (b"GIF8", b"8BPS", b"\0\0\0\x0cjP  "),
}
_WEB_PAGE = re.compile(rb"\s*(?:<!--.*?-->\s*)?<(?:!doctype html|html|head|body|\?xml|error)\b", re.I | re.S)
_TITLE = re.compile(rb"<title[^>]*>\s*(.*?)\s*</title>", re.I | re.S)


def kind_of(data: bytes) -> Kind:
    """Tell what a file holds from all of its bytes."""
    if not data:
        return Kind.EMPTY
    for kind, beginnings in _BEGINNINGS.items():
        if data.startswith(beginnings):
            return kind
    if _WEB_PAGE.match(data.removeprefix(b"\xef\xbb\xbf")):
        return Kind.WEB_PAGE
    if data.startswith(b"PK\3\4"):
        return _kind_of_archive(data)
    if data[4:8] == b"ftyp":
        return Kind.OTHER_IMAGE
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return Kind.IMAGE
    if data[257:262] == b"ustar":
        return Kind.COMPRESSED
    if data[8:9] == b"{" and (b'"dtype"' in data[:_HEAD_BYTES] or data[9:23] == b'"__metadata__"'):
        return _kind_of_safetensors(data)
    if re.match(rb"\x80[\x02-\x05]", data):
        return Kind.PICKLE
    return Kind.TEXT if data[:_HEAD_BYTES].isascii() and data[:_HEAD_BYTES].decode().isprintable() else Kind.UNKNOWN


def _kind_of_archive(data: bytes) -> Kind:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
    # A damaged one can make the reader raise anything.
    except Exception:
        return Kind.CUT_ZIP
    inner = {name.partition("/")[2] for name in names}
    if "constants.pkl" in inner or any(name.startswith("code/") for name in inner):
        return Kind.TORCHSCRIPT
    if any("exported_program" in name or name.endswith("archive_format") for name in names):
        return Kind.EXPORTED
    if "data.pkl" in inner:
        return Kind.TORCH
    return Kind.NPZ if names and all(name.endswith(".npy") for name in names) else Kind.ZIP


def _kind_of_safetensors(data: bytes) -> Kind:
    header = int.from_bytes(data[:8], "little")
    ends = [int(end) for end in re.findall(rb'"data_offsets"\s*:\s*\[\s*\d+\s*,\s*(\d{1,15})', data[8 : 8 + header])]
    return Kind.SAFETENSORS if 8 + header + max(ends, default=0) <= len(data) else Kind.CUT_SAFETENSORS


def not_itself(data: bytes) -> str | None:
    """Return what a file is instead of what its name says, and what to do; None if its kind does not tell."""
    kind = kind_of(data)
    if kind not in _ADVICE:
        return None
    title = _TITLE.search(data[: 16 * _HEAD_BYTES]) if kind is Kind.WEB_PAGE else None
    words = " ".join(title.group(1).decode(errors="replace").split())[:_MOST_TITLE] if title else ""
    named = f' ("{printable(words)}")' if words else ""
    return f"{kind.value}{named}; {_ADVICE[kind]}"


def text_of(data: bytes) -> str:
    """Return a file's text: UTF-8, or what its byte order mark says (UTF-16, UTF-32).

    Raises:
        UnicodeDecodeError: it is no text of that encoding.
    """
    # A mark of UTF-32 begins with one of UTF-16.
    if data.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return data.decode("utf-32")
    is_utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return data.decode("utf-16" if is_utf16 else "utf-8-sig")
