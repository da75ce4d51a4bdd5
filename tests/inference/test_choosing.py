"""What ``auto`` takes: the fastest engine that compiles nothing, with eager's pixels or next to float32's PSNR."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from eval.errors import EngineError
from eval.inference.engines import choosing
from eval.inference.engines.choosing import choose_engine, same_pixels
from eval.inference.engines.registry import Engine

CPU = torch.device("cpu")


def test_the_same_pixels():
    image = np.full((100, 100, 3), 7, np.uint8)
    near, far = image.copy(), image.copy()
    near[0, :10] += 1
    assert same_pixels(near, image)
    near[1, 0, 0] += 1
    assert not same_pixels(near, image)
    far[0, 0, 0] -= 2
    assert not same_pixels(far, image)


class Engines:
    """Engines with a known time a call, that add so much to the pixels of an enlarged image."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **rows: tuple[float, float, dict]) -> None:
        self.clock, self.rows, self.start_s = 0.0, rows, 0.0
        monkeypatch.setattr(choosing, "ENGINES", {name: Engine("", **row[2]) for name, row in rows.items()})
        monkeypatch.setattr(choosing, "prepare", self.prepare)
        monkeypatch.setattr(choosing, "time", SimpleNamespace(perf_counter=lambda: self.clock))

    def prepare(self, _network, _device, execution):
        seconds, added, _ = self.rows[execution.engine]
        if execution.engine == "broken":
            raise EngineError("--engine broken: lacks something")

        def forward(x: Tensor) -> Tensor:
            if execution.engine == "fails":
                raise IndexError("out of range\nand more")
            self.clock += seconds + self.start_s
            self.start_s = 0.0
            half = added if execution.precision != "fp32" or execution.engine == "wrong" else 0.0
            return nn.functional.interpolate(x, scale_factor=4, mode="bicubic") + half

        return forward


def test_the_fastest_with_eagers_pixels_is_taken(monkeypatch):
    Engines(
        monkeypatch,
        eager=(0.02, 0.0, {}),
        right=(0.005, 0.0, {}),
        wrong=(0.0, 0.01, {}),
        absent=(0.0, 0.0, {"needs": ("no_such_package",)}),
        compiled=(0.0, 0.0, {"compiles": True}),
        elsewhere=(0.0, 0.0, {"devices": ("cuda",)}),
        broken=(0.0, 0.0, {}),
        fails=(0.0, 0.0, {}),
    )
    choice = choose_engine(nn.Identity(), CPU, "fp32", 1.0)
    assert choice.engine == "right"
    # Three sizes, each twice.
    assert choice.tried_ms == pytest.approx({"eager": 120.0, "right": 30.0})
    assert choice.tried == "eager 120 ms, right 30 ms"
    assert choice.left_out == (
        "wrong (other pixels than eager's)",
        "broken (--engine broken: lacks something)",
        "fails (IndexError: out of range)",
    )


def test_what_a_device_takes_to_start_counts_for_no_engine(monkeypatch):
    """CUDA and cuDNN start with the first forward of a process, which is eager's."""
    engines = Engines(monkeypatch, eager=(0.01, 0.0, {}), other=(0.011, 0.0, {}))
    engines.start_s = 3.0
    choice = choose_engine(nn.Identity(), CPU, "fp32", 1.0)
    assert choice.engine == "eager"
    assert choice.tried_ms == pytest.approx({"eager": 60.0, "other": 66.0})


def test_tiles_that_know_their_place_leave_engines_out(monkeypatch):
    Engines(monkeypatch, eager=(0.02, 0.0, {"any_tiles": True}), graphs=(0.001, 0.0, {}))
    assert choose_engine(nn.Identity(), CPU, "fp32", 1.0).engine == "graphs"
    assert choose_engine(nn.Identity(), CPU, "fp32", 1.0, placed_tiles=True).engine == "eager"


def test_in_half_precision_the_fastest_next_to_float32_is_taken(monkeypatch):
    """A tenth of a grey level costs nothing at 27 dB, three levels cost 0.1 dB."""
    rows = {"eager": (0.03, 0.1 / 255, {}), "near": (0.02, 0.1 / 255, {}), "far": (0.01, 3 / 255, {})}
    Engines(monkeypatch, **rows, other=(0.0, 0.0, {"precisions": ("fp32",)}))
    choice = choose_engine(nn.Identity(), CPU, "bf16", 1.0)
    assert (choice.engine, [*choice.tried_ms]) == ("near", ["eager", "near", "far"])
    assert abs(choice.lost_db) < 0.01
    assert "near is " in choice.tried


def test_where_half_precision_costs_more_the_one_that_loses_least_is_taken(monkeypatch):
    Engines(monkeypatch, eager=(0.03, 3 / 255, {}), far=(0.01, 9 / 255, {}))
    choice = choose_engine(nn.Identity(), CPU, "fp16", 1.0)
    assert choice.engine == "eager"
    assert choice.lost_db > 0.01


def test_where_none_can_run_it_it_says_why(monkeypatch):
    Engines(monkeypatch, eager=(0.03, 0.0, {"precisions": ("fp32",)}), fails=(0.0, 0.0, {}))
    with pytest.raises(EngineError, match=r"--engine auto --precision fp16: none can run it: fails \(IndexError"):
        choose_engine(nn.Identity(), CPU, "fp16", 1.0)


@pytest.mark.parametrize("fault", ["raises", "wrong size"])
def test_a_network_that_makes_no_sr_image_runs_by_eager_which_tells_why(monkeypatch, fault: str):
    def forward(x: Tensor) -> Tensor:
        if fault == "raises":
            raise ValueError("no")
        return x

    monkeypatch.setattr(choosing, "prepare", lambda *_: forward)
    assert choose_engine(nn.Identity(), CPU, "fp32", 1.0) == choosing.Choice(engine="eager", tried_ms={})
