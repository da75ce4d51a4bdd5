"""A bundle is what Codabench documents, and its scorer runs as the server runs it: on good and on broken uploads."""

import json
import shlex
import subprocess
import sys
import zipfile
from datetime import date, datetime
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from eval.data.images import ImageError, read_image, write_png
from eval.errors import UsageError
from eval.metrics.psnr_ssim import psnr
from eval.ranking.editions import find_edition
from eval.submission import hosting
from eval.submission.archive import write_archive
from eval.submission.hosting import Challenge, Phase, _pages, write_bundle
from tests.data.test_images import PNG_RGB, png

# https://docs.codabench.org, Yaml Structure, version 2.
KNOWN = {
    "top": set(
        "version title image terms description registration_auto_approve docker_image make_programs_available "
        "make_input_data_available queue enable_detailed_results show_detailed_results_in_submission_panel "
        "show_detailed_results_in_leaderboard contact_email reward auto_run_submissions fact_sheet forum_enabled "
        "can_participants_make_submissions_public pages phases tasks solutions leaderboards".split()
    ),
    "pages": {"title", "file"},
    "phases": set(
        "name start end tasks index description max_submissions max_submissions_per_day auto_migrate_to_this_phase "
        "execution_time_limit hide_output hide_prediction_output hide_score_output starting_kit public_data "
        "accepts_only_result_submissions".split()
    ),
    "tasks": set(
        "index name scoring_program key description input_data reference_data ingestion_program "
        "ingestion_only_during_scoring".split()
    ),
    "leaderboards": {"title", "key", "columns", "submission_rule", "hidden"},
    "columns": {"title", "key", "index", "sorting", "computation", "computation_indexes", "precision", "hidden"},
}
README = (
    "runtime per image [s] : 1.5\nCPU[1] / GPU[0] : 0\nExtra Data [1] / No Extra Data [0] : 1\nOther description : n\n"
)


@pytest.fixture
def hr(tmp_path: Path, random_image) -> Path:
    for seed, name in enumerate(("0901", "0902")):
        write_png(tmp_path / "hr" / f"{name}.png", random_image(32, 40, seed))
    return tmp_path / "hr"


@pytest.fixture
def bundle(tmp_path: Path, hr: Path) -> Path:
    """An unpacked bundle of two phases."""
    first = Phase("Development", hr, date(2027, 1, 31), 45)
    phases = (first, Phase("Final", hr, first.end, 7))
    packed = write_bundle(Challenge("x4: fast & small", find_edition(2026), phases), tmp_path / "out")
    with zipfile.ZipFile(packed) as archive:
        archive.extractall(tmp_path / "bundle")
    return tmp_path / "bundle"


def test_its_yaml_has_documented_keys_and_files_that_exist(bundle: Path):
    content = yaml.safe_load((bundle / "competition.yaml").read_text(encoding="utf-8"))
    assert content.keys() <= KNOWN["top"]
    assert {"version", "title", "image", "terms"} <= content.keys()
    assert (content["version"], content["title"]) == (2, "x4: fast & small")
    for part in ("pages", "phases", "tasks", "leaderboards"):
        assert content[part]
        for item in content[part]:
            assert item.keys() <= KNOWN[part], item
    files = [content["image"], content["terms"], *(page["file"] for page in content["pages"])]
    files += [task[key] for task in content["tasks"] for key in ("scoring_program", "reference_data")]
    assert all((bundle / file).stat().st_size for file in files)
    assert [phase["tasks"] for phase in content["phases"]] == [[0], [1]]
    start, end = (datetime.strptime(content["phases"][0][key], "%Y-%m-%d %H:%M:%S") for key in ("start", "end"))
    assert (end - start).days == 45
    assert content["phases"][1]["start"] == content["phases"][0]["end"]
    columns = content["leaderboards"][0]["columns"]
    assert all(column.keys() <= KNOWN["columns"] for column in columns)
    assert [column["index"] for column in columns] == list(range(len(columns)))
    assert columns[0]["sorting"] == "desc"


def test_its_pages_say_the_editions_rules(bundle: Path):
    text = "".join((bundle / f"{name}.md").read_text() for name in ("overview", "evaluation", "data", "terms"))
    assert "$" not in text
    assert "26.90 dB (valid), PSNR of at least 26.99 dB (test)" in text
    assert "Main: 0.8 exp(2 runtime_ms / baseline's) + 0.1 exp(2 flops / baseline's)" in text
    assert "SPAN, 7.74 ms an image on NVIDIA RTX A6000" in text
    assert "2 images, LR and HR" in text


