"""The key part by part: each thing that a figure depends on, changed alone, makes another key."""

import os
import pickle
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import PIL
import pytest
import torch

from eval import sources
from eval.config import RunConfig
from eval.data.datasets import open_dataset
from eval.data.images import write_png
from eval.inference.engines.registry import ENGINES, Engine
from eval.metrics.figures import ModelAnalysis
from eval.records.record import Record, State
from eval.run import keys, launch
from eval.run.launch import Launch, resolved
from eval.run.model_source import ZooModel, zoo_model
from eval.run.processes import carry_out
from eval.run.tasks import EvaluationTask, is_final, unless_changed
from eval.sources import hash_of_file, hash_of_sources
from eval.zoo.manifest import find_model
from tests.conftest import PROJECT
from tests.tasks import config_of

CONFIG = config_of(tile=64, tile_overlap=16)
ABPN = zoo_model(find_model("ABPN"), "selftrained")


@pytest.fixture
def task(hr_folder: Path) -> EvaluationTask:
    return EvaluationTask(ABPN, open_dataset(hr_folder, None), CONFIG)


def weights_of_other_values(tmp_path: Path) -> ZooModel:
    torch.manual_seed(0)
    torch.save(ABPN.spec.build().state_dict(), tmp_path / "other.pth")
    return zoo_model(ABPN.spec, str(tmp_path / "other.pth"))


def row(**changes) -> ZooModel:
    return replace(ABPN, spec=ABPN.spec.model_copy(update=changes))


def given(**changes):
    return lambda task, _: replace(task, config=CONFIG.replaced(**changes))


CHANGED = {
    "protocol": given(protocol="official"),
    "ssim": given(metrics="psnr,ssim"),
    "images": lambda task, folder: replace(task, images_dir=folder / "x" / "y"),
    "tile": given(tile=48),
    "whole images": given(tile=None),
    "tile_overlap": given(tile_overlap=8),
    "threads": given(threads=2),
    "engine": given(engine="channels-last"),
    "precision": given(precision="bf16"),
    "weights": lambda task, folder: replace(task, model=weights_of_other_values(folder)),
    "model": lambda task, _: replace(task, model=row(name="Other")),
    "arguments": lambda task, _: replace(task, model=row(arguments={"channels": 8})),
    "data_range": lambda task, _: replace(task, model=row(data_range=255.0)),
    "min_size": lambda task, _: replace(task, model=row(min_size=9)),
    "tile_step": lambda task, _: replace(task, model=row(tile_step=6)),
    "target": lambda task, _: replace(task, model=row(target="models.team05_SPAN:SPAN")),
}


@pytest.mark.parametrize("part", CHANGED)
def test_each_part_of_the_task(task: EvaluationTask, tmp_path: Path, part: str):
    assert CHANGED[part](task, tmp_path).key != task.key


def test_words_of_the_row_and_workers_change_no_figure(task: EvaluationTask):
    for words in ({"note": "Other words"}, {"paper": "https://example.org"}, {"team": "Others"}):
        assert replace(task, model=row(**words)).key == task.key
    assert replace(task, config=CONFIG.replaced(workers=7)).key == task.key


def test_pixels_and_name_of_the_set(task: EvaluationTask, hr_folder: Path, random_image):
    before = task.key
    hr_folder.rename(hr_folder.with_name("renamed"))
    assert replace(task, dataset=open_dataset(hr_folder.with_name("renamed"), None)).key != before
    hr_folder.with_name("renamed").rename(hr_folder)
    assert replace(task, dataset=open_dataset(hr_folder, None)).key == before
    write_png(hr_folder / "image1.png", random_image(40, 52, 9))
    assert replace(task, dataset=open_dataset(hr_folder, None)).key != before


@pytest.mark.parametrize("part", ["measuring_sha256", "libraries", "machine"])
def test_code_libraries_and_machine(task: EvaluationTask, monkeypatch, part: str):
    before = task.key
    monkeypatch.setattr(f"eval.run.tasks.{part}", lambda _of: keys.Machine(("another",)))
    assert replace(task).key != before


