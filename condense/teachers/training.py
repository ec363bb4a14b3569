"""Training of teachers with SRe2L's recipe; the settings are checked before the training starts."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import torch

from condense.data import ImageDataset, ImageSpec
from condense.errors import Refused, Remedy
from condense.events import events_folder, telling
from condense.files import digest, home, require_writable
from condense.networks import Network, build_network, full_name
from condense.resources import Machine
from condense.teachers.header import Header
from condense.teachers.pinned import require_pinnable
from condense.teachers.teacher import Teacher
from condense.training.expert_steps import ExpertTraining
from condense.training.image_training import Training
from condense.training.pretrained import Pretrained, pretrained


def teacher_training(
    network: str, *, epochs: int = 200, lr: float = 0.1, batch: int = 128, seed: int = 0
) -> Training:
    """Returns the training recipe of SRe2L's teachers for CIFAR (https://arxiv.org/abs/2306.13092).

    It is SGD with momentum 0.9 and weight decay 5e-4. The learning rate falls to 0 along half a cosine.
    Images are cropped after padding, and flipped where the dataset allows it. The papers' teachers see the
    whole training set; here 5 % of each class are held out to measure the accuracy without test images. With
    the usual seed 0 these are the images with which a draw of random images with seed 0 begins.

    Args:
        network: Name of the network.
        epochs: Passes over the images that are trained on.
        lr: Learning rate at the first step.
        batch: Images per step.
        seed: Seed of everything that is drawn.
    """
    return Training(
        network=full_name(network), epochs=epochs, lr=lr, batch=batch, momentum=0.9, weight_decay=5e-4,
        augment="crop-flip", cosine=True, held_out=0.05, seed=seed,
    )  # fmt: skip


def as_teacher(
    found: Pretrained[Network],
    training: Training | ExpertTraining,
    spec: ImageSpec,
    train_hash: str,
    about: Mapping[str, object] = MappingProxyType({}),
) -> Teacher:
    """Makes a teacher out of a trained network: see `Teacher.of`.

    Args:
        found: The trained network.
        training: Its training.
        spec: The dataset's specification.
        train_hash: SHA-256 of the whole training split.
        about: What the header says of the training beside its recipe.
    """
    header = Header(
        network=training.network, dataset=spec.name, classes=spec.classes, shape=spec.shape,
        mean=spec.mean, std=spec.std, train_hash=train_hash, accuracy=found.accuracy,
        training=training.describe() | dict(about),
    )  # fmt: skip
    network = found.network
    return Teacher.of(header, network.state_dict(), network.classifier.weight.device)


def check_teaching(training: Training, dataset: ImageDataset, out: Path | None, pin: bool) -> None:
    """Refuses, before any work, a teacher that cannot be trained or has no place to be stored.

    Args:
        training: The training of the teacher.
        dataset: The dataset to train on.
        out: The file to write, if any.
        pin: Whether the teacher is to become the fixed one of the dataset.
    """
    spec = dataset.spec
    build_network(training.network, spec.shape, spec.num_classes, torch.Generator())
    if spec.kind != "images":
        raise Refused(f"a teacher looks at images; {spec.name} holds {spec.kind}")
    for name, value in (("epochs", training.epochs), ("batch", training.batch)):
        if value is not None and value < 1:
            raise Refused("at least 1 is needed", setting=name, value=value)
    if not 0 < training.lr < float("inf"):
        raise Refused("a learning rate is a number above 0", setting="lr", value=training.lr)
    if out is None and not pin:
        stored = Remedy(settings={"out": None}, effect="writes it to a file")
        pinned = Remedy(settings={"pin": True}, effect="makes it the fixed teacher of the dataset")
        raise Refused("the teacher would not be stored", remedies=[stored, pinned])
    if out is not None:
        if out.suffix != ".safetensors" or out.is_dir():
            raise Refused("a teacher is a file NAME.safetensors", setting="out", value=str(out))
        require_writable(out.parent)
    if pin:
        require_pinnable(spec.name, dataset.train.hash, training.describe())


def teach(training: Training, dataset: ImageDataset, machine: Machine) -> Teacher:
    """Trains a teacher, or finds it among the trained networks in the home folder.

    Args:
        training: How it is trained.
        dataset: The dataset, of which only the training images are read.
        machine: The device to train on and the time limit.

    Raises:
        Refused: if the home folder cannot be written, or the loss is not finite.
        Stopped: if the time limit is reached; the same call goes on from there.
    """
    require_writable(home())
    train = dataset.train.to(machine.device).in_space(dataset.space("normalized").to(machine.device))
    key = digest([training.describe(), train.hash])
    with telling(f"{dataset.spec.name}-teacher-{training.network}-{key[:8]}", events_folder()):
        found = pretrained(
            training, train, dataset.spec, "normalized",
            cache=home(), budget=machine.budget, remedy="lower the learning rate",
        )  # fmt: skip
    return as_teacher(found, training, dataset.spec, dataset.train.hash)
