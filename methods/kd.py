"""KD in data pruning: a teacher of the whole training set beside the labels of a chosen part of it.

Ben-Baruch et al.: Distilling the Knowledge in Data Pruning, https://arxiv.org/abs/2403.07854; no code of the
authors is public. A student on a part of the images minimises

    (1 - a) CE(softmax(z), y) + a t^2 KL(softmax(z_teacher / t) || softmax(z / t))

on each augmented batch. The paper finds that a random part is then about as good as one chosen by a score,
and that the best weight a falls as the kept fraction grows.

The paper's weights and temperature were not to be had; both are fields. The weights by default are ours: 1 up
to a tenth of the images, then falling to 0.5 at all of them, in the direction that the paper states. The
temperature 4 is usual for CIFAR. The factor t^2 was read in a secondary source.

Where this differs, and why: the teacher is by default the dataset's fixed one, which held out a twentieth of
the training images; the paper's has the student's architecture and sees them all.

When not to use it: where no teacher may see the whole set. What it adds is that teacher's knowledge, and not
information that the kept images hold; its record names the teacher's bytes.
"""

import math
from dataclasses import dataclass, replace

from condense.data import Images
from condense.distillation import ImageRun, Sampling, Wrapper, register
from condense.distillation.images.sampling import Taught
from condense.distillation.images.taught import require_teacher
from condense.errors import Refused
from condense.teachers import FIXED


@register
@dataclass(frozen=True, kw_only=True)
class KD(Wrapper):
    """A teacher that labels beside the class ids, for students on chosen real images; no set is stored.

    Attributes:
        teacher: The teacher: ``fixed``, or the hash of one whose file is given.
        weight: The weight a of the teacher from 0 to 1: a number, or numbers by kept fractions in ascending
            order, such as ``0.1:1,1:0.5``, with straight lines between them.
        temperature: The temperature t.
    """

    name = "kd"
    wraps = "a method that trains students on real images"
    stores = False
    trains = True
    trains_teacher = False

    teacher: str = FIXED
    weight: str | float = "0.1:1,1:0.5"
    temperature: float = 4.0

    def __post_init__(self) -> None:
        """Refuses a host that stores sets only, and fields that make no sense; a weight becomes a number."""
        super().__post_init__()
        if not self.host.trains:
            raise Refused(f"{self.name} wraps {self.wraps}, and {self.host.title} makes sets only")
        require_teacher(self)
        if not self.temperature > 0:
            raise self.refused("temperature", "a temperature is above 0")
        points = self._points()
        fractions = [fraction for fraction, _ in points]
        if not all(0 <= number <= 1 for point in points for number in point):
            raise self.refused("weight", "weights and fractions are from 0 to 1")
        if fractions != sorted(set(fractions)):
            raise self.refused("weight", "the fractions are not ascending")
        if ":" not in str(self.weight):
            object.__setattr__(self, "weight", points[0][1])

    def _points(self) -> list[tuple[float, float]]:
        """Returns the kept fractions with their weights; a single number stands for all fractions."""
        parts = [part if ":" in part else f"1:{part}" for part in str(self.weight).split(",")]
        try:
            points = [(float(left), float(right)) for left, right in (part.split(":") for part in parts)]
        except ValueError:
            points = [(math.nan, math.nan)]
        return points

    def weight_at(self, fraction: float) -> float:
        """Returns the weight at a kept fraction: see `weight`."""
        points = self._points()
        for (left, low), (right, high) in zip(points, points[1:], strict=False):
            if left <= fraction <= right:
                return low + (high - low) * (fraction - left) / (right - left)
        return points[0][1] if fraction < points[0][0] else points[-1][1]

    def sampling(self, train: Images, run: ImageRun) -> Sampling:
        """Returns what the host chooses, with the teacher."""
        chosen = self.host.sampling(train, run)
        weight = self.weight_at(run.fraction or chosen.size / len(train))
        if weight == 0:
            return chosen
        return replace(
            chosen, taught=Taught(run.teacher(self.teacher, None, train), weight, self.temperature)
        )
