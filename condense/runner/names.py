"""What has a name, as JSON values: methods, wrappers, algorithms, datasets, networks and protocols.

What is said of a thing is kept with it: the docstrings of methods and of their fields, the comments below
protocols, the recipes, and the published numbers. `docs/json.md` describes the values.
"""

import ast
import inspect
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, fields
from functools import partial
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from typing import Any, Literal, get_args, get_origin, get_type_hints

import torch

from condense import protocols
from condense.data import GRAPH_NAMES, IMAGE_NAMES, KIND_NAMES
from condense.data.graphs.sources import KNOWN_GRAPHS
from condense.data.images.known import KNOWN
from condense.distillation.method import Method, Recipe, alternatives
from condense.distillation.registry import build, methods, registered, wrappers
from condense.errors import Refused, Remedy, unknown
from condense.federated.algorithms import ALGORITHMS, DM, DM_SETTINGS, is_federated
from condense.networks import GRAPH_NETWORKS, build_network, network_names
from condense.networks.registry import NETWORKS, smallest_side
from condense.protocol import PUBLISHED, Protocol
from condense.records.published import read_published
from condense.runner.docstrings import code_of, joined, meanings, paper_of, summary, warning_of

Values = dict[str, Any]
"""A thing that has a name, as JSON values."""

OF_PAPERS = "That of the paper whose settings a set was made with."
ANY = "a dataset of images"
"""Stands for the dataset where none is asked for."""
AT = (3, 32, 32), 10
"""The shape of the images, and the number of classes, for which the size of a network is told."""


def overview() -> list[Values]:
    """Returns everything that has a name, with its kind, its kind of data and a line that says what it is."""
    found = [_line("method", name, kind, cls) for kind in KIND_NAMES for name, cls in methods(kind).items()]
    found += [_line("wrapper", f"+{name}", "images", cls) for name, cls in wrappers().items()]
    found += [_line("federated", name, "images", cls) for name, cls in ALGORITHMS.items()]
    told = _protocol_docs()
    rows = [("dataset", name, "images", _images(name)) for name in IMAGE_NAMES]
    rows += [("dataset", name, "graphs", _graphs(name)) for name in GRAPH_NAMES]
    rows += [("network", name, "images", "") for name in network_names()]
    rows += [("network", name, "graphs", "") for name in GRAPH_NETWORKS]
    rows += [
        ("protocol", name, one.kind, summary(told.get(name, ""))) for name, one in protocols.PROTOCOLS.items()
    ]
    rows.append(("protocol", PUBLISHED, "any", OF_PAPERS))
    keys = ("kind", "name", "data", "description")
    return [*found, *(dict(zip(keys, row, strict=True)) for row in rows)]


def _line(kind: str, name: str, data: str, cls: type) -> Values:
    return {
        "kind": kind,
        "name": name,
        "data": data,
        "description": summary(inspect.cleandoc(cls.__doc__ or "")),
    }


def everything() -> dict[str, list[Values]]:
    """Returns `described` of all names but those of networks, whose sizes take time to find out."""
    names = {str(one["name"]) for one in overview() if one["kind"] != "network"}
    return {name: described(name) for name in sorted(names)}


def described(name: str) -> list[Values]:
    """Returns everything that is known of what has a name: of each kind of data, if several share it.

    Args:
        name: As the commands take it: ``dm``, ``dm+fyi``, ``+fyi`` or ``fyi``, ``fedlgd``, ``cifar10``...

    Raises:
        Refused: if nothing has the name, or links that do not fit make it up.
    """
    found = list(_found(name))
    if not found:
        known = {str(one["name"]).removeprefix("+") for one in overview()}
        wrong = unknown("name", name, known)
        if len(wrong.nearest) == len(known):
            raise Refused(
                f"nothing is called {name!r}", remedies=[Remedy(command="list", effect="shows all names")]
            )
        raise wrong
    return found


def _found(name: str) -> Iterator[Values]:
    link = name.removeprefix("+")
    if "+" in name[1:]:
        yield from _composition(name)
    for kind in KIND_NAMES:
        if name in methods(kind):
            cls = methods(kind)[name]
            settings = [_recipe(cell, recipe, cls()) for cell, recipe in sorted(cls.recipes.items())]
            yield _thing("method", name, kind, cls, settings)
    if link in wrappers():
        yield _thing("wrapper", f"+{link}", "images", wrappers()[link], [])
    if name in ALGORITHMS:
        yield _thing("federated", name, "images", ALGORITHMS[name], [])
    if name in IMAGE_NAMES:
        yield _dataset(name, "images", _images(name), _image_facts(name))
    if name in GRAPH_NAMES:
        yield _dataset(name, "graphs", _graphs(name), _graph_facts(name))
    full = {one.partition("@")[0]: one for one in network_names()} | {one: one for one in network_names()}
    if name in full:
        yield _network(full[name])
    if name in GRAPH_NETWORKS:
        layer, pool = name.split("-")
        about = f"Message passing by {layer.upper()} layers, and the {pool} of the nodes' values."
        yield _entry("network", name, "graphs", about)
    if name in protocols.PROTOCOLS:
        yield _protocol(protocols.PROTOCOLS[name])
    if name == PUBLISHED:
        yield _entry("protocol", name, "any", OF_PAPERS)


