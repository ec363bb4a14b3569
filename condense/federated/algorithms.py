"""The algorithms of federations by name: FedLGD and the five baselines of its paper.

An algorithm is a method that makes no set: its fields are hyper-parameters like those of other methods, and
`condense.federated.strategies` holds what the server does, as a strategy of Flower. In front of its name may
stand the method with which each client distils its data, ``random_subset+fedavg``; `DM` is usual.

Where the baselines differ from their papers: all clients count equally, and no algorithm has momentum on the
server. They train on distilled sets here, as in the paper of FedLGD, not on the clients' images.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from condense.distillation import ImageMethod, Method
from condense.distillation.registry import build, changed
from condense.errors import Refused, unknown
from condense.networks import full_name

DM = "dm"
"""The method with which clients distil their data unless another is named."""
DM_SETTINGS: Mapping[str, object] = {"init": "normal", "lr_images": 1.0}
"""The settings of FedLGD's code for it, where they differ from the defaults; its 10000 iterations are left
to the user."""


@dataclass(frozen=True, kw_only=True)
class Algorithm(Method[Any, Any, Any, Any]):
    """The base of all algorithms."""

    kind = "images"
    stores = False
    remedy = "lower the learning rate of the algorithm"


@dataclass(frozen=True, kw_only=True)
class FedAvg(Algorithm):
    """Federated averaging: the server takes the mean of the networks that its clients have trained.

    McMahan et al. 2017, https://arxiv.org/abs/1602.05629.
    """

    name = "fedavg"


@dataclass(frozen=True, kw_only=True)
class FedProx(Algorithm):
    """Like FedAvg; a client's network is pulled towards the server's while it is trained.

    Li et al. 2020, https://arxiv.org/abs/1812.06127.

    Attributes:
        mu: Weight of half the squared distance from the server's network: 0.01 in FedLGD's comparison.
    """

    name = "fedprox"

    mu: float = 0.01


@dataclass(frozen=True, kw_only=True)
class FedNova(Algorithm):
    """Like FedAvg; clients that make more steps do not count for more.

    Wang et al. 2020, https://arxiv.org/abs/2007.07481. With equally many steps it is FedAvg.
    """

    name = "fednova"


@dataclass(frozen=True, kw_only=True)
class Scaffold(Algorithm):
    """SCAFFOLD: control variates correct the drift of each client's steps; they double the communication.

    Karimireddy et al. 2020, https://arxiv.org/abs/1910.06378, option II with a server's step of 1.
    """

    name = "scaffold"


@dataclass(frozen=True, kw_only=True)
class VHL(Algorithm):
    """Virtual homogeneous learning: all clients also train on the same noise, which calibrates features.

    Tang et al. 2022, https://arxiv.org/abs/2206.02465. The noise comes from an untrained generator, by class;
    every client draws it from the same seed, so that none is sent. The details of the paper were not at hand:
    the generator (`condense.federated.virtual.noise`), the number of images, the form of the calibration
    (`condense.federated.local.contrast`, that of FedLGD) and its weight are choices of this library.

    Attributes:
        virtual_ipc: Noise images of each class.
        weight: Weight of the calibration.
        temperature: Temperature of the calibration.
    """

    name = "vhl"
    may_be_zero = frozenset({"virtual_ipc"})

    virtual_ipc: int = 10
    weight: float = 1.0
    temperature: float = 0.07


@dataclass(frozen=True, kw_only=True)
class FedLGD(Algorithm):
    """Local-global distillation: clients refresh their sets in rounds, and the server distils a shared one.

    Huang et al., Federated Learning on Virtual Heterogeneous Data with Local-global Distillation,
    https://arxiv.org/abs/2303.02278 (TMLR). Authors' code: ubc-tea/FedLGD, commit cdd8382.

    Each client distils its data by distribution matching before the first round. The server draws shared
    images from the mean of the clients' statistics of each class. In a round, clients train the server's
    network on their own set and the shared one together; in all rounds but those of a refresh, a contrastive
    loss also pulls their features to those of the shared images of the class. In a round of a refresh,
    clients first match their sets to their data again, in the features of the server's network (not in the
    first round), and after it the server matches the gradient of the shared images to what the clients'
    training has changed in the network.

    Where this differs from the authors' code, and why:

    - The statistics of a class are those of its images. The code divides their sums by the number of all
      images.
    - Every client of a round starts from the server's present network. With a part of the clients in each
      round, the code lets a client that was not chosen the last time start from an older one.
    - There are ``refreshes`` refreshes, in rounds 0, 5, ..., 45, as the paper says; the code makes one more,
      in round 50, and one round more than the paper's 100.
    - The shared images are sent to a client that lacks their present version, and counted.
    - Clients without images of a class have none of it in their set either.
    - Only the contrastive loss is here; the code also has two others (MMD, and the distance of class means),
      which the paper finds less stable. The code's last step, a network trained on the shared set alone, and
      its mode with local norms are left out.

    When not to use it: where clients have few images and like classes, the shared set costs more than
    it brings, in bytes as in time: the server's matching takes most of a run. And to be compared with
    the baselines by rounds alone: an epoch over the shared images too has more steps.

    Attributes:
        weight: Weight lambda of the contrastive loss: 1 is the code's default, 10 its command for DIGITS.
        temperature: Temperature of the contrastive loss.
        global_ipc: Shared images of each class.
        every: Rounds from one refresh to the next.
        refreshes: Number of rounds with a refresh, beginning with the first.
        local_steps: Steps of a client's matching in a refresh.
        global_steps: Steps of the server's matching in a refresh.
        lr_images: Learning rate of the pixels in a refresh, on clients and server.
        momentum: Momentum of the pixels' SGD in a refresh.
        batch_real: A client's real images of each class in a step of its matching.
    """

    name = "fedlgd"
    may_be_zero = frozenset({"global_ipc", "refreshes", "local_steps", "global_steps"})
    remedy = "lower lr_images, for example to 0.1"

    weight: float = 1.0
    temperature: float = 0.07
    global_ipc: int = 10
    every: int = 5
    refreshes: int = 10
    local_steps: int = 100
    global_steps: int = 500
    lr_images: float = 1.0
    momentum: float = 0.5
    batch_real: int = 256

    def refreshes_in(self, number: int) -> bool:
        """Returns whether a round, counted from 0, has a refresh."""
        return number % self.every == 0 and number < self.every * self.refreshes


ALGORITHMS: Mapping[str, type[Algorithm]] = {
    cls.name: cls for cls in (FedLGD, FedAvg, FedProx, FedNova, Scaffold, VHL)
}
"""The algorithms by name."""


@dataclass(frozen=True, kw_only=True)
class Chain:
    """What runs on a federation: the method that distils each client's data, and the algorithm.

    Attributes:
        local: The method.
        algorithm: The algorithm.
    """

    local: ImageMethod
    algorithm: Algorithm

    @property
    def title(self) -> str:
        """The algorithm's name; that of another method than `DM` stands in front of it."""
        host = self.local.title
        return self.algorithm.name if host == DM else f"{host}+{self.algorithm.name}"

    def links(self) -> list[dict[str, object]]:
        """Returns both as JSON: see `Method.chain`."""
        return [*self.local.chain(), *self.algorithm.chain()]


