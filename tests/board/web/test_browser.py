"""The page in a real browser: it sorts, filters, links, opens and plots, and asks for nothing.

    pytest -m browser tests/board/web

The tests need Debian's chromium, or another one whose path is in `$CHROMIUM`, and the extra `browser`.
"""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from condense.board.web.page import page_text
from condense.board.web.vega import vega_script
from condense.protocols import GRAPH_V2
from condense.records.record import Record
from tests.board.web.pages import picture, some_records, values_of
from tests.conftest import make_record

Make = Callable[..., Record]
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
pytestmark = pytest.mark.browser


class Opened(NamedTuple):
    """A page that is open in the browser.

    Attributes:
        page: The page, as playwright drives it.
        go: Opens it anew with a fragment.
        asked: The addresses of all requests.
        errors: What went wrong in its scripts.
    """

    page: Any
    go: Callable[[str], None]
    asked: list[str]
    errors: list[str]

    def methods(self) -> list[str]:
        """The methods of the rows that are shown, in order."""
        return list(self.page.locator("tr.row .open").all_inner_texts())

    def fragment(self) -> str:
        return str(self.page.evaluate("location.hash"))

    def choose(self, name: str, value: str) -> None:
        self.page.select_option(f"#{name}", value)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Chromium with a profile of its own."""
    sync = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("there is no chromium")
    with sync.sync_playwright() as driver:
        profile = tmp_path_factory.mktemp("profile")
        opened = driver.chromium.launch_persistent_context(
            profile, executable_path=CHROMIUM, headless=True, args=list(FLAGS)
        )
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of some records; the first set has a picture."""
    pytest.importorskip("vl_convert")
    folder = tmp_path_factory.mktemp("site")
    records = some_records(make_record, graph_record)
    assert records[0].set is not None
    (folder / "one.png").write_bytes(picture())
    values = values_of(records, **{records[0].set.hash: "one.png"})
    (folder / "index.html").write_text(page_text(values, vega_script()), encoding="utf-8")
    return folder / "index.html"


def graph_record(method: str, aucs: tuple[float, ...], ipc: int) -> Record:
    """A record of graphs in all that the page shows."""
    record = make_record(
        method, accuracies=aucs, ipc=ipc, dataset="mutag", protocol=GRAPH_V2, student="gcn-sum"
    )
    entries = tuple(replace(entry, auc=entry.accuracy) for entry in record.entries)
    return replace(record, entries=entries, dataset=replace(record.dataset, kind="graphs"))


@pytest.fixture
def opened(browser: Any, site: Path) -> Iterator[Opened]:
    """The page, as it is opened without a fragment."""
    page = browser.new_page()
    page.set_default_timeout(10_000)
    asked: list[str] = []
    errors: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)

    def go(fragment: str = "") -> None:
        page.goto("about:blank")
        page.goto(site.as_uri() + fragment)

    go()
    yield Opened(page, go, asked, errors)
    assert errors == []
    page.close()


def test_the_first_view_is_cifar10_at_ipc_10(opened: Opened) -> None:
    assert opened.methods() == ["dm", "random_subset", "dsa", "whole training set"]
    assert opened.page.inner_text("#count") == "4 of 8 rows"
    chosen = {name: opened.page.input_value(f"#{name}") for name in ("dataset", "size", "protocol")}
    assert chosen == {"dataset": "cifar10", "size": "10", "protocol": "hard-v1"}


def test_a_column_sorts_both_ways_and_back(opened: Opened) -> None:
    head = opened.page.get_by_role("button", name="Score, %")
    head.click()
    assert opened.methods() == ["whole training set", "dm", "random_subset", "dsa"]
    assert opened.page.locator("th[aria-sort=descending]").inner_text().startswith("Score")
    head.click()
    assert opened.methods() == ["random_subset", "dm", "whole training set", "dsa"]
    head.click()
    assert opened.methods() == ["dm", "random_subset", "dsa", "whole training set"]
    assert opened.page.locator("th[aria-sort]").count() == 0


@pytest.mark.parametrize("column", range(10))
def test_every_column_sorts(opened: Opened, column: int) -> None:
    opened.go("#all")
    opened.page.locator("th button").nth(column).click()
    cells = opened.page.locator(f"tr.row td:nth-child({column + 1})").all_inner_texts()
    opened.page.locator("th button").nth(column).click()
    again = opened.page.locator(f"tr.row td:nth-child({column + 1})").all_inner_texts()
    assert len(cells) == 8 and opened.page.locator("th[aria-sort]").count() == 1
    known = {cell for cell in cells if cell}
    assert sorted(again) == sorted(cells) and (again != cells or len(known) == 1)


def test_filters_and_search_leave_what_fits(opened: Opened) -> None:
    opened.choose("kind", "selection")
    assert opened.methods() == ["random_subset"]
    opened.page.get_by_role("button", name="Show all").click()
    assert opened.page.inner_text("#count") == "8 of 8 rows"
    opened.choose("dataset", "mutag")
    assert set(opened.methods()) == {"mirage", "random_subset"}
    opened.page.fill("#q", "MIRAGE 1")
    assert opened.methods() == ["mirage"]
    opened.page.fill("#q", "nonsense")
    assert opened.page.inner_text("#count") == "0 of 8 rows: no row fits all filters"


