"""What commands write for other programs, the table of results, and the help."""

import csv
import json
from io import StringIO
from pathlib import Path

import pytest

from tests.cli.command import Condense, Ended

WRONG = {
    "--method dn": "--method dn: unknown method of a record; ",
    "--ipc 7": "--ipc 7: unknown ipc of a record; ",
    "--json --csv -": "as CSV or as JSON, not as both",
    "--results none": "there is no folder none",
    "--csv missing/file": "cannot write",
}
"""Questions for results that are refused."""


@pytest.fixture
def filled(condense: Condense, toy_file: Path) -> Condense:
    """The command, in a folder with two results."""
    short = ["--student", "mlp", "--seed", "0", "--eval-seeds", "2", "--method", "random_subset"]
    for ipc in (1, 2):
        assert condense("run", "--dataset", toy_file, "--ipc", ipc, *short).code == 0
    return condense


def document(ended: Ended) -> object:
    """The one JSON document of a command that went well."""
    assert (ended.code, ended.err) == (0, "")
    return json.loads(ended.out)


def test_results_are_a_table_or_json_or_csv_of_what_is_asked_for(filled: Condense) -> None:
    head, *rows = filled("results").out.splitlines()
    assert head.split()[:5] == ["dataset", "method", "IPC", "protocol", "student"]
    assert [row.split()[:5] for row in rows] == [
        ["toy", "random_subset", ipc, "hard-v1", "mlp"] for ipc in ("1", "2")
    ]
    everything = document(filled("results", "--json"))
    assert isinstance(everything, list) and [one["ipc"] for one in everything] == [1, 1, 2, 2]
    assert everything[0]["chain"][0]["name"] == "random_subset" and everything[0]["auc"] is None
    chosen = document(filled("results", "--ipc", 2, "--method", "random_subset", "--json"))
    assert chosen == everything[2:]
    table = list(csv.DictReader(StringIO(filled("results", "--ipc", 1, "--csv", "-").out)))
    assert [float(row["score"]) for row in table] == [one["score"] for one in everything[:2]]
    assert filled("results", "--csv", "all.csv").out == ""
    assert len(Path("all.csv").read_text().splitlines()) == 5
    Path("missing").write_text("a file where a folder would be")
    for arguments, sentence in WRONG.items():
        ended = filled("results", *arguments.split())
        assert (ended.code, ended.out) == (2, "") and sentence in ended.err


def test_the_board_and_its_check_are_json_and_leave_the_board_as_it_is(filled: Condense) -> None:
    before = Path("leaderboard.md").read_bytes()
    tables = document(filled("leaderboard", "--json"))
    assert isinstance(tables, list)
    (table,) = tables
    assert table["ranked"] and (table["dataset"], table["student"]) == ("toy", "mlp")
    (row,) = table["rows"]
    entries = document(filled("results", "--json"))
    assert isinstance(entries, list)
    for cell, pair in zip(row["cells"], (entries[:2], entries[2:]), strict=True):
        assert cell["mean"] == pytest.approx(sum(one["score"] for one in pair) / 2) and cell["students"] == 2
    assert document(filled("leaderboard", "--check", "--json")) == {
        "board": "leaderboard.md", "current": True, "sets": 2
    }  # fmt: skip
    assert Path("leaderboard.md").read_bytes() == before and not Path("plots").exists()


def test_a_stored_set_is_shown_and_verified_as_json(filled: Condense) -> None:
    path = sorted(Path("sets").iterdir())[0]
    stored = json.loads((path / "set.json").read_text())
    shown, verified = document(filled("show", path, "--json")), document(filled("verify", path, "--json"))
    assert isinstance(shown, dict)
    assert shown["content"] == stored["content"] and shown["provenance"] == stored["provenance"]
    assert verified == {
        "path": str(path), "hash": stored["provenance"]["hash"], "unchecked": [], "unknown": []
    }  # fmt: skip


def test_the_help_is_short_grouped_and_plain(condense: Condense) -> None:
    said = condense("run", "-h")
    assert said == condense("run", "--help") and said.code == 0
    assert "\x1b" not in said.out and "│" not in said.out and "[bold" not in said.out
    headings = [line for line in said.out.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert headings == [
        "Distilled set:", "Data:", "Evaluation:", "Machine and folders:", "Help:", "Examples:"
    ]  # fmt: skip
    assert "  condense run --method dm+fyi --ipc 10 --dataset fashion-mnist\n" in said.out
    version = condense("--version")
    assert version.code == 0 and version.out.startswith("condense ")
    assert "--install-completion" in condense("-h").out
