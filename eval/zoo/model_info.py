"""Which model ran, as records say it: plain data, without torch."""

from pathlib import PurePath

from eval.frozen import Frozen

ZOO, IN_MEMORY, OF_A_FILE = "zoo", "memory", "file"
RELEASED = "released"


class ModelInfo(Frozen):
    """Which model ran, with which weights.

    Attributes:
        data_range: None for a submission that did not get as far as telling it.
        weights_sha256: of a submission that does not say which files it reads, that of all files of its model_zoo/.
        source_sha256: of the files that the network is made of, with all that they import, and of its manifest row or
            branch of ``select_model``.
        origin: "zoo", "memory", "file", or the checkout that a submission comes from.
        shims: what a submission's code needed to be loadable here.
        weights_key: where in its file the weights were asked for by ``--weights_key``.
        weights_steps: what was done to the file's content to get the weights.
        weights_stored: the type that they are stored in, where it is not the network's.
        packages: the installed packages that the code of a submission or a file imports, with their versions.
        in_worker: a network of the zoo ran in a worker, beside submissions that did.
    """

    id: int
    name: str
    label: str
    team: str
    scale: int
    data_range: float | None
    checkpoint: str | None
    weights_file: str | None
    weights_sha256: str | None
    source_sha256: str
    origin: str = ZOO
    shims: tuple[str, ...] = ()
    weights_key: str | None = None
    weights_steps: tuple[str, ...] = ()
    weights_stored: str | None = None
    in_worker: bool = False
    packages: tuple[str, ...] = ()

    @property
    def by_worker(self) -> bool:
        """Whether a worker runs it, and not this process."""
        return self.in_worker or self.origin not in (ZOO, IN_MEMORY)

    @property
    def is_own(self) -> bool:
        """Whether it is a user's own network, which has no number and is of no edition, whatever ``id`` says."""
        return self.origin in (IN_MEMORY, OF_A_FILE)

    @property
    def is_network(self) -> bool:
        """Whether it is a network: what computes nothing that counts, such as bicubic, is none."""
        return self.origin != ZOO or self.id >= 0

    @property
    def own_weights(self) -> str:
        """The name of weights that are not those that the model's authors released; empty for released ones.

        Weights that the manifest does not know are called by their file.
        """
        if self.origin != ZOO or self.checkpoint == RELEASED:
            return ""
        return self.checkpoint or PurePath(self.weights_file or "").stem

    @property
    def full_name(self) -> str:
        """What tables call it: its label, and the name of its weights where they are not the released ones."""
        return with_weights(self.label, self.own_weights)

    @property
    def short_name(self) -> str:
        """What papers call it: its full name without the zoo's number."""
        return self.full_name.removeprefix(f"{self.id:02}_")


def with_weights(label: str, weights: str) -> str:
    """Return a label with the name of weights behind it, unless there is none or it holds that already."""
    return label if not weights or f"({weights}" in label else f"{label} ({weights})"
