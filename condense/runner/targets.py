"""The datasets that students are trained and tested on after a set of another dataset."""

from pathlib import Path

from condense.data import Dataset, load_dataset
from condense.errors import Refused, Remedy
from condense.evaluation.kinds import kind_of
from condense.protocol import Protocol
from condense.protocols import PROTOCOLS, TRANSFER_SHORT_V1
from condense.runner.cell import CellSpec


def require_transfer(protocol: Protocol, what: str) -> Protocol:
    """Returns a protocol under which students are trained on other data after a set; refuses any other."""
    if protocol.tune is None:
        able = ", ".join(name for name, one in PROTOCOLS.items() if one.tune is not None)
        raise Refused(f"{what} is judged by {able}, not by {protocol.name}")
    return protocol


def targets_of(
    cell: CellSpec, protocol: Protocol, dataset: Dataset, data_dir: Path | None
) -> tuple[Dataset | None, ...]:
    """Loads the datasets that students are trained on after the set, in the shape of the set's images.

    Args:
        cell: The cell.
        protocol: Its protocol.
        dataset: Its dataset, which is the target if no other is named.
        data_dir: Folder with the datasets' files.

    Returns:
        The datasets; None alone for a protocol under which there are none.

    Raises:
        Refused: if the protocol takes no targets, one is named twice, or one cannot be used.
    """
    if protocol.tune is None:
        if cell.targets is not None:
            raise Refused(
                f"{protocol.name} tests students on the data that the set was made of",
                setting="targets",
                value=",".join(cell.targets),
                remedies=[
                    Remedy(settings={"protocol": TRANSFER_SHORT_V1.name}, effect="tests them on others")
                ],
            )
        return (None,)
    if cell.targets is None:
        return (dataset,)
    for name in cell.targets:
        if cell.targets.count(name) > 1:
            raise Refused("this target is named twice", setting="targets", value=name)
    return tuple(_target(name, dataset, data_dir) for name in cell.targets)


def _target(name: str, dataset: Dataset, data_dir: Path | None) -> Dataset:
    if name == dataset.spec.name:
        return dataset
    kind = kind_of(dataset)
    try:
        target = load_dataset(name, data_dir=data_dir)
    except Refused as error:
        if error.setting == "dataset":
            error.setting = "targets"
        raise
    if target.spec.kind != kind.name:
        reason = f"{name} holds {target.spec.kind}, and {dataset.spec.name} {kind.name}"
        raise Refused(reason, setting="targets", value=name)
    found: Dataset = kind.as_target(target, dataset)
    return found
