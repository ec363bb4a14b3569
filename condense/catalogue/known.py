"""The sets that are known here: in catalogues, in folders of sets, and in the installed package."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

from condense.catalogue.form import CATALOGUE, SHIPPED, SetEntry, order, read_catalogue, set_name
from condense.errors import Refused
from condense.files import home
from condense.store.folder import read_manifest
from condense.store.manifest import MANIFEST, SetContent, settings

PACKAGE = Path(__file__).resolve().parents[1]
"""The folder that condense is imported from."""
SETS = Path("results") / "sets"
"""Where a checkout has its stored sets."""
MADE = Path("sets")
"""Where runs store what they make, unless they are told another place."""


@dataclass(frozen=True, kw_only=True)
class KnownSet:
    """A set that has a name here.

    Attributes:
        entry: What is known of it.
        source: The catalogue that names it, or its own folder.
        folder: The folder with its files; None if they are not at hand.
        url: The address of that folder, from which it can be downloaded; None if there is none.
    """

    entry: SetEntry
    source: Path
    folder: Path | None = None
    url: str | None = None

    @property
    def where(self) -> str | None:
        """Its folder, or else its address; None if it is known by its hash alone."""
        return self.url if self.folder is None else str(_short(self.folder))


def known_sets() -> list[KnownSet]:
    """Returns all sets that are known here, each once.

    They are named by the catalogue of the checkout (below the working directory, or the source tree that
    condense is installed from), by the manifests of ``sets`` in the working directory and in the home folder,
    and by the catalogue of the package. Of a set that several of them name, the first files are taken.

    Returns:
        The sets in order of their names.

    Raises:
        Refused: if a catalogue is damaged.
    """
    found: dict[tuple[str, str], KnownSet] = {}
    checkouts = [path for path in catalogues() if path.name == CATALOGUE]
    shipped = [path for path in catalogues() if path.name == SHIPPED]
    for known in [*_listed(checkouts), *kept_sets()[0], *_listed(shipped)]:
        place = known.entry.of_run, known.entry.hash
        first = found.setdefault(place, known)
        folder, url = first.folder or known.folder, first.url or known.url
        entry = replace(first.entry, scores=first.entry.scores or known.entry.scores)
        found[place] = replace(first, entry=entry, folder=folder, url=url)
    return sorted(found.values(), key=lambda known: order(known.entry))


def catalogues() -> list[Path]:
    """Returns the catalogues that are here: those of checkouts first, then that of the package."""
    source, here = PACKAGE.parent, SETS / CATALOGUE
    found = [here] if here.is_file() else []
    if (source / "pyproject.toml").is_file() and (theirs := source / SETS / CATALOGUE).is_file():
        found += [] if found and theirs.samefile(here) else [theirs]
    shipped = PACKAGE / "shipped" / SHIPPED
    return [*found, *([shipped] if shipped.is_file() else [])]


def kept_sets() -> tuple[list[KnownSet], list[str]]:
    """Returns the sets that runs made here, and those in the home folder, and why others cannot be read."""
    places = {MADE.absolute(): MADE}
    with suppress(Refused):  # there is no home folder, and so nothing in it
        places.setdefault((kept := home() / "sets").absolute(), kept)
    folders = [path.parent for place in places.values() for path in sorted(place.glob(f"*/{MANIFEST}"))]
    found, refused = [], []
    for folder in folders:
        try:
            content, provenance = read_manifest(folder)
            entry = entry_of(content, str(provenance["hash"]))
        except Refused as error:
            refused.append(str(error))
        else:
            found.append(KnownSet(entry=entry, source=folder, folder=folder))
    return found, refused


def entry_of(content: SetContent, content_hash: str) -> SetEntry:
    """Returns what a set's manifest says of it."""
    dataset, method, ipc = content["dataset"]["name"], content["method"]["name"], content["ipc"]
    return SetEntry(
        name=set_name(dataset, method, ipc, "asked" in content["counts"]),
        kind=content["kind"], dataset=dataset, method=method, ipc=ipc, seed=content["seed"],
        key=content["key"], hash=content_hash, bytes=sum(content.get("bytes", {}).values()),
        settings=settings(content["method"]["chain"]),
    )  # fmt: skip


def _listed(paths: Sequence[Path]) -> Iterator[KnownSet]:
    for path in paths:
        catalogue = read_catalogue(path)
        for entry in catalogue.sets:
            folder, url = None, None
            if entry.folder is not None:
                there = path.parent / entry.folder
                folder = there if (there / MANIFEST).is_file() else None
                url = None if catalogue.url is None else f"{catalogue.url.rstrip('/')}/{quote(entry.folder)}"
            yield KnownSet(entry=entry, source=path, folder=folder, url=url)


def _short(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
