"""Packages that submissions import and that are not here: stand-ins for the few things that networks take from them.

A package that is installed and importable is used as it is. What a stand-in does not have can be imported, since much
is imported and never used, but raises an ImportError when it is called.
"""

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from eval.third_party.shims import stand_ins

# Only registries, initialisers, progress bars, profilers and plots of these are used, or what stand_ins has.
PACKAGES = (
    "torchvision", "basicsr", "mmcv", "timm", "matplotlib", "tqdm", "thop", "torchsummary", "torchstat", "audioop",
    "imp", "huggingface_hub", "mamba_ssm", "causal_conv1d", "span_attention",
)  # fmt: skip


def install(notes: set[str]) -> None:
    """Answer imports of those packages that cannot be imported themselves."""
    # Built for another torch, these can be there and fail halfway.
    broken = [name for name in ("torchvision", "timm") if importlib.util.find_spec(name) and not _imports(name)]
    sys.meta_path.insert(0, _Finder(notes, broken))
    sys.meta_path.append(_Finder(notes, PACKAGES))


def _imports(package: str) -> bool:
    try:
        importlib.import_module(package)
    except Exception:
        for name in [name for name in sys.modules if name.split(".")[0] == package]:
            del sys.modules[name]
        return False
    return True


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds every module of the packages, however deep."""

    def __init__(self, notes: set[str], packages: Sequence[str]) -> None:
        self._notes, self._packages = notes, packages

    def find_spec(self, name: str, _path: Any = None, _target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if name.split(".")[0] not in self._packages:
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        self._notes.add(f"{spec.name.split('.')[0]} is not installed: stand-in")
        return _StandIn(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        module.__path__ = []


class _StandIn(ModuleType):
    """A module that has what ``stand_ins`` has for it, and names that fail when they are called."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        known = stand_ins.find(self.__name__, name)
        return known if known is not None else _absent(self.__name__, name)


def _absent(module: str, name: str) -> type:
    """Return a class, since submissions may derive from it, that cannot be made."""

    def fail(*_arguments: Any, **_options: Any) -> None:
        package = module.split(".")[0]
        raise ImportError(f"{module}.{name} is needed, and {package} is not installed", name=package)

    return type(name, (), {"__new__": fail, "__class_getitem__": fail})
