"""The model zoo: ``model_zoo/manifest.toml`` as frozen, checked rows, and networks built from them."""

import ast
import difflib
import importlib
import re
from collections import Counter
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, field_validator

from eval.errors import RunError, UsageError
from eval.files import PROJECT
from eval.frozen import Frozen
from eval.sources import hash_at_first, hash_of_sources
from eval.toml_files import read_toml

if TYPE_CHECKING:
    from torch import nn

MODEL_ZOO = PROJECT / "model_zoo"
MANIFEST = MODEL_ZOO / "manifest.toml"
# Names and files become paths under the user's folders.
PlainName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
StrictCount = Annotated[int, Field(gt=0, strict=True)]
# Of a row, what changes no figure of its network.
_WORDS = {"team", "edition", "note", "license", "paper", "code", "own", "counts", "checkpoints"}


class CheckpointSpec(Frozen):
    """One published file of weights: where it comes from and how to know it."""

    name: PlainName
    file: PlainName
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: StrictCount
    url: str | None = None


class Counts(Frozen):
    """What a network costs, as ``measure_complexity`` counts it, so that a list of models counts nothing."""

    num_params: StrictCount
    flops: StrictCount
    activations: StrictCount
    num_conv: StrictCount


class ModelSpec(Frozen):
    """One row of the manifest."""

    id: int = Field(ge=-1, strict=True)
    name: PlainName
    team: str
    edition: str
    note: str
    target: str = Field(pattern=r"^[\w.]+:\w+$")
    arguments: dict[str, Any] = {}
    scale: StrictCount
    data_range: float = Field(gt=0, allow_inf_nan=False, strict=True)
    min_size: StrictCount
    tile_step: StrictCount = 1
    license: str
    paper: str
    code: str | None = None
    own: bool = False
    counts: Counts | None = None
    checkpoints: tuple[CheckpointSpec, ...] = ()

    @field_validator("scale")
    @classmethod
    def _is_the_challenges(cls, scale: int) -> int:
        if scale != 4:
            raise ValueError(f"expected 4, got {scale}: images, metrics and the bicubic here are those of x4")
        return scale

    @property
    def label(self) -> str:
        """The name in tables and folders: two digits of id and the name, as in the challenge."""
        return self.name if self.id < 0 else f"{self.id:02}_{self.name}"

    @property
    def source_sha256(self) -> str:
        """The hash of the files that the network is made of, with all that they import, and of the manifest's row.

        Files count as this process first saw them, and so as it imports them.
        """
        return hash_at_first(PROJECT, *self._made_of)

    def source_now(self) -> str:
        """Return the same hash of the files as they are now."""
        return hash_of_sources(PROJECT, *self._made_of)

    @property
    def _made_of(self) -> tuple[tuple[str, ...], str]:
        return (self.target.partition(":")[0],), self.model_dump_json(exclude=_WORDS)

    def build(self) -> "nn.Module":
        """Construct the network on the CPU, in eval mode, with untrained weights.

        Raises:
            RunError: there is no such module or class, or it takes other arguments; the message names the row, and
                the nearest name or what is taken.
        """
        from eval.zoo.from_file import fault_of_arguments

        module, _, class_name = self.target.partition(":")
        # Before the import, so that what is remembered is what is imported.
        hash_at_first(PROJECT, *self._made_of)
        try:
            found = importlib.import_module(module)
        except ModuleNotFoundError as error:
            # What the network's own file imports in vain is another fault.
            if error.name is None or not f"{module}.".startswith(f"{error.name}."):
                raise
            raise _no_module(self, module) from error
        if not hasattr(found, class_name):
            raise _no_class(self, module, class_name, dir(found))
        made = getattr(found, class_name)
        if fault := fault_of_arguments(made, class_name, self.arguments):
            raise RunError(f"{_row(self, 'arguments')}: {fault}")
        return made(**self.arguments).eval()

    def check_target(self) -> None:
        """See that the project has the module and the class, by reading alone; errors as of ``build``."""
        module, _, class_name = self.target.partition(":")
        path = PROJECT / f"{module.replace('.', '/')}.py"
        if not path.is_file():
            raise _no_module(self, module)
        classes = [node.name for node in ast.parse(path.read_bytes()).body if isinstance(node, ast.ClassDef)]
        if class_name not in classes:
            raise _no_class(self, module, class_name, classes)


def _no_module(spec: ModelSpec, module: str) -> RunError:
    beside = (PROJECT / module.replace(".", "/")).parent.glob("*.py")
    names = [".".join((*module.split(".")[:-1], path.stem)) for path in beside]
    return RunError(f"{_row(spec)}: there is no module {module}.{_nearest(module, names)}")


def _no_class(spec: ModelSpec, module: str, class_name: str, known: Iterable[str]) -> RunError:
    return RunError(f"{_row(spec)}: {module} has no class {class_name}.{_nearest(class_name, known)}")


def _row(spec: ModelSpec, key: str = "target") -> str:
    return f"{MANIFEST.name}: the row of {spec.label}: {key} {getattr(spec, key)!r}"


def _nearest(name: str, names: Iterable[str]) -> str:
    """Return a hint at the most similar name, if there is one."""
    near = difflib.get_close_matches(name, names, n=1)
    return f" Did you mean {near[0]}?" if near else ""


class _Manifest(Frozen):
    model: tuple[ModelSpec, ...]


def read_manifest(path: Path) -> tuple[ModelSpec, ...]:
    """Read and check a manifest.

    Raises:
        RunError: a row lacks a key, has an unknown one or a wrong value, or an id, name or file occurs twice.
    """
    specs = read_toml(path, _Manifest, " (model.N counts the rows from 0)").model
    checkpoints = [(spec, checkpoint) for spec in specs for checkpoint in spec.checkpoints]
    for what, values in (
        ("id", [spec.id for spec in specs]),
        ("name", [spec.name.lower() for spec in specs]),
        ("checkpoint file", [checkpoint.file for _, checkpoint in checkpoints]),
        ("checkpoint of a model", [f"{spec.name} {checkpoint.name}" for spec, checkpoint in checkpoints]),
    ):
        repeated = [str(value) for value, count in Counter(values).items() if count > 1]
        if repeated:
            raise RunError(f"{path}: every {what} must be unique; repeated: {', '.join(repeated)}")
    return specs


@cache
def all_models() -> tuple[ModelSpec, ...]:
    """Return every row of the project's manifest, in its order."""
    return read_manifest(MANIFEST)


def find_model(key: str | int) -> ModelSpec:
    """Look a model up by id or by name (case does not matter).

    Raises:
        UsageError: there is none; the message lists what exists and the nearest name.
    """
    wanted = str(key).strip().lower()
    for spec in all_models():
        names = {spec.name.lower(), spec.label.lower()}
        if wanted in names or (re.fullmatch(r"-?0*\d{1,9}", wanted) and int(wanted) == spec.id):
            return spec
    known = ", ".join(f"{spec.id} {spec.name}" for spec in all_models())
    hint = _nearest(wanted, [spec.name.lower() for spec in all_models()])
    raise UsageError(f"no model '{key}'.{hint} There are: {known}")
