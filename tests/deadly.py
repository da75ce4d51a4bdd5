"""Sources for tests of processes: one that kills its own, one that notes where it is."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from eval.run.model_source import Settled, ZooModel
from eval.zoo.manifest import find_model

BICUBIC = ZooModel(find_model("Bicubic"), None)


@dataclass(frozen=True)
class Placed:
    """Bicubic that notes in which process it is opened."""

    folder: Path
    info = BICUBIC.info
    note = ""

    def source_now(self) -> str:
        return self.info.source_sha256

    def settled(self, config, _largest):
        return Settled(config)

    def before(self) -> None:
        (self.folder / f"{os.getpid()}").touch()

    @contextmanager
    def open(self, config, largest) -> Iterator:
        self.before()
        with BICUBIC.open(config, largest) as loaded:
            yield loaded


@dataclass(frozen=True)
class Deadly(Placed):
    """A source that kills its process the first ``deaths`` times it is opened."""

    deaths: int

    def before(self) -> None:
        done = len(list(self.folder.iterdir()))
        if done < self.deaths:
            (self.folder / str(done)).touch()
            os.kill(os.getpid(), signal.SIGKILL)
