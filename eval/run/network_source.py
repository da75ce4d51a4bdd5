"""A network that is in memory already, of a notebook or a script, as a source of models."""

import copy
import hashlib
import math
import re
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from eval.config import RunConfig
from eval.data.images import ImageSize
from eval.device.numerics import as_torch_ships
from eval.errors import RunError, UsageError, one_reason
from eval.files import beginning, importing_beside, module_of, why_no_file
from eval.inference.upscaler import Upscaler
from eval.run.model_source import Settled, settled_with, upscaler_of
from eval.run.network_state import hash_of_behaviour, hash_of_source, hash_of_weights, state_of
from eval.sources import file_and_imports, hash_of_file, packages_of
from eval.words import printable
from eval.zoo.checkpoints import own_checkpoint, zoo_info
from eval.zoo.from_file import UNTRAINED, build_network, called_with
from eval.zoo.loading import load_weights, with_weights_told
from eval.zoo.manifest import ModelSpec
from eval.zoo.model_info import IN_MEMORY, ModelInfo
from eval.zoo.unwrapping import Unwrapped

# Models that are none of the zoo have no number; tables then show the name alone.
_NO_ID = -1


@dataclass(frozen=True, eq=False)
class NetworkSource:
    """A network that somebody holds. What runs is a copy of it: the network itself stays where and as it is."""

    spec: ModelSpec
    network: nn.Module
    info: ModelInfo

    @property
    def note(self) -> str:
        """Which class it is."""
        return f"{type(self.network).__qualname__}, in memory"

    def source_now(self) -> str:
        """Return the hash of its source: it is in memory, whatever becomes of files."""
        return self.info.source_sha256

    def weights_now(self) -> str | None:
        """Return the hash of its weights, which are in memory, too."""
        return self.info.weights_sha256

    def settled(self, config: RunConfig, largest: ImageSize) -> Settled:
        """Choose the engine that ``auto`` stands for; what has no weights runs as plain torch in float32."""
        return settled_with(self.spec, self._copy, self.info, config, largest)

    @contextmanager
    def open(self, config: RunConfig, largest: ImageSize) -> Iterator[Upscaler]:
        """Copy the network."""
        yield upscaler_of(self.spec, self._copy(), self.info, config, largest)

    def _copy(self) -> nn.Module:
        # Without gradients parameters of a copied script are leaves, as they were.
        with torch.no_grad():
            copied = copy.deepcopy(self.network)
        for parameter in copied.parameters():
            parameter.requires_grad_(False)
        return copied.cpu().eval()


def source_of_upscaler(upscaler: Upscaler, name: str | None = None) -> NetworkSource:
    """Return a loaded model as a source, under the name that it has or another one.

    One that was changed since it was loaded, if only by a hook, is what is in memory: its weights are those of no file.
    """
    _check(upscaler.network)
    told: dict[str, Any] = {}
    if upscaler.as_loaded != state_of(upscaler.network):
        told = dict.fromkeys(("checkpoint", "weights_file", "weights_key", "weights_stored")) | {"weights_steps": ()}
        code = f"{upscaler.info.source_sha256} {hash_of_behaviour(upscaler.network)}"
        told |= {"weights_sha256": hash_of_weights(upscaler.network), "origin": IN_MEMORY}
        told |= {"source_sha256": hashlib.sha256(code.encode()).hexdigest()}
    spec = upscaler.spec.model_copy(update={"id": _NO_ID, "name": _as_folder(name)} if name else {})
    return NetworkSource(spec, upscaler.network, upscaler.info.model_copy(update={**told, "label": spec.label}))


def source_of_module(network: nn.Module, data_range: float, name: str | None = None) -> NetworkSource:
    """Return a network as a source.

    Args:
        network: maps ``(N, 3, h, w)`` in ``[0, data_range]`` to ``(N, 3, 4h, 4w)``.
        data_range: 1 or 255 in the challenge.
        name: its name in tables; that of its class by default.

    Raises:
        UsageError: it cannot be copied or run as it is, or the data range is none.
    """
    kind = type(network)
    _check(network)
    if not isinstance(data_range, Real) or not 0 < data_range < math.inf:
        raise UsageError(f"data_range={data_range!r}: expected a positive number, 1 or 255 in the challenge")
    target = f"{re.sub(r'[^A-Za-z0-9_.]', '_', kind.__module__)}:{re.sub(r'[^A-Za-z0-9_]', '_', kind.__name__)}"
    row: dict[str, Any] = {"id": _NO_ID, "name": "network", "target": target}
    row |= dict.fromkeys(("team", "edition", "note", "license", "paper"), "")
    spec = ModelSpec(**row, scale=4, data_range=float(data_range), min_size=1)
    # Of the manifest alone names are plain.
    spec = spec.model_copy(update={"name": _as_folder(name or kind.__name__)})
    told = {"weights_sha256": hash_of_weights(network), "source_sha256": hash_of_source(network), "origin": IN_MEMORY}
    return NetworkSource(spec, network, zoo_info(spec, None).model_copy(update=told))


