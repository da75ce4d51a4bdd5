"""The model zoo: ``model_zoo/manifest.toml`` as frozen, checked rows, and networks built from them."""

import difflib
import hashlib
import importlib
import importlib.util
import re
import tomllib
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import nn

from eval.errors import RunError, UsageError, explain

MODEL_ZOO = Path(__file__).resolve().parent.parent / "model_zoo"
MANIFEST = MODEL_ZOO / "manifest.toml"
# Names and files become paths under the user's folders.
PlainName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]

StrictCount = Annotated[int, Field(gt=0, strict=True)]


class CheckpointSpec(BaseModel):
    """One published file of weights: where it comes from and how to know it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: PlainName
    file: PlainName
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: StrictCount
    url: str | None = None


class ModelSpec(BaseModel):
    """One row of the manifest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

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
    checkpoints: tuple[CheckpointSpec, ...] = ()

    @property
    def label(self) -> str:
        """The name in tables and folders: two digits of id and the name, as in the challenge."""
        return self.name if self.id < 0 else f"{self.id:02}_{self.name}"

    @property
    def source_sha256(self) -> str:
        """The hash of the file that defines the network's class."""
        source = importlib.util.find_spec(self.target.partition(":")[0])
        return hashlib.sha256(Path(source.origin).read_bytes()).hexdigest()

    def build(self) -> nn.Module:
        """Construct the network on the CPU, in eval mode, with untrained weights."""
        module, _, class_name = self.target.partition(":")
        return getattr(importlib.import_module(module), class_name)(**self.arguments).eval()


class _Manifest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    model: tuple[ModelSpec, ...]


def read_manifest(path: Path) -> tuple[ModelSpec, ...]:
    """Read and check a manifest.

    Raises:
        RunError: a row lacks a key, has an unknown one or a wrong value, or an id, name or file occurs twice.
    """
    try:
        specs = _Manifest.model_validate(tomllib.loads(path.read_text(encoding="utf-8"))).model
    except ValidationError as error:
        raise RunError(f"{path}: {explain(error)} (model.N counts the rows from 0)") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RunError(f"{path}: {error}") from error
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
    near = difflib.get_close_matches(wanted, [spec.name.lower() for spec in all_models()], n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise UsageError(f"no model '{key}'.{hint} There are: {known}")
