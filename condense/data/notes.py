"""Sentences about what a loader left out, and about what a test split lacks, for all kinds of data."""

from collections.abc import Mapping, Sequence

FEW = 3
"""Number of files or classes that a sentence names."""

ENOUGH = 10
"""Number of test samples below which a class is said to have few."""

LEFTOVERS = frozenset({
    "__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "system volume information",
    "@eadir",
})  # fmt: skip
"""Names in small letters of files and folders that macOS, Windows and network drives leave behind."""


def is_leftover(name: str) -> bool:
    """Returns whether a file or folder holds no data by its name: it is hidden, or among `LEFTOVERS`."""
    return name.startswith(".") or name.lower() in LEFTOVERS


def few(names: Sequence[str]) -> str:
    """Returns the first names and the number of the others."""
    more = f" and {len(names) - FEW} more" if len(names) > FEW else ""
    return ", ".join(names[:FEW]) + more


def on_resizing(found: Mapping[tuple[int, int], int], made: tuple[int, int]) -> list[str]:
    """Says how many images were resized, and how many of them have other proportions since.

    Args:
        found: Number of images of each width and height before.
        made: Width and height of all images after.
    """
    resized = sum(count for extent, count in found.items() if extent != made)
    stretched = sum(count for extent, count in found.items() if extent[0] * made[1] != extent[1] * made[0])
    if not resized:
        return []
    note = f"{resized} of {sum(found.values())} images were resized to {made[0]} x {made[1]} pixels"
    return [note + (f", which stretches {stretched} of them" if stretched else "")]


def on_test_split(tested: Sequence[int], classes: Sequence[str], noun: str) -> list[str]:
    """Says which classes a test split lacks, and of which it has few samples.

    Args:
        tested: Number of test samples of each class.
        classes: Names of the classes.
        noun: One sample: ``image`` or ``graph``.
    """
    missing = [name for name, count in zip(classes, tested, strict=True) if not count]
    rare = [name for name, count in zip(classes, tested, strict=True) if 0 < count < ENOUGH]
    notes = []
    if missing:
        notes.append(
            f"the test split has no {noun} of {len(missing)} of {len(classes)} classes: {few(missing)}"
        )
    if rare:
        fewest = min(count for count in tested if count)
        notes.append(
            f"the test split has fewer than {ENOUGH} {noun}s of {len(rare)} of {len(classes)} classes "
            f"({fewest} or more): {few(rare)}"
        )
    return notes
