"""The doctor: what computes right is called right, and each planted fault is found and named."""

import tomllib

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from eval.cli.app import app
from eval.doctor import networks, parts
from eval.doctor.findings import Outcome, examined
from eval.inference.engines import eager
from eval.inference.engines.registry import ENGINES
from eval.zoo.manifest import find_model

CPU = torch.device("cpu")
KNOWN = tomllib.loads(networks.KNOWN_FILE.read_text(encoding="utf-8"))
WITHOUT_COMPILER = [name for name, engine in ENGINES.items() if not engine.compiles and "cpu" in engine.devices]


def _wrong(findings) -> list[str]:
    return [finding.what for finding in findings if finding.outcome is Outcome.WRONG]


@pytest.mark.parametrize("name", KNOWN)
def test_the_answers_are_those_of_float64(name: str):
    spec = find_model(name)
    with torch.no_grad():
        sr = networks.known_network(spec).double()(networks.known_input(spec).double())
    assert networks.projections(sr) == pytest.approx(KNOWN[name]["projections"], abs=1e-9)
    assert networks.spread_of(sr) == pytest.approx(KNOWN[name]["spread"], rel=1e-9)


def test_every_engine_without_a_compiler_is_right_here():
    findings = list(networks.check_networks(CPU, every=False))
    assert [finding.what for finding in findings] == [
        f"{name}, {engine}, fp32" for name in KNOWN for engine in WITHOUT_COMPILER
    ]
    assert not _wrong(findings)


def test_all_precisions_are_told_apart(monkeypatch):
    """In half precision the output is off by more than float32 may be, and less than half precision may."""
    monkeypatch.setattr(networks, "_executions", lambda *_: [networks.Execution("eager", "bf16")])
    assert not _wrong(networks.check_networks(CPU, every=True))
    monkeypatch.setitem(networks._TOLERANCES, "bf16", networks._TOLERANCES["fp32"])
    assert len(_wrong(networks.check_networks(CPU, every=True))) == len(KNOWN)


@pytest.mark.parametrize("name", KNOWN)
@pytest.mark.parametrize("place", [0.0, 0.5, 1.0])
def test_one_wrong_weight_is_found(name: str, place: float, monkeypatch):
    spec = find_model(name)
    network = networks.known_network(spec)
    kernels = [kernel for kernel in network.parameters() if kernel.ndim > 1 and kernel[0].numel() > 100]
    # What a wrong byte in the exponent does to a weight of about 0.05 is more.
    kernels[int(place * (len(kernels) - 1))].data.flatten()[7] += 0.5
    monkeypatch.setattr(networks, "known_network", lambda _spec: network)
    expected = KNOWN[name]
    assert networks._checked(spec, expected, networks.Execution(), CPU).outcome is Outcome.WRONG


def test_an_engine_that_returns_nothing_sensible_is_wrong(monkeypatch):
    monkeypatch.setattr(eager, "in_precision", lambda network, _precision: lambda x: network(x) * torch.nan)
    assert f"{next(iter(KNOWN))}, eager, fp32" in _wrong(networks.check_networks(CPU, every=False))


def test_files_bicubic_and_metrics_are_right_here_and_faults_are_found(monkeypatch):
    checks = (parts.check_files, parts.check_bicubic, parts.check_metrics)
    assert not [what for check in checks for what in _wrong(check())]
    monkeypatch.setattr(parts, "read_image", lambda _path: np.zeros((37, 53, 3), np.uint8))
    monkeypatch.setattr(parts, "imresize", lambda image, _scale: image[::4, ::4])
    monkeypatch.setattr(parts, "psnr", lambda *_: 28.13)
    assert [what for check in checks for what in _wrong(check())] == ["PNG files", "bicubic", "PSNR"]


def test_a_coarse_clock_is_found(monkeypatch):
    assert not _wrong(parts.check_clock(CPU))
    monkeypatch.setattr(parts, "_tick_s", lambda: 0.0156)
    assert _wrong(parts.check_clock(CPU)) == ["clock"]


def test_changed_weights_are_found(tmp_path, monkeypatch):
    spec = find_model("SPAN")
    (tmp_path / spec.checkpoints[0].file).write_bytes(b"other weights")
    monkeypatch.setenv("ESR_WEIGHTS", str(tmp_path))
    assert _wrong(parts.check_weights()) == ["weights of SPAN"]


def test_a_check_that_cannot_be_carried_out_is_wrong():
    def check():
        raise OSError("no space left")
        yield

    (finding,) = examined("PNG files", check)
    assert finding.outcome is Outcome.WRONG
    assert "no space left" in finding.words


def test_versions_other_than_the_pinned_ones_are_named(monkeypatch):
    monkeypatch.setattr(parts, "version", lambda name: "2.11.0+cu130" if name == "torch" else "0")
    (finding,) = parts.note_versions()
    assert "torch 2.11.0 (" in finding.words


def test_absent_packages_are_named_with_the_extra_that_brings_them(monkeypatch):
    there = parts._version
    monkeypatch.setattr(
        parts, "_version", lambda name: None if name in ("onnxruntime", "tensorboard", "ruff") else there(name)
    )
    (finding,) = parts.note_optional()
    assert "tensorboard (pip install -e '.[train]'), onnxruntime (pip install -e '.[export]')" in finding.words
    assert "ruff" not in finding.words


def test_the_command_ends_with_1_if_and_only_if_something_is_wrong(monkeypatch):
    monkeypatch.setattr(networks, "check_networks", lambda *_: iter(()))
    result = CliRunner().invoke(app, ["doctor", "--device", "cpu"])
    assert result.exit_code == 0
    assert "right  bicubic" in result.output
    assert "note   sandbox" in result.output
    monkeypatch.setattr(parts, "imresize", lambda image, _scale: image)
    result = CliRunner().invoke(app, ["doctor", "--device", "cpu"])
    assert result.exit_code == 1
    assert "wrong  bicubic" in result.output


@pytest.mark.parametrize("gain", [0.5, 255.0])
def test_an_output_of_another_scale_is_wrong(gain: float, monkeypatch):
    monkeypatch.setattr(eager, "in_precision", lambda network, _precision: lambda x: gain * network(x))
    wrong = _wrong(networks.check_networks(CPU, every=False))
    assert wrong == [f"{name}, eager, fp32" for name in KNOWN]


def test_a_compiler_that_is_missing_is_a_note(monkeypatch, tmp_path):
    from torch._inductor import cpp_builder, exc

    def none_found(_search: object) -> str:
        raise exc.InvalidCxxCompiler

    monkeypatch.setenv("ESR_CACHE", str(tmp_path))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "inductor"))
    monkeypatch.setattr(cpp_builder, "cpp_compiler_search", none_found)
    monkeypatch.setattr(networks, "_executions", lambda *_: [networks.Execution("compiled")])
    found = list(networks.check_networks(CPU, every=True))
    assert [its.outcome for its in found] == [Outcome.NOTE] * len(KNOWN)
    assert all("C++ compiler" in its.words for its in found)
