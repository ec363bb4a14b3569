"""The front page of a board: for each dataset a short table, and what it says in words."""

import re
from collections.abc import Mapping, Sequence

from condense.board.datasets import DatasetResults
from condense.board.federated import FederatedTable
from condense.board.format import grid, paper_text, score_and_paper, wrapped
from condense.board.overview import RANDOM, Line, Overview, Shown, Spot, overview_of
from condense.board.ranks import rankings, ranks_text
from condense.board.tables import FRACTIONS, Row, Table
from condense.board.verdicts import verdict
from condense.protocols import SOFT_V2
from condense.records.record import WHOLE

WIDTH = 160
"""The longest line of a table, in characters."""
HEAD = """\
# Leaderboard

The test accuracy (for graphs the ROC-AUC) in percent of new networks trained on each distilled set alone.
`condense leaderboard` writes this page, and the page of each dataset that its title links to, from the records.

- **Ours and the paper's.** The score with `±` (half the 95 % interval over sets, or over students of one set) is
  ours, under the protocol and student named above the table. `[66.8]` is the paper's own number, of a ConvNet of
  width 128 under the paper's protocol and settings; ours is mostly a ConvNet of width 32 (`convnet-w32`) at
  settings for a CPU, so the two are not comparable. † marks a number that was not verified at its source.
- **Best**: the highest score of a column is bold. Rows of a column that share a letter do not differ at 95 %
  (Welch, Holm's correction over the table); a score without a letter is compared with none.
- *References* stand first; *italic* methods only select real samples. `(3 of 5)`: of the 5 students asked for 3
  are trained, so the row is not ranked yet. `not run`: there is a published number, but no result of ours.
- `mtt (b)` is one of several settings of MTT, the best by test score; `mtt (a / b)`: another one for each IPC. All
  settings, students, sizes and costs are on the dataset's page, to which each name links. `imported-` marks
  published sets of other code bases, judged here.
"""
GRAPHS = """\
Scores of graphs are means over GCN, GAT and GIN, by how the networks pool the nodes (sum or mean). `size ρ` is the
rank correlation of the students' scores with the graphs' numbers of nodes (sum / mean pooling); `num_nodes`,
`num_edges` and `label_histogram` are logistic regressions on these features, `majority` is the largest class.
"""


def front_page(results: Sequence[DatasetResults], tables: Sequence[Table], folder: str) -> str:
    """Returns the front page as Markdown.

    Args:
        results: The results on each dataset, in order.
        tables: All tables.
        folder: The name of the results folder, beside which the page stands.
    """
    if not results:
        return f"{HEAD}\nNo records yet.\n"
    ranks = ranks_text(rankings(tables))
    parts = [HEAD, _contents(results, bool(ranks))]
    for number, one in enumerate(results):
        if one.kind == "graphs" and (number == 0 or results[number - 1].kind != "graphs"):
            parts.append(GRAPHS)
        parts.append(_section(one, f"{folder}/{one.folder}/board.md"))
    return "\n".join([*parts, *filter(None, [ranks])])


def heading_anchor(title: str) -> str:
    """Returns the anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def _contents(results: Sequence[DatasetResults], ranks: bool) -> str:
    lines = []
    for kind in dict.fromkeys(one.kind for one in results):
        links = [f"[{one.title}](#{heading_anchor(one.title)})" for one in results if one.kind == kind]
        lines.append(wrapped(f"- {kind.capitalize()}: {', '.join(links)}", "  "))
    more = ["- [Ranks over datasets](#ranks-over-datasets)"] if ranks else []
    return "## Contents\n\n" + "\n".join([*lines, *more]) + "\n"


def _section(one: DatasetResults, page: str) -> str:
    """Returns the part of a dataset."""
    parts = [f"## {one.title}\n\n[All results on {one.title}]({page}){_elsewhere(one)}\n"]
    for table in one.overviews:
        overview = overview_of(table)
        if overview.spots:
            text = _table(overview, one, page)
            parts.append(f"{_heading(table)}\n\n{text}\n{wrapped(verdict(overview, one.names))}\n")
    parts += [_federation(table) for table in one.federated]
    return "\n".join(parts)


def _elsewhere(one: DatasetResults) -> str:
    """Returns the other protocols and students that only the dataset's page shows."""
    names = [table.key.protocol for table in one.tables if table not in one.overviews]
    names += ["published"] * bool(one.published)
    shown = {table.key.protocol for table in one.overviews}
    students = {table.key.student for table in one.tables if table not in one.overviews}
    students -= {table.key.student for table in one.overviews} | {""}
    more = sorted({name for name in names if name not in shown and name not in one.older.values()})
    more = [name for name in more if name not in {key.protocol for key in one.older}]
    told = [", ".join(f"`{name}`" for name in some) for some in (more, sorted(students)) if some]
    return f"; there also: {', '.join(told)}." if told else "."


def _heading(table: Table) -> str:
    key = table.key
    student = f", student `{key.student}`, {key.space} pixels" if key.student else ""
    if key.filled == FRACTIONS:
        return f"**Trainings on a fraction of the images** (`{key.protocol}`{student})"
    if key.protocol == SOFT_V2.name:
        return f"**Labels of a teacher** for all images (`{key.protocol}`{student})"
    return f"**Protocol `{key.protocol}`**{student}"


