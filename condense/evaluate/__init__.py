"""Judging sets: students trained from scratch by a protocol and tested once, on data no method sees."""

from condense.evaluate.student import Outcome, Trainable, Whole, train_student

__all__ = ["Outcome", "Trainable", "Whole", "train_student"]
