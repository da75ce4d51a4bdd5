"""Writing the page: HTML from templates that escape everything, and its scripts and styles beside it."""

import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from eval.ranking.editions import Edition
from eval.records.conditions import names_of
from eval.records.current import PROTOCOLS, current, failures
from eval.records.record import Record
from eval.report.board import HIDDEN_AT_FIRST, Board, make_boards
from eval.report.escapes import plain
from eval.report.explanations import COLUMN_HELP
from eval.report.page.facts import facts_of
from eval.report.page.gallery import Comparison, find_comparison, models_of, set_of
from eval.report.page.island import board_data, escaped_texts, island
from eval.report.page.models import model_views
from eval.report.renderers import to_html
from eval.report.tables import failures_table, write_files
from eval.words import written_out

ASSETS = Path(__file__).with_name("assets")
ASSET_FOLDER = "page"
MODEL_FOLDER = "models"
PICTURE_FOLDER = "pictures"
STYLES = ("page.css", "print.css")
SCRIPTS = ("report.js", "tips.js", "leaderboard.js", "copying.js", "names.js", "plots.js", "compare.js", "links.js")
PLOTLY = "plotly.min.js"
# A report's files of pictures and models are named by number.
_OURS = re.compile(r"\d{3}(-[A-Za-z0-9-]+)?\.(html|js|webp|avif)")


def _unwatched(_name: str, _total: int) -> AbstractContextManager[Callable[[object], None]]:
    return nullcontext(lambda _done: None)


@dataclass(frozen=True)
class PageOptions:
    """What a page is made of beside the records.

    Attributes:
        edition: whose scores are shown; None for the newest one that fits each table.
        roots: folders that hold SR images as ``<model>/<set>/<image>.png``; none for a page without pictures.
        megabytes: what all pictures together may take.
        watch: called with each set's name and number of images before its pictures are written; gives a context whose
            value is called after each.
    """

    edition: Edition | None = None
    title: str = "Efficient super-resolution"
    roots: tuple[Path, ...] = ()
    megabytes: float = 54.0
    watch: Callable[[str, int], AbstractContextManager[Callable[[object], None]]] = _unwatched


@dataclass(frozen=True)
class Content:
    """What a page shows: tables, sets whose pictures can be compared, and the newest records that are not complete."""

    boards: tuple[Board, ...]
    comparisons: tuple[Comparison, ...]
    failed: tuple[Record, ...] = ()


def gather(records: Sequence[Record], options: PageOptions) -> Content:
    """Return the tables of records, and what can be compared of their pictures."""
    boards = make_boards(current(records), options.edition)
    rows: dict[str, list[tuple[str, Record]]] = {}
    for board in boards:
        rows.setdefault(set_of(board.conditions), []).extend((row.label, row.record) for row in board.rows)
    found = (find_comparison(dataset, models_of(its, options.roots)) for dataset, its in rows.items())
    return Content(boards, tuple(its for its in found if its), tuple(failures(records)))


def write_page(content: Content, folder: Path, options: PageOptions) -> Path:
    """Write pictures, what pages load, a page a model, and at last ``index.html``, which is returned.

    What a former report left in the folders of pictures and models is removed first.
    """
    # What is not installed is found out before anything is removed.
    assets = _assets()
    for former in (*folder.glob(f"{PICTURE_FOLDER}/[0-9]*/*"), *folder.glob(f"{MODEL_FOLDER}/*")):
        if _OURS.fullmatch(former.name) and former.is_file():
            former.unlink()
    boards = content.boards
    addresses = page_addresses(boards)
    environment = _environment()
    choice, names = names_of([board.conditions for board in boards])
    views = [_board_view(board, index, addresses) | {"name": names[index]} for index, board in enumerate(boards)]
    data = {
        "plotly": f"{ASSET_FOLDER}/{PLOTLY}",
        "board": _opened(boards),
        "boards": [view["data"] for view in views],
        "escaped": escaped_texts(boards),
        "comparisons": _write_comparisons(content.comparisons, folder, options),
    }
    shared = {"title": options.title, "written_at": datetime.now(UTC), "styles": STYLES, "scripts": SCRIPTS}
    of_a_model, index = environment.get_template("model.html"), environment.get_template("index.html")
    pages = {its["address"]: of_a_model.render(**shared, model=its) for its in model_views(boards, addresses)}
    counts = {"num_models": len(addresses), "opened": data["board"], "choice": choice}
    failed = Markup(to_html(failures_table(content.failed), "small") if content.failed else "")
    pages["index.html"] = index.render(**shared, **counts, views=views, failed=failed, island=island(data))
    write_files(folder / ASSET_FOLDER, assets)
    (folder / MODEL_FOLDER).mkdir(parents=True, exist_ok=True)
    write_files(folder, pages)
    return folder / "index.html"


