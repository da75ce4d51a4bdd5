"""Every flag that can be typed arrives: in the record, in the key, in the files, or in what is printed.

A flag is given a value that is not its default, and the run's record must be what that value makes it. A new flag
without a row here fails the first test.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

import test_demo
from eval.cli import session
from eval.cli.app import app as eval_app
from eval.cli.program import USAGE_EXIT, new_app
from eval.data.images import write_png
from eval.data.resize import imresize
from eval.errors import UsageError
from eval.records.store import write_record
from eval.zoo.manifest import MODEL_ZOO
from tests.records.test_record import changed, make_record
from tests.run.test_runner import timing_of

runner = CliRunner()
DEMO = new_app()
DEMO.command()(test_demo.demo)


@dataclass(frozen=True)
class Ran:
    """What a command left: its records, timed and complete ones first, what it printed, its folder, its exit code."""

    records: list[dict]
    said: str
    folder: Path
    code: int

    @property
    def record(self) -> dict:
        return self.records[0]

    @property
    def settings(self) -> dict:
        return self.record["settings"]


def ran(app: typer.Typer, arguments: list[str], folder: Path) -> Ran:
    place = [] if "--save_dir" in arguments else ["--save_dir", folder / "results"]
    # A shell hands over text.
    result = runner.invoke(app, [str(its) for its in (*arguments, *place)])
    said, code = result.output, result.exit_code
    if isinstance(result.exception, UsageError):
        # What the program prints before it ends.
        said, code = f"{said}{result.exception}", USAGE_EXIT
    elif result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    records = [json.loads(path.read_text()) for path in sorted(folder.glob("**/records/*.json"))]
    records.sort(key=lambda record: (record["settings"]["protocol"] != "steady", record["status"] != "complete"))
    return Ran(records, said, folder, code)


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of sets, to which nothing writes: two named ones, and the challenge's two."""
    folder, noise = tmp_path_factory.mktemp("doors") / "sets", np.random.default_rng(0)
    for name, (height, width) in (("image0", (48, 64)), ("image1", (40, 52))):
        hr = noise.integers(0, 256, (height, width, 3), dtype=np.uint8)
        for named in ("one", "two"):
            write_png(folder / named / f"{name}.png", hr)
    for role in ("valid", "test"):
        hr = noise.integers(0, 256, (48, 48, 3), dtype=np.uint8)
        write_png(folder / f"DIV2K_LSDIR_{role}_HR" / "0.png", hr)
        write_png(folder / f"DIV2K_LSDIR_{role}_LR" / "0x4.png", imresize(hr, Fraction(1, 4)))
    return folder


@pytest.fixture(autouse=True)
def _restored(monkeypatch, tmp_path: Path):
    """Leave this process as it was, and without weights or data but the project's own."""
    for change in ("keep_freed_memory", "freeze_imports"):
        monkeypatch.setattr(session, change, lambda: None)
    monkeypatch.setattr(session.webbrowser, "open", lambda address: print(f"opened {address}"))
    # So that half precision is refused unless it is forced.
    monkeypatch.setattr("eval.run.launch.half_precision_gain", lambda *_: 0.5)
    shutil.copy(MODEL_ZOO / "abpn_selftrained.safetensors", tmp_path / "mine.safetensors")
    threads = torch.get_num_threads()
    monkeypatch.chdir(tmp_path)
    for variable in ("ESR_WEIGHTS", "ESR_DATA"):
        monkeypatch.delenv(variable, raising=False)
    yield
    torch.set_num_threads(threads)


def setting(name: str, expected: Any) -> Callable[[Ran], bool]:
    return lambda its: its.settings[name] == expected


def model(name: str, expected: Any) -> Callable[[Ran], bool]:
    return lambda its: its.record["model"][name] == expected


def sets_of(its: Ran) -> set[str]:
    return {record["dataset"]["name"] for record in its.records}


def refused(message: str) -> Callable[[Ran], bool]:
    return lambda its: its.code == USAGE_EXIT and message in its.said and not its.records