def test_a_view_is_linked_by_its_fragment(opened: Opened) -> None:
    opened.choose("protocol", "soft-v2")
    opened.page.get_by_role("button", name="Bytes").click()
    opened.page.get_by_role("button", name="dm", exact=True).click()
    fragment, shown = opened.fragment(), opened.methods()
    assert "protocol=soft-v2" in fragment and "sort=bytes" in fragment and "open=" in fragment
    opened.go(fragment)
    assert opened.methods() == shown and opened.page.locator("tr.panel").count() == 1
    opened.page.evaluate("location.hash = '#dataset=mutag'")
    opened.page.wait_for_function("document.querySelectorAll('tr.row').length === 2")
    opened.go("#dataset=%3Cscript%3E&sort=none&open=nothing")
    assert opened.page.inner_text("#count").startswith("0 of 8 rows")


def test_a_row_opens_by_keyboard_and_tells_all(opened: Opened) -> None:
    button = opened.page.get_by_role("button", name="dm", exact=True)
    button.focus()
    opened.page.keyboard.press("Enter")
    assert button.get_attribute("aria-expanded") == "true"
    assert opened.page.evaluate("document.activeElement.textContent") == "dm"
    told = opened.page.locator("tr.panel").inner_text()
    for text in (
        "lr_img",
        "48.10",
        "condense reproduce results/cifar10/dm-ipc10",
        "condense run --method dm",
    ):
        assert text in told
    for text in ("48.9 ± 0.6†", "1000 epochs, ZCA", "A table", "not verified", "torch 2.6.0", "6,400"):
        assert text in told
    opened.page.wait_for_function("document.querySelector('tr.panel img').naturalWidth > 0")
    opened.page.keyboard.press("Enter")
    assert opened.page.locator("tr.panel").count() == 0


def test_the_plots_are_drawn_with_a_point_for_each_row(opened: Opened) -> None:
    opened.page.wait_for_selector("#by-bytes svg .mark-symbol path")
    assert "cifar10, hard-v1, convnet:" in opened.page.inner_text("#plotted")
    for name in ("by-size", "by-bytes"):
        points = opened.page.locator(f"#{name} svg .mark-symbol.role-mark path")
        assert (
            points.count() == 4
            and opened.page.locator(f"#{name} svg").get_by_text("whole training set").count()
        )
    opened.choose("dataset", "")
    opened.page.get_by_role("button", name="Show all").click()
    opened.choose("dataset", "mutag")
    opened.page.wait_for_function(
        "document.querySelector('#by-size-title').textContent.startsWith('ROC-AUC')"
    )


def test_nothing_is_asked_for_but_the_page_and_its_picture(opened: Opened, site: Path) -> None:
    opened.page.wait_for_selector("#by-bytes svg")
    opened.page.get_by_role("button", name="dm", exact=True).click()
    opened.page.wait_for_function("document.querySelector('tr.panel img').naturalWidth > 0")
    opened.page.wait_for_timeout(300)
    allowed = (site.as_uri(), (site.parent / "one.png").as_uri(), "about:blank", "data:")
    assert [address for address in opened.asked if not address.startswith(allowed)] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_narrow_page_does_not_overflow(opened: Opened, scheme: str) -> None:
    opened.page.set_viewport_size({"width": 360, "height": 740})
    opened.page.emulate_media(color_scheme=scheme)
    for fragment in ("", "#all"):
        opened.go(fragment)
        opened.page.locator(".open").first.click()
        opened.page.locator("#plots > summary").click()
        opened.page.wait_for_selector("#by-size svg")
        for summary in opened.page.locator("footer summary").all():
            summary.click()
        assert opened.page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_stand_out_from_their_background(opened: Opened, scheme: str) -> None:
    opened.page.emulate_media(color_scheme=scheme)
    colours = opened.page.evaluate(
        "['--back', '--raised', '--text', '--soft', '--accent', '--mark', '--mark-back'].map((name) =>"
        " getComputedStyle(document.documentElement).getPropertyValue(name).trim())"
    )
    back, raised, text, soft, accent, mark, mark_back = (_luminance(colour) for colour in colours)
    for front, behind in [(text, back), (soft, back), (soft, raised), (accent, back), (accent, raised)]:
        assert _contrast(front, behind) >= 4.5
    assert _contrast(mark, mark_back) >= 4.5


def _luminance(colour: str) -> float:
    """The relative luminance of a colour such as #1b1f24, as WCAG defines it."""
    assert re.fullmatch("#[0-9a-f]{6}", colour)
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: float, other: float) -> float:
    """The contrast of two luminances, as WCAG defines it."""
    return (max(one, other) + 0.05) / (min(one, other) + 0.05)
