"""Submissions as sources of models: described without running a line of them, opened in a sandbox."""

import hashlib
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch

from eval.config import EAGER, Protocol, RunConfig
from eval.data.images import ImageSize
from eval.data.pairs import SCALE
from eval.device.placing import GPU_FILES, gpu_files, worker_gpu
from eval.errors import UsageError
from eval.files import PROJECT, beginning, sha256_within, states_of, why_unfit
from eval.records.record import SHOWN_OF_A_HASH, State
from eval.run.failures import CannotRunError
from eval.run.model_source import LoadedModel, Settled
from eval.sources import file_and_imports, files_of, hash_of_file, packages_of
from eval.third_party.account import moving_s_per_byte
from eval.third_party.bubblewrap import OURS, Mounts
from eval.third_party.checkout import source_of
from eval.third_party.connection import Connection
from eval.third_party.entries import MODEL_ZOO, Checkout, Entry
from eval.third_party.faults import NO_GPU, one_line
from eval.third_party.guard import Limits
from eval.third_party.handover import Handed, files_below, files_beside
from eval.third_party.kinds import SandboxKind
from eval.third_party.processor import processors
from eval.third_party.remote import SandboxedUpscaler
from eval.third_party.sandbox import start
from eval.words import printable
from eval.zoo.from_file import called_with, parse_model_args
from eval.zoo.model_info import OF_A_FILE, ModelInfo

LARGEST_RANGE = 65535.0
_MOST_SHIMS, _MOST_STEPS = 40, 10
# Labels become names of folders.
_MOST_BYTES_OF_A_LABEL = 100


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


class InWorker:
    """A model that a worker runs as it came."""

    def settled(self, config: RunConfig, _largest: ImageSize) -> Settled:
        """Return how it runs: as plain torch, on whole images."""
        return Settled(config.replaced(tile=None, engine=EAGER))


class OfFiles(InWorker):
    """A model of files that a worker reads, which are hashed before and after it does."""

    @property
    def info(self) -> ModelInfo:
        """What is known of it by reading, as its files were when they were first read."""
        return self._described

    def weights_now(self) -> str | None:
        """Return the hash of its weights as they are now; they are read again where ``states_of`` tells others."""
        states, sha256 = self._weights_at_first
        return sha256 if states_of(self._files_of_weights()) == states else self._hash_of_weights()

    @cached_property
    def _weights_at_first(self) -> tuple[list, str | None]:
        # In this order, so that what is written meanwhile is noticed.
        return states_of(self._files_of_weights()), self._hash_of_weights()

    @cached_property
    def _described(self) -> ModelInfo:
        raise NotImplementedError

    def _files_of_weights(self) -> list[Path]:
        raise NotImplementedError

    def _hash_of_weights(self) -> str | None:
        raise NotImplementedError


@dataclass(frozen=True)
class Submission(OfFiles):
    """An entry of a checkout."""

    checkout: Checkout
    entry: Entry
    rules: Rules

    @cached_property
    def _described(self) -> ModelInfo:
        entry = self.entry
        return ModelInfo(
            id=entry.id,
            name=entry.name,
            label=entry.label,
            team=f"team {entry.id:02}",
            scale=SCALE,
            data_range=entry.data_range,
            checkpoint=None,
            weights_file=Path(entry.weights[-1]).name if entry.weights else None,
            weights_sha256=self._weights_at_first[1],
            source_sha256=entry.source_sha256,
            origin=self.checkout.origin,
            packages=packages_of(self.checkout.path, files_of(self.checkout.path, entry.modules), entry.modules),
        )

    @property
    def note(self) -> str:
        """Where it comes from."""
        return printable(f"entry {self.entry.id} of {self.checkout.path}")

    @property
    def given_folders(self) -> tuple[Path, ...]:
        """The folders whose files are handed to it."""
        return (self.checkout.path,)

    def source_now(self) -> str | None:
        """Return the hash of its source as the checkout is now; None if it has no such entry any more."""
        return source_of(self.checkout.path, self.entry.id)

    def _files_of_weights(self) -> list[Path]:
        if self.entry.weights:
            return list(self.checkout.weights_of(self.entry).values())
        return [file for file in sorted((self.checkout.path / MODEL_ZOO).rglob("*")) if os.path.isfile(file)]

    def _hash_of_weights(self) -> str | None:
        return self.checkout.weights_sha256(self.entry)

    @contextmanager
    def open(self, config: RunConfig, _largest: ImageSize) -> Iterator[LoadedModel]:
        """Build it in a sandbox of its own."""
        if not self.entry.defines_model:
            withheld = "its branch of select_model defines no model: it was withheld"
            raise CannotRunError(State.FAILED_TO_BUILD, self.entry.fault or withheld)
        places = self.checkout.weights_of(self.entry)
        if missing := [file for file in self.entry.weights if file not in places]:
            raise self._without(missing)
        asked = {"model_id": self.entry.id, "forward": self.entry.forward}
        asked |= {"counts_with_hooks": self.checkout.counts_with_hooks}
        handed = files_below(self.checkout.path, first=places.values())
        sizes = [its.size for its in handed if its.path in places.values()]
        with opened(self.info, self.rules, config, {"entry": asked}, handed) as loaded:
            loaded.weights_bytes = sum(sizes) if sizes else None
            yield loaded

    def _without(self, missing: Sequence[str]) -> CannotRunError:
        """Say why files of weights cannot be handed over: most often they are not there."""
        root = self.checkout.path
        there = [file for file in missing if os.path.lexists(root / file)]
        if unfit := [f"{file} {reason}" for file in there if (reason := why_unfit(root / file, root))]:
            return CannotRunError(State.REFUSED, one_line(", ".join(unfit)))
        return CannotRunError(State.MISSING_CHECKPOINT, one_line(f"{', '.join(missing)} is not in the checkout"))


