"""Inputs of timed rounds are new, and outputs are those of work: what is looked up or worse than judged is flagged."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from eval.data.datasets import Dataset, open_dataset
from eval.data.images import write_png
from eval.metrics.psnr_ssim import psnr
from eval.timing import interference
from eval.timing.interleaved import measure_together
from eval.timing.outputs import Fresh, differing_psnr, fresh
from eval.timing.presets import Preset
from eval.timing.warmup import TimingError, warm_up

ROUNDS = Preset("test", images=3, rounds=(6, 6), budget_s=60, half_width=-1.0)


def enlarged(lr: np.ndarray) -> np.ndarray:
    return lr.repeat(4, 0).repeat(4, 1)


class Model:
    """Enlarges by repeating pixels, by way of ``how``, in 5 ms; is irregular when ``told`` says so."""

    def __init__(self, label: str, how: Callable = lambda lr, work: work(lr), told: Callable = lambda: None) -> None:
        self.label, self.device, self.processes = label, torch.device("cpu"), frozenset()
        self.how, self.told, self.calls = how, told, 0

    @property
    def irregular(self) -> str | None:
        return self.told()

    def __call__(self, lr: np.ndarray) -> tuple[np.ndarray, float]:
        self.calls += 1
        return self.how(lr, enlarged), 5.0

    def kernels_ms(self, lr: np.ndarray) -> float | None:
        return None


@pytest.fixture
def photos(tmp_path: Path, random_image) -> Dataset:
    for index in range(4):
        write_png(tmp_path / "set" / f"{index}.png", random_image(64, 48, index))
    return open_dataset(tmp_path / "set", None)


def test_a_fresh_form_is_the_same_picture_and_was_never_seen(random_image):
    lr = random_image(20, 30, 1)
    lr[0, 0], lr[0, 1] = 0, 255
    random, seen, turns = np.random.default_rng(3), set(), set()
    for _ in range(200):
        form = fresh(lr, random)
        difference = np.abs(form.upright(form.lr).astype(int) - lr)
        assert difference.max() == 1
        assert difference.sum() == 8
        seen.add(form.lr.tobytes())
        turns.add(form.turn)
    assert len(seen) == 200
    assert turns == {0, 1, 2, 3}


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 1), (1, 3)])
def test_tiny_images_have_fresh_forms_as_well(height: int, width: int):
    for value in (0, 255):
        form = fresh(np.full((height, width, 3), value, np.uint8), np.random.default_rng(0))
        assert form.lr.shape == (height, width, 3)
        assert np.abs(form.lr.astype(int) - value).max() == 1


def test_outputs_are_turned_back():
    lr = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    turned = {0: lr, 1: lr[:, ::-1], 2: lr[::-1], 3: lr[::-1, ::-1]}
    for turn, image in turned.items():
        assert np.array_equal(Fresh(image, turn).upright(enlarged(image)), enlarged(lr))


def test_honest_outputs_are_as_good_as_judged_and_not_flagged(photos: Dataset):
    first, second = measure_together([Model("A"), Model("B")], photos, ROUNDS)
    assert first.flags == second.flags == ()
    judged_db = {pair.name: psnr(enlarged(pair.read()[0]), pair.read()[1]) for pair in photos.pairs}
    assert 1 <= len(first.psnr_db) <= 3
    assert first.psnr_db == second.psnr_db
    for name, timed_db in first.psnr_db.items():
        assert timed_db == pytest.approx(judged_db[name], abs=0.05)
    assert differing_psnr(first.psnr_db, judged_db) is None


def test_what_is_kept_by_its_content_is_never_met_again(photos: Dataset):
    kept, misses = {}, []

    def look_up(lr: np.ndarray, work: Callable) -> np.ndarray:
        if lr.tobytes() not in kept:
            misses.append(1)
            kept[lr.tobytes()] = work(lr)
        return kept[lr.tobytes()]

    (timing,) = measure_together([Model("A", look_up)], photos, ROUNDS)
    # 3 images in 6 rounds, besides the two images that it is warmed up with.
    assert len(misses) == 2 + 3 * 6
    assert timing.flags == ()


def test_what_is_looked_up_by_likeness_is_flagged(photos: Dataset):
    """A picture is found again by its histogram in coarse steps, which neither turns nor a few grey levels change."""
    kept: dict[float, np.ndarray] = {}

    def look_up(lr: np.ndarray, work: Callable) -> np.ndarray:
        return kept.setdefault(round(float(lr.mean())), work(lr))

    (timing,) = measure_together([Model("A", look_up)], photos, ROUNDS)
    (flag,) = timing.flags
    assert flag.code == "timed"
    assert "returned what it had returned before for another input" in flag.text


def test_less_work_once_it_is_timed_is_flagged(photos: Dataset):
    """After a hundred images of an accuracy pass, or of warming up: here at once."""
    (timing,) = measure_together([Model("A", lambda lr, work: work(lr // 2))], photos, ROUNDS)
    judged_db = {pair.name: psnr(enlarged(pair.read()[0]), pair.read()[1]) for pair in photos.pairs}
    flag = differing_psnr(timing.psnr_db, judged_db)
    assert flag.code == "timed"
    assert flag.text.startswith("timed output differs from the judged one by -")


@pytest.mark.parametrize(
    ("timed_db", "judged_db", "flagged"),
    [
        ({"a": 30.0}, {"a": 30.29}, False),
        ({"a": 30.0}, {"a": 30.31}, True),
        # 0.3 dB by the root of 2, and of 4; never less than 0.1.
        ({"a": 30.0, "b": 40.0}, {"a": 30.3, "b": 40.1, "c": 1.0}, False),
        ({"a": 30.0, "b": 40.0}, {"a": 30.3, "b": 40.14}, True),
        (dict.fromkeys("abcd", 30.0), dict.fromkeys("abcd", 30.14), False),
        (dict.fromkeys("abcd", 30.0), dict.fromkeys("abcd", 29.84), True),
        (dict.fromkeys(range(16), 30.0), dict.fromkeys(range(16), 30.09), False),
        (dict.fromkeys(range(16), 30.0), dict.fromkeys(range(16), 30.11), True),
        ({"a": 30.0}, {"a": float("inf")}, True),
        ({"a": float("inf")}, {"a": float("inf")}, False),
        ({}, {"a": 30.0}, False),
        ({"a": 30.0}, {}, False),
    ],
)
def test_the_margin(timed_db: dict, judged_db: dict, flagged: bool):
    assert (differing_psnr(timed_db, judged_db) is not None) == flagged


def test_outputs_that_change_for_one_input_are_flagged(photos: Dataset):
    count = iter(range(1000))
    model = Model("A", lambda lr, work: work(np.maximum(lr, 4 * (next(count) % 2))))
    assert warm_up([model], 0, [np.zeros((4, 4, 3), np.uint8)]).changes == 4
    assert warm_up([Model("A")], 0, [np.zeros((4, 4, 3), np.uint8)]).changes == 0
    count = iter(range(1000))
    dark = Model("A", lambda lr, work: work(lr | 64 * (next(count) % 2)))
    (timing,) = measure_together([dark], photos, ROUNDS)
    assert any(
        "returns another output for the same input, by up to 64 grey levels" in flag.text for flag in timing.flags
    )


@pytest.mark.parametrize(("cold_ms", "flagged"), [(2.4, True), (2.6, False), (500.0, False)])
def test_a_first_run_that_is_faster_than_all_others_is_flagged(photos: Dataset, cold_ms: float, flagged: bool):
    class Sleepy(Model):
        def __call__(self, lr: np.ndarray) -> tuple[np.ndarray, float]:
            sr, runtime_ms = super().__call__(lr)
            return sr, cold_ms if self.calls == 1 else runtime_ms

    (timing,) = measure_together([Sleepy("A")], photos, ROUNDS)
    told = [flag.text for flag in timing.flags]
    assert told == (
        ["its first run took 2.4 ms, all later ones 5.0 ms and more, for the same image"] if flagged else []
    )


def test_an_image_without_samples_tells_nothing(photos: Dataset, monkeypatch: pytest.MonkeyPatch):
    reasons = iter([None] * 17 + ["make on the CPU"] * 100)
    monkeypatch.setattr(interference.Watch, "disturbance", lambda self: next(reasons))
    few = Preset("few", images=3, rounds=(8, 8), budget_s=60, half_width=-1.0)
    (timing,) = measure_together([Model("A")], photos, few)
    assert timing.flags == ()
    monkeypatch.setattr(interference.Watch, "disturbance", lambda self: "make on the CPU")
    (timing,) = measure_together([Model("A")], photos, few)
    assert (timing.flags, timing.p50_ms) == ((), None)


def test_irregular_samples_are_dropped_and_who_it_was_is_told(photos: Dataset):
    cheat = Model("B")
    cheat.told = lambda: "works outside of the timed forward" if cheat.calls % 7 == 0 else None
    honest, dishonest = measure_together([Model("A"), cheat], photos, ROUNDS)
    count = honest.dropped["B, which works outside of the timed forward"]
    assert 1 <= count <= 4
    assert sum(sample is None for row in honest.samples_ms for sample in row) == count
    assert honest.flags == ()
    assert [flag.code for flag in dishonest.flags] == ["turn"]
    assert f"{count} of 18 samples were irregular" in dishonest.flags[0].text


def test_who_is_irregular_all_the_time_has_no_times(photos: Dataset):
    models = [Model("A"), Model("B", told=lambda: "uses processors that are not its own")]
    with pytest.raises(TimingError, match="uses processors that are not its own, 9 of 9 times") as failed:
        measure_together(models, photos, ROUNDS)
    assert failed.value.index == 1
