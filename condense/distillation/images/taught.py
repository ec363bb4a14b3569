"""What every method with a teacher has: the fields that name it, and how one is trained."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import torch

from condense.data import ImageDataset, ImageSpec
from condense.distillation.method import ImageMethod
from condense.distillation.registry import wrapped
from condense.errors import Refused, unknown
from condense.files import home, require_writable
from condense.networks import Network, build_network
from condense.resources import Budget
from condense.store.manifest import ImageContent
from condense.teachers import Header, NoFixed, Teacher, find, fixed, read, require_pinnable
from condense.training.pretrained import Pretrained, Training, pretrained

HELD_OUT = 0.05
"""Share of each class that a teacher is not trained on, so that its accuracy can be stated: no test data is
read before the last student. The papers' teachers see the whole training set."""
FIXED, TRAINED = "fixed", "trained"


@dataclass(frozen=True, kw_only=True)
class TeacherMethod(ImageMethod):
    """A method that inverts a teacher, or labels or chooses with one.

    Attributes:
        network: The structure of a teacher that is trained here, or of another code base's weights.
        teacher: ``fixed``, the dataset's pinned one; ``trained``, one trained as the other fields say; or the
            hash of one whose file is given (``--teacher FILE``).
        teacher_epochs: Its passes over the training images.
        teacher_lr: Its learning rate at the first step; it goes to 0 along half a cosine.
        teacher_batch: Images a step.
        inverts: Whether it matches the statistics of the teacher's batch norms, and so wants some.
    """

    network: str = "convnet-bn"
    teacher: str = FIXED
    teacher_epochs: int = 200
    teacher_lr: float = 0.1
    teacher_batch: int = 128

    remedy: ClassVar[str] = "lower the learning rate, or choose another teacher"
    inverts: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuses what `ImageMethod` refuses, another pixel space, and a teacher that nothing could be.

        Raises:
            Refused: naming the field.
        """
        super().__post_init__()
        if self.pixel_space != "normalized":
            raise Refused(
                f"{self.name}: pixel_space = {self.pixel_space}, but a teacher sees normalized images only"
            )
        require_teacher(self.name, self.teacher)

    def structures(self) -> tuple[str, ...]:
        """The networks that are its teachers where they are trained here."""
        return (self.network,)

    def training(self) -> Training:
        """How its teacher is trained, if it is."""
        return teacher_training(
            self.network, epochs=self.teacher_epochs, lr=self.teacher_lr, batch=self.teacher_batch
        )


def teacher_training(
    network: str, *, epochs: int = 200, lr: float = 0.1, batch: int = 128, seed: int = 0
) -> Training:
    """The recipe of the networks that SRe2L and its followers squeeze CIFAR into (https://arxiv.org/abs/2306.13092).

    SGD with momentum 0.9 and weight decay 5e-4, the rate to 0 along half a cosine, random crops of the padded
    image, and flips where the dataset flips.

    Args:
        network: Its name.
        epochs: Passes over the images that are trained on.
        lr: Learning rate at the first step.
        batch: Images a step.
        seed: Of everything that is drawn.
    """
    return Training(
        network=network, epochs=epochs, lr=lr, batch=batch, momentum=0.9, weight_decay=5e-4,
        augment="crop-flip", cosine=True, held_out=HELD_OUT, seed=seed,
    )  # fmt: skip


def require_teacher(method: str, teacher: str, more: Iterable[str] = ()) -> None:
    """Refuses a field ``teacher`` that is neither a known word nor a hash.

    Args:
        method: Its name, for the sentence.
        teacher: The field.
        more: Words beside ``fixed`` and ``trained``.

    Raises:
        Refused: if it names no teacher.
    """
    words = [FIXED, TRAINED, *more]
    if teacher not in words and not _is_hash(teacher):
        if "/" in teacher or "." in teacher:
            raise Refused(f"{method}: teacher = {teacher}: a file is given with --teacher FILE")
        raise unknown(f"teacher of {method}", teacher, words)


def _is_hash(text: str) -> bool:
    return re.fullmatch("[0-9a-f]{64}", text) is not None


def require_fixed(method: ImageMethod, spec: ImageSpec, train_hash: str) -> None:
    """Refuses, before any work, a dataset without the fixed teacher that a link of the method asks for.

    Raises:
        NoFixed: if there is none.
    """
    for number, link in enumerate(method.links()):
        if link.config().get("teacher") == FIXED:
            try:
                fixed(spec.name, train_hash)
            except NoFixed as error:
                field = f"{link.name}.teacher" if number else "teacher"
                instead = f"; or do without, by --param {field}={TRAINED} or --teacher FILE"
                raise NoFixed(error.name, instead=instead) from None


def require_invertible(
    method: ImageMethod, spec: ImageSpec, train_hash: str, teachers: Mapping[str, Path], cache: Path
) -> None:
    """Refuses, before one is trained, a teacher without batch norms for a method that matches theirs.

    Args:
        method: The method.
        spec: The dataset.
        train_hash: SHA-256 of its training split.
        teachers: Files of teachers by their hashes.
        cache: Where teachers are kept.

    Raises:
        Refused: naming the network.
    """
    for link in method.links():
        if not (isinstance(link, TeacherMethod) and link.inverts):
            continue
        if link.teacher == TRAINED:
            remedy = "choose another, as in --param network=convnet-bn"
            for name in link.structures():
                network = build_network(name, spec.shape, spec.num_classes, torch.Generator())
                _require_norms(link, name, network, remedy)
            continue
        if link.teacher == FIXED:
            teacher = fixed(spec.name, train_hash)
        elif (path := teachers.get(link.teacher)) is not None:
            teacher = read(path, network=method.network, spec=spec)
        else:
            try:
                teacher = find(link.teacher, cache=cache)
            except Refused:  # a set that is stored does not need it any more; a run says that it is not here
                continue
        _require_norms(link, teacher.name, teacher.network, f"--param teacher={TRAINED} trains one that has")


def _require_norms(link: TeacherMethod, name: str, network: Network, remedy: str) -> None:
    if not network.mixes_samples:
        raise Refused(f"{link.name} matches its teacher's batch norms, and {name} has none; {remedy}")


def require_same_fixed(
    method: ImageMethod, content: ImageContent, spec: ImageSpec, train_hash: str, where: Path
) -> None:
    """Refuses a stored set of a method with the fixed teacher that was made with another one.

    Args:
        method: The method; its settings say ``fixed`` whichever that is.
        content: The set's.
        spec: The dataset.
        train_hash: SHA-256 of its training split.
        where: The set's folder.

    Raises:
        Refused: if the dataset's fixed teacher is another now.
    """
    words = asked(method)
    if FIXED not in words:
        return
    inverted = content.get("teacher")
    hashes = [inverted["hash"] if inverted else None, content["label"]["teacher"]]
    named = [hash_ for hash_ in hashes if hash_ is not None]
    now = fixed(spec.name, train_hash).hash
    # Beside a link whose teacher is another, one of the two that the set names is to be the fixed one.
    mixed = any(word == TRAINED or _is_hash(str(word)) for word in words)
    if others := [hash_ for hash_ in named if hash_ != now]:
        if not (mixed and now in named):
            raise Refused(
                f"{where} was made with the teacher {others[0][:8]}, and the fixed one of {spec.name} is "
                f"{now[:8]} now; move it away or choose another --out"
            )


def asked(method: ImageMethod) -> list[object]:
    """The field ``teacher`` of every link of a method that has one."""
    return [link.config()["teacher"] for link in method.links() if "teacher" in link.config()]


def given(method: ImageMethod, path: Path, dataset: ImageDataset) -> tuple[ImageMethod, Mapping[str, Path]]:
    """A method that takes its teacher from a file: the field ``teacher`` of every link that has one.

    Args:
        method: The method.
        path: What ``--teacher`` names.
        dataset: The dataset.

    Returns:
        The method, whose settings hold the teacher's hash and not the path, and the path by that hash.

    Raises:
        Refused: if no link has a teacher, or the file holds none.
    """
    if not asked(method):
        raise Refused(f"--teacher {path}: {method.title} has no teacher")
    teacher = read(path, network=method.network, spec=dataset.spec)
    # Of the innermost outwards: a link is set before it becomes a host.
    links = [
        replace(link, teacher=teacher.hash) if "teacher" in link.config() else link  # type: ignore[call-arg]
        for link in method.links()
    ]
    return wrapped(links), {teacher.hash: path}


def as_teacher(found: Pretrained, training: Training, spec: ImageSpec, train_hash: str) -> Teacher:
    """The teacher that a trained network is, in the precision that a teacher is stored in.

    Args:
        found: The network.
        training: How it was trained.
        spec: The dataset.
        train_hash: SHA-256 of the whole training split.
    """
    header = Header(
        network=training.network,
        dataset=spec.name,
        classes=spec.classes,
        shape=spec.shape,
        mean=spec.mean,
        std=spec.std,
        train_hash=train_hash,
        accuracy=found.accuracy,
        training=training.describe(),
    )
    network = found.network
    return Teacher.of(header, network.state_dict(), network.classifier.weight.device)


def check_teaching(training: Training, dataset: ImageDataset, out: Path | None, pin: bool) -> None:
    """Refuses, before any work, a teacher that cannot be trained, or has no place to go.

    Args:
        training: How it is to be trained.
        dataset: On what.
        out: The file to write, if any.
        pin: Whether it is to be the dataset's fixed teacher.

    Raises:
        Refused: naming the option.
    """
    spec = dataset.spec
    build_network(training.network, spec.shape, spec.num_classes, torch.Generator())
    if spec.kind != "images":
        raise Refused(f"a teacher looks at images; {spec.name} holds {spec.kind}")
    for name, value in (("epochs", training.epochs), ("batch", training.batch)):
        if value is not None and value < 1:
            raise Refused(f"--{name} {value} must be at least 1")
    if not 0 < training.lr < float("inf"):
        raise Refused(f"--lr {training.lr} is no learning rate")
    if out is None and not pin:
        raise Refused("condense teach wants a place for the teacher: --out FILE, --pin, or both")
    if out is not None:
        if out.suffix != ".safetensors" or out.is_dir():
            raise Refused(f"--out {out}: a teacher is a file NAME.safetensors")
        require_writable(out.parent)
    if pin:
        require_pinnable(spec.name, dataset.train.hash, training.describe())


def teach(training: Training, dataset: ImageDataset, device: torch.device, budget: Budget) -> Teacher:
    """A teacher, trained now or found among the trained networks of the home folder.

    Args:
        training: How.
        dataset: Its training images are trained on; the others are not read.
        device: Where to train.
        budget: When to stop; the same call goes on from there.

    Raises:
        Refused: if the home folder cannot be written, or the loss is not finite.
        Stopped: when the budget has run out.
    """
    require_writable(home())
    train = dataset.train.to(device).in_space(dataset.space("normalized").to(device))
    found = pretrained(
        training, train, dataset.spec, "normalized", cache=home(), budget=budget, remedy="lower --lr"
    )
    return as_teacher(found, training, dataset.spec, dataset.train.hash)
