"""Distillation of images: the run, the images that are learned, views, and methods with a teacher."""
