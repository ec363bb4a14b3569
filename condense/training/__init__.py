"""Training of networks on real data, and the resumable loop of all long computations."""
