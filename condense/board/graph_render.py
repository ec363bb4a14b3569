"""A table of graphs as text."""

from collections.abc import Sequence

from condense.board.format import (
    accuracy,
    counts,
    grid,
    in_bytes,
    joined,
    mebibytes,
    notes,
    numbered,
    paper_words,
    seconds,
    settings_of,
    sizes,
    units,
)
from condense.board.graph_tables import GraphRow, GraphTable
from condense.board.tables import BASELINES, TableCell
from condense.records.record import Paper

REFERENCES = ("majority", "num_nodes", "num_edges", "label_histogram")
"""The references that train no network; like the whole set they always stand there, blank where not run."""

HEAD = """\
- Graphs: a table for each data set and protocol, a column for each student network (its layer, and how it
  pools the nodes). Of two classes it shows `ROC-AUC ± half-width / accuracy`, of more the accuracy; rows of
  an IPC stand by the mean of the columns that all have. `graphs` is how many a set stores, `dense bytes`
  what it would take as float32 features with a dense adjacency matrix, `IPC` the graphs per class that a
  method was given room for. `num_nodes`, `num_edges` and `label_histogram` are logistic regressions on these.
"""

SHORT = """\
ROC-AUC ± half-width / accuracy, or the accuracy where there are more than two classes
± is 95 % over sets, or students of one set; [paper's number], † unverified; - not run"""


def graph_heading(table: GraphTable) -> str:
    """A table's protocol, with the start of its hash."""
    return f"{table.key.protocol} ({table.key.protocol_hash[:8]})"


def graph_table(table: GraphTable) -> str:
    """A table as Markdown, with the sources of its numbers and the settings of its rows below it."""
    sources: list[str] = []
    text = grid(*graph_grid(table, sources))
    return text + notes(sources) + settings_of((row.method, row.sets) for row in table.rows)


def graph_grid(table: GraphTable, sources: list[str]) -> tuple[list[str], list[list[str]]]:
    """Head and rows of a table.

    Args:
        table: The table.
        sources: The list of its papers' sources, which grows.
    """
    papers = any(cell.papers for row in table.rows for cell in row.cells.values())
    head = ["method", "IPC", *(f"{name} [paper]" if papers else name for name in table.students)]
    head += ["sets x students", "graphs", "bytes", "dense bytes", "distil s", "peak MiB"]
    rows = [_row(row, table.students, papers, sources) for row in _with_blanks(table)]
    return [*head, *(["source"] if papers else [])], rows


def _with_blanks(table: GraphTable) -> list[GraphRow]:
    """The rows, and where there are sets those that always stand there."""
    rows: list[GraphRow] = []
    for ipc in table.ipcs:
        mine = [row for row in table.rows if row.ipc == ipc and not row.reference]
        there = {row.method for row in mine}
        rows += mine + [GraphRow(name, name, ipc, {}) for name in BASELINES if name not in there]
    references = [row for row in table.rows if row.reference]
    if not table.ipcs:
        return references
    told = {row.method for row in references}
    blank = [GraphRow(name, name, 0, {}, reference=True) for name in REFERENCES if name not in told]
    if "whole" not in told:
        blank.append(GraphRow("whole training set", "whole", 0, {}, reference=True))
    order = (*REFERENCES, "whole")
    return rows + sorted([*references, *blank], key=lambda row: order.index(row.method))


def _row(row: GraphRow, students: Sequence[str], papers: bool, sources: list[str]) -> list[str]:
    cells = [row.at(student) for student in students]
    run = [cell for cell in cells if cell]
    sets = row.sets if run else None
    dense = sets.dense_bytes if sets else None
    texts = [f"*{row.name}*" if row.baseline else row.name, str(row.ipc or "-")]
    texts += [_score(cell) if cell else "-" for cell in cells]
    texts += [joined([units(cell) for cell in run]) if run else "-"]
    texts += [counts(sets) if sets else "-", sizes([sets.bytes if sets else {}], "graphs")]
    texts += ["-" if dense is None else in_bytes([dense])]
    texts += [seconds(sets.seconds if sets else None), mebibytes(sets.peak_bytes if sets else None)]
    if papers:
        texts.append(", ".join(numbered([p for cell in run for p in cell.papers], sources)) or "-")
    return texts


def _score(cell: TableCell) -> str:
    """``67.5 ± 0.2 / 61.3 [68.2†]``: AUC with its half-width, accuracy, and the paper's number."""
    text = accuracy(cell)
    if cell.accuracy is not None:
        text += f" / {cell.accuracy:.1f}"
    return text + (f" [{' or '.join(_paper(paper) for paper in cell.papers)}]" if cell.papers else "")


def _paper(paper: Paper) -> str:
    """A paper's number, and what it measures where that is not the ROC-AUC."""
    return paper_words(paper) + " accuracy" * paper.protocol.startswith("accuracy")
