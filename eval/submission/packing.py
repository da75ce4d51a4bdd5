"""What a team sends: a zip of SR images for the server, and a bundle of code for the organisers."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from eval.config import EAGER, Protocol, RunConfig
from eval.data.datasets import Dataset
from eval.data.images import ImageSize
from eval.data.pairs import SCALE
from eval.device.pixels import to_uint8
from eval.errors import RunError, UsageError
from eval.files import module_of
from eval.inference.upscaler import Upscaler
from eval.metrics.trials import drawn_image
from eval.records.record import Record
from eval.run.evaluation import Evaluation
from eval.run.launch import Launch, resolved
from eval.run.model_source import LoadedModel, ModelSource, ZooModel
from eval.run.network_source import source_of_module
from eval.run.observer import Observer
from eval.submission.archive import smallest, write_archive
from eval.submission.inlining import one_file
from eval.submission.scoring_program import README, README_KEYS
from eval.submission.subject import Subject
from eval.third_party.remote import SandboxedUpscaler
from eval.third_party.submission import ModelFile
from eval.zoo.checkpoints import Checkpoint, file_sha256
from eval.zoo.from_file import parse_model_args
from eval.zoo.loading import load_weights, read_state, with_weights_told

_SIDE = 64


@dataclass(frozen=True)
class ResultsWish:
    """How a results zip is to be: what its names end in, whether PNGs are compressed as hard as they can be."""

    suffix: str = ""
    small: bool = False
    extra_data: bool = True
    description: str = ""


def pack_results(
    source: ModelSource, dataset: Dataset, device: str, wish: ResultsWish, path: Path, observer: Observer
) -> Record:
    """Run an entry on a set, timed as the challenge does it, and write the zip for the server.

    Raises:
        RunError: it could not be run on all images.
    """
    launch = Launch(images_dir=path.parent / "images")
    evaluation = Evaluation(RunConfig(protocol=Protocol.OFFICIAL, device=device), launch, observer)
    (record,) = evaluation.run([source], [dataset])
    runtime_ms = record.mean("runtime_ms")
    if not record.complete or runtime_ms is None or record.images_folder is None:
        raise RunError(f"{record.model.label}: {record.outcome}")
    folder = path.parent / "images" / record.images_folder
    # Lines that hold a colon are read by position, so the description stays on one.
    words, on_cpu = " ".join(wish.description.split()), record.settings.device == "cpu"
    values = (f"{runtime_ms / 1000:.4f}", int(on_cpu), int(wish.extra_data), words)
    readme = "".join(f"{key} : {value}\n" for key, value in zip(README_KEYS, values, strict=True))
    files: dict[str, bytes | Path] = {README: readme.encode()}
    for pair in dataset.pairs:
        png = folder / f"{pair.name}.png"
        files[f"{result_name(pair.name)}{wish.suffix}.png"] = smallest(png.read_bytes()) if wish.small else png
    if len(files) != len(dataset.pairs) + 1:
        raise RunError(f"{dataset.folder}: two images would get one name in the zip; rename one")
    write_archive(path, files)
    return record


def result_name(name: str) -> str:
    """Return an image's name without what marks an LR image: ``0901x4`` is the LR image of ``0901``."""
    return re.sub(rf"x{SCALE}$", "", name)


@dataclass(frozen=True)
class Bundle:
    """The code that a team sends: its number and class, and its files by their path in the zip."""

    number: int
    class_name: str
    data_range: float
    arguments: Mapping[str, object]
    source: str

    @property
    def module(self) -> str:
        """The challenge's name of its file."""
        return f"team{self.number:02}_{self.class_name}"

    @property
    def weights(self) -> str:
        """The challenge's name of its checkpoint."""
        return f"team{self.number:02}_{self.class_name.lower()}.pth"

    @property
    def branch(self) -> str:
        """The entry for ``select_model`` of test_demo.py."""
        given = ", ".join(f"{key}={value!r}" for key, value in self.arguments.items())
        return f"""    elif model_id == {self.number}:
        from models.{self.module} import {self.class_name}
        name, data_range = f"{{model_id:02}}_{self.class_name}", {self.data_range}
        model_path = os.path.join("model_zoo", "{self.weights}")
        model = {self.class_name}({given})
        model.load_state_dict(torch.load(model_path, map_location="cpu"), strict=True)
"""


