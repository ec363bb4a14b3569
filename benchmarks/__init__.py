"""What the suite measures and against what: the published numbers, the suites, the speed benchmarks."""
