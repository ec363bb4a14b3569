"""Distilled sets of other code bases: readers of their files, the checks, and the set that is stored."""

from condense.store.foreign.found import ROWS, Asked
from condense.store.foreign.importing import IMPORTED, Origin, import_set
from condense.store.foreign.layouts import READERS

__all__ = ["IMPORTED", "READERS", "ROWS", "Asked", "Origin", "import_set"]
