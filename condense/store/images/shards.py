"""How labels of views are stored: the tensors of a shard, from a teacher's output and back.

Two families of forms are stored, both in half precision. ``logits`` keeps a teacher's logits, all of them or
the t largest (`ShardLayout.top_k`) with a rule for the others (`ShardLayout.fill`). The other forms are those
of FKD (Shen and Xing, ECCV 2022, https://arxiv.org/abs/2112.01528; authors' code szq0214/FKD) and keep
probabilities p:

- ``hard``: the likeliest class; its probability is read as 1.
- ``smoothing``: the likeliest class and its probability; every other class gets (1 - p) / (k - 1).
- ``marginal-smoothing``: the t largest probabilities; the other classes share what is missing to 1 equally.
- ``marginal-renorm``: the t largest probabilities, divided by their sum; the other classes get 0.
- ``full``: all probabilities as they are.

The authors store class numbers as floats, in which half precision tells 2048 apart; here they are integers.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import one_hot

from condense.store.images.manifest import ImageContent, ReplayedLabelPart
from condense.store.targets import Soft, Target, TeacherLogits

Form = tuple[torch.dtype, tuple[int, ...]]
"""Type and shape of a tensor."""


@dataclass(frozen=True)
class ShardLayout:
    """The numbers and names that decide the types and shapes of a shard's tensors.

    Attributes:
        views: Number n of images that a student sees in an epoch.
        classes: Number of classes k.
        batch: Number of views of a batch; the last batch may have fewer.
        top_k: Number t of logits or probabilities that are stored for each view; None for all, or for one.
        form: What is stored of a label, one of `condense.store.images.manifest.LABEL_FORMS`.
        fill: What stands for the logits that are not stored: their ``mean``, their ``minimum``, or ``zero``,
            which leaves their classes no probability.
    """

    views: int
    classes: int
    batch: int
    top_k: int | None = None
    form: str = "logits"
    fill: str = "mean"

    @classmethod
    def of(cls, content: ImageContent) -> "ShardLayout":
        """Returns the layout of the shards of a set with stored labels."""
        label, classes = cast(ReplayedLabelPart, content["label"]), content["dataset"]["classes"]
        return cls(
            content["counts"]["effective"], len(classes), label["batch"], label["top_k"],
            label.get("form", "logits"), label.get("fill", "mean"),
        )  # fmt: skip

    @property
    def batches(self) -> int:
        """Number of batches of an epoch."""
        return -(-self.views // self.batch)

    @property
    def nbytes(self) -> int:
        """Bytes of a shard's tensors."""
        return sum(dtype.itemsize * math.prod(shape) for dtype, shape in self.tensors().values())

    def tensors(self) -> dict[str, Form]:
        """Returns the type and the shape of each tensor of a shard."""
        n, b = self.views, self.batches
        return self._labels() | {
            "order": (torch.int32, (n,)),
            "boxes": (torch.int16, (n, 4)),
            "flips": (torch.uint8, (n,)),
            "partners": (torch.int32, (n,)),
            "shares": (torch.float32, (b,)),
            "pastes": (torch.int16, (b, 4)),
        }

    def _labels(self) -> dict[str, Form]:
        n, k, t, half = self.views, self.classes, self.top_k, torch.float16
        ids = torch.uint8 if k <= 256 else torch.uint16
        if self.form == "hard":
            return {"ids": (ids, (n,))}
        if self.form == "smoothing":
            return {"values": (half, (n,)), "ids": (ids, (n,))}
        if t is None:
            return {"logits" if self.form == "logits" else "probabilities": (half, (n, k))}
        kept = {"values": (half, (n, t)), "ids": (ids, (n, t))}
        return kept | ({"rest": (half, (n,))} if self.form == "logits" and self.fill != "zero" else {})

    def labels(self, given: Float[Tensor, "n k"]) -> dict[str, Tensor]:
        """Returns labels as they are stored.

        Args:
            given: The logits of n views for the form ``logits``, and class probabilities for the others.
        """
        ids_as = torch.uint8 if self.classes <= 256 else torch.uint16
        if self.form in ("hard", "smoothing"):
            value, at = given.max(1)
            return {"ids": at.to(ids_as)} | ({"values": value.half()} if self.form == "smoothing" else {})
        if self.top_k is None:
            return {"logits" if self.form == "logits" else "probabilities": given.half()}
        values, ids = given.topk(self.top_k, dim=1)
        kept = {"values": values.half(), "ids": ids.to(ids_as)}
        if "rest" not in self._labels():
            return kept
        mean = (given.sum(1) - values.sum(1)) / (self.classes - self.top_k)
        return kept | {"rest": (mean if self.fill == "mean" else given.min(1).values).half()}

    def logits(self, stored: Mapping[str, Tensor]) -> Float[Tensor, "n k"]:
        """Returns stored logits as float32; each one that `labels` left out becomes what stands for them."""
        if self.top_k is None:
            return stored["logits"].float()
        whole = stored["rest"].float()[:, None].repeat(1, self.classes)
        return whole.scatter_(1, stored["ids"].long(), stored["values"].float())

    def probabilities(self, stored: Mapping[str, Tensor], temperature: float) -> Float[Tensor, "n k"]:
        """Returns stored labels as probabilities in float32: see the module's docstring.

        Args:
            stored: The tensors of n views.
            temperature: Temperature of the softmax of stored logits; stored probabilities have theirs.
        """
        if self.form == "full":
            return stored["probabilities"].float()
        if self.form == "hard":
            return one_hot(stored["ids"].long(), self.classes).float()
        ids, values = stored["ids"].long().view(-1, self.top_k or 1), stored["values"].float()
        values = values.view(ids.shape)
        if self.form == "logits":
            values = (values / temperature).softmax(1)
        elif self.form == "marginal-renorm":
            values = values / values.sum(1, keepdim=True)
        rest = values.new_zeros(len(ids), 1)
        if self.form in ("smoothing", "marginal-smoothing"):
            # Rounded probabilities may add up to more than 1.
            rest = (1 - values.sum(1, keepdim=True)).clamp_min(0) / (self.classes - ids.shape[1])
        return rest.repeat(1, self.classes).scatter_(1, ids, values)

    def target(
        self, stored: Mapping[str, Tensor], ids: Int64[Tensor, " n"], temperature: float, squared: bool
    ) -> Target:
        """Returns the labels that a student is trained with.

        Args:
            stored: The tensors of n views.
            ids: Their classes, on the same device.
            temperature: Temperature of the loss.
            squared: Whether the loss is multiplied by the temperature's square.
        """
        if self.form == "logits" and (self.top_k is None or self.fill != "zero"):
            return TeacherLogits(self.logits(stored), ids, temperature, squared)
        return Soft(self.probabilities(stored, temperature), ids, temperature, squared)

    def misfit(self, stored: Mapping[str, Tensor]) -> str | None:
        """Returns what makes the tensors of some views no labels, or None."""
        if (ids := stored.get("ids")) is not None and int(ids.long().max()) >= self.classes:
            return "a class that the data do not have"
        for name in ("logits", "rest", "values", "probabilities"):
            value = stored.get(name)
            if value is None:
                continue
            if not bool(value.isfinite().all()):
                return "logits that are not finite"
            if self.form != "logits" and not bool(((value >= 0) & (value <= 1)).all()):
                return "probabilities below 0 or above 1"
            if self.form == "marginal-renorm" and not bool((value.float().sum(1) > 0).all()):
                return "probabilities that are all 0"
        return None
