"""What a team sends: a zip of SR images for the server, and a bundle of code for the organisers."""

import re
from argparse import Namespace
from collections.abc import Iterator, Mapping
from contextlib import chdir, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor

from eval.config import EAGER, Protocol, RunConfig
from eval.data.datasets import Dataset
from eval.data.images import ImageSize
from eval.data.pairs import SCALE
from eval.device.pixels import to_uint8
from eval.errors import RunError, UsageError, one_reason
from eval.files import importing_beside, module_of, write_whole
from eval.inference.upscaler import Upscaler
from eval.metrics.trials import drawn_image
from eval.records.record import Record
from eval.run.evaluation import Evaluation
from eval.run.failures import CannotRunError
from eval.run.launch import Launch, resolved
from eval.run.model_source import LoadedModel, ModelSource, ZooModel
from eval.run.network_source import source_of_module
from eval.run.observer import Observer
from eval.submission.archive import smallest, write_archive
from eval.submission.inlining import one_file
from eval.submission.scoring_program import README, README_KEYS
from eval.submission.subject import Subject
from eval.third_party.checkout import DEMO, SELECT, read_checkout
from eval.third_party.faults import one_line
from eval.third_party.remote import SandboxedUpscaler
from eval.third_party.submission import ModelFile, Submission
from eval.zoo.checkpoints import Checkpoint, file_sha256
from eval.zoo.from_file import parse_model_args
from eval.zoo.loading import read_state

_SIDE = 64
# The challenge's script around a branch, as far as it matters to a network.
_DEMO = """import os
import torch


def select_model(args, device):
    model_id = args.model_id
    if False:
        pass
{}    return model.eval().to(device), name, data_range, None
"""


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
    """The code that a team sends: its number and class, and its files by their path in the zip.

    ``is_made`` is False for a network that the file holds as it is: then there is nothing to call.
    """

    number: int
    class_name: str
    data_range: float
    arguments: Mapping[str, object]
    source: str
    is_made: bool = True

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
        network = f"{self.class_name}({given})" if self.is_made else self.class_name
        return f"""    elif model_id == {self.number}:
        from models.{self.module} import {self.class_name}
        name, data_range = f"{{model_id:02}}_{self.class_name}", {self.data_range}
        model_path = os.path.join("model_zoo", "{self.weights}")
        model = {network}
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
    """Write the bundle of an entry as a zip, after ``select_model`` with it has given the same pixels on a device.

    Its parts lie beside the zip, in ``code/``; a factsheet is sent along.

    Raises:
        RunError: the file cannot be run so, does not load these weights strictly, or gives other pixels.
    """
    folder, source = path.parent / "code", subject.source
    (folder / "models").mkdir(parents=True, exist_ok=True)
    (folder / "model_zoo").mkdir(exist_ok=True)
    code, weights = folder / "models" / f"{bundle.module}.py", folder / "model_zoo" / bundle.weights
    code.write_text(bundle.source, encoding="utf-8")
    (checkpoint,) = subject.checkpoints
    with _opened(source, device) as entry:
        pixels, (wanted, is_held) = _pixels(entry), _wanted(entry)
    bundle = replace(bundle, is_made=not is_held)
    kept = read_state(Checkpoint(checkpoint, file_sha256(checkpoint), None, source.info.weights_key), wanted)
    torch.save(kept, weights)
    command = f"python test_demo.py --data_dir DATA --save_dir results --model_id {bundle.number}\n"
    files: dict[str, bytes | Path] = {
        f"models/{code.name}": code,
        f"model_zoo/{weights.name}": weights,
        "select_model.txt": bundle.branch.encode(),
        "command.txt": command.encode(),
    }
    _verify(source, bundle, files, device, pixels)
    write_archive(path, files | ({factsheet.name: factsheet} if factsheet else {}))


def _verify(
    source: ModelSource, bundle: Bundle, files: Mapping[str, bytes | Path], device: str, pixels: np.ndarray
) -> None:
    """Refuse files that ``select_model`` cannot run, or with other pixels, where nothing but them can be imported."""
    label, code = source.info.label, f"models/{bundle.module}.py"
    with TemporaryDirectory() as made:
        folder = Path(made).resolve()
        for name, content in files.items():
            write_whole(folder / name, content.read_bytes() if isinstance(content, Path) else content)
        write_whole(folder / DEMO, _DEMO.format(bundle.branch))
        try:
            with importing_beside(folder / DEMO), _opened(_packed(source, folder, bundle.number), device) as packed:
                found = _pixels(packed)
        except Exception as error:
            why = one_line(str(error) if isinstance(error, CannotRunError) else one_reason(error))
            told = f"{label}: its one file, {code}, does not run in select_model: {why}; nothing was packed"
            raise RunError(told) from error
    if (found != pixels).any():
        raise RunError(f"{label}: its one file, {code}, gives other pixels than the entry; nothing was packed")


def _packed(source: ModelSource, folder: Path, number: int) -> ModelSource:
    """Return what was packed as a source; a file of one's own runs where the entry's file ran."""
    if isinstance(source, ModelFile):
        checkout = read_checkout(folder)
        return Submission(checkout, checkout.entries[0], source.rules)
    with chdir(folder):
        select = getattr(module_of(folder / DEMO, "packed_demo"), SELECT)
        network, _, data_range, _ = select(Namespace(model_id=number), torch.device("cpu"))
    return source_of_module(network, data_range)


@contextmanager
def _opened(source: ModelSource, device: str) -> Iterator[LoadedModel]:
    """Make an entry ready for a small image, as it is packed or as it came: by plain torch, in float32."""
    config = RunConfig(protocol=Protocol.ACCURACY, device=device, engine=EAGER, tile=None, tf32=False)
    with source.open(resolved(config), ImageSize(_SIDE, _SIDE)) as loaded, loaded.on_device():
        yield loaded


def _pixels(loaded: LoadedModel) -> np.ndarray:
    return loaded(to_uint8(drawn_image(_SIDE)[0], 1.0))[0]


def _wanted(loaded: LoadedModel) -> tuple[Mapping[str, Tensor], bool]:
    """Return the state dict that a network has, and whether its file holds the network itself.

    Where a worker has it, the state dict has no values.
    """
    if isinstance(loaded, Upscaler):
        return loaded.network.state_dict(), False
    assert isinstance(loaded, SandboxedUpscaler)
    return loaded.state()
