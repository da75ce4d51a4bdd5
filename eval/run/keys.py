"""What figures depend on besides the model and the images: the code that measures, its libraries, the machine."""

import hashlib
import json
import os
import platform
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from typing import NamedTuple

import cv2
import numpy as np
import PIL
import torch

from eval.config import AUTO
from eval.device.groups import usable_cpus
from eval.device.nvml import driver_version
from eval.files import PROJECT
from eval.inference.engines.registry import ENGINES
from eval.metrics.registry import METRICS
from eval.run.environment import cpu_name, device_name
from eval.sources import hash_at_first, hash_of_sources
from eval.words import counted

# Everything that they import is part of it; engines, metrics and the worker are found by name.
_MEASURING = (
    "eval.run.ray_launcher",
    "eval.run.speed_pass",
    *(engine.module for engine in ENGINES.values()),
    *(name.partition(":")[0] for metric in METRICS.values() for name in (metric.function, metric.on_gpu) if name),
)
_MEASURING_OTHERS = ("eval.third_party.submission", "eval.third_party.worker", "eval.third_party.zoo_worker")


def hash_of(parts: Mapping[str, object]) -> str:
    """Return the hash of named parts, of what JSON knows alone; equal ones have equal hashes in any process."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def measuring_sha256(by_worker: bool = False) -> str:
    """Return the hash of the code that makes figures, in this process or by a worker; other code makes others.

    Files count as this process first saw them, and so as it imports them.
    """
    return hash_at_first(PROJECT, (*_MEASURING, *_MEASURING_OTHERS) if by_worker else _MEASURING)


def measuring_now(by_worker: bool) -> str:
    """Return the same hash; where a worker measures, of the files as they are now, which it imports when it starts."""
    return hash_of_sources(PROJECT, (*_MEASURING, *_MEASURING_OTHERS)) if by_worker else measuring_sha256()


@cache
def libraries(engine: str) -> tuple[str, ...]:
    """Return the libraries that an engine's figures depend on, with their versions."""
    engines = ENGINES.values() if engine == AUTO else (ENGINES[engine],)
    optional = [package for row in engines for package in row.needs if find_spec(package)]
    versions = {module.__name__: module.__version__ for module in (torch, np, cv2, PIL)}
    versions |= {name: version(name) for name in ("fvcore", *optional)}
    return tuple(f"{name} {its}" for name, its in versions.items())


class Machine(NamedTuple):
    """What a device is, so that figures of another machine are not taken for this one's.

    Attributes:
        parts: what all figures depend on: the device's name, and versions or numbers.
        host: what times depend on besides, but no other figure: the processors that this process may use, by a
            container or its affinity; of a GPU, the CPU beside it, which starts its kernels.
    """

    parts: tuple[str | int | None, ...]
    host: str | None = None


@cache
def machine(device: str) -> Machine:
    """Return what a device of this machine is."""
    where = torch.device(device)
    name = device_name(where)
    if where.type == "cuda":
        return Machine((name, driver_version(), torch.backends.cudnn.version()), cpu_name())
    # The operators of Apple's GPUs, and products on its CPUs, are the system's.
    parts = (name, os.cpu_count(), *filter(None, platform.mac_ver()[:1]))
    return Machine(parts, counted(usable_cpus(), "processor"))