def source_of_file(
    target: str,
    weights: Path | None,
    data_range: float,
    weights_key: str | None = None,
    arguments: Mapping[str, Any] | None = None,
    called: str | None = None,
) -> NetworkSource:
    """Return the network of ``FILE.py:NAME``, a class or a function, imported into this process: one's own code.

    It is built with ``arguments``; without ``weights`` it stays so, the same each time. ``called`` is its name in
    tables; by default that of the file and the class, with the arguments.

    Raises:
        UsageError: there is no such file, class or function, or it wants other arguments.
        RunError: its code fails, or the weights do not fit.
    """
    file, _, name = target.rpartition(":")
    path = Path(file).expanduser()
    if path.suffix != ".py" or why_no_file(path):
        raise UsageError(f"{target}: expected FILE.py:CLASS; {file or target}: {why_no_file(path) or 'no .py file'}")
    with importing_beside(path), torch.random.fork_rng(devices=()), as_torch_ships():
        torch.default_generator.manual_seed(0)
        try:
            network = build_network(module_of(path, f"network_in_{path.stem}"), name, arguments or {})
        except (UsageError, RunError):
            raise
        except Exception as error:
            raise RunError(f"{target}: its code failed: {one_reason(error)}") from error
        _check(network)
        told = Unwrapped({}, (UNTRAINED,) if network.state_dict() else ())
        if weights is not None:
            told = load_weights(network, own_checkpoint(weights, weights_key))
        found = source_of_module(network, data_range, called or called_with(f"{path.stem}-{name}", arguments or {}))
    # Its class alone would not tell what lies beside it.
    known = {"weights_file": weights and weights.name, "source_sha256": hash_of_file(path, str(arguments or {}))}
    known |= {"packages": packages_of(path.parent, file_and_imports(path))}
    return NetworkSource(found.spec, network, with_weights_told(found.info.model_copy(update=known), told))


def _as_folder(name: str) -> str:
    """Return the beginning of a name without what a folder's cannot hold; tables escape the rest of it themselves.

    Names that Windows keeps for devices, such as ``nul.txt``, stay as they are.
    """
    composed = unicodedata.normalize("NFC", str(name))
    plain = re.sub(r'[/\\:*?"<>|]', "_", printable(composed, "_")).lstrip("._- ")
    return beginning(plain).rstrip(". ") or "network"


def _check(network: nn.Module) -> None:
    """Refuse what cannot be copied, or would not run as it stands; say what to do."""
    name = type(network).__name__
    for key, module in network.named_modules():
        # A part that torch.compile has made is copied with what it runs.
        compiled_part = key and "_orig_mod" in module._modules
        if "forward" in vars(module) and not isinstance(module, torch.jit.ScriptModule) and not compiled_part:
            whose = f"the forward of {key}" if key else "its forward"
            told = "was set on the object, and may belong to another: define it in the class"
            raise UsageError(f"{name}: {whose} {told}")
    for key, tensor in [*network.named_parameters(), *network.named_buffers()]:
        if is_lazy(tensor):
            raise UsageError(
                f"{name}: {key} has no shape before the first image: run the network on one where it is made"
            )
        if tensor.is_meta:
            raise UsageError(f"{name}: {key} is on the device meta and has no values: load its weights first")
        if tensor.is_floating_point() and tensor.dtype != torch.float32:
            raise UsageError(f"{name}: {key} is {tensor.dtype}: call .float() first; --precision chooses another one")
    try:
        copy.deepcopy(network)
    except Exception as error:
        raise UsageError(f"{name}: cannot be copied ({one_reason(error)}); a copy is what runs") from error
