"""The Python API: the work of the commands as functions, for notebooks and scripts."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from condense import catalogue
from condense.data import GRAPH_NAMES, IMAGE_NAMES, KIND_NAMES
from condense.distillation.registry import methods, wrappers
from condense.events import Hearer, hearing
from condense.federated.algorithms import ALGORITHMS
from condense.files import home
from condense.records import frame
from condense.runner.cell import CellSpec, Paths, machine_named
from condense.runner.foreign import import_file
from condense.runner.reevaluate import reevaluate
from condense.runner.run import distil_cell, run_cell
from condense.runner.spread import spread_cells
from condense.store import DistilledSet
from condense.store.foreign import Asked, Origin


def distill(
    method: str | None = None,
    dataset: str | Path | None = None,
    ipc: int = 1,
    *,
    ipc_per_class: Mapping[str, int] | str | Path | None = None,
    imbalanced: str | None = None,
    seed: int = 0,
    data_dir: str | Path | None = None,
    size: int | None = None,
    skip_unreadable: bool = False,
    undirected: bool = False,
    classes: Sequence[str] | None = None,
    augment: str | None = None,
    teacher: str | Path | None = None,
    out: str | Path | None = None,
    device: str = "auto",
    budget: str | None = None,
    on_event: Hearer | None = None,
    **fields: object,
) -> DistilledSet:
    """Distils a dataset.

    The set is stored, so the same call returns it at once the next time.

    Args:
        method: Name of the method, with wrappers after it: ``dm``, ``dm+fyi`` (see `list_methods`). None
            takes ``dm``, or ``mirage`` for a dataset of graphs.
        dataset: Name (see `list_datasets`), .npz file, or folder of images or graphs. None takes ``digits``,
            or ``mutag`` for a method that distils graphs.
        ipc: Images or graphs per class.
        ipc_per_class: Images or graphs of some classes by the classes' names, or a CSV file of them with the
            head ``class,count``.
        imbalanced: ``keep`` takes all samples of the classes that have fewer than they should give.
        seed: Seed of the distillation.
        data_dir: Folder with the files of datasets.
        size: Side in pixels to which the images are resized.
        skip_unreadable: Whether to leave out images that cannot be read.
        undirected: Whether edges of graphs that seem to have directions may lose them.
        classes: Names of the classes to take; None takes all.
        augment: Augmentation of the images, such as ``color_crop`` or ``none``; None takes that of the data.
        teacher: File of the teacher that the method takes.
        out: Folder for sets; None stores the set in the cache alone.
        device: ``cpu``, ``cuda``, or ``auto``: a GPU if there is one.
        budget: Time limit such as ``9m``. The same call goes on from there.
        on_event: Called with each event of the work, about one a second, as a dictionary (docs/events.md).
            An exception that it raises ends the work.
        **fields: Hyper-parameters of the method; of a wrapper by ``**{"fyi.flip_first": True}``.

    Returns:
        The distilled set, a `torch.utils.data.Dataset` on the CPU.

    Raises:
        Refused: if this cannot work.
        Stopped: if the budget runs out.
    """
    cell = CellSpec(
        method=method or "", dataset=dataset, ipc=ipc, ipc_per_class=ipc_per_class, imbalanced=imbalanced,
        size=size, skip_unreadable=skip_unreadable, undirected=undirected, classes=classes, augment=augment,
        seeds=(seed,), params=fields, teacher=teacher,
    )  # fmt: skip
    paths = _paths(home() / "sets" if out is None else out, data_dir=data_dir)
    with hearing(on_event):
        ((made, _),) = distil_cell(cell, paths, machine_named(device, budget))
    return made


def evaluate(
    distilled: DistilledSet | str | Path,
    *,
    student: str | None = None,
    protocol: str | None = None,
    targets: Sequence[str] | None = None,
    dataset: str | Path | None = None,
    data_dir: str | Path | None = None,
    size: int | None = None,
    skip_unreadable: bool = False,
    undirected: bool = False,
    classes: Sequence[str] | None = None,
    augment: str | None = None,
    teacher: str | Path | None = None,
    eval_seeds: int | None = None,
    results: str | Path | None = None,
    device: str = "auto",
    budget: str | None = None,
    on_event: Hearer | None = None,
) -> pd.DataFrame:
    """Trains students from scratch on a set and tests them.

    Args:
        distilled: The set, the folder where it is stored, or its name (see `condense.load`).
        student: Name of the student network; None takes convnet, or six networks for graphs.
        protocol: Evaluation protocol; None takes the dataset's default, ``published`` the one of the paper
            that the set's settings come from.
        targets: The datasets that students are trained and tested on after the set, under a protocol that
            does so; None takes the set's own.
        dataset: The dataset; None finds it by the name that the set holds.
        data_dir: As in `distill`.
        size: As in `distill`.
        skip_unreadable: As in `distill`.
        undirected: As in `distill`.
        classes: As in `distill`; None takes those that the set was made of.
        augment: As in `distill`; None takes that of the set.
        teacher: File of the teacher that the set was made with, for a protocol under which it labels.
        eval_seeds: Number of students; None takes the protocol's number.
        results: Folder for records; None records nothing.
        device: As in `distill`.
        budget: As in `distill`.
        on_event: As in `distill`.

    Returns:
        A table with one row for each student, with the columns of `results`.

    Raises:
        Refused: if this cannot work.
        Stopped: if the budget runs out.
    """
    cell = CellSpec(
        dataset=dataset, protocol=protocol, student=student, size=size, skip_unreadable=skip_unreadable,
        undirected=undirected, classes=classes, augment=augment, eval_seeds=eval_seeds, teacher=teacher,
        targets=targets,
    )  # fmt: skip
    made = catalogue.load(distilled) if isinstance(distilled, str | Path) else distilled
    paths = _paths(results="results" if results is None else results, data_dir=data_dir)
    machine = machine_named(device, budget)
    with hearing(on_event):
        return frame.frame(reevaluate(made, cell, paths, machine, recorded=results is not None))


def run(
    method: str | None = None,
    dataset: str | Path | None = None,
    ipc: int | None = None,
    *,
    fraction: float | None = None,
    ipc_per_class: Mapping[str, int] | str | Path | None = None,
    imbalanced: str | None = None,
    seed: int | None = None,
    student: str | None = None,
    protocol: str | None = None,
    targets: Sequence[str] | None = None,
    eval_seeds: int | None = None,
    out: str | Path = "sets",
    results: str | Path = "results",
    device: str = "auto",
    budget: str | None = None,
    data_dir: str | Path | None = None,
    size: int | None = None,
    skip_unreadable: bool = False,
    undirected: bool = False,
    classes: Sequence[str] | None = None,
    augment: str | None = None,
    teacher: str | Path | None = None,
    clients: str | None = None,
    on: str | None = None,
    on_event: Hearer | None = None,
    **fields: object,
) -> pd.DataFrame:
    """Distils a dataset, stores the set, trains students on it and records their results.

    What is stored and recorded already is not done again. The arguments are those of `distill` and of
    `evaluate`. ``method`` may also name a reference row such as ``whole`` or ``majority``, and a ``seed`` of
    None stands for all seeds of the method's row on a board. An ``ipc`` of None is 1, unless there is a
    ``fraction``: that of the training images, without their validation part, that students are trained on in
    each epoch, without a set. With ``clients``, or a federated algorithm as the method, clients train one
    network together: see `condense.federated.splits.federation` and `condense.federated.algorithms`.

    ``on`` spreads sets and students over processes: ``local:4``, ``ray`` or ``ray:ADDRESS`` (see
    docs/cluster.md). Processes of this machine import the calling script anew: its work belongs below
    ``if __name__ == "__main__":``. Events of other processes are not heard here.

    Returns:
        A table with one row for each student, with the columns of `results`.

    Raises:
        Refused: if this cannot work.
        Stopped: if the budget runs out.
    """
    number: dict[str, Any] = {} if ipc is None else {"ipc": ipc}
    cell = CellSpec(
        **number, method=method or "", dataset=dataset, fraction=fraction,
        ipc_per_class=ipc_per_class, imbalanced=imbalanced,
        protocol=protocol, student=student, size=size, skip_unreadable=skip_unreadable,
        undirected=undirected, classes=classes, augment=augment, seeds=None if seed is None else (seed,),
        eval_seeds=eval_seeds, clients=clients, params=fields, teacher=teacher, targets=targets,
    )  # fmt: skip
    paths = _paths(out, results, data_dir)
    machine = machine_named("auto" if (on or "").startswith("ray") else device, budget)
    with hearing(on_event):
        if on is not None:
            spread_cells([cell], paths, machine, on, device)
        return frame.frame(run_cell(cell, paths, machine))


def import_set(
    path: str | Path,
    kind: str,
    dataset: str | Path,
    *,
    method: str | None = None,
    source: str | None = None,
    space: str | None = None,
    ipc: int | None = None,
    labels: str | Path | None = None,
    labels_are: str | None = None,
    trust_labels: bool = False,
    experiment: int | None = None,
    tile: int | None = None,
    padding: int = 2,
    data_dir: str | Path | None = None,
    size: int | None = None,
    classes: Sequence[str] | None = None,
    augment: str | None = None,
    out: str | Path | None = None,
) -> DistilledSet:
    """Makes a stored set of a distilled set of another code base; nothing in its file is executed.

    Args:
        path: The file, or the folder of pictures.
        kind: ``dc``, ``mtt``, ``tensors``, ``frepo``, ``rcig``, ``kip``, ``rfad``, ``grid`` or ``folder``.
        dataset: The dataset that the set stands for.
        method: Name of the method that made it, for its row on the board.
        source: Where the file is from, such as an address.
        space: Pixel space of the images; None measures it.
        ipc: Images per class, if they are to be checked.
        labels: File of the labels if it is another one, or ``rows`` for images in the order of the classes.
        labels_are: What labels with a number for each class are: ``probabilities``, ``logits`` or
            ``vectors`` that a network's outputs are to equal.
        trust_labels: Whether labels are taken that do not fit the images.
        experiment: Number of the experiment in a file of ``dc``; None takes the last.
        tile: Side of the images of a grid in pixels; None takes that of the dataset.
        padding: Pixels between the images of a grid.
        data_dir: As in `distill`.
        size: As in `distill`.
        classes: As in `distill`.
        augment: As in `distill`.
        out: Folder for sets; None stores the set in the cache alone.

    Returns:
        The set, a `torch.utils.data.Dataset` on the CPU. Its provenance says what was measured.

    Raises:
        Refused: if the file is damaged, asks for something to be executed, or contradicts the dataset, the
            pixel space or the labels.
    """
    named = None if labels is None else str(labels)
    asked = Asked(labels=named, labels_are=labels_are, experiment=experiment, tile=tile, padding=padding)
    cell = CellSpec(dataset=dataset, size=size, classes=classes, augment=augment)
    paths = _paths(home() / "sets" if out is None else out, data_dir=data_dir)
    made, _ = import_file(
        Path(path),
        Origin(kind, method, source),
        cell,
        paths,
        asked,
        space=space,
        ipc=ipc,
        trusted=trust_labels,
    )
    return made


def results(folder: str | Path = "results") -> pd.DataFrame:
    """Reads the records of a folder as a table with one row for each student.

    `condense.records.frame.results` describes the columns.
    """
    return frame.results(Path(folder))


def list_methods() -> pd.DataFrame:
    """Lists the methods and the wrappers (``+name``): their name, kind of data and description.

    The kind of an algorithm that trains on clients with images of their own is ``federated``.
    """
    found = [(name, kind, _first_line(cls)) for kind in KIND_NAMES for name, cls in methods(kind).items()]
    found += [(f"+{name}", "images", _first_line(cls)) for name, cls in wrappers().items()]
    found += [(name, "federated", _first_line(cls)) for name, cls in ALGORITHMS.items()]
    return pd.DataFrame(found, columns=["name", "kind", "description"])


def list_datasets() -> pd.DataFrame:
    """Lists the datasets that have a name: their name and kind of data."""
    found = [(name, "images") for name in IMAGE_NAMES] + [(name, "graphs") for name in GRAPH_NAMES]
    return pd.DataFrame(found, columns=["name", "kind"])


def _first_line(cls: type) -> str:
    return (cls.__doc__ or "").strip().splitlines()[0]


def _paths(
    out: str | Path = "sets", results: str | Path = "results", data_dir: str | Path | None = None
) -> Paths:
    return Paths(out=Path(out), results=Path(results), data_dir=None if data_dir is None else Path(data_dir))
