"""Ten rows of the board, drawn at random and done again: ``python benchmarks/reproduced.py``.

Five rows are drawn among images and five among graphs, of which there are many more, from the records whose
distilled set lies in ``results/sets``. New students are trained on each set, with seeds that its protocol
does not use, as ``condense reproduce`` does; nothing is recorded. The outcome is written to
``benchmarks/reproduced.md``. A row is kept in a file of JSON lines as soon as it is done (``--done``), so
that the same command goes on where it stopped.
"""

import argparse
import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from condense.benchmarks.common import append_line, read_lines
from condense.board.format import grid
from condense.records.folder import read_records
from condense.records.record import Record
from condense.resources import Machine
from condense.runner.cell import Paths
from condense.runner.reproduce import LEVEL, Reproduced, find_row, reproduce
from condense.store.folder import read_manifest
from condense.store.manifest import MANIFEST

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results"
PAGE = Path(__file__).with_suffix(".md")
EACH = 5
"""Number of rows that are drawn of images, and of graphs."""

HEAD = """\
# Rows of the board, done again

`python benchmarks/reproduced.py` writes this page. The rows are drawn at random from those whose set lies in
`results/sets`. Each set gets new students, with seeds that its protocol does not use; scores are accuracies
or, of graphs, ROC-AUC, in percent with the standard deviation and, in brackets, the number of students, which
`--students` may make smaller. z is the difference in standard errors, p the probability of one at least as
large if only the seeds differ. A row stands if p is {level} or more.
"""


def at_hand(records: Iterable[Record], sets: Path) -> list[Record]:
    """Returns the records whose set lies in a folder of sets, in the order of their files' names."""
    stored = set()
    for place in sets.iterdir():
        if (place / MANIFEST).exists():
            content, provenance = read_manifest(place)
            stored.add((content["key"], provenance["hash"]))
    mine = [one for one in records if one.set is not None and (one.key, one.set.hash) in stored]
    return sorted(mine, key=lambda one: str(one.path(Path())))


def drawn(records: Sequence[Record], seed: int, each: int = EACH) -> list[Record]:
    """Draws equally many records of images and of graphs, or all where there are fewer."""
    draw, chosen = random.Random(seed), []
    for kind in ("images", "graphs"):
        mine = [one for one in records if one.dataset.kind == kind]
        chosen += draw.sample(mine, min(each, len(mine)))
    return chosen


def told(found: Reproduced) -> dict[str, Any]:
    """Returns what the page says of a row."""
    return {
        "stored": list(found.stored), "again": list(found.again), "z": found.z, "p": found.chance,
        "stands": found.stands,
    }  # fmt: skip


def _scores(scores: Sequence[float]) -> str:
    spread = f" ± {stdev(scores):.1f} ({len(scores)})" if len(scores) > 1 else ""
    return f"{fmean(scores):.1f}{spread}"


def page(done: Mapping[str, Mapping[str, Any]]) -> str:
    """Returns the page for what was found of each row, by the names of the records' files."""
    header = ["record", "recorded", "again", "z", "p", "stands"]
    rows = [
        [
            f"`{name}`", _scores(one["stored"]), _scores(one["again"]), f"{one['z']:+.2f}", f"{one['p']:.2g}",
            "yes" if one["stands"] else "no",
        ]
        for name, one in done.items()
    ]  # fmt: skip
    stand = sum(bool(one["stands"]) for one in done.values())
    return f"{HEAD.format(level=LEVEL)}\n{stand} of {len(done)} rows stand.\n\n{grid(header, rows)}"


def main() -> None:
    """Does the rows that are not done yet, and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, help="folder with the files of datasets")
    parser.add_argument("--done", type=Path, default=Path("reproduced.jsonl"))
    parser.add_argument("--seed", type=int, default=0, help="seed of the draw")
    parser.add_argument(
        "--students", type=int, help="new students of each row; default: the protocol's number"
    )
    asked = parser.parse_args()
    finished = {row.pop("record"): row for row in read_lines(asked.done)}
    paths = Paths(data_dir=asked.data_dir, results=RESULTS)
    chosen = drawn(at_hand(read_records(RESULTS), RESULTS / "sets"), asked.seed)
    for record in chosen:
        name = str(record.path(Path()))
        if name not in finished:
            _, row = find_row(str(record.path(RESULTS)), RESULTS)
            found = reproduce(record, row, paths, Machine(), students=asked.students)
            print(found, flush=True)
            finished[name] = told(found)
            append_line(asked.done, {"record": name} | finished[name])
    PAGE.write_text(page({str(one.path(Path())): finished[str(one.path(Path()))] for one in chosen}))


if __name__ == "__main__":
    main()
