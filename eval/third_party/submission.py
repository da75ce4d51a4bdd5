"""Submissions as sources of models: described without running a line of them, opened in a sandbox."""

import hashlib
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from eval.config import RunConfig
from eval.data.images import ImageSize
from eval.data.pairs import SCALE
from eval.device.placing import worker_gpu
from eval.errors import UsageError
from eval.files import PROJECT
from eval.records.record import State
from eval.run.failures import CannotRunError
from eval.run.model_source import LoadedModel
from eval.sources import hash_of_file
from eval.third_party.checkout import Checkout, Entry, is_present
from eval.third_party.faults import one_line
from eval.third_party.remote import Connection, SandboxedUpscaler
from eval.third_party.sandbox import Limits, Mounts, SandboxKind, start
from eval.zoo.model_info import ModelInfo

LARGEST_RANGE = 65535.0
_MOST_SHIMS, _MOST_STEPS = 40, 10
# Labels become names of folders.
_LONGEST_LABEL = 100


@dataclass(frozen=True)
class Rules:
    """How third-party code is run.

    Attributes:
        trusted: open checkpoints that are not plain tensors; inside the sandbox.
        timeout_s: for building, for one image, and for counting, each.
    """

    sandbox: SandboxKind
    trusted: bool = False
    timeout_s: float = 900.0
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        """Refuse to open code outside of a sandbox."""
        if self.trusted and self.sandbox is SandboxKind.NONE:
            raise UsageError("--trust opens checkpoints that run code, only ever in a sandbox: not with --sandbox none")


@dataclass(frozen=True)
class Submission:
    """An entry of a checkout."""

    checkout: Checkout
    entry: Entry
    rules: Rules

    @property
    def info(self) -> ModelInfo:
        """What is known of it by reading."""
        entry, present = self.entry, not self._missing()
        return ModelInfo(
            id=entry.id,
            name=entry.name,
            label=entry.label,
            team=f"team {entry.id:02}",
            scale=SCALE,
            data_range=entry.data_range,
            checkpoint=None,
            weights_file=Path(entry.weights[-1]).name if entry.weights else None,
            weights_sha256=self.checkout.weights_sha256(entry) if entry.weights and present else None,
            source_sha256=entry.source_sha256,
            origin=self.checkout.origin,
        )

    @property
    def note(self) -> str:
        """Where it comes from."""
        return f"entry {self.entry.id} of {self.checkout.path}"

    def settled(self, config: RunConfig, _largest: ImageSize) -> tuple[RunConfig, tuple[str, ...]]:
        """Return how it runs: on whole images."""
        return config.replaced(tile=None), ()

    @contextmanager
    def open(self, config: RunConfig, _largest: ImageSize) -> Iterator[LoadedModel]:
        """Build it in a sandbox of its own."""
        if not self.entry.defines_model:
            raise CannotRunError(State.FAILED_TO_BUILD, "its branch of select_model defines no model: it was withheld")
        if missing := self._missing():
            raise CannotRunError(State.MISSING_CHECKPOINT, f"{', '.join(missing)} is not in the checkout")
        request = {
            "checkout": str(self.checkout.path),
            "model_id": self.entry.id,
            "forward": self.entry.forward,
            "weights_folders": [str(self.checkout.path / "model_zoo")],
        }
        with _opened(self.info, self.rules, config, request, (self.checkout.path,)) as loaded:
            yield loaded

    def _missing(self) -> list[str]:
        """Return the files of weights that the branch names and that are not here, under no case of their name."""
        folder = self.checkout.path / "model_zoo"
        here = {file.name.lower() for file in folder.iterdir() if is_present(file)} if folder.is_dir() else set()
        return [file for file in self.entry.weights if Path(file).name.lower() not in here]


