"""A summary of what labels are worth: the same few images under class ids, stored labels and a teacher's.

``README.md`` beside a results folder holds it in the same place as `condense.board.summary`.
"""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from condense.board.cells import TableCell
from condense.board.compare import Pair, judged, tally
from condense.board.format import bytes_text, grid, score_so_far
from condense.board.pruning import SCORED
from condense.board.tables import Table
from condense.protocols import HARD_V1, LABEL_V1, PROJECTED_V1, SOFT_V2
from condense.records.record import BASELINES, NO_DISTILLATION

RANDOM, DRAWN, LIGHT = BASELINES[0], "rs2", "hello"
ONE_SHOT = (*BASELINES, *SCORED)
"""The selections that choose their images once."""
COLUMNS = {
    "random, class ids": (LABEL_V1.name, RANDOM),
    "random, one label each": (LABEL_V1.name, NO_DISTILLATION),
    "random, teacher": (SOFT_V2.name, RANDOM),
    "RDED, teacher": (SOFT_V2.name, "rded"),
    "HeLlO, teacher": (SOFT_V2.name, LIGHT),
    "HeLlO, teacher in its loss": (PROJECTED_V1.name, LIGHT),
    "HeLlO, stored labels": (PROJECTED_V1.name, LIGHT),
    "random, HeLlO's labels": (PROJECTED_V1.name, LIGHT),
    "random, weak teacher": (PROJECTED_V1.name, LIGHT),
}
"""The protocol and the method of each column of the table; `_kind` tells the last four apart.

All of these protocols train alike, and differ in the labels and their loss alone.
"""
PLAIN, ONE_LABEL, TAUGHT, CROPS, SAME, BARE, STORED, LENT, WEAK = COLUMNS
OWN = "HeLlO: its stored labels, in its loss (squared errors),"
WEAK_EPOCHS = 10
"""A teacher that is trained for at most so many epochs is called weak."""
HEAD = ["dataset", "student", "IPC", *COLUMNS, "HeLlO's label bytes"]


@dataclass(frozen=True)
class Labelled:
    """The results on one dataset at one IPC with one student network and one teacher.

    Attributes:
        place: Dataset, with the teacher if there are several, student and IPC as texts.
        cells: What there is of `COLUMNS`.
    """

    place: tuple[str, str, str]
    cells: Mapping[str, TableCell]


def labels_summary(tables: Sequence[Table]) -> str:
    """Returns the summary as Markdown; empty if nothing stands beside random images with class ids.

    Args:
        tables: All tables of a board.
    """
    plain = [table for table in tables if not (table.key.asked or table.key.filled)]
    found = [one for one in _labelled(plain) if set(one.cells) - {PLAIN}]
    told = [f"- {text}." for text in _told(found)]
    if pairs := _drawn_and_chosen(plain):
        text = "Under hard-v1, fresh random images in each epoch (RS2), at as many steps as a set takes, are"
        told.append(f"- {text} above the best images chosen once in {tally(pairs)}{_alone(pairs)}.")
    if not told:
        return ""
    head = (
        "What labels are worth. A cell is one dataset, IPC and student network. All students train alike, "
        f"by {SOFT_V2.name} or, where they take what a set stores, by {LABEL_V1.name} or {PROJECTED_V1.name}."
    )
    if any({CROPS, SAME, STORED} & set(one.cells) for one in found):
        head += (
            " Random images under class ids, one label or the teacher are several draws. All else is one "
            "set, with several students, whose interval does not tell what another set would give."
        )
    if any(WEAK in one.cells for one in found):
        head += f" A weak teacher has trained for at most {WEAK_EPOCHS} epochs; HeLlO learns from such ones."
    rows = [[*one.place, *_texts(one)] for one in found]
    return "\n".join([head, "", *told]) + "\n" + (f"\n{grid(HEAD, rows)}" if rows else "")


def _labelled(tables: Sequence[Table]) -> list[Labelled]:
    """Returns what there is of each dataset, student and IPC, in this order; each teacher is one apart."""
    protocols = {protocol for protocol, _ in COLUMNS.values()}
    groups: dict[tuple[str, ...], list[Table]] = defaultdict(list)
    for table in tables:
        if table.key.protocol in protocols:
            groups[*table.key.data, table.key.student, table.key.space].append(table)
    found = []
    for (name, _, _, student, _), group in sorted(groups.items()):
        weak = [table for table in group if table.key.protocol == PROJECTED_V1.name and _all_weak(table)]
        group = [table for table in group if table not in weak]
        teachers = sorted({table.key.teacher for table in group} - {""}) or [""]
        for teacher in teachers:
            held = {one.key.protocol: one for one in group if one.key.teacher in ("", teacher)}
            data = name + f" (teacher {teacher[:8]})" * (len(teachers) > 1)
            for ipc in sorted({ipc for table in held.values() for ipc in table.ipcs}):
                found.append(Labelled((data, student, str(ipc)), _cells(held, weak, ipc)))
    return found


