"""The table by hand: figures as text, marks, and each form with what it must escape."""

import io
import math

import pytest
from rich.console import Console

from eval.report.renderers import to_csv, to_html, to_latex, to_markdown, to_terminal
from eval.report.table import Cell, Column, Figure, Table, best_and_second, number

NAME = Column("name", "Model", left=True)
COLUMNS = (
    NAME,
    Column("psnr_db", "PSNR", "dB", 2, higher_is_better=True),
    Column("flops", "FLOPs", "G", 1, 1e9, False),
)
TABLE = Table.of(COLUMNS, [("a_b", 27.004, 2e9), ("=1|<b>&", math.inf, None), ("c", 20, 3.06e9)])


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [(1.005, 1, "1.0"), (None, 2, "-"), (999_999.4, 0, "999999"), (1e6, 2, "1.000e+06"), (math.inf, 2, "inf")],
)
def test_figures_as_text(value: float | None, decimals: int, text: str):
    assert number(value, decimals) == text
    assert (number(1.23456), Column("n", "N").text(3.4)) == ("1.23", "3")


def test_best_and_second_by_hand():
    assert best_and_second([3, 1, 2, 1, None], higher_is_better=False) == ["", "best", "second", "best", ""]
    assert best_and_second([3, 1, 2], higher_is_better=True) == ["best", "", "second"]
    assert best_and_second([3, 1, 2], higher_is_better=None) == ["", "", ""]
    assert best_and_second([3], higher_is_better=False) == ["best"]
    assert best_and_second([3, 1, 1], higher_is_better=True, least=3) == ["", "", ""]
    assert best_and_second([3, 1, 2], higher_is_better=True, least=3) == ["best", "", "second"]


def test_rows_that_are_not_judged_have_no_mark():
    marked = Table.of(COLUMNS, [("a", 3.0, 1), ("b", 2.0, 2), ("c", 1.0, 3)]).marked(judged=[False, True, True])
    assert [cell.mark for cell in Table.of(COLUMNS, [("a", 3.0, 1)]).marked().rows[0]] == ["", "best", "best"]
    assert [[cell.mark for cell in row] for row in marked.rows] == [
        ["", "", ""],
        ["", "best", "best"],
        ["", "second", "second"],
    ]


def test_figures_of_unlike_measures_have_no_mark():
    memory = Figure("mem", "Mem", higher_is_better=False, of=lambda its: its[0], measure=lambda its: its[1])
    rows = [(1, "GPU"), (2, "GPU"), (3, "host"), (None, "host")]
    # A row without a figure, or one that does not take part, is no other measure.
    for judged, marks in (([True] * 4, [""] * 4), ([True, True, False, True], ["best", "second", "", ""])):
        assert [row[0].mark for row in Table.about([memory], rows).marked(judged=judged).rows] == marks


def test_markdown():
    assert to_markdown(TABLE.marked()).splitlines() == [
        "| Model       |   PSNR [dB] |   FLOPs [G] |",
        "|:------------|------------:|------------:|",
        r"| a\_b        |     *27.00* |     **2.0** |",
        r"| =1\|\<b\>\& |     **inf** |           - |",
        "| c           |       20.00 |       *3.1* |",
    ]
    assert to_markdown(Table.headed(["why"], [["two\nlines "]])).splitlines()[2] == "| two lines |"


def test_csv_is_unrounded_and_inert():
    assert to_csv(TABLE).splitlines() == [
        "name,psnr_db,flops",
        "a_b,27.004,2000000000.0",
        "'=1|<b>&,inf,",
        "c,20,3060000000.0",
    ]
    assert to_csv(Table.headed(["gate"], [["-"], ["-1+1"]])).splitlines() == ["gate", "-", "'-1+1"]


