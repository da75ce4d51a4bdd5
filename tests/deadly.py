"""Sources of a model for tests: bicubic, one that kills its own process, one that notes where it is."""

import os
import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from eval.run.model_source import Settled, ZooModel
from eval.zoo.manifest import find_model

BICUBIC = ZooModel(find_model("Bicubic"), None)


class Source:
    """Bicubic as a source of models, which others change in one way."""

    info = BICUBIC.info
    note = ""

    def source_now(self) -> str:
        return self.info.source_sha256

    def weights_now(self) -> str | None:
        return self.info.weights_sha256

    def settled(self, config, _largest) -> Settled:
        return Settled(config)

    def open(self, config, largest) -> AbstractContextManager:
        return BICUBIC.open(config, largest)


@dataclass(frozen=True)
class Placed(Source):
    """Notes in which process it is opened."""

    folder: Path

    def before(self) -> None:
        (self.folder / f"{os.getpid()}").touch()

    @contextmanager
    def open(self, config, largest) -> Iterator:
        self.before()
        with super().open(config, largest) as loaded:
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
