"""A results zip is scored as the server does it; every slip of public reports has a name and a fix."""

import errno
import io
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image, UnidentifiedImageError

from eval.data.images import ImageError, read_image, write_png
from eval.errors import RunError, UsageError
from eval.metrics import psnr_ssim
from eval.metrics.luma import psnr_y
from eval.submission import scoring_program
from eval.submission.archive import archive_faults, score_archive, smallest, write_archive
from eval.submission.scoring_program import read_readme

NAMES = ("0901.png", "0902.png", "0903.png")
GOOD = """runtime per image [s] : 10.43
CPU[1] / GPU[0] : 1
Extra Data [1] / No Extra Data [0] : 0
Other description : x
"""


@pytest.fixture
def hr(tmp_path: Path, random_image) -> Path:
    """Three HR images, of which one is no multiple of 4."""
    for seed, (name, size) in enumerate(zip(NAMES, ((32, 40), (35, 42), (48, 32)), strict=True)):
        write_png(tmp_path / "hr" / name, random_image(*size, seed))
    return tmp_path / "hr"


@pytest.fixture
def upload(tmp_path: Path, hr: Path) -> Path:
    """A right upload, as a folder: the HR images, each with an error of its own."""
    for step, name in enumerate(NAMES, 1):
        image = read_image(hr / name)
        height, width = (side // 4 * 4 for side in image.shape[:2])
        noise = np.random.default_rng(step).integers(-step, step + 1, (height, width, 3))
        write_png(tmp_path / "upload" / name, np.clip(image[:height, :width] + noise, 0, 255).astype(np.uint8))
    (tmp_path / "upload" / "readme.txt").write_text(GOOD)
    return tmp_path / "upload"


def zipped(folder: Path) -> Path:
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            info = zipfile.ZipInfo.from_file(file, file.relative_to(folder))
            if file.is_symlink():
                # As zip -y does it.
                info.external_attr = file.lstat().st_mode << 16
                archive.writestr(info, os.readlink(file))
            else:
                archive.write(file, file.relative_to(folder))
    return path


def codes_of(scored) -> set[str]:
    return {fault.code for fault in scored.faults}


def test_scores_are_those_of_the_metrics_that_the_project_measures_with(upload: Path, hr: Path):
    scored = score_archive(zipped(upload), hr, False, 500)
    assert codes_of(scored) == set()
    for name, psnr_db, ssim in scored.images:
        sr, reference = read_image(upload / name), read_image(hr / name)
        cut = reference[: sr.shape[0], : sr.shape[1]]
        assert psnr_db == pytest.approx(psnr_ssim.psnr(sr, cut), abs=1e-9)
        assert ssim == pytest.approx(psnr_ssim.ssim(sr, cut), abs=1e-9)
    assert scored.scores["PSNR"] == pytest.approx(np.mean([image[1] for image in scored.images]))
    extra = [scored.scores[key] for key in ("ExtraRuntime", "ExtraPlatform", "ExtraData")]
    assert extra == [10.43, 1, 0]


def test_luma_is_matlabs(upload: Path, hr: Path):
    scored = score_archive(zipped(upload), hr, True, 500)
    name, psnr_db, _ = scored.images[0]
    assert psnr_db == pytest.approx(psnr_y(read_image(upload / name), read_image(hr / name)), abs=1e-9)


def _move_into_a_folder(upload: Path, _hr: Path) -> None:
    (upload / "results").mkdir()
    for file in [*upload.glob("*.png"), upload / "readme.txt"]:
        file.rename(upload / "results" / file.name)


def _save_as(upload: Path, mode: str) -> None:
    Image.open(upload / NAMES[1]).convert(mode).save(upload / NAMES[1])


def _save_16_bits(upload: Path, _hr: Path) -> None:
    import cv2

    cv2.imwrite(str(upload / NAMES[1]), read_image(upload / NAMES[1]).astype(np.uint16) * 257)


def _cut(upload: Path, _hr: Path) -> None:
    write_png(upload / NAMES[0], read_image(upload / NAMES[0])[:-4])


def _pad_names(upload: Path, _hr: Path) -> None:
    for name in NAMES:
        (upload / name).rename(upload / name.replace(".png", "x4.png"))


def _truncate(upload: Path, _hr: Path) -> None:
    data = (upload / NAMES[0]).read_bytes()
    (upload / NAMES[0]).write_bytes(data[: len(data) // 2])


def _make_a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def _link(upload: Path, hr: Path) -> None:
    (upload / NAMES[0]).unlink()
    (upload / NAMES[0]).symlink_to(hr / NAMES[0])


def _empty(_upload: Path, hr: Path) -> None:
    for file in hr.iterdir():
        file.unlink()


CASES: dict[str, tuple[Callable[[Path, Path], object], set[str]]] = {
    "a folder zipped instead of its content": (_move_into_a_folder, {"folder", "count", "readme-missing"}),
    "a hidden double of macOS": (lambda up, _: shutil.copy(up / NAMES[0], up / f"._{NAMES[0]}"), {"litter", "count"}),
    "a list of thumbnails": (lambda up, _: (up / "Thumbs.db").write_text("x"), {"litter"}),
    "macOS's folder": (lambda up, _: (up / "__MACOSX").mkdir(), {"litter"}),
    "one image missing": (lambda up, _: (up / NAMES[2]).unlink(), {"missing", "count"}),
    "one image twice": (lambda up, _: shutil.copy(up / NAMES[2], up / "0903x4.png"), {"double", "count"}),
    "one image too many": (lambda up, _: shutil.copy(up / NAMES[2], up / "0999.png"), {"unknown", "count"}),
    "16 bits": (_save_16_bits, {"16-bit"}),
    "RGBA": (lambda up, _: _save_as(up, "RGBA"), {"mode"}),
    "grey": (lambda up, _: _save_as(up, "L"), {"mode"}),
    "a JPEG called PNG": (lambda up, _: Image.open(up / NAMES[0]).save(up / NAMES[0], "JPEG"), {"format"}),
    "another size": (_cut, {"size"}),
    "half a file": (_truncate, {"unreadable"}),
    "images of another kind": (
        lambda up, _: [(up / name).rename(up / f"{name[:4]}.jpg") for name in NAMES],
        {"unused", "count"},
    ),
    "a folder beside the images": (
        lambda up, _: write_png(up / "more" / "1.png", read_image(up / NAMES[0])),
        {"unused"},
    ),
    "a zip in the zip": (lambda up, _: (up / "inner.zip").write_bytes(b"PK"), {"unused"}),
    "names with x4": (_pad_names, {"names"}),
    "an empty reference": (_empty, {"empty-reference"}),
    "no readme": (lambda up, _: (up / "readme.txt").unlink(), {"readme-missing"}),
    "a folder called readme": (lambda up, _: _make_a_folder(up / "readme.txt"), {"readme-missing"}),
    "a link to the reference": (_link, {"link"}),
    "another name of the readme": (lambda up, _: (up / "readme.txt").rename(up / "README.TXT"), {"readme-name"}),
}


def _jpegs_in_a_folder(upload: Path, _hr: Path) -> None:
    (upload / "jpegs").mkdir()
    for name in NAMES:
        (upload / name).rename(upload / "jpegs" / f"{name[:4]}.jpg")


CASES["a folder without a PNG"] = (_jpegs_in_a_folder, {"unused", "count"})
KEEPS_SCORES = {"unused", "litter", "names", "readme-missing", "readme-name"}


@pytest.mark.parametrize("case", CASES)
def test_a_slip_has_a_name_and_a_fix(case: str, upload: Path, hr: Path):
    spoil, expected = CASES[case]
    spoil(upload, hr)
    scored = score_archive(zipped(upload), hr, False, 500)
    assert {code for code in codes_of(scored) if code != "unknown" or code in expected} >= expected, scored.faults
    assert bool(scored.scores) == (expected <= KEEPS_SCORES), scored.faults
    assert all(fault.fix and fault.text for fault in scored.faults)
    # As a server finds them that keeps links.
    assert codes_of(scoring_program.score(upload, hr)) == codes_of(scored)


def test_a_picture_for_which_pillow_starts_a_program_is_not_opened(upload: Path, hr: Path, monkeypatch):
    started = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *given: started.append(given))
    Image.new("RGB", (40, 32)).save(upload / NAMES[0], "EPS")
    scored = scoring_program.score(upload, hr)
    told = [(fault.code, fault.text) for fault in scored.faults]
    assert told == [("format", "0901.png: its name says PNG, its content does not")]
    shutil.copy(upload / NAMES[0], hr / NAMES[0])
    assert codes_of(scoring_program.score(upload, hr)) == {"reference"}
    with pytest.raises(UnidentifiedImageError):
        smallest((upload / NAMES[0]).read_bytes())
    assert started == []


@pytest.mark.parametrize(
    ("hr_names", "sr_names", "told"),
    [
        # The script sorts 10 before 8.
        (("08", "09", "10"), ("8", "9", "10"), "by sorted order 10.png is compared with 08.png"),
        (("0008", "0009", "0010"), ("sr8", "sr9", "sr10"), "by sorted order sr10.png is compared with 0008.png"),
        # Other numbers than the reference's: they are meant in the order in which they count.
        (("0901", "0902", "0903"), ("9", "10", "11"), "by sorted order 10.png is compared with 0901.png"),
    ],
)
def test_names_without_zeros_in_front_are_refused(upload: Path, hr: Path, hr_names, sr_names, told: str):
    for old, of_hr, of_sr in zip(NAMES, hr_names, sr_names, strict=True):
        (hr / old).rename(hr / f"{of_hr}.png")
        (upload / old).rename(upload / f"{of_sr}.png")
    scored = score_archive(zipped(upload), hr, False, 500)
    assert [(fault.code, fault.text) for fault in scored.faults] == [("order", f"{told}: a low PSNR in silence")]
    assert scored.refused


def _names_found(tmp_path: Path, random_image, hr_names, sr_names) -> list[str]:
    for folder, names in (("hr", hr_names), ("sr", sr_names)):
        for name in names:
            write_png(tmp_path / folder / f"{name}.png", random_image(24, 24))
    faults = scoring_program.check_files(tmp_path / "sr", tmp_path / "hr")
    return [fault.code for fault in faults]


@pytest.mark.parametrize(
    ("hr_names", "sr_names", "codes"),
    [
        (("box1", "box2", "tex1", "tex2"), ("box1", "box2", "tex1", "tex2"), []),
        (("1", "1_sr", "2", "2_sr"), ("1", "1_sr", "2", "2_sr"), []),
        (("A", "a", "b"), ("A", "a", "b"), []),
        (("tex1", "tex2"), ("tex1x4", "tex2x4"), ["names"]),
        (("tex1", "tex2"), ("tex1", "tex2x4"), ["names"]),
        (("0901x4", "0902x4"), ("0901", "0902_SR"), ["names"]),
        (("box1", "box2", "tex1", "tex2"), ("box1", "box2", "tex1"), ["missing", "count"]),
        # Numbers that begin at 0 are in order, though 0001 is another image's name.
        (("0001", "0002", "0003"), ("000", "001", "002"), ["names"]),
        (("1", "2", "10"), ("A", "B", "C"), ["names"]),
        (("3", "10"), ("03", "10"), ["order"]),
        (("caf\u00e9", "dog"), ("cafe\u0301", "dog"), ["names"]),
        (("caf\u00e9", "cafz"), ("cafe\u0301", "cafz"), ["order"]),
    ],
)
def test_images_are_known_by_their_whole_names_first(tmp_path: Path, random_image, hr_names, sr_names, codes):
    assert _names_found(tmp_path, random_image, hr_names, sr_names) == codes


def test_a_giant_image_in_a_small_file_is_not_decoded(upload: Path, hr: Path, monkeypatch, recwarn):
    """Nor does Pillow warn of it, or refuse it in words of its own."""
    loaded = []
    load = Image.Image.load
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda image: (loaded.append(image.size), load(image)))
    for side in (10_000, 20_000):
        head = struct.pack(">4sIIBBBBB", b"IHDR", side, side, 8, 2, 0, 0, 0)
        content = (upload / NAMES[0]).read_bytes()
        (upload / NAMES[0]).write_bytes(content[:12] + head + struct.pack(">I", zlib.crc32(head)) + content[33:])
        (fault,) = scoring_program.check_image(upload / NAMES[0], hr / NAMES[0])
        assert (fault.code, fault.text) == (
            "size",
            f"0901.png: is {side}x{side}, expected 40x32; the script ends with -1",
        )
    assert set(loaded) == {(40, 32)}
    assert not recwarn


def test_names_of_one_form_that_sort_apart_are_an_order_fault(tmp_path: Path, random_image):
    for folder, names in (("hr", ("a_1.png", "a.png")), ("sr", ("ax4.png", "a_1x4.png"))):
        for name in names:
            write_png(tmp_path / folder / name, random_image(24, 24))
    scored = scoring_program.score(tmp_path / "sr", tmp_path / "hr")
    (fault,) = [its for its in scored.faults if its.code == "order"]
    assert fault.text == "by sorted order a_1x4.png is compared with a.png: a low PSNR in silence"


@pytest.mark.parametrize(
    ("text", "values", "code"),
    [
        (GOOD, [10.43, 1, 0], None),
        (GOOD.replace(" : ", ":").replace("10.43", "0.342"), [0.342, 1, 0], "readme-form"),
        ("Readme of team 9:\n" + GOOD, [-1, -1, -1], "readme-value"),
        (GOOD.replace("10.43", "10.43 s"), [-1, -1, -1], "readme-value"),
        (GOOD.replace("GPU[0] : 1", "GPU[0] : GPU"), [10.43, -1, -1], "readme-value"),
        (GOOD.replace("GPU[0] : 1", "GPU[0] : 1.0"), [10.43, -1, -1], "readme-value"),
        (GOOD.replace("10.43", "nan"), [-1, -1, -1], "readme-value"),
        (GOOD.replace("GPU[0] : 1", "GPU[0] : 1" + "0" * 400), [10.43, -1, -1], "readme-value"),
        ("\n".join(GOOD.splitlines()[:2]), [10.43, 1, -1], "readme-value"),
        (GOOD.replace("\n", "\r\n"), [10.43, 1, 0], None),
        (GOOD + "Authors : A\n", [10.43, 1, 0], "readme-form"),
        (GOOD.replace("10.43", "-3"), [-3, 1, 0], "readme-range"),
        (GOOD.replace("10.43", "0"), [0, 1, 0], "readme-range"),
        (GOOD.replace("GPU[0] : 1", "GPU[0] : 7"), [10.43, 7, 0], "readme-range"),
        (GOOD.replace("Data [0] : 0", "Data [0] : 9"), [10.43, 1, 9], "readme-range"),
    ],
)
def test_the_readme_is_read_by_position(tmp_path: Path, text: str, values: list[float], code: str | None):
    (tmp_path / "readme.txt").write_bytes(text.encode())
    found, faults = read_readme(tmp_path)
    assert (found, [fault.code for fault in faults]) == (values, [code] if code else [])


def test_a_zip_of_the_project_is_flat_and_the_same_every_time(upload: Path, tmp_path: Path):
    files = {path.name: path for path in upload.iterdir()}
    for name in ("one.zip", "two.zip"):
        write_archive(tmp_path / name, files)
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.zip") as archive:
        assert archive.namelist() == sorted(files)
    assert archive_faults(tmp_path / "one.zip", 500) == []


def _patched(path: Path, member: int, offsets: tuple[int, int], value: int) -> None:
    """Write a 16-bit field into the local and the central header of a zip's first member."""
    data = bytearray(path.read_bytes())
    for signature, offset in zip((b"PK\x03\x04", b"PK\x01\x02"), offsets, strict=True):
        struct.pack_into("<H", data, data.index(signature) + offset, value)
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    ("code", "offsets", "value", "words"),
    [("compression", (8, 10), 9, "deflate64"), ("encrypted", (6, 8), 1, "password")],
)
def test_what_python_cannot_unpack_is_told(upload: Path, hr: Path, code, offsets, value, words):
    path = zipped(upload)
    _patched(path, 0, offsets, value)
    scored = score_archive(path, hr, False, 500)
    assert code in codes_of(scored)
    assert words in next(fault.text for fault in scored.faults if fault.code == code)
    assert scored.refused


