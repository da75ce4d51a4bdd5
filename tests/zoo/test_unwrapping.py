"""State dicts as trainers save them: each wrapping is taken off by a stated order, and every step is told."""

from collections import OrderedDict

import pytest
import torch
from torch import Tensor, nn

from eval.errors import RunError
from eval.zoo.unwrapping import misfit, unwrapped
from tests.refusals import said

STATE = {
    f"{layer}.{kind}": torch.full((2,), float(at)) for at, layer in enumerate("abc") for kind in ("weight", "bias")
}
RAW = {key: value + 0.5 for key, value in STATE.items()}


def prefixed(prefix: str, state: dict[str, Tensor] = STATE) -> dict[str, Tensor]:
    return {prefix + key: value for key, value in state.items()}


def taken(key: str, *others: str) -> str:
    besides = f"; also there: {', '.join(others)} (--weights_key chooses)" if others else ""
    return f"taken from the key {key}{besides}"


SAME = {
    "plain": (STATE, ()),
    "ordered": (OrderedDict(STATE), ()),
    "ema before raw": ({"params": RAW, "params_ema": STATE}, (taken("params_ema", "params"),)),
    "any ema before raw": (
        {"state_dict": RAW, "state_dict_ema": STATE, "epoch": 3},
        (taken("state_dict_ema", "state_dict"),),
    ),
    "ema alone": ({"model": RAW, "ema": STATE}, (taken("ema", "model"),)),
    "ema of a generator": ({"g": RAW, "d": RAW, "g_ema": STATE}, (taken("g_ema", "g"),)),
    "ema inside": ({"params": RAW, "state_dict": {"params_ema": STATE}}, (taken("state_dict.params_ema", "params"),)),
    "ema with its module": ({"model": RAW, "ema": {"decay": 0.999, "module": STATE}}, (taken("ema.module", "model"),)),
    "netG": ({"netG": STATE, "epoch": 1}, (taken("netG"),)),
    "generator": ({"generator": STATE, "discriminator": prefixed("d.")}, (taken("generator"),)),
    "model_state_dict": ({"model_state_dict": STATE, "optimizer_state_dict": {}}, (taken("model_state_dict"),)),
    "nested once": ({"state_dict": {"params_ema": STATE}}, (taken("state_dict.params_ema"),)),
    "a name that nobody knows": ({"mine": STATE}, (taken("mine"),)),
    "the only one that fits": ({"mine": STATE, "other": prefixed("x.", RAW) | {"y": RAW["a.bias"]}}, (taken("mine"),)),
    "module.": (prefixed("module."), ("the prefix module. was taken off",)),
    "module._orig_mod.": (prefixed("module._orig_mod."), ("the prefix module. was taken off",)),
    "a part that was compiled": ({key.replace("a.", "a._orig_mod."): value for key, value in STATE.items()}, ()),
    "Lightning": (
        {"epoch": 3, "state_dict": prefixed("model."), "optimizer_states": []},
        ("taken from the key state_dict", "the prefix model. was taken off"),
    ),
    "a generator beside a discriminator": (
        {"state_dict": prefixed("net_g.") | prefixed("net_d.", RAW) | {"loss.weight": RAW["a.bias"]}},
        (
            "taken from the key state_dict",
            "the prefix net_g. was taken off",
            "left out: " + ", ".join([*prefixed("net_d."), "loss.weight"][:8]),
        ),
    ),
    "a generator and its average": (
        prefixed("generator.", RAW) | prefixed("generator_ema."),
        ("the prefix generator_ema. was taken off", f"left out: {', '.join(prefixed('generator.'))}"),
    ),
    "what is no tensor": (STATE | {"scale": 4}, ("left out: scale",)),
    "counters of profilers": (
        STATE | {"total_ops": torch.zeros(1), "a.total_params": torch.zeros(1)},
        ("left out: total_ops, a.total_params",),
    ),
    "a step beside a name that nobody knows": ({"step": torch.tensor(7), "mine": STATE}, (taken("mine"),)),
    "averages without names": (
        {"model": STATE, "ema": {"decay": 0.9, "shadow_params": list(RAW.values())}, "rng": [torch.arange(3)]},
        (taken("model"), "passed over: ema.shadow_params (tensors without names: copy them into the network"),
    ),
    "losses and an optimizer's betas": (
        {"model": STATE, "losses": [torch.tensor(0.5)] * 6, "betas": (torch.tensor(0.9), torch.tensor(0.99))},
        (taken("model"),),
    ),
    "a few tensors of one shape": ({"model": STATE, "means": [torch.zeros(2)] * 3}, (taken("model"),)),
    "a step beside": ({"params": STATE, "step": torch.tensor(7)}, ("taken from the key params",)),
}


