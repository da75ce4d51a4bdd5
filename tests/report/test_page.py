"""The report's page: what stands in it, that nothing of a record becomes markup, and what is kept apart."""

import json
import re
from collections.abc import Iterator, Sequence
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest

from eval.metrics.figures import Flag
from eval.metrics.registry import METRICS
from eval.ranking.editions import find_edition
from eval.records.conditions import conditions_of
from eval.records.current import current
from eval.records.record import Record, State, means_of
from eval.records.store import write_record
from eval.report.board import Board, make_board
from eval.report.page.island import island
from eval.report.page.models import _complexity_facts
from eval.report.page.writing import PageOptions, gather, page_addresses, write_page
from eval.report.papers.challenge_table import challenge_tables
from eval.report.selection import baseline_of, edition_of, state_of
from eval.timing.samples import Ratio
from tests.records.test_record import changed, make_record
from tests.report.test_tables import steady

HOSTILE = "</script><img src=x onerror=alert(1)>\"'&\u2028=2+3\\{{7777*3}}"


class Reader(HTMLParser):
    """Collects what a browser would see."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.texts: list[str] = []
        self.island = ""
        self._inside = ""
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._inside = dict(attrs).get("id", "") if tag == "script" else ""

    def handle_endtag(self, tag):
        self._inside = ""

    def handle_data(self, data):
        if self._inside == "data":
            self.island += data
        elif data.strip():
            self.texts.append(data.strip())

    @property
    def data(self) -> dict:
        return json.loads(self.island)

    def attributes(self, tag: str, name: str) -> list[str]:
        return [attrs[name] for each, attrs in self.tags if each == tag and attrs.get(name)]


def texts_of(data: object) -> Iterator[str]:
    """Yield all texts of JSON, keys among them."""
    if isinstance(data, str):
        yield data
    for part in [*data, *data.values()] if isinstance(data, dict) else data if isinstance(data, list) else ():
        yield from texts_of(part)


def page_of(records: Sequence[Record], folder: Path, options: PageOptions | None = None) -> Path:
    """Write the page of records and return it."""
    options = options or PageOptions()
    return write_page(gather(records, options), folder, options)


def renamed(record: Record, **changes) -> Record:
    return changed(record, model=changes)


def many(count: int) -> list[Record]:
    return [
        renamed(make_record((20.0 + n / 100, 21.0)), id=n, name=f"Net{n}", label=f"{n:02}_Net{n}") for n in range(count)
    ]


def test_the_page_holds_what_the_records_say(tmp_path: Path):
    flag = Flag(code="bound", text="11.9 G are few")
    page = page_of([make_record((26.894, 26.904), flags=(flag,)), make_record((20.0, 22.0), label="00_RLFN")], tmp_path)
    read = Reader(page)
    assert read.attributes("th", "data-value") == ["00_RLFN", "03_PFDNLite"]
    figures = [attrs for tag, attrs in read.tags if tag == "td" and attrs["data-key"] == "psnr_db"]
    assert [(its["data-text"], its["data-value"]) for its in figures] == [("21.00", "21.0"), ("26.90", "26.899")]
    assert any(text.startswith("11.9 G are few") for text in read.attributes("button", "data-tip"))
    (board,) = read.data["boards"]
    assert board["images"] == ["img0", "img1"]
    assert board["lr_pixels"] == [72, 72]
    assert board["rows"][1]["psnrs_db"] == [26.894, 26.904]
    assert board["rows"][1]["num_params"] == 218_288


def with_metric(record: Record, key: str, value: float) -> Record:
    images = [image.model_copy(update={key: value}) for image in record.images]
    return changed(record, images=tuple(images), means=means_of(images))


def test_a_metric_that_a_record_has_is_a_column_with_what_it_means(tmp_path: Path):
    records = [make_record(label="00_RLFN"), with_metric(make_record(), "psnr_y_db", 28.4177)]
    read = Reader(page_of(records, tmp_path))
    cells = [attrs for tag, attrs in read.tags if tag == "td" and attrs["data-key"] == "psnr_y_db"]
    assert [its["data-text"] for its in cells] == ["-", "28.42"]
    row = METRICS["psnr_y"]
    assert f"PSNR-Y: {row.meaning}" in read.attributes("button", "data-tip")
    assert "ssim_y" not in read.attributes("td", "data-key")
    table = challenge_tables(gather(records, PageOptions()).boards)
    assert "PSNR [dB]" in table
    assert "PSNR-Y" not in table


def test_nothing_is_loaded_from_elsewhere(tmp_path: Path):
    read = Reader(page_of([make_record()], tmp_path))
    sources = read.attributes("script", "src") + read.attributes("link", "href")
    assert [source for source in sources if source.startswith(("http", "//"))] == []
    assert all((tmp_path / source).is_file() for source in sources if source != "data:,")
    assert (tmp_path / read.data["plotly"]).stat().st_size > 1_000_000


def test_a_hostile_record_stays_text(tmp_path: Path):
    record = renamed(make_record(), label=f"03_{HOSTILE}", name=HOSTILE, team=HOSTILE, checkpoint=HOSTILE)
    images = tuple(image.model_copy(update={"name": f"../{HOSTILE}{i}"}) for i, image in enumerate(record.images))
    hostile = changed(record, images=images, dataset={"name": HOSTILE}, flags=(Flag(code="state", text=HOSTILE),))
    failed = hostile.model_copy(update={"status": "failed", "reason": HOSTILE, "model": make_record().model})
    page_of([hostile, failed], tmp_path / "out", PageOptions(title=HOSTILE))
    pages = list((tmp_path / "out").rglob("*.html"))
    assert len(pages) == 3
    for page in pages:
        read = Reader(page)
        assert read.attributes("img", "src") == []
        assert not any(name.startswith("on") for _, attrs in read.tags for name in attrs)
        assert any(HOSTILE.replace("\u2028", "\\u2028") in text for text in read.texts)
        assert all(" ".join(text.split("\n")).isprintable() for text in read.texts)
        assert all(value.isprintable() for _, attrs in read.tags for value in attrs.values() if value)
        assert all(text.isprintable() for text in texts_of(json.loads(read.island or "0")))
        assert "23331" not in re.findall(r"\d+", " ".join(read.texts))
    assert {path.parent.name for path in pages} == {"out", "models"}
    assert all(re.fullmatch(r"[A-Za-z0-9.-]+", path.name) for path in pages)


def test_the_island_survives_what_ends_a_script():
    text = str(island({"name": "</script><!--\u2028\u2029&"}))
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text) == {"name": "</script><!--\\u2028\\u2029&"}


def test_addresses_are_plain_and_unique():
    boards = [
        make_board(*group)
        for group in current([renamed(r, label=n) for r, n in zip(many(3), ("é/..", "é/…", "é/"), strict=True)])
    ]
    assert sorted(page_addresses(boards).values()) == ["models/000.html", "models/001.html", "models/002.html"]


def test_a_failed_row_is_shown_with_its_reason(tmp_path: Path):
    failed = make_record((), label="09_Broken", status="failed", reason="out of memory at img3")
    read = Reader(page_of([make_record(), failed], tmp_path))
    assert "Failed: 09_Broken." in read.texts
    assert "out of memory at img3" in read.texts
    assert read.attributes("td", "data-text").count("failed") == 1
    assert [row["complete"] for row in read.data["boards"][0]["rows"]] == [True, False]


def test_page_terminal_and_markdown_tell_the_same_failures(command, tmp_path: Path):
    """A run that failed after a complete one leaves its row as it was; that it failed is said all the same."""
    good = make_record(label="00_RLFN")
    later = {"started_at": good.started_at + timedelta(hours=1), "key": "1" * 64, "state": State.REFUSED}
    bad = make_record((), label="00_RLFN", status="failed", reason="its weights are damaged", **later)
    for record in (good, bad):
        write_record(record, tmp_path / "r" / "records")
    said = command("-m", "eval", "report", "r", "--out", "out").stdout
    read = Reader(tmp_path / "out" / "index.html")
    row = ["00_RLFN", "Set2", "official", "refused", "its weights are damaged"]
    place = read.texts.index("Did not run")
    assert read.texts[place + 6 : place + 11] == row
    assert "some did not run" in read.texts
    in_markdown = (tmp_path / "out" / "leaderboard.md").read_text().partition("## Did not run")[2]
    assert [cell.strip().replace("\\", "") for cell in in_markdown.splitlines()[-1].strip("|").split("|")] == row
    assert said.partition("Did not run")[2].split("\n")[4].split()[:4] == row[:4]


def test_where_all_ran_no_failures_are_told(tmp_path: Path):
    assert "Did not run" not in Reader(page_of([make_record()], tmp_path)).texts


def test_the_page_opens_on_a_table_with_figures(tmp_path: Path):
    """A steady run whose models were all disturbed, or of bicubic alone, says less than an official one."""
    official = [make_record(label="00_RLFN"), make_record()]
    fails = {"status": "failed", "reason": "disturbed"}
    timed = steady("00_RLFN", 20.0, None)
    disturbed, bicubic = timed.model_copy(update=fails), renamed(timed, id=-1, label="-1_Bicubic")
    opened = []
    for number, records in enumerate(([timed], [disturbed], [disturbed, bicubic])):
        data = Reader(page_of([*official, *records], tmp_path / str(number))).data
        opened.append(data["boards"][data["board"]]["title"].split(" · ")[1])
    assert opened == ["steady", "official", "official"]


def test_a_row_below_the_gate_says_so():
    records = [
        make_record((psnr,) * 200, label=label, dataset="DIV2K_LSDIR_test")
        for label, psnr in (("00_RLFN", 27.0), ("03_PFDNLite", 26.5))
    ]
    board = make_board(conditions_of(records[0]), records, find_edition(2024))
    assert [(gate.role, gate.psnr_db) for gate in board.ranked.gates] == [("test", 26.99)]
    assert [row.state for row in board.rows] == ["ran", "below the gate"]
    assert board.rows[1].reason == "26.50000 dB on test, least 26.99"
    rules = find_edition(2024)
    gates = tuple(gate.model_copy(update={"psnr_db": 26.775, "decimals": 3}) for gate in rules.gates)
    board = make_board(conditions_of(records[0]), records, rules.model_copy(update={"gates": gates}))
    assert board.rows[1].reason == "26.500000 dB on test, least 26.775"
    assert board.rows[1].cell("rank").text == "-"
    # On which side of the gate a PSNR lies can be seen.
    assert [row.cell("psnr_db").text for row in board.rows] == ["27.000", "26.500"]


STEADY = [
    steady("00_RLFN", 20.0, Ratio(baseline="00_RLFN", estimate=1.0, low=1.0, high=1.0)),
    steady("03_PFDNLite", 10.0, Ratio(baseline="00_RLFN", estimate=0.5, low=0.45, high=0.6)),
]


def test_a_runtime_has_its_ratios_interval():
    board = make_board(conditions_of(STEADY[0]), STEADY)
    interval = board.rows[1].intervals["runtime_ms"]
    assert (interval.low, interval.high) == (pytest.approx(9.0), pytest.approx(12.0))
    assert interval.text == "9.00 to 12.00 ms, if 00_RLFN takes 20.00 ms"
    assert board.rows[0].intervals["runtime_ms"] is None
    # From 9 ms to 12 ms.
    assert interval.places == (0.0, 33.33, 100.0)


def test_scores_are_of_the_newest_edition_whose_baseline_is_there():
    board = make_board(conditions_of(STEADY[0]), STEADY)
    assert board.ranked.edition.year == 2024
    assert board.baseline == 0
    assert [row.cell("rank").text for row in board.rows] == ["base", "1"]
    assert board.rows[0].cell("score").text == "7.39"


def halves(labels: Sequence[str], last: str = "") -> list[Record]:
    """Make records of the challenge's valid and test sets; ``last`` is faster on test alone, and has no valid."""
    records = []
    for dataset in ("DIV2K_LSDIR_valid", "DIV2K_LSDIR_test"):
        for label in [*labels, last] if last and dataset.endswith("test") else labels:
            records.append(make_record((27.0,) * 200, label=label, dataset=dataset))
    return records


