"""data/graphs."""
