"""One configuration: what it checks, what it says, what decides figures, and how its fields become flags."""

import csv
import io
import json

import pytest
import typer
from pydantic import Field, ValidationError
from typer.testing import CliRunner

from eval.cli import flags
from eval.cli.program import new_app
from eval.cli.running import check_for_submissions
from eval.config import Protocol, RunConfig
from eval.errors import RunError, UsageError
from eval.ranking.editions import find_edition
from eval.ranking.from_records import entries_from
from eval.records.conditions import conditions_of
from eval.report.columns import legend
from eval.report.tables import csv_table
from tests.records.test_record import changed, make_record
from tests.refusals import said

GIVEN = {
    "protocol": "steady",
    "device": "cuda:1",
    "engine": "compiled",
    "precision": "bf16",
    "tf32": False,
    "tile": 64,
    "tile_overlap": 8,
    "metrics": ("psnr", "ssim"),
    "threads": 3,
    "streams": 2,
    "workers": 4,
    "runs": 1,
    "preset": "quick",
    "settle": 3,
    "seed": 7,
}


def test_it_goes_through_json_whole():
    config = RunConfig(**GIVEN)
    assert GIVEN.keys() == RunConfig.model_fields.keys()
    assert RunConfig(**json.loads(config.model_dump_json())) == config


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"precision": "fp3"}, "--precision fp3: expected 'fp32', 'bf16' or 'fp16'"),
        ({"runs": 0}, "--runs 0: Input should be greater than or equal to 1"),
        ({"seed": "x"}, "--seed x: Input should be a valid integer"),
        ({"tile": "big"}, "--tile big: expected auto, none, or a number of LR pixels"),
        ({"tile": 0}, "--tile 0: expected at least 1"),
        ({"tile": 16, "tile_overlap": 16}, "--tile_overlap 16: expected 0 to 15, less than --tile"),
        ({"metrics": ","}, "--metrics: expected at least one metric, such as psnr, got none"),
        ({"colour": "red"}, "colour: no such setting; there are protocol, device"),
        ({"runs": 5, "protocol": "accuracy"}, "--runs 5: only with --protocol official, got accuracy"),
        ({"precision": "bf16"}, "--engine eager --precision bf16: the official protocol times plain torch in fp32"),
        ({"engine": "compiled"}, "--engine compiled --precision fp32: the official protocol times plain torch"),
        ({"protocol": "fast"}, "--protocol fast: expected 'official', 'accuracy' or 'steady'"),
    ],
)
def test_wrong_values_and_combinations_are_refused(given: dict, message: str):
    assert said(UsageError, RunConfig, **given).startswith(message)


@pytest.mark.parametrize("name", ["threads", "streams", "runs", "settle", "tile"])
def test_what_is_counted_begins_at_one(name: str):
    assert getattr(RunConfig(**{name: 1}), name) == 1
    with pytest.raises(UsageError, match=f"--{name} 0"):
        RunConfig(**{name: 0})


@pytest.mark.parametrize("name", ["workers", "seed", "tile_overlap"])
def test_others_begin_at_zero(name: str):
    assert getattr(RunConfig(tile=8, **{name: 0}), name) == 0
    with pytest.raises(UsageError, match=f"--{name} -1: Input should be greater than or equal to 0"):
        RunConfig(tile=8, **{name: -1})


def test_the_seed_is_zero_where_nobody_names_one():
    assert RunConfig().seed == 0


@pytest.mark.parametrize("name", ["streams", "workers"])
def test_streams_and_workers_are_idle_where_each_image_is_timed(name: str):
    assert name in RunConfig(protocol="official").idle
    assert name not in RunConfig(protocol="accuracy").idle
    assert name not in RunConfig(protocol="steady").idle


def test_streams_are_a_cpus():
    assert "streams" in RunConfig(protocol="accuracy", device="cuda:1").idle
    assert "workers" not in RunConfig(protocol="accuracy", device="cuda:1").idle


def test_text_of_a_command_line_is_read():
    assert RunConfig(tile="none").tile is None
    assert RunConfig(tile="48").tile == 48
    assert RunConfig(metrics="psnr, ssim").metrics == ("psnr", "ssim")


def test_a_copy_is_checked_like_the_first():
    assert RunConfig().replaced(seed=3).seed == 3
    with pytest.raises(UsageError, match="--runs 2: only with --protocol official"):
        RunConfig(runs=2).replaced(protocol=Protocol.ACCURACY)


def test_it_is_never_changed():
    """As all that a record holds: one base keeps it so."""
    with pytest.raises(ValidationError, match="frozen"):
        RunConfig().seed = 3


def test_what_has_no_effect_decides_nothing():
    official = RunConfig(device="cpu", threads=2)
    assert official.decides.keys() == GIVEN.keys() - {"streams", "workers", "preset", "settle", "seed", "tf32"}
    steady = RunConfig(device="cuda", protocol="steady", tile=None)
    assert steady.decides.keys() == GIVEN.keys() - {"streams", "workers", "threads", "settle", "tile_overlap"}
    assert steady.decides_pixels.keys() == {"device", "engine", "precision", "tf32", "tile"}
    assert RunConfig(device="cpu", preset="normal").decides == RunConfig(device="cpu").decides


