"""Small cells for tests of units: of a toy dataset, under protocols of two epochs, and what they come to."""

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from condense import protocols
from condense.protocol import Protocol, Stage
from condense.resources import Machine
from condense.runner.cell import CellSpec, Paths
from condense.runner.run import run_cell
from condense.runner.units import Unit
from condense.runner.worker import Done, Site, work

TINY = Protocol(name="tiny", stages=(Stage(epochs=2),), seeds=2)
WHOLE = replace(TINY, name="tiny-whole", whole=True)
PRUNED = replace(protocols.PRUNE_SHORT_V1, name="tiny-pruned", stages=(Stage(epochs=2),))
MTT = {
    "network": "mlp", "iterations": 2, "experts": 2, "expert_epochs": 1, "max_start_epoch": 1, "syn_steps": 1,
    "batch_experts": 16,
}  # fmt: skip


def know_protocols() -> dict[str, Protocol]:
    """Returns all protocols and the small ones."""
    return {**protocols.PROTOCOLS, **{one.name: one for one in (TINY, WHOLE, PRUNED)}}


def cells(dataset: Path) -> list[CellSpec]:
    """Cells of every kind of unit but federations: two of them share experts, and one cannot be filled."""
    usual: dict[str, Any] = {"dataset": str(dataset), "protocol": "tiny", "student": "mlp"}
    return [
        CellSpec(method="random_subset", **usual, seeds=(0, 1)),
        CellSpec(method="whole", **usual | {"protocol": "tiny-whole"}),
        CellSpec(method="dm", **usual, ipc=99),
        *(CellSpec(method="mtt", **usual, ipc=ipc, params=MTT) for ipc in (1, 2)),
        CellSpec(method="rs2", **usual | {"protocol": "tiny-pruned"}, fraction=0.5),
        CellSpec(method="majority", dataset=str(dataset)),
    ]


def places(folder: Path) -> Paths:
    return Paths(out=folder / "sets", results=folder / "results")


def outcome(paths: Paths) -> dict[str, object]:
    """What is bound to be the same each time: the hashes of sets and the accuracies of students."""
    found: dict[str, object] = {}
    for path in paths.out.glob("*/set.json"):
        found[path.parent.name] = json.loads(path.read_text())["provenance"]["hash"]
    for path in paths.results.glob("*/*.json"):
        entries = json.loads(path.read_text())["entries"]
        found[path.name] = [(one["seed"], one["accuracy"]) for one in entries]
    return found


def in_one_process(cells: Iterable[CellSpec], folder: Path) -> dict[str, object]:
    """Fills cells as a command without other processes does, and returns what they came to."""
    for cell in cells:
        run_cell(cell, places(folder), Machine())
    return outcome(places(folder))


def small_work(unit: Unit, site: Site, *before: Done) -> Done:
    """Does a unit in a process of its own, where the small protocols have to be made known first."""
    protocols.PROTOCOLS = know_protocols()
    return work(unit, site, *before)