def _cells(held: Mapping[str, Table], weak: Sequence[Table], ipc: int) -> dict[str, TableCell]:
    """Returns what there is of `COLUMNS` at an IPC in the tables of the protocols, and of weak teachers."""
    cells = {}
    for column, (protocol, method) in COLUMNS.items():
        found = _of(held.get(protocol), [method], ipc)
        if column == WEAK:
            found = [cell for table in weak for cell in _of(table, [method], ipc)]
        if protocol == PROJECTED_V1.name:
            found = [cell for cell in found if _kind(cell) == column]
        if column == STORED:  # rather those whose images were judged under the teacher's labels as well
            found = [one for one in found if _same_images(held.get(SOFT_V2.name), one, ipc)] or found
        if found:
            cells[column] = max(found, key=_mean)
    if stored := cells.get(STORED):
        cells.pop(SAME, None)
        cells |= _same_images(held.get(SOFT_V2.name), stored, ipc)
    return cells


def _kind(cell: TableCell) -> str:
    """Returns the column of sets of HeLlO under the labels that they store."""
    config = json.loads(cell.entries[0].chain)[0]["config"]
    bare = config.get("rank") == config.get("head_rank") == 0 and config.get("head") == "low-rank"
    whole = config.get("pool") == config.get("crops") == config.get("crop_min", 1) == 1
    drawn = whole and config.get("update_steps") == 0
    few = config.get("teacher") == "trained" and config["teacher_epochs"] <= WEAK_EPOCHS
    if bare:
        return WEAK if drawn and few else BARE
    return LENT if drawn else STORED


def _all_weak(table: Table) -> bool:
    """Returns whether a table has sets of HeLlO, and all are random images with a weak teacher's labels."""
    cells = [cell for row in table.rows if row.method == LIGHT for cell in row.cells.values()]
    return bool(cells) and all(_kind(cell) == WEAK for cell in cells)


def _drawn_and_chosen(tables: Sequence[Table]) -> list[Pair]:
    """Returns RS2 and the most accurate images that are chosen once, under class ids, where both were run."""
    hard = [(table, ipc) for table in tables if table.key.protocol == HARD_V1.name for ipc in table.ipcs]
    pairs = [(_of(table, [DRAWN], ipc), _of(table, ONE_SHOT, ipc)) for table, ipc in hard]
    best = [[max(cells, key=_mean) for cells in both] for both in pairs if all(both)]
    return judged(Pair(drawn, chosen) for drawn, chosen in best)


def _alone(pairs: Sequence[Pair]) -> str:
    """Returns in how many pairs the second of two are random images."""
    others = [pair.other.entries[0].method for pair in pairs if isinstance(pair.other, TableCell)]
    count = others.count(RANDOM)
    return f" (the best are random ones in {count})" if count else ""


def _of(table: Table | None, methods: Sequence[str], ipc: int) -> list[TableCell]:
    """Returns the cells of some methods, of which there may be several settings."""
    rows = [row for name in methods for row in table.by_method.get(name, ())] if table else []
    return [row.cells[ipc] for row in rows if ipc in row.cells]


def _mean(cell: TableCell) -> float:
    return cell.mean


def _same_images(table: Table | None, stored: TableCell, ipc: int) -> dict[str, TableCell]:
    """Returns the cell of the sets whose stored labels were judged, under the teacher's labels."""
    hashes = {record.set_hash for record in stored.records}
    same = [
        cell for cell in _of(table, [LIGHT], ipc) if hashes == {record.set_hash for record in cell.records}
    ]
    return {SAME: same[0]} if same else {}


def _told(found: Sequence[Labelled]) -> list[str]:
    """Returns how often one column is above another, and what HeLlO's stored labels cost."""
    comparisons = (
        (TAUGHT, PLAIN, "Random images: a teacher's labels of every view are above class ids in"),
        (ONE_LABEL, PLAIN, "Random images: one stored label each is above class ids in"),
        (TAUGHT, ONE_LABEL, "Random images: a teacher's labels of every view are above one label each in"),
        (CROPS, TAUGHT, "Under a teacher's labels, RDED is above random images in"),
        (STORED, SAME, f"{OWN} are above the teacher's in that of soft-v2, on the same images, in"),
        (STORED, BARE, f"{OWN} are above those of the teacher without adapters in"),
        (BARE, SAME, "HeLlO: the teacher's labels in its loss are above the same in that of soft-v2 in"),
        (STORED, TAUGHT, "HeLlO, with its stored labels, is above random images under the teacher's in"),
        (WEAK, TAUGHT, "Random images: a weak teacher's labels, in HeLlO's loss, are above the teacher's in"),
        (LENT, WEAK, "Random images: HeLlO's stored labels are above those of the weak teacher in"),
    )  # fmt: skip
    told = []
    for better, worse, text in comparisons:
        both = [one.cells for one in found if {better, worse} <= set(one.cells)]
        if pairs := judged(dict.fromkeys(Pair(cells[better], cells[worse]) for cells in both)):
            told.append(f"{text} {tally(pairs)}")
    return told


def _texts(one: Labelled) -> list[str]:
    stored = one.cells.get(STORED)
    size = bytes_text([stored.bytes.get("labels", 0)]) if stored else "-"
    return [*(score_so_far(one.cells[name]) if name in one.cells else "-" for name in COLUMNS), size]
