"""distillation/inversion."""