def _entry(kind: str, name: str, data: str, description: str, **more: Any) -> Values:
    """Returns an entry with all keys that one may have."""
    empty: Values = {
        "about": "", "paper": None, "code": None, "not_for": None, "version": None, "package": None,
        "facts": {}, "fields": [], "recipes": [], "published": [],
    }  # fmt: skip
    return {"kind": kind, "name": name, "data": data, "description": description, **empty, **more}


# Methods ---------------------------------------------------------------------------------------------------


def _thing(kind: str, name: str, data: str, cls: type[Any], settings: list[Values]) -> Values:
    own, said = _docs(cls)
    numbers = [] if kind == "wrapper" else _numbers(method=name)
    return _entry(
        kind, name, data, summary(own), about=summary(said), paper=paper_of(said), code=code_of(said),
        not_for=warning_of(said), version=cls.version, package=_package(cls), fields=_fields(cls),
        recipes=settings, published=numbers,
    )  # fmt: skip


def _composition(name: str) -> Iterator[Values]:
    """Yields the entry of a method with wrappers around it, or of a federated algorithm behind a method.

    The fields have the names by which ``params`` knows them: see `build` and `federated.algorithms.chain`.

    Raises:
        Refused: if the links cannot stand together.
    """
    host, _, last = name.rpartition("+")
    federated, names = is_federated(name), host.split("+") if is_federated(name) else name.split("+")
    method, _ = build("+".join(names), ANY, 1)
    known = {**methods(), **wrappers()}
    classes = [known[link] for link in names] + ([ALGORITHMS[last]] if federated else [])
    plain = classes[-1] if federated else classes[0]
    usual = DM_SETTINGS if federated and host == DM else {}
    rows = [
        row | {"name": row["name"] if cls is plain else f"{cls.name}.{row['name']}"}
        | ({"default": usual[row["name"]]} if cls.name == DM and row["name"] in usual else {})
        for cls in classes
        for row in _fields(cls)
    ]  # fmt: skip
    docs = [_docs(cls) for cls in classes]
    papers = "; ".join(filter(None, (paper_of(said) for _, said in docs)))
    yield _entry(
        "federated" if federated else "method", name, "images", " ".join(summary(own) for own, _ in docs),
        version=" + ".join(f"{cls.name} {cls.version}" for cls in classes), paper=papers or None, fields=rows,
        recipes=[] if federated else list(_recipes_around(name, method)), published=_numbers(method=name),
    )  # fmt: skip


def _recipes_around(name: str, usual: Method) -> Iterator[Values]:
    """Yields the published settings of a method with wrappers around it, at all cells that any method has."""
    for dataset, ipc in sorted({cell for cls in registered().values() for cell in cls.recipes}):
        try:
            made, recipe = build(name, dataset, ipc)
        except Refused:
            continue
        if recipe is not None:
            yield _recipe((dataset, ipc), recipe, usual, made)


def _docs(cls: type[Any]) -> tuple[str, str]:
    """Returns the docstring of a method, and the one that names its paper: the module's, or its own."""
    own = inspect.cleandoc(cls.__doc__ or "")
    module = inspect.cleandoc(sys.modules[cls.__module__].__doc__ or "")
    return own, own if cls.name in ALGORITHMS else module


def _fields(cls: type[Any]) -> list[Values]:
    """Returns the fields of a method that a user sets: their types, defaults and meanings."""
    hints, told = get_type_hints(cls), meanings(cls)
    return [
        {
            "name": one.name,
            "type": _type(hints[one.name]),
            "default": None if one.default is MISSING else one.default,
            "meaning": told.get(one.name, ""),
        }
        for one in fields(cls)
        if one.init and one.name != "host"
    ]


def _type(hint: object) -> str:
    names: list[str] = []
    for one in alternatives(hint):
        if get_origin(one) is Literal:
            names += [str(choice) for choice in get_args(one)]
        else:
            names.append({"NoneType": "none", "str": "text"}.get(one.__name__, one.__name__))
    return " | ".join(names)


def _recipe(cell: tuple[str, int], recipe: Recipe, usual: Any, made: Any = None) -> Values:
    """Returns the published settings of a cell: those that are not a method's defaults."""
    defaults, published = usual.settings(), (made or recipe.method).settings()
    return {
        "dataset": cell[0],
        "ipc": cell[1],
        "settings": {name: value for name, value in published.items() if defaults.get(name) != value},
        "protocol": None if recipe.protocol is None else recipe.protocol.to_json(),
        "source": recipe.source,
    }