def _table(overview: Overview, one: DatasetResults, page: str) -> str:
    """Returns the table of an overview in its richest form that is narrow enough."""
    forms = [(True, True), (True, False), (False, True), (False, False)]
    texts = [_grid(overview, one, page if linked else None, halves) for linked, halves in forms]
    return next((text for text in texts if text.index("\n") <= WIDTH), texts[-1])


def _grid(overview: Overview, one: DatasetResults, page: str | None, halves: bool) -> str:
    pooled = bool(overview.spots[0].pool)
    papers = bool(overview.papers) and not pooled
    head = ["method", *(spot.head + " [paper]" * papers for spot in overview.spots)]
    sized = _sized(overview) if pooled else {}
    last = overview.spots[-1].ipc
    head += [f"size ρ, IPC {last}"] * bool(sized)
    rows = []
    for line in overview.references:
        rows.append([f"*{_name(line, one, page)}*", *_cells(overview, line, halves), *_listed(sized, line)])
    if WHOLE not in {line.method for line in overview.references}:
        rows.insert(0, ["*whole training set*", *_not_run(overview, WHOLE, 0), *["-"] * bool(sized)])
    if overview.methods:
        rows.append(["— methods —", *[""] * (len(head) - 1)])
    for line in overview.methods:
        name = _name(line, one, page)
        name = f"*{name}*" if line.rows[0].baseline else name
        rows.append([name, *_cells(overview, line, halves), *_listed(sized, line)])
    if overview.absent:
        rows.append(["— not run —", *[""] * (len(head) - 1)])
    for method in overview.absent:
        rows.append([method, *_not_run(overview, method, None), *["-"] * bool(sized)])
    return grid(head, rows)


def _listed(sized: Mapping[str, str], line: Line) -> list[str]:
    return [sized.get(line.method, "-")] if sized else []


def _name(line: Line, one: DatasetResults, page: str | None) -> str:
    """Returns what a row is called, as a link to its row on the dataset's page."""
    names = list(dict.fromkeys(one.names[row] for row in line.rows))
    text, row = names[0], line.rows[-1]
    if len(names) > 1:
        letters = [name.removeprefix(f"{line.method} (").removesuffix(")") for name in names]
        text = f"{line.method} ({' / '.join(letters)})"
    anchor = one.anchor(row)
    return f"[{text}]({page}#{anchor})" if page and anchor else text


def _cells(overview: Overview, line: Line, halves: bool) -> list[str]:
    best = {spot: _best(overview, spot) for spot in overview.spots}
    texts = []
    for spot in overview.spots:
        if cell := line.cells.get(spot):
            paper = overview.papers.get((line.method, 0 if line.method == WHOLE else spot.ipc, spot.pool))
            texts.append(_score(overview, cell, cell in best[spot], halves))
            texts[-1] += f" [{paper_text(paper)}]" if paper and not spot.pool else ""
        else:
            texts += _not_run(overview, line.method, None, [spot])
    return texts


def _best(overview: Overview, spot: Spot) -> list[Shown]:
    """Returns the highest complete scores of a column: those of methods, and of random samples."""
    cells = [cell for _, cell in overview.ranked(spot)]
    cells += [cell for line in overview.references if line.method == RANDOM and (cell := line.complete(spot))]
    highest = max((cell.mean for cell in cells), default=None)
    return [cell for cell in cells if cell.mean == highest]


def _score(overview: Overview, cell: Shown, best: bool, halves: bool) -> str:
    text = f"{cell.mean:.1f}"
    if halves:
        text += " (n=1)" if cell.half is None else f" ± {cell.half:.1f}"
    text = f"**{text}**" if best else text
    if not cell.complete and cell.asked:
        return f"{text} ({cell.have} of {cell.asked.count})"
    letters = overview.letters.get(cell.place, "")
    return f"{text} {letters}" if letters else text


def _not_run(
    overview: Overview, method: str, ipc: int | None, spots: Sequence[Spot] | None = None
) -> list[str]:
    """Returns what stands in columns without a result: the published number, if there is one."""
    texts = []
    for spot in overview.spots if spots is None else spots:
        paper = overview.papers.get((method, spot.ipc if ipc is None else ipc, spot.pool))
        texts.append(f"not run; paper {paper_text(paper)}" if paper else "-")
    return texts


def _sized(overview: Overview) -> dict[str, str]:
    """Returns the correlations with the number of nodes by method, at the largest IPC: sum / mean pooling."""
    last = overview.spots[-1].ipc
    spots = [spot for spot in overview.spots if spot.ipc == last]
    found = {}
    for line in (*overview.references, *overview.methods):
        values = [_correlation(line.cells.get(spot), spot.pool) for spot in spots]
        if any(value is not None for value in values):
            found[line.method] = " / ".join("-" if value is None else f"{value:.2f}" for value in values)
    return found


def _correlation(cell: Shown | None, pool: str) -> float | None:
    cells = [] if cell is None else [
        one for name, one in cell.row.cells.items() if str(name).endswith(f"-{pool}") or not cell.row.ipc
    ]  # fmt: skip
    values = [one.size_correlation for one in cells if one.size_correlation is not None]
    return sum(values) / len(values) if values else None


def _federation(table: FederatedTable) -> str:
    """Returns the scores of the algorithms of a federation in a small table."""
    rows = [[name, score_and_paper(cell), str(len(cell.entries))] for name, cell in table.rows]
    return f"**Federation** of {len(table.clients)} clients ({table.key.title})\n\n" + grid(
        ["method", "mean of the clients", "seeds"], rows
    )


