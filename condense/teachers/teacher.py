"""A teacher: a trained, frozen network, in the precision that it is stored in.

The weights are rounded to half precision once, when the teacher is made, and the network computes with the
rounded weights in float32. So the file holds exactly the network that labels or is inverted, and one hash
names both. The running statistics of batch norms stay in float32: in half precision a variance of 1e-6 has
one digit and 1e5 is out of range, and methods that invert a teacher match these numbers. The counter of
batches has no effect and is not stored.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from condense.data import ImageSpec
from condense.errors import Refused
from condense.files import canonical, first_line, hash_tensors, locked, write_atomic
from condense.networks import Network, build_network, network_in_chunks, network_tensors
from condense.reading import open_file
from condense.teachers.header import HASH, Header

KEY = "teacher"
"""The only metadata key of a teacher's file."""
STATISTICS = ("running_mean", "running_var")
COUNTER = "num_batches_tracked"


@dataclass(frozen=True, eq=False)
class Teacher:
    """A trained network and what is known about it.

    Attributes:
        network: The network in evaluation mode, frozen, in float32 with values that half precision can hold.
        name: Name of the network.
        hash: SHA-256 of the header and the tensors as they are stored.
        nbytes: Bytes of the stored tensors.
        accuracy: Percent of held-out training images that it classifies correctly; None if unknown.
        classes: Class names, in the order of the logits.
        dataset: Name of the dataset that it was trained on; None if unknown.
        header: The header of its file; None for a teacher that was put together by hand and has no file.
    """

    network: Network
    name: str
    hash: str
    nbytes: int
    accuracy: float | None
    classes: tuple[str, ...]
    dataset: str | None
    header: Header | None = None

    @classmethod
    def of(cls, header: Header, state: Mapping[str, Tensor], device: torch.device | str) -> "Teacher":
        """Makes a teacher out of a network's weights, rounded to the precision of a file.

        Args:
            header: The header of the teacher's file.
            state: The network's `state_dict`, in any precision.
            device: The device to compute on.

        Raises:
            Refused: if the weights do not fit the network, or half precision cannot hold one.
        """
        return _assembled(header, stored(state, f"a teacher that is a {header.network}"), device)

    def logits(
        self, images: Float[Tensor, "n c h w"], *, batch_statistics: bool = False
    ) -> Float[Tensor, "n k"]:
        """Returns the logits in float32, without gradients.

        Args:
            images: Images normalised by the dataset's mean and standard deviation, on the network's device.
            batch_statistics: Whether batch norms use the statistics of these images, all at once, instead of
                the running ones, which do not change. The authors of SRe2L evaluate like this on CIFAR.
        """
        if not batch_statistics:
            return network_in_chunks(self.network, self.network, images)
        with torch.no_grad(), by_batch(self.network):
            found: Tensor = self.network(images)
        return found

    def save(self, path: Path) -> None:
        """Writes the teacher's file, as a whole or not at all."""
        assert self.header is not None, "a teacher put together by hand has no file"
        tensors = stored(self.network.state_dict(), self.name)
        sealed = self.header.to_json() | {HASH: self.hash}
        with locked(path, what=f"writes {path}"):
            write_atomic(path, to_bytes(tensors, metadata={KEY: canonical(sealed)}))


def load_teacher(path: Path, device: torch.device | str = "cpu") -> Teacher:
    """Reads a teacher's file. Nothing in it is executed.

    Args:
        path: A file that `Teacher.save` wrote.
        device: The device to compute on.

    Raises:
        Refused: if the file does not hold a complete teacher of a known network, or not the one that was
            written. Files of older versions do not hold the hash that tells this.
    """
    open_file(path).close()
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if set(metadata) != {KEY}:
                raise Refused(f"{path} is no teacher of condense's: its metadata does not hold {KEY!r} alone")
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError) as error:
        raise Refused(f"{path} is not a whole .safetensors file: {first_line(error)}") from error
    header, sealed = Header.parse(metadata[KEY], path)
    try:
        teacher = _assembled(header, tensors, device)
    except Refused as error:
        raise Refused(f"{path}: {error}") from error
    if sealed is not None and sealed != teacher.hash:
        raise Refused(f"{path} is damaged: its content has the hash {teacher.hash[:8]}, not {sealed[:8]}")
    return teacher


