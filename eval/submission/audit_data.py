"""What is wrong with a set of LR and HR images, and which program made its LR images."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from io import BytesIO
from itertools import product
from pathlib import Path

import numpy as np
from PIL import Image

from eval.data.finding import HR_FOLDER, LR_FOLDER, FolderError, Found, find_dataset, sets_in
from eval.data.images import ImageError, read_image
from eval.data.likeness import alike, shown_by, thumbnail
from eval.data.pairs import SCALE, ImagePair, same_names
from eval.errors import RunError, UsageError
from eval.files import why_no_folder
from eval.submission.generators import GENERATORS

# Two ways of making LR images differ by less in the mean; noise, compression and shifts by more.
_AS_MADE_LEVELS = 3.0
# Of the samples: sums in another order round ties the other way.
_FEW = 0.01
_SHIFTS = range(-SCALE, SCALE + 1)
# LR pixels at each edge that a shift may bring in from the other side.
_RIM = 2
_QUALITIES = range(30, 101)


@dataclass(frozen=True)
class Match:
    """How far an LR image is from what a generator makes of its HR image."""

    generator: str
    differing: int
    samples: int
    largest: int
    mean: float

    @property
    def exact(self) -> bool:
        """Tell whether no sample differs."""
        return not self.differing

    def __str__(self) -> str:
        if self.exact:
            return self.generator
        return f"near {self.generator}: {self.differing / self.samples:.1%} of samples, by up to {self.largest}"


@dataclass(frozen=True)
class AuditedImage:
    """One image: how it was made, best match first, what is wrong with it, and the thumbnails of HR and LR."""

    name: str
    matches: tuple[Match, ...] = ()
    faults: tuple[str, ...] = ()
    hr: np.ndarray | None = field(default=None, repr=False, compare=False)
    lr: np.ndarray | None = field(default=None, repr=False, compare=False)

    @property
    def made_by(self) -> str | None:
        """What made its LR image, or came nearest; None where there is no LR image of that size."""
        return str(self.matches[0]) if self.matches else None


@dataclass(frozen=True)
class AuditedSet:
    """One set: its images, and files that have no partner."""

    name: str
    layout: str
    images: tuple[AuditedImage, ...]
    faults: tuple[str, ...] = ()

    @property
    def thumbnails(self) -> dict[str, np.ndarray]:
        """Those of its images, of LR where there is no HR, by name."""
        prints = {its.name: its.lr if its.hr is None else its.hr for its in self.images}
        return {name: picture for name, picture in prints.items() if picture is not None}

    @property
    def unseen(self) -> list[str]:
        """Why there is no thumbnail of some of its images: a sentence each."""
        seen = self.thumbnails
        return [*self.faults, *(fault for its in self.images if its.name not in seen for fault in its.faults)]


def locate(folder: Path) -> list[Found]:
    """Return the sets that a folder is or holds, as a run would open them; of several, what is unclear has a fault.

    Raises:
        UsageError: it holds no images, or is one set of which it is not clear what it is.
        RunError: it is one set and may not be read.
    """
    if reason := why_no_folder(folder):
        raise UsageError(f"{folder}: {reason}")
    names = sets_in(folder)
    return [_located(folder, name, alone=len(names) == 1) for name in names]


def _located(folder: Path, name: str | None, alone: bool) -> Found:
    try:
        return find_dataset(folder, name)
    except (UsageError, RunError) as error:
        # Here folders are arguments.
        fault = error.said("", "give one of them") if isinstance(error, FolderError) else str(error)
        if alone:
            raise (RunError if isinstance(error, RunError) else UsageError)(fault) from error
        return Found(name or folder.name, "unclear", folder, [], [fault])


def audit_set(found: Found, progress: Callable[[object], None] = lambda _: None) -> AuditedSet:
    """Audit one set; every image is decoded once, damaged ones are named."""
    images = []
    with ThreadPoolExecutor() as pool:
        for image in pool.map(_audit_pair, found.pairs):
            images.append(image)
            progress(image)
    layout = "no pairs" if found.layout in (HR_FOLDER, LR_FOLDER) else found.layout
    faults = (*found.faults, *same_names((pair.name, pair.hr or pair.lr) for pair in found.pairs))
    alone = AuditedSet(found.name, layout, tuple(images), faults)
    prints = alone.thumbnails
    doubles = dict(_doubles(prints))
    return replace(alone, images=tuple(_with_others(image, prints, doubles) for image in images))


def _audit_pair(pair: ImagePair) -> AuditedImage:
    try:
        hr, lr = (None if path is None else read_image(path) for path in (pair.hr, pair.lr))
    except ImageError as error:
        return AuditedImage(pair.name, faults=(str(error),))
    if hr is not None and min(hr.shape[:2]) < SCALE:
        size = f"{hr.shape[1]}x{hr.shape[0]}"
        return AuditedImage(pair.name, faults=(f"{pair.hr}: expected at least {SCALE} pixels a side, got {size}",))
    # As large as HR, so that thumbnails of both are cut alike.
    enlarged = None if lr is None else lr.repeat(SCALE, 0).repeat(SCALE, 1)
    prints = [None if its is None else thumbnail(its) for its in (hr, enlarged)]
    image = AuditedImage(pair.name, hr=prints[0], lr=prints[1])
    if hr is None or lr is None:
        return image
    cut = hr[: hr.shape[0] // SCALE * SCALE, : hr.shape[1] // SCALE * SCALE]
    expected = (cut.shape[0] // SCALE, cut.shape[1] // SCALE)
    if lr.shape[:2] != expected:
        sizes = f"{lr.shape[1]}x{lr.shape[0]}, expected {expected[1]}x{expected[0]}"
        return replace(image, faults=(f"resized: LR is {sizes}, a quarter of HR",))
    matches = [_match(name, generate(cut), lr) for name, generate in GENERATORS.items()]
    matches.sort(key=lambda match: (match.differing, match.mean))
    faults = () if matches[0].exact else tuple(_changes(cut, lr, matches[0]))
    return replace(image, matches=tuple(matches), faults=faults)


def _match(name: str, made: np.ndarray, lr: np.ndarray) -> Match:
    apart = np.abs(made.astype(np.int16) - lr)
    return Match(name, int(np.count_nonzero(apart)), apart.size, int(apart.max()), float(apart.mean()))


def _changes(hr: np.ndarray, lr: np.ndarray, best: Match) -> Iterator[str]:
    """Yield what was done to an LR image that no generator makes exactly: compressed, or taken from shifted HR."""
    if best.differing < _FEW * best.samples:
        return
    # Compression can bring another generator's image nearer than that of the one that was used.
    for name in dict.fromkeys((next(iter(GENERATORS)), best.generator)):
        if quality := _quality(GENERATORS[name](hr), lr):
            yield f"recompressed: JPEG of quality {quality} after {name}"
            return
    # Of a smooth picture a shift changes every sample, and each by little.
    shift, match = _best_shift(hr, lr) if min(lr.shape[:2]) > 2 * _RIM else ((0, 0), best)
    if shift != (0, 0) and match.mean < best.mean / 2:
        yield f"misaligned: LR fits HR moved by {shift[0]} down, {shift[1]} right ({match})"
    elif best.mean > _AS_MADE_LEVELS:
        yield f"no generator known here: {best.mean:.1f} grey levels from the nearest in the mean"


def _quality(made: np.ndarray, lr: np.ndarray) -> int | None:
    """Return the JPEG quality that turns one image into the other exactly, by Pillow's encoder; None if none does."""
    for quality, subsampling in product(_QUALITIES, (0, 2)):
        buffer = BytesIO()
        Image.fromarray(made).save(buffer, "JPEG", quality=quality, subsampling=subsampling)
        with Image.open(buffer) as image:
            if np.array_equal(np.asarray(image), lr):
                return quality
    return None


