"""Methods by name: every module of `condense.methods`, and third parties' through entry points."""

import importlib
import math
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from functools import cache
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import Literal, TypeVar, cast, overload

from condense.distillation.graphs.method_tmp import GraphMethod
from condense.distillation.method import ImageMethod, Method, Recipe
from condense.distillation.wrapper import Wrapper
from condense.errors import Refused, unknown

GROUP = "condense.methods"
"""The entry-point group for methods of others: ``name = "package.module:Class"``."""

KINDS = ("graphs", "images")
"""The kinds of data that there are methods for."""

Key = tuple[str, str]
"""Kind of data and name: one name may stand for one method of each kind."""

_registered: dict[Key, type[Method]] = {}
M = TypeVar("M", bound=type[Method])
C = TypeVar("C", bound=Method)


def register(cls: M) -> M:
    """Class decorator: makes a method known by its name, for its kind of data.

    Raises:
        Refused: if the name is taken.
    """
    taken = _registered.get((cls.kind, cls.name))
    if taken is not None and (taken.__module__, taken.__qualname__) != (cls.__module__, cls.__qualname__):
        raise Refused(
            f"two methods are called {cls.name!r}: {taken.__module__}.{taken.__qualname__} "
            f"and {cls.__module__}.{cls.__qualname__}; rename the second"
        )
    _registered[cls.kind, cls.name] = cls
    return cls


@cache
def registered() -> MappingProxyType[Key, type[Method]]:
    """Every method and wrapper by kind and name, sorted; the first call imports them.

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


@overload
def methods(kind: Literal["images"] = "images") -> dict[str, type[ImageMethod]]: ...
@overload
def methods(kind: Literal["graphs"]) -> dict[str, type[GraphMethod]]: ...
@overload
def methods(kind: str) -> dict[str, type[Method]]: ...
def methods(kind: str = "images") -> Mapping[str, type[Method]]:
    """The methods that stand alone, by name.

    Args:
        kind: Of the data that they distil.
    """
    found = registered().items()
    return {name: cls for (of, name), cls in found if of == kind and not issubclass(cls, Wrapper)}


def wrappers() -> dict[str, type[Wrapper]]:
    """What can stand behind a ``+``, by name: all of them wrap methods for images."""
    return {name: cls for (_, name), cls in registered().items() if issubclass(cls, Wrapper)}


@overload
def build(
    name: str,
    dataset: str,
    ipc: int,
    params: dict[str, str] | None = None,
    kind: Literal["images"] = "images",
) -> tuple[ImageMethod, Recipe | None]: ...
@overload
def build(
    name: str, dataset: str, ipc: int, params: dict[str, str] | None = None, *, kind: Literal["graphs"]
) -> tuple[GraphMethod, Recipe | None]: ...
@overload
def build(
    name: str, dataset: str, ipc: int, params: dict[str, str] | None = None, kind: str = "images"
) -> tuple[Method, Recipe | None]: ...
def build(
    name: str, dataset: str, ipc: int, params: dict[str, str] | None = None, kind: str = "images"
) -> tuple[Method, Recipe | None]:
    """A method with the published settings for a cell, or its defaults, and the user's own on top.

    Args:
        name: The method's name, and behind it what is wrapped around it, from the inside out: ``dm+fyi``.
        dataset: The dataset's name.
        ipc: Samples per class.
        params: Fields as text, as the command line has them: ``{"iterations": "500"}`` for a field of the
            method, ``{"fyi.flip_first": "true"}`` for one of any link.
        kind: The kind of data that the dataset holds.

    Returns:
        The method, and the recipe that it was built from if there is one: the host's, without a protocol,
        where a wrapper has no published settings of its own.

    Raises:
        Refused: if a name, a field or a value is unknown, or the composition makes no sense.
    """
    first, *rest = names = name.split("+")
    known, around = methods(kind), wrappers()
    if first in around:
        raise Refused(f"{first} stands behind a method, as in dm+{first}: it wraps {around[first].wraps}")
    if first not in known:
        for other in KINDS:
            if first in methods(other):
                raise Refused(f"{first} distils {other}; {dataset} holds {kind}")
        raise unknown("method", first, {one for other in KINDS for one in methods(other)})
    recipe: Recipe | None = known[first].recipes.get((dataset, ipc))
    method = recipe.method if recipe else known[first]()
    if rest and not isinstance(method, ImageMethod):
        raise Refused(f"{name}: nothing is wrapped around a method for {kind}")
    for link in rest:
        if link in known:
            raise Refused(f"{name}: {link} is a method of its own and wraps no other")
        if link not in around:
            raise unknown(f"link of {name}:", link, around)
        if names.count(link) > 1:
            raise Refused(f"{name}: {link} stands there twice")
        assert isinstance(method, ImageMethod)
        method, recipe = _around(around[link], method, recipe)
    return changed(method, params or {}), recipe


def _around(
    link: type[Wrapper], host: ImageMethod, recipe: Recipe | None
) -> tuple[ImageMethod, Recipe | None]:
    """A wrapper around a method: as published for the two, else at its defaults, which have no protocol.

    Args:
        link: The wrapper.
        host: The method.
        recipe: Where its settings come from, if they are published.
    """
    if recipe is None:
        return link(host=host), None
    if recipe.protocol is not None and (own := link.published(recipe)):
        assert isinstance(own.method, ImageMethod)
        return own.method, own
    method, source = link(host=host), f"{recipe.source}; around it, {link.name} at its defaults"
    return method, Recipe(method=method, protocol=None, source=source)


def changed(method: C, params: dict[str, str]) -> C:
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
    done: Method
    done, *around = [replace(link, **fields) for link, fields in zip(links, values, strict=True)]
    if around:
        done = wrapped(cast(list[ImageMethod], [done, *around]))
    return cast(C, done)


def wrapped(links: Sequence[ImageMethod]) -> ImageMethod:
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
