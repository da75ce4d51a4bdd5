"""Decoded images are kept: once a file, bounded, and never for a file that changed."""

import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from eval.data import image_cache, pairs
from eval.data.datasets import open_dataset
from eval.data.image_cache import DecodedImages
from eval.data.images import ImageError, read_image, write_png


@pytest.fixture
def decoded(tmp_path: Path, random_image):
    """Ten files of 3,072 bytes of pixels, a decoder, and the list of what it decoded."""
    paths = [tmp_path / f"{number}.png" for number in range(10)]
    for number, path in enumerate(paths):
        write_png(path, random_image(32, 32, number))
    done = []

    def decode(path: Path) -> np.ndarray:
        done.append(path.name)
        return read_image(path)

    return paths, decode, done


def test_a_file_is_decoded_once(decoded):
    paths, decode, done = decoded
    kept = DecodedImages(100_000)
    first = [kept.get(path, decode) for path in paths]
    second = [kept.get(path, decode) for path in paths]
    assert len(done) == 10
    assert all(one is other for one, other in zip(first, second, strict=True))
    assert np.array_equal(first[3], read_image(paths[3]))


def test_kept_images_cannot_be_written_to(decoded):
    paths, decode, _ = decoded
    with pytest.raises(ValueError, match="read-only"):
        DecodedImages(100_000).get(paths[0], decode)[0, 0] = 0


def test_the_least_recently_used_go_first(decoded):
    paths, decode, done = decoded
    kept = DecodedImages(8 * 3072)
    for path in [*paths[:8], paths[0], paths[8]]:
        kept.get(path, decode)
    done.clear()
    for path in (paths[0], paths[8], paths[2], paths[1]):
        kept.get(path, decode)
    assert done == ["1.png"]


def test_an_image_of_more_than_an_eighth_is_not_kept(decoded):
    paths, decode, done = decoded
    kept = DecodedImages(8 * 3071)
    kept.get(paths[0], decode)
    kept.get(paths[0], decode)
    assert len(done) == 2


def test_a_changed_file_is_decoded_again(decoded, random_image):
    paths, decode, _ = decoded
    kept = DecodedImages(100_000)
    kept.get(paths[0], decode)
    write_png(paths[0], random_image(32, 32, 77))
    assert np.array_equal(kept.get(paths[0], decode), random_image(32, 32, 77))
    paths[0].unlink()
    with pytest.raises(ImageError, match="no such file"):
        kept.get(paths[0], decode)


def test_checking_a_set_and_reading_it_twice_decodes_each_file_once(hr_folder: Path, monkeypatch):
    done = []

    def counted(path: Path) -> np.ndarray:
        done.append(path.name)
        return read_image(path)

    monkeypatch.setattr(pairs, "read_image", counted)
    dataset = open_dataset(hr_folder, None)
    images = [[pair.read() for pair in dataset.pairs] for _ in range(2)]
    assert sorted(done) == ["image0.png", "image1.png"]
    assert images[0][1][0] is images[1][1][0]


@pytest.mark.parametrize("part", ["st_dev", "st_ino", "st_size", "st_mtime_ns", "st_ctime_ns"])
def test_each_part_of_a_files_state_alone_tells_that_it_changed(decoded, monkeypatch: pytest.MonkeyPatch, part: str):
    paths, decode, done = decoded
    kept, stat = DecodedImages(100_000), os.stat(paths[0])
    names = ("st_dev", "st_ino", "st_size", "st_mtime_ns", "st_ctime_ns")
    state = SimpleNamespace(**{name: getattr(stat, name) for name in names})
    monkeypatch.setattr(os, "stat", lambda _path: state)
    for _ in range(2):
        kept.get(paths[0], decode)
    assert len(done) == 1
    setattr(state, part, getattr(state, part) + 1)
    kept.get(paths[0], decode)
    assert len(done) == 2


def test_another_decoder_or_path_is_another_image(decoded):
    paths, decode, _ = decoded
    kept = DecodedImages(100_000)
    plain = kept.get(paths[0], decode)
    assert np.array_equal(kept.get(paths[0], lambda path: 255 - read_image(path)), 255 - plain)
    link = paths[0].with_name("link.png")
    os.link(paths[0], link)
    assert np.array_equal(kept.get(link, decode), plain)


@pytest.mark.parametrize(("free_mib", "limit_mib"), [(100_000, 512), (4096, 512), (4095, 4095 / 8), (80, 10)])
def test_the_store_takes_an_eighth_of_the_free_memory_at_most(
    monkeypatch: pytest.MonkeyPatch, free_mib: int, limit_mib: float
):
    memory = SimpleNamespace(available=free_mib * 2**20)
    monkeypatch.setattr(image_cache.psutil, "virtual_memory", lambda: memory)
    assert image_cache._store.__wrapped__()._limit_bytes == limit_mib * 2**20


def test_only_one_thread_makes_the_store(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(image_cache, "_store", image_cache._making.locked)
    assert image_cache.decoded_images() is True