def check_classes(
    teacher: Teacher,
    images: Float[Tensor, "n c h w"],
    labels: Int[Tensor, " n"],
    spec: ImageSpec,
    train_hash: str,
) -> None:
    """Refuses a teacher of other classes, of other images, or of the same classes in another order.

    It must have been trained on the same training split, because another split may hold test images. On 512
    training images it must reach half of its recorded accuracy; if none is recorded, three times the accuracy
    of chance, but not more than 50 %.

    Args:
        teacher: The teacher, on the images' device.
        images: Training images, normalised.
        labels: Class ids.
        spec: The dataset's specification.
        train_hash: SHA-256 of the training split.

    Raises:
        Refused: if the teacher does not fit the dataset.
    """
    what = f"the teacher {teacher.hash[:8]} ({teacher.name} on {teacher.dataset or 'unknown data'})"
    if len(teacher.classes) != spec.num_classes:
        raise Refused(
            f"{what} tells {len(teacher.classes)} classes apart; {spec.name} has {spec.num_classes}"
        )
    pairs = enumerate(zip(teacher.classes, spec.classes, strict=True))
    if other := [(i, theirs, ours) for i, (theirs, ours) in pairs if theirs != ours]:
        i, theirs, ours = other[0]
        raise Refused(f"{what} knows class {i} as {theirs!r}; {spec.name} has {ours!r} there")
    if teacher.header is not None:
        _check_images(teacher.header, spec, train_hash, what)
    chosen = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))[:512]
    chosen = chosen.to(images.device)
    right = teacher.logits(images[chosen]).argmax(1) == labels[chosen]
    accuracy = 100 * float(right.double().mean())
    chance = 100 / spec.num_classes
    least = min(50.0, 3 * chance) if teacher.accuracy is None else teacher.accuracy / 2
    if accuracy < least:
        recorded = "" if teacher.accuracy is None else f", where its file says {teacher.accuracy:.1f} %"
        raise Refused(
            f"{what} is right about {accuracy:.1f} % of {len(chosen)} training images of "
            f"{spec.name}{recorded}: its classes may be in another order"
        )


def _check_images(head: Header, spec: ImageSpec, train_hash: str, what: str) -> None:
    """Refuses images of another shape or normalised in another way, and another training split."""
    if head.shape != spec.shape:
        sides = [" x ".join(map(str, shape)) for shape in (head.shape, spec.shape)]
        raise Refused(f"{what} takes images of {sides[0]}; those of {spec.name} are {sides[1]}")
    for name, theirs, ours in (("mean", head.mean, spec.mean), ("std", head.std, spec.std)):
        if any(abs(a - b) > 1e-4 for a, b in zip(theirs, ours, strict=True)):
            told = [", ".join(f"{value:.4g}" for value in values) for values in (theirs, ours)]
            raise Refused(
                f"{what} takes images normalised by a {name} of {told[0]}; {spec.name} has {told[1]}"
            )
    if head.train_hash is not None and head.train_hash != train_hash:
        raise Refused(
            f"{what} was trained on the training split {head.train_hash[:8]}; {spec.name} has "
            f"{train_hash[:8]}, and images of the other may be among its test images"
        )


@contextmanager
def by_batch(network: Network) -> Iterator[None]:
    """Makes a frozen network's batch norms use batch statistics, and leaves the running ones as they are."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    before = [(norm.training, norm.track_running_stats) for norm in norms]
    try:
        for norm in norms:
            norm.training, norm.track_running_stats = True, False
        yield
    finally:
        for norm, (training, tracked) in zip(norms, before, strict=True):
            norm.training, norm.track_running_stats = training, tracked


def stored(state: Mapping[str, Tensor], what: str) -> dict[str, Tensor]:
    """Returns a network's state as a file holds it; refuses a value that is not finite in that precision."""
    tensors = {
        name: value.detach()
        .to("cpu", torch.float32 if name.endswith(STATISTICS) else torch.float16)
        .contiguous()
        for name, value in state.items()
        if not name.endswith(COUNTER)
    }
    for name, value in tensors.items():
        if not bool(torch.isfinite(value).all()):
            raise Refused(f"{what}: {name} holds a number that is not finite in half precision")
    return tensors


def _assembled(header: Header, tensors: Mapping[str, Tensor], device: torch.device | str) -> Teacher:
    shape, classes = header.shape, len(header.classes)
    expected = {  # compared before the network itself takes any memory
        name: value
        for name, value in network_tensors(header.network, shape, classes).items()
        if not name.endswith(COUNTER)
    }
    if odd := sorted(expected.keys() ^ tensors.keys()):
        state_of = "is missing" if odd[0] in expected else f"is no tensor of {header.network}"
        raise Refused(f"the tensor {odd[0]} {state_of}")
    for name, value in expected.items():
        dtype = torch.float32 if name.endswith(STATISTICS) else torch.float16
        if tensors[name].shape != value.shape or tensors[name].dtype != dtype:
            raise Refused(
                f"the tensor {name} is {_said(tensors[name])}; {header.network} has {_said(value.to(dtype))}"
            )
        if not bool(torch.isfinite(tensors[name]).all()):
            raise Refused(f"the tensor {name} holds a number that is not finite")
    network = build_network(header.network, shape, classes, torch.Generator(), device)
    network.load_state_dict({**network.state_dict(), **tensors})
    network.eval().requires_grad_(False)
    return Teacher(
        network=network,
        name=header.network,
        hash=hash_tensors(tensors, canonical(header.to_json())),
        nbytes=sum(tensor.nbytes for tensor in tensors.values()),
        accuracy=header.accuracy,
        classes=header.classes,
        dataset=header.dataset,
        header=header,
    )


def _said(tensor: Tensor) -> str:
    dtype = str(tensor.dtype).removeprefix("torch.")
    return f"{dtype} {' x '.join(map(str, tensor.shape))}"
