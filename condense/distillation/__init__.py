"""Making sets: methods, their registry, and what they run on."""

from condense.distillation.engine import distill
from condense.distillation.graphs.run import GraphRun
from condense.distillation.images.learnable import LearnableSet, tiled
from condense.distillation.images.run import ImageRun
from condense.distillation.images.sampling import Sampling
from condense.distillation.images.self_supervised import SelfSupervised
from condense.distillation.images.taught import TeacherMethod
from condense.distillation.images.view import ChainedView, DecodedView, IdentityView, View
from condense.distillation.matching.rollback import Rollback
from condense.distillation.method import GraphMethod, ImageMethod, Method, Recipe
from condense.distillation.registry import register
from condense.distillation.wrapper import Wrapper
from condense.training.experts import Experts, ExpertTraining
from condense.training.graph_training import GraphTraining
from condense.training.image_training import Training, feature_extractor, without_held_out
from condense.training.label_trial import LabelTrial

__all__ = [
    "Method",
    "DecodedView",
    "ExpertTraining",
    "Experts",
    "GraphMethod",
    "GraphRun",
    "GraphTraining",
    "ImageMethod",
    "IdentityView",
    "Recipe",
    "Rollback",
    "ImageRun",
    "LabelTrial",
    "LearnableSet",
    "Sampling",
    "SelfSupervised",
    "TeacherMethod",
    "ChainedView",
    "Training",
    "View",
    "Wrapper",
    "distill",
    "feature_extractor",
    "register",
    "tiled",
    "without_held_out",
]
