"""The image cache, and the patches drawn from it."""

import os
import pickle
from fractions import Fraction
from itertools import permutations

import numpy as np
import pytest
import torch
from PIL import Image

from eval.data import likeness
from eval.data.images import write_png
from eval.data.resize import imresize
from eval.errors import RunError, UsageError
from team_bsr import resident
from team_bsr.data import open_pairs
from team_bsr.draws import DRAWS
from team_bsr.patches import PatchBatches, Sampling
from team_bsr.resident import ResidentPatches
from team_bsr.sources import Sources
from team_bsr.survey import survey
from tests.team_bsr.test_training import small_step


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path):
    """Three images: one with sides that are no multiples of 4, one in a subfolder."""
    write_png(tmp_path / "hr" / "a.png", noise(50, 67, 1))
    write_png(tmp_path / "hr" / "b.png", noise(64, 48, 2))
    write_png(tmp_path / "hr" / "sub" / "c.png", noise(40, 40, 3))
    return tmp_path / "hr"


def test_pairs_are_the_pixels_cut_to_multiples_of_4_and_their_exact_bicubic(folder, tmp_path):
    pairs = open_pairs(survey(Sources((folder,))), tmp_path / "cache")
    assert [name.name.rsplit("/", 1)[-1] for name in pairs.index] == ["a.png", "b.png", "c.png"]
    for (hr, lr), expected in zip(pairs, (noise(50, 67, 1)[:48, :64], noise(64, 48, 2), noise(40, 40, 3)), strict=True):
        assert np.array_equal(hr, expected)
        assert np.array_equal(lr, imresize(expected, Fraction(1, 4)))
        assert not hr.flags.writeable


def test_images_are_decoded_once_and_again_when_they_change(folder, tmp_path, monkeypatch):
    from team_bsr import sources

    reads = []
    monkeypatch.setattr(sources, "read_image", lambda path, read=sources.read_image: reads.append(path) or read(path))
    open_pairs(survey(Sources((folder,))), tmp_path / "cache")
    open_pairs(survey(Sources((folder,))), tmp_path / "cache")
    assert len(reads) == 3
    write_png(folder / "b.png", noise(72, 48, 4))
    hr, _ = open_pairs(survey(Sources((folder,))), tmp_path / "cache")[1]
    assert np.array_equal(hr, noise(72, 48, 4))
    assert len(reads) == 6


def write_bmp(path, value: int, modified_ns: int) -> None:
    """Write an image whose file has one size whatever its pixels are."""
    Image.new("RGB", (40, 40), (value, value, value)).save(path)
    os.utime(path, ns=(modified_ns, modified_ns))


def test_the_cache_goes_by_size_and_time_of_each_file_and_by_which_lr_goes_with_which(tmp_path):
    (tmp_path / "hr").mkdir()
    read = lambda *lr: open_pairs(survey(Sources((tmp_path / "hr",), lr)), tmp_path / "cache")  # noqa: E731
    write_bmp(tmp_path / "hr" / "a.bmp", 1, 10**18)
    assert read()[0][0][0, 0, 0] == 1
    write_bmp(tmp_path / "hr" / "a.bmp", 2, 10**18 + 1)
    assert read()[0][0][0, 0, 0] == 2
    Image.new("RGB", (44, 40), (3, 3, 3)).save(tmp_path / "hr" / "a.bmp")
    os.utime(tmp_path / "hr" / "a.bmp", ns=(10**18 + 1, 10**18 + 1))
    assert read()[0][0][0, 0, 0] == 3
    write_png(tmp_path / "lr" / "a.png", np.full((10, 11, 3), 9, np.uint8))
    assert read(tmp_path / "lr")[0][1][0, 0, 0] == 9
    assert read()[0][1][0, 0, 0] == 3


def test_the_checksum_is_of_all_images(folder, tmp_path):
    before = open_pairs(survey(Sources((folder,))), tmp_path / "cache").crc32
    write_png(folder / "a.png", noise(50, 67, 7))
    assert open_pairs(survey(Sources((folder,))), tmp_path / "cache").crc32 != before


def test_thumbnails_are_kept_with_the_pixels(folder, tmp_path):
    pairs = open_pairs(survey(Sources((folder,))), tmp_path / "cache")
    kept, direct = pairs.thumbnails(), likeness.thumbnails(list(survey(Sources((folder,))).images))
    assert kept.keys() == direct.keys()
    assert all(np.array_equal(kept[name], direct[name]) for name in kept)


