"""Methods by name: those in `condense.methods`, and those of other packages by their entry points."""

import importlib
import math
import pkgutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib.metadata import entry_points
from types import MappingProxyType, NoneType
from typing import Any, Literal, TypeVar, cast, get_args, get_origin, get_type_hints

from condense.data import KIND_NAMES
from condense.distillation.method import ImageMethod, Method, Recipe, alternatives
from condense.distillation.wrapper import Wrapper, wrapped
from condense.errors import Refused, unknown
from condense.schema import LARGEST

GROUP = "condense.methods"
"""The entry-point group for methods of other packages: ``name = "package.module:Class"``."""

MethodKey = tuple[str, str]
"""Kind of data and name; a name may stand for one method of each kind."""

_registered: dict[MethodKey, type[Method]] = {}
M = TypeVar("M", bound=type[Method])


def register(cls: M) -> M:
    """Registers a method by its name, for its kind of data; a class decorator.

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
def registered() -> MappingProxyType[MethodKey, type[Method]]:
    """Returns all methods and wrappers by kind and name, sorted; the first call imports them.

    Raises:
        Refused: if a method of another package cannot be imported, or its name is taken.
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


def methods(kind: str = "images") -> dict[str, type[Method]]:
    """Returns the methods for a kind of data, by name, without the wrappers."""
    found = registered().items()
    return {name: cls for (of, name), cls in found if of == kind and not issubclass(cls, Wrapper)}


def wrappers() -> dict[str, type[Wrapper]]:
    """Returns the wrappers by name: what can follow a ``+``. All of them wrap methods for images."""
    return {name: cls for (_, name), cls in registered().items() if issubclass(cls, Wrapper)}


def build(
    name: str, dataset: str, ipc: int, params: Mapping[str, object] | None = None, kind: str = "images"
) -> tuple[Method, Recipe | None]:
    """Builds a method with the published settings for a dataset and IPC, or else with its defaults.

    Args:
        name: The method's name, followed by the wrappers around it from the inside out: ``dm+fyi``.
        dataset: The dataset's name.
        ipc: Samples per class.
        params: Fields to change, as text or as values of the field's type: ``{"iterations": "500"}`` or
            ``{"iterations": 500}`` for a field of the method, ``{"fyi.flip_first": True}`` for one of any
            link.
        kind: The kind of data that the dataset holds.

    Returns:
        The method, and the recipe that it was built from, if there is one. Where a wrapper has no published
        settings of its own, this is the host's recipe without a protocol.

    Raises:
        Refused: if a name, a field or a value is unknown, or the composition makes no sense.
    """
    first, *rest = names = name.split("+")
    known, around = methods(kind), wrappers()
    if first in around:
        raise Refused(f"{first} stands behind a method, as in dm+{first}: it wraps {around[first].wraps}")
    if first not in known:
        for other in KIND_NAMES:
            if first in methods(other):
                raise Refused(f"{first} distils {other}; {dataset} holds {kind}")
        raise unknown("method", first, {one for other in KIND_NAMES for one in methods(other)})
    recipe = known[first].recipes.get((dataset, ipc))
    method = recipe.method if recipe else known[first]()
    if rest and kind != Wrapper.kind:
        raise Refused(f"{name}: nothing is wrapped around a method for {kind}")
    for link in rest:
        if link in known:
            raise Refused(f"{name}: {link} is a method of its own and wraps no other")
        if link not in around:
            raise unknown(f"link of {name}:", link, around)
        if names.count(link) > 1:
            raise Refused(f"{name}: {link} stands there twice")
        method, recipe = _around(around[link], cast(ImageMethod, method), recipe, (dataset, ipc))
    return changed(method, params or {}), recipe


def _around(
    link: type[Wrapper], host: ImageMethod, recipe: Recipe | None, cell: tuple[str, int]
) -> tuple[Method, Recipe | None]:
    """Wraps a host, with the published settings of the composition at a dataset and IPC if there are any."""
    if recipe is None:
        found = link.published_at(host, *cell)
        return (found.method, found) if found else (link(host=host), None)
    own = link.published(host, recipe.protocol, recipe.source) if recipe.protocol else None
    if own is None:
        source = f"{recipe.source}; around it, {link.name} at its defaults"
        own = Recipe(method=link(host=host), protocol=None, source=source)
    return own.method, own