@pytest.mark.parametrize(("kind", "name"), [(zipfile.ZIP_BZIP2, "bzip2"), (zipfile.ZIP_LZMA, "LZMA")])
def test_rare_compression_is_told_and_scored(upload: Path, hr: Path, kind: int, name: str):
    path = upload.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", kind) as archive:
        for file in sorted(upload.iterdir()):
            archive.write(file, file.name)
    scored = score_archive(path, hr, False, 500)
    told = [(fault.code, fault.text, fault.refuses) for fault in scored.faults]
    assert told == [("compression", f"is compressed by {name}: some servers cannot read it", False)]
    assert scored.scores
    data = bytearray(path.read_bytes())
    data[100:140] = bytes(40)
    path.write_bytes(bytes(data))
    assert codes_of(score_archive(path, hr, False, 500)) == {"compression", "damaged"}


def test_a_zip_that_was_cut_off_is_damaged(upload: Path, hr: Path):
    path = zipped(upload)
    path.write_bytes(path.read_bytes()[:-200])
    (fault,) = score_archive(path, hr, False, 500).faults
    assert (fault.code, fault.fix.startswith("upload it whole")) == ("damaged", True)
    assert fault.text == "is a zip whose end is missing, as of an upload or a copy that was cut off"


def _spoil_a_stream(path: Path) -> None:
    """Make the first block of the compressed readme one of a kind that deflate does not have."""
    with zipfile.ZipFile(path) as archive:
        at = archive.getinfo("readme.txt").header_offset
    data = bytearray(path.read_bytes())
    data[at + 30 + len("readme.txt")] |= 0b110
    path.write_bytes(bytes(data))


