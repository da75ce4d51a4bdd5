"""Several images at once on a CPU: how many, by which threads, and that no figure tells."""

import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from eval.data.images import ImageSize, write_png
from eval.device.memory import PeakMemory
from eval.inference import upscaler
from eval.inference.engines.preparing import prepare
from eval.inference.engines.registry import Execution
from eval.inference.tiling import Tiling
from eval.inference.upscaler import Upscaler, fit_at_once
from eval.records.record import Record
from eval.run import runner, streams
from eval.run.launch import resolved
from eval.run.runner import carry_out_once
from eval.run.streams import streams_of, streams_within
from eval.run.tasks import EvaluationTask
from eval.zoo.manifest import find_model
from tests.tasks import InHand, config_of, task_of

BICUBIC, CPU = find_model("Bicubic"), torch.device("cpu")
# Of the ten images of the fixture ``folder``.
LARGEST = ImageSize(25, 12)


class KeepsItsInput(nn.Module):
    """Enlarges what it kept of the last call, after a pause in which another thread could replace it."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.kept = x
        SEEN.add((threading.get_ident(), torch.get_num_threads(), self.gain.data_ptr()))
        time.sleep(0.02)
        return self.gain * self.kept.repeat_interleave(4, -1).repeat_interleave(4, -2)


SEEN: set[tuple[int, int, int]] = set()


@pytest.fixture
def folder(tmp_path: Path, random_image) -> Path:
    for number in range(10):
        write_png(tmp_path / "hr" / f"image{number}.png", random_image(64 + 4 * number, 48))
    return tmp_path / "hr"


def run(task: EvaluationTask) -> Record:
    return carry_out_once(task, lambda _result: None)


def of_network(folder: Path, network: nn.Module, **changes) -> EvaluationTask:
    return task_of(folder, InHand(BICUBIC, network), **changes)


def test_streams_share_the_threads_and_leave_few_idle():
    assert [streams_within(threads) for threads in range(1, 13)] == [1, 2, 3, 4, 5, 6, 7, 8, 8, 5, 5, 6]
    assert [streams_within(threads) for threads in (15, 16, 17, 64)] == [7, 8, 8, 8]
    assert [streams_within(8, most) for most in (1, 2, 3, 5, 7)] == [1, 2, 2, 4, 7]


def test_a_configuration_has_a_stream_a_thread_where_nothing_is_timed():
    asked = config_of(threads=4, workers=None)
    assert (resolved(asked).streams, resolved(asked).threads_each) == (4, 1)
    assert resolved(asked.replaced(streams=2)).threads_each == 2
    assert resolved(asked.replaced(workers=3)).streams == 1
    assert resolved(asked.replaced(protocol="official")).streams == 1
    steady = resolved(asked.replaced(protocol="steady"))
    assert (steady.streams, steady.threads_each) == (4, 4)


def test_figures_and_files_are_those_of_one_stream(folder: Path, tmp_path: Path):
    one, two = (
        run(of_network(folder, KeepsItsInput(), threads=2, streams=count, images_dir=tmp_path / str(count)))
        for count in (1, 2)
    )
    assert one.complete
    assert two.complete
    assert two.images == one.images
    for image in one.images:
        ours, theirs = (tmp_path / str(count) / f"{image.name}.png" for count in (2, 1))
        assert ours.read_bytes() == theirs.read_bytes()
    assert (one.settings.streams, one.settings.workers) == (1, 2)
    assert (two.settings.streams, two.settings.workers) == (2, 0)
    # By the order of sums, as another number of threads would.
    assert two.key != one.key
    assert two.figures_key == one.figures_key


def test_each_stream_has_its_share_of_the_threads_and_the_same_weights(folder: Path):
    SEEN.clear()
    before = torch.get_num_threads()
    run(of_network(folder, KeepsItsInput(), threads=4, streams=2))
    own, pooled = threading.get_ident(), {ident for ident, _, _ in SEEN} - {threading.get_ident()}
    assert len(pooled) == 2
    assert {count for ident, count, _ in SEEN if ident in pooled} == {2}
    # Memory is measured afterwards, alone.
    assert {count for ident, count, _ in SEEN if ident == own} == {4}
    assert len({weights for _, _, weights in SEEN}) == 1
    assert torch.get_num_threads() == before
    later = []
    thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert later == [before]


@pytest.mark.parametrize("streams", [1, 2])
def test_the_peak_is_of_the_largest_image_alone(folder: Path, monkeypatch: pytest.MonkeyPatch, streams: int):
    events = []
    monkeypatch.setattr(Upscaler, "peak_memory", _told(events))
    network = KeepsItsInput()
    hook = network.register_forward_pre_hook(lambda _network, args: events.append(tuple(args[0].shape[-2:])))
    record = run(of_network(folder, network, threads=2, streams=streams))
    hook.remove()
    assert record.peak_memory_mib == 5
    assert record.peak_memory_method == "above the level before the set's largest image, run once more alone"
    assert events[-3:] == ["begin", (25, 12), "end"]
    assert events.count("begin") == 1


def test_a_peak_that_cannot_be_measured_costs_no_image(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(runner, "_peak_of_the_largest", lambda *_given: 1 / 0)
    record = run(of_network(folder, KeepsItsInput(), threads=2, streams=2))
    assert (record.status, len(record.images), record.peak_memory_mib) == ("complete", 10, None)


def _told(events: list):
    @contextmanager
    def peak_memory(_model):
        events.append("begin")
        yield PeakMemory("above the level before the set", 5.0)
        events.append("end")

    return peak_memory


@pytest.mark.parametrize(
    "changes",
    [{"protocol": "official"}, {"threads": 1}, {"streams": None}],
    ids=["timed", "one thread", "not asked for"],
)
def test_one_image_at_a_time(folder: Path, changes: dict):
    task = of_network(folder, KeepsItsInput(), **{"threads": 2, "streams": 2} | changes)
    with task.model.open(task.config, None) as model:
        assert streams_of(task, model) == 1


def test_what_cannot_be_side_by_side_has_one_stream(folder: Path):
    task = of_network(folder, KeepsItsInput(), threads=2, streams=2)
    with task.model.open(task.config, None) as model:
        assert streams_of(task, model) == 2
        assert streams_of(task, replace(model, device=torch.device("meta"))) == 1
        assert streams_of(task, replace(model, tiling=Tiling(8, 2, 1))) == 1
        assert streams_of(task, replace(model, execution=Execution("compiled"))) == 1
        assert streams_of(task, replace(model, execution=Execution("channels-last"))) == 2
        of_a_notebook = model.info.model_copy(update={"origin": "memory"})
        assert streams_of(task, replace(model, described=of_a_notebook)) == 1


@pytest.mark.parametrize(("images", "fitting", "expected"), [(10, 9, 2), (10, 1, 1), (10, 0, 1), (7, 9, 1), (8, 9, 2)])
def test_few_images_and_little_memory_make_fewer_streams(
    folder: Path, monkeypatch: pytest.MonkeyPatch, images: int, fitting: int, expected: int
):
    monkeypatch.setattr(streams, "usable_cpus", lambda: 8)
    monkeypatch.setattr(streams, "fit_at_once", lambda size, _device: fitting if size == LARGEST else 99)
    task = of_network(folder, KeepsItsInput(), threads=8, streams=8)
    task = replace(task, dataset=replace(task.dataset, pairs=task.dataset.pairs[-images:]))
    with task.model.open(task.config, None) as model:
        assert streams_of(task, model) == expected


def test_passes_side_by_side_share_the_memory(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(streams, "fit_at_once", lambda *_given: 3)
    task = of_network(folder, KeepsItsInput(), threads=2, streams=2)
    with task.model.open(task.config, None) as model:
        for cpus, expected in ((2, 2), (3, 2), (4, 1), (16, 1)):
            monkeypatch.setattr(streams, "usable_cpus", lambda cpus=cpus: cpus)
            assert streams_of(task, model) == expected


def test_how_many_images_fit_at_once(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(upscaler, "available_bytes", lambda _device: 10 * 2**30)
    # 16 KiB a pixel: 256 MiB for 128x128, of the 8 GiB that may be used.
    assert fit_at_once(ImageSize(128, 128), CPU) == 32
    assert fit_at_once(ImageSize(1024, 1024), CPU) == 0


def test_a_failure_keeps_the_images_before_it_and_names_its_own(folder: Path, monkeypatch: pytest.MonkeyPatch):
    whole = runner._finish

    def finish(task, metrics, pair, images, out):
        if pair.name == "image4":
            raise OSError(28, "No space left on device")
        return whole(task, metrics, pair, images, out)

    monkeypatch.setattr(runner, "_finish", finish)
    record = run(of_network(folder, KeepsItsInput(), threads=2, streams=2))
    assert [image.name for image in record.images] == [f"image{number}" for number in range(4)]
    assert record.reason.startswith("at image image4: ")


def test_a_network_that_fails_ends_the_run(folder: Path):
    class Failing(KeepsItsInput):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("planted")

    record = run(of_network(folder, Failing(), threads=2, streams=2))
    assert (record.status, record.reason, record.images) == ("failed", "at image image0: planted", ())


def test_threads_that_come_later_have_as_many_as_before(folder: Path):
    task = of_network(folder, KeepsItsInput(), threads=6, streams=2)
    counts, before = [], torch.get_num_threads()
    with task.model.open(task.config, None) as model:
        list(streams.in_streams(task, model, 2, range(4), lambda *_given: counts.append(torch.get_num_threads())))
    thread = threading.Thread(target=lambda: counts.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert counts == [3, 3, 3, 3, before]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_each_stream_has_a_prepared_network_of_its_own(precision: str):
    spec = find_model("ABPN")
    network, execution = spec.build().eval(), Execution("channels-last", precision)
    model = Upscaler(spec, network, CPU, forward=prepare(network, CPU, execution), execution=execution)
    other = model.beside()
    lr = np.random.default_rng(0).integers(0, 256, (24, 20, 3), dtype=np.uint8)
    assert np.array_equal(other(lr)[0], model(lr)[0])
    assert other.forward is not model.forward
    assert other.network is not network
    assert all(map(torch.Tensor.is_set_to, other.network.parameters(), network.parameters()))


def test_a_network_of_the_zoo_has_the_same_pixels_in_two_threads():
    spec = find_model("PFDNLite")
    network = spec.build().eval()
    lrs = [np.random.default_rng(seed).integers(0, 256, (40 + seed, 32, 3), dtype=np.uint8) for seed in range(4)]
    model = Upscaler(spec, network, CPU)
    other = model.beside()
    expected = [model(lr)[0] for lr in lrs]
    found: dict[int, np.ndarray] = {}

    def work(one: Upscaler, numbers: range) -> None:
        for number in numbers:
            found[number] = one(lrs[number])[0]

    threads = [threading.Thread(target=work, args=args) for args in ((model, range(2)), (other, range(2, 4)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, sr in enumerate(expected):
        assert np.abs(found[number].astype(int) - sr).max() <= 1
