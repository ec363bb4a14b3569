"""Methods by name: every module of `condense.methods`, and third parties' through entry points."""

import importlib
import math
import pkgutil
from collections.abc import Sequence
from dataclasses import fields, replace
from functools import cache
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import TypeVar

from condense.distill.method import Method, Published, Recipe
from condense.distill.wrapper import Wrapper
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
def registered() -> MappingProxyType[str, type[Method]]:
    """Every method and wrapper by name, sorted; the first call imports them.

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


def methods() -> dict[str, type[Method]]:
    """The methods that stand alone, by name."""
    return {name: cls for name, cls in registered().items() if not issubclass(cls, Wrapper)}


def wrappers() -> dict[str, type[Wrapper]]:
    """What can stand behind a ``+``, by name."""
    return {name: cls for name, cls in registered().items() if issubclass(cls, Wrapper)}


def build(
    name: str, dataset: str, ipc: int, params: dict[str, str] | None = None
) -> tuple[Method, Recipe | None]:
    """A method with the published settings for a cell, or its defaults, and the user's own on top.

    Args:
        name: The method's name, and behind it what is wrapped around it, from the inside out: ``dm+fyi``.
        dataset: The dataset's name.
        ipc: Images per class.
        params: Fields as text, as the command line has them: ``{"iterations": "500"}`` for a field of the
            method, ``{"fyi.flip_first": "true"}`` for one of any link.

    Returns:
        The method, and the recipe that it was built from if there is one: the host's, without a protocol,
        where a wrapper has no published settings of its own.

    Raises:
        Refused: if a name, a field or a value is unknown, or the composition makes no sense.
    """
    first, *rest = names = name.split("+")
    known, around = methods(), wrappers()
    if first in around:
        raise Refused(f"{first} stands behind a method, as in dm+{first}: it wraps {around[first].wraps}")
    if first not in known:
        raise unknown("method", first, known)
    recipe: Recipe | None = known[first].recipes.get((dataset, ipc))
    method = recipe.method if recipe else known[first]()
    for link in rest:
        if link in known:
            raise Refused(f"{name}: {link} is a method of its own and wraps no other")
        if link not in around:
            raise unknown(f"link of {name}:", link, around)
        if names.count(link) > 1:
            raise Refused(f"{name}: {link} stands there twice")
        method, recipe = _around(around[link], method, recipe)
    return changed(method, params or {}), recipe


def _around(link: type[Wrapper], host: Method, recipe: Recipe | None) -> tuple[Method, Recipe | None]:
    """A wrapper around a method: as published for the two, else at its defaults, which have no protocol.

    Args:
        link: The wrapper.
        host: The method.
        recipe: Where its settings come from, if they are published.
    """
    if recipe is None:
        return link(host=host), None
    if isinstance(recipe, Published) and (own := link.published(recipe)):
        return own.method, own
    method, source = link(host=host), f"{recipe.source}; around it, {link.name} at its defaults"
    return method, Recipe(method=method, protocol=None, source=source)


def changed(method: Method, params: dict[str, str]) -> Method:
    """A method with fields of its links set from text; a field without a link's name is the innermost's.

    Raises:
        Refused: if a link, a field or a value is unknown.
    """
    links = method.links()
    names = [link.name for link in links]
    values: list[dict[str, object]] = [{} for _ in links]
    for key, text in params.items():
        link, _, field = key.rpartition(".")
        if link and link not in names:
            raise unknown(f"method in --param {key}={text}:", link, names)
        at = names.index(link) if link else 0
        values[at][field] = parse(links[at], field, text)
    # All at once: fields that are checked against each other must not be seen half changed.
    done = [
        replace(link, **fields)  # type: ignore[arg-type]
        for link, fields in zip(links, values, strict=True)
    ]
    return wrapped(done)


def wrapped(links: Sequence[Method]) -> Method:
    """The links as one method, each around the ones before it."""
    method, *around = links
    for link in around:
        assert isinstance(link, Wrapper)
        method = replace(link, host=method)
    return method


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
    own = method.config()
    types = {field.name: field.type for field in fields(method) if field.name in own}
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
