"""The scorer of a challenge's server: a folder of SR images and a readme.txt against a folder of HR images.

It needs numpy and Pillow alone and is run as it stands: ``python scoring_program.py INPUT OUTPUT`` reads ``INPUT/ref``
and ``INPUT/res`` and writes ``scores.json``, ``scores.txt`` and ``detailed_results.html`` to ``OUTPUT``. It scores as
the script that such servers widely use: images are paired by their sorted order, lines of the readme are read by
position, a border of 4 pixels is left out, and the mean is over images. Unlike it, it says why an upload is refused.
"""

import json
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image

SCALE = 4
PEAK = 255.0
WINDOW = 11
# Of an HR image: what is left of it, without a border of SCALE on each side, holds SSIM's window.
LEAST_SIDE = (2 * SCALE + WINDOW + SCALE - 1) // SCALE * SCALE
README = "readme.txt"
README_KEYS = ("runtime per image [s]", "CPU[1] / GPU[0]", "Extra Data [1] / No Extra Data [0]", "Other description")
UNKNOWN = -1
# What stands for an infinite PSNR, which JSON does not have.
IDENTICAL_DB = 100.0
LITTER = re.compile(r"^(\._.*|\.DS_Store|Thumbs\.db|desktop\.ini|__MACOSX)$", re.I)
# All that is opened: Pillow goes by content, whatever the name, and starts other programs for some formats.
_FORMATS = ("PNG",)
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# So many bytes of a PNG are its signature and its first chunk, which tells size and form.
_HEAD = 33
_READABLE = {float: "a number", int: "a whole number"}


@dataclass(frozen=True)
class Fault:
    """Something that is wrong with an upload: what was expected and came, what to do, and whether it is refused."""

    code: str
    text: str
    fix: str
    refuses: bool = True

    def __post_init__(self) -> None:
        """Keep names of an upload from steering the terminal, the log or the page that shows them."""
        object.__setattr__(self, "text", _printable(self.text))


@dataclass(frozen=True)
class Scored:
    """What an upload gets; ``scores`` is empty if it is refused, ``images`` has each one's name, PSNR and SSIM."""

    scores: dict[str, float] = field(default_factory=dict)
    images: tuple[tuple[str, float, float], ...] = ()
    faults: tuple[Fault, ...] = ()

    @property
    def refused(self) -> bool:
        """Tell whether a fault keeps it from being scored."""
        return any(fault.refuses for fault in self.faults)


def score(upload: Path, reference: Path, luma: bool = False) -> Scored:
    """Score a folder of SR images with its readme against one of HR images, PNG.

    ``luma`` compares the Y channel, as the tracks of fidelity do, instead of RGB.
    """
    if links := sorted(path.name for path in upload.glob("*") if path.is_symlink()):
        # A server may unpack them as links, which lead to its own files: an HR image would be its own SR image.
        text = f"{', '.join(links[:3])}: a link, not a file"
        return Scored(faults=(Fault("link", text, "zip the files themselves, without -y"),))
    values, faults = read_readme(upload)
    faults += check_files(upload, reference)
    sr_files, hr_files = (png_files(folder) for folder in (upload, reference))
    if not any(fault.refuses for fault in faults):
        for sr, hr in zip(sr_files, hr_files, strict=True):
            faults += check_image(sr, hr)
    if any(fault.refuses for fault in faults):
        return Scored(faults=tuple(faults))
    images = tuple(_figures(sr, hr, luma) for sr, hr in zip(sr_files, hr_files, strict=True))
    if any(psnr_db == IDENTICAL_DB for _, psnr_db, _ in images):
        faults.append(Fault("identical", "some images equal the reference exactly", "are these SR images?", False))
    psnr_db, similarity = (sum(figures) / len(images) for figures in list(zip(*images, strict=True))[1:])
    runtime_s, platform, extra = values
    scores = {"PSNR": psnr_db, "SSIM": similarity, "ExtraRuntime": runtime_s}
    scores |= {"ExtraPlatform": platform, "ExtraData": extra}
    return Scored(scores, images, tuple(faults))


