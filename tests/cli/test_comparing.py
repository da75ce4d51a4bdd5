"""The command that compares: records, published results, models, and a model with itself."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from eval.cli import aa, comparing
from eval.records.store import write_record
from eval.timing.samples import Ratio
from tests.records.test_record import changed, make_record
from tests.run.test_runner import timing_of
from tests.tasks import config_of


def record(folder: Path, label: str, psnrs: tuple, ratio: float | None = None, second: int = 0, **changes) -> None:
    settings = {"protocol": "steady" if ratio else "accuracy"}
    made = make_record(psnrs, label, key=f"{second}" * 64, second=second, settings=settings)
    if ratio:
        known = Ratio(baseline="00_RLFN", estimate=ratio, low=ratio * 0.98, high=ratio * 1.02)
        made = changed(made, timing=timing_of(((5.0,), (5.0,)), ratio=known, group=label))
    write_record(changed(made, **changes), folder / "records")


def test_two_folders_of_one_model_each(command, tmp_path: Path):
    record(tmp_path / "a", "03_PFDNLite", (30.0, 31.0) * 3, 0.8)
    record(tmp_path / "b", "05_SPAN", (29.5, 30.5) * 3, 0.4)
    done = command("-m", "eval", "compare", "a", "b", "--save_dir", "out")
    sentence = (
        "On Set2, 03_PFDNLite compared with 05_SPAN: its PSNR is higher (+0.500 dB [+0.500, +0.500]); "
        "relative to 00_RLFN, each in its own run, it is slower (runtime ratio 2.000 [1.944, 2.057])."
    )
    assert sentence in done.stdout
    assert "Note: runtimes were taken apart, so each is taken as its ratio to 00_RLFN's" in done.stdout
    header, row = (tmp_path / "out" / "compare.csv").read_text().splitlines()
    assert header.startswith("dataset,first,second,psnr_difference_db,psnr_difference_db_low")
    assert row.startswith("Set2,03_PFDNLite,05_SPAN,0.5,")
    assert "+0.500" in (tmp_path / "out" / "compare.md").read_text()


def test_a_model_timed_on_two_machines_in_one_folder_is_not_chosen_for_the_user(command, tmp_path: Path):
    for second, threads in enumerate((1, 2)):
        record(tmp_path / "a", "03_PFDNLite", (30.0, 31.0), 0.8, second, environment={"threads": threads})
    record(tmp_path / "b", "03_PFDNLite", (30.0, 31.0), 0.4)
    done = command("-m", "eval", "compare", "a", "b", code=1)
    assert "a: 03_PFDNLite on Set2 was timed on A processor, 1 thread and A processor, 2 threads; give" in done.stderr


def test_weights_of_our_own_are_named_and_still_the_same_model(command, tmp_path: Path):
    for folder, weights in (("a", "selftrained"), ("b", "released")):
        record(tmp_path / folder, "03_PFDNLite", (30.0, 31.0), model={"checkpoint": weights})
        record(tmp_path / folder, "05_SPAN", (30.0, 31.0), second=1)
    done = command("-m", "eval", "compare", "a", "b")
    assert "On Set2, 03_PFDNLite (selftrained) compared with 03_PFDNLite: " in done.stdout
    assert "05_SPAN of a compared with 05_SPAN of b" in done.stdout


def test_ratios_to_a_baseline_of_other_weights_are_not_divided(command, tmp_path: Path):
    for folder, digit in (("a", "0"), ("b", "f")):
        together, weights = {"group": folder}, {"weights_sha256": digit * 64}
        record(tmp_path / folder, "00_RLFN", (30.0, 31.0), 1.0, timing=together, model=weights)
        record(tmp_path / folder, "03_PFDNLite", (30.0, 31.0), 0.8, 1, timing=together)
    done = command("-m", "eval", "compare", "a", "b")
    assert (
        "the two models were timed in separate runs, beside 00_RLFN of other weights, code or settings" in done.stdout
    )
    assert "of the other's time" not in done.stdout


def test_models_that_both_folders_hold_are_told_apart_by_them(command, tmp_path: Path):
    for folder, gain in (("a", 0.0), ("b", 0.25)):
        for second, label in enumerate(("03_PFDNLite", "05_SPAN")):
            record(tmp_path / folder, label, (30.0 + gain, 31.0 + gain) * 3, second=second)
    done = command("-m", "eval", "compare", "a", "b")
    assert done.stdout.count("its PSNR is lower (-0.250 dB") == 2
    assert "03_PFDNLite of a compared with 03_PFDNLite of b" in done.stdout


def published(path: Path, **models: tuple) -> Path:
    plain = {"valid_memory": 1.0, "num_parameters": 1.0, "flops": 1.0, "activations": 1.0, "num_conv": 1}
    content = {
        name: {"valid_runtime": times, "valid_psnr": psnrs, "valid_ave_runtime": sum(times) / 6,
               "valid_ave_psnr": sum(psnrs) / 6, **plain}
        for name, (times, psnrs) in models.items()
    }  # fmt: skip
    path.write_text(json.dumps(content))
    return path


def test_two_published_results(command, tmp_path: Path):
    published(tmp_path / "one.json", A=([4.0, 2.0] * 3, [27.0, 28.0] * 3))
    published(tmp_path / "two.json", B=([8.0, 4.0] * 3, [26.9, 27.9] * 3))
    done = command("-m", "eval", "compare", "one.json", "two.json")
    assert "On valid, A compared with B: its PSNR is higher (+0.100 dB" in done.stdout
    assert "it is faster (runtime ratio 0.500 [0.500, 0.500]" in done.stdout
    assert "runtimes are published ones" in done.stdout


def test_two_models_are_timed_together(command, hr_folder: Path):
    typed = ("-m", "eval", "compare", "ABPN", "Bicubic", "--data_dir", hr_folder, "--device", "cpu", "--threads", "1")
    done = command(*typed)
    assert "On photos, 08_ABPN (selftrained) compared with Bicubic: " in done.stdout
    assert "runtime ratio" in done.stdout
    # What was timed is on record, and not timed again.
    assert "on record: the times of 2 models together on photos" in command(*typed).stdout


def test_a_model_against_itself_is_the_aa_test(command, hr_folder: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(aa, "P50_WITHIN", 1.0)
    monkeypatch.setattr(aa, "least_covered", lambda _repeats: 0)
    typed = ("--data_dir", hr_folder, "--device", "cpu", "--threads", "1", "--repeats", "2")
    done = command("-m", "eval", "compare", "Bicubic", "Bicubic", *typed)
    assert "of 2 intervals cover a ratio of 1" in done.stdout
    page = (tmp_path / "results" / "aa.md").read_text()
    assert "Bicubic against itself, 2 images of photos, preset rapid" in page
    assert page.count("\n|") == 4


@pytest.mark.parametrize(("images", "told"), [(12, "12 images"), (40, "12 of 40 images")])
def test_the_aa_test_says_how_many_images_it_timed(tmp_path: Path, images: int, told: str):
    dataset = SimpleNamespace(name="photos", pairs=[None] * images)
    path = aa.write_trial(aa.Trial(()), "Bicubic", dataset, config_of(protocol="steady", preset="rapid"), tmp_path)
    assert f"- Bicubic against itself, {told} of photos, preset rapid" in path.read_text()


def test_two_versions_of_one_file_are_two_models(command, hr_folder: Path, tmp_path: Path):
    for folder, gain in (("old", 1.0), ("new", 0.9)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "net.py").write_text(
            "from torch import nn\nclass Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
            "        self.conv = nn.Conv2d(1, 1, 1)\n"
            f"    def forward(self, x):\n        return {gain} * x.repeat_interleave(4, 2).repeat_interleave(4, 3)\n"
        )
    torch.save(nn.Conv2d(1, 1, 1).state_dict(), tmp_path / "net.pth")
    state = {f"conv.{name}": value for name, value in torch.load(tmp_path / "net.pth").items()}
    torch.save(state, tmp_path / "net.pth")
    typed = ("--checkpoint", "net.pth", "--data_range", "1", "--sandbox", "none", "--threads", "1", "--device", "cpu")
    done = command("-m", "eval", "compare", "old/net.py:Net", "new/net.py:Net", *typed, "--data_dir", hr_folder)
    assert "net-Net of old/net.py:Net compared with net-Net of new/net.py:Net: " in done.stdout
    row = (tmp_path / "results" / "compare.csv").read_text().splitlines()[1].split(",")
    assert float(row[3]) != 0


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("old/net.py:Net", "ABPN", "--precision", "bf16"), 2, "submissions run by their own code"),
        (("PFDNLite", "ABPN", "--data_range", "1"), 2, "--data_range: only with a model of a file"),
        (("ABPN", "8", "--datasets", "one,two"), 2, "a model is timed against itself on one set"),
        (("a", "a", "--repeats", "2"), 2, "--repeats: has an effect only when models are run"),
        (
            ("a", "a", "--precision", "bf16", "--checkpoint", "x"),
            2,
            "--precision, --checkpoint: has an effect only when",
        ),
        (("PFDNLite", "ABPN", "--sandbox", "none"), 2, "--sandbox: only with a model of a file or of a checkout"),
        (("a", "a", "--datasets", "Set2,Typo"), 2, "--datasets Typo: not in both places; choose from: Set2"),
        (("a", "PFDNLite"), 2, "expected two models, two folders of records, or two results.json"),
        (("a", "empty"), 2, "no records found"),
        (("PFDNLite", "SPANN"), 2, "no model 'SPANN'"),
        (("PFDNLite", "ABPN", "--repeats", "3"), 2, "--repeats 3: only for a model that is compared with itself"),
        (("a", "b"), 1, "nothing to compare: a holds 03_PFDNLite on Set2; b holds 05_SPAN on other"),
    ],
)
def test_what_cannot_be_compared_is_said(command, tmp_path: Path, words: tuple, code: int, message: str):
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "net.py").write_text("class Net: pass\n")
    torch.save({}, tmp_path / "net.pth")
    if words[0].endswith(":Net"):
        words = (*words, "--checkpoint", "net.pth", "--data_range", "1", "--sandbox", "none")
    record(tmp_path / "a", "03_PFDNLite", (30.0, 31.0))
    (tmp_path / "empty").mkdir()
    other = make_record((30.0,), "05_SPAN", "other", key="c" * 64)
    write_record(other, tmp_path / "b" / "records")
    done = command("-m", "eval", "compare", *words, code=code)
    assert message in done.stderr


def test_the_variable_of_image_sets_keeps_no_records_from_being_compared(command, tmp_path: Path):
    record(tmp_path / "a", "03_PFDNLite", (30.0, 31.0))
    done = command("-m", "eval", "compare", "a", "a", ESR_DATA=str(tmp_path))
    assert "the PSNR difference is not significant (0.000 dB)" in done.stdout
    typed = command("-m", "eval", "compare", "a", "a", "--data_dir", "sets", ESR_DATA=str(tmp_path), code=2)
    assert "--data_dir: has an effect only when models are run" in typed.stderr


def test_precisions_in_one_folder_are_compared_apart(command, tmp_path: Path):
    for folder, gain in (("a", 0.0), ("b", 1.0)):
        for second, precision in enumerate(("fp32", "bf16")):
            settings = {"protocol": "accuracy", "precision": precision}
            psnrs = (30.0 + gain - second, 31.0 + gain - second) * 3
            made = make_record(psnrs, "05_SPAN", key=f"{second}" * 64, second=second, settings=settings)
            write_record(made, tmp_path / folder / "records")
    done = command("-m", "eval", "compare", "a", "b")
    assert "05_SPAN of a compared with 05_SPAN of b: its PSNR is lower (-1.000" in done.stdout
    assert "05_SPAN (bf16) of a compared with 05_SPAN (bf16) of b: its PSNR is lower (-1.000" in done.stdout


def test_a_folder_that_is_called_like_a_model_is_meant_where_it_holds_records(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("RLFN", "3", "results"):
        (tmp_path / name).mkdir()
    assert [comparing._kind(name) for name in ("RLFN", "3", "SPAN")] == ["model"] * 3
    assert [comparing._kind(name) for name in ("RLFN/", "results")] == ["records"] * 2
    record(tmp_path / "RLFN", "03_PFDNLite", (30.0, 31.0))
    (tmp_path / "3" / "record.json").touch()
    assert [comparing._kind(name) for name in ("RLFN", "3", "results")] == ["records"] * 3


def test_a_negative_id_is_a_model_and_other_flags_are_refused(command):
    for words in (("-1", "none", "--device", "cpu"), ("none", "-1")):
        assert (
            "error: no model 'none'. There are: -1 Bicubic" in command("-m", "eval", "compare", *words, code=2).stderr
        )
    for words, flag in ((("-1", "3", "--foo"), "--foo"), (("-1", "-x"), "-x"), (("-x", "3"), "-x")):
        assert f"No such option: {flag}" in command("-m", "eval", "compare", *words, code=2).stderr
