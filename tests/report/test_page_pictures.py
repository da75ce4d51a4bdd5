"""Pictures of the page: which are shown, which window of them, what errors they carry, and what they may weigh."""

import base64
import json
import math
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eval.data.images import read_image, write_png
from eval.metrics.psnr_ssim import psnr
from eval.records.record import ImageResult, Record, means_of
from eval.report.page.gallery import Comparison, find_comparison, image_roots, models_of, rank_images
from eval.report.page.pictures import make_plan, write_pictures
from eval.report.page.windows import CODE_OF_ONE, CODES_PER_OCTAVE, choose_window, encode_errors, squared_errors
from eval.report.page.writing import PageOptions
from tests.records.test_record import changed, make_record
from tests.report.test_page import Reader, page_of


def measured(
    root: Path, hr_folder: Path, label: str, noise: int, names: tuple[str, ...] = ("image0", "image1")
) -> Record:
    """Write SR images of the folder's photos, noise added, and return the record that tells their PSNR."""
    results = []
    for name in names:
        hr = read_image(hr_folder / f"{name}.png")
        shift = np.random.default_rng(noise).integers(-noise, noise + 1, hr.shape)
        sr = np.clip(hr.astype(int) + shift, 0, 255).astype(np.uint8)
        write_png(root / label / "photos" / f"{name}.png", sr)
        height, width = hr.shape[0] // 4, hr.shape[1] // 4
        figures = {"psnr_db": psnr(sr, hr), "ssim": None, "runtime_ms": 1.0}
        results.append(ImageResult(name=name, lr_height=height, lr_width=width, **figures))
    dataset = {"name": "photos", "folder": str(hr_folder), "layout": "HR folder, LR made by the exact bicubic"}
    return changed(make_record(label=label), images=tuple(results), means=means_of(results), dataset=dataset)


@pytest.fixture
def records(tmp_path: Path, hr_folder: Path) -> list[Record]:
    return [measured(tmp_path / "r", hr_folder, label, noise) for label, noise in (("00_RLFN", 9), ("03_PFDNLite", 20))]


def written(page: Path) -> dict:
    return Reader(page).data["comparisons"]


def test_pictures_are_the_pixels_that_were_measured(records: list[Record], tmp_path: Path, hr_folder: Path):
    page = page_of(records, tmp_path / "out", PageOptions(roots=(tmp_path / "r",)))
    its = written(page)["photos"]
    assert its["labels"] == ["00_RLFN", "03_PFDNLite"]
    assert its["of"] == 2
    image = next(image for image in its["images"] if image["name"] == "image0")
    assert image["lossless"]
    assert (image["size"], image["area"]) == ([64, 48], [4, 4, 56, 40])
    folder = page.parent / its["folder"]
    for key, path in (
        ("1", tmp_path / "r" / "03_PFDNLite" / "photos" / "image0.png"),
        ("hr", hr_folder / "image0.png"),
    ):
        assert np.array_equal(read_image(folder / image["sources"][key]), read_image(path)[4:-4, 4:-4])
    assert image["psnrs_db"]["1"] == round(records[1].images[0].psnr_db, 4)


def test_psnr_of_all_cells_is_the_records(records: list[Record], tmp_path: Path):
    page = page_of(records, tmp_path / "out", PageOptions(roots=(tmp_path / "r",)))
    its = written(page)["photos"]
    for image in its["images"]:
        script = (page.parent / its["folder"] / image["errors"]).read_text()
        codes = json.loads(re.fullmatch(r'Report\.errors\("\d+",(.*)\);\n', script)[1])
        for key, expected in image["psnrs_db"].items():
            levels = np.frombuffer(base64.b64decode(codes[key]), np.uint8).astype(float)
            errors = np.where(levels > 0, 4.0 ** ((levels - CODE_OF_ONE) / CODES_PER_OCTAVE), 0)
            assert 10 * math.log10(255**2 / errors.mean()) == pytest.approx(expected, abs=0.03)


def test_an_image_that_was_not_measured_is_not_shown(records: list[Record], tmp_path: Path, random_image):
    write_png(tmp_path / "r" / "00_RLFN" / "photos" / "image0.png", random_image(48, 64, 7))
    page = page_of(records, tmp_path / "out", PageOptions(roots=(tmp_path / "r",)))
    image = next(image for image in written(page)["photos"]["images"] if image["name"] == "image0")
    assert set(image["sources"]) == {"1", "bicubic", "hr"}


def test_pictures_of_another_precision_are_another_comparison(records: list[Record], tmp_path: Path, hr_folder: Path):
    half = measured(tmp_path / "bf16", hr_folder, "03_PFDNLite", 30)
    shown = half.settings.model_copy(update={"precision": "bf16"})
    half = half.model_copy(update={"settings": shown})
    page = page_of([*records, half], tmp_path / "out", PageOptions(roots=(tmp_path / "bf16", tmp_path / "r")))
    found = written(page)
    assert list(found) == ["photos", "photos, bf16"]
    own = {image["name"]: image["psnrs_db"]["0"] for image in found["photos, bf16"]["images"]}
    assert own == {its.name: round(its.psnr_db, 4) for its in half.images}
    assert [board["pictures"] for board in Reader(page).data["boards"]] == list(found)


