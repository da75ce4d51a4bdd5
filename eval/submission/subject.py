"""An entry that is checked or packed: its files, and what running it shows."""

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from statistics import fmean

import numpy as np

from eval.config import RunConfig
from eval.data.datasets import Dataset
from eval.data.images import ImageSize
from eval.data.pairs import SCALE
from eval.device.pixels import to_uint8
from eval.errors import UsageError
from eval.files import PROJECT
from eval.inference.engines.registry import PLAIN
from eval.inference.tiling import Tiling
from eval.inference.upscaler import Upscaler
from eval.metrics.figures import ModelAnalysis
from eval.metrics.psnr_ssim import psnr
from eval.metrics.trials import Trials, drawn_image, try_network
from eval.ranking.editions import Edition
from eval.ranking.gates import Role
from eval.records.record import State
from eval.run.failures import what_failed
from eval.run.model_source import LoadedModel, ModelSource, ZooModel
from eval.sources import files_of
from eval.third_party.remote import SandboxedUpscaler
from eval.third_party.submission import ModelFile, Submission

_SIDE = 96
_TILE, _OVERLAP = 64, 32


@dataclass(frozen=True)
class Subject:
    """What is checked, as far as it is known without loading it.

    Attributes:
        root: the folder that its imports start from.
        module: the dotted name of its file; None where the file could not be told.
        branch: its branch of ``select_model``; None where there is no such function.
    """

    source: ModelSource
    root: Path
    module: str | None
    class_name: str | None
    checkpoints: tuple[Path, ...]
    branch: str | None = None

    @property
    def file(self) -> Path | None:
        """The file of its network."""
        return self.root / f"{self.module.replace('.', '/')}.py" if self.module else None

    @cached_property
    def helpers(self) -> list[Path]:
        """The files beside its own that it is made of."""
        found = files_of(self.root, [self.module]) if self.module else set()
        return sorted(path for path in found if path != self.file and not _is_empty(path))


def _is_empty(file: Path) -> bool:
    """Tell whether a file of Python makes its folder a package and does nothing else."""
    if file.name != "__init__.py":
        return False
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):
        return False
    return len(tree.body) == (ast.get_docstring(tree) is not None)


def subject_of(source: ModelSource) -> Subject:
    """Return the subject that a source of models is.

    Raises:
        UsageError: it is none that has files, or one of the zoo without weights, as bicubic.
    """
    if isinstance(source, ZooModel) and source.checkpoint is not None:
        module, _, class_name = source.spec.target.partition(":")
        return Subject(source, PROJECT, module, class_name, (source.checkpoint.path,))
    if isinstance(source, ModelFile):
        weights = (source.checkpoint,) if source.checkpoint else ()
        return Subject(source, source.file.parent, source.file.stem, source.class_name, weights)
    if isinstance(source, Submission):
        root, entry = source.checkout.path, source.entry
        named = sorted(path.stem for path in (root / "models").glob(f"team{entry.id:02}_*.py"))
        imported = re.search(r"models\.(team\w+)", entry.branch)
        stem = imported.group(1) if imported else named[0] if named else None
        present = stem is not None and (root / "models" / f"{stem}.py").is_file()
        weights = tuple(filter(None, map(source.checkout.located, entry.weights)))
        return Subject(source, root, f"models.{stem}" if present else None, None, weights, entry.branch)
    raise UsageError(f"{source.info.label}: expected a network with weights, of the zoo, in a file or in a checkout")


@dataclass(frozen=True)
class Facts:
    """What is known of a subject once it has run.

    Attributes:
        edition: whose rules count.
        fault: why it could not be built or run, and in which ``state`` it is then; the rest is empty then.
        tiles: largest difference between the image in tiles and as a whole, in grey levels.
        psnr_db: on the challenge's sets that are here, by role.
        score: main score and the baseline's, timed together here; None where that was not asked for.
        score_fault: why there is none although it was asked for.
        weights_steps: what was done to its file of weights to load it, where it was not loaded by its own code.
    """

    subject: Subject
    edition: Edition
    fault: str | None = None
    state: State | None = None
    analysis: ModelAnalysis = field(default_factory=ModelAnalysis)
    trials: Trials | None = None
    tiles: float | None = None
    psnr_db: Mapping[Role, float] = field(default_factory=dict)
    score: tuple[float, float] | None = None
    score_fault: str = ""
    shims: tuple[str, ...] = ()
    weights_steps: tuple[str, ...] = ()


def gather(subject: Subject, edition: Edition, sets: Mapping[Role, Dataset], config: RunConfig) -> Facts:
    """Load a subject, run it (``config`` as ``resolved`` returns it), and look at it; what fails is said, never raised.

    ``sets`` are the challenge's that are here.
    """
    facts = Facts(subject, edition)
    sizes = [size for its in sets.values() for size in its.lr_sizes]
    largest = max([ImageSize(_SIDE, _SIDE), *sizes], key=lambda size: size.height * size.width)
    try:
        with subject.source.open(config, largest) as loaded, loaded.on_device():
            # Trials come first: what they need most is an image that is the network's first one.
            shims, steps = loaded.info.shims, loaded.info.weights_steps
            facts = replace(facts, trials=_trials(loaded), shims=shims, weights_steps=steps)
            facts = replace(facts, tiles=_tile_difference(loaded))
            facts = replace(facts, psnr_db={role: _mean_psnr(loaded, dataset) for role, dataset in sets.items()})
            # Last: a worker may end of it.
            return replace(facts, analysis=loaded.analyse())
    except Exception as error:
        state, reason = what_failed(error)
        return replace(facts, fault=f"{state}: {reason}", state=state)


def _trials(loaded: LoadedModel) -> Trials | None:
    if isinstance(loaded, Upscaler):
        return try_network(loaded.network, loaded.spec.data_range)
    return loaded.trials() if isinstance(loaded, SandboxedUpscaler) else None


def _tile_difference(loaded: LoadedModel) -> float:
    """Compare the left half of an image with that of its left two thirds; one of the zoo is told where tiles lie."""
    lr = to_uint8(drawn_image(_SIDE)[0], 1.0)
    whole, _ = loaded(lr)
    if isinstance(loaded, Upscaler):
        # By the network itself: what an engine has recorded of the whole image does not know where a tile lies.
        cut = Tiling(_TILE, _OVERLAP, loaded.spec.tile_step)
        tiled, _ = replace(loaded, tiling=cut, forward=None, execution=PLAIN)(lr)
        return _apart(whole, tiled)
    left, _ = loaded(np.ascontiguousarray(lr[:, :_TILE]))
    kept = (_TILE - _OVERLAP // 2) * SCALE
    return _apart(whole[:, :kept], left[:, :kept])


def _apart(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(np.int16) - other).max())


def _mean_psnr(loaded: LoadedModel, dataset: Dataset) -> float:
    pairs = (pair.read() for pair in dataset.pairs)
    return fmean(psnr(loaded(lr)[0], hr) for lr, hr in pairs if hr is not None)


def names_of(paths: Sequence[Path]) -> str:
    """Return the names of files, with commas."""
    return ", ".join(path.name for path in paths)