def test_its_pages_write_a_gate_in_its_own_decimals(hr: Path):
    rules = find_edition(2026)
    gates = (rules.gates[0].model_copy(update={"psnr_db": 26.775, "decimals": 3}),)
    phases = (Phase("Development", hr, date(2027, 1, 31), 45),)
    challenge = Challenge("x4", rules.model_copy(update={"gates": gates}), phases)
    assert "PSNR of at least 26.775 dB (valid)" in "".join(_pages(challenge, [phases[0].images()]).values())
    # So does the server's table.
    assert [hosting._leaderboard(its)["columns"][0]["precision"] for its in (rules, challenge.edition)] == [2, 3]


def _serve(bundle: Path, root: Path, upload: dict[str, bytes]) -> tuple[subprocess.CompletedProcess[str], Path]:
    """Unpack program, reference and upload, and run the program's command, as a compute worker does."""
    for name, place in (("scoring_program", "program"), ("reference_data_0", "input/ref")):
        with zipfile.ZipFile(bundle / f"{name}.zip") as archive:
            archive.extractall(root / place)
    (root / "input" / "res").mkdir()
    for name, content in upload.items():
        (root / "input" / "res" / name).parent.mkdir(exist_ok=True)
        (root / "input" / "res" / name).write_bytes(content)
    (root / "output").mkdir()
    command = yaml.safe_load((root / "program" / "metadata.yaml").read_text())["command"]
    python, *arguments = shlex.split(command.replace("/app/", f"{root}/"))
    assert python == "python3"
    done = subprocess.run([sys.executable, "-I", *arguments], capture_output=True, text=True, cwd=root)
    return done, root / "output"


@pytest.fixture
def upload(hr: Path) -> dict[str, bytes]:
    good = {"readme.txt": README.encode()}
    for path in hr.iterdir():
        target = path.with_suffix(".tmp")
        Image.fromarray(read_image(path) ^ np.uint8(2)).save(target, "PNG")
        good[path.name] = target.read_bytes()
        target.unlink()
    return good


def test_the_server_scores_a_good_upload(bundle: Path, upload, hr: Path, tmp_path: Path):
    done, output = _serve(bundle, tmp_path / "app", upload)
    assert done.returncode == 0, done.stderr
    scores = json.loads((output / "scores.json").read_text())
    expected = np.mean([psnr(read_image(path) ^ np.uint8(2), read_image(path)) for path in hr.iterdir()])
    assert scores["PSNR"] == pytest.approx(expected, abs=1e-9)
    assert (scores["ExtraRuntime"], scores["ExtraPlatform"], scores["ExtraData"]) == (1.5, 0, 1)
    content = yaml.safe_load((bundle / "competition.yaml").read_text())
    assert [column["key"] for column in content["leaderboards"][0]["columns"]] == list(scores)
    page = (output / "detailed_results.html").read_text()
    assert "0902.png" in page
    assert (output / "scores.txt").read_text().startswith("PSNR:")


def test_the_server_refuses_a_broken_upload_with_the_reason(bundle: Path, upload, tmp_path: Path):
    del upload["0902.png"]
    done, output = _serve(bundle, tmp_path / "app", upload)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    words = "expected 2 .png images, got 1"
    assert words in done.stderr
    assert words in (output / "detailed_results.html").read_text()
    assert not (output / "scores.json").exists()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:90]), "0902.png, of the reference: "),
        (
            lambda path: write_png(path, read_image(path)[:19]),
            "0902.png, of the reference: is 40x19, expected at least 20 a side for SSIM",
        ),
    ],
    ids=["damaged", "small"],
)
def test_a_faulty_reference_is_not_blamed_on_the_upload(bundle: Path, hr: Path, upload, tmp_path: Path, spoil, words):
    spoil(hr / "0902.png")
    write_archive(bundle / "reference_data_0.zip", {path.name: path for path in hr.iterdir()})
    done, output = _serve(bundle, tmp_path / "app", upload)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert f"refused: reference: {words}" in done.stderr
    assert "What to do: no SR image mends that: tell the organisers" in done.stderr
    assert not (output / "scores.json").exists()