def _opened(boards: Sequence[Board]) -> int:
    """Return which table is shown first: of those with figures of a network, one whose models were timed together.

    Else it is one with times, else the first.
    """

    def place_of(board: Board) -> tuple[bool, int]:
        measured = any(record.complete and record.model.is_network for record in board.records)
        return not measured, PROTOCOLS.index(board.conditions.protocol)

    return min(range(len(boards)), key=lambda place: place_of(boards[place]))


def _environment() -> Environment:
    """Return the templates' environment: everything is escaped and written out, nothing may be undefined."""
    environment = Environment(
        loader=PackageLoader("eval.report.page"),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(help=COLUMN_HELP, hidden_at_first=HIDDEN_AT_FIRST)
    return environment


def _shown(value: object) -> object:
    """Return what a template shows of a value; markup is made of such values already."""
    return written_out(value) if type(value) is str else value


def _assets() -> dict[str, str]:
    from plotly.offline import get_plotlyjs

    own = {name: (ASSETS / name).read_text(encoding="utf-8") for name in (*STYLES, *SCRIPTS)}
    return own | {PLOTLY: get_plotlyjs()}


def _board_view(board: Board, index: int, addresses: dict[str, str]) -> dict:
    pages = [addresses[row.label] for row in board.rows]
    return {"index": index, "board": board, "facts": facts_of(board), "pages": pages, "data": board_data(board)}


def _write_comparisons(comparisons: Sequence[Comparison], folder: Path, options: PageOptions) -> dict[str, dict]:
    """Write the pictures of each set and return what the page must know of them, by set."""
    if not comparisons:
        return {}
    from eval.report.page.pictures import pictures_of, sizes_of, write_pictures

    # The smallest first, for what it leaves of its share goes to the others.
    pixels = [sum(sizes_of(its)) * pictures_of(its) for its in comparisons]
    by_size = sorted(range(len(comparisons)), key=pixels.__getitem__)
    written, left = {}, options.megabytes * 1e6
    for number, place in enumerate(by_size):
        comparison, address = comparisons[place], f"{PICTURE_FOLDER}/{place}"
        with options.watch(comparison.dataset, len(comparison.interests)) as done:
            its = write_pictures(comparison, folder / address, left / (len(by_size) - number), done)
        left -= sum(path.stat().st_size for path in (folder / address).iterdir() if _OURS.fullmatch(path.name))
        written[comparison.dataset] = {"folder": address, **its}
    return {its.dataset: written[its.dataset] for its in comparisons if written[its.dataset]["images"]}


def page_addresses(boards: Sequence[Board]) -> dict[str, str]:
    """Return each model's page by label: a number and what of the label is plain, so that no name leaves the folder."""
    labels = dict.fromkeys(row.label for board in boards for row in board.rows)
    addresses = {}
    for number, label in enumerate(labels):
        told = plain(label, 40)
        addresses[label] = f"{MODEL_FOLDER}/{number:03}{f'-{told}' if told else ''}.html"
    return addresses
