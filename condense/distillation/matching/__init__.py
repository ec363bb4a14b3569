"""distillation/matching."""
