"""The report's page in a real browser: Debian's chromium, driven by selenium. `make test` installs both."""

import csv
import json
import math
import re
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from eval.data.images import write_png
from eval.metrics.figures import Flag
from eval.records.record import Mean, Record
from eval.report.escapes import inert, latex, markdown_text
from eval.report.page.writing import PageOptions
from eval.timing.samples import Ratio
from eval.words import visible
from tests.records.test_record import changed, make_record
from tests.report.test_headline import years_of
from tests.report.test_page import HOSTILE, many, page_of, renamed
from tests.report.test_page_pictures import measured
from tests.report.test_tables import steady

webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
By = pytest.importorskip("selenium.webdriver.common.by").By
Keys = pytest.importorskip("selenium.webdriver.common.keys").Keys
Service = pytest.importorskip("selenium.webdriver.chrome.service").Service
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and its driver")
AXE = Path(sys.prefix) / "axe" / "node_modules" / "axe-core" / "axe.min.js"
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars")


class Browser:
    """A browser with what the tests ask of a page."""

    def __init__(self) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for flag in FLAGS:
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(DRIVER))

    def open(self, page: Path, width: int = 1280, dark: bool = False) -> None:
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
        for kind in ("browser", "performance"):
            self.driver.get_log(kind)
        self.driver.get(page.as_uri())
        self.js("localStorage.removeItem('theme')")
        self.until("return !!window.Plotly && !!document.querySelector('#tradeoff-plot .main-svg')")

    def js(self, script: str, *arguments):
        return self.driver.execute_script(script, *arguments)

    def until(self, script: str, seconds: float = 120) -> None:
        end = time.monotonic() + seconds
        while not self.js(script):
            assert time.monotonic() < end, f"still false: {script}"
            time.sleep(0.05)

    def one(self, selector: str):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def click(self, selector: str) -> None:
        self.js("document.querySelector(arguments[0]).scrollIntoView({block: 'center', behavior: 'instant'})", selector)
        self.one(selector).click()

    def labels(self) -> list[str]:
        """Labels of the rows that are shown, from the top."""
        return self.js(
            "return [...document.querySelectorAll('.board:not([hidden]) tbody tr:not([hidden]) th')]"
            ".map(each => each.dataset.text)"
        )

    def requests(self) -> list[str]:
        """Addresses that the page asked for, its own files aside."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        sent = [its["params"]["request"]["url"] for its in messages if its["method"] == "Network.requestWillBeSent"]
        return [url for url in sent if not url.startswith(("file:", "data:", "blob:"))]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    opened = Browser()
    yield opened
    opened.driver.quit()


def _records() -> list[Record]:
    ratios = {"00_RLFN": (20.0, 24.0), "03_PFDNLite": (10.0, 24.5), "05_SPAN": (8.0, 23.5)}
    timed = []
    for label, (ms, psnr) in ratios.items():
        ratio = Ratio(baseline="00_RLFN", estimate=ms / 20, low=ms / 21, high=ms / 19)
        record = steady(label, ms, ratio, flags=(Flag(code="bound", text="Few FLOPs."),) if ms == 8 else ())
        means = {**record.means, "psnr_db": record.means["psnr_db"].model_copy(update={"mean": psnr})}
        timed.append(record.model_copy(update={"means": means}))
    failed = make_record((), label="09_Broken", status="failed", reason="out of memory", settings=timed[0].settings)
    hostile = renamed(make_record(dataset="Set1"), label=f"07_{HOSTILE}", team="=1+1")
    return [*timed, failed, hostile]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return page_of(_records(), tmp_path_factory.mktemp("page"))


HOSTILE_BOARD = 'input[name="board"][value="0"]'
STEADY_BOARD = 'input[name="board"][value="1"]'


def show(browser: Browser, radio: str) -> None:
    browser.js("document.querySelector(arguments[0]).click()", radio)


@pytest.fixture
def steady_page(browser: Browser, page: Path) -> Path:
    """The page, opened anew, with the board of the steady protocol."""
    browser.open(page)
    show(browser, STEADY_BOARD)
    return page


def test_no_errors_and_no_requests(browser: Browser, steady_page: Path):
    assert [entry for entry in browser.driver.get_log("browser") if entry["level"] == "SEVERE"] == []
    assert browser.requests() == []


def test_sorting_both_ways_with_missing_figures_last(browser: Browser, steady_page: Path):
    button = '.board:not([hidden]) th[data-key="psnr_db"] button'
    browser.click(button)
    assert browser.labels() == ["03_PFDNLite", "00_RLFN", "05_SPAN", "09_Broken"]
    browser.one(button).send_keys(Keys.ENTER)
    assert browser.labels() == ["05_SPAN", "00_RLFN", "03_PFDNLite", "09_Broken"]
    sort = browser.js("return document.querySelector(arguments[0]).parentElement.ariaSort", button)
    assert sort == "ascending"


def test_filters_by_name_and_state(browser: Browser, steady_page: Path):
    browser.one(".board:not([hidden]) .filter-name").send_keys("pfdn")
    assert browser.labels() == ["03_PFDNLite"]
    assert browser.one(".board:not([hidden]) .status").text == "1 of 4 models"
    browser.one(".board:not([hidden]) .filter-name").clear()
    browser.one(".board:not([hidden]) .filter-name").send_keys(" ")
    browser.click('.board:not([hidden]) [data-filter="state"] option[value="failed"]')
    assert browser.labels() == ["09_Broken"]
    assert "out of memory" in browser.one('.board:not([hidden]) [data-row="3"]').text


def test_columns_can_be_hidden(browser: Browser, steady_page: Path):
    heading = '.board:not([hidden]) th[data-key="activations"]'
    assert browser.one(heading).is_displayed()
    browser.one(".board:not([hidden]) .menu summary").send_keys(Keys.ENTER)
    browser.click('.board:not([hidden]) .columns input[value="activations"]')
    assert not browser.one(heading).is_displayed()
    browser.one("body").send_keys(Keys.ESCAPE)
    assert not browser.one(".board:not([hidden]) .columns").is_displayed()


SHOWN = ".board:not([hidden]) "
# Of the pages here, in the order in which they are offered.
EDITIONS = years_of("SPAN", "RLFN")


def test_the_rules_of_another_edition_change_headline_ranks_and_ties(browser: Browser, page: Path):
    browser.open(page)
    ranks = (
        f"return Object.fromEntries([...document.querySelectorAll('{SHOWN} tbody tr')].map(row => "
        "[row.cells[0].dataset.text, row.querySelector('[data-key=rank]').dataset.text]))"
    )
    assert f"by the rules of NTIRE {EDITIONS[0]}" in browser.one(f"{SHOWN} h2[data-headline]").text
    assert browser.js(ranks)["05_SPAN"] == "base"
    assert browser.labels()[0] == "05_SPAN"
    browser.click(f"{SHOWN} .edition option[value='{EDITIONS.index(2024)}']")
    assert "by the rules of NTIRE 2024" in browser.one(f"{SHOWN} h2[data-headline]").text
    assert browser.js(ranks)["00_RLFN"] == "base"
    assert browser.js(ranks)["05_SPAN"] == "1"
    hovered = "return document.getElementById('tradeoff-plot').data[1].hovertext.find(its => its.includes('SPAN'))"
    assert browser.js(hovered).endswith("Rank: 1")
    assert "baseline, not ranked" in browser.one(f"{SHOWN} [data-row='0']").text
    assert "baseline, not ranked" not in browser.one(f"{SHOWN} [data-row='2']").text


def test_it_opens_on_times_with_the_first_three_the_baseline_and_the_projects_own_entry(browser: Browser, page: Path):
    browser.open(page)
    assert browser.js("return Report.current.timed")
    assert sorted(browser.js("return Report.leaderboard.chosen.map(([index]) => index)")) == [0, 1, 2]
    assert browser.js("return document.querySelector('#axis input:checked').value") == "runtime_ms"


def test_an_address_holds_what_is_shown(browser: Browser, page: Path):
    browser.open(page)
    assert browser.js("return location.hash") == ""
    show(browser, STEADY_BOARD)
    browser.click(f"{SHOWN} .edition option[value='{EDITIONS.index(2024)}']")
    browser.click(f"{SHOWN} th[data-key='num_params'] button")
    browser.click(f"{SHOWN} [data-row='1'] .pick input")
    browser.click("#axis input[value='flops'] + span")
    browser.until("return location.hash.includes('axis=flops')")
    address = browser.js("return location.href")
    browser.driver.get("about:blank")
    browser.driver.get(address)
    assert "by the rules of NTIRE 2024" in browser.one(f"{SHOWN} h2[data-headline]").text
    sort = f"return document.querySelector(\"{SHOWN} th[data-key='num_params']\").ariaSort"
    assert browser.js(sort) == "ascending"
    assert sorted(browser.js("return Report.leaderboard.chosen.map(([index]) => index)")) == [0, 2]
    assert browser.js("return document.querySelector('#axis input:checked').value") == "flops"


def test_an_address_holds_that_nothing_is_chosen(browser: Browser, steady_page: Path):
    for row in range(3):
        browser.click(f"{SHOWN} [data-row='{row}'] .pick input")
    browser.until("return location.hash.includes('model=&')")
    address = browser.js("return location.href")
    browser.driver.get("about:blank")
    browser.driver.get(address)
    assert browser.js("return Report.leaderboard.chosen") == []


def test_an_address_of_a_page_that_has_changed_harms_nothing(browser: Browser, page: Path):
    browser.open(page)
    browser.driver.get(f"{page.as_uri()}#table=Gone&sort=gone&model=Gone&axis=gone&image=gone&rules=2031")
    browser.js("location.reload()")
    browser.until("return !!window.Plotly && !!document.querySelector('#tradeoff-plot .main-svg')")
    assert browser.labels()
    assert [entry for entry in browser.driver.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_an_address_shows_its_table_whatever_the_controls_had_been_left_at(browser: Browser, page: Path):
    """Browsers put controls back as a reader left them, before or after scripts run."""
    browser.open(page)
    show(browser, STEADY_BOARD)
    browser.click(f"{SHOWN} th[data-key='num_params'] button")
    browser.until("return location.hash.includes('sort=num_params')")
    address = browser.js("return location.hash")
    browser.js("history.replaceState(null, '', location.pathname); location.reload()")
    browser.until("return !!window.Plotly && !!document.querySelector('#tradeoff-plot .main-svg')")
    browser.js(f"document.querySelector('{STEADY_BOARD}').checked = true; location.hash = arguments[0]", address)
    browser.until("return Report.board === 1")
    assert browser.js("return document.querySelector('.board:not([hidden])').dataset.board") == "1"
    assert browser.js("return document.querySelector('#boards input:checked').value") == "1"
    controls = (
        "return [...document.querySelectorAll('main input, main select')].filter(its => its.autocomplete !== 'off')"
    )
    assert [its.get_attribute("id") for its in browser.js(controls)] == []


def test_an_address_holds_what_is_compared_with(browser: Browser, steady_page: Path):
    browser.one("#baseline").send_keys(Keys.HOME)
    browser.until("return location.hash.includes('against=00_RLFN')")
    address = browser.js("return location.href")
    browser.driver.get("about:blank")
    browser.driver.get(address)
    assert browser.js("return document.getElementById('baseline').selectedOptions[0].textContent") == "00_RLFN"


def test_an_address_chooses_no_model_that_has_failed_since(browser: Browser, steady_page: Path):
    title = browser.js("return encodeURIComponent(Report.current.title)")
    browser.js("location.hash = arguments[0]", f"table={title}&model=09_Broken&model=05_SPAN&sort=label")
    browser.until("return Report.leaderboard.chosen.length === 1", 20)
    assert browser.js("return Report.leaderboard.chosen[0][0]") == 2
    ticked = "return [...document.querySelectorAll('.pick input:disabled')].filter(its => its.checked).length"
    assert browser.js(ticked) == 0


def test_an_address_tells_pictures_from_models_of_their_names(browser: Browser, tmp_path: Path):
    photo = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    write_png(tmp_path / "photos" / "image0.png", photo)
    records = []
    for label, name, noise in (("00_RLFN", "hr", 9), ("03_PFDNLite", "bicubic", 20)):
        its = measured(tmp_path / "r", tmp_path / "photos", label, noise, ("image0",))
        records.append(changed(its, model={"label": name}, images_folder=its.sr_folder))
    open_gallery(browser, page_of(records, tmp_path / "out", PageOptions(roots=(tmp_path / "r",))))
    sides = "return ['left', 'right'].map(side => document.getElementById(side).value)"
    for view, *kinds in (("error", "bicubic", "hr"), ("picture", "0", "1")):
        for control, value in zip(("left", "right", "view"), (*kinds, view), strict=True):
            browser.click(f'#{control} option[value="{value}"]')
        # Only what a reader does is remembered, and the driver chooses by script.
        browser.click("#theme")
        browser.until(f"return location.hash.includes('view={view}')", 20)
        address = browser.js("return location.href")
        browser.driver.get("about:blank")
        browser.driver.get(address)
        assert browser.js(sides) == kinds


def test_an_address_of_a_former_report_shows_its_pictures(browser: Browser, gallery: Path):
    open_gallery(browser, gallery)
    browser.click("#theme")
    browser.until("return location.hash.includes('view=')", 20)
    address = re.sub("&(left|right)(-without-model)?=[^&]*", "", browser.js("return location.href"))
    browser.driver.get("about:blank")
    browser.driver.get(f"{address}&left=bicubic&right=hr")
    sides = "return ['left', 'right'].map(side => document.getElementById(side).value)"
    assert browser.js(sides) == ["bicubic", "hr"]


def test_a_link_to_a_table_that_is_gone_changes_nothing(browser: Browser, page: Path):
    browser.open(page)
    before = browser.js("return Report.leaderboard.chosen")
    browser.js("location.hash = '#table=Gone&model=Gone&sort=label'")
    browser.js("return new Promise(done => setTimeout(done, 100))")
    assert browser.js("return Report.leaderboard.chosen") == before != []


def test_choosing_a_marker_leaves_the_page_where_it_is(browser: Browser, steady_page: Path):
    browser.js("document.getElementById('tradeoff-plot').scrollIntoView({block: 'start', behavior: 'instant'})")
    before = browser.js("return scrollY")
    browser.js("document.getElementById('tradeoff-plot').emit('plotly_click', {points: [{customdata: 1}]})")
    browser.js("return new Promise(done => setTimeout(done, 500))")
    assert browser.js("return scrollY") == before > 0


def test_another_edition_keeps_the_filters_and_offers_each_value_once(browser: Browser, steady_page: Path):
    browser.click('.board:not([hidden]) [data-filter="state"] option[value="failed"]')
    options = "return document.querySelector('.board:not([hidden]) [data-filter=state]').options.length"
    before = browser.js(options)
    browser.js("Report.leaderboard.useEdition(0)")
    assert browser.labels() == ["09_Broken"]
    assert browser.js(options) == before


def test_paper_has_light_colours(browser: Browser, page: Path):
    browser.open(page, dark=True)
    theme = "return document.documentElement.dataset.theme"
    browser.js("dispatchEvent(new Event('beforeprint'))")
    assert browser.js(theme) == "light"
    ink = "return document.getElementById('tradeoff-plot').layout.font.color"
    assert browser.js(ink) == "#1b1f24"
    browser.js("dispatchEvent(new Event('afterprint'))")
    assert browser.js(theme) == "dark"


def test_of_the_controls_paper_shows_what_is_chosen_as_text(browser: Browser, steady_page: Path):
    browser.click(f'{SHOWN} [data-filter="state"] option[value="failed"]')
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    controls = (
        "return [...document.querySelectorAll('select, .tools input, .tools summary')]"
        ".filter(its => its.checkVisibility())"
        ".map(its => [its.selectedOptions?.[0].textContent ?? its.value, getComputedStyle(its).borderStyle])"
    )
    shown = browser.js(controls)
    said = browser.one(f"{SHOWN} .status").text
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    chosen = (f"NTIRE {EDITIONS[0]}, baseline SPAN", "failed", "05_SPAN")
    assert shown == [[text, "none"] for text in chosen]
    assert said == "1 of 4 models"


def test_plots_are_as_wide_as_paper_while_it_is_printed(browser: Browser, page: Path):
    """Upright A4 is 794 pixels of CSS wide, margins among them."""
    browser.open(page)
    widths = "return [...document.querySelectorAll('.plot')].map(its => its._fullLayout.width)"
    before = browser.js(widths)
    browser.js("dispatchEvent(new Event('beforeprint'))")
    assert browser.js(widths) == [pytest.approx(17 / 2.54 * 96, abs=0.1)] * 3
    browser.js("dispatchEvent(new Event('afterprint'))")
    assert browser.js(widths) == before == [1136, 552, 552]


def test_plots_and_pictures_say_of_which_table_they_are(browser: Browser, page: Path):
    browser.open(page)
    shown = (
        "return [...document.querySelectorAll('#tradeoff h2, #distributions h2, #compare h2')].map(h => h.innerText)"
    )
    for board, which in ((HOSTILE_BOARD, "Set1 · official"), (STEADY_BOARD, "Set2 · steady")):
        show(browser, board)
        title = f"{which} · A processor, 2 threads"
        assert browser.js(shown) == [f"{it} {title}" for it in ("Trade-off", "Image by image", "Visual comparison")]


def test_models_whose_names_begin_alike_have_a_line_each(browser: Browser, tmp_path: Path):
    long = "03_PFDNLite (checkpoint_epoch"
    alike = [renamed(make_record((db, db + 1)), label=f"{long}{epoch})") for epoch, db in ((10, 30.0), (20, 29.998))]
    browser.open(page_of([make_record((31.0, 32.0), label="00_RLFN"), *alike], tmp_path))
    lines = browser.js("const its = document.getElementById('difference-plot'); return its.layout.yaxis.ticktext")
    assert sorted(line[-8:] for line in lines) == ["epoch10)", "epoch20)"]
    assert sorted(browser.js("return document.getElementById('difference-plot').data.map(its => its.y0)")) == [0, 1]
    ticks = browser.js(
        "return [...document.querySelectorAll('#difference-plot .xtick text')].map(its => its.textContent)"
    )
    assert len(set(ticks)) == len(ticks) > 1


def test_errors_belong_to_the_folder_that_their_script_lies_in(browser: Browser, page: Path):
    for folder in ("98", "99"):
        (page.parent / "pictures" / folder).mkdir(parents=True, exist_ok=True)
        (page.parent / "pictures" / folder / "000.js").write_text(f'Report.errors("000", {{"0": "{folder}"}});\n')
    browser.open(page)
    browser.js("return Promise.all(['98', '99'].map(its => Report.script(`pictures/${its}/000.js`)))")
    assert browser.js("return Object.fromEntries(Report.errorCodes)") == {
        "pictures/98/000": {"0": "98"},
        "pictures/99/000": {"0": "99"},
    }


def test_choosing_a_marker_chooses_its_row_and_back(browser: Browser, steady_page: Path):
    chosen = "return Report.leaderboard.chosen.map(([index]) => index).sort()"
    assert browser.js(chosen) == [0, 1, 2]
    browser.js("document.getElementById('tradeoff-plot').emit('plotly_click', {points: [{customdata: 1}]})")
    assert browser.js(chosen) == [0, 2]
    assert "chosen" not in browser.one('.board:not([hidden]) [data-row="1"]').get_attribute("class")
    box = browser.one('.board:not([hidden]) [data-row="1"] .pick input')
    box.send_keys(Keys.SPACE)
    assert browser.js(chosen) == [0, 1, 2]
    # The baseline against itself says nothing.
    assert browser.js("return document.getElementById('difference-plot').data.length") == 2


def test_the_front_joins_what_nothing_beats(browser: Browser, page: Path):
    browser.open(page)
    front = "return Report.paretoFront(Report.boards[1].rows.filter(row => row.complete), 'runtime_ms')"
    assert browser.js(f"{front}.map(row => row.label)") == ["05_SPAN", "03_PFDNLite"]


def test_a_model_far_below_does_not_flatten_the_others(browser: Browser, page: Path):
    browser.open(page)
    psnrs = [26.0 + i / 10 for i in range(9)]
    view = browser.js("return Report.viewOf(arguments[0])", [*psnrs, 12.0])
    assert view == {"below": 1, "range": [pytest.approx(25.904), pytest.approx(26.896)]}
    assert browser.js("return Report.viewOf(arguments[0])", psnrs) == {"below": 0}
    # A gate is no model, and is in view where models are.
    assert browser.js("return Report.viewOf(arguments[0], [12])", psnrs) == {"below": 0}
    assert browser.js("return Report.viewOf(arguments[0], [27])", [*psnrs, 12.0])["range"][1] == pytest.approx(27.12)


def test_what_is_chosen_or_ranked_first_is_not_left_out(browser: Browser, tmp_path: Path):
    """The fastest models lie far below the others, which are 16 and the baseline."""
    slow = [steady(f"{10 + n}_Net{n}", 20.0 + n, None) for n in range(16)]
    fast = [steady(f"{30 + n}_Fast{n}", 5.0 + n, None) for n in range(3)]
    psnrs_db = [28.0 + n / 100 for n in range(16)] + [20.0, 19.0, 18.0]
    records = [
        changed(renamed(its, id=place), means=its.means | {"psnr_db": Mean(mean=db, count=2)})
        for place, (its, db) in enumerate(zip([*slow, *fast], psnrs_db, strict=True))
    ]
    browser.open(page_of([steady("00_RLFN", 30.0, None), *records], tmp_path), width=390)
    browser.js("Report.leaderboard.chooseOnly(['12_Net2']); Report.changed('chosen')")
    plot = "const plot = document.getElementById('tradeoff-plot');"
    least, note = f"{plot} return plot.layout.yaxis.range?.[0]", f"{plot} return plot.layout.annotations[0]?.text"
    ranks = "return Report.leaderboard.rules.rows.map(row => row.cells.rank[1])"
    best = browser.js(ranks).index(1)
    assert browser.js("return Report.current.rows[arguments[0]].label", best) == "30_Fast0"
    assert 18 < browser.js(least) < 20
    assert browser.js(note) == "2 models are hidden at a lower PSNR;<br>double-click to show all"
    browser.js("Report.leaderboard.chooseOnly(['31_Fast1']); Report.changed('chosen')")
    assert 17 < browser.js(least) < 19
    assert browser.js(note) == "1 model is hidden at a lower PSNR;<br>double-click to show all"
    box = browser.js("return document.querySelector('#tradeoff-plot .annotation-text-g').getBoundingClientRect()")
    assert 0 < box["left"] < box["right"] < 390


def test_names_are_inside_and_nearest_to_their_own_marker_and_cover_none(browser: Browser, page: Path):
    browser.open(page)
    place = "return Report.placeNames({pixels: arguments[0], sizes: [10, 10, 10], lengths: [8, 8, 8]}, arguments[1])"
    assert browser.js(place, [[0, 0], [300, 0], [600, 0]], [0, 1, 2]) == ["top center"] * 3
    # A name is 54.4 wide. Above the first marker it would begin left of the axis.
    assert browser.js(place, [[0, 0], [200, 0], [300, 0]], [0, 1, 2]) == ["middle right", "top center", "top center"]
    assert browser.js(place, [[0, 0], [200, 0], [300, 0]], [0, 1]) == ["middle right", "top center", None]
    # Above or below, it would be 2.25 from its own marker and 2.9 from the other, 30 beside it.
    assert browser.js(place, [[0, 0], [30, 0], [600, 0]], [0, 1]) == [None, "middle right", None]
    # Above the last marker it would end outside; the one in the middle is too near on the left.
    assert browser.js(place, [[0, 0], [20, 0], [100, 0]], [2]) == [None, None, "middle left"]
    assert browser.js(place, [[0, 0], [60, 0], [100, 0]], [2]) == [None, None, None]
    assert browser.js(place, [[0, 0], [45, 0], [600, 0]], [0, 1]) == ["top center", "middle right", None]
    assert browser.js(place, [[0, 0], [0, 1], [0, 2]], [0, 1, 2]) == [None] * 3


def test_no_plot_offers_to_send_what_it_shows(browser: Browser, steady_page: Path):
    buttons = browser.js(
        "return [...document.querySelectorAll('.plot')].map(plot =>"
        " [...plot.querySelectorAll('.modebar-btn')].map(each => each.dataset.title))"
    )
    assert [len(titles) for titles in buttons] == [6, 6, 6]
    assert not any(word in title.lower() for titles in buttons for title in titles for word in ("share", "cloud"))
    assert (
        browser.js("return [...document.querySelectorAll('.plot')].map(its => its._context.plotlyServerURL)")
        == [""] * 3
    )


def test_the_axis_can_be_chosen(browser: Browser, steady_page: Path):
    title = "return document.getElementById('tradeoff-plot').layout.xaxis.title.text"
    assert browser.js(title) == "Time [ms]"
    browser.js("document.querySelector('#axis input[value=\"num_params\"]').click()")
    assert browser.js(title) == "Params [M]"


@pytest.mark.parametrize("dark", [False, True])
def test_dark_mode_follows_the_system_and_the_button(browser: Browser, page: Path, dark: bool):
    browser.open(page, dark=dark)
    ground = "return getComputedStyle(document.body).backgroundColor"
    first = browser.js(ground)
    assert (first == "rgb(255, 255, 255)") != dark
    browser.click("#theme")
    assert browser.js(ground) != first
    assert browser.one("#theme").text == ("Dark colours" if dark else "Light colours")


def test_a_flag_explains_itself_on_focus_and_escape_closes_it(browser: Browser, steady_page: Path):
    flag = browser.one(".board:not([hidden]) .flag")
    browser.js("arguments[0].focus()", flag)
    assert browser.one("#tip").text.startswith("Few FLOPs. Far fewer FLOPs than parameters times pixels")
    assert flag.get_attribute("aria-describedby") == "tip"
    flag.send_keys(Keys.ESCAPE)
    assert not browser.one("#tip").is_displayed()


ESCAPED = (
    *("[opt]name", "*star", "1-2", "-5", "-", "inf", "=1+1", "@x", "__proto__", "constructor", "toString"),
    *(
        "a~~x~~ $x$ A&amp;B &lt;",
        '< > | " # % ^ \\ {}_',
        "na\u00efve \u4e2d\u6587 \u0142 \u2013",
        "a,b",
        "tab\there\nline",
    ),
)


def test_copies_are_escaped_as_the_files_of_a_report_are(browser: Browser, tmp_path: Path):
    records = [renamed(make_record(), id=place, label=its, team=its) for place, its in enumerate(ESCAPED)]
    browser.open(page_of(records, tmp_path))
    names = sorted(map(visible, ESCAPED))
    copied = {form: browser.js("return Report.tableAs(Report.leaderboard, arguments[0])", form) for form in FORMS}
    _, *rows = csv.reader(copied["CSV"].splitlines())
    assert sorted(row[0] for row in rows) == sorted(map(inert, names))
    assert [row[-2] for row in rows] == [row[0] for row in rows]
    for form, escape, first, separator, rows in (
        ("Markdown", markdown_text, "| ", " | ", slice(2, None)),
        ("LaTeX", latex, "  ", " & ", slice(4, -2)),
    ):
        lines = copied[form].splitlines()[rows]
        assert sorted(line.removeprefix(first).split(separator)[0] for line in lines) == sorted(map(escape, names))
    browser.one(".board:not([hidden]) .filter-name").send_keys("nothing")
    assert browser.js("return Report.tableAs(Report.leaderboard, 'CSV')").count("\n") == 1


FORMS = ("Markdown", "CSV", "LaTeX")


def test_a_figure_that_was_not_taken_is_an_empty_cell_of_csv(browser: Browser, steady_page: Path):
    lines = browser.js("return Report.tableAs(Report.leaderboards[1], 'CSV')").splitlines()
    assert lines[-1].startswith("09_Broken,,,,")


def test_a_range_of_ranks_is_no_date_in_a_spreadsheet(browser: Browser, steady_page: Path):
    browser.js("const its = Report.leaderboards[1]; its.cell(its.rows[0], 'rank').dataset.text = '1-2'")
    _, first, *_ = browser.js("return Report.tableAs(Report.leaderboards[1], 'CSV')").splitlines()
    assert first.split(",")[1] == "1 to 2"


def test_identical_images_stand_above_every_number_and_in_no_plot(browser: Browser, tmp_path: Path):
    psnrs = {"00_RLFN": 30.0, "03_PFDNLite": math.inf, "05_SPAN": 25.0, "06_IMDN": None}
    browser.open(page_of([make_record((db,), label=label) for label, db in psnrs.items()], tmp_path))
    button = '.board:not([hidden]) th[data-key="psnr_db"] button'
    orders = []
    for _ in range(2):
        browser.click(button)
        orders.append(browser.labels())
    assert sorted(orders) == [
        ["03_PFDNLite", "00_RLFN", "05_SPAN", "06_IMDN"],
        ["05_SPAN", "00_RLFN", "03_PFDNLite", "06_IMDN"],
    ]
    assert browser.js("return document.querySelector('#tradeoff-plot').data[1].y") == [30, 25]
    copied = {form: browser.js("return Report.tableAs(Report.leaderboards[0], arguments[0])", form) for form in FORMS}
    assert "$\\infty$" in copied["LaTeX"]
    assert ",inf," in copied["CSV"]
    assert "| inf |" in copied["Markdown"]
    assert [entry for entry in browser.driver.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_a_picture_of_an_identical_image_says_so(browser: Browser, tmp_path: Path):
    pixels = np.random.default_rng(0).integers(0, 256, (160, 192, 3), dtype=np.uint8)
    write_png(tmp_path / "photos" / "image0.png", pixels)
    models = (("-1_Bicubic", 0), ("00_RLFN", 9))
    records = [measured(tmp_path / "r", tmp_path / "photos", *its, ("image0",)) for its in models]
    open_gallery(browser, page_of(records, tmp_path / "out", PageOptions(roots=(tmp_path / "r",))))
    browser.click('#left option[value="0"]')
    assert browser.one("#left-name").get_attribute("textContent") == "-1_Bicubic ∞ dB"
    assert "-1_Bicubic ∞ dB" in browser.one("#crop-status").get_attribute("textContent")


def test_without_ground_truth_the_plot_says_that_it_has_nothing(browser: Browser, tmp_path: Path):
    """Of LR images alone there is no PSNR, in no row."""
    bare = [
        changed(
            record,
            images=tuple(its.model_copy(update={"psnr_db": None}) for its in record.images),
            means={key: its for key, its in record.means.items() if key != "psnr_db"},
        )
        for record in many(9)
    ]
    browser.driver.get(page_of(bare, tmp_path).as_uri())
    browser.until("return document.querySelector('#tradeoff-plot').textContent.includes('both figures')")


def test_what_leaves_the_page_names_weights_of_our_own(browser: Browser, tmp_path: Path):
    own = make_record(model={"checkpoint": "selftrained"})
    page = page_of([own, make_record(label="00_RLFN")], tmp_path)
    browser.open(page)
    for form in ("Markdown", "CSV", "LaTeX"):
        assert "(selftrained)" in browser.js(f"return Report.tableAs(Report.leaderboard, '{form}')")


def test_a_row_below_another_editions_gate_says_so(browser: Browser, tmp_path: Path):
    """IMDN's edition asks for 29.00 dB on the validation images, which newer ones do not."""
    valid = {"name": "DIV2K_valid", "layout": "challenge", "num_images": 100}
    records = [
        changed(make_record((db, db), label=label), dataset=valid)
        for label, db in (("00_RLFN", 29.1), ("06_IMDN", 29.1), ("05_SPAN", 28.0))
    ]
    browser.open(page_of(records, tmp_path))
    rows = (
        f"return [...document.querySelectorAll('{SHOWN} tbody tr')].filter(row => row.className.includes('out')).length"
    )
    years = browser.js(
        f"return [...document.querySelectorAll('{SHOWN} .edition option')].map(each => each.textContent)"
    )
    of_2022 = next(place for place, text in enumerate(years) if "2022" in text)
    states = (
        f"const select = document.querySelector('{SHOWN} [data-filter=state]');"
        "return select.hidden ? null : [...select.options].map(each => each.value)"
    )
    counts = []
    for place in (0, of_2022, 0):
        browser.click(f"{SHOWN} .edition option[value='{place}']")
        counts.append((browser.js(rows), browser.one(f"{SHOWN} .warnings").is_displayed(), browser.js(states)))
    assert counts == [(0, False, None), (1, True, ["", "below the gate", "ran"]), (0, False, None)]


