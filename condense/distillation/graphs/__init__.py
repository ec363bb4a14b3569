"""distillation/graphs."""
