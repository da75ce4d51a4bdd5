"""A results zip: written as a server wants it, and looked at before one sees it."""

import errno
import lzma
import stat
import struct
import unicodedata
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from io import BytesIO
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory, gettempdir

from PIL import Image

from eval.data.images import read_image
from eval.errors import RunError, UsageError, one_reason
from eval.files import atomic_path, why_no_file, why_no_folder
from eval.submission.scoring_program import LITTER, Fault, Scored, png_files, score
from eval.words import counted

_EPOCH = (1980, 1, 1, 0, 0, 0)
_PLAIN = {zipfile.ZIP_STORED: "stored", zipfile.ZIP_DEFLATED: "deflated"}
# Python's zipfile reads them as well, other programs may not.
_RARE = (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
_METHODS = {9: "deflate64 (Windows, from 2 GB on)", 12: "bzip2", 14: "LZMA", 93: "Zstandard", 99: "AES"}
_ENCRYPTED = 1
# With it each member of a zip begins; a list of all stands at its end.
_MEMBER = b"PK\x03\x04"
_TRIED = 3
# What reading a damaged zip raises.
_DAMAGED = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error),
    *(OSError, EOFError, UnicodeDecodeError, NotImplementedError),
)
# What the operating system says of offsets and names that a damaged zip asks for; all else is the machine's trouble.
# None is of bzip2, which says so of damaged data.
_ITS_FAULT = (None, errno.EINVAL, errno.ENAMETOOLONG, errno.EEXIST, errno.ENOTDIR, errno.EISDIR)
# PNGs are compressed: what unpacks to more times the limit holds something else.
_MOST_UNPACKED = 10
# No test set has as many images; each file takes room on a disk, were it empty.
_MOST_FILES = 10_000
MIB = 2**20


