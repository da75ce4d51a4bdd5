"""The table of all years: figures, order, reasons, fronts; passes that resume; a year without a checkout."""

import csv
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench import all_years
from bench.all_years import Pass, passes
from bench.all_years_orders import compare_orders
from bench.all_years_page import table_of, why_not, write_page
from bench.all_years_rows import Edition, Year, gather, ratio_of, read_all
from eval.cli.program import new_app
from eval.errors import RunError
from eval.metrics.figures import Flag
from eval.records.record import Protocol, Record, Settings, State
from eval.records.store import write_record
from eval.timing.samples import Ratio
from tests.conftest import Command
from tests.planted_checkout import copy_of_planted
from tests.records.test_record import make_record
from tests.run.test_runner import timing_of

BRANCH = """
    {word} model_id == {id}:
        from models.team00_plain import Plain
        name, data_range = "{name}", 1.0
        model = Plain()
        model.load_state_dict(torch.load("model_zoo/{file}"))"""
EDITION = Edition(
    year=2022, repository="https://x.org/o/NTIRE2022_ESR", order=(2, 9, 1), source="a paper", published=True
)


def checkout_of(folder: Path, *entries: tuple[int, str, str], empty: int) -> Path:
    """A checkout of 2022 with entries that have plain networks, and one that was withheld."""
    copy_of_planted(folder)
    branches = [
        BRANCH.format(word="elif" if place else "if", id=one, name=name, file=file)
        for place, (one, name, file) in enumerate(entries)
    ]
    (folder / "test_demo.py").write_text(
        "# NTIRE2022\nimport torch\n\n\ndef select_model(args, device):\n    model_id = args.model_id"
        + "".join(branches)
        + f"\n    elif model_id == {empty}:\n        pass\n    return model, name, data_range, None\n"
    )
    return folder


def entry(model_id: int, psnr_db: float, ratio: tuple[float, float, float] | None = None, **changes) -> Record:
    """A record of an entry of 2022 on Set14, timed as a ratio to RLFN if that is given."""
    protocol = Protocol.STEADY if ratio else Protocol.ACCURACY
    settings = Settings(protocol=protocol, device="cpu", tile=None, tile_overlap=None)
    record = make_record(
        (psnr_db,), **{"dataset": "Set14", "settings": settings, "figures_key": str(model_id)} | changes
    )
    about = {"id": model_id, "label": f"2022-{model_id:02}_Net", "origin": "NTIRE2022"}
    timing = ratio and timing_of(((1.0,),), group="one").model_copy(
        update={"ratio": Ratio(baseline="00_RLFN", **dict(zip(("estimate", "low", "high"), ratio, strict=True)))}
    )
    return record.model_copy(update={"model": record.model.model_copy(update=about), "timing": timing})


def year_of(*records: Record, edition: Edition = EDITION, checkout: Path = Path("/nowhere")) -> Year:
    return gather(edition, checkout, records)


def test_rows_hold_figures_and_cells_without_one_say_why(tmp_path: Path):
    ours = tmp_path / "NTIRE2022_ESR"
    checkout_of(ours, (1, "01_Net", "a.pth"), (2, "02_Net", "b.pth"), (3, "03_Net", "c.pth"), empty=7)
    failed = {"status": "failed", "state": State.MISSING_CHECKPOINT, "reason": "c.pth is not in the checkout"}
    records = [
        entry(2, 26.5, (0.5, 0.45, 0.55), flags=(Flag(code="bound", text="x"),)),
        entry(1, 26.75),
        entry(3, 0, **failed, images=(), means={}),
    ]
    year = year_of(*records, edition=EDITION.model_copy(update={"teams": {2: "A team"}}), checkout=ours)
    table = table_of(year.rows)
    cells = [{column.key: cell.text for column, cell in zip(table.columns, row, strict=True)} for row in table.rows]
    assert [(its["team"], its["entry"], its["state"]) for its in cells] == [
        ("01", "2022-01_Net", "ran"),
        ("A team", "2022-02_Net", "ran"),
        ("03", "2022-03_Net", "missing checkpoint"),
        ("07", "2022-07", "withheld"),
    ]
    assert [its["psnr_set14_db"] for its in cells] == ["26.750", "26.500", "-", "-"]
    assert [its["psnr_urban100_db"] for its in cells] == ["not run here yet", "not run here yet", "-", "-"]
    assert [its["ratio"] for its in cells] == ["not timed here yet", "0.500 [0.450, 0.550]", "-", "-"]
    assert (cells[1]["flags"], cells[1]["num_params"], cells[1]["flops"]) == ("bound", "0.218", "11.95")
    assert cells[1]["flops_by_dispatcher"] == "11.90"
    assert cells[2]["missing"] == "c.pth is not in the checkout"


