"""Tasks on a Ray cluster of two nodes on this machine: the same figures, and workers that are killed."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from eval.config import RunConfig
from eval.data.datasets import open_dataset
from eval.errors import UsageError
from eval.run import ray_launcher
from eval.run.evaluation import Evaluation
from eval.run.keys import Machine, machine
from eval.run.launch import Launch
from eval.run.processes import carry_out
from eval.run.ray_launcher import Node, carry_out_on_ray, node_of
from tests import deadly
from tests.deadly import BICUBIC, Deadly, Placed
from tests.tasks import task_of

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a cluster with two nodes of one CPU each."""
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install -e '.[cluster]'")
    from ray.cluster_utils import Cluster

    # Workers have no tests to import from: the classes above are sent along.
    ray.cloudpickle.register_pickle_by_value(deadly)
    with pytest.MonkeyPatch.context() as patch:
        # Ray lets every other program go first, and gives a worker up that has not begun after a minute.
        patch.setenv("RAY_worker_niceness", "0")
        patch.setenv("RAY_worker_register_timeout_seconds", "600")
        nodes = Cluster()
        for _ in range(2):
            nodes.add_node(num_cpus=1, object_store_memory=80 * 2**20, include_dashboard=False)
        yield nodes.address
        nodes.shutdown()
    ray.cloudpickle.unregister_pickle_by_value(deadly)


def test_a_cluster_gives_the_same_figures_and_makes_up_for_a_killed_worker(cluster: str, hr_folder, tmp_path: Path):
    for name in ("once", "always"):
        (tmp_path / name).mkdir()
    models = (BICUBIC, Deadly(tmp_path / "once", 1), Deadly(tmp_path / "always", 99))
    tasks = [task_of(hr_folder, model, metrics=("psnr", "ssim")) for model in models]
    done = {tasks.index(task): record for task, record in carry_out_on_ray(tasks, cluster)}
    expected = carry_out(tasks[0], lambda _result: None)
    assert done[0].images == done[1].images == expected.images
    assert len(list((tmp_path / "once").iterdir())) == 1
    assert (done[2].status, done[2].state) == ("failed", "killed")
    assert "its Ray worker died 3 times" in done[2].reason
    assert done[2].key == tasks[2].key


def test_a_process_of_a_cluster_carries_out_one_task(cluster: str, hr_folder, tmp_path: Path):
    """A second one would not be cold, and would find the device as the first one left it."""
    (tmp_path / "pids").mkdir()
    source = Placed(tmp_path / "pids")
    done = list(carry_out_on_ray([task_of(hr_folder, source), task_of(hr_folder, source, metrics=("ssim",))], cluster))
    assert all(record.complete for _, record in done)
    assert len(list((tmp_path / "pids").iterdir())) == 2


def test_a_node_says_what_it_is_and_its_records_keys_hold_that(cluster: str, hr_folder):
    node = node_of("auto", cluster)
    assert node == Node("cpu", machine("cpu"))
    elsewhere = replace(task_of(hr_folder), machine=Machine(("another", 3)))
    ((task, record),) = carry_out_on_ray([elsewhere], cluster)
    assert task is elsewhere
    assert record.key == replace(elsewhere, machine=node.machine).key == task_of(hr_folder).key != elsewhere.key
    with pytest.raises(UsageError, match="--device cuda: not available; no node of the cluster has a GPU"):
        node_of("cuda", cluster)


def test_the_command_s_own_machine_needs_no_gpu(monkeypatch: pytest.MonkeyPatch, hr_folder, tmp_path: Path):
    """Tasks hold what the node said; one that is lost is a row of that GPU."""
    sent, gpu = [], Node("cuda", Machine(("NVIDIA X", "1.2"), "A processor there"))

    def carry_out(tasks, address):
        sent.extend(tasks)
        return ((task, ray_launcher._lost(task, "gone")) for task in tasks)

    monkeypatch.setattr(
        "eval.run.evaluation.node_of", lambda device, address: (device, address) == ("auto", "a:1") and gpu
    )
    monkeypatch.setattr("eval.run.evaluation.carry_out_on_ray", carry_out)
    launch = Launch(launcher="ray", ray_address="a:1", save_dir=tmp_path)
    evaluation = Evaluation(RunConfig(protocol="accuracy"), launch)
    (record,) = evaluation.run([BICUBIC], [open_dataset(hr_folder, None)])
    assert (sent[0].config.device, sent[0].machine) == ("cuda", gpu.machine)
    assert (record.status, record.environment.machine) == ("failed", "NVIDIA X, A processor there")
    assert (record.reason, record.key) == ("gone", sent[0].key)
    assert record.key != replace(sent[0], machine=Machine(("NVIDIA Y", "1.2"), "A processor there")).key


def test_a_ray_of_this_machine_s_processors_asks_nobody(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("eval.run.evaluation.node_of", None)
    assert Evaluation(RunConfig(protocol="accuracy", device="cpu"), Launch(launcher="ray")).node is None
    assert Evaluation(RunConfig(protocol="accuracy", device="cpu")).node is None


def test_an_address_without_a_cluster_is_said():
    pytest.importorskip("ray", reason="Ray is not installed: pip install -e '.[cluster]'")
    with pytest.raises(UsageError, match=r"--ray_address 127.0.0.1:1: no Ray cluster answers there"):
        list(carry_out_on_ray([], "127.0.0.1:1"))


def test_without_ray_the_command_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"pip install -e '\.\[cluster\]'"):
        list(carry_out_on_ray([], None))


def test_shared_machines_take_no_times():
    on_ray = Launch(launcher="ray")
    with pytest.raises(UsageError, match="passes share a node's CPU, so official cannot be timed there"):
        on_ray.check(RunConfig(device="cpu"))
    with pytest.raises(UsageError, match="steady cannot be timed there"):
        on_ray.check(RunConfig(device="cuda", protocol="steady"))
    with pytest.raises(UsageError, match="--precision bf16: not with --launcher ray"):
        on_ray.check(RunConfig(precision="bf16", protocol="accuracy"))
    on_ray.check(RunConfig(device="cuda"))
    with pytest.raises(UsageError, match="--ray_address auto: only with --launcher ray"):
        Launch(ray_address="auto").check(RunConfig())