@dataclass(frozen=True)
class ModelFile:
    """A class or function of a single file with a checkpoint: the form that a participant has in hand.

    Attributes:
        checkpoint: None for a network that is run untrained.
        arguments: what the class or function is called with, as ``--model_args`` has it.
        weights_key: where in the checkpoint the weights are; None to look for them.
    """

    file: Path
    class_name: str
    checkpoint: Path | None
    data_range: float
    rules: Rules
    arguments: str = ""
    weights_key: str | None = None

    @property
    def info(self) -> ModelInfo:
        """What is known of it by reading."""
        return ModelInfo(
            id=0,
            name=self.class_name,
            label=f"{self.file.stem}-{self.class_name}"[:_LONGEST_LABEL],
            team="",
            scale=SCALE,
            data_range=self.data_range,
            checkpoint=None,
            weights_file=self.checkpoint and self.checkpoint.name,
            weights_sha256=self.checkpoint and hashlib.sha256(self.checkpoint.read_bytes()).hexdigest(),
            source_sha256=hash_of_file(self.file, self.arguments),
            origin="file",
            weights_key=self.weights_key,
        )

    @property
    def note(self) -> str:
        """Where it comes from."""
        return f"{self.class_name}({self.arguments}) of {self.file}, weights {self.checkpoint or 'none: untrained'}"

    def settled(self, config: RunConfig, _largest: ImageSize) -> tuple[RunConfig, tuple[str, ...]]:
        """Return how it runs: on whole images."""
        return config.replaced(tile=None), ()

    @contextmanager
    def open(self, config: RunConfig, _largest: ImageSize) -> Iterator[LoadedModel]:
        """Build it in a sandbox of its own."""
        names = {"file": str(self.file), "class": self.class_name, "data_range": self.data_range}
        names |= {"checkpoint": self.checkpoint and str(self.checkpoint), "weights_key": self.weights_key}
        request = {"model_file": {**names, "arguments": self.arguments}, "weights_folders": []}
        readable = (self.file.parent, *([self.checkpoint] if self.checkpoint else []))
        with _opened(self.info, self.rules, config, request, readable) as loaded:
            yield loaded


@contextmanager
def _opened(
    info: ModelInfo, rules: Rules, config: RunConfig, request: dict[str, Any], readable: Sequence[Path]
) -> Iterator[SandboxedUpscaler]:
    """Start a worker, let it load a submission, and end it."""
    device = torch.device(config.device)
    threads = config.threads or torch.get_num_threads()
    command = [sys.executable, "-m", "eval.third_party.worker"]
    mounts = Mounts((PROJECT / "eval", *readable), _devices(device))
    name, gpu = worker_gpu(device, os.environ.get("CUDA_VISIBLE_DEVICES"))
    with start(command, rules.sandbox, mounts, rules.limits, _environment(threads, gpu)) as sandboxed:
        connection = Connection(sandboxed, rules.timeout_s)
        request |= {"device": name, "threads": threads}
        request |= {"tf32": bool(config.tf32), "as_template": config.is_timed}
        answer, _ = connection.ask("load", trusted=rules.trusted, **request)
        yield SandboxedUpscaler(_completed(info, answer.header), device, connection)


def _completed(info: ModelInfo, header: dict[str, Any]) -> ModelInfo:
    """Add what only running tells: the data range, and which shims were met."""
    data_range, shims = header.get("data_range"), header.get("shims")
    if type(data_range) is not float or not 0 < data_range <= LARGEST_RANGE:
        raise CannotRunError(State.FAILED_TO_BUILD, f"its data range is {one_line(str(data_range)[:40])}")
    told = [one_line(str(name)[:80]) for name in shims[:_MOST_SHIMS]] if isinstance(shims, list) else []
    return info.model_copy(update={"data_range": data_range, "shims": tuple(told), **_weights_told(header)})


def _weights_told(header: dict[str, Any]) -> dict[str, Any]:
    """Return what a worker tells of how it took weights from their file, in the fields of a record."""
    told = header.get("weights")
    steps, stored = (told.get("steps"), told.get("stored")) if isinstance(told, dict) else (None, None)
    kept = [one_line(str(step)) for step in steps[:_MOST_STEPS]] if isinstance(steps, list) else []
    return {"weights_steps": tuple(kept), "weights_stored": one_line(stored)[:40] if isinstance(stored, str) else None}


def _devices(device: torch.device) -> tuple[Path, ...]:
    return tuple(sorted(Path("/dev").glob("nvidia*"))) if device.type == "cuda" else ()


def _environment(threads: int, gpu: str | None) -> dict[str, str]:
    """Return the environment of a worker, which sees one GPU at most: nothing else of the user's."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
    kept |= {} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu}
    quiet = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONNOUSERSITE": "1", "HF_HUB_OFFLINE": "1"}
    return {"PYTHONPATH": str(PROJECT), **quiet, **kept, **{name: str(threads) for name in names}}
