"""store/images."""
