"""Making sets: methods, their registry, and what they run on."""

from condense.distill.coreset import select_by_features
from condense.distill.engine import distill
from condense.distill.experts import Experts, ExpertTraining
from condense.distill.graph_method import GraphMethod
from condense.distill.graph_run import GraphRun
from condense.distill.graph_trained import GraphTraining
from condense.distill.method import AnyMethod, Method, Published, Recipe
from condense.distill.registry import register
from condense.distill.rollback import Rollback
from condense.distill.run import Run
from condense.distill.synthetic import Synthetic, tiled
from condense.distill.teaching import Taught
from condense.distill.trained import Training, feature_extractor
from condense.distill.view import Decoded, Plain, Through, View
from condense.distill.wrapper import Wrapper

__all__ = [
    "AnyMethod",
    "Decoded",
    "ExpertTraining",
    "Experts",
    "GraphMethod",
    "GraphRun",
    "GraphTraining",
    "Method",
    "Plain",
    "Published",
    "Recipe",
    "Rollback",
    "Run",
    "Synthetic",
    "Taught",
    "Through",
    "Training",
    "View",
    "Wrapper",
    "distill",
    "feature_extractor",
    "register",
    "select_by_features",
    "tiled",
]
