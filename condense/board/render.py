"""The leaderboard as Markdown: a pure function of the records, which reads no clock and no environment."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from condense.board.cells import TableCell
from condense.board.extras import Extras
from condense.board.federated import federated_part, federated_table_for
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
    settings_text,
    size_correlations,
    sizes,
    sources_text,
    teacher_text,
    touched,
    units,
)
from condense.board.ranks import rankings, ranks_text
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
    superseded,
)
from condense.protocols import PROJECTED_V1, SUPERSEDED
from condense.records.record import BASELINES, NO_DISTILLATION, WHOLE

HEAD = """\
# Leaderboard

`condense leaderboard` writes this page from the records in `results/`, and `condense leaderboard --check`
finds any other change. `plots/` shows the same numbers as curves.

- The score is the accuracy in percent on the test split after the last training step. `±` is half the 95 %
  Student-t interval of the mean. With several sets the interval is over sets, each of which counts with the
  mean of its students; with one set it is over its students. Random subsets are drawn anew for each student,
  so their interval is over draws. `(n=1)` marks a single value.
- Letters behind scores (`71.0 ± 2.5 ab`): rows of a column (and IPC) that share a letter do not differ at
  95 % (Welch's t test over the same values as the interval; Holm's correction over all comparisons of the
  table). A row with a single value has none.
- `random, equal bytes` is the score of random samples that take as many bytes as the sets of a row: all
  their parts, and the teacher that labels while students are trained. The bytes are rounded down to a power
  of the square root of two, so that rows share these baselines. Images are compressed, at the quality that is
  best on held-out training images (`--method random_subset --param room=BYTES --param encode=best`); the
  labels are hard, and the protocol is the data's default (`hard-v1`, `graph-v2`). Five draws have a student
  each; above 2000 samples it is one. The number of samples is in brackets. Hours in brackets are estimated
  for one student that was not trained, as it would take more than an hour: in proportion to the largest
  baseline on the same device. The baselines stand in tables of their own, by bytes.
- `LRS` and `ARS` are the label-robust and augmentation-robust scores of DD-Ranking (arXiv 2505.13300; w and
  gamma 0.5, accuracies as fractions, from 0 to 100 %; a set equal to random images has 26.9 with ARS). LRS
  needs the same sets under `hard-v1` with hard labels, random images in the same table, and the whole
  training set; ARS needs the sets and the random images under `hard-plain-v1` or `soft-plain-v2` too. Where a
  part was not run there is a `-`, and where no row has all of them no column.
- A row marked `(no set: whole data touched)` is a training on real images that reads the whole training
  split, for as many steps as the sets beside it. Trainings on a fraction of the images have tables of their
  own, whose columns are fractions and whose `bytes` are those that a student reads.
- `s to its accuracy: set, real`: seconds of the distillation and one training on the set, and of a training
  on real images (the whole set, or without a set) until it is as accurate on validation images; `never` if
  it never is. `pays after trainings`: how many students must be trained until distillation and trainings took
  no longer than trainings on real images that are stopped there. Both need curves, made on one device with as
  many threads; where they are missing there is a `-`, and where no row has them no column.
- `[...]` is the paper's number under the paper's own protocol; its source is listed below the table. A
  dagger † marks a number that was not verified at its source.
- A table holds one dataset, one protocol, one student network, one pixel space and one teacher. The digits
  behind a protocol or a teacher are the start of its hash. A teacher in the title of a table labels
  everything that students see, whatever labels (`label`) a set stores; its bytes are not counted with the
  sets, but those of an encoder with which a set regenerates its own labels (`projected`) are, as `teacher`.
- `random_subset+expert (label-v1)` in a table of soft labels are random images with one soft label each,
  stored with the set: what labels alone are worth.
- *Italics* mark random subsets and coresets, which every method has to beat. The score of the whole training
  set stands in the column of every IPC. `-` means not run, or unknown.
- If several IPCs share a column, `/` separates them in their order. `images` is the number of images that a
  set stores; `100->400` means that 100 are stored and 400 are decoded from them to train on. `bytes` is the
  size of the stored set: images + labels (+ other parts, by name), 1 kB = 1000 bytes. `distil s` is the mean
  wall time of a distillation in seconds. `peak MiB` is its largest memory: on a GPU what torch allocated, on
  a CPU everything that the process held, including images and libraries. Times and memory can only be
  compared on the same device; the settings below a table name it.
- Graphs have a table for each dataset and protocol, with a column for each student network (its layer, and
  how it pools the nodes). With two classes a cell shows `ROC-AUC ± half-width / accuracy`, with more the
  accuracy. Rows of one IPC are ranked by their mean over the columns that all of them have. `graphs` is the
  number of graphs that a set stores, `dense bytes` the size they would have as float32 features with a dense
  adjacency matrix, `IPC` the number of graphs per class that the method was allowed. `num_nodes`,
  `num_edges` and `label_histogram` are logistic regressions on these features.
- `size ρ` is Spearman's rank correlation of a student's scores (differences of the two logits) of the test
  graphs with their numbers of nodes, first the mean over the students that pool by the sum, then over those
  that pool by the mean. Near 1 or -1 a student has learned little else than to tell large graphs from small.
- `NAME[A,B]` are the classes A and B of the dataset NAME (`--dataset NAME --classes A,B`). A table titled
  `IPC by class` holds sets whose classes have numbers of samples of their own (`--ipc-per-class`,
  `--imbalanced`), the same in all of its rows; the IPC of its columns is that of all other classes.