def test_the_csv_holds_unrounded_figures(tmp_path: Path):
    year = year_of(entry(2, 26.5, (0.5, 0.45, 0.55)), entry(1, 26.123456789))
    write_page([year], tmp_path)
    with (tmp_path / "all-years.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(its["id"], its["psnr_set14_db"], its["ratio"]) for its in rows] == [
        ("1", "26.123456789", ""),
        ("2", "26.5", "0.5"),
    ]
    assert (rows[1]["ratio_low"], rows[1]["flops"], rows[1]["date"]) == ("0.45", "11952734208", "2026-01-02")
    page = (tmp_path / "all-years.md").read_text()
    assert "2 of 2 entries ran, 1 were timed" in page
    assert "the checkout was not at hand" in page
    assert (tmp_path / "all-years.svg").read_text().count("2022, 1 timed") == 1


def test_the_page_says_which_machines_its_figures_are_of(tmp_path: Path):
    one, two = entry(1, 26.5, (0.5, 0.45, 0.55)), entry(2, 26.6, (0.6, 0.5, 0.7))
    newer = two.model_copy(update={"environment": two.environment.model_copy(update={"cpu": "AMD EPYC (family 26)"})})
    untimed = entry(3, 26.7).model_copy(update={"environment": newer.environment})
    machine = one.environment.machine
    for records, words in (
        ((), "on no machine yet, "),
        ((untimed,), "on AMD EPYC (family 26)"),
        # What was not timed is of no machine.
        ((one, two, untimed), f"on {machine}, "),
        ((one, newer), f"on 2 machines, whose times do not make one order ({machine}: 1 entries; AMD EPYC (family 26)"),
    ):
        write_page([year_of(*records)], tmp_path)
        assert words in (tmp_path / "all-years.md").read_text(), words


def test_without_times_the_plot_shows_flops(tmp_path: Path):
    assert [path.name for path in write_page([year_of()], tmp_path)] == ["all-years.md", "all-years.csv"]
    *_, plot = write_page([year_of(entry(1, 26.5), entry(2, 26.6))], tmp_path)
    assert all(f">{text}</text>" in plot.read_text() for text in ("FLOPs [G]", "2022, 2 counted"))
    assert "against FLOPs" in (tmp_path / "all-years.md").read_text()


def test_the_front_of_a_year_is_what_no_entry_beats_in_both():
    ratios = {1: (26.5, 0.5), 2: (26.4, 0.6), 3: (26.8, 1.0), 4: (26.7, 0.7), 5: (26.8, 1.1)}
    year = year_of(*(entry(one, db, (its, its, its)) for one, (db, its) in ratios.items()))
    assert [row.id for row in year.front(ratio_of)] == [1, 4, 3]


def test_times_that_could_not_be_taken_say_why():
    disturbed = {
        "status": "failed",
        "state": State.FAILED_TO_RUN,
        "reason": "every runtime sample was disturbed (8 by make)",
    }
    year = year_of(entry(1, 26.5), entry(1, 26.5, (1, 1, 1), second=9, **disturbed))
    (row,) = year.rows
    assert (row.ran, row.ratio) == (True, None)
    assert why_not(row, "ratio") == "failed to run: every runtime sample was disturbed"


def test_orders_are_compared_among_what_both_hold_and_intervals_leave_open_what_overlaps():
    times = {2: (0.6, 0.55, 0.65), 1: (0.5, 0.45, 0.56), 4: (0.1, 0.1, 0.1)}
    compared = compare_orders(year_of(*(entry(one, 26.5, its) for one, its in times.items())))
    assert [(its.row.id, its.published, its.here, its.first, its.last, its.words) for its in compared] == [
        (2, 1, 2, 1, 2, "differs, not settled"),
        (1, 2, 1, 1, 2, "differs, not settled"),
    ]
    times[1] = (0.5, 0.45, 0.54)
    compared = compare_orders(year_of(*(entry(one, 26.5, its) for one, its in times.items())))
    assert [its.words for its in compared] == ["differs", "differs"]
    ours = EDITION.model_copy(update={"published": False})
    assert compare_orders(year_of(entry(1, 26.5, (1, 1, 1)), edition=ours)) == []


