"""What an overview says of each column: the best method, the second, random samples, and the ceiling."""

from collections import defaultdict
from collections.abc import Mapping

from condense.board.overview import RANDOM, Line, Overview, Shown, Spot
from condense.board.tables import FRACTIONS, Row
from condense.records.record import WHOLE

COUNTS = {"num_nodes": "nodes", "num_edges": "edges", "label_histogram": "label histogram"}
"""Classifiers that see only counts of each graph, and what they see."""


def verdict(overview: Overview, names: Mapping[Row, str]) -> list[str]:
    """Returns the sentences below an overview.

    Args:
        overview: The overview.
        names: What rows are called.
    """
    told = [f"{spot.head}: {text}." for spot in overview.spots if (text := _column(overview, spot, names))]
    ends = " ".join(filter(None, [_counts(overview), _whole(overview), _queued(overview)]))
    return [*told, ends] if ends else told


def _column(overview: Overview, spot: Spot, names: Mapping[Row, str]) -> str:
    ranked, random = overview.ranked(spot), _reference(overview, RANDOM, spot)
    if not ranked:
        begun = any(spot in line.cells for line in overview.methods)
        what = "no method is complete" if begun else "no method has been run"
        return f"{what}; random has {_mean(random)}" if random else what * begun
    (_, best), *others = ranked
    text = f"{'best' if others else 'the only method so far'} is `{names[best.row]}` ({best.mean:.1f})"
    text += f", {_beside_others(overview, best, others, names)}" if others else ""
    return text + (f"; {_beside_random(overview, best, random)}" if random else "")


def _beside_others(
    overview: Overview, best: Shown, others: list[tuple[Line, Shown]], names: Mapping[Row, str]
) -> str:
    second = others[0][1]
    name = f"`{names[second.row]}` ({second.mean:.1f})"
    alike = [cell for _, cell in others if overview.differ(best, cell) is False]
    if alike:
        first = f"`{names[alike[0].row]}` ({alike[0].mean:.1f})"
        return f"not told apart from {first}" + (f" and {len(alike) - 1} more" if alike[1:] else "")
    if overview.differ(best, second) is None:
        return f"untested against {name}"
    return f"which beats {name}"


def _beside_random(overview: Overview, best: Shown, random: Shown) -> str:
    gap, differ = best.mean - random.mean, overview.differ(best, random)
    if differ is False:
        return f"not told apart from random ({random.mean:.1f})"
    tested = "" if differ else ", untested,"
    return f"{abs(gap):.1f}{tested} {'above' if gap > 0 else 'below'} random ({_mean(random)})"


def _mean(cell: Shown) -> str:
    return f"{cell.mean:.1f}" + " so far" * (not cell.complete)


def _reference(overview: Overview, method: str, spot: Spot) -> Shown | None:
    lines = (line for line in overview.references if line.method == method)
    return next((line.cells.get(spot) for line in lines), None)


def _counts(overview: Overview) -> str:
    """Returns the scores of the classifiers that see only counts, which no column changes."""
    cells = {what: _reference(overview, name, overview.spots[-1]) for name, what in COUNTS.items()}
    told = [f"{cell.mean:.1f} ({what})" for what, cell in cells.items() if cell]
    return f"Counts alone give {', '.join(told)}." if told else ""


def _whole(overview: Overview) -> str:
    cells = {spot.pool: _reference(overview, WHOLE, spot) for spot in overview.spots}
    known = [f"{_mean(cell)}{f' ({pool})' * bool(pool)}" for pool, cell in cells.items() if cell]
    if known:
        return f"The whole training set gives {' and '.join(known)}."
    return "" if overview.table.key.filled == FRACTIONS else "The whole training set was not run."


def _queued(overview: Overview) -> str:
    """Returns where a queue fixed fewer students than the protocol has."""
    found: dict[tuple[int, str], list[str]] = defaultdict(list)
    for line in (*overview.references, *overview.methods):
        for spot, cell in line.cells.items():
            if cell.asked and cell.asked.queued and cell.complete:
                found[cell.asked.students, spot.head].append(line.method)
    told = [f"{count} at {head} ({', '.join(names)})" for (count, head), names in found.items()]
    return f"Students as queued, fewer than the protocol has: {'; '.join(told)}." if told else ""
