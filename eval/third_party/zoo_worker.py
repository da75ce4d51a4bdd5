"""A network of the zoo in a worker like a submission's: where both stand in one ratio, one clock times both.

In this process a network would be timed without the pipe, the sandbox and the nice value that submissions have.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from eval.config import RunConfig
from eval.data.images import ImageSize
from eval.errors import one_reason
from eval.files import PROJECT
from eval.records.record import State
from eval.run.failures import CannotRunError
from eval.run.model_source import LoadedModel, ModelSource, ZooModel
from eval.third_party.handover import files_below
from eval.third_party.submission import InWorker, ModelFile, Rules, Submission, opened_file
from eval.zoo.checkpoints import Checkpoint, file_sha256
from eval.zoo.manifest import ModelSpec
from eval.zoo.model_info import ModelInfo

_CODE = "models"


def on_one_clock(sources: Sequence[ModelSource]) -> list[ModelSource]:
    """Return sources of which, if one is third-party code, the zoo's networks run in workers as it does.

    What has no weights has no time to compare, and stays in this process.
    """
    rules = next((source.rules for source in sources if isinstance(source, Submission | ModelFile)), None)
    if rules is None:
        return list(sources)
    return [
        ZooInWorker(its.spec, its.checkpoint, rules) if isinstance(its, ZooModel) and its.checkpoint else its
        for its in sources
    ]


@dataclass(frozen=True)
class ZooInWorker(InWorker, ZooModel):
    """A network of the zoo that is opened as a submission of one file is."""

    checkpoint: Checkpoint
    rules: Rules

    @property
    def info(self) -> ModelInfo:
        """Which model it is, with which weights."""
        return super().info.model_copy(update={"in_worker": True})

    def weights_now(self) -> str:
        """Return the hash of the file of its weights as it is now: a worker reads it."""
        return file_sha256(self.checkpoint.path)

    @contextmanager
    def open(self, config: RunConfig, _largest: ImageSize) -> Iterator[LoadedModel]:
        """Build it in a sandbox of its own."""
        spec, path = self.spec, self.checkpoint.path
        try:
            if file_sha256(path) != self.checkpoint.sha256:
                raise CannotRunError(State.REFUSED, f"{path}: the file changed while it was being loaded")
        except OSError as error:
            raise CannotRunError(State.MISSING_CHECKPOINT, one_reason(error)) from error
        module, _, name = spec.target.partition(":")
        asked = {"file": f"{module.replace('.', '/')}.py", "class": name, "arguments": arguments_in_words(spec)}
        asked |= {"data_range": spec.data_range, "weights_key": self.checkpoint.key}
        code = files_below(PROJECT / _CODE, _CODE)
        with opened_file(self.info, self.rules, config, asked, code, path.resolve()) as loaded:
            # It is this project's code.
            loaded.open_graph = None
            yield loaded


def arguments_in_words(spec: ModelSpec) -> str:
    """Return what a network is called with, as ``--model_args`` has it."""
    return ",".join(f"{name}={value!r}" for name, value in spec.arguments.items())
