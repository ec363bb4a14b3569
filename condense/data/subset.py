"""Some classes of a dataset as a dataset of their own."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

from condense.data.base import Dataset
from condense.errors import Refused, unknown
from condense.files import digest

MAX_NAMES = 40
"""Largest number of characters of the classes' names within a dataset's name; names become folders."""


DatasetT = TypeVar("DatasetT", bound=Dataset)


def with_classes(dataset: DatasetT, names: Sequence[str]) -> DatasetT:
    """Returns some classes of a dataset: in the dataset's order, numbered anew from 0.

    The result has a name of its own, such as ``cifar10[cat,dog]``, and thereby no published settings, no
    published scores and no shipped teacher. If all classes are named, the result is the dataset itself.

    Args:
        dataset: The dataset.
        names: Names of the classes, in any order.

    Raises:
        Refused: If a class is unknown or named twice, there are fewer than two, or they leave a split empty.
    """
    spec = dataset.spec
    for name in names:
        if name not in spec.classes:
            raise unknown(f"class of {spec.name}", name, spec.classes, setting="classes")
        if names.count(name) > 1:
            raise Refused(f"{spec.name}: this class is named twice", setting="classes", value=name)
    if len(names) < 2:
        reason = f"a classifier needs at least two of the {spec.num_classes} classes of {spec.name}"
        raise Refused(reason, setting="classes", value=",".join(names))
    kept = [label for label, name in enumerate(spec.classes) if name in names]
    if len(kept) == spec.num_classes:
        return dataset
    part: Any = dataset.only(kept)
    whole, parts = dataset.splits(), part.splits()
    if empty := [name for name, samples in parts.items() if not len(samples)]:
        reason = f"{spec.name} has no {spec.kind} of these classes in its split {empty[0]!r}"
        raise Refused(reason, setting="classes", value=",".join(names))
    counts = (f"{len(there) - len(parts[name])} of {len(there)} in {name}" for name, there in whole.items())
    note = f"{spec.num_classes - len(kept)} of {spec.num_classes} classes were left out: {', '.join(counts)}"
    told = replace(
        part.spec, name=named(spec.name, part.spec.classes), named=False, notes=(*spec.notes, note)
    )
    found: DatasetT = replace(part, spec=told)
    return found


def named(dataset: str, classes: Sequence[str]) -> str:
    """Returns the name of some classes of a dataset, which is safe as the name of a folder.

    Names of classes that are long, or hold other characters than letters, digits and ``+ - . _``, are
    followed or replaced by a hash, so that different classes have different names.
    """
    listed = ",".join(classes)
    plain = re.sub(r"[^\w.+,-]", "_", listed)
    if len(plain) > MAX_NAMES:
        plain = f"{len(classes)}-classes"
    exact = plain == listed and not any("," in name for name in classes)
    return f"{dataset}[{plain}]" if exact else f"{dataset}[{plain}-{digest(list(classes))[:8]}]"


def whole_name(dataset: str) -> str:
    """Returns the name of the dataset that some classes were taken of: see `named`."""
    return re.sub(r"\[[^\[\]]*\]$", "", dataset)
