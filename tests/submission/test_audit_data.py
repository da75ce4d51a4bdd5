"""Sets of images with known makers and planted faults."""

import shutil
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from eval.data.datasets import open_dataset
from eval.data.finding import SAMPLE
from eval.data.images import read_image, write_png
from eval.data.likeness import thumbnails
from eval.data.resize import imresize
from eval.errors import UsageError
from eval.submission.audit_data import audit_set, leaks, locate
from eval.submission.generators import GENERATORS, matlab

SIDE = 160


@pytest.fixture(scope="module")
def photographs() -> dict[str, np.ndarray]:
    """Cuts of photographs that come with a package."""
    cuts = {}
    for pair in open_dataset(None, SAMPLE).pairs[:3]:
        image = read_image(pair.hr)
        cuts[pair.name] = np.ascontiguousarray(image[40 : 40 + SIDE, 60 : 60 + SIDE])
    return cuts


def _write(folder: Path, hr: dict[str, np.ndarray], lr: dict[str, np.ndarray]) -> Path:
    for name, image in hr.items():
        write_png(folder / "Own" / "HR" / f"{name}.png", image)
    for name, image in lr.items():
        write_png(folder / "Own" / "LR" / f"{name}.png", image)
    return folder / "Own"


def _audit(folder: Path):
    (located,) = locate(folder)
    return {image.name: image for image in audit_set(located).images}


