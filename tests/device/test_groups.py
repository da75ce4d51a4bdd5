"""How many processors and how much memory a process may use, by its affinity and by control groups."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from eval.device import groups as control_groups
from eval.device import memory


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Pretend to be in control groups, on a machine of 16 processors."""
    monkeypatch.setattr(control_groups, "_ROOT", tmp_path)
    monkeypatch.setattr(control_groups, "_OWN", tmp_path / "own")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(16)), raising=False)

    def write(own: str, **files: str) -> int:
        (tmp_path / "own").write_text(own)
        for name, text in files.items():
            path = tmp_path / name.replace("__", "/").replace("_max", ".max").replace("cpu_cfs", "cpu.cfs")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return control_groups.usable_cpus()

    return write


def test_without_groups_it_is_the_affinity(groups, monkeypatch: pytest.MonkeyPatch):
    assert groups("") == 16
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 3}, raising=False)
    assert groups("0::/\n") == 2


@pytest.mark.parametrize(
    ("text", "count"), [("200000 100000", 2), ("150000 100000", 2), ("50000 100000", 1), ("max 100000", 16), ("", 16)]
)
def test_version_2(groups, text: str, count: int):
    assert groups("0::/\n", cpu_max=text) == count


def test_the_least_of_all_groups_above(groups):
    own = "0::/pods/one\n"
    assert groups(own, cpu_max="max 100000", pods__cpu_max="300000 100000", pods__one__cpu_max="800000 100000") == 3


def test_version_1(groups):
    own = "4:memory:/m\n2:cpu,cpuacct:/docker/x\n"
    files = {"cpu__docker__x__cpu_cfs_quota_us": "400000\n", "cpu__docker__x__cpu_cfs_period_us": "100000\n"}
    assert groups(own, **files) == 4
    assert groups(own, **(files | {"cpu__docker__x__cpu_cfs_quota_us": "-1\n"})) == 16


@pytest.mark.parametrize(
    ("own", "base", "names"),
    [
        ("0::/pods/one\n", "pods", ("memory.max", "memory.current")),
        ("3:pids:/x\n4:memory:/pods/one\n", "memory/pods", ("memory.limit_in_bytes", "memory.usage_in_bytes")),
    ],
    ids=["version 2", "version 1"],
)
def test_free_memory_is_what_the_tightest_group_has_left(groups, tmp_path: Path, monkeypatch, own, base, names):
    monkeypatch.setattr(memory.psutil, "virtual_memory", lambda: SimpleNamespace(available=1000))
    groups(own)
    assert memory.available_bytes(torch.device("cpu")) == 1000
    (tmp_path / base / "one").mkdir(parents=True)
    for folder, figures in ((tmp_path / base, ("900", "500")), (tmp_path / base / "one", ("800", "300"))):
        for name, figure in zip(names, figures, strict=True):
            (folder / name).write_text(f"{figure}\n")
    assert memory.available_bytes(torch.device("cpu")) == 400
    # Of 500 used bytes, 250 are files that can be dropped; then the inner group is the tighter one.
    (tmp_path / base / "memory.stat").write_text("anon 250\nfile 250\ninactive_file 250\n")
    assert memory.available_bytes(torch.device("cpu")) == 500
    (tmp_path / base / "one" / names[0]).write_text("max\n")
    assert memory.available_bytes(torch.device("cpu")) == 650