def test_valid_and_test_are_ranked_together():
    valid, test = (board.ranked for board in sorted(boards_of(halves(("00_RLFN", "03_PFDNLite"))), key=by_set))
    assert valid.rows.keys() == test.rows.keys() == {"00_RLFN", "03_PFDNLite"}
    assert all(len(row.verdicts) == 2 for row in valid.rows.values())
    assert any("on DIV2K_LSDIR_valid and DIV2K_LSDIR_test" in note for note in test.notes)


def test_where_a_model_lacks_one_half_each_is_ranked_alone():
    valid, test = (board.ranked for board in sorted(boards_of(halves(("00_RLFN",), "03_PFDNLite")), key=by_set))
    assert [len(ranked.rows) for ranked in (valid, test)] == [1, 2]
    assert test.notes[0].startswith("Ranked by this set alone, not by valid and test: every model needs a record")


def boards_of(records: list[Record]) -> list[Board]:
    return list(gather(records, PageOptions()).boards)


def by_set(board: Board) -> int:
    return ("valid", "test").index(board.conditions.dataset.rpartition("_")[2])


def test_without_a_baseline_the_page_says_why_there_are_no_scores():
    record = make_record()
    board = make_board(conditions_of(record), [record])
    # Those of later editions come behind.
    (note,) = board.ranked.notes
    assert note.startswith(
        "No scores: no edition's baseline is in this table; also run one of: "
        "IMDN (2022), RLFN (2024), EFDN (2025), SPAN (2026)"
    )
    assert "rank" not in board.rows[0].cells