def _spoil_the_list(path: Path) -> None:
    """Take the mark off the last entry of the list of members, which stands at the end of a zip."""
    data = bytearray(path.read_bytes())
    at = data.rindex(b"PK\x01\x02")
    data[at : at + 2] = b"XX"
    path.write_bytes(bytes(data))


def _spoil_a_name(path: Path) -> None:
    """Let the first member's name be UTF-8, so its flag says, and begin with a byte that no UTF-8 begins with."""
    _patched(path, 0, (6, 8), 0x800)
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 46] = 0xFF
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("spoil", [_spoil_a_stream, _spoil_the_list, _spoil_a_name])
def test_a_damaged_zip_is_told(upload: Path, hr: Path, spoil: Callable[[Path], None]):
    path = upload.with_suffix(".zip")
    write_archive(path, {file.name: file for file in upload.iterdir()})
    assert codes_of(score_archive(path, hr, False, 500)) == set()
    spoil(path)
    scored = score_archive(path, hr, False, 500)
    assert codes_of(scored) == {"damaged"}
    assert scored.refused
    assert scored.faults[0].text.startswith("cannot be unpacked: ")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EACCES])
def test_a_full_disk_is_no_fault_of_the_zip(upload: Path, hr: Path, monkeypatch: pytest.MonkeyPatch, number: int):
    def failing(*_arguments):
        raise OSError(number, os.strerror(number))

    path = zipped(upload)
    monkeypatch.setattr(zipfile.ZipFile, "extractall", failing)
    with pytest.raises(RunError) as caught:
        score_archive(path, hr, False, 500)
    told, place = f"[Errno {number}] {os.strerror(number)}", tempfile.gettempdir()
    assert str(caught.value) == (
        f"nothing is said of the zip: {told}; it is read, and unpacked to {place}: give that more space, or name "
        "another folder by TMPDIR"
    )
    monkeypatch.setattr(Path, "open", failing)
    with pytest.raises(OSError, match=re.escape(told)):
        archive_faults(path, 500)


