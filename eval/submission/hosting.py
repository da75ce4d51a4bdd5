"""A challenge as a Codabench bundle: competition.yaml (version 2), pages, reference data and our own scorer."""

import json
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import yaml

from eval.data.images import read_image
from eval.data.layouts import has_images, image_files
from eval.data.naming import folders_below, lr_beside_hr, role_of
from eval.data.png import encode_png
from eval.errors import UsageError
from eval.ranking.editions import Edition, Track
from eval.ranking.gates import psnr_decimals
from eval.submission import scoring_program
from eval.submission.archive import write_archive
from eval.submission.texts import filled
from eval.words import counted, first_of

_PAGES = ("overview", "evaluation", "data", "terms")
_PROGRAM, _BUNDLE = "scoring_program.zip", "bundle.zip"
# The platform's image with a Python that is new enough; it has numpy and Pillow.
IMAGE = "codalab/codalab-legacy:py312"
COMMAND = "python3 /app/program/scoring.py /app/input /app/output"
_LIMIT_S = 3600
# Key of scores.json, title, whether more is better, decimals; the first one ranks.
_COLUMNS = (
    ("PSNR", "PSNR [dB]", True, 2),
    ("SSIM", "SSIM", True, 4),
    ("ExtraRuntime", "Runtime per image [s]", False, 4),
    ("ExtraPlatform", "CPU[1] / GPU[0]", False, 0),
    ("ExtraData", "Extra data [1]", False, 0),
)


@dataclass(frozen=True)
class Phase:
    """One phase: its name, the folder of its HR images, and its days."""

    name: str
    hr: Path
    start: date
    days: int

    @property
    def end(self) -> date:
        """The day after its last one."""
        return self.start + timedelta(days=self.days)

    def images(self) -> list[Path]:
        """Return its HR images.

        Raises:
            UsageError: there are none, or some are no PNG, which the scorer reads alone, or too small for SSIM, or LR
                by name; or they cannot be told apart by name.
            ImageError: one is damaged, or no 8-bit image without transparency: the server would convert it in silence.
        """
        found = image_files(self.hr) if self.hr.is_dir() else []
        others = [path.name for path in found if path.suffix.lower() != ".png"]
        if not found or others:
            raise UsageError(f"{self.hr}: expected a folder of HR images, PNG; got {first_of(others, 3) or 'none'}")
        self._refuse_lr([path.stem for path in found])
        names = Counter(map(_as_on_a_mac, found))
        if alike := [path.name for path in found if names[_as_on_a_mac(path)] > 1]:
            why = "which are one file on a participant's Windows or macOS; rename one"
            raise UsageError(f"{self.hr}: expected names that can be told apart, got {' and '.join(alike[:2])}, {why}")
        small = [path.name for path in found if min(read_image(path).shape[:2]) < scoring_program.LEAST_SIDE]
        if small:
            least = f"at least {scoring_program.LEAST_SIDE} pixels a side, for SSIM"
            raise UsageError(f"{self.hr}: expected images of {least}; smaller are {', '.join(small)}")
        return found

    def _refuse_lr(self, stems: Sequence[str]) -> None:
        # By the rules that tell what a folder is that a network is run on.
        told = f"{self.hr}: expected a folder of HR images alone"
        if role_of(self.hr, stems) != "HR":
            why = "by its name, or those of its files, it holds or may hold LR images"
            raise UsageError(f"{told}; {why}: name the HR folder")
        if mixed := lr_beside_hr(stems):
            text = f"got also LR images, by the names of {len(mixed)} of them ({min(mixed)}, for one)"
            raise UsageError(f"{told}, {text}; move the LR images to another folder")


def _as_on_a_mac(path: Path) -> str:
    return unicodedata.normalize("NFC", path.name).casefold()


@dataclass(frozen=True)
class Challenge:
    """What is hosted."""

    title: str
    edition: Edition
    phases: tuple[Phase, ...]
    luma: bool = False


def write_bundle(challenge: Challenge, folder: Path) -> Path:
    """Write the bundle's files to a folder, and all of them as ``bundle.zip``, which is uploaded.

    Raises:
        UsageError: a phase has no HR images, or the folder holds a file that would be written over.
    """
    images = [phase.images() for phase in challenge.phases]
    contents = {
        "competition.yaml": yaml.safe_dump(competition(challenge), sort_keys=False, allow_unicode=True).encode(),
        "logo.png": encode_png(_logo()),
        **{f"{name}.md": text.encode() for name, text in _pages(challenge, images).items()},
    }
    parts = [*contents, _PROGRAM, *(_reference(place) for place in range(len(images)))]
    if there := [name for name in (*parts, _BUNDLE) if (folder / name).exists()]:
        raise UsageError(f"{folder}: holds {', '.join(there)} already; move or remove them, or name another folder")
    folder.mkdir(parents=True, exist_ok=True)
    # In place is a whole bundle, or nothing.
    with TemporaryDirectory(prefix=".host-", dir=folder) as aside:
        made = Path(aside)
        for name, content in contents.items():
            (made / name).write_bytes(content)
        write_archive(made / _PROGRAM, _program(challenge.luma))
        for place, paths in enumerate(images):
            write_archive(made / _reference(place), {path.name: path for path in paths})
        write_archive(made / _BUNDLE, {name: made / name for name in parts})
        for name in (*parts, _BUNDLE):
            (made / name).rename(folder / name)
    return folder / _BUNDLE