def test_a_set_can_be_called_as_what_every_object_has(browser: Browser, tmp_path: Path):
    browser.open(page_of([make_record(dataset="__proto__"), make_record(dataset="constructor")], tmp_path))
    show(browser, STEADY_BOARD)
    assert browser.one("#compare-missing").is_displayed()
    assert [entry for entry in browser.driver.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_hostile_names_are_text_in_plots(browser: Browser, page: Path):
    browser.open(page)
    show(browser, HOSTILE_BOARD)
    assert browser.js("return document.images.length") == 0
    label = f"07_{HOSTILE}"
    browser.until(f"return document.getElementById('tradeoff-plot').textContent.includes({json.dumps(label[:11])})")


@pytest.mark.parametrize("width", [400, 900, 1440])
@pytest.mark.parametrize("dark", [False, True])
def test_no_width_scrolls_sideways_and_axe_finds_nothing(browser: Browser, page: Path, width: int, dark: bool):
    browser.open(page, width, dark)
    assert browser.js("return document.documentElement.scrollWidth") == width
    show(browser, STEADY_BOARD)
    assert browser.js("return document.documentElement.scrollWidth") == width
    assert axe_findings(browser) == []


def test_axe_finds_nothing_on_a_model_page(browser: Browser, page: Path):
    browser.driver.get(next(page.parent.glob("models/*PFDNLite.html")).as_uri())
    assert axe_findings(browser) == []


def axe_findings(browser: Browser) -> list[str]:
    if not AXE.is_file():
        pytest.skip("needs axe-core")
    browser.js(AXE.read_text(encoding="utf-8"))
    script = "const done = arguments[0]; axe.run().then(its => done(its.violations))"
    found = browser.driver.execute_async_script(script)
    return [f"{its['id']}: {[node['html'][:120] for node in its['nodes']][:3]}" for its in found]


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with pictures of two models and two images."""
    folder = tmp_path_factory.mktemp("gallery")
    for number, (height, width) in enumerate(((160, 192), (128, 128))):
        pixels = np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)
        write_png(folder / "photos" / f"image{number}.png", pixels)
    records = [measured(folder / "r", folder / "photos", *its) for its in (("00_RLFN", 9), ("03_PFDNLite", 20))]
    return page_of(records, folder / "out", PageOptions(roots=(folder / "r",)))


def open_gallery(browser: Browser, page: Path, width: int = 1280) -> None:
    browser.open(page, width)
    browser.until("return document.querySelectorAll('#crops .crop').length === 5")


def test_the_slider_moves_by_keys_and_by_pointer(browser: Browser, gallery: Path):
    open_gallery(browser, gallery)
    split = "return document.getElementById('stage').style.getPropertyValue('--split')"
    browser.one("#slider").send_keys(Keys.HOME)
    assert browser.js(split) == "0%"
    browser.one("#slider").send_keys(Keys.END)
    assert browser.js(split) == "100%"
    browser.one("#slider").send_keys(Keys.ARROW_LEFT)
    assert browser.js(split) == "99.5%"
    shown = browser.js("return [...document.querySelectorAll('#stage img')].map(each => each.naturalWidth)")
    assert shown == [184, 184]


def test_crops_move_together_and_tell_their_psnr(browser: Browser, gallery: Path):
    open_gallery(browser, gallery)
    browser.click('#left option[value="0"]')
    browser.click('#right option[value="1"]')
    place = "return [...document.querySelectorAll('#crops .crop > *')].map(each => each.style.left)"
    before = browser.js(place)
    assert len(set(before)) == 1
    browser.one("#stage").send_keys(Keys.ARROW_LEFT if before[0] != "0%" else Keys.ARROW_RIGHT)
    after = browser.js(place)
    assert len(set(after)) == 1
    assert after != before
    # The whole picture's PSNR from its cells is the record's.
    for kind in ("0", "1"):
        chosen = "document.getElementById('image').value"
        psnrs = f"const image = Report.comparisons.photos.images.find(its => its.key === {chosen});"
        cells = browser.js(f"{psnrs} return Report.cropPsnr('{kind}', [0, 0, image.area[2], image.area[3]])")
        assert cells == pytest.approx(browser.js(f"{psnrs} return image.psnrs_db['{kind}']"), abs=0.03)
    # From one byte a cell, a crop's PSNR is not known to a hundredth.
    told = browser.one("#crop-status").get_attribute("textContent")
    assert re.fullmatch(r"00_RLFN about \d\d\.\d dB, 03_PFDNLite about \d\d\.\d dB", told)
    captions = browser.js("return [...document.querySelectorAll('#crops small')].map(each => each.textContent)")
    assert [bool(re.fullmatch(r"about \d\d\.\d dB", each)) for each in captions[:3]] == [True, True, False]


BORDER = "Images are shown without the 4 pixels at their border."


@pytest.mark.parametrize(
    ("models", "large", "crop", "said"),
    [
        (2, 0, None, BORDER),
        (2, 2, 64, "Each image is cropped to the region where the models differ most."),
        (2, 1, 64, "A large image is cropped to the region where the models differ most."),
        (1, 2, 64, "Each image is cropped to the region where errors are largest."),
    ],
)
def test_the_note_says_what_of_the_images_is_shown(
    browser: Browser, gallery: Path, models: int, large: int, crop: int | None, said: str
):
    """The borders of images of 192x160 and 128x128 are more than a twentieth of their area."""
    open_gallery(browser, gallery)
    browser.js(
        "const its = Report.comparisons.photos;"
        "its.labels.length = arguments[0];"
        "its.images.slice(0, arguments[1]).forEach(image => { image.area[2] = image.area[3] = arguments[2]; });"
        "Report.changed('board')",
        *(models, large, crop),
    )
    assert browser.one("#compare-note").text.startswith(said)


def test_a_model_without_a_picture_cannot_be_chosen(browser: Browser, tmp_path: Path):
    for number in range(2):
        pixels = np.random.default_rng(number).integers(0, 256, (128, 128, 3), dtype=np.uint8)
        write_png(tmp_path / "photos" / f"image{number}.png", pixels)
    records = [measured(tmp_path / "r", tmp_path / "photos", *its) for its in (("00_RLFN", 9), ("03_PFDNLite", 20))]
    (tmp_path / "r" / "03_PFDNLite" / "photos" / "image1.png").unlink()
    open_gallery(browser, page_of(records, tmp_path / "out", PageOptions(roots=(tmp_path / "r",))))
    browser.click('#order option[value="name"]')
    browser.click('#right option[value="1"]')
    browser.click("#next")
    browser.until("return document.querySelector('#right option[value=\"1\"]').disabled")
    assert browser.js("return document.getElementById('right').value") == "0"
    assert not browser.js("return document.querySelectorAll('img[src$=undefined]').length")
    browser.click("#previous")
    assert not browser.js("return document.querySelector('#right option[value=\"1\"]').disabled")


def test_pictures_need_no_new_browser(browser: Browser, gallery: Path):
    """Helpers of iterators came to browsers in 2024 and 2025."""
    script = browser.driver.execute_cdp_cmd(
        "Page.addScriptToEvaluateOnNewDocument", {"source": "delete Iterator.prototype.map"}
    )
    open_gallery(browser, gallery)
    assert browser.js("return document.getElementById('left').options.length") == 4
    browser.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)


def test_the_note_says_how_many_images_are_not_lossless(browser: Browser, gallery: Path):
    open_gallery(browser, gallery)
    note = "Report.showBoard(0); return document.getElementById('compare-note').textContent"
    assert "Pictures are lossless." in browser.js(note)
    some = browser.js(f"Report.comparison.images[0].lossless = false; {note}")
    assert "Pictures of 1 of 2 images are visually lossless (AVIF), all others lossless; PSNR and" in some
    every = browser.js(f"Report.comparison.images[1].lossless = false; {note}")
    assert "Pictures are visually lossless (AVIF); PSNR and" in every


def test_images_can_be_ordered_and_stepped_through(browser: Browser, gallery: Path):
    open_gallery(browser, gallery)
    browser.click('#order option[value="name"]')
    chosen = "return document.getElementById('image').selectedOptions[0].textContent.split(' ')[0]"
    assert browser.js(chosen) == "image0"
    browser.click("#next")
    assert browser.js(chosen) == "image1"
    browser.until("return document.querySelector('#stage img').naturalWidth === 120")


def test_error_maps_are_drawn(browser: Browser, gallery: Path):
    open_gallery(browser, gallery)
    browser.click('#view option[value="error"]')
    colours = browser.js(
        "const canvas = document.querySelector('#stage .over canvas');"
        "return new Set(canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data).size"
    )
    assert colours > 10


def test_the_keyboard_reaches_everything(browser: Browser, gallery: Path):
    open_gallery(browser, gallery)
    wanted = {"#theme", ".filter-name", "summary", ".scroll", ".sort", ".pick input", "#axis input", "#baseline"}
    wanted |= {"#order", "#previous", "#image", "#next", "#left", "#right", "#view", "#zoom", "#stage", "#slider"}
    reached: set[str] = set()
    browser.js("document.activeElement.blur()")
    for _ in range(80):
        browser.one("body").send_keys(Keys.TAB) if not reached else browser.driver.switch_to.active_element.send_keys(
            Keys.TAB
        )
        script = "return arguments[0].filter(each => document.activeElement.matches(each))"
        reached |= set(browser.js(script, sorted(wanted)))
    assert reached == wanted


@pytest.mark.parametrize("width", [400, 1440])
def test_the_comparison_is_accessible_and_offline(browser: Browser, gallery: Path, width: int):
    open_gallery(browser, gallery, width)
    assert browser.js("return document.documentElement.scrollWidth") == width
    assert browser.requests() == []
    assert [entry for entry in browser.driver.get_log("browser") if entry["level"] == "SEVERE"] == []
    assert axe_findings(browser) == []


def test_a_hundred_models_of_two_hundred_images_open(browser: Browser, tmp_path: Path):
    images = make_record(tuple(20.0 + i / 100 for i in range(200)))
    records = [
        record.model_copy(update={"images": images.images, "dataset": images.dataset, "means": images.means})
        for record in many(100)
    ]
    page = page_of(records, tmp_path)
    browser.driver.get(page.as_uri())
    browser.until("return document.querySelectorAll('.leaderboard tr.chosen').length === 3")
    browser.until("return !!document.querySelector('#tradeoff-plot .main-svg')")
