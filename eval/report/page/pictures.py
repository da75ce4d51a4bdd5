"""The pictures of the visual comparison: whole and lossless where there are few, windows where there are many.

Everything together keeps to a budget of bytes. Errors are taken from the pixels that were measured, not from what
the pictures keep of them.
"""

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from eval.data.pairs import SCALE
from eval.data.resize import imresize
from eval.files import atomic_path, write_whole
from eval.metrics.psnr_ssim import CROP_BORDER
from eval.report.page.gallery import Comparison, Interest, readable
from eval.report.page.windows import CELL, Area, choose_window, disagreement, encode_errors, pixels_of, squared_errors

# Bytes a pixel, errors included, as measured on SR images of Urban100, with some room.
_LOSSLESS_BYTES = 1.25
_LOSSY_BYTES = 0.33
_LEAST_WINDOW = 256 * 256
_THUMBNAIL_SIDE = 320
_BICUBIC, _HR = "bicubic", "hr"
_LOSSLESS = {"format": "WEBP", "lossless": True, "quality": 50, "method": 2}
_LOSSY = {"format": "AVIF", "quality": 88, "speed": 9, "subsampling": "4:4:4"}


@dataclass(frozen=True)
class Plan:
    """How much of each image is kept, and how.

    Attributes:
        images: for how many images that is enough.
        max_pixels: the most that a picture has.
    """

    images: int
    max_pixels: int
    lossless: bool

    @property
    def saving(self) -> dict:
        """Pillow's options."""
        return _LOSSLESS if self.lossless else _LOSSY


def make_plan(num_pictures: int, sizes: Sequence[int], budget_bytes: float) -> Plan:
    """Return how to keep the first of images, so that those behind it have their share of a budget of bytes.

    Each has pictures of the models, bicubic and HR. It is lossless where the others can still be kept whole.
    ``sizes`` are the pixels of each image; from ``budget_bytes`` comes off what former images took.
    """
    image, *others = sizes
    each = max(0.0, budget_bytes) / num_pictures
    if image * _LOSSLESS_BYTES + sum(others) * _LOSSY_BYTES <= each:
        return Plan(len(sizes), image, lossless=True)
    pixels, least = _share(sizes, each / _LOSSY_BYTES), min(_LEAST_WINDOW, image)
    if pixels >= least:
        return Plan(len(sizes), min(pixels, image), lossless=False)
    return Plan(int(each / (least * _LOSSY_BYTES)), least, lossless=False)


def _share(sizes: Sequence[int], pixels: float) -> int:
    """Return how many pixels each image may keep of so many together; what small ones leave goes to the others."""
    for place, size in enumerate(sorted(sizes)):
        share = pixels / (len(sizes) - place)
        if size > share:
            return int(share)
        pixels -= size
    return max(sizes)


def sizes_of(comparison: Comparison) -> list[int]:
    """Return the pixels of a picture of each image, in the order of interest."""
    images = (image for its in comparison.models for image in its.record.images)
    pixels = {image.name: image.lr_height * image.lr_width * SCALE**2 for image in images}
    return [pixels[its.name] for its in comparison.interests]


def pictures_of(comparison: Comparison) -> int:
    """Return how many pictures there are of an image: each model's, HR and LR."""
    return len(comparison.models) + 2


