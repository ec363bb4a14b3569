"""What a method, a wrapper or a student network in a package of its own imports.

A method is a frozen dataclass that derives from `ImageMethod` or `GraphMethod` and defines ``distill``. Its
package names it as an entry point of the group ``condense.methods``. A student network is built by a function
``(shape, num_classes) -> Network``, which its package names as an entry point of the group
``condense.networks``. `CONTRIBUTING.md` shows examples.
"""

from condense.data import Graphs, GraphSpec, Images, ImageSpec
from condense.distillation.graphs.run import GraphRun
from condense.distillation.images.learnable import LearnableSet
from condense.distillation.images.run import ImageRun
from condense.distillation.images.taught import TeacherMethod
from condense.distillation.images.view import ChainedView, DecodedView, IdentityView, View
from condense.distillation.method import GraphMethod, ImageMethod, Recipe, recipes
from condense.distillation.registry import register
from condense.distillation.wrapper import Wrapper
from condense.errors import Refused, Remedy, unknown
from condense.networks import GraphNetwork, Network, TooSmall, initialise_
from condense.protocol import Protocol, Stage
from condense.store import GraphSet, ImageSet
from condense.teachers import Teacher
from condense.training.experts import Experts, ExpertTraining
from condense.training.graph_training import GraphTraining
from condense.training.image_training import Training, feature_extractor

__all__ = [
    "ChainedView", "DecodedView", "ExpertTraining", "Experts", "GraphMethod", "GraphNetwork", "GraphRun",
    "GraphSet", "GraphSpec", "GraphTraining", "Graphs", "IdentityView", "ImageMethod", "ImageRun", "ImageSet",
    "ImageSpec", "Images", "LearnableSet", "Network", "Protocol", "Recipe", "Refused", "Remedy", "Stage",
    "Teacher", "TeacherMethod", "TooSmall", "Training", "View", "Wrapper", "feature_extractor",
    "initialise_", "recipes", "register", "unknown",
]  # fmt: skip