def _best_shift(hr: np.ndarray, lr: np.ndarray) -> tuple[tuple[int, int], Match]:
    """Return by how many HR pixels HR has to be moved to fit best, judged inside the rim."""
    name, generate = next(iter(GENERATORS.items()))
    inside = (slice(_RIM, -_RIM), slice(_RIM, -_RIM))
    shifts = product(_SHIFTS, _SHIFTS)
    fits = [(its, _match(name, generate(np.roll(hr, its, (0, 1)))[inside], lr[inside])) for its in shifts]
    return min(fits, key=lambda fit: (fit[1].mean, abs(fit[0][0]) + abs(fit[0][1])))


def _doubles(prints: dict[str, np.ndarray]) -> Iterator[tuple[str, str]]:
    """Yield images whose picture an earlier one has, with that one."""
    names = list(prints)
    stack = np.array([prints[name] for name in names])
    for place in range(1, len(names)):
        same = np.flatnonzero(alike(stack[:place], stack[place]))
        if same.size:
            yield names[place], names[int(same[0])]


def _with_others(image: AuditedImage, prints: dict[str, np.ndarray], doubles: dict[str, str]) -> AuditedImage:
    """Add what only the other images of the set show: that it is a double, or holds another's LR image."""
    faults = list(image.faults)
    as_made = image.matches and image.matches[0].mean <= _AS_MADE_LEVELS
    if image.lr is not None and image.hr is not None and not as_made and not shown_by(image.hr[None], image.lr)[0]:
        if owners := [name for name, its in prints.items() if shown_by(its[None], image.lr)[0]]:
            faults.insert(0, f"swapped: its LR image is that of {owners[0]}")
        elif not any(fault.startswith("misaligned") for fault in faults):
            faults.insert(0, "its LR image is another picture")
    if image.name in doubles:
        faults.append(f"duplicated: the same picture as {doubles[image.name]}")
    return replace(image, faults=tuple(faults))


def leaks(sets: Iterable[AuditedSet], others: Iterable[AuditedSet]) -> list[str]:
    """Return a sentence for each picture of some sets that others hold too, resized or recompressed or not."""
    known = {f"{its.name}/{name}": picture for its in others for name, picture in its.thumbnails.items()}
    if not known:
        return []
    names, stack = list(known), np.array(list(known.values()))
    found = []
    for its in sets:
        for name, picture in its.thumbnails.items():
            same = np.flatnonzero(alike(stack, picture))
            found += [f"{its.name}/{name} is {names[int(place)]}" for place in same[:1]]
    return found


def tally(images: Sequence[AuditedImage]) -> list[tuple[str, int, int, float]]:
    """Return for each generator how many images it makes exactly, its largest difference, and its mean share."""
    rows = []
    for name in GENERATORS:
        matches = [match for image in images for match in image.matches if match.generator == name]
        if matches:
            exact = sum(match.exact for match in matches)
            share = sum(match.differing for match in matches) / sum(match.samples for match in matches)
            rows.append((name, exact, max(match.largest for match in matches), share))
    return rows
