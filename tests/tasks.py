"""Tasks on a CPU, and a source of a model that is in this process already."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import nn

from eval.config import RunConfig
from eval.data.datasets import open_dataset
from eval.inference.upscaler import Upscaler
from eval.run.model_source import LoadedModel, ModelSource
from eval.run.tasks import EvaluationTask
from eval.zoo.checkpoints import Checkpoint, zoo_info
from eval.zoo.manifest import ModelSpec
from eval.zoo.model_info import ModelInfo
from tests.deadly import BICUBIC, Source

_PLAIN = {"protocol": "accuracy", "device": "cpu", "engine": "eager", "threads": 1, "workers": 2, "tf32": False}
_OWN = {field.name for field in fields(EvaluationTask)} - {"model", "dataset", "config"}


def config_of(**changes: Any) -> RunConfig:
    """A resolved configuration: an untimed run of one thread on the CPU."""
    return RunConfig(**(_PLAIN | changes))


def task_of(folder: Path, model: ModelSource = BICUBIC, **changes: Any) -> EvaluationTask:
    """A task on a folder of images; ``changes`` are of the task or of its configuration."""
    own = {name: changes.pop(name) for name in _OWN & changes.keys()}
    return EvaluationTask(model, open_dataset(folder, None), config_of(**changes), **own)


def tiny_spec(**changes: Any) -> ModelSpec:
    """A row of the manifest for a network that is not in the zoo."""
    plain = {
        "id": 42, "name": "Tiny", "team": "T", "edition": "E", "note": "N", "target": "torch.nn:Identity", "scale": 4,
        "data_range": 1.0, "min_size": 1, "license": "MIT", "paper": "https://example.org",
    }  # fmt: skip
    return ModelSpec(**plain | changes)


@dataclass(frozen=True)
class InHand(Source):
    """A network that is built already."""

    spec: ModelSpec
    network: nn.Module
    checkpoint: Checkpoint | None = None

    @property
    def info(self) -> ModelInfo:
        return zoo_info(self.spec, self.checkpoint)

    @contextmanager
    def open(self, config: RunConfig, _largest: object) -> Iterator[LoadedModel]:
        yield Upscaler(self.spec, self.network, torch.device(config.device), described=self.info)