def test_equal_parts_have_equal_keys_in_another_process(task: EvaluationTask):
    code = (
        "import sys; from tests.run.test_keys import *;"
        "print(EvaluationTask(ABPN, open_dataset(Path(sys.argv[1]), None), CONFIG).key)"
    )
    command = [sys.executable, "-c", code, str(task.dataset.folder)]
    other = subprocess.run(command, capture_output=True, text=True, check=True, cwd=PROJECT)
    assert other.stdout.strip() == task.key


def test_measuring_holds_every_module_that_makes_a_figure(monkeypatch):
    files: set[Path] = set()
    closure = sources.files_of

    def noted(root: Path, modules):
        found = closure(root, modules)
        files.update(path.relative_to(root) for path in found)
        return found

    monkeypatch.setattr(sources, "files_of", noted)
    monkeypatch.setattr(keys, "hash_at_first", hash_of_sources)
    keys.measuring_sha256()
    names = "metrics/psnr_ssim metrics/luma metrics/consistency"
    names += " metrics/complexity metrics/behaviour metrics/operands data/images data/png data/pairs"
    names += " data/resize inference/upscaler inference/tiling device/clock device/transfer device/memory"
    names += " device/pixels intervals metrics/on_device"
    names += " run/processes run/speed_pass run/tasks run/ray_launcher"
    names += " run/runner run/pipeline timing/interleaved timing/interference timing/warmup"
    assert {Path(f"eval/{name}.py") for name in names.split()} <= files
    assert {Path(f"{engine.module.replace('.', '/')}.py") for engine in ENGINES.values()} <= files
    assert not [path for path in files if path.parts[1] in ("api.py", "cli", "report", "ranking", "third_party")]
    files.clear()
    keys.measuring_sha256(by_worker=True)
    theirs = "third_party/worker third_party/zoo_worker third_party/shims/cuda"
    # What measures a worker's images is this process's code.
    assert {Path(f"eval/{name}.py") for name in f"{names} {theirs}".split()} <= files


def test_libraries_name_versions_and_those_of_an_engine_only_where_it_runs(monkeypatch):
    rows = {"eager": Engine(""), "other": Engine("", needs=("pydantic",)), "absent": Engine("", needs=("no_package",))}
    monkeypatch.setattr(keys, "ENGINES", rows)
    versions = {name: keys.libraries.__wrapped__(name) for name in (*rows, "auto")}
    added = f"pydantic {version('pydantic')}"
    assert {name: added in its for name, its in versions.items()} == {
        "eager": False, "other": True, "absent": False, "auto": True
    }  # fmt: skip
    plain = {
        f"torch {torch.__version__}",
        f"numpy {np.__version__}",
        f"cv2 {cv2.__version__}",
        f"PIL {PIL.__version__}",
        f"fvcore {version('fvcore')}",
    }
    assert plain <= set(versions["eager"])


def test_threads_that_are_not_asked_for_are_torchs_own(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 5)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    for quota, threads in ((8, 5), (3, 3)):
        monkeypatch.setattr(launch, "usable_cpus", lambda quota=quota: quota)
        resolved_config = resolved(RunConfig(device="cpu"))
        assert (resolved_config.threads, resolved_config.workers) == (
            threads,
            launch.workers_beside("cpu", threads, quota),
        )
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert resolved(RunConfig(device="cpu")).threads == 5
    assert resolved(RunConfig(device="cpu", threads=3)).threads == 3
    assert resolved(RunConfig(device="cpu", protocol="accuracy"), Launch(jobs=2)).threads == 2
    assert resolved(RunConfig(device="cpu", protocol="accuracy"), Launch(launcher="ray")).threads == 1


def test_runs_that_are_averaged_are_in_the_key(task: EvaluationTask):
    one, five = (replace(task, config=CONFIG.replaced(protocol="official", runs=count)).key for count in (1, 5))
    assert one != five


def test_the_order_of_parts_does_not_count():
    assert (
        keys.hash_of({"a": [1], "b": [2]}) == keys.hash_of({"b": [2], "a": [1]}) != keys.hash_of({"a": [2], "b": [1]})
    )


