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
from tests.records.test_record import changed, make_record
from tests.report.test_figures import compile_latex, needs_pdflatex
from tests.report.test_page import HOSTILE, renamed
from tests.report.test_tables import steady

TEAM = PROJECT / "team_bsr" / "team.toml"


def of_set(db: float, dataset: str, num_images: int, sha256: str | None = None, **changes) -> Record:
    return changed(make_record((db,), dataset=dataset, **changes), dataset={"num_images": num_images, "sha256": sha256})


@pytest.fixture
def records() -> list[Record]:
    return [
        of_set(24.59, "Urban100", 100, label="00_RLFN"),
        of_set(24.4818, "Urban100", 100),
        of_set(26.904, "DIV2K_LSDIR_valid", 200),
        make_record((30.1,), dataset="photos"),
        make_record((), label="01_DIPNet", dataset="Urban100", status="failed", reason="a fault"),
        steady("03_PFDNLite", 12.345, None),
    ]


def filled(records: list[Record]) -> str:
    team = read_team(TEAM)
    return factsheet(team, read_steps(TEAM.parent / team.training.recipe), records)


def rows_of(records: list[Record]) -> list[list[str]]:
    return [line.strip().rstrip("\\ ").split(" & ") for line in filled(records).splitlines() if " & " in line]


def test_the_table_holds_measured_and_published_figures(records: list[Record]):
    assert rows_of(records) == [
        ["Set (images)", "RLFN", "DIPNet", "PFDNLite"],
        ["LD-valid (200)", "- (26.96)", "- (27.00)", "26.90 (26.90)"],
        ["Urban100 (100)", "24.59 (24.59)", "- (24.25)", "24.48 (24.48)"],
        ["Set2 (2)", "-", "-", "27.00"],
        ["photos (1)", "-", "-", "30.10"],
    ]


def test_other_images_of_a_name_have_rows_of_their_own_and_no_published_figures(records: list[Record]):
    part = of_set(20.0, "Urban100", 5, "a" * 64, second=9)
    whole = [changed(its, dataset={"sha256": "b" * 64}) for its in records[:2]]
    assert rows_of([*whole, part])[1:] == [
        ["Urban100 (bbbbbbbb) (100)", "24.59 (24.59)", "- (24.25)", "24.48 (24.48)"],
        ["Urban100 (aaaaaaaa) (5)", "-", "-", "20.00"],
    ]
    assert rows_of([part])[1:] == [["Urban100 (5)", "-", "-", "20.00"]]


def test_figures_of_a_network_are_of_one_version_of_its_weights(records: list[Record]):
    def tuned(letter: str, record: Record) -> Record:
        own = {"checkpoint": None, "weights_file": f"{letter}.pth", "weights_sha256": letter * 64}
        return changed(record, model=own)

    old, new = tuned("a", of_set(22.0, "photos", 3)), tuned("b", of_set(23.0, "Urban100", 100, second=5))
    text = filled([new, old])
    assert "Urban100 (100) & - (24.59) & - (24.25) & 23.00 (24.48)" in text
    assert "22.00" not in text
    assert r"Not of released weights: 03\_PFDNLite (b)." in text
    assert filled([new, *records, old]) == filled(records)


def test_complexity_and_runtime_are_measured(records: list[Record]):
    text = " ".join(filled(records).split())
    assert "PFDNLite has 0.218~M parameters and 11.95~G multiply-adds" in text
    assert "36.10~M activations and 24 convolutions" in text
    assert "On 2 images of Set2 it takes 12.35 ms an image on A processor, 2 threads (protocol steady)." in text


def test_other_weights_precisions_tiles_and_networks_of_that_name_do_not_take_the_place(records: list[Record]):
    newest = of_set(20.0, "Urban100", 100, second=9)
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


def test_a_step_with_an_optimizer_and_a_schedule_of_its_own_is_told_with_them():
    step = read_steps(TEAM.parent / "recipes")[3].model_copy(update={"optimizer": "muon", "schedule": "linear"})
    assert step.sentence("AdamW").endswith(
        "MSE loss, muon; the learning rate starts at 0.0001 and falls linearly to 0 over 500k iterations."
    )


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
        ("a--b---?`!``''", "a-{}-b-{}-{}-?{}`!{}`{}`'{}'"),
        ("-\u2013\"\"", "-{}--''{}''"),
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
