"""Files that training starts from: what is taken out of them, and what is said of those that hold no start."""

import pytest
import torch

from eval.errors import RunError
from team_bsr.checkpoint import load_network, save_checkpoint
from team_bsr.network import reparameterize
from tests.team_bsr.test_network import random_network


@pytest.mark.parametrize("form", [lambda network: network, reparameterize])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {f"module.{key}": value for key, value in state.items()},
        lambda state: {"mine": state, "other": {"x": torch.zeros(3)}},
        lambda state: {"params": state, "format": "BasicSR"},
    ],
    ids=["DDP", "own-names", "format"],
)
def test_a_start_is_taken_out_of_what_other_trainers_wrap_it_in(tmp_path, form, wrap):
    network, x = random_network((2, 3)).eval(), torch.rand(1, 3, 16, 16)
    torch.save(wrap(form(network).state_dict()), tmp_path / "wrapped.pth")
    loaded = load_network(tmp_path / "wrapped.pth", "pfdnlite")
    with torch.no_grad():
        assert (loaded.eval()(x) - network(x)).abs().max() < 1e-4


def test_a_start_of_several_networks_of_which_none_fits_advises_no_flag_of_the_harness(tmp_path):
    torch.save({"mine": {"a": torch.zeros(3)}, "other": {"b": torch.zeros(3)}}, tmp_path / "two.pth")
    with pytest.raises(RunError, match=r"form \(it holds no dictionary of tensors, or several"):
        load_network(tmp_path / "two.pth")


def test_a_checkpoint_is_read_once(tmp_path, monkeypatch):
    network, reads = random_network(), []
    save_checkpoint(tmp_path / "x.ckpt", {"pruned_blocks": [], "ema": network.state_dict()})
    monkeypatch.setattr(
        torch, "load", lambda *given, _load=torch.load, **named: reads.append(1) or _load(*given, **named)
    )
    load_network(tmp_path / "x.ckpt")
    assert len(reads) == 1