def bundle_of(subject: Subject, number: int | None) -> Bundle:
    """Return the code bundle of an entry, as one file.

    Raises:
        UsageError: it is an entry of a checkout, which is in the challenge's form already, or has no weights.
        RunError: what it imports cannot be put into one file.
    """
    source = subject.source
    if not isinstance(source, ZooModel | ModelFile) or subject.module is None or not subject.checkpoints:
        raise UsageError(f"{source.info.label}: expected a network with weights, of the zoo or in a file")
    arguments = source.spec.arguments if isinstance(source, ZooModel) else parse_model_args(source.arguments)
    data_range, class_name = source.info.data_range or 1.0, subject.class_name or ""
    told = re.match(r"team(\d{2,})_", subject.module.rpartition(".")[2])
    known = int(told.group(1)) if told else max(source.info.id, 0)
    code = one_file(subject.root, subject.module)
    return Bundle(known if number is None else number, class_name, data_range, arguments, code)


def pack_code(subject: Subject, bundle: Bundle, device: str, path: Path, factsheet: Path | None = None) -> None:
    """Write the bundle of an entry as a zip, after its one file has given the same pixels on a device.

    Its parts lie beside the zip, in ``code/``; a factsheet is sent along.

    Raises:
        RunError: the file does not load these weights strictly, or gives other pixels.
    """
    folder, source = path.parent / "code", subject.source
    (folder / "models").mkdir(parents=True, exist_ok=True)
    (folder / "model_zoo").mkdir(exist_ok=True)
    code, weights = folder / "models" / f"{bundle.module}.py", folder / "model_zoo" / bundle.weights
    code.write_text(bundle.source, encoding="utf-8")
    (checkpoint,) = subject.checkpoints
    with _opened(source, device) as entry:
        pixels, wanted = _pixels(entry), _wanted(entry)
    kept = read_state(Checkpoint(checkpoint, file_sha256(checkpoint), None, source.info.weights_key), wanted)
    torch.save(kept, weights)
    with _opened(_packed(source, bundle, code, weights), device) as packed:
        _verify(packed, pixels, source.info.label)
    command = f"python test_demo.py --data_dir DATA --save_dir results --model_id {bundle.number}\n"
    files: dict[str, bytes | Path] = {
        f"models/{code.name}": code,
        f"model_zoo/{weights.name}": weights,
        "select_model.txt": bundle.branch.encode(),
        "command.txt": command.encode(),
    }
    write_archive(path, files | ({factsheet.name: factsheet} if factsheet else {}))


def _packed(source: ModelSource, bundle: Bundle, code: Path, weights: Path) -> ModelSource:
    """Return what was packed as a source; a file of one's own runs where the entry's file ran."""
    if isinstance(source, ModelFile):
        return replace(source, file=code.resolve(), checkpoint=weights.resolve(), weights_key=None)
    network = getattr(module_of(code, f"packed_{bundle.module}"), bundle.class_name)(**bundle.arguments)
    told = load_weights(network, Checkpoint(weights, file_sha256(weights), None))
    found = source_of_module(network, bundle.data_range)
    return replace(found, info=with_weights_told(found.info, told))


@contextmanager
def _opened(source: ModelSource, device: str) -> Iterator[LoadedModel]:
    """Make an entry ready for a small image, as it is packed or as it came: by plain torch, in float32."""
    config = RunConfig(protocol=Protocol.ACCURACY, device=device, engine=EAGER, tile=None, tf32=False)
    with source.open(resolved(config), ImageSize(_SIDE, _SIDE)) as loaded, loaded.on_device():
        yield loaded


def _pixels(loaded: LoadedModel) -> np.ndarray:
    return loaded(to_uint8(drawn_image(_SIDE)[0], 1.0))[0]


def _wanted(loaded: LoadedModel) -> Mapping[str, Tensor]:
    """Return the state dict that a network has; without values where a worker holds it."""
    if isinstance(loaded, Upscaler):
        return loaded.network.state_dict()
    assert isinstance(loaded, SandboxedUpscaler)
    return loaded.state()


def _verify(packed: LoadedModel, pixels: np.ndarray, label: str) -> None:
    """Refuse a packed entry that select_model could not load as it stands, or that has other pixels."""
    if steps := packed.info.weights_steps:
        raise RunError(
            f"{label}: expected weights that load_state_dict takes with strict=True as they are, got some that first "
            f"need this: {'; '.join(steps)}; give a file of network.state_dict(). Nothing was packed"
        )
    if (_pixels(packed) != pixels).any():
        raise RunError(f"{label}: its one file gives other pixels than the entry; nothing was packed")
