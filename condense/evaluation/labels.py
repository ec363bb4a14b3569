"""The labels that students of images are trained on: those of the set, or those of a teacher."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from condense.data import ImageDataset
from condense.distillation import ImageMethod
from condense.distillation.images.taught import teachers_of
from condense.errors import Refused, Remedy
from condense.evaluation.student import Labeller
from condense.protocol import Protocol
from condense.store import ImageSet
from condense.store.images.manifest import TeacherPart
from condense.store.targets import Target, TeacherLogits
from condense.teachers import NoFixed, Teacher, find_teacher, fixed


@dataclass(frozen=True)
class LabelsOf:
    """The labels that a set has, or that the sets of a method will have.

    Attributes:
        method: The name of the method chain.
        taught: Whether the method has a teacher.
        require: Refuses a protocol that the labelled views stored with the set do not fit; None if none are.
    """

    method: str
    taught: bool
    require: Callable[[Protocol], None] | None = None

    @classmethod
    def set(cls, made: ImageSet) -> "LabelsOf":
        require = None if made.replay is None else made.replay.require
        return cls(made.content["method"]["name"], "teacher" in made.content, require)

    @classmethod
    def sets_of(cls, method: ImageMethod) -> "LabelsOf":
        able = [link for link in method.links() if link.labels_views]
        return cls(method.title, bool(teachers_of(method)), able[-1].require_views if able else None)


def require_stored(labels: LabelsOf, dataset: ImageDataset, protocol: Protocol) -> None:
    """Refuses sets without the stored labels that a protocol trains on, and says how to make one."""
    if protocol.labels != "stored":
        return
    if labels.require is not None:
        return labels.require(protocol)
    settings: dict[str, object] = {"method": f"{labels.method}+fkd", "dataset": dataset.spec.name}
    first: tuple[Remedy, ...] = ()
    try:
        fixed(dataset.spec.name, dataset.train.hash)
    except NoFixed as error:
        if labels.taught:
            settings["params.fkd.teacher"] = "host"
        else:
            first = error.remedies
    effect = "then makes one that does" if first else "makes one that does"
    remedy = Remedy(settings=settings, effect=effect, command="run")
    raise Refused(
        f"{protocol.name} trains on labels that are stored with a set's views, and a set of {labels.method} "
        "stores none",
        remedies=[*first, remedy],
    )


def labelling_teacher(
    made: ImageSet, dataset: ImageDataset, protocol: Protocol, device: torch.device | str
) -> Teacher | None:
    """Returns the teacher that labels what students see: the dataset's fixed one, the set's own, or none."""
    if protocol.labels == "fixed":
        return fixed(dataset.spec.name, dataset.train.hash, device)
    if protocol.labels == "own":
        return find_teacher(own_teacher(made, protocol)["hash"], device)
    return None


def own_teacher(made: ImageSet, protocol: Protocol) -> TeacherPart:
    """Returns what a set states about its own teacher, which labels under a protocol; there must be one."""
    own = made.content.get("teacher")
    if own is None:
        raise Refused(
            f"under {protocol.name} the set's own teacher labels, and this set of "
            f"{made.content['method']['name']} names none"
        )
    return own


def labelled_by(teacher: Teacher, protocol: Protocol) -> Labeller:
    """Returns the function that labels a batch with a teacher's logits.

    Args:
        teacher: The teacher, on the device of the images.
        protocol: Gives the temperature, and the statistics that the teacher's batch norms use.
    """
    temperature = protocol.temperature
    assert temperature is not None

    def label(images: Float[Tensor, "n c h w"], target: Target) -> Target:
        logits = teacher.logits(images, batch_statistics=protocol.teacher_mode == "train")
        return TeacherLogits(logits, target.ids, temperature, squared=bool(protocol.squared))

    return label
