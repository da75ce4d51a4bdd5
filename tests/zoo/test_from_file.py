"""Networks of a file: a class or a function, with arguments as a command line says them."""

from types import ModuleType

import pytest
from torch import nn

from eval.errors import UsageError
from eval.files import module_of
from eval.zoo.from_file import build_network, parse_model_args

CODE = """
from torch import nn
from torch.nn import Identity


class Net(nn.Module):
    def __init__(self, dim, act="relu"):
        super().__init__()
        self.dim, self.act = dim, act


def build(dim=8):
    return Net(dim)


def nothing():
    return 3


ready = Net(2)
"""


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    file = tmp_path_factory.mktemp("networks") / "net.py"
    file.write_text(CODE)
    return module_of(file, "a_file_with_networks")


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        (None, {}),
        ("", {}),
        ("dim=36,n_blocks=8", {"dim": 36, "n_blocks": 8}),
        ("act=relu, bias=True,rate=-0.5", {"act": "relu", "bias": True, "rate": -0.5}),
        ("sizes=[1,2],name='a,b',none=None", {"sizes": [1, 2], "name": "a,b", "none": None}),
    ],
)
def test_arguments_are_read(text: str | None, arguments: dict):
    assert parse_model_args(text) == arguments


@pytest.mark.parametrize(
    "text", ["36", "dim", "dim=", "dim=36;n=8", "dim=__import__('os')", "**x", "dim=1)+f(", "a=1,a=2"]
)
def test_other_forms_are_refused(text: str):
    with pytest.raises(UsageError, match="expected NAME=VALUE with commas between"):
        parse_model_args(text)


def test_classes_functions_and_networks(module: ModuleType):
    assert build_network(module, "Net", {"dim": 36, "act": "gelu"}).act == "gelu"
    assert build_network(module, "build", {}).dim == 8
    assert build_network(module, "ready", {}).dim == 2
    assert isinstance(build_network(module, "Identity", {}), nn.Identity)


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        (
            "Net",
            {},
            r"Net\(dim, act='relu'\): missing a required argument: 'dim'; give them by --model_args NAME=VALUE",
        ),
        ("Net", {"dim": 1, "wide": 2}, "got an unexpected keyword argument 'wide'"),
        ("Nett", {}, r"has no class or function Nett; it has Net, build, nothing"),
        ("nothing", {}, r"nothing made a int; expected a torch.nn.Module"),
    ],
)
def test_what_cannot_be_built_says_what_to_give(module: ModuleType, name: str, arguments: dict, told: str):
    with pytest.raises(UsageError, match=told):
        build_network(module, name, arguments)