def _by_torch(hr: np.ndarray, antialias: bool) -> np.ndarray:
    x = torch.from_numpy(hr).permute(2, 0, 1)[None].float() / 255
    size = (hr.shape[0] // 4, hr.shape[1] // 4)
    small = torch.nn.functional.interpolate(x, size=size, mode="bicubic", antialias=antialias)
    return (small[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()


def _by_mirrored_sums(hr: np.ndarray) -> np.ndarray:
    """MATLAB's bicubic as Python ports of it do it: mirrored edges, float64 throughout; pixel by pixel along a side."""

    def kernel(x: float) -> float:
        x = abs(x)
        near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
        return near if x <= 1 else far if x <= 2 else 0.0

    def matrix(length: int) -> np.ndarray:
        rows = np.zeros((length // 4, length))
        for out in range(length // 4):
            centre = 4 * out + 1.5
            for tap in range(int(centre) - 9, int(centre) + 11):
                inside = -tap - 1 if tap < 0 else 2 * length - tap - 1 if tap >= length else tap
                rows[out, inside] += kernel((centre - tap) / 4)
        return rows / rows.sum(1, keepdims=True)

    down, across = (matrix(side) for side in hr.shape[:2])
    return np.rint(np.einsum("ij,jkc,lk->ilc", down, hr.astype(np.float64), across)).clip(0, 255).astype(np.uint8)


MAKERS = {
    "MATLAB bicubic": lambda hr: imresize(hr, Fraction(1, 4)),
    "MATLAB bicubic, mirrored, float": _by_mirrored_sums,
    "Pillow bicubic": lambda hr: np.asarray(Image.fromarray(hr).resize((hr.shape[1] // 4, hr.shape[0] // 4), 3)),
    "OpenCV cubic": lambda hr: cv2.resize(hr, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_CUBIC),
    "OpenCV area": lambda hr: cv2.resize(hr, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA),
    "torch bicubic, antialiased": lambda hr: _by_torch(hr, True),
    "torch bicubic": lambda hr: _by_torch(hr, False),
}


@pytest.mark.parametrize("maker", MAKERS)
def test_the_maker_of_lr_images_is_named(maker: str, photographs, tmp_path: Path):
    lr = {name: MAKERS[maker](hr) for name, hr in photographs.items()}
    for image in _audit(_write(tmp_path, photographs, lr)).values():
        assert image.matches[0].generator == maker
        # Sums in another order round ties of a few samples the other way.
        assert image.matches[0].differing <= 0.001 * image.matches[0].samples
        assert image.faults == ()


def test_generators_differ_where_they_should(photographs):
    (hr, *_) = photographs.values()
    plain, mirrored = matlab(hr, False, False), matlab(hr, True, False)
    assert (plain != mirrored).any()
    assert np.array_equal(plain[2:-2, 2:-2], mirrored[2:-2, 2:-2])
    assert len({made(hr).tobytes() for made in GENERATORS.values()}) == len(GENERATORS)


def _jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    buffer = BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def test_planted_faults_are_named(photographs, tmp_path: Path):
    names = list(photographs)
    lr = {name: imresize(hr, Fraction(1, 4)) for name, hr in photographs.items()}
    first, second, third = names
    hr = photographs | {
        "double": photographs[first],
        "moved": np.roll(photographs[third], 37, 1),
        "small": photographs[second][:64, :64],
    }
    lr |= {first: lr[second], second: lr[first], third: _jpeg(lr[third], 71), "double": lr[first]}
    lr["moved"] = imresize(np.roll(hr["moved"], (2, -3), (0, 1)), Fraction(1, 4))
    lr["small"] = imresize(hr["small"], Fraction(1, 2))
    found = {name: image.faults for name, image in _audit(_write(tmp_path, hr, lr)).items()}
    assert found[first][0] == f"swapped: its LR image is that of {second}"
    assert f"swapped: its LR image is that of {first}" in found[second][0]
    assert found[third] == ("recompressed: JPEG of quality 71 after MATLAB bicubic",)
    assert found["moved"][0].startswith("misaligned: LR fits HR moved by 2 down, -3 right")
    assert found["small"] == ("resized: LR is 32x32, expected 16x16, a quarter of HR",)


OTHER_LEVELS = {
    "brighter": lambda hr, lr: lr + 12,
    "limited range": lambda hr, lr: 16 + lr * 219 / 255,
    "gamma": lambda hr, lr: 255 * (lr / 255) ** 0.7,
    "nearest": lambda hr, lr: hr[::4, ::4],
}


@pytest.mark.parametrize("change", OTHER_LEVELS)
def test_lr_at_other_levels_is_the_same_picture(change: str, photographs, tmp_path: Path):
    lr = {
        name: np.rint(OTHER_LEVELS[change](hr, np.float64(imresize(hr, Fraction(1, 4))))).clip(0, 255).astype(np.uint8)
        for name, hr in photographs.items()
    }
    images = _audit(_write(tmp_path / "own", photographs, lr))
    for name, hr in photographs.items():
        nearest = GENERATORS[images[name].matches[0].generator]
        apart = np.abs(np.float64(nearest(hr)) - lr[name]).mean()
        told = f"no generator known here: {apart:.1f} grey levels from the nearest in the mean"
        assert images[name].faults == (told,)
    first, second, third = photographs
    wrong = {first: lr[second], second: lr[first], third: lr[third][::-1]}
    images = _audit(_write(tmp_path / "swapped", photographs, wrong))
    assert [images[name].faults[0] for name in photographs] == [
        f"swapped: its LR image is that of {second}",
        f"swapped: its LR image is that of {first}",
        "its LR image is another picture",
    ]
    assert all(images[name].faults[1].startswith("no generator known here: ") for name in photographs)


def test_doubles_and_leaks_are_found_also_resized_and_recompressed(photographs, tmp_path: Path):
    first, second, third = photographs
    folder = tmp_path / "train"
    write_png(folder / "a.png", photographs[first])
    write_png(folder / "b.png", photographs[second])
    Image.fromarray(_jpeg(photographs[first], 60)).save(folder / "c.jpg", quality=60)
    images = _audit(folder)
    assert {name: image.faults for name, image in images.items()} == {
        "a": (),
        "b": (),
        "c": ("duplicated: the same picture as a",),
    }
    write_png(tmp_path / "test" / "x.png", cv2.resize(photographs[second], (96, 96), interpolation=cv2.INTER_AREA))
    write_png(tmp_path / "test" / "y.png", photographs[third])
    test, train = (audit_set(locate(tmp_path / name)[0]) for name in ("test", "train"))
    assert leaks([test], [train]) == ["test/x is train/b"]
    assert leaks([test], []) == []


def test_the_command_says_it_all_and_its_exit_code_tells_faults(command, photographs, tmp_path: Path):
    lr = {name: imresize(hr, Fraction(1, 4)) for name, hr in photographs.items()}
    own = _write(tmp_path, photographs, lr)
    done = command("-m", "eval", "audit-data", own)
    assert "Own: 3 images, layout: HR and LR" in done.stdout
    row = next(line for line in done.stdout.splitlines() if line.strip().startswith("MATLAB bicubic  "))
    assert row.split()[2:] == ["3", "0", "0.00"]
    shutil.copytree(own / "HR", tmp_path / "elsewhere")
    (own / "LR" / f"{next(iter(photographs))}.png").unlink()
    done = command("-m", "eval", "audit-data", own, "--against", tmp_path / "elsewhere", code=1)
    assert "expected one LR partner" in done.stdout
    assert done.stdout.count("leak: ") == 2
    command("-m", "eval", "audit-data", tmp_path / "absent", code=2)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UsageError, match="holds no images") as caught:
        locate(empty)
    # The command has no such flag.
    assert str(caught.value).startswith(str(empty))


# Layouts that words tell, or that lie deeper: where to look, and what the audit calls and takes the set for.
ELSEWHERE = {
    "BasicSR": ("{}/Set5/GTmod12", "{}/Set5/LRbicx4", "", "Set5/GTmod12 with Set5/LRbicx4"),
    "BasicSR, the set itself": ("{}/Set5/GTmod12", "{}/Set5/LRbicx4", "Set5", "GTmod12 with LRbicx4"),
    "RCAN": ("{}/HR/Set5/x4", "{}/LR/LRBI/Set5/x4", "", "HR/Set5/x4 with LR/LRBI/Set5/x4"),
    "in a folder of its own name": ("{}/Set5/Set5/HR", "{}/Set5/Set5/LR", "", "Set5/Set5/HR with Set5/Set5/LR"),
    "the HR folder": ("{}/Set5_HR", "{}/Set5_LR", "Set5_HR", "challenge"),
}


@pytest.mark.parametrize("case", ELSEWHERE)
def test_what_a_run_opens_is_audited(case: str, photographs, tmp_path: Path):
    hr, lr, place, layout = ELSEWHERE[case]
    for name, image in photographs.items():
        write_png(Path(hr.format(tmp_path)) / f"{name}.png", image)
        write_png(Path(lr.format(tmp_path)) / f"{name}.png", imresize(image, Fraction(1, 4)))
    (found,) = locate(tmp_path / place)
    audited = audit_set(found)
    assert (audited.layout, audited.faults) == (layout, ())
    assert {image.name: image.made_by for image in audited.images} == dict.fromkeys(photographs, "MATLAB bicubic")
    opened = open_dataset(tmp_path / place, None)
    assert (found.name, found.pairs) == (opened.name, list(opened.pairs))


def test_all_pictures_of_the_other_folder_are_compared_or_named(command, photographs, tmp_path: Path):
    first, second, third = photographs
    write_png(tmp_path / "own" / "a.png", photographs[first])
    twice = tmp_path / "train" / "DIV2K_train_HR" / "DIV2K_train_HR"
    write_png(twice / "b.png", photographs[second])
    asked = ("-m", "eval", "audit-data", tmp_path / "own", "--against", tmp_path / "train")
    done = command(*asked)
    assert done.stdout.splitlines()[-1] == "no picture of it is in the other folders"
    write_png(tmp_path / "train" / "loose.png", photographs[third])
    write_png(twice / "c.png", photographs[first])
    done = command(*asked, code=1)
    assert done.stdout.splitlines()[-1] == "leak: own/a is DIV2K_train_HR/c"
    (twice / "c.png").write_bytes(b"")
    write_png(twice / "d.png", photographs[second][:3])
    done = command(*asked, code=1)
    *_, damaged, small, said = done.stdout.splitlines()
    assert damaged.startswith(f"not compared: {twice}/c.png: ")
    assert small == f"not compared: {twice}/d.png: expected at least 4 pixels a side, got 160x3"
    assert said == "no picture of it is in the other folders, as far as they could be compared"


def test_lr_images_alone_are_compared_too(photographs, tmp_path: Path):
    first, *_ = photographs
    write_png(tmp_path / "test_LR" / "x.png", imresize(photographs[first], Fraction(1, 4)))
    write_png(tmp_path / "train" / "a.png", photographs[first])
    test, train = (audit_set(locate(tmp_path / name)[0]) for name in ("test_LR", "train"))
    assert (test.layout, leaks([test], [train])) == ("no pairs", ["test_LR/x is train/a"])


def test_two_files_of_one_name_are_a_fault(photographs, tmp_path: Path):
    first, second, _ = photographs
    write_png(tmp_path / "own" / "a.png", photographs[first])
    Image.fromarray(photographs[second]).save(tmp_path / "own" / "a.bmp")
    audited = audit_set(locate(tmp_path / "own")[0])
    assert audited.faults == (f"{tmp_path}/own/a.bmp and {tmp_path}/own/a.png: have the same name",)


@pytest.mark.parametrize("side", [1, 3])
def test_hr_images_that_leave_no_lr_pixel_are_named(side: int, random_image, tmp_path: Path):
    (image,) = _audit(_write(tmp_path, {"a": random_image(side, 32)}, {"a": random_image(1, 8)})).values()
    assert image.faults == (f"{tmp_path}/Own/HR/a.png: expected at least 4 pixels a side, got 32x{side}",)
    assert thumbnails([tmp_path / "Own" / "HR" / "a.png"]) == {}


@pytest.mark.parametrize("side", [4, 16])
def test_small_images_are_audited(side: int, random_image, tmp_path: Path):
    """Nothing is left of them inside the rim that a shift spoils."""
    hr, other = random_image(side, 32), random_image(side // 4, 8, 1)
    made = imresize(hr, Fraction(1, 4))
    for lr, faults in ((made, ()), (other, ("its LR image is another picture",))):
        (image,) = _audit(_write(tmp_path, {"a": hr}, {"a": lr})).values()
        assert (image.matches[0].exact, image.faults[:1]) == (not faults, faults)


def test_published_sets_are_matlabs_to_the_last_bit(esr_data: Path):
    for image in _audit(esr_data / "Set5").values():
        assert (image.made_by, image.faults) == ("MATLAB bicubic", ())


def test_a_shift_is_named_where_the_picture_is_smooth(tmp_path: Path):
    ramp = np.arange(SIDE + 2, dtype=np.uint8)[None, :, None]
    scene = np.ascontiguousarray(np.broadcast_to(ramp, (SIDE, SIDE + 2, 3)))
    hr, moved = (np.ascontiguousarray(its) for its in (scene[:, :SIDE], scene[:, 2:]))
    (image,) = _audit(_write(tmp_path, {"ramp": hr}, {"ramp": imresize(moved, Fraction(1, 4))})).values()
    assert image.faults
    assert image.faults[0].startswith("misaligned: LR fits HR moved by 0 down, -2 right")