def test_the_baseline_is_no_failed_row():
    failed = make_record((), label="00_RLFN", status="failed", reason="a fault")
    assert baseline_of([failed, make_record()], "00_RLFN") == 1
    assert baseline_of([failed]) is None


@pytest.mark.parametrize("count", [1, 140])
def test_any_number_of_models(count: int, tmp_path: Path):
    read = Reader(page_of(many(count), tmp_path))
    assert len(read.data["boards"][0]["rows"]) == count
    assert len(list((tmp_path / "models").iterdir())) == count


def test_a_model_page_tells_provenance(tmp_path: Path):
    page_of([make_record()], tmp_path)
    texts = Reader(tmp_path / "models" / "000-03-PFDNLite.html").texts
    assert texts[texts.index("Licence") + 1] == "MIT"
    assert texts[texts.index("Weights SHA-256") + 1] == "0" * 64
    assert texts[texts.index("Operators without a rule") + 1] == "aten::silu x6"
    assert texts[texts.index("CPU") + 1] == "A processor, 2 threads"


def test_a_former_report_is_replaced(tmp_path: Path):
    page_of(many(3), tmp_path)
    (tmp_path / "models" / "mine.html").touch()
    page_of(many(1), tmp_path)
    assert sorted(path.name for path in (tmp_path / "models").iterdir()) == ["000-00-Net0.html", "mine.html"]


