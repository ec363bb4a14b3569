"""`condense leaderboard --html`: the folder that it writes, and what it refuses."""

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from condense.records.record import Record
from tests.board.web.pages import Page, some_records
from tests.cli.command import Condense
from tests.cli.conftest import condense

__all__ = ["condense"]
Make = Callable[..., Record]


@pytest.fixture
def filled(condense: Condense, made: Make, graphs: Make, monkeypatch: pytest.MonkeyPatch) -> Condense:
    """The command in a folder with records, and with a short script in place of the plots'."""
    for record in some_records(made, graphs):
        record.write(Path("results"))
    monkeypatch.setattr("condense.board.web.site.vega_script", lambda: "window.vegaEmbed = null;")
    monkeypatch.setattr("condense.board.web.site.require_vega", lambda: None)
    return condense


def test_the_command_writes_the_page_and_nothing_else(filled: Condense) -> None:
    ended = filled("leaderboard", "--html", "site/deep")
    assert (ended.code, ended.out) == (0, f"{Path('site/deep/index.html')}\n")
    assert len(Page(Path("site/deep/index.html").read_text(encoding="utf-8")).values["rows"]) == 8
    assert not Path("leaderboard.md").exists() and not Path("plots").exists()
    before = Path("site/deep/index.html").read_bytes()
    assert filled("leaderboard", "--html", "site/deep").code == 0
    assert Path("site/deep/index.html").read_bytes() == before


def test_methods_that_keep_real_samples_are_selections(filled: Condense) -> None:
    filled("leaderboard", "--html", "site")
    rows = Page(Path("site/index.html").read_text(encoding="utf-8")).values["rows"]
    assert {row["method"]: row["kind"] for row in rows} == {
        "dm": "distilled", "dsa": "distilled", "mirage": "distilled", "random_subset": "selection",
        "whole": "reference",
    }  # fmt: skip


def test_a_row_shows_its_set_and_its_command_finds_it_up_to_date(filled: Condense, toy_file: Path) -> None:
    settings = ("--param", "iterations=1", "--param", "network=convnet-w32", "--student", "convnet-w32")
    places = ("--out", "results/sets", "--eval-seeds", "1", "--no-baselines")
    assert filled("run", "--dataset", toy_file, "--method", "dm", *settings, *places).code == 0
    assert filled("leaderboard", "--html", "site").code == 0
    rows = Page(Path("site/index.html").read_text(encoding="utf-8")).values["rows"]
    (row,) = (row for row in rows if row["dataset"] == "toy")
    (gallery,) = Path("results/sets").glob("*/gallery.png")
    assert (Path("site") / row["records"][0]["picture"]).read_bytes() == gallery.read_bytes()
    assert Path(shlex.split(row["commands"][0])[-1]).is_file()
    words = [str(toy_file) if word == "toy" else word for word in shlex.split(row["commands"][1])]
    before = {path: path.read_bytes() for path in Path("results").rglob("*") if path.is_file()}
    again = filled(*words[1:], *places)
    assert again.code == 0 and "up to date" in again.out + again.err
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize("other", ["--check", "--json"])
def test_the_page_is_written_alone(filled: Condense, other: str) -> None:
    ended = filled("leaderboard", "--html", "site", other)
    assert ended.code == 2 and "--html site: the page is written alone" in ended.err
    assert not Path("site").exists()


def test_a_file_in_place_of_the_folder_is_refused(filled: Condense) -> None:
    Path("site").write_text("mine")
    ended = filled("leaderboard", "--html", "site")
    assert ended.code == 2 and "site is a file" in ended.err and Path("site").read_text() == "mine"


def test_a_missing_extra_is_one_sentence(
    condense: Condense, made: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    made().write(Path("results"))
    monkeypatch.setattr("condense.board.web.vega.find_spec", lambda name: None)
    ended = condense("leaderboard", "--html", "site")
    assert ended.code == 2 and "vl-convert-python" in ended.err and ".[web]" in ended.err
    assert ended.err.count("\n") == 1 and not Path("site").exists()
