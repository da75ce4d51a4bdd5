"""Finding and verifying files of weights, without opening them: a file is hashed before anything reads it."""

import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from eval.cache import download_cache
from eval.contents import Kind, kind_of, not_itself
from eval.errors import RunError, UsageError
from eval.files import why_no_file
from eval.zoo.manifest import MANIFEST, MODEL_ZOO, CheckpointSpec, ModelSpec
from eval.zoo.model_info import ModelInfo


class MissingWeightsError(RunError):
    """None of a model's weights is on this machine."""


@dataclass(frozen=True)
class Checkpoint:
    """A file of weights that lies on this machine; its name is None where the manifest does not know it.

    ``key`` is where in the file the weights are; None to look for them.
    """

    path: Path
    sha256: str
    name: str | None
    key: str | None = None


def weight_folders() -> list[Path]:
    """Return the folders that weights are looked for in, in order.

    Raises:
        UsageError: ``ESR_WEIGHTS`` names no folder.
    """
    named = os.path.expanduser(os.environ.get("ESR_WEIGHTS", ""))
    if named and not os.path.isdir(named):
        raise UsageError(f"ESR_WEIGHTS={named}: no such folder, or none that this user may look into")
    folders = [MODEL_ZOO, *([Path(named)] if named else [])]
    # Who has no home folder has downloaded nothing.
    with suppress(RunError):
        folders.append(download_cache())
    return folders


def find_checkpoint(spec: ModelSpec, weights: str | None = None) -> Checkpoint:
    """Find the weights to use for a model.

    ``weights`` is None for the first of the manifest's checkpoints that is here; the name of one of them ("released");
    or a path, which then need not be in the manifest.

    Raises:
        UsageError: ``weights`` is neither a checkpoint's name nor a file.
        MissingWeightsError: none is here; the message says how to get them.
        RunError: a file has another hash than the manifest's, or cannot be read.
    """
    if weights is not None and weights not in {known.name for known in spec.checkpoints}:
        return _checkpoint_at_path(spec, weights)
    candidates = [known for known in spec.checkpoints if weights in (None, known.name)]
    for known in candidates:
        for folder in weight_folders():
            path = folder / known.file
            # False too in a folder that this user may not look into.
            if os.path.isfile(path):
                return _verified(path, known)
    raise MissingWeightsError(_how_to_get(spec, candidates))


def _checkpoint_at_path(spec: ModelSpec, weights: str) -> Checkpoint:
    if reason := why_no_file(weights):
        names = ", ".join(known.name for known in spec.checkpoints) or "none"
        told = f"{reason}, and no checkpoint of {spec.name} (it has: {names})"
        raise UsageError(f"--weights {weights}: {told}")
    path = Path(weights)
    digest = _readable_sha256(path)
    name = next((known.name for known in spec.checkpoints if known.sha256 == digest), None)
    return Checkpoint(path, digest, name)


def own_checkpoint(path: Path, key: str | None = None) -> Checkpoint:
    """Return a file of weights for a network that the manifest does not know.

    Raises:
        UsageError: there is no such file.
        RunError: it cannot be read.
    """
    if reason := why_no_file(path):
        raise UsageError(f"{path}: {reason}; expected a file of weights")
    return Checkpoint(path, _readable_sha256(path), None, key)


def _verified(path: Path, known: CheckpointSpec) -> Checkpoint:
    digest = _readable_sha256(path)
    if digest != known.sha256:
        data = path.read_bytes()
        if kind_of(data) in (Kind.LFS_POINTER, Kind.WEB_PAGE):
            raise RunError(f"{path}: {not_itself(data)}")
        raise RunError(
            f"{path}: expected SHA-256 {known.sha256} ({known.bytes:,} bytes), got {digest} "
            f"({path.stat().st_size:,} bytes); the file is damaged or another one: remove it, or name it by --weights"
        )
    if (size := path.stat().st_size) != known.bytes:
        told = f"expected bytes = {size}, the size of the file of this sha256; got {known.bytes}"
        raise RunError(f"{MANIFEST.name}: the checkpoint {known.file}: {told}")
    return Checkpoint(path, digest, known.name)


def _how_to_get(spec: ModelSpec, candidates: list[CheckpointSpec]) -> str:
    folders = ", ".join(f"{folder}{_closed(folder)}" for folder in weight_folders())
    lines = [f"{spec.label}: its weights are not on this machine. Looked in: {folders}"]
    for known in candidates:
        lines.append(f"  {known.file} ({known.bytes:,} bytes, SHA-256 {known.sha256})")
        if known.url:
            lines.append(f"    from {known.url}")
    run = f"Run: python -m eval fetch weights --model_id {spec.id}"
    put = f"or put the file into {MODEL_ZOO}, or point ESR_WEIGHTS at the folder that holds it."
    return "\n".join([*lines, run, put])


def _closed(folder: Path) -> str:
    """Return a note on a folder that this user may not look into."""
    try:
        (folder / "any").stat()
    except PermissionError:
        return " (this user may not look there)"
    except OSError:
        pass
    return ""


def _readable_sha256(path: Path) -> str:
    """Return the hash of a file of weights; one that this user may not read is a ``RunError`` that says so."""
    try:
        return file_sha256(path)
    except PermissionError as error:
        raise RunError(f"{path}: these weights cannot be read ({error.strerror}); let this user read them") from error


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in lower-case hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def zoo_info(spec: ModelSpec, checkpoint: Checkpoint | None) -> ModelInfo:
    """Return what a record says of a model of the zoo."""
    return ModelInfo(
        **{key: getattr(spec, key) for key in ("id", "name", "label", "team", "scale", "data_range")},
        checkpoint=checkpoint and checkpoint.name,
        weights_file=checkpoint and checkpoint.path.name,
        weights_sha256=checkpoint and checkpoint.sha256,
        weights_key=checkpoint and checkpoint.key,
        source_sha256=spec.source_sha256,
    )