def test_the_first_gpu_has_one_key_by_either_name(task: EvaluationTask, monkeypatch):
    monkeypatch.setattr("eval.run.tasks.machine", lambda _device: keys.Machine(("A GPU", "550.1"), "A processor"))
    for part in ("key", "figures_key", "images_key"):
        keyed = [getattr(replace(task, config=CONFIG.replaced(device=name)), part) for name in ("cuda", "cuda:0")]
        assert len(set(keyed)) == 1
        assert getattr(replace(task, config=CONFIG.replaced(device="cuda:1")), part) != keyed[0]


def test_a_gpus_machine_is_its_host_and_what_runs_it_too(monkeypatch):
    monkeypatch.setattr(keys, "device_name", lambda _device: "A GPU")
    monkeypatch.setattr(keys, "cpu_name", lambda: "A processor")
    monkeypatch.setattr(keys, "driver_version", lambda: "550.1")
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91002)
    assert keys.machine.__wrapped__("cuda") == keys.Machine(("A GPU", "550.1", 91002), "A processor")


def test_the_cpu_beside_a_gpu_decides_times_alone(task: EvaluationTask):
    for protocol, same in (("accuracy", True), ("official", False), ("steady", False)):
        config = CONFIG.replaced(device="cuda", protocol=protocol)
        one, other = (
            replace(task, config=config, machine=keys.Machine(("A GPU", "550.1"), host)) for host in ("EPYC", "Xeon")
        )
        assert (one.key == other.key) is same
        assert (one.figures_key, one.images_key) == (other.figures_key, other.images_key)


@pytest.mark.parametrize("device", ["mps", "cpu"])
def test_apples_machine_is_its_system_too(monkeypatch, device: str):
    monkeypatch.setattr(keys, "device_name", lambda _device: "An Apple chip")
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(keys, "usable_cpus", lambda: 6)
    monkeypatch.setattr(keys.platform, "mac_ver", lambda: ("15.1", ("", "", ""), "arm64"))
    assert keys.machine.__wrapped__(device) == keys.Machine(("An Apple chip", 8, "15.1"), "6 processors")


