"""The tables of federations: a row for each algorithm, a column for each client.

A table holds one split (the same hashes of all clients), one protocol, one network and one number of images
that clients distil of each class.
"""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, NamedTuple

import pandas as pd

from condense.board.asked import is_complete
from condense.board.cells import TableCell
from condense.board.compare import Pair, Statement, line
from condense.board.entries import tuples
from condense.board.format import bytes_text, grid, numbered, score_and_paper, settings_text, sources_text
from condense.board.names import named
from condense.board.tables import Row
from condense.records.record import BASELINES

PLAIN = "fedavg"
"""The algorithm that every other one is compared with."""
RANDOM = f"{BASELINES[0]}+{PLAIN}"
"""The same on random images."""

HEADING = "Federations"
"""Title of the part of the board that holds these tables."""
LEGEND = """\
±: half the 95 % interval over seeds; mean: of the clients' accuracies, each on its own test images
sent up/down: bytes of all tensors that clients/the server have sent in one run, the last test included
lost: messages to clients that were not answered"""
"""The legend of a table in the terminal."""


class Split(NamedTuple):
    """What all results of a table have in common."""

    dataset: str
    train_hash: str
    test_hash: str
    protocol: str
    protocol_hash: str
    student: str
    ipc: int

    @property
    def title(self) -> str:
        """The protocol with the start of its hash, the network and the images of each class."""
        return f"{self.protocol} ({self.protocol_hash[:8]}), {self.student}, IPC {self.ipc}"


@dataclass(frozen=True, eq=False)
class FederatedTable:
    """Results of algorithms that may be compared.

    Attributes:
        key: What they have in common.
        clients: The clients' names.
        rows: The results of each algorithm by its name, the best mean first.
    """

    key: Split
    clients: tuple[str, ...]
    rows: tuple[tuple[str, TableCell], ...]

    def text(self, sources: list[str]) -> str:
        """Returns the table as Markdown, and adds the sources of published numbers to a list."""
        papers = any(cell.papers for _, cell in self.rows)
        head = [
            "method",
            "mean" + " [paper]" * papers,
            *self.clients,
            "seeds",
            "sent up",
            "sent down",
            "lost",
        ]
        rows = [
            [name, score_and_paper(cell), *self._by_client(cell), str(len(cell.entries)), *_traffic(cell)]
            + [numbered(cell.papers, sources)] * papers
            for name, cell in self.rows
        ]
        return grid(head + ["source"] * papers, rows)

    def settings(self) -> str:
        """Returns the list of settings that stands below the table."""
        return settings_text(Row(name, name, 0, {0: cell}) for name, cell in self.rows)

    def _by_client(self, cell: TableCell) -> list[str]:
        scores = [dict(json.loads(entry.clients)) for entry in cell.entries]
        return [f"{fmean(one[client] for one in scores):.1f}" for client in self.clients]


def _traffic(cell: TableCell) -> list[str]:
    up = round(fmean(entry.up_bytes for entry in cell.entries))
    down = round(fmean(entry.down_bytes for entry in cell.entries))
    return [bytes_text([up]), bytes_text([down]), str(sum(entry.lost for entry in cell.entries))]


def federated_tables(entries: pd.DataFrame) -> list[FederatedTable]:
    """Returns the tables of all federations, sorted by key.

    Args:
        entries: Rows of `condense.records.frame.results` in any order.
    """
    groups: dict[Split, list[Any]] = defaultdict(list)
    for entry in tuples(entries, entries["split"].notna()):
        groups[Split(*(getattr(entry, field) for field in Split._fields))].append(entry)
    found = []
    for key, group in sorted(groups.items()):
        rows: dict[str, list[Any]] = defaultdict(list)
        for name, entry in zip(named(group), group, strict=True):
            rows[name].append(entry)
        cells = [(name, TableCell(tuple(mine))) for name, mine in rows.items()]
        cells.sort(key=lambda one: (-one[1].mean, one[0]))
        clients = tuple(client for client, _ in json.loads(group[0].clients))
        found.append(FederatedTable(key, clients, tuple(cells)))
    return found


def federated_part(tables: Sequence[FederatedTable]) -> str:
    """Returns the part of a dataset's page that holds its federations; empty if there are none."""
    parts = []
    for table in tables:
        sources: list[str] = []
        text = table.text(sources)
        parts.append(f"#### {table.key.title}\n\n{text}{sources_text(sources)}{table.settings()}")
    head = f"### {HEADING}\n\nClients with data of their own train one network together. {_about()}\n"
    return "\n".join([head, *parts]) if parts else ""


def _about() -> str:
    return " ".join(f"`{line}`." if ":" not in line else f"{line}." for line in LEGEND.splitlines())


def federated_table_for(entries: pd.DataFrame, dataset: str, protocol: str, student: str) -> str:
    """Returns the tables that a federation stands in, for the terminal; empty if there are none."""
    found = [
        f"{dataset}: {table.key.title}\n\n{table.text([])}"
        for table in federated_tables(entries)
        if (table.key.dataset, table.key.protocol, table.key.student) == (dataset, protocol, student)
    ]
    return "\n".join(found) + f"\n{LEGEND}\n" if found else ""


def federated_summary(entries: pd.DataFrame) -> str:
    """Returns the part of a README's summary on federations; empty if there are none."""
    rows, told = [], []
    for table in federated_tables(entries):
        told += _claims(table)
        place = [table.key.dataset, table.key.protocol, table.key.student, str(table.key.ipc)]
        for name, cell in table.rows:
            rows.append([*place, name, score_and_paper(cell), *_traffic(cell)[:2]])
    if not rows:
        return ""
    head = ["clients", "protocol", "network", "IPC", "method", "mean accuracy", "sent up", "sent down"]
    about = (
        "Federations: the mean over the clients of the accuracy on their own test images, ± half the 95 % "
        "interval over seeds. An epoch of `fedlgd` or `vhl` goes over the images that all share, too, so "
        "that their clients make more steps."
    )
    lines = "".join(f"- {text}.\n" for text in told)
    return f"{about}\n\n{lines}" + "\n" * bool(told) + grid(head, rows)


def _claims(table: FederatedTable) -> list[str]:
    """Returns how other algorithms compare with the plain mean, and distilled sets with random images."""
    best: dict[str, TableCell] = {}
    for _, cell in table.rows:  # the best settings first
        if is_complete(cell):
            best.setdefault(cell.entries[0].method, cell)
    plain = best.pop(PLAIN, None)
    if plain is None:
        return []
    told = [
        Statement(f"{name} is", Pair(cell, plain), f"{PLAIN} ({cell.mean:.1f} beside {plain.mean:.1f})")
        for name, cell in best.items()
        if "+" not in name
    ]
    if other := best.get(RANDOM):
        what = f"random images of the same number ({plain.mean:.1f} beside {other.mean:.1f})"
        told.append(Statement(f"under {PLAIN}, sets by dm are", Pair(plain, other), what))
    place = f"{table.key.dataset}, IPC {table.key.ipc} ({table.key.protocol})"
    return [f"{place}: {line(told)}"] if told else []
