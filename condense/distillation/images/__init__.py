"""distillation/images."""
