"""Federated splits: which training and test images each client of a federation holds."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import isfinite

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from condense.data import ImageDataset, Images, ImageSpec
from condense.errors import Refused, Remedy
from condense.federated.transforms import USUAL, VARIANTS, in_colour, require_variants
from condense.files import digest

FORMS = "dirichlet:CLIENTS:ALPHA, variants, variants:NAME,NAME, or domains"
"""How clients are named, in words."""
MOST_CLIENTS = 10_000
"""Largest number of clients."""
DRAWS = 1000
"""Draws of a Dirichlet split before it is refused."""


@dataclass(frozen=True, eq=False)
class Client:
    """One client of a federation.

    Attributes:
        name: Its name: that of its domain or variant, or ``client 3``.
        train: Its training images, with the class ids of the federation.
        test: Its test images.
    """

    name: str
    train: Images
    test: Images

    @property
    def classes(self) -> tuple[int, ...]:
        """The ids of the classes of which it has training images, ascending."""
        return tuple(label for label, count in enumerate(self.train.counts()) if count)


@dataclass(frozen=True, eq=False)
class Federation:
    """The clients of a federation, and what their images have in common.

    Attributes:
        spec: Specification of all clients' images. They are normalised by mean and standard deviation 0.5,
            as the paper of FedLGD does: statistics of the pixels would have to be shared, and would hide in
            what the domains differ.
        clients: The clients.
        split: How the images were split, as JSON values.
    """

    spec: ImageSpec
    clients: tuple[Client, ...]
    split: Mapping[str, object]

    @cached_property
    def train_hash(self) -> str:
        """SHA-256 of the split and of all clients' training images."""
        return digest([dict(self.split), [[one.name, one.train.hash] for one in self.clients]])

    @cached_property
    def test_hash(self) -> str:
        """SHA-256 of all clients' test images."""
        return digest([[one.name, one.test.hash] for one in self.clients])

    def local(self, number: int) -> ImageDataset:
        """Returns the dataset that a client distils: the classes it has, numbered from 0."""
        client = self.clients[number]
        names = tuple(self.spec.classes[label] for label in client.classes)
        plain = re.sub(r"[^\w.+-]", "-", client.name)
        spec = replace(self.spec, name=f"{self.spec.name}.{plain}", classes=names)
        train = client.train
        if len(client.classes) < train.num_classes:
            train = train.only(client.classes)
        empty = torch.empty(0, dtype=torch.int64)
        return ImageDataset(spec, train, client.test.select(empty))


def federation(datasets: Sequence[ImageDataset], clients: str, name: str | None = None) -> Federation:
    """Splits datasets among clients.

    - ``dirichlet:N:ALPHA`` (or ``dirichlet:N:ALPHA:SEED``): one dataset among N clients. Each class is shared
      out by proportions that are drawn from a symmetric Dirichlet distribution: the smaller alpha, the more
      the classes of the clients differ. The test images of a class are shared out by the same proportions.
    - ``variants`` or ``variants:NAME,NAME``: one dataset among as many clients as there are variants. Each
      has an equal part of every class, no image is with two of them, and each sees its images through its
      own transform of `condense.federated.transforms.VARIANTS`.
    - ``domains``: each dataset is a client.

    Args:
        datasets: One dataset, or for ``domains`` at least two.
        clients: The clients, in one of the forms above.
        name: Name of the datasets together; None joins their names.

    Raises:
        Refused: if the text has another form, a number is out of range, there are too few images for the
            clients, or the domains do not have the same classes and the same size of images.
    """
    kind, _, rest = clients.partition(":")
    if kind == "domains" and not rest:
        return _domains(datasets, clients, name)
    if kind not in ("dirichlet", "variants"):
        raise _refused(clients, f"clients are named as {FORMS}")
    if len(datasets) > 1:
        raise _refused(clients, f"one dataset is split among clients, not {len(datasets)}", DOMAINS)
    return _variants(datasets[0], clients, rest) if kind == "variants" else _dirichlet(datasets[0], clients)


DOMAINS = Remedy(settings={"clients": "domains"}, effect="makes a client of each dataset")


