"""The sparse autoencoder: model, training, and writing its activations."""

TRAINING_VERSION = 4
"""Goes up when the same settings and vectors train to other weights; part of a run's identity."""