def _label(name: str) -> str:
    """Return a name as it is shown; one of which letters are left out or replaced has its hash, which no other has."""
    shown = beginning(printable(name).replace("/", "_"), _MOST_BYTES_OF_A_LABEL)
    return shown if shown == name else f"{shown}-{hashlib.sha256(os.fsencode(name)).hexdigest()[:SHOWN_OF_A_HASH]}"


@dataclass(frozen=True)
class ModelFile(OfFiles):
    """A class or function of a single file with a checkpoint: the form that a participant has in hand.

    Attributes:
        checkpoint: None for a network that is run untrained.
        more: folders that its code needs besides what it imports of its own folder.
        arguments: what the class or function is called with, as ``--model_args`` has it.
        weights_key: where in the checkpoint the weights are; None to look for them.
    """

    file: Path
    class_name: str
    checkpoint: Path | None
    data_range: float
    rules: Rules
    more: tuple[Path, ...] = ()
    arguments: str = ""
    weights_key: str | None = None

    @cached_property
    def _described(self) -> ModelInfo:
        return ModelInfo(
            id=0,
            name=self.class_name,
            label=_label(called_with(f"{self.file.stem}-{self.class_name}", parse_model_args(self.arguments))),
            team="",
            scale=SCALE,
            data_range=self.data_range,
            checkpoint=None,
            weights_file=self.checkpoint and printable(self.checkpoint.name),
            weights_sha256=self._weights_at_first[1],
            source_sha256=self.source_now(),
            origin=OF_A_FILE,
            packages=self._packages(),
            weights_key=self.weights_key,
        )

    @property
    def note(self) -> str:
        """Where it comes from."""
        weights = self.checkpoint or "none: untrained"
        return printable(f"{self.class_name}({self.arguments}) of {self.file}, weights {weights}")

    @property
    def given_folders(self) -> tuple[Path, ...]:
        """The folders whose files are handed to it."""
        return self.more

    def source_now(self) -> str:
        """Return the hash of its code, and of every file of the folders that come with it, as the files are now."""
        of_code = hash_of_file(self.file, self.arguments)
        if not self.more:
            return of_code
        digest = hashlib.sha256(of_code.encode())
        for handed in files_beside(self.file, self.more):
            digest.update(os.fsencode(f"{handed.place}\n{sha256_within(handed.path, handed.folder)}"))
        return digest.hexdigest()

    def _packages(self) -> tuple[str, ...]:
        code = [(self.file.parent, file_and_imports(self.file))]
        code += [(folder.parent, {*folder.rglob("*.py")}) for folder in self.more]
        return tuple(sorted({package for root, files in code for package in packages_of(root, files)}))

    def _files_of_weights(self) -> list[Path]:
        return [self.checkpoint] if self.checkpoint else []

    def _hash_of_weights(self) -> str | None:
        return self.checkpoint and sha256_within(self.checkpoint, self.checkpoint.parent)

    def open(self, config: RunConfig, _largest: ImageSize) -> AbstractContextManager[LoadedModel]:
        """Build it in a sandbox of its own."""
        asked = {"file": self.file.name, "class": self.class_name, "arguments": self.arguments}
        asked |= {"data_range": self.data_range, "weights_key": self.weights_key}
        code = files_beside(self.file, self.more)
        return opened_file(self.info, self.rules, config, asked, code, self.checkpoint)


