"""The first files of a new entry: a small network that works, its first weights, and its row in the manifest."""

import keyword
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch

from eval.errors import UsageError
from eval.files import PROJECT, atomic_path, module_of, write_whole
from eval.metrics.complexity import measure_complexity
from eval.submission.texts import filled
from eval.zoo.checkpoints import file_sha256
from eval.zoo.manifest import ModelSpec, read_manifest


@dataclass(frozen=True)
class NewTeam:
    """What a new entry is called, and where its files lie; ``root`` is the project's folder."""

    id: int
    name: str
    root: Path = PROJECT

    @property
    def module(self) -> str:
        """The challenge's name for its file: two digits at least."""
        return f"team{self.id:02}_{self.name}"

    @property
    def network(self) -> Path:
        """The file of its network."""
        return self.root / "models" / f"{self.module}.py"

    @property
    def weights(self) -> Path:
        """The file of its first weights."""
        return self.root / "model_zoo" / f"{self.module}.safetensors"

    @property
    def manifest(self) -> Path:
        """The zoo's table."""
        return self.root / "model_zoo" / "manifest.toml"


def next_id(specs: Sequence[ModelSpec]) -> int:
    """Return the least id above all that are taken."""
    return max(spec.id for spec in specs) + 1


def begin(name: str, number: int | None, root: Path = PROJECT) -> NewTeam:
    """Write a network, its weights and its row below ``root``; nothing that exists is changed but for that row.

    ``number`` is the team's id; the next free one by default. What is broken off leaves nothing behind.

    Raises:
        UsageError: the name is no name of a class, or the name, the id or a file is taken.
    """
    if not re.fullmatch(r"[A-Z][A-Za-z0-9_]*", name) or keyword.iskeyword(name):
        raise UsageError(f"{name}: expected the name of a class: a capital, then letters, digits and underscores")
    specs = read_manifest(root / "model_zoo" / "manifest.toml")
    team = NewTeam(next_id(specs) if number is None else number, name, root)
    _refuse_taken(team, specs)
    former = team.manifest.read_bytes()
    try:
        _write(team, former)
    # Ctrl-C, too: half an entry would be in the way of the next call.
    except BaseException:
        for path in (team.network, team.weights):
            path.unlink(missing_ok=True)
        write_whole(team.manifest, former)
        raise
    return team


def _write(team: NewTeam, former: bytes) -> None:
    """Write the files of an entry, and its row behind what the manifest holds."""
    name = team.name
    write_whole(team.network, filled("network.py", name=name, id=f"{team.id:02}"))
    with torch.random.fork_rng(devices=()):
        torch.default_generator.manual_seed(team.id)
        network = getattr(module_of(team.network, f"new_{team.module}"), name)().eval()
    with atomic_path(team.weights) as partial:
        safetensors.torch.save_file(network.state_dict(), partial)
    row = filled(
        "row.toml",
        **measure_complexity(network).model_dump(),
        id=team.id,
        name=name,
        module=team.module,
        file=team.weights.name,
        sha256=file_sha256(team.weights),
        bytes=team.weights.stat().st_size,
    )
    write_whole(team.manifest, former + row.encode())
    read_manifest(team.manifest)


def _refuse_taken(team: NewTeam, specs: Sequence[ModelSpec]) -> None:
    for spec in specs:
        if team.id == spec.id:
            raise UsageError(f"--id {team.id}: is {spec.name}'s; the next free one is {next_id(specs)}")
        if team.name.lower() == spec.name.lower():
            raise UsageError(f"{team.name}: is the name of model {spec.id} already")
    for path in (team.network, team.weights):
        if path.exists():
            raise UsageError(f"{path}: exists already; nothing was written")
