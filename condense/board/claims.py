"""What the records say about claims of papers: which method is more accurate than which other one."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from condense.board.datasets import DatasetResults
from condense.board.format import wrapped
from condense.board.overview import Overview, Shown, Spot
from condense.board.tables import LAYOUTS, Row
from condense.protocols import SOFT_V2
from condense.records.record import BASELINES

LEAST = 4
"""Fewer methods in a table, random images among them, are not worth a list."""

DISTRIBUTION = ("dm", "datadam", "ncfm")
TRAJECTORY = ("mtt", "tesla", "ftd", "ast", "datm")
RANDOM, HERDING, _ = BASELINES


@dataclass(frozen=True, kw_only=True)
class Claim:
    """That one method is more accurate than another.

    Attributes:
        text: The claim in words.
        better: The methods of which one is to be above.
        worse: The methods that it is compared with, of which the best one counts.
        protocol: Name of the protocol; the default one of images if it is empty.
    """

    text: str
    better: Sequence[str]
    worse: Sequence[str]
    protocol: str = ""


CLAIMS = (
    Claim(text="Herding above random images", better=(HERDING,), worse=(RANDOM,)),
    Claim(text="DSA above DC (arXiv 2102.08259)", better=("dsa",), worse=("dc",)),
    Claim(text="DM above DSA (arXiv 2110.04181)", better=("dm",), worse=("dsa",)),
    Claim(text="DataDAM above DM (arXiv 2310.00093)", better=("datadam",), worse=("dm",)),
    Claim(text="IDC above DSA (arXiv 2205.14959)", better=("idc",), worse=("dsa",)),
    Claim(text="MTT above DSA (arXiv 2203.11932)", better=("mtt",), worse=("dsa",)),
    Claim(text="FTD above MTT (arXiv 2211.11004)", better=("ftd",), worse=("mtt",)),
    Claim(text="DATM above FTD (arXiv 2310.05773)", better=("datm",), worse=("ftd",)),
    Claim(
        text="FRePo above DM, without the label vectors that FRePo learns (arXiv 2206.00719)",
        better=("frepo",), worse=("dm",),
    ),
    Claim(
        text="RCIG above FRePo, without the label vectors that both learn (arXiv 2302.06755)",
        better=("rcig",), worse=("frepo",),
    ),
    Claim(text="Trajectory above distribution matching", better=TRAJECTORY, worse=DISTRIBUTION),
    Claim(
        text="Under a teacher's labels, distilled images above random ones (doubted by arXiv 2406.10485)",
        better=("rded", "sre2l", "cda", "dwa", "infer", "dm"), worse=(RANDOM,), protocol=SOFT_V2.name,
    ),
)  # fmt: skip
FLIPPED = "FYI above its host (arXiv 2407.08113)"
WRAPPER = "+fyi"


def claims_text(one: DatasetResults) -> str:
    """Returns the part of a dataset's page that tells which claims hold; empty if too little was run.

    A claim holds if the difference is significant in its direction by the tests of the whole table, and does
    not if it is significant in the other one.
    """
    default = LAYOUTS[one.kind].protocol
    found = {each.table.key.protocol: each for each in one.shown if not each.table.key.filled}
    main = found.get(default)
    if one.kind != "images" or main is None or len(main.methods) + len(main.references) < LEAST:
        return ""
    lines = [f"- {claim.text}: {_verdicts(found.get(claim.protocol or default), claim)}" for claim in CLAIMS]
    lines.append(f"- {FLIPPED}: {_flipped(main, one.names)}")
    head = "What these records say about claims of papers, at the settings below (Welch, Holm):"
    told = [wrapped(f"{line}.", "  ") for line in lines if not line.endswith("not run")]
    silent = [line.removeprefix("- ").removesuffix(": not run") for line in lines if line.endswith("not run")]
    last = [wrapped(f"- Not run: {'; '.join(silent)}.", "  ")] if silent else []
    return "\n".join([f"{head}\n", *told, *last]) + "\n"


def _verdicts(overview: Overview | None, claim: Claim) -> str:
    if overview is None:
        return "not run"
    told = []
    for spot in overview.spots:
        better, worse = (_complete(overview, spot, names) for names in (claim.better, claim.worse))
        if better and worse:
            several = len(claim.better) + len(claim.worse) > 2
            best = _best(worse)
            above = [cell for cell in better if cell.mean > best.mean and overview.differ(cell, best)]
            mine = _best(above or better)
            counts = [_settings(overview, spot, cell.row.method) for cell in (mine, best)]
            told.append(f"{spot.head} {_told(overview, mine, best, several, counts)}")
    return ", ".join(told) or "not run"


def _complete(overview: Overview, spot: Spot, names: Sequence[str]) -> list[Shown]:
    """Returns the complete scores of some methods in a column, the best setting of each."""
    lines = [line for line in (*overview.references, *overview.methods) if line.method in names]
    return [cell for line in lines if (cell := line.complete(spot))]


def _best(cells: Sequence[Shown]) -> Shown:
    return max(cells, key=lambda cell: cell.mean)


def _settings(overview: Overview, spot: Spot, method: str) -> int:
    """Returns the number of settings of a method that a column has complete scores of."""
    return sum(cell.row.method == method and cell.complete for cell in overview.every[spot])


def _told(
    overview: Overview, better: Shown, worse: Shown, several: bool = False, counts: Sequence[int] = (1, 1)
) -> str:
    """Returns a verdict and both scores, with the numbers of settings that these are the best of."""
    gap, differ = better.mean - worse.mean, overview.differ(better, worse)
    verdict = "untested" if differ is None else "not told apart"
    if differ:
        verdict = "holds" if gap > 0 else "does not hold"
    names = (f"{cell.row.method} " * several for cell in (better, worse))
    first, second = (f"{name}{cell.mean:.1f}" for name, cell in zip(names, (better, worse), strict=True))
    one, other = ("the only setting" if n == 1 else f"the best of {n} settings" for n in counts)
    chosen = f"; {one} beside {other}" if max(counts) > 1 else ""
    return f"{verdict} ({first} beside {second}{chosen})"


def _flipped(overview: Overview, names: Mapping[Row, str]) -> str:
    """Returns how methods with the wrapper compare with their hosts, at equal settings if these were run."""
    told = []
    for spot, line in product(overview.spots, overview.methods):
        cell = line.complete(spot)
        if cell is None or not line.method.endswith(WRAPPER):
            continue
        method = line.method.removesuffix(WRAPPER)
        inner = [chain[:-1] for chain in _chains(cell.row)]
        hosts = [one for one in overview.every[spot] if one.row.method == method and one.complete]
        same = [one for one in hosts if any(chain in inner for chain in _chains(one.row))]
        if hosts:
            host = max(same or hosts, key=lambda one: one.mean)
            told.append(f"{spot.head} {names[host.row]} {_told(overview, cell, host)}")
    return ", ".join(told) or "not run"


def _chains(row: Row) -> list[list[object]]:
    return [json.loads(record.chain) for record in row.sets.records]