@pytest.mark.parametrize("case", SAME)
def test_each_wrapping_comes_to_the_same_weights(case: str):
    content, steps = SAME[case]
    found = unwrapped(content, STATE)
    assert found.state.keys() == STATE.keys()
    assert all(torch.equal(found.state[key], value) for key, value in STATE.items())
    told = tuple(step.replace(" and 7 more", "").replace(" and 5 more", "") for step in found.steps)
    assert told[:-1] == steps[:-1]
    assert told[-1:] == steps[-1:] or told[-1].startswith(steps[-1][:40])
    assert misfit(found.state, STATE) is None


def test_a_networks_own_prefix_stays():
    own = prefixed("model.")
    assert unwrapped(own, own).steps == ()
    found = unwrapped(prefixed("module.", own), own)
    assert (found.state.keys(), found.steps) == (own.keys(), ("the prefix module. was taken off",))


def test_a_key_can_be_chosen():
    content = {"params": RAW, "params_ema": STATE, "deep": {"er": RAW}}
    assert torch.equal(unwrapped(content, STATE, "params").state["a.bias"], RAW["a.bias"])
    assert unwrapped(content, STATE, "deep.er").steps == ("taken from the key deep.er",)
    with pytest.raises(RunError, match=r"--weights_key parms: there are the keys params, params_ema, deep\.er"):
        unwrapped(content, STATE, "parms")


def test_a_key_may_be_deep_or_a_prefix_of_a_flat_file():
    deep, flat = {"a": {"b": {"c": STATE}}}, prefixed("params.", RAW) | prefixed("params_ema.")
    assert unwrapped(deep, STATE, "a.b.c").state.keys() == STATE.keys()
    assert torch.equal(unwrapped(flat, STATE).state["a.bias"], STATE["a.bias"])
    assert torch.equal(unwrapped(flat, STATE, "params").state["a.bias"], RAW["a.bias"])
    inside = unwrapped({"state_dict": flat}, STATE, "state_dict.params")
    assert torch.equal(inside.state["a.bias"], RAW["a.bias"])
    assert said(RunError, unwrapped, deep, STATE).endswith("got the keys a; --weights_key chooses one, as a.b.c")


def test_several_keys_that_nobody_knows_are_told_with_the_flag_that_chooses():
    content = {"step": torch.tensor(7), "mine": STATE, "other": RAW}
    assert "got the keys mine, other; --weights_key chooses one" in said(RunError, unwrapped, content, STATE)


def test_a_list_of_averages_alone_is_told_with_what_to_do():
    content = {"decay": 0.9, "shadow_params": list(STATE.values())}
    message = said(RunError, unwrapped, content, STATE, "shadow_params")
    assert message.endswith(
        "and shadow_params (tensors without names: copy them into the network, and save its state_dict)"
    )


def test_averages_without_names_of_a_network_with_buffers_are_told():
    network = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    wanted = network.state_dict()
    found = unwrapped({"model": wanted, "ema": {"shadow_params": list(network.parameters())}}, wanted)
    assert found.steps[1].startswith("passed over: ema.shadow_params")


def test_a_whole_module_stands_for_its_state():
    network = nn.Linear(2, 3)
    assert unwrapped(network, network.state_dict()).state.keys() == {"weight", "bias"}


def test_a_shared_prefix_goes_though_a_key_is_missing():
    state = prefixed("module.")
    del state["module.a.bias"]
    assert misfit(unwrapped(state, STATE).state, STATE) == "keys 1 missing (first: a.bias)"


def test_keys_cannot_steer_the_terminal():
    assert said(RunError, unwrapped, {"a\x1b[31m": {"b": 1}}, STATE).isprintable()