ACCURACY = ("--protocol", "accuracy")
STEADY = ("--protocol", "steady")
# Flag: what is typed besides it, its value, what must be so, and whether the key must be another one.
SHARED: dict[str, tuple[tuple, tuple, Callable[[Ran], bool], bool]] = {
    "--data_dir": ((), ("{sets}/two",), lambda its: its.record["dataset"]["name"] == "two", True),
    "--dataset": ((), ("two",), lambda its: its.record["dataset"]["name"] == "two", True),
    "--save_dir": ((), ("elsewhere",), lambda its: (its.folder / "elsewhere/results.txt").is_file(), False),
    "--ssim": ((), (), lambda its: its.record["means"]["ssim"]["count"] == 2, True),
    "--device": ((), ("meta",), refused("--device meta: expected one of"), False),
    "--tile": ((), ("16",), setting("tile", 16), True),
    "--tile_overlap": (("--tile", "16"), ("6",), setting("tile_overlap", 6), True),
    "--protocol": ((), ("accuracy",), setting("protocol", "accuracy"), True),
    "--runs": ((), ("2",), setting("runs", 2), True),
    "--preset": (STEADY, ("quick",), lambda its: timing(its)["preset"] == "quick", True),
    "--settle": (STEADY, ("1",), lambda its: timing(its)["stopped_by"] == "settled", True),
    "--seed": (STEADY, ("7",), lambda its: timing(its)["seed"] == 7, True),
    "--threads": ((), ("3",), lambda its: its.record["environment"]["threads"] == 3, True),
    "--no_images": ((), (), lambda its: not list(its.folder.glob("results/*/one/*.png")), True),
    # By itself accuracy may take the same one; tests of keys have it.
    "--engine": (ACCURACY, ("channels-last",), setting("engine", "channels-last"), False),
    "--precision": ((*ACCURACY, "--force"), ("bf16",), setting("precision", "bf16"), True),
    "--force": ((*ACCURACY, "--precision", "bf16"), (), setting("precision", "bf16"), False),
    "--streams": (ACCURACY, ("3",), lambda its: its.record["config"]["streams"] == 3, True),
    "--workers": (ACCURACY, ("5",), setting("workers", 5), False),
    "--metrics": ((), ("psnr,psnr_y",), lambda its: its.record["means"]["psnr_y_db"]["count"] == 2, True),
    "--tf32": ((), (), lambda its: "note: --tf32 True has no effect: cpu has no TF32" in its.said, False),
}
DEMO_ONLY = {
    "--model_id": ((), ("-1",), model("name", "Bicubic"), True),
    "--weights": ((), ("mine.safetensors",), model("weights_file", "mine.safetensors"), False),
    "--weights_key": ((), ("params",), lambda its: "--weights_key params" in its.record["reason"], True),
    "--open": ((), (), lambda its: f"opened {(its.folder / 'results').as_uri()}" in its.said, False),
    "--include_test": (("--dataset", "valid"), (), lambda its: "DIV2K_LSDIR_test" in sets_of(its), False),
}  # fmt: skip
RUN_ONLY = {
    "--models": ((), ("-1",), model("name", "Bicubic"), True),
    "--jobs": ((*ACCURACY, "--models", "8,-1"), ("2",), lambda its: "2 passes side by side" in its.said, False),
    "--ray_address": ((), ("host:1",), refused("only with --launcher ray"), False),
    "--launcher": ((), ("ray",), refused("official cannot be timed there"), False),
    "--redo": ((), (), lambda its: "on record" not in its.said, False),
    "--checkout": ((), ("absent",), refused("--checkout absent: expected the challenge's repository"), False),
    "--model_file": ((), ("absent.py:Net",), refused("--models 8: with --model_file"), False),
    "--checkpoint": ((), ("x.pth",), refused("--checkpoint: only with --model_file"), False),
    "--data_range": ((), ("1",), refused("--data_range: only with --model_file"), False),
    "--with": ((), ("folder",), refused("--with: only with --model_file"), False),
    "--model_args": ((), ("dim=8",), refused("--model_args: only with --model_file"), False),
    "--weights_key": ((), ("params",), refused("--weights_key: only with --model_file"), False),
    "--reference": ((), ("3",), refused("--reference: only with --checkout"), False),
    "--sandbox": ((), ("none",), refused("--sandbox: only with --checkout"), False),
    "--trust": ((), (), refused("--trust: only with --checkout"), False),
    "--timeout": ((), ("5",), refused("--timeout: only with --checkout"), False),
}  # fmt: skip
DOORS = {
    "test_demo.py": (DEMO, (), ("--model_id", "8"), SHARED | DEMO_ONLY),
    "run": (eval_app, ("run",), ("--models", "8"), SHARED | RUN_ONLY),
}
CASES = [(door, flag) for door, (*_, flags) in DOORS.items() for flag in flags]


def timing(its: Ran) -> dict:
    return next(record["timing"] for record in its.records if record["settings"]["protocol"] == "steady")


