"""The published numbers, queues of runs for ``condense bench``, and speed benchmarks."""