def test_orders_by_scores_count_parameters_and_flops():
    """In 2026 a score is 0.8 exp(2 time) + 0.1 exp(2 FLOPs) + 0.1 exp(2 parameters), each as a part of SPAN's."""
    edition = Edition(
        year=2026, repository="https://x.org/o/NTIRE2026_ESR", order=(1, 2), source="a paper", published=True
    )
    base = entry(0, 26.5, (1, 1, 1))
    few = base.complexity.model_copy(update={"flops": base.complexity.flops // 2, "num_params": 100_000})
    records = [
        its.model_copy(update={"model": its.model.model_copy(update={"label": label, "origin": "NTIRE2026"})})
        for its, label in (
            (base, "2026-00_SPAN"),
            (entry(1, 26.5, (0.90, 0.89, 0.91)), "2026-01_Fast"),
            (entry(2, 26.5, (0.95, 0.94, 0.96), complexity=few), "2026-02_Small"),
        )
    ]
    compared = compare_orders(year_of(*records, edition=edition))
    assert [(its.row.id, its.published, its.here, its.words) for its in compared] == [
        (1, 1, 2, "differs"),
        (2, 2, 1, "differs"),
    ]


def test_passes_begin_with_what_matters_most_and_end_with_slow_entries(tmp_path: Path):
    ids = range(1, 26)
    checkout = checkout_of(tmp_path / "c", *((one, f"{one:02}_Net", "a.pth") for one in ids), empty=40)
    order = (25, 30, *range(24, 0, -1))
    edition = EDITION.model_copy(update={"order": order, "slow": (3,)})
    nothing, all_ran = (year_of(*its, edition=edition, checkout=checkout) for its in ([], [entry(i, 26) for i in ids]))
    quick = tuple(one for one in ids if one != 3)
    assert list(passes("set14", [nothing])) == [Pass(edition, quick), Pass(edition, (3,))]
    assert list(passes("urban100", [nothing])) == []
    ten = (25, *range(24, 15, -1))
    assert [(its.ids, its.dataset) for its in passes("urban100", [all_ran])] == [(ten, "Urban100")]
    timed = list(passes("times", [all_ran, all_ran]))
    assert [its.ids for its in timed[::2]] == [ten, (1, 2, *range(4, 12)), (12, 13, 14, 15), (3,)]
    assert {its.protocol for its in timed} == {Protocol.STEADY}
    assert timed[0] == timed[1]


FORKS = """
[[edition]]
year = 2022
order = [2, 9]
source = "by number"
published = false
forks = [
    { repository = "https://x.org/one/Fork", id = 2 },
    { repository = "https://x.org/two/Fork", id = 9, inside = "theirs" },
    { repository = "https://x.org/gone/Fork", id = 5 },
]
"""


def test_forks_of_a_year_run_their_own_entry_each_and_share_a_page(tmp_path: Path):
    (tmp_path / "forks.toml").write_text(FORKS)
    editions = read_all(tmp_path / "forks.toml")
    assert [str(its.checkout) for its in editions] == ["one-Fork", "two-Fork/theirs", "gone-Fork"]
    for folder, one in (("one-Fork", 2), ("two-Fork/theirs", 9)):
        checkout_of(tmp_path / folder, (0, "00_Base", "a.pth"), (one, f"{one:02}_Net", "b.pth"), empty=40)
    records = [entry(2, 26.5, (0.5, 0.4, 0.6)), entry(9, 26.25), entry(0, 26), entry(5, 27)]
    nothing, parts = (
        [year_of(*known, edition=its, checkout=tmp_path / its.checkout) for its in editions] for known in ([], records)
    )
    assert [(its.edition.folder, its.ids) for its in passes("set14", nothing)] == [
        ("one-Fork", (2,)),
        ("two-Fork", (9,)),
    ]
    assert [its.ids for its in passes("times", parts)] == [(9,)]
    write_page(parts, tmp_path)
    page = (tmp_path / "all-years.md").read_text()
    assert "3 of 3 entries ran, 1 were timed" in page
    assert page.count("not at hand") == page.count("`git clone https://x.org/gone/Fork gone-Fork`") == 1
    with (tmp_path / "all-years.csv").open() as file:
        assert [(its["year"], its["id"]) for its in csv.DictReader(file)] == [
            ("2022", "2"),
            ("2022", "5"),
            ("2022", "9"),
        ]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (('"https://x.org/one/Fork"', '"Fork"'), "repository"),
        (("id = 5", "id = 9"), "two forks hold one id"),
        (('"theirs"', '"../theirs"'), "inside"),
        ((FORKS[FORKS.index("forks") :], ""), "give a repository, or forks"),
    ],
)
def test_forks_that_lie_nowhere_are_refused(change: tuple[str, str], told: str, tmp_path: Path):
    (tmp_path / "forks.toml").write_text(FORKS.replace(*change))
    with pytest.raises(RunError, match=told):
        read_all(tmp_path / "forks.toml")


