"""The front page of a board: for each dataset a short table, and what it says in words."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import NamedTuple

from condense.board.datasets import DatasetResults
from condense.board.federated import FederatedTable
from condense.board.format import grid, paper_text, score_and_paper, wrapped
from condense.board.names import TITLES, joined_name
from condense.board.overview import Line, Overview, Shown, Spot
from condense.board.ranks import rankings, ranks_text
from condense.board.tables import FRACTIONS, Table
from condense.board.verdicts import verdict
from condense.protocols import SOFT_V2
from condense.records.record import NO_STUDENT, WHOLE

LEFT_OUT = ("majority", "num_edges", "label_histogram")
"""References whose scores are told in words."""
LARGEST = 30_000
"""The largest size of the page in bytes; its form is the first one of `FORMS` that keeps within it."""
FEW = """\
**The best alone.** Each table has its best {most} methods, and the best of each column. With all of them this
page would be longer than 30 kB; the page of a dataset has all.
"""
WIDTH = 160
"""The longest line of a table, in characters."""
HEAD = """\
# Leaderboard

Test accuracy (for graphs ROC-AUC) in percent of new networks trained on each distilled set alone.
`condense leaderboard` writes this page and the page of each dataset from the records.

- **Ours, and the paper's.** A score with `±` (half the 95 % interval over sets, or over students of one set)
  is ours, under the protocol and student named above the table. `[66.8]` is the paper's own number: mostly a
  ConvNet of width 128, under the paper's protocol and settings. Ours is mostly `convnet-w32`, of width 32, at
  settings for a CPU, so the two cannot be compared. A † was not verified at its source.
