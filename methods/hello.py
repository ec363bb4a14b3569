"""HeLlO: crops of real images, and low-rank adapters of a frozen encoder that regenerate their labels.

Yu, Liu, Chen, Ye and Wang: Heavy Labels Out! Dataset Distillation with Label Space Lightening, ICCV 2025,
https://arxiv.org/abs/2408.08201; its authors have published no code, and what follows is after a summary of
the paper. Soft labels of every view of every image take far more room than the images. HeLlO stores in their
place what makes them: a *projector*, which is a frozen encoder that everybody has, named by its hash, with an
adapter of low rank for each weight (`condense.store.images.projection`). The projector is trained on the real
images to give the logits of several *weak* teachers, which are checkpoints along the training of a network:

    L = MSE(p(x), Y') + lambda CE(p(x), y),  with Y' the mean of the weak teachers' logits.

(The mean squared error to several teachers is that to their mean, plus a constant.) The images are crops
that the encoder classifies best, tiled as in RDED, and then changed by a few steps on

    G = MSE(E(x), E(up(down(x)))),  with E the projector's features,

so that less is lost of a crop x where it is made smaller. A student sees augmented and mixed images, and its
loss is MSE(s(x), p(x)) + beta CE(s(x), y); ``projected-v1`` judges the sets, and other protocols take the
class ids. What the paper does not settle, or the summary leaves out, is a field with a default of our own:
``beta`` and ``ce_weight`` (lambda; G-VBSM uses 0.1 to 0.15 in such a loss), the rates, the steps, the batch,
the augmentation of the projector's training, the down-sampling and the steps of the update, and how far the
weak teachers are trained. The number of images for each class decides the last in the paper, in a way that is
not known: lower ``weak_epochs`` for fewer images.

The encoder is a classifier of this suite's networks, trained on the dataset: the dataset's fixed teacher by
default, one that is trained, or a file, with the weights of another code base too if they are of such a
network (`condense.teachers.foreign`). The paper's is the image encoder of CLIP, with a ResNet50 whose stem
and attention pooling are in none of these networks: its weights are refused. Its head, which the paper starts
at the embeddings of the classes' names, is the encoder's own classifier here: it starts there and is adapted
(``head = low-rank``), or is stored (``head = whole``), which takes less room where the classes are few.

Where this differs from the paper, and why:

- The encoder knows the dataset, so that the labels are not those of a foundation model; CLIP is not a part of
  this suite. The bytes of the encoder are told beside those of the adapters.
- The weak teachers have instance norm, since expert trajectories hold no running statistics of batch norms.
- Convolutions and linear layers in front of the head have adapters of one rank, even where the weight itself
  is smaller than its adapter, so that rank r always costs r (d_in + d_out) numbers.
- Sets of any IPC and seed share one projector, which is trained once, like the pinned teachers.
- At ``factor = 1`` no crop is made smaller, and G is taken for half the size; ``update_steps = 0`` leaves the
  crops as they are. Pixels are rounded to bytes.

When not to use it: where the label bytes do not count, since a teacher labels at once under soft-v2; where
nobody has the encoder; at many images per class, where the paper's own results are below RDED's; and where a
weak teacher can be stored itself. The labels of a convnet-w32 of five epochs, which takes 49 kB for CIFAR-10,
taught more on random images than those of the adapters and of the fixed teacher (README, "What the board
says"): what HeLlO gains on CIFAR-10 comes from such labels, not from adapters. Whether the few epochs, the
width or the norm make them better was not tried apart. With ``pool = 1``, ``crops = 1``, ``crop_min = 1`` and
``update_steps = 0`` the images are random real ones, which shows what labels are worth.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import mse_loss

from condense.augment import named_augmentation, resample
from condense.data import Images, ImageSpec
from condense.distillation import Experts, ExpertTraining, ImageRun, register
from condense.distillation.images.crops import CropMethod, mosaics
from condense.distillation.method import recipes
from condense.networks import build_network, full_name, network_in_chunks
from condense.protocol import Protocol, Stage
from condense.protocols import PROJECTED_V1
from condense.store import ImageSet
from condense.store.images.projection import Adapted, Projection
from condense.store.targets import Hard, Regressed
from condense.teachers import Projector, Teacher
from condense.teachers.projector import adapters, merged, start
from condense.training.parameters import as_parameters
from condense.training.pretrained import Schedule, TrainingJob, TrainingRecipe
from condense.training.step import cutmix


@register
@dataclass(frozen=True, kw_only=True)
class HeLlO(CropMethod):
    """Real crops whose labels a frozen encoder with low-rank adapters regenerates.

    The fields that are not listed are those of `CropMethod`; ``teacher`` is the encoder.

    Attributes:
        rank: Rank of the adapters of all layers but the head; 0 leaves these layers as they are.
        head: How the head is stored: ``low-rank`` for an adapter, or ``whole`` for its weight and bias.
        head_rank: Rank of the head's adapter; 0 leaves the head as it is.
        head_start: Where a whole head starts: at the encoder's own (``encoder``), or at 0 (``zero``).
        precision: The type in which the numbers of the adapters are stored.
        weak_network: Network of the weak teachers; with instance norm or none.
        weak_teachers: Number of weak teachers: checkpoints with as nearly equally many epochs between them as
            whole epochs allow, such as 1, 3, 4 and 6 for four of six epochs.
        weak_epochs: Passes over the training images after which the last of them is taken.
        weak_lr: Their learning rate in plain SGD; the default is that of this suite's teachers.
        projector_steps: Number of steps of the projector's training.
        projector_batch: Real images in each of them.
        lr_adapters: Adam's learning rate for the adapters; it falls to 0 along half a cosine.
        lr_head: The same for the head.
        ce_weight: Weight lambda of the class ids in the projector's loss.
        augment: Augmentation of the real images, as in `condense.protocol.Protocol`.
        cutmix: Probability that a batch of them is mixed by CutMix.
        update_steps: Number of steps of Adam on the crops; 0 leaves the crops as they are.
        lr_update: Adam's learning rate, for normalised pixels.
        down: How many times smaller G makes an image in each direction.
        beta: Weight of the class ids in the students' loss.
    """

    name = "hello"
    quick = {
        "pool": 60, "crops": 3, "weak_teachers": 2, "weak_epochs": 3, "projector_steps": 20, "update_steps": 2
    }  # fmt: skip
    may_be_zero = frozenset({"rank", "head_rank", "update_steps"})
    remedy = "lower lr_adapters and lr_head"
    judged_by = PROJECTED_V1.name
    projects_labels: ClassVar[bool] = True

    rank: int = 4
    head: Literal["whole", "low-rank"] = "whole"
    head_rank: int = 64
    head_start: Literal["encoder", "zero"] = "encoder"
    precision: Literal["float32", "float16"] = "float32"
    weak_network: str = "convnet-w32"
    weak_teachers: int = 9
    weak_epochs: int = 9
    weak_lr: float = 0.1
    projector_steps: int = 1000
    projector_batch: int = 128
    lr_adapters: float = 1e-3
    lr_head: float = 1e-3
    ce_weight: float = 0.1
    augment: str = "crop-flip"
    cutmix: float = 0.5
    update_steps: int = 10
    lr_update: float = 0.01
    down: int = 2
    beta: float = 0.1

    def __post_init__(self) -> None:
        """Refuses what `TeacherMethod` refuses, and settings that contradict each other."""
        super().__post_init__()
        object.__setattr__(self, "weak_network", full_name(self.weak_network))
        if self.head == "low-rank" and self.head_start == "zero":
            raise self.refused("head_start", "an adapter adds to the encoder's own head")
        if self.cutmix > 1:
            raise self.refused("cutmix", "a probability is at most 1")
        if self.weak_teachers > self.weak_epochs:
            reason = f"each weak teacher has trained for an epoch more; there are {self.weak_epochs} epochs"
            raise self.refused("weak_teachers", reason)

    def require_spec(self, spec: ImageSpec) -> None:
        """Refuses weak teachers with batch norms, and images that are too small for ``down``."""
        named_augmentation(self.augment, spec.dsa)
        weak = build_network(self.weak_network, spec.shape, spec.num_classes, torch.Generator())
        if weak.mixes_samples:
            reason = "the checkpoints of a training hold no running statistics of batch norms"
            raise self.refused("weak_network", reason)
        if self.down > (side := min(spec.height, spec.width)):
            raise self.refused("down", f"the images have {side} pixels to a side")

    def distill(self, train: Images, run: ImageRun) -> ImageSet:
        """Trains the projector, then chooses, changes and tiles the crops class by class."""
        spec, size = run.spec, (run.spec.height, run.spec.width)
        self.require_tiles(run, train.counts())
        encoder = run.teacher(self.teacher, self.training(), train)
        projection = self.projection(encoder, train, run)
        features = Projector.of(encoder, projection).network.features
        labels = run.labels()
        images = torch.empty(len(labels), *spec.shape, device=run.device)
        for label in run.steps(spec.num_classes, {"images": images}):
            crops = self.best_crops(train, run, label, encoder.logits).resampled(size)
            crops = updated(crops, features, steps=self.update_steps, lr=self.lr_update, down=self.down)
            images[labels == label] = mosaics(sized(crops, self.tile(run)), self.factor, size)
        return run.distilled(
            images, labels, augment="none", as_bytes=True, encode=self.encode, projection=projection
        )

    def weak_training(self) -> ExpertTraining:
        """Returns how the weak teachers are trained."""
        return ExpertTraining(network=self.weak_network, lr=self.weak_lr)

    def shared_trainings(self) -> list[object]:
        """Returns how the encoder and the weak teachers are trained, as far as they are needed."""
        return [*super().shared_trainings(), *([self.weak_training()] if self.adapts else [])]

    @property
    def adapts(self) -> bool:
        """Whether the encoder is adapted: whether there is any number for the weak teachers to teach."""
        return bool(self.rank or self.head_rank or self.head == "whole")

    def projection(self, encoder: Teacher, train: Images, run: ImageRun) -> Projection:
        """Trains the adapters on real images, or finds them in the cache; without any, nothing is trained.

        Args:
            encoder: The encoder.
            train: The training images, normalised.
            run: The run.
        """
        adapted = adapters(encoder.network, self.rank, None if self.head == "whole" else self.head_rank)
        numbers = torch.zeros(0)
        if adapted:
            experts = run.experts(self.weak_training(), 1, self.weak_epochs, train)
            numbers = run.pretrained(ProjectorTraining(self, encoder, experts, adapted), train).numbers
        return Projection(adapted, numbers.detach().to(getattr(torch, self.precision)), self.beta)


class Adapters(nn.Module):
    """The numbers of a projector as parameters: those of all layers but the head, and those of the head.

    Args:
        numbers: All numbers; those of the head come last.
        head: Number of those of the head.
    """

    def __init__(self, numbers: Float[Tensor, " p"], head: int) -> None:
        super().__init__()
        body, own = torch.split(numbers, [len(numbers) - head, head])
        self.body, self.head = nn.Parameter(body.clone()), nn.Parameter(own.clone())

    @property
    def numbers(self) -> Float[Tensor, " p"]:
        return torch.cat([self.body, self.head])


@dataclass(frozen=True)
class ProjectorTraining(TrainingRecipe[Images, ImageSpec, Adapters]):
    """How a projector is trained: once for all sets of the same settings, whatever their IPC and seed.

    Attributes:
        method: The settings.
        encoder: The encoder.
        experts: The trajectory that the weak teachers are taken from.
        adapted: The weights that are adapted.
    """

    method: HeLlO
    encoder: Teacher
    experts: Experts
    adapted: tuple[Adapted, ...]

    def job(self, train: Images, spec: ImageSpec, space: str) -> "ProjectorJob":
        """Returns the training, whose generator has the seed 0."""
        method, network, rng = self.method, self.encoder.network, torch.Generator().manual_seed(0)
        numbers = start(network, self.adapted, rng, own_head=method.head_start == "encoder")
        layers = [network.get_submodule(one.name) for one in self.adapted]
        head = sum(one.numbers for one, layer in zip(self.adapted, layers, strict=True)
                   if layer is network.classifier)  # fmt: skip
        made = Adapters(numbers, head)
        rates = {"body": method.lr_adapters, "head": method.lr_head}
        groups = [{"params": [part], "lr": rates[name]} for name, part in made.named_parameters()]
        schedule = Schedule(method.projector_steps, max(1, len(train) // method.projector_batch))
        return ProjectorJob(
            f"a projector on {spec.name}", made, rng, torch.optim.Adam(groups), torch.arange(len(train)),
            method.projector_batch, schedule, self, train, spec,
        )  # fmt: skip

    def weak_epochs(self) -> list[int]:
        """Returns the epochs after which the weak teachers are taken."""
        method = self.method
        return [method.weak_epochs * (i + 1) // method.weak_teachers for i in range(method.weak_teachers)]


@dataclass
class ProjectorJob(TrainingJob[Adapters]):
    """The training of a projector: see `TrainingJob`.

    Attributes:
        training: The recipe.
        train: The training images, normalised.
        spec: The dataset's specification.
    """

    training: ProjectorTraining
    train: Images
    spec: ImageSpec

    def __post_init__(self) -> None:
        """Chooses the augmentation, and reads the weak teachers."""
        training, spec, method = self.training, self.spec, self.training.method
        self._rates = [group["lr"] for group in self.optimizer.param_groups]
        self._augment = named_augmentation(method.augment, spec.dsa)
        weak = build_network(
            method.weak_network, spec.shape, spec.num_classes, torch.Generator(), self.train.images.device
        )
        self._weak = weak.eval().requires_grad_(False)
        self._checkpoints = [
            as_parameters(weak, training.experts.at(0, epoch)) for epoch in training.weak_epochs()
        ]

    def key(self) -> Mapping[str, object]:
        """Returns everything that the trained projector depends on."""
        training, spec = self.training, self.spec
        own = ("projector_steps", "projector_batch", "lr_adapters", "lr_head", "ce_weight", "augment",
               "cutmix", "head_start", "weak_network")  # fmt: skip
        settings = {name: value for name, value in training.method.config().items() if name in own}
        return {
            "projector": settings, "version": 1, "encoder": training.encoder.hash,
            "adapted": [one.describe() for one in training.adapted], "experts": training.experts.hash,
            "weak_epochs": training.weak_epochs(), "train": self.train.hash, "dsa": spec.dsa,
            "mean": spec.mean, "std": spec.std,
        }  # fmt: skip

    def step(self, number: int, chosen: Int64[Tensor, " b"]) -> Float[Tensor, ""]:
        """Makes one step of Adam on MSE(p(x), Y') + lambda CE(p(x), y)."""
        method, network, place = self.training.method, self.training.encoder.network, self.train.images.device
        for group, lr in zip(self.optimizer.param_groups, self._rates, strict=True):
            group["lr"] = lr * self.schedule.half_cosine(number)
        images = self._augment(self.train.images[chosen.to(place)], self.rng)
        own = Hard(self.train.labels[chosen.to(place)])
        images, mixed = cutmix(images, own, self.rng, method.cutmix)
        target = Regressed(self.weak(images), mixed, method.ce_weight)
        changed = merged(network, self.training.adapted, self.network.numbers)
        loss = target.loss(functional_call(network, changed, (images,)))
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        self.optimizer.step()
        return loss.detach()

    def weak(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        """Returns Y', the mean of the weak teachers' logits."""

        def mean(part: Float[Tensor, "m c h w"]) -> Float[Tensor, "m k"]:
            return torch.stack([functional_call(self._weak, one, (part,)) for one in self._checkpoints]).mean(
                0
            )

        return network_in_chunks(self._weak, mean, images)


def sized(images: Float[Tensor, "n c h w"], size: tuple[int, int]) -> Float[Tensor, "n c height width"]:
    """Resamples images to a size (height, width) in pixels; differentiable."""
    whole = torch.tensor([0, 0, *images.shape[-2:]], device=images.device).expand(len(images), 4)
    return resample.resampled(images, whole, size)


def lost(
    images: Float[Tensor, "n c h w"], features: Callable[[Tensor], Tensor], down: int
) -> Float[Tensor, ""]:
    """Returns G: the mean squared difference between the features of images and of images made smaller.

    Args:
        images: Normalised images.
        features: The encoder's features (n, d) of images.
        down: How many times smaller they are made in each direction, before they are enlarged again.
    """
    h, w = images.shape[-2:]
    return mse_loss(features(images), features(sized(sized(images, (h // down, w // down)), (h, w))))


def updated(
    images: Float[Tensor, "n c h w"],
    features: Callable[[Tensor], Tensor],
    *,
    steps: int,
    lr: float,
    down: int,
) -> Float[Tensor, "n c h w"]:
    """Returns images after some steps of Adam on G: see `lost` for the arguments."""
    leaf = images.detach().clone().requires_grad_()
    optimizer = torch.optim.Adam([leaf], lr=lr)
    for _ in range(steps):
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(lost(leaf, features, down))
        optimizer.step()
    return leaf.detach()


PROTOCOL = Protocol(
    name="published", optimizer="adamw", lr=1e-3, weight_decay=0.01, decay="weights", batch=100,
    stages=(Stage(epochs=300),), schedule="cosine", augment="resized-flip", cutmix=1.0, seeds=3,
    labels="projected",
)  # fmt: skip
"""Students of the paper, a ResNet18 under the projector's labels; the rest is RDED's, which is assumed."""

HeLlO.recipes = recipes(
    HeLlO,
    "head_rank",
    {
        (name, ipc): (head_rank,)
        for name, head_rank in {"imagenet-100": 64, "imagenet-1k": 128}.items()
        for ipc in (1, 10, 50)
    },
    source="HeLlO after a summary of the paper: ranks and number of weak teachers; the rest is assumed",
    protocol=PROTOCOL,
    network="resnet50-bn", rank=8, head="low-rank", weak_network="resnet18", factor=2, encode="jpeg",
)  # fmt: skip