def test_a_folder_of_data_that_may_not_be_looked_into_costs_its_pictures_alone(
    records: list[Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "/home/other/DATA")

    monkeypatch.setattr("eval.report.page.gallery.find_dataset", refuse)
    assert written(page_of(records, tmp_path / "out", PageOptions(roots=(tmp_path / "r",)))) == {}


def test_what_is_not_installed_is_found_out_before_the_former_page_goes(
    records: list[Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    options = PageOptions(roots=(tmp_path / "r",))
    page = page_of(records, tmp_path / "out", options)
    before = sorted(page.parent.rglob("*"))
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    with pytest.raises(ImportError):
        page_of(records, tmp_path / "out", options)
    assert sorted(page.parent.rglob("*")) == before


def test_only_what_reports_have_written_is_removed(records: list[Record], tmp_path: Path):
    mine = tmp_path / "out" / "pictures" / "holidays" / "001.webp"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    page_of(records, tmp_path / "out", PageOptions(roots=(tmp_path / "r",)))
    page_of(records[:1], tmp_path / "out", PageOptions())
    assert mine.exists()
    assert list((tmp_path / "out" / "pictures").glob("0/*")) == []


def test_names_that_leave_the_folder_are_not_followed(records: list[Record], tmp_path: Path):
    outside = make_record(label="00_x").model_copy(
        update={"model": records[0].model.model_copy(update={"label": "../r/00_RLFN"}), "images": records[0].images}
    )
    assert models_of([("x", outside)], [tmp_path / "empty"]) == []
    (model,) = models_of([("a", records[0])], [tmp_path / "r"])
    inside = model.record.images[0].model_copy(update={"name": "../../03_PFDNLite/photos/image0"})
    moved = model.record.model_copy(update={"images": (inside,)})
    (model,) = models_of([("a", moved)], [tmp_path / "r"])
    hr = read_image(tmp_path / "photos" / "image0.png")
    assert model.read(inside.name, hr) is None


def test_without_images_or_ground_truth_there_is_no_comparison(records: list[Record], tmp_path: Path, hr_folder: Path):
    assert written(page_of(records, tmp_path / "a", PageOptions(roots=(tmp_path / "elsewhere",)))) == {}
    for path in hr_folder.iterdir():
        path.unlink()
    assert written(page_of(records, tmp_path / "b", PageOptions(roots=(tmp_path / "r",)))) == {}


def test_equal_pictures_are_stored_once(tmp_path: Path, hr_folder: Path):
    twins = [measured(tmp_path / "r", hr_folder, label, 9) for label in ("00_RLFN", "03_PFDNLite")]
    page = page_of(twins, tmp_path / "out", PageOptions(roots=(tmp_path / "r",)))
    sources = written(page)["photos"]["images"][0]["sources"]
    assert sources["0"] == sources["1"]


def test_contested_and_hard_images_come_first_by_turns(tmp_path: Path):
    records = [
        make_record(psnrs, label=label) for label, psnrs in (("00_A", (30.0, 20.0, 25.0)), ("01_B", (31.0, 20.2, 28.0)))
    ]
    for record in records:
        (tmp_path / record.model.label / "Set2").mkdir(parents=True)
    models = models_of([(record.model.label, record) for record in records], [tmp_path])
    ranked = rank_images(models)
    assert [its.name for its in ranked] == ["img2", "img1", "img0"]
    assert (ranked[0].mean_db, ranked[0].spread_db) == (26.5, 3.0)


def test_the_baseline_of_2022_is_a_network_though_its_id_is_not_positive(records: list[Record], tmp_path: Path):
    both = [changed(records[0], model={"id": -1}), changed(records[1], model={"id": -1, "origin": "NTIRE2022_ESR"})]
    found = models_of([(its.model.label, its) for its in both], (tmp_path / "r",))
    assert [its.record.model.is_network for its in found] == [False, True]
    assert [its.spread_db for its in rank_images(found)] == [0, 0]


def test_roots_are_told_by_places(tmp_path: Path):
    (tmp_path / "r" / "records").mkdir(parents=True)
    record = tmp_path / "r" / "records" / "a.json"
    record.touch()
    assert image_roots([tmp_path / "r", tmp_path / "r" / "records", record]) == (tmp_path / "r",)


def test_errors_by_hand():
    hr = np.zeros((8, 4, 3), np.uint8)
    sr = hr.copy()
    sr[4:] = 2
    assert squared_errors(sr, hr).tolist() == [[0.0], [4.0]]
    assert base64.b64decode(encode_errors(np.array([[0.0, 1.0, 4.0, 1e-9, 255.0**2]]))) == bytes([0, 70, 93, 1, 254])


def test_the_window_is_where_the_interest_is():
    interest = np.zeros((10, 20))
    interest[6, 12] = 1.0
    rows, columns = choose_window(interest, 16)
    assert (rows.stop - rows.start, columns.stop - columns.start) == (4, 4)
    assert rows.start <= 6 < rows.stop
    assert columns.start <= 12 < columns.stop
    assert choose_window(interest, 200) == (slice(0, 10), slice(0, 20))
    assert choose_window(np.ones((3, 20)), 30) == (slice(0, 3), slice(0, 10))


def test_the_budget_decides_what_is_kept():
    assert make_plan(12, [512 * 512] * 5, 60e6).lossless
    windows = make_plan(12, [1024 * 768] * 100, 60e6)
    assert (windows.images, windows.lossless) == (100, False)
    assert 256**2 < windows.max_pixels == int(60e6 / 1200 / 0.33)
    few = make_plan(102, [2040 * 1356] * 200, 60e6)
    assert 0 < few.images < 200
    assert few.max_pixels == 256**2
    assert make_plan(102, [2040 * 1356], -1.0).images == 0
    assert few.images * 102 * few.max_pixels * 0.33 <= 60e6


def test_one_large_image_costs_small_ones_nothing():
    # Lossless they take 1.25 MB for each model; as many of the largest size would take ten times as much.
    sizes = [100_000] * 5 + [500_000]
    assert make_plan(10, sizes, 12.5e6).lossless
    # The first one is lossless as long as the others can be kept whole: 0.125 + 0.297 MB for each model.
    assert make_plan(10, sizes, 4.3e6).lossless
    assert make_plan(10, sizes, 4.2e6).lossless is False
    # The large one has what the small ones leave: 1,000,000 - 500,000 pixels.
    assert make_plan(1, [600_000, *[100_000] * 5], 330_000.0).max_pixels == 500_000


def test_what_a_small_set_leaves_of_its_share_goes_to_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    rng, records = np.random.default_rng(0), []
    for name, side in (("large", 160), ("small", 48)):
        write_png(tmp_path / name / f"{name}0.png", rng.integers(0, 256, (side, side, 3), dtype=np.uint8))
        record = measured(tmp_path / "r" / name, tmp_path / name, "00_RLFN", 9, (f"{name}0",))
        record = record.model_copy(update={"images_folder": "00_RLFN/photos"})
        records.append(changed(record, dataset={"name": name}))
    given = {}

    def watched(comparison: Comparison, folder: Path, budget_bytes: float, done: Callable) -> dict:
        given[comparison.dataset] = budget_bytes
        return write_pictures(comparison, folder, budget_bytes, done)

    monkeypatch.setattr("eval.report.page.pictures.write_pictures", watched)
    page = page_of(records, tmp_path / "out", PageOptions(roots=(tmp_path / "r" / "large", tmp_path / "r" / "small")))
    assert list(written(page)) == ["large", "small"]
    taken = sum(path.stat().st_size for path in (page.parent / written(page)["small"]["folder"]).iterdir())
    assert given == {"small": 27e6, "large": 54e6 - taken}


def test_a_set_of_many_models_is_no_small_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Its images are smaller, but there are three models' of each."""
    rng, records = np.random.default_rng(0), []
    for name, side, labels in (("many", 96, ("00_RLFN", "02_PFDN", "05_SPAN")), ("one", 112, ("00_RLFN",))):
        write_png(tmp_path / name / f"{name}0.png", rng.integers(0, 256, (side, side, 3), dtype=np.uint8))
        for label in labels:
            its = measured(tmp_path / "r" / name, tmp_path / name, label, 9, (f"{name}0",))
            its = its.model_copy(update={"images_folder": f"{label}/photos"})
            records.append(changed(its, dataset={"name": name}))
    order = []

    def watched(comparison: Comparison, *given: Any) -> dict:
        order.append(comparison.dataset)
        return write_pictures(comparison, *given)

    monkeypatch.setattr("eval.report.page.pictures.write_pictures", watched)
    page_of(records, tmp_path / "out", PageOptions(roots=(tmp_path / "r" / "many", tmp_path / "r" / "one")))
    assert order == ["one", "many"]


def test_pictures_keep_to_the_budget_even_of_noise(tmp_path: Path):
    rng = np.random.default_rng(0)
    folder = tmp_path / "photos"
    for number in range(6):
        write_png(folder / f"image{number}.png", rng.integers(0, 256, (320, 320, 3), dtype=np.uint8))
    names = tuple(f"image{number}" for number in range(6))
    records = [measured(tmp_path / "r", folder, label, noise, names) for label, noise in (("00_A", 9), ("01_B", 20))]
    comparison = find_comparison("photos", models_of([(its.model.label, its) for its in records], [tmp_path / "r"]))
    shown = write_pictures(comparison, tmp_path / "out", 1e6, lambda _: None)
    sizes = [path.stat().st_size for path in (tmp_path / "out").iterdir()]
    assert 0 < len(shown["images"]) < shown["of"] == 6
    assert sum(sizes) < 1e6 * (1 + 1 / len(shown["images"]))
