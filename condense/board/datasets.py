"""All results of a dataset: its tables in the order of its pages, and what their rows are called there."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count

import pandas as pd

from condense.board.federated import FederatedTable, federated_tables
from condense.board.overview import Overview, overview_of
from condense.board.tables import FILLED, FRACTIONS, LAYOUTS, Key, Row, Table, gather, published, superseded
from condense.files import safe_name
from condense.protocols import PRUNE_SHORT_V1, PRUNE_V1, SOFT_V2

FIRST = ("cifar10", "cifar100", "tiny-imagenet", "svhn", "fashion-mnist", "mnist", "digits")
"""The datasets of images that come first; others follow by name, and then those of graphs."""

Data = tuple[str, str, str]
"""Name of a dataset and the hashes of its splits."""


@dataclass(frozen=True, eq=False, kw_only=True)
class DatasetResults:
    """All results on one dataset.

    Attributes:
        data: Name of the dataset and the hashes of its splits.
        kind: ``images`` or ``graphs``.
        tables: The tables, those of the overviews first, those under older protocols last.
        older: The newest version of the protocol by the keys of the tables under older ones.
        published: The rows under published protocols.
        federated: The tables of federations.
        several: Whether there are other data under the same name.
    """

    data: Data
    kind: str
    tables: tuple[Table, ...]
    older: Mapping[Key, str]
    published: Sequence[tuple[Key, Row]]
    federated: tuple[FederatedTable, ...]
    several: bool

    @property
    def title(self) -> str:
        """The name, with the start of the hash of the training split if another dataset has the same."""
        return self.data[0] + f" (train {self.data[1][:8]})" * self.several

    @property
    def folder(self) -> str:
        """The name of the folder of its records and of its page."""
        return safe_name(self.data[0])

    @cached_property
    def overviews(self) -> tuple[Table, ...]:
        """The tables that the front page shows: under the default protocol, soft labels, and fractions.

        Of several tables under one protocol it is the one with the most rows.
        """
        names = (LAYOUTS[self.kind].protocol, SOFT_V2.name, PRUNE_V1.name, PRUNE_SHORT_V1.name)
        return tuple(table for name in names if (table := self._largest(name)))

    @cached_property
    def shown(self) -> tuple[Overview, ...]:
        """The overviews of these tables, in the same order."""
        return tuple(map(overview_of, self.overviews))

    def _largest(self, protocol: str) -> Table | None:
        def fits(table: Table) -> bool:
            key = table.key
            filled = FRACTIONS if protocol in (PRUNE_V1.name, PRUNE_SHORT_V1.name) else ""
            plain = key.filled == filled and not key.asked and not key.target
            return key.protocol == protocol and plain and bool(table.columns)

        found = [table for table in self.tables if fits(table)]
        return max(found, key=_size, default=None)

    @cached_property
    def names(self) -> Mapping[Row, str]:
        """Short names of all rows: the method, with a letter where it was run with several settings."""
        # What fills a number of bytes has settings for each number, which are columns or rows there.
        apart = {row: row.name for table in self.tables if table.key.filled == FILLED for row in table.rows}
        tables = [table.rows for table in self.tables if table.key.filled != FILLED]
        return {**apart, **short_names([*tables, [row for _, row in self.published]])}

    @cached_property
    def anchors(self) -> Mapping[Row, str]:
        """The anchors of the rows that the front page links to."""
        found: dict[Row, str] = {}
        start = f"{self.data[1][:8]}-" * self.several
        for table in self.overviews:
            default = table.key.protocol == table.layout.protocol
            prefix = start if default else f"{start}{table.key.protocol}-"
            taken = set[str]()
            for row in table.rows:
                anchor = prefix + re.sub(r"[^\w.]+", "-", self.names[row]).strip("-")
                if anchor not in taken:
                    found[row] = anchor
                    taken.add(anchor)
        return found

    def anchor(self, row: Row) -> str | None:
        """Returns the anchor of a row, or of the first one in its table that has the same name."""
        same = (one for one in self._table(row).rows if self.names[one] == self.names[row])
        return next((self.anchors[one] for one in same if one in self.anchors), None)

    def _table(self, row: Row) -> Table:
        return next(table for table in self.tables if row in table.rows)


def _size(table: Table) -> tuple[int, int]:
    """Returns the number of methods and of rows."""
    rows = [row for row in table.rows if not row.reference]
    return len({row.method for row in rows}), len(rows)


@dataclass(frozen=True, eq=False)
class Gathered:
    """The entries of all records, and what every part of a board is made of.

    Attributes:
        entries: Rows of `condense.records.frame.results` in any order.
        tables: Their tables.
        datasets: The results of each dataset, in the order of the board.
    """

    entries: pd.DataFrame
    tables: list[Table]
    datasets: list[DatasetResults]


def gathered(entries: pd.DataFrame) -> Gathered:
    """Gathers entries, once for all parts of a board."""
    tables = gather(entries)
    return Gathered(entries, tables, _datasets_of(entries, tables))


def _datasets_of(entries: pd.DataFrame, tables: Sequence[Table]) -> list[DatasetResults]:
    """Returns the results of each dataset, in the order of the board."""
    own, older = published(entries), superseded(tables)
    federated: dict[Data, list[FederatedTable]] = defaultdict(list)
    for one in federated_tables(entries):
        federated[one.key[:3]].append(one)
    told = entries[[*DATA, "kind"]].drop_duplicates()
    kinds = dict(zip(told[[*DATA]].itertuples(index=False, name=None), told["kind"], strict=True))
    every = sorted({table.key.data for table in tables} | set(own) | set(federated))
    names = [data[0] for data in every]
    found = []
    for data in every:
        kind = kinds[data]
        mine = [table for table in tables if table.key.data == data]
        protocol = LAYOUTS[kind].protocol
        mine.sort(key=lambda one: (one.key in older, one.key.protocol != protocol, *(-n for n in _size(one))))
        found.append(
            DatasetResults(
                data=data,
                kind=kind,
                tables=tuple(mine),
                older={table.key: older[table.key] for table in mine if table.key in older},
                published=own.get(data, []),
                federated=tuple(federated[data]),
                several=names.count(data[0]) > 1,
            )
        )
    return sorted(found, key=_order)


DATA = ("dataset", "train_hash", "test_hash")


def _order(one: DatasetResults) -> tuple[bool, int, Data]:
    name = one.data[0].partition("@")[0].partition("[")[0]
    return one.kind != "images", FIRST.index(name) if name in FIRST else len(FIRST), one.data


def short_names(tables: Sequence[Sequence[Row]]) -> dict[Row, str]:
    """Returns a short name for each row, the same for equal settings wherever that is possible.

    Args:
        tables: The rows of each table of a dataset; the first tables have the first letters.
    """
    groups: dict[str, list[set[str]]] = defaultdict(list)
    places: dict[Row, int] = {}
    for rows in tables:
        taken: dict[str, set[int]] = defaultdict(set)
        named: dict[str, list[Row]] = defaultdict(list)
        for row in rows:
            named[row.name].append(row)
        for _, same in sorted(named.items()):
            method = same[0].method
            chains = {record.chain for row in same for record in row.sets.records}
            known = groups[method]
            free = (place for place in count() if place not in taken[method])
            place = next(place for place in free if place >= len(known) or known[place] & chains)
            if place == len(known):
                known.append(set())
            known[place] |= chains
            taken[method].add(place)
            places |= dict.fromkeys(same, place)
    return {row: _short(row, place, len(groups[row.method])) for row, place in places.items()}


def _short(row: Row, place: int, of: int) -> str:
    if row.reference or not row.cells:
        return row.name
    letter = f" ({_letter(place)})" if of > 1 else ""
    protocol = row.sets.records[0].protocol
    return row.method + letter + f" ({protocol})" * row.name.endswith(f"({protocol})")


def _letter(place: int) -> str:
    """Returns a, b, ..., z, aa, ab, ..."""
    text = ""
    while place >= 0:
        text, place = chr(ord("a") + place % 26) + text, place // 26 - 1
    return text