def dirichlet(
    labels: Sequence[Int64[Tensor, " _"]], num_classes: int, clients: int, alpha: float, seed: int
) -> tuple[list[list[Int64[Tensor, " _"]]], int]:
    """Splits the positions of several splits among clients by the same Dirichlet proportions of each class.

    For each class, proportions p ~ Dir(alpha, ..., alpha) over the clients are drawn, the positions of each
    split's samples of that class are shuffled, and client i gets those from round(n (p_1 + ... + p_(i-1))) to
    round(n (p_1 + ... + p_i)). The draws are repeated until every client has as many training samples as
    there are classes, and a sample of each other split.

    Args:
        labels: The class ids of each split; the first one is the training split.
        num_classes: Number of classes.
        clients: Number of clients.
        alpha: Concentration, above 0.
        seed: Seed of the draws.

    Returns:
        For each split the positions of each client, ascending; and the number of draws that it took.

    Raises:
        Refused: if `DRAWS` draws leave some client with too few.
    """
    stream = np.random.RandomState(seed)
    places = [[torch.where(one == label)[0] for label in range(num_classes)] for one in labels]
    least = [min(num_classes, len(labels[0]) // clients), *(1 for _ in labels[1:])]
    for draw in range(1, DRAWS + 1):
        found: list[list[list[Tensor]]] = [[[] for _ in range(clients)] for _ in labels]
        for label in range(num_classes):
            shares = np.cumsum(stream.dirichlet(np.full(clients, alpha)))
            ends = np.nan_to_num(shares[:-1])  # all proportions may underflow: then one client takes all
            for split, members in zip(found, places, strict=True):
                mine = members[label][torch.from_numpy(stream.permutation(len(members[label])))]
                cuts = np.rint(ends * len(mine)).astype(int).tolist()
                for client, part in zip(split, torch.tensor_split(mine, cuts), strict=True):
                    client.append(part)
        joined = [[torch.cat(parts).sort().values for parts in split] for split in found]
        if all(len(one) >= few for split, few in zip(joined, least, strict=True) for one in split):
            return joined, draw
    raise Refused(
        f"no Dirichlet split with alpha {alpha:g} in {DRAWS} draws leaves each of {clients} clients "
        f"{least[0]} training images and a test image: there must be fewer clients, or a larger alpha"
    )


def _dirichlet(data: ImageDataset, clients: str) -> Federation:
    count, alpha, seed = _numbers(clients)
    if count > (most := min(len(data.train), len(data.test))):
        which = "training" if most == len(data.train) else "test"
        raise _refused(clients, f"{data.spec.name} has {most} {which} images for {count} clients")
    both = [data.train.labels, data.test.labels]
    (train, test), draws = dirichlet(both, data.spec.num_classes, count, alpha, seed)
    parts = tuple(
        Client(f"client {number}", data.train.select(mine), data.test.select(tested))
        for number, (mine, tested) in enumerate(zip(train, test, strict=True))
    )
    split = {"kind": "dirichlet", "clients": count, "alpha": alpha, "seed": seed, "draws": draws}
    return _joined(data.spec, data.spec.name, clients, parts, split)


def _numbers(clients: str) -> tuple[int, float, int]:
    """Returns the number of clients, alpha and the seed of ``dirichlet:N:ALPHA[:SEED]``."""
    found = re.fullmatch(r"dirichlet:([0-9]{1,9}):([^:]+)(?::([0-9]{1,9}))?", clients)
    try:
        alpha = float(found[2]) if found else 0.0
    except ValueError:
        found = None
    if found is None:
        raise _refused(clients, f"clients are named as {FORMS}")
    if not 1e-2 <= alpha <= 1e6 or not isfinite(alpha):
        raise _refused(clients, "alpha of a Dirichlet split is a number from 0.01 to 1000000")
    if not 1 <= (count := int(found[1])) <= MOST_CLIENTS:
        raise _refused(clients, f"a federation has 1 to {MOST_CLIENTS} clients")
    return count, alpha, int(found[3] or 0)


def _variants(data: ImageDataset, clients: str, rest: str) -> Federation:
    names = tuple(rest.split(",")) if ":" in clients else USUAL
    require_variants(names)
    if len(set(names)) < len(names):
        raise _refused(clients, "a variant is named twice")
    smallest = min(min(data.train.counts()), len(data.test))
    if smallest < len(names):
        reason = f"the smallest class of {data.spec.name} has {smallest} images for {len(names)} clients"
        raise _refused(clients, reason)
    if "rotated" in names and data.spec.height != data.spec.width:
        raise _refused(clients, f"images of {data.spec.name} are not square, and can not be rotated")
    parts = []
    for number, name in enumerate(names):
        splits = [_every(split, number, len(names), name) for split in (data.train, data.test)]
        parts.append(Client(name, *splits))
    split = {"kind": "variants", "variants": list(names)}
    return _joined(data.spec, data.spec.name, clients, tuple(parts), split)


def _every(split: Images, first: int, step: int, variant: str) -> Images:
    """Returns a variant of every ``step``-th image of each class, beginning with the ``first``."""
    ranks = torch.empty_like(split.labels)
    for label in range(split.num_classes):
        members = split.of_class(label)
        ranks[members] = torch.arange(len(members))
    (mine,) = torch.where(ranks % step == first)
    return Images.of(VARIANTS[variant](split.images[mine]), split.labels[mine], split.num_classes)


def _domains(datasets: Sequence[ImageDataset], clients: str, name: str | None) -> Federation:
    if len(datasets) < 2:
        one = datasets[0].spec.name
        reason = f"{one} is one dataset; domains are datasets with + between their names, or a folder of them"
        raise _refused(clients, reason)
    names = [data.spec.name for data in datasets]
    if twice := [one for one in names if names.count(one) > 1]:
        raise _refused(clients, f"two domains are called {twice[0]}")
    first = datasets[0].spec
    for data in datasets[1:]:
        spec = data.spec
        for a, b in ((first, spec), (spec, first)):
            if missing := [one for one in a.classes if one not in b.classes]:
                raise Refused(f"the domain {b.name} has no class {missing[0]!r}, which {a.name} has")
        if spec.classes != first.classes:
            raise Refused(f"the domains {first.name} and {spec.name} have the same classes in another order")
        if spec.shape[1:] != first.shape[1:]:
            sizes = [f"{one.height} x {one.width}" for one in (first, spec)]
            side = max(*first.shape[1:], *spec.shape[1:])
            raise Refused(
                f"images of {first.name} have {sizes[0]} pixels, those of {spec.name} {sizes[1]}",
                remedies=[Remedy(settings={"size": side}, effect="resizes them")],
            )
    for data in datasets:
        for label, count in zip(data.spec.classes, data.train.counts(), strict=True):
            if not count:
                raise Refused(f"the domain {data.spec.name} has no training image of class {label!r}")
    parts = tuple(Client(data.spec.name, data.train, data.test) for data in datasets)
    split = {"kind": "domains", "domains": names}
    return _joined(first, name or "+".join(names), clients, parts, split)


def _joined(
    spec: ImageSpec, name: str, clients: str, parts: tuple[Client, ...], split: Mapping[str, object]
) -> Federation:
    """Returns the federation, with three channels for all clients if one of them has three."""
    channels = max(client.train.images.shape[1] for client in parts)
    if channels == 3:
        parts = tuple(
            replace(client, train=_in_colour(client.train), test=_in_colour(client.test)) for client in parts
        )
    half, whole = (0.5,) * channels, f"{name}{{{clients.replace(':', '-')}}}"
    told = replace(spec, name=whole, shape=(channels, *spec.shape[1:]), mean=half, std=half, named=False)
    return Federation(told, parts, split)


def _in_colour(split: Images) -> Images:
    if split.images.shape[1] == 3:
        return split
    return Images.of(in_colour(split.images), split.labels, split.num_classes)


def _refused(clients: str, reason: str, *remedies: Remedy) -> Refused:
    return Refused(reason, setting="clients", value=clients, remedies=remedies)
