"""What a worker makes of a single file and its checkpoint, in this process: networks as they are, files by content."""

import pickle
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch

from eval.records.record import State
from eval.third_party.faults import SubmissionError
from eval.third_party.loading import Loaded, load_model_file
from eval.third_party.shims import weights
from eval.zoo.from_file import UNTRAINED

CODE = """
from torch import nn


class Net(nn.Module):
    def __init__(self, dim=2):
        super().__init__()
        self.body = nn.Linear(dim, 3)


def build(dim):
    return Net(dim)
"""
CPU = torch.device("cpu")
STATE = {"body.weight": torch.ones(3, 2), "body.bias": torch.ones(3)}


class _Touching:
    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("mark"),))


@pytest.fixture(autouse=True)
def _shimmed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Load as a worker does, in a folder of its own, and leave this process as it was."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch, "load", torch.load)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(Path.cwd())
    weights.install(set(), CPU, False, ())


@pytest.fixture
def load(tmp_path: Path):
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "net.py").write_text(CODE)

    def loaded(content: bytes | dict | None, name: str = "Net", arguments: str = "", key: str | None = None) -> Loaded:
        file = tmp_path / "weights.pth"
        file.write_bytes(content) if isinstance(content, bytes) else torch.save(content, file)
        checkpoint = None if content is None else str(file)
        asked = {"file": "net.py", "class": name, "checkpoint": checkpoint, "data_range": 1.0}
        return load_model_file(tmp_path, {**asked, "arguments": arguments, "weights_key": key}, CPU)

    return loaded


def test_weights_are_unwrapped_as_those_of_the_zoo(load):
    raw = {key: value * 0 for key, value in STATE.items()}
    found = load({"params": raw, "params_ema": {f"module.{key}": value for key, value in STATE.items()}})
    assert torch.equal(found.network.state_dict()["body.weight"], STATE["body.weight"])
    assert found.weights.steps == (
        "taken from the key params_ema; also there: params (--weights_key chooses)",
        "the prefix module. was taken off",
    )
    assert torch.equal(load({"params": raw, "params_ema": STATE}, key="params").network.body.bias, torch.zeros(3))
    assert load({key: value.half() for key, value in STATE.items()}).weights.stored == "float16"
    assert torch.equal(load(safetensors.torch.save(STATE)).network.body.bias, torch.ones(3))


def test_functions_arguments_and_networks_without_weights(load):
    first, again = load(None, "build", "dim=5"), load(None, "build", "dim=5")
    assert first.network.body.in_features == 5
    assert first.weights.steps == (UNTRAINED,)
    assert torch.equal(first.network.body.weight, again.network.body.weight)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize(
    ("content", "options", "state", "told"),
    [
        (STATE, {"name": "build"}, State.FAILED_TO_BUILD, r"build\(dim\): missing a required argument: 'dim'"),
        (STATE, {"name": "Nett"}, State.FAILED_TO_BUILD, "has no class or function Nett; it has Net, build"),
        (
            {"body.weight": STATE["body.weight"]},
            {},
            State.FAILED_TO_LOAD,
            r"do not fit .* 1 missing \(first: body.bias\)",
        ),
        (b"version https://git-lfs.github.com/spec/v1\n", {}, State.FAILED_TO_LOAD, "weights.pth: a Git LFS pointer"),
        (b"<!DOCTYPE html><html></html>", {}, State.FAILED_TO_LOAD, "an HTML page; download it again"),
        (
            pickle.dumps(_Touching(), protocol=2),
            {},
            State.REFUSED,
            r"not plain tensors.*: save network\.state_dict\(\)\. Of a --checkout, `run --trust`",
        ),
        (
            pickle.dumps(_Touching(), protocol=4),
            {},
            State.REFUSED,
            r"not plain tensors.*: save network\.state_dict\(\)\. Of a --checkout, `run --trust`",
        ),
    ],
)
def test_what_cannot_be_loaded_is_told(load, content, options: dict, state: State, told: str):
    with pytest.raises(SubmissionError, match=told) as caught:
        load(content, **options)
    assert caught.value.state is state
    assert ("--trust" in str(caught.value)) == (state is State.REFUSED)
    assert not Path("mark").exists()


@pytest.mark.parametrize("content", [b"hello world", bytes(100), pickle.dumps([1, 2], protocol=2)[:-3]])
def test_trust_is_not_advised_for_what_holds_no_code(load, content: bytes):
    with pytest.raises(Exception, match=r".") as caught:
        load(content)
    assert "--trust" not in str(caught.value)


def test_files_that_hold_code_say_what_to_do_with_them(load, tmp_path: Path):
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 3)), tmp_path / "scripted.pt")
    for content, told in (
        ((tmp_path / "scripted.pt").read_bytes(), r"^weights\.pth: a TorchScript archive.*torch\.jit\.load\(FILE\)"),
        (b"PK\3\4", r"^weights\.pth: a zip archive that is cut off"),
        (b"\x93NUMPY", r"^weights\.pth: a NumPy array \(npy\); expected weights: a state_dict"),
    ):
        with pytest.raises(SubmissionError, match=told) as caught:
            load(content)
        assert (caught.value.state, "weights_only" in str(caught.value)) == (State.FAILED_TO_LOAD, False)


def test_a_file_opens_what_lies_beside_it_by_a_relative_path(load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir("/")
    (tmp_path / "code" / "width.txt").write_text("7")
    (tmp_path / "code" / "net.py").write_text(
        f"import pathlib\n{CODE}\n\ndef sized():\n    return Net(int(pathlib.Path('width.txt').read_text()))\n"
    )
    assert load(None, "sized").network.body.in_features == 7


def test_a_file_is_of_the_package_that_its_folder_makes_and_takes_what_lies_beside_it_by_name(load, tmp_path: Path):
    (tmp_path / "code" / "parts").mkdir()
    for name, text in (("base", "WIDTH = 7"), ("parts/deep", "from ..base import WIDTH"), ("net_beside", "DEPTH = 3")):
        (tmp_path / "code" / f"{name}.py").write_text(text)
    head = "from .parts.deep import WIDTH\nfrom net_beside import DEPTH\n"
    (tmp_path / "code" / "net.py").write_text(f"{head}{CODE}\n\ndef sized():\n    return Net(WIDTH * DEPTH)\n")
    assert load(None, "sized").network.body.in_features == 21