- **Best.** The highest score of a column is bold. Rows of a column that share a letter do not differ at 95 %
  (Welch, Holm's correction over the table). A score without letters is compared with none.
- Students without a teacher take the labels that a set stores, soft ones too; learned label vectors (`frepo`,
  `rcig`) they take as class ids.
- *References* stand first. *Italic* methods select real samples. `(3 of 5)`: three of the five students that
  are asked for are trained, and the score is not ranked yet. `not run`: not with this protocol and student,
  there is only a published number.
- `mtt (b)` is one of several settings of `mtt`, the best by test score; with `mtt (a / b)` each IPC has
  another one. A name links to its row on the page of the dataset, which has all settings, students, sizes and
  costs. `imported-` marks published sets of other code bases, judged here.
"""
ABOUT = {
    "images": "Datasets that most papers report come first, the others follow by name.\n",
    "graphs": """\
Scores are means over GCN, GAT and GIN, by how these pool the nodes (sum or mean). `num_nodes` is a logistic
regression on the number of nodes, and `size ρ` the rank correlation of the students' scores with that number,
by sum / mean pooling. Papers have numbers of single networks; they stand here where ours are missing.
""",
}
"""What stands below the heading of each kind of data."""


class Form(NamedTuple):
    """How much a table shows.

    Attributes:
        aligned: Whether its columns line up in a terminal, too.
        absent: Whether each method that was not run has a row; otherwise they are named.
        most: The largest number of methods with results that have rows; None for all.
    """

    aligned: bool = True
    absent: bool = True
    most: int | None = None


_NAMED = Form(aligned=False, absent=False)
FORMS = (Form(), Form(aligned=False), _NAMED, *(_NAMED._replace(most=most) for most in (20, 12, 8, 5, 3, 1)))
"""The forms of the page, the largest one first."""


def front_page(results: Sequence[DatasetResults], tables: Sequence[Table], pages: Mapping[str, str]) -> str:
    """Returns the front page as Markdown.

    Args:
        results: The results on each dataset, in order.
        tables: All tables.
        pages: The paths of the datasets' pages from this one, by folder.
    """
    if not results:
        return f"{HEAD}\nNo records yet.\n"
    ranks = ranks_text(rankings(tables))
    for form in FORMS:
        few = "" if form.most is None else wrapped(FEW.format(most=form.most)) + "\n"
        parts = [*filter(None, [HEAD, few]), _contents(results, bool(ranks))]
        for kind in dict.fromkeys(one.kind for one in results):
            parts.append(f"## {kind.capitalize()}\n\n{ABOUT[kind]}")
            mine = [one for one in results if one.kind == kind]
            parts += [_section(one, pages[one.folder], form) for one in mine]
        page = "\n".join([*parts, *filter(None, [ranks])])
        if len(page.encode()) <= LARGEST:
            break
    return page


def excerpt(one: DatasetResults, page: str, at_most: int) -> str:
    """Returns the first table of a dataset with its best methods alone, and what it says in words.

    Args:
        one: The results on the dataset, with at least one table.
        page: The path of the dataset's page.
        at_most: The largest number of methods; the best of each column is among them.
    """
    overview = one.shown[0]
    shown = _best_lines(overview, at_most)
    head = _heading(overview.table).replace("**", f"**{one.title}: ", 1)
    left = {"more methods": len(overview.methods) - len(shown), "published and not run": len(overview.absent)}
    told = ", ".join(f"{count} {what}" for what, count in left.items() if count)
    links = f"[details]({page})" + (f"; {told}: [leaderboard](leaderboard.md)." if told else ".")
    sentences = [wrapped(f"- {sentence}", "  ") for sentence in verdict(overview, one.names)]
    parts = [wrapped(f"{head[:-1]} ({links[:-1]})."), "", _table(overview, one, page, shown), *sentences]
    return "\n".join(parts) + "\n"


def _best_lines(overview: Overview, at_most: int) -> list[Line]:
    """Returns the best methods in their order; the best of each column are among them, however many."""
    best = {line for spot in overview.spots for line, _ in overview.ranked(spot)[:1]}
    others = [line for line in overview.methods if line not in best]
    chosen = best | {*others[: max(0, at_most - len(best))]}
    return [line for line in overview.methods if line in chosen]


def heading_anchor(title: str) -> str:
    """Returns the anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def _contents(results: Sequence[DatasetResults], ranks: bool) -> str:
    lines = []
    for kind in dict.fromkeys(one.kind for one in results):
        links = [f"[{one.title}](#{heading_anchor(one.title)})" for one in results if one.kind == kind]
        lines.append(wrapped(f"- [{kind.capitalize()}](#{kind}): {', '.join(links)}", "  "))
    more = ["- [Ranks over datasets](#ranks-over-datasets)"] if ranks else []
    return "## Contents\n\n" + "\n".join([*lines, *more]) + "\n"


def _section(one: DatasetResults, page: str, form: Form) -> str:
    """Returns the part of a dataset, whose page has the path `page`."""
    parts, there = [f"### {one.title}\n"], f"[Details]({page}){_elsewhere(one)}"
    for overview in one.shown:
        if overview.spots:
            sentences = verdict(overview, one.names)
            if overview.absent and not form.absent and form.most is None:
                sentences.append(f"Published and not run: {', '.join(overview.absent)}.")
                overview = replace(overview, absent=())
            head = wrapped(" ".join(filter(None, [_heading(overview.table), there])))
            told = [wrapped(f"- {sentence}", "  ") for sentence in sentences]
            only = None if form.most is None else _best_lines(overview, form.most)
            text = _table(overview, one, page, only, aligned=form.aligned)
            parts.append("\n".join([f"{head}\n", text, *told]) + "\n")
            there = ""
    parts += [f"{there}\n"] if there else []
    return "\n".join([*parts, *(_federation(table, form.aligned) for table in one.federated)])


def _elsewhere(one: DatasetResults) -> str:
    """Returns the other protocols and students that only the dataset's page shows."""
    more = [table.key for table in one.tables if table not in one.overviews and table.key not in one.older]
    shown = [table.key for table in one.overviews]
    protocols = {key.protocol for key in more} - {key.protocol for key in shown}
    students = {key.student for key in more} - {key.student for key in shown} - {""}
    names = {"protocol": sorted(protocols) + ["published"] * bool(one.published), "student": sorted(students)}
    told = [
        what + "s" * (len(some) > 1) + " " + ", ".join(f"`{name}`" for name in some)
        for what, some in names.items()
        if some
    ]
    return f"; only there: {'; '.join(told)}." if told else "."


def _heading(table: Table) -> str:
    key = table.key
    student = f", student `{key.student}`, {key.space} pixels" if key.student else ""
    what = "**Trainings on a fraction of the images**" if key.filled == FRACTIONS else "**Without a teacher**"
    what = "**Labels of a teacher**" if key.protocol == SOFT_V2.name else what
    return f"{what if student else '**Graphs alone**'}: protocol `{key.protocol}`{student}."


def _table(
    overview: Overview,
    one: DatasetResults,
    page: str,
    only: Sequence[Line] | None = None,
    *,
    aligned: bool = True,
) -> str:
    """Returns the table of an overview in its richest form that is narrow enough.

    With `only`, it has rows of these methods and of references alone.
    Scores of graphs have no intervals here, since there are two of them for each number of samples.
    """
    halves = (False,) if overview.spots[0].pool else (True, False)
    texts = [
        grid(*_rows(overview, one, linked, half, only), aligned=aligned)
        for linked, half in product((page, None), halves)
    ]
    return next((text for text in texts if max(map(len, text.splitlines())) <= WIDTH), texts[-1])


def _rows(
    overview: Overview, one: DatasetResults, page: str | None, halves: bool, only: Sequence[Line] | None
) -> tuple[list[str], list[list[str]]]:
    """Returns the head and the rows of a table."""
    pooled = bool(overview.spots[0].pool)
    papers = bool(overview.papers) and not pooled
    head = ["method", *(spot.head + " [paper]" * papers for spot in overview.spots)]
    sized = _sized(overview) if pooled else {}
    head += [f"size ρ, IPC {overview.spots[-1].ipc}"] * bool(sized)
    names = {line.method for line in overview.references}
    rows = [
        [
            f"*{line.rows[0].name}{overview.table.mark(line.rows[0])}*",
            *_cells(overview, line, halves),
            *_listed(sized, line),
        ]
        for line in overview.references
        if line.method not in LEFT_OUT
    ]
    rows[:0] = [_not_run(overview, name, 0, sized) for name in (WHOLE,) if name not in names]
    parts: list[tuple[str, list[list[str]]]] = [("methods", [])]
    for line in overview.methods if only is None else only:
        name = _name(line, one, page)
        name = f"*{name}*" if line.rows[0].baseline else name
        parts[0][1].append([name, *_cells(overview, line, halves), *_listed(sized, line)])
    absent = overview.absent if only is None else ()
    parts.append(("not run", [_not_run(overview, method, None, sized) for method in absent]))
    for title, mine in parts:
        mine = [row for row in mine if set(row[1:]) != {"-"}]
        rows += [[f"— {title} —", *[""] * (len(head) - 1)], *mine] if mine else []
    return head, [row for row in rows if set(row[1:]) != {"-"}]


def _listed(sized: Mapping[str, str], line: Line) -> list[str]:
    return [sized.get(line.method, "-")] if sized else []


def _name(line: Line, one: DatasetResults, page: str | None) -> str:
    """Returns what a row is called, as a link to its row on the dataset's page."""
    text = joined_name(line.method, (one.names[row] for row in line.rows))
    anchor = one.anchor(line.rows[-1])
    return f"[{text}]({page}#{anchor})" if page and anchor else text


def _cells(overview: Overview, line: Line, halves: bool) -> list[str]:
    texts = []
    for spot in overview.spots:
        if cell := line.cells.get(spot):
            paper = overview.papers.get((line.method, 0 if line.method == WHOLE else spot.ipc, spot.pool))
            texts.append(_score(overview, cell, cell in overview.best[spot], halves))
            texts[-1] += f" [{paper_text(paper)}]" if paper and not spot.pool else ""
        else:
            texts.append(_paper(overview, line.method, spot.ipc, spot))
    return texts


def _score(overview: Overview, cell: Shown, best: bool, halves: bool) -> str:
    half = f" ± {cell.half:.1f}" if halves and cell.half is not None else ""
    if not cell.complete and cell.asked:
        return f"{cell.mean:.1f} ({cell.have} of {cell.asked.students})"
    single = halves and not half and NO_STUDENT not in cell.row.cells
    text = f"{cell.mean:.1f}{half}{' (n=1)' * single}"
    text = f"**{text}**" if best else text
    letters = overview.letters.get(cell.place, "")
    return f"{text} {letters}" if letters else text


def _not_run(overview: Overview, method: str, ipc: int | None, sized: Mapping[str, str]) -> list[str]:
    """Returns a row without a result of ours."""
    title = f"*{TITLES[WHOLE]}*" if method == WHOLE else method
    texts = [_paper(overview, method, spot.ipc if ipc is None else ipc, spot) for spot in overview.spots]
    return [title, *texts, *["-"] * bool(sized)]


def _paper(overview: Overview, method: str, ipc: int, spot: Spot) -> str:
    """Returns what stands in a column without a result: the published number, if there is one."""
    paper = overview.papers.get((method, ipc, spot.pool))
    shown = paper and (not spot.pool or method in overview.absent)
    return f"not run [{paper_text(paper)}]" if paper and shown else "-"


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


def _federation(table: FederatedTable, aligned: bool) -> str:
    """Returns the scores of the algorithms of a federation in a small table."""
    rows = [[name, score_and_paper(cell), str(len(cell.entries))] for name, cell in table.rows]
    text = grid(["method", "mean of the clients", "seeds"], rows, aligned=aligned)
    return f"**Federation** of {len(table.clients)} clients ({table.key.title})\n\n{text}"