def test_what_has_its_figure_is_in_no_pass(tmp_path: Path):
    checkout = checkout_of(tmp_path / "c", *((one, f"{one:02}_Net", "a.pth") for one in range(1, 5)), empty=40)
    records = [entry(1, 26), entry(1, 24, dataset="Urban100"), entry(2, 26, (1, 0.9, 1.1))]
    year = year_of(*records, edition=EDITION.model_copy(update={"order": (2, 1)}), checkout=checkout)
    assert [its.ids for its in passes("set14", [year])] == [(3, 4)]
    assert [its.ids for its in passes("urban100", [year])] == [(2,)]
    assert [its.ids for its in passes("times", [year])] == [(1,)]


def test_the_editions_that_ship_name_each_id_once():
    editions = read_all(all_years.EDITIONS)
    assert sorted({its.year for its in editions}) == [2022, 2023, 2024, 2025, 2026]
    assert len({its.folder for its in editions}) == len(editions)
    assert all(len(set(its.order)) == len(its.order) for its in editions)
    forks = [its.forks[0].id for its in editions if its.forks]
    assert sorted(forks) == sorted(next(its.order for its in editions if its.forks))
    assert not any(set(its.slow) & set(its.order[:10]) for its in editions)


def run(*words: str | Path):
    app = new_app()
    app.command()(all_years.main)
    return CliRunner().invoke(app, [*map(str, words)])


@pytest.fixture
def planted(tmp_path: Path, hr_folder: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> list[str | Path]:
    """The words of a command on a checkout of two entries, one of which lacks its weights, and on two images."""
    monkeypatch.setattr(all_years, "exit_code", lambda words: command("-m", "eval", *words, code=None).returncode)
    monkeypatch.setattr(all_years, "REFERENCE", "ABPN")
    shutil.copytree(hr_folder, tmp_path / "data" / "Set14")
    entries = (1, "01_Net", "team00_plain.pth"), (2, "02_Net", "absent.pth")
    checkout_of(tmp_path / "NTIRE2022_ESR", *entries, empty=7)
    rows = "".join(
        f'[[edition]]\nyear = {year}\nrepository = "https://x.org/x/NTIRE{year}_ESR"\n'
        'order = [1]\nsource = "s"\npublished = false\n'
        for year in (2022, 2024)
    )
    (tmp_path / "editions.toml").write_text(rows)
    where = ["--checkouts", tmp_path, "--data_dir", tmp_path / "data", "--save_dir", tmp_path / "save"]
    return [*where, "--out", tmp_path / "out", "--editions", tmp_path / "editions.toml"]


def test_the_same_command_goes_on_and_a_year_without_a_checkout_is_named(planted: list, tmp_path: Path):
    first = run(*planted, "--steps", "set14")
    assert first.exit_code == 0, first.output
    assert (
        f"2024: no checkout at {tmp_path / 'NTIRE2024_ESR'}: git clone https://x.org/x/NTIRE2024_ESR NTIRE2024_ESR"
        in first.output
    )
    made = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "save" / "records").glob("*Net*Set14*")}
    page = (tmp_path / "out" / "all-years.md").read_text()
    assert "1 of 3 entries ran, 0 were timed" in page
    assert "- 2024: the checkout was not at hand" in page
    assert "model\\_zoo/absent.pth is not in the checkout" in page
    (again,) = (name for name in made if "01_Net" in name)
    assert run(*planted, "--steps", "set14").exit_code == 0
    now = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "save" / "records").glob("*Net*Set14*")}
    assert now[again] == made[again]
    assert (tmp_path / "out" / "all-years.md").read_text() == page


def test_a_pass_that_cannot_begin_ends_the_command_and_records_are_kept(planted: list, tmp_path: Path):
    write_record(entry(1, 26.5), tmp_path / "save" / "records")
    shutil.rmtree(tmp_path / "data" / "Set14")
    result = run(*planted, "--steps", "set14")
    assert isinstance(result.exception, RunError)
    assert "--dataset Set14" in str(result.exception)
    result = run(*planted, "--steps", "none")
    assert result.exit_code == 0
    assert "1 of 3 entries ran" in (tmp_path / "out" / "all-years.md").read_text()


def test_steps_that_do_not_exist_are_refused(planted: list):
    assert "no such step" in str(run(*planted, "--steps", "set15").exception)
