"""Evaluation of sets: students are trained from scratch and tested on data that no method has seen."""

from condense.evaluation.graph_student import GraphSource, GraphStudent, WholeGraphs
from condense.evaluation.student import ImageSource, ImageStudent, Labeller, Outcome, Student, WholeImages

__all__ = [
    "GraphSource", "GraphStudent", "ImageSource", "ImageStudent", "Labeller", "Outcome", "Student",
    "WholeGraphs", "WholeImages",
]  # fmt: skip
