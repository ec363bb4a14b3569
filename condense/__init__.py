"""condense, the benchmark suite for dataset distillation: every method, one storage format, fixed protocols.

The functions are the commands: `distill`, `import_set`, `evaluate`, `run`, `results`, `list_methods`,
`list_datasets`, and `load`, `save`, `sets` and `verify` for stored sets. Names are looked up on first use,
so ``import condense`` does not wait for torch.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from condense.catalogue import load, sets, verify
    from condense.errors import Refused
    from condense.runner.api import (
        distill,
        evaluate,
        import_set,
        list_datasets,
        list_methods,
        results,
        run,
    )
    from condense.store import DistilledSet, GraphSet, ImageSet, save

    __version__: str

_PLACES = {
    "condense.errors": ("Refused",),
    "condense.runner.api": (
        "distill",
        "evaluate",
        "import_set",
        "list_datasets",
        "list_methods",
        "results",
        "run",
    ),
    "condense.catalogue": ("load", "sets", "verify"),
    "condense.store": ("DistilledSet", "GraphSet", "ImageSet", "save"),
}

__all__ = [
    "DistilledSet", "GraphSet", "ImageSet", "Refused", "__version__", "distill", "evaluate", "import_set",
    "list_datasets", "list_methods", "load", "results", "run", "save", "sets", "verify",
]  # fmt: skip


def __getattr__(name: str) -> object:
    if name == "__version__":
        try:
            return version("condense-bench")
        except PackageNotFoundError:
            return "0+unknown"
    for module, names in _PLACES.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