@contextmanager
def opened_file(
    info: ModelInfo,
    rules: Rules,
    config: RunConfig,
    asked: dict[str, Any],
    code: Sequence[Handed],
    weights: Path | None,
) -> Iterator[SandboxedUpscaler]:
    """Open the network of a file: its code lies in ``code/``, its weights in ``checkpoint/``."""
    handed = [replace(its, place=f"code/{its.place}") for its in code]
    of_weights = [Handed(f"checkpoint/{its.name}", its, its.parent) for its in (weights,) if its]
    request = {"model_file": {**asked, "checkpoint": of_weights[0].place if of_weights else None}}
    with opened(info, rules, config, request, [*handed, *of_weights]) as loaded:
        loaded.weights_bytes = of_weights[0].size if of_weights else None
        yield loaded


@contextmanager
def opened(
    info: ModelInfo,
    rules: Rules,
    config: RunConfig,
    request: dict[str, Any],
    handed: Sequence[Handed] = (),
    graph: bytes = b"",
) -> Iterator[SandboxedUpscaler]:
    """Start a worker, let it load a submission or a graph of one, and end it."""
    device = torch.device(config.device)
    threads = config.threads or torch.get_num_threads()
    command = [sys.executable, "-m", "eval.third_party.worker"]
    shown = {its.place: os.path.realpath(its.path) for its in handed if its.is_shown}
    devices = tuple(gpu_files()) if device.type == "cuda" else ()
    if device.type == "cuda" and not devices and rules.sandbox is not SandboxKind.NONE:
        lacking = f"there is no {' or '.join(GPU_FILES)} to show in it"
        raise CannotRunError(State.MISSING_DEPENDENCY, NO_GPU.format(lacking))
    mounts = Mounts((OURS, *map(Path, shown.values())), devices)
    name, gpu = worker_gpu(device)
    # Passes side by side must not all have the same processors.
    timed = config.protocol is not Protocol.ACCURACY and device.type == "cpu"
    limits = replace(rules.limits, cpus=processors(threads) if timed else None)
    # Kept from here on: beside their code it would take longer, and allow them more.
    moving_s_per_byte()
    with start(command, rules.sandbox, mounts, limits, _environment(threads, gpu)) as sandboxed:
        connection = Connection(sandboxed, rules.timeout_s)
        for file in handed:
            if file.place not in shown:
                connection.ask("give", file.read(), place=file.place)
        how = {"device": name, "threads": threads, "shown": shown, "trusted": rules.trusted}
        how |= {"tf32": bool(config.tf32), "as_template": config.is_timed}
        answer, _ = connection.ask("load", graph, **request, **how)
        rests = config.protocol is Protocol.STEADY
        if rests:
            sandboxed.rest()
        info = _completed(info, answer.header)
        open_graph = partial(opened, info, rules, config, {"graph_range": info.data_range}, ())
        yield SandboxedUpscaler(info, device, connection, threads=threads, rests=rests, open_graph=open_graph)


def _completed(info: ModelInfo, header: dict[str, Any]) -> ModelInfo:
    """Add what only running tells: the data range, which shims were met, and how weights were taken from their file."""
    data_range, told = header.get("data_range"), header.get("weights")
    if type(data_range) is not float or not 0 < data_range <= LARGEST_RANGE:
        raise CannotRunError(State.FAILED_TO_BUILD, f"its data range is {one_line(str(data_range)[:40])}")
    weights = told if isinstance(told, dict) else {}
    shims, steps, stored = header.get("shims"), weights.get("steps"), weights.get("stored")
    found = {
        "data_range": data_range,
        "shims": tuple(one_line(str(name)[:80]) for name in shims[:_MOST_SHIMS]) if isinstance(shims, list) else (),
        "weights_steps": tuple(one_line(str(step)) for step in steps[:_MOST_STEPS]) if isinstance(steps, list) else (),
        "weights_stored": one_line(stored)[:40] if isinstance(stored, str) else None,
    }
    return info.model_copy(update=found)


def _environment(threads: int, gpu: str | None) -> dict[str, str]:
    """Return the environment of a worker, which sees one GPU at most: nothing else of the user's."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH", "CUDA_DEVICE_ORDER") if name in os.environ}
    kept |= {} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu}
    quiet = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONNOUSERSITE": "1", "HF_HUB_OFFLINE": "1"}
    return {"PYTHONPATH": str(PROJECT), **quiet, **kept, **{name: str(threads) for name in names}}