def test_a_bundle_that_is_broken_off_leaves_nothing(command, hr: Path, tmp_path: Path, monkeypatch):
    def broken(path: Path, files) -> None:
        if path.name == "bundle.zip":
            raise OSError(28, "No space left on device", str(path))
        write_archive(path, files)

    with monkeypatch.context() as patch:
        patch.setattr(hosting, "write_archive", broken)
        done = command("-m", "eval", "host", "challenge", "--hr", hr, code=1)
    assert "No space left" in done.stderr
    assert list((tmp_path / "challenge").iterdir()) == []
    assert command("-m", "eval", "host", "challenge", "--hr", hr).returncode == 0
    assert not [path for path in (tmp_path / "challenge").iterdir() if path.name.startswith(".")]


def test_references_too_small_for_ssim_are_refused(hr: Path):
    phase = Phase("Development", hr, date(2027, 1, 1), 1)
    write_png(hr / "0902.png", read_image(hr / "0902.png")[:, :20])
    assert [path.name for path in phase.images()] == ["0901.png", "0902.png"]
    write_png(hr / "0902.png", read_image(hr / "0902.png")[:, :19])
    with pytest.raises(
        UsageError, match=r"hr: expected images of at least 20 pixels a side, for SSIM; smaller are 0902"
    ):
        phase.images()


@pytest.mark.parametrize("names", [("A", "a"), ("caf\u00e9", "cafe\u0301")], ids=["case", "accent"])
def test_references_that_are_one_file_elsewhere_are_refused(hr: Path, names: tuple[str, str]):
    for name in names:
        write_png(hr / f"{name}.png", read_image(hr / "0901.png"))
    if len(list(hr.iterdir())) < 4:
        pytest.skip("they are one file here, too")
    with pytest.raises(UsageError, match="expected names that can be told apart, got "):
        Phase("Development", hr, date(2027, 1, 1), 1).images()


@pytest.mark.parametrize(
    ("folder", "names", "words"),
    [
        (
            "image_SRF_4",
            ("img_001_SRF_4_HR", "img_001_SRF_4_LR"),
            r"got also LR images, by the names of 1 of them \(img_",
        ),
        ("pairs", ("0901", "0901x4"), r"got also LR images, by the names of 1 of them \(0901x4, for"),
        ("X4", ("0901", "0902"), "it holds or may hold LR images: name the HR folder"),
        ("valid_LR", ("0901", "0902"), "by its name, or those of its files, it holds or may hold LR images"),
    ],
)
def test_lr_images_are_no_secret_ground_truth(tmp_path: Path, random_image, folder: str, names, words: str):
    for name in names:
        write_png(tmp_path / folder / f"{name}.png", random_image(32, 40))
    with pytest.raises(UsageError, match=words):
        Phase("Development", tmp_path / folder, date(2027, 1, 1), 1).images()


def _challenge(year: int, *folders: Path) -> Challenge:
    phases = [Phase(f"Phase {place}", folder, date(2027, 1, 1), 1) for place, folder in enumerate(folders)]
    return Challenge("x4", find_edition(year, for_ranking=False), tuple(phases))


def test_an_organiser_is_told_what_each_phase_has(command, hr: Path, tmp_path: Path):
    write_png(hr / "more" / "0903.png", read_image(hr / "0901.png"))
    done = command("-m", "eval", "host", "challenge", "--hr", hr, "--test_hr", hr, "--edition", "2026")
    assert f"Development: 2 images of {hr}\n" in done.stdout
    assert f"Final: 2 images of {hr}\n" in done.stdout
    assert f"warning: images in {hr / 'more'} are not in the bundle" in done.stderr
    assert "the 26.90 dB of 2026 (valid) for 200 images, and Development has 2: change one of them" in done.stderr
    assert "the 26.99 dB of 2026 (test) for 200 images, and Final has 2" in done.stderr
    assert "warning: both phases have the same images" in done.stderr


def test_nothing_is_warned_of_where_no_gate_is_known(hr: Path):
    assert list(hosting.notes(_challenge(2023, hr))) == [f"Phase 0: 2 images of {hr}"]