def test_a_zip_that_unpacks_to_too_much_is_not_unpacked(upload: Path, hr: Path, monkeypatch: pytest.MonkeyPatch):
    path = zipped(upload)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("0904.png", bytes(11 * 2**20))
        unpacked = sum(member.file_size for member in archive.infolist())
    monkeypatch.setattr(zipfile.ZipFile, "extractall", None)
    scored = score_archive(path, hr, False, 1)
    assert [(fault.code, fault.text) for fault in scored.faults] == [
        ("unpacked", f"unpacks to {unpacked:,} bytes, over 10 times the server's limit of 1,048,576 bytes (1 MiB)")
    ]
    assert scored.refused


def test_a_zip_of_too_many_files_is_not_unpacked(upload: Path, hr: Path, monkeypatch: pytest.MonkeyPatch):
    path = zipped(upload)
    with zipfile.ZipFile(path, "a") as archive:
        for number in range(10_001 - len(archive.namelist())):
            archive.writestr(f"x{number}", b"")
    monkeypatch.setattr(zipfile.ZipFile, "extractall", None)
    scored = score_archive(path, hr, False, 500)
    assert [(its.code, its.text) for its in scored.faults] == [("unpacked", "holds 10,001 files, over 10,000")]
    assert scored.refused


def test_no_name_of_an_upload_reaches_a_terminal_as_it_is(tmp_path: Path, upload: Path, hr: Path):
    with zipfile.ZipFile(tmp_path / "odd.zip", "w") as archive:
        archive.writestr("._\x1b]0;owned\x07.png", b"x")
    (fault,) = archive_faults(tmp_path / "odd.zip", 500)
    assert fault.text == "1 file of an operating system (first: ._?]0;owned?.png)"
    for name in NAMES:
        # The last one is no UTF-8, as an old zip unpacks it.
        (upload / name).rename(upload / os.fsdecode(name.replace("09", "x\x1b\u202e").encode() + b"\xff.png"))
    scored = scoring_program.score(upload, hr)
    assert [name for name, _, _ in scored.images] == ["x??01.png?.png", "x??02.png?.png", "x??03.png?.png"]
    assert scoring_program.page_of(scored).encode()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda path: Image.new("RGBA", (40, 32)).save(path), "0901.png: has transparent pixels"),
        (lambda path: Image.new("I;16", (40, 32)).save(path), "0901.png: has 16 bits"),
        (lambda path: path.write_bytes(path.read_bytes()[:60]), "0901.png: not a readable image"),
    ],
)
def test_references_that_would_be_converted_in_silence_are_refused(upload: Path, hr: Path, spoil, words: str):
    spoil(hr / NAMES[0])
    with pytest.raises(ImageError, match=re.escape(words)):
        score_archive(zipped(upload), hr, False, 500)