def test_latex():
    rows = (Cell("a~", "a~", rank=2),), (Cell("é", "é", "best", 1),), (Cell("中", "中"),)
    assert [" ".join(line.split()) for line in to_latex(Table((NAME,), rows), rule_after=1).split("\n")] == [
        r"\begin{tabular}{l}",
        r"\toprule",
        r"Model \\",
        r"\midrule",
        r"a\textasciitilde{}$_{(2)}$ \\",
        r"\midrule",
        r"\textbf{\'{e}}$_{(1)}$ \\",
        # Plain pdflatex knows no such letter, and a bracket there would be an argument.
        r"{}[U+4E2D] \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]
    first, second, _ = to_latex(TABLE.marked()).split("\n")[4:7]
    assert first.split() == [r"a\_b", "&", r"\underline{27.00}", "&", r"\textbf{2.0}", r"\\"]
    assert second.split() == [r"=1\textbar{}\textless{}b\textgreater{}\&", "&", r"\textbf{$\infty$}", "&", "-", r"\\"]


def test_html():
    assert to_html(TABLE.marked(), 'x"').splitlines() == [
        '<table class="x&quot;">',
        '<thead><tr><th scope="col">Model</th><th scope="col" class="number">PSNR <small>dB</small></th>'
        '<th scope="col" class="number">FLOPs <small>G</small></th></tr></thead>',
        "<tbody>",
        '<tr><th scope="row">a_b</th><td class="number"><u>27.00</u></td><td class="number"><b>2.0</b></td></tr>',
        '<tr><th scope="row">=1|&lt;b&gt;&amp;</th><td class="number"><b>inf</b></td><td class="number">-</td></tr>',
        '<tr><th scope="row">c</th><td class="number">20.00</td><td class="number"><u>3.1</u></td></tr>',
        "</tbody>",
        "</table>",
    ]
    assert to_html(Table((), ())).startswith("<table>\n")


def test_the_terminal_breaks_headings_and_reads_no_markup():
    titles = ("Rank [95%]", "Score_Final", "Gate strict", "Share of first", "[red]x")
    console = Console(file=io.StringIO(), width=80)
    console.print(to_terminal(Table.headed(titles, [["[bold]1"] * 5])))
    lines = [line.split() for line in console.file.getvalue().splitlines() if line.strip()]
    assert lines[:2] == [["Rank", "Score_", "Gate", "Share"], ["[95%]", "Final", "strict", "of", "first", "[red]x"]]
    assert lines[3] == ["[bold]1"] * 5
    # Names stand left and may be broken; figures do neither.
    named = to_terminal(Table.headed(["Model", "Time"], [["a", "1"]], names=1))
    assert [(its.justify, its.no_wrap) for its in named.columns] == [("left", False), ("right", True)]
    assert (named.padding, named.pad_edge) == ((0, 1, 0, 1), False)


def test_a_long_name_is_broken_before_a_figure_is_cut():
    console = Console(file=io.StringIO(), width=40)
    console.print(to_terminal(Table.headed(["Model", "Time"], [["x" * 60, "1.194 [1.048, 1.330]"]], names=1)))
    printed = console.file.getvalue()
    assert printed.count("x") == 60
    assert "1.194 [1.048, 1.330]" in printed


def test_a_table_about_items_and_chosen_columns():
    length = Figure("length", "Length", "m", 1, of=len)
    table = Table.about((length, Figure("text", "Text", of=str)), ["abc", "d"])
    assert [[cell.text for cell in row] for row in table.rows] == [["3.0", "abc"], ["1.0", "d"]]
    assert to_csv(Table.unrounded([length], ["abc"])) == "length\n3\n"
    assert to_csv(Table.unrounded([length], [])) == "length\n"
    assert [cell.value for row in table.chosen(["text"]).rows for cell in row] == ["abc", "d"]
    assert length.heading == "Length [m]"


def test_a_table_in_which_no_figure_was_taken_keeps_its_rows():
    """Where every model of a run failed before anything was counted, each still has its row and reason."""
    assert Table.about((), ("a", "b")).marked().rows == ((), ())