- A table titled `then trained and tested on T` judges sets on other data: a student is trained on the set,
  gets a new last layer, is trained on T's training images, and tested on T. `no pretraining` are students
  without a set, `random_taught` random images with the vectors of a network that was trained without labels.
- Where a protocol has a later version with results on a dataset, the tables under the older one are folded at
  the end of the dataset. Their rows stay, and are never compared with those under the newer version.
- To reproduce a row, run `condense run --dataset D --method M --ipc I --protocol P --student S --seed N`,
  with `--param field=value` for every setting below the table that is not a default.
"""

SHORT = {
    "ipc": """\
±: half the 95 % interval over sets, or over students of one set; [paper's number], †: unverified; -: not run
rows that share a letter do not differ at 95 % (Welch, Holm over the table)
images: stored, or stored->decoded""",
    "student": """\
{measure}
±: half the 95 % interval over sets, or over students of one set
[paper's number], †: unverified; -: not run
rows of one IPC that share a letter do not differ at 95 % (Welch, Holm over the table)""",
}
"""The legend of a table in the terminal, by what its columns are."""

NO_SET = " (no set: whole data touched)"
"""What marks a row among sets whose students read the whole training split."""

MEASURES = {True: "ROC-AUC ± half-width / accuracy", False: "accuracy ± half-width"}
"""What the cells of a table of graphs show, by whether the graphs have a ROC curve."""


def render(entries: pd.DataFrame) -> str:
    """Returns the whole leaderboard of rows of `condense.records.frame.results` in any order."""
    tables, own = gather(entries), published(entries)
    older = superseded(tables)
    extras, parts = Extras(tables), [HEAD]
    for data in sorted({table.key.data for table in tables} | set(own)):
        name, train, test = data
        parts.append(f"## {name}\n\nData: train {train[:8]}, test {test[:8]}.\n")
        mine = [table for table in tables if table.key.data == data]
        parts += [_section(table, extras) for table in mine if table.key not in older]
        if data in own:
            sources: list[str] = []
            text = grid(*_unranked(own[data], sources)) + sources_text(sources)
            text += settings_text(row for _, row in own[data])
            parts.append(f"### published: each under its own paper's protocol\n\n{text}")
        if folded := [_section(table, extras, older[table.key]) for table in mine if table.key in older]:
            names = {table.key.protocol: older[table.key] for table in mine if table.key in older}
            told = ", ".join(f"{old} (now {new})" for old, new in names.items())
            summary = f"<summary>Under older versions of the protocols: {told}</summary>"
            parts += [f"<details>\n{summary}\n", *folded, "</details>\n"]
    if ranked := ranks_text(rankings(tables)):
        parts.append(ranked)
    if federated := federated_part(entries):
        parts.append(federated)
    return "\n".join(parts) if len(parts) > 1 else f"{HEAD}\nNo records yet.\n"


def _section(table: Table, extras: Extras, newest: str | None = None) -> str:
    """Returns a table with its title and what stands below it; `newest` takes its protocol's place."""
    sources: list[str] = []
    text = grid(*_ranked(table, extras, sources)) + sources_text(sources) + settings_text(table.rows)
    return f"### {heading(table)}{f'; older version of {newest}' if newest else ''}\n\n{text}"


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
            texts.append(f"{named(table.key)}: {heading(table)}\n\n{grid(*_ranked(table, extras, []))}")
            legend = SHORT[table.layout.across]
            cells = [cell for row in table.rows for cell in row.cells.values()]
            measures |= {MEASURES[cell.accuracy is not None]: None for cell in cells}
    for rows in published(entries).values():
        if mine := [(key, row) for key, row in rows if wanted(key)]:
            head = f"{named(mine[0][0])}: published, each under its own paper's protocol"
            texts.append(f"{head}\n\n{grid(*_unranked(mine, []))}")
    if not texts and (federated := federated_table_for(entries, dataset, protocol, student)):
        return federated
    if texts and protocol in SUPERSEDED:
        legend += f"\n{protocol} is an older version of {SUPERSEDED[protocol]}"
    if not texts:
        return f"no records of {dataset} under {protocol} with {student} in {space} pixels\n"
    return "\n".join(texts) + f"\n{legend.format(measure=' or '.join(measures))}\n"


def is_current(board: Path, entries: pd.DataFrame) -> bool:
    """Returns whether a file holds the leaderboard of all records."""
    return board.is_file() and board.read_bytes() == render(entries).encode()


def heading(table: Table) -> str:
    """Returns a table's title, with size and accuracy of a teacher that labels while students are trained."""
    taught = [] if table.stored else [entry for entry in table.entries if entry.teacher]
    return table.key.title + (f" ({teacher_text(taught)})" if taught else "")


def _ranked(table: Table, extras: Extras, sources: list[str]) -> tuple[list[str], list[list[str]]]:
    """Returns the head and the rows of a table, and adds the sources of its papers to a list."""
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
        plain = row.name + NO_SET * (row.touches_all and not table.key.filled)
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
    trained = row.cells and any(record.touched is not None for record in row.sets.records)
    return touched(cells) if trained else sizes(cells, layout.samples)


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


def _unranked(rows: Sequence[tuple[Key, Row]], sources: list[str]) -> tuple[list[str], list[list[str]]]:
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
            [row.name, key.student, key.space, labels, ipc, score(cell), " or ".join(told) or "-"]
            + [" or ".join(gaps) or "-", units(cell), counts(cell), key.protocol_hash[:8]]
            + [numbered(cell.papers, sources)]
        )
    return head, texts
