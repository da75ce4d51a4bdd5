"""What a profile counts, and what it advises; no test asserts a time."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from eval.data.images import read_size
from eval.device.numerics import cudnn_switches, products_take_tf32
from eval.submission import profiling
from eval.submission.profiling import (
    Machine,
    Part,
    _pruning,
    _replacing,
    _together,
    first,
    measure_machine,
    profile,
)
from eval.submission.profiling import _part as _of_passes

SIDE = 24


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, 8, 3, padding=1)
        self.body = nn.Sequential(nn.Conv2d(8, 8, 1), nn.ReLU())
        self.tail = nn.Conv2d(8, 48, 3, padding=1)
        self.unused = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        out = self.head(x)
        out = out + self.body(out) + self.body(out)
        return nn.functional.pixel_shuffle(self.tail(out), 4)


@pytest.fixture(scope="module")
def found():
    return profile(Net().eval(), torch.rand(1, 3, SIDE, SIDE), passes=3)


def test_layers_have_their_multiply_adds_and_bytes(found):
    layers = {layer.name: layer for layer in found.layers}
    assert layers.keys() == {"head", "body.0", "body.1", "tail", "(network)"}
    pixels = SIDE**2
    assert layers["head"].flops == 3 * 8 * 9 * pixels
    # It runs twice.
    assert layers["body.0"].flops == 2 * 8 * 8 * pixels
    assert layers["tail"].flops == 8 * 48 * 9 * pixels
    assert layers["tail"].moved_bytes == 4 * ((8 + 48) * pixels + 48 * 8 * 9 + 48)
    assert set(layers["(network)"].kinds) == {"add", "pixel_shuffle"}
    assert layers["body.1"].kinds == ("relu",)
    assert layers["body.1"].moved_bytes == 2 * 2 * 4 * 8 * pixels


def test_kinds_add_up_to_the_same_as_layers(found):
    for figure in ("flops", "moved_bytes"):
        assert sum(getattr(kind, figure) for kind in found.kinds) == sum(getattr(its, figure) for its in found.layers)
    assert sum(kind.time_s for kind in found.kinds) == pytest.approx(sum(layer.time_s for layer in found.layers))
    times = [layer.time_s for layer in found.layers]
    assert times == sorted(times, reverse=True)
    assert {kind.name for kind in found.kinds} == {"convolution", "relu", "add", "pixel_shuffle"}


def test_other_looks_at_the_same_memory_are_no_work():
    class Looks(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            one, others = x.split([1, 2], dim=1)
            others = others.unbind(1)[0].unsqueeze_(1).unfold(3, 1, 1).squeeze(-1).movedim(2, 3).mT
            return one + others

    (kind,) = profile(Looks(), torch.rand(1, 3, SIDE, SIDE), passes=1).kinds
    assert kind.name == "add"


def test_the_floor_is_the_longer_of_work_and_traffic():
    machine = Machine(multiply_adds_per_s=100.0, bytes_per_s=10.0)
    assert machine.floor_s("mm", 200, 10) == 2.0
    assert machine.floor_s("convolution", 100, 50) == 5.0


def test_the_floor_of_convolutions_in_tf32_is_that_of_a_product_in_tf32():
    """On an A100 such a convolution was told to be disturbed: it took a sixth of the least time in float32."""
    machine = Machine(multiply_adds_per_s=100.0, bytes_per_s=10.0, tf32_per_s=800.0)
    conv, product = (_of_passes([("net", kind, 2.0, 800, 1)], machine) for kind in ("convolution", "mm"))
    assert (conv.times_floor, conv.doubt) == (2.0, None)
    assert product.times_floor == 0.25


@pytest.mark.parametrize(("capability", "tf32"), [((9, 0), True), ((9, 0), False), ((7, 5), True)])
def test_a_gpus_product_is_also_measured_as_its_convolutions_round(monkeypatch, capability: tuple, tf32: bool):
    """The CPU works as a GPU would, whose product in TF32 takes a fourth of the time."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: capability)
    rand = torch.rand
    monkeypatch.setattr(profiling.torch, "rand", lambda *size, device: rand(*size[:1]))
    monkeypatch.setattr(profiling, "_best_s", lambda _work, _x: 0.25 if products_take_tf32() else 1.0)
    with cudnn_switches(tf32):
        machine = measure_machine(torch.device("cuda"))
    assert machine.multiply_adds_per_s == 4096**3
    assert machine.tf32_per_s == (4 * 4096**3 if tf32 and capability >= (8, 0) else None)
    assert not products_take_tf32()


def test_hooks_are_gone_afterwards_and_the_output_is_as_before():
    network, x = Net().eval(), torch.rand(1, 3, SIDE, SIDE)
    with torch.no_grad():
        before = network(x)
        profile(network, x, passes=3)
        assert torch.equal(network(x), before)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


def test_what_can_be_left_out_is_advised(found):
    assert "leave out: 2 parameters that nothing reads (first: unused.weight)" in found.advice


def _part(name: str, time_s: float, flops: int, floor_s: float) -> Part:
    return Part(name, ("op",), time_s, flops, 1, floor_s)


def test_advice_follows_from_share_and_floor():
    slow, near = _part("slow", 0.5, 9, 0.05), _part("near", 0.4, 9, 0.3)
    pool, small = _part("pool", 0.09, 0, 0.01), _part("small", 0.01, 0, 0.0001)
    pruning = list(_pruning((slow, near, pool, small)))
    assert pruning[0].startswith("slow: 50% of the time, 10.0 times its floor: far from its floor")
    assert pruning[1].startswith("near: 40% of the time, 1.3 times its floor: near its floor")
    assert len(pruning) == 2
    (replacing,) = _replacing((slow, near, pool, small))
    assert replacing == "pool: 9% of the time, 9.0 times its floor: look for another operator"