def write_archive(path: Path, files: Mapping[str, bytes | Path]) -> None:
    """Write files, in the order of their names, as a flat zip: no folders, no times, the same bytes every time.

    PNGs are stored as they are; a second compression of theirs saves nothing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as partial, zipfile.ZipFile(partial, "w") as archive:
        for name, content in sorted(files.items()):
            info = zipfile.ZipInfo(name, _EPOCH)
            info.external_attr = 0o644 << 16
            info.compress_type = zipfile.ZIP_STORED if name.endswith(".png") else zipfile.ZIP_DEFLATED
            archive.writestr(info, content.read_bytes() if isinstance(content, Path) else content)


def archive_faults(path: Path, most_mib: float) -> list[Fault]:
    """Return what keeps a server that takes ``most_mib``, or its script, from reading a zip.

    Raises:
        UsageError: there is no such file, or it is a folder.
        OSError, RunError: it cannot be read on this machine.
    """
    if reason := why_no_file(path):
        raise UsageError(
            f"{path}: {reason}; expected a zip, as of a folder's content: zip -X -r ../results.zip . in it"
        )
    with path.open("rb") as file:
        begins = file.read(len(_MEMBER))
        if not zipfile.is_zipfile(file):
            if begins == _MEMBER:
                text = "is a zip whose end is missing, as of an upload or a copy that was cut off"
                return [Fault("damaged", text, "upload it whole; if the file itself is damaged, make the zip anew")]
            return [Fault("no-zip", f"{path.name}: is no zip", "make a .zip, not .rar, .7z or .tar.gz")]
    try:
        with zipfile.ZipFile(path) as archive:
            return [*_of_members(archive), *_of_size(path, archive, most_mib)]
    except _DAMAGED as error:
        return [_damaged(error)]


def _damaged(error: Exception) -> Fault:
    """Return what is said of a damaged zip; raise where it is this machine that fails, as by a full disk."""
    if isinstance(error, OSError) and error.errno not in _ITS_FAULT:
        advice = f"it is read, and unpacked to {gettempdir()}: give that more space, or name another folder by TMPDIR"
        raise RunError(f"nothing is said of the zip: {error}; {advice}") from error
    return Fault("damaged", f"cannot be unpacked: {one_reason(error)}", "make the zip anew, and upload it whole")


def _of_members(archive: zipfile.ZipFile) -> Iterator[Fault]:
    members = archive.infolist()
    names = [member.filename for member in members]
    if links := [member.filename for member in members if stat.S_ISLNK(member.external_attr >> 16)]:
        yield Fault("link", f"{links[0]} is a link, not a file", "zip the files themselves, without -y")
    others = {member.compress_type for member in members} - _PLAIN.keys()
    if unreadable := others.difference(_RARE):
        text = f"is compressed by {_called(unreadable)}, which Python's zipfile cannot read"
        yield Fault("compression", text, "use deflate")
    elif others:
        text = f"is compressed by {_called(others)}: some servers cannot read it"
        yield Fault("compression", text, "use deflate", False)
    if any(member.flag_bits & _ENCRYPTED for member in members):
        yield Fault("encrypted", "asks for a password", "make it without one")
    # Higher versions are asked for by kinds of compression and encryption, not by size.
    if any(member.extract_version == zipfile.ZIP64_VERSION for member in members):
        text = "is zip64, for files of over 4 GB: some servers cannot read it"
        yield Fault("zip64", text, "zip plain files, not a stream: zip -X, or `pack`", False)
    if odd := [name for name in names if not name.isascii()]:
        shown = unicodedata.normalize("NFC", odd[0]).encode("ascii", "backslashreplace").decode()
        text = f"not ASCII: {counted(len(odd), 'name')} (first: {shown})"
        yield Fault("non-ascii", text, "name files by a-z, 0-9, _", False)
    if outside := [name for name in names if name.startswith(("/", "\\")) or ".." in PurePosixPath(name).parts]:
        yield Fault("outside", f"{outside[0]!r} leads out of the folder", "zip relative paths")
    if twice := sorted(name for name, count in Counter(names).items() if count > 1):
        yield Fault("twice", f"{twice[0]} stands in it twice: the last one counts", "make the zip anew")
    if litter := [name for name in names if any(LITTER.match(part) for part in PurePosixPath(name).parts)]:
        text = f"{counted(len(litter), 'file')} of an operating system (first: {litter[0]})"
        yield Fault("litter", text, "zip -X -r ../results.zip . in the folder, or use `pack`", False)


def _called(kinds: Iterable[int]) -> str:
    return ", ".join(_METHODS.get(kind, f"method {kind}") for kind in sorted(kinds))


def _of_size(path: Path, archive: zipfile.ZipFile, most_mib: float) -> Iterator[Fault]:
    size, most = path.stat().st_size, most_mib * MIB
    if (files := len(archive.infolist())) > _MOST_FILES:
        yield Fault("unpacked", f"holds {files:,} files, over {_MOST_FILES:,}", "zip the PNGs and readme.txt alone")
    unpacked = sum(member.file_size for member in archive.infolist())
    limit = f"the server's limit of {most:,.0f} bytes ({most_mib:g} MiB)"
    # In bytes, for rounded figures may equal the limit.
    if unpacked > _MOST_UNPACKED * most:
        text = f"unpacks to {unpacked:,} bytes, over {_MOST_UNPACKED} times {limit}"
        yield Fault("unpacked", text, "zip the PNGs and readme.txt alone")
    elif size > most:
        text = f"its {size:,} bytes are over {limit}"
        saved = _savings(archive)
        saves = f": saves about {saved:.0%} here" if saved else ""
        yield Fault("too-large", text, f"compress PNGs harder (`pack --small`){saves}")


def _savings(archive: zipfile.ZipFile) -> float | None:
    """Return which share of the first few images' bytes a harder compression saves; None if nothing can be told."""
    members = [its for its in archive.infolist() if its.filename.endswith(".png") and its.compress_type in _PLAIN]
    try:
        contents = [archive.read(member) for member in members[:_TRIED]]
        with warnings.catch_warnings(action="error", category=Image.DecompressionBombWarning):
            # Of giant images, which are not worth being decoded here.
            smaller = sum(len(smallest(content)) for content in contents)
    except Exception:
        return None
    return 1 - smaller / sum(map(len, contents)) if contents else None


def smallest(content: bytes) -> bytes:
    """Return a PNG's pixels in as few bytes as Pillow can; takes seconds for a large image."""
    target = BytesIO()
    with Image.open(BytesIO(content), formats=("PNG",)) as image:
        image.save(target, "PNG", optimize=True)
    return min(content, target.getvalue(), key=len)


def score_archive(path: Path, hr: Path, luma: bool, most_mib: float) -> Scored:
    """Score a zip against a folder of PNGs (of RGB, or ``luma``) as the server's script does; say what it would not.

    Raises:
        UsageError: the zip or the folder does not exist.
        ImageError: an HR image is damaged, or would be converted in silence.
        RunError: the zip cannot be unpacked on this machine.
    """
    if reason := why_no_folder(hr):
        raise UsageError(f"--hr {hr}: {reason}; expected the folder of HR images")
    for reference in png_files(hr):
        read_image(reference)
    faults = archive_faults(path, most_mib)
    if any(fault.refuses and fault.code != "too-large" for fault in faults):
        return Scored(faults=tuple(faults))
    with TemporaryDirectory() as folder:
        try:
            with zipfile.ZipFile(path) as archive:
                archive.extractall(folder)
        except _DAMAGED as error:
            return Scored(faults=(*faults, _damaged(error)))
        scored = score(Path(folder), hr, luma)
    seen = {fault.code for fault in scored.faults if fault.refuses}
    found = (*(fault for fault in faults if fault.code not in seen), *scored.faults)
    # What is too large is looked at for what else is wrong with it, but a server gives it no scores.
    return Scored(faults=found) if any(fault.refuses for fault in faults) else replace(scored, faults=found)