def changed(method: Method, params: Mapping[str, object]) -> Method:
    """Returns a method with some fields changed: see ``params`` of `build`.

    Raises:
        Refused: if a link, a field or a value is unknown.
    """
    links = method.links()
    names = [link.name for link in links]
    values: list[dict[str, object]] = [{} for _ in links]
    for key, value in params.items():
        link, _, field = key.rpartition(".")
        if link and link not in names:
            wrong = unknown(f"link of {method.title}", link, names)
            raise Refused(wrong.reason, setting=f"params.{key}", value=value, nearest=wrong.nearest)
        at = names.index(link) if link else 0
        values[at][field] = parse(links[at], field, value)
    # All at once: fields that are checked against each other must not be seen half changed.
    done = [replace(link, **fields) for link, fields in zip(links, values, strict=True)]
    return done[0] if len(done) == 1 else wrapped(cast(list[ImageMethod], done))


def fitted(method: Method, smallest: int, given: Collection[str] = ()) -> dict[str, object]:
    """Returns the fields that count more real samples of a class than the smallest class has, and that size.

    A batch larger than its class holds samples several times, at full cost: with 300 classes of two images, a
    step of DM with 256 images of each class takes 80 times as long as with two.

    Args:
        method: The method.
        smallest: Number of training samples of the smallest class.
        given: Fields that the user chose, as in ``params`` of `build`; they stay as they are.
    """
    found: dict[str, object] = {}
    for place, link in enumerate(method.links()):
        for field in sorted(link.class_batches):
            names = [f"{link.name}.{field}", *([field] if place == 0 else [])]
            value = link.config()[field]
            if isinstance(value, int) and value > smallest >= 1 and not set(names) & set(given):
                found[names[-1]] = smallest
    return found


def parse(method: Method, name: str, value: object) -> object:
    """Returns the value of a field from text, or from a value that must be of the field's type.

    Args:
        method: The method that has the field.
        name: The field.
        value: Text as a command line has it, or a typed value. A whole number may stand for a float.

    Raises:
        Refused: if the method has no such field, or the value is not one of its type.
    """
    hints = {field: hint for field, hint in get_type_hints(type(method)).items() if field in method.config()}
    if name not in hints:
        raise unknown(f"parameter of {method.name}", name, hints)
    types = alternatives(hints[name])
    try:
        found = _from_text(value, types) if isinstance(value, str) else _of_type(value, types)
    except (ValueError, OverflowError) as error:
        of = " | ".join("None" if one is NoneType else one.__name__ for one in types)
        reason = f"{method.name}'s {name} is of type {of}"
        raise Refused(reason, setting=method.setting(name), value=value) from error
    if isinstance(found, int | float) and abs(found) > (LARGEST if isinstance(found, float) else 2**63 - 1):
        size = "float32" if isinstance(found, float) else "64 bits"
        reason = f"{method.name}'s {name} is too large for {size}"
        raise Refused(reason, setting=method.setting(name), value=value)
    method.require_choice(name, found)
    return found


def _from_text(text: str, types: Sequence[Any]) -> object:
    if NoneType in types and text.lower() == "none":
        return None
    kind = next(one for one in types if one is not NoneType)
    if get_origin(kind) is Literal:  # `parse` refuses what is not among the choices
        return next((choice for choice in get_args(kind) if str(choice) == text), text)
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise ValueError(text)
        return text.lower() == "true"
    return _of_type(kind(text), types)


def _of_type(value: object, types: Sequence[Any]) -> object:
    """Returns the value, a whole number as a float for a field of floats; infinity and NaN have no hash."""
    if any(get_origin(one) is Literal for one in types):  # `parse` refuses what is not a choice
        return value
    if float in types and int not in types and type(value) is int:
        value = float(value)
    if type(value) not in types or isinstance(value, float) and not math.isfinite(value):
        raise ValueError(value)
    return value
