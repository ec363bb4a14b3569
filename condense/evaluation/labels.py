"""Who labels what students see: the set itself, or a teacher."""

import torch
from jaxtyping import Float
from torch import Tensor

from condense.data import ImageDataset
from condense.distillation import ImageMethod
from condense.distillation.images.taught import asked
from condense.errors import Refused
from condense.evaluation import Labeller
from condense.protocol import Protocol
from condense.store import ImageSet
from condense.store.images.manifest import TeacherPart
from condense.store.targets import Distilled, Target
from condense.teachers import NoFixed, Teacher, find, fixed


def ready(method: ImageMethod, dataset: ImageDataset, protocol: Protocol, data: str) -> str | None:
    """The hash of the dataset's fixed teacher, where it labels under a protocol.

    Args:
        method: Whose sets are to be judged.
        dataset: What it distils.
        protocol: How students are trained.
        data: The options of the command line that name the data.

    Raises:
        Refused: if there is no such teacher, or the protocol wants labels that the method does not store.
    """
    found = fixed(dataset.spec.name, dataset.train.hash).hash if protocol.labels == "fixed" else None
    if protocol.labels == "stored" and not any(link.labels_views for link in method.links()):
        raise without_stored_labels(protocol, method.title, dataset, taught=bool(asked(method)), data=data)
    return found


def labelling_teacher(
    made: ImageSet, dataset: ImageDataset, protocol: Protocol, device: torch.device | str
) -> Teacher | None:
    """Who labels what students see under a protocol: the dataset's fixed teacher, the set's own, or nobody.

    Raises:
        Refused: if there is none, or it is not here.
    """
    if protocol.labels == "fixed":
        return fixed(dataset.spec.name, dataset.train.hash, device)
    if protocol.labels == "own":
        return find(own_teacher(made, protocol)["hash"], device)
    return None


def own_teacher(made: ImageSet, protocol: Protocol) -> TeacherPart:
    """What a set says of the teacher that its method inverted.

    Args:
        made: The set.
        protocol: One for which that teacher labels.

    Raises:
        Refused: if it names none.
    """
    own = made.content.get("teacher")
    if own is None:
        raise Refused(
            f"{protocol.name} has a set labelled by its own teacher, and this set of "
            f"{made.content['method']['name']} names none"
        )
    return own


def without_stored_labels(
    protocol: Protocol, method: str, dataset: ImageDataset, *, taught: bool, data: str = ""
) -> Refused:
    """The refusal of sets that lack what a protocol trains on.

    Args:
        protocol: One for stored labels.
        method: The name of the method chain that stores none.
        dataset: The data: without a fixed teacher, ``+fkd`` wants another.
        taught: Whether the method has a teacher of its own.
        data: The options of the command line that name the data.
    """
    told = f"condense run --method {method}+fkd"
    remedy = f"{told} makes one that does"
    try:
        fixed(dataset.spec.name, dataset.train.hash)
    except NoFixed as error:
        first = error
        remedy = (
            f"{told} --param fkd.teacher=host makes one that does" if taught else f"{remedy}, but {first}"
        )
    return Refused(
        f"{protocol.name} trains on labels that are stored with a set's views, and a set of {method} stores "
        f"none; {remedy}"
    )


def labelled_by(teacher: Teacher, protocol: Protocol) -> Labeller:
    """What gives a batch a teacher's logits, as a protocol's loss takes them.

    Args:
        teacher: On the device of the images.
        protocol: Gives the temperature, and whose statistics the teacher's batch norms go by.
    """
    temperature = protocol.temperature
    assert temperature is not None

    def label(images: Float[Tensor, "n c h w"], target: Target) -> Target:
        logits = teacher.logits(images, batch_statistics=protocol.teacher_mode == "train")
        return Distilled(logits, target.ids, temperature, squared=bool(protocol.squared))

    return label


def space_of(own: str, protocol: Protocol) -> str:
    """The pixel space of students: the set's own, but normalised pixels where a teacher's labels are used.

    Args:
        own: The set's evaluation space.
        protocol: How students are trained.
    """
    return own if protocol.labels is None else "normalized"
