"""What a machine is called: every chip has its name, and a GPU is never taken for its CPU."""

import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from eval.files import PROJECT
from eval.run import environment
from eval.run.environment import describe_environment, device_name

X86 = "processor\t: 0\nmodel name\t: AMD EPYC 7003\nflags\t: avx2\n"
HIDDEN = "cpu family\t: {family}\nmodel\t\t: 17\nmodel name\t: {name}\n"
KIND = "AMD64 Family 25 Model 33 Stepping 0, AuthenticAMD"
ARM = "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd40\n"


@pytest.fixture(autouse=True)
def _forgotten():
    """Names are asked for once a process."""
    for asked in (environment.cpu_name, environment.commit):
        asked.cache_clear()
    yield
    for asked in (environment.cpu_name, environment.commit):
        asked.cache_clear()


@pytest.mark.parametrize(
    ("text", "machine", "matrix_units", "name"),
    [
        (X86, "x86_64", False, "AMD EPYC 7003, AVX2"),
        (X86, "x86_64", True, "AMD EPYC 7003, AVX2, AMX"),
        (X86 + "cpu family\t: 25\nmodel\t\t: 1\n", "x86_64", False, "AMD EPYC 7003, AVX2"),
        (HIDDEN.format(family=25, name="AMD EPYC"), "x86_64", False, "AMD EPYC (family 25, model 17), AVX2"),
        (HIDDEN.format(family=26, name="AMD EPYC"), "x86_64", False, "AMD EPYC (family 26, model 17), AVX2"),
        (HIDDEN.format(family=6, name="Xeon @ 2.60GHz"), "x86_64", False, "Xeon @ 2.60GHz (family 6, model 17), AVX2"),
        ("model name\t: AMD EPYC\n", "x86_64", False, "AMD EPYC, AVX2"),
        (ARM, "aarch64", False, "aarch64 0x41 0xd40"),
    ],
)
def test_a_linux_processor(monkeypatch, text: str, machine: str, matrix_units: bool, name: str):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(environment.platform, "machine", lambda: machine)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: matrix_units)
    monkeypatch.setattr(Path, "read_text", lambda *_arguments, **_options: text)
    assert device_name(torch.device("cpu")) == name


def test_a_path_that_is_no_text_of_the_locale_is_read(monkeypatch: pytest.MonkeyPatch):
    # What a process decodes by, if it is not told.
    monkeypatch.setattr("subprocess._text_encoding", lambda: "ascii")
    words = (sys.executable, "-c", "import os; os.write(1, os.fsencode('/home/\\xe9\\n'))")
    assert environment._answer(*words) == "/home/\xe9"


@pytest.mark.parametrize("variable", ["ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"])
def test_a_limit_of_the_library_of_convolutions_is_another_machine(monkeypatch, variable: str):
    for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(environment.platform, "machine", lambda: "x86_64")
    before = device_name(torch.device("cpu"))
    monkeypatch.setenv(variable, "AVX2")
    assert device_name(torch.device("cpu")) == f"{before}, oneDNN at most AVX2"


def test_an_apple_chip_has_its_own_name_and_its_gpu_another(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(environment.platform, "machine", lambda: "arm64")
    monkeypatch.setattr(environment, "_answer", lambda *command: "Apple M2 Pro" if command[0] == "sysctl" else None)
    assert device_name(torch.device("cpu")) == "Apple M2 Pro"
    assert device_name(torch.device("mps")) == "Apple M2 Pro, MPS"
    on_gpu, on_cpu = (describe_environment(torch.device(kind)) for kind in ("mps", "cpu"))
    assert (on_gpu.machine, on_cpu.gpu) == ("Apple M2 Pro, MPS", None)
    assert on_cpu.machine.startswith("Apple M2 Pro, ")


@pytest.mark.parametrize(
    ("told", "name"), [("AMD Ryzen 9 5900X 12-Core Processor    ", "AMD Ryzen 9 5900X 12-Core Processor"), (None, KIND)]
)
def test_a_windows_processor(monkeypatch, told: str | None, name: str):
    def value(key: str, name: str) -> tuple[str, int]:
        assert key == r"machine HARDWARE\DESCRIPTION\System\CentralProcessor\0"
        if told is None:
            raise FileNotFoundError(name)
        return {"ProcessorNameString": told}[name], 1

    registry = SimpleNamespace(
        HKEY_LOCAL_MACHINE="machine", OpenKey=lambda *key: nullcontext(" ".join(key)), QueryValueEx=value
    )

    def absent(*_arguments, **_options) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", absent)
    monkeypatch.setitem(sys.modules, "winreg", registry)
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(environment.platform, "processor", lambda: KIND)
    assert environment.cpu_name() == name


def test_the_commit_is_asked_for_once(monkeypatch):
    answers = iter([str(PROJECT), "at the start", str(PROJECT), "changed meanwhile"])
    monkeypatch.setattr(environment, "_answer", lambda *_command: next(answers))
    assert [environment.commit(), environment.commit()] == ["at the start"] * 2


def test_the_repository_that_a_copy_lies_in_is_not_its_own(monkeypatch, tmp_path: Path):
    answers = {"rev-parse": str(tmp_path), "describe": "the commit of another project"}
    monkeypatch.setattr(environment, "_answer", lambda *command: answers[command[3]])
    assert environment.commit() is None


def test_a_program_that_is_not_there_answers_nothing():
    assert environment._answer("/no/such/program") is None
    assert environment._answer(sys.executable, "-c", "print(' a name ')") == "a name"


@pytest.mark.parametrize("error", [AttributeError, NotImplementedError, FileNotFoundError, ValueError])
def test_a_clock_that_cannot_be_read_is_no_error(monkeypatch, error: type[Exception]):
    """As on ARM, where folders for it exist and are empty."""

    def absent() -> None:
        raise error

    monkeypatch.setattr(environment.psutil, "cpu_freq", absent)
    assert environment.machine_state(torch.device("cpu")).cpu_mhz is None
