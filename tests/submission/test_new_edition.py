"""Rules of one's own: a file, checked, with the line of what is wrong, taken wherever a year is."""

import tomllib
from pathlib import Path

import pytest

from eval.errors import RunError, UsageError
from eval.ranking.editions import EDITIONS, all_editions, edition_text, find_edition
from eval.toml_files import line_of


@pytest.mark.parametrize("year", [2022, 2023, 2024, 2025, 2026])
def test_a_new_edition_begins_with_the_rules_of_another(year: int, tmp_path: Path):
    path = tmp_path / "edition-2031.toml"
    path.write_text(edition_text(2031, year), encoding="utf-8")
    found, source = find_edition(str(path), for_ranking=False), find_edition(year, for_ranking=False)
    assert found.year == 2031
    assert found.model_copy(update={"year": year}) == source
    assert path.read_text().startswith("# The editions of the challenge")


def _line(text: str, words: str) -> int:
    return next(number for number, line in enumerate(text.splitlines(), 1) if words in line)


@pytest.mark.parametrize(
    ("old", "new", "field", "words"),
    [
        ("runtime_ms = 7.74", "runtime_ms = -7.74", "edition.0.baseline.runtime_ms", "greater than 0"),
        ('gpu = "NVIDIA RTX A6000"', "gpu = 6000", "edition.0.gpu", "valid string"),
        ("psnr_db = 26.99", 'psnr_db = "26.99 dB"', "edition.0.gates.1.psnr_db", "valid number"),
        ("images = 200\npsnr_db = 26.99", "image = 200\npsnr_db = 26.99", "edition.0.gates.1.image:", "Extra inputs"),
        ("{ runtime_ms = 0.8,", "{ runtime_ms = 0.7,", "edition.0.tracks.0", "weights must add up to 1"),
    ],
)
def test_a_wrong_field_is_named_with_its_line(tmp_path: Path, old: str, new: str, field: str, words: str):
    text = edition_text(2027, 2026)
    assert text.count(old) == 1
    (tmp_path / "mine.toml").write_text(text.replace(old, new))
    with pytest.raises(RunError) as error:
        find_edition(str(tmp_path / "mine.toml"))
    message = str(error.value)
    assert field in message
    assert words in message
    changed = text.replace(old, new)
    line = _line(changed, new.splitlines()[0] if "tracks.0" not in field else "[[edition.tracks]]")
    if field.endswith("image:"):
        line = changed.splitlines().index("image = 200") + 1
    assert str(line) in message.partition("(line ")[2].partition(")")[0].split(", ")


def test_an_array_that_is_misspelt_is_told_with_the_line_of_its_first_table(tmp_path: Path):
    text = edition_text(2027, 2026).replace("[[edition.gates]]", "[[edition.gate]]")
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(RunError, match=rf"edition\.0\.gate: .* \(line {_line(text, '[[edition.gate]]')}\)"):
        find_edition(str(tmp_path / "mine.toml"))


def test_lines_of_all_values_of_the_editions_are_found():
    text = EDITIONS.read_text(encoding="utf-8")
    lines = text.splitlines()
    for place, edition in enumerate(tomllib.loads(text)["edition"]):
        assert lines[line_of(text, ("edition", place, "year")) - 1] == f"year = {edition['year']}"
        model = edition["baseline"]["model"]
        assert lines[line_of(text, ("edition", place, "baseline", "model")) - 1] == f'model = "{model}"'
        for number, track in enumerate(edition.get("tracks", ())):
            line = line_of(text, ("edition", place, "tracks", number, "name"))
            assert lines[line - 1] == f'name = "{track["name"]}"'
    assert line_of(text, ("absent",)) is None


def test_a_gate_prints_as_many_decimals_as_it_says(tmp_path: Path):
    gate = find_edition(2026).gates[0]
    assert gate.judge(26.8964).rounded
    assert not gate.model_copy(update={"decimals": 3}).judge(26.8964).rounded
    assert gate.model_copy(update={"decimals": 1}).judge(26.8501).rounded


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("absent.toml", "absent.toml: no such file"),
        ("next", "expected a year, newest, or a file FILE.toml"),
        ("1999", "no rules are known of that year"),
        (str(EDITIONS), "expected one \\[\\[edition\\]\\] table, got \\d"),
    ],
)
def test_what_is_no_edition_is_wrong_usage(asked: str, message: str):
    with pytest.raises(UsageError, match=message):
        find_edition(asked)


def test_a_folder_is_no_edition(tmp_path: Path):
    (tmp_path / "a.toml").mkdir()
    with pytest.raises(UsageError, match=r"--edition .*a\.toml: a folder, no file; `python -m eval new-edition`"):
        find_edition(str(tmp_path / "a.toml"))


def test_the_command_writes_a_file_that_others_take(command, tmp_path: Path, published: Path):
    assert command("-m", "eval", "new-edition", "2999").stdout.count("the rules of 20") == 1
    command("-m", "eval", "new-edition", "2999", code=2)
    command("-m", "eval", "new-edition", "2998", "--from", "2026")
    path = tmp_path / "edition-2998.toml"
    # A gate that one of the published entries fails, and one decimal more.
    text = path.read_text().replace("psnr_db = 26.90", "psnr_db = 26.95\ndecimals = 3")
    path.write_text(text)
    results = published / "ntire2026_results.json"
    own = command("-m", "eval", "score", results, "--edition", path, "--baseline", "published", "--out", "own")
    assert "Rules of 2998" in own.stdout
    command("-m", "eval", "score", results, "--edition", "2026", "--baseline", "published")
    kept = [(tmp_path / folder / "score.csv").read_text() for folder in ("own", "results")]
    assert kept[0] != kept[1]
    command("-m", "eval", "audit", results, "--edition", path)


def test_the_advice_can_be_typed_as_it_is_printed(command):
    done = command("-m", "eval", "new-edition", "2999", "--out", "my rules.toml")
    assert "change source, gpu, baseline, gates and tracks" in done.stdout
    assert "--edition 'my rules.toml'; " in done.stdout


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (("--out", "my rules"), "--out my rules: expected a name that ends in .toml"),
        (("--from", "2021"), "--from 2021: no rules are known of that year; there are: 2022, 2023, 2024, 2025, 2026"),
        (("--from", "0"), "--from 0: no rules are known of that year"),
    ],
)
def test_what_new_edition_cannot_do_is_refused_by_its_own_flag(command, tmp_path: Path, typed: tuple, message: str):
    assert message in command("-m", "eval", "new-edition", "2999", *typed, code=2).stderr
    assert not list(tmp_path.iterdir())


def test_an_edition_in_a_folder_that_is_a_file_is_refused(command, tmp_path: Path):
    (tmp_path / "file").touch()
    done = command("-m", "eval", "new-edition", "2999", "--out", "file/mine.toml", code=2)
    assert "--out file/mine.toml: cannot be written: file is no folder; name another file" in done.stderr


def test_the_newest_edition_is_the_last_year_whose_rule_is_known():
    newest = find_edition("newest")
    assert newest.tracks
    assert all(its.year <= newest.year or not its.tracks for its in all_editions().values())