def test_a_reference_too_small_for_ssim_has_no_scores(upload: Path, hr: Path):
    for folder in (hr, upload):
        write_png(folder / NAMES[0], read_image(folder / NAMES[0])[:19])
    scored = score_archive(zipped(upload), hr, False, 500)
    assert [(fault.code, fault.text) for fault in scored.faults] == [
        ("reference", "0901.png, of the reference: is 40x19, expected at least 20 a side for SSIM")
    ]
    assert scored.scores == {}
    for folder, height in ((hr, 23), (upload, 20)):
        write_png(folder / NAMES[0], np.resize(read_image(folder / NAMES[1]), (height, 40, 3)))
    assert np.isfinite(score_archive(zipped(upload), hr, False, 500).scores["SSIM"])


def test_zip64_names_beyond_ascii_doubles_and_ways_out_are_told(tmp_path: Path):
    path = tmp_path / "odd.zip"
    with zipfile.ZipFile(path, "w") as archive:
        with archive.open("0901.png", "w", force_zip64=True) as member:
            member.write(b"x")
        archive.writestr("é.png", b"x")
        archive.writestr("__MACOSX/._0901.png", b"x")
        archive.writestr("../outside.png", b"x")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("é.png", b"y")
    found = {fault.code: fault for fault in archive_faults(path, 500)}
    assert found.keys() == {"zip64", "non-ascii", "litter", "outside", "twice"}
    assert found["outside"].refuses
    assert "\\xe9.png" in found["non-ascii"].text


