"""Checkouts as forks have them: placeholders of the template, select_model in another file, and the form of 2023."""

import importlib
import sys
from pathlib import Path

import pytest
import torch

from eval.third_party import loading
from eval.third_party.checkout import read_checkout
from eval.third_party.choosing import choose_submissions
from eval.third_party.kinds import SandboxKind
from eval.third_party.loading import load_entry
from eval.third_party.shims import weights
from eval.third_party.submission import Rules

CPU = torch.device("cpu")
SELECT = """
import torch


def select_model(args, device):
    model_id = args.model_id
    if model_id == 0:
        from forked_archs.team00 import Net
        name, data_range = f"{model_id:02}_Net_baseline", 1.0
        model = torch.load("model_zoo/team00.pth")
    elif model_id == 1:
        pass  # ---- Put your model here as below ---
    if args.hybrid_test or args.something_of_a_fork:
        raise ValueError("was not asked for")
    return model.eval().to(device), name, data_range, None


def forward(img_lq, model, tile=None, tile_overlap=32, scale=4):
    return model(img_lq)
"""
NETWORK = """
from torch import nn
from torch.nn.functional import pixel_shuffle


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(3, 48, 1)

    def forward(self, x):
        return pixel_shuffle(self.body(x), 4)
"""


@pytest.fixture
def fork(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout of 2023's form: a whole module in half precision in the place of a state dict."""
    for folder in ("forked_archs", "model_zoo"):
        (tmp_path / folder).mkdir()
    (tmp_path / "test_demo.py").write_text(f"# NTIRE2023_ESR, --hybrid_test\n{SELECT}")
    (tmp_path / "forked_archs" / "__init__.py").touch()
    (tmp_path / "forked_archs" / "team00.py").write_text(NETWORK)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch, "load", torch.load)
    for name in [name for name in sys.modules if name.startswith("forked_archs")]:
        monkeypatch.delitem(sys.modules, name)
    torch.save(importlib.import_module("forked_archs.team00").Net().half(), tmp_path / "model_zoo" / "team00.pth")
    return tmp_path


def test_the_form_of_2023_runs_in_the_precision_that_it_was_saved_in(fork: Path):
    checkout = read_checkout(fork)
    assert checkout.origin == "NTIRE2023"
    entry = checkout.entries[0]
    assert (entry.label, entry.weights, entry.data_range) == ("2023-00_Net_baseline", ("model_zoo/team00.pth",), 1.0)
    weights.install(set(), CPU, True, ())
    asked = {"model_id": 0, "forward": None, "counts_with_hooks": False}
    loaded = load_entry(fork, asked, CPU)
    assert loaded.count_with_hooks is None
    assert load_entry(fork, asked | {"counts_with_hooks": True}, CPU).count_with_hooks is not None
    x = torch.rand(1, 3, 4, 5)
    sr = loaded.forward(x)
    assert (sr.dtype, tuple(sr.shape)) == (torch.float16, (1, 3, 16, 20))
    torch.testing.assert_close(loaded.network(x), sr)
    assert sum(parameter.numel() for parameter in loaded.network.parameters()) == 3 * 48 + 48


def test_a_placeholder_is_no_entry_unless_it_is_named(fork: Path):
    checkout, rules = read_checkout(fork), Rules(SandboxKind.NONE)
    assert [entry.is_placeholder for entry in checkout.entries] == [False, True]
    assert [chosen.entry.id for chosen in choose_submissions([checkout], ["all"], rules)] == [0]
    assert [chosen.entry.id for chosen in choose_submissions([checkout], ["1"], rules)] == [1]


def test_select_model_is_followed_to_where_it_is_imported_from(fork: Path):
    before = read_checkout(fork)
    (fork / "forked_archs" / "choice.py").write_text(SELECT)
    (fork / "forked_archs" / "again.py").write_text("from forked_archs.choice import select_model\n")
    (fork / "test_demo.py").write_text("# NTIRE2023_ESR\nfrom forked_archs.again import forward, select_model\n")
    found = read_checkout(fork)
    facts = [(entry.id, entry.label, entry.weights, entry.is_placeholder) for entry in found.entries]
    assert facts == [(entry.id, entry.label, entry.weights, entry.is_placeholder) for entry in before.entries]
    (fork / "forked_archs" / "choice.py").write_text(SELECT + "\nx = 1\n")
    assert read_checkout(fork).entries[0].source_sha256 != found.entries[0].source_sha256


def test_flags_of_a_fork_were_not_given():
    asked = loading._Asked(model_id=3)
    assert (asked.model_id, asked.anything) == (3, None)
    assert not hasattr(asked, "__deepcopy__")