def png_files(folder: Path) -> list[Path]:
    """Return what the script takes for images, in its order: all names that end in png, hidden ones too."""
    return sorted(path for path in folder.iterdir() if path.name.lower().endswith("png")) if folder.is_dir() else []


def read_readme(folder: Path) -> tuple[list[float], list[Fault]]:
    """Return runtime, platform and extra data, and what is wrong; -1 each where it cannot be read.

    The script takes the lines that hold a colon, by position. One wrong line makes all later ones -1, without a word.
    """
    fix = "four lines: " + " / ".join(f"'{key} : …'" for key in README_KEYS)
    found = _readmes(folder)
    unknown = [float(UNKNOWN)] * 3
    if not found:
        text = "there is no readme.txt: runtime, platform and extra data become -1 in silence"
        return unknown, [Fault("readme-missing", text, fix, False)]
    faults = []
    if len(found) > 1 or found[0].name != README:
        text = f"expected one file readme.txt, got {', '.join(sorted(path.name for path in found))}"
        faults.append(Fault("readme-name", text, "keep one of that name", False))
    text = found[0].read_bytes().decode("utf-8", errors="replace").removeprefix("\ufeff")
    lines = [line.strip() for line in text.splitlines() if ":" in line]
    values, slip = _values(lines)
    if slip:
        faults.append(Fault("readme-value", f"{slip}: this line and those behind it become -1 in silence", fix, False))
    elif not _in_form(lines):
        faults.append(Fault("readme-form", "its lines are read here, but not in the announced form", fix, False))
    faults += [Fault("readme-range", f"{odd}: it is taken as it stands", fix, False) for odd in _odd(values)]
    return values + unknown[len(values) :], faults


def _readmes(folder: Path) -> list[Path]:
    return [path for path in folder.glob("*") if path.name.lower().startswith("readme") and path.is_file()]


def _odd(values: Sequence[float]) -> Iterator[str]:
    """Yield what is a number, but none that its line can have."""
    for place, (key, value) in enumerate(zip(README_KEYS, values, strict=False), 1):
        if place == 1 and value <= 0:
            yield f"line 1: expected a time of more than 0 s behind '{key} :', got {value:g}"
        if place > 1 and value not in (0, 1):
            yield f"line {place}: expected 0 or 1 behind '{key} :', got {value:g}"


def _values(lines: Sequence[str]) -> tuple[list[float], str]:
    """Return the numbers of the first three lines as far as they can be read, and the first slip."""
    values: list[float] = []
    for place, (key, kind) in enumerate(zip(README_KEYS, (float, int, int, None), strict=True)):
        if place >= len(lines):
            return values, f"line {place + 1}, '{key}', is missing"
        if kind is None:
            break
        said = lines[place].partition(":")[2].strip()
        try:
            values.append(float(kind(said)))
        except (ValueError, OverflowError):
            return values, f"line {place + 1}: expected {_READABLE[kind]} behind '{key} :', got {said!r}"
        if not np.isfinite(values[-1]):
            return values[:-1], f"line {place + 1}: expected a finite number, got {said!r}"
    return values, ""


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text)


def _in_form(lines: Sequence[str]) -> bool:
    keys = all(line.startswith(f"{key} : ") for line, key in zip(lines, README_KEYS, strict=False))
    return keys and len(lines) == len(README_KEYS)


def check_files(upload: Path, reference: Path) -> list[Fault]:
    """Return what is wrong with the names and the number of files."""
    hr, sr = png_files(reference), png_files(upload)
    if not hr:
        return [Fault("empty-reference", f"{reference}: holds no .png image", "give the folder of HR images")]
    faults = list(_layout_faults(upload))
    partners = _partners([path for path in sr if not LITTER.match(path.name)], hr)
    # Where no name at all is known, names say nothing of what is missing.
    if any(partners.values()):
        faults += _partner_faults(partners, hr)
    if len(sr) != len(hr):
        text = f"expected {len(hr)} .png images, got {len(sr)}; the script ends with no other reason"
        faults.append(Fault("count", text, "one PNG for each image of the test set, beside readme.txt"))
    elif not any(fault.refuses for fault in faults):
        faults += _pairing_faults(partners, sr, hr)
    return faults