def test_an_upload_over_the_limit_has_no_scores_beside_its_refusal(command, upload: Path, hr: Path):
    """Its other slips are told; figures that round to the limit are not called over it."""
    (upload / "readme.txt").unlink()
    (upload / "zeros.bin").write_bytes(bytes(2**20))
    path = zipped(upload)
    done = command("-m", "eval", "score-zip", path, "--hr", hr, "--limit_mib", "1", "--json", "found.json", code=1)
    assert "PSNR: -1, SSIM: -1: refused" in done.stdout
    assert "ExtraRuntime" not in done.stdout
    found = json.loads((upload.parent / "found.json").read_text())
    assert found["scores"] == {}
    told = {fault["code"]: fault["text"] for fault in found["findings"]}
    assert told.keys() >= {"too-large", "readme-missing"}
    size = f"{path.stat().st_size:,}"
    assert told["too-large"] == f"its {size} bytes are over the server's limit of 1,048,576 bytes (1 MiB)"


def test_an_upload_over_the_limit_says_what_can_be_saved(tmp_path: Path):
    picture = np.zeros((256, 256, 3), np.uint8)
    picture[:, :, 0] = np.arange(256)
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG", compress_level=0)
    write_archive(tmp_path / "large.zip", {"0901.png": buffer.getvalue()})
    (fault,) = archive_faults(tmp_path / "large.zip", 0.1)
    assert (fault.code, fault.refuses) == ("too-large", True)
    assert "saves about 100%" in fault.fix
    small = smallest(buffer.getvalue())
    assert len(small) < len(buffer.getvalue()) / 10
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(small))), picture)