def test_nothing_is_advised_on_a_time_that_is_doubtful():
    """On a busy machine a layer was told to be the first to prune at a fifth of the least time possible."""
    (below,) = _pruning((_part("below", 0.1, 9, 0.5),))
    assert below.startswith("below: 100% of the time, 0.2 times its floor: other work disturbed one of the two")
    passes_s = (0.0, 0.075, 0.1, 0.125, 0.2)
    pool = _together([replace(_part("pool", 0.1, 0, 0.02), passes_s=passes_s)] * 2, lambda part: part.name)
    (unsteady,) = _replacing(pool)
    assert unsteady.startswith("pool: 100% of the time, 5.0 times its floor: between passes it differs by 100.0 ms")


def test_parts_that_vary_against_each_other_are_steady_together():
    parts = [replace(_part("pool", 0.1, 0, 0.02), passes_s=(0.05, 0.15)), _part("pool", 0.1, 0, 0.02)]
    (pool,) = _together([parts[0], replace(parts[1], passes_s=(0.15, 0.05))], lambda part: part.name)
    assert (pool.spread_s, pool.doubt) == (0.0, None)


def test_a_time_is_the_median_of_its_passes_and_its_spread_that_of_their_quartiles():
    part = _of_passes([("net", "op", time_s, 1, 1) for time_s in (1.0, 5.0, 2.0, 4.0, 3.0)], Machine(1.0, 1.0))
    assert (part.time_s, part.spread_s) == (3.0, 2.0)


def test_a_long_list_is_cut_and_loses_nothing(found):
    shown = first(found, 2)
    assert [layer.name for layer in shown.layers][2:] == ["others"]
    assert sum(layer.flops for layer in shown.layers) == sum(layer.flops for layer in found.layers)
    assert first(found, 9) is found


def test_the_command_writes_table_json_and_picture(command, tmp_path: Path):
    pytest.importorskip("matplotlib")
    done = command("-m", "eval", "profile", "--model_id", "8", "--size", "32", "--passes", "3", "--device", "cpu")
    assert "Times floor" in " ".join(done.stdout.split())
    content = json.loads((tmp_path / "profile" / "profile.json").read_text())
    # ABPN's convolutions: 61,812 multiply-adds a pixel.
    assert sum(layer["flops"] for layer in content["layers"]) == 61_812 * 32**2
    assert read_size(tmp_path / "profile" / "profile.png").width == 1050


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "expected either --model_id or --model_file"),
        (("--model_id", "3", "--model_file", "a.py:A"), "expected either"),
        (("--model_id", "3", "--data_range", "1"), "only with --model_file"),
        (("--model_file", "absent.py:A"), "absent.py: no such file"),
        (("--model_file", "a.py:A", "--weights", "x.pth"), "--weights: only with --model_id"),
    ],
)
def test_wrong_usage_is_told(command, arguments, message: str):
    done = command("-m", "eval", "profile", *arguments, code=2)
    assert message in done.stderr, done.stderr


NET = """
from torch import nn
from blocks import SCALE
class Net(nn.Module):
    def __init__(self, dim=3):
        super().__init__()
        self.body = nn.Conv2d(dim, 3, 1)
    def forward(self, x):
        return self.body(x).repeat_interleave(SCALE, 2).repeat_interleave(SCALE, 3)
def lazy():
    return nn.Sequential(nn.LazyConv2d(3, 1))
"""


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (
            ("n.py:Net", "--model_args", "dim=4"),
            1,
            "n-Net(dim=4) on an image of 16x16: RuntimeError: Given groups=1, weight of",
        ),
        (("n.py:Net", "--model_args", "dim=4", "--checkpoint", "w.pth"), 1, "the weights do not fit the network"),
        (("n.py:lazy",), 2, "0.weight has no shape before the first image: run the network on one where it is made"),
        (("bad.py:Net",), 1, "bad.py:Net: its code failed: ModuleNotFoundError: No module named 'no_such_package'"),
        (("n.py:Net", "--save_dir", "n.py"), 2, "--save_dir n.py: cannot be written"),
    ],
)
def test_what_fails_in_a_file_of_ones_own_is_told(command, tmp_path: Path, words: tuple, code: int, told: str):
    (tmp_path / "n.py").write_text(NET)
    (tmp_path / "blocks.py").write_text("SCALE = 4\n")
    (tmp_path / "bad.py").write_text("import no_such_package\n")
    torch.save({"ema": {"body.weight": torch.ones(3, 3, 1, 1), "body.bias": torch.ones(3)}}, tmp_path / "w.pth")
    done = command("-m", "eval", "profile", "--model_file", *words, "--size", "16", "--device", "cpu", code=code)
    assert told in done.stderr, done.stderr


def test_a_network_with_what_lies_beside_its_file_is_profiled(command, tmp_path: Path):
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets" / "n.py").write_text(NET)
    (tmp_path / "nets" / "blocks.py").write_text("SCALE = 4\n")
    torch.save({"ema": {"body.weight": torch.ones(3, 3, 1, 1), "body.bias": torch.ones(3)}}, tmp_path / "w.pth")
    typed = ("nets/n.py:Net", "--model_args", "dim=3", "--checkpoint", "w.pth", "--weights_key", "ema")
    done = command("-m", "eval", "profile", "--model_file", *typed, "--size", "16", "--passes", "3", "--device", "cpu")
    layers = {
        layer["name"]: layer["flops"]
        for layer in json.loads(Path(tmp_path / "profile/profile.json").read_text())["layers"]
    }
    assert layers["body"] == 3 * 3 * 16 * 16
    done = command("-m", "eval", "profile", "--model_id", "8", "--model_args", "dim=3", code=2)
    assert "--model_args: only with --model_file" in done.stderr
