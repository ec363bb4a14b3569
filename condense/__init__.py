"""condense, the benchmark suite for dataset distillation: every method, one storage format, fixed protocols.

`load`, `save`, `verify` and `ImageSet` are all that most code needs. They are looked up on first use, so
that ``import condense`` and ``condense --help`` do not wait for torch.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from condense.store import ImageSet as ImageSet
    from condense.store import load as load
    from condense.store import save as save
    from condense.store import verify as verify

    __version__: str

__all__ = ["ImageSet", "__version__", "load", "save", "verify"]


def __getattr__(name: str) -> object:
    if name == "__version__":
        try:
            return version("condense-bench")
        except PackageNotFoundError:
            return "0+unknown"
    if name in __all__:
        return getattr(import_module("condense.store"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