def write_pictures(comparison: Comparison, folder: Path, budget_bytes: float, done: Callable[[object], None]) -> dict:
    """Write a set's pictures and errors into a folder of its own, and return what the page must know of them.

    The last image can exceed the budget; ``done`` is called after each.

    Returns:
        ``labels`` of the models and ``images``, in the order of interest; addresses are within ``folder``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sizes, images, left = sizes_of(comparison), [], budget_bytes
    for number, interest in enumerate(comparison.interests):
        plan = make_plan(pictures_of(comparison), sizes[number:], left)
        if plan.images == 0:
            break
        stem = folder / f"{number:03}"
        images.append(_write_image(comparison, interest, stem, plan))
        left -= sum(path.stat().st_size for path in folder.glob(f"{stem.name}[-.]*"))
        done(None)
    return {
        "labels": [model.label for model in comparison.models],
        "of": len(comparison.interests),
        "images": [image for image in images if image],
    }


def _write_image(comparison: Comparison, interest: Interest, stem: Path, plan: Plan) -> dict | None:
    """Write one image's pictures, named by number so that no name of a record becomes a path."""
    lr, hr = comparison.read(interest.name)
    srs = {model.label: sr for model, sr in readable(comparison.models, interest.name, hr)}
    if not srs:
        return None
    errors = {label: squared_errors(sr, hr) for label, sr in srs.items()}
    bicubic = imresize(lr, Fraction(SCALE))
    window = _window(list(errors.values()), plan)
    area = pixels_of(window)
    keys = {model.label: str(number) for number, model in enumerate(comparison.models)}
    kinds = {_HR: hr, _BICUBIC: bicubic, **{keys[label]: sr for label, sr in srs.items()}}
    sources = _save_all({kind: pixels[area] for kind, pixels in kinds.items()}, stem, plan)
    codes = {keys[label]: encode_errors(its[window]) for label, its in errors.items()}
    codes[_BICUBIC] = encode_errors(squared_errors(bicubic, hr)[window])
    script = stem.with_suffix(".js")
    write_whole(script, f"Report.errors({json.dumps(stem.name)},{json.dumps(codes)});\n")
    return {
        "name": interest.name,
        "lossless": plan.lossless,
        "key": stem.name,
        "mean_db": round(interest.mean_db, 4),
        "spread_db": round(interest.spread_db, 4),
        "area": [area[1].start, area[0].start, area[1].stop - area[1].start, area[0].stop - area[0].start],
        "size": [hr.shape[1], hr.shape[0]],
        "sources": sources,
        "thumbnail": _thumbnail(hr, stem),
        "errors": script.name,
        "psnrs_db": {keys[its.label]: _printed(its.record.psnrs_db.get(interest.name)) for its in comparison.models},
    }


def _printed(psnr_db: float | None) -> float | str | None:
    """Return a PSNR for JSON, which has no word for that of identical images."""
    if psnr_db is None:
        return None
    return "Infinity" if psnr_db == math.inf else round(psnr_db, 4)


def _window(errors: Sequence[np.ndarray], plan: Plan) -> Area:
    """Return the cells that are kept: where models differ most, inside the border that PSNR leaves out."""
    border = CROP_BORDER // CELL
    inside = [its[border:-border, border:-border] for its in errors]
    rows, columns = choose_window(disagreement(inside), plan.max_pixels // CELL**2)
    return slice(rows.start + border, rows.stop + border), slice(columns.start + border, columns.stop + border)


def _save_all(kinds: dict[str, np.ndarray], stem: Path, plan: Plan) -> dict[str, str]:
    """Write pictures, equal ones once, and return each one's file name."""
    first: dict[bytes, str] = {}
    same = {kind: first.setdefault(hashlib.sha256(pixels.tobytes()).digest(), kind) for kind, pixels in kinds.items()}
    suffix = plan.saving["format"].lower()
    names = {kind: f"{stem.name}-{kind}.{suffix}" for kind in first.values()}

    def save(kind: str) -> None:
        with atomic_path(stem.with_name(names[kind])) as partial:
            Image.fromarray(np.ascontiguousarray(kinds[kind])).save(partial, **plan.saving)

    with ThreadPoolExecutor() as pool:
        list(pool.map(save, names))
    return {kind: names[original] for kind, original in same.items()}


def _thumbnail(hr: np.ndarray, stem: Path) -> str:
    path = stem.with_name(f"{stem.name}-whole.webp")
    image = Image.fromarray(hr)
    image.thumbnail((_THUMBNAIL_SIDE, _THUMBNAIL_SIDE))
    with atomic_path(path) as partial:
        image.save(partial, format="WEBP", quality=80)
    return path.name
