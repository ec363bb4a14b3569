"""Tables as Markdown: a pure function of the records, which reads no clock and no environment."""

from collections.abc import Callable, Sequence

import pandas as pd

from condense.board.cells import TableCell
from condense.board.extras import Extras
from condense.board.federated import federated_table_for
from condense.board.format import (
    bytes_text,
    counts,
    dense_bytes,
    grid,
    joined,
    mebibytes,
    numbered,
    paper_text,
    score,
    score_and_paper,
    seconds,
    size_correlations,
    sizes,
    teacher_text,
    touched,
    units,
)
from condense.board.legend import MEASURES, SHORT
from condense.board.significance import Place, table_letters
from condense.board.tables import (
    EVERYWHERE,
    FRACTIONS,
    PARTS,
    Column,
    Key,
    Layout,
    Row,
    Table,
    gather,
    published,
)
from condense.protocols import PROJECTED_V1, SUPERSEDED
from condense.records.record import BASELINES, NO_DISTILLATION, WHOLE


def table_for(entries: pd.DataFrame, dataset: str, protocol: str, student: str, space: str) -> str:
    """Returns the tables that a result stands in, for the terminal.

    If several datasets share the name, the titles show the hashes of each.

    Args:
        entries: Rows of `condense.records.frame.results` in any order.
        dataset: Name of the dataset.
        protocol: Name of the protocol, or ``published``.
        student: Name of the student network; a table of graphs shows all networks whichever is named.
        space: Name of the pixel space.
    """

    def wanted(key: Key) -> bool:
        names = (key.dataset, key.protocol, key.student or student, key.space)
        return names == (dataset, protocol, student, space)

    texts, legend, measures = [], SHORT["ipc"], dict[str, None]()
    hashes = entries[entries["dataset"] == dataset][["train_hash", "test_hash"]]
    several = len(hashes.drop_duplicates()) > 1

    def named(key: Key) -> str:
        return dataset + f" (train {key.train_hash[:8]}, test {key.test_hash[:8]})" * several

    tables = gather(entries)
    extras = Extras(tables)
    for table in tables:
        if wanted(table.key):
            texts.append(f"{named(table.key)}: {heading(table)}\n\n{grid(*ranked(table, extras, []))}")
            legend = SHORT[table.layout.across]
            cells = [cell for row in table.rows for cell in row.cells.values()]
            measures |= {MEASURES[cell.accuracy is not None]: None for cell in cells}
    for rows in published(entries).values():
        if mine := [(key, row) for key, row in rows if wanted(key)]:
            head = f"{named(mine[0][0])}: published, each under its own paper's protocol"
            texts.append(f"{head}\n\n{grid(*unranked(mine, []))}")
    if not texts and (federated := federated_table_for(entries, dataset, protocol, student)):
        return federated
    if texts and protocol in SUPERSEDED:
        legend += f"\n{protocol} is an older version of {SUPERSEDED[protocol]}"
    if not texts:
        return f"no records of {dataset} under {protocol} with {student} in {space} pixels\n"
    return "\n".join(texts) + f"\n{legend.format(measure=' or '.join(measures))}\n"


def heading(table: Table) -> str:
    """Returns a table's title, with size and accuracy of a teacher that labels while students are trained."""
    taught = [] if table.stored else [entry for entry in table.entries if entry.teacher]
    return table.key.title + (f" ({teacher_text(taught)})" if taught else "")


def name_of(row: Row) -> str:
    """Returns the name of a row that tells its settings."""
    return row.name