def test_lr_comes_from_a_folder_where_one_is_given(folder, tmp_path):
    for name, side in (("ax4", (12, 16)), ("b", (16, 12)), ("cx4", (10, 10))):
        write_png(tmp_path / "lr" / f"{name}.png", noise(*side, seed=9))
    pairs = open_pairs(survey(Sources((folder,), (tmp_path / "lr",))), tmp_path / "cache")
    assert np.array_equal(pairs[0][1], noise(12, 16, seed=9))
    # The name with x4 tells more than the same name, and of a side that was rounded up the first pixels count.
    write_png(tmp_path / "lr" / "a.png", noise(12, 16, seed=8))
    write_png(tmp_path / "lr" / "ax4.png", noise(13, 17, seed=7))
    pairs = open_pairs(survey(Sources((folder,), (tmp_path / "lr",))), tmp_path / "cache")
    assert np.array_equal(pairs[0][1], noise(13, 17, seed=7)[:12, :16])
    (tmp_path / "lr" / "b.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"expected bx4.* or b.* for .*b\.png; 1 HR images have no LR partner"):
        open_pairs(survey(Sources((folder,), (tmp_path / "lr",))), tmp_path / "cache")
    write_png(tmp_path / "lr" / "b.png", noise(15, 12))
    with pytest.raises(RunError, match=r"lr/b\.png: expected 12x16 for .*b\.png, got 12x15"):
        open_pairs(survey(Sources((folder,), (tmp_path / "lr",))), tmp_path / "cache")


def test_a_bad_image_stops_and_is_skipped_only_if_asked(folder, tmp_path):
    (folder / "b.png").write_bytes((folder / "b.png").read_bytes()[:-100])
    with pytest.raises(RunError, match=r"b\.png: not a readable image .*--skip_bad"):
        open_pairs(survey(Sources((folder,))), tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*"))
    pairs = open_pairs(survey(Sources((folder,), skip_bad=True)), tmp_path / "cache")
    assert len(pairs) == 2
    assert "b.png: not a readable image" in pairs.skipped[0]
    # What was skipped by request stops a run that does not ask for it, cache or not.
    with pytest.raises(RunError, match=r"b\.png: not a readable image .*--skip_bad"):
        open_pairs(survey(Sources((folder,))), tmp_path / "cache")


def test_a_folder_without_images_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected a folder with HR images"):
        open_pairs(survey(Sources((tmp_path / "none",))), tmp_path / "cache")


@pytest.fixture
def pairs(tmp_path):
    """Pairs whose HR image is the LR image with every pixel repeated 4x4, and whose pixels are all different."""
    for name, (height, width) in (("a", (13, 21)), ("b", (16, 11))):
        count = np.arange(height * width, dtype=np.uint32)
        lr = np.stack((count // 256, count % 256, np.full_like(count, ord(name))), -1).astype(np.uint8)
        lr = lr.reshape(height, width, 3)
        write_png(tmp_path / "lr" / f"{name}x4.png", lr)
        write_png(tmp_path / "hr" / f"{name}.png", lr.repeat(4, 0).repeat(4, 1))
    return open_pairs(survey(Sources((tmp_path / "hr",), (tmp_path / "lr",))), tmp_path / "cache")


def test_lr_and_hr_patch_are_of_one_place_and_turned_alike(pairs):
    batches = PatchBatches(pairs, Sampling(small_step(batch=64)))
    lr, hr = batches[0]
    assert (lr.shape, hr.shape) == ((64, 3, 10, 10), (64, 3, 40, 40))
    assert (lr.repeat_interleave(4, 2).repeat_interleave(4, 3) == hr).all()


def test_every_turn_image_and_corner_is_drawn(pairs):
    batches = PatchBatches(pairs, Sampling(small_step(batch=500)))
    lr = batches[0][0].numpy().astype(int)
    places = lr[:, 0] * 256 + lr[:, 1]
    width = np.where(lr[:, 2, 0, 0] == ord("a"), 21, 11)
    steps = places[:, 0, 1] - places[:, 0, 0], places[:, 1, 0] - places[:, 0, 0]
    turns = {(int(np.sign(a)), abs(int(a)) == 1, int(np.sign(b))) for a, b in zip(*steps, strict=True)}
    assert len(turns) == 8
    of_a = places.min((1, 2))[width == 21]
    assert {0, 11, 3 * 21, 3 * 21 + 11} <= set(of_a.tolist())
    assert 200 < len(of_a) < 300


@pytest.mark.parametrize("rule", DRAWS)
def test_patches_depend_on_seed_step_and_iteration_alone(pairs, rule):
    def draw(iteration: int, seed: int, number: int) -> bytes:
        step = small_step(number, batch=16, draw=rule)
        return PatchBatches(pairs, Sampling(step, seed))[iteration][0].numpy().tobytes()

    first = draw(7, seed=1, number=2)
    assert first == draw(7, seed=1, number=2)
    assert len({first, draw(8, seed=1, number=2), draw(7, seed=2, number=2), draw(7, seed=1, number=3)}) == 4


@pytest.mark.parametrize("draw", DRAWS)
def test_the_shares_of_two_processes_are_the_batch_of_one(pairs, draw):
    """Each process, and each of its workers, makes its own rule of what it is given."""
    step = small_step(batch=8, draw=draw)
    whole = PatchBatches(pairs, Sampling(step))[3]
    copies = [pickle.loads(pickle.dumps(pairs)) for _ in (0, 1)]
    shares = [PatchBatches(copies[rank], Sampling(step, rank=rank, world=2))[3] for rank in (0, 1)]
    for part in (0, 1):
        assert np.array_equal(np.concatenate([share[part] for share in shares]), whole[part])


def test_sampling_errors(pairs):
    with pytest.raises(UsageError, match="batch: expected a multiple of the 3 processes, got 8"):
        Sampling(small_step(batch=8), world=3)
    with pytest.raises(RunError, match="patches of 68 pixels a side: expected an image of at least that, all 2 are"):
        PatchBatches(pairs, Sampling(small_step(hr_patch=68)))


def test_nothing_is_drawn_of_an_image_that_is_smaller_than_the_patch(pairs):
    batches = PatchBatches(pairs, Sampling(small_step(batch=50, hr_patch=48)))
    assert set(batches[0][0].numpy()[:, 2].ravel()) == {ord("a")}


@pytest.mark.parametrize("draw", DRAWS)
@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("permuted", [False, True])
def test_batches_cut_on_the_device_are_equal(pairs, draw, rank, permuted):
    """Of all eight turns, images, sizes and orders of channels; only where they are cut differs."""
    step = small_step(2, batch=40, draw=draw, permute_channels=permuted)
    sampling = Sampling(step, seed=5, rank=rank, world=2)
    on_device, batches = ResidentPatches(pairs, sampling, torch.device("cpu")), PatchBatches(pairs, sampling)
    for iteration in (0, 7):
        for cut, expected in zip(on_device[iteration], batches[iteration], strict=True):
            assert cut.dtype == torch.uint8
            assert torch.equal(cut, expected)
    # As convolutions take them.
    assert on_device[0][1].is_contiguous(memory_format=torch.channels_last)


def test_images_are_copied_to_the_device_piece_by_piece(pairs, monkeypatch):
    """All of DF2K, decoded, has room on a card and none in many a host's memory."""
    copied = []
    monkeypatch.setattr(resident, "_PIECE_BYTES", 1000)
    real = torch.from_numpy
    monkeypatch.setattr(torch, "from_numpy", lambda array: copied.append(array.nbytes) or real(array))
    held = resident._on_device(pairs.pixels, torch.device("cpu"))
    assert max(copied) == 1000
    assert sum(copied) == pairs.pixels.nbytes
    assert np.array_equal(held.numpy(), pairs.pixels)


@pytest.mark.parametrize(("kind", "expected"), [("cuda", True), ("mps", False), ("cpu", False)])
def test_what_is_told_of_a_batch_is_copied_in_the_background_on_cuda_alone(pairs, monkeypatch, kind, expected):
    """MPS reads the host's memory when it is another's already (pytorch issue 139550)."""
    patches = ResidentPatches(pairs, Sampling(small_step()), torch.device("cpu"))
    seen, real = [], torch.Tensor.to

    def to(tensor, *given, **options):
        if "non_blocking" in options:
            seen.append(options["non_blocking"])
        return real(tensor, torch.device("cpu"))

    patches._device = torch.device(kind)
    monkeypatch.setattr(torch.Tensor, "to", to)
    patches[0]
    assert set(seen) == {expected}


def test_permuted_channels_are_those_of_the_patch_in_each_of_six_orders_alike_in_lr_and_hr(pairs):
    steps = (small_step(batch=600, permute_channels=value) for value in (False, True))
    plain, permuted = (PatchBatches(pairs, Sampling(step))[1] for step in steps)
    orders = [list(order) for order in permutations(range(3))]
    counts = [0] * len(orders)
    for (lr, hr), (lr_seen, hr_seen) in zip(*(zip(*batch, strict=True) for batch in (plain, permuted)), strict=True):
        found = [number for number, order in enumerate(orders) if torch.equal(lr[order], lr_seen)]
        assert len(found) == 1
        assert torch.equal(hr[orders[found[0]]], hr_seen)
        counts[found[0]] += 1
    # Binomial, 600 draws of 1/6: five standard deviations are 46.
    assert all(abs(count - 100) <= 46 for count in counts)


@pytest.mark.parametrize(("free", "expected"), [(2, True), (1.9, False)])
def test_images_lie_on_the_device_if_they_take_half_of_what_is_free(pairs, monkeypatch, free, expected):
    monkeypatch.setattr(resident, "available_bytes", lambda _device: pairs.pixels.nbytes * free)
    assert resident.fits(pairs, torch.device("cuda")) == expected
