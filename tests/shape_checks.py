"""The check of every call in the test session against the shapes and types in the function's signature.

`tests/conftest.py` imports this module before any of condense, whose modules are then decorated as they are
imported.
"""

from collections.abc import Callable
from typing import Any, Self

from beartype import BeartypeConf, beartype
from jaxtyping import install_import_hook

beartyped = beartype(conf=BeartypeConf(is_pep484_tower=True))


def check(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorates a function so that each call is checked. An int passes where a float is expected.

    `typing.Self` stays unchecked: beartype resolves it only in a class that is decorated as a whole, and the
    hook decorates functions one by one.
    """
    hints = getattr(function, "__annotations__", {})
    hints.update({name: Any for name, hint in hints.items() if hint is Self})
    return beartyped(function)


install_import_hook(["condense"], "shape_checks.check")