def test_processors_of_one_name_and_other_instructions_are_two_machines(monkeypatch):
    before = keys.machine.__wrapped__("cpu")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "OTHER")
    assert keys.machine.__wrapped__("cpu") != before


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A network of two files, a package, and what none of them imports."""
    files = {
        "net.py": "from layers import conv\nimport torch\nfrom blocks.parts import block\n",
        "layers.py": "import helpers\n",
        "helpers.py": "x = 1\n",
        "blocks/__init__.py": "",
        "blocks/parts.py": "from . import inner\n",
        "blocks/inner.py": "",
        "unrelated.py": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize("file", ["net.py", "layers.py", "helpers.py", "blocks/__init__.py", "blocks/inner.py"])
def test_a_change_of_any_file_that_is_imported_changes_the_hash(folder: Path, file: str):
    before = hash_of_file(folder / "net.py"), hash_of_sources(folder, ["net"])
    (folder / file).write_text((folder / file).read_text() + "# changed\n")
    after = hash_of_file(folder / "net.py"), hash_of_sources(folder, ["net"])
    assert all(old != new for old, new in zip(before, after, strict=True))


def test_what_type_checkers_alone_import_does_not_count(folder: Path):
    text = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import unrelated\nelse:\n    import layers\n"
    (folder / "net.py").write_text(text)
    before = hash_of_sources(folder, ["net"])
    (folder / "unrelated.py").write_text("# changed\n")
    assert hash_of_sources(folder, ["net"]) == before
    (folder / "helpers.py").write_text("# changed\n")
    assert hash_of_sources(folder, ["net"]) != before


def test_what_is_not_imported_does_not_count_and_the_text_does(folder: Path):
    before = hash_of_sources(folder, ["net"], "a row")
    (folder / "unrelated.py").write_text("# changed\n")
    assert hash_of_sources(folder, ["net"], "a row") == before
    assert hash_of_sources(folder, ["net"], "another row") != before


@pytest.fixture
def models(monkeypatch, tmp_path: Path) -> Path:
    """The zoo's networks, as files that may be changed."""
    shutil.copytree(PROJECT / "models", tmp_path / "models", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr("eval.zoo.manifest.PROJECT", tmp_path)
    return tmp_path / "models"


def change(path: Path) -> None:
    path.write_text(path.read_text() + "\n# changed\n")


def test_the_zoo_counts_shared_layers_and_the_network_it_derives_from(models: Path):
    before = find_model("DIPNet").source_now(), find_model("SPAN").source_now()
    for file in ("layers.py", "team00_RLFN.py"):
        change(models / file)
        assert find_model("DIPNet").source_now() != before[0]
        (models / file).write_text((models / file).read_text().removesuffix("\n# changed\n"))
        assert find_model("DIPNet").source_now() == before[0]
    (models / "team00_RLFN.py").write_text("# changed\n")
    assert find_model("SPAN").source_now() == before[1]


def test_a_process_knows_files_as_it_first_saw_them(models: Path):
    dipnet, rlfn = find_model("DIPNet"), find_model("RLFN")
    before, other = dipnet.source_sha256, rlfn.source_now()
    change(models / "layers.py")
    assert dipnet.source_sha256 == before != dipnet.source_now()
    # What they share may have been imported for the one.
    assert rlfn.source_sha256 == other != rlfn.source_now()
    (models / "team00_RLFN.py").unlink()
    assert dipnet.source_sha256 == before


def quiet(_result: object) -> None:
    pass


def changed(record: Record, what: str = "its source") -> bool:
    told = (record.status, record.state, record.reason)
    assert told in (
        ("complete", State.RAN, None),
        ("failed", State.SOURCE_CHANGED, f"{what} changed while it ran: run it again"),
    )
    assert is_final(record) == record.complete
    return not record.complete


def forget_files() -> None:
    """Be as another process, to which no file is known."""
    for remembered in (sources.hash_at_first, sources._sha256_at_first):
        remembered.cache_clear()


@pytest.fixture
def untold(task: EvaluationTask) -> EvaluationTask:
    """A task that counts nothing: it runs in no time."""
    return replace(task, analysis=ModelAnalysis())


def test_a_source_that_changes_between_two_sets_is_under_no_key(models: Path, untold: EvaluationTask):
    first, second = (replace(untold, dataset=replace(untold.dataset, name=name)) for name in ("Set1", "Set2"))
    assert not changed(carry_out(first, quiet))
    before = second.key
    change(models / "team08_ABPN.py")
    # It was imported before, so it is the old network that runs.
    assert changed(record := carry_out(second, quiet))
    assert (record.key, replace(second).key, len(record.images)) == (before, before, 2)
    assert changed(unless_changed(record.model_copy(update={"status": "complete", "reason": None}), second))


def test_a_process_that_starts_after_a_change_makes_no_record_of_a_former_key(models: Path, untold: EvaluationTask):
    sent = pickle.dumps(untold)
    change(models / "team08_ABPN.py")
    forget_files()
    assert changed(carry_out(pickle.loads(sent), quiet))
    # A task that is made there is of what is there.
    assert not changed(carry_out(replace(pickle.loads(sent)), quiet))


@pytest.fixture
def measuring(monkeypatch, tmp_path: Path) -> Path:
    """The code that measures, as files that may be changed."""
    shutil.copytree(PROJECT / "eval", tmp_path / "eval", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(keys, "PROJECT", tmp_path)
    return tmp_path / "eval"


def test_nor_does_one_that_starts_after_the_measuring_code_has_changed(measuring: Path, untold: EvaluationTask):
    sent = pickle.dumps(untold)
    change(measuring / "run" / "runner.py")
    # What this process has imported is the former code.
    assert not changed(carry_out(untold, quiet))
    forget_files()
    assert changed(carry_out(pickle.loads(sent), quiet), "the code that measures it")
    assert not changed(carry_out(replace(pickle.loads(sent)), quiet))


@pytest.mark.parametrize("file", ["third_party/worker.py", "device/clock.py"])
def test_a_worker_imports_the_measuring_code_as_it_is_when_it_starts(
    measuring: Path, untold: EvaluationTask, file: str
):
    record = carry_out(untold, quiet)
    model = said(in_worker=True)
    model.source_now = lambda: model.info.source_sha256
    model.weights_now = lambda: model.info.weights_sha256
    task = replace(untold, model=model)
    assert task.key
    record = record.model_copy(update={"model": model.info})
    assert not changed(unless_changed(record, task))
    change(measuring / file)
    assert changed(unless_changed(record, task), "the code that measures it")


def test_a_network_that_cannot_be_built_of_a_changed_source_is_tried_again(models: Path, task: EvaluationTask):
    broken = replace(task, model=row(arguments={"no_such": 1}))
    assert is_final(carry_out(broken, quiet))
    change(models / "team08_ABPN.py")
    record = carry_out(broken, quiet)
    assert record.state is State.SOURCE_CHANGED
    assert record.reason.startswith(
        "its source changed while it ran: run it again (manifest.toml: the row of 08_ABPN: "
    )
    assert not is_final(record)


def said(**changes) -> SimpleNamespace:
    """A model of which only what it says of itself is asked."""
    return SimpleNamespace(info=ABPN.info.model_copy(update=changes))


def test_processors_of_one_name_and_another_number_are_two_machines(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 4096)
    name, count, *_ = keys.machine.__wrapped__("cpu").parts
    assert name
    assert count == 4096


@pytest.mark.parametrize(("protocol", "differ"), [("official", True), ("steady", True), ("accuracy", False)])
def test_processors_that_may_be_used_are_part_of_timed_keys_alone(
    task: EvaluationTask, monkeypatch, protocol: str, differ: bool
):
    """As taskset, a queue or a container sets them."""
    found = []
    for cpus in (1, 2):
        monkeypatch.setattr(keys, "usable_cpus", lambda cpus=cpus: cpus)
        where = keys.machine.__wrapped__("cpu")
        found.append(replace(task, config=CONFIG.replaced(protocol=protocol), machine=where))
    one, two = found
    assert (one.key != two.key) == differ
    assert one.figures_key == two.figures_key


def test_the_machine_that_carries_a_task_out_counts_and_not_the_one_that_asks(task: EvaluationTask, monkeypatch):
    there = replace(task, machine=keys.Machine(("Another processor", 64)))
    assert there.key != task.key
    monkeypatch.setattr("eval.run.tasks.machine", lambda _of: keys.Machine(("another",)))
    assert replace(there).key == there.key


def test_other_weights_of_one_file_are_another_model(task: EvaluationTask):
    raw, ema, plain = (replace(task, model=said(weights_key=its)) for its in ("params", "params_ema", None))
    assert len({its.key for its in (raw, ema, plain)}) == 3
    assert len({its.images_key for its in (raw, ema, plain)}) == 3
    assert plain.key == task.key


@pytest.mark.parametrize("in_worker", [True, False])
def test_the_code_that_measures_is_that_of_where_it_runs(task: EvaluationTask, monkeypatch, in_worker: bool):
    asked = []
    monkeypatch.setattr("eval.run.tasks.measuring_sha256", lambda by_worker: asked.append(by_worker) or "")
    assert replace(task, model=said(in_worker=in_worker)).key
    assert asked == [in_worker]


def test_figures_besides_times_have_a_key_of_their_own(task: EvaluationTask, tmp_path: Path, monkeypatch):
    before = task.figures_key
    for part in ("ssim", "threads", "images"):
        assert CHANGED[part](task, tmp_path).figures_key == before
    assert replace(task, config=CONFIG.replaced(protocol="steady")).figures_key == before
    for part in ("tile", "tile_overlap", "precision", "weights", "arguments"):
        assert CHANGED[part](task, tmp_path).figures_key != before
    for part in ("measuring_sha256", "libraries", "machine"):
        with monkeypatch.context() as patch:
            patch.setattr(f"eval.run.tasks.{part}", lambda _of: keys.Machine(("another",)))
            assert replace(task).figures_key != before