def test_the_command_writes_the_page_beside_tables_and_figures(command, tmp_path: Path):
    write_record(make_record(), tmp_path / "r" / "records")
    wanted = ("--title", "Ours", "--latex", "--figures", "--edition", "2024")
    command("-m", "eval", "report", "r", "--out", "board", *wanted)
    board = tmp_path / "board"
    assert {path.name for path in board.iterdir()} == {
        "leaderboard.md", "leaderboard.csv", "leaderboard.tex", "challenge.tex", "index.html",
        "figures", "models", "page",
    }  # fmt: skip
    assert (board / "challenge.tex").read_text().count("PFDNLite") == 1
    assert sorted(path.suffix for path in (board / "figures").iterdir()) == [".pdf", ".png"]
    page = (board / "index.html").read_text()
    assert "<h1>Ours</h1>" in page
    assert "No scores by the rules of 2024" in page
    told = command("-m", "eval", "report", "r", "--out", "board").stdout.replace("\n", "")
    assert f"not written anew: {Path('board/challenge.tex')}, {Path('board/figures/0-tradeoff-Set2.pdf')}," in told


def test_one_label_of_two_origins_is_two_rows():
    ours, theirs = make_record(label="00_RLFN"), renamed(make_record(label="00_RLFN"), origin="NTIRE2024_ESR")
    ((_, rows),) = current([ours, theirs])
    assert [row.model.label for row in rows] == ["00_RLFN", "00_RLFN (NTIRE2024_ESR)"]
    assert [edition_of(row) for row in rows] == ["NTIRE 2022", "NTIRE2024_ESR"]
    assert rows[1].sr_folder == "00_RLFN/Set2"
    ((_, alone),) = current([theirs])
    assert [row.model.label for row in alone] == ["00_RLFN"]


def test_a_state_says_why_a_model_did_not_run():
    failed = make_record((), status="failed", reason="x", state=State.OUT_OF_MEMORY)
    assert [state_of(its) for its in (make_record(), failed)] == ["ran", "out of memory"]
    assert state_of(failed.model_copy(update={"state": State.RAN})) == "failed"


def test_a_models_page_breaks_its_flops_down_by_operator():
    record = make_record((26.9,), complexity={"flops": 4 * 10**9, "flops_by_operator": {"conv": 3 * 10**9}})
    facts = dict(_complexity_facts(record))
    assert facts["FLOPs of conv"] == "3.00 G, 75.0%"


def test_words_alone_come_escaped_for_copies(tmp_path: Path):
    """Figures are copied as figures, with their brackets."""
    escaped = Reader(page_of(STEADY, tmp_path)).data["escaped"]
    assert "00_RLFN" in escaped
    assert not any("[0." in text or "[1." in text for text in escaped)
