"""Random subset: real samples drawn uniformly within each class; the baseline that every method has to beat.

In the field's tables it is the row "Random" (Zhao, Mopuri, Bilen: Dataset Condensation with Gradient
Matching, ICLR 2021, https://arxiv.org/abs/2006.05929, table 1; for graphs Jin et al.: Condensing Graphs via
One-Step Gradient Matching, KDD 2022, https://arxiv.org/abs/2206.07746). One draw says little at one sample
per class, so that the boards show ten draws, of the distillation seeds 0 to 9.

At equal IPC a distilled set may take dozens of times the bytes of a subset: learned pixels are float32 and do
not compress. ``room=BYTES encode=best`` is the subset that takes as many bytes: see `CompressedCoreset`.
"""

from dataclasses import dataclass

from condense.data import Graphs, Images
from condense.distillation import GraphRun, ImageRun, register
from condense.distillation.coreset import CompressedCoreset, GraphCoreset, Pick, uniform


@register
@dataclass(frozen=True, kw_only=True)
class RandomSubset(CompressedCoreset):
    """Random images without replacement: ``ipc`` of each class, or as many as fit a number of bytes."""

    name = "random_subset"
    draws = 10

    def pick(self, train: Images, run: ImageRun) -> Pick:
        """Draws images at random."""
        return uniform(run.rng)


@register
@dataclass(frozen=True, kw_only=True)
class RandomGraphs(GraphCoreset):
    """Random graphs of each class, without replacement."""

    name = "random_subset"
    draws = 10

    def pick(self, train: Graphs, run: GraphRun) -> Pick:
        """Draws graphs at random."""
        return uniform(run.rng)
