"""Methods by name: every module of `condense.methods`, and third parties' through entry points."""

import importlib
import math
import pkgutil
from dataclasses import fields, replace
from functools import cache
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import TypeVar

from condense.distill.method import Method, Recipe
from condense.errors import Refused, unknown

GROUP = "condense.methods"
"""The entry-point group for methods of others: ``name = "package.module:Class"``."""

_registered: dict[str, type[Method]] = {}
M = TypeVar("M", bound=type[Method])


def register(cls: M) -> M:
    """Class decorator: makes a method known by its name.

    Raises:
        Refused: if the name is taken.
    """
    taken = _registered.get(cls.name)
    if taken is not None and (taken.__module__, taken.__qualname__) != (cls.__module__, cls.__qualname__):
        raise Refused(
            f"two methods are called {cls.name!r}: {taken.__module__}.{taken.__qualname__} "
            f"and {cls.__module__}.{cls.__qualname__}; rename the second"
        )
    _registered[cls.name] = cls
    return cls


@cache
def methods() -> MappingProxyType[str, type[Method]]:
    """Every method by name, sorted; the first call imports them.

    Raises:
        Refused: if a third party's name clashes with another.
    """
    package = importlib.import_module(GROUP)
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{GROUP}.{module.name}")
    for entry in entry_points(group=GROUP):
        try:
            loaded = entry.load()
        except Exception as error:
            raise Refused(f"cannot import the method {entry.name!r} from {entry.value}: {error}") from error
        if not (isinstance(loaded, type) and issubclass(loaded, Method)):
            raise Refused(f"the entry point {entry.name!r} of {entry.value} is not a condense method")
        register(loaded)
    return MappingProxyType(dict(sorted(_registered.items())))


def build(
    name: str, dataset: str, ipc: int, params: dict[str, str] | None = None
) -> tuple[Method, Recipe | None]:
    """A method with the published settings for a cell, or its defaults, and the user's own on top.

    Args:
        name: The method's name.
        dataset: The dataset's name.
        ipc: Images per class.
        params: Fields as text, as the command line has them: ``{"iterations": "500"}`` or, naming the link
            of a composition, ``{"dm.iterations": "500"}``.

    Returns:
        The method, and the recipe that it was built from if there is one.

    Raises:
        Refused: if the name, a field or a value is unknown.
    """
    known = methods()
    if name not in known:
        raise unknown("method", name, known)
    recipe = known[name].recipes.get((dataset, ipc))
    method = recipe.method if recipe else known[name]()
    for key, text in (params or {}).items():
        link, _, field = key.rpartition(".")
        if link and link != name:
            raise unknown(f"method in --param {key}={text}:", link, [name])
        method = replace(method, **{field: parse(method, field, text)})  # type: ignore[arg-type]
    return method, recipe


def finite(number: float) -> float:
    """The number itself.

    Raises:
        ValueError: if it is infinite or none at all, which no hash can cover.
    """
    if not math.isfinite(number):
        raise ValueError(number)
    return number


def parse(method: Method, name: str, text: str) -> object:
    """A field's value from text, by the type of the field.

    Raises:
        Refused: if the method has no such field, or the text is no value of its type.
    """
    types = {field.name: field.type for field in fields(method)}
    if name not in types:
        raise unknown(f"parameter of {method.name}", name, types)
    kind = types[name] if isinstance(types[name], str) else getattr(types[name], "__name__", str(types[name]))
    kind = str(kind)
    try:
        if text.lower() == "none" and "None" in kind:
            return None
        if kind.startswith("bool"):
            return {"true": True, "false": False}[text.lower()]
        if kind.startswith("int"):
            return int(text)
        if kind.startswith("float"):
            return finite(float(text))
    except (KeyError, ValueError) as error:
        raise Refused(f"--param {name}={text}: {method.name}'s {name} is of type {kind}") from error
    return text
