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
from condense.protocols import TRANSFER_SHORT_V1
from condense.store import ImageSet
from condense.store.images.manifest import TeacherPart
from condense.store.targets import Regressed, Target, TeacherLogits
from condense.teachers import NoFixed, Projector, Teacher, find_teacher, fixed


@dataclass(frozen=True)
class LabelsOf:
    """The labels that a set has, or that the sets of a method will have.

    Attributes:
        method: The name of the method chain.
        taught: Whether the method has a teacher.
        require: Refuses a protocol that the labelled views stored with the set do not fit; None if none are.
        projected: Whether adapters are stored that regenerate labels.
        dim: Number of dimensions of the vectors that a student's outputs are to equal; None for other labels.
        classes: Whether the images have classes.
    """

    method: str
    taught: bool
    require: Callable[[Protocol], None] | None = None
    projected: bool = False
    dim: int | None = None
    classes: bool = True

    @classmethod
    def set(cls, made: ImageSet) -> "LabelsOf":
        require = None if made.replay is None else made.replay.require
        taught, projected = "teacher" in made.content, made.projector is not None
        dim = None if made.features is None else made.features.shape[1]
        return cls(made.content["method"]["name"], taught, require, projected, dim, made.labelled)

    @classmethod
    def sets_of(cls, method: ImageMethod) -> "LabelsOf":
        able = [link for link in method.links() if link.labels_views]
        require = able[-1].require_views if able else None
        taught, projects = bool(teachers_of(method)), method.projects_labels
        return cls(method.title, taught, require, projects, classes=method.labelled)


def require_stored(labels: LabelsOf, dataset: ImageDataset, protocol: Protocol) -> None:
    """Refuses sets without the labels that a protocol trains on, and says how to make one that has them."""
    if protocol.tune is not None:
        return
    elsewhere = Remedy(settings={"protocol": TRANSFER_SHORT_V1.name}, effect="judges it on other data")
    if not labels.classes:
        reason = f"{protocol.name} judges by classes, and the images of {labels.method} have none"
        raise Refused(reason, remedies=[elsewhere])
    if labels.dim not in (None, k := dataset.spec.num_classes):
        raise Refused(
            f"{protocol.name} takes the largest of {k} outputs as the class; the labels of this set of "
            f"{labels.method} are vectors of {labels.dim} numbers",
            remedies=[elsewhere],
        )
    if protocol.labels == "projected" and not labels.projected:
        raise Refused(
            f"{protocol.name} trains on labels that a set's own adapters regenerate, and a set of "
            f"{labels.method} stores none",
            remedies=[Remedy(settings={"method": "hello"}, effect="makes one that does")],
        )
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
    if protocol.labels in ("own", "projected"):
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


def labelled_by(teacher: Teacher, protocol: Protocol, made: ImageSet | None = None) -> Labeller:
    """Returns the function that labels a batch with a teacher's logits.

    Args:
        teacher: The teacher, on the device of the images.
        protocol: Gives the temperature, and the statistics that the teacher's batch norms use.
        made: The set, if its own adapters of the teacher label under the protocol.

    Raises:
        Refused: if the adapters are those of another network or other classes.
    """
    if protocol.labels == "projected":
        assert made is not None
        projector = Projector.of_set(made, teacher)
        assert (projection := made.projection) is not None
        return projected_by(projector, projection.beta)
    temperature = protocol.temperature
    assert temperature is not None

    def label(images: Float[Tensor, "n c h w"], target: Target) -> Target:
        logits = teacher.logits(images, batch_statistics=protocol.teacher_mode == "train")
        return TeacherLogits(logits, target.ids, temperature, squared=bool(protocol.squared))

    return label


def projected_by(projector: Projector, beta: float) -> Labeller:
    """Returns the function that labels a batch with a projector's logits, in the loss of projected labels.

    Args:
        projector: The projector, on the device of the images.
        beta: Weight of the class ids in the loss.
    """

    def label(images: Float[Tensor, "n c h w"], target: Target) -> Target:
        return Regressed(projector.logits(images), target, beta)

    return label