def test_no_zip_and_no_folder_are_told(tmp_path: Path, upload: Path, hr: Path):
    (tmp_path / "a.zip").write_text("no zip")
    assert codes_of(score_archive(tmp_path / "a.zip", hr, False, 500)) == {"no-zip"}
    with pytest.raises(UsageError, match="no such file"):
        score_archive(tmp_path / "absent.zip", hr, False, 500)
    with pytest.raises(UsageError, match="--hr"):
        score_archive(zipped(upload), tmp_path / "absent", False, 500)
    with pytest.raises(UsageError, match="upload: a folder, no file; expected a zip"):
        score_archive(upload, hr, False, 500)
    with pytest.raises(UsageError, match=r"--hr .*a\.zip: a file, no folder; expected the folder of HR images"):
        score_archive(zipped(upload), tmp_path / "a.zip", False, 500)


def test_the_command(command, upload: Path, hr: Path):
    done = command("-m", "eval", "score-zip", zipped(upload), "--hr", hr, "--json", "found.json")
    assert "ExtraRuntime: 10.4300" in done.stdout
    (upload / NAMES[0]).unlink()
    done = command("-m", "eval", "score-zip", zipped(upload), "--hr", hr, code=1)
    assert "expected 3 .png images, got 2" in done.stdout


def test_the_scorer_needs_nothing_of_the_project(upload: Path, hr: Path, tmp_path: Path):
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('torch', 'cv2', 'eval', 'pandas', 'scipy')))\n"
        "import runpy; runpy.run_path(sys.argv[1], run_name='scorer')"
    )
    subprocess.run([sys.executable, "-I", "-c", code, scoring_program.__file__], check=True, cwd=tmp_path)
