"""What every method with a teacher has: the fields that name it, and how one is trained."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, cast

import torch

from condense.data import ImageDataset, ImageSpec
from condense.distillation.method import ImageMethod, Method
from condense.distillation.wrapper import wrapped
from condense.errors import Refused, unknown
from condense.networks import Network, build_network
from condense.store.images.manifest import ImageContent
from condense.teachers import FIXED, TRAINED, find, fixed, read
from condense.teachers.training import teacher_training
from condense.training.pretrained import Training


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

    def check(self, dataset: ImageDataset, ipc: int, *, teachers: Mapping[str, Path], cache: Path) -> None:
        """Refuses what `ImageMethod.check` refuses, and a teacher without batch norms for `inverts`."""
        super().check(dataset, ipc, teachers=teachers, cache=cache)
        if self.inverts:
            self._require_invertible(dataset.spec, dataset.train.hash, teachers, cache)

    def training(self) -> Training:
        """How its teacher is trained, if it is."""
        return teacher_training(
            self.network, epochs=self.teacher_epochs, lr=self.teacher_lr, batch=self.teacher_batch
        )

    def _require_invertible(
        self, spec: ImageSpec, train_hash: str, teachers: Mapping[str, Path], cache: Path
    ) -> None:
        if self.teacher == TRAINED:
            remedy = "choose another, as in --param network=convnet-bn"
            for name in self.structures():
                network = build_network(name, spec.shape, spec.num_classes, torch.Generator())
                self._require_norms(name, network, remedy)
            return
        if self.teacher == FIXED:
            teacher = fixed(spec.name, train_hash)
        elif (path := teachers.get(self.teacher)) is not None:
            teacher = read(path, network=self.network, spec=spec)
        else:
            try:
                teacher = find(self.teacher, cache=cache)
            except Refused:  # a stored set does not need the teacher any more; a run refuses without it
                return
        self._require_norms(teacher.name, teacher.network, f"--param teacher={TRAINED} trains one that has")

    def _require_norms(self, name: str, network: Network, remedy: str) -> None:
        if not network.mixes_samples:
            raise Refused(f"{self.name} matches its teacher's batch norms, and {name} has none; {remedy}")


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


def require_same_fixed(
    method: Method, content: ImageContent, spec: ImageSpec, train_hash: str, where: Path
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


def asked(method: Method) -> list[object]:
    """The field ``teacher`` of every link of a method that has one."""
    return [link.config()["teacher"] for link in method.links() if "teacher" in link.config()]


def given(method: Method, path: Path, dataset: ImageDataset) -> tuple[ImageMethod, Mapping[str, Path]]:
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
    links = cast(Sequence[ImageMethod], method.links())  # only image methods have a teacher
    teacher = read(path, network=links[0].network, spec=dataset.spec)
    links = [
        replace(link, teacher=teacher.hash) if "teacher" in link.config() else link  # type: ignore[call-arg]
        for link in links
    ]
    return wrapped(links), {teacher.hash: path}
