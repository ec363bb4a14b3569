"""The command line, and the only place that knows the names of its options."""
