"""The planted checkout with weights, for tests that run it."""

import pickle
import shutil
import sys
from pathlib import Path

import torch

PLANTED = Path(__file__).parent / "planted"


class _Touching:
    """What a checkpoint is made of that runs code when it is unpickled: it makes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.mark,))


def copy_of_planted(folder: Path, mark: Path | None = None) -> Path:
    """Copy the checkout, and make its weights: plain ones that repeat pixels, and some that would make ``mark``."""
    shutil.copytree(PLANTED, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "model_zoo").mkdir()
    sys.path.insert(0, str(folder / "models"))
    try:
        from team00_plain import nearest_weights
    finally:
        sys.path.pop(0)
    torch.save(nearest_weights(), folder / "model_zoo" / "team00_plain.pth")
    (folder / "model_zoo" / "team10_code.pth").write_bytes(pickle.dumps(_Touching(mark or folder / "mark")))
    return folder