def competition(challenge: Challenge) -> dict[str, Any]:
    """Return what competition.yaml says, in the documented keys of version 2."""
    phases, tasks = [], []
    rules = {"execution_time_limit": _LIMIT_S, "accepts_only_result_submissions": True}
    for place, phase in enumerate(challenge.phases):
        named = {"index": place, "name": phase.name}
        days = {"start": f"{phase.start} 00:00:00", "end": f"{phase.end} 00:00:00"}
        tasks.append({**named, "scoring_program": _PROGRAM, "reference_data": _reference(place)})
        phases.append({**named, **days, **rules, "tasks": [place]})
    return {
        "version": 2,
        "title": challenge.title,
        "description": f"Efficient super-resolution, x4, by the rules of {challenge.edition.year}",
        "image": "logo.png",
        "terms": "terms.md",
        "docker_image": IMAGE,
        "enable_detailed_results": True,
        "pages": [{"title": name.capitalize(), "file": f"{name}.md"} for name in _PAGES],
        "tasks": tasks,
        "phases": phases,
        "leaderboards": [_leaderboard(challenge.edition)],
    }


def _leaderboard(edition: Edition) -> dict[str, Any]:
    columns = [
        {"title": title, "key": key, "index": place, "sorting": "desc" if more else "asc", "precision": decimals}
        for place, (key, title, more, decimals) in enumerate(_COLUMNS)
    ]
    columns[0]["precision"] = psnr_decimals(edition.gates)
    return {"title": "Results", "key": "main", "submission_rule": "Force_Best", "columns": columns}


def _program(luma: bool) -> dict[str, bytes | Path]:
    return {
        "scoring.py": Path(scoring_program.__file__),
        "settings.json": json.dumps({"luma": luma}).encode(),
        "metadata.yaml": yaml.safe_dump({"command": COMMAND}).encode(),
    }


def _reference(place: int) -> str:
    return f"reference_data_{place}.zip"


def _pages(challenge: Challenge, images: Sequence[Sequence[Path]]) -> dict[str, str]:
    edition, baseline = challenge.edition, challenge.edition.baseline
    gates = [f"PSNR of at least {its.least} dB ({its.role})" for its in edition.gates if its.psnr_db]
    no_gate = "There is no least PSNR." if edition.gates else "It is not known whether a least PSNR is asked for."
    sizes = [
        f"- {phase.name}: {counted(len(its), 'image')}, LR and HR"
        for phase, its in zip(challenge.phases, images, strict=True)
    ]
    words = {
        "title": challenge.title,
        "year": edition.year,
        "source": edition.source,
        "gpu": edition.gpu,
        "model": baseline.model,
        "runtime_ms": f"{baseline.runtime_ms:.2f}",
        "flops": f"{baseline.flops / 1e9:.2f}",
        "params": f"{baseline.num_params / 1e6:.3f}",
        "gates": f"To be ranked: {', '.join(gates)}." if gates else no_gate,
        "tracks": "\n".join(_sentences(edition.tracks)) or f"- {edition.unknown}",
        "channels": "luma (Y)" if challenge.luma else "RGB",
        "counts": "\n".join(sizes),
    }
    return {name: filled(f"{name}.md", **words) for name in _PAGES}


def notes(challenge: Challenge) -> Iterator[str]:
    """Yield what an organiser shall know of a bundle: the images of each phase, and what about them is unlikely."""
    for phase, role in zip(challenge.phases, ("valid", "test"), strict=False):
        count = len(image_files(phase.hr))
        yield f"{phase.name}: {counted(count, 'image')} of {phase.hr}"
        for gate in challenge.edition.gates:
            if gate.role == role and gate.psnr_db and gate.images != count:
                rule = f"{gate.least} dB of {challenge.edition.year} ({role}) for {counted(gate.images, 'image')}"
                yield f"warning: evaluation.md asks for the {rule}, and {phase.name} has {count}: change one of them"
        for below in filter(has_images, folders_below(phase.hr)):
            yield f"warning: images in {below} are not in the bundle: a phase has those of its folder alone"
    folders = Counter(phase.hr.resolve() for phase in challenge.phases)
    if len(folders) < len(challenge.phases):
        yield "warning: both phases have the same images: whoever fits the first phase has fitted the final one"


def _sentences(tracks: Sequence[Track]) -> Iterator[str]:
    for track in tracks:
        rule = ", ".join(track.ranks) and f"the sum of the ranks in {', '.join(track.ranks)}"
        terms = " + ".join(f"{weight:g} exp(2 {metric} / baseline's)" for metric, weight in track.weights.items())
        kept = f"; no worse than the baseline in {', '.join(track.not_worse)}" if track.not_worse else ""
        yield f"- {track.name}: {rule or terms}, the least total wins{kept}"


def _logo() -> np.ndarray:
    """Return a square of 256 pixels: coarse at the left, fine at the right."""
    y, x = np.mgrid[0:256, 0:256]
    step = np.where(x < 128, 32, 8)
    shade = np.hypot(x // step * step - 128, y // step * step - 128)
    return np.stack([255 - shade, 120 + 0 * shade, 60 + shade], -1).clip(0, 255).astype(np.uint8)