def test_the_pages_say_the_images_of_each_phase_and_no_gate_that_is_not_known(hr: Path, tmp_path: Path, random_image):
    write_png(tmp_path / "final" / "1001.png", random_image(32, 40))
    write_bundle(_challenge(2023, hr, tmp_path / "final"), tmp_path / "out")
    data = (tmp_path / "out" / "data.md").read_text()
    assert "- Phase 0: 2 images, LR and HR\n- Phase 1: 1 image, LR and HR\n" in data
    assert "It is not known whether a least PSNR is asked for." in (tmp_path / "out" / "evaluation.md").read_text()


def test_references_whose_names_end_as_those_of_lr_images_are_taken(hr: Path):
    for old, new in (("0901", "tex1"), ("0902", "tex2")):
        (hr / f"{old}.png").rename(hr / f"{new}.png")
    assert len(Phase("Development", hr, date(2027, 1, 1), 1).images()) == 2


def test_names_of_an_upload_cannot_write_into_the_page(bundle: Path, upload, tmp_path: Path):
    upload["<script>x4.png"] = upload.pop("0902.png")
    _, output = _serve(bundle, tmp_path / "app", upload)
    assert "<script>" not in (output / "detailed_results.html").read_text()


DEEP = ("16 bits a sample", lambda path, pixels: path.write_bytes(png(pixels.astype(">u2") * 257, 16, PNG_RGB, 40)))
CLEAR = ("transparent pixels", lambda path, pixels: Image.fromarray(np.dstack([pixels, pixels[..., :1]])).save(path))


@pytest.mark.parametrize(("reason", "spoil"), [DEEP, CLEAR], ids=["16 bits", "alpha"])
def test_references_are_what_the_server_takes_them_for(hr: Path, reason: str, spoil):
    """The scorer converts to RGB whatever it reads: 16 bits are halved, and transparency is dropped."""
    spoil(hr / "0902.png", read_image(hr / "0902.png"))
    with pytest.raises(ImageError, match=rf"0902\.png: has {reason}"):
        Phase("Development", hr, date(2027, 1, 1), 1).images()


def test_a_damaged_reference_is_named_before_anything_is_written(command, hr: Path, tmp_path: Path):
    (hr / "0902.png").write_bytes((hr / "0902.png").read_bytes()[:-100])
    done = command("-m", "eval", "host", "challenge", "--hr", hr, code=1)
    assert not (tmp_path / "challenge").exists()
    assert done.stderr.startswith(f"error: {hr / '0902.png'}: not a readable image")


def test_nothing_of_an_organiser_s_is_written_over(command, hr: Path, tmp_path: Path):
    """Nor is anything written beside it."""
    own = {"terms.md": b"our terms", "logo.png": b"our logo", "reference_data_0.zip": b"our images"}
    (tmp_path / "challenge").mkdir()
    for name, content in {**own, "notes.md": b"of no bundle"}.items():
        (tmp_path / "challenge" / name).write_bytes(content)
    done = command("-m", "eval", "host", "challenge", "--hr", hr, code=2)
    assert "challenge: holds logo.png, terms.md, reference_data_0.zip already; move or remove them" in done.stderr
    assert {path.name for path in (tmp_path / "challenge").iterdir()} == {*own, "notes.md"}
    for name, content in own.items():
        assert (tmp_path / "challenge" / name).read_bytes() == content
        (tmp_path / "challenge" / name).unlink()
    command("-m", "eval", "host", "challenge", "--hr", hr)


def test_the_command(command, hr: Path, tmp_path: Path):
    arguments = ("challenge", "--hr", hr, "--edition", "2022", "--start", "2027-02-01", "--luma", "--title", "Mine")
    done = command("-m", "eval", "host", *arguments)
    assert "upload it at Codabench" in done.stdout
    content = yaml.safe_load((tmp_path / "challenge" / "competition.yaml").read_text())
    assert (content["title"], content["phases"][0]["start"]) == ("Mine", "2027-02-01 00:00:00")
    with zipfile.ZipFile(tmp_path / "challenge" / "scoring_program.zip") as archive:
        assert json.loads(archive.read("settings.json")) == {"luma": True}
    again = command("-m", "eval", "host", *arguments, code=2)
    assert "challenge: holds competition.yaml, logo.png, " in again.stderr
    (hr / "a.jpg").write_bytes(b"x")
    with pytest.raises(UsageError, match=r"got a\.jpg"):
        Phase("Development", hr, date(2027, 1, 1), 1).images()