def _package(cls: type[Any]) -> str | None:
    """Returns the distribution that a method comes from, with its version."""
    top = cls.__module__.split(".")[0]
    if top == "condense":
        return None
    for name in packages_distributions().get(top, [top]):
        try:
            return f"{name} {version(name)}"
        except PackageNotFoundError:
            continue
    return top


# Data, networks, protocols ---------------------------------------------------------------------------------


def _images(name: str) -> str:
    known = KNOWN[name]
    c, h, w = known.shape
    return f"{len(known.classes)} classes of {'grey' if c == 1 else 'colour'} images of {h} x {w} pixels"


def _graphs(name: str) -> str:
    known = KNOWN_GRAPHS[name]
    return f"{len(known.classes)} classes of graphs: {known.graphs} with {known.nodes} nodes"


def _image_facts(name: str) -> Values:
    known = KNOWN[name]
    where = "part of scikit-learn" if name == "digits" else "read from a folder that you have"
    return {
        "classes": list(known.classes),
        "shape": list(known.shape),
        "mean": None if known.mean is None else list(known.mean),
        "std": None if known.std is None else list(known.std),
        "augmentation": known.dsa,
        "from": f"downloaded by torchvision ({known.torchvision})" if known.torchvision else where,
    }


def _graph_facts(name: str) -> Values:
    known = KNOWN_GRAPHS[name]
    return {
        "classes": list(known.classes),
        "graphs": known.graphs,
        "nodes": known.nodes,
        "split": "official" if known.split is None else "seeded",
        "from": "part of condense" if name == "mutag" else known.url,
    }


def _dataset(name: str, kind: str, description: str, facts: Values) -> Values:
    cells: dict[str, list[int]] = {}
    for method, cls in methods(kind).items():
        for dataset, ipc in sorted(cls.recipes):
            if dataset == name:
                cells.setdefault(method, []).append(ipc)
    facts["published settings"] = cells
    return _entry("dataset", name, kind, description, facts=facts, published=_numbers(dataset=name))


def _network(full: str) -> Values:
    facts: Values = {"smallest side of images": smallest_side(full)}
    try:
        net = build_network(full, *AT, torch.Generator())
        facts["parameters at 3 x 32 x 32 pixels, 10 classes"] = sum(one.numel() for one in net.parameters())
        facts["depends on the other images of a batch"] = net.mixes_samples
    except Refused as error:
        facts["refused at 3 x 32 x 32 pixels"] = error.reason
    package = full.partition("@")[2] or None
    about = "A network of another package." if package else _network_doc(full)
    return _entry("network", full, "images", about, package=package, facts=facts)


def _network_doc(name: str) -> str:
    """Returns what the function that builds a network says of it."""
    builder: Any = NETWORKS[name]
    while isinstance(builder, partial):
        builder = builder.func
    return summary(inspect.cleandoc(builder.__doc__ or ""))


def _protocol(protocol: Protocol) -> Values:
    means, told = meanings(Protocol), _protocol_docs().get(protocol.name, "")
    rows = [
        {"name": name, "type": type(value).__name__, "default": value, "meaning": means.get(name, "")}
        for name, value in protocol.to_json().items()
        if name not in ("name", "kind")
    ]
    return _entry(
        "protocol", protocol.name, protocol.kind, summary(told), about=joined(told), fields=rows,
        facts={"hash": protocol.hash, "newer version": protocols.SUPERSEDED.get(protocol.name)},
    )  # fmt: skip


def _protocol_docs() -> Mapping[str, str]:
    """Returns what is written below each protocol, by its name."""
    body = ast.parse(inspect.getsource(protocols)).body
    found = {}
    for one, following in zip(body, body[1:], strict=False):
        if not (isinstance(one, ast.Assign) and isinstance(one.targets[0], ast.Name)):
            continue
        value = getattr(protocols, one.targets[0].id)
        text = following.value if isinstance(following, ast.Expr) else None
        if isinstance(text, ast.Constant) and hasattr(value, "name"):
            found[str(value.name)] = inspect.cleandoc(str(text.value))
    return found


# Published numbers -----------------------------------------------------------------------------------------


def _numbers(**wanted: str) -> list[Values]:
    """Returns the published numbers of a method, dataset or student network."""

    def fits(place: Sequence[object], key: str, value: str) -> bool:
        found = str(place[("dataset", "method", "ipc", "student").index(key)])
        return value in (found, found.partition("->")[0])

    return [
        {
            "dataset": one.dataset, "method": one.method, "ipc": one.ipc, "student": one.student,
            "value": one.paper.value, "error": one.paper.error, "protocol": one.paper.protocol,
            "source": one.paper.source, "verified": one.paper.verified, "note": one.note or None,
        }
        for place, one in sorted(read_published().items())
        if all(fits(place, key, value) for key, value in wanted.items())
    ]  # fmt: skip
