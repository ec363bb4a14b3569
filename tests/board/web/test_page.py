"""The page: it holds its rows as they are, whatever they say, and asks for nothing."""

import re
from base64 import b64encode
from collections.abc import Callable
from hashlib import sha256

import pytest

from condense.board.web.page import json_in_html, page_text
from condense.errors import Refused
from condense.records.record import Paper, Record
from tests.board.web.pages import Page, some_records, values_of

Make = Callable[..., Record]
NO_PLOTS = "window.vegaEmbed = null;"
HOSTILE = "</script><script>alert(1)</script>\"'&<!-- <b>ü</b> \u2028 🙂"


def test_the_page_holds_its_rows_as_they_are(made: Make, graphs: Make) -> None:
    values = values_of(some_records(made, graphs))
    page = Page(page_text(values, NO_PLOTS))
    assert page.values == values and len(values["rows"]) == 8


def test_the_same_records_give_the_same_bytes(made: Make, graphs: Make) -> None:
    records = some_records(made, graphs)
    assert page_text(values_of(records), NO_PLOTS) == page_text(values_of(records[::-1]), NO_PLOTS)


def test_hostile_names_stay_names(made: Make) -> None:
    paper = Paper(value=1.0, error=None, source=HOSTILE, verified=True, protocol=HOSTILE)
    values = values_of([made(HOSTILE, dataset=HOSTILE, student=HOSTILE, paper=paper)])
    text = page_text(values, NO_PLOTS)
    page = Page(text)
    assert page.values == values and page.values["rows"][0]["method"] == HOSTILE
    assert len(page.scripts) == 4 and "alert(1)</script" not in text


def test_json_in_html_holds_no_character_of_html() -> None:
    assert json_in_html({"a": "<&>"}) == '{"a":"\\u003c\\u0026\\u003e"}'


def test_nothing_in_the_page_is_fetched_from_elsewhere(made: Make, graphs: Make) -> None:
    page = Page(page_text(values_of(some_records(made, graphs)), NO_PLOTS))
    named = {"src", "href", "srcset", "action", "data", "poster", "background", "ping"}
    places = [value for _, held in page.elements for name, value in held.items() if name in named]
    assert places and all(value and value.startswith(("#", "data:,")) for value in places)
    own = [text for _, text in page.scripts[1:] if text != NO_PLOTS]
    assert len(own) == 2
    for text in own:
        assert not re.search(r"\b(fetch|XMLHttpRequest|import|WebSocket|EventSource|sendBeacon)\b", text)
        assert re.findall(r"https?://[^\"']+", text) in (
            [],
            ["https://vega.github.io/schema/vega-lite/v6.json"],
        )


def test_only_the_pages_own_scripts_may_run_and_none_may_ask(made: Make) -> None:
    page = Page(page_text(values_of([made()]), NO_PLOTS))
    (policy,) = (
        str(held["content"])
        for tag, held in page.elements
        if tag == "meta" and held.get("http-equiv") == "Content-Security-Policy"
    )
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'" and "connect-src" not in rules
    hashes = [b64encode(sha256(text.encode()).digest()).decode() for _, text in page.scripts[1:]]
    assert rules["script-src"].split() == [f"'sha256-{one}'" for one in hashes]


def test_own_scripts_make_no_element_from_text() -> None:
    text = page_text(values_of([]), NO_PLOTS)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b", text)


def test_a_page_without_records_has_no_rows() -> None:
    assert Page(page_text(values_of([]), NO_PLOTS)).values["rows"] == []


def test_a_script_that_would_end_its_element_is_refused() -> None:
    with pytest.raises(Refused, match="cannot stand in a page"):
        page_text(values_of([]), "x = '</SCRIPT>'")


def test_every_control_has_a_label(made: Make) -> None:
    text = page_text(values_of([made()]), NO_PLOTS)
    for name in ("q", "dataset", "size", "protocol", "student", "kind"):
        assert re.search(rf'<label[^>]*>[A-Z]\w+ <(input|select)[^>]* id="{name}"', text)
