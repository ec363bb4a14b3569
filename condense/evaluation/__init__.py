"""Judging sets: students trained from scratch by a protocol and tested once, on data no method sees."""

from condense.evaluation.graph_student import GraphSource, WholeGraphs, train_graph_student
from condense.evaluation.references import REFERENCES, reference
from condense.evaluation.student import Labeller, Outcome, Trainable, Whole, train_student

__all__ = [
    "REFERENCES",
    "GraphSource",
    "Labeller",
    "Outcome",
    "Trainable",
    "Whole",
    "WholeGraphs",
    "reference",
    "train_graph_student",
    "train_student",
]