def _partners(sr: Sequence[Path], hr: Sequence[Path]) -> dict[Path, Path | None]:
    """Return which HR image each SR image is of, by their names; None where no name tells it.

    The whole name goes first, for ``tex1`` and ``tex2`` may be names of HR images, though x1 is also an end of LR
    names. Numbers alone (10 for 0010) count only if they pair all images: those of the upload may begin at another one.
    """
    tables = [(_uniques(hr, of_hr), of_sr) for of_hr, of_sr in _FORMS]
    partners = {
        path: next((table[key] for table, of_sr in tables if (key := of_sr(path)) in table), None) for path in sr
    }
    numbers = _uniques(hr, _numbers)
    by_number = {path: numbers.get(_numbers(path)) for path in sr}
    return by_number if not _is_one_to_one(partners, hr) and _is_one_to_one(by_number, hr) else partners


def _uniques(files: Sequence[Path], key: Callable[[Path], str]) -> dict[str, Path]:
    counts = Counter(map(key, files))
    return {key(path): path for path in files if counts[key(path)] == 1}


def _is_one_to_one(partners: Mapping[Path, Path | None], hr: Sequence[Path]) -> bool:
    return len(partners) == len(hr) and set(partners.values()) == set(hr)


def _partner_faults(partners: Mapping[Path, Path | None], hr: Sequence[Path]) -> Iterator[Fault]:
    found = Counter(partners.values())
    wrong = {
        ("missing", "has no SR image"): [path for path in hr if not found[path]],
        ("double", "is there more than once"): [path for path in hr if found[path] > 1],
        ("unknown", "is no image of the reference"): [path for path, partner in partners.items() if partner is None],
    }
    for (code, words), files in wrong.items():
        if files:
            text = f"{len(files)} image(s): {', '.join(path.name for path in files[:5])} {words}"
            yield Fault(code, text, "one PNG for each image")


def _layout_faults(upload: Path) -> Iterator[Fault]:
    names = sorted(path.name for path in upload.iterdir()) if upload.is_dir() else []
    if litter := [name for name in names if LITTER.match(name)]:
        refuses = any(name.lower().endswith("png") for name in litter)
        text = f"{', '.join(litter[:3])}: files of an operating system" + ", counted as images" * refuses
        yield Fault("litter", text, "zip -X -r ../results.zip . in the folder, or use `pack`", refuses)
    below = sorted(
        path.relative_to(upload).parent for path in upload.glob("*/**/*") if path.name.lower().endswith("png")
    )
    folders = [path for path in below if not any(map(LITTER.match, path.parts))]
    if folders and not png_files(upload):
        text = f"the images lie in the folder {folders[0].as_posix()}/, where the script does not look"
        yield Fault("folder", text, "zip the folder's content, not the folder")
        return
    used = {path.name for path in [*png_files(upload), *_readmes(upload)]}
    if unused := [name for name in names if name not in used and not LITTER.match(name)]:
        text = f"{len(unused)} file(s) or folder(s) that the script does not read (first: {', '.join(unused[:3])})"
        yield Fault("unused", text, "zip the PNGs and readme.txt alone; images must be .png, beside it", False)


def _pairing_faults(partners: Mapping[Path, Path | None], sr: Sequence[Path], hr: Sequence[Path]) -> Iterator[Fault]:
    """Yield what is wrong with the sorted order, by which the script pairs, and with names that it pairs rightly."""
    known = any(partners.values())
    if not known:
        counted = sorted(sr, key=_counted)
        # 1, 2, 10 are meant to follow each other, but sort as 1, 10, 2; if the reference's do so too, nobody can tell.
        meant = counted if sorted(hr, key=_counted) == list(hr) else sr
        partners = dict(zip(meant, hr, strict=True))
    apart = [(one.name, other.name) for one, other in zip(sr, hr, strict=True) if partners[one] != other]
    if apart:
        text = f"by sorted order {apart[0][0]} is compared with {apart[0][1]}: a low PSNR in silence"
        yield Fault("order", text, "give all files names of one form, as long as each other")
    elif other := [(one.name, its.name) for one, its in zip(sr, hr, strict=True) if one.name != its.name]:
        tells = "but sort alike" if known else "and do not tell which image is which: by sorted order they are paired"
        text = f"names differ from the reference's ({', '.join(other[0])}), {tells}"
        yield Fault("names", text, "nothing, or name them as the challenge says", False)


