"""As in the challenge, this imports what nobody calls."""

from torchvision.utils import make_grid  # noqa: F401


def load():
    raise NotImplementedError