def test_the_first_gpu_is_one_device_by_either_name():
    first, same, tenth = (RunConfig(device=device) for device in ("cuda", "cuda:0", "cuda:10"))
    assert first.decides == same.decides
    assert tenth.decides["device"] == "cuda:10"
    # Processes of `--jobs` are spread over GPUs only where none is named.
    assert same.device == "cuda:0"


def test_what_was_given_in_vain_is_said_once():
    given = RunConfig(device="auto", preset="normal", seed=3, tf32=True)
    assert given.replaced(device="cpu").notes(given) == [
        "--preset normal has no effect: official has no rounds",
        "--seed 3 has no effect: official draws nothing",
        "--tf32 True has no effect: cpu has no TF32",
    ]
    idle = RunConfig(streams=2, workers=1, tile_overlap=8, tile="none")
    assert RunConfig(tile="none").notes(idle) == [
        "--streams 2 has no effect: a timed network runs alone",
        "--workers 1 has no effect: nothing runs beside a timed network",
        "--tile_overlap 8 has no effect: --tile none cuts no tiles",
    ]
    assert RunConfig(device="cuda").notes(RunConfig(threads=2)) == [
        "--threads 2 has no effect: the network runs on cuda"
    ]


def test_only_the_official_protocol_times_each_image():
    assert [RunConfig(protocol=protocol).is_timed for protocol in Protocol] == [True, False, False]


def test_it_says_itself_in_words():
    assert str(RunConfig(device="cpu")) == "protocol official, on cpu, whole images if memory allows"
    config = RunConfig(**GIVEN)
    assert str(config) == ("protocol steady, on cuda:1, tiles of 64, overlap 8, engine compiled, bf16, TF32 off")
    assert str(RunConfig(tile="none", runs=5)) == "protocol official, on auto, whole images, 5 runs"


def test_a_new_flag_is_one_field(monkeypatch: pytest.MonkeyPatch):
    class WithDither(RunConfig):
        dither: float = Field(0.5, description="Noise to add.")
        ensemble: bool = Field(False, description="Average eight turns.")

    monkeypatch.setattr(flags, "RunConfig", WithDither)
    seen = []

    @flags.configured()
    def command(config: RunConfig) -> None:
        seen.append(config)

    app = new_app()
    app.command()(command)
    result = CliRunner().invoke(app, ["--dither", "0.25", "--ensemble", "--device", "cpu"])
    assert result.exit_code == 0, result.output
    assert (seen[0].dither, seen[0].ensemble) == (0.25, True)
    # Unless it is said to be otherwise, a field is taken to change pixels.
    assert seen[0].decides["dither"] == seen[0].decides_pixels["dither"] == 0.25
    # So its figures stand in a table of their own, are not ranked with others, and it is not asked of submissions.
    assert (seen[0].unusual, WithDither().unusual) == (("dither 0.25", "ensemble True"), ())
    assert "dither 0.25" in str(seen[0])
    usual = changed(make_record(), config=None)
    unusual = usual.model_copy(update={"config": seen[0]})
    assert (conditions_of(usual).manner, conditions_of(unusual).manner) == ("", "dither 0.25, ensemble True")
    assert [row["other_settings"] for row in csv.DictReader(io.StringIO(csv_table([usual, unusual])))] == [
        "",
        "dither 0.25, ensemble True",
    ]
    assert "Settings that are not the default (plain torch in float32): dither 0.25, ensemble True." in legend(
        [unusual]
    )
    with pytest.raises(RunError, match=r"different flags cannot be ranked.*as by default.*dither 0\.25, ensemble True"):
        entries_from([usual, unusual], find_edition(2024))
    with pytest.raises(UsageError, match=r"--dither 0\.25: submissions run by their own forward"):
        check_for_submissions(seen[0])
    shown = CliRunner().invoke(app, ["--help"]).output
    assert "Noise to add." in shown


def test_flags_have_the_types_of_their_fields():
    shown = CliRunner().invoke(_app(), ["--help"], env={"COLUMNS": "200"}).output
    for words in (
        "--protocol <official|accuracy|steady>",
        "--precision <fp32|bf16|fp16>",
        "--threads <int",
        "--tile <str>",
        "--tf32 / --no_tf32",
    ):
        assert words in " ".join(shown.split()), words


def _app() -> typer.Typer:
    app = new_app()

    @app.command()
    @flags.configured()
    def command(config: RunConfig) -> None:
        """Do nothing."""

    return app


def test_an_overlap_decides_pixels_and_threads_streams_and_settling_do_not():
    steady = RunConfig(**(GIVEN | {"device": "cpu"}))
    assert {"threads", "streams", "settle"} <= steady.decides.keys()
    assert steady.decides_pixels.keys() == {"device", "engine", "precision", "tile", "tile_overlap"}


def test_one_image_has_its_streams_share_of_the_threads():
    untimed = RunConfig(protocol=Protocol.ACCURACY, device="cpu", threads=4)
    assert [untimed.replaced(streams=its).threads_each for its in (None, 1, 2, 8)] == [4, 4, 2, 1]
    assert RunConfig(protocol=Protocol.ACCURACY, device="cpu").threads_each is None
    # On a GPU there are no streams to share them.
    assert untimed.replaced(device="cuda", streams=2).threads_each == 4
