"""Methods with a teacher: the fields that name it, and the checks of it before any work."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, cast

import torch

from condense.augment.resized import require_share
from condense.data import ImageDataset
from condense.distillation.method import ImageMethod, Method
from condense.distillation.wrapper import wrapped
from condense.errors import Refused, Remedy, unknown
from condense.networks import Network, build_network
from condense.store.images.encode import NO_ENCODING, encoding_named
from condense.store.images.manifest import ImageContent
from condense.teachers import FIXED, TRAINED, find_teacher, fixed, read_teacher
from condense.teachers.training import teacher_training
from condense.training.image_training import Training


@dataclass(frozen=True, kw_only=True)
class TeacherMethod(ImageMethod):
    """A method that inverts a teacher, or labels or chooses images with one.

    Attributes:
        network: Name of the teacher's network, if it is trained here or its file holds another code base's
            weights.
        teacher: Which teacher it uses: ``fixed`` for the one that is pinned for the dataset, ``trained`` for
            one that is trained as the other fields say, or the hash of a teacher whose file the user gives.
        teacher_epochs: Passes over the training images in which the teacher is trained.
        teacher_lr: The teacher's learning rate at the first step; it falls to 0 along half a cosine.
        teacher_batch: Images per step of the teacher's training.
        inverts: Whether it matches the statistics of the teacher's batch norms, and so needs batch norms.
    """

    network: str = "convnet-bn"
    teacher: str = FIXED
    teacher_epochs: int = 200
    teacher_lr: float = 0.1
    teacher_batch: int = 128

    remedy: ClassVar[str] = "lower the learning rate, or choose another teacher"
    inverts: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuses what `ImageMethod` refuses, another pixel space, and an unknown ``teacher``.

        A share ``crop_min`` and a compression ``encode`` are checked too, in methods that have these fields.
        """
        super().__post_init__()
        if (space := self.pixel_space) != "normalized":
            raise Refused(f"{self.name}: pixel_space = {space}, but a teacher sees normalized images only")
        require_teacher(self)
        require_share(self.setting("crop_min"), getattr(self, "crop_min", 1.0))
        encoding_named(getattr(self, "encode", NO_ENCODING))

    def structures(self) -> tuple[str, ...]:
        """Returns the names of the networks that are its teachers, if they are trained here."""
        return (self.network,)

    def training(self) -> Training:
        """Returns how its teacher is trained, for ``teacher = trained``."""
        return teacher_training(
            self.network, epochs=self.teacher_epochs, lr=self.teacher_lr, batch=self.teacher_batch
        )

    def shared_trainings(self) -> list[object]:
        """Returns how its teacher is trained, if it is trained."""
        return [self.training()] if self.teacher == TRAINED else []

    def check(self, dataset: ImageDataset, ipc: int, *, teachers: Mapping[str, Path], cache: Path) -> None:
        """Refuses what `ImageMethod.check` refuses, and a teacher without batch norms if it needs them."""
        super().check(dataset, ipc, teachers=teachers, cache=cache)
        if not self.inverts:
            return
        spec = dataset.spec
        if self.teacher == TRAINED:
            remedy = Remedy(settings={self.setting("network"): "convnet-bn"}, effect="has some")
            for name in self.structures():
                network = build_network(name, spec.shape, spec.num_classes, torch.Generator())
                self._require_norms(name, network, remedy)
            return
        if self.teacher == FIXED:
            teacher = fixed(spec.name, dataset.train.hash)
        elif (path := teachers.get(self.teacher)) is not None:
            teacher = read_teacher(path, network=self.network, spec=spec)
        else:
            try:
                teacher = find_teacher(self.teacher, cache=cache)
            except Refused:  # a stored set does not need the teacher any more; a run refuses without it
                return
        remedy = Remedy(settings={self.setting("teacher"): TRAINED}, effect="trains one that has some")
        self._require_norms(teacher.name, teacher.network, remedy)

    def _require_norms(self, name: str, network: Network, remedy: Remedy) -> None:
        if not network.mixes_samples:
            reason = f"{self.name} matches its teacher's batch norms, and {name} has none"
            raise Refused(reason, remedies=[remedy])


def require_teacher(method: ImageMethod, more: Iterable[str] = ()) -> None:
    """Refuses a field ``teacher`` that holds no hash and none of ``fixed``, ``trained`` and more words.

    A method that trains no teacher refuses ``trained`` as well.
    """
    teacher = str(method.config()["teacher"])
    words = [FIXED, *([TRAINED] if method.trains_teacher else []), *more]
    if teacher == TRAINED and TRAINED not in words:
        reason = f"{method.name} takes the fixed teacher or one from a file, and trains none"
        raise method.refused("teacher", reason)
    if teacher in words or _is_hash(teacher):
        return
    if "/" in teacher or "." in teacher:
        reason = f"{method.name}: this field holds one of {', '.join(words)} or a hash, not a file"
        remedy = Remedy(settings={"teacher": teacher}, effect="reads the teacher from the file")
        raise method.refused("teacher", reason, remedy)
    raise unknown(f"teacher of {method.name}", teacher, words)


def _is_hash(text: str) -> bool:
    return re.fullmatch("[0-9a-f]{64}", text) is not None


def require_same_fixed(
    method: ImageMethod, content: ImageContent, dataset: ImageDataset, where: Path
) -> None:
    """Refuses a stored set that was made with another fixed teacher than the dataset has now.

    Args:
        method: The method that made the set. Its settings say ``fixed``, whichever teacher that is.
        content: The content of the set's manifest.
        dataset: The dataset.
        where: The set's folder.
    """
    words = teachers_of(method)
    if FIXED not in words:
        return
    inverted, labelled = content.get("teacher"), content["label"]["teacher"]
    named_by = [link for link in method.links() if link.labels_by_checkpoint or "teacher" in link.config()]
    if named_by[-1].labels_by_checkpoint:  # no setting names the network that labelled
        labelled = None
    named = [*([inverted["hash"]] if inverted else []), *([labelled] if labelled else [])]
    now = fixed(dataset.spec.name, dataset.train.hash).hash
    # If another link has another teacher, one of the two that the set names has to be the fixed one.
    mixed = any(word == TRAINED or _is_hash(str(word)) for word in words)
    if (others := [hash_ for hash_ in named if hash_ != now]) and not (mixed and now in named):
        raise Refused(
            f"{where} was made with the teacher {others[0][:8]}, and the fixed one of "
            f"{dataset.spec.name} is {now[:8]} now; move the set away",
            remedies=[Remedy(settings={"out": None}, effect="stores the new set elsewhere")],
        )


def teachers_of(method: Method) -> list[object]:
    """Returns the field ``teacher`` of every link of a method that has this field."""
    return [link.config()["teacher"] for link in method.links() if "teacher" in link.config()]


def with_teacher_file(
    method: Method, path: Path, dataset: ImageDataset
) -> tuple[ImageMethod, Mapping[str, Path]]:
    """Sets the field ``teacher`` of every link of a method to the hash of the teacher in a file.

    Returns:
        The changed method, and the path by the teacher's hash.

    Raises:
        Refused: if no link has a teacher, or the file holds none.
    """
    if not teachers_of(method):
        raise Refused(f"{method.title} has no teacher", setting="teacher", value=str(path))
    links = cast(Sequence[ImageMethod], method.links())  # no other kind of method has a teacher
    teacher = read_teacher(path, network=links[0].network, spec=dataset.spec)
    changed = [
        replace(link, teacher=teacher.hash) if "teacher" in link.config() else link  # type: ignore[call-arg]
        for link in links
    ]
    return wrapped(changed), {teacher.hash: path}
