"""How many processors a process may use, by its affinity and by the quotas of control groups."""

import os
from pathlib import Path

import pytest

from eval.device import cpus


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Pretend to be in control groups, on a machine of 16 processors."""
    monkeypatch.setattr(cpus, "_CGROUPS", tmp_path)
    monkeypatch.setattr(cpus, "_OWN_CGROUPS", tmp_path / "own")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(16)), raising=False)

    def write(own: str, **files: str) -> int:
        (tmp_path / "own").write_text(own)
        for name, text in files.items():
            path = tmp_path / name.replace("__", "/").replace("_max", ".max").replace("cpu_cfs", "cpu.cfs")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return cpus.usable_cpus()

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
