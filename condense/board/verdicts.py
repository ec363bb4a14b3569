"""What an overview says, in a sentence for each column: the best method, the second, random samples, the ceiling."""

from collections import defaultdict
from collections.abc import Mapping

from condense.board.overview import RANDOM, Line, Overview, Shown, Spot
from condense.board.tables import FRACTIONS, Row
from condense.records.record import WHOLE

COUNTING = "num_nodes"


def verdict(overview: Overview, names: Mapping[Row, str]) -> str:
    """Returns the sentences below an overview.

    Args:
        overview: The overview.
        names: What rows are called.
    """
    told = [_column(overview, spot, names) for spot in overview.spots]
    ends = [_count(overview), _whole(overview), _queued(overview)]
    return " ".join(filter(None, [*told, *ends]))


def _column(overview: Overview, spot: Spot, names: Mapping[Row, str]) -> str:
    ranked, random = overview.ranked(spot), _reference(overview, RANDOM, spot)
    plain = f"random {overview.table.layout.samples}"
    if not ranked:
        begun = any(spot in line.cells for line in overview.methods)
        what = "no method is complete" if begun else "no method has been run"
        return f"{spot.head}: {what}" + (f"; {plain} have {random.mean:.1f}." if random else ".")
    (_, best), *others = ranked
    text = f"{spot.head}: `{names[best.row]}` "
    if not others:
        text += f"is the only method so far, {best.mean:.1f}"
    else:
        text += f"is best, {best.mean:.1f}, " + _beside_others(overview, best, others, names)
    if random:
        text += f"; it is {_beside_random(overview, best, random, plain)}"
    return text + "."


def _beside_others(
    overview: Overview, best: Shown, others: list[tuple[Line, Shown]], names: Mapping[Row, str]
) -> str:
    second = others[0][1]
    name = f"`{names[second.row]}` ({second.mean:.1f})"
    alike = [cell for _, cell in others if overview.differ(best, cell) is False]
    if alike:
        first = f"`{names[alike[0].row]}` ({alike[0].mean:.1f})"
        return f"but not told apart from {first}" + (f" and {len(alike) - 1} more" if alike[1:] else "")
    if overview.differ(best, second) is None:
        return f"{best.mean - second.mean:.1f} more than {name}, of which one is a single value"
    return f"and beats the second, {name}"


def _beside_random(overview: Overview, best: Shown, random: Shown, plain: str) -> str:
    gap, differ = best.mean - random.mean, overview.differ(best, random)
    if differ is False:
        return f"not told apart from {plain} ({random.mean:.1f})"
    tested = "" if differ else ", untested,"
    return f"{abs(gap):.1f}{tested} {'above' if gap > 0 else 'below'} {plain} ({random.mean:.1f})"


def _reference(overview: Overview, method: str, spot: Spot) -> Shown | None:
    lines = (line for line in overview.references if line.method == method)
    return next((line.cells.get(spot) for line in lines), None)


def _count(overview: Overview) -> str:
    if not overview.spots or not overview.spots[0].pool:
        return ""
    cell = _reference(overview, COUNTING, overview.spots[0])
    return f"The node count alone gives {cell.mean:.1f}." if cell else ""


def _whole(overview: Overview) -> str:
    cells = {spot.pool: _reference(overview, WHOLE, spot) for spot in overview.spots}
    known = [f"{cell.mean:.1f}{f' ({pool})' * bool(pool)}" for pool, cell in cells.items() if cell]
    if known:
        return f"The whole training set gives {' and '.join(known)}."
    return "" if overview.table.key.filled == FRACTIONS else "The whole training set has not been run."


def _queued(overview: Overview) -> str:
    """Returns where a queue fixed fewer students than the protocol has."""
    found: dict[tuple[int, str], list[str]] = defaultdict(list)
    for line in (*overview.references, *overview.methods):
        for spot, cell in line.cells.items():
            if cell.asked and cell.asked.queued and cell.complete:
                found[cell.asked.count, spot.head].append(line.method)
    told = [f"{count} at {head} ({', '.join(names)})" for (count, head), names in found.items()]
    return f"Students as queued, fewer than the protocol has: {'; '.join(told)}." if told else ""