def is_federated(name: str) -> bool:
    """Returns whether a method's name is that of an algorithm, on its own or behind a ``+``."""
    return name.rpartition("+")[2] in ALGORITHMS


def chain(name: str, dataset: str, ipc: int, params: Mapping[str, object], student: str) -> Chain:
    """Builds an algorithm and the method in front of it.

    Args:
        name: ``fedlgd``, or ``METHOD+fedlgd``.
        dataset: Name of the federation.
        ipc: Images of each class that a client distils.
        params: Fields of the algorithm by name, and of the method as ``METHOD.FIELD``.
        student: The network, in which the method works too unless ``METHOD.network`` says otherwise.

    Raises:
        Refused: if a name, a field or a value is unknown, or the method makes no plain sets of images.
    """
    host, _, last = name.rpartition("+")
    if last not in ALGORITHMS:
        raise unknown("federated algorithm", last, ALGORITHMS)
    method, _ = build(host or DM, dataset, ipc, kind="images")
    names = [str(link.name) for link in method.links()]
    inner: dict[str, object] = {} if "network" not in method.config() else {"network": full_name(student)}
    inner |= DM_SETTINGS if method.title == DM else {}
    outer: dict[str, object] = {}
    for key, value in params.items():
        link, _, field = key.partition(".")
        if not field or link == last:
            outer[field or link] = value
        elif link in names:
            inner[key if link != names[0] else field] = value
        else:
            wrong = unknown(f"link of {name}", link, [*names, last])
            raise Refused(wrong.reason, setting=f"params.{key}", value=value, nearest=wrong.nearest)
    local = cast(ImageMethod, changed(method, inner))
    algorithm = cast(Algorithm, changed(ALGORITHMS[last](), outer))
    if not local.stores or local.labels_views or local.projects_labels or local.labels_by_checkpoint:
        raise Refused(f"{local.title} makes no plain sets of images with class ids, on which clients train")
    if local.pixel_space == "zca":
        setting = f"params.{names[0]}.pixel_space"
        raise Refused("clients see normalized pixels, not zca ones", setting=setting, value="zca")
    return Chain(local=local, algorithm=algorithm)
