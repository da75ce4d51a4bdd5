"""What stale submissions need to be loadable here: one named shim each, none of which changes what a network computes.

A shim is noted when a submission's code meets it, so that a record lists what was needed and nothing else.
"""

from collections.abc import Sequence

import torch

from eval.third_party.shims import cuda, numbers, packages, weights


def install(device: torch.device, trusted: bool, weights_folders: Sequence[str]) -> set[str]:
    """Install all shims in this process, for good; returns the names of those that are met, which grow.

    Where networks run on a CUDA device, calls of CUDA stay as they are. ``trusted`` allows checkpoints that are not
    plain tensors; in the ``weights_folders`` a checkpoint is looked for that is not where the code says.
    """
    notes: set[str] = set()
    if device.type != "cuda":
        cuda.install(notes)
    numbers.install(notes)
    packages.install(notes)
    weights.install(notes, device, trusted, weights_folders)
    return notes