def flags_of(app: typer.Typer, command: tuple) -> set[str]:
    found = typer.main.get_command(app)
    for name in command:
        found = found.get_command(None, name)
    return {option for parameter in found.params for option in parameter.opts[:1]} - {"--help"}


@pytest.mark.parametrize("door", DOORS)
def test_every_flag_has_a_row_here(door: str):
    app, command, _, rows = DOORS[door]
    known = {"--datasets": "--dataset"}
    assert {known.get(flag, flag) for flag in flags_of(app, command)} == rows.keys()


_keys: dict[tuple, str] = {}


def key_without(door: str, besides: tuple, sets: Path) -> str:
    """Return the key of the run in which the flag is not typed."""
    if (door, besides) not in _keys:
        app, command, models, _ = DOORS[door]
        typed = _typed(command, models, besides, sets)
        _keys[door, besides] = ran(app, typed, sets.parent / "without").record["key"]
        shutil.rmtree(sets.parent / "without")
    return _keys[door, besides]


def _typed(command: tuple, models: tuple, besides: tuple, sets: Path, *flag: str) -> list[str]:
    """Return a whole command line on the set "one", each flag once."""
    words = [str(word).format(sets=sets) for word in (*flag, *besides)]
    usual = {**dict([models]), "--data_dir": str(sets / "one"), "--device": "cpu", "--threads": "1"}
    if "--dataset" in words:
        usual["--data_dir"] = str(sets)
    rest = [word for pair in usual.items() if pair[0] not in words for word in pair]
    return [*command, *rest, *words]


@pytest.mark.parametrize(("door", "flag"), CASES, ids=lambda value: value)
def test_a_flag_that_is_typed_arrives(door: str, flag: str, sets: Path, tmp_path: Path):
    app, command, models, rows = DOORS[door]
    besides, value, arrived, in_key = rows[flag]
    first = key_without(door, besides, sets) if in_key else None
    found = ran(app, _typed(command, models, besides, sets, flag, *value), tmp_path)
    assert arrived(found), found.said
    if in_key:
        assert found.record["key"] != first


def test_the_same_command_has_the_same_key(sets: Path, tmp_path: Path):
    app, command, models, _ = DOORS["run"]
    again = ran(app, _typed(command, models, (), sets), tmp_path)
    assert again.record["key"] == key_without("run", (), sets)


def test_what_is_on_record_is_said_and_not_run_again(sets: Path, tmp_path: Path):
    app, command, models, _ = DOORS["run"]
    first = ran(app, _typed(command, models, (), sets), tmp_path)
    second = ran(app, _typed(command, models, (), sets), tmp_path)
    assert "on record: 08_ABPN on one" in second.said
    assert second.record["started_at"] == first.record["started_at"]
    anew = ran(app, _typed(command, models, ("--redo",), sets), tmp_path)
    assert "on record" not in anew.said
    assert anew.record["started_at"] > first.record["started_at"]
    # The template's front door measures anew each time.
    app, command, models, _ = DOORS["test_demo.py"]
    third = ran(app, _typed(command, models, (), sets), tmp_path)
    assert third.record["key"] == first.record["key"]
    assert third.record["started_at"] > anew.record["started_at"]


@pytest.mark.parametrize(
    ("words", "note"),
    [
        (("--seed", "3"), "--seed 3 has no effect: official draws nothing"),
        ((*ACCURACY, "--streams", "2"), "08_ABPN had 1 stream, not 2: "),
        (("--tile_overlap", "8"), "--tile_overlap has no effect on 08_ABPN: whole images fit into memory"),
        (("--tile", "512"), "--tile 512 has no effect on 08_ABPN: no image is larger"),
        (
            ("--model_id", "-1", *ACCURACY, "--precision", "bf16", "--force"),
            "Bicubic has no weights: it ran as plain torch in float32",
        ),
    ],
)
def test_a_flag_without_effect_is_said(words: tuple, note: str, sets: Path, tmp_path: Path):
    app, command, models, _ = DOORS["test_demo.py"]
    found = ran(app, _typed(command, models, words, sets), tmp_path)
    assert found.code == 0
    assert f"note: {note}" in found.said


@pytest.mark.parametrize("protocol", ["official", "accuracy", "steady"])
def test_nothing_is_said_of_flags_that_were_not_typed(protocol: str, sets: Path, tmp_path: Path):
    app, command, (flag, _), _ = DOORS["run"]
    found = ran(app, _typed(command, (flag, "8,-1"), ("--protocol", protocol), sets), tmp_path)
    assert found.code == 0
    assert "note: " not in found.said


