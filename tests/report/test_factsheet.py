"""The factsheet: what it says, that LaTeX reads it, and that a wrong team.toml is named."""

import re
from pathlib import Path

import pytest

from eval.errors import RunError, UsageError
from eval.records.record import Record
from eval.records.store import write_record
from eval.report.escapes import latex_text
from eval.report.papers.factsheet import factsheet
from eval.report.papers.factsheet_facts import read_steps, read_team
from tests.conftest import PROJECT
from tests.records.test_record import make_record
from tests.report.test_figures import compile_latex, needs_pdflatex
from tests.report.test_page import HOSTILE, renamed
from tests.report.test_tables import steady

TEAM = PROJECT / "team_bsr" / "team.toml"


@pytest.fixture
def records() -> list[Record]:
    return [
        make_record((24.59,), label="00_RLFN", dataset="Urban100"),
        make_record((24.4818,), dataset="Urban100"),
        make_record((26.904,), dataset="DIV2K_LSDIR_valid"),
        make_record((30.1,), dataset="photos"),
        make_record((), label="01_DIPNet", dataset="Urban100", status="failed", reason="a fault"),
        steady("03_PFDNLite", 12.345, None),
    ]


def filled(records: list[Record]) -> str:
    team = read_team(TEAM)
    return factsheet(team, read_steps(TEAM.parent / team.training.recipe), records)


def test_the_table_holds_measured_and_published_figures(records: list[Record]):
    rows = [line.strip().rstrip("\\ ").split(" & ") for line in filled(records).splitlines() if " & " in line]
    assert rows == [
        ["Dataset", "RLFN", "DIPNet", "PFDNLite"],
        ["LD-valid", "- (26.96)", "- (27.00)", "26.90 (26.90)"],
        ["Urban100", "24.59 (24.59)", "- (24.25)", "24.48 (24.48)"],
        ["photos", "-", "-", "30.10"],
        ["Set2", "-", "-", "27.00"],
    ]


def test_complexity_and_runtime_are_measured(records: list[Record]):
    text = " ".join(filled(records).split())
    assert "PFDNLite has 0.218~M parameters and 11.95~G multiply-adds" in text
    assert "36.10~M activations and 24 convolutions" in text
    assert "On Set2 it takes 12.35 ms an image on A processor, 2 thread(s) (protocol steady)." in text


def test_other_weights_precisions_tiles_and_networks_of_that_name_do_not_take_the_place(records: list[Record]):
    newest = make_record((20.0,), dataset="Urban100", second=9)
    model, plain = newest.model, newest.settings
    others = [
        newest.model_copy(update={"model": model.model_copy(update={"checkpoint": "selftrained"})}),
        newest.model_copy(update={"model": model.model_copy(update={"origin": "net"})}),
        newest.model_copy(update={"settings": plain.model_copy(update={"precision": "bf16"})}),
        newest.model_copy(update={"settings": plain.model_copy(update={"tile": 64, "tile_overlap": 32})}),
    ]
    assert filled([*records, *others]) == filled(records)
    # Of a model that has no released ones, other weights are named.
    text = filled(others[:1])
    assert "20.00 (24.48)" in text
    assert "Not of released weights: 03" in text


def test_training_is_told_by_the_recipe(records: list[Record]):
    text = filled(records)
    assert text.count(r"\item Step") == 4
    assert (
        "Step 2. HR patches of 256x256 pixels are cropped at random, 96 a mini-batch. Charbonnier loss, AdamW; the "
        "learning rate starts at 0.0003 and halves every 100k of 500k iterations."
    ) in text
    assert text.index("Step 3.") < text.index("In the second stage") < text.index("Step 4.")


@needs_pdflatex
def test_plain_pdflatex_compiles_it(records: list[Record], tmp_path: Path):
    log = compile_latex(filled(records), tmp_path)
    assert "Overfull" not in log
    packages = set(re.findall(r"\\usepackage(?:\[.*?\])?\{(.*?)\}", filled(records)))
    assert packages == {"geometry", "hyperref"}


@needs_pdflatex
def test_hostile_text_stays_text(tmp_path: Path):
    evil = r"\input{/etc/passwd}$x_y^%#&~{}\end{document} [é中\u202e" + HOSTILE.replace("\\", "\\\\")
    quoted = evil.replace("\\", "\\\\").replace('"', '\\"')
    text = re.sub(r'^title = ".*"', lambda _: f'title = "{quoted}"', TEAM.read_text(), count=1, flags=re.M)
    text = text.replace('name = "Yan Wang"', f'name = "{quoted}"').replace(
        "https://github.com/icandle/BSR", "https://x.y/%}{#~\\\\é"
    )
    text = text.replace('recipe = "recipes"', f'recipe = "{TEAM.parent / "recipes"}"')
    (tmp_path / "team.toml").write_text(text, encoding="utf-8")
    team = read_team(tmp_path / "team.toml")
    records = [make_record((20.0,), dataset=evil), renamed(make_record((21.0,)), name="RLFN", label="00_RLFN")]
    sheet = factsheet(team, read_steps(TEAM.parent / "recipes"), records)
    assert sheet.isascii()
    assert "passwd:" not in compile_latex(sheet, tmp_path)


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("Žižka, Łódź & Ångström", r"\v{Z}i\v{z}ka, \L{}\'{o}d\'{z} \& \r{A}ngstr\"{o}m"),
        ("[1ex]", "{}[1ex]"),
        ("中", "{}[U+4E2D]"),
        ("a<b>|\"c\"", r"a\textless{}b\textgreater{}\textbar{}''c''"),
        ("\u202e", r"\textbackslash{}u202e"),
    ],
)  # fmt: skip
def test_text_as_ascii_latex(text: str, latex: str):
    assert latex_text(text) == latex


def test_without_a_record_of_the_model_the_error_says_what_to_run(records: list[Record]):
    with pytest.raises(RunError, match="got such records of: RLFN; run: python -m eval run --models PFDNLite"):
        filled(records[:1])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "BSR"', 'nmae = "BSR"', "team.name: Field required; team.nmae: Extra inputs"),
        ("leader = true", "leader = false", "expected one with leader = true, got 0"),
        ("[method]", "[method", "Expected"),
    ],
)
def test_a_wrong_team_file_is_named(old: str, new: str, message: str, tmp_path: Path):
    (tmp_path / "team.toml").write_text(TEAM.read_text().replace(old, new))
    with pytest.raises(RunError, match=r"team\.toml: .*") as error:
        read_team(tmp_path / "team.toml")
    assert message in str(error.value)


def test_a_missing_recipe_is_named(tmp_path: Path):
    with pytest.raises(UsageError, match="found none in"):
        read_steps(tmp_path)
    (tmp_path / "step1.toml").write_text("stage = 1\n")
    with pytest.raises(RunError, match=r"step1\.toml: hr_patch: Field required"):
        read_steps(tmp_path)


def test_the_command_writes_it(command, tmp_path: Path, records: list[Record]):
    for record in records:
        write_record(record, tmp_path / "r" / "records")
    command("-m", "eval", "factsheet", TEAM, "r", "--out", "sheet")
    assert (tmp_path / "sheet" / "factsheet.tex").read_text().rstrip().endswith(r"\end{document}")
    missing = command("-m", "eval", "factsheet", "absent.toml", "r", code=2)
    assert "absent.toml: no such file; team_bsr/team.toml is an example" in missing.stderr
