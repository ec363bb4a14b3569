"""Kernel regression on a network's features, shared by the methods whose last layer has a closed form."""
