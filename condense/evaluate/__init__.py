"""Judging sets: students trained from scratch by a protocol and tested once, on data no method sees."""

from condense.evaluate.student import Labeller, Outcome, Trainable, Whole, train_student

__all__ = ["Labeller", "Outcome", "Trainable", "Whole", "train_student"]
