"""store/graphs."""
