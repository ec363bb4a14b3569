"""The import of a set of another code base: the data are loaded, the set is made and stored."""

from pathlib import Path

from condense.data import load_images, with_classes
from condense.runner.cell import CellSpec, Paths
from condense.store import ImageSet
from condense.store.foreign import Asked, Origin, import_set


def import_file(
    path: Path,
    origin: Origin,
    cell: CellSpec,
    paths: Paths,
    asked: Asked,
    *,
    space: str | None = None,
    ipc: int | None = None,
    trusted: bool = False,
) -> tuple[ImageSet, Path]:
    """Makes a set of a file and stores it.

    Args:
        path: The file, or the folder.
        origin: What it is and where it comes from.
        cell: Names the dataset.
        paths: The folders of the data and of the sets.
        asked: What the user says about the file.
        space: The pixel space of the images; None measures it.
        ipc: Images of each class, if they are to be checked.
        trusted: Whether labels are taken that do not fit the images.

    Returns:
        The set, and the folder where it is stored.

    Raises:
        Refused: see `condense.store.foreign.import_set`.
    """
    dataset = load_images(
        cell.data, data_dir=paths.data_dir, size=cell.size, skip_unreadable=cell.skip_unreadable
    )
    dataset = dataset if cell.classes is None else with_classes(dataset, cell.classes)
    dataset = dataset if cell.augment is None else dataset.augmented(cell.augment)
    made = import_set(path, origin, dataset, asked, space=space, ipc=ipc, trusted=trusted)
    content = made.content
    name = f"{dataset.spec.name}-{content['method']['name']}-ipc{content['ipc']}"
    folder = paths.out / f"{name}-seed0-{content['key'][:8]}"
    made.save(folder)
    return made, folder