def _name(path: Path) -> str:
    # An accent is one character in names that Linux made, and two in those that a Mac may have made.
    return unicodedata.normalize("NFC", path.name)


def _stem(path: Path) -> str:
    return Path(_name(path)).stem.lower()


def _short(path: Path) -> str:
    return re.sub(r"(_?x\d|_sr)$", "", _stem(path))


def _numbers(path: Path) -> str:
    return "-".join(str(int(digits)) for digits in re.findall(r"\d+", _short(path)))


def _counted(path: Path) -> list[str | int]:
    return [int(part) if place % 2 else part for place, part in enumerate(re.split(r"(\d+)", path.name))]


# How the name of an SR image leads to its HR image, the surest way first: what is taken of the HR's name, and of its.
_FORMS = ((_name, _name), (_stem, _stem), (_stem, _short), (_short, _short))


def check_image(sr: Path, hr: Path) -> list[Fault]:
    """Return what is wrong with one SR image, or with its reference."""
    for_organisers = "no SR image mends that: tell the organisers"
    try:
        with Image.open(hr, formats=_FORMATS) as image:
            image.load()
            whole = image.size
    except Exception as error:
        return [Fault("reference", f"{hr.name}, of the reference: {error}", for_organisers)]
    if min(whole) < LEAST_SIDE:
        text = f"{hr.name}, of the reference: is {whole[0]}x{whole[1]}, expected at least {LEAST_SIDE} a side for SSIM"
        return [Fault("reference", text, for_organisers)]
    allowed = (whole, tuple(side // SCALE * SCALE for side in whole))
    try:
        content = sr.read_bytes()
        if not content.startswith(_SIGNATURE):
            return [Fault("format", f"{sr.name}: its name says PNG, its content does not", "save it as PNG")]
        if (size := _size_in_head(content)) not in allowed:
            return [_size_fault(sr, size, allowed[1])]
        with Image.open(sr, formats=_FORMATS) as image:
            # A second head may tell another size.
            if image.size not in allowed:
                return [_size_fault(sr, image.size, allowed[1])]
            image.load()
            mode = image.mode
    except Exception as error:
        return [Fault("unreadable", f"{sr.name}: {error}", "write it anew; it may be truncated")]
    if content[24] == 16:
        return [Fault("16-bit", f"{sr.name}: has 16 bits a sample, which are cut in silence", "save 8-bit RGB")]
    if mode != "RGB":
        return [Fault("mode", f"{sr.name}: is {mode}, which the script cannot compare", "save 8-bit RGB, no alpha")]
    return []


def _size_in_head(content: bytes) -> tuple[int, int]:
    """Return what a PNG says of its size, width first; nothing is decoded: a small file may hold a giant image."""
    if content[12:16] != b"IHDR" or len(content) < _HEAD:
        raise ValueError("has no head of a PNG")
    return int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big")


def _size_fault(sr: Path, size: tuple[int, int], cut: tuple[int, ...]) -> Fault:
    text = f"{sr.name}: is {size[0]}x{size[1]}, expected {cut[0]}x{cut[1]}; the script ends with -1"
    return Fault("size", text, f"the output must be {SCALE} times as large as the LR image")


def _figures(sr: Path, hr: Path, luma: bool) -> tuple[str, float, float]:
    one, other = (_prepared(path, luma) for path in (sr, hr))
    return _printable(sr.name), psnr(one, other), ssim(one, other)


def _prepared(path: Path, luma: bool) -> np.ndarray:
    """Return ``(h, w, channels)`` float64, cut to multiples of the scale and without its border."""
    with Image.open(path, formats=_FORMATS) as image:
        pixels = np.asarray(image.convert("RGB"), dtype=np.float64)
    height, width = (side // SCALE * SCALE for side in pixels.shape[:2])
    pixels = pixels[SCALE : height - SCALE, SCALE : width - SCALE]
    if luma:
        # MATLAB's rgb2ycbcr, rounded to 8 bits.
        pixels = np.round(16 + pixels @ (np.array([65.481, 128.553, 24.966]) / 255))[..., None]
    return pixels


def psnr(sr: np.ndarray, hr: np.ndarray) -> float:
    """Return the PSNR of two float64 images of one shape in [0, 255], in dB."""
    error = float(np.mean((sr - hr) ** 2))
    return IDENTICAL_DB if error == 0 else 20 * float(np.log10(PEAK / np.sqrt(error)))


def ssim(sr: np.ndarray, hr: np.ndarray) -> float:
    """Return the SSIM (Wang et al., 2004): Gaussian window of 11 with sigma 1.5, mean over positions and channels."""
    position = np.arange(WINDOW) - WINDOW // 2
    taps = np.exp(-(position**2) / (2 * 1.5**2))
    taps /= taps.sum()

    def blurred(image: np.ndarray) -> np.ndarray:
        for axis in (0, 1):
            image, total = np.moveaxis(image, axis, 0), 0.0
            for start, tap in enumerate(taps):
                total = total + tap * image[start : start + len(image) - len(taps) + 1]
            image = np.moveaxis(np.asarray(total), 0, axis)
        return image

    mean_sr, mean_hr = blurred(sr), blurred(hr)
    variances = blurred(sr * sr) + blurred(hr * hr) - mean_sr**2 - mean_hr**2
    covariance = blurred(sr * hr) - mean_sr * mean_hr
    c1, c2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2
    luminance = (2 * mean_sr * mean_hr + c1) / (mean_sr**2 + mean_hr**2 + c1)
    return float(np.mean(luminance * (2 * covariance + c2) / (variances + c2)))


def page_of(scored: Scored) -> str:
    """Return the page that a participant sees: scores, each image's figures, and every fault with what to do."""
    faults = "".join(
        f"<tr><td>{'refused' if fault.refuses else 'note'}</td><td>{escape(fault.code)}</td>"
        f"<td>{escape(fault.text)}</td><td>{escape(fault.fix)}</td></tr>"
        for fault in scored.faults
    )
    images = "".join(
        f"<tr><td>{escape(name)}</td><td>{db:.4f}</td><td>{s:.4f}</td></tr>" for name, db, s in scored.images
    )
    means = ", ".join(f"{key} {value:.4f}" for key, value in scored.scores.items()) or "none: the upload was refused"
    return (
        '<!doctype html><meta charset="utf-8"><title>Result</title><style>body{font:14px sans-serif}'
        "td,th{padding:2px 8px;text-align:left;border-bottom:1px solid #ccc}</style>"
        f"<h1>Scores</h1><p>{escape(means)}</p><h2>What was found</h2><table>{faults or '<tr><td>nothing</td></tr>'}"
        f"</table><h2>Images</h2><table><tr><th>Image</th><th>PSNR [dB]</th><th>SSIM</th></tr>{images}</table>\n"
    )


def main(arguments: Sequence[str]) -> int:
    """Score ``INPUT/res`` against ``INPUT/ref`` into ``OUTPUT``; 1 if the upload is refused."""
    source, target = map(Path, arguments[:2])
    target.mkdir(parents=True, exist_ok=True)
    settings_file = Path(__file__).with_name("settings.json")
    settings = json.loads(settings_file.read_text(encoding="utf-8")) if settings_file.is_file() else {}
    scored = score(source / "res", source / "ref", luma=settings.get("luma", False))
    (target / "detailed_results.html").write_text(page_of(scored), encoding="utf-8")
    for fault in scored.faults:
        word = "refused" if fault.refuses else "note"
        print(f"{word}: {fault.code}: {fault.text}. What to do: {fault.fix}", file=sys.stderr)
    if scored.refused:
        return 1
    (target / "scores.json").write_text(json.dumps(scored.scores), encoding="utf-8")
    lines = "".join(f"{key}:{value}\n" for key, value in scored.scores.items())
    (target / "scores.txt").write_text(lines, encoding="utf-8")
    print(lines, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
