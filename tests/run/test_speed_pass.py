"""The speed pass runs models as their accuracy was measured: on whole images, or on the same tiles."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from eval.config import RunConfig
from eval.data.datasets import open_dataset
from eval.data.images import write_png
from eval.device.memory import live_bytes_per_pixel
from eval.inference import upscaler
from eval.records.record import Record, State
from eval.run import evaluation, speed_pass
from eval.run.evaluation import Evaluation
from eval.run.model_source import zoo_model
from eval.run.observer import Observer
from eval.run.tasks import is_final
from eval.zoo.manifest import find_model
from tests.run.test_runner import timing_of

SIDE = 80
ABPN = zoo_model(find_model("ABPN"), "selftrained")
AMPLE = 2**40


@pytest.fixture(scope="module")
def short() -> int:
    """Free memory that is enough for a tile of 64 and not for the image: twice the network's own, 80% of it used."""
    pixels = (64**2 + SIDE**2) / 2
    return int(pixels * 2 * live_bytes_per_pixel(ABPN.spec.build()) / 0.8)


@pytest.fixture
def timed(monkeypatch, tmp_path: Path, random_image) -> Callable[[int, int], tuple[Record, list[int | None]]]:
    """Run the steady protocol with so much free memory for either pass; return the record, and the tiles timed."""
    write_png(tmp_path / "photos" / "a.png", random_image(4 * SIDE, 4 * SIDE))
    free: list[int] = []
    tiles: list[int | None] = []

    def measured(models, *_limits) -> list:
        tiles.extend(model.tiling and model.tiling.tile for model in models)
        return [timing_of(((10.0,),), image_names=("a",), dropped={}) for _ in models]

    def run(first: int, second: int) -> tuple[Record, list[int | None]]:
        together = evaluation.time_together
        free.append(first)
        monkeypatch.setattr(evaluation, "time_together", lambda *given: free.append(second) or together(*given))
        made = Evaluation(RunConfig(protocol="steady", device="cpu", threads=1))
        (record,) = made.run([ABPN], [open_dataset(tmp_path / "photos", None)])
        return record, tiles

    monkeypatch.setattr(upscaler, "available_bytes", lambda _device: free[-1])
    monkeypatch.setattr(speed_pass, "measure_together", measured)
    return run


@pytest.mark.parametrize(("settle", "most"), [(None, 16), (1, 4096)])
def test_the_bar_counts_up_to_the_largest_number_of_rounds(hr_folder: Path, monkeypatch, settle: int, most: int):
    told: dict[str, int] = {}

    class Watching(Observer):
        def progress(self, label: str, total: int, *more: str) -> AbstractContextManager:
            told[label] = total
            return super().progress(label, total, *more)

    def measured(models, *_limits) -> list:
        return [timing_of(((10.0,),), image_names=("a",), dropped={}) for _ in models]

    monkeypatch.setattr(speed_pass, "measure_together", measured)
    config = RunConfig(protocol="steady", preset="rapid", settle=settle, device="cpu", threads=1)
    Evaluation(config, observer=Watching()).run([ABPN], [open_dataset(hr_folder, None)])
    assert told["rounds"] == most


def test_whole_images_are_timed_whole(timed):
    record, tiles = timed(AMPLE, AMPLE)
    assert (record.complete, record.settings.tile, tiles) == (True, None, [None])


def test_tiles_are_timed_as_tiles_though_memory_is_free_by_then(timed, short: int):
    record, tiles = timed(short, AMPLE)
    assert (record.complete, record.settings.tile, tiles) == (True, 64, [64])
    assert record.config.tile == "auto"


def test_whole_images_are_not_timed_as_tiles_where_memory_is_short_by_then(timed, short: int):
    record, tiles = timed(AMPLE, short)
    assert tiles == []
    assert (record.status, record.state, record.settings.tile) == ("failed", State.OUT_OF_MEMORY, None)
    assert record.reason == (
        "while it was timed: --tile auto: its accuracy was measured on whole images, and free memory is now enough for"
        " tiles of 64 alone; free some, or give --tile"
    )
    # There may be memory the next time.
    assert not is_final(record)