def test_jobs_without_several_passes_and_a_folder_beside_the_sample_are_said(sets: Path, tmp_path: Path):
    app, command, models, _ = DOORS["run"]
    found = ran(app, _typed(command, models, (*ACCURACY, "--jobs", "4"), sets), tmp_path)
    assert (
        "note: --jobs 4 has no effect: one pass is left to run; it runs with its share of the threads, 1" in found.said
    )
    assert (found.code, len(found.records)) == (0, 1)
    words = [*command, "--models", "-1", "--dataset", "sample", "--data_dir", str(sets), "--no_images", *ACCURACY]
    assert f"note: --data_dir {sets} has no effect: sample comes with scikit-image" in ran(app, words, tmp_path).said


def scored_folder(folder: Path) -> Path:
    """Records of the challenge's test set: timed twice and untimed, one model near the gate; and of another set."""
    near = {"00_RLFN": 27.0, "03_PFDNLite": 26.9864, "05_SPAN": 27.1}
    for second, (label, db) in enumerate(near.items()):
        for protocol in ("official", "steady"):
            for dataset, count in (("DIV2K_LSDIR_test", 200), ("Set5", 5)):
                record = make_record((db,) * count, label, dataset, second, settings={"protocol": protocol})
                write_record(record, folder / "records")
    for second, (name, value, db) in enumerate((("engine", "compiled", 10.0), ("precision", "bf16", 20.0))):
        record = make_record((db,) * 200, "00_RLFN", "DIV2K_LSDIR_test", 20 + second, settings={name: value})
        write_record(record, folder / "records")
    gpu = {"gpu": "NVIDIA H100"}
    write_record(make_record((27.0,) * 200, "00_RLFN", "DIV2K_LSDIR_test", 9, environment=gpu), folder / "records")
    return folder


ONE_TABLE = ("--datasets", "test", "--protocol", "official", "--device", "A processor")
ONE_TABLE += ("--engine", "eager", "--precision", "fp32")
# Flag, its value, what the score's file must hold with it and must not hold without it.
SCORE = {
    "--edition": ("2025", "Ranking by the rules of 2025"),
    "--gate": ("strict", r"03\_PFDNLite is not ranked: PSNR below the gate"),
    "--baseline": ("published", "RLFN (published)"),
    "--datasets": ("Set5", "Set5"),
    "--protocol": ("steady", "Protocol steady: nothing is paired"),
    "--device": ("h100", "NVIDIA H100"),
    "--engine": ("compiled", "10.00"),
    "--precision": ("bf16", "20.00"),
}


@pytest.mark.parametrize("flag", SCORE)
def test_a_flag_of_score_arrives(flag: str, tmp_path: Path):
    value, expected = SCORE[flag]
    folder = scored_folder(tmp_path / "in")
    usual = dict(zip(ONE_TABLE[::2], ONE_TABLE[1::2], strict=True)) | {"--edition": "2024"}
    usual |= {"--baseline": "published"} if flag in ("--edition", "--device") else {}
    texts = []
    for name, words in (("without", usual), ("with", usual | {flag: value})):
        typed = [word for pair in words.items() for word in pair]
        result = runner.invoke(eval_app, ["score", str(folder), *typed, "--save_dir", str(tmp_path / name)])
        assert result.exit_code == 0, result.output
        texts.append((tmp_path / name / "score.md").read_text())
    assert expected not in texts[0]
    assert expected in texts[1]


def test_score_and_report_take_the_records_of_one_steady_command_by_themselves(tmp_path: Path):
    for second, label in enumerate(("00_RLFN", "03_PFDNLite")):
        untimed = make_record((27.0, 28.0), label, second=second, settings={"protocol": "accuracy"}, key="a" * 64)
        timing = timing_of(((2.0, 2.0), (3.0, 3.0)))
        for record in (untimed, changed(untimed, settings={"protocol": "steady"}, timing=timing, key="b" * 64)):
            write_record(record, tmp_path / "in" / "records")
    score = runner.invoke(eval_app, ["score", str(tmp_path / "in"), "--edition", "2024", "--save_dir", str(tmp_path)])
    assert score.exit_code == 0, score.output
    report = runner.invoke(eval_app, ["report", str(tmp_path / "in"), "--out", str(tmp_path / "page")])
    assert "records  4 found, 2 used; 2 are accuracy passes whose figures stand in the steady records" in report.output
    rows = (tmp_path / "page" / "leaderboard.csv").read_text().splitlines()[1:]
    assert [row.split(",")[0] for row in rows] == ["00_RLFN", "03_PFDNLite"]
