"""Records of others: what they hold sends no commands to a terminal, and writes none into files."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from eval.cli.judging import report, score
from eval.cli.program import run_program
from eval.cli.terminal import Terminal
from eval.errors import RunError
from eval.records.record import Record
from eval.records.store import write_record
from eval.report.columns import LABEL, SET
from eval.report.escapes import latex, markdown_text
from eval.report.headline import Headline
from eval.report.renderers import to_csv, to_html, to_latex, to_markdown, to_terminal
from eval.report.table import Column, Table
from eval.words import printable, visible
from tests.records.test_record import changed, make_record

RED = "\x1b[31m"
SHOWN = r"\x1b[31m"
TABLE = Table.of([Column(f"key{RED}", f"Title{RED}", left=True)], [[f"cell{RED}"]])


def hostile(label: str, **changes: object) -> Record:
    """Make a record that holds an escape sequence in every text that a table or a sentence takes from it."""
    record = make_record((26.9, 27.0), label=label, **changes)
    model = {"label": f"{label}{RED}", "team": f"a team{RED}"}
    places = {"dataset": {"name": f"Set2{RED}\n"}, "environment": {"cpu": f"cpu{RED}\n"}}
    return changed(record, model=model, reason=record.reason and f"why{RED}", peak_memory_method=f"by{RED}", **places)


def printed(show: Callable[[Terminal], None]) -> str:
    terminal, file = Terminal(), io.StringIO()
    terminal._out = terminal._err = Console(file=file, width=120, force_terminal=True, color_system=None)
    show(terminal)
    return file.getvalue()


@pytest.mark.parametrize(
    "show",
    [
        lambda terminal: terminal.say(f"said {RED}\nbelow"),
        lambda terminal: terminal.warn(f"said {RED}\nbelow"),
        lambda terminal: terminal.headline(Headline(f"said {RED}\nbelow"), f"Set2{RED}: "),
        lambda terminal: terminal.show(to_terminal(TABLE)),
        lambda terminal: terminal.finished(hostile("00_RLFN")),
        lambda terminal: terminal.table([hostile("00_RLFN")]),
        lambda terminal: terminal.not_run([hostile("00_RLFN", status="failed", reason="x")]),
    ],
)
def test_a_terminal_shows_escape_sequences_as_text_and_keeps_lines(show: Callable):
    text = printed(show)
    assert RED not in text
    assert SHOWN in text
    assert "below" not in text or "\nbelow" in text


def test_a_bar_of_progress_shows_them_as_text():
    def advance(terminal: Terminal) -> None:
        with terminal.progress(f"Set2{RED}", 1) as on_image:
            on_image(None)

    assert RED not in (text := printed(advance))
    assert SHOWN in text


def test_an_error_shows_them_as_text(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch):
    def fails() -> None:
        raise RunError(f"Set2{RED}: not found")

    monkeypatch.setattr("sys.argv", ["fails"])
    with pytest.raises(SystemExit):
        run_program(fails)
    said = capsys.readouterr().err
    assert RED not in said
    assert SHOWN in said


@pytest.mark.parametrize("render", [to_csv, to_html, to_markdown, to_latex])
def test_tables_in_files_hold_them_as_text(render: Callable[[Table], str]):
    text = render(TABLE)
    assert "\x1b" not in text
    assert text.count("x1b") == 2


def test_markdown_and_latex_hold_them_as_text():
    assert markdown_text(f"a{RED}\n# b") == r"a\\x1b\[31m\\n\# b"
    assert markdown_text("a~~x~~ $x$ A&amp;B") == r"a\~\~x\~\~ \$x\$ A\&amp;B"
    assert latex(f"a{RED}\nb") == "a\\textbackslash{}x1b[31m\nb"


def test_what_shows_nothing_is_written_out():
    assert visible("\u3164") == r"\u3164"
    assert visible("a\ufe0f\u200b") == r"a\ufe0f\u200b"
    assert printable("a\u3164\u200bb", "_") == "a__b"


def test_no_file_and_no_line_of_a_report_or_a_ranking_holds_one(tmp_path: Path, capsys: pytest.CaptureFixture):
    failed = hostile("05_SPAN", status="failed", reason="x")
    for record in (hostile("00_RLFN"), hostile("03_PFDNLite"), failed):
        write_record(record, tmp_path / "records")
    report([tmp_path], save_dir=tmp_path / "out", latex=True)
    score([tmp_path], "2024", baseline="published", save_dir=tmp_path / "out")
    said = capsys.readouterr().out
    texts = {path.name: path.read_text("utf-8") for path in (tmp_path / "out").rglob("*.*")}
    assert len(texts) >= 8
    assert [name for name, text in {**texts, "said": said}.items() if "\x1b" in text] == []
    comments = [line for line in texts["leaderboard.tex"].splitlines() if line.startswith("%")]
    assert all("images, official, cpu" in line for line in comments)


def test_a_cell_of_a_name_says_what_it_holds():
    (row,) = Table.about([LABEL, SET], [hostile("00_RLFN")]).rows
    assert printed(lambda terminal: terminal.show(to_terminal(Table((LABEL, SET), (row,))))).count(SHOWN) == 2