def ranked(
    table: Table, extras: Extras, sources: list[str], label: Callable[[Row], str] = name_of
) -> tuple[list[str], list[list[str]]]:
    """Returns the head and the rows of a table, and adds the sources of its papers to a list.

    Args:
        table: The table.
        extras: The columns that take more than its own results.
        sources: The sources so far.
        label: Returns what a row is called.
    """
    layout, students = table.layout, table.layout.across == "student"
    columns = table.columns or (EVERYWHERE[students],)
    papers = any(entry.paper is not None for entry in table.entries)
    sizes_told = any(entry.size_correlation is not None for entry in table.entries)
    names = [str(name) if students else _sized(table, name) for name in columns]
    more = extras.columns(table)
    sized = "bytes filled" if table.key.filled else "IPC"
    head = ["method", sized if students else "label", *(name + " [paper]" * papers for name in names)]
    head += ["sets x students", layout.samples, "bytes", *["dense bytes"] * layout.dense]
    head += [f"size ρ, {' / '.join(layout.pooled)}"] * sizes_told + [*more, "distil s", "peak MiB"]
    told_apart, number = table_letters(table), {row: place for place, row in enumerate(table.rows)}
    rows = []
    for row in _with_blanks(table):
        cells = [row.at(column) for column in columns]
        told = [cell for cell in cells if cell] if students else cells[:1] if row.reference else cells
        sets = [row.sets if row.cells else None] if students else told
        plain = label(row) + table.mark(row)
        texts = [f"*{plain}*" if row.baseline else plain]
        texts += [str(row.ipc or "-") if students else row.labels or "-"]
        letters = [told_apart.get(Place(number.get(row, -1), column), "") for column in columns]
        texts += [
            score_and_paper(cell, told) if cell else "-" for cell, told in zip(cells, letters, strict=True)
        ]
        texts += [joined(units, told), joined(counts, sets), _bytes(row, sets, layout)]
        texts += [joined(dense_bytes, sets)] * layout.dense
        texts += [size_correlations(row, layout.pooled)] * sizes_told
        texts += [extra.get(row, "-") for extra in more.values()]
        texts += [joined(seconds, sets), joined(mebibytes, sets)]
        texts += [numbered([paper for cell in told if cell for paper in cell.papers], sources)] * papers
        rows.append(texts)
    return head + ["source"] * papers, rows


def _bytes(row: Row, cells: Sequence[TableCell | None], layout: Layout) -> str:
    """Returns the size of the sets of a row, or what its trainings without a set read."""
    return touched(cells) if row.cells and row.trained else sizes(cells, layout.samples)


def _sized(table: Table, name: Column) -> str:
    """Returns the head of a column of images: the IPC of its sets, or the bytes that they fill."""
    if not name:
        return "any IPC"
    if table.key.filled == FRACTIONS:
        return f"{100 * int(name) / PARTS:g} %"
    return bytes_text([int(name)]) if table.key.filled else f"IPC {name}"


def _with_blanks(table: Table) -> list[Row]:
    """Returns the rows and, if there is a set, blank ones for baselines and references that were not run."""
    sets = [row for row in table.rows if not row.reference]
    references = [row for row in table.rows if row.reference]
    if not sets:
        return references
    # Coresets store no adapters, and those that fill a number of bytes are not run at every IPC.
    apart = table.key.protocol == PROJECTED_V1.name or table.key.filled or table.key.target
    able = () if apart else BASELINES
    rows = []
    suffix = " with stored labels" if table.stored else ""
    for ipc in sorted({row.ipc for row in sets}):
        mine = [row for row in sets if row.ipc == ipc]
        own = [row.method for row in mine if row.method != NO_DISTILLATION]
        there = {method.partition("+")[0] if table.stored else method for method in own}
        rows += [*mine, *(Row(name + suffix, name, ipc, {}) for name in able if name not in there)]
    known = {row.method for row in references}
    for name in table.layout.references if not table.key.target else ():
        if name not in known:
            title = "whole training set" if name == WHOLE else name
            references.append(Row(title, name, 0, {}, reference=True))
    order = table.layout.references
    references.sort(key=lambda row: order.index(row.method) if row.method in order else -1)
    return rows + references


def unranked(
    rows: Sequence[tuple[Key, Row]], sources: list[str], label: Callable[[Row], str] = name_of
) -> tuple[list[str], list[list[str]]]:
    """Returns the head and the rows of a table under published protocols, and adds to the list of sources."""
    head = ["method", "student", "pixels", "label", "IPC", "ours", "paper", "difference"]
    head += ["sets x students", "images", "protocol", "source"]
    texts = []
    for key, row in rows:
        cell = row.cells[key.student]
        told = [paper_text(paper, error=True) for paper in cell.papers]
        gaps = [f"{cell.mean - paper.value:+.1f}" for paper in cell.papers]
        ipc = f"{row.ipc}{key.by_class.replace(', IPC', '')}"
        labels = f"teacher {key.teacher[:8]}" if key.teacher else row.labels
        texts.append(
            [label(row), key.student, key.space, labels, ipc, score(cell), " or ".join(told) or "-"]
            + [" or ".join(gaps) or "-", units(cell), counts(cell), key.protocol_hash[:8]]
            + [numbered(cell.papers, sources)]
        )
    return head, texts
