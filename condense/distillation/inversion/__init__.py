"""Inversion of a trained network: images that it classifies with its batch norms' running statistics."""
